/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include "modules/vector/quantiser.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Codes of vectors, in each variant that the processor has, one thread: scans of blocks that stay in the second cache,
 * and of lists of eight blocks that lie anywhere in memory, as those of an index do, with and without the next one's
 * being fetched meanwhile; products and distances of single codes, there and there; and what a query and a row cost
 * beforehand. Beside each stands the share of what limits it: of the rate at which memory can be read, or of that of
 * independent instructions of the kind that it is made of. */

enum { NEAR = 320 << 10, FAR = 256 << 20, LIST = 8, CALL = 1024, ROUNDS = 5, VARIANTS = 4 };

static const uint32_t shapes[] = {128, 384, 784};

struct data {
    uint8_t *blocks, *table, *code;
    uint32_t *order; /* of lists in memory */
    uint32_t lists;
    const uint8_t **codes; /* of 8 bits, which lie anywhere in memory; the others use the beginning of each */
    uint32_t code_count;
    float *floats, *rotated; /* some of any kind */
    struct vector_rotation rotation;
    struct vector_query query;
    struct vector_scalars scalars[CALL];
    uint32_t mask[NEAR / 512];
    float *lower;
};

enum kind { SIGNS, BITS_4, BITS_8, SCALARS_L2, SCALARS_DOT };
enum limit { MEMORY, MULTIPLY_ADDS, LOOKUPS, LIMITS };

struct work {
    const char *name;
    enum kind kind;
    /* Do it for some rows or queries; returns how many. */
    uint32_t (*run)(const struct work *w, const struct vector_quantiser *by, struct data *d);
    enum limit limit;
    double (*amount)(const struct work *w, const struct data *d); /* of it, for each */
    enum { ALL, CHOSEN, PORTABLE } variants; /* in which it is run */
};

static uint64_t sink;

/* ---- Scans ---- */

static struct vector_scan scan_of(struct data *d)
{
    /* The lowest threshold: nothing passes, as most blocks of a search do. */
    return (struct vector_scan){.query = &d->query, .base = 1, .distance = 1, .threshold = -1e30F, .mask = d->mask,
                                .lower = d->lower};
}

static uint32_t near(const struct work *w, const struct vector_quantiser *by, struct data *d)
{
    struct vector_scan s = scan_of(d);

    (void)w;
    s.blocks = d->blocks;
    s.count = (uint32_t)(NEAR / vector_block_size(d->query.padded));
    sink += by->scan(&s);
    return s.count * VECTOR_BLOCK;
}

static uint32_t lists(const struct vector_quantiser *by, struct data *d, bool ahead)
{
    struct vector_scan s = scan_of(d);
    size_t size = LIST * vector_block_size(d->query.padded);

    s.count = LIST;
    s.ahead_count = ahead ? LIST : 0;
    for (uint32_t i = 0; i < d->lists; i++) {
        s.blocks = d->blocks + d->order[i] * size;
        s.ahead = d->blocks + d->order[(i + 1) % d->lists] * size;
        sink += by->scan(&s);
    }
    return d->lists * LIST * VECTOR_BLOCK;
}

static uint32_t far(const struct work *w, const struct vector_quantiser *by, struct data *d)
{
    (void)w;
    return lists(by, d, false);
}

static uint32_t fetched(const struct work *w, const struct vector_quantiser *by, struct data *d)
{
    (void)w;
    return lists(by, d, true);
}

/* ---- Single codes ---- */

static uint32_t codes_near(const struct work *w, const struct vector_quantiser *by, struct data *d)
{
    float (*product)(const float *, const uint8_t *, uint32_t) = w->kind == BITS_4 ? by->product4 : by->product8;
    float (*distance)(const float *, const uint8_t *, struct vector_scalars, uint32_t) =
        w->kind == SCALARS_L2 ? by->scalars_l2 : by->scalars_dot;
    uint32_t padded = d->query.padded, size = w->kind == BITS_4 ? padded / 2 : padded, n = NEAR / size;

    for (uint32_t i = 0; i < n; i++)
        d->lower[i] = w->kind <= BITS_8 ? product(d->rotated, d->blocks + i * size, padded)
                                        : distance(d->floats, d->blocks + i * size, d->scalars[0], d->rotation.dims);
    return n;
}

static uint32_t codes_far(const struct work *w, const struct vector_quantiser *by, struct data *d)
{
    uint32_t n = d->code_count / CALL * CALL;

    (void)by;
    for (uint32_t i = 0; i < n; i += CALL)
        if (w->kind <= BITS_8)
            vector_code_products(w->kind == BITS_4 ? 4 : 8, d->rotated, d->codes + i, CALL, d->query.padded, d->lower);
        else
            vector_scalars_distances(VECTOR_L2, d->floats, d->codes + i, d->scalars, CALL, d->rotation.dims, d->lower);
    return n;
}

/* ---- What comes before ---- */

enum { TIMES = 20 };

