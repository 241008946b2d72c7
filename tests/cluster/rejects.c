/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

/* A row that a node rejects has no effect: not even by a node that does not keep to that. */

enum { SUMS };

static int add(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value key = leat_at(in, i, 0), sum = leat_i64(0);

        leat_get(t, SUMS, LEAT_KEYS(key), &sum, 1);
        leat_put(t, SUMS, LEAT_KEYS(key), LEAT_ROW(leat_i64(sum.as.i + leat_at(in, i, 1).as.i)));
    }
    return 0;
}

/* A node that rejects a row, and emits from it all the same, or rejects it again, or emits what is too large: the row
 * is set aside whole. */
enum { EMIT_FIRST = 1, EMIT_AFTER, REJECT_AGAIN, REJECT_ONLY, EMIT_LARGE, KINDS };

/* No row may be as large. */
static char large[(16 << 20) + 1];

static int contradict(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        int64_t what = leat_at(in, i, 1).as.i;

        if (what == EMIT_FIRST || what == 0)
            leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0), leat_i64(1)));
        if (what == EMIT_LARGE)
            leat_emit(t, i, LEAT_ROW(leat_str_n(large, sizeof(large)), leat_i64(1)));
        else if (what != 0)
            leat_reject(t, i, "this one is %lld", (long long)what);
        if (what == REJECT_AGAIN)
            leat_reject(t, i, "once more");
        if (what == EMIT_AFTER)
            leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0), leat_i64(1)));
    }
    return 0;
}

static const struct leat_module contrary = {
    LEAT_ABI, .name = "contrary",
    .depots = DEPOTS({"numbers", "key: str, number: i64", .partitioner = LEAT_RANDOM}),
    .pstates = PSTATES([SUMS] = {"sums", "map<str, i64>"}),
    .topologies = TOPOLOGIES({"add", LEAT_STREAM, NODES(
        {"contradict", .from = "numbers", .run = contradict, .emits = "key: str, number: i64"},
        {"add", .from = "contradict", .route = LEAT_BY_KEY, .run = add})})};

static int see_reason(void *context, const struct leat_record *record, const struct leat_batch *row)
{
    static const char *const wanted[] = {NULL, "emitted from", "emits from a row that it rejected", "rejected already",
                                         "this one is 4", "a row has at most 16 MiB"};
    struct leat_span reason = leat_at(row, 0, 3).as.bytes;
    char text[600];

    (void)record;
    snprintf(text, sizeof(text), "%.*s", (int)reason.size, (const char *)reason.base);
    for (int what = EMIT_FIRST; what < KINDS; what++)
        ((int *)context)[what] += strstr(text, wanted[what]) != NULL;
    return 0;
}

static void a_row_is_emitted_from_or_set_aside(void **state)
{
    enum { ROWS = 60 };
    struct leat_test *t = open_way(&contrary, &ways[1], NULL);
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    int letters[KINDS] = {0};

    (void)state;
    for (int i = 0; i < ROWS; i++)
        must(leat_test_append(t, "numbers", LEAT_ROW(leat_str("k"), leat_i64(i % KINDS)), &err));
    must(leat_test_run(t, &err));
    assert_int_equal(value_of(t, "contrary", "sums", leat_str("k"), 0), ROWS / KINDS);
    must(leat_depot_find(leat_test_leat(t), "contrary", "dead_letters", &d, &err));
    for (uint32_t p = 0; p < leat_depot_partitions(d); p++)
        must(leat_depot_read(d, p, 0, 1000, see_reason, letters, NULL, &err));
    for (int what = EMIT_FIRST; what < KINDS; what++)
        assert_int_equal(letters[what], ROWS / KINDS);
    leat_test_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_row_is_emitted_from_or_set_aside)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
