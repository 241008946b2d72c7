/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/background.h"

#include "engine/derive.h"
#include "engine/group_state.h"
#include "engine/priority.h"

/* Requests pass through a ring: picked >= ran >= taken count them. A job is the background thread's from when it is
 * picked until it ran, and the group's thread's before and afterwards. */

/* JOBS: picked and not taken, so at most as many results as a turn takes. ROUSED: of these, at rest: what comes then
 * stands behind them. KEPT: bytes that a job keeps for the next. FULL_MS: the pause when there is no reader to be had.
 */
enum { JOBS = 64, ROUSED = 8, KEPT = 1 << 16, FULL_MS = 10 };
#define REST_NS (200 * INT64_C(1000000))
#define JOB_MEMORY ((size_t)256 << 20)

struct background {
    struct group *group;
    struct pstate_reader *requests; /* to pick */
    struct derive_hold hold;        /* what the run in hand reads */
    struct flow *flow;
    struct arena *arena;
    struct background_job job[JOBS];
    uint64_t last_key;              /* picked, of those that do not wait for rest */
    uint64_t taken;
    uint64_t resting, roused;       /* requests that wait for rest; so many of them are picked */
    int64_t turned_ns;              /* when a turn last took something else than results */
    size_t row_bytes;               /* of what is picked and not taken */
    bool rests;                     /* the last turn took results */
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;           /* over all that follows */
    pthread_cond_t cond;
    uint64_t picked, ran;
    size_t emitted_bytes;           /* of what ran and is not taken */
    bool stop;
};

/* ---- Running ---- */

static struct background_job *job_at(struct background *b, uint64_t number)
{
    return &b->job[number % JOBS];
}

static struct pstate_reader *job_reader(struct flow *f, uint32_t task, struct leat_error *err)
{
    struct background *b = f->owner;

    (void)err;
    leat_assert(GROUP_OF(b->group, task) == b->group->config.number);
    return b->hold.reader;
}

static const void *job_derived(struct flow *f, uint32_t task, struct leat_error *err)
{
    struct background *b = f->owner;

    (void)err;
    leat_assert(GROUP_OF(b->group, task) == b->group->config.number);
    return b->hold.state;
}

static void job_emitted(struct flow *f, struct leat_span row)
{
    struct background *b = f->owner;
    struct background_job *j = job_at(b, b->ran);

    buffer_span(&j->emitted, row);
    j->rows++;
    if (j->emitted.error != 0)
        flow_fail(f, LEAT_ELIMIT, "it emits more than %d MiB for one row: emit less, and a row to itself for the rest",
                  LIMIT_BACKGROUND_RESULT >> 20);
}

static void job_ran(struct flow *f, struct plan_edge node, uint32_t rows, uint64_t nanoseconds)
{
    struct background *b = f->owner;
    struct stats_node *s = &b->group->config.nodes[flow_number(f, node)];

    atomic_fetch_add_explicit(&s->rows, rows, memory_order_relaxed);
    histogram_add(&s->batch_rows, rows);
    histogram_add(&s->run_ns, nanoseconds);
    histogram_add(&b->group->stats.background_ns, nanoseconds);
}

static const struct flow_hooks job_hooks = {
    .reader = job_reader,
    .derived = job_derived,
    .reply = job_emitted,
    .ran = job_ran,
};

/* Chance follows from the request: a run that is repeated draws the same. */
static uint64_t seed_of(const struct group *g, uint64_t key)
{
    return key * UINT64_C(0x9e3779b97f4a7c15) ^ g->config.number;
}

static int run_node(struct background *b, struct background_job *j)
{
    struct flow *f = b->flow;
    int rv = group_take(b->group, &b->hold, &j->why);

    if (rv != 0)
        return rv;
    arena_reset(b->arena);
    f->topology = j->at.topology;
    flow_begin(f, b->arena, j->now_us, seed_of(b->group, j->key));
    flow_deliver_to(f, j->at, j->task, buffer_bytes(&j->row), (struct flow_tag){0});
    rv = flow_run(f);
    group_give(b->group, &b->hold);
    if (rv != 0) {
        /* As in a turn: who called wrongly, or says so itself. */
        j->refused = f->node_failed || leat_code_class(rv) == LEAT_CLASS_CALLER;
        j->why = f->err;
        if (!utf8_valid(span_text(j->why.text)))
            leat_fail(&j->why, rv, "%s", leat_code_text(rv));
    }
    return rv;
}

