/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/coarse.h"

#include "modules/vector/distance.h"
#include "modules/vector/top.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = VECTOR_BLOCK };

struct block {
    uint32_t versions; /* that have it; with more than one it does not change */
    uint32_t number[BLOCK];
    float row[] __attribute__((aligned(64)));
};

struct vector_coarse {
    uint32_t dims, count; /* centroids */
    uint32_t blocks, room;
    enum vector_metric metric;
    struct block **block;
};

/* ---- Blocks ---- */

static size_t block_size(const struct vector_coarse *c)
{
    size_t size = sizeof(struct block) + (size_t)BLOCK * c->dims * sizeof(float);

    return (size + 63) / 64 * 64;
}

static void block_release(struct block *b)
{
    if (--b->versions == 0)
        free(b);
}

static float *row_at(const struct vector_coarse *c, uint32_t place)
{
    return c->block[place / BLOCK]->row + (size_t)(place % BLOCK) * c->dims;
}

/* Afterwards only this version has it. */
static int own(struct vector_coarse *c, uint32_t i, struct leat_error *err)
{
    struct block *copy;

    if (c->block[i]->versions == 1)
        return 0;
    copy = aligned_alloc(64, block_size(c));
    if (copy == NULL)
        return leat_fail(err, LEAT_ENOMEM, "centroids: %zu bytes", block_size(c));
    memcpy(copy, c->block[i], block_size(c));
    copy->versions = 1;
    block_release(c->block[i]);
    c->block[i] = copy;
    return 0;
}

static int new_block(struct vector_coarse *c, struct leat_error *err)
{
    struct block *fresh;

    if (c->blocks == c->room) {
        uint32_t room = 2 * c->room + 8;
        struct block **more = realloc(c->block, room * sizeof(*more));

        if (more == NULL)
            return leat_fail(err, LEAT_ENOMEM, "centroids: %u blocks", room);
        c->block = more;
        c->room = room;
    }
    fresh = aligned_alloc(64, block_size(c));
    if (fresh == NULL)
        return leat_fail(err, LEAT_ENOMEM, "centroids: %zu bytes", block_size(c));
    memset(fresh, 0, block_size(c));
    fresh->versions = 1;
    c->block[c->blocks++] = fresh;
    return 0;
}

/* ---- Versions ---- */

int vector_coarse_new(uint32_t dims, enum vector_metric metric, struct vector_coarse **out, struct leat_error *err)
{
    struct vector_coarse *c = malloc(sizeof(*c));

    *out = c;
    if (c == NULL)
        return leat_fail(err, LEAT_ENOMEM, "centroids: out of memory");
    *c = (struct vector_coarse){.dims = dims, .metric = metric};
    return 0;
}

int vector_coarse_next(const struct vector_coarse *old, struct vector_coarse **out, struct leat_error *err)
{
    struct vector_coarse *c = malloc(sizeof(*c));
    struct block **block = malloc((old->blocks + 8) * sizeof(*block));

    *out = NULL;
    if (c == NULL || block == NULL) {
        free(c);
        free(block);
        return leat_fail(err, LEAT_ENOMEM, "centroids: %u blocks", old->blocks);
    }
    *c = *old;
    c->block = block;
    c->room = old->blocks + 8;
    for (uint32_t i = 0; i < c->blocks; i++) {
        c->block[i] = old->block[i];
        c->block[i]->versions++;
    }
    *out = c;
    return 0;
}

void vector_coarse_drop(struct vector_coarse *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < c->blocks; i++)
        block_release(c->block[i]);
    free(c->block);
    free(c);
}

/* ---- Changes ---- */

static uint32_t find(const struct vector_coarse *c, uint32_t number)
{
    for (uint32_t place = 0; place < c->count; place++)
        if (c->block[place / BLOCK]->number[place % BLOCK] == number)
            return place;
    return UINT32_MAX;
}

static void put(struct vector_coarse *c, uint32_t place, uint32_t number, const float *centroid)
{
    c->block[place / BLOCK]->number[place % BLOCK] = number;
    memcpy(row_at(c, place), centroid, c->dims * sizeof(float));
}

