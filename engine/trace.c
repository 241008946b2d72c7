/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/trace.h"

#include "base/codec.h"
#include "engine/checkup.h"
#include "engine/journal.h"
#include "engine/session.h"
#include "pstates/element.h"

#include <stdarg.h>
#include <stdio.h>

const char *const trace_kinds[] = {"record", "turn", "operation", "row", "state", "append", "dead letter", "left out", "waits", "trimmed"};

enum { TURNS_MOST = 10000, SLICE_RECORDS = 4096, SLICE_BYTES = 4 << 20 };

/* Each journal, and each partition of depots that appends went to, is gone through once, however much a record caused: what
 * is looked for is then found by binary search. */

/* An output with something of our record in it, and who is to take it. */
struct arrival {
    struct arrival *next;
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

/* A batch that took outputs of a peer, and how far. By peer, and in their order. */
struct taken {
    uint32_t peer;
    struct hop_cursor cursor;
    uint64_t offset;      /* in the journal */
};

/* A partition of depots in pieces: where each begins, and by group the highest sequence of its appends up to the piece's end. */
struct pieces {
    bool known;
    uint64_t *first;
    uint64_t *highest;    /* by piece and group */
    uint32_t count;
};

struct trace_group {
    struct log *journal;
    uint64_t first, next;
    struct references met;
    uint64_t met_next;    /* operations before this offset were met */
    uint8_t *visited;     /* a bit for each offset from the first on */
    bool indexed;
    struct taken *taken;
    size_t takings, taken_capacity;
    struct log *depots;   /* opened when an append is looked for */
    struct pieces *piece; /* by partition of it */
};

struct trace {
    const struct layout *layout;
    struct arena *arena;      /* of the whole trace */
    struct arena *small;      /* of the batch in hand */
    struct trace_group *group;
    uint32_t source_group;
    uint64_t source_turn;
    uint32_t index;           /* of the record in that turn */
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
    if (schema != NULL && row_decode(schema, row, value) == 0 && row_batch(t->small, schema, &row, 1, &batch) == 0) {
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
        tell(t, TRACE_ROW, false, "to %s.%s on task %u (group %u)", t->layout->stream[it->stream].name, n->name, it->task, to);
    else
        tell(t, TRACE_ROW, false, "to node %u of stream %u on task %u (group %u)", it->node, it->stream, it->task, to);
}

static void tell_state(struct trace *t, uint32_t to, const struct output_item *it)
{
    const struct layout_node *n = layout_node_at(t->layout, it->stream, it->node);
    struct row_schema key = {1, n != NULL && n->takes.columns > 0 ? n->takes.column : NULL};

    row_json(t, key.column != NULL ? &key : NULL, it->key);
    tell(t, TRACE_STATE, true, "of the fold %s.%s (group %u), %zu bytes, for the key", n != NULL ? t->layout->stream[it->stream].name : "?",
         n != NULL ? n->name : "?", to, it->row.size);
}

static void tell_append(struct trace *t, const struct output_item *it)
{
    const struct layout *l = t->layout;
    bool letter = it->depot + 1 == l->depots;

    if (it->depot >= l->depots)
        return;
    row_json(t, &l->depot[it->depot].schema, it->row);
    tell(t, letter ? TRACE_DEAD_LETTER : TRACE_APPEND, true, "to depot %s, partition %u", l->depot[it->depot].name, it->partition);
}

/* The place of our record's turn among the sources of an output; -1: nothing stems from it. */
static int source_of(const struct trace *t, const struct output *o)
{
    for (uint32_t i = 0; i < o->sources; i++)
        if (o->source[i].group == t->source_group && o->source[i].turn == t->source_turn)
            return (int)i;
    return -1;
}

static bool is_ours(const struct trace *t, const struct output_item *it, int source)
{
    if (it->kind == OUTPUT_APPEND) /* dead letters have no source */
        return source >= 0 || it->depot + 1 == t->layout->depots;
    if (source < 0 || (it->sources >> source & 1) == 0)
        return false;
    return it->kind == OUTPUT_STATE || it->index == t->index;
}

static void arrival_add(struct trace *t, uint32_t to, uint64_t previous, const struct output *o, int source, uint32_t count)
{
    struct arrival *a = arena_zeroed(t->arena, sizeof(*a), 8);

    *a = (struct arrival){.from = t->event.group, .to = to, .depth = t->event.depth + 1, .turn = t->event.turn,
                          .previous = previous, .items = o->items};
    a->ours = arena_alloc(t->arena, count * sizeof(*a->ours), 8);
    for (uint32_t i = 0; i < o->items; i++) {
        const struct output_item *it = &o->item[i];

        if (is_ours(t, it, source))
            a->ours[a->count++] = (struct arrived){i, it->kind == OUTPUT_APPEND, it->depot, it->partition};
    }
    if (t->last != NULL)
        t->last->next = a;
    else
        t->first = a;
    t->last = a;
}

static void look_at_output(struct trace *t, const struct batch_output *out)
{
    struct output o;
    uint32_t count = 0;

    if (output_decode(out->body, t->small, &o, NULL) != 0)
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
            tell(t, TRACE_LEFT_OUT, false, "%u more of kind %s; --limit shows more", t->count[kinds[i]] - t->limit, trace_kinds[kinds[i]]);
}

static bool visited(struct trace *t, uint32_t group, uint64_t offset)
{
    struct trace_group *g = &t->group[group];
    uint64_t bit = offset - g->first;
    bool before = g->visited[bit / 8] >> bit % 8 & 1;

    g->visited[bit / 8] |= (uint8_t)(1U << bit % 8);
    t->visits += !before;
    return before;
}

static uint64_t records_of(const struct batch *b)
{
    uint64_t records = 0;

    for (uint32_t i = 0; i < b->ranges; i++)
        records += b->range[i].next - b->range[i].first;
    return records;
}

/* t->event says which one. b stays valid: it is in t->small. */
static void visit(struct trace *t, const struct batch *b)
{
    struct trace_group *g = &t->group[t->event.group];
    uint64_t records = records_of(b);

    memset(t->count, 0, sizeof(t->count));
    tell(t, TRACE_TURN, false, "at %lld us: read %llu records, took outputs of %u groups, %zu bytes of operations%s", (long long)b->now_us,
         (unsigned long long)records, b->hops, b->ops.size,
         t->event.shared ? "; what is marked with ~ may be due to others of these" : "");
    if (pstate_explain(t->layout->pstate, t->layout->pstates, &g->met, b->ops, on_operation, t) != 0)
        tell(t, TRACE_LEFT_OUT, false, "operations that do not check out");
    for (uint32_t i = 0; i < b->outputs; i++)
        if (b->output[i].group < t->layout->groups)
            look_at_output(t, &b->output[i]);
    left_out(t);
}

/* ---- Journals ---- */

/* 0: go on, 1: found what was looked for. */
typedef int batch_each(struct trace *t, uint32_t group, const struct log_entry *e, const struct batch *b, void *context);

/* The batches of a journal, in order; collections that their operations make are met. */
static int each_batch(struct trace *t, uint32_t group, batch_each *each, void *context, struct leat_error *err)
{
    struct trace_group *g = &t->group[group];
    struct log_slice slice;
    uint64_t at = g->first;
    int rv = 0;

    while (rv == 0 && at < g->next) {
        rv = log_read(g->journal, 0, at, 64, 4 << 20, &slice, err);
        if (rv != 0)
            return base_wrap(err, rv, "journal of group %u", group);
        for (uint32_t i = 0; i < slice.count && rv == 0; i++) {
            const struct log_entry *e = &slice.entry[i];
            struct batch b;

            arena_reset(t->small);
            rv = batch_decode(e->body, t->small, &b, err);
            if (rv == 0)
                rv = each(t, group, e, &b, context);
            if (rv >= 0 && e->offset >= g->met_next) {
                pstate_explain(t->layout->pstate, t->layout->pstates, &g->met, b.ops, NULL, NULL);
                g->met_next = e->offset + 1;
            }
        }
        at = slice.next;
        log_release(g->journal, &slice);
    }
    return rv;
}

/* ---- The turn that read the record ---- */

struct reading {
    uint32_t partition;
    uint64_t offset;
    bool passed;        /* a later record was read */
};

static int find_reader(struct trace *t, uint32_t group, const struct log_entry *e, const struct batch *b, void *context)
{
    struct reading *r = context;

    for (uint32_t i = 0; i < b->ranges; i++) {
        const struct progress_range *range = &b->range[i];

        if (range->partition != r->partition || r->offset >= range->next)
            continue;
        r->passed = range->first > r->offset;
        if (r->passed)
            return 1;
        t->source_group = group;
        t->source_turn = b->turn;
        t->index = range->base + (uint32_t)(r->offset - range->first);
        t->event = (struct trace_event){.group = group, .turn = b->turn, .shared = records_of(b) + b->hops > 1};
        visited(t, group, e->offset);
        visit(t, b);
        return 1;
    }
    return 0;
}

static void tell_trimmed(struct trace *t, uint32_t group, const char *what)
{
    t->event = (struct trace_event){.group = group, .depth = t->event.depth};
    tell(t, TRACE_TRIMMED, false,
         "%s; the journal of group %u begins at offset %llu now: it is trimmed behind the second-newest checkpoint. Trace sooner, or in a copy of the directory that was made before",
         what, group, (unsigned long long)t->group[group].first);
}

static int trace_source(struct trace *t, uint32_t group, struct reading *r, struct leat_error *err)
{
    int rv = each_batch(t, group, find_reader, r, err);
    uint64_t cursor = 0;

    if (rv < 0 || (rv == 1 && !r->passed))
        return rv < 0 ? rv : 0;
    t->event.depth = 0;
    if (r->passed || (t->group[group].first > 0 && checkup_cursor(t->layout, group, r->partition, &cursor) && cursor > r->offset)) {
        tell_trimmed(t, group, "the turn that read it is not there any more");
        return 0;
    }
    t->event = (struct trace_event){.group = group};
    tell(t, TRACE_WAITS, false, "no turn has read it yet");
    return 0;
}

/* ---- The turns that took what was sent ---- */

static int compare_taken(const void *a, const void *b)
{
    const struct taken *x = a, *y = b;

    if (x->peer != y->peer)
        return x->peer < y->peer ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int index_batch(struct trace *t, uint32_t group, const struct log_entry *e, const struct batch *b, void *context)
{
    struct trace_group *g = &t->group[group];

    (void)context;
    for (uint32_t i = 0; i < b->hops; i++) {
        if (g->takings == g->taken_capacity) {
            g->taken_capacity = g->taken_capacity * 2 + 256;
            g->taken = base_realloc(g->taken, g->taken_capacity * sizeof(*g->taken));
        }
        g->taken[g->takings++] = (struct taken){b->hop[i].peer, b->hop[i].cursor, e->offset};
    }
    return 0;
}

static int index_journal(struct trace *t, uint32_t group, struct leat_error *err)
{
    struct trace_group *g = &t->group[group];
    int rv = g->indexed ? 0 : each_batch(t, group, index_batch, NULL, err);

    if (rv == 0 && !g->indexed && g->takings > 1)
        qsort(g->taken, g->takings, sizeof(*g->taken), compare_taken);
    g->indexed = rv == 0;
    return rv;
}

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
        const struct taken *k = &g->taken[middle];

        if (k->peer < a->from || (k->peer == a->from && taken_at(a, &k->cursor) == 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int visit_taker(struct trace *t, const struct arrival *a, uint64_t offset, struct leat_error *err)
{
    struct trace_group *g = &t->group[a->to];
    struct log_slice slice;
    struct batch b;

    if (visited(t, a->to, offset) || t->visits > TURNS_MOST)
        return 0;
    int rv = log_read(g->journal, 0, offset, 1, 1, &slice, err);
    if (rv != 0)
        return base_wrap(err, rv, "journal of group %u", a->to);
    arena_reset(t->small);
    rv = batch_decode(slice.entry[0].body, t->small, &b, err);
    if (rv == 0) {
        t->event = (struct trace_event){.group = a->to, .turn = b.turn, .depth = a->depth,
                                        .shared = a->items > 1 || b.hops > 1 || b.ranges > 0};
        visit(t, &b);
    }
    log_release(g->journal, &slice);
    return rv;
}

struct taking {
    uint32_t taken; /* items of the output */
    bool gone;      /* it was taken before what is left of the journal */
};

/* All batches that took items of the output which are ours. */
static int visit_takers(struct trace *t, const struct arrival *a, struct taking *k, struct leat_error *err)
{
    struct trace_group *g = &t->group[a->to];
    size_t at = find_taker(g, a);
    bool begins = at == 0 || g->taken[at - 1].peer != a->from;
    int rv = 0;

    /* The first one of this peer that there is may be a later one than the first there was. */
    k->gone = g->first > 0 && begins && at < g->takings && g->taken[at].peer == a->from && g->taken[at].cursor.turn > a->turn;
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

/* Of a module's own groups. */
static bool is_sent(const struct trace *t, const struct log_entry *e)
{
    return e->session >= SESSION_GROUPS && e->session - SESSION_GROUPS < t->layout->groups;
}

static void index_partition(struct trace *t, struct log *depots, uint32_t partition, struct pieces *p)
{
    uint32_t groups = t->layout->groups, capacity = 0;
    struct log_slice slice;
    uint64_t at, next;

    p->known = true;
    log_bounds(depots, partition, &at, &next);
    while (at < next && log_read(depots, partition, at, SLICE_RECORDS, SLICE_BYTES, &slice, NULL) == 0) {
        if (p->count == capacity) {
            capacity = capacity * 2 + 16;
            p->first = base_realloc(p->first, capacity * sizeof(*p->first));
            p->highest = base_realloc(p->highest, (size_t)capacity * groups * sizeof(*p->highest));
        }
        uint64_t *highest = &p->highest[(size_t)p->count * groups];
        for (uint32_t i = 0; i < groups; i++)
            highest[i] = p->count > 0 ? highest[(int64_t)i - groups] : 0;
        for (uint32_t i = 0; i < slice.count; i++) {
            const struct log_entry *e = &slice.entry[i];

            if (is_sent(t, e) && e->sequence > highest[e->session - SESSION_GROUPS])
                highest[e->session - SESSION_GROUPS] = e->sequence;
        }
        p->first[p->count++] = at;
        at = slice.next;
        log_release(depots, &slice);
    }
}

/* Sequences of a session rise in a partition: it is in the first piece that goes up to it, or not there. */
static bool find_append(struct trace *t, struct log *depots, uint32_t partition, struct pieces *p, uint32_t from, uint64_t sequence,
                        uint64_t *offset)
{
    uint32_t low = 0, high;
    struct log_slice slice;
    bool found = false;

    if (!p->known)
        index_partition(t, depots, partition, p);
    for (high = p->count; low < high;) {
        uint32_t middle = low + (high - low) / 2;

        if (p->highest[(size_t)middle * t->layout->groups + from] < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == p->count || log_read(depots, partition, p->first[low], SLICE_RECORDS, SLICE_BYTES, &slice, NULL) != 0)
        return false;
    for (uint32_t i = 0; i < slice.count && !found; i++) {
        found = slice.entry[i].session == SESSION_GROUPS + from && slice.entry[i].sequence == sequence;
        *offset = slice.entry[i].offset;
    }
    log_release(depots, &slice);
    return found;
}

static void tell_appended(struct trace *t, const struct arrival *a, const struct arrived *it)
{
    const struct layout *l = t->layout;
    struct trace_group *g = &t->group[a->to];
    uint32_t partition = layout_partition(l, it->depot, it->partition);
    uint64_t offset;

    if (partition < g->depots->partitions &&
        find_append(t, g->depots, partition, &g->piece[partition], a->from, (a->turn << 24) + it->item + 1, &offset))
        tell(t, it->depot + 1 == l->depots ? TRACE_DEAD_LETTER : TRACE_APPEND, false, "became %s, partition %u, offset %llu",
             l->depot[it->depot].name, it->partition, (unsigned long long)offset);
}

static void trace_appends(struct trace *t, const struct arrival *a)
{
    struct trace_group *g = &t->group[a->to];

    memset(t->count, 0, sizeof(t->count));
    t->event = (struct trace_event){.group = a->to, .depth = a->depth};
    for (uint32_t i = 0; i < a->count; i++) {
        const struct arrived *it = &a->ours[i];

        if (!it->append || it->depot >= t->layout->depots || (it->partition & (t->layout->groups - 1)) != a->to)
            continue;
        if (g->depots == NULL) {
            if (layout_log(t->layout, a->to, "depots", false, &g->depots, NULL) != 0)
                return;
            g->piece = base_alloc((g->depots->partitions + 1) * sizeof(*g->piece));
        }
        tell_appended(t, a, it);
    }
}

static int trace_arrival(struct trace *t, struct arrival *a, struct leat_error *err)
{
    struct taking k = {0};
    char what[128];
    int rv = index_journal(t, a->to, err);

    if (rv == 0)
        rv = visit_takers(t, a, &k, err);
    if (rv != 0)
        return rv;
    trace_appends(t, a);
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
        leat_fail(err, LEAT_ENOTFOUND, "depot %s, partition %u has no record at offset %llu", l->depot[depot].name, partition,
                  (unsigned long long)offset);
    if (rv == 0) {
        const struct log_entry *e = &slice.entry[0];

        row_json(t, &l->depot[depot].schema, e->body);
        t->event = (struct trace_event){.group = group};
        if (e->session >= SESSION_GROUPS)
            tell(t, TRACE_RECORD, false, "depot %s, partition %u, offset %llu, at %lld us, appended by turn %llu of group %llu",
                 l->depot[depot].name, partition, (unsigned long long)offset, (long long)e->time_us,
                 (unsigned long long)((e->sequence - 1) >> 24), (unsigned long long)(e->session - SESSION_GROUPS));
        else
            tell(t, TRACE_RECORD, false, "depot %s, partition %u, offset %llu, at %lld us", l->depot[depot].name, partition,
                 (unsigned long long)offset, (long long)e->time_us);
        rv = e->offset == offset ? 0 : LEAT_ENOTFOUND;
        log_release(depots, &slice);
    }
    log_close(depots);
    return rv == LEAT_EAGAIN ? LEAT_ENOTFOUND : rv;
}

static int open_journals(struct trace *t, struct leat_error *err)
{
    int rv = 0;

    t->group = base_alloc(t->layout->groups * sizeof(*t->group));
    for (uint32_t i = 0; i < t->layout->groups && rv == 0; i++) {
        struct trace_group *g = &t->group[i];

        rv = layout_log(t->layout, i, "journal", false, &g->journal, err);
        if (rv == 0 && g->journal->partitions > 0)
            log_bounds(g->journal, 0, &g->first, &g->next);
        g->visited = base_alloc((g->next - g->first) / 8 + 1);
    }
    return rv;
}

static void group_fini(struct trace_group *g)
{
    for (uint32_t i = 0; g->depots != NULL && i < g->depots->partitions; i++) {
        free(g->piece[i].first);
        free(g->piece[i].highest);
    }
    free(g->piece);
    log_close(g->depots);
    log_close(g->journal);
    references_fini(&g->met);
    free(g->visited);
    free(g->taken);
}

int trace_record(const struct layout *l, uint32_t depot, uint32_t partition, uint64_t offset, uint32_t limit, trace_each *each,
                 void *context, struct leat_error *err)
{
    struct trace t = {.layout = l, .arena = arena_open(LIMIT_TURN_MEMORY), .small = arena_open(LIMIT_TURN_MEMORY), .limit = limit,
                      .each = each, .context = context};
    struct reading reading = {.partition = layout_partition(l, depot, partition), .offset = offset};

    leat_assert(depot < l->depots && partition < l->tasks);
    buffer_init(&t.json, 0);
    int rv = open_journals(&t, err);
    if (rv == 0)
        rv = tell_record(&t, depot, partition, offset, err);
    if (rv == 0)
        rv = trace_source(&t, partition & (l->groups - 1), &reading, err);
    for (struct arrival *a = t.first; a != NULL && rv == 0; a = a->next)
        rv = trace_arrival(&t, a, err);
    for (uint32_t i = 0; i < l->groups; i++)
        group_fini(&t.group[i]);
    free(t.group);
    buffer_fini(&t.json);
    arena_close(t.small);
    arena_close(t.arena);
    return rv;
}
