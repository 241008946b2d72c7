/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <errno.h>
#include <stdio.h>

#include "base/codec.h"
#include "engine/node.h"

/* pstate get, scan and info, and export --pstate: what keys of the command line lead to, in one view of all tasks. */

struct reading {
    struct call *call;
    struct leat_view *view;
    const struct plan *plan;
    struct leat_error *err;
    uint32_t only;  /* --task, or UINT32_MAX */
    uint64_t limit;
    const char *name;
    uint32_t pstate;
    struct leat_value key[LIMIT_NESTING + 2];
    uint32_t keys;
    const struct pstate_level *level; /* that the keys lead to; NULL: an element of a set */
    bool has_row;                     /* behind the keys: the number of a packed row */
    uint64_t row;
};

/* ---- Keys ---- */

static bool parse_whole(enum leat_type type, const char *text, struct leat_value *out)
{
    char *end;

    errno = 0;
    if (type == LEAT_I64)
        *out = leat_i64(strtoll(text, &end, 10));
    else
        *out = leat_u64(strtoull(text, &end, 10));
    /* strtoull takes a sign and turns it round */
    if (end == text || *end != '\0' || errno != 0 || (type != LEAT_I64 && (*text < '0' || *text > '9')))
        return false;
    if (type == LEAT_U32 && out->as.u > UINT32_MAX)
        return false;
    if (type == LEAT_U32)
        *out = leat_u32((uint32_t)out->as.u);
    return true;
}

/* A key as text on the command line, by the type of its level. */
static int parse_key(const struct leat_column *type, const char *text, struct leat_value *out, struct leat_error *err)
{
    char *end;

    switch (type->type) {
    case LEAT_STR:
        *out = leat_str(text);
        return 0;
    case LEAT_BYTES:
        *out = leat_bytes(text, strlen(text));
        return 0;
    case LEAT_BOOL:
        *out = leat_bool(strcmp(text, "true") == 0);
        return out->as.b || strcmp(text, "false") == 0
                   ? 0
                   : leat_fail(err, LEAT_EINVAL, "key '%s': true or false is wanted", text);
    case LEAT_F64:
        *out = leat_f64(strtod(text, &end));
        return end != text && *end == '\0' ? 0 : leat_fail(err, LEAT_EINVAL, "key '%s': a number is wanted", text);
    default:
        return parse_whole(type->type, text, out)
                   ? 0
                   : leat_fail(err, LEAT_EINVAL, "key '%s': a whole number is wanted that fits %s", text,
                               type->type == LEAT_I64 ? "i64" : type->type == LEAT_U32 ? "u32" : "u64");
    }
}

static const struct leat_column index_column = {.name = "index", .type = LEAT_U64};

static const struct leat_column *key_column(const struct pstate_level *level)
{
    return level->shape == PSTATE_LIST ? &index_column : &level->key;
}

static bool is_value(const struct pstate_level *level)
{
    return level != NULL && (level->shape == PSTATE_LEAF || level->shape == PSTATE_STRUCT);
}

static int find_pstate(struct reading *r, const char *name)
{
    int at = plan_pstate_find(r->plan, name);
    const char *module = r->plan->module->name;

    if (at < 0)
        return leat_fail(r->err, LEAT_ENOTFOUND, "module '%s' has no PState '%s'; 'leat module show %s' shows them",
                         module, name, module);
    r->name = name;
    r->pstate = (uint32_t)at;
    r->level = r->plan->pstate[at].top;
    return 0;
}

/* PState and keys of the command line, and the level they lead to. */
static int parse_keys(struct reading *r)
{
    const struct call *c = r->call;
    int rv = find_pstate(r, c->argument[1]);

    for (int i = 2; i < c->arguments && rv == 0; i++) {
        struct leat_value number;

        if (r->level == NULL || is_value(r->level) || r->has_row)
            return leat_fail(r->err, LEAT_EINVAL, "PState '%s' has fewer levels than keys were given", r->name);
        r->has_row = r->level->shape == PSTATE_ROWS;
        rv = parse_key(key_column(r->level), c->argument[i], r->has_row ? &number : &r->key[r->keys++], r->err);
        if (rv == 0 && r->has_row)
            r->row = number.as.u;
        else
            r->level = r->level->below;
    }
    return rv;
}

