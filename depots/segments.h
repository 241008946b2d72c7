/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DEPOTS_SEGMENTS_H
#define DEPOTS_SEGMENTS_H

/* The inside of the segments backend.
 *   segments.c          append, sync, read, trim
 *   segments_file.c     one segment file: make, open, map, write
 *   segments_index.c    one index file: what the index has of a segment that is full, beside it
 *   segments_recover.c  opening: the index, from index files or by walking segments; the torn tail, damage
 *
 * A log is a series of files. Each holds groups; a group is what one sync wrote, and group k + 1 is written only
 * when group k is durable. So at most the last group can be torn, and a hole with a later group behind it is damage.
 * In a group, the records of one partition lie together in a run, which is what the index points to. */

#include "depots/log.h"

#include <pthread.h>

#define SEGMENT_MAGIC 0x4745534cU /* "LSEG" */
#define GROUP_MAGIC 0x5052474cU   /* "LGRP" */
#define INDEX_MAGIC 0x5844494cU   /* "LIDX" */

enum {
    SEGMENT_VERSION = 1,
    /* magic, crc, version u16, owner u16, partitions, number u64, first group u64; then next offsets u64 */
    SEGMENT_HEADER = 32,
    SEGMENT_ALIGN = 4096,
    /* magic, crc (of the rest of it and of all run headers), length u64, number u64, runs u32, 0 u32 */
    GROUP_HEADER = 32,
    GROUP_ALIGN = 64,
    RECORD_HEAD = 40,    /* the most that goes before a record's body */
    RUN_HEADER = 32,     /* partition u32, records u32, first u64, length u32, crc u32 (of the bytes), time u64 */
};

struct segment {
    uint64_t number;
    uint64_t first_group;
    int fd;            /* of the last one; else -1 */
    const uint8_t *map;
    uint64_t size;
    uint64_t end;      /* behind the last group */
    uint64_t written;  /* up to here the file's blocks were written before: overwriting them is cheap to sync */
    bool torn;         /* part of a group that found no space may lie at the end */
    uint32_t slices;   /* reads that point into the map */
    bool trimmed;      /* unlinked; unmap when no slice is left */
    char path[];
};

/* All that its header says: who wants to know it need not read the file, and a read notices when it says otherwise. */
struct run {
    uint64_t first;
    uint32_t count;
    uint32_t length;
    struct segment *segment;
    uint64_t position; /* of its header in the file */
    uint64_t group;    /* its number */
    uint64_t before;   /* bytes of the partition's earlier runs, those trimmed since the open among them */
    int64_t time_us;
    uint32_t crc;
    bool checked;      /* header and records were seen to be right */
};

struct segment_partition {
    struct run *run; /* ascending */
    uint32_t runs, capacity;
    uint64_t bytes;        /* of all runs since the open */
    uint64_t first, next;  /* durable and readable */
    uint64_t pending_next;
    uint64_t trim;
    /* Where the last read stopped inside a run, so that reading on does not parse from the run's start. */
    uint64_t hint_offset;
    const uint8_t *hint_at;
    /* of the group in the making: first and last + 1 of its pending records */
    uint32_t head, tail;
};

struct pending {
    struct log_record record;
    uint32_t next;     /* of the same partition + 1; 0: none */
};

struct segments {
    struct log log;
    char *directory;
    enum leat_durability durability;
    bool read_only, settled, walk;
    bool torn;                     /* settled: the last write did not get whole to the disk; it is cut by the next */
    uint64_t segment_size;
    uint16_t owner;
    pthread_mutex_t lock;          /* the index, `first`, `next`, segments */
    struct segment_partition *partition;
    struct segment **segment;      /* ascending; the last is written to */
    uint32_t segments, capacity;
    uint64_t group;                /* number of the next */
    struct pending *pending;       /* the writer's alone, like all below */
    uint32_t pendings, pending_capacity;
    uint32_t *touched;
    uint32_t touches;
    size_t bytes;                  /* at most, of pending records as written */
    struct buffer out;             /* the group as written */
    int failed;
};

