/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include "base/file.h"
#include "engine/consumer.h"
#include "engine/group_state.h"
#include "engine/node.h"
#include "engine/retain.h"

#include <sys/stat.h>
#include <unistd.h>

/* Retention: what goes, what stays, and for whom. Random appends, repeats, consumers, launches and crashes against a
 * model that keeps everything; small segments, so that there is something to trim. */

enum { TASKS = 8, GROUPS = 2, SEGMENT = 16384, BODY = 300, KEEP = 32 << 10, /* a group */ COUNTS = 0, READ = 0,
       UNREAD = 1, DEPOTS = 2 };

static int count(struct leat_task *t, const struct leat_batch *in)
{
    return count_into(t, in, COUNTS);
}

#define DECLARED                                                                                                       \
    DEPOTS({"read", "partition: u64, number: i64, body: bytes", .partitioner = LEAT_EXPLICIT},                         \
           {"unread", "partition: u64, number: i64, body: bytes", .partitioner = LEAT_EXPLICIT})
#define COUNTED .pstates = PSTATES([COUNTS] = {"counts", "map<u64, i64>"})

static const struct leat_module keeper = {
    LEAT_ABI, .name = "keeper", .depots = DECLARED, COUNTED,
    .topologies = TOPOLOGIES({"count", LEAT_STREAM, NODES({"count", .from = "read", .run = count})})};
/* The same, grown: it reads the other depot, too. */
static const struct leat_module curious = {
    LEAT_ABI, .name = "keeper", .depots = DECLARED, COUNTED,
    .topologies = TOPOLOGIES({"count", LEAT_STREAM, NODES({"count", .from = "read, unread", .run = count})})};
static const struct leat_module reader = {
    LEAT_ABI, .name = "reader", .depots = DEPOTS({"own", "a: i64", .partitioner = LEAT_RANDOM}), COUNTED,
    .topologies = TOPOLOGIES({"count", LEAT_STREAM, NODES({"count", .from = "keeper/read", .run = count})})};

static const char *const depot_names[DEPOTS] = {"read", "unread"};

/* ---- The cluster, with a clock of its own ---- */

static char directory[64];
static struct leat *node;
static int64_t ahead_ns;
static uint64_t seed;

static int64_t monotonic(struct clock *c)
{
    (void)c;
    return clock_real()->monotonic_ns(clock_real()) + ahead_ns;
}

static int64_t wall(struct clock *c)
{
    (void)c;
    return clock_real()->wall_us(clock_real()) + ahead_ns / 1000;
}

static struct clock ahead = {.monotonic_ns = monotonic, .wall_us = wall, .coarse_ns = monotonic};

static void launch(const struct leat_module *module, const struct leat_option *retain)
{
    struct leat_launch how = {.tasks = TASKS, .groups = GROUPS, .retain = retain};
    struct leat_error err = {0, ""};

    must(leat_launch(node, module, &how, &err));
    struct module *m = node->module[node->modules - 1];
    for (uint32_t i = 0; i < m->groups; i++)
        m->group[i]->config.clock = &ahead;
}

static void open_node(const struct leat_module *module, const struct leat_option *retain)
{
    struct leat_config config = {.create = true, .durability = LEAT_PROCESS};
    struct leat_error err = {0, ""};

    must(leat_open(directory, &config, &node, &err));
    node->manual = true;
    node->segment_size = SEGMENT;
    node->seed = seed;
    launch(module, retain);
}

static void close_node(bool crash)
{
    for (uint32_t i = 0; i < node->modules && crash; i++)
        atomic_store(&node->module[i]->failed, LEAT_ECANCELED);
    leat_close(node);
}

/* Until nobody has anything to do. */
static void run(void)
{
    struct leat_error err = {0, ""};

    for (uint32_t idle = 0; idle < 40; idle++)
        for (uint32_t i = 0; i < node->modules; i++)
            for (uint32_t j = 0; j < node->module[i]->groups; j++) {
                int rv = group_step(node->module[i]->group[j], &err);

                if (rv < 0)
                    fail_msg("%s: %s", leat_code_name(rv), err.text);
                idle = rv > 0 ? 0 : idle;
            }
}

