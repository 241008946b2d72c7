/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_IVF_FILTER_H
#define MODULES_IVF_FILTER_H

/* Filters on attributes, evaluated 32 rows at a time. docs/IVF.md has the language:
 *
 *   filter:      {ATTRIBUTE: value, ATTRIBUTE: {comparison, ..}, "and": [filter, ..], "or": [filter, ..], "not": filter}
 *   comparison:  "eq" "neq" "gt" "gte" "lt" "lte": value; "in": [value, ..]; "exists": true or false
 *
 * All of a map's entries must hold, so {} is every row. On a row that lacks the attribute every comparison is false, neq
 * too, but for "exists": false; "not" turns that round like any other answer.
 *
 * Strings are compared by a hash of 64 bits: of rows with other strings one in 2^64 is taken for equal. filter_verify()
 * compares the strings themselves. */

#include "modules/ivf/attributes.h"

enum {
    FILTER_DEPTH = 32,      /* of filters in filters */
    FILTER_STEPS = 1024,    /* comparisons and groups */
    FILTER_VALUES = 65536   /* in all lists of "in" */
};

struct filter;

/* Memory that lives as long as the filter; never NULL; aligned to 8. */
typedef void *filter_alloc(void *context, size_t size);

/* Compile one MessagePack value, which is borrowed as long as *out. No bytes, or null: *out is NULL, every row.
 * LEAT_EINVAL and LEAT_ELIMIT say where in the filter: "filter.or[1].price.gte: ..". */
int filter_parse(const struct attributes *a, struct leat_span msgpack, filter_alloc *alloc, void *context,
                 const struct filter **out, struct leat_error *err);

/* The blocks [first, first + count) of a table (attributes.h) of `blocks` blocks: mask[i] has the bits of the rows of block
 * first + i that pass. Rows that are not there pass or not: the caller knows which live. */
void filter_blocks(const struct filter *f, const void *table, uint32_t blocks, uint32_t first, uint32_t count,
                   uint32_t *mask);

/* Does a map of attributes pass? Exact. Attributes that do not fit their declaration do not pass. */
bool filter_verify(const struct filter *f, struct leat_span map);

/* Kernels of this processor's instruction sets, as in modules/vector: what is in [low, high] of blocks of 32 numbers each,
 * and what is in a table of `mask + 1` places (a power of two) by open addressing, places[i].used == 0 where there is none. */
struct filter_kernels {
    const char *name;
    void (*interval)(const void *column, uint32_t blocks, int64_t low, int64_t high, uint32_t *out);
};
/* The chosen one, after vector_kernels(); all that this processor can run, the portable one first, for tests. */
const struct filter_kernels *filter_kernels(void);
const struct filter_kernels *const *filter_kernels_all(uint32_t *count);

#endif
