/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "modules/modules.h"
#include "tests/lib/gate.h"

/* The recall of live queries: samples are of the snapshots that the answer is of, hold nobody up, and have for ivf the
 * recall that brute force has. */

enum { SET, GROUPS = 2, PATIENCE_S = 60 };

/* ---- A module whose truth waits at a gate ---- */

static struct gate gate = GATE_OPEN;
static _Atomic bool fails;
static _Atomic uint32_t truth_rows;

static int keep(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_put(t, SET, LEAT_KEYS(leat_at(in, i, 0)), LEAT_ROW());
    return 0;
}

static int own(struct leat_task *t, const struct leat_batch *in)
{
    struct leat_value key;
    struct leat_scan *scan;

    (void)in;
    if (leat_scan_open(t, SET, LEAT_KEYS(), NULL, &scan) != 0)
        return leat_task_error(t);
    while (leat_scan_next(scan, &key, NULL, 0) == 0)
        leat_emit(t, 0, LEAT_ROW(key));
    leat_scan_close(scan);
    return leat_task_error(t);
}

static int wait_at_gate(struct leat_task *t, const struct leat_batch *in)
{
    gate_pass(&gate);
    if (fails)
        return leat_task_fail(t, LEAT_EINVAL, "no truth");
    leat_emit(t, 0, LEAT_ROW(leat_at(in, 0, 0)));
    return 0;
}

static double share(const struct leat_batch *answer, const struct leat_batch *truth)
{
    truth_rows = truth->rows;
    return (double)answer->rows / truth->rows;
}

static const struct leat_module waits = {
    LEAT_ABI, .name = "waits",
    .depots = DEPOTS({"rows", "n: i64", .by = "n"}),
    .pstates = PSTATES([SET] = {"set", "set<i64>"}),
    .topologies = TOPOLOGIES(
        {"store", LEAT_STREAM, NODES({"keep", .from = "rows", .run = keep})},
        {"some", LEAT_QUERY, .takes = "n: i64", NODES(
            {"scan", .from = "request", .route = LEAT_GLOBAL, .run = own, .emits = "n: i64"},
            {"list", .from = "scan", .route = LEAT_TO_ORIGIN, .fold = &leat_list, .into = "reply"}),
         .yardstick = "all", .recall = share},
        {"all", LEAT_QUERY, .takes = "n: i64", NODES(
            {"gate", .from = "request", .route = LEAT_GLOBAL, .run = wait_at_gate, .emits = "n: i64"},
            {"scan", .from = "gate", .route = LEAT_ALL, .run = own, .emits = "n: i64"},
            {"list", .from = "scan", .route = LEAT_TO_ORIGIN, .fold = &leat_list, .into = "reply"})}),
};

/* ---- Figures ---- */

struct figures {
    const char *object;
    uint32_t seen;
    double samples, skipped, failed, recall, least, last, mean;
};

static void take_figure(void *context, const struct leat_stat *s)
{
    struct figures *f = context;
    const struct {
        const char *name;
        double *to;
    } wanted[] = {
        {"recall_samples_total", &f->samples}, {"recall_skipped_total", &f->skipped},
        {"recall_failed_total", &f->failed}, {"recall", &f->recall}, {"recall_least", &f->least},
        {"recall_last", &f->last}, {"recall_mean", &f->mean},
    };

    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
        if (strcmp(s->name, wanted[i].name) == 0) {
            assert_string_equal(s->object, f->object);
            *wanted[i].to = s->value;
            f->seen++;
        }
}

static struct figures figures(struct leat *l, const char *object)
{
    struct figures f = {.object = object, .recall = NAN, .least = NAN, .last = NAN, .mean = NAN};

    leat_stats(l, take_figure, &f);
    return f;
}

/* Until so many were measured, or failed. */
static struct figures settled(struct leat *l, const char *object, double samples)
{
    struct figures f = figures(l, object);

    for (time_t end = time(NULL) + PATIENCE_S; f.samples + f.failed < samples; f = figures(l, object)) {
        assert_true(time(NULL) < end);
        sched_yield();
    }
    return f;
}

/* ---- Any module ---- */

static struct leat *open_waits(uint32_t gauge)
{
    struct leat_config config = {.memory = true};
    struct leat_error err = {0, ""};
    struct leat *l;

    gate_reset(&gate);
    fails = false;
    must(leat_open(NULL, &config, &l, &err));
    must(leat_launch(l, &waits, &(struct leat_launch){.tasks = GROUPS, .groups = GROUPS, .gauge = gauge}, &err));
    return l;
}

