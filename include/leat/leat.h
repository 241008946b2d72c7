/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LEAT_LEAT_H
#define LEAT_LEAT_H

/* Leat: partitioned logs (depots), indexed views (PStates) and the topologies between them.
 *
 * Everybody needs leat/value.h, which comes with this header: errors and values. Who writes a module needs the sections
 * "Modules", "Folds" and "Inside a node". Who uses a module from a program needs "Clients".
 *
 * Rules that hold everywhere:
 *  - Functions that can fail return 0 or a negative enum leat_code. Slow calls also fill a
 *    struct leat_error (which may be NULL) with a sentence that says what, where and what to do.
 *  - Three ownership words: *copied* (the caller keeps its memory), *taken* (the callee frees it),
 *    *borrowed until X* (the memory stays the owner's and is valid until X).
 *  - Sizes are bytes unless the name says otherwise; times are microseconds (_us) or
 *    milliseconds (_ms); numbers in files are little-endian. */

#include "leat/value.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this interface; a module carries the one it was compiled with. */
#define LEAT_ABI 4

/* Version of the library as text, "0.1.0". */
LEAT_API const char *leat_version(void);

/* ---- Modules --------------------------------------------------------------------------- */

struct leat_task;    /* one task inside a turn or a query; see "Inside a node" */
struct leat_fold;    /* an aggregator; see below */
struct leat_options; /* a module's options with their values */

/* A batch in, any number of rows out. 0, or a negative code: then the turn is aborted and the row at
 * fault is found and sent to the module's dead letters. Errors of puts and emits stick to t and need no
 * check. Must not block; takes time and chance only from t; keeps nothing between calls. */
typedef int leat_run(struct leat_task *t, const struct leat_batch *in);

enum leat_route {
    LEAT_LOCAL,     /* stay on the task */
    LEAT_BY_KEY,    /* to the task that owns the first emitted column */
    LEAT_ALL,       /* to every task */
    LEAT_GLOBAL,    /* to task 0 */
    LEAT_TO_ORIGIN, /* queries: to where the request came in */
    LEAT_TO_RANDOM, /* to any task */
    LEAT_DIRECT     /* to the task whose number is the first emitted column (u32) */
};

struct leat_node {
    const char *name;
    const char *from;             /* depot, node, "request", "module/depot"; several: "a, b" */
    enum leat_route route;        /* how rows come to this node */
    leat_run *run;                /* a run, or a fold, or neither (rows go into a depot) */
    const struct leat_fold *fold;
    const char *args;             /* of the fold, "k=$top by=distance" */
    const char *emits;            /* schema of the rows that run emits; NULL: none */
    const char *into;             /* fold: a PState, or "reply" in a query; neither run nor fold: a depot */
    /* A run in a stream, beside the turns: each row waits, durably, until a thread of its own runs the node over it (a
     * batch of one) and the newest committed state. It reads PStates and leat_derived as a query does, and writes
     * nothing; leat_ack_return does nothing, loops are counted anew behind it. What it emits, at most 16 MiB, comes
     * into a turn that ends the waiting in the same commit: once in effect, though it may run again after a crash. Rows
     * run in the order in which a group took them, but a turn may take what several emitted: what one leads to, the
     * next may not see yet. PROCESSED does not wait for it. A row whose run fails, or whose results fail a turn, is a
     * dead letter. */
    bool background;
    /* A background node: its rows go behind those of others, and wait until the group has taken nothing for 200 ms but
     * what background nodes emitted, and has nothing left to read. From 4,096 rows on that wait depots wait, too, and
     * so there is rest. */
    bool at_rest;
};

enum leat_kind { LEAT_STREAM = 1, LEAT_QUERY };

struct leat_topology {
    const char *name;
    enum leat_kind kind;
    const char *takes; /* queries: schema of the request */
    const struct leat_node *nodes;
    /* Queries: another one that takes the same and answers exactly what this one answers nearly, and what share of that
     * truth an answer has (0 to 1; NAN: there is nothing to compare with). For leat_launch.gauge. */
    const char *yardstick;
    double (*recall)(const struct leat_batch *answer, const struct leat_batch *truth);
};

enum leat_partitioner {
    LEAT_BY_FIELD, /* by the hash of the column named in .by */
    LEAT_RANDOM,   /* any partition */
    LEAT_EXPLICIT, /* the appender says which */
    LEAT_NO_CLIENT /* only topologies append */
};

struct leat_depot_declaration {
    const char *name;
    const char *schema; /* "id: str, vec: f32[$dims]?, body: any?" */
    const char *by;
    enum leat_partitioner partitioner;
    uint32_t tick_ms;   /* not 0: a tick depot, one row {time: i64} each period on task 0; schema NULL */
    const char *retain; /* "7d", "10GiB", "7d,10GiB": what is older, or more, goes; NULL or "forever": all is kept */
};

struct leat_pstate_declaration {
    const char *name;
    const char *schema; /* "map<str, struct{vec: f32[$dims], norm: f32}>" */
};

/* Values have at most 1,024 bytes, no control characters, no blanks at the ends, and no ';' behind a blank. */
struct leat_option {
    const char *name;
    const char *value; /* the default */
};

