/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

/* Benchmarks: `leat bench NAME`. Each prints one line a figure: name, value, unit, and beside it what it is compared
 * with in the same run. Times are medians of several runs.
 *
 *   bench.c          all in one run; shared: time, medians, directories, the speed of disk and memory
 *   bench_machine.c  what it runs on
 *   bench_peak.c     and what arithmetic it can do
 *   bench_append.c   append; processed; turns
 *   bench_words.c    word_count
 *   bench_query.c    query; restart
 *   bench_lsh.c      lsh: ingest, recall, candidates, times over wordnet-minilm
 *   bench_ivf.c      ivf: ingest, searches alone and beside ingest, exact, restart
 *   bench_filter.c   filter: ivf's searches with filters beside those without
 *   bench_set.c      the vectors of both
 *   bench_kernels.c  kernels: vector kernels alone
 *   bench_distances.c  its second part: distances of each metric and type
 *   bench_backup.c   backup: beside appends; restore; rebuild
 *   bench_scan.c     scan: codes of vectors
 *   bench_scale.c    scale: figures of size, and the memory they take
 *   recall.h         a command of its own: bench recall */

#include "leat/leat.h"

struct bench {
    const char *name;
    const char *about;
    const char *options; /* names, each between spaces */
    int (*run)(int argc, char **argv); /* arguments behind the name; 0, or 1 when it could not run */
};

extern const struct bench bench_table[]; /* ended by a zero row */

/* The first argument that is no "--name=value" with a name that the benchmark has; NULL: there is none. */
const char *bench_unknown(const struct bench *b, int argc, char **argv);
/* Name machine and program, measure the disk, and run it. */
int bench_run(const struct bench *b, int argc, char **argv);

void bench_machine(void); /* two lines */
void bench_processor(char *out, size_t size); /* what /proc/cpuinfo calls it */
double bench_disk(void);  /* f: bench_fsync, and a line of it */
double bench_now(void); /* seconds */
/* Seconds of this thread on a processor: what else the machine does in between does not count. */
double bench_busy(void);
double bench_median(double *values, int count);
int bench_compare(const void *a, const void *b); /* doubles, for qsort */
/* Print one figure: "name value unit  note". */
void bench_line(const char *name, double value, const char *unit, const char *format, ...)
    __attribute__((__format__(__printf__, 4, 5)));
/* A fresh directory under $TMPDIR or the working directory; removed by bench_remove. */
char *bench_directory(void);
void bench_remove(char *directory);
/* Put the files below a directory that nobody has open out of the page cache; what share of them is still there. */
double bench_drop(const char *directory);
/* p50 in seconds of writing and syncing one page to a preallocated file there. */
double bench_fsync(const char *directory);
/* What one thread can do a second in the widest registers, the best of five; 0: it is not known how to ask this
 * processor. */
enum bench_peak {
    BENCH_MULTIPLY_ADDS, /* fused, of f32: two operations each */
    BENCH_PRODUCTS,      /* of bytes, added up (VNNI) */
    BENCH_BITS,          /* counted */
    BENCH_LOOKUPS        /* of bytes in tables of 16 */
};
double bench_peak(enum bench_peak of);
/* Bytes a second that one thread reads from memory far larger than the caches, in one stream or in four. */
double bench_bandwidth(void);
/* An option "--name=value" among the arguments; NULL when it is not there. */
const char *bench_option(int argc, char **argv, const char *name);

/* Generated vectors: whole numbers of u8, around centres that themselves lie around centres, so that neighbours are
 * near and no list has all of them. Vector i is the same each time. */
enum { BENCH_SET_DIMS = 2048 };
struct bench_set {
    uint32_t vectors, dims;
    enum leat_type type; /* u8 or f32 */
    uint8_t *centre;     /* after bench_set_init; NULL: out of memory. To be freed */
};
/* A vector, and room for it. */
struct bench_place {
    uint8_t u8[BENCH_SET_DIMS];
    float f32[BENCH_SET_DIMS];
};
void bench_set_init(struct bench_set *s);
struct leat_value bench_set_vector(const struct bench_set *s, uint64_t i, struct bench_place *p);
/* End the process with the error's sentence unless rv is 0. */
void bench_must(int rv, const struct leat_error *err);

int bench_append(int argc, char **argv);
int bench_processed(int argc, char **argv);
int bench_turns(int argc, char **argv);
int bench_words(int argc, char **argv);
int bench_query(int argc, char **argv);
int bench_restart(int argc, char **argv);
int bench_lsh(int argc, char **argv);
int bench_ivf(int argc, char **argv);
int bench_filter(int argc, char **argv);
int bench_kernels(int argc, char **argv);
int bench_distances(int argc, char **argv); /* part of bench_kernels */
int bench_backup(int argc, char **argv);
int bench_scan(int argc, char **argv);
int bench_scale(int argc, char **argv);
int bench_all(int argc, char **argv);

/* Is what bench_lsh reads there? Says what is missing when it is not. */
bool bench_lsh_ready(int argc, char **argv);

#endif
