/* SPDX-License-Identifier: Apache-2.0 */
#include "base/codec.h"

#include "base/base.h"
#include "base/half.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <msgpack.h>
#include <stdio.h>

#define EXACT 9007199254740992.0 /* 2^53: from here on several whole numbers have the same double */

/* The text of a key that is no string: each level of keys in keys doubles it, so that few bytes could ask for much. */
enum { KEY_TEXT = 4 << 10 };

/* ---- Text ---- */

static void put_text(struct buffer *out, const char *text)
{
    buffer_put(out, text, strlen(text));
}

void json_escape(struct leat_span text, struct buffer *out)
{
    const uint8_t *p = text.base;
    bool valid = utf8_valid(text);
    char code[8];

    buffer_u8(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        if (p[i] == '"' || p[i] == '\\') {
            buffer_u8(out, '\\');
            buffer_u8(out, p[i]);
        } else if (p[i] == '\n') {
            put_text(out, "\\n");
        } else if (p[i] == '\t') {
            put_text(out, "\\t");
        } else if (p[i] < 0x20) {
            snprintf(code, sizeof(code), "\\u%04x", p[i]);
            put_text(out, code);
        } else if (p[i] >= 0x80 && !valid) {
            put_text(out, "\\ufffd"); /* JSON is UTF-8, strings of MessagePack may be anything */
        } else {
            buffer_u8(out, p[i]);
        }
    }
    buffer_u8(out, '"');
}

void base64_encode(struct leat_span bytes, struct buffer *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *p = bytes.base;

    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t n = bytes.size - i < 3 ? bytes.size - i : 3;
        uint32_t v = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (n > 2 ? p[i + 2] : 0);

        buffer_u8(out, (uint8_t)digits[v >> 18]);
        buffer_u8(out, (uint8_t)digits[v >> 12 & 63]);
        buffer_u8(out, n > 1 ? (uint8_t)digits[v >> 6 & 63] : '=');
        buffer_u8(out, n > 2 ? (uint8_t)digits[v & 63] : '=');
    }
}

static int base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(struct leat_span text, struct buffer *out)
{
    const uint8_t *p = text.base;
    size_t size = text.size;

    if (size % 4 != 0)
        return LEAT_EINVAL;
    while (size > 0 && text.size - size < 2 && p[size - 1] == '=')
        size--;
    for (size_t i = 0; i < size; i += 4) {
        size_t n = size - i < 4 ? size - i : 4;
        uint32_t v = 0;

        for (size_t j = 0; j < 4; j++) {
            int digit = j < n ? base64_digit(p[i + j]) : 0;

            if (digit < 0)
                return LEAT_EINVAL;
            v = v << 6 | (uint32_t)digit;
        }
        for (size_t j = 0; j + 1 < n; j++)
            buffer_u8(out, (uint8_t)(v >> (16 - 8 * j)));
    }
    return out->error;
}

/* The shortest text that reads back as the same number. */
static void put_double(struct buffer *out, double d, bool single)
{
    char text[40];

    if (!isfinite(d)) {
        put_text(out, "null");
        return;
    }
    for (int digits = single ? 6 : 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, d);
        if (single ? strtof(text, NULL) == (float)d : strtod(text, NULL) == d)
            break;
    }
    put_text(out, text);
}

/* ---- JSON to MessagePack ---- */

static int pack_write(void *data, const char *bytes, size_t size)
{
    struct buffer *out = data;

    buffer_put(out, bytes, size);
    return out->error;
}

static void pack_number(msgpack_packer *p, double d)
{
    if (d == floor(d) && fabs(d) < EXACT)
        msgpack_pack_int64(p, (int64_t)d);
    else
        msgpack_pack_double(p, d);
}

static void pack_text(msgpack_packer *p, const char *text)
{
    size_t size = strlen(text);

    msgpack_pack_str(p, size);
    msgpack_pack_str_body(p, text, size);
}

