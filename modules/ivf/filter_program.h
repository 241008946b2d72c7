/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_IVF_FILTER_PROGRAM_H
#define MODULES_IVF_FILTER_PROGRAM_H

/* What filter.c compiles and filter_run.c runs: steps of a machine with a stack of masks. */

#include "modules/ivf/filter.h"

enum { FILTER_STACK = 48 };

enum filter_op {
    FILTER_CONSTANT, /* push low: no row (0) or every row (-1) */
    FILTER_PRESENT,  /* push the rows that have the attribute */
    FILTER_INTERVAL, /* of those push the ones with low <= column <= high, or, outside, the others */
    FILTER_MEMBER,   /* of those push the ones with the column in a set */
    FILTER_NOT,      /* turn the top round */
    FILTER_AND,      /* join the two on top */
    FILTER_OR
};

/* A string of a set, to be compared itself: those in one slot are a list. */
struct filter_string {
    struct leat_span text;
    const struct filter_string *next;
};

struct filter_member {
    struct filter_set set;
    const struct filter_string **string; /* by slot; behind them that of `empty`. NULL: these are no strings */
};

struct filter_step {
    enum filter_op op;
    bool outside;
    bool string;                       /* the interval is the hash of text */
    uint32_t attribute, column;
    int64_t low, high;
    struct leat_span text;
    const struct filter_member *member;
};

struct filter {
    const struct attributes *attributes;
    const struct filter_step *step;
    uint32_t steps;
};

static inline uint32_t filter_home(const struct filter_set *s, int64_t value)
{
    uint64_t h = (uint64_t)value * s->factor;

    /* Once more: products of values in equal steps lie in equal steps, and fill some regions of the slots. */
    return (uint32_t)((h ^ h >> 32) * s->factor >> s->shift);
}

/* The slot of a value, or one that is empty. */
static inline uint32_t filter_slot(const struct filter_set *s, int64_t value)
{
    uint32_t at = filter_home(s, value);

    while (s->slot[at] != value && s->slot[at] != s->empty)
        at = (at + 1) & s->mask;
    return at;
}

#endif
