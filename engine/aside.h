/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_ASIDE_H
#define ENGINE_ASIDE_H

/* Threads of turns step aside for queries: a processor that queries use more than half of the time is left to them,
 * as long as at least half of the processors stay.
 *
 * Priorities (priority.h) say who gets more of a processor, over milliseconds. A search takes some tens of
 * microseconds: one that is put aside for the small share that is a turn's takes ten times as long. Where both want to
 * run all the time these are enough to decide how long the slowest ones take. */

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

enum { ASIDE_PROCESSORS = CPU_SETSIZE };

/* Of one thread. */
struct aside {
    cpu_set_t allowed, chosen;           /* processors it may use; those it uses now */
    uint32_t processors;                 /* the number behind the last allowed one */
    int64_t looked_ns;
    uint64_t queried[ASIDE_PROCESSORS];  /* nanoseconds of queries on each that are counted in .. */
    float share[ASIDE_PROCESSORS];       /* .. their share of the time, the longer ago the less */
    bool off;                            /* the system does not let it choose */
};

/* A query ended on this processor, and took so long there. Any thread. */
void aside_queried(uint64_t nanoseconds);

/* Of the calling thread: what it may use is what it uses now. */
void aside_begin(struct aside *a);
/* By that thread, again and again: looks every ASIDE_LOOK_NS, and moves the thread when something else is to be used.
 * Who gives the thread other processors from outside is heeded from then on. */
void aside_step(struct aside *a, int64_t now_ns);

/* What it may use, and uses until it looks again. */
void aside_allow(struct aside *a, const cpu_set_t *allowed);
/* Decides `chosen` by what queries have used of each so far; later than the time before, which the first look lacks. */
enum { ASIDE_LOOK_NS = 2000000 };
void aside_choose(struct aside *a, const uint64_t queried[ASIDE_PROCESSORS], int64_t now_ns);

#endif
