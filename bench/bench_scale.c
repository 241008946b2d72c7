/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include "cmd/signals.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Figures of size. Each part runs in a process of its own, so that the anonymous memory it peaks at is its own. */

enum { KEYS, SETS, VALUES, NUMBERS, SEEN, READ = 0 };
enum { BATCH = 10000, VALUE = 8 << 20, BODY = 1000, BODIES = 4000, WAIT_MS = 1200000 };

static _Atomic bool held; /* the topology of the backlog waits */

static int put_key(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_put(t, KEYS, LEAT_KEYS(leat_at(in, i, 0)), LEAT_ROW(leat_at(in, i, 0)));
    return 0;
}

static int put_element(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_put(t, SETS, LEAT_KEYS(leat_u32(0), leat_at(in, i, 0)), LEAT_ROW());
    return 0;
}

static int drop_set(struct leat_task *t, const struct leat_batch *in)
{
    leat_delete(t, SETS, LEAT_KEYS(leat_at(in, 0, 0)));
    return 0;
}

static int put_value(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_put(t, VALUES, LEAT_KEYS(leat_at(in, i, 0)), LEAT_ROW(leat_at(in, i, 1)));
    return 0;
}

static void add_to(struct leat_task *t, uint32_t pstate, int64_t n)
{
    struct leat_value sum = leat_i64(0);

    leat_get(t, pstate, LEAT_KEYS(leat_u32(0)), &sum, 1);
    leat_put(t, pstate, LEAT_KEYS(leat_u32(0)), LEAT_ROW(leat_i64(sum.as.i + n)));
}

static int add_number(struct leat_task *t, const struct leat_batch *in)
{
    add_to(t, NUMBERS, in->rows);
    return 0;
}

static int see(struct leat_task *t, const struct leat_batch *in)
{
    while (held)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    add_to(t, SEEN, in->rows);
    return 0;
}

static int read_on(struct leat_task *t, const struct leat_batch *in)
{
    add_to(t, READ, in->rows);
    return 0;
}

static int give_number(struct leat_task *t, const struct leat_batch *in)
{
    struct leat_value sum = leat_i64(0);

    (void)in;
    leat_get(t, NUMBERS, LEAT_KEYS(leat_u32(0)), &sum, 1);
    leat_emit(t, 0, LEAT_ROW(sum));
    return 0;
}

static const struct leat_module scale = {
    LEAT_ABI, .name = "scale",
    .depots = DEPOTS({"keys", "key: u64", .by = "key"}, {"elements", "element: u64", .partitioner = LEAT_RANDOM},
                     {"drops", "set: u32", .partitioner = LEAT_RANDOM}, {"values", "id: u32, body: bytes", .by = "id"},
                     {"numbers", "task: u32", .partitioner = LEAT_RANDOM},
                     {"backlog", "body: bytes", .partitioner = LEAT_RANDOM},
                     {"feed", "body: bytes", .partitioner = LEAT_RANDOM}),
    .pstates = PSTATES([KEYS] = {"keys", "map<u64, u64>"}, [SETS] = {"sets", "map<u32, set<u64>>"},
                       [VALUES] = {"values", "map<u32, bytes>"}, [NUMBERS] = {"numbers", "map<u32, i64>"},
                       [SEEN] = {"seen", "map<u32, i64>"}),
    .topologies = TOPOLOGIES(
        {"keys", LEAT_STREAM, NODES({"put", .from = "keys", .run = put_key})},
        {"sets", LEAT_STREAM, NODES({"put", .from = "elements", .route = LEAT_GLOBAL, .run = put_element},
                                    {"drop", .from = "drops", .route = LEAT_GLOBAL, .run = drop_set})},
        {"values", LEAT_STREAM, NODES({"put", .from = "values", .run = put_value})},
        {"numbers", LEAT_STREAM, NODES({"add", .from = "numbers", .route = LEAT_DIRECT, .run = add_number})},
        {"backlog", LEAT_STREAM, NODES({"see", .from = "backlog", .run = see})},
        {"sum", LEAT_QUERY, .takes = "of: u32", NODES(
            {"give", .from = "request", .route = LEAT_ALL, .run = give_number, .emits = "number: i64"},
            {"add", .from = "give", .route = LEAT_TO_ORIGIN, .fold = &leat_sum, .into = "reply"})})};

