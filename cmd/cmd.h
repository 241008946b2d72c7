/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_CMD_H
#define CMD_CMD_H

/* cmd: the command `leat`. One table of commands drives parsing, help and errors.
 *
 *   main.c          the table, parsing, help
 *   open.c          modules, options and data directories of a call
 *   cmd_data.c      depot, query, export; cmd_import.c: import
 *   cmd_pstate.c    pstate, export --pstate
 *   cmd_module.c    module, stats, version
 *   cmd_backup.c    backup, restore, rebuild
 *   cmd_consumer.c  depot consumer
 *   cmd_demo.c      demo
 *   cmd_pages.c     help --man, completion
 *   cmd_doctor.c    doctor; cmd_trace.c: trace; cmd_top.c, top.h: top
 *   import.h        readers of jsonl and files of vectors
 *   signals.h       what ends a command from outside
 *   temporary.h     directories that end with the process
 *   output.c        tables on a terminal, JSON lines in a pipe
 *
 * Exit codes: 0 fine, 1 a negative answer, 2 wrong usage, 3 the directory cannot be opened, 4 refused, 5 failed. */

#include "base/base.h"
#include "leat/leat.h"

enum { EXIT_FINE, EXIT_NO, EXIT_USAGE, EXIT_OPEN, EXIT_REFUSED, EXIT_FAILED };
enum { ARGUMENTS = 64 };

struct call;
struct plan;

struct command {
    const char *name;     /* "depot tail" */
    const char *usage;    /* behind the name */
    const char *about;
    const char *examples; /* lines */
    const char *options;  /* names it takes, each between spaces; one ending with = wants a value */
    int least, most;      /* positional arguments */
    int (*run)(struct call *c);
};

/* One invocation. */
struct call {
    const struct command *command;
    char *argument[ARGUMENTS];
    int arguments;
    struct {
        const char *name, *value;
        const char *typed; /* the name with what was before it: -k and --k are one option */
    } option[ARGUMENTS];
    int options;
    bool json;            /* JSON lines instead of a table */
    bool quiet;
};

/* An option of commands; a second line of the same name goes on with what it is about. */
struct command_option {
    const char *name, *value, *about; /* value: " DIR"; "" for flags; with a = in it as often as needed */
};

extern const struct command commands[];              /* ended by a zero row */
extern const struct command_option command_options[]; /* likewise */
extern const char *const exit_texts[];               /* what each exit status means; ended by NULL */

/* Does a command take an option, and does that want a value? */
bool command_takes(const struct command *k, const char *name, bool *value);
int pages_man(void);

const char *call_option(const struct call *c, const char *name); /* NULL: not given; "" for flags */
/* A number within bounds; prints the mistake and exits with EXIT_USAGE otherwise. */
uint64_t call_number(const struct call *c, const char *name, uint64_t fallback, uint64_t most);
/* Print "leat: sentence" and return the exit code that fits the error. */
int call_error(const struct leat_error *err);
int call_usage(const struct call *c, const char *format, ...) LEAT_PRINTF(2, 3);

/* Open --data and launch a module in it with --set and friends. create: make the directory when it is not there.
 * 0, or an exit code with the sentence printed. */
int call_open(const struct call *c, const char *module, bool create, struct leat **out);
/* The options of --set, ended by a zero row; borrowed until exit. NULL after printing a mistake. */
const struct leat_option *call_settings(const struct call *c);
const struct leat_module *call_module(const char *name); /* NULL after printing */
/* A module with --set, checked. 0, or an exit code with the sentence printed. */
int call_plan(const struct call *c, const char *module, struct plan **out);
/* Before a directory is made: is there such a module, and such a depot in it? *out is the module as it will be made,
 * or NULL when it has data already, whose options hold. 0, or an exit code with the sentence printed. */
int call_target(const struct call *c, const char *module, const char *depot, struct plan **out, uint32_t *number);
int call_directory(const char *data);                            /* refuse one that holds files of others */
/* Is it a directory, with data of a module (NULL: of any, or none)? 0, or an exit code after printing. */
int call_there(const char *data, const char *module);
/* How many rows went to the dead letters since the modules were opened; a line on that, if any. */
double call_dead_letters(struct leat *l);
void call_tell_dead_letters(const struct call *c, struct leat *l, const char *module);
int call_depot_missing(const char *module, const char *depot);   /* prints; EXIT_NO */

struct top_sample;
/* The figures of whoever has, or had, the directory open, and their text, which is the caller's to end in any case.
 * 0, or an exit code with the sentence printed. */
int call_figures(const char *data, struct buffer *text, struct top_sample **out);

struct consumer;
/* Where --consumer reads on; and where next time, once what was printed is written. */
int export_begin(const struct call *c, struct consumer *at, struct leat_error *err);
int export_end(const struct call *c, const struct consumer *at, struct leat_error *err);
int export_pstate(struct call *c); /* all of a PState; an exit code */

/* ---- output.c ---- */

struct table;
/* plain: bit i says that the cells of column i are JSON already; all others are text. */
struct table *table_open(const struct call *c, const char *const *columns, uint32_t count, uint64_t plain);
void table_row(struct table *t, const char *const *cells);     /* copied */
/* Print what a terminal gets at the end; JSON lines went out row by row. */
void table_close(struct table *t);
/* Print the rows of a batch. */
void print_batch(const struct call *c, const struct leat_batch *batch);
double call_now(void); /* seconds that only pass */
uint32_t terminal_width(void);
/* A date and time in UTC. false: it is none. */
bool time_text(int64_t time_us, char out[40]);

int cmd_import(struct call *c);
int cmd_depot_append(struct call *c);
int cmd_depot_tail(struct call *c);
int cmd_depot_info(struct call *c);
int cmd_depot_consumer(struct call *c);
int cmd_pstate_get(struct call *c);
int cmd_pstate_scan(struct call *c);
int cmd_pstate_info(struct call *c);
int cmd_query(struct call *c);
int cmd_export(struct call *c);
int cmd_module_list(struct call *c);
int cmd_module_show(struct call *c);
int cmd_module_check(struct call *c);
int cmd_stats(struct call *c);
int cmd_backup(struct call *c);
int cmd_restore(struct call *c);
int cmd_rebuild(struct call *c);
int cmd_doctor(struct call *c);
int cmd_trace(struct call *c);
int cmd_top(struct call *c);
int cmd_version(struct call *c);
int cmd_demo(struct call *c);
int cmd_bench(struct call *c);
int cmd_bench_recall(struct call *c); /* bench/recall.c */
int cmd_completion(struct call *c);
int cmd_help(struct call *c);

#endif
