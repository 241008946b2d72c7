/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_VECTOR_COARSE_SET_H
#define MODULES_VECTOR_COARSE_SET_H

/* What coarse.c changes and coarse_search.c reads. */

#include "modules/vector/coarse.h"

/* Rows lie in blocks of 32, their codes in groups of so many blocks that one scan has enough to do. A row is coded less
 * the middle of all rows; the middle is found anew when as many changed as there were. */
enum { COARSE_BLOCK = VECTOR_BLOCK, COARSE_GROUP = 16, COARSE_CODED_FROM = 128 };

/* With versions > 1 neither changes. */
struct coarse_block {
    uint32_t versions;
    uint32_t number[COARSE_BLOCK];
    float row[] __attribute__((aligned(64)));
};

struct coarse_group {
    uint32_t versions;
    uint8_t codes[] __attribute__((aligned(64)));
};

struct vector_coarse {
    uint32_t dims, count; /* centroids */
    uint32_t blocks, room;
    enum vector_metric metric;
    bool coded;           /* dims are such that there are codes */
    uint32_t due;         /* changes until the middle is found anew */
    float *middle;
    struct coarse_block **block;
    struct coarse_group **group; /* lanes past the count have no meaning */
};

static inline float *coarse_row(const struct vector_coarse *c, uint32_t place)
{
    return c->block[place / COARSE_BLOCK]->row + (size_t)(place % COARSE_BLOCK) * c->dims;
}

#endif
