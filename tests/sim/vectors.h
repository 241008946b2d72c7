/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_VECTORS_H
#define TESTS_SIM_VECTORS_H

/* In some seeds: the module ivf beside the others, with postings of few rows, which split, merge and move their rows
 * all the time. Each client puts and deletes vectors of ids of its own. What change n of a client does follows from n,
 * and each row says its n.
 *
 *   vectors.c      the module, what clients do, what must hold at any time
 *   vectors_end.c  what must hold when nothing is left to do */

#include "tests/sim/sim.h"

enum { VECTORS_IDS = 100, VECTORS_ELEMENTS = 16, VECTORS_SIZE = VECTORS_ELEMENTS * 4, VECTORS_NONE = 1 << 20 };

struct vectors_plan {
    bool runs;
    uint32_t tasks, groups, dims;
    enum leat_type type;
    int metric; /* enum metric */
    const char *type_name, *metric_name;
    bool names; /* ids are str */
};
extern struct vectors_plan vectors_plan;
extern struct leat_module vectors_module;

/* What was promised, by client. */
struct vectors_promise {
    uint64_t sent[SIM_CLIENTS], acked[SIM_CLIENTS]; /* changes */
    uint64_t processed[SIM_CLIENTS][VECTORS_IDS];   /* of an id: number + 1 of the newest change that is processed */
};
extern struct vectors_promise vectors;

struct vectors_change {
    uint32_t id;
    bool there;
    uint8_t vector[VECTORS_SIZE]; /* as it is sent */
    uint32_t size;
};
struct vectors_change vectors_change_at(uint32_t client, uint64_t n);
struct leat_value vectors_id(uint32_t client, uint32_t id, char text[16]);

/* What is known of each id: its newest change is one of these numbers, + 1. */
struct vectors_known {
    uint64_t least[SIM_CLIENTS][VECTORS_IDS], most[SIM_CLIENTS][VECTORS_IDS];
    bool may_have[SIM_CLIENTS][VECTORS_IDS], may_lack[SIM_CLIENTS][VECTORS_IDS];
    bool changes[SIM_CLIENTS][VECTORS_IDS]; /* not all changes that were sent are known to be processed */
};

void vectors_init(uint64_t seed);
int vectors_launch(struct leat *l, struct leat_error *err);
/* One append of a client, tried until it is acknowledged or the life ends. */
void vectors_append(uint32_t client, uint64_t dice);
/* A life begins: what is under way? */
void vectors_opened(bool crashed);
/* Any time: nothing that is promised is missing, nothing is there twice or out of date. */
void vectors_check(void);
/* Ask a query ("search", "exact") for all there is; *missing: an id that is not there and must be, or VECTORS_NONE.
 * false: it could not be asked. */
bool vectors_look(const char *query, const struct vectors_known *known, uint32_t *missing);
/* Rows nearest to a vector. NULL: it could not be asked. */
struct leat_result *vectors_ask(const char *query, const uint8_t *vector, uint32_t size, uint32_t k);
int64_t vectors_counted(void);
/* A row of an answer is as some change that is possible says; client * VECTORS_IDS + id. */
uint32_t vectors_hit(const struct leat_batch *rows, uint32_t i, const struct vectors_known *known);
/* Nothing is left to do: everything, exactly. */
void vectors_check_end(void);

#endif
