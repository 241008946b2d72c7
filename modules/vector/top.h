/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_VECTOR_TOP_H
#define MODULES_VECTOR_TOP_H

/* The k of least distance among many. Of equal distances the lower number is the nearer one, so that what is kept does
 * not depend on the order in which they come, or on how they were spread and merged. NaN is never kept. */

#include <stdint.h>

struct vector_best {
    float distance;
    uint64_t number; /* of a row, an id: what the caller tells them apart by */
};

struct vector_top {
    struct vector_best *item; /* a heap with the worst on top, until it is sorted */
    uint32_t k, count;
    float threshold; /* what is farther cannot be kept: infinite until there are k. The caller may lower it before */
};

/* room: for k of them, the caller's. */
void vector_top_begin(struct vector_top *t, struct vector_best *room, uint32_t k);
/* What vector_top_push does when the distance is not above the threshold. */
void vector_top_keep(struct vector_top *t, float distance, uint64_t number);
/* Nearest first; after it nothing may be pushed. */
void vector_top_sort(struct vector_top *t);

static inline void vector_top_push(struct vector_top *t, float distance, uint64_t number)
{
    if (distance <= t->threshold)
        vector_top_keep(t, distance, number);
}

#endif