static const struct leat_module reader = {
    LEAT_ABI, .name = "scale_reader", .pstates = PSTATES([READ] = {"read", "map<u32, i64>"}),
    .topologies = TOPOLOGIES({"read", LEAT_STREAM, NODES({"read", .from = "scale/feed", .run = read_on})})};

/* ---- What all parts need ---- */

struct opened {
    struct leat *leat;
    struct leat_depot *depot;
    struct leat_rows *rows;
};

static struct leat_error err;

static struct opened open_scale(const char *directory, uint32_t tasks, const char *depot, bool with_reader)
{
    static const struct leat_option retain[] = {{"feed", "1MiB"}, {NULL, NULL}};
    struct leat_launch launch = {.tasks = tasks, .groups = 2, .retain = retain};
    struct opened o;

    bench_must(leat_open(directory, NULL, &o.leat, &err), &err);
    bench_must(leat_launch(o.leat, &scale, &launch, &err), &err);
    launch.retain = NULL;
    if (with_reader)
        bench_must(leat_launch(o.leat, &reader, &launch, &err), &err);
    bench_must(leat_depot_find(o.leat, "scale", depot, &o.depot, &err), &err);
    bench_must(leat_rows_new(o.depot, &o.rows), &err);
    return o;
}

static void close_scale(struct opened *o)
{
    leat_rows_free(o->rows);
    leat_close(o->leat);
}

static void append_when(struct opened *o, uint32_t count)
{
    if (leat_rows_count(o->rows) < count)
        return;
    bench_must(leat_append(o->depot, o->rows, NULL, NULL, &err), &err);
    leat_rows_clear(o->rows);
}

static void is(const char *what, uint64_t found, uint64_t wanted)
{
    if (found == wanted)
        return;
    fprintf(stderr, "bench: %s: %llu, not %llu\n", what, (unsigned long long)found, (unsigned long long)wanted);
    exit(1);
}

static uint64_t scattered(uint64_t i)
{
    return i * 0x9e3779b97f4a7c15; /* odd: none comes twice */
}

/* The sum of the numbers that the tasks hold. */
static uint64_t sum_of(struct leat *l, const char *module, uint32_t pstate)
{
    struct leat_view *v;
    int64_t sum = 0;

    bench_must(leat_view_open(l, module, &v, &err), &err);
    for (uint32_t i = 0; i < leat_view_tasks(v); i++) {
        struct leat_value part = leat_i64(0);

        leat_get(leat_view_task(v, i), pstate, LEAT_KEYS(leat_u32(0)), &part, 1);
        sum += part.as.i;
    }
    leat_view_close(v);
    return (uint64_t)sum;
}

static uint64_t size_of(struct leat *l, uint32_t pstate, struct leat_row keys, uint32_t first, uint32_t end)
{
    struct leat_view *v;
    uint64_t sum = 0, size = 0;

    bench_must(leat_view_open(l, "scale", &v, &err), &err);
    for (uint32_t i = first; i < end; i++, sum += size) {
        int rv = leat_size(leat_view_task(v, i), pstate, keys, &size);

        if (rv == LEAT_ENOTFOUND)
            size = 0;
        else
            bench_must(rv, &err);
    }
    leat_view_close(v);
    return sum;
}

/* ---- The parts ---- */

static void keys(const char *directory, double share)
{
    struct opened o = open_scale(directory, 64, "keys", false);
    uint64_t count = (uint64_t)(1000 * share) * BATCH;
    double start = bench_now();

    for (uint64_t i = 0; i < count; i++) {
        bench_must(leat_rows_add(o.rows, LEAT_ROW(leat_u64(scattered(i))), &err), &err);
        append_when(&o, BATCH);
    }
    bench_must(leat_wait(o.leat, WAIT_MS, &err), &err);
    bench_line("keys in one PState", (double)count / (bench_now() - start), "keys/s",
               "%llu keys in random order, to the frontier", (unsigned long long)count);
    is("keys", size_of(o.leat, KEYS, LEAT_KEYS(), 0, 64), count);
    close_scale(&o);
}

