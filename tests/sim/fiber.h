/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_FIBER_H
#define TESTS_SIM_FIBER_H

/* The threads of a simulated process, as fibers on one thread, and its time. The program defines pthread_create,
 * pthread_mutex_lock, clock_gettime and the like (threads.c), which the engine and the shared libraries then call: so
 * the code that runs is the one of production, and which fiber goes on at every call is drawn from a seed.
 *
 *   fiber.c    fibers, what they wait for, virtual time, the end of a life
 *   threads.c  the calls of pthreads and of time */

#include "base/random.h"

#include <stdbool.h>
#include <stdint.h>

/* How a life ended. */
enum fiber_end {
    FIBER_DONE,    /* its first fiber returned */
    FIBER_CRASHED, /* at the step it was asked for */
    FIBER_STUCK    /* nobody can go on, and nobody waits for a time */
};

/* A seed's time and chance; kept over lives. */
struct fiber_world {
    struct random random;
    int64_t now_ns;         /* monotonic */
    int64_t wall_offset_us; /* wall clock against the monotonic one */
    uint32_t switch_one_in; /* at a call, another fiber goes on once in so many; 0: never */
    uint32_t stall_one_in;  /* at a call, the fiber gets no processor for some time */
    int64_t stall_ns;
    uint32_t spurious_one_in; /* a wait for a condition ends by itself */
    uint64_t steps;         /* calls so far */
    uint64_t crash_step;    /* the life ends at this step; 0: it does not */
    uint64_t switches, spurious, stalls;
    uint64_t trace;         /* hash of all that happened */
};
extern struct fiber_world fiber_world;

/* Run a process whose first fiber is main until it ends in one of these ways. All fibers are gone then. */
enum fiber_end fiber_life(void *(*main)(void *context), void *context);

/* All below: inside a life. */

/* A new fiber; its number. It can be waited for with fiber_join. */
uint32_t fiber_new(void *(*main)(void *context), void *context);
void *fiber_join(uint32_t number);
/* Number of the fiber that runs; 0: none, nothing is simulated. */
uint32_t fiber_current(void);
/* A call of the outside world: here the life may end and others may go on. Takes a microsecond. */
void fiber_step(void);
/* Wait until somebody wakes `on`, or the monotonic time is until_ns (INT64_MAX: never). false: the time came. */
bool fiber_wait(const void *on, int64_t until_ns);
void fiber_wake(const void *on, bool all);
void fiber_sleep(int64_t ns);

/* Something that must be the same in each run of a seed. */
void fiber_trace(uint64_t what);

#endif
