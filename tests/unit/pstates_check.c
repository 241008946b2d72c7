/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/scratch.h"

#include "base/random.h"
#include "pstates/element.h"
#include "pstates/view.h"

/* The check of views: nothing is found in what random turns leave; of each kind of damage that is put in by hand, one
 * thing is. And operations are explained. */

enum { TASK = 2, TASKS = 4, TURNS = 300 };
enum { NESTED, LISTS, ROWS, LIST, LEAF, PSTATES };

static const char *const schema_text[PSTATES] = {
    "map<str, map<i64, set<str>>>", "map<str, list<i64>>", "map<str, rows<struct{id: u64, v: f32[700]}>>", "list<str>",
    "i64",
};

struct state {
    struct scratch view;
    char where[256], what[512];
    struct pstate_check check;
};

static void found(void *context, const char *where, const char *what)
{
    struct state *s = context;

    snprintf(s->where, sizeof(s->where), "%s", where);
    snprintf(s->what, sizeof(s->what), "%s", what);
}

static int set_up(void **context)
{
    struct state *s = base_alloc(sizeof(*s));

    scratch_make(&s->view, schema_text, PSTATES);
    *context = s;
    return 0;
}

static int tear_down(void **context)
{
    struct state *s = *context;

    scratch_remove(&s->view);
    free(s);
    return 0;
}

static void begin(struct state *s)
{
    struct leat_error err = {0};

    assert_int_equal(pstate_view_begin(s->view.v, NULL, &err), 0);
}

static void commit(struct state *s)
{
    struct leat_error err = {0};

    assert_int_equal(pstate_view_commit(s->view.v, ++s->view.turn, &err), 0);
}

/* How much is found. */
static uint64_t check(struct state *s)
{
    struct leat_error err = {0};
    struct pstate_reader *r;

    s->where[0] = s->what[0] = '\0';
    s->check = (struct pstate_check){.tasks = TASKS, .groups = 2, .group = 0, .found = found, .context = s};
    assert_int_equal(pstate_snapshot_open(s->view.v, &r, &err), 0);
    assert_int_equal(pstate_view_check(r, &s->check, &err), 0);
    pstate_snapshot_close(r);
    return s->check.findings;
}

static void write_something(struct state *s, struct random *random)
{
    struct pstate_view *v = s->view.v;
    static const float zeros[700];
    char text[16];
    struct leat_value number = leat_i64((int64_t)random_below(random, 5));
    struct leat_row row = LEAT_ROW(leat_u64(random_u64(random)), leat_vector(LEAT_F32_VECTOR, zeros, 700));
    struct leat_error err = {0};

    snprintf(text, sizeof(text), "%u", (unsigned)random_below(random, 4));
    struct leat_value name = leat_str(text);
    switch (random_below(random, 10)) {
    case 0:
        pstate_delete(v, TASK, NESTED, LEAT_KEYS(name), &err);
        break;
    case 1:
        pstate_delete(v, TASK, NESTED, LEAT_KEYS(name, number), &err);
        break;
    case 2:
        pstate_delete(v, TASK, (uint32_t)random_below(random, 2) + LISTS, LEAT_KEYS(name), &err);
        break;
    case 3:
        pstate_push(v, TASK, LISTS, LEAT_KEYS(name), LEAT_ROW(number), NULL, &err);
        break;
    case 4:
        pstate_push(v, TASK, LIST, LEAT_KEYS(), LEAT_ROW(name), NULL, &err);
        break;
    case 5:
        pstate_rows_remove_last(v, TASK, ROWS, LEAT_KEYS(name), &err);
        break;
    case 6:
    case 7:
        for (int i = 0; i < 20; i++)
            pstate_rows_append(v, TASK, ROWS, LEAT_KEYS(name), row, NULL, &err);
        break;
    case 8:
        pstate_put(v, 0, LEAF, LEAT_KEYS(), LEAT_ROW(number), &err);
        break;
    default:
        pstate_put(v, TASK, NESTED, LEAT_KEYS(name, number, name), LEAT_ROW(), &err);
    }
}

static void fill(struct state *s)
{
    uint64_t seed = random_entropy();
    struct leat_error err = {0};
    struct random random;
    uint32_t swept;

    print_message("seed %llu\n", (unsigned long long)seed);
    random_seed(&random, seed);
    for (int i = 0; i < TURNS; i++) {
        begin(s);
        for (uint64_t n = random_below(&random, 10); n > 0; n--)
            write_something(s, &random);
        if (random_below(&random, 3) == 0)
            assert_int_equal(pstate_view_sweep(s->view.v, (uint32_t)random_below(&random, 4), &swept, &err), 0);
        commit(s);
        if (i % 10 == 0)
            assert_int_equal(check(s), 0);
    }
}

