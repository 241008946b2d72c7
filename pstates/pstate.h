/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PSTATES_PSTATE_H
#define PSTATES_PSTATE_H

/* pstates: indexed views. A view is one LMDB environment that holds the PStates of one group's tasks; what is in it
 * follows from the group's journal, so it is committed without sync and restored from a checkpoint after a crash.
 *
 *   schema.c      "map<str, struct{vec: f32[384], norm: f32}>" into a tree of levels
 *   key.c         order-preserving key codec: task, PState or reference, key
 *   view.c the LMDB environment: turns (write transactions), snapshots; LMDB is used here, in checkpoint.c and in
 * holes.c only
 *   checkpoint.c  the pinned checkpoint: what makes LMDB without sync safe (side file, two slots)
 *   access.c      get, put, delete, scan, count over nested collections
 *   rows.c        packed rows: blocks that fill LMDB overflow pages, 64-byte aligned, for SIMD in place
 *   element.c     an entry of a view by its bytes: names, JSON, operations explained (element.h)
 *   check.c       is everything in a view what its schemas say? compare.c: do two views hold the same?
 *   changes.c     what a turn's operations wrote
 *   sweep.c       deleting unlinked subtrees a bit at a time
 *   holes.c       free pages go back to the file system
 *
 * Operations. Every write is also appended to the operations buffer of the turn: what the journal keeps, and what
 * pstate_view_apply repeats after a crash or on a follower. Operations are logical (put, delete, unlink, row
 * append/replace/remove on keys), never page images, and applying them is deterministic.
 *
 * Threads: one thread writes (begin..commit); snapshots belong to the thread that opened them. */

#include "base/base.h"
#include "base/schema.h"

/* ---- Schemas ---- */

enum pstate_shape { PSTATE_LEAF, PSTATE_STRUCT, PSTATE_MAP, PSTATE_SET, PSTATE_LIST, PSTATE_ROWS };

/* One level. MAP: key and below; SET: key; LIST: below; LEAF and STRUCT: fields; ROWS: fields and their places. */
struct pstate_level {
    enum pstate_shape shape;
    struct leat_column key;
    struct pstate_level *below;
    struct row_schema fields;
    /* packed rows */
    uint32_t *place;         /* byte offset of each field in a row, naturally aligned; vectors to 64 where the row is */
    uint32_t row_stride;     /* bytes from row to row: a multiple of the largest alignment in it */
    uint32_t rows_per_block;
    uint32_t block_size;     /* value bytes of a block: whole pages - 16 */
    uint32_t rows_per_piece; /* as many of the tail share an entry */
};

struct pstate_schema {
    const char *name;
    struct pstate_level *top;
};

/* Parse; memory is the arena's. Errors quote the text and the character. Nested levels: map values and list
 * elements may be map, set, list, rows, leaf or struct; a set's element and a map's key are one scalar
 * (bool i64 u32 u64 f64 str bytes); rows and struct fields in rows are of fixed size. */
int pstate_schema_parse(struct arena *a, const char *name, const char *text, schema_lookup *lookup, void *context,
                        struct pstate_schema *out, struct leat_error *err);
const char *pstate_schema_text(struct arena *a, const struct pstate_schema *schema); /* canonical */

/* ---- Views ---- */

enum { PSTATE_READERS = 126 };

struct pstate_view;
struct pstate_reader; /* what reads go through: the open turn, or a snapshot */

struct pstate_config {
    const char *directory;          /* made when absent; holds data.mdb, lock.mdb, checkpoint */
    const struct pstate_schema *schema;
    uint32_t schemas;
    uint64_t map_size;              /* address space only; 0: 1 TiB, less where there are many views */
    uint32_t views;                 /* of the module, this one included; 0: 1 */
    uint32_t readers;               /* snapshots open at a time; 0: PSTATE_READERS */
    enum leat_durability durability; /* process: checkpoints without fdatasync */
    bool volatile_view;             /* no checkpoints at all: memory mode */
    bool step_checkpoints;          /* tests: no thread writes a checkpoint, each poll does a part of it */
    /* written since the last checkpoint, or grown: the next is due; 0: a quarter of what is in use, 64 to 128 MiB */
    uint64_t checkpoint_bytes;
};

/* Open. After a clean close the view is as it was; after anything else it is put back to its last checkpoint.
 * *turn: the turn it stands at (0: empty); *state: the bytes the engine gave with that checkpoint or close, in
 * state_out (appended). The engine then replays the journal behind *turn. LEAT_EFORMAT: other LMDB format. */
