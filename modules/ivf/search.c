/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/search.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "modules/ivf/posting.h"
#include "modules/ivf/scan.h"
#include "modules/ivf/target.h"
#include "modules/vector/distance.h"

/* A search. At the origin: which postings; on one task of each group: their nearest rows; at the origin: the nearest of
 * all; where the ids are known: names and attributes. */

enum { K_MOST = 10000, PROBES_MOST = 65536, QUERIES_MOST = 1024, FOUND_MOST = 1 << 20, VECTORS_MOST = 1 << 30 };

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- The request ---- */

static uint32_t number_in(struct leat_task *t, const struct leat_batch *request, enum request column, const char *name,
                          uint32_t otherwise, uint32_t most)
{
    struct leat_value value = leat_at(request, 0, column);

    if (value.type == LEAT_NULL)
        return otherwise;
    if (value.as.u > 0 && value.as.u <= most)
        return (uint32_t)value.as.u;
    leat_task_fail(t, LEAT_EINVAL, "%s = %llu: it goes from 1 to %u", name, (unsigned long long)value.as.u, most);
    return otherwise; /* memory is taken by it before anyone looks at errors */
}

/* NaN fails, too. */
static float share_in(struct leat_task *t, const struct leat_batch *request)
{
    struct leat_value value = leat_at(request, 0, REQUEST_RECALL);

    if (value.type == LEAT_NULL)
        return 0;
    if (!(value.as.f > 0 && value.as.f <= 1))
        leat_task_fail(t, LEAT_EINVAL, "recall = %g: it is more than 0 and at most 1", value.as.f);
    if (leat_at(request, 0, REQUEST_NPROBE).type != LEAT_NULL)
        leat_task_fail(t, LEAT_EINVAL, "nprobe and recall both say how far a search goes: give one of them");
    return (float)value.as.f;
}

static float stop_in(struct leat_task *t, const struct leat_batch *request)
{
    struct leat_value value = leat_at(request, 0, REQUEST_STOP);

    if (value.type == LEAT_NULL)
        return INFINITY;
    if (!(value.as.f >= 0))
        leat_task_fail(t, LEAT_EINVAL, "stop = %g: it is 0 or more", value.as.f);
    return (float)value.as.f;
}

static bool flag_in(const struct leat_batch *request, enum request column)
{
    struct leat_value value = leat_at(request, 0, column);

    return value.type != LEAT_NULL && value.as.b;
}

/* As many postings as have the rows of `nprobe` ordinary ones, so that a search finds as much when rows have gone and
 * postings are less full; never fewer, and at most four times as many. By the rows of this group, which has its share
 * of all postings. */
static double probes_in(struct leat_task *t, const struct ivf *v, uint32_t nprobe)
{
    const struct index *x = leat_derived(t);
    double rows = (double)index_rows(x) * leat_group_count(t), wanted = (double)v->ordinary * index_active(x);
    double more = rows >= wanted ? 1 : rows * 4 <= wanted ? 4 : wanted / rows;

    return fmin(nprobe * more, PROBES_MOST);
}

/* Of a fraction, so many queries take one more: their bytes say which. */
static uint32_t probes_of_query(const struct ivf *v, const struct search *q)
{
    double whole = floor(q->probes), fraction = q->probes - whole;
    struct leat_value bytes = leat_bytes(q->vector, v->layout.vector);

    return (uint32_t)whole + (fraction > 0 && ldexp((double)(leat_hash(&bytes) >> 32), -32) < fraction);
}

/* Has the query distances? Of many, which one is it that has none? */
static void check_query(struct leat_task *t, const struct ivf *v, const struct search *q, float square)
{
    char which[32] = "";

    if (q->queries > 1)
        snprintf(which, sizeof(which), "vector %u of vecs: ", q->number);
    if (isnan(square))
        leat_task_fail(t, LEAT_EINVAL, "%sthe query holds NaN: it has no distances", which);
    else if (square > SQUARE_MOST)
        leat_task_fail(t, LEAT_EINVAL, "%sthe query's squared length is %g: it may be up to %g", which, (double)square,
                       (double)SQUARE_MOST);
    else if (v->layout.metric == METRIC_COSINE && square < SQUARE_LEAST)
        leat_task_fail(t, LEAT_EINVAL, "%sthe query's length is %g: cosine distance needs at least %g", which,
                       sqrt((double)square), sqrt((double)SQUARE_LEAST));
}

