/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/scratch.h"

#include "base/random.h"

/* Many puts in one turn, which wait and are sorted: against an array, by gets, sizes and scans in the same turn, after
 * it, and by a second view that applies the turn's operations. */

enum { KEYS = 3000, TURNS = 40, LARGE = 300000 };

static const char *const schema_text[2] = {"map<bytes, i64>", "map<u32, bytes>"};

static int set_up(void **state)
{
    struct scratch *view = base_alloc(2 * sizeof(*view));

    for (int i = 0; i < 2; i++)
        scratch_make(&view[i], schema_text, 2);
    *state = view;
    return 0;
}

static int tear_down(void **state)
{
    struct scratch *view = *state;

    scratch_remove(&view[0]);
    scratch_remove(&view[1]);
    free(view);
    return 0;
}

/* Keys of many lengths, that differ early, late, or only in their length. */
static struct leat_value key_of(uint32_t i, uint8_t memory[64])
{
    uint32_t size = i % 3 == 0 ? 4 : i % 3 == 1 ? 20 : 4 + i % 50;

    memset(memory, i % 3 == 1 ? 'x' : 0, 64);
    memcpy(memory + size - 4, &i, 4);
    return leat_bytes(memory, size);
}

static int64_t get(struct pstate_reader *r, uint32_t i)
{
    struct leat_value value;
    uint8_t memory[64];
    int rv = pstate_get(r, 3, 0, LEAT_KEYS(key_of(i, memory)), &value, 1, NULL);

    if (rv == LEAT_ENOTFOUND)
        return 0;
    assert_int_equal(rv, 0);
    return value.as.i;
}

static void check_scan(struct pstate_reader *r, const int64_t *model)
{
    struct leat_value key, value;
    struct pstate_scan *scan;
    uint32_t wanted = 0, found = 0;
    int64_t sum = 0;
    int rv;

    assert_int_equal(pstate_scan_open(r, 3, 0, LEAT_KEYS(), NULL, &scan, NULL), 0);
    while ((rv = pstate_scan_next(scan, &key, &value, 1, NULL)) == 0) {
        found++;
        sum += value.as.i;
    }
    assert_int_equal(rv, LEAT_END);
    pstate_scan_close(scan);
    for (uint32_t i = 0; i < KEYS; i++) {
        wanted += model[i] != 0;
        sum -= model[i];
    }
    assert_int_equal(found, wanted);
    assert_int_equal(sum, 0);
}

static void check(struct pstate_reader *r, const int64_t *model)
{
    for (uint32_t i = 0; i < KEYS; i++)
        if (get(r, i) != model[i])
            fail_msg("key %u: %lld, wanted %lld", i, (long long)get(r, i), (long long)model[i]);
    check_scan(r, model);
}

static void check_committed(struct pstate_view *v, const int64_t *model)
{
    struct pstate_reader *r;

    assert_int_equal(pstate_snapshot_open(v, &r, NULL), 0);
    check(r, model);
    pstate_snapshot_close(r);
}

/* So many puts and deletes that what waits has no room more than once, with reads between. */
static void write_some(struct pstate_view *v, int64_t *model, struct random *random)
{
    uint32_t writes = 1 + (uint32_t)random_below(random, 9000);
    uint8_t memory[64];

    for (uint32_t n = 0; n < writes; n++) {
        uint32_t i = (uint32_t)random_below(random, KEYS), what = (uint32_t)random_below(random, 1000);
        struct leat_value key = key_of(i, memory);

        if (what < 5) {
            assert_int_equal(pstate_delete(v, 3, 0, LEAT_KEYS(key), NULL), 0);
            model[i] = 0;
        } else {
            int64_t value = 1 + (int64_t)random_below(random, 1000000000);

            assert_int_equal(pstate_put(v, 3, 0, LEAT_KEYS(key), LEAT_ROW(leat_i64(value)), NULL), 0);
            model[i] = value;
        }
        if (what == 999)
            assert_int_equal(get(pstate_view_turn(v), i), model[i]);
    }
    if (random_below(random, 4) == 0)
        check(pstate_view_turn(v), model);
}

