/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include "base/file.h"
#include "base/limits.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

/* Launches: as many groups as there may be, a first launch that fails, and what groups read of each other. */

static int count(struct leat_task *t, const struct leat_batch *in)
{
    return count_into(t, in, 0);
}

static const struct leat_module counter = {
    LEAT_ABI,
    .name = "counter",
    .depots = DEPOTS({"names", "name: str", .partitioner = LEAT_BY_FIELD, .by = "name"}),
    .pstates = PSTATES({"counts", "map<str, i64>"}),
    .topologies = TOPOLOGIES({"count", LEAT_STREAM, NODES({"count", .from = "names", .run = count})}),
};

/* Each has a view, and all views together fit into the address space. */
static void the_most_groups_there_can_be(void **unused)
{
    struct leat_test_config config = {
        .module = &counter, .tasks = LIMIT_GROUPS, .groups = LIMIT_GROUPS, .memory = true, .seed = 1};
    struct leat_error err = {0, ""};
    struct leat_test *t;

    (void)unused;
    must(leat_test_open(&config, &t, &err));
    must(leat_test_append(t, "names", LEAT_ROW(leat_str("a")), &err));
    must(leat_test_append(t, "names", LEAT_ROW(leat_str("a")), &err));
    must(leat_test_run(t, &err));
    assert_int_equal(value_of(t, "counter", "counts", leat_str("a"), 0), 2);
    leat_test_close(t);
}

static void allow_files(rlim_t files, rlim_t *before)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (before != NULL)
        *before = limit.rlim_cur;
    limit.rlim_cur = files;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* What was asked for the first time may have been too much: nothing is kept of it, and
 * another launch may ask for less. */
static void a_first_launch_that_fails(void **unused)
{
    struct leat_launch many = {.tasks = 64, .groups = 16}, few = {.tasks = 8, .groups = 2};
    char directory[] = "/tmp/leat-launches-XXXXXX", path[64];
    struct leat_error err = {0, ""};
    struct leat *l;
    rlim_t files;

    (void)unused;
    assert_non_null(mkdtemp(directory));
    must(leat_open(directory, NULL, &l, &err));
    allow_files(40, &files);
    assert_int_not_equal(leat_launch(l, &counter, &many, &err), 0);
    allow_files(files, NULL);
    assert_non_null(strstr(err.text, "Too many open files"));
    snprintf(path, sizeof(path), "%s/counter", directory);
    assert_int_not_equal(access(path, F_OK), 0);
    must(leat_launch(l, &counter, &few, &err));
    leat_close(l);
    /* Of a module that is there nothing is removed. */
    must(leat_open(directory, NULL, &l, &err));
    allow_files(12, &files);
    assert_int_not_equal(leat_launch(l, &counter, NULL, &err), 0);
    allow_files(files, NULL);
    assert_int_equal(access(path, F_OK), 0);
    must(leat_launch(l, &counter, NULL, &err));
    leat_close(l);
    file_remove_tree(directory, NULL);
}

/* ---- Options ---- */

static const struct leat_module wordy = {
    LEAT_ABI, .name = "wordy",
    .options = OPTIONS({"a_name_of_forty_eight_bytes_which_is_the_most_ye", "text"}, {"o", "text"}),
    .depots = DEPOTS({"d", "n: i64", .partitioner = LEAT_RANDOM})};

/* Launch with a value, and again without: 0, or what the first launch says. */
static int launch_twice(const char *directory, const char *value)
{
    struct leat_option given[] = {{wordy.options[0].name, value}, {"o", value}, {NULL, NULL}};
    struct leat_launch first = {.options = given, .tasks = 2, .groups = 1};
    struct leat_error err = {0, ""};
    struct leat *l;

    must(leat_open(directory, NULL, &l, &err));
    int rv = leat_launch(l, &wordy, &first, &err);
    leat_close(l);
    for (int i = 0; i < 2 && rv == 0; i++) {
        must(leat_open(directory, NULL, &l, &err));
        must(leat_launch(l, &wordy, i == 0 ? NULL : &first, &err));
        leat_close(l);
    }
    file_remove_tree(directory, NULL);
    return rv;
}

/* Whatever value a launch takes, it does not lock the directory. */
static void values_of_options_come_back(void **unused)
{
    static const char letters[] = "ab;#= \"[:\\\x01\t\xc3", most[] = "x\" #";
    char directory[] = "/tmp/leat-launches-XXXXXX", value[LIMIT_OPTION + 200];
    uint64_t seed = getenv("LEAT_SEED") != NULL ? strtoull(getenv("LEAT_SEED"), NULL, 10) : 7;
    int taken = 0, refused = 0;

    (void)unused;
    assert_non_null(mkdtemp(directory));
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < 60; i++) {
        size_t size = i % 6 == 0 ? next_random(&seed) % (sizeof(value) - 1) : next_random(&seed) % 6;

        for (size_t j = 0; j < size; j++)
            value[j] = i % 6 == 0 ? most[next_random(&seed) % (sizeof(most) - 1)]
                                  : letters[next_random(&seed) % (sizeof(letters) - 1)];
        value[size] = '\0';
        if (launch_twice(directory, value) == 0)
            taken++;
        else
            refused++;
    }
    assert_true(taken > 10 && refused > 10);
    for (const char *const *good = (const char *const[]){"", "a b", "a;b", "#", "a = b", "\"", NULL}; *good != NULL;
         good++)
        assert_int_equal(launch_twice(directory, *good), 0);
    for (size_t size = 128; size <= LIMIT_OPTION + 1; size += size == 129 ? LIMIT_OPTION - 129 : 1) {
        memset(value, 'x', size);
        value[size] = '\0';
        assert_int_equal(launch_twice(directory, value), size <= LIMIT_OPTION ? 0 : LEAT_EMODULE);
    }
}

