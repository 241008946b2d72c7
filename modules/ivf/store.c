/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/ivf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "modules/ivf/places.h"
#include "modules/ivf/posting.h"
#include "modules/ivf/target.h"
#include "modules/vector/distance.h"
#include "modules/vector/quantiser.h"

/* Ingest. At the id's task a vector gets a version and finds its posting; at the posting's task the row is kept. */

void message(struct leat_task *t, uint32_t from, uint32_t task, enum message kind, uint32_t posting,
             struct leat_span body)
{
    leat_emit(t, from, LEAT_ROW(leat_u32(task), leat_u32(kind), leat_u32(posting), leat_bytes(body.base, body.size)));
}

void message_all(struct leat_task *t, uint32_t from, enum message kind, uint32_t posting, struct leat_span body)
{
    for (uint32_t group = 0; group < leat_group_count(t); group++)
        message(t, from, group, kind, posting, body);
}

uint32_t posting_task(const struct leat_task *t, uint32_t posting)
{
    return posting % leat_group_count(t);
}

/* ---- Counters of the task ---- */

struct counters {
    uint64_t value[NEXT_POSTING];
};

uint64_t counter_get(struct leat_task *t, uint32_t which)
{
    struct leat_value value;

    return leat_get(t, COUNTERS, LEAT_KEYS(leat_u32(which)), &value, 1) == 0 ? value.as.u : 0;
}

void counter_set(struct leat_task *t, uint32_t which, uint64_t value)
{
    leat_put(t, COUNTERS, LEAT_KEYS(leat_u32(which)), LEAT_ROW(leat_u64(value)));
}

static void counters_get(struct leat_task *t, struct counters *c)
{
    for (uint32_t i = 0; i < NEXT_POSTING; i++)
        c->value[i] = counter_get(t, i);
}

static void counters_put(struct leat_task *t, const struct counters *c, const struct counters *before)
{
    for (uint32_t i = 0; i < NEXT_POSTING; i++)
        if (c->value[i] != before->value[i])
            counter_set(t, i, c->value[i]);
}

/* ---- Ids ---- */

/* What is known of an id. */
struct known {
    bool there;
    uint64_t number;
    struct place place;
};

/* The ids of a task, and how many there are. */
struct ids {
    struct places places;
    struct counters counters;
};

static struct known look_up(struct leat_task *t, const struct ivf *v, struct leat_value id, struct ids *ids)
{
    struct leat_value field[2];
    struct known k = {.number = id.as.u};

    if (v->names && leat_get(t, IDS, LEAT_KEYS(id), field, 2) != 0)
        return k;
    if (v->names)
        k.number = field[0].as.u;
    k.there = places_get(&ids->places, k.number, &k.place);
    return k;
}

/* Nobody knows where in its posting. */
static struct row_name row_named(uint64_t number, uint32_t version)
{
    return (struct row_name){.number = number, .version = version, .row = NOWHERE};
}

static void send_remove(struct leat_task *t, uint32_t from, uint32_t posting, struct row_name name)
{
    message(t, from, posting_task(t, posting), REMOVE, posting, (struct leat_span){&name, sizeof(name)});
}

/* The row goes, and the one that it was copied from, if that is still there: so nothing of
 * it is left when this is processed. */
static void remove_rows(struct leat_task *t, uint32_t from, const struct known *k)
{
    const struct place *p = &k->place;

    send_remove(t, from, p->posting, row_named(k->number, p->version));
    if (p->before != NOWHERE)
        send_remove(t, from, p->before, row_named(k->number, version_moved(p->version, -1)));
}

static void forget(struct leat_task *t, const struct ivf *v, uint32_t i, struct leat_value id, const struct known *k,
                   struct ids *ids)
{
    remove_rows(t, i, k);
    places_delete(&ids->places, k->number);
    if (v->names)
        leat_delete(t, NAMES, LEAT_KEYS(leat_u64(k->number)));
    if (v->names || k->place.attributes)
        leat_delete(t, IDS, LEAT_KEYS(id));
    ids->counters.value[VECTORS]--;
}

