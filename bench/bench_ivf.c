/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include "modules/modules.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* ivf over generated vectors: ingest, searches alone, beside ingest and in two threads, exact search, and a restart. */

enum { BATCH = 2000, SEARCHES = 5000, EXACT = 30, AGAIN = 100, ROUNDS = 5 };

/* ---- Appending, at most so many a second ---- */

struct feed {
    struct leat_depot *depot;
    const struct bench_set *set;
    uint64_t from, end;
    double rate;          /* 0: as fast as it goes */
    _Atomic bool stop;
    uint64_t appended;
};

static void *feed_run(void *context)
{
    struct feed *f = context;
    struct leat_rows *rows;
    struct leat_error err;
    double start = bench_now();

    bench_must(leat_rows_new(f->depot, &rows), NULL);
    for (uint64_t i = f->from; i < f->end && !f->stop;) {
        leat_rows_clear(rows);
        for (uint32_t b = 0; b < BATCH && i < f->end; b++, i++) {
            struct bench_place p;
            struct leat_value vector = bench_set_vector(f->set, i, &p);

            bench_must(leat_rows_add(rows, LEAT_ROW(leat_u64(i % f->set->vectors), vector, leat_null()), &err), &err);
        }
        bench_must(leat_append(f->depot, rows, NULL, NULL, &err), &err);
        f->appended += BATCH;
        while (f->rate > 0 && !f->stop && (double)f->appended > (bench_now() - start) * f->rate)
            usleep(1000);
    }
    leat_rows_free(rows);
    return NULL;
}

/* ---- Searching ---- */

struct asker {
    struct leat *l;
    const struct bench_set *set;
    const char *query;
    uint32_t searches;
    uint64_t seed;
    double *took;
};

static void ask(struct asker *a, uint32_t i, struct leat_value stats, double *scan)
{
    struct leat_result *r;
    struct leat_error err;
    struct bench_place p;
    struct leat_value vector = bench_set_vector(a->set, (a->seed + i) * 104729 + 1, &p);
    double start = bench_now();

    bench_must(leat_query(a->l, "ivf", a->query,
                          LEAT_ROW(vector, leat_u32(10), leat_null(), leat_null(),
                                   leat_null(), leat_null(), stats, leat_null(), leat_null()),
                          NULL, &r, &err), &err);
    a->took[i] = bench_now() - start;
    if (scan != NULL) {
        struct leat_span any = leat_at(leat_result_rows(r), 0, 4).as.bytes;
        struct leat_any_item item = {.count = 0};

        /* A map of names and nanoseconds: those that end in _ns are time spent in scans. */
        leat_any_read(&any, &item);
        any = item.elements;
        for (uint32_t pairs = item.count; pairs > 0; pairs--) {
            struct leat_any_item name, value;

            leat_any_read(&any, &name);
            leat_any_read(&any, &value);
            struct leat_span text = name.value.as.bytes;
            if (text.size > 3 && memcmp((const char *)text.base + text.size - 3, "_ns", 3) == 0)
                *scan += (double)value.value.as.u * 1e-9;
        }
    }
    leat_result_free(r);
}

static void *ask_all(void *context)
{
    struct asker *a = context;

    for (uint32_t i = 0; i < a->searches; i++)
        ask(a, i, leat_null(), NULL);
    return NULL;
}

struct quantiles {
    double p50, p99, max;
};

static struct quantiles search_all(struct leat *l, const struct bench_set *s, const char *query, uint32_t searches,
                                   uint64_t seed)
{
    double *took = calloc(searches, sizeof(*took));
    struct asker a = {l, s, query, searches, seed, took};

    ask_all(&a);
    qsort(took, searches, sizeof(*took), bench_compare);
    struct quantiles q = {took[searches / 2], took[searches / 100 * 99], took[searches - 1]};
    free(took);
    return q;
}

