/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* The one source of time. Real, or set by a test. */
struct clock {
    int64_t (*wall_us)(struct clock *c);      /* since 1970 */
    int64_t (*monotonic_ns)(struct clock *c); /* never back */
    int64_t (*coarse_ns)(struct clock *c);    /* the same, some milliseconds behind: five times cheaper to look at */
};
struct clock *clock_real(void);

/* For timed waits: a condition by the monotonic clock, which nobody sets, and the moment so many milliseconds from now
 * on it. */
void clock_condition(pthread_cond_t *cond);
struct timespec clock_deadline(uint32_t ms);

#endif
