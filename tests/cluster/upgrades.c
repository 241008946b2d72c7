/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include "base/file.h"
#include "engine/group_state.h"
#include "engine/node.h"

#include <unistd.h>

/* A module that is not the one that was here before, and a directory that is not whole. */

enum { COUNTS };

static int pass(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0)));
    return 0;
}

static int count(struct leat_task *t, const struct leat_batch *in)
{
    return count_into(t, in, COUNTS);
}

#define COUNTER(...)                                                                                                   \
    {                                                                                                                  \
        LEAT_ABI, .name = "counter", .depots = DEPOTS({"names", "name: str", .partitioner = LEAT_RANDOM}),             \
                  .pstates = PSTATES([COUNTS] = {"counts", "map<str, i64>"}), .topologies = TOPOLOGIES(__VA_ARGS__)    \
    }
#define PASS {"pass", .from = "names", .run = pass, .emits = "name: str"}
#define COUNT {"count", .from = "pass", .route = LEAT_BY_KEY, .run = count}

static const struct leat_module first = COUNTER({"count", LEAT_STREAM, NODES(PASS, COUNT)});
/* A query in front: numbers of topologies move, those of streams do not. */
static const struct leat_module with_query = COUNTER({"echo", LEAT_QUERY, .takes = "name: str",
                                                      NODES({"echo", .from = "request", .run = pass,
                                                             .emits = "name: str", .route = LEAT_TO_ORIGIN,
                                                             .into = "reply"})},
                                                     {"count", LEAT_STREAM, NODES(PASS, COUNT)});
static const struct leat_module turned_round = COUNTER({"count", LEAT_STREAM, NODES(COUNT, PASS)});

enum { NAMES = 40 };

static char directory[64];

static struct leat_test *open_module(const struct leat_module *module, int wanted)
{
    struct leat_test_config config = {.module = module, .tasks = 8, .groups = 4, .directory = directory, .seed = 5,
                                      .force_hops = true};
    struct leat_error err = {0, ""};
    struct leat_test *t = NULL;
    int rv = leat_test_open(&config, &t, &err);

    if (rv != wanted)
        fail_msg("%s: %s", leat_code_name(rv), err.text);
    return t;
}

static void append_names(struct leat_test *t)
{
    struct leat_error err = {0, ""};

    for (int i = 0; i < NAMES; i++) {
        char name[16];

        snprintf(name, sizeof(name), "n%d", i);
        must(leat_test_append(t, "names", LEAT_ROW(leat_str(name)), &err));
    }
}

static void check_counts(struct leat_test *t, int64_t each)
{
    for (int i = 0; i < NAMES; i++) {
        char name[16];

        snprintf(name, sizeof(name), "n%d", i);
        assert_int_equal(value_of(t, "counter", "counts", leat_str(name), 0), each);
    }
}

/* Rows are read and on their way to their counters. */
static void leave_rows_under_way(const struct leat_module *module)
{
    struct leat_test *t = open_module(module, 0);
    struct leat_error err = {0, ""};
    int did = 0;

    append_names(t);
    for (int i = 0; i < 4; i++)
        did += group_step(leat_test_leat(t)->module[0]->group[i], &err) == 1;
    assert_true(did > 0);
    leat_test_close(t);
}

static void streams_change_only_when_nothing_is_under_way(void **state)
{
    struct leat_error err = {0, ""};

    (void)state;
    leave_rows_under_way(&first);
    open_module(&turned_round, LEAT_EEXISTS);
    struct leat_test *t = open_module(&with_query, 0);
    must(leat_test_run(t, &err));
    check_counts(t, 1);
    leat_test_close(t);
    t = open_module(&turned_round, 0);
    append_names(t);
    must(leat_test_run(t, &err));
    check_counts(t, 2);
    leat_test_close(t);
    leat_test_close(open_module(&turned_round, 0));
}

static void shell(const char *script)
{
    char command[512];

    snprintf(command, sizeof(command), "D=%s; %s", directory, script);
    assert_int_equal(system(command), 0);
}

static void append_and_run(void)
{
    struct leat_error err = {0, ""};
    struct leat_test *t = open_module(&first, 0);

    append_names(t);
    must(leat_test_run(t, &err));
    leat_test_close(t);
}

