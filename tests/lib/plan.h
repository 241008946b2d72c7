/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_PLAN_H
#define TESTS_LIB_PLAN_H

/* For tests of plans: a world of depots and PStates for topologies, and nodes that do nothing. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "topologies/plan.h"

#define LIST(...) ((const struct leat_node[]){__VA_ARGS__, {.name = NULL}})

/* topologies/ only calls it from finish(), which no plan does. */
void leat_fold_emit(struct leat_task *t, struct leat_row row)
{
    (void)t;
    (void)row;
    fail_msg("a plan finished a fold");
}

static inline int run(struct leat_task *t, const struct leat_batch *in)
{
    (void)t;
    (void)in;
    return 0;
}

static inline struct leat_module world(const struct leat_topology *topologies)
{
    static const struct leat_option options[] = {
        {"dims", "4"}, {"top", "10"}, {"rate", "0.5"}, {"mode", "fast"}, {NULL, NULL}};
    static const struct leat_depot_declaration depots[] = {
        {"lines", "text: str", .partitioner = LEAT_RANDOM},
        {"points", "id: str, n: i64, v: f64?", .by = "id"},
        {"beats", .tick_ms = 1000},
        {"words", "word: str", .partitioner = LEAT_NO_CLIENT},
        {.name = NULL}};
    static const struct leat_pstate_declaration pstates[] = {
        {"counts", "map<str, i64>"},
        {"means", "map<str, struct{sum: f64, count: i64}>"},
        {"seen", "map<str, set<i64>>"},
        {"pairs", "map<str, map<i64, f64?>>"},
        {"lists", "map<str, list<struct{n: i64, v: f64?}>>"},
        {"flat", "set<str>"},
        {NULL, NULL}};

    return (struct leat_module){LEAT_ABI, .name = "world", .options = options, .depots = depots, .pstates = pstates,
                                .topologies = topologies};
}

static inline struct plan *must_open(const struct leat_module *m, const struct leat_option *options)
{
    struct plan_config config = {.module = m, .options = options, .tasks = 8};
    struct leat_error err = {0};
    struct plan *p = NULL;

    if (plan_open(&config, &p, &err) != 0)
        fail_msg("%s", err.text);
    return p;
}

#endif