/* What queries want at hand in memory and PStates do not give: it follows from the PStates of a group alone, so the
 * engine makes it when the group opens and brings it forward behind each turn that wrote them. A version belongs to one
 * state of the PStates, and who reads gets both together. It never changes once it is made: a new version may share
 * parts with the one before. All of one group's calls come from one thread at a time; others read versions meanwhile.
 *
 * Values of PStates that were read in build or apply may be pointed to: they stay where they are for as long as a
 * version lives in which their key did not change, when they take more than half a page (2,048 bytes; smaller ones
 * share a page with their neighbours, and move with them). */
struct leat_derivation; /* the committed state of a group that a version is made of */

/* An element of a PState in .from that a turn wrote: once for each, in order of task, PState and key. */
struct leat_change {
    struct leat_task *task; /* to read what it is now */
    uint32_t pstate;
    struct leat_value key;  /* the first key; null where the PState has none. Borrowed for the call */
    bool removed;
};

struct leat_derive {
    /* PStates, "centroids, postings": each a leaf, rows<..>, set, or map or list of leaves or rows<..>. */
    const char *from;
    /* Make the first version, while the module is launched. Both fail, too, by an error that sticks to a task. */
    int (*build)(struct leat_derivation *d, void **state, struct leat_error *err);
    /* Make the next version; *state = old when these changes do not matter. The turn is acknowledged afterwards: be
     * quick. An error is the module's end: it stops until it is launched again, and then builds. */
    int (*apply)(struct leat_derivation *d, void *old, const struct leat_change *change, uint32_t changes, void **state,
                 struct leat_error *err);
    /* Free a version: the oldest first, when nobody reads it any more. */
    void (*drop)(void *state);
};

/* A task of the group to read with leat_get and its like: numbers first, first + leat_group_count, ... below
 * leat_task_count are the group's, others abort. leat_alloc from it is until build or apply returns. Borrowed until
 * then. */
LEAT_API struct leat_task *leat_derivation_task(struct leat_derivation *d, uint32_t task);
/* The group's first task, whose number is the group's. Borrowed until build or apply returns. */
LEAT_API struct leat_task *leat_derivation_first(struct leat_derivation *d);

/* A module is one constant value. Checked whole when it is launched; every mistake is reported with the
 * module, topology, node and column it is in. */
struct leat_module {
    uint32_t abi;     /* LEAT_ABI */
    const char *name; /* [a-z][a-z0-9_]*, at most 48 bytes */
    const char *about;
    /* Make what all tasks share (read-only after), from the options. state is the module's until close. */
    int (*open)(const struct leat_options *options, void **state, struct leat_error *err);
    void (*close)(void *state);
    const struct leat_option *options;
    const struct leat_depot_declaration *depots;
    const struct leat_pstate_declaration *pstates;
    const struct leat_topology *topologies;
    const struct leat_derive *derive; /* NULL: nothing is derived */
};

/* Lists end with a zero row, which these add. For constants at file scope: inside a function such a list ends with its
 * block. C only: in C++ write arrays, and structs by name, yourself. */
#define OPTIONS(...) ((const struct leat_option[]){__VA_ARGS__, {NULL, NULL}})
#define DEPOTS(...) ((const struct leat_depot_declaration[]){__VA_ARGS__, {.name = NULL}})
#define PSTATES(...) ((const struct leat_pstate_declaration[]){__VA_ARGS__, {NULL, NULL}})
#define TOPOLOGIES(...) ((const struct leat_topology[]){__VA_ARGS__, {.name = NULL}})
#define NODES(...) .nodes = (const struct leat_node[]){__VA_ARGS__, {.name = NULL}}

/* The value of an option as text, while the module opens or inside a node; borrowed until the module is closed. A name
 * the module does not declare is a mistake in the module and aborts, here and in the next two. */
LEAT_API const char *leat_option_text(const struct leat_options *options, const char *name);
/* An option as a whole number; 0 when it is none. Where the default is a number, only numbers are let in. */
LEAT_API int64_t leat_option_i64(const struct leat_options *options, const char *name);
/* An option as a number; 0 when it is none. */
LEAT_API double leat_option_f64(const struct leat_options *options, const char *name);

/* ---- Folds ----------------------------------------------------------------------------- */

struct leat_fold_use; /* one use of a fold in a node: its arguments and column types */
struct leat_sink;     /* growing bytes */

/* Append bytes (copied) to a sink. Failure sticks to it. */
LEAT_API void leat_sink_put(struct leat_sink *sink, const void *bytes, size_t size);

/* How a PState named in .into keeps what a fold makes. */
enum leat_keep {
    LEAT_KEEP_VALUE,    /* map<K, leaf or struct>: the leaf is what save() writes, as columns; load() takes it back */
    LEAT_KEEP_ELEMENTS, /* map<K, set, list or map>: each row of finish() is put, or pushed, by itself */
    LEAT_KEEP_ROWS      /* map<K, list<..>>: the list is stepped through, then replaced by the rows of finish() */
};

