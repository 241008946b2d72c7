/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/items.h"

/* Query topologies: every route, branches, merges, loops, folds in every place, against a model. */

enum { STRIDE = 3 };

/* ---- The nodes ---- */

#define PLACE "route: str, at: u32, n: i64"

static int get(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value key = leat_at(in, i, 0), v[3];

        if (leat_get(t, ITEMS, LEAT_KEYS(key), v, 3) == 0)
            leat_emit(t, i, LEAT_ROW(v[0], key, v[1], v[2]));
    }
    return leat_task_error(t);
}

/* The request's numbers from low to below high. */
static int count_up(struct leat_task *t, const struct leat_batch *in)
{
    for (int64_t n = leat_at(in, 0, 0).as.i; n < leat_at(in, 0, 1).as.i; n++)
        leat_emit(t, 0, LEAT_ROW(leat_i64(n)));
    return 0;
}

static int spread(struct leat_task *t, const struct leat_batch *in)
{
    for (int64_t n = 0; n < leat_at(in, 0, 0).as.i; n++)
        leat_emit(t, 0, LEAT_ROW(leat_u32((uint32_t)n % leat_task_count(t)), leat_i64(n)));
    return 0;
}

static int place(struct leat_task *t, const struct leat_batch *in, const char *route)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_str(route), leat_u32(leat_task_number(t)), leat_at(in, i, in->columns - 1)));
    return 0;
}

static int at_local(struct leat_task *t, const struct leat_batch *in)
{
    return place(t, in, "local");
}

static int at_key(struct leat_task *t, const struct leat_batch *in)
{
    return place(t, in, "key");
}

static int at_all(struct leat_task *t, const struct leat_batch *in)
{
    return place(t, in, "all");
}

static int at_global(struct leat_task *t, const struct leat_batch *in)
{
    return place(t, in, "global");
}

static int at_origin(struct leat_task *t, const struct leat_batch *in)
{
    return place(t, in, "origin");
}

static int at_direct(struct leat_task *t, const struct leat_batch *in)
{
    return place(t, in, "direct");
}

static int at_random(struct leat_task *t, const struct leat_batch *in)
{
    return place(t, in, "random");
}

/* Halves that overlap: multiples of two, and of three. */
static int every(struct leat_task *t, const struct leat_batch *in, int64_t n)
{
    for (uint32_t i = 0; i < in->rows; i++)
        if (leat_at(in, i, 1).as.i % n == 0)
            leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0), leat_at(in, i, 1), leat_at(in, i, 2), leat_at(in, i, 3)));
    return 0;
}

static int twos(struct leat_task *t, const struct leat_batch *in)
{
    return every(t, in, 2);
}

static int threes(struct leat_task *t, const struct leat_batch *in)
{
    return every(t, in, 3);
}

/* From item to item until there is none: each step is a row to the task of the next one. */
static int walk(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        int64_t next = leat_at(in, i, 0).as.i + STRIDE;

        if (leat_get(t, ITEMS, LEAT_KEYS(leat_i64(next - STRIDE)), NULL, 0) == 0 && next < ITEM_COUNT)
            leat_emit(t, i, LEAT_ROW(leat_i64(next), leat_i64(leat_at(in, i, 1).as.i + 1)));
    }
    return leat_task_error(t);
}

/* n goes round as often as it says, over two nodes. */
static int countdown(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        if (leat_at(in, i, 0).as.i > 0)
            leat_emit(t, i, LEAT_ROW(leat_i64(leat_at(in, i, 0).as.i - 1)));
    return 0;
}

/* How many tasks were here before this one, by what they share; and by its own memory, none. */
static int ahead(struct leat_task *t, const struct leat_batch *in)
{
    int64_t *all = leat_shared(t, sizeof(*all)), *own = leat_scratch(t, sizeof(*own));

    (void)in;
    leat_emit(t, 0, LEAT_ROW(leat_i64((*all)++), leat_i64((*own)++)));
    return 0;
}

/* ---- The module ---- */

#define BY_KIND(name_, fold_, ...)                                                                                     \
    {"by_kind_" name_, LEAT_QUERY,                                                                                     \
     NODES(SCAN, {"fold", .from = "scan", .route = LEAT_BY_KEY, .fold = fold_, __VA_ARGS__}, REPLY("fold"))}
