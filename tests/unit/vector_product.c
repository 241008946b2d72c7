/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/vectors.h"

#include <stdlib.h>
#include <string.h>

#include "modules/vector/product.h"
#include "modules/vector/vector.h"

/* What product.h guarantees: each product is one chain of fused multiply-adds, to the bit, however it is asked for. */

enum { ROUNDS = 150, MOST_ROWS = 140, MOST_DIMS = 420, MOST_VECTORS = 20, MARK = 0x7fc0dead };

/* Many exponents, so that the order of a sum and every rounding show in its bits. */
static float any(void)
{
    return ldexpf((float)below(2000001) / 1000000 - 1, (int)below(30) - 15);
}

static void fill(void *to, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        float f = any();

        memcpy((uint8_t *)to + 4 * (size_t)i, &f, 4);
    }
}

static uint32_t bits_of(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, 4);
    return bits;
}

static float chain(const float *row, const void *vector, uint32_t dims)
{
    float sum = 0;

    for (uint32_t i = 0; i < dims; i++) {
        float x;

        memcpy(&x, (const uint8_t *)vector + 4 * (size_t)i, 4);
        sum = fmaf(x, row[i], sum);
    }
    return sum;
}

struct shape {
    uint32_t rows, dims, vectors;
};

/* The first rounds take what is at the borders of panels, of depths and of tiles. */
static struct shape any_shape(int round)
{
    static const uint32_t rows[] = {1, 31, 32, 33, 64, 65}, dims[] = {1, 127, 128, 129, 256, 257};
    static const uint32_t vectors[] = {0, 1, 5, 6, 7, 8, 9};

    if (round < 60)
        return (struct shape){rows[below(6)], dims[below(6)], vectors[below(7)]};
    return (struct shape){1 + below(MOST_ROWS), 1 + below(MOST_DIMS), below(MOST_VECTORS + 1)};
}

static float *reference(const struct vector_matrix *m, const float *rows, const void *const *vector, uint32_t vectors)
{
    float *out = calloc((size_t)vectors * m->width + 1, sizeof(*out));

    assert_non_null(out);
    for (uint32_t v = 0; v < vectors; v++)
        for (uint32_t r = 0; r < m->rows; r++)
            out[(size_t)v * m->width + r] = chain(rows + (size_t)r * m->dims, vector[v], m->dims);
    return out;
}

static void expect(const float *out, const float *wanted, size_t count, const char *variant, const struct shape *s,
                   int round)
{
    for (size_t i = 0; i < count; i++)
        if (bits_of(out[i]) != bits_of(wanted[i]))
            fail_msg("%s, round %d: rows %u, dims %u, vectors %u: at %zu %a instead of %a", variant, round, s->rows,
                     s->dims, s->vectors, i, (double)out[i], (double)wanted[i]);
}

/* In a block, then each alone, into memory that has neither zeros nor an alignment. */
static void check_variant(const struct vector_kernels *k, const struct vector_matrix *m, const void *const *vector,
                          const float *wanted, const struct shape *s, int round)
{
    size_t count = (size_t)s->vectors * m->width;
    float *room = malloc((count + 3) * sizeof(*room)), *out = room + 1, mark;
    uint32_t bits = MARK;

    assert_non_null(room);
    memcpy(&mark, &bits, 4);
    for (size_t i = 0; i < count + 3; i++)
        room[i] = mark;
    k->product(m, vector, s->vectors, out);
    expect(out, wanted, count, k->name, s, round);
    assert_int_equal(bits_of(out[-1]), MARK);
    assert_int_equal(bits_of(out[count]), MARK);
    for (uint32_t v = 0; v < s->vectors; v++) {
        k->product(m, vector + v, 1, out);
        expect(out, wanted + (size_t)v * m->width, m->width, k->name, s, round);
    }
    free(room);
}

static void every_variant_gives_the_same_bits(void **state)
{
    static uint8_t memory[MOST_VECTORS * (4 * MOST_DIMS + 64)];
    static float rows[MOST_ROWS * MOST_DIMS];
    uint32_t variants;
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct shape s = any_shape(round);
        const void *vector[MOST_VECTORS];
        struct vector_matrix m;

        assert_int_equal(vector_matrix_new(&m, s.rows, s.dims), 0);
        assert_true(m.width >= s.rows && m.width < s.rows + VECTOR_PANEL && m.width % VECTOR_PANEL == 0);
        fill(rows, s.rows * s.dims);
        for (uint32_t r = 0; r < s.rows; r++)
            vector_matrix_set(&m, r, rows + (size_t)r * s.dims);
        for (uint32_t v = 0; v < s.vectors; v++) {
            uint8_t *at = memory + v * (4 * (size_t)MOST_DIMS + 64) + below(60);

            fill(at, s.dims);
            vector[v] = at;
        }
        float *wanted = reference(&m, rows, vector, s.vectors);
        for (uint32_t v = 0; v < variants; v++)
            check_variant(kernels[v], &m, vector, wanted, &s, round);
        free(wanted);
        vector_matrix_free(&m);
    }
}

/* Bits of every kind: any at all, few digits (so that sums are ties), close to the least numbers, and plain ones. */
static float hard(void)
{
    uint32_t bits = below(1U << 31) << 1 | below(2);
    float f;

    switch (below(4)) {
    case 0: break;
    case 1: return ldexpf((float)below(4097) - 2048, (int)below(60) - 30);
    case 2: bits = (bits & 0x800fffff) | below(6) << 23; break;
    default: return any();
    }
    memcpy(&f, &bits, 4);
    return f;
}

