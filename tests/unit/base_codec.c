/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/base.h"
#include "base/codec.h"
#include "base/random.h"

/* JSON and MessagePack: round trips of random values, and everything that must be refused. */

enum { ROUNDS = 2000, SEED = 71 };

/* ---- Random JSON, as msgpack_to_json writes it, so that a round trip gives the same text ---- */

static void put_text(struct buffer *out, const char *text)
{
    buffer_put(out, text, strlen(text));
}

static void random_number(struct random *random, struct buffer *out)
{
    int64_t whole = (int64_t)(random_u64(random) >> (11 + random_below(random, 53)));
    uint64_t bits = random_u64(random);
    char text[40];
    double d;

    memcpy(&d, &bits, 8);
    if (random_below(random, 2) || !isfinite(d) || d == floor(d)) {
        snprintf(text, sizeof(text), "%lld", (long long)(random_below(random, 2) ? -whole : whole));
    } else {
        int digits = 15;

        do
            snprintf(text, sizeof(text), "%.*g", digits, d);
        while (digits++ < 17 && strtod(text, NULL) != d);
    }
    put_text(out, text);
}

static void random_string(struct random *random, struct buffer *out)
{
    static const char *const part[] = {"a", "Z", " ", "/", "\\\"", "\\\\", "\\n", "\\t", "\\u0001", "\\u001f", "\x7f",
                                       "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    size_t parts = random_below(random, 40);

    buffer_u8(out, '"');
    while (parts-- > 0)
        put_text(out, part[random_below(random, LENGTH_OF(part))]);
    buffer_u8(out, '"');
}

static void random_json(struct random *random, int depth, struct buffer *out)
{
    uint64_t kind = random_below(random, depth > 0 ? 8 : 5), children = random_below(random, 6);

    if (kind < 2) {
        random_number(random, out);
    } else if (kind < 4) {
        random_string(random, out);
    } else if (kind == 4) {
        static const char *const word[] = {"null", "true", "false"};

        put_text(out, word[random_below(random, 3)]);
    } else {
        buffer_u8(out, kind == 5 ? '[' : '{');
        for (uint64_t i = 0; i < children; i++) {
            put_text(out, i > 0 ? ", " : "");
            if (kind != 5) {
                random_string(random, out);
                put_text(out, ": ");
            }
            random_json(random, depth - 1, out);
        }
        buffer_u8(out, kind == 5 ? ']' : '}');
    }
}

/* Every beginning of a value, and a value with more behind it, is no value. */
static void check_parts(struct leat_span packed)
{
    uint8_t *longer = malloc(packed.size + 1);

    assert_non_null(longer);
    memcpy(longer, packed.base, packed.size);
    longer[packed.size] = 0xc0;
    assert_int_equal(msgpack_check(span_of(longer, packed.size + 1), NULL), LEAT_ESCHEMA);
    for (size_t size = 0; size < packed.size; size++) {
        uint8_t *part = realloc(longer, packed.size - size);

        longer = part;
        assert_int_equal(msgpack_check(span_of(part, packed.size - size - 1), NULL), LEAT_ESCHEMA);
    }
    free(longer);
}

static void test_json_round_trip(void **unused)
{
    struct random random;

    (void)unused;
    random_seed(&random, SEED);
    for (int round = 0; round < ROUNDS; round++) {
        struct buffer text = {0}, packed = {0}, back = {0}, again = {0};
        struct leat_error err = {0};

        random_json(&random, 5, &text);
        if (json_to_msgpack(buffer_bytes(&text), &packed, &err) != 0)
            fail_msg("%.*s: %s", (int)text.size, (const char *)text.base, err.text);
        assert_int_equal(msgpack_check(buffer_bytes(&packed), &err), 0);
        assert_int_equal(msgpack_to_json(buffer_bytes(&packed), &back, &err), 0);
        if (!span_equal(buffer_bytes(&text), buffer_bytes(&back)))
            fail_msg("%.*s came back as %.*s", (int)text.size, (const char *)text.base, (int)back.size,
                     (const char *)back.base);
        put_text(&back, " \t\r\n");
        assert_int_equal(json_to_msgpack(buffer_bytes(&back), &again, &err), 0);
        assert_true(span_equal(buffer_bytes(&packed), buffer_bytes(&again)));
        if (packed.size < 200)
            check_parts(buffer_bytes(&packed));
        buffer_fini(&text);
        buffer_fini(&packed);
        buffer_fini(&back);
        buffer_fini(&again);
    }
}

/* ---- MessagePack of every form ---- */

static void check_packed(const char *bytes, size_t size, const char *want)
{
    struct buffer text = {0};
    struct leat_error err = {0};

    if (msgpack_to_json(span_of(bytes, size), &text, &err) != 0)
        fail_msg("%s: %s", want, err.text);
    buffer_u8(&text, 0);
    assert_string_equal((char *)text.base, want);
    buffer_fini(&text);
    check_parts(span_of(bytes, size));
}
#define CHECK_PACKED(bytes, want) check_packed(bytes, sizeof(bytes) - 1, want)

static void test_forms(void **unused)
{
    (void)unused;
    CHECK_PACKED("\x7f", "127");
    CHECK_PACKED("\xe0", "-32");
    CHECK_PACKED("\xcc\xff", "255");
    CHECK_PACKED("\xcd\xff\xfe", "65534");
    CHECK_PACKED("\xce\xff\xff\xff\xff", "4294967295");
    CHECK_PACKED("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615");
    CHECK_PACKED("\xd0\x80", "-128");
    CHECK_PACKED("\xd1\x80\x00", "-32768");
    CHECK_PACKED("\xd2\x80\x00\x00\x00", "-2147483648");
    CHECK_PACKED("\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808");
    CHECK_PACKED("\xca\x3d\xcc\xcc\xcd", "0.1");
    CHECK_PACKED("\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", "0.1");
    CHECK_PACKED("\xd9\x02hi", "\"hi\"");
    CHECK_PACKED("\xda\x00\x02hi", "\"hi\"");
    CHECK_PACKED("\xdb\x00\x00\x00\x02hi", "\"hi\"");
    CHECK_PACKED("\xc4\x01M", "{\"$bytes\": \"TQ==\"}");
    CHECK_PACKED("\xc5\x00\x02Ma", "{\"$bytes\": \"TWE=\"}");
    CHECK_PACKED("\xc6\x00\x00\x00\x03Man", "{\"$bytes\": \"TWFu\"}");
    CHECK_PACKED("\xd4\x05M", "{\"$bytes\": \"TQ==\"}");
    CHECK_PACKED("\xd8\x05" "0123456789abcdef", "{\"$bytes\": \"MDEyMzQ1Njc4OWFiY2RlZg==\"}");
    CHECK_PACKED("\xc7\x02\x05Ma", "{\"$bytes\": \"TWE=\"}");
    CHECK_PACKED("\xc8\x00\x02\x05Ma", "{\"$bytes\": \"TWE=\"}");
    CHECK_PACKED("\xc9\x00\x00\x00\x02\x05Ma", "{\"$bytes\": \"TWE=\"}");
    CHECK_PACKED("\xdc\x00\x02\xc2\xc3", "[false, true]");
    CHECK_PACKED("\xdd\x00\x00\x00\x01\xc0", "[null]");
    CHECK_PACKED("\xde\x00\x01\x01\x90", "{\"1\": []}");
    CHECK_PACKED("\xdf\x00\x00\x00\x01\xa1k\x80", "{\"k\": {}}");
    CHECK_PACKED("\x81\x92\x01\xa1k\xc0", "{\"[1, \\\"k\\\"]\": null}");
}

static void test_no_numbers(void **unused)
{
    (void)unused;
    CHECK_PACKED("\xca\x7f\xc0\x00\x00", "null");
    CHECK_PACKED("\xca\x7f\x80\x00\x00", "null");
    CHECK_PACKED("\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "null");
    CHECK_PACKED("\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", "null");
    CHECK_PACKED("\x92\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00\x01", "[null, 1]");
}

/* Strings of MessagePack may hold anything; JSON does not. */
static void test_strings_to_json(void **unused)
{
    (void)unused;
    CHECK_PACKED("\xa3" "a\0b", "\"a\\u0000b\"");
    CHECK_PACKED("\xa3" "a\xff" "b", "\"a\\ufffdb\"");
    CHECK_PACKED("\xa2" "\xed\xa0", "\"\\ufffd\\ufffd\"");
    CHECK_PACKED("\x81\xa1\xc3\xc0", "{\"\\ufffd\": null}");
    CHECK_PACKED("\xa2\xc3\xa9", "\"\xc3\xa9\"");
}

/* A few bytes that claim gigabytes, and the one byte that means nothing. */
static void test_claims(void **unused)
{
    static const struct leat_span bad[] = {
        {"\xc1", 1},
        {"\xdd\xff\xff\xff\xff", 5},
        {"\xdf\xff\xff\xff\xff\x01\x01", 7},
        {"\xdb\xff\xff\xff\xff" "abc", 8},
        {"\xc6\xff\xff\xff\xff", 5},
        {"\xc9\xff\xff\xff\xff\x01", 6},
        {"\xdc\xff\xff\xc0\xc0", 5},
        {"\x92\x01\xc1", 3},
        {"", 0},
    };

    (void)unused;
    for (size_t i = 0; i < LENGTH_OF(bad); i++) {
        struct leat_error err = {0};
        struct buffer text = {0};

        assert_int_equal(msgpack_check(bad[i], &err), LEAT_ESCHEMA);
        assert_non_null(strstr(err.text, "not one whole MessagePack value"));
        assert_int_equal(msgpack_to_json(bad[i], &text, &err), LEAT_ESCHEMA);
        assert_int_equal(text.size, 0);
        buffer_fini(&text);
    }
}

/* Random bytes: what the check passes, the library unpacks, and JSON takes it back. */
static void test_random_bytes(void **unused)
{
    struct random random;
    uint32_t passed = 0;

    (void)unused;
    random_seed(&random, SEED);
    for (int round = 0; round < 20 * ROUNDS; round++) {
        static const uint8_t head[] = {0x93, 0x82, 0xa2, 0xc4, 0xca, 0xd4, 0xdc, 0xc0, 0xcc, 0xde};
        uint8_t bytes[12];
        size_t size = random_below(&random, sizeof(bytes)) + 1;
        struct buffer text = {0}, packed = {0};
        struct leat_error err = {0};

        for (size_t i = 0; i < size; i++)
            bytes[i] = random_below(&random, 3) == 0
                           ? head[random_below(&random, sizeof(head))]
                           : (uint8_t)random_below(&random, 256) & (uint8_t)random_u64(&random);
        int rv = msgpack_to_json(span_of(bytes, size), &text, &err);
        assert_int_equal(rv, msgpack_check(span_of(bytes, size), &err));
        if (rv == 0 && memchr(bytes, 0, size) == NULL) {
            passed++;
            if (json_to_msgpack(buffer_bytes(&text), &packed, &err) != 0)
                fail_msg("round %d: %.*s: %s", round, (int)text.size, (const char *)text.base, err.text);
        }
        buffer_fini(&text);
        buffer_fini(&packed);
    }
    assert_true(passed > ROUNDS);
}

/* ---- Limits ---- */

static int check_nested(int depth, uint8_t open, uint8_t inside)
{
    uint8_t bytes[3 * LIMIT_ANY_DEPTH] = {0};
    size_t size = 0;

    for (int i = 0; i < depth; i++) {
        bytes[size++] = open;
        if (open == 0x81)
            bytes[size++] = 1;
    }
    bytes[size++] = inside;
    int rv = msgpack_check(span_of(bytes, size), NULL);
    struct buffer text = {0};
    assert_int_equal(msgpack_to_json(span_of(bytes, size), &text, NULL), rv);
    buffer_fini(&text);
    return rv;
}

static int json_nested(int depth, const char *open, const char *close)
{
    struct buffer text = {0}, packed = {0};
    struct leat_error err = {0};

    for (int i = 0; i < depth; i++)
        put_text(&text, open);
    put_text(&text, "1");
    for (int i = 0; i < depth; i++)
        put_text(&text, close);
    int rv = json_to_msgpack(buffer_bytes(&text), &packed, &err);
    assert_true(rv == 0 || (packed.size == 0 && err.text[0] != '\0'));
    buffer_fini(&text);
    buffer_fini(&packed);
    return rv;
}

static void test_depth(void **unused)
{
    (void)unused;
    assert_int_equal(check_nested(LIMIT_ANY_DEPTH, 0x91, 0xc0), 0);
    assert_int_equal(check_nested(LIMIT_ANY_DEPTH + 1, 0x91, 0xc0), LEAT_ESCHEMA);
    assert_int_equal(check_nested(LIMIT_ANY_DEPTH, 0x81, 0xc0), 0);
    assert_int_equal(check_nested(LIMIT_ANY_DEPTH + 1, 0x81, 0xc0), LEAT_ESCHEMA);
    assert_int_equal(check_nested(LIMIT_ANY_DEPTH - 1, 0x91, 0x90), 0);
    assert_int_equal(check_nested(LIMIT_ANY_DEPTH, 0x91, 0x90), LEAT_ESCHEMA);
    assert_int_equal(check_nested(LIMIT_ANY_DEPTH, 0x81, 0x80), LEAT_ESCHEMA);
    assert_int_equal(json_nested(LIMIT_ANY_DEPTH, "[", "]"), 0);
    assert_int_equal(json_nested(LIMIT_ANY_DEPTH + 1, "[", "]"), LEAT_ESCHEMA);
    assert_int_equal(json_nested(LIMIT_ANY_DEPTH, "{\"k\":", "}"), 0);
    assert_int_equal(json_nested(LIMIT_ANY_DEPTH + 1, "{\"k\":", "}"), LEAT_ESCHEMA);
    assert_int_equal(json_nested(900, "[", "]"), LEAT_ESCHEMA);
    assert_int_equal(json_nested(1000000, "[", "]"), LEAT_ESCHEMA);
}

/* Maps whose key is a map, and so on. */
static int keys_in_keys(int depth, struct buffer *text)
{
    uint8_t bytes[2 * LIMIT_ANY_DEPTH + 1];

    memset(bytes, 0x81, (size_t)depth);
    memset(bytes + depth, 1, (size_t)depth + 1);
    return msgpack_to_json(span_of(bytes, 2 * (size_t)depth + 1), text, NULL);
}

/* Each level escapes what the one below has escaped: few bytes must not become megabytes of text. */
static void test_keys_in_keys(void **unused)
{
    struct buffer text = {0};

    (void)unused;
    assert_int_equal(keys_in_keys(3, &text), 0);
    buffer_u8(&text, 0);
    assert_string_equal((const char *)text.base, "{\"{\\\"{\\\\\\\"1\\\\\\\": 1}\\\": 1}\": 1}");
    for (int depth = 4; depth <= LIMIT_ANY_DEPTH; depth++) {
        buffer_clear(&text);
        int rv = keys_in_keys(depth, &text);
        assert_true(rv == (depth <= 10 ? 0 : depth >= 20 ? LEAT_ELIMIT : rv));
        assert_true(text.size < 256 << 10);
    }
    buffer_fini(&text);
}

static void test_elements(void **unused)
{
    struct buffer packed = {0}, text = {0}, out = {0};
    struct leat_error err = {0};
    uint32_t most = LIMIT_ANY_ELEMENTS - 1; /* and the array itself */

    (void)unused;
    buffer_put(&packed, "\xdd\x00\x0f\xff\xff", 5);
    memset(buffer_grow(&packed, most), 0xc0, most);
    assert_int_equal(msgpack_check(buffer_bytes(&packed), &err), 0);
    memcpy(packed.base, "\xdd\x00\x10\x00\x00", 5);
    buffer_u8(&packed, 0xc0);
    assert_int_equal(msgpack_check(buffer_bytes(&packed), &err), LEAT_ESCHEMA);
    assert_non_null(strstr(err.text, "more than 1048576 elements"));
    buffer_u8(&text, '[');
    for (uint32_t i = 0; i < most; i++)
        put_text(&text, "1,");
    text.base[text.size - 1] = ']';
    assert_int_equal(json_to_msgpack(buffer_bytes(&text), &out, &err), 0);
    assert_int_equal(out.size, 5 + most);
    text.base[text.size - 1] = ',';
    put_text(&text, "1]");
    size_t before = out.size;
    assert_int_equal(json_to_msgpack(buffer_bytes(&text), &out, &err), LEAT_ESCHEMA);
    assert_non_null(strstr(err.text, "more than 1048576 elements"));
    assert_int_equal(out.size, before);
    buffer_fini(&packed);
    buffer_fini(&text);
    buffer_fini(&out);
}

static void test_sizes(void **unused)
{
    struct buffer text = {0}, out;
    struct leat_error err = {0};

    (void)unused;
    memset(buffer_grow(&text, LIMIT_ROW + 1), ' ', LIMIT_ROW + 1);
    text.base[0] = '1';
    buffer_init(&out, 3);
    assert_int_equal(json_to_msgpack(buffer_bytes(&text), &out, &err), LEAT_ELIMIT);
    text.size--;
    assert_int_equal(json_to_msgpack(buffer_bytes(&text), &out, &err), 0);
    assert_int_equal(json_to_msgpack(span_text("\"abc\""), &out, &err), LEAT_ELIMIT);
    assert_int_equal(out.size, 1);
    buffer_fini(&text);
    buffer_fini(&out);
}

/* ---- JSON that is none ---- */

static void test_bad_json(void **unused)
{
    static const char *const bad[] = {
        "",       " ",       "{",         "}",          "[",         "[1",         "[1,]",       "[,1]",     "[1 2]",
        "{1:2}",  "{\"a\"}", "{\"a\":}",  "{\"a\":1,}", "{\"a\":1,", "{\"a\" 1}",  "\"",         "\"a",      "\"\\",
        "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\udc00\"", "nul",   "True",       "NaN",        "Infinity", "-",
        "1 2",    "1,",      "0x10",      "'a'",        "[1]]",      "--1",        ".5",         "\"a\"b",   "// no\n1",
        "\"\xff\"", "\"\xc3", "\xef\xbb\xbf",
    };

    (void)unused;
    for (size_t i = 0; i < LENGTH_OF(bad); i++) {
        struct buffer out = {0};
        struct leat_error err = {0};

        if (json_to_msgpack(span_text(bad[i]), &out, &err) != LEAT_ESCHEMA)
            fail_msg("taken as JSON: %s", bad[i]);
        assert_true(strlen(err.text) > 10);
        assert_int_equal(json_to_msgpack(span_text(bad[i]), &out, NULL), LEAT_ESCHEMA);
        assert_int_equal(out.size, 0);
        buffer_fini(&out);
    }
}

static void test_error_position(void **unused)
{
    struct buffer out = {0};
    struct leat_error err = {0};

    (void)unused;
    assert_int_equal(json_to_msgpack(span_text("{\"a\": 1, \"b\": frog}"), &out, &err), LEAT_ESCHEMA);
    assert_string_equal(err.text, "not valid JSON at byte 14: 'frog}'");
    assert_int_equal(json_to_msgpack(span_text("[1] x"), &out, &err), LEAT_ESCHEMA);
    assert_non_null(strstr(err.text, "at byte 3"));
    buffer_fini(&out);
}

static void test_text_that_ends_too_early(void **unused)
{
    static const char whole[] = " {\"a\" : [1, {}, \"b\"], \"d\": {\"e\": \"\\\\\"}, \"g\": [[\"h\"]], \"\": 1.5}";
    static const char *const wrong[] = {"[1 2", "{\"a\": x",  "{a",     "[}",    "[1]]",  "{\"a\": 1,}",
                                        "[1, x", "{\"a\"; 1", "\"b\\", "\"\\u0", "[-", "[tru"};
    struct buffer out = {0};

    (void)unused;
    assert_int_equal(json_to_msgpack(span_text(whole), &out, NULL), 0);
    for (size_t size = 0; size < sizeof(whole) - 1; size++) {
        struct leat_error err = {0};
        char sentence[64];

        if (strcmp(whole + size, strrchr(whole, '\\')) == 0)
            continue; /* inside an escape: that is what is shown */
        assert_int_equal(json_to_msgpack((struct leat_span){whole, size}, &out, &err), LEAT_ESCHEMA);
        snprintf(sentence, sizeof(sentence), "JSON that ends too early, at byte %zu", size);
        assert_string_equal(err.text, sentence);
    }
    for (size_t i = 0; i < LENGTH_OF(wrong); i++) {
        struct leat_error err = {0};

        assert_int_equal(json_to_msgpack(span_text(wrong[i]), &out, &err), LEAT_ESCHEMA);
        assert_non_null(strstr(err.text, "not valid JSON at byte"));
    }
    buffer_fini(&out);
}

/* A NUL would end the string for the library, and what is behind it would be lost without a word. */
static void test_nul(void **unused)
{
    static const struct leat_span bad[] = {
        {"\"a\\u0000b\"", 10}, {"\"a\0b\"", 5}, {"{\"a\\u0000b\":1}", 14}, {"1\0", 2}, {"\0", 1}};
    struct buffer out = {0};
    struct leat_error err = {0};

    (void)unused;
    for (size_t i = 0; i < LENGTH_OF(bad); i++) {
        assert_int_equal(json_to_msgpack(bad[i], &out, &err), LEAT_ESCHEMA);
        assert_non_null(strstr(err.text, "NUL"));
    }
    assert_int_equal(json_to_msgpack(span_text("\"a\\\\u0000b\""), &out, &err), 0); /* a backslash, then letters */
    assert_int_equal(out.size, 9);
    assert_memory_equal(out.base, "\xa8" "a\\u0000b", 9);
    buffer_fini(&out);
}

static void check_number(const char *text, const char *want)
{
    struct buffer packed = {0}, back = {0};
    struct leat_error err = {0};
    int rv = json_to_msgpack(span_text(text), &packed, &err);

    assert_int_equal(rv, want != NULL ? 0 : LEAT_ESCHEMA);
    if (rv == 0) {
        assert_int_equal(msgpack_to_json(buffer_bytes(&packed), &back, &err), 0);
        buffer_u8(&back, 0);
        assert_string_equal((char *)back.base, want);
    }
    buffer_fini(&packed);
    buffer_fini(&back);
}

static void test_big_numbers(void **unused)
{
    (void)unused;
    check_number("9007199254740991", "9007199254740991");
    check_number("-9007199254740991", "-9007199254740991");
    check_number("9007199254740993", "9007199254740992"); /* rounded, as other readers of JSON do */
    check_number("1e2", "100");
    check_number("1.5e300", "1.5e+300");
    check_number("5e-324", "4.94065645841247e-324");
    check_number("1e-999", "0");
    check_number("1e999", NULL);
    check_number("[-1e999]", NULL);
}

/* Text that ends where the page ends, and nothing is readable behind it: as a mapped file may. */
static void test_end_of_page(void **unused)
{
    static const char *const text[] = {"{\"1\":1,", "{\"1\":1", "\"ab",  "\"ab\\", "\"\\u00",  "12",
                                       "1e",        "tru",      "[1,",   "{",      "-",        "{\"a\"",
                                       "{\"a\":",   "true",     "\"x\"", "[1]",    "{\"a\":2}"};
    size_t page = 65536;
    uint8_t *base = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)unused;
    assert_ptr_not_equal(base, MAP_FAILED);
    assert_int_equal(mprotect(base + page, page, PROT_NONE), 0);
    for (size_t i = 0; i < LENGTH_OF(text); i++) {
        size_t size = strlen(text[i]);
        struct buffer out = {0}, same = {0};

        memcpy(base + page - size, text[i], size);
        int rv = json_to_msgpack(span_of(base + page - size, size), &out, NULL);
        assert_int_equal(rv, json_to_msgpack(span_text(text[i]), &same, NULL));
        assert_true(span_equal(buffer_bytes(&out), buffer_bytes(&same)));
        buffer_fini(&out);
        buffer_fini(&same);
    }
    munmap(base, 2 * page);
}

/* ---- base64 ---- */

static void test_base64(void **unused)
{
    struct random random;

    (void)unused;
    random_seed(&random, SEED);
    for (int round = 0; round < ROUNDS; round++) {
        struct buffer bytes = {0}, text = {0}, back = {0};
        size_t size = random_below(&random, 50);

        while (size-- > 0)
            buffer_u8(&bytes, (uint8_t)random_u64(&random));
        base64_encode(buffer_bytes(&bytes), &text);
        assert_int_equal(text.size, (bytes.size + 2) / 3 * 4);
        assert_int_equal(base64_decode(buffer_bytes(&text), &back), 0);
        assert_true(span_equal(buffer_bytes(&bytes), buffer_bytes(&back)));
        if (text.size > 0) {
            text.base[random_below(&random, text.size)] = (uint8_t)" -_*\n=\0\x80"[random_below(&random, 5)];
            assert_int_equal(base64_decode(buffer_bytes(&text), &back), LEAT_EINVAL);
            text.size--;
            assert_int_equal(base64_decode(buffer_bytes(&text), &back), LEAT_EINVAL);
        }
        buffer_fini(&bytes);
        buffer_fini(&text);
        buffer_fini(&back);
    }
}

static void test_bad_base64(void **unused)
{
    static const char *const bad[] = {"A", "AA", "AAA", "A===", "====", "AA=A", "AA==AAAA", "=AAA", "AA AA", "AAAAA"};
    struct buffer out = {0};

    (void)unused;
    for (size_t i = 0; i < LENGTH_OF(bad); i++)
        if (base64_decode(span_text(bad[i]), &out) != LEAT_EINVAL)
            fail_msg("taken as base64: %s", bad[i]);
    buffer_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_round_trip), cmocka_unit_test(test_forms),         cmocka_unit_test(test_no_numbers),
        cmocka_unit_test(test_strings_to_json), cmocka_unit_test(test_claims),
        cmocka_unit_test(test_random_bytes), cmocka_unit_test(test_depth), cmocka_unit_test(test_keys_in_keys),
        cmocka_unit_test(test_elements), cmocka_unit_test(test_sizes), cmocka_unit_test(test_bad_json),
        cmocka_unit_test(test_error_position),
        cmocka_unit_test(test_text_that_ends_too_early), cmocka_unit_test(test_nul), cmocka_unit_test(test_big_numbers),
        cmocka_unit_test(test_end_of_page), cmocka_unit_test(test_base64), cmocka_unit_test(test_bad_base64),
    };

    print_message("seed %d\n", SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
