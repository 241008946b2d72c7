/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/layout.h"

#include <string.h>

#include "modules/vector/distance.h"
#include "modules/vector/quantiser.h"

const struct vector_distance *layout_kernel(const struct layout *l)
{
    static const enum vector_metric metric[] = {VECTOR_L2, VECTOR_DOT, VECTOR_DOT, VECTOR_HAMMING};

    return vector_distance(metric[l->metric], l->type);
}

/* ---- Rows ---- */

static void lay_row(struct layout *l)
{
    uint32_t at = sizeof(struct row_head);

    l->row.factors = at;
    at += l->width > 0 ? (uint32_t)sizeof(struct vector_factors) : 0;
    l->row.attributes = at;
    at += (uint32_t)attributes_row_size(l->attributes);
    l->row.code = at;
    at += l->code;
    l->row.vector = at;
    l->row.size = at + l->vector;
}

void layout_row(const struct layout *l, uint8_t *row, const struct row_head *head, const void *attributes,
                const void *vector)
{
    memset(row, 0, l->row.vector);
    memcpy(row, head, sizeof(*head));
    if (l->row.code > l->row.attributes)
        memcpy(row + l->row.attributes, attributes, l->row.code - l->row.attributes);
    memcpy(row + l->row.vector, vector, l->vector);
}

void layout_row_code(const struct layout *l, uint8_t *row, const struct encoded *code)
{
    if (l->width == 0)
        return;
    memcpy(row + l->row.factors, &code->factors, sizeof(code->factors));
    memcpy(row + l->row.code, code->code, l->code);
}

/* ---- Pieces ---- */

static uint32_t aligned(uint32_t at)
{
    return (at + 63) & ~63U;
}

static void lay_piece(const struct layout *l, uint32_t rows, struct piece_layout *p)
{
    uint32_t at = rows / BLOCK * l->block;

    *p = (struct piece_layout){.rows = rows};
    p->attributes = at;
    at += (uint32_t)attributes_table_size(l->attributes, rows / BLOCK);
    p->numbers = at;
    at += rows * 8;
    p->versions = at;
    at += rows * 4;
    p->norms = at;
    at += l->metric == METRIC_COSINE ? rows * 4 : 0;
    p->vectors = aligned(at);
    p->size = p->vectors + rows * l->vector;
}

/* A chunk is a value in pages of its own, which LMDB lays 16 bytes behind the start of one. It has as few rows as fill
 * them well: what is not in a chunk yet is in memory. Smaller values share pages, and
 * move: the index points to chunks. */
enum { PAGE = 4096, PAGE_HEAD = 16, PAGE_SHARED = 2048, CHUNK_ROWS = 128 };

static double filled(uint32_t size)
{
    uint32_t bytes = PAGE_HEAD + 64 + size;

    return (double)bytes / ((bytes + PAGE - 1) / PAGE * PAGE);
}

static uint32_t varint_size(uint32_t value)
{
    uint32_t size = 1;

    for (; value >= 0x80; value >>= 7)
        size++;
    return size;
}

static void lay_chunk(struct layout *l)
{
    const double well = 0.93;
    double best = 0;

    for (uint32_t rows = BLOCK; (rows <= CHUNK_ROWS && best < well) || l->chunk.rows == 0; rows += BLOCK) {
        struct piece_layout p;

        lay_piece(l, rows, &p);
        if (p.size <= PAGE_SHARED || filled(p.size) <= best)
            continue;
        best = filled(p.size);
        l->chunk = p;
    }
    l->pad = 64 - PAGE_HEAD - varint_size(64 + l->chunk.size);
}

void layout_init(struct layout *l, enum leat_type type, enum metric metric, uint32_t dims,
                 const struct attributes *attributes)
{
    uint32_t padded = (dims + 63) / 64 * 64;

    *l = (struct layout){.type = type, .metric = metric, .dims = dims, .attributes = attributes};
    l->width = type == LEAT_BITS ? 0 : padded;
    l->code = vector_code_size(l->width, 1);
    l->block = l->width > 0 ? (uint32_t)vector_block_size(l->width) : 0;
    l->vector = (uint32_t)leat_vector_size(type, dims);
    l->near = l->vector <= dims;
    l->centroid = dims * (type == LEAT_F32_VECTOR ? 4 : 2);
    lay_row(l);
    lay_piece(l, BLOCK, &l->tail);
    lay_chunk(l);
}

void layout_place(const struct layout *l, const struct piece_layout *p, uint8_t *piece, uint32_t at, const uint8_t *row)
{
    struct row_head head;
    struct vector_factors factors;

    memcpy(&head, row, sizeof(head));
    memcpy(piece + p->numbers + (size_t)at * 8, &head.number, 8);
    memcpy(piece + p->versions + (size_t)at * 4, &head.version, 4);
    if (l->metric == METRIC_COSINE)
        memcpy(piece + p->norms + (size_t)at * 4, &head.norm, 4);
    if (l->attributes->count > 0)
        attributes_put(l->attributes, piece + p->attributes, p->rows / BLOCK, at, row + l->row.attributes);
    memcpy(piece + p->vectors + (size_t)at * l->vector, row + l->row.vector, l->vector);
    if (l->width == 0)
        return;
    memcpy(&factors, row + l->row.factors, sizeof(factors));
    vector_block_put(piece + (size_t)(at / BLOCK) * l->block, l->width, at % BLOCK, row + l->row.code, &factors);
}

void layout_take(const struct layout *l, const struct piece_layout *p, const uint8_t *piece, uint32_t at, uint8_t *row)
{
    struct row_head head = {layout_number(p, piece, at), layout_version(p, piece, at),
                            l->metric == METRIC_COSINE ? layout_norm(p, piece, at) : 0};

    memset(row, 0, l->row.vector);
    memcpy(row, &head, sizeof(head));
    if (l->attributes->count > 0)
        attributes_take(l->attributes, piece + p->attributes, p->rows / BLOCK, at, row + l->row.attributes);
    memcpy(row + l->row.vector, layout_vector(l, p, piece, at), l->vector);
    if (l->width == 0)
        return;
    struct vector_factors factors;
    vector_block_get(piece + (size_t)(at / BLOCK) * l->block, l->width, at % BLOCK, row + l->row.code, &factors);
    memcpy(row + l->row.factors, &factors, sizeof(factors));
}

uint32_t layout_together(const struct layout *l, uint32_t count)
{
    enum { HEAD = PAGE_HEAD + 3 }; /* and how long the value is */
    uint32_t size = l->row.size, pages = (HEAD + count * size) / PAGE;
    uint32_t rows = pages > 0 ? (pages * PAGE - HEAD) / size : 0;

    return rows > 0 && (count - rows) * size < PAGE / 3 ? rows : count;
}

/* ---- Centroids ---- */

void layout_centroids(const struct layout *l, const float *centroid, uint32_t count, uint8_t *out)
{
    if (l->type == LEAT_F32_VECTOR)
        memcpy(out, centroid, (size_t)count * l->centroid);
    else
        vector_halves(centroid, count * l->dims, (uint16_t *)(void *)out);
}

void layout_centroid_floats(const struct layout *l, const void *stored, float *out)
{
    vector_floats(l->type == LEAT_F32_VECTOR ? LEAT_F32_VECTOR : LEAT_F16_VECTOR, stored, l->dims, out);
}