static void pass(int64_t seconds)
{
    ahead_ns += seconds * 1000000000;
    run();
}

static struct leat_depot *depot_of(uint32_t depot)
{
    struct leat_error err = {0, ""};
    struct leat_depot *d = NULL;

    must(leat_depot_find(node, "keeper", depot_names[depot], &d, &err));
    return d;
}

/* ---- The model ---- */

static struct {
    uint64_t next[DEPOTS][TASKS];
    uint64_t held[DEPOTS][TASKS]; /* by the consumer; UINT64_MAX: not there */
} model;

/* Rows with sequences 1, 2, ... of a session for each partition: record n has
 * sequence n + 1. Says how many were new. */
static uint32_t append(uint32_t depot, uint32_t partition, uint64_t from, uint32_t rows)
{
    struct leat_append how = {.partition = partition, .session = 1 + partition, .sequence = from + 1};
    uint8_t body[BODY] = {0};
    struct leat_receipt receipt;
    struct leat_error err = {0, ""};
    struct leat_rows *r;

    leat_rows_new(depot_of(depot), &r);
    for (uint32_t i = 0; i < rows; i++) {
        memset(body, (int)(from + i), sizeof(body));
        must(leat_rows_add(r,
                           LEAT_ROW(leat_u64(partition), leat_i64((int64_t)(from + i)), leat_bytes(body, sizeof(body))),
                           &err));
    }
    must(leat_append(depot_of(depot), r, &how, &receipt, &err));
    uint32_t appended = receipt.appended;
    leat_receipt_fini(&receipt);
    leat_rows_free(r);
    return appended;
}

static void append_some(uint32_t depot, uint32_t partition, uint32_t rows)
{
    assert_int_equal(append(depot, partition, model.next[depot][partition], rows), rows);
    model.next[depot][partition] += rows;
}

static struct leat_bounds bounds_of(uint32_t depot, uint32_t partition)
{
    struct leat_bounds b;

    assert_int_equal(leat_depot_bounds(depot_of(depot), partition, &b), 0);
    return b;
}

static int expect_number(void *context, const struct leat_record *record, const struct leat_batch *row)
{
    uint64_t *number = context;

    assert_int_equal(record->offset, *number);
    assert_int_equal(leat_at(row, 0, 1).as.i, *number);
    assert_int_equal(((const uint8_t *)leat_at(row, 0, 2).as.bytes.base)[BODY - 1], (uint8_t)*number);
    (*number)++;
    return 0;
}

/* All is there from the first on, and no more than that was ever promised is gone. */
static void check_partition(uint32_t depot, uint32_t partition)
{
    struct leat_bounds b = bounds_of(depot, partition);
    struct leat_error err = {0, ""};
    uint64_t number = b.first, next;

    assert_int_equal(b.next, model.next[depot][partition]);
    assert_true(b.first <= model.held[depot][partition]);
    assert_true(depot == UNREAD || b.first <= b.processed);
    must(leat_depot_read(depot_of(depot), partition, b.first, UINT32_MAX, expect_number, &number, &next, &err));
    assert_int_equal(number, b.next);
    assert_int_equal(next, b.next);
    if (b.first == 0)
        return;
    number = b.first - 1;
    assert_int_equal(leat_depot_read(depot_of(depot), partition, number, 1, expect_number, &number, &next, &err),
                     LEAT_ETRIMMED);
    assert_non_null(strstr(err.text, "the first is"));
    assert_int_equal(next, b.first);
}

static uint64_t kept(uint32_t depot, uint32_t group)
{
    uint64_t rows = 0;

    for (uint32_t p = group; p < TASKS; p += GROUPS)
        rows += bounds_of(depot, p).next - bounds_of(depot, p).first;
    return rows * BODY;
}

