/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/session.h"

/* Open addressing with linear probing; at most half full. What is too old or too much is dropped when the table would
 * grow, or pass its limit. */

void session_fini(struct session_table *t)
{
    free(t->entry);
    memset(t, 0, sizeof(*t));
}

static uint32_t slot_of(const struct session_table *t, uint64_t session)
{
    uint32_t slot = (uint32_t)(session * 0x9e3779b97f4a7c15U >> 32) & (t->capacity - 1);

    while (t->entry[slot].session != 0 && t->entry[slot].session != session)
        slot = (slot + 1) & (t->capacity - 1);
    return slot;
}

/* An entry that stands for "never seen" is what an undone append or turn leaves: sequence 0, time INT64_MIN. */
static bool seen(const struct session_entry *e)
{
    return e->session != 0 && e->time_us != INT64_MIN;
}

const struct session_entry *session_find(const struct session_table *t, uint64_t session)
{
    if (t->capacity == 0 || session == 0)
        return NULL;
    const struct session_entry *e = &t->entry[slot_of(t, session)];
    return seen(e) ? e : NULL;
}

static bool is_group(const struct session_entry *e)
{
    return e->session >= SESSION_GROUPS;
}

/* Those of groups, then newest first. */
static int compare_age(const void *a, const void *b)
{
    const struct session_entry *x = a, *y = b;

    if (is_group(x) != is_group(y))
        return is_group(x) ? -1 : 1;
    if (x->time_us != y->time_us)
        return x->time_us > y->time_us ? -1 : 1;
    return x->session < y->session ? -1 : x->session > y->session;
}

static uint32_t limit_of(const struct session_table *t)
{
    return t->limit > 0 ? t->limit : LIMIT_SESSIONS;
}

static void rebuild(struct session_table *t)
{
    struct session_entry *old = t->entry;
    uint32_t capacity = t->capacity, kept = 0, most = limit_of(t) - limit_of(t) / 8 - 1;

    for (uint32_t i = 0; i < capacity; i++)
        if (seen(&old[i]) && (is_group(&old[i]) || old[i].time_us >= t->newest_us - LIMIT_SESSION_AGE_US))
            old[kept++] = old[i];
    if (kept > most) {
        qsort(old, kept, sizeof(*old), compare_age);
        kept = most;
    }
    t->capacity = 8;
    while (t->capacity < kept * 4)
        t->capacity *= 2;
    t->entry = base_alloc(t->capacity * sizeof(*t->entry));
    t->count = kept;
    for (uint32_t i = 0; i < kept; i++)
        t->entry[slot_of(t, old[i].session)] = old[i];
    free(old);
}

void session_set(struct session_table *t, const struct session_entry *e)
{
    leat_assert(e->session != 0);
    if (e->time_us > t->newest_us)
        t->newest_us = e->time_us;
    if ((t->count + 1) * 2 > t->capacity || t->count >= limit_of(t))
        rebuild(t);
    struct session_entry *to = &t->entry[slot_of(t, e->session)];
    if (to->session == 0)
        t->count++;
    *to = *e;
}

bool session_accept(struct session_table *t, uint64_t session, uint64_t sequence, int64_t time_us)
{
    if (session == 0)
        return true;
    const struct session_entry *e = session_find(t, session);
    if (e != NULL && sequence <= e->sequence)
        return false;
    session_set(t, &(struct session_entry){session, sequence, time_us});
    return true;
}

void session_save(const struct session_table *t, struct buffer *out)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < t->capacity; i++)
        count += seen(&t->entry[i]);
    buffer_varint(out, count);
    for (uint32_t i = 0; i < t->capacity; i++) {
        const struct session_entry *e = &t->entry[i];

        if (!seen(e))
            continue;
        buffer_u64(out, e->session);
        buffer_varint(out, e->sequence);
        buffer_u64(out, (uint64_t)e->time_us);
    }
}

int session_load(struct session_table *t, struct reader *in)
{
    uint64_t count = reader_varint(in);

    for (uint64_t i = 0; i < count && in->error == 0; i++) {
        struct session_entry e = {.session = reader_u64(in)};

        e.sequence = reader_varint(in);
        e.time_us = (int64_t)reader_u64(in);
        if (in->error == 0 && e.session != 0)
            session_set(t, &e);
        else
            in->error = LEAT_ECORRUPT;
    }
    return in->error;
}

void session_copy(struct session_table *to, const struct session_table *from)
{
    *to = *from;
    to->entry = NULL;
    if (from->capacity == 0)
        return;
    to->entry = base_alloc(from->capacity * sizeof(*to->entry));
    memcpy(to->entry, from->entry, from->capacity * sizeof(*to->entry));
}
