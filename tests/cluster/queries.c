/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include <pthread.h>
#include <time.h>

/* Query topologies: every route, branches, merges, loops, folds in every place, against a model; then what ends a query
 * early, and many at once. An answer is compared as lines of text, sorted unless its order is promised. */

enum { ITEMS, LEFT, RIGHT };
enum { ITEM_COUNT = 200, KINDS = 5, TASKS = 8, STRIDE = 3, LINES = 4096 };

/* ---- The nodes ---- */

#define ITEM "kind: u32, key: i64, number: i64, name: str"
#define PLACE "route: str, at: u32, n: i64"

static int store(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_put(t, ITEMS, LEAT_KEYS(leat_at(in, i, 0)), LEAT_ROW(leat_at(in, i, 1), leat_at(in, i, 2), leat_at(in, i, 3)));
    return 0;
}

/* What one turn writes at two places is seen at both or at none. */
static int store_pair(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        leat_put(t, LEFT, LEAT_KEYS(leat_at(in, i, 0)), LEAT_ROW());
        leat_put(t, RIGHT, LEAT_KEYS(leat_at(in, i, 0)), LEAT_ROW());
    }
    return 0;
}

static int count_pairs(struct leat_task *t, const struct leat_batch *in)
{
    uint64_t left = 0, right = 0;

    (void)in;
    leat_size(t, LEFT, LEAT_KEYS(), &left);
    leat_size(t, RIGHT, LEAT_KEYS(), &right);
    leat_emit(t, 0, LEAT_ROW(leat_u64(left), leat_u64(right)));
    return 0;
}

static int scan(struct leat_task *t, const struct leat_batch *in)
{
    struct leat_value key, v[3];
    struct leat_scan *s;

    if (in->rows == 0 || leat_scan_open(t, ITEMS, LEAT_KEYS(), NULL, &s) != 0)
        return leat_task_error(t);
    while (leat_scan_next(s, &key, v, 3) == 0)
        leat_emit(t, 0, LEAT_ROW(v[0], key, v[1], v[2]));
    leat_scan_close(s);
    return leat_task_error(t);
}

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

static int pass(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value v[4];

        for (uint32_t c = 0; c < in->columns; c++)
            v[c] = leat_at(in, i, c);
        leat_emit(t, i, (struct leat_row){v, in->columns});
    }
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

/* ---- Nodes that end a query early ---- */

static struct {
    int runs;
    uint64_t emitted;
    bool cancel;
} seen;

enum failure { FAIL_SENTENCE, FAIL_CODE, FAIL_REJECT, FAIL_COLUMNS, FAIL_TASK, FAIL_LOOP, FAIL_READ, FAIL_FOLD, FAILURES };

static int fail_so(struct leat_task *t, const struct leat_batch *in)
{
    int64_t how = leat_at(leat_request(t), 0, 0).as.i;

    for (uint32_t i = 0; i < in->rows; i++) {
        leat_emit(t, i, how == FAIL_COLUMNS ? LEAT_ROW(leat_str("so")) : LEAT_ROW(leat_u32(how == FAIL_TASK ? TASKS : 0), leat_i64(how == FAIL_FOLD ? INT64_MAX : 1)));
        if (how == FAIL_SENTENCE)
            return leat_task_fail(t, LEAT_EINVAL, "no luck %lld", (long long)how);
        if (how == FAIL_REJECT)
            leat_reject(t, i, "not this row");
        if (how == FAIL_READ)
            leat_get(t, ITEMS, LEAT_KEYS(leat_str("a word")), NULL, 0);
    }
    return how == FAIL_CODE ? LEAT_EIO : 0;
}

static int go_round(struct leat_task *t, const struct leat_batch *in)
{
    if (leat_at(leat_request(t), 0, 0).as.i == FAIL_LOOP)
        for (uint32_t i = 0; i < in->rows; i++)
            leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0), leat_at(in, i, 1)));
    return 0;
}

static int ignore(struct leat_task *t, const struct leat_batch *in)
{
    (void)in;
    return leat_task_error(t);
}

static int64_t clock_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int linger(struct leat_task *t, const struct leat_batch *in)
{
    int64_t start = clock_us();

    (void)in;
    while (clock_us() - start < 6000)
        continue;
    if (++seen.runs == 3)
        __atomic_store_n(&seen.cancel, true, __ATOMIC_RELAXED);
    leat_emit(t, 0, LEAT_ROW(leat_u32(leat_task_number(t))));
    return 0;
}

