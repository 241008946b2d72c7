/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/random.h"

/* What a buffer wrote a reader reads; limits hold to the byte; damage is answered, never believed. */

enum { ROUNDS = 300, SEED = 17 };

enum kind { U8, U32, U64, VARINT, SPAN, KINDS };

struct item {
    enum kind kind;
    uint64_t number;
    struct leat_span span;
};

static struct item random_item(struct random *random)
{
    static const uint8_t text[300] = "text of any length";
    struct item item = {.kind = (enum kind)random_below(random, KINDS)};
    static const uint64_t mask[KINDS] = {UINT8_MAX, UINT32_MAX, UINT64_MAX, UINT64_MAX, 0};

    item.number = (random_u64(random) >> random_below(random, 64)) & mask[item.kind];
    if (item.kind == SPAN)
        item.span = span_of(text, random_below(random, sizeof(text)));
    return item;
}

static void put(struct buffer *b, const struct item *item)
{
    switch (item->kind) {
    case U8:
        buffer_u8(b, (uint8_t)item->number);
        break;
    case U32:
        buffer_u32(b, (uint32_t)item->number);
        break;
    case U64:
        buffer_u64(b, item->number);
        break;
    case VARINT:
        buffer_varint(b, item->number);
        break;
    default:
        buffer_span(b, item->span);
        break;
    }
}

static struct item get(struct reader *r, enum kind kind)
{
    struct item item = {.kind = kind};

    switch (kind) {
    case U8:
        item.number = reader_u8(r);
        break;
    case U32:
        item.number = reader_u32(r);
        break;
    case U64:
        item.number = reader_u64(r);
        break;
    case VARINT:
        item.number = reader_varint(r);
        break;
    default:
        item.span = reader_span(r);
        break;
    }
    return item;
}

/* Read the items out of the first `size` bytes; how many came whole. */
static uint32_t read_back(const struct buffer *b, size_t size, const struct item *want, uint32_t count)
{
    uint8_t *copy = malloc(size + 1); /* of its own, so that a sanitizer sees a byte too far */
    struct reader r;
    uint32_t whole = 0;

    assert_non_null(copy);
    memcpy(copy, b->base, size);
    copy = realloc(copy, size > 0 ? size : 1);
    r = reader_of(span_of(copy, size));
    for (uint32_t i = 0; i < count; i++) {
        struct item have = get(&r, want[i].kind);

        if (r.error != 0) {
            assert_int_equal(r.error, LEAT_ECORRUPT);
            assert_int_equal(have.number, 0);
            assert_int_equal(have.span.size, 0);
            assert_int_equal(reader_left(&r), 0);
            continue;
        }
        assert_int_equal(have.number, want[i].number);
        assert_true(span_equal(have.span, want[i].span));
        whole++;
    }
    if (whole == count)
        assert_int_equal(reader_left(&r), 0);
    free(copy);
    return whole;
}

static void test_round_trips(void **unused)
{
    struct random random;

    (void)unused;
    random_seed(&random, SEED);
    for (int round = 0; round < ROUNDS; round++) {
        struct item item[40];
        struct buffer b = {0};
        size_t end[40];
        uint32_t count = (uint32_t)random_below(&random, 40) + 1;

        for (uint32_t i = 0; i < count; i++) {
            item[i] = random_item(&random);
            put(&b, &item[i]);
            end[i] = b.size;
        }
        assert_int_equal(b.error, 0);
        assert_int_equal(read_back(&b, b.size, item, count), count);
        size_t cut = random_below(&random, b.size);
        uint32_t whole = 0;
        while (whole < count && end[whole] <= cut)
            whole++;
        assert_int_equal(read_back(&b, cut, item, count), whole);
        buffer_fini(&b);
    }
}

static void test_little_endian(void **unused)
{
    static const uint8_t want[] = {0x12, 0x78, 0x56, 0x34, 0x12, 8, 7, 6, 5, 4, 3, 2, 1, 0xac, 2, 2, 'h', 'i'};
    struct buffer b = {0};

    (void)unused;
    buffer_u8(&b, 0x12);
    buffer_u32(&b, 0x12345678);
    buffer_u64(&b, 0x0102030405060708);
    buffer_varint(&b, 300);
    buffer_span(&b, span_text("hi"));
    assert_int_equal(b.size, sizeof(want));
    assert_memory_equal(b.base, want, sizeof(want));
    buffer_fini(&b);
}

static uint64_t varint_of(const void *bytes, size_t size, int *error)
{
    struct reader r = reader_of(span_of(bytes, size));
    uint64_t v = reader_varint(&r);

    *error = r.error;
    return v;
}

