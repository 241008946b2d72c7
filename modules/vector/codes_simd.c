/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/codes.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))
#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))

/* ---- AVX2 ---- */

/* Without products that are added in one go: they are rounded in another way. */
__attribute__((target("avx2"))) void vector_signs_avx2(const uint8_t *row, const uint8_t *centroid, uint32_t padded,
                                                       uint8_t *code, struct vector_fit *out)
{
    vector_signs_of(row, centroid, padded, code, out);
}

AVX2 ALWAYS __m256 floats_avx2(__m128i bytes)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
}

AVX2 ALWAYS float total_avx2(__m256 v)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

/* sum + query by 16 bytes less their middle. */
AVX2 ALWAYS void add_avx2(__m256 sum[2], const float *query, __m128i bytes, float middle)
{
    __m256 low = _mm256_sub_ps(floats_avx2(bytes), _mm256_set1_ps(middle));
    __m256 high = _mm256_sub_ps(floats_avx2(_mm_srli_si128(bytes, 8)), _mm256_set1_ps(middle));

    sum[0] = _mm256_fmadd_ps(_mm256_loadu_ps(query), low, sum[0]);
    sum[1] = _mm256_fmadd_ps(_mm256_loadu_ps(query + 8), high, sum[1]);
}

AVX2 float vector_product4_avx2(const float *query, const uint8_t *code, uint32_t padded)
{
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    __m128i mask = _mm_set1_epi8(15);

    for (uint32_t i = 0; i < padded; i += 32, code += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)code);

        add_avx2(sum, query + i, _mm_and_si128(bytes, mask), 7.5F);
        add_avx2(sum, query + i + 16, _mm_and_si128(_mm_srli_epi16(bytes, 4), mask), 7.5F);
    }
    return total_avx2(_mm256_add_ps(sum[0], sum[1]));
}

AVX2 float vector_product8_avx2(const float *query, const uint8_t *code, uint32_t padded)
{
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};

    for (uint32_t i = 0; i < padded; i += 16)
        add_avx2(sum, query + i, _mm_loadu_si128((const __m128i *)(const void *)(code + i)), 127.5F);
    return total_avx2(_mm256_add_ps(sum[0], sum[1]));
}

/* Eight of the query and the values of eight codes; beyond n <= 8 both are 0. */
struct pair_avx2 {
    __m256 query, value;
};

AVX2 ALWAYS struct pair_avx2 eight(const float *query, const uint8_t *code, struct vector_scalars s, uint32_t n)
{
    __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    uint64_t bytes = 0;

    memcpy(&bytes, code, n);
    __m256 value = _mm256_fmadd_ps(floats_avx2(_mm_cvtsi64_si128((long long)bytes)), _mm256_set1_ps(s.step),
                                   _mm256_set1_ps(s.least));
    return (struct pair_avx2){_mm256_maskload_ps(query, mask), _mm256_and_ps(value, _mm256_castsi256_ps(mask))};
}

AVX2 float vector_scalars_l2_avx2(const float *query, const uint8_t *code, struct vector_scalars s, uint32_t dims)
{
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};

    for (uint32_t i = 0; i < dims; i += 8) {
        struct pair_avx2 p = i + 8 <= dims ? eight(query + i, code + i, s, 8) : eight(query + i, code + i, s, dims - i);
        __m256 apart = _mm256_sub_ps(p.query, p.value);

        sum[i / 8 % 2] = _mm256_fmadd_ps(apart, apart, sum[i / 8 % 2]);
    }
    return total_avx2(_mm256_add_ps(sum[0], sum[1]));
}

AVX2 float vector_scalars_dot_avx2(const float *query, const uint8_t *code, struct vector_scalars s, uint32_t dims)
{
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};

    for (uint32_t i = 0; i < dims; i += 8) {
        struct pair_avx2 p = i + 8 <= dims ? eight(query + i, code + i, s, 8) : eight(query + i, code + i, s, dims - i);

        sum[i / 8 % 2] = _mm256_fmadd_ps(p.query, p.value, sum[i / 8 % 2]);
    }
    return total_avx2(_mm256_add_ps(sum[0], sum[1]));
}

/* ---- AVX-512 ---- */

AVX512 ALWAYS __m512 add_avx512(__m512 sum, const float *query, __m128i bytes, float middle)
{
    __m512 value = _mm512_sub_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)), _mm512_set1_ps(middle));

    return _mm512_fmadd_ps(_mm512_loadu_ps(query), value, sum);
}

AVX512 float vector_product4_avx512(const float *query, const uint8_t *code, uint32_t padded)
{
    __m512 low = _mm512_setzero_ps(), high = low;
    __m128i mask = _mm_set1_epi8(15);

    for (uint32_t i = 0; i < padded; i += 32, code += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)code);

        low = add_avx512(low, query + i, _mm_and_si128(bytes, mask), 7.5F);
        high = add_avx512(high, query + i + 16, _mm_and_si128(_mm_srli_epi16(bytes, 4), mask), 7.5F);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(low, high));
}

AVX512 float vector_product8_avx512(const float *query, const uint8_t *code, uint32_t padded)
{
    __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};

    for (uint32_t i = 0; i < padded; i += 64)
#pragma GCC unroll 4
        for (uint32_t j = 0; j < 4; j++)
            sum[j] = add_avx512(sum[j], query + i + 16 * j,
                                _mm_loadu_si128((const __m128i *)(const void *)(code + i + 16 * j)), 127.5F);
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
}

/* Sixteen of the query and the values of as many codes; what the mask leaves out is 0. */
struct pair_avx512 {
    __m512 query, value;
};

AVX512 ALWAYS struct pair_avx512 sixteen(const float *query, const uint8_t *code, struct vector_scalars s,
                                         __mmask16 mask)
{
    __m512 number = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, code)));

    return (struct pair_avx512){
        _mm512_maskz_loadu_ps(mask, query),
        _mm512_maskz_fmadd_ps(mask, number, _mm512_set1_ps(s.step), _mm512_set1_ps(s.least))};
}

AVX512 ALWAYS __mmask16 first(uint32_t n)
{
    return (__mmask16)(n < 16 ? (1U << n) - 1 : 0xffff);
}

AVX512 float vector_scalars_l2_avx512(const float *query, const uint8_t *code, struct vector_scalars s, uint32_t dims)
{
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};

    for (uint32_t i = 0; i < dims; i += 32)
#pragma GCC unroll 2
        for (uint32_t j = 0; j < 2; j++) {
            uint32_t at = i + 16 * j < dims ? i + 16 * j : dims;
            struct pair_avx512 p = sixteen(query + at, code + at, s, first(dims - at));
            __m512 apart = _mm512_sub_ps(p.query, p.value);

            sum[j] = _mm512_fmadd_ps(apart, apart, sum[j]);
        }
    return _mm512_reduce_add_ps(_mm512_add_ps(sum[0], sum[1]));
}

AVX512 float vector_scalars_dot_avx512(const float *query, const uint8_t *code, struct vector_scalars s, uint32_t dims)
{
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};

    for (uint32_t i = 0; i < dims; i += 32)
#pragma GCC unroll 2
        for (uint32_t j = 0; j < 2; j++) {
            uint32_t at = i + 16 * j < dims ? i + 16 * j : dims;
            struct pair_avx512 p = sixteen(query + at, code + at, s, first(dims - at));

            sum[j] = _mm512_fmadd_ps(p.query, p.value, sum[j]);
        }
    return _mm512_reduce_add_ps(_mm512_add_ps(sum[0], sum[1]));
}
#endif
