/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/trace.h"

#include "base/codec.h"
#include "engine/background.h"
#include "engine/checkup.h"
#include "engine/session.h"
#include "engine/trace_logs.h"

#include <stdarg.h>
#include <stdio.h>

const char *const trace_kinds[] = {"record", "turn",        "operation", "row",   "state",
                                   "append", "dead letter", "left out",  "waits", "trimmed"};

enum { TURNS_MOST = 10000 };

/* The turn that rows stem from, and which of its records. all: whichever, as of results of background nodes. */
struct source {
    uint32_t group;
    uint64_t turn;
    uint32_t index;
    bool all;
};

/* An output with something of our record in it, and who is to take it; or rows for background nodes of the same
 * group. */
struct arrival {
    struct arrival *next;
    struct source source;
    bool background;
    bool shared;          /* of the turn that sent it */
    uint32_t from, to, depth;
    uint64_t turn, previous;
    uint32_t items;       /* of the whole output */
    struct arrived {
        uint32_t item;
        bool append;
        uint32_t depot, partition; /* of an append */
    } *ours;              /* ascending */
    uint32_t count;
};

/* A turn that was told, and of which source. */
struct visit {
    struct visit *next;
    struct source source;
};

struct trace {
    const struct layout *layout;
    struct trace_logs logs;
    struct arena *arena;      /* of the whole trace */
    struct visit **visited[LIMIT_GROUPS]; /* by group, and place in its journal */
    struct source source;     /* of the rows that are followed */
    bool again;               /* all but rows of this source was told of the turn in hand */
    struct arrival *first, *last;
    uint32_t visits;
    uint32_t limit;
    trace_each *each;
    void *context;
    struct buffer json;
    struct trace_event event; /* of the turn in hand: depth, group, turn, shared */
    uint32_t count[LENGTH_OF(trace_kinds)];
};

static void tell(struct trace *t, enum trace_kind kind, bool shared, const char *format, ...) LEAT_PRINTF(4, 5);

/* With t->json as its value. */
static void tell(struct trace *t, enum trace_kind kind, bool shared, const char *format, ...)
{
    struct trace_event e = t->event;
    char what[512];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    e.kind = kind;
    e.shared = shared && t->event.shared;
    e.depth += kind != TRACE_TURN && kind != TRACE_RECORD;
    e.what = what;
    e.value = buffer_bytes(&t->json);
    if (t->count[kind]++ < t->limit || kind == TRACE_TURN || kind >= TRACE_LEFT_OUT)
        t->each(t->context, &e);
    buffer_clear(&t->json);
}

static void row_json(struct trace *t, const struct row_schema *schema, struct leat_span row)
{
    struct leat_batch batch;
    struct leat_value value[LIMIT_COLUMNS];

    buffer_clear(&t->json);
    if (schema != NULL && row_decode(schema, row, value) == 0 &&
        row_batch(t->logs.batch, schema, &row, 1, &batch) == 0) {
        batch_row_to_json(&batch, 0, &t->json);
        return;
    }
    char text[64];
    int size = snprintf(text, sizeof(text), "{\"bytes\": %zu}", row.size);
    buffer_put(&t->json, text, (size_t)size);
}

/* ---- One turn ---- */

static void on_operation(void *context, const struct pstate_explained *e)
{
    struct trace *t = context;

    buffer_clear(&t->json);
    buffer_put(&t->json, e->value.base, e->value.size);
    tell(t, TRACE_OPERATION, true, "%s %.*s", e->operation, (int)e->element.size, (const char *)e->element.base);
}

static void tell_row(struct trace *t, uint32_t to, const struct output_item *it)
{
    const struct layout_node *n = layout_node_at(t->layout, it->stream, it->node);

    row_json(t, n != NULL ? &n->takes : NULL, it->row);
    if (n != NULL)
        tell(t, TRACE_ROW, t->source.all, "to %s.%s on task %u (group %u)", t->layout->stream[it->stream].name, n->name,
             it->task, to);
    else
        tell(t, TRACE_ROW, t->source.all, "to node %u of stream %u on task %u (group %u)", it->node, it->stream,
             it->task, to);
}

