/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "engine/acks.h"

#include <pthread.h>
#include <stdatomic.h>

enum { PARTITIONS = 3, WAITS = 2000, THREADS = 4, THREAD_WAITS = 3000 };

struct test_wait {
    struct ack_wait wait;
    _Atomic int reached;
    uint64_t target[PARTITIONS]; /* offset + 1; 0: none */
    bool canceled;
};

static void reached(struct ack_wait *w)
{
    atomic_fetch_add(&((struct test_wait *)w)->reached, 1);
}

static void wait_on(struct acks *a, struct test_wait *w, uint32_t partition, uint64_t offset)
{
    w->wait.reached = reached;
    acks_register(a, &w->wait, &(struct ack_target){partition, offset}, 1);
}

static void reached_above_the_offset(void **unused)
{
    struct acks *a = acks_open(PARTITIONS);
    struct test_wait w = {0}, late = {0}, none = {0};

    (void)unused;
    wait_on(a, &w, 1, 5);
    acks_advance(a, 1, 5);
    acks_advance(a, 0, 100);
    assert_int_equal(w.reached, 0);
    acks_advance(a, 1, 6);
    assert_int_equal(w.reached, 1);
    acks_advance(a, 1, 7);
    assert_int_equal(w.reached, 1);
    wait_on(a, &late, 1, 6); /* there already */
    assert_int_equal(late.reached, 1);
    none.wait.reached = reached;
    acks_register(a, &none.wait, NULL, 0);
    assert_int_equal(none.reached, 1);
    acks_close(a);
}

static void frontiers_do_not_fall(void **unused)
{
    struct acks *a = acks_open(PARTITIONS);

    (void)unused;
    acks_advance(a, 2, 9);
    acks_advance(a, 2, 4);
    assert_int_equal(acks_frontier(a, 2), 9);
    assert_int_equal(acks_frontier(a, 0), 0);
    acks_close(a);
}

static void all_partitions_of_a_wait(void **unused)
{
    struct acks *a = acks_open(PARTITIONS);
    struct test_wait w = {.wait.reached = reached};

    (void)unused;
    acks_advance(a, 2, 50);
    acks_register(a, &w.wait, (struct ack_target[]){{0, 3}, {1, 4}, {2, 5}}, 3);
    acks_advance(a, 1, 5);
    assert_int_equal(w.reached, 0);
    acks_advance(a, 0, 4);
    assert_int_equal(w.reached, 1);
    acks_close(a);
}

static void taken_back(void **unused)
{
    struct acks *a = acks_open(PARTITIONS);
    struct test_wait w = {.wait.reached = reached}, behind = {0};

    (void)unused;
    acks_register(a, &w.wait, (struct ack_target[]){{0, 3}, {1, 4}}, 2);
    wait_on(a, &behind, 0, 8);
    acks_advance(a, 1, 5);
    assert_true(acks_cancel(a, &w.wait));
    assert_false(acks_cancel(a, &w.wait));
    acks_advance(a, 0, 9);
    assert_int_equal(w.reached, 0);
    assert_int_equal(behind.reached, 1);
    assert_false(acks_cancel(a, &behind.wait));
    acks_close(a);
}

/* The last of a queue is taken back, and the queue goes on behind what is left. */
static void last_taken_back(void **unused)
{
    struct acks *a = acks_open(PARTITIONS);
    struct test_wait w[3] = {0};

    (void)unused;
    wait_on(a, &w[0], 0, 1);
    wait_on(a, &w[1], 0, 2);
    assert_true(acks_cancel(a, &w[1].wait));
    wait_on(a, &w[2], 0, 3);
    acks_advance(a, 0, 4);
    assert_int_equal(w[0].reached, 1);
    assert_int_equal(w[1].reached, 0);
    assert_int_equal(w[2].reached, 1);
    acks_close(a);
}

/* Who waits when nothing will come any more is told, and so is who comes later; what was reached stays reached. */
static void stopped(void **unused)
{
    struct acks *a = acks_open(PARTITIONS);
    struct test_wait w = {.wait.reached = reached}, late = {0}, there = {0};

    (void)unused;
    acks_register(a, &w.wait, (struct ack_target[]){{0, 3}, {1, 4}, {2, 5}}, 3);
    acks_advance(a, 1, 5);
    acks_stop(a, LEAT_EIO);
    assert_int_equal(w.reached, 1);
    assert_int_equal(w.wait.code, LEAT_EIO);
    assert_false(acks_cancel(a, &w.wait));
    acks_advance(a, 0, 9);
    acks_advance(a, 2, 9);
    assert_int_equal(w.reached, 1);
    wait_on(a, &late, 1, 5);
    assert_int_equal(late.reached, 1);
    assert_int_equal(late.wait.code, LEAT_EIO);
    wait_on(a, &there, 1, 4);
    assert_int_equal(there.reached, 1);
    assert_int_equal(there.wait.code, 0);
    acks_close(a);
    assert_int_equal(w.reached, 1);
}

