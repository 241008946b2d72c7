/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/vectors.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "modules/vector/product.h"
#include "modules/vector/vector.h"

/* Every variant this processor has against sums in double precision, over random shapes and alignments. */

static void fill(uint8_t *to, uint32_t dims)
{
    for (uint32_t i = 0; i < dims; i++) {
        float f = (float)below(20001) / 10000 - 1;

        memcpy(to + 4 * (size_t)i, &f, 4);
    }
}

static double at(const uint8_t *v, uint32_t i)
{
    float f;

    memcpy(&f, v + 4 * (size_t)i, 4);
    return (double)f;
}

static double product_of(const uint8_t *a, const uint8_t *b, uint32_t dims)
{
    double sum = 0;

    for (uint32_t i = 0; i < dims; i++)
        sum += at(a, i) * at(b, i);
    return sum;
}

static void kernels_agree(void **state)
{
    enum { ROUNDS = 300, MOST = 1100, ROWS = 40 };
    uint32_t variants;
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);
    uint8_t *query = malloc(4 * MOST + 64), *rows = malloc((size_t)ROWS * (4 * MOST + 64) + 64);

    (void)state;
    assert_true(variants >= 1);
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t dims = round < 70 ? (uint32_t)round + 1 : 1 + below(MOST), n = below(ROWS);
        size_t stride = 4 * (size_t)dims + below(60), off = below(64);
        const uint8_t *q = query + below(64), *base = rows + off;
        const void *pointer[ROWS];
        float out[ROWS];
        double slack = 1e-6 * dims;

        fill((uint8_t *)(uintptr_t)q, dims);
        for (uint32_t i = 0; i < n; i++) {
            pointer[i] = base + i * stride;
            fill((uint8_t *)(uintptr_t)pointer[i], dims);
        }
        for (uint32_t v = 0; v < variants; v++) {
            kernels[v]->dot_pointers(q, pointer, n, dims, out);
            for (uint32_t i = 0; i < n; i++) {
                double dot = product_of(q, pointer[i], dims);

                assert_true(fabs((double)out[i] - dot) <= slack);
                assert_true(kernels[v]->dot(q, pointer[i], dims) == out[i]); /* alone or with others: the same sum */
            }
        }
    }
    free(query);
    free(rows);
}

/* Pages between two that cannot be touched. */
struct fenced {
    uint8_t *map, *base, *end;
    size_t whole;
};

static struct fenced fenced_new(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (size + page - 1) / page * page;
    struct fenced f = {.whole = inner + 2 * page};

    f.map = mmap(NULL, f.whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f.map != MAP_FAILED);
    f.base = f.map + page;
    f.end = f.base + inner;
    assert_int_equal(mprotect(f.base, inner, PROT_READ | PROT_WRITE), 0);
    return f;
}

/* All kernels on n rows at `rows`; in vectors of ones each result is dims. */
static void run_all(const struct vector_kernels *k, const uint8_t *query, const uint8_t *rows, uint32_t n,
                    uint32_t dims, float *out)
{
    const void *pointer[16];
    struct vector_matrix m;

    for (uint32_t i = 0; i < n; i++)
        pointer[i] = rows + i * 4 * (size_t)dims;
    assert_true(k->dot(query, rows, dims) == (float)dims);
    k->dot_pointers(query, pointer, n, dims, out);
    for (uint32_t i = 0; i < n; i++)
        assert_true(out[i] == (float)dims);
    assert_int_equal(vector_matrix_new(&m, 1, dims), 0);
    vector_matrix_set(&m, 0, (const float *)(const void *)query);
    float *products = out + n - (size_t)n * m.width;
    k->product(&m, pointer, n, products);
    for (uint32_t i = 0; i < n; i++)
        assert_true(products[(size_t)i * m.width] == (float)dims);
    vector_matrix_free(&m);
}

/* Vectors and results that end where memory ends, and that begin where it begins. */
static void nothing_beyond_the_ends_is_touched(void **state)
{
    enum { MOST = 200, N = 14 };
    uint32_t variants;
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);
    struct fenced q = fenced_new(4 * MOST), rows = fenced_new((size_t)4 * MOST * N);
    struct fenced out = fenced_new(sizeof(float) * N * VECTOR_PANEL);

    (void)state;
    for (float *f = (float *)(void *)q.base; f < (float *)(void *)q.end; f++)
        *f = 1;
    for (float *f = (float *)(void *)rows.base; f < (float *)(void *)rows.end; f++)
        *f = 1;
    for (uint32_t v = 0; v < variants; v++)
        for (uint32_t dims = 1; dims <= MOST; dims++)
            for (uint32_t n = 1; n <= N; n++) {
                size_t size = 4 * (size_t)dims;

                run_all(kernels[v], q.end - size, rows.end - n * size, n, dims, (float *)(void *)out.end - n);
                run_all(kernels[v], q.base, rows.base, n, dims, (float *)(void *)out.end - n);
            }
    munmap(q.map, q.whole);
    munmap(rows.map, rows.whole);
    munmap(out.map, out.whole);
}

/* No rows, no dimensions: no result is written, sums are 0. */
static void nothing_gives_nothing(void **state)
{
    uint32_t variants;
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);

    (void)state;
    for (uint32_t v = 0; v < variants; v++) {
        float one = 1, out = 7;
        const void *pointer = &one;

        assert_true(kernels[v]->dot(&one, &one, 0) == 0);
        kernels[v]->dot_pointers(&one, &pointer, 0, 1, &out);
        assert_true(out == 7);
        kernels[v]->dot_pointers(&one, &pointer, 1, 0, &out);
        assert_true(out == 0);
    }
}

