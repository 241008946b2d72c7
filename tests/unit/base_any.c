/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <msgpack.h>

#include "base/base.h"
#include "base/codec.h"
#include "base/random.h"

/* leat_any_read against what msgpack-c unpacks from the same bytes. */

enum { SEED = 77, ROUNDS = 4000 };

#define READ(bytes, item) read_all(span_of(bytes, sizeof(bytes) - 1), item)

static int read_all(struct leat_span bytes, struct leat_any_item *item)
{
    struct leat_span rest = bytes;
    int rv = leat_any_read(&rest, item);

    if (rv == 0) {
        assert_int_equal(rest.size, 0);
        assert_ptr_equal(rest.base, (const uint8_t *)bytes.base + bytes.size);
    } else {
        assert_true(span_equal(rest, bytes));
    }
    return rv;
}

/* ---- Forms ---- */

static void check_i64(struct leat_span bytes, int64_t want)
{
    struct leat_any_item item;

    assert_int_equal(read_all(bytes, &item), 0);
    assert_int_equal(item.kind, LEAT_ANY_SCALAR);
    assert_int_equal(item.value.type, LEAT_I64);
    assert_true(item.value.as.i == want);
}

static void test_numbers(void **unused)
{
    struct leat_any_item item;

    (void)unused;
    check_i64(span_of("\x00", 1), 0);
    check_i64(span_of("\x7f", 1), 127);
    check_i64(span_of("\xe0", 1), -32);
    check_i64(span_of("\xff", 1), -1);
    check_i64(span_of("\xcc\xff", 2), 255);
    check_i64(span_of("\xcd\xff\xfe", 3), 65534);
    check_i64(span_of("\xce\xff\xff\xff\xff", 5), UINT32_MAX);
    check_i64(span_of("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", 9), INT64_MAX);
    check_i64(span_of("\xd0\x80", 2), -128);
    check_i64(span_of("\xd1\x80\x00", 3), -32768);
    check_i64(span_of("\xd2\x80\x00\x00\x00", 5), INT32_MIN);
    check_i64(span_of("\xd3\x80\x00\x00\x00\x00\x00\x00\x00", 9), INT64_MIN);
    check_i64(span_of("\xd3\x00\x00\x00\x00\x00\x00\x00\x05", 9), 5);
    assert_int_equal(READ("\xcf\x80\x00\x00\x00\x00\x00\x00\x00", &item), 0);
    assert_int_equal(item.value.type, LEAT_U64);
    assert_true(item.value.as.u == UINT64_C(1) << 63);
    assert_int_equal(READ("\xca\xc0\x20\x00\x00", &item), 0);
    assert_int_equal(item.value.type, LEAT_F64);
    assert_true(item.value.as.f == -2.5);
    assert_int_equal(READ("\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", &item), 0);
    assert_true(item.value.type == LEAT_F64 && item.value.as.f == 0.1);
    assert_int_equal(READ("\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", &item), 0);
    assert_true(isnan(item.value.as.f));
}

static void test_others(void **unused)
{
    struct leat_any_item item;

    (void)unused;
    assert_int_equal(READ("\xc0", &item), 0);
    assert_int_equal(item.value.type, LEAT_NULL);
    assert_int_equal(READ("\xc2", &item), 0);
    assert_true(item.value.type == LEAT_BOOL && !item.value.as.b);
    assert_int_equal(READ("\xc3", &item), 0);
    assert_true(item.value.type == LEAT_BOOL && item.value.as.b);
    assert_int_equal(READ("\xa0", &item), 0);
    assert_true(item.value.type == LEAT_STR && item.value.as.bytes.size == 0);
    assert_int_equal(READ("\xd9\x03" "abc", &item), 0);
    assert_true(item.value.type == LEAT_STR && span_equal(item.value.as.bytes, span_text("abc")));
    assert_int_equal(READ("\xc5\x00\x02\x00\xff", &item), 0);
    assert_true(item.value.type == LEAT_BYTES && span_equal(item.value.as.bytes, span_of("\x00\xff", 2)));
    assert_int_equal(READ("\xd4\x05\x99", &item), 0);
    assert_int_equal(item.kind, LEAT_ANY_SCALAR);
    assert_true(item.value.type == LEAT_ANY && item.value.as.bytes.size == 3);
}

/* A map's elements are read one after another; what is passed over is passed over whole. */
static void test_map(void **unused)
{
    static const char bytes[] = "\x83\xa1" "a" "\x92\x01\x91\xc0\xa1" "b" "\x80\xa1" "c" "\x2a" "behind";
    struct leat_span rest = span_of(bytes, sizeof(bytes) - 1);
    struct leat_any_item map, key, value;

    (void)unused;
    assert_int_equal(leat_any_read(&rest, &map), 0);
    assert_true(span_equal(rest, span_text("behind")));
    assert_true(map.kind == LEAT_ANY_MAP && map.count == 3 && map.value.type == LEAT_ANY);
    assert_true(span_equal(map.value.as.bytes, span_of(bytes, sizeof(bytes) - 7)));
    for (uint32_t i = 0; i < map.count; i++) {
        assert_int_equal(leat_any_read(&map.elements, &key), 0);
        assert_int_equal(leat_any_read(&map.elements, &value), 0);
        assert_true(key.value.as.bytes.size == 1 && *(const char *)key.value.as.bytes.base == "abc"[i]);
        assert_int_equal(value.kind, ((int[]){LEAT_ANY_ARRAY, LEAT_ANY_MAP, LEAT_ANY_SCALAR})[i]);
        assert_int_equal(value.count, ((int[]){2, 0, 0})[i]);
    }
    assert_int_equal(value.value.as.i, 42);
    assert_int_equal(map.elements.size, 0);
    assert_int_equal(leat_any_read(&map.elements, &key), LEAT_ESCHEMA);
}

