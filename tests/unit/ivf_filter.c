/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/base.h"
#include "base/codec.h"
#include "modules/ivf/filter.h"
#include "modules/vector/vector.h"

/* The language, row by row; every kernel that this processor can run, and filter_verify, must say the same. */

#define DECLARED "color: str, price: f64, year: i64, sold: bool, name: text"

static struct attributes declared;
static struct arena *memory;

static int begin(void **unused)
{
    (void)unused;
    memory = arena_open(64 << 20);
    return attributes_parse(DECLARED, &declared, NULL);
}

static int end(void **unused)
{
    (void)unused;
    arena_close(memory);
    return 0;
}

static void *from_arena(void *arena, size_t size)
{
    return arena_alloc(arena, size, 8);
}

/* JSON as MessagePack; the bytes live until the end. */
static struct leat_span json(const char *text)
{
    struct buffer packed = {0};
    struct leat_error err = {0};

    if (json_to_msgpack(span_text(text), &packed, &err) != 0)
        fail_msg("%s: %s", text, err.text);
    void *bytes = memcpy(arena_alloc(memory, packed.size, 1), packed.base, packed.size);
    struct leat_span out = span_of(bytes, packed.size);
    buffer_fini(&packed);
    return out;
}

static const struct filter *parse(struct leat_span msgpack)
{
    const struct filter *f;
    struct leat_error err = {0};

    if (filter_parse(&declared, msgpack, from_arena, memory, &f, &err) != 0)
        fail_msg("%s", err.text);
    assert_string_equal(err.text, "");
    return f;
}

/* Does the row pass? It lies amid others, of which none has attributes. */
static bool passes(const struct filter *f, struct leat_span map)
{
    enum { BLOCKS = 3, AT = 45 };
    static uint8_t table[BLOCKS * 32 * (8 * ATTRIBUTES_COLUMNS + 2)], bytes[8 * ATTRIBUTES_COLUMNS + 2];
    struct attributes_row row;
    uint32_t variants, mask[BLOCKS];
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);
    bool pass = filter_verify(f, map), empty = filter_verify(f, span_of(NULL, 0));

    memset(table, 0, attributes_table_size(&declared, BLOCKS));
    assert_int_equal(attributes_read(&declared, map, &row, NULL), 0);
    attributes_pack(&declared, &row, bytes);
    attributes_put(&declared, table, BLOCKS, AT, bytes);
    for (uint32_t v = 0; v < variants; v++) {
        filter_blocks_with(filter_kernels(kernels[v]->name), f, table, BLOCKS, 0, BLOCKS, mask);
        for (uint32_t i = 0; i < 32 * BLOCKS; i++)
            assert_int_equal(mask[i / 32] >> i % 32 & 1, i == AT ? pass : empty);
        filter_blocks_with(filter_kernels(kernels[v]->name), f, table, BLOCKS, 1, 1, mask);
        assert_int_equal(mask[0] >> (AT - 32) & 1, pass);
    }
    return pass;
}

static void check(const char *filter, const char *row, bool want)
{
    if (passes(parse(json(filter)), json(row)) != want)
        fail_msg("%s %s %s", row, want ? "does not pass" : "passes", filter);
}

/* A filter on one row that passes and one that does not. */
static void between(const char *filter, const char *row, const char *other)
{
    check(filter, row, true);
    check(filter, other, false);
}

/* ---- Comparisons ---- */

