/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "engine/node.h"
#include "tests/lib/fault.h"

#include <errno.h>

/* The disk is full below one directory or file, and then it is not: turns and checkpoints wait and go on by themselves,
 * reads go on meanwhile, and everything has its effects once, also when the directory was closed while it was full. */

enum { KEYS = 5, SESSION = 3, BATCH = 10, PATIENCE_MS = 60000 };
enum { SEEN, COUNTS };

/* ---- The module: lists by key, whose rows go on into another depot, where they are counted ---- */

static int store(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        leat_push(t, SEEN, LEAT_KEYS(leat_at(in, i, 0)), LEAT_ROW(leat_at(in, i, 1)), NULL);
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 1), leat_at(in, i, 0)));
    }
    return 0;
}

/* The key of a copy, which lies elsewhere: by its number. */
static int key_of(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 1)));
    return 0;
}

static int keep(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_push(t, SEEN, LEAT_KEYS(leat_at(in, i, 0)), LEAT_ROW(leat_at(in, i, 1)), NULL);
    return 0;
}

static const struct leat_module module = {
    LEAT_ABI, .name = "copier",
    .depots = DEPOTS({"numbers", "key: i64, number: i64", .by = "key"},
                     {"copies", "number: i64, key: i64", .by = "number"}),
    .pstates = PSTATES([SEEN] = {"seen", "map<i64, list<i64>>"}, [COUNTS] = {"counts", "map<i64, i64>"}),
    .topologies = TOPOLOGIES({"store", LEAT_STREAM, NODES(
        {"store", .from = "numbers", .run = store, .emits = "number: i64, key: i64"},
        {"copy", .from = "store", .route = LEAT_BY_KEY, .into = "copies"})},
        {"count", LEAT_STREAM, NODES(
        {"key", .from = "copies", .run = key_of, .emits = "key: i64"},
        {"count", .from = "key", .route = LEAT_BY_KEY, .fold = &leat_count, .into = "counts"})})};

/* Another module that reads the first one's depot: its slices must not outlast that. */
static const struct leat_module reader = {
    LEAT_ABI, .name = "reader",
    .pstates = PSTATES({"seen", "map<i64, list<i64>>"}),
    .topologies = TOPOLOGIES({"store", LEAT_STREAM, NODES({"store", .from = "copier/numbers", .run = keep})})};

/* ---- Lives ---- */

struct world {
    char directory[64];
    struct leat *leat;
    struct leat_depot *depot;
    int64_t appended;  /* numbers below this */
    int64_t processed; /* of these all effects in "seen" must show */
    bool read;         /* by the other module too */
    uint32_t timeout_ms;
};

static void start(struct world *w)
{
    struct leat_error err = {0, ""};

    must(leat_open(w->directory, NULL, &w->leat, &err));
    w->leat->segment_size = 16 << 10;
    w->leat->checkpoint_bytes = 8 << 10;
    must(leat_launch(w->leat, &module, &(struct leat_launch){.tasks = 8, .groups = 2}, &err));
    if (w->read)
        must(leat_launch(w->leat, &reader, &(struct leat_launch){.tasks = 8, .groups = 2}, &err));
    must(leat_depot_find(w->leat, module.name, "numbers", &w->depot, &err));
}

static void stop(struct world *w)
{
    leat_close(w->leat);
    w->leat = NULL;
}

static int append(struct world *w, enum leat_ack ack, struct leat_error *err)
{
    struct leat_append how = {
        .ack = ack, .session = SESSION, .sequence = (uint64_t)w->appended, .timeout_ms = w->timeout_ms};
    struct leat_rows *rows;

    must_with(leat_rows_new(w->depot, &rows), err);
    for (int64_t i = w->appended; i < w->appended + BATCH; i++)
        must_with(leat_rows_add(rows, LEAT_ROW(leat_i64(i % KEYS), leat_i64(i)), err), err);
    int rv = leat_append(w->depot, rows, &how, NULL, err);
    leat_rows_free(rows);
    if (rv == 0)
        w->appended += BATCH;
    if (rv == 0 && ack == LEAT_PROCESSED)
        w->processed = w->appended;
    return rv;
}

