/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/flow.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>

/* Rows a run gets at once: enough to make vector work blocked, few enough to stay in cache. */
enum { RUN_ROWS = 4096 };

uint32_t flow_number(const struct flow *f, struct plan_edge node)
{
    leat_assert(node.topology < f->plan->topologies);
    return f->first_node[node.topology] + node.node;
}

static void node_open(struct flow *f, struct plan_edge at)
{
    struct flow_node *n = &f->node[flow_number(f, at)];

    n->plan = plan_node_at(f->plan, at);
    n->at = at;
    n->rows = base_alloc((f->plan->tasks + 1) * sizeof(*n->rows));
    n->touched = base_alloc((f->plan->tasks + 1) * sizeof(*n->touched));
    for (uint32_t i = 0; i <= f->plan->tasks; i++)
        n->rows[i].task = i;
    if (n->plan->work != PLAN_FOLD)
        return;
    bool query = f->plan->topology[at.topology].kind == LEAT_QUERY;
    n->use = *n->plan->use;
    n->combines = n->plan->keyed && (query || n->plan->fold->merge != NULL);
    n->values = n->plan->in;
    if (n->plan->keyed) {
        n->key = (struct row_schema){1, n->plan->in.column};
        n->values = (struct row_schema){n->plan->in.columns - 1, n->plan->in.column + 1};
    }
}

/* Places: nodes of lower rank first, so that a node runs when all that feed it have run. */
static void order_nodes(struct flow *f)
{
    for (uint32_t i = 0; i < f->nodes; i++) {
        uint32_t at = i;

        while (at > 0 && f->node[f->by_rank[at - 1]].plan->rank > f->node[i].plan->rank) {
            f->by_rank[at] = f->by_rank[at - 1];
            at--;
        }
        f->by_rank[at] = i;
    }
    for (uint32_t place = 0; place < f->nodes; place++)
        f->node[f->by_rank[place]].place = place;
}

struct flow *flow_open(const struct plan *plan, uint32_t groups, const struct flow_hooks *hooks, void *owner)
{
    struct flow *f = base_alloc(sizeof(*f));

    f->plan = plan;
    f->groups = groups;
    f->hooks = hooks;
    f->owner = owner;
    f->topology = UINT32_MAX;
    f->first_node = base_alloc((plan->topologies + 1) * sizeof(*f->first_node));
    for (uint32_t i = 0; i < plan->topologies; i++) {
        f->first_node[i] = f->nodes;
        f->nodes += plan->topology[i].nodes;
    }
    f->node = base_alloc((f->nodes + 1) * sizeof(*f->node));
    f->by_rank = base_alloc((f->nodes + 1) * sizeof(*f->by_rank));
    f->pending = base_alloc((f->nodes / 64 + 1) * sizeof(*f->pending));
    buffer_init(&f->scratch, LIMIT_ROW + 4096);
    for (uint32_t i = 0; i < plan->topologies; i++)
        for (uint32_t j = 0; j < plan->topology[i].nodes; j++)
            node_open(f, (struct plan_edge){i, j});
    order_nodes(f);
    return f;
}

void flow_close(struct flow *f)
{
    if (f == NULL)
        return;
    for (uint32_t i = 0; i < f->nodes; i++) {
        free(f->node[i].rows);
        free(f->node[i].touched);
        free(f->node[i].scratch);
    }
    buffer_fini(&f->scratch);
    free(f->pending);
    free(f->by_rank);
    free(f->first_node);
    free(f->node);
    free(f);
}

/* Forget rows that an aborted turn left, and what pointed into its arena. */
static void node_begin(struct flow *f, struct flow_node *n)
{
    for (uint32_t i = 0; i < n->touched_count; i++) {
        struct flow_rows *rows = &n->rows[n->touched[i]];

        rows->count = rows->capacity = 0;
        rows->row = NULL;
        rows->tag = NULL;
    }
    n->touched_count = 0;
    if (n->scratched && n->scratch != NULL)
        memset(n->scratch, 0, f->plan->tasks * sizeof(*n->scratch));
    n->shared = NULL;
    n->scratched = false;
    memset(&n->table, 0, sizeof(n->table));
    n->use.arena = f->arena;
    n->use.plan = f->plan;
}

void flow_begin(struct flow *f, struct arena *arena, int64_t now_us, uint64_t seed)
{
    uint32_t first = f->topology == UINT32_MAX ? 0 : f->first_node[f->topology];
    uint32_t end = f->topology == UINT32_MAX ? f->nodes : first + f->plan->topology[f->topology].nodes;

    f->arena = arena;
    f->now_us = now_us;
    f->err.code = 0;
    f->err.text[0] = '\0';
    f->failed_node = NULL;
    f->node_failed = false;
    f->rows = 0;
    random_seed(&f->random, seed);
    memset(f->pending, 0, (f->nodes / 64 + 1) * sizeof(*f->pending));
    for (uint32_t i = first; i < end; i++)
        node_begin(f, &f->node[i]);
}

