/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/vector.h"

#include "modules/vector/distance.h"
#include "modules/vector/product.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- Portable: the reference ---- */

static float load(const void *base, uint32_t i)
{
    float f;

    memcpy(&f, (const uint8_t *)base + 4 * (size_t)i, 4);
    return f;
}

/* Four sums: the compiler may use vectors, and the error of a long sum falls to a quarter. */
static float dot_portable(const void *a, const void *b, uint32_t dims)
{
    float sum[4] = {0, 0, 0, 0};
    uint32_t i = 0;

    for (; i + 4 <= dims; i += 4)
        for (uint32_t j = 0; j < 4; j++)
            sum[j] += load(a, i + j) * load(b, i + j);
    for (; i < dims; i++)
        sum[0] += load(a, i) * load(b, i);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static void dot_pointers_portable(const void *query, const void *const *row, uint32_t n, uint32_t dims, float *out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = dot_portable(query, row[i], dims);
}

static const struct vector_kernels portable = {"portable", dot_portable, dot_pointers_portable, vector_product_portable,
                                               vector_fold_portable, &vector_distances_portable};

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

#define ALWAYS static inline __attribute__((always_inline))
#define AVX2   __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))

/* Products with four rows at once keep as many streams of memory going; the sums of a row are the same whether it comes
 * alone or with others. Rows this far ahead are fetched meanwhile, a line for each line that is computed with: enough
 * to cover a miss of memory, few enough to stay in the first cache. */
enum { TOGETHER = 4, AHEAD = 8 };

static inline void fetch(const void *row, size_t i)
{
    __builtin_prefetch((const uint8_t *)row + 4 * i);
}

/* Below, n is a constant wherever `dots` is inlined, and `ahead` is or is not NULL, so that sums are registers: 2 a row
 * of 16 with AVX2, 4 of 32 with AVX-512. */

/* ---- AVX2 ---- */

AVX2 static float sum_avx2(__m256 v)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

AVX2 static __m256 load_avx2(const void *base, size_t i)
{
    return _mm256_loadu_ps((const float *)(const void *)((const uint8_t *)base + 4 * i));
}

/* A mask of the first n < 8 lanes. */
AVX2 static __m256i lanes_avx2(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

AVX2 static __m256 load_some_avx2(const void *base, size_t i, size_t n)
{
    return _mm256_maskload_ps((const float *)(const void *)((const uint8_t *)base + 4 * i), lanes_avx2(n));
}

/* ahead: rows to fetch meanwhile, or NULL. */
AVX2 ALWAYS void dots_avx2(const void *query, const void *const *row, const void *const *ahead, uint32_t n,
                           uint32_t dims, float *out)
{
    __m256 sum[TOGETHER][2];
    size_t i = 0;

#pragma GCC unroll 4
    for (uint32_t r = 0; r < n; r++)
        sum[r][0] = sum[r][1] = _mm256_setzero_ps();
    for (; i + 16 <= dims; i += 16) {
        __m256 q0 = load_avx2(query, i), q1 = load_avx2(query, i + 8);

#pragma GCC unroll 4
        for (uint32_t r = 0; r < n; r++) {
            if (ahead != NULL)
                fetch(ahead[r], i);
            sum[r][0] = _mm256_fmadd_ps(q0, load_avx2(row[r], i), sum[r][0]);
            sum[r][1] = _mm256_fmadd_ps(q1, load_avx2(row[r], i + 8), sum[r][1]);
        }
    }
    for (; i < dims; i += 8) {
        size_t lanes = dims - i < 8 ? dims - i : 8;
        __m256 q = load_some_avx2(query, i, lanes);

#pragma GCC unroll 4
        for (uint32_t r = 0; r < n; r++)
            sum[r][0] = _mm256_fmadd_ps(q, load_some_avx2(row[r], i, lanes), sum[r][0]);
    }
#pragma GCC unroll 4
    for (uint32_t r = 0; r < n; r++)
        out[r] = sum_avx2(_mm256_add_ps(sum[r][0], sum[r][1]));
}

AVX2 static float dot_avx2(const void *a, const void *b, uint32_t dims)
{
    float out;

    dots_avx2(a, &b, NULL, 1, dims, &out);
    return out;
}

AVX2 static void dot_pointers_avx2(const void *query, const void *const *row, uint32_t n, uint32_t dims, float *out)
{
    uint32_t i = 0;

    for (; i + TOGETHER + AHEAD <= n; i += TOGETHER)
        dots_avx2(query, row + i, row + i + AHEAD, TOGETHER, dims, out + i);
    for (; i + TOGETHER <= n; i += TOGETHER)
        dots_avx2(query, row + i, NULL, TOGETHER, dims, out + i);
    for (; i < n; i++)
        out[i] = dot_avx2(query, row[i], dims);
}

static const struct vector_kernels avx2 = {"avx2", dot_avx2, dot_pointers_avx2, vector_product_avx2,
                                           vector_fold_avx2, &vector_distances_avx2};

/* ---- AVX-512 ---- */

AVX512 static __m512 load_avx512(const void *base, size_t i)
{
    return _mm512_loadu_ps((const uint8_t *)base + 4 * i);
}

AVX512 static __m512 load_some_avx512(const void *base, size_t i, __mmask16 mask)
{
    return _mm512_maskz_loadu_ps(mask, (const uint8_t *)base + 4 * i);
}

AVX512 ALWAYS void dots_avx512(const void *query, const void *const *row, const void *const *ahead, uint32_t n,
                               uint32_t dims, float *out)
{
    __m512 sum[TOGETHER][4];
    size_t i = 0;

#pragma GCC unroll 4
    for (uint32_t r = 0; r < n; r++)
        sum[r][0] = sum[r][1] = sum[r][2] = sum[r][3] = _mm512_setzero_ps();
    for (; i + 64 <= dims; i += 64) {
#pragma GCC unroll 4
        for (uint32_t part = 0; part < 4; part++) {
            __m512 q = load_avx512(query, i + 16 * part);

#pragma GCC unroll 4
            for (uint32_t r = 0; r < n; r++) {
                if (ahead != NULL)
                    fetch(ahead[r], i + 16 * part);
                sum[r][part] = _mm512_fmadd_ps(q, load_avx512(row[r], i + 16 * part), sum[r][part]);
            }
        }
    }
    for (; i < dims; i += 16) {
        __mmask16 mask = (__mmask16)(dims - i < 16 ? (1U << (dims - i)) - 1 : 0xffff);
        __m512 q = load_some_avx512(query, i, mask);

#pragma GCC unroll 4
        for (uint32_t r = 0; r < n; r++) {
            if (ahead != NULL)
                fetch(ahead[r], i);
            sum[r][0] = _mm512_fmadd_ps(q, load_some_avx512(row[r], i, mask), sum[r][0]);
        }
    }
#pragma GCC unroll 4
    for (uint32_t r = 0; r < n; r++)
        out[r] = _mm512_reduce_add_ps(
            _mm512_add_ps(_mm512_add_ps(sum[r][0], sum[r][1]), _mm512_add_ps(sum[r][2], sum[r][3])));
}

AVX512 static float dot_avx512(const void *a, const void *b, uint32_t dims)
{
    float out;

    dots_avx512(a, &b, NULL, 1, dims, &out);
    return out;
}

AVX512 static void dot_pointers_avx512(const void *query, const void *const *row, uint32_t n, uint32_t dims, float *out)
{
    uint32_t i = 0;

    for (; i + TOGETHER + AHEAD <= n; i += TOGETHER)
        dots_avx512(query, row + i, row + i + AHEAD, TOGETHER, dims, out + i);
    for (; i + TOGETHER <= n; i += TOGETHER)
        dots_avx512(query, row + i, NULL, TOGETHER, dims, out + i);
    for (; i < n; i++)
        out[i] = dot_avx512(query, row[i], dims);
}

static const struct vector_kernels avx512 = {"avx512", dot_avx512, dot_pointers_avx512, vector_product_avx512,
                                             vector_fold_avx2, &vector_distances_avx512};
/* Integers and bits have the instructions that they need since VNNI and VPOPCNTDQ, which came together on all but a few
 * processors: those take everything but products with AVX2, as fast where rows come from memory. */
static const struct vector_kernels avx512_first = {"avx512", dot_avx512, dot_pointers_avx512, vector_product_avx512,
                                                   vector_fold_avx2, &vector_distances_avx2};
#endif

/* ---- The choice ---- */

static const struct vector_kernels *can[3];
static uint32_t can_count;
static const struct vector_kernels *chosen;

#if defined(__x86_64__)
/* Not among the names that every compiler's __builtin_cpu_supports knows. */
static bool has_f16c(void)
{
    uint32_t a, b, c = 0, d;

    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

static void choose(void)
{
    const char *wish = getenv("LEAT_SIMD");

    can[can_count++] = &portable;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        can[can_count++] = &avx2;
    if (can_count > 1 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        can[can_count++] = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vpopcntdq")
                               ? &avx512
                               : &avx512_first;
#endif
    chosen = can[can_count - 1];
    for (uint32_t i = 0; wish != NULL && i < can_count; i++)
        if (strcmp(can[i]->name, wish) == 0)
            chosen = can[i];
}

static void choose_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, choose);
}

const struct vector_kernels *vector_kernels(void)
{
    choose_once();
    return chosen;
}

int vector_kernels_check(struct leat_error *err)
{
    const char *wish = getenv("LEAT_SIMD");

    choose_once();
    if (wish == NULL || strcmp(chosen->name, wish) == 0)
        return 0;
    return leat_fail(err, LEAT_EINVAL,
                     "LEAT_SIMD is '%s': it may be portable, avx2 or avx512, on this processor up to %s", wish,
                     can[can_count - 1]->name);
}

const struct vector_kernels *const *vector_kernels_all(uint32_t *count)
{
    choose_once();
    *count = can_count;
    return can;
}
