/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/journal.h"

#include "base/crc32c.h"

/* The bytes, in order, all integers LEB128 varints unless said: magic "LJB1" (4 bytes), version u8, epoch, turn, now
 * u64, ranges, hops, progress, sessions, ticks, ops, outputs, CRC-32C u32 over all before it. FORMATS.md. */

#define MAGIC 0x31424a4cU

/* ---- Encoding ---- */

static void encode_ranges(const struct batch *b, struct buffer *out)
{
    buffer_u64(out, b->opened_xor);
    buffer_varint(out, b->opened_bytes);
    buffer_varint(out, b->ranges);
    for (uint32_t i = 0; i < b->ranges; i++) {
        buffer_varint(out, b->range[i].partition);
        buffer_varint(out, b->range[i].base);
        buffer_varint(out, b->range[i].first);
        buffer_varint(out, b->range[i].next - b->range[i].first);
    }
}

static void encode_hops(const struct batch *b, struct buffer *out)
{
    buffer_varint(out, b->hops);
    for (uint32_t i = 0; i < b->hops; i++) {
        buffer_varint(out, b->hop[i].peer);
        buffer_varint(out, b->hop[i].cursor.turn);
        buffer_varint(out, b->hop[i].cursor.position);
        buffer_varint(out, b->hop[i].cursor.item);
        buffer_varint(out, b->hop[i].cursor.progress_turn);
    }
}

static void encode_progress(const struct batch_progress *p, uint32_t count, struct buffer *out)
{
    buffer_varint(out, count);
    for (uint32_t i = 0; i < count; i++) {
        buffer_varint(out, p[i].turn);
        buffer_u64(out, p[i].xor);
    }
}

static void encode_sessions(const struct batch *b, struct buffer *out)
{
    buffer_varint(out, b->sessions);
    for (uint32_t i = 0; i < b->sessions; i++) {
        buffer_varint(out, b->session[i].partition);
        buffer_u64(out, b->session[i].session);
        buffer_varint(out, b->session[i].sequence);
        buffer_u64(out, (uint64_t)b->session[i].time_us);
    }
    buffer_varint(out, b->ticks);
    for (uint32_t i = 0; i < b->ticks; i++) {
        buffer_varint(out, b->tick[i].depot);
        buffer_u64(out, (uint64_t)b->tick[i].next_us);
    }
}

void batch_encode(const struct batch *b, struct buffer *out)
{
    size_t start = out->size;

    buffer_u32(out, MAGIC);
    buffer_u8(out, JOURNAL_VERSION);
    buffer_varint(out, b->epoch);
    buffer_varint(out, b->turn);
    buffer_u64(out, (uint64_t)b->now_us);
    encode_ranges(b, out);
    encode_hops(b, out);
    encode_progress(b->progress, b->progresses, out);
    encode_sessions(b, out);
    buffer_span(out, b->ops);
    buffer_varint(out, b->outputs);
    for (uint32_t i = 0; i < b->outputs; i++) {
        buffer_varint(out, b->output[i].group);
        buffer_varint(out, b->output[i].previous);
        buffer_span(out, b->output[i].body);
    }
    if (out->error == 0)
        buffer_u32(out, crc32c(0, out->base + start, out->size - start));
}

/* ---- Decoding ---- */

/* A list's length, and room for it: no element takes less than a byte, so a wrong length cannot ask for more memory
 * than the record's size times the element's. */
static void *read_list(struct reader *r, struct arena *a, size_t element, uint32_t *count)
{
    uint64_t n = reader_varint(r);

    if (n > reader_left(r))
        r->error = LEAT_ECORRUPT;
    *count = r->error == 0 ? (uint32_t)n : 0;
    return arena_alloc(a, (*count + 1) * element, 8);
}

static void decode_ranges(struct reader *r, struct arena *a, struct batch *b)
{
    b->opened_xor = reader_u64(r);
    b->opened_bytes = reader_varint(r);
    b->range = read_list(r, a, sizeof(*b->range), &b->ranges);
    for (uint32_t i = 0; i < b->ranges; i++) {
        b->range[i].partition = (uint32_t)reader_varint(r);
        b->range[i].base = (uint32_t)reader_varint(r);
        b->range[i].first = reader_varint(r);
        b->range[i].next = b->range[i].first + reader_varint(r);
    }
}

