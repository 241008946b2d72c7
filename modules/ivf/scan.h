/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_IVF_SCAN_H
#define MODULES_IVF_SCAN_H

/* The scan of postings for one query: plain functions over a version of the index. Codes are summed 32 rows at a time;
 * rows whose lower bound is not above the k-th distance so far are measured exactly, where they lie. */

#include "modules/ivf/filter.h"
#include "modules/ivf/index.h"
#include "modules/ivf/target.h"
#include "modules/vector/top.h"

/* A posting to scan. */
struct probe {
    uint32_t posting;
    float base;     /* of the query and its centroid: squared distance, or the negated product */
    float distance; /* and their distance */
    float least;    /* base of the centroid that it is searched for: its own, or of one drained one in its place */
};

struct hit {
    uint64_t number;
    float distance; /* as users know it: squared for l2, 1 - cosine, the negated product, bits */
    uint32_t query; /* of a request of many */
};

/* From here on are the numbers of rows that another group found. */
#define SCAN_ELSEWHERE ((uint64_t)UINT32_MAX << 32)

struct scan_counts {
    uint64_t postings, rows, ranked;
    uint64_t passed; /* with a filter: live rows that pass */
};

struct scan {
    const struct layout *layout;
    const struct index *index;
    struct vector_query query;    /* its table */
    const void *vector;           /* as in the request */
    float norm;                   /* cosine: its length */
    const struct filter *filter;  /* NULL: none */
    struct target_reach reach;    /* where to stop; INFINITY: nowhere */
    float sure;                   /* what is not farther is scanned, whatever the reach */
    float nearest;                /* least of the first probe */
    struct vector_top top;        /* numbers: place << 32 | row; place: of the probe. Or SCAN_ELSEWHERE + place in: */
    const uint64_t *elsewhere;
    struct scan_counts counts;
    const struct index_posting **posting; /* by place */
    uint32_t places;
    bool copies;                  /* rows of some are on their way: they may be seen twice */
    struct scan_room *room;
};

/* Bytes of work room for so many postings in all, aligned to 64. */
size_t scan_room_size(uint32_t postings);
/* top: room for k of them. layout, index, vector, norm, filter and query are the caller's to fill; reach: INFINITY. */
void scan_begin(struct scan *s, struct vector_best *top, uint32_t k, void *room);
/* Scan postings in this order, nearest first; those that are not there are passed over. May be called again with
 * farther ones. true: the reach ends before these do. */
bool scan_postings(struct scan *s, const struct probe *probe, uint32_t count);
/* What several scans of one filter find among all rows of these postings, once (exact.c). posting: kept. */
void scan_exact(struct scan *s, uint32_t scans, const struct index_posting **posting, uint32_t count);
/* Of a posting's blocks of 32 rows those rows that live and pass the filter. */
void scan_live(const struct scan *s, const struct index_posting *p, uint32_t block, uint32_t blocks, uint32_t *live);
/* The distance as users know it, of the product with a vector of some length. */
static inline float scan_cosine(const struct scan *s, float product, float norm)
{
    float d = 1.0F - product / (s->norm * norm);

    return d < 0 ? 0 : d;
}

/* A row of the posting at a place; distance: as users know it. */
void scan_offer(struct scan *s, uint64_t place, uint32_t row, float distance);
/* A row found; *vector (may be NULL) is where it lies. */
struct hit scan_hit(const struct scan *s, const struct vector_best *found, const void **vector);

#endif
