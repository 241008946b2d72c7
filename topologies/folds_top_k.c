/* SPDX-License-Identifier: Apache-2.0 */
#include "topologies/folds.h"

#include <math.h>

/* The k best rows by a column. A heap of k entries with the worst on top: once it is full, most rows fall to one
 * compare with that one. With an id column rows are distinct by it, and an id's best row counts. */

enum { MOST = 100000 };

struct top_of {
    uint32_t k;
    uint32_t by;
    int id;           /* column, or -1 */
    bool descending;
};

struct entry {
    uint64_t rank;  /* of its number: the lower, the better */
    uint64_t hash;  /* of the id */
    struct leat_span row;
    uint32_t heap;  /* place in the heap */
};

struct top {
    struct entry *entry;
    uint32_t *heap;  /* places of entries, the worst first */
    uint32_t count;
    uint32_t room;   /* for entries: grows up to k */
    uint32_t *slot;  /* entry + 1 by hash of the id */
    uint32_t slots;
};

static int top_prepare(struct leat_fold_use *use, size_t *state_size, char *schema, size_t size,
                       struct leat_error *err)
{
    struct top_of *of = leat_fold_memory(use);
    const char *order = leat_fold_argument(use, "order"), *id = leat_fold_argument(use, "id");
    int64_t k = fold_argument_number(use, "k", 1, MOST, err);
    int by = k < 0 ? (int)k : fold_argument_column(use, "by", err);

    if (by < 0)
        return by;
    if (use->column[by].type < LEAT_I64 || use->column[by].type > LEAT_F64)
        return leat_fail(err, LEAT_EMODULE, "by=%s is no column of numbers", use->column[by].name);
    of->id = id != NULL ? leat_fold_column(use, id) : -1;
    if (id != NULL && of->id < 0)
        return leat_fail(err, LEAT_EMODULE, "id=%s is no column", id);
    if (order != NULL && strcmp(order, "ascending") != 0 && strcmp(order, "descending") != 0)
        return leat_fail(err, LEAT_EMODULE, "order=%s: ascending or descending is wanted", order);
    of->k = (uint32_t)k;
    of->by = (uint32_t)by;
    of->descending = order != NULL && strcmp(order, "descending") == 0;
    *state_size = sizeof(struct top);
    return fold_schema(use, NULL, schema, size, err);
}

static void top_init(const struct leat_fold_use *use, void *state)
{
    (void)use;
    memset(state, 0, sizeof(struct top));
}

enum { ROOM = 32 };

/* Room comes with the first row, as most states of a query never get one, and grows: k may be large, and rows few. */
static void make_room(const struct leat_fold_use *use, struct top *t)
{
    const struct top_of *of = leat_fold_memory(use);
    struct top old = *t;

    t->room = old.room == 0 ? ROOM : 2 * old.room;
    t->room = t->room < of->k ? t->room : of->k;
    for (t->slots = 16; t->slots < t->room * 2;)
        t->slots *= 2;
    t->entry = leat_fold_alloc(use, t->room * sizeof(*t->entry));
    t->heap = leat_fold_alloc(use, t->room * sizeof(*t->heap));
    t->slot = leat_fold_alloc(use, t->slots * sizeof(*t->slot));
    memset(t->slot, 0, t->slots * sizeof(*t->slot));
    for (uint32_t i = 0; i < old.count; i++) {
        uint32_t slot = (uint32_t)old.entry[i].hash & (t->slots - 1);

        t->entry[i] = old.entry[i];
        t->heap[i] = old.heap[i];
        while (t->slot[slot] != 0)
            slot = (slot + 1) & (t->slots - 1);
        if (of->id >= 0)
            t->slot[slot] = i + 1;
    }
}

/* A number's place in the order wanted, exact for all types. false: it has none. */
static bool rank_of(const struct top_of *of, const struct leat_value *v, uint64_t *rank)
{
    const uint64_t sign = UINT64_C(1) << 63;

    if (v->type == LEAT_I64) {
        *rank = (uint64_t)v->as.i ^ sign;
    } else if (v->type == LEAT_U32 || v->type == LEAT_U64) {
        *rank = v->as.u;
    } else if (v->type == LEAT_NULL || isnan(v->as.f)) {
        return false;
    } else {
        double d = v->as.f + 0.0; /* makes 0 of -0 */

        memcpy(rank, &d, sizeof(d));
        *rank ^= *rank & sign ? UINT64_MAX : sign;
    }
    if (of->descending)
        *rank = ~*rank;
    return true;
}

