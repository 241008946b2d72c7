/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_MODULE_H
#define TESTS_SIM_MODULE_H

/* Modules from a small grammar. Every row is {key, value, id}: a node makes others of it by one of a few rules, and
 * keeps of it what shows a row lost, doubled or out of order. What must come out is worked out by model.c, which
 * follows the same description without the engine.
 *
 *   depot   by key, at random, where the client says, or filled by a node
 *   node    reads a depot or nodes before it (a loop: itself too), by any route; runs, folds, or appends to a depot */

#include "base/random.h"

#include "leat/leat.h"

enum { MODULE_NODES = 14, MODULE_BEST = 3, MODULE_DEPOTS = 4, MODULE_PARENTS = 3, MODULE_TEXT = 4096 };

/* What a run sends on for a row. */
enum rule {
    RULE_PASS,   /* the same key and value */
    RULE_REKEY,  /* another key */
    RULE_FILTER, /* some rows only */
    RULE_SPLIT,  /* none to three rows of other keys */
    RULE_COUNT   /* a loop: the value less one, until it is 0 */
};

/* What a node keeps, by key. */
enum keep {
    KEEP_NOTHING,
    KEEP_TOTALS, /* count, sum and hash, and the count once more in a PState of its own */
    KEEP_CHAIN,  /* a hash of all rows in their order */
    KEEP_LIST,   /* a list of ids, deleted now and then when the order is known */
    KEEP_SET,    /* a set of ids */
    KEEP_MAP,    /* id: value */
    KEEP_ROWS,   /* packed rows of id and value */
    KEEP_RUNS,   /* up to here: by a run */
    KEEP_COUNT = KEEP_RUNS, /* by folds */
    KEEP_SUM,
    KEEP_LEAST,
    KEEP_MOST,
    KEEP_AVERAGE,
    KEEP_DISTINCT,
    KEEP_LAST,
    KEEP_FIRST,
    KEEP_BEST,   /* the three of highest value */
    KEEP_SOME,   /* any three */
    KEEP_ALL,    /* a list of rows */
    KEEP_DEPOT,  /* goes into a depot */
    KEEPS
};

struct sim_node {
    uint32_t depot[MODULE_PARENTS], depots; /* what it reads */
    uint32_t parent[MODULE_PARENTS], parents;
    enum leat_route route;
    enum rule rule;
    enum keep keep;
    uint32_t keys;      /* of what it emits: all below this */
    bool emits;
    bool ordered;       /* rows of a task and key come in the order of one depot partition */
    bool loop;
    bool background;    /* a run that keeps nothing */
    bool at_rest;       /* and some of these when nothing else is to be done */
    uint32_t reject_in; /* a row is rejected once in so many ids; 0: never */
    uint32_t poison_in; /* the run fails once in so many ids; 0: never */
    uint32_t into;      /* KEEP_DEPOT */
    uint32_t highest_depot; /* that its rows come from: it fills only later ones */
    uint32_t rows_most; /* rows that one row of a client becomes, about */
    int pstate;         /* -1: none; of KEEP_TOTALS two */
};

struct sim_depot {
    enum leat_partitioner partitioner;
    bool client;        /* clients append to it */
};

struct sim_module {
    uint32_t tasks;
    bool forced;        /* every hop goes through the journal */
    uint32_t keys;      /* of the clients' rows */
    uint32_t values;
    uint32_t tick_ms;   /* of the depot "ticks"; 0: there is none */
    int tick_pstate;
    struct sim_depot depot[MODULE_DEPOTS];
    uint32_t depots, client_depots;
    struct sim_node node[MODULE_NODES];
    uint32_t nodes, pstates;
    uint32_t return_node; /* it sends the ids of its rows back with the acknowledgement; `nodes`: there is none */
    uint32_t query_node; /* the query "total" counts what it keeps; `nodes`: there is none */
    bool derives;        /* and both PStates of that node are derived: the query compares */

    /* as the engine wants it */
    struct leat_module module;
    struct leat_derive derive;
    struct leat_depot_declaration depot_list[MODULE_DEPOTS + 2];
    struct leat_pstate_declaration pstate_list[2 * MODULE_NODES + 2];
    struct leat_topology topology_list[4];
    struct leat_node node_list[MODULE_NODES + 1], query_list[3], tick_list[2];
    char text[MODULE_TEXT];
    size_t text_size;
};

/* The module that runs: its nodes find themselves in it. */
extern struct sim_module sim_module;

struct sim_row {
    uint32_t key;
    int64_t value;
    uint64_t id;
};

/* A module, by chance. */
void sim_module_make(struct random *r, uint32_t tasks, struct sim_module *out);
/* Rows that one row of a client becomes, about. */
uint32_t sim_module_weight(const struct sim_module *m);
void sim_module_print(const struct sim_module *m);

/* Row number `number` of a client; ids never repeat. */
struct sim_row sim_client_row(const struct sim_module *m, uint32_t client, uint64_t number);

uint64_t sim_mix(uint64_t a, uint64_t b);
/* Does the acknowledgement of a client's row bring its id back? */
bool sim_returns(const struct sim_module *m, uint32_t depot, const struct sim_row *row);
/* What node n sends on for a row; how many. */
enum { RULE_MOST = 3 };
uint32_t sim_rule(const struct sim_module *m, uint32_t n, const struct sim_row *in, struct sim_row out[RULE_MOST]);
bool sim_rejects(const struct sim_node *n, const struct sim_row *row);
bool sim_poisons(const struct sim_node *n, const struct sim_row *row);
/* Does a run that fails take the whole record with it, or all that a node of the background made of one row? */
bool sim_poisons_record(const struct sim_module *m, uint32_t depot, const struct sim_row *row);
bool sim_poisons_result(const struct sim_module *m, uint32_t at, const struct sim_row *row, uint32_t rows);
/* KEEP_LIST in order: this row empties the list first. */
bool sim_clears(const struct sim_node *n, const struct sim_row *row);

#endif
