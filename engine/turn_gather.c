/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/group_state.h"

#include "base/log.h"
#include "engine/retain.h"

#include <stdio.h>

/* What a turn takes in: outputs of peers first, which others wait for, then results of background nodes or records of
 * depots, by turns, then ticks; as much as its budget and its bytes allow. Results and records never come together: who
 * waits for a record's effects does not wait for those of the results. */

/* What a turn takes from peers and what it takes itself stems from less than FLOW_SOURCES turns: each of them may be a
 * source of one output, and who takes that has its own turn besides. */
static bool own_fits(const struct turn *t)
{
    return t->sources < FLOW_SOURCES;
}

/* The place of a source in this turn's table. */
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
    return g->poisoned && g->poison.kind == in->kind && g->poison.from == in->from && g->poison.at == in->at &&
           g->poison.item == in->item;
}

/* The input that could not be processed goes to the dead letters instead. */
static void set_aside(struct turn *t, const struct turn_input *in, uint32_t task, struct leat_span row)
{
    struct group *g = t->group;
    char input[128];

    t->set_aside = true;
    snprintf(input, sizeof(input),
             in->kind == INPUT_HOP ? "output of group %u, turn %llu, item %u" : "partition %u, offset %llu", in->from,
             (unsigned long long)in->at, in->item);
    const struct plan_topology *of = g->poison_node != NULL ? &g->plan->topology[g->poison_topology] : NULL;
    turn_dead_letter(t, of, g->poison_node, task, g->poison_reason, input, row);
}

