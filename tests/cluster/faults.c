/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include "base/log.h"
#include "engine/node.h"
#include "modules/modules.h"
#include "tests/lib/fault.h"

#include "base/file.h"

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

/* Each file call of the engine fails once, or from then on: opening, appending, committing, checkpoints and closing say
 * so or go on, nobody hangs, and the next open finds all that was acknowledged, once. */

enum { WORDS = 7, SESSION = 9, LIFE = 300, BATCH = 4, ROWS = 3 * LIFE, PATIENCE_S = 120, POINTS = 30 };

struct world {
    char directory[64];
    int64_t acknowledged;  /* rows below this */
    bool processed[ROWS];
    uint32_t timeout_ms;   /* where a disk is full for good */
};

/* ---- Lives ---- */

static int start(const struct world *w, struct leat **l, struct leat_error *err)
{
    int rv = leat_open(w->directory, NULL, l, err);

    if (rv != 0)
        return rv;
    (*l)->segment_size = 8 << 10;
    (*l)->checkpoint_bytes = 4 << 10;
    return leat_launch(*l, &module_word_count, &(struct leat_launch){.tasks = 8, .groups = 2}, err);
}

/* Row i: a word of its own, and one that many have. */
static int append(struct world *w, struct leat *l, int64_t to, struct leat_error *err)
{
    struct leat_depot *d;
    struct leat_rows *rows;
    int rv = 0;

    must_with(leat_depot_find(l, "word_count", "sentences", &d, err), err);
    must_with(leat_rows_new(d, &rows), err);
    for (int64_t at = w->acknowledged; at < to && rv == 0; at = w->acknowledged) {
        int64_t end = at + 1 + at % BATCH < to ? at + 1 + at % BATCH : to;
        struct leat_append how = {.ack = at % 3 == 0 ? LEAT_APPENDED : LEAT_PROCESSED, .session = SESSION,
                                  .sequence = (uint64_t)at, .timeout_ms = w->timeout_ms};
        char text[64];

        leat_rows_clear(rows);
        for (int64_t i = at; i < end; i++) {
            snprintf(text, sizeof(text), "u%d w%d", (int)i, (int)(i % WORDS));
            must_with(leat_rows_add(rows, LEAT_ROW(leat_str(text)), err), err);
        }
        rv = leat_append(d, rows, &how, NULL, err);
        for (int64_t i = at; i < end && rv == 0; i++)
            w->processed[i] = how.ack == LEAT_PROCESSED;
        w->acknowledged = rv == 0 ? end : at;
    }
    leat_rows_free(rows);
    return rv;
}

static void live_with_faults(struct world *w)
{
    struct leat_error err = {0, ""};
    struct leat *l = NULL;
    int rv = start(w, &l, &err);

    if (rv == 0)
        rv = append(w, l, w->acknowledged + LIFE, &err);
    if (rv != 0)
        assert_true(rv != LEAT_ECORRUPT && (rv != LEAT_ETIMEOUT || w->timeout_ms > 0) && rv != LEAT_EINTERNAL &&
                    err.text[0] != '\0');
    leat_close(l);
}

/* ---- Checking ---- */

static int64_t count_of(struct leat_view *v, char letter, int64_t number)
{
    struct leat_value count = leat_i64(0), word;
    char text[32];

    snprintf(text, sizeof(text), "%c%d", letter, (int)number);
    word = leat_str(text);
    int rv = leat_get(leat_view_owner(v, &word), 0, LEAT_KEYS(word), &count, 1);
    assert_true(rv == 0 || rv == LEAT_ENOTFOUND);
    return count.as.i;
}

static void check(const struct world *w, struct leat *l, bool all)
{
    struct leat_error err = {0, ""};
    struct leat_view *v;
    int64_t words[WORDS] = {0};

    must(leat_view_open(l, "word_count", &v, &err));
    for (int64_t i = 0; i < w->acknowledged; i++) {
        words[i % WORDS]++;
        if (all || w->processed[i])
            assert_int_equal(count_of(v, 'u', i), 1);
    }
    for (int64_t i = 0; i < WORDS && all; i++)
        assert_int_equal(count_of(v, 'w', i), words[i]);
    leat_view_close(v);
}

static void live(struct world *w, int64_t to)
{
    struct leat_error err = {0, ""};
    struct leat *l = NULL;

    must(start(w, &l, &err));
    check(w, l, false);
    must(append(w, l, to, &err));
    must(leat_wait(l, 30000, &err));
    check(w, l, true);
    leat_close(l);
}

/* A life without faults, one with, one without. The calls that there were. */
static uint32_t lives(const struct fault *f)
{
    struct world w = {.acknowledged = 0};

    fault_directory(w.directory);
    live(&w, LIFE);
    fault_begin(w.directory, f);
    w.timeout_ms = f->number == ENOSPC && f->lasting ? 200 : 0;
    live_with_faults(&w);
    w.timeout_ms = 0;
    uint32_t calls = fault_end();
    live(&w, ROWS);
    file_remove_tree(w.directory, NULL);
    return calls;
}

/* Some of the calls, LEAT_LONG=1: all of them. */
static void faults(enum fault_call call, int number)
{
    const char *lasting = getenv("LEAT_LONG");
    struct fault f = {.call = call, .number = number};
    uint32_t calls = lives(&f), points = lasting != NULL && strcmp(lasting, "1") == 0 ? calls : POINTS;

    assert_true(calls > 0);
    for (uint32_t i = 0; i < points && i < calls; i++) {
        f.at = 1 + (uint32_t)((uint64_t)i * calls / points);
        f.lasting = i % 2 == 0;
        alarm(PATIENCE_S);
        lives(&f);
    }
    alarm(0);
}

static void opening(void **state)
{
    (void)state;
    faults(FAULT_OPEN, EMFILE);
}

static void writing(void **state)
{
    (void)state;
    faults(FAULT_WRITE, EIO);
    faults(FAULT_WRITE, ENOSPC);
}

static void syncing(void **state)
{
    (void)state;
    faults(FAULT_SYNC, EIO);
}

static void finding_space(void **state)
{
    (void)state;
    faults(FAULT_ALLOCATE, ENOSPC);
}

static void removing(void **state)
{
    (void)state;
    faults(FAULT_UNLINK, EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening),       cmocka_unit_test(writing),  cmocka_unit_test(syncing),
        cmocka_unit_test(finding_space), cmocka_unit_test(removing),
    };

    log_level_set(LOG_ERROR + 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