/* The list of a key has its numbers in order, once; how many. */
static int64_t check_list(struct leat_view *v, int64_t key)
{
    struct leat_value k = leat_i64(key), index, got;
    struct leat_task *t = leat_view_owner(v, &k);
    struct leat_scan *scan;
    int64_t n = 0;

    assert_int_equal(leat_scan_open(t, SEEN, LEAT_KEYS(k), &(struct leat_range){0}, &scan), 0);
    for (; leat_scan_next(scan, &index, &got, 1) == 0; n++)
        assert_int_equal(got.as.i, key + n * KEYS);
    leat_scan_close(scan);
    assert_int_equal(leat_task_error(t), 0);
    return n;
}

static void check(struct world *w, bool all)
{
    struct leat_error err = {0, ""};
    struct leat_view *v;

    must(leat_view_open(w->leat, module.name, &v, &err));
    for (int64_t key = 0; key < KEYS; key++) {
        struct leat_value k = leat_i64(key), count = leat_i64(0);
        int64_t n = check_list(v, key);

        assert_true(n >= w->processed / KEYS && n <= w->appended / KEYS + BATCH / KEYS);
        leat_get(leat_view_owner(v, &k), COUNTS, LEAT_KEYS(k), &count, 1);
        assert_true(count.as.i <= n);
        if (!all)
            continue;
        assert_int_equal(n, w->appended / KEYS);
        assert_int_equal(count.as.i, n);
    }
    leat_view_close(v);
    if (!w->read)
        return;
    must(leat_view_open(w->leat, reader.name, &v, &err));
    for (int64_t key = 0; key < KEYS; key++) {
        int64_t n = check_list(v, key);

        assert_true(all ? n == w->appended / KEYS : n <= w->appended / KEYS + BATCH / KEYS);
    }
    leat_view_close(v);
}

/* Twice: what was processed the first time may have gone into the other depot. */
static void wait_for_all(struct world *w)
{
    struct leat_error err = {0, ""};

    must(leat_wait(w->leat, PATIENCE_MS, &err));
    must(leat_wait(w->leat, PATIENCE_MS, &err));
}

/* ---- Figures ---- */

struct figure {
    const char *name;
    double sum;
};

static void add_figure(void *context, const struct leat_stat *s)
{
    struct figure *f = context;

    if (strcmp(s->name, f->name) == 0)
        f->sum += s->kind == LEAT_HISTOGRAM ? (double)s->count : s->value;
}

static double figure(struct world *w, const char *name)
{
    struct figure f = {name, 0};

    leat_stats(w->leat, add_figure, &f);
    return f.sum;
}

/* Append until so many groups wait for space, or the depots take no more. */
static void fill(struct world *w, int groups)
{
    struct leat_error err = {0, ""};
    int64_t end = clock_real()->monotonic_ns(clock_real()) + PATIENCE_MS * INT64_C(1000000);

    while (figure(w, "waits_for_space") < groups) {
        int rv = append(w, LEAT_APPENDED, &err);

        assert_true(rv == 0 || rv == LEAT_ENOSPACE);
        if (rv == LEAT_ENOSPACE) {
            assert_non_null(strstr(err.text, "the disk is full"));
            return;
        }
        assert_true(clock_real()->monotonic_ns(clock_real()) < end);
    }
}

/* ---- Full disks ---- */

struct full {
    const char *part;
    struct fault fault;
};

static const struct full fulls[] = {
    {"/journal", {.call = FAULT_ALLOCATE, .at = 1, .number = ENOSPC, .lasting = true}},
    {"/journal", {.call = FAULT_WRITE, .at = 3, .number = ENOSPC, .lasting = true}},
    {"/depots", {.call = FAULT_ALLOCATE, .at = 1, .number = ENOSPC, .lasting = true}},
    {"/depots", {.call = FAULT_WRITE, .at = 3, .number = EDQUOT, .lasting = true}},
    {"/view/data.mdb", {.call = FAULT_WRITE, .at = 1, .number = ENOSPC, .lasting = true}},
    {"/view/checkpoint", {.call = FAULT_WRITE, .at = 1, .number = ENOSPC, .lasting = true}},
    {"/copier", {.call = FAULT_WRITE, .at = 1, .number = ENOSPC, .lasting = true}},
};
enum { CHECKPOINTS = 5 };

