/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_ACKS_H
#define ENGINE_ACKS_H

/* Who waits for PROCESSED: by partition of a group, in order of offsets. The turn thread advances frontiers, appenders
 * register; one mutex. */

#include "base/base.h"

struct acks;

/* One wait over several partitions of one group. */
struct ack_wait {
    struct ack_point *point; /* allocated by acks_register */
    uint32_t points;
    uint32_t left;           /* partitions not there yet, and one until registration ends */
    struct buffer returns;   /* ack returns: {partition u32, offset u64, type u8, span} each */
    uint32_t dropped;        /* and those that found no room there (LIMIT_BATCH) */
    void (*reached)(struct ack_wait *w);
    struct ack_wait *chain;  /* of those reached together */
    int code;                /* in reached: 0, or of acks_stop: it never will be */
};

struct ack_target {
    uint32_t partition;
    uint64_t offset; /* reached when the frontier is above it */
};

struct acks *acks_open(uint32_t partitions);
/* Frontiers advance no more: who waits, and who comes to wait, is called with this code. */
void acks_stop(struct acks *a, int code);
/* Who still waits is called with LEAT_ECLOSED. */
void acks_close(struct acks *a);

/* Register before the records can be read. reached is called once all targets are, maybe before this returns. */
void acks_register(struct acks *a, struct ack_wait *w, const struct ack_target *targets, uint32_t count);
/* Take a wait back (its append failed, or its timeout passed). true: reached will not be called. */
bool acks_cancel(struct acks *a, struct ack_wait *w);
/* The frontier of a partition is now `frontier` (never falls). */
void acks_advance(struct acks *a, uint32_t partition, uint64_t frontier);
uint64_t acks_frontier(struct acks *a, uint32_t partition);
/* A value that came back for a record. Dropped when nobody waits; counted when they are too much.
 * value: type, then bytes (copied). */
void acks_return(struct acks *a, uint32_t partition, uint64_t offset, uint8_t type, struct leat_span value);

#endif
