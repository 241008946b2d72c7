/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "base/base.h"
#include "base/codec.h"
#include "base/random.h"
#include "modules/ivf/attributes.h"

enum { SEED = 91, ROUNDS = 300 };

/* ---- Declarations ---- */

static void check_declaration(const char *text, uint32_t count, uint32_t columns)
{
    struct attributes a;
    struct leat_error err = {0};

    if (attributes_parse(text, &a, &err) != 0)
        fail_msg("%s: %s", text, err.text);
    assert_int_equal(a.count, count);
    assert_int_equal(a.columns, columns);
}

static void test_declarations(void **unused)
{
    struct attributes a;

    (void)unused;
    check_declaration("", 0, 0);
    check_declaration("color: str", 1, 1);
    check_declaration("color:str price:f64 year:i64 sold:bool", 4, 4);
    check_declaration("color: str, price: f64,year:i64 ,  sold: bool,", 4, 4);
    check_declaration("a:i64 b:i64 c:i64 d:i64 e:i64 f:i64 g:i64 h:i64 i:i64 j:i64 k:i64 l:i64 m:i64 n:i64 o:i64 "
                      "p:text",
                      16, 18);
    assert_int_equal(attributes_parse("größe: f64, name: text, x-y_2: bool", &a, NULL), 0);
    assert_int_equal(a.columns, 5);
    assert_string_equal(a.attribute[0].name, "größe");
    assert_int_equal(a.attribute[1].type, ATTRIBUTE_TEXT);
    assert_int_equal(a.attribute[2].column, 4);
    assert_int_equal(attributes_find(&a, span_text("name")), 1);
    assert_int_equal(attributes_find(&a, span_text("x-y_2")), 2);
    assert_int_equal(attributes_find(&a, span_text("nam")), -1);
    assert_int_equal(attributes_find(&a, span_text("names")), -1);
    assert_int_equal(attributes_find(&a, span_text("")), -1);
}

static void test_bad_declarations(void **unused)
{
    static const struct {
        const char *text;
        int code;
        const char *says;
    } bad[] = {
        {"color", LEAT_EINVAL, "'name: type' is wanted at character 6"},
        {"color str", LEAT_EINVAL, "'name: type' is wanted at character 6"},
        {": str", LEAT_EINVAL, "at character 1"},
        {"a: str b", LEAT_EINVAL, "at character 9"},
        {"a.b: str", LEAT_EINVAL, "at character 2"},
        {"a: str;", LEAT_EINVAL, "a comma is wanted at character 7"},
        {"a: str?", LEAT_EINVAL, "a comma is wanted at character 7"},
        {"a: string", LEAT_EINVAL, "attribute 'a': its type is bool, i64, f64, str or text, not 'string'"},
        {"a: , b: str", LEAT_EINVAL, "not ''"},
        {"a: str, b: i64, a: f64", LEAT_EINVAL, "attribute 'a' is declared twice"},
        {"or: str", LEAT_EINVAL, "attribute 'or': filters use this word"},
        {"a:i64 b:i64 c:i64 d:i64 e:i64 f:i64 g:i64 h:i64 i:i64 j:i64 k:i64 l:i64 m:i64 n:i64 o:i64 p:i64 q:i64",
         LEAT_ELIMIT, "attribute 'q': there are at most 16"},
        {"a23456789012345678901234567890123456789012345678x: i64", LEAT_EINVAL, "a name has at most 48 bytes"},
    };

    (void)unused;
    for (size_t i = 0; i < LENGTH_OF(bad); i++) {
        struct attributes a;
        struct leat_error err = {0};

        assert_int_equal(attributes_parse(bad[i].text, &a, &err), bad[i].code);
        if (strstr(err.text, bad[i].says) == NULL)
            fail_msg("'%s' gives: %s", bad[i].text, err.text);
    }
}

/* ---- Rows ---- */

#define DECLARED "color: str, price: f64, year: i64, sold: bool, name: text"
enum { COLOR, PRICE, YEAR, SOLD, NAME };

