/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include "modules/vector/distance.h"
#include "modules/vector/vector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Distances of each metric and type, all variants side by side, one thread: time a row, bytes of rows a second, and the
 * share of what limits them: rows in memory beside the rate at which it can be read, rows in the caches and blocks
 * beside that of independent instructions of the kind that they are made of, in the widest registers. */

enum {
    MEMORY = 256 << 20,
    PIECE = 16 << 20,
    NEAR = 24 << 10,
    MIDDLE = 384 << 10,
    QUERIES = 64,
    BLOCK = 1024,
    ROUNDS = 3,
    VARIANTS = 3
};

struct rows {
    enum vector_metric metric;
    enum leat_type type;
    uint32_t dims;
    size_t size;
    const uint8_t *memory, *query; /* the first rows of memory are those in the caches */
    const void **shuffled, **block;
    uint32_t shuffled_count;
    float *out;
};

static volatile float sink;

/* Dimensions a second; 0 where it is not known how to ask. */
static double peak_of(enum leat_type type)
{
    bool bytes = type == LEAT_I8_VECTOR || type == LEAT_U8_VECTOR;

    return bench_peak(type == LEAT_BITS ? BENCH_BITS : bytes ? BENCH_PRODUCTS : BENCH_MULTIPLY_ADDS);
}

/* ---- The kernels: each returns the distances of one call ---- */

static uint32_t one(const struct vector_distance *d, const struct rows *r, uint32_t call)
{
    uint32_t n = (uint32_t)(NEAR / r->size);

    (void)call;
    for (uint32_t i = 0; i < n; i++)
        r->out[i] = d->one(r->query, r->memory + i * r->size, r->dims);
    return n;
}

static uint32_t near(const struct vector_distance *d, const struct rows *r, uint32_t call)
{
    (void)call;
    d->strided(r->query, r->memory, r->size, (uint32_t)(NEAR / r->size), r->dims, r->out);
    return (uint32_t)(NEAR / r->size);
}

static uint32_t middle(const struct vector_distance *d, const struct rows *r, uint32_t call)
{
    (void)call;
    d->strided(r->query, r->memory, r->size, (uint32_t)(MIDDLE / r->size), r->dims, r->out);
    return (uint32_t)(MIDDLE / r->size);
}

static uint32_t strided(const struct vector_distance *d, const struct rows *r, uint32_t call)
{
    uint32_t n = (uint32_t)(PIECE / r->size);

    d->strided(r->query, r->memory + (size_t)(call % (MEMORY / PIECE)) * PIECE, r->size, n, r->dims, r->out);
    return n;
}

static uint32_t pointers(const struct vector_distance *d, const struct rows *r, uint32_t call)
{
    uint32_t n = r->shuffled_count / (MEMORY / PIECE);

    d->pointers(r->query, r->shuffled + (size_t)(call % (MEMORY / PIECE)) * n, n, r->dims, r->out);
    return n;
}

static uint32_t block(const struct vector_distance *d, const struct rows *r, uint32_t call)
{
    (void)call;
    d->block(r->block, QUERIES, r->block + QUERIES, BLOCK, r->dims, r->out, BLOCK);
    return QUERIES * BLOCK;
}

static const struct work {
    const char *name;
    uint32_t (*run)(const struct vector_distance *d, const struct rows *r, uint32_t call);
    bool memory; /* else in the caches */
} works[] = {
    {"one, first cache", one, false},
    {"strided, first cache", near, false},
    {"strided, second cache", middle, false},
    {"strided, memory", strided, true},
    {"pointers, memory shuffled", pointers, true},
    {"block of 64 queries", block, false},
};
enum { WORKS = sizeof(works) / sizeof(*works) };

/* Seconds a row, over 4 ms at least. */
static double row_time(const struct work *w, const struct vector_distance *d, const struct rows *r)
{
    double start = bench_busy(), took = 0, rows = 0;

    for (uint32_t call = 0; took < 4e-3; took = bench_busy() - start)
        for (int i = 0; i < 16 && (i == 0 || (!w->memory && w->run != block)); i++)
            rows += w->run(d, r, call++);
    sink += r->out[0];
    return took / rows;
}

/* ---- The data ---- */

static uint32_t below(uint64_t *seed, uint32_t bound)
{
    *seed = *seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(*seed >> 33) % bound;
}

static void shape(struct rows *r)
{
    uint64_t seed = 1;

    r->size = leat_vector_size(r->type, r->dims);
    r->query = r->memory + MEMORY / 2;
    r->shuffled_count = (uint32_t)(MEMORY / r->size);
    for (uint32_t i = 0; i < r->shuffled_count; i++) {
        uint32_t other = below(&seed, i + 1);

        r->shuffled[i] = r->shuffled[other];
        r->shuffled[other] = r->memory + i * r->size;
    }
    for (uint32_t i = 0; i < QUERIES + BLOCK; i++)
        r->block[i] = r->memory + i * r->size;
}