int vector_coarse_add(struct vector_coarse *c, uint32_t number, const float *centroid, struct leat_error *err)
{
    int rv = c->count % BLOCK == 0 ? new_block(c, err) : own(c, c->count / BLOCK, err);

    if (rv == 0)
        put(c, c->count++, number, centroid);
    return rv;
}

/* The last one takes its place. */
int vector_coarse_remove(struct vector_coarse *c, uint32_t number, struct leat_error *err)
{
    uint32_t place = find(c, number), last = c->count - 1;
    int rv;

    if (place == UINT32_MAX)
        return leat_fail(err, LEAT_ENOTFOUND, "there is no centroid %u", number);
    rv = place == last ? 0 : own(c, place / BLOCK, err);
    if (rv != 0)
        return rv;
    if (place != last)
        put(c, place, c->block[last / BLOCK]->number[last % BLOCK], row_at(c, last));
    c->count--;
    if (last % BLOCK == 0)
        block_release(c->block[--c->blocks]);
    return 0;
}

int vector_coarse_replace(struct vector_coarse *c, uint32_t number, const float *centroid, struct leat_error *err)
{
    uint32_t place = find(c, number);
    int rv;

    if (place == UINT32_MAX)
        return leat_fail(err, LEAT_ENOTFOUND, "there is no centroid %u", number);
    rv = own(c, place / BLOCK, err);
    if (rv == 0)
        put(c, place, number, centroid);
    return rv;
}

uint32_t vector_coarse_count(const struct vector_coarse *c)
{
    return c->count;
}

const float *vector_coarse_at(const struct vector_coarse *c, uint32_t place, uint32_t *number)
{
    *number = c->block[place / BLOCK]->number[place % BLOCK];
    return row_at(c, place);
}

const float *vector_coarse_find(const struct vector_coarse *c, uint32_t number)
{
    uint32_t place = find(c, number);

    return place != UINT32_MAX ? row_at(c, place) : NULL;
}

/* ---- Search ---- */

size_t vector_coarse_room(const struct vector_coarse *c, uint32_t n)
{
    return ((n < c->count ? n : c->count) + 1) * sizeof(struct vector_best);
}

static void score_all(const struct vector_coarse *c, const float *query, struct vector_top *top)
{
    const struct vector_distance *kernel = vector_distance(c->metric, LEAT_F32_VECTOR);

    for (uint32_t first = 0; first < c->count; first += BLOCK) {
        const struct block *b = c->block[first / BLOCK];
        uint32_t n = c->count - first < BLOCK ? c->count - first : BLOCK;
        float distance[BLOCK];

        kernel->strided(query, b->row, c->dims * sizeof(float), n, c->dims, distance);
        for (uint32_t i = 0; i < n; i++)
            vector_top_push(top, c->metric == VECTOR_DOT ? -distance[i] : distance[i],
                            (uint64_t)b->number[i] << 32 | (first + i));
    }
}

uint32_t vector_coarse_search(const struct vector_coarse *c, const float *query, const struct vector_query *table,
                              uint32_t n, struct vector_near *out, void *room)
{
    struct vector_top top;

    (void)table;
    vector_top_begin(&top, room, n < c->count ? n : c->count);
    score_all(c, query, &top);
    vector_top_sort(&top);
    for (uint32_t i = 0; i < top.count; i++) {
        struct vector_best *b = &top.item[i];

        out[i] = (struct vector_near){b->distance, (uint32_t)(b->number >> 32), row_at(c, (uint32_t)b->number)};
    }
    return top.count;
}

uint32_t vector_coarse_search_many(const struct vector_coarse *c, const float *const *query, uint32_t queries, uint32_t n,
                                   struct vector_near *out, void *room)
{
    uint32_t found = n < c->count ? n : c->count;

    for (uint32_t i = 0; i < queries; i++)
        vector_coarse_search(c, query[i], NULL, n, out + (size_t)i * n, room);
    return found;
}