static struct leat_value id_of(const struct leat_fold_use *use, struct leat_span row)
{
    const struct top_of *of = leat_fold_memory(use);
    struct row_schema schema = fold_row_schema(use);
    struct leat_value value[LIMIT_COLUMNS];
    int rv = row_decode(&schema, row, value);

    leat_assert(rv == 0);
    return of->id >= 0 ? value[of->id] : leat_null();
}

static int compare_ids(const struct leat_value *a, const struct leat_value *b)
{
    uint8_t x[8], y[8];

    if (a->type != b->type || a->type == LEAT_NULL)
        return 0;
    if (a->type == LEAT_U32 || a->type == LEAT_U64)
        return (a->as.u > b->as.u) - (a->as.u < b->as.u);
    if (a->type == LEAT_I64)
        return (a->as.i > b->as.i) - (a->as.i < b->as.i);
    struct leat_span p = value_key_bytes(a, x), q = value_key_bytes(b, y);
    size_t least = p.size < q.size ? p.size : q.size;
    int order = least > 0 ? memcmp(p.base, q.base, least) : 0;
    return order != 0 ? order : (p.size > q.size) - (p.size < q.size);
}

/* Is a better than b? Ties go to the lower id. */
static bool better(const struct leat_fold_use *use, uint64_t a_rank, const struct leat_value *a_id,
                   const struct entry *b)
{
    if (a_rank != b->rank)
        return a_rank < b->rank;
    struct leat_value b_id = id_of(use, b->row);
    return compare_ids(a_id, &b_id) < 0;
}

static bool entry_better(const struct leat_fold_use *use, const struct entry *a, const struct entry *b)
{
    if (a->rank != b->rank)
        return a->rank < b->rank;
    struct leat_value id = id_of(use, a->row);
    return better(use, a->rank, &id, b);
}

static void heap_set(struct top *t, uint32_t place, uint32_t entry)
{
    t->heap[place] = entry;
    t->entry[entry].heap = place;
}

