/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_PROCESS_CHAIN_H
#define TESTS_PROCESS_CHAIN_H

/* A module whose state shows losses, repeats and changes of order: a hash over the numbers of each key, one after
 * another, and a count for each hop, once in turns and once more by way of a background node. It derives a copy of the
 * first two, which the query "differs" compares. */

#include "leat/leat.h"

#include <stdlib.h>
#include <string.h>

enum { KEYS = 61, HOPS = 37 };

static inline uint64_t mix(uint64_t h, int64_t number)
{
    h = (h ^ (uint64_t)number) * 0x9e3779b97f4a7c15U;
    return h ^ h >> 29;
}

static inline int64_t key_of(int64_t number)
{
    return number * 7919 % KEYS;
}

static inline int64_t hop_of(int64_t number)
{
    return number * 104729 % HOPS;
}

static inline int chain(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value key = leat_at(in, i, 0), number = leat_at(in, i, 1), h = leat_u64(0);

        leat_get(t, 0, LEAT_KEYS(key), &h, 1);
        leat_put(t, 0, LEAT_KEYS(key), LEAT_ROW(leat_u64(mix(h.as.u, number.as.i))));
        leat_emit(t, i, LEAT_ROW(leat_i64(hop_of(number.as.i))));
    }
    return 0;
}

static inline int chain_again(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0)));
    return 0;
}

/* ---- What is derived ---- */

/* By PState and key, of a group. */
struct chain_copy {
    uint64_t value[2][KEYS];
};

static inline int chain_build(struct leat_derivation *d, void **state, struct leat_error *err)
{
    struct leat_task *first = leat_derivation_first(d);
    struct chain_copy *copy = calloc(1, sizeof(*copy));

    for (uint32_t i = leat_group(first); i < leat_task_count(first) && copy != NULL; i += leat_group_count(first))
        for (uint32_t pstate = 0; pstate < 2; pstate++) {
            struct leat_task *t = leat_derivation_task(d, i);
            struct leat_value key, value;
            struct leat_scan *scan;

            if (leat_scan_open(t, pstate, LEAT_KEYS(), NULL, &scan) != 0)
                continue; /* the error sticks */
            while (leat_scan_next(scan, &key, &value, 1) == 0)
                copy->value[pstate][key.as.i] = value.as.u;
            leat_scan_close(scan);
        }
    *state = copy;
    return copy != NULL ? 0 : leat_fail(err, LEAT_ENOMEM, "no memory");
}

static inline int chain_apply(struct leat_derivation *d, void *old, const struct leat_change *change, uint32_t changes,
                              void **state, struct leat_error *err)
{
    struct chain_copy *copy = malloc(sizeof(*copy));

    (void)d;
    if (copy == NULL)
        return leat_fail(err, LEAT_ENOMEM, "no memory");
    memcpy(copy, old, sizeof(*copy));
    for (uint32_t i = 0; i < changes; i++) {
        struct leat_value value = leat_u64(0);

        leat_get(change[i].task, change[i].pstate, LEAT_KEYS(change[i].key), &value, 1);
        copy->value[change[i].pstate][change[i].key.as.i] = value.as.u;
    }
    *state = copy;
    return 0;
}

static const struct leat_derive chain_derive = {
    .from = "chain, hops", .build = chain_build, .apply = chain_apply, .drop = free};

/* Keys of this task for which the copy is not what the PStates say. */
static inline int chain_differs(struct leat_task *t, const struct leat_batch *in)
{
    const struct chain_copy *copy = leat_derived(t);
    int64_t differs = 0;

    (void)in;
    for (uint32_t pstate = 0; pstate < 2 && copy != NULL; pstate++)
        for (int64_t i = 0; i < (pstate == 0 ? KEYS : HOPS); i++) {
            struct leat_value key = leat_i64(i), value = leat_u64(0);

            if (leat_task_of(leat_task_count(t), &key) != leat_task_number(t))
                continue;
            leat_get(t, pstate, LEAT_KEYS(key), &value, 1);
            differs += copy->value[pstate][i] != value.as.u;
        }
    leat_emit(t, 0, LEAT_ROW(leat_i64(differs)));
    return leat_task_error(t);
}

static const struct leat_module module_chain = {
    LEAT_ABI, .name = "chain", .derive = &chain_derive,
    .depots = DEPOTS({"numbers", "key: i64, number: i64", .by = "key"}),
    .pstates = PSTATES({"chain", "map<i64, u64>"}, {"hops", "map<i64, i64>"}, {"hops_again", "map<i64, i64>"}),
    .topologies = TOPOLOGIES(
        {"follow", LEAT_STREAM, NODES(
            {"chain", .from = "numbers", .run = chain, .emits = "hop: i64"},
            {"count", .from = "chain", .route = LEAT_BY_KEY, .fold = &leat_count, .into = "hops"},
            {"again", .from = "chain", .run = chain_again, .emits = "hop: i64", .background = true},
            {"count_again", .from = "again", .route = LEAT_BY_KEY, .fold = &leat_count, .into = "hops_again"})},
        {"differs", LEAT_QUERY, NODES(
            {"compare", .from = "request", .route = LEAT_ALL, .run = chain_differs, .emits = "keys: i64"},
            {"sum", .from = "compare", .route = LEAT_TO_ORIGIN, .fold = &leat_sum, .into = "reply"})})};

/* How many keys differ in the copy; -1: it cannot be asked, and err says why. */
static inline int64_t chain_ask(struct leat *l, struct leat_error *err)
{
    struct leat_result *r;

    if (leat_query(l, "chain", "differs", LEAT_ROW(), NULL, &r, err) != 0)
        return -1;
    int64_t differs = leat_at(leat_result_rows(r), 0, 0).as.i;
    leat_result_free(r);
    return differs;
}

#endif