/* Depth is bounded: cJSON refuses more than CJSON_NESTING_LIMIT. Not 0: a number beyond double. */
static int pack_json(msgpack_packer *p, const cJSON *j)
{
    int rv = 0;

    if (cJSON_IsNumber(j)) {
        pack_number(p, j->valuedouble);
        rv = isfinite(j->valuedouble) ? 0 : LEAT_ESCHEMA;
    } else if (cJSON_IsString(j)) {
        pack_text(p, j->valuestring);
    } else if (cJSON_IsBool(j)) {
        if (cJSON_IsTrue(j))
            msgpack_pack_true(p);
        else
            msgpack_pack_false(p);
    } else if (cJSON_IsArray(j) || cJSON_IsObject(j)) {
        const cJSON *child;

        if (cJSON_IsArray(j))
            msgpack_pack_array(p, (size_t)cJSON_GetArraySize(j));
        else
            msgpack_pack_map(p, (size_t)cJSON_GetArraySize(j));
        cJSON_ArrayForEach(child, j) {
            if (cJSON_IsObject(j))
                pack_text(p, child->string);
            if ((rv = pack_json(p, child)) != 0)
                break;
        }
    } else {
        msgpack_pack_nil(p);
    }
    return rv;
}

/* What cJSON lets pass: it ends a string at its first NUL, and takes bytes that are no text. */
static int check_text(struct leat_span text, struct leat_error *err)
{
    const char *p = text.base;
    bool inside = false;

    if (text.size > LIMIT_ROW)
        return leat_fail(err, LEAT_ELIMIT, "JSON text of %zu bytes, more than %d MiB", text.size, LIMIT_ROW >> 20);
    for (size_t i = 0; i < text.size; i++) {
        bool escape = inside && p[i] == '\\';

        if (p[i] == '\0' || (escape && text.size - i >= 6 && memcmp(p + i, "\\u0000", 6) == 0))
            return leat_fail(err, LEAT_ESCHEMA, "JSON with a NUL character at byte %zu", i);
        inside ^= p[i] == '"';
        i += escape;
    }
    return utf8_valid(text) ? 0 : leat_fail(err, LEAT_ESCHEMA, "JSON that is not valid UTF-8");
}

/* cJSON points at the last character of a text that is only a beginning. An empty string behind it is then where it
 * fails, or what it wanted. The blank: of a key that is no string the second character is what it points at. */
static bool ends_early(struct leat_span text)
{
    static const char behind[] = " \"\"";
    size_t size = text.size + strlen(behind);
    char *more = base_alloc(size);
    const char *end = NULL;

    if (text.size > 0)
        memcpy(more, text.base, text.size);
    memcpy(more + text.size, behind, strlen(behind));
    cJSON *j = cJSON_ParseWithLengthOpts(more, size, &end, false);
    bool early = j != NULL || end > more + text.size;
    cJSON_Delete(j);
    free(more);
    return early;
}

static cJSON *parse(struct leat_span text, struct leat_error *err)
{
    const char *end = NULL;

    if (check_text(text, err) != 0)
        return NULL;
    cJSON *j = text.size == 0 ? NULL : cJSON_ParseWithLengthOpts(text.base, text.size, &end, false);
    size_t at = end != NULL ? (size_t)(end - (const char *)text.base) : 0;
    bool rest = false;
    for (size_t i = at; j != NULL && i < text.size; i++)
        rest |= strchr(" \t\r\n", ((const char *)text.base)[i]) == NULL;
    if (j != NULL && !rest)
        return j;
    if (j == NULL && ends_early(text)) {
        leat_fail(err, LEAT_ESCHEMA, "JSON that ends too early, at byte %zu", text.size);
        return NULL;
    }
    cJSON_Delete(j);
    size_t show = text.size - at < 30 ? text.size - at : 30;
    leat_fail(err, LEAT_ESCHEMA, "not valid JSON at byte %zu: '%.*s'", at, (int)show, (const char *)text.base + at);
    return NULL;
}