static void elements(const char *directory, double share)
{
    struct opened o = open_scale(directory, 64, "elements", false);
    uint64_t count = (uint64_t)(100 * share) * BATCH;
    double start = bench_now();

    for (uint64_t i = 0; i < count; i++) {
        bench_must(leat_rows_add(o.rows, LEAT_ROW(leat_u64(scattered(i))), &err), &err);
        append_when(&o, BATCH);
    }
    bench_must(leat_wait(o.leat, WAIT_MS, &err), &err);
    bench_line("elements of one nested set", (double)count / (bench_now() - start), "elements/s",
               "%llu elements in random order, one task", (unsigned long long)count);
    is("elements", size_of(o.leat, SETS, LEAT_KEYS(leat_u32(0)), 0, 1), count);
    leat_rows_free(o.rows);
    bench_must(leat_depot_find(o.leat, "scale", "drops", &o.depot, &err), &err);
    bench_must(leat_rows_new(o.depot, &o.rows), &err);
    bench_must(leat_rows_add(o.rows, LEAT_ROW(leat_u32(0)), &err), &err);
    start = bench_now();
    bench_must(leat_append(o.depot, o.rows, &(struct leat_append){.ack = LEAT_PROCESSED}, NULL, &err), &err);
    bench_line("removal of that set", (bench_now() - start) * 1e3, "ms", "PROCESSED; swept later");
    is("elements left", size_of(o.leat, SETS, LEAT_KEYS(leat_u32(0)), 0, 1), 0);
    close_scale(&o);
}

static void fill_value(uint64_t *value, uint64_t seed)
{
    for (size_t i = 0; i < VALUE / sizeof(*value); i++)
        value[i] = scattered(seed + i);
}

static void check_values(struct leat *l, uint32_t count, uint64_t *value)
{
    struct leat_view *v;
    struct leat_value id, found;

    bench_must(leat_view_open(l, "scale", &v, &err), &err);
    for (uint32_t i = 0; i < count; i++) {
        id = leat_u32(i);
        bench_must(leat_get(leat_view_owner(v, &id), VALUES, LEAT_KEYS(id), &found, 1), &err);
        fill_value(value, count + i);
        is("the same bytes", found.as.bytes.size == VALUE && memcmp(found.as.bytes.base, value, VALUE) == 0, true);
    }
    leat_view_close(v);
}

/* Each is replaced once. */
static void values(const char *directory, double share)
{
    struct opened o = open_scale(directory, 64, "values", false);
    uint32_t count = 2 + (uint32_t)(62 * share);
    uint64_t *value = malloc(VALUE);
    double start = bench_now();

    for (uint32_t i = 0; i < 2 * count; i++) {
        fill_value(value, i);
        bench_must(leat_rows_add(o.rows, LEAT_ROW(leat_u32(i % count), leat_bytes(value, VALUE)), &err), &err);
        append_when(&o, 1);
    }
    bench_must(leat_wait(o.leat, WAIT_MS, &err), &err);
    bench_line("values of 8 MiB", 2.0 * count * VALUE / (bench_now() - start) / 1e6, "MB/s",
               "%u values, each put twice", count);
    check_values(o.leat, count, value);
    free(value);
    close_scale(&o);
}

static void tasks(const char *directory, double share)
{
    enum { TASKS = 4096 };
    struct opened o = open_scale(directory, TASKS, "numbers", false);
    uint64_t count = (uint64_t)(100 * share + 1) * BATCH;
    struct leat_result *r;
    double start = bench_now();

    for (uint64_t i = 0; i < count; i++) {
        bench_must(leat_rows_add(o.rows, LEAT_ROW(leat_u32((uint32_t)(scattered(i) >> 32) % TASKS)), &err), &err);
        append_when(&o, BATCH);
    }
    bench_must(leat_wait(o.leat, WAIT_MS, &err), &err);
    bench_line("rows over 4,096 tasks", (double)count / (bench_now() - start), "rows/s",
               "%llu rows, each over a hop to a task of its own choice", (unsigned long long)count);
    start = bench_now();
    bench_must(leat_query(o.leat, "scale", "sum", LEAT_ROW(leat_u32(0)), NULL, &r, &err), &err);
    bench_line("query over 4,096 tasks", (bench_now() - start) * 1e3, "ms", "the first one");
    is("rows", (uint64_t)leat_at(leat_result_rows(r), 0, 0).as.i, count);
    leat_result_free(r);
    close_scale(&o);
    start = bench_now();
    o = open_scale(directory, TASKS, "numbers", false);
    bench_line("open and launch with 4,096 tasks", (bench_now() - start) * 1e3, "ms", "after a clean stop");
    close_scale(&o);
}

