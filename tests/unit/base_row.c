/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>

#include "base/base.h"
#include "base/codec.h"
#include "base/random.h"

/* Rows: random ones through encoding, decoding, batches and JSON; values that do not fit; bytes that are no row. */

enum { ROUNDS = 3000, BATCH = 20, SEED = 97 };

static const char everything[] =
    "b: bool, i: i64, u: u32?, w: u64, f: f32?, d: f64, s: str?, y: bytes, a: any, v: f32[5]?, "
    "h: f16[3], c: i8[4], o: u8[7]?, n: u32[2], t: bits[16]?";

static struct row_schema schema_of(struct arena *a, const char *text)
{
    struct row_schema schema;
    struct leat_error err = {0};

    if (row_schema_parse(a, text, NULL, NULL, &schema, &err) != 0)
        fail_msg("%s", err.text);
    return schema;
}

static struct leat_row row_of(const struct row_schema *schema, const struct leat_value *value)
{
    return (struct leat_row){value, schema->columns};
}

/* ---- Random rows ---- */

/* -1 to 1 */
static double random_real(struct random *random)
{
    return (double)(int64_t)random_u64(random) * 0x1p-63;
}

static struct leat_value random_vector(struct arena *a, struct random *random, const struct leat_column *c)
{
    uint8_t *bytes = arena_alloc(a, c->stride, 1);

    for (uint32_t i = 0; i < c->stride; i++)
        bytes[i] = (uint8_t)random_u64(random);
    for (uint32_t i = 0; c->type == LEAT_F32_VECTOR && i < c->count; i++) {
        float f = (float)random_real(random);

        memcpy(bytes + 4 * (size_t)i, &f, 4);
    }
    for (uint32_t i = 0; c->type == LEAT_F16_VECTOR && i < c->count; i++)
        bytes[2 * i + 1] &= 0xbf; /* not all bits of the exponent */
    return leat_vector(c->type, bytes, c->count);
}

static struct leat_value random_value(struct arena *a, struct random *random, const struct leat_column *c)
{
    static const char *const any[] = {"\xc0", "\x01", "\xa2hi", "\x92\x01\xc3",
                                      "\x81\xa1k\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a"};
    static const size_t any_size[] = {1, 1, 3, 3, 12};
    uint64_t bits = random_u64(random) >> (11 + random_below(random, 53)), size = random_below(random, 300);
    uint32_t which = (uint32_t)random_below(random, 5);
    char *text = arena_alloc(a, size, 1);

    for (uint64_t i = 0; i < size; i++)
        text[i] = (char)(c->type == LEAT_STR ? 1 + random_below(random, 127) : random_below(random, 256));
    if (c->nullable && random_below(random, 3) == 0)
        return leat_null();
    switch (c->type) {
    case LEAT_BOOL:
        return leat_bool(bits & 1);
    case LEAT_I64:
        return leat_i64(random_below(random, 2) ? (int64_t)bits : -(int64_t)bits);
    case LEAT_U32:
        return leat_u32((uint32_t)bits);
    case LEAT_U64:
        return leat_u64(bits);
    case LEAT_F32:
        return leat_f32((float)random_real(random));
    case LEAT_F64:
        return leat_f64(random_real(random) * (double)bits);
    case LEAT_STR:
        return leat_str_n(text, size);
    case LEAT_BYTES:
        return leat_bytes(text, size);
    case LEAT_ANY:
        return leat_any(any[which], any_size[which]);
    default:
        return random_vector(a, random, c);
    }
}

static void random_row(struct arena *a, struct random *random, const struct row_schema *schema, struct leat_value *out)
{
    for (uint32_t i = 0; i < schema->columns; i++)
        out[i] = random_value(a, random, &schema->column[i]);
}

static void assert_same(const struct leat_value *x, const struct leat_value *y)
{
    assert_int_equal(x->type, y->type);
    assert_int_equal(x->count, y->count);
    if (x->type >= LEAT_STR)
        assert_true(span_equal(x->as.bytes, y->as.bytes));
    else if (x->type == LEAT_BOOL)
        assert_int_equal(x->as.b, y->as.b);
    else if (x->type != LEAT_NULL)
        assert_true(x->as.u == y->as.u);
}