static void move_group(const char *directory, int group, bool away)
{
    char here[64], there[64];

    snprintf(here, sizeof(here), "%s/counter/group-%03d", directory, group);
    snprintf(there, sizeof(there), "%s/away-%03d", directory, group);
    assert_int_equal(rename(away ? here : there, away ? there : here), 0);
}

/* Groups open beside each other: of several that cannot, the first is named, each time, and the others are as they
 * were. */
static void the_first_group_that_fails_is_named(void **unused)
{
    enum { LAUNCHES = 5, GROUPS = 8 };
    struct leat_launch launch = {.tasks = GROUPS, .groups = GROUPS};
    char directory[] = "/tmp/leat-launches-XXXXXX";
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;
    struct leat *l;

    (void)unused;
    assert_non_null(mkdtemp(directory));
    for (int i = 0; i < LAUNCHES; i++) {
        must(leat_open(directory, NULL, &l, &err));
        must(leat_launch(l, &counter, &launch, &err));
        must(leat_depot_find(l, "counter", "names", &d, &err));
        must(leat_rows_new(d, &rows));
        for (int n = 0; n < 50; n++) {
            char name[16];

            snprintf(name, sizeof(name), "%d", n);
            must(leat_rows_add(rows, LEAT_ROW(leat_str(name)), &err));
        }
        must(leat_append(d, rows, &(struct leat_append){.ack = LEAT_PROCESSED}, NULL, &err));
        leat_rows_free(rows);
        leat_close(l);
        move_group(directory, 2, true);
        move_group(directory, 3 + i % 5, true);
        must(leat_open(directory, NULL, &l, &err));
        assert_int_equal(leat_launch(l, &counter, &launch, &err), LEAT_ECORRUPT);
        assert_non_null(strstr(err.text, "group-002' is missing"));
        leat_close(l);
        move_group(directory, 2, false);
        move_group(directory, 3 + i % 5, false);
    }
    must(leat_open(directory, NULL, &l, &err));
    must(leat_launch(l, &counter, &launch, &err));
    struct leat_view *view;
    struct leat_value key = leat_str("17"), n;
    must(leat_view_open(l, "counter", &view, &err));
    assert_int_equal(leat_get(leat_view_owner(view, &key), 0, LEAT_KEYS(key), &n, 1), 0);
    assert_int_equal(n.as.i, LAUNCHES);
    leat_view_close(view);
    leat_close(l);
    assert_int_equal(file_remove_tree(directory, NULL), 0);
}

/* ---- What groups have sent each other ---- */

static int pass(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 1)));
    return 0;
}

static const struct leat_module sender = {
    LEAT_ABI,
    .name = "sender",
    .depots = DEPOTS({"names", "from: str, name: str", .partitioner = LEAT_BY_FIELD, .by = "from"}),
    .pstates = PSTATES({"counts", "map<str, i64>"}),
    .topologies = TOPOLOGIES({"count", LEAT_STREAM, NODES(
        {"pass", .from = "names", .run = pass, .emits = "name: str"},
        {"count", .from = "pass", .route = LEAT_BY_KEY, .run = count})}),
};

static void see_gaps(void *context, const struct leat_stat *s)
{
    if (strcmp(s->name, "gap_reads_total") == 0)
        *(double *)context += s->value;
}

static void append_names(struct leat_test *t, int names)
{
    struct leat_error err = {0, ""};
    char name[16];

    for (int i = 0; i < names; i++) {
        snprintf(name, sizeof(name), "%d", i);
        must(leat_test_append(t, "names", LEAT_ROW(leat_str("a"), leat_str(name)), &err));
    }
    must(leat_test_run(t, &err));
}

/* After a clean stop nothing is on its way, so no group reads the journals of others anew. */
static void a_clean_start_reads_no_journal(void **unused)
{
    enum { NAMES = 50 };
    char directory[] = "/tmp/leat-launches-XXXXXX";
    struct leat_test_config config = {.module = &sender, .tasks = 4, .groups = 2, .directory = directory, .seed = 1};
    struct leat_error err = {0, ""};
    struct leat_test *t;
    double gaps = 0;

    (void)unused;
    assert_non_null(mkdtemp(directory));
    must(leat_test_open(&config, &t, &err));
    append_names(t, NAMES);
    leat_test_close(t);
    must(leat_test_open(&config, &t, &err));
    append_names(t, NAMES);
    leat_stats(leat_test_leat(t), see_gaps, &gaps);
    assert_true(gaps == 0);
    for (int i = 0; i < NAMES; i++) {
        char name[16];

        snprintf(name, sizeof(name), "%d", i);
        assert_int_equal(value_of(t, "sender", "counts", leat_str(name), 0), 2);
    }
    leat_test_close(t);
    assert_int_equal(file_remove_tree(directory, NULL), 0);
}

