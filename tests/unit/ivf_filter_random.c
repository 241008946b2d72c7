/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <msgpack.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/base.h"
#include "base/random.h"
#include "modules/ivf/filter.h"
#include "modules/vector/vector.h"

/* Random filters on random rows: every kernel and filter_verify against a model that walks what msgpack-c unpacks from
 * the same bytes. Numbers of the model are long double: all i64, u64 and f64 are among them. */

enum { ROUNDS = 1500, ROWS = 32 * 70 };

#define DECLARED "color: str, price: f64, year: i64, sold: bool, name: text"

static struct random chance;
static struct attributes declared;

static uint32_t below(uint32_t bound)
{
    return (uint32_t)random_below(&chance, bound);
}

/* ---- Values: few enough to meet, and those at the ends of what there is ---- */

static void pack_text(msgpack_packer *p, struct leat_span text)
{
    msgpack_pack_str(p, text.size);
    msgpack_pack_str_body(p, text.base, text.size);
}

static void pack_word(msgpack_packer *p, const char *word)
{
    pack_text(p, span_text(word));
}

static const struct leat_span texts[] = {
    {"", 0}, {"a", 1}, {"a\0", 2}, {"a\0b", 3}, {"ab", 2}, {"b", 1}, {"abcdefgh", 8}, {"abcdefgh\0", 9},
    {"abcdefghi", 9}, {"abcdefghijklmnop", 16}, {"abcdefghijklmnopq", 17}, {"abcdefghijklmnopr", 17},
    {"abcdefghijklmno", 15}, {"\xc3\xab", 2}, {"\xf0\x9f\x8c\x8d", 4}, {"\x7f", 1}, {"red", 3}, {"blue", 4},
};

static const int64_t wholes[] = {0, 1, -1, 2, 3, 7, 2001, 2002, -2001, INT64_C(1) << 53, (INT64_C(1) << 53) + 1,
                                 (INT64_C(1) << 53) - 1, -(INT64_C(1) << 53) - 1, INT64_MAX, INT64_MAX - 1, INT64_MIN,
                                 INT64_MIN + 1};

static const double reals[] = {0.0,    -0.0,    0.5,    -0.5,    1,      1.5,        2.9999999999999996,
                               7,      2001.25, 5e-324, -5e-324, 0x1p53, 0x1p53 + 2, -0x1p53,
                               0x1p63, -0x1p63, 0x1p64, -0x1p64, 1e300,  -1e300};

static void pack_whole(msgpack_packer *p)
{
    msgpack_pack_int64(p, wholes[below(LENGTH_OF(wholes))]);
}

static void pack_number(msgpack_packer *p)
{
    switch (below(8)) {
    case 0:
        msgpack_pack_uint64(p, UINT64_MAX - below(2));
        break;
    case 1:
    case 2:
    case 3:
        msgpack_pack_double(p, reals[below(LENGTH_OF(reals))]);
        break;
    case 4:
        msgpack_pack_float(p, (float)reals[below(8)]);
        break;
    default:
        pack_whole(p);
        break;
    }
}

/* A literal for an attribute. bound: of a range, whose texts have at most 16 bytes and no 0. */
static void pack_literal(msgpack_packer *p, uint32_t attribute, bool bound)
{
    struct leat_span text;

    switch (declared.attribute[attribute].type) {
    case ATTRIBUTE_BOOL:
        if (below(2) == 0)
            msgpack_pack_true(p);
        else
            msgpack_pack_false(p);
        break;
    case ATTRIBUTE_I64:
    case ATTRIBUTE_F64:
        pack_number(p);
        break;
    default:
        do
            text = texts[below(LENGTH_OF(texts))];
        while (bound && (text.size > 16 || memchr(text.base, 0, text.size) != NULL));
        pack_text(p, text);
        break;
    }
}

/* ---- Rows ---- */

static void pack_row(msgpack_packer *p)
{
    bool has[ATTRIBUTES_MOST];
    uint32_t count = 1;

    for (uint32_t i = 0; i < declared.count; i++)
        count += has[i] = below(5) != 0;
    msgpack_pack_map(p, count);
    for (uint32_t i = 0; i < declared.count; i++) {
        if (!has[i])
            continue;
        pack_word(p, declared.attribute[i].name);
        if (below(10) == 0)
            msgpack_pack_nil(p);
        else if (declared.attribute[i].type == ATTRIBUTE_I64)
            pack_whole(p);
        else
            pack_literal(p, i, false);
    }
    pack_word(p, "other");
    msgpack_pack_array(p, 1);
    pack_number(p);
}

/* ---- Filters ---- */

static void pack_list(msgpack_packer *p, uint32_t attribute)
{
    uint32_t count = below(3) == 0 ? 8 + below(12) : below(5);

    msgpack_pack_array(p, count);
    for (uint32_t i = 0; i < count; i++)
        pack_literal(p, attribute, false);
}

