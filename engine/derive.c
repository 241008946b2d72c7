/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/derive.h"

#include "engine/flow.h"

#include <pthread.h>
#include <stdatomic.h>

struct derive_slot {
    struct derive_slot *next;
    struct pstate_reader *reader;
};

struct derive_version {
    struct derive_version *next;  /* newer */
    void *state;
    uint32_t users;
};

/* What build and apply read. */
struct leat_derivation {
    uint32_t group, groups;
    struct pstate_reader *reader; /* paused between calls */
    struct arena *arena;
    struct leat_task *task;       /* by task / groups */
    struct leat_error err;
};

struct derive {
    struct derive_config config;
    const struct leat_derive *calls;
    struct leat_derivation seen;
    struct buffer written;
    _Atomic uint32_t versions;
    void *made;                   /* by apply, not shown yet; else the newest version's */

    pthread_mutex_t lock;
    pthread_cond_t published;
    uint64_t turn;                /* of the snapshot that the newest version belongs to */
    struct derive_version *oldest, *newest; /* only the group's thread changes which ones they are */
    struct derive_slot *ready;    /* readers at the snapshot of this turn */
    struct derive_slot *resting;  /* paused */
    uint32_t set;                 /* so many are made ready: grows when they were too few */
    uint32_t waiting;
    bool stopped;
};

/* ---- Lists of readers ---- */

static struct derive_slot *pop(struct derive_slot **list)
{
    struct derive_slot *s = *list;

    if (s != NULL)
        *list = s->next;
    return s;
}

static void push(struct derive_slot **list, struct derive_slot *s)
{
    s->next = *list;
    *list = s;
}

static void slot_close(struct derive_slot *s)
{
    pstate_snapshot_close(s->reader);
    free(s);
}

/* A reader at the view's last commit, new or used before. */
static int slot_open(struct derive *d, struct derive_slot *used, struct derive_slot **out, struct leat_error *err)
{
    struct derive_slot *s = used != NULL ? used : base_alloc(sizeof(*s));
    int rv = used != NULL ? pstate_snapshot_renew(s->reader, err)
                          : pstate_snapshot_open(d->config.view, &s->reader, err);

    if (rv != 0 && used != NULL)
        slot_close(s);
    else if (rv != 0)
        free(s);
    *out = rv == 0 ? s : NULL;
    return rv;
}

/* ---- What build and apply see ---- */

struct leat_task *leat_derivation_task(struct leat_derivation *d, uint32_t task)
{
    leat_assert((task & (d->groups - 1)) == d->group && task < d->task[0].plan->tasks);
    return &d->task[task / d->groups];
}

struct leat_task *leat_derivation_first(struct leat_derivation *d)
{
    return &d->task[0];
}

static int seen_open(struct derive *d, struct leat_error *err)
{
    const struct derive_config *c = &d->config;
    uint32_t tasks = c->plan->tasks / c->groups;

    d->seen.group = c->group;
    d->seen.groups = c->groups;
    d->seen.arena = arena_open(LIMIT_TURN_MEMORY);
    d->seen.task = base_alloc(tasks * sizeof(*d->seen.task));
    int rv = pstate_snapshot_open(c->view, &d->seen.reader, err);
    for (uint32_t i = 0; i < tasks; i++)
        d->seen.task[i] = (struct leat_task){.number = c->group + i * c->groups, .groups = c->groups, .plan = c->plan,
                                             .reader = d->seen.reader, .arena = d->seen.arena, .err = &d->seen.err};
    return rv;
}

/* Whatever the module calls its trouble: the disk is not full, and nothing can be tried again. */
static int ended(struct derive *d, int rv, const char *what, void *state, const struct leat_error *why,
                 struct leat_error *err)
{
    const struct leat_error *said = d->seen.err.code != 0 ? &d->seen.err : why;
    int code = d->seen.err.code != 0 ? d->seen.err.code : rv;

    pstate_snapshot_pause(d->seen.reader);
    arena_reset(d->seen.arena);
    if (code == 0) {
        d->made = state;
        return 0;
    }
    if (rv == 0 && (d->newest == NULL || state != d->newest->state))
        d->calls->drop(state);
    return leat_fail(err, leat_code_class(code) == LEAT_CLASS_FATAL ? code : LEAT_EINTERNAL,
                     "%s of what is derived from %s: %.700s", what, d->calls->from,
                     said->text[0] != '\0' ? said->text : leat_code_text(code));
}

/* ---- Making versions ---- */

static int build(struct derive *d, struct leat_error *err)
{
    struct leat_error why = {0};
    void *state = NULL;
    int rv = d->calls->build(&d->seen, &state, &why);

    return ended(d, rv, "the build", state, &why, err);
}

