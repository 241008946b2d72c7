/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FLOW_H
#define ENGINE_FLOW_H

/* A flow runs the nodes of a plan over rows: the rows of one turn of a group, or one request. It buffers rows by
 * (node, task), runs the node of lowest rank that has some, and goes on until nothing is left; then it finishes
 * folds. It decides nothing about durability: a turn and a query differ only in the hooks below.
 *
 *   flow.c       buffers, order of nodes, emit and routes
 *   flow_fold.c  folds: states by key, combining, finishing into PStates, rows or the reply
 *   task.c       struct leat_task: what a node may do (the "Inside a node" functions of leat.h) */

#include "base/arena.h"
#include "base/random.h"
#include "topologies/plan.h"

struct flow;

/* Sources a flow tells apart: sets of them are 64-bit masks. A turn takes no more input when it has so many, and sends
 * outputs of fewer. */
enum { FLOW_SOURCES = 64 };

/* Where a row stems from: an index into the owner's table of sources (under FLOW_SOURCES), and the record of that
 * source. Progress and ack returns follow it; queries leave it zero. hops counts the back edges of loops passed. */
struct flow_tag {
    uint32_t source;
    uint32_t index;
    uint8_t hops;
};

/* What differs between a turn and a request. Any hook but reader may be NULL (see each). */
struct flow_hooks {
    /* The reader of a task's group; on failure NULL with err filled. */
    struct pstate_reader *(*reader)(struct flow *f, uint32_t task, struct leat_error *err);
    /* What is derived of a task's group; on failure NULL with err filled. Needed when the module derives something. */
    const void *(*derived)(struct flow *f, uint32_t task, struct leat_error *err);
    /* Is the task run here? NULL: all are. */
    bool (*local)(struct flow *f, uint32_t task);
    /* A row for a task elsewhere; row is in the flow's arena. Needed when local is there. */
    void (*remote)(struct flow *f, struct plan_edge to, uint32_t task, struct leat_span row, struct flow_tag tag);
    /* A combined fold state for a task elsewhere: key column value (encoded row of one column) and saved state. */
    void (*remote_state)(struct flow *f, struct plan_edge to, uint32_t task, struct leat_span key,
                         struct leat_span state, uint64_t sources);
    /* A row for a depot (PLAN_APPEND). Streams only. */
    void (*append)(struct flow *f, uint32_t depot, struct leat_span row, struct flow_tag tag);
    /* A row for a background node, which waits. Streams; NULL: it runs, and what it emits is given to reply. */
    void (*background)(struct flow *f, struct plan_edge at, uint32_t task, struct leat_span row);
    /* A row of the reply, or of a background node. */
    void (*reply)(struct flow *f, struct leat_span row);
    /* A rejected row. Streams; NULL: the request fails with LEAT_EREJECTED. */
    void (*reject)(struct flow *f, const struct leat_task *t, uint32_t row, const char *reason);
    void (*ack_return)(struct flow *f, struct flow_tag tag, struct leat_span value);
    /* Between two batches: a code other than 0 stops the flow (deadline, cancel). */
    int (*check)(struct flow *f, struct leat_error *err);
    /* A node ran: for statistics. */
    void (*ran)(struct flow *f, struct plan_edge node, uint32_t rows, uint64_t nanoseconds);
};

/* Rows waiting for one node on one task. */
struct flow_rows {
    struct leat_span *row;
    struct flow_tag *tag;
    uint32_t count;
    uint32_t capacity;
    uint32_t task;
};

struct flow_node;  /* a node's buffers and states in this flow (flow.c) */

struct flow {
    const struct plan *plan;
    uint32_t groups;             /* of the module */
    const struct flow_hooks *hooks;
    void *owner;                 /* the turn or request behind the hooks */
    struct arena *arena;         /* reset by the owner after the flow is done */
    struct pstate_view *view;    /* writes go there; NULL in queries */
    struct buffer scratch;       /* one encoded row */
    struct random random;
    int64_t now_us;
    uint32_t origin;             /* task that LEAT_TO_ORIGIN leads to */
    struct leat_batch request;   /* queries */
    uint32_t topology;           /* the query that runs; UINT32_MAX: all streams */
    struct flow_node *node;      /* all nodes of all topologies, by flow_number() */
    uint32_t nodes;
    uint32_t *first_node;        /* by topology */
    uint32_t *by_rank;           /* place in rank order -> node number */
    uint64_t *pending;           /* bit set over places: nodes with rows waiting */
    const struct plan_node *failed_node; /* where err came from, when a node did */
    /* the node itself said so, whatever the code: the row is at fault, not a disk */
    bool node_failed;
    uint64_t rows;               /* rows run, for limits and statistics */
    struct leat_error err;       /* the first error; sticks */
};

