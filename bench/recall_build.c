/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/recall.h"

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "cmd/cmd.h"

/* Rows of an append; and bytes under way, fewer than the intake of one group takes. */
enum { BATCH_ROWS = 1000, BATCH_BYTES = 1 << 20, MOST_BYTES = LIMIT_PENDING_APPEND / 2 };

/* ---- What it takes ---- */

struct recall_memory recall_memory(void)
{
    struct recall_memory m = {0, 0};
    FILE *f = fopen("/proc/self/status", "r");
    long kib;
    char line[256];

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "RssAnon: %ld", &kib) == 1)
            m.anonymous = (double)kib / 1024;
        if (sscanf(line, "RssFile: %ld", &kib) == 1)
            m.mapped = (double)kib / 1024;
    }
    if (f != NULL)
        fclose(f);
    return m;
}

static double view_bytes, log_bytes; /* nftw has no context */

static int add_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)at;
    if (type == FTW_F)
        *(strstr(path, "/view/") != NULL ? &view_bytes : &log_bytes) += (double)st->st_blocks * 512;
    return 0;
}

double recall_processors(void)
{
    struct rusage r;

    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1e-6;
}

/* ---- Appending ---- */

struct flight {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    size_t under_way; /* bytes */
    int code;         /* the first that was not 0 */
};

struct batch {
    struct flight *flight;
    size_t bytes;
};

static void processed(void *context, int code, const struct leat_receipt *receipt)
{
    struct batch *b = context;
    struct flight *f = b->flight;

    (void)receipt;
    pthread_mutex_lock(&f->lock);
    f->under_way -= b->bytes;
    f->code = f->code != 0 ? f->code : code;
    pthread_cond_signal(&f->cond);
    pthread_mutex_unlock(&f->lock);
    free(b);
}

static int wait_until(struct flight *f, size_t most)
{
    pthread_mutex_lock(&f->lock);
    while (f->under_way > most)
        pthread_cond_wait(&f->cond, &f->lock);
    int code = f->code;
    pthread_mutex_unlock(&f->lock);
    return code;
}

static int send(struct leat_depot *d, struct flight *f, struct leat_rows *rows, size_t bytes, struct leat_append *how,
                struct leat_error *err)
{
    struct batch *b = base_alloc(sizeof(*b));
    int rv = wait_until(f, MOST_BYTES - bytes);

    *b = (struct batch){f, bytes};
    pthread_mutex_lock(&f->lock);
    f->under_way += bytes;
    pthread_mutex_unlock(&f->lock);
    if (rv == 0)
        rv = leat_append_start(d, rows, how, processed, b, err);
    else
        leat_fail(err, rv, "vectors were not appended: %s", leat_code_text(rv));
    if (rv != 0)
        processed(b, rv, NULL);
    return rv;
}

/* Rows from the file until the batch is full. LEAT_END: there are no more. */
static int fill(struct recall_set *s, const struct row_schema *schema, struct leat_rows *rows, struct leat_error *err)
{
    uint32_t most = BATCH_BYTES / (s->base.dims * s->base.element) + 1;
    struct leat_value value[LIMIT_COLUMNS];
    int rv = 0;

    arena_reset(s->room);
    leat_rows_clear(rows);
    while (rv == 0 && leat_rows_count(rows) < BATCH_ROWS && leat_rows_count(rows) < most) {
        uint64_t row = s->base.row;

        rv = import_next(&s->base, s->room, schema, "", value, err);
        if (rv == 0 && (rv = leat_rows_add(rows, (struct leat_row){value, schema->columns}, err)) != 0)
            base_wrap(err, rv, "'%s', row %llu", s->base.path, (unsigned long long)row);
    }
    return rv;
}

