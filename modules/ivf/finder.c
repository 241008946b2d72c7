/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/finder.h"

#include <stdlib.h>

#include "modules/ivf/index.h"

/* A table is open addressing with linear probing, at most half full: of each number the newest of its rows, which
 * leads to those before it. To make one costs as much as some forty looks through all rows, so it is made after as
 * many. */

enum { TABLES = 8, ROWS_LEAST = 1024, ROWS_MOST = 1 << 28, LOOKS = 32 };

struct table {
    uint32_t posting, edition;
    uint32_t looks;     /* through all rows, without a table */
    uint64_t used;      /* when: the one that was not for longest is given up for another posting */
    uint32_t rows;      /* that it has: the first ones */
    unsigned bits;      /* of the number of slots */
    uint32_t *slot;     /* row + 1; 0: free; NULL: there is no table yet */
    uint32_t *previous; /* by row */
};

struct finder {
    struct table table[TABLES];
    uint64_t uses;
};

struct finder *finder_new(void)
{
    return calloc(1, sizeof(struct finder));
}

static void table_free(struct table *t)
{
    free(t->slot);
    free(t->previous);
    *t = (struct table){0};
}

void finder_free(struct finder *f)
{
    for (int i = 0; f != NULL && i < TABLES; i++)
        table_free(&f->table[i]);
    free(f);
}

void finder_forget(struct finder *f, uint32_t posting)
{
    for (int i = 0; i < TABLES; i++)
        if (f->table[i].used > 0 && f->table[i].posting == posting)
            table_free(&f->table[i]);
}

/* The posting's table, or the one that is to be. */
static struct table *table_of(struct finder *f, const struct index_posting *p)
{
    struct table *oldest = &f->table[0];

    for (int i = 0; i < TABLES; i++) {
        struct table *t = &f->table[i];

        if (t->used > 0 && t->posting == p->number && t->edition == p->edition)
            return t;
        if (t->used < oldest->used)
            oldest = t;
    }
    table_free(oldest);
    oldest->posting = p->number;
    oldest->edition = p->edition;
    return oldest;
}

static uint32_t slot_of(const struct table *t, const struct index_posting *p, uint64_t number)
{
    uint32_t at = (uint32_t)(number * UINT64_C(0x9e3779b97f4a7c15) >> (64 - t->bits));

    while (t->slot[at] != 0 && index_number(p, t->slot[at] - 1) != number)
        at = (at + 1) & ((1U << t->bits) - 1);
    return at;
}

static bool make_room(struct table *t, uint32_t rows)
{
    struct table new = *t;

    if (t->slot != NULL && rows <= 1U << (t->bits - 1))
        return true;
    for (new.bits = 12; rows > 1U << (new.bits - 1);)
        new.bits++;
    new.rows = 0;
    new.slot = calloc(1U << new.bits, sizeof(*new.slot));
    new.previous = malloc((1U << (new.bits - 1)) * sizeof(*new.previous));
    if (new.slot == NULL || new.previous == NULL) {
        free(new.slot);
        free(new.previous);
        return false;
    }
    free(t->slot);
    free(t->previous);
    *t = new;
    return true;
}

bool finder_begin(struct finder *f, const struct index_posting *p, uint64_t number, struct finding *out)
{
    if (p->rows < ROWS_LEAST || p->rows > ROWS_MOST)
        return false;
    struct table *t = table_of(f, p);
    t->used = ++f->uses;
    if ((t->slot == NULL && ++t->looks <= LOOKS) || !make_room(t, p->rows))
        return false;
    for (; t->rows < p->rows; t->rows++) {
        uint32_t at = slot_of(t, p, index_number(p, t->rows));

        t->previous[t->rows] = t->slot[at];
        t->slot[at] = t->rows + 1;
    }
    *out = (struct finding){t->previous, t->slot[slot_of(t, p, number)]};
    return true;
}

uint32_t finder_next(struct finding *f)
{
    if (f->next == 0)
        return UINT32_MAX;
    uint32_t row = f->next - 1;
    f->next = f->previous[row];
    return row;
}
