/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/scratch.h"

#include "base/random.h"

/* Random turns of nested maps, sets, lists and packed rows against arrays; and the turns' operations, applied to a
 * second view, which must then hold the same. */

enum { OUTER = 6, INNER = 32, LONGEST = 150, TURNS = 600, WRITES = 60, BLOCK = 45 /* rows, by their size */ };
enum { MAPS, SETS, LISTS, ROWS, PSTATES };

static const char *const schema_text[PSTATES] = {
    "map<str, map<i64, struct{n: i64, text: str?}>>",
    "map<u64, map<bool, set<f64>>>",
    "map<bytes, list<i64>>",
    "map<i64, rows<struct{id: u64, v: f32[700]}>>",
};

struct model {
    int64_t map[OUTER][INNER]; /* 0: absent */
    bool set[OUTER][INNER];
    int64_t list[OUTER][LONGEST];
    uint64_t rows[OUTER][LONGEST];
    uint64_t listed[OUTER], rowed[OUTER];
};

static struct leat_value outer_key(uint32_t pstate, uint64_t outer)
{
    static const char *const names[OUTER] = {"", "a", "ab", "b", "\xc3\xa9", "zebra"};

    return pstate == MAPS ? leat_str(names[outer])
           : pstate == SETS ? leat_u64(outer * 77)
           : pstate == LISTS ? leat_bytes(names[outer], strlen(names[outer]))
                             : leat_i64((int64_t)outer - 3);
}

static uint32_t task_of(uint64_t outer)
{
    return outer % 2 == 0 ? 0 : 300;
}

static int64_t map_key(uint64_t inner)
{
    return ((int64_t)inner - INNER / 2) * 1000003;
}

static double set_element(uint64_t inner)
{
    return ((double)inner - INNER / 2) * 0.75;
}

/* ---- Writing to both ---- */

static void write_map(struct pstate_view *v, struct model *m, uint64_t o, struct random *random)
{
    uint64_t i = random_below(random, INNER);
    int64_t n = (int64_t)random_below(random, 1000000) + 1;
    struct leat_value outer = outer_key(MAPS, o), inner = leat_i64(map_key(i));

    if (random_below(random, 4) == 0) {
        assert_int_equal(pstate_delete(v, task_of(o), MAPS, LEAT_KEYS(outer, inner), NULL), 0);
        n = 0;
    } else {
        struct leat_value text = n % 2 == 0 ? leat_null() : leat_str("odd");

        assert_int_equal(pstate_put(v, task_of(o), MAPS, LEAT_KEYS(outer, inner), LEAT_ROW(leat_i64(n), text), NULL),
                         0);
    }
    m->map[o][i] = n;
}

static void write_set(struct pstate_view *v, struct model *m, uint64_t o, struct random *random)
{
    uint64_t i = random_below(random, INNER);
    struct leat_row keys = LEAT_KEYS(outer_key(SETS, o), leat_bool(true), leat_f64(set_element(i)));

    m->set[o][i] = random_below(random, 3) != 0;
    if (m->set[o][i])
        assert_int_equal(pstate_put(v, task_of(o), SETS, keys, LEAT_ROW(), NULL), 0);
    else
        assert_int_equal(pstate_delete(v, task_of(o), SETS, keys, NULL), 0);
}

static void write_list(struct pstate_view *v, struct model *m, uint64_t o, struct random *random)
{
    int64_t n = (int64_t)random_u64(random);
    uint64_t index = m->listed[o];
    struct leat_value outer = outer_key(LISTS, o);

    if (index > 0 && (index == LONGEST || random_below(random, 3) == 0)) {
        index = random_below(random, index);
        assert_int_equal(pstate_put(v, task_of(o), LISTS, LEAT_KEYS(outer, leat_u64(index)), LEAT_ROW(leat_i64(n)),
                                    NULL), 0);
    } else {
        assert_int_equal(pstate_push(v, task_of(o), LISTS, LEAT_KEYS(outer), LEAT_ROW(leat_i64(n)), &index, NULL), 0);
        assert_int_equal(index, m->listed[o]++);
    }
    m->list[o][index] = n;
}

