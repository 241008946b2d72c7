/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include "base/file.h"
#include "engine/trace.h"

#include <unistd.h>

/* A trace of each record of a module whose rows go through background nodes and between groups, against what is known
 * to come of the record: all of that is in it, and what is in it beyond that is marked. */

enum { SEEN, ROUNDS = 12, RECORDS = 120, MOST = 90, PLACES = 64, GROUPS = 4 };

/* A row for each number below n. */
static int spread(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        for (uint64_t n = 0; n < leat_at(in, i, 1).as.u; n++)
            leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0), leat_u64(n)));
    return 0;
}

static int slow(struct leat_task *t, const struct leat_batch *in)
{
    uint64_t id = leat_at(in, 0, 0).as.u, n = leat_at(in, 0, 1).as.u;

    leat_emit(t, 0, LEAT_ROW(leat_u32((uint32_t)(id * 7 + n) % PLACES), leat_u64(id * MOST + n)));
    return 0;
}

static int pass(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_u32(((uint32_t)leat_at(in, i, 0).as.u * 11 + 5) % PLACES), leat_at(in, i, 1)));
    return 0;
}

static int keep(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_put(t, SEEN, LEAT_KEYS(leat_at(in, i, 1)), LEAT_ROW(leat_u32(1)));
    return 0;
}

#define PLACED "place: u32, row: u64"

static const struct leat_module traced = {
    LEAT_ABI, .name = "traced",
    .depots = DEPOTS({"records", "id: u64, n: u64", .by = "id"}),
    .pstates = PSTATES([SEEN] = {"seen", "map<u64, u32>"}),
    .topologies = TOPOLOGIES({"flow", LEAT_STREAM, NODES(
        {"spread", .from = "records", .run = spread, .emits = "id: u64, n: u64"},
        {"slow", .from = "spread", .run = slow, .emits = PLACED, .background = true},
        {"near", .from = "slow", .route = LEAT_BY_KEY, .run = pass, .emits = PLACED},
        {"far", .from = "near", .route = LEAT_BY_KEY, .run = pass, .emits = PLACED},
        {"keep", .from = "far", .route = LEAT_BY_KEY, .run = keep})})};

/* ---- What a trace says ---- */

struct told {
    uint64_t id, n;     /* of the record */
    bool found[MOST];
    uint32_t turns, begun, ended; /* rows put before background nodes, and their results taken */
    uint32_t waiting;
};

static void on_seen(struct told *told, const struct trace_event *e)
{
    uint64_t row = strtoull(strstr(e->what, " key ") + 5, NULL, 10);

    if (row / MOST != told->id) {
        assert_true(e->shared);
        return;
    }
    assert_true(row % MOST < told->n);
    assert_false(told->found[row % MOST]);
    told->found[row % MOST] = true;
}

static void on_event(void *context, const struct trace_event *e)
{
    struct told *told = context;

    told->turns += e->kind == TRACE_TURN;
    if (e->kind == TRACE_WAITS)
        told->waiting += (uint32_t)strtoul(e->what, NULL, 10);
    if (e->kind == TRACE_OPERATION && strstr(e->what, "PState seen") != NULL)
        on_seen(told, e);
    if (e->kind == TRACE_OPERATION && strstr(e->what, "PState background") != NULL) {
        told->begun += strncmp(e->what, "put ", 4) == 0;
        told->ended += strncmp(e->what, "delete ", 7) == 0;
    }
    assert_true(e->kind != TRACE_LEFT_OUT && e->kind != TRACE_TRIMMED && e->kind != TRACE_DEAD_LETTER);
}

struct records {
    const struct layout *layout;
    uint32_t partition;
    uint32_t records;
    uint32_t waiting;
};

static struct told trace_of(const struct records *r, const struct leat_record *record, const struct leat_batch *row)
{
    struct told told = {.id = leat_at(row, 0, 0).as.u, .n = leat_at(row, 0, 1).as.u};
    struct leat_error err = {0, ""};

    must(trace_record(r->layout, 0, r->partition, record->offset, UINT32_MAX, on_event, &told, &err));
    return told;
}

