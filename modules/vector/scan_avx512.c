/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/codes.h"

#if defined(__x86_64__)
#include <float.h>
#include <immintrin.h>
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define AVX512_BYTES __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni")))

enum { LANES = VECTOR_BLOCK, LINE = 64 };

/* ---- Preparing: the same bits as everywhere, as no product goes into a sum ---- */

/* As the reference: each stage takes the two halves and leaves their sums and differences side by side. */
AVX512 static void hadamard_avx512(float *values, float *room, uint32_t n)
{
    __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    __m512i last = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    float *from = values, *to = room;

    for (uint32_t stage = 1; stage < n; stage *= 2) {
        float *was = from;

        for (uint32_t i = 0; i < n / 2; i += 16) {
            __m512 a = _mm512_loadu_ps(from + i), b = _mm512_loadu_ps(from + n / 2 + i);
            __m512 sum = _mm512_add_ps(a, b), difference = _mm512_sub_ps(a, b);

            _mm512_storeu_ps(to + 2 * (size_t)i, _mm512_permutex2var_ps(sum, first, difference));
            _mm512_storeu_ps(to + 2 * (size_t)i + 16, _mm512_permutex2var_ps(sum, last, difference));
        }
        from = to;
        to = was;
    }
    if (from != values)
        memcpy(values, from, n * sizeof(float));
}

/* positive: the entries whose numbers have the bit. */
AVX512 ALWAYS __m512 with_signs(__m512 x, __mmask16 positive)
{
    return _mm512_mask_xor_ps(x, (__mmask16)~positive, x, _mm512_set1_ps(-0.0F));
}

AVX512 static void table_avx512(const float *query, uint32_t padded, float inverse, uint8_t *table)
{
    for (uint32_t i = 0; i < padded; i += 4, table += 16) {
        __m512 a = with_signs(_mm512_set1_ps(query[i] * inverse), 0xaaaa);
        __m512 b = with_signs(_mm512_set1_ps(query[i + 1] * inverse), 0xcccc);
        __m512 c = with_signs(_mm512_set1_ps(query[i + 2] * inverse), 0xf0f0);
        __m512 d = with_signs(_mm512_set1_ps(query[i + 3] * inverse), 0xff00);
        __m512 sum = _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d));
        __m512i entry = _mm512_cvttps_epi32(_mm512_add_ps(sum, _mm512_set1_ps(128)));

        _mm_storeu_si128((__m128i *)(void *)table, _mm512_cvtepi32_epi8(entry));
    }
}

/* ---- Sums: rows 0 to 15 and 16 to 31 of a block. ahead: as many bytes as codes are
 * fetched from there meanwhile ---- */

struct sums {
    __m512i low, high;
};

/* Words of 16 bits hold the sums of 256 bytes: so many nibbles of a code, spread over four lanes. */
enum { FULL = 64 };

/* Sums of even bytes are the words less those of odd ones: all is modulo 2^16. */
AVX512 ALWAYS __m512i add_words(__m512i sum, __m512i words, __m512i odd)
{
    __m512i even = _mm512_sub_epi16(words, _mm512_slli_epi16(odd, 8));
    __m256i a = _mm256_add_epi16(_mm512_castsi512_si256(even), _mm512_extracti64x4_epi64(even, 1));
    __m256i b = _mm256_add_epi16(_mm512_castsi512_si256(odd), _mm512_extracti64x4_epi64(odd, 1));
    __m256i both = _mm256_add_epi16(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));

    return _mm512_add_epi32(sum, _mm512_cvtepu16_epi32(both));
}

AVX512 ALWAYS struct sums add_codes(const uint8_t *codes, const uint8_t *table, uint32_t padded, const uint8_t *ahead)
{
    struct sums sum = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    __m512i mask = _mm512_set1_epi8(15);

    for (uint32_t begin = 0, lines = padded / 16; begin < lines; begin += FULL) {
        uint32_t end = lines - begin < FULL ? lines : begin + FULL;
        __m512i low = _mm512_setzero_si512(), low_odd = low, high = low, high_odd = low;

        for (uint32_t i = begin; i < end; i++) {
            __m512i code = _mm512_loadu_si512(codes + (size_t)i * LINE);
            __m512i entry = _mm512_loadu_si512(table + (size_t)i * LINE);
            __m512i a = _mm512_shuffle_epi8(entry, _mm512_and_si512(code, mask));
            __m512i b = _mm512_shuffle_epi8(entry, _mm512_and_si512(_mm512_srli_epi16(code, 4), mask));

            vector_fetch(ahead + (size_t)i * LINE);
            low = _mm512_add_epi16(low, a);
            low_odd = _mm512_add_epi16(low_odd, _mm512_srli_epi16(a, 8));
            high = _mm512_add_epi16(high, b);
            high_odd = _mm512_add_epi16(high_odd, _mm512_srli_epi16(b, 8));
        }
        sum.low = add_words(sum.low, low, low_odd);
        sum.high = add_words(sum.high, high, high_odd);
    }
    return sum;
}

