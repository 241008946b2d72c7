/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base.h"
#include "engine/gauge.h"

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

/* The gauge of recall alone, under a clock that is set: which requests it picks, that one is under way at a time, that
 * it keeps to its share of a processor, and its figures. A sample is a double. */

enum { TOPOLOGIES = 2, SECOND = 1000000000 };

static struct world {
    struct gauge *gauge;
    _Atomic int64_t now;
    _Atomic int64_t cost;
    _Atomic int code;
    _Atomic bool held;       /* samples wait until they are let go, or cancelled */
    _Atomic uint32_t measured, cancelled;
} w;

static int64_t now_ns(struct clock *c)
{
    (void)c;
    return w.now;
}

static struct clock clock_set = {.monotonic_ns = now_ns};

static void measure(void *context, uint32_t topology, void *sample, const bool *cancel, struct gauge_measured *out)
{
    assert_ptr_equal(context, &w);
    assert_true(topology < TOPOLOGIES);
    while (w.held && !__atomic_load_n(cancel, __ATOMIC_RELAXED))
        sched_yield();
    w.cancelled += w.held;
    *out = (struct gauge_measured){.code = w.code, .recall = *(double *)sample, .cost_ns = w.cost};
    w.measured++;
}

static void open_every(uint32_t every)
{
    struct gauge_config config = {
        .topologies = TOPOLOGIES, .every = every, .clock = &clock_set, .measure = measure, .context = &w};

    w = (struct world){.now = 5};
    assert_int_equal(gauge_open(&config, &w.gauge), 0);
}

static struct gauge_figures figures(uint32_t topology)
{
    struct gauge_figures f;

    gauge_read(w.gauge, topology, &f);
    return f;
}

/* Until the last sample is recorded: only then another can be picked. */
static void settle(uint64_t samples)
{
    time_t end = time(NULL) + 60;

    while (figures(0).samples + figures(0).failed + figures(1).samples < samples) {
        assert_true(time(NULL) < end);
        sched_yield();
    }
}

static void one(double recall, uint64_t samples)
{
    assert_true(gauge_picks(w.gauge, 0));
    gauge_give(w.gauge, 0, &recall);
    settle(samples);
}

static void picks_by_count(void **unused)
{
    double recall = 1;

    (void)unused;
    assert_false(gauge_picks(NULL, 0));
    open_every(3);
    for (int i = 1; i <= 30; i++) {
        bool second = i % 2 == 0; /* of the other topology's requests, a count of their own */

        assert_true(gauge_picks(w.gauge, 0) == (i % 3 == 0));
        if (i % 3 == 0) {
            gauge_give(w.gauge, 0, &recall);
            settle((uint64_t)i / 3);
        }
        if (second && i <= 4)
            assert_false(gauge_picks(w.gauge, 1));
    }
    assert_int_equal(figures(0).samples, 10);
    assert_int_equal(figures(0).skipped, 0);
    assert_int_equal(figures(1).samples, 0);
    gauge_close(w.gauge);
}

static void one_at_a_time(void **unused)
{
    double recall = 0.5;

    (void)unused;
    open_every(1);
    assert_true(gauge_picks(w.gauge, 0));
    assert_false(gauge_picks(w.gauge, 0)); /* while the first is answered */
    w.held = true;
    gauge_give(w.gauge, 0, &recall);
    for (int i = 0; i < 10; i++)
        assert_false(gauge_picks(w.gauge, (uint32_t)i % 2));
    assert_int_equal(figures(0).skipped, 6);
    assert_int_equal(figures(1).skipped, 5);
    assert_int_equal(figures(0).samples, 0);
    w.held = false;
    settle(1);
    one(1, 2);
    assert_int_equal(w.measured, 2);
    gauge_close(w.gauge);
}

