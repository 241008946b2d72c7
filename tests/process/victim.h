/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_PROCESS_VICTIM_H
#define TESTS_PROCESS_VICTIM_H

/* What kill.sh kills: a program that appends rows 0, 1, .. to one depot and goes on where a killed run stopped. Row n
 * follows from n, so what must be there can be made once more.
 *
 *   PROGRAM append DIRECTORY    until it is killed
 *   PROGRAM finish DIRECTORY    complete the last batch, wait until nothing is left to do, compare */

#include "leat/leat.h"
#include "tests/process/often.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VICTIM_BATCH = 40, VICTIM_SESSION = 7, VICTIM_LOOK = 5 * VICTIM_BATCH, VICTIM_WAIT_MS = 120000 };

struct victim {
    const struct leat_module *module;
    const struct leat_option *options;
    const char *depot;
    int (*add)(struct leat_rows *batch, int64_t n, struct leat_error *err);
    int (*look)(struct leat *l,
                struct leat_error *err); /* now and then, while rows come: how much is wrong; may be NULL */
    int (*check)(struct leat *l, int64_t rows, struct leat_error *err); /* the same when all is done */
};

static inline void must(int code, const struct leat_error *err)
{
    if (code != 0) {
        fprintf(stderr, "%s: %s\n", leat_code_name(code), err->text);
        exit(1);
    }
}

/* Rows below this were appended, or are in the last batch of a killed run, of which any part may be there. */
static inline int64_t victim_appended(struct leat_depot *d)
{
    uint64_t high;

    return leat_depot_session(d, VICTIM_SESSION, &high) == 0 ? (int64_t)high + 1 : 0;
}

static inline void victim_append(const struct victim *v, struct leat *l, struct leat_depot *d, int64_t rows,
                                 struct leat_error *err)
{
    int64_t at = victim_appended(d) - VICTIM_BATCH;
    struct leat_rows *batch;

    must(leat_rows_new(d, &batch), err);
    for (at = at > 0 ? at : 0; at < rows;) {
        struct leat_append how = {
            .ack = at % 3 == 0 ? LEAT_PROCESSED : LEAT_APPENDED, .session = VICTIM_SESSION, .sequence = (uint64_t)at};

        leat_rows_clear(batch);
        for (uint32_t i = 0; i < VICTIM_BATCH && at < rows; i++, at++)
            must(v->add(batch, at, err), err);
        must(leat_append(d, batch, &how, NULL, err), err);
        if (v->look != NULL && at % VICTIM_LOOK == 0 && v->look(l, err) != 0)
            exit(1);
    }
    leat_rows_free(batch);
}

static inline int victim_finish(const struct victim *v, struct leat *l, struct leat_depot *d, struct leat_error *err)
{
    int64_t rows = victim_appended(d) + VICTIM_BATCH;

    victim_append(v, l, d, rows, err);
    must(leat_wait_idle(l, VICTIM_WAIT_MS, err), err);
    int wrong = v->check(l, rows, err);
    printf("%lld rows, %d wrong\n", (long long)rows, wrong);
    return wrong;
}

static inline int victim_main(const struct victim *v, int count, char **argument)
{
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat *l;
    int wrong = 0;

    if (count != 3) {
        fprintf(stderr, "usage: %s append|finish DIRECTORY\n", argument[0]);
        return 2;
    }
    must(leat_open(argument[2], NULL, &l, &err), &err);
    checkpoint_often(l);
    must(leat_launch(l, v->module, &(struct leat_launch){.tasks = 16, .groups = 4, .options = v->options}, &err), &err);
    must(leat_depot_find(l, v->module->name, v->depot, &d, &err), &err);
    if (strcmp(argument[1], "append") == 0)
        victim_append(v, l, d, INT64_MAX, &err);
    else
        wrong = victim_finish(v, l, d, &err);
    leat_close(l);
    return wrong == 0 ? 0 : 1;
}

#endif
