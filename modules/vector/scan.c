/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/codes.h"
#include "modules/vector/vector.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

/* Scans of blocks of codes by tables of 16 bytes: Andre et al., "Cache locality is not enough: high-performance nearest
 * neighbor search with product quantization fast scan", VLDB 2015. */

enum { LANES = VECTOR_BLOCK, GROUP = 16 };

/* ---- Portable: the reference ---- */

static void hadamard_portable(float *values, float *room, uint32_t n)
{
    for (uint32_t stage = 1; stage < n; stage *= 2) {
        for (uint32_t i = 0; i < n / 2; i++) {
            room[2 * i] = values[i] + values[n / 2 + i];
            room[2 * i + 1] = values[i] - values[n / 2 + i];
        }
        memcpy(values, room, n * sizeof(float));
    }
}

static void table_portable(const float *query, uint32_t padded, float inverse, uint8_t *table)
{
    for (uint32_t i = 0; i < padded; i += 4, table += GROUP) {
        float q[4];

        for (uint32_t j = 0; j < 4; j++)
            q[j] = query[i + j] * inverse;
        for (uint32_t n = 0; n < GROUP; n++) {
            float a = (n & 1) != 0 ? q[0] : -q[0], b = (n & 2) != 0 ? q[1] : -q[1];
            float c = (n & 4) != 0 ? q[2] : -q[2], d = (n & 8) != 0 ? q[3] : -q[3];

            table[n] = (uint8_t)((a + b) + (c + d) + 128);
        }
    }
}

static void sums_portable(const void *block, const uint8_t *table, uint32_t padded, uint32_t *sum)
{
    const uint8_t *codes = block;

    memset(sum, 0, LANES * sizeof(*sum));
    for (uint32_t group = 0; group < padded / 4; group++, codes += GROUP, table += GROUP)
        for (uint32_t i = 0; i < GROUP; i++) {
            uint32_t row = i / 2 + i % 2 * 8;

            sum[row] += table[codes[i] & 15];
            sum[row + 16] += table[codes[i] >> 4];
        }
}

/* What is NaN becomes the lowest of all. */
static float number(float x)
{
    return x > -FLT_MAX ? x < FLT_MAX ? x : FLT_MAX : -FLT_MAX;
}

/* A block's estimates and bounds; returns the mask of those that pass. */
static uint32_t judge_portable(const struct vector_scan *s, const uint8_t *factors, const uint32_t *sum,
                               float *estimate, float *lower)
{
    const struct vector_query *q = s->query;
    float reach = vector_scan_reach(s), add[LANES], scale[LANES], error[LANES];
    uint32_t mask = 0;

    memcpy(add, factors, sizeof(add));
    memcpy(scale, factors + sizeof(add), sizeof(scale));
    memcpy(error, factors + 2 * sizeof(add), sizeof(error));
    for (uint32_t i = 0; i < LANES; i++) {
        float found = number((s->base + add[i]) + scale[i] * (q->step * ((float)sum[i] - q->middle)));

        estimate[i] = found;
        lower[i] = number(found + scale[i] * q->slack - error[i] * reach);
        mask |= (uint32_t)(lower[i] <= s->threshold) << i;
    }
    return mask;
}

static uint32_t scan_portable(const struct vector_scan *s)
{
    uint32_t padded = s->query->padded, found = 0, sum[LANES];
    size_t size = vector_block_size(padded);
    float unwanted[LANES];

    for (uint32_t b = 0; b < s->count; b++) {
        const uint8_t *block = (const uint8_t *)s->blocks + b * size;
        float *estimate = s->estimate == NULL ? unwanted : s->estimate + (size_t)b * LANES;

        sums_portable(block, s->query->table, padded, sum);
        s->mask[b] = judge_portable(s, block + 4 * (size_t)padded, sum, estimate, s->lower + (size_t)b * LANES) &
                     (s->live == NULL ? UINT32_MAX : s->live[b]);
        found += (uint32_t)__builtin_popcount(s->mask[b]);
    }
    return found;
}

static uint32_t between_portable(const float *value, uint32_t blocks, uint32_t stride, float above, float bound,
                                 uint32_t *mask)
{
    uint32_t count = 0;

    for (uint32_t b = 0; b < blocks; b += stride) {
        mask[b] = 0;
        for (uint32_t i = 0; i < LANES; i++) {
            float v = value[(size_t)b * LANES + i];

            mask[b] |= (uint32_t)(v > above && v <= bound) << i;
        }
        count += (uint32_t)__builtin_popcount(mask[b]);
    }
    return count;
}

static const struct vector_quantiser quantiser_portable = {
    "portable", hadamard_portable, table_portable, sums_portable, scan_portable, between_portable,
    vector_product4_portable, vector_product8_portable, vector_signs_portable,
    vector_scalars_l2_portable, vector_scalars_dot_portable,
};

/* ---- The choice ---- */

/* As vector_kernels() are chosen; those for AVX-512 have a better variant where the
 * processor has shuffles of 64 bytes. */

static const struct vector_quantiser *can[4];
static uint32_t can_count;
static const struct vector_quantiser *chosen;

static void choose(void)
{
    const char *wish = vector_kernels()->name;

    can[can_count++] = &quantiser_portable;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        can[can_count++] = &vector_quantiser_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
        can[can_count++] = &vector_quantiser_avx512;
        if (__builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni"))
            can[can_count++] = &vector_quantiser_avx512_bytes;
    }
#endif
    for (uint32_t i = 0; i < can_count; i++)
        if (strncmp(can[i]->name, wish, strlen(wish)) == 0)
            chosen = can[i];
}

static void choose_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, choose);
}

const struct vector_quantiser *vector_quantiser(void)
{
    choose_once();
    return chosen;
}

const struct vector_quantiser *const *vector_quantisers(uint32_t *count)
{
    choose_once();
    *count = can_count;
    return can;
}

uint32_t vector_scan(const struct vector_scan *s)
{
    return vector_quantiser()->scan(s);
}
