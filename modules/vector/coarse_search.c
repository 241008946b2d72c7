/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/coarse_set.h"
#include "modules/vector/top.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* A search with codes: a lower bound of each distance; the exact distances of a few with the least bounds, of which the
 * n-th is an upper bound; then those of all whose lower bound is not above it. A walk raises a bound step by step,
 * compares what has a lower bound below it, and gives out what is nearer than it. */

enum { BLOCK = COARSE_BLOCK, GROUP = COARSE_GROUP, SPAN = GROUP * BLOCK };

/* Centroids for each one wished from which on codes are of use; bounds that are looked at to find where the least ones
 * end; rows compared at a time. */
enum { CODED_SHARE = 8, SAMPLE = 2048, BATCH = 64 };

struct search {
    const struct vector_coarse *c;
    const struct vector_distance *kernel;
    const float *query;
    float *lower;   /* of each place */
    uint32_t *mask; /* of each block */
    uint8_t *table;
    struct vector_top top;
    struct vector_best *wait; /* of a walk: compared and not given; else NULL, and the top has what is near */
    uint32_t waits;
    /* Places to be compared next. */
    uint32_t count, place[BATCH];
};

static bool by_codes(const struct vector_coarse *c, uint32_t n)
{
    return c->coded && c->count >= COARSE_CODED_FROM && n <= c->count / CODED_SHARE;
}

static void *take(uintptr_t *at, size_t size)
{
    uintptr_t begin = *at;

    *at += (size + 63) / 64 * 64;
    return (void *)begin;
}

/* Everything from `at` on; returns the end. At 0 that is the size. */
static uintptr_t lay_out(struct search *s, const struct vector_coarse *c, uint32_t n, bool coded, uintptr_t at)
{
    size_t groups = (c->count + SPAN - 1) / SPAN;

    *s = (struct search){.c = c};
    vector_top_begin(&s->top, take(&at, n * sizeof(struct vector_best)), n);
    if (!coded)
        return at;
    s->table = take(&at, 4 * (size_t)c->dims);
    s->lower = take(&at, groups * SPAN * sizeof(float));
    s->mask = take(&at, groups * GROUP * sizeof(uint32_t));
    return at;
}

size_t vector_coarse_room(const struct vector_coarse *c, uint32_t n)
{
    struct search s;

    n = n < c->count ? n : c->count;
    return lay_out(&s, c, n, by_codes(c, 1), 0) + 64; /* by codes fewer are found */
}

/* ---- Exact distances ---- */

static void push(struct search *s, float distance, uint32_t place)
{
    uint64_t number = (uint64_t)s->c->block[place / BLOCK]->number[place % BLOCK] << 32 | place;

    distance = s->c->metric == VECTOR_DOT ? -distance : distance;
    if (s->wait != NULL)
        s->wait[s->waits++] = (struct vector_best){distance, number};
    else
        vector_top_push(&s->top, distance, number);
}

static void compare_all(struct search *s)
{
    const struct vector_coarse *c = s->c;
    float distance[BLOCK];

    for (uint32_t first = 0; first < c->count; first += BLOCK) {
        uint32_t n = c->count - first < BLOCK ? c->count - first : BLOCK;

        s->kernel->strided(s->query, coarse_row(c, first), c->dims * sizeof(float), n, c->dims, distance);
        for (uint32_t i = 0; i < n; i++)
            push(s, distance[i], first + i);
    }
}

static void compare_batch(struct search *s)
{
    const void *row[BATCH];
    float distance[BATCH];

    for (uint32_t i = 0; i < s->count; i++)
        row[i] = coarse_row(s->c, s->place[i]);
    s->kernel->pointers(s->query, row, s->count, s->c->dims, distance);
    for (uint32_t i = 0; i < s->count; i++)
        push(s, distance[i], s->place[i]);
    s->count = 0;
}

