/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/group_state.h"

#include "base/log.h"
#include "engine/retain.h"

#include <stdio.h>

/* One turn: gather what has come, run the nodes over it, append one batch to the journal and make it durable (the
 * commit), apply it to the view, release the outputs. A failure before the journal append undoes everything. */

enum { SLICES = 256 };

#define SETTLE_NS 1000000000LL

static int64_t now_ns(const struct group *g)
{
    return g->config.clock->monotonic_ns(g->config.clock);
}

/* ---- Gathering ---- */

/* The place of a source in this turn's table; sources beyond FLOW_SOURCES cannot occur (room_for_sources). */
static uint32_t source_slot(struct turn *t, uint32_t group, uint64_t turn)
{
    for (uint32_t i = 1; i < t->sources; i++)
        if (t->source[i].group == group && t->source[i].turn == turn)
            return i;
    leat_assert(t->sources < FLOW_SOURCES);
    t->source[t->sources] = (struct turn_source){.group = group, .turn = turn};
    return t->sources++;
}

static bool is_poison(const struct group *g, const struct turn_input *in)
{
    return g->poisoned && g->poison.hop == in->hop && g->poison.from == in->from && g->poison.at == in->at &&
           g->poison.item == in->item;
}

/* The input that could not be processed goes to the dead letters instead. */
static void set_aside(struct turn *t, const struct turn_input *in, uint32_t task, struct leat_span row)
{
    struct group *g = t->group;
    char input[128];

    t->set_aside = true;
    snprintf(input, sizeof(input), in->hop ? "output of group %u, turn %llu, item %u" : "partition %u, offset %llu",
             in->from, (unsigned long long)in->at, in->item);
    const struct plan_topology *of = g->poison_node != NULL ? &g->plan->topology[g->poison_topology] : NULL;
    turn_dead_letter(t, of, g->poison_node, task, g->poison_reason, input, row);
}

static bool take_input(struct turn *t, const struct turn_input *in, struct leat_span row)
{
    if (t->inputs == t->group->budget)
        return false;
    if (t->inputs == 0) {
        t->first = *in;
        t->first_row = row;
    }
    t->inputs++;
    t->bytes += row.size + 16;
    return true;
}

static void take_item(struct turn *t, const struct turn_input *in, const struct output_item *item, const uint32_t *slot)
{
    struct group *g = t->group;
    struct plan_edge to = {item->kind != OUTPUT_APPEND ? g->plan->stream[item->stream] : 0, item->node};
    uint32_t own = item->kind == OUTPUT_ROW ? item->task : g->config.number;
    uint64_t sources = 0;

    for (uint64_t left = item->sources; left != 0; left &= left - 1)
        sources |= UINT64_C(1) << slot[__builtin_ctzll(left)];
    if (is_poison(g, in)) {
        set_aside(t, in, own, item->row);
    } else if (item->kind == OUTPUT_APPEND) {
        if (t->appends == t->append_capacity) {
            t->append_capacity = t->append_capacity == 0 ? 64 : t->append_capacity * 2;
            t->append = base_realloc(t->append, t->append_capacity * sizeof(*t->append));
        }
        t->append[t->appends++] = (struct log_record){
            .partition = group_partition(g, item->depot, item->partition), .time_us = g->now_us,
            .session = SESSION_GROUPS + in->from, .sequence = (in->at << 24) + in->item + 1, .body = item->row};
    } else if (item->kind == OUTPUT_STATE) {
        flow_deliver_state(g->flow, to, item->key, item->row, sources);
    } else {
        struct flow_tag tag = {(uint32_t)__builtin_ctzll(sources), item->index, item->hops};
        flow_deliver_to(g->flow, to, item->task, item->row, tag);
    }
}

