/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_TRACE_LOGS_H
#define ENGINE_TRACE_LOGS_H

/* The logs of a module's groups, as a trace looks things up in them. Each journal, and each partition of depots that
 * appends went to, is gone through once, however much a record caused: what is looked
 * for is then found by binary search. */

#include "engine/journal.h"
#include "engine/layout.h"
#include "pstates/element.h"

/* A batch that took outputs of a peer, and how far. By peer, and in their order. */
struct trace_taken {
    uint32_t peer;
    struct hop_cursor cursor;
    uint64_t offset;      /* in the journal */
};

/* A batch that took the result of a row for a background node. By request. */
struct trace_result {
    uint64_t request;
    uint64_t offset;      /* in the journal */
};

struct trace_pieces;

struct trace_group {
    struct log *journal;
    uint64_t first, next;
    struct references met;
    uint64_t met_next;    /* operations before this offset were met */
    bool indexed;         /* what follows is known: */
    struct trace_taken *taken;
    size_t takings, taken_capacity;
    struct trace_result *result;
    size_t results, result_capacity;
    struct log *depots;   /* opened when an append is looked for */
    struct trace_pieces *piece; /* by partition of it */
};

struct trace_logs {
    const struct layout *layout;
    struct arena *batch;     /* of the batch in hand */
    struct trace_group *group;
    uint64_t background;     /* the set of PStates that rows for background nodes wait in; 0: none */
    struct buffer changes;   /* of that PState, by the operations of a batch */
};

/* trace_logs_close also where it failed. */
int trace_logs_open(const struct layout *l, struct trace_logs *out, struct leat_error *err);
void trace_logs_close(struct trace_logs *t);

/* 0: go on, 1: found what was looked for, negative: an error. */
typedef int trace_batch(void *context, uint32_t group, const struct log_entry *e, const struct batch *b);
/* The batches of a journal, in order; collections that their operations make are met. */
int trace_logs_each(struct trace_logs *t, uint32_t group, trace_batch *each, void *context, struct leat_error *err);
/* Who took what, in one journal. */
int trace_logs_index(struct trace_logs *t, uint32_t group, struct leat_error *err);

/* Rows for background nodes that a batch puts into the PState they wait in, or of which it takes the results. */
uint32_t trace_logs_requests(struct trace_logs *t, const struct batch *b, bool taken);

/* Where the append of a group with this sequence stands in a partition of another group's depot log. LEAT_ENOTFOUND:
 * it is not there. */
int trace_logs_append(struct trace_logs *t, uint32_t group, uint32_t partition, uint32_t from, uint64_t sequence,
                      uint64_t *offset, struct leat_error *err);

#endif
