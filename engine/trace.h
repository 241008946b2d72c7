/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_TRACE_H
#define ENGINE_TRACE_H

/* What one record of a depot caused, as the journals tell it: the turn that read it, what that sent on for it, the
 * turns that took this, and so on, also where background nodes come between. Rows name the record they stem from;
 * operations, appends, states of folds and results of background nodes are known by turn only, so where a turn had more
 * inputs than one, they may be due to those. */

#include "engine/layout.h"

enum trace_kind {
    TRACE_RECORD,
    TRACE_TURN,
    TRACE_OPERATION,
    TRACE_ROW,         /* sent to a node of another group */
    TRACE_STATE,       /* of a fold, sent on */
    TRACE_APPEND,
    TRACE_DEAD_LETTER,
    TRACE_LEFT_OUT,    /* more of the same than were asked for */
    TRACE_WAITS,       /* not taken yet */
    TRACE_TRIMMED      /* the journal does not reach back so far */
};
extern const char *const trace_kinds[]; /* their names */

struct trace_event {
    enum trace_kind kind;
    uint32_t depth;           /* hops away from the record's turn, one more for what a turn did */
    uint32_t group;
    uint64_t turn;            /* 0: none */
    int64_t time_us;          /* of the turn, or of the record; 0: none */
    bool shared;              /* may be due to other inputs of the turn */
    const char *what;
    struct leat_span value;   /* JSON; empty: none */
};

typedef void trace_each(void *context, const struct trace_event *e);
/* limit: events of a kind for a turn. LEAT_ENOTFOUND, LEAT_ETRIMMED: there is no such record. */
int trace_record(const struct layout *l, uint32_t depot, uint32_t partition, uint64_t offset, uint32_t limit,
                 trace_each *each, void *context, struct leat_error *err);

#endif
