/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include "base/file.h"

#include <pthread.h>

/* Modules that read depots of another one. */

enum { SUM, SOURCES = 3 };

static int add(struct leat_task *t, const struct leat_batch *in)
{
    struct leat_value sum = leat_i64(0);

    leat_get(t, SUM, LEAT_KEYS(leat_u32(0)), &sum, 1);
    for (uint32_t i = 0; i < in->rows; i++)
        sum.as.i += leat_at(in, i, 0).as.i;
    leat_put(t, SUM, LEAT_KEYS(leat_u32(0)), LEAT_ROW(sum));
    return 0;
}

static const struct leat_module source = {
    LEAT_ABI, .name = "source",
    .depots = DEPOTS({"a", "n: i64", .partitioner = LEAT_RANDOM}, {"b", "n: i64", .partitioner = LEAT_RANDOM},
                     {"c", "n: i64", .partitioner = LEAT_RANDOM})};

#define READER(name_)                                                                                                  \
    {LEAT_ABI, .name = name_, .pstates = PSTATES([SUM] = {"sum", "map<u32, i64>"}),                                    \
     .topologies = TOPOLOGIES({"read", LEAT_STREAM,                                                                    \
                               NODES({"add", .from = "source/a, source/b, source/c", .run = add})})}

static const struct leat_module reader = READER("reader"), second = READER("second");

static void append(struct leat *l, const char *depot, int count)
{
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;

    must(leat_depot_find(l, "source", depot, &d, &err));
    must(leat_rows_new(d, &rows));
    for (int i = 1; i <= count; i++)
        must(leat_rows_add(rows, LEAT_ROW(leat_i64(i)), &err));
    must(leat_append(d, rows, &(struct leat_append){.ack = LEAT_PROCESSED}, NULL, &err));
    leat_rows_free(rows);
}

static int64_t sum_of(struct leat *l, const char *module)
{
    struct leat_error err = {0, ""};
    struct leat_view *v;
    int64_t sum = 0;

    must(leat_view_open(l, module, &v, &err));
    for (uint32_t task = 0; task < leat_view_tasks(v); task++) {
        struct leat_value part = leat_i64(0);

        leat_get(leat_view_task(v, task), SUM, LEAT_KEYS(leat_u32(0)), &part, 1);
        sum += part.as.i;
    }
    leat_view_close(v);
    return sum;
}

/* More groups read the depots of one group than a module can have. */
static void many_groups_read_one(void **state)
{
    struct leat_config config = {.create = true, .memory = true};
    struct leat_launch one = {.tasks = 256, .groups = 1}, many = {.tasks = 256, .groups = 128};
    struct leat_error err = {0, ""};
    struct leat *l;

    (void)state;
    must(leat_open(NULL, &config, &l, &err));
    must(leat_launch(l, &source, &one, &err));
    must(leat_launch(l, &reader, &many, &err));
    must(leat_launch(l, &second, &many, &err));
    for (int d = 0; d < SOURCES; d++)
        append(l, (const char *[]){"a", "b", "c"}[d], 1000);
    must(leat_wait(l, 60000, &err));
    assert_int_equal(sum_of(l, "reader"), SOURCES * 500500);
    assert_int_equal(sum_of(l, "second"), SOURCES * 500500);
    leat_close(l);
}

/* A reader that cannot be launched hears nothing of what is appended afterwards. */
static void a_launch_that_fails_listens_no_more(void **state)
{
    char directory[] = "/tmp/leat-foreign-XXXXXX", path[64];
    struct leat_launch small = {.tasks = 4, .groups = 2};
    struct leat_error err = {0, ""};
    struct leat *l;

    (void)state;
    assert_non_null(mkdtemp(directory));
    must(leat_open(directory, NULL, &l, &err));
    must(leat_launch(l, &source, &small, &err));
    must(leat_launch(l, &reader, &small, &err));
    append(l, "a", 100);
    must(leat_wait(l, 30000, &err));
    leat_close(l);
    snprintf(path, sizeof(path), "%s/source", directory);
    file_remove_tree(path, NULL);
    must(leat_open(directory, NULL, &l, &err));
    must(leat_launch(l, &source, &small, &err));
    assert_int_equal(leat_launch(l, &reader, NULL, &err), LEAT_ECORRUPT);
    append(l, "a", 100);
    must(leat_launch(l, &second, &small, &err));
    append(l, "b", 100);
    must(leat_wait(l, 30000, &err));
    assert_int_equal(sum_of(l, "second"), 2 * 5050);
    leat_close(l);
    file_remove_tree(directory, NULL);
}

/* ---- Launches at once ---- */

enum { THREADS = 4 };

struct launcher {
    struct leat *leat;
    pthread_t thread;
    int code;
};

static void *launch(void *context)
{
    struct launcher *a = context;
    struct leat_launch small = {.tasks = 8, .groups = 4};

    a->code = leat_launch(a->leat, &reader, &small, NULL);
    return NULL;
}

/* One of several threads launches a module; the others are told that it runs. Who waits meanwhile is not disturbed. */
static void one_of_many_launches(void **state)
{
    struct leat_config config = {.create = true, .memory = true};
    struct launcher launcher[THREADS];
    struct leat_error err = {0, ""};
    int launched = 0;
    struct leat *l;

    (void)state;
    must(leat_open(NULL, &config, &l, &err));
    must(leat_launch(l, &source, &(struct leat_launch){.tasks = 8, .groups = 2}, &err));
    for (int i = 0; i < THREADS; i++) {
        launcher[i] = (struct launcher){.leat = l};
        assert_int_equal(pthread_create(&launcher[i].thread, NULL, launch, &launcher[i]), 0);
    }
    append(l, "c", 100);
    must(leat_wait(l, 30000, &err));
    for (int i = 0; i < THREADS; i++) {
        pthread_join(launcher[i].thread, NULL);
        assert_true(launcher[i].code == 0 || launcher[i].code == LEAT_EEXISTS);
        launched += launcher[i].code == 0;
    }
    assert_int_equal(launched, 1);
    must(leat_wait(l, 30000, &err));
    assert_int_equal(sum_of(l, "reader"), 5050);
    leat_close(l);
}

static const struct leat_module circle = {
    LEAT_ABI, .name = "source", .depots = DEPOTS({"a", "n: i64", .partitioner = LEAT_RANDOM}),
    .pstates = PSTATES([SUM] = {"sum", "map<u32, i64>"}),
    .topologies = TOPOLOGIES({"read", LEAT_STREAM, NODES({"add", .from = "reader/a", .run = add})})};

/* Without running anything: what is read from is known from its declaration. */
static void readers_are_checked(void **state)
{
    const struct leat_module *const with[] = {&second, &source, NULL}, *const without[] = {&second, NULL};
    const struct leat_module *const round[] = {&circle, &reader, NULL};
    struct leat_error err = {0, ""};

    (void)state;
    must(leat_check(&reader, with, NULL, &err));
    assert_int_equal(leat_check(&reader, NULL, NULL, &err), LEAT_EMODULE);
    assert_non_null(strstr(err.text, "reads 'source/a'"));
    assert_int_equal(leat_check(&reader, without, NULL, &err), LEAT_EMODULE);
    assert_int_equal(leat_check(&reader, round, NULL, &err), LEAT_EMODULE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_groups_read_one),
        cmocka_unit_test(a_launch_that_fails_listens_no_more),
        cmocka_unit_test(one_of_many_launches),
        cmocka_unit_test(readers_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