/* The next one that is picked. false: all readers of the view are in use, it is to be tried again. */
static bool run_job(struct background *b)
{
    struct background_job *j = job_at(b, b->ran);

    j->code = run_node(b, j);
    if (j->code == LEAT_EFULL && !j->refused)
        return false;
    if (j->code != 0) {
        buffer_clear(&j->emitted);
        j->rows = 0;
    }
    if (group_crashes(b->group, "background.ran")) {
        j->code = LEAT_ECANCELED;
        j->refused = false;
    }
    atomic_fetch_add(&b->group->stats.background_runs, 1);
    atomic_fetch_add(&b->group->stats.background_rows, j->rows);
    pthread_mutex_lock(&b->lock);
    b->ran++;
    b->emitted_bytes += j->emitted.size;
    pthread_mutex_unlock(&b->lock);
    return true;
}

/* Under the lock. */
static bool may_run(const struct background *b)
{
    return b->ran < b->picked && b->emitted_bytes < LIMIT_BACKGROUND_RESULT && !b->stop;
}

static void *background_main(void *context)
{
    struct background *b = context;
    struct group *g = b->group;

    priority_lower(PRIORITY_BACKGROUND);
    pthread_mutex_lock(&b->lock);
    while (!b->stop) {
        if (!may_run(b)) {
            pthread_cond_wait(&b->cond, &b->lock);
            continue;
        }
        pthread_mutex_unlock(&b->lock);
        bool ran = run_job(b);
        g->config.wake(g->config.context);
        struct timespec later = clock_deadline(FULL_MS);
        pthread_mutex_lock(&b->lock);
        if (!ran && !b->stop)
            pthread_cond_timedwait(&b->cond, &b->lock, &later);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* ---- Opening and closing ---- */

static int scan_from(struct background *b, uint64_t after, uint64_t end, struct pstate_scan **out,
                     struct leat_error *err)
{
    struct leat_value from = leat_u64(after), to = leat_u64(end);
    struct leat_range range = {.from = &from, .from_exclusive = true, .to = &to, .to_inclusive = true};

    return pstate_scan_open(b->requests, b->group->config.number, b->group->plan->background, LEAT_KEYS(), &range, out,
                            err);
}

static int count_resting(struct background *b, struct leat_error *err)
{
    struct pstate_scan *scan;
    struct leat_value key;
    int rv = scan_from(b, BACKGROUND_AT_REST - 1, UINT64_MAX, &scan, err);

    if (rv != 0)
        return rv;
    while ((rv = pstate_scan_next(scan, &key, NULL, 0, err)) == 0)
        b->resting++;
    pstate_scan_close(scan);
    return rv == LEAT_END ? 0 : rv;
}

/* What waits, counted once. */
static int open_requests(struct background *b, struct leat_error *err)
{
    struct group *g = b->group;
    uint64_t waiting;
    int rv = pstate_snapshot_open(g->view, &b->requests, err);

    if (rv == 0)
        rv = pstate_size(b->requests, g->config.number, g->plan->background, LEAT_KEYS(), &waiting, err);
    if (rv == 0)
        rv = count_resting(b, err);
    if (rv == 0) {
        pstate_snapshot_pause(b->requests);
        atomic_store(&g->stats.background_waiting, waiting);
    }
    return rv;
}

int background_open(struct group *g, struct background **out, struct leat_error *err)
{
    *out = NULL;
    if (g->plan->background == UINT32_MAX)
        return 0;
    struct background *b = base_alloc(sizeof(*b));
    b->group = g;
    b->flow = flow_open(g->plan, g->config.groups, &job_hooks, b);
    b->arena = arena_open(JOB_MEMORY);
    b->turned_ns = g->config.clock->monotonic_ns(g->config.clock);
    for (uint32_t i = 0; i < JOBS; i++) {
        buffer_init(&b->job[i].row, LIMIT_VALUE);
        buffer_init(&b->job[i].emitted, LIMIT_BACKGROUND_RESULT);
    }
    pthread_mutex_init(&b->lock, NULL);
    clock_condition(&b->cond);
    int rv = open_requests(b, err);
    if (rv == 0 && !g->config.step_background) {
        int number = pthread_create(&b->thread, NULL, background_main, b);

        b->started = number == 0;
        if (number != 0)
            rv = base_errno(err, number, "start a thread for background nodes in", g->config.directory);
    }
    if (rv != 0) {
        background_close(b);
        return rv;
    }
    *out = b;
    return 0;
}

void background_stop(struct background *b)
{
    if (b == NULL)
        return;
    pthread_mutex_lock(&b->lock);
    b->stop = true;
    pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->lock);
}

void background_close(struct background *b)
{
    if (b == NULL)
        return;
    background_stop(b);
    if (b->started)
        pthread_join(b->thread, NULL);
    pstate_snapshot_close(b->requests);
    for (uint32_t i = 0; i < JOBS; i++) {
        buffer_fini(&b->job[i].row);
        buffer_fini(&b->job[i].emitted);
    }
    flow_close(b->flow);
    arena_close(b->arena);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->cond);
    free(b);
}

