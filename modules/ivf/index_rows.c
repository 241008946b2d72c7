/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/index_version.h"

#include <stdlib.h>
#include <string.h>

/* The rows of a posting as a version has them: masks of its own, chunks in the file, pieces of its tail, and codes and
 * vectors in memory. What the version before has, too, is shared, unless the posting was compacted since. */

/* Beside the codes and vectors: a scan that comes to a posting reads this of it first. */
static struct index_posting *new_posting(struct making *m, uint32_t number, const struct posting_record *r)
{
    const struct layout *l = &m->x->v->layout;
    uint32_t blocks = (r->rows + BLOCK - 1) / BLOCK, behind = r->rows - r->chunks * l->chunk.rows;
    uint32_t pieces = r->chunks + (behind + BLOCK - 1) / BLOCK;
    size_t head = sizeof(struct index_posting) + pieces * sizeof(uint8_t *);
    size_t size = head + 2 * (size_t)blocks * sizeof(uint32_t);
    struct index_posting *p = slab_alloc(m->x->slab, size);

    if (p == NULL)
        return NULL;
    memset(p, 0, size);
    *p = (struct index_posting){.number = number, .active = r->active, .rows = r->rows, .live = r->live,
                                .chunks = r->chunks, .pieces = pieces, .edition = r->edition,
                                .gathered = r->gathered};
    p->live_mask = (uint32_t *)(void *)((uint8_t *)p + head);
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
        index_no_memory(m);
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
        index_discard(m, old->piece[old->chunks + i], false);
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
        return index_no_memory(m) == 0;
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
        index_discard(m, old->near, true);
    return p->near != NULL || index_no_memory(m) == 0;
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

/* Rows that die do not change it, until the posting is compacted. */
static void read_reach(const struct layout *l, struct index_posting *p, const struct index_posting *old)
{
    p->reach = old != NULL ? old->reach : 0;
    for (uint32_t row = old != NULL ? old->rows : 0; row < p->rows; row++) {
        float square = index_square(l, p, row);

        p->reach = square > p->reach ? square : p->reach;
    }
}

struct index_posting *index_rows_new(struct making *m, uint32_t number, const struct posting_record *r,
                                     struct leat_span masks, const struct index_posting *old)
{
    struct index_posting *p = new_posting(m, number, r);

    if (p == NULL) {
        index_no_memory(m);
        return NULL;
    }
    read_masks(p, masks);
    read_chunks(m, p, old);
    if (m->rv == 0)
        read_tail(m, p, old);
    if (m->rv == 0)
        read_codes(m, p, old);
    if (m->rv == 0)
        read_reach(&m->x->v->layout, p, old);
    if (m->rv == 0)
        read_near(m, p, old);
    return p;
}

void index_rows_discard(struct making *m, struct index_posting *old, const struct index_posting *new)
{
    bool gone = new == NULL;

    if (old->codes != NULL && (gone || new->codes != old->codes))
        index_discard(m, old->codes, true);
    if (gone && old->near != NULL)
        index_discard(m, old->near, true);
    for (uint32_t i = old->chunks; gone && i < old->pieces; i++)
        index_discard(m, old->piece[i], false);
    index_discard(m, old, true);
}