static uint64_t appended(uint32_t depot, uint32_t group)
{
    uint64_t rows = 0;

    for (uint32_t p = group; p < TASKS; p += GROUPS)
        rows += model.next[depot][p];
    return rows * BODY;
}

static void check_all(void)
{
    for (uint32_t d = 0; d < DEPOTS; d++) {
        for (uint32_t p = 0; p < TASKS; p++)
            check_partition(d, p);
        /* Rows take some more bytes in the log than their body. */
        for (uint32_t g = 0; g < GROUPS; g++)
            assert_true(kept(d, g) == appended(d, g) || kept(d, g) >= KEEP * 3 / 4);
    }
}

static int64_t count_of(const char *module, uint32_t partition)
{
    struct leat_value v = leat_i64(0);
    struct leat_error err = {0, ""};
    struct leat_view *view;

    /* Where a row is read is where it was appended, so that is where it is counted. */
    must(leat_view_open(node, module, &view, &err));
    int rv = leat_get(leat_view_task(view, partition), COUNTS, LEAT_KEYS(leat_u64(partition)), &v, 1);
    assert_true(rv == 0 || rv == LEAT_ENOTFOUND);
    leat_view_close(view);
    return v.as.i;
}

/* ---- A consumer ---- */

static void consumer_path(uint32_t depot, char *out, size_t size)
{
    consumer_directory(node->module[0]->directory, depot_names[depot], out, size);
}

static void consume(uint32_t depot, bool there)
{
    struct consumer c = {TASKS, model.held[depot]};
    struct leat_error err = {0, ""};
    char path[4096];

    consumer_path(depot, path, sizeof(path));
    for (uint32_t p = 0; p < TASKS && there; p++) {
        struct leat_bounds b = bounds_of(depot, p);
        uint64_t at = b.first + next_random(&seed) % (b.next - b.first + 1);

        /* Never back: it may have been trimmed. */
        model.held[depot][p] = model.held[depot][p] == UINT64_MAX || at > model.held[depot][p] ? at
                                                                                               : model.held[depot][p];
    }
    if (there) {
        must(consumer_write(path, "export", &c, false, &err));
    } else {
        int rv = consumer_remove(path, "export", &err);

        assert_true(rv == 0 || rv == LEAT_ENOTFOUND);
        memset(model.held[depot], 0xff, sizeof(model.held[depot]));
    }
}

/* ---- The cases ---- */

static const struct leat_option keep_all[] = {{"*", "64KiB"}, {NULL, NULL}};

static void fill(uint32_t depot, uint32_t rows)
{
    for (uint32_t done = 0; done < rows; done += 10)
        for (uint32_t p = 0; p < TASKS; p++)
            append_some(depot, p, 10);
}

static void random_step(bool *reading)
{
    uint32_t depot = (uint32_t)(next_random(&seed) % DEPOTS), partition = (uint32_t)(next_random(&seed) % TASKS);

    switch (next_random(&seed) % 12) {
    case 0:
        consume(depot, next_random(&seed) % 3 > 0);
        break;
    case 1:
        close_node(next_random(&seed) % 2 == 0);
        open_node(&keeper, NULL);
        *reading = next_random(&seed) % 2 == 0;
        if (*reading)
            launch(&reader, NULL);
        break;
    case 2:
        if (model.next[depot][partition] > 0)
            assert_int_equal(append(depot, partition, next_random(&seed) % model.next[depot][partition], 1), 0);
        break;
    case 3:
    case 4:
        pass(11);
        break;
    case 5:
        run();
        break;
    default:
        append_some(depot, partition, 1 + (uint32_t)(next_random(&seed) % 40));
    }
}

