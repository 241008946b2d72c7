/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_REFUSED_H
#define ENGINE_REFUSED_H

/* Rows of sessions that were refused and must be sent again before any behind them is taken: those would make them
 * look like repeats, which are dropped. A pure value. Which rows of a session come to a group follows no rule, so each
 * sequence is kept. */

#include "depots/log.h"
#include "engine/session.h"

struct refused_row {
    uint64_t session;
    uint64_t sequence;
    uint32_t depot; /* sequences of one are not those of another */
};

struct refused {
    struct refused_row *row; /* in order */
    uint32_t count, capacity;
    struct session_table closed; /* too many: these sessions take nothing any more */
};

void refused_fini(struct refused *r);
/* Records of one session and depot, sequences rising. */
void refused_add(struct refused *r, uint32_t depot, const struct log_record *record, uint32_t count);
/* They are here now. */
void refused_remove(struct refused *r, uint32_t depot, const struct log_record *record, uint32_t count);
/* May they be taken? LEAT_EAGAIN: others must come before them. LEAT_ELIMIT: the session is closed. */
int refused_check(const struct refused *r, uint32_t depot, const struct log_record *record, uint32_t count);
static inline bool refused_none(const struct refused *r)
{
    return r->count == 0 && r->closed.count == 0;
}

#endif
