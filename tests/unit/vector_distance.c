/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "modules/vector/distance.h"
#include "modules/vector/vector.h"

/* Every variant this processor has, by metric and type, against sums in double precision. */

enum { MOST_DIMS = 1100, MOST_ROWS = 150, MOST_QUERIES = 70, MOST_BYTES = 4 * MOST_DIMS };

static const enum leat_type types[] = {LEAT_F32_VECTOR, LEAT_F16_VECTOR, LEAT_I8_VECTOR, LEAT_U8_VECTOR, LEAT_BITS};
enum { TYPES = sizeof(types) / sizeof(*types) };

static bool is_float(enum leat_type type)
{
    return type == LEAT_F32_VECTOR || type == LEAT_F16_VECTOR;
}

/* ---- The model ---- */

/* IEEE 754-2008, section 3.4: sign, 5 bits of exponent, 10 of mantissa. */
static double half(uint16_t h)
{
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double value = exponent == 31  ? mantissa == 0 ? (double)INFINITY : (double)NAN
                   : exponent == 0 ? ldexp(mantissa, -24)
                                   : ldexp(1024 + mantissa, exponent - 25);

    return h & 0x8000 ? -value : value;
}

static double element(enum leat_type type, const uint8_t *v, uint32_t i)
{
    float f;
    uint16_t h;

    switch (type) {
    case LEAT_F32_VECTOR:
        memcpy(&f, v + 4 * (size_t)i, 4);
        return (double)f;
    case LEAT_F16_VECTOR:
        memcpy(&h, v + 2 * (size_t)i, 2);
        return half(h);
    case LEAT_I8_VECTOR:
        return (int8_t)v[i];
    case LEAT_U8_VECTOR:
        return v[i];
    default:
        return v[i / 8] >> i % 8 & 1;
    }
}

/* The distance, and the sum of what was summed without signs. */
static double model(enum vector_metric metric, enum leat_type type, const uint8_t *a, const uint8_t *b, uint32_t dims,
                    double *size)
{
    double sum = 0;

    *size = 0;
    for (uint32_t i = 0; i < dims; i++) {
        double x = element(type, a, i), y = element(type, b, i);
        double one = metric == VECTOR_DOT ? x * y : metric == VECTOR_L2 ? (x - y) * (x - y) : x != y;

        sum += one;
        *size += fabs(one);
    }
    return sum;
}

static void fill(enum leat_type type, uint8_t *to, uint32_t dims)
{
    size_t bytes = leat_vector_size(type, dims);

    for (uint32_t i = 0; type == LEAT_F32_VECTOR && i < dims; i++) {
        float f = (float)below(20001) / 10000 - 1;

        memcpy(to + 4 * (size_t)i, &f, 4);
    }
    for (uint32_t i = 0; type == LEAT_F16_VECTOR && i < dims; i++) {
        uint16_t h = (uint16_t)(below(2) << 15 | below(17 * 1024)); /* to 8, and subnormal ones */

        memcpy(to + 2 * (size_t)i, &h, 2);
    }
    for (size_t i = 0; !is_float(type) && i < bytes; i++)
        to[i] = (uint8_t)below(256);
}

/* Integers exactly; floats within the error of a sum of `dims` in the worst order. */
static void expect(const char *what, enum vector_metric metric, enum leat_type type, const uint8_t *a, const uint8_t *b,
                   uint32_t dims, float found)
{
    double size, distance = model(metric, type, a, b, dims, &size);
    double slack = is_float(type) ? (dims + 4) * 0x1p-24 * size : 0;

    if (fabs((double)found - (is_float(type) ? distance : (double)(float)distance)) <= slack)
        return;
    fail_msg("%s, metric %d, type %d, %u dims: %.9g instead of %.9g", what, metric, type, dims, (double)found,
             distance);
}

/* ---- Random shapes ---- */

struct shape {
    enum vector_metric metric;
    enum leat_type type;
    uint32_t dims, queries, rows;
    size_t stride;
    const uint8_t *query[MOST_QUERIES], *row[MOST_ROWS];
};

static uint8_t *memory;

static void shape_fill(struct shape *s, uint32_t round)
{
    uint8_t *at = memory + below(64);
    size_t bytes;

    s->dims = round < 300 ? round + 1 : 1 + below(MOST_DIMS);
    s->dims = s->type == LEAT_BITS ? (s->dims + 7) / 8 * 8 : s->dims;
    s->dims = s->dims > MOST_DIMS ? MOST_DIMS / 8 * 8 : s->dims;
    s->queries = below(round % 50 == 0 ? MOST_QUERIES : 7) + 1;
    s->rows = below(round % 10 == 0 ? MOST_ROWS : 12);
    bytes = leat_vector_size(s->type, s->dims);
    s->stride = bytes + below(60);
    for (uint32_t q = 0; q < s->queries; q++, at += bytes + below(60))
        s->query[q] = at, fill(s->type, at, s->dims);
    for (uint32_t r = 0; r < s->rows; r++, at += s->stride)
        s->row[r] = at, fill(s->type, at, s->dims);
}

