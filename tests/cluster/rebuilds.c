/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include "base/file.h"
#include "base/log.h"
#include "engine/layout.h"
#include "engine/node.h"
#include "tests/lib/fault.h"

#include <errno.h>
#include <unistd.h>

/* Rebuilds: what they put in place is all that there was, also what background nodes made of it; one that fails leaves
 * the directory as it was. */

enum { SEEN, LATER, ROWS = 300, TASKS = 8 };

static char directory[64];

static int see(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0)));
    return count_into(t, in, SEEN);
}

static int look(struct leat_task *t, const struct leat_batch *in)
{
    leat_emit(t, 0, LEAT_ROW(leat_at(in, 0, 0)));
    return 0;
}

static int see_later(struct leat_task *t, const struct leat_batch *in)
{
    return count_into(t, in, LATER);
}

static const struct leat_module slow = {
    LEAT_ABI, .name = "slow",
    .depots = DEPOTS({"rows", "id: i64", .by = "id"}),
    .pstates = PSTATES([SEEN] = {"seen", "map<i64, i64>"}, [LATER] = {"later", "map<i64, i64>"}),
    .topologies = TOPOLOGIES({"flow", LEAT_STREAM, NODES(
        {"see", .from = "rows", .run = see, .emits = "id: i64"},
        {"look", .from = "see", .run = look, .emits = "id: i64", .background = true},
        {"later", .from = "look", .route = LEAT_BY_KEY, .run = see_later})})};

/* Nothing happens in it but what is asked for. */
static struct leat_test *open_still(uint32_t groups)
{
    struct leat_test_config config = {
        .module = &slow, .tasks = TASKS, .groups = groups, .directory = directory, .seed = groups};
    struct leat_error err = {0, ""};
    struct leat_test *t;

    must(leat_test_open(&config, &t, &err));
    return t;
}

static void check_all(struct leat_test *t)
{
    for (int64_t id = 0; id < ROWS; id++) {
        assert_int_equal(value_of(t, "slow", "seen", leat_i64(id), 0), 1);
        assert_int_equal(value_of(t, "slow", "later", leat_i64(id), 0), 1);
    }
}

static int set_up(void **state)
{
    struct leat_error err = {0, ""};

    (void)state;
    fault_directory(directory);
    struct leat_test *t = open_still(2);
    for (int64_t id = 0; id < ROWS; id++)
        must(leat_test_append(t, "rows", LEAT_ROW(leat_i64(id)), &err));
    must(leat_test_run(t, &err));
    leat_test_close(t);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove_tree(directory, NULL);
}

static void what_background_nodes_make_is_there(void **state)
{
    struct leat_rebuild how = {.groups = 4};
    struct leat_error err = {0, ""};

    (void)state;
    must(leat_rebuild(directory, &slow, &how, &err));
    struct leat_test *t = open_still(4);
    check_all(t);
    leat_test_close(t);
}

static uint32_t groups_now(void)
{
    struct leat_error err = {0, ""};
    struct layout *l;

    must(layout_open(directory, "slow", &l, &err));
    uint32_t groups = l->groups;
    layout_close(l);
    return groups;
}

/* The calls of the end are few, and begin when all is processed. */
static void begin_at_end(void *context, const char *doing, uint64_t done, uint64_t all)
{
    if (strcmp(doing, "processed") == 0 && done == all)
        fault_begin(directory, context);
}

/* Calls of a kind fail in turn, one in each rebuild. How many of these failed. */
static uint32_t fail_each(enum fault_call call, uint32_t step, bool at_end)
{
    uint32_t failed = 0, seen = 1;

    for (struct fault f = {.call = call, .at = 1, .number = EIO}; f.at <= seen; f.at += step) {
        uint32_t before = groups_now();
        struct leat_rebuild how = {.groups = 6 - before, .progress = at_end ? begin_at_end : NULL, .context = &f};
        struct leat_error err = {0, ""};

        if (!at_end)
            fault_begin(directory, &f);
        int rv = leat_rebuild(directory, &slow, &how, &err);
        seen = fault_end() + (rv != 0 ? step : 0); /* one that fails early makes no more */
        failed += rv != 0;
        if (groups_now() != (rv == 0 ? how.groups : before))
            fail_msg("%s %u of %u fails: %s; then there are %u groups, before %u", fault_name[call], f.at, seen,
                     err.text, groups_now(), before);
        struct leat_test *t = open_still(groups_now());
        check_all(t);
        leat_test_close(t);
    }
    return failed;
}

static void what_fails_changes_nothing(void **state)
{
    (void)state;
    log_level_set(LOG_ERROR + 1);
    for (enum fault_call call = FAULT_OPEN; call <= FAULT_SYNC; call++)
        assert_true(fail_each(call, 31, false) + fail_each(call, 1, true) > 0);
}

/* ---- The beginning of a log ---- */

/* As many small files as it takes. */
static int set_up_small_files(void **state)
{
    struct leat_config config = {.create = true, .durability = LEAT_PROCESS};
    struct leat_launch launch = {.tasks = TASKS, .groups = 1};
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;
    struct leat *l;

    (void)state;
    fault_directory(directory);
    must(leat_open(directory, &config, &l, &err));
    l->segment_size = 16 << 10;
    must(leat_launch(l, &slow, &launch, &err));
    must(leat_depot_find(l, "slow", "rows", &d, &err));
    leat_rows_new(d, &rows);
    for (int64_t id = 0; id < ROWS; id++) {
        leat_rows_clear(rows);
        must(leat_rows_add(rows, LEAT_ROW(leat_i64(id)), &err));
        must(leat_append(d, rows, NULL, NULL, &err));
    }
    leat_rows_free(rows);
    must(leat_wait_idle(l, 60000, &err));
    leat_close(l);
    return 0;
}

static void remove_first_file(void)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/slow/group-000/depots/%016d.seg", directory, 0);
    assert_int_equal(unlink(path), 0);
}

/* Files go from the front by retention alone. */
static void a_beginning_that_is_lost_is_not_taken_for_trimmed(void **state)
{
    struct leat_rebuild how = {.partial = true};
    struct leat_depot_declaration depots[] = {slow.depots[0], {.name = NULL}};
    struct leat_module keeps = slow;
    struct leat_error err = {0, ""};
    char path[128];

    (void)state;
    remove_first_file();
    assert_int_equal(leat_rebuild(directory, &slow, NULL, &err), LEAT_ECORRUPT);
    assert_non_null(strstr(err.text, "of depots that keep everything: the beginning of a log is lost"));
    depots[0].retain = "7d";
    keeps.depots = depots;
    assert_int_equal(leat_rebuild(directory, &keeps, NULL, &err), LEAT_ETRIMMED);
    snprintf(path, sizeof(path), "%s/slow/module.retain", directory);
    must(file_replace(path, span_text("rows = forever\n"), &err)); /* who knows what was said before */
    assert_int_equal(leat_rebuild(directory, &slow, NULL, &err), LEAT_ETRIMMED);
    assert_int_equal(unlink(path), 0);
    must(leat_rebuild(directory, &slow, &how, &err));
    must(leat_rebuild(directory, &slow, NULL, &err)); /* now it begins at 0 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_background_nodes_make_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_fails_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_beginning_that_is_lost_is_not_taken_for_trimmed,
                                        set_up_small_files, tear_down),
    };
    return cmocka_run_group_tests_name("rebuilds", tests, NULL, NULL);
}
