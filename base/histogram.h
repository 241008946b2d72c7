/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

/* A log-linear histogram of u64 values: 8 steps a power of two, so 12 % wide at most. Lock-free: any thread adds,
 * any thread reads (slightly torn sums are fine). 4 KiB. */
enum { HISTOGRAM_BUCKETS = 496 };
struct histogram {
    _Atomic uint64_t bucket[HISTOGRAM_BUCKETS];
    _Atomic uint64_t count, sum, max;
};
void histogram_add(struct histogram *h, uint64_t value);
uint64_t histogram_quantile(const struct histogram *h, double q); /* upper edge of the bucket; 0 when empty */

#endif
