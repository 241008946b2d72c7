/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include "base/half.h"
#include "modules/modules.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DIMS = 384, NEAR = 10, TRUTH = 100, BATCH = 1000, CHECKED = 200 };

struct set {
    uint32_t rows, queries;
    float *base, *query;
    int *truth; /* queries x TRUTH */
};

static const char *data_of(int argc, char **argv)
{
    const char *data = bench_option(argc, argv, "data");

    return data != NULL ? data : "wordnet-minilm";
}

bool bench_lsh_ready(int argc, char **argv)
{
    static const char *const names[] = {"definitions.npy", "queries.npy", "groundtruth_cosine_top100.ivecs"};

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        char path[4200];

        snprintf(path, sizeof(path), "%s/%s", data_of(argc, argv), names[i]);
        if (access(path, R_OK) == 0)
            continue;
        fprintf(stderr, "bench: '%s' is not there: say where wordnet-minilm is by --data=DIR\n", path);
        return false;
    }
    return true;
}

static void *read_all(const char *directory, const char *name, size_t *size)
{
    char path[4200];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        exit(1);
    }
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*size);
    if (bytes == NULL || fread(bytes, 1, *size, f) != *size)
        exit(1);
    fclose(f);
    return bytes;
}

static float *read_npy(const char *directory, const char *name, uint32_t *rows)
{
    size_t size, head;
    unsigned char *bytes = read_all(directory, name, &size);

    head = 10 + (size_t)bytes[8] + 256 * (size_t)bytes[9];
    *rows = (uint32_t)((size - head) / (2 * DIMS));
    float *out = malloc((size_t)*rows * DIMS * sizeof(float));
    for (size_t i = 0; i < (size_t)*rows * DIMS; i++) {
        uint16_t half;

        memcpy(&half, bytes + head + 2 * i, 2);
        out[i] = half_to_float(half);
    }
    free(bytes);
    return out;
}

static struct set read_set(const char *directory)
{
    struct set s;
    size_t size;
    int *truth = read_all(directory, "groundtruth_cosine_top100.ivecs", &size);

    s.base = read_npy(directory, "definitions.npy", &s.rows);
    s.query = read_npy(directory, "queries.npy", &s.queries);
    s.truth = malloc((size_t)s.queries * TRUTH * sizeof(int));
    for (uint32_t i = 0; i < s.queries; i++)
        memcpy(s.truth + (size_t)i * TRUTH, truth + (size_t)i * (TRUTH + 1) + 1, TRUTH * sizeof(int));
    free(truth);
    return s;
}

struct flight {
    int left;
};

static void appended(void *context, int code, const struct leat_receipt *receipt)
{
    (void)receipt;
    if (code != 0)
        fprintf(stderr, "bench: an append failed: %s\n", leat_code_name(code));
    __atomic_fetch_sub(&((struct flight *)context)->left, 1, __ATOMIC_SEQ_CST);
}

/* All vectors in, to the frontier; vectors a second. */
static double ingest(struct leat *l, const struct set *s, struct leat_error *err)
{
    struct flight flight = {0};
    struct leat_depot *d;
    struct leat_rows *rows;
    char id[32];

    bench_must(leat_depot_find(l, "lsh", "vectors", &d, err), err);
    bench_must(leat_rows_new(d, &rows), err);
    double start = bench_now();
    for (uint32_t i = 0; i < s->rows; i++) {
        snprintf(id, sizeof(id), "%u", i);
        struct leat_value vector = leat_vector(LEAT_F32_VECTOR, s->base + (size_t)i * DIMS, DIMS);
        bench_must(leat_rows_add(rows, LEAT_ROW(leat_str(id), vector, leat_null()), err), err);
        if (leat_rows_count(rows) < BATCH && i + 1 < s->rows)
            continue;
        while (__atomic_load_n(&flight.left, __ATOMIC_SEQ_CST) > 16)
            ;
        __atomic_fetch_add(&flight.left, 1, __ATOMIC_SEQ_CST);
        bench_must(leat_append_start(d, rows, NULL, appended, &flight, err), err);
        leat_rows_clear(rows);
    }
    bench_must(leat_wait(l, 300000, err), err);
    while (__atomic_load_n(&flight.left, __ATOMIC_SEQ_CST) > 0)
        ;
    leat_rows_free(rows);
    return s->rows / (bench_now() - start);
}

struct measured {
    double recall, ms, candidates;
};

