/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_VECTOR_COARSE_H
#define MODULES_VECTOR_COARSE_H

/* The centroids of a partition, and which of them are near a vector. A version is immutable once others can see it: the
 * next one shares with it all blocks of 32 centroids that did not change.
 *
 * Centroids and queries are given rotated, as the quantiser's codes are (quantiser.h): distances are the same, and what
 * was rotated for the lists is not rotated twice. Not rotated they give the same answers by the exact pass, but bounds
 * that do not hold for all data. */

#include "leat/leat.h"
#include "modules/vector/quantiser.h"

struct vector_coarse;

struct vector_near {
    float distance;         /* squared, or the negative product: less is nearer */
    uint32_t number;
    const float *centroid;  /* lives as long as the version */
};

/* No centroids, and nobody but the caller sees it. metric: VECTOR_L2 or VECTOR_DOT. LEAT_ENOMEM. */
int vector_coarse_new(uint32_t dims, enum vector_metric metric, struct vector_coarse **out, struct leat_error *err);
/* A version like `old`, to be changed before others see it. Versions may be dropped in any order. */
int vector_coarse_next(const struct vector_coarse *old, struct vector_coarse **out, struct leat_error *err);
/* What only this version has is freed. NULL does nothing. One thread at a time among versions of one line: adds,
 * removes, next and drop; searches of versions that are not changed any more may run beside. */
void vector_coarse_drop(struct vector_coarse *c);

/* The number must not be there already. LEAT_ENOMEM, with nothing changed. */
int vector_coarse_add(struct vector_coarse *c, uint32_t number, const float *centroid, struct leat_error *err);
/* LEAT_ENOTFOUND, LEAT_ENOMEM. */
int vector_coarse_remove(struct vector_coarse *c, uint32_t number, struct leat_error *err);

uint32_t vector_coarse_count(const struct vector_coarse *c);
/* NULL: there is none. Looks at every number: for changes, not for each row. */
const float *vector_coarse_find(const struct vector_coarse *c, uint32_t number);

/* Bytes that a search for n in this version needs, or for fewer. */
size_t vector_coarse_room(const struct vector_coarse *c, uint32_t n);
/* The n nearest, nearest first, of equal distances the lower number first; returns how many: n or all there are. table:
 * made of the query (vector_query_begin, VECTOR_EPSILON) for other scans, else NULL. room: at any alignment. Among many
 * centroids rows are chosen by bounds from codes before distances are computed: of a hundred
 * of the nearest one may be missing. */
uint32_t vector_coarse_search(const struct vector_coarse *c, const float *query, const struct vector_query *table,
                              uint32_t n, struct vector_near *out, void *room);
/* The same for many: those of query[i] lie at out + i * n. Returns how many each has. */
uint32_t vector_coarse_search_many(const struct vector_coarse *c, const float *const *query, uint32_t queries,
                                   uint32_t n, struct vector_near *out, void *room);

/* A search that goes on as far as its caller wishes; what it did is not done again. query and table are borrowed. */
struct vector_walk;
size_t vector_walk_room(const struct vector_coarse *c);
/* Lives in room. */
struct vector_walk *vector_walk_begin(const struct vector_coarse *c, const float *query,
                                      const struct vector_query *table, void *room);
/* The next nearest, nearest first: about as many as come of n comparisons. 0: there are no more. out: room for all. */
uint32_t vector_walk_on(struct vector_walk *w, uint32_t n, struct vector_near *out);

#endif
