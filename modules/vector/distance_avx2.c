/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/distance_shapes.h"

#if defined(__x86_64__)
#include <immintrin.h>

/* A row is taken in steps of 32 or 16 bytes, that fill a register of numbers as they are computed with: integers of 8
 * bits as those of 16. Whatever the type, sums have lanes of 32 bits. Metric, type and n are constants wherever they
 * are inlined, so that sums are registers. */

#define ALWAYS VECTOR_ALWAYS
#define AVX2   __attribute__((target("avx2,fma,f16c")))

ALWAYS bool is_float(enum leat_type type)
{
    return type == LEAT_F32_VECTOR || type == LEAT_F16_VECTOR;
}

ALWAYS size_t step_of(enum leat_type type)
{
    return type == LEAT_F32_VECTOR || type == LEAT_BITS ? 32 : 16;
}

AVX2 ALWAYS __m256i widen(enum leat_type type, __m128i v)
{
    return type == LEAT_F16_VECTOR  ? _mm256_castps_si256(_mm256_cvtph_ps(v))
           : type == LEAT_I8_VECTOR ? _mm256_cvtepi8_epi16(v)
                                    : _mm256_cvtepu8_epi16(v);
}

AVX2 ALWAYS __m256i load(enum leat_type type, const uint8_t *at)
{
    return step_of(type) == 32 ? _mm256_loadu_si256((const __m256i_u *)at)
                               : widen(type, _mm_loadu_si128((const __m128i_u *)at));
}

/* What is left of a vector that is not a whole number of steps. There is no load of some bytes: where there are enough
 * before the end, the last step again without what was taken before; in the place of that, and of what is behind the
 * end, are zeros, which add nothing to any of the metrics. */
struct rest {
    size_t i, count; /* bytes taken, bytes left */
    bool from_end;
};

AVX2 ALWAYS __m256i load_rest(enum leat_type type, const uint8_t *base, struct rest rest)
{
    static const uint8_t mask[64] = {[32] = 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
                                     255,        255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
                                     255,        255, 255, 255, 255, 255, 255, 255, 255, 255};
    size_t step = step_of(type);
    const uint8_t *at = base + rest.i + rest.count - step, *keep = mask + 32 - step + rest.count;
    uint8_t few[32] = {0};

    if (!rest.from_end) {
        memcpy(few, base + rest.i, rest.count);
        return load(type, few);
    }
    if (step == 32)
        return _mm256_and_si256(_mm256_loadu_si256((const __m256i_u *)at), _mm256_loadu_si256((const __m256i_u *)keep));
    return widen(type, _mm_and_si128(_mm_loadu_si128((const __m128i_u *)at), _mm_loadu_si128((const __m128i_u *)keep)));
}

/* Bits of each half byte by table, bytes added to four sums of 64 bits (Muła, Kurz and Lemire, "Faster Population
 * Counts Using AVX2 Instructions", The Computer Journal 61 (1), 2018, section 3.1). */
AVX2 ALWAYS __m256i count_bits(__m256i v)
{
    const __m256i low = _mm256_set1_epi8(15);
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2,
                                           2, 3, 2, 3, 3, 4);
    __m256i count = _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(v, low)),
                                    _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(v, 4), low)));

    return _mm256_sad_epu8(count, _mm256_setzero_si256());
}

AVX2 ALWAYS __m256i add(enum vector_metric metric, enum leat_type type, __m256i sum, __m256i q, __m256i r)
{
    if (is_float(type)) {
        __m256 x = _mm256_castsi256_ps(q), y = _mm256_castsi256_ps(r), s = _mm256_castsi256_ps(sum), d;

        d = metric == VECTOR_L2 ? _mm256_sub_ps(x, y) : x;
        return _mm256_castps_si256(_mm256_fmadd_ps(d, metric == VECTOR_L2 ? d : y, s));
    }
    if (type == LEAT_BITS)
        return _mm256_add_epi32(sum,
                                count_bits(metric == VECTOR_DOT ? _mm256_and_si256(q, r) : _mm256_xor_si256(q, r)));
    if (metric == VECTOR_L2)
        q = r = _mm256_sub_epi16(q, r);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(q, r));
}