static void write_rows(struct pstate_view *v, struct model *m, uint64_t o, struct random *random)
{
    uint64_t id = random_u64(random), kind = random_below(random, 6), number = m->rowed[o];
    float vector[700] = {(float)(id % 1000)};
    struct leat_row keys = LEAT_KEYS(outer_key(ROWS, o));
    struct leat_row row = LEAT_ROW(leat_u64(id), leat_vector(LEAT_F32_VECTOR, vector, 700));

    if (number > 0 && (kind == 0 || number == LONGEST)) {
        assert_int_equal(pstate_rows_remove_last(v, task_of(o), ROWS, keys, NULL), 0);
        m->rowed[o]--;
    } else if (number > 0 && kind == 1) {
        number = random_below(random, number);
        assert_int_equal(pstate_rows_replace(v, task_of(o), ROWS, keys, number, row, NULL), 0);
        m->rows[o][number] = id;
    } else {
        assert_int_equal(pstate_rows_append(v, task_of(o), ROWS, keys, row, &number, NULL), 0);
        assert_int_equal(number, m->rowed[o]);
        m->rows[o][m->rowed[o]++] = id;
    }
}

static void unlink_one(struct pstate_view *v, struct model *m, uint64_t o, uint32_t pstate)
{
    assert_int_equal(pstate_delete(v, task_of(o), pstate, LEAT_KEYS(outer_key(pstate, o)), NULL), 0);
    if (pstate == MAPS)
        memset(m->map[o], 0, sizeof(m->map[o]));
    else if (pstate == SETS)
        memset(m->set[o], 0, sizeof(m->set[o]));
    else if (pstate == LISTS)
        m->listed[o] = 0;
    else
        m->rowed[o] = 0;
}

static void write_some(struct pstate_view *v, struct model *m, struct random *random)
{
    static void (*const writers[PSTATES])(struct pstate_view *, struct model *, uint64_t, struct random *) = {
        write_map, write_set, write_list, write_rows};

    for (int i = 0; i < WRITES; i++) {
        uint32_t pstate = (uint32_t)random_below(random, PSTATES);
        uint64_t outer = random_below(random, OUTER);

        if (random_below(random, 150) == 0)
            unlink_one(v, m, outer, pstate);
        else
            writers[pstate](v, m, outer, random);
    }
}

/* ---- Comparing ---- */

/* A scan of a map with bounds that may or may not be there, both ways. */
static void check_scan(struct pstate_reader *r, const struct model *m, uint64_t o, struct random *random)
{
    int64_t low = (int64_t)random_below(random, INNER), high = (int64_t)random_below(random, INNER);
    struct leat_value from = leat_i64(map_key((uint64_t)low)), to = leat_i64(map_key((uint64_t)high)), key, out[2];
    struct leat_range range = {.from = random_below(random, 4) != 0 ? &from : NULL,
                               .to = random_below(random, 4) != 0 ? &to : NULL,
                               .from_exclusive = random_below(random, 2) != 0,
                               .to_inclusive = random_below(random, 2) != 0,
                               .descending = random_below(random, 2) != 0,
                               .limit = random_below(random, 2) * (1 + random_below(random, 9))};
    uint64_t left = range.limit > 0 ? range.limit : UINT64_MAX;
    struct pstate_scan *s;

    low = range.from == NULL ? 0 : low + range.from_exclusive;
    high = range.to == NULL ? INNER - 1 : high - !range.to_inclusive;
    assert_int_equal(pstate_scan_open(r, task_of(o), MAPS, LEAT_KEYS(outer_key(MAPS, o)), &range, &s, NULL), 0);
    for (int64_t n = low; n <= high && left > 0; n++) {
        uint64_t i = (uint64_t)(range.descending ? high - (n - low) : n);

        if (m->map[o][i] == 0)
            continue;
        left--;
        assert_int_equal(pstate_scan_next(s, &key, out, 2, NULL), 0);
        assert_true(key.as.i == map_key(i) && out[0].as.i == m->map[o][i]);
        assert_int_equal(out[1].type, m->map[o][i] % 2 == 0 ? LEAT_NULL : LEAT_STR);
    }
    assert_int_equal(pstate_scan_next(s, &key, out, 2, NULL), LEAT_END);
    pstate_scan_close(s);
}

