/* SPDX-License-Identifier: Apache-2.0 */
/* A victim of kill.sh. It appends numbers 0.. to a depot by key and goes on where a killed run stopped.
 *
 *   kill_chain append DIRECTORY    until it is killed
 *   kill_chain finish DIRECTORY    complete the last batch, compare the PStates with an offline pass over the numbers
 *
 * `chain` has h(n+1) = H(h(n), number) for each key, which shows losses, repeats and changes of order; `hops` counts by
 * another key, on other tasks and mostly in another group; `hops_again` does so by way of a background node. */

#include "tests/process/chain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 40, SESSION = 7 };

static void must(int code, const struct leat_error *err)
{
    if (code != 0) {
        fprintf(stderr, "kill_chain: %s: %s\n", leat_code_name(code), err->text);
        exit(1);
    }
}

/* ---- Appending ---- */

/* Numbers below this were appended, or are in the last batch of a killed run, of which any part may be there. */
static int64_t appended(struct leat_depot *d)
{
    uint64_t high;

    return leat_depot_session(d, SESSION, &high) == 0 ? (int64_t)high + 1 : 0;
}

/* What is derived is at every moment what the PStates say: 1 when it is not. */
static int check_derived(struct leat *l, struct leat_error *err)
{
    int64_t differs = chain_ask(l, err);

    if (differs != 0)
        fprintf(stderr, "what is derived differs for %lld keys: %s\n", (long long)differs, err->text);
    return differs != 0;
}

static void append(struct leat *l, struct leat_depot *d, int64_t rows, struct leat_error *err)
{
    int64_t at = appended(d) - BATCH;
    struct leat_rows *batch;

    must(leat_rows_new(d, &batch), err);
    for (at = at > 0 ? at : 0; at < rows;) {
        struct leat_append how = {.ack = at % 3 == 0 ? LEAT_PROCESSED : LEAT_APPENDED, .session = SESSION,
                                  .sequence = (uint64_t)at};

        leat_rows_clear(batch);
        for (uint32_t i = 0; i < BATCH && at < rows; i++, at++)
            must(leat_rows_add(batch, LEAT_ROW(leat_i64(key_of(at)), leat_i64(at)), err), err);
        must(leat_append(d, batch, &how, NULL, err), err);
        if (at % (5 * BATCH) == 0 && check_derived(l, err) != 0)
            exit(1);
    }
    leat_rows_free(batch);
}

/* ---- Checking ---- */

static int compare(struct leat_view *v, uint32_t pstate, int64_t key, uint64_t want)
{
    struct leat_value k = leat_i64(key), got = leat_u64(0);
    int rv = leat_get(leat_view_owner(v, &k), pstate, LEAT_KEYS(k), &got, 1);

    if ((rv == 0 || rv == LEAT_ENOTFOUND) && got.as.u == want)
        return 0;
    fprintf(stderr, "%s: key %lld has %llu instead of %llu (%s)\n", module_chain.pstates[pstate].name, (long long)key,
            (unsigned long long)got.as.u, (unsigned long long)want, leat_code_name(rv));
    return 1;
}

static int check(struct leat *l, int64_t rows, struct leat_error *err)
{
    uint64_t h[KEYS] = {0}, hops[HOPS] = {0};
    struct leat_view *v;
    int wrong = 0;

    for (int64_t i = 0; i < rows; i++) {
        h[key_of(i)] = mix(h[key_of(i)], i);
        hops[hop_of(i)]++;
    }
    must(leat_wait_idle(l, 60000, err), err);
    must(leat_view_open(l, module_chain.name, &v, err), err);
    for (int64_t i = 0; i < KEYS; i++)
        wrong += compare(v, 0, i, h[i]);
    for (int64_t i = 0; i < HOPS; i++)
        wrong += compare(v, 1, i, hops[i]) + compare(v, 2, i, hops[i]);
    leat_view_close(v);
    return wrong + check_derived(l, err);
}

int main(int argc, char **argv)
{
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat *l;
    int wrong = 0;

    if (argc != 3) {
        fprintf(stderr, "usage: kill_chain append|finish DIRECTORY\n");
        return 2;
    }
    must(leat_open(argv[2], NULL, &l, &err), &err);
    must(leat_launch(l, &module_chain, &(struct leat_launch){.tasks = 16, .groups = 4}, &err), &err);
    must(leat_depot_find(l, module_chain.name, "numbers", &d, &err), &err);
    if (strcmp(argv[1], "append") == 0) {
        append(l, d, INT64_MAX, &err);
    } else {
        int64_t rows = appended(d) + BATCH;

        append(l, d, rows, &err);
        wrong = check(l, rows, &err);
        printf("%lld numbers, %d wrong values\n", (long long)rows, wrong);
    }
    leat_close(l);
    return wrong == 0 ? 0 : 1;
}
