/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_NODE_H
#define ENGINE_NODE_H

/* A node: one open directory, the modules that run in it, and their threads.
 *   node.c      open, close; node_module.c: launch, threads of groups; node_retain.c
 *   client.c    depots: appends and reads; client_rows.c: rows to append
 *   query.c     query topologies; gauge.c: their recall; view.c: reading PStates
 *   stats.c     figures; testing.c: leat/testing.h */

#include "engine/disk.h"
#include "engine/flow.h"
#include "engine/gauge.h"
#include "engine/group.h"

#include <pthread.h>

struct runner;
struct query_cache;

struct leat_depot {
    struct module *module;
    uint32_t number;
    const struct plan_depot *plan;
    struct leat_batch columns;
    _Atomic uint64_t random;       /* next partition of a depot partitioned at random */
};

struct module {
    struct leat *node;
    struct plan *plan;
    uint32_t groups;
    char directory[3072];
    struct group **group;
    struct runner *runner;         /* one thread a group */
    struct stats_node *nodes;
    uint32_t *foreign_tasks;
    struct group_foreign *foreign; /* by plan->foreign */
    struct leat_depot *depot;      /* by depot */
    struct plan_retain *retain;    /* by depot: as it holds now */
    struct query_cache *queries;
    struct gauge *gauge;           /* NULL: no recall is measured */
    struct histogram *query_ns;    /* by topology */
    _Atomic bool failing;          /* the first to set it says why */
    _Atomic int failed;
    pthread_mutex_t views_lock;
    struct leat_view *views;       /* that are open */
    _Atomic int64_t views_due_ns;  /* when to look for old ones */
    uint64_t warm;                 /* bytes of each view that the launch under way reads ahead */
    bool launched;
    bool made;                     /* its directory, by the launch that is under way */
    struct leat_error why;         /* set before failed */
};

struct leat {
    struct leat_config config;
    char directory[2048];
    int lock;
    pthread_mutex_t launching;     /* held over a launch */
    pthread_mutex_t mutex;         /* the list of modules */
    struct module *module[64];
    uint32_t modules;
    struct query_pool *pool;
    struct stats_writer *stats;
    struct disk_watch disk;
    bool temporary;                /* memory mode: the directory is removed at close */
    struct clock *clock;
    /* testing.c: groups have no threads, who waits for one steps them (0: none had anything to do); and the rest goes
     * into their configuration */
    bool manual, force_hops;
    int (*step)(void *context, struct leat_error *err);
    void *step_context;
    uint32_t cut_rows;
    uint64_t seed;
    /* tests with little data: smaller segments, more checkpoints; 0: default */
    uint64_t segment_size, checkpoint_bytes;
};

struct module *node_module(struct leat *l, const char *name);
/* How many modules run. They stay where they are in the list until all are closed. */
uint32_t node_modules(struct leat *l);
/* Why a module does not run any more; 0 when it does. */
int module_status(struct module *m, struct leat_error *err);
/* The group of a task or partition. */
static inline struct group *module_group(const struct module *m, uint32_t task)
{
    return m->group[task & (m->groups - 1)];
}

int module_launch(struct leat *l, const struct leat_module *module, const struct leat_launch *launch,
                  struct leat_error *err);
/* Numbers of groups and times to keep records that a launch of the plan would refuse. */
int module_check_launch(const struct plan *p, const struct leat_launch *launch, struct leat_error *err);
/* testing.c: drop one group as a crash would, and open it again beside the others,
 * which keep what they have in memory. */
int module_reopen_group(struct module *m, uint32_t number, struct leat_error *err);
/* How long depots keep their records: what is declared, said before, or given now. */
int module_retain(struct module *m, const struct leat_option *given, struct leat_error *err);
/* One of those: a depot of the plan, or '*', and for how long. */
int module_retain_of(const struct plan *p, const struct leat_option *said, struct plan_retain *out,
                     struct leat_error *err);
void module_stop(struct module *m);  /* end the threads; groups stay */
/* Take what has come: before any module is closed, as it may read another's depots. */
void module_settle(struct module *m);
void module_close(struct module *m); /* checkpoint and free */

/* Let go of the snapshots of views that are too old, now and then; any thread. */
void views_expire(struct module *m);

struct query_cache *query_cache_open(struct module *m);
void query_cache_close(struct query_cache *c);
/* Measure the recall of one query in so many; 0: of none. */
int query_gauge_open(struct module *m, uint32_t every, struct leat_error *err);
void query_pool_close(struct query_pool *p);
struct query_pool *query_pool_open(uint32_t threads);

struct stats_writer *stats_writer_open(struct leat *l);
void stats_writer_stop(struct stats_writer *w);  /* end the thread */
void stats_writer_close(struct stats_writer *w); /* after that: write the last figures, and free */
/* Write nothing from now on: the file keeps the figures of whoever wrote it last. */
void stats_writer_mute(struct stats_writer *w);

#endif
