/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_GROUP_H
#define ENGINE_GROUP_H

/* A group: the unit of execution, commit and recovery. Some tasks of a module, one journal, one view, one depot
 * log. It is a state machine that only moves in group_step(), on one thread at a time: gather input, run the nodes,
 * commit one batch to the journal, apply, release. */

#include "base/clock.h"
#include "engine/acks.h"
#include "engine/intake.h"
#include "engine/stats.h"
#include "topologies/plan.h"

struct group;
struct derive;

enum { GROUP_STATE_VERSION = 3 }; /* of a group's state in its checkpoints */

struct group_config {
    const struct plan *plan;
    const char *directory;        /* of this group; made when absent */
    uint32_t number;
    uint32_t groups;
    enum leat_durability durability;
    bool memory;                  /* logs in memory, view volatile in `directory` */
    const struct log_ops *logs;   /* NULL: by `memory` */
    struct clock *clock;
    const _Atomic bool *no_space; /* refuse clients' appends while it is set; may be NULL */
    uint64_t seed;
    uint32_t cut_rows;            /* tests: turns of a random size up to this many rows; 0: off */
    bool force_hops;              /* tests: every hop between tasks goes through the journal and is read from there */
    bool step_checkpoints;        /* tests: in parts by group_step, not on a thread */
    bool step_background;         /* tests: background nodes run in group_step, not on a thread */
    uint64_t map_size;            /* 0: default, like those below */
    uint64_t segment_size;
    uint64_t checkpoint_bytes;
    uint64_t warm;                /* read so much of the view ahead at the start; 0: nothing */
    void (*wake)(void *context);  /* there may be something to do; any thread */
    void *context;
    struct stats_node *nodes;     /* by topology and node in order; shared by the module's groups */
    const uint32_t *foreign_tasks; /* by plan->foreign: tasks of that module */
    const struct plan_retain *retain; /* by depot; NULL: all is kept */
    const char *module_directory;
};

/* Open: restore the view, replay the journal. */
int group_open(const struct group_config *config, struct group **out, struct leat_error *err);

/* A depot of another module that this one reads. */
struct group_foreign {
    struct group *const *group; /* of that module, by number */
    uint32_t groups;
    uint32_t depot;
    uint32_t tasks;
    const char *directory;      /* of that module */
};
/* Tell it its peers (all groups of the module, by number, itself included), and whom it reads from: foreign[i] for
 * plan->foreign[i]. Once, before the first step. */
void group_connect(struct group *g, struct group *const *peers, const struct group_foreign *foreign);
/* Before it is closed while those it reads from live on. */
void group_disconnect(struct group *g);
/* Once all are connected: LEAT_ECORRUPT when it has consumed what the logs it reads from do not have. */
int group_check_sources(const struct group *g, struct leat_error *err);
/* Before the first step: has every output of its peers been consumed, and does no row wait for a background node? */
bool group_drained(const struct group *g);

/* Do what there is to do, at most one turn. 1: did something, 0: nothing to do now, else fatal (err says why; the
 * group must be closed and opened again). A full disk is not fatal: turns and checkpoints wait, and try again. */
int group_step(struct group *g, struct leat_error *err);
/* Monotonic nanoseconds at which to step even if nobody wakes it; INT64_MAX: never. */
int64_t group_due(const struct group *g);

/* Background nodes begin no more runs. */
void group_stop(struct group *g);
/* Before a clean close, on all groups while none is closed: take in the progress that has come, but no more rows. So
 * what was processed is under way no more when the module starts again. */
int group_settle(struct group *g, struct leat_error *err);
/* Turn and journal position in the state of a checkpoint. LEAT_EFORMAT. */
int group_state_position(struct leat_span state, uint64_t *turn, uint64_t *position);
/* Checkpoint and close in order; or drop it as a crash would. Peers must not step any more. */
int group_close_clean(struct group *g, struct leat_error *err);
void group_close(struct group *g);

struct pstate_view *group_view(struct group *g);
struct derive *group_derive(struct group *g); /* NULL: the module derives nothing */
struct intake *group_intake(struct group *g);
struct acks *group_acks(struct group *g);
struct log *group_depots(struct group *g);
const struct stats_group *group_stats(const struct group *g);
/* What is committed, for the caller alone, any thread: a reader, and what is derived of the same snapshot (state NULL
 * where the module derives nothing). Give it back soon, on any thread. */
struct derive_hold;
int group_take(struct group *g, struct derive_hold *out, struct leat_error *err);
void group_give(struct group *g, struct derive_hold *hold);
/* Partition of the group's depot log that holds a depot's partition (which must be of this group's tasks). */
uint32_t group_partition(const struct group *g, uint32_t depot, uint32_t partition);
/* Up to where foreign reads of a depot partition are processed; for leat_wait. UINT64_MAX: not read here. */
uint64_t group_foreign_frontier(struct group *g, uint32_t foreign, uint32_t partition);
/* Nothing is under way from here, and nothing waits. *turns: taken so far, so that who looks at several groups twice
 * knows whether one gave another something to do meanwhile. */
bool group_idle(struct group *g, uint64_t *turns);
/* Rows not yet processed, over all partitions: for statistics. */
uint64_t group_lag(struct group *g);

/* Named points where tests make a group crash: the hook returns true to crash: the step then returns
 * LEAT_ECANCELED at once, as if the process had died there. Points: group_crash_points. */
typedef bool group_crash(void *context, const struct group *g, const char *point);
void group_crash_hook(group_crash *hook, void *context);
extern const char *const group_crash_points[]; /* ended by NULL */

#endif