/* The number of a new id: itself, or one that says the task. */
static uint64_t new_number(struct leat_task *t, const struct ivf *v, struct leat_value id, struct counters *c)
{
    c->value[VECTORS]++;
    if (!v->names)
        return id.as.u;
    uint64_t number = (uint64_t)leat_task_number(t) << NUMBER_BITS | c->value[NEXT_NUMBER]++;
    leat_put(t, NAMES, LEAT_KEYS(leat_u64(number)), LEAT_ROW(id));
    return number;
}

/* An id that comes with these attributes (null: none), as far as `ids` is to say something else than before. */
static void put_id(struct leat_task *t, const struct ivf *v, struct leat_value id, const struct known *before,
                   uint64_t number, struct leat_value attributes)
{
    bool had = before->there && before->place.attributes, has = attributes.type != LEAT_NULL;

    if (has || (v->names && (had || !before->there)))
        leat_put(t, IDS, LEAT_KEYS(id), LEAT_ROW(v->names ? leat_u64(number) : leat_null(), attributes));
    else if (had)
        leat_delete(t, IDS, LEAT_KEYS(id));
}

/* ---- Vectors come ---- */

/* A vector that was found good, ready to be sent. */
struct arrival {
    uint32_t row;                    /* of the batch */
    float norm;
    const uint8_t *vector;
    struct leat_value attributes;
    uint8_t *packed;                 /* attributes, as a row has them */
};

enum { TOGETHER = 256 }; /* vectors that are rotated and coded in one go */

/* Is the vector one that has distances? */
static bool acceptable(struct leat_task *t, const struct ivf *v, uint32_t i, struct arrival *a)
{
    float square = 0;

    vector_squares(v->layout.type, a->vector, 0, 1, v->layout.dims, &square);
    a->norm = v->layout.metric == METRIC_COSINE ? sqrtf(square) : 0;
    if (!(square <= SQUARE_MOST))
        leat_reject(t, i, "the vector's squared length is %g: it may be up to %g", (double)square, (double)SQUARE_MOST);
    else if (v->layout.metric == METRIC_COSINE && square < SQUARE_LEAST)
        leat_reject(t, i, "the vector's length is %g: cosine distance needs at least %g", sqrt((double)square),
                    sqrt((double)SQUARE_LEAST));
    else
        return true;
    return false;
}

static bool read_attributes(struct leat_task *t, const struct ivf *v, uint32_t i, struct arrival *a)
{
    struct attributes_row row;
    struct leat_error err;

    if (v->attributes.count == 0)
        return true;
    struct leat_span map = a->attributes.type == LEAT_NULL ? (struct leat_span){0} : a->attributes.as.bytes;
    if (attributes_read(&v->attributes, map, &row, &err) != 0) {
        leat_reject(t, i, "%s", err.text);
        return false;
    }
    a->packed = leat_alloc(t, attributes_row_size(&v->attributes));
    attributes_pack(&v->attributes, &row, a->packed);
    return true;
}

/* Keep what is known of the id and send the row to its posting. */
static void send_row(struct leat_task *t, const struct ivf *v, const struct leat_batch *in, const struct arrival *a,
                     const struct encoded *code, struct ids *ids)
{
    struct leat_value id = leat_at(in, a->row, 0);
    struct known k = look_up(t, v, id, ids);
    uint64_t number = k.there ? k.number : new_number(t, v, id, &ids->counters);
    uint32_t version = (uint32_t)(ids->counters.value[NEXT_VERSION]++ * VERSION_STEP);
    uint8_t *row = leat_alloc(t, v->layout.row.size);

    if (k.there)
        remove_rows(t, a->row, &k);
    layout_row(&v->layout, row, &(struct row_head){number, version, a->norm}, a->packed, a->vector);
    layout_row_code(&v->layout, row, code);
    put_id(t, v, id, &k, number, a->attributes);
    places_put(&ids->places, number,
               &(struct place){version, code->posting, NOWHERE, a->attributes.type != LEAT_NULL});
    message(t, a->row, posting_task(t, code->posting), ROW, code->posting, (struct leat_span){row, v->layout.row.size});
}

/* Null of a column of any value may come as MessagePack's. */
static struct leat_value given(struct leat_value any)
{
    bool null = any.type == LEAT_ANY && any.as.bytes.size == 1 && *(const uint8_t *)any.as.bytes.base == 0xc0;