/* About a gigabyte times share; says how many rows. */
static uint64_t append_bodies(struct opened *o, double share)
{
    uint64_t count = (uint64_t)(250 * share) * BODIES;
    uint64_t body[BODY / sizeof(uint64_t)];

    for (uint64_t i = 0; i < count; i++) {
        for (size_t j = 0; j < BODY / sizeof(*body); j++)
            body[j] = scattered(i + j);
        bench_must(leat_rows_add(o->rows, LEAT_ROW(leat_bytes(body, BODY)), &err), &err);
        append_when(o, BODIES);
    }
    return count;
}

static void backlog(const char *directory, double share)
{
    struct opened o = open_scale(directory, 64, "backlog", false);
    double start = bench_now();

    held = true;
    uint64_t count = append_bodies(&o, share);
    bench_line("append, nothing is processed", (double)count * BODY / (bench_now() - start) / 1e6, "MB/s",
               "%.0f MB, all of it backlog", (double)count * BODY / 1e6);
    is("processed meanwhile", sum_of(o.leat, "scale", SEEN), 0);
    start = bench_now();
    held = false;
    bench_must(leat_wait(o.leat, WAIT_MS, &err), &err);
    bench_line("backlog made up for", (double)count * BODY / (bench_now() - start) / 1e6, "MB/s", "to the frontier");
    is("rows", sum_of(o.leat, "scale", SEEN), count);
    close_scale(&o);
}

/* The reader is known, then away. Meanwhile retention would keep 1 MiB. */
static void stopped(const char *directory, double share)
{
    struct opened o = open_scale(directory, 64, "feed", true);

    close_scale(&o);
    o = open_scale(directory, 64, "feed", false);
    double start = bench_now();
    uint64_t count = append_bodies(&o, share);
    bench_line("append, the reader is stopped", (double)count * BODY / (bench_now() - start) / 1e6, "MB/s",
               "%.0f MB, retention 1 MiB", (double)count * BODY / 1e6);
    close_scale(&o);
    start = bench_now();
    o = open_scale(directory, 64, "feed", true);
    bench_must(leat_wait(o.leat, WAIT_MS, &err), &err);
    bench_line("the reader makes up for it", (double)count * BODY / (bench_now() - start) / 1e6, "MB/s",
               "from its launch to the frontier");
    is("rows", sum_of(o.leat, "scale_reader", READ), count);
    close_scale(&o);
}

/* ---- Memory ---- */

static const struct part {
    const char *name;
    void (*run)(const char *directory, double share);
    int megabytes; /* stated */
} parts[] = {{"keys", keys, 128},   {"elements", elements, 128}, {"values", values, 256},
             {"tasks", tasks, 128}, {"backlog", backlog, 64},    {"stopped", stopped, 64}};

static double anonymous_mb(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long kilobytes = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        sscanf(line, "RssAnon: %ld", &kilobytes);
    if (f != NULL)
        fclose(f);
    return (double)kilobytes / 1024;
}

struct watch {
    _Atomic bool stop;
    double most;
};

static void *watch_memory(void *context)
{
    struct watch *w = context;

    while (!w->stop) {
        double now = anonymous_mb();

        w->most = now > w->most ? now : w->most;
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    return NULL;
}

static void run_part(const struct part *p, const char *directory, double share)
{
    struct watch w = {0};
    char name[64];
    pthread_t thread;

    if (pthread_create(&thread, NULL, watch_memory, &w) != 0)
        exit(1);
    p->run(directory, share);
    w.stop = true;
    pthread_join(thread, NULL);
    snprintf(name, sizeof(name), "memory of %s", p->name);
    bench_line(name, w.most, "MiB", "anonymous, at its most; wanted: %d", p->megabytes);
}

static int run_alone(const struct part *p, double share)
{
    char *directory = bench_directory();
    int status = 1;
    pid_t child;

    fflush(NULL);
    child = signals_fork();
    if (child == 0) {
        run_part(p, directory, share);
        exit(0);
    }
    if (child > 0)
        waitpid(child, &status, 0);
    bench_remove(directory);
    return status != 0;
}

int bench_scale(int argc, char **argv)
{
    const char *text = bench_option(argc, argv, "share"), *only = bench_option(argc, argv, "part");
    double share = text != NULL ? atof(text) : 1;
    int failed = 0;

    share = share < 0.01 ? 0.01 : share;
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
        if (only == NULL || strcmp(only, parts[i].name) == 0)
            failed += run_alone(&parts[i], share);
    return failed > 0;
}
