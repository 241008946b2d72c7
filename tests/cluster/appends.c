/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

/* Depots of every kind on a node with threads: chosen partitions, appends without waiting, ticks, depots of another
 * module, and what an append refuses. All goes on after the directory was closed and opened. */

enum { TASKS = 8, KEYS = 5, ASYNC = 400, TICKS = 5, DEADLINE_S = 30 };

enum { TOTAL, TIMES };

static int take(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 1)));
    return 0;
}

/* Far from where the row was appended: its answer hops back. */

static int total(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value sum = leat_i64(0);

        leat_get(t, TOTAL, LEAT_KEYS(leat_i64(0)), &sum, 1);
        leat_put(t, TOTAL, LEAT_KEYS(leat_i64(0)), LEAT_ROW(leat_i64(sum.as.i + leat_at(in, i, 0).as.i)));
        leat_ack_return(t, i, leat_at(in, i, 0));
    }
    return 0;
}

static int note_time(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value time = leat_at(in, i, 0), count = leat_i64(0);

        leat_get(t, TIMES, LEAT_KEYS(time), &count, 1);
        leat_put(t, TIMES, LEAT_KEYS(time), LEAT_ROW(leat_i64(count.as.i + 1)));
    }
    return 0;
}

static const struct leat_module source = {
    LEAT_ABI, .name = "source",
    .depots = DEPOTS({"keyed", "key: i64, number: i64", .by = "key"},
                     {"chosen", "number: i64", .partitioner = LEAT_EXPLICIT},
                     {"copies", "number: i64", .partitioner = LEAT_NO_CLIENT}, {"clock", .tick_ms = 3}),
    .pstates = PSTATES([TOTAL] = {"total", "map<i64, i64>"}, [TIMES] = {"times", "map<i64, i64>"}),
    .topologies = TOPOLOGIES({"take", LEAT_STREAM, NODES(
        {"take", .from = "keyed", .run = take, .emits = "number: i64"},
        {"total", .from = "take", .route = LEAT_GLOBAL, .run = total},
        {"copy", .from = "take", .route = LEAT_TO_RANDOM, .into = "copies"},
        {"note_time", .from = "clock", .run = note_time})})};

static int pass(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0), leat_at(in, i, 1)));
    return 0;
}

static const struct leat_module follower = {
    LEAT_ABI, .name = "follower",
    .pstates = PSTATES({"sums", "map<i64, i64>"}),
    .topologies = TOPOLOGIES({"follow", LEAT_STREAM, NODES(
        {"pass", .from = "source/keyed", .run = pass, .emits = "key: i64, number: i64"},
        {"sum", .from = "pass", .route = LEAT_BY_KEY, .fold = &leat_sum, .into = "sums"})})};

static int nothing(struct leat_task *t, const struct leat_batch *in)
{
    (void)t;
    (void)in;
    return 0;
}

static const struct leat_module dropper = {
    LEAT_ABI, .name = "dropper",
    .depots = DEPOTS({"rows", "key: i64", .by = "key"}),
    .topologies = TOPOLOGIES({"drop", LEAT_STREAM, NODES({"drop", .from = "rows", .run = nothing})})};

/* ---- A node ---- */

struct node {
    char directory[64];
    struct leat *leat;
    struct leat_depot *keyed, *chosen, *copies, *clock;
    struct leat_rows *rows;  /* of keyed */
    int64_t appended;        /* row i has key i % KEYS and number i */
};

static void node_open(struct node *n)
{
    static const struct leat_launch launch = {.tasks = TASKS, .groups = 4}, fewer = {.tasks = TASKS, .groups = 2};
    struct leat_error err = {0, ""};

    must(leat_open(n->directory, NULL, &n->leat, &err));
    must(leat_launch(n->leat, &source, &launch, &err));
    must(leat_launch(n->leat, &follower, &fewer, &err));
    must(leat_depot_find(n->leat, "source", "keyed", &n->keyed, &err));
    must(leat_depot_find(n->leat, "source", "chosen", &n->chosen, &err));
    must(leat_depot_find(n->leat, "source", "copies", &n->copies, &err));
    must(leat_depot_find(n->leat, "source", "clock", &n->clock, &err));
    must(leat_rows_new(n->keyed, &n->rows));
}

static void node_close(struct node *n)
{
    leat_rows_free(n->rows);
    leat_close(n->leat);
}

