/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/coarse_set.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = COARSE_BLOCK, GROUP = COARSE_GROUP, SPAN = GROUP * BLOCK };

/* ---- Blocks and groups ---- */

static size_t block_size(const struct vector_coarse *c)
{
    return (sizeof(struct coarse_block) + (size_t)BLOCK * c->dims * sizeof(float) + 63) / 64 * 64;
}

static size_t group_size(const struct vector_coarse *c)
{
    return (sizeof(struct coarse_group) + GROUP * vector_block_size(c->dims) + 63) / 64 * 64;
}

static uint32_t groups_of(const struct vector_coarse *c)
{
    return c->coded ? (c->blocks + GROUP - 1) / GROUP : 0;
}

static void block_release(struct coarse_block *b)
{
    if (b != NULL && --b->versions == 0)
        free(b);
}

static void group_release(struct coarse_group *g)
{
    if (g != NULL && --g->versions == 0)
        free(g);
}

/* Memory of that size, as `like` or zero. */
static void *copy_of(const void *like, size_t size, struct leat_error *err)
{
    void *copy = aligned_alloc(64, size);

    if (copy == NULL) {
        leat_fail(err, LEAT_ENOMEM, "centroids: %zu bytes", size);
        return NULL;
    }
    if (like != NULL)
        memcpy(copy, like, size);
    else
        memset(copy, 0, size);
    return copy;
}

/* Afterwards only this version has the block and its group. */
static int own(struct vector_coarse *c, uint32_t i, struct leat_error *err)
{
    uint32_t g = i / GROUP;

    if (c->block[i]->versions > 1) {
        struct coarse_block *copy = copy_of(c->block[i], block_size(c), err);

        if (copy == NULL)
            return LEAT_ENOMEM;
        copy->versions = 1;
        block_release(c->block[i]);
        c->block[i] = copy;
    }
    if (c->coded && c->group[g]->versions > 1) {
        struct coarse_group *copy = copy_of(c->group[g], group_size(c), err);

        if (copy == NULL)
            return LEAT_ENOMEM;
        copy->versions = 1;
        group_release(c->group[g]);
        c->group[g] = copy;
    }
    return 0;
}

static int make_room(struct vector_coarse *c, struct leat_error *err)
{
    uint32_t room = 2 * c->room + GROUP;
    struct coarse_block **block = realloc(c->block, room * sizeof(*block));

    c->block = block != NULL ? block : c->block;
    struct coarse_group **group = realloc(c->group, (room / GROUP + 1) * sizeof(*group));
    c->group = group != NULL ? group : c->group;
    if (block == NULL || group == NULL)
        return leat_fail(err, LEAT_ENOMEM, "centroids: %u blocks", room);
    c->room = room;
    return 0;
}

static int new_block(struct vector_coarse *c, struct leat_error *err)
{
    bool begins = c->coded && c->blocks % GROUP == 0;
    int rv = c->blocks < c->room ? 0 : make_room(c, err);

    /* The group that it comes into changes. */
    if (rv == 0 && !begins && c->blocks > 0)
        rv = own(c, c->blocks - 1, err);
    if (rv != 0)
        return rv;
    struct coarse_block *fresh = copy_of(NULL, block_size(c), err);
    struct coarse_group *group = begins ? copy_of(NULL, group_size(c), err) : NULL;
    if (fresh == NULL || (begins && group == NULL)) {
        free(fresh);
        return LEAT_ENOMEM;
    }
    if (begins) {
        group->versions = 1;
        c->group[c->blocks / GROUP] = group;
    }
    fresh->versions = 1;
    c->block[c->blocks++] = fresh;
    return 0;
}

/* ---- Versions ---- */

static int version_new(const struct vector_coarse *like, struct vector_coarse **out, struct leat_error *err)
{
    struct vector_coarse *c = malloc(sizeof(*c));

    *out = NULL;
    if (c == NULL)
        return leat_fail(err, LEAT_ENOMEM, "centroids: out of memory");
    *c = *like;
    c->room = (like->blocks / GROUP + 1) * GROUP;
    c->block = malloc(c->room * sizeof(*c->block));
    c->group = malloc((c->room / GROUP + 1) * sizeof(*c->group));
    c->middle = malloc(like->dims * sizeof(float));
    if (c->block == NULL || c->group == NULL || c->middle == NULL) {
        free(c->block);
        free(c->group);
        free(c->middle);
        free(c);
        return leat_fail(err, LEAT_ENOMEM, "centroids: %u blocks", like->blocks);
    }
    *out = c;
    return 0;
}

