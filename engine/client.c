/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/client_rows.h"

#include <errno.h>
#include <stdio.h>

/* Appends. One append is cut into a share for each group it touches; it is done when all shares are. */

/* Rows of a depot partitioned at random go to one partition in runs of so many, so that its log has few pieces. */
enum { RANDOM_RUN = 64 };

struct append {
    struct leat_depot *depot;
    struct intake_share *share;   /* by group; count 0: not touched */
    struct log_record *record;    /* by group, one behind another */
    uint64_t *offset;
    uint32_t *row;                /* of each record: its place in the append */
    uint32_t *partition;          /* by row */
    uint8_t *bytes;
    uint32_t rows;
    _Atomic uint32_t left;        /* shares, and one until all are submitted */
    _Atomic int code;
    leat_append_done *done;       /* NULL: somebody waits */
    void *context;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool finished, abandoned;
};

int leat_depot_find(struct leat *l, const char *module, const char *depot, struct leat_depot **out,
                    struct leat_error *err)
{
    struct module *m = node_module(l, module);
    int number = m != NULL ? plan_depot_find(m->plan, depot) : -1;

    if (m == NULL)
        return leat_fail(err, LEAT_ENOTFOUND, "no module '%s' is launched", module);
    if (number < 0)
        return leat_fail(err, LEAT_ENOTFOUND, "module '%s' has no depot '%s'", module, depot);
    *out = &m->depot[number];
    return base_result(err, 0);
}

uint32_t leat_depot_partitions(const struct leat_depot *d)
{
    return d->module->plan->tasks;
}

const struct leat_batch *leat_depot_columns(const struct leat_depot *d)
{
    return &d->columns;
}

/* ---- Making ---- */

static void append_free(struct append *a)
{
    for (uint32_t i = 0; i < a->depot->module->groups; i++)
        buffer_fini(&a->share[i].wait.returns);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->cond);
    free(a->share);
    free(a->record);
    free(a->offset);
    free(a->row);
    free(a->partition);
    free(a->bytes);
    free(a);
}

static void share_done(struct intake_share *share);

static uint32_t partition_of(struct leat_depot *d, const struct leat_rows *rows, const struct leat_append *how,
                             uint32_t row)
{
    uint32_t tasks = d->module->plan->tasks;
    uint64_t n;

    switch (d->plan->partitioner) {
    case LEAT_BY_FIELD:
        return rows->row[row].partition;
    case LEAT_EXPLICIT:
        return how->partition;
    default:
        /* A repeat must come to the partition that saw the row before, so in a session the sequence decides. */
        n = how->session != 0 ? how->session + (how->sequence + row) / RANDOM_RUN
                              : atomic_fetch_add(&d->random, 1) / RANDOM_RUN;
        return (uint32_t)(n * 0x9e3779b97f4a7c15U >> 32) & (tasks - 1);
    }
}

/* Count rows by group, so that each share's records lie together. */
static void cut_shares(struct append *a, const struct leat_rows *rows, const struct leat_append *how)
{
    struct module *m = a->depot->module;
    uint32_t first = 0;

    for (uint32_t i = 0; i < a->rows; i++) {
        a->partition[i] = partition_of(a->depot, rows, how, i);
        a->share[a->partition[i] & (m->groups - 1)].count++;
    }
    for (uint32_t g = 0; g < m->groups; g++) {
        a->share[g].record = a->record + first;
        a->share[g].offset = a->offset + first;
        a->share[g].ack = how->ack;
        a->share[g].done = share_done;
        a->share[g].owner = a;
        first += a->share[g].count;
        a->share[g].count = 0;
    }
}

static void fill_shares(struct append *a, const struct leat_rows *rows, const struct leat_append *how)
{
    struct module *m = a->depot->module;
    int64_t now = m->node->clock->wall_us(m->node->clock);

    for (uint32_t i = 0; i < a->rows; i++) {
        uint32_t g = a->partition[i] & (m->groups - 1);
        struct intake_share *s = &a->share[g];

        a->row[s->record - a->record + s->count] = i;
        s->record[s->count++] = (struct log_record){
            .partition = group_partition(m->group[g], a->depot->number, a->partition[i]),
            .time_us = now,
            .session = how->session,
            .sequence = how->sequence + i,
            .body = span_of(a->bytes + rows->row[i].at, rows->row[i].size),
        };
    }
}

