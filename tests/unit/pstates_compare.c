/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/scratch.h"

#include "base/random.h"

/* Two views that were made by other ways hold the same; each single change is told, where it is and what it was. */

enum { TASK = 3, WRITES = 400 };
enum { NESTED, LISTS, ROWS, NUMBERS, LEAF, PSTATES };

static const char *const schema_text[PSTATES] = {
    "map<str, map<i64, set<str>>>", "map<f64, list<struct{n: i64, text: str?}>>",
    "map<str, rows<struct{id: u64, v: f32[8]}>>", "map<i64, f64>", "str",
};

struct state {
    struct scratch view[2];
    struct pstate_comparison c;
    char where[128], a[128], b[128];
};

static int set_up(void **context)
{
    struct state *s = base_alloc(sizeof(*s));

    for (int i = 0; i < 2; i++)
        scratch_make(&s->view[i], schema_text, PSTATES);
    *context = s;
    return 0;
}

static int tear_down(void **context)
{
    struct state *s = *context;

    scratch_remove(&s->view[0]);
    scratch_remove(&s->view[1]);
    free(s);
    return 0;
}

static void told(void *context, const char *where, const char *a, const char *b)
{
    struct state *s = context;

    snprintf(s->where, sizeof(s->where), "%s", where);
    snprintf(s->a, sizeof(s->a), "%s", a);
    snprintf(s->b, sizeof(s->b), "%s", b);
}

static uint64_t differences(struct state *s)
{
    struct pstate_reader *r[2];
    struct leat_error err = {0};

    s->c = (struct pstate_comparison){.differs = told, .context = s, .most = 100};
    s->where[0] = '\0';
    for (int i = 0; i < 2; i++)
        assert_int_equal(pstate_snapshot_open(s->view[i].v, &r[i], &err), 0);
    for (uint32_t p = 0; p < PSTATES; p++)
        assert_int_equal(pstate_compare(r[0], r[1], TASK, p, &s->c, &err), 0);
    pstate_snapshot_close(r[0]);
    pstate_snapshot_close(r[1]);
    return s->c.differences;
}

/* Says what it did, so that the other side can do the same. */
static void write_one(struct pstate_view *v, struct random *random)
{
    static const float zeros[8];
    char text[16];
    struct leat_value number = leat_i64((int64_t)random_below(random, 9));
    struct leat_error err = {0};

    snprintf(text, sizeof(text), "%u", (unsigned)random_below(random, 5));
    struct leat_value name = leat_str(text);
    switch (random_below(random, 7)) {
    case 0:
        pstate_delete(v, TASK, NESTED, LEAT_KEYS(name, number), &err);
        break;
    case 1:
        pstate_delete(v, TASK, NESTED, LEAT_KEYS(name), &err);
        break;
    case 2:
        pstate_push(v, TASK, LISTS, LEAT_KEYS(leat_f64(-0.5 * (double)number.as.i)), LEAT_ROW(number, leat_null()),
                    NULL, &err);
        break;
    case 3:
        pstate_put(v, TASK, NUMBERS, LEAT_KEYS(number), LEAT_ROW(leat_f64(0.25)), &err);
        break;
    case 4:
        pstate_rows_append(v, TASK, ROWS, LEAT_KEYS(name),
                           LEAT_ROW(leat_u64(number.as.u), leat_vector(LEAT_F32_VECTOR, zeros, 8)), NULL, &err);
        break;
    case 5:
        pstate_rows_remove_last(v, TASK, ROWS, LEAT_KEYS(name), &err);
        break;
    default:
        pstate_put(v, TASK, NESTED, LEAT_KEYS(name, number, name), LEAT_ROW(), &err);
    }
}

static void begin(struct scratch *v)
{
    struct leat_error err = {0};

    assert_int_equal(pstate_view_begin(v->v, NULL, &err), 0);
}

static void commit(struct scratch *v)
{
    struct leat_error err = {0};

    assert_int_equal(pstate_view_commit(v->v, ++v->turn, &err), 0);
}

/* The same writes, but the second view made and forgot something else first, so its references are other ones. */
static void fill(struct state *s)
{
    uint64_t seed = random_entropy();
    struct leat_error err = {0};

    print_message("seed %llu\n", (unsigned long long)seed);
    begin(&s->view[1]);
    assert_int_equal(pstate_put(s->view[1].v, TASK, NESTED, LEAT_KEYS(leat_str("gone"), leat_i64(1), leat_str("x")),
                                LEAT_ROW(), &err), 0);
    assert_int_equal(pstate_delete(s->view[1].v, TASK, NESTED, LEAT_KEYS(leat_str("gone")), &err), 0);
    commit(&s->view[1]);
    for (int i = 0; i < 2; i++) {
        struct random random;

        random_seed(&random, seed);
        begin(&s->view[i]);
        for (int n = 0; n < WRITES; n++)
            write_one(s->view[i].v, &random);
        commit(&s->view[i]);
    }
}

static void test_the_same(void **context)
{
    struct state *s = *context;

    assert_int_equal(differences(s), 0);
    assert_int_equal(s->c.elements, 0);
    fill(s);
    assert_int_equal(differences(s), 0);
    assert_true(s->c.elements > 20);
}

static void expect(struct state *s, const char *where, const char *a, const char *b)
{
    assert_int_equal(differences(s), 1);
    assert_string_equal(s->where, where);
    assert_string_equal(s->a, a);
    assert_string_equal(s->b, b);
}