static int pack(const cJSON *j, struct buffer *out, struct leat_error *err)
{
    msgpack_packer p;

    msgpack_packer_init(&p, out, pack_write);
    if (pack_json(&p, j) != 0)
        return leat_fail(err, LEAT_ESCHEMA, "JSON with a number beyond the range of f64");
    return out->error != 0 ? leat_fail(err, LEAT_ELIMIT, "JSON value too large") : 0;
}

int json_to_msgpack(struct leat_span text, struct buffer *out, struct leat_error *err)
{
    size_t before = out->size;
    cJSON *j = parse(text, err);

    if (j == NULL)
        return err != NULL ? err->code : LEAT_ESCHEMA;
    int rv = pack(j, out, err);
    cJSON_Delete(j);
    if (rv == 0)
        rv = msgpack_check(span_of(out->base + before, out->size - before), err);
    if (rv != 0)
        out->size = before;
    return rv;
}

/* ---- MessagePack to JSON ---- */

static void object_to_json(const msgpack_object *o, struct buffer *out);

static void array_to_json(const msgpack_object *o, struct buffer *out)
{
    buffer_u8(out, '[');
    for (uint32_t i = 0; i < o->via.array.size && out->error == 0; i++) {
        if (i > 0)
            put_text(out, ", ");
        object_to_json(&o->via.array.ptr[i], out);
    }
    buffer_u8(out, ']');
}

static void map_to_json(const msgpack_object *o, struct buffer *out)
{
    buffer_u8(out, '{');
    for (uint32_t i = 0; i < o->via.map.size && out->error == 0; i++) {
        const msgpack_object_kv *kv = &o->via.map.ptr[i];

        if (i > 0)
            put_text(out, ", ");
        if (kv->key.type == MSGPACK_OBJECT_STR) {
            json_escape(span_of(kv->key.via.str.ptr, kv->key.via.str.size), out);
        } else {
            struct buffer key = {.limit = KEY_TEXT};

            object_to_json(&kv->key, &key);
            json_escape(buffer_bytes(&key), out);
            out->error = out->error != 0 ? out->error : key.error;
            buffer_fini(&key);
        }
        put_text(out, ": ");
        object_to_json(&kv->val, out);
    }
    buffer_u8(out, '}');
}

static void bytes_to_json(const void *base, size_t size, struct buffer *out)
{
    put_text(out, "{\"$bytes\": \"");
    base64_encode(span_of(base, size), out);
    put_text(out, "\"}");
}

static void object_to_json(const msgpack_object *o, struct buffer *out)
{
    char text[32];

    switch (o->type) {
    case MSGPACK_OBJECT_BOOLEAN:
        put_text(out, o->via.boolean ? "true" : "false");
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        snprintf(text, sizeof(text), "%" PRIu64, o->via.u64);
        put_text(out, text);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        snprintf(text, sizeof(text), "%" PRId64, o->via.i64);
        put_text(out, text);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        put_double(out, o->via.f64, o->type == MSGPACK_OBJECT_FLOAT32);
        break;
    case MSGPACK_OBJECT_STR:
        json_escape(span_of(o->via.str.ptr, o->via.str.size), out);
        break;
    case MSGPACK_OBJECT_ARRAY:
        array_to_json(o, out);
        break;
    case MSGPACK_OBJECT_MAP:
        map_to_json(o, out);
        break;
    case MSGPACK_OBJECT_BIN:
        bytes_to_json(o->via.bin.ptr, o->via.bin.size, out);
        break;
    case MSGPACK_OBJECT_EXT:
        bytes_to_json(o->via.ext.ptr, o->via.ext.size, out);
        break;
    default:
        put_text(out, "null");
        break;
    }
}