/* Emits without an end of its own. */
static int pour(struct leat_task *t, const struct leat_batch *in)
{
    char text[1000];

    (void)in;
    memset(text, 'x', sizeof(text));
    for (seen.emitted = 0; leat_task_error(t) == 0 && seen.emitted < 100000; seen.emitted++)
        leat_emit(t, 0, LEAT_ROW(leat_str_n(text, sizeof(text))));
    return 0;
}

static int take(struct leat_task *t, const struct leat_batch *in)
{
    for (int64_t left = leat_at(in, 0, 0).as.i; left > 0; left -= 1000)
        memset(leat_alloc(t, 1000), 0, 1000);
    leat_emit(t, 0, LEAT_ROW(leat_at(in, 0, 0)));
    return 0;
}

/* ---- The module ---- */

#define REPLY(from_) {"answer", .from = from_, .route = LEAT_TO_ORIGIN, .fold = &leat_list, .into = "reply"}
#define SCAN {"scan", .from = "request", .route = LEAT_ALL, .run = scan, .emits = ITEM}
#define BY_KIND(name_, fold_, ...)                                                                  \
    {"by_kind_" name_, LEAT_QUERY, NODES(SCAN, {"fold", .from = "scan", .route = LEAT_BY_KEY, .fold = fold_, __VA_ARGS__}, REPLY("fold"))}
#define WHOLE(name_, fold_, ...)                                                                    \
    {"whole_" name_, LEAT_QUERY, NODES(SCAN, {"fold", .from = "scan", .route = LEAT_TO_ORIGIN, .fold = fold_, .into = "reply", __VA_ARGS__})}

