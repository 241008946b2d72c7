/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/refused.h"

static int compare(const struct refused_row *a, const struct refused_row *b)
{
    if (a->session != b->session)
        return a->session < b->session ? -1 : 1;
    if (a->depot != b->depot)
        return a->depot < b->depot ? -1 : 1;
    return a->sequence < b->sequence ? -1 : a->sequence > b->sequence;
}

static struct refused_row row_of(uint32_t depot, const struct log_record *record)
{
    return (struct refused_row){record->session, record->sequence, depot};
}

/* The first row that is not before this one. */
static uint32_t find(const struct refused *r, struct refused_row row)
{
    uint32_t low = 0, high = r->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (compare(&r->row[middle], &row) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void refused_fini(struct refused *r)
{
    session_fini(&r->closed);
    free(r->row);
    memset(r, 0, sizeof(*r));
}

/* The session's rows go, so that it takes no room from others. */
static void close_session(struct refused *r, const struct log_record *record)
{
    uint32_t from = find(r, (struct refused_row){record->session, 0, 0}), to = from;

    while (to < r->count && r->row[to].session == record->session)
        to++;
    memmove(r->row + from, r->row + to, (r->count - to) * sizeof(*r->row));
    r->count -= to - from;
    session_set(&r->closed, &(struct session_entry){record->session, 0, record->time_us});
}

static void reserve(struct refused *r, uint32_t count)
{
    if (r->count + count <= r->capacity)
        return;
    while (r->capacity < r->count + count)
        r->capacity = r->capacity == 0 ? 1024 : r->capacity * 2;
    r->row = base_realloc(r->row, r->capacity * sizeof(*r->row));
}

void refused_add(struct refused *r, uint32_t depot, const struct log_record *record, uint32_t count)
{
    if (session_find(&r->closed, record->session) != NULL)
        return;
    if (count > LIMIT_REFUSED - r->count) {
        close_session(r, record);
        return;
    }
    reserve(r, count);
    /* All that is not before them moves up, and is merged with them back into the room. */
    uint32_t to = find(r, row_of(depot, record)), from = to + count, end = r->count + count;
    memmove(r->row + from, r->row + to, (r->count - to) * sizeof(*r->row));
    for (uint32_t i = 0; i < count; i++) {
        struct refused_row row = row_of(depot, &record[i]);

        while (from < end && compare(&r->row[from], &row) < 0)
            r->row[to++] = r->row[from++];
        if (from < end && compare(&r->row[from], &row) == 0)
            from++;
        r->row[to++] = row;
    }
    memmove(r->row + to, r->row + from, (end - from) * sizeof(*r->row));
    r->count = to + (end - from);
}

void refused_remove(struct refused *r, uint32_t depot, const struct log_record *record, uint32_t count)
{
    uint32_t to = find(r, row_of(depot, record)), from = to;

    if (r->count == 0)
        return;
    for (uint32_t i = 0; i < count; i++) {
        struct refused_row row = row_of(depot, &record[i]);

        while (from < r->count && compare(&r->row[from], &row) < 0)
            r->row[to++] = r->row[from++];
        if (from < r->count && compare(&r->row[from], &row) == 0)
            from++;
    }
    memmove(r->row + to, r->row + from, (r->count - from) * sizeof(*r->row));
    r->count -= from - to;
}

int refused_check(const struct refused *r, uint32_t depot, const struct log_record *record, uint32_t count)
{
    if (session_find(&r->closed, record->session) != NULL)
        return LEAT_ELIMIT;
    uint32_t at = find(r, (struct refused_row){record->session, 0, depot});
    for (uint32_t i = 0; i < count; i++) {
        struct refused_row row = row_of(depot, &record[i]);

        if (at < r->count && compare(&r->row[at], &row) < 0)
            return LEAT_EAGAIN;
        if (at < r->count && compare(&r->row[at], &row) == 0)
            at++;
    }
    return 0;
}
