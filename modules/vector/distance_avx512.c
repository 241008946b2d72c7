/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/distance_shapes.h"

#if defined(__x86_64__)
#include <immintrin.h>

/* A row is taken in steps of 64 or 32 bytes, that fill a register of numbers as they are computed with; whatever the
 * type, sums have lanes of 32 bits. What is behind the end is not read and counts as zeros, which add nothing to any of
 * the metrics. Metric, type and n are constants wherever they are inlined, so that sums are registers. */

#define ALWAYS VECTOR_ALWAYS
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq")))

ALWAYS bool is_float(enum leat_type type)
{
    return type == LEAT_F32_VECTOR || type == LEAT_F16_VECTOR;
}

ALWAYS bool is_integer(enum leat_type type)
{
    return type == LEAT_I8_VECTOR || type == LEAT_U8_VECTOR;
}

/* Bytes. Squares of differences of 8 bits are computed with 16. */
ALWAYS size_t step_of(enum vector_metric metric, enum leat_type type)
{
    return type == LEAT_F16_VECTOR || (is_integer(type) && metric == VECTOR_L2) ? 32 : 64;
}

AVX512 ALWAYS __m512i widen(enum leat_type type, __m256i v)
{
    return type == LEAT_F16_VECTOR  ? _mm512_castps_si512(_mm512_cvtph_ps(v))
           : type == LEAT_I8_VECTOR ? _mm512_cvtepi8_epi16(v)
                                    : _mm512_cvtepu8_epi16(v);
}

/* The bytes from i on; only the first `left` of them if they are the last. */
AVX512 ALWAYS __m512i load(enum leat_type type, size_t step, const void *base, size_t i, bool last, size_t left)
{
    const uint8_t *at = (const uint8_t *)base + i;
    __mmask64 mask = !last || left >= 64 ? ~0ULL : (1ULL << left) - 1;

    if (step == 64)
        return last ? _mm512_maskz_loadu_epi8(mask, at) : _mm512_loadu_si512(at);
    return widen(type, last ? _mm256_maskz_loadu_epi8((__mmask32)mask, at) : _mm256_loadu_si256((const __m256i_u *)at));
}

/* VNNI multiplies unsigned numbers by signed ones: the row's numbers change their kind by 128, what that adds to the
 * sum is `bias`. */
AVX512 ALWAYS __m512i add(enum vector_metric metric, enum leat_type type, __m512i sum, __m512i q, __m512i r)
{
    if (is_float(type)) {
        __m512 x = _mm512_castsi512_ps(q), y = _mm512_castsi512_ps(r), s = _mm512_castsi512_ps(sum), d;

        d = metric == VECTOR_L2 ? _mm512_sub_ps(x, y) : x;
        return _mm512_castps_si512(_mm512_fmadd_ps(d, metric == VECTOR_L2 ? d : y, s));
    }
    if (type == LEAT_BITS)
        return _mm512_add_epi32(
            sum, _mm512_popcnt_epi32(metric == VECTOR_DOT ? _mm512_and_si512(q, r) : _mm512_xor_si512(q, r)));
    if (metric == VECTOR_L2) {
        __m512i d = _mm512_sub_epi16(q, r);

        return _mm512_dpwssd_epi32(sum, d, d);
    }
    r = _mm512_xor_si512(r, _mm512_set1_epi8(-128));
    return type == LEAT_I8_VECTOR ? _mm512_dpbusd_epi32(sum, r, q) : _mm512_dpbusd_epi32(sum, q, r);
}

/* Less the bias is the product: -128 times the sum of u8, 128 times that of i8. */
AVX512 ALWAYS __m512i unbias(enum leat_type type, __m512i sum, __m512i q)
{
    const __m512i ones = _mm512_set1_epi8(1);

    return type == LEAT_I8_VECTOR ? _mm512_dpbusd_epi32(sum, ones, q) : _mm512_dpbusd_epi32(sum, q, ones);
}

ALWAYS bool has_bias(enum vector_metric metric, enum leat_type type)
{
    return is_integer(type) && metric == VECTOR_DOT;
}

AVX512 ALWAYS __m512i plus(enum leat_type type, __m512i a, __m512i b)
{
    return is_float(type) ? _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)))
                          : _mm512_add_epi32(a, b);
}