AVX2 ALWAYS __m256i plus(enum leat_type type, __m256i a, __m256i b)
{
    return is_float(type) ? _mm256_castps_si256(_mm256_add_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)))
                          : _mm256_add_epi32(a, b);
}

/* Sums of the lanes of four registers, always in the same order: four to one in each half, then the halves. */
AVX2 ALWAYS __m128i across(enum leat_type type, __m256i a, __m256i b, __m256i c, __m256i d)
{
    __m256i ab = plus(type, _mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    __m256i cd = plus(type, _mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    __m256i all = plus(type, _mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));

    return _mm256_castsi256_si128(plus(type, all, _mm256_permute2x128_si256(all, all, 1)));
}

/* Unsigned numbers by their halves, which are exact as floats, as is the higher times 2^16: rounded once. */
AVX2 ALWAYS __m128 result(enum vector_metric metric, enum leat_type type, __m128i sums)
{
    if (is_float(type))
        return _mm_castsi128_ps(sums);
    if (type == LEAT_BITS || (type == LEAT_I8_VECTOR && metric == VECTOR_DOT))
        return _mm_cvtepi32_ps(sums);
    return _mm_fmadd_ps(_mm_cvtepi32_ps(_mm_srli_epi32(sums, 16)), _mm_set1_ps(0x1p16F),
                        _mm_cvtepi32_ps(_mm_and_si128(sums, _mm_set1_epi32(0xffff))));
}

/* ---- One query ---- */

ALWAYS uint32_t together(enum leat_type type)
{
    (void)type;
    return 4;
}

/* n rows, 1 or 4, of two sums each: one would wait for its last addition. */
AVX2 ALWAYS void rows(enum vector_metric metric, enum leat_type type, const void *query, const void *const *row,
                      const void *const *ahead, uint32_t n, uint32_t dims, float *out)
{
    size_t size = vector_size_of(type, dims), step = step_of(type), i = 0;
    __m256i sum[4][2];

#pragma GCC unroll 4
    for (uint32_t r = 0; r < 4; r++)
        sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (; i + 2 * step <= size; i += 2 * step)
#pragma GCC unroll 2
        for (uint32_t part = 0; part < 2; part++) {
            __m256i q = load(type, (const uint8_t *)query + i + part * step);

#pragma GCC unroll 4
            for (uint32_t r = 0; r < n; r++) {
                if (ahead != NULL && part == 0)
                    __builtin_prefetch((const uint8_t *)ahead[r] + i);
                sum[r][part] = add(metric, type, sum[r][part], q,
                                   load(type, (const uint8_t *)row[r] + i + part * step));
            }
        }
    if (i + step <= size) {
        __m256i q = load(type, (const uint8_t *)query + i);

#pragma GCC unroll 4
        for (uint32_t r = 0; r < n; r++)
            sum[r][0] = add(metric, type, sum[r][0], q, load(type, (const uint8_t *)row[r] + i));
        i += step;
    }
    if (i < size) {
        struct rest rest = {i, size - i, size >= step};
        __m256i q = load_rest(type, query, rest);

#pragma GCC unroll 4
        for (uint32_t r = 0; r < n; r++)
            sum[r][1] = add(metric, type, sum[r][1], q, load_rest(type, row[r], rest));
    }
#pragma GCC unroll 4
    for (uint32_t r = 0; r < 4; r++)
        sum[r][0] = plus(type, sum[r][0], sum[r][1]);
    __m128 results = result(metric, type, across(type, sum[0][0], sum[1][0], sum[2][0], sum[3][0]));
    if (n == 4)
        _mm_storeu_ps(out, results);
    else
        _mm_store_ss(out, results);
}

AVX2 ALWAYS void few(enum vector_metric metric, enum leat_type type, const void *query, const void *const *row,
                     const void *const *ahead, uint32_t n, uint32_t dims, float *out)
{
    if (n == 4 && ahead != NULL)
        rows(metric, type, query, row, ahead, 4, dims, out);
    else if (n == 4)
        rows(metric, type, query, row, NULL, 4, dims, out);
    else
        for (uint32_t r = 0; r < n; r++)
            rows(metric, type, query, row + r, NULL, 1, dims, out + r);
}

/* ---- Tiles: two queries at once, for there are 16 registers ---- */

AVX2 ALWAYS uint32_t term(enum vector_metric metric, enum leat_type type, const void *vector, uint32_t dims, bool query)
{
    (void)metric;
    (void)type;
    (void)vector;
    (void)dims;
    (void)query;
    return 0;
}

AVX2 ALWAYS void two(enum vector_metric metric, enum leat_type type, const void *const *query, const void *const *row,
                     uint32_t dims, float *out, size_t width)
{
    size_t size = vector_size_of(type, dims), step = step_of(type), i = 0;
    __m256i sum[2][VECTOR_TILE];

#pragma GCC unroll 2
    for (uint32_t q = 0; q < 2; q++)
        sum[q][0] = sum[q][1] = sum[q][2] = sum[q][3] = _mm256_setzero_si256();
    for (; i + step <= size; i += step) {
        __m256i a = load(type, (const uint8_t *)query[0] + i), b = load(type, (const uint8_t *)query[1] + i);

#pragma GCC unroll 4
        for (uint32_t r = 0; r < VECTOR_TILE; r++) {
            __m256i v = load(type, (const uint8_t *)row[r] + i);

            sum[0][r] = add(metric, type, sum[0][r], a, v);
            sum[1][r] = add(metric, type, sum[1][r], b, v);
        }
    }
    if (i < size) {
        struct rest rest = {i, size - i, size >= step};
        __m256i a = load_rest(type, query[0], rest), b = load_rest(type, query[1], rest);

#pragma GCC unroll 4
        for (uint32_t r = 0; r < VECTOR_TILE; r++) {
            __m256i v = load_rest(type, row[r], rest);

            sum[0][r] = add(metric, type, sum[0][r], a, v);
            sum[1][r] = add(metric, type, sum[1][r], b, v);
        }
    }
#pragma GCC unroll 2
    for (uint32_t q = 0; q < 2; q++)
        _mm_storeu_ps(out + q * width, result(metric, type, across(type, sum[q][0], sum[q][1], sum[q][2], sum[q][3])));
}

AVX2 ALWAYS void tile(enum vector_metric metric, enum leat_type type, const void *const *query, const void *const *row,
                      uint32_t dims, const uint32_t *query_term, const uint32_t *row_term, float *out, size_t width)
{
    (void)query_term;
    (void)row_term;
    for (uint32_t q = 0; q < VECTOR_TILE; q += 2)
        two(metric, type, query + q, row, dims, out + q * width, width);
}

/* ---- Conversion ---- */

AVX2 ALWAYS __m256 eight(enum leat_type type, const uint8_t *row, size_t i)
{
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m128i half;

    if (type == LEAT_F32_VECTOR)
        return _mm256_loadu_ps((const float *)(const void *)(row + 4 * i));
    if (type == LEAT_F16_VECTOR)
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)(row + 2 * i)));
    if (type == LEAT_BITS) {
        __m256i set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(row[i / 8]), bit), bit);

        return _mm256_and_ps(_mm256_castsi256_ps(set), _mm256_set1_ps(1));
    }
    half = _mm_loadl_epi64((const __m128i_u *)(row + i));
    return _mm256_cvtepi32_ps(type == LEAT_I8_VECTOR ? _mm256_cvtepi8_epi32(half) : _mm256_cvtepu8_epi32(half));
}

AVX2 ALWAYS void floats(enum leat_type type, const void *row, uint32_t dims, float *out)
{
    uint8_t few[32] = {0};
    float last[8];
    size_t i = 0;

    for (; i + 8 <= dims; i += 8)
        _mm256_storeu_ps(out + i, eight(type, row, i));
    if (i < dims) {
        memcpy(few, (const uint8_t *)row + vector_size_of(type, (uint32_t)i), vector_size_of(type, dims - (uint32_t)i));
        _mm256_storeu_ps(last, eight(type, few, 0));
        memcpy(out + i, last, (dims - i) * sizeof(*out));
    }
}

/* ---- The table ---- */

VECTOR_VARIANT(AVX2)

const struct vector_distances vector_distances_avx2 = VECTOR_DISTANCES;
#endif