int flow_fail(struct flow *f, int code, const char *format, ...)
{
    va_list args;

    leat_assert(code < 0);
    if (f->err.code != 0)
        return f->err.code;
    f->err.code = code;
    va_start(args, format);
    vsnprintf(f->err.text, sizeof(f->err.text), format, args);
    va_end(args);
    return code;
}

/* ---- Rows in ---- */

static void rows_push(struct flow *f, struct flow_node *n, uint32_t at, struct leat_span row, struct flow_tag tag)
{
    struct flow_rows *rows = &n->rows[at];

    if (rows->count == rows->capacity) {
        uint32_t capacity = rows->capacity == 0 ? 4 : rows->capacity * 2;
        struct leat_span *row_new = arena_alloc(f->arena, capacity * sizeof(*row_new), 8);
        struct flow_tag *tag_new = arena_alloc(f->arena, capacity * sizeof(*tag_new), 8);

        if (rows->count > 0) {
            memcpy(row_new, rows->row, rows->count * sizeof(*row_new));
            memcpy(tag_new, rows->tag, rows->count * sizeof(*tag_new));
        } else {
            n->touched[n->touched_count++] = at;
            f->pending[n->place / 64] |= UINT64_C(1) << n->place % 64;
        }
        rows->row = row_new;
        rows->tag = tag_new;
        rows->capacity = capacity;
    }
    rows->row[rows->count] = row;
    rows->tag[rows->count] = tag;
    rows->count++;
}

void flow_deliver_to(struct flow *f, struct plan_edge to, uint32_t task, struct leat_span row, struct flow_tag tag)
{
    struct flow_node *n = &f->node[flow_number(f, to)];

    leat_assert(task < f->plan->tasks);
    rows_push(f, n, n->combines ? f->plan->tasks : task, row, tag);
}

/* The bytes that are hashed of a row's first column, which is a scalar and never null. */
static struct leat_span first_column(const struct row_schema *schema, struct leat_span row)
{
    uint32_t size = schema_fixed_size(&schema->column[0]);

    if (size > 0)
        return span_of(row.base, size);
    struct reader r = reader_of(row);
    return reader_span(&r);
}

static uint32_t key_task(const struct flow *f, const struct flow_node *n, struct leat_span row)
{
    struct leat_span key = first_column(&n->plan->in, row);
    struct leat_value value = leat_bytes(key.base, key.size);

    return leat_task_of(f->plan->tasks, &value);
}

static void deliver_one(struct flow *f, struct flow_node *n, uint32_t task, struct leat_span row, struct flow_tag tag)
{
    if (f->hooks->local == NULL || f->hooks->local(f, task))
        rows_push(f, n, task, row, tag);
    else
        f->hooks->remote(f, n->at, task, row, tag);
}

static void deliver_direct(struct flow *f, struct flow_node *n, struct leat_span row, struct flow_tag tag)
{
    uint32_t task = load_u32(row.base);

    if (task < f->plan->tasks)
        deliver_one(f, n, task, row, tag);
    else
        flow_fail(f, LEAT_EINVAL, "a row for node '%s' names task %u, but the module has %u tasks", n->plan->name, task,
                  f->plan->tasks);
}

void flow_deliver(struct flow *f, struct plan_edge to, uint32_t at, struct leat_span row, struct flow_tag tag)
{
    struct flow_node *n = &f->node[flow_number(f, to)];

    if (n->combines) {
        rows_push(f, n, f->plan->tasks, row, tag);
        return;
    }
    switch (n->plan->route) {
    case LEAT_LOCAL:
        deliver_one(f, n, at, row, tag);
        return;
    case LEAT_BY_KEY:
        deliver_one(f, n, key_task(f, n, row), row, tag);
        return;
    case LEAT_ALL:
        for (uint32_t task = 0; task < f->plan->tasks; task++)
            deliver_one(f, n, task, row, tag);
        return;
    case LEAT_GLOBAL:
        deliver_one(f, n, 0, row, tag);
        return;
    case LEAT_TO_ORIGIN:
        deliver_one(f, n, f->origin, row, tag);
        return;
    case LEAT_TO_RANDOM:
        deliver_one(f, n, (uint32_t)random_below(&f->random, f->plan->tasks), row, tag);
        return;
    case LEAT_DIRECT:
        deliver_direct(f, n, row, tag);
        return;
    }
}

