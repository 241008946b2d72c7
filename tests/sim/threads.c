/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/fiber.h"

#include "base/base.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The calls of threads and time, under the names that the linker looks for. Outside a life locks are always free and
 * time is the real one. */

enum { PROCESS_ID = 4242, SPURIOUS_NS = 50000 };

int call_create(pthread_t *thread, const pthread_attr_t *how, void *(*main)(void *),
                void *context) __asm__("pthread_create");
int call_join(pthread_t thread, void **result) __asm__("pthread_join");
int call_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *how) __asm__("pthread_mutex_init");
int call_mutex_destroy(pthread_mutex_t *m) __asm__("pthread_mutex_destroy");
int call_mutex_lock(pthread_mutex_t *m) __asm__("pthread_mutex_lock");
int call_mutex_trylock(pthread_mutex_t *m) __asm__("pthread_mutex_trylock");
int call_mutex_unlock(pthread_mutex_t *m) __asm__("pthread_mutex_unlock");
int call_cond_init(pthread_cond_t *c, const pthread_condattr_t *how) __asm__("pthread_cond_init");
int call_cond_destroy(pthread_cond_t *c) __asm__("pthread_cond_destroy");
int call_cond_wait(pthread_cond_t *c, pthread_mutex_t *m) __asm__("pthread_cond_wait");
int call_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m,
                        const struct timespec *until) __asm__("pthread_cond_timedwait");
int call_cond_signal(pthread_cond_t *c) __asm__("pthread_cond_signal");
int call_cond_broadcast(pthread_cond_t *c) __asm__("pthread_cond_broadcast");
int call_clock_gettime(clockid_t clock, struct timespec *out) __asm__("clock_gettime");
int call_pause(useconds_t us) __asm__("usleep");
ssize_t call_getrandom(void *out, size_t size, unsigned flags) __asm__("getrandom");
pid_t call_getpid(void) __asm__("getpid");
int call_priority(int which, id_t who, int priority) __asm__("setpriority");

/* ---- Threads ---- */

int call_create(pthread_t *thread, const pthread_attr_t *how, void *(*main)(void *), void *context)
{
    (void)how;
    leat_assert(fiber_current() != 0);
    *thread = (pthread_t)fiber_new(main, context);
    fiber_step();
    return 0;
}

int call_join(pthread_t thread, void **result)
{
    void *value = fiber_join((uint32_t)thread);

    if (result != NULL)
        *result = value;
    return 0;
}

/* ---- Mutexes: the first word is the owner's number, 0 when free ---- */

static uint32_t owner_of(const pthread_mutex_t *m)
{
    uint32_t owner;

    memcpy(&owner, m, sizeof(owner));
    return owner;
}

static void set_owner(pthread_mutex_t *m, uint32_t owner)
{
    memcpy(m, &owner, sizeof(owner));
}

int call_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *how)
{
    (void)how;
    memset(m, 0, sizeof(*m));
    return 0;
}

int call_mutex_destroy(pthread_mutex_t *m)
{
    leat_assert(owner_of(m) == 0);
    return 0;
}

int call_mutex_lock(pthread_mutex_t *m)
{
    fiber_step();
    while (owner_of(m) != 0) {
        leat_assert(owner_of(m) != fiber_current());
        fiber_wait(m, INT64_MAX);
    }
    set_owner(m, fiber_current());
    return 0;
}

int call_mutex_trylock(pthread_mutex_t *m)
{
    fiber_step();
    if (owner_of(m) != 0)
        return EBUSY;
    set_owner(m, fiber_current());
    return 0;
}

int call_mutex_unlock(pthread_mutex_t *m)
{
    leat_assert(owner_of(m) == fiber_current());
    set_owner(m, 0);
    if (fiber_current() != 0)
        fiber_wake(m, false);
    return 0;
}

/* ---- Conditions: who waits is all there is ---- */

int call_cond_init(pthread_cond_t *c, const pthread_condattr_t *how)
{
    (void)how;
    memset(c, 0, sizeof(*c));
    return 0;
}

int call_cond_destroy(pthread_cond_t *c)
{
    (void)c;
    return 0;
}

static int wait_until(pthread_cond_t *c, pthread_mutex_t *m, int64_t until_ns)
{
    int64_t end = until_ns;
    bool spurious = fiber_world.spurious_one_in > 0 &&
                    random_below(&fiber_world.random, fiber_world.spurious_one_in) == 0;

    if (spurious && fiber_world.now_ns + SPURIOUS_NS < end)
        end = fiber_world.now_ns + SPURIOUS_NS;
    call_mutex_unlock(m);
    bool woken = fiber_wait(c, end);
    call_mutex_lock(m);
    fiber_world.spurious += !woken && end < until_ns;
    return woken || end < until_ns ? 0 : ETIMEDOUT;
}

int call_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
    return wait_until(c, m, INT64_MAX);
}

int call_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
    return wait_until(c, m, (int64_t)until->tv_sec * 1000000000 + until->tv_nsec);
}

int call_cond_signal(pthread_cond_t *c)
{
    fiber_step();
    if (fiber_current() != 0)
        fiber_wake(c, false);
    return 0;
}

int call_cond_broadcast(pthread_cond_t *c)
{
    fiber_step();
    if (fiber_current() != 0)
        fiber_wake(c, true);
    return 0;
}

/* ---- Time and chance ---- */

int call_clock_gettime(clockid_t clock, struct timespec *out)
{
    if (fiber_current() == 0)
        return (int)syscall(SYS_clock_gettime, clock, out);
    int64_t ns = fiber_world.now_ns;
    if (clock == CLOCK_REALTIME)
        ns += fiber_world.wall_offset_us * 1000;
    out->tv_sec = ns / 1000000000;
    out->tv_nsec = ns % 1000000000;
    return 0;
}

int call_pause(useconds_t us)
{
    fiber_sleep((int64_t)us * 1000);
    return 0;
}

ssize_t call_getrandom(void *out, size_t size, unsigned flags)
{
    if (fiber_current() == 0)
        return syscall(SYS_getrandom, out, size, flags);
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)out)[i] = (uint8_t)random_u64(&fiber_world.random);
    return (ssize_t)size;
}

pid_t call_getpid(void)
{
    return fiber_current() != 0 ? PROCESS_ID : (pid_t)syscall(SYS_getpid);
}

/* All fibers are one thread. */
int call_priority(int which, id_t who, int priority)
{
    (void)which;
    (void)who;
    (void)priority;
    return 0;
}