static void same(const char *what, float a, float b)
{
    if (memcmp(&a, &b, sizeof(a)) != 0)
        fail_msg("%s: %.9g instead of %.9g", what, (double)a, (double)b);
}

static void shape_check(const struct vector_distance *d, const struct shape *s)
{
    static float by_pointers[MOST_ROWS + 1], by_stride[MOST_ROWS + 1], by_block[MOST_QUERIES * (MOST_ROWS + 1)];
    const void *const *row = (const void *const *)s->row, *const *query = (const void *const *)s->query;
    uint32_t width = s->rows + 1;

    by_pointers[s->rows] = by_stride[s->rows] = 42;
    for (uint32_t q = 0; q < s->queries; q++)
        by_block[q * width + s->rows] = 42;
    d->pointers(s->query[0], row, s->rows, s->dims, by_pointers);
    d->strided(s->query[0], s->row[0], s->stride, s->rows, s->dims, by_stride);
    d->block(query, s->queries, row, s->rows, s->dims, by_block, width);
    for (uint32_t r = 0; r < s->rows; r++) {
        float one = d->one(s->query[0], s->row[r], s->dims);

        expect("one", s->metric, s->type, s->query[0], s->row[r], s->dims, one);
        same("pointers", by_pointers[r], one);
        same("strided", by_stride[r], one);
        for (uint32_t q = 0; q < s->queries; q++)
            expect("block", s->metric, s->type, s->query[q], s->row[r], s->dims, by_block[q * width + r]);
    }
    assert_true(by_pointers[s->rows] == 42 && by_stride[s->rows] == 42);
    for (uint32_t q = 0; q < s->queries; q++)
        assert_true(by_block[q * width + s->rows] == 42);
}

static void distances_are_those_of_the_model(void **state)
{
    uint32_t variants;
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);
    struct shape s;

    (void)state;
    for (uint32_t round = 0; round < 400; round++)
        for (uint32_t t = 0; t < TYPES; t++) {
            s.type = types[t];
            shape_fill(&s, round);
            for (s.metric = 0; s.metric < VECTOR_METRICS; s.metric++)
                for (uint32_t v = 0; v < variants; v++)
                    if (kernels[v]->distances->of[s.metric][s.type].one != NULL)
                        shape_check(&kernels[v]->distances->of[s.metric][s.type], &s);
        }
}

static void a_pair_in_a_block_has_the_same_sum_in_any_company(void **state)
{
    uint32_t variants;
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);
    static float all[MOST_QUERIES * MOST_ROWS];
    struct shape s = {.type = LEAT_F32_VECTOR};

    (void)state;
    for (uint32_t round = 300; round < 340; round++) {
        shape_fill(&s, round);
        for (uint32_t v = 0; v < variants; v++) {
            const struct vector_distance *d = &kernels[v]->distances->of[round % 2][s.type];

            d->block((const void *const *)s.query, s.queries, (const void *const *)s.row, s.rows, s.dims, all,
                     MOST_ROWS);
            for (uint32_t r = 0; r < s.rows; r++) {
                float alone;
                uint32_t q = below(s.queries);

                d->block((const void *const *)s.query + q, 1, (const void *const *)s.row + r, 1, s.dims, &alone, 1);
                same("alone", alone, all[q * MOST_ROWS + r]);
            }
        }
    }
}

/* ---- Ends of what there is ---- */