/* Those of the masks that can still be among the nearest. */
static void compare_masked(struct search *s)
{
    uint32_t blocks = (s->c->count + BLOCK - 1) / BLOCK;

    for (uint32_t b = 0; b < blocks; b++)
        for (uint32_t m = s->mask[b]; m != 0; m &= m - 1) {
            uint32_t place = b * BLOCK + (uint32_t)__builtin_ctz(m);

            if (s->lower[place] > s->top.threshold)
                continue;
            s->place[s->count++] = place;
            if (s->count == BATCH)
                compare_batch(s);
        }
    compare_batch(s);
}

/* ---- Bounds ---- */

static uint32_t between(const struct search *s, uint32_t stride, float above, float bound)
{
    uint32_t blocks = (s->c->count + BLOCK - 1) / BLOCK;

    return vector_quantiser()->between(s->lower, blocks, stride, above, bound, s->mask);
}

/* Numbers in the order of the floats, and back. */
static int32_t ordered(float f)
{
    int32_t i;

    memcpy(&i, &f, sizeof(i));
    return i < 0 ? i ^ INT32_MAX : i;
}

static float unordered(int32_t i)
{
    float f;

    i = i < 0 ? i ^ INT32_MAX : i;
    memcpy(&f, &i, sizeof(f));
    return f;
}

/* A bound that of the blocks of a sample at least `rank` rows pass and, where bounds differ, not half as many more. */
static float bound_of_rank(const struct search *s, uint32_t stride, uint32_t rank)
{
    int64_t low = ordered(-INFINITY), high = ordered(FLT_MAX);

    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        uint32_t count = between(s, stride, -INFINITY, unordered((int32_t)middle));

        if (count < rank)
            low = middle + 1;
        else
            high = middle;
        if (count >= rank && count <= rank + rank / 2)
            break;
    }
    return unordered((int32_t)high);
}

/* ---- Scan ---- */

static struct vector_scan scan_of(const struct search *s, const struct vector_query *q)
{
    float square = vector_distance(VECTOR_L2, LEAT_F32_VECTOR)->one(s->query, s->c->middle, s->c->dims);
    float base = square;

    if (s->c->metric == VECTOR_DOT)
        base = -s->kernel->one(s->query, s->c->middle, s->c->dims);
    return (struct vector_scan){.query = q, .base = base, .distance = sqrtf(square), .threshold = INFINITY};
}

/* Places that are not used get a bound that nothing passes. */
static void find_bounds(struct search *s, const struct vector_query *made)
{
    const struct vector_coarse *c = s->c;
    struct vector_query own;
    struct vector_scan scan = scan_of(s, made != NULL ? made : &own);

    if (made == NULL)
        vector_query_begin(&own, s->query, c->dims, VECTOR_EPSILON, s->table);
    for (uint32_t first = 0; first < c->count; first += SPAN) {
        uint32_t left = (c->count - first + BLOCK - 1) / BLOCK;

        scan.blocks = c->group[first / SPAN]->codes;
        scan.count = left < GROUP ? left : GROUP;
        scan.lower = s->lower + first;
        scan.mask = s->mask + first / BLOCK;
        scan.ahead_count = left > GROUP ? (left < 2 * GROUP ? left - GROUP : GROUP) : 0;
        scan.ahead = scan.ahead_count > 0 ? c->group[first / SPAN + 1]->codes : NULL;
        vector_scan(&scan);
    }
    for (uint32_t place = c->count; place % BLOCK != 0; place++)
        s->lower[place] = INFINITY;
}

static void compare_by_codes(struct search *s)
{
    uint32_t n = s->top.k, stride = s->c->count / SAMPLE + 1, rank = (n + n / 4) / stride + 4;
    float bound = bound_of_rank(s, stride, rank);

    if (between(s, 1, -INFINITY, bound) < n)
        between(s, 1, -INFINITY, bound = bound_of_rank(s, 1, n));
    compare_masked(s);
    between(s, 1, bound, s->top.threshold);
    compare_masked(s);
}

static void begin(struct search *s, const float *query, const struct vector_query *table)
{
    s->kernel = vector_distance(s->c->metric, LEAT_F32_VECTOR);
    s->query = query;
    if (s->lower != NULL)
        find_bounds(s, table);
}