/* An aggregator. State is plain bytes of the size prepare() gave, 16-byte aligned; whatever it must hold
 * beyond that it takes from leat_fold_alloc(). With merge it must be associative and commutative, and the
 * engine combines before a hop. Inside a PState (.into) each row's first column is the key and the fold sees
 * the columns after it; the state's finished value is what the PState holds. */
struct leat_fold {
    const char *name;
    enum leat_keep keep;
    /* Check arguments and columns, say the size of a state and the schema of what finish emits.
     * schema: at most schema_size bytes, terminated, as in .emits. */
    int (*prepare)(struct leat_fold_use *use, size_t *state_size, char *schema, size_t schema_size,
                   struct leat_error *err);
    void (*init)(const struct leat_fold_use *use, void *state);
    /* Rows [first, end) of the batch into state. */
    int (*step)(const struct leat_fold_use *use, void *state, const struct leat_batch *in, uint32_t first,
                uint32_t end);
    int (*merge)(const struct leat_fold_use *use, void *state, const void *other); /* may be NULL */
    /* State to bytes and back, for a hop or a PState. load gets a fresh state. */
    void (*save)(const struct leat_fold_use *use, const void *state, struct leat_sink *out);
    int (*load)(const struct leat_fold_use *use, void *state, struct leat_span bytes);
    /* Emit the result by leat_fold_emit, any number of rows. */
    int (*finish)(const struct leat_fold_use *use, const void *state, struct leat_task *t);
};

/* The text of an argument, or NULL when it was not given. prepare() asks for every argument there is (at most 16): what
 * it does not ask for is refused when the module is loaded. Borrowed until the module is closed (in prepare), else
 * until the turn or request ends. */
LEAT_API const char *leat_fold_argument(const struct leat_fold_use *use, const char *name);
/* The columns that the fold sees: those of the rows that come to it, a key left out. They have names and types, no rows
 * and no data. Borrowed as long as the use. */
LEAT_API const struct leat_batch *leat_fold_columns(const struct leat_fold_use *use);
/* The number of the column with a name among leat_fold_columns, or -1. */
LEAT_API int leat_fold_column(const struct leat_fold_use *use, const char *name);
/* A place for prepare() to keep its own parsed arguments: 128 zeroed bytes, 16-byte aligned. Borrowed as long as the
 * use; read-only once prepare() returned, as threads share it. */
LEAT_API void *leat_fold_memory(const struct leat_fold_use *use);
/* Memory of the running turn or request, for a growing state. Never NULL: past the limit the error sticks and
 * the run fails afterwards; the memory given then is still good for size bytes. */
LEAT_API void *leat_fold_alloc(const struct leat_fold_use *use, size_t size);
/* Emit a row (copied) of the fold's result, of the schema that prepare() gave: the engine puts the key in front. Only
 * from finish(), with its task; elsewhere it aborts. Errors stick to t. */
LEAT_API void leat_fold_emit(struct leat_task *t, struct leat_row row);

/* Folds that come with Leat. Arguments: of=COLUMN where one is needed (default: the first after the key).
 * set, list and map write element by element into set<..>, list<..> and map<..> inside a PState. */
LEAT_API extern const struct leat_fold leat_count;   /* i64 */
LEAT_API extern const struct leat_fold leat_sum;     /* i64 or f64, after the column */
LEAT_API extern const struct leat_fold leat_min;     /* the column's type; numbers and str */
LEAT_API extern const struct leat_fold leat_max;
LEAT_API extern const struct leat_fold leat_average; /* struct{sum: f64, count: i64} in a PState; f64 emitted */
LEAT_API extern const struct leat_fold leat_last;    /* the row last seen */
LEAT_API extern const struct leat_fold leat_first;
LEAT_API extern const struct leat_fold leat_set;     /* distinct values of a column */
LEAT_API extern const struct leat_fold leat_list;    /* rows in order */
LEAT_API extern const struct leat_fold leat_map;     /* of=KEY COLUMN; last row for each */
LEAT_API extern const struct leat_fold leat_limit;   /* k=N: any N rows */
/* k=N by=COLUMN [id=COLUMN] [order=ascending|descending]: the N best rows, distinct by id, best first; ties by id. */
LEAT_API extern const struct leat_fold leat_top_k;

/* ---- Inside a node --------------------------------------------------------------------- */

/* All of this runs on the thread that runs the node. PStates are named by their place in the module's list: a number
 * beyond that list is a fault of the program and ends it. */

/* Emit a row (copied) that stems from row `from` of the batch in hand: its progress and its errors are tracked by it.
 * LEAT_ESCHEMA sticks to t when it does not fit .emits, LEAT_ELIMIT when it has more than 16 MiB. */
LEAT_API void leat_emit(struct leat_task *t, uint32_t from, struct leat_row row);

/* Refuse row `row` of the batch: it goes to the dead letters with the reason (copied), no work is undone.
 * Once, and only when the node has written and emitted nothing for that row: a row that was emitted from, before or
 * after, makes the run fail instead. (Writes name no row, so the engine cannot look after them.) */
LEAT_API void leat_reject(struct leat_task *t, uint32_t row, const char *format, ...) LEAT_PRINTF(3, 4);