static void tell_state(struct trace *t, uint32_t to, const struct output_item *it)
{
    const struct layout_node *n = layout_node_at(t->layout, it->stream, it->node);
    struct row_schema key = {1, n != NULL && n->takes.columns > 0 ? n->takes.column : NULL};

    row_json(t, key.column != NULL ? &key : NULL, it->key);
    tell(t, TRACE_STATE, true, "of the fold %s.%s (group %u), %zu bytes, for the key",
         n != NULL ? t->layout->stream[it->stream].name : "?", n != NULL ? n->name : "?", to, it->row.size);
}

static void tell_append(struct trace *t, const struct output_item *it)
{
    const struct layout *l = t->layout;
    bool letter = it->depot + 1 == l->depots;

    if (it->depot >= l->depots)
        return;
    row_json(t, &l->depot[it->depot].schema, it->row);
    tell(t, letter ? TRACE_DEAD_LETTER : TRACE_APPEND, true, "to depot %s, partition %u", l->depot[it->depot].name,
         it->partition);
}

/* The place of our record's turn among the sources of an output; -1: nothing stems from it. */
static int source_of(const struct trace *t, const struct output *o)
{
    for (uint32_t i = 0; i < o->sources; i++)
        if (o->source[i].group == t->source.group && o->source[i].turn == t->source.turn)
            return (int)i;
    return -1;
}

static bool is_ours(const struct trace *t, const struct output_item *it, int source)
{
    if (it->kind == OUTPUT_APPEND) /* dead letters have no source */
        return source >= 0 || (it->depot + 1 == t->layout->depots && !t->again);
    if (source < 0 || (it->sources >> source & 1) == 0)
        return false;
    return it->kind == OUTPUT_STATE || t->source.all || it->index == t->source.index;
}

static void enqueue(struct trace *t, struct arrival *a)
{
    if (t->last != NULL)
        t->last->next = a;
    else
        t->first = a;
    t->last = a;
}

static void arrival_add(struct trace *t, uint32_t to, uint64_t previous, const struct output *o, int source,
                        uint32_t count)
{
    struct arrival *a = arena_zeroed(t->arena, sizeof(*a), 8);

    *a = (struct arrival){.source = t->source, .shared = t->event.shared, .from = t->event.group, .to = to,
                          .depth = t->event.depth + 1,
                          .turn = t->event.turn, .previous = previous, .items = o->items};
    a->ours = arena_alloc(t->arena, count * sizeof(*a->ours), 8);
    for (uint32_t i = 0; i < o->items; i++) {
        const struct output_item *it = &o->item[i];

        if (is_ours(t, it, source))
            a->ours[a->count++] = (struct arrived){i, it->kind == OUTPUT_APPEND, it->depot, it->partition};
    }
    enqueue(t, a);
}

static void look_at_requests(struct trace *t, const struct batch *b)
{
    uint32_t count = trace_logs_requests(&t->logs, b, false);

    if (count == 0)
        return;
    struct arrival *a = arena_zeroed(t->arena, sizeof(*a), 8);
    *a = (struct arrival){.background = true, .shared = t->event.shared, .from = t->event.group, .to = t->event.group,
                          .depth = t->event.depth + 1, .turn = b->turn, .items = count};
    enqueue(t, a);
}

static void look_at_output(struct trace *t, const struct batch_output *out)
{
    struct output o;
    uint32_t count = 0;

    if (output_decode(out->body, t->logs.batch, &o, NULL) != 0)
        return;
    int source = source_of(t, &o);
    for (uint32_t i = 0; i < o.items; i++) {
        const struct output_item *it = &o.item[i];

        if (!is_ours(t, it, source))
            continue;
        count++;
        if (it->kind == OUTPUT_ROW)
            tell_row(t, out->group, it);
        else if (it->kind == OUTPUT_STATE)
            tell_state(t, out->group, it);
        else
            tell_append(t, it);
    }
    if (count > 0)
        arrival_add(t, out->group, out->previous, &o, source, count);
}