#define WHOLE(name_, fold_, ...)                                                                                       \
    {"whole_" name_, LEAT_QUERY,                                                                                       \
     NODES(SCAN,                                                                                                       \
           {"fold", .from = "scan", .route = LEAT_TO_ORIGIN, .fold = fold_, .into = "reply", __VA_ARGS__})}

static const struct leat_module module = {
    LEAT_ABI, .name = "queries",
    .depots = DEPOTS(ITEM_DEPOT), .pstates = PSTATES(ITEM_PSTATE),
    .topologies = TOPOLOGIES(
        {"store", LEAT_STREAM, NODES({"store", .from = "items", .run = store})},
        {"one", LEAT_QUERY, .takes = "key: i64", NODES(
            {"get", .from = "request", .route = LEAT_BY_KEY, .run = get, .emits = ITEM},
            {"answer", .from = "get", .route = LEAT_TO_ORIGIN, .run = pass, .emits = ITEM, .into = "reply"})},
        {"many", LEAT_QUERY, .takes = "low: i64, high: i64", NODES(
            {"keys", .from = "request", .run = count_up, .emits = "key: i64"},
            {"get", .from = "keys", .route = LEAT_BY_KEY, .run = get, .emits = ITEM}, REPLY("get"))},
        {"all", LEAT_QUERY, NODES(SCAN, {"answer", .from = "scan", .route = LEAT_TO_ORIGIN, .run = pass, .emits = ITEM,
                                         .into = "reply"})},
        {"routes", LEAT_QUERY, .takes = "rows: i64", NODES(
            {"spread", .from = "request", .run = spread, .emits = "to: u32, n: i64"},
            {"direct", .from = "spread", .route = LEAT_DIRECT, .run = at_direct, .emits = PLACE},
            {"key", .from = "spread", .route = LEAT_BY_KEY, .run = at_key, .emits = PLACE},
            {"all", .from = "spread", .route = LEAT_ALL, .run = at_all, .emits = PLACE},
            {"local", .from = "direct", .run = at_local, .emits = PLACE},
            {"global", .from = "direct", .route = LEAT_GLOBAL, .run = at_global, .emits = PLACE},
            {"origin", .from = "direct", .route = LEAT_TO_ORIGIN, .run = at_origin, .emits = PLACE},
            REPLY("direct, key, all, local, global, origin"))},
        {"shared", LEAT_QUERY, NODES(
            {"ahead", .from = "request", .route = LEAT_ALL, .run = ahead, .emits = "all: i64, own: i64"},
            REPLY("ahead"))},
        {"random", LEAT_QUERY, .takes = "rows: i64", NODES(
            {"spread", .from = "request", .run = spread, .emits = "to: u32, n: i64"},
            {"random", .from = "spread", .route = LEAT_TO_RANDOM, .run = at_random, .emits = PLACE}, REPLY("random"))},
        {"to_task", LEAT_QUERY, .takes = "task: u32", NODES(
            {"there", .from = "request", .route = LEAT_DIRECT, .run = at_direct, .emits = PLACE}, REPLY("there"))},
        {"branches", LEAT_QUERY, NODES(
            SCAN, {"twos", .from = "scan", .run = twos, .emits = ITEM},
            {"threes", .from = "scan", .run = threes, .emits = ITEM},
            {"merged", .from = "twos, threes", .route = LEAT_TO_RANDOM, .run = pass, .emits = ITEM},
            {"count", .from = "merged, twos", .route = LEAT_BY_KEY, .fold = &leat_count}, REPLY("count"))},
        {"walk", LEAT_QUERY, .takes = "key: i64, steps: i64", NODES(
            {"walk", .from = "request, walk", .route = LEAT_BY_KEY, .run = walk, .emits = "key: i64, steps: i64"},
            REPLY("walk"))},
        {"two_loops", LEAT_QUERY, .takes = "n: i64", NODES(
            {"ping", .from = "request, pong", .route = LEAT_BY_KEY, .run = countdown, .emits = "n: i64"},
            {"pong", .from = "ping", .route = LEAT_TO_RANDOM, .run = countdown, .emits = "n: i64"},
            REPLY("ping, pong"))},
        /* The loop is fed a second time when `sum` is done; only then is all there that `count` counts. */
        {"late", LEAT_QUERY, .takes = "n: i64", NODES(
            {"ping", .from = "request, pong", .route = LEAT_BY_KEY, .run = countdown, .emits = "n: i64"},
            {"pong", .from = "ping, sum", .route = LEAT_GLOBAL, .run = countdown, .emits = "n: i64"},
            {"count", .from = "ping", .route = LEAT_GLOBAL, .fold = &leat_count},
            {"one", .from = "request", .run = pass, .emits = "n: i64"},
            {"two", .from = "one", .run = pass, .emits = "n: i64"},
            {"three", .from = "two", .route = LEAT_ALL, .run = pass, .emits = "n: i64"},
            {"sum", .from = "three", .route = LEAT_GLOBAL, .fold = &leat_sum}, REPLY("count"))},
        {"per_task", LEAT_QUERY, NODES(
            SCAN, {"count", .from = "scan", .fold = &leat_count},
            {"most", .from = "count", .route = LEAT_GLOBAL, .fold = &leat_sum},
            {"everywhere", .from = "most", .route = LEAT_ALL, .fold = &leat_max}, REPLY("everywhere"))},
        {"counts_of_counts", LEAT_QUERY, NODES(
            SCAN, {"kinds", .from = "scan", .route = LEAT_BY_KEY, .fold = &leat_count},
            {"flip", .from = "kinds", .run = pass, .emits = "kind: u32, count: i64"},
            {"total", .from = "flip", .route = LEAT_BY_KEY, .fold = &leat_sum},
            {"answer", .from = "total", .route = LEAT_TO_ORIGIN,
            .fold = &leat_top_k, .args = "k=9 by=sum id=kind", .into = "reply"})},
        BY_KIND("count", &leat_count), BY_KIND("sum", &leat_sum, .args = "of=number"),
        BY_KIND("min", &leat_min, .args = "of=number"), BY_KIND("max", &leat_max, .args = "of=name"),
        BY_KIND("average", &leat_average, .args = "of=number"), BY_KIND("set", &leat_set, .args = "of=name"),
        BY_KIND("list", &leat_list), BY_KIND("first", &leat_first), BY_KIND("last", &leat_last),
        BY_KIND("map", &leat_map), BY_KIND("limit", &leat_limit, .args = "k=2"),
        BY_KIND("top", &leat_top_k, .args = "k=3 by=number id=key order=descending"), WHOLE("count", &leat_count),
        WHOLE("sum", &leat_sum, .args = "of=number"), WHOLE("min", &leat_min, .args = "of=name"),
        WHOLE("max", &leat_max, .args = "of=number"), WHOLE("average", &leat_average, .args = "of=number"),
        WHOLE("set", &leat_set, .args = "of=kind"), WHOLE("top", &leat_top_k, .args = "k=20 by=number id=key"))};

