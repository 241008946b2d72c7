/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/index_version.h"

#include <stdlib.h>
#include <string.h>

/* The rows of a posting as a version has them: masks of its own, chunks in the file, pieces of its tail, and codes and
 * vectors in memory. What the version before has, too, is shared, unless the posting was compacted since. */

static uint32_t parts_of(uint32_t rows)
{
    return (rows + INDEX_PART_ROWS - 1) / INDEX_PART_ROWS;
}

/* Beside the codes and vectors: a scan that comes to a posting reads this of it first. */
static struct index_posting *new_posting(struct making *m, uint32_t number, const struct posting_record *r)
{
    const struct layout *l = &m->x->v->layout;
    uint32_t blocks = (r->rows + BLOCK - 1) / BLOCK, behind = r->rows - r->chunks * l->chunk.rows;
    uint32_t pieces = r->chunks + (behind + BLOCK - 1) / BLOCK;
    size_t parts = sizeof(struct index_posting) + parts_of(r->rows) * sizeof(struct index_part);
    size_t head = parts + pieces * sizeof(uint8_t *), size = head + 2 * (size_t)blocks * sizeof(uint32_t);
    struct index_posting *p = slab_alloc(m->x->slab, size);

    if (p == NULL)
        return NULL;
    memset(p, 0, size);
    *p = (struct index_posting){.number = number, .active = r->active, .rows = r->rows, .live = r->live,
                                .chunks = r->chunks, .pieces = pieces, .edition = r->edition,
                                .gathered = r->gathered};
    p->piece = (const uint8_t **)(void *)((uint8_t *)p + parts);
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

/* ---- Parts ---- */

/* Codes lie together, and so do the columns of attributes: a scan reads those of a part in one go, and pages of the
 * file hold mostly vectors. */
static bool codes_room(struct making *m, struct index_part *part, uint32_t blocks)
{
    const struct layout *l = &m->x->v->layout;
    size_t codes = (size_t)blocks * l->block, numbers = (size_t)blocks * BLOCK * sizeof(uint64_t);
    size_t norms = l->metric == METRIC_COSINE ? (size_t)blocks * BLOCK * sizeof(float) : 0;
    size_t attributes = attributes_table_size(l->attributes, blocks);

    part->codes = slab_alloc(m->x->slab, codes + numbers + norms + attributes);
    if (part->codes == NULL)
        return index_no_memory(m) == 0;
    part->numbers = (uint64_t *)(void *)(part->codes + codes);
    part->norms = norms > 0 ? (float *)(void *)(part->codes + codes + numbers) : NULL;
    part->attributes = part->codes + codes + numbers + norms;
    return true;
}

/* Blocks as a piece or a part has them, of `blocks` from `at` on. */
struct coded {
    const uint8_t *codes, *numbers, *norms, *attributes;
    uint32_t blocks, at;
};

static void copy_codes(const struct layout *l, struct index_part *part, uint32_t blocks, uint32_t block, uint32_t count,
                       const struct coded *from)
{
    size_t rows = (size_t)count * BLOCK, first = (size_t)from->at * BLOCK;

    memcpy(part->codes + block * (size_t)l->block, from->codes + from->at * (size_t)l->block,
           count * (size_t)l->block);
    memcpy(part->numbers + (size_t)block * BLOCK, from->numbers + first * sizeof(uint64_t), rows * sizeof(uint64_t));
    if (part->norms != NULL)
        memcpy(part->norms + (size_t)block * BLOCK, from->norms + first * sizeof(float), rows * sizeof(float));
    attributes_copy(l->attributes, part->attributes, blocks, block, from->attributes, from->blocks, from->at, count);
}

/* Blocks that the old version has as they are, up to where a piece of the new one begins: chunks, whose pages may not
 * be in memory, are not read again. Returns how many. */
static uint32_t copy_old(const struct layout *l, const struct index_posting *p, uint32_t block, struct index_part *part,
                         const struct index_posting *old)
{
    const struct piece_layout *layout;
    uint32_t first = 0;

    index_piece(l, p, old->rows / BLOCK * BLOCK, &layout, &first);
    if (first / BLOCK <= block)
        return 0;
    const struct index_part *from = index_part(old, block * BLOCK);
    uint32_t count = first / BLOCK - block;
    copy_codes(l, part, index_part_blocks(p, block), 0, count,
               &(struct coded){from->codes, (const uint8_t *)from->numbers, (const uint8_t *)from->norms,
                               from->attributes, index_part_blocks(old, block), 0});
    return count;
}

/* Codes of the part that begins with a block. old: has rows of it, or NULL. */
static void read_codes(struct making *m, const struct index_posting *p, uint32_t block, struct index_part *part,
                       const struct index_posting *old)
{
    const struct layout *l = &m->x->v->layout;
    uint32_t blocks = index_part_blocks(p, block), done, count;

    if (!codes_room(m, part, blocks))
        return;
    for (done = old != NULL ? copy_old(l, p, block, part, old) : 0; done < blocks; done += count) {
        const struct piece_layout *layout;
        uint32_t first;
        const uint8_t *piece = index_piece(l, p, (block + done) * BLOCK, &layout, &first);
        uint32_t at = block + done - first / BLOCK, all = layout->rows / BLOCK;

        count = all - at < blocks - done ? all - at : blocks - done;
        copy_codes(l, part, blocks, done, count,
                   &(struct coded){piece, piece + layout->numbers, piece + layout->norms, piece + layout->attributes,
                                   all, at});
    }
}

/* Room for the vectors of a part: that of the old version as long as it lasts, as rows only come behind others. */
static bool near_room(struct making *m, uint32_t rows, struct index_part *part, const struct index_part *old)
{
    size_t vector = m->x->v->layout.vector;

    if (old != NULL && rows <= old->near_room) {
        part->near = old->near;
        part->near_room = old->near_room;
        return true;
    }
    size_t size = slab_room((size_t)rows * vector);
    part->near = slab_alloc(m->x->slab, size);
    part->near_room = (uint32_t)(size / vector);
    return part->near != NULL || index_no_memory(m) == 0;
}

/* Vectors of the part that begins with a row; the first `known` of them the old part has. */
static void read_near(struct making *m, const struct index_posting *p, uint32_t begin, struct index_part *part,
                      const struct index_part *old, uint32_t known)
{
    const struct layout *l = &m->x->v->layout;
    uint32_t rows = p->rows - begin < INDEX_PART_ROWS ? p->rows - begin : INDEX_PART_ROWS, count;

    if (!l->near || !near_room(m, rows, part, old))
        return;
    if (known > 0 && part->near != old->near) {
        memcpy(part->near, old->near, (size_t)known * l->vector);
        index_discard(m, old->near, true);
    }
    for (uint32_t row = known; row < rows; row += count) {
        const struct piece_layout *layout;
        uint32_t first;
        const uint8_t *piece = index_piece(l, p, begin + row, &layout, &first);
        uint32_t at = begin + row - first;

        count = layout->rows - at < rows - row ? layout->rows - at : rows - row;
        memcpy(part->near + (size_t)row * l->vector, layout_vector(l, layout, piece, at), (size_t)count * l->vector);
    }
}

/* Parts to which no row came are those of the old version. */
static void read_parts(struct making *m, struct index_posting *p, const struct index_posting *old)
{
    uint32_t known = old != NULL ? old->rows : 0, same = known == p->rows ? parts_of(known) : known / INDEX_PART_ROWS;

    if (same > 0)
        memcpy(p->part, old->part, same * sizeof(*p->part));
    for (uint32_t i = same; i < parts_of(p->rows) && m->rv == 0; i++) {
        uint32_t begin = i * INDEX_PART_ROWS;
        bool had = known > begin;

        read_codes(m, p, begin / BLOCK, &p->part[i], had ? old : NULL);
        if (m->rv == 0)
            read_near(m, p, begin, &p->part[i], had ? &old->part[i] : NULL, had ? known - begin : 0);
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
        read_parts(m, p, old);
    if (m->rv == 0)
        read_reach(&m->x->v->layout, p, old);
    return p;
}

void index_rows_discard(struct making *m, struct index_posting *old, const struct index_posting *new)
{
    bool gone = new == NULL;

    for (uint32_t i = 0; i < parts_of(old->rows); i++) {
        if (gone || new->part[i].codes != old->part[i].codes)
            index_discard(m, old->part[i].codes, true);
        if (gone && old->part[i].near != NULL)
            index_discard(m, old->part[i].near, true);
    }
    for (uint32_t i = old->chunks; gone && i < old->pieces; i++)
        index_discard(m, old->piece[i], false);
    index_discard(m, old, true);
}
