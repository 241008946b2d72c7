/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include "modules/modules.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 10, VOCABULARY = 50000, BATCH = 1000 };

/* Zipf by its cumulative table. */
static double *zipf_table(void)
{
    double *at = malloc(VOCABULARY * sizeof(*at)), sum = 0;

    for (int i = 0; i < VOCABULARY; i++)
        at[i] = sum += 1.0 / (i + 1);
    for (int i = 0; i < VOCABULARY; i++)
        at[i] /= sum;
    return at;
}

static int zipf(const double *table, unsigned long long *seed)
{
    int low = 0, high = VOCABULARY - 1;

    *seed = *seed * 6364136223846793005U + 1442695040888963407U;
    double u = (double)(*seed >> 11) * 0x1p-53;
    while (low < high) {
        int middle = (low + high) / 2;

        if (table[middle] < u)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void add_sentence(struct leat_rows *rows, const double *table, unsigned long long *seed, struct leat_error *err)
{
    char text[256];
    int size = 0;

    for (int i = 0; i < WORDS; i++)
        size += snprintf(text + size, sizeof(text) - (size_t)size, "%sw%d", i > 0 ? " " : "", zipf(table, seed));
    bench_must(leat_rows_add(rows, LEAT_ROW(leat_str_n(text, (size_t)size)), err), err);
}

struct in_flight {
    _Atomic int left;
};

static void appended(void *context, int code, const struct leat_receipt *receipt)
{
    struct in_flight *f = context;

    (void)receipt;
    if (code != 0)
        fprintf(stderr, "bench: an append failed: %s\n", leat_code_name(code));
    __atomic_fetch_sub((int *)&f->left, 1, __ATOMIC_SEQ_CST);
}

/* Append all and wait for the frontier; says how long that took. Sentences are made before the clock starts. */
static double count_once(int sentences, uint32_t groups)
{
    unsigned long long seed = 7;
    struct leat_error err = {0};
    struct leat_depot *d;
    struct leat *l;
    char *directory = bench_directory();
    double *table = zipf_table();
    int batches = sentences / BATCH;
    struct leat_rows **rows = malloc((size_t)batches * sizeof(*rows));
    struct in_flight flight = {0};

    bench_must(leat_open(directory, NULL, &l, &err), &err);
    bench_must(leat_launch(l, &module_word_count, &(struct leat_launch){.tasks = 64, .groups = groups}, &err), &err);
    bench_must(leat_depot_find(l, "word_count", "sentences", &d, &err), &err);
    for (int i = 0; i < batches; i++) {
        bench_must(leat_rows_new(d, &rows[i]), &err);
        for (int j = 0; j < BATCH; j++)
            add_sentence(rows[i], table, &seed, &err);
    }
    double start = bench_now();
    for (int i = 0; i < batches; i++) {
        while (__atomic_load_n((int *)&flight.left, __ATOMIC_SEQ_CST) > 32)
            ;
        __atomic_fetch_add((int *)&flight.left, 1, __ATOMIC_SEQ_CST);
        bench_must(leat_append_start(d, rows[i], NULL, appended, &flight, &err), &err);
    }
    while (__atomic_load_n((int *)&flight.left, __ATOMIC_SEQ_CST) > 0)
        ;
    bench_must(leat_wait(l, 300000, &err), &err);
    double took = bench_now() - start;
    for (int i = 0; i < batches; i++)
        leat_rows_free(rows[i]);
    leat_close(l);
    free(rows);
    free(table);
    bench_remove(directory);
    return took;
}

int bench_words(int argc, char **argv)
{
    const char *text = bench_option(argc, argv, "sentences"), *times = bench_option(argc, argv, "runs");
    int sentences = text != NULL ? atoi(text) : 1000000, runs = times != NULL ? atoi(times) : 5;
    double rate[16];

    runs = runs < 1 ? 1 : runs > 16 ? 16 : runs;
    sentences = sentences < BATCH ? BATCH : sentences;
    for (int i = 0; i < runs; i++)
        rate[i] = (double)sentences * WORDS / count_once(sentences, 2);
    bench_line("word_count", bench_median(rate, runs), "words/s",
               "%d sentences of %d Zipf words of %d, 64 tasks, 2 groups, durability full; wanted: 1,000,000", sentences,
               WORDS, VOCABULARY);
    return 0;
}