static void check_set(struct pstate_reader *r, const struct model *m, uint64_t o)
{
    struct leat_value outer = outer_key(SETS, o), key;
    uint64_t size = 0, found;
    struct pstate_scan *s;

    assert_int_equal(pstate_scan_open(r, task_of(o), SETS, LEAT_KEYS(outer, leat_bool(true)), NULL, &s, NULL), 0);
    for (uint64_t i = 0; i < INNER; i++) {
        struct leat_row keys = LEAT_KEYS(outer, leat_bool(true), leat_f64(set_element(i)));

        assert_int_equal(pstate_get(r, task_of(o), SETS, keys, NULL, 0, NULL), m->set[o][i] ? 0 : LEAT_ENOTFOUND);
        if (!m->set[o][i])
            continue;
        assert_int_equal(pstate_scan_next(s, &key, NULL, 0, NULL), 0);
        assert_true(key.as.f == set_element(i));
        size++;
    }
    assert_int_equal(pstate_scan_next(s, &key, NULL, 0, NULL), LEAT_END);
    pstate_scan_close(s);
    assert_int_equal(pstate_size(r, task_of(o), SETS, LEAT_KEYS(outer, leat_bool(true)), &found, NULL), 0);
    assert_int_equal(found, size);
}

static void check_list(struct pstate_reader *r, const struct model *m, uint64_t o)
{
    struct leat_value outer = outer_key(LISTS, o), value;
    uint64_t found;

    assert_int_equal(pstate_size(r, task_of(o), LISTS, LEAT_KEYS(outer), &found, NULL), 0);
    assert_int_equal(found, m->listed[o]);
    for (uint64_t i = 0; i < m->listed[o]; i++) {
        assert_int_equal(pstate_get(r, task_of(o), LISTS, LEAT_KEYS(outer, leat_u64(i)), &value, 1, NULL), 0);
        assert_true(value.as.i == m->list[o][i]);
    }
    assert_int_equal(pstate_get(r, task_of(o), LISTS, LEAT_KEYS(outer, leat_u64(found)), &value, 1, NULL),
                     LEAT_ENOTFOUND);
}

static void check_row(const void *at, uint64_t id)
{
    float first;

    memcpy(&first, (const uint8_t *)at + 64, 4); /* a vector of 64 bytes and more is aligned to 64 */
    assert_true(load_u64(at) == id);
    assert_true(first == (float)(id % 1000));
}

static void check_rows(struct pstate_reader *r, const struct model *m, uint64_t o, bool committed)
{
    struct leat_row keys = LEAT_KEYS(outer_key(ROWS, o));
    uint32_t numbers[LONGEST], wanted = 0;
    const void *at[LONGEST];
    struct leat_block block;
    uint64_t found;

    assert_int_equal(pstate_size(r, task_of(o), ROWS, keys, &found, NULL), 0);
    assert_int_equal(found, m->rowed[o]);
    for (uint64_t row = 0; row < found; row += block.rows) {
        assert_int_equal(pstate_rows_block(r, task_of(o), ROWS, keys, row, &block, NULL), 0);
        assert_true(block.first == row && block.rows > 0 && row + block.rows <= found);
        assert_true(row >= found / BLOCK * BLOCK || block.rows == BLOCK);
        if (committed && block.rows == BLOCK) /* what the open turn wrote lies in LMDB's memory, not yet in the map */
            assert_true((uintptr_t)block.base % 64 == 0);
        for (uint32_t i = 0; i < block.rows; i++)
            check_row((const uint8_t *)block.base + (size_t)i * block.stride, m->rows[o][row + i]);
    }
    assert_int_equal(pstate_rows_block(r, task_of(o), ROWS, keys, found, &block, NULL), LEAT_END);
    for (uint32_t i = 0; i < found; i += 3)
        numbers[wanted++] = i;
    assert_int_equal(pstate_rows_pointers(r, task_of(o), ROWS, keys, numbers, wanted, at, NULL), 0);
    for (uint32_t i = 0; i < wanted; i++)
        check_row(at[i], m->rows[o][numbers[i]]);
}

static void check(struct pstate_reader *r, const struct model *m, struct random *random, bool committed)
{
    struct leat_value out[2];

    for (uint64_t o = 0; o < OUTER; o++) {
        for (uint64_t i = 0; i < INNER; i++) {
            struct leat_row keys = LEAT_KEYS(outer_key(MAPS, o), leat_i64(map_key(i)));
            int rv = pstate_get(r, task_of(o), MAPS, keys, out, 2, NULL);

            assert_int_equal(rv, m->map[o][i] != 0 ? 0 : LEAT_ENOTFOUND);
            assert_true(rv != 0 || out[0].as.i == m->map[o][i]);
        }
        check_scan(r, m, o, random);
        check_set(r, m, o);
        check_list(r, m, o);
        check_rows(r, m, o, committed);
    }
}

