/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Backup beside appends, restore and rebuild: in MB/s, and beside them what the disk does for a bare copy. */

enum { COUNTS, BODY = 1000, LOAD_BODY = 100, ROWS = 1000, PIECE = 1 << 20, ROUNDS = 3 };
enum { KEY_BITS = 20, LOAD_KEY_BITS = 10 }; /* many keys in the PState; few of them change under load */

static int count(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value n = leat_i64(0), key = leat_at(in, i, 0);

        leat_get(t, COUNTS, LEAT_KEYS(key), &n, 1);
        leat_put(t, COUNTS, LEAT_KEYS(key), LEAT_ROW(leat_i64(n.as.i + 1)));
    }
    return 0;
}

#define MODULE(name_, retain_)                                                                      \
    {LEAT_ABI, .name = name_,                                                                      \
     .depots = DEPOTS({"rows", "key: u64, body: bytes", .by = "key", .retain = retain_}),          \
     .pstates = PSTATES([COUNTS] = {"counts", "map<u64, i64>"}),                                   \
     .topologies = TOPOLOGIES({"count", LEAT_STREAM, NODES({"count", .from = "rows", .run = count})})}

/* What a backup has to copy, and beside it what is busy: that one does not grow, so that all rounds copy the same. */
static const struct leat_module kept = MODULE("kept", NULL), busy = MODULE("busy", "64MiB");

struct load {
    struct leat *leat;
    struct leat_depot *depot;
    struct leat_rows *rows;
    uint64_t seed, appended;     /* rows */
    double rate;                 /* rows a second while append_on ran */
    _Atomic bool stop;
};

static struct leat_error err;

static void append_batch(struct load *l, uint32_t body, int key_bits, enum leat_ack ack)
{
    static char bytes[BODY];

    leat_rows_clear(l->rows);
    for (uint32_t i = 0; i < ROWS; i++) {
        l->seed = l->seed * 6364136223846793005U + 1442695040888963407U;
        memcpy(bytes, &l->seed, sizeof(l->seed));
        bench_must(leat_rows_add(l->rows, LEAT_ROW(leat_u64(l->seed >> (64 - key_bits)), leat_bytes(bytes, body)),
                                 &err), &err);
    }
    bench_must(leat_append(l->depot, l->rows, &(struct leat_append){.ack = ack}, NULL, &err), &err);
    l->appended += ROWS;
}

/* Until told to stop. */
static void *append_on(void *context)
{
    struct load *l = context;
    uint64_t before = l->appended;
    double start = bench_now();

    while (!l->stop)
        append_batch(l, LOAD_BODY, LOAD_KEY_BITS, LEAT_PROCESSED);
    l->rate = (double)(l->appended - before) / (bench_now() - start);
    return NULL;
}

static void load_begin(struct load *l, pthread_t *thread)
{
    l->stop = false;
    if (pthread_create(thread, NULL, append_on, l) != 0)
        exit(1);
}

static double load_end(struct load *l, pthread_t thread)
{
    l->stop = true;
    pthread_join(thread, NULL);
    return l->rate;
}

static double rate_alone(struct load *l, double seconds)
{
    pthread_t thread;

    load_begin(l, &thread);
    usleep((useconds_t)(seconds * 1e6));
    return load_end(l, thread);
}

static double rate_beside(struct load *l, const char *directory, const char *to, uint64_t bytes_per_second,
                          double *took)
{
    struct leat_backup how = {.bytes_per_second = bytes_per_second};
    pthread_t thread;

    load_begin(l, &thread);
    double start = bench_now();
    bench_must(leat_backup(directory, to, &how, NULL, &err), &err);
    *took = bench_now() - start;
    return load_end(l, thread);
}

/* ---- Bytes ---- */

static double tree_bytes;

static int add_size(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)path;
    (void)at;
    tree_bytes += type == FTW_F ? (double)st->st_blocks * 512 : 0;
    return 0;
}

static double tree_mb(const char *directory)
{
    tree_bytes = 0;
    nftw(directory, add_size, 16, FTW_PHYS);
    return tree_bytes / 1e6;
}

/* MB/s of reading one file and writing and syncing another. */
static double bare_copy(const char *from, const char *to, double megabytes)
{
    char *piece = calloc(1, PIECE);
    int in = open(from, O_RDONLY), out = open(to, O_RDWR | O_CREAT | O_TRUNC, 0600);
    double start = bench_now();
    off_t at = 0;

    if (in < 0 || out < 0)
        exit(1);
    for (ssize_t n = 1; n > 0 && (double)at < megabytes * 1e6; at += n)
        if ((n = read(in, piece, PIECE)) < 0 || write(out, piece, (size_t)n) != n)
            exit(1);
    if (fdatasync(out) != 0)
        exit(1);
    double took = bench_now() - start;
    close(in);
    close(out);
    free(piece);
    return (double)at / 1e6 / took;
}

