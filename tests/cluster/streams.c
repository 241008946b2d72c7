/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

/* Stream topologies: every route, branches, merges, a loop over two nodes, a depot in between, folds behind all of it.
 * Each node counts the rows it sees at its task; the counts are those of a model, however turns are
 * cut, rows travel, and groups crash. */

enum { SEEN, SUMS, SPANS };
enum { TASKS = 8, ROWS = 60, ROUNDS = 12 };

#define PLACES(X)                                                                                                      \
    X(start) X(direct) X(local) X(key) X(all) X(global) X(scatter) X(twos) X(threes) X(merged) X(ping) X(pong) X(after)
#define PLACE_NUMBER(name) AT_##name,
enum place { PLACES(PLACE_NUMBER) PLACE_COUNT };

/* ---- The nodes ---- */

static void see(struct leat_task *t, enum place at, struct leat_value n)
{
    struct leat_value place = leat_u32(at), count = leat_i64(0);

    leat_get(t, SEEN, LEAT_KEYS(place, n), &count, 1);
    leat_put(t, SEEN, LEAT_KEYS(place, n), LEAT_ROW(leat_i64(count.as.i + 1)));
}

static int see_all(struct leat_task *t, const struct leat_batch *in, enum place at)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        see(t, at, leat_at(in, i, 1));
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0), leat_at(in, i, 1)));
    }
    return 0;
}

static int start(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value n = leat_at(in, i, 0);

        see(t, AT_start, n);
        leat_emit(t, i, LEAT_ROW(leat_u32((uint32_t)n.as.i * 5 % TASKS), n));
    }
    return 0;
}

#define SEES(name)                                                                                  \
    static int name(struct leat_task *t, const struct leat_batch *in)                               \
    {                                                                                               \
        return see_all(t, in, AT_##name);                                                           \
    }
SEES(direct)
SEES(local)
SEES(key)
SEES(all)
SEES(global)
SEES(scatter)
SEES(merged)
SEES(after)

static int every(struct leat_task *t, const struct leat_batch *in, enum place at, int64_t by)
{
    for (uint32_t i = 0; i < in->rows; i++)
        if (leat_at(in, i, 1).as.i % by == 0) {
            see(t, at, leat_at(in, i, 1));
            leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0), leat_at(in, i, 1)));
        }
    return 0;
}

static int twos(struct leat_task *t, const struct leat_batch *in)
{
    return every(t, in, AT_twos, 2);
}

static int threes(struct leat_task *t, const struct leat_batch *in)
{
    return every(t, in, AT_threes, 3);
}

/* Halves n, twice while it is odd, until nothing is left. */
static int ping(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        uint32_t to = (uint32_t)leat_at(in, i, 0).as.u;
        int64_t n = leat_at(in, i, 1).as.i;

        see(t, AT_ping, leat_i64(n));
        for (int64_t k = 0; k < 1 + n % 2 && n > 0; k++)
            leat_emit(t, i, LEAT_ROW(leat_u32((to + (uint32_t)n) % TASKS), leat_i64(n / 2)));
    }
    return 0;
}

static int pong(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        see(t, AT_pong, leat_at(in, i, 1));
        leat_emit(t, i, LEAT_ROW(leat_u32(((uint32_t)leat_at(in, i, 0).as.u + 1) % TASKS), leat_at(in, i, 1)));
    }
    return 0;
}

static int sums(struct leat_task *t, const struct leat_batch *in)
{
    struct leat_value key, v;
    struct leat_scan *scan;

    if (in->rows == 0 || leat_scan_open(t, SUMS, LEAT_KEYS(), NULL, &scan) != 0)
        return leat_task_error(t);
    while (leat_scan_next(scan, &key, &v, 1) == 0)
        leat_emit(t, 0, LEAT_ROW(leat_bool(key.as.u % 2 != 0), v));
    leat_scan_close(scan);
    return leat_task_error(t);
}

/* ---- A fold of the module's own: the least and the most of a column, moved by an argument ---- */

struct span_of {
    int column;
    int64_t moved;
};

struct span {
    int64_t least, most;
};

static int span_prepare(struct leat_fold_use *use, size_t *state_size, char *schema, size_t size,
                        struct leat_error *err)
{
    const char *of = leat_fold_argument(use, "of"), *moved = leat_fold_argument(use, "moved");
    struct span_of *args = leat_fold_memory(use);