static int set_up(void **state)
{
    struct node *n = calloc(1, sizeof(*n));

    snprintf(n->directory, sizeof(n->directory), "/tmp/leat-appends-XXXXXX");
    assert_non_null(mkdtemp(n->directory));
    node_open(n);
    *state = n;
    return 0;
}

static int tear_down(void **state)
{
    struct node *n = *state;
    char command[128];

    node_close(n);
    snprintf(command, sizeof(command), "rm -rf %s", n->directory);
    assert_int_equal(system(command), 0);
    free(n);
    return 0;
}

static void reopen(struct node *n)
{
    node_close(n);
    node_open(n);
}

static void next_row(struct node *n)
{
    struct leat_error err = {0, ""};

    leat_rows_clear(n->rows);
    must(leat_rows_add(n->rows, LEAT_ROW(leat_i64(n->appended % KEYS), leat_i64(n->appended)), &err));
    n->appended++;
}

static int64_t value_at(struct node *n, const char *module, struct leat_value key, uint32_t pstate, int task)
{
    struct leat_error err = {0, ""};
    struct leat_value v = leat_i64(0);
    struct leat_view *view;

    must(leat_view_open(n->leat, module, &view, &err));
    int rv = leat_get(task >= 0 ? leat_view_task(view, (uint32_t)task) : leat_view_owner(view, &key), pstate,
                      LEAT_KEYS(key), &v, 1);
    assert_true(rv == 0 || rv == LEAT_ENOTFOUND);
    leat_view_close(view);
    return v.as.i;
}

/* ---- Without waiting ---- */

struct answers {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int64_t answered, failed, sum;
};

static void answered(void *context, int code, const struct leat_receipt *receipt)
{
    struct answers *a = context;

    pthread_mutex_lock(&a->lock);
    if (code == 0 && receipt->returned == 1)
        a->sum += receipt->value[0].as.i;
    else
        a->failed++;
    a->answered++;
    pthread_cond_signal(&a->cond);
    pthread_mutex_unlock(&a->lock);
}

static void append_many(struct node *n, struct answers *a)
{
    struct timespec deadline;
    struct leat_error err = {0, ""};

    for (int i = 0; i < ASYNC; i++) {
        struct leat_append how = {.ack = LEAT_PROCESSED, .session = 5, .sequence = (uint64_t)n->appended};

        next_row(n);
        must(leat_append_start(n->keyed, n->rows, &how, answered, a, &err));
    }
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += DEADLINE_S;
    pthread_mutex_lock(&a->lock);
    while (a->answered < ASYNC && pthread_cond_timedwait(&a->cond, &a->lock, &deadline) == 0)
        ;
    pthread_mutex_unlock(&a->lock);
}

static int add_up(void *context, const struct leat_record *record, const struct leat_batch *row)
{
    (void)record;
    *(int64_t *)context += leat_at(row, 0, row->columns - 1).as.i;
    return 0;
}

static int64_t sum_of(struct leat_depot *d)
{
    struct leat_error err = {0, ""};
    int64_t sum = 0;

    for (uint32_t p = 0; p < leat_depot_partitions(d); p++)
        must(leat_depot_read(d, p, 0, UINT32_MAX, add_up, &sum, NULL, &err));
    return sum;
}

static void answers_come_later(void **state)
{
    struct node *n = *state;

    for (int life = 0; life < 2; life++) {
        struct answers a = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0};
        int64_t sum = n->appended * (n->appended - 1) / 2;

        append_many(n, &a);
        assert_int_equal(a.answered, ASYNC);
        assert_int_equal(a.failed, 0);
        assert_int_equal(sum + a.sum, n->appended * (n->appended - 1) / 2);
        assert_int_equal(value_at(n, "source", leat_i64(0), TOTAL, 0), sum + a.sum);
        assert_int_equal(sum_of(n->copies), sum + a.sum);
        reopen(n);
    }
}

/* ---- Of another module ---- */

static void another_module_follows(void **state)
{
    struct node *n = *state;
    struct leat_error err = {0, ""};

    for (int life = 0; life < 3; life++) {
        int64_t sum[KEYS] = {0};

        for (int i = 0; i < 50; i++) {
            next_row(n);
            must(leat_append(n->keyed, n->rows, NULL, NULL, &err));
        }
        must(leat_wait(n->leat, DEADLINE_S * 1000, &err));
        for (int64_t i = 0; i < n->appended; i++)
            sum[i % KEYS] += i;
        for (int64_t i = 0; i < KEYS; i++)
            assert_int_equal(value_at(n, "follower", leat_i64(i), 0, -1), sum[i]);
        reopen(n);
    }
}