    return null ? leat_null() : any;
}

static void send_rows(struct leat_task *t, const struct ivf *v, const struct leat_batch *in, const struct arrival *a,
                      uint32_t count, struct ids *ids, void *room)
{
    struct encoded *code = leat_alloc(t, TOGETHER * sizeof(*code));
    const void *vector[TOGETHER];
    float norm[TOGETHER];

    for (uint32_t i = 0; i < count; i++) {
        vector[i] = a[i].vector;
        norm[i] = a[i].norm;
    }
    encode_nearest(t, v, leat_derived(t), vector, norm, count, code, room);
    for (uint32_t i = 0; i < count && leat_task_error(t) == 0; i++)
        send_row(t, v, in, &a[i], &code[i], ids);
}

static void take_away(struct leat_task *t, const struct ivf *v, uint32_t i, struct leat_value id, struct ids *ids)
{
    struct known k = look_up(t, v, id, ids);

    if (k.there)
        forget(t, v, i, id, &k, ids);
}

static bool id_fits(struct leat_task *t, const struct ivf *v, uint32_t i, struct leat_value id)
{
    if (!v->names || id.as.bytes.size <= ID_MOST)
        return true;
    leat_reject(t, i, "an id of %zu bytes; at most %d are possible", id.as.bytes.size, ID_MOST);
    return false;
}

int store_vectors(struct leat_task *t, const struct leat_batch *in)
{
    const struct ivf *v = leat_state(t);
    struct arrival *a = leat_alloc(t, TOGETHER * sizeof(*a));
    void *room = leat_alloc(t, encode_room(leat_derived(t)));
    struct counters before;
    struct ids ids;
    uint32_t count = 0;

    counters_get(t, &before);
    ids.counters = before;
    places_begin(&ids.places, t, v);
    for (uint32_t i = 0; i < in->rows && leat_task_error(t) == 0; i++) {
        struct leat_value id = leat_at(in, i, 0), vector = leat_at(in, i, 1);
        bool deletes = vector.type == LEAT_NULL;

        /* What came before must be known when an id goes. */
        if (count == TOGETHER || (deletes && count > 0)) {
            send_rows(t, v, in, a, count, &ids, room);
            count = 0;
        }
        if (!id_fits(t, v, i, id))
            continue;
        if (deletes) {
            take_away(t, v, i, id, &ids);
            continue;
        }
        a[count] = (struct arrival){i, 0, vector.as.bytes.base, given(leat_at(in, i, 2)), NULL};
        count += acceptable(t, v, i, &a[count]) && read_attributes(t, v, i, &a[count]);
    }
    send_rows(t, v, in, a, count, &ids, room);
    places_end(&ids.places);
    counters_put(t, &ids.counters, &before);
    return 0; /* errors of puts and emits stick to t */
}

/* ---- At the posting's task ---- */

/* A row that came for a posting that is gone is assigned anew; the id's task is told when it has arrived.
 *
 * It does not go round: no posting goes in the turn in which it stopped taking rows, so the derived state of its own
 * group never leads to one that is gone. What lies elsewhere leaves the turn, and its group sent the word that it is
 * gone before it sends the row on: only until that word has come can the row be sent there again. */
static void send_on(struct leat_task *t, const struct ivf *v, uint32_t i, uint32_t gone, struct leat_span body)
{
    size_t size = v->layout.row.size;
    struct row_origin origin = {gone, NOWHERE};
    uint8_t *copy = leat_alloc(t, size + sizeof(origin));
    struct row_head head;
    struct encoded code;

    memcpy(copy + size, &origin, sizeof(origin));
    memcpy(copy, body.base, body.size);
    memcpy(&head, copy, sizeof(head));
    if (body.size == size)
        head.version = version_moved(head.version, 1);
    memcpy(copy, &head, sizeof(head));
    const void *vector = copy + v->layout.row.vector;
    encode_nearest(t, v, leat_derived(t), &vector, &head.norm, 1, &code,
                   leat_alloc(t, encode_room(leat_derived(t))));
    layout_row_code(&v->layout, copy, &code);
    message(t, i, posting_task(t, code.posting), MOVED, code.posting, (struct leat_span){copy, size + sizeof(origin)});
}