/* ---- Routes ---- */

static void check_places(struct leat_test *t)
{
    enum { ROWS = 5000 }; /* more than a node is given at once */
    bool reached[TASKS] = {false};

    for (uint32_t n = 0; n < 100; n++) {
        struct leat_value key = leat_u32(n % TASKS);

        put_line(&wanted, "direct %u %u ", n % TASKS, n);
        put_line(&wanted, "local %u %u ", n % TASKS, n);
        put_line(&wanted, "global 0 %u ", n);
        put_line(&wanted, "origin 0 %u ", n);
        put_line(&wanted, "key %u %u ", leat_task_of(TASKS, &key), n);
        for (uint32_t task = 0; task < TASKS; task++)
            put_line(&wanted, "all %u %u ", task, n);
    }
    expect(t, "routes", LEAT_ROW(leat_i64(100)), false);
    expect(t, "routes", LEAT_ROW(leat_i64(0)), false);
    for (int twice = 0; twice < 2; twice++) { /* the second request finds nothing of the first */
        for (uint32_t task = 0; task < TASKS; task++)
            put_line(&wanted, "%u 0 ", task);
        expect(t, "shared", LEAT_ROW(), false);
    }
    for (uint32_t task = 0; task < TASKS; task++) {
        put_line(&wanted, "direct %u %u ", task, task);
        expect(t, "to_task", LEAT_ROW(leat_u32(task)), true);
    }
    ask(leat_test_leat(t), "queries", "random", LEAT_ROW(leat_i64(1000)), &got);
    assert_int_equal(got.count, 1000);
    for (uint32_t i = 0; i < got.count; i++) {
        assert_in_range(got.line[i][7], '0', '0' + TASKS - 1);
        reached[got.line[i][7] - '0'] = true;
        memmove(got.line[i] + 7, got.line[i] + 9, strlen(got.line[i] + 9) + 1);
        put_line(&wanted, "random %u ", i);
    }
    expect_lines("random", &got, &wanted, false);
    wanted.count = 0;
    for (uint32_t task = 0; task < TASKS; task++)
        assert_true(reached[task]);
    struct leat_error err = {0, ""};
    struct leat_result *r;
    must(leat_query(leat_test_leat(t), "queries", "random", LEAT_ROW(leat_i64(ROWS)), NULL, &r, &err));
    assert_int_equal(leat_result_rows(r)->rows, ROWS);
    leat_result_free(r);
}