/* ---- Ticks ---- */

struct tick_check {
    struct node *node;
    int64_t last;
    uint64_t processed, seen;
};

/* Times ascend, and each that was processed was noted once. */
static int check_tick(void *context, const struct leat_record *record, const struct leat_batch *row)
{
    struct tick_check *k = context;
    int64_t time = leat_at(row, 0, 0).as.i;

    assert_true(time > k->last);
    k->last = time;
    if (record->offset >= k->processed)
        return 0;
    k->seen++;
    assert_int_equal(value_at(k->node, "source", leat_i64(time), TIMES, 0), 1);
    return 0;
}

static void clocks_tick(void **state)
{
    struct node *n = *state;
    struct leat_error err = {0, ""};
    time_t give_up = time(NULL) + DEADLINE_S;
    uint64_t before = 0;

    for (int life = 0; life < 2; life++) {
        struct leat_bounds bounds;
        struct tick_check k = {.node = n};

        do {
            next_row(n);
            must(leat_append(n->keyed, n->rows, &(struct leat_append){.ack = LEAT_PROCESSED}, NULL, &err));
            must(leat_depot_bounds(n->clock, 0, &bounds));
        } while (bounds.processed < before + TICKS && time(NULL) < give_up);
        assert_true(bounds.processed >= before + TICKS);
        k.processed = bounds.processed;
        must(leat_depot_read(n->clock, 0, 0, UINT32_MAX, check_tick, &k, NULL, &err));
        assert_int_equal(k.seen, k.processed);
        before = bounds.processed;
        reopen(n);
    }
}

/* ---- Chosen partitions ---- */

static void partitions_are_chosen(void **state)
{
    struct node *n = *state;
    struct leat_error err = {0, ""};
    struct leat_receipt receipt;
    struct leat_rows *rows;

    must(leat_rows_new(n->chosen, &rows));
    for (uint32_t i = 0; i < 2 * TASKS; i++) {
        leat_rows_clear(rows);
        must(leat_rows_add(rows, LEAT_ROW(leat_i64(i)), &err));
        must(leat_rows_add(rows, LEAT_ROW(leat_i64(100)), &err));
        assert_int_equal(leat_rows_count(rows), 2);
        must(leat_append(n->chosen, rows, &(struct leat_append){.partition = i % TASKS}, &receipt, &err));
        assert_int_equal(receipt.partition, i % TASKS);
        assert_int_equal(receipt.offset, i / TASKS * 2);
        assert_int_equal(receipt.appended, 2);
        leat_receipt_fini(&receipt);
    }
    leat_rows_free(rows);
    reopen(n);
    for (uint32_t p = 0; p < TASKS; p++) {
        int64_t sum = 0;
        uint64_t next;

        must(leat_depot_read(n->chosen, p, 0, 3, add_up, &sum, &next, &err));
        assert_int_equal(sum, p + 100 + p + TASKS);
        assert_int_equal(next, 3);
    }
}

struct stop {
    int code;
    uint32_t seen;
};

static int stop_at_second(void *context, const struct leat_record *record, const struct leat_batch *row)
{
    struct stop *s = context;

    (void)record;
    (void)row;
    return ++s->seen == 2 ? s->code : 0;
}

/* Whatever is returned is given back, also what has a meaning for the reading itself. */
static void readers_may_stop(void **state)
{
    static const int codes[] = {1, 7, LEAT_EAGAIN, LEAT_ETRIMMED, LEAT_EREJECTED};
    struct node *n = *state;
    struct leat_error err = {0, ""};
    struct leat_rows *rows;

    must(leat_rows_new(n->chosen, &rows));
    for (uint32_t i = 0; i < 4; i++)
        must(leat_rows_add(rows, LEAT_ROW(leat_i64(i)), &err));
    must(leat_append(n->chosen, rows, NULL, NULL, &err));
    leat_rows_free(rows);
    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
        struct stop s = {.code = codes[i]};
        uint64_t next = 0;

        assert_int_equal(leat_depot_read(n->chosen, 0, 0, 4, stop_at_second, &s, &next, &err), codes[i]);
        assert_int_equal(s.seen, 2);
        assert_int_equal(next, 2);
    }
}

/* ---- Refused ---- */