    args->column = of != NULL ? leat_fold_column(use, of) : -1;
    args->moved = moved != NULL ? atoll(moved) : 0;
    *state_size = sizeof(struct span);
    snprintf(schema, size, "least: i64, most: i64");
    return args->column >= 0 ? 0 : leat_fail(err, LEAT_EMODULE, "of=%s is no column", of != NULL ? of : "");
}

static void span_init(const struct leat_fold_use *use, void *state)
{
    (void)use;
    *(struct span *)state = (struct span){INT64_MAX, INT64_MIN};
}

static int span_merge(const struct leat_fold_use *use, void *state, const void *other)
{
    const struct span *b = other;
    struct span *a = state;

    (void)use;
    a->least = b->least < a->least ? b->least : a->least;
    a->most = b->most > a->most ? b->most : a->most;
    return 0;
}

static int span_step(const struct leat_fold_use *use, void *state, const struct leat_batch *in, uint32_t first,
                     uint32_t end)
{
    const struct span_of *args = leat_fold_memory(use);

    for (uint32_t i = first; i < end; i++) {
        int64_t n = leat_at(in, i, (uint32_t)args->column).as.i + args->moved;

        span_merge(use, state, &(struct span){n, n});
    }
    return 0;
}

static void span_save(const struct leat_fold_use *use, const void *state, struct leat_sink *out)
{
    (void)use;
    leat_sink_put(out, state, sizeof(struct span));
}

static int span_load(const struct leat_fold_use *use, void *state, struct leat_span bytes)
{
    (void)use;
    if (bytes.size != sizeof(struct span))
        return LEAT_ECORRUPT;
    memcpy(state, bytes.base, bytes.size);
    return 0;
}

static int span_finish(const struct leat_fold_use *use, const void *state, struct leat_task *t)
{
    const struct span *s = state;

    (void)use;
    leat_fold_emit(t, LEAT_ROW(leat_i64(s->least), leat_i64(s->most)));
    return 0;
}

static const struct leat_fold span_fold = {"span",     LEAT_KEEP_VALUE, span_prepare, span_init,  span_step,
                                           span_merge, span_save,       span_load,    span_finish};

#define ROW "to: u32, n: i64"
#define NODE(name_, from_, route_) {#name_, .from = from_, .route = route_, .run = name_, .emits = ROW}

static const struct leat_module module = {
    LEAT_ABI, .name = "streams",
    .depots = DEPOTS({"rows", "n: i64", .by = "n"}, {"later", ROW, .partitioner = LEAT_NO_CLIENT}),
    .pstates = PSTATES([SEEN] = {"seen", "map<u32, map<i64, i64>>"}, [SUMS] = {"sums", "map<u32, i64>"},
                       [SPANS] = {"spans", "map<u32, struct{least: i64, most: i64}>"}),
    .topologies = TOPOLOGIES({"sums", LEAT_QUERY, NODES(
        {"sums", .from = "request", .route = LEAT_ALL, .run = sums, .emits = "odd: bool, sum: i64"},
        {"halves", .from = "sums", .route = LEAT_BY_KEY, .fold = &span_fold, .args = "of=sum moved=-1"},
        {"whole", .from = "halves", .route = LEAT_TO_ORIGIN, .fold = &span_fold, .args = "of=most", .into = "reply"})},
        {"flow", LEAT_STREAM, NODES(
        NODE(start, "rows", LEAT_LOCAL), NODE(direct, "start", LEAT_DIRECT), NODE(local, "direct", LEAT_LOCAL),
        NODE(key, "start", LEAT_BY_KEY), NODE(all, "start", LEAT_ALL), NODE(global, "direct", LEAT_GLOBAL),
        NODE(scatter, "start", LEAT_TO_RANDOM), NODE(twos, "start", LEAT_LOCAL), NODE(threes, "key", LEAT_GLOBAL),
        NODE(merged, "twos, threes, scatter", LEAT_BY_KEY), NODE(ping, "start, pong", LEAT_BY_KEY),
        NODE(pong, "ping", LEAT_DIRECT), {"append", .from = "merged, local", .route = LEAT_TO_RANDOM, .into = "later"},
        NODE(after, "later", LEAT_BY_KEY),
        {"sum", .from = "after, pong, all, global", .route = LEAT_BY_KEY, .fold = &leat_sum, .args = "of=n",
         .into = "sums"},
        {"span", .from = "pong, after, merged", .route = LEAT_BY_KEY, .fold = &span_fold, .args = "moved=1000 of=n",
         .into = "spans"})})};

