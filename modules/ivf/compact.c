/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/compact.h"

#include <string.h>

#include "modules/ivf/posting.h"

enum compact_need compact_need(const struct layout *l, const struct compact_rows *r, enum compact_waste least)
{
    uint32_t dead = r->rows > r->there ? r->rows - r->there : 0, chunked = r->chunks * l->chunk.rows;
    uint32_t loose = r->rows - (chunked > r->gathered ? chunked : r->gathered);

    if (!r->active || (uint64_t)r->there * l->row.size >= COMPACT_SIZE)
        return COMPACT_NOTHING;
    uint32_t few = least == COMPACT_LITTLE ? r->live / 48 + 1 : r->live / 8 + 6;

    if (dead > few)
        return COMPACT_ROWS;
    return loose > few ? COMPACT_TAIL : COMPACT_NOTHING;
}

/* ---- Asking ---- */

static const struct {
    uint32_t asked, again; /* counters */
    uint32_t kind;
    bool (*overdue)(const struct leat_task *t, int64_t asked);
} question[] = {[COMPACT_MUCH] = {COMPACT_ASKED, COMPACT_AGAIN, COMPACT, overdue},
                [COMPACT_LITTLE] = {TIDY_ASKED, TIDY_AGAIN, TIDY, overdue_at_rest}};

bool compact_wanted(struct leat_task *t, enum compact_waste waste)
{
    if (!question[waste].overdue(t, (int64_t)counter_get(t, question[waste].asked))) {
        if (counter_get(t, question[waste].again) == 0)
            counter_set(t, question[waste].again, 1);
        return false;
    }
    counter_set(t, question[waste].asked, (uint64_t)leat_now(t));
    counter_set(t, question[waste].again, 0);
    return true;
}

/* ---- In the background ---- */

static bool wasteful(const struct layout *l, const struct index_posting *p, enum compact_waste least)
{
    const struct compact_rows rows = {p->active, p->rows, p->live, p->live + p->moving, p->chunks, p->gathered};

    return compact_need(l, &rows, least) != COMPACT_NOTHING;
}

struct answer {
    uint32_t waste;
    uint32_t more; /* 1: not all were named */
};

/* From a place by chance on, so that each has its turn. */
void compact_choose(struct leat_task *t, uint32_t from, enum compact_waste waste)
{
    const struct index *x = leat_derived(t);
    const struct ivf *v = leat_state(t);
    uint32_t count = index_count(x), first = count > 0 ? (uint32_t)(leat_random(t) % count) : 0, i;
    struct answer a = {.waste = waste};
    uint64_t written = 0;

    for (i = 0; i < count && written < COMPACT_SIZE; i++) {
        const struct index_posting *p = index_at(x, (first + i) % count);

        if (p == NULL || !wasteful(&v->layout, p, waste))
            continue;
        message(t, from, leat_task_number(t), COMPACT, p->number, (struct leat_span){&a.waste, sizeof(a.waste)});
        written += (uint64_t)(p->live + p->moving) * v->layout.row.size;
    }
    a.more = i < count;
    message(t, from, leat_task_number(t), COMPACTED, 0, (struct leat_span){&a, sizeof(a)});
}

/* ---- What was found comes to the postings' task ---- */

static void compact(struct leat_task *t, uint32_t from, uint32_t number, struct leat_span body)
{
    struct posting_edit e;
    uint32_t waste;

    memcpy(&waste, body.base, sizeof(waste));
    posting_edit_begin(&e, t, leat_state(t), number);
    e.relayed = true;
    if (e.recorded)
        posting_compact(&e, (enum compact_waste)waste);
    posting_edit_end(&e, from);
}

/* The question is answered: is there another? */
static void answered(struct leat_task *t, uint32_t from, struct leat_span body)
{
    struct answer a;

    memcpy(&a, body.base, sizeof(a));
    enum compact_waste waste = (enum compact_waste)a.waste;
    uint32_t kind = question[waste].kind;
    bool again = a.more != 0 || counter_get(t, question[waste].again) != 0;
    counter_set(t, question[waste].asked, again ? (uint64_t)leat_now(t) : 0);
    counter_set(t, question[waste].again, 0);
    if (again)
        message(t, from, leat_task_number(t), ASK, 0, (struct leat_span){&kind, sizeof(kind)});
}

void compact_all(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows && leat_task_error(t) == 0; i++) {
        uint64_t kind = leat_at(in, i, 1).as.u;

        if (kind == COMPACT)
            compact(t, i, (uint32_t)leat_at(in, i, 2).as.u, leat_at(in, i, 3).as.bytes);
        else if (kind == COMPACTED)
            answered(t, i, leat_at(in, i, 3).as.bytes);
    }
}
