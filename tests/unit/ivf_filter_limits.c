/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <msgpack.h>

#include "base/arena.h"
#include "base/base.h"
#include "base/codec.h"
#include "modules/ivf/filter.h"
#include "modules/vector/vector.h"

/* Filters that are refused, and say where; the largest that are not; strings with the same hash. */

#define DECLARED "color: str, price: f64, year: i64, sold: bool, name: text"
enum { COLOR, PRICE, YEAR, SOLD, NAME };

static struct attributes declared;
static struct arena *memory;
static msgpack_sbuffer packed; /* what the last pack() began */
static msgpack_packer packer;

static int begin(void **unused)
{
    (void)unused;
    memory = arena_open(64 << 20);
    msgpack_sbuffer_init(&packed);
    msgpack_packer_init(&packer, &packed, msgpack_sbuffer_write);
    return attributes_parse(DECLARED, &declared, NULL);
}

static int end(void **unused)
{
    (void)unused;
    msgpack_sbuffer_destroy(&packed);
    arena_close(memory);
    return 0;
}

static msgpack_packer *pack(void)
{
    msgpack_sbuffer_clear(&packed);
    return &packer;
}

static void pack_text(struct leat_span text)
{
    msgpack_pack_str(&packer, text.size);
    msgpack_pack_str_body(&packer, text.base, text.size);
}

static struct leat_span bytes(void)
{
    return span_of(packed.data, packed.size);
}

static void *from_arena(void *arena, size_t size)
{
    return arena_alloc(arena, size, 8);
}

static int parse(struct leat_span msgpack, const struct filter **f, struct leat_error *err)
{
    struct leat_error scratch = {0};
    int rv = filter_parse(&declared, msgpack, from_arena, memory, f, err != NULL ? err : &scratch);

    assert_int_equal(rv, filter_parse(&declared, msgpack, from_arena, memory, f, NULL));
    assert_true(rv == 0 || *f == NULL);
    return rv;
}

/* ---- What is refused ---- */

static void refuses(struct leat_span msgpack, int code, const char *says)
{
    const struct filter *f;
    struct leat_error err = {0};

    assert_int_equal(parse(msgpack, &f, &err), code);
    if (strncmp(err.text, says, strlen(says)) != 0)
        fail_msg("'%s' is wanted, not: %s", says, err.text);
}

