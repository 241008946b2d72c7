/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

/* Every fold into a PState and in a query, every route, branches, merges and loops, against plain sums. */

enum { COUNTS, SUMS, LEAST, MOST, MEANS, LASTS, FIRSTS, SETS, LISTS, MAPS, TOPS, STEPS, VISITS, COPIES };

static int visit(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value n = leat_i64(0);

        leat_get(t, VISITS, LEAT_KEYS(leat_u32(0)), &n, 1);
        leat_put(t, VISITS, LEAT_KEYS(leat_u32(0)), LEAT_ROW(leat_i64(n.as.i + 1)));
    }
    return 0;
}

/* Collatz: a loop that goes on until 1. */
static int collatz(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        int64_t start = leat_at(in, i, 0).as.i, n = leat_at(in, i, 1).as.i, steps = leat_at(in, i, 2).as.i;

        if (n == 1)
            leat_put(t, STEPS, LEAT_KEYS(leat_i64(start)), LEAT_ROW(leat_i64(steps)));
        else
            leat_emit(t, i, LEAT_ROW(leat_i64(start), leat_i64(n % 2 ? 3 * n + 1 : n / 2), leat_i64(steps + 1)));
    }
    return 0;
}

static int begin(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 1), leat_at(in, i, 1), leat_i64(0)));
    return 0;
}

static int pass(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0), leat_at(in, i, 1), leat_at(in, i, 2)));
    return 0;
}

static int copy(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_put(t, COPIES, LEAT_KEYS(leat_at(in, i, 0), leat_at(in, i, 1)), LEAT_ROW(leat_at(in, i, 2)));
    return 0;
}

static int everything(struct leat_task *t, const struct leat_batch *in)
{
    struct leat_value key, value;
    struct leat_scan *scan;

    (void)in;
    leat_scan_open(t, SUMS, LEAT_KEYS(), NULL, &scan);
    while (leat_scan_next(scan, &key, &value, 1) == 0)
        leat_emit(t, 0, LEAT_ROW(leat_bool(value.as.i % 2 != 0), value));
    return leat_task_error(t);
}

#define ROW "key: str, number: i64, name: str"
#define FOLD(node, fold_, pstate, ...)                                                                                 \
    {node, .from = "pass", .route = LEAT_BY_KEY, .fold = fold_, .into = pstate, __VA_ARGS__}

static const struct leat_module all_folds = {
    LEAT_ABI, .name = "folds",
    .depots = DEPOTS({"rows", ROW, .by = "key"}, {"copies", ROW, .partitioner = LEAT_NO_CLIENT}),
    .pstates = PSTATES([COUNTS] = {"counts", "map<str, i64>"}, [SUMS] = {"sums", "map<str, i64>"},
                       [LEAST] = {"least", "map<str, i64>"}, [MOST] = {"most", "map<str, str>"},
                       [MEANS] = {"means", "map<str, struct{sum: f64, count: i64}>"},
                       [LASTS] = {"lasts", "map<str, struct{number: i64, name: str}>"},
                       [FIRSTS] = {"firsts", "map<str, struct{number: i64, name: str}>"},
                       [SETS] = {"sets", "map<str, set<i64>>"},
                       [LISTS] = {"lists", "map<str, list<struct{number: i64, name: str}>>"},
                       [MAPS] = {"maps", "map<str, map<i64, str>>"},
                       [TOPS] = {"tops", "map<str, list<struct{number: i64, name: str}>>"},
                       [STEPS] = {"steps", "map<i64, i64>"}, [VISITS] = {"visits", "map<u32, i64>"},
                       [COPIES] = {"copied", "map<str, map<i64, str>>"}),
    .topologies = TOPOLOGIES(
        {"fold", LEAT_STREAM, NODES(
            {"pass", .from = "rows", .run = pass, .emits = ROW},
            FOLD("count", &leat_count, "counts"), FOLD("sum", &leat_sum, "sums"), FOLD("min", &leat_min, "least"),
            FOLD("max", &leat_max, "most", .args = "of=name"), FOLD("average", &leat_average, "means"),
            FOLD("last", &leat_last, "lasts"), FOLD("first", &leat_first, "firsts"), FOLD("set", &leat_set, "sets"),
            FOLD("list", &leat_list, "lists"), FOLD("map", &leat_map, "maps"),
            FOLD("top", &leat_top_k, "tops", .args = "k=3 by=number order=descending id=name"),
            {"visit", .from = "rows", .route = LEAT_ALL, .run = visit},
            {"begin", .from = "rows", .run = begin, .emits = "start: i64, n: i64, steps: i64"},
            {"collatz", .from = "begin, collatz", .route = LEAT_BY_KEY, .run = collatz,
             .emits = "start: i64, n: i64, steps: i64"},
            {"again", .from = "pass", .route = LEAT_TO_RANDOM, .into = "copies"},
            {"copy", .from = "copies", .route = LEAT_BY_KEY, .run = copy})},
        {"parity", LEAT_QUERY, .takes = "", NODES(
            {"scan", .from = "request", .route = LEAT_ALL, .run = everything, .emits = "odd: bool, number: i64"},
            {"by", .from = "scan", .route = LEAT_BY_KEY, .fold = &leat_sum},
            {"answer", .from = "by", .route = LEAT_TO_ORIGIN, .fold = &leat_list, .into = "reply"})})};

