/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/fiber.h"

#include "base/base.h"

#include <errno.h>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
#include <sanitizer/common_interface_defs.h>
#endif

enum { FIBERS = 256, STACK = 1 << 19 };

struct fiber {
    ucontext_t context;
    void *stack;
    void *(*main)(void *context);
    void *argument;
    void *result;
    const void *on;      /* what it waits for; NULL: it can go on, unless it sleeps */
    int64_t until_ns;    /* INT64_MAX: no time */
    bool live, joined, waits, timed_out;
    int saved_errno;
    void *fake_stack;
};

struct fiber_world fiber_world;

static struct {
    ucontext_t context;      /* of the scheduler */
    void *fake_stack;
    const void *stack;
    size_t stack_size;
    struct fiber fiber[FIBERS];
    uint32_t fibers;
    uint32_t current;        /* number + 1; 0: the scheduler */
    bool crashed;
} life;

void fiber_trace(uint64_t what)
{
    uint64_t h = (fiber_world.trace ^ what) * 0x9e3779b97f4a7c15U;

    fiber_world.trace = h ^ h >> 32;
}

uint32_t fiber_current(void)
{
    return life.current;
}

/* ---- Switching ---- */

static void to_scheduler(bool for_good)
{
    struct fiber *f = &life.fiber[life.current - 1];

    f->saved_errno = errno;
#ifdef SANITIZED
    __sanitizer_start_switch_fiber(for_good ? NULL : &f->fake_stack, life.stack, life.stack_size);
#else
    (void)for_good;
#endif
    swapcontext(&f->context, &life.context);
#ifdef SANITIZED
    __sanitizer_finish_switch_fiber(f->fake_stack, &life.stack, &life.stack_size);
#endif
    errno = f->saved_errno;
}

static void to_fiber(uint32_t number)
{
    struct fiber *f = &life.fiber[number];

    life.current = number + 1;
#ifdef SANITIZED
    __sanitizer_start_switch_fiber(&life.fake_stack, f->stack, STACK);
#endif
    swapcontext(&life.context, &f->context);
#ifdef SANITIZED
    __sanitizer_finish_switch_fiber(life.fake_stack, NULL, NULL);
#endif
    life.current = 0;
}

static void enter(void)
{
    struct fiber *f = &life.fiber[life.current - 1];

#ifdef SANITIZED
    __sanitizer_finish_switch_fiber(NULL, &life.stack, &life.stack_size);
#endif
    f->result = f->main(f->argument);
    f->live = false;
    fiber_wake(f, true);
    to_scheduler(true);
}

static void prepare(struct fiber *f)
{
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK;
    makecontext(&f->context, enter, 0);
}

uint32_t fiber_new(void *(*main)(void *context), void *context)
{
    uint32_t number = 0;

    while (number < life.fibers && !life.fiber[number].joined)
        number++;
    leat_assert(number < FIBERS);
    life.fibers = number == life.fibers ? number + 1 : life.fibers;
    struct fiber *f = &life.fiber[number];
    void *stack = f->stack;

    if (stack == NULL)
        stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    leat_assert(stack != MAP_FAILED);
    memset(f, 0, sizeof(*f));
    f->stack = stack;
    f->main = main;
    f->argument = context;
    f->live = true;
    prepare(f);
    if (fiber_world.stall_one_in > 0 && life.current != 0 && random_below(&fiber_world.random, 4) == 0) {
        f->waits = true; /* it begins late */
        f->until_ns = fiber_world.now_ns + (int64_t)random_below(&fiber_world.random, (uint64_t)fiber_world.stall_ns);
    }
    return number + 1;
}

void *fiber_join(uint32_t number)
{
    struct fiber *f = &life.fiber[number - 1];

    while (f->live)
        fiber_wait(f, INT64_MAX);
    f->joined = true;
    return f->result;
}

/* ---- Waiting ---- */