/* What the columns take, from the description of the format. */
static size_t model_size(const struct row_schema *schema, const struct leat_value *value)
{
    size_t size = 0;

    for (uint32_t i = 0; i < schema->columns; i++) {
        const struct leat_column *c = &schema->column[i];
        size_t bytes = value[i].as.bytes.size;

        size += c->nullable;
        if (value[i].type == LEAT_NULL)
            continue;
        size += schema_fixed_size(c);
        if (schema_fixed_size(c) == 0)
            size += (bytes < 128 ? 1U : 2U) + bytes;
    }
    return size;
}

static void test_round_trip(void **unused)
{
    struct arena *a = arena_open(64 << 20), *turn = arena_open(64 << 20);
    struct row_schema schema = schema_of(a, everything);
    struct random random;

    (void)unused;
    random_seed(&random, SEED);
    for (int round = 0; round < ROUNDS; round++) {
        struct leat_value in[LIMIT_COLUMNS], out[LIMIT_COLUMNS];
        struct buffer bytes = {0}, fast = {0};
        struct leat_error err = {0};

        random_row(turn, &random, &schema, in);
        if (row_encode(&schema, row_of(&schema, in), &bytes, &err) != 0)
            fail_msg("%s", err.text);
        assert_int_equal(bytes.size, model_size(&schema, in));
        assert_int_equal(row_encode_fast(&schema, row_of(&schema, in), &fast), 0);
        assert_true(span_equal(buffer_bytes(&bytes), buffer_bytes(&fast)));
        assert_int_equal(row_check(&schema, buffer_bytes(&bytes), &err), 0);
        assert_int_equal(row_decode(&schema, buffer_bytes(&bytes), out), 0);
        for (uint32_t i = 0; i < schema.columns; i++)
            assert_same(&in[i], &out[i]);
        buffer_fini(&bytes);
        buffer_fini(&fast);
        arena_reset(turn);
    }
    arena_close(turn);
    arena_close(a);
}

static void test_batches(void **unused)
{
    struct arena *a = arena_open(64 << 20), *turn = arena_open(64 << 20);
    struct row_schema schema = schema_of(a, everything);
    struct random random;

    (void)unused;
    random_seed(&random, SEED);
    for (int round = 0; round < ROUNDS / BATCH; round++) {
        static struct leat_value in[BATCH][LIMIT_COLUMNS];
        struct buffer bytes[BATCH] = {{0}};
        struct leat_span rows[BATCH];
        struct leat_batch batch;
        uint32_t count = (uint32_t)random_below(&random, BATCH + 1);

        for (uint32_t i = 0; i < count; i++) {
            random_row(turn, &random, &schema, in[i]);
            assert_int_equal(row_encode(&schema, row_of(&schema, in[i]), &bytes[i], NULL), 0);
            rows[i] = buffer_bytes(&bytes[i]);
        }
        assert_int_equal(row_batch(turn, &schema, rows, count, &batch), 0);
        assert_int_equal(batch.rows, count);
        assert_int_equal(batch.columns, schema.columns);
        for (uint32_t i = 0; i < schema.columns; i++)
            assert_int_equal((uintptr_t)batch.column[i].data % 64, 0);
        for (uint32_t i = 0; i < count; i++)
            for (uint32_t j = 0; j < schema.columns; j++) {
                struct leat_value v = leat_at(&batch, i, j);

                assert_same(&in[i][j], &v);
            }
        if (count > 0) {
            rows[count - 1].size--;
            assert_int_equal(row_batch(turn, &schema, rows, count, &batch), LEAT_ECORRUPT);
        }
        for (uint32_t i = 0; i < count; i++)
            buffer_fini(&bytes[i]);
        arena_reset(turn);
    }
    arena_close(turn);
    arena_close(a);
}

