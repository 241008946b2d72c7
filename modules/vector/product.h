/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_VECTOR_PRODUCT_H
#define MODULES_VECTOR_PRODUCT_H

/* A matrix kept for products with blocks of vectors: hyperplanes of a hash, centroids of clusters.
 *
 * Guaranteed: each product is one chain of fused multiply-adds over ascending dimensions, starting from 0. So it has
 * the same bits whether its vector comes alone or in a block, at any alignment, on every instruction set (only the
 * payload of a NaN may differ): buckets that were stored on one machine are found on another. Its error is at most
 * about dims * 2^-24 of the sum of the absolute values. */

#include <stddef.h>
#include <stdint.h>

/* Rows lie in panels of VECTOR_PANEL, dimension by dimension, so that lanes of a register are rows: no sum goes across
 * lanes and no dimension is left over. Rows that fill the last panel are zero. */
enum { VECTOR_PANEL = 32 };

struct vector_matrix {
    uint32_t rows, dims;
    uint32_t width; /* rows rounded up to whole panels: the floats that one vector's products take */
    float *panel;   /* width * dims of them, aligned to 64 */
};

/* Zeros. 0, or -1 when memory is short; then, and when all of *m is zero, there is nothing to free, but it may be. */
int vector_matrix_new(struct vector_matrix *m, uint32_t rows, uint32_t dims);
void vector_matrix_set(struct vector_matrix *m, uint32_t row, const float *values);
void vector_matrix_free(struct vector_matrix *m);

/* The variants behind vector_kernels()->product: out[v * width + r] is the product of vector[v] with row r, v < n.
 * Rows that fill the last panel give zeros, NaN where the vector is not finite. */
void vector_product_portable(const struct vector_matrix *m, const void *const *vector, uint32_t n, float *out);
#if defined(__x86_64__)
void vector_product_avx2(const struct vector_matrix *m, const void *const *vector, uint32_t n, float *out);
void vector_product_avx512(const struct vector_matrix *m, const void *const *vector, uint32_t n, float *out);
#endif

/* By lanes of a panel: the greatest of product less bias so far, and the panel that it came from, the first of equal
 * ones. */
struct vector_greatest {
    float score[VECTOR_PANEL];
    int32_t panel[VECTOR_PANEL];
};

/* The variants behind vector_kernels()->fold: more panels of one vector's products, numbered from `first` on. The same
 * bits in each: only comparisons, and one rounding. */
void vector_fold_portable(struct vector_greatest *best, const float *product, const float *bias, uint32_t first,
                          uint32_t panels);
#if defined(__x86_64__)
void vector_fold_avx2(struct vector_greatest *best, const float *product, const float *bias, uint32_t first,
                      uint32_t panels);
#endif

#endif
