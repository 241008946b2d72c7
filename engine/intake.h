/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_INTAKE_H
#define ENGINE_INTAKE_H

/* The intake of a group: its depot log, and everybody who appends to it.
 *
 * All shares that wait go into one log_sync. Whoever submits and may lead does the work of the moment on its own
 * thread (no hand-over for a lone append); the intake's thread leads for those who may not block. */

#include "base/clock.h"
#include "base/histogram.h"
#include "depots/log.h"
#include "engine/acks.h"
#include "engine/refused.h"

struct intake;

/* The part of one append that goes to one group. The submitter's, until done is called. */
struct intake_share {
    struct log_record *record; /* partition: of the group's log (group_partition()); bodies borrowed until done */
    uint32_t count;
    uint64_t *offset;          /* one a record, filled before done; UINT64_MAX: a repeat, dropped */
    enum leat_ack ack;
    int code;                  /* set before done */
    /* Called once, when the ack level is reached or it failed; on any thread, no locks held; must not block. */
    void (*done)(struct intake_share *share);
    void *owner;
    /* the engine's */
    struct intake_share *next;
    struct ack_wait wait;
    size_t bytes;
};

struct intake_config {
    struct log *log;
    struct acks *acks;
    /* by partition: what was appended; taken over, also when the intake does not open */
    struct session_table *sessions;
    uint32_t partitions;
    uint32_t depot_partitions; /* of each depot, one behind another */
    const _Atomic bool *no_space;   /* clients are answered LEAT_ENOSPACE while it is set; NULL: it never is */
    struct clock *clock;
    void (*readable)(void *context);  /* after each sync: wake who reads the log */
    void *context;
};

int intake_open(const struct intake_config *config, struct intake **out);
/* What is appended will not be processed any more: refuse, and answer who waits for it, with this code. */
void intake_stop(struct intake *in, int code);
/* Append and answer what was given in, and free. The log stays open; who waits for PROCESSED is answered by
 * acks_close. */
void intake_close(struct intake *in);

/* Give a share in. lead: the calling thread may do the append and sync itself before this returns.
 * LEAT_EFULL (more than LIMIT_PENDING_APPEND waits), LEAT_ECLOSED: nothing was taken, done is not called.
 * LEAT_ENOSPACE in done: nothing of it was stored; the same rows may be given in again. Until they were, shares of its
 * session with higher sequences are answered LEAT_EAGAIN, and are refused in the same way; so it is after LEAT_EFULL.
 * LEAT_ELIMIT: LIMIT_REFUSED rows were not sent again, the session has ended here. */
int intake_submit(struct intake *in, struct intake_share *share, bool lead);

/* Append by the group itself (topologies' appends, ticks, dead letters), synced before this returns. */
int intake_append(struct intake *in, const struct log_record *records, uint32_t count, struct leat_error *err);

/* Highest sequence a session has in a partition; false: none. */
bool intake_session(struct intake *in, uint32_t partition, uint64_t session, uint64_t *sequence);

/* Also call readable(context) after each sync: groups of other modules that read this depot. */
void intake_listen(struct intake *in, void (*readable)(void *context), void *context);
/* No more to this context: when this returns, no call to it is under way. */
void intake_unlisten(struct intake *in, void *context);

/* Why the intake refuses for good (0: it does not): a failed disk. */
int intake_status(struct intake *in, struct leat_error *err);

struct intake_figures {
    _Atomic uint64_t rows, bytes, syncs, repeats;
    struct histogram sync_ns, sync_rows;
};
const struct intake_figures *intake_figures(const struct intake *in);

#endif