static void test_refused(void **unused)
{
    static const struct {
        const char *filter, *says;
    } bad[] = {
        {"[]", "filter: a filter is a map, not an array"},
        {"\"red\"", "filter: a filter is a map, not the string 'red'"},
        {"{\"colour\": \"red\"}", "filter.colour: it is not among the attributes: color, price, year, sold, name"},
        {"{\"colo\": \"red\"}", "filter.colo: it is not"},
        {"{\"\": \"red\"}", "filter.: it is not"},
        {"{\"color\": 5}", "filter.color: 'color' is declared as str and cannot be compared with the number 5"},
        {"{\"color\": null}",
         "filter.color: 'color' is declared as str and cannot be compared with null: ask for \"exists\""},
        {"{\"color\": [\"red\"]}",
         "filter.color: 'color' is declared as str and cannot be compared with an array: \"in\" takes one"},
        {"{\"price\": \"5\"}", "filter.price: 'price' is declared as f64 and cannot be compared with the string '5'"},
        {"{\"year\": {\"gte\": true}}", "filter.year.gte: 'year' is declared as i64 and cannot be compared with true"},
        {"{\"sold\": 1}", "filter.sold: 'sold' is declared as bool and cannot be compared with the number 1"},
        {"{\"sold\": {\"gt\": false}}", "filter.sold.gt: 'sold' is declared as bool, which has no order"},
        {"{\"color\": {\"lt\": \"b\"}}",
         "filter.color.lt: 'color' is declared as str, which has no order; as text it would"},
        {"{\"name\": {\"lt\": 5}}",
         "filter.name.lt: 'name' is declared as text and cannot be compared with the number 5"},
        {"{\"name\": {\"lt\": \"abcdefghijklmnopq\"}}", "filter.name.lt: texts are ordered by their first 16 bytes"},
        {"{\"year\": {}}", "filter.year: a comparison is wanted: eq, neq,"},
        {"{\"year\": {\"near\": 5}}", "filter.year.near: no comparison; there are eq, neq,"},
        {"{\"year\": {\"in\": 5}}", "filter.year.in: an array of values is wanted, not the number 5"},
        {"{\"year\": {\"in\": [1, null]}}", "filter.year.in[1]: 'year' is declared as i64"},
        {"{\"year\": {\"in\": [1, 2, 3, 4, 5, 6, 7, 8, 9, {}]}}", "filter.year.in[9]: 'year' is declared as i64"},
        {"{\"year\": {\"exists\": 1}}", "filter.year.exists: true or false is wanted, not the number 1"},
        {"{\"and\": {\"year\": 5}}", "filter.and: an array of filters is wanted, not a map"},
        {"{\"or\": [{\"year\": 5}, {\"price\": {\"gte\": \"x\"}}]}", "filter.or[1].price.gte: 'price' is declared"},
        {"{\"or\": [{\"year\": 5}, 7]}", "filter.or[1]: a filter is a map, not the number 7"},
        {"{\"not\": [{\"year\": 5}]}", "filter.not: a filter is a map, not an array"},
        {"{\"not\": null}", "filter.not: a filter is a map, not null"},
        {"{\"year\": 5, \"eq\": {\"year\": 5}}", "filter.eq: it is not among the attributes"},
    };

    (void)unused;
    for (size_t i = 0; i < LENGTH_OF(bad); i++) {
        struct buffer text = {0};

        assert_int_equal(json_to_msgpack(span_text(bad[i].filter), &text, NULL), 0);
        refuses(buffer_bytes(&text), LEAT_EINVAL, bad[i].says);
        buffer_fini(&text);
    }
}

static void test_refused_bytes(void **unused)
{
    (void)unused;
    refuses(span_of("\x81\x01\x02", 3), LEAT_EINVAL, "filter: a name is wanted, not the number 1");
    refuses(span_of("\x81\xa4year\x81\xc0\x02", 9), LEAT_EINVAL, "filter.year: a name is wanted, not null");
    refuses(span_of("\x81\xa5price\xcb\x7f\xf8\0\0\0\0\0\0", 16), LEAT_EINVAL,
            "filter.price: 'price' is declared as f64 and cannot");
    refuses(span_of("\x81\xa4year\xca\x7f\x80\0\0", 11), LEAT_EINVAL,
            "filter.year: 'year' is declared as i64 and cannot");
    refuses(span_of("\x81\xa4name\x81\xa2gt\xa2" "a\0", 13), LEAT_EINVAL, "filter.name.gt: texts are ordered");
    refuses(span_of("\x81\xa4year", 6), LEAT_EINVAL, "filter: not one whole MessagePack value");
    refuses(span_of("\x80\x80", 2), LEAT_EINVAL, "filter: not one whole MessagePack value");
    refuses(span_of("\xdf\xff\xff\xff\xff", 5), LEAT_EINVAL, "filter: not one whole MessagePack value");
}

/* No filter is one, too. */
static void test_none(void **unused)
{
    const struct filter *f;

    (void)unused;
    assert_int_equal(parse(span_of(NULL, 0), &f, NULL), 0);
    assert_null(f);
    assert_int_equal(parse(span_of("\xc0", 1), &f, NULL), 0);
    assert_null(f);
    assert_int_equal(parse(span_of("\x80", 1), &f, NULL), 0);
    assert_non_null(f);
    assert_true(filter_verify(f, span_of(NULL, 0)));
    assert_true(filter_everything(f));
    assert_int_equal(parse(span_of("\x81\xa4year\x05", 7), &f, NULL), 0);
    assert_false(filter_everything(f));
}

