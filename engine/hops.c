/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/group_state.h"

/* Outputs of peers. A push is only a fast way: what counts is the peer's journal. A push is accepted when it follows
 * on the last accepted one; after a gap (a push dropped, a restart) the journal is read until it is closed. */

static struct hop_message *message_new(uint32_t from, uint64_t previous, uint64_t turn, uint64_t position,
                                       struct leat_span body)
{
    struct hop_message *m = base_alloc(sizeof(*m) + body.size);

    *m = (struct hop_message){
        .from = from, .previous = previous, .turn = turn, .position = position, .size = body.size};
    memcpy(m->body, body.base, body.size);
    return m;
}

static void enqueue(struct hop_queue *q, struct hop_message *m)
{
    m->next = NULL;
    if (q->last != NULL)
        q->last->next = m;
    else
        q->first = m;
    q->last = m;
}

static struct hop_message *dequeue(struct hop_queue *q)
{
    struct hop_message *m = q->first;

    if (m != NULL) {
        q->first = m->next;
        if (q->first == NULL)
            q->last = NULL;
    }
    return m;
}

void hop_push(struct group *to, uint32_t from, uint64_t previous, uint64_t turn, uint64_t position,
              struct leat_span body)
{
    struct hop_message *m = NULL;

    if (!to->config.force_hops)
        m = message_new(from, previous, turn, position, body);
    pthread_mutex_lock(&to->inbox_lock);
    if (m != NULL && to->inbox_bytes < LIMIT_OPEN_BYTES) {
        enqueue(&to->inbox, m);
        to->inbox_bytes += body.size;
        m = NULL;
    } else {
        to->lost[from] = true;
    }
    pthread_mutex_unlock(&to->inbox_lock);
    free(m);
    to->config.wake(to->config.context);
}

/* Progress and ack returns count from when they are seen: no commit of this group is needed for an ack to leave.
 * They go into the next batch all the same, as its turn numbers say what a replay has to read again. */
static int see_progress(struct group *g, struct hop_peer *peer, const struct hop_message *m, struct leat_error *err)
{
    struct output o;

    if (m->turn <= peer->cursor.progress_turn)
        return 0;
    arena_reset(g->small);
    int rv = output_decode(span_of(m->body, m->size), g->small, &o, err);
    if (rv != 0)
        return rv;
    for (uint32_t i = 0; i < o.returns; i++) {
        uint32_t partition;
        uint64_t offset;

        if (o.ret[i].value.size > 0 &&
            progress_record(g->progress, o.ret[i].turn, o.ret[i].index, &partition, &offset))
            acks_return(g->acks, partition, offset, *(const uint8_t *)o.ret[i].value.base,
                        span_of((const uint8_t *)o.ret[i].value.base + 1, o.ret[i].value.size - 1));
    }
    for (uint32_t i = 0; i < o.progresses; i++) {
        if (!progress_xor(g->progress, o.progress[i].turn, o.progress[i].xor))
            return leat_fail(err, LEAT_ECORRUPT,
                             "group %u: progress for turn %llu, which is not open: the journal of group %u does not "
                             "belong to it",
                             g->config.number, (unsigned long long)o.progress[i].turn, m->from);
        buffer_put(&g->seen_progress, &o.progress[i], sizeof(o.progress[i]));
    }
    peer->cursor.progress_turn = m->turn;
    peer->progress_dirty = true;
    return 0;
}

static int accept(struct group *g, struct hop_message *m, struct leat_error *err)
{
    struct hop_peer *peer = &g->peer[m->from];

    leat_assert(m->turn > peer->seen);
    peer->seen = m->turn;
    peer->read_position = m->position + 1;
    enqueue(&peer->queue, m);
    g->queued_bytes += m->size;
    return see_progress(g, peer, m, err);
}

/* Outputs for us in some records of a peer's journal, up to an offset. */
static int read_batches(struct group *g, uint32_t from, const struct log_slice *slice, uint64_t end,
                        struct leat_error *err)
{
    struct hop_peer *peer = &g->peer[from];
    struct batch b;
    int rv;