static int hits(const struct leat_batch *rows, const int *truth)
{
    int found = 0;

    for (uint32_t i = 0; i < NEAR && i < rows->rows; i++) {
        struct leat_span id = leat_at(rows, i, 0).as.bytes;
        int number = 0;

        for (size_t c = 0; c < id.size; c++)
            number = number * 10 + ((const char *)id.base)[c] - '0';
        for (int j = 0; j < NEAR; j++)
            found += truth[j] == number;
    }
    return found;
}

static struct measured measure(struct leat *l, const struct set *s, const char *query, struct leat_error *err)
{
    struct measured m = {0, 0, 0};
    double took[CHECKED];
    int found = 0;

    for (uint32_t i = 0; i < CHECKED; i++) {
        uint32_t at = i * (s->queries / CHECKED);
        struct leat_value vector = leat_vector(LEAT_F32_VECTOR, s->query + (size_t)at * DIMS, DIMS);
        struct leat_result *r;
        double start = bench_now();

        bench_must(leat_query(l, "lsh", query, LEAT_ROW(vector), NULL, &r, err), err);
        took[i] = (bench_now() - start) * 1e3;
        found += hits(leat_result_rows(r), s->truth + (size_t)at * TRUTH);
        leat_result_free(r);
        bench_must(leat_query(l, "lsh", "candidates", LEAT_ROW(vector), NULL, &r, err), err);
        m.candidates += (double)leat_at(leat_result_rows(r), 0, 0).as.i / CHECKED;
        leat_result_free(r);
    }
    m.recall = (double)found / (CHECKED * NEAR);
    m.ms = bench_median(took, CHECKED);
    return m;
}

static void one_setting(const struct set *s, const char *bits, const char *tables, const char *probes, double bandwidth)
{
    struct leat_option options[] = {{"bits", bits}, {"tables", tables}, {"probes", probes}, {NULL, NULL}};
    struct leat_launch launch = {.tasks = 64, .groups = 2, .options = options};
    struct leat_error err = {0};
    char *directory = bench_directory(), name[96];
    struct measured found[3], exact[3];
    struct leat *l;

    bench_must(leat_open(directory, NULL, &l, &err), &err);
    bench_must(leat_launch(l, &module_lsh, &launch, &err), &err);
    double rate = ingest(l, s, &err);
    double ms[3], exact_ms[3];
    for (int i = 0; i < 3; i++) {
        found[i] = measure(l, s, "search", &err);
        exact[i] = measure(l, s, "exact", &err);
        ms[i] = found[i].ms;
        exact_ms[i] = exact[i].ms;
    }
    double middle = bench_median(ms, 3), slow = bench_median(exact_ms, 3);
    snprintf(name, sizeof(name), "bits %s, tables %s, %s%s", bits, tables,
             strcmp(probes, "0") == 0 ? "radius 2" : "probes ", strcmp(probes, "0") == 0 ? "" : probes);
    bench_line(name, middle, "ms",
               "recall@10 %.3f, candidates %.1f %%, exact %.2f ms (recall %.3f, %.2f of memory bandwidth), ratio %.2f; "
               "ingest %.0f vectors/s",
               found[0].recall, 100 * found[0].candidates / s->rows, slow, exact[0].recall,
               (double)s->rows * DIMS * 4 / (slow * 1e-3) / bandwidth, slow / middle, rate);
    leat_close(l);
    bench_remove(directory);
}

int bench_lsh(int argc, char **argv)
{
    static const char *const settings[][3] = {{"8", "4", "0"},    {"12", "8", "32"},  {"12", "16", "32"},
                                              {"14", "8", "64"},  {"14", "16", "35"}, {"14", "16", "80"},
                                              {"16", "8", "128"}, {"16", "16", "128"}};
    const char *given = bench_option(argc, argv, "setting");
    char own[3][8] = {"", "", "0"};

    if (given != NULL && sscanf(given, "%7[0-9],%7[0-9],%7[0-9]", own[0], own[1], own[2]) < 2) {
        fprintf(stderr, "bench: --setting=BITS,TABLES[,PROBES] is wanted, not '%s'\n", given);
        return 1;
    }
    if (!bench_lsh_ready(argc, argv))
        return 1;
    struct set s = read_set(data_of(argc, argv));
    double bandwidth = bench_bandwidth();

    bench_line("memory bandwidth, one thread", bandwidth * 1e-9, "GB/s",
               "sum of 512 MiB, best of 5 in one stream and 5 in four");
    if (given != NULL)
        one_setting(&s, own[0], own[1], own[2], bandwidth);
    for (size_t i = 0; given == NULL && i < sizeof(settings) / sizeof(*settings); i++)
        one_setting(&s, settings[i][0], settings[i][1], settings[i][2], bandwidth);
    free(s.base);
    free(s.query);
    free(s.truth);
    return 0;
}