static struct leat_row keys_of(const struct reading *r)
{
    return (struct leat_row){r->key, r->keys};
}

/* Which tasks hold what keys lead to: the one of --task (a topology may keep things where it runs), else the owner of
 * the first key, else all: *from up to *to. */
static int pick_tasks(const struct reading *r, uint32_t *from, uint32_t *to)
{
    uint32_t tasks = leat_view_tasks(r->view), only = r->only;

    if (only != UINT32_MAX && only >= tasks)
        return leat_fail(r->err, LEAT_ENOTFOUND, "module '%s' has no task %u; they are 0 to %u",
                         r->plan->module->name, only, tasks - 1);
    if (only == UINT32_MAX && r->keys > 0)
        only = leat_task_number(leat_view_owner(r->view, &r->key[0]));
    *from = only != UINT32_MAX ? only : 0;
    *to = only != UINT32_MAX ? only + 1 : tasks;
    return 0;
}

/* ---- Values ---- */

/* Names of the columns of what a level holds, behind others. */
static uint32_t level_columns(const struct pstate_level *level, uint32_t count, const char **name)
{
    bool fields = is_value(level) || (level != NULL && level->shape == PSTATE_ROWS);

    for (uint32_t i = 0; fields && i < level->fields.columns; i++)
        name[count++] = level->fields.column[i].name;
    return count;
}

static void value_cell(const struct call *c, const struct leat_value *v, struct buffer *out)
{
    buffer_clear(out);
    if (v->type == LEAT_STR && !c->json)
        buffer_put(out, v->as.bytes.base, v->as.bytes.size);
    else
        value_to_json(v, out);
}

/* One line of values: a row of the table, or a JSON object. */
static void print_values(const struct call *c, struct table *t, const char *const *name, const struct leat_value *value,
                         uint32_t count)
{
    struct buffer cell[LIMIT_COLUMNS + 2];
    const char *text[LIMIT_COLUMNS + 2] = {NULL};

    for (uint32_t i = 0; i < count; i++) {
        buffer_init(&cell[i], 0);
        value_cell(c, &value[i], &cell[i]);
        buffer_u8(&cell[i], 0);
        text[i] = (const char *)cell[i].base;
    }
    if (c->json) {
        for (uint32_t i = 0; i < count; i++)
            printf("%s\"%s\": %s", i == 0 ? "{" : ", ", name[i], text[i]);
        printf("}\n");
    } else {
        table_row(t, text);
    }
    for (uint32_t i = 0; i < count; i++)
        buffer_fini(&cell[i]);
}

/* Fields of a packed row, borrowed from its bytes. */
static int row_values(const struct reading *r, const struct pstate_level *level, const uint8_t *row,
                      struct leat_value *out)
{
    for (uint32_t i = 0; i < level->fields.columns; i++) {
        struct row_schema one = {1, &level->fields.column[i]};

        if (row_decode(&one, span_of(row + level->place[i], one.column->stride), &out[i]) != 0)
            return leat_fail(r->err, LEAT_ECORRUPT, "a row of PState '%s' does not fit its schema", r->name);
    }
    return 0;
}

/* ---- get ---- */

/* Keys that lead to a set's element, or to a collection: how many elements it has. */
static int get_collection(const struct reading *r, struct leat_task *t)
{
    static const char *const present[] = {"present"}, *const elements[] = {"elements"};
    bool element = r->level == NULL;
    struct table *table = table_open(r->call, element ? present : elements, 1, 1);
    uint64_t size = 0;
    char text[24] = "true";
    int rv = element ? 0 : leat_size(t, r->pstate, keys_of(r), &size);

    if (!element)
        snprintf(text, sizeof(text), "%llu", (unsigned long long)size);
    if (rv == 0)
        table_row(table, (const char *const[]){text});
    else
        *r->err = *t->err;
    table_close(table);
    return rv;
}

