/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/distance_shapes.h"

/* The reference. Types and metrics are constants wherever they are inlined. */

#define ALWAYS static inline __attribute__((always_inline))

/* IEEE binary16: exponent and mantissa are moved in place as they are, a product with 2^112 puts the exponent right and
 * makes numbers of the subnormal ones; infinity and NaN get the exponent of theirs. */
static inline float half(uint16_t h)
{
    const uint32_t bias = (uint32_t)(127 + 112) << 23;
    uint32_t bits = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
    float f, scale;

    memcpy(&f, &bits, 4);
    memcpy(&scale, &bias, 4);
    f *= scale;
    memcpy(&bits, &f, 4);
    bits |= sign | ((h & 0x7c00) == 0x7c00 ? 0x7f800000U : 0);
    memcpy(&f, &bits, 4);
    return f;
}

ALWAYS float number(enum leat_type type, const void *base, size_t i)
{
    float f;
    uint16_t h;

    if (type == LEAT_F16_VECTOR) {
        memcpy(&h, (const uint8_t *)base + 2 * i, 2);
        return half(h);
    }
    memcpy(&f, (const uint8_t *)base + 4 * i, 4);
    return f;
}

ALWAYS float of_two(enum vector_metric metric, float x, float y)
{
    return metric == VECTOR_L2 ? (x - y) * (x - y) : x * y;
}

/* Four sums: the compiler may use vectors, and the error of a long sum falls to a quarter. */
ALWAYS float of_floats(enum vector_metric metric, enum leat_type type, const void *a, const void *b, uint32_t dims)
{
    float sum[4] = {0, 0, 0, 0};
    uint32_t i = 0;

    for (; i + 4 <= dims; i += 4)
        for (uint32_t j = 0; j < 4; j++)
            sum[j] += of_two(metric, number(type, a, i + j), number(type, b, i + j));
    for (; i < dims; i++)
        sum[0] += of_two(metric, number(type, a, i), number(type, b, i));
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Modulo 2^32, which nothing here passes: 65,536 * 255^2 < 2^32, and 65,536 * 128^2 < 2^31. */
ALWAYS float of_integers(enum vector_metric metric, enum leat_type type, const void *a, const void *b, uint32_t dims)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < dims; i++) {
        int x = type == LEAT_I8_VECTOR ? ((const int8_t *)a)[i] : ((const uint8_t *)a)[i];
        int y = type == LEAT_I8_VECTOR ? ((const int8_t *)b)[i] : ((const uint8_t *)b)[i];

        sum += (uint32_t)(metric == VECTOR_L2 ? (x - y) * (x - y) : x * y);
    }
    return type == LEAT_I8_VECTOR && metric == VECTOR_DOT ? (float)(int32_t)sum : (float)sum;
}

ALWAYS uint32_t of_word(enum vector_metric metric, const uint8_t *a, const uint8_t *b, size_t size)
{
    uint64_t x = 0, y = 0;

    memcpy(&x, a, size);
    memcpy(&y, b, size);
    return (uint32_t)__builtin_popcountll(metric == VECTOR_DOT ? x & y : x ^ y);
}

ALWAYS float of_bits(enum vector_metric metric, const void *a, const void *b, uint32_t dims)
{
    uint32_t sum = 0, size = dims / 8, i = 0;

    for (; i + 8 <= size; i += 8)
        sum += of_word(metric, (const uint8_t *)a + i, (const uint8_t *)b + i, 8);
    if (i < size)
        sum += of_word(metric, (const uint8_t *)a + i, (const uint8_t *)b + i, size - i);
    return (float)sum;
}

ALWAYS float of(enum vector_metric metric, enum leat_type type, const void *a, const void *b, uint32_t dims)
{
    if (type == LEAT_BITS)
        return of_bits(metric, a, b, dims);
    if (type == LEAT_I8_VECTOR || type == LEAT_U8_VECTOR)
        return of_integers(metric, type, a, b, dims);
    return of_floats(metric, type, a, b, dims);
}

ALWAYS void floats(enum leat_type type, const void *row, uint32_t dims, float *out)
{
    const uint8_t *byte = row;

    for (uint32_t i = 0; i < dims; i++)
        out[i] = type == LEAT_BITS        ? (float)(byte[i / 8] >> i % 8 & 1)
                 : type == LEAT_I8_VECTOR ? (float)(int8_t)byte[i]
                 : type == LEAT_U8_VECTOR ? (float)byte[i]
                                          : number(type, row, i);
}

ALWAYS uint32_t together(enum leat_type type)
{
    (void)type;
    return 4;
}

ALWAYS void few(enum vector_metric metric, enum leat_type type, const void *query, const void *const *row,
                const void *const *ahead, uint32_t n, uint32_t dims, float *out)
{
    (void)ahead;
    for (uint32_t r = 0; r < n; r++)
        out[r] = of(metric, type, query, row[r], dims);
}

ALWAYS uint32_t term(enum vector_metric metric, enum leat_type type, const void *vector, uint32_t dims, bool query)
{
    (void)metric;
    (void)type;
    (void)vector;
    (void)dims;
    (void)query;
    return 0;
}

ALWAYS void tile(enum vector_metric metric, enum leat_type type, const void *const *query, const void *const *row,
                 uint32_t dims, const uint32_t *query_term, const uint32_t *row_term, float *out, size_t width)
{
    (void)query_term;
    (void)row_term;
    for (uint32_t q = 0; q < VECTOR_TILE; q++)
        for (uint32_t r = 0; r < VECTOR_TILE; r++)
            out[q * width + r] = of(metric, type, query[q], row[r], dims);
}

VECTOR_VARIANT()

const struct vector_distances vector_distances_portable = VECTOR_DISTANCES;
