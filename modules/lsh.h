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
    BUCKETS,    /* members of all buckets: lsh_member. Those of a bucket lie side by side, one search away */
};

/* A bucket's number has at most 20 bits of hash and 6 of table; there are at most 4,096 tasks. */
enum { LSH_ROW_BITS = 26, LSH_TASK_BITS = 12 };

static inline uint64_t lsh_member(uint32_t bucket, uint32_t task, uint32_t row)
{
    return (uint64_t)bucket << (LSH_TASK_BITS + LSH_ROW_BITS) | (uint64_t)task << LSH_ROW_BITS | row;
}

static inline uint32_t lsh_member_task(uint64_t member)
{
    return (uint32_t)(member >> LSH_ROW_BITS) & ((1U << LSH_TASK_BITS) - 1);
}

static inline uint32_t lsh_member_row(uint64_t member)
{
    return (uint32_t)member & ((1U << LSH_ROW_BITS) - 1);
}

struct lsh {
    uint32_t dims, bits, tables, top;
    uint32_t radius; /* every bucket within so many bits of the query's own is probed, in every table, */
    uint32_t probes; /* or, above 0: so many buckets a table on average, the likeliest of all tables */
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
