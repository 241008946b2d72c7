/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/recall.h"

#include "modules/modules.h"
#include "modules/vector/random.h"

#include <stdio.h>

/* Searches of ivf with filters that few or many rows pass, beside the same without: what they find of what exact search
 * finds, and how long they take. Attributes are drawn by chance, so that each part of the vectors has as many rows that
 * pass. */

enum { K = 10, DIMS = 128, BATCH = 1000, MAP = 128 };

struct trial {
    struct leat *leat;
    struct import_file base, asked; /* or: */
    struct bench_set generated;
    struct arena *arena;
    const char *type;
    struct leat_column vec;
    uint32_t vectors, queries, nprobe;
    struct leat_value *query;
    struct truth *truth;            /* by query, with the filter that is measured */
};

/* What exact search finds: how many, up to what distance. */
struct truth {
    uint32_t count;
    double limit;
};

/* Attributes of which one value in so many is asked for; and price, uniform in [0, 1). */
static const struct {
    const char *name;
    uint32_t values;
} attribute[] = {{"permille", 1000}, {"percent", 100}, {"tenth", 10}, {"half", 2}};

enum { ATTRIBUTES = sizeof(attribute) / sizeof(attribute[0]) };

/* ---- MessagePack ---- */

static size_t put_name(uint8_t *at, const char *name)
{
    size_t size = strlen(name);

    *at = (uint8_t)(0xa0 | size);
    memcpy(at + 1, name, size);
    return 1 + size;
}

static size_t put_big(uint8_t *at, uint8_t tag, uint64_t bits)
{
    *at++ = tag;
    for (int shift = 56; shift >= 0; shift -= 8)
        *at++ = (uint8_t)(bits >> shift);
    return 9;
}

static size_t put_f64(uint8_t *at, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return put_big(at, 0xcb, bits);
}

static struct leat_value attributes_of(uint64_t row, uint8_t map[MAP])
{
    uint64_t state = row * 31 + 7;
    size_t at = 0;

    map[at++] = 0x80 | (ATTRIBUTES + 1);
    for (uint32_t i = 0; i < ATTRIBUTES; i++) {
        at += put_name(map + at, attribute[i].name);
        at += put_big(map + at, 0xcf, vector_random(&state) % attribute[i].values);
    }
    at += put_name(map + at, "price");
    at += put_f64(map + at, (double)(vector_random(&state) >> 11) * 0x1p-53);
    return leat_any(map, at);
}

/* One value; or of prices a range with as large a share. */
static struct leat_value filter_of(uint32_t i, bool range, uint8_t map[MAP])
{
    double share = 1.0 / attribute[i].values, from = (1 - share) / 2;
    size_t at = 0;

    map[at++] = 0x81;
    at += put_name(map + at, range ? "price" : attribute[i].name);
    if (!range)
        return leat_any(map, at + put_big(map + at, 0xcf, attribute[i].values / 2));
    map[at++] = 0x82;
    at += put_name(map + at, "gte");
    at += put_f64(map + at, from);
    at += put_name(map + at, "lt");
    at += put_f64(map + at, from + share);
    return leat_any(map, at);
}

/* ---- The index ---- */

/* The next of a file, or the i-th that is generated. */
static struct leat_value next_vector(const struct trial *b, struct import_file *f, struct arena *a, uint64_t i)
{
    struct leat_error err;
    struct leat_value v;

    if (f->base == NULL)
        return bench_set_vector(&b->generated, i, arena_alloc(a, sizeof(struct bench_place), 64));
    bench_must(import_vector(f, a, &b->vec, &v, &err), &err);
    return v;
}

static void open_set(struct trial *b, const char *base, const char *query, uint32_t vectors)
{
    struct leat_error err;
    struct recall_set s = {.metric = "l2"};

    b->arena = arena_open(SIZE_MAX / 8);
    b->vectors = vectors;
    b->queries = 1000;
    b->type = "u8";
    b->vec = (struct leat_column){.name = "vec", .type = LEAT_U8_VECTOR, .count = DIMS};
    b->generated = (struct bench_set){.vectors = vectors, .dims = DIMS, .type = LEAT_U8_VECTOR};
    bench_set_init(&b->generated);
    if (b->generated.centre == NULL)
        exit(1);
    if (base != NULL) {
        bench_must(import_open(base, NULL, &b->base, &err), &err);
        bench_must(import_open(query, NULL, &b->asked, &err), &err);
        s.base = b->base;
        b->type = recall_type(&s);
        b->vec.type = b->base.element == 4 ? LEAT_F32_VECTOR : b->base.element == 2 ? LEAT_F16_VECTOR : LEAT_U8_VECTOR;
        b->vec.count = b->base.dims;
        b->vectors = (uint32_t)b->base.rows;
        b->queries = b->asked.rows < b->queries ? (uint32_t)b->asked.rows : b->queries;
    }
    b->query = arena_alloc(b->arena, b->queries * sizeof(*b->query), 8);
    b->truth = arena_alloc(b->arena, b->queries * sizeof(*b->truth), 8);
    for (uint32_t i = 0; i < b->queries; i++)
        b->query[i] = next_vector(b, &b->asked, b->arena, (uint64_t)i * 104729 + b->vectors + 1);
}