/* Does every number in an output name something of this plan? It was checked when it was sent, by this very plan. */
static bool item_fits(const struct group *g, const struct output_item *item)
{
    if (item->kind == OUTPUT_APPEND)
        return item->depot < g->plan->depots && item->partition < g->plan->tasks &&
               GROUP_OF(g, item->partition) == g->config.number;
    if (item->stream >= g->plan->streams || item->node >= g->plan->topology[g->plan->stream[item->stream]].nodes)
        return false;
    const struct plan_node *node = &g->plan->topology[g->plan->stream[item->stream]].node[item->node];
    if (item->kind == OUTPUT_STATE)
        return node->keyed && node->fold->merge != NULL;
    return item->task < g->plan->tasks && GROUP_OF(g, item->task) == g->config.number;
}

/* Items of one output of a peer, from where the last turn stopped. done: all of them. */
static int take_output(struct turn *t, const struct hop_message *m, uint32_t from_item, bool *done,
                       struct leat_error *err)
{
    struct group *g = t->group;
    uint32_t slot[FLOW_SOURCES];
    struct output o;
    uint32_t i;
    int rv = output_decode(span_of(m->body, m->size), g->arena, &o, err);

    *done = false;
    if (rv != 0)
        return rv;
    if (t->sources + o.sources > FLOW_SOURCES || (g->closing && o.items > 0))
        return 0;
    for (i = 0; i < o.sources; i++)
        slot[i] = source_slot(t, o.source[i].group, o.source[i].turn);
    for (i = from_item; i < o.items; i++) {
        struct turn_input in = {true, m->from, m->turn, i};

        if (!item_fits(g, &o.item[i]))
            return leat_fail(err, LEAT_ECORRUPT, "group %u: turn %llu of group %u addresses what this module does not have",
                             g->config.number, (unsigned long long)m->turn, m->from);
        if (!take_input(t, &in, o.item[i].row))
            break;
        take_item(t, &in, &o.item[i], slot);
    }
    t->item[m->from] = i;
    *done = i == o.items;
    for (uint32_t s = 0; s < o.sources && *done; s++)
        t->source[slot[s]].delta ^= o.source[s].id;
    return 0;
}

static int gather_hops(struct turn *t, struct leat_error *err)
{
    struct group *g = t->group;
    bool done = true;
    int rv = 0;

    for (uint32_t i = 0; i < g->config.groups && rv == 0; i++) {
        uint32_t item = g->peer[i].cursor.item;

        for (struct hop_message *m = g->peer[i].queue.first; m != NULL && rv == 0; m = m->next) {
            if (t->bytes >= LIMIT_TURN_BYTES)
                return 0;
            rv = take_output(t, m, item, &done, err);
            if (rv != 0 || !done)
                break;
            t->taken[i]++;
            t->item[i] = item = 0;
        }
    }
    return rv;
}

/* Is a record new in its session? The table moves at once; what it held goes on the undo list. */
static bool session_new(struct turn *t, uint32_t partition, const struct log_entry *e)
{
    struct group *g = t->group;
    struct session_table *table = &g->session[partition];

    if (e->session == 0)
        return true;
    const struct session_entry *was = session_find(table, e->session);
    struct batch_session undo = {partition, e->session, was != NULL ? was->sequence : 0,
                                 was != NULL ? was->time_us : INT64_MIN};
    if (!session_accept(table, e->session, e->sequence, e->time_us)) {
        atomic_fetch_add(&g->stats.repeats, 1);
        return false;
    }
    if (t->undos > 0 && t->undo[t->undos - 1].partition == partition && t->undo[t->undos - 1].session == e->session)
        return true;
    if (t->undos == t->undo_capacity) {
        t->undo_capacity = t->undo_capacity == 0 ? 64 : t->undo_capacity * 2;
        t->undo = base_realloc(t->undo, t->undo_capacity * sizeof(*t->undo));
    }
    t->undo[t->undos++] = undo;
    return true;
}

