/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_IVF_INDEX_VERSION_H
#define MODULES_IVF_INDEX_VERSION_H

/* The inside of a version of the index, and of one in the making: for index.c and index_rows.c alone. */

#include "modules/ivf/index.h"
#include "modules/ivf/posting.h"
#include "modules/ivf/slab.h"

enum { PAGE_POSTINGS = 64 };

struct page {
    struct index_posting *posting[PAGE_POSTINGS];
    float reach[PAGE_POSTINGS]; /* of each: here so that all of them are looked through at once */
};

struct waste {
    void *memory;
    bool slab; /* of the slab, else of malloc */
};

struct garbage {
    struct waste *item;
    uint32_t count, room;
};

/* A posting that takes no rows any more, but has some. Whoever is near to one of the centroids in its place looks
 * there, too: their rows may not have come yet. */
struct retired {
    uint32_t number;
    uint32_t centroids;
    float *centroid; /* its own, then those */
};

struct index {
    const struct ivf *v;
    uint32_t groups;
    struct vector_coarse *active; /* by squared distance */
    struct vector_coarse *probe;  /* METRIC_DOT: the same by product; else NULL */
    struct retired *retired;
    uint32_t retireds;
    uint64_t known;               /* the sum of marks of the centroids */
    struct page **page;
    uint32_t pages;
    struct slab *slab;            /* postings, codes and vectors; from version to version the same */
    struct finder *finder;        /* the same */
    uint64_t rows;                /* that live */
    struct garbage garbage;       /* what this version has and the next has not */
    bool succeeded;               /* there is a next */
};

/* A version in the making. */
struct making {
    struct index *x;
    struct index *old;  /* NULL: from nothing */
    struct leat_task *t;
    bool *own;          /* pages that are copied already */
    float *rotated;     /* room for so many centroids */
    uint32_t rotated_room;
    struct leat_error *err;
    int rv;
};

/* Sets m->rv; returns it. */
int index_no_memory(struct making *m);
/* The version before is the last that sees this memory: of the slab, or of malloc. */
void index_discard(struct making *m, const void *memory, bool slab);

/* ---- index_rows.c ---- */

/* A posting as its record (and masks) say. old: as the version before has it, in the same edition, to share with; or
 * NULL. NULL: out of memory. What fails behind that is in m->rv. */
struct index_posting *index_rows_new(struct making *m, uint32_t number, const struct posting_record *r,
                                     struct leat_span masks, const struct index_posting *old);
/* The version before had it so. new: what shares with it now; NULL: nothing does. */
void index_rows_discard(struct making *m, struct index_posting *old, const struct index_posting *new);

#endif