static void open_leat(struct trial *b, const char *directory, const char *metric)
{
    char dims[16];
    struct leat_error err;

    snprintf(dims, sizeof(dims), "%u", b->vec.count);
    struct leat_option options[] = {
        {"dims", dims}, {"type", b->type}, {"metric", metric}, {"ids", "u64"},
        {"attributes", "permille: i64, percent: i64, tenth: i64, half: i64, price: f64"}, {NULL, NULL}};
    bench_must(leat_open(directory, NULL, &b->leat, &err), &err);
    bench_must(leat_launch(b->leat, &module_ivf, &(struct leat_launch){.options = options}, &err), &err);
}

static void append_all(struct trial *b)
{
    struct arena *room = arena_open(SIZE_MAX / 8);
    struct leat_depot *d;
    struct leat_rows *rows;
    struct leat_error err;

    bench_must(leat_depot_find(b->leat, "ivf", "vectors", &d, &err), &err);
    bench_must(leat_rows_new(d, &rows), NULL);
    for (uint64_t i = 0; i < b->vectors;) {
        leat_rows_clear(rows);
        arena_reset(room);
        for (uint32_t j = 0; j < BATCH && i < b->vectors; j++, i++) {
            uint8_t map[MAP];
            struct leat_value vector = next_vector(b, &b->base, room, i);

            bench_must(leat_rows_add(rows, LEAT_ROW(leat_u64(i), vector, attributes_of(i, map)), &err), &err);
        }
        bench_must(leat_append(d, rows, NULL, NULL, &err), &err);
    }
    leat_rows_free(rows);
    arena_close(room);
    bench_must(leat_wait_idle(b->leat, 600000, &err), &err);
}

/* All rows, unless a run before this one left them in the directory. */
static void fill(struct trial *b)
{
    struct leat_result *r;
    struct leat_error err;

    bench_must(leat_query(b->leat, "ivf", "count", LEAT_ROW(), NULL, &r, &err), &err);
    bool there = leat_at(leat_result_rows(r), 0, 0).as.i == (int64_t)b->vectors;
    leat_result_free(r);
    if (!there)
        append_all(b);
}

/* ---- Searches ---- */

static struct leat_result *ask(struct trial *b, const char *query, uint32_t i, struct leat_value filter, bool stats)
{
    struct leat_result *r;
    struct leat_error err;

    bench_must(leat_query(b->leat, "ivf", query,
                          LEAT_ROW(b->query[i], leat_u32(K), leat_u32(b->nprobe), filter, leat_null(), leat_null(),
                                   leat_bool(stats), leat_null(), leat_null()),
                          NULL, &r, &err), &err);
    return r;
}

static struct truth truth_of(struct trial *b, uint32_t i, struct leat_value filter)
{
    struct leat_result *r = ask(b, "exact", i, filter, false);
    const struct leat_batch *rows = leat_result_rows(r);
    struct truth t = {rows->rows, rows->rows > 0 ? leat_at(rows, rows->rows - 1, 1).as.f : 0};

    leat_result_free(r);
    return t;
}

static void find_truth(struct trial *b, struct leat_value filter)
{
    for (uint32_t i = 0; i < b->queries; i++)
        b->truth[i] = truth_of(b, i, filter);
}

struct figures {
    uint32_t nprobe;
    double seconds, recall, probes, scored, ranked; /* of a search */
};

static void add_stats(const struct leat_batch *rows, struct figures *f)
{
    if (rows->rows == 0)
        return;
    f->probes += recall_stat(leat_at(rows, 0, 4), "probes");
    f->scored += recall_stat(leat_at(rows, 0, 4), "scored");
    f->ranked += recall_stat(leat_at(rows, 0, 4), "ranked");
}