static void test_nothing_is_found(void **context)
{
    struct state *s = *context;

    fill(s);
    assert_int_equal(check(s), 0);
    assert_true(s->check.elements > 20 && s->check.bytes > 1000);
}

/* The live file may be looked at once it was closed in order; after anything else its state is the checkpoint's. */
static void test_slots(void **context)
{
    struct state *s = *context;
    struct leat_error err = {0};
    struct pstate_slot slot[2];
    struct pstate_view *live;
    struct buffer state = {0};
    struct pstate_reader *r;

    pstate_slots(s->view.directory, slot, &state);
    assert_int_equal(slot[0].code, LEAT_ENOTFOUND);
    assert_int_equal(slot[1].code, LEAT_ENOTFOUND);
    fill(s);
    assert_int_equal(pstate_view_close_clean(s->view.v, span_text("so far"), &err), 0);
    pstate_slots(s->view.directory, slot, &state);
    assert_true(slot[1].newest && slot[1].clean && slot[1].code == 0 && slot[1].turn == TURNS);
    assert_true(span_equal(buffer_bytes(&state), span_text("so far")));
    assert_int_equal(pstate_view_open_read(&s->view.config, &live, &err), 0);
    assert_int_equal(pstate_snapshot_open(live, &r, &err), 0);
    assert_int_equal(pstate_reader_turn(r), TURNS);
    s->check = (struct pstate_check){.tasks = TASKS, .groups = 2, .found = found, .context = s};
    assert_int_equal(pstate_view_check(r, &s->check, &err), 0);
    assert_int_equal(s->check.findings, 0);
    pstate_snapshot_close(r);
    pstate_view_close(live);
    scratch_open(&s->view);
    begin(s);
    commit(s);
    pstate_slots(s->view.directory, slot, &state);
    assert_true(slot[1].newest && !slot[1].clean);
    buffer_fini(&state);
}

/* Put an entry by hand, look, and take it away again. */
static void look_with(struct state *s, struct key k, struct leat_span value, const char *what)
{
    struct pstate_view *v = s->view.v;
    struct leat_error err = {0};
    struct leat_span was;
    uint8_t kept[64];

    begin(s);
    int rv = raw_get(&v->writer, k.bytes, k.size, &was, &err);
    if (rv == 0) {
        assert_true(was.size <= sizeof(kept));
        memcpy(kept, was.base, was.size);
        was.base = kept;
    }
    assert_int_equal(raw_put(v, k.bytes, k.size, value, &err), 0);
    commit(s);
    assert_true(check(s) > 0);
    assert_non_null(strstr(s->what, what));
    begin(s);
    assert_int_equal(rv == 0 ? raw_put(v, k.bytes, k.size, was, &err) : raw_delete(v, k.bytes, k.size, &err), 0);
    commit(s);
    assert_int_equal(check(s), 0);
}

static struct key root_key(uint32_t task, uint32_t pstate, const char *name)
{
    struct key k;

    key_root(&k, task, pstate);
    for (; *name != '\0'; name++)
        key_u8(&k, (uint8_t)*name);
    return k;
}

static void test_damage_is_found(void **context)
{
    struct state *s = *context;
    struct pstate_view *v = s->view.v;
    struct leat_error err = {0};
    uint8_t header[16] = {0}, seven[7] = {0};
    struct key k;

    begin(s);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pstate_push(v, TASK, LISTS, LEAT_KEYS(leat_str("a")), LEAT_ROW(leat_i64(i)), NULL, &err),
                         0);
    assert_int_equal(pstate_put(v, TASK, NESTED, LEAT_KEYS(leat_str("n"), leat_i64(1), leat_str("x")), LEAT_ROW(),
                                &err), 0);
    commit(s);
    assert_int_equal(check(s), 0);
    look_with(s, root_key(1, LEAF, ""), span_of(header, 8), "none of this group");
    look_with(s, root_key(0, LEAF, ""), span_of(seven, 7), "does not fit the schema");
    look_with(s, root_key(0, LEAF, "x"), span_of(header, 8), "a key of 4 bytes");
    look_with(s, root_key(0, PSTATES, ""), span_of(header, 8), "a key of 3 bytes");
    look_with(s, root_key(TASK, LIST, "12345678"), span_of(seven, 1), "has no header");
    look_with(s, root_key(TASK, NESTED, "z"), span_of(header, 8), "has the reference 0");
    header[0] = 1;
    look_with(s, root_key(TASK, NESTED, "z"), span_of(header, 8), "as another element does");
    store_u64(header, 1000000);
    look_with(s, root_key(TASK, NESTED, "z"), span_of(header, 8), "were given out");
    store_u64(header, 1);
    store_u64(header + 8, 4);
    look_with(s, root_key(TASK, LISTS, "a"), span_of(header, 16), "counts 4 elements, but only the first 3");
    store_u64(header + 8, 2);
    look_with(s, root_key(TASK, LISTS, "a"), span_of(header, 16), "counts 2 elements, but 3");
    key_nested(&k, TASK, 999);
    look_with(s, k, span_of(header, 16), "no element leads");
    key_nested(&k, TASK, 1);
    key_u64(&k, 9);
    look_with(s, k, span_of(header, 8), "counts 3 elements, but 10");
}