static void check_reads(struct leat_test *t)
{
    for (int i = 0; i < ITEM_COUNT; i += 17) {
        want_item(&items[i]);
        expect(t, "one", LEAT_ROW(leat_i64(items[i].key)), true);
    }
    expect(t, "one", LEAT_ROW(leat_i64(ITEM_COUNT)), true);
    for (int i = 0; i < ITEM_COUNT; i++)
        if (items[i].key >= 20)
            want_item(&items[i]);
    expect(t, "many", LEAT_ROW(leat_i64(20), leat_i64(ITEM_COUNT + 100)), false);
    expect(t, "many", LEAT_ROW(leat_i64(5), leat_i64(5)), false);
    for (int i = 0; i < ITEM_COUNT; i++)
        want_item(&items[i]);
    expect(t, "all", LEAT_ROW(), true);
}

static void check_shapes(struct leat_test *t)
{
    uint32_t count[KINDS] = {0};

    for (int i = 0; i < ITEM_COUNT; i++)
        count[items[i].kind] += (items[i].key % 2 == 0 ? 2U : 0) + (items[i].key % 3 == 0 ? 1U : 0);
    for (uint32_t k = 0; k < KINDS; k++)
        put_line(&wanted, "%u %u ", k, count[k]);
    expect(t, "branches", LEAT_ROW(), false);
    for (int64_t start = ITEM_COUNT - 1; start >= ITEM_COUNT - 1 - 63 * STRIDE; start -= 7) {
        int64_t steps = 0;

        for (int64_t at = start + STRIDE; at < ITEM_COUNT; at += STRIDE)
            put_line(&wanted, "%lld %lld ", (long long)at, (long long)++steps);
        expect(t, "walk", LEAT_ROW(leat_i64(start), leat_i64(0)), true);
    }
    for (int64_t n = 0; n < 60; n += 13) {
        for (int64_t i = n - 1; i >= 0; i--)
            put_line(&wanted, "%lld ", (long long)i);
        expect(t, "two_loops", LEAT_ROW(leat_i64(n)), true);
    }
    for (int64_t n = 0; n < 7; n++) {
        /* ping lets n / 2 rounded up rows of the request pass; of n * TASKS, which
         * pong makes one less, as many again. */
        int64_t second = n * TASKS - 1;

        put_line(&wanted, "%lld ", (long long)((n + 1) / 2 + (second > 0 ? (second + 1) / 2 : 0)));
        expect(t, "late", LEAT_ROW(leat_i64(n)), true);
    }
    for (uint32_t task = 0; task < TASKS; task++)
        put_line(&wanted, "%d ", ITEM_COUNT);
    expect(t, "per_task", LEAT_ROW(), true);
}

static void check_limits(struct leat_test *t)
{
    refuse(t, "to_task", LEAT_ROW(leat_u32(TASKS)), NULL, LEAT_EINVAL,
           "query 'queries.to_task': a row for node 'there' names task 8");
    refuse(t, "walk", LEAT_ROW(leat_i64(ITEM_COUNT - 1 - 64 * STRIDE), leat_i64(0)), NULL, LEAT_ELIMIT,
           "node 'walk': a row went round its loop 64 times");
    refuse(t, "two_loops", LEAT_ROW(leat_i64(200)), NULL, LEAT_ELIMIT, "a row went round its loop 64 times");
}

