/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/codec.h"
#include "engine/consumer.h"
#include "engine/node.h"

/* ---- depot ---- */

static int ack_of(const struct call *c, enum leat_ack *ack)
{
    const char *text = call_option(c, "ack");

    *ack = LEAT_APPENDED;
    if (text == NULL || strcmp(text, "appended") == 0)
        return 0;
    if (strcmp(text, "processed") == 0)
        *ack = LEAT_PROCESSED;
    else if (strcmp(text, "none") == 0)
        *ack = LEAT_NONE;
    else
        return call_usage(c, "--ack is none, appended or processed, not '%s'", text);
    return 0;
}

/* Rows as they were given: arguments, or lines of standard input. */
struct given {
    struct leat_span *line;
    size_t lines, capacity;
    struct buffer text; /* of standard input */
};

static void give(struct given *g, struct leat_span line)
{
    if (g->lines == g->capacity) {
        g->capacity = g->capacity * 2 + 64;
        g->line = base_realloc(g->line, g->capacity * sizeof(*g->line));
    }
    g->line[g->lines++] = line;
}

static int read_input(struct buffer *text, struct leat_error *err)
{
    char chunk[65536];
    size_t size;

    buffer_init(text, LIMIT_BATCH);
    while (text->error == 0 && (size = fread(chunk, 1, sizeof(chunk), stdin)) > 0)
        buffer_put(text, chunk, size);
    if (text->error != 0)
        return leat_fail(err, text->error,
                         "more than %d MiB of rows to append as one; 'leat import' takes files of any size",
                         LIMIT_BATCH >> 20);
    return ferror(stdin) ? base_errno(err, errno, "read", "standard input") : 0;
}

static int read_given(struct call *c, struct given *g, struct leat_error *err)
{
    for (int i = 2; i < c->arguments; i++)
        give(g, span_text(c->argument[i]));
    if (c->arguments > 2)
        return 0;
    if (isatty(STDIN_FILENO) && !c->quiet)
        fprintf(stderr, "one JSON object a line; Ctrl-D ends\n");
    int rv = read_input(&g->text, err);
    for (size_t at = 0; at < g->text.size && rv == 0;) {
        const uint8_t *start = g->text.base + at, *end = memchr(start, '\n', g->text.size - at);
        size_t size = end != NULL ? (size_t)(end - start) : g->text.size - at;

        give(g, span_of(start, size));
        at += size + (end != NULL);
    }
    return rv;
}

/* Each line as a row of the schema, checked; into rows unless that is NULL. Blank lines are none. */
static int add_given(const struct given *g, const struct row_schema *schema, struct leat_rows *rows,
                     struct leat_error *err)
{
    struct arena *a = arena_open(SIZE_MAX / 8);
    struct leat_value value[LIMIT_COLUMNS];
    struct buffer bytes = {0};
    int rv = 0;

    for (size_t i = 0; i < g->lines && rv == 0; i++) {
        struct leat_span line = g->line[i];

        while (line.size > 0 && strchr(" \t\r\n", ((const char *)line.base)[line.size - 1]) != NULL)
            line.size--;
        if (line.size == 0)
            continue;
        arena_reset(a);
        buffer_clear(&bytes);
        rv = json_to_row(a, schema, line, value, err);
        if (rv == 0)
            rv = rows != NULL ? leat_rows_add(rows, (struct leat_row){value, schema->columns}, err)
                              : row_encode(schema, (struct leat_row){value, schema->columns}, &bytes, err);
        if (rv != 0)
            base_wrap(err, rv, "row %zu; nothing was appended", i + 1);
    }
    buffer_fini(&bytes);
    arena_close(a);
    return rv;
}

static int append_given(struct call *c, struct leat *l, const struct given *g, const struct leat_append *how,
                        struct leat_error *err)
{
    struct leat_receipt receipt = {0};
    struct leat_depot *d;
    struct leat_rows *rows;
    int rv = leat_depot_find(l, c->argument[0], c->argument[1], &d, err);