/* The same with another query. */
static struct search search_query(struct leat_task *t, const struct ivf *v, const struct search *s, uint32_t number)
{
    struct search q = *s;
    float square = 0;

    q.number = number;
    q.vector = (const uint8_t *)leat_at(leat_request(t), 0, REQUEST_VEC).as.bytes.base +
               (size_t)number * v->layout.vector;
    q.nprobe = probes_of_query(v, &q);
    vector_squares(v->layout.type, q.vector, 0, 1, v->layout.dims, &square);
    q.norm = sqrtf(square);
    check_query(t, v, &q, square);
    return q;
}

/* 0 with an error. */
static uint32_t queries_in(struct leat_task *t, const struct ivf *v, struct leat_value vecs, uint32_t k)
{
    size_t size = vecs.as.bytes.size, one = v->layout.vector;

    if (vecs.type != LEAT_BYTES)
        return 1;
    if (size == 0 || size % one != 0)
        leat_task_fail(t, LEAT_EINVAL, "vecs has %zu bytes: one or more vectors of %zu bytes each are wanted", size,
                       one);
    else if (size / one > QUERIES_MOST || size / one * k > FOUND_MOST)
        leat_task_fail(t, LEAT_ELIMIT,
                       "vecs has %zu vectors and k = %u: %d vectors and %d neighbours of all are the most", size / one,
                       k, QUERIES_MOST, FOUND_MOST);
    else
        return (uint32_t)(size / one);
    return 0;
}

/* Room for the vectors of an answer is taken at once, and may be more than the machine has. */
static bool vectors_in(struct leat_task *t, const struct ivf *v, const struct leat_batch *request,
                       const struct search *s)
{
    uint64_t size = (uint64_t)s->queries * s->k * v->layout.vector;

    if (!flag_in(request, REQUEST_VECTORS) || size <= VECTORS_MOST)
        return flag_in(request, REQUEST_VECTORS);
    leat_task_fail(t, LEAT_ELIMIT, "vectors of %u neighbours of %u vectors may be %llu bytes: %d are the most", s->k,
                   s->queries, (unsigned long long)size, VECTORS_MOST);
    return false;
}

static struct search read_request(struct leat_task *t, const struct ivf *v)
{
    const struct leat_batch *r = leat_request(t);
    struct search s = {0};

    s.k = number_in(t, r, REQUEST_K, "k", v->top, K_MOST);
    s.probes = probes_in(t, v, number_in(t, r, REQUEST_NPROBE, "nprobe", v->nprobe, PROBES_MOST));
    s.most = (uint32_t)ceil(s.probes);
    s.recall = share_in(t, r);
    s.stop = stop_in(t, r);
    s.attributes = flag_in(r, REQUEST_ATTRIBUTES);
    s.stats = flag_in(r, REQUEST_STATS);
    s.queries = queries_in(t, v, leat_at(r, 0, REQUEST_VEC), s.k);
    s.vectors = vectors_in(t, v, r, &s);
    return s.queries > 0 ? search_query(t, v, &s, 0) : s;
}

static void *filter_memory(void *context, size_t size)
{
    return leat_alloc(context, size);
}

static const struct filter *read_filter(struct leat_task *t, const struct ivf *v)
{
    struct leat_value filter = leat_at(leat_request(t), 0, REQUEST_FILTER);
    const struct filter *f = NULL;
    struct leat_error err;

    if (filter.type != LEAT_NULL && filter_parse(&v->attributes, filter.as.bytes, filter_memory, t, &f, &err) != 0)
        leat_task_fail(t, err.code, "%s", err.text);
    return f != NULL && filter_everything(f) ? NULL : f;
}