/* A row as JSON, and back. */
static void test_json(void **unused)
{
    struct arena *a = arena_open(64 << 20), *turn = arena_open(64 << 20);
    struct row_schema schema = schema_of(a, everything);
    struct random random;

    (void)unused;
    random_seed(&random, SEED);
    for (int round = 0; round < ROUNDS; round++) {
        struct leat_value in[LIMIT_COLUMNS], out[LIMIT_COLUMNS];
        struct buffer bytes = {0}, again = {0}, text = {0};
        struct leat_span row;
        struct leat_batch batch;
        struct leat_error err = {0};

        random_row(turn, &random, &schema, in);
        assert_int_equal(row_encode(&schema, row_of(&schema, in), &bytes, NULL), 0);
        row = buffer_bytes(&bytes);
        assert_int_equal(row_batch(turn, &schema, &row, 1, &batch), 0);
        batch_row_to_json(&batch, 0, &text);
        if (json_to_row(turn, &schema, buffer_bytes(&text), out, &err) != 0)
            fail_msg("%.*s: %s", (int)text.size, (const char *)text.base, err.text);
        assert_int_equal(row_encode(&schema, row_of(&schema, out), &again, &err), 0);
        if (!span_equal(row, buffer_bytes(&again)))
            fail_msg("round %d: another row after %.*s", round, (int)text.size, (const char *)text.base);
        buffer_fini(&bytes);
        buffer_fini(&again);
        buffer_fini(&text);
        arena_reset(turn);
    }
    arena_close(turn);
    arena_close(a);
}

/* ---- Values that fit, and that do not ---- */

static void check_value(const char *type, struct leat_value value, const char *reason)
{
    struct arena *a = arena_open(1 << 20);
    struct row_schema schema = schema_of(a, arena_format(a, "x: %s", type));
    struct buffer out = {0};
    struct leat_error err = {0};
    int rv = row_encode(&schema, (struct leat_row){&value, 1}, &out, &err);

    assert_int_equal(rv, reason == NULL ? 0 : LEAT_ESCHEMA);
    assert_int_equal(schema_check_value(&schema.column[0], &value, NULL), rv);
    if (rv == 0) {
        assert_int_equal(row_check(&schema, buffer_bytes(&out), &err), 0);
    } else {
        assert_int_equal(out.size, 0);
        if (strstr(err.text, "column 'x': ") != err.text || strstr(err.text, reason) == NULL)
            fail_msg("'%s' is not in: %s", reason, err.text);
    }
    buffer_fini(&out);
    arena_close(a);
}

static void test_numbers(void **unused)
{
    (void)unused;
    check_value("i64", leat_u64(INT64_MAX), NULL);
    check_value("i64", leat_u64((uint64_t)INT64_MAX + 1), "i64 expected, u64 given");
    check_value("i64", leat_i64(INT64_MIN), NULL);
    check_value("u32", leat_i64(UINT32_MAX), NULL);
    check_value("u32", leat_i64((int64_t)UINT32_MAX + 1), "u32 expected, i64 given");
    check_value("u32", leat_i64(-1), "u32 expected");
    check_value("u32", leat_u64((uint64_t)UINT32_MAX + 1), "u32 expected, u64 given");
    check_value("u64", leat_i64(-1), "u64 expected");
    check_value("u64", leat_u32(7), NULL);
    check_value("u64", leat_f64(7), "u64 expected, f64 given");
    check_value("f32", leat_i64(7), NULL);
    check_value("f64", leat_u64(UINT64_MAX), NULL);
    check_value("f32", leat_f64(1e39), "not a finite f32");
    check_value("f32", leat_f64(3e38), NULL);
    check_value("f32", leat_f32(NAN), "not a finite f32");
    check_value("f64", leat_f64(1e39), NULL);
    check_value("f64", leat_f64(INFINITY), "not a finite number");
    check_value("f64", leat_f64(-NAN), "not a finite number");
    check_value("bool", leat_i64(1), "bool expected, i64 given");
    check_value("i64", leat_bool(true), "i64 expected, bool given");
    check_value("u32", leat_null(), "must not be null");
    check_value("u32?", leat_null(), NULL);
}