/* ---- Picking ---- */

static bool find_node(const struct plan *p, const struct leat_value *topology, const struct leat_value *node,
                      struct plan_edge *out)
{
    for (uint32_t i = 0; i < p->topologies; i++)
        for (uint32_t j = 0; j < p->topology[i].nodes; j++)
            if (p->topology[i].node[j].background && span_equal(span_text(p->topology[i].name), topology->as.bytes) &&
                span_equal(span_text(p->topology[i].node[j].name), node->as.bytes)) {
                *out = (struct plan_edge){i, j};
                return true;
            }
    return false;
}

/* field: topology, node, task, row. */
static int fill_job(struct background *b, struct background_job *j, uint64_t key, const struct leat_value *field,
                    struct leat_error *err)
{
    struct group *g = b->group;

    if (!find_node(g->plan, &field[0], &field[1], &j->at) || field[2].as.u >= g->plan->tasks ||
        GROUP_OF(g, (uint32_t)field[2].as.u) != g->config.number)
        return leat_fail(err, LEAT_ECORRUPT,
                         "group %u: row %llu of PState 'background' is for '%.*s.%.*s' on task %llu, which is not here",
                         g->config.number, (unsigned long long)key, (int)field[0].as.bytes.size,
                         (const char *)field[0].as.bytes.base, (int)field[1].as.bytes.size,
                         (const char *)field[1].as.bytes.base, (unsigned long long)field[2].as.u);
    j->key = key;
    j->task = (uint32_t)field[2].as.u;
    j->now_us = g->now_us;
    j->rows = 0;
    j->refused = false;
    buffer_clear(&j->row);
    buffer_clear(&j->emitted);
    buffer_put(&j->row, field[3].as.bytes.base, field[3].as.bytes.size);
    return 0;
}

static int pick_from(struct background *b, struct pstate_scan *scan, uint64_t *picked, struct leat_error *err)
{
    struct leat_value key, field[4];
    int rv = 0;

    while (rv == 0 && *picked - b->taken < JOBS && b->roused < ROUSED && b->row_bytes < LIMIT_BACKGROUND_RESULT) {
        struct background_job *j = job_at(b, *picked);

        rv = pstate_scan_next(scan, &key, field, LENGTH_OF(field), err);
        if (rv == 0)
            rv = fill_job(b, j, key.as.u, field, err);
        if (rv != 0)
            break;
        b->row_bytes += j->row.size;
        if (key.as.u & BACKGROUND_AT_REST)
            b->roused++;
        else
            b->last_key = key.as.u;
        ++*picked;
    }
    return rv == LEAT_END ? 0 : rv;
}

/* Those behind a key, up to another. */
static int pick(struct background *b, uint64_t after, uint64_t end, struct leat_error *err)
{
    struct pstate_scan *scan;
    uint64_t picked = b->picked;
    int rv = pstate_snapshot_renew(b->requests, err);

    if (rv != 0)
        return rv;
    rv = scan_from(b, after, end, &scan, err);
    if (rv == 0) {
        rv = pick_from(b, scan, &picked, err);
        pstate_scan_close(scan);
    }
    pstate_snapshot_pause(b->requests);
    pthread_mutex_lock(&b->lock);
    b->picked = picked;
    pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->lock);
    return rv;
}

/* Only this thread picks, so it may look at that count. */
static bool may_pick(const struct background *b)
{
    const struct group *g = b->group;
    uint64_t under_way = b->picked - b->taken;

    return !g->closing && under_way < JOBS && b->row_bytes < LIMIT_BACKGROUND_RESULT &&
           atomic_load(&g->stats.background_waiting) - b->resting > under_way - b->roused;
}

int64_t background_due(const struct background *b)
{
    if (b == NULL || b->group->closing || b->picked > b->taken || b->resting == 0)
        return INT64_MAX;
    /* Who waits for a peer, or for its disk, does not rest; but these themselves may be what depots wait for. */
    if (b->resting < LIMIT_BACKGROUND_WAITING && turn_unread(b->group))
        return INT64_MAX;
    return b->group->config.step_background ? b->turned_ns : b->turned_ns + REST_NS; /* tests wait for no clock */
}

static bool may_rouse(const struct background *b)
{
    const struct group *g = b->group;

    return g->config.clock->monotonic_ns(g->config.clock) >= background_due(b);
}

