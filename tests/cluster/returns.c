/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

/* Values that nodes send back with the acknowledgement: large ones, and many. */

enum { LARGE = 1000000, LARGE_ROWS = 150, ROWS = 20000 };

static int hop(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_u32((uint32_t)leat_at(in, i, 0).as.i * 7 % 8), leat_at(in, i, 0)));
    return 0;
}

/* The number itself, or for one below 0 a large value. */
static int give(struct leat_task *t, const struct leat_batch *in)
{
    static const char large[LARGE];

    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value n = leat_at(in, i, 1);

        leat_ack_return(t, i, n.as.i < 0 ? leat_bytes(large, sizeof(large)) : n);
    }
    return 0;
}

static const struct leat_module module = {
    LEAT_ABI, .name = "returns",
    .depots = DEPOTS({"one", "n: i64", .partitioner = LEAT_EXPLICIT}, {"many", "n: i64", .by = "n"}),
    .topologies = TOPOLOGIES({"s", LEAT_STREAM, NODES(
        {"hop", .from = "one, many", .run = hop, .emits = "to: u32, n: i64"},
        {"give", .from = "hop", .route = LEAT_DIRECT, .run = give})})};

static struct leat_receipt append(const char *depot, uint32_t count, int64_t first, int64_t step)
{
    struct leat_error err = {0, ""};
    struct leat_receipt receipt;
    struct leat_depot *d;
    struct leat_rows *rows;
    struct leat *l;

    must(leat_open(NULL, &(struct leat_config){.memory = true}, &l, &err));
    must(leat_launch(l, &module, &(struct leat_launch){.tasks = 8, .groups = 4}, &err));
    must(leat_depot_find(l, "returns", depot, &d, &err));
    must(leat_rows_new(d, &rows));
    for (uint32_t i = 0; i < count; i++)
        must(leat_rows_add(rows, LEAT_ROW(leat_i64(first + i * step)), &err));
    must(leat_append(d, rows, &(struct leat_append){.ack = LEAT_PROCESSED}, &receipt, &err));
    leat_rows_free(rows);
    leat_close(l);
    return receipt;
}

/* More than may be under way between groups, and than a receipt holds: all is
 * processed, and what is missing is told. */
static void large_ones(void **unused)
{
    struct leat_receipt r = append("one", LARGE_ROWS, -1, -8); /* all of them come from the same other group */

    (void)unused;
    assert_int_equal(r.appended, LARGE_ROWS);
    assert_int_equal(r.returned, (64 << 20) / LARGE);
    assert_int_equal(r.returned + r.dropped, LARGE_ROWS);
    for (uint32_t i = 0; i < r.returned; i++)
        assert_int_equal(r.value[i].as.bytes.size, LARGE);
    leat_receipt_fini(&r);
}

static void many(void **unused)
{
    struct leat_receipt r = append("many", ROWS, 0, 1);

    (void)unused;
    assert_int_equal(r.returned, ROWS);
    assert_int_equal(r.dropped, 0);
    for (uint32_t i = 0; i < ROWS; i++)
        assert_int_equal(r.value[i].as.i, i);
    leat_receipt_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(large_ones), cmocka_unit_test(many)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