static void routes_and_shapes(void **state)
{
    (void)state;
    for (int w = 0; w < WAYS; w++) {
        struct leat_test *t = open_items(&module, &ways[w]);

        check_places(t);
        check_reads(t);
        check_shapes(t);
        check_limits(t);
        leat_test_close(t);
    }
}

/* ---- Folds ---- */

static int64_t order_by; /* 1: by number ascending, -1: descending; ties by key */

static int compare_numbers(const void *a, const void *b)
{
    const struct item *x = *(const struct item *const *)a, *y = *(const struct item *const *)b;

    if (x->number != y->number)
        return (x->number < y->number ? -1 : 1) * (int)order_by;
    return (x->key > y->key) - (x->key < y->key);
}

/* The items of a kind, or of all (KINDS), as scans meet them; then sorted by number. */
static uint32_t of_kind(uint32_t kind, const struct item *out[ITEM_COUNT], int64_t sorted)
{
    uint32_t count = 0;

    for (int i = 0; i < ITEM_COUNT; i++)
        if (kind == KINDS || items[i].kind == kind)
            out[count++] = &items[i];
    order_by = sorted;
    if (sorted != 0)
        qsort(out, count, sizeof(*out), compare_numbers);
    return count;
}

static const char *name_extreme(const struct item *const *of, uint32_t count, int sign)
{
    const char *best = of[0]->name;

    for (uint32_t i = 1; i < count; i++)
        if (strcmp(of[i]->name, best) * sign > 0)
            best = of[i]->name;
    return best;
}

static int64_t sum_numbers(const struct item *const *of, uint32_t count)
{
    int64_t sum = 0;

    for (uint32_t i = 0; i < count; i++)
        sum += of[i]->number;
    return sum;
}

static void want_numbers(const char *query, uint32_t kind, const struct item *const *of, uint32_t count)
{
    long long sum = (long long)sum_numbers(of, count);

    if (strcmp(query, "by_kind_count") == 0)
        put_line(&wanted, "%u %u ", kind, count);
    else if (strcmp(query, "by_kind_sum") == 0)
        put_line(&wanted, "%u %lld ", kind, sum);
    else if (strcmp(query, "by_kind_average") == 0)
        put_line(&wanted, "%u %.6g ", kind, (double)sum / count);
    else if (strcmp(query, "by_kind_max") == 0)
        put_line(&wanted, "%u %s ", kind, name_extreme(of, count, 1));
    else if (strcmp(query, "by_kind_first") == 0)
        want_item(of[0]);
    else if (strcmp(query, "by_kind_last") == 0)
        want_item(of[count - 1]);
}

static void want_names(uint32_t kind, const struct item *const *of, uint32_t count)
{
    bool been[30] = {false};

    for (uint32_t i = 0; i < count; i++)
        been[atoi(of[i]->name + 1)] = true;
    for (int i = 0; i < 30; i++)
        if (been[i])
            put_line(&wanted, "%u n%02d ", kind, i);
}

static void want_kind(const char *query, uint32_t kind)
{
    const struct item *of[ITEM_COUNT];
    bool min = strcmp(query, "by_kind_min") == 0, top = strcmp(query, "by_kind_top") == 0;
    uint32_t count = of_kind(kind, of, min ? 1 : top ? -1 : 0);

    if (min)
        put_line(&wanted, "%u %lld ", kind, (long long)of[0]->number);
    else if (strcmp(query, "by_kind_set") == 0)
        want_names(kind, of, count);
    else if (top || strcmp(query, "by_kind_list") == 0 || strcmp(query, "by_kind_map") == 0)
        for (uint32_t i = 0; i < (top ? 3 : count); i++)
            want_item(of[i]);
    else
        want_numbers(query, kind, of, count);
}

