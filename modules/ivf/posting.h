/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_IVF_POSTING_H
#define MODULES_IVF_POSTING_H

/* A posting as its task writes it in a turn, and the messages that go with it. */

#include "modules/ivf/compact.h"

/* What the PState `postings` says of one. Rows are numbered from 0 in order of arrival, dead ones too: a row keeps its
 * number until the posting is compacted, which begins another edition. Of each 32 rows there are two masks: live, and
 * moving. A live row that moves has a copy on its way; one that moves and does not live is such a copy, which nobody
 * sees until the id's task has confirmed it. */
struct posting_record {
    bool active;       /* new rows come here; else it is to become empty, then it goes */
    int64_t asked;     /* when the background was asked to do something about it; 0: it was not, or has done it */
    uint32_t rows, live;
    uint32_t chunks;   /* full pieces: rows behind them are in the tail */
    uint32_t split_at; /* more live rows than that are too many */
    uint32_t edition;  /* so often it was compacted */
    uint32_t gathered; /* rows that are in chunks, or together behind them; others came since, turn by turn */
};

struct posting_mask {
    uint32_t live, moving;
};

struct posting_edit {
    struct leat_task *t;
    const struct ivf *v;
    uint32_t number;
    bool there, recorded;      /* there: it takes rows: it has a record or at least an active centroid */
    bool changed, looks;       /* looks: whether it has too few rows */
    bool relayed;              /* messages go to store_rows, not from there */
    struct posting_record record;
    struct posting_mask *mask; /* by block */
    uint32_t blocks;           /* room for so many */
    const uint8_t **pending;   /* rows appended and not yet written */
    uint32_t pendings, pending_room;
};

enum { PATIENCE_US = 60 * 1000 * 1000 }; /* the background was asked and does not answer: it failed */

/* It was not asked (0), or does not answer. */
bool overdue(const struct leat_task *t, int64_t asked);
/* The same of what is done at rest, which may be far away: a day. */
bool overdue_at_rest(const struct leat_task *t, int64_t asked);

void posting_edit_begin(struct posting_edit *e, struct leat_task *t, const struct ivf *v, uint32_t number);
/* Write what changed, and ask for what it needs; from: a row of the batch in hand. */
void posting_edit_end(struct posting_edit *e, uint32_t from);
/* row: borrowed until the end of the edit. copy: it is to be confirmed. */
void posting_append(struct posting_edit *e, const void *row, bool copy);
/* A row dies; nothing happens when there is none of this name. */
void posting_remove(struct posting_edit *e, const struct row_name *name);
/* A copy lives. */
void posting_confirm(struct posting_edit *e, const struct row_name *name);
/* Is the row live, and no copy of it on its way? */
bool posting_movable(const struct posting_edit *e, uint32_t row);
/* The posting as the derived state has it; NULL: it has it not, or this turn has compacted it and numbers differ. */
const struct index_posting *posting_known(const struct posting_edit *e);
/* Write it anew without its dead rows, or put together what came turn by turn, if it is so wasteful (compact.h). What
 * moves goes on moving. */
void posting_compact(struct posting_edit *e, enum compact_waste least);
/* This group was told of the posting's centroid: where it lies, it takes rows from now on. */
void posting_announced(struct posting_edit *e);
/* It takes no rows any more; those that it has are to go elsewhere, to new centroids most of all. */
void posting_retire(struct posting_edit *e, uint32_t from, struct leat_span centres);
/* Look after one posting that nothing happens to: so none waits for ever for the background, which may have failed. */
void posting_patrol(struct leat_task *t, const struct ivf *v, uint32_t from);

/* Decode a record; masks are borrowed as the value. false: there is none. */
bool posting_record_get(struct leat_task *t, uint32_t number, struct posting_record *out, struct leat_span *masks);

/* Call each row of the tail in [first, end), which must be where entries begin and end, or within the last one. */
typedef void tail_row(void *context, uint32_t row, const uint8_t *bytes);
void posting_tail(struct leat_task *t, const struct ivf *v, uint32_t number, uint32_t first, uint32_t end,
                  tail_row *each, void *context);

static inline uint64_t piece_key(uint32_t posting, uint32_t number)
{
    return (uint64_t)posting << 32 | number;
}

/* ---- Counters of the task (enum counter) and messages (store.c) ---- */

/* 0: it is not there. */
uint64_t counter_get(struct leat_task *t, uint32_t which);
void counter_set(struct leat_task *t, uint32_t which, uint64_t value);

void message(struct leat_task *t, uint32_t from, uint32_t task, enum message kind, uint32_t posting,
             struct leat_span body);
/* The task of a posting, and of the id with a number. */
uint32_t posting_task(const struct leat_task *t, uint32_t posting);
uint32_t number_task(const struct leat_task *t, const struct ivf *v, uint64_t number);
void message_all(struct leat_task *t, uint32_t from, enum message kind, uint32_t posting, struct leat_span body);
/* CENTROID or FORGET to every group; this one knows at once. */
void announce(struct leat_task *t, uint32_t from, enum message kind, uint32_t posting, struct leat_span body);
/* The body of CENTROID: of one that takes rows, or no more; others: those in its place. Memory of t. */
struct leat_span centroid_body(struct leat_task *t, bool active, struct leat_span centroid, struct leat_span others);

#endif
