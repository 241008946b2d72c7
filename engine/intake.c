/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/intake.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "base/log.h"
#include "engine/priority.h"

/* One thread at a time leads: it takes all shares that wait, appends and syncs them outside the lock, and completes
 * them. Everything about the log and the sessions belongs to the leader. */

/* What a session was in a partition before something was appended. */
struct undo {
    uint32_t partition;
    struct session_entry before;
};

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
    struct listener *listener;    /* changed under the lock while nobody leads; who leads reads it */
    uint32_t listeners, listener_capacity;
    struct log_record *fresh;     /* records of one share that are no repeats; the leader's */
    uint64_t *offset;
    uint32_t fresh_capacity;
    struct undo *undo;            /* all since the last sync, to be put back when there was no space for it */
    uint32_t undos, undo_capacity;
    bool full;                    /* the last sync found no space */
    struct refused refused;       /* under the lock */
    _Atomic bool refuses;         /* something is in it */
    uint64_t *end;                /* by partition: behind all that was appended, synced or not */
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
    complete((struct intake_share *)((uint8_t *)w - offsetof(struct intake_share, wait)), w->code);
}

/* ---- Leading ---- */

static void remember(struct intake *in, uint32_t mark, const struct undo *u)
{
    const struct undo *last = in->undos > mark ? &in->undo[in->undos - 1] : NULL;

    if (u->before.session == 0 ||
        (last != NULL && last->partition == u->partition && last->before.session == u->before.session))
        return;
    if (in->undos == in->undo_capacity) {
        in->undo_capacity = in->undo_capacity == 0 ? 256 : in->undo_capacity * 2;
        in->undo = base_realloc(in->undo, in->undo_capacity * sizeof(*in->undo));
    }
    in->undo[in->undos++] = *u;
}

/* What came behind the mark was not appended: the same sequences must be taken when they are sent again. */
static void forget(struct intake *in, uint32_t mark)
{
    while (in->undos > mark) {
        const struct undo *u = &in->undo[--in->undos];

        session_set(&in->config.sessions[u->partition], &u->before);
    }
}

/* Leave out what a session has sent before. Offsets of repeats are UINT64_MAX. */
static uint32_t drop_repeats(struct intake *in, struct intake_share *share, uint32_t *place)
{
    uint32_t fresh = 0, mark = in->undos;

    for (uint32_t i = 0; i < share->count; i++) {
        const struct log_record *r = &share->record[i];
        struct session_table *table = &in->config.sessions[r->partition];
        const struct session_entry *was = session_find(table, r->session);
        struct undo undo = {r->partition, was != NULL ? *was : (struct session_entry){r->session, 0, INT64_MIN}};

        if (!session_accept(table, r->session, r->sequence, r->time_us)) {
            share->offset[i] = UINT64_MAX;
            atomic_fetch_add(&in->figures.repeats, 1);
            continue;
        }
        remember(in, mark, &undo);
        in->fresh[fresh] = *r;
        place[fresh++] = i;
    }
    return fresh;
}

/* ---- Refusing ----
 * A session's appends are under way several at a time. When one is refused that may be sent again, those behind it must
 * not be taken before it: its rows would look like repeats then, and be lost. Rows of
 * groups come one append at a time. */

static bool is_pipelined(const struct intake_share *share)
{
    return share->record[0].session != 0 && share->record[0].session < SESSION_GROUPS;
}

static uint32_t depot_of(const struct intake *in, const struct intake_share *share)
{
    return share->record[0].partition / in->config.depot_partitions;
}

/* Under the lock. Who asked for no acknowledgement does not learn that there is something to send again. */
static void note_refusal(struct intake *in, const struct intake_share *share)
{
    if (!is_pipelined(share) || share->ack == LEAT_NONE)
        return;
    refused_add(&in->refused, depot_of(in, share), share->record, share->count);
    atomic_store(&in->refuses, true);
}

/* Does a share come behind one of its session that was refused? */
static int check_refused(struct intake *in, const struct intake_share *share)
{
    if (!atomic_load(&in->refuses) || !is_pipelined(share))
        return 0;
    pthread_mutex_lock(&in->lock);
    int rv = refused_check(&in->refused, depot_of(in, share), share->record, share->count);
    pthread_mutex_unlock(&in->lock);
    return rv;
}

