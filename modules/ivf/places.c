/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/places.h"

#include <string.h>

#include "modules/ivf/ivf.h"

/* An entry: u16 the number in its block, and whether there are attributes; u32 version, posting, before. A block is
 * meant for 32 of them. Ids that are numbers are spread over tasks by their hash: there it is of as many more. */

enum { ENTRY = PLACES_ENTRY, BLOCK_BITS = 5, BLOCK_BITS_MOST = 15, HAS_ATTRIBUTES = 1 << 15 };

void places_begin(struct places *p, struct leat_task *t, const struct ivf *v)
{
    *p = (struct places){.t = t, .shift = BLOCK_BITS};
    for (uint32_t tasks = v->names ? 1 : leat_task_count(t); tasks > 1 && p->shift < BLOCK_BITS_MOST; tasks /= 2)
        p->shift++;
}

void places_end(struct places *p)
{
    struct leat_value key = leat_u64(p->block);

    if (p->changed && p->count > 0)
        leat_put(p->t, PLACES, LEAT_KEYS(key), LEAT_ROW(leat_bytes(p->entry, (size_t)p->count * ENTRY)));
    else if (p->changed)
        leat_delete(p->t, PLACES, LEAT_KEYS(key));
    p->known = p->changed = false;
}

static void make_room(struct places *p, uint32_t count)
{
    if (count <= p->room)
        return;
    uint32_t room = count < 1U << BLOCK_BITS ? 1U << BLOCK_BITS : 2 * count;
    uint8_t *grown = leat_alloc(p->t, (size_t)room * ENTRY);

    if (p->count > 0)
        memcpy(grown, p->entry, (size_t)p->count * ENTRY);
    p->entry = grown;
    p->room = room;
}

static void open_block(struct places *p, uint64_t block)
{
    struct leat_value value;

    if (p->known && p->block == block)
        return;
    places_end(p);
    p->known = true;
    p->block = block;
    p->count = 0;
    if (leat_get(p->t, PLACES, LEAT_KEYS(leat_u64(block)), &value, 1) != 0)
        return;
    uint32_t count = (uint32_t)(value.as.bytes.size / ENTRY);
    make_room(p, count);
    memcpy(p->entry, value.as.bytes.base, (size_t)count * ENTRY);
    p->count = count;
}

static uint32_t low_of(const struct places *p, uint32_t at)
{
    uint16_t low;

    memcpy(&low, p->entry + (size_t)at * ENTRY, sizeof(low));
    return low & ~(uint32_t)HAS_ATTRIBUTES;
}

/* Where the number is in its block, or would be. */
static uint32_t find(struct places *p, uint64_t number, bool *there)
{
    uint32_t low = (uint32_t)(number & ((1U << p->shift) - 1));

    open_block(p, number >> p->shift);
    uint32_t first = 0, end = p->count;
    while (first < end) {
        uint32_t middle = (first + end) / 2;

        if (low_of(p, middle) < low)
            first = middle + 1;
        else
            end = middle;
    }
    *there = first < p->count && low_of(p, first) == low;
    return first;
}

bool places_get(struct places *p, uint64_t number, struct place *out)
{
    bool there;
    uint32_t at = find(p, number, &there);
    uint16_t low;

    if (!there)
        return false;
    const uint8_t *entry = p->entry + (size_t)at * ENTRY;
    memcpy(&low, entry, sizeof(low));
    memcpy(&out->version, entry + 2, 4);
    memcpy(&out->posting, entry + 6, 4);
    memcpy(&out->before, entry + 10, 4);
    out->attributes = (low & HAS_ATTRIBUTES) != 0;
    return true;
}

void places_put(struct places *p, uint64_t number, const struct place *place)
{
    bool there;
    uint32_t at = find(p, number, &there);
    uint16_t low = (uint16_t)((number & ((1U << p->shift) - 1)) | (place->attributes ? HAS_ATTRIBUTES : 0));

    if (!there) {
        make_room(p, p->count + 1);
        memmove(p->entry + (size_t)(at + 1) * ENTRY, p->entry + (size_t)at * ENTRY, (size_t)(p->count - at) * ENTRY);
        p->count++;
    }
    uint8_t *entry = p->entry + (size_t)at * ENTRY;
    memcpy(entry, &low, sizeof(low));
    memcpy(entry + 2, &place->version, 4);
    memcpy(entry + 6, &place->posting, 4);
    memcpy(entry + 10, &place->before, 4);
    p->changed = true;
}

void places_delete(struct places *p, uint64_t number)
{
    bool there;
    uint32_t at = find(p, number, &there);

    if (!there)
        return;
    p->count--;
    memmove(p->entry + (size_t)at * ENTRY, p->entry + (size_t)(at + 1) * ENTRY, (size_t)(p->count - at) * ENTRY);
    p->changed = true;
}
