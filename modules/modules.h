/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_MODULES_H
#define MODULES_MODULES_H

/* modules: the modules that come with Leat. They see the public header only, like yours.
 *
 *   word_count.c     the smallest useful one: a stream, a fold, two queries
 *   bank_transfer.c  money between accounts on different tasks: idempotent, refused where there is too little
 *   lsh.c            vectors in, neighbours out: random-hyperplane hashing; lsh_query.c searches
 *   ivf/             vectors in, neighbours out: an inverted file that keeps itself in order; filters on attributes
 *   neighbours.c     the recall of answers of both
 *   vector/          kernels: dot products, the best rows, probing */

#include "leat/leat.h"

extern const struct leat_module module_word_count;
extern const struct leat_module module_bank_transfer;
extern const struct leat_module module_lsh;
extern const struct leat_module module_ivf;

/* All of them, ended by NULL. */
extern const struct leat_module *const modules_builtin[];
/* By name; NULL: there is none. */
const struct leat_module *modules_find(const char *name);

#endif
