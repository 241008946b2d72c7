/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/index.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "modules/ivf/posting.h"
#include "modules/ivf/slab.h"

/* Postings are found by their number through pages of pointers. A new version copies the pages, postings and tail
 * pieces that change; what it replaced goes on the list of the version before, which is the last that sees it: versions
 * are dropped oldest first. */

enum { PAGE_POSTINGS = 64 };

struct page {
    struct index_posting *posting[PAGE_POSTINGS];
};

struct waste {
    void *memory;
    bool slab; /* of the slab, else of malloc */
};

struct garbage {
    struct waste *item;
    uint32_t count, room;
};

/* A posting that takes no rows any more, but has some. Whoever is near to one of the centroids in its place looks
 * there, too: their rows may not have come yet. */
struct retired {
    uint32_t number;
    uint32_t centroids;
    float *centroid; /* its own, then those */
};

struct index {
    const struct ivf *v;
    uint32_t groups;
    struct vector_coarse *active; /* by squared distance */
    struct vector_coarse *probe;  /* METRIC_DOT: the same by product; else NULL */
    struct retired *retired;
    uint32_t retireds;
    uint64_t known;               /* the sum of marks of the centroids */
    struct page **page;
    uint32_t pages;
    struct slab *slab;            /* codes and vectors; from version to version the same */
    uint64_t rows;                /* that live */
    struct garbage garbage;       /* what this version has and the next has not */
    bool succeeded;               /* there is a next */
};

/* A version in the making. */
struct making {
    struct index *x;
    struct index *old;  /* NULL: from nothing */
    struct leat_task *t;
    bool *own;          /* pages that are copied already */
    float *rotated;     /* room for so many centroids */
    uint32_t rotated_room;
    struct leat_error *err;
    int rv;
};

static int no_memory(struct making *m)
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

/* ---- Making a version: memory ---- */

static void discard_as(struct making *m, const void *memory, bool slab)
{
    struct garbage *g = &m->old->garbage;

    if (g->count == g->room) {
        uint32_t room = g->room * 2 + 64;
        struct waste *grown = realloc(g->item, room * sizeof(*grown));

        if (grown == NULL) {
            no_memory(m); /* the item is lost until the process ends */
            return;
        }
        g->item = grown;
        g->room = room;
    }
    g->item[g->count++] = (struct waste){(void *)(uintptr_t)memory, slab};
}

static void discard(struct making *m, const void *memory)
{
    discard_as(m, memory, false);
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
            return no_memory(m) == 0;
        memset(x->page + x->pages, 0, (pages - x->pages) * sizeof(*grown));
        memset(own + x->pages, 0, (pages - x->pages) * sizeof(*own));
        m->own = own;
        x->pages = pages;
    }
    if (m->own[at])
        return true;
    struct page *copy = calloc(1, sizeof(*copy));
    if (copy == NULL)
        return no_memory(m) == 0;
    if (x->page[at] != NULL) {
        *copy = *x->page[at];
        discard(m, x->page[at]);
    }
    x->page[at] = copy;
    m->own[at] = true;
    return true;
}

/* ---- Making a version: a posting ---- */

static struct index_posting *new_posting(const struct layout *l, uint32_t number, const struct posting_record *r)
{
    uint32_t blocks = (r->rows + BLOCK - 1) / BLOCK, behind = r->rows - r->chunks * l->chunk.rows;
    uint32_t pieces = r->chunks + (behind + BLOCK - 1) / BLOCK;
    size_t size = sizeof(struct index_posting) + pieces * sizeof(uint8_t *);
    struct index_posting *p = calloc(1, size + 2 * (size_t)blocks * sizeof(uint32_t));

    if (p == NULL)
        return NULL;
    *p = (struct index_posting){.number = number, .active = r->active, .rows = r->rows, .live = r->live,
                                .chunks = r->chunks, .pieces = pieces, .edition = r->edition,
                                .gathered = r->gathered};
    p->live_mask = (uint32_t *)(void *)((uint8_t *)p + size);
    p->moving_mask = p->live_mask + blocks;
    return p;
}

static void read_masks(struct index_posting *p, struct leat_span masks)
{
    const uint8_t *at = masks.base;

    for (uint32_t i = 0; i < masks.size / sizeof(struct posting_mask); i++, at += sizeof(struct posting_mask)) {
        struct posting_mask mask;

        memcpy(&mask, at, sizeof(mask));
        p->live_mask[i] = mask.live;
        p->moving_mask[i] = mask.moving;
        p->moving += (uint32_t)__builtin_popcount(mask.moving);
    }
}

static void read_chunks(struct making *m, struct index_posting *p, const struct index_posting *old)
{
    uint32_t known = old != NULL && old->chunks < p->chunks ? old->chunks : old != NULL ? p->chunks : 0;

    for (uint32_t i = 0; i < p->chunks; i++) {
        struct leat_value value;

        if (i < known) {
            p->piece[i] = old->piece[i];
        } else {
            m->rv = leat_get(m->t, CHUNKS, LEAT_KEYS(leat_u64(piece_key(p->number, i))), &value, 1);
            if (m->rv != 0)
                return;
            p->piece[i] = (const uint8_t *)value.as.bytes.base + m->x->v->layout.pad;
        }
    }
}