static void check_keyed(struct leat_test *t)
{
    static const char *const queries[] = {"by_kind_count",   "by_kind_sum", "by_kind_min",  "by_kind_max",
                                          "by_kind_average", "by_kind_set", "by_kind_list", "by_kind_first",
                                          "by_kind_last",    "by_kind_map", "by_kind_top"};
    uint32_t of_each[KINDS] = {0};

    for (size_t q = 0; q < sizeof(queries) / sizeof(*queries); q++) {
        for (uint32_t kind = 0; kind < KINDS; kind++)
            want_kind(queries[q], kind);
        expect(t, queries[q], LEAT_ROW(), false);
    }
    ask(leat_test_leat(t), "queries", "by_kind_limit", LEAT_ROW(), &got);
    assert_int_equal(got.count, 2 * KINDS);
    for (int i = 0; i < ITEM_COUNT; i++)
        want_item(&items[i]);
    for (uint32_t i = 0, j = 0; i < got.count; i++, j = 0) {
        of_each[got.line[i][0] - '0']++;
        while (strcmp(wanted.line[j], got.line[i]) != 0)
            assert_true(++j < wanted.count);
    }
    wanted.count = 0;
    for (uint32_t kind = 0; kind < KINDS; kind++)
        assert_int_equal(of_each[kind], 2);
}

static void check_whole(struct leat_test *t)
{
    const struct item *of[ITEM_COUNT];
    uint32_t count = of_kind(KINDS, of, 1);

    put_line(&wanted, "%u ", count);
    expect(t, "whole_count", LEAT_ROW(), true);
    put_line(&wanted, "%lld ", (long long)sum_numbers(of, count));
    expect(t, "whole_sum", LEAT_ROW(), true);
    put_line(&wanted, "%s ", name_extreme(of, count, -1));
    expect(t, "whole_min", LEAT_ROW(), true);
    put_line(&wanted, "%lld ", (long long)of[count - 1]->number);
    expect(t, "whole_max", LEAT_ROW(), true);
    put_line(&wanted, "%.6g ", (double)sum_numbers(of, count) / count);
    expect(t, "whole_average", LEAT_ROW(), true);
    for (uint32_t kind = 0; kind < KINDS; kind++)
        put_line(&wanted, "%u ", kind);
    expect(t, "whole_set", LEAT_ROW(), false);
    for (uint32_t i = 0; i < 20; i++)
        want_item(of[i]);
    expect(t, "whole_top", LEAT_ROW(), true);
}

static int compare_sizes(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return x[1] != y[1] ? (x[1] > y[1]) - (x[1] < y[1]) : (x[0] > y[0]) - (x[0] < y[0]);
}

static void folds_of_queries(void **state)
{
    (void)state;
    for (int w = 0; w < WAYS; w++) {
        struct leat_test *t = open_items(&module, &ways[w]);
        const struct item *of[ITEM_COUNT];
        uint32_t size[KINDS][2];

        check_keyed(t);
        check_whole(t);
        for (uint32_t kind = 0; kind < KINDS; kind++)
            memcpy(size[kind], (uint32_t[]){kind, of_kind(kind, of, 0)}, sizeof(size[kind]));
        qsort(size, KINDS, sizeof(*size), compare_sizes);
        for (uint32_t i = 0; i < KINDS; i++)
            put_line(&wanted, "%u %u ", size[i][0], size[i][1]);
        expect(t, "counts_of_counts", LEAT_ROW(), true);
        leat_test_close(t);
    }
}

/* Folds that stand alone answer also when nothing came. */
static void folds_of_nothing(void **state)
{
    static const char *const none[] = {"by_kind_count", "by_kind_top", "by_kind_list",     "whole_min", "whole_average",
                                       "whole_set",     "whole_top",   "counts_of_counts", "branches",  "all"};
    struct leat_test *t = open_way(&module, &ways[1], NULL);

    (void)state;
    wanted.count = 0;
    for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++)
        expect(t, none[i], LEAT_ROW(), true);
    put_line(&wanted, "0 ");
    expect(t, "whole_count", LEAT_ROW(), true);
    put_line(&wanted, "0 ");
    expect(t, "whole_sum", LEAT_ROW(), true);
    leat_test_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes_and_shapes),
        cmocka_unit_test(folds_of_queries),
        cmocka_unit_test(folds_of_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
