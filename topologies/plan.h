/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOPOLOGIES_PLAN_H
#define TOPOLOGIES_PLAN_H

/* topologies: the module language. A module (a constant value) is checked whole and compiled into a plan: names are
 * resolved to numbers, schemas parsed, edges known. The engine runs plans and never looks at names again.
 *
 *   plan.c    the plan and how it is made; check.c: every rule, with its sentence
 *   folds.c   the folds that come with Leat (folds_*.c: top-k, collections)
 *   retain.c  how long depots keep what they have
 *   draw.c    a module as text and as Graphviz
 *
 * Plans are read-only after plan_open; any thread may use them. */

#include "base/base.h"
#include "pstates/pstate.h"

/* A module's options with their values: those given, else the defaults. */
struct leat_options {
    const struct plan *plan;
};

struct plan_option {
    const char *name;
    const char *value;
};

/* How long records are kept, and how many bytes of them: what is older, or too much, may go. */
struct plan_retain {
    int64_t age_us;         /* 0: however old */
    uint64_t bytes;         /* 0: however many */
};

struct plan_depot {
    const char *name;
    struct row_schema schema;
    enum leat_partitioner partitioner;
    uint32_t by;            /* column, LEAT_BY_FIELD */
    uint32_t tick_ms;
    struct plan_retain retain;
    bool dead_letters;      /* the built-in depot "dead_letters", the last one of every plan */
    /* Nodes that read it: (topology, node). */
    struct plan_edge *edge;
    uint32_t edges;
};

/* From an output (a depot, a node, a request) to a node that reads it. */
struct plan_edge {
    uint32_t topology;
    uint32_t node;
};

enum plan_work { PLAN_RUN, PLAN_FOLD, PLAN_APPEND };

struct plan_node {
    const char *name;
    enum plan_work work;
    enum leat_route route;
    leat_run *run;
    const struct leat_fold *fold;
    struct leat_fold_use *use;   /* PLAN_FOLD */
    size_t state_size;
    struct row_schema in;        /* what all its sources emit: same types in the same order */
    struct row_schema emits;     /* PLAN_RUN: .emits; PLAN_FOLD: what finish emits */
    struct plan_edge *edge;      /* nodes that read what it emits */
    uint32_t edges;
    bool from_request;
    bool keyed;                  /* fold with state by first column: into a PState, or route LEAT_BY_KEY */
    bool reply;                  /* query: what it emits is the answer */
    uint32_t pstate;             /* fold into a PState; UINT32_MAX: none */
    uint32_t depot;              /* PLAN_APPEND; UINT32_MAX: none */
    bool background;             /* PLAN_RUN: its rows wait in the PState plan->background */
    bool at_rest;                /* until its group has nothing else to do */
    uint32_t rank;               /* longest way from a source, loops cut: nodes of lower rank run first */
    uint32_t folds_before;       /* folds that lead to it, through loops too: fewer finish first */
};

struct plan_topology {
    const char *name;
    enum leat_kind kind;
    uint32_t stream;             /* LEAT_STREAM: its number among the streams, which outputs under way name it by */
    struct row_schema takes;
    struct plan_node *node;
    uint32_t nodes;
    struct plan_edge *edge;      /* nodes that read "request" */
    uint32_t edges;
    uint32_t reply;              /* the node that is the answer */
    uint32_t yardstick;          /* the topology; UINT32_MAX: none */
    double (*recall)(const struct leat_batch *answer, const struct leat_batch *truth);
};

/* A depot of another module that a node reads. Resolved by the engine at launch. */
struct plan_foreign {
    const char *module;
    const char *depot;
    struct plan_edge *edge;
    uint32_t edges;
    struct row_schema schema;    /* empty until plan_foreign_bind */
};

struct plan {
    const struct leat_module *module;
    struct arena *arena;
    uint32_t tasks;
    struct plan_option *option;
    uint32_t options;
    struct plan_depot *depot;
    uint32_t depots;
    struct pstate_schema *pstate;
    uint32_t pstates;
    uint64_t derived_from;       /* bits by PState: what the module derives something from; 0: nothing is derived */
    /* the built-in PState "background", the last one of plans with such nodes; UINT32_MAX: none */
    uint32_t background;
    struct plan_topology *topology;
    uint32_t topologies;
    uint32_t *stream;            /* topologies that are streams, in order */
    uint32_t streams;
    struct plan_foreign *foreign;
    uint32_t foreigns;
    struct leat_options values;
    void *state;                 /* what the module's open() made */
};

/* Other modules' depots, for "module/depot" in .from: fill *out and return 0, or LEAT_ENOTFOUND. */
typedef int plan_find_depot(void *context, const char *module, const char *depot, const struct row_schema **out);

struct plan_config {
    const struct leat_module *module;
    const struct leat_option *options; /* ended by a zero row; NULL: defaults */
    uint32_t tasks;
    plan_find_depot *find;             /* NULL: no other modules */
    void *context;
};

/* Check a module, compile it, and call its open(). LEAT_EMODULE: the sentence names module, topology, node and
 * column of the first mistake. */
int plan_open(const struct plan_config *config, struct plan **out, struct leat_error *err);
/* Call the module's close() and free. */
void plan_close(struct plan *p);

const struct plan_node *plan_node_at(const struct plan *p, struct plan_edge at);
const char *plan_option_value(const struct plan *p, const char *name); /* NULL: not declared */
int plan_depot_find(const struct plan *p, const char *name);    /* -1: none */
int plan_pstate_find(const struct plan *p, const char *name);
int plan_topology_find(const struct plan *p, const char *name);

/* Canonical text of what may not change between launches (tasks, options, depots, PStates, depots read), one line each:
 * kept in the data directory and compared. */
void plan_fingerprint(const struct plan *p, struct buffer *out);
/* The same of what may change only while no rows are under way between groups: the nodes of the streams. */
void plan_streams(const struct plan *p, struct buffer *out);
/* "7d", "10GiB", "7d,10GiB" or "forever". LEAT_EINVAL says what is wrong with it. */
int plan_retain_parse(const char *text, struct plan_retain *out, struct leat_error *err);
/* The module as an indented text, and as Graphviz. */
void plan_draw_text(const struct plan *p, struct buffer *out);
const char *plan_route_text(const struct plan_node *n);
const char *plan_partitioner_text(struct arena *a, const struct plan_depot *d);
void plan_draw_dot(const struct plan *p, struct buffer *out);

/* ---- Folds as the engine uses them ---- */

struct leat_sink {
    struct buffer *out;
};

/* Names of arguments that prepare() asked for. */
struct fold_asked {
    const char *name[16];
    uint32_t count;
};

struct leat_fold_use {
    const struct leat_fold *fold;
    const char *args;                /* with $options replaced */
    struct fold_asked *asked;        /* NULL once the plan is made */
    struct leat_batch columns;       /* without the key */
    struct leat_column *column;      /* its columns; the engine points data and nulls at the rows of a step */
    _Alignas(16) uint64_t memory[16]; /* leat_fold_memory */
    /* Set by the engine on its own copy of the use, for the running turn or request. */
    struct arena *arena;
    const struct plan *plan;
};

/* The next word of a fold's arguments from *at on, and of it what stands before '=' (or all). false: no more. */
bool fold_argument_next(const char **at, struct leat_span *word, struct leat_span *name);

#endif
