/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/base.h"
#include "base/random.h"
#include "base/schema.h"

/* Row schemas: random ones come back from their text; each mistake is named with its place. */

enum { ROUNDS = 500, SEED = 29 };

static const struct {
    const char *text;
    enum leat_type type;
    uint32_t size; /* of a value, or of eight elements; 0: varies */
} types[] = {
    {"bool", LEAT_BOOL, 1}, {"i64", LEAT_I64, 8}, {"u32", LEAT_U32, 4},
    {"u64", LEAT_U64, 8}, {"f32", LEAT_F32, 4}, {"f64", LEAT_F64, 8}, {"str", LEAT_STR, 0}, {"bytes", LEAT_BYTES, 0},
    {"any", LEAT_ANY, 0}, {"f32[8]", LEAT_F32_VECTOR, 32}, {"f16[8]", LEAT_F16_VECTOR, 16},
    {"i8[8]", LEAT_I8_VECTOR, 8}, {"u8[8]", LEAT_U8_VECTOR, 8}, {"u32[8]", LEAT_U32_VECTOR, 32},
    {"bits[8]", LEAT_BITS, 1},
};

static const char *options(void *context, const char *name)
{
    static const char *const value[][2] = {{"dims", "384"}, {"none", ""}, {"word", "four"}, {"minus", "-4"},
                                           {"rest", "4x"},  {"huge", "99999999999999999999"}, {"zero", "0"},
                                           {"type", "u8"}};

    assert_null(context);
    for (size_t i = 0; i < LENGTH_OF(value); i++)
        if (strcmp(value[i][0], name) == 0)
            return value[i][1];
    return NULL;
}

static void test_type_of_option(void **unused)
{
    struct arena *a = arena_open(1 << 20);
    const char *at = "$type[$dims]? rest";
    struct leat_column c;

    (void)unused;
    assert_int_equal(schema_type_parse(a, &at, options, NULL, &c, NULL), 0);
    assert_string_equal(at, " rest");
    assert_string_equal(schema_type_text(a, &c), "u8[384]?");
    arena_close(a);
}

static void test_types(void **unused)
{
    struct arena *a = arena_open(1 << 20);

    (void)unused;
    for (size_t i = 0; i < LENGTH_OF(types); i++)
        for (int nullable = 0; nullable < 2; nullable++) {
            const char *text = arena_format(a, "%s%s", types[i].text, nullable ? "?" : ""), *at = text;
            struct leat_column c;

            assert_int_equal(schema_type_parse(a, &at, NULL, NULL, &c, NULL), 0);
            assert_string_equal(at, "");
            assert_int_equal(c.type, types[i].type);
            assert_int_equal(c.nullable, nullable);
            assert_int_equal(c.count, strchr(text, '[') != NULL ? 8 : 0);
            assert_int_equal(schema_fixed_size(&c), types[i].size);
            assert_int_equal(c.stride, types[i].size > 0 ? types[i].size : sizeof(struct leat_span));
            assert_string_equal(schema_type_text(a, &c), text);
        }
    assert_string_equal(schema_type_text(a, &(struct leat_column){.type = LEAT_NULL}), "null");
    arena_close(a);
}

static const char *space(struct random *random)
{
    static const char *const text[] = {"", " ", "  ", "\t", "\n"};

    return text[random_below(random, LENGTH_OF(text))];
}

/* A schema as people write it, and as it is written in one way only. */
static void random_schema(struct arena *a, struct random *random, const char **text, const char **canonical)
{
    uint32_t columns = (uint32_t)random_below(random, LIMIT_COLUMNS + 1);

    *text = *canonical = "";
    for (uint32_t i = 0; i < columns; i++) {
        const char *type = types[random_below(random, LENGTH_OF(types))].text, *name = arena_format(a, "_c%uX", i);
        const char *null = random_below(random, 3) == 0 ? "?" : "";
        const char *bracket = strchr(type, '[');
        int size = bracket != NULL ? (int)(bracket - type) : (int)strlen(type);
        const char *spaced = bracket == NULL ? arena_format(a, "%s%s", type, space(random))
                                             : arena_format(a, "%.*s%s[%s8%s]%s", size, type, space(random),
                                                            space(random), space(random), space(random));

        *text = arena_format(a, "%s%s%s%s%s%s:%s%s%s%s", *text, i > 0 ? "," : "", space(random), name, space(random),
                             "", space(random), spaced, null, space(random));
        *canonical = arena_format(a, "%s%s%s: %s%s", *canonical, i > 0 ? ", " : "", name, type, null);
    }
}

