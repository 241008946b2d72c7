/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/intake.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

/* One thread at a time leads: it takes all shares that wait, appends and syncs them outside the lock, and completes
 * them. Everything about the log and the sessions belongs to the leader. */

struct listener {
    void (*readable)(void *context);
    void *context;
};

struct intake {
    struct intake_config config;
    pthread_mutex_t lock;
    pthread_cond_t led;           /* a leader is done */
    pthread_cond_t work;          /* the intake's own thread is wanted */
    pthread_t thread;
    struct intake_share *first, *last;
    size_t bytes;                 /* waiting */
    bool leading, closed;
    struct listener listener[LIMIT_GROUPS];
    _Atomic uint32_t listeners;
    struct log_record *fresh;     /* records of one share that are no repeats; the leader's */
    uint64_t *offset;
    uint32_t fresh_capacity;
    struct ack_target *target;
    uint64_t *target_offset;      /* by partition: last offset of the share + 1; the leader's */
    uint32_t *touched;
    _Atomic int failed;
    struct leat_error why;
    struct intake_figures figures;
};

/* ---- Completing ---- */

static void complete(struct intake_share *share, int code)
{
    share->code = code;
    share->done(share);
}

static void share_processed(struct ack_wait *w)
{
    complete((struct intake_share *)((uint8_t *)w - offsetof(struct intake_share, wait)), 0);
}

/* ---- Leading ---- */

/* Leave out what a session has sent before. Offsets of repeats are UINT64_MAX. */
static uint32_t drop_repeats(struct intake *in, struct intake_share *share, uint32_t *place)
{
    uint32_t fresh = 0;

    for (uint32_t i = 0; i < share->count; i++) {
        const struct log_record *r = &share->record[i];

        if (!session_accept(&in->config.sessions[r->partition], r->session, r->sequence, r->time_us)) {
            share->offset[i] = UINT64_MAX;
            atomic_fetch_add(&in->figures.repeats, 1);
            continue;
        }
        in->fresh[fresh] = *r;
        place[fresh++] = i;
    }
    return fresh;
}

static void reserve(struct intake *in, uint32_t count)
{
    if (count <= in->fresh_capacity)
        return;
    in->fresh_capacity = count * 2;
    in->fresh = base_realloc(in->fresh, in->fresh_capacity * sizeof(*in->fresh));
    in->offset = base_realloc(in->offset, in->fresh_capacity * (sizeof(*in->offset) + sizeof(uint32_t)));
    in->target = base_realloc(in->target, (in->fresh_capacity + in->config.partitions) * sizeof(*in->target));
}

/* What a share waits for: in each partition its last record; for a repeat, whatever the partition holds by now. */
static uint32_t share_targets(struct intake *in, const struct intake_share *share)
{
    uint32_t touched = 0, targets = 0;

    for (uint32_t i = 0; i < share->count; i++) {
        uint32_t p = share->record[i].partition;
        uint64_t first, last = share->offset[i] + 1;

        if (share->offset[i] == UINT64_MAX)
            log_bounds(in->config.log, p, &first, &last);
        if (last == 0)
            continue;
        if (in->target_offset[p] == 0)
            in->touched[touched++] = p;
        if (last > in->target_offset[p])
            in->target_offset[p] = last;
    }
    for (uint32_t i = 0; i < touched; i++) {
        in->target[targets++] = (struct ack_target){in->touched[i], in->target_offset[in->touched[i]] - 1};
        in->target_offset[in->touched[i]] = 0;
    }
    return targets;
}

/* Append one share, and register who waits for it: rows can be read, and acks come, as soon as the sync is done.
 * depends: its completion depends on that sync (else it may be completed, and gone, at any moment). */
static int append_share(struct intake *in, struct intake_share *share, bool *depends)
{
    uint32_t *place;
    int rv = 0;

    reserve(in, share->count);
    place = (uint32_t *)(void *)(in->offset + in->fresh_capacity);
    uint32_t fresh = drop_repeats(in, share, place);
    if (fresh > 0)
        rv = log_append(in->config.log, in->fresh, fresh, in->offset);
    if (rv == LEAT_EFULL && log_sync(in->config.log, &in->why) == 0)
        rv = log_append(in->config.log, in->fresh, fresh, in->offset);
    if (rv != 0)
        return rv;
    for (uint32_t i = 0; i < fresh; i++)
        share->offset[place[i]] = in->offset[i];
    atomic_fetch_add(&in->figures.rows, fresh);
    atomic_fetch_add(&in->figures.bytes, share->bytes);
    *depends = fresh > 0 || share->ack != LEAT_PROCESSED;
    if (share->ack == LEAT_PROCESSED) {
        share->wait.reached = share_processed;
        acks_register(in->config.acks, &share->wait, in->target, share_targets(in, share));
    }
    return 0;
}