/* ---- The model ---- */

struct model {
    int64_t seen[PLACE_COUNT][TASKS][ROWS];
    int64_t sum[TASKS]; /* by `to` */
    struct span span[TASKS];
};

static uint32_t task_of(uint32_t to)
{
    struct leat_value v = leat_u32(to);

    return leat_task_of(TASKS, &v);
}

static void model_span(struct model *m, uint32_t to, int64_t n)
{
    span_merge(NULL, &m->span[to], &(struct span){n + 1000, n + 1000});
}

static void model_loop(struct model *m, uint32_t to, int64_t n)
{
    m->seen[AT_ping][task_of(to)][n]++;
    for (int64_t k = 0; k < 1 + n % 2 && n > 0; k++) {
        uint32_t at = (to + (uint32_t)n) % TASKS;

        m->seen[AT_pong][at][n / 2]++;
        m->sum[(at + 1) % TASKS] += n / 2;
        model_span(m, (at + 1) % TASKS, n / 2);
        model_loop(m, (at + 1) % TASKS, n / 2);
    }
}

static void model_row(struct model *m, int64_t n)
{
    struct leat_value key = leat_i64(n);
    uint32_t to = (uint32_t)n * 5 % TASKS, from = leat_task_of(TASKS, &key);
    int64_t merged = 1 + (n % 2 == 0) + (n % 3 == 0);

    m->seen[AT_start][from][n]++;
    m->seen[AT_direct][to][n]++;
    m->seen[AT_local][to][n]++;
    m->seen[AT_key][task_of(to)][n]++;
    for (uint32_t task = 0; task < TASKS; task++)
        m->seen[AT_all][task][n]++;
    m->seen[AT_global][0][n]++;
    m->seen[AT_scatter][0][n]++; /* anywhere: sums over tasks are compared */
    m->seen[AT_twos][from][n] += n % 2 == 0;
    m->seen[AT_threes][0][n] += n % 3 == 0;
    m->seen[AT_merged][task_of(to)][n] += merged;
    m->seen[AT_after][task_of(to)][n] += merged + 1;
    m->sum[to] += n * (merged + 1 + TASKS + 1);
    model_span(m, to, n);
    model_loop(m, to, n);
}

static void check_place(struct leat_task *t, const struct model *m, enum place at, int64_t *elsewhere)
{
    for (int64_t n = 0; n < ROWS; n++) {
        int64_t wanted = m->seen[at][leat_task_number(t)][n];
        struct leat_value v = leat_i64(0);

        leat_get(t, SEEN, LEAT_KEYS(leat_u32(at), leat_i64(n)), &v, 1);
        if (at == AT_scatter)
            elsewhere[n] += v.as.i;
        else if (v.as.i != wanted)
            fail_msg("place %d, task %u, n %lld: seen %lld times, not %lld", (int)at, leat_task_number(t), (long long)n,
                     (long long)v.as.i, (long long)wanted);
    }
}

static void check_spans(struct leat_test *t, struct leat_view *view, const struct model *m)
{
    int64_t most[2] = {INT64_MIN, INT64_MIN};
    struct leat_error err = {0, ""};
    struct leat_result *r;

    for (uint32_t to = 0; to < TASKS; to++) {
        struct leat_value key = leat_u32(to), v[2];
        int rv = leat_get(leat_view_owner(view, &key), SPANS, LEAT_KEYS(key), v, 2);

        assert_int_equal(rv, m->span[to].least == INT64_MAX ? LEAT_ENOTFOUND : 0);
        if (rv != 0)
            continue;
        assert_int_equal(v[0].as.i, m->span[to].least);
        assert_int_equal(v[1].as.i, m->span[to].most);
        most[to % 2] = m->sum[to] - 1 > most[to % 2] ? m->sum[to] - 1 : most[to % 2];
    }
    must(leat_query(leat_test_leat(t), "streams", "sums", LEAT_ROW(), NULL, &r, &err));
    assert_int_equal(leat_at(leat_result_rows(r), 0, 0).as.i, most[0] < most[1] ? most[0] : most[1]);
    assert_int_equal(leat_at(leat_result_rows(r), 0, 1).as.i, most[0] > most[1] ? most[0] : most[1]);
    leat_result_free(r);
}

