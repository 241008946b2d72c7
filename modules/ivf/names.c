/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/search.h"

#include <stdlib.h>
#include <string.h>

#include "modules/ivf/places.h"
#include "modules/ivf/scan.h"

/* The end of a search: ids and attributes of what was found, where they are known, and the answer at the origin.
 *
 * Names are bytes, hit after hit: u32 size of the id, the id (its number when ids are numbers: nothing), u32 size of
 * the attributes or NONE, the attributes. Without names the number is the id. */

enum { NONE = -1, HEAD = 4 };

/* ---- Where ids are known ---- */

struct named {
    struct places *places;
    uint8_t *hits, *vectors, *names;
    size_t hits_size, vectors_size, names_size, names_room;
};

static void put(struct leat_task *t, struct named *n, const void *bytes, size_t size)
{
    if (n->names_size + size > n->names_room) {
        size_t room = 2 * (n->names_size + size) + 256;
        uint8_t *grown = leat_alloc(t, room);

        if (n->names_size > 0)
            memcpy(grown, n->names, n->names_size);
        n->names = grown;
        n->names_room = room;
    }
    if (size > 0)
        memcpy(n->names + n->names_size, bytes, size);
    n->names_size += size;
}

static void put_span(struct leat_task *t, struct named *n, const struct leat_span *span)
{
    uint32_t size = span != NULL ? (uint32_t)span->size : (uint32_t)NONE;

    put(t, n, &size, sizeof(size));
    if (span != NULL)
        put(t, n, span->base, span->size);
}

/* The attributes of an id that the hit has; null: there are none. false: it is gone. */
static bool attributes_of(struct leat_task *t, struct leat_value id, const struct hit *h, struct places *places,
                          struct leat_value *out)
{
    struct leat_value field[2];
    struct place place;
    bool there = leat_get(t, IDS, LEAT_KEYS(id), field, 2) == 0;

    *out = there ? field[1] : leat_null();
    return there || places_get(places, h->number, &place);
}

/* The id and attributes of a hit. false: it is gone, or does not pass the filter; strings were compared by hashes. */
static bool look_up(struct leat_task *t, const struct ivf *v, const struct asked *a, const struct hit *h,
                    struct named *n)
{
    const struct filter *filter = a->filter != NULL && filter_strings(a->filter) ? a->filter : NULL;
    struct leat_value id = leat_u64(h->number), attributes = leat_null();
    const struct leat_span nothing = {"", 0};

    if (v->names && leat_get(t, NAMES, LEAT_KEYS(leat_u64(h->number)), &id, 1) != 0)
        return false;
    if ((a->search.attributes || filter != NULL) && !attributes_of(t, id, h, n->places, &attributes))
        return false;
    bool null = attributes.type == LEAT_NULL;
    if (filter != NULL && !filter_verify(filter, null ? (struct leat_span){0} : attributes.as.bytes))
        return false;
    put_span(t, n, v->names ? &id.as.bytes : &nothing);
    put_span(t, n, a->search.attributes && !null ? &attributes.as.bytes : NULL);
    return true;
}

static void emit_named(struct leat_task *t, uint32_t row, struct named *n, struct leat_value stats)
{
    leat_emit(t, row, LEAT_ROW(leat_bytes(n->hits, n->hits_size), leat_bytes(n->vectors, n->vectors_size),
                               leat_bytes(n->names, n->names_size), stats));
    n->hits_size = n->vectors_size = n->names_size = 0;
}

static void name_row(struct leat_task *t, const struct ivf *v, const struct asked *a, const struct leat_batch *in,
                     uint32_t row, struct places *places)
{
    struct leat_span hits = leat_at(in, row, 1).as.bytes, vectors = leat_at(in, row, 2).as.bytes;
    size_t count = hits.size / sizeof(struct hit), vector = count > 0 ? vectors.size / count : 0;
    struct named n = {
        .places = places, .hits = leat_alloc(t, hits.size + 1), .vectors = leat_alloc(t, vectors.size + 1)};

    for (size_t i = 0; i < count; i++) {
        struct hit h;

        memcpy(&h, (const uint8_t *)hits.base + i * sizeof(h), sizeof(h));
        if (!look_up(t, v, a, &h, &n))
            continue;
        memcpy(n.hits + n.hits_size, &h, sizeof(h));
        memcpy(n.vectors + n.vectors_size, (const uint8_t *)vectors.base + i * vector, vector);
        n.hits_size += sizeof(h);
        n.vectors_size += vector;
        if (n.names_size > PIECE)
            emit_named(t, row, &n, leat_null());
    }
    emit_named(t, row, &n, leat_at(in, row, 3));
}