/* With shuffles of 64 bytes: four nibbles of a row are brought side by side, each finds its entry among those of four
 * tables, and the products of dots with ones add them up. */
AVX512_BYTES ALWAYS struct sums add_codes_bytes(const uint8_t *codes, const uint8_t *table, uint32_t padded,
                                                const uint8_t *ahead)
{
    __m512i number = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i place = _mm512_add_epi32(_mm512_slli_epi32(_mm512_and_si512(number, _mm512_set1_epi32(7)), 1),
                                     _mm512_srli_epi32(number, 3));
    __m512i tables = _mm512_set1_epi32(0x30201000), ones = _mm512_set1_epi8(1), mask = _mm512_set1_epi8(15);
    __m512i rows = _mm512_add_epi32(_mm512_mullo_epi32(place, _mm512_set1_epi32(0x01010101)), tables);
    struct sums sum[2];

    sum[0].low = sum[0].high = sum[1].low = sum[1].high = _mm512_setzero_si512();
    for (size_t i = 0; i < 4 * (size_t)padded; i += 2 * LINE)
#pragma GCC unroll 2
        for (size_t j = 0; j < 2; j++) {
            size_t at = i + j * LINE;
            __m512i code = _mm512_permutexvar_epi8(rows, _mm512_loadu_si512(codes + at));
            __m512i entry = _mm512_loadu_si512(table + at);
            /* (x & mask) | tables */
            __m512i low = _mm512_ternarylogic_epi32(code, mask, tables, 0xea);
            __m512i high = _mm512_ternarylogic_epi32(_mm512_srli_epi16(code, 4), mask, tables, 0xea);

            vector_fetch(ahead + at);
            sum[j].low = _mm512_dpbusd_epi32(sum[j].low, _mm512_permutexvar_epi8(low, entry), ones);
            sum[j].high = _mm512_dpbusd_epi32(sum[j].high, _mm512_permutexvar_epi8(high, entry), ones);
        }
    return (struct sums){_mm512_add_epi32(sum[0].low, sum[1].low), _mm512_add_epi32(sum[0].high, sum[1].high)};
}

AVX512 static void sums_avx512(const void *block, const uint8_t *table, uint32_t padded, uint32_t *sum)
{
    struct sums found = add_codes(block, table, padded, block);

    _mm512_storeu_si512(sum, found.low);
    _mm512_storeu_si512(sum + 16, found.high);
}

AVX512_BYTES static void sums_bytes(const void *block, const uint8_t *table, uint32_t padded, uint32_t *sum)
{
    struct sums found = add_codes_bytes(block, table, padded, block);

    _mm512_storeu_si512(sum, found.low);
    _mm512_storeu_si512(sum + 16, found.high);
}

/* ---- Scans ---- */

/* What is the same for all blocks. */
struct constants {
    __m512 step, start, base, slack, reach, threshold, lowest, highest;
};

AVX512 ALWAYS struct constants constants_of(const struct vector_scan *s)
{
    const struct vector_query *q = s->query;

    return (struct constants){_mm512_set1_ps(q->step), _mm512_set1_ps(-q->step * q->middle), _mm512_set1_ps(s->base),
                              _mm512_set1_ps(q->slack), _mm512_set1_ps(vector_scan_reach(s)),
                              _mm512_set1_ps(s->threshold), _mm512_set1_ps(-FLT_MAX),
                              _mm512_set1_ps(FLT_MAX)};
}

