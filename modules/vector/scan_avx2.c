/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/codes.h"

#if defined(__x86_64__)
#include <float.h>
#include <immintrin.h>
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))
#define AVX2 __attribute__((target("avx2")))
#define FUSED __attribute__((target("avx2,fma")))

enum { LANES = VECTOR_BLOCK, LINE = 64 };

/* ---- Preparing: without fused operations, so that there are the same bits as everywhere ---- */

/* As the reference: each stage takes the two halves and leaves their sums and differences side by side. */
AVX2 static void hadamard_avx2(float *values, float *room, uint32_t n)
{
    float *from = values, *to = room;

    for (uint32_t stage = 1; stage < n; stage *= 2) {
        float *was = from;

        for (uint32_t i = 0; i < n / 2; i += 8) {
            __m256 a = _mm256_loadu_ps(from + i), b = _mm256_loadu_ps(from + n / 2 + i);
            __m256 sum = _mm256_add_ps(a, b), difference = _mm256_sub_ps(a, b);
            __m256 low = _mm256_unpacklo_ps(sum, difference), high = _mm256_unpackhi_ps(sum, difference);

            _mm256_storeu_ps(to + 2 * (size_t)i, _mm256_permute2f128_ps(low, high, 0x20));
            _mm256_storeu_ps(to + 2 * (size_t)i + 8, _mm256_permute2f128_ps(low, high, 0x31));
        }
        from = to;
        to = was;
    }
    if (from != values)
        memcpy(values, from, n * sizeof(float));
}

/* x with the signs of entries 0 to 7, by a bit of their numbers. */
AVX2 static __m256 with_signs(float x, int bit)
{
    __m256i number = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i clear = _mm256_cmpeq_epi32(_mm256_and_si256(number, _mm256_set1_epi32(bit)), _mm256_setzero_si256());

    return _mm256_xor_ps(_mm256_set1_ps(x), _mm256_castsi256_ps(_mm256_slli_epi32(clear, 31)));
}

AVX2 static void table_avx2(const float *query, uint32_t padded, float inverse, uint8_t *table)
{
    __m256 above = _mm256_set1_ps(128);
    __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);

    for (uint32_t i = 0; i < padded; i += 4, table += 16) {
        __m256 ab = _mm256_add_ps(with_signs(query[i] * inverse, 1), with_signs(query[i + 1] * inverse, 2));
        __m256 c = with_signs(query[i + 2] * inverse, 4), d = _mm256_set1_ps(query[i + 3] * inverse);
        __m256 low = _mm256_add_ps(_mm256_add_ps(ab, _mm256_sub_ps(c, d)), above);
        __m256 high = _mm256_add_ps(_mm256_add_ps(ab, _mm256_add_ps(c, d)), above);
        __m256i words = _mm256_packus_epi32(_mm256_cvttps_epi32(low), _mm256_cvttps_epi32(high));
        __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(words, words), order);

        _mm_storeu_si128((__m128i *)(void *)table, _mm256_castsi256_si128(bytes));
    }
}

/* ---- Sums ---- */

/* Words of 16 bits hold the sums of 256 bytes: so many nibbles of a code, whose halves are in two lanes. */
enum { FULL = 128 };

AVX2 ALWAYS __m256i add_words(__m256i sum, __m256i words)
{
    __m128i both = _mm_add_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));

    return _mm256_add_epi32(sum, _mm256_cvtepu16_epi32(both));
}

/* sum[i]: of rows 8 * i to 8 * i + 7. Odd bytes are taken from the words at the end: all is modulo 2^16. ahead: as many
 * bytes as codes are fetched from there meanwhile. */
AVX2 ALWAYS void add_codes(const uint8_t *codes, const uint8_t *table, uint32_t padded, const uint8_t *ahead,
                           __m256i sum[4])
{
    __m256i mask = _mm256_set1_epi8(15);

    for (uint32_t begin = 0, bytes = padded / 8; begin < bytes; begin += FULL) {
        uint32_t end = bytes - begin < FULL ? bytes : begin + FULL;
        __m256i low = _mm256_setzero_si256(), low_odd = low, high = low, high_odd = low;

        for (uint32_t i = begin; i < end; i++) {
            __m256i code = _mm256_loadu_si256((const __m256i *)(const void *)(codes + (size_t)i * 32));
            __m256i entry = _mm256_loadu_si256((const __m256i *)(const void *)(table + (size_t)i * 32));
            __m256i a = _mm256_shuffle_epi8(entry, _mm256_and_si256(code, mask));
            __m256i b = _mm256_shuffle_epi8(entry, _mm256_and_si256(_mm256_srli_epi16(code, 4), mask));

            if (i % 2 == 0)
                vector_fetch(ahead + (size_t)i * 32);
            low = _mm256_add_epi16(low, a);
            low_odd = _mm256_add_epi16(low_odd, _mm256_srli_epi16(a, 8));
            high = _mm256_add_epi16(high, b);
            high_odd = _mm256_add_epi16(high_odd, _mm256_srli_epi16(b, 8));
        }
        sum[0] = add_words(sum[0], _mm256_sub_epi16(low, _mm256_slli_epi16(low_odd, 8)));
        sum[1] = add_words(sum[1], low_odd);
        sum[2] = add_words(sum[2], _mm256_sub_epi16(high, _mm256_slli_epi16(high_odd, 8)));
        sum[3] = add_words(sum[3], high_odd);
    }
}

