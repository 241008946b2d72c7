/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/top.h"

#include <math.h>
#include <stdbool.h>

static inline bool farther(struct vector_best a, struct vector_best b)
{
    return a.distance > b.distance || (a.distance == b.distance && a.number > b.number);
}

static void sift_down(struct vector_top *t, struct vector_best item)
{
    uint32_t at = 0;

    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child >= t->count)
            break;
        if (child + 1 < t->count && farther(t->item[child + 1], t->item[child]))
            child++;
        if (!farther(t->item[child], item))
            break;
        t->item[at] = t->item[child];
        at = child;
    }
    t->item[at] = item;
}

static void sift_up(struct vector_top *t, uint32_t at, struct vector_best item)
{
    for (; at > 0 && farther(item, t->item[(at - 1) / 2]); at = (at - 1) / 2)
        t->item[at] = t->item[(at - 1) / 2];
    t->item[at] = item;
}

void vector_top_begin(struct vector_top *t, struct vector_best *room, uint32_t k)
{
    *t = (struct vector_top){.item = room, .k = k, .threshold = k > 0 ? INFINITY : -INFINITY};
}

void vector_top_keep(struct vector_top *t, float distance, uint64_t number)
{
    struct vector_best item = {distance, number};

    if (t->count < t->k)
        sift_up(t, t->count++, item);
    else if (t->k > 0 && farther(t->item[0], item))
        sift_down(t, item);
    if (t->count == t->k && t->k > 0 && t->item[0].distance < t->threshold)
        t->threshold = t->item[0].distance;
}

/* The worst goes to the end, again and again. */
void vector_top_sort(struct vector_top *t)
{
    uint32_t count = t->count;

    while (t->count > 1) {
        struct vector_best worst = t->item[0];

        t->count--;
        sift_down(t, t->item[t->count]);
        t->item[t->count] = worst;
    }
    t->count = count;
}
