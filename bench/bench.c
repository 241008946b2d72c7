/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd/temporary.h"

const struct bench bench_table[] = {
    {"all", "all of them, side by side in one run", " ", bench_all},
    {"append", "APPENDED: batches of 1,000 records of 100 bytes, against a bare write and fdatasync loop",
     " ", bench_append},
    {"processed", "PROCESSED: one record through one journal hop, idle", " ", bench_processed},
    {"turns", "turns of 1 and of 1,000 puts, against a journal and synced LMDB commits", " ", bench_turns},
    {"word_count", "words a second to the frontier", " sentences runs ", bench_words},
    {"query", "queries that touch one task, and all", " ", bench_query},
    {"restart", "opening a directory after a clean stop and after a kill", " megabytes ", bench_restart},
    {"lsh", "vectors: ingest, recall, candidates, query times (--data=DIR of wordnet-minilm, --setting=14,16,35)",
     " data setting ", bench_lsh},
    {"ivf", "vectors: ingest, searches alone and beside ingest, exact, restart (--vectors=200000 --dims=128 --type=u8)",
     " vectors dims type ", bench_ivf},
    {"filter",
     "vectors: searches with filters beside those without (--vectors=200000, or --base=F --query=F; --nprobe=32)",
     " base query metric data nprobe vectors ", bench_filter},
    {"kernels", "vector kernels in each variant, against memory bandwidth and arithmetic (--dims=384)", " dims ",
     bench_kernels},
    {"scan", "codes of vectors in each variant: scans, products, encoders, against memory bandwidth and arithmetic",
     " ", bench_scan},
    {"backup", "what backups cost appends, and how fast restore and rebuild are, against a bare copy (--share=0.1)",
     " share ", bench_backup},
    {"scale",
     "many keys, elements and tasks, large values, backlogs, and the memory they take (--share=0.1, --part=NAME)",
     " share part ", bench_scale},
    {NULL, NULL, NULL, NULL},
};

/* f is measured again before each: other users of a disk come and go. */
int bench_all(int argc, char **argv)
{
    int failed = 0;

    if (!bench_lsh_ready(argc, argv))
        return 1;
    for (const struct bench *b = bench_table; b->name != NULL; b++) {
        if (b->run == bench_all)
            continue;
        printf("\n%s\n", b->name);
        bench_disk();
        failed += b->run(argc, argv);
    }
    return failed > 0;
}

static bool has_option(const struct bench *b, const char *name, size_t size)
{
    for (const char *at = b->options; *at != '\0'; at += 1 + strcspn(at + 1, " "))
        if (strncmp(at + 1, name, size) == 0 && at[1 + size] == ' ')
            return true;
    return false;
}

const char *bench_unknown(const struct bench *b, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        const char *name = argv[i] + 2, *equals = strchr(argv[i], '=');
        bool known = false;

        if (strncmp(argv[i], "--", 2) != 0 || equals == NULL || equals == name ||
            strcspn(name, " ") < (size_t)(equals - name))
            return argv[i];
        for (const struct bench *k = bench_table; k->name != NULL && !known; k++) /* 'all' has those of all */
            known = (k == b || b->run == bench_all) && has_option(k, name, (size_t)(equals - name));
        if (!known)
            return argv[i];
    }
    return NULL;
}

int bench_run(const struct bench *b, int argc, char **argv)
{
    bench_machine();
    if (b->run != bench_all)
        bench_disk();
    return b->run(argc, argv);
}

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
    if (!temporary_make(path)) {
        perror(path);
        exit(1);
    }
    return strdup(path);
}

void bench_remove(char *directory)
{
    temporary_remove(directory);
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

/* The sum of all words, read in one stream or in four: some processors need several to be kept busy. */
static unsigned long long sum_words(const unsigned long long *words, size_t count, bool four)
{
    size_t gap = four ? count / 4 : 1, step = four ? 1 : 4, end = four ? count / 4 : count;
    unsigned long long a = 0, b = 0, c = 0, d = 0;

    for (size_t i = 0; i < end; i += step) {
        a += words[i];
        b += words[i + gap];
        c += words[i + 2 * gap];
        d += words[i + 3 * gap];
    }
    return a + b + c + d;
}

double bench_bandwidth(void)
{
    size_t size = (size_t)512 << 20, count = size / sizeof(unsigned long long);
    unsigned long long *words = malloc(size), sum = 0;
    double best = 0;

    if (words == NULL)
        return 0;
    memset(words, 1, size);
    for (int run = 0; run < 10; run++) {
        double start = bench_busy();

        sum += sum_words(words, count, run % 2 == 1);
        double rate = (double)size / (bench_busy() - start);
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
