/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/base.h"
#include "base/random.h"

#include <stdio.h>

/* Folds into PStates, over many turns: what a key keeps after all rows must be what a model makes of all rows. Rows
 * come twice: once partitioned by key, where their order counts, and once at random,
 * where states travel and are merged. */

enum { KEYS = 12, BATCHES = 6, BATCH_ROWS = 40, ROWS = BATCHES * BATCH_ROWS };
enum { COUNTS, SUMS, LEAST, MEANS, LAST, FIRST, SEEN, LOGS, PAIRS, SOME, BEST };

#define PAIR "struct{n: i64, v: f64?}"
#define COLUMNS "key: str, n: i64, v: f64?"
#define KEPT(name_, from_, fold_, args_)                                                                               \
    {#name_, .from = from_, .route = LEAT_BY_KEY, .fold = &leat_##fold_, .args = args_, .into = #name_ "s"}

static const struct leat_module folds = {
    LEAT_ABI, .name = "folds",
    .depots = DEPOTS({"ordered", COLUMNS, .by = "key"}, {"scattered", COLUMNS, .partitioner = LEAT_RANDOM}),
    .pstates = PSTATES([COUNTS] = {"counts", "map<str, i64>"}, [SUMS] = {"sums", "map<str, i64>"},
                       [LEAST] = {"leasts", "map<str, f64>"},
                       [MEANS] = {"means", "map<str, struct{sum: f64, count: i64}>"},
                       [LAST] = {"lasts", "map<str, " PAIR ">"}, [FIRST] = {"firsts", "map<str, " PAIR ">"},
                       [SEEN] = {"seens", "map<str, set<i64>>"}, [LOGS] = {"logs", "map<str, list<" PAIR ">>"},
                       [PAIRS] = {"pairs", "map<str, map<i64, f64?>>"}, [SOME] = {"somes", "map<str, list<" PAIR ">>"},
                       [BEST] = {"bests", "map<str, list<" PAIR ">>"}),
    .topologies = TOPOLOGIES({"keep", LEAT_STREAM, NODES(
        KEPT(count, "scattered", count, NULL), KEPT(sum, "scattered", sum, "of=n"),
        KEPT(least, "scattered", min, "of=v"), KEPT(mean, "scattered", average, "of=v"),
        KEPT(last, "ordered", last, NULL), KEPT(first, "ordered", first, NULL),
        KEPT(seen, "scattered", set, "of=n"), KEPT(log, "ordered", list, NULL),
        KEPT(pair, "ordered", map, NULL), KEPT(some, "scattered", limit, "k=3"),
        KEPT(best, "scattered", top_k, "k=4 by=n id=n order=descending"))})};

/* ---- Rows and what is to come of them ---- */

struct row {
    uint32_t key;
    int64_t n;
    bool null;
    double v; /* halves: sums are exact in any order */
};

static struct row rows[ROWS];

static void make_rows(void)
{
    struct random random;
    uint64_t seed = random_entropy();

    print_message("seed %llu\n", (unsigned long long)seed);
    random_seed(&random, seed);
    for (size_t i = 0; i < ROWS; i++) {
        rows[i].key = (uint32_t)random_below(&random, KEYS);
        rows[i].n = (int64_t)random_below(&random, 15);
        rows[i].v = (double)random_below(&random, 100) / 2;
        /* Key 0 never has a value: there is no least one. */
        rows[i].null = rows[i].key == 0 || random_below(&random, 3) == 0;
    }
}

static struct leat_value value_of(const struct row *r)
{
    return r->null ? leat_null() : leat_f64(r->v);
}

static void append(struct leat *l, const char *depot, const struct row *from, uint32_t count)
{
    struct leat_depot *d;
    struct leat_rows *to;
    struct leat_error err = {0};
    char key[8];

    assert_int_equal(leat_depot_find(l, "folds", depot, &d, &err), 0);
    assert_int_equal(leat_rows_new(d, &to), 0);
    for (uint32_t i = 0; i < count; i++) {
        snprintf(key, sizeof(key), "key%u", from[i].key);
        assert_int_equal(leat_rows_add(to, LEAT_ROW(leat_str(key), leat_i64(from[i].n), value_of(&from[i])), &err), 0);
    }
    if (leat_append(d, to, &(struct leat_append){.ack = LEAT_PROCESSED}, NULL, &err) != 0)
        fail_msg("%s", err.text);
    leat_rows_free(to);
}

/* ---- Looking ---- */

static struct leat_value key;
static struct leat_task *task;

static void same(const struct leat_value *is, const struct row *r)
{
    assert_int_equal(is[0].as.i, r->n);
    assert_int_equal(is[1].type, r->null ? LEAT_NULL : LEAT_F64);
    assert_true(r->null || is[1].as.f == r->v);
}

static void check_values(uint32_t number)
{
    int64_t count = 0, sum = 0, values = 0;
    double total = 0, least = 0;
    struct leat_value out[2];

    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].key == number) {
            count++;
            sum += rows[i].n;
            if (rows[i].null)
                continue;
            least = values == 0 || rows[i].v < least ? rows[i].v : least;
            total += rows[i].v;
            values++;
        }
    assert_int_equal(leat_get(task, COUNTS, (struct leat_row){&key, 1}, out, 1), 0);
    assert_int_equal(out[0].as.i, count);
    assert_int_equal(leat_get(task, SUMS, (struct leat_row){&key, 1}, out, 1), 0);
    assert_int_equal(out[0].as.i, sum);
    assert_int_equal(leat_get(task, MEANS, (struct leat_row){&key, 1}, out, 2), 0);
    assert_true(out[0].as.f == total);
    assert_int_equal(out[1].as.i, values);
    if (values == 0) {
        assert_int_equal(leat_get(task, LEAST, (struct leat_row){&key, 1}, out, 1), LEAT_ENOTFOUND);
        return;
    }
    assert_int_equal(leat_get(task, LEAST, (struct leat_row){&key, 1}, out, 1), 0);
    assert_true(out[0].as.f == least);
}