/* What was refused is here now. */
static void forgive(struct intake *in, const struct intake_share *share)
{
    if (!atomic_load(&in->refuses) || !is_pipelined(share))
        return;
    pthread_mutex_lock(&in->lock);
    refused_remove(&in->refused, depot_of(in, share), share->record, share->count);
    atomic_store(&in->refuses, !refused_none(&in->refused));
    pthread_mutex_unlock(&in->lock);
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

/* What a share waits for: in each partition its last record; for a repeat, whatever was appended there by now. Where
 * the frontier is above that already (a depot that nobody reads: above all there will be), only the sync is waited for.
 * depends: some of it is not synced yet. */
static uint32_t share_targets(struct intake *in, const struct intake_share *share, bool *depends)
{
    uint32_t touched = 0, targets = 0;

    for (uint32_t i = 0; i < share->count; i++) {
        uint32_t p = share->record[i].partition;
        uint64_t last = share->offset[i] == UINT64_MAX ? in->end[p] : share->offset[i] + 1;

        if (last == 0)
            continue;
        if (in->target_offset[p] == 0)
            in->touched[touched++] = p;
        if (last > in->target_offset[p])
            in->target_offset[p] = last;
    }
    for (uint32_t i = 0; i < touched; i++) {
        uint64_t last = in->target_offset[in->touched[i]], first, durable;

        log_bounds(in->config.log, in->touched[i], &first, &durable);
        *depends = *depends || last > durable;
        if (acks_frontier(in->config.acks, in->touched[i]) < last)
            in->target[targets++] = (struct ack_target){in->touched[i], last - 1};
        in->target_offset[in->touched[i]] = 0;
    }
    return targets;
}

/* How a share that was appended is completed. LATER: not before the sync, by others; ELSEWHERE: by others, and maybe it
 * is gone already. */
enum completion { AT_ONCE, AFTER_SYNC, LATER, ELSEWHERE };

/* Register who waits for PROCESSED. */
static enum completion await(struct intake *in, struct intake_share *share, bool depends)
{
    uint32_t targets = share_targets(in, share, &depends);

    if (targets == 0)
        return depends ? AFTER_SYNC : AT_ONCE;
    share->wait.reached = share_processed;
    acks_register(in->config.acks, &share->wait, in->target, targets);
    return depends ? LATER : ELSEWHERE;
}

/* What was appended since the last sync. Shares that wait for more than the sync stand in `waiting`, and are looked at
 * again only when it failed: their records cannot be read then, so nobody else can have completed them. */
struct round {
    struct intake_share *durable, **last, *waiting;
    uint64_t rows, fresh, bytes;
};

/* Append one share, and register who waits for it: rows can be read, and acks come, as soon as the sync is done. */
static int append_share(struct intake *in, struct round *r, struct intake_share *share, enum completion *how)
{
    uint32_t *place, mark = in->undos;
    int rv = 0;

    rv = check_refused(in, share);
    if (rv != 0)
        return rv;
    reserve(in, share->count);
    place = (uint32_t *)(void *)(in->offset + in->fresh_capacity);
    uint32_t fresh = drop_repeats(in, share, place);
    if (fresh > 0)
        rv = log_append(in->config.log, in->fresh, fresh, in->offset);
    if (rv != 0) {
        forget(in, mark);
        return rv;
    }
    for (uint32_t i = 0; i < fresh; i++) {
        share->offset[place[i]] = in->offset[i];
        in->end[in->fresh[i].partition] = in->offset[i] + 1;
    }
    forgive(in, share);
    r->fresh += fresh;
    r->bytes += share->bytes;
    *how = share->ack == LEAT_PROCESSED ? await(in, share, fresh > 0) : AFTER_SYNC;
    return 0;
}

static void tell(struct intake *in)
{
    in->config.readable(in->config.context);
    for (uint32_t i = 0; i < in->listeners; i++)
        in->listener[i].readable(in->listener[i].context);
}

static void complete_all(struct intake_share *share, int code)
{
    struct intake_share *next;

    for (; share != NULL; share = next) {
        next = share->next;
        complete(share, code);
    }
}

/* The log has forgotten what was not synced, and goes on. */
static void roll_back(struct intake *in, const struct round *r, const struct leat_error *why)
{
    uint64_t first;

    forget(in, 0);
    for (uint32_t i = 0; i < in->config.partitions; i++)
        log_bounds(in->config.log, i, &first, &in->end[i]);
    pthread_mutex_lock(&in->lock);
    for (const struct intake_share *share = r->durable; share != NULL; share = share->next)
        note_refusal(in, share);
    for (const struct intake_share *share = r->waiting; share != NULL; share = share->next)
        note_refusal(in, share);
    pthread_mutex_unlock(&in->lock);
    if (!in->full)
        log_print(LOG_WARN, "engine", "appends are refused until there is space: %s", why->text);
    in->full = true;
}

/* What was not synced stays in the log's buffer and may yet be written: nobody can say, so all further appends are
 * refused until the log is opened again, and clients retry with their sequences then. */
static void stop(struct intake *in, int code, const struct leat_error *why)
{
    if (atomic_load(&in->failed) != 0)
        return;
    in->why = *why;
    atomic_store(&in->failed, code);
}

static void round_failed(struct intake *in, const struct round *r, int code, const struct leat_error *why)
{
    for (struct intake_share *share = r->waiting; share != NULL; share = share->next)
        acks_cancel(in->config.acks, &share->wait);
    if (code == LEAT_ENOSPACE)
        roll_back(in, r, why);
    else
        stop(in, code, why);
    complete_all(r->durable, code);
    complete_all(r->waiting, code);
}

static void round_done(struct intake *in, const struct round *r, int64_t took_ns)
{
    in->undos = 0;
    if (in->full && r->fresh > 0) {
        log_print(LOG_WARN, "engine", "there is space: appends are taken again");
        in->full = false;
    }
    atomic_fetch_add(&in->figures.syncs, 1);
    atomic_fetch_add(&in->figures.rows, r->fresh);
    atomic_fetch_add(&in->figures.bytes, r->bytes);
    histogram_add(&in->figures.sync_ns, (uint64_t)took_ns);
    histogram_add(&in->figures.sync_rows, r->rows);
    tell(in);
    complete_all(r->durable, 0);
}

/* Sync what was appended, complete those that wait for no more than that, and begin anew. */
static void round_sync(struct intake *in, struct round *r)
{
    int64_t start = in->config.clock->monotonic_ns(in->config.clock);
    struct leat_error why = {0, ""};
    int rv = atomic_load(&in->failed);

    if (rv == 0)
        rv = log_sync(in->config.log, &why);
    if (rv == 0)
        round_done(in, r, in->config.clock->monotonic_ns(in->config.clock) - start);
    else
        round_failed(in, r, rv, &why);
    *r = (struct round){.last = &r->durable};
}

static int round_append(struct intake *in, struct round *r, struct intake_share *share, enum completion *how)
{
    int rv = append_share(in, r, share, how);

    if (rv == LEAT_EFULL) {
        round_sync(in, r);
        rv = atomic_load(&in->failed);
        rv = rv != 0 ? rv : append_share(in, r, share, how);
    }
    if (rv == LEAT_EFULL || rv == LEAT_ENOSPACE || rv == LEAT_EAGAIN) {
        pthread_mutex_lock(&in->lock);
        note_refusal(in, share);
        pthread_mutex_unlock(&in->lock);
    }
    return rv;
}

/* Append and sync a chain of shares, and complete those that wait for no more than that. */
static void lead_chain(struct intake *in, struct intake_share *chain)
{
    struct round r = {.last = &r.durable};
    struct intake_share *share, *next;

    for (share = chain; share != NULL; share = next) {
        enum completion how = AT_ONCE;
        int code = atomic_load(&in->failed);

        next = share->next;
        share->next = NULL;
        if (code == 0)
            code = round_append(in, &r, share, &how);
        if (code != 0 || how == AT_ONCE) {
            complete(share, code);
            continue;
        }
        if (how == ELSEWHERE)
            continue;
        r.rows += share->count;
        if (how == LATER) {
            share->next = r.waiting;
            r.waiting = share;
        } else {
            *r.last = share;
            r.last = &share->next;
        }
    }
    round_sync(in, &r);
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

    priority_lower(PRIORITY_TURNS);
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

static void intake_free(struct intake *in)
{
    for (uint32_t i = 0; i < in->config.partitions; i++)
        session_fini(&in->config.sessions[i]);
    free(in->config.sessions);
    free(in->fresh);
    free(in->offset);
    free(in->target);
    free(in->target_offset);
    free(in->touched);
    free(in->undo);
    refused_fini(&in->refused);
    free(in->listener);
    free(in->end);
    pthread_mutex_destroy(&in->lock);
    pthread_cond_destroy(&in->led);
    pthread_cond_destroy(&in->work);
    free(in);
}

int intake_open(const struct intake_config *config, struct intake **out)
{
    struct intake *in = base_alloc(sizeof(*in));

    in->config = *config;
    in->target_offset = base_alloc((config->partitions + 1) * sizeof(*in->target_offset));
    in->touched = base_alloc((config->partitions + 1) * sizeof(*in->touched));
    in->end = base_alloc((config->partitions + 1) * sizeof(*in->end));
    for (uint32_t i = 0; i < config->partitions; i++) {
        uint64_t first;

        log_bounds(config->log, i, &first, &in->end[i]);
    }
    pthread_mutex_init(&in->lock, NULL);
    pthread_cond_init(&in->led, NULL);
    pthread_cond_init(&in->work, NULL);
    if (pthread_create(&in->thread, NULL, intake_thread, in) != 0) {
        intake_free(in);
        return LEAT_ENOMEM;
    }
    *out = in;
    return 0;
}

/* Take the lock when nobody leads. */
static void lock_idle(struct intake *in)
{
    pthread_mutex_lock(&in->lock);
    while (in->leading)
        pthread_cond_wait(&in->led, &in->lock);
}

/* Not while somebody leads: of the waits of a round, those whose rows are not synced are the round's. */
void intake_stop(struct intake *in, int code)
{
    lock_idle(in);
    if (atomic_load(&in->failed) == 0)
        atomic_store(&in->failed, code);
    pthread_mutex_unlock(&in->lock);
    acks_stop(in->config.acks, code);
}

void intake_close(struct intake *in)
{
    pthread_mutex_lock(&in->lock);
    in->closed = true;
    pthread_cond_broadcast(&in->work);
    pthread_mutex_unlock(&in->lock);
    pthread_join(in->thread, NULL);
    intake_free(in);
}

static size_t share_bytes(const struct intake_share *share)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < share->count; i++)
        bytes += share->record[i].body.size + 32;
    return bytes;
}

