/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/finder.h"

#include <stdlib.h>

#include "modules/ivf/index.h"

/* A table is open addressing with linear probing, at most half full, of rows + 1. */

enum { TABLES = 8, ROWS_LEAST = 1024, ROWS_MOST = 1 << 28 };

struct table {
    uint32_t posting, edition;
    uint32_t rows;  /* that it has: the first ones */
    uint32_t slots; /* 0: no posting */
    uint32_t *slot;
};

/* Few postings are large at a time; two that want the same place take it from each other. */
struct finder {
    struct table table[TABLES];
};

struct finder *finder_new(void)
{
    return calloc(1, sizeof(struct finder));
}

void finder_free(struct finder *f)
{
    for (int i = 0; f != NULL && i < TABLES; i++)
        free(f->table[i].slot);
    free(f);
}

static uint32_t place_in(uint32_t slots, uint64_t number)
{
    return (uint32_t)(number * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (slots - 1);
}

static bool begin_table(struct table *t, const struct index_posting *p)
{
    uint32_t slots = 4 * ROWS_LEAST;

    while (slots / 2 < p->rows)
        slots *= 2;
    free(t->slot);
    *t = (struct table){.posting = p->number, .edition = p->edition, .slot = calloc(slots, sizeof(*t->slot))};
    t->slots = t->slot != NULL ? slots : 0;
    return t->slots > 0;
}

static void extend(struct table *t, const struct index_posting *p)
{
    for (; t->rows < p->rows; t->rows++) {
        uint32_t at = place_in(t->slots, p->numbers[t->rows]);

        while (t->slot[at] != 0)
            at = (at + 1) & (t->slots - 1);
        t->slot[at] = t->rows + 1;
    }
}

bool finder_begin(struct finder *f, const struct index_posting *p, uint64_t number, struct finding *out)
{
    struct table *t = &f->table[p->number % TABLES];

    if (p->rows < ROWS_LEAST || p->rows > ROWS_MOST)
        return false;
    bool same = t->slots > 0 && t->posting == p->number && t->edition == p->edition;
    if ((!same || t->slots / 2 < p->rows) && !begin_table(t, p))
        return false;
    extend(t, p);
    *out = (struct finding){p->numbers, t->slot, t->slots, place_in(t->slots, number), number};
    return true;
}

uint32_t finder_next(struct finding *f)
{
    while (f->table[f->at] != 0) {
        uint32_t row = f->table[f->at] - 1;

        f->at = (f->at + 1) & (f->slots - 1);
        if (f->numbers[row] == f->number)
            return row;
    }
    return UINT32_MAX;
}