/* Sixteen rows; _mm512_max_ps gives its second number where the first is NaN. */
AVX512 ALWAYS uint32_t judge(const struct constants *k, const uint8_t *factors, __m512i sum, __m512 *estimate,
                             __m512 *lower)
{
    __m512 scale = _mm512_loadu_ps(factors + LANES * sizeof(float));
    __m512 error = _mm512_loadu_ps(factors + 2 * LANES * sizeof(float));
    __m512 product = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), k->step, k->start);
    __m512 found = _mm512_fmadd_ps(scale, product, _mm512_add_ps(k->base, _mm512_loadu_ps(factors)));

    *estimate = _mm512_min_ps(_mm512_max_ps(found, k->lowest), k->highest);
    __m512 bound = _mm512_fnmadd_ps(error, k->reach, _mm512_fmadd_ps(scale, k->slack, *estimate));
    *lower = _mm512_max_ps(bound, k->lowest);
    return _mm512_cmp_ps_mask(*lower, k->threshold, _CMP_LE_OQ);
}

/* The rows of block b, by their sums; returns how many pass. */
AVX512 ALWAYS uint32_t judge_block(const struct vector_scan *s, const struct constants *k, uint32_t b,
                                   const uint8_t *factors, struct sums sum)
{
    __m512 estimate[2], lower[2];
    uint32_t mask = judge(k, factors, sum.low, &estimate[0], &lower[0]) |
                    judge(k, factors + LINE, sum.high, &estimate[1], &lower[1]) << 16;

    s->mask[b] = mask &= s->live == NULL ? UINT32_MAX : s->live[b];
    if (mask == 0)
        return 0;
    _mm512_storeu_ps(s->lower + (size_t)b * LANES, lower[0]);
    _mm512_storeu_ps(s->lower + (size_t)b * LANES + 16, lower[1]);
    if (s->estimate != NULL) {
        _mm512_storeu_ps(s->estimate + (size_t)b * LANES, estimate[0]);
        _mm512_storeu_ps(s->estimate + (size_t)b * LANES + 16, estimate[1]);
    }
    return (uint32_t)__builtin_popcount(mask);
}

typedef struct sums add_block(const uint8_t *block, const uint8_t *table, uint32_t padded, const uint8_t *ahead);

AVX512 ALWAYS uint32_t scan_with(const struct vector_scan *s, add_block *add)
{
    uint32_t padded = s->query->padded, found = 0;
    size_t size = vector_block_size(padded), codes = 4 * (size_t)padded;
    struct constants k = constants_of(s);

    for (uint32_t b = 0; b < s->count; b++) {
        const uint8_t *block = (const uint8_t *)s->blocks + b * size;
        const uint8_t *ahead = vector_scan_ahead(s, b, block, size);
        struct sums sum = add(block, s->query->table, padded, ahead);

        for (size_t i = codes; i < size; i += LINE)
            vector_fetch(ahead + i);
        found += judge_block(s, &k, b, block + codes, sum);
    }
    return found;
}

AVX512 static uint32_t scan_avx512(const struct vector_scan *s)
{
    return scan_with(s, add_codes);
}

AVX512_BYTES static uint32_t scan_bytes(const struct vector_scan *s)
{
    return scan_with(s, add_codes_bytes);
}

AVX512 static uint32_t between_avx512(const float *value, uint32_t blocks, uint32_t stride, float above, float bound,
                                      uint32_t *mask)
{
    __m512 least = _mm512_set1_ps(above), most = _mm512_set1_ps(bound);
    uint32_t count = 0;

    for (uint32_t b = 0; b < blocks; b += stride) {
        __m512 low = _mm512_loadu_ps(value + (size_t)b * LANES), high = _mm512_loadu_ps(value + (size_t)b * LANES + 16);
        uint32_t found = _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(low, least, _CMP_GT_OQ), low, most, _CMP_LE_OQ);

        found |= (uint32_t)_mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(high, least, _CMP_GT_OQ), high, most, _CMP_LE_OQ)
                 << 16;
        mask[b] = found;
        count += (uint32_t)__builtin_popcount(found);
    }
    return count;
}

const struct vector_quantiser vector_quantiser_avx512 = {
    "avx512", hadamard_avx512, table_avx512, sums_avx512, scan_avx512, between_avx512,
    vector_product4_avx512, vector_product8_avx512, vector_signs_avx2,
    vector_scalars_l2_avx512, vector_scalars_dot_avx512,
};
const struct vector_quantiser vector_quantiser_avx512_bytes = {
    "avx512 vbmi vnni", hadamard_avx512, table_avx512, sums_bytes, scan_bytes, between_avx512,
    vector_product4_avx512, vector_product8_avx512, vector_signs_avx2,
    vector_scalars_l2_avx512, vector_scalars_dot_avx512,
};
#endif
