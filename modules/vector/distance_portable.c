/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/distance.h"

#include <string.h>

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

ALWAYS float term(enum vector_metric metric, float x, float y)
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
            sum[j] += term(metric, number(type, a, i + j), number(type, b, i + j));
    for (; i < dims; i++)
        sum[0] += term(metric, number(type, a, i), number(type, b, i));
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
    return type == LEAT_I8_VECTOR ? (float)(int32_t)sum : (float)sum;
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

#define FUNCTIONS(metric, type, name)                                                                                  \
    static float one_##name(const void *a, const void *b, uint32_t dims)                                               \
    {                                                                                                                  \
        return of(metric, type, a, b, dims);                                                                           \
    }                                                                                                                  \
    static void pointers_##name(const void *query, const void *const *row, uint32_t n, uint32_t dims, float *out)      \
    {                                                                                                                  \
        for (uint32_t i = 0; i < n; i++)                                                                               \
            out[i] = one_##name(query, row[i], dims);                                                                  \
    }                                                                                                                  \
    static void strided_##name(const void *query, const void *row, size_t stride, uint32_t n, uint32_t dims,           \
                               float *out)                                                                             \
    {                                                                                                                  \
        for (uint32_t i = 0; i < n; i++)                                                                               \
            out[i] = one_##name(query, (const uint8_t *)row + i * stride, dims);                                       \
    }                                                                                                                  \
    static void block_##name(const void *const *query, uint32_t queries, const void *const *row, uint32_t rows,        \
                             uint32_t dims, float *out, size_t width)                                                  \
    {                                                                                                                  \
        for (uint32_t r = 0; r < rows; r++)                                                                            \
            for (uint32_t q = 0; q < queries; q++)                                                                     \
                out[q * width + r] = one_##name(query[q], row[r], dims);                                               \
    }

#define FLOATS(type, name)                                                                                             \
    static void floats_##name(const void *row, uint32_t dims, float *out)                                              \
    {                                                                                                                  \
        floats(type, row, dims, out);                                                                                  \
    }

FUNCTIONS(VECTOR_L2, LEAT_F32_VECTOR, l2_f32)
FUNCTIONS(VECTOR_L2, LEAT_F16_VECTOR, l2_f16)
FUNCTIONS(VECTOR_L2, LEAT_I8_VECTOR, l2_i8)
FUNCTIONS(VECTOR_L2, LEAT_U8_VECTOR, l2_u8)
FUNCTIONS(VECTOR_L2, LEAT_BITS, l2_bits)
FUNCTIONS(VECTOR_DOT, LEAT_F32_VECTOR, dot_f32)
FUNCTIONS(VECTOR_DOT, LEAT_F16_VECTOR, dot_f16)
FUNCTIONS(VECTOR_DOT, LEAT_I8_VECTOR, dot_i8)
FUNCTIONS(VECTOR_DOT, LEAT_U8_VECTOR, dot_u8)
FUNCTIONS(VECTOR_DOT, LEAT_BITS, dot_bits)
FLOATS(LEAT_F32_VECTOR, f32)
FLOATS(LEAT_F16_VECTOR, f16)
FLOATS(LEAT_I8_VECTOR, i8)
FLOATS(LEAT_U8_VECTOR, u8)
FLOATS(LEAT_BITS, bits)

#define DISTANCE(name) {one_##name, pointers_##name, strided_##name, block_##name}

const struct vector_distances vector_distances_portable = {
    .of = {[VECTOR_L2] = {[LEAT_F32_VECTOR] = DISTANCE(l2_f32), [LEAT_F16_VECTOR] = DISTANCE(l2_f16),
                          [LEAT_I8_VECTOR] = DISTANCE(l2_i8), [LEAT_U8_VECTOR] = DISTANCE(l2_u8),
                          [LEAT_BITS] = DISTANCE(l2_bits)},
           [VECTOR_DOT] = {[LEAT_F32_VECTOR] = DISTANCE(dot_f32), [LEAT_F16_VECTOR] = DISTANCE(dot_f16),
                           [LEAT_I8_VECTOR] = DISTANCE(dot_i8), [LEAT_U8_VECTOR] = DISTANCE(dot_u8),
                           [LEAT_BITS] = DISTANCE(dot_bits)},
           [VECTOR_HAMMING] = {[LEAT_BITS] = DISTANCE(l2_bits)}},
    .floats = {[LEAT_F32_VECTOR] = floats_f32, [LEAT_F16_VECTOR] = floats_f16, [LEAT_I8_VECTOR] = floats_i8,
               [LEAT_U8_VECTOR] = floats_u8, [LEAT_BITS] = floats_bits},
};