static struct append *append_new(struct leat_depot *d, const struct leat_rows *rows, const struct leat_append *how)
{
    struct append *a = base_alloc(sizeof(*a));

    a->depot = d;
    a->rows = rows->count;
    a->share = base_alloc(d->module->groups * sizeof(*a->share));
    /* Filled whole before anybody reads them: no need to zero. */
    a->record = base_realloc(NULL, rows->count * sizeof(*a->record));
    a->offset = base_realloc(NULL, rows->count * sizeof(*a->offset));
    a->row = base_realloc(NULL, rows->count * sizeof(*a->row));
    a->partition = base_realloc(NULL, rows->count * sizeof(*a->partition));
    a->bytes = base_realloc(NULL, rows->bytes.size + 1);
    memcpy(a->bytes, rows->bytes.base, rows->bytes.size);
    pthread_mutex_init(&a->lock, NULL);
    clock_condition(&a->cond);
    atomic_store(&a->left, 1);
    cut_shares(a, rows, how);
    fill_shares(a, rows, how);
    return a;
}

/* ---- Receipts ---- */

struct returned {
    uint32_t row;
    struct leat_value value;
};

struct returned_list {
    struct returned *item;
    uint32_t count, capacity;
};

/* Where a row of a share is. */
struct place {
    uint64_t offset;
    uint32_t partition, row;
};

static int compare_rows(const void *x, const void *y)
{
    const struct returned *a = x, *b = y;

    return a->row < b->row ? -1 : a->row > b->row;
}