void group_input(const struct group *g, uint32_t partition, struct group_input *in)
{
    uint32_t each = g->plan->tasks / g->config.groups;

    if (partition < g->own_partitions) {
        const struct plan_depot *d = &g->plan->depot[partition / each];
        uint32_t task = partition % each * g->config.groups + g->config.number;

        *in = (struct group_input){g->depots, partition, task, d->edge, d->edges, true};
        return;
    }
    uint32_t f = 0;
    while (partition >= g->foreign[f].first + g->foreign[f].count)
        f++;
    const struct group_foreign *from = &g->foreign[f].from;
    uint32_t number = (partition - g->foreign[f].first) * g->config.groups + g->config.number;
    struct group *owner = from->group[number & (from->groups - 1)];
    *in = (struct group_input){owner->depots, group_partition(owner, from->depot, number), number & (g->plan->tasks - 1),
                         g->plan->foreign[f].edge, g->plan->foreign[f].edges, false};
}

/* Records of a slice to the nodes that read the depot; says how many were taken. */
static uint32_t take_records(struct turn *t, uint32_t partition, const struct group_input *in, const struct log_slice *slice)
{
    struct group *g = t->group;
    uint32_t i;

    for (i = 0; i < slice->count; i++) {
        const struct log_entry *e = &slice->entry[i];
        struct turn_input input = {false, partition, e->offset, 0};
        struct flow_tag tag = {0, t->records + (uint32_t)(e->offset - slice->entry[0].offset), 0};

        if (!take_input(t, &input, e->body))
            break;
        if (in->own && !session_new(t, partition, e))
            continue;
        if (is_poison(g, &input)) {
            set_aside(t, &input, in->task, e->body);
            continue;
        }
        for (uint32_t j = 0; j < in->edges; j++)
            flow_deliver(g->flow, in->edge[j], in->task, e->body, tag);
    }
    return i;
}

static int gather_partition(struct turn *t, uint32_t partition, size_t bytes_max, struct leat_error *err)
{
    struct group *g = t->group;
    uint64_t cursor = progress_cursor(g->progress, partition);
    struct log_slice slice;
    struct group_input in;

    group_input(g, partition, &in);
    int rv = log_read(in.log, in.log_partition, cursor, g->budget - t->inputs, bytes_max, &slice, err);
    if (rv == LEAT_ETRIMMED && !in.own)
        retain_passed(g, partition);
    if (rv == LEAT_EAGAIN || (rv == LEAT_ETRIMMED && !in.own))
        return 0;
    if (rv != 0)
        return base_wrap(err, rv, "group %u reads a depot", g->config.number);
    t->slice[t->slices] = slice;
    t->slice_log[t->slices++] = in.log;
    uint32_t taken = take_records(t, partition, &in, &slice);
    if (taken == 0)
        return 0;
    uint64_t next = taken == slice.count ? slice.next : slice.entry[taken - 1].offset + 1;
    /* Offsets may have gaps in front: the index counts from the first record that was there. */
    t->range[t->ranges++] = (struct progress_range){partition, t->records, slice.entry[0].offset, next};
    t->records += (uint32_t)(next - slice.entry[0].offset);
    return 0;
}

/* Refresh what is readable, when a log said it grew. */
static uint32_t count_waiting(struct group *g)
{
    uint32_t waiting = 0;
    bool look = atomic_exchange(&g->dirty, false);

    for (uint32_t i = 0; i < g->partitions; i++) {
        struct group_input in;
        uint64_t first;

        if (look) {
            group_input(g, i, &in);
            g->end[i] = 0;
            if (in.edges > 0)
                log_bounds(in.log, in.log_partition, &first, &g->end[i]);
        }
        if (g->end[i] > progress_cursor(g->progress, i))
            waiting++;
    }
    return waiting;
}

static bool paused(const struct group *g)
{
    return progress_open_turns(g->progress) >= LIMIT_OPEN_TURNS || progress_open_bytes(g->progress) >= LIMIT_OPEN_BYTES;
}