/* Send a value (copied) back with the PROCESSED acknowledgement of the record that row `row` stems from. */
LEAT_API void leat_ack_return(struct leat_task *t, uint32_t row, struct leat_value value);

/* Microseconds since 1970, the same through a turn, never going back. */
LEAT_API int64_t leat_now(const struct leat_task *t);
/* 64 random bits from the task's seeded generator. */
LEAT_API uint64_t leat_random(struct leat_task *t);
/* This task's number, from 0. */
LEAT_API uint32_t leat_task_number(const struct leat_task *t);
/* How many tasks the module has: a power of two, the same for as long as its data lives. */
LEAT_API uint32_t leat_task_count(const struct leat_task *t);
/* The number of this task's group: task & (groups - 1). What tasks of one group do in a turn is committed at once. */
LEAT_API uint32_t leat_group(const struct leat_task *t);
/* How many groups the module has: a power of two up to the number of tasks. */
LEAT_API uint32_t leat_group_count(const struct leat_task *t);
/* The number of the task that owns a key. The same everywhere, also in clients: xxh3_64(key) & (tasks - 1). */
LEAT_API uint32_t leat_task_of(uint32_t tasks, const struct leat_value *key);
/* The hash behind leat_task_of: xxh3_64 of the value's bytes. It never changes: it may be stored. */
LEAT_API uint64_t leat_hash(const struct leat_value *value);
/* What the module's open() made; NULL without one. Read-only; borrowed until the module is closed. */
LEAT_API void *leat_state(const struct leat_task *t);
/* The module's options; borrowed until it is closed. */
LEAT_API const struct leat_options *leat_options(const struct leat_task *t);
/* The request of a query: one row. Borrowed until the request ends. Aborts outside of queries. */
LEAT_API const struct leat_batch *leat_request(const struct leat_task *t);
/* What the module derives from this task's group. In a stream: as committed before the turn, whatever it has written.
 * In a query or background node: of the very snapshot that it reads. NULL: the error sticks to t. Borrowed until the
 * turn, request or run ends. Aborts where the module derives nothing, and with tasks of views. */
LEAT_API const void *leat_derived(const struct leat_task *t);
/* Memory until the turn or request ends; aligned to 64. Never NULL: past the limit the error sticks to t. */
LEAT_API void *leat_alloc(struct leat_task *t, size_t size);
/* Queries: memory of this request, node and task, zeroed the first time; the same afterwards. */
LEAT_API void *leat_scratch(struct leat_task *t, size_t size);
/* Queries: memory of this request and node for all tasks that run on this machine, one after another; zeroed the first
 * time. Only for what makes work less, as a bound that others found: on several machines each has its own. */
LEAT_API void *leat_shared(struct leat_task *t, size_t size);
/* Make the run fail with a code and a sentence (the first one stays), and return code. */
LEAT_API int leat_task_fail(struct leat_task *t, int code, const char *format, ...) LEAT_PRINTF(3, 4);
/* The error stuck to t, or 0. */
LEAT_API int leat_task_error(const struct leat_task *t);

/* -- writing: stream topologies only, own task only; errors stick to t -- */

/* Set what keys lead to. row: the fields of a struct leaf, the one value of another leaf, nothing for the
 * element of a set. Missing collections on the way are made; in a list of collections only the one behind the last. */
LEAT_API void leat_put(struct leat_task *t, uint32_t pstate, struct leat_row keys, struct leat_row row);
/* Remove a leaf, an element, or a whole collection (unlinked at once, swept later). Absent: nothing happens. Without
 * keys: the elements of a map or set at the PState's top, each in this turn, so that no more of them go than a batch
 * holds (64 MiB); what may be large and is to go at once is kept one level down. */
LEAT_API void leat_delete(struct leat_task *t, uint32_t pstate, struct leat_row keys);
/* Add one value to the end of a list<..>; *index (may be NULL) is its place. */
LEAT_API void leat_push(struct leat_task *t, uint32_t pstate, struct leat_row keys, struct leat_row row,
                        uint64_t *index);
/* Packed rows: keys lead to the rows<..>, row is the fields of one row (copied), numbers count from 0.
 * LEAT_ESCHEMA sticks to t when either does not fit. */

/* Append a row, and make the rows<..> when they are absent. *number (may be NULL) is its number. */
LEAT_API void leat_rows_append(struct leat_task *t, uint32_t pstate, struct leat_row keys, struct leat_row row,
                               uint64_t *number);
/* Replace the row with a number. LEAT_ENOTFOUND sticks to t when there is none. */
LEAT_API void leat_rows_replace(struct leat_task *t, uint32_t pstate, struct leat_row keys, uint64_t number,
                                struct leat_row row);
/* Remove the row with the highest number. LEAT_ENOTFOUND sticks to t when there is none. */
LEAT_API void leat_rows_remove_last(struct leat_task *t, uint32_t pstate, struct leat_row keys);

/* -- reading: also with a task of leat_view_task() -- */

