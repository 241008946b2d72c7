/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "pstates/pstate.h"

/* Schemas of PStates: their trees, canonical texts, layouts of packed rows, and sentences for mistakes. */

static struct arena *arena;

static const char *dims(void *context, const char *name)
{
    (void)context;
    return strcmp(name, "dims") == 0 ? "384" : NULL;
}

static struct pstate_schema parse(const char *text)
{
    struct pstate_schema schema;
    struct leat_error err = {0};

    if (pstate_schema_parse(arena, "p", text, dims, NULL, &schema, &err) != 0)
        fail_msg("%s", err.text);
    return schema;
}

static void refuse(const char *text, const char *sentence)
{
    struct pstate_schema schema;
    struct leat_error err = {0};

    assert_int_equal(pstate_schema_parse(arena, "p", text, dims, NULL, &schema, &err), LEAT_ESCHEMA);
    if (strstr(err.text, sentence) == NULL)
        fail_msg("'%s' says: %s", text, err.text);
}

static void test_canonical(void **unused)
{
    static const char *const texts[][2] = {
        {"i64", "i64"},
        {" map < str , i64 > ", "map<str, i64>"},
        {"map<str,map<i64,set<f64>>>", "map<str, map<i64, set<f64>>>"},
        {"list<struct{a:i64,b:str?}>", "list<struct{a: i64, b: str?}>"},
        {"map<u64, rows<f32[$dims]>>", "map<u64, rows<f32[384]>>"},
        {"rows<struct{id: u64, v: f32[4]}>", "rows<struct{id: u64, v: f32[4]}>"},
    };

    (void)unused;
    for (size_t i = 0; i < LENGTH_OF(texts); i++) {
        struct pstate_schema schema = parse(texts[i][0]);

        assert_string_equal(pstate_schema_text(arena, &schema), texts[i][1]);
    }
}

static void test_tree(void **unused)
{
    const struct pstate_level *level = parse("map<str, map<i64, struct{a: i64, b: str?}>>").top;

    (void)unused;
    assert_int_equal(level->shape, PSTATE_MAP);
    assert_int_equal(level->key.type, LEAT_STR);
    level = level->below;
    assert_int_equal(level->shape, PSTATE_MAP);
    assert_int_equal(level->key.type, LEAT_I64);
    level = level->below;
    assert_int_equal(level->shape, PSTATE_STRUCT);
    assert_int_equal(level->fields.columns, 2);
    assert_string_equal(level->fields.column[1].name, "b");
    assert_true(level->fields.column[1].nullable);
    assert_null(parse("set<u32>").top->below);
}

/* Fields aligned and apart, rows inside the block, the block whole pages but for LMDB's 16 bytes. */
static void check_rows(const char *text)
{
    const struct pstate_level *level = parse(text).top;
    uint32_t end = 0;

    assert_int_equal(level->shape, PSTATE_ROWS);
    for (uint32_t i = 0; i < level->fields.columns; i++) {
        uint32_t size = schema_fixed_size(&level->fields.column[i]);

        assert_true(level->place[i] >= end);
        assert_int_equal(level->place[i] % (size >= 64 ? 64 : size == 8 ? 8 : size == 1 ? 1 : 4), 0);
        if (size >= 64)
            assert_int_equal(level->row_stride % 64, 0);
        end = level->place[i] + size;
    }
    assert_true(level->row_stride >= end && level->rows_per_block > 0);
    assert_int_equal((level->block_size + 16) % 4096, 0);
    assert_true(48 + (uint64_t)level->rows_per_block * level->row_stride <= level->block_size);
}

static void test_rows(void **unused)
{
    char text[64];

    (void)unused;
    check_rows("rows<u32>");
    check_rows("rows<struct{flag: bool, id: u64, v: f32[$dims]}>");
    check_rows("rows<struct{v: f32[3], flag: bool, n: f64, w: f32[17], b: bits[128]}>");
    for (int n = 1; n < 6000; n += 37) {
        snprintf(text, sizeof(text), "rows<struct{id: u64, v: f32[%d]}>", n);
        check_rows(text);
    }
}

/* Rows of so many of the longest vectors. */
static const char *wide_rows(int fields)
{
    const char *inside = "v0: f32[65536]";

    for (int i = 1; i < fields; i++)
        inside = arena_format(arena, "%s, v%d: f32[65536]", inside, i);
    return arena_format(arena, "rows<struct{%s}>", inside);
}

static void test_refused(void **unused)
{
    (void)unused;
    refuse("", "schema \"\", character 1");
    refuse("map<str i64>", "',' is missing");
    refuse("map<str, i64", "'>' is missing");
    refuse("map<str, i64> more", "is too much");
    refuse("map<f32[4], i64>", "a key or element must be");
    refuse("map<str?, i64>", "a key cannot be null");
    refuse("set<any>", "a key or element must be");
    refuse("struct{}", "a struct needs a field");
    refuse("struct{a: i64", "'}' is missing");
    refuse("rows<str>", "packed rows are of fixed size");
    refuse("rows<struct{a: i64?}>", "packed rows are of fixed size");
    refuse(wide_rows(17), "a packed row of 4456448 bytes; at most 4194304");
    refuse(wide_rows(64), "at most 4194304");
    check_rows(wide_rows(16));
    refuse("map<u32, map<u32, map<u32, map<u32, map<u32, map<u32, map<u32, map<u32, map<u32, u32>>>>>>>>>",
           "nested deeper");
    refuse("map<str, f32[$size]>", "size");
}

static int set_up(void **unused)
{
    (void)unused;
    arena = arena_open(16 << 20);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    arena_close(arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_canonical), cmocka_unit_test(test_tree),
                                       cmocka_unit_test(test_rows), cmocka_unit_test(test_refused)};

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
