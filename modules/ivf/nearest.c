/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/search.h"

#include <string.h>

#include "modules/ivf/posting.h"
#include "modules/ivf/scan.h"

/* The fold at the origin of a search: the k nearest of what the groups found for each query, each id once. */

struct near {
    struct hit hit;
    const uint8_t *vector; /* NULL: not wanted */
};

/* The k nearest of a query so far: a heap, the farthest first. */
struct list {
    uint32_t count;
    struct near *near; /* room for k, or NULL */
    uint64_t *seen;    /* k words of marks of the numbers that came in, of which two may share one */
};

struct nearest {
    uint32_t k, lists;
    struct list *list;       /* by query */
    size_t vector_size;
    struct search_stats stats;
    bool with_stats;
};

static int prepare(struct leat_fold_use *use, size_t *state_size, char *schema, size_t schema_size,
                   struct leat_error *err)
{
    (void)use;
    (void)err;
    *state_size = sizeof(struct nearest);
    strncpy(schema, FOUND, schema_size - 1);
    return 0;
}

static void init(const struct leat_fold_use *use, void *state)
{
    (void)use;
    *(struct nearest *)state = (struct nearest){0};
}

static bool nearer(const struct hit *a, const struct hit *b)
{
    return a->distance < b->distance || (!(b->distance < a->distance) && a->number < b->number);
}

static void sift_up(struct list *n, uint32_t at, struct near item)
{
    for (; at > 0 && nearer(&n->near[(at - 1) / 2].hit, &item.hit); at = (at - 1) / 2)
        n->near[at] = n->near[(at - 1) / 2];
    n->near[at] = item;
}

static void sift_down(struct list *n, uint32_t at, struct near item)
{
    for (uint32_t child = 2 * at + 1; child < n->count; child = 2 * at + 1) {
        if (child + 1 < n->count && nearer(&n->near[child].hit, &n->near[child + 1].hit))
            child++;
        if (!nearer(&item.hit, &n->near[child].hit))
            break;
        n->near[at] = n->near[child];
        at = child;
    }
    n->near[at] = item;
}

/* Marks the number. Was it there, perhaps? */
static bool seen(struct list *n, uint32_t k, uint64_t number)
{
    uint64_t place = (number * UINT64_C(0x9e3779b97f4a7c15) >> 32) * k >> 26, bit = UINT64_C(1) << place % 64;
    bool was = (n->seen[place / 64] & bit) != 0;

    n->seen[place / 64] |= bit;
    return was;
}

/* A hit that is one of the k nearest comes in; of two with one number the nearer stays. */
static void offer(struct list *n, uint32_t k, struct near item)
{
    uint32_t same = n->count;

    if (n->count == k && !nearer(&item.hit, &n->near[0].hit))
        return;
    if (seen(n, k, item.hit.number))
        for (same = 0; same < n->count && n->near[same].hit.number != item.hit.number;)
            same++;
    if (same < n->count && nearer(&item.hit, &n->near[same].hit))
        sift_down(n, same, item);
    else if (same == n->count && n->count < k)
        sift_up(n, n->count++, item);
    else if (same == n->count)
        sift_down(n, 0, item);
}

static struct list *list_for(const struct leat_fold_use *use, struct nearest *n, uint32_t query)
{
    if (query >= n->lists) {
        uint32_t lists = 2 * query + 1;
        struct list *grown = leat_fold_alloc(use, lists * sizeof(*grown));

        memset(grown, 0, lists * sizeof(*grown));
        if (n->lists > 0)
            memcpy(grown, n->list, n->lists * sizeof(*grown));
        n->list = grown;
        n->lists = lists;
    }
    struct list *list = &n->list[query];
    if (list->near == NULL) {
        list->near = leat_fold_alloc(use, n->k * sizeof(*list->near));
        list->seen = leat_fold_alloc(use, n->k * sizeof(*list->seen));
        memset(list->seen, 0, n->k * sizeof(*list->seen));
    }
    return list;
}

/* One group's hits; bytes are borrowed. */
static void take(const struct leat_fold_use *use, struct nearest *n, struct leat_span hits, struct leat_span vectors,
                 struct leat_span stats)
{
    uint32_t count = (uint32_t)(hits.size / sizeof(struct hit));
    uint8_t *copy = leat_fold_alloc(use, vectors.size + 1);
    struct search_stats s;

    memcpy(copy, vectors.base, vectors.size);
    for (uint32_t i = 0; i < count; i++) {
        struct near item = {.vector = vectors.size > 0 ? copy + i * (vectors.size / count) : NULL};

        memcpy(&item.hit, (const uint8_t *)hits.base + i * sizeof(item.hit), sizeof(item.hit));
        offer(list_for(use, n, item.hit.query), n->k, item);
    }
    if (vectors.size > 0)
        n->vector_size = vectors.size / count;
    if (stats.size != sizeof(s))
        return;
    memcpy(&s, stats.base, sizeof(s));
    n->with_stats = true;
    n->stats.postings += s.postings;
    n->stats.rows += s.rows;
    n->stats.ranked += s.ranked;
    n->stats.probe_ns += s.probe_ns;
    n->stats.scan_ns += s.scan_ns;
}

static int step(const struct leat_fold_use *use, void *state, const struct leat_batch *in, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++) {
        ((struct nearest *)state)->k = (uint32_t)leat_at(in, i, 0).as.u;
        take(use, state, leat_at(in, i, 1).as.bytes, leat_at(in, i, 2).as.bytes, leat_at(in, i, 3).as.bytes);
    }
    return 0;
}