static int check_record(void *context, const struct leat_record *record, const struct leat_batch *row)
{
    struct records *r = context;
    struct told told = trace_of(r, record, row);

    for (uint64_t n = 0; n < told.n; n++)
        if (!told.found[n])
            fail_msg("row %llu of record %llu is not in its trace", (unsigned long long)n, (unsigned long long)told.id);
    assert_int_equal(told.waiting, 0);
    assert_true(told.ended >= told.begun); /* and results of others */
    assert_true(told.begun >= told.n && told.turns > (told.n > 0));
    r->records++;
    return 0;
}

static void each_record(struct leat_test *t, const char *directory, leat_record_each *each, struct records *r)
{
    struct leat_error err = {0, ""};
    struct layout *l;
    struct leat_depot *d;

    must(layout_open(directory, "traced", &l, &err));
    must(leat_depot_find(leat_test_leat(t), "traced", "records", &d, &err));
    r->layout = l;
    for (r->partition = 0; r->partition < leat_depot_partitions(d); r->partition++)
        must(leat_depot_read(d, r->partition, 0, UINT32_MAX, each, r, NULL, &err));
    layout_close(l);
}

static struct leat_test *open_in(char *directory, uint64_t seed)
{
    struct leat_test_config config = {.module = &traced, .tasks = 16, .groups = GROUPS, .directory = directory,
                                      .seed = seed,
                                      .cut_rows = seed % 3 == 0 ? 5 : 0, .force_hops = seed % 2 == 0};
    struct leat_error err = {0, ""};
    struct leat_test *t;

    assert_non_null(mkdtemp(directory));
    must(leat_test_open(&config, &t, &err));
    return t;
}

/* ---- Tests ---- */

static void each_trace_is_whole(void **state)
{
    (void)state;
    for (uint64_t way = 1; way <= 4; way++) {
        char directory[] = "/tmp/leat-trace-XXXXXX";
        struct leat_test *t = open_in(directory, way);
        struct leat_error err = {0, ""};
        struct records r = {0};
        uint64_t seed = way, id = 0;

        for (int round = 0; round < ROUNDS; round++) {
            for (uint64_t more = 1 + next_random(&seed) % (RECORDS / ROUNDS); more > 0; more--, id++)
                must(leat_test_append(t, "records",
                                      LEAT_ROW(leat_u64(id), leat_u64(next_random(&seed) % (id % 5 == 0 ? MOST : 4))),
                                      &err));
            while (next_random(&seed) % 30 != 0)
                assert_true(leat_test_step(t, &err) >= 0);
        }
        must(leat_test_run(t, &err));
        each_record(t, directory, check_record, &r);
        assert_int_equal(r.records, id);
        leat_test_close(t);
        must(file_remove_tree(directory, &err));
    }
}

static uint64_t waiting(struct leat_test *t)
{
    struct leat_error err = {0, ""};
    struct leat_view *v;
    uint64_t all = 0;

    must(leat_view_open(leat_test_leat(t), "traced", &v, &err));
    for (uint32_t group = 0; group < GROUPS; group++) {
        uint64_t size = 0;

        assert_int_equal(leat_size(leat_view_task(v, group), SEEN + 1, LEAT_KEYS(), &size), 0);
        all += size;
    }
    leat_view_close(v);
    return all;
}

static int check_waiting(void *context, const struct leat_record *record, const struct leat_batch *row)
{
    struct records *r = context;
    struct told told = trace_of(r, record, row);

    assert_int_equal(told.begun, told.n);
    assert_int_equal(told.waiting, r->waiting);
    r->records++;
    return 0;
}

static void rows_wait_for_background_nodes(void **state)
{
    char directory[] = "/tmp/leat-trace-XXXXXX";
    struct leat_test *t = open_in(directory, 7);
    struct leat_error err = {0, ""};
    uint64_t before = MOST - 1, now;

    (void)state;
    must(leat_test_append(t, "records", LEAT_ROW(leat_u64(1), leat_u64(before)), &err));
    while (waiting(t) == 0)
        assert_true(leat_test_step(t, &err) >= 0);
    for (now = waiting(t); now > 0; now = waiting(t)) {
        struct records r = {.waiting = (uint32_t)now};

        if (now < before) {
            each_record(t, directory, check_waiting, &r);
            assert_int_equal(r.records, 1);
        }
        before = now;
        assert_true(leat_test_step(t, &err) >= 0);
    }
    must(leat_test_run(t, &err));
    leat_test_close(t);
    must(file_remove_tree(directory, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_trace_is_whole),
        cmocka_unit_test(rows_wait_for_background_nodes),
    };
    return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
