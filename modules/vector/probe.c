/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/vector.h"

#include <stdlib.h>

/* ---- Probing by Hamming distance ---- */

static uint32_t add_flips(uint32_t bits, uint32_t from, uint32_t left, uint32_t mask, uint32_t *out, uint32_t count)
{
    if (out != NULL)
        out[count] = mask;
    count++;
    for (uint32_t bit = from; bit < bits && left > 0; bit++)
        count = add_flips(bits, bit + 1, left - 1, mask | 1U << bit, out, count);
    return count;
}

uint32_t vector_probe_radius(uint32_t bits, uint32_t radius, uint32_t *out)
{
    return add_flips(bits, 0, radius, 0, out, 0);
}

/* ---- Probing by margins ---- */

struct margin {
    float square;
    uint32_t bit;
};

static int compare_margins(const void *a, const void *b)
{
    const struct margin *x = a, *y = b;

    return x->square != y->square ? (x->square < y->square ? -1 : 1) : (int)x->bit - (int)y->bit;
}

struct heap {
    struct vector_flips *item;
    uint32_t count;
};

static void heap_push(struct heap *h, struct vector_flips f)
{
    uint32_t at = h->count++;

    while (at > 0 && h->item[(at - 1) / 2].score > f.score) {
        h->item[at] = h->item[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    h->item[at] = f;
}

static struct vector_flips heap_pop(struct heap *h)
{
    struct vector_flips top = h->item[0], f = h->item[--h->count];
    uint32_t at = 0;

    while (2 * at + 1 < h->count) {
        uint32_t child = 2 * at + 1;

        if (child + 1 < h->count && h->item[child + 1].score < h->item[child].score)
            child++;
        if (h->item[child].score >= f.score)
            break;
        h->item[at] = h->item[child];
        at = child;
    }
    h->item[at] = f;
    return top;
}

static uint32_t bits_of(const struct margin *m, uint32_t places)
{
    uint32_t mask = 0;

    for (; places != 0; places &= places - 1)
        mask |= 1U << m[__builtin_ctz(places)].bit;
    return mask;
}

uint32_t vector_probe_margins(const float *margin, uint32_t bits, uint32_t most, uint32_t *mask,
                              struct vector_flips *room)
{
    struct margin m[32];
    struct heap h = {room, 0};
    uint32_t count = 0;

    if (most == 0)
        return 0;
    for (uint32_t i = 0; i < bits; i++)
        m[i] = (struct margin){margin[i] * margin[i], i};
    qsort(m, bits, sizeof(*m), compare_margins);
    mask[count++] = 0;
    if (bits > 0)
        heap_push(&h, (struct vector_flips){m[0].square, 1, 0});
    /* The heap grows by at most one for each mask, so that room for `most` is enough. */
    while (count < most && h.count > 0) {
        struct vector_flips f = heap_pop(&h);
        uint32_t next = f.last + 1;

        mask[count++] = bits_of(m, f.places);
        if (next >= bits)
            continue;
        /* Two successors give every set once: add the next place, or move the last one there. */
        float score = f.score + m[next].square;
        heap_push(&h, (struct vector_flips){score, f.places | 1U << next, next});
        heap_push(&h, (struct vector_flips){score - m[f.last].square, f.places ^ (1U << f.last | 1U << next), next});
    }
    return count;
}
