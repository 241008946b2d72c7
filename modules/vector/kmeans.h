/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_VECTOR_KMEANS_H
#define MODULES_VECTOR_KMEANS_H

/* k-means: centres with a small sum of squared distances of rows to their centres (Lloyd, "Least Squares Quantization
 * in PCM", IEEE Transactions on Information Theory 28 (2), 1982). The same result for the same input and seed.
 *
 * Seeds are drawn as k-means++ does (Arthur and Vassilvitskii, SODA 2007) from a sample of the rows, or, of many
 * centres, evenly from all rows. A centre that no row is nearest to starts again at the row farthest from its own.
 *
 * Equal rows go together. So there can be fewer centres than wished, one only when all rows are equal, and a centre can
 * have more than `most` rows where equal rows leave no choice: who splits something sees that in count and size. */

#include "leat/leat.h"

struct vector_kmeans {
    uint32_t dims;    /* of rows, f32 at any alignment */
    uint32_t centres; /* wished, at least 1 */
    uint32_t rounds;  /* at most; it ends sooner when no row changes its centre */
    uint32_t most;    /* rows that a centre may have, 0 for any number; centres * most >= rows */
    uint32_t batch;   /* rows that a round looks at, drawn anew each time (Sculley, "Web-Scale K-Means Clustering", WWW
                         2010); 0 for all */
    bool spherical;   /* centres have length 1, so that the nearest has the largest product: for cosine and products */
    uint64_t seed;
};

/* The result, in room of the caller. */
struct vector_clusters {
    float *centre;   /* dims * centres wished; what is not used is not defined */
    uint32_t *size;  /* centres wished: rows of each, none of those found has 0 */
    uint32_t *label; /* rows: the centre of each, the nearest one unless `most` forbids */
    uint32_t count;  /* centres found */
    double cost;     /* the sum of squared distances of all rows to their centres */
};

/* 0, LEAT_EINVAL (no rows, no centres, too small a bound) or LEAT_ENOMEM. Rows must be finite. Memory: one piece for
 * the centres twice and some 100 bytes a row. */
int vector_kmeans(const struct vector_kmeans *o, const void *const *row, uint32_t rows, struct vector_clusters *out,
                  struct leat_error *err);
/* The same for thousands of centres: about the root of their number first, those split in proportion to their rows.
 * Then `refine` rounds of all rows against all centres, each of which costs rows * centres distances; a bound costs one
 * more, and several where many centres reach it. With neither the centre of a row is the nearest of those that came of
 * the same first one. */
int vector_kmeans_tree(const struct vector_kmeans *o, uint32_t refine, const void *const *row, uint32_t rows,
                       struct vector_clusters *out, struct leat_error *err);

#endif
