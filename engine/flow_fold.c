/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/flow.h"

/* Folds. States live in a table by key for the length of a turn or request. A fold that can merge steps where its
 * rows arise, and only states travel: the combining before the hop. At the end each state is merged into the PState
 * of the task that owns its key, sent there, or emitted. */

/* ---- The table ---- */

static void table_index(struct fold_table *t, uint32_t at)
{
    uint32_t slot = (uint32_t)t->entry[at].hash & (t->slots - 1);

    while (t->slot[slot] != 0)
        slot = (slot + 1) & (t->slots - 1);
    t->slot[slot] = at + 1;
}

static void table_grow(struct flow *f, struct fold_table *t)
{
    uint32_t capacity = t->capacity == 0 ? 16 : t->capacity * 4;
    struct fold_entry *entry = arena_alloc(f->arena, capacity * sizeof(*entry), 16);

    if (t->count > 0)
        memcpy(entry, t->entry, t->count * sizeof(*entry));
    t->entry = entry;
    t->capacity = capacity;
    t->slots = capacity * 2;
    t->slot = arena_zeroed(f->arena, t->slots * sizeof(*t->slot), 16);
    for (uint32_t i = 0; i < t->count; i++)
        table_index(t, i);
}

static bool same_key(const struct leat_value *a, const struct leat_value *b)
{
    if (a->type == LEAT_STR || a->type == LEAT_BYTES)
        return span_equal(a->as.bytes, b->as.bytes);
    return a->as.u == b->as.u;
}

static int entry_load(struct flow *f, struct flow_node *n, struct fold_entry *e, void *state, bool *found);

/* The state of a key; a new one is fresh, or what the PState holds when the fold cannot merge later. */
static struct fold_entry *table_find(struct flow *f, struct flow_node *n, uint64_t hash, const struct leat_value *key)
{
    struct fold_table *t = &n->table;
    bool found;

    if (t->count * 2 >= t->slots)
        table_grow(f, t);
    uint32_t slot = (uint32_t)hash & (t->slots - 1);
    for (; t->slot[slot] != 0; slot = (slot + 1) & (t->slots - 1)) {
        struct fold_entry *e = &t->entry[t->slot[slot] - 1];

        if (e->hash == hash && same_key(&e->key, key))
            return e;
    }
    leat_assert(t->count < t->capacity);
    struct fold_entry *e = &t->entry[t->count];
    *e = (struct fold_entry){.hash = hash, .key = *key};
    e->task = n->plan->keyed ? (uint32_t)hash & (f->plan->tasks - 1) : (uint32_t)key->as.u;
    e->state = arena_zeroed(f->arena, n->plan->state_size + 1, 16);
    n->plan->fold->init(&n->use, e->state);
    t->slot[slot] = ++t->count;
    if (n->plan->pstate != UINT32_MAX && n->plan->fold->merge == NULL)
        entry_load(f, n, e, e->state, &found);
    return e;
}

/* ---- Stepping ---- */

static int step_failed(struct flow *f, const struct flow_node *n, int rv)
{
    if (f->err.code == 0)
        f->node_failed = true;
    return flow_fail(f, rv < 0 ? rv : LEAT_EINTERNAL, "fold %s: %s", n->plan->fold->name, leat_code_text(rv));
}

int flow_fold_step(struct flow *f, struct flow_node *n, uint32_t task, const struct leat_batch *in,
                   const struct flow_tag *tag)
{
    const struct leat_fold *fold = n->plan->fold;
    int rv = 0;

    if (!n->plan->keyed) {
        struct leat_value number = leat_u32(task);
        struct fold_entry *e = table_find(f, n, leat_hash(&number), &number);

        rv = fold->step(&n->use, e->state, in, 0, in->rows);
        return rv == 0 ? f->err.code : step_failed(f, n, rv);
    }
    struct leat_batch values = {in->rows, in->columns - 1, in->column + 1};
    for (uint32_t i = 0; i < in->rows && rv == 0; i++) {
        struct leat_value key = leat_at(in, i, 0);
        struct fold_entry *e = table_find(f, n, leat_hash(&key), &key);

        e->sources |= UINT64_C(1) << tag[i].source;
        rv = fold->step(&n->use, e->state, &values, i, i + 1);
    }
    return rv == 0 ? f->err.code : step_failed(f, n, rv);
}

