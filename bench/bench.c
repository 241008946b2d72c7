/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const struct bench bench_table[] = {
    {"append", "APPENDED: batches of 1,000 records of 100 bytes, against a bare write and fdatasync loop", bench_append},
    {"processed", "PROCESSED: one record through one journal hop, idle", bench_processed},
    {"turns", "turns of 1 and of 1,000 puts, against a journal and synced LMDB commits", bench_turns},
    {"word_count", "words a second to the frontier", bench_words},
    {"query", "queries that touch one task, and all", bench_query},
    {"restart", "opening a directory after a clean stop and after a kill", bench_restart},
    {"lsh", "vectors: ingest, recall, candidates, query times (--data=DIR of wordnet-minilm)", bench_lsh},
    {"kernels", "vector kernels in each variant, against memory bandwidth and fused multiply-adds", bench_kernels},
    {NULL, NULL, NULL},
};

double bench_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double bench_busy(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int bench_compare(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

double bench_median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof(*values), bench_compare);
    return values[count / 2];
}

void bench_line(const char *name, double value, const char *unit, const char *format, ...)
{
    va_list args;

    printf("%-34s %12.5g %-12s ", name, value, unit);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
}

char *bench_directory(void)
{
    const char *base = getenv("TMPDIR");
    char path[4096];

    snprintf(path, sizeof(path), "%s/leat-bench-XXXXXX", base != NULL ? base : ".");
    if (mkdtemp(path) == NULL) {
        perror(path);
        exit(1);
    }
    return strdup(path);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void bench_remove(char *directory)
{
    nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(directory);
}

double bench_fsync(const char *directory)
{
    enum { PAGE = 4096, WRITES = 200 };
    static char page[PAGE];
    double took[WRITES];
    char path[4200];

    snprintf(path, sizeof(path), "%s/fsync", directory);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || posix_fallocate(fd, 0, (off_t)PAGE * WRITES) != 0 || fsync(fd) != 0) {
        perror(path);
        exit(1);
    }
    for (int i = 0; i < WRITES; i++) {
        double start = bench_now();

        page[0] = (char)i;
        if (pwrite(fd, page, PAGE, (off_t)i * PAGE) != PAGE || fdatasync(fd) != 0) {
            perror(path);
            exit(1);
        }
        took[i] = bench_now() - start;
    }
    close(fd);
    unlink(path);
    return bench_median(took, WRITES);
}

double bench_bandwidth(void)
{
    size_t size = (size_t)512 << 20, count = size / sizeof(unsigned long long);
    unsigned long long *words = malloc(size), sum = 0;
    double best = 0;

    if (words == NULL)
        return 0;
    memset(words, 1, size);
    for (int run = 0; run < 5; run++) {
        unsigned long long a = 0, b = 0, c = 0, d = 0;
        double start = bench_busy();

        for (size_t i = 0; i < count; i += 4) {
            a += words[i];
            b += words[i + 1];
            c += words[i + 2];
            d += words[i + 3];
        }
        double rate = (double)size / (bench_busy() - start);
        sum += a + b + c + d;
        best = rate > best ? rate : best;
    }
    if (sum == 42)
        printf(" ");
    free(words);
    return best;
}

const char *bench_option(int argc, char **argv, const char *name)
{
    size_t size = strlen(name);

    for (int i = 0; i < argc; i++)
        if (strncmp(argv[i], "--", 2) == 0 && strncmp(argv[i] + 2, name, size) == 0 && argv[i][2 + size] == '=')
            return argv[i] + 3 + size;
    return NULL;
}

void bench_must(int rv, const struct leat_error *err)
{
    if (rv == 0)
        return;
    fprintf(stderr, "bench: %s: %s\n", leat_code_name(rv), err->text);
    exit(1);
}
