/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/index.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "modules/ivf/finder.h"
#include "modules/ivf/index_version.h"
#include "modules/vector/top.h"

/* Postings are found by their number through pages of pointers. A new version copies the pages, postings and tail
 * pieces that change; what it replaced goes on the list of the version before, which is the last that sees it: versions
 * are dropped oldest first. */

int index_no_memory(struct making *m)
{
    if (m->rv == 0)
        m->rv = leat_fail(m->err, LEAT_ENOMEM, "out of memory for the index of %u postings",
                          m->x->pages * PAGE_POSTINGS);
    return m->rv;
}

/* ---- What others may ask ---- */

static struct index_posting *posting_at(const struct index *x, uint32_t place)
{
    const struct page *page = place / PAGE_POSTINGS < x->pages ? x->page[place / PAGE_POSTINGS] : NULL;

    return page != NULL ? page->posting[place % PAGE_POSTINGS] : NULL;
}

/* Of one group's postings the numbers lie G apart. */
static uint32_t place_of(const struct index *x, uint32_t number)
{
    return number / x->groups;
}

const struct index_posting *index_posting(const struct index *x, uint32_t number)
{
    return x != NULL ? posting_at(x, place_of(x, number)) : NULL;
}

uint32_t index_count(const struct index *x)
{
    return x != NULL ? x->pages * PAGE_POSTINGS : 0;
}

const struct index_posting *index_at(const struct index *x, uint32_t i)
{
    return posting_at(x, i);
}

struct finder *index_finder(const struct index *x)
{
    return x->finder;
}

uint64_t index_rows(const struct index *x)
{
    return x != NULL ? x->rows : 0;
}

uint32_t index_active(const struct index *x)
{
    return x != NULL ? vector_coarse_count(x->active) : 0;
}

uint64_t index_known(const struct index *x)
{
    return x != NULL ? x->known : 0;
}

const struct vector_coarse *index_centroids(const struct index *x)
{
    return x != NULL ? x->active : NULL;
}

/* ---- Probing ---- */

float index_distance(const struct index *x, const float *query, const float *centroid)
{
    const struct ivf *v = x->v;
    bool dot = v->layout.metric == METRIC_DOT;
    float d = vector_distance(dot ? VECTOR_DOT : VECTOR_L2, LEAT_F32_VECTOR)->one(query, centroid, v->rotation.padded);

    return dot ? -d : d;
}

static uint32_t insert(struct vector_near *out, uint32_t count, uint32_t most, struct vector_near near)
{
    uint32_t at = count;

    while (at > 0 && out[at - 1].distance > near.distance)
        at--;
    if (at == most)
        return count;
    count += count < most;
    memmove(out + at + 1, out + at, (count - 1 - at) * sizeof(*out));
    out[at] = near;
    return count;
}

/* As near as a retired posting counts: the nearest of its centroid and those in its place. */
static struct vector_near retired_near(const struct index *x, const struct retired *r, const float *query)
{
    struct vector_near near = {INFINITY, r->number, r->centroid};

    for (uint32_t i = 0; i < r->centroids; i++) {
        float d = index_distance(x, query, r->centroid + (size_t)i * x->v->rotation.padded);

        near.distance = d < near.distance ? d : near.distance;
    }
    return near;
}

static const struct vector_coarse *probed(const struct index *x)
{
    return x->probe != NULL ? x->probe : x->active;
}

/* What stands for centroids as long as there are none. */
static struct vector_near first_near(const struct index *x, const float *query)
{
    return (struct vector_near){index_distance(x, query, x->v->origin), 0, x->v->origin};
}

size_t index_probe_room(const struct index *x, uint32_t most)
{
    return vector_coarse_room(probed(x), most);
}

uint32_t index_probe(const struct index *x, const float *query, const struct vector_query *table, uint32_t most,
                     struct vector_near *out, void *room)
{
    const struct vector_coarse *c = probed(x);
    uint32_t count = vector_coarse_count(c) > 0 ? vector_coarse_search(c, query, table, most, out, room)
                                                : insert(out, 0, most, first_near(x, query));

    for (uint32_t i = 0; i < x->retireds; i++)
        count = insert(out, count, most, retired_near(x, &x->retired[i], query));
    for (uint32_t i = 0; x->retireds > 0 && i < count; i++)
        out[i].distance = index_distance(x, query, out[i].centroid);
    return count;
}

/* All centroids, what is to become empty, and what stands for centroids. */
uint32_t index_walk_most(const struct index *x)
{
    return vector_coarse_count(probed(x)) + x->retireds + 1;
}

size_t index_walk_room(const struct index *x)
{
    return sizeof(struct index_walk) + (index_walk_most(x) + x->retireds + 1) * sizeof(struct vector_near) +
           vector_walk_room(probed(x));
}