static void append(struct leat *l, int64_t from, int64_t end)
{
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;

    must(leat_depot_find(l, "waits", "rows", &d, &err));
    must(leat_rows_new(d, &rows));
    for (int64_t n = from; n < end; n++)
        must(leat_rows_add(rows, LEAT_ROW(leat_i64(n)), &err));
    must(leat_append(d, rows, &(struct leat_append){.ack = LEAT_PROCESSED}, NULL, &err));
    leat_rows_free(rows);
}

static uint32_t ask(struct leat *l)
{
    struct leat_error err = {0, ""};
    struct leat_result *r;

    must(leat_query(l, "waits", "some", LEAT_ROW(leat_i64(7)), NULL, &r, &err));
    uint32_t rows = leat_result_rows(r)->rows;
    leat_result_free(r);
    return rows;
}

/* The truth is looked for when rows have come that the answer could not have; of both groups, though the answer saw
 * only one. */
static void of_the_same_snapshots(void **unused)
{
    struct leat *l = open_waits(1);

    (void)unused;
    append(l, 0, 100);
    gate_close(&gate);
    uint32_t rows = ask(l);
    assert_true(rows > 0 && rows < 100);
    assert_true(gate_wait(&gate, 1));
    append(l, 100, 300);
    gate_open(&gate);
    struct figures f = settled(l, "query some", 1);
    assert_int_equal(truth_rows, 100);
    assert_true(fabs(f.last - rows / 100.0) < 1e-6 && fabs(f.mean - rows / 100.0) < 1e-6);
    ask(l);
    settled(l, "query some", 2);
    assert_int_equal(truth_rows, 300);
    leat_close(l);
}

static void nobody_waits(void **unused)
{
    struct leat *l = open_waits(2);

    (void)unused;
    append(l, 0, 10);
    gate_close(&gate);
    for (int i = 0; i < 10; i++) {
        ask(l);
        if (i == 1)
            assert_true(gate_wait(&gate, 1));
    }
    struct figures f = figures(l, "query some");
    assert_true(f.samples == 0 && f.skipped == 4 && f.seen == 3); /* of five that were picked the first is under way */
    gate_open(&gate);
    f = settled(l, "query some", 1);
    assert_true(f.skipped == 4 && f.seen == 7);
    assert_int_equal(gate.entered, 1);
    leat_close(l);
}

static void a_truth_that_fails_is_no_sample(void **unused)
{
    struct leat *l = open_waits(1);

    (void)unused;
    append(l, 0, 10);
    fails = true;
    ask(l);
    struct figures f = settled(l, "query some", 1);
    assert_true(f.samples == 0 && f.failed == 1 && isnan(f.recall));
    fails = false;
    ask(l);
    f = settled(l, "query some", 2);
    assert_true(f.samples == 1 && f.failed == 1);
    leat_close(l);
}

static void off_unless_wanted(void **unused)
{
    struct leat_config config = {.memory = true};
    struct leat_error err = {0, ""};
    struct leat *l = open_waits(0);

    (void)unused;
    append(l, 0, 10);
    for (int i = 0; i < 20; i++)
        ask(l);
    assert_int_equal(figures(l, "query some").seen, 0);
    leat_close(l);
    assert_int_equal(gate.entered, 0);
    must(leat_open(NULL, &config, &l, &err));
    assert_int_equal(leat_launch(l, &module_word_count, &(struct leat_launch){.gauge = 1}, &err), LEAT_EINVAL);
    assert_non_null(strstr(err.text, "none has a yardstick"));
    leat_close(l);
}

static void *ask_many(void *context)
{
    for (int i = 0; i < 500; i++)
        ask(context);
    return NULL;
}

/* Closing while samples come from several threads. */
static void closes_at_any_time(void **unused)
{
    (void)unused;
    for (int round = 0; round < 5; round++) {
        struct leat *l = open_waits(3);
        pthread_t thread[3];

        append(l, 0, 50);
        for (int i = 0; i < 3; i++)
            assert_int_equal(pthread_create(&thread[i], NULL, ask_many, l), 0);
        for (int i = 0; i < 3; i++)
            pthread_join(thread[i], NULL);
        struct figures f = figures(l, "query some");
        assert_true(f.samples + f.skipped <= 500 && f.samples + f.skipped >= 499);
        leat_close(l);
    }
}

