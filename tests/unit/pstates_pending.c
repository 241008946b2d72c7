/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/scratch.h"

#include "base/random.h"

/* Many puts in one turn, which wait and are sorted: against an array, by gets, sizes and scans in the same turn, after
 * it, and by a second view that applies the turn's operations. And what reads give while others wait. */

enum { KEYS = 3000, TURNS = 40, LARGE = 300000 };

enum { MIXED, NUMBERED, NESTED, LISTS, PSTATES };

static const char *const schema_text[PSTATES] = {"map<bytes, i64>", "map<u32, bytes>", "map<bytes, map<bytes, bytes>>",
                                                 "map<bytes, list<bytes>>"};

static int set_up(void **state)
{
    struct scratch *view = base_alloc(2 * sizeof(*view));

    for (int i = 0; i < 2; i++)
        scratch_make(&view[i], schema_text, PSTATES);
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
        if (what >= 900) {
            i = (uint32_t)random_below(random, KEYS);
            assert_int_equal(get(pstate_view_turn(v), i), model[i]);
        }
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

enum { READS = 2000, READ_SIZE = 100 };

static struct leat_span read_bytes(struct pstate_view *v, uint32_t key)
{
    struct leat_value value;

    assert_int_equal(pstate_get(pstate_view_turn(v), 0, 1, LEAT_KEYS(leat_u32(key)), &value, 1, NULL), 0);
    return value.as.bytes;
}

static void put_bytes(struct pstate_view *v, uint32_t key, uint8_t byte, size_t size)
{
    static uint8_t bytes[65536];

    memset(bytes, byte, size);
    assert_int_equal(pstate_put(v, 0, 1, LEAT_KEYS(leat_u32(key)), LEAT_ROW(leat_bytes(bytes, size)), NULL), 0);
}

static void check_bytes(struct leat_span bytes, uint8_t byte, size_t size)
{
    assert_int_equal(bytes.size, size);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(((const uint8_t *)bytes.base)[i], byte);
}

/* What was read stays as it was until the next put, although meanwhile so much is read that those that wait go to LMDB,
 * where a value that grows moves its neighbours. */
static void test_what_is_read_stays(void **state)
{
    struct pstate_view *v = ((struct scratch *)*state)->v;
    uint64_t size = 0;

    assert_int_equal(pstate_view_begin(v, NULL, NULL), 0);
    for (uint32_t key = 0; key < READS; key++)
        put_bytes(v, key, (uint8_t)(key % 250), READ_SIZE);
    assert_int_equal(pstate_size(pstate_view_turn(v), 0, 1, LEAT_KEYS(), &size, NULL), 0);
    assert_int_equal(size, READS);
    put_bytes(v, 3, 251, READ_SIZE);
    put_bytes(v, 0, 252, 2 * READ_SIZE);
    struct leat_span waiting = read_bytes(v, 0), same = read_bytes(v, 3), there = read_bytes(v, 4);
    for (uint32_t key = 5; key < READS; key++)
        check_bytes(read_bytes(v, key), (uint8_t)(key % 250), READ_SIZE);
    assert_int_equal(pstate_size(pstate_view_turn(v), 0, 1, LEAT_KEYS(), &size, NULL), 0);
    check_bytes(waiting, 252, 2 * READ_SIZE);
    check_bytes(same, 251, READ_SIZE);
    check_bytes(there, 4, READ_SIZE);
    /* Values too large to be copied are read where they are, behind those that waited. */
    put_bytes(v, 1, 253, 4000);
    put_bytes(v, 2, 254, 1);
    check_bytes(read_bytes(v, 1), 253, 4000);
    assert_int_equal(pstate_size(pstate_view_turn(v), 0, 1, LEAT_KEYS(), &size, NULL), 0);
    put_bytes(v, 2, 255, 2);
    check_bytes(read_bytes(v, 1), 253, 4000);
    check_bytes(read_bytes(v, 2), 255, 2);
    pstate_view_abort(v);
}

enum { COMMITTED = 1000000, WAYS = 3 };

static struct leat_value seven(uint8_t memory[20])
{
    memset(memory, 7, 20);
    return leat_bytes(memory, 20);
}

/* As a value in a new map, as a key and a value there, as an element of a new list. */
static void write_in_new(struct pstate_view *v, int way, struct leat_value read)
{
    const struct leat_value made = leat_bytes("made", 4), element = leat_bytes("x", 1);
    struct leat_value value, second;
    uint8_t memory[20];

    if (way < 2)
        assert_int_equal(pstate_put(v, 0, NESTED, LEAT_KEYS(made, way == 0 ? element : read), LEAT_ROW(read), NULL), 0);
    else
        assert_int_equal(pstate_push(v, 0, LISTS, LEAT_KEYS(made), LEAT_ROW(read), NULL, NULL), 0);
    second = way == 0 ? element : way == 1 ? seven(memory) : leat_u64(0);
    assert_int_equal(pstate_get(pstate_view_turn(v), 0, way < 2 ? NESTED : LISTS, LEAT_KEYS(made, second), &value, 1,
                                NULL),
                     0);
    check_bytes(value.as.bytes, 7, 20);
}

/* What was read may be given to the next write, also if that makes a collection first and finds no room to wait in:
 * whether it waited itself, was in LMDB while others waited, or was read when all had gone there. */
static void test_what_is_read_may_be_written(void **state)
{
    enum { FROM = 4090, TO = 4100 };
    struct pstate_view *v = ((struct scratch *)*state)->v;
    uint64_t size;

    assert_int_equal(pstate_view_begin(v, NULL, NULL), 0);
    put_bytes(v, COMMITTED, 7, 20);
    assert_int_equal(pstate_view_commit(v, 1, NULL), 0);
    for (uint32_t puts = FROM; puts < TO; puts++)
        for (int how = 0; how < 3 * WAYS; how++) {
            assert_int_equal(pstate_view_begin(v, NULL, NULL), 0);
            for (uint32_t key = 0; key < puts; key++)
                put_bytes(v, key, (uint8_t)((key + 7) % 250), 20);
            struct leat_span read = read_bytes(v, how / WAYS == 1 ? COMMITTED : 0);
            if (how / WAYS == 2)
                assert_int_equal(pstate_size(pstate_view_turn(v), 0, MIXED, LEAT_KEYS(), &size, NULL), 0);
            write_in_new(v, how % WAYS, leat_bytes(read.base, read.size));
            pstate_view_abort(v);
        }
}

enum { GROWN = 20000, AT_ONCE = 400, ABOVE = 1000000, OTHERS = 200, ENTRY = 8 + 2 + 3 + 4 + 17 };

static void put_numbered(struct pstate_view *v, uint32_t task, uint32_t i)
{
    char text[32];

    snprintf(text, sizeof(text), "%016u", i);
    assert_int_equal(pstate_put(v, task, 1, LEAT_KEYS(leat_u32(i)), LEAT_ROW(leat_bytes(text, 16)), NULL), 0);
}

static void check_numbered(struct pstate_reader *r, uint32_t task, uint32_t from, uint32_t count)
{
    const struct leat_value first = leat_u32(from);
    const struct leat_range range = {.from = &first, .limit = count};
    struct leat_value key, value;
    struct pstate_scan *scan;
    char text[32];

    assert_int_equal(pstate_scan_open(r, task, 1, LEAT_KEYS(), &range, &scan, NULL), 0);
    for (uint32_t i = from; i < from + count; i++) {
        snprintf(text, sizeof(text), "%016u", i);
        assert_int_equal(pstate_scan_next(scan, &key, &value, 1, NULL), 0);
        assert_int_equal(key.as.u, i);
        assert_int_equal(value.as.bytes.size, 16);
        assert_memory_equal(value.as.bytes.base, text, 16);
    }
    pstate_scan_close(scan);
}

/* Keys that grow ahead of others fill their pages, as those do that grow at the end of all; and the others stay. */
static void test_growing_keys_fill_pages(void **state)
{
    struct pstate_view *v = ((struct scratch *)*state)->v;
    struct pstate_figures figures;
    uint64_t turn = 0;

    for (uint32_t from = 0; from < GROWN; from += AT_ONCE) {
        assert_int_equal(pstate_view_begin(v, NULL, NULL), 0);
        for (uint32_t i = 0; i < OTHERS && from == 0; i++)
            for (uint32_t task = 0; task < 3; task++)
                put_numbered(v, task, ABOVE + i);
        for (uint32_t i = from; i < from + AT_ONCE; i++)
            for (uint32_t task = 0; task < 3; task++)
                put_numbered(v, task, i);
        assert_int_equal(pstate_view_commit(v, ++turn, NULL), 0);
    }
    pstate_view_figures(v, &figures);
    uint64_t page = figures.file_bytes / (figures.used_pages + figures.free_pages);
    assert_in_range(figures.used_pages * page, 0, 3 * (GROWN + OTHERS) * ENTRY / 100 * 120);
    assert_int_equal(pstate_view_begin(v, NULL, NULL), 0);
    for (uint32_t task = 0; task < 3; task++) {
        check_numbered(pstate_view_turn(v), task, 0, GROWN);
        check_numbered(pstate_view_turn(v), task, ABOVE, OTHERS);
    }
    pstate_view_abort(v);
}

/* A value with pages of its own stays in its place, however keys grow ahead of it: others point to it. */
static void test_large_values_stay_in_place(void **state)
{
    enum { AT = ABOVE + 3, SIZE = 40000 };
    struct pstate_view *v = ((struct scratch *)*state)->v;
    struct pstate_reader *r;
    struct leat_value value;
    const void *place = NULL;
    uint64_t turn = 0;

    for (uint32_t from = 0; from < GROWN / 4; from += AT_ONCE) {
        assert_int_equal(pstate_view_begin(v, NULL, NULL), 0);
        for (uint32_t i = 0; i < OTHERS && from == 0; i++)
            put_numbered(v, 0, ABOVE + i);
        if (from == 0)
            put_bytes(v, AT, 9, SIZE);
        for (uint32_t i = from; i < from + AT_ONCE; i++)
            put_numbered(v, 0, i);
        assert_int_equal(pstate_view_commit(v, ++turn, NULL), 0);
        assert_int_equal(pstate_snapshot_open(v, &r, NULL), 0);
        assert_int_equal(pstate_get(r, 0, NUMBERED, LEAT_KEYS(leat_u32(AT)), &value, 1, NULL), 0);
        check_bytes(value.as.bytes, 9, SIZE);
        assert_true(place == NULL || place == value.as.bytes.base);
        place = value.as.bytes.base;
        pstate_snapshot_close(r);
    }
}

/* A scan of what they grow towards goes on as if nothing was put. */
static void test_keys_grow_below_a_scan(void **state)
{
    struct pstate_view *v = ((struct scratch *)*state)->v;
    const struct leat_value above = leat_u32(ABOVE);
    const struct leat_range range = {.from = &above};
    struct leat_value key, value;
    struct pstate_scan *scan;
    uint32_t grown = 0;

    assert_int_equal(pstate_view_begin(v, NULL, NULL), 0);
    for (uint32_t i = 0; i < OTHERS; i++)
        put_numbered(v, 0, ABOVE + i);
    assert_int_equal(pstate_scan_open(pstate_view_turn(v), 0, 1, LEAT_KEYS(), &range, &scan, NULL), 0);
    for (uint32_t seen = 0; seen < OTHERS; seen++) {
        assert_int_equal(pstate_scan_next(scan, &key, &value, 1, NULL), 0);
        assert_int_equal(key.as.u, ABOVE + seen);
        for (uint32_t end = grown + AT_ONCE / 2; grown < end; grown++)
            put_numbered(v, 0, grown);
    }
    assert_int_equal(pstate_scan_next(scan, &key, &value, 1, NULL), LEAT_END);
    pstate_scan_close(scan);
    check_numbered(pstate_view_turn(v), 0, 0, grown);
    check_numbered(pstate_view_turn(v), 0, ABOVE, OTHERS);
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
        cmocka_unit_test_setup_teardown(test_what_is_read_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_growing_keys_fill_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_read_may_be_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_large_values_stay_in_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_keys_grow_below_a_scan, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_flush_fails, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