struct asked *search_asked(struct leat_task *t, const struct ivf *v)
{
    struct asked *a = leat_shared(t, sizeof(*a));

    if (!a->known) {
        a->known = true;
        a->search = read_request(t, v);
        a->filter = read_filter(t, v);
        a->search.filtered = a->filter != NULL;
    }
    return a;
}

bool search_wants_names(const struct ivf *v, const struct asked *a)
{
    return v->names || a->search.attributes || (a->filter != NULL && filter_strings(a->filter));
}

/* ---- Where to look ---- */

/* Groups look as far as it takes. */
static bool goes_on(const struct search *s)
{
    return s->recall > 0 || s->filtered;
}

static struct probe probe_of(const struct ivf *v, const float *query, const struct vector_near *near)
{
    float square = near->distance;

    if (v->layout.metric == METRIC_DOT)
        square = vector_distance(VECTOR_L2, LEAT_F32_VECTOR)->one(query, near->centroid, v->rotation.padded);
    return (struct probe){near->number, near->distance, sqrtf(square > 0 ? square : 0), near->distance};
}

/* Those of centroids, nearest first, that are not (1 + stop) times farther than the nearest one. */
static uint32_t within(const struct ivf *v, const struct search *s, const struct vector_near *near, uint32_t count)
{
    float times = (1 + s->stop) * (1 + s->stop), limit = near[0].distance * times;

    if (v->layout.metric == METRIC_DOT) /* less than the largest product by that factor */
        limit = near[0].distance < 0 ? near[0].distance / (1 + s->stop) : INFINITY;
    while (count > 1 && s->stop < INFINITY && near[count - 1].distance > limit)
        count--;
    return count;
}

/* Those of a group. probe: room for `count`. */
static struct leat_span probes_of(struct leat_task *t, const struct ivf *v, const float *query,
                                  const struct vector_near *near, uint32_t count, uint32_t group, struct probe *probe)
{
    uint32_t groups = leat_group_count(t), probes = 0;

    for (uint32_t i = 0; i < count; i++)
        if ((near[i].number & (groups - 1)) == group)
            probe[probes++] = probe_of(v, query, &near[i]);
    return (struct leat_span){probe, probes * sizeof(*probe)};
}

/* The query's table goes with its probes: struct vector_query, in so many bytes, then the table. */
enum { TABLE_HEAD = 64 };

/* Room for finding the probes of one query after another. */
struct probing {
    float *query; /* rotated */
    struct vector_near *near;
    struct probe *probe;
    uint8_t *table;
    void *room;
};

static struct probing probing_room(struct leat_task *t, const struct ivf *v, const struct search *s)
{
    size_t padded = v->rotation.padded;

    return (struct probing){.query = leat_alloc(t, padded * sizeof(float)),
                            .near = leat_alloc(t, s->most * sizeof(struct vector_near)),
                            .probe = leat_alloc(t, s->most * sizeof(struct probe)),
                            .table = leat_alloc(t, TABLE_HEAD + 4 * padded),
                            .room = leat_alloc(t, index_probe_room(leat_derived(t), s->most))};
}

/* Each group's probes, and the query's table: also to a group that has none, for it may know more postings. Nothing of
 * both when the groups find them themselves. */
static void emit_probes(struct leat_task *t, const struct ivf *v, const struct search *s, const struct probing *p,
                        uint32_t count, struct leat_span table, uint64_t took_ns)
{
    for (uint32_t group = 0; group < leat_group_count(t); group++) {
        struct leat_span probes = probes_of(t, v, p->query, p->near, count, group, p->probe);

        leat_emit(t, 0, LEAT_ROW(leat_u32(group), leat_u32(s->number), leat_bytes(probes.base, probes.size),
                                 leat_bytes(table.base, table.size), leat_u64(took_ns),
                                 leat_u64(index_known(leat_derived(t)))));
        took_ns = 0;
    }
}

static struct leat_span table_of(const struct ivf *v, const struct probing *p, struct vector_query *out)
{
    size_t size = TABLE_HEAD + 4 * (size_t)v->rotation.padded;

