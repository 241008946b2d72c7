/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/vector.h"

#include <math.h>
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

/* ---- Probing by likelihood ---- */

/* A bit, and the logarithm of how much likelier a neighbour has it than not. */
struct odds {
    float odds;
    uint32_t bit;
};

/* A table's bucket that may be next. */
struct candidate {
    float score;     /* minus the logarithm of its probability */
    uint32_t table;
    uint32_t places; /* of flipped bits, in order of their odds */
    uint32_t last;   /* the highest of them */
};

struct heap {
    struct candidate *item;
    uint32_t count;
};

static void heap_push(struct heap *h, struct candidate c)
{
    uint32_t at = h->count++;

    while (at > 0 && h->item[(at - 1) / 2].score > c.score) {
        h->item[at] = h->item[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    h->item[at] = c;
}

static struct candidate heap_pop(struct heap *h)
{
    struct candidate top = h->item[0], c = h->item[--h->count];
    uint32_t at = 0;

    while (2 * at + 1 < h->count) {
        uint32_t child = 2 * at + 1;

        if (child + 1 < h->count && h->item[child + 1].score < h->item[child].score)
            child++;
        if (h->item[child].score >= c.score)
            break;
        h->item[at] = h->item[child];
        at = child;
    }
    h->item[at] = c;
    return top;
}

static int compare_odds(const void *a, const void *b)
{
    const struct odds *x = a, *y = b;

    return x->odds != y->odds ? (x->odds < y->odds ? -1 : 1) : (int)x->bit - (int)y->bit;
}

/* The odds of a table's bits, ascending. Returns the score of the query's own bucket. */
static float weigh(const float *margin, float norm, uint32_t bits, struct odds *out)
{
    const double tangent = sqrt(3), far = 30; /* beyond which a probability would be 0 */
    double score = 0;

    for (uint32_t i = 0; i < bits; i++) {
        double x = norm > 0 ? fabs((double)margin[i]) / ((double)norm * tangent) : 0;
        double beyond = erfc((x < far ? x : far) / sqrt(2)) / 2;

        score -= log1p(-beyond);
        out[i] = (struct odds){(float)log((1 - beyond) / beyond), i};
    }
    qsort(out, bits, sizeof(*out), compare_odds);
    return (float)score;
}

/* Two successors give every set of places once: the next place added, or the last one moved there. */
static void push_successors(struct heap *h, const struct odds *o, uint32_t bits, struct candidate c)
{
    uint32_t next = c.places == 0 ? 0 : c.last + 1;

    if (next >= bits)
        return;
    float score = c.score + o[next].odds;
    heap_push(h, (struct candidate){score, c.table, c.places | 1U << next, next});
    if (c.places != 0)
        heap_push(h, (struct candidate){score - o[c.last].odds, c.table, c.places ^ (1U << c.last | 1U << next), next});
}

static uint32_t bits_of(const struct odds *o, uint32_t places)
{
    uint32_t mask = 0;

    for (; places != 0; places &= places - 1)
        mask |= 1U << o[__builtin_ctz(places)].bit;
    return mask;
}

size_t vector_probe_room(uint32_t tables, uint32_t bits, uint32_t most)
{
    /* A pop and its two pushes make the heap longer by one. */
    return ((size_t)tables + most + 1) * sizeof(struct candidate) + (size_t)tables * bits * sizeof(struct odds);
}

uint32_t vector_probe_likeliest(const float *margin, float norm, uint32_t tables, uint32_t bits, uint32_t most,
                                struct vector_probe *out, void *room)
{
    struct heap h = {room, 0};
    struct odds *odds = (struct odds *)(h.item + tables + most + 1);
    uint32_t count = 0;

    for (uint32_t i = 0; i < tables; i++) {
        float own = weigh(margin + (size_t)i * bits, norm, bits, odds + (size_t)i * bits);

        heap_push(&h, (struct candidate){own, i, 0, 0});
    }
    while (count < most && h.count > 0) {
        struct candidate c = heap_pop(&h);
        const struct odds *o = odds + (size_t)c.table * bits;

        out[count++] = (struct vector_probe){c.table, bits_of(o, c.places)};
        push_successors(&h, o, bits, c);
    }
    return count;
}