static void test_equal(void **unused)
{
    (void)unused;
    between("{\"color\": \"red\"}", "{\"color\": \"red\"}", "{\"color\": \"reds\"}");
    between("{\"color\": {\"eq\": \"\"}}", "{\"color\": \"\"}", "{\"color\": \"r\"}");
    between("{\"name\": \"r\xc3\xb6t\"}", "{\"name\": \"r\xc3\xb6t\"}", "{\"name\": \"rot\"}");
    between("{\"price\": 5}", "{\"price\": 5.0}", "{\"price\": 5.5}");
    between("{\"price\": -0.0}", "{\"price\": 0}", "{\"price\": 5e-324}");
    between("{\"year\": 2001}", "{\"year\": 2001}", "{\"year\": 2002}");
    between("{\"year\": 0}", "{\"year\": 0}", "{}");
    between("{\"sold\": false}", "{\"sold\": false}", "{\"sold\": true}");
    between("{\"sold\": {\"eq\": true}}", "{\"sold\": true}", "{}");
    check("{\"year\": 2001.5}", "{\"year\": 2001}", false);
    between("{\"color\": {\"neq\": \"red\"}}", "{\"color\": \"blue\"}", "{\"color\": \"red\"}");
    between("{\"year\": {\"neq\": 2001.5}}", "{\"year\": 2001}", "{}");
    between("{\"sold\": {\"neq\": true}}", "{\"sold\": false}", "{\"sold\": true}");
}

static void test_ranges(void **unused)
{
    (void)unused;
    between("{\"price\": {\"gte\": 5, \"lt\": 10}}", "{\"price\": 5}", "{\"price\": 10}");
    between("{\"price\": {\"gt\": 5, \"lte\": 10}}", "{\"price\": 10}", "{\"price\": 5}");
    between("{\"price\": {\"gt\": -0.5}}", "{\"price\": -0.25}", "{\"price\": -0.5}");
    between("{\"price\": {\"lt\": 0}}", "{\"price\": -5e-324}", "{\"price\": -0.0}");
    between("{\"year\": {\"gt\": 1999.5}}", "{\"year\": 2000}", "{\"year\": 1999}");
    between("{\"year\": {\"lt\": 1999.5}}", "{\"year\": 1999}", "{\"year\": 2000}");
    between("{\"year\": {\"lte\": -0.5}}", "{\"year\": -1}", "{\"year\": 0}");
    between("{\"year\": {\"gte\": -0.5}}", "{\"year\": 0}", "{\"year\": -1}");
    check("{\"year\": {\"gt\": 7, \"lt\": 8}}", "{\"year\": 7}", false);
    check("{\"year\": {\"gt\": 9, \"lt\": 8}}", "{\"year\": 8}", false);
    between("{\"year\": {\"gte\": 7, \"neq\": 9}}", "{\"year\": 8}", "{\"year\": 9}");
    between("{\"year\": {\"neq\": 9, \"gte\": 7, \"in\": [8, 9, 10], \"lt\": 10}}", "{\"year\": 8}", "{\"year\": 10}");
    check("{\"year\": {\"gte\": -1e300}}", "{}", false);
}

#define S16 "sixteen-bytes-01"

static void test_texts(void **unused)
{
    (void)unused;
    between("{\"name\": {\"gte\": \"b\", \"lt\": \"c\"}}", "{\"name\": \"bzzzzzzzzzzzzzzzzzzzzzz\"}",
            "{\"name\": \"c\"}");
    between("{\"name\": {\"gt\": \"b\"}}", "{\"name\": \"b!\"}", "{\"name\": \"b\"}");
    between("{\"name\": {\"lte\": \"b\"}}", "{\"name\": \"b\"}", "{\"name\": \"b!\"}");
    between("{\"name\": {\"lt\": \"b\"}}", "{\"name\": \"\"}", "{\"name\": \"b\"}");
    between("{\"name\": {\"gte\": \"abcdefgh\"}}", "{\"name\": \"abcdefgha\"}", "{\"name\": \"abcdefgg\"}");
    between("{\"name\": {\"lt\": \"abcdefghi\"}}", "{\"name\": \"abcdefgh\"}", "{\"name\": \"abcdefghi\"}");
    between("{\"name\": {\"gt\": \"" S16 "\"}}", "{\"name\": \"" S16 "x\"}", "{\"name\": \"" S16 "\"}");
    between("{\"name\": {\"lte\": \"" S16 "\"}}", "{\"name\": \"" S16 "\"}", "{\"name\": \"" S16 "x\"}");
    between("{\"name\": {\"gte\": \"" S16 "\"}}", "{\"name\": \"" S16 "\"}", "{\"name\": \"sixteen-bytes-00xx\"}");
    between("{\"name\": {\"lt\": \"" S16 "\"}}", "{\"name\": \"sixteen-bytes-00xx\"}", "{\"name\": \"" S16 "x\"}");
    between("{\"name\": {\"gte\": \"2024-01-31T12:00\"}}", "{\"name\": \"2024-01-31T12:00:00Z\"}",
            "{\"name\": \"2024-01-31T11:59:59Z\"}");
    between("{\"name\": {\"gt\": \"z\"}}", "{\"name\": \"\xf0\x9f\x8c\x8d\"}", "{}");
}