/* ---- Probes ---- */

enum { TABLES = 3, MOST_BITS = 7, MOST_PROBES = TABLES << MOST_BITS };

/* Minus the logarithm of the probability that a neighbour at 60 degrees is in this bucket. */
static double score_of(const float *margin, double norm, uint32_t bits, struct vector_probe p)
{
    double score = 0;

    for (uint32_t i = 0; i < bits; i++) {
        double beyond = erfc(fabs((double)margin[p.table * bits + i]) / norm / tan(M_PI / 3) / M_SQRT2) / 2;

        score -= log(p.flips >> i & 1 ? beyond : 1 - beyond);
    }
    return score;
}

static void make_margins(float *margin, uint32_t bits, uint32_t steps)
{
    for (uint32_t i = 0; i < TABLES * bits; i++)
        margin[i] = ((float)below(steps + 1) / (float)steps - 0.5F) * 4;
}

static void probes_come_in_order_of_likelihood(void **state)
{
    (void)state;
    for (uint32_t bits = 1; bits <= MOST_BITS; bits++) {
        struct vector_probe probe[MOST_PROBES];
        bool seen[TABLES][1 << MOST_BITS] = {{false}};
        float margin[TABLES * MOST_BITS];
        void *room = malloc(vector_probe_room(TABLES, bits, MOST_PROBES));

        make_margins(margin, bits, 2000);
        assert_int_equal(vector_probe_likeliest(margin, 1.5F, TABLES, bits, MOST_PROBES, probe, room), TABLES << bits);
        for (uint32_t i = 0; i < (uint32_t)TABLES << bits; i++) {
            assert_false(seen[probe[i].table][probe[i].flips]);
            seen[probe[i].table][probe[i].flips] = true;
            assert_true(i == 0 ||
                        score_of(margin, 1.5, bits, probe[i]) >= score_of(margin, 1.5, bits, probe[i - 1]) - 1e-4);
        }
        free(room);
    }
}

/* In fences: exactly `most` probes, and of the room what was asked for. Margins repeat, so that ties are met. */
static void fewer_probes_are_the_first_of_more(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        uint32_t bits = 1 + below(MOST_BITS), most = (uint32_t)TABLES << bits;
        struct vector_probe all[MOST_PROBES];
        struct fenced probes = fenced_new(sizeof(all)), room = fenced_new(vector_probe_room(TABLES, bits, most) + 8);
        float margin[TABLES * MOST_BITS];

        make_margins(margin, bits, 6);
        for (uint32_t wish = most; wish <= most; wish--) {
            struct vector_probe *probe = (struct vector_probe *)(void *)probes.end - wish;
            size_t size = vector_probe_room(TABLES, bits, wish);

            assert_int_equal(vector_probe_likeliest(margin, 1, TABLES, bits, wish, probe,
                                                    room.end - (size + 7) / 8 * 8), wish);
            if (wish == most)
                memcpy(all, probe, most * sizeof(*all));
            assert_memory_equal(probe, all, wish * sizeof(*probe));
        }
        munmap(probes.map, probes.whole);
        munmap(room.map, room.whole);
    }
}

/* More than there are: all of them, once. No bits, 32 of them, and a query of length 0 are possible. */
static void probes_end_where_the_sets_end(void **state)
{
    enum { MANY = 5000 };
    static struct vector_probe probe[MANY];
    float margin[32] = {0};
    void *room = malloc(vector_probe_room(2, 32, MANY));

    (void)state;
    assert_int_equal(vector_probe_likeliest(margin, 1, 2, 0, 10, probe, room), 2);
    assert_int_equal(vector_probe_likeliest(margin, 0, 2, 3, MANY, probe, room), 16);
    assert_int_equal(vector_probe_likeliest(margin, 1, 1, 3, 0, probe, room), 0);
    for (uint32_t i = 0; i < 32; i++)
        margin[i] = (float)(32 - i) / 32;
    assert_int_equal(vector_probe_likeliest(margin, 1, 1, 32, MANY, probe, room), MANY);
    assert_true(probe[0].flips == 0 && probe[1].flips == 1U << 31 && probe[2].flips == 1U << 30);
    for (uint32_t i = 1; i < MANY; i++)
        assert_true(score_of(margin, 1, 32, probe[i]) >= score_of(margin, 1, 32, probe[i - 1]) - 1e-4);
    /* So far from a plane that the probability to be beyond it is no number any more. */
    margin[0] = 1e30F;
    assert_int_equal(vector_probe_likeliest(margin, 1, 1, 2, MANY, probe, room), 4);
    assert_true(probe[0].flips == 0 && probe[1].flips == 2 && probe[2].flips == 1 && probe[3].flips == 3);
    free(room);
}

static void probes_of_a_radius_are_all_there(void **state)
{
    uint32_t mask[64];
    bool seen[256] = {false};

    (void)state;
    assert_int_equal(vector_probe_radius(8, 2, NULL), 37);
    assert_int_equal(vector_probe_radius(8, 2, mask), 37);
    assert_int_equal(mask[0], 0);
    for (int i = 0; i < 37; i++) {
        assert_true(__builtin_popcount(mask[i]) <= 2 && !seen[mask[i]]);
        seen[mask[i]] = true;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_agree),
        cmocka_unit_test(nothing_beyond_the_ends_is_touched),
        cmocka_unit_test(nothing_gives_nothing),
        cmocka_unit_test(probes_come_in_order_of_likelihood),
        cmocka_unit_test(fewer_probes_are_the_first_of_more),
        cmocka_unit_test(probes_end_where_the_sets_end),
        cmocka_unit_test(probes_of_a_radius_are_all_there),
    };

    draw_from(12345);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