enum { KEYS = 5, ROWS = 150 };

struct model {
    int64_t count, sum, least, most, last, first;
    int64_t number[ROWS];
    bool seen[30];
};

static struct leat_view *view_of(struct leat_test *t, struct leat_error *error)
{
    struct leat_view *v;

    must_with(leat_view_open(leat_test_leat(t), "folds", &v, error), error);
    return v;
}

static void check_values(struct leat_task *of, struct leat_value key, const struct model *m, struct leat_error *error)
{
    struct leat_value v[2];
    char name[16];

    must_with(leat_get(of, COUNTS, LEAT_KEYS(key), v, 1), error);
    assert_int_equal(v[0].as.i, m->count);
    must_with(leat_get(of, SUMS, LEAT_KEYS(key), v, 1), error);
    assert_int_equal(v[0].as.i, m->sum);
    must_with(leat_get(of, LEAST, LEAT_KEYS(key), v, 1), error);
    assert_int_equal(v[0].as.i, m->least);
    must_with(leat_get(of, MOST, LEAT_KEYS(key), v, 1), error);
    snprintf(name, sizeof(name), "n%02d", (int)m->most);
    assert_memory_equal(v[0].as.bytes.base, name, 3);
    must_with(leat_get(of, MEANS, LEAT_KEYS(key), v, 2), error);
    assert_true(v[0].as.f == (double)m->sum && v[1].as.i == m->count);
    must_with(leat_get(of, LASTS, LEAT_KEYS(key), v, 2), error);
    assert_int_equal(v[0].as.i, m->last);
    must_with(leat_get(of, FIRSTS, LEAT_KEYS(key), v, 2), error);
    assert_int_equal(v[0].as.i, m->first);
}

static void check_collections(struct leat_task *of, struct leat_value key, const struct model *m,
                              struct leat_error *error)
{
    struct leat_value at, v[2];
    struct leat_scan *scan;
    uint64_t size, distinct = 0;

    for (int i = 0; i < 30; i++) {
        distinct += m->seen[i];
        assert_int_equal(leat_get(of, SETS, LEAT_KEYS(key, leat_i64(i)), NULL, 0), m->seen[i] ? 0 : LEAT_ENOTFOUND);
        assert_int_equal(leat_get(of, MAPS, LEAT_KEYS(key, leat_i64(i)), v, 1), m->seen[i] ? 0 : LEAT_ENOTFOUND);
        assert_int_equal(leat_get(of, COPIES, LEAT_KEYS(key, leat_i64(i)), v, 1), m->seen[i] ? 0 : LEAT_ENOTFOUND);
    }
    must_with(leat_size(of, SETS, LEAT_KEYS(key), &size), error);
    assert_int_equal(size, distinct);
    must_with(leat_size(of, LISTS, LEAT_KEYS(key), &size), error);
    assert_int_equal(size, m->count);
    must_with(leat_scan_open(of, LISTS, LEAT_KEYS(key), NULL, &scan), error);
    for (int64_t i = 0; i < m->count; i++) {
        must_with(leat_scan_next(scan, &at, v, 2), error);
        assert_int_equal(at.as.u, i);
        assert_int_equal(v[0].as.i, m->number[i]);
    }
    assert_int_equal(leat_scan_next(scan, &at, v, 2), LEAT_END);
    leat_scan_close(scan);
    must_with(leat_scan_open(of, TOPS, LEAT_KEYS(key), NULL, &scan), error);
    for (int i = 29, found = 0; i >= 0 && found < 3; i--)
        if (m->seen[i]) {
            must_with(leat_scan_next(scan, &at, v, 2), error);
            assert_int_equal(v[0].as.i, i);
            found++;
        }
    leat_scan_close(scan);
}

