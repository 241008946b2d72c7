/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include <math.h>
#include <poll.h>
#include <stdatomic.h>
#include <time.h>

#include "tests/lib/gate.h"

/* Background nodes on their threads: who waits for them and who does not. */

enum { TASKS = 8, LIMIT = 4096 };

static struct gate gate = GATE_OPEN;
static _Atomic bool takes_long; /* the next run: it is in hand when the database is closed */
static _Atomic uint32_t ran;

static int set_up(void **state)
{
    (void)state;
    gate_reset(&gate);
    takes_long = false;
    ran = 0;
    return 0;
}

static int pass(struct leat_task *t, const struct leat_batch *in)
{
    gate_pass(&gate);
    if (atomic_exchange(&takes_long, false))
        poll(NULL, 0, 1000);
    leat_emit(t, 0, LEAT_ROW(leat_u32((uint32_t)(leat_random(t) % 100)), leat_at(in, 0, 1)));
    ran++;
    return 0;
}

static int add(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value sum = leat_i64(0);

        leat_get(t, 0, LEAT_KEYS(leat_u32(0)), &sum, 1);
        leat_put(t, 0, LEAT_KEYS(leat_u32(0)), LEAT_ROW(leat_i64(sum.as.i + leat_at(in, i, 1).as.i)));
    }
    return 0;
}

static const struct leat_module slow = {
    LEAT_ABI, .name = "slow",
    .depots = DEPOTS({"numbers", "key: u32, number: i64", .by = "key"}),
    .pstates = PSTATES({"sums", "map<u32, i64>"}),
    .topologies = TOPOLOGIES({"keep", LEAT_STREAM, NODES(
        {"pass", .from = "numbers", .run = pass, .emits = "key: u32, number: i64", .background = true},
        {"add", .from = "pass", .route = LEAT_BY_KEY, .run = add})})};

/* The same, at rest. */
static const struct leat_module resting = {
    LEAT_ABI, .name = "slow",
    .depots = DEPOTS({"numbers", "key: u32, number: i64", .by = "key"}),
    .pstates = PSTATES({"sums", "map<u32, i64>"}),
    .topologies = TOPOLOGIES({"keep", LEAT_STREAM, NODES(
        {"pass", .from = "numbers", .run = pass, .emits = "key: u32, number: i64", .background = true, .at_rest = true},
        {"add", .from = "pass", .route = LEAT_BY_KEY, .run = add})})};

static struct leat *open_module(const struct leat_module *module, const char *directory, uint32_t groups)
{
    struct leat_config config = {.create = true, .durability = LEAT_PROCESS, .memory = directory == NULL};
    struct leat_launch launch = {.tasks = TASKS, .groups = groups};
    struct leat_error err = {0, ""};
    struct leat *l;

    must(leat_open(directory, &config, &l, &err));
    must(leat_launch(l, module, &launch, &err));
    return l;
}

static struct leat *open_slow(const char *directory, uint32_t groups)
{
    return open_module(&slow, directory, groups);
}

/* Rows of key `key + i % keys`. */
static int append(struct leat *l, uint32_t key, uint32_t keys, uint32_t count, enum leat_ack ack, uint32_t timeout_ms)
{
    struct leat_append how = {.ack = ack, .timeout_ms = timeout_ms};
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;

    must(leat_depot_find(l, "slow", "numbers", &d, &err));
    must(leat_rows_new(d, &rows));
    for (uint32_t i = 0; i < count; i++)
        must(leat_rows_add(rows, LEAT_ROW(leat_u32(key + i % keys), leat_i64(1)), &err));
    int rv = leat_append(d, rows, &how, NULL, &err);
    leat_rows_free(rows);
    return rv;
}

/* Over all tasks. */
static int64_t sum_of(struct leat *l)
{
    struct leat_error err = {0, ""};
    struct leat_view *v;
    int64_t sum = 0;

    must(leat_view_open(l, "slow", &v, &err));
    for (uint32_t task = 0; task < leat_view_tasks(v); task++) {
        struct leat_value value = leat_i64(0);
        int rv = leat_get(leat_view_task(v, task), 0, LEAT_KEYS(leat_u32(0)), &value, 1);

        assert_true(rv == 0 || rv == LEAT_ENOTFOUND);
        sum += rv == 0 ? value.as.i : 0;
    }
    leat_view_close(v);
    return sum;
}

