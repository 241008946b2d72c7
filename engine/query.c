/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/derive.h"
#include "engine/node.h"

/* Query topologies. A request runs on one thread from its first node to its reply: plain calls over the memory maps of
 * committed snapshots, one for each group it touches, taken at first touch. What it needs (a flow, an arena, paused
 * readers) is kept in workers that requests of a module share one after another, so that a warm request allocates
 * nothing but its result. */

#define QUERY_MEMORY ((size_t)256 << 20)

struct worker {
    struct worker *next;
    struct module *module;
    struct flow *flow;
    struct arena *arena;
    struct pstate_reader **reader; /* by group; paused between requests */
    struct derive_hold *hold;      /* by group, when the module derives something: then it has the reader */
    bool *touched;
    struct buffer request;         /* of a request whose recall is measured; else empty */
    struct leat_span *reply;       /* rows of the answer, in the arena */
    uint32_t replies, reply_capacity;
    int64_t deadline_ns;
    uint32_t timeout_ms;
    const bool *cancel;
};

struct query_cache {
    struct module *module;
    pthread_mutex_t lock;
    struct worker *idle;
};

struct leat_result {
    struct arena *arena;
    struct leat_batch rows;
};

/* ---- Hooks ---- */

static struct pstate_reader *query_reader(struct flow *f, uint32_t task, struct leat_error *err)
{
    struct worker *w = f->owner;
    uint32_t group = task & (w->module->groups - 1);
    int rv = 0;

    if (w->touched[group])
        return w->reader[group];
    if (w->hold != NULL) {
        rv = derive_take(group_derive(w->module->group[group]), &w->hold[group], err);
        w->reader[group] = w->hold[group].reader;
    } else if (w->reader[group] == NULL)
        rv = pstate_snapshot_open(group_view(w->module->group[group]), &w->reader[group], err);
    else
        rv = pstate_snapshot_renew(w->reader[group], err);
    w->touched[group] = rv == 0;
    return rv == 0 ? w->reader[group] : NULL;
}

static const void *query_derived(struct flow *f, uint32_t task, struct leat_error *err)
{
    struct worker *w = f->owner;

    return query_reader(f, task, err) != NULL ? w->hold[task & (w->module->groups - 1)].state : NULL;
}

static void query_reply(struct flow *f, struct leat_span row)
{
    struct worker *w = f->owner;

    if (w->replies == w->reply_capacity) {
        uint32_t capacity = w->reply_capacity == 0 ? 64 : w->reply_capacity * 2;
        struct leat_span *grown = arena_alloc(f->arena, capacity * sizeof(*grown), 8);

        if (w->replies > 0)
            memcpy(grown, w->reply, w->replies * sizeof(*grown));
        w->reply = grown;
        w->reply_capacity = capacity;
    }
    w->reply[w->replies++] = row;
}

static int query_check(struct flow *f, struct leat_error *err)
{
    struct worker *w = f->owner;

    if (w->cancel != NULL && __atomic_load_n(w->cancel, __ATOMIC_RELAXED))
        return leat_fail(err, LEAT_ECANCELED, "the query was canceled");
    if (clock_real()->coarse_ns(clock_real()) > w->deadline_ns)
        return leat_fail(err, LEAT_ETIMEOUT, "the query did not end within %u ms", w->timeout_ms);
    return 0;
}

static void query_ran(struct flow *f, struct plan_edge node, uint32_t rows, uint64_t nanoseconds)
{
    struct worker *w = f->owner;
    struct stats_node *s = &w->module->nodes[flow_number(f, node)];

    atomic_fetch_add_explicit(&s->rows, rows, memory_order_relaxed);
    histogram_add(&s->batch_rows, rows);
    histogram_add(&s->run_ns, nanoseconds);
}

static const struct flow_hooks query_hooks = {
    .reader = query_reader,
    .derived = query_derived,
    .reply = query_reply,
    .check = query_check,
    .ran = query_ran,
};

/* ---- Workers ---- */

static struct worker *worker_open(struct module *m)
{
    struct worker *w = base_alloc(sizeof(*w));

    w->module = m;
    w->flow = flow_open(m->plan, m->groups, &query_hooks, w);
    w->arena = arena_open(SIZE_MAX / 8);
    w->reader = base_alloc(m->groups * sizeof(struct pstate_reader *));
    w->touched = base_alloc(m->groups * sizeof(*w->touched));
    if (m->plan->derived_from != 0)
        w->hold = base_alloc(m->groups * sizeof(*w->hold));
    buffer_init(&w->request, LIMIT_ROW + 4096);
    return w;
}

