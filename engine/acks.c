/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/acks.h"

#include <pthread.h>

/* Waits of a partition stand in a list by offset. Registrations come in order of offsets but for repeats, so a new
 * one goes near the end. Callbacks are called outside the lock. */

enum { RETURN_HEAD = 4 + 8 + 1 + 10 };

struct ack_point {
    struct ack_point *next;
    struct ack_wait *wait;
    uint64_t offset;
    uint32_t partition;
};

struct ack_queue {
    struct ack_point *first, *last;
    struct ack_point *sought; /* the last one before the offset of the last return; NULL: none */
    uint64_t frontier;
};

struct acks {
    pthread_mutex_t lock;
    struct ack_queue *queue;
    uint32_t partitions;
    int stopped;
};

struct acks *acks_open(uint32_t partitions)
{
    struct acks *a = base_alloc(sizeof(*a));

    pthread_mutex_init(&a->lock, NULL);
    a->partitions = partitions;
    a->queue = base_alloc((partitions + 1) * sizeof(*a->queue));
    return a;
}

static void insert(struct ack_queue *q, struct ack_point *p)
{
    p->next = NULL;
    if (q->last == NULL) {
        q->first = q->last = p;
    } else if (q->last->offset <= p->offset) {
        q->last->next = p;
        q->last = p;
    } else {
        struct ack_point **at = &q->first;

        while (*at != NULL && (*at)->offset <= p->offset)
            at = &(*at)->next;
        p->next = *at;
        *at = p;
    }
}

static void done(struct ack_wait *w)
{
    free(w->point);
    w->point = NULL;
    w->reached(w);
}

static void done_all(struct ack_wait *w, int code)
{
    struct ack_wait *next;

    for (; w != NULL; w = next) {
        next = w->chain;
        w->code = code;
        done(w);
    }
}

void acks_stop(struct acks *a, int code)
{
    struct ack_wait *left = NULL;

    pthread_mutex_lock(&a->lock);
    a->stopped = code;
    /* A wait may stand in several queues: all are walked before the first is freed. */
    for (uint32_t i = 0; i < a->partitions; i++) {
        for (struct ack_point *p = a->queue[i].first; p != NULL; p = p->next) {
            if (p->wait->left == 0)
                continue;
            p->wait->left = 0;
            p->wait->chain = left;
            left = p->wait;
        }
        a->queue[i].first = a->queue[i].last = a->queue[i].sought = NULL;
    }
    pthread_mutex_unlock(&a->lock);
    done_all(left, code);
}

void acks_close(struct acks *a)
{
    acks_stop(a, LEAT_ECLOSED);
    pthread_mutex_destroy(&a->lock);
    free(a->queue);
    free(a);
}

void acks_register(struct acks *a, struct ack_wait *w, const struct ack_target *targets, uint32_t count)
{
    pthread_mutex_lock(&a->lock);
    w->point = base_alloc((count + 1) * sizeof(*w->point));
    w->points = count;
    w->left = 1;
    w->code = 0;
    for (uint32_t i = 0; i < count; i++) {
        leat_assert(targets[i].partition < a->partitions);
        struct ack_queue *q = &a->queue[targets[i].partition];

        w->point[i] = (struct ack_point){NULL, w, targets[i].offset, targets[i].partition};
        if (q->frontier > targets[i].offset)
            continue;
        if (a->stopped != 0) {
            w->code = a->stopped;
            continue;
        }
        insert(q, &w->point[i]);
        w->left++;
    }
    bool reached = --w->left == 0;
    pthread_mutex_unlock(&a->lock);
    if (reached)
        done(w);
}

static void unlink_point(struct ack_queue *q, struct ack_point *p)
{
    struct ack_point **at = &q->first, *before = NULL;

    while (*at != NULL && *at != p) {
        before = *at;
        at = &(*at)->next;
    }
    if (*at == NULL)
        return;
    *at = p->next;
    if (q->last == p)
        q->last = before;
    if (q->sought == p)
        q->sought = before;
}

bool acks_cancel(struct acks *a, struct ack_wait *w)
{
    pthread_mutex_lock(&a->lock);
    bool waiting = w->left > 0 && w->point != NULL;
    for (uint32_t i = 0; waiting && i < w->points; i++)
        unlink_point(&a->queue[w->point[i].partition], &w->point[i]);
    if (waiting) {
        free(w->point);
        w->point = NULL;
        w->left = 0;
    }
    pthread_mutex_unlock(&a->lock);
    return waiting;
}

void acks_advance(struct acks *a, uint32_t partition, uint64_t frontier)
{
    struct ack_wait *reached = NULL;

    leat_assert(partition < a->partitions);
    pthread_mutex_lock(&a->lock);
    struct ack_queue *q = &a->queue[partition];
    if (frontier > q->frontier)
        q->frontier = frontier;
    while (q->first != NULL && q->first->offset < q->frontier) {
        struct ack_point *p = q->first;

        q->first = p->next;
        if (q->first == NULL)
            q->last = NULL;
        if (q->sought == p)
            q->sought = NULL;
        if (--p->wait->left == 0) {
            p->wait->chain = reached;
            reached = p->wait;
        }
    }
    pthread_mutex_unlock(&a->lock);
    done_all(reached, 0);
}

uint64_t acks_frontier(struct acks *a, uint32_t partition)
{
    leat_assert(partition < a->partitions);
    pthread_mutex_lock(&a->lock);
    uint64_t frontier = a->queue[partition].frontier;
    pthread_mutex_unlock(&a->lock);
    return frontier;
}

/* The first point that is not before an offset. Those of a batch come mostly in order: it goes on where it stood. */
static struct ack_point *seek(struct ack_queue *q, uint64_t offset)
{
    if (q->sought != NULL && q->sought->offset >= offset)
        q->sought = NULL;
    struct ack_point *p = q->sought != NULL ? q->sought->next : q->first;

    while (p != NULL && p->offset < offset) {
        q->sought = p;
        p = p->next;
    }
    return p;
}

void acks_return(struct acks *a, uint32_t partition, uint64_t offset, uint8_t type, struct leat_span value)
{
    leat_assert(partition < a->partitions);
    pthread_mutex_lock(&a->lock);
    /* The wait that holds the record is the first whose last offset is not before it. */
    struct ack_point *p = seek(&a->queue[partition], offset);
    if (p != NULL && LIMIT_BATCH - p->wait->returns.size < value.size + RETURN_HEAD) {
        p->wait->dropped++;
    } else if (p != NULL) {
        struct buffer *out = &p->wait->returns;

        buffer_u32(out, partition);
        buffer_u64(out, offset);
        buffer_u8(out, type);
        buffer_span(out, value);
        leat_assert(out->error == 0);
    }
    pthread_mutex_unlock(&a->lock);
}
