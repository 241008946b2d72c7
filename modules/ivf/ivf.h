/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_IVF_IVF_H
#define MODULES_IVF_IVF_H

/* ivf: an inverted-file index that keeps itself in order while vectors come and go, in the manner of SPANN (Chen et
 * al., NeurIPS 2021) and SPFresh (Xu et al., SOSP 2023), with codes of one bit a dimension (RaBitQ, Gao and Long,
 * SIGMOD 2024).
 *
 *   ivf.c      declaration and options
 *   layout.c   the bytes of rows, of pieces of postings and of messages
 *   index.c    the derived state of a group: centroids, and where the pieces of its postings lie; index_rows.c: these
 *   encode.c   the nearest centroid of vectors, and their codes
 *   store.c    ingest: ids, and what comes to a posting
 *   places.c   where the vector of each id lies
 *   posting.c  a posting as its task writes it; finder.c: its rows by number
 *   upkeep.c   split, merge, reassignment: what runs in the background, and what it moves
 *   compact.c  dead rows go
 *   search.c   queries; nearest.c: the fold that merges what the groups found
 *   scan.c     postings scanned for one query
 *   target.c   how far a search has to go for a share of the true neighbours
 *   exact.c    all rows measured, for one query or many
 *   filter.c   conditions on attributes
 *
 * A vector lies in one posting: that of its nearest centroid, but for moments. Postings lie on the first task of each
 * group, posting p on group p mod G, and all groups know all centroids, so that a search asks each group once. */

#include "leat/leat.h"
#include "modules/ivf/attributes.h"
#include "modules/ivf/index.h"
#include "modules/ivf/layout.h"

enum {
    IDS,       /* by id, at the task that owns it: its number and attributes; of u64 only with attributes */
    NAMES,     /* from number to id, at the same task */
    PLACES,    /* from number to the id's version and posting, at the same task (places.h) */
    COUNTERS,  /* of a task: enum counter */
    CENTROIDS, /* of all postings, once for each group */
    POSTINGS,  /* of this group: struct posting_record */
    CHUNKS,    /* full pieces, by posting << 32 | number */
    TAILS,     /* rows behind the last chunk, by posting << 32 | first row: those of one turn, or a part of them */
    LEARNT     /* 0: live rows when it was learnt, and struct target */
};

enum counter {
    NEXT_VERSION,
    NEXT_NUMBER,
    VECTORS,
    NEXT_POSTING,  /* where those below begin */
    LEARN_ASKED,   /* when the background was asked to learn; 0: it was not, or has answered */
    LEARN_CAME,    /* the vectors that had come when it was learnt */
    COMPACT_ASKED, /* when the background was asked what to compact; 0: it was not, or has answered */
    COMPACT_AGAIN, /* 1: a posting became wasteful since */
    NEXT_POSTINGS, /* and behind it: the next posting that is opened in each group */
    TIDY_ASKED = 1 << 16, /* as COMPACT_ASKED and COMPACT_AGAIN, of what is a little wasteful; behind all groups */
    TIDY_AGAIN,
    LEARN_REST     /* when it was asked to learn at rest; 0: as above */
};

/* What the tasks share, made from the options. */
struct ivf {
    struct layout layout;
    struct vector_rotation rotation;
    float *origin;                    /* zeros: the centroid of posting 0 as long as there are no others */
    struct attributes attributes;
    bool names;                       /* ids are str */
    uint32_t nprobe, top;
    float epsilon;                    /* deviations that the bounds of codes leave room for */
    /* rows: a posting of more is split into ones of about target; of less is dissolved */
    uint32_t split, target, merge;
    uint32_t ordinary; /* rows of a posting, about, where none has gone */
};

/* Kinds of messages between the nodes of the stream: `task: u32, kind: u32, posting: u32, body: bytes`. */
enum message {
    ROW,      /* to the posting: a row to keep (layout: row) */
    MOVED,    /* the same and struct row_origin: PLACED goes out when it has arrived */
    REMOVE,   /* to the posting: struct row_name; not there: it is gone already */
    PLACED,   /* to the id's task: a copy struct row_name has come to this posting */
    CENTROID, /* to each group: struct centroid_head, a centroid as stored; not active: and those in its place */
    FORGET,   /* to each group: a centroid is gone */
    SPLIT,    /* to the background: the posting has too many rows, or too many dead ones */
    DRAIN,    /* it is to become empty */
    LOOK,     /* to the background and back: see once more whether the posting is too small */
    NEAR,     /* new centroids, posting numbers: rows of postings around them may belong there */
    ASK,      /* to the posting: ask the background for what the body says, u32 of these kinds and its body */
    OPEN,     /* from the background: centroids as stored, to take the place of the posting's; none: it stays */
    MOVE,     /* from the background: struct row_move each */
    LEARN,    /* to the background: how far searches have to go */
    LEARNED,  /* from there: struct learnt */
    CONFIRM,  /* to the posting: the copy struct row_name is the row from now on; the one that it came from goes */
    CLEAR,    /* to the posting where the row was before the last: struct row_clear; the one there goes, and .. */
    CLEARED,  /* .. back to the id's task as PLACED: the row lies nowhere else now */
    COMPACT,  /* to the background: which postings waste much? From there: this one is so wasteful, u32 */
    COMPACTED, /* from there, behind those: u32 how wasteful ones were sought, u32 whether there are more */
    TIDY,     /* to the background, at rest: which postings are a little wasteful? */
    LEARN_LATER /* the same as LEARN, at rest */
};