static struct attributes declared;

static int open_declared(void **unused)
{
    (void)unused;
    return attributes_parse(DECLARED, &declared, NULL);
}

static struct buffer packed;

static struct leat_span json(const char *text)
{
    struct leat_error err = {0};

    buffer_clear(&packed);
    if (json_to_msgpack(span_text(text), &packed, &err) != 0)
        fail_msg("%s: %s", text, err.text);
    return buffer_bytes(&packed);
}

static int64_t hash_of(const char *text)
{
    struct leat_value v = leat_str(text);

    return (int64_t)leat_hash(&v);
}

static void test_rows(void **unused)
{
    struct attributes_row row;

    (void)unused;
    assert_int_equal(attributes_read(&declared,
                                     json("{\"color\": \"red\", \"price\": -1.5, \"year\": 2001, \"sold\": true, "
                                          "\"name\": \"Zo\xc3\xab\", \"tags\": [\"a\", {\"price\": 7}]}"),
                                     &row, NULL), 0);
    assert_int_equal(row.presence, 31);
    assert_true(row.column[0] == hash_of("red"));
    assert_true(row.column[1] == attribute_order(-1.5));
    assert_int_equal(row.column[2], 2001);
    assert_int_equal(row.column[3], 1);
    assert_true(row.column[4] == hash_of("Zo\xc3\xab"));
    assert_true((uint64_t)row.column[5] == (UINT64_C(0x5a6fc3ab00000000) ^ UINT64_C(1) << 63));
    assert_true((uint64_t)row.column[6] == UINT64_C(1) << 63);
    assert_true(span_equal(row.text[NAME], span_text("Zo\xc3\xab")));
}

/* Absent, null, and no attributes at all are the same. */
static void test_absent(void **unused)
{
    struct attributes_row row;

    (void)unused;
    assert_int_equal(attributes_read(&declared, json("{\"color\": null, \"sold\": false, \"name\": \"\"}"), &row, NULL),
                     0);
    assert_int_equal(row.presence, 1 << SOLD | 1 << NAME);
    for (int c = 0; c < 4; c++)
        assert_int_equal(row.column[c], 0);
    assert_int_equal(attributes_read(&declared, json("{}"), &row, NULL), 0);
    assert_int_equal(row.presence, 0);
    assert_int_equal(attributes_read(&declared, json("null"), &row, NULL), 0);
    assert_int_equal(row.presence, 0);
    assert_int_equal(attributes_read(&declared, span_of(NULL, 0), &row, NULL), 0);
    assert_int_equal(row.presence, 0);
}

static void check_bad_row(struct leat_span bytes, const char *says)
{
    struct attributes_row row;
    struct leat_error err = {0};

    assert_int_equal(attributes_read(&declared, bytes, &row, &err), LEAT_ESCHEMA);
    if (strstr(err.text, says) == NULL)
        fail_msg("it gives: %s", err.text);
    assert_true(utf8_valid(span_text(err.text)));
}

static void test_bad_rows(void **unused)
{
    (void)unused;
    check_bad_row(json("{\"price\": \"low\"}"), "attribute 'price' is declared as f64 and got the string 'low'");
    check_bad_row(json("{\"year\": 2001.5}"), "attribute 'year' is declared as i64 and got the number 2001.5");
    check_bad_row(json("{\"sold\": 1}"), "attribute 'sold' is declared as bool and got the number 1");
    check_bad_row(json("{\"color\": [\"red\"]}"), "attribute 'color' is declared as str and got an array");
    check_bad_row(json("{\"name\": {}}"), "attribute 'name' is declared as text and got a map");
    check_bad_row(json("{\"color\": false}"), "got false");
    check_bad_row(json("{\"year\": \"0123456789012345678901234567890\xc3\xab\xc3\xab\"}"),
                  "0123456789012345678901234567890'..");
    check_bad_row(span_of("\x81\xa4year\xcf\x80\x00\x00\x00\x00\x00\x00\x00", 15), "the number 9223372036854775808");
    check_bad_row(span_of("\x81\xa5" "color\xc4\x01x", 10), "got bytes");
    check_bad_row(span_of("\x81\xa5price\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", 16), "got the number nan");
    check_bad_row(span_of("\x81\xa5price\xca\xff\x80\x00\x00", 12), "got the number -inf");
    check_bad_row(json("[1]"), "attributes are a map of names and values, not an array");
    check_bad_row(json("\"red\""), "not the string 'red'");
    check_bad_row(span_of("\x81\xa5" "color", 7), "not one MessagePack value");
    check_bad_row(span_of("\x80\x80", 2), "not one MessagePack value");
}