static void tell(struct intake *in)
{
    in->config.readable(in->config.context);
    for (uint32_t i = 0; i < atomic_load(&in->listeners); i++)
        in->listener[i].readable(in->listener[i].context);
}

/* Shares that wait for more than the sync stand in `waiting`, and are looked at again only when it failed: their
 * records cannot be read then, so nobody else can have completed them. */
struct round {
    struct intake_share *durable, *waiting;
    uint64_t rows;
};

static void append_chain(struct intake *in, struct intake_share *chain, struct round *r)
{
    struct intake_share *share, *next, **durable = &r->durable;

    for (share = chain; share != NULL; share = next) {
        bool depends;
        int failed = atomic_load(&in->failed), code;

        next = share->next;
        share->next = NULL;
        r->rows += share->count;
        code = failed != 0 ? failed : append_share(in, share, &depends);
        if (code != 0) {
            complete(share, code);
        } else if (depends && share->ack == LEAT_PROCESSED) {
            share->next = r->waiting;
            r->waiting = share;
        } else if (depends) {
            *durable = share;
            durable = &share->next;
        }
    }
}

static void complete_all(struct intake_share *share, int code)
{
    struct intake_share *next;

    for (; share != NULL; share = next) {
        next = share->next;
        complete(share, code);
    }
}

/* Append and sync a chain of shares, and complete those that wait for no more than that. */
static void lead_chain(struct intake *in, struct intake_share *chain)
{
    int64_t start = in->config.clock->monotonic_ns(in->config.clock);
    struct round r = {0};

    append_chain(in, chain, &r);
    int rv = atomic_load(&in->failed);
    if (rv == 0)
        rv = log_sync(in->config.log, &in->why);
    if (rv == 0) {
        atomic_fetch_add(&in->figures.syncs, 1);
        histogram_add(&in->figures.sync_ns, (uint64_t)(in->config.clock->monotonic_ns(in->config.clock) - start));
        histogram_add(&in->figures.sync_rows, r.rows);
        tell(in);
        complete_all(r.durable, 0);
        return;
    }
    /* What was not synced stays in the log's buffer and may yet be written: nobody can say, so all further appends are
     * refused until the log is opened again, and clients retry with their sequences then. */
    atomic_store(&in->failed, rv);
    for (struct intake_share *share = r.waiting; share != NULL; share = share->next)
        acks_cancel(in->config.acks, &share->wait);
    complete_all(r.durable, rv);
    complete_all(r.waiting, rv);
}

/* Lead until nothing waits, or, as a guest, until one round is done. Under the lock; leaves it for the work. */
static void lead(struct intake *in, bool guest)
{
    leat_assert(!in->leading);
    in->leading = true;
    while (in->first != NULL) {
        struct intake_share *chain = in->first;

        in->first = in->last = NULL;
        in->bytes = 0;
        pthread_mutex_unlock(&in->lock);
        lead_chain(in, chain);
        pthread_mutex_lock(&in->lock);
        if (guest)
            break;
    }
    in->leading = false;
    pthread_cond_broadcast(&in->led);
    if (in->first != NULL)
        pthread_cond_signal(&in->work);
}

static void *intake_thread(void *context)
{
    struct intake *in = context;

    pthread_mutex_lock(&in->lock);
    while (!in->closed || in->first != NULL) {
        if (in->first != NULL && !in->leading)
            lead(in, false);
        else
            pthread_cond_wait(&in->work, &in->lock);
    }
    pthread_mutex_unlock(&in->lock);
    return NULL;
}

/* ---- From outside ---- */

int intake_open(const struct intake_config *config, struct intake **out)
{
    struct intake *in = base_alloc(sizeof(*in));

    in->config = *config;
    in->target_offset = base_alloc((config->partitions + 1) * sizeof(*in->target_offset));
    in->touched = base_alloc((config->partitions + 1) * sizeof(*in->touched));
    pthread_mutex_init(&in->lock, NULL);
    pthread_cond_init(&in->led, NULL);
    pthread_cond_init(&in->work, NULL);
    if (pthread_create(&in->thread, NULL, intake_thread, in) != 0) {
        free(in->target_offset);
        free(in->touched);
        free(in);
        return LEAT_ENOMEM;
    }
    *out = in;
    return 0;
}