/* Codes and attributes share bytes with those of other rows; vectors do not. */
static uint8_t *new_tail(struct making *m)
{
    const struct piece_layout *tail = &m->x->v->layout.tail;
    uint8_t *piece = aligned_alloc(64, (tail->size + 63) & ~63U);

    if (piece == NULL)
        no_memory(m);
    else
        memset(piece, 0, tail->vectors);
    return piece;
}

struct filling {
    const struct layout *layout;
    uint8_t *const *piece;
    uint32_t first; /* row of the tail */
    uint32_t rows;
};

static void fill_row(void *context, uint32_t row, const uint8_t *bytes)
{
    const struct filling *f = context;
    uint32_t at = row - f->first;

    if (at < f->rows)
        layout_place(f->layout, &f->layout->tail, f->piece[at / BLOCK], at % BLOCK, bytes);
}

/* Pieces of the tail: those of the old version, and new ones. What came goes behind the rows that older versions see;
 * codes and attributes, which share bytes, those read in copies of their own. */
static void read_tail(struct making *m, struct index_posting *p, const struct index_posting *old)
{
    const struct layout *l = &m->x->v->layout;
    uint32_t first = p->chunks * l->chunk.rows;
    bool same = old != NULL && old->chunks == p->chunks;
    uint32_t known = same ? old->rows - first : 0;
    uint32_t count = p->pieces - p->chunks;
    uint8_t **piece = leat_alloc(m->t, (count + 1) * sizeof(*piece));

    for (uint32_t i = 0; i < count && m->rv == 0; i++) {
        piece[i] = i * BLOCK < known ? (uint8_t *)(uintptr_t)old->piece[old->chunks + i] : new_tail(m);
        p->piece[p->chunks + i] = piece[i];
    }
    for (uint32_t i = 0; !same && old != NULL && i < old->pieces - old->chunks; i++)
        discard(m, old->piece[old->chunks + i]);
    if (m->rv == 0)
        posting_tail(m->t, m->x->v, p->number, first + known, p->rows, fill_row,
                     &(struct filling){l, piece, first, p->rows - first});
}

/* Codes lie together, and so do the columns of attributes: a scan reads those of a posting in one go, and pages of the
 * file hold mostly vectors. */
static bool codes_room(struct making *m, struct index_posting *p, uint32_t blocks)
{
    const struct layout *l = &m->x->v->layout;
    size_t codes = (size_t)blocks * l->block, numbers = (size_t)blocks * BLOCK * sizeof(uint64_t);
    size_t norms = l->metric == METRIC_COSINE ? (size_t)blocks * BLOCK * sizeof(float) : 0;
    size_t attributes = attributes_table_size(l->attributes, blocks);

    p->codes = slab_alloc(m->x->slab, codes + numbers + norms + attributes);
    if (p->codes == NULL)
        return no_memory(m) == 0;
    p->numbers = (uint64_t *)(void *)(p->codes + codes);
    p->norms = norms > 0 ? (float *)(void *)(p->codes + codes + numbers) : NULL;
    p->attributes = p->codes + codes + numbers + norms;
    return true;
}

/* Blocks as a piece or a version has them. */
struct coded {
    const void *codes, *numbers, *norms, *attributes;
    uint32_t blocks; /* of the table of attributes */
};

static void copy_codes(const struct layout *l, struct index_posting *p, uint32_t block, uint32_t count,
                       const struct coded *from)
{
    size_t rows = (size_t)count * BLOCK;

    memcpy(p->codes + block * (size_t)l->block, from->codes, count * (size_t)l->block);
    memcpy(p->numbers + (size_t)block * BLOCK, from->numbers, rows * sizeof(*p->numbers));
    if (p->norms != NULL)
        memcpy(p->norms + (size_t)block * BLOCK, from->norms, rows * sizeof(*p->norms));
    attributes_copy(l->attributes, p->attributes, (p->rows + BLOCK - 1) / BLOCK, block, from->attributes, from->blocks,
                    count);
}

/* Blocks that the old version has as they are, up to where a piece of the new one begins: chunks, whose pages may not
 * be in memory, are not read again. */
static uint32_t copy_old(const struct layout *l, struct index_posting *p, const struct index_posting *old)
{
    const struct piece_layout *layout;
    uint32_t first = 0;

    index_piece(l, p, old->rows / BLOCK * BLOCK, &layout, &first);
    if (first > 0)
        copy_codes(l, p, 0, first / BLOCK,
                   &(struct coded){old->codes, old->numbers, old->norms, old->attributes,
                                   (old->rows + BLOCK - 1) / BLOCK});
    return first / BLOCK;
}

