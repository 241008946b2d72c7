/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include "engine/group.h"

#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PUTS };
enum { RECORD = 100, BATCH = 1000, BATCHES = 300, ALONE = 1000 };

static int hop(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_u32((leat_task_number(t) + 1) & (leat_task_count(t) - 1)), leat_at(in, i, 0)));
    return 0;
}

static int put(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_put(t, PUTS, LEAT_KEYS(leat_at(in, i, 1)), LEAT_ROW(leat_at(in, i, 1)));
    return 0;
}

static int put_here(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_put(t, PUTS, LEAT_KEYS(leat_at(in, i, 0)), LEAT_ROW(leat_at(in, i, 0)));
    return 0;
}

static const struct leat_module probe = {
    LEAT_ABI, .name = "probe",
    .depots = DEPOTS({"plain", "body: bytes", .partitioner = LEAT_RANDOM},
                     {"hops", "number: i64", .partitioner = LEAT_RANDOM},
                     {"puts", "number: i64", .partitioner = LEAT_EXPLICIT}),
    .pstates = PSTATES([PUTS] = {"puts", "map<i64, i64>"}),
    .topologies = TOPOLOGIES(
        {"hop", LEAT_STREAM, NODES(
            {"hop", .from = "hops", .run = hop, .emits = "task: u32, number: i64"},
            {"put", .from = "hop", .route = LEAT_DIRECT, .run = put})},
        {"put", LEAT_STREAM, NODES({"put", .from = "puts", .run = put_here})})};

struct opened {
    struct leat *leat;
    struct leat_depot *depot;
    struct leat_rows *rows;
    char *directory;
};

static struct opened open_probe(const char *depot, enum leat_durability durability, uint32_t groups)
{
    struct leat_config config = {.create = true, .durability = durability};
    struct leat_error err = {0};
    struct opened o = {.directory = bench_directory()};

    bench_must(leat_open(o.directory, &config, &o.leat, &err), &err);
    bench_must(leat_launch(o.leat, &probe, &(struct leat_launch){.tasks = 64, .groups = groups}, &err), &err);
    bench_must(leat_depot_find(o.leat, "probe", depot, &o.depot, &err), &err);
    bench_must(leat_rows_new(o.depot, &o.rows), &err);
    return o;
}

static void close_probe(struct opened *o)
{
    leat_rows_free(o->rows);
    leat_close(o->leat);
    bench_remove(o->directory);
}

/* ---- append ---- */

/* The same bytes in the same batches, written and synced by a loop. */
static double bare_loop(void)
{
    char *directory = bench_directory(), path[4200], *bytes = calloc(1, RECORD * BATCH);

    snprintf(path, sizeof(path), "%s/bare", directory);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || posix_fallocate(fd, 0, (off_t)RECORD * BATCH * BATCHES) != 0 || fsync(fd) != 0) {
        perror(path);
        exit(1);
    }
    double start = bench_now();
    for (int i = 0; i < BATCHES; i++)
        if (pwrite(fd, bytes, RECORD * BATCH, (off_t)i * RECORD * BATCH) != RECORD * BATCH || fdatasync(fd) != 0) {
            perror(path);
            exit(1);
        }
    double took = bench_now() - start;
    close(fd);
    free(bytes);
    bench_remove(directory);
    return (double)BATCH * BATCHES / took;
}

static double appended(uint32_t groups)
{
    struct opened o = open_probe("plain", LEAT_FULL, groups);
    struct leat_error err = {0};
    char body[RECORD];

    memset(body, 'x', sizeof(body));
    for (int i = 0; i < BATCH; i++)
        bench_must(leat_rows_add(o.rows, LEAT_ROW(leat_bytes(body, sizeof(body))), &err), &err);
    bench_must(leat_append(o.depot, o.rows, NULL, NULL, &err), &err);
    double start = bench_now();
    for (int i = 0; i < BATCHES; i++)
        bench_must(leat_append(o.depot, o.rows, NULL, NULL, &err), &err);
    double took = bench_now() - start;
    close_probe(&o);
    return (double)BATCH * BATCHES / took;
}

int bench_append(int argc, char **argv)
{
    double bare[5], one[5], two[5];

    (void)argc;
    (void)argv;
    for (int i = 0; i < 5; i++) {
        bare[i] = bare_loop();
        one[i] = appended(1);
        two[i] = appended(2);
    }
    double base = bench_median(bare, 5), single = bench_median(one, 5), pair = bench_median(two, 5);
    bench_line("bare write and fdatasync loop", base, "records/s",
               "batches of %d records of %d bytes, preallocated file", BATCH, RECORD);
    bench_line("append, 1 group", single, "records/s", "ratio %.2f; wanted: 0.7", single / base);
    bench_line("append, 2 groups", pair, "records/s", "ratio %.2f; wanted: 0.7", pair / base);
    return 0;
}

/* ---- processed ---- */

static void alone(enum leat_durability durability, double *p50, double *p99)
{
    struct opened o = open_probe("hops", durability, 2);
    struct leat_append how = {.ack = LEAT_PROCESSED};
    struct leat_error err = {0};
    double *took = malloc(ALONE * sizeof(*took));

    for (int i = -50; i < ALONE; i++) {
        leat_rows_clear(o.rows);
        bench_must(leat_rows_add(o.rows, LEAT_ROW(leat_i64(i)), &err), &err);
        double start = bench_now();
        bench_must(leat_append(o.depot, o.rows, &how, NULL, &err), &err);
        if (i >= 0)
            took[i] = bench_now() - start;
    }
    qsort(took, ALONE, sizeof(*took), bench_compare);
    *p50 = took[ALONE / 2] * 1e3;
    *p99 = took[ALONE * 99 / 100] * 1e3;
    free(took);
    close_probe(&o);
}

