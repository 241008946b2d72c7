/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cmd/import.h"
#include "cmd/signals.h"
#include "topologies/plan.h"

/* Importing a file. The session is derived from its bytes, the sequence is the row's number + 1: rows that were
 * appended by an earlier run are dropped as repeats. No row is sent before all those WINDOW rows earlier are appended,
 * so a run that goes on begins that many before the highest row that any partition has. A file of which nothing is
 * there yet is checked whole first: mended, it would be another session, which appended
 * again what came before the mistake. */

enum { WINDOW = 65536, BATCH_ROWS = 1024, BATCH_BYTES = 1 << 20 };

/* Bytes under way: less than the intake of one group takes, which would refuse what is above. */
enum { MOST_BYTES = LIMIT_PENDING_APPEND / 2 };

struct import {
    struct call *call;
    struct import_file file;
    struct leat_depot *depot;
    struct row_schema schema;
    struct leat_append how;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    struct flight *oldest, *newest; /* batches under way, in the order of their rows */
    size_t bytes;                   /* under way */
    uint64_t new_rows;
    int code;
    double started, printed;
    uint64_t first;        /* row that this run began with, */
    size_t first_at;       /* and its byte */
    bool checked;
    bool whole;            /* all rows are appended: a signal came too late */
    bool idle;             /* then wait until background nodes have nothing to do */
};

struct flight {
    struct import *import;
    struct flight *next;
    uint64_t first; /* its first row */
    size_t bytes;
    bool landed;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void depart(struct import *im, struct flight *f)
{
    pthread_mutex_lock(&im->lock);
    if (im->oldest == NULL)
        im->oldest = f;
    else
        im->newest->next = f;
    im->newest = f;
    im->bytes += f->bytes;
    pthread_mutex_unlock(&im->lock);
}

/* A batch may be appended before an earlier one: it leaves the list with that. */
static void land(struct flight *f, int code, uint64_t new_rows)
{
    struct import *im = f->import;

    pthread_mutex_lock(&im->lock);
    f->landed = true;
    im->bytes -= f->bytes;
    im->new_rows += new_rows;
    if (im->code == 0)
        im->code = code;
    while (im->oldest != NULL && im->oldest->landed) {
        struct flight *done = im->oldest;

        im->oldest = done->next;
        free(done);
    }
    pthread_cond_signal(&im->cond);
    pthread_mutex_unlock(&im->lock);
}

static void appended(void *context, int code, const struct leat_receipt *receipt)
{
    land(context, code, code == 0 ? receipt->appended : 0);
}

/* Wait until all rows before this one are appended, and there is room for so many bytes. */
static int wait_for(struct import *im, uint64_t row, size_t bytes)
{
    pthread_mutex_lock(&im->lock);
    while (im->oldest != NULL && (im->oldest->first < row || (im->bytes > 0 && im->bytes + bytes > MOST_BYTES)) &&
           im->code == 0)
        pthread_cond_wait(&im->cond, &im->lock);
    int code = im->code;
    pthread_mutex_unlock(&im->lock);
    return code;
}

static void print_progress(struct import *im, const struct import_file *f, const char *doing, bool last)
{
    double t = call_now(), took = t - im->started, done = (double)(f->row - im->first);
    double share = f->size > im->first_at ? (double)(f->at - im->first_at) / (double)(f->size - im->first_at) : 1;

    if (im->call->quiet || !isatty(STDERR_FILENO) || (!last && t - im->printed < 0.5))
        return;
    im->printed = t;
    fprintf(stderr, "\r%llu rows%s, %.0f/s, %.0f %%, %.0f s left   %s", (unsigned long long)f->row, doing,
            took > 0 ? done / took : 0, f->size > 0 ? 100.0 * (double)f->at / (double)f->size : 100,
            share > 0 ? took / share * (1 - share) : 0, last ? "\n" : "");
}

static int next_row(struct import *im, struct import_file *f, struct arena *a, struct leat_value *value,
                    struct leat_error *err)
{
    const char *prefix = call_option(im->call, "id-prefix");

