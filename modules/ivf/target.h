/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_IVF_TARGET_H
#define MODULES_IVF_TARGET_H

/* How far a search has to go for a share of the true neighbours. It goes on while the next posting's centroid is not
 * farther than
 *
 *   square(distance of the nearest centroid) + reach * square(distance of the k-th row so far)
 *
 * The left term tells the border between two postings' cells, the right one how far neighbours lie: so a query in a
 * sparse place, or with a filter that few rows pass, goes farther. (Estimates from the same quantities by the volume of
 * caps of spheres: Quake, arXiv 2506.03437, section 5; in data of few true dimensions they are far too low.) The reach
 * that a share needs is measured: a group takes some of its rows as queries, finds their true neighbours among its
 * rows, and keeps the quantiles of what would have been needed to come by each; and twice more with few of its rows,
 * as if they passed a filter: for then it takes more. Products instead of distances: the reach is of the query's
 * length. */

#include "modules/ivf/ivf.h"

enum { TARGET_POINTS = 16, TARGET_SPARSE = 64, TARGET_SCARCE = 512 };

struct target {
    float reach[TARGET_POINTS];  /* for each of some shares */
    float sparse[TARGET_POINTS]; /* the same where one row of TARGET_SPARSE passes a filter */
    float probes[TARGET_POINTS]; /* so many postings it takes, the nearest ones, without a filter */
    float scarce[TARGET_POINTS]; /* the reach where one row of TARGET_SCARCE passes */
};

/* For one share: of all rows, and where few of them pass. */
struct target_reach {
    float all, sparse, scarce;
};

/* Has the index changed by half since it was learnt, or have as many vectors come as it has, or was the background
 * asked in vain? Then it is asked; when it has changed by a tenth it is asked to learn at rest. Own first task, in a
 * turn. */
void target_ask(struct leat_task *t, uint32_t from);
/* In the background. asked: LEARN or LEARN_LATER. */
void target_learn(struct leat_task *t, uint32_t from, enum message asked);
void target_keep(struct leat_task *t, struct leat_span body);

/* false: nothing is known yet. */
bool target_get(struct leat_task *t, struct target *out);
/* For a share of the neighbours; of all: INFINITY. */
struct target_reach target_reach(const struct target *target, float recall);
/* Where such a part of the rows passes: 0 to 1. */
float target_reach_of(const struct target_reach *r, float passed);
/* The share that so many postings have without a filter; at least 0.5. */
float target_recall(const struct target *target, uint32_t probes);

#endif