bool fiber_wait(const void *on, int64_t until_ns)
{
    struct fiber *f = &life.fiber[life.current - 1];

    leat_assert(life.current != 0);
    f->on = on;
    f->until_ns = until_ns;
    f->waits = true;
    f->timed_out = false;
    to_scheduler(false);
    return !f->timed_out;
}

void fiber_sleep(int64_t ns)
{
    fiber_wait(NULL, fiber_world.now_ns + ns);
}

static bool waits_on(const struct fiber *f, const void *on)
{
    return f->live && f->waits && f->on == on;
}

void fiber_wake(const void *on, bool all)
{
    uint32_t waiting = 0;

    for (uint32_t i = 0; i < life.fibers; i++)
        waiting += waits_on(&life.fiber[i], on);
    if (waiting == 0)
        return;
    uint64_t chosen = all || waiting == 1 ? 0 : random_below(&fiber_world.random, waiting);
    for (uint32_t i = 0; i < life.fibers; i++)
        if (waits_on(&life.fiber[i], on) && (all || chosen-- == 0)) {
            life.fiber[i].waits = false;
            if (!all)
                return;
        }
}

/* Whose time has come goes on. */
static int64_t wake_due(void)
{
    int64_t next = INT64_MAX;

    for (uint32_t i = 0; i < life.fibers; i++) {
        struct fiber *f = &life.fiber[i];

        if (!f->live || !f->waits)
            continue;
        if (f->until_ns <= fiber_world.now_ns) {
            f->waits = false;
            f->timed_out = true;
        } else if (f->until_ns < next) {
            next = f->until_ns;
        }
    }
    return next;
}

static uint32_t count_ready(void)
{
    uint32_t ready = 0;

    for (uint32_t i = 0; i < life.fibers; i++)
        ready += life.fiber[i].live && !life.fiber[i].waits;
    return ready;
}

static uint32_t ready_at(uint64_t place)
{
    uint32_t i = 0;

    for (;; i++)
        if (life.fiber[i].live && !life.fiber[i].waits && place-- == 0)
            return i;
}

/* ---- Steps ---- */

/* The power is gone. */
static _Noreturn void crash(void)
{
    life.crashed = true;
    to_scheduler(true);
    abort();
}

void fiber_step(void)
{
    if (life.current == 0)
        return;
    fiber_world.steps++;
    fiber_world.now_ns += 1000;
    if (fiber_world.crash_step != 0 && fiber_world.steps >= fiber_world.crash_step)
        crash();
    if (fiber_world.stall_one_in > 0 && random_below(&fiber_world.random, fiber_world.stall_one_in) == 0) {
        fiber_world.stalls++;
        fiber_sleep((int64_t)random_below(&fiber_world.random, (uint64_t)fiber_world.stall_ns));
    } else if (fiber_world.switch_one_in > 0 && random_below(&fiber_world.random, fiber_world.switch_one_in) == 0) {
        to_scheduler(false);
    }
}

static void forget_all(void)
{
    for (uint32_t i = 0; i < life.fibers; i++)
        life.fiber[i].live = false;
    life.fibers = 0; /* the stacks stay for the next ones */
    life.current = 0;
}

enum fiber_end fiber_life(void *(*main)(void *context), void *context)
{
    enum fiber_end end = FIBER_DONE;

    leat_assert(life.current == 0 && life.fibers == 0);
    life.crashed = false;
    uint32_t first = fiber_new(main, context) - 1;
    while (life.fiber[first].live && !life.crashed) {
        int64_t next = wake_due();
        uint32_t ready = count_ready();

        if (ready == 0 && next == INT64_MAX) {
            end = FIBER_STUCK;
            break;
        }
        if (ready == 0) {
            fiber_world.now_ns = next;
            continue;
        }
        uint32_t chosen = ready_at(ready == 1 ? 0 : random_below(&fiber_world.random, ready));
        fiber_trace(chosen + ((uint64_t)fiber_world.now_ns << 8));
        fiber_world.switches++;
        to_fiber(chosen);
    }
    if (life.crashed)
        end = FIBER_CRASHED;
    forget_all();
    return end;
}
