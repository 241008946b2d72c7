/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/aside.h"

#include "base/base.h"

#include <stdatomic.h>

/* Shares settle within so long. A processor is left to queries above BUSY, and used again below CALM. */
#define SETTLE_NS UINT64_C(20000000)
#define BUSY 0.5F
#define CALM 0.25F

/* Processors are the process's, whichever directories are open. Each has a line of the caches. */
static struct {
    _Alignas(64) _Atomic uint64_t nanoseconds;
} queried_on[ASIDE_PROCESSORS];

void aside_queried(uint64_t nanoseconds)
{
    int processor = sched_getcpu();

    if (processor >= 0 && processor < ASIDE_PROCESSORS)
        atomic_fetch_add_explicit(&queried_on[processor].nanoseconds, nanoseconds, memory_order_relaxed);
}

/* ---- Which ---- */

void aside_allow(struct aside *a, const cpu_set_t *allowed)
{
    a->allowed = a->chosen = *allowed;
    a->processors = 0;
    for (uint32_t i = 0; i < ASIDE_PROCESSORS; i++)
        if (CPU_ISSET(i, allowed))
            a->processors = i + 1;
}

/* A query counts when it ends: what it took longer than since the last look is of times before, and counts now and
 * at the next looks. Not for longer than shares settle: of several queries beside each other each counts the whole
 * time. */
static void take_share(struct aside *a, uint32_t processor, uint64_t queried, int64_t passed_ns)
{
    uint64_t passed = (uint64_t)passed_ns, used = queried - a->queried[processor];
    float weight = passed < SETTLE_NS ? (float)passed / (float)SETTLE_NS : 1;

    if (used > passed + SETTLE_NS)
        a->queried[processor] = queried - passed - SETTLE_NS;
    used = used < passed ? used : passed;
    a->queried[processor] += used;
    a->share[processor] += ((float)used / (float)passed - a->share[processor]) * weight;
}

static bool is_busy(const struct aside *a, uint32_t processor)
{
    return a->share[processor] > (CPU_ISSET(processor, &a->chosen) ? BUSY : CALM);
}

void aside_choose(struct aside *a, const uint64_t queried[ASIDE_PROCESSORS], int64_t now_ns)
{
    bool first = a->looked_ns == INT64_MIN;
    int64_t passed_ns = first ? 0 : now_ns - a->looked_ns;
    cpu_set_t left = a->allowed;

    leat_assert(first || passed_ns > 0);
    a->looked_ns = now_ns;
    for (uint32_t i = 0; i < a->processors; i++) {
        if (!CPU_ISSET(i, &a->allowed))
            continue;
        if (first)
            a->queried[i] = queried[i];
        else
            take_share(a, i, queried[i], passed_ns);
        if (is_busy(a, i))
            CPU_CLR(i, &left);
    }
    a->chosen = 2 * CPU_COUNT(&left) >= CPU_COUNT(&a->allowed) ? left : a->allowed;
}

/* ---- The thread ---- */

void aside_begin(struct aside *a)
{
    cpu_set_t allowed;

    *a = (struct aside){.looked_ns = INT64_MIN};
    a->off = sched_getaffinity(0, sizeof(allowed), &allowed) != 0;
    if (!a->off)
        aside_allow(a, &allowed);
}

/* Before the thread is moved: has somebody else given it other processors than it chose? Then these are what it may
 * use. */
static bool given_others(struct aside *a, const cpu_set_t *before)
{
    cpu_set_t now;

    if (sched_getaffinity(0, sizeof(now), &now) != 0 || CPU_EQUAL(&now, before))
        return false;
    aside_allow(a, &now);
    return true;
}

void aside_step(struct aside *a, int64_t now_ns)
{
    uint64_t queried[ASIDE_PROCESSORS];
    cpu_set_t before = a->chosen;

    if (a->off || (a->looked_ns != INT64_MIN && now_ns - a->looked_ns < ASIDE_LOOK_NS))
        return;
    for (uint32_t i = 0; i < a->processors; i++)
        queried[i] = atomic_load_explicit(&queried_on[i].nanoseconds, memory_order_relaxed);
    aside_choose(a, queried, now_ns);
    if (!CPU_EQUAL(&a->chosen, &before) && !given_others(a, &before))
        a->off = sched_setaffinity(0, sizeof(a->chosen), &a->chosen) != 0;
}