/* One group put back from an earlier time: the others have seen its later outputs. And one that is gone. */
static void a_group_from_another_time_is_refused(void **state)
{
    (void)state;
    append_and_run();
    shell("cp -r $D/counter/group-001 $D/copy");
    append_and_run();
    shell("cp -r $D/counter $D/whole && rm -r $D/counter/group-001 && mv $D/copy $D/counter/group-001");
    open_module(&first, LEAT_ECORRUPT);
    shell("rm -r $D/counter/group-001");
    open_module(&first, LEAT_ECORRUPT);
    shell("rm -r $D/counter && mv $D/whole $D/counter");
    append_and_run();
}

static int64_t clock_offset;

static int64_t later(struct clock *c)
{
    (void)c;
    return clock_real()->monotonic_ns(clock_real()) + clock_offset;
}

static int64_t wall(struct clock *c)
{
    (void)c;
    return clock_real()->wall_us(clock_real());
}

static bool all_drained(const struct module *m)
{
    for (uint32_t i = 0; i < m->groups; i++)
        if (!group_drained(m->group[i]))
            return false;
    return true;
}

/* Progress that came to an idle group is taken in after a while, so that its sender's journal can be trimmed. */
static void an_idle_group_settles(void **state)
{
    static struct clock clock = {.monotonic_ns = later, .wall_us = wall, .coarse_ns = later};
    struct leat_error err = {0, ""};
    struct leat_test *t = open_module(&first, 0);
    struct module *m = leat_test_leat(t)->module[0];

    (void)state;
    for (int tries = 0; all_drained(m); tries++) {
        assert_true(tries < 100);
        must(leat_test_append(t, "names", LEAT_ROW(leat_str("name")), &err));
        must(leat_test_run(t, &err));
    }
    for (uint32_t i = 0; i < m->groups; i++)
        m->group[i]->config.clock = &clock;
    must(leat_test_run(t, &err));
    clock_offset = 2000000000;
    must(leat_test_run(t, &err));
    assert_true(all_drained(m));
    clock_offset = 0;
    leat_test_close(t);
}

/* Only the batch's CRC stands before such an output: it is refused, not an abort. */
static void a_state_for_a_node_without_one_is_refused(void **state)
{
    struct leat_test_config config = {.module = &first, .tasks = 8, .groups = 4, .directory = directory, .seed = 5};
    struct leat_test *t;
    struct output_source source = {1, 1, 1};
    struct output_item item = {.kind = OUTPUT_STATE, .node = 1, .sources = 1};
    struct output o = {.source = &source, .sources = 1, .item = &item, .items = 1};
    struct leat_error err = {0, ""};
    struct buffer body = {0};

    (void)state;
    must(leat_test_open(&config, &t, &err));
    must(leat_test_run(t, &err));
    struct group *g = leat_test_leat(t)->module[0]->group[0];
    output_encode(&o, &body);
    hop_push(g, 1, g->peer[1].seen, g->peer[1].seen + 1, 0, buffer_bytes(&body));
    assert_int_equal(group_step(g, &err), LEAT_ECORRUPT);
    buffer_fini(&body);
    leat_test_close(t);
}

/* ---- Depots that nobody reads ---- */

static const struct leat_module no_readers = COUNTER({.name = NULL});

/* 0: every row was a repeat. */
static uint32_t append_in_session(struct leat *l, uint64_t sequence)
{
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;
    struct leat_receipt receipt;
    struct leat_append how = {.session = 77, .sequence = sequence};

    must(leat_depot_find(l, "counter", "names", &d, &err));
    must(leat_rows_new(d, &rows));
    for (int i = 0; i < NAMES; i++) {
        char name[16];

        snprintf(name, sizeof(name), "n%d", i);
        must(leat_rows_add(rows, LEAT_ROW(leat_str(name)), &err));
    }
    must(leat_append(d, rows, &how, &receipt, &err));
    uint32_t appended = receipt.appended;
    leat_receipt_fini(&receipt);
    leat_rows_free(rows);
    return appended;
}