static void a_failed_request_is_forgotten(void **unused)
{
    (void)unused;
    open_every(1);
    assert_true(gauge_picks(w.gauge, 0));
    gauge_give(w.gauge, 0, NULL);
    one(0.25, 1);
    assert_int_equal(w.measured, 1);
    w.code = -5;
    one(0, 2);
    assert_int_equal(figures(0).failed, 1);
    assert_true(figures(0).mean > 0.24 && figures(0).mean < 0.26);
    gauge_close(w.gauge);
}

/* A twentieth of a processor, a second of it at once. */
static void keeps_to_its_share(void **unused)
{
    uint64_t samples = 0;

    (void)unused;
    open_every(1);
    w.cost = SECOND / 10;
    while (samples < 10)
        one(1, ++samples);
    assert_false(gauge_picks(w.gauge, 0));
    assert_int_equal(figures(0).skipped, 1);
    w.now += 1;
    one(1, ++samples); /* some rest less than what may come together */
    w.now += 2 * (int64_t)SECOND - 2;
    assert_false(gauge_picks(w.gauge, 0));
    for (int i = 0; i < 100; i++) { /* each tenth of a second, two of rest */
        w.now += 2 * (int64_t)SECOND;
        one(1, ++samples);
        assert_false(gauge_picks(w.gauge, 0));
    }
    w.now += 1000 * (int64_t)SECOND; /* what was not used does not add up */
    for (int i = 0; i < 10; i++)
        one(1, ++samples);
    assert_false(gauge_picks(w.gauge, 0));
    gauge_close(w.gauge);
}

static bool near(double a, double b)
{
    return fabs(a - b) < 1e-6;
}

static void figures_of_all_and_of_the_last(void **unused)
{
    struct gauge_figures f;

    (void)unused;
    open_every(1);
    f = figures(0);
    assert_true(f.samples == 0 && near(f.mean, 0) && near(f.recent, 0) && near(f.least, 0) && near(f.last, 0));
    one(0.2, 1);
    for (uint64_t i = 2; i <= GAUGE_RECENT; i++)
        one(0.9, i);
    f = figures(0);
    assert_true(near(f.least, 0.2) && near(f.last, 0.9));
    assert_true(near(f.recent, (0.2 + 0.9 * (GAUGE_RECENT - 1)) / GAUGE_RECENT) && near(f.mean, f.recent));
    one(0.5, GAUGE_RECENT + 1); /* in the place of the first one */
    f = figures(0);
    assert_true(near(f.least, 0.5) && near(f.last, 0.5));
    assert_true(near(f.recent, (0.5 + 0.9 * (GAUGE_RECENT - 1)) / GAUGE_RECENT));
    assert_true(near(f.mean, (0.7 + 0.9 * (GAUGE_RECENT - 1)) / (GAUGE_RECENT + 1)));
    double nothing = NAN; /* nothing to compare with: no sample */
    assert_true(gauge_picks(w.gauge, 0));
    gauge_give(w.gauge, 0, &nothing);
    while (!gauge_picks(w.gauge, 0)) /* until it is through with that */
        sched_yield();
    gauge_give(w.gauge, 0, NULL);
    assert_int_equal(w.measured, GAUGE_RECENT + 2);
    assert_int_equal(figures(0).samples, GAUGE_RECENT + 1);
    gauge_close(w.gauge);
}

static void closing_cancels(void **unused)
{
    double recall = 1;

    (void)unused;
    open_every(1);
    w.held = true;
    assert_true(gauge_picks(w.gauge, 1));
    gauge_give(w.gauge, 1, &recall);
    gauge_stop(w.gauge);
    assert_int_equal(w.measured, 1); /* it was taken, or it would be lost */
    assert_int_equal(w.cancelled, 1);
    assert_false(gauge_picks(w.gauge, 1));
    assert_int_equal(figures(1).samples, 1);
    gauge_close(w.gauge);
    gauge_stop(NULL);
    gauge_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(picks_by_count),
        cmocka_unit_test(one_at_a_time),
        cmocka_unit_test(a_failed_request_is_forgotten),
        cmocka_unit_test(keeps_to_its_share),
        cmocka_unit_test(figures_of_all_and_of_the_last),
        cmocka_unit_test(closing_cancels),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
