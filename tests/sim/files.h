/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_FILES_H
#define TESTS_SIM_FILES_H

/* The disk of a simulated machine, in memory: files, directories, what of them is durable, and what the disk does
 * wrong. The program defines open, pwrite, fdatasync, mmap and the like (calls.c), which the engine and LMDB then call.
 *
 *   files.c       files, names, syncs
 *   files_loss.c  what a loss of power leaves
 *   calls.c       the calls; calls_copy.c: those that copying of files and rebuilding make
 *
 * The model. What a call changed is in the file at once, and on the disk when a sync of that file or directory, begun
 * later, has returned. Before, a loss of power may leave any of it: each sector, the size of each file, and each entry
 * of a directory stands at what it was at some moment since the last sync, each at its own; only entries that changed
 * places did so both or none. What a failed sync was to make durable never gets there, however often a sync is asked
 * for again, unless it is written again (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020). */

#include "base/base.h"

#define FILES_ROOT "/leat-sim"

enum { FILES_MOST = 4096, FILES_REGION = 1 << 30, FILES_DESCRIPTOR = 1 << 20, FILES_OPEN = 1024 };

/* What happened, for the report. */
enum files_count {
    FILES_WRITES,
    FILES_SYNCS,
    FILES_POWER_LOSSES,
    FILES_KILLS,
    FILES_SECTORS_LOST,
    FILES_SECTORS_KEPT,
    FILES_WRITES_TORN,
    FILES_SIZES_LOST,
    FILES_NAMES_LOST,
    FILES_EXCHANGED_LOST,
    FILES_PARTIAL_WRITES, /* the process died inside a write */
    FILES_SHORT_WRITES,
    FILES_INTERRUPTED,
    FILES_WRITE_ERRORS,
    FILES_SYNC_ERRORS,
    FILES_READ_ERRORS,
    FILES_FULL,
    FILES_SLOW_SYNCS,
    FILES_SLOW_WRITES,
    FILES_COUNTS
};
extern const char *const files_count_name[FILES_COUNTS];

/* A change that is not durable. */
struct files_change {
    uint64_t number;       /* they rise */
    uint64_t offset, size; /* of a write; size 0: another kind */
    uint8_t *old;          /* the bytes before it */
    uint64_t old_size;     /* of the file, before its size changed */
    char *name;            /* of the entry that changed */
    uint32_t old_child;    /* what it named before; 0: nothing */
    bool lost;             /* a sync of it failed */
    uint64_t pair;         /* two changes of names that the disk makes both or none; 0: it stands alone */
};

struct files_entry {
    char *name;
    uint32_t child;
};

struct file {
    bool used, directory;
    uint32_t names, opens, maps;
    uint64_t size, written; /* all bytes from `written` on are zero */
    uint64_t since_sync, between_syncs; /* bytes written since the last sync; the most between two */
    int64_t changed_ns;    /* by the wall clock, as of its last tick */
    struct files_entry *entry;
    uint32_t entries;
    struct files_change *change;
    uint32_t changes, capacity;
};

struct files_descriptor {
    uint32_t file;  /* 0: closed */
    uint64_t at;
    int lock;       /* LOCK_SH, LOCK_EX; 0: none */
};

/* File 1 is the root. What the disk does is set by who runs the simulation. */
struct files {
    struct file file[FILES_MOST];
    struct files_descriptor open[FILES_OPEN];
    uint8_t *base;            /* of the bytes of all files */
    uint64_t changes;         /* numbers given out */
    uint64_t crash;           /* a number of the crash under way: it decides which pairs are lost */
    uint64_t used_bytes;
    uint64_t capacity_bytes;  /* LEAT_ENOSPACE above */
    bool hides_full;          /* statvfs does not tell (a quota) */
    int64_t sync_ns;          /* what a sync takes, about */
    uint32_t short_one_in, interrupt_one_in; /* writes; 0: never */
    uint32_t write_errors, sync_errors, read_errors; /* so many fail, behind so many that do not: */
    uint32_t write_skip, sync_skip, read_skip;
    uint32_t slow_one_in;     /* syncs that take a hundred times as long */
    uint32_t wait_one_in;     /* writes that take as long as some syncs */
    void (*exchanged)(void);  /* called when two entries have changed places; NULL: nobody is */
    uint64_t count[FILES_COUNTS];
};
extern struct files files;

/* An open file; NULL: not one of the simulated disk. */
struct files_descriptor *files_descriptor(int fd);
/* An empty disk. */
void files_init(void);
uint8_t *files_bytes(uint32_t file);

/* The file at a path; 0: none. *parent (may be NULL) gets its directory, 0 when that is not there; *name its name. */
uint32_t files_find(const char *path, uint32_t *parent, const char **name);
uint32_t files_make(uint32_t parent, const char *name, bool directory);
/* Change an entry; child 0: remove it. */
void files_name(uint32_t parent, const char *name, uint32_t child);
/* Two entries change places. */
void files_exchange(uint32_t parent, const char *name, uint32_t other_parent, const char *other_name);
void files_release(uint32_t file); /* free it when nobody has it */
void files_write(uint32_t file, const void *bytes, uint64_t size, uint64_t offset);
void files_resize(uint32_t file, uint64_t size);
/* May the file grow to that size? */
bool files_room(uint32_t file, uint64_t size);
/* Changes before this number are durable, or, when the sync failed, never will be. */
void files_synced(uint32_t file, uint64_t number, bool failed);

/* The process is gone, and its descriptors and maps. */
void files_exit(void);
/* The same before its time. With power: what was not durable is gone too, by chance. */
void files_crash(bool power);

#endif