/* ---- ivf ---- */

enum { DIMS = 16, ROWS = 1500, K = 10, QUERIES = 50, COLUMNS = 9 };

static float row_of[ROWS][DIMS];

static void make_vector(uint64_t *seed, float *out)
{
    for (int i = 0; i < DIMS; i++)
        out[i] = (float)(next_random(seed) % 100000) / 1000.0F;
}

static struct leat *open_ivf(void)
{
    static const struct leat_option options[] = {{"dims", "16"},   {"metric", "l2"},  {"ids", "u64"},
                                                 {"target", "32"}, {"split", "64"},   {"merge", "8"},
                                                 {"nprobe", "1"},  {"epsilon", "10"}, {NULL, NULL}};
    struct leat_config config = {.memory = true};
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;
    struct leat *l;
    uint64_t seed = 3;

    must(leat_open(NULL, &config, &l, &err));
    must(leat_launch(l, &module_ivf, &(struct leat_launch){.groups = GROUPS, .options = options, .gauge = 1}, &err));
    must(leat_depot_find(l, "ivf", "vectors", &d, &err));
    must(leat_rows_new(d, &rows));
    for (uint64_t i = 0; i < ROWS; i++) {
        make_vector(&seed, row_of[i]);
        must(leat_rows_add(rows, LEAT_ROW(leat_u64(i), leat_vector(LEAT_F32_VECTOR, row_of[i], DIMS), leat_null()),
                           &err));
    }
    must(leat_append(d, rows, NULL, NULL, &err));
    leat_rows_free(rows);
    must(leat_wait_idle(l, 120000, &err));
    return l;
}

/* How many rows are nearer than this one. */
static uint32_t nearer(const float *query, uint64_t id)
{
    double own = 0;
    uint32_t count = 0;

    for (int i = 0; i < DIMS; i++)
        own += pow((double)query[i] - (double)row_of[id][i], 2);
    for (uint32_t r = 0; r < ROWS; r++) {
        double d = 0;

        for (int i = 0; i < DIMS; i++)
            d += pow((double)query[i] - (double)row_of[r][i], 2);
        count += d < own;
    }
    return count;
}

/* The recall by brute force. probes 0: as the option says. */
static double search(struct leat *l, const float *query, uint32_t probes)
{
    struct leat_value value[COLUMNS];
    struct leat_error err = {0, ""};
    struct leat_result *r;
    uint32_t found = 0;

    for (int i = 0; i < COLUMNS; i++)
        value[i] = leat_null();
    value[0] = leat_vector(LEAT_F32_VECTOR, query, DIMS);
    value[1] = leat_u32(K);
    value[2] = probes > 0 ? leat_u32(probes) : leat_null();
    must(leat_query(l, "ivf", "search", (struct leat_row){value, COLUMNS}, NULL, &r, &err));
    const struct leat_batch *rows = leat_result_rows(r);
    for (uint32_t i = 0; i < rows->rows; i++)
        found += nearer(query, leat_at(rows, i, 0).as.u) < K;
    leat_result_free(r);
    return (double)found / K;
}

static void as_by_brute_force(void **unused)
{
    struct leat *l = open_ivf();
    float query[DIMS];
    uint64_t seed = 99;
    double sum = 0, least = 1;
    int samples = 0;

    (void)unused;
    for (; samples < QUERIES; samples++) {
        make_vector(&seed, query);
        double recall = search(l, query, 0);
        struct figures f = settled(l, "query search", samples + 1);

        sum += recall;
        least = recall < least ? recall : least;
        assert_true(fabs(f.last - recall) < 1e-6);
        assert_true(fabs(f.mean - sum / (samples + 1)) < 1e-6 && fabs(f.recall - f.mean) < 1e-6 &&
                    fabs(f.least - least) < 1e-6);
        assert_true(f.skipped == 0 && f.failed == 0);
    }
    assert_true(sum / samples < 0.6 && sum > 0); /* one posting of a hundred */
    for (int i = 0; i < 20; i++) {
        make_vector(&seed, query);
        assert_true(search(l, query, 65536) == 1);
        assert_true(settled(l, "query search", ++samples).last == 1);
    }
    leat_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_the_same_snapshots), cmocka_unit_test(nobody_waits),
        cmocka_unit_test(a_truth_that_fails_is_no_sample), cmocka_unit_test(off_unless_wanted),
        cmocka_unit_test(closes_at_any_time), cmocka_unit_test(as_by_brute_force),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