static void test_packed_rows_are_counted(void **context)
{
    struct state *s = *context;
    static const float zeros[700];
    uint8_t header[16];
    struct leat_error err = {0};

    begin(s);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(pstate_rows_append(s->view.v, TASK, ROWS, LEAT_KEYS(leat_str("r")),
                                            LEAT_ROW(leat_u64(i), leat_vector(LEAT_F32_VECTOR, zeros, 700)), NULL,
                                            &err), 0);
    commit(s);
    assert_int_equal(check(s), 0);
    store_u64(header, 1);
    store_u64(header + 8, 95); /* two blocks of 45 and a piece of 5 */
    look_with(s, root_key(TASK, ROWS, "r"), span_of(header, 16), "more packed rows");
    store_u64(header + 8, 99);
    look_with(s, root_key(TASK, ROWS, "r"), span_of(header, 16), "where row 95 of 99");
    store_u64(header + 8, 101);
    look_with(s, root_key(TASK, ROWS, "r"), span_of(header, 16), "counts 101");
}

struct told {
    char text[4096];
};

static void tell(void *context, const struct pstate_explained *e)
{
    struct told *told = context;
    size_t size = strlen(told->text);

    snprintf(told->text + size, sizeof(told->text) - size, "%s %.*s %.*s\n", e->operation, (int)e->element.size,
             (const char *)e->element.base, (int)e->value.size, e->value.size > 0 ? (const char *)e->value.base : "");
}

static void test_operations_are_explained(void **context)
{
    struct state *s = *context;
    struct pstate_view *v = s->view.v;
    struct leat_error err = {0};
    struct references met = {0};
    struct buffer ops = {0};
    struct told told = {.text = ""};

    assert_int_equal(pstate_view_begin(v, &ops, &err), 0);
    pstate_put(v, 0, LEAF, LEAT_KEYS(), LEAT_ROW(leat_i64(7)), &err);
    pstate_put(v, TASK, NESTED, LEAT_KEYS(leat_str("n"), leat_i64(1), leat_str("x")), LEAT_ROW(), &err);
    pstate_push(v, TASK, LISTS, LEAT_KEYS(leat_str("a")), LEAT_ROW(leat_i64(5)), NULL, &err);
    pstate_delete(v, TASK, NESTED, LEAT_KEYS(leat_str("n"), leat_i64(1), leat_str("x")), &err);
    pstate_delete(v, TASK, NESTED, LEAT_KEYS(leat_str("n")), &err);
    commit(s);
    assert_int_equal(pstate_explain(s->view.schema, PSTATES, &met, buffer_bytes(&ops), tell, &told), 0);
    assert_string_equal(told.text,
                        "put task 0, PState p 7\n"
                        "put task 2, PState p, key \"n\" {\"collection\": 1}\n"
                        "put task 2, PState p, collection 1, key 1 {\"collection\": 2}\n"
                        "put task 2, PState p, collection 2, key \"x\" true\n"
                        "put task 2, PState p, key \"a\" {\"collection\": 3, \"count\": 0}\n"
                        "put task 2, PState p, collection 3, index 0 5\n"
                        "put task 2, PState p, key \"a\" {\"collection\": 3, \"count\": 1}\n"
                        "delete task 2, PState p, collection 2, key \"x\" \n"
                        "unlink task 2, PState p, key \"n\" {\"collection\": 1}\n");
    told.text[0] = '\0';
    ops.size--;
    assert_int_equal(pstate_explain(s->view.schema, PSTATES, &met, buffer_bytes(&ops), tell, &told), LEAT_ECORRUPT);
    references_fini(&met);
    buffer_fini(&ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_slots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damage_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_packed_rows_are_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_operations_are_explained, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
