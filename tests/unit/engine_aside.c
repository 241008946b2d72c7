/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base.h"
#include "engine/aside.h"

/* Which processors threads of turns use while queries run: decided under a clock that is set, of processors that are
 * made up; and a thread of this process, moved by it. */

enum { MS = 1000000 };

static struct {
    struct aside aside;
    uint64_t queried[ASIDE_PROCESSORS];
    int64_t now;
} w;

static void begin(uint32_t processors)
{
    cpu_set_t allowed;

    memset(&w, 0, sizeof(w));
    w.aside.looked_ns = INT64_MIN;
    CPU_ZERO(&allowed);
    for (uint32_t i = 0; i < processors; i++)
        CPU_SET(i, &allowed);
    aside_allow(&w.aside, &allowed);
    aside_choose(&w.aside, w.queried, w.now);
}

/* For so long queries use some percent of two processors, in pieces that count when they end. Was `left` left to them
 * all the time from the middle on? */
static bool pass(int milliseconds, uint64_t first, uint64_t second, int piece_ms, uint32_t left)
{
    uint64_t used[2] = {0, 0}, percent[2] = {first, second};
    bool always = true;

    for (int ms = 0; ms < milliseconds; ms += 2) {
        w.now += 2 * MS;
        for (uint32_t i = 0; i < 2; i++) {
            used[i] += 2 * MS * percent[i] / 100;
            if (used[i] >= (uint64_t)piece_ms * MS) {
                w.queried[i] += used[i];
                used[i] = 0;
            }
        }
        aside_choose(&w.aside, w.queried, w.now);
        always = always && (ms < milliseconds / 2 || !CPU_ISSET(left, &w.aside.chosen));
    }
    return always;
}

static bool uses_all(void)
{
    return CPU_EQUAL(&w.aside.chosen, &w.aside.allowed);
}

static void test_a_busy_processor_is_left(void **state)
{
    (void)state;
    begin(2);
    assert_true(uses_all());
    assert_true(pass(100, 95, 0, 0, 0));
    assert_true(CPU_ISSET(1, &w.aside.chosen));
    assert_true(pass(100, 0, 95, 0, 1));
    assert_true(CPU_ISSET(0, &w.aside.chosen));
    pass(100, 0, 0, 0, 0);
    assert_true(uses_all());
}

static void test_some_queries_are_not_many(void **state)
{
    (void)state;
    begin(2);
    pass(200, 40, 10, 0, 0);
    assert_true(uses_all());
    /* One that was left is used again when there are really few. */
    assert_true(pass(100, 70, 10, 0, 0));
    assert_true(pass(100, 40, 10, 0, 0));
    pass(100, 10, 10, 0, 0);
    assert_true(uses_all());
}

/* A search of all rows takes milliseconds, and counts when it ends. */
static void test_long_queries(void **state)
{
    (void)state;
    begin(2);
    assert_true(pass(400, 90, 0, 7, 0));
    pass(200, 0, 0, 0, 0);
    assert_true(uses_all());
}

/* Ten queries beside each other on one processor count ten times its time; but not once they have ended. */
static void test_many_beside_each_other(void **state)
{
    (void)state;
    begin(2);
    assert_true(pass(200, 1000, 0, 0, 0));
    pass(100, 0, 0, 0, 0);
    assert_true(uses_all());
}

/* What was used before somebody looked is nobody's share now. */
static void test_what_was_before(void **state)
{
    (void)state;
    w.queried[0] = 0;
    begin(2);
    w.aside.looked_ns = INT64_MIN;
    w.queried[0] = UINT64_C(1) << 60;
    aside_choose(&w.aside, w.queried, w.now);
    pass(100, 0, 0, 0, 0);
    assert_true(uses_all());
}

static void test_half_of_them_stay(void **state)
{
    (void)state;
    begin(2);
    pass(100, 95, 95, 0, 0);
    assert_true(uses_all());
    begin(3);
    pass(100, 95, 95, 0, 0);
    assert_true(uses_all());
    begin(4);
    assert_true(pass(100, 95, 95, 0, 1));
    assert_int_equal(CPU_COUNT(&w.aside.chosen), 2);
    begin(1);
    pass(100, 95, 95, 0, 0);
    assert_true(uses_all());
}

/* ---- A thread ---- */

static cpu_set_t used(void)
{
    cpu_set_t now;

    assert_int_equal(sched_getaffinity(0, sizeof(now), &now), 0);
    return now;
}

static void pin(size_t processor)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

/* Queries of this thread on that processor keep it busy for 100 ms of a clock that is set. */
static void keep_busy(struct aside *a, size_t processor, int64_t *now, uint64_t each)
{
    for (int i = 0; i < 50; i++) {
        cpu_set_t before = used();

        *now += 2 * MS;
        pin(processor);
        aside_queried(each);
        assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
        aside_step(a, *now);
    }
}

static void test_a_thread_moves(void **state)
{
    struct aside a;
    cpu_set_t all = used(), now;
    int64_t clock = 0;
    size_t busy = 0;

    (void)state;
    while (!CPU_ISSET(busy, &all))
        busy++;
    aside_begin(&a);
    aside_step(&a, clock);
    keep_busy(&a, busy, &clock, 2 * MS);
    now = used();
    assert_int_equal(CPU_ISSET(busy, &now), CPU_COUNT(&all) == 1);
    assert_int_equal(CPU_COUNT(&now), CPU_COUNT(&all) == 1 ? 1 : CPU_COUNT(&all) - 1);
    keep_busy(&a, busy, &clock, 0);
    now = used();
    assert_true(CPU_EQUAL(&now, &all));
    /* Somebody else says which it may use: that holds. */
    pin(busy);
    keep_busy(&a, busy, &clock, 2 * MS);
    now = used();
    assert_int_equal(CPU_COUNT(&now), 1);
    assert_true(CPU_ISSET(busy, &now));
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_busy_processor_is_left), cmocka_unit_test(test_some_queries_are_not_many),
        cmocka_unit_test(test_long_queries),             cmocka_unit_test(test_many_beside_each_other),
        cmocka_unit_test(test_what_was_before),          cmocka_unit_test(test_half_of_them_stay),
        cmocka_unit_test(test_a_thread_moves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