    if (rv != 0)
        return rv;
    const struct leat_batch *columns = leat_depot_columns(d);
    struct row_schema schema = {columns->columns, (struct leat_column *)(uintptr_t)columns->column};
    leat_rows_new(d, &rows);
    rv = add_given(g, &schema, rows, err);
    uint32_t count = leat_rows_count(rows);
    if (rv == 0 && count > 0)
        rv = leat_append(d, rows, how, &receipt, err);
    if (rv == 0 && !c->quiet)
        fprintf(stderr, "%u row%s appended\n", count, count == 1 ? "" : "s");
    for (uint32_t i = 0; rv == 0 && i < receipt.returned; i++) {
        struct buffer text = {0};

        value_to_json(&receipt.value[i], &text);
        printf("%.*s\n", (int)text.size, (const char *)text.base);
        buffer_fini(&text);
    }
    if (rv == 0 && receipt.dropped > 0)
        fprintf(stderr, "%u more values came back, for which there was no room\n", receipt.dropped);
    leat_receipt_fini(&receipt);
    leat_rows_free(rows);
    return rv;
}

int cmd_depot_append(struct call *c)
{
    struct leat_append how = {0};
    struct leat_error err = {0};
    struct given g = {0};
    struct plan *plan = NULL;
    struct leat *l;
    uint32_t depot;
    int rv = ack_of(c, &how.ack), code = 0;

    if (rv == 0)
        rv = call_target(c, c->argument[0], c->argument[1], &plan, &depot);
    if (rv != 0)
        goto out;
    code = read_given(c, &g, &err);
    if (code == 0 && plan != NULL)
        code = add_given(&g, &plan->depot[depot].schema, NULL, &err);
    if (code != 0)
        goto out;
    rv = call_open(c, c->argument[0], true, &l);
    if (rv != 0)
        goto out;
    code = append_given(c, l, &g, &how, &err);
    leat_close(l);
out:
    if (plan != NULL)
        plan_close(plan);
    free(g.line);
    buffer_fini(&g.text);
    return code != 0 ? call_error(&err) : rv;
}

static int find_depot(const struct call *c, struct leat *l, const char *name, struct leat_depot **d,
                      struct leat_error *err)
{
    if (leat_depot_find(l, c->argument[0], name, d, err) == 0)
        return 0;
    return leat_fail(err, LEAT_ENOTFOUND, "module '%s' has no depot '%s'; 'leat module show %s' shows them",
                     c->argument[0], name, c->argument[0]);
}

struct tail {
    struct call *call;
    struct table *table;
    uint32_t partition;
};

/* Seconds since 1970 for programs, a date in UTC for people. */
static void print_time(const struct call *c, int64_t time_us, char out[40])
{
    time_t seconds = (time_t)(time_us / 1000000);
    struct tm date;
    char text[24];

    snprintf(out, 40, "%.6f", (double)time_us * 1e-6);
    if (!c->json && gmtime_r(&seconds, &date) != NULL && strftime(text, sizeof(text), "%F %T", &date) > 0)
        snprintf(out, 40, "%s.%03dZ", text, (int)(time_us / 1000 % 1000));
}

static int print_record(void *context, const struct leat_record *record, const struct leat_batch *row)
{
    struct tail *t = context;
    struct buffer text = {0};
    char partition[16], offset[24], time[40];

    batch_row_to_json(row, 0, &text);
    buffer_u8(&text, 0);
    snprintf(partition, sizeof(partition), "%u", t->partition);
    snprintf(offset, sizeof(offset), "%llu", (unsigned long long)record->offset);
    print_time(t->call, record->time_us, time);
    table_row(t->table, (const char *const[]){partition, offset, time, (const char *)text.base});
    buffer_fini(&text);
    return 0;
}

int cmd_depot_tail(struct call *c)
{
    static const char *const columns[] = {"partition", "offset", "time", "row"};
    uint64_t n = call_number(c, "n", 10, UINT32_MAX), offset = call_number(c, "offset", UINT64_MAX, UINT64_MAX - 1);
    uint32_t only = (uint32_t)call_number(c, "partition", UINT32_MAX, LIMIT_TASKS - 1);
    struct tail t = {c, NULL, 0};
    struct leat_error err = {0};
    struct leat_depot *d;
    struct leat *l;
    int rv = call_open(c, c->argument[0], false, &l);

    if (rv != 0)
        return rv;
    rv = find_depot(c, l, c->argument[1], &d, &err);
    t.table = table_open(c, columns, LENGTH_OF(columns), 0xf);
    uint32_t partitions = rv == 0 ? leat_depot_partitions(d) : 0;
    if (rv == 0 && only != UINT32_MAX && only >= partitions)
        rv = leat_fail(&err, LEAT_ENOTFOUND, "depot '%s' has no partition %u; they are 0 to %u", c->argument[1], only,
                       partitions - 1);
    for (t.partition = 0; t.partition < partitions && rv == 0; t.partition++) {
        struct leat_bounds b;

        if (only != UINT32_MAX && t.partition != only)
            continue;
        leat_depot_bounds(d, t.partition, &b);
        uint64_t from = offset != UINT64_MAX ? offset : b.next - b.first > n ? b.next - n : b.first;
        rv = leat_depot_read(d, t.partition, from, (uint32_t)n, print_record, &t, NULL, &err);
    }
    table_close(t.table);
    leat_close(l);
    return rv == 0 ? 0 : call_error(&err);
}