static void test_in(void **unused)
{
    (void)unused;
    between("{\"year\": {\"in\": [2001, 2002]}}", "{\"year\": 2002}", "{\"year\": 2003}");
    between("{\"color\": {\"in\": [\"red\", \"blue\"]}}", "{\"color\": \"red\"}", "{\"color\": \"green\"}");
    between("{\"sold\": {\"in\": [true, false]}}", "{\"sold\": true}", "{}");
    check("{\"year\": {\"in\": []}}", "{\"year\": 1}", false);
    check("{\"year\": {\"in\": [0.5]}}", "{\"year\": 1}", false);
    between("{\"year\": {\"in\": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 1]}}", "{\"year\": 1}", "{\"year\": 0}");
    between("{\"year\": {\"in\": [0.5, 2, 3, 4, 5, 6, 7, 8, 9, 10]}}", "{\"year\": 10}", "{\"year\": 11}");
    check("{\"year\": {\"in\": [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]}}", "{\"year\": 1}", false);
    between("{\"color\": {\"in\": [\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\",\"a\"]}}",
            "{\"color\": \"a\"}", "{\"color\": \"j\"}");
    between("{\"name\": {\"in\": [\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\",\"\"]}}", "{\"name\": \"\"}",
            "{}");
    between("{\"price\": {\"in\": [0,1,2,3,4,5,6,7,8,9.5]}}", "{\"price\": -0.0}", "{\"price\": 9}");
}

/* 1,000 values, 65,536 values: each is found, and what is between is not. */
static void test_long_in(void **unused)
{
    static const uint32_t counts[] = {1000, FILTER_VALUES};

    (void)unused;
    for (size_t n = 0; n < LENGTH_OF(counts); n++) {
        struct buffer text = {0};
        char number[48];

        for (uint32_t i = 0; i < counts[n]; i++) {
            int size = snprintf(number, sizeof(number), "%s%d", i == 0 ? "{\"year\": {\"in\": [" : ",",
                                7 * (int)i - 1000);

            buffer_put(&text, number, (size_t)size);
        }
        buffer_put(&text, "]}}", 4);
        const struct filter *f = parse(json((const char *)text.base));
        for (int i = -1100; i < 8000; i += i > 1000 ? 97 : 3) {
            snprintf(number, sizeof(number), "{\"year\": %d}", i);
            assert_int_equal(passes(f, json(number)),
                             i >= -1000 && (i + 1000) % 7 == 0 && i < 7 * (int)counts[n] - 1000);
        }
        buffer_fini(&text);
    }
}

/* ---- What is missing ---- */