static uint32_t rotate(const struct work *w, const struct vector_quantiser *by, struct data *d)
{
    (void)w;
    for (int i = 0; i < TIMES; i++)
        vector_rotate_by(by, &d->rotation, d->floats + i, d->rotated);
    return TIMES;
}

static uint32_t table(const struct work *w, const struct vector_quantiser *by, struct data *d)
{
    (void)w;
    for (int i = 0; i < TIMES; i++)
        by->table(d->rotated, d->query.padded, 20, d->table);
    return TIMES;
}

static uint32_t encode(const struct work *w, const struct vector_quantiser *by, struct data *d)
{
    struct vector_factors factors;
    uint32_t padded = d->query.padded;

    for (int i = 0; i < TIMES; i++)
        if (w->kind == SIGNS)
            vector_encode_by(by, VECTOR_L2, d->floats + i, d->rotated, padded, d->code, &factors);
        else if (w->kind <= BITS_8)
            vector_encode_bits(VECTOR_L2, w->kind == BITS_4 ? 4 : 8, d->floats + i, d->rotated, padded, d->code,
                               &factors);
        else
            vector_scalars_encode(d->floats + i, d->rotation.dims, d->code, &d->scalars[0]);
    return TIMES;
}

/* ---- How much of the limit each takes ---- */

static double block_bytes(const struct work *w, const struct data *d)
{
    (void)w;
    return (double)vector_block_size(d->query.padded) / VECTOR_BLOCK;
}

/* A nibble of the code has one. */
static double lookups(const struct work *w, const struct data *d)
{
    (void)w;
    return (double)d->query.padded / 4;
}

static double code_bytes(const struct work *w, const struct data *d)
{
    return w->kind <= BITS_8 ? vector_code_size(d->query.padded, w->kind == BITS_4 ? 4 : 8) : d->rotation.dims;
}

static double code_operations(const struct work *w, const struct data *d)
{
    return 2.0 * (w->kind <= BITS_8 ? d->query.padded : d->rotation.dims);
}

static double vector_bytes(const struct work *w, const struct data *d)
{
    return 4.0 * (w->kind <= BITS_8 ? d->query.padded : d->rotation.dims);
}

/* Of each of four rounds: signs, a transform of the window, and where it is not all, sums and differences of halves. */
static double rotation_operations(const struct work *w, const struct data *d)
{
    uint32_t padded = d->rotation.padded, window = d->rotation.window;

    (void)w;
    return 4.0 * (padded + window * log2(window) + (window < padded ? padded : 0));
}

/* A product a dimension; of four of them 16 entries with four sums each. */
static double table_operations(const struct work *w, const struct data *d)
{
    (void)w;
    return 17.0 * d->query.padded;
}

static const struct work works[] = {
    {"scan, 2nd cache", SIGNS, near, LOOKUPS, lookups, ALL},
    {"scan, lists in memory", SIGNS, far, MEMORY, block_bytes, ALL},
    {"the same, the next fetched", SIGNS, fetched, MEMORY, block_bytes, ALL},
    {"products of 4 bits, 2nd cache", BITS_4, codes_near, MULTIPLY_ADDS, code_operations, ALL},
    {"products of 8 bits, 2nd cache", BITS_8, codes_near, MULTIPLY_ADDS, code_operations, ALL},
    {"l2 of scalars, 2nd cache", SCALARS_L2, codes_near, MULTIPLY_ADDS, code_operations, ALL},
    {"dot of scalars, 2nd cache", SCALARS_DOT, codes_near, MULTIPLY_ADDS, code_operations, ALL},
    {"products of 4 bits, memory", BITS_4, codes_far, MEMORY, code_bytes, CHOSEN},
    {"products of 8 bits, memory", BITS_8, codes_far, MEMORY, code_bytes, CHOSEN},
    {"l2 of scalars, memory", SCALARS_L2, codes_far, MEMORY, code_bytes, CHOSEN},
    {"rotation of a query", SIGNS, rotate, MULTIPLY_ADDS, rotation_operations, ALL},
    {"table of a query", SIGNS, table, MULTIPLY_ADDS, table_operations, ALL},
    {"code of 1 bit", SIGNS, encode, MEMORY, vector_bytes, ALL},
    {"code of 4 bits", BITS_4, encode, MEMORY, vector_bytes, PORTABLE},
    {"code of 8 bits", BITS_8, encode, MEMORY, vector_bytes, PORTABLE},
    {"code of scalars", SCALARS_L2, encode, MEMORY, vector_bytes, PORTABLE},
};
enum { WORKS = sizeof(works) / sizeof(*works) };

/* Seconds a row, over 4 ms at least. */
static double row_time(const struct work *w, const struct vector_quantiser *by, struct data *d)
{
    double start = bench_busy(), took = 0, rows = 0;

    for (; took < 4e-3; took = bench_busy() - start)
        for (int i = 0; i < 4 && (i == 0 || w->limit != MEMORY || w->run == encode); i++)
            rows += w->run(w, by, d);
    return took / rows;
}