static void left_out(struct trace *t)
{
    static const enum trace_kind kinds[] = {TRACE_OPERATION, TRACE_ROW, TRACE_STATE, TRACE_APPEND, TRACE_DEAD_LETTER};

    for (size_t i = 0; i < LENGTH_OF(kinds); i++)
        if (t->count[kinds[i]] > t->limit)
            tell(t, TRACE_LEFT_OUT, false, "%u more of kind %s; --limit shows more", t->count[kinds[i]] - t->limit,
                 trace_kinds[kinds[i]]);
}

static bool same_source(const struct source *a, const struct source *b)
{
    return a->group == b->group && a->turn == b->turn && a->all == b->all && (a->all || a->index == b->index);
}

/* The place of its visits: NULL, it was not told. */
static struct visit **visits_of(const struct trace *t, uint32_t group, uint64_t offset)
{
    return &t->visited[group][offset - t->logs.group[group].first];
}

static bool visited(const struct trace *t, uint32_t group, uint64_t offset)
{
    const struct visit *v = *visits_of(t, group, offset);

    while (v != NULL && !same_source(&v->source, &t->source))
        v = v->next;
    return v != NULL;
}

static uint64_t records_of(const struct batch *b)
{
    uint64_t records = 0;

    for (uint32_t i = 0; i < b->ranges; i++)
        records += b->range[i].next - b->range[i].first;
    return records;
}

static uint64_t inputs_of(struct trace *t, const struct batch *b)
{
    return records_of(b) + b->hops + trace_logs_requests(&t->logs, b, true);
}

/* t->event says which one. b stays valid: it is in the arena of the batch in hand. */
static void tell_turn(struct trace *t, const struct batch *b)
{
    struct references *met = &t->logs.group[t->event.group].met;

    tell(t, TRACE_TURN, false, "read %llu records, took outputs of %u groups, %zu bytes of operations%s",
         (unsigned long long)records_of(b), b->hops, b->ops.size,
         t->event.shared ? "; what is marked with ~ may be due to others of these" : "");
    if (pstate_explain(t->layout->pstate, t->layout->pstates, met, b->ops, on_operation, t) != 0)
        tell(t, TRACE_LEFT_OUT, false, "operations that do not check out");
    look_at_requests(t, b);
}

static void visit(struct trace *t, uint64_t offset, const struct batch *b)
{
    struct visit **first = visits_of(t, t->event.group, offset), *v = arena_zeroed(t->arena, sizeof(*v), 8);

    *v = (struct visit){*first, t->source};
    *first = v;
    t->visits++;
    memset(t->count, 0, sizeof(t->count));
    t->again = v->next != NULL;
    if (!t->again)
        tell_turn(t, b);
    for (uint32_t i = 0; i < b->outputs; i++)
        if (b->output[i].group < t->layout->groups)
            look_at_output(t, &b->output[i]);
    left_out(t);
}

/* ---- The turn that read the record ---- */

struct reading {
    struct trace *trace;
    uint32_t partition;
    uint64_t offset;
    bool passed;        /* a later record was read */
};

static int find_reader(void *context, uint32_t group, const struct log_entry *e, const struct batch *b)
{
    struct reading *r = context;
    struct trace *t = r->trace;

    for (uint32_t i = 0; i < b->ranges; i++) {
        const struct progress_range *range = &b->range[i];

        if (range->partition != r->partition || r->offset >= range->next)
            continue;
        r->passed = range->first > r->offset;
        if (r->passed)
            return 1;
        t->source = (struct source){group, b->turn, range->base + (uint32_t)(r->offset - range->first), false};
        t->event = (struct trace_event){
            .group = group, .turn = b->turn, .time_us = b->now_us, .shared = inputs_of(t, b) > 1};
        visit(t, e->offset, b);
        return 1;
    }
    return 0;
}

