/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_JOURNAL_H
#define ENGINE_JOURNAL_H

/* A batch: what one turn of a group did, as its journal keeps it. Appending it durably is the commit of the turn.
 *
 * It is complete: the group's state after it follows from the state before and the batch alone (replay), and other
 * groups take their outputs from it. Lists are arrays in the turn's arena; bytes are borrowed from there, or, in a
 * decoded batch, from the record. */

#include "base/arena.h"
#include "base/span.h"
#include "engine/progress.h"

enum { JOURNAL_VERSION = 1 };

/* How far a group has consumed the outputs of a peer. */
struct hop_cursor {
    uint64_t turn;          /* the last output that is consumed whole */
    uint64_t position;      /* journal offset where the next is to be looked for */
    uint32_t item;          /* items consumed of the output after `turn` */
    uint64_t progress_turn; /* the last output whose progress was applied */
};

struct batch_hop {
    uint32_t peer;
    struct hop_cursor cursor;
};

struct batch_progress {
    uint64_t turn;
    uint64_t xor;
};

struct batch_session {
    uint32_t partition;
    uint64_t session;
    uint64_t sequence;
    int64_t time_us;
};

struct batch_tick {
    uint32_t depot;
    int64_t next_us;
};

struct batch_output {
    uint32_t group;
    uint64_t previous;      /* the last turn before this that had an output to that group */
    struct leat_span body;  /* an encoded struct output */
};

struct batch {
    uint64_t epoch;
    uint64_t turn;
    int64_t now_us;
    uint64_t opened_xor;    /* ids of this turn's own outputs that stem from `range` */
    uint64_t opened_bytes;
    struct progress_range *range;
    uint32_t ranges;
    struct batch_hop *hop;
    uint32_t hops;
    struct batch_progress *progress; /* XORs for turns of this group, in order */
    uint32_t progresses;
    struct batch_session *session;
    uint32_t sessions;
    struct batch_tick *tick;
    uint32_t ticks;
    struct leat_span ops;
    struct batch_output *output;
    uint32_t outputs;
};

void batch_encode(const struct batch *b, struct buffer *out);
/* LEAT_ECORRUPT when the bytes are no batch (CRC, version, lengths). */
int batch_decode(struct leat_span bytes, struct arena *a, struct batch *out, struct leat_error *err);

/* ---- Outputs: what a turn sends to one group ---- */

struct output_source {
    uint32_t group;
    uint64_t turn;
    uint64_t id;
};

enum output_kind { OUTPUT_ROW, OUTPUT_STATE, OUTPUT_APPEND };

/* One item. Items are consumed in order; a turn may stop between any two. */
struct output_item {
    enum output_kind kind;
    uint32_t stream, node;   /* ROW, STATE: plan->stream */
    uint32_t task;           /* ROW */
    uint32_t depot;          /* APPEND */
    uint32_t partition;      /* APPEND */
    uint8_t hops;            /* ROW */
    uint32_t index;          /* ROW: record in its source */
    uint64_t sources;        /* mask over the output's sources; ROW: one bit */
    struct leat_span key;    /* STATE */
    struct leat_span row;    /* ROW, APPEND; STATE: the saved state */
};

struct output_return {
    uint64_t turn;
    uint32_t index;
    struct leat_span value;
};

struct output {
    struct output_source *source;
    uint32_t sources;
    struct output_item *item;
    uint32_t items;
    struct batch_progress *progress; /* for turns of the receiver */
    uint32_t progresses;
    struct output_return *ret;       /* ack returns for records of the receiver's turns */
    uint32_t returns;
};

/* Growing an output while the turn runs; lists in the arena. */
struct output_build {
    struct output out;
    uint32_t item_capacity, progress_capacity, return_capacity;
};

void output_add_item(struct output_build *o, struct arena *a, const struct output_item *item);
void output_add_progress(struct output_build *o, struct arena *a, uint64_t turn, uint64_t xor);
void output_add_return(struct output_build *o, struct arena *a, const struct output_return *ret);
void output_encode(const struct output *o, struct buffer *out);
int output_decode(struct leat_span bytes, struct arena *a, struct output *out, struct leat_error *err);

#endif