static void check(struct leat_test *t, const struct model *m)
{
    struct leat_error err = {0, ""};
    int64_t anywhere[ROWS] = {0};
    struct leat_view *view;

    must(leat_view_open(leat_test_leat(t), "streams", &view, &err));
    for (uint32_t task = 0; task < TASKS; task++)
        for (int at = 0; at < PLACE_COUNT; at++)
            check_place(leat_view_task(view, task), m, (enum place)at, anywhere);
    check_spans(t, view, m);
    leat_view_close(view);
    for (int64_t n = 0; n < ROWS; n++)
        assert_int_equal(anywhere[n], m->seen[AT_scatter][0][n]);
    for (uint32_t to = 0; to < TASKS; to++)
        assert_int_equal(value_of(t, "streams", "sums", leat_u32(to), 0), m->sum[to]);
}

/* ---- The tests ---- */

/* Rows in random order with steps in between; each a second time with its session and
 * sequence, as after a lost answer. */
static void run_rows(struct leat_test *t, uint64_t seed, struct model *m, const char *point)
{
    struct leat_error err = {0, ""};
    int rv;

    for (uint64_t i = 1; i <= ROWS; i++) {
        int64_t n = (int64_t)(next_random(&seed) % ROWS);

        model_row(m, n);
        for (int again = 0; again < 1 + (i % 7 == 0); again++)
            must(leat_test_append_once(t, "rows", LEAT_ROW(leat_i64(n)), 9, i, &err));
        if (point != NULL && i % 20 == 0)
            leat_test_crash_at(t, point, 1 + (uint32_t)(next_random(&seed) % 9));
        if (next_random(&seed) % 4 == 0 && leat_test_step(t, &err) == LEAT_ECANCELED)
            come_back(t, next_random(&seed), &err);
    }
    while ((rv = leat_test_run(t, &err)) == LEAT_ECANCELED)
        come_back(t, next_random(&seed), &err);
    must(rv);
}

static void one_way(const struct way *w, const char *point)
{
    struct leat_test *t = open_way(&module, w, NULL);
    struct model m = {.sum = {0}};

    for (uint32_t to = 0; to < TASKS; to++)
        span_init(NULL, &m.span[to]);
    print_message("seed %llu, groups %u, cut %u, hops %d, %s\n", (unsigned long long)w->seed, w->groups, w->cut_rows,
                  w->force_hops, point != NULL ? point : "no crash");
    run_rows(t, w->seed, &m, point);
    check(t, &m);
    leat_test_close(t);
}

static void every_way(void **state)
{
    (void)state;
    for (int w = 0; w < WAYS; w++)
        one_way(&ways[w], NULL);
}

static void random_ways(void **state)
{
    uint64_t seed = 20;

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct way w = {.seed = next_random(&seed), .groups = 1U << next_random(&seed) % 4,
                        .cut_rows = (uint32_t)(next_random(&seed) % 12),
                        .force_hops = next_random(&seed) % 2 == 0, .memory = true};

        one_way(&w, NULL);
    }
}

static void through_crashes(void **state)
{
    uint64_t seed = 5;

    (void)state;
    for (const char *const *point = leat_test_points(); *point != NULL; point++) {
        struct way w = {.seed = next_random(&seed), .groups = 4, .cut_rows = 10 + (uint32_t)(next_random(&seed) % 30),
                        .force_hops = next_random(&seed) % 2 == 0};

        one_way(&w, *point);
    }
}

/* ---- Rejected at one place, taken at the others ---- */

enum { PICKY_TASK = 3 };

static int picky(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        if (leat_task_number(t) == PICKY_TASK && leat_at(in, i, 1).as.i % 5 == 0) {
            leat_reject(t, i, "no %lld here", (long long)leat_at(in, i, 1).as.i);
        } else {
            see(t, AT_all, leat_at(in, i, 1));
            leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0), leat_at(in, i, 1)));
        }
    return 0;
}

static const struct leat_module picking = {
    LEAT_ABI, .name = "streams", .depots = DEPOTS({"rows", "n: i64", .by = "n"}),
    .pstates = PSTATES([SEEN] = {"seen", "map<u32, map<i64, i64>>"}, [SUMS] = {"sums", "map<u32, i64>"}),
    .topologies = TOPOLOGIES({"flow", LEAT_STREAM, NODES(
        NODE(start, "rows", LEAT_LOCAL), {"picky", .from = "start", .route = LEAT_ALL, .run = picky, .emits = ROW},
        {"count", .from = "picky", .route = LEAT_BY_KEY, .fold = &leat_count, .into = "sums"})})};

