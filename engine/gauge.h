/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_GAUGE_H
#define ENGINE_GAUGE_H

/* The recall of live queries, sampled: of each query topology that has a yardstick one request in so many is kept, and
 * answered again by the yardstick on a thread of its own; what share the first answer had of that one's rows is a
 * figure.
 *
 * A counter decides which requests are picked, and nothing else that one could not repeat, but for two bounds: at most
 * one is under way, and the thread has a twentieth of one processor, with a second of it at once. Those picked beyond
 * the bounds are skipped, and counted.
 *
 * Shared by threads: the counters are atomic; all else is under the lock, which who asks takes for one request in so
 * many. What is measured, and how, is the owner's (query.c). */

#include "base/clock.h"

#include <stdbool.h>

struct gauge;

struct gauge_measured {
    int code;        /* not 0: there was no answer */
    double recall;   /* 0 to 1; NAN: there is nothing to compare with */
    int64_t cost_ns; /* of a processor */
};

struct gauge_config {
    uint32_t topologies;
    uint32_t every;       /* one request in so many of each topology; not 0 */
    struct clock *clock;
    /* Take what gauge_give() was given, on the gauge's thread. It ends early when *cancel becomes true. */
    void (*measure)(void *context, uint32_t topology, void *sample, const bool *cancel, struct gauge_measured *out);
    void *context;
};

/* LEAT_ENOMEM: no thread. */
int gauge_open(const struct gauge_config *config, struct gauge **out);
/* Cancels and waits for what is under way: from then on figures stay. NULL is fine. */
void gauge_stop(struct gauge *g);
void gauge_close(struct gauge *g);

/* Is this request of a topology to be measured? Then gauge_give() must follow. NULL: never. Any thread. */
bool gauge_picks(struct gauge *g, uint32_t topology);
/* sample: taken. NULL: the request failed. */
void gauge_give(struct gauge *g, uint32_t topology, void *sample);

enum { GAUGE_RECENT = 256 };

struct gauge_figures {
    uint64_t samples, skipped, failed;
    double mean;          /* of all samples; 0 as long as there are none */
    double recent, least; /* of the last GAUGE_RECENT: mean and lowest */
    double last;
};
void gauge_read(struct gauge *g, uint32_t topology, struct gauge_figures *out);

#endif