static void test_round_trips(void **unused)
{
    struct arena *a = arena_open(16 << 20);
    struct random random;

    (void)unused;
    random_seed(&random, SEED);
    for (int round = 0; round < ROUNDS; round++) {
        const char *text, *canonical;
        struct row_schema schema, again, other;
        struct leat_error err = {0};

        random_schema(a, &random, &text, &canonical);
        if (row_schema_parse(a, text, NULL, NULL, &schema, &err) != 0)
            fail_msg("\"%s\": %s", text, err.text);
        assert_string_equal(row_schema_text(a, &schema), canonical);
        assert_int_equal(row_schema_parse(a, canonical, NULL, NULL, &again, &err), 0);
        assert_true(row_schema_equal(&schema, &again));
        for (uint32_t i = 0; i < schema.columns; i++) {
            assert_int_equal(row_schema_find(&schema, schema.column[i].name), i);
            assert_null(schema.column[i].data);
        }
        random_schema(a, &random, &text, &canonical);
        assert_int_equal(row_schema_parse(a, text, NULL, NULL, &other, &err), 0);
        assert_int_equal(row_schema_equal(&schema, &other), strcmp(row_schema_text(a, &schema), canonical) == 0);
        arena_reset(a);
    }
    arena_close(a);
}

static void test_equality(void **unused)
{
    static const char *const text[] = {"",         "a: str",   "b: str",    "a: str?",
                                       "a: bytes", "a: u8[8]", "a: u8[16]", "a: str, b: str"};
    struct arena *a = arena_open(1 << 20);
    struct row_schema schema[LENGTH_OF(text)];

    (void)unused;
    for (size_t i = 0; i < LENGTH_OF(text); i++)
        assert_int_equal(row_schema_parse(a, text[i], NULL, NULL, &schema[i], NULL), 0);
    for (size_t i = 0; i < LENGTH_OF(text); i++)
        for (size_t j = 0; j < LENGTH_OF(text); j++)
            assert_int_equal(row_schema_equal(&schema[i], &schema[j]), i == j);
    assert_int_equal(row_schema_find(&schema[7], "b"), 1);
    assert_int_equal(row_schema_find(&schema[7], "c"), -1);
    assert_int_equal(row_schema_find(&schema[0], ""), -1);
    arena_close(a);
}

static void test_nothing_and_options(void **unused)
{
    struct arena *a = arena_open(1 << 20);
    struct row_schema schema;

    (void)unused;
    assert_int_equal(row_schema_parse(a, NULL, NULL, NULL, &schema, NULL), 0);
    assert_int_equal(schema.columns, 0);
    assert_int_equal(row_schema_parse(a, " \n", NULL, NULL, &schema, NULL), 0);
    assert_int_equal(schema.columns, 0);
    assert_string_equal(row_schema_text(a, &schema), "");
    assert_int_equal(row_schema_parse(a, "vec: f32[$dims]?", options, NULL, &schema, NULL), 0);
    assert_string_equal(row_schema_text(a, &schema), "vec: f32[384]?");
    arena_close(a);
}

static void refuse(const char *text, int character, const char *reason)
{
    struct arena *a = arena_open(1 << 20);
    struct row_schema schema = {.columns = 77};
    struct leat_error err = {0};
    char place[40];

    if (row_schema_parse(a, text, options, NULL, &schema, &err) != LEAT_ESCHEMA)
        fail_msg("taken as a schema: \"%s\"", text);
    assert_int_equal(schema.columns, 77);
    if (strstr(err.text, reason) == NULL)
        fail_msg("'%s' is not in: %s", reason, err.text);
    snprintf(place, sizeof(place), "character %d: ", character);
    if (strstr(err.text, place) == NULL || strncmp(err.text, "schema \"", 8) != 0 ||
        strncmp(err.text + 8, text, strlen(text)) != 0)
        fail_msg("'%s' is not in: %s", place, err.text);
    assert_int_equal(row_schema_parse(a, text, options, NULL, &schema, NULL), LEAT_ESCHEMA);
    arena_close(a);
}

static void test_refused(void **unused)
{
    (void)unused;
    refuse("1a: str", 1, "a column name is wanted at '1a: str'");
    refuse("a: str,, b: str", 8, "a column name is wanted");
    refuse("a str", 3, "':' and a type are missing behind column 'a'");
    refuse("a", 2, "':' and a type are missing");
    refuse("a: ", 4, "is no type");
    refuse("a: text", 8, "column 'a': 'text' is no type (bool i64");
    refuse("a: str b: str", 8, "',' is missing at 'b: str'");
    refuse("a: str, a: u32", 10, "column 'a' is there twice");
    refuse("a: f16", 7, "f16 wants a number of elements: f16[n]");
    refuse("a: str[4]", 7, "str has no vectors");
    refuse("a: f32[0]", 10, "a vector has 1 to 65536 elements, not 0");
    refuse("a: f32[65537]", 14, "not 65537");
    refuse("a: f32[99999999999999999999]", 29, "a vector has 1 to 65536 elements");
    refuse("a: f32[-1]", 8, "a number of elements is wanted at '-1]'");
    refuse("a: f32[]", 8, "a number of elements is wanted at ']'");
    refuse("a: f32[8", 9, "']' is missing");
    refuse("a: bits[9]", 11, "bits[n] wants a multiple of 8, not 9");
    refuse("a: f32[$nope]", 13, "'$nope' is no option of the module");
    refuse("a: f32[$]", 9, "'$' is no option of the module");
    refuse("a: $nope", 9, "'$nope' is no option of the module");
    refuse("a: $[8]", 5, "'$' is no option of the module");
    refuse("a: $word[8]", 9, "'four' is no type");
    refuse("a: f32[$none]", 13, "option 'none' is '', but a number of elements is wanted");
    refuse("a: f32[$word]", 13, "option 'word' is 'four'");
    refuse("a: f32[$minus]", 14, "option 'minus' is '-4'");
    refuse("a: f32[$rest]", 13, "option 'rest' is '4x'");
    refuse("a: f32[$huge]", 14, "a vector has 1 to 65536 elements");
    refuse("a: f32[$zero]", 14, "not 0");
}