static int get_row(const struct reading *r, struct leat_task *t, struct leat_value *value)
{
    struct leat_block block;
    int rv = leat_rows_block(t, r->pstate, keys_of(r), r->row, &block);

    if (rv == LEAT_END || rv == LEAT_ENOTFOUND)
        return leat_fail(r->err, LEAT_ENOTFOUND, "PState '%s' has no row %llu there, at task %u", r->name,
                         (unsigned long long)r->row, leat_task_number(t));
    if (rv != 0) {
        *r->err = *t->err;
        return rv;
    }
    return row_values(r, r->level, (const uint8_t *)block.base + (r->row - block.first) * block.stride, value);
}

static int get_value(const struct reading *r, struct leat_task *t, struct leat_value *value)
{
    int rv = leat_get(t, r->pstate, keys_of(r), value, LIMIT_COLUMNS);

    if (rv == LEAT_ENOTFOUND)
        return leat_fail(r->err, rv, "PState '%s' has nothing under these keys", r->name);
    if (rv != 0)
        *r->err = *t->err;
    return rv;
}

static int get(struct reading *r)
{
    struct leat_value value[LIMIT_COLUMNS];
    const char *name[LIMIT_COLUMNS];
    uint32_t task, end;
    int rv = parse_keys(r);

    if (rv == 0)
        rv = pick_tasks(r, &task, &end);
    if (rv == 0 && r->keys == 0 && r->only == UINT32_MAX)
        rv = leat_fail(r->err, LEAT_EINVAL, "each task has rows of PState '%s': say which by --task N", r->name);
    if (rv != 0)
        return rv;
    struct leat_task *t = leat_view_task(r->view, task);
    rv = r->has_row ? get_row(r, t, value) : get_value(r, t, value);
    if (rv != 0)
        return rv;
    if (!r->has_row && !is_value(r->level))
        return get_collection(r, t);
    uint32_t count = level_columns(r->level, 0, name);
    struct table *table = table_open(r->call, name, count, 0);
    print_values(r->call, table, name, value, count);
    table_close(table);
    return 0;
}

/* ---- scan ---- */

struct scan {
    struct reading *reading;
    struct table *table;
    const char *name[LIMIT_COLUMNS + 2];
    uint32_t columns;
};

/* Elements of one task. */
static int scan_task(struct scan *s, struct leat_task *t, struct leat_range *range)
{
    struct reading *r = s->reading;
    struct leat_value value[LIMIT_COLUMNS + 1];
    struct leat_scan *scan;

    range->limit = r->limit;
    int rv = leat_scan_open(t, r->pstate, keys_of(r), range, &scan);
    while (rv == 0 && r->limit > 0 && (rv = leat_scan_next(scan, &value[0], value + 1, LIMIT_COLUMNS)) == 0) {
        print_values(r->call, s->table, s->name, value, s->columns);
        r->limit--;
    }
    if (rv < 0)
        *r->err = *t->err;
    else
        leat_scan_close(scan);
    return rv == LEAT_END ? 0 : rv;
}

static int scan_rows(struct scan *s, struct leat_task *t)
{
    struct reading *r = s->reading;
    struct leat_value value[LIMIT_COLUMNS + 2] = {leat_u32(leat_task_number(t))};
    struct leat_block block;
    int rv = 0;

    for (uint64_t number = 0; rv == 0 && r->limit > 0; number += block.rows) {
        rv = leat_rows_block(t, r->pstate, keys_of(r), number, &block);
        for (uint32_t i = 0; rv == 0 && i < block.rows && r->limit > 0; i++, r->limit--) {
            value[1] = leat_u64(block.first + i);
            rv = row_values(r, r->level, (const uint8_t *)block.base + (size_t)i * block.stride, value + 2);
            if (rv == 0)
                print_values(r->call, s->table, s->name, value, s->columns);
        }
    }
    if (rv < 0 && rv != LEAT_ENOTFOUND && r->err->code == 0)
        *r->err = *t->err;
    return rv == LEAT_END || rv == LEAT_ENOTFOUND ? 0 : rv;
}