int msgpack_to_json(struct leat_span bytes, struct buffer *out, struct leat_error *err)
{
    msgpack_unpacked unpacked;
    size_t at = 0;
    int rv = msgpack_check(bytes, err);

    if (rv != 0)
        return rv;
    msgpack_unpacked_init(&unpacked);
    if (msgpack_unpack_next(&unpacked, bytes.base, bytes.size, &at) == MSGPACK_UNPACK_SUCCESS)
        object_to_json(&unpacked.data, out);
    else
        rv = leat_fail(err, LEAT_ESCHEMA, "MessagePack value that cannot be unpacked");
    msgpack_unpacked_destroy(&unpacked);
    return rv != 0 ? rv : out->error;
}

/* ---- Values and rows ---- */

static void element_to_json(const struct leat_value *v, uint32_t i, struct buffer *out)
{
    const uint8_t *p = v->as.bytes.base;
    char text[32] = "";
    float f;

    switch (v->type) {
    case LEAT_F32_VECTOR:
        memcpy(&f, p + 4 * (size_t)i, 4);
        put_double(out, (double)f, true);
        break;
    case LEAT_F16_VECTOR:
        put_double(out, (double)half_to_float(load_u16(p + 2 * (size_t)i)), true);
        break;
    case LEAT_I8_VECTOR:
        snprintf(text, sizeof(text), "%d", (int8_t)p[i]);
        break;
    case LEAT_U8_VECTOR:
        snprintf(text, sizeof(text), "%u", p[i]);
        break;
    default:
        snprintf(text, sizeof(text), "%u", load_u32(p + 4 * (size_t)i));
        break;
    }
    put_text(out, text);
}

static void vector_to_json(const struct leat_value *v, struct buffer *out)
{
    buffer_u8(out, '[');
    for (uint32_t i = 0; i < v->count; i++) {
        if (i > 0)
            buffer_u8(out, ',');
        element_to_json(v, i, out);
    }
    buffer_u8(out, ']');
}

void value_to_json(const struct leat_value *v, struct buffer *out)
{
    char text[32] = "";

    switch (v->type) {
    case LEAT_NULL:
        put_text(out, "null");
        break;
    case LEAT_BOOL:
        put_text(out, v->as.b ? "true" : "false");
        break;
    case LEAT_I64:
        snprintf(text, sizeof(text), "%" PRId64, v->as.i);
        break;
    case LEAT_U32:
    case LEAT_U64:
        snprintf(text, sizeof(text), "%" PRIu64, v->as.u);
        break;
    case LEAT_F32:
    case LEAT_F64:
        put_double(out, v->as.f, v->type == LEAT_F32);
        break;
    case LEAT_STR:
        json_escape(v->as.bytes, out);
        break;
    case LEAT_ANY:
        if (msgpack_to_json(v->as.bytes, out, NULL) != 0)
            put_text(out, "null");
        break;
    case LEAT_BYTES:
    case LEAT_BITS:
        buffer_u8(out, '"');
        base64_encode(v->as.bytes, out);
        buffer_u8(out, '"');
        break;
    default:
        vector_to_json(v, out);
        break;
    }
    put_text(out, text);
}

void batch_row_to_json(const struct leat_batch *batch, uint32_t row, struct buffer *out)
{
    buffer_u8(out, '{');
    for (uint32_t i = 0; i < batch->columns; i++) {
        struct leat_value v = leat_at(batch, row, i);

        if (i > 0)
            put_text(out, ", ");
        json_escape(span_text(batch->column[i].name), out);
        put_text(out, ": ");
        value_to_json(&v, out);
    }
    buffer_u8(out, '}');
}

static struct leat_span keep(struct arena *a, struct buffer *b)
{
    void *copy = arena_alloc(a, b->size + 1, 64);

    if (b->size > 0)
        memcpy(copy, b->base, b->size);
    return span_of(copy, b->size);
}

