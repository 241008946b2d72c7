/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

/* What one thread can do at most: instructions of one kind in the widest registers, a dozen chains of them that do not
 * wait for each other. */

#if defined(__x86_64__)
#include <immintrin.h>

enum { CHAINS = 12, STEPS = 1000000 };

static volatile long long sink;

/* Lanes a second of sum = STEP(sum, x). */
#define PEAK(name, features, vector, set, lanes, STEP)                                                                 \
    __attribute__((target(features))) static double name(void)                                                         \
    {                                                                                                                  \
        vector sum[CHAINS], x = set(0x3f012345), all = x;                                                              \
        double start = bench_busy();                                                                                   \
                                                                                                                       \
        for (int c = 0; c < CHAINS; c++)                                                                               \
            sum[c] = set(c);                                                                                           \
        for (int i = 0; i < STEPS; i++)                                                                                \
            _Pragma("GCC unroll 12") for (int c = 0; c < CHAINS; c++) sum[c] = STEP(sum[c], x);                        \
        for (int c = 0; c < CHAINS; c++)                                                                               \
            all ^= sum[c];                                                                                             \
        sink += all[0];                                                                                                \
        return (double)(lanes) * CHAINS * STEPS / (bench_busy() - start);                                              \
    }

#define MULTIPLY_ADD_512(sum, x)                                                                                       \
    _mm512_castps_si512(_mm512_fmadd_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(x), _mm512_castsi512_ps(sum)))
#define MULTIPLY_ADD_256(sum, x)                                                                                       \
    _mm256_castps_si256(_mm256_fmadd_ps(_mm256_castsi256_ps(x), _mm256_castsi256_ps(x), _mm256_castsi256_ps(sum)))
#define PRODUCTS_512(sum, x) _mm512_dpbusd_epi32(sum, x, x)
#define BITS_512(sum, x) _mm512_add_epi32(sum, _mm512_popcnt_epi32(_mm512_xor_si512(sum, x)))
#define LOOKUPS_512(sum, x) _mm512_shuffle_epi8(x, sum)
#define LOOKUPS_256(sum, x) _mm256_shuffle_epi8(x, sum)

PEAK(multiply_adds_512, "avx512f", __m512i, _mm512_set1_epi32, 16, MULTIPLY_ADD_512)
PEAK(multiply_adds_256, "avx2,fma", __m256i, _mm256_set1_epi32, 8, MULTIPLY_ADD_256)
PEAK(products_512, "avx512f,avx512vnni", __m512i, _mm512_set1_epi32, 64, PRODUCTS_512)
PEAK(bits_512, "avx512f,avx512vpopcntdq", __m512i, _mm512_set1_epi32, 512, BITS_512)
PEAK(lookups_512, "avx512f,avx512bw", __m512i, _mm512_set1_epi32, 64, LOOKUPS_512)
PEAK(lookups_256, "avx2", __m256i, _mm256_set1_epi32, 32, LOOKUPS_256)

static double once(enum bench_peak of)
{
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");

    switch (of) {
    case BENCH_MULTIPLY_ADDS:
        return avx512 ? multiply_adds_512() : avx2 ? multiply_adds_256() : 0;
    case BENCH_LOOKUPS:
        return avx512 ? lookups_512() : avx2 ? lookups_256() : 0;
    case BENCH_PRODUCTS:
        return avx512 && __builtin_cpu_supports("avx512vnni") ? products_512() : 0;
    default:
        return avx512 && __builtin_cpu_supports("avx512vpopcntdq") ? bits_512() : 0;
    }
}
#else
static double once(enum bench_peak of)
{
    (void)of;
    return 0;
}
#endif

double bench_peak(enum bench_peak of)
{
    double best = 0;

    for (int run = 0; run < 5; run++) {
        double rate = once(of);

        best = rate > best ? rate : best;
    }
    return best;
}