/* Retired postings, or what stands for centroids, wait until their turn comes. */
struct index_walk *index_walk(const struct index *x, const float *query, const struct vector_query *table, void *room)
{
    const struct vector_coarse *c = probed(x);
    uint32_t most = index_walk_most(x), others = x->retireds + 1;
    struct index_walk *w = room;

    *w = (struct index_walk){.most = most, .near = (struct vector_near *)(w + 1)};
    w->other = w->near + most;
    if (vector_coarse_count(c) > 0)
        w->centroids = vector_walk_begin(c, query, table, w->other + others);
    else
        w->others = insert(w->other, 0, others, first_near(x, query));
    for (uint32_t i = 0; i < x->retireds; i++)
        w->others = insert(w->other, w->others, others, retired_near(x, &x->retired[i], query));
    return w;
}

bool index_walk_on(struct index_walk *w, uint32_t count)
{
    struct vector_near *near = w->near + w->count;
    uint32_t found = w->centroids != NULL ? vector_walk_on(w->centroids, count, near) : 0, before = w->count;
    float last = found > 0 ? near[found - 1].distance : INFINITY;

    for (; w->others > w->given && w->other[w->given].distance <= last; w->given++)
        found = insert(near, found, found + 1, w->other[w->given]);
    w->count += found;
    return w->count > before;
}

/* ---- Postings that reach far ---- */

uint32_t index_wide(const struct index *x, float least, uint32_t *out)
{
    struct vector_best best[INDEX_WIDE];
    struct vector_top top;

    vector_top_begin(&top, best, INDEX_WIDE);
    for (uint32_t i = 0; x != NULL && i < x->pages; i++)
        for (uint32_t k = 0; x->page[i] != NULL && k < PAGE_POSTINGS; k++)
            if (x->page[i]->reach[k] >= least && x->page[i]->reach[k] > 0)
                vector_top_push(&top, -x->page[i]->reach[k], x->page[i]->posting[k]->number);
    vector_top_sort(&top);
    for (uint32_t i = 0; i < top.count; i++)
        out[i] = (uint32_t)best[i].number;
    return top.count;
}

/* ---- Making a version: memory ---- */

void index_discard(struct making *m, const void *memory, bool slab)
{
    struct garbage *g = &m->old->garbage;

    if (g->count == g->room) {
        uint32_t room = g->room * 2 + 64;
        struct waste *grown = realloc(g->item, room * sizeof(*grown));

        if (grown == NULL) {
            index_no_memory(m); /* the item is lost until the process ends */
            return;
        }
        g->item = grown;
        g->room = room;
    }
    g->item[g->count++] = (struct waste){(void *)(uintptr_t)memory, slab};
}

static bool page_for(struct making *m, uint32_t place)
{
    struct index *x = m->x;
    uint32_t at = place / PAGE_POSTINGS;

    if (at >= x->pages) {
        uint32_t pages = at + 1 + at / 4;
        struct page **grown = realloc(x->page, pages * sizeof(*grown));
        bool *own = grown != NULL ? realloc(m->own, pages * sizeof(*own)) : NULL;

        if (grown != NULL)
            x->page = grown;
        if (own == NULL)
            return index_no_memory(m) == 0;
        memset(x->page + x->pages, 0, (pages - x->pages) * sizeof(*grown));
        memset(own + x->pages, 0, (pages - x->pages) * sizeof(*own));
        m->own = own;
        x->pages = pages;
    }
    if (m->own[at])
        return true;
    struct page *copy = calloc(1, sizeof(*copy));
    if (copy == NULL)
        return index_no_memory(m) == 0;
    if (x->page[at] != NULL) {
        *copy = *x->page[at];
        index_discard(m, x->page[at], false);
    }
    x->page[at] = copy;
    m->own[at] = true;
    return true;
}

/* ---- Making a version: a posting ---- */

static void read_posting(struct making *m, uint32_t number)
{
    uint32_t place = place_of(m->x, number);
    struct index_posting *old = posting_at(m->x, place), *p = NULL;
    uint64_t old_live = old != NULL ? old->live : 0;
    struct posting_record r;
    struct leat_span masks;
    bool there = posting_record_get(m->t, number, &r, &masks);
    /* What the new version may share. */
    const struct index_posting *same = there && old != NULL && old->edition == r.edition ? old : NULL;

    if ((!there && old == NULL) || !page_for(m, place))
        return;
    if (there) {
        p = index_rows_new(m, number, &r, masks, same);
        if (p == NULL)
            return;
    }
    if (old != NULL)
        index_rows_discard(m, old, same != NULL ? p : NULL);
    if (same == NULL)
        finder_forget(m->x->finder, number);
    m->x->rows += p != NULL ? p->live : 0;
    m->x->rows -= old_live;
    m->x->page[place / PAGE_POSTINGS]->posting[place % PAGE_POSTINGS] = p;
    m->x->page[place / PAGE_POSTINGS]->reach[place % PAGE_POSTINGS] = p != NULL ? p->reach : 0;
}

