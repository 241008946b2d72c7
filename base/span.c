/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

/* Bytes grow by doubling, so that a million small puts cost a handful of copies. */

void buffer_init(struct buffer *b, size_t limit)
{
    *b = (struct buffer){.limit = limit};
}

void buffer_fini(struct buffer *b)
{
    free(b->base);
    *b = (struct buffer){.limit = b->limit};
}

void buffer_clear(struct buffer *b)
{
    b->size = 0;
    b->error = 0;
}

static bool reserve(struct buffer *b, size_t size)
{
    size_t limit = b->limit > 0 ? b->limit : LIMIT_BATCH;

    if (b->error != 0)
        return false;
    if (size > limit || b->size > limit - size) {
        b->error = LEAT_ELIMIT;
        return false;
    }
    size_t capacity = b->capacity > 0 ? b->capacity : 256;
    while (capacity < b->size + size)
        capacity *= 2;
    b->capacity = capacity < limit ? capacity : limit; /* so that what fits the capacity is within the limit */
    b->base = base_realloc(b->base, b->capacity);
    return true;
}

void *buffer_grow(struct buffer *b, size_t size)
{
    if (b->error != 0 || (b->capacity - b->size < size && !reserve(b, size)))
        return NULL;
    if (b->base == NULL && !reserve(b, 1))
        return NULL;
    void *at = b->base + b->size;
    b->size += size;
    return at;
}

void buffer_put(struct buffer *b, const void *bytes, size_t size)
{
    void *at = buffer_grow(b, size);

    if (at != NULL && size > 0)
        memcpy(at, bytes, size);
}

void buffer_u8(struct buffer *b, uint8_t v)
{
    buffer_put(b, &v, 1);
}

void buffer_u32(struct buffer *b, uint32_t v)
{
    uint8_t bytes[4];

    store_u32(bytes, v);
    buffer_put(b, bytes, 4);
}

void buffer_u64(struct buffer *b, uint64_t v)
{
    uint8_t bytes[8];

    store_u64(bytes, v);
    buffer_put(b, bytes, 8);
}

void buffer_varint(struct buffer *b, uint64_t v)
{
    uint8_t bytes[10];
    size_t size = 0;

    while (v >= 0x80) {
        bytes[size++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    bytes[size++] = (uint8_t)v;
    buffer_put(b, bytes, size);
}

void buffer_span(struct buffer *b, struct leat_span s)
{
    buffer_varint(b, s.size);
    buffer_put(b, s.base, s.size);
}

struct leat_span buffer_bytes(const struct buffer *b)
{
    return span_of(b->base, b->size);
}

/* ---- Reading ---- */

struct reader reader_of(struct leat_span s)
{
    static const uint8_t nothing[1];
    const uint8_t *at = s.size > 0 ? s.base : nothing;

    return (struct reader){at, at + s.size, 0};
}

size_t reader_left(const struct reader *r)
{
    return r->error == 0 ? (size_t)(r->end - r->at) : 0;
}

const void *reader_take(struct reader *r, size_t size)
{
    if (r->error != 0 || (size_t)(r->end - r->at) < size) {
        r->error = LEAT_ECORRUPT;
        return NULL;
    }
    const void *at = r->at;
    r->at += size;
    return at;
}

uint8_t reader_u8(struct reader *r)
{
    const uint8_t *at = reader_take(r, 1);

    return at != NULL ? *at : 0;
}

uint32_t reader_u32(struct reader *r)
{
    const void *at = reader_take(r, 4);

    return at != NULL ? load_u32(at) : 0;
}

uint64_t reader_u64(struct reader *r)
{
    const void *at = reader_take(r, 8);

    return at != NULL ? load_u64(at) : 0;
}

uint64_t reader_varint(struct reader *r)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = reader_u8(r);

        if (shift == 63 && byte > 1)
            break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return r->error == 0 ? v : 0;
    }
    r->error = LEAT_ECORRUPT;
    return 0;
}

struct leat_span reader_span(struct reader *r)
{
    uint64_t size = reader_varint(r);
    const void *at = reader_take(r, size);

    return span_of(at, at != NULL ? size : 0);
}

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Leat reads its files in place and needs a little-endian processor"
#endif

struct leat_span span_text(const char *text)
{
    return span_of(text, strlen(text));
}

bool span_equal(struct leat_span a, struct leat_span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.base, b.base, a.size) == 0);
}
