/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_SESSION_H
#define ENGINE_SESSION_H

/* What producers' sessions have sent to one partition: the last sequence of each. It forgets by record
 * time, now and then: what is LIMIT_SESSION_AGE_US older than the newest, and the oldest when it is full. When depends
 * on how it was filled, but no replay asks it: batches say what was new. Those of groups are few and stay: a group that
 * was down for long sends again what was not yet taken. */

#include "base/base.h"

/* Sessions from here on belong to groups (appends by topologies); clients may not use them. */
#define SESSION_GROUPS (UINT64_MAX - 0xffff)

struct session_entry {
    uint64_t session;
    uint64_t sequence;
    int64_t time_us;
};

struct session_table {
    struct session_entry *entry; /* open addressing; session 0: free */
    uint32_t capacity;
    uint32_t count;
    uint32_t limit;              /* sessions at most; 0: LIMIT_SESSIONS */
    int64_t newest_us;
};

/* The limit of each table where a group has so many: all of them go into each checkpoint's state. */
static inline uint32_t session_limit(uint32_t partitions)
{
    return LIMIT_GROUP_SESSIONS / partitions < LIMIT_SESSIONS ? LIMIT_GROUP_SESSIONS / partitions : LIMIT_SESSIONS;
}

void session_fini(struct session_table *t);
/* Is this sequence new? Then remember it and return true. false: a repeat. session 0 is always new. */
bool session_accept(struct session_table *t, uint64_t session, uint64_t sequence, int64_t time_us);
const struct session_entry *session_find(const struct session_table *t, uint64_t session);
void session_set(struct session_table *t, const struct session_entry *e);
void session_save(const struct session_table *t, struct buffer *out);
int session_load(struct session_table *t, struct reader *in);
void session_copy(struct session_table *to, const struct session_table *from);

#endif