static void random_days(uint64_t number)
{
    bool reading = true;

    seed = number;
    print_message("seed %llu\n", (unsigned long long)number);
    memset(&model, 0, sizeof(model));
    memset(model.held, 0xff, sizeof(model.held));
    open_node(&keeper, keep_all);
    launch(&reader, NULL);
    for (int i = 0; i < 250; i++) {
        random_step(&reading);
        check_all();
    }
    close_node(false);
    open_node(&keeper, NULL);
    launch(&reader, NULL);
    consume(READ, false);
    consume(UNREAD, false);
    /* The last ones go when there are younger ones. */
    for (uint32_t i = 0; i < 3; i++) {
        fill(READ, 40);
        fill(UNREAD, 40);
        pass(11);
        pass(11);
        pass(11);
    }
    check_all();
    for (uint32_t d = 0; d < DEPOTS; d++)
        for (uint32_t g = 0; g < GROUPS; g++)
            assert_true(kept(d, g) < KEEP + 3 * SEGMENT);
    for (uint32_t p = 0; p < TASKS; p++) {
        assert_int_equal(count_of("keeper", p), model.next[READ][p]);
        assert_int_equal(count_of("reader", p), model.next[READ][p]);
        for (uint32_t d = 0; d < DEPOTS; d++)
            assert_int_equal(append(d, p, 0, 1), 0);
    }
    close_node(false);
}

static void nothing_is_trimmed_that_somebody_wants(void **state)
{
    (void)state;
    for (uint64_t number = 1; number <= (getenv("LEAT_LONG") != NULL ? 500 : 6); number++) {
        random_days(number);
        assert_int_equal(file_remove_tree(directory, NULL), 0);
    }
}

static void clear_model(void)
{
    memset(&model, 0, sizeof(model));
    memset(model.held, 0xff, sizeof(model.held));
}

static void what_is_too_old_goes(void **state)
{
    static const struct leat_option days[] = {{"read", "2d"}, {NULL, NULL}};

    (void)state;
    clear_model();
    open_node(&keeper, days);
    fill(READ, 100);
    pass(24 * 3600);
    check_all();
    for (uint32_t p = 0; p < TASKS; p++)
        assert_int_equal(bounds_of(READ, p).first, 0);
    pass(24 * 3600 + 11);
    for (uint32_t p = 0; p < TASKS; p++)
        check_partition(READ, p);
    /* Only what the last segment has is left. */
    for (uint32_t g = 0; g < GROUPS; g++)
        assert_true(kept(READ, g) < SEGMENT);
    close_node(false);
    /* It holds on for later launches, until it is said otherwise. */
    ahead_ns = 0;
    open_node(&keeper, NULL);
    assert_true(node->module[0]->retain[READ].age_us == 2 * 24 * 3600 * 1000000LL);
    assert_true(node->module[0]->retain[UNREAD].age_us == 0);
    close_node(false);
    open_node(&keeper, (const struct leat_option[]){{"*", "forever"}, {NULL, NULL}});
    fill(READ, 100);
    pass(1000 * 24 * 3600);
    uint64_t first = bounds_of(READ, 0).first;
    pass(11);
    assert_int_equal(bounds_of(READ, 0).first, first);
    close_node(false);
}

/* A depot that nobody read is read by the next version of its module: from what is kept on, and repeats are known. */
static void a_stream_that_comes_later_begins_at_what_is_kept(void **state)
{
    (void)state;
    clear_model();
    open_node(&keeper, keep_all);
    for (int i = 0; i < 4; i++) {
        fill(UNREAD, 60);
        pass(11);
        pass(11);
        pass(11);
    }
    uint64_t first[TASKS];
    for (uint32_t p = 0; p < TASKS; p++)
        assert_true((first[p] = bounds_of(UNREAD, p).first) > 0);
    close_node(true);
    open_node(&curious, NULL);
    run();
    for (uint32_t p = 0; p < TASKS; p++) {
        int64_t seen = count_of("keeper", p);

        assert_true(seen > 0 && seen <= (int64_t)(model.next[UNREAD][p] - first[p]));
        assert_int_equal(append(UNREAD, p, 3, 1), 0);
    }
    int64_t before = count_of("keeper", 0);
    fill(UNREAD, 10);
    run();
    assert_int_equal(count_of("keeper", 0), before + 10);
    close_node(false);
}