/* Make a flow for a plan: allocates once, reused for every turn or request through flow_begin. */
struct flow *flow_open(const struct plan *plan, uint32_t groups, const struct flow_hooks *hooks, void *owner);
void flow_close(struct flow *f);
/* Forget everything and begin anew; the arena must have been reset. */
void flow_begin(struct flow *f, struct arena *arena, int64_t now_us, uint64_t seed);

/* Rows in. row is borrowed until the flow is done. deliver follows the edge's route from task `at`; deliver_to puts
 * the row at a task that is local (or into the combiner of a fold that combines). */
void flow_deliver(struct flow *f, struct plan_edge to, uint32_t at, struct leat_span row, struct flow_tag tag);
void flow_deliver_to(struct flow *f, struct plan_edge to, uint32_t task, struct leat_span row, struct flow_tag tag);
/* A combined state from elsewhere, for a fold that combines. */
void flow_deliver_state(struct flow *f, struct plan_edge to, struct leat_span key, struct leat_span state,
                        uint64_t sources);

/* Run until nothing is left and all folds are finished. 0 or the error, which is in f->err. */
int flow_run(struct flow *f);

/* Make the flow fail (the first error stays). */
int flow_fail(struct flow *f, int code, const char *format, ...) LEAT_PRINTF(3, 4);

uint32_t flow_number(const struct flow *f, struct plan_edge node);

/* ---- Between flow.c and flow_fold.c ---- */

/* One state of a fold: by key, or by task for a fold without keys. */
struct fold_entry {
    uint64_t hash;
    uint64_t sources;        /* mask: who contributed */
    struct leat_value key;   /* spans in the arena */
    void *state;
    uint32_t task;           /* owner of the key */
    bool arrived;            /* came from elsewhere, so it is to stay here */
};

struct fold_table {
    struct fold_entry *entry; /* in order of arrival; in the arena */
    uint32_t count;
    uint32_t capacity;
    uint32_t *slot;           /* hash index: entry + 1, 0 free; in the arena */
    uint32_t slots;
    bool finished;
};

struct flow_node {
    const struct plan_node *plan;
    struct plan_edge at;
    uint32_t place;            /* in rank order */
    struct flow_rows *rows;    /* by task, and one more: the combiner's (no task) */
    uint32_t *touched;         /* tasks with rows waiting */
    uint32_t touched_count;
    void **scratch;            /* leat_scratch by task; NULL until used */
    void *shared;              /* leat_shared; NULL until used */
    bool scratched;
    bool combines;             /* a keyed fold that steps where rows arise, not where they belong */
    struct leat_fold_use use;  /* of the fold, with this flow's arena */
    struct row_schema key;     /* its first column alone */
    struct row_schema values;  /* the others */
    struct fold_table table;
};

/* Rows of a batch into the states of a fold node. */
int flow_fold_step(struct flow *f, struct flow_node *n, uint32_t task, const struct leat_batch *in,
                   const struct flow_tag *tag);
/* Finish the states of a fold node: into its PState, its readers, or away to the tasks that own them. */
int flow_fold_finish(struct flow *f, struct flow_node *n);
/* Is it to go on? After each batch of rows and each state that is finished. */
int flow_check(struct flow *f);
/* Emit a row of a node to all that read it, or into the reply. */
void flow_emit(struct flow *f, const struct flow_node *n, uint32_t task, struct leat_row row, struct flow_tag tag);
void flow_task_init(struct flow *f, struct leat_task *t, const struct flow_node *n, uint32_t task);

/* ---- The task ---- */

/* What a node did with a row: it may emit from it or reject it, so that what is set aside has had no effect. */
enum row_use { ROW_UNUSED, ROW_EMITTED, ROW_REJECTED };

struct leat_task {
    struct flow *flow;             /* NULL: a task of a leat_view or leat_derivation */
    bool in_view;                  /* of a leat_view */
    uint32_t number;
    uint32_t groups;               /* of the module */
    struct plan_edge at;           /* the node that runs */
    const struct plan_node *node;
    const struct leat_batch *in;
    const struct flow_tag *tag;    /* by row of in */
    uint8_t *use;                  /* by row of in: enum row_use */
    struct pstate_reader *reader;  /* found at first use */
    struct leat_error *err;        /* the flow's, or the view's */
    const struct plan *plan;
    struct arena *arena;           /* the flow's, or the view's */
    void (*fold_emit)(struct leat_task *t, struct leat_row row); /* where leat_fold_emit goes */
    void *fold_context;
};

/* ---- Tasks of views, which have no flow (view.c) ---- */

/* Between these two a view's snapshots stay. false: it is too old, and t's error says so. */
bool view_enter(struct leat_task *t);
void view_leave(struct leat_task *t);
struct pstate_reader *view_reader(struct leat_task *t);

#endif