void flow_deliver_state(struct flow *f, struct plan_edge to, struct leat_span key, struct leat_span state,
                        uint64_t sources)
{
    struct flow_node *n = &f->node[flow_number(f, to)];
    struct leat_value value;

    leat_assert(n->combines && n->plan->fold->merge != NULL);
    if (row_decode(&n->key, key, &value) != 0) {
        flow_fail(f, LEAT_ECORRUPT, "node '%s': a fold's key does not fit its schema", n->plan->name);
        return;
    }
    struct fold_entry *e = table_find(f, n, leat_hash(&value), &value);
    void *other = arena_zeroed(f->arena, n->plan->state_size + 1, 16);
    n->plan->fold->init(&n->use, other);
    int rv = n->plan->fold->load(&n->use, other, state);
    if (rv == 0)
        rv = n->plan->fold->merge(&n->use, e->state, other);
    if (rv != 0) {
        step_failed(f, n, rv);
        f->failed_node = n->plan;
    }
    e->sources |= sources;
    e->arrived = true;
}

/* ---- Into a PState ---- */

static const struct pstate_level *element_level(const struct flow *f, const struct flow_node *n)
{
    return f->plan->pstate[n->plan->pstate].top->below;
}

static struct pstate_reader *reader_of_task(struct flow *f, uint32_t task)
{
    return f->hooks->reader(f, task, &f->err);
}

static int load_value(struct flow *f, struct flow_node *n, struct fold_entry *e, void *state, bool *found)
{
    const struct row_schema *fields = &element_level(f, n)->fields;
    struct leat_value value[LIMIT_COLUMNS];
    struct pstate_reader *r = reader_of_task(f, e->task);

    if (r == NULL)
        return f->err.code;
    int rv = pstate_get(r, e->task, n->plan->pstate, (struct leat_row){&e->key, 1}, value, LIMIT_COLUMNS, &f->err);
    *found = rv == 0;
    if (rv == LEAT_ENOTFOUND) {
        f->err.code = 0;
        f->err.text[0] = '\0';
        return 0;
    }
    if (rv != 0)
        return f->err.code = rv;
    buffer_clear(&f->scratch);
    rv = row_encode_fast(fields, (struct leat_row){value, fields->columns}, &f->scratch);
    leat_assert(rv == 0);
    rv = n->plan->fold->load(&n->use, state, buffer_bytes(&f->scratch));
    return rv == 0 ? 0 : step_failed(f, n, rv);
}

/* A kept list is stepped through again: its rows are what the fold once finished with. */
static int load_rows(struct flow *f, struct flow_node *n, struct fold_entry *e, void *state, bool *found)
{
    const struct row_schema *fields = &element_level(f, n)->below->fields;
    struct pstate_reader *r = reader_of_task(f, e->task);
    struct leat_value index, value[LIMIT_COLUMNS];
    struct pstate_scan *scan;
    int rv;

    *found = false;
    if (r == NULL)
        return f->err.code;
    rv = pstate_scan_open(r, e->task, n->plan->pstate, (struct leat_row){&e->key, 1}, NULL, &scan, &f->err);
    if (rv != 0)
        return f->err.code = rv;
    while ((rv = pstate_scan_next(scan, &index, value, LIMIT_COLUMNS, &f->err)) == 0) {
        struct leat_batch in;

        buffer_clear(&f->scratch);
        row_encode_fast(fields, (struct leat_row){value, fields->columns}, &f->scratch);
        uint8_t *copy = arena_alloc(f->arena, f->scratch.size, 1);
        memcpy(copy, f->scratch.base, f->scratch.size);
        struct leat_span row = span_of(copy, f->scratch.size);
        if ((rv = row_batch(f->arena, fields, &row, 1, &in)) != 0 ||
            (rv = n->plan->fold->step(&n->use, state, &in, 0, 1)) != 0)
            break;
        *found = true;
    }
    pstate_scan_close(scan);
    return rv == LEAT_END ? 0 : step_failed(f, n, rv);
}

