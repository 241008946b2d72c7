/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_MODEL_H
#define TESTS_SIM_MODEL_H

/* What a module must hold when so many rows were processed once each: its description, followed row by row. */

#include "tests/sim/module.h"

/* Of the rows of one task and key that came to a node. */
struct model_part {
    uint64_t count;
    int64_t sum, least, most;
    uint64_t hash;  /* of the ids, in any order */
    uint64_t chain; /* in their order */
    struct sim_row *row; /* all of them, as they came */
    uint32_t rows, capacity;
};

struct model {
    const struct sim_module *module;
    struct model_part *part;  /* by node, task and key; task `tasks`: nobody can say which */
    /* what nodes append, or run in the background, is not followed: no acknowledgement waits for it */
    bool one_depot;
    uint64_t rows[MODULE_NODES];
    uint64_t dead_letters;
    uint64_t depot_rows[MODULE_DEPOTS], depot_hash[MODULE_DEPOTS]; /* what nodes appended */
};

void model_init(struct model *m, const struct sim_module *module);
void model_fini(struct model *m);
struct model_part *model_part(const struct model *m, uint32_t node, uint32_t task, uint32_t key);
/* A row of a depot's partition is processed. */
void model_row(struct model *m, uint32_t depot, uint32_t partition, const struct sim_row *row);
/* Its part in what a part tells. */
void model_part_add(struct model_part *p, const struct sim_row *row);
void model_part_merge(struct model_part *p, const struct model_part *other);
void model_part_clear(struct model_part *p);
/* Rows by id, each id once. */
void model_part_settle(struct model_part *p);
/* The best rows by value, ties by id; each id once. */
void model_part_best(struct model_part *p, uint32_t most);

#endif