static void decode_hops(struct reader *r, struct arena *a, struct batch *b)
{
    b->hop = read_list(r, a, sizeof(*b->hop), &b->hops);
    for (uint32_t i = 0; i < b->hops; i++) {
        b->hop[i].peer = (uint32_t)reader_varint(r);
        b->hop[i].cursor.turn = reader_varint(r);
        b->hop[i].cursor.position = reader_varint(r);
        b->hop[i].cursor.item = (uint32_t)reader_varint(r);
        b->hop[i].cursor.progress_turn = reader_varint(r);
    }
}

static struct batch_progress *decode_progress(struct reader *r, struct arena *a, uint32_t *count)
{
    struct batch_progress *p = read_list(r, a, sizeof(*p), count);

    for (uint32_t i = 0; i < *count; i++) {
        p[i].turn = reader_varint(r);
        p[i].xor = reader_u64(r);
    }
    return p;
}

static void decode_sessions(struct reader *r, struct arena *a, struct batch *b)
{
    b->session = read_list(r, a, sizeof(*b->session), &b->sessions);
    for (uint32_t i = 0; i < b->sessions; i++) {
        b->session[i].partition = (uint32_t)reader_varint(r);
        b->session[i].session = reader_u64(r);
        b->session[i].sequence = reader_varint(r);
        b->session[i].time_us = (int64_t)reader_u64(r);
    }
    b->tick = read_list(r, a, sizeof(*b->tick), &b->ticks);
    for (uint32_t i = 0; i < b->ticks; i++) {
        b->tick[i].depot = (uint32_t)reader_varint(r);
        b->tick[i].next_us = (int64_t)reader_u64(r);
    }
}

static void decode_outputs(struct reader *r, struct arena *a, struct batch *b)
{
    b->output = read_list(r, a, sizeof(*b->output), &b->outputs);
    for (uint32_t i = 0; i < b->outputs; i++) {
        b->output[i].group = (uint32_t)reader_varint(r);
        b->output[i].previous = reader_varint(r);
        b->output[i].body = reader_span(r);
    }
}

int batch_decode(struct leat_span bytes, struct arena *a, struct batch *out, struct leat_error *err)
{
    memset(out, 0, sizeof(*out));
    if (bytes.size < 9 || load_u32(bytes.base) != MAGIC ||
        load_u32((const uint8_t *)bytes.base + bytes.size - 4) != crc32c(0, bytes.base, bytes.size - 4))
        return leat_fail(err, LEAT_ECORRUPT, "a journal record of %zu bytes is not a whole batch", bytes.size);
    struct reader r = reader_of(span_of((const uint8_t *)bytes.base + 4, bytes.size - 8));
    uint8_t version = reader_u8(&r);
    if (version != JOURNAL_VERSION)
        return leat_fail(err, LEAT_EFORMAT,
                         "a journal batch has version %u, this program reads version %d: use the program that wrote it",
                         version, JOURNAL_VERSION);
    out->epoch = reader_varint(&r);
    out->turn = reader_varint(&r);
    out->now_us = (int64_t)reader_u64(&r);
    decode_ranges(&r, a, out);
    decode_hops(&r, a, out);
    out->progress = decode_progress(&r, a, &out->progresses);
    decode_sessions(&r, a, out);
    out->ops = reader_span(&r);
    decode_outputs(&r, a, out);
    if (r.error != 0 || reader_left(&r) != 0)
        return leat_fail(err, LEAT_ECORRUPT, "the journal batch of turn %llu does not check out",
                         (unsigned long long)out->turn);
    return 0;
}

/* ---- Outputs ---- */

/* Room for one more element of a list in the arena. */
static void *list_grow(struct arena *a, void *list, uint32_t count, uint32_t *capacity, size_t element)
{
    if (count < *capacity)
        return list;
    *capacity = *capacity == 0 ? 16 : *capacity * 2;
    void *grown = arena_alloc(a, *capacity * element, 8);
    if (count > 0)
        memcpy(grown, list, count * element);
    return grown;
}

void output_add_item(struct output_build *o, struct arena *a, const struct output_item *item)
{
    o->out.item = list_grow(a, o->out.item, o->out.items, &o->item_capacity, sizeof(*item));
    o->out.item[o->out.items++] = *item;
}

void output_add_progress(struct output_build *o, struct arena *a, uint64_t turn, uint64_t xor)
{
    o->out.progress = list_grow(a, o->out.progress, o->out.progresses, &o->progress_capacity, sizeof(*o->out.progress));
    o->out.progress[o->out.progresses++] = (struct batch_progress){turn, xor};
}

