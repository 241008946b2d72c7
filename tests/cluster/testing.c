/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* What leat/testing.h offers to tests of modules, and what it refuses. */

enum { SUMS, TICKS = 1, NOON = 1700000000 };
#define SECOND INT64_C(1000000)

static int add(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value key = leat_at(in, i, 0), sum = leat_i64(0);

        leat_get(t, SUMS, LEAT_KEYS(key), &sum, 1);
        sum.as.i += leat_at(in, i, 1).as.i;
        leat_put(t, SUMS, LEAT_KEYS(key), LEAT_ROW(sum));
        leat_ack_return(t, i, sum);
    }
    return 0;
}

static int note(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_put(t, TICKS, LEAT_KEYS(leat_at(in, i, 0)), LEAT_ROW(leat_i64((int64_t)leat_task_number(t))));
    return 0;
}

static int echo(struct leat_task *t, const struct leat_batch *in)
{
    leat_emit(t, 0, LEAT_ROW(leat_at(in, 0, 0)));
    return 0;
}

static const struct leat_module adder = {
    LEAT_ABI, .name = "adder",
    .depots = DEPOTS({"numbers", "key: str, number: i64", .partitioner = LEAT_BY_FIELD, .by = "key"},
                     {"placed", "key: str, number: i64", .partitioner = LEAT_EXPLICIT},
                     {"minute", .tick_ms = 60000}),
    .pstates = PSTATES([SUMS] = {"sums", "map<str, i64>"}, [TICKS] = {"ticks", "map<i64, i64>"}),
    .topologies = TOPOLOGIES(
        {"add", LEAT_STREAM, NODES({"add", .from = "numbers", .route = LEAT_BY_KEY, .run = add},
                                   {"place", .from = "placed", .route = LEAT_BY_KEY, .run = add})},
        {"tick", LEAT_STREAM, NODES({"note", .from = "minute", .route = LEAT_BY_KEY, .run = note})},
        {"echo", LEAT_QUERY, NODES({"echo", .from = "request", .route = LEAT_TO_ORIGIN, .run = echo,
                                    .emits = "text: str", .into = "reply"}), .takes = "text: str"})};

static const struct leat_module reader = {
    LEAT_ABI, .name = "reader",
    .pstates = PSTATES([SUMS] = {"sums", "map<str, i64>"}),
    .topologies = TOPOLOGIES({"read", LEAT_STREAM, NODES({"add", .from = "adder/numbers", .route = LEAT_BY_KEY,
                                                          .run = add})})};

static struct leat_test *open_with(struct leat_test_config config)
{
    struct leat_error err = {0, ""};
    struct leat_test *t;

    must(leat_test_open(&config, &t, &err));
    return t;
}

static void append(struct leat_test *t, const char *depot, const char *key, int64_t number)
{
    struct leat_error err = {0, ""};

    must(leat_test_append(t, depot, LEAT_ROW(leat_str(key), leat_i64(number)), &err));
}

static int64_t sum_of(struct leat_test *t, const char *pstate, const char *key)
{
    struct leat_value sum = leat_i64(0);
    struct leat_error err = {0, ""};
    int rv = leat_test_get(t, pstate, LEAT_KEYS(leat_str(key)), &sum, 1, &err);

    assert_true(rv == 0 || rv == LEAT_ENOTFOUND);
    return sum.as.i;
}

static void reads_and_queries(void **state)
{
    struct leat_test *t = open_with((struct leat_test_config){.module = &adder, .memory = true});
    struct leat_error err = {0, ""};
    struct leat_value sum;
    struct leat_result *r;

    (void)state;
    append(t, "numbers", "a", 3);
    assert_int_equal(leat_test_get(t, "sums", LEAT_KEYS(leat_str("a")), &sum, 1, &err), LEAT_ENOTFOUND);
    must(leat_test_run(t, &err));
    must(leat_test_get(t, "sums", LEAT_KEYS(leat_str("a")), &sum, 1, &err));
    assert_int_equal(sum.as.i, 3);
    assert_int_equal(leat_test_get(t, "sum", LEAT_KEYS(leat_str("a")), &sum, 1, &err), LEAT_EINVAL);
    assert_string_equal(err.text, "module 'adder' has no PState 'sum'");
    must(leat_test_query(t, "echo", LEAT_ROW(leat_str("leat")), &r, &err));
    assert_memory_equal(leat_at(leat_result_rows(r), 0, 0).as.bytes.base, "leat", 4);
    leat_result_free(r);
    assert_int_equal(leat_test_query(t, "ohce", LEAT_ROW(leat_str("leat")), &r, &err), LEAT_ENOTFOUND);
    leat_test_close(t);
}

