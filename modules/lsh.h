/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_LSH_H
#define MODULES_LSH_H

#include "leat/leat.h"
#include "modules/vector/product.h"
#include "modules/vector/vector.h"

/* What the files of the module lsh share. lsh.c: declaration, ingest; lsh_query.c: search and exact. */

enum {
    EMBEDDINGS, /* by id, at the task that owns it: where its vector lies, the buckets it is in, its body */
    VECTORS,    /* the vectors, row by row, for kernels to run on in place; a norm below 0 marks a free row */
    IDS,        /* from row to id */
    FREE,       /* rows to use again */
    BUCKETS,    /* by bucket: members, each (task of its id) << 32 | row */
};

struct lsh {
    uint32_t dims, bits, tables, radius, probes, top;
    struct vector_matrix planes; /* tables * bits of them */
    uint32_t *flips;             /* radius probing: masks */
    uint32_t flip_count;
};

/* The bucket of a vector in a table, from its products with the planes: the table is in the high bits, so that tables
 * spread over tasks. */
uint32_t lsh_bucket(const struct lsh *l, const float *projection, uint32_t table);

int lsh_probe(struct leat_task *t, const struct leat_batch *in);
int lsh_members(struct leat_task *t, const struct leat_batch *in);
int lsh_score(struct leat_task *t, const struct leat_batch *in);
int lsh_scan(struct leat_task *t, const struct leat_batch *in);
int lsh_name(struct leat_task *t, const struct leat_batch *in);
int lsh_count(struct leat_task *t, const struct leat_batch *in);

#endif
