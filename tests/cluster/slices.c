/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include "engine/group_state.h"
#include "engine/node.h"

/* A turn takes many slices of a partition. What stands behind some that it has taken, damage or a trim, does not undo
 * them: the next turn meets it. A log that gives few records at a time, and then what is asked for. */

enum { COUNT, ROWS = 100, SLICE = 10, OBSTACLE = 5 * SLICE };

static int count(struct leat_task *t, const struct leat_batch *in)
{
    struct leat_value rows = leat_i64(0);

    leat_get(t, COUNT, LEAT_KEYS(leat_u32(0)), &rows, 1);
    leat_put(t, COUNT, LEAT_KEYS(leat_u32(0)), LEAT_ROW(leat_i64(rows.as.i + in->rows)));
    return 0;
}

#define COUNTED .pstates = PSTATES([COUNT] = {"count", "map<u32, i64>"})
#define FROM(depot_) TOPOLOGIES({"read", LEAT_STREAM, NODES({"count", .from = depot_, .run = count})})

static const struct leat_module
    source = {LEAT_ABI, .name = "source", .depots = DEPOTS({"rows", "n: i64", .partitioner = LEAT_RANDOM}), COUNTED,
              .topologies = FROM("rows")},
    quiet = {LEAT_ABI, .name = "quiet", .depots = DEPOTS({"rows", "n: i64", .partitioner = LEAT_RANDOM})},
    reader = {LEAT_ABI, .name = "reader", COUNTED, .topologies = FROM("quiet/rows")};

static struct leat *node;
static struct log_ops ops; /* of the log with the obstacle */

static int read_damaged(struct log *l, uint32_t partition, uint64_t offset, uint32_t records_max, size_t bytes_max,
                        struct log_slice *out, struct leat_error *err)
{
    (void)records_max;
    if (offset >= OBSTACLE)
        return leat_fail(err, LEAT_ECORRUPT, "record %d is damaged", OBSTACLE);
    return log_memory.read(l, partition, offset, SLICE, bytes_max, out, err);
}

/* All is trimmed away under who reads. */
static int read_trimmed(struct log *l, uint32_t partition, uint64_t offset, uint32_t records_max, size_t bytes_max,
                        struct log_slice *out, struct leat_error *err)
{
    (void)records_max;
    if (offset >= OBSTACLE)
        assert_int_equal(log_trim(l, partition, ROWS, err), 0);
    return log_memory.read(l, partition, offset, SLICE, bytes_max, out, err);
}

/* One task. The rows are there, and read's obstacle in the log, before anything is processed. */
static void open_with(const struct leat_module *module, const struct leat_module *further, __typeof__(ops.read) read)
{
    struct leat_config config = {.create = true, .memory = true};
    struct leat_launch one = {.tasks = 1, .groups = 1};
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;

    must(leat_open(NULL, &config, &node, &err));
    node->manual = true;
    must(leat_launch(node, module, &one, &err));
    if (further != NULL)
        must(leat_launch(node, further, &one, &err));
    ops = log_memory;
    ops.read = read;
    node->module[0]->group[0]->depots->ops = &ops;
    must(leat_depot_find(node, module->name, "rows", &d, &err));
    must(leat_rows_new(d, &rows));
    for (int i = 0; i < ROWS; i++)
        must(leat_rows_add(rows, LEAT_ROW(leat_i64(i)), &err));
    must(leat_append(d, rows, NULL, NULL, &err));
    leat_rows_free(rows);
}

/* Until there is nothing to do, or it fails. */
static int run(struct module *m, struct leat_error *err)
{
    int rv = 1;

    for (int idle = 0; rv >= 0 && idle < 40; idle = rv > 0 ? 0 : idle + 1)
        rv = group_step(m->group[0], err);
    return rv;
}

static int64_t counted(const char *module)
{
    struct leat_value rows = leat_i64(0);
    struct leat_error err = {0, ""};
    struct leat_view *v;

    must(leat_view_open(node, module, &v, &err));
    leat_get(leat_view_task(v, 0), COUNT, LEAT_KEYS(leat_u32(0)), &rows, 1);
    leat_view_close(v);
    return rows.as.i;
}

static void intact_records_before_damage_are_processed(void **state)
{
    struct leat_error err = {0, ""};

    (void)state;
    open_with(&source, NULL, read_damaged);
    assert_int_equal(run(node->module[0], &err), LEAT_ECORRUPT);
    assert_non_null(strstr(err.text, "record 50 is damaged"));
    assert_int_equal(counted("source"), OBSTACLE);
    leat_close(node);
}

/* What is gone of another module's depot is passed over; what was read before counts. */
static void another_depot_is_trimmed_within_a_turn(void **state)
{
    struct leat_error err = {0, ""};

    (void)state;
    open_with(&quiet, &reader, read_trimmed);
    assert_int_equal(run(node->module[1], &err), 0);
    assert_int_equal(counted("reader"), OBSTACLE);
    assert_false(turn_unread(node->module[1]->group[0]));
    leat_close(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(intact_records_before_damage_are_processed),
        cmocka_unit_test(another_depot_is_trimmed_within_a_turn),
    };

    return cmocka_run_group_tests_name("slices", tests, NULL, NULL);
}
