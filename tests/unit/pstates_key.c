/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/random.h"
#include "pstates/key.h"

/* Keys are ordered under memcmp as their values are, and come back as they went in. */

enum { ROUNDS = 20000 };

static struct leat_value random_value(struct random *random, enum leat_type type, uint8_t text[8])
{
    uint64_t bits = random_u64(random) >> random_below(random, 64);
    size_t size = random_below(random, 9);
    double d;

    switch (type) {
    case LEAT_BOOL:
        return leat_bool(bits & 1);
    case LEAT_U32:
        return leat_u32((uint32_t)bits);
    case LEAT_U64:
        return leat_u64(bits);
    case LEAT_I64:
        return leat_i64(bits % 3 == 0 ? -(int64_t)(bits >> 1) - 1 : (int64_t)(bits >> 1));
    case LEAT_F64:
        bits = random_u64(random);
        memcpy(&d, &bits, 8);
        return leat_f64(d == d ? d : bits & 1 ? -0.0 : __builtin_inf());
    default:
        for (size_t i = 0; i < size; i++)
            text[i] = (uint8_t)(random_below(random, 3) * 0x7f); /* 0, 0x7f, 0xfe: many common beginnings */
        return leat_bytes(text, size);
    }
}

static int order_of(const struct leat_value *a, const struct leat_value *b)
{
    size_t least;
    int order;

    switch (a->type) {
    case LEAT_BOOL:
        return a->as.b - b->as.b;
    case LEAT_I64:
        return (a->as.i > b->as.i) - (a->as.i < b->as.i);
    case LEAT_F64:
        return (a->as.f > b->as.f) - (a->as.f < b->as.f);
    case LEAT_BYTES:
        least = a->as.bytes.size < b->as.bytes.size ? a->as.bytes.size : b->as.bytes.size;
        order = least > 0 ? memcmp(a->as.bytes.base, b->as.bytes.base, least) : 0;
        return order != 0 ? order : (a->as.bytes.size > b->as.bytes.size) - (a->as.bytes.size < b->as.bytes.size);
    default:
        return (a->as.u > b->as.u) - (a->as.u < b->as.u);
    }
}

static int sign(int n)
{
    return (n > 0) - (n < 0);
}

static int order_of_keys(const struct key *a, const struct key *b)
{
    int order = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);

    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

static void check_type(enum leat_type type, uint32_t stride)
{
    struct leat_column column = {.name = "key", .type = type, .stride = stride};
    struct random random;

    random_seed(&random, 1000 + (uint64_t)type);
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t text[2][8] = {{0}};
        struct leat_value a = random_value(&random, type, text[0]), b = random_value(&random, type, text[1]), back;
        struct key ka, kb;

        key_root(&ka, 300, 7);
        key_root(&kb, 300, 7);
        assert_int_equal(key_value(&ka, &column, &a, NULL), 0);
        assert_int_equal(key_value(&kb, &column, &b, NULL), 0);
        assert_int_equal(sign(order_of_keys(&ka, &kb)), sign(order_of(&a, &b)));
        assert_int_equal(key_decode(&column, span_of(ka.bytes + KEY_PREFIX, ka.size - KEY_PREFIX), &back), 0);
        assert_int_equal(back.type, type);
        assert_int_equal(order_of(&a, &back), 0);
        if (stride > 0)
            assert_int_equal(key_decode(&column, span_of(ka.bytes + KEY_PREFIX, stride - 1), &back), LEAT_ECORRUPT);
    }
}

static void test_order(void **unused)
{
    (void)unused;
    check_type(LEAT_BOOL, 1);
    check_type(LEAT_U32, 4);
    check_type(LEAT_U64, 8);
    check_type(LEAT_I64, 8);
    check_type(LEAT_F64, 8);
    check_type(LEAT_BYTES, 0);
}