static void test_varint_edges(void **unused)
{
    static const uint8_t most[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
    static const uint8_t over[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    static const uint8_t endless[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00};
    struct buffer b = {0};
    int error;

    (void)unused;
    assert_true(varint_of(most, sizeof(most), &error) == UINT64_MAX && error == 0);
    assert_true(varint_of(most, sizeof(most) - 1, &error) == 0 && error == LEAT_ECORRUPT);
    assert_true(varint_of(over, sizeof(over), &error) == 0 && error == LEAT_ECORRUPT);
    assert_true(varint_of(endless, sizeof(endless), &error) == 0 && error == LEAT_ECORRUPT);
    assert_true(varint_of(NULL, 0, &error) == 0 && error == LEAT_ECORRUPT);
    buffer_varint(&b, UINT64_MAX);
    assert_int_equal(b.size, 10);
    for (unsigned bits = 0; bits < 64; bits++) {
        buffer_clear(&b);
        buffer_varint(&b, UINT64_C(1) << bits);
        assert_int_equal(b.size, bits / 7 + 1);
        assert_true(varint_of(b.base, b.size, &error) == UINT64_C(1) << bits && error == 0);
    }
    buffer_fini(&b);
}

/* A span that claims more than there is, up to sizes where a sum would wrap. */
static void test_claims(void **unused)
{
    static const uint64_t claim[] = {4, 1000, UINT32_MAX, UINT64_MAX - 8, UINT64_MAX};

    (void)unused;
    for (size_t i = 0; i < LENGTH_OF(claim); i++) {
        struct buffer b = {0};

        buffer_varint(&b, claim[i]);
        buffer_put(&b, "abc", 3);
        struct reader r = reader_of(buffer_bytes(&b));
        struct leat_span s = reader_span(&r);
        assert_int_equal(r.error, LEAT_ECORRUPT);
        assert_int_equal(s.size, 0);
        assert_null(reader_take(&r, 0));
        buffer_fini(&b);
    }
}

/* The limit holds to the byte, however the bytes came; what failed left nothing; clear forgets. */
static void test_limit(void **unused)
{
    struct random random;

    (void)unused;
    random_seed(&random, SEED);
    for (int round = 0; round < ROUNDS; round++) {
        size_t limit = random_below(&random, 2000) + 1, total = 0;
        uint8_t bytes[100] = {0};
        struct buffer b;

        buffer_init(&b, limit);
        for (;;) {
            size_t size = random_below(&random, sizeof(bytes) + 1);

            buffer_put(&b, bytes, size);
            if (total + size > limit)
                break;
            total += size;
            assert_int_equal(b.error, 0);
            assert_int_equal(b.size, total);
        }
        assert_int_equal(b.error, LEAT_ELIMIT);
        assert_int_equal(b.size, total);
        assert_null(buffer_grow(&b, 0));
        buffer_u8(&b, 1);
        assert_int_equal(b.size, total);
        buffer_clear(&b);
        assert_non_null(buffer_grow(&b, limit));
        assert_int_equal(b.error, 0);
        assert_null(buffer_grow(&b, 1));
        buffer_fini(&b);
        assert_int_equal(b.limit, limit);
    }
}

static void test_largest(void **unused)
{
    struct buffer b = {0};

    (void)unused;
    assert_null(buffer_grow(&b, SIZE_MAX));
    assert_int_equal(b.error, LEAT_ELIMIT);
    buffer_clear(&b);
    assert_non_null(buffer_grow(&b, LIMIT_BATCH));
    assert_null(buffer_grow(&b, SIZE_MAX));
    buffer_clear(&b);
    assert_null(buffer_grow(&b, (size_t)LIMIT_BATCH + 1));
    buffer_fini(&b);
}

static void test_nothing(void **unused)
{
    struct buffer b = {0};

    (void)unused;
    assert_non_null(buffer_grow(&b, 0));
    buffer_put(&b, NULL, 0);
    buffer_span(&b, span_of(NULL, 0));
    assert_int_equal(b.size, 1);
    assert_true(span_equal(span_of(NULL, 0), span_text("")));
    assert_false(span_equal(span_text("a"), span_text("")));
    assert_false(span_equal(span_text("a"), span_text("b")));
    struct reader r = reader_of(span_of(NULL, 0));
    assert_non_null(reader_take(&r, 0));
    assert_null(reader_take(&r, 1));
    assert_int_equal(r.error, LEAT_ECORRUPT);
    buffer_fini(&b);
    buffer_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips), cmocka_unit_test(test_little_endian), cmocka_unit_test(test_varint_edges),
        cmocka_unit_test(test_claims),      cmocka_unit_test(test_limit),         cmocka_unit_test(test_largest),
        cmocka_unit_test(test_nothing),
    };

    print_message("seed %d\n", SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