int search_name(struct leat_task *t, const struct leat_batch *in)
{
    const struct ivf *v = leat_state(t);
    const struct asked *a = search_asked(t, v);
    bool names = search_wants_names(v, a);
    struct places places;

    places_begin(&places, t, v);
    for (uint32_t i = 0; i < in->rows; i++)
        if (names)
            name_row(t, v, a, in, i, &places);
        else
            leat_emit(t, i, LEAT_ROW(leat_at(in, i, 1), leat_at(in, i, 2), leat_bytes("", 0), leat_at(in, i, 3)));
    return leat_task_error(t);
}

/* ---- The answer ---- */

struct neighbour {
    struct hit hit;
    struct leat_span id, attributes; /* base NULL: none */
    const uint8_t *vector;           /* NULL: not wanted */
};

struct answer {
    struct neighbour *neighbour;
    uint32_t count, room;
    size_t vector; /* bytes of one */
    struct leat_span stats;
};

static int prepare(struct leat_fold_use *use, size_t *state_size, char *schema, size_t schema_size,
                   struct leat_error *err)
{
    bool *many = leat_fold_memory(use);

    (void)err;
    *many = leat_fold_argument(use, "many") != NULL;
    *state_size = sizeof(struct answer);
    strncpy(schema, *many ? NEIGHBOUR_MANY : NEIGHBOUR, schema_size - 1);
    return 0;
}

static void init(const struct leat_fold_use *use, void *state)
{
    (void)use;
    *(struct answer *)state = (struct answer){0};
}

static struct leat_span take_span(struct leat_span *bytes)
{
    struct leat_span out = {NULL, 0};
    uint32_t size;

    if (bytes->size < HEAD)
        return out;
    memcpy(&size, bytes->base, sizeof(size));
    *bytes = (struct leat_span){(const uint8_t *)bytes->base + HEAD, bytes->size - HEAD};
    if (size == (uint32_t)NONE || size > bytes->size)
        return out;
    out = (struct leat_span){bytes->base, size};
    *bytes = (struct leat_span){(const uint8_t *)bytes->base + size, bytes->size - size};
    return out;
}

static struct leat_span keep(const struct leat_fold_use *use, struct leat_span bytes)
{
    uint8_t *copy = leat_fold_alloc(use, bytes.size + 1);

    memcpy(copy, bytes.base, bytes.size);
    return (struct leat_span){copy, bytes.size};
}

static struct neighbour *add(const struct leat_fold_use *use, struct answer *a)
{
    if (a->count == a->room) {
        uint32_t room = 2 * a->room + 16;
        struct neighbour *grown = leat_fold_alloc(use, room * sizeof(*grown));

        if (a->count > 0)
            memcpy(grown, a->neighbour, a->count * sizeof(*grown));
        a->neighbour = grown;
        a->room = room;
    }
    return &a->neighbour[a->count++];
}

static void take(const struct leat_fold_use *use, struct answer *a, struct leat_span hits, struct leat_span vectors,
                 struct leat_span names)
{
    uint32_t count = (uint32_t)(hits.size / sizeof(struct hit));

    if (count == 0)
        return;
    a->vector = vectors.size / count;
    vectors = keep(use, vectors);
    names = keep(use, names);
    for (uint32_t i = 0; i < count; i++) {
        struct neighbour *n = add(use, a);

        memcpy(&n->hit, (const uint8_t *)hits.base + i * sizeof(n->hit), sizeof(n->hit));
        n->id = take_span(&names);
        n->attributes = take_span(&names);
        n->vector = a->vector > 0 ? (const uint8_t *)vectors.base + i * a->vector : NULL;
    }
}