/* What keys lead to. out: one value for each field of a struct leaf, else one; at most `fields` are filled.
 * Set elements fill none: 0 says the element is there. 0, LEAT_ENOTFOUND, or an error (which also sticks).
 * Borrowed until the next write in the turn, by any task of the group, has ended: that one may be given it; or until
 * the end of the turn or request; in a view until it is closed. */
LEAT_API int leat_get(struct leat_task *t, uint32_t pstate, struct leat_row keys, struct leat_value *out,
                      uint32_t fields);

/* Bounds of a scan over the elements of a collection; all zero: everything, ascending. */
struct leat_range {
    const struct leat_value *from; /* NULL: from the start */
    const struct leat_value *to;   /* NULL: to the end */
    bool from_exclusive;
    bool to_inclusive;
    bool descending;
    uint64_t limit;                /* elements at most; 0: no limit */
};

struct leat_scan;

/* Walk the elements of the map, set or list that keys lead to (no keys: the PState itself). An absent
 * collection has no elements. range NULL: all zero. *out is borrowed until leat_scan_close or the end of the turn or
 * request, which closes it. The task must not write the PState meanwhile. */
LEAT_API int leat_scan_open(struct leat_task *t, uint32_t pstate, struct leat_row keys, const struct leat_range *range,
                            struct leat_scan **out);
/* The next element: its key (list: its index as u64) and, for leaves, its fields (at most `fields`; a nested
 * collection fills none). 0, LEAT_END, or an error. Borrowed until the next call, and as leat_get's values. */
LEAT_API int leat_scan_next(struct leat_scan *scan, struct leat_value *key, struct leat_value *out, uint32_t fields);
/* End a scan; what it gave is valid no more. NULL is fine. */
LEAT_API void leat_scan_close(struct leat_scan *scan);

/* The number of elements of the collection that keys lead to. Walks them: O(n), lists and rows O(1). */
LEAT_API int leat_size(struct leat_task *t, uint32_t pstate, struct leat_row keys, uint64_t *out);

/* Packed rows in place. A block: `rows` rows of `stride` bytes from number `first` on. In a snapshot a full block's
 * base is 64-byte aligned, and each field, at leat_rows_field() from its row's start, naturally aligned. Rows of the
 * tail, which come in blocks of few or one, and blocks written in the open turn lie at any alignment: read them with
 * kernels or memcpy. */
struct leat_block {
    uint64_t first;
    uint32_t rows;
    uint32_t stride;
    const void *base;
};

/* The block from row `number` on (its rows from there to the block's end). LEAT_END past the last row.
 * Borrowed as leat_get's values. Walk all: number += block.rows. */
LEAT_API int leat_rows_block(struct leat_task *t, uint32_t pstate, struct leat_row keys, uint64_t number,
                             struct leat_block *out);
/* Pointers to count rows by ascending number, in one walk over the blocks: one lookup a block, not a row.
 * LEAT_ENOTFOUND (it does not stick) when one is not there. Borrowed as leat_get's values. */
LEAT_API int leat_rows_pointers(struct leat_task *t, uint32_t pstate, struct leat_row keys, const uint32_t *numbers,
                                uint32_t count, const void **out);
/* Byte offset of a field of a packed row. Aborts on a PState without packed rows or such field. */
LEAT_API uint32_t leat_rows_field(const struct leat_task *t, uint32_t pstate, uint32_t field);

/* ---- Clients --------------------------------------------------------------------------- */

struct leat;        /* an open directory: the whole cluster in this process */
struct leat_depot;  /* a depot of a launched module */
struct leat_rows;   /* rows to append */
struct leat_result; /* the answer of a query */
struct leat_view;   /* committed snapshots of a module's PStates */

enum leat_durability {
    LEAT_FULL,   /* one fdatasync a commit: survives power loss */
    LEAT_PROCESS /* no fdatasync: survives kill -9, not power loss */
};

struct leat_config {
    enum leat_durability durability;
    uint32_t query_threads; /* for invocations with a callback; 0: as many as cores */
    bool memory;            /* logs in memory and views in a temporary directory: nothing is kept */
    bool create;            /* make the directory when it is not there */
    /* Free bytes of the disk below which there is a warning, and below which appends are refused (LEAT_ENOSPACE) while
     * what was appended is processed. 0: a tenth of the disk but at most 4 GiB, and a fiftieth but at most 1 GiB. */
    uint64_t disk_low, disk_full;
    uint32_t view_limit_ms; /* the longest that a leat_view stays at its snapshots; 0: 60,000 */
};

/* Open a directory, or make one. Locked against a second process (LEAT_EBUSY names its pid).
 * config (copied) NULL: all zero but create. *out must be closed. After an error there is nothing to close. */
LEAT_API int leat_open(const char *directory, const struct leat_config *config, struct leat **out,
                       struct leat_error *err);
/* Finish the turns under way, take a checkpoint, free everything. Queries that wait are answered before. All handles of
 * it die; views must be closed before. NULL is fine. Any one thread. */
LEAT_API void leat_close(struct leat *l);