static void depot_rows(struct table *t, const char *name, struct leat_depot *d)
{
    for (uint32_t p = 0; p < leat_depot_partitions(d); p++) {
        struct leat_bounds b;
        char text[4][24];

        if (leat_depot_bounds(d, p, &b) != 0 || b.next == 0)
            continue;
        snprintf(text[0], sizeof(text[0]), "%u", p);
        snprintf(text[1], sizeof(text[1]), "%llu", (unsigned long long)b.first);
        snprintf(text[2], sizeof(text[2]), "%llu", (unsigned long long)b.next);
        snprintf(text[3], sizeof(text[3]), "%llu", (unsigned long long)b.processed);
        table_row(t, (const char *const[]){name, text[0], text[1], text[2], text[3]});
    }
}

int cmd_depot_info(struct call *c)
{
    static const char *const columns[] = {"depot", "partition", "first", "next", "processed"};
    struct leat_error err = {0};
    struct leat_depot *d;
    struct leat *l;
    int rv = call_open(c, c->argument[0], false, &l);

    if (rv != 0)
        return rv;
    const struct plan *p = node_module(l, c->argument[0])->plan;
    struct table *t = table_open(c, columns, LENGTH_OF(columns), 0x1e);
    if (c->arguments > 1 && (rv = find_depot(c, l, c->argument[1], &d, &err)) == 0)
        depot_rows(t, c->argument[1], d);
    for (uint32_t i = 0; i < p->depots && c->arguments == 1; i++)
        if (leat_depot_find(l, c->argument[0], p->depot[i].name, &d, &err) == 0)
            depot_rows(t, p->depot[i].name, d);
    table_close(t);
    leat_close(l);
    return rv == 0 ? 0 : call_error(&err);
}

/* ---- pstate ---- */

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

/* Keys of the command line, and the level they lead to. */
static int parse_keys(struct call *c, const struct plan *p, uint32_t *pstate, struct leat_value *key, uint32_t *keys,
                      const struct pstate_level **level, struct leat_error *err)
{
    int at = plan_pstate_find(p, c->argument[1]);

    if (at < 0)
        return leat_fail(err, LEAT_ENOTFOUND, "module '%s' has no PState '%s'; 'leat module show %s' shows them",
                         c->argument[0], c->argument[1], c->argument[0]);
    *pstate = (uint32_t)at;
    *level = p->pstate[at].top;
    *keys = 0;
    for (int i = 2; i < c->arguments; i++) {
        if (*level == NULL || (*level)->shape == PSTATE_LEAF || (*level)->shape == PSTATE_STRUCT ||
            (*level)->shape == PSTATE_ROWS)
            return leat_fail(err, LEAT_EINVAL, "PState '%s' has fewer levels than keys were given", c->argument[1]);
        int rv = parse_key(key_column(*level), c->argument[i], &key[(*keys)++], err);
        if (rv != 0)
            return rv;
        *level = (*level)->below;
    }
    return 0;
}

/* Which tasks hold what keys lead to: the one of --task (a topology may keep things where it runs), else the owner of
 * the first key, else all: *from up to *to. */
static int pick_tasks(const struct call *c, struct leat_view *v, uint32_t only, struct leat_row keys, uint32_t *from,
                      uint32_t *to, struct leat_error *err)
{
    uint32_t tasks = leat_view_tasks(v);

    if (only != UINT32_MAX && only >= tasks)
        return leat_fail(err, LEAT_ENOTFOUND, "module '%s' has no task %u; they are 0 to %u", c->argument[0], only,
                         tasks - 1);
    if (only == UINT32_MAX && keys.count > 0)
        only = leat_task_number(leat_view_owner(v, &keys.value[0]));
    *from = only != UINT32_MAX ? only : 0;
    *to = only != UINT32_MAX ? only + 1 : tasks;
    return 0;
}

