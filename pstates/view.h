/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PSTATES_VIEW_H
#define PSTATES_VIEW_H

/* The inside of a view: what access.c, rows.c and sweep.c may ask of LMDB. Only view.c, checkpoint.c, holes.c, check.c
 * and pending.c, which looks at the last commit, call LMDB for environments and transactions; the raw_ functions here
 * are the only way to its keys. */

#include "pstates/key.h"

#include <lmdb.h>
#include <pthread.h>

/* A walk over the blocks of packed rows: the next block is one step of a cursor away, not a search. */
struct rows_walk {
    MDB_cursor *cursor;
    struct key header;   /* of the rows that are walked; size 0: none */
    struct key prefix;
    uint64_t reference, count;
    uint64_t next;       /* row at which the next block begins */
};

struct pstate_reader {
    struct pstate_view *view;
    MDB_txn *txn;
    uint64_t turn;
    bool writes;               /* the open turn's */
    bool paused;
    struct pstate_scan *open;  /* scans in use */
    struct pstate_scan *spare; /* scans to use again */
    struct rows_walk walk;
};

/* Puts of the open turn that LMDB does not have yet. */
struct pending {
    struct pending_put *put, *other; /* other: to sort into. NULL before the first put */
    uint32_t puts;
    uint32_t *place; /* by hash of the key: where the last put of it is in the bytes, + 1; 0: none */
    struct buffer bytes;
    struct buffer flushed; /* the bytes of those that went to LMDB last, for what was read from them */
    struct buffer kept;  /* copies of what was read from LMDB since the last put */
    struct buffer aside; /* what they push aside while they go to LMDB */
    MDB_txn *commit;     /* reads the last commit; reset but during a flush. NULL before the first that needed it */
};

struct checkpointer;

struct pstate_view {
    struct pstate_config config;
    char *directory;
    MDB_env *env;
    MDB_dbi dbi;
    struct pstate_reader writer; /* txn is NULL between turns */
    struct buffer *ops;          /* of the open turn; NULL: not recorded */
    struct buffer scratch;       /* one encoded value or row; the writer's */
    struct pending pending;
    uint64_t turn;
    uint64_t next_reference;     /* the next to give out; below the bound kept in the environment */
    uint64_t reference_bound;
    uint64_t begun_reference, begun_bound, begun_unswept; /* as the open turn found them, for its abort */
    uint64_t written;            /* bytes put since the last checkpoint, roughly */
    _Atomic uint64_t commits;    /* read by statistics too */
    _Atomic uint64_t unswept;    /* collections, at least; 0: none. Exact but after an opening */
    _Atomic uint32_t snapshots;  /* open */
    struct checkpointer *checkpointer;
};

/* Kinds of operations in a turn's bytes. FORMATS.md has their layout. */
enum view_op { OP_PUT = 1, OP_DELETE, OP_UNLINK, OP_ROW_APPEND, OP_ROW_REPLACE, OP_ROW_REMOVE };

int view_error(struct leat_error *err, int rc, const char *doing, const struct pstate_view *v);

/* 0, LEAT_ENOTFOUND or an error. Of the open turn, the value stays as it is until the next write has ended; of a
 * snapshot, until that is paused or closed. */
int raw_get(const struct pstate_reader *r, const void *key, size_t size, struct leat_span *out, struct leat_error *err);
int raw_put(struct pstate_view *v, const void *key, size_t size, struct leat_span value, struct leat_error *err);
int raw_delete(struct pstate_view *v, const void *key, size_t size, struct leat_error *err); /* absent: 0 */

/* ---- pending.c: what raw_put put off. Whoever reads the open turn by a cursor flushes first. ---- */

void pending_init(struct pending *p);
void pending_fini(struct pending *p); /* before the environment is closed */
void pending_forget(struct pending *p);
/* Key and value lie elsewhere. false: no room, so flush. */
bool pending_add(struct pending *p, struct leat_span key, struct leat_span value);
/* false: the key is not among what waits. The value stays as it is until its key is put again, or until the second
 * flush from here. */