int pstate_view_open(const struct pstate_config *config, struct pstate_view **out, uint64_t *turn,
                     struct buffer *state_out, struct leat_error *err);
/* Checkpoint with state and mark the directory clean. */
int pstate_view_close_clean(struct pstate_view *v, struct leat_span state, struct leat_error *err);
/* Free without a checkpoint, as a crash would leave it. */
void pstate_view_close(struct pstate_view *v);

/* A turn. ops (may be NULL: not recorded) collects operations until commit or abort. */
int pstate_view_begin(struct pstate_view *v, struct buffer *ops, struct leat_error *err);
/* Take all puts of the turn to the environment: what may fail there fails now, not in the commit. */
int pstate_view_flush(struct pstate_view *v, struct leat_error *err);
/* Ends the turn, committed or not. LEAT_ENOSPACE: its operations may be applied again later, by pstate_view_apply; the
 * references that it gave out stay given out. */
int pstate_view_commit(struct pstate_view *v, uint64_t turn, struct leat_error *err);
void pstate_view_abort(struct pstate_view *v);
/* Repeat operations inside a turn begun with ops NULL. LEAT_ECORRUPT when they are not ours. */
int pstate_view_apply(struct pstate_view *v, struct leat_span ops, struct leat_error *err);
/* Delete up to max entries of unlinked subtrees, inside a turn (not recorded: every replica sweeps for itself).
 * Says how many it deleted. */
int pstate_view_sweep(struct pstate_view *v, uint32_t max, uint32_t *deleted, struct leat_error *err);

/* Is it time? (Something was committed, and since the last one so many bytes were put, or the file has grown by as
 * much, or 10 s have passed.) */
bool pstate_checkpoint_due(const struct pstate_view *v, int64_t monotonic_ns);
/* Start one of the last commit, on a helper thread; state (copied) is kept with it.
 * At most one at a time: LEAT_EBUSY. */
int pstate_checkpoint_start(struct pstate_view *v, struct leat_span state, struct leat_error *err);
/* 0: none is running (the last one's turn in *turn), LEAT_EAGAIN: running, LEAT_ENOSPACE: poll again later
 * and it is written again, else why it failed (fatal).
 * *previous is the turn of the other slot: journals behind it must stay. */
int pstate_checkpoint_poll(struct pstate_view *v, uint64_t *turn, uint64_t *previous, struct leat_error *err);
int pstate_checkpoint_wait(struct pstate_view *v, struct leat_error *err);

/* Named points where tests make the process or the test cluster crash; the hook is called on the thread that passes
 * them. true: what is under way ends there with LEAT_ECANCELED, and the view can only be closed. */
typedef bool pstate_crash(void *context, const char *point);
void pstate_crash_hook(pstate_crash *hook, void *context);
extern const char *const pstate_crash_points[]; /* ended by NULL */

struct pstate_figures {
    uint64_t file_bytes, used_pages, free_pages, commits, unswept;
};
void pstate_view_figures(const struct pstate_view *v, struct pstate_figures *out);

/* Read what the last commit has into the page cache, and wait for it: at most so many bytes, from the file's beginning.
 * Between turns. For speed only: what cannot be had is read when it is wanted. */
void pstate_view_warm(const struct pstate_view *v, uint64_t most);

/* The reader of the open turn: sees its own writes. Borrowed until commit or abort. */
struct pstate_reader *pstate_view_turn(struct pstate_view *v);
/* A snapshot of the last commit. Pages it sees are kept: close or pause it soon. LEAT_EFULL: no reader slot. */
int pstate_snapshot_open(struct pstate_view *v, struct pstate_reader **out, struct leat_error *err);
void pstate_snapshot_close(struct pstate_reader *r);
/* End its scans; it stays at its snapshot, to be read on by somebody else. */
void pstate_snapshot_rest(struct pstate_reader *r);
/* Give the pages free but keep the slot; and look at the last commit again. */
void pstate_snapshot_pause(struct pstate_reader *r);
int pstate_snapshot_renew(struct pstate_reader *r, struct leat_error *err);
uint64_t pstate_reader_turn(const struct pstate_reader *r);

/* ---- What a turn wrote ---- */

/* An element at the own level of a PState. */
struct pstate_change {
    struct leat_span bytes; /* its key in the view; borrowed from the operations */
    uint32_t number;        /* of the operation */
    bool removed;
};
/* Append a struct pstate_change for each element that operations wrote in PStates of the set `of` (bit by number), in
 * order of task, PState and key. Of nested collections only those that came or went are known, not what is in them. */
int pstate_changes(struct leat_span ops, uint64_t of, struct buffer *out);
/* Its names; key null where the PState has none, else borrowed as bytes. false: it is
 * no element, but a list's header. */
