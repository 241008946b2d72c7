/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_VECTOR_CODES_H
#define MODULES_VECTOR_CODES_H

/* What the files of the quantiser share. */

#include "modules/vector/quantiser.h"

/* Sums over the dimensions of a residual r, of the vector x that its code stands for, and of the centroid c. */
struct vector_fit {
    double squares;     /* r * r */
    double product;     /* r * x */
    double code;        /* x * x */
    double of_centroid; /* c * x */
    double by_centroid; /* c * r */
};

/* The residual's product with a vector is about squares / product times that of x (arXiv 2405.12497, section 3.2); a
 * residual of length 0 has no error. */
struct vector_factors vector_factors_of(enum vector_metric metric, uint32_t padded, const struct vector_fit *f);

/* Into the second cache: more of its misses can be under way than of the first one's. */
static inline void vector_fetch(const uint8_t *line)
{
    __builtin_prefetch(line, 0, 2);
}

float vector_product4_portable(const float *query, const uint8_t *code, uint32_t padded);
float vector_product8_portable(const float *query, const uint8_t *code, uint32_t padded);
float vector_scalars_l2_portable(const float *query, const uint8_t *code, struct vector_scalars s, uint32_t dims);
float vector_scalars_dot_portable(const float *query, const uint8_t *code, struct vector_scalars s, uint32_t dims);
#if defined(__x86_64__)
float vector_product4_avx2(const float *query, const uint8_t *code, uint32_t padded);
float vector_product8_avx2(const float *query, const uint8_t *code, uint32_t padded);
float vector_scalars_l2_avx2(const float *query, const uint8_t *code, struct vector_scalars s, uint32_t dims);
float vector_scalars_dot_avx2(const float *query, const uint8_t *code, struct vector_scalars s, uint32_t dims);
float vector_product4_avx512(const float *query, const uint8_t *code, uint32_t padded);
float vector_product8_avx512(const float *query, const uint8_t *code, uint32_t padded);
float vector_scalars_l2_avx512(const float *query, const uint8_t *code, struct vector_scalars s, uint32_t dims);
float vector_scalars_dot_avx512(const float *query, const uint8_t *code, struct vector_scalars s, uint32_t dims);
#endif

#endif