static int entry_load(struct flow *f, struct flow_node *n, struct fold_entry *e, void *state, bool *found)
{
    *found = false;
    if (n->plan->fold->keep == LEAT_KEEP_VALUE)
        return load_value(f, n, e, state, found);
    if (n->plan->fold->keep == LEAT_KEEP_ROWS)
        return load_rows(f, n, e, state, found);
    return 0;
}

static int keep_value(struct flow *f, struct flow_node *n, struct fold_entry *e)
{
    const struct row_schema *fields = &element_level(f, n)->fields;
    struct leat_value value[LIMIT_COLUMNS];

    buffer_clear(&f->scratch);
    n->plan->fold->save(&n->use, e->state, &(struct leat_sink){&f->scratch});
    if (f->scratch.size == 0)
        return 0; /* the least of nothing but nulls */
    int rv = row_decode(fields, buffer_bytes(&f->scratch), value);
    leat_assert(rv == 0);
    rv = pstate_put(f->view, e->task, n->plan->pstate, (struct leat_row){&e->key, 1},
                    (struct leat_row){value, fields->columns}, &f->err);
    return rv;
}

struct keep_context {
    struct flow_node *node;
    struct fold_entry *entry;
};

/* One row of finish() into the collection under the key. */
static void keep_element(struct leat_task *t, struct leat_row row)
{
    struct keep_context *k = t->fold_context;
    const struct pstate_level *level = element_level(t->flow, k->node);
    struct leat_value path[2] = {k->entry->key, row.value[0]};
    uint32_t pstate = k->node->plan->pstate;

    if (level->shape == PSTATE_LIST)
        leat_push(t, pstate, (struct leat_row){path, 1}, row, NULL);
    else if (level->shape == PSTATE_SET)
        leat_put(t, pstate, (struct leat_row){path, 2}, LEAT_ROW());
    else
        leat_put(t, pstate, (struct leat_row){path, 2}, (struct leat_row){row.value + 1, row.count - 1});
}

static int keep_elements(struct flow *f, struct flow_node *n, struct fold_entry *e)
{
    struct keep_context context = {n, e};
    struct leat_task t;

    flow_task_init(f, &t, n, e->task);
    t.fold_emit = keep_element;
    t.fold_context = &context;
    if (n->plan->fold->keep == LEAT_KEEP_ROWS)
        leat_delete(&t, n->plan->pstate, (struct leat_row){&e->key, 1});
    int rv = n->plan->fold->finish(&n->use, e->state, &t);
    return rv == 0 ? f->err.code : step_failed(f, n, rv);
}

static int entry_keep(struct flow *f, struct flow_node *n, struct fold_entry *e)
{
    int rv = 0;
    bool found;

    if (n->plan->fold->merge != NULL && n->plan->fold->keep != LEAT_KEEP_ELEMENTS) {
        void *kept = arena_zeroed(f->arena, n->plan->state_size + 1, 16);

        n->plan->fold->init(&n->use, kept);
        rv = entry_load(f, n, e, kept, &found);
        if (rv == 0 && found) {
            if ((rv = n->plan->fold->merge(&n->use, kept, e->state)) != 0)
                return step_failed(f, n, rv);
            e->state = kept;
        }
    }
    if (rv != 0)
        return rv;
    rv = n->plan->fold->keep == LEAT_KEEP_VALUE ? keep_value(f, n, e) : keep_elements(f, n, e);
    if (rv != 0 && f->err.code == 0)
        step_failed(f, n, rv);
    return rv;
}

/* ---- Away, or on ---- */