static int64_t year_of(struct leat_span map)
{
    struct attributes_row row;

    assert_int_equal(attributes_read(&declared, map, &row, NULL), 0);
    assert_int_equal(row.presence, 1 << YEAR);
    return row.column[2];
}

/* Whole numbers in any form; of two entries the last counts, whatever the first was. */
static void test_whole_numbers(void **unused)
{
    struct attributes_row row;

    (void)unused;
    assert_true(year_of(json("{\"year\": 9007199254740992}")) == INT64_C(1) << 53);
    assert_true(year_of(span_of("\x81\xa4year\xcb\xc3\xe0\x00\x00\x00\x00\x00\x00", 15)) == INT64_MIN);
    assert_true(year_of(span_of("\x81\xa4year\xcb\x80\x00\x00\x00\x00\x00\x00\x00", 15)) == 0);
    assert_true(year_of(span_of("\x81\xa4year\xd3\x00\x20\x00\x00\x00\x00\x00\x01", 15)) == (INT64_C(1) << 53) + 1);
    check_bad_row(span_of("\x81\xa4year\xcb\x43\xe0\x00\x00\x00\x00\x00\x00", 15), "9.2233720368547758e+18");
    assert_int_equal(year_of(span_of("\x82\xa4year\x01\xa4year\x02", 13)), 2);
    assert_int_equal(attributes_read(&declared, span_of("\x82\xa4year\x01\xa4year\xc0", 13), &row, NULL), 0);
    assert_int_equal(row.presence, 0);
    assert_int_equal(row.column[2], 0);
}

/* ---- Order ---- */

static void test_order_of_numbers(void **unused)
{
    static const double order[] = {-1e308, -0x1p63, -2.5, -1,     -0.1,       -5e-324, 0,
                                   5e-324, 0.1,     1,    0x1p53, 0x1p53 + 2, 1e308};

    (void)unused;
    for (size_t i = 0; i + 1 < LENGTH_OF(order); i++)
        assert_true(attribute_order(order[i]) < attribute_order(order[i + 1]));
    assert_true(attribute_order(-0.0) == attribute_order(0.0));
    assert_true(attribute_order(nextafter(1, 2)) == attribute_order(1) + 1);
    assert_true(attribute_order(nextafter(-1, -2)) == attribute_order(-1) - 1);
}

static void test_order_of_texts(void **unused)
{
    static const char *const order[] = {
        "",         "A",  "Z",    "a",        "aa",           "aaaaaaaa",        "aaaaaaaaa", "aaaaaaaaaaaaaaaa",
        "aaaaaaab", "ab", "\x7f", "\xc3\xab", "\xef\xbf\xbf", "\xf0\x9f\x8c\x8d"};

    (void)unused;
    for (size_t i = 0; i + 1 < LENGTH_OF(order); i++) {
        int64_t a[2], b[2];

        attribute_prefix(span_text(order[i]), a);
        attribute_prefix(span_text(order[i + 1]), b);
        if (!(a[0] < b[0] || (a[0] == b[0] && a[1] < b[1])))
            fail_msg("'%s' is not before '%s'", order[i], order[i + 1]);
    }
}

/* ---- Tables ---- */

