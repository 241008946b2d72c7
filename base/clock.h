/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* The one source of time. Real, or set by a test. */
struct clock {
    int64_t (*wall_us)(struct clock *c);      /* since 1970 */
    int64_t (*monotonic_ns)(struct clock *c); /* never back */
};
struct clock *clock_real(void);

#endif