/* ---- Rows out of nodes ---- */

static bool too_many_hops(struct flow *f, const struct flow_node *from, const struct plan_node *to,
                          struct flow_tag *tag)
{
    if (to->rank > from->plan->rank)
        return false;
    tag->hops++;
    if (tag->hops < LIMIT_HOPS)
        return false;
    flow_fail(f, LEAT_ELIMIT, "a row went round its loop %d times", LIMIT_HOPS);
    return true;
}

static bool memory_passed(struct flow *f)
{
    if (!arena_full(f->arena))
        return false;
    flow_fail(f, LEAT_ELIMIT, "the memory limit was passed: %zu bytes used, %zu are the most", arena_used(f->arena),
              arena_most(f->arena));
    return true;
}

/* Memory, and what the owner looks at: deadlines. */
int flow_check(struct flow *f)
{
    if (memory_passed(f))
        return f->err.code;
    return f->hooks->check != NULL ? f->hooks->check(f, &f->err) : 0;
}

/* The row that stands in scratch, as long as the arena lives. */
static struct leat_span scratch_row(struct flow *f)
{
    uint8_t *copy = arena_alloc(f->arena, f->scratch.size, 1);

    memcpy(copy, f->scratch.base, f->scratch.size);
    return span_of(copy, f->scratch.size);
}

/* Of a row whose values fit. */
static size_t row_size(const struct row_schema *schema, struct leat_row row)
{
    size_t size = 0;

    for (uint32_t i = 0; i < schema->columns; i++) {
        uint32_t fixed = schema_fixed_size(&schema->column[i]);

        size += schema->column[i].nullable;
        if (row.value[i].type != LEAT_NULL)
            size += fixed > 0 ? fixed : sizeof(uint32_t) + row.value[i].as.bytes.size;
    }
    return size;
}

static void refuse_row(struct flow *f, const struct flow_node *n, struct leat_row row)
{
    struct leat_error why = {0};
    int rv = row_encode(&n->plan->emits, row, &f->scratch, &why);

    if (rv == LEAT_ELIMIT)
        flow_fail(f, rv, "it emits a row of %zu bytes: a row has at most %d MiB", row_size(&n->plan->emits, row),
                  LIMIT_ROW >> 20);
    else
        flow_fail(f, rv, "it emits a row of another form: %s", why.text);
}

void flow_emit(struct flow *f, const struct flow_node *n, uint32_t task, struct leat_row row, struct flow_tag tag)
{
    if (f->err.code != 0)
        return;
    buffer_clear(&f->scratch);
    if (row.count != n->plan->emits.columns ||
        row_encode_fast(&n->plan->emits, row, &f->scratch) != 0) {
        refuse_row(f, n, row);
        return;
    }
    if (memory_passed(f))
        return;
    struct leat_span bytes = scratch_row(f);

    if (n->plan->reply || n->plan->background)
        f->hooks->reply(f, bytes);
    for (uint32_t i = 0; i < n->plan->edges && !n->plan->background; i++) {
        struct flow_tag with = tag;

        if (!too_many_hops(f, n, plan_node_at(f->plan, n->plan->edge[i]), &with))
            flow_deliver(f, n->plan->edge[i], task, bytes, with);
    }
}

void leat_emit(struct leat_task *t, uint32_t from, struct leat_row row)
{
    struct flow *f = t->flow;

    leat_assert(f != NULL && t->in != NULL);
    leat_assert(from < t->in->rows);
    if (t->use[from] == ROW_REJECTED) {
        leat_task_fail(t, LEAT_EINVAL, "it emits from a row that it rejected");
        return;
    }
    t->use[from] = ROW_EMITTED;
    flow_emit(f, &f->node[flow_number(f, t->at)], t->number, row, t->tag[from]);
}

/* ---- Running ---- */

void flow_task_init(struct flow *f, struct leat_task *t, const struct flow_node *n, uint32_t task)
{
    memset(t, 0, sizeof(*t));
    t->flow = f;
    t->number = task;
    t->groups = f->groups;
    t->at = n->at;
    t->node = n->plan;
    t->err = &f->err;
    t->plan = f->plan;
    t->arena = f->arena;
}

static void run_append(struct flow *f, struct flow_node *n, const struct flow_rows *rows)
{
    for (uint32_t i = 0; i < rows->count; i++)
        f->hooks->append(f, n->plan->depot, rows->row[i], rows->tag[i]);
}

static int run_background(struct flow *f, struct flow_node *n, const struct flow_rows *rows)
{
    for (uint32_t i = 0; i < rows->count && f->err.code == 0; i++)
        f->hooks->background(f, n->at, rows->task, rows->row[i]);
    if (f->err.code != 0)
        f->failed_node = n->plan;
    return f->err.code;
}