int bench_processed(int argc, char **argv)
{
    double f[5], full50[5], full99[5], fast50[5], fast99[5];

    (void)argc;
    (void)argv;
    for (int i = 0; i < 5; i++) {
        char *directory = bench_directory();

        f[i] = bench_fsync(directory) * 1e3;
        bench_remove(directory);
        alone(LEAT_FULL, &full50[i], &full99[i]);
        alone(LEAT_PROCESS, &fast50[i], &fast99[i]);
    }
    double sync = bench_median(f, 5);
    bench_line("f, measured between these", sync, "ms", "median of 5");
    bench_line("PROCESSED over a hop, full, p50", bench_median(full50, 5), "ms", "wanted: 5 f + 0.3 = %.3f",
               5 * sync + 0.3);
    bench_line("PROCESSED over a hop, full, p99", bench_median(full99, 5), "ms", "wanted: 15 f + 1 = %.3f",
               15 * sync + 1);
    bench_line("PROCESSED over a hop, process, p50", bench_median(fast50, 5), "ms", "wanted: 0.3");
    return 0;
}

/* ---- turns ---- */

static void lmdb_must(int rc)
{
    if (rc != 0) {
        fprintf(stderr, "bench: LMDB: %s\n", mdb_strerror(rc));
        exit(1);
    }
}

/* Turns of so many puts, each a synced journal write and a synced LMDB commit; turns a second. */
static double synced_turns(int puts, int turns)
{
    char *directory = bench_directory(), path[4200];
    size_t bytes = (size_t)puts * 40;
    char *journal = calloc(1, bytes);
    unsigned long long seed = 1;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;

    snprintf(path, sizeof(path), "%s/journal", directory);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || posix_fallocate(fd, 0, (off_t)bytes * turns) != 0)
        exit(1);
    lmdb_must(mdb_env_create(&env));
    lmdb_must(mdb_env_set_mapsize(env, (size_t)1 << 32));
    lmdb_must(mdb_env_open(env, directory, 0, 0600));
    double start = bench_now();
    for (int i = 0; i < turns; i++) {
        lmdb_must(mdb_txn_begin(env, NULL, 0, &txn));
        lmdb_must(mdb_dbi_open(txn, NULL, 0, &dbi));
        for (int j = 0; j < puts; j++) {
            seed = seed * 6364136223846793005U + 1442695040888963407U;
            unsigned long long key = __builtin_bswap64(seed >> 34), value = key;
            MDB_val k = {8, &key}, v = {8, &value};

            lmdb_must(mdb_put(txn, dbi, &k, &v, 0));
        }
        if (pwrite(fd, journal, bytes, (off_t)bytes * i) != (ssize_t)bytes || fdatasync(fd) != 0)
            exit(1);
        lmdb_must(mdb_txn_commit(txn));
    }
    double took = bench_now() - start;
    mdb_env_close(env);
    close(fd);
    free(journal);
    bench_remove(directory);
    return turns / took;
}

static void no_wake(void *context)
{
    (void)context;
}

/* The same puts through the engine: the records of a turn are in the depot before the clock starts. */
static double engine_turns(int puts, int turns)
{
    struct plan_config plan_config = {.module = &probe, .tasks = 1};
    static struct stats_node nodes[16];
    struct leat_error err = {0};
    char *directory = bench_directory();
    struct plan *plan;
    struct group *g;
    unsigned long long seed = 1;

    bench_must(plan_open(&plan_config, &plan, &err), &err);
    struct group_config config = {.plan = plan, .directory = directory, .groups = 1, .clock = clock_real(), .seed = 1,
                                  .cut_rows = 0, .wake = no_wake, .nodes = nodes};
    bench_must(group_open(&config, &g, &err), &err);
    group_connect(g, &g, NULL);
    struct log_record *record = calloc((size_t)puts, sizeof(*record));
    unsigned long long *body = calloc((size_t)puts, sizeof(*body));
    double took = 0;
    for (int i = 0; i < turns; i++) {
        for (int j = 0; j < puts; j++) {
            seed = seed * 6364136223846793005U + 1442695040888963407U;
            body[j] = seed >> 34;
            record[j] = (struct log_record){.partition = group_partition(g, 2, 0), .body = {&body[j], 8}};
        }
        bench_must(intake_append(group_intake(g), record, (uint32_t)puts, &err), &err);
        double start = bench_now();
        int rv = group_step(g, &err);
        took += bench_now() - start;
        bench_must(rv < 0 ? rv : 0, &err);
    }
    group_close(g);
    plan_close(plan);
    free(record);
    free(body);
    bench_remove(directory);
    return turns / took;
}

int bench_turns(int argc, char **argv)
{
    static const struct {
        int puts, turns;
    } sizes[] = {{1, 500}, {1000, 100}};

    (void)argc;
    (void)argv;
    for (size_t s = 0; s < 2; s++) {
        double ours[5], theirs[5];

        for (int i = 0; i < 5; i++) {
            theirs[i] = synced_turns(sizes[s].puts, sizes[s].turns);
            ours[i] = engine_turns(sizes[s].puts, sizes[s].turns);
        }
        double a = bench_median(ours, 5), b = bench_median(theirs, 5);
        char name[64];
        snprintf(name, sizeof(name), "turns of %d puts", sizes[s].puts);
        bench_line(name, a, "turns/s", "journal and synced LMDB: %.5g; ratio %.2f; wanted: 2.5", b, a / b);
    }
    return 0;
}