/* The largest sums: more than a signed number of 32 bits holds, and than a float does exactly. */
static void the_largest_integers_do_not_overflow(void **state)
{
    uint32_t variants, dims = VECTOR_DIMS_MAX;
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);
    uint8_t *low = malloc(dims), *high = malloc(dims);
    static const uint8_t ends[][2] = {{0, 255}, {255, 255}, {0x80, 0x7f}, {0x80, 0x80}, {0x7f, 0x7f}, {0x55, 0xaa}};

    (void)state;
    for (uint32_t e = 0; e < sizeof(ends) / sizeof(*ends); e++) {
        const void *query = low, *row = high;

        memset(low, ends[e][0], dims);
        memset(high, ends[e][1], dims);
        for (uint32_t t = 0; t < TYPES; t++)
            for (uint32_t metric = 0; !is_float(types[t]) && metric < VECTOR_METRICS; metric++)
                for (uint32_t v = 0; v < variants; v++) {
                    const struct vector_distance *d = &kernels[v]->distances->of[metric][types[t]];
                    float block;

                    if (d->one == NULL)
                        continue;
                    for (uint32_t less = 0; less < 80; less += 8) {
                        expect("one", metric, types[t], low, high, dims - less, d->one(low, high, dims - less));
                        d->block(&query, 1, &row, 1, dims - less, &block, 1);
                        expect("block", metric, types[t], low, high, dims - less, block);
                    }
                }
    }
    free(low);
    free(high);
}

static void put(enum leat_type type, uint8_t *to, uint32_t i, float f, uint16_t h)
{
    if (type == LEAT_F32_VECTOR)
        memcpy(to + 4 * (size_t)i, &f, 4);
    else
        memcpy(to + 2 * (size_t)i, &h, 2);
}

/* One infinity or NaN at any place decides alone. */
static void infinity_and_nan_are_kept(void **state)
{
    enum { DIMS = 150 };
    uint32_t variants;
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);
    uint8_t a[4 * DIMS], b[4 * DIMS];
    const void *query = a, *row = b;
    float block;

    (void)state;
    for (uint32_t t = 0; t < 2; t++)
        for (uint32_t i = 0; i < DIMS; i++)
            for (uint32_t v = 0; v < variants; v++)
                for (uint32_t metric = VECTOR_L2; metric <= VECTOR_DOT; metric++) {
                    const struct vector_distance *d = &kernels[v]->distances->of[metric][types[t]];

                    for (uint32_t j = 0; j < DIMS; j++)
                        put(types[t], a, j, 1, 0x3c00), put(types[t], b, j, 2, 0x4000);
                    put(types[t], b, i, -INFINITY, 0xfc00);
                    d->block(&query, 1, &row, 1, DIMS, &block, 1);
                    same("infinity", d->one(a, b, DIMS), metric == VECTOR_L2 ? INFINITY : -INFINITY);
                    same("infinity in a block", block, metric == VECTOR_L2 ? INFINITY : -INFINITY);
                    put(types[t], b, i, NAN, 0x7e00);
                    d->block(&query, 1, &row, 1, DIMS, &block, 1);
                    assert_true(isnan(d->one(a, b, DIMS)) && isnan(block));
                }
}

/* Every number of 16 bits, and all others at random. */
static void numbers_become_floats(void **state)
{
    enum { MOST = 65536 };
    uint32_t variants;
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);
    uint8_t *row = malloc(4 * MOST + 64);
    float *out = malloc((MOST + 1) * sizeof(*out));

    (void)state;
    for (uint32_t round = 0; round < 60; round++)
        for (uint32_t t = 0; t < TYPES; t++) {
            enum leat_type type = types[t];
            uint32_t dims = round == 0 ? MOST : type == LEAT_BITS ? 8 + below(50) * 8 : 1 + below(200);
            uint8_t *at = row + below(64);

            fill(type, at, dims);
            for (uint32_t i = 0; round == 0 && type == LEAT_F16_VECTOR && i < MOST; i++)
                put(type, at, i, 0, (uint16_t)i);
            for (uint32_t v = 0; v < variants; v++) {
                out[dims] = 42;
                kernels[v]->distances->floats[type](at, dims, out);
                for (uint32_t i = 0; i < dims; i++) {
                    double wish = element(type, at, i);

                    assert_true(isnan(wish) ? isnan(out[i]) : (double)out[i] == wish);
                }
                assert_true(out[dims] == 42);
            }
        }
    free(row);
    free(out);
}