/* A comma at the end is fine, with or without space behind it. */
static void test_last_comma(void **unused)
{
    struct arena *a = arena_open(1 << 20);
    struct row_schema schema;

    (void)unused;
    assert_int_equal(row_schema_parse(a, "a: str, b: u32,", NULL, NULL, &schema, NULL), 0);
    assert_int_equal(schema.columns, 2);
    assert_int_equal(row_schema_parse(a, "a: str,\nb: u32,\n", NULL, NULL, &schema, NULL), 0);
    assert_int_equal(schema.columns, 2);
    arena_close(a);
}

static void test_limits(void **unused)
{
    struct arena *a = arena_open(1 << 20);
    struct row_schema schema;
    struct leat_error err = {0};
    const char *text = "";

    (void)unused;
    for (int i = 0; i < LIMIT_COLUMNS; i++)
        text = arena_format(a, "%sc%d: f32[%d], ", text, i, LIMIT_VECTOR);
    assert_int_equal(row_schema_parse(a, arena_format(a, "%sc%d: u32", text, LIMIT_COLUMNS), NULL, NULL, &schema, &err),
                     LEAT_ESCHEMA);
    assert_non_null(strstr(err.text, "more than 64 columns"));
    assert_int_equal(row_schema_parse(a, arena_format(a, "%.*s", (int)strlen(text) - 2, text), NULL, NULL, &schema,
                                      &err), 0);
    assert_int_equal(schema.columns, LIMIT_COLUMNS);
    assert_int_equal(row_schema_parse(a, arena_format(a, "%0*d: u32", LIMIT_NAME, 0), NULL, NULL, &schema, &err),
                     LEAT_ESCHEMA);
    text = arena_format(a, "n%0*d: u32", LIMIT_NAME - 1, 0);
    assert_int_equal(row_schema_parse(a, text, NULL, NULL, &schema, &err), 0);
    text = arena_format(a, "n%0*d: u32", LIMIT_NAME, 0);
    assert_int_equal(row_schema_parse(a, text, NULL, NULL, &schema, &err), LEAT_ESCHEMA);
    assert_non_null(strstr(err.text, "is longer than 48 bytes"));
    arena_close(a);
}

/* Any bytes: an answer, and a sentence with it. */
static void test_random_text(void **unused)
{
    static const char *const part[] = {"a",     "b", ":", ",",   " ",   "[",    "]",    "?", "$",
                                       "$dims", "8", "0", "f32", "str", "bits", "\xff", "-"};
    struct arena *a = arena_open(16 << 20);
    struct random random;

    (void)unused;
    random_seed(&random, SEED);
    for (int round = 0; round < 20 * ROUNDS; round++) {
        const char *text = "";
        struct row_schema schema, again;
        struct leat_error err = {0};

        for (uint64_t parts = random_below(&random, 12); parts > 0; parts--)
            text = arena_format(a, "%s%s", text, part[random_below(&random, LENGTH_OF(part))]);
        int rv = row_schema_parse(a, text, options, NULL, &schema, &err);
        assert_true(rv == 0 ? err.text[0] == '\0' : rv == LEAT_ESCHEMA && err.code == rv && strlen(err.text) > 20);
        if (rv == 0) {
            assert_int_equal(row_schema_parse(a, row_schema_text(a, &schema), NULL, NULL, &again, &err), 0);
            assert_true(row_schema_equal(&schema, &again));
        }
        arena_reset(a);
    }
    arena_close(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types), cmocka_unit_test(test_type_of_option),
        cmocka_unit_test(test_round_trips), cmocka_unit_test(test_equality),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_last_comma),  cmocka_unit_test(test_nothing_and_options),
        cmocka_unit_test(test_limits),  cmocka_unit_test(test_random_text),
    };

    print_message("seed %d\n", SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
