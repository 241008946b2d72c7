/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include "base/file.h"
#include "engine/checkup.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* A directory is looked at as it is after a clean stop, and as a crash leaves it: nothing is found. PStates that are
 * not what the depots make are. */

enum { WORDS = 40, ROWS = 400, PATIENCE_MS = 30000 };

static _Atomic int64_t step = 1; /* what a row counts */
static int64_t drift;            /* and how much more each time */

static int tally(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value word = leat_at(in, i, 0), count = leat_i64(0);

        leat_get(t, 0, LEAT_KEYS(word), &count, 1);
        count.as.i += atomic_fetch_add(&step, drift);
        leat_put(t, 0, LEAT_KEYS(word), LEAT_ROW(count));
    }
    return 0;
}

static const struct leat_module module = {
    LEAT_ABI, .name = "tally",
    .depots = DEPOTS({"words", "word: str", .partitioner = LEAT_RANDOM}),
    .pstates = PSTATES({"counts", "map<str, i64>"}),
    .topologies = TOPOLOGIES({"tally", LEAT_STREAM, NODES(
        {"tally", .from = "words", .route = LEAT_BY_KEY, .run = tally})})};

struct world {
    char root[64];
};

static void shell(const char *format, const char *root)
{
    char command[256];

    snprintf(command, sizeof(command), format, root);
    assert_int_equal(system(command), 0);
}

static void append(struct leat *l)
{
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;

    must(leat_depot_find(l, "tally", "words", &d, &err));
    must(leat_rows_new(d, &rows));
    for (int i = 0; i < ROWS; i++) {
        char word[16];

        snprintf(word, sizeof(word), "w%d", i % WORDS);
        leat_rows_clear(rows);
        must(leat_rows_add(rows, LEAT_ROW(leat_str(word)), &err));
        must(leat_append(d, rows, &(struct leat_append){0}, NULL, &err));
    }
    leat_rows_free(rows);
    must(leat_wait(l, PATIENCE_MS, &err));
}

/* Two directories of the same rows: `clean`, and `killed`, a copy of its files before it was closed. */
static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct leat_error err = {0, ""};
    char directory[128];
    struct leat *l;

    snprintf(w->root, sizeof(w->root), "/tmp/leat-checkup-XXXXXX");
    assert_non_null(mkdtemp(w->root));
    snprintf(directory, sizeof(directory), "%s/clean", w->root);
    must(leat_open(directory, NULL, &l, &err));
    must(leat_launch(l, &module, &(struct leat_launch){.tasks = 4, .groups = 2}, &err));
    append(l);
    shell("cd %s && cp -a clean killed", w->root);
    leat_close(l);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    file_remove_tree(w->root, NULL);
    free(w);
    return 0;
}

struct findings {
    int count[CHECKUP_DAMAGE + 1];
    char text[1024]; /* the last one */
    uint64_t elements, compared;
};

static void found(void *context, enum checkup_weight weight, const char *where, const char *what, const char *advice)
{
    struct findings *f = context;

    assert_true(where[0] != '\0' && (weight == CHECKUP_NOTE || advice[0] != '\0'));
    f->count[weight]++;
    snprintf(f->text, sizeof(f->text), "%s", what);
}

static struct findings look(const struct world *w, const char *name, const struct leat_module *made_by)
{
    struct leat_error err = {0, ""};
    struct findings f = {.text = ""};
    struct layout *l;
    char directory[128], scratch[128];

    snprintf(directory, sizeof(directory), "%s/%s", w->root, name);
    shell("mkdir %s/scratch", w->root);
    snprintf(scratch, sizeof(scratch), "%s/scratch/view", w->root);
    struct checkup c = {.found = found, .context = &f, .settled = true, .scratch = scratch};
    must(layout_open(directory, "tally", &l, &err));
    checkup_logs(l, &c);
    for (uint32_t group = 0; group < l->groups; group++) {
        checkup_view(l, group, &c);
        must(file_remove_tree(scratch, &err));
    }
    f.elements = c.elements;
    checkup_rebuild(l, made_by, &c);
    f.compared = c.elements - f.elements;
    layout_close(l);
    shell("rm -r %s/scratch", w->root);
    return f;
}

static void nothing_is_found_where_nothing_is_wrong(void **state)
{
    static const char *const name[] = {"clean", "killed"};

    for (size_t i = 0; i < LENGTH_OF(name); i++) {
        struct findings f = look(*state, name[i], &module);

        if (f.count[CHECKUP_WARNING] + f.count[CHECKUP_DAMAGE] > 0)
            fail_msg("%s: %s", name[i], f.text);
        assert_true(f.elements >= WORDS);
        if (i == 0) /* after a crash not all need be in checkpoints */
            assert_int_equal(f.compared, WORDS);
        assert_in_range(f.compared, 0, WORDS);
    }
}

static void what_the_depots_make_otherwise_is_found(void **state)
{
    step = 2;
    struct findings f = look(*state, "clean", &module);
    step = 1;
    assert_int_equal(f.count[CHECKUP_WARNING], 1);
    assert_non_null(strstr(f.text, "40 of 40 elements differ from what the depots make"));
}

/* There is nothing to compare with then. */
static void what_is_never_the_same_is_no_warning(void **state)
{
    drift = 1;
    struct findings f = look(*state, "clean", &module);
    drift = 0;
    step = 1;
    assert_int_equal(f.count[CHECKUP_WARNING] + f.count[CHECKUP_DAMAGE], 0);
    assert_int_equal(f.count[CHECKUP_NOTE], 1);
    assert_non_null(strstr(f.text, "not the same each time"));
}

static void modules_that_are_not_known_are_not_compared(void **state)
{
    struct findings f = look(*state, "clean", NULL);

    assert_int_equal(f.count[CHECKUP_WARNING] + f.count[CHECKUP_DAMAGE], 0);
    assert_int_equal(f.count[CHECKUP_NOTE], 1);
    assert_int_equal(f.compared, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_found_where_nothing_is_wrong),
        cmocka_unit_test(what_the_depots_make_otherwise_is_found),
        cmocka_unit_test(what_is_never_the_same_is_no_warning),
        cmocka_unit_test(modules_that_are_not_known_are_not_compared),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