static int run_batch(struct flow *f, struct flow_node *n, uint32_t task, const struct leat_batch *in,
                     const struct flow_tag *tag)
{
    struct leat_task t;

    if (n->plan->work == PLAN_FOLD)
        return flow_fold_step(f, n, task, in, tag);
    flow_task_init(f, &t, n, task);
    t.in = in;
    t.tag = tag;
    t.use = arena_alloc(f->arena, in->rows, 1);
    memset(t.use, ROW_UNUSED, in->rows);
    int rv = n->plan->run(&t, in);
    if (rv != 0 && f->err.code == 0) {
        f->node_failed = true;
        flow_fail(f, rv < 0 ? rv : LEAT_EINTERNAL, "its run returned %s (%d)", leat_code_name(rv), rv);
    }
    return f->err.code;
}

static int run_rows(struct flow *f, struct flow_node *n, const struct flow_rows *rows)
{
    for (uint32_t first = 0; first < rows->count; first += RUN_ROWS) {
        uint32_t count = rows->count - first < RUN_ROWS ? rows->count - first : RUN_ROWS;
        struct leat_batch in;
        int rv = row_batch(f->arena, &n->plan->in, rows->row + first, count, &in);

        if (rv != 0)
            rv = flow_fail(f, rv, "a row does not fit its schema");
        else
            rv = run_batch(f, n, rows->task, &in, rows->tag + first);
        if (rv == 0)
            rv = flow_check(f);
        if (rv != 0) {
            f->failed_node = n->plan;
            return rv;
        }
    }
    return 0;
}

static uint64_t clock_ns(void)
{
    return (uint64_t)clock_real()->monotonic_ns(clock_real());
}

/* All rows that wait for a node now. What it emits to itself waits for the next time. */
static int run_node(struct flow *f, struct flow_node *n)
{
    uint64_t start = f->hooks->ran != NULL ? clock_ns() : 0;
    uint32_t count = n->touched_count, done = 0;
    struct flow_rows *rows = arena_alloc(f->arena, count * sizeof(*rows), 8);
    bool waits = n->plan->background && f->hooks->background != NULL;
    int rv = 0;

    for (uint32_t i = 0; i < count; i++) {
        struct flow_rows *waiting = &n->rows[n->touched[i]];

        rows[i] = *waiting;
        *waiting = (struct flow_rows){.task = rows[i].task};
    }
    n->touched_count = 0;
    f->pending[n->place / 64] &= ~(UINT64_C(1) << n->place % 64);
    for (uint32_t i = 0; i < count && rv == 0; i++) {
        done += rows[i].count;
        if (n->plan->work == PLAN_APPEND)
            run_append(f, n, &rows[i]);
        else if (waits)
            rv = run_background(f, n, &rows[i]);
        else
            rv = run_rows(f, n, &rows[i]);
    }
    f->rows += done;
    if (f->hooks->ran != NULL && !waits)
        f->hooks->ran(f, n->at, done, clock_ns() - start);
    return rv;
}

static struct flow_node *next_waiting(struct flow *f)
{
    for (uint32_t word = 0; word <= f->nodes / 64; word++)
        if (f->pending[word] != 0)
            return &f->node[f->by_rank[word * 64 + (uint32_t)__builtin_ctzll(f->pending[word])]];
    return NULL;
}

/* A fold that is not finished and that no such fold leads to; no row leads to it either, as nothing waits. */
static struct flow_node *next_unfinished(struct flow *f)
{
    struct flow_node *next = NULL;

    for (uint32_t place = 0; place < f->nodes; place++) {
        struct flow_node *n = &f->node[f->by_rank[place]];
        /* others may hold what a failed query left */
        bool ours = f->topology == UINT32_MAX || n->at.topology == f->topology;
        bool alone = n->plan->work == PLAN_FOLD && !n->plan->keyed && n->at.topology == f->topology;

        if (ours && !n->table.finished && (n->table.count > 0 || alone) &&
            (next == NULL || n->plan->folds_before < next->plan->folds_before))
            next = n;
    }
    return next;
}

int flow_run(struct flow *f)
{
    struct flow_node *n;
    int rv = f->err.code;

    if (rv == 0 && f->hooks->check != NULL)
        rv = f->hooks->check(f, &f->err);
    while (rv == 0) {
        if ((n = next_waiting(f)) != NULL)
            rv = run_node(f, n);
        else if ((n = next_unfinished(f)) != NULL)
            rv = flow_fold_finish(f, n);
        else
            break;
        if (rv == 0)
            rv = f->err.code;
    }
    return rv;
}