bool pending_find(const struct pending *p, struct leat_span key, struct leat_span *value);
/* Make a value that LMDB has stay as it is although puts that wait go there: *value is a copy if need be. false: it
 * is too large to be copied, or there is no room, so flush and read it again. */
bool pending_keep(struct pending *p, struct leat_span *value);
int pending_flush(struct pstate_view *v, struct leat_error *err);

/* A reference id that was never given out. Inside a turn. */
int view_reference(struct pstate_view *v, uint64_t *out, struct leat_error *err);
void op_record(struct pstate_view *v, enum view_op op, struct leat_span key, struct leat_span value);
/* The same with a value that lies in two places. */
void op_record_parts(struct pstate_view *v, enum view_op op, struct leat_span key, struct leat_span head,
                     struct leat_span rest);

/* ---- access.c ---- */

/* Where keys lead to. */
struct place {
    const struct pstate_level *level; /* what is there */
    struct key key;                   /* its element, or header */
    uint64_t reference;               /* of a nested collection; 0: the PState's own level */
    uint64_t count;                   /* header of a list or rows */
    struct leat_span value;           /* of a leaf */
    bool found;
    bool in_list;                     /* it is an element of a list */
    uint32_t depth;
};

/* Follow keys. make: collections on the way that are missing are made (inside a turn). */
int place_find(struct pstate_reader *r, uint32_t task, uint32_t pstate, struct leat_row keys, bool make,
               struct place *out, struct leat_error *err);
/* The prefix of a collection's elements. */
void place_prefix(const struct place *p, struct key *out);
void header_prefix(struct leat_span header_key, uint64_t reference, struct key *out);
bool level_is_collection(const struct pstate_level *level);
void scans_close(struct pstate_reader *r, bool free_all);
/* Forget the walk; its cursor too when the transaction ends for good. */
void walk_end(struct pstate_reader *r, bool free_cursor);

/* ---- rows.c and sweep.c, for pstate_view_apply ---- */

int rows_apply(struct pstate_view *v, enum view_op op, struct leat_span key, struct leat_span value,
               struct leat_error *err);
/* Of packed rows of so many, the entry that holds a row: key behind the prefix, rows
 * from `first` on, bytes of the value. */
struct rows_place {
    struct key key;
    uint64_t first;
    uint32_t rows;
    size_t size;
};
void rows_place_of(const struct pstate_level *level, uint64_t count, uint64_t row, struct rows_place *out);
int unlink_apply(struct pstate_view *v, struct leat_span key, struct leat_span value, struct leat_error *err);
/* Remove an element that is a collection: its subtree goes on the queue of the unlinked. */
int unlink_place(struct pstate_view *v, uint32_t pstate, const struct place *p, struct leat_error *err);

/* ---- checkpoint.c ---- */

/* 0, or LEAT_ECANCELED: crash here. */
int crash_point(const char *point);
/* Put the saved meta pages back; *turn 0 when there was no checkpoint and the view begins empty. durable: the
 * checkpoint outlasts a loss of power from then on. */
int checkpoint_restore(const char *directory, bool durable, uint64_t *turn, struct buffer *state, uint64_t *sequence,
                       struct leat_error *err);
int checkpointer_open(struct pstate_view *v, uint64_t sequence, uint64_t turn, struct leat_error *err);
void checkpointer_close(struct pstate_view *v);
int checkpoint_now(struct pstate_view *v, struct leat_span state, struct leat_error *err);

/* ---- holes.c: free pages that nobody reads take no space any more. Between turns. Where the file system has no holes,
 * nothing happens. From page *from on, `most` runs of pages; the next call goes on there. ---- */

void holes_make(const struct pstate_view *v, size_t *from, uint32_t most);

/* Numbers of free pages, in order; free(page). unseen: only those that no reader sees, however old. 0 or an error of
 * LMDB. */
struct view_pages {
    size_t *page, count, room;
};
int free_pages(const struct pstate_view *v, bool unseen, struct view_pages *out);

#endif