static int append_all(struct leat_depot *d, struct recall_set *s, uint64_t session, struct leat_error *err)
{
    const struct leat_batch *columns = leat_depot_columns(d);
    struct row_schema schema = {columns->columns, (struct leat_column *)(uintptr_t)columns->column};
    struct flight f = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    struct leat_append how = {.ack = LEAT_PROCESSED, .timeout_ms = 3600000, .session = session};
    struct leat_rows *rows;
    int rv = 0, sent = 0;

    import_seek(&s->base, 0);
    leat_rows_new(d, &rows);
    while (rv == 0 && sent == 0) {
        how.sequence = s->base.row + 1;
        rv = fill(s, &schema, rows, err);
        if ((rv == 0 || rv == LEAT_END) && leat_rows_count(rows) > 0)
            sent = send(d, &f, rows, leat_rows_count(rows) * ((size_t)s->base.dims * s->base.element + 64), &how, err);
    }
    int code = wait_until(&f, 0);
    leat_rows_free(rows);
    if (rv != LEAT_END && rv != 0)
        return rv;
    return sent != 0   ? sent
           : code != 0 ? leat_fail(err, code, "vectors were not processed: %s", leat_code_text(code))
                       : 0;
}

/* ---- Building ---- */

/* Is the base in the depot already? LEAT_EEXISTS: something else is, or a part. */
static int look(struct leat_depot *d, const struct recall_set *s, uint64_t session, const char *directory, bool *there,
                struct leat_error *err)
{
    uint64_t rows = 0, high = 0;

    for (uint32_t i = 0; i < leat_depot_partitions(d); i++) {
        struct leat_bounds bounds;

        if (leat_depot_bounds(d, i, &bounds) == 0)
            rows += bounds.next;
    }
    *there = leat_depot_session(d, session, &high) == 0 && high == s->base.rows && rows == s->base.rows;
    if (rows == 0 || *there)
        return 0;
    return leat_fail(err, LEAT_EEXISTS, "'%s' holds %llu vectors that are not those of '%s': name another directory",
                     directory, (unsigned long long)rows, s->base.path);
}

/* Rows that went to the dead letters: those of this run are counted before they can be read, those of earlier ones can
 * only be read. */
static uint64_t letters_of(struct leat *l, const char *module)
{
    uint64_t counted = (uint64_t)call_dead_letters(l), there = 0;
    struct leat_depot *d;

    if (leat_depot_find(l, module, "dead_letters", &d, NULL) != 0)
        return counted;
    for (uint32_t i = 0; i < leat_depot_partitions(d); i++) {
        struct leat_bounds bounds;

        if (leat_depot_bounds(d, i, &bounds) == 0)
            there += bounds.next;
    }
    return there > counted ? there : counted;
}

/* Figures are of all vectors of a file, or they are of something else than they say. */
static int check_refused(struct leat *l, const char *module, const struct recall_set *s, const char *data,
                         struct leat_error *err)
{
    uint64_t refused = letters_of(l, module);

    if (refused == 0)
        return 0;
    return leat_fail(err, LEAT_ESCHEMA,
                     "module '%s' refused %llu of the %llu rows of '%s': %s'leat depot tail %s dead_letters --data %s' "
                     "says why",
                     module, (unsigned long long)refused, (unsigned long long)s->base.rows, s->base.path,
                     data == NULL ? "with --data DIR they are kept, and " : "", module, data != NULL ? data : "DIR");
}

int recall_build(struct leat *l, const struct recall_module *m, struct recall_set *s, const char *directory,
                 bool kept, const struct recall_memory *before, struct recall_built *out, struct leat_error *err)
{
    uint64_t session = import_hash(&s->base) >> 1 | 1;
    double started = bench_now(), busy = recall_processors();
    struct leat_depot *d;
    int rv = leat_depot_find(l, m->name, m->depot, &d, err);

    if (rv == 0)
        rv = look(d, s, session, directory, &out->there, err);
    if (rv == 0 && !out->there)
        rv = append_all(d, s, session, err);
    out->seconds = bench_now() - started;
    if (rv == 0)
        rv = leat_wait_idle(l, UINT32_MAX, err); /* the upkeep of large sets takes hours */
    out->settled = bench_now() - started;
    out->busy = recall_processors() - busy;
    if (rv == 0)
        rv = check_refused(l, m->name, s, kept ? directory : NULL, err);
    madvise((void *)(uintptr_t)s->base.base, s->base.size, MADV_RANDOM);
    struct recall_memory now = recall_memory();
    out->memory = now.anonymous - before->anonymous;
    out->mapped = now.mapped - before->mapped;
    view_bytes = log_bytes = 0;
    nftw(directory, add_file, 16, FTW_PHYS);
    out->views = view_bytes / (1 << 20);
    out->logs = log_bytes / (1 << 20);
    return rv;
}
