/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_VECTOR_DISTANCE_H
#define MODULES_VECTOR_DISTANCE_H

/* Distances between vectors of one type. Both sides of a kernel have the type that it is for, any alignment, and 1 to
 * VECTOR_DIMS_MAX dimensions (of bits a multiple of 8). Pure functions; any thread.
 *
 * VECTOR_L2 is the sum of squared differences, VECTOR_DOT the sum of products (more is nearer), VECTOR_HAMMING the bits
 * that differ. Of bits, that are numbers 0 and 1, L2 is the same as Hamming. Cosine is DOT(a, b) by the root of
 * DOT(a, a) * DOT(b, b).
 *
 * i8, u8 and bits: the exact integer, rounded once to a float (so exact below 2^24). f32 and f16: sums of f32 in an
 * order of the variant's own, never less exact than one after another; a difference or product that is NaN, or infinite
 * ones of both signs, give NaN, infinite ones of one sign give it. */

#include "leat/leat.h"

enum vector_metric { VECTOR_L2, VECTOR_DOT, VECTOR_HAMMING, VECTOR_METRICS };
enum { VECTOR_TYPES = LEAT_BITS + 1, VECTOR_DIMS_MAX = 65536 };

struct vector_distance {
    float (*one)(const void *a, const void *b, uint32_t dims);
    /* out[i] = one(query, row[i]), the same bits, i < n. Rows may lie anywhere: those ahead are fetched meanwhile. */
    void (*pointers)(const void *query, const void *const *row, uint32_t n, uint32_t dims, float *out);
    /* out[i] = one(query, row + i * stride), the same bits, i < n. For rows in one piece; the more a call the better.
     */
    void (*strided)(const void *query, const void *row, size_t stride, uint32_t n, uint32_t dims, float *out);
    /* out[q * width + r] = the distance of query[q] and row[r], q < queries, r < rows; floats are summed in an order of
     * their own, the same for each pair in whatever company it comes. Costs a pair several times less than the others.
     */
    void (*block)(const void *const *query, uint32_t queries, const void *const *row, uint32_t rows, uint32_t dims,
                  float *out, size_t width);
};

/* What a variant has, by metric and enum leat_type; all NULL where a metric has no meaning for a type. */
struct vector_distances {
    struct vector_distance of[VECTOR_METRICS][VECTOR_TYPES];
    /* The same numbers as f32; bits, the lowest of a byte first, as 0 and 1. */
    void (*floats[VECTOR_TYPES])(const void *row, uint32_t dims, float *out);
};

/* Of this processor's kernels; NULL where the metric has no meaning for the type: Hamming but of bits, types that are
 * not these five. */
const struct vector_distance *vector_distance(enum vector_metric metric, enum leat_type type);
/* out[i] = row's numbers as f32, i < dims. */
void vector_floats(enum leat_type type, const void *row, uint32_t dims, float *out);
/* The other way round to f16, each to the nearest, of two the even one; to the largest if it is beyond that. */
void vector_halves(const float *numbers, uint32_t dims, uint16_t *out);
/* out[i] = DOT of row + i * stride with itself, the squared norm, i < n. */
void vector_squares(enum leat_type type, const void *row, size_t stride, uint32_t n, uint32_t dims, float *out);

/* The variants, for the choice in kernels.c. */
extern const struct vector_distances vector_distances_portable, vector_distances_avx2, vector_distances_avx512;

#endif