    vector_query_begin(out, p->query, v->rotation.padded, v->epsilon, p->table + TABLE_HEAD);
    memcpy(p->table, out, sizeof(*out));
    return (struct leat_span){p->table, v->layout.width > 0 ? size : 0};
}

/* By the centroids that this group knows. *table: of the query. */
static uint32_t find_probes(struct leat_task *t, const struct ivf *v, const struct search *s, const struct probing *p,
                            struct leat_span *table)
{
    struct vector_query q;

    encode_rotated(v, s->vector, s->norm, p->query);
    *table = table_of(v, p, &q);
    return within(v, s, p->near, index_probe(leat_derived(t), p->query, &q, s->nprobe, p->near, p->room));
}

static void probe_for(struct leat_task *t, const struct ivf *v, const struct search *s, const struct probing *p)
{
    uint64_t begun = s->stats ? now_ns() : 0;
    struct leat_span table;
    uint32_t count = find_probes(t, v, s, p, &table);

    emit_probes(t, v, s, p, count, table, s->stats ? now_ns() - begun : 0);
}

int search_probe(struct leat_task *t, const struct leat_batch *in)
{
    const struct ivf *v = leat_state(t);
    struct search s = search_asked(t, v)->search;
    struct probing p = probing_room(t, v, &s);

    (void)in;
    for (uint32_t i = 0; i < s.queries && leat_task_error(t) == 0; i++) {
        struct search one = search_query(t, v, &s, i);

        if (goes_on(&one))
            emit_probes(t, v, &one, &p, 0, (struct leat_span){"", 0}, 0);
        else if (leat_task_error(t) == 0)
            probe_for(t, v, &one, &p);
    }
    return leat_task_error(t);
}

/* ---- At a group ---- */

/* Room is shared by scans one after another. */
static struct scan scan_of(struct leat_task *t, const struct ivf *v, const struct search *s,
                           const struct filter *filter, void *room)
{
    struct scan scan = {
        .layout = &v->layout, .index = leat_derived(t), .vector = s->vector, .norm = s->norm, .filter = filter};

    scan_begin(&scan, leat_alloc(t, s->k * sizeof(struct vector_best)), s->k, room);
    return scan;
}

/* What some scans found, in one row. */
struct found {
    struct hit *hit;
    uint8_t *vectors;
    uint32_t count;
    struct search_stats stats;
};

static struct found found_for(struct leat_task *t, const struct ivf *v, const struct search *s, uint32_t scans)
{
    uint64_t rows = index_rows(leat_derived(t));
    size_t most = (size_t)scans * (rows < s->k ? rows : s->k);

    return (struct found){.hit = leat_alloc(t, (most + 1) * sizeof(struct hit)),
                          .vectors = leat_alloc(t, s->vectors ? most * v->layout.vector + 1 : 1)};
}

static void add_found(const struct ivf *v, const struct search *s, struct scan *scan, struct found *f)
{
    vector_top_sort(&scan->top);
    for (uint32_t i = 0; i < scan->top.count; i++) {
        const void *vector;

        if (scan->top.item[i].number >= SCAN_ELSEWHERE)
            continue;
        f->hit[f->count] = scan_hit(scan, &scan->top.item[i], &vector);
        f->hit[f->count].query = s->number;
        if (s->vectors)
            memcpy(f->vectors + (size_t)f->count * v->layout.vector, vector, v->layout.vector);
        f->count++;
    }
    f->stats.postings += scan->counts.postings;
    f->stats.rows += scan->counts.rows;
    f->stats.ranked += scan->counts.ranked;
}

static void emit_found(struct leat_task *t, const struct ivf *v, const struct search *s, struct found *f,
                       uint64_t begun)
{
    uint32_t vector = s->vectors ? v->layout.vector : 0, most = PIECE / ((uint32_t)sizeof(*f->hit) + vector), at = 0;

    f->stats.scan_ns = s->stats ? now_ns() - begun : 0;
    do {
        uint32_t count = f->count - at < most ? f->count - at : most;

        leat_emit(t, 0, LEAT_ROW(leat_u32(s->k), leat_bytes(f->hit + at, count * sizeof(*f->hit)),
                                 leat_bytes(f->vectors + (size_t)at * vector, (size_t)count * vector),
                                 leat_bytes(&f->stats, s->stats && at == 0 ? sizeof(f->stats) : 0)));
        at += count;
    } while (at < f->count);
}

