/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include "leat/leat.h"

#include <string.h>

/* Bytes that grow up to a limit. Failure sticks: puts after it do nothing, buffer_error() tells at the end. */
struct buffer {
    uint8_t *base;
    size_t size;
    size_t capacity;
    size_t limit; /* 0: LIMIT_BATCH */
    int error;    /* LEAT_ELIMIT once the limit was passed */
};

/* A zeroed struct buffer is empty and ready. */
void buffer_init(struct buffer *b, size_t limit);
void buffer_fini(struct buffer *b);
void buffer_clear(struct buffer *b); /* keeps the memory; forgets the error */
/* Room for size bytes at the end, which the caller fills; NULL once failed. */
void *buffer_grow(struct buffer *b, size_t size);
void buffer_put(struct buffer *b, const void *bytes, size_t size);
void buffer_u8(struct buffer *b, uint8_t v);
void buffer_u32(struct buffer *b, uint32_t v); /* little-endian */
void buffer_u64(struct buffer *b, uint64_t v);
void buffer_varint(struct buffer *b, uint64_t v); /* LEB128, at most 10 bytes */
void buffer_span(struct buffer *b, struct leat_span s); /* varint size, then the bytes */
struct leat_span buffer_bytes(const struct buffer *b);

/* Reading bytes from outside. Failure sticks (LEAT_ECORRUPT); reads after it give 0 and empty spans. */
struct reader {
    const uint8_t *at;
    const uint8_t *end;
    int error;
};

struct reader reader_of(struct leat_span s);
uint8_t reader_u8(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
uint64_t reader_varint(struct reader *r);
const void *reader_take(struct reader *r, size_t size); /* NULL once failed */
struct leat_span reader_span(struct reader *r);         /* what buffer_span wrote; borrowed */
size_t reader_left(const struct reader *r);

/* Unaligned little-endian access. */
static inline uint16_t load_u16(const void *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}
static inline uint32_t load_u32(const void *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}
static inline uint64_t load_u64(const void *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}
static inline void store_u16(void *p, uint16_t v)
{
    memcpy(p, &v, sizeof(v));
}
static inline void store_u32(void *p, uint32_t v)
{
    memcpy(p, &v, sizeof(v));
}
static inline void store_u64(void *p, uint64_t v)
{
    memcpy(p, &v, sizeof(v));
}

static inline struct leat_span span_of(const void *base, size_t size)
{
    return (struct leat_span){base, size};
}
struct leat_span span_text(const char *text);
bool span_equal(struct leat_span a, struct leat_span b);

#endif