/* Elements that were written, as the module is told. */
static uint32_t name_changes(struct derive *d, struct leat_change *out)
{
    const struct pstate_change *change = (void *)d->written.base;
    uint32_t count = 0;

    for (size_t i = 0; i < d->written.size / sizeof(*change); i++) {
        uint32_t task;

        out[count].removed = change[i].removed;
        if (pstate_change_read(d->config.plan->pstate, &change[i], &task, &out[count].pstate, &out[count].key))
            out[count++].task = leat_derivation_task(&d->seen, task);
    }
    return count;
}

static int apply(struct derive *d, struct leat_error *err)
{
    size_t most = d->written.size / sizeof(struct pstate_change);
    struct leat_change *change = arena_alloc(d->seen.arena, most * sizeof(*change), 16);
    struct leat_error why = {0};
    void *state = d->newest->state;
    uint32_t changes = name_changes(d, change);
    int rv = changes > 0 ? pstate_snapshot_renew(d->seen.reader, &why) : 0;

    if (rv == 0 && changes > 0)
        rv = d->calls->apply(&d->seen, d->newest->state, change, changes, &state, &why);
    return ended(d, rv, "the change", state, &why, err);
}

int derive_apply(struct derive *d, struct leat_span ops, struct leat_error *err)
{
    if (d == NULL)
        return 0;
    buffer_clear(&d->written);
    int rv = pstate_changes(ops, d->config.plan->derived_from, &d->written);
    if (rv != 0)
        return leat_fail(err, rv, "what a turn wrote cannot be told");
    return d->written.size > 0 ? apply(d, err) : 0;
}

/* ---- Showing them ---- */

/* Readers at the last commit, from those that rest, or new ones. Maybe none: it goes without, too. */
static struct derive_slot *make_ready(struct derive *d)
{
    struct derive_slot *rested = NULL, *ready = NULL, *s;
    uint32_t count = 0;

    pthread_mutex_lock(&d->lock);
    uint32_t set = d->set;
    for (; count < set && (s = pop(&d->resting)) != NULL; count++)
        push(&rested, s);
    pthread_mutex_unlock(&d->lock);
    for (uint32_t i = 0; i < set; i++)
        if (slot_open(d, pop(&rested), &s, NULL) == 0)
            push(&ready, s);
        else if (rested == NULL)
            break;
    return ready;
}

static struct derive_version *version_new(const struct derive *d)
{
    struct derive_version *v = base_alloc(sizeof(*v));

    v->state = d->made;
    return v;
}

static void add_version(struct derive *d, struct derive_version *v)
{
    if (d->newest != NULL)
        d->newest->next = v;
    else
        d->oldest = v;
    d->newest = v;
    atomic_fetch_add(&d->versions, 1);
}

void derive_publish(struct derive *d, uint64_t turn)
{
    struct derive_version *v = NULL;
    struct derive_slot *ready, *s;

    if (d == NULL)
        return;
    if (d->newest == NULL || d->made != d->newest->state)
        v = version_new(d);
    ready = make_ready(d);
    leat_assert(ready == NULL || pstate_reader_turn(ready->reader) == turn);
    pthread_mutex_lock(&d->lock);
    while ((s = pop(&d->ready)) != NULL) {
        pstate_snapshot_pause(s->reader);
        push(&d->resting, s);
    }
    d->ready = ready;
    d->turn = turn;
    if (v != NULL)
        add_version(d, v);
    if (d->waiting > 0)
        pthread_cond_broadcast(&d->published);
    pthread_mutex_unlock(&d->lock);
    derive_reap(d);
}

void derive_stop(struct derive *d)
{
    if (d == NULL)
        return;
    pthread_mutex_lock(&d->lock);
    d->stopped = true;
    pthread_cond_broadcast(&d->published);
    pthread_mutex_unlock(&d->lock);
}

void derive_reap(struct derive *d)
{
    struct derive_version *unused = NULL, **end = &unused;

    if (d == NULL || d->oldest == d->newest)
        return;
    pthread_mutex_lock(&d->lock);
    while (d->oldest != d->newest && d->oldest->users == 0) {
        *end = d->oldest;
        end = &d->oldest->next;
        d->oldest = d->oldest->next;
    }
    pthread_mutex_unlock(&d->lock);
    *end = NULL;
    while (unused != NULL) {
        struct derive_version *v = unused;

        unused = v->next;
        d->calls->drop(v->state);
        free(v);
        atomic_fetch_sub(&d->versions, 1);
    }
}

const void *derive_newest(const struct derive *d)
{
    return d->newest->state;
}