/* ---- Making a version: centroids ---- */

/* Hashed: sums of the numbers themselves would be equal for other centroids, too. */
static uint64_t mark(uint32_t number, bool active)
{
    struct leat_value value = leat_u64((uint64_t)active << 32 | number);

    return leat_hash(&value);
}

static void retire(struct making *m, uint32_t number, const float *rotated, uint32_t centroids)
{
    struct index *x = m->x;
    struct retired *grown = realloc(x->retired, (x->retireds + 1) * sizeof(*grown));
    size_t size = (size_t)centroids * x->v->rotation.padded * sizeof(float);
    float *copy = grown != NULL ? malloc(size) : NULL;

    if (grown != NULL)
        x->retired = grown;
    if (copy == NULL) {
        index_no_memory(m);
        return;
    }
    memcpy(copy, rotated, size);
    x->retired[x->retireds++] = (struct retired){number, centroids, copy};
    x->known += mark(number, false);
}

static void forget_centroid(struct making *m, uint32_t number)
{
    struct index *x = m->x;

    for (uint32_t i = 0; i < x->retireds; i++)
        if (x->retired[i].number == number) {
            index_discard(m, x->retired[i].centroid, false);
            x->known -= mark(number, false);
            x->retired[i--] = x->retired[--x->retireds];
        }
    if (vector_coarse_find(x->active, number) == NULL)
        return;
    x->known -= mark(number, true);
    m->rv = vector_coarse_remove(x->active, number, m->err);
    if (m->rv == 0 && x->probe != NULL)
        m->rv = vector_coarse_remove(x->probe, number, m->err);
}

/* Stored centroids, rotated; in room that the next call uses again. */
static float *rotated_centroids(struct making *m, struct leat_span stored, uint32_t *count)
{
    const struct ivf *v = m->x->v;

    *count = (uint32_t)(stored.size / v->layout.centroid);
    if (*count > m->rotated_room) {
        m->rotated_room = 2 * *count;
        m->rotated = leat_alloc(m->t, (size_t)m->rotated_room * v->rotation.padded * sizeof(float));
    }
    for (uint32_t i = 0; i < *count; i++) {
        float *at = m->rotated + (size_t)i * v->rotation.padded;

        layout_centroid_floats(&v->layout, (const uint8_t *)stored.base + (size_t)i * v->layout.centroid, at);
        vector_rotate(&v->rotation, at, at);
    }
    return m->rotated;
}

static void read_centroid(struct making *m, uint32_t number)
{
    struct leat_value field[2];
    bool there = leat_get(m->t, CENTROIDS, LEAT_KEYS(leat_u32(number)), field, 2) == 0;
    uint32_t count;

    if (m->old != NULL)
        forget_centroid(m, number);
    if (!there || field[1].as.bytes.size == 0 || m->rv != 0)
        return;
    float *rotated = rotated_centroids(m, field[1].as.bytes, &count);
    if (!field[0].as.b) {
        retire(m, number, rotated, count);
        return;
    }
    m->x->known += mark(number, true);
    m->rv = vector_coarse_add(m->x->active, number, rotated, m->err);
    if (m->rv == 0 && m->x->probe != NULL)
        m->rv = vector_coarse_add(m->x->probe, number, rotated, m->err);
}

/* ---- Versions ---- */

static void drop(void *state)
{
    struct index *x = state;

    for (uint32_t i = 0; i < x->garbage.count; i++)
        if (x->garbage.item[i].slab)
            slab_free(x->slab, x->garbage.item[i].memory);
        else
            free(x->garbage.item[i].memory);
    for (uint32_t i = 0; !x->succeeded && i < index_count(x); i++) {
        struct index_posting *p = posting_at(x, i);

        for (uint32_t piece = p != NULL ? p->chunks : 0; p != NULL && piece < p->pieces; piece++)
            free((void *)(uintptr_t)p->piece[piece]);
    }
    for (uint32_t i = 0; !x->succeeded && i < x->pages; i++)
        free(x->page[i]);
    for (uint32_t i = 0; !x->succeeded && i < x->retireds; i++)
        free(x->retired[i].centroid);
    if (!x->succeeded) {
        slab_free_all(x->slab);
        finder_free(x->finder);
    }
    vector_coarse_drop(x->active);
    vector_coarse_drop(x->probe);
    free(x->garbage.item);
    free(x->retired);
    free(x->page);
    free(x);
}