static void test_contents(void **unused)
{
    static const float good[3] = {1, -0.0F, 1e-45F}, nan[3] = {1, NAN, 1}, infinite[3] = {1, 1, -INFINITY};
    static const uint16_t half_good[2] = {0x7bff, 0x8001}, half_nan[2] = {0, 0x7e00}, half_infinite[2] = {0xfc00, 0};

    (void)unused;
    check_value("f32[3]", leat_vector(LEAT_F32_VECTOR, good, 3), NULL);
    check_value("f32[3]", leat_vector(LEAT_F32_VECTOR, nan, 3), "holds NaN or infinity");
    check_value("f32[3]", leat_vector(LEAT_F32_VECTOR, infinite, 3), "holds NaN or infinity");
    check_value("f32[3]", leat_vector(LEAT_F32_VECTOR, good, 2), "3 elements expected, 2 given");
    check_value("f32[2]", leat_vector(LEAT_F32_VECTOR, good, 3), "2 elements expected, 3 given");
    check_value("f32[3]", leat_vector(LEAT_U32_VECTOR, good, 3), "f32[3] expected, u32[3] given");
    check_value("f16[2]", leat_vector(LEAT_F16_VECTOR, half_good, 2), NULL);
    check_value("f16[2]", leat_vector(LEAT_F16_VECTOR, half_nan, 2), "holds NaN or infinity");
    check_value("f16[2]", leat_vector(LEAT_F16_VECTOR, half_infinite, 2), "holds NaN or infinity");
    check_value("bits[24]", leat_vector(LEAT_BITS, "abc", 24), NULL);
    check_value("str", leat_str(""), NULL);
    check_value("str", leat_str_n(NULL, 0), NULL);
    check_value("str", leat_bytes("a", 1), "str expected, bytes given");
    check_value("bytes", leat_bytes("\xff\0", 2), NULL);
    check_value("any", leat_any("\x92\x01", 2), "not one whole MessagePack value");
    check_value("any", leat_any("\x01\x01", 2), "1 bytes behind");
    check_value("any", leat_any("", 0), "not one whole");
}

