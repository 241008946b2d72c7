/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_IVF_SEARCH_H
#define MODULES_IVF_SEARCH_H

#include "modules/ivf/filter.h"
#include "modules/ivf/ivf.h"

/* What a search takes, and its first columns' places. */
#define HOW                                                                                                            \
    "k: u32?, nprobe: u32?, filter: any?, attributes: bool?, vectors: bool?, stats: bool?, recall: f32?, stop: f32?"
#define REQUEST "vec: $type[$dims], " HOW
#define REQUEST_MANY "vecs: bytes, " HOW
enum request { REQUEST_VEC, REQUEST_K, REQUEST_NPROBE, REQUEST_FILTER, REQUEST_ATTRIBUTES, REQUEST_VECTORS,
               REQUEST_STATS, REQUEST_RECALL, REQUEST_STOP };

/* About the most bytes of hits, vectors and names in a row on its way: what is more goes in several. */
enum { PIECE = 1 << 20 };

/* From the origin to each group: which query of the request, struct probe each, the query's table; with one of them
 * what finding all took; which centroids were known (index_known). */
#define PROBES "task: u32, number: u32, probes: bytes, query: bytes, took_ns: u64, known: u64"
/* From a group to the origin: struct hit each, their vectors, struct search_stats. */
#define HITS "k: u32, hits: bytes, vectors: bytes, stats: bytes"
/* From the origin to where ids are known, one row a task: struct hit each, their vectors. Without names: one row. */
#define FOUND "task: u32, hits: bytes, vectors: bytes, stats: any?"
/* And back: names (names.c) of each, when they are wanted. */
#define NAMED "hits: bytes, vectors: bytes, names: bytes, stats: any?"
#define NEIGHBOUR_MANY "query: u32, " NEIGHBOUR
#define NEIGHBOUR "id: $ids, distance: f32, attributes: any?, vec: $type[$dims]?, stats: any?"

int search_probe(struct leat_task *t, const struct leat_batch *in);
int search_scan(struct leat_task *t, const struct leat_batch *in);
int search_exact(struct leat_task *t, const struct leat_batch *in);
int search_name(struct leat_task *t, const struct leat_batch *in);
int search_count(struct leat_task *t, const struct leat_batch *in);
/* What the request says, and its first query. An error in it sticks to t. */
struct search {
    const uint8_t *vector;
    float norm;
    uint32_t number, queries; /* which query, of how many */
    uint32_t k;
    double probes;        /* of ordinary postings: `nprobe` is one of the whole numbers around it, `most` the larger */
    uint32_t nprobe, most;
    float recall; /* 0: nprobe says how far to go */
    float stop;   /* INFINITY: everywhere */
    bool attributes, vectors, stats;
    bool filtered; /* there is a filter that not every row passes */
};
/* A request in one node, for all tasks that run there. */
struct asked {
    bool known;
    struct search search;
    const struct filter *filter; /* NULL: none */
    struct asked_query *query;   /* of search_scan, each; else NULL */
    struct walker *walker;       /* and how they go on */
};
/* Read once. An error sticks to t. */
struct asked *search_asked(struct leat_task *t, const struct ivf *v);
/* Does the answer need more than numbers and distances? */
bool search_wants_names(const struct ivf *v, const struct asked *a);
struct search_stats {
    uint64_t postings, rows, ranked, probe_ns, scan_ns;
};
/* Keeps the k nearest hits, each id once. */
extern const struct leat_fold search_nearest;
/* Puts the answer together, nearest first. */
extern const struct leat_fold search_answer;

#endif