static int coarse_pair(struct making *m)
{
    struct index *x = m->x;
    bool dot = x->v->layout.metric == METRIC_DOT;
    uint32_t dims = x->v->rotation.padded;
    int rv = m->old != NULL ? vector_coarse_next(m->old->active, &x->active, m->err)
                            : vector_coarse_new(dims, VECTOR_L2, &x->active, m->err);

    if (rv != 0 || !dot)
        return rv;
    return m->old != NULL ? vector_coarse_next(m->old->probe, &x->probe, m->err)
                          : vector_coarse_new(dims, VECTOR_DOT, &x->probe, m->err);
}

static void *copy_of(const void *from, size_t size)
{
    void *copy = malloc(size + 1);

    if (copy != NULL && size > 0)
        memcpy(copy, from, size);
    return copy;
}

static int making_begin(struct making *m, struct leat_derivation *d, struct index *old, struct leat_error *err)
{
    *m = (struct making){.old = old, .t = leat_derivation_first(d), .err = err};
    m->x = calloc(1, sizeof(*m->x));
    if (m->x == NULL)
        return leat_fail(err, LEAT_ENOMEM, "out of memory for the index");
    m->x->v = leat_state(m->t);
    m->x->groups = leat_group_count(m->t);
    m->x->slab = old != NULL ? old->slab : slab_new();
    m->x->finder = old != NULL ? old->finder : finder_new();
    if (m->x->slab == NULL || m->x->finder == NULL)
        return index_no_memory(m);
    if (old != NULL) {
        m->x->page = copy_of(old->page, old->pages * sizeof(struct page *));
        m->x->retired = copy_of(old->retired, old->retireds * sizeof(struct retired));
        m->own = calloc(old->pages + 1, sizeof(*m->own));
        if (m->x->page == NULL || m->x->retired == NULL || m->own == NULL)
            return index_no_memory(m);
        m->x->pages = old->pages;
        m->x->rows = old->rows;
        m->x->known = old->known;
        m->x->retireds = old->retireds;
    }
    return coarse_pair(m);
}

/* After an error the old version is as it was; postings and pages that were made are lost, and the group ends. */
static int making_end(struct making *m, void **state)
{
    free(m->own);
    if (m->rv == 0)
        m->rv = leat_task_error(m->t);
    if (m->old != NULL && m->rv == 0)
        m->old->succeeded = true;
    else if (m->old != NULL)
        m->old->garbage.count = 0;
    *state = m->x;
    if (m->rv != 0) {
        m->x->succeeded = m->old != NULL;
        drop(m->x);
    }
    return m->rv;
}

static int build(struct leat_derivation *d, void **state, struct leat_error *err)
{
    const struct {
        uint32_t pstate;
        void (*read)(struct making *m, uint32_t number);
    } part[] = {{CENTROIDS, read_centroid}, {POSTINGS, read_posting}};
    struct making m;
    struct leat_scan *scan;
    struct leat_value key;

    m.rv = making_begin(&m, d, NULL, err);
    for (uint32_t i = 0; i < 2 && m.rv == 0; i++) {
        if (leat_scan_open(m.t, part[i].pstate, LEAT_KEYS(), NULL, &scan) != 0)
            break;
        while (m.rv == 0 && leat_scan_next(scan, &key, NULL, 0) == 0)
            part[i].read(&m, (uint32_t)key.as.u);
        leat_scan_close(scan);
    }
    return m.x != NULL ? making_end(&m, state) : m.rv;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static int apply(struct leat_derivation *d, void *old, const struct leat_change *change, uint32_t changes, void **state,
                 struct leat_error *err)
{
    struct making m;
    int rv = making_begin(&m, d, old, err);
    uint32_t count = 0, last = UINT32_MAX;

    if (m.x == NULL)
        return rv;
    m.rv = rv;
    uint32_t *number = leat_alloc(m.t, (changes + 1) * sizeof(*number));
    for (uint32_t i = 0; i < changes && m.rv == 0; i++)
        if (change[i].pstate == CENTROIDS)
            read_centroid(&m, (uint32_t)change[i].key.as.u);
        else
            number[count++] = (uint32_t)(change[i].pstate == POSTINGS ? change[i].key.as.u : change[i].key.as.u >> 32);
    qsort(number, count, sizeof(*number), by_number);
    for (uint32_t i = 0; i < count && m.rv == 0; i++) {
        if (number[i] != last)
            read_posting(&m, number[i]);
        last = number[i];
    }
    return making_end(&m, state);
}

const struct leat_derive index_derive = {"centroids, postings, chunks, tails", build, apply, drop};