static void check_ordered(uint32_t number)
{
    struct leat_value out[2], index;
    const struct row *last = NULL;
    struct leat_scan *scan;

    assert_int_equal(leat_scan_open(task, LOGS, (struct leat_row){&key, 1}, NULL, &scan), 0);
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].key == number) {
            assert_int_equal(leat_scan_next(scan, &index, out, 2), 0);
            same(out, &rows[i]);
            if (last == NULL) {
                assert_int_equal(leat_get(task, FIRST, (struct leat_row){&key, 1}, out, 2), 0);
                same(out, &rows[i]);
            }
            last = &rows[i];
        }
    assert_int_equal(leat_scan_next(scan, &index, out, 2), LEAT_END);
    leat_scan_close(scan);
    assert_int_equal(leat_get(task, LAST, (struct leat_row){&key, 1}, out, 2), 0);
    same(out, last);
}

static const struct row *last_with(uint32_t number, int64_t n)
{
    const struct row *found = NULL;

    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].key == number && rows[i].n == n)
            found = &rows[i];
    return found;
}

static void check_collections(uint32_t number)
{
    struct leat_value out[2], index;
    uint64_t distinct = 0, seen, pairs;
    struct leat_scan *scan;
    int64_t best = 14;

    for (int64_t n = 0; n < 15; n++) {
        const struct row *r = last_with(number, n);
        struct leat_value path[2] = {key, leat_i64(n)};

        assert_int_equal(leat_get(task, SEEN, (struct leat_row){path, 2}, out, 0), r != NULL ? 0 : LEAT_ENOTFOUND);
        assert_int_equal(leat_get(task, PAIRS, (struct leat_row){path, 2}, out + 1, 1), r != NULL ? 0 : LEAT_ENOTFOUND);
        out[0] = leat_i64(n);
        if (r != NULL)
            same(out, r);
        distinct += r != NULL;
    }
    assert_int_equal(leat_size(task, SEEN, (struct leat_row){&key, 1}, &seen), 0);
    assert_int_equal(leat_size(task, PAIRS, (struct leat_row){&key, 1}, &pairs), 0);
    assert_int_equal(seen, distinct);
    assert_int_equal(pairs, distinct);
    assert_int_equal(leat_scan_open(task, BEST, (struct leat_row){&key, 1}, NULL, &scan), 0);
    for (uint64_t i = 0; i < 4 && i < distinct; i++, best--) {
        while (last_with(number, best) == NULL)
            best--;
        assert_int_equal(leat_scan_next(scan, &index, out, 2), 0);
        assert_int_equal(out[0].as.i, best);
    }
    assert_int_equal(leat_scan_next(scan, &index, out, 2), LEAT_END);
    leat_scan_close(scan);
}

static void check_some(uint32_t number)
{
    struct leat_value out[2], index;
    struct leat_scan *scan;
    uint32_t count = 0, want = 0;

    for (size_t i = 0; i < ROWS; i++)
        want += rows[i].key == number;
    assert_int_equal(leat_scan_open(task, SOME, (struct leat_row){&key, 1}, NULL, &scan), 0);
    while (leat_scan_next(scan, &index, out, 2) == 0) {
        assert_non_null(last_with(number, out[0].as.i));
        count++;
    }
    leat_scan_close(scan);
    assert_int_equal(count, want < 3 ? want : 3);
}

static bool has_rows(uint32_t number)
{
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].key == number)
            return true;
    return false;
}

static void test_folds_keep(void **state)
{
    struct leat_error err = {0};
    struct leat_view *view;
    struct leat *l;
    char text[8];

    (void)state;
    make_rows();
    assert_int_equal(leat_open(NULL, &(struct leat_config){.memory = true, .create = true}, &l, &err), 0);
    if (leat_launch(l, &folds, &(struct leat_launch){.tasks = 8, .groups = 2}, &err) != 0)
        fail_msg("%s", err.text);
    for (uint32_t i = 0; i < BATCHES; i++) {
        append(l, "ordered", rows + i * BATCH_ROWS, BATCH_ROWS);
        append(l, "scattered", rows + i * BATCH_ROWS, BATCH_ROWS);
    }
    assert_int_equal(leat_view_open(l, "folds", &view, &err), 0);
    for (uint32_t i = 0; i < KEYS; i++) {
        snprintf(text, sizeof(text), "key%u", i);
        key = leat_str(text);
        task = leat_view_owner(view, &key);
        if (!has_rows(i))
            continue;
        check_values(i);
        check_ordered(i);
        check_collections(i);
        check_some(i);
    }
    leat_view_close(view);
    leat_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_folds_keep)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