static void begin_with(struct world *w, bool read)
{
    struct leat_error err = {0, ""};

    memset(w, 0, sizeof(*w));
    w->read = read;
    snprintf(w->directory, sizeof(w->directory), "/tmp/leat-space-XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    start(w);
    for (int i = 0; i < 5; i++)
        must(append(w, LEAT_PROCESSED, &err));
    wait_for_all(w);
}

static void begin(struct world *w)
{
    begin_with(w, false);
}

static void found(void *context, const char *where, const char *what)
{
    (void)context;
    fail_msg("%s: %s", where, what);
}

/* Whatever was tried again, no view holds anything that its schemas do not say. */
static void check_views(struct world *w)
{
    struct module *m = w->leat->module[0];

    for (uint32_t i = 0; i < m->groups; i++) {
        struct pstate_check look = {.tasks = m->plan->tasks, .group = i, .groups = m->groups, .found = found};
        struct leat_error err = {0, ""};
        struct pstate_reader *r;

        must(pstate_snapshot_open(group_view(m->group[i]), &r, &err));
        must(pstate_view_check(r, &look, &err));
        assert_int_equal(look.findings, 0);
        pstate_snapshot_close(r);
    }
}

static void end(struct world *w)
{
    stop(w);
    start(w);
    wait_for_all(w);
    check(w, true);
    check_views(w);
    stop(w);
    file_remove_tree(w->directory, NULL);
}

/* Who waits does so by the clock: at least 20 ms from one attempt to the next, however often it is woken. */
static void wakes_are_no_attempts(struct world *w)
{
    int64_t begun = clock_real()->monotonic_ns(clock_real());
    double aborts = figure(w, "aborts_total");
    struct leat_error err = {0, ""};

    for (int i = 0; i < 30; i++)
        append(w, LEAT_APPENDED, &err);
    double took = (double)(clock_real()->monotonic_ns(clock_real()) - begun);
    assert_true(figure(w, "aborts_total") - aborts <= 2 * (2 + took / 20e6));
}

static void goes_on_by_itself(void **state)
{
    struct leat_error err = {0, ""};
    struct world w;

    (void)state;
    for (size_t i = 0; i < sizeof(fulls) / sizeof(*fulls); i++) {
        begin(&w);
        for (int again = 0; again < 3; again++) {
            fault_begin(fulls[i].part, &fulls[i].fault);
            fill(&w, 1);
            check(&w, false);
            wakes_are_no_attempts(&w);
            fault_end();
            must(append(&w, LEAT_PROCESSED, &err));
            wait_for_all(&w);
            check(&w, true);
        }
        end(&w);
    }
}

static void closed_while_full(void **state)
{
    struct leat_error err = {0, ""};
    struct world w;

    (void)state;
    for (size_t i = 0; i < sizeof(fulls) / sizeof(*fulls); i++) {
        begin(&w);
        fault_begin(fulls[i].part, &fulls[i].fault);
        fill(&w, 1);
        stop(&w);
        fault_end();
        start(&w);
        must(append(&w, LEAT_APPENDED, &err)); /* what was refused may be there in part */
        wait_for_all(&w);
        check(&w, true);
        end(&w);
    }
}

static int ignore(void *context, const struct leat_record *record, const struct leat_batch *row)
{
    (void)context;
    (void)record;
    (void)row;
    return 0;
}

/* A view whose meta page could not be written serves nobody any more: the module stops, depots can be read, and all is
 * whole when it is opened again. Only file systems that never write in place have no space for a meta page. */
static void stops_when_it_cannot_go_on(void **state)
{
    struct full f = {"/view/data.mdb", {.call = FAULT_WRITE, .number = ENOSPC, .lasting = true}};
    struct leat_error err = {0, ""};
    struct world w;
    int stopped = 0, rv;

    (void)state;
    for (f.fault.at = 2; f.fault.at < 12; f.fault.at++) {
        begin(&w);
        fault_begin(f.part, &f.fault);
        while ((rv = append(&w, LEAT_APPENDED, &err)) == 0 && figure(&w, "waits_for_space") < 1)
            ;
        fault_end();
        for (int i = 0; i < 3 && rv == 0; i++)
            rv = append(&w, LEAT_PROCESSED, &err);
        assert_true(rv == 0 || (rv == LEAT_EIO && strstr(err.text, "view") != NULL));
        if (rv == 0)
            check(&w, false);
        assert_int_equal(leat_depot_read(w.depot, 0, 0, UINT32_MAX, ignore, NULL, NULL, &err), 0);
        stopped += rv != 0;
        stop(&w);
        start(&w);
        must(append(&w, LEAT_PROCESSED, &err));
        wait_for_all(&w);
        check(&w, true);
        end(&w);
    }
    assert_true(stopped > 0);
}

static void append_lists(struct leat_test *t, int64_t *n, int count)
{
    struct leat_error err = {0, ""};

    for (int i = 0; i < count; i++, ++*n)
        must(leat_test_append(t, "numbers", LEAT_ROW(leat_i64(*n), leat_i64(*n)), &err));
}

/* Each number is alone in the list of its own key. */
static void check_lists(struct leat_test *t, int64_t n)
{
    struct leat_error err = {0, ""};
    struct leat_view *v;

    must(leat_view_open(leat_test_leat(t), module.name, &v, &err));
    for (int64_t i = 0; i < n; i++) {
        struct leat_value key = leat_i64(i), got = leat_i64(-1);
        struct leat_task *task = leat_view_owner(v, &key);
        uint64_t size = 0;

        assert_int_equal(leat_size(task, SEEN, LEAT_KEYS(key), &size), 0);
        assert_int_equal(size, 1);
        leat_get(task, SEEN, LEAT_KEYS(key, leat_u64(0)), &got, 1);
        assert_int_equal(got.as.i, i);
        assert_int_equal(value_of(t, module.name, "counts", key, 0), 1);
    }
    leat_view_close(v);
}

/* A turn that is held is followed by nothing in its group: progress that comes meanwhile belongs to the next turn, and
 * must be in its batch, or a crash forgets it, and what it was of is never processed. References that it gave to new
 * lists are given to no others. */
static void progress_waits_for_a_held_turn(void **state)
{
    struct fault f = {.call = FAULT_WRITE, .at = 1, .number = ENOSPC, .lasting = true};
    struct leat_error err = {0, ""};

    (void)state;
    for (uint64_t seed = 1; seed < 6; seed++) {
        struct way way = {seed, 2, 0, seed % 2 == 0, false};
        struct leat_test *t = open_way(&module, &way, NULL);
        struct module *m = leat_test_leat(t)->module[0];
        int64_t n = 0;

        append_lists(t, &n, 20);
        assert_int_equal(group_step(m->group[0], &err), 1);
        append_lists(t, &n, 20);
        fault_begin("/group-000/view/data.mdb", &f);
        assert_true(group_step(m->group[0], &err) >= 0);
        assert_true(group_stats(m->group[0])->waits_for_space);
        for (int i = 0; i < 10; i++) {
            assert_true(group_step(m->group[1], &err) >= 0);
            assert_int_equal(group_step(m->group[0], &err), 0);
        }
        fault_end();
        while (group_stats(m->group[0])->waits_for_space)
            assert_true(group_step(m->group[0], &err) >= 0);
        append_lists(t, &n, 20);
        if (seed % 2 == 0)
            must(leat_test_restart(t, &err));
        must(leat_test_run(t, &err));
        check_lists(t, n);
        must(leat_test_restart(t, &err));
        must(leat_test_run(t, &err));
        check_lists(t, n);
        leat_test_close(t);
    }
}

/* Checkpoints are taken again once there is space: the journal does not grow for ever. */
static void checkpoints_go_on(void **state)
{
    struct leat_error err = {0, ""};
    struct world w;

    (void)state;
    begin(&w);
    fault_begin(fulls[CHECKPOINTS].part, &fulls[CHECKPOINTS].fault);
    fill(&w, 2);
    double taken = figure(&w, "checkpoint_seconds");
    must(append(&w, LEAT_PROCESSED, &err));
    assert_true(figure(&w, "checkpoint_seconds") == taken);
    fault_end();
    int64_t end_ns = clock_real()->monotonic_ns(clock_real()) + PATIENCE_MS * INT64_C(1000000);
    while (figure(&w, "checkpoint_seconds") == taken || figure(&w, "waits_for_space") > 0) {
        must(append(&w, LEAT_PROCESSED, &err));
        assert_true(clock_real()->monotonic_ns(clock_real()) < end_ns);
    }
    end(&w);
}

/* ---- Failed syncs: final for writes, and nothing for reads ---- */

static const struct full broken[] = {
    {"/depots", {.call = FAULT_SYNC, .at = 1, .number = EIO}},
    {"/depots", {.call = FAULT_SYNC, .at = 2, .number = ENOSPC}}, /* whatever it says: a sync is not tried again */
    {"/depots", {.call = FAULT_WRITE, .at = 2, .number = EIO}},
    {"/journal", {.call = FAULT_SYNC, .at = 1, .number = EIO}},
    {"/journal", {.call = FAULT_SYNC, .at = 2, .number = EDQUOT}},
    {"/journal", {.call = FAULT_WRITE, .at = 1, .number = EIO}},
    {"/view/data.mdb", {.call = FAULT_SYNC, .at = 1, .number = ENOSPC}},
    {"/view/checkpoint", {.call = FAULT_SYNC, .at = 1, .number = EIO}},
};

static int append_until_refused(struct world *w, struct leat_error *err)
{
    int64_t end = clock_real()->monotonic_ns(clock_real()) + PATIENCE_MS * INT64_C(1000000);
    int rv = 0;

    while (rv == 0 && clock_real()->monotonic_ns(clock_real()) < end)
        rv = append(w, LEAT_PROCESSED, err);
    return rv;
}

static void a_failed_sync_is_final(void **state)
{
    struct leat_error err = {0, ""};
    struct world w;

    (void)state;
    for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
        begin(&w);
        fault_begin(broken[i].part, &broken[i].fault);
        assert_int_equal(append_until_refused(&w, &err), LEAT_EIO);
        assert_non_null(strstr(err.text, broken[i].part));
        fault_end(); /* the disk is whole again: that changes nothing */
        for (int j = 0; j < 3; j++) {
            assert_int_equal(append(&w, j == 1 ? LEAT_PROCESSED : LEAT_APPENDED, &err), LEAT_EIO);
            check(&w, false);
            assert_int_equal(leat_depot_read(w.depot, 0, 0, UINT32_MAX, ignore, NULL, NULL, &err), 0);
        }
        stop(&w);
        start(&w);
        must(append(&w, LEAT_PROCESSED, &err)); /* again what was refused */
        wait_for_all(&w);
        check(&w, true);
        end(&w);
    }
}