/* Who still waits at the end is told, once. */
static void closed(void **unused)
{
    struct acks *a = acks_open(PARTITIONS);
    struct test_wait w = {.wait.reached = reached}, there = {0}, taken = {0};

    (void)unused;
    acks_register(a, &w.wait, (struct ack_target[]){{0, 3}, {1, 4}, {2, 5}}, 3);
    wait_on(a, &there, 1, 2);
    wait_on(a, &taken, 1, 2);
    assert_true(acks_cancel(a, &taken.wait));
    acks_advance(a, 1, 3);
    acks_close(a);
    assert_int_equal(w.reached, 1);
    assert_int_equal(w.wait.code, LEAT_ECLOSED);
    assert_int_equal(there.reached, 1);
    assert_int_equal(there.wait.code, 0);
    assert_int_equal(taken.reached, 0);
}

/* ---- Returns ---- */

static void next_return(struct reader *in, uint32_t partition, uint64_t offset, uint8_t type, const char *value)
{
    assert_int_equal(reader_u32(in), partition);
    assert_int_equal(reader_u64(in), offset);
    assert_int_equal(reader_u8(in), type);
    assert_true(span_equal(reader_span(in), span_text(value)));
    assert_int_equal(in->error, 0);
}

static void returns_go_to_who_waits(void **unused)
{
    struct acks *a = acks_open(PARTITIONS);
    struct test_wait first = {0}, second = {0};

    (void)unused;
    acks_return(a, 0, 0, 1, span_text("nobody waits"));
    wait_on(a, &first, 0, 3);
    wait_on(a, &second, 0, 6);
    acks_return(a, 0, 6, 7, span_text("of six"));
    acks_return(a, 0, 1, 8, span_text("of one"));
    acks_return(a, 0, 3, 9, span_text(""));
    acks_return(a, 0, 4, 7, span_text("of four"));
    acks_return(a, 0, 7, 7, span_text("behind all"));
    acks_return(a, 1, 1, 7, span_text("elsewhere"));
    acks_advance(a, 0, 7);
    struct reader in = reader_of(buffer_bytes(&first.wait.returns));
    next_return(&in, 0, 1, 8, "of one");
    next_return(&in, 0, 3, 9, "");
    assert_int_equal(reader_left(&in), 0);
    in = reader_of(buffer_bytes(&second.wait.returns));
    next_return(&in, 0, 6, 7, "of six");
    next_return(&in, 0, 4, 7, "of four");
    assert_int_equal(reader_left(&in), 0);
    buffer_fini(&first.wait.returns);
    buffer_fini(&second.wait.returns);
    acks_close(a);
}

static struct test_wait waits[WAITS];

/* Who must get a value: of those that wait the one with the least offset not before it, of several the first. */
static uint32_t who_waits(const bool *waiting, const uint64_t *offset, uint32_t count, uint64_t of)
{
    uint32_t best = count;

    for (uint32_t i = 0; i < count; i++)
        if (waiting[i] && offset[i] >= of && (best == count || offset[i] < offset[best]))
            best = i;
    return best;
}

/* Values in order, out of it, and again, while waits come, are taken back and are reached. */
static void returns_against_a_model(void **unused)
{
    enum { MOST = 400, VALUES = 40000 };
    uint64_t seed = random_entropy(), frontier = 0, at = 0, offset[MOST];
    struct acks *a = acks_open(1);
    uint32_t count = 0, got[MOST] = {0};
    bool waiting[MOST] = {false};
    struct random r;

    (void)unused;
    print_message("seed %llu\n", (unsigned long long)seed);
    random_seed(&r, seed);
    memset(waits, 0, sizeof(waits));
    for (uint32_t i = 0; i < VALUES; i++) {
        uint32_t chance = (uint32_t)random_below(&r, 300), old = (uint32_t)random_below(&r, MOST);

        if (chance < 3 && count < MOST) {
            offset[count] = frontier + random_below(&r, 60);
            waiting[count] = true;
            wait_on(a, &waits[count], 0, offset[count]);
            count++;
        } else if (chance == 3 && old < count) {
            assert_int_equal(acks_cancel(a, &waits[old].wait), waiting[old]);
            waiting[old] = false;
        } else if (chance == 4) {
            frontier += random_below(&r, 30);
            acks_advance(a, 0, frontier);
            for (uint32_t j = 0; j < count; j++)
                waiting[j] = waiting[j] && offset[j] >= frontier;
        }
        at = chance < 30 ? frontier + random_below(&r, 60) : at + chance % 2;
        uint32_t who = who_waits(waiting, offset, count, at);
        acks_return(a, 0, at, 1, span_text(""));
        if (who < count)
            assert_int_equal(waits[who].wait.returns.size, ++got[who] * (4 + 8 + 1 + 1));
    }
    assert_in_range(count, MOST / 2, MOST);
    acks_close(a);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(waits[i].wait.returns.size, got[i] * (4 + 8 + 1 + 1));
        buffer_fini(&waits[i].wait.returns);
    }
    memset(waits, 0, sizeof(waits));
}

/* ---- At random, against frontiers compared one by one ---- */