struct leat_launch {
    uint32_t tasks;                    /* power of two, fixed at the first launch; 0: 64 or what it is */
    uint32_t groups;                   /* power of two up to tasks; 0: cores rounded down, or what it is */
    const struct leat_option *options; /* ended by a zero row; NULL: defaults, or what they are */
    /* By depot, "*" for all, as in leat_depot_declaration; holds until it is said otherwise; ended by a zero row; NULL:
     * as declared, or what it is. */
    const struct leat_option *retain;
    /* Of each query with a .yardstick one request in so many is answered again by that, over the same snapshots: one at
     * a time, with a twentieth of a processor at most; leat_stats has `recall`. 0: none. */
    uint32_t gauge;
    /* Read what the views hold into the page cache while launching, half of the machine's memory at most: so that
     * queries do not wait for the disk at first. */
    bool warm;
};

/* Launch a module, or go on with it: logs are replayed, turns begin. The module must outlive l; launch (copied) NULL:
 * all zero. LEAT_EMODULE with a sentence for every mistake in it; LEAT_EEXISTS when tasks, groups or schemas differ
 * from what the directory holds, or it runs already; LEAT_EINVAL: a gauge, and no query has a yardstick. After an error
 * the module does not run. */
LEAT_API int leat_launch(struct leat *l, const struct leat_module *module, const struct leat_launch *launch,
                         struct leat_error *err);
/* Check a module without running it; options as in leat_launch. others: modules whose depots it may read, with their
 * default options, ended by NULL; NULL: none. LEAT_EMODULE. */
LEAT_API int leat_check(const struct leat_module *module, const struct leat_module *const *others,
                        const struct leat_option *options, struct leat_error *err);

/* -- appending -- */

/* How sure an append is when it returns. */
enum leat_ack {
    LEAT_APPENDED,  /* stored: survives what the durability promises */
    LEAT_PROCESSED, /* and all its effects in this module are committed */
    LEAT_NONE       /* taken into memory */
};

/* A depot by names; LEAT_ENOTFOUND. Borrowed until l closes. It may be used from any thread. */
LEAT_API int leat_depot_find(struct leat *l, const char *module, const char *depot, struct leat_depot **out,
                             struct leat_error *err);
/* How many partitions a depot has: one for each task. */
LEAT_API uint32_t leat_depot_partitions(const struct leat_depot *d);
/* The depot's columns (no rows, no data). Borrowed as d. */
LEAT_API const struct leat_batch *leat_depot_columns(const struct leat_depot *d);

/* Rows for one append, none at first. Free them with leat_rows_free. One thread at a time. */
LEAT_API int leat_rows_new(struct leat_depot *d, struct leat_rows **out);
/* Free rows; NULL is fine. */
LEAT_API void leat_rows_free(struct leat_rows *rows);
/* Drop all rows, and keep the memory for the next append. Any time: an append has copied them when its call returns. */
LEAT_API void leat_rows_clear(struct leat_rows *rows);
/* How many rows were added since they were made or cleared. */
LEAT_API uint32_t leat_rows_count(const struct leat_rows *rows);
/* Check one row against the schema and add it (copied). LEAT_ESCHEMA names the column, LEAT_ELIMIT: more than 64 MiB or
 * 4,194,304 rows; nothing is added then. */
LEAT_API int leat_rows_add(struct leat_rows *rows, struct leat_row row, struct leat_error *err);

struct leat_append {
    enum leat_ack ack;
    uint32_t timeout_ms;  /* for the ack; 0: 30,000 */
    uint64_t session;     /* not 0: the rows have sequences from `sequence` on, and what the session */
    uint64_t sequence;    /* already appended is not appended again; see leat_append_start for refusals */
    uint32_t partition;   /* LEAT_EXPLICIT depots */
};

/* Where the rows went and what came back. */
struct leat_receipt {
    uint32_t partition;             /* of the first row */
    uint64_t offset;                /* of the first row in it; UINT64_MAX: it was a repeat */
    uint32_t appended;              /* rows not seen before in their session */
    uint32_t returned;              /* ack returns, one for each row that gave one, in order of rows */
    uint32_t dropped;               /* ack returns that found no room: there are 64 MiB for each group */
    const struct leat_value *value; /* borrowed until leat_receipt_fini */
    void *memory;
};
/* Free what leat_append put into a receipt, and zero it. A zeroed receipt is fine. */
LEAT_API void leat_receipt_fini(struct leat_receipt *receipt);

/* Append rows (copied) and wait for the ack. how NULL: all zero. receipt may be NULL, else leat_receipt_fini it
 * after success. LEAT_ETIMEOUT: the rows may or may not be appended; retry with the same session and sequence. */
LEAT_API int leat_append(struct leat_depot *d, const struct leat_rows *rows, const struct leat_append *how,
                         struct leat_receipt *receipt, struct leat_error *err);

/* How an append of leat_append_start ended: a code and, on success, a receipt borrowed for the call (NULL otherwise).
 * It must not block. */