static const struct leat_module module = {
    LEAT_ABI, .name = "queries",
    .depots = DEPOTS({"items", "key: i64, kind: u32, number: i64, name: str", .by = "key"}, {"pairs", "key: i64", .by = "key"}),
    .pstates = PSTATES([ITEMS] = {"items", "map<i64, struct{kind: u32, number: i64, name: str}>"},
                       [LEFT] = {"left", "set<i64>"}, [RIGHT] = {"right", "set<i64>"}),
    .topologies = TOPOLOGIES(
        {"store", LEAT_STREAM, NODES({"store", .from = "items", .run = store}, {"pair", .from = "pairs", .run = store_pair})},
        {"pairs", LEAT_QUERY, NODES({"count", .from = "request", .route = LEAT_ALL, .run = count_pairs, .emits = "left: u64, right: u64"},
                                    REPLY("count"))},
        {"one", LEAT_QUERY, .takes = "key: i64", NODES(
            {"get", .from = "request", .route = LEAT_BY_KEY, .run = get, .emits = ITEM},
            {"answer", .from = "get", .route = LEAT_TO_ORIGIN, .run = pass, .emits = ITEM, .into = "reply"})},
        {"many", LEAT_QUERY, .takes = "low: i64, high: i64", NODES(
            {"keys", .from = "request", .run = count_up, .emits = "key: i64"},
            {"get", .from = "keys", .route = LEAT_BY_KEY, .run = get, .emits = ITEM}, REPLY("get"))},
        {"all", LEAT_QUERY, NODES(SCAN, {"answer", .from = "scan", .route = LEAT_TO_ORIGIN, .run = pass, .emits = ITEM, .into = "reply"})},
        {"routes", LEAT_QUERY, .takes = "rows: i64", NODES(
            {"spread", .from = "request", .run = spread, .emits = "to: u32, n: i64"},
            {"direct", .from = "spread", .route = LEAT_DIRECT, .run = at_direct, .emits = PLACE},
            {"key", .from = "spread", .route = LEAT_BY_KEY, .run = at_key, .emits = PLACE},
            {"all", .from = "spread", .route = LEAT_ALL, .run = at_all, .emits = PLACE},
            {"local", .from = "direct", .run = at_local, .emits = PLACE},
            {"global", .from = "direct", .route = LEAT_GLOBAL, .run = at_global, .emits = PLACE},
            {"origin", .from = "direct", .route = LEAT_TO_ORIGIN, .run = at_origin, .emits = PLACE},
            REPLY("direct, key, all, local, global, origin"))},
        {"random", LEAT_QUERY, .takes = "rows: i64", NODES(
            {"spread", .from = "request", .run = spread, .emits = "to: u32, n: i64"},
            {"random", .from = "spread", .route = LEAT_TO_RANDOM, .run = at_random, .emits = PLACE}, REPLY("random"))},
        {"to_task", LEAT_QUERY, .takes = "task: u32", NODES(
            {"there", .from = "request", .route = LEAT_DIRECT, .run = at_direct, .emits = PLACE}, REPLY("there"))},
        {"branches", LEAT_QUERY, NODES(
            SCAN, {"twos", .from = "scan", .run = twos, .emits = ITEM}, {"threes", .from = "scan", .run = threes, .emits = ITEM},
            {"merged", .from = "twos, threes", .route = LEAT_TO_RANDOM, .run = pass, .emits = ITEM},
            {"count", .from = "merged, twos", .route = LEAT_BY_KEY, .fold = &leat_count}, REPLY("count"))},
        {"walk", LEAT_QUERY, .takes = "key: i64, steps: i64", NODES(
            {"walk", .from = "request, walk", .route = LEAT_BY_KEY, .run = walk, .emits = "key: i64, steps: i64"}, REPLY("walk"))},
        {"two_loops", LEAT_QUERY, .takes = "n: i64", NODES(
            {"ping", .from = "request, pong", .route = LEAT_BY_KEY, .run = countdown, .emits = "n: i64"},
            {"pong", .from = "ping", .route = LEAT_TO_RANDOM, .run = countdown, .emits = "n: i64"}, REPLY("ping, pong"))},
        /* The loop is fed a second time when `sum` is done; only then is all there that `count` counts. */
        {"late", LEAT_QUERY, .takes = "n: i64", NODES(
            {"ping", .from = "request, pong", .route = LEAT_BY_KEY, .run = countdown, .emits = "n: i64"},
            {"pong", .from = "ping, sum", .route = LEAT_GLOBAL, .run = countdown, .emits = "n: i64"},
            {"count", .from = "ping", .route = LEAT_GLOBAL, .fold = &leat_count},
            {"one", .from = "request", .run = pass, .emits = "n: i64"}, {"two", .from = "one", .run = pass, .emits = "n: i64"},
            {"three", .from = "two", .route = LEAT_ALL, .run = pass, .emits = "n: i64"},
            {"sum", .from = "three", .route = LEAT_GLOBAL, .fold = &leat_sum}, REPLY("count"))},
        {"per_task", LEAT_QUERY, NODES(
            SCAN, {"count", .from = "scan", .fold = &leat_count}, {"most", .from = "count", .route = LEAT_GLOBAL, .fold = &leat_sum},
            {"everywhere", .from = "most", .route = LEAT_ALL, .fold = &leat_max}, REPLY("everywhere"))},
        {"counts_of_counts", LEAT_QUERY, NODES(
            SCAN, {"kinds", .from = "scan", .route = LEAT_BY_KEY, .fold = &leat_count},
            {"flip", .from = "kinds", .run = pass, .emits = "kind: u32, count: i64"},
            {"total", .from = "flip", .route = LEAT_BY_KEY, .fold = &leat_sum}, {"answer", .from = "total", .route = LEAT_TO_ORIGIN,
            .fold = &leat_top_k, .args = "k=9 by=sum id=kind", .into = "reply"})},
        {"fails", LEAT_QUERY, .takes = "how: i64", NODES(
            SCAN, {"kinds", .from = "scan", .route = LEAT_BY_KEY, .fold = &leat_count},
            {"fail", .from = "scan", .run = fail_so, .emits = "task: u32, n: i64"},
            {"there", .from = "fail, round", .route = LEAT_DIRECT, .run = ignore},
            {"round", .from = "fail, round", .route = LEAT_GLOBAL, .run = go_round, .emits = "task: u32, n: i64"},
            {"sum", .from = "kinds, fail", .route = LEAT_GLOBAL, .fold = &leat_sum, .args = "of=n"},
            {"enough", .from = "sum", .run = pass, .emits = "sum: i64"}, {"whole", .from = "enough", .fold = &leat_max}, REPLY("whole"))},
        {"lingers", LEAT_QUERY, NODES({"linger", .from = "request", .route = LEAT_ALL, .run = linger, .emits = "task: u32"}, REPLY("linger"))},
        {"pours", LEAT_QUERY, NODES({"pour", .from = "request", .run = pour, .emits = "text: str"}, REPLY("pour"))},
        {"takes", LEAT_QUERY, .takes = "bytes: i64", NODES(
            {"take", .from = "request", .run = take, .emits = "bytes: i64"}, {"answer", .from = "take", .route = LEAT_TO_ORIGIN, .run = pass,
            .emits = "bytes: i64", .into = "reply"})},
        BY_KIND("count", &leat_count), BY_KIND("sum", &leat_sum, .args = "of=number"), BY_KIND("min", &leat_min, .args = "of=number"),
        BY_KIND("max", &leat_max, .args = "of=name"), BY_KIND("average", &leat_average, .args = "of=number"),
        BY_KIND("set", &leat_set, .args = "of=name"), BY_KIND("list", &leat_list), BY_KIND("first", &leat_first),
        BY_KIND("last", &leat_last), BY_KIND("map", &leat_map), BY_KIND("limit", &leat_limit, .args = "k=2"),
        BY_KIND("top", &leat_top_k, .args = "k=3 by=number id=key order=descending"),
        WHOLE("count", &leat_count), WHOLE("sum", &leat_sum, .args = "of=number"), WHOLE("min", &leat_min, .args = "of=name"),
        WHOLE("max", &leat_max, .args = "of=number"), WHOLE("average", &leat_average, .args = "of=number"),
        WHOLE("set", &leat_set, .args = "of=kind"), WHOLE("top", &leat_top_k, .args = "k=20 by=number id=key"))};