/* One fused multiply-add of a third number that is often near the product, or about half of its last digit away. */
static void hard_numbers_are_rounded_once(void **state)
{
    enum { TRIES = 20000, ROWS = 32 };
    uint32_t variants;
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);
    struct vector_matrix m;

    (void)state;
    assert_int_equal(vector_matrix_new(&m, ROWS, 2), 0);
    for (int try = 0; try < TRIES; try++) {
        float rows[ROWS][2], x[2] = {1, hard()}, out[ROWS];
        const void *vector = x;

        for (uint32_t r = 0; r < ROWS; r++) {
            float y = hard(), near = (float)((double)x[1] * (double)y);
            uint32_t what = below(4);

            rows[r][0] = what == 0 ? -near : what == 1 ? ldexpf(near, (int)below(60) - 30) : hard();
            rows[r][1] = y;
            vector_matrix_set(&m, r, rows[r]);
        }
        for (uint32_t v = 0; v < variants; v++) {
            kernels[v]->product(&m, &vector, 1, out);
            for (uint32_t r = 0; r < ROWS; r++) {
                float wanted = fmaf(x[1], rows[r][1], fmaf(1, rows[r][0], 0));

                if (bits_of(out[r]) != bits_of(wanted) && !(isnan(out[r]) && isnan(wanted)))
                    fail_msg("%s: %a * %a + %a gives %a instead of %a", kernels[v]->name, (double)x[1],
                             (double)rows[r][1], (double)rows[r][0], (double)out[r], (double)wanted);
            }
        }
    }
    vector_matrix_free(&m);
}

/* Infinities and NaN come out where they went in, and nowhere else. */
static void what_is_not_finite_stays_in_its_vector(void **state)
{
    enum { ROWS = 40, DIMS = 150, COUNT = 9 };
    static float rows[ROWS][DIMS], values[COUNT][DIMS], out[COUNT * 64];
    const void *vector[COUNT];
    uint32_t variants;
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);
    struct vector_matrix m;

    (void)state;
    assert_int_equal(vector_matrix_new(&m, ROWS, DIMS), 0);
    for (uint32_t r = 0; r < ROWS; r++) {
        fill(rows[r], DIMS);
        rows[r][7] = r % 2 == 0 ? 1.0F : -1.0F;
        vector_matrix_set(&m, r, rows[r]);
    }
    for (uint32_t v = 0; v < COUNT; v++) {
        fill(values[v], DIMS);
        vector[v] = values[v];
    }
    values[3][7] = INFINITY;
    values[6][149] = NAN;
    for (uint32_t k = 0; k < variants; k++) {
        kernels[k]->product(&m, vector, COUNT, out);
        for (uint32_t v = 0; v < COUNT; v++)
            for (uint32_t r = 0; r < ROWS; r++) {
                float f = out[v * m.width + r];

                assert_true(v == 6 ? isnan(f) : v == 3 ? f == (r % 2 == 0 ? INFINITY : -INFINITY) : isfinite(f));
            }
    }
    vector_matrix_free(&m);
}

/* Rows may be set in any order and again; the others stay zero. */
static void rows_are_set_one_by_one(void **state)
{
    enum { ROWS = 70, DIMS = 5 };
    float row[DIMS] = {1, 2, 3, 4, 5}, ones[DIMS] = {1, 1, 1, 1, 1}, out[96];
    const void *vector = ones;
    struct vector_matrix m;

    (void)state;
    assert_int_equal(vector_matrix_new(&m, ROWS, DIMS), 0);
    vector_matrix_set(&m, 69, row);
    vector_matrix_set(&m, 31, ones);
    vector_matrix_set(&m, 31, row);
    vector_matrix_set(&m, 32, ones);
    vector_kernels()->product(&m, &vector, 1, out);
    for (uint32_t r = 0; r < m.width; r++)
        assert_true(out[r] == (r == 69 || r == 31 ? 15.0F : r == 32 ? 5.0F : 0.0F));
    vector_matrix_free(&m);
    assert_null(m.panel);
    vector_matrix_free(&m);
}

/* Half of the products are equal to others, so that ties are common; some biases are infinite. */
static void the_greatest_are_found_in_every_variant(void **state)
{
    enum { PANELS = 9, WIDTH = PANELS * VECTOR_PANEL };
    uint32_t variants;
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct vector_greatest wanted = {{0}, {0}}, begin, got;
        float product[WIDTH], bias[WIDTH];
        uint32_t half = below(PANELS + 1);

        for (uint32_t i = 0; i < WIDTH; i++) {
            product[i] = below(2) == 0 ? (float)below(4) : any();
            bias[i] = below(8) == 0 ? INFINITY : (float)below(3);
        }
        for (uint32_t lane = 0; lane < VECTOR_PANEL; lane++)
            wanted.score[lane] = -INFINITY;
        begin = wanted;
        for (uint32_t i = 0; i < WIDTH; i++)
            if (product[i] - bias[i] > wanted.score[i % VECTOR_PANEL]) {
                wanted.score[i % VECTOR_PANEL] = product[i] - bias[i];
                wanted.panel[i % VECTOR_PANEL] = (int32_t)(7 + i / VECTOR_PANEL);
            }
        for (uint32_t k = 0; k < variants; k++) {
            got = begin;
            kernels[k]->fold(&got, product, bias, 7, half);
            kernels[k]->fold(&got, product + half * VECTOR_PANEL, bias + half * VECTOR_PANEL, 7 + half, PANELS - half);
            assert_memory_equal(&got, &wanted, sizeof(got));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_variant_gives_the_same_bits),
        cmocka_unit_test(hard_numbers_are_rounded_once),
        cmocka_unit_test(what_is_not_finite_stays_in_its_vector),
        cmocka_unit_test(rows_are_set_one_by_one),
        cmocka_unit_test(the_greatest_are_found_in_every_variant),
    };

    draw_from(4711);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