void output_add_return(struct output_build *o, struct arena *a, const struct output_return *ret)
{
    o->out.ret = list_grow(a, o->out.ret, o->out.returns, &o->return_capacity, sizeof(*ret));
    o->out.ret[o->out.returns++] = *ret;
}

static void encode_item(const struct output_item *it, struct buffer *out)
{
    buffer_u8(out, (uint8_t)it->kind);
    switch (it->kind) {
    case OUTPUT_ROW:
        buffer_varint(out, it->stream);
        buffer_varint(out, it->node);
        buffer_varint(out, it->task);
        buffer_u8(out, it->hops);
        buffer_u8(out, (uint8_t)__builtin_ctzll(it->sources));
        buffer_varint(out, it->index);
        break;
    case OUTPUT_STATE:
        buffer_varint(out, it->stream);
        buffer_varint(out, it->node);
        buffer_varint(out, it->sources);
        buffer_span(out, it->key);
        break;
    case OUTPUT_APPEND:
        buffer_varint(out, it->depot);
        buffer_varint(out, it->partition);
        break;
    }
    buffer_span(out, it->row);
}

void output_encode(const struct output *o, struct buffer *out)
{
    buffer_varint(out, o->sources);
    for (uint32_t i = 0; i < o->sources; i++) {
        buffer_varint(out, o->source[i].group);
        buffer_varint(out, o->source[i].turn);
        buffer_u64(out, o->source[i].id);
    }
    encode_progress(o->progress, o->progresses, out);
    buffer_varint(out, o->returns);
    for (uint32_t i = 0; i < o->returns; i++) {
        buffer_varint(out, o->ret[i].turn);
        buffer_varint(out, o->ret[i].index);
        buffer_span(out, o->ret[i].value);
    }
    buffer_varint(out, o->items);
    for (uint32_t i = 0; i < o->items; i++)
        encode_item(&o->item[i], out);
}

static void decode_item(struct reader *r, struct output_item *it, uint32_t sources)
{
    uint8_t source;

    memset(it, 0, sizeof(*it));
    it->kind = (enum output_kind)reader_u8(r);
    switch (it->kind) {
    case OUTPUT_ROW:
        it->stream = (uint32_t)reader_varint(r);
        it->node = (uint32_t)reader_varint(r);
        it->task = (uint32_t)reader_varint(r);
        it->hops = reader_u8(r);
        source = reader_u8(r);
        it->index = (uint32_t)reader_varint(r);
        if (source >= sources)
            r->error = LEAT_ECORRUPT;
        else
            it->sources = UINT64_C(1) << source;
        break;
    case OUTPUT_STATE:
        it->stream = (uint32_t)reader_varint(r);
        it->node = (uint32_t)reader_varint(r);
        it->sources = reader_varint(r);
        it->key = reader_span(r);
        if (sources < 64 && it->sources >> sources != 0)
            r->error = LEAT_ECORRUPT;
        break;
    case OUTPUT_APPEND:
        it->depot = (uint32_t)reader_varint(r);
        it->partition = (uint32_t)reader_varint(r);
        break;
    default:
        r->error = LEAT_ECORRUPT;
    }
    it->row = reader_span(r);
}

int output_decode(struct leat_span bytes, struct arena *a, struct output *out, struct leat_error *err)
{
    struct reader r = reader_of(bytes);

    memset(out, 0, sizeof(*out));
    out->source = read_list(&r, a, sizeof(*out->source), &out->sources);
    for (uint32_t i = 0; i < out->sources; i++) {
        out->source[i].group = (uint32_t)reader_varint(&r);
        out->source[i].turn = reader_varint(&r);
        out->source[i].id = reader_u64(&r);
    }
    out->progress = decode_progress(&r, a, &out->progresses);
    out->ret = read_list(&r, a, sizeof(*out->ret), &out->returns);
    for (uint32_t i = 0; i < out->returns; i++) {
        out->ret[i].turn = reader_varint(&r);
        out->ret[i].index = (uint32_t)reader_varint(&r);
        out->ret[i].value = reader_span(&r);
    }
    out->item = read_list(&r, a, sizeof(*out->item), &out->items);
    for (uint32_t i = 0; i < out->items; i++)
        decode_item(&r, &out->item[i], out->sources);
    if (r.error != 0 || reader_left(&r) != 0)
        return leat_fail(err, LEAT_ECORRUPT, "an output of %zu bytes in a journal batch does not check out",
                         bytes.size);
    return 0;
}