/* ---- Answers and models as lines ---- */

struct lines {
    uint32_t count;
    char line[LINES][64];
};

static void put_line(struct lines *to, const char *format, ...)
{
    va_list args;

    assert_true(to->count < LINES);
    va_start(args, format);
    vsnprintf(to->line[to->count++], sizeof(to->line[0]), format, args);
    va_end(args);
}

static void put_value(char *to, size_t size, struct leat_value v)
{
    if (v.type == LEAT_STR)
        snprintf(to, size, "%.*s ", (int)v.as.bytes.size, (const char *)v.as.bytes.base);
    else if (v.type == LEAT_F64)
        snprintf(to, size, "%.6g ", v.as.f);
    else
        snprintf(to, size, "%lld ", (long long)v.as.i);
}

static void answer_lines(const struct leat_result *r, struct lines *to)
{
    const struct leat_batch *rows = leat_result_rows(r);

    to->count = 0;
    for (uint32_t i = 0; i < rows->rows; i++) {
        char text[64] = "";

        for (uint32_t c = 0; c < rows->columns; c++)
            put_value(text + strlen(text), sizeof(text) - strlen(text), leat_at(rows, i, c));
        put_line(to, "%s", text);
    }
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void sort_lines(struct lines *l)
{
    qsort(l->line, l->count, sizeof(l->line[0]), compare_lines);
}

static void ask(struct leat *l, const char *query, struct leat_row request, struct lines *to)
{
    struct leat_error err = {0, ""};
    struct leat_result *r;

    must(leat_query(l, "queries", query, request, NULL, &r, &err));
    answer_lines(r, to);
    leat_result_free(r);
}

static void expect_lines(const char *query, struct lines *got, struct lines *wanted, bool in_order)
{
    if (!in_order) {
        sort_lines(got);
        sort_lines(wanted);
    }
    for (uint32_t i = 0; i < got->count && i < wanted->count; i++)
        if (strcmp(got->line[i], wanted->line[i]) != 0)
            fail_msg("query '%s', row %u: '%s', but '%s' is wanted", query, i, got->line[i], wanted->line[i]);
    if (got->count != wanted->count)
        fail_msg("query '%s': %u rows, but %u are wanted", query, got->count, wanted->count);
}

static struct lines got, wanted;

static void expect(struct leat_test *t, const char *query, struct leat_row request, bool in_order)
{
    ask(leat_test_leat(t), query, request, &got);
    expect_lines(query, &got, &wanted, in_order);
    wanted.count = 0;
}

/* ---- The items ---- */

struct item {
    int64_t key, number;
    uint32_t kind, task;
    char name[8];
};

static struct item items[ITEM_COUNT];

static int compare_place(const void *a, const void *b)
{
    const struct item *x = a, *y = b;

    return x->task != y->task ? (x->task > y->task) - (x->task < y->task) : (x->key > y->key) - (x->key < y->key);
}

/* By task and key, as a scan of all tasks meets them. */
static struct leat_test *open_items(const struct way *w)
{
    struct leat_test *t = open_way(&module, w, NULL);
    struct leat_error err = {0, ""};
    uint64_t seed = w->seed;

    for (int64_t k = 0; k < ITEM_COUNT; k++) {
        struct item *i = &items[k];
        struct leat_value key = leat_i64(k);

        *i = (struct item){.key = k, .number = (int64_t)(next_random(&seed) % 1000) - 500, .kind = (uint32_t)(next_random(&seed) % KINDS),
                           .task = leat_task_of(TASKS, &key)};
        snprintf(i->name, sizeof(i->name), "n%02d", (int)(next_random(&seed) % 30));
        must(leat_test_append(t, "items", LEAT_ROW(key, leat_u32(i->kind), leat_i64(i->number), leat_str(i->name)), &err));
    }
    must(leat_test_run(t, &err));
    qsort(items, ITEM_COUNT, sizeof(*items), compare_place);
    wanted.count = 0;
    return t;
}

static void want_item(const struct item *i)
{
    put_line(&wanted, "%u %lld %lld %s ", i->kind, (long long)i->key, (long long)i->number, i->name);
}

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
    for (uint32_t task = 0; task < TASKS; task++) {
        put_line(&wanted, "direct %u %u ", task, task);
        expect(t, "to_task", LEAT_ROW(leat_u32(task)), true);
    }
    ask(leat_test_leat(t), "random", LEAT_ROW(leat_i64(1000)), &got);
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
        /* ping lets n / 2 rounded up rows of the request pass; of n * TASKS, which pong makes one less, as many again. */
        int64_t second = n * TASKS - 1;

        put_line(&wanted, "%lld ", (long long)((n + 1) / 2 + (second > 0 ? (second + 1) / 2 : 0)));
        expect(t, "late", LEAT_ROW(leat_i64(n)), true);
    }
    for (uint32_t task = 0; task < TASKS; task++)
        put_line(&wanted, "%d ", ITEM_COUNT);
    expect(t, "per_task", LEAT_ROW(), true);
}