/* ---- What succeeded says nothing ---- */

static int echo(struct leat_task *t, const struct leat_batch *in)
{
    leat_emit(t, 0, LEAT_ROW(leat_at(in, 0, 0)));
    return 0;
}

static const struct leat_module asked = {
    LEAT_ABI,
    .name = "asked",
    .depots = DEPOTS({"names", "name: str", .partitioner = LEAT_BY_FIELD, .by = "name"}),
    .pstates = PSTATES({"counts", "map<str, i64>"}),
    .topologies = TOPOLOGIES({"count", LEAT_STREAM, NODES({"count", .from = "names", .run = count})},
                             {"echo", LEAT_QUERY, NODES({"echo", .from = "request", .route = LEAT_TO_ORIGIN,
                                                         .run = echo, .emits = "name: str", .into = "reply"}),
                              .takes = "name: str"}),
};

static int spoiled(struct leat_error *err)
{
    return leat_fail(err, LEAT_ECORRUPT, "of another call");
}

static void silent(int rv, const struct leat_error *err)
{
    must_with(rv, err);
    assert_int_equal(err->code, 0);
    assert_string_equal(err->text, "");
}

#define quietly(call) (spoiled(&err), silent(call, &err))

static void appended(void *context, int code, const struct leat_receipt *receipt)
{
    (void)receipt;
    assert_int_equal(code, 0);
    atomic_store((_Atomic bool *)context, true);
}

static int no_more(void *context, const struct leat_record *record, const struct leat_batch *row)
{
    (void)context;
    (void)record;
    (void)row;
    return 0;
}

static void append_quietly(struct leat *l)
{
    struct leat_append processed = {.ack = LEAT_PROCESSED};
    struct leat_error err;
    struct leat_depot *d;
    struct leat_rows *rows;
    _Atomic bool done = false;

    quietly(leat_depot_find(l, "asked", "names", &d, &err));
    must(leat_rows_new(d, &rows));
    quietly(leat_rows_add(rows, LEAT_ROW(leat_str("a")), &err));
    quietly(leat_append(d, rows, NULL, NULL, &err));
    quietly(leat_append(d, rows, &processed, NULL, &err));
    quietly(leat_append_start(d, rows, &processed, appended, &done, &err));
    quietly(leat_wait(l, 10000, &err));
    quietly(leat_wait_idle(l, 10000, &err));
    while (!atomic_load(&done))
        sched_yield();
    for (uint32_t p = 0; p < leat_depot_partitions(d); p++)
        quietly(leat_depot_read(d, p, 0, 10, no_more, NULL, NULL, &err));
    leat_rows_free(rows);
}

static void success_says_nothing(void **unused)
{
    struct leat_launch few = {.tasks = 8, .groups = 2};
    char directory[] = "/tmp/leat-launches-XXXXXX", data[64], backups[64], again[64];
    struct leat_error err;
    struct leat_result *r;
    struct leat_view *v;
    struct leat *l;

    (void)unused;
    assert_non_null(mkdtemp(directory));
    snprintf(data, sizeof(data), "%s/data", directory);
    snprintf(backups, sizeof(backups), "%s/backups", directory);
    snprintf(again, sizeof(again), "%s/again", directory);
    quietly(leat_check(&asked, NULL, NULL, &err));
    for (int launch = 0; launch < 2; launch++) {
        quietly(leat_open(data, NULL, &l, &err));
        quietly(leat_launch(l, &asked, launch == 0 ? &few : NULL, &err));
        append_quietly(l);
        quietly(leat_query(l, "asked", "echo", LEAT_ROW(leat_str("x")), NULL, &r, &err));
        leat_result_free(r);
        quietly(leat_view_open(l, "asked", &v, &err));
        leat_view_close(v);
        quietly(leat_backup(data, backups, NULL, NULL, &err));
        leat_close(l);
    }
    quietly(leat_verify(backups, NULL, NULL, &err));
    quietly(leat_restore(backups, NULL, again, NULL, &err));
    quietly(leat_rebuild(data, &asked, NULL, &err));
    file_remove_tree(directory, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_groups_there_can_be),
        cmocka_unit_test(a_first_launch_that_fails),
        cmocka_unit_test(values_of_options_come_back),
        cmocka_unit_test(the_first_group_that_fails_is_named),
        cmocka_unit_test(a_clean_start_reads_no_journal),
        cmocka_unit_test(success_says_nothing),
    };

    return cmocka_run_group_tests_name("cluster_launches", tests, NULL, NULL);
}
