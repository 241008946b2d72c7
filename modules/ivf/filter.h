/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_IVF_FILTER_H
#define MODULES_IVF_FILTER_H

/* Filters on attributes, evaluated on blocks of 32 rows. docs/IVF.md has the language:
 *
 *   filter:      {ATTRIBUTE: value, ATTRIBUTE: {comparison, ..}, "and": [filter, ..], "or": [filter, ..],
 *                 "not": filter}
 *   comparison:  "eq" "neq" "gt" "gte" "lt" "lte": value; "in": [value, ..]; "exists": true or false
 *
 * All entries of a map must hold, so {} is every row. On a row that lacks the attribute each comparison is false, neq
 * too, but for "exists": false; "not" turns this answer round like any other.
 *
 * Strings are compared by a hash of 64 bits, so that of other strings one in 2^64 is taken for the same; filter_verify
 * compares the strings themselves. All other comparisons are exact. */

#include "modules/ivf/attributes.h"

enum {
    FILTER_STEPS = 2048,   /* comparisons, and what joins them; a range of texts counts as seven */
    FILTER_VALUES = 65536, /* in all lists of "in" */
    FILTER_BATCH = 64      /* blocks that a kernel gets at most */
};

struct filter;

/* Memory that lives as long as the filter, at an alignment of 8 or more; never NULL. */
typedef void *filter_alloc(void *context, size_t size);

/* Compile one MessagePack value. It and the attributes are borrowed as long as *out. No bytes, or null: *out is NULL,
 * every row passes. LEAT_EINVAL and LEAT_ELIMIT say where: "filter.or[1].price.gte: ..". */
int filter_parse(const struct attributes *a, struct leat_span msgpack, filter_alloc *alloc, void *context,
                 const struct filter **out, struct leat_error *err);

/* Of a table (attributes.h) of `blocks` blocks those from `first` on, `count` of them: mask[i] has the bits of the rows
 * of block first + i that pass. Places without a row pass or do not: the caller knows which rows live. */
void filter_blocks(const struct filter *f, const void *table, uint32_t blocks, uint32_t first, uint32_t count,
                   uint32_t *mask);

/* Begin to bring what filter_blocks reads of a table near. */
void filter_fetch(const struct filter *f, const void *table, uint32_t blocks);
/* Does it compare strings? If not, what filter_blocks says is exact. */
bool filter_strings(const struct filter *f);
/* Does every row pass, whatever it has? */
bool filter_everything(const struct filter *f);
/* Does a map of attributes pass? Exact. What does not fit the declaration does not pass. */
bool filter_verify(const struct filter *f, struct leat_span map);

/* ---- Kernels: by instruction set, chosen with those of modules/vector ---- */

/* The values of a long "in", by open addressing: a slot that is free holds `empty`, which is itself one of the values,
 * so that a search that ends at it ends right. */
struct filter_set {
    int64_t *slot;
    uint32_t mask, shift; /* slots - 1; 64 - log2(slots) */
    uint64_t factor;
    int64_t empty;
};

/* Columns of blocks * 32 numbers at any alignment; out: a word for each block, blocks <= FILTER_BATCH. */
struct filter_kernels {
    const char *name;
    /* low <= number <= high */
    void (*interval)(const void *column, uint32_t blocks, int64_t low, int64_t high, uint32_t *out);
    /* The number is in the set. */
    void (*member)(const void *column, uint32_t blocks, const struct filter_set *set, uint32_t *out);
};

/* Those with the name of some vector kernels that this processor can run. */
const struct filter_kernels *filter_kernels(const char *name);

/* filter_blocks with these, for tests and benchmarks. */
void filter_blocks_with(const struct filter_kernels *k, const struct filter *f, const void *table, uint32_t blocks,
                        uint32_t first, uint32_t count, uint32_t *mask);

#endif
