/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include "modules/vector/quantiser.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Scans of codes in each variant that the processor has, one thread: blocks that stay in the second cache, and lists of
 * eight blocks that lie anywhere in memory, as those of an index do, with and without the next one's being fetched
 * meanwhile. And what a query and a row cost beforehand. */

enum { NEAR = 320 << 10, FAR = 256 << 20, LIST = 8, ROUNDS = 5, VARIANTS = 4, PLACES = 3 };

static const uint32_t shapes[] = {128, 384, 784};
static const char *const places[PLACES] = {"in the second cache", "lists in memory",
                                           "lists in memory, the next fetched"};

struct data {
    uint8_t *blocks, *table;
    uint32_t *order; /* of lists in memory */
    uint32_t lists;
    float *floats, *rotated; /* some of any kind */
    struct vector_rotation rotation;
    struct vector_query query;
    uint32_t mask[NEAR / 512];
    float *lower;
};

static uint64_t sink;

/* ---- Scans ---- */

static struct vector_scan scan_of(struct data *d)
{
    /* The lowest threshold: nothing passes, as most blocks of a search do. */
    return (struct vector_scan){.query = &d->query, .base = 1, .distance = 1, .threshold = -1e30F, .mask = d->mask,
                                .lower = d->lower};
}

/* ns a row. */
static double near(const struct vector_quantiser *by, struct data *d)
{
    struct vector_scan s = scan_of(d);
    double start = bench_busy(), took = 0;
    uint64_t rows = 0;

    s.blocks = d->blocks;
    s.count = (uint32_t)(NEAR / vector_block_size(d->query.padded));
    while (took < 10e-3) {
        for (int i = 0; i < 10; i++, rows += s.count * VECTOR_BLOCK)
            sink += by->scan(&s);
        took = bench_busy() - start;
    }
    return took / (double)rows * 1e9;
}

static double far(const struct vector_quantiser *by, struct data *d, bool ahead)
{
    struct vector_scan s = scan_of(d);
    size_t size = LIST * vector_block_size(d->query.padded);
    double start = bench_busy();

    s.count = LIST;
    s.ahead_count = ahead ? LIST : 0;
    for (uint32_t i = 0; i < d->lists; i++) {
        s.blocks = d->blocks + d->order[i] * size;
        s.ahead = d->blocks + d->order[(i + 1) % d->lists] * size;
        sink += by->scan(&s);
    }
    return (bench_busy() - start) / ((double)d->lists * LIST * VECTOR_BLOCK) * 1e9;
}

/* ---- What comes before; microseconds ---- */

static double rotate(const struct vector_quantiser *by, struct data *d)
{
    enum { TIMES = 1000 };
    double start = bench_busy();

    for (int i = 0; i < TIMES; i++)
        vector_rotate_by(by, &d->rotation, d->floats + i, d->rotated);
    return (bench_busy() - start) / TIMES * 1e6;
}

static double table(const struct vector_quantiser *by, struct data *d)
{
    enum { TIMES = 1000 };
    double start = bench_busy();

    for (int i = 0; i < TIMES; i++)
        by->table(d->rotated, d->query.padded, 20, d->table);
    return (bench_busy() - start) / TIMES * 1e6;
}

static double encode(struct data *d)
{
    enum { TIMES = 1000 };
    double start = bench_busy();
    struct vector_factors factors;

    for (int i = 0; i < TIMES; i++)
        vector_encode(VECTOR_L2, d->floats + i, d->rotated, d->query.padded, d->blocks, &factors);
    return (bench_busy() - start) / TIMES * 1e6;
}

/* ---- The data ---- */

static void data_close(struct data *d)
{
    vector_rotation_free(&d->rotation);
    free(d->blocks);
    free(d->table);
    free(d->order);
    free(d->floats);
    free(d->rotated);
    free(d->lower);
}

static void shuffle(uint32_t *order, uint32_t n)
{
    uint64_t seed = 1;

    for (uint32_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        uint32_t other = (uint32_t)(seed >> 33) % (i + 1);

        order[i] = order[other];
        order[other] = i;
    }
}

static int data_open(struct data *d, uint32_t dims)
{
    enum { FLOATS = VECTOR_ROTATED_MAX + 1000 };

    *d = (struct data){.blocks = aligned_alloc(64, FAR), .table = aligned_alloc(64, 4 * VECTOR_ROTATED_MAX),
                       .order = calloc(FAR / 1024, sizeof(*d->order)), .floats = calloc(FLOATS, sizeof(float)),
                       .rotated = calloc(VECTOR_ROTATED_MAX, sizeof(float)), .lower = calloc(NEAR / 16, sizeof(float))};
    if (d->blocks == NULL || d->table == NULL || d->order == NULL || d->floats == NULL || d->rotated == NULL ||
        d->lower == NULL || vector_rotation_new(&d->rotation, dims, 1) != 0)
        return -1;
    for (uint32_t i = 0; i < FLOATS; i++)
        d->floats[i] = (float)(i * 2654435761U % 2017) * 1e-3F - 1;
    for (size_t i = 0; i < FAR; i++)
        d->blocks[i] = (uint8_t)(i * 2654435761U >> 13);
    vector_rotate(&d->rotation, d->floats, d->rotated);
    vector_query_begin(&d->query, d->rotated, d->rotation.padded, VECTOR_EPSILON, d->table);
    d->lists = (uint32_t)(FAR / LIST / vector_block_size(d->query.padded));
    shuffle(d->order, d->lists);
    return 0;
}

/* ---- The figures ---- */

static void print(const char *what, const char *variant, uint32_t dims, double *values, const char *unit)
{
    char name[96];

    snprintf(name, sizeof(name), "%u dimensions: %s, %s", dims, what, variant);
    bench_line(name, bench_median(values, ROUNDS), unit, " ");
}

static void measure(struct data *d, uint32_t dims)
{
    static double found[VARIANTS][PLACES + 2][ROUNDS], encoded[ROUNDS];
    uint32_t variants;
    const struct vector_quantiser *const *all = vector_quantisers(&variants);

    for (int round = 0; round < ROUNDS; round++) {
        encoded[round] = encode(d);
        for (uint32_t v = 0; v < variants; v++) {
            found[v][0][round] = near(all[v], d);
            found[v][1][round] = far(all[v], d, false);
            found[v][2][round] = far(all[v], d, true);
            found[v][3][round] = rotate(all[v], d);
            found[v][4][round] = table(all[v], d);
        }
    }
    for (int p = 0; p < PLACES; p++)
        for (uint32_t v = 0; v < variants; v++)
            print(places[p], all[v]->name, dims, found[v][p], "ns a row");
    for (uint32_t v = 0; v < variants; v++) {
        print("rotation", all[v]->name, dims, found[v][3], "us");
        print("table of a query", all[v]->name, dims, found[v][4], "us");
    }
    print("code of a row", "portable", dims, encoded, "us");
}

int bench_scan(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    for (uint32_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
        struct data d;

        if (data_open(&d, shapes[i]) != 0) {
            fprintf(stderr, "bench: out of memory for %d bytes of codes\n", FAR);
            data_close(&d);
            return 1;
        }
        measure(&d, shapes[i]);
        data_close(&d);
    }
    return sink == 42;
}
