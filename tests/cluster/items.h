/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CLUSTER_ITEMS_H
#define TESTS_CLUSTER_ITEMS_H

/* What tests of queries share: items in a PState, some nodes that read them, and answers compared as lines of text,
 * sorted unless their order is promised. The module is called "queries" and its first
 * PState and depot hold the items. */

#include "tests/cluster/cluster.h"

enum { ITEMS };
enum { ITEM_COUNT = 200, KINDS = 5, TASKS = 8, LINES = 4096 };

#define ITEM "kind: u32, key: i64, number: i64, name: str"
#define ITEM_DEPOT {"items", "key: i64, kind: u32, number: i64, name: str", .by = "key"}
#define ITEM_PSTATE [ITEMS] = {"items", "map<i64, struct{kind: u32, number: i64, name: str}>"}
#define SCAN {"scan", .from = "request", .route = LEAT_ALL, .run = scan, .emits = ITEM}
#define REPLY(from_) {"answer", .from = from_, .route = LEAT_TO_ORIGIN, .fold = &leat_list, .into = "reply"}

/* ---- Nodes ---- */

static inline int store(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_put(t, ITEMS, LEAT_KEYS(leat_at(in, i, 0)),
                 LEAT_ROW(leat_at(in, i, 1), leat_at(in, i, 2), leat_at(in, i, 3)));
    return 0;
}

static inline int scan(struct leat_task *t, const struct leat_batch *in)
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

static inline int pass(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value v[4];

        for (uint32_t c = 0; c < in->columns; c++)
            v[c] = leat_at(in, i, c);
        leat_emit(t, i, (struct leat_row){v, in->columns});
    }
    return 0;
}

/* ---- Answers and models as lines ---- */

struct lines {
    uint32_t count;
    char line[LINES][64];
};

static inline void put_line(struct lines *to, const char *format, ...)
{
    va_list args;

    assert_true(to->count < LINES);
    va_start(args, format);
    vsnprintf(to->line[to->count++], sizeof(to->line[0]), format, args);
    va_end(args);
}

static inline void put_value(char *to, size_t size, struct leat_value v)
{
    if (v.type == LEAT_STR)
        snprintf(to, size, "%.*s ", (int)v.as.bytes.size, (const char *)v.as.bytes.base);
    else if (v.type == LEAT_F64)
        snprintf(to, size, "%.6g ", v.as.f);
    else
        snprintf(to, size, "%lld ", (long long)v.as.i);
}

static inline void answer_lines(const struct leat_result *r, struct lines *to)
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

static inline int compare_lines(const void *a, const void *b)
{
    return strcmp(a, b);
}

static inline void sort_lines(struct lines *l)
{
    qsort(l->line, l->count, sizeof(l->line[0]), compare_lines);
}

static inline void ask(struct leat *l, const char *module, const char *query, struct leat_row request, struct lines *to)
{
    struct leat_error err = {0, ""};
    struct leat_result *r;

    must(leat_query(l, module, query, request, NULL, &r, &err));
    answer_lines(r, to);
    leat_result_free(r);
}

static inline void expect_lines(const char *query, struct lines *got, struct lines *wanted, bool in_order)
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

static inline void expect(struct leat_test *t, const char *query, struct leat_row request, bool in_order)
{
    ask(leat_test_leat(t), "queries", query, request, &got);
    expect_lines(query, &got, &wanted, in_order);
    wanted.count = 0;
}

static inline void refuse(struct leat_test *t, const char *query, struct leat_row request, const struct leat_query *how,
                          int code, const char *sentence)
{
    struct leat_error err = {0, ""};
    struct leat_result *r = NULL;
    int rv = leat_query(leat_test_leat(t), "queries", query, request, how, &r, &err);

    if (rv != code || err.code != code || strstr(err.text, sentence) == NULL || strstr(err.text, query) == NULL)
        fail_msg("query '%s': %s: %s\n  wanted: %s: %s", query, leat_code_name(rv), err.text, leat_code_name(code),
                 sentence);
    assert_null(r);
}

/* ---- The items ---- */

struct item {
    int64_t key, number;
    uint32_t kind, task;
    char name[8];
};

static struct item items[ITEM_COUNT];

static inline int compare_place(const void *a, const void *b)
{
    const struct item *x = a, *y = b;

    return x->task != y->task ? (x->task > y->task) - (x->task < y->task) : (x->key > y->key) - (x->key < y->key);
}

/* By task and key, as a scan of all tasks meets them. */
static inline struct leat_test *open_items(const struct leat_module *module, const struct way *w)
{
    struct leat_test *t = open_way(module, w, NULL);
    struct leat_error err = {0, ""};
    uint64_t seed = w->seed;

    for (int64_t k = 0; k < ITEM_COUNT; k++) {
        struct item *i = &items[k];
        struct leat_value key = leat_i64(k);

        *i = (struct item){.key = k,
                           .number = (int64_t)(next_random(&seed) % 1000) - 500,
                           .kind = (uint32_t)(next_random(&seed) % KINDS),
                           .task = leat_task_of(TASKS, &key)};
        snprintf(i->name, sizeof(i->name), "n%02d", (int)(next_random(&seed) % 30));
        must(leat_test_append(t, "items", LEAT_ROW(key, leat_u32(i->kind), leat_i64(i->number), leat_str(i->name)),
                              &err));
    }
    must(leat_test_run(t, &err));
    qsort(items, ITEM_COUNT, sizeof(*items), compare_place);
    wanted.count = 0;
    return t;
}

static inline void want_item(const struct item *i)
{
    put_line(&wanted, "%u %lld %lld %s ", i->kind, (long long)i->key, (long long)i->number, i->name);
}

#endif
