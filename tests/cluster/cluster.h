/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CLUSTER_CLUSTER_H
#define TESTS_CLUSTER_CLUSTER_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "leat/testing.h"

/* Fail with the error's sentence. must() takes it from a local `err`. */
#define must_with(expression, error)                                                               \
    do {                                                                                           \
        int must_rv = (expression);                                                                \
        if (must_rv != 0)                                                                          \
            fail_msg("%s: %s: %s", #expression, leat_code_name(must_rv), (error)->text);           \
    } while (0)
#define must(expression) must_with(expression, &err)

/* The ways a module must give the same results in: seeds, turn cuts, forced hops. */
struct way {
    uint64_t seed;
    uint32_t groups, cut_rows;
    bool force_hops, memory;
};
static const struct way ways[] = {
    {1, 1, 0, false, true},  {2, 2, 0, false, true}, {3, 8, 0, false, false}, {4, 4, 3, false, true},
    {5, 4, 1, false, true},  {6, 2, 0, true, true},  {7, 4, 7, true, true},   {8, 8, 2, true, false},
};
enum { WAYS = sizeof(ways) / sizeof(*ways) };

static inline struct leat_test *open_way(const struct leat_module *module, const struct way *w,
                                         const struct leat_option *options)
{
    struct leat_test_config config = {.module = module, .options = options, .tasks = 8, .groups = w->groups,
                                      .memory = w->memory,
                                      .seed = w->seed, .cut_rows = w->cut_rows, .force_hops = w->force_hops,
                                     .checkpoint_bytes = w->memory ? 0 : 2048};
    struct leat_error err = {0, ""};
    struct leat_test *t = NULL;

    must(leat_test_open(&config, &t, &err));
    return t;
}

/* After a crash: everything is opened again, or, by chance, first only the group that crashed, while others go on for a
 * while. Says how often it crashed on the way. */
static inline int come_back(struct leat_test *t, uint64_t chance, struct leat_error *err)
{
    int crashes = 0, rv = 0;

    for (uint64_t steps = chance / 2 % 40; chance % 2 == 0 && steps > 0 && rv >= 0; steps--)
        rv = leat_test_step(t, err);
    if (chance % 2 == 0 && rv >= 0)
        rv = leat_test_restart_group(t, err);
    else
        rv = leat_test_restart(t, err);
    while (rv == LEAT_ECANCELED) {
        crashes++;
        rv = leat_test_restart(t, err);
    }
    must_with(rv, err);
    return crashes;
}

static inline uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005U + 1442695040888963407U;
    return *seed >> 33;
}

/* Of a PState, in all tasks. */
static inline uint64_t entries_of(struct leat_test *t, const char *module, const char *pstate)
{
    struct leat_error err = {0, ""};
    uint64_t sum = 0, size;
    struct leat_view *v;
    uint32_t at = 0;

    must(leat_view_open(leat_test_leat(t), module, &v, &err));
    must(leat_view_pstate(v, pstate, &at));
    for (uint32_t task = 0; task < leat_view_tasks(v); task++) {
        must(leat_size(leat_view_task(v, task), at, LEAT_KEYS(), &size));
        sum += size;
    }
    leat_view_close(v);
    return sum;
}

/* One of the stats in an answer of ivf, which are a map in this column of its first row. */
static inline uint64_t stat_of(const struct leat_batch *rows, uint32_t column, const char *name)
{
    struct leat_any_item map, key, value;

    assert_true(rows->rows > 0);
    struct leat_value stats = leat_at(rows, 0, column);
    struct leat_span bytes = stats.as.bytes;
    assert_int_equal(stats.type, LEAT_ANY);
    assert_int_equal(leat_any_read(&bytes, &map), 0);
    for (uint32_t i = 0; i < map.count; i++) {
        assert_int_equal(leat_any_read(&map.elements, &key), 0);
        assert_int_equal(leat_any_read(&map.elements, &value), 0);
        if (key.value.as.bytes.size == strlen(name) && memcmp(key.value.as.bytes.base, name, strlen(name)) == 0)
            return (uint64_t)value.value.as.i;
    }
    fail_msg("there is no %s", name);
    return 0;
}

/* A node's work: one more for each row's first column in a map<.., i64>. */
static inline int count_into(struct leat_task *t, const struct leat_batch *in, uint32_t pstate)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value key = leat_at(in, i, 0), n = leat_i64(0);

        leat_get(t, pstate, LEAT_KEYS(key), &n, 1);
        leat_put(t, pstate, LEAT_KEYS(key), LEAT_ROW(leat_i64(n.as.i + 1)));
    }
    return 0;
}

/* The first field of what a key leads to, as i64; or missing. */
static inline int64_t value_of(struct leat_test *t, const char *module, const char *pstate, struct leat_value key,
                               int64_t missing)
{
    struct leat_value v = leat_i64(missing);
    struct leat_error err = {0, ""};
    struct leat_view *view;
    uint32_t at = 0;

    must(leat_view_open(leat_test_leat(t), module, &view, &err));
    must(leat_view_pstate(view, pstate, &at));
    int rv = leat_get(leat_view_owner(view, &key), at, LEAT_KEYS(key), &v, 1);
    leat_view_close(view);
    assert_true(rv == 0 || rv == LEAT_ENOTFOUND);
    return rv == 0 ? v.as.i : missing;
}

#endif
