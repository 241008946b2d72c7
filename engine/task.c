/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/flow.h"

#include <stdarg.h>
#include <stdio.h>

/* What a node may do. Everything here is a thin front over the view of the task's group; errors stick. */

struct leat_scan {
    struct pstate_scan *scan;
    struct leat_task *task;
};

int leat_task_fail(struct leat_task *t, int code, const char *format, ...)
{
    va_list args;

    if (t->err->code != 0)
        return t->err->code;
    t->err->code = code < 0 ? code : LEAT_EINTERNAL;
    if (t->flow != NULL)
        t->flow->node_failed = true;
    va_start(args, format);
    vsnprintf(t->err->text, sizeof(t->err->text), format, args);
    va_end(args);
    return t->err->code;
}

int leat_task_error(const struct leat_task *t)
{
    return t->err->code;
}

/* ---- The row in hand ---- */

void leat_reject(struct leat_task *t, uint32_t row, const char *format, ...)
{
    struct flow *f = t->flow;
    char reason[512];
    va_list args;

    leat_assert(f != NULL && t->in != NULL && row < t->in->rows);
    va_start(args, format);
    vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    if (t->use[row] != ROW_UNUSED) {
        leat_task_fail(t, LEAT_EINVAL, "it rejects a row that it has %s already: %s",
                       t->use[row] == ROW_EMITTED ? "emitted from" : "rejected", reason);
        return;
    }
    t->use[row] = ROW_REJECTED;
    if (f->hooks->reject == NULL)
        leat_task_fail(t, LEAT_EREJECTED, "%s", reason);
    else if (f->err.code == 0)
        f->hooks->reject(f, t, row, reason);
}

void leat_ack_return(struct leat_task *t, uint32_t row, struct leat_value value)
{
    struct flow *f = t->flow;
    struct row_schema schema;
    struct leat_column column = {.type = value.type, .count = value.count};

    leat_assert(f != NULL && t->in != NULL && row < t->in->rows);
    if (f->hooks->ack_return == NULL || f->err.code != 0 || value.type == LEAT_NULL)
        return;
    schema = (struct row_schema){1, &column};
    buffer_clear(&f->scratch);
    buffer_u8(&f->scratch, (uint8_t)value.type);
    buffer_varint(&f->scratch, value.count);
    if (row_encode(&schema, (struct leat_row){&value, 1}, &f->scratch, &f->err) == 0)
        f->hooks->ack_return(f, t->tag[row], buffer_bytes(&f->scratch));
}

/* ---- About the task ---- */

int64_t leat_now(const struct leat_task *t)
{
    leat_assert(t->flow != NULL);
    return t->flow->now_us;
}

uint64_t leat_random(struct leat_task *t)
{
    leat_assert(t->flow != NULL);
    return random_u64(&t->flow->random);
}

uint32_t leat_task_number(const struct leat_task *t)
{
    return t->number;
}

uint32_t leat_task_count(const struct leat_task *t)
{
    return t->plan->tasks;
}

uint32_t leat_group(const struct leat_task *t)
{
    return t->number & (t->groups - 1);
}

uint32_t leat_group_count(const struct leat_task *t)
{
    return t->groups;
}

const void *leat_derived(const struct leat_task *t)
{
    leat_assert(t->flow != NULL && t->plan->derived_from != 0);
    return t->flow->hooks->derived(t->flow, t->number, t->err);
}

void *leat_state(const struct leat_task *t)
{
    return t->plan->state;
}

const struct leat_options *leat_options(const struct leat_task *t)
{
    return &t->plan->values;
}

const struct leat_batch *leat_request(const struct leat_task *t)
{
    leat_assert(t->flow != NULL && t->flow->request.rows == 1);
    return &t->flow->request;
}

void *leat_alloc(struct leat_task *t, size_t size)
{
    void *memory = arena_alloc(t->arena, size, 64);

    if (arena_full(t->arena))
        leat_task_fail(t, LEAT_ELIMIT,
                       "the memory limit of the turn or request was passed: %zu bytes used, %zu are the most",
                       arena_used(t->arena), arena_most(t->arena));
    return memory;
}

static void *zeroed_once(struct leat_task *t, struct flow_node *n, size_t size, void **memory)
{
    if (*memory == NULL) {
        *memory = leat_alloc(t, size);
        memset(*memory, 0, size);
        n->scratched = true;
    }
    return *memory;
}

static struct flow_node *node_of(const struct leat_task *t)
{
    leat_assert(t->flow != NULL && t->node != NULL);
    return &t->flow->node[flow_number(t->flow, t->at)];
}

void *leat_scratch(struct leat_task *t, size_t size)
{
    struct flow_node *n = node_of(t);

    if (n->scratch == NULL)
        n->scratch = base_alloc(t->flow->plan->tasks * sizeof(*n->scratch));
    return zeroed_once(t, n, size, &n->scratch[t->number]);
}

void *leat_shared(struct leat_task *t, size_t size)
{
    struct flow_node *n = node_of(t);

    return zeroed_once(t, n, size, &n->shared);
}

/* ---- Writing ---- */

static bool may_write(struct leat_task *t)
{
    leat_assert(t->flow != NULL);
    if (t->node->background)
        leat_task_fail(t, LEAT_EINVAL, "it writes, but background nodes only read: emit to a node that writes");
    leat_assert(t->node->background || t->flow->view != NULL);
    return t->err->code == 0;
}