static void check_commit(struct pstate_view *v, const struct model *m, uint64_t turn, struct random *random)
{
    struct pstate_reader *r;

    assert_int_equal(pstate_snapshot_open(v, &r, NULL), 0);
    assert_int_equal(pstate_reader_turn(r), turn);
    check(r, m, random, true);
    pstate_snapshot_close(r);
}

static void apply(struct pstate_view *v, uint64_t turn, struct leat_span ops, uint32_t sweep)
{
    struct leat_error err = {0};
    uint32_t deleted;

    assert_int_equal(pstate_view_begin(v, NULL, &err), 0);
    if (pstate_view_apply(v, ops, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(pstate_view_sweep(v, sweep, &deleted, &err), 0);
    assert_int_equal(pstate_view_commit(v, turn, &err), 0);
}

/* Every turn at one view, its operations applied to the other; now and then they change places. */
static void test_model(void **unused)
{
    static struct model m, before;
    struct scratch view[2];
    struct random random;
    struct buffer ops;
    uint64_t turn = 0;
    uint32_t deleted;

    (void)unused;
    memset(&m, 0, sizeof(m));
    random_seed(&random, 1776);
    buffer_init(&ops, 64 << 20);
    scratch_make(&view[0], schema_text, PSTATES);
    scratch_make(&view[1], schema_text, PSTATES);
    struct pstate_view *one = view[0].v, *two = view[1].v;
    for (int i = 0; i < TURNS; i++) {
        bool aborted = random_below(&random, 8) == 0;

        if (i % 50 == 49) { /* the follower leads: it must not give out references that are in use */
            struct pstate_view *swap = one;

            one = two;
            two = swap;
        }
        before = m;
        buffer_clear(&ops);
        assert_int_equal(pstate_view_begin(one, &ops, NULL), 0);
        write_some(one, &m, &random);
        if (i % 10 == 0)
            check(pstate_view_turn(one), &m, &random, false);
        if (random_below(&random, 3) == 0)
            assert_int_equal(pstate_view_sweep(one, 50, &deleted, NULL), 0);
        if (aborted) {
            pstate_view_abort(one);
            m = before;
        } else {
            assert_int_equal(pstate_view_commit(one, ++turn, NULL), 0);
            apply(two, turn, buffer_bytes(&ops), (uint32_t)random_below(&random, 20));
        }
        if (i % 5 == 0 || aborted) {
            check_commit(one, &m, turn, &random);
            check_commit(two, &m, turn, &random);
        }
    }
    buffer_fini(&ops);
    scratch_remove(&view[0]);
    scratch_remove(&view[1]);
}

static void test_refused(void **unused)
{
    struct scratch view;
    char longest[LIMIT_KEY + 1];

    (void)unused;
    memset(longest, 'x', sizeof(longest));
    scratch_make(&view, schema_text, PSTATES);
    assert_int_equal(pstate_view_begin(view.v, NULL, NULL), 0);
    struct leat_value outer = leat_str_n(longest, LIMIT_KEY), beyond = leat_str_n(longest, LIMIT_KEY + 1),
                      inner = leat_i64(1);
    struct leat_row row = LEAT_ROW(inner, leat_null());
    assert_int_equal(pstate_put(view.v, 0, MAPS, LEAT_KEYS(outer, inner), row, NULL), 0);
    assert_int_equal(pstate_put(view.v, 0, MAPS, LEAT_KEYS(beyond, inner), row, NULL), LEAT_ELIMIT);
    assert_int_equal(pstate_put(view.v, 0, MAPS, LEAT_KEYS(outer), row, NULL), LEAT_ESCHEMA);
    assert_int_equal(pstate_put(view.v, 0, MAPS, LEAT_KEYS(outer, inner, inner), row, NULL), LEAT_ESCHEMA);
    assert_int_equal(pstate_put(view.v, 0, MAPS, LEAT_KEYS(outer, leat_str("1")), row, NULL), LEAT_ESCHEMA);
    assert_int_equal(pstate_put(view.v, 0, MAPS, LEAT_KEYS(outer, inner), LEAT_ROW(inner), NULL), LEAT_ESCHEMA);
    assert_int_equal(pstate_put(view.v, 0, MAPS, LEAT_KEYS(outer, inner), LEAT_ROW(leat_null(), leat_null()), NULL),
                     LEAT_ESCHEMA);
    assert_int_equal(pstate_put(view.v, 0, LISTS, LEAT_KEYS(leat_bytes("l", 1), leat_u64(0)), LEAT_ROW(inner), NULL),
                     LEAT_ENOTFOUND);
    assert_int_equal(pstate_rows_remove_last(view.v, 0, ROWS, LEAT_KEYS(inner), NULL), LEAT_ENOTFOUND);
    assert_int_equal(pstate_put(view.v, 0, SETS, LEAT_KEYS(leat_u64(1), leat_bool(false), leat_f64(__builtin_nan(""))),
                                LEAT_ROW(), NULL), LEAT_ESCHEMA);
    assert_int_equal(pstate_view_apply(view.v, span_of("\x7f\1xyz", 5), NULL), LEAT_ECORRUPT);
    pstate_view_abort(view.v);
    scratch_remove(&view);
}

/* What keys do not fit is said whether anything is there or not: a mistake in a module shows at its first run. */
static void test_keys_that_do_not_fit(void **unused)
{
    struct leat_value a = leat_str("a"), one = leat_i64(1), o, row[2] = {one, leat_null()};
    struct scratch view;
    struct pstate_reader *r;
    struct pstate_scan *s;
    uint64_t n;

    (void)unused;
    scratch_make(&view, schema_text, PSTATES);
    for (int there = 0; there < 2; there++) {
        assert_int_equal(pstate_snapshot_open(view.v, &r, NULL), 0);
        assert_int_equal(pstate_get(r, 0, MAPS, LEAT_KEYS(a, one), &o, 1, NULL), there ? 0 : LEAT_ENOTFOUND);
        assert_int_equal(pstate_get(r, 0, MAPS, LEAT_KEYS(a, a), &o, 1, NULL), LEAT_ESCHEMA);
        assert_int_equal(pstate_get(r, 0, MAPS, LEAT_KEYS(one, one), &o, 1, NULL), LEAT_ESCHEMA);
        assert_int_equal(pstate_get(r, 0, MAPS, LEAT_KEYS(a, one, one), &o, 1, NULL), LEAT_ESCHEMA);
        assert_int_equal(pstate_get(r, 0, SETS, LEAT_KEYS(leat_u64(7), one), &o, 1, NULL), LEAT_ESCHEMA);
        assert_int_equal(pstate_get(r, 0, LISTS, LEAT_KEYS(leat_bytes("l", 1), a), &o, 1, NULL), LEAT_ESCHEMA);
        assert_int_equal(pstate_size(r, 0, MAPS, LEAT_KEYS(a, one), &n, NULL), LEAT_ESCHEMA);
        assert_int_equal(pstate_scan_open(r, 0, MAPS, LEAT_KEYS(a, one), NULL, &s, NULL), LEAT_ESCHEMA);
        assert_int_equal(pstate_scan_open(r, 0, ROWS, LEAT_KEYS(one), NULL, &s, NULL), LEAT_ESCHEMA);
        assert_int_equal(pstate_scan_open(r, 0, MAPS, LEAT_KEYS(a), &(struct leat_range){.from = &a}, &s, NULL),
                         LEAT_ESCHEMA);
        assert_int_equal(pstate_scan_open(r, 0, MAPS, LEAT_KEYS(a), &(struct leat_range){.to = &a}, &s, NULL),
                         LEAT_ESCHEMA);
        pstate_snapshot_close(r);
        assert_int_equal(pstate_view_begin(view.v, NULL, NULL), 0);
        assert_int_equal(pstate_put(view.v, 0, MAPS, LEAT_KEYS(a, one), (struct leat_row){row, 2}, NULL), 0);
        assert_int_equal(pstate_push(view.v, 0, LISTS, LEAT_KEYS(leat_bytes("l", 1)), LEAT_ROW(one), &n, NULL), 0);
        assert_int_equal(pstate_view_commit(view.v, view.turn + 1 + (uint64_t)there, NULL), 0);
    }
    scratch_remove(&view);
}

/* ---- Lists of collections: an element is made by the first that goes into it ---- */

enum { MAPS_IN_LIST, SETS_IN_LIST, LISTS_IN_LIST, ROWS_IN_LIST };

static const char *const nested_text[PSTATES] = {"list<map<str, i64>>", "map<str, list<set<i64>>>", "list<list<i64>>",
                                                 "list<rows<i64>>"};

/* Put something into element `index`. */
static int reach(struct pstate_view *v, uint32_t pstate, struct leat_value index, struct leat_error *err)
{
    struct leat_value one = leat_i64(1);

    switch (pstate) {
    case MAPS_IN_LIST:
        return pstate_put(v, 0, pstate, LEAT_KEYS(index, leat_str("k")), LEAT_ROW(one), err);
    case SETS_IN_LIST:
        return pstate_put(v, 0, pstate, LEAT_KEYS(leat_str("o"), index, one), LEAT_ROW(), err);
    case LISTS_IN_LIST:
        return pstate_push(v, 0, pstate, LEAT_KEYS(index), LEAT_ROW(one), NULL, err);
    default:
        return pstate_rows_append(v, 0, pstate, LEAT_KEYS(index), LEAT_ROW(one), &(uint64_t){0}, err);
    }
}

static struct leat_row list_of(uint32_t pstate)
{
    static const struct leat_value outer = {.type = LEAT_STR, .as.bytes = {"o", 1}};

    return pstate == SETS_IN_LIST ? (struct leat_row){&outer, 1} : (struct leat_row){NULL, 0};
}

static void check_elements(struct pstate_reader *r, uint32_t pstate, uint64_t count)
{
    struct leat_row list = list_of(pstate);
    struct leat_value key;
    struct pstate_scan *s;
    uint64_t n;

    assert_int_equal(pstate_size(r, 0, pstate, list, &n, NULL), 0);
    assert_int_equal(n, count);
    assert_int_equal(pstate_scan_open(r, 0, pstate, list, NULL, &s, NULL), 0);
    for (uint64_t i = 0; i < count; i++) {
        struct leat_value keys[2] = {list.count > 0 ? list.value[0] : leat_u64(i), leat_i64((int64_t)i)};

        assert_int_equal(pstate_scan_next(s, &key, NULL, 0, NULL), 0);
        assert_int_equal(key.as.u, i);
        assert_int_equal(pstate_size(r, 0, pstate, (struct leat_row){keys, list.count + 1}, &n, NULL), 0);
        assert_int_equal(n, pstate == MAPS_IN_LIST || pstate == SETS_IN_LIST ? 1 : 2);
    }
    assert_int_equal(pstate_scan_next(s, &key, NULL, 0, NULL), LEAT_END);
    pstate_scan_close(s);
}

static void test_lists_of_collections(void **unused)
{
    enum { LENGTH = 5 };
    struct scratch view[2];
    struct buffer ops;
    struct pstate_reader *r;

    (void)unused;
    buffer_init(&ops, 1 << 20);
    scratch_make(&view[0], nested_text, PSTATES);
    scratch_make(&view[1], nested_text, PSTATES);
    struct pstate_view *one = view[0].v, *two = view[1].v;
    assert_int_equal(pstate_view_begin(one, &ops, NULL), 0);
    for (uint32_t p = 0; p < PSTATES; p++)
        for (uint64_t i = 0; i < LENGTH; i++) {
            struct leat_error err = {0};

            assert_int_equal(reach(one, p, leat_u64(i + 1), &err), LEAT_ENOTFOUND);
            assert_non_null(strstr(err.text, "elements"));
            assert_int_equal(reach(one, p, leat_i64(-1), &err), LEAT_ESCHEMA);
            assert_int_equal(reach(one, p, leat_str("0"), &err), LEAT_ESCHEMA);
            assert_int_equal(reach(one, p, i % 2 == 0 ? leat_u64(i) : leat_i64((int64_t)i), &err), 0);
            assert_int_equal(reach(one, p, leat_u64(i), &err), 0); /* it is there now */
        }
    assert_int_equal(pstate_view_commit(one, 1, NULL), 0);
    apply(two, 1, buffer_bytes(&ops), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pstate_snapshot_open(i == 0 ? one : two, &r, NULL), 0);
        for (uint32_t p = 0; p < PSTATES; p++)
            check_elements(r, p, LENGTH);
        assert_int_equal(pstate_size(r, 0, MAPS_IN_LIST, LEAT_KEYS(leat_u64(LENGTH)), &(uint64_t){0}, NULL), 0);
        pstate_snapshot_close(r);
    }
    buffer_fini(&ops);
    scratch_remove(&view[0]);
    scratch_remove(&view[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_keys_that_do_not_fit),
                                       cmocka_unit_test(test_lists_of_collections)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