/* most: bytes that may wait with it. */
static int submit(struct intake *in, struct intake_share *share, bool may_lead, size_t most)
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
    else if (in->bytes > 0 && in->bytes + share->bytes > most)
        rv = LEAT_EFULL;
    if (rv != 0) {
        if (rv == LEAT_EFULL)
            note_refusal(in, share);
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

int intake_submit(struct intake *in, struct intake_share *share, bool may_lead)
{
    if (in->config.no_space == NULL || !atomic_load(in->config.no_space))
        return submit(in, share, may_lead, LIMIT_PENDING_APPEND);
    pthread_mutex_lock(&in->lock);
    note_refusal(in, share);
    pthread_mutex_unlock(&in->lock);
    return LEAT_ENOSPACE;
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
    /* Clients that fill the intake must not stop the group that works for them: one share of its own finds room. */
    rv = submit(in, &own.share, true, SIZE_MAX);
    pthread_mutex_lock(&own.lock);
    while (rv == 0 && !own.done)
        pthread_cond_wait(&own.cond, &own.lock);
    pthread_mutex_unlock(&own.lock);
    pthread_mutex_destroy(&own.lock);
    pthread_cond_destroy(&own.cond);
    free(own.share.offset);
    rv = rv == 0 ? own.share.code : rv;
    if (rv != 0 && intake_status(in, err) == rv)
        return base_wrap(err, rv, "rows for a depot cannot be appended");
    return rv == 0 ? 0 : leat_fail(err, rv, "rows for a depot cannot be appended: %s", leat_code_text(rv));
}

bool intake_session(struct intake *in, uint32_t partition, uint64_t session, uint64_t *sequence)
{
    leat_assert(partition < in->config.partitions);
    lock_idle(in);
    const struct session_entry *e = session_find(&in->config.sessions[partition], session);
    if (e != NULL)
        *sequence = e->sequence;
    pthread_mutex_unlock(&in->lock);
    return e != NULL;
}

void intake_listen(struct intake *in, void (*readable)(void *context), void *context)
{
    lock_idle(in);
    if (in->listeners == in->listener_capacity) {
        in->listener_capacity = in->listener_capacity == 0 ? 4 : in->listener_capacity * 2;
        in->listener = base_realloc(in->listener, in->listener_capacity * sizeof(*in->listener));
    }
    in->listener[in->listeners++] = (struct listener){readable, context};
    pthread_mutex_unlock(&in->lock);
}

void intake_unlisten(struct intake *in, void *context)
{
    uint32_t left = 0;

    lock_idle(in);
    for (uint32_t i = 0; i < in->listeners; i++)
        if (in->listener[i].context != context)
            in->listener[left++] = in->listener[i];
    in->listeners = left;
    pthread_mutex_unlock(&in->lock);
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
