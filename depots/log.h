/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DEPOTS_LOG_H
#define DEPOTS_LOG_H

/* depots: partitioned, append-only logs. Everything that moves is one: the depots' partitions of a group share one
 * log, the group's journal is another.
 *
 *   log.h        the interface (this), a const table of functions for each backend
 *   log.c        the common front: assertions, limits; then the table
 *   memory.c     records in memory: tests and simulation
 *   segments.c   files: preallocated segments, CRC32C, one fdatasync for all that waits
 *   (segments_*.c: its parts; FORMATS.md: its bytes)
 *
 * Contract, the same for every backend (tests/conformance/log.c):
 *  - Offsets of one partition strictly increase by one from 0 here; readers must accept gaps.
 *  - append puts records in order behind what is there; they are readable once a sync that started after it
 *    returned 0: a log's readable end is its durable end. What was readable is never lost.
 *  - One thread appends and syncs at a time (callers lock), one thread trims; reads and all that only looks may come
 *    from any thread, also meanwhile.
 *  - Progress is the reader's business: a log stores no reader positions.
 *  - A sync that finds no space (LEAT_ENOSPACE) forgets what was appended since the last one: append
 *    it again later.
 *  - After a sync that failed otherwise the log refuses all further appends and syncs with the same code (a failed
 *    fdatasync is never retried); reads of what was durable go on. Close and open it again. */

#include "base/base.h"

struct log_config {
    const char *directory;           /* segments: made when absent */
    uint32_t partitions;             /* the highest partition + 1; may grow from one open to the next */
    enum leat_durability durability;
    uint64_t segment_size;           /* 0: LIMIT_SEGMENT */
    /* segments: whose log it is, so that directories mixed up are noticed; 0: anyone's */
    uint16_t owner;
    bool read_only;                  /* segments: as the files are now, while another process may write them; nothing is
                                        changed, appends are refused, `partitions` comes from the files */
    /* with read_only: nobody writes, so what is behind the last group is known to be torn */
    bool settled;
    bool walk;                       /* segments: read all headers, whatever index files say of them */
};

/* One record to append. */
struct log_record {
    uint32_t partition;
    int64_t time_us;
    uint64_t session;  /* 0: none */
    uint64_t sequence;
    struct leat_span body; /* up to LIMIT_BATCH; borrowed until the sync that follows has returned, or the close */
};

/* One stored record; body points into the log. */
struct log_entry {
    uint64_t offset;
    int64_t time_us;
    uint64_t session;
    uint64_t sequence;
    struct leat_span body;
};

/* Some records of one partition, in order. Borrowed until log_release. */
struct log_slice {
    const struct log_entry *entry;
    uint32_t count;
    uint64_t next;  /* where to read on */
    void *memory;   /* the backend's */
};

/* The part of a log that goes next, as a whole or not at all: of some partitions, how young it is and how much there is
 * behind it. */
struct log_chunk {
    /* no record in it or before is younger, as far as times go up in each partition and in what one sync wrote;
     * INT64_MIN: it has none of theirs */
    int64_t newest_us;
    uint64_t behind;    /* bytes of their records behind it */
};

/* What there is of some partitions. */
struct log_usage {
    uint64_t bytes;
    int64_t oldest_us;  /* time of the oldest record; INT64_MAX: none */
};

struct log {
    const struct log_ops *ops;
    uint32_t partitions;
};

struct log_ops {
    const char *name; /* "memory", "segments" */
    int (*open)(const struct log_config *config, struct log **out, struct leat_error *err);
    void (*close)(struct log *l);
    int (*append)(struct log *l, const struct log_record *records, uint32_t count, uint64_t *offsets);
    int (*sync)(struct log *l, struct leat_error *err);
    int (*read)(struct log *l, uint32_t partition, uint64_t offset, uint32_t records_max, size_t bytes_max,
                struct log_slice *out, struct leat_error *err);
    void (*release)(struct log *l, struct log_slice *slice);
    void (*bounds)(struct log *l, uint32_t partition, uint64_t *first, uint64_t *next);
    int (*trim)(struct log *l, uint32_t partition, uint64_t before, struct leat_error *err);
    uint64_t (*bytes)(struct log *l);
    bool (*chunk)(struct log *l, uint32_t index, uint32_t first, uint32_t count, struct log_chunk *out, uint64_t *end);
    void (*usage)(struct log *l, uint32_t first, uint32_t count, struct log_usage *out);
};

extern const struct log_ops log_memory;
extern const struct log_ops log_segments;

/* Open or create. segments: a torn tail (the last, unacknowledged write) is passed over, and cut by the next sync that
 * writes; anything else that does not check out is LEAT_ECORRUPT with file and offset, and the log does not open. */
int log_open(const struct log_ops *ops, const struct log_config *config, struct log **out, struct leat_error *err);
/* Free. Does not sync: what was not synced may be lost. No slice may be out. */
void log_close(struct log *l);
/* Append records; what their bodies point at must stay until they are synced. offsets (may be NULL) gets one for each.
 * All or nothing. LEAT_EFULL: sync first. LEAT_ELIMIT: more than LIMIT_BATCH bytes or LIMIT_RECORDS records. */
int log_append(struct log *l, const struct log_record *records, uint32_t count, uint64_t *offsets);
/* Make all that was appended durable and readable. Blocks. */
int log_sync(struct log *l, struct leat_error *err);
/* Records from offset (or the first behind it) on: at least one, then up to about either limit.
 * LEAT_EAGAIN: none there yet. LEAT_ETRIMMED: before the first. LEAT_ECORRUPT: file and offset in err. */
int log_read(struct log *l, uint32_t partition, uint64_t offset, uint32_t records_max, size_t bytes_max,
             struct log_slice *out, struct leat_error *err);
void log_release(struct log *l, struct log_slice *slice);
/* First readable offset and the one behind the last durable one. */
void log_bounds(struct log *l, uint32_t partition, uint64_t *first, uint64_t *next);
/* Records of the partition before this offset, and no others, may be dropped, when convenient (whole segments, once all
 * partitions in them allow it). The last word on a partition counts. */
int log_trim(struct log *l, uint32_t partition, uint64_t before, struct leat_error *err);
/* Bytes on disk or in memory. */
uint64_t log_bytes(struct log *l);
/* The index-th chunk from the oldest on, as `count` partitions from `first` on see it; end: by partition, the offset
 * behind it. false: there are fewer. What is appended to is none: it never goes. */
bool log_chunk(struct log *l, uint32_t index, uint32_t first, uint32_t count, struct log_chunk *out, uint64_t *end);
void log_usage(struct log *l, uint32_t first, uint32_t count, struct log_usage *out);

#endif