static void routes_and_shapes(void **state)
{
    (void)state;
    for (int w = 0; w < WAYS; w++) {
        struct leat_test *t = open_items(&ways[w]);

        check_places(t);
        check_reads(t);
        check_shapes(t);
        leat_test_close(t);
    }
}

/* ---- What ends a query early ---- */

static void refuse(struct leat_test *t, const char *query, struct leat_row request, const struct leat_query *how, int code, const char *sentence)
{
    struct leat_error err = {0, ""};
    struct leat_result *r = NULL;
    int rv = leat_query(leat_test_leat(t), "queries", query, request, how, &r, &err);

    if (rv != code || err.code != code || strstr(err.text, sentence) == NULL || strstr(err.text, query) == NULL)
        fail_msg("query '%s': %s: %s\n  wanted: %s: %s", query, leat_code_name(rv), err.text, leat_code_name(code), sentence);
    assert_null(r);
}

/* After a query that failed others are what they were, whatever it left. */
static void check_counts(struct leat_test *t)
{
    uint32_t count[KINDS] = {0};

    for (int i = 0; i < ITEM_COUNT; i++)
        count[items[i].kind]++;
    for (uint32_t k = 0; k < KINDS; k++)
        put_line(&wanted, "%u %u ", k, count[k]);
    expect(t, "by_kind_count", LEAT_ROW(), false);
    put_line(&wanted, "%d ", ITEM_COUNT);
    expect(t, "whole_count", LEAT_ROW(), false);
}