static void test_random(void **state)
{
    struct scratch *view = *state;
    static int64_t model[KEYS], before[KEYS];
    uint64_t seed = 20261121;
    struct random random;
    struct buffer ops = {0};

    print_message("seed %llu\n", (unsigned long long)seed);
    random_seed(&random, seed);
    for (uint64_t turn = 1; turn <= TURNS; turn++) {
        bool keep = random_below(&random, 4) != 0;

        memcpy(before, model, sizeof(model));
        buffer_clear(&ops);
        assert_int_equal(pstate_view_begin(view[0].v, &ops, NULL), 0);
        write_some(view[0].v, model, &random);
        if (!keep) {
            pstate_view_abort(view[0].v);
            memcpy(model, before, sizeof(model));
            turn--;
            continue;
        }
        assert_int_equal(pstate_view_flush(view[0].v, NULL), 0);
        assert_int_equal(pstate_view_commit(view[0].v, turn, NULL), 0);
        assert_int_equal(pstate_view_begin(view[1].v, NULL, NULL), 0);
        assert_int_equal(pstate_view_apply(view[1].v, buffer_bytes(&ops), NULL), 0);
        assert_int_equal(pstate_view_commit(view[1].v, turn, NULL), 0);
    }
    check_committed(view[0].v, model);
    check_committed(view[1].v, model);
    buffer_fini(&ops);
}

/* A value too large to wait: those before it and behind it keep their order. */
static void test_large(void **state)
{
    struct pstate_view *v = ((struct scratch *)*state)->v;
    struct leat_value value;
    uint8_t *large = malloc(LARGE);

    memset(large, 'L', LARGE);
    assert_int_equal(pstate_view_begin(v, NULL, NULL), 0);
    for (uint32_t i = 0; i < 10; i++) {
        bool last = i % 2 == 0;

        assert_int_equal(pstate_put(v, 0, 1, LEAT_KEYS(leat_u32(i)), LEAT_ROW(leat_bytes("small", 5)), NULL), 0);
        assert_int_equal(pstate_put(v, 0, 1, LEAT_KEYS(leat_u32(i)), LEAT_ROW(leat_bytes(large, LARGE)), NULL), 0);
        if (last)
            assert_int_equal(pstate_put(v, 0, 1, LEAT_KEYS(leat_u32(i)), LEAT_ROW(leat_bytes("small", 5)), NULL), 0);
    }
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(pstate_get(pstate_view_turn(v), 0, 1, LEAT_KEYS(leat_u32(i)), &value, 1, NULL), 0);
        assert_int_equal(value.as.bytes.size, i % 2 == 0 ? 5 : LARGE);
        assert_memory_equal(value.as.bytes.base, i % 2 == 0 ? (const void *)"small" : large, value.as.bytes.size);
    }
    assert_int_equal(pstate_view_commit(v, 1, NULL), 0);
    free(large);
}

/* An open scan of the turn sees what is put ahead of it. */
static void test_scan_open(void **state)
{
    struct pstate_view *v = ((struct scratch *)*state)->v;
    struct leat_value key, value;
    struct pstate_scan *scan;
    uint32_t seen = 0;
    int rv;

    assert_int_equal(pstate_view_begin(v, NULL, NULL), 0);
    assert_int_equal(pstate_put(v, 0, 1, LEAT_KEYS(leat_u32(0)), LEAT_ROW(leat_bytes("", 0)), NULL), 0);
    assert_int_equal(pstate_scan_open(pstate_view_turn(v), 0, 1, LEAT_KEYS(), NULL, &scan, NULL), 0);
    while ((rv = pstate_scan_next(scan, &key, &value, 1, NULL)) == 0) {
        assert_int_equal(key.as.u, seen++);
        if (seen < 200)
            assert_int_equal(pstate_put(v, 0, 1, LEAT_KEYS(leat_u32(seen)), LEAT_ROW(leat_bytes("", 0)), NULL), 0);
    }
    assert_int_equal(rv, LEAT_END);
    assert_int_equal(seen, 200);
    pstate_scan_close(scan);
    pstate_view_abort(v);
}

/* What has no room in the file says so before the commit. */
static void test_flush_fails(void **state)
{
    struct pstate_view *v = ((struct scratch *)*state)->v;
    struct leat_error err = {0};
    uint8_t value[4000];
    int rv = 0;

    memset(value, 'v', sizeof(value));
    assert_int_equal(pstate_view_begin(v, NULL, NULL), 0);
    for (uint32_t i = 0; rv == 0 && i < 200000; i++)
        rv = pstate_put(v, 0, 1, LEAT_KEYS(leat_u32(i)), LEAT_ROW(leat_bytes(value, sizeof(value))), &err);
    assert_int_equal(rv, LEAT_EFULL);
    assert_non_null(strstr(err.text, "at its largest size"));
    assert_int_not_equal(pstate_view_flush(v, NULL), 0); /* the turn is lost */
    pstate_view_abort(v);
    assert_int_equal(pstate_view_begin(v, NULL, NULL), 0);
    assert_int_equal(pstate_put(v, 0, 1, LEAT_KEYS(leat_u32(1)), LEAT_ROW(leat_bytes(value, 1)), NULL), 0);
    assert_int_equal(pstate_view_commit(v, 1, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_large, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_scan_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_flush_fails, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