static void check_loops(struct leat_test *t, struct leat_view *v, const struct model *m, struct leat_error *error)
{
    int64_t odd = 0, even = 0;
    struct leat_value value;
    struct leat_result *r;

    for (int64_t i = 1; i < 30; i++) {
        int64_t steps = 0;
        bool seen = false;

        for (int64_t n = i; n != 1; n = n % 2 ? 3 * n + 1 : n / 2)
            steps++;
        for (int k = 0; k < KEYS; k++)
            seen |= m[k].seen[i];
        struct leat_value key = leat_i64(i);
        assert_int_equal(leat_get(leat_view_owner(v, &key), STEPS, LEAT_KEYS(key), &value, 1),
                         seen && steps < 64 ? 0 : LEAT_ENOTFOUND);
        if (seen && steps < 64)
            assert_int_equal(value.as.i, steps);
    }
    for (uint32_t task = 0; task < leat_view_tasks(v); task++) {
        must_with(leat_get(leat_view_task(v, task), VISITS, LEAT_KEYS(leat_u32(0)), &value, 1), error);
        assert_int_equal(value.as.i, ROWS);
    }
    for (int k = 0; k < KEYS; k++)
        *(m[k].sum % 2 != 0 ? &odd : &even) += m[k].sum;
    must_with(leat_query(leat_test_leat(t), "folds", "parity", LEAT_ROW(), NULL, &r, error), error);
    for (uint32_t i = 0; i < leat_result_rows(r)->rows; i++)
        assert_int_equal(leat_at(leat_result_rows(r), i, 1).as.i, leat_at(leat_result_rows(r), i, 0).as.b ? odd : even);
    leat_result_free(r);
}

static void every_fold(void **state)
{
    (void)state;
    for (int w = 0; w < WAYS; w++) {
        struct leat_test *t = open_way(&all_folds, &ways[w], NULL);
        struct model m[KEYS] = {0};
        struct leat_error err = {0, ""};
        uint64_t seed = ways[w].seed;

        for (int i = 0; i < ROWS; i++) {
            int k = (int)(next_random(&seed) % KEYS);
            int64_t n = 1 + (int64_t)(next_random(&seed) % 26);
            char key[16], name[16];

            snprintf(key, sizeof(key), "k%d", k);
            snprintf(name, sizeof(name), "n%02d", (int)n);
            must(leat_test_append(t, "rows", LEAT_ROW(leat_str(key), leat_i64(n), leat_str(name)), &err));
            m[k].least = m[k].count == 0 || n < m[k].least ? n : m[k].least;
            m[k].most = n > m[k].most ? n : m[k].most;
            m[k].first = m[k].count == 0 ? n : m[k].first;
            m[k].last = n;
            m[k].seen[n] = true;
            m[k].sum += n;
            m[k].number[m[k].count++] = n;
            if (i % 11 == 0)
                assert_true(leat_test_step(t, &err) >= 0);
        }
        must(leat_test_run(t, &err));
        struct leat_view *v = view_of(t, &err);
        for (int k = 0; k < KEYS; k++) {
            char text[16];

            snprintf(text, sizeof(text), "k%d", k);
            struct leat_value key = leat_str(text);
            check_values(leat_view_owner(v, &key), key, &m[k], &err);
            check_collections(leat_view_owner(v, &key), key, &m[k], &err);
        }
        check_loops(t, v, m, &err);
        leat_view_close(v);
        leat_test_close(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_fold)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