static void sift_up(const struct leat_fold_use *use, struct top *t, uint32_t place)
{
    uint32_t entry = t->heap[place];

    while (place > 0 && entry_better(use, &t->entry[t->heap[(place - 1) / 2]], &t->entry[entry])) {
        heap_set(t, place, t->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    heap_set(t, place, entry);
}

static void sift_down(const struct leat_fold_use *use, struct top *t, uint32_t place)
{
    uint32_t entry = t->heap[place];

    for (;;) {
        uint32_t child = 2 * place + 1;

        if (child >= t->count)
            break;
        if (child + 1 < t->count && entry_better(use, &t->entry[t->heap[child]], &t->entry[t->heap[child + 1]]))
            child++;
        if (!entry_better(use, &t->entry[entry], &t->entry[t->heap[child]]))
            break;
        heap_set(t, place, t->heap[child]);
        place = child;
    }
    heap_set(t, place, entry);
}

/* ---- Ids ---- */

static uint32_t slot_of(const struct leat_fold_use *use, const struct top *t, const struct leat_value *id,
                        uint64_t hash)
{
    uint32_t slot = (uint32_t)hash & (t->slots - 1);

    for (; t->slot[slot] != 0; slot = (slot + 1) & (t->slots - 1)) {
        const struct entry *e = &t->entry[t->slot[slot] - 1];
        struct leat_value have = e->hash == hash ? id_of(use, e->row) : leat_null();

        if (e->hash == hash && have.type == id->type && compare_ids(&have, id) == 0)
            break;
    }
    return slot;
}

/* Take an entry out of the index; those behind it move up (Knuth, volume 3, 6.4, algorithm R). */
static void slot_remove(const struct leat_fold_use *use, struct top *t, const struct entry *e)
{
    struct leat_value id = id_of(use, e->row);
    uint32_t hole = slot_of(use, t, &id, e->hash), at = hole, mask = t->slots - 1;

    t->slot[hole] = 0;
    for (at = (at + 1) & mask; t->slot[at] != 0; at = (at + 1) & mask) {
        uint32_t home = (uint32_t)t->entry[t->slot[at] - 1].hash & mask;

        if (((at - home) & mask) >= ((at - hole) & mask)) {
            t->slot[hole] = t->slot[at];
            t->slot[at] = 0;
            hole = at;
        }
    }
}

/* ---- Rows in ---- */

/* Offer a row whose rank passed the first compare. row: encoded; or at: it is encoded only when it is taken. */
static void offer(const struct leat_fold_use *use, struct top *t, uint64_t rank, const struct leat_value *id,
                  const struct leat_batch *in, uint32_t at, struct leat_span row)
{
    const struct top_of *of = leat_fold_memory(use);
    uint64_t hash = of->id >= 0 ? leat_hash(id) : 0;

    if (t->count == t->room && t->room < of->k)
        make_room(use, t);
    uint32_t slot = of->id >= 0 ? slot_of(use, t, id, hash) : 0, entry;

    if (of->id >= 0 && t->slot[slot] != 0) {
        struct entry *same = &t->entry[t->slot[slot] - 1];

        if (rank < same->rank) {
            same->rank = rank;
            same->row = in != NULL ? fold_keep_row(use, in, at) : row;
            sift_down(use, t, same->heap);
        }
        return;
    }
    if (t->count == of->k) {
        entry = t->heap[0];
        if (!better(use, rank, id, &t->entry[entry]))
            return;
        if (of->id >= 0)
            slot_remove(use, t, &t->entry[entry]);
    } else {
        entry = t->count++;
        heap_set(t, entry, entry);
    }
    t->entry[entry].rank = rank;
    t->entry[entry].hash = hash;
    t->entry[entry].row = in != NULL ? fold_keep_row(use, in, at) : row;
    if (of->id >= 0)
        t->slot[slot_of(use, t, id, hash)] = entry + 1;
    if (t->entry[entry].heap == 0)
        sift_down(use, t, 0);
    else
        sift_up(use, t, t->entry[entry].heap);
}

static int top_step(const struct leat_fold_use *use, void *state, const struct leat_batch *in, uint32_t first,
                    uint32_t end)
{
    const struct top_of *of = leat_fold_memory(use);
    struct top *t = state;

    for (uint32_t i = first; i < end; i++) {
        struct leat_value v = leat_at(in, i, of->by);
        uint64_t rank;

        if (!rank_of(of, &v, &rank) || (t->count == of->k && rank > t->entry[t->heap[0]].rank))
            continue;
        struct leat_value id = of->id >= 0 ? leat_at(in, i, (uint32_t)of->id) : leat_null();
        offer(use, t, rank, &id, in, i, span_of(NULL, 0));
    }
    return 0;
}

static int top_merge(const struct leat_fold_use *use, void *state, const void *other)
{
    const struct top *b = other;
    struct top *a = state;

    for (uint32_t i = 0; i < b->count; i++) {
        struct leat_value id = id_of(use, b->entry[i].row);

        offer(use, a, b->entry[i].rank, &id, NULL, 0, b->entry[i].row);
    }
    return 0;
}

static void top_save(const struct leat_fold_use *use, const void *state, struct leat_sink *out)
{
    const struct top *t = state;

    (void)use;
    for (uint32_t i = 0; i < t->count; i++)
        buffer_span(out->out, t->entry[i].row);
}

static int top_load(const struct leat_fold_use *use, void *state, struct leat_span bytes)
{
    const struct top_of *of = leat_fold_memory(use);
    struct row_schema schema = fold_row_schema(use);
    struct reader in = reader_of(bytes);
    struct leat_value value[LIMIT_COLUMNS];
    struct top *t = state;

    while (reader_left(&in) > 0) {
        struct leat_span row = reader_span(&in);
        uint64_t rank;

        if (in.error != 0 || row_decode(&schema, row, value) != 0 || !rank_of(of, &value[of->by], &rank))
            return LEAT_ECORRUPT;
        void *copy = leat_fold_alloc(use, row.size + 1);
        memcpy(copy, row.base, row.size);
        struct leat_value id = id_of(use, span_of(copy, row.size));
        offer(use, t, rank, &id, NULL, 0, span_of(copy, row.size));
    }
    return in.error;
}

static int compare_entries(const void *a, const void *b, void *use)
{
    return entry_better(use, a, b) ? -1 : entry_better(use, b, a);
}

/* Best first. A copy is sorted: the heap stays one. */
static int top_finish(const struct leat_fold_use *use, const void *state, struct leat_task *task)
{
    const struct top *t = state;
    int rv = 0;

    if (t->count == 0)
        return 0;
    struct leat_fold_use sorter = *use;
    struct entry *sorted = leat_fold_alloc(use, t->count * sizeof(*sorted));
    memcpy(sorted, t->entry, t->count * sizeof(*sorted));
    qsort_r(sorted, t->count, sizeof(*sorted), compare_entries, &sorter);
    for (uint32_t i = 0; i < t->count && rv == 0; i++)
        rv = fold_emit_row(use, sorted[i].row, task);
    return rv;
}

const struct leat_fold leat_top_k = {
    "top_k", LEAT_KEEP_ROWS, top_prepare, top_init, top_step, top_merge, top_save, top_load, top_finish,
};