/* Partitions in turn, each an even part of what a turn may take; the next turn starts behind this one's last. */
static int gather_depots(struct turn *t, struct leat_error *err)
{
    struct group *g = t->group;
    uint32_t waiting = count_waiting(g), i;
    int rv = 0;

    if (waiting == 0 || paused(g) || g->closing || t->sources == FLOW_SOURCES)
        return 0;
    size_t each = LIMIT_TURN_BYTES / waiting + 4096;
    for (i = 0; i < g->partitions && rv == 0; i++) {
        uint32_t partition = (g->start + i) % g->partitions;

        if (t->inputs == g->budget || t->bytes >= LIMIT_TURN_BYTES || t->slices == SLICES)
            break;
        if (g->end[partition] > progress_cursor(g->progress, partition))
            rv = gather_partition(t, partition, each, err);
    }
    if (!g->poisoned && g->suspects == 0)
        g->start = (g->start + i) % g->partitions;
    return rv;
}

/* Tick depots that are due: one row, however many periods were missed. */
static void gather_ticks(struct turn *t)
{
    struct group *g = t->group;

    for (uint32_t d = 0; d < g->plan->depots && g->config.number == 0; d++) {
        int64_t period = (int64_t)g->plan->depot[d].tick_ms * 1000;

        if (period == 0 || t->inputs == g->budget)
            continue;
        if (g->tick_next_us[d] == 0)
            g->tick_next_us[d] = g->now_us + period;
        if (g->now_us < g->tick_next_us[d])
            continue;
        uint8_t *row = arena_alloc(g->arena, 8, 1);
        store_u64(row, (uint64_t)g->now_us);
        turn_append(t, d, 0, span_of(row, 8), 0);
        t->tick[t->ticks++] = (struct batch_tick){d, g->now_us + period};
        t->inputs++;
    }
}

static int gather(struct turn *t, struct leat_error *err)
{
    int rv = gather_hops(t, err);

    if (rv == 0)
        rv = gather_depots(t, err);
    if (rv == 0 && !t->group->closing)
        gather_ticks(t);
    return rv;
}

/* ---- Committing ---- */

/* How far each peer's outputs are consumed after this turn. */
static void batch_hops(struct turn *t, struct batch *b)
{
    struct group *g = t->group;

    b->hop = arena_alloc(g->arena, g->config.groups * sizeof(*b->hop), 8);
    for (uint32_t i = 0; i < g->config.groups; i++) {
        struct hop_peer *peer = &g->peer[i];
        struct hop_cursor c = peer->cursor;
        const struct hop_message *m = peer->queue.first;

        for (uint32_t n = 0; n < t->taken[i]; n++, m = m->next) {
            c.turn = m->turn;
            c.position = m->position + 1;
        }
        c.item = t->item[i];
        if (m != NULL && c.item > 0)
            c.position = m->position;
        if (t->taken[i] > 0 || c.item != peer->cursor.item || peer->progress_dirty)
            b->hop[b->hops++] = (struct batch_hop){i, c};
    }
}

static void batch_sessions(struct turn *t, struct batch *b)
{
    struct group *g = t->group;

    b->session = arena_alloc(g->arena, (t->undos + 1) * sizeof(*b->session), 8);
    for (uint32_t i = 0; i < t->undos; i++) {
        const struct session_entry *e = session_find(&g->session[t->undo[i].partition], t->undo[i].session);

        if (e != NULL)
            b->session[b->sessions++] =
                (struct batch_session){t->undo[i].partition, e->session, e->sequence, e->time_us};
    }
}

