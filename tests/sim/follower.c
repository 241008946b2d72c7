/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/follower.h"

#include "tests/sim/module.h"

/* A second module in the same process, which reads a depot of the first: with other tasks, other groups, and its own
 * pace. */

static int follow(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value key = leat_at(in, i, 0), was[3] = {leat_i64(0), leat_i64(0), leat_u64(0)};

        leat_get(t, 0, LEAT_KEYS(key), was, 3);
        leat_put(t, 0, LEAT_KEYS(key),
                 LEAT_ROW(leat_i64(was[0].as.i + 1), leat_i64(was[1].as.i + leat_at(in, i, 1).as.i),
                          leat_u64(was[2].as.u + sim_mix(leat_at(in, i, 2).as.u, 3))));
    }
    return 0;
}

const struct leat_module follower_module = {
    LEAT_ABI, .name = "follower",
    .depots = DEPOTS({"unused", "key: u32", .by = "key"}),
    .pstates = PSTATES({"totals", "map<u32, struct{count: i64, sum: i64, hash: u64}>"}, {"counts", "map<u32, i64>"}),
    .topologies = TOPOLOGIES({"follow", LEAT_STREAM, NODES(
        {"follow", .from = "sim/d0", .route = LEAT_BY_KEY, .run = follow},
        {"count", .from = "sim/d0", .route = LEAT_BY_KEY, .fold = &leat_count, .into = "counts"})})};
