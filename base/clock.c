/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <time.h>

static int64_t real_wall_us(struct clock *c)
{
    struct timespec now;

    (void)c;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t real_monotonic_ns(struct clock *c)
{
    struct timespec now;

    (void)c;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

struct clock *clock_real(void)
{
    static struct clock real = {real_wall_us, real_monotonic_ns};

    return &real;
}