/* ---- The data ---- */

static void data_close(struct data *d)
{
    vector_rotation_free(&d->rotation);
    free(d->blocks);
    free(d->table);
    free(d->code);
    free(d->order);
    free(d->codes);
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

/* Everything but the shape. */
static int data_new(struct data *d)
{
    enum { FLOATS = VECTOR_ROTATED_MAX + 1000 };

    *d = (struct data){.blocks = aligned_alloc(64, FAR), .table = aligned_alloc(64, 4 * VECTOR_ROTATED_MAX),
                       .code = malloc(VECTOR_ROTATED_MAX), .order = calloc(FAR / 64, sizeof(*d->order)),
                       .codes = calloc(FAR / 64, sizeof(*d->codes)), .floats = calloc(FLOATS, sizeof(float)),
                       .rotated = calloc(VECTOR_ROTATED_MAX, sizeof(float)), .lower = calloc(NEAR / 16, sizeof(float))};
    if (d->blocks == NULL || d->table == NULL || d->code == NULL || d->order == NULL || d->codes == NULL ||
        d->floats == NULL || d->rotated == NULL || d->lower == NULL)
        return -1;
    for (uint32_t i = 0; i < FLOATS; i++)
        d->floats[i] = (float)(i * 2654435761U % 2017) * 1e-3F - 1;
    for (size_t i = 0; i < FAR; i++)
        d->blocks[i] = (uint8_t)(i * 2654435761U >> 13);
    for (uint32_t i = 0; i < CALL; i++)
        d->scalars[i] = (struct vector_scalars){-1, 1.0F / 128, 0};
    return 0;
}

static int data_open(struct data *d, uint32_t dims)
{
    if (data_new(d) != 0 || vector_rotation_new(&d->rotation, dims, 1) != 0)
        return -1;
    vector_rotate(&d->rotation, d->floats, d->rotated);
    vector_query_begin(&d->query, d->rotated, d->rotation.padded, VECTOR_EPSILON, d->table);
    d->code_count = FAR / d->query.padded;
    shuffle(d->order, d->code_count);
    for (uint32_t i = 0; i < d->code_count; i++)
        d->codes[i] = d->blocks + (size_t)d->order[i] * d->query.padded;
    d->lists = (uint32_t)(FAR / LIST / vector_block_size(d->query.padded));
    shuffle(d->order, d->lists);
    return 0;
}

/* ---- The figures ---- */

static const struct {
    const char *name, *unit;
} limits[LIMITS] = {{"memory bandwidth", "GB/s"}, {"fused multiply-adds", "GFLOP/s"}, {"byte lookups", "G/s"}};

/* Calls that choose the variant themselves stand under the one that they choose, and what has none under portable. */
static bool runs(const struct work *w, const struct vector_quantiser *by, const struct vector_quantiser *portable)
{
    return w->variants == ALL || by == (w->variants == CHOSEN ? vector_quantiser() : portable);
}

static void print(double took, double amount, double most)
{
    printf("  %9.2f %6.2f ", took * 1e9, amount / took * 1e-9);
    if (most > 0)
        printf("%.3f", amount / took / most);
    else
        printf("%5s", "-");
}

static void measure(struct data *d, const double *most)
{
    static double found[WORKS][VARIANTS][ROUNDS];
    uint32_t variants;
    const struct vector_quantiser *const *all = vector_quantisers(&variants);

    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < WORKS; i++)
            for (uint32_t v = 0; v < variants; v++)
                if (runs(&works[i], all[v], all[0]))
                    found[i][v][round] = row_time(&works[i], all[v], d);
    printf("%-4u dimensions, each: ns, %-25s", d->rotation.dims, "G a second, share of");
    for (uint32_t v = 0; v < variants; v++)
        printf("  %-22s", all[v]->name);
    printf("\n");
    for (int i = 0; i < WORKS; i++) {
        printf("%-30s %-19s", works[i].name, limits[works[i].limit].name);
        for (uint32_t v = 0; v < variants; v++)
            if (runs(&works[i], all[v], all[0]))
                print(bench_median(found[i][v], ROUNDS), works[i].amount(&works[i], d), most[works[i].limit]);
            else
                printf("%24s", "");
        printf("\n");
        fflush(stdout);
    }
}

int bench_scan(int argc, char **argv)
{
    double most[LIMITS] = {bench_bandwidth(), 2 * bench_peak(BENCH_MULTIPLY_ADDS), bench_peak(BENCH_LOOKUPS)};

    (void)argc;
    (void)argv;
    for (int i = 0; i < LIMITS; i++)
        bench_line(limits[i].name, most[i] * 1e-9, limits[i].unit, "one thread");
    for (uint32_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
        struct data d;

        if (data_open(&d, shapes[i]) != 0) {
            fprintf(stderr, "bench: out of memory for %d bytes of codes\n", FAR);
            data_close(&d);
            return 1;
        }
        measure(&d, most);
        data_close(&d);
    }
    return sink == 42;
}
