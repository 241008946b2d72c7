/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_GROUP_STATE_H
#define ENGINE_GROUP_STATE_H

/* The inside of a group, shared by its files:
 *   group_open.c   restore, replay, connect; group.c: steps, checkpoints, close, figures
 *   hops.c         outputs of peers: pushes, gaps read from their journals, progress seen
 *   turn.c         one turn: run, commit, apply, release; turn_gather.c: what it takes in
 *   unread.c       sessions in depots that nobody reads
 *   turn_output.c  what nodes send away in a turn: rows, states, appends, dead letters, ack returns */

#include "engine/background.h"
#include "engine/flow.h"
#include "engine/group.h"
#include "engine/hold.h"
#include "engine/journal.h"

#include <pthread.h>

/* An output that has come and is not consumed whole. */
struct hop_message {
    struct hop_message *next;
    uint32_t from;
    uint64_t previous;
    uint64_t turn;
    uint64_t position;  /* of its batch in the sender's journal */
    size_t size;
    uint8_t body[];
};

struct hop_queue {
    struct hop_message *first, *last;
};

/* What a group knows of a peer it gets outputs from. */
struct hop_peer {
    struct group *group;
    struct hop_cursor cursor;     /* as committed, progress_turn as seen */
    bool progress_dirty;          /* progress_turn moved since the last commit */
    struct hop_queue queue;       /* accepted, in order */
    uint64_t seen;                /* turn of the last accepted */
    uint64_t read_position;       /* where its journal is read on */
    bool behind;                  /* pushes were missed: read the journal */
    _Atomic uint64_t journaled;   /* cursor.position as committed: the peer's trim floor, */
    _Atomic uint64_t consumed;    /* unless cursor.turn, as committed, is the last with an output to us */
};

/* Depots of other modules, as this group reads them. */
struct foreign_input {
    struct group_foreign from;
    uint32_t first;               /* partition of the group's numbering of its partition `number` */
    uint32_t count;
};

/* A partition of a depot that nobody reads. */
struct unread {
    struct session_table sessions;
    uint64_t next;    /* up to where they are in the table */
};

enum turn_input_kind { INPUT_RECORD, INPUT_HOP, INPUT_RESULT };

/* One input of a turn, to know a poisonous one again. */
struct turn_input {
    enum turn_input_kind kind;
    uint32_t from;    /* partition, or peer */
    uint64_t at;      /* offset, turn, or key of the request */
    uint32_t item;
};

struct derive;
struct turn;

/* The disk was full: not again before a moment, each time later. */
struct space_wait {
    int64_t until_ns, pause_ns; /* pause 0: it was not full */
};

struct group {
    struct group_config config;
    const struct plan *plan;
    struct pstate_view *view;
    struct derive *derive;        /* NULL: the module derives nothing */
    struct log *journal;
    struct log *depots;
    struct intake *intake;
    struct acks *acks;
    struct flow *flow;
    struct background *background; /* NULL: no background nodes */
    struct arena *arena;
    struct arena *small;          /* decoding of heads and replay */
    struct random random;
    struct buffer ops;
    struct buffer record;         /* the batch as encoded */

    /* What follows from the journal. */
    uint64_t epoch;
    uint64_t turn;
    uint64_t journal_next;
    _Atomic uint64_t released;    /* journal_next once the view has it: peers read no further */
    int64_t now_us;
    struct progress *progress;
    struct hop_peer *peer;        /* by group */
    uint64_t *sent;               /* by group: last turn with an output to it */
    struct session_table *session; /* by own partition: consumed */
    struct unread *unread;        /* by own partition; empty where somebody reads */
    uint64_t followed;            /* records of those since the last checkpoint */
    int64_t *tick_next_us;        /* by depot; 0: not set */

    /* Numbering of partitions: depot * (tasks / groups) + partition / groups, then the foreign ones. */
    uint32_t own_partitions;
    uint32_t partitions;
    struct foreign_input *foreign;
    uint64_t *end;                /* readable ends, by partition */
    uint32_t start;               /* partition that gathering starts with */
    _Atomic bool dirty;           /* the logs may have grown */

    pthread_mutex_t inbox_lock;
    struct hop_queue inbox;       /* pushed, not looked at */
    size_t inbox_bytes;
    bool *lost;                   /* by peer: a push was dropped */
    size_t queued_bytes;
    struct buffer seen_progress;  /* struct batch_progress each: seen since the last commit */

    struct turn *held;            /* in the journal, but not in the view: the disk was full; NULL: none */
    struct space_wait turn_waits, checkpoint_waits;

    uint32_t budget;              /* inputs of the next turn at most */
    uint32_t suspects;            /* one of so many next inputs made a turn fail; 0: none is known */
    uint32_t failed_inputs;       /* of the turn with which the search began */
    bool wary;                    /* a turn was too large: grow slowly */
    bool poisoned;                /* poison is the input to set aside */
    struct turn_input poison;
    char poison_reason[600];
    const struct plan_node *poison_node;
    uint32_t poison_topology;

    int64_t settle_ns;            /* when a turn without rows takes the progress that waits; 0: none waits */
    bool closing;                 /* then it takes it at once, and no more rows */