/* What the top has, nearest first. */
static uint32_t give(struct search *s, struct vector_near *out)
{
    vector_top_sort(&s->top);
    for (uint32_t i = 0; i < s->top.count; i++) {
        struct vector_best *b = &s->top.item[i];

        out[i] = (struct vector_near){b->distance, (uint32_t)(b->number >> 32), coarse_row(s->c, (uint32_t)b->number)};
    }
    return s->top.count;
}

uint32_t vector_coarse_search(const struct vector_coarse *c, const float *query, const struct vector_query *table,
                              uint32_t n, struct vector_near *out, void *room)
{
    struct search s;

    n = n < c->count ? n : c->count;
    lay_out(&s, c, n, n > 0 && by_codes(c, n), ((uintptr_t)room + 63) / 64 * 64);
    begin(&s, query, table);
    if (s.lower != NULL)
        compare_by_codes(&s);
    else
        compare_all(&s);
    return give(&s, out);
}

/* ---- Walks ---- */

struct vector_walk {
    struct search search;
    uint32_t compared;
    float bound; /* those whose lower bound is not above it were compared */
};

static uintptr_t lay_out_walk(struct vector_walk *w, const struct vector_coarse *c, uintptr_t at)
{
    *w = (struct vector_walk){.bound = -INFINITY};
    at = lay_out(&w->search, c, c->count, by_codes(c, 1), at);
    w->search.top.k = UINT32_MAX; /* no threshold */
    w->search.wait = take(&at, c->count * sizeof(*w->search.wait));
    return at;
}

size_t vector_walk_room(const struct vector_coarse *c)
{
    struct vector_walk w;

    return lay_out_walk(&w, c, 0) + sizeof(w) + 128;
}

struct vector_walk *vector_walk_begin(const struct vector_coarse *c, const float *query,
                                      const struct vector_query *table, void *room)
{
    uintptr_t at = ((uintptr_t)room + 63) / 64 * 64;
    struct vector_walk *w = take(&at, sizeof(*w));

    lay_out_walk(w, c, at);
    begin(&w->search, query, table);
    return w;
}

/* Compare about n more. */
static void compare_more(struct vector_walk *w, uint32_t n)
{
    struct search *s = &w->search;
    uint32_t stride = s->c->count / SAMPLE + 1, waits = s->waits;
    float bound = FLT_MAX;

    if (s->lower == NULL) {
        compare_all(s);
        w->bound = FLT_MAX;
        return;
    }
    if (s->c->count - w->compared > n)
        bound = bound_of_rank(s, stride, (w->compared + n) / stride + 1);
    if (bound <= w->bound) /* the sample is not like the rest */
        bound = bound_of_rank(s, 1, w->compared + n);
    between(s, 1, w->bound, bound);
    compare_masked(s);
    w->bound = bound;
    w->compared += s->waits - waits;
}

/* Those that no others can be nearer than. */
static uint32_t give_waiting(struct vector_walk *w, struct vector_near *out)
{
    struct search *s = &w->search;
    uint32_t left = 0;

    vector_top_begin(&s->top, s->top.item, UINT32_MAX);
    for (uint32_t i = 0; i < s->waits; i++)
        if (s->wait[i].distance > w->bound && w->bound < FLT_MAX)
            s->wait[left++] = s->wait[i];
        else
            vector_top_push(&s->top, s->wait[i].distance, s->wait[i].number);
    s->waits = left;
    return give(s, out);
}

uint32_t vector_walk_on(struct vector_walk *w, uint32_t n, struct vector_near *out)
{
    uint32_t given = 0;

    while (given == 0 && w->bound < FLT_MAX) {
        compare_more(w, n);
        given = give_waiting(w, out);
    }
    return given;
}

uint32_t vector_coarse_search_many(const struct vector_coarse *c, const float *const *query, uint32_t queries,
                                   uint32_t n, struct vector_near *out, void *room)
{
    uint32_t found = n < c->count ? n : c->count;

    for (uint32_t i = 0; i < queries; i++)
        vector_coarse_search(c, query[i], NULL, n, out + (size_t)i * n, room);
    return found;
}