static void an_append_waits_for_its_effects(void **state)
{
    struct leat_append processed = {.ack = LEAT_PROCESSED};
    struct leat_error err = {0, ""};
    struct leat_receipt receipt;

    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct leat_test *t = open_with((struct leat_test_config){.module = &adder, .groups = 4, .memory = true,
                                                                  .seed = seed, .force_hops = seed % 2 == 0});

        for (int64_t i = 1; i <= 5; i++) {
            must(leat_test_append_as(t, "numbers", LEAT_ROW(leat_str("a"), leat_i64(10)), &processed, &receipt, &err));
            assert_int_equal(receipt.returned, 1);
            assert_int_equal(receipt.value[0].as.i, 10 * i);
            leat_receipt_fini(&receipt);
        }
        leat_test_close(t);
    }
}

/* Who waits is told of a crash, and may append again: the session knows the row. */
static void a_crash_ends_the_wait(void **state)
{
    struct leat_append processed = {.ack = LEAT_PROCESSED, .session = 7, .sequence = 1};
    struct leat_row row = LEAT_ROW(leat_str("a"), leat_i64(10));
    struct leat_test *t = open_with((struct leat_test_config){.module = &adder, .groups = 4, .seed = 3});
    struct leat_error err = {0, ""};

    (void)state;
    leat_test_crash_at(t, "turn.appended", 1);
    assert_int_equal(leat_test_append_as(t, "numbers", row, &processed, NULL, &err), LEAT_ECANCELED);
    assert_int_equal(leat_test_append_as(t, "numbers", row, &processed, NULL, &err), LEAT_ECANCELED);
    must(leat_test_restart(t, &err));
    must(leat_test_append_as(t, "numbers", row, &processed, NULL, &err));
    assert_int_equal(sum_of(t, "sums", "a"), 10);
    leat_test_close(t);
}

static void rows_go_where_they_are_told_to(void **state)
{
    struct leat_test *t = open_with((struct leat_test_config){.module = &adder, .memory = true});
    struct leat_append how = {.ack = LEAT_PROCESSED};
    struct leat_error err = {0, ""};
    struct leat_receipt receipt;

    (void)state;
    for (how.partition = 0; how.partition < 8; how.partition++) {
        must(leat_test_append_as(t, "placed", LEAT_ROW(leat_str("a"), leat_i64(1)), &how, &receipt, &err));
        assert_int_equal(receipt.partition, how.partition);
        leat_receipt_fini(&receipt);
    }
    assert_int_equal(sum_of(t, "sums", "a"), 8);
    assert_int_equal(leat_test_append_as(t, "placed", LEAT_ROW(leat_str("a"), leat_i64(1)), &how, NULL, &err),
                     LEAT_EINVAL);
    leat_test_close(t);
}

/* Time stands still until the test says otherwise: a tick comes when its minute is over, and says when that was. */
static void ticks_come_by_the_clock(void **state)
{
    struct leat_test *t = open_with((struct leat_test_config){
        .module = &adder, .memory = true, .clock_us = NOON * SECOND});
    struct leat_error err = {0, ""};
    struct leat_value task;

    (void)state;
    for (int64_t minute = 0; minute < 3; minute++) {
        must(leat_test_run(t, &err));
        leat_test_advance(t, 59 * SECOND);
        must(leat_test_run(t, &err));
        struct leat_value due = leat_i64((NOON + 60 * (minute + 1)) * SECOND);
        assert_int_equal(leat_test_get(t, "ticks", LEAT_KEYS(due), &task, 1, &err), LEAT_ENOTFOUND);
        leat_test_advance(t, SECOND);
        must(leat_test_run(t, &err));
        must(leat_test_get(t, "ticks", LEAT_KEYS(due), &task, 1, &err));
    }
    leat_test_close(t);
}