static void send_placed(struct leat_task *t, const struct ivf *v, uint32_t i, uint32_t posting, struct leat_span body)
{
    struct row_head head;
    struct row_origin origin;

    memcpy(&head, body.base, sizeof(head));
    memcpy(&origin, (const uint8_t *)body.base + v->layout.row.size, sizeof(origin));
    struct row_name name = {head.number, head.version, origin.row, origin.posting, 0};
    message(t, i, number_task(t, v, name.number), PLACED, posting, (struct leat_span){&name, sizeof(name)});
}

uint32_t number_task(const struct leat_task *t, const struct ivf *v, uint64_t number)
{
    struct leat_value id = leat_u64(number);

    return v->names ? (uint32_t)(number >> NUMBER_BITS) : leat_task_of(leat_task_count(t), &id);
}

static void keep_row(struct leat_task *t, const struct ivf *v, struct posting_edit *e, uint32_t i, enum message kind,
                     struct leat_span body)
{
    if (!e->there) {
        send_on(t, v, i, e->number, body);
        return;
    }
    posting_append(e, body.base, kind == MOVED);
    if (kind == MOVED)
        send_placed(t, v, i, e->number, body);
}

static void clear_row(struct leat_task *t, const struct ivf *v, struct posting_edit *e, uint32_t i,
                      struct leat_span body)
{
    struct row_clear clear;

    memcpy(&clear, body.base, sizeof(clear));
    struct row_name name = row_named(clear.copy.number, clear.version);
    posting_remove(e, &name);
    message(t, i, number_task(t, v, clear.copy.number), CLEARED, clear.to,
            (struct leat_span){&clear.copy, sizeof(clear.copy)});
}

/* That a centroid is there says the group that split a posting; that it takes no more rows, and that it is gone, says
 * its own; and words of two groups may overtake each other. Of one that was not heard of yet it is enough to know that
 * it is gone: an empty one stays until the word comes that it is there. Only the first posting is there without one. */
static void store_centroid(struct leat_task *t, uint32_t posting, enum message kind, struct leat_span body)
{
    struct centroid_head head = {0};
    struct leat_value key = leat_u32(posting), field[2];
    bool known = leat_get(t, CENTROIDS, LEAT_KEYS(key), field, 2) == 0, went = known && field[1].as.bytes.size == 0;

    if (kind == CENTROID)
        memcpy(&head, body.base, sizeof(head));
    if (kind == FORGET && !known)
        leat_put(t, CENTROIDS, LEAT_KEYS(key), LEAT_ROW(leat_bool(false), leat_bytes("", 0)));
    else if (kind == FORGET || went)
        leat_delete(t, CENTROIDS, LEAT_KEYS(key));
    else if (known || head.active != 0 || posting == 0)
        leat_put(t, CENTROIDS, LEAT_KEYS(key),
                 LEAT_ROW(leat_bool(head.active != 0),
                          leat_bytes((const uint8_t *)body.base + sizeof(head), body.size - sizeof(head))));
}

struct leat_span centroid_body(struct leat_task *t, bool active, struct leat_span centroid, struct leat_span others)
{
    struct centroid_head head = {active};
    size_t size = sizeof(head) + centroid.size + others.size;
    uint8_t *body = leat_alloc(t, size);

    memcpy(body, &head, sizeof(head));
    memcpy(body + sizeof(head), centroid.base, centroid.size);
    memcpy(body + sizeof(head) + centroid.size, others.base, others.size);
    return (struct leat_span){body, size};
}

void announce(struct leat_task *t, uint32_t from, enum message kind, uint32_t posting, struct leat_span body)
{
    /* A row that finds the posting gone must not find its centroid. */
    store_centroid(t, posting, kind, body);
    for (uint32_t group = 0; group < leat_group_count(t); group++)
        if (group != leat_group(t))
            message(t, from, group, kind, posting, body);
}

static void send_ask(struct leat_task *t, uint32_t i, uint32_t posting, struct leat_span body)
{
    uint32_t kind;

    memcpy(&kind, body.base, sizeof(kind));
    message(t, i, leat_task_number(t), kind, posting,
            (struct leat_span){(const uint8_t *)body.base + sizeof(kind), body.size - sizeof(kind)});
}

