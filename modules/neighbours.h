/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_NEIGHBOURS_H
#define MODULES_NEIGHBOURS_H

#include "leat/leat.h"

/* Recall of neighbours, for leat_topology.recall. First columns: an id (str or u64), and a distance (f32) that grows
 * from row to row. Found is what is in the truth, or as near as its last row: of several at that distance any will do.
 * NAN: the truth is empty. */
double neighbours_recall(const struct leat_batch *answer, const struct leat_batch *truth);

#endif