    struct hold hold;
    bool checkpointing;
    int64_t checkpoint_started_ns;
    uint64_t checkpoint_turn[2], checkpoint_position[2]; /* of the last two started: newest first */
    struct retain *retain;
    bool connected;
    struct stats_group stats;
};

/* ---- hops.c ---- */

/* Give an output to a group; body copied. Any thread. */
void hop_push(struct group *to, uint32_t from, uint64_t previous, uint64_t turn, uint64_t position,
              struct leat_span body);
/* Accept what was pushed, read gaps, apply the progress that came. Says whether anything came. */
int hops_poll(struct group *g, bool *came, struct leat_error *err);
void hop_consumed(struct group *g, uint32_t from); /* drop the first message of its queue */
void hops_fini(struct group *g);

/* ---- group_open.c ---- */

/* What a checkpoint keeps of the group. */
void group_state_save(const struct group *g, struct buffer *out);

/* ---- turn.c ---- */

/* One turn if there is input: 1; nothing to do: 0; else the error. LEAT_ENOSPACE: the turn is undone, or held (g->held)
 * when the journal has it; the next call tries again. */
int turn_run(struct group *g, struct leat_error *err);
void turn_drop_held(struct group *g);
/* What reads a partition, and where it is. */
struct group_input {
    struct log *log;
    uint32_t log_partition;
    uint32_t task;
    const struct plan_edge *edge;
    uint32_t edges;
    bool own;
};
void group_input(const struct group *g, uint32_t partition, struct group_input *in);
/* What follows from a batch for the group's state: the same after a commit and in a replay. false: it is of a turn that
 * is not open, so the batch is another group's. */
bool turn_apply_state(struct group *g, const struct batch *b);

/* ---- unread.c ---- */

void unread_open(struct group *g);
void unread_close(struct group *g);
/* NULL: the depot of this partition is read. */
const struct unread *unread_of(const struct group *g, uint32_t partition);
/* Take the sessions of a partition from *at to its end into a table. */
int unread_sessions(struct group *g, uint32_t partition, uint64_t *at, struct session_table *t, struct leat_error *err);
/* Follow the partitions that are at least so many records ahead. */
int unread_follow(struct group *g, uint64_t lag, struct leat_error *err);
int unread_step(struct group *g, struct leat_error *err); /* when logs have grown, those that are far ahead */
bool unread_due(const struct group *g);                   /* so much was followed that a start would notice */
void unread_save(const struct group *g, struct buffer *out);
int unread_load(struct group *g, struct reader *in);

/* ---- turn_output.c ---- */

struct turn_source {
    uint32_t group;
    uint64_t turn;
    uint64_t delta; /* XOR of the ids consumed and emitted in this turn */
};

/* A turn in the making. */
struct turn {
    struct group *group;
    struct turn_source source[FLOW_SOURCES]; /* 0: this turn */
    uint32_t sources;
    uint32_t start;                          /* partition that gathering started with */
    struct output_build *build;              /* by group */
    uint64_t *mask;                          /* by group: sources that its output has */
    bool *used;                              /* by group: there is an output */
    struct progress_range *range;
    uint32_t ranges;
    uint32_t records;                        /* depot records taken: the next index */
    uint64_t bytes;
    uint32_t inputs;
    uint32_t results;                        /* of background nodes, taken */
    uint32_t requests;                       /* to background nodes, sent */
    uint32_t resting;                        /* of them, to nodes that run at rest */
    struct turn_input first;                 /* the first input */
    uint32_t *taken;                         /* by peer: messages consumed whole */
    uint32_t *item;                          /* by peer: items consumed of the one behind */
    struct log_slice *slice;                 /* held until the turn ends */
    struct log **slice_log;
    uint32_t slices;
    struct log_record *append;               /* for our own depot log */
    uint32_t appends, append_capacity;
    /* entries of session tables before the turn; sequence 0, time INT64_MIN: none */
    struct batch_session *undo;
    uint32_t undos, undo_capacity;
    struct batch_tick *tick;
    uint32_t ticks;
    struct output_return *own_return;        /* ack returns for turns of this group */
    uint32_t own_returns, own_return_capacity;
    struct batch *batch;
    bool committed;                          /* the journal has it: nothing to undo any more */
    bool set_aside;                          /* the poisonous input was among the inputs */
    uint32_t dead_letters;
    uint32_t rejected;                       /* rows, and of the first of them: */
    const char *reason, *rejecter;           /* the node */
};

extern const struct flow_hooks turn_hooks;
/* ---- turn_gather.c ---- */

enum { SLICES = 512 }; /* that one turn holds */

int turn_gather(struct turn *t, struct leat_error *err);
/* Are there records that no turn has read, as far as the last one saw? */
bool turn_unread(const struct group *g);

/* ---- turn_output.c ---- */

/* Output items by this turn itself. */
void turn_append(struct turn *t, uint32_t depot, uint32_t task, struct leat_span row, uint64_t sources);
void turn_dead_letter(struct turn *t, const struct plan_topology *topology, const struct plan_node *node, uint32_t task,
                      const char *reason, const char *input, struct leat_span row);
/* Encode all outputs and progress of the turn into the batch. */
int turn_outputs(struct turn *t, struct batch *b);

#define GROUP_OF(g, task) ((task) & ((g)->config.groups - 1))

/* Crash here? */
bool group_crashes(const struct group *g, const char *point);

#endif