/* A task's keys lie together, its nested collections behind its PStates, the view's own keys behind all. */
static void test_prefixes(void **unused)
{
    struct key low, high;

    (void)unused;
    for (uint32_t task = 0; task + 1 < LIMIT_TASKS; task++) {
        key_nested(&low, task, UINT64_MAX);
        key_root(&high, task + 1, 0);
        assert_true(order_of_keys(&low, &high) < 0);
        assert_int_equal(key_task_of(low.bytes), task);
        key_root(&low, task, LIMIT_PSTATES - 1);
        key_nested(&high, task, 0);
        assert_true(order_of_keys(&low, &high) < 0);
    }
    high.size = 0;
    key_u8(&high, KEY_SYSTEM);
    key_u8(&high, KEY_SYSTEM);
    assert_true(order_of_keys(&low, &high) < 0);
}

/* Both zeros are one key: then they must be of one task too. */
static void test_zeros(void **unused)
{
    struct leat_column f64 = {.name = "key", .type = LEAT_F64, .stride = 8};
    struct leat_value plus = leat_f64(0.0), minus = leat_f64(-0.0), plus32 = leat_f32(0.0F), minus32 = leat_f32(-0.0F);
    struct key a, b;

    (void)unused;
    key_root(&a, 3, 1);
    key_root(&b, 3, 1);
    assert_int_equal(key_value(&a, &f64, &plus, NULL), 0);
    assert_int_equal(key_value(&b, &f64, &minus, NULL), 0);
    assert_int_equal(order_of_keys(&a, &b), 0);
    assert_int_equal(leat_task_of(4096, &plus), leat_task_of(4096, &minus));
    assert_int_equal(leat_task_of(4096, &plus32), leat_task_of(4096, &minus32));
}

static void test_refused(void **unused)
{
    static const char text[LIMIT_KEY + 1];
    struct leat_column bytes = {.name = "key", .type = LEAT_BYTES},
                       f64 = {.name = "key", .type = LEAT_F64, .stride = 8};
    struct leat_value longest = leat_bytes(text, LIMIT_KEY), beyond = leat_bytes(text, LIMIT_KEY + 1);
    struct leat_value nan = leat_f64(__builtin_nan(""));
    struct leat_error err = {0};
    struct key k;

    (void)unused;
    key_nested(&k, LIMIT_TASKS - 1, UINT64_MAX);
    assert_int_equal(key_value(&k, &bytes, &longest, &err), 0);
    assert_true(k.size <= 511);
    key_nested(&k, 0, 1);
    assert_int_equal(key_value(&k, &bytes, &beyond, &err), LEAT_ELIMIT);
    assert_non_null(strstr(err.text, "401 bytes"));
    assert_int_equal(key_value(&k, &f64, &nan, &err), LEAT_ESCHEMA);
    assert_int_equal(key_value(&k, &f64, &beyond, &err), LEAT_ESCHEMA);
}

/* What no value is encoded as: whoever would write such a key back would write another. */
static void test_no_key(void **unused)
{
    static const struct {
        enum leat_type type;
        const char *bytes;
        size_t size;
    } bad[] = {
        {LEAT_BOOL, "\2", 1}, {LEAT_BOOL, "", 0}, {LEAT_U32, "abc", 3}, {LEAT_I64, "123456789", 9}, {LEAT_U64, "", 0},
        {LEAT_F64, "\x7f\xff\xff\xff\xff\xff\xff\xff", 8}, /* -0 */
        {LEAT_F64, "\xff\xf8\0\0\0\0\0\0", 8},          /* NaN of either sign */
        {LEAT_F64, "\0\7\xff\xff\xff\xff\xff\xff", 8},
    };
    struct leat_value value;

    (void)unused;
    for (size_t i = 0; i < LENGTH_OF(bad); i++) {
        struct leat_column c = {.name = "key", .type = bad[i].type};

        if (key_decode(&c, span_of(bad[i].bytes, bad[i].size), &value) != LEAT_ECORRUPT)
            fail_msg("key %zu passed", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_prefixes),
                                       cmocka_unit_test(test_zeros), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_no_key)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
