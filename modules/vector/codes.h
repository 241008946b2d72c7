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

/* Four chains, in each variant the same. In double nothing overflows or vanishes. */
static inline __attribute__((always_inline)) void vector_signs_of(const uint8_t *row, const uint8_t *centroid,
                                                                  uint32_t padded, uint8_t *code,
                                                                  struct vector_fit *out)
{
    typedef float floats __attribute__((vector_size(16)));
    typedef int32_t flags __attribute__((vector_size(16)));
    typedef double chains __attribute__((vector_size(32)));
    typedef int64_t bits __attribute__((vector_size(32)));
    chains absolute = {0}, squares = {0}, signs = {0}, product = {0};

    __builtin_memset(code, 0, padded / 8);
    for (uint32_t i = 0; i < padded; i += 4) {
        floats at, centre;

        __builtin_memcpy(&at, row + i * sizeof(float), sizeof(at));
        __builtin_memcpy(&centre, centroid + i * sizeof(float), sizeof(centre));
        chains c = __builtin_convertvector(centre, chains), r = __builtin_convertvector(at, chains) - c;
        bits above = r > 0;
        flags one = (at > centre) & (flags){1, 2, 4, 8};
        absolute += (chains)((bits)r & INT64_MAX);
        squares += r * r;
        signs += (chains)((bits)c ^ (~above & INT64_MIN));
        product += c * r;
        code[i / 8] |= (uint8_t)((uint32_t)(one[0] | one[1] | one[2] | one[3]) << i % 8);
    }
    *out = (struct vector_fit){squares[0] + squares[1] + squares[2] + squares[3],
                               absolute[0] + absolute[1] + absolute[2] + absolute[3], padded,
                               signs[0] + signs[1] + signs[2] + signs[3],
                               product[0] + product[1] + product[2] + product[3]};
}

/* Into the second cache: more of its misses can be under way than of the first one's. */
static inline void vector_fetch(const uint8_t *line)
{
    __builtin_prefetch(line, 0, 2);
}

void vector_signs_portable(const uint8_t *row, const uint8_t *centroid, uint32_t padded, uint8_t *code,
                           struct vector_fit *out);
float vector_product4_portable(const float *query, const uint8_t *code, uint32_t padded);
float vector_product8_portable(const float *query, const uint8_t *code, uint32_t padded);
float vector_scalars_l2_portable(const float *query, const uint8_t *code, struct vector_scalars s, uint32_t dims);
float vector_scalars_dot_portable(const float *query, const uint8_t *code, struct vector_scalars s, uint32_t dims);
#if defined(__x86_64__)
void vector_signs_avx2(const uint8_t *row, const uint8_t *centroid, uint32_t padded, uint8_t *code,
                       struct vector_fit *out);
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
