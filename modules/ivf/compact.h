/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_IVF_COMPACT_H
#define MODULES_IVF_COMPACT_H

/* Dead rows go, and rows that came turn by turn are put together. A group asks its background which postings are
 * wasteful, one question at a time for all of them, so that much that is to be split comes first; the answer names
 * some, and each is written anew in the turn that takes it. While rows come and go, a posting is written anew when that
 * is worth it: where an eighth is dead, for every row that dies eight are written. What is a little wasteful is asked
 * for at rest (`.at_rest` of a node). */

#include "modules/ivf/ivf.h"

/* A posting whose rows are more bytes is not compacted; and that much is written for one answer, about. */
enum { COMPACT_SIZE = 8 << 20 };

/* How wasteful a posting is. */
enum compact_waste { COMPACT_MUCH, COMPACT_LITTLE };

/* What a posting has, as its record or the derived state say. */
struct compact_rows {
    bool active;
    uint32_t rows, live;
    uint32_t there; /* that live, and copies that wait */
    uint32_t chunks, gathered;
};

enum compact_need {
    COMPACT_NOTHING,
    COMPACT_TAIL, /* many rows came turn by turn, each time into a place of their own in a page: put them together */
    COMPACT_ROWS  /* many are dead: write it anew without them */
};

/* Of a posting that is wasteful enough. */
enum compact_need compact_need(const struct layout *l, const struct compact_rows *r, enum compact_waste least);

/* A posting is wasteful. true: ask the background; false: it is asked already, and will be once more. */
bool compact_wanted(struct leat_task *t, enum compact_waste waste);
/* In the background: name some wasteful postings; from: row of the batch. */
void compact_choose(struct leat_task *t, uint32_t from, enum compact_waste waste);
/* Answers of the background among others. Behind those: what they propose is of rows as they were. */
void compact_all(struct leat_task *t, const struct leat_batch *in);

#endif