/* What groups scanned one after another share of a query: the nearest that those before found, the farthest first.
 * What is farther than the k-th of all so far is not among the nearest. */
struct asked_query {
    struct vector_best *best;       /* numbers: SCAN_ELSEWHERE + place here. NULL: nothing was scanned yet */
    uint64_t *number, *last_number; /* of the rows; and room for the next ones */
    uint32_t count;
    bool copies;                    /* some may have a copy in another group */
};

/* How a query goes on; the next one takes its room. */
struct walker {
    struct index_walk *walk; /* NULL: nobody has gone on */
    uint32_t number;         /* of the query */
    uint64_t known;          /* the centroids that it knows (index_known) */
    float *rotated;
    struct vector_query table;
    struct probe *probe;     /* room for all that there are; as here */
    const struct index_posting **posting;
    uint8_t *room;
    size_t size;
};

static void take_best(const struct asked_query *q, struct scan *scan)
{
    struct vector_top *top = &scan->top;

    scan->copies = q->copies;
    if (q->count == 0)
        return;
    memcpy(top->item, q->best, q->count * sizeof(*top->item)); /* what descends is a heap */
    scan->elsewhere = q->number;
    top->count = q->count;
    if (top->count == top->k)
        top->threshold = top->item[0].distance;
}

/* found: of the same scan last. */
static void give_best(struct leat_task *t, struct asked_query *q, const struct scan *scan, const struct found *found)
{
    const struct vector_top *top = &scan->top;
    uint32_t hit = found->count;
    uint64_t *number = q->last_number;

    if (leat_group_count(t) == 1)
        return;
    if (q->best == NULL) {
        q->best = leat_alloc(t, top->k * sizeof(*q->best));
        q->number = leat_alloc(t, top->k * sizeof(*q->number));
        number = leat_alloc(t, top->k * sizeof(*q->number));
    }
    for (uint32_t i = 0; i < top->count; i++) {
        const struct vector_best *item = &top->item[top->count - 1 - i];

        number[i] = item->number >= SCAN_ELSEWHERE ? q->number[(uint32_t)item->number] : found->hit[--hit].number;
        q->best[i] = (struct vector_best){item->distance, SCAN_ELSEWHERE + i};
    }
    q->copies = scan->copies;
    q->last_number = q->number;
    q->number = number;
    q->count = top->count;
}

static void walker_room(struct leat_task *t, struct walker *w, size_t size)
{
    if (size <= w->size)
        return;
    w->room = leat_alloc(t, size);
    w->size = size;
}

/* The first group that goes on begins, by the centroids that it knows. One that knows others begins anew, for what is
 * processed may lie in a posting that is not heard of elsewhere yet; and so does one when another query took the
 * room. */
static void begin_walk(struct leat_task *t, const struct ivf *v, const struct search *s, struct walker *w)
{
    const struct index *x = leat_derived(t);
    uint32_t padded = v->rotation.padded;
    size_t floats = padded * sizeof(float), walk = (index_walk_room(x) + 15) / 16 * 16;

    if (w->walk != NULL && w->number == s->number && w->known == index_known(x))
        return;
    walker_room(t, w, 2 * floats + walk + index_walk_most(x) * (sizeof(*w->probe) + sizeof(*w->posting)));
    w->number = s->number;
    w->known = index_known(x);
    w->rotated = (float *)(void *)w->room;
    encode_rotated(v, s->vector, s->norm, w->rotated);
    vector_query_begin(&w->table, w->rotated, padded, v->epsilon, w->room + floats);
    w->walk = index_walk(x, w->rotated, &w->table, w->room + 2 * floats);
    w->probe = (struct probe *)(void *)(w->room + 2 * floats + walk);
    w->posting = (const struct index_posting **)(void *)(w->probe + w->walk->most);
}