/* ---- Anything at any time ---- */

/* In order, or as a crash would, before or after the disk is repaired. */
static void end_life(struct world *w, uint64_t how)
{
    if (how % 2 == 0)
        fault_end();
    for (uint32_t i = 0; how / 2 % 2 == 0 && i < w->leat->modules; i++)
        atomic_store(&w->leat->module[i]->failed, LEAT_ECANCELED);
    stop(w);
    fault_end();
}

/* One append, until it is taken; between attempts the disk may be repaired, or the directory closed and opened. */
static void append_through(struct world *w, uint64_t *seed, uint32_t *restarts)
{
    for (int attempt = 0;; attempt++) {
        struct leat_error err = {0, ""};
        int rv = append(w, next_random(seed) % 3 == 0 ? LEAT_PROCESSED : LEAT_APPENDED, &err);

        if (rv == 0)
            return;
        assert_true(rv == LEAT_ENOSPACE || rv == LEAT_EIO || rv == LEAT_ETIMEOUT);
        if (rv == LEAT_EIO || attempt > 3 || next_random(seed) % 2 == 0)
            fault_end();
        if (rv == LEAT_EIO || next_random(seed) % 4 == 0) {
            end_life(w, next_random(seed));
            start(w);
            ++*restarts;
        }
    }
}