/* Bounds of --from and --to; keys are where they point to. */
static int read_range(struct reading *r, struct leat_value key[2], struct leat_range *out)
{
    const char *from = call_option(r->call, "from"), *to = call_option(r->call, "to");
    int rv = 0;

    *out = (struct leat_range){.descending = call_option(r->call, "reverse") != NULL};
    if (from != NULL && (rv = parse_key(key_column(r->level), from, &key[0], r->err)) == 0)
        out->from = &key[0];
    if (to != NULL && rv == 0 && (rv = parse_key(key_column(r->level), to, &key[1], r->err)) == 0)
        out->to = &key[1];
    return rv;
}

static int scan(struct reading *r)
{
    struct leat_value bound[2];
    struct leat_range range;
    struct scan s = {.reading = r};
    uint32_t task, end;
    int rv = parse_keys(r);

    if (rv == 0 && (r->level == NULL || is_value(r->level) || r->has_row))
        rv = leat_fail(r->err, LEAT_EINVAL, "the keys lead to a value, not a collection: use 'leat pstate get'");
    if (rv == 0)
        rv = read_range(r, bound, &range);
    if (rv == 0)
        rv = pick_tasks(r, &task, &end);
    if (rv != 0)
        return rv;
    bool rows = r->level->shape == PSTATE_ROWS;
    s.name[0] = rows ? "task" : r->level->shape == PSTATE_LIST ? "index" : "key";
    s.name[1] = "row";
    s.columns = level_columns(rows ? r->level : r->level->below, rows ? 2 : 1, s.name);
    s.table = table_open(r->call, s.name, s.columns, 0);
    for (; task < end && rv == 0 && r->limit > 0; task++)
        rv = rows ? scan_rows(&s, leat_view_task(r->view, task)) : scan_task(&s, leat_view_task(r->view, task), &range);
    table_close(s.table);
    return rv;
}

/* ---- export ---- */

/* The way to an element: "key", or where there are several of them, or rows, task and all keys. */
static void put_way(const struct reading *r, const struct leat_task *t, struct buffer *out)
{
    const struct pstate_level *top = r->plan->pstate[r->pstate].top;
    char text[48];

    buffer_clear(out);
    if (r->keys == 1 && r->level == top->below && !r->has_row) {
        snprintf(text, sizeof(text), "{\"%s\": ", top->shape == PSTATE_LIST ? "index" : "key");
        buffer_put(out, text, strlen(text));
        value_to_json(&r->key[0], out);
        return;
    }
    snprintf(text, sizeof(text), "{\"task\": %u", leat_task_number(t));
    buffer_put(out, text, strlen(text));
    for (uint32_t i = 0; i < r->keys; i++) {
        const char *before = i == 0 ? ", \"keys\": [" : ", ";

        buffer_put(out, before, strlen(before));
        value_to_json(&r->key[i], out);
    }
    snprintf(text, sizeof(text), "%s, \"row\": %llu", r->keys > 0 ? "]" : "", (unsigned long long)r->row);
    buffer_put(out, text, r->has_row ? strlen(text) : r->keys > 0);
}

/* A line for what the keys, or the row behind them, lead to. */
static int export_element(const struct reading *r, const struct leat_task *t, const struct leat_value *value)
{
    struct buffer line = {0};
    const char *name[LIMIT_COLUMNS];
    uint32_t count = level_columns(r->level, 0, name);

    put_way(r, t, &line);
    for (uint32_t i = 0; i < count; i++) {
        buffer_put(&line, ", ", 2);
        json_escape(span_text(name[i]), &line);
        buffer_put(&line, ": ", 2);
        value_to_json(&value[i], &line);
    }
    buffer_put(&line, "}\n", 2);
    fwrite(line.base, 1, line.size, stdout);
    buffer_fini(&line);
    return ferror(stdout) ? LEAT_EIO : 0;
}

static int export_rows(struct reading *r, struct leat_task *t)
{
    struct leat_value value[LIMIT_COLUMNS];
    struct leat_block block;
    int rv = 0;

    r->has_row = true;
    for (uint64_t number = 0; rv == 0; number += block.rows) {
        rv = leat_rows_block(t, r->pstate, keys_of(r), number, &block);
        for (uint32_t i = 0; rv == 0 && i < block.rows; i++) {
            r->row = block.first + i;
            rv = row_values(r, r->level, (const uint8_t *)block.base + (size_t)i * block.stride, value);
            if (rv == 0)
                rv = export_element(r, t, value);
        }
    }
    r->has_row = false;
    return rv;
}

