/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_IVF_LAYOUT_H
#define MODULES_IVF_LAYOUT_H

/* The bytes of a row and of a piece of a posting.
 *
 * A **row** is what one vector is in a message and in a tail: number u64, version u32, norm f32 (cosine: the vector's
 * length; else 0), the code's factors 3 x f32, the columns of attributes, the code, the vector. Of fixed size in an
 * index.
 *
 * A **piece** is R rows, R a multiple of 32, each kind of data by itself, so that a scan reads what it needs and
 * nothing else: blocks of 32 (codes with factors, vector/quantiser.h), attributes' columns by block, numbers, versions,
 * norms, vectors. A full piece is one value of the PState `chunks`; the rest of a posting is in pieces of 32 rows in
 * memory, made from `tails`. A row is never changed in its place: rows die by a bit in their posting's record. */

#include "leat/leat.h"
#include "modules/ivf/attributes.h"
#include "modules/vector/quantiser.h"

enum { BLOCK = 32 };

/* The squared length of a vector is at most this, so that every distance of two is far from the end of floats: it is at
 * most four times that. */
#define SQUARE_MOST 1e37F
/* And under cosine at least this: squares of what matters in shorter ones have fewer digits than other floats. */
#define SQUARE_LEAST 1e-30F

enum metric { METRIC_L2, METRIC_COSINE, METRIC_DOT, METRIC_HAMMING };

struct piece_layout {
    uint32_t rows;
    uint32_t attributes, numbers, versions, norms, vectors; /* where they begin; blocks at 0 */
    uint32_t size;
};

struct layout {
    enum leat_type type;
    enum metric metric;
    uint32_t dims;
    uint32_t width;        /* dims of a code: padded; 0: no codes (bits are their own) */
    uint32_t code, vector; /* bytes */
    uint32_t centroid;     /* bytes of one as it is stored and sent: f16, of f32 vectors f32 */
    uint32_t block;        /* bytes of 32 codes and their factors */
    bool near;             /* vectors are kept in memory, too: they have at most a byte a dimension */
    const struct attributes *attributes;
    struct {
        uint32_t factors, attributes, code, vector, size; /* behind its head */
    } row;
    struct piece_layout chunk, tail;
    uint32_t pad;          /* bytes ahead of a chunk in its value: then it begins at a multiple of 64 in the file */
};

/* Everything that follows from type, metric, dims and the attributes (borrowed as long as l). */
void layout_init(struct layout *l, enum leat_type type, enum metric metric, uint32_t dims,
                 const struct attributes *attributes);

/* Distances of vectors as they are stored; of METRIC_COSINE products. */
const struct vector_distance *layout_kernel(const struct layout *l);

/* How a row begins. */
struct row_head {
    uint64_t number;
    uint32_t version;
    float norm;
};

/* Where a vector belongs, and its code there. */
struct encoded {
    uint32_t posting;
    struct vector_factors factors;
    uint8_t *code;
};

/* Make a row (row.size bytes) without a code; attributes: packed, not looked at when none are declared. */
void layout_row(const struct layout *l, uint8_t *row, const struct row_head *head, const void *attributes,
                const void *vector);
void layout_row_code(const struct layout *l, uint8_t *row, const struct encoded *code);
/* Put a row into place `at` of a piece. The block it falls into must be zeroed or hold rows. */
void layout_place(const struct layout *l, const struct piece_layout *p, uint8_t *piece, uint32_t at,
                  const uint8_t *row);
/* The other way round: the row as it was placed. */
void layout_take(const struct layout *l, const struct piece_layout *p, const uint8_t *piece, uint32_t at, uint8_t *row);

/* A large value has pages of its own, and rows that would fill but a third of the last one are better off in a page
 * that they share: of count rows of a tail, how many are to be one value? */
uint32_t layout_together(const struct layout *l, uint32_t count);

/* Centroids as they are stored, count of them, and one as floats. */
void layout_centroids(const struct layout *l, const float *centroid, uint32_t count, uint8_t *out);
void layout_centroid_floats(const struct layout *l, const void *stored, float *out);

static inline uint64_t layout_number(const struct piece_layout *p, const uint8_t *piece, uint32_t at)
{
    uint64_t number;

    __builtin_memcpy(&number, piece + p->numbers + 8 * (size_t)at, sizeof(number));
    return number;
}

static inline uint32_t layout_version(const struct piece_layout *p, const uint8_t *piece, uint32_t at)
{
    uint32_t version;

    __builtin_memcpy(&version, piece + p->versions + 4 * (size_t)at, sizeof(version));
    return version;
}

static inline float layout_norm(const struct piece_layout *p, const uint8_t *piece, uint32_t at)
{
    float norm;

    __builtin_memcpy(&norm, piece + p->norms + 4 * (size_t)at, sizeof(norm));
    return norm;
}

static inline const uint8_t *layout_vector(const struct layout *l, const struct piece_layout *p, const uint8_t *piece,
                                           uint32_t at)
{
    return piece + p->vectors + (size_t)at * l->vector;
}

#endif