static void refused(struct leat_depot *d, struct leat_rows *rows, const struct leat_append *how, const char *sentence)
{
    struct leat_error err = {0, ""};

    assert_int_equal(leat_append(d, rows, how, NULL, &err), LEAT_EINVAL);
    assert_non_null(strstr(err.text, sentence));
    assert_int_equal(leat_append_start(d, rows, how, answered, NULL, &err), LEAT_EINVAL);
}

static void mistakes_are_named(void **state)
{
    struct node *n = *state;
    struct leat_error err = {0, ""};
    struct leat_rows *copies, *chosen;
    struct leat_depot *none;
    int64_t sum = 0;

    must(leat_rows_new(n->copies, &copies));
    must(leat_rows_new(n->chosen, &chosen));
    must(leat_rows_add(copies, LEAT_ROW(leat_i64(1)), &err));
    must(leat_rows_add(chosen, LEAT_ROW(leat_i64(1)), &err));
    must(leat_rows_add(chosen, LEAT_ROW(leat_i64(2)), &err));
    refused(n->keyed, n->rows, NULL, "no rows");
    refused(n->keyed, copies, NULL, "made for depot 'copies', not 'keyed'");
    refused(n->copies, copies, NULL, "cannot be appended to by clients");
    refused(n->chosen, chosen, &(struct leat_append){.partition = TASKS}, "no partition 8");
    refused(n->chosen, chosen, &(struct leat_append){.session = UINT64_MAX}, "sessions from");
    refused(n->chosen, chosen, &(struct leat_append){.sequence = 1}, ".session is missing");
    refused(n->chosen, chosen, &(struct leat_append){.session = 1, .sequence = UINT64_MAX}, "2 rows from");
    refused(n->chosen, chosen, &(struct leat_append){.ack = LEAT_NONE + 1}, "no ack 3");
    leat_rows_free(copies);
    leat_rows_free(chosen);
    assert_int_equal(leat_depot_find(n->leat, "nobody", "keyed", &none, &err), LEAT_ENOTFOUND);
    assert_non_null(strstr(err.text, "no module 'nobody'"));
    assert_int_equal(leat_depot_find(n->leat, "source", "nothing", &none, &err), LEAT_ENOTFOUND);
    assert_non_null(strstr(err.text, "no depot 'nothing'"));
    assert_int_equal(leat_depot_read(n->keyed, TASKS, 0, 1, add_up, &sum, NULL, &err), LEAT_EINVAL);
    assert_int_equal(leat_depot_columns(n->keyed)->columns, 2);
    assert_int_equal(leat_depot_columns(n->keyed)->rows, 0);
}

static void nodes_are_opened_and_launched_once(void **state)
{
    static const struct leat_config no_create = {.create = false};
    struct node *n = *state;
    struct leat_error err = {0, ""};
    struct leat *l;

    assert_int_equal(leat_launch(n->leat, &source, NULL, &err), LEAT_EEXISTS);
    assert_non_null(strstr(err.text, "'source' runs already"));
    assert_int_equal(leat_open("/tmp/leat-there-is-none", &no_create, &l, &err), LEAT_ENOTFOUND);
    assert_int_equal(leat_open("", NULL, &l, &err), LEAT_EINVAL);
    assert_int_equal(leat_open(NULL, NULL, &l, &err), LEAT_EINVAL);
}

/* ---- Waiting ---- */

/* Nobody takes turns here but the test. */
static void waits_are_taken_back(void **state)
{
    struct leat_test_config config = {.module = &dropper, .groups = 4, .memory = true, .seed = 1};
    struct leat_error err = {0, ""};
    struct leat_test *t;

    (void)state;
    must(leat_test_open(&config, &t, &err));
    for (int64_t i = 0; i < KEYS; i++)
        must(leat_test_append(t, "rows", LEAT_ROW(leat_i64(i)), &err));
    assert_int_equal(leat_wait(leat_test_leat(t), 10, &err), LEAT_ETIMEOUT);
    must(leat_test_run(t, &err));
    must(leat_wait(leat_test_leat(t), 10, &err));
    leat_test_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_come_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_module_follows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(clocks_tick, set_up, tear_down),
        cmocka_unit_test_setup_teardown(partitions_are_chosen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(readers_may_stop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(mistakes_are_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nodes_are_opened_and_launched_once, set_up, tear_down),
        cmocka_unit_test(waits_are_taken_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