static void test_each_change_is_told(void **context)
{
    struct state *s = *context;
    struct pstate_view *v = s->view[1].v;
    struct leat_error err = {0};
    static const float ones[8] = {1};

    fill(s);
    begin(&s->view[1]);
    assert_int_equal(pstate_put(v, TASK, NUMBERS, LEAT_KEYS(leat_i64(77)), LEAT_ROW(leat_f64(1.5)), &err), 0);
    commit(&s->view[1]);
    expect(s, "task 3, key 77", "nothing", "1.5");
    begin(&s->view[0]);
    assert_int_equal(pstate_put(s->view[0].v, TASK, NUMBERS, LEAT_KEYS(leat_i64(77)), LEAT_ROW(leat_f64(2.5)), &err),
                     0);
    commit(&s->view[0]);
    expect(s, "task 3, key 77", "2.5", "1.5");
    begin(&s->view[1]);
    assert_int_equal(pstate_delete(v, TASK, NUMBERS, LEAT_KEYS(leat_i64(77)), &err), 0);
    commit(&s->view[1]);
    expect(s, "task 3, key 77", "2.5", "nothing");
    begin(&s->view[0]);
    assert_int_equal(pstate_delete(s->view[0].v, TASK, NUMBERS, LEAT_KEYS(leat_i64(77)), &err), 0);
    commit(&s->view[0]);
    assert_int_equal(differences(s), 0);
    begin(&s->view[1]);
    assert_int_equal(pstate_put(v, TASK, NESTED, LEAT_KEYS(leat_str("new"), leat_i64(-1), leat_str("y")), LEAT_ROW(),
                                &err), 0);
    commit(&s->view[1]);
    expect(s, "task 3, key \"new\"", "nothing", "a collection");
    begin(&s->view[0]);
    assert_int_equal(pstate_put(s->view[0].v, TASK, NESTED, LEAT_KEYS(leat_str("new"), leat_i64(-1), leat_str("y")),
                                LEAT_ROW(), &err), 0);
    assert_int_equal(pstate_put(s->view[0].v, TASK, NESTED, LEAT_KEYS(leat_str("new"), leat_i64(-1), leat_str("z")),
                                LEAT_ROW(), &err), 0);
    commit(&s->view[0]);
    expect(s, "task 3, key \"new\" / -1 / \"z\"", "there", "nothing");
    begin(&s->view[1]);
    assert_int_equal(pstate_put(v, TASK, NESTED, LEAT_KEYS(leat_str("new"), leat_i64(-1), leat_str("z")), LEAT_ROW(),
                                &err), 0);
    assert_int_equal(pstate_push(v, TASK, LISTS, LEAT_KEYS(leat_f64(9)), LEAT_ROW(leat_i64(1), leat_str("t")), NULL,
                                 &err), 0);
    commit(&s->view[1]);
    begin(&s->view[0]);
    assert_int_equal(pstate_push(s->view[0].v, TASK, LISTS, LEAT_KEYS(leat_f64(9)), LEAT_ROW(leat_i64(1), leat_null()),
                                 NULL, &err), 0);
    commit(&s->view[0]);
    expect(s, "task 3, key 9 / 0", "1, null", "1, \"t\"");
    begin(&s->view[0]);
    assert_int_equal(pstate_put(s->view[0].v, TASK, LISTS, LEAT_KEYS(leat_f64(9), leat_u64(0)),
                                LEAT_ROW(leat_i64(1), leat_str("t")), &err), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pstate_rows_append(s->view[0].v, TASK, ROWS, LEAT_KEYS(leat_str("r")),
                                            LEAT_ROW(leat_u64(1), leat_vector(LEAT_F32_VECTOR, ones, 8)), NULL, &err),
                         0);
    commit(&s->view[0]);
    begin(&s->view[1]);
    assert_int_equal(pstate_rows_append(v, TASK, ROWS, LEAT_KEYS(leat_str("r")),
                                        LEAT_ROW(leat_u64(1), leat_vector(LEAT_F32_VECTOR, ones, 8)), NULL, &err), 0);
    commit(&s->view[1]);
    expect(s, "task 3, key \"r\"", "2 packed rows", "1 packed rows");
    begin(&s->view[1]);
    assert_int_equal(pstate_rows_append(v, TASK, ROWS, LEAT_KEYS(leat_str("r")),
                                        LEAT_ROW(leat_u64(2), leat_vector(LEAT_F32_VECTOR, ones, 8)), NULL, &err), 0);
    commit(&s->view[1]);
    expect(s, "task 3, key \"r\"", "another packed row 1", "another packed row 1");
}

static void test_a_value_without_keys(void **context)
{
    struct state *s = *context;
    struct leat_error err = {0};

    begin(&s->view[0]);
    assert_int_equal(pstate_put(s->view[0].v, TASK, LEAF, LEAT_KEYS(), LEAT_ROW(leat_str("one")), &err), 0);
    commit(&s->view[0]);
    expect(s, "task 3", "\"one\"", "nothing");
    begin(&s->view[1]);
    assert_int_equal(pstate_put(s->view[1].v, TASK, LEAF, LEAT_KEYS(), LEAT_ROW(leat_str("two")), &err), 0);
    commit(&s->view[1]);
    expect(s, "task 3", "\"one\"", "\"two\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_same, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_each_change_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_value_without_keys, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