static void read_codes(struct making *m, struct index_posting *p, const struct index_posting *old)
{
    const struct layout *l = &m->x->v->layout;
    uint32_t blocks = (p->rows + BLOCK - 1) / BLOCK, block;

    if (old != NULL && old->rows == p->rows) {
        p->codes = old->codes;
        p->numbers = old->numbers;
        p->norms = old->norms;
        p->attributes = old->attributes;
        return;
    }
    if (blocks == 0 || !codes_room(m, p, blocks))
        return;
    for (block = old != NULL ? copy_old(l, p, old) : 0; block < blocks;) {
        const struct piece_layout *layout;
        uint32_t first;
        const uint8_t *piece = index_piece(l, p, block * BLOCK, &layout, &first);
        uint32_t count = layout->rows / BLOCK;

        copy_codes(l, p, block, count,
                   &(struct coded){piece, piece + layout->numbers, piece + layout->norms, piece + layout->attributes,
                                   count});
        block += count;
    }
}

/* Room for the vectors of a posting: that of the old version as long as it lasts, as rows only come behind others. */
static bool near_room(struct making *m, struct index_posting *p, const struct index_posting *old)
{
    size_t vector = m->x->v->layout.vector;

    if (old != NULL && old->near != NULL && p->rows <= old->near_room) {
        p->near = old->near;
        p->near_room = old->near_room;
        return true;
    }
    size_t size = slab_room((size_t)p->rows * vector);
    p->near = slab_alloc(m->x->slab, size);
    p->near_room = (uint32_t)(size / vector);
    if (old != NULL && old->near != NULL)
        discard_as(m, old->near, true);
    return p->near != NULL || no_memory(m) == 0;
}

static void read_near(struct making *m, struct index_posting *p, const struct index_posting *old)
{
    const struct layout *l = &m->x->v->layout;

    if (!l->near || p->rows == 0 || !near_room(m, p, old))
        return;
    for (uint32_t row = old != NULL && p->near == old->near ? old->rows : 0; row < p->rows;) {
        const struct piece_layout *layout;
        uint32_t first;
        const uint8_t *piece = index_piece(l, p, row, &layout, &first);
        uint32_t at = row - first, count = layout->rows - at < p->rows - row ? layout->rows - at : p->rows - row;

        memcpy(p->near + (size_t)row * l->vector, layout_vector(l, layout, piece, at), (size_t)count * l->vector);
        row += count;
    }
}

static void read_rows(struct making *m, struct index_posting *p, struct leat_span masks,
                      const struct index_posting *same)
{
    read_masks(p, masks);
    read_chunks(m, p, same);
    if (m->rv == 0)
        read_tail(m, p, same);
    if (m->rv == 0)
        read_codes(m, p, same);
    if (m->rv == 0)
        read_near(m, p, same);
}

/* new: NULL when nothing of the old one is shared; else what can be shared was. */
static void discard_posting(struct making *m, struct index_posting *old, const struct index_posting *new)
{
    bool gone = new == NULL;

    if (old->codes != NULL && (gone || new->codes != old->codes))
        discard_as(m, old->codes, true);
    if (gone && old->near != NULL)
        discard_as(m, old->near, true);
    for (uint32_t i = old->chunks; gone && i < old->pieces; i++)
        discard(m, old->piece[i]);
    discard(m, old);
}

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
    if (there && (p = new_posting(&m->x->v->layout, number, &r)) == NULL) {
        no_memory(m);
        return;
    }
    if (there)
        read_rows(m, p, masks, same);
    if (old != NULL)
        discard_posting(m, old, same != NULL ? p : NULL);
    m->x->rows += p != NULL ? p->live : 0;
    m->x->rows -= old_live;
    m->x->page[place / PAGE_POSTINGS]->posting[place % PAGE_POSTINGS] = p;
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
        no_memory(m);
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
            discard(m, x->retired[i].centroid);
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
    size_t size = v->layout.dims * sizeof(float);

    *count = (uint32_t)(stored.size / size);
    if (*count > m->rotated_room) {
        m->rotated_room = 2 * *count;
        m->rotated = leat_alloc(m->t, (size_t)m->rotated_room * v->rotation.padded * sizeof(float));
    }
    for (uint32_t i = 0; i < *count; i++) {
        float *at = m->rotated + (size_t)i * v->rotation.padded;

        memcpy(at, (const uint8_t *)stored.base + i * size, size);
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
        free(p);
    }
    for (uint32_t i = 0; !x->succeeded && i < x->pages; i++)
        free(x->page[i]);
    for (uint32_t i = 0; !x->succeeded && i < x->retireds; i++)
        free(x->retired[i].centroid);
    if (!x->succeeded)
        slab_free_all(x->slab);
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
    if (m->x->slab == NULL)
        return no_memory(m);
    if (old != NULL) {
        m->x->page = copy_of(old->page, old->pages * sizeof(struct page *));
        m->x->retired = copy_of(old->retired, old->retireds * sizeof(struct retired));
        m->own = calloc(old->pages + 1, sizeof(*m->own));
        if (m->x->page == NULL || m->x->retired == NULL || m->own == NULL)
            return no_memory(m);
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
