/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_PROCESS_CHAIN_H
#define TESTS_PROCESS_CHAIN_H

/* A module whose state shows losses, repeats and changes of order: a hash over the numbers of each key, one after another,
 * and a count for each hop. */

#include "leat/leat.h"

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

static const struct leat_module module_chain = {
    LEAT_ABI, .name = "chain",
    .depots = DEPOTS({"numbers", "key: i64, number: i64", .by = "key"}),
    .pstates = PSTATES({"chain", "map<i64, u64>"}, {"hops", "map<i64, i64>"}),
    .topologies = TOPOLOGIES({"follow", LEAT_STREAM, NODES(
        {"chain", .from = "numbers", .run = chain, .emits = "hop: i64"},
        {"count", .from = "chain", .route = LEAT_BY_KEY, .fold = &leat_count, .into = "hops"})})};

#endif