static int step(const struct leat_fold_use *use, void *state, const struct leat_batch *in, uint32_t first, uint32_t end)
{
    struct answer *a = state;

    for (uint32_t i = first; i < end; i++) {
        take(use, a, leat_at(in, i, 0).as.bytes, leat_at(in, i, 1).as.bytes, leat_at(in, i, 2).as.bytes);
        if (leat_at(in, i, 3).type != LEAT_NULL)
            a->stats = keep(use, leat_at(in, i, 3).as.bytes);
    }
    return 0;
}

/* ---- As bytes: u32 size of a vector, of the stats; the stats; hit, id, attributes and vector of each, the spans as in
 * names. ---- */

static void save_span(struct leat_sink *out, struct leat_span span)
{
    uint32_t size = span.base != NULL ? (uint32_t)span.size : (uint32_t)NONE;

    leat_sink_put(out, &size, sizeof(size));
    if (span.base != NULL)
        leat_sink_put(out, span.base, span.size);
}

static void save(const struct leat_fold_use *use, const void *state, struct leat_sink *out)
{
    const struct answer *a = state;

    (void)use;
    save_span(out, a->stats);
    for (uint32_t i = 0; i < a->count; i++) {
        const struct neighbour *n = &a->neighbour[i];

        leat_sink_put(out, &n->hit, sizeof(n->hit));
        save_span(out, n->id);
        save_span(out, n->attributes);
        save_span(out, (struct leat_span){n->vector, a->vector});
    }
}

static int load(const struct leat_fold_use *use, void *state, struct leat_span bytes)
{
    struct answer *a = state;

    bytes = keep(use, bytes);
    a->stats = take_span(&bytes);
    while (bytes.size >= sizeof(struct hit)) {
        struct neighbour *n = add(use, a);

        memcpy(&n->hit, bytes.base, sizeof(n->hit));
        bytes = (struct leat_span){(const uint8_t *)bytes.base + sizeof(n->hit), bytes.size - sizeof(n->hit)};
        n->id = take_span(&bytes);
        n->attributes = take_span(&bytes);
        struct leat_span vector = take_span(&bytes);
        n->vector = vector.base;
        a->vector = vector.base != NULL ? vector.size : a->vector;
    }
    return bytes.size == 0 ? 0 : LEAT_ECORRUPT;
}

static int nearer(const void *a, const void *b)
{
    const struct hit *x = &((const struct neighbour *)a)->hit, *y = &((const struct neighbour *)b)->hit;

    if (x->query != y->query)
        return x->query < y->query ? -1 : 1;
    if (x->distance < y->distance || y->distance < x->distance)
        return x->distance < y->distance ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

static int finish(const struct leat_fold_use *use, const void *state, struct leat_task *t)
{
    const struct ivf *v = leat_state(t);
    const struct answer *a = state;
    const bool *many = leat_fold_memory(use);

    if (a->count > 1)
        qsort(a->neighbour, a->count, sizeof(*a->neighbour), nearer);
    for (uint32_t i = 0; i < a->count; i++) {
        const struct neighbour *n = &a->neighbour[i];

        struct leat_value value[] = {
            leat_u32(n->hit.query),
            v->names ? leat_str_n(n->id.base, n->id.size) : leat_u64(n->hit.number),
            leat_f32(n->hit.distance),
            n->attributes.base != NULL ? leat_any(n->attributes.base, n->attributes.size) : leat_null(),
            n->vector != NULL ? leat_vector(v->layout.type, n->vector, v->layout.dims) : leat_null(),
            i == 0 && a->stats.base != NULL ? leat_any(a->stats.base, a->stats.size) : leat_null(),
        };

        leat_fold_emit(t, *many ? (struct leat_row){value, 6} : (struct leat_row){value + 1, 5});
    }
    return 0;
}

const struct leat_fold search_answer = {
    .name = "answer", .prepare = prepare, .init = init, .step = step, .save = save, .load = load, .finish = finish};