    for (uint32_t i = 0; i < slice->count && slice->entry[i].offset < end; i++) {
        arena_reset(g->small);
        rv = batch_decode(slice->entry[i].body, g->small, &b, err);
        if (rv != 0)
            return base_wrap(err, rv, "journal of group %u, offset %llu", from,
                             (unsigned long long)slice->entry[i].offset);
        const struct batch_output *found = NULL;
        for (uint32_t j = 0; j < b.outputs; j++)
            if (b.output[j].group == g->config.number)
                found = &b.output[j];
        if (found != NULL && b.turn > peer->seen) {
            if (found->previous != peer->seen)
                return leat_fail(err, LEAT_ECORRUPT,
                                 "group %u: outputs of group %u from turn %llu to %llu are missing in its journal",
                                 g->config.number, from, (unsigned long long)peer->seen + 1,
                                 (unsigned long long)found->previous);
            rv = accept(g, message_new(from, found->previous, b.turn, slice->entry[i].offset, found->body), err);
            if (rv != 0)
                return rv;
        }
        peer->read_position = slice->entry[i].offset + 1;
    }
    return 0;
}

/* A journal is trimmed behind our cursor only while there is nothing for us. */
static void skip_trimmed(struct hop_peer *peer)
{
    uint64_t next;

    log_bounds(peer->group->journal, 0, &peer->read_position, &next);
}

/* Read a peer's journal up to what its view has, or until enough is queued. What is durable but not applied yet must
 * wait: an ack could leave before queries see its effects. The peer pushes when it has applied it. */
static int read_gap(struct group *g, uint32_t from, struct leat_error *err)
{
    struct hop_peer *peer = &g->peer[from];
    struct log_slice slice;
    int rv = 0;

    if (peer->group == NULL)
        return 0;
    atomic_fetch_add(&g->stats.gap_reads, 1);
    while (rv == 0 && g->queued_bytes < LIMIT_OPEN_BYTES) {
        uint64_t end = atomic_load(&peer->group->released);

        rv = peer->read_position < end
                 ? log_read(peer->group->journal, 0, peer->read_position, 64, 4 << 20, &slice, err)
                 : LEAT_EAGAIN;
        if (rv == LEAT_ETRIMMED) {
            skip_trimmed(peer);
            rv = 0;
            continue;
        }
        if (rv == LEAT_EAGAIN) {
            peer->behind = false;
            return 0;
        }
        if (rv != 0)
            return base_wrap(err, rv, "group %u reads the journal of group %u", g->config.number, from);
        rv = read_batches(g, from, &slice, end, err);
        log_release(peer->group->journal, &slice);
    }
    return rv;
}

/* One pushed output: the next one, a repeat, or a sign of a gap. */
static int look_at(struct group *g, struct hop_message *m, struct leat_error *err)
{
    struct hop_peer *peer = &g->peer[m->from];

    /* What finds no room is read from the journal later. */
    if (m->turn > peer->seen && m->previous == peer->seen && !peer->behind && g->queued_bytes < LIMIT_OPEN_BYTES)
        return accept(g, m, err);
    if (m->turn > peer->seen)
        peer->behind = true;
    free(m);
    return 0;
}

int hops_poll(struct group *g, bool *came, struct leat_error *err)
{
    struct hop_queue pushed;
    struct hop_message *m;
    int rv = 0;

    pthread_mutex_lock(&g->inbox_lock);
    pushed = g->inbox;
    g->inbox = (struct hop_queue){0};
    g->inbox_bytes = 0;
    for (uint32_t i = 0; i < g->config.groups; i++) {
        g->peer[i].behind |= g->lost[i];
        g->lost[i] = false;
    }
    pthread_mutex_unlock(&g->inbox_lock);
    *came = pushed.first != NULL;
    while ((m = dequeue(&pushed)) != NULL) {
        if (rv == 0)
            rv = look_at(g, m, err);
        else
            free(m);
    }
    for (uint32_t i = 0; i < g->config.groups && rv == 0; i++)
        if (g->peer[i].behind) {
            uint64_t position = g->peer[i].read_position;

            rv = read_gap(g, i, err);
            *came |= g->peer[i].read_position != position || !g->peer[i].behind;
        }
    return rv;
}

void hop_consumed(struct group *g, uint32_t from)
{
    struct hop_message *m = dequeue(&g->peer[from].queue);

    leat_assert(m != NULL);
    g->queued_bytes -= m->size;
    free(m);
}

void hops_fini(struct group *g)
{
    struct hop_message *m;

    while ((m = dequeue(&g->inbox)) != NULL)
        free(m);
    for (uint32_t i = 0; i < g->config.groups; i++)
        while ((m = dequeue(&g->peer[i].queue)) != NULL)
            free(m);
}
