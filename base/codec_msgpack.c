/* SPDX-License-Identifier: Apache-2.0 */
#include "base/codec.h"

#include "base/base.h"

/* A bounded walk over MessagePack bytes, before msgpack-c or anybody else sees them: the library allocates what a
 * header claims, so that a few bytes can ask for gigabytes (msgpack-c issue 1013). */

/* What one header says: type (LEAT_ANY: array, map or extension), bytes of content and elements that follow. */
struct head {
    enum leat_type type;
    uint8_t byte;
    uint64_t skip;
    uint64_t elements;
};

static uint64_t big_endian(struct reader *r, unsigned size)
{
    const uint8_t *at = reader_take(r, size);
    uint64_t v = 0;

    for (unsigned i = 0; at != NULL && i < size; i++)
        v = v << 8 | at[i];
    return v;
}

static void read_number_head(struct head *h)
{
    static const uint8_t size[10] = {4, 8, 1, 2, 4, 8, 1, 2, 4, 8};

    h->skip = size[h->byte - 0xca];
    h->type = h->byte >= 0xd0 ? LEAT_I64 : h->byte >= 0xcc ? LEAT_U64 : h->byte == 0xcb ? LEAT_F64 : LEAT_F32;
}

static void read_head(struct reader *r, struct head *h)
{
    uint8_t byte = reader_u8(r);

    *h = (struct head){LEAT_ANY, byte, 0, 0};
    if (byte <= 0x7f || byte >= 0xe0)
        h->type = LEAT_I64;
    else if (byte <= 0x8f)
        h->elements = 2 * (uint64_t)(byte & 0x0f);
    else if (byte <= 0x9f)
        h->elements = byte & 0x0f;
    else if (byte == 0xc0)
        h->type = LEAT_NULL;
    else if (byte == 0xc1)
        r->error = LEAT_ECORRUPT;
    else if (byte == 0xc2 || byte == 0xc3)
        h->type = LEAT_BOOL;
    else if (byte >= 0xca && byte <= 0xd3)
        read_number_head(h);
    else if (byte >= 0xc7 && byte <= 0xc9)
        h->skip = big_endian(r, 1U << (byte - 0xc7)) + 1;
    else if (byte >= 0xd4 && byte <= 0xd8)
        h->skip = (1U << (byte - 0xd4)) + 1;
    else if (byte >= 0xdc)
        h->elements = big_endian(r, byte & 1 ? 4 : 2) * (byte >= 0xde ? 2 : 1);
    else {
        h->type = byte >= 0xc4 && byte <= 0xc6 ? LEAT_BYTES : LEAT_STR;
        h->skip = byte <= 0xbf ? byte & 0x1f : big_endian(r, 1U << (byte <= 0xc6 ? byte - 0xc4 : byte - 0xd9));
    }
}

/* Over one whole value. */
static int skip_value(struct reader *r, struct leat_error *err)
{
    uint64_t left[LIMIT_ANY_DEPTH + 1] = {1}, total = 0;
    size_t size = reader_left(r);
    int depth = 0;

    while (depth >= 0) {
        struct head h;

        if (left[depth] == 0) {
            depth--;
            continue;
        }
        left[depth]--;
        read_head(r, &h);
        reader_take(r, h.skip);
        if (r->error != 0 || h.elements > reader_left(r))
            return leat_fail(err, LEAT_ESCHEMA, "not one whole MessagePack value (%zu bytes)", size);
        if (++total > LIMIT_ANY_ELEMENTS)
            return leat_fail(err, LEAT_ESCHEMA, "a value with more than %d elements", LIMIT_ANY_ELEMENTS);
        if (h.type != LEAT_ANY || h.skip > 0)
            continue;
        if (depth == LIMIT_ANY_DEPTH) /* empty ones too: the library wants room for them */
            return leat_fail(err, LEAT_ESCHEMA, "a value nested deeper than %d", LIMIT_ANY_DEPTH);
        left[++depth] = h.elements;
    }
    return 0;
}

int msgpack_check(struct leat_span bytes, struct leat_error *err)
{
    struct reader r = reader_of(bytes);
    int rv = skip_value(&r, err);

    if (rv == 0 && reader_left(&r) != 0)
        return leat_fail(err, LEAT_ESCHEMA, "%zu bytes behind a MessagePack value", reader_left(&r));
    return rv;
}

/* ---- One value at a time ---- */

static double float_of(uint64_t bits, enum leat_type type)
{
    uint32_t half = (uint32_t)bits;
    float f;
    double d;

    memcpy(&f, &half, sizeof(f));
    memcpy(&d, &bits, sizeof(d));
    return type == LEAT_F32 ? (double)f : d;
}

/* A scalar whose content is next, within the bytes. */
static struct leat_value read_scalar(struct reader *r, const struct head *h)
{
    if (h->type == LEAT_STR || h->type == LEAT_BYTES)
        return (struct leat_value){.type = h->type, .as.bytes = {reader_take(r, h->skip), h->skip}};
    uint64_t u = big_endian(r, (unsigned)h->skip);
    unsigned unused = 64 - 8 * (unsigned)h->skip;

    switch (h->type) {
    case LEAT_NULL:
        return leat_null();
    case LEAT_BOOL:
        return leat_bool(h->byte == 0xc3);
    case LEAT_I64:
        return leat_i64(h->skip == 0 ? (int8_t)h->byte : (int64_t)(u << unused) >> unused);
    case LEAT_U64:
        return u > INT64_MAX ? leat_u64(u) : leat_i64((int64_t)u);
    default:
        return leat_f64(float_of(u, h->type));
    }
}

/* What lies between two readers of the same bytes. */
static struct leat_span between(const struct reader *from, const struct reader *to)
{
    return span_of(from->at, (size_t)(to->at - from->at));
}

int leat_any_read(struct leat_span *bytes, struct leat_any_item *out)
{
    struct reader start = reader_of(*bytes), content = start, end = start;
    struct head h;

    read_head(&content, &h);
    if (h.type == LEAT_ANY && skip_value(&end, NULL) != 0)
        return LEAT_ESCHEMA;
    *out = (struct leat_any_item){.value = leat_any(start.at, between(&start, &end).size)};
    if (h.type != LEAT_ANY) {
        out->value = read_scalar(&content, &h);
        end = content;
    } else if (h.skip == 0) { /* no extension: those have content */
        bool map = h.byte <= 0x8f || h.byte >= 0xde;

        out->kind = map ? LEAT_ANY_MAP : LEAT_ANY_ARRAY;
        out->count = (uint32_t)(map ? h.elements / 2 : h.elements);
        out->elements = between(&content, &end);
    }
    if (end.error != 0)
        return LEAT_ESCHEMA;
    *bytes = span_of(end.at, reader_left(&end));
    return 0;
}
