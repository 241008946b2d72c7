/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"
#include "cmd/import.h"
#include "cmd/temporary.h"
#include "modules/modules.h"

/* The demo: real definitions with real embeddings go into the depot of module lsh, the stream files them, and a few
 * of them serve as queries. */

enum { SHOWN = 5, CHECKED = 200, NEAR = 10, ROWS = 1 << 16 };

struct entry {
    char *id, *lemmas, *text;
};

struct demo {
    struct call *call;
    struct leat *leat;
    struct buffer text;          /* what entries point into */
    struct entry *entry;
    uint32_t entries;
    struct import_file vectors;
    struct arena *arena;
    struct row_schema schema;
    const float **vector;
    char directory[4096];
    bool temporary;
};

/* ---- The sample ---- */

/* LEAT_DATA, beside the binary or its parent, or where it is installed. */
static bool find_sample(char *out, size_t size)
{
    char self[4096] = "";
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    const char *home = n > 0 ? dirname(self) : ".", *named = getenv("LEAT_DATA");
    const char *const places[] = {named != NULL ? named : "", home, home, home, LEAT_PREFIX "/share/leat"};
    const char *const below[] = {"", "/data", "/../data", "/../share/leat", ""};

    for (size_t i = 0; i < LENGTH_OF(places); i++) {
        snprintf(out, size, "%s%s/wordnet-sample/definitions.npy", places[i], below[i]);
        if (access(out, R_OK) == 0) {
            *strrchr(out, '/') = '\0';
            return true;
        }
    }
    return false;
}

static void add_entry(struct demo *d, char *line)
{
    char *tab = strchr(line, '\t'), *second = tab != NULL ? strchr(tab + 1, '\t') : NULL;

    if (second == NULL)
        return;
    *tab = *second = '\0';
    d->entry = base_realloc(d->entry, (d->entries + 1) * sizeof(*d->entry));
    d->entry[d->entries++] = (struct entry){line, tab + 1, second + 1};
}

static void free_sample(struct demo *d)
{
    if (d->vectors.base != NULL)
        import_close(&d->vectors);
    arena_close(d->arena);
    buffer_fini(&d->text);
    free(d->entry);
    free(d->vector);
}

