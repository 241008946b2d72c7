/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOPOLOGIES_FOLDS_H
#define TOPOLOGIES_FOLDS_H

/* What the folds that come with Leat share.
 *   folds.c        count, sum, min, max, average; arguments
 *   folds_rows.c   last, first, set, list, map, limit: states that hold rows
 *   folds_top_k.c  top_k */

#include "topologies/plan.h"

/* The column named by an argument, or the first one when it is not given; else LEAT_EMODULE. */
int fold_argument_column(const struct leat_fold_use *use, const char *argument, struct leat_error *err);
/* A whole number argument within bounds, least >= 0; else LEAT_EMODULE. */
int64_t fold_argument_number(const struct leat_fold_use *use, const char *argument, int64_t least, int64_t most,
                             struct leat_error *err);
/* The schema text that prepare() gives back: `only`, or when that is NULL the columns of the use. */
int fold_schema(const struct leat_fold_use *use, const char *only, char *schema, size_t size, struct leat_error *err);
struct row_schema fold_row_schema(const struct leat_fold_use *use);
/* A row of the batch, encoded, in the arena of the turn or request. */
struct leat_span fold_keep_row(const struct leat_fold_use *use, const struct leat_batch *in, uint32_t row);
/* Emit an encoded row. */
int fold_emit_row(const struct leat_fold_use *use, struct leat_span row, struct leat_task *t);

#endif
