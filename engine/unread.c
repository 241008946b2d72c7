/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/group_state.h"

/* Sessions in depots that nobody reads: dead letters, logs for other modules. No cursor moves there, so what their
 * sessions sent is followed apart and kept in checkpoints: else each start would have to read these depots whole. A
 * depot that is read from some launch on begins at its first record: what was followed is of no use then. (What was
 * trimmed by then is in the group's own tables: retain.c.) */

enum {
    FOLLOW_LAG = 4096,      /* records that a partition may be ahead before they are followed */
    CHECKPOINT_LAG = 1 << 20 /* records followed that are worth a checkpoint of their own */
};

static bool is_unread(const struct group *g, uint32_t partition)
{
    return g->plan->depot[partition / (g->plan->tasks / g->config.groups)].edges == 0;
}

void unread_open(struct group *g)
{
    g->unread = base_alloc((g->own_partitions + 1) * sizeof(*g->unread));
    for (uint32_t i = 0; i < g->own_partitions; i++)
        g->unread[i].sessions.limit = session_limit(g->own_partitions);
}

void unread_close(struct group *g)
{
    for (uint32_t i = 0; i < g->own_partitions; i++)
        session_fini(&g->unread[i].sessions);
    free(g->unread);
}

int unread_sessions(struct group *g, uint32_t partition, uint64_t *at, struct session_table *t, struct leat_error *err)
{
    struct log_slice slice;
    int rv;

    while ((rv = log_read(g->depots, partition, *at, FOLLOW_LAG, 4 << 20, &slice, err)) == 0) {
        for (uint32_t i = 0; i < slice.count; i++)
            session_accept(t, slice.entry[i].session, slice.entry[i].sequence, slice.entry[i].time_us);
        *at = slice.next;
        log_release(g->depots, &slice);
    }
    return rv == LEAT_EAGAIN ? 0 : base_wrap(err, rv, "group %u looks for sessions in its depots", g->config.number);
}

int unread_follow(struct group *g, uint64_t lag, struct leat_error *err)
{
    int rv = 0;

    for (uint32_t i = 0; i < g->own_partitions && rv == 0 && !g->config.memory; i++) {
        struct unread *u = &g->unread[i];
        uint64_t first, next, from = u->next;

        if (!is_unread(g, i))
            continue;
        log_bounds(g->depots, i, &first, &next);
        if (u->next < first) /* a view that was removed and made anew */
            u->next = from = first;
        if (next < from + lag)
            continue;
        rv = unread_sessions(g, i, &u->next, &u->sessions, err);
        g->followed += u->next - from;
    }
    return rv;
}

int unread_step(struct group *g, struct leat_error *err)
{
    return atomic_load(&g->dirty) ? unread_follow(g, FOLLOW_LAG, err) : 0;
}

bool unread_due(const struct group *g)
{
    return g->followed >= CHECKPOINT_LAG;
}

const struct unread *unread_of(const struct group *g, uint32_t partition)
{
    return is_unread(g, partition) ? &g->unread[partition] : NULL;
}

void unread_save(const struct group *g, struct buffer *out)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < g->own_partitions; i++)
        count += g->unread[i].next > 0;
    buffer_varint(out, count);
    for (uint32_t i = 0; i < g->own_partitions; i++)
        if (g->unread[i].next > 0) {
            buffer_varint(out, i);
            buffer_varint(out, g->unread[i].next);
            session_save(&g->unread[i].sessions, out);
        }
}

int unread_load(struct group *g, struct reader *in)
{
    uint64_t count = reader_varint(in);

    for (uint64_t i = 0; i < count && in->error == 0; i++) {
        uint64_t partition = reader_varint(in), next = reader_varint(in);

        if (in->error != 0 || partition >= g->own_partitions)
            return LEAT_ECORRUPT;
        struct unread *u = &g->unread[partition];
        u->next = next;
        session_load(&u->sessions, in);
        if (!is_unread(g, (uint32_t)partition)) {
            session_fini(&u->sessions);
            u->next = 0;
        }
    }
    return in->error;
}
