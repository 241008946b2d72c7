/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_VECTOR_QUANTISER_H
#define MODULES_VECTOR_QUANTISER_H

/* Codes of vectors, and distances estimated from codes, with bounds.
 *
 * RaBitQ (Gao and Long, arXiv 2405.12497; with more bits: Gao et al., arXiv 2409.09913): a row less the centroid of its
 * list, rotated, keeps of each dimension the sign. A query is rotated once and makes one table for all lists: what
 * depends on row and centroid is folded into the row's factors when it is encoded, what depends on query and centroid
 * is two numbers a list. Distances are squared (VECTOR_L2) or the negated product (VECTOR_DOT), so that less is nearer.
 *
 * "Rotated" below: by one vector_rotation, to its padded dimensions, which is what `padded` stands for. If all data lie
 * far from the origin, subtract one vector from rows, centroids and queries: estimates of L2 become more exact.
 *
 * Numbers may be of any size; where float's range does not reach, bounds say nothing (everything passes), but nothing
 * is NaN. All memory is the caller's: rows, centroids, codes, blocks and tables at any alignment. No call
 * allocates but vector_rotation_new. Any thread. */

#include "modules/vector/distance.h"

#include <stdbool.h>

enum { VECTOR_ROTATED_MAX = 8192, VECTOR_BLOCK = 32 };

/* ---- Rotation: an orthogonal map made of a seed, in O(padded log padded). The same bits on every machine. ---- */

struct vector_rotation {
    uint32_t dims, padded; /* dims rounded up to a multiple of 64 */
    uint32_t window;       /* the largest power of two in padded */
    float *multiplier;
};

/* dims: 1 to VECTOR_ROTATED_MAX. 0, or -1 when memory is short; then there is nothing to free, but it may be. */
int vector_rotation_new(struct vector_rotation *r, uint32_t dims, uint64_t seed);
void vector_rotation_free(struct vector_rotation *r);
/* out: padded floats; in: dims of them; they may be the same memory. */
void vector_rotate(const struct vector_rotation *r, const float *in, float *out);

/* ---- Codes of 1 bit a dimension ---- */

/* distance = base + add + scale * (sum over dimensions of query by +-1, the code) +- epsilon * distance of query and
 * centroid * error. All finite; scale <= 0, error >= 0. */
struct vector_factors {
    float add, scale, error;
};

static inline uint32_t vector_code_size(uint32_t padded, uint32_t bits)
{
    return padded / 8 * bits;
}

/* Dimension i is bit i % 8 of byte i / 8. row and centroid are rotated; metric: VECTOR_L2 or VECTOR_DOT. */
void vector_encode(enum vector_metric metric, const void *row, const void *centroid, uint32_t padded, uint8_t *code,
                   struct vector_factors *factors);

/* ---- Blocks of 32 rows. First the codes: for each byte of a code, 32 bytes, of which the first 16 are of its low
 * nibble, the others of its high one; in 16 bytes row r < 16 has the low half, row r + 16 the high half of byte
 * 2 * (r % 8) + r / 8. Then 32 each of add, scale and error, as floats. ---- */

static inline size_t vector_block_size(uint32_t padded)
{
    return (size_t)padded / 8 * VECTOR_BLOCK + 3 * VECTOR_BLOCK * sizeof(float);
}

/* Lane: 0 to 31. */
void vector_block_put(void *block, uint32_t padded, uint32_t lane, const uint8_t *code,
                      const struct vector_factors *factors);
void vector_block_get(const void *block, uint32_t padded, uint32_t lane, uint8_t *code, struct vector_factors *factors);

/* The squared distance of a block's row from its centroid, as its factors say: 0 where it is beyond floats. */
float vector_block_square(enum vector_metric metric, const void *block, uint32_t padded, uint32_t lane);

/* ---- Queries ---- */

/* A query for all lists. sum: of its table's bytes by a row's nibbles; query by code is step * (sum - middle). */
struct vector_query {
    const uint8_t *table; /* 16 bytes for each nibble of a code: 4 * padded */
    uint32_t padded;
    float step, middle;
    float slack;   /* how far the table's rounding may take query by code, at epsilon */
    float epsilon; /* how many deviations a bound leaves room for */
};

/* The paper's choice. 0 has no bounds but the estimates. */
#define VECTOR_EPSILON 1.9F

/* query: rotated. table: 4 * padded bytes, kept as long as the query; scans are fastest when it is aligned to 64. */
void vector_query_begin(struct vector_query *q, const float *query, uint32_t padded, float epsilon, uint8_t *table);

/* ---- Scans ---- */

struct vector_scan {
    const struct vector_query *query;
    float base;      /* VECTOR_L2: squared distance of query and centroid; VECTOR_DOT: their negated product */
    float distance;  /* of query and centroid (not squared), for both metrics */
    float threshold; /* rows are sought of which the lower bound is not above it */
    const void *blocks;
    uint32_t count;
    const uint32_t *live; /* a mask for each block; NULL: all rows */
    const void *ahead;    /* blocks scanned next, fetched meanwhile; NULL: none */
    uint32_t ahead_count;
    /* Found: for each block the lanes that are live and pass; and of each block where any does, 32 estimates and lower
     * bounds, always finite, at 32 * block. estimate may be NULL. */
    uint32_t *mask;
    float *estimate, *lower;
};