static void errors_in_nodes(void **state)
{
    static const struct {
        int code;
        const char *sentence;
    } wants[FAILURES] = {
        [FAIL_SENTENCE] = {LEAT_EINVAL, "query 'queries.fails': node 'fail': no luck 0"},
        [FAIL_CODE] = {LEAT_EIO, "node 'fail': its run returned LEAT_EIO"},
        [FAIL_REJECT] = {LEAT_EREJECTED, "node 'fail': not this row"},
        [FAIL_COLUMNS] = {LEAT_ESCHEMA, "node 'fail': it emits a row of another form"},
        [FAIL_TASK] = {LEAT_EINVAL, "node 'fail': a row for node 'there' names task 8, but the module has 8 tasks"},
        [FAIL_LOOP] = {LEAT_ELIMIT, "node 'round': a row went round its loop 64 times"},
        [FAIL_READ] = {LEAT_ESCHEMA, "node 'fail': PState 'items'"},
        [FAIL_FOLD] = {LEAT_ELIMIT, "node 'sum': fold sum: "},
    };

    (void)state;
    for (int w = 0; w < 3; w++) {
        struct leat_test *t = open_items(&ways[w]);

        for (int how = 0; how < FAILURES; how++) {
            refuse(t, "fails", LEAT_ROW(leat_i64(how)), NULL, wants[how].code, wants[how].sentence);
            check_counts(t);
        }
        put_line(&wanted, "%d ", 2 * ITEM_COUNT);
        expect(t, "fails", LEAT_ROW(leat_i64(FAILURES)), true);
        refuse(t, "to_task", LEAT_ROW(leat_u32(TASKS)), NULL, LEAT_EINVAL, "query 'queries.to_task': a row for node 'there' names task 8");
        refuse(t, "walk", LEAT_ROW(leat_i64(ITEM_COUNT - 1 - 64 * STRIDE), leat_i64(0)), NULL, LEAT_ELIMIT, "node 'walk': a row went round its loop 64 times");
        refuse(t, "two_loops", LEAT_ROW(leat_i64(200)), NULL, LEAT_ELIMIT, "a row went round its loop 64 times");
        check_counts(t);
        leat_test_close(t);
    }
}

static void deadline_and_cancel(void **state)
{
    struct leat_test *t = open_items(&ways[1]);
    struct leat_query soon = {.timeout_ms = 10}, canceled = {.cancel = &seen.cancel};

    (void)state;
    seen.runs = 0;
    refuse(t, "lingers", LEAT_ROW(), &soon, LEAT_ETIMEOUT, "the query did not end within 10 ms");
    assert_in_range(seen.runs, 1, 3);
    check_counts(t);
    seen.runs = 0;
    seen.cancel = false;
    refuse(t, "lingers", LEAT_ROW(), &canceled, LEAT_ECANCELED, "the query was canceled");
    assert_int_equal(seen.runs, 3);
    refuse(t, "lingers", LEAT_ROW(), &canceled, LEAT_ECANCELED, "the query was canceled");
    assert_int_equal(seen.runs, 3);
    check_counts(t);
    for (uint32_t task = 0; task < TASKS; task++)
        put_line(&wanted, "%u ", task);
    expect(t, "lingers", LEAT_ROW(), false);
    leat_test_close(t);
}

static void memory_ends(void **state)
{
    struct leat_test *t = open_items(&ways[1]);
    struct leat_query little = {.memory_max = 1 << 20};

    (void)state;
    refuse(t, "pours", LEAT_ROW(), &little, LEAT_ELIMIT, "the memory limit was passed");
    assert_in_range(seen.emitted, 500, 1100);
    check_counts(t);
    refuse(t, "takes", LEAT_ROW(leat_i64(2000000)), &little, LEAT_ELIMIT, "node 'take': the memory limit");
    put_line(&wanted, "900000 ");
    struct leat_error err = {0, ""};
    struct leat_result *r;
    must(leat_query(leat_test_leat(t), "queries", "takes", LEAT_ROW(leat_i64(900000)), &little, &r, &err));
    answer_lines(r, &got);
    expect_lines("takes", &got, &wanted, true);
    wanted.count = 0;
    leat_result_free(r);
    put_line(&wanted, "2000000 ");
    expect(t, "takes", LEAT_ROW(leat_i64(2000000)), true);
    struct leat_query least = {.memory_max = 1};
    refuse(t, "all", LEAT_ROW(), &least, LEAT_ELIMIT, "the memory limit was passed");
    check_counts(t);
    leat_test_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes_and_shapes),   cmocka_unit_test(errors_in_nodes),
        cmocka_unit_test(deadline_and_cancel), cmocka_unit_test(memory_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