/* The table of well-formed UTF-8 of the Unicode standard, section 3.9: edges of each line. */
static void test_utf8(void **unused)
{
    static const char *const good[] = {"", "a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xec\xbf\xbf",
                                       "\xed\x80\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80", "\xf3\xbf\xbf\xbf", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x7f", "\xc2\xc0",
                                      "\xe0\x9f\xbf", "\xe0\xa0", "\xed\xa0\x80", "\xe1\x80\xc0", "\xf0\x8f\xbf\xbf",
                                      "\xf0\x90\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "a\xe2\x82"};

    (void)unused;
    for (size_t i = 0; i < LENGTH_OF(good); i++)
        assert_true(utf8_valid(span_text(good[i])));
    for (size_t i = 0; i < LENGTH_OF(bad); i++)
        if (utf8_valid(span_text(bad[i])))
            fail_msg("bad text %zu passed", i);
    check_value("str", leat_str("\xed\xa0\x80"), "not valid UTF-8");
}

/* ---- Rows that are none ---- */

static void test_count_and_size(void **unused)
{
    struct arena *a = arena_open(1 << 20);
    struct row_schema schema = schema_of(a, "x: u32, y: bytes");
    struct leat_value value[3] = {leat_u32(1), leat_bytes("abc", 3), leat_u32(1)};
    struct leat_error err = {0};
    struct buffer out, large = {0};
    uint8_t *bytes = base_alloc(LIMIT_ROW);

    (void)unused;
    buffer_init(&out, 20);
    assert_int_equal(row_encode(&schema, (struct leat_row){value, 1}, &out, &err), LEAT_ESCHEMA);
    assert_string_equal(err.text, "a row has 2 columns, 1 given");
    assert_int_equal(row_encode(&schema, (struct leat_row){value, 3}, &out, &err), LEAT_ESCHEMA);
    assert_int_equal(row_encode(&schema, (struct leat_row){value, 2}, &out, &err), 0);
    assert_int_equal(row_encode(&schema, (struct leat_row){value, 2}, &out, &err), 0);
    assert_int_equal(row_encode(&schema, (struct leat_row){value, 2}, &out, &err), LEAT_ELIMIT);
    assert_int_equal(out.size, 16);
    assert_int_equal(row_encode_fast(&schema, (struct leat_row){value + 1, 2}, &large), LEAT_ESCHEMA);
    assert_int_equal(large.size, 0);
    value[1] = leat_bytes(bytes, LIMIT_ROW - 8); /* 4 of the number, 4 of the length */
    assert_int_equal(row_encode(&schema, (struct leat_row){value, 2}, &large, &err), 0);
    assert_int_equal(large.size, LIMIT_ROW);
    value[1].as.bytes.size++;
    assert_int_equal(row_encode(&schema, (struct leat_row){value, 2}, &large, &err), LEAT_ELIMIT);
    assert_int_equal(row_encode_fast(&schema, (struct leat_row){value, 2}, &large), LEAT_ELIMIT);
    assert_int_equal(large.size, LIMIT_ROW);
    buffer_fini(&out);
    buffer_fini(&large);
    free(bytes);
    arena_close(a);
}

/* Damage of one byte or at the end: a row or none, never a byte beyond; a checked row encodes to what it was. */
static void test_damage(void **unused)
{
    struct arena *a = arena_open(64 << 20), *turn = arena_open(64 << 20);
    struct row_schema schema = schema_of(a, everything);
    struct random random;
    uint32_t refused = 0;

    (void)unused;
    random_seed(&random, SEED);
    for (int round = 0; round < ROUNDS; round++) {
        struct leat_value value[LIMIT_COLUMNS];
        struct buffer bytes = {0}, again = {0};
        struct leat_error err = {0};

        random_row(turn, &random, &schema, value);
        assert_int_equal(row_encode(&schema, row_of(&schema, value), &bytes, NULL), 0);
        size_t cut = random_below(&random, bytes.size);
        uint8_t *copy = base_alloc(cut);
        memcpy(copy, bytes.base, cut);
        assert_int_equal(row_decode(&schema, span_of(copy, cut), value), LEAT_ECORRUPT);
        assert_int_equal(row_check(&schema, span_of(copy, cut), &err), LEAT_ESCHEMA);
        assert_non_null(strstr(err.text, "are not one row of the schema"));
        free(copy);
        bytes.base[random_below(&random, bytes.size)] ^= (uint8_t)(1 + random_below(&random, 255));
        if (row_check(&schema, buffer_bytes(&bytes), &err) != 0) {
            refused++;
        } else {
            assert_int_equal(row_decode(&schema, buffer_bytes(&bytes), value), 0);
            assert_int_equal(row_encode(&schema, row_of(&schema, value), &again, &err), 0);
        }
        buffer_fini(&bytes);
        buffer_fini(&again);
        arena_reset(turn);
    }
    assert_true(refused > ROUNDS / 20 && refused < ROUNDS);
    arena_close(turn);
    arena_close(a);
}

static void test_bad_bytes(void **unused)
{
    struct arena *a = arena_open(1 << 20);
    struct row_schema schema = schema_of(a, "x: bool?");
    struct leat_value value;

    (void)unused;
    assert_int_equal(row_decode(&schema, span_of("\0", 1), &value), 0);
    assert_int_equal(value.type, LEAT_NULL);
    assert_int_equal(row_decode(&schema, span_of("\1\1", 2), &value), 0);
    assert_int_equal(row_decode(&schema, span_of("\1\2", 2), &value), LEAT_ECORRUPT);
    assert_int_equal(row_decode(&schema, span_of("\2\1", 2), &value), LEAT_ECORRUPT);
    assert_int_equal(row_decode(&schema, span_of("\0\0", 2), &value), LEAT_ECORRUPT);
    assert_int_equal(row_decode(&schema, span_of(NULL, 0), &value), LEAT_ECORRUPT);
    schema.columns = 0;
    assert_int_equal(row_decode(&schema, span_of(NULL, 0), &value), 0);
    arena_close(a);
}

/* ---- Rows of JSON ---- */

static void check_json(const char *type, const char *json, const char *reason)
{
    struct arena *a = arena_open(1 << 20);
    struct row_schema schema = schema_of(a, arena_format(a, "x: %s", type));
    const char *text = arena_format(a, "{\"x\": %s}", json);
    struct leat_value value[2];
    struct leat_error err = {0};
    struct buffer back = {0};
    int rv = json_to_row(a, &schema, span_text(text), value, &err);

    if (reason == NULL && rv == 0) {
        value_to_json(value, &back);
        buffer_u8(&back, 0);
        bool bare = json[0] == '"' && value[0].type < LEAT_STR; /* a whole number may be given as a string */
        assert_string_equal((char *)back.base, bare ? arena_format(a, "%.*s", (int)strlen(json) - 2, json + 1) : json);
    } else if (rv != LEAT_ESCHEMA || reason == NULL || strstr(err.text, reason) == NULL) {
        fail_msg("%s as %s: %d, %s", json, type, rv, err.text);
    }
    buffer_fini(&back);
    arena_close(a);
}

static void test_json_numbers(void **unused)
{
    (void)unused;
    check_json("u64", "9007199254740991", NULL);
    check_json("u64", "9007199254740993", "write whole numbers from 2^53 on as a string");
    check_json("i64", "-9007199254740993", "write whole numbers from 2^53 on as a string");
    check_json("u64", "1e300", "write whole numbers from 2^53 on as a string");
    check_json("u64", "\"18446744073709551615\"", NULL);
    check_json("u64", "\"18446744073709551616\"", "a whole number is wanted");
    check_json("i64", "\"-9223372036854775808\"", NULL);
    check_json("i64", "\"-9223372036854775809\"", "a whole number is wanted");
    check_json("i64", "\"9223372036854775808\"", "i64 expected");
    check_json("u64", "\" -5\"", "a whole number is wanted");
    check_json("u64", "\" 5\"", "a whole number is wanted");
    check_json("u64", "\"+5\"", "a whole number is wanted");
    check_json("u64", "\"--5\"", "a whole number is wanted");
    check_json("u64", "\"-\"", "a whole number is wanted");
    check_json("u64", "\"\"", "a whole number is wanted");
    check_json("u64", "\"5 \"", "a whole number is wanted");
    check_json("u64", "-1", "u64 expected");
    check_json("u32", "4294967295", NULL);
    check_json("u32", "4294967296", "u32 expected");
    check_json("u32", "1.5", "a whole number is wanted");
    check_json("u32", "true", "a whole number is wanted");
    check_json("f32", "0.1", NULL);
    check_json("f32", "1e39", "not a finite f32");
    check_json("f64", "1e999", "not a finite number");
    check_json("f64", "\"1\"", "a number is wanted");
    check_json("bool", "1", "true or false is wanted");
    check_json("bool", "false", NULL);
}

static void test_json_others(void **unused)
{
    (void)unused;
    check_json("str", "7", "a string is wanted");
    check_json("str", "\"a\\u0000b\"", "NUL character at byte 8");
    check_json("str?", "null", NULL);
    check_json("str", "null", "column 'x': must not be null");
    check_json("any", "null", NULL);
    check_json("any", "{\"a\": [1, 2.5, \"c\"]}", NULL);
    check_json("any", "[1e999]", "beyond the range of f64");
    check_json("bytes", "\"TWFu\"", NULL);
    check_json("bytes", "\"TWF\"", "base64 text is wanted");
    check_json("bytes", "7", "column 'x': base64 text is wanted");
    check_json("f32[2]", "[1,0.5]", NULL);
    check_json("f32[2]", "[1]", "2 elements expected, 1 given");
    check_json("f32[2]", "[1,1e39]", "element 1 is no number that fits");
    check_json("f32[2]", "[1,\"a\"]", "element 1 is no number that fits");
    check_json("f32[2]", "\"AAAAAAAA\"", "8 bytes expected, base64 holds 6");
    check_json("f32[1]", "\"AADAfw==\"", "holds NaN or infinity");
    check_json("f32[2]", "7", "column 'x': an array of numbers or base64 text is wanted");
    check_json("i8[2]", "[-128,127]", NULL);
    check_json("i8[2]", "[-129,0]", "element 0");
    check_json("u8[2]", "[0,256]", "element 1");
    check_json("u8[2]", "[0,-1]", "element 1");
    check_json("u32[2]", "[0,4294967295]", NULL);
    check_json("u32[2]", "[0,4294967296]", "element 1");
    check_json("u32[2]", "[0.5,0]", "element 0");
    check_json("bits[16]", "\"AAE=\"", NULL);
    check_json("bits[16]", "[0,1]", "16 elements expected, 2 given");
    check_json("bits[8]", "[0,0,0,0,0,0,0,2]", "element 7 is no number that fits");
    check_json("bits[8]", "[0,0,0.5,0,0,0,0,0]", "element 2 is no number that fits");
    check_json("f16[2]", "[-65504,5.9604645e-08]", NULL);
    check_json("f16[1]", "[65520]", "element 0 is no number that fits");
    check_json("f16[1]", "[1e999]", "element 0 is no number that fits");
    check_json("u32, y: u32", "1", "column 'y' is missing");
    check_json("u32", "1, \"z\": 2", "there is no column 'z'; the columns are: x: u32");
    check_json("u32", "frog", "not valid JSON at byte 6");
}

static double half(uint32_t h)
{
    return h < 1024 ? ldexp(h, -24) : ldexp((h & 1023) + 1024, (int)(h >> 10) - 25);
}

/* Every f16 from its text; and what lies in the middle of two becomes the even one,
 * a little less or more the nearer. */
static void test_json_halves(void **unused)
{
    struct arena *a = arena_open(1 << 20);
    struct row_schema schema = schema_of(a, "x: f16[4]");
    struct leat_error err = {0};

    (void)unused;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        struct arena *b = arena_open(1 << 20);
        double here = half(h), middle = h < 0x7bff ? (here + half(h + 1)) / 2 : here;
        uint32_t up = h < 0x7bff ? h + 1 : h;
        struct leat_value value;
        uint16_t got[4];

        const char *text = arena_format(b, "{\"x\": [%.17g,%.17g,%.17g,%.17g]}", here, -middle, middle * (1 - 1e-12),
                                        middle * (1 + 1e-12));
        assert_int_equal(json_to_row(b, &schema, span_text(text), &value, &err), 0);
        memcpy(got, value.as.bytes.base, sizeof(got));
        if (got[0] != h || got[1] != (0x8000 | (h & 1 ? up : h)) || got[2] != h || got[3] != up)
            fail_msg("%04x: %s became %04x %04x %04x %04x", h, text, got[0], got[1], got[2], got[3]);
        arena_close(b);
    }
    arena_close(a);
}