static void entry_send(struct flow *f, struct flow_node *n, const struct fold_entry *e)
{
    buffer_clear(&f->scratch);
    row_encode_fast(&n->key, (struct leat_row){&e->key, 1}, &f->scratch);
    size_t key = f->scratch.size;
    n->plan->fold->save(&n->use, e->state, &(struct leat_sink){&f->scratch});
    if (f->scratch.error != 0) {
        flow_fail(f, LEAT_ELIMIT, "the state of a fold is larger than a row may be");
        return;
    }
    f->hooks->remote_state(f, n->at, e->task, span_of(f->scratch.base, key),
                           span_of(f->scratch.base + key, f->scratch.size - key), e->sources);
}

/* A row of finish() to the readers of the node, with the key in front. */
static void emit_finished(struct leat_task *t, struct leat_row row)
{
    struct keep_context *k = t->fold_context;
    struct leat_value value[LIMIT_COLUMNS + 1];
    uint32_t keys = k->node->plan->keyed ? 1 : 0;

    leat_assert(row.count <= LIMIT_COLUMNS);
    value[0] = k->entry->key;
    memcpy(value + keys, row.value, row.count * sizeof(*value));
    flow_emit(t->flow, k->node, t->number, (struct leat_row){value, row.count + keys}, (struct flow_tag){0});
}

static int entry_emit(struct flow *f, struct flow_node *n, struct fold_entry *e)
{
    struct keep_context context = {n, e};
    struct leat_task t;

    flow_task_init(f, &t, n, e->task);
    t.fold_emit = emit_finished;
    t.fold_context = &context;
    int rv = n->plan->fold->finish(&n->use, e->state, &t);
    return rv == 0 ? f->err.code : step_failed(f, n, rv);
}

void leat_fold_emit(struct leat_task *t, struct leat_row row)
{
    leat_assert(t->fold_emit != NULL);
    t->fold_emit(t, row);
}

static bool is_local(struct flow *f, uint32_t task)
{
    return f->hooks->local == NULL || f->hooks->local(f, task);
}

/* By task and key: the order of the view's keys, so that its pages are walked, not jumped over. */
static int compare_entries(const void *a, const void *b)
{
    const struct fold_entry *x = a, *y = b;

    if (x->task != y->task)
        return x->task < y->task ? -1 : 1;
    if (x->key.type != LEAT_STR && x->key.type != LEAT_BYTES)
        return x->key.as.u < y->key.as.u ? -1 : x->key.as.u > y->key.as.u;
    size_t least = x->key.as.bytes.size < y->key.as.bytes.size ? x->key.as.bytes.size : y->key.as.bytes.size;
    int order = memcmp(x->key.as.bytes.base, y->key.as.bytes.base, least);
    if (order != 0)
        return order;
    return x->key.as.bytes.size < y->key.as.bytes.size ? -1 : x->key.as.bytes.size > y->key.as.bytes.size;
}

/* A fold that stands alone at its task answers also when it got no rows. */
static void ensure_entry(struct flow *f, struct flow_node *n)
{
    struct leat_value number = leat_u32(n->plan->route == LEAT_TO_ORIGIN ? f->origin : 0);

    if (n->table.count == 0 && !n->plan->keyed &&
        (n->plan->route == LEAT_TO_ORIGIN || n->plan->route == LEAT_GLOBAL))
        table_find(f, n, leat_hash(&number), &number);
}

int flow_fold_finish(struct flow *f, struct flow_node *n)
{
    struct fold_table *t = &n->table;
    int rv = 0;

    ensure_entry(f, n);
    t->finished = true;
    if (n->plan->pstate != UINT32_MAX && t->count > 1)
        qsort(t->entry, t->count, sizeof(*t->entry), compare_entries);
    for (uint32_t i = 0; i < t->count && rv == 0; i++) {
        struct fold_entry *e = &t->entry[i];

        if (n->plan->pstate == UINT32_MAX)
            rv = entry_emit(f, n, e);
        else if (!n->combines || e->arrived || is_local(f, e->task))
            rv = entry_keep(f, n, e);
        else
            entry_send(f, n, e);
        if (rv == 0)
            rv = f->err.code;
        if (rv == 0)
            rv = flow_check(f);
    }
    if (rv != 0)
        f->failed_node = n->plan;
    return rv;
}
