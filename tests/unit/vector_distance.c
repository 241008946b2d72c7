/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "modules/vector/distance.h"
#include "modules/vector/vector.h"

/* Every variant this processor has, by metric and type, against sums in double precision. */

enum { MOST_DIMS = 1100, MOST_ROWS = 150, MOST_QUERIES = 70, MOST_BYTES = 4 * MOST_DIMS };

static uint64_t seed = 20261121;

static uint32_t below(uint32_t bound)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(seed >> 33) % bound;
}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distances_are_those_of_the_model),
        cmocka_unit_test(a_pair_in_a_block_has_the_same_sum_in_any_company),
    };
    int failed;

    memory = malloc((size_t)(MOST_QUERIES + MOST_ROWS) * (MOST_BYTES + 64) + 64);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(memory);
    return failed;
}