uint32_t derive_versions(const struct derive *d)
{
    return atomic_load(&d->versions);
}

/* ---- Taking them ---- */

static void hold(struct derive *d, struct derive_slot *s, struct derive_hold *out)
{
    d->newest->users++;
    *out = (struct derive_hold){d->newest->state, s->reader, s, d->newest};
}

/* Until the reader and the newest version belong together; under the lock. */
static int meet(struct derive *d, struct derive_slot **s, struct leat_error *err)
{
    int rv = 0;

    while (rv == 0 && pstate_reader_turn((*s)->reader) != d->turn) {
        if (pstate_reader_turn((*s)->reader) < d->turn) {
            pthread_mutex_unlock(&d->lock);
            rv = slot_open(d, *s, s, err);
            pthread_mutex_lock(&d->lock);
        } else if (d->stopped) {
            rv = leat_fail(err, LEAT_ECLOSED, "group %u has stopped", d->config.group);
        } else {
            d->waiting++;
            pthread_cond_wait(&d->published, &d->lock);
            d->waiting--;
        }
    }
    return rv;
}

/* No reader was ready: with one of our own. */
static int take_another(struct derive *d, struct derive_slot *rested, struct derive_hold *out, struct leat_error *err)
{
    struct derive_slot *s;
    int rv = slot_open(d, rested, &s, err);

    if (rv != 0)
        return rv;
    pthread_mutex_lock(&d->lock);
    d->set += d->set < DERIVE_SET_MOST;
    rv = meet(d, &s, err);
    if (rv == 0)
        hold(d, s, out);
    pthread_mutex_unlock(&d->lock);
    if (rv != 0 && s != NULL)
        slot_close(s);
    return rv;
}

int derive_take(struct derive *d, struct derive_hold *out, struct leat_error *err)
{
    struct derive_slot *s, *rested = NULL;

    *out = (struct derive_hold){0};
    pthread_mutex_lock(&d->lock);
    s = pop(&d->ready);
    if (s != NULL)
        hold(d, s, out);
    else
        rested = pop(&d->resting);
    pthread_mutex_unlock(&d->lock);
    return s != NULL ? 0 : take_another(d, rested, out, err);
}

void derive_give(struct derive *d, struct derive_hold *hold)
{
    struct derive_version *v = hold->version;

    pstate_snapshot_rest(hold->reader);
    pthread_mutex_lock(&d->lock);
    if (pstate_reader_turn(hold->reader) == d->turn) {
        push(&d->ready, hold->slot);
    } else {
        pstate_snapshot_pause(hold->reader);
        push(&d->resting, hold->slot);
    }
    bool unused = --v->users == 0 && v == d->oldest && v != d->newest;
    pthread_mutex_unlock(&d->lock);
    *hold = (struct derive_hold){0};
    if (unused)
        d->config.wake(d->config.context);
}

/* ---- Opening and closing ---- */

int derive_open(const struct derive_config *config, struct derive **out, struct leat_error *err)
{
    struct derive *d = base_alloc(sizeof(*d));

    d->config = *config;
    d->calls = config->plan->module->derive;
    d->set = DERIVE_SET;
    buffer_init(&d->written, SIZE_MAX / 2);
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->published, NULL);
    int rv = seen_open(d, err);
    /* Now, while there are enough. */
    for (uint32_t i = 0; i < DERIVE_READERS - 1 && rv == 0; i++) {
        struct derive_slot *s;

        rv = slot_open(d, NULL, &s, err);
        if (rv == 0)
            pstate_snapshot_pause(s->reader);
        if (rv == 0)
            push(&d->resting, s);
    }
    uint64_t turn = rv == 0 ? pstate_reader_turn(d->seen.reader) : 0;
    if (rv == 0)
        rv = build(d, err);
    if (rv == 0)
        derive_publish(d, turn);
    if (rv != 0) {
        derive_close(d);
        return rv;
    }
    *out = d;
    return 0;
}

void derive_close(struct derive *d)
{
    struct derive_slot *s;

    if (d == NULL)
        return;
    if (d->newest != NULL && d->made != d->newest->state)
        add_version(d, version_new(d)); /* of a crash before it was shown */
    while (d->oldest != NULL) {
        struct derive_version *v = d->oldest;

        leat_assert(v->users == 0);
        d->oldest = v->next;
        d->calls->drop(v->state);
        free(v);
    }
    while ((s = pop(&d->ready)) != NULL || (s = pop(&d->resting)) != NULL)
        slot_close(s);
    pstate_snapshot_close(d->seen.reader);
    arena_close(d->seen.arena);
    buffer_fini(&d->written);
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->published);
    free(d->seen.task);
    free(d);
}