static void pack_comparisons(msgpack_packer *p, uint32_t attribute)
{
    static const char *const words[] = {"exists", "eq", "neq", "in", "gt", "gte", "lt", "lte"};
    bool ordered = declared.attribute[attribute].type != ATTRIBUTE_STR &&
                   declared.attribute[attribute].type != ATTRIBUTE_BOOL;
    uint32_t count = 1 + below(3);

    msgpack_pack_map(p, count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t word = below(ordered ? LENGTH_OF(words) : 4);

        pack_word(p, words[word]);
        if (word == 0)
            (below(2) == 0 ? msgpack_pack_true : msgpack_pack_false)(p);
        else if (word == 3)
            pack_list(p, attribute);
        else
            pack_literal(p, attribute, word > 3);
    }
}

static void pack_filter(msgpack_packer *p, int depth)
{
    uint32_t count = below(6) == 0 ? 0 : 1 + below(2);

    msgpack_pack_map(p, count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t kind = depth > 0 ? below(6) : 5, attribute = below(declared.count), list = below(4);

        if (kind > 2) {
            pack_word(p, declared.attribute[attribute].name);
            if (below(3) == 0)
                pack_literal(p, attribute, false);
            else
                pack_comparisons(p, attribute);
            continue;
        }
        pack_word(p, ((const char *[]){"and", "or", "not"})[kind]);
        if (kind < 2)
            msgpack_pack_array(p, list);
        for (uint32_t j = 0; j < (kind < 2 ? list : 1); j++)
            pack_filter(p, depth - 1);
    }
}

/* ---- The model ---- */

static bool is_text(const msgpack_object *o, const char *word)
{
    return o->type == MSGPACK_OBJECT_STR && span_equal(span_of(o->via.str.ptr, o->via.str.size), span_text(word));
}

static const msgpack_object *find(const msgpack_object *map, const char *key)
{
    const msgpack_object *found = NULL;

    for (uint32_t i = 0; i < map->via.map.size; i++)
        if (is_text(&map->via.map.ptr[i].key, key) && map->via.map.ptr[i].val.type != MSGPACK_OBJECT_NIL)
            found = &map->via.map.ptr[i].val;
    return found;
}

static long double number_of(const msgpack_object *o, bool rounded)
{
    long double n = o->type == MSGPACK_OBJECT_POSITIVE_INTEGER   ? (long double)o->via.u64
                    : o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER ? (long double)o->via.i64
                                                                 : (long double)o->via.f64;

    return rounded ? (long double)(double)n : n;
}

/* -1, 0, 1 as a is less, equal, more than b. */
static int compare(const msgpack_object *a, const msgpack_object *b, enum attribute_type type)
{
    if (type == ATTRIBUTE_BOOL)
        return (int)a->via.boolean - (int)b->via.boolean;
    if (type == ATTRIBUTE_STR || type == ATTRIBUTE_TEXT) {
        size_t size = a->via.str.size < b->via.str.size ? a->via.str.size : b->via.str.size;
        int rv = memcmp(a->via.str.ptr, b->via.str.ptr, size);

        return rv != 0 ? rv : (a->via.str.size > b->via.str.size) - (a->via.str.size < b->via.str.size);
    }
    long double x = number_of(a, type == ATTRIBUTE_F64), y = number_of(b, type == ATTRIBUTE_F64);
    return (x > y) - (x < y);
}

static bool holds(const msgpack_object *word, const msgpack_object *value, const msgpack_object *literal,
                  enum attribute_type type)
{
    if (is_text(word, "exists"))
        return (value != NULL) == literal->via.boolean;
    if (value == NULL)
        return false;
    if (is_text(word, "in")) {
        for (uint32_t i = 0; i < literal->via.array.size; i++)
            if (compare(value, &literal->via.array.ptr[i], type) == 0)
                return true;
        return false;
    }
    int rv = compare(value, literal, type);
    return is_text(word, "eq")    ? rv == 0
           : is_text(word, "neq") ? rv != 0
           : is_text(word, "gt")  ? rv > 0
           : is_text(word, "gte") ? rv >= 0
           : is_text(word, "lt")  ? rv < 0
                                  : rv <= 0;
}

static bool model_entry(const msgpack_object_kv *entry, const msgpack_object *row);

static bool model(const msgpack_object *filter, const msgpack_object *row)
{
    bool pass = true;

    for (uint32_t i = 0; i < filter->via.map.size; i++)
        pass = model_entry(&filter->via.map.ptr[i], row) && pass;
    return pass;
}

static bool model_entry(const msgpack_object_kv *entry, const msgpack_object *row)
{
    if (is_text(&entry->key, "not"))
        return !model(&entry->val, row);
    if (is_text(&entry->key, "and") || is_text(&entry->key, "or")) {
        bool any = is_text(&entry->key, "or");

        for (uint32_t i = 0; i < entry->val.via.array.size; i++)
            if (model(&entry->val.via.array.ptr[i], row) == any)
                return any;
        return !any;
    }
    for (uint32_t i = 0; i < declared.count; i++) {
        const struct attribute *a = &declared.attribute[i];
        const msgpack_object *value = find(row, a->name), word = {.type = MSGPACK_OBJECT_STR, .via.str = {2, "eq"}};

        if (!is_text(&entry->key, a->name))
            continue;
        if (entry->val.type != MSGPACK_OBJECT_MAP)
            return holds(&word, value, &entry->val, a->type);
        for (uint32_t j = 0; j < entry->val.via.map.size; j++)
            if (!holds(&entry->val.via.map.ptr[j].key, value, &entry->val.via.map.ptr[j].val, a->type))
                return false;
    }
    return true;
}