/* Those of the group among the postings from `first` on, nearest first. */
static uint32_t own_probes(struct leat_task *t, const struct ivf *v, struct walker *w, uint32_t first, uint32_t end)
{
    uint32_t groups = leat_group_count(t), group = leat_group(t), probes = 0;

    for (uint32_t i = first; i < end; i++) {
        struct vector_near near = w->walk->near[i];

        if ((near.number & (groups - 1)) != group)
            continue;
        if (w->walk->others > 0)
            near.distance = index_distance(leat_derived(t), w->rotated, near.centroid);
        w->probe[probes] = probe_of(v, w->rotated, &near);
        w->probe[probes++].least = w->walk->near[i].distance;
    }
    return probes;
}

/* How far this group goes. What nprobe finds without a filter, as far as the posting `last`, a search with one is to
 * find, too. */
static void aim(struct leat_task *t, const struct search *s, struct scan *scan, float last)
{
    struct target target;

    if (!target_get(t, &target))
        return;
    scan->reach = target_reach(&target, s->recall > 0 ? s->recall : target_recall(&target, s->nprobe));
    if (s->recall <= 0)
        scan->sure = last;
}

/* Farther and farther, until the reach ends. */
static void scan_on(struct leat_task *t, const struct ivf *v, const struct search *s, struct scan *scan,
                    struct walker *walker)
{
    struct index_walk *w = walker->walk;
    bool more = true, aimed = false;

    while (w->count < s->nprobe && more)
        more = index_walk_on(w, s->nprobe);
    for (uint32_t first = 0; leat_task_error(t) == 0; first = w->count) {
        if (first == w->count && !index_walk_on(w, first / 2 > s->nprobe ? first / 2 : s->nprobe))
            break;
        uint32_t end = within(v, s, w->near, w->count), probes = own_probes(t, v, walker, first, end);
        if (!aimed && probes > 0 && (more || s->recall > 0))
            aim(t, s, scan, w->near[more ? s->nprobe - 1 : 0].distance);
        aimed |= probes > 0;
        if (scan_postings(scan, walker->probe, probes) || end < w->count)
            break;
    }
}

/* The probes that came with the row. */
static void scan_given(struct leat_task *t, struct scan *scan, struct leat_span probes, struct leat_span table)
{
    struct probe *probe = leat_alloc(t, probes.size + 1);

    memcpy(probe, probes.base, probes.size);
    if (table.size > 0) {
        uint8_t *copy = leat_alloc(t, table.size);

        memcpy(copy, table.base, table.size);
        memcpy(&scan->query, copy, sizeof(scan->query));
        scan->query.table = copy + TABLE_HEAD;
    }
    scan_postings(scan, probe, (uint32_t)(probes.size / sizeof(*probe)));
}

/* Room of a group that its queries take one after another. */
struct scan_rooms {
    void *scan;
    struct probing anew; /* none as long as it is not needed */
};

/* This group's probes by the centroids that it knows itself. Where the search began others were: what is processed may
 * lie in a posting that is not heard of there yet. */
static struct leat_span probes_anew(struct leat_task *t, const struct ivf *v, const struct search *s,
                                    struct probing *p)
{
    struct leat_span table;

    if (p->room == NULL)
        *p = probing_room(t, v, s);
    uint32_t count = find_probes(t, v, s, p, &table);
    return probes_of(t, v, p->query, p->near, count, leat_group(t), p->probe);
}

/* One query of the request in this group. */
static void scan_for(struct leat_task *t, const struct ivf *v, struct asked *a, const struct leat_batch *in,
                     uint32_t row, struct scan_rooms *rooms, struct found *found)
{
    struct search s = search_query(t, v, &a->search, (uint32_t)leat_at(in, row, 1).as.u);
    struct asked_query *q = &a->query[s.number];
    struct leat_span probes = leat_at(in, row, 2).as.bytes;

    if (goes_on(&s))
        begin_walk(t, v, &s, a->walker);
    else if (leat_at(in, row, 5).as.u != index_known(leat_derived(t)))
        probes = probes_anew(t, v, &s, &rooms->anew);
    struct scan scan = scan_of(t, v, &s, a->filter, rooms->scan);
    take_best(q, &scan);
    if (goes_on(&s)) {
        scan.query = a->walker->table;
        scan.posting = a->walker->posting;
        scan_on(t, v, &s, &scan, a->walker);
    } else {
        scan_given(t, &scan, probes, leat_at(in, row, 3).as.bytes);
    }
    add_found(v, &s, &scan, found);
    give_best(t, q, &scan, found);
}