/* Names are said whole, or not at all. */
static void test_many_names(void **unused)
{
    static const char *const name[] = {"öööööööööööööööööööö1", "öööööööööööööööööööö2", "öööööööööööööööööööö3",
                                       "öööööööööööööööööööö4", "öööööööööööööööööööö5"};
    char text[512] = "", wanted[512] = "filter.x: it is not among the attributes: ";
    const struct filter *f;
    struct leat_error err;
    struct attributes a;

    (void)unused;
    for (int i = 0; i < 5; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s: i64 ", name[i]);
    for (int i = 0; i < 4; i++)
        snprintf(wanted + strlen(wanted), sizeof(wanted) - strlen(wanted), "%s, ", name[i]);
    strcat(wanted, "..");
    assert_int_equal(attributes_parse(text, &a, NULL), 0);
    assert_int_equal(filter_parse(&a, span_of("\x81\xa1x\x05", 4), from_arena, memory, &f, &err), LEAT_EINVAL);
    assert_string_equal(err.text, wanted);
}

/* ---- Limits ---- */

/* {"not": {"not": .. {}}}: as deep as MessagePack may be here. */
static void test_depth(void **unused)
{
    (void)unused;
    for (uint32_t depth = 0; depth < 40; depth++) {
        const struct filter *f;

        pack();
        for (uint32_t i = 0; i < depth; i++) {
            msgpack_pack_map(&packer, 1);
            pack_text(span_text("not"));
        }
        msgpack_pack_map(&packer, 0);
        if (depth + 1 > LIMIT_ANY_DEPTH) { /* the empty one is a level, too */
            refuses(bytes(), LEAT_EINVAL, "filter: not one whole MessagePack value of at most 32 levels");
        } else {
            assert_int_equal(parse(bytes(), &f, NULL), 0);
            assert_int_equal(filter_verify(f, span_of(NULL, 0)), depth % 2 == 0);
            assert_int_equal(filter_everything(f), depth % 2 == 0);
        }
    }
}

/* Every level keeps a mask while the next is evaluated: the stack holds what the nesting allows, with the dearest
 * comparison at the bottom. */
static void test_stack(void **unused)
{
    static const char *const words[] = {"not", "and", "or"};
    enum { LEVELS = LIMIT_ANY_DEPTH - 2 }; /* of MessagePack; two are the comparison's */

    (void)unused;
    for (size_t w = 0; w < LENGTH_OF(words); w++) {
        const struct filter *f;
        struct leat_error err = {0};
        uint32_t levels = w == 0 ? LEVELS : LEVELS / 2;

        pack();
        for (uint32_t i = 0; i < levels; i++) {
            msgpack_pack_map(&packer, 2);
            pack_text(span_text("year"));
            msgpack_pack_int(&packer, (int)i);
            pack_text(span_text(words[w]));
            if (w > 0) {
                msgpack_pack_array(&packer, 2);
                msgpack_pack_map(&packer, 0);
            }
        }
        msgpack_pack_map(&packer, 1);
        pack_text(span_text("name"));
        msgpack_pack_map(&packer, 2);
        for (int side = 0; side < 2; side++) {
            pack_text(span_text(side == 0 ? "gt" : "lte"));
            pack_text(span_text("m"));
        }
        if (parse(bytes(), &f, &err) != 0)
            fail_msg("%s: %s", words[w], err.text);
        assert_false(filter_verify(f, span_of("\x81\xa4year\x1f", 7)));
    }
}

static void pack_or(uint32_t count)
{
    pack();
    msgpack_pack_map(&packer, 1);
    pack_text(span_text("or"));
    msgpack_pack_array(&packer, count);
    for (uint32_t i = 0; i < count; i++) {
        msgpack_pack_map(&packer, 1);
        pack_text(span_text("year"));
        msgpack_pack_uint32(&packer, i);
    }
}

static void test_steps(void **unused)
{
    const struct filter *f;

    (void)unused;
    pack_or(FILTER_STEPS / 2);
    assert_int_equal(parse(bytes(), &f, NULL), 0);
    assert_true(filter_verify(f, span_of("\x81\xa4year\xcd\x03\xff", 9))); /* 1023, the last */
    assert_false(filter_verify(f, span_of("\x81\xa4year\xcd\x04\x00", 9)));
    pack_or(FILTER_STEPS / 2 + 1);
    refuses(bytes(), LEAT_ELIMIT, "filter.or: the filter has more than 2048 steps");
}

static void pack_in(uint32_t first, uint32_t second)
{
    pack();
    msgpack_pack_map(&packer, 2);
    for (int i = 0; i < 2; i++) {
        uint32_t count = i == 0 ? first : second;

        pack_text(span_text(i == 0 ? "year" : "color"));
        msgpack_pack_map(&packer, 1);
        pack_text(span_text("in"));
        msgpack_pack_array(&packer, count);
        for (uint32_t n = 0; n < count; n++)
            if (i == 0)
                msgpack_pack_uint32(&packer, n);
            else
                pack_text(span_of(&n, sizeof(n)));
    }
}

static void test_values(void **unused)
{
    const struct filter *f;

    (void)unused;
    pack_in(FILTER_VALUES - 1000, 1000);
    assert_int_equal(parse(bytes(), &f, NULL), 0);
    assert_true(filter_verify(f, span_of("\x82\xa4year\x09\xa5" "color\xa4\xe7\x03\0\0", 18)));
    assert_false(filter_verify(f, span_of("\x82\xa4year\x09\xa5" "color\xa4\xe8\x03\0\0", 18)));
    pack_in(FILTER_VALUES - 1000, 1001);
    refuses(bytes(), LEAT_ELIMIT, "filter.color.in: the filter has more than 65536 values in lists");
}

/* ---- Beyond 2^53 ---- */

static bool year_passes(const char *comparison, int64_t year, double bound)
{
    const struct filter *f;
    struct leat_span filter;

    pack();
    msgpack_pack_map(&packer, 1);
    pack_text(span_text("year"));
    msgpack_pack_map(&packer, 1);
    pack_text(span_text(comparison));
    msgpack_pack_double(&packer, bound);
    filter = span_of(memcpy(arena_alloc(memory, packed.size, 1), packed.data, packed.size), packed.size);
    assert_int_equal(parse(filter, &f, NULL), 0);
    pack();
    msgpack_pack_map(&packer, 1);
    pack_text(span_text("year"));
    msgpack_pack_int64(&packer, year);
    return filter_verify(f, bytes());
}

static void test_exact_numbers(void **unused)
{
    const int64_t big = INT64_C(1) << 53;

    (void)unused;
    assert_true(year_passes("gt", big + 1, 0x1p53));
    assert_false(year_passes("eq", big + 1, 0x1p53));
    assert_true(year_passes("lt", big + 1, 0x1p53 + 2));
    assert_false(year_passes("gte", big + 1, 0x1p53 + 2));
    assert_true(year_passes("lt", INT64_MAX, 0x1p63));
    assert_true(year_passes("lte", INT64_MAX, 0x1p63));
    assert_false(year_passes("gte", INT64_MAX, 0x1p63));
    assert_false(year_passes("eq", INT64_MAX, 0x1p63));
    assert_true(year_passes("eq", INT64_MIN, -0x1p63));
    assert_false(year_passes("lt", INT64_MIN, -0x1p63));
    assert_true(year_passes("gt", INT64_MIN, -0x1p64));
    assert_true(year_passes("neq", INT64_MIN, -0x1p64));
    assert_false(year_passes("lte", INT64_MIN, -0x1p64));
}

/* ---- Strings with the same hash ---- */

/* XXH3 of 16 bytes takes both halves, each turned by a constant, as summands and as factors: where one is turned to 0
 * the other is added as it is, or with its bytes reversed. */
static struct leat_span twin(int which, uint64_t x)
{
    const uint64_t turn[2] = {UINT64_C(0x6782737bea4239b9), UINT64_C(0xaf56bc3b0996523a)};
    uint64_t half[2] = {turn[0], turn[1]};

    if (which == 0)
        half[1] ^= x;
    else
        half[0] ^= __builtin_bswap64(x);
    return span_of(memcpy(arena_alloc(memory, sizeof(half), 1), half, sizeof(half)), sizeof(half));
}

static void pack_color(struct leat_span color)
{
    pack();
    msgpack_pack_map(&packer, 1);
    pack_text(span_text("color"));
    pack_text(color);
}

static struct leat_span kept(void)
{
    return span_of(memcpy(arena_alloc(memory, packed.size, 1), packed.data, packed.size), packed.size);
}

/* What the columns say of a row, and what filter_verify says. */
static void check_twin(struct leat_span filter, struct leat_span row, bool columns, bool strings)
{
    static uint8_t table[32 * (8 * ATTRIBUTES_COLUMNS + 2)];
    uint8_t packed_row[8 * ATTRIBUTES_COLUMNS + 2];
    struct attributes_row read;
    const struct filter *f;
    uint32_t mask;

    assert_int_equal(parse(filter, &f, NULL), 0);
    assert_int_equal(attributes_read(&declared, row, &read, NULL), 0);
    attributes_pack(&declared, &read, packed_row);
    attributes_put(&declared, table, 1, 0, packed_row);
    filter_blocks(f, table, 1, 0, 1, &mask);
    assert_int_equal(mask & 1, columns);
    assert_int_equal(filter_verify(f, row), strings);
}

static void test_twins(void **unused)
{
    struct leat_span a = twin(0, 0x1122334455667788), b = twin(1, 0x1122334455667788);
    struct leat_value va = {.type = LEAT_STR, .as.bytes = a}, vb = {.type = LEAT_STR, .as.bytes = b};

    (void)unused;
    assert_true(leat_hash(&va) == leat_hash(&vb));
    pack_color(a);
    struct leat_span row_a = kept();
    pack_color(b);
    struct leat_span row_b = kept();
    check_twin(row_a, row_a, true, true); /* {"color": a} is a filter as well */
    check_twin(row_a, row_b, true, false);
    check_twin(row_b, row_a, true, false);
}

/* In long lists, too, where the first value of the list has a place of its own; and with both in one list. */
static void test_twins_in_lists(void **unused)
{
    (void)unused;
    for (uint32_t at = 0; at < 20; at += 19)
        for (int with = 0; with < 2; with++) {
            struct leat_span a = twin(0, 7 + at), b = twin(1, 7 + at);

            pack_color(a);
            struct leat_span row_a = kept();
            pack_color(b);
            struct leat_span row_b = kept();
            pack();
            msgpack_pack_map(&packer, 1);
            pack_text(span_text("color"));
            msgpack_pack_map(&packer, 1);
            pack_text(span_text("in"));
            msgpack_pack_array(&packer, 20);
            for (uint32_t i = 0; i < 20; i++)
                pack_text(i == at ? a : with && i == 10 ? b : span_of(&i, sizeof(i)));
            struct leat_span filter = kept();
            check_twin(filter, row_a, true, true);
            check_twin(filter, row_b, true, with);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused), cmocka_unit_test(test_refused_bytes), cmocka_unit_test(test_none),
        cmocka_unit_test(test_depth),   cmocka_unit_test(test_stack),         cmocka_unit_test(test_steps),
        cmocka_unit_test(test_values),  cmocka_unit_test(test_exact_numbers), cmocka_unit_test(test_twins),
        cmocka_unit_test(test_twins_in_lists), cmocka_unit_test(test_many_names),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
