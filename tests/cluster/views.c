/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include "base/file.h"
#include "engine/node.h"

/* Views that are open for long: they end, whether anybody asks them or not. */

enum { BLOB = 200000, PATIENCE_S = 60 };

static int keep(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_put(t, 0, LEAT_KEYS(leat_i64(leat_at(in, i, 0).as.i % 2)), LEAT_ROW(leat_at(in, i, 1)));
    return 0;
}

static const struct leat_module keeper = {
    LEAT_ABI,
    .name = "keeper",
    .depots = DEPOTS({"blobs", "n: i64, blob: bytes", .partitioner = LEAT_RANDOM}),
    .pstates = PSTATES({"last", "map<i64, bytes>"}),
    .topologies = TOPOLOGIES({"keep", LEAT_STREAM,
                              NODES({"keep", .from = "blobs", .route = LEAT_GLOBAL, .run = keep})}),
};

static char directory[64];

static struct leat *open_keeper(uint32_t view_limit_ms)
{
    struct leat_config config = {.create = true, .durability = LEAT_PROCESS, .view_limit_ms = view_limit_ms};
    struct leat_error err = {0, ""};
    struct leat *l;

    must(leat_open(directory, &config, &l, &err));
    must(leat_launch(l, &keeper, &(struct leat_launch){.tasks = 1, .groups = 1}, &err));
    return l;
}

static void append(struct leat *l, int64_t from, int64_t to)
{
    static const char blob[BLOB];
    struct leat_append how = {.ack = LEAT_PROCESSED};
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;

    must(leat_depot_find(l, "keeper", "blobs", &d, &err));
    must(leat_rows_new(d, &rows));
    for (int64_t i = from; i < to; i++) {
        leat_rows_clear(rows);
        must(leat_rows_add(rows, LEAT_ROW(leat_i64(i), leat_bytes(blob, BLOB)), &err));
        must(leat_append(d, rows, &how, NULL, &err));
    }
    leat_rows_free(rows);
}

static int look(struct leat_view *v)
{
    struct leat_value out;

    return leat_get(leat_view_task(v, 0), 0, LEAT_KEYS(leat_i64(0)), &out, 1);
}

static uint64_t file_bytes(struct leat *l)
{
    struct pstate_figures f;

    pstate_view_figures(group_view(l->module[0]->group[0]), &f);
    return f.file_bytes;
}

static void an_old_view_says_so(void **unused)
{
    struct leat_error err = {0, ""};
    struct leat *l = open_keeper(200);
    int64_t end = clock_real()->monotonic_ns(clock_real()) + PATIENCE_S * INT64_C(1000000000);
    struct leat_view *v, *fresh;
    struct leat_value key, out;
    struct leat_scan *scan;
    struct leat_task *t;
    uint64_t n;
    int rv;

    (void)unused;
    append(l, 0, 2);
    must(leat_view_open(l, "keeper", &v, &err));
    must(look(v));
    t = leat_view_task(v, 0);
    must(leat_scan_open(t, 0, LEAT_KEYS(), NULL, &scan));
    while ((rv = look(v)) == 0 && clock_real()->monotonic_ns(clock_real()) < end)
        append(l, 2, 3);
    assert_int_equal(rv, LEAT_ETIMEOUT);
    t = leat_view_task(v, 0);
    assert_int_equal(leat_size(t, 0, LEAT_KEYS(), &n), LEAT_ETIMEOUT);
    assert_int_equal(leat_scan_next(scan, &key, &out, 1), LEAT_ETIMEOUT);
    leat_scan_close(scan);
    assert_int_equal(leat_task_error(t), LEAT_ETIMEOUT);
    must(leat_view_open(l, "keeper", &fresh, &err));
    must(look(fresh));
    leat_view_close(fresh);
    leat_view_close(v);
    leat_close(l);
}

/* Nobody asks the view again: its pages are used again all the same, and the file stops growing. */
static void a_forgotten_view_holds_no_pages(void **unused)
{
    enum { STEADY = 40 }; /* appends, each of 50 pages */
    struct leat_error err = {0, ""};
    struct leat *l = open_keeper(200);
    int64_t end = clock_real()->monotonic_ns(clock_real()) + PATIENCE_S * INT64_C(1000000000);
    struct leat_view *v;
    uint64_t before, after;

    (void)unused;
    append(l, 0, 2);
    must(leat_view_open(l, "keeper", &v, &err));
    must(look(v));
    do {
        before = file_bytes(l);
        append(l, 0, STEADY);
        after = file_bytes(l);
    } while (after > before && clock_real()->monotonic_ns(clock_real()) < end);
    assert_int_equal(after, before);
    leat_view_close(v);
    leat_close(l);
}

/* Until its limit a view stays where it was, whatever is written. */
static void a_young_view_stays(void **unused)
{
    struct leat_error err = {0, ""};
    struct leat *l = open_keeper(0);
    struct leat_view *v;

    (void)unused;
    must(leat_view_open(l, "keeper", &v, &err));
    assert_int_equal(look(v), LEAT_ENOTFOUND);
    append(l, 0, 60);
    assert_int_equal(look(v), LEAT_ENOTFOUND);
    leat_view_close(v);
    leat_close(l);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/leat-views-XXXXXX");
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
        cmocka_unit_test_setup_teardown(an_old_view_says_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_forgotten_view_holds_no_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_young_view_stays, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("cluster_views", tests, NULL, NULL);
}