static void other_modules_take_turns(void **state)
{
    static const struct leat_module *const others[] = {&adder, NULL};
    struct leat_error err = {0, ""};

    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct leat_test *t = open_with((struct leat_test_config){.module = &reader, .others = others, .seed = seed,
                                                                  .checkpoint_bytes = 2048, .cut_rows = 2});

        for (int round = 1; round <= 3; round++) {
            for (int i = 0; i < 10; i++)
                append(t, "adder/numbers", i % 2 == 0 ? "even" : "odd", i);
            leat_test_crash_at(t, round == 2 ? "turn.committed" : NULL, round == 2);
            int rv = leat_test_run(t, &err);
            assert_int_equal(rv, round == 2 ? LEAT_ECANCELED : 0);
            if (rv != 0) {
                assert_int_equal(leat_test_restart_group(t, &err), LEAT_EINVAL);
                must(leat_test_restart(t, &err));
                must(leat_test_run(t, &err));
            }
            assert_int_equal(sum_of(t, "sums", "even"), 20 * round);
            assert_int_equal(sum_of(t, "reader/sums", "odd"), 25 * round);
            assert_int_equal(sum_of(t, "adder/sums", "odd"), 25 * round);
        }
        leat_test_close(t);
    }
}

static void a_module_launched_later_takes_turns(void **state)
{
    struct leat_test *t = open_with((struct leat_test_config){.module = &adder, .memory = true});
    struct leat_launch launch = {.tasks = 4, .groups = 2};
    struct leat_error err = {0, ""};

    (void)state;
    must(leat_launch(leat_test_leat(t), &reader, &launch, &err));
    append(t, "numbers", "a", 5);
    must(leat_test_run(t, &err));
    assert_int_equal(sum_of(t, "reader/sums", "a"), 5);
    leat_test_close(t);
}

/* Each crashes where it was told to, and nowhere else, though the points are the process's. */
static void clusters_crash_by_themselves(void **state)
{
    struct leat_test *first = open_with((struct leat_test_config){.module = &adder, .seed = 1});
    struct leat_error err = {0, ""};

    (void)state;
    leat_test_crash_at(first, "turn.ran", 1);
    struct leat_test *second = open_with((struct leat_test_config){.module = &adder, .seed = 2});
    append(first, "numbers", "a", 1);
    append(second, "numbers", "a", 2);
    must(leat_test_run(second, &err));
    assert_int_equal(sum_of(second, "sums", "a"), 2);
    leat_test_close(second);
    assert_int_equal(leat_test_run(first, &err), LEAT_ECANCELED);
    must(leat_test_restart_group(first, &err));
    must(leat_test_run(first, &err));
    assert_int_equal(sum_of(first, "sums", "a"), 1);
    leat_test_close(first);
}

static void what_is_wrong_is_refused(void **state)
{
    struct leat_test_config config = {.memory = true};
    struct leat_error err = {0, ""};
    struct leat_test *t = NULL;
    int status;

    (void)state;
    assert_int_equal(leat_test_open(&config, &t, &err), LEAT_EINVAL);
    assert_string_equal(err.text, "the configuration of a test has no .module");
    config.module = &adder;
    config.tasks = 1;
    must(leat_test_open(&config, &t, &err));
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        leat_test_crash_at(t, "no.such.point", 1);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    leat_test_close(t);
}

/* In a node as in a view. */
static void a_pstate_beyond_the_list_ends_the_program(void **state)
{
    struct leat_test *t = open_with((struct leat_test_config){.module = &adder, .memory = true});
    struct leat_error err = {0, ""};
    struct leat_value sum;
    struct leat_view *v;

    (void)state;
    must(leat_view_open(leat_test_leat(t), "adder", &v, &err));
    for (uint32_t pstate = 0; pstate < 4; pstate++) {
        int status;
        pid_t child = fork();

        if (child == 0) {
            signal(SIGABRT, SIG_DFL);
            leat_get(leat_view_task(v, 0), pstate, LEAT_KEYS(leat_str("a")), &sum, 1);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, pstate > TICKS);
    }
    leat_view_close(v);
    leat_test_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_queries),
        cmocka_unit_test(an_append_waits_for_its_effects),
        cmocka_unit_test(a_crash_ends_the_wait),
        cmocka_unit_test(rows_go_where_they_are_told_to),
        cmocka_unit_test(ticks_come_by_the_clock),
        cmocka_unit_test(other_modules_take_turns),
        cmocka_unit_test(a_module_launched_later_takes_turns),
        cmocka_unit_test(clusters_crash_by_themselves),
        cmocka_unit_test(a_pstate_beyond_the_list_ends_the_program),
        cmocka_unit_test(what_is_wrong_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