static int make_batch(struct turn *t, struct batch *b, struct leat_error *err)
{
    struct group *g = t->group;
    uint32_t seen = (uint32_t)(g->seen_progress.size / sizeof(struct batch_progress));

    memset(b, 0, sizeof(*b));
    b->epoch = g->epoch;
    b->turn = g->turn + 1;
    b->now_us = g->now_us;
    b->range = t->range;
    b->ranges = t->ranges;
    b->opened_bytes = t->bytes;
    b->progress = arena_alloc(g->arena, (seen + FLOW_SOURCES) * sizeof(*b->progress), 8);
    if (seen > 0)
        memcpy(b->progress, g->seen_progress.base, seen * sizeof(*b->progress));
    b->progresses = seen;
    b->tick = t->tick;
    b->ticks = t->ticks;
    b->ops = buffer_bytes(&g->ops);
    batch_hops(t, b);
    batch_sessions(t, b);
    int rv = turn_outputs(t, b);
    if (rv == 0) {
        buffer_clear(&g->record);
        batch_encode(b, &g->record);
        rv = g->ops.error != 0 ? g->ops.error : g->record.error;
    }
    if (rv != 0)
        return leat_fail(err, rv, "group %u: what a turn of %u inputs did is larger than a batch may be (%d MiB)",
                         g->config.number, t->inputs, LIMIT_BATCH >> 20);
    return 0;
}

/* The commit. When it fails nobody knows whether the batch is durable: the group must be opened again. */
static int journal_batch(struct group *g, struct leat_error *err)
{
    struct log_record record = {.time_us = g->now_us, .body = buffer_bytes(&g->record)};
    int64_t start = now_ns(g);
    int rv = log_append(g->journal, &record, 1, &g->journal_next);

    if (rv != 0)
        return leat_fail(err, rv, "group %u: the journal takes no more", g->config.number);
    if (group_crashes(g, "turn.appended"))
        return LEAT_ECANCELED;
    rv = log_sync(g->journal, err);
    if (rv != 0)
        return base_wrap(err, rv, "group %u commits to its journal", g->config.number);
    histogram_add(&g->stats.commit_ns, (uint64_t)(now_ns(g) - start));
    atomic_fetch_add(&g->stats.journal_bytes, g->record.size);
    return 0;
}

/* XORs that came from peers were applied when they were seen; in a replay, and for this turn's own, they are now. */
static bool apply_progress(struct group *g, const struct batch *b, uint32_t from)
{
    for (uint32_t i = from; i < b->progresses; i++)
        if (!progress_xor(g->progress, b->progress[i].turn, b->progress[i].xor))
            return false;
    if (b->ranges > 0)
        progress_add(g->progress, b->turn, b->opened_xor, b->opened_bytes, b->range, b->ranges);
    return true;
}

static void apply_cursors(struct group *g, const struct batch *b)
{
    g->turn = b->turn;
    g->now_us = b->now_us;
    for (uint32_t i = 0; i < b->hops; i++) {
        struct hop_peer *peer = &g->peer[b->hop[i].peer];

        peer->cursor = b->hop[i].cursor;
        peer->progress_dirty = false;
        atomic_store(&peer->journaled, peer->cursor.position);
        atomic_store(&peer->consumed, peer->cursor.turn);
    }
    for (uint32_t i = 0; i < b->outputs; i++)
        g->sent[b->output[i].group] = b->turn;
    for (uint32_t i = 0; i < b->ticks; i++)
        g->tick_next_us[b->tick[i].depot] = b->tick[i].next_us;
}

bool turn_apply_state(struct group *g, const struct batch *b)
{
    apply_cursors(g, b);
    for (uint32_t i = 0; i < b->sessions; i++) {
        struct session_entry e = {b->session[i].session, b->session[i].sequence, b->session[i].time_us};

        session_set(&g->session[b->session[i].partition], &e);
    }
    return apply_progress(g, b, 0);
}

/* Ack returns for records of this group's own turns, this one among them. Before the progress that lets acks go. */
static void give_returns(struct turn *t)
{
    struct group *g = t->group;

    for (uint32_t i = 0; i < t->own_returns; i++) {
        const struct output_return *ret = &t->own_return[i];
        struct leat_span value = span_of((const uint8_t *)ret->value.base + 1, ret->value.size - 1);
        uint32_t partition;
        uint64_t offset;
        bool found = ret->turn != g->turn + 1 && progress_record(g->progress, ret->turn, ret->index, &partition, &offset);

        for (uint32_t j = 0; j < t->ranges && ret->turn == g->turn + 1 && !found; j++) {
            const struct progress_range *r = &t->range[j];

            found = ret->index >= r->base && ret->index - r->base < r->next - r->first;
            partition = r->partition;
            offset = r->first + (ret->index - r->base);
        }
        if (found)
            acks_return(g->acks, partition, offset, *(const uint8_t *)ret->value.base, value);
    }
}

