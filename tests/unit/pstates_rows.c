/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/scratch.h"

#include "base/random.h"

/* Packed rows of several sizes against an array: appended over several blocks, replaced, removed down to nothing and
 * appended again, in blocks, pieces and single rows; read as blocks, by walking and by number, in a turn and in
 * snapshots; and the same at a view that applies the operations. */

enum { SEED = 4711, LONGEST = 1200, TURNS = 250, TASK = 7 };
enum { SMALL, MIDDLE, LARGE, NESTED, PSTATES };

static const char *const schema_text[PSTATES] = {"rows<u32>", "rows<struct{id: u64, v: f32[100], ok: bool}>",
                                                 "rows<f32[9000]>", "map<str, rows<struct{n: i64, v: i8[200]}>>"};

struct model {
    uint64_t value[LONGEST]; /* what a row is made of */
    uint64_t count;
};

struct fixture {
    struct scratch view[2];
    struct pstate_view *leader, *follower;
    struct model model[PSTATES];
    struct random random;
    struct buffer ops;
};

/* ---- Rows that follow from one number ---- */

static const struct pstate_level *level_of(const struct fixture *f, uint32_t pstate)
{
    const struct pstate_level *top = f->view[0].schema[pstate].top;

    return pstate == NESTED ? top->below : top;
}

static struct leat_row keys_of(uint32_t pstate)
{
    static const struct leat_value key = {.type = LEAT_STR, .as.bytes = {"key", 3}};

    return (struct leat_row){&key, pstate == NESTED};
}

/* Memory is valid until the next call. */
static struct leat_row row_of(uint32_t pstate, uint64_t n)
{
    static float vector[9000];
    static int8_t small[200];
    static struct leat_value value[3];

    vector[0] = (float)(n % 1000);
    vector[99] = vector[8999] = (float)(n % 77);
    small[0] = small[199] = (int8_t)(n % 100);
    switch (pstate) {
    case SMALL:
        value[0] = leat_u32((uint32_t)n);
        return (struct leat_row){value, 1};
    case MIDDLE:
        value[0] = leat_u64(n);
        value[1] = leat_vector(LEAT_F32_VECTOR, vector, 100);
        value[2] = leat_bool(n % 2);
        return (struct leat_row){value, 3};
    case LARGE:
        value[0] = leat_vector(LEAT_F32_VECTOR, vector, 9000);
        return (struct leat_row){value, 1};
    default:
        value[0] = leat_i64((int64_t)n);
        value[1] = leat_vector(LEAT_I8_VECTOR, small, 200);
        return (struct leat_row){value, 2};
    }
}

static void assert_field(const struct leat_column *c, const void *at, const struct leat_value *want)
{
    bool b;

    if (want->type >= LEAT_F32_VECTOR) {
        assert_memory_equal(at, want->as.bytes.base, want->as.bytes.size);
        return;
    }
    if (c->type == LEAT_BOOL) {
        memcpy(&b, at, 1);
        assert_int_equal(b, want->as.b);
        return;
    }
    assert_memory_equal(at, &want->as.u, schema_fixed_size(c));
}

static void assert_row(const struct fixture *f, uint32_t pstate, uint64_t number, const void *at)
{
    const struct pstate_level *level = level_of(f, pstate);
    struct leat_row want = row_of(pstate, f->model[pstate].value[number]);
    uint32_t end = 0;

    for (uint32_t i = 0; i < want.count; i++) {
        while (end < level->place[i])
            assert_int_equal(((const uint8_t *)at)[end++], 0);
        assert_field(&level->fields.column[i], (const uint8_t *)at + level->place[i], &want.value[i]);
        end = level->place[i] + level->fields.column[i].stride;
    }
    while (end < level->row_stride) /* what lies between is zero, so that equal rows are equal bytes */
        assert_int_equal(((const uint8_t *)at)[end++], 0);
}

/* ---- Set up ---- */

static int set_up(void **state)
{
    struct fixture *f = base_alloc(sizeof(*f));

    for (int i = 0; i < 2; i++)
        scratch_make(&f->view[i], schema_text, PSTATES);
    f->leader = f->view[0].v;
    f->follower = f->view[1].v;
    random_seed(&f->random, SEED);
    buffer_init(&f->ops, 256 << 20);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    scratch_remove(&f->view[0]);
    scratch_remove(&f->view[1]);
    buffer_fini(&f->ops);
    free(f);
    return 0;
}