/* One message for a posting. */
static void store_message(struct leat_task *t, const struct ivf *v, struct posting_edit *e, const struct leat_batch *in,
                          uint32_t i)
{
    enum message kind = (enum message)leat_at(in, i, 1).as.u;
    struct leat_span body = leat_at(in, i, 3).as.bytes;
    struct row_name name;

    switch (kind) {
    case ROW:
    case MOVED:
        keep_row(t, v, e, i, kind, body);
        break;
    case REMOVE:
        memcpy(&name, body.base, sizeof(name));
        posting_remove(e, &name);
        break;
    case CONFIRM:
        memcpy(&name, body.base, sizeof(name));
        posting_confirm(e, &name);
        name.version = version_moved(name.version, -1);
        send_remove(t, i, name.from, name);
        break;
    case CLEAR:
        clear_row(t, v, e, i, body);
        break;
    case CENTROID:
    case FORGET:
        store_centroid(t, e->number, kind, body);
        posting_announced(e);
        break;
    case ASK:
        send_ask(t, i, e->number, body);
        break;
    default:
        break; /* for the id's task */
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

int store_rows(struct leat_task *t, const struct leat_batch *in)
{
    const struct ivf *v = leat_state(t);
    uint64_t *order = leat_alloc(t, in->rows * sizeof(*order));
    struct posting_edit e;

    /* What is sent to ids' tasks comes here, too, and postings lie on the first tasks only. */
    if (in->rows == 0 || leat_task_number(t) >= leat_group_count(t))
        return 0;
    for (uint32_t i = 0; i < in->rows; i++)
        order[i] = leat_at(in, i, 2).as.u << 32 | i;
    qsort(order, in->rows, sizeof(*order), by_value);
    for (uint32_t i = 0; i < in->rows && leat_task_error(t) == 0;) {
        uint32_t posting = (uint32_t)(order[i] >> 32), last = (uint32_t)order[i];

        posting_edit_begin(&e, t, v, posting);
        for (; i < in->rows && order[i] >> 32 == posting; i++) {
            last = (uint32_t)order[i];
            store_message(t, v, &e, in, last);
        }
        posting_edit_end(&e, last);
    }
    target_ask(t, in->rows - 1);
    posting_patrol(t, v, in->rows - 1);
    return 0;
}

/* ---- Back at the id's task: a row has come to another posting ---- */

/* The copy of a row with the id's vector becomes the row. But first a row that has moved before leaves the posting
 * where it was then, for the word of the one where it is may not have come there yet: so the id's vector lies in two
 * postings at most, and who replaces it knows both. */
static void row_placed(struct leat_task *t, uint32_t i, struct places *places, struct place *p, struct row_name name,
                       uint32_t posting, bool cleared)
{
    bool later = version_later(name.version, p->version);

    if (later && !cleared && p->before != NOWHERE) {
        struct row_clear clear = {name, posting, version_moved(p->version, -1)};

        message(t, i, posting_task(t, p->before), CLEAR, p->before, (struct leat_span){&clear, sizeof(clear)});
        return;
    }
    if (later)
        places_put(places, name.number, &(struct place){name.version, posting, name.from, p->attributes});
    message(t, i, posting_task(t, posting), CONFIRM, posting, (struct leat_span){&name, sizeof(name)});
}

int store_placed(struct leat_task *t, const struct leat_batch *in)
{
    struct places places;

    places_begin(&places, t, leat_state(t));
    for (uint32_t i = 0; i < in->rows; i++) {
        enum message kind = (enum message)leat_at(in, i, 1).as.u;
        uint32_t posting = (uint32_t)leat_at(in, i, 2).as.u;
        struct row_name name;
        struct place p;

        if (kind != PLACED && kind != CLEARED)
            continue;
        memcpy(&name, leat_at(in, i, 3).as.bytes.base, sizeof(name));
        if (places_get(&places, name.number, &p) && version_same_vector(p.version, name.version))
            row_placed(t, i, &places, &p, name, posting, kind == CLEARED);
        else
            send_remove(t, i, posting, row_named(name.number, name.version));
    }
    places_end(&places);
    return 0;
}
