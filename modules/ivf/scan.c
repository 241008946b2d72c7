/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/scan.h"

#include <math.h>
#include <string.h>

#include "modules/vector/distance.h"

enum { BLOCKS_MOST = 4, LANES_MOST = BLOCKS_MOST * BLOCK };

struct scan_room {
    float estimate[LANES_MOST], lower[LANES_MOST], distance[LANES_MOST];
    const void *row[LANES_MOST];
    uint32_t at[LANES_MOST];
    uint32_t mask[BLOCKS_MOST], live[BLOCKS_MOST];
    const struct index_posting *posting[];
};

/* Some rows of one posting that lie in one piece. */
struct part {
    uint64_t place;              /* of the posting */
    const struct piece_layout *layout;
    const uint8_t *piece;
    uint32_t block, blocks;      /* of the piece */
    uint32_t first;              /* row of the posting that its first block begins with */
};

size_t scan_room_size(uint32_t postings)
{
    return sizeof(struct scan_room) + postings * sizeof(struct index_posting *);
}

void scan_begin(struct scan *s, struct vector_best *top, uint32_t k, void *room)
{
    vector_top_begin(&s->top, top, k);
    s->room = room;
    s->posting = s->room->posting;
    s->counts = (struct scan_counts){0};
    s->copies = false;
}

/* ---- Exact distances ---- */

static const struct vector_distance *kernel(const struct layout *l)
{
    static const enum vector_metric metric[] = {VECTOR_L2, VECTOR_DOT, VECTOR_DOT, VECTOR_HAMMING};

    return vector_distance(metric[l->metric], l->type);
}

static float as_known(const struct scan *s, const struct part *part, uint32_t at, float d)
{
    if (s->layout->metric == METRIC_L2 || s->layout->metric == METRIC_HAMMING)
        return d;
    if (s->layout->metric == METRIC_DOT)
        return -d;
    d = 1.0F - d / (s->norm * layout_norm(part->layout, part->piece, at));
    return d < 0 ? 0 : d;
}

/* The k-th distance so far as codes estimate it: of vectors of length 1 the squared distance is 2 - 2 cosine. */
static float threshold(const struct scan *s)
{
    return s->layout->metric == METRIC_COSINE ? 2 * s->top.threshold : s->top.threshold;
}

struct hit scan_hit(const struct scan *s, const struct vector_best *found, const void **vector)
{
    uint32_t row = (uint32_t)found->number, first;
    const struct piece_layout *layout;
    const uint8_t *piece = index_piece(s->layout, s->posting[found->number >> 32], row, &layout, &first);

    if (vector != NULL)
        *vector = layout_vector(s->layout, layout, piece, row - first);
    return (struct hit){layout_number(layout, piece, row - first), found->distance,
                        layout_version(layout, piece, row - first)};
}

/* Is it there already, in the posting that it comes from or goes to? Copies have the same distance. */
static bool twice(const struct scan *s, float distance, uint64_t id)
{
    for (uint32_t i = 0; i < s->top.count; i++)
        if (s->top.item[i].distance == distance && scan_hit(s, &s->top.item[i], NULL).number == id)
            return true;
    return false;
}

/* Rows at[0..count) of the piece, of which the distances are known now. */
static void offer(struct scan *s, const struct part *part, uint32_t count)
{
    struct scan_room *r = s->room;

    for (uint32_t i = 0; i < count; i++) {
        float d = as_known(s, part, r->at[i], r->distance[i]);

        if (d > s->top.threshold ||
            (s->copies && twice(s, d, layout_number(part->layout, part->piece, r->at[i]))))
            continue;
        vector_top_push(&s->top, d, part->place << 32 | (part->first + r->at[i] - part->block * BLOCK));
    }
    s->counts.ranked += count;
}

static uint32_t gather(struct scan *s, const struct part *part, uint32_t from, uint32_t count)
{
    struct scan_room *r = s->room;

    r->at[count] = from;
    r->row[count] = layout_vector(s->layout, part->layout, part->piece, from);
    return count + 1;
}

static void measure(struct scan *s, const struct part *part, uint32_t count)
{
    kernel(s->layout)->pointers(s->vector, s->room->row, count, s->layout->dims, s->room->distance);
    offer(s, part, count);
}

/* ---- Codes first ---- */

/* Rows that passed are measured some at a time: each time the threshold falls, fewer are left. */
enum { TOGETHER = 16 };