/* ---- Writing ---- */

static void append(struct fixture *f, uint32_t pstate, uint64_t value)
{
    struct model *m = &f->model[pstate];
    struct leat_error err = {0};
    uint64_t number = UINT64_MAX;

    if (pstate_rows_append(f->leader, TASK, pstate, keys_of(pstate), row_of(pstate, value), &number, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(number, m->count);
    m->value[m->count++] = value;
}

static void remove_last(struct fixture *f, uint32_t pstate)
{
    int rv = pstate_rows_remove_last(f->leader, TASK, pstate, keys_of(pstate), NULL);

    assert_int_equal(rv, f->model[pstate].count > 0 ? 0 : LEAT_ENOTFOUND);
    f->model[pstate].count -= rv == 0;
}

static void replace(struct fixture *f, uint32_t pstate, uint64_t value)
{
    struct model *m = &f->model[pstate];
    uint64_t number = random_below(&f->random, m->count + 1);
    int rv = pstate_rows_replace(f->leader, TASK, pstate, keys_of(pstate), number, row_of(pstate, value), NULL);

    assert_int_equal(rv, number < m->count ? 0 : LEAT_ENOTFOUND);
    if (rv == 0)
        m->value[number] = value;
}

/* Rounds that grow and rounds that shrink, so that blocks are filled and opened again. */
static void write_some(struct fixture *f, uint32_t pstate, int turn)
{
    uint64_t most = pstate == LARGE ? 20 : LONGEST - 1, steps = random_below(&f->random, pstate == LARGE ? 4 : 60);
    bool growing = turn % 50 < 30;

    for (uint64_t i = 0; i < steps; i++) {
        uint64_t value = random_below(&f->random, UINT32_MAX), what = random_below(&f->random, 10);

        if (what < 2)
            replace(f, pstate, value);
        else if (growing == (what < 9) && f->model[pstate].count < most)
            append(f, pstate, value);
        else
            remove_last(f, pstate);
    }
}

/* ---- Reading ---- */

/* All rows by blocks. Those of a full block lie on 64 bytes once they are committed. */
static void check_blocks(const struct fixture *f, struct pstate_reader *r, uint32_t pstate, bool committed)
{
    const struct pstate_level *level = level_of(f, pstate);
    uint64_t at = 0, whole = f->model[pstate].count / level->rows_per_block * level->rows_per_block;
    struct leat_block block;
    int rv;

    while ((rv = pstate_rows_block(r, TASK, pstate, keys_of(pstate), at, &block, NULL)) == 0) {
        assert_int_equal(block.first, at);
        assert_int_equal(block.stride, level->row_stride);
        assert_true(block.rows > 0 && at + block.rows <= f->model[pstate].count);
        assert_true(at >= whole || block.rows == level->rows_per_block);
        if (committed && at < whole)
            assert_int_equal((uintptr_t)block.base % 64, 0);
        for (uint32_t i = 0; i < block.rows; i++)
            assert_row(f, pstate, at++, (const uint8_t *)block.base + (size_t)i * block.stride);
    }
    assert_int_equal(rv, LEAT_END);
    assert_int_equal(at, f->model[pstate].count);
}

static void check_numbers(struct fixture *f, struct pstate_reader *r, uint32_t pstate)
{
    uint64_t count = f->model[pstate].count, entries;
    struct leat_error err = {0};
    struct leat_block block;
    uint32_t number[20], beyond = (uint32_t)count;
    const void *at[20];

    assert_int_equal(pstate_size(r, TASK, pstate, keys_of(pstate), &entries, NULL), 0);
    assert_int_equal(entries, count);
    assert_int_equal(pstate_rows_pointers(r, TASK, pstate, keys_of(pstate), &beyond, 1, at, &err), LEAT_ENOTFOUND);
    assert_non_null(strstr(err.text, "there is no row"));
    if (count == 0)
        return;
    for (size_t i = 0; i < LENGTH_OF(number); i++)
        number[i] = (uint32_t)random_below(&f->random, count);
    assert_int_equal(pstate_rows_pointers(r, TASK, pstate, keys_of(pstate), number, LENGTH_OF(number), at, NULL), 0);
    for (size_t i = 0; i < LENGTH_OF(number); i++)
        assert_row(f, pstate, number[i], at[i]);
    assert_int_equal(pstate_rows_block(r, TASK, pstate, keys_of(pstate), number[0], &block, NULL), 0);
    assert_int_equal(block.first, number[0]);
    assert_row(f, pstate, number[0], block.base);
}

static void check(struct fixture *f, struct pstate_reader *r, bool committed)
{
    for (uint32_t pstate = 0; pstate < PSTATES; pstate++) {
        check_blocks(f, r, pstate, committed);
        check_numbers(f, r, pstate);
    }
}

static void check_snapshot(struct fixture *f, struct pstate_view *v)
{
    struct pstate_reader *r;

    assert_int_equal(pstate_snapshot_open(v, &r, NULL), 0);
    check(f, r, true);
    pstate_snapshot_close(r);
}

static void commit_both(struct fixture *f, uint64_t turn)
{
    struct leat_error err = {0};

    assert_int_equal(pstate_view_commit(f->leader, turn, NULL), 0);
    assert_int_equal(pstate_view_begin(f->follower, NULL, NULL), 0);
    if (pstate_view_apply(f->follower, buffer_bytes(&f->ops), &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(pstate_view_commit(f->follower, turn, NULL), 0);
}

/* ---- Tests ---- */

static void test_model(void **state)
{
    struct fixture *f = *state;

    for (int turn = 1; turn <= TURNS; turn++) {
        buffer_clear(&f->ops);
        assert_int_equal(pstate_view_begin(f->leader, &f->ops, NULL), 0);
        for (uint32_t pstate = 0; pstate < PSTATES; pstate++)
            write_some(f, pstate, turn);
        if (turn % 10 == 0)
            check(f, pstate_view_turn(f->leader), false);
        commit_both(f, (uint64_t)turn);
        if (turn % 10 == 5) {
            check_snapshot(f, f->leader);
            check_snapshot(f, f->follower);
        }
    }
}

/* One by one over two blocks and back to none: every way in which the tail can be split. */
static void test_every_count(void **state)
{
    struct fixture *f = *state;
    uint64_t turn = 0, most = 2 * level_of(f, MIDDLE)->rows_per_block + 3;

    assert_true(most < LONGEST && level_of(f, MIDDLE)->rows_per_piece > 2);
    for (uint64_t i = 0; i < 2 * most; i++) {
        buffer_clear(&f->ops);
        assert_int_equal(pstate_view_begin(f->leader, &f->ops, NULL), 0);
        if (i < most)
            append(f, MIDDLE, i * i);
        else
            remove_last(f, MIDDLE);
        check_blocks(f, pstate_view_turn(f->leader), MIDDLE, false);
        commit_both(f, ++turn);
    }
    assert_int_equal(f->model[MIDDLE].count, 0);
    check_snapshot(f, f->follower);
}

/* A walk in a snapshot goes on while turns change the rows, and sees none of it; rows asked for in between, of the same
 * PState or another, do not disturb it. */
static void test_walks(void **state)
{
    struct fixture *f = *state;
    struct pstate_reader *r[2];
    struct leat_block block;
    struct model before;

    assert_int_equal(pstate_view_begin(f->leader, NULL, NULL), 0);
    for (uint64_t i = 0; i < 700; i++)
        append(f, MIDDLE, i);
    for (uint64_t i = 0; i < 10; i++)
        append(f, LARGE, i);
    assert_int_equal(pstate_view_commit(f->leader, 1, NULL), 0);
    before = f->model[MIDDLE];
    assert_int_equal(pstate_snapshot_open(f->leader, &r[0], NULL), 0);
    assert_int_equal(pstate_rows_block(r[0], TASK, MIDDLE, LEAT_KEYS(), 0, &block, NULL), 0);
    assert_int_equal(pstate_view_begin(f->leader, NULL, NULL), 0);
    for (int i = 0; i < 650; i++)
        remove_last(f, MIDDLE);
    replace(f, MIDDLE, 999);
    assert_int_equal(pstate_view_commit(f->leader, 2, NULL), 0);
    assert_int_equal(pstate_snapshot_open(f->leader, &r[1], NULL), 0);
    check_blocks(f, r[1], MIDDLE, true);
    f->model[MIDDLE] = before;
    for (uint64_t at = block.rows, other = 0; at < before.count; at += block.rows) {
        assert_int_equal(pstate_rows_block(r[0], TASK, MIDDLE, LEAT_KEYS(), at, &block, NULL), 0);
        assert_row(f, MIDDLE, at, block.base);
        assert_int_equal(pstate_rows_block(r[0], TASK, LARGE, LEAT_KEYS(), other++ % 10, &block, NULL), 0);
        assert_int_equal(pstate_rows_block(r[0], TASK, MIDDLE, LEAT_KEYS(), at, &block, NULL), 0);
        assert_int_equal(block.first, at);
        assert_row(f, MIDDLE, at, block.base);
        uint32_t rows = block.rows;
        uint64_t elsewhere = at * 31 % before.count;
        assert_int_equal(pstate_rows_block(r[0], TASK, MIDDLE, LEAT_KEYS(), elsewhere, &block, NULL), 0);
        assert_int_equal(block.first, elsewhere);
        assert_row(f, MIDDLE, elsewhere, block.base);
        block.rows = rows;
    }
    pstate_snapshot_pause(r[0]);
    assert_int_equal(pstate_snapshot_renew(r[0], NULL), 0);
    assert_int_equal(pstate_rows_block(r[0], TASK, MIDDLE, LEAT_KEYS(), 50, &block, NULL), LEAT_END);
    pstate_snapshot_close(r[0]);
    pstate_snapshot_close(r[1]);
}

static void test_refused(void **state)
{
    struct fixture *f = *state;
    struct pstate_view *v = f->leader;
    struct leat_row row = row_of(MIDDLE, 1), few = {row.value, 2};
    struct leat_value wrong[3] = {row.value[0], leat_vector(LEAT_F32_VECTOR, row.value[1].as.bytes.base, 99),
                                  row.value[2]};
    struct leat_error err = {0};
    struct leat_block block;
    uint64_t entries;

    assert_int_equal(pstate_view_begin(v, &f->ops, NULL), 0);
    struct pstate_reader *r = pstate_view_turn(v);
    assert_int_equal(pstate_rows_append(v, TASK, MIDDLE, LEAT_KEYS(), few, NULL, &err), LEAT_ESCHEMA);
    assert_string_equal(err.text, "a row has 3 fields, 2 given");
    assert_int_equal(pstate_rows_append(v, TASK, MIDDLE, LEAT_KEYS(), (struct leat_row){wrong, 3}, NULL, &err),
                     LEAT_ESCHEMA);
    assert_non_null(strstr(err.text, "100 elements expected, 99 given"));
    wrong[1] = leat_null();
    assert_int_equal(pstate_rows_append(v, TASK, MIDDLE, LEAT_KEYS(), (struct leat_row){wrong, 3}, NULL, &err),
                     LEAT_ESCHEMA);
    assert_int_equal(pstate_rows_append(v, TASK, MIDDLE, LEAT_KEYS(leat_u64(1)), row, NULL, &err), LEAT_ESCHEMA);
    assert_int_equal(pstate_rows_append(v, TASK, NESTED, LEAT_KEYS(), row_of(NESTED, 1), NULL, &err), LEAT_ESCHEMA);
    assert_non_null(strstr(err.text, "the keys do not lead to packed rows"));
    assert_int_equal(pstate_rows_replace(v, TASK, MIDDLE, LEAT_KEYS(), 0, row_of(MIDDLE, 1), &err), LEAT_ENOTFOUND);
    assert_int_equal(pstate_put(v, TASK, MIDDLE, LEAT_KEYS(), row_of(MIDDLE, 1), &err), LEAT_ESCHEMA);
    assert_int_equal(pstate_delete(v, TASK, MIDDLE, LEAT_KEYS(), &err), LEAT_ESCHEMA);
    assert_int_equal(f->ops.size, 0); /* nothing of this is kept */
    assert_int_equal(pstate_rows_block(r, TASK, MIDDLE, LEAT_KEYS(), 0, &block, NULL), LEAT_END);
    assert_int_equal(pstate_size(r, TASK, MIDDLE, LEAT_KEYS(), &entries, NULL), 0);
    assert_int_equal(entries, 0);
    append(f, NESTED, 5);
    assert_int_equal(pstate_delete(v, TASK, NESTED, keys_of(NESTED), NULL), 0);
    assert_int_equal(pstate_rows_block(r, TASK, NESTED, keys_of(NESTED), 0, &block, NULL), LEAT_END);
    f->model[NESTED].count = 0;
    append(f, NESTED, 6); /* from 0 again */
    check_blocks(f, r, NESTED, false);
    pstate_view_abort(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_count, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_walks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
    };

    print_message("seed %d\n", SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
