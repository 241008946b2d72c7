/* SPDX-License-Identifier: Apache-2.0 */
#include "base/codec.h"

#include "base/base.h"

/* A bounded walk over MessagePack bytes, before msgpack-c or anybody else sees them: the library allocates what a
 * header claims, so that a few bytes can ask for gigabytes (msgpack-c issue 1013). */

/* What one header says: bytes of content and elements that follow. */
struct head {
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

static void read_head(struct reader *r, struct head *h)
{
    static const uint8_t fixed[16] = {[0xa] = 4, [0xb] = 8, [0xc] = 1, [0xd] = 2, [0xe] = 4, [0xf] = 8};
    uint8_t byte = reader_u8(r);

    *h = (struct head){0, 0};
    if (byte <= 0x7f || byte >= 0xe0 || byte == 0xc0 || byte == 0xc2 || byte == 0xc3)
        return;
    if (byte <= 0x8f)
        h->elements = 2 * (uint64_t)(byte & 0x0f);
    else if (byte <= 0x9f)
        h->elements = byte & 0x0f;
    else if (byte <= 0xbf)
        h->skip = byte & 0x1f;
    else if (byte == 0xc1)
        r->error = LEAT_ECORRUPT;
    else if (byte <= 0xc6)
        h->skip = big_endian(r, 1U << (byte - 0xc4));
    else if (byte <= 0xc9)
        h->skip = big_endian(r, 1U << (byte - 0xc7)) + 1;
    else if (byte <= 0xcf)
        h->skip = fixed[byte & 0x0f];
    else if (byte <= 0xd3)
        h->skip = 1U << (byte - 0xd0);
    else if (byte <= 0xd8)
        h->skip = (1U << (byte - 0xd4)) + 1;
    else if (byte <= 0xdb)
        h->skip = big_endian(r, 1U << (byte - 0xd9));
    else
        h->elements = big_endian(r, byte & 1 ? 4 : 2) * (byte >= 0xde ? 2 : 1);
}

int msgpack_check(struct leat_span bytes, struct leat_error *err)
{
    struct reader r = reader_of(bytes);
    uint64_t left[LIMIT_ANY_DEPTH + 1] = {1}, total = 0;
    int depth = 0;

    while (depth >= 0) {
        struct head h;

        if (left[depth] == 0) {
            depth--;
            continue;
        }
        left[depth]--;
        read_head(&r, &h);
        reader_take(&r, h.skip);
        if (r.error != 0 || h.elements > reader_left(&r))
            return leat_fail(err, LEAT_ESCHEMA, "not one whole MessagePack value (%zu bytes)", bytes.size);
        if (++total > LIMIT_ANY_ELEMENTS)
            return leat_fail(err, LEAT_ESCHEMA, "a value with more than %d elements", LIMIT_ANY_ELEMENTS);
        if (h.elements == 0)
            continue;
        if (depth == LIMIT_ANY_DEPTH)
            return leat_fail(err, LEAT_ESCHEMA, "a value nested deeper than %d", LIMIT_ANY_DEPTH);
        left[++depth] = h.elements;
    }
    if (reader_left(&r) != 0)
        return leat_fail(err, LEAT_ESCHEMA, "%zu bytes behind a MessagePack value", reader_left(&r));
    return 0;
}