static void rank(struct scan *s, const struct part *part)
{
    struct scan_room *r = s->room;
    uint32_t count = 0;

    for (uint32_t b = 0; b < part->blocks; b++)
        for (uint32_t mask = r->mask[b]; mask != 0; mask &= mask - 1) {
            uint32_t lane = b * BLOCK + (uint32_t)__builtin_ctz(mask);

            if (r->lower[lane] > threshold(s))
                continue;
            count = gather(s, part, part->block * BLOCK + lane, count);
            if (count < TOGETHER)
                continue;
            measure(s, part, count);
            count = 0;
        }
    if (count > 0)
        measure(s, part, count);
}

static uint32_t live_rows(struct scan *s, const struct part *part, const uint32_t *live)
{
    struct scan_room *r = s->room;
    uint32_t any = 0;

    memcpy(r->live, live, part->blocks * sizeof(*live));
    if (s->filter != NULL) {
        uint32_t pass[BLOCKS_MOST];

        filter_blocks(s->filter, part->piece + part->layout->attributes, part->layout->rows / BLOCK, part->block,
                      part->blocks, pass);
        for (uint32_t i = 0; i < part->blocks; i++)
            r->live[i] &= pass[i];
    }
    for (uint32_t i = 0; i < part->blocks; i++)
        any |= r->live[i];
    return any;
}

/* All that live of a part, without codes: of bits, the vectors are their own codes. */
static void measure_all(struct scan *s, const struct part *part)
{
    uint32_t count = 0;

    for (uint32_t b = 0; b < part->blocks; b++)
        for (uint32_t mask = s->room->live[b]; mask != 0; mask &= mask - 1)
            count = gather(s, part, (part->block + b) * BLOCK + (uint32_t)__builtin_ctz(mask), count);
    if (count > 0)
        measure(s, part, count);
}

static void scan_part(struct scan *s, const struct part *part, const struct probe *probe, const uint32_t *live,
                      const void *ahead)
{
    const struct layout *l = s->layout;
    struct scan_room *r = s->room;

    s->counts.rows += part->blocks * BLOCK;
    if (live_rows(s, part, live) == 0)
        return;
    if (probe == NULL || l->width == 0) {
        measure_all(s, part);
        return;
    }
    struct vector_scan scan = {.query = &s->query, .base = probe->base, .distance = probe->distance,
                               .threshold = threshold(s), .blocks = part->piece + (size_t)part->block * l->block,
                               .count = part->blocks, .live = r->live, .ahead = ahead, .ahead_count = part->blocks,
                               .mask = r->mask, .lower = r->lower};
    if (vector_scan(&scan) > 0)
        rank(s, part);
}

/* The first blocks of the posting scanned next. */
static const void *first_piece(const struct scan *s, uint64_t place, uint32_t count)
{
    while (++place < count)
        if (s->posting[place] != NULL && s->posting[place]->rows > 0)
            return s->posting[place]->piece[0];
    return NULL;
}

static void scan_posting(struct scan *s, uint64_t place, const struct probe *probe, uint32_t count)
{
    const struct index_posting *p = s->posting[place];
    uint32_t blocks = (p->rows + BLOCK - 1) / BLOCK;

    s->counts.postings++;
    for (uint32_t block = 0; block < blocks;) {
        struct part part = {.place = place, .first = block * BLOCK};
        uint32_t first;

        part.piece = index_piece(s->layout, p, block * BLOCK, &part.layout, &first);
        part.block = block - first / BLOCK;
        uint32_t left = part.layout->rows / BLOCK - part.block;
        part.blocks = left < BLOCKS_MOST ? left : BLOCKS_MOST;
        if (block + part.blocks > blocks)
            part.blocks = blocks - block;
        uint32_t next = block + part.blocks, behind;
        const struct piece_layout *layout;
        const uint8_t *ahead = next < blocks ? index_piece(s->layout, p, next * BLOCK, &layout, &behind)
                                             : first_piece(s, place, count);
        scan_part(s, &part, probe, p->live_mask + block, ahead);
        block = next;
    }
}

void scan_postings(struct scan *s, const struct probe *probe, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        s->posting[i] = index_posting(s->index, probe[i].posting);
        s->copies |= s->posting[i] != NULL && s->posting[i]->moving > 0;
    }
    for (uint32_t i = 0; i < count; i++)
        if (s->posting[i] != NULL)
            scan_posting(s, i, &probe[i], count);
}

void scan_exact(struct scan *s, const struct index_posting *const *posting, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        s->posting[i] = posting[i];
        s->copies |= posting[i] != NULL && posting[i]->moving > 0;
    }
    for (uint32_t i = 0; i < count; i++)
        if (s->posting[i] != NULL)
            scan_posting(s, i, NULL, count);
}