static double rate_of(struct leat *l, const struct bench_set *s, int threads)
{
    struct asker a[2];
    pthread_t thread[2];
    double start = bench_now();

    for (int i = 0; i < threads; i++) {
        a[i] = (struct asker){l, s, "search", SEARCHES, (uint64_t)i * SEARCHES, calloc(SEARCHES, sizeof(double))};
        pthread_create(&thread[i], NULL, ask_all, &a[i]);
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(thread[i], NULL);
        free(a[i].took);
    }
    return threads * SEARCHES / (bench_now() - start);
}

/* ---- Figures ---- */

/* Of all threads, in seconds. */
static double processor_time(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* When each tenth of all vectors was searchable, as `count` says. Of fewer a tenth is there between two looks. */
enum { TENTHS = 10, LOOK_US = 5000, GROWING_FROM = 100000 };

struct progress {
    struct leat *l;
    uint32_t vectors;
    double at[TENTHS + 1];
};

static uint64_t count_all(struct leat *l)
{
    struct leat_result *r;
    struct leat_error err;

    bench_must(leat_query(l, "ivf", "count", (struct leat_row){0}, NULL, &r, &err), &err);
    uint64_t count = leat_at(leat_result_rows(r), 0, 0).as.u;
    leat_result_free(r);
    return count;
}

static void *progress_run(void *context)
{
    struct progress *p = context;

    p->at[0] = bench_now();
    for (uint32_t tenth = 1; tenth <= TENTHS;) {
        uint64_t count = count_all(p->l);

        for (; tenth <= TENTHS && count >= (uint64_t)p->vectors * tenth / TENTHS; tenth++)
            p->at[tenth] = bench_now();
        usleep(LOOK_US);
    }
    return NULL;
}

/* Vectors a second of a tenth. */
static double progress_rate(const struct progress *p, uint32_t tenth)
{
    return (double)p->vectors / TENTHS / (p->at[tenth] - p->at[tenth - 1]);
}

/* Vectors a second. What comes in faster than upkeep follows is made up for behind it. */
struct ingest {
    double searchable, settled;
};

static struct ingest fill(struct leat *l, struct leat_depot *d, const struct bench_set *s)
{
    struct feed f = {.depot = d, .set = s, .end = s->vectors};
    struct progress p = {.l = l, .vectors = s->vectors};
    struct leat_error err;
    struct ingest rate;
    pthread_t thread;
    double start = bench_now(), used = processor_time();

    pthread_create(&thread, NULL, progress_run, &p);
    feed_run(&f);
    bench_must(leat_wait(l, 600000, &err), &err);
    rate.searchable = s->vectors / (bench_now() - start);
    pthread_join(thread, NULL);
    bench_line("ivf_ingest", rate.searchable, "1/s", "%u x %s through the depot until searchable, durability full",
               s->dims, s->type == LEAT_U8_VECTOR ? "u8" : "f32");
    if (s->vectors >= GROWING_FROM)
        bench_line("ivf_ingest_growing", progress_rate(&p, TENTHS), "1/s",
                   "the last tenth of them; the second %.0f, the fifth %.0f", progress_rate(&p, 2),
                   progress_rate(&p, 5));
    bench_must(leat_wait_idle(l, 600000, &err), &err);
    double took = bench_now() - start;
    rate.settled = s->vectors / took;
    bench_line("ivf_settled", took, "s",
               "until the background has nothing left to do: %.0f/s; %.1f us of processor time a vector in all",
               rate.settled, (processor_time() - used) / s->vectors * 1e6);
    return rate;
}

static void alone(struct leat *l, const struct bench_set *s)
{
    struct quantiles q;
    struct asker a = {l, s, "search", 1, 0, (double[1]){0}};
    double *beside = calloc(SEARCHES, sizeof(*beside)), one, two;

    search_all(l, s, "search", SEARCHES / 10, 9);
    q = search_all(l, s, "search", SEARCHES, 0);
    bench_line("ivf_search_p50", q.p50 * 1e6, "us", "k 10, default nprobe, one thread, idle");
    bench_line("ivf_search_p99", q.p99 * 1e6, "us", "the same");
    for (uint32_t i = 0; i < SEARCHES; i++) {
        double own = 0;

        a.seed = i;
        ask(&a, 0, leat_bool(true), &own);
        beside[i] = a.took[0] - own;
    }
    bench_line("ivf_search_engine", bench_median(beside, SEARCHES) * 1e6, "us",
               "of a search beside finding the postings and scanning them: the engine; wanted: 10");
    free(beside);
    one = rate_of(l, s, 1);
    two = rate_of(l, s, 2);
    bench_line("ivf_search_rate", one, "1/s", "one thread");
    bench_line("ivf_search_threads", two / one, "x", "two threads against one");
}

/* Upserts of what is there, of vectors from a number on, at a rate or as fast as they go, while searches run. */
static struct quantiles beside_ingest(struct leat *l, struct leat_depot *d, const struct bench_set *s, double rate,
                                      uint64_t *from)
{
    struct feed f = {.depot = d, .set = s, .from = *from, .end = UINT64_MAX, .rate = rate};
    struct leat_error err;
    struct quantiles q;
    pthread_t thread;

    pthread_create(&thread, NULL, feed_run, &f);
    usleep(300000);
    q = search_all(l, s, "search", 12 * SEARCHES, 77);
    f.stop = true;
    pthread_join(thread, NULL);
    *from += f.appended;
    bench_must(leat_wait_idle(l, 600000, &err), &err);
    return q;
}

/* In turn with searches alone: both move with the machine. */
static void beside_at(struct leat *l, struct leat_depot *d, const struct bench_set *s, const char *figure, double rate,
                      const char *half, uint64_t *from)
{
    double p99[ROUNDS], times[ROUNDS];

    for (int i = 0; i < ROUNDS; i++) {
        double idle = search_all(l, s, "search", 12 * SEARCHES, 77).p99;

        p99[i] = beside_ingest(l, d, s, rate, from).p99;
        times[i] = p99[i] / idle;
    }
    double middle = bench_median(times, ROUNDS);
    bench_line(figure, bench_median(p99, ROUNDS) * 1e6, "us",
               "while upserts come at %.0f/s, half of what %s; %.1f times what it is alone, %.1f to %.1f in %d rounds",
               rate, half, middle, times[0], times[ROUNDS - 1], ROUNDS);
}

/* Upserts of what is there, as fast as they go, and nothing beside them: how many a second. */
static double replace(struct leat *l, struct leat_depot *d, const struct bench_set *s, uint64_t *from)
{
    struct feed f = {.depot = d, .set = s, .from = *from, .end = *from + s->vectors / 4};
    struct leat_error err;
    double start = bench_now();

    feed_run(&f);
    bench_must(leat_wait(l, 600000, &err), &err);
    double rate = (double)(s->vectors / 4) / (bench_now() - start);
    bench_line("ivf_upserts", rate, "1/s", "of ids that are there, until searchable");
    *from = f.end;
    bench_must(leat_wait_idle(l, 600000, &err), &err);
    return rate;
}

static void beside_all(struct leat *l, struct leat_depot *d, const struct bench_set *s, struct ingest rate)
{
    uint64_t from = s->vectors;
    double upserts = replace(l, d, s, &from);

    beside_at(l, d, s, "ivf_search_p99_half", rate.settled / 2, "upkeep keeps up with", &from);
    beside_at(l, d, s, "ivf_search_p99_burst", upserts / 2, "such upserts do alone", &from);
    struct quantiles q = beside_ingest(l, d, s, 0, &from);
    bench_line("ivf_search_max_full", q.max * 1e3, "ms", "while they come as fast as they go; p99 %.1f us",
               q.p99 * 1e6);
}

static void exact(struct leat *l, const struct bench_set *s)
{
    double bytes = (double)s->vectors * s->dims * (s->type == LEAT_U8_VECTOR ? 1 : 4), took[ROUNDS], share[ROUNDS];

    for (int i = 0; i < ROUNDS; i++) {
        double memory = bench_bandwidth();

        took[i] = search_all(l, s, "exact", EXACT, 3).p50;
        share[i] = bytes / took[i] / memory;
    }
    double p50 = bench_median(took, ROUNDS);
    bench_line("ivf_exact", p50 * 1e3, "ms", "every vector; %.1f GB/s, %.2f of what one thread reads, in turn",
               bytes / p50 * 1e-9, bench_median(share, ROUNDS));
}

static struct leat *open_ivf(const char *directory, const struct bench_set *s, bool warm, struct leat_depot **d)
{
    char dims[16];
    const struct leat_option options[] = {{"dims", dims}, {"type", s->type == LEAT_U8_VECTOR ? "u8" : "f32"},
                                          {"metric", "l2"}, {"ids", "u64"}, {NULL, NULL}};
    struct leat_error err;
    struct leat *l;

    snprintf(dims, sizeof(dims), "%u", s->dims);
    bench_must(leat_open(directory, NULL, &l, &err), &err);
    bench_must(leat_launch(l, &module_ivf, &(struct leat_launch){.options = options, .warm = warm}, &err), &err);
    bench_must(leat_depot_find(l, "ivf", "vectors", d, &err), &err);
    return l;
}

/* Stopped and started: files in the page cache, or put out of it; read ahead or not. */
static struct leat *again(struct leat *l, const char *directory, const struct bench_set *s, const char *name, bool cold,
                          bool warm)
{
    struct leat_depot *d;
    struct rusage before, after;
    char figure[64];

    leat_close(l);
    double left = cold ? bench_drop(directory) : 1, start = bench_now();
    l = open_ivf(directory, s, warm, &d);
    snprintf(figure, sizeof(figure), "ivf_%s", name);
    bench_line(figure, bench_now() - start, "s",
               "ready, after a clean stop; %.0f %% of the files in the page cache before%s", left * 100,
               warm ? ", views read ahead" : "");
    getrusage(RUSAGE_SELF, &before);
    double first = search_all(l, s, "search", 1, 5).max, next = search_all(l, s, "search", AGAIN, 6).max;
    getrusage(RUSAGE_SELF, &after);
    snprintf(figure, sizeof(figure), "ivf_%s_first", name);
    bench_line(figure, first * 1e3, "ms",
               "the first search then, the longest of %d behind it %.3f ms; %ld waits for the disk", AGAIN, next * 1e3,
               after.ru_majflt - before.ru_majflt);
    return l;
}

static uint32_t number_of(int argc, char **argv, const char *name, uint32_t otherwise)
{
    const char *text = bench_option(argc, argv, name);

    return text != NULL ? (uint32_t)strtoul(text, NULL, 10) : otherwise;
}

int bench_ivf(int argc, char **argv)
{
    const char *type = bench_option(argc, argv, "type");
    struct bench_set s = {.vectors = number_of(argc, argv, "vectors", 200000),
                          .dims = number_of(argc, argv, "dims", 128),
                          .type = type != NULL && strcmp(type, "f32") == 0 ? LEAT_F32_VECTOR : LEAT_U8_VECTOR};
    struct leat_depot *d;

    if (s.vectors == 0 || s.dims == 0 || s.dims > BENCH_SET_DIMS ||
        (type != NULL && strcmp(type, "u8") != 0 && strcmp(type, "f32") != 0)) {
        fprintf(stderr, "--vectors=N: a number above 0; --dims=N: at most %d; --type: u8 or f32\n", BENCH_SET_DIMS);
        return 1;
    }
    bench_set_init(&s);
    if (s.centre == NULL) {
        fprintf(stderr, "out of memory\n");
        return 1;
    }
    char *directory = bench_directory();
    struct leat *l = open_ivf(directory, &s, false, &d);
    struct ingest rate = fill(l, d, &s);
    alone(l, &s);
    exact(l, &s);
    beside_all(l, d, &s, rate);
    l = again(l, directory, &s, "restart", false, false);
    l = again(l, directory, &s, "cold", true, false);
    l = again(l, directory, &s, "warm", true, true);
    leat_close(l);
    free(s.centre);
    bench_remove(directory);
    return 0;
}
