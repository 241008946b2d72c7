/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_BACKGROUND_H
#define ENGINE_BACKGROUND_H

/* Background nodes of a group. A row for one is a *request*: the turn that sends it puts it into the PState
 * "background" in its own commit, and the turn that takes what its run emitted deletes it in its own. Between the two
 * it is picked, run on a thread of the group over a snapshot, and held until a turn takes it; all of that is memory,
 * and made again after a crash.
 *
 * The group's thread decides what is picked and taken, both in order of the requests; the background thread only runs
 * what is picked. Requests for nodes that run at rest have keys behind all others, and are picked when the group has
 * had nothing to do for a while. In tests (step_background) the steps of the group run it as well, so
 * that one thread can try every order. */

#include "engine/flow.h"

struct group;
struct background;

/* A request that was picked. */
struct background_job {
    /* Of the request: its turn << BACKGROUND_ITEM_BITS | its place among those of the turn; and BACKGROUND_AT_REST. */
    uint64_t key;
    struct plan_edge at;
    uint32_t task;
    int64_t now_us;        /* of the last turn when it was picked */
    struct buffer row;
    struct buffer emitted; /* a span for each row */
    uint64_t rows;
    int code;              /* of the run */
    bool refused;          /* the row is at fault, not a disk or memory */
    struct leat_error why;
};

enum { BACKGROUND_ITEM_BITS = 24 };
#define BACKGROUND_AT_REST (UINT64_C(1) << 63)

static inline uint64_t background_turn(uint64_t key)
{
    return (key & ~BACKGROUND_AT_REST) >> BACKGROUND_ITEM_BITS;
}

/* For a group whose view is restored and replayed. *out is NULL when the module has no background nodes. */
int background_open(struct group *g, struct background **out, struct leat_error *err);
/* No run begins any more; all of these may be called with NULL. */
void background_stop(struct background *b);
/* Wait for the run in hand. What was not taken is dropped: its requests stay. */
void background_close(struct background *b);

/* Pick what came; idle: the group has nothing else to do. 1: only further steps do what is left; LEAT_ECANCELED: crash
 * here. */
int background_step(struct background *b, bool idle, struct leat_error *err);
/* When a step picks what waits for rest, by the monotonic clock; INT64_MAX: nothing does. */
int64_t background_due(const struct background *b);

/* ---- For the group's turns ---- */

/* A row for a background node, as number `item` of the turn; errors stick to f. */
void background_request(struct group *g, struct flow *f, struct plan_edge at, uint32_t task, uint32_t item,
                        struct leat_span row);
/* Number n of those that ran and were not taken; NULL: there is none. */
const struct background_job *background_result(struct background *b, uint32_t n);
/* Is it the results' turn, not the depots'? */
bool background_first(const struct background *b);
/* Delete the first `results` requests, in the open turn of the view. */
int background_consume(struct background *b, uint32_t results, struct leat_error *err);
/* A turn that did so is in the view; perhaps it took none. others: of its inputs; resting: its requests that wait for
 * rest. */
void background_taken(struct group *g, uint32_t results, uint32_t others, uint32_t resting);
/* So many requests wait in this group or a peer that depots must wait, too. */
bool background_behind(const struct group *g);

#endif
