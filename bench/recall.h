/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_RECALL_H
#define BENCH_RECALL_H

/* `leat bench recall`: how many of the true neighbours a module finds, and how fast, over files of vectors.
 *
 *   recall.c        the command, and what it prints
 *   recall_set.c    base, queries and truth; what an answer is worth
 *   recall_build.c  the base through the depot until it can be searched
 *   recall_run.c    queries, one at a time in each thread
 *   recall_plot.c   the curve as SVG */

#include "base/base.h"
#include "bench/bench.h"
#include "cmd/import.h"

/* How a module is fed and asked. The depot has columns id and vec, the query takes
 * vec and answers id, nearest first. */
struct recall_module {
    const char *name, *depot, *query;
    const char *metrics;    /* each between spaces */
    const char *knob;       /* what is swept: more of it finds more and takes longer */
    uint32_t least, most;   /* values that the module takes for it */
    /* the knob is a column of the request; else an option, and each value gets a directory of its own */
    bool asked;
    bool typed;             /* it has the options type, metric and ids */
    const char *top;        /* the option that bounds answers; NULL: the request's k does */
    /* a query that counts the vectors that are compared; NULL: the request's stats do, if it has them */
    const char *candidates;
    const char *sweep;      /* values of the knob */
};

/* ---- recall_set.c ---- */

struct recall_set {
    struct arena *arena, *room; /* room: for one query at a time */
    struct import_file base, asked;
    const char *metric;
    uint32_t dims, k, queries;
    struct leat_value *query; /* as the module takes them */
    double *limit;            /* the distance of the true neighbour at rank k: whatever is no further counts */
};

/* Open the base alone: its form decides about the module's options. */
int recall_set_base(struct recall_set *s, const char *path, struct leat_error *err);
/* Read at most s->queries queries (0: all) for a column of the request, and their truth. */
int recall_set_open(struct recall_set *s, const char *query, const char *truth, const struct leat_column *vec,
                    struct leat_error *err);
/* How many of the k found are as near as the true ones, each once. Numbers of no row count nothing. */
uint32_t recall_hits(struct recall_set *s, uint32_t query, const uint64_t *found);
void recall_set_close(struct recall_set *s);
/* The type of a vector column for the base's elements: "f32". */
const char *recall_type(const struct recall_set *s);

/* ---- recall_build.c ---- */

struct recall_built {
    bool there;            /* it was all in the directory before */
    double seconds;        /* until all vectors can be searched */
    double settled;        /* until what goes on in the background is done, too */
    double busy;           /* seconds of processors */
    double memory, mapped; /* MiB: anonymous; of mapped files, in memory */
    double views, logs;    /* MiB of disk: PStates; depots and journals, whose files are made ahead */
};

struct recall_memory {
    double anonymous, mapped; /* MiB */
};
struct recall_memory recall_memory(void);
double recall_processors(void); /* seconds that processors worked for this process */
/* kept: the directory stays. before: the memory when nothing was open. LEAT_ESCHEMA: not all rows are vectors that the
 * module takes. */
int recall_build(struct leat *l, const struct recall_module *m, struct recall_set *s, const char *directory,
                 bool kept, const struct recall_memory *before, struct recall_built *out, struct leat_error *err);

/* ---- recall_run.c ---- */

struct recall_point {
    uint32_t value; /* of the knob */
    double recall;
    double qps, busy;     /* queries a second; a second of processors */
    double p50, p99;      /* microseconds */
    double candidates, ranked; /* of a query: compared in any way; by the vectors themselves. -1: not known */
};

/* A request's columns. */
struct recall_request {
    const struct row_schema *takes;
    int vec, k, knob, stats; /* -1: it has none */
};

struct recall_run {
    struct leat *leat;
    const struct recall_module *module;
    struct recall_set *set;
    struct recall_request request;
    uint32_t threads;
};

/* All queries once, with one value of the knob. cost: and once more for what they cost, untimed. */
int recall_run(struct recall_run *r, uint32_t value, bool cost, struct recall_point *out, struct leat_error *err);

/* A number by name of what the stats column has; 0 when it is not there. */
double recall_stat(struct leat_value map, const char *name);

/* ---- recall_plot.c ---- */

/* Before all is measured: can it be written there? What is there stays. */
int recall_plot_check(const char *path, struct leat_error *err);
int recall_plot(const char *path, const char *title, uint32_t k, const struct recall_point *point, uint32_t count,
                struct leat_error *err);

#endif