/* ---- segments_file.c ---- */

/* Make, preallocate and map a new segment behind the last. LEAT_ENOSPACE leaves nothing. */
int segment_create(struct segments *s, uint64_t size_min, struct leat_error *err);
/* Open and map an existing file; checks the header. LEAT_EAGAIN: it was never written whole, or is damaged; *out is
 * given all the same. The kernel is told to read nothing ahead. */
int segment_open(struct segments *s, uint64_t number, struct segment **out, struct leat_error *err);
/* It is read through its map from now on: only the last segment of a log holds a file open. */
void segment_end_writing(struct segment *g);
void segment_free(struct segment *g);
uint32_t segment_partitions(const struct segment *g); /* as many as there were when it was made */
/* The next offset of a partition when the segment was made. */
uint64_t segment_next(const struct segment *g, uint32_t partition);
uint64_t segment_data(const struct segment *g); /* where groups begin */
/* Tell the kernel how this part of the map is read (madvise). */
void segment_advise(const struct segment *g, uint64_t from, uint64_t length, int advice);

/* Is a run's header where the index says, and as it says? */
bool run_is_there(const struct run *r, uint32_t partition);

/* ---- segments_index.c ---- */

/* For a segment that is left: all its groups are durable, and its successor is made. Failing is told and no error, as
 * the next opening does without. */
void segment_index_write(struct segments *s, const struct segment *g, const struct segment *next);
/* The runs of a segment from its index file, and where it ends; false: nothing, as there is none that fits. */
bool segment_index_read(struct segments *s, struct segment *g, const struct segment *next);
void segment_index_remove(const struct segments *s, uint64_t number);
/* Those of segments that are gone, or that are written to. */
void segment_index_remove_strays(const struct segments *s);

/* ---- segments_recover.c ---- */

/* Is this the name of the file of a segment, or beside it? */
bool segment_named(const char *name, const char *suffix, uint64_t *number);

int segments_recover(struct segments *s, struct leat_error *err);
/* Zero what a torn write left, so that it can never be taken for a group again. LEAT_ENOSPACE: try again. */
int segments_cut(struct segments *s, struct leat_error *err);
/* As many as the newest file has. */
int segments_partitions(struct segments *s, uint32_t *out, struct leat_error *err);
/* The CRC of a group: of its header behind the CRC, and the headers of its runs, each with the CRC of its records. */
uint32_t group_crc(const uint8_t *group);
/* Add a run behind the last one of its partition. */
void segments_add_run(struct segments *s, uint32_t partition, const struct run *r);
/* Add the runs of a group at a position to the index. group: its bytes, in the map or wherever they are at hand. */
void segments_index(struct segments *s, struct segment *g, uint64_t position, const uint8_t *group);

/* ---- segments_files.c: a log as files, for copies of it; `log` must be of this backend, and nobody appends to it (it
 * is read-only, or the caller is who appends) ---- */

struct segment_file {
    char name[32];
    uint64_t size;    /* of the file */
    uint64_t used;    /* bytes up to the end of the last group that counts */
    bool sealed;      /* not the last: it never changes any more */
};

/* Opened as settled: is part of a write, which was never acknowledged, at the end? The next write cuts it. */
bool segments_torn(struct log *log);
/* The number of the next group. */
uint64_t segments_groups(struct log *log);
/* The number of the group that holds a record; UINT64_MAX: no such record. */
uint64_t segments_group_of(struct log *log, uint32_t partition, uint64_t offset);
/* The next offset of a partition as it was before a group. */
uint64_t segments_next_before(struct log *log, uint32_t partition, uint64_t before_group);
/* The files that hold the groups before one. *out is the caller's, to be freed. */
uint32_t segments_files(struct log *log, uint64_t before_group, struct segment_file **out);

#endif
