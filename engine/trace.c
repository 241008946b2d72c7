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

enum { TURNS_MOST = 10000 };

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

struct trace_group {
    struct log *journal;
    uint64_t first, next;
    struct references met;
    uint64_t met_next;    /* operations before this offset were met */
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
    struct visited {
        uint32_t group;
        uint64_t turn;
    } *visited;
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

static bool visited(struct trace *t, uint32_t group, uint64_t turn)
{
    for (uint32_t i = 0; i < t->visits; i++)
        if (t->visited[i].group == group && t->visited[i].turn == turn)
            return true;
    t->visited = base_realloc(t->visited, (t->visits + 1) * sizeof(*t->visited));
    t->visited[t->visits++] = (struct visited){group, turn};
    return false;
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

    (void)e;
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
        visited(t, group, b->turn);
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

struct taking {
    struct arrival *arrival;
    struct hop_cursor cursor; /* of the taker, for the sender */
    bool known;               /* from the beginning on */
    uint32_t taken;           /* items of the output */
    bool found;
};

/* How many items of the output are taken when a cursor stands there. */
static uint32_t taken_at(const struct arrival *a, const struct hop_cursor *c)
{
    return c->turn >= a->turn ? a->items : c->turn == a->previous ? c->item : 0;
}

static int find_taker(struct trace *t, uint32_t group, const struct log_entry *e, const struct batch *b, void *context)
{
    struct taking *k = context;
    struct arrival *a = k->arrival;
    const struct batch_hop *hop = NULL;
    bool ours = false;

    (void)e;
    for (uint32_t i = 0; i < b->hops; i++)
        if (b->hop[i].peer == a->from)
            hop = &b->hop[i];
    if (hop == NULL)
        return 0;
    uint32_t now = taken_at(a, &hop->cursor);
    if (!k->known && hop->cursor.turn > a->turn) /* it may have been taken before what is left of the journal */
        return 1;
    k->known = true;
    for (uint32_t i = 0; i < a->count; i++)
        ours = ours || (a->ours[i].item >= k->taken && a->ours[i].item < now);
    k->taken = now > k->taken ? now : k->taken;
    if (ours) {
        k->found = true;
        t->event = (struct trace_event){.group = group, .turn = b->turn, .depth = a->depth,
                                        .shared = a->items > 1 || b->hops > 1 || b->ranges > 0};
        if (!visited(t, group, b->turn) && t->visits < TURNS_MOST)
            visit(t, b);
    }
    return k->taken >= a->items;
}

/* What an append became: it has the sending group as its session, and says which item it was. */
static void tell_appended(struct trace *t, const struct arrival *a, struct log *depots, const struct arrived *it)
{
    const struct layout *l = t->layout;
    uint64_t session = SESSION_GROUPS + a->from, sequence = (a->turn << 24) + it->item + 1, at, next;
    uint32_t partition = layout_partition(l, it->depot, it->partition);
    struct log_slice slice;

    if (partition >= depots->partitions)
        return;
    log_bounds(depots, partition, &at, &next);
    while (at < next && log_read(depots, partition, at, 4096, 4 << 20, &slice, NULL) == 0) {
        for (uint32_t j = 0; j < slice.count; j++)
            if (slice.entry[j].session == session && slice.entry[j].sequence == sequence)
                tell(t, it->depot + 1 == l->depots ? TRACE_DEAD_LETTER : TRACE_APPEND, false, "became %s, partition %u, offset %llu",
                     l->depot[it->depot].name, it->partition, (unsigned long long)slice.entry[j].offset);
        at = slice.next;
        log_release(depots, &slice);
    }
}

static void trace_appends(struct trace *t, const struct arrival *a)
{
    struct log *depots = NULL;

    memset(t->count, 0, sizeof(t->count));
    t->event = (struct trace_event){.group = a->to, .depth = a->depth};
    for (uint32_t i = 0; i < a->count; i++) {
        const struct arrived *it = &a->ours[i];

        if (!it->append || it->depot >= t->layout->depots || (it->partition & (t->layout->groups - 1)) != a->to)
            continue;
        if (depots == NULL && layout_log(t->layout, a->to, "depots", false, &depots, NULL) != 0)
            return;
        tell_appended(t, a, depots, it);
    }
    log_close(depots);
}

static int trace_arrival(struct trace *t, struct arrival *a, struct leat_error *err)
{
    struct taking k = {.arrival = a, .known = t->group[a->to].first == 0};
    char what[128];
    int rv = each_batch(t, a->to, find_taker, &k, err);

    if (rv < 0)
        return rv;
    trace_appends(t, a);
    t->event = (struct trace_event){.group = a->to, .depth = a->depth};
    if (rv == 1 && !k.found) {
        snprintf(what, sizeof(what), "the turn that took the output of turn %llu of group %u is not there any more",
                 (unsigned long long)a->turn, a->from);
        tell_trimmed(t, a->to, what);
    } else if (rv == 0) {
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
    }
    return rv;
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
    for (uint32_t i = 0; i < l->groups; i++) {
        log_close(t.group[i].journal);
        references_fini(&t.group[i].met);
    }
    free(t.group);
    free(t.visited);
    buffer_fini(&t.json);
    arena_close(t.small);
    arena_close(t.arena);
    return rv;
}
