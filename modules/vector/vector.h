/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_VECTOR_VECTOR_H
#define MODULES_VECTOR_VECTOR_H

/* Kernels of vector search on f32, for one query against many rows. Each has a portable reference and variants for
 * AVX2 with FMA and for AVX-512, chosen once at run time by what the processor has (LEAT_SIMD=portable|avx2|avx512
 * lowers the choice, for tests). Pointers may have any alignment. Pure functions; any thread. */

#include "leat/leat.h"

struct vector_greatest;
struct vector_matrix;
struct vector_distances;

struct vector_kernels {
    const char *name;
    /* Sum of a[i] * b[i], i < dims. */
    float (*dot)(const void *a, const void *b, uint32_t dims);
    /* out[i] = dot(query, row[i]). Some rows are computed together, and of more than a dozen those ahead are fetched
     * meanwhile: rows may lie anywhere. What lies in several long streams goes
     * fastest four rows a call, one of each. */
    void (*dot_pointers)(const void *query, const void *const *row, uint32_t n, uint32_t dims, float *out);
    /* out[v * width + r] = dot(vector[v], row r of the matrix), v < n; the same bits everywhere: product.h. */
    void (*product)(const struct vector_matrix *m, const void *const *vector, uint32_t n, float *out);
    /* The greatest of products less biases, by lanes of panels; the same bits everywhere: product.h. */
    void (*fold)(struct vector_greatest *best, const float *product, const float *bias, uint32_t first,
                 uint32_t panels);
    const struct vector_distances *distances; /* distance.h */
};

/* The kernels of this processor. Never NULL. */
const struct vector_kernels *vector_kernels(void);
/* 0, or LEAT_EINVAL when LEAT_SIMD wishes for what is unknown or what this processor has not; the choice ignored it. */
int vector_kernels_check(struct leat_error *err);
/* All that this processor can run, the portable ones first; *count of them. For tests and benchmarks. */
const struct vector_kernels *const *vector_kernels_all(uint32_t *count);

/* Buckets of random-hyperplane hashes to probe, those first where a neighbour is likeliest. flips: the bits in which
 * the bucket differs from the query's own one in that table. */
struct vector_probe {
    uint32_t table, flips;
};

/* margin: tables x bits projections of a query on the bits' planes; norm: of the query. The neighbour is thought 60
 * degrees away, so that it lies beyond a plane with the probability that a Gaussian exceeds margin / (norm tan 60); a
 * bucket is as likely as the product over its table's bits. (Sets of flips in order: Lv et al., "Multi-Probe LSH", VLDB
 * 2007, section 4.4; there each table for itself, in order of squared margins.) Writes at most `most` probes and
 * returns how many; those of a smaller `most` come first among those of a larger one. bits: at most 32. room:
 * vector_probe_room bytes, at any multiple of 8. */
uint32_t vector_probe_likeliest(const float *margin, float norm, uint32_t tables, uint32_t bits, uint32_t most,
                                struct vector_probe *out, void *room);
size_t vector_probe_room(uint32_t tables, uint32_t bits, uint32_t most);
/* All masks of at most `radius` bits, 0 first; returns how many. out may be NULL, to count. */
uint32_t vector_probe_radius(uint32_t bits, uint32_t radius, uint32_t *out);

#endif