static int json_bytes(struct arena *a, const struct leat_column *c, const cJSON *j, struct leat_value *out,
                      struct leat_error *err)
{
    struct buffer bytes = {0};
    int rv = cJSON_IsString(j) ? base64_decode(span_text(j->valuestring), &bytes) : LEAT_EINVAL;

    if (rv != 0)
        rv = leat_fail(err, LEAT_ESCHEMA, "column '%s': %sbase64 text is wanted", c->name,
                       c->type >= LEAT_F32_VECTOR ? "an array of numbers or " : "");
    else
        *out = (struct leat_value){.type = c->type, .count = c->count, .as.bytes = keep(a, &bytes)};
    if (rv == 0 && c->type >= LEAT_F32_VECTOR && out->as.bytes.size != schema_fixed_size(c))
        rv = leat_fail(err, LEAT_ESCHEMA, "column '%s': %u bytes expected, base64 holds %zu", c->name,
                       schema_fixed_size(c), out->as.bytes.size);
    buffer_fini(&bytes);
    return rv;
}

/* Element i of a vector; false: out of range. */
static bool put_element(const struct leat_column *c, double d, uint8_t *bytes, uint32_t i)
{
    double low = c->type == LEAT_I8_VECTOR ? -128 : 0;
    double high = c->type == LEAT_I8_VECTOR   ? 127
                  : c->type == LEAT_U8_VECTOR ? 255
                  : c->type == LEAT_BITS      ? 1
                                              : UINT32_MAX;
    float f = (float)d;
    uint16_t half;

    if (c->type == LEAT_F32_VECTOR) {
        memcpy(bytes + 4 * (size_t)i, &f, 4);
        return isfinite(f);
    }
    if (c->type == LEAT_F16_VECTOR) {
        if (!half_of(d, &half))
            return false;
        store_u16(bytes + 2 * (size_t)i, half);
        return true;
    }
    if (d < low || d > high || d != floor(d))
        return false;
    if (c->type == LEAT_BITS)
        bytes[i / 8] |= (uint8_t)((int)d << i % 8);
    else if (c->type == LEAT_U32_VECTOR)
        store_u32(bytes + 4 * (size_t)i, (uint32_t)d);
    else
        bytes[i] = (uint8_t)(int)d;
    return true;
}

static int json_vector(struct arena *a, const struct leat_column *c, const cJSON *j, struct leat_value *out,
                       struct leat_error *err)
{
    uint8_t *bytes = arena_zeroed(a, schema_fixed_size(c), 64);
    const cJSON *child;
    uint32_t at = 0;

    if (cJSON_GetArraySize(j) != (int)c->count)
        return leat_fail(err, LEAT_ESCHEMA, "column '%s': %u elements expected, %d given", c->name, c->count,
                         cJSON_GetArraySize(j));
    cJSON_ArrayForEach(child, j) {
        if (!cJSON_IsNumber(child) || !put_element(c, child->valuedouble, bytes, at))
            return leat_fail(err, LEAT_ESCHEMA, "column '%s': element %u is no number that fits", c->name, at);
        at++;
    }
    *out = leat_vector(c->type, bytes, c->count);
    return 0;
}

static int json_any(struct arena *a, const cJSON *j, struct leat_value *out, struct leat_error *err)
{
    struct buffer bytes = {0};
    int rv = pack(j, &bytes, err);

    if (rv == 0) {
        struct leat_span s = keep(a, &bytes);

        *out = leat_any(s.base, s.size);
    }
    buffer_fini(&bytes);
    return rv;
}

/* Digits with at most a minus before them, in range: strtoull by itself takes more, and makes 2^64 - 5 of " -5". */
static bool text_whole(const char *text, struct leat_value *out)
{
    bool negative = *text == '-';
    char *end;

    if (!isdigit((unsigned char)text[negative]))
        return false;
    errno = 0;
    *out = negative ? leat_i64(strtoll(text, &end, 10)) : leat_u64(strtoull(text, &end, 10));
    return errno == 0 && *end == '\0';
}

