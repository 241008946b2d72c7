/* SPDX-License-Identifier: Apache-2.0 */
#include "base/schema.h"

#include "base/base.h"
#include "base/codec.h"

#include <math.h>
#include <stdio.h>

/* The codec of rows. Hot: rows are encoded once when they are emitted and decoded once when they are run. */

bool utf8_valid(struct leat_span s)
{
    const uint8_t *p = s.base, *end = s.size > 0 ? p + s.size : p; /* no bytes may have no base */

    while (p < end) {
        if (*p < 0x80) {
            p++;
            continue;
        }
        unsigned more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;
        if (*p < 0xc2 || *p > 0xf4 || (size_t)(end - p) <= more)
            return false;
        uint8_t low = *p == 0xe0 ? 0xa0 : *p == 0xf0 ? 0x90 : 0x80, high = *p == 0xed ? 0x9f : *p == 0xf4 ? 0x8f : 0xbf;
        if (p[1] < low || p[1] > high)
            return false;
        for (unsigned i = 2; i <= more; i++)
            if ((p[i] & 0xc0) != 0x80)
                return false;
        p += more + 1;
    }
    return true;
}

/* All exponent bits set: an infinity or no number. Integer compares, so that the compiler can do many at once. */
static bool f32_finite(const void *base, uint32_t count)
{
    uint32_t bad = 0;

    for (uint32_t i = 0; i < count; i++)
        bad |= (load_u32((const uint8_t *)base + 4 * (size_t)i) & 0x7f800000U) == 0x7f800000U;
    return bad == 0;
}

static bool f16_finite(const void *base, uint32_t count)
{
    uint32_t bad = 0;

    for (uint32_t i = 0; i < count; i++)
        bad |= (load_u16((const uint8_t *)base + 2 * (size_t)i) & 0x7c00U) == 0x7c00U;
    return bad == 0;
}

static bool is_vector(enum leat_type type)
{
    return type >= LEAT_F32_VECTOR;
}

static bool is_spanned(enum leat_type type)
{
    return type == LEAT_STR || type == LEAT_BYTES || type == LEAT_ANY;
}

/* ---- Checking ---- */

static int check_contents(const struct leat_column *c, const struct leat_value *v, struct leat_error *err)
{
    switch (c->type) {
    case LEAT_F32:
        if (!isfinite((float)v->as.f))
            return leat_fail(err, LEAT_ESCHEMA, "column '%s': not a finite f32", c->name);
        return 0;
    case LEAT_F64:
        return isfinite(v->as.f) ? 0 : leat_fail(err, LEAT_ESCHEMA, "column '%s': not a finite number", c->name);
    case LEAT_STR:
        return utf8_valid(v->as.bytes) ? 0 : leat_fail(err, LEAT_ESCHEMA, "column '%s': not valid UTF-8", c->name);
    case LEAT_ANY:
        if (msgpack_check(v->as.bytes, err) != 0)
            return base_wrap(err, LEAT_ESCHEMA, "column '%s'", c->name);
        return 0;
    case LEAT_F32_VECTOR:
        if (f32_finite(v->as.bytes.base, c->count))
            return 0;
        return leat_fail(err, LEAT_ESCHEMA, "column '%s': the vector holds NaN or infinity", c->name);
    case LEAT_F16_VECTOR:
        if (f16_finite(v->as.bytes.base, c->count))
            return 0;
        return leat_fail(err, LEAT_ESCHEMA, "column '%s': the vector holds NaN or infinity", c->name);
    default:
        return 0;
    }
}

static bool is_whole(enum leat_type t)
{
    return t == LEAT_I64 || t == LEAT_U32 || t == LEAT_U64;
}

/* May a value of another number type stand for the column's? */
static bool number_fits(const struct leat_column *c, const struct leat_value *v)
{
    if (c->type == LEAT_F32 || c->type == LEAT_F64)
        return v->type == LEAT_F32 || v->type == LEAT_F64 || is_whole(v->type);
    if (!is_whole(c->type) || !is_whole(v->type))
        return false;
    bool negative = v->type == LEAT_I64 && v->as.i < 0;
    if (c->type == LEAT_I64)
        return negative || v->as.u <= INT64_MAX;
    return !negative && (c->type == LEAT_U64 || v->as.u <= UINT32_MAX);
}