static int export_below(struct reading *r, struct leat_task *t);

static int export_collection(struct reading *r, struct leat_task *t)
{
    const struct pstate_level *level = r->level;
    struct leat_value value[LIMIT_COLUMNS];
    uint32_t keys = r->keys;
    struct leat_scan *scan;
    int rv = leat_scan_open(t, r->pstate, keys_of(r), NULL, &scan);

    if (rv != 0)
        return rv;
    r->level = level->below;
    while ((rv = leat_scan_next(scan, &r->key[keys], value, LIMIT_COLUMNS)) == 0) {
        r->keys = keys + 1;
        rv = r->level == NULL || is_value(r->level) ? export_element(r, t, value) : export_below(r, t);
        r->keys = keys;
        if (rv != 0)
            break;
    }
    r->level = level;
    leat_scan_close(scan);
    return rv;
}

/* All that the keys lead to, element by element; as deep as schemas are. */
static int export_below(struct reading *r, struct leat_task *t)
{
    struct leat_value value[LIMIT_COLUMNS];
    int rv;

    if (r->level->shape == PSTATE_ROWS)
        rv = export_rows(r, t);
    else if (!is_value(r->level))
        rv = export_collection(r, t);
    else if ((rv = leat_get(t, r->pstate, keys_of(r), value, LIMIT_COLUMNS)) == 0)
        rv = export_element(r, t, value);
    return rv == LEAT_END || rv == LEAT_ENOTFOUND ? 0 : rv;
}

static int export(struct reading *r)
{
    int rv = find_pstate(r, call_option(r->call, "pstate"));

    for (uint32_t i = 0; rv == 0 && i < leat_view_tasks(r->view); i++) {
        struct leat_task *t = leat_view_task(r->view, i);

        rv = export_below(r, t);
        if (rv != 0 && r->err->code == 0)
            *r->err = *t->err;
    }
    return ferror(stdout) ? 0 : rv; /* main() says that it could not be written */
}

/* ---- info ---- */

static int info(struct reading *r)
{
    static const char *const columns[] = {"pstate", "elements", "schema"};
    const struct plan *p = r->plan;
    struct table *t = table_open(r->call, columns, LENGTH_OF(columns), 2);
    struct arena *a = arena_open(1 << 20);
    int rv = 0;

    for (uint32_t i = 0; i < p->pstates && rv == 0; i++) {
        uint64_t sum = 0, size = 0;

        for (uint32_t task = 0; task < p->tasks && rv == 0; task++, sum += size)
            if ((rv = leat_size(leat_view_task(r->view, task), i, LEAT_KEYS(), &size)) != 0)
                *r->err = *leat_view_task(r->view, task)->err;
        table_row(t, (const char *const[]){p->pstate[i].name, arena_format(a, "%llu", (unsigned long long)sum),
                                           pstate_schema_text(a, &p->pstate[i])});
    }
    table_close(t);
    arena_close(a);
    return rv;
}

/* ---- The commands ---- */

static int with_view(struct call *c, int (*read)(struct reading *r))
{
    struct leat_error err = {0};
    struct reading r = {.call = c, .err = &err, .only = (uint32_t)call_number(c, "task", UINT32_MAX, LIMIT_TASKS - 1),
                        .limit = call_number(c, "limit", UINT64_MAX, UINT64_MAX - 1)};
    struct leat *l;
    int rv = call_open(c, c->argument[0], false, &l);

    if (rv != 0)
        return rv;
    r.plan = node_module(l, c->argument[0])->plan;
    rv = leat_view_open(l, c->argument[0], &r.view, &err);
    if (rv == 0) {
        rv = read(&r);
        leat_view_close(r.view);
    }
    leat_close(l);
    return rv == 0 ? 0 : call_error(&err);
}

int cmd_pstate_get(struct call *c)
{
    return with_view(c, get);
}

int cmd_pstate_scan(struct call *c)
{
    return with_view(c, scan);
}

int cmd_pstate_info(struct call *c)
{
    return with_view(c, info);
}

int export_pstate(struct call *c)
{
    return with_view(c, export);
}