/* ---- Both ---- */

static struct {
    msgpack_sbuffer bytes[ROWS];
    msgpack_unpacked unpacked[ROWS];
    uint8_t *table;
} rows;

static struct leat_span row_bytes(uint32_t i)
{
    return span_of(rows.bytes[i].data, rows.bytes[i].size);
}

static int begin(void **unused)
{
    struct attributes_row row;
    uint8_t packed[8 * ATTRIBUTES_COLUMNS + 2];

    (void)unused;
    assert_int_equal(attributes_parse(DECLARED, &declared, NULL), 0);
    rows.table = calloc(1, attributes_table_size(&declared, ROWS / 32));
    for (uint32_t i = 0; i < ROWS; i++) {
        msgpack_packer packer;
        struct leat_error err;

        msgpack_sbuffer_init(&rows.bytes[i]);
        msgpack_packer_init(&packer, &rows.bytes[i], msgpack_sbuffer_write);
        pack_row(&packer);
        msgpack_unpacked_init(&rows.unpacked[i]);
        assert_int_equal(msgpack_unpack_next(&rows.unpacked[i], rows.bytes[i].data, rows.bytes[i].size, NULL),
                         MSGPACK_UNPACK_SUCCESS);
        if (attributes_read(&declared, row_bytes(i), &row, &err) != 0)
            fail_msg("row %u: %s", i, err.text);
        attributes_pack(&declared, &row, packed);
        attributes_put(&declared, rows.table, ROWS / 32, i, packed);
    }
    return 0;
}

static int end(void **unused)
{
    (void)unused;
    for (uint32_t i = 0; i < ROWS; i++) {
        msgpack_sbuffer_destroy(&rows.bytes[i]);
        msgpack_unpacked_destroy(&rows.unpacked[i]);
    }
    free(rows.table);
    return 0;
}

static void *from_arena(void *arena, size_t size)
{
    return arena_alloc(arena, size, 8);
}

/* Some blocks, from any on, or all, which are more than a batch of the kernels. */
static uint32_t check_filter(const struct filter *f, const msgpack_object *filter, int round)
{
    bool some = below(8) != 0;
    uint32_t variants, mask[ROWS / 32], first = some ? below(ROWS / 32) : 0, passed = 0;
    uint32_t count = some ? 1 + below(ROWS / 32 - first) : ROWS / 32;
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);

    for (uint32_t v = 0; v < variants; v++) {
        filter_blocks_with(filter_kernels(kernels[v]->name), f, rows.table, ROWS / 32, first, count, mask);
        for (uint32_t i = 0; i < 32 * count; i++) {
            uint32_t row = 32 * first + i;
            bool want = model(filter, &rows.unpacked[row].data);

            if ((mask[i / 32] >> i % 32 & 1) != want)
                fail_msg("round %d, row %u, %s: %d wanted", round, row, kernels[v]->name, want);
            if (v == 0 && filter_verify(f, row_bytes(row)) != want)
                fail_msg("round %d, row %u, filter_verify: %d wanted", round, row, want);
            passed += v == 0 && want;
        }
    }
    return passed > 0 && passed < 32 * count;
}

static void test_random(void **unused)
{
    uint32_t told = 0;

    (void)unused;
    for (int round = 0; round < ROUNDS; round++) {
        msgpack_sbuffer bytes;
        msgpack_packer packer;
        msgpack_unpacked unpacked;
        struct arena *memory = arena_open(16 << 20);
        const struct filter *f;
        struct leat_error err;

        msgpack_sbuffer_init(&bytes);
        msgpack_packer_init(&packer, &bytes, msgpack_sbuffer_write);
        pack_filter(&packer, 3);
        msgpack_unpacked_init(&unpacked);
        assert_int_equal(msgpack_unpack_next(&unpacked, bytes.data, bytes.size, NULL), MSGPACK_UNPACK_SUCCESS);
        if (filter_parse(&declared, span_of(bytes.data, bytes.size), from_arena, memory, &f, &err) != 0)
            fail_msg("round %d: %s", round, err.text);
        told += check_filter(f, &unpacked.data, round);
        msgpack_unpacked_destroy(&unpacked);
        msgpack_sbuffer_destroy(&bytes);
        arena_close(memory);
    }
    assert_true(told > ROUNDS / 4); /* filters that tell rows apart */
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 20;

    print_message("seed %llu\n", (unsigned long long)seed);
    random_seed(&chance, seed);
    return cmocka_run_group_tests(tests, begin, end);
}