static void tell_trimmed(struct trace *t, uint32_t group, const char *what)
{
    t->event = (struct trace_event){.group = group, .depth = t->event.depth};
    tell(t, TRACE_TRIMMED, false,
         "%s; the journal of group %u begins at offset %llu now: it is trimmed behind the second-newest checkpoint. "
         "Trace sooner, or in a copy of the directory that was made before",
         what, group, (unsigned long long)t->logs.group[group].first);
}

static bool consumed(const struct trace *t, uint32_t group, const struct reading *r)
{
    uint64_t *cursor = base_alloc((layout_partitions(t->layout) + 1) * sizeof(*cursor));
    bool known = checkup_cursors(t->layout, group, cursor), is = known && cursor[r->partition] > r->offset;

    free(cursor);
    return is;
}

static int trace_source(struct trace *t, uint32_t group, struct reading *r, struct leat_error *err)
{
    int rv = trace_logs_each(&t->logs, group, find_reader, r, err);

    if (rv < 0 || (rv == 1 && !r->passed))
        return rv < 0 ? rv : 0;
    t->event.depth = 0;
    if (r->passed || (t->logs.group[group].first > 0 && consumed(t, group, r))) {
        tell_trimmed(t, group, "the turn that read it is not there any more");
        return 0;
    }
    t->event = (struct trace_event){.group = group};
    tell(t, TRACE_WAITS, false, "no turn has read it yet");
    return 0;
}

/* ---- The turns that took what was sent ---- */

/* How many items of the output are taken when a cursor stands there. */
static uint32_t taken_at(const struct arrival *a, const struct hop_cursor *c)
{
    return c->turn >= a->turn ? a->items : c->turn == a->previous ? c->item : 0;
}