static void see_waiting(void *context, const struct leat_stat *stat)
{
    if (strcmp(stat->name, "background_waiting") == 0)
        *(uint64_t *)context += (uint64_t)stat->value;
}

static uint64_t waiting(struct leat *l)
{
    uint64_t sum = 0;

    leat_stats(l, see_waiting, &sum);
    return sum;
}

static void an_acknowledgement_does_not_wait(void **state)
{
    struct leat *l = open_slow(NULL, 2);
    struct leat_error err = {0, ""};

    (void)state;
    gate_close(&gate);
    assert_int_equal(append(l, 0, 10, 100, LEAT_PROCESSED, 30000), 0);
    must(leat_wait(l, 30000, &err));
    assert_int_equal(sum_of(l), 0);
    assert_int_equal(waiting(l), 100);
    assert_int_equal(leat_wait_idle(l, 50, &err), LEAT_ETIMEOUT);
    gate_open(&gate);
    must(leat_wait_idle(l, 30000, &err));
    assert_int_equal(sum_of(l), 100);
    assert_int_equal(waiting(l), 0);
    leat_close(l);
}

/* A key whose task is of this group. */
static uint32_t key_of(uint32_t group, uint32_t groups)
{
    uint32_t key = 0;

    for (;; key++) {
        struct leat_value value = leat_u32(key);

        if (leat_task_of(TASKS, &value) % groups == group)
            return key;
    }
}

/* Of all groups, as any may send rows there. */
static void depots_wait_for_who_is_behind(void **state)
{
    struct leat *l = open_slow(NULL, 2);
    struct leat_error err = {0, ""};
    uint32_t one = key_of(0, 2), other = key_of(1, 2);

    (void)state;
    gate_close(&gate);
    assert_int_equal(append(l, one, 1, LIMIT - 1, LEAT_PROCESSED, 30000), 0);
    assert_int_equal(append(l, other, 1, 1, LEAT_PROCESSED, 30000), 0);
    assert_int_equal(append(l, one, 1, 1, LEAT_PROCESSED, 30000), 0);
    assert_int_equal(append(l, one, 1, 1, LEAT_PROCESSED, 100), LEAT_ETIMEOUT);
    assert_int_equal(append(l, other, 1, 1, LEAT_PROCESSED, 100), LEAT_ETIMEOUT);
    assert_int_equal(waiting(l), LIMIT + 1);
    gate_open(&gate);
    must(leat_wait_idle(l, 60000, &err));
    assert_int_equal(sum_of(l), LIMIT + 3);
    leat_close(l);
}

static void closing_waits_for_the_run_in_hand(void **state)
{
    char directory[] = "/tmp/leat-background-XXXXXX", command[64];
    struct leat_error err = {0, ""};

    (void)state;
    assert_non_null(mkdtemp(directory));
    struct leat *l = open_slow(directory, 1);
    takes_long = true;
    assert_int_equal(append(l, 1, 1, 1, LEAT_PROCESSED, 30000), 0);
    assert_true(gate_wait(&gate, 1));
    leat_close(l);
    assert_int_equal(ran, 1);
    l = open_slow(directory, 1);
    must(leat_wait_idle(l, 30000, &err));
    assert_int_equal(sum_of(l), 1);
    assert_int_equal(ran, 2);
    leat_close(l);
    snprintf(command, sizeof(command), "rm -rf %s", directory);
    assert_int_equal(system(command), 0);
}

static void much_at_once(void **state)
{
    enum { ROWS = 20000 };
    struct leat *l = open_slow(NULL, 4);
    struct leat_error err = {0, ""};

    (void)state;
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(append(l, i, 50, ROWS / 20, LEAT_APPENDED, 30000), 0);
    must(leat_wait_idle(l, 60000, &err));
    assert_int_equal(sum_of(l), ROWS);
    assert_int_equal(ran, ROWS);
    leat_close(l);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* As long as rows come nothing runs, however many wait; then all does, also what waited when it was closed. */
static void rest_is_waited_for(void **state)
{
    enum { ROUNDS = 40, EACH = 10 };
    char directory[] = "/tmp/leat-background-XXXXXX", command[64];
    struct leat_error err = {0, ""};
    double longest = 0;

    (void)state;
    assert_non_null(mkdtemp(directory));
    struct leat *l = open_module(&resting, directory, 1);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        double before = now();

        assert_int_equal(append(l, round, 5, EACH, LEAT_PROCESSED, 30000), 0);
        poll(NULL, 0, 20);
        longest = fmax(longest, now() - before);
    }
    if (longest < 0.15) { /* else there was rest for want of a processor */
        assert_int_equal(ran, 0);
        assert_int_equal(waiting(l), ROUNDS * EACH);
    }
    leat_close(l);
    l = open_module(&resting, directory, 1);
    must(leat_wait_idle(l, 30000, &err));
    assert_true(ran >= ROUNDS * EACH);
    assert_int_equal(sum_of(l), ROUNDS * EACH);
    assert_int_equal(append(l, 1, 1, 1, LEAT_PROCESSED, 30000), 0);
    must(leat_wait_idle(l, 30000, &err));
    assert_int_equal(sum_of(l), ROUNDS * EACH + 1);
    leat_close(l);
    snprintf(command, sizeof(command), "rm -rf %s", directory);
    assert_int_equal(system(command), 0);
}