/* Sums of the lanes of four registers, always in the same order: four to one in each quarter, then the quarters. */
AVX512 ALWAYS __m128i across(enum leat_type type, __m512i a, __m512i b, __m512i c, __m512i d)
{
    __m512i ab = plus(type, _mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = plus(type, _mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    __m512i all = plus(type, _mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));

    all = plus(type, all, _mm512_shuffle_i64x2(all, all, 0x4e));
    all = plus(type, all, _mm512_shuffle_i64x2(all, all, 0xb1));
    return _mm512_castsi512_si128(all);
}

AVX512 ALWAYS __m128 result(enum vector_metric metric, enum leat_type type, __m128i sums)
{
    return is_float(type)                                   ? _mm_castsi128_ps(sums)
           : type == LEAT_I8_VECTOR && metric == VECTOR_DOT ? _mm_cvtepi32_ps(sums)
                                                            : _mm_cvtepu32_ps(sums);
}

/* ---- One query ---- */

ALWAYS uint32_t together(enum leat_type type)
{
    return is_float(type) ? 4 : 8;
}

/* n rows, 1 or a multiple of 4. Floats have several sums a row: one alone would wait for its last addition. */
struct sums {
    __m512i row[VECTOR_FEW][4], bias;
};

struct kind {
    enum vector_metric metric;
    enum leat_type type;
    uint32_t n, parts;
    size_t step;
};

AVX512 ALWAYS void take(struct kind k, struct sums *s, const void *query, const void *const *row,
                        const void *const *ahead, size_t i, uint32_t part, bool last, size_t left)
{
    __m512i q = load(k.type, k.step, query, i, last, left);

    if (has_bias(k.metric, k.type))
        s->bias = unbias(k.type, s->bias, q);
#pragma GCC unroll 8
    for (uint32_t r = 0; r < k.n; r++) {
        __m512i *sum = &s->row[r][part % k.parts];

        if (ahead != NULL && part * k.step % 64 == 0)
            __builtin_prefetch((const uint8_t *)ahead[r] + i);
        *sum = add(k.metric, k.type, *sum, q, load(k.type, k.step, row[r], i, last, left));
    }
}

AVX512 ALWAYS void finish(struct kind k, struct sums *s, float *out)
{
    __m512i bias = _mm512_slli_epi32(s->bias, 7);

#pragma GCC unroll 8
    for (uint32_t r = 0; r < k.n; r++) {
        __m512i *sum = s->row[r];

        if (k.parts == 4)
            sum[1] = plus(k.type, sum[1], sum[3]), sum[0] = plus(k.type, sum[0], sum[2]);
        if (k.parts >= 2)
            sum[0] = plus(k.type, sum[0], sum[1]);
        if (has_bias(k.metric, k.type))
            sum[0] = k.type == LEAT_I8_VECTOR ? _mm512_sub_epi32(sum[0], bias) : _mm512_add_epi32(sum[0], bias);
    }
#pragma GCC unroll 2
    for (uint32_t r = 0; r + 4 <= k.n; r += 4)
        _mm_storeu_ps(out + r,
                      result(k.metric, k.type,
                             across(k.type, s->row[r][0], s->row[r + 1][0], s->row[r + 2][0], s->row[r + 3][0])));
    if (k.n == 1)
        _mm_store_ss(out,
                     result(k.metric, k.type, across(k.type, s->row[0][0], s->row[0][0], s->row[0][0], s->row[0][0])));
}

AVX512 ALWAYS void rows(struct kind k, const void *query, const void *const *row, const void *const *ahead,
                        uint32_t dims, float *out)
{
    /* A step for each sum, but a whole line at least, that is fetched once. */
    const uint32_t steps = k.parts > 1 ? k.parts : (uint32_t)(64 / k.step);
    size_t size = vector_size_of(k.type, dims), i = 0;
    struct sums s;

    s.bias = _mm512_setzero_si512();
#pragma GCC unroll 8
    for (uint32_t r = 0; r < k.n; r++)
        s.row[r][0] = s.row[r][1] = s.row[r][2] = s.row[r][3] = _mm512_setzero_si512();
    for (; i + steps * k.step <= size; i += steps * k.step)
#pragma GCC unroll 4
        for (uint32_t part = 0; part < steps; part++)
            take(k, &s, query, row, ahead, i + part * k.step, part, false, 0);
#pragma GCC unroll 4
    for (uint32_t part = 0; part < steps; part++)
        if (i + part * k.step < size)
            take(k, &s, query, row, ahead, i + part * k.step, part, true, size - i - part * k.step);
    finish(k, &s, out);
}

AVX512 ALWAYS void few(enum vector_metric metric, enum leat_type type, const void *query, const void *const *row,
                       const void *const *ahead, uint32_t n, uint32_t dims, float *out)
{
    struct kind k = {metric, type, together(type), is_float(type) ? 4 : 1, step_of(metric, type)};
    struct kind alone = k;

    alone.n = 1;
    if (n == k.n && ahead != NULL)
        rows(k, query, row, ahead, dims, out);
    else if (n == k.n)
        rows(k, query, row, NULL, dims, out);
    else
        for (uint32_t r = 0; r < n; r++)
            rows(alone, query, row + r, NULL, dims, out + r);
}

/* ---- Tiles ---- */

/* Squared distances of integers are exact as those of the ends less twice the product, and so take no wider numbers. */
AVX512 ALWAYS uint32_t term(enum vector_metric metric, enum leat_type type, const void *vector, uint32_t dims,
                            bool query)
{
    __m512i square = _mm512_setzero_si512(), bias = square;

    if (!is_integer(type) || (metric == VECTOR_DOT && !query))
        return 0;
    for (size_t i = 0; i < dims; i += 64) {
        __m512i v = load(type, 64, vector, i, true, dims - i);

        square = add(VECTOR_DOT, type, square, v, v);
        bias = unbias(type, bias, v);
    }
    uint32_t change = (uint32_t)_mm512_reduce_add_epi32(bias) << 7;
    change = type == LEAT_I8_VECTOR ? -change : change;
    if (metric == VECTOR_DOT)
        return change;
    return (uint32_t)_mm512_reduce_add_epi32(square) + change - (query ? 2 * change : 0);
}

AVX512 ALWAYS void tile_take(struct kind k, __m512i sum[VECTOR_TILE][VECTOR_TILE], const void *const *query,
                             const void *const *row, size_t i, bool last, size_t left)
{
    __m512i q[VECTOR_TILE];

#pragma GCC unroll 4
    for (uint32_t j = 0; j < VECTOR_TILE; j++)
        q[j] = load(k.type, k.step, query[j], i, last, left);
#pragma GCC unroll 4
    for (uint32_t r = 0; r < VECTOR_TILE; r++) {
        __m512i v = load(k.type, k.step, row[r], i, last, left);

#pragma GCC unroll 4
        for (uint32_t j = 0; j < VECTOR_TILE; j++)
            sum[j][r] = add(k.metric, k.type, sum[j][r], q[j], v);
    }
}

AVX512 ALWAYS __m128i with_terms(enum vector_metric metric, __m128i sums, uint32_t query_term, const uint32_t *row_term)
{
    __m128i start = _mm_add_epi32(_mm_set1_epi32((int)query_term), _mm_loadu_si128((const __m128i_u *)row_term));

    return metric == VECTOR_L2 ? _mm_sub_epi32(start, _mm_slli_epi32(sums, 1)) : _mm_add_epi32(start, sums);
}

AVX512 ALWAYS void tile(enum vector_metric metric, enum leat_type type, const void *const *query,
                        const void *const *row, uint32_t dims, const uint32_t *query_term, const uint32_t *row_term,
                        float *out, size_t width)
{
    enum vector_metric inner = is_integer(type) ? VECTOR_DOT : metric;
    struct kind k = {inner, type, 0, 0, step_of(inner, type)};
    size_t size = vector_size_of(type, dims), i = 0;
    __m512i sum[VECTOR_TILE][VECTOR_TILE];

#pragma GCC unroll 4
    for (uint32_t q = 0; q < VECTOR_TILE; q++)
        sum[q][0] = sum[q][1] = sum[q][2] = sum[q][3] = _mm512_setzero_si512();
    for (; i + k.step <= size; i += k.step)
        tile_take(k, sum, query, row, i, false, 0);
    if (i < size)
        tile_take(k, sum, query, row, i, true, size - i);
#pragma GCC unroll 4
    for (uint32_t q = 0; q < VECTOR_TILE; q++) {
        __m128i sums = across(type, sum[q][0], sum[q][1], sum[q][2], sum[q][3]);

        sums = is_integer(type) ? with_terms(metric, sums, query_term[q], row_term) : sums;
        _mm_storeu_ps(out + q * width, result(metric, type, sums));
    }
}

/* ---- Conversion ---- */

AVX512 ALWAYS __m512 sixteen(enum leat_type type, const void *row, size_t i, __mmask16 mask)
{
    const uint8_t *byte = row;
    __m256i half;
    __m128i eighth;

    if (type == LEAT_F32_VECTOR)
        return _mm512_maskz_loadu_ps(mask, byte + 4 * i);
    if (type == LEAT_F16_VECTOR) {
        half = _mm256_maskz_loadu_epi16(mask, byte + 2 * i);
        return _mm512_cvtph_ps(half);
    }
    if (type == LEAT_BITS) {
        uint32_t bits = byte[i / 8] | (uint32_t)(mask >> 8 ? byte[i / 8 + 1] : 0) << 8;

        return _mm512_maskz_mov_ps((__mmask16)bits, _mm512_set1_ps(1));
    }
    eighth = _mm_maskz_loadu_epi8(mask, byte + i);
    return _mm512_cvtepi32_ps(type == LEAT_I8_VECTOR ? _mm512_cvtepi8_epi32(eighth) : _mm512_cvtepu8_epi32(eighth));
}

AVX512 ALWAYS void floats(enum leat_type type, const void *row, uint32_t dims, float *out)
{
    size_t i = 0;

    for (; i + 16 <= dims; i += 16)
        _mm512_storeu_ps(out + i, sixteen(type, row, i, 0xffff));
    if (i < dims) {
        __mmask16 mask = (__mmask16)((1U << (dims - i)) - 1);

        _mm512_mask_storeu_ps(out + i, mask, sixteen(type, row, i, mask));
    }
}

/* ---- The table ---- */

VECTOR_VARIANT(AVX512)

const struct vector_distances vector_distances_avx512 = VECTOR_DISTANCES;
#endif
