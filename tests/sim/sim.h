/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

/* One seed: a module, clients, a disk and what goes wrong, all drawn from it; several lives of the engine on one disk;
 * and what is looked at meanwhile and in the end.
 *
 *   run.c     the plan of a seed, its lives, what its actors do
 *   check.c   what must hold; check_space.c: that logs and views do not keep what nobody needs
 *   backup.c  backups, taken meanwhile and looked at in the end; kept.c: depots that keep little; vectors.c: an index
 *   rebuild.c views made again from the logs between two lives
 *   main.c    command line, seeds in processes of their own, shrinking, the report */

#include "engine/node.h"
#include "tests/sim/fiber.h"
#include "tests/sim/files.h"
#include "tests/sim/model.h"

enum { SIM_OPS = 64, SIM_CLIENTS = 3, SIM_STREAMS = SIM_CLIENTS * MODULE_DEPOTS, SIM_LIVES = 40, SIM_ROWS = 4096,
       SIM_TASKS = 16 };

enum op_kind {
    OP_APPEND,
    OP_PAUSE,
    OP_READ,
    OP_POWER,
    OP_KILL,
    OP_RESTART,
    OP_SYNC_ERROR,
    OP_WRITE_ERROR,
    OP_READ_ERROR,
    OP_FULL,
    OP_SLOW,
    OP_SHORT,
    OP_JUMP,
    OP_BACKUP,
    OP_KEEP,
    OP_REBUILD,
    OP_KINDS
};
extern const char *const op_name[OP_KINDS];

/* What an actor does next; all of it follows from `dice`. Actor 0 brings bad luck; then come the
 * clients, and one who takes backups and has the module that keeps little. */
struct op {
    enum op_kind kind;
    uint32_t actor;
    uint64_t dice;
};

/* Rows of one client for one depot; session: its number + 1, sequence: the number of the row. */
struct stream {
    uint64_t submitted, acked;
    bool processed[SIM_ROWS];
};

struct sim_counts {
    uint64_t files[FILES_COUNTS];
    uint64_t ops[OP_KINDS];
    uint64_t lives, crashes_at_open, failed_opens, stops, switches, spurious, stalls, rows, repeats, reads, ticks,
        queries, returns, retries, trims_checked, backups, restored, consumed, trimmed, rebuilds, rebuilds_crashed,
        rebuilds_failed, rebuilt_groups, vectors_sent, vectors_splits, vectors_compactions, vectors_moved,
        vectors_opened, vectors_left, vectors_crashes, vectors_amid_asked, vectors_amid_retired, vectors_amid_moving;
    int64_t virtual_ns;
};

/* What a run tells the process that started it. */
struct sim_result {
    bool failed;
    char text[2048];
    uint64_t trace;
    uint32_t ops;
    uint64_t seed;      /* under way */
    uint64_t done;      /* seeds that are through */
    struct sim_counts counts;
};

struct sim {
    uint64_t seed;
    bool verbose;
    struct op op[SIM_OPS];
    bool dropped[SIM_OPS];
    uint32_t ops;
    uint32_t next[SIM_CLIENTS + 2]; /* by actor: its next op */
    uint32_t clients, groups;
    bool rebuilds;                  /* views are made again when all is done */
    uint32_t stall_one_in;          /* this and the next: but while a backup is taken */
    int64_t stall_ns;
    bool copies, keeps;             /* backups are taken; the module that keeps little runs */
    struct leat_launch follower;    /* tasks 0: it does not run */
    uint32_t cut_rows;
    uint64_t rows_most;             /* of a stream */
    bool force_hops;
    enum leat_durability durability; /* LEAT_PROCESS: no power is lost */
    uint64_t segment_size, checkpoint_bytes;

    struct stream stream[SIM_STREAMS];
    struct model low, high;         /* rows acknowledged as processed; rows ever sent */
    uint64_t seen[MODULE_NODES];    /* rows of a node that somebody has read */

    /* the life under way */
    struct leat *leat;
    uint32_t life;
    uint64_t frontier[MODULE_DEPOTS][SIM_TASKS]; /* processed, by depot and partition, in this life */
    bool ended;                     /* all ops are done: nothing goes wrong any more */
    bool closed;                    /* all was processed and closed: some seeds lose the power then, and look again */
    bool crashed;                   /* the life before did not end by itself */
    bool excused;                   /* something was done that may stop the engine */
    bool querying;
    bool stop;                      /* actors return */
    bool crash_with_power;
    uint32_t broken_open;           /* what does not work when the next life opens */
    uint64_t crash_again;           /* steps into the next life; 0: none */
    uint64_t rebuild;               /* before the next life: what follows from these dice; 0: none */
    struct sim_result *result;
};
extern struct sim sim;

/* Run one seed to its end. dropped: ops left out (SIM_OPS; NULL: none). Returns when all is well; else sim_fail. */
void sim_run(uint64_t seed, const bool *dropped, bool verbose, struct sim_result *result);
/* Tell it and end the process. */
void sim_fail(const char *format, ...) LEAT_PRINTF(1, 2) __attribute__((noreturn));
void sim_note(const char *format, ...) LEAT_PRINTF(1, 2);

/* One append of a client, tried until it is acknowledged or the life ends. */
void sim_append(const struct op *op);
/* What an error of an append means for the client: try again, or wait for the next life. */
bool sim_try_again(int rv, const struct leat_error *err);

/* Open a directory as sim.leat, and launch the modules. */
bool sim_open(const char *directory, struct leat_error *err);

/* Threads stall as the seed says. */
void sim_stalls(void);

/* Was something done that explains an error? A disk that fails explains nothing that is said to be damaged. */
bool sim_excuse(int code);
/* What does not work in the next life. */
void sim_break(uint32_t what);

void sim_rebuild_init(void);
/* Between two lives, as a process of its own. */
void sim_rebuild(uint64_t dice);
/* In the next life: which groups there are, where a crash decides that; and once all is launched, that they stay. */
bool sim_rebuild_look(struct leat_error *err);
void sim_rebuild_sure(void);
void sim_rebuild_power(void); /* it is lost */

void sim_backup_init(void);
void sim_backup(uint64_t dice);
/* Nothing is open: restore the newest backup beside, and look at it. */
void check_backup(void);

/* A module that has stopped; NULL: none. */
struct module *sim_failed_module(void);
/* Wait until all is processed: also what nodes appended, and until dead letters are there, which no wait covers. false:
 * the life ends. */
bool sim_settle(void);

/* What may be asked at any time. */
void check_now(void);
/* How a scan ended: one that ends with an error has not shown all. */
void sim_scanned(int end, const char *what);
/* Rows of a stream were just acknowledged as processed: each must be seen where it belongs. */
void check_processed(uint32_t stream, uint64_t from, uint64_t to);
/* All is processed: everything, exactly. */
void check_end(void);
/* The same, and then: what nobody needs any more is given back. */
void check_space(void);

#endif
