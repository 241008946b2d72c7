/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_IVF_INDEX_H
#define MODULES_IVF_INDEX_H

/* The derived state of a group: the centroids of all postings, and where the rows of the group's own ones lie.
 * Immutable versions; what did not change they share. */

#include "modules/ivf/layout.h"
#include "modules/vector/coarse.h"

struct finder;
struct ivf;
struct index;

extern const struct leat_derive index_derive;

/* What searches read of some rows of a posting, in memory, each kind of data by itself. A posting that got rows makes
 * only its last part anew. */
enum { INDEX_PART_BLOCKS = 16, INDEX_PART_ROWS = INDEX_PART_BLOCKS * BLOCK };

struct index_part {
    uint8_t *codes;      /* blocks, one after another */
    uint64_t *numbers;   /* behind the codes */
    float *norms;        /* and behind those; NULL but for METRIC_COSINE */
    uint8_t *attributes; /* the table of its blocks (attributes.h), behind those */
    uint8_t *near;       /* vectors, one after another; NULL: they are in the pieces */
    uint32_t near_room;  /* for so many rows; behind the posting's rows newer versions write */
};

struct index_posting {
    uint32_t number;
    bool active;
    uint32_t rows, live, moving;
    uint32_t chunks, pieces;
    uint32_t edition;                  /* rows have the numbers that they had in others of the same */
    uint32_t gathered;                 /* as in its record (posting.h) */
    float reach;                       /* squared distance of its farthest row from its centroid; 0: no codes */
    uint32_t *live_mask, *moving_mask; /* by block of 32 rows */
    const uint8_t **piece;             /* chunks in the file, then pieces of the tail in memory */
    struct index_part part[];          /* all rows, INDEX_PART_ROWS each but the last */
};

static inline uint32_t index_blocks(const struct index_posting *p)
{
    return (p->rows + BLOCK - 1) / BLOCK;
}

/* How many blocks the part with this one has. */
static inline uint32_t index_part_blocks(const struct index_posting *p, uint32_t block)
{
    uint32_t left = index_blocks(p) - block / INDEX_PART_BLOCKS * INDEX_PART_BLOCKS;

    return left < INDEX_PART_BLOCKS ? left : INDEX_PART_BLOCKS;
}

static inline const struct index_part *index_part(const struct index_posting *p, uint32_t row)
{
    return &p->part[row / INDEX_PART_ROWS];
}

static inline uint64_t index_number(const struct index_posting *p, uint32_t row)
{
    return index_part(p, row)->numbers[row % INDEX_PART_ROWS];
}

static inline const uint8_t *index_codes(const struct layout *l, const struct index_posting *p, uint32_t block)
{
    return p->part[block / INDEX_PART_BLOCKS].codes + (size_t)(block % INDEX_PART_BLOCKS) * l->block;
}

/* NULL: it is not there. x may be NULL, an index of nothing. */
const struct index_posting *index_posting(const struct index *x, uint32_t number);

/* The piece that a row is in, its layout and its first row. */
static inline const uint8_t *index_piece(const struct layout *l, const struct index_posting *p, uint32_t row,
                                         const struct piece_layout **layout, uint32_t *first)
{
    uint32_t chunk = row / l->chunk.rows, behind = row - p->chunks * l->chunk.rows;

    if (chunk < p->chunks) {
        *layout = &l->chunk;
        *first = chunk * l->chunk.rows;
        return p->piece[chunk];
    }
    *layout = &l->tail;
    *first = row - behind % l->tail.rows;
    return p->piece[p->chunks + behind / l->tail.rows];
}

/* The squared distance of a row from the posting's centroid, as its code has it; 0: there is none. */
static inline float index_square(const struct layout *l, const struct index_posting *p, uint32_t row)
{
    enum vector_metric metric = l->metric == METRIC_DOT ? VECTOR_DOT : VECTOR_L2;

    return l->width == 0 ? 0
                         : vector_block_square(metric, index_codes(l, p, row / BLOCK), l->width, row % BLOCK);
}

/* Of all versions; for turns alone. */
struct finder *index_finder(const struct index *x);
/* Live rows of the group. */
uint64_t index_rows(const struct index *x);
/* How many centroids take rows. */
uint32_t index_active(const struct index *x);
/* The same for indexes that know the same centroids, and as good as never for others. */
uint64_t index_known(const struct index *x);
/* Those that take rows, rotated, by squared distance. NULL: x is. */
const struct vector_coarse *index_centroids(const struct index *x);

/* Postings to search for a rotated query, nearest first, at most `most` of them; those that are to become empty, too.
 * table: of the query, or NULL. out: room for `most`; distances are negated products for METRIC_DOT, else squared.
 * room: index_probe_room bytes, of as many or more. */
size_t index_probe_room(const struct index *x, uint32_t most);
uint32_t index_probe(const struct index *x, const float *query, const struct vector_query *table, uint32_t most,
                     struct vector_near *out, void *room);

/* The same one after another, as far as one goes. A posting that is to become empty counts as near as the nearest
 * centroid in its place; all others' distances are their own. */
struct index_walk {
    struct vector_near *near; /* nearest first */
    uint32_t count, most;     /* so far; how many there are */
    struct vector_walk *centroids; /* NULL: there are none */
    struct vector_near *other;     /* what has no centroid among those */
    uint32_t others, given;        /* how many; of which so many are among the near ones */
};
uint32_t index_walk_most(const struct index *x); /* as of its walks */
size_t index_walk_room(const struct index *x);
/* Lives in room, aligned to 16; query and table are borrowed. */
struct index_walk *index_walk(const struct index *x, const float *query, const struct vector_query *table, void *room);
/* Compare about so many more centroids. false: there are no more postings. */
bool index_walk_on(struct index_walk *w, uint32_t count);

/* The distance of a centroid as searches have it. */
float index_distance(const struct index *x, const float *query, const float *centroid);

/* The INDEX_WIDE postings of the group, or fewer, that reach farthest, and not below `least`; out: their numbers. */
enum { INDEX_WIDE = 64 };
uint32_t index_wide(const struct index *x, float least, uint32_t *out);

/* All postings of the group: the i-th of index_count, which may be NULL. */
uint32_t index_count(const struct index *x);
const struct index_posting *index_at(const struct index *x, uint32_t i);

#endif
