/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_INTAKE_H
#define TESTS_LIB_INTAKE_H

/* For tests of the intake: one on a log, and shares to give to it. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "engine/intake.h"

enum { PARTITIONS = 4, SHARE = 16 };

static struct {
    struct log *log;
    struct acks *acks;
    struct intake *intake; /* NULL: closed already */
} at;

static inline void bench_open(const struct log_ops *ops, const struct log_config *c, void (*readable)(void *),
                              void *context)
{
    assert_int_equal(log_open(ops, c, &at.log, NULL), 0);
    at.acks = acks_open(PARTITIONS);
    struct intake_config config = {.log = at.log,
                                   .acks = at.acks,
                                   .partitions = PARTITIONS,
                                   .depot_partitions = PARTITIONS,
                                   .clock = clock_real(),
                                   .sessions = base_alloc(PARTITIONS * sizeof(struct session_table)),
                                   .readable = readable,
                                   .context = context};
    assert_int_equal(intake_open(&config, &at.intake), 0);
}

static inline void bench_close(void)
{
    if (at.intake != NULL)
        intake_close(at.intake);
    at.intake = NULL;
    acks_close(at.acks);
    log_close(at.log);
}

static inline uint64_t log_end(uint32_t partition)
{
    uint64_t first, next;

    log_bounds(at.log, partition, &first, &next);
    return next;
}

/* ---- Shares ---- */

struct part {
    struct intake_share share;
    struct log_record record[SHARE];
    uint64_t offset[SHARE];
    uint64_t word[SHARE]; /* bodies */
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int done;
};

static inline void part_done(struct intake_share *share)
{
    struct part *p = share->owner;

    pthread_mutex_lock(&p->lock);
    p->done++;
    pthread_cond_signal(&p->cond);
    pthread_mutex_unlock(&p->lock);
}

/* The records are the caller's to fill. */
static inline void part_begin(struct part *p, enum leat_ack ack, uint32_t count)
{
    assert_true(count <= SHARE);
    memset(p, 0, sizeof(*p));
    p->share = (struct intake_share){
        .record = p->record, .count = count, .offset = p->offset, .ack = ack, .done = part_done, .owner = p};
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->cond, NULL);
}

static inline void part_end(struct part *p)
{
    buffer_fini(&p->share.wait.returns);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->cond);
}

static inline int part_state(struct part *p)
{
    pthread_mutex_lock(&p->lock);
    int done = p->done;
    pthread_mutex_unlock(&p->lock);
    return done;
}

static inline int part_wait(struct part *p)
{
    pthread_mutex_lock(&p->lock);
    while (p->done == 0)
        pthread_cond_wait(&p->cond, &p->lock);
    assert_int_equal(p->done, 1);
    pthread_mutex_unlock(&p->lock);
    return p->share.code;
}

/* Records with sequences from `sequence` on, in one partition. */
static inline struct part *part_new(enum leat_ack ack, uint32_t partition, uint64_t session, uint64_t sequence,
                                    uint32_t count)
{
    struct part *p = base_alloc(sizeof(*p));

    part_begin(p, ack, count);
    for (uint32_t i = 0; i < count; i++) {
        p->word[i] = session << 32 | (sequence + i);
        p->record[i] = (struct log_record){partition, 1000, session, sequence + i, span_of(&p->word[i], 8)};
    }
    return p;
}

static inline void part_free(struct part *p)
{
    part_end(p);
    free(p);
}

#endif