#define MANY "a:i64 b:text c:i64 d:text e:i64 f:i64 g:i64 h:i64 i:i64 j:i64 k:i64 l:i64 m:i64 n:i64 o:i64 p:text"

/* A table, whole and then its last blocks, in a larger one: rows are as they were. */
static void check_copies(const struct attributes *a, const uint8_t *table, uint32_t blocks)
{
    size_t large = attributes_table_size(a, 2 * blocks + 1), size = attributes_row_size(a);
    uint8_t taken[8 * ATTRIBUTES_COLUMNS + 2], want[8 * ATTRIBUTES_COLUMNS + 2], *bytes = calloc(1, large + 2);

    uint32_t part = blocks / 2;

    attributes_copy(a, bytes + 1, 2 * blocks + 1, 0, table, blocks, 0, blocks);
    attributes_copy(a, bytes + 1, 2 * blocks + 1, blocks, table, blocks, blocks - part, part);
    for (uint32_t row = 0; row < 32 * (2 * blocks + 1); row++) {
        memset(want, 0, sizeof(want));
        attributes_take(a, bytes + 1, 2 * blocks + 1, row, taken);
        if (row < 32 * (blocks + part))
            attributes_take(a, table, blocks, row < 32 * blocks ? row : row - 32 * part, want);
        assert_memory_equal(taken, want, size);
    }
    assert_true(bytes[0] == 0 && bytes[large + 1] == 0);
    free(bytes);
}

/* Rows put in any order, also twice in one place, are taken as they were put, and disturb no other. */
static void test_tables(void **unused)
{
    enum { BLOCKS = 5, ROWS = 32 * BLOCKS, SIZE = 8 * ATTRIBUTES_COLUMNS + 2 };
    static const char *const texts[] = {"", DECLARED, "a: bool", MANY};
    struct random random;

    (void)unused;
    random_seed(&random, SEED);
    for (size_t i = 0; i < LENGTH_OF(texts); i++) {
        static uint8_t rows[ROWS][SIZE], taken[SIZE];
        struct attributes a;

        assert_int_equal(attributes_parse(texts[i], &a, NULL), 0);
        size_t size = attributes_row_size(&a), table = attributes_table_size(&a, BLOCKS);
        assert_true(size <= SIZE && table == (size_t)ROWS * a.columns * 8 + (size_t)BLOCKS * a.count * 4);
        uint8_t *bytes = calloc(1, table + 2);
        memset(rows, 0, sizeof(rows));
        for (int round = 0; round < ROUNDS; round++) {
            uint32_t row = (uint32_t)random_below(&random, ROWS);

            for (size_t b = 0; b < size; b++)
                rows[row][b] = (uint8_t)random_u64(&random);
            if (a.count > 0 && a.count < 16) /* no bits for attributes that there are not */
                store_u16(&rows[row][size - 2], load_u16(&rows[row][size - 2]) & (uint16_t)((1U << a.count) - 1));
            attributes_put(&a, bytes + 1, BLOCKS, row, rows[row]);
        }
        for (uint32_t row = 0; row < ROWS; row++) {
            attributes_take(&a, bytes + 1, BLOCKS, row, taken);
            assert_memory_equal(taken, rows[row], size);
        }
        assert_true(bytes[0] == 0 && bytes[table + 1] == 0);
        check_copies(&a, bytes + 1, BLOCKS);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_declarations), cmocka_unit_test(test_bad_declarations), cmocka_unit_test(test_rows),
        cmocka_unit_test(test_absent), cmocka_unit_test(test_bad_rows),
        cmocka_unit_test(test_whole_numbers), cmocka_unit_test(test_order_of_numbers),
        cmocka_unit_test(test_order_of_texts), cmocka_unit_test(test_tables),
    };

    print_message("seed %d\n", SEED);
    int failed = cmocka_run_group_tests(tests, open_declared, NULL);
    buffer_fini(&packed);
    return failed;
}