/* What searches find and do. */
static void find(struct trial *b, struct leat_value filter, struct figures *f)
{
    uint64_t found = 0, there = 0;

    for (uint32_t i = 0; i < b->queries; i++) {
        struct leat_result *r = ask(b, "search", i, filter, true);
        const struct leat_batch *rows = leat_result_rows(r);

        for (uint32_t j = 0; j < rows->rows; j++)
            found += leat_at(rows, j, 1).as.f <= b->truth[i].limit;
        there += b->truth[i].count;
        add_stats(rows, f);
        leat_result_free(r);
    }
    f->recall = there > 0 ? (double)found / (double)there : 1;
    f->probes /= b->queries;
    f->scored /= b->queries;
    f->ranked /= b->queries;
}

/* The mean time, of ROUNDS the median: of the processor, as a search runs on the thread that asks. */
static void take_time(struct trial *b, struct leat_value filter, struct figures *f)
{
    enum { ROUNDS = 5 };
    double took[ROUNDS];

    for (int round = 0; round < ROUNDS; round++) {
        double start = bench_busy();

        for (uint32_t i = 0; i < b->queries; i++)
            leat_result_free(ask(b, "search", i, filter, false));
        took[round] = (bench_busy() - start) / b->queries;
    }
    f->seconds = bench_median(took, ROUNDS);
}

static double recall_with(struct trial *b, uint32_t nprobe, struct leat_value filter)
{
    struct figures f = {0};

    b->nprobe = nprobe;
    find(b, filter, &f);
    return f.recall;
}

static struct figures measure(struct trial *b, uint32_t nprobe, struct leat_value filter)
{
    struct figures f = {.nprobe = nprobe};

    b->nprobe = nprobe;
    find(b, filter, &f);
    take_time(b, filter, &f);
    return f;
}

/* With as few probes as reach a recall; with the most, if none do. */
static struct figures measure_equal(struct trial *b, double recall, uint32_t most, struct leat_value filter)
{
    uint32_t least = 1;

    while (least < most) {
        uint32_t nprobe = (least + most) / 2;

        if (recall_with(b, nprobe, filter) >= recall)
            most = nprobe;
        else
            least = nprobe + 1;
    }
    return measure(b, most, filter);
}

/* ---- Figures ---- */

static void print(const char *name, const struct figures *f, const struct figures *equal, const struct figures *none)
{
    bench_line(name, f->seconds * 1e6, "us",
               "%4.2f times without, recall %.4f (%+.4f), %.0f postings, %.0f rows, %.0f ranked; at equal recall "
               "%4.2f times (%.4f with %u probes)",
               f->seconds / none->seconds, f->recall, f->recall - none->recall, f->probes, f->scored, f->ranked,
               equal->seconds / none->seconds, equal->recall, equal->nprobe);
}

static void measure_filter(struct trial *b, const char *name, struct leat_value filter, const struct figures *none)
{
    struct figures same, equal;

    find_truth(b, filter);
    same = measure(b, none->nprobe, filter);
    equal = measure_equal(b, none->recall, 4 * none->nprobe, filter);
    print(name, &same, &equal, none);
}

static void measure_all(struct trial *b)
{
    uint8_t map[MAP];
    char name[64];

    find_truth(b, leat_null());
    struct figures none = measure(b, b->nprobe, leat_null());
    print("filter_none", &none, &none, &none);
    for (int range = 0; range < 2; range++)
        for (uint32_t i = 0; i < ATTRIBUTES; i++) {
            snprintf(name, sizeof(name), "filter_%s_%g%%", range ? "range" : "eq", 100.0 / attribute[i].values);
            measure_filter(b, name, filter_of(i, range == 1, map), &none);
        }
}

static uint32_t number_of(const char *text, uint32_t otherwise)
{
    return text != NULL ? (uint32_t)strtoul(text, NULL, 10) : otherwise;
}

int bench_filter(int argc, char **argv)
{
    const char *base = bench_option(argc, argv, "base"), *query = bench_option(argc, argv, "query");
    const char *metric = bench_option(argc, argv, "metric"), *kept = bench_option(argc, argv, "data");
    struct trial b = {.nprobe = number_of(bench_option(argc, argv, "nprobe"), 32)};
    char *directory = kept != NULL ? NULL : bench_directory();

    if ((base == NULL) != (query == NULL)) {
        fprintf(stderr, "--base=FILE and --query=FILE go together\n");
        return 1;
    }
    open_set(&b, base, query, number_of(bench_option(argc, argv, "vectors"), 200000));
    open_leat(&b, kept != NULL ? kept : directory, metric != NULL ? metric : "l2");
    fill(&b);
    measure_all(&b);
    leat_close(b.leat);
    if (base != NULL) {
        import_close(&b.base);
        import_close(&b.asked);
    }
    free(b.generated.centre);
    arena_close(b.arena);
    if (directory != NULL)
        bench_remove(directory);
    return 0;
}