/* Where the search began the rows of another group may have said how many probes there are. */
static uint32_t most_probes(const struct search *s, const struct leat_batch *in)
{
    size_t most = s->most;

    for (uint32_t i = 0; i < in->rows; i++) {
        size_t given = leat_at(in, i, 2).as.bytes.size / sizeof(struct probe);

        most = given > most ? given : most;
    }
    return goes_on(s) ? 0 : (uint32_t)most;
}

int search_scan(struct leat_task *t, const struct leat_batch *in)
{
    const struct ivf *v = leat_state(t);
    struct asked *a = search_asked(t, v);
    uint64_t begun = a->search.stats ? now_ns() : 0;
    struct found found = found_for(t, v, &a->search, in->rows);
    struct scan_rooms rooms = {.scan = leat_alloc(t, scan_room_size(most_probes(&a->search, in)))};

    if (a->query == NULL) {
        a->query = leat_alloc(t, (a->search.queries + 1) * sizeof(*a->query));
        memset(a->query, 0, (a->search.queries + 1) * sizeof(*a->query));
        a->walker = leat_alloc(t, sizeof(*a->walker));
        memset(a->walker, 0, sizeof(*a->walker));
    }
    for (uint32_t i = 0; i < in->rows && leat_task_error(t) == 0; i++) {
        found.stats.probe_ns += leat_at(in, i, 4).as.u;
        scan_for(t, v, a, in, i, &rooms, &found);
    }
    emit_found(t, v, &a->search, &found, begun);
    return leat_task_error(t);
}

/* The yardstick: every row of every posting. */
int search_exact(struct leat_task *t, const struct leat_batch *in)
{
    const struct ivf *v = leat_state(t);
    const struct index *x = leat_derived(t);
    uint32_t most = index_count(x), count = 0;

    (void)in;
    if (leat_task_number(t) != leat_group(t))
        return 0;
    struct asked *a = search_asked(t, v);
    struct search s = a->search;
    uint64_t begun = s.stats ? now_ns() : 0;
    const struct index_posting **posting = leat_alloc(t, (most + 1) * sizeof(struct index_posting *));
    struct found found = found_for(t, v, &s, s.queries);
    struct search *one = leat_alloc(t, (s.queries + 1) * sizeof(*one));
    struct scan *scan = leat_alloc(t, (s.queries + 1) * sizeof(*scan));
    void *room = leat_alloc(t, scan_room_size(0));
    for (uint32_t i = 0; i < s.queries; i++) {
        one[i] = search_query(t, v, &s, i);
        scan[i] = scan_of(t, v, &one[i], a->filter, room);
    }
    for (uint32_t i = 0; i < most; i++)
        if (index_at(x, i) != NULL)
            posting[count++] = index_at(x, i);
    if (leat_task_error(t) != 0)
        return leat_task_error(t);
    scan_exact(scan, s.queries, posting, count);
    for (uint32_t i = 0; i < s.queries; i++)
        add_found(v, &one[i], &scan[i], &found);
    emit_found(t, v, &s, &found, begun);
    return leat_task_error(t);
}

int search_count(struct leat_task *t, const struct leat_batch *in)
{
    struct leat_value value;

    if (leat_get(t, COUNTERS, LEAT_KEYS(leat_u32(VECTORS)), &value, 1) == 0)
        for (uint32_t i = 0; i < in->rows; i++)
            leat_emit(t, i, LEAT_ROW(leat_i64((int64_t)value.as.u)));
    return leat_task_error(t);
}