static void random_faults(void **state)
{
    static const char *const parts[] = {"/journal",          "/depots", "/view/data.mdb", "/view/checkpoint",
                                        "/copier/group-000", "/copier", "/reader",        "leat-space"};
    static const enum fault_call calls[] = {FAULT_WRITE, FAULT_ALLOCATE, FAULT_WRITE, FAULT_SYNC};
    const char *text = getenv("LEAT_SEED"), *lasting = getenv("LEAT_LONG");
    int rounds = lasting != NULL && strcmp(lasting, "1") == 0 ? 3000 : 60;
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : (uint64_t)clock_real()->wall_us(clock_real());
    uint32_t restarts = 0;
    struct world w;

    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    begin_with(&w, true);
    w.timeout_ms = 300;
    for (int round = 0; round < rounds; round++) {
        enum fault_call call = calls[next_random(&seed) % 4];
        struct fault f = {.call = call,
                          .at = 1 + (uint32_t)(next_random(&seed) % 6),
                          .lasting = next_random(&seed) % 2 == 0,
                          .number = call == FAULT_SYNC || next_random(&seed) % 8 == 0 ? EIO : ENOSPC};

        fault_begin(parts[next_random(&seed) % (sizeof(parts) / sizeof(*parts))], &f);
        for (int i = (int)(next_random(&seed) % 6); i >= 0; i--)
            append_through(&w, &seed, &restarts);
        fault_end();
        if (round % 10 != 9)
            continue;
        end_life(&w, next_random(&seed)); /* a module that stopped stays so until then */
        start(&w);
        append_through(&w, &seed, &restarts);
        wait_for_all(&w);
        check(&w, true);
    }
    assert_true(restarts > 0);
    end(&w);
}