void intake_close(struct intake *in)
{
    pthread_mutex_lock(&in->lock);
    in->closed = true;
    pthread_cond_broadcast(&in->work);
    pthread_mutex_unlock(&in->lock);
    pthread_join(in->thread, NULL);
    for (uint32_t i = 0; i < in->config.partitions; i++)
        session_fini(&in->config.sessions[i]);
    free(in->config.sessions);
    free(in->fresh);
    free(in->offset);
    free(in->target);
    free(in->target_offset);
    free(in->touched);
    pthread_mutex_destroy(&in->lock);
    pthread_cond_destroy(&in->led);
    pthread_cond_destroy(&in->work);
    free(in);
}

static size_t share_bytes(const struct intake_share *share)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < share->count; i++)
        bytes += share->record[i].body.size + 32;
    return bytes;
}

int intake_submit(struct intake *in, struct intake_share *share, bool may_lead)
{
    int rv = atomic_load(&in->failed);

    leat_assert(share->count > 0);
    share->next = NULL;
    share->bytes = share_bytes(share);
    share->wait.point = NULL;
    if (rv != 0)
        return rv;
    pthread_mutex_lock(&in->lock);
    if (in->closed)
        rv = LEAT_ECLOSED;
    else if (in->bytes > 0 && in->bytes + share->bytes > LIMIT_PENDING_APPEND)
        rv = LEAT_EFULL;
    if (rv != 0) {
        pthread_mutex_unlock(&in->lock);
        return rv;
    }
    if (in->last != NULL)
        in->last->next = share;
    else
        in->first = share;
    in->last = share;
    in->bytes += share->bytes;
    if (may_lead && !in->leading)
        lead(in, true);
    else if (!in->leading)
        pthread_cond_signal(&in->work);
    pthread_mutex_unlock(&in->lock);
    return 0;
}

struct own_share {
    struct intake_share share;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
};

static void own_done(struct intake_share *share)
{
    struct own_share *own = share->owner;

    pthread_mutex_lock(&own->lock);
    own->done = true;
    pthread_cond_signal(&own->cond);
    pthread_mutex_unlock(&own->lock);
}

int intake_append(struct intake *in, const struct log_record *records, uint32_t count, struct leat_error *err)
{
    struct own_share own = {.share = {.record = (struct log_record *)(uintptr_t)records, .count = count,
                                      .ack = LEAT_APPENDED, .done = own_done}};
    int rv;

    own.share.owner = &own;
    own.share.offset = base_alloc(count * sizeof(*own.share.offset));
    pthread_mutex_init(&own.lock, NULL);
    pthread_cond_init(&own.cond, NULL);
    rv = intake_submit(in, &own.share, true);
    pthread_mutex_lock(&own.lock);
    while (rv == 0 && !own.done)
        pthread_cond_wait(&own.cond, &own.lock);
    pthread_mutex_unlock(&own.lock);
    pthread_mutex_destroy(&own.lock);
    pthread_cond_destroy(&own.cond);
    free(own.share.offset);
    rv = rv == 0 ? own.share.code : rv;
    return rv == 0 ? 0 : leat_fail(err, rv, "rows for a depot cannot be appended: %s", leat_code_text(rv));
}

bool intake_session(struct intake *in, uint32_t partition, uint64_t session, uint64_t *sequence)
{
    leat_assert(partition < in->config.partitions);
    pthread_mutex_lock(&in->lock);
    while (in->leading)
        pthread_cond_wait(&in->led, &in->lock);
    const struct session_entry *e = session_find(&in->config.sessions[partition], session);
    if (e != NULL)
        *sequence = e->sequence;
    pthread_mutex_unlock(&in->lock);
    return e != NULL;
}

void intake_listen(struct intake *in, void (*readable)(void *context), void *context)
{
    uint32_t at = atomic_load(&in->listeners);

    leat_assert(at < LENGTH_OF(in->listener));
    in->listener[at] = (struct listener){readable, context};
    atomic_store(&in->listeners, at + 1);
}

int intake_status(struct intake *in, struct leat_error *err)
{
    int rv = atomic_load(&in->failed);

    return rv == 0 ? 0 : leat_fail(err, rv, "the depot log refuses appends: %s", in->why.text);
}

const struct intake_figures *intake_figures(const struct intake *in)
{
    return &in->figures;
}