static bool is_there(const struct test_wait *w, const uint64_t *frontier)
{
    for (uint32_t i = 0; i < PARTITIONS; i++)
        if (w->target[i] > frontier[i])
            return false;
    return true;
}

static void register_one(struct acks *a, struct random *r, struct test_wait *w, const uint64_t *frontier)
{
    struct ack_target target[PARTITIONS];
    uint32_t count = 0;

    w->wait.reached = reached;
    for (uint32_t i = 0; i < PARTITIONS; i++)
        if (random_below(r, 2) == 0) {
            target[count] = (struct ack_target){i, frontier[i] - random_below(r, 5) % (frontier[i] + 1) +
                                                       random_below(r, 20)};
            w->target[i] = target[count++].offset + 1;
        }
    acks_register(a, &w->wait, target, count);
}

static void against_a_model(void **unused)
{
    uint64_t seed = random_entropy(), frontier[PARTITIONS] = {0};
    struct acks *a = acks_open(PARTITIONS);
    struct random r;

    (void)unused;
    print_message("seed %llu\n", (unsigned long long)seed);
    random_seed(&r, seed);
    for (uint32_t count = 0; count < WAITS;) {
        uint32_t p = (uint32_t)random_below(&r, PARTITIONS);
        struct test_wait *old = count > 0 ? &waits[random_below(&r, count)] : NULL;

        if (random_below(&r, 2) == 0) {
            register_one(a, &r, &waits[count++], frontier);
        } else if (random_below(&r, 8) == 0 && old != NULL) {
            bool expect = !old->canceled && !is_there(old, frontier);

            assert_int_equal(acks_cancel(a, &old->wait), expect);
            old->canceled |= expect;
        } else {
            frontier[p] += random_below(&r, 4);
            acks_advance(a, p, frontier[p]);
        }
        for (uint32_t i = count > 100 ? count - 100 : 0; i < count; i++)
            assert_int_equal(waits[i].reached, !waits[i].canceled && is_there(&waits[i], frontier));
    }
    for (uint32_t p = 0; p < PARTITIONS; p++)
        acks_advance(a, p, UINT64_MAX);
    for (uint32_t i = 0; i < WAITS; i++)
        assert_int_equal(waits[i].reached, !waits[i].canceled);
    acks_close(a);
}

/* ---- Many threads register and take back while one advances ---- */

struct crowd {
    struct acks *acks;
    _Atomic uint64_t next; /* offsets given out */
    _Atomic uint32_t left;
    _Atomic uint64_t reached, canceled;
};

struct crowd_wait {
    struct ack_wait wait;
    struct crowd *crowd;
};

static void crowd_reached(struct ack_wait *w)
{
    struct crowd *c = ((struct crowd_wait *)w)->crowd;

    atomic_fetch_add(&c->reached, 1);
    buffer_fini(&w->returns);
    free(w); /* it is the waiter's from here on */
}

static void *crowd_waits(void *context)
{
    struct crowd *c = context;
    struct random r;

    random_seed(&r, (uintptr_t)&r);
    for (uint32_t i = 0; i < THREAD_WAITS; i++) {
        struct crowd_wait *w = base_alloc(sizeof(*w));
        bool hold = random_below(&r, 4) == 0;

        w->crowd = c;
        w->wait.reached = crowd_reached;
        /* Those that are taken back must not be reached, and freed, before: far away. */
        uint64_t offset = hold ? UINT64_MAX - 1 : atomic_fetch_add(&c->next, 1);
        acks_register(c->acks, &w->wait, &(struct ack_target){0, offset}, 1);
        if (!hold)
            continue;
        assert_true(acks_cancel(c->acks, &w->wait));
        atomic_fetch_add(&c->canceled, 1);
        buffer_fini(&w->wait.returns);
        free(w);
    }
    atomic_fetch_sub(&c->left, 1);
    return NULL;
}

static void many_threads(void **unused)
{
    struct crowd c = {.acks = acks_open(1), .left = THREADS};
    pthread_t thread[THREADS];

    (void)unused;
    for (uint32_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, crowd_waits, &c), 0);
    for (bool on = true; on;) {
        on = atomic_load(&c.left) > 0;
        uint64_t next = atomic_load(&c.next);
        if (next > 0)
            acks_return(c.acks, 0, next - 1, 1, span_text("x"));
        acks_advance(c.acks, 0, next);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(c.reached + c.canceled, THREADS * THREAD_WAITS);
    assert_int_equal(c.reached, c.next);
    acks_close(c.acks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reached_above_the_offset),
        cmocka_unit_test(frontiers_do_not_fall),
        cmocka_unit_test(all_partitions_of_a_wait),
        cmocka_unit_test(taken_back),
        cmocka_unit_test(last_taken_back),
        cmocka_unit_test(stopped),
        cmocka_unit_test(closed),
        cmocka_unit_test(returns_go_to_who_waits),
        cmocka_unit_test(returns_against_a_model),
        cmocka_unit_test(against_a_model),
        cmocka_unit_test(many_threads),
    };

    return cmocka_run_group_tests_name("engine_acks", tests, NULL, NULL);
}