enum {
    NUMBER_BITS = 48, /* of a number that stands for a name: the task is above */
    ID_MOST = 380     /* bytes of an id */
};

struct row_name {
    uint64_t number;
    uint32_t version;
    uint32_t row;  /* REMOVE: it is sought there first; NOWHERE: nobody knows */
    uint32_t from; /* PLACED and CONFIRM: the posting where it was, and `row` is the one there */
    uint32_t zero;
};

/* Where a row that moves was. */
struct row_origin {
    uint32_t posting, row;
};

/* A version is new with each vector of an id, but for its low byte, which counts the moves of its row: so the copies of
 * a row have names of their own, and of two places the later one is known. After 255 it begins anew: no more than two
 * of them are there at a time. Whether a row has moved at all says the posting that it came from. */
enum { VERSION_STEP = 1 << 8 };

/* No posting, or no row: no number is as large. */
#define NOWHERE UINT32_MAX

/* The n-th posting, from 1, that one group opens in another, or in itself; NOWHERE: there are no more numbers. None is
 * given twice: rows, and words that it is gone, may still be on their way to a posting that is long forgotten. */
static inline uint32_t posting_number(uint64_t n, uint32_t opener, uint32_t group, uint32_t groups)
{
    uint64_t number = (n * groups + opener) * groups + group;

    return number < NOWHERE ? (uint32_t)number : NOWHERE;
}

static inline uint32_t version_moved(uint32_t version, int moves)
{
    return (version & ~255U) | ((version + (uint32_t)moves) & 255);
}

static inline bool version_same_vector(uint32_t a, uint32_t b)
{
    return a >> 8 == b >> 8;
}

static inline bool version_later(uint32_t a, uint32_t b)
{
    return (int8_t)(uint8_t)(a - b) > 0;
}

struct row_clear {
    struct row_name copy;
    uint32_t to;      /* the posting where the copy is */
    uint32_t version; /* of the row that goes */
};

struct row_move {
    uint64_t number;
    uint32_t version;
    uint32_t row, edition; /* of the posting */
    uint32_t to;
};

struct centroid_head {
    uint32_t active;
};

#define MESSAGE "task: u32, kind: u32, posting: u32, body: bytes"

/* ---- encode.c ---- */

/* A vector as f32, of length 1 for cosine (norm: its length then): dims floats. */
void encode_floats(const struct ivf *v, const void *vector, float norm, float *out);
/* The same, rotated: rotation.padded floats. */
void encode_rotated(const struct ivf *v, const void *vector, float norm, float *out);
/* The nearest active posting of each of count vectors, and the code there. Memory of t. room: encode_room bytes, some
 * for each centroid: who asks again and again gives the same. */
size_t encode_room(const struct index *x);
void encode_nearest(struct leat_task *t, const struct ivf *v, const struct index *x, const void *const *vector,
                    const float *norm, uint32_t count, struct encoded *out, void *room);
/* The code of a rotated vector with a centroid. Memory of t. */
void encode_code(struct leat_task *t, const struct ivf *v, const float *rotated, const float *centroid,
                 struct encoded *out);

/* ---- Nodes ---- */

int store_vectors(struct leat_task *t, const struct leat_batch *in);
int store_rows(struct leat_task *t, const struct leat_batch *in);
int store_placed(struct leat_task *t, const struct leat_batch *in);
int upkeep_request(struct leat_task *t, const struct leat_batch *in);
int rest_request(struct leat_task *t, const struct leat_batch *in); /* of the same, what is to be done at rest */
int upkeep_run(struct leat_task *t, const struct leat_batch *in);
int rest_run(struct leat_task *t, const struct leat_batch *in);
int upkeep_move(struct leat_task *t, const struct leat_batch *in);

#endif