static const char *type_text(const struct leat_column *c, char text[64])
{
    struct arena *a = arena_open(4096);

    snprintf(text, 64, "%s", schema_type_text(a, c));
    arena_close(a);
    return text;
}

static int check_type(const struct leat_column *c, const struct leat_value *v, struct leat_error *err)
{
    char want[64], have[64];

    if (v->type == LEAT_NULL)
        return c->nullable ? 0 : leat_fail(err, LEAT_ESCHEMA, "column '%s': must not be null", c->name);
    if (v->type == c->type && is_vector(c->type) && (v->count != c->count || v->as.bytes.size != schema_fixed_size(c)))
        return leat_fail(err, LEAT_ESCHEMA, "column '%s': %u elements expected, %u given", c->name, c->count, v->count);
    if (v->type == c->type || number_fits(c, v))
        return 0;
    struct leat_column given = {.type = v->type, .count = v->count};
    return leat_fail(err, LEAT_ESCHEMA, "column '%s': %s expected, %s given", c->name, type_text(c, want),
                     type_text(&given, have));
}

int schema_check_value(const struct leat_column *column, const struct leat_value *value, struct leat_error *err)
{
    int rv = check_type(column, value, err);

    if (rv != 0 || value->type == LEAT_NULL)
        return rv;
    struct leat_value v = *value;
    if ((column->type == LEAT_F32 || column->type == LEAT_F64) && is_whole(v.type))
        return 0;
    return check_contents(column, &v, err);
}

/* ---- Encoding ---- */

static double as_double(const struct leat_value *v)
{
    if (v->type == LEAT_I64)
        return (double)v->as.i;
    return is_whole(v->type) ? (double)v->as.u : v->as.f;
}

static void put_value(const struct leat_column *c, const struct leat_value *v, struct buffer *out)
{
    double d;
    float f;

    if (c->nullable)
        buffer_u8(out, v->type != LEAT_NULL);
    if (v->type == LEAT_NULL)
        return;
    switch (c->type) {
    case LEAT_BOOL:
        buffer_u8(out, v->as.b);
        break;
    case LEAT_U32:
        buffer_u32(out, (uint32_t)v->as.u);
        break;
    case LEAT_I64:
    case LEAT_U64:
        buffer_u64(out, v->as.u);
        break;
    case LEAT_F32:
        f = (float)as_double(v);
        buffer_put(out, &f, 4);
        break;
    case LEAT_F64:
        d = as_double(v);
        buffer_put(out, &d, 8);
        break;
    case LEAT_STR:
    case LEAT_BYTES:
    case LEAT_ANY:
        buffer_span(out, v->as.bytes);
        break;
    default:
        buffer_put(out, v->as.bytes.base, v->as.bytes.size);
        break;
    }
}

static int finish_row(struct buffer *out, size_t before, struct leat_error *err)
{
    if (out->error == 0 && out->size - before <= LIMIT_ROW)
        return 0;
    if (out->size > before)
        out->size = before;
    return leat_fail(err, LEAT_ELIMIT, "a row is larger than %d MiB, or the rows of one append are too many",
                     LIMIT_ROW >> 20);
}

int row_encode(const struct row_schema *schema, struct leat_row row, struct buffer *out, struct leat_error *err)
{
    size_t before = out->size;

    if (row.count != schema->columns)
        return leat_fail(err, LEAT_ESCHEMA, "a row has %u columns, %u given", schema->columns, row.count);
    for (uint32_t i = 0; i < row.count; i++) {
        int rv = schema_check_value(&schema->column[i], &row.value[i], err);

        if (rv != 0) {
            out->size = before;
            return rv;
        }
        put_value(&schema->column[i], &row.value[i], out);
    }
    return finish_row(out, before, err);
}