/* Vectors that end where memory ends, and that begin where it begins. */
static void nothing_beyond_the_ends_is_touched(void **state)
{
    enum { MOST = 150, N = 13 };
    size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (4 * MOST * N + page - 1) / page * page;
    uint8_t *map = mmap(NULL, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *base = map + page;
    uint32_t variants;
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);
    float out[N * N], numbers[MOST];

    (void)state;
    assert_true(map != MAP_FAILED && mprotect(base, inner, PROT_READ | PROT_WRITE) == 0);
    memset(base, 0x11, inner);
    for (uint32_t t = 0; t < TYPES; t++)
        for (uint32_t dims = types[t] == LEAT_BITS ? 8 : 1; dims <= MOST; dims += types[t] == LEAT_BITS ? 8 : 1)
            for (uint32_t n = 1; n <= N; n++)
                for (uint32_t v = 0; v < variants; v++) {
                    size_t size = leat_vector_size(types[t], dims);
                    const uint8_t *first[2] = {base, base + inner - n * size};
                    const struct vector_distance *d = &kernels[v]->distances->of[VECTOR_L2][types[t]];
                    const void *row[N];

                    for (uint32_t end = 0; end < 2; end++) {
                        for (uint32_t i = 0; i < n; i++)
                            row[i] = first[end] + i * size;
                        d->strided(row[n - 1], row[0], size, n, dims, out);
                        d->pointers(row[0], row, n, dims, out);
                        d->block(row, n, row, n, dims, out, N);
                        assert_true(out[0] == 0);
                        kernels[v]->distances->floats[types[t]](row[n - 1], dims, numbers);
                    }
                }
    munmap(map, inner + 2 * page);
}

static void what_has_no_meaning_is_not_there(void **state)
{
    float row[2][3] = {{1, 2, 3}, {4, 5, 6}}, squares[2], numbers[3];
    const struct vector_distance *l2 = vector_distance(VECTOR_L2, LEAT_F32_VECTOR);

    (void)state;
    assert_null(vector_distance(VECTOR_HAMMING, LEAT_F32_VECTOR));
    assert_null(vector_distance(VECTOR_L2, LEAT_STR));
    assert_null(vector_distance(VECTOR_METRICS, LEAT_F32_VECTOR));
    assert_null(vector_distance(VECTOR_L2, (enum leat_type)VECTOR_TYPES));
    assert_non_null(vector_distance(VECTOR_HAMMING, LEAT_BITS));
    assert_true(l2->one(row[0], row[1], 3) == 27);
    vector_squares(LEAT_F32_VECTOR, row, sizeof(row[0]), 2, 3, squares);
    assert_true(squares[0] == 14 && squares[1] == 77);
    vector_floats(LEAT_F32_VECTOR, row[1], 3, numbers);
    assert_memory_equal(numbers, row[1], sizeof(numbers));
}

static float float_of(uint16_t half)
{
    float number;

    vector_floats(LEAT_F16_VECTOR, &half, 1, &number);
    return number;
}

/* Every finite f16 is itself, and of any float there is none nearer. */
static void halves_are_the_nearest(void **state)
{
    enum { LARGEST = 0x7bff, SIGN = 0x8000 };
    uint16_t half;

    (void)state;
    draw_from(5);
    for (uint32_t bits = 0; bits <= LARGEST; bits++) {
        float numbers[2] = {float_of((uint16_t)bits), float_of((uint16_t)(bits | SIGN))};
        uint16_t halves[2];

        vector_halves(numbers, 2, halves);
        assert_int_equal(halves[0], bits);
        assert_int_equal(halves[1], bits | SIGN);
    }
    for (int i = 0; i < 100000; i++) {
        float number = ldexpf((float)below(1 << 24) - (1 << 23), (int)below(44) - 50);

        vector_halves(&number, 1, &half);
        float off = fabsf(float_of(half) - number);
        if ((half & LARGEST) != LARGEST)
            assert_true(off <= fabsf(float_of((uint16_t)(half + 1)) - number));
        if ((half & ~SIGN) != 0)
            assert_true(off <= fabsf(float_of((uint16_t)(half - 1)) - number));
    }
    vector_halves((const float[]){1e9F}, 1, &half);
    assert_int_equal(half, LARGEST);
    vector_halves((const float[]){-65520}, 1, &half);
    assert_int_equal(half, LARGEST | SIGN);
    vector_halves((const float[]){65519}, 1, &half);
    assert_int_equal(half, LARGEST);
    uint16_t even[2]; /* between two: the even one */
    vector_halves((const float[]){2049, 2051}, 2, even);
    assert_true(float_of(even[0]) == 2048 && float_of(even[1]) == 2052);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves_are_the_nearest),
        cmocka_unit_test(distances_are_those_of_the_model),
        cmocka_unit_test(a_pair_in_a_block_has_the_same_sum_in_any_company),
        cmocka_unit_test(the_largest_integers_do_not_overflow),
        cmocka_unit_test(infinity_and_nan_are_kept),
        cmocka_unit_test(numbers_become_floats),
        cmocka_unit_test(nothing_beyond_the_ends_is_touched),
        cmocka_unit_test(what_has_no_meaning_is_not_there),
    };
    int failed;

    memory = malloc((size_t)(MOST_QUERIES + MOST_ROWS) * (MOST_BYTES + 64) + 64);
    draw_from(20261121);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(memory);
    return failed;
}
