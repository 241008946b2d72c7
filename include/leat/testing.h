/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LEAT_TESTING_H
#define LEAT_TESTING_H

/* A whole cluster in one process and one thread, for tests of modules: nothing happens but what the test asks for, in
 * an order that a seed decides. The engine, its files and its protocols are those of production.
 *
 *     struct leat_test_config config = {.module = &my_module, .tasks = 8, .groups = 4, .memory = true, .seed = 1};
 *     leat_test_open(&config, &t, &err);
 *     leat_test_append(t, "sentences", LEAT_ROW(leat_str("a leat")), &err);
 *     leat_test_run(t, &err);                 // until all effects are committed
 *     leat_test_get(t, "counts", LEAT_KEYS(leat_str("leat")), &count, 1, &err), or leat_test_query(...), then compare
 *
 * Names of depots, PStates and queries are those of the module, or MODULE/NAME of one of the others. One thread.
 *
 * Run a test with cut_rows and force_hops over many seeds: results must not depend on where turns are cut or how rows
 * travel. Crash it at every point of leat_test_points() and start it again: nothing may be lost or doubled. */

#include "leat/leat.h"

#ifdef __cplusplus
extern "C" {
#endif

struct leat_test;

struct leat_test_config {
    const struct leat_module *module;
    /* Launched before it, by their defaults and as wide: of their depots it may read. Ended by NULL; NULL: none. */
    const struct leat_module *const *others;
    const struct leat_option *options; /* ended by a zero row; NULL: defaults */
    uint32_t tasks;                    /* power of two; 0: 8 */
    uint32_t groups;                   /* power of two up to tasks; 0: 2, or 1 for one task */
    const char *directory;             /* NULL: a temporary one, removed at close */
    bool memory;                       /* logs in memory: quick, but a crash loses everything */
    uint64_t seed;                     /* order of steps, sizes of turns, ids */
    uint32_t cut_rows;                 /* not 0: turns of 1 to so many rows, at random */
    uint64_t checkpoint_bytes;         /* not 0: a checkpoint when about so much was written; else as in production */
    bool force_hops;                   /* every hop between tasks goes through the journal and is read from there */
    int64_t clock_us;                  /* not 0: the time it is until leat_test_advance is called; 0: real time */
};

/* Make a cluster and launch the module. *t must be closed; after an error there is none. Several may be open, each with
 * crashes of its own. config is copied, what it points to must outlive t. Errors as leat_open and leat_launch, and
 * LEAT_EINVAL: there is no module. */
LEAT_API int leat_test_open(const struct leat_test_config *config, struct leat_test **t, struct leat_error *err);
/* Stop in order, free, and remove a temporary directory. NULL is fine. */
LEAT_API void leat_test_close(struct leat_test *t);

/* The node, for views, queries, depots. Borrowed until close or restart. Appends through it that wait for
 * LEAT_PROCESSED let groups take turns as leat_test_run does; those of leat_append_start end in one of its calls.
 * Modules that are launched through it take turns, too, but no restart launches them. */
LEAT_API struct leat *leat_test_leat(struct leat_test *t);
/* Append one row (copied), durably. */
LEAT_API int leat_test_append(struct leat_test *t, const char *depot, struct leat_row row, struct leat_error *err);
/* The same with a session and a sequence: a repeat changes nothing. */
LEAT_API int leat_test_append_once(struct leat_test *t, const char *depot, struct leat_row row, uint64_t session,
                                   uint64_t sequence, struct leat_error *err);
/* The same as `how` says: ack, partition, session. Until LEAT_PROCESSED is reached groups take turns; errors as
 * leat_test_run then. receipt may be NULL, else leat_receipt_fini it after success. */
LEAT_API int leat_test_append_as(struct leat_test *t, const char *depot, struct leat_row row,
                                 const struct leat_append *how, struct leat_receipt *receipt, struct leat_error *err);
/* What is committed under keys, as leat_get reads it: at most count fields, at the task that owns the first key (no
 * keys: at task 0). Borrowed until the next call of this kind, and until groups take turns again. LEAT_ENOTFOUND:
 * nothing is there; LEAT_EINVAL: there is no such PState. */
LEAT_API int leat_test_get(struct leat_test *t, const char *pstate, struct leat_row keys, struct leat_value *out,
                           uint32_t count, struct leat_error *err);
/* Run a query, over what is committed. *out must be freed with leat_result_free; errors as leat_query. */
LEAT_API int leat_test_query(struct leat_test *t, const char *query, struct leat_row request, struct leat_result **out,
                             struct leat_error *err);
/* Let time go on, by us >= 0, on a clock of the configuration: ticks that are due then come with the next
 * leat_test_run, one for each depot however much time went by. Aborts without clock_us. */
LEAT_API void leat_test_advance(struct leat_test *t, int64_t us);
/* Let groups take turns, in an order by the seed, until all effects of all appends are committed everywhere, and
 * background nodes, which run in these steps, have nothing to do.
 * LEAT_ECANCELED: a crash that was asked for happened, now or before; go on with leat_test_restart, or
 * _restart_group. */
LEAT_API int leat_test_run(struct leat_test *t, struct leat_error *err);
/* One step of one group, by the seed. 1: it did something, 0: it had nothing to do, or has crashed before; errors as
 * leat_test_run. */
LEAT_API int leat_test_step(struct leat_test *t, struct leat_error *err);

/* Names of the points where a group can crash, ended by NULL. */
LEAT_API const char *const *leat_test_points(void);
/* Crash at a point (borrowed until then) when it is passed for the `after`-th time from now (1: the next), also by a
 * restart. point NULL: not any more. Aborts when there is no such point. */
LEAT_API void leat_test_crash_at(struct leat_test *t, const char *point, uint32_t after);
/* Drop everything as a crash would, and open it again: all handles of the node die. Not with memory. LEAT_ECANCELED: it
 * crashed again; call it again. */
LEAT_API int leat_test_restart(struct leat_test *t, struct leat_error *err);
/* The same for the group alone that crashed, while all others live on. Views that saw it must be closed. LEAT_EINVAL:
 * there are other modules. */
LEAT_API int leat_test_restart_group(struct leat_test *t, struct leat_error *err);

#ifdef __cplusplus
}
#endif
#endif