/* Before the next time that it is looked for what is too much. */
static void wait_until_trimmed(uint32_t partition, uint64_t least)
{
    int64_t deadline = clock_real()->monotonic_ns(clock_real()) + 9 * 1000000000LL;

    while (bounds_of(UNREAD, partition).first < least && clock_real()->monotonic_ns(clock_real()) < deadline)
        pass(0);
    assert_true(bounds_of(UNREAD, partition).first >= least);
}

static uint64_t checkpoints(void)
{
    uint64_t count = 0;

    for (uint32_t g = 0; g < GROUPS; g++)
        count += atomic_load(&node->module[0]->group[g]->stats.checkpoint_ns.count);
    return count;
}

/* However fast a depot grows that nobody reads: what is too much goes, in small appends as in large ones, and not with
 * a checkpoint for every few of them. */
static void much_that_nobody_reads_goes_too(void **state)
{
    enum { LARGE = 2000, ROWS = 75 * LARGE };

    (void)state;
    clear_model();
    open_node(&keeper, keep_all);
    for (int i = 0; i < 500; i++)
        append_some(UNREAD, 1, 2);
    for (int i = 0; i < ROWS / LARGE; i++)
        append_some(UNREAD, 0, LARGE);
    pass(11);
    wait_until_trimmed(1, 600);
    wait_until_trimmed(0, ROWS - 2 * LARGE);
    assert_true(checkpoints() <= 8);
    check_partition(UNREAD, 0);
    check_partition(UNREAD, 1);
    assert_int_equal(append(UNREAD, 0, 0, 1), 0);
    assert_int_equal(append(UNREAD, 1, 0, 1), 0);
    close_node(false);
}

/* A module that comes to read a depot of another one after some was trimmed, and whose registration was removed. */
static void a_reader_that_was_removed_goes_on_behind(void **state)
{
    struct leat_error err = {0, ""};
    char path[4096];

    (void)state;
    clear_model();
    open_node(&keeper, keep_all);
    fill(READ, 200);
    pass(11);
    uint64_t first = bounds_of(READ, 0).first;
    assert_true(first > 0);
    launch(&reader, NULL);
    run();
    int64_t seen = count_of("reader", 0);
    assert_int_equal(seen, 200 - first);
    close_node(false);
    open_node(&keeper, NULL);
    fill(READ, 200);
    pass(11);
    /* Not running, it still holds what it has not read. */
    assert_int_equal(bounds_of(READ, 0).first <= 200, 1);
    consumer_path(READ, path, sizeof(path));
    must(consumer_remove(path, "reader.000", &err));
    must(consumer_remove(path, "reader.001", &err));
    fill(READ, 200);
    pass(11);
    first = bounds_of(READ, 0).first;
    assert_true(first > 200);
    launch(&reader, NULL);
    run();
    assert_int_equal(count_of("reader", 0), seen + 600 - (int64_t)first);
    must(leat_wait(node, 1000, &err));
    close_node(false);
}

static void wrong_wishes_are_refused(void **state)
{
    static const struct leat_option wrong[][2] = {{{"read", "7"}, {NULL, NULL}},     {{"read", "7d,8d"}, {NULL, NULL}},
                                                  {{"nothing", "7d"}, {NULL, NULL}}, {{"read", ""}, {NULL, NULL}}};
    struct leat_config config = {.create = true};
    struct leat_error err = {0, ""};

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct leat_launch how = {.tasks = TASKS, .groups = GROUPS, .retain = wrong[i]};

        must(leat_open(directory, &config, &node, &err));
        assert_int_equal(leat_launch(node, &keeper, &how, &err), i == 2 ? LEAT_ENOTFOUND : LEAT_EINVAL);
        leat_close(node);
    }
}

