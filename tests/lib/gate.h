/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_GATE_H
#define TESTS_LIB_GATE_H

/* A gate that a module's runs wait at while it is closed, and tests until some have come to it. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool closed;
    uint32_t entered;
};

#define GATE_OPEN {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER}

static inline void gate_set(struct gate *g, bool closed)
{
    pthread_mutex_lock(&g->lock);
    g->closed = closed;
    pthread_cond_broadcast(&g->cond);
    pthread_mutex_unlock(&g->lock);
}

static inline void gate_close(struct gate *g)
{
    gate_set(g, true);
}

static inline void gate_open(struct gate *g)
{
    gate_set(g, false);
}

/* As it was at first. Nobody may be at it. */
static inline void gate_reset(struct gate *g)
{
    g->closed = false;
    g->entered = 0;
}

static inline void gate_pass(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->entered++;
    pthread_cond_broadcast(&g->cond);
    while (g->closed)
        pthread_cond_wait(&g->cond, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

/* Until so many have come. false: not within a minute. */
static inline bool gate_wait(struct gate *g, uint32_t entries)
{
    struct timespec end;
    int rv = 0;

    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 60;
    pthread_mutex_lock(&g->lock);
    while (g->entered < entries && rv == 0)
        rv = pthread_cond_timedwait(&g->cond, &g->lock, &end);
    bool come = g->entered >= entries;
    pthread_mutex_unlock(&g->lock);
    return come;
}

#endif
