/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_PROGRESS_H
#define ENGINE_PROGRESS_H

/* Which source turns of a group are not yet processed, and the frontier of each depot partition that follows.
 *
 * Every output of a turn to a group has, for each source turn its rows stem from, a random 64-bit id. The source's
 * group keeps the XOR of the ids that are out; consuming an output XORs its id away and those of what was then
 * emitted in. XOR 0 means done: in any order, through loops, across failovers (the idea of Storm's acker,
 * "Storm @Twitter", SIGMOD 2014, section 3.4, made durable by travelling in the batches).
 *
 * A pure state machine: nothing here reads a clock, a file or chance. */

#include "base/base.h"

struct progress;

/* Records [first, next) of a partition were the input of a turn; the record `first` has the index `base` in it. */
struct progress_range {
    uint32_t partition;
    uint32_t base;
    uint64_t first;
    uint64_t next;
};

struct progress *progress_open(uint32_t partitions);
void progress_close(struct progress *p);

/* A turn took these ranges as input and has outputs with this XOR; 0: it is done already. Turns rise. */
void progress_add(struct progress *p, uint64_t turn, uint64_t xor, uint64_t bytes, const struct progress_range *range,
                  uint32_t ranges);
/* Ids of a turn were consumed or emitted elsewhere. false: the turn is not open (a repeat would be a bug). */
bool progress_xor(struct progress *p, uint64_t turn, uint64_t delta);

/* All effects of records before this offset are committed. */
uint64_t progress_frontier(const struct progress *p, uint32_t partition);
/* Where the next turn reads the partition. */
uint64_t progress_cursor(const struct progress *p, uint32_t partition);
/* The records before an offset are none of ours: the next turn reads from there, unless it is further already. */
void progress_skip(struct progress *p, uint32_t partition, uint64_t offset);
/* The record that had an index in an open turn; false: not open, or no such record. */
bool progress_record(const struct progress *p, uint64_t turn, uint32_t index, uint32_t *partition, uint64_t *offset);

uint32_t progress_open_turns(const struct progress *p);
uint64_t progress_open_bytes(const struct progress *p);
uint64_t progress_open_records(const struct progress *p);

/* Called for each partition whose frontier moved. */
void progress_listen(struct progress *p, void (*moved)(void *context, uint32_t partition, uint64_t frontier),
                     void *context);

void progress_save(const struct progress *p, struct buffer *out);
int progress_load(struct progress *p, struct reader *in);

#endif