static void worker_close(struct worker *w)
{
    for (uint32_t i = 0; i < w->module->groups && w->hold == NULL; i++)
        pstate_snapshot_close(w->reader[i]);
    flow_close(w->flow);
    arena_close(w->arena);
    buffer_fini(&w->request);
    free(w->reader);
    free(w->hold);
    free(w->touched);
    free(w);
}

struct query_cache *query_cache_open(struct module *m)
{
    struct query_cache *c = base_alloc(sizeof(*c));

    c->module = m;
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

void query_cache_close(struct query_cache *c)
{
    while (c->idle != NULL) {
        struct worker *w = c->idle;

        c->idle = w->next;
        worker_close(w);
    }
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static struct worker *worker_take(struct query_cache *c)
{
    pthread_mutex_lock(&c->lock);
    struct worker *w = c->idle;
    if (w != NULL)
        c->idle = w->next;
    pthread_mutex_unlock(&c->lock);
    return w != NULL ? w : worker_open(c->module);
}

static void worker_give(struct query_cache *c, struct worker *w)
{
    for (uint32_t i = 0; i < w->module->groups; i++)
        if (w->touched[i] && w->hold != NULL)
            derive_give(group_derive(w->module->group[i]), &w->hold[i]);
        else if (w->touched[i])
            pstate_snapshot_pause(w->reader[i]);
    memset(w->touched, 0, w->module->groups * sizeof(*w->touched));
    arena_reset(w->arena);
    buffer_clear(&w->request);
    pthread_mutex_lock(&c->lock);
    w->next = c->idle;
    c->idle = w;
    pthread_mutex_unlock(&c->lock);
}

/* ---- Running ---- */

static int64_t now_ns(void)
{
    return clock_real()->monotonic_ns(clock_real());
}

static void worker_begin(struct worker *w, uint32_t topology, const struct leat_query *how, int64_t asked_ns)
{
    w->replies = w->reply_capacity = 0;
    w->reply = NULL;
    w->timeout_ms = how->timeout_ms > 0 ? how->timeout_ms : 10000;
    w->deadline_ns = asked_ns + (int64_t)w->timeout_ms * 1000000;
    w->cancel = how->cancel;
    arena_limit(w->arena, how->memory_max > 0 ? how->memory_max : QUERY_MEMORY);
    w->flow->topology = topology;
    struct clock *clock = w->module->node->clock;
    flow_begin(w->flow, w->arena, clock->wall_us(clock), (uint64_t)now_ns());
}

/* The answer in memory of its own. */
static int make_result(struct worker *w, const struct plan_node *node, struct leat_result **out,
                       struct leat_error *err)
{
    struct arena *a = arena_open(SIZE_MAX / 8);
    struct leat_result *r = arena_alloc(a, sizeof(*r), 16);
    struct leat_span *row = arena_alloc(a, (w->replies + 1) * sizeof(*row), 8);

    r->arena = a;
    for (uint32_t i = 0; i < w->replies; i++) {
        void *copy = arena_alloc(a, w->reply[i].size + 1, 1);

        memcpy(copy, w->reply[i].base, w->reply[i].size);
        row[i] = span_of(copy, w->reply[i].size);
    }
    if (row_batch(a, &node->emits, row, w->replies, &r->rows) != 0) {
        arena_close(a);
        return leat_fail(err, LEAT_EINTERNAL, "the rows of the reply do not fit its schema");
    }
    *out = r;
    return 0;
}

/* A topology over an encoded request. */
static int flow_over(struct worker *w, uint32_t topology, struct leat_span request)
{
    const struct plan_topology *t = &w->module->plan->topology[topology];
    int rv = row_batch(w->arena, &t->takes, &request, 1, &w->flow->request);

    leat_assert(rv == 0);
    for (uint32_t i = 0; i < t->edges; i++)
        flow_deliver(w->flow, t->edge[i], w->flow->origin, request, (struct flow_tag){0});
    return flow_run(w->flow);
}

/* Before a request whose recall is measured: both answers are of the snapshots that are taken now. */
static void keep_request(struct worker *w, struct leat_span request)
{
    struct leat_error err;

    buffer_put(&w->request, request.base, request.size);
    for (uint32_t i = 0; i < w->module->groups && query_reader(w->flow, i, &err) != NULL; i++)
        ;
}

/* Run an encoded request; what it waited since it was asked counts. */
static int run(struct module *m, uint32_t topology, struct leat_span request, const struct leat_query *how,
               int64_t asked_ns, struct leat_result **out, struct leat_error *err)
{
    const struct plan_topology *t = &m->plan->topology[topology];
    bool picked = t->yardstick != UINT32_MAX && gauge_picks(m->gauge, topology);
    struct worker *w = worker_take(m->queries);
    int rv;

    if (picked)
        keep_request(w, request);
    worker_begin(w, topology, how, asked_ns);
    rv = flow_over(w, topology, request);
    if (rv != 0) {
        const struct plan_node *node = w->flow->failed_node;

        if (err != NULL)
            *err = w->flow->err;
        if (node != NULL)
            base_wrap(err, rv, "node '%s'", node->name);
        base_wrap(err, rv, "query '%s.%s'", m->plan->module->name, t->name);
    } else {
        rv = make_result(w, &t->node[t->reply], out, err);
    }
    if (picked)
        gauge_give(m->gauge, topology, rv == 0 ? w : NULL);
    if (!picked || rv != 0)
        worker_give(m->queries, w);
    histogram_add(&m->query_ns[topology], (uint64_t)(now_ns() - asked_ns));
    return rv;
}

/* ---- The recall of live queries ---- */

static int64_t busy_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int reply_batch(struct worker *w, uint32_t topology, struct leat_batch *out)
{
    const struct plan_topology *t = &w->module->plan->topology[topology];

    return row_batch(w->arena, &t->node[t->reply].emits, w->reply, w->replies, out);
}

/* sample: a worker as its request left it. */
static void measure(void *context, uint32_t topology, void *sample, const bool *cancel, struct gauge_measured *out)
{
    struct module *m = context;
    const struct plan_topology *t = &m->plan->topology[topology];
    struct worker *w = sample;
    struct leat_query how = {.cancel = cancel};
    struct leat_batch answer, truth;
    int64_t begun = busy_ns();

    how.memory_max = arena_used(w->arena) + QUERY_MEMORY;
    out->code = reply_batch(w, topology, &answer);
    worker_begin(w, t->yardstick, &how, now_ns());
    if (out->code == 0)
        out->code = flow_over(w, t->yardstick, buffer_bytes(&w->request));
    if (out->code == 0)
        out->code = reply_batch(w, t->yardstick, &truth);
    if (out->code == 0)
        out->recall = t->recall(&answer, &truth);
    worker_give(m->queries, w);
    out->cost_ns = busy_ns() - begun;
}

int query_gauge_open(struct module *m, uint32_t every, struct leat_error *err)
{
    struct gauge_config config = {
        .topologies = m->plan->topologies, .every = every, .clock = clock_real(), .measure = measure, .context = m};
    bool measurable = false;

    for (uint32_t i = 0; i < m->plan->topologies; i++)
        measurable = measurable || m->plan->topology[i].yardstick != UINT32_MAX;
    if (every == 0)
        return 0;
    if (!measurable)
        return leat_fail(err, LEAT_EINVAL,
                         "module '%s' has no query whose recall can be measured: none has a yardstick",
                         m->plan->module->name);
    if (gauge_open(&config, &m->gauge) != 0)
        return leat_fail(err, LEAT_ENOMEM, "a thread that measures the recall of module '%s' cannot be started",
                         m->plan->module->name);
    return 0;
}

/* ---- Asking ---- */

static int find_query(struct leat *l, const char *module, const char *query, struct module **m, uint32_t *topology,
                      struct leat_error *err)
{
    *m = node_module(l, module);
    if (*m == NULL)
        return leat_fail(err, LEAT_ENOTFOUND, "no module '%s' is launched", module);
    int at = plan_topology_find((*m)->plan, query);
    if (at < 0)
        return leat_fail(err, LEAT_ENOTFOUND, "module '%s' has no query '%s'", module, query);
    if ((*m)->plan->topology[at].kind != LEAT_QUERY)
        return leat_fail(err, LEAT_EINVAL, "'%s' of module '%s' is a stream, not a query", query, module);
    *topology = (uint32_t)at;
    return 0;
}

int leat_query(struct leat *l, const char *module, const char *query, struct leat_row request,
               const struct leat_query *how, struct leat_result **out, struct leat_error *err)
{
    static const struct leat_query no_wishes = {0};
    static _Thread_local uint8_t small[16384];
    struct module *m;
    uint32_t topology = 0;
    int rv = find_query(l, module, query, &m, &topology, err);

    if (rv != 0)
        return rv;
    /* Most requests fit here; what does not goes to the heap. */
    struct buffer bytes = {.base = small, .capacity = sizeof(small), .limit = sizeof(small)};
    rv = row_encode(&m->plan->topology[topology].takes, request, &bytes, NULL);
    bool large = rv == LEAT_ELIMIT;
    if (large)
        buffer_init(&bytes, LIMIT_ROW + 4096);
    if (rv != 0)
        rv = row_encode(&m->plan->topology[topology].takes, request, &bytes, err);
    if (rv == 0)
        rv = run(m, topology, buffer_bytes(&bytes), how != NULL ? how : &no_wishes, now_ns(), out, err);
    else
        base_wrap(err, rv, "the request of query '%s.%s'", module, query);
    if (large)
        buffer_fini(&bytes);
    return base_result(err, rv);
}

const struct leat_batch *leat_result_rows(const struct leat_result *result)
{
    return &result->rows;
}

void leat_result_free(struct leat_result *result)
{
    if (result != NULL)
        arena_close(result->arena);
}

/* ---- The pool ---- */

struct job {
    struct job *next;
    struct module *module;
    uint32_t topology;
    struct buffer request;
    struct leat_query how;
    int64_t asked_ns;
    leat_query_done *done;
    void *context;
};

struct query_pool {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    struct job *first, *last;
    uint32_t waiting, threads;
    bool closed;
    pthread_t *thread;
};

enum { WAITING_MOST = 4096 };

static void run_job(struct job *j)
{
    struct leat_result *result = NULL;
    struct leat_error err = {0};
    int rv = run(j->module, j->topology, buffer_bytes(&j->request), &j->how, j->asked_ns, &result, &err);

    j->done(j->context, rv, &err, result);
    buffer_fini(&j->request);
    free(j);
}

static void *pool_main(void *context)
{
    struct query_pool *p = context;

    pthread_mutex_lock(&p->lock);
    for (;;) {
        struct job *j = p->first;

        if (j == NULL && p->closed)
            break;
        if (j == NULL) {
            pthread_cond_wait(&p->cond, &p->lock);
            continue;
        }
        p->first = j->next;
        if (p->first == NULL)
            p->last = NULL;
        p->waiting--;
        pthread_mutex_unlock(&p->lock);
        run_job(j);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

struct query_pool *query_pool_open(uint32_t threads)
{
    struct query_pool *p = base_alloc(sizeof(*p));

    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->cond, NULL);
    p->thread = base_alloc(threads * sizeof(*p->thread));
    while (p->threads < threads && pthread_create(&p->thread[p->threads], NULL, pool_main, p) == 0)
        p->threads++;
    return p;
}

/* Requests that wait are still answered. */
void query_pool_close(struct query_pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->closed = true;
    pthread_cond_broadcast(&p->cond);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->threads; i++)
        pthread_join(p->thread[i], NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->cond);
    free(p->thread);
    free(p);
}

static int enqueue(struct query_pool *p, struct job *j, struct leat_error *err)
{
    int rv = 0;

    pthread_mutex_lock(&p->lock);
    if (p->closed)
        rv = leat_fail(err, LEAT_ECLOSED, "no query can begin: the directory is closing");
    else if (p->threads == 0)
        rv = leat_fail(err, LEAT_ENOMEM,
                       "no query can begin: there was no thread to be had when the directory was opened");
    else if (p->waiting >= WAITING_MOST)
        rv = leat_fail(err, LEAT_EFULL, "%d queries wait already; ask again later", WAITING_MOST);
    if (rv == 0) {
        if (p->last != NULL)
            p->last->next = j;
        else
            p->first = j;
        p->last = j;
        p->waiting++;
        pthread_cond_signal(&p->cond);
    }
    pthread_mutex_unlock(&p->lock);
    return rv;
}

int leat_query_start(struct leat *l, const char *module, const char *query, struct leat_row request,
                     const struct leat_query *how, leat_query_done *done, void *context, struct leat_error *err)
{
    struct module *m;
    uint32_t topology = 0;
    int rv = find_query(l, module, query, &m, &topology, err);

    leat_assert(done != NULL);
    if (rv != 0)
        return rv;
    struct job *j = base_alloc(sizeof(*j));
    *j = (struct job){.module = m, .topology = topology, .asked_ns = now_ns(), .done = done, .context = context};
    if (how != NULL)
        j->how = *how;
    buffer_init(&j->request, LIMIT_ROW + 4096);
    rv = row_encode(&m->plan->topology[topology].takes, request, &j->request, err);
    if (rv != 0)
        base_wrap(err, rv, "the request of query '%s.%s'", module, query);
    else
        rv = enqueue(l->pool, j, err);
    if (rv != 0) {
        buffer_fini(&j->request);
        free(j);
    }
    return base_result(err, rv);
}