static bool take_input(struct turn *t, const struct turn_input *in, struct leat_span row)
{
    if (t->inputs == t->group->budget)
        return false;
    if (t->inputs == 0)
        t->first = *in;
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
        struct turn_input in = {INPUT_HOP, m->from, m->turn, i};

        if (!item_fits(g, &o.item[i]))
            return leat_fail(err, LEAT_ECORRUPT,
                             "group %u: turn %llu of group %u addresses what this module does not have",
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
    *in = (struct group_input){owner->depots, group_partition(owner, from->depot, number),
                               number & (g->plan->tasks - 1),
                         g->plan->foreign[f].edge, g->plan->foreign[f].edges, false};
}

/* Records of a slice to the nodes that read the depot; says how many were taken. */
static uint32_t take_records(struct turn *t, uint32_t partition, const struct group_input *in,
                             const struct log_slice *slice)
{
    struct group *g = t->group;
    uint32_t i;

    for (i = 0; i < slice->count; i++) {
        const struct log_entry *e = &slice->entry[i];
        struct turn_input input = {INPUT_RECORD, partition, e->offset, 0};
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

/* What was taken of a partition, behind what was taken of it before. Offsets may have gaps in front: the index counts
 * from the first record that was there. */
static void took(struct turn *t, uint32_t partition, uint64_t first, uint64_t next)
{
    struct progress_range *last = t->ranges > 0 ? &t->range[t->ranges - 1] : NULL;

    if (last != NULL && last->partition == partition && last->next == first)
        last->next = next;
    else
        t->range[t->ranges++] = (struct progress_range){partition, t->records, first, next};
    t->records += (uint32_t)(next - first);
}

/* One slice from the cursor on. Returns 1 when it was taken, and the cursor then stands behind it. */
static int gather_slice(struct turn *t, uint32_t partition, const struct group_input *in, uint64_t *cursor,
                        size_t bytes_max, struct leat_error *err)
{
    struct group *g = t->group;
    struct log_slice slice;
    int rv = log_read(in->log, in->log_partition, *cursor, g->budget - t->inputs, bytes_max, &slice, err);

    if (rv != 0 && *cursor != progress_cursor(g->progress, partition))
        return 0;
    if (rv == LEAT_ETRIMMED && !in->own)
        retain_passed(g, partition);
    if (rv == LEAT_EAGAIN || (rv == LEAT_ETRIMMED && !in->own))
        return 0;
    if (rv != 0)
        return base_wrap(err, rv, "group %u reads a depot", g->config.number);
    t->slice[t->slices] = slice;
    t->slice_log[t->slices++] = in->log;
    uint32_t taken = take_records(t, partition, in, &slice);
    if (taken == 0)
        return 0;
    *cursor = taken == slice.count ? slice.next : slice.entry[taken - 1].offset + 1;
    took(t, partition, slice.entry[0].offset, *cursor);
    return taken == slice.count;
}

/* At most so many slices and bytes: a log gives what was appended together, which may be but a few records. What stands
 * in the way behind some that were taken, damage or a trim, the next turn meets first. */
static int gather_partition(struct turn *t, uint32_t partition, uint32_t slices, size_t bytes, struct leat_error *err)
{
    struct group *g = t->group;
    uint64_t cursor = progress_cursor(g->progress, partition);
    size_t end = t->bytes + bytes;
    struct group_input in;
    int rv = 1;

    group_input(g, partition, &in);
    for (uint32_t i = 0; i < slices && rv == 1 && cursor < g->end[partition]; i++) {
        if (t->inputs == g->budget || t->bytes >= end || t->slices == SLICES)
            break;
        rv = gather_slice(t, partition, &in, &cursor, end - t->bytes, err);
    }
    return rv < 0 ? rv : 0;
}

static bool unread(const struct group *g, uint32_t partition)
{
    return g->end[partition] > progress_cursor(g->progress, partition);
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
        waiting += unread(g, i);
    }
    return waiting;
}

bool turn_unread(const struct group *g)
{
    for (uint32_t i = 0; i < g->partitions; i++)
        if (unread(g, i))
            return true;
    return false;
}

static bool crowded(const struct group *g)
{
    return progress_open_turns(g->progress) >= LIMIT_OPEN_TURNS || progress_open_bytes(g->progress) >= LIMIT_OPEN_BYTES;
}

/* Partitions in turn, each an even part of what a turn may take; the next turn starts behind this one's last. */
static int gather_depots(struct turn *t, struct leat_error *err)
{
    struct group *g = t->group;
    uint32_t waiting = count_waiting(g), i;
    int rv = 0;

    if (waiting == 0 || crowded(g) || background_behind(g) || g->closing || !own_fits(t))
        return 0;
    size_t bytes = LIMIT_TURN_BYTES / waiting + 4096;
    uint32_t slices = SLICES / waiting + 1;
    for (i = 0; i < g->partitions && rv == 0; i++) {
        uint32_t partition = (g->start + i) % g->partitions;

        if (t->inputs == g->budget || t->bytes >= LIMIT_TURN_BYTES || t->slices == SLICES)
            break;
        if (g->end[partition] > progress_cursor(g->progress, partition))
            rv = gather_partition(t, partition, slices, bytes, err);
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

/* A row of a background node that failed, or what it emitted did: it is the row that goes to the dead letters. */
static void refuse_request(struct turn *t, const struct background_job *j, const char *why, const char *reason)
{
    struct group *g = t->group;
    const struct plan_node *node = plan_node_at(g->plan, j->at);
    char input[128], text[1200];

    snprintf(input, sizeof(input), "turn %llu, row %u for background nodes",
             (unsigned long long)background_turn(j->key),
             (uint32_t)j->key & ((1U << BACKGROUND_ITEM_BITS) - 1));
    snprintf(text, sizeof(text), "%s%s", why, reason);
    turn_dead_letter(t, &g->plan->topology[j->at.topology], node, j->task, text, input, buffer_bytes(&j->row));
}

static void take_result(struct turn *t, const struct turn_input *in, const struct background_job *j)
{
    struct group *g = t->group;
    const struct plan_node *node = plan_node_at(g->plan, j->at);
    struct flow_tag tag = {0, UINT32_MAX, 0}; /* of no record, and loops begin anew */
    struct reader r = reader_of(buffer_bytes(&j->emitted));

    if (is_poison(g, in)) {
        char where[128];

        t->set_aside = true;
        snprintf(where, sizeof(where),
                 "what it emitted fails at node '%s': ", g->poison_node != NULL ? g->poison_node->name : node->name);
        refuse_request(t, j, where, g->poison_reason);
        return;
    }
    if (j->code != 0) {
        log_print(LOG_WARN, "engine", "module %s, group %u, node %s: a row goes to the dead letters: %s",
                  g->plan->module->name, g->config.number, node->name, j->why.text);
        refuse_request(t, j, "", j->why.text);
    }
    for (uint64_t i = 0; i < j->rows; i++) {
        struct leat_span row = reader_span(&r);

        for (uint32_t e = 0; e < node->edges; e++)
            flow_deliver(g->flow, node->edge[e], j->task, row, tag);
    }
}

static void gather_results(struct turn *t)
{
    struct group *g = t->group;
    const struct background_job *j;

    while (!g->closing && !crowded(g) && own_fits(t) && t->bytes < LIMIT_TURN_BYTES &&
           (j = background_result(g->background, t->results)) != NULL) {
        struct turn_input in = {INPUT_RESULT, 0, j->key, 0};

        if ((j->code != 0 && !j->refused) || !take_input(t, &in, buffer_bytes(&j->row)))
            return;
        t->bytes += j->emitted.size;
        t->results++;
        take_result(t, &in, j);
    }
}

int turn_gather(struct turn *t, struct leat_error *err)
{
    int rv = gather_hops(t, err);

    if (rv == 0 && background_first(t->group->background))
        gather_results(t);
    if (rv == 0 && t->results == 0)
        rv = gather_depots(t, err);
    if (rv == 0 && t->ranges == 0)
        gather_results(t);
    if (rv == 0 && !t->group->closing)
        gather_ticks(t);
    return rv;
}