typedef void leat_append_done(void *context, int code, const struct leat_receipt *receipt);
/* The same without waiting, however long the ack takes. rows and how are copied. 0: done is called once, on a thread of
 * the engine, or before this returns. An error (the call is wrong, or the module has stopped): nothing was appended and
 * done is not called.
 *
 * LEAT_EFULL in done: too much is under way; LEAT_ENOSPACE: the disk is full; append again later. Until then later rows
 * of the same session are refused with LEAT_EAGAIN: they would make the refused ones look like repeats. All that was
 * refused must be appended again, in order, best one after another; whoever gives a row up begins another session. */
LEAT_API int leat_append_start(struct leat_depot *d, const struct leat_rows *rows, const struct leat_append *how,
                               leat_append_done *done, void *context, struct leat_error *err);

/* How far a session got: the highest sequence that any partition has, or LEAT_ENOTFOUND. Whoever kept at most
 * W rows under way resumes W rows before it: repeats are dropped. */
LEAT_API int leat_depot_session(struct leat_depot *d, uint64_t session, uint64_t *high);

/* How far a partition reaches. */
struct leat_bounds {
    uint64_t first;     /* the first readable offset */
    uint64_t next;      /* the one behind the last */
    uint64_t processed; /* all effects of what lies before, in the depot's own module, are committed */
};
/* The bounds of a partition as they are now: they may move on at once. LEAT_EINVAL: there is no such partition. */
LEAT_API int leat_depot_bounds(struct leat_depot *d, uint32_t partition, struct leat_bounds *out);

/* One stored record. */
struct leat_record {
    uint64_t offset;
    int64_t time_us;  /* when it was appended */
    uint64_t session; /* 0: it has neither session nor sequence */
    uint64_t sequence;
};
/* What leat_depot_read gives each record to, with its row in a batch of one. Both are borrowed for the call. Not 0:
 * read no more. */
typedef int leat_record_each(void *context, const struct leat_record *record, const struct leat_batch *row);
/* Give each the records of a partition from an offset on, at most max, on this thread. 0 also when there are fewer, or
 * none yet; what each returns that is not 0 is returned. *next (may be NULL) is where to go on: behind the last record
 * that was given. LEAT_ETRIMMED: the records at the offset are gone; *next is the first that is there. LEAT_EINVAL:
 * there is no such partition. */
LEAT_API int leat_depot_read(struct leat_depot *d, uint32_t partition, uint64_t offset, uint32_t max,
                             leat_record_each *each, void *context, uint64_t *next, struct leat_error *err);

/* Wait until everything appended before the call is PROCESSED, in all modules. LEAT_ETIMEOUT, or what stopped a
 * module. */
LEAT_API int leat_wait(struct leat *l, uint32_t timeout_ms, struct leat_error *err);
/* Wait until there is nothing to do in any module: also what topologies append, and what background nodes do; ticks
 * that follow one another as fast as turns do leave no such moment. Errors as leat_wait. */
LEAT_API int leat_wait_idle(struct leat *l, uint32_t timeout_ms, struct leat_error *err);

/* ---- Backups, from any process ---- */

struct leat_backup {
    uint32_t keep;             /* afterwards remove the oldest backups beyond so many; 0: keep all */
    uint64_t bytes_per_second; /* copy, or read, no faster; 0: as fast as it goes */
    uint32_t timeout_ms;       /* for checkpoints under way to end; 0: 60,000 */
    void (*progress)(void *context, uint64_t done, uint64_t all); /* bytes; NULL: none */
    void *context;
};

/* Copy a data directory into a new folder of the directory `to` (made when absent), named by the time; while other
 * threads or processes work in it, too: they go on, only their checkpoints wait. The copy is of one moment over all
 * modules and groups, after the call began, and opens like the directory after a crash: all that was acknowledged
 * before is there. Files that the newest backup in `to` has already are linked. name (may be NULL): the folder's. how
 * may be NULL. An error leaves no backup. */
LEAT_API int leat_backup(const char *directory, const char *to, const struct leat_backup *how, char name[64],
                         struct leat_error *err);
/* Copy a backup (name NULL: the newest) into a directory that is not there or empty, checking every byte against the
 * manifest. LEAT_ECORRUPT, LEAT_ENOTFOUND, LEAT_EEXISTS: then there is no directory afterwards, as before. how (may be
 * NULL): its rate and progress count. */
LEAT_API int leat_restore(const char *backups, const char *name, const char *directory, const struct leat_backup *how,
                          struct leat_error *err);
/* Read every byte of a backup (name NULL: the newest) and check it against the manifest, without restoring.
 * LEAT_ECORRUPT: the sentence names the first file that does not check out, and says how many do not. how as for
 * leat_restore. */
LEAT_API int leat_verify(const char *backups, const char *name, const struct leat_backup *how, struct leat_error *err);

/* ---- Rebuilding ---- */

struct leat_rebuild {
    const struct leat_option *options; /* over those that hold; ended by a zero row; NULL: as they are */
    uint32_t groups;                   /* 0: as many as there are */
    bool partial;                      /* go on although records were trimmed, or lost */
    /* Records "copied" into the directory beside, at its end of those that clients appended; then "processed". NULL:
     * none. */
    void (*progress)(void *context, const char *doing, uint64_t done, uint64_t all);
    void *context;
};

