/* SPDX-License-Identifier: Apache-2.0 */
#include "base/histogram.h"

#include <math.h>

/* Bucket of a value: below 8 itself; above, 8 steps a power of two. */
static uint32_t bucket_of(uint64_t value)
{
    if (value < 8)
        return (uint32_t)value;
    uint32_t power = 63 - (uint32_t)__builtin_clzll(value);
    uint32_t bucket = (power - 2) * 8 + (uint32_t)(value >> (power - 3) & 7);
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

/* The largest value of a bucket. */
static uint64_t bucket_edge(uint32_t bucket)
{
    if (bucket < 8)
        return bucket;
    uint32_t power = bucket / 8 + 2;
    return ((UINT64_C(8) + bucket % 8 + 1) << (power - 3)) - 1;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    uint64_t max = atomic_load_explicit(&h->max, memory_order_relaxed);

    atomic_fetch_add_explicit(&h->bucket[bucket_of(value)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum, value, memory_order_relaxed);
    while (value > max && !atomic_compare_exchange_weak(&h->max, &max, value))
        ;
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
    uint64_t total = 0, seen = 0, max = atomic_load(&h->max);

    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        total += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
    if (total == 0)
        return 0;
    double want = fmax(1, ceil(q * (double)total - 1e-9)); /* the sample of this rank: of few, p99 is the largest */
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
        if ((double)seen >= want)
            return bucket_edge(i) < max ? bucket_edge(i) : max;
    }
    return max;
}