static void test_json_bits(void **unused)
{
    struct arena *a = arena_open(1 << 20);
    struct row_schema schema = schema_of(a, "x: bits[16]");
    struct leat_value value;
    struct leat_error err = {0};

    (void)unused;
    assert_int_equal(json_to_row(a, &schema, span_text("{\"x\": [1,0,0,0,1,1,0,0,0,0,0,0,0,0,0,1]}"), &value, &err), 0);
    assert_true(span_equal(value.as.bytes, span_of("\x31\x80", 2)));
    assert_int_equal(value.count, 16);
    arena_close(a);
}

static void test_json_no_object(void **unused)
{
    struct arena *a = arena_open(1 << 20);
    struct row_schema schema = schema_of(a, "x: u32");
    struct leat_value value;
    struct leat_error err = {0};

    (void)unused;
    assert_int_equal(json_to_row(a, &schema, span_text("[{\"x\": 1}]"), &value, &err), LEAT_ESCHEMA);
    assert_string_equal(err.text, "a JSON object is wanted: {x: u32}");
    assert_int_equal(json_to_row(a, &schema, span_text(""), &value, NULL), LEAT_ESCHEMA);
    arena_close(a);
}

/* ---- Keys ---- */

static void test_hashes(void **unused)
{
    uint8_t scratch[8];
    struct leat_value u32 = leat_u32(0x01020304), null = leat_null(), empty = leat_str(""), b = leat_bool(true);
    struct leat_value text = leat_str("abc"), bytes = leat_bytes("abc", 3), f = leat_f32(1);

    (void)unused;
    assert_true(span_equal(value_key_bytes(&u32, scratch), span_of("\4\3\2\1", 4)));
    assert_true(span_equal(value_key_bytes(&b, scratch), span_of("\1", 1)));
    assert_true(span_equal(value_key_bytes(&f, scratch), span_of("\0\0\x80\x3f", 4)));
    assert_int_equal(value_key_bytes(&null, scratch).size, 0);
    assert_true(leat_hash(&null) == leat_hash(&empty));
    assert_true(leat_hash(&text) == leat_hash(&bytes));
    assert_true(leat_hash(&null) == UINT64_C(0x2d06800538d394c2)); /* XXH3-64 of no bytes, seed 0 */
    for (uint32_t tasks = 1; tasks <= LIMIT_TASKS; tasks *= 2)
        assert_int_equal(leat_task_of(tasks, &text), leat_hash(&text) % tasks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_batches),        cmocka_unit_test(test_json),
        cmocka_unit_test(test_numbers),    cmocka_unit_test(test_contents),       cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_damage),     cmocka_unit_test(test_count_and_size), cmocka_unit_test(test_bad_bytes),
        cmocka_unit_test(test_json_numbers), cmocka_unit_test(test_json_others),  cmocka_unit_test(test_json_no_object),
        cmocka_unit_test(test_json_halves), cmocka_unit_test(test_json_bits), cmocka_unit_test(test_hashes),
    };

    print_message("seed %d\n", SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