static void test_nested_too_deep(void **unused)
{
    uint8_t bytes[LIMIT_ANY_DEPTH + 2];
    struct leat_any_item item;

    (void)unused;
    memset(bytes, 0x91, sizeof(bytes));
    bytes[LIMIT_ANY_DEPTH] = bytes[LIMIT_ANY_DEPTH + 1] = 1;
    assert_int_equal(read_all(span_of(bytes, LIMIT_ANY_DEPTH + 1), &item), 0);
    bytes[LIMIT_ANY_DEPTH] = 0x91;
    assert_int_equal(read_all(span_of(bytes, LIMIT_ANY_DEPTH + 2), &item), LEAT_ESCHEMA);
    assert_int_equal(READ("\xdd\xff\xff\xff\xff", &item), LEAT_ESCHEMA);
    assert_int_equal(READ("\xc1", &item), LEAT_ESCHEMA);
    assert_int_equal(read_all(span_of(bytes, 0), &item), LEAT_ESCHEMA);
}

/* ---- Against msgpack-c ---- */

static void check_same(struct leat_span *bytes, const msgpack_object *want)
{
    struct leat_any_item item;
    const struct leat_value *v = &item.value;

    assert_int_equal(leat_any_read(bytes, &item), 0);
    assert_true((item.kind == LEAT_ANY_ARRAY) == (want->type == MSGPACK_OBJECT_ARRAY));
    assert_true((item.kind == LEAT_ANY_MAP) == (want->type == MSGPACK_OBJECT_MAP));
    switch (want->type) {
    case MSGPACK_OBJECT_NIL:
        assert_int_equal(v->type, LEAT_NULL);
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        assert_true(v->type == LEAT_BOOL && v->as.b == want->via.boolean);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        assert_true(v->type == (want->via.u64 > INT64_MAX ? LEAT_U64 : LEAT_I64) && v->as.u == want->via.u64);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        assert_true(v->type == LEAT_I64 && v->as.i == want->via.i64);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        assert_true(v->type == LEAT_F64 && (v->as.f == want->via.f64 || isnan(want->via.f64)));
        break;
    case MSGPACK_OBJECT_STR:
    case MSGPACK_OBJECT_BIN:
        assert_int_equal(v->type, want->type == MSGPACK_OBJECT_STR ? LEAT_STR : LEAT_BYTES);
        assert_true(span_equal(v->as.bytes, span_of(want->via.str.ptr, want->via.str.size)));
        break;
    case MSGPACK_OBJECT_ARRAY:
        assert_int_equal(item.count, want->via.array.size);
        for (uint32_t i = 0; i < item.count; i++)
            check_same(&item.elements, &want->via.array.ptr[i]);
        break;
    case MSGPACK_OBJECT_MAP:
        assert_int_equal(item.count, want->via.map.size);
        for (uint32_t i = 0; i < item.count; i++) {
            check_same(&item.elements, &want->via.map.ptr[i].key);
            check_same(&item.elements, &want->via.map.ptr[i].val);
        }
        break;
    default:
        assert_int_equal(v->type, LEAT_ANY);
        break;
    }
    assert_int_equal(item.elements.size, 0);
}

static void test_random(void **unused)
{
    static const uint8_t head[] = {0x93, 0x82, 0xa2, 0xc4, 0xca, 0xd4, 0xdc, 0xc0, 0xcc, 0xde, 0xcf, 0xd1, 0xcb, 0xc7};
    struct random random;
    uint32_t read = 0;

    (void)unused;
    random_seed(&random, SEED);
    for (int round = 0; round < 50 * ROUNDS; round++) {
        uint8_t bytes[16];
        size_t size = random_below(&random, sizeof(bytes)) + 1;
        struct leat_span rest = span_of(bytes, size);
        struct leat_any_item item;
        msgpack_unpacked unpacked;

        for (size_t i = 0; i < size; i++)
            bytes[i] = random_below(&random, 3) == 0
                           ? head[random_below(&random, sizeof(head))]
                           : (uint8_t)random_below(&random, 256) & (uint8_t)random_u64(&random);
        if (leat_any_read(&rest, &item) != 0)
            continue;
        size -= rest.size;
        assert_int_equal(msgpack_check(span_of(bytes, size), NULL), 0);
        msgpack_unpacked_init(&unpacked);
        assert_int_equal(msgpack_unpack_next(&unpacked, (const char *)bytes, size, NULL), MSGPACK_UNPACK_SUCCESS);
        rest = span_of(bytes, size);
        check_same(&rest, &unpacked.data);
        assert_int_equal(rest.size, 0);
        msgpack_unpacked_destroy(&unpacked);
        read++;
    }
    assert_true(read > ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),         cmocka_unit_test(test_others), cmocka_unit_test(test_map),
        cmocka_unit_test(test_nested_too_deep), cmocka_unit_test(test_random),
    };

    print_message("seed %d\n", SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