/* More than depots wait for: they do, and so there is rest. */
static void rest_comes_when_depots_wait(void **state)
{
    struct leat *l = open_module(&resting, NULL, 2);
    struct leat_error err = {0, ""};

    (void)state;
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(append(l, i, 50, LIMIT / 2, LEAT_APPENDED, 30000), 0);
    must(leat_wait_idle(l, 60000, &err));
    assert_int_equal(sum_of(l), 3 * LIMIT);
    assert_int_equal(ran, 3 * LIMIT);
    leat_close(l);
}

/* ---- Rest, and records that may not be read ---- */

static _Atomic uint32_t rested, blocked_key;

static int pass_unblocked(struct leat_task *t, const struct leat_batch *in)
{
    if (leat_at(in, 0, 0).as.u == blocked_key)
        gate_pass(&gate);
    leat_emit(t, 0, LEAT_ROW(leat_at(in, 0, 0), leat_at(in, 0, 1)));
    return 0;
}

static int rest(struct leat_task *t, const struct leat_batch *in)
{
    leat_emit(t, 0, LEAT_ROW(leat_at(in, 0, 0), leat_at(in, 0, 1)));
    rested += leat_at(in, 0, 0).as.u != blocked_key;
    return 0;
}

static const struct leat_module both = {
    LEAT_ABI, .name = "slow",
    .depots = DEPOTS({"numbers", "key: u32, number: i64", .by = "key"}),
    .pstates = PSTATES({"sums", "map<u32, i64>"}),
    .topologies = TOPOLOGIES({"keep", LEAT_STREAM, NODES(
        {"pass", .from = "numbers", .run = pass_unblocked, .emits = "key: u32, number: i64", .background = true},
        {"rest", .from = "numbers", .run = rest, .emits = "key: u32, number: i64", .background = true, .at_rest = true},
        {"add", .from = "pass, rest", .route = LEAT_BY_KEY, .run = add})})};

/* A group has records, but the background of the other is so far behind that depots wait: that is no rest. */
static void who_may_not_read_does_not_rest(void **state)
{
    struct leat *l = open_module(&both, NULL, 2);
    struct leat_error err = {0, ""};
    uint32_t other = key_of(1, 2);
    double before = now();

    (void)state;
    rested = 0;
    blocked_key = key_of(0, 2);
    gate_close(&gate);
    assert_int_equal(append(l, other, 1, 1, LEAT_PROCESSED, 30000), 0);
    assert_int_equal(append(l, blocked_key, 1, LIMIT, LEAT_PROCESSED, 30000), 0);
    assert_int_equal(append(l, other, 1, 1, LEAT_APPENDED, 30000), 0);
    bool fast = now() - before < 0.15;
    poll(NULL, 0, 500);
    if (fast)
        assert_int_equal(rested, 0);
    gate_open(&gate);
    must(leat_wait_idle(l, 60000, &err));
    assert_int_equal(rested, 2);
    assert_int_equal(sum_of(l), 2 * (LIMIT + 2));
    leat_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_acknowledgement_does_not_wait, set_up),
        cmocka_unit_test_setup(depots_wait_for_who_is_behind, set_up),
        cmocka_unit_test_setup(closing_waits_for_the_run_in_hand, set_up),
        cmocka_unit_test_setup(much_at_once, set_up),
        cmocka_unit_test_setup(rest_is_waited_for, set_up),
        cmocka_unit_test_setup(rest_comes_when_depots_wait, set_up),
        cmocka_unit_test_setup(who_may_not_read_does_not_rest, set_up),
    };

    return cmocka_run_group_tests_name("cluster_background_threads", tests, NULL, NULL);
}