static double disk_copies(const char *directory, double megabytes)
{
    char from[4200], to[4200];
    char *piece = malloc(PIECE);
    double rate[ROUNDS];

    snprintf(from, sizeof(from), "%s/from", directory);
    snprintf(to, sizeof(to), "%s/to", directory);
    int fd = open(from, O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (double at = 0; at < megabytes * 1e6; at += PIECE) {
        memset(piece, (int)(at / PIECE), PIECE);
        if (write(fd, piece, PIECE) != PIECE)
            exit(1);
    }
    fsync(fd);
    close(fd);
    free(piece);
    for (int i = 0; i < ROUNDS; i++)
        rate[i] = bare_copy(from, to, megabytes);
    unlink(from);
    unlink(to);
    return bench_median(rate, ROUNDS);
}

/* ---- Parts ---- */

static struct load open_load(const char *directory, const struct leat_module *module)
{
    struct load l = {.seed = 7};

    bench_must(leat_open(directory, NULL, &l.leat, &err), &err);
    bench_must(leat_launch(l.leat, &kept, &(struct leat_launch){.tasks = 64, .groups = 2}, &err), &err);
    if (module != &kept)
        bench_must(leat_launch(l.leat, module, &(struct leat_launch){.tasks = 64, .groups = 2}, &err), &err);
    bench_must(leat_depot_find(l.leat, module->name, "rows", &l.depot, &err), &err);
    bench_must(leat_rows_new(l.depot, &l.rows), &err);
    return l;
}

static void close_load(struct load *l)
{
    leat_rows_free(l->rows);
    leat_close(l->leat);
}

static void fresh(char *out, size_t size, const char *base, const char *name)
{
    static int number;

    snprintf(out, size, "%s/%s-%d", base, name, ++number);
}

/* Each backup goes into a folder without another one, so that all is copied. */
static void beside(struct load *l, const char *base, const char *data, uint64_t bytes_per_second, const char *name)
{
    double alone[ROUNDS], with[ROUNDS], took[ROUNDS], slept = 1;
    char to[4200];

    for (int i = 0; i < ROUNDS; i++) {
        double before = rate_alone(l, slept);

        fresh(to, sizeof(to), base, "backups");
        with[i] = rate_beside(l, data, to, bytes_per_second, &took[i]);
        slept = took[i] < 0.5 ? 0.5 : took[i] > 2 ? 2 : took[i];
        alone[i] = (before + rate_alone(l, slept)) / 2;
        bench_remove(strdup(to));
    }
    double a = bench_median(alone, ROUNDS), w = bench_median(with, ROUNDS);
    bench_line(name, 100 * (1 - w / a), "%", "of %.0f rows/s PROCESSED; %.2f s each; wanted: 20 at most", a,
               bench_median(took, ROUNDS));
}

static void restore_all(const char *base, const char *data, double copied)
{
    char to[4200], back[4200];
    double start = bench_now();

    fresh(to, sizeof(to), base, "backups");
    bench_must(leat_backup(data, to, NULL, NULL, &err), &err);
    double took = bench_now() - start, megabytes = tree_mb(to);
    bench_line("backup, nothing beside", megabytes / took, "MB/s", "%.0f MB; ratio to a bare copy %.2f", megabytes,
               megabytes / took / copied);
    fresh(back, sizeof(back), base, "back");
    start = bench_now();
    bench_must(leat_restore(to, NULL, back, NULL, &err), &err);
    double rate = megabytes / (bench_now() - start);
    bench_line("restore", rate, "MB/s", "every byte checked; ratio %.2f; wanted: 100", rate / copied);
    bench_remove(strdup(to));
    bench_remove(strdup(back));
}

static void rebuild_all(const char *data, double copied, double log_mb, uint64_t rows)
{
    double start = bench_now();

    bench_must(leat_rebuild(data, &kept, NULL, &err), &err);
    double took = bench_now() - start;
    bench_line("rebuild", log_mb / took, "MB/s of log",
               "%.0f MB, %.0f rows/s, one read and one put a row; ratio %.2f; wanted: 100", log_mb, (double)rows / took,
               log_mb / took / copied);
}

int bench_backup(int argc, char **argv)
{
    const char *text = bench_option(argc, argv, "share");
    double share = text != NULL ? atof(text) : 1, megabytes = 1000 * (share < 0.01 ? 0.01 : share);
    char *base = bench_directory(), data[4200];

    fresh(data, sizeof(data), base, "data");
    struct load l = open_load(data, &kept);
    while ((double)l.appended * BODY < megabytes * 1e6)
        append_batch(&l, BODY, KEY_BITS, LEAT_APPENDED);
    uint64_t rows = l.appended;
    bench_must(leat_wait(l.leat, 600000, &err), &err);
    close_load(&l);
    double copied = disk_copies(base, megabytes);
    bench_line("bare copy", copied, "MB/s", "%.0f MB in the cache read, written and synced", megabytes);
    restore_all(base, data, copied);
    rebuild_all(data, copied, megabytes, rows);
    l = open_load(data, &busy);
    beside(&l, base, data, 0, "cost of a backup");
    beside(&l, base, data, 100000000, "cost of a backup at 100 MB/s");
    close_load(&l);
    bench_remove(base);
    return 0;
}