/* ---- Marks ---- */

/* Below the mark clients are refused, and what was appended is processed; no session loses what was refused. */
static void appends_stop_at_the_mark(void **state)
{
    struct leat_error err = {0, ""};
    struct world w;

    (void)state;
    begin(&w);
    for (int i = 0; i < 5; i++)
        must(append(&w, LEAT_APPENDED, &err));
    w.leat->disk.full = UINT64_MAX;
    disk_look(&w.leat->disk);
    assert_int_equal(append(&w, LEAT_PROCESSED, &err), LEAT_ENOSPACE);
    assert_non_null(strstr(err.text, "disk_full"));
    wait_for_all(&w);
    check(&w, true);
    assert_true(figure(&w, "level") == DISK_FULL && figure(&w, "free_bytes") > 0);
    w.appended += BATCH;
    w.leat->disk.full = 1;
    w.leat->disk.low = 1;
    disk_look(&w.leat->disk);
    assert_true(figure(&w, "level") == DISK_FINE);
    assert_int_equal(append(&w, LEAT_PROCESSED, &err), LEAT_EAGAIN); /* behind the refused */
    w.appended -= BATCH;
    must(append(&w, LEAT_PROCESSED, &err));
    must(append(&w, LEAT_PROCESSED, &err));
    wait_for_all(&w);
    check(&w, true);
    end(&w);
}

static void marks_are_options(void **state)
{
    struct leat_config config = {.create = true, .disk_full = UINT64_MAX};
    struct leat_error err = {0, ""};
    struct world w;

    (void)state;
    begin(&w);
    stop(&w);
    must(leat_open(w.directory, &config, &w.leat, &err));
    must(leat_launch(w.leat, &module, NULL, &err));
    must(leat_depot_find(w.leat, module.name, "numbers", &w.depot, &err));
    assert_int_equal(append(&w, LEAT_APPENDED, &err), LEAT_ENOSPACE);
    check(&w, true);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_by_itself),
        cmocka_unit_test(closed_while_full),
        cmocka_unit_test(stops_when_it_cannot_go_on),
        cmocka_unit_test(progress_waits_for_a_held_turn),
        cmocka_unit_test(checkpoints_go_on),
        cmocka_unit_test(a_failed_sync_is_final),
        cmocka_unit_test(random_faults),
        cmocka_unit_test(appends_stop_at_the_mark),
        cmocka_unit_test(marks_are_options),
    };

    log_level_set(LOG_ERROR + 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