static int ignore(void *context, const struct leat_record *record, const struct leat_batch *row)
{
    (void)context, (void)record, (void)row;
    return 0;
}

static struct leat *open_with_small_segments(void)
{
    struct leat_error err = {0, ""};
    struct leat *l;

    must(leat_open(directory, NULL, &l, &err));
    l->segment_size = 8 << 10;
    must(leat_launch(l, &no_readers, &(struct leat_launch){.tasks = 8, .groups = 4}, &err));
    return l;
}

/* Then a start has no need to read them, be they large or damaged, and yet knows what sessions sent. */
static void what_nobody_reads_is_not_read_at_a_start(void **state)
{
    enum { APPENDS = 60 };
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat *l = open_with_small_segments();
    int rv = 0;

    (void)state;
    for (uint64_t i = 0; i < APPENDS; i++)
        assert_int_equal(append_in_session(l, 1 + i * NAMES), NAMES);
    leat_close(l);
    /* The first record of each log: behind the headers of segment, group and run. */
    shell("for f in $D/counter/group-*/depots/*0.seg; do printf X | dd of=$f bs=1 seek=$((4096 + 32 + 32 + 12)) "
          "conv=notrunc 2>$D/dd; done");
    l = open_with_small_segments();
    assert_int_equal(append_in_session(l, 1 + (APPENDS - 1) * NAMES), 0);
    must(leat_depot_find(l, "counter", "names", &d, &err));
    for (uint32_t p = 0; p < leat_depot_partitions(d) && rv != LEAT_ECORRUPT; p++)
        rv = leat_depot_read(d, p, 0, 100, ignore, NULL, NULL, &err);
    assert_int_equal(rv, LEAT_ECORRUPT);
    leat_close(l);
}

/* Much was appended and no turn was taken: a checkpoint is taken all the same, so that a start after a crash has little
 * to read. */
static void appends_alone_are_worth_a_checkpoint(void **state)
{
    struct leat_error err = {0, ""};
    struct leat_test *t = open_module(&no_readers, 0);

    (void)state;
    assert_int_equal(append_in_session(leat_test_leat(t), 1), NAMES);
    for (int i = 0; i < 4; i++) {
        struct group *g = leat_test_leat(t)->module[0]->group[i];

        must(unread_follow(g, 1, &err));
        g->followed += 1 << 20;
        must(leat_test_run(t, &err));
        assert_int_equal(g->followed, 0);
    }
    must(leat_test_restart(t, &err));
    uint64_t known = 0;
    for (uint32_t i = 0; i < 8; i++) {
        struct group *g = module_group(leat_test_leat(t)->module[0], i);

        known += unread_of(g, group_partition(g, 0, i))->next;
    }
    assert_int_equal(known, NAMES);
    assert_int_equal(append_in_session(leat_test_leat(t), 1), 0);
    leat_test_close(t);
}

static void who_comes_to_read_begins_at_the_first_record(void **state)
{
    struct leat_error err = {0, ""};
    struct leat_test *t = open_module(&no_readers, 0);

    (void)state;
    assert_int_equal(append_in_session(leat_test_leat(t), 1), NAMES);
    leat_test_close(t);
    t = open_module(&first, 0);
    assert_int_equal(append_in_session(leat_test_leat(t), 1), 0);
    must(leat_test_run(t, &err));
    check_counts(t, 1);
    leat_test_close(t);
    t = open_module(&no_readers, 0); /* and goes, and comes back */
    assert_int_equal(append_in_session(leat_test_leat(t), 1), 0);
    append_names(t);
    leat_test_close(t);
    t = open_module(&first, 0);
    must(leat_test_run(t, &err));
    check_counts(t, 2);
    leat_test_close(t);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/leat-upgrade-XXXXXX");
    return mkdtemp(directory) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove_tree(directory, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(streams_change_only_when_nothing_is_under_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_group_from_another_time_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_idle_group_settles, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_state_for_a_node_without_one_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_nobody_reads_is_not_read_at_a_start, set_up, tear_down),
        cmocka_unit_test_setup_teardown(appends_alone_are_worth_a_checkpoint, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_comes_to_read_begins_at_the_first_record, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