static void test_missing(void **unused)
{
    static const char *const rows[] = {"{}", "{\"color\": null, \"name\": null}", "{\"tags\": 3}"};

    (void)unused;
    for (size_t i = 0; i < LENGTH_OF(rows); i++) {
        check("{\"color\": {\"neq\": \"red\"}}", rows[i], false);
        check("{\"not\": {\"color\": \"red\"}}", rows[i], true);
        check("{\"not\": {\"color\": {\"neq\": \"red\"}}}", rows[i], true);
        check("{\"not\": {\"color\": {\"in\": [\"red\"]}}}", rows[i], true);
        check("{\"color\": {\"exists\": true}}", rows[i], false);
        check("{\"color\": {\"exists\": false}}", rows[i], true);
        check("{\"name\": {\"lt\": \"b\"}}", rows[i], false);
        check("{\"name\": {\"gte\": \"\"}}", rows[i], false);
        check("{\"name\": {\"lte\": \"\"}}", rows[i], false);
        check("{\"not\": {\"name\": {\"gt\": \"\"}}}", rows[i], true);
        check("{\"or\": [{\"color\": \"red\"}, {\"color\": {\"exists\": false}}]}", rows[i], true);
        check("{\"color\": {\"exists\": false, \"neq\": \"red\"}}", rows[i], false);
    }
    between("{\"color\": {\"exists\": true}}", "{\"color\": \"\"}", "{}");
    between("{\"not\": {\"sold\": {\"exists\": true}}}", "{}", "{\"sold\": false}");
}

/* ---- Filters of filters ---- */

static void test_and_or_not(void **unused)
{
    (void)unused;
    check("{}", "{}", true);
    check("{\"and\": []}", "{}", true);
    check("{\"or\": []}", "{}", false);
    check("{\"not\": {}}", "{}", false);
    between("{\"color\": \"red\", \"year\": 1}", "{\"color\": \"red\", \"year\": 1}",
            "{\"color\": \"red\", \"year\": 2}");
    between("{\"and\": [{\"color\": \"red\"}, {\"year\": 1}]}", "{\"color\": \"red\", \"year\": 1}",
            "{\"color\": \"red\"}");
    between("{\"or\": [{\"color\": \"red\"}, {\"year\": 1}]}", "{\"color\": \"blue\", \"year\": 1}",
            "{\"color\": \"blue\"}");
    check("{\"or\": [{\"color\": \"red\"}, {\"color\": \"blue\"}, {}]}", "{\"year\": 1}", true);
}

static void test_example(void **unused)
{
    static const char filter[] =
        "{\"color\": \"red\", \"price\": {\"gte\": 5, \"lt\": 10}, \"not\": {\"sold\": {\"exists\": true}},"
        " \"or\": [{\"year\": {\"in\": [2001, 2002]}}, {\"name\": {\"gt\": \"m\"}}]}";

    (void)unused;
    check(filter, "{\"color\": \"red\", \"price\": 5, \"year\": 2002}", true);
    check(filter, "{\"color\": \"red\", \"price\": 5, \"name\": \"n\"}", true);
    check(filter, "{\"color\": \"red\", \"price\": 5, \"name\": \"l\"}", false);
    check(filter, "{\"color\": \"red\", \"price\": 5, \"year\": 2002, \"sold\": false}", false);
    check(filter, "{\"color\": \"red\", \"price\": 10, \"year\": 2002}", false);
    check(filter, "{\"price\": 5, \"year\": 2002}", false);
}

/* Strings are hashes until somebody compares them: it must be known that there are some. */
static void test_strings(void **unused)
{
    static const struct {
        const char *filter;
        bool want;
    } filters[] = {
        {"{}", false},
        {"{\"price\": 5, \"sold\": true, \"year\": {\"in\": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}}", false},
        {"{\"color\": {\"exists\": true}}", false},
        {"{\"price\": 5, \"color\": \"red\"}", true},
        {"{\"not\": {\"color\": {\"neq\": \"red\"}}}", true},
        {"{\"color\": {\"in\": [\"a\"]}}", true},
        {"{\"color\": {\"in\": [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\", \"i\", \"j\"]}}", true},
        {"{\"name\": {\"gt\": \"m\"}}", true},
    };

    (void)unused;
    for (size_t i = 0; i < LENGTH_OF(filters); i++)
        assert_true(filter_strings(parse(json(filters[i].filter))) == filters[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal),   cmocka_unit_test(test_ranges),  cmocka_unit_test(test_texts),
        cmocka_unit_test(test_in),      cmocka_unit_test(test_long_in), cmocka_unit_test(test_missing),
        cmocka_unit_test(test_and_or_not), cmocka_unit_test(test_example), cmocka_unit_test(test_strings),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