static int count_letter(void *context, const struct leat_record *record, const struct leat_batch *row)
{
    struct leat_span node = leat_at(row, 0, 1).as.bytes, reason = leat_at(row, 0, 3).as.bytes;
    int *letters = context;
    char text[32];

    (void)record;
    assert_true(node.size == 5 && memcmp(node.base, "picky", 5) == 0);
    assert_int_equal(leat_at(row, 0, 2).as.u, PICKY_TASK);
    snprintf(text, sizeof(text), "%.*s", (int)reason.size, (const char *)reason.base);
    letters[atoi(text + 3)]++;
    return 0;
}

static void rejected_at_one_place(void **state)
{
    (void)state;
    for (int w = 0; w < WAYS; w++) {
        struct leat_test *t = open_way(&picking, &ways[w], NULL);
        int letters[ROWS] = {0};
        struct leat_error err = {0, ""};
        struct leat_view *view;
        struct leat_depot *d;
        int64_t total = 0;

        for (int64_t n = 0; n < ROWS; n++)
            must(leat_test_append(t, "rows", LEAT_ROW(leat_i64(n)), &err));
        must(leat_test_run(t, &err));
        must(leat_depot_find(leat_test_leat(t), "streams", "dead_letters", &d, &err));
        for (uint32_t p = 0; p < leat_depot_partitions(d); p++)
            must(leat_depot_read(d, p, 0, 1000, count_letter, letters, NULL, &err));
        must(leat_view_open(leat_test_leat(t), "streams", &view, &err));
        for (int64_t n = 0; n < ROWS; n++) {
            assert_int_equal(letters[n], n % 5 == 0);
            for (uint32_t task = 0; task < TASKS; task++) {
                int rv = leat_get(leat_view_task(view, task), SEEN, LEAT_KEYS(leat_u32(AT_all), leat_i64(n)), NULL, 0);

                assert_int_equal(rv, task == PICKY_TASK && n % 5 == 0 ? LEAT_ENOTFOUND : 0);
            }
        }
        leat_view_close(view);
        for (uint32_t to = 0; to < TASKS; to++)
            total += value_of(t, "streams", "sums", leat_u32(to), 0);
        assert_int_equal(total, ROWS * TASKS - ROWS / 5);
        leat_test_close(t);
    }
}

/* ---- What was appended record by record waits ---- */

static uint32_t most_together;

static int gather_rows(struct leat_task *t, const struct leat_batch *in)
{
    most_together = in->rows > most_together ? in->rows : most_together;
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_u32(0), leat_at(in, i, 0)));
    return 0;
}

static const struct leat_module gathering = {
    LEAT_ABI, .name = "streams", .depots = DEPOTS({"rows", "n: i64", .by = "n"}),
    .pstates = PSTATES([SEEN] = {"seen", "map<u32, map<i64, i64>>"}, [SUMS] = {"sums", "map<u32, i64>"}),
    .topologies = TOPOLOGIES({"flow", LEAT_STREAM, NODES(
        {"gather", .from = "rows", .run = gather_rows, .emits = ROW},
        {"count", .from = "gather", .route = LEAT_BY_KEY, .fold = &leat_count, .into = "sums"})})};

/* A turn costs a sync, however little it takes: who fell behind catches up by turns that take much. */
static void a_turn_takes_many_appends(void **state)
{
    enum { APPENDS = 60 };
    const struct way segments = {.seed = 1, .groups = 1};

    (void)state;
    struct leat_test *t = open_way(&gathering, &segments, NULL);
    struct leat_error err = {0, ""};

    most_together = 0;
    for (int i = 0; i < APPENDS; i++)
        must(leat_test_append(t, "rows", LEAT_ROW(leat_i64(7)), &err));
    must(leat_test_run(t, &err));
    assert_int_equal(most_together, APPENDS);
    assert_int_equal(value_of(t, "streams", "sums", leat_u32(0), 0), APPENDS);
    leat_test_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_turn_takes_many_appends),
        cmocka_unit_test(rejected_at_one_place),
        cmocka_unit_test(every_way),
        cmocka_unit_test(random_ways),
        cmocka_unit_test(through_crashes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