/* ---- As bytes: u32 k, count, size of a vector, 1 with stats; stats; hits; vectors ---- */

static struct list flat(const struct leat_fold_use *use, const struct nearest *n)
{
    struct list all = {0};

    if (n->lists == 1)
        return n->list[0];
    for (uint32_t i = 0; i < n->lists; i++)
        all.count += n->list[i].count;
    all.near = leat_fold_alloc(use, (all.count + 1) * sizeof(*all.near));
    all.count = 0;
    for (uint32_t i = 0; i < n->lists; i++)
        for (uint32_t j = 0; j < n->list[i].count; j++)
            all.near[all.count++] = n->list[i].near[j];
    return all;
}

static void save(const struct leat_fold_use *use, const void *state, struct leat_sink *out)
{
    const struct nearest *n = state;
    struct list all = flat(use, n);
    uint32_t head[4] = {n->k, all.count, (uint32_t)n->vector_size, n->with_stats};

    leat_sink_put(out, head, sizeof(head));
    leat_sink_put(out, &n->stats, sizeof(n->stats));
    for (uint32_t i = 0; i < all.count; i++)
        leat_sink_put(out, &all.near[i].hit, sizeof(all.near[i].hit));
    for (uint32_t i = 0; i < all.count && n->vector_size > 0; i++)
        leat_sink_put(out, all.near[i].vector, n->vector_size);
}

static int load(const struct leat_fold_use *use, void *state, struct leat_span bytes)
{
    struct nearest *n = state;
    struct search_stats stats;
    const uint8_t *at = bytes.base;
    uint32_t head[4];

    if (bytes.size < sizeof(head) + sizeof(stats))
        return LEAT_ECORRUPT;
    memcpy(head, at, sizeof(head));
    memcpy(&stats, at + sizeof(head), sizeof(stats));
    size_t hits = head[1] * sizeof(struct hit), vectors = (size_t)head[1] * head[2];
    if (bytes.size != sizeof(head) + sizeof(stats) + hits + vectors)
        return LEAT_ECORRUPT;
    at += sizeof(head) + sizeof(stats);
    n->k = head[0];
    take(use, n, (struct leat_span){at, hits}, (struct leat_span){at + hits, vectors},
         (struct leat_span){&stats, head[3] ? sizeof(stats) : 0});
    return 0;
}

/* ---- Out ---- */

static uint8_t *put_text(uint8_t *at, const char *text)
{
    size_t size = strlen(text);

    *at++ = (uint8_t)(0xa0 | size);
    memcpy(at, text, size);
    return at + size;
}

static uint8_t *put_number(uint8_t *at, uint64_t number)
{
    *at++ = 0xcf;
    for (int shift = 56; shift >= 0; shift -= 8)
        *at++ = (uint8_t)(number >> shift);
    return at;
}

/* As MessagePack, in room of 128 bytes. */
static struct leat_value stats_value(const struct search_stats *s, uint8_t *room)
{
    const struct {
        const char *name;
        uint64_t number;
    } field[] = {{"probes", s->postings}, {"scored", s->rows}, {"ranked", s->ranked}, {"probe_ns", s->probe_ns},
                 {"scan_ns", s->scan_ns}};
    uint8_t *at = room;

    *at++ = 0x80 | (sizeof(field) / sizeof(*field));
    for (size_t i = 0; i < sizeof(field) / sizeof(*field); i++)
        at = put_number(put_text(at, field[i].name), field[i].number);
    return leat_any(room, (size_t)(at - room));
}

/* What goes to one task, from `first` on, into one row as long as it fits; sent[i]: it went. */
static void emit_task(const struct nearest *n, const struct list *all, struct leat_task *t, bool names, uint32_t first,
                      bool *sent)
{
    const struct ivf *v = leat_state(t);
    uint32_t task = names ? number_task(t, v, all->near[first].hit.number) : leat_task_number(t), count = 0, taken = 0;
    uint32_t most = PIECE / (uint32_t)(sizeof(struct hit) + n->vector_size);
    uint8_t room[128];

    for (uint32_t i = first; i < all->count && count < most; i++)
        count += !sent[i] && (!names || number_task(t, v, all->near[i].hit.number) == task);
    struct hit *hit = leat_alloc(t, count * sizeof(*hit));
    uint8_t *vectors = leat_alloc(t, count * n->vector_size + 1);
    for (uint32_t i = first; taken < count; i++) {
        if (sent[i] || (names && number_task(t, v, all->near[i].hit.number) != task))
            continue;
        if (n->vector_size > 0)
            memcpy(vectors + taken * n->vector_size, all->near[i].vector, n->vector_size);
        hit[taken++] = all->near[i].hit;
        sent[i] = true;
    }
    leat_fold_emit(t, LEAT_ROW(leat_u32(task), leat_bytes(hit, count * sizeof(*hit)),
                               leat_bytes(vectors, count * n->vector_size),
                               n->with_stats && first == 0 ? stats_value(&n->stats, room) : leat_null()));
}

static int finish(const struct leat_fold_use *use, const void *state, struct leat_task *t)
{
    const struct ivf *v = leat_state(t);
    const struct nearest *n = state;
    struct list all = flat(use, n);
    bool names = search_wants_names(v, search_asked(t, v)), *sent = leat_alloc(t, all.count + 1);

    memset(sent, 0, all.count + 1);
    for (uint32_t i = 0; i < all.count; i++)
        if (!sent[i])
            emit_task(n, &all, t, names, i, sent);
    return 0;
}

const struct leat_fold search_nearest = {
    .name = "nearest", .prepare = prepare, .init = init, .step = step, .save = save, .load = load, .finish = finish};