/* In tests: what a thread would do, some time. */
static int step_alone(struct background *b)
{
    if (may_run(b) && random_below(&b->group->random, 2) == 0)
        run_job(b);
    return b->picked > b->taken;
}

int background_step(struct background *b, bool idle, struct leat_error *err)
{
    if (b == NULL)
        return 0;
    const struct background_job *j = background_result(b, 0);
    if (j != NULL && j->code != 0 && !j->refused) {
        if (err != NULL)
            *err = j->why;
        return base_wrap(err, j->code, "group %u runs node '%s'", b->group->config.number,
                         plan_node_at(b->group->plan, j->at)->name);
    }
    bool picks = may_pick(b), rouses = !picks && idle && may_rouse(b);
    int rv = picks ? pick(b, b->last_key, BACKGROUND_AT_REST - 1, err) : 0;
    if (rouses)
        rv = pick(b, BACKGROUND_AT_REST - 1, UINT64_MAX, err);
    if (rv == 0 && (picks || rouses) && group_crashes(b->group, "background.picked"))
        rv = LEAT_ECANCELED;
    return rv != 0 || !b->group->config.step_background ? rv : step_alone(b);
}

/* ---- Turns ---- */

void background_request(struct group *g, struct flow *f, struct plan_edge at, uint32_t task, uint32_t item,
                        struct leat_span row)
{
    uint64_t key = (g->turn + 1) << BACKGROUND_ITEM_BITS | item |
                   (plan_node_at(g->plan, at)->at_rest ? BACKGROUND_AT_REST : 0);

    leat_assert(item >> BACKGROUND_ITEM_BITS == 0);
    pstate_put(g->view, g->config.number, g->plan->background, LEAT_KEYS(leat_u64(key)),
               LEAT_ROW(leat_str(g->plan->topology[at.topology].name), leat_str(plan_node_at(g->plan, at)->name),
                        leat_u32(task), leat_bytes(row.base, row.size)),
               &f->err);
}

const struct background_job *background_result(struct background *b, uint32_t n)
{
    if (b == NULL)
        return NULL;
    pthread_mutex_lock(&b->lock);
    bool there = b->taken + n < b->ran;
    pthread_mutex_unlock(&b->lock);
    return there ? job_at(b, b->taken + n) : NULL;
}

bool background_first(const struct background *b)
{
    return b != NULL && !b->rests;
}

int background_consume(struct background *b, uint32_t results, struct leat_error *err)
{
    int rv = 0;

    for (uint32_t i = 0; i < results && rv == 0; i++)
        rv = pstate_delete(b->group->view, b->group->config.number, b->group->plan->background,
                           LEAT_KEYS(leat_u64(job_at(b, b->taken + i)->key)), err);
    return rv;
}

static void forget(struct buffer *bytes)
{
    size_t limit = bytes->limit;

    if (bytes->capacity <= KEPT)
        return;
    buffer_fini(bytes);
    buffer_init(bytes, limit);
}

/* The results of a turn are through. */
static void take(struct background *b, uint32_t results)
{
    size_t emitted = 0;

    for (uint32_t i = 0; i < results; i++) {
        struct background_job *j = job_at(b, b->taken++);

        emitted += j->emitted.size;
        b->row_bytes -= j->row.size;
        if (j->key & BACKGROUND_AT_REST) {
            b->resting--;
            b->roused--;
        }
        forget(&j->row);
        forget(&j->emitted);
    }
    pthread_mutex_lock(&b->lock);
    b->emitted_bytes -= emitted;
    pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->lock);
}

void background_taken(struct group *g, uint32_t results, uint32_t others, uint32_t resting)
{
    struct background *b = g->background;

    if (b == NULL)
        return;
    b->rests = results > 0;
    b->resting += resting;
    if (others > 0)
        b->turned_ns = g->config.clock->monotonic_ns(g->config.clock);
    if (results == 0)
        return;
    take(b, results);
    uint64_t before = atomic_fetch_sub(&g->stats.background_waiting, results);
    if (before < LIMIT_BACKGROUND_WAITING || before - results >= LIMIT_BACKGROUND_WAITING)
        return;
    for (uint32_t i = 0; i < g->config.groups; i++)
        if (g->peer[i].group != NULL)
            g->peer[i].group->config.wake(g->peer[i].group->config.context);
}

bool background_behind(const struct group *g)
{
    for (uint32_t i = 0; i < g->config.groups && g->background != NULL; i++)
        if (g->peer[i].group != NULL &&
            atomic_load(&g->peer[i].group->stats.background_waiting) >= LIMIT_BACKGROUND_WAITING)
            return true;
    return false;
}
