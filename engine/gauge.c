/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/gauge.h"

#include "base/base.h"
#include "engine/priority.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

/* SHARE: after a sample the thread rests for so many times what it took of a processor, but AHEAD_NS of such rest may
 * have come together: the first figures are there at once. */
enum { SHARE = 20 };
#define AHEAD_NS (SHARE * INT64_C(1000000000))

struct topology {
    _Atomic uint64_t asked;
    uint64_t samples, skipped, failed;
    double sum;
    float recent[GAUGE_RECENT]; /* sample n at n mod GAUGE_RECENT */
};

struct gauge {
    struct gauge_config config;
    struct topology *of;
    pthread_t thread;
    pthread_mutex_t lock;    /* over all that follows, and all but `asked` above */
    pthread_cond_t cond;
    bool busy;               /* from the pick until it is measured */
    void *sample;            /* given and not measured */
    uint32_t topology;       /* of it */
    int64_t rested_ns;       /* when all rest is over */
    bool stop;
    bool cancel;             /* read without the lock */
};

/* ---- The thread ---- */

/* Under the lock. */
static void record(struct gauge *g, const struct gauge_measured *m)
{
    struct topology *t = &g->of[g->topology];
    int64_t now = g->config.clock->monotonic_ns(g->config.clock);

    g->rested_ns = (g->rested_ns > now ? g->rested_ns : now) + m->cost_ns * SHARE;
    if (m->code != 0) {
        t->failed++;
    } else if (!isnan(m->recall)) {
        t->recent[t->samples++ % GAUGE_RECENT] = (float)m->recall;
        t->sum += m->recall;
    }
    g->sample = NULL;
    g->busy = false;
}

static void *gauge_main(void *context)
{
    struct gauge *g = context;

    priority_lower(PRIORITY_SAMPLES);
    pthread_mutex_lock(&g->lock);
    while (g->sample != NULL || !g->stop) {
        struct gauge_measured measured = {.recall = NAN};

        if (g->sample == NULL) {
            pthread_cond_wait(&g->cond, &g->lock);
            continue;
        }
        pthread_mutex_unlock(&g->lock);
        g->config.measure(g->config.context, g->topology, g->sample, &g->cancel, &measured);
        pthread_mutex_lock(&g->lock);
        record(g, &measured);
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

int gauge_open(const struct gauge_config *config, struct gauge **out)
{
    struct gauge *g = base_alloc(sizeof(*g));

    leat_assert(config->every > 0);
    g->config = *config;
    g->of = base_alloc((config->topologies + 1) * sizeof(*g->of));
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->cond, NULL);
    *out = g;
    if (pthread_create(&g->thread, NULL, gauge_main, g) == 0)
        return 0;
    pthread_mutex_destroy(&g->lock);
    pthread_cond_destroy(&g->cond);
    free(g->of);
    free(g);
    *out = NULL;
    return LEAT_ENOMEM;
}

void gauge_stop(struct gauge *g)
{
    if (g == NULL || g->stop)
        return;
    __atomic_store_n(&g->cancel, true, __ATOMIC_RELAXED);
    pthread_mutex_lock(&g->lock);
    g->stop = true;
    pthread_cond_signal(&g->cond);
    pthread_mutex_unlock(&g->lock);
    pthread_join(g->thread, NULL);
}

void gauge_close(struct gauge *g)
{
    if (g == NULL)
        return;
    gauge_stop(g);
    pthread_mutex_destroy(&g->lock);
    pthread_cond_destroy(&g->cond);
    free(g->of);
    free(g);
}

/* ---- Those who ask ---- */

bool gauge_picks(struct gauge *g, uint32_t topology)
{
    if (g == NULL)
        return false;
    uint64_t before = atomic_fetch_add_explicit(&g->of[topology].asked, 1, memory_order_relaxed);
    if ((before + 1) % g->config.every != 0)
        return false;
    pthread_mutex_lock(&g->lock);
    int64_t rest = g->rested_ns - g->config.clock->monotonic_ns(g->config.clock);
    bool picked = !g->busy && !g->stop && rest < AHEAD_NS;
    if (picked)
        g->busy = true;
    else
        g->of[topology].skipped++;
    pthread_mutex_unlock(&g->lock);
    return picked;
}

void gauge_give(struct gauge *g, uint32_t topology, void *sample)
{
    pthread_mutex_lock(&g->lock);
    leat_assert(g->busy && g->sample == NULL);
    g->topology = topology;
    g->sample = sample;
    g->busy = sample != NULL;
    pthread_cond_signal(&g->cond);
    pthread_mutex_unlock(&g->lock);
}

/* ---- Figures ---- */

void gauge_read(struct gauge *g, uint32_t topology, struct gauge_figures *out)
{
    const struct topology *t = &g->of[topology];

    pthread_mutex_lock(&g->lock);
    uint64_t recent = t->samples < GAUGE_RECENT ? t->samples : GAUGE_RECENT;
    *out = (struct gauge_figures){.samples = t->samples, .skipped = t->skipped, .failed = t->failed};
    for (uint64_t i = 0; i < recent; i++) {
        double recall = (double)t->recent[i];

        out->recent += recall / (double)recent;
        out->least = i == 0 || recall < out->least ? recall : out->least;
    }
    if (t->samples > 0) {
        out->mean = t->sum / (double)t->samples;
        out->last = (double)t->recent[(t->samples - 1) % GAUGE_RECENT];
    }
    pthread_mutex_unlock(&g->lock);
}