/* What a module declares is checked with it, and a launch may say otherwise. */
static void modules_declare_it(void **state)
{
    static const struct leat_option less[] = {{"a", "1h"}, {NULL, NULL}};
    struct leat_depot_declaration depots[] = {{"a", "n: i64", .partitioner = LEAT_RANDOM, .retain = "7d,1MiB"},
                                              {.name = NULL}};
    struct leat_module module = {LEAT_ABI, .name = "declared", .depots = depots};
    struct leat_error err = {0, ""};

    (void)state;
    open_node(&module, NULL);
    assert_true(node->module[0]->retain[0].age_us == 7 * 24 * 3600 * 1000000LL &&
                node->module[0]->retain[0].bytes == 1 << 20);
    close_node(false);
    open_node(&module, less);
    assert_true(node->module[0]->retain[0].age_us == 3600 * 1000000LL && node->module[0]->retain[0].bytes == 0);
    close_node(false);
    depots[0].retain = "a week";
    assert_int_equal(leat_check(&module, NULL, NULL, &err), LEAT_EMODULE);
    assert_non_null(strstr(err.text, "depot 'a'"));
}

/* Whoever copies a group's files finds none of them gone meanwhile. */
static void nothing_goes_while_it_is_copied(void **state)
{
    struct leat_error err = {0, ""};
    struct hold hold;
    char path[128];

    (void)state;
    clear_model();
    open_node(&keeper, keep_all);
    snprintf(path, sizeof(path), "%s/keeper/group-000", directory);
    must(hold_open(&hold, path, &err));
    must(hold_copy(&hold, 1000, &err));
    fill(READ, 200);
    pass(11);
    assert_int_equal(bounds_of(READ, 0).first, 0);
    assert_true(bounds_of(READ, 1).first > 0);
    hold_close(&hold);
    pass(11);
    assert_true(bounds_of(READ, 0).first > 0);
    close_node(false);
}

/* A damaged consumer holds everything. */
static void a_damaged_consumer_holds_all(void **state)
{
    struct leat_error err = {0, ""};
    char path[4096], file[5000];

    (void)state;
    clear_model();
    open_node(&keeper, keep_all);
    consumer_path(READ, path, sizeof(path));
    must(consumer_write(path, "broken", &(struct consumer){TASKS, model.held[READ]}, false, &err));
    snprintf(file, sizeof(file), "%s/broken", path);
    must(file_replace(file, (struct leat_span){"leat consumer 1\n0 17", 20}, &err));
    fill(READ, 300);
    pass(11);
    assert_int_equal(bounds_of(READ, 0).first, 0);
    must(consumer_remove(path, "broken", &err));
    pass(11);
    assert_true(bounds_of(READ, 0).first > 0);
    close_node(false);
}

/* A file that cannot be removed is no reason to stop. */
static void what_cannot_be_removed_stays(void **state)
{
    char path[128], away[160];

    (void)state;
    clear_model();
    open_node(&keeper, keep_all);
    snprintf(path, sizeof(path), "%s/keeper/group-000/depots/%016x.seg", directory, 0);
    snprintf(away, sizeof(away), "%s.away", path);
    assert_int_equal(rename(path, away), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    fill(READ, 200);
    pass(11);
    assert_int_equal(bounds_of(READ, 0).first, 0);
    assert_true(bounds_of(READ, 1).first > 0);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rename(away, path), 0);
    pass(11);
    assert_true(bounds_of(READ, 0).first > 0);
    check_partition(READ, 0);
    close_node(false);
}

static int set_up(void **state)
{
    (void)state;
    ahead_ns = 0;
    seed = 1;
    snprintf(directory, sizeof(directory), "/tmp/leat-retain-XXXXXX");
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
        cmocka_unit_test_setup_teardown(nothing_is_trimmed_that_somebody_wants, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_too_old_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stream_that_comes_later_begins_at_what_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(much_that_nobody_reads_goes_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_reader_that_was_removed_goes_on_behind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_wishes_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(modules_declare_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_goes_while_it_is_copied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_consumer_holds_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_removed_stays, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