/* Bytes that are neither large nor subnormal as numbers of any type. */
static int rows_open(struct rows *r, size_t least)
{
    uint64_t seed = 1;
    uint32_t *word = malloc(MEMORY);
    size_t most = MEMORY / least;

    *r = (struct rows){.memory = (const uint8_t *)word,
                       .shuffled = calloc(most, sizeof(*r->shuffled)),
                       .block = calloc(QUERIES + BLOCK, sizeof(*r->block)),
                       .out = calloc(most > QUERIES * BLOCK ? most : QUERIES * BLOCK, sizeof(*r->out))};
    for (size_t i = 0; word != NULL && i < MEMORY / sizeof(*word); i++)
        word[i] = (below(&seed, 1U << 31) & 0x0f0f0f0f) | 0x30303030;
    return word == NULL || r->shuffled == NULL || r->block == NULL || r->out == NULL ? -1 : 0;
}

static void rows_close(struct rows *r)
{
    free((void *)(uintptr_t)r->memory);
    free(r->shuffled);
    free(r->block);
    free(r->out);
}

/* ---- The figures ---- */

static void measure(const char *name, struct rows *r)
{
    uint32_t variants;
    const struct vector_kernels *const *all = vector_kernels_all(&variants);
    double bandwidth = bench_bandwidth(), most = peak_of(r->type) / r->dims;

    shape(r);
    for (int w = 0; w < WORKS; w++) {
        double took[VARIANTS][ROUNDS];

        for (int round = 0; round < ROUNDS; round++)
            for (uint32_t v = 0; v < variants; v++)
                took[v][round] = row_time(&works[w], &all[v]->distances->of[r->metric][r->type], r);
        printf("%-9s %-26s", name, works[w].name);
        for (uint32_t v = 0; v < variants; v++) {
            double each = bench_median(took[v], ROUNDS), bytes = (double)r->size / each;

            printf("  %8.2f %6.1f ", each * 1e9, bytes * 1e-9);
            if (works[w].memory || most > 0)
                printf("%.2f", works[w].memory ? bytes / bandwidth : 1 / each / most);
            else
                printf("   -");
        }
        printf("\n");
        fflush(stdout);
    }
}

int bench_distances(int argc, char **argv)
{
    static const struct {
        const char *name;
        enum vector_metric metric;
        enum leat_type type;
        uint32_t dims;
    } kinds[] = {{"l2 f32", VECTOR_L2, LEAT_F32_VECTOR, 384}, {"dot f32", VECTOR_DOT, LEAT_F32_VECTOR, 384},
                 {"l2 f16", VECTOR_L2, LEAT_F16_VECTOR, 384}, {"dot f16", VECTOR_DOT, LEAT_F16_VECTOR, 384},
                 {"l2 i8", VECTOR_L2, LEAT_I8_VECTOR, 384},   {"dot i8", VECTOR_DOT, LEAT_I8_VECTOR, 384},
                 {"l2 u8", VECTOR_L2, LEAT_U8_VECTOR, 384},   {"dot u8", VECTOR_DOT, LEAT_U8_VECTOR, 384},
                 {"Hamming", VECTOR_HAMMING, LEAT_BITS, 512}};
    const char *wish = bench_option(argc, argv, "dims");
    uint32_t dims = wish != NULL ? (uint32_t)strtoul(wish, NULL, 10) : 0, variants;
    const struct vector_kernels *const *all = vector_kernels_all(&variants);
    struct rows r;

    if (wish != NULL && (dims < 8 || dims > 4096)) {
        fprintf(stderr, "bench: --dims=%s: 8 to 4096\n", wish);
        return 1;
    }
    if (rows_open(&r, dims == 0 ? 64 : (dims + 7) / 8) != 0) {
        fprintf(stderr, "bench: out of memory for %d MiB of rows\n", MEMORY >> 20);
        rows_close(&r);
        return 1;
    }
    printf("distances of %s dimensions, each: ns a row, GB/s of rows, share of the limit\n%-36s",
           wish != NULL ? wish : "384 (Hamming 512)", "");
    for (uint32_t v = 0; v < variants; v++)
        printf("  %-20s", all[v]->name);
    printf("\n");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        r.metric = kinds[i].metric;
        r.type = kinds[i].type;
        r.dims = dims == 0 ? kinds[i].dims : r.type == LEAT_BITS ? (dims + 7) / 8 * 8 : dims;
        measure(kinds[i].name, &r);
    }
    rows_close(&r);
    return 0;
}
