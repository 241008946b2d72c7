/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include "cmd/signals.h"
#include "modules/modules.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A module whose tasks hold one number each. */
enum { NUMBERS, QUERIES = 20000 };

static int keep(struct leat_task *t, const struct leat_batch *in)
{
    leat_put(t, NUMBERS, LEAT_KEYS(leat_u32(0)), LEAT_ROW(leat_at(in, 0, 1)));
    return 0;
}

static int give(struct leat_task *t, const struct leat_batch *in)
{
    struct leat_value number = leat_i64(0);

    (void)in;
    leat_get(t, NUMBERS, LEAT_KEYS(leat_u32(0)), &number, 1);
    leat_emit(t, 0, LEAT_ROW(number));
    return 0;
}

static const struct leat_module numbers = {
    LEAT_ABI, .name = "numbers",
    .depots = DEPOTS({"given", "task: u32, number: i64", .partitioner = LEAT_RANDOM}),
    .pstates = PSTATES([NUMBERS] = {"numbers", "map<u32, i64>"}),
    .topologies = TOPOLOGIES(
        {"keep", LEAT_STREAM, NODES({"keep", .from = "given", .route = LEAT_DIRECT, .run = keep})},
        {"one", LEAT_QUERY, .takes = "task: u32", NODES(
            {"give", .from = "request", .route = LEAT_DIRECT, .run = give, .emits = "number: i64"},
            {"sum", .from = "give", .route = LEAT_TO_ORIGIN, .fold = &leat_sum, .into = "reply"})},
        {"all", LEAT_QUERY, .takes = "task: u32", NODES(
            {"give", .from = "request", .route = LEAT_ALL, .run = give, .emits = "number: i64"},
            {"sum", .from = "give", .route = LEAT_TO_ORIGIN, .fold = &leat_sum, .into = "reply"})})};

static struct leat *open_numbers(const char *directory, struct leat_error *err)
{
    struct leat_depot *d;
    struct leat_rows *rows;
    struct leat *l;

    bench_must(leat_open(directory, NULL, &l, err), err);
    bench_must(leat_launch(l, &numbers, &(struct leat_launch){.tasks = 64, .groups = 2}, err), err);
    bench_must(leat_depot_find(l, "numbers", "given", &d, err), err);
    bench_must(leat_rows_new(d, &rows), err);
    for (uint32_t i = 0; i < 64; i++)
        bench_must(leat_rows_add(rows, LEAT_ROW(leat_u32(i), leat_i64(i)), err), err);
    bench_must(leat_append(d, rows, &(struct leat_append){.ack = LEAT_PROCESSED}, NULL, err), err);
    leat_rows_free(rows);
    return l;
}

static double median_query(struct leat *l, const char *query, int64_t wanted, struct leat_error *err)
{
    double *took = malloc(QUERIES * sizeof(*took));

    for (int i = 0; i < QUERIES; i++) {
        struct leat_result *r;
        double start = bench_now();

        bench_must(leat_query(l, "numbers", query, LEAT_ROW(leat_u32((uint32_t)i % 64)), NULL, &r, err), err);
        int64_t sum = leat_at(leat_result_rows(r), 0, 0).as.i;
        leat_result_free(r);
        took[i] = bench_now() - start;
        if (sum != (wanted >= 0 ? wanted : i % 64)) {
            fprintf(stderr, "bench: a wrong answer: %lld\n", (long long)sum);
            exit(1);
        }
    }
    double median = bench_median(took, QUERIES);
    free(took);
    return median;
}

int bench_query(int argc, char **argv)
{
    struct leat_error err = {0};
    char *directory = bench_directory();
    struct leat *l = open_numbers(directory, &err);
    double one[5], all[5];

    (void)argc;
    (void)argv;
    for (int i = 0; i < 5; i++) {
        one[i] = median_query(l, "one", -1, &err) * 1e6;
        all[i] = median_query(l, "all", 63 * 64 / 2, &err) * 1e6;
    }
    bench_line("query, one task, p50", bench_median(one, 5), "us", "one number, in process; wanted: 8");
    bench_line("query, 64 tasks, p50", bench_median(all, 5), "us", "one number, in process; wanted: 25");
    leat_close(l);
    bench_remove(directory);
    return 0;
}

/* ---- Restart ---- */

/* Fill a directory with about so many MB of vectors, in a child that ends cleanly or is killed. */
static void fill(const char *directory, int megabytes, bool kill_it)
{
    pid_t child = signals_fork();

    if (child < 0) {
        perror("fork");
        exit(1);
    }
    if (child > 0) {
        int status;

        waitpid(child, &status, 0);
        return;
    }
    struct leat_error err = {0};
    struct leat_depot *d;
    struct leat_rows *rows;
    struct leat *l;
    float *vector = malloc(384 * sizeof(float));
    bench_must(leat_open(directory, NULL, &l, &err), &err);
    bench_must(leat_launch(l, &module_lsh, NULL, &err), &err);
    bench_must(leat_depot_find(l, "lsh", "vectors", &d, &err), &err);
    bench_must(leat_rows_new(d, &rows), &err);
    for (int i = 0; i < megabytes * 1000 / 4; i++) {
        char id[32];

        snprintf(id, sizeof(id), "v%d", i);
        for (int j = 0; j < 384; j++)
            vector[j] = (float)((i * 31 + j * 17) % 101) - 50;
        bench_must(leat_rows_add(rows, LEAT_ROW(leat_str(id), leat_vector(LEAT_F32_VECTOR, vector, 384), leat_null()),
                                 &err), &err);
        if (leat_rows_count(rows) == 1000) {
            bench_must(leat_append(d, rows, NULL, NULL, &err), &err);
            leat_rows_clear(rows);
        }
    }
    bench_must(leat_wait(l, 600000, &err), &err);
    if (kill_it)
        kill(getpid(), SIGKILL);
    leat_close(l);
    _exit(0);
}

static double resident_mb(void)
{
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    char line[256];
    long anonymous = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        sscanf(line, "Anonymous: %ld", &anonymous);
    if (f != NULL)
        fclose(f);
    return (double)anonymous / 1024;
}

/* Seconds until the directory is open and a query was answered. */
static double reopen(const char *directory, double *memory)
{
    struct leat_error err = {0};
    struct leat_result *r;
    struct leat *l;
    float vector[384] = {1};
    double start = bench_now();

    bench_must(leat_open(directory, NULL, &l, &err), &err);
    bench_must(leat_launch(l, &module_lsh, NULL, &err), &err);
    bench_must(leat_query(l, "lsh", "candidates", LEAT_ROW(leat_vector(LEAT_F32_VECTOR, vector, 384)), NULL, &r, &err),
               &err);
    double took = bench_now() - start;
    leat_result_free(r);
    *memory = resident_mb();
    leat_close(l);
    return took;
}

int bench_restart(int argc, char **argv)
{
    const char *text = bench_option(argc, argv, "megabytes");
    int megabytes = text != NULL ? atoi(text) : 1000;
    char *directory = bench_directory();
    double memory;

    fill(directory, megabytes, false);
    double clean = reopen(directory, &memory);
    bench_line("restart after a clean stop", clean, "s", "about %d MB of directory; wanted: 1", megabytes);
    bench_line("idle memory of our own", memory, "MB", "anonymous pages; wanted: 50");
    bench_remove(directory);
    directory = bench_directory();
    fill(directory, megabytes, true);
    double killed = reopen(directory, &memory);
    bench_line("restart after kill -9", killed, "s", "about %d MB of directory; wanted: 5", megabytes);
    bench_remove(directory);
    return 0;
}