/* Make all PStates of a module again from its depots, perhaps with other options or other code: what clients appended
 * is processed from its beginning in a directory beside, which then takes the place of the old one at once. Nobody may
 * have the directory open (LEAT_EBUSY). Schemas of depots stay; times, sessions and, in depots that only clients append
 * to, offsets too. What topologies appended, ticks and dead letters come anew. LEAT_ETRIMMED, or LEAT_ECORRUPT where
 * the end of a depot is lost: unless partial. An error leaves all as it was. */
LEAT_API int leat_rebuild(const char *directory, const struct leat_module *module, const struct leat_rebuild *how,
                          struct leat_error *err);

/* -- reading PStates -- */

/* Committed state, one snapshot for each group from first touch on. One thread; holds old pages back, so keep
 * it short. When the first snapshot is older than view_limit_ms of struct leat_config, all are given up: reads answer
 * LEAT_ETIMEOUT from then on, and what was borrowed is not what it was. Close it then, and open another one. */
LEAT_API int leat_view_open(struct leat *l, const char *module, struct leat_view **out, struct leat_error *err);
/* Give the snapshots back and free the view, before l closes; its tasks and what was read are valid no more. NULL is
 * fine. */
LEAT_API void leat_view_close(struct leat_view *v);
/* The number of a PState by name; LEAT_ENOTFOUND. */
LEAT_API int leat_view_pstate(const struct leat_view *v, const char *name, uint32_t *out);
/* How many tasks the view's module has: leat_view_task takes numbers below it. */
LEAT_API uint32_t leat_view_tasks(const struct leat_view *v);
/* A task to read with leat_get, leat_scan_open, leat_size, leat_rows_block. Borrowed until the view closes or this or
 * leat_view_owner is called again. Aborts when there is no such task. */
LEAT_API struct leat_task *leat_view_task(struct leat_view *v, uint32_t task);
/* The task that owns a key, as leat_view_task gives it. */
LEAT_API struct leat_task *leat_view_owner(struct leat_view *v, const struct leat_value *key);

/* -- queries -- */

struct leat_query {
    uint32_t timeout_ms;    /* 0: 10,000; waiting for a query thread counts */
    size_t memory_max;      /* of the request; 0: 256 MiB */
    const bool *cancel;     /* set it to true to cancel; may be NULL; borrowed until the query ends */
};

/* Run a query topology on the caller's thread, any one. how NULL: all zero. *out must be freed with leat_result_free;
 * after an error there is none. LEAT_ENOTFOUND: no such module or query, LEAT_EINVAL: a stream, LEAT_ESCHEMA: the
 * request does not fit, LEAT_ETIMEOUT, LEAT_ECANCELED, LEAT_ELIMIT: memory_max was passed; or what a node failed
 * with. */
LEAT_API int leat_query(struct leat *l, const char *module, const char *query, struct leat_row request,
                        const struct leat_query *how, struct leat_result **out, struct leat_error *err);
/* How a query of leat_query_start ended: a code, its sentence (borrowed for the call) and, on success, a result, which
 * is done's to free (NULL otherwise). While it runs its query thread answers nobody else. */
typedef void leat_query_done(void *context, int code, const struct leat_error *err, struct leat_result *result);
/* The same on the query threads. request and how are copied, but not what how->cancel points to. 0: done is called
 * once, on a query thread; at the latest leat_close waits for it. An error: done is not called. Errors before are those
 * of the names and the request, LEAT_EFULL: 4,096 queries wait already, LEAT_ECLOSED and LEAT_ENOMEM: there are no
 * query threads any more, or never were. */
LEAT_API int leat_query_start(struct leat *l, const char *module, const char *query, struct leat_row request,
                              const struct leat_query *how, leat_query_done *done, void *context,
                              struct leat_error *err);
/* The rows of the answer. Borrowed until leat_result_free, names of columns until l closes. */
LEAT_API const struct leat_batch *leat_result_rows(const struct leat_result *result);
/* Free a result; its rows are valid no more. NULL is fine. Any thread. */
LEAT_API void leat_result_free(struct leat_result *result);

/* -- statistics -- */

/* One figure. Counters only grow; gauges are of now; histograms have count, sum and quantiles. */
enum leat_stat_kind { LEAT_COUNTER, LEAT_GAUGE, LEAT_HISTOGRAM };
struct leat_stat {
    const char *name;   /* "turn_seconds", units in the name */
    const char *module; /* "" for the whole node */
    const char *object; /* "node index.store", "group 0", "depot vectors" */
    enum leat_stat_kind kind;
    double value;       /* counter, gauge */
    uint64_t count;     /* histogram */
    double sum, p50, p90, p99, max;
};
/* What leat_stats gives each figure to. It and its strings are borrowed for the call. */
typedef void leat_stat_each(void *context, const struct leat_stat *stat);
/* Call each for every figure of the node and its modules, on this thread, while they go on: figures are of now one by
 * one, not all of one moment. docs/OPERATIONS.md says what they mean. Any thread. */
LEAT_API void leat_stats(struct leat *l, leat_stat_each *each, void *context);

#ifdef __cplusplus
}
#endif
#endif