/* Names of the columns of what a level holds: the key's first, then its fields. */
static uint32_t level_columns(const struct pstate_level *level, const char *first, const char **name)
{
    uint32_t count = 0;

    if (first != NULL)
        name[count++] = first;
    for (uint32_t i = 0;
         level != NULL && (level->shape == PSTATE_LEAF || level->shape == PSTATE_STRUCT) && i < level->fields.columns;
         i++)
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

/* Keys that lead to a set's element, or to a collection: how many elements it has. */
static int get_collection(struct call *c, struct leat_task *t, uint32_t pstate, struct leat_row keys, bool element,
                          struct leat_error *err)
{
    static const char *const present[] = {"present"}, *const elements[] = {"elements"};
    struct table *table = table_open(c, element ? present : elements, 1, 1);
    uint64_t size = 0;
    char text[24] = "true";
    int rv = element ? 0 : leat_size(t, pstate, keys, &size);

    if (!element)
        snprintf(text, sizeof(text), "%llu", (unsigned long long)size);
    if (rv == 0)
        table_row(table, (const char *const[]){text});
    else
        *err = *t->err;
    table_close(table);
    return rv;
}

static int get(struct call *c, struct leat *l, struct leat_view *v, uint32_t only, struct leat_error *err)
{
    struct leat_value key[LIMIT_NESTING + 2], value[LIMIT_COLUMNS];
    const struct pstate_level *level;
    const char *name[LIMIT_COLUMNS];
    uint32_t pstate, keys, task, end;
    int rv = parse_keys(c, node_module(l, c->argument[0])->plan, &pstate, key, &keys, &level, err);

    if (rv == 0)
        rv = pick_tasks(c, v, only, (struct leat_row){key, keys}, &task, &end, err);
    if (rv != 0)
        return rv;
    struct leat_task *t = leat_view_task(v, task);
    rv = leat_get(t, pstate, (struct leat_row){key, keys}, value, LIMIT_COLUMNS);
    if (rv == LEAT_ENOTFOUND)
        return leat_fail(err, rv, "PState '%s' has nothing under these keys", c->argument[1]);
    if (rv != 0) {
        *err = *t->err;
        return rv;
    }
    uint32_t count = level_columns(level, NULL, name);
    if (count == 0)
        return get_collection(c, t, pstate, (struct leat_row){key, keys}, level == NULL, err);
    struct table *table = table_open(c, name, count, 0);
    print_values(c, table, name, value, count);
    table_close(table);
    return 0;
}

struct scan {
    struct call *call;
    struct table *table;
    const struct pstate_level *level;
    const char *name[LIMIT_COLUMNS + 2];
    uint32_t columns;
    uint64_t left;
};

/* Elements of one task. */
static int scan_task(struct scan *s, struct leat_task *t, uint32_t pstate, struct leat_row keys,
                     struct leat_range *range, struct leat_error *err)
{
    struct leat_value value[LIMIT_COLUMNS + 1];
    struct leat_scan *scan;

    range->limit = s->left;
    int rv = leat_scan_open(t, pstate, keys, range, &scan);
    while (rv == 0 && s->left > 0 && (rv = leat_scan_next(scan, &value[0], value + 1, LIMIT_COLUMNS)) == 0) {
        print_values(s->call, s->table, s->name, value, s->columns);
        s->left--;
    }
    if (rv < 0)
        *err = *t->err;
    else
        leat_scan_close(scan);
    return rv == LEAT_END ? 0 : rv;
}

static int scan_rows(struct scan *s, struct leat_task *t, uint32_t pstate, struct leat_row keys)
{
    struct leat_block block;
    char row[24], at[24];

    for (uint64_t number = 0; s->left > 0 && leat_rows_block(t, pstate, keys, number, &block) == 0;
         number += block.rows)
        for (uint32_t i = 0; i < block.rows && s->left > 0; i++, s->left--) {
            snprintf(at, sizeof(at), "%u", leat_task_number(t));
            snprintf(row, sizeof(row), "%llu", (unsigned long long)(block.first + i));
            table_row(s->table, (const char *const[]){at, row});
        }
    return 0;
}

static int scan(struct call *c, struct leat *l, struct leat_view *v, uint32_t only, struct leat_error *err)
{
    static const char *const row_columns[] = {"task", "row"};
    struct leat_value key[LIMIT_NESTING + 2], from, to;
    struct leat_range range = {.descending = call_option(c, "reverse") != NULL};
    struct scan s = {.call = c, .left = call_number(c, "limit", UINT64_MAX, UINT64_MAX - 1)};
    uint32_t pstate, keys, task, end;
    int rv = parse_keys(c, node_module(l, c->argument[0])->plan, &pstate, key, &keys, &s.level, err);

    if (rv == 0 && (s.level == NULL || s.level->shape == PSTATE_LEAF || s.level->shape == PSTATE_STRUCT))
        rv = leat_fail(err, LEAT_EINVAL, "the keys lead to a value, not a collection: use 'leat pstate get'");
    if (rv == 0 && call_option(c, "from") != NULL &&
        (rv = parse_key(key_column(s.level), call_option(c, "from"), &from, err)) == 0)
        range.from = &from;
    if (rv == 0 && call_option(c, "to") != NULL &&
        (rv = parse_key(key_column(s.level), call_option(c, "to"), &to, err)) == 0)
        range.to = &to;
    if (rv == 0)
        rv = pick_tasks(c, v, only, (struct leat_row){key, keys}, &task, &end, err);
    if (rv != 0)
        return rv;
    bool rows = s.level->shape == PSTATE_ROWS;
    s.columns = rows ? 2 : level_columns(s.level->below, s.level->shape == PSTATE_LIST ? "index" : "key", s.name);
    s.table = table_open(c, rows ? row_columns : s.name, s.columns, rows ? 3 : 0);
    for (; task < end && rv == 0 && s.left > 0; task++)
        rv = rows ? scan_rows(&s, leat_view_task(v, task), pstate, (struct leat_row){key, keys})
                  : scan_task(&s, leat_view_task(v, task), pstate, (struct leat_row){key, keys}, &range, err);
    table_close(s.table);
    return rv;
}

typedef int read_pstate(struct call *c, struct leat *l, struct leat_view *v, uint32_t only, struct leat_error *err);

static int with_view(struct call *c, read_pstate *read)
{
    uint32_t only = (uint32_t)call_number(c, "task", UINT32_MAX, LIMIT_TASKS - 1);
    struct leat_error err = {0};
    struct leat_view *v;
    struct leat *l;

    call_number(c, "limit", 0, UINT64_MAX - 1); /* a mistake ends the process: before something is open */
    int rv = call_open(c, c->argument[0], false, &l);
    if (rv != 0)
        return rv;
    rv = leat_view_open(l, c->argument[0], &v, &err);
    if (rv == 0) {
        rv = read(c, l, v, only, &err);
        leat_view_close(v);
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

static int info(struct call *c, struct leat *l, struct leat_view *v, uint32_t only, struct leat_error *err)
{
    static const char *const columns[] = {"pstate", "elements", "schema"};
    const struct plan *p = node_module(l, c->argument[0])->plan;
    struct table *t = table_open(c, columns, LENGTH_OF(columns), 2);
    struct arena *a = arena_open(1 << 20);
    int rv = 0;

    (void)only;
    for (uint32_t i = 0; i < p->pstates && rv == 0; i++) {
        uint64_t sum = 0, size = 0;

        for (uint32_t task = 0; task < p->tasks && rv == 0; task++, sum += size)
            if ((rv = leat_size(leat_view_task(v, task), i, LEAT_KEYS(), &size)) != 0)
                *err = *leat_view_task(v, task)->err;
        table_row(t, (const char *const[]){p->pstate[i].name, arena_format(a, "%llu", (unsigned long long)sum),
                                           pstate_schema_text(a, &p->pstate[i])});
    }
    table_close(t);
    arena_close(a);
    return rv;
}

int cmd_pstate_info(struct call *c)
{
    return with_view(c, info);
}

/* ---- query and export ---- */

static int read_request(struct call *c, struct arena *a, const struct row_schema *takes, struct leat_value *value,
                        struct leat_error *err)
{
    int rv = json_to_row(a, takes, span_text(c->arguments > 2 ? c->argument[2] : "{}"), value, err);

    return rv == 0 ? 0 : base_wrap(err, rv, "query '%s' takes {%s}", c->argument[1], row_schema_text(a, takes));
}

int cmd_query(struct call *c)
{
    struct leat_query how = {.timeout_ms = (uint32_t)call_number(c, "timeout", 0, UINT32_MAX)};
    struct leat_value value[LIMIT_COLUMNS];
    struct leat_result *result;
    struct leat_error err = {0};
    struct leat *l;
    int rv = call_open(c, c->argument[0], false, &l);

    if (rv != 0)
        return rv;
    struct arena *a = arena_open(SIZE_MAX / 8);
    const struct plan *p = node_module(l, c->argument[0])->plan;
    int topology = plan_topology_find(p, c->argument[1]);
    if (topology < 0 || p->topology[topology].kind != LEAT_QUERY)
        rv = leat_fail(&err, LEAT_ENOTFOUND, "module '%s' has no query '%s'; 'leat module show %s' shows them",
                       c->argument[0], c->argument[1], c->argument[0]);
    if (rv == 0)
        rv = read_request(c, a, &p->topology[topology].takes, value, &err);
    if (rv == 0)
        rv = leat_query(l, c->argument[0], c->argument[1],
                        (struct leat_row){value, p->topology[topology].takes.columns}, &how, &result, &err);
    if (rv == 0) {
        print_batch(c, leat_result_rows(result));
        leat_result_free(result);
    }
    arena_close(a);
    leat_close(l);
    return rv == 0 ? 0 : call_error(&err);
}

static int export_record(void *context, const struct leat_record *record, const struct leat_batch *row)
{
    struct buffer text = {0};
    uint64_t *rows = context;

    (void)record;
    batch_row_to_json(row, 0, &text);
    printf("%.*s\n", (int)text.size, (const char *)text.base);
    buffer_fini(&text);
    (*rows)++;
    return ferror(stdout) ? LEAT_EIO : 0;
}

static int export_depot(struct call *c, struct leat *l, struct leat_error *err)
{
    bool consumes = call_option(c, "consumer") != NULL;
    struct consumer at = {0};
    struct leat_depot *d;
    uint64_t rows = 0;
    int rv = find_depot(c, l, call_option(c, "depot"), &d, err);

    at.partitions = rv == 0 ? leat_depot_partitions(d) : 0;
    at.position = base_alloc((at.partitions + 1) * sizeof(uint64_t));
    if (rv == 0 && consumes)
        rv = export_begin(c, &at, err);
    for (uint32_t p = 0; rv == 0 && p < at.partitions; p++) {
        struct leat_bounds b;

        leat_depot_bounds(d, p, &b);
        if (at.position[p] < b.first || at.position[p] == CONSUMER_NONE)
            at.position[p] = b.first;
        if (b.next > at.position[p])
            rv = leat_depot_read(d, p, at.position[p], UINT32_MAX, export_record, &rows, &at.position[p], err);
    }
    if (rv == 0 && consumes)
        rv = export_end(c, &at, err);
    free(at.position);
    if (rv == 0 && !c->quiet && !ferror(stdout))
        fprintf(stderr, "%llu record%s\n", (unsigned long long)rows, rows == 1 ? "" : "s");
    return ferror(stdout) ? 0 : rv; /* main() says that it could not be written */
}

int cmd_export(struct call *c)
{
    const char *pstate = call_option(c, "pstate"), *depot = call_option(c, "depot");
    struct leat_error err = {0};
    struct leat *l;
    int rv;

    if ((pstate == NULL) == (depot == NULL))
        return call_usage(c, "say what to export: --depot D or --pstate P");
    if (pstate != NULL && call_option(c, "consumer") != NULL)
        return call_usage(c, "--consumer goes with --depot only");
    c->json = true;
    if (pstate != NULL) {
        c->argument[1] = (char *)(uintptr_t)pstate;
        c->arguments = 2;
        return cmd_pstate_scan(c);
    }
    rv = call_open(c, c->argument[0], false, &l);
    if (rv != 0)
        return rv;
    rv = export_depot(c, l, &err);
    leat_close(l);
    return rv == 0 ? 0 : call_error(&err);
}