/* How many rows pass. */
uint32_t vector_scan(const struct vector_scan *s);

/* ---- Codes of 4 or 8 bits a dimension, for distances nearer to the truth; one row's lie together ----
 *
 * distance = base + add + scale * product +- epsilon * distance of query and centroid * error, base as of a scan and
 * the product as below. Of 8 bits, dimension i is byte i; of 4, of each 32 dimensions 16 bytes have one in the low half
 * and the one 16 further in the high half. */

/* Like vector_encode. */
void vector_encode_bits(enum vector_metric metric, uint32_t bits, const void *row, const void *centroid,
                        uint32_t padded, uint8_t *code, struct vector_factors *factors);
/* out[i]: sum of query by the numbers of code[i], less their middle (7.5, 127.5), i < n; always finite. Codes that lie
 * ahead are fetched meanwhile. */
void vector_code_products(uint32_t bits, const float *query, const uint8_t *const *code, uint32_t n, uint32_t padded,
                          float *out);

/* ---- Scalars of 8 bits: a row as it is, neither rotated nor less a centroid; any number of dimensions ---- */

/* Value i is about least + step * code[i]; error: the length of all that is lost, so that the distance (not squared)
 * of another vector is at most that much off, its product that much times its length. */
struct vector_scalars {
    float least, step, error;
};

void vector_scalars_encode(const void *row, uint32_t dims, uint8_t *code, struct vector_scalars *scalars);
/* out[i]: distance of query and the row of code[i], i < n: VECTOR_L2 squared or VECTOR_DOT negated. */
void vector_scalars_distances(enum vector_metric metric, const float *query, const uint8_t *const *code,
                              const struct vector_scalars *scalars, uint32_t n, uint32_t dims, float *out);

/* ---- The variants behind the calls above, chosen as vector_kernels() are ---- */

struct vector_fit;
struct vector_quantiser {
    const char *name;
    /* The Hadamard transform of n values, n a power of two from 64 on; room for n. Not scaled. */
    void (*hadamard)(float *values, float *room, uint32_t n);
    /* The bytes of a query's table, each the sum of +-1 query[i] * inverse, above 127.5. */
    void (*table)(const float *query, uint32_t padded, float inverse, uint8_t *table);
    /* Sums of a table's bytes by the codes of a block's 32 rows. */
    void (*sums)(const void *block, const uint8_t *table, uint32_t padded, uint32_t *sum);
    uint32_t (*scan)(const struct vector_scan *s);
    /* Of blocks 0, stride, 2 * stride..: a mask of the lanes with above < value <= bound; returns how many. */
    uint32_t (*between)(const float *value, uint32_t blocks, uint32_t stride, float above, float bound, uint32_t *mask);
    /* The product of one code of 4 bits, of 8. */
    float (*product4)(const float *query, const uint8_t *code, uint32_t padded);
    float (*product8)(const float *query, const uint8_t *code, uint32_t padded);
    /* A row's code of 1 bit, and what its factors are made of; the same bits in every variant. */
    void (*signs)(const uint8_t *row, const uint8_t *centroid, uint32_t padded, uint8_t *code, struct vector_fit *out);
    /* The sums of (query - value)^2, of query * value. */
    float (*scalars_l2)(const float *query, const uint8_t *code, struct vector_scalars s, uint32_t dims);
    float (*scalars_dot)(const float *query, const uint8_t *code, struct vector_scalars s, uint32_t dims);
};

#if defined(__x86_64__)
extern const struct vector_quantiser vector_quantiser_avx2, vector_quantiser_avx512, vector_quantiser_avx512_bytes;
#endif

void vector_encode_by(const struct vector_quantiser *by, enum vector_metric metric, const void *row,
                      const void *centroid, uint32_t padded, uint8_t *code, struct vector_factors *factors);
void vector_rotate_by(const struct vector_quantiser *by, const struct vector_rotation *r, const float *in, float *out);
/* What a row's error is multiplied with. Beyond what floats hold, nothing is known: every bound becomes the lowest. */
static inline float vector_scan_reach(const struct vector_scan *s)
{
    return s->base - s->base == 0 ? s->query->epsilon * s->distance : __builtin_inff();
}

/* What is fetched while block b is summed: one of those scanned next, or, for want of any, the block itself. */
static inline const uint8_t *vector_scan_ahead(const struct vector_scan *s, uint32_t b, const uint8_t *block,
                                               size_t size)
{
    return s->ahead != NULL && b < s->ahead_count ? (const uint8_t *)s->ahead + b * size : block;
}

const struct vector_quantiser *vector_quantiser(void);
/* All that this processor can run, the portable one first; *count of them. For tests and benchmarks. */
const struct vector_quantiser *const *vector_quantisers(uint32_t *count);

#endif