int vector_coarse_new(uint32_t dims, enum vector_metric metric, struct vector_coarse **out, struct leat_error *err)
{
    struct vector_coarse like = {.dims = dims, .metric = metric, .due = COARSE_CODED_FROM,
                                 .coded = dims % 64 == 0 && dims <= VECTOR_ROTATED_MAX};
    int rv = version_new(&like, out, err);

    if (rv == 0)
        memset((*out)->middle, 0, dims * sizeof(float));
    return rv;
}

int vector_coarse_next(const struct vector_coarse *old, struct vector_coarse **out, struct leat_error *err)
{
    int rv = version_new(old, out, err);

    if (rv != 0)
        return rv;
    memcpy((*out)->middle, old->middle, old->dims * sizeof(float));
    for (uint32_t i = 0; i < old->blocks; i++) {
        (*out)->block[i] = old->block[i];
        old->block[i]->versions++;
    }
    for (uint32_t i = 0; i < groups_of(old); i++) {
        (*out)->group[i] = old->group[i];
        old->group[i]->versions++;
    }
    return 0;
}

void vector_coarse_drop(struct vector_coarse *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < groups_of(c); i++)
        group_release(c->group[i]);
    for (uint32_t i = 0; i < c->blocks; i++)
        block_release(c->block[i]);
    free(c->block);
    free(c->group);
    free(c->middle);
    free(c);
}

/* ---- Changes ---- */

static void encode(struct vector_coarse *c, uint32_t place)
{
    uint8_t code[VECTOR_ROTATED_MAX / 8], *codes = c->group[place / SPAN]->codes;
    struct vector_factors factors;

    vector_encode(c->metric, coarse_row(c, place), c->middle, c->dims, code, &factors);
    vector_block_put(codes + place / BLOCK % GROUP * vector_block_size(c->dims), c->dims, place % BLOCK, code,
                     &factors);
}

static void put(struct vector_coarse *c, uint32_t place, uint32_t number, const float *centroid)
{
    c->block[place / BLOCK]->number[place % BLOCK] = number;
    memcpy(coarse_row(c, place), centroid, c->dims * sizeof(float));
    if (c->coded)
        encode(c, place);
}

static void find_middle(struct vector_coarse *c)
{
    for (uint32_t i = 0; i < c->dims; i++) {
        double sum = 0;

        for (uint32_t place = 0; place < c->count; place++)
            sum += (double)coarse_row(c, place)[i];
        c->middle[i] = c->count > 0 ? (float)(sum / c->count) : 0;
    }
}

/* Before each change: when it is time, all codes are made anew. */
static int recentre(struct vector_coarse *c, struct leat_error *err)
{
    if (c->due > 0) {
        c->due--;
        return 0;
    }
    for (uint32_t g = 0; g < groups_of(c); g++)
        if (own(c, g * GROUP, err) != 0)
            return LEAT_ENOMEM;
    find_middle(c);
    for (uint32_t place = 0; place < c->count && c->coded; place++)
        encode(c, place);
    c->due = c->count > COARSE_CODED_FROM ? c->count : COARSE_CODED_FROM;
    return 0;
}

static uint32_t find(const struct vector_coarse *c, uint32_t number)
{
    for (uint32_t place = 0; place < c->count; place++)
        if (c->block[place / BLOCK]->number[place % BLOCK] == number)
            return place;
    return UINT32_MAX;
}

int vector_coarse_add(struct vector_coarse *c, uint32_t number, const float *centroid, struct leat_error *err)
{
    int rv = recentre(c, err);

    if (rv == 0)
        rv = c->count % BLOCK == 0 ? new_block(c, err) : own(c, c->count / BLOCK, err);
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
    rv = recentre(c, err);
    if (rv == 0 && place != last)
        rv = own(c, place / BLOCK, err);
    if (rv != 0)
        return rv;
    if (place != last)
        put(c, place, c->block[last / BLOCK]->number[last % BLOCK], coarse_row(c, last));
    c->count--;
    if (last % SPAN == 0 && c->coded)
        group_release(c->group[last / SPAN]);
    if (last % BLOCK == 0)
        block_release(c->block[--c->blocks]);
    return 0;
}

uint32_t vector_coarse_count(const struct vector_coarse *c)
{
    return c->count;
}

const float *vector_coarse_find(const struct vector_coarse *c, uint32_t number)
{
    uint32_t place = find(c, number);

    return place != UINT32_MAX ? coarse_row(c, place) : NULL;
}