static int load_sample(struct demo *d, struct leat_error *err)
{
    struct leat_value value[2];
    char directory[4096], path[4200], *rest = NULL;

    if (!find_sample(directory, sizeof(directory)))
        return leat_fail(err, LEAT_ENOTFOUND,
                         "the sample data is not there; say where by LEAT_DATA=DIR (the folder data/ of the sources)");
    snprintf(path, sizeof(path), "%s/definitions.tsv", directory);
    buffer_init(&d->text, 16 << 20);
    int rv = file_read(path, 16 << 20, &d->text, err);
    if (rv != 0)
        return rv;
    buffer_u8(&d->text, 0);
    for (char *line = strtok_r((char *)d->text.base, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        add_entry(d, line);
    snprintf(path, sizeof(path), "%s/definitions.npy", directory);
    rv = import_open(path, NULL, &d->vectors, err);
    d->arena = arena_open(SIZE_MAX / 8);
    if (rv == 0)
        rv = row_schema_parse(d->arena, "id: str, vec: f32[384]", NULL, NULL, &d->schema, err);
    d->vector = base_alloc((d->entries + 1) * sizeof(*d->vector));
    for (uint32_t i = 0; i < d->entries && rv == 0; i++) {
        rv = import_next(&d->vectors, d->arena, &d->schema, "", value, err);
        if (rv == 0)
            d->vector[i] = value[1].as.bytes.base;
    }
    return rv == LEAT_END ? leat_fail(err, LEAT_ESCHEMA, "'%s' has fewer rows than its text", path) : rv;
}

/* ---- Ingest ---- */

/* {"lemmas": .., "definition": ..} as MessagePack: a map of two strings. */
static struct leat_value body_of(struct demo *d, const struct entry *e)
{
    const char *const part[] = {"lemmas", e->lemmas, "definition", e->text};
    uint8_t *out = arena_alloc(d->arena, 64 + strlen(e->lemmas) + strlen(e->text), 1), *at = out;

    *at++ = 0x82;
    for (size_t i = 0; i < LENGTH_OF(part); i++) {
        size_t size = strlen(part[i]);

        *at++ = 0xda;
        *at++ = (uint8_t)(size >> 8);
        *at++ = (uint8_t)size;
        memcpy(at, part[i], size);
        at += size;
    }
    return leat_any(out, (size_t)(at - out));
}

static int ingest(struct demo *d, struct leat_error *err)
{
    struct leat_append how = {.ack = LEAT_PROCESSED, .timeout_ms = 60000};
    struct leat_depot *depot;
    struct leat_rows *rows;
    double start = call_now();
    int rv = leat_depot_find(d->leat, "lsh", "vectors", &depot, err);

    if (rv != 0)
        return rv;
    leat_rows_new(depot, &rows);
    for (uint32_t i = 0; i < d->entries && rv == 0; i++) {
        rv = leat_rows_add(rows, LEAT_ROW(leat_str(d->entry[i].id), leat_vector(LEAT_F32_VECTOR, d->vector[i], 384),
                                          body_of(d, &d->entry[i])), err);
        if (rv == 0 && (leat_rows_count(rows) == 1000 || i + 1 == d->entries)) {
            rv = leat_append(depot, rows, &how, NULL, err);
            leat_rows_clear(rows);
        }
    }
    leat_rows_free(rows);
    double took = call_now() - start;
    if (rv == 0)
        printf("%u definitions with 384-dimensional embeddings appended and indexed in %.2f s: %.0f a second, all of "
               "them durable\n\n",
               d->entries, took, d->entries / took);
    return rv;
}

/* ---- Queries ---- */

static const struct entry *find_entry(const struct demo *d, struct leat_span id)
{
    for (uint32_t i = 0; i < d->entries; i++)
        if (strlen(d->entry[i].id) == id.size && memcmp(d->entry[i].id, id.base, id.size) == 0)
            return &d->entry[i];
    return NULL;
}

static int query(struct demo *d, const char *name, uint32_t row, struct leat_result **out, struct leat_error *err)
{
    return leat_query(d->leat, "lsh", name, LEAT_ROW(leat_vector(LEAT_F32_VECTOR, d->vector[row], 384)), NULL, out,
                      err);
}

static int show(struct demo *d, uint32_t row, struct leat_error *err)
{
    static const char *const columns[] = {"id", "distance", "definition"};
    struct leat_result *result;
    int rv = query(d, "search", row, &result, err);

    if (rv != 0)
        return rv;
    printf("neighbours of \"%s: %s\"\n", d->entry[row].lemmas, d->entry[row].text);
    const struct leat_batch *rows = leat_result_rows(result);
    struct table *t = table_open(d->call, columns, LENGTH_OF(columns), 0);
    for (uint32_t i = 1; i <= SHOWN && i < rows->rows; i++) {
        const struct entry *e = find_entry(d, leat_at(rows, i, 0).as.bytes);
        char distance[32];

        snprintf(distance, sizeof(distance), "%.4f", leat_at(rows, i, 1).as.f);
        if (e != NULL)
            table_row(t, (const char *const[]){e->id, distance, arena_format(d->arena, "%s: %s", e->lemmas, e->text)});
    }
    table_close(t);
    leat_result_free(result);
    printf("\n");
    return 0;
}

static int compare_doubles(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* How many of the NEAR neighbours of one answer are in the other's; what was asked with is the first of both. */
static uint32_t shared(const struct leat_batch *a, const struct leat_batch *b)
{
    uint32_t count = 0;

    for (uint32_t i = 1; i <= NEAR && i < a->rows; i++)
        for (uint32_t j = 1; j <= NEAR && j < b->rows; j++)
            count += span_equal(leat_at(a, i, 0).as.bytes, leat_at(b, j, 0).as.bytes);
    return count;
}

static int check(struct demo *d, struct leat_error *err)
{
    double fast[CHECKED], slow[CHECKED];
    uint64_t found = 0, candidates = 0;
    struct random random;
    int rv = 0;

    random_seed(&random, 42);
    for (int i = 0; i < CHECKED && rv == 0; i++) {
        uint32_t row = (uint32_t)random_below(&random, d->entries);
        struct leat_result *search = NULL, *exact = NULL, *count = NULL;
        double start = call_now();

        rv = query(d, "search", row, &search, err);
        fast[i] = call_now() - start;
        start = call_now();
        if (rv == 0)
            rv = query(d, "exact", row, &exact, err);
        slow[i] = call_now() - start;
        if (rv == 0)
            rv = query(d, "candidates", row, &count, err);
        if (rv == 0) {
            found += shared(leat_result_rows(search), leat_result_rows(exact));
            candidates += (uint64_t)leat_at(leat_result_rows(count), 0, 0).as.i;
        }
        leat_result_free(search);
        leat_result_free(exact);
        leat_result_free(count);
    }
    if (rv != 0)
        return rv;
    qsort(fast, CHECKED, sizeof(double), compare_doubles);
    qsort(slow, CHECKED, sizeof(double), compare_doubles);
    printf("recall@%d over %d queries: %.3f, looking at %.0f of %u vectors (%.0f %%)\n", NEAR, CHECKED,
           (double)found / (CHECKED * NEAR), (double)candidates / CHECKED, d->entries,
           100.0 * (double)candidates / CHECKED / d->entries);
    printf("time a query: %.2f ms by hashing, %.2f ms exact (medians)\n", fast[CHECKED / 2] * 1e3,
           slow[CHECKED / 2] * 1e3);
    printf("(So few vectors are scanned faster than they are looked up, and the default settings favour recall: "
           "docs/BENCHMARKS.md\n"
           "has settings with which hashing is twice as fast as exact, and faster.)\n");
    return 0;
}

/* ---- The whole ---- */

static bool make_directory(struct demo *d)
{
    static const char *const places[] = {"leat-demo-XXXXXX", "/tmp/leat-demo-XXXXXX"};
    bool made = false;

    for (size_t i = 0; i < LENGTH_OF(places) && !made; i++) {
        snprintf(d->directory, sizeof(d->directory), "%s", places[i]);
        made = call_option(d->call, "keep") != NULL ? mkdtemp(d->directory) != NULL : temporary_make(d->directory);
    }
    return made;
}

/* 0, or an exit code with the sentence printed. */
static int open_demo(struct demo *d)
{
    struct leat_config config = {.create = true};
    struct leat_error err = {0};

    if (load_sample(d, &err) != 0)
        return call_error(&err);
    if (leat_open(d->directory, &config, &d->leat, &err) == 0)
        return 0;
    call_error(&err);
    return EXIT_OPEN;
}

static int run_demo(struct demo *d, struct leat_error *err)
{
    static const char *const wanted[] = {"violin", "volcano", "physicist", "democracy"};
    int rv = leat_launch(d->leat, &module_lsh, NULL, err);

    if (rv == 0)
        rv = ingest(d, err);
    for (size_t w = 0; w < LENGTH_OF(wanted) && rv == 0; w++)
        for (uint32_t i = 0; i < d->entries; i++)
            if (strncmp(d->entry[i].lemmas, wanted[w], strlen(wanted[w])) == 0 &&
                strchr(",", d->entry[i].lemmas[strlen(wanted[w])]) != NULL) {
                rv = show(d, i, err);
                break;
            }
    return rv == 0 ? check(d, err) : rv;
}

static void print_next(const struct demo *d)
{
    const char *leat = program_invocation_name;
    bool kept = !d->temporary || call_option(d->call, "keep") != NULL;
    const char *data = kept ? d->directory : "demo-data";

    printf("\nNext:\n");
    if (!kept)
        printf("  %s demo --data %s      the same, and the data stays; then\n", leat, data);
    printf("  %s pstate get lsh embeddings %s --data %s\n"
           "  %s pstate info lsh --data %s\n"
           "  %s stats --data %s\n"
           "  %s module show lsh\n",
           leat, d->entry[0].id, data, leat, data, leat, data, leat);
}

int cmd_demo(struct call *c)
{
    struct demo d = {.call = c};
    struct leat_error err = {0};
    const char *data = call_option(c, "data");
    int rv;

    c->json = false;
    d.temporary = data == NULL;
    snprintf(d.directory, sizeof(d.directory), "%s", data != NULL ? data : "");
    if (data != NULL && (rv = call_directory(data)) != 0)
        return rv;
    if (data == NULL && !make_directory(&d))
        return call_usage(c, "no directory can be made here: say where by --data DIR");
    rv = open_demo(&d);
    if (rv == 0 && run_demo(&d, &err) != 0)
        rv = call_error(&err);
    leat_close(d.leat);
    if (rv == 0)
        print_next(&d);
    if (d.temporary && call_option(c, "keep") == NULL)
        temporary_remove(d.directory);
    free_sample(&d);
    return rv;
}