int row_encode_fast(const struct row_schema *schema, struct leat_row row, struct buffer *out)
{
    size_t before = out->size;

    leat_assert(row.count >= schema->columns);
    for (uint32_t i = 0; i < schema->columns; i++) {
        const struct leat_column *c = &schema->column[i];
        const struct leat_value *v = &row.value[i];

        if (v->type != c->type || (is_vector(c->type) && v->as.bytes.size != c->stride)) {
            if (check_type(c, v, NULL) != 0) {
                out->size = before;
                return LEAT_ESCHEMA;
            }
        }
        put_value(c, v, out);
    }
    return finish_row(out, before, NULL);
}

/* ---- Decoding ---- */

static void read_value(const struct leat_column *c, struct reader *r, struct leat_value *v)
{
    const void *at;
    float f;

    *v = (struct leat_value){.type = c->type, .count = c->count, .as.u = 0};
    if (c->nullable) {
        uint8_t there = reader_u8(r);

        if (there > 1)
            r->error = LEAT_ECORRUPT;
        if (there == 0) {
            *v = leat_null();
            return;
        }
    }
    if (is_spanned(c->type)) {
        v->as.bytes = reader_span(r);
        return;
    }
    uint32_t size = schema_fixed_size(c);
    at = reader_take(r, size);
    if (at == NULL)
        return;
    if (is_vector(c->type)) {
        v->as.bytes = span_of(at, size);
    } else if (c->type == LEAT_F32) {
        memcpy(&f, at, 4);
        v->as.f = (double)f;
    } else if (c->type == LEAT_BOOL) {
        uint8_t b = *(const uint8_t *)at;

        v->as.b = b != 0;
        if (b > 1)
            r->error = LEAT_ECORRUPT;
    } else {
        memcpy(&v->as, at, size);
    }
}

int row_decode(const struct row_schema *schema, struct leat_span bytes, struct leat_value *out)
{
    struct reader r = reader_of(bytes);

    for (uint32_t i = 0; i < schema->columns; i++)
        read_value(&schema->column[i], &r, &out[i]);
    return r.error == 0 && r.at == r.end ? 0 : LEAT_ECORRUPT;
}

int row_check(const struct row_schema *schema, struct leat_span bytes, struct leat_error *err)
{
    struct leat_value value[LIMIT_COLUMNS];

    if (row_decode(schema, bytes, value) != 0)
        return leat_fail(err, LEAT_ESCHEMA, "%zu bytes are not one row of the schema", bytes.size);
    for (uint32_t i = 0; i < schema->columns; i++) {
        int rv = schema_check_value(&schema->column[i], &value[i], err);

        if (rv != 0)
            return rv;
    }
    return 0;
}

/* ---- Batches ---- */

static void batch_columns(struct arena *a, const struct row_schema *schema, uint32_t count, struct leat_column *column)
{
    for (uint32_t i = 0; i < schema->columns; i++) {
        column[i] = schema->column[i];
        column[i].data = arena_alloc(a, (size_t)count * column[i].stride + 1, 64);
        if (column[i].nullable)
            column[i].nulls = arena_zeroed(a, count, 1);
    }
}

/* One value to its place in a column. */
static void fill(const struct leat_column *c, struct reader *r, uint32_t row)
{
    uint8_t *to = (uint8_t *)(uintptr_t)c->data + (size_t)row * c->stride;

    if (c->nullable && reader_u8(r) == 0) {
        ((uint8_t *)(uintptr_t)c->nulls)[row] = 1;
        memset(to, 0, c->stride);
        return;
    }
    if (is_spanned(c->type)) {
        struct leat_span s = reader_span(r);

        memcpy(to, &s, sizeof(s));
        return;
    }
    const void *from = reader_take(r, c->stride);
    if (from != NULL)
        memcpy(to, from, c->stride);
}

int row_batch(struct arena *a, const struct row_schema *schema, const struct leat_span *rows, uint32_t count,
              struct leat_batch *out)
{
    struct leat_column *column = arena_alloc(a, (schema->columns + 1) * sizeof(*column), 16);

    batch_columns(a, schema, count, column);
    for (uint32_t i = 0; i < count; i++) {
        struct reader r = reader_of(rows[i]);

        for (uint32_t j = 0; j < schema->columns; j++)
            fill(&column[j], &r, i);
        if (r.error != 0 || r.at != r.end)
            return LEAT_ECORRUPT;
    }
    *out = (struct leat_batch){count, schema->columns, column};
    return 0;
}