AVX2 static void sums_avx2(const void *block, const uint8_t *table, uint32_t padded, uint32_t *sum)
{
    __m256i found[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};

    add_codes(block, table, padded, block, found);
    for (uint32_t i = 0; i < 4; i++)
        _mm256_storeu_si256((__m256i *)(void *)(sum + 8 * (size_t)i), found[i]);
}

/* ---- Scans ---- */

/* What is the same for all blocks. */
struct constants {
    __m256 step, start, base, slack, reach, threshold, lowest, highest;
};

FUSED ALWAYS struct constants constants_of(const struct vector_scan *s)
{
    const struct vector_query *q = s->query;

    return (struct constants){_mm256_set1_ps(q->step), _mm256_set1_ps(-q->step * q->middle), _mm256_set1_ps(s->base),
                              _mm256_set1_ps(q->slack), _mm256_set1_ps(vector_scan_reach(s)),
                              _mm256_set1_ps(s->threshold), _mm256_set1_ps(-FLT_MAX),
                              _mm256_set1_ps(FLT_MAX)};
}

FUSED ALWAYS __m256 load_floats(const uint8_t *at)
{
    return _mm256_loadu_ps((const float *)(const void *)at);
}

/* Eight rows; _mm256_max_ps gives its second number where the first is NaN. */
FUSED ALWAYS uint32_t judge(const struct constants *k, const uint8_t *factors, __m256i sum, __m256 *estimate,
                            __m256 *lower)
{
    __m256 scale = load_floats(factors + LANES * sizeof(float));
    __m256 error = load_floats(factors + 2 * LANES * sizeof(float));
    __m256 product = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), k->step, k->start);
    __m256 found = _mm256_fmadd_ps(scale, product, _mm256_add_ps(k->base, load_floats(factors)));

    *estimate = _mm256_min_ps(_mm256_max_ps(found, k->lowest), k->highest);
    __m256 bound = _mm256_fnmadd_ps(error, k->reach, _mm256_fmadd_ps(scale, k->slack, *estimate));
    *lower = _mm256_max_ps(bound, k->lowest);
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(*lower, k->threshold, _CMP_LE_OQ));
}

FUSED static uint32_t scan_avx2(const struct vector_scan *s)
{
    uint32_t padded = s->query->padded, found = 0;
    size_t size = vector_block_size(padded), codes = 4 * (size_t)padded;
    struct constants k = constants_of(s);

    for (uint32_t b = 0; b < s->count; b++) {
        const uint8_t *block = (const uint8_t *)s->blocks + b * size;
        const uint8_t *ahead = vector_scan_ahead(s, b, block, size);
        __m256i zero = _mm256_setzero_si256(), sum[4] = {zero, zero, zero, zero};
        __m256 estimate[4], lower[4];
        uint32_t mask = 0;

        add_codes(block, s->query->table, padded, ahead, sum);
        for (size_t i = codes; i < size; i += LINE)
            vector_fetch(ahead + i);
        for (uint32_t i = 0; i < 4; i++)
            mask |= judge(&k, block + codes + 8 * sizeof(float) * i, sum[i], &estimate[i], &lower[i]) << 8 * i;
        s->mask[b] = mask &= s->live == NULL ? UINT32_MAX : s->live[b];
        if (mask == 0)
            continue;
        found += (uint32_t)__builtin_popcount(mask);
        memcpy(s->lower + (size_t)b * LANES, lower, sizeof(lower));
        if (s->estimate != NULL)
            memcpy(s->estimate + (size_t)b * LANES, estimate, sizeof(estimate));
    }
    return found;
}

AVX2 static uint32_t between_avx2(const float *value, uint32_t blocks, uint32_t stride, float above, float bound,
                                  uint32_t *mask)
{
    __m256 least = _mm256_set1_ps(above), most = _mm256_set1_ps(bound);
    uint32_t count = 0;

    for (uint32_t b = 0; b < blocks; b += stride) {
        uint32_t found = 0;

        for (uint32_t i = 0; i < LANES; i += 8) {
            __m256 v = _mm256_loadu_ps(value + (size_t)b * LANES + i);
            __m256 in = _mm256_and_ps(_mm256_cmp_ps(v, least, _CMP_GT_OQ), _mm256_cmp_ps(v, most, _CMP_LE_OQ));

            found |= (uint32_t)_mm256_movemask_ps(in) << i;
        }
        mask[b] = found;
        count += (uint32_t)__builtin_popcount(found);
    }
    return count;
}

const struct vector_quantiser vector_quantiser_avx2 = {
    "avx2", hadamard_avx2, table_avx2, sums_avx2, scan_avx2, between_avx2,
    vector_product4_avx2, vector_product8_avx2, vector_signs_avx2,
    vector_scalars_l2_avx2, vector_scalars_dot_avx2,
};
#endif
