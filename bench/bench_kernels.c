/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include "modules/vector/product.h"
#include "modules/vector/vector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each kernel in each variant that the processor has, one thread: what comes from memory beside the rate at which
 * memory can be read, what stays in the caches beside that of independent fused multiply-adds in the widest
 * registers. */

enum { DIMS = 384, ROWS = 170000, NEAR = 16, PLANES = 128, BLOCK = 64, STREAMS = 4, ROUNDS = 5, VARIANTS = 3 };

struct data {
    const void **vector; /* of rows in memory; the first NEAR are those that stay in the first cache */
    const void **shuffled;
    float *rows, *query, *out;
    struct vector_matrix planes;
};

static double sink;

/* ---- The kernels: bytes or operations done by one call ---- */

static double dot(const struct vector_kernels *k, const struct data *d)
{
    for (int i = 0; i < NEAR; i++)
        d->out[i] = k->dot(d->query, d->vector[i], DIMS);
    return 2.0 * NEAR * DIMS;
}

static double dot_pointers_near(const struct vector_kernels *k, const struct data *d)
{
    k->dot_pointers(d->query, d->vector, NEAR, DIMS, d->out);
    return 2.0 * NEAR * DIMS;
}

/* A row of each quarter a call: what a scan does with blocks. */
static double dot_streams(const struct vector_kernels *k, const struct data *d)
{
    for (uint32_t i = 0; i < ROWS / STREAMS; i++) {
        const void *row[STREAMS];

        for (uint32_t s = 0; s < STREAMS; s++)
            row[s] = d->vector[s * (ROWS / STREAMS) + i];
        k->dot_pointers(d->query, row, STREAMS, DIMS, d->out);
    }
    return (double)ROWS * DIMS * sizeof(float);
}

static double dot_pointers(const struct vector_kernels *k, const struct data *d)
{
    k->dot_pointers(d->query, d->vector, ROWS, DIMS, d->out);
    return (double)ROWS * DIMS * sizeof(float);
}

static double dot_shuffled(const struct vector_kernels *k, const struct data *d)
{
    k->dot_pointers(d->query, d->shuffled, ROWS, DIMS, d->out);
    return (double)ROWS * DIMS * sizeof(float);
}

static double product_alone(const struct vector_kernels *k, const struct data *d)
{
    k->product(&d->planes, d->vector, 1, d->out);
    return 2.0 * PLANES * DIMS;
}

static double product_block(const struct vector_kernels *k, const struct data *d)
{
    k->product(&d->planes, d->vector, BLOCK, d->out);
    return 2.0 * BLOCK * PLANES * DIMS;
}

static const struct work {
    const char *name;
    double (*run)(const struct vector_kernels *k, const struct data *d);
    bool memory; /* else in the caches */
} works[] = {
    {"dot", dot, false},
    {"dot_pointers, in cache", dot_pointers_near, false},
    {"product, 1 vector", product_alone, false},
    {"product, 64 vectors", product_block, false},
    {"dot_pointers, four streams", dot_streams, true},
    {"dot_pointers, in order", dot_pointers, true},
    {"dot_pointers, shuffled", dot_shuffled, true},
};
enum { WORKS = sizeof(works) / sizeof(*works) };

/* A second's bytes or operations, over 5 ms at least. */
static double rate(const struct work *w, const struct vector_kernels *k, const struct data *d)
{
    double start = bench_busy(), done = 0, took = 0;

    while (took < 5e-3) {
        for (int i = 0; i < 10 && (i == 0 || !w->memory); i++)
            done += w->run(k, d);
        took = bench_busy() - start;
    }
    sink += (double)d->out[0];
    return done / took;
}

/* ---- The data ---- */

static uint32_t below(uint64_t *seed, uint32_t bound)
{
    *seed = *seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(*seed >> 33) % bound;
}

static void data_close(struct data *d)
{
    vector_matrix_free(&d->planes);
    free(d->vector);
    free(d->shuffled);
    free(d->rows);
    free(d->query);
    free(d->out);
}

static int data_open(struct data *d)
{
    uint64_t seed = 1;

    *d = (struct data){.vector = calloc(ROWS, sizeof(*d->vector)), .shuffled = calloc(ROWS, sizeof(*d->shuffled)),
                       .rows = calloc((size_t)ROWS * DIMS, sizeof(float)), .query = calloc(DIMS, sizeof(float)),
                       .out = calloc(ROWS, sizeof(float))};
    if (d->vector == NULL || d->shuffled == NULL || d->rows == NULL || d->query == NULL || d->out == NULL ||
        vector_matrix_new(&d->planes, PLANES, DIMS) != 0)
        return -1;
    for (size_t i = 0; i < (size_t)ROWS * DIMS; i++)
        d->rows[i] = (float)(i % 2017) * 1e-3F - 1;
    memcpy(d->query, d->rows + DIMS, DIMS * sizeof(float));
    for (uint32_t i = 0; i < PLANES; i++)
        vector_matrix_set(&d->planes, i, d->rows + (size_t)i * DIMS);
    for (uint32_t i = 0; i < ROWS; i++) {
        uint32_t other = below(&seed, i + 1);

        d->vector[i] = d->rows + (size_t)i * DIMS;
        d->shuffled[i] = d->shuffled[other];
        d->shuffled[other] = d->vector[i];
    }
    return 0;
}

/* ---- The figures ---- */

static void print(const struct work *w, const char *variant, double value, double bandwidth, double fma)
{
    char name[96];

    snprintf(name, sizeof(name), "%s, %s", w->name, variant);
    if (w->memory)
        bench_line(name, value * 1e-9, "GB/s", "%.2f of memory bandwidth", value / bandwidth);
    else if (fma > 0)
        bench_line(name, value * 1e-9, "GFLOP/s", "%.2f of fused multiply-adds", value / fma);
    else
        bench_line(name, value * 1e-9, "GFLOP/s", " ");
}

int bench_kernels(int argc, char **argv)
{
    double bandwidth[ROUNDS], fma[ROUNDS], found[VARIANTS][WORKS][ROUNDS];
    uint32_t variants;
    const struct vector_kernels *const *all = vector_kernels_all(&variants);
    struct data d;

    if (data_open(&d) != 0) {
        fprintf(stderr, "bench: out of memory for %d vectors\n", ROWS);
        data_close(&d);
        return 1;
    }
    for (int round = 0; round < ROUNDS; round++) {
        bandwidth[round] = bench_bandwidth();
        fma[round] = 2 * bench_peak(BENCH_MULTIPLY_ADDS);
        for (uint32_t v = 0; v < variants; v++)
            for (int w = 0; w < WORKS; w++)
                found[v][w][round] = rate(&works[w], all[v], &d);
    }
    double most_bytes = bench_median(bandwidth, ROUNDS), most_operations = bench_median(fma, ROUNDS);
    bench_line("memory bandwidth, one thread", most_bytes * 1e-9, "GB/s", "sum of 512 MiB");
    if (most_operations > 0)
        bench_line("fused multiply-adds, one thread", most_operations * 1e-9, "GFLOP/s", "12 chains, registers of %s",
                   all[variants - 1]->name);
    for (int w = 0; w < WORKS; w++)
        for (uint32_t v = 0; v < variants; v++)
            print(&works[w], all[v]->name, bench_median(found[v][w], ROUNDS), most_bytes, most_operations);
    data_close(&d);
    return bench_distances(argc, argv) != 0 || sink == 42;
}