/* The first batch that took some of the output; where none did, the one behind all of that peer. */
static size_t find_taker(const struct trace_group *g, const struct arrival *a)
{
    size_t low = 0, high = g->takings;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct trace_taken *k = &g->taken[middle];

        if (k->peer < a->from || (k->peer == a->from && taken_at(a, &k->cursor) == 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* What a turn made of results of background nodes stems from itself. */
static void visit_batch(struct trace *t, const struct arrival *a, uint64_t offset, const struct batch *b)
{
    t->source = a->background ? (struct source){a->to, b->turn, 0, true} : a->source;
    if (visited(t, a->to, offset))
        return;
    t->event = (struct trace_event){.group = a->to, .turn = b->turn, .time_us = b->now_us, .depth = a->depth,
                                    .shared = a->items > 1 || inputs_of(t, b) > 1 || (a->shared && t->source.all)};
    visit(t, offset, b);
}

static int visit_taker(struct trace *t, const struct arrival *a, uint64_t offset, struct leat_error *err)
{
    struct log *journal = t->logs.group[a->to].journal;
    struct log_slice slice;
    struct batch b;

    if (t->visits > TURNS_MOST)
        return 0;
    int rv = log_read(journal, 0, offset, 1, 1, &slice, err);
    if (rv != 0)
        return base_wrap(err, rv, "journal of group %u", a->to);
    arena_reset(t->logs.batch);
    rv = batch_decode(slice.entry[0].body, t->logs.batch, &b, err);
    if (rv == 0)
        visit_batch(t, a, offset, &b);
    log_release(journal, &slice);
    return rv;
}

struct taking {
    uint32_t taken; /* items of the output */
    bool gone;      /* it was taken before what is left of the journal */
};

/* All batches that took items of the output which are ours. */
static int visit_takers(struct trace *t, const struct arrival *a, struct taking *k, struct leat_error *err)
{
    const struct trace_group *g = &t->logs.group[a->to];
    size_t at = find_taker(g, a);
    bool begins = at == 0 || g->taken[at - 1].peer != a->from;
    int rv = 0;

    /* The first one of this peer that there is may be a later one than the first there was. */
    k->gone = g->first > 0 && begins && at < g->takings && g->taken[at].peer == a->from &&
              g->taken[at].cursor.turn > a->turn;
    for (; rv == 0 && !k->gone && at < g->takings && g->taken[at].peer == a->from && k->taken < a->items; at++) {
        uint32_t now = taken_at(a, &g->taken[at].cursor);
        bool ours = false;

        for (uint32_t i = 0; i < a->count; i++)
            ours = ours || (a->ours[i].item >= k->taken && a->ours[i].item < now);
        k->taken = now;
        if (ours)
            rv = visit_taker(t, a, g->taken[at].offset, err);
    }
    return rv;
}

/* ---- What appends became: they have the sending group as their session, and say which item they were ---- */

static int tell_appended(struct trace *t, const struct arrival *a, const struct arrived *it, struct leat_error *err)
{
    const struct layout *l = t->layout;
    uint64_t offset;
    int rv = trace_logs_append(&t->logs, a->to, layout_partition(l, it->depot, it->partition), a->from,
                               (a->turn << 24) + it->item + 1, &offset, err);

    if (rv == 0)
        tell(t, it->depot + 1 == l->depots ? TRACE_DEAD_LETTER : TRACE_APPEND, false,
             "became %s, partition %u, offset %llu", l->depot[it->depot].name, it->partition,
             (unsigned long long)offset);
    return rv == LEAT_ENOTFOUND ? 0 : rv;
}

static int trace_appends(struct trace *t, const struct arrival *a, struct leat_error *err)
{
    int rv = 0;

    memset(t->count, 0, sizeof(t->count));
    t->event = (struct trace_event){.group = a->to, .depth = a->depth};
    for (uint32_t i = 0; i < a->count && rv == 0; i++) {
        const struct arrived *it = &a->ours[i];

        if (it->append && it->depot < t->layout->depots && (it->partition & (t->layout->groups - 1)) == a->to)
            rv = tell_appended(t, a, it, err);
    }
    return rv;
}

/* Requests are numbered by turn: those of one turn stand side by side. first: the number that those of turn 0 would
 * have. */
static int visit_requests(struct trace *t, const struct arrival *a, uint64_t first, uint32_t *done,
                          struct leat_error *err)
{
    const struct trace_group *g = &t->logs.group[a->to];
    uint64_t from = first | a->turn << BACKGROUND_ITEM_BITS, end = from + (1U << BACKGROUND_ITEM_BITS);
    size_t low = 0, high = g->results;
    int rv = 0;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (g->result[middle].request < from)
            low = middle + 1;
        else
            high = middle;
    }
    for (; rv == 0 && low < g->results && g->result[low].request < end; low++, ++*done)
        rv = visit_taker(t, a, g->result[low].offset, err);
    return rv;
}

static int trace_background(struct trace *t, const struct arrival *a, struct leat_error *err)
{
    uint32_t done = 0;
    int rv = visit_requests(t, a, 0, &done, err);

    if (rv == 0)
        rv = visit_requests(t, a, BACKGROUND_AT_REST, &done, err);
    t->event = (struct trace_event){.group = a->to, .depth = a->depth};
    if (rv == 0 && done < a->items)
        tell(t, TRACE_WAITS, false, "%u rows of turn %llu wait for background nodes of group %u", a->items - done,
             (unsigned long long)a->turn, a->to);
    return rv;
}

static int trace_arrival(struct trace *t, struct arrival *a, struct leat_error *err)
{
    struct taking k = {0};
    char what[128];
    int rv = trace_logs_index(&t->logs, a->to, err);

    if (rv == 0 && a->background)
        return trace_background(t, a, err);
    if (rv == 0)
        rv = visit_takers(t, a, &k, err);
    if (rv != 0)
        return rv;
    if ((rv = trace_appends(t, a, err)) != 0)
        return rv;
    t->event = (struct trace_event){.group = a->to, .depth = a->depth};
    if (k.gone) {
        snprintf(what, sizeof(what), "the turn that took the output of turn %llu of group %u is not there any more",
                 (unsigned long long)a->turn, a->from);
        tell_trimmed(t, a->to, what);
    } else if (k.taken < a->items) {
        tell(t, TRACE_WAITS, false, "group %u has not taken all of the output of turn %llu of group %u yet", a->to,
             (unsigned long long)a->turn, a->from);
    }
    return 0;
}

/* ---- The record ---- */

static int tell_record(struct trace *t, uint32_t depot, uint32_t partition, uint64_t offset, struct leat_error *err)
{
    const struct layout *l = t->layout;
    uint32_t group = partition & (l->groups - 1), log_partition = layout_partition(l, depot, partition);
    struct log_slice slice;
    struct log *depots;
    int rv = layout_log(l, group, "depots", false, &depots, err);

    if (rv != 0)
        return rv;
    rv = log_partition < depots->partitions ? log_read(depots, log_partition, offset, 1, 1, &slice, err) : LEAT_EAGAIN;
    if (rv == LEAT_EAGAIN || (rv == 0 && slice.entry[0].offset != offset))
        leat_fail(err, LEAT_ENOTFOUND,
                  "depot %s, partition %u has no record at offset %llu; 'leat depot tail' shows where some are",
                  l->depot[depot].name, partition, (unsigned long long)offset);
    if (rv == 0) {
        const struct log_entry *e = &slice.entry[0];

        row_json(t, &l->depot[depot].schema, e->body);
        t->event = (struct trace_event){.group = group, .time_us = e->time_us};
        if (e->session >= SESSION_GROUPS)
            tell(t, TRACE_RECORD, false,
                 "depot %s, partition %u, offset %llu, appended by turn %llu of group %llu",
                 l->depot[depot].name, partition, (unsigned long long)offset,
                 (unsigned long long)((e->sequence - 1) >> 24), (unsigned long long)(e->session - SESSION_GROUPS));
        else
            tell(t, TRACE_RECORD, false, "depot %s, partition %u, offset %llu", l->depot[depot].name, partition,
                 (unsigned long long)offset);
        rv = e->offset == offset ? 0 : LEAT_ENOTFOUND;
        log_release(depots, &slice);
    }
    log_close(depots);
    return rv == LEAT_EAGAIN ? LEAT_ENOTFOUND : rv;
}

int trace_record(const struct layout *l, uint32_t depot, uint32_t partition, uint64_t offset, uint32_t limit,
                 trace_each *each, void *context, struct leat_error *err)
{
    struct trace t = {
        .layout = l, .arena = arena_open(LIMIT_TURN_MEMORY), .limit = limit, .each = each, .context = context};
    struct reading reading = {.trace = &t, .partition = layout_partition(l, depot, partition), .offset = offset};

    leat_assert(depot < l->depots && partition < l->tasks);
    buffer_init(&t.json, 0);
    int rv = trace_logs_open(l, &t.logs, err);
    for (uint32_t i = 0; i < l->groups; i++)
        t.visited[i] = base_alloc((t.logs.group[i].next - t.logs.group[i].first + 1) * sizeof(*t.visited[i]));
    if (rv == 0)
        rv = tell_record(&t, depot, partition, offset, err);
    if (rv == 0)
        rv = trace_source(&t, partition & (l->groups - 1), &reading, err);
    for (struct arrival *a = t.first; a != NULL && rv == 0; a = a->next)
        rv = trace_arrival(&t, a, err);
    t.event = (struct trace_event){0};
    if (rv == 0 && t.visits > TURNS_MOST)
        tell(&t, TRACE_LEFT_OUT, false, "what follows from more than %d turns", TURNS_MOST);
    for (uint32_t i = 0; i < l->groups; i++)
        free(t.visited[i]);
    trace_logs_close(&t.logs);
    buffer_fini(&t.json);
    arena_close(t.arena);
    return rv;
}