void leat_put(struct leat_task *t, uint32_t pstate, struct leat_row keys, struct leat_row row)
{
    if (may_write(t))
        pstate_put(t->flow->view, t->number, pstate, keys, row, t->err);
}

void leat_delete(struct leat_task *t, uint32_t pstate, struct leat_row keys)
{
    if (may_write(t))
        pstate_delete(t->flow->view, t->number, pstate, keys, t->err);
}

void leat_push(struct leat_task *t, uint32_t pstate, struct leat_row keys, struct leat_row row, uint64_t *index)
{
    if (may_write(t))
        pstate_push(t->flow->view, t->number, pstate, keys, row, index, t->err);
}

void leat_rows_append(struct leat_task *t, uint32_t pstate, struct leat_row keys, struct leat_row row, uint64_t *number)
{
    if (may_write(t))
        pstate_rows_append(t->flow->view, t->number, pstate, keys, row, number, t->err);
}

void leat_rows_replace(struct leat_task *t, uint32_t pstate, struct leat_row keys, uint64_t number, struct leat_row row)
{
    if (may_write(t))
        pstate_rows_replace(t->flow->view, t->number, pstate, keys, number, row, t->err);
}

void leat_rows_remove_last(struct leat_task *t, uint32_t pstate, struct leat_row keys)
{
    if (may_write(t))
        pstate_rows_remove_last(t->flow->view, t->number, pstate, keys, t->err);
}

/* ---- Reading ---- */

/* NULL: the error sticks to t. Else ended by read_end. */
static struct pstate_reader *read_begin(struct leat_task *t)
{
    if (t->in_view && !view_enter(t))
        return NULL;
    if (t->reader == NULL)
        t->reader = t->flow != NULL ? t->flow->hooks->reader(t->flow, t->number, t->err) : view_reader(t);
    if (t->reader == NULL && t->in_view)
        view_leave(t);
    return t->reader;
}

/* Keep an error; what is merely not there is none. */
static int read_end(struct leat_task *t, int rv, struct leat_error *why)
{
    if (rv < 0 && rv != LEAT_ENOTFOUND && t->err->code == 0) {
        *t->err = *why;
        t->err->code = rv;
    }
    if (t->in_view)
        view_leave(t);
    return rv;
}

int leat_get(struct leat_task *t, uint32_t pstate, struct leat_row keys, struct leat_value *out, uint32_t fields)
{
    struct pstate_reader *r = read_begin(t);
    struct leat_error why;

    why.text[0] = '\0';
    if (r == NULL)
        return t->err->code;
    return read_end(t, pstate_get(r, t->number, pstate, keys, out, fields, &why), &why);
}

int leat_size(struct leat_task *t, uint32_t pstate, struct leat_row keys, uint64_t *out)
{
    struct pstate_reader *r = read_begin(t);
    struct leat_error why;

    why.text[0] = '\0';
    if (r == NULL)
        return t->err->code;
    return read_end(t, pstate_size(r, t->number, pstate, keys, out, &why), &why);
}

int leat_scan_open(struct leat_task *t, uint32_t pstate, struct leat_row keys, const struct leat_range *range,
                   struct leat_scan **out)
{
    struct pstate_reader *r = read_begin(t);
    struct leat_error why;

    why.text[0] = '\0';
    if (r == NULL)
        return t->err->code;
    struct leat_scan *scan = arena_alloc(t->arena, sizeof(*scan), 16);
    scan->task = t;
    int rv = pstate_scan_open(r, t->number, pstate, keys, range, &scan->scan, &why);
    if (rv == 0)
        *out = scan;
    return read_end(t, rv, &why);
}

int leat_scan_next(struct leat_scan *scan, struct leat_value *key, struct leat_value *out, uint32_t fields)
{
    struct leat_error why;

    why.text[0] = '\0';
    if (scan->task->in_view && !view_enter(scan->task))
        return scan->task->err->code;
    return read_end(scan->task, pstate_scan_next(scan->scan, key, out, fields, &why), &why);
}

void leat_scan_close(struct leat_scan *scan)
{
    if (scan == NULL || (scan->task->in_view && !view_enter(scan->task)))
        return;
    pstate_scan_close(scan->scan);
    if (scan->task->in_view)
        view_leave(scan->task);
}

int leat_rows_block(struct leat_task *t, uint32_t pstate, struct leat_row keys, uint64_t number, struct leat_block *out)
{
    struct pstate_reader *r = read_begin(t);
    struct leat_error why;

    why.text[0] = '\0';
    if (r == NULL)
        return t->err->code;
    return read_end(t, pstate_rows_block(r, t->number, pstate, keys, number, out, &why), &why);
}

int leat_rows_pointers(struct leat_task *t, uint32_t pstate, struct leat_row keys, const uint32_t *numbers,
                       uint32_t count, const void **out)
{
    struct pstate_reader *r = read_begin(t);
    struct leat_error why;

    why.text[0] = '\0';
    if (r == NULL)
        return t->err->code;
    return read_end(t, pstate_rows_pointers(r, t->number, pstate, keys, numbers, count, out, &why), &why);
}

uint32_t leat_rows_field(const struct leat_task *t, uint32_t pstate, uint32_t field)
{
    leat_assert(pstate < t->plan->pstates);
    const struct pstate_level *level = t->plan->pstate[pstate].top;
    while (level->below != NULL)
        level = level->below;
    leat_assert(level->shape == PSTATE_ROWS && field < level->fields.columns);
    return level->place[field];
}
