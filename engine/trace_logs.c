/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/trace_logs.h"

#include "engine/session.h"

enum { SLICE_RECORDS = 4096, SLICE_BYTES = 4 << 20 };

/* A partition of depots in pieces: where each begins, and by group the highest sequence of
 * its appends up to the piece's end. */
struct trace_pieces {
    bool known;
    uint64_t *first;
    uint64_t *highest;    /* by piece and group */
    uint32_t count;
};

/* ---- Journals ---- */

int trace_logs_each(struct trace_logs *t, uint32_t group, trace_batch *each, void *context, struct leat_error *err)
{
    struct trace_group *g = &t->group[group];
    struct log_slice slice;
    uint64_t at = g->first;
    int rv = 0;

    while (rv == 0 && at < g->next) {
        rv = log_read(g->journal, 0, at, 64, SLICE_BYTES, &slice, err);
        if (rv != 0)
            return base_wrap(err, rv, "journal of group %u", group);
        for (uint32_t i = 0; i < slice.count && rv == 0; i++) {
            const struct log_entry *e = &slice.entry[i];
            struct batch b;

            arena_reset(t->batch);
            rv = batch_decode(e->body, t->batch, &b, err);
            if (rv == 0)
                rv = each(context, group, e, &b);
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

/* ---- Rows for background nodes: the turn that sends one puts it into a PState, the turn that
 * takes its result deletes it ---- */

static uint64_t background_of(const struct layout *l)
{
    bool any = false;

    for (uint32_t i = 0; i < l->streams; i++)
        for (uint32_t j = 0; j < l->stream[i].nodes; j++)
            any = any || l->stream[i].node[j].background;
    for (uint32_t i = 0; i < l->pstates && any; i++)
        if (strcmp(l->pstate[i].name, "background") == 0)
            return UINT64_C(1) << i;
    return 0;
}

static void find_requests(struct trace_logs *t, const struct batch *b)
{
    buffer_clear(&t->changes);
    if (t->background != 0)
        pstate_changes(b->ops, t->background, &t->changes);
}

/* The next one that was put, or deleted, from *at on. */
static bool next_request(const struct trace_logs *t, bool taken, size_t *at, uint64_t *request)
{
    const struct pstate_change *change = (const void *)t->changes.base;

    while (*at < t->changes.size / sizeof(*change)) {
        const struct pstate_change *c = &change[(*at)++];
        uint32_t task, pstate;
        struct leat_value key;

        if (c->removed != taken || !pstate_change_read(t->layout->pstate, c, &task, &pstate, &key))
            continue;
        *request = key.as.u;
        return true;
    }
    return false;
}

uint32_t trace_logs_requests(struct trace_logs *t, const struct batch *b, bool taken)
{
    uint64_t request;
    uint32_t count = 0;

    find_requests(t, b);
    for (size_t at = 0; next_request(t, taken, &at, &request);)
        count++;
    return count;
}

/* ---- Who took what ---- */

static int compare_taken(const void *a, const void *b)
{
    const struct trace_taken *x = a, *y = b;

    if (x->peer != y->peer)
        return x->peer < y->peer ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int compare_results(const void *a, const void *b)
{
    const struct trace_result *x = a, *y = b;

    return x->request < y->request ? -1 : x->request > y->request;
}

static void index_results(struct trace_logs *t, struct trace_group *g, const struct log_entry *e, const struct batch *b)
{
    uint64_t request;

    find_requests(t, b);
    for (size_t at = 0; next_request(t, true, &at, &request);) {
        if (g->results == g->result_capacity) {
            g->result_capacity = g->result_capacity * 2 + 256;
            g->result = base_realloc(g->result, g->result_capacity * sizeof(*g->result));
        }
        g->result[g->results++] = (struct trace_result){request, e->offset};
    }
}

static int index_batch(void *context, uint32_t group, const struct log_entry *e, const struct batch *b)
{
    struct trace_logs *t = context;
    struct trace_group *g = &t->group[group];

    index_results(t, g, e, b);
    for (uint32_t i = 0; i < b->hops; i++) {
        if (g->takings == g->taken_capacity) {
            g->taken_capacity = g->taken_capacity * 2 + 256;
            g->taken = base_realloc(g->taken, g->taken_capacity * sizeof(*g->taken));
        }
        g->taken[g->takings++] = (struct trace_taken){b->hop[i].peer, b->hop[i].cursor, e->offset};
    }
    return 0;
}

int trace_logs_index(struct trace_logs *t, uint32_t group, struct leat_error *err)
{
    struct trace_group *g = &t->group[group];

    if (g->indexed)
        return 0;
    int rv = trace_logs_each(t, group, index_batch, t, err);
    if (rv != 0)
        return rv;
    if (g->takings > 1)
        qsort(g->taken, g->takings, sizeof(*g->taken), compare_taken);
    if (g->results > 1)
        qsort(g->result, g->results, sizeof(*g->result), compare_results);
    g->indexed = true;
    return 0;
}

/* ---- What appends became: they have the sending group as their session, and say which item they were ---- */

/* Of a module's own groups. */
static bool is_sent(const struct trace_logs *t, const struct log_entry *e)
{
    return e->session >= SESSION_GROUPS && e->session - SESSION_GROUPS < t->layout->groups;
}

static int index_partition(struct trace_logs *t, struct log *depots, uint32_t partition, struct trace_pieces *p,
                           struct leat_error *err)
{
    uint32_t groups = t->layout->groups, capacity = 0;
    struct log_slice slice;
    uint64_t at, next;

    log_bounds(depots, partition, &at, &next);
    for (p->count = 0; at < next; log_release(depots, &slice)) {
        int rv = log_read(depots, partition, at, SLICE_RECORDS, SLICE_BYTES, &slice, err);

        if (rv != 0)
            return rv;
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
    }
    p->known = true;
    return 0;
}

/* Sequences of a session rise in a partition: it is in the first piece that goes up to it, or not there. */
static int find_append(struct trace_logs *t, struct log *depots, uint32_t partition, struct trace_pieces *p,
                       uint32_t from, uint64_t sequence, uint64_t *offset, struct leat_error *err)
{
    int rv = p->known ? 0 : index_partition(t, depots, partition, p, err);
    uint32_t low = 0, high;
    struct log_slice slice;
    bool found = false;

    for (high = p->count; low < high;) {
        uint32_t middle = low + (high - low) / 2;

        if (p->highest[(size_t)middle * t->layout->groups + from] < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    if (rv == 0 && low < p->count)
        rv = log_read(depots, partition, p->first[low], SLICE_RECORDS, SLICE_BYTES, &slice, err);
    if (rv != 0 || low == p->count)
        return rv != 0 ? rv : LEAT_ENOTFOUND;
    for (uint32_t i = 0; i < slice.count && !found; i++) {
        found = slice.entry[i].session == SESSION_GROUPS + from && slice.entry[i].sequence == sequence;
        *offset = slice.entry[i].offset;
    }
    log_release(depots, &slice);
    return found ? 0 : LEAT_ENOTFOUND;
}

int trace_logs_append(struct trace_logs *t, uint32_t group, uint32_t partition, uint32_t from, uint64_t sequence,
                      uint64_t *offset, struct leat_error *err)
{
    struct trace_group *g = &t->group[group];

    if (g->depots == NULL) {
        int rv = layout_log(t->layout, group, "depots", false, &g->depots, err);

        if (rv != 0)
            return rv;
        g->piece = base_alloc((g->depots->partitions + 1) * sizeof(*g->piece));
    }
    if (partition >= g->depots->partitions)
        return LEAT_ENOTFOUND;
    return find_append(t, g->depots, partition, &g->piece[partition], from, sequence, offset, err);
}

/* ---- Opening and closing ---- */

int trace_logs_open(const struct layout *l, struct trace_logs *out, struct leat_error *err)
{
    int rv = 0;

    *out = (struct trace_logs){.layout = l, .batch = arena_open(LIMIT_TURN_MEMORY), .background = background_of(l)};
    buffer_init(&out->changes, 0);
    out->group = base_alloc(l->groups * sizeof(*out->group));
    for (uint32_t i = 0; i < l->groups && rv == 0; i++) {
        struct trace_group *g = &out->group[i];

        rv = layout_log(l, i, "journal", false, &g->journal, err);
        if (rv == 0 && g->journal->partitions > 0)
            log_bounds(g->journal, 0, &g->first, &g->next);
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
    free(g->taken);
    free(g->result);
}

void trace_logs_close(struct trace_logs *t)
{
    for (uint32_t i = 0; i < t->layout->groups; i++)
        group_fini(&t->group[i]);
    free(t->group);
    buffer_fini(&t->changes);
    arena_close(t->batch);
}