static int compare_places(const void *x, const void *y)
{
    const struct place *a = x, *b = y;

    if (a->partition != b->partition)
        return a->partition < b->partition ? -1 : 1;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static struct place *sorted_places(const struct append *a, const struct intake_share *s)
{
    struct place *place = base_alloc(s->count * sizeof(*place));

    for (uint32_t i = 0; i < s->count; i++)
        place[i] = (struct place){s->offset[i], s->record[i].partition, a->row[s->record - a->record + i]};
    qsort(place, s->count, sizeof(*place), compare_places);
    return place;
}

static bool read_returned(const struct place *place, uint32_t places, struct reader *in, struct returned *out)
{
    struct place at = {.partition = reader_u32(in)};

    at.offset = reader_u64(in);
    enum leat_type type = (enum leat_type)reader_u8(in);
    struct leat_span coded = reader_span(in);
    struct reader r = reader_of(coded);
    struct leat_column column = {.name = "return", .type = type, .count = (uint32_t)reader_varint(&r)};
    struct row_schema schema = {1, &column};

    const struct place *found = bsearch(&at, place, places, sizeof(*place), compare_places);
    out->row = found != NULL ? found->row : 0;
    return in->error == 0 && r.error == 0 && found != NULL &&
           row_decode(&schema, span_of(r.at, reader_left(&r)), &out->value) == 0;
}

static void read_share(const struct append *a, const struct intake_share *s, struct returned_list *list)
{
    struct reader in = reader_of(buffer_bytes(&s->wait.returns));

    if (reader_left(&in) == 0)
        return;
    struct place *place = sorted_places(a, s);
    while (reader_left(&in) > 0 && in.error == 0) {
        if (list->count == list->capacity) {
            list->capacity = list->capacity == 0 ? 64 : list->capacity * 2;
            list->item = base_realloc(list->item, list->capacity * sizeof(*list->item));
        }
        list->count += read_returned(place, s->count, &in, &list->item[list->count]);
    }
    free(place);
}

static void make_receipt(struct append *a, struct leat_receipt *out)
{
    struct module *m = a->depot->module;
    struct returned_list list = {0};

    memset(out, 0, sizeof(*out));
    out->partition = a->partition[0];
    for (uint32_t g = 0; g < m->groups; g++) {
        struct intake_share *s = &a->share[g];

        out->dropped += s->wait.dropped;
        for (uint32_t i = 0; i < s->count; i++) {
            out->appended += s->offset[i] != UINT64_MAX;
            if (a->row[s->record - a->record + i] == 0)
                out->offset = s->offset[i];
        }
        read_share(a, s, &list);
    }
    if (list.count == 0) {
        free(list.item);
        return;
    }
    qsort(list.item, list.count, sizeof(*list.item), compare_rows);
    struct leat_value *value = base_alloc(list.count * sizeof(*value));
    for (uint32_t i = 0; i < list.count; i++)
        value[i] = list.item[i].value;
    free(list.item);
    out->returned = list.count;
    out->value = value;
    out->memory = value;
}

void leat_receipt_fini(struct leat_receipt *receipt)
{
    free(receipt->memory);
    memset(receipt, 0, sizeof(*receipt));
}

/* Values of a receipt point into the append, which goes: one allocation of values and their bytes takes their place. */
static void receipt_own(struct leat_receipt *receipt)
{
    size_t size = receipt->returned * sizeof(struct leat_value);

    for (uint32_t i = 0; i < receipt->returned; i++)
        size += receipt->value[i].type >= LEAT_STR ? receipt->value[i].as.bytes.size : 0;
    if (receipt->returned == 0)
        return;
    struct leat_value *value = base_alloc(size);
    uint8_t *bytes = (uint8_t *)(value + receipt->returned);
    memcpy(value, receipt->value, receipt->returned * sizeof(*value));
    for (uint32_t i = 0; i < receipt->returned; i++) {
        if (value[i].type < LEAT_STR || value[i].as.bytes.size == 0)
            continue;
        memcpy(bytes, value[i].as.bytes.base, value[i].as.bytes.size);
        value[i].as.bytes.base = bytes;
        bytes += value[i].as.bytes.size;
    }
    free(receipt->memory);
    receipt->value = value;
    receipt->memory = value;
}

/* ---- Doing ---- */

static void append_finish(struct append *a)
{
    int code = atomic_load(&a->code);

    if (a->done != NULL) {
        struct leat_receipt receipt = {0};

        if (code == 0)
            make_receipt(a, &receipt);
        a->done(a->context, code, code == 0 ? &receipt : NULL);
        leat_receipt_fini(&receipt);
        append_free(a);
        return;
    }
    pthread_mutex_lock(&a->lock);
    a->finished = true;
    bool abandoned = a->abandoned;
    pthread_cond_signal(&a->cond);
    pthread_mutex_unlock(&a->lock);
    if (abandoned)
        append_free(a);
}

static void share_done(struct intake_share *share)
{
    struct append *a = share->owner;
    int none = 0;

    if (share->code != 0)
        atomic_compare_exchange_strong(&a->code, &none, share->code);
    if (atomic_fetch_sub(&a->left, 1) == 1)
        append_finish(a);
}

static int check_wishes(const struct leat_rows *rows, const struct leat_append *how, struct leat_error *err)
{
    if ((unsigned)how->ack > LEAT_NONE)
        return leat_fail(err, LEAT_EINVAL, "there is no ack %u: LEAT_APPENDED, LEAT_PROCESSED or LEAT_NONE",
                         (unsigned)how->ack);
    if (how->session >= SESSION_GROUPS)
        return leat_fail(err, LEAT_EINVAL, "sessions from 2^64 - 65,536 on are Leat's own");
    if (how->session == 0 && how->sequence != 0)
        return leat_fail(err, LEAT_EINVAL, "a sequence is one of a session: .session is missing");
    if (how->session != 0 && rows->count - 1 > UINT64_MAX - how->sequence)
        return leat_fail(err, LEAT_EINVAL, "sequences end at 2^64 - 1: %u rows from %llu on have none", rows->count,
                         (unsigned long long)how->sequence);
    return 0;
}

static int check_append(struct leat_depot *d, const struct leat_rows *rows, const struct leat_append *how,
                        struct leat_error *err)
{
    int rv = module_status(d->module, err);

    if (rv != 0)
        return rv;
    if (rows->depot != d)
        return leat_fail(err, LEAT_EINVAL, "the rows were made for depot '%s', not '%s'", rows->depot->plan->name,
                         d->plan->name);
    if (rows->count == 0)
        return leat_fail(err, LEAT_EINVAL, "there are no rows to append");
    if (d->plan->partitioner == LEAT_NO_CLIENT)
        return leat_fail(err, LEAT_EINVAL, "depot '%s' cannot be appended to by clients", d->plan->name);
    if (d->plan->partitioner == LEAT_EXPLICIT && how->partition >= d->module->plan->tasks)
        return leat_fail(err, LEAT_EINVAL, "depot '%s' has %u partitions, there is no partition %u", d->plan->name,
                         d->module->plan->tasks, how->partition);
    return check_wishes(rows, how, err);
}

/* Submit all shares. may_lead: the last one's work may be done here. Shares that cannot be taken fail by themselves. */
static int submit(struct append *a, bool may_lead)
{
    struct module *m = a->depot->module;
    uint32_t last = m->groups;
    int rv = 0;

    for (uint32_t g = 0; g < m->groups; g++)
        if (a->share[g].count > 0) {
            atomic_fetch_add(&a->left, 1);
            last = g;
        }
    for (uint32_t g = 0; g < m->groups; g++) {
        if (a->share[g].count == 0)
            continue;
        rv = intake_submit(group_intake(m->group[g]), &a->share[g], may_lead && g == last);
        if (rv != 0) {
            a->share[g].code = rv;
            share_done(&a->share[g]);
        }
    }
    return rv;
}

static void append_release(struct append *a)
{
    if (atomic_fetch_sub(&a->left, 1) == 1)
        append_finish(a);
}

static bool wait_for(struct append *a, uint32_t timeout_ms)
{
    struct timespec deadline = clock_deadline(timeout_ms);

    pthread_mutex_lock(&a->lock);
    while (!a->finished && pthread_cond_timedwait(&a->cond, &a->lock, &deadline) != ETIMEDOUT)
        ;
    bool finished = a->finished;
    a->abandoned = !finished;
    pthread_mutex_unlock(&a->lock);
    return finished;
}

/* Of a node whose groups have no threads nobody takes turns but who waits for them. */
static int take_turns(struct append *a, struct leat_error *err)
{
    const struct leat *l = a->depot->module->node;
    bool finished = false;
    int rv = 1;

    while (rv > 0) {
        pthread_mutex_lock(&a->lock);
        finished = a->finished;
        pthread_mutex_unlock(&a->lock);
        rv = finished ? 0 : l->step(l->step_context, err);
    }
    return rv;
}

static const struct leat_append no_wishes = {0};

static void refused(const struct leat_depot *d, int code, struct leat_error *err)
{
    const struct disk_watch *disk = &d->module->node->disk;
    const char *why = leat_code_text(code);

    for (uint32_t i = 0; i < d->module->groups; i++)
        if (intake_status(group_intake(d->module->group[i]), err) == code) {
            base_wrap(err, code, "depot '%s': the rows were not appended", d->plan->name);
            return;
        }
    if (code == LEAT_ENOSPACE)
        why = "the disk is full; free some space and append them again";
    if (code == LEAT_ENOSPACE && atomic_load(&disk->refuses))
        why = "the free space of the disk is below its mark (disk_full); free some and append them again";
    if (code == LEAT_EAGAIN)
        why = "an earlier append of their session was refused; append that again first";
    leat_fail(err, code, "depot '%s': the rows were not appended: %s", d->plan->name, why);
}

int leat_append(struct leat_depot *d, const struct leat_rows *rows, const struct leat_append *how,
                struct leat_receipt *receipt, struct leat_error *err)
{
    uint32_t timeout_ms;

    how = how != NULL ? how : &no_wishes;
    if (receipt != NULL)
        memset(receipt, 0, sizeof(*receipt));
    int rv = check_append(d, rows, how, err);
    if (rv != 0)
        return rv;
    timeout_ms = how->timeout_ms > 0 ? how->timeout_ms : 30000;
    struct append *a = append_new(d, rows, how);
    submit(a, how->ack != LEAT_NONE); /* who leads syncs */
    append_release(a);
    bool steps = d->module->node->step != NULL && how->ack == LEAT_PROCESSED;
    if (steps)
        rv = take_turns(a, err);
    if (steps || how->ack == LEAT_NONE)
        timeout_ms = 0;
    if (!wait_for(a, timeout_ms)) {
        if (rv != 0 || how->ack == LEAT_NONE)
            return base_result(err, rv);
        return leat_fail(err, LEAT_ETIMEOUT,
                         "depot '%s': no acknowledgement within %u ms; the rows may or may not be there: append them "
                         "again with the same session and sequence",
                         d->plan->name, timeout_ms);
    }
    rv = atomic_load(&a->code);
    if (rv == 0 && receipt != NULL) {
        make_receipt(a, receipt);
        receipt_own(receipt);
    }
    append_free(a);
    if (rv != 0 && module_status(d->module, err) == 0)
        refused(d, rv, err);
    return base_result(err, rv);
}

int leat_append_start(struct leat_depot *d, const struct leat_rows *rows, const struct leat_append *how,
                      leat_append_done *done, void *context, struct leat_error *err)
{
    how = how != NULL ? how : &no_wishes;
    leat_assert(done != NULL);
    int rv = check_append(d, rows, how, err);
    if (rv != 0)
        return rv;
    struct append *a = append_new(d, rows, how);
    a->done = done;
    a->context = context;
    submit(a, false);
    append_release(a);
    return base_result(err, 0);
}

/* ---- Looking ---- */

int leat_depot_session(struct leat_depot *d, uint64_t session, uint64_t *high)
{
    struct module *m = d->module;
    bool found = false;

    for (uint32_t p = 0; p < m->plan->tasks; p++) {
        struct group *g = module_group(m, p);
        uint64_t sequence;

        if (!intake_session(group_intake(g), group_partition(g, d->number, p), session, &sequence))
            continue;
        *high = !found || sequence > *high ? sequence : *high;
        found = true;
    }
    return found ? 0 : LEAT_ENOTFOUND;
}

int leat_depot_bounds(struct leat_depot *d, uint32_t partition, struct leat_bounds *out)
{
    struct module *m = d->module;

    if (partition >= m->plan->tasks)
        return LEAT_EINVAL;
    struct group *g = module_group(m, partition);
    uint32_t at = group_partition(g, d->number, partition);
    log_bounds(group_depots(g), at, &out->first, &out->next);
    uint64_t frontier = acks_frontier(group_acks(g), at);
    out->processed = frontier < out->next ? frontier : out->next;
    return 0;
}

/* Give the records of a slice to the caller's function. */
static int give_each(struct leat_depot *d, struct arena *a, const struct log_slice *slice, leat_record_each *each,
                     void *context, uint64_t *next, struct leat_error *err)
{
    for (uint32_t i = 0; i < slice->count; i++) {
        const struct log_entry *e = &slice->entry[i];
        struct leat_record record = {e->offset, e->time_us, e->session, e->sequence};
        struct leat_batch row;

        arena_reset(a);
        if (row_batch(a, &d->plan->schema, &e->body, 1, &row) != 0)
            return leat_fail(err, LEAT_ECORRUPT, "the record at offset %llu does not fit the schema",
                             (unsigned long long)e->offset);
        int rv = each(context, &record, &row);
        *next = e->offset + 1;
        if (rv != 0)
            return rv;
    }
    return 0;
}

int leat_depot_read(struct leat_depot *d, uint32_t partition, uint64_t offset, uint32_t max, leat_record_each *each,
                    void *context, uint64_t *next, struct leat_error *err)
{
    struct module *m = d->module;
    struct log_slice slice;
    uint64_t at = offset;
    int rv = 0, given = 0;

    if (partition >= m->plan->tasks)
        return leat_fail(err, LEAT_EINVAL, "depot '%s' has %u partitions, there is no partition %u", d->plan->name,
                         m->plan->tasks, partition);
    struct group *g = module_group(m, partition);
    struct arena *a = arena_open(LIMIT_TURN_MEMORY);
    while (max > 0 && given == 0) {
        rv = log_read(group_depots(g), group_partition(g, d->number, partition), at, max < 1024 ? max : 1024, 4 << 20,
                      &slice, err);
        if (rv != 0)
            break;
        given = give_each(d, a, &slice, each, context, &at, err);
        max -= slice.count < max ? slice.count : max;
        log_release(group_depots(g), &slice);
    }
    arena_close(a);
    if (rv == LEAT_ETRIMMED) {
        uint64_t end;

        log_bounds(group_depots(g), group_partition(g, d->number, partition), &at, &end);
    }
    if (next != NULL)
        *next = at;
    return base_result(err, given != 0 ? given : rv == LEAT_EAGAIN ? 0 : rv);
}
