/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_IVF_FINDER_H
#define MODULES_IVF_FINDER_H

/* Which rows of a large posting have a number? A posting that came to have a million rows before it was split loses
 * them one by one, and most messages seek rows that are gone from there already: a look through all of it for each
 * would take as long as everything else. What row of which edition has which number never changes, so tables are
 * extended when something is sought and kept from version to version of the index. */

#include <stdbool.h>
#include <stdint.h>

struct finder;
struct index_posting;

struct finder *finder_new(void);      /* NULL: out of memory */
void finder_free(struct finder *f);   /* NULL is fine */
/* The posting is gone, or of another edition: so is its table. */
void finder_forget(struct finder *f, uint32_t posting);

struct finding {
    const uint32_t *previous; /* by row: the one before it with the same number, + 1; 0: there is none */
    uint32_t next;            /* the same */
};

/* Begin to find rows of p, which is of the newest version. false: there is no table, as p is small, or was seldom
 * looked through, or for want of memory: look through its numbers. On the thread that runs turns. */
bool finder_begin(struct finder *f, const struct index_posting *p, uint64_t number, struct finding *out);
/* The next row, the newest first; UINT32_MAX: there is none. */
uint32_t finder_next(struct finding *f);

#endif