static int json_whole(const struct leat_column *c, const cJSON *j, struct leat_value *out, struct leat_error *err)
{
    if (cJSON_IsString(j) && text_whole(j->valuestring, out))
        return 0;
    if (!cJSON_IsNumber(j) || j->valuedouble != floor(j->valuedouble))
        return leat_fail(err, LEAT_ESCHEMA, "column '%s': a whole number is wanted", c->name);
    if (fabs(j->valuedouble) >= EXACT)
        return leat_fail(err, LEAT_ESCHEMA, "column '%s': write whole numbers from 2^53 on as a string", c->name);
    *out = leat_i64((int64_t)j->valuedouble);
    return 0;
}

static int json_value(struct arena *a, const struct leat_column *c, const cJSON *j, struct leat_value *out,
                      struct leat_error *err)
{
    *out = leat_null();
    if (cJSON_IsNull(j) && c->type != LEAT_ANY)
        return 0;
    switch (c->type) {
    case LEAT_BOOL:
        *out = leat_bool(cJSON_IsTrue(j));
        return cJSON_IsBool(j) ? 0 : leat_fail(err, LEAT_ESCHEMA, "column '%s': true or false is wanted", c->name);
    case LEAT_I64:
    case LEAT_U32:
    case LEAT_U64:
        return json_whole(c, j, out, err);
    case LEAT_F32:
    case LEAT_F64:
        *out = leat_f64(j->valuedouble);
        return cJSON_IsNumber(j) ? 0 : leat_fail(err, LEAT_ESCHEMA, "column '%s': a number is wanted", c->name);
    case LEAT_STR:
        if (!cJSON_IsString(j))
            return leat_fail(err, LEAT_ESCHEMA, "column '%s': a string is wanted", c->name);
        *out = leat_str(arena_format(a, "%s", j->valuestring));
        return 0;
    case LEAT_ANY:
        return json_any(a, j, out, err);
    case LEAT_BYTES:
        return json_bytes(a, c, j, out, err);
    default:
        return cJSON_IsArray(j) ? json_vector(a, c, j, out, err) : json_bytes(a, c, j, out, err);
    }
}

int json_to_row(struct arena *a, const struct row_schema *schema, struct leat_span text, struct leat_value *out,
                struct leat_error *err)
{
    const cJSON *child;
    cJSON *j = parse(text, err);
    uint64_t given = 0; /* bit i: column i, which are at most LIMIT_COLUMNS */
    int rv = 0;

    if (j == NULL)
        return err != NULL ? err->code : LEAT_ESCHEMA;
    if (!cJSON_IsObject(j))
        rv = leat_fail(err, LEAT_ESCHEMA, "a JSON object is wanted: {%s}", row_schema_text(a, schema));
    for (uint32_t i = 0; i < schema->columns; i++)
        out[i] = leat_null();
    cJSON_ArrayForEach(child, j) {
        int at = rv == 0 ? row_schema_find(schema, child->string) : -1;

        if (rv == 0 && at < 0)
            rv = leat_fail(err, LEAT_ESCHEMA, "there is no column '%s'; the columns are: %s", child->string,
                           row_schema_text(a, schema));
        if (rv == 0 && given >> at & 1)
            rv = leat_fail(err, LEAT_ESCHEMA, "column '%s' is there twice", child->string);
        given |= rv == 0 ? UINT64_C(1) << at : 0;
        if (rv == 0)
            rv = json_value(a, &schema->column[at], child, &out[at], err);
        if (rv == 0)
            rv = schema_check_value(&schema->column[at], &out[at], err);
    }
    for (uint32_t i = 0; i < schema->columns && rv == 0; i++)
        if (out[i].type == LEAT_NULL && !schema->column[i].nullable)
            rv = leat_fail(err, LEAT_ESCHEMA, "column '%s' is missing", schema->column[i].name);
    cJSON_Delete(j);
    return rv;
}