bool pstate_change_read(const struct pstate_schema *schema, const struct pstate_change *change, uint32_t *task,
                        uint32_t *pstate, struct leat_value *key);

/* ---- Checking a view that nobody writes: nothing is changed ---- */

/* One of the two slots of the checkpoint as it is on the disk. */
struct pstate_slot {
    int code;                /* 0: it checks out; LEAT_ENOTFOUND: it is not there; LEAT_ETRIMMED: it is
                                spent; else why says what is wrong */
    uint64_t sequence, turn;
    bool newest;             /* the one that a restart takes */
    bool clean;              /* and the view's file stands at it, as a clean stop leaves it */
    struct leat_error why;
};
/* state: appended that of the newest. */
void pstate_slots(const char *directory, struct pstate_slot out[2], struct buffer *state);
/* Open the file as it stands, only for snapshots; config as for pstate_view_open. */
int pstate_view_open_read(const struct pstate_config *config, struct pstate_view **out, struct leat_error *err);

struct pstate_check {
    uint32_t tasks, group, groups;  /* tasks of other groups do not belong here */
    void (*found)(void *context, const char *where, const char *what);
    void *context;
    uint64_t elements, bytes;       /* out: seen */
    uint64_t findings;
};
/* Walk over all of it: keys, values, counts, references. What does not fit is found, of many only the first.
 * LEAT_ECORRUPT and LEAT_EIO: the walk could not go on. */
int pstate_view_check(struct pstate_reader *r, struct pstate_check *check, struct leat_error *err);

struct pstate_comparison {
    void (*differs)(void *context, const char *where, const char *a, const char *b);
    void *context;
    uint64_t most;                   /* differences that are told */
    uint64_t elements, differences;  /* added to */
};
/* What one task holds of a PState in two views of the same schemas. */
int pstate_compare(struct pstate_reader *a, struct pstate_reader *b, uint32_t task, uint32_t pstate,
                   struct pstate_comparison *out, struct leat_error *err);

/* ---- Access: as the leat_ functions of the same names; task and PState by number ----
 * Values returned are borrowed until the next write of the turn has ended, which may be given them, or until the
 * snapshot is paused or closed.
 * Errors: a wrong number or type of keys or fields is LEAT_ESCHEMA with a sentence. */

int pstate_get(struct pstate_reader *r, uint32_t task, uint32_t pstate, struct leat_row keys, struct leat_value *out,
               uint32_t fields, struct leat_error *err);
int pstate_size(struct pstate_reader *r, uint32_t task, uint32_t pstate, struct leat_row keys, uint64_t *out,
                struct leat_error *err);

struct pstate_scan;
/* An opened scan is closed by pstate_scan_close, or with its reader. */
int pstate_scan_open(struct pstate_reader *r, uint32_t task, uint32_t pstate, struct leat_row keys,
                     const struct leat_range *range, struct pstate_scan **out, struct leat_error *err);
int pstate_scan_next(struct pstate_scan *s, struct leat_value *key, struct leat_value *out, uint32_t fields,
                     struct leat_error *err); /* 0, LEAT_END or an error */
void pstate_scan_close(struct pstate_scan *s);

int pstate_put(struct pstate_view *v, uint32_t task, uint32_t pstate, struct leat_row keys, struct leat_row row,
               struct leat_error *err);
int pstate_delete(struct pstate_view *v, uint32_t task, uint32_t pstate, struct leat_row keys, struct leat_error *err);
int pstate_push(struct pstate_view *v, uint32_t task, uint32_t pstate, struct leat_row keys, struct leat_row row,
                uint64_t *index, struct leat_error *err);

int pstate_rows_append(struct pstate_view *v, uint32_t task, uint32_t pstate, struct leat_row keys,
                       struct leat_row row, uint64_t *number, struct leat_error *err);
int pstate_rows_replace(struct pstate_view *v, uint32_t task, uint32_t pstate, struct leat_row keys, uint64_t number,
                        struct leat_row row, struct leat_error *err);
int pstate_rows_remove_last(struct pstate_view *v, uint32_t task, uint32_t pstate, struct leat_row keys,
                            struct leat_error *err);
int pstate_rows_block(struct pstate_reader *r, uint32_t task, uint32_t pstate, struct leat_row keys, uint64_t number,
                      struct leat_block *out, struct leat_error *err);
int pstate_rows_pointers(struct pstate_reader *r, uint32_t task, uint32_t pstate, struct leat_row keys,
                         const uint32_t *numbers, uint32_t count, const void **out, struct leat_error *err);

#endif