/* The view has it: acks, progress and outputs may leave. */
static int release(struct turn *t)
{
    struct group *g = t->group;
    const struct batch *b = t->batch;

    t->applied = true;
    atomic_store(&g->released, ++g->journal_next);
    if (group_crashes(g, "turn.applied"))
        return LEAT_ECANCELED;
    give_returns(t);
    apply_cursors(g, b);
    bool open = apply_progress(g, b, (uint32_t)(g->seen_progress.size / sizeof(struct batch_progress)));
    leat_assert(open);
    buffer_clear(&g->seen_progress);
    for (uint32_t i = 0; i < g->config.groups; i++)
        for (uint32_t n = 0; n < t->taken[i]; n++)
            hop_consumed(g, i);
    for (uint32_t i = 0; i < b->outputs; i++)
        if (g->peer[b->output[i].group].group != NULL)
            hop_push(g->peer[b->output[i].group].group, g->config.number, b->output[i].previous, b->turn,
                     g->journal_next - 1, b->output[i].body);
    return group_crashes(g, "turn.released") ? LEAT_ECANCELED : 0;
}

static int commit(struct turn *t, struct leat_error *err)
{
    struct group *g = t->group;
    struct batch *b = t->batch = arena_alloc(g->arena, sizeof(*b), 16);
    int rv = make_batch(t, b, err);

    if (rv == 0 && t->appends > 0)
        rv = intake_append(g->intake, t->append, t->appends, err);
    if (rv == 0)
        rv = group_crashes(g, "turn.ran") ? LEAT_ECANCELED : journal_batch(g, err);
    if (rv != 0)
        return rv;
    t->committed = true;
    if (group_crashes(g, "turn.committed"))
        return LEAT_ECANCELED;
    int64_t start = now_ns(g);
    rv = pstate_view_commit(g->view, b->turn, err);
    if (rv != 0)
        return base_wrap(err, rv, "group %u applies turn %llu", g->config.number, (unsigned long long)b->turn);
    histogram_add(&g->stats.apply_ns, (uint64_t)(now_ns(g) - start));
    return release(t);
}

/* ---- A turn that is in the journal, but not in the view, whose disk was full ---- */

static void release_slices(struct turn *t)
{
    for (uint32_t i = 0; i < t->slices; i++)
        log_release(t->slice_log[i], &t->slice[i]);
    t->slices = 0;
}

/* It stays in the arena, and nothing else may happen in the group before it is in the view. The logs it read from may go. */
static void hold(struct turn *t)
{
    struct group *g = t->group;

    release_slices(t);
    g->held = base_alloc(sizeof(*g->held));
    *g->held = *t;
}

void turn_drop_held(struct group *g)
{
    if (g->held == NULL)
        return;
    free(g->held->append);
    free(g->held->undo);
    free(g->held);
    g->held = NULL;
}

/* As a replay would. 1: it is applied. */
static int apply_held(struct group *g, struct leat_error *err)
{
    const struct batch *b = g->held->batch;
    int rv = pstate_view_begin(g->view, NULL, err);

    if (rv == 0)
        rv = pstate_view_apply(g->view, b->ops, err);
    if (rv == 0)
        rv = pstate_view_commit(g->view, b->turn, err);
    pstate_view_abort(g->view);
    if (rv != 0)
        return base_wrap(err, rv, "group %u applies turn %llu", g->config.number, (unsigned long long)b->turn);
    rv = release(g->held);
    turn_drop_held(g);
    return rv == 0 ? 1 : rv;
}

/* ---- The turn ---- */