    return import_next(f, a, &im->schema, prefix != NULL ? prefix : "", value, err);
}

/* Every row of the file, before any is appended. */
static int check_rows(struct import *im, struct leat_error *err)
{
    struct import_file f = im->file;
    struct arena *a = arena_open(SIZE_MAX / 8);
    struct leat_value value[LIMIT_COLUMNS];
    struct buffer bytes = {0};
    int rv = 0;

    im->started = call_now();
    while (rv == 0 && !interrupted) {
        arena_reset(a);
        buffer_clear(&bytes);
        rv = next_row(im, &f, a, value, err);
        uint64_t row = f.row - (f.row > 0);
        if (rv == 0 && (rv = row_encode(&im->schema, (struct leat_row){value, im->schema.columns}, &bytes, err)) != 0)
            base_wrap(err, rv, "'%s', row %llu", f.path, (unsigned long long)row);
        if (f.row % BATCH_ROWS == 0)
            print_progress(im, &f, " checked", false);
    }
    if (rv != LEAT_END && im->printed > 0) /* behind the last progress */
        fputc('\n', stderr);
    if (rv != 0 && rv != LEAT_END)
        base_wrap(err, rv, "nothing was appended");
    im->checked = true;
    buffer_fini(&bytes);
    arena_close(a);
    return rv == LEAT_END ? 0 : rv;
}

/* Fill a batch: up to so many rows or bytes. *bytes: no less than they take. LEAT_END: the file is at its end. */
static int fill(struct import *im, struct arena *a, struct leat_rows *rows, size_t *bytes, struct leat_error *err)
{
    struct leat_value value[LIMIT_COLUMNS];
    size_t from = im->file.at;
    int rv = 0;

    leat_rows_clear(rows);
    arena_reset(a);
    while (rv == 0 && leat_rows_count(rows) < BATCH_ROWS && arena_used(a) < BATCH_BYTES) {
        uint64_t row = im->file.row;

        rv = next_row(im, &im->file, a, value, err);
        if (rv == 0 && (rv = leat_rows_add(rows, (struct leat_row){value, im->schema.columns}, err)) != 0)
            base_wrap(err, rv, "'%s', row %llu", im->file.path, (unsigned long long)row);
        if (rv == 0 && im->file.form != IMPORT_JSONL)
            arena_alloc(a, (size_t)im->file.dims * 4, 1);
    }
    /* Text is in the file, vectors are in the arena. */
    *bytes = im->file.at - from + arena_used(a) + leat_rows_count(rows) * 64;
    return rv;
}

static int send(struct import *im, const struct leat_rows *rows, size_t bytes, struct leat_error *err)
{
    uint64_t end = im->file.row, first = end - leat_rows_count(rows);
    int rv = wait_for(im, end > WINDOW ? end - WINDOW : 0, bytes);

    if (rv != 0)
        return rv;
    struct flight *f = base_alloc(sizeof(*f));
    *f = (struct flight){im, NULL, first, bytes, false};
    depart(im, f);
    im->how.sequence = first + 1;
    rv = leat_append_start(im->depot, rows, &im->how, appended, f, err);
    if (rv != 0)
        land(f, rv, 0);
    return rv;
}

static int import_rows(struct import *im, struct leat_error *err)
{
    struct arena *a = arena_open(SIZE_MAX / 8);
    struct leat_rows *rows;
    size_t bytes;
    int rv = 0;

    leat_rows_new(im->depot, &rows);
    while (rv == 0 && !interrupted) {
        rv = fill(im, a, rows, &bytes, err);
        if ((rv == 0 || rv == LEAT_END) && leat_rows_count(rows) > 0) {
            int sent = send(im, rows, bytes, err);

            rv = sent != 0 ? sent : rv;
        }
        print_progress(im, &im->file, "", false);
    }
    int code = wait_for(im, UINT64_MAX, 0);
    print_progress(im, &im->file, "", true);
    leat_rows_free(rows);
    arena_close(a);
    if (code != 0)
        return err->code != 0 ? err->code
                              : leat_fail(err, code, "rows were not appended: %s; run the same command again",
                                          leat_code_text(code));
    im->whole = rv == LEAT_END;
    return rv == LEAT_END ? 0 : rv;
}

/* Where to begin: behind what an earlier run is sure to have appended. */
static int find_start(struct import *im, struct leat_error *err)
{
    const char *prefix = call_option(im->call, "id-prefix");
    uint64_t high, hash = import_hash(&im->file);

    for (const char *c = prefix != NULL ? prefix : ""; *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * 0x100000001b3U;
    im->how.session = hash >> 1 | 1;
    if (leat_depot_session(im->depot, im->how.session, &high) != 0)
        return im->checked ? 0 : check_rows(im, err);
    if (high <= WINDOW)
        return 0;
    im->first = high - WINDOW;
    import_seek(&im->file, im->first);
    im->first_at = im->file.at;
    return 0;
}

static int run_import(struct import *im, struct leat *l, struct leat_error *err)
{
    struct call *c = im->call;
    int rv = leat_depot_find(l, call_option(c, "module"), call_option(c, "depot"), &im->depot, err);

    if (rv != 0)
        return rv;
    const struct leat_batch *columns = leat_depot_columns(im->depot);
    im->schema = (struct row_schema){columns->columns, (struct leat_column *)(uintptr_t)columns->column};
    rv = find_start(im, err);
    im->started = call_now();
    if (rv == 0)
        rv = import_rows(im, err);
    if (rv == 0 && !c->quiet) {
        double took = call_now() - im->started;

        fprintf(stderr, "%s%llu rows, %llu of them new, in %.2f s: %.0f rows/s\n",
                !im->whole ? "stopped; run the same command again to go on: " : "", (unsigned long long)im->file.row,
                (unsigned long long)im->new_rows, took, (double)(im->file.row - im->first) / took);
    }
    /* They run only as long as a process has the directory open. */
    while (rv == 0 && im->idle && !interrupted && (rv = leat_wait_idle(l, 1000, err)) == LEAT_ETIMEOUT)
        rv = 0;
    call_tell_dead_letters(c, l, call_option(c, "module"));
    return rv;
}

/* All that can be checked before a directory is made. 0, or an exit code with the sentence printed. */
static int prepare(struct import *im, const char *path)
{
    struct call *c = im->call;
    const char *ack = call_option(c, "ack");
    struct leat_error err = {0};
    struct plan *plan = NULL;
    uint32_t depot;

    if (call_option(c, "module") == NULL || call_option(c, "depot") == NULL)
        return call_usage(c, "say where to: --module M --depot D");
    im->idle = ack != NULL && strcmp(ack, "idle") == 0;
    if (ack != NULL && !im->idle && strcmp(ack, "appended") != 0 && strcmp(ack, "processed") != 0)
        return call_usage(c, "--ack is appended, processed or idle, not '%s'", ack);
    im->how.ack = ack != NULL && strcmp(ack, "processed") == 0 ? LEAT_PROCESSED : LEAT_APPENDED;
    int rv = call_target(c, call_option(c, "module"), call_option(c, "depot"), &plan, &depot);
    if (rv != 0)
        return rv;
    if (import_open(path, call_option(c, "input"), &im->file, &err) != 0)
        rv = call_error(&err);
    if (rv == 0 && im->file.form == IMPORT_JSONL && call_option(c, "id-prefix") != NULL)
        rv = call_usage(c, "--id-prefix is for files of vectors; rows of '%s' have their ids in them", path);
    if (rv == 0 && plan != NULL) {
        im->schema = plan->depot[depot].schema;
        if (check_rows(im, &err) != 0)
            rv = call_error(&err);
    }
    if (plan != NULL)
        plan_close(plan);
    return rv;
}

int cmd_import(struct call *c)
{
    /* Appends that are under way when one fails may still be answered while the process ends. */
    static struct import im;
    struct leat_error err = {0};
    struct leat *l;

    im.call = c;
    pthread_mutex_init(&im.lock, NULL);
    pthread_cond_init(&im.cond, NULL);
    signals_catch(on_signal, (int)(SA_RESETHAND | SA_RESTART)); /* a second one ends the process at once */
    int rv = prepare(&im, c->argument[0]);
    if (rv == 0 && interrupted) {
        fprintf(stderr, "stopped: nothing was appended\n");
        return EXIT_FAILED;
    }
    if (rv != 0 || (rv = call_open(c, call_option(c, "module"), true, &l)) != 0)
        return rv;
    rv = run_import(&im, l, &err);
    leat_close(l);
    import_close(&im.file);
    if (rv != 0)
        return call_error(&err);
    return im.whole ? 0 : EXIT_FAILED;
}