static void turn_init(struct turn *t, struct group *g)
{
    uint32_t groups = g->config.groups;

    memset(t, 0, sizeof(*t));
    arena_reset(g->arena);
    t->group = g;
    t->start = g->start;
    t->source[0] = (struct turn_source){.group = g->config.number, .turn = g->turn + 1};
    t->sources = 1;
    t->build = arena_zeroed(g->arena, groups * sizeof(*t->build), 16);
    t->mask = arena_zeroed(g->arena, groups * sizeof(*t->mask), 8);
    t->used = arena_zeroed(g->arena, groups * sizeof(*t->used), 8);
    t->taken = arena_zeroed(g->arena, groups * sizeof(*t->taken), 8);
    t->item = arena_zeroed(g->arena, groups * sizeof(*t->item), 8);
    t->range = arena_alloc(g->arena, SLICES * sizeof(*t->range), 8);
    t->slice = arena_alloc(g->arena, SLICES * sizeof(*t->slice), 8);
    t->slice_log = arena_alloc(g->arena, SLICES * sizeof(struct log *), 8);
    t->tick = arena_alloc(g->arena, (g->plan->depots + 1) * sizeof(*t->tick), 8);
    for (uint32_t i = 0; i < groups; i++)
        t->item[i] = g->peer[i].cursor.item;
}

static void turn_fini(struct turn *t)
{
    release_slices(t);
    free(t->append);
    free(t->undo);
}

static void undo_sessions(struct turn *t)
{
    for (uint32_t i = t->undos; i > 0; i--) {
        const struct batch_session *u = &t->undo[i - 1];
        struct session_entry e = {u->session, u->sequence, u->time_us};

        session_set(&t->group->session[u->partition], &e);
    }
}

/* One of these inputs is at fault, or they are too many at once: then no one is looked for, and the next turns grow
 * slowly. */
static void narrow(const struct turn *t, int rv)
{
    struct group *g = t->group;

    if (g->suspects == 0)
        g->failed_inputs = t->inputs;
    g->suspects = rv == LEAT_ELIMIT ? 0 : t->inputs;
    g->wary = rv == LEAT_ELIMIT;
    g->budget = t->inputs / 2;
    g->start = t->start;
}

/* A turn failed before its commit. With several inputs, try fewer; a single one is set aside by the next turn. */
static int failed(struct turn *t, int rv, struct leat_error *err)
{
    struct group *g = t->group;

    if (t->committed)
        return rv;
    pstate_view_abort(g->view);
    undo_sessions(t);
    atomic_fetch_add(&g->stats.aborts, 1);
    if (!g->flow->node_failed && (rv == LEAT_ECANCELED || leat_code_class(rv) != LEAT_CLASS_CALLER))
        return rv;
    if (t->inputs > 1) {
        narrow(t, rv);
        return 1;
    }
    if (t->set_aside)
        return leat_fail(err, LEAT_EINTERNAL, "group %u: a dead letter cannot be written", g->config.number);
    g->poisoned = true;
    g->poison = t->first;
    g->poison_node = g->flow->failed_node;
    for (uint32_t i = 0; i < g->plan->topologies && g->poison_node != NULL; i++)
        if (g->poison_node >= g->plan->topology[i].node &&
            g->poison_node < g->plan->topology[i].node + g->plan->topology[i].nodes)
            g->poison_topology = i;
    snprintf(g->poison_reason, sizeof(g->poison_reason), "%.500s", err->text);
    if (!utf8_valid(span_text(g->poison_reason)))
        snprintf(g->poison_reason, sizeof(g->poison_reason), "%s", leat_code_text(rv));
    log_print(LOG_WARN, "engine", "module %s, group %u, node %s: a row goes to the dead letters: %s",
              g->plan->module->name, g->config.number, g->poison_node != NULL ? g->poison_node->name : "none",
              g->poison_reason);
    return 1;
}

/* How much the turn after a good one takes. While one of the next inputs is known to be at fault, half of those: it is
 * found in as many turns as they can be halved. */
static void set_budget(struct group *g, const struct turn *t)
{
    uint32_t most = LIMIT_TURN_ROWS, grown = g->budget + (g->wary ? g->budget / 8 : g->budget) + 1;

    if (t->set_aside) {
        g->poisoned = false;
        g->suspects = 0;
        g->budget = g->failed_inputs / 2 + 1;
    } else if (g->suspects > t->inputs) {
        g->suspects -= t->inputs;
        g->budget = (g->suspects + 1) / 2;
    } else {
        g->suspects = 0;
        g->budget = grown < most ? grown : most;
        g->wary = g->wary && grown < most;
    }
    if (g->config.cut_rows > 0)
        g->budget = 1 + (uint32_t)random_below(&g->random, g->config.cut_rows);
}

static void count_turn(struct group *g, const struct turn *t, int64_t start)
{
    atomic_fetch_add(&g->stats.turns, 1);
    atomic_fetch_add(&g->stats.rows, t->inputs);
    histogram_add(&g->stats.turn_rows, t->inputs);
    histogram_add(&g->stats.turn_ns, (uint64_t)(now_ns(g) - start));
    atomic_store(&g->stats.open_turns, progress_open_turns(g->progress));
    atomic_store(&g->stats.open_rows, progress_open_records(g->progress));
}

/* Sweep a little in each turn, so that unlinked subtrees never cost a turn of their own. */
enum { SWEEP_EACH = 256 };

static int run_and_commit(struct turn *t, struct leat_error *err)
{
    struct group *g = t->group;
    uint32_t swept;
    int rv = flow_run(g->flow);

    if (rv != 0) {
        *err = g->flow->err;
        err->code = rv;
        return rv;
    }
    rv = pstate_view_sweep(g->view, SWEEP_EACH, &swept, err);
    return rv != 0 ? rv : commit(t, err);
}

/* Progress alone makes no turn, as the next one takes it along. But when none comes, the peers' journals must not wait for
 * ever to be trimmed, nor our checkpoint; and what is queued must not keep out what comes behind it. */
static bool settles(struct group *g, const struct turn *t, int64_t now)
{
    bool waits = g->seen_progress.size > 0;

    for (uint32_t i = 0; i < g->config.groups; i++)
        waits = waits || t->taken[i] > 0;
    if (!waits || t->inputs > 0)
        g->settle_ns = 0;
    else if (g->settle_ns == 0)
        g->settle_ns = now + SETTLE_NS;
    bool at_once = g->closing || g->queued_bytes >= LIMIT_OPEN_BYTES / 2;
    return waits && t->inputs == 0 && (now >= g->settle_ns || at_once);
}

int turn_run(struct group *g, struct leat_error *err)
{
    int64_t start = now_ns(g), wall = g->config.clock->wall_us(g->config.clock), before = g->now_us;
    struct leat_error why = {0};
    struct turn t;
    int rv;

    if (g->held != NULL)
        return apply_held(g, err);
    turn_init(&t, g);
    if (wall > g->now_us)
        g->now_us = wall;
    buffer_clear(&g->ops);
    g->flow->owner = &t;
    g->flow->view = g->view;
    flow_begin(g->flow, g->arena, g->now_us, random_u64(&g->random));
    rv = gather(&t, &why);
    if (rv == 0 && (settles(g, &t, start) || t.inputs > 0)) {
        rv = pstate_view_begin(g->view, &g->ops, &why);
        if (rv == 0 && (rv = run_and_commit(&t, &why)) != 0)
            rv = failed(&t, rv, &why);
        else if (rv == 0) {
            set_budget(g, &t);
            count_turn(g, &t, start);
            rv = 1;
        }
    } else if (rv == 0) {
        g->now_us = before;
    }
    if (rv < 0 && err != NULL)
        *err = why;
    if (rv == LEAT_ENOSPACE && t.committed)
        hold(&t);
    else
        turn_fini(&t);
    return rv;
}
