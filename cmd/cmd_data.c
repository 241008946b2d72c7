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

/* beyond: what of more than most is said to be too much. */
static int read_input(struct buffer *text, size_t most, const char *beyond, struct leat_error *err)
{
    char chunk[65536];
    size_t size;

    buffer_init(text, most);
    while (text->error == 0 && !feof(stdin) && (size = fread(chunk, 1, sizeof(chunk), stdin)) > 0)
        buffer_put(text, chunk, size);
    if (text->error != 0)
        return leat_fail(err, text->error, "more than %zu MiB of %s", most >> 20, beyond);
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
    int rv = read_input(&g->text, LIMIT_BATCH, "rows to append as one; 'leat import' takes files of any size", err);
    for (size_t at = 0; at < g->text.size && rv == 0;) {
        const uint8_t *start = g->text.base + at, *end = memchr(start, '\n', g->text.size - at);
        size_t size = end != NULL ? (size_t)(end - start) : g->text.size - at;

        give(g, span_of(start, size));
        at += size + (end != NULL);
    }
    return rv;
}

/* Without the space at its end: blank lines are no rows. */
static struct leat_span line_of(const struct given *g, size_t i)
{
    struct leat_span line = g->line[i];

    while (line.size > 0 && strchr(" \t\r\n", ((const char *)line.base)[line.size - 1]) != NULL)
        line.size--;
    return line;
}

static bool has_rows(const struct given *g)
{
    size_t i = 0;

    while (i < g->lines && line_of(g, i).size == 0)
        i++;
    return i < g->lines;
}

/* Each line as a row of the schema, checked; into rows unless that is NULL. */
static int add_given(const struct given *g, const struct row_schema *schema, struct leat_rows *rows,
                     struct leat_error *err)
{
    struct arena *a = arena_open(SIZE_MAX / 8);
    struct leat_value value[LIMIT_COLUMNS];
    struct buffer bytes = {0};
    int rv = 0;

    for (size_t i = 0; i < g->lines && rv == 0; i++) {
        struct leat_span line = line_of(g, i);

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
    if (code == 0 && !has_rows(&g) && !c->quiet)
        fprintf(stderr, "0 rows appended\n");
    if (code != 0 || !has_rows(&g))
        goto out;
    rv = call_open(c, c->argument[0], true, &l);
    if (rv != 0)
        goto out;
    code = append_given(c, l, &g, &how, &err);
    call_tell_dead_letters(c, l, c->argument[0]);
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

/* Seconds since 1970 for programs, a date for people. */
static void print_time(const struct call *c, int64_t time_us, char out[40])
{
    if (c->json || !time_text(time_us, out))
        snprintf(out, 40, "%.6f", (double)time_us * 1e-6);
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

/* ---- query and export ---- */

static bool takes_nothing(const struct leat_module *m, const char *query)
{
    const struct leat_topology *t = m->topologies;

    while (t != NULL && t->name != NULL && strcmp(t->name, query) != 0)
        t++;
    return t == NULL || t->name == NULL || t->takes == NULL || t->takes[0] == '\0';
}

/* The request's text, before the directory is opened: whoever writes it may have that open. An exit code. */
static int read_request(struct call *c, struct buffer *text)
{
    const char *data = call_option(c, "data"), *given = c->arguments > 2 ? c->argument[2] : "-";
    const struct leat_module *m = call_module(c->argument[0]);
    struct leat_error err = {0};

    if (m == NULL)
        return EXIT_NO;
    if (c->arguments == 2 && takes_nothing(m, c->argument[1]))
        given = "{}";
    if (strcmp(given, "-") != 0) {
        buffer_put(text, given, strlen(given));
        return 0;
    }
    int rv = data != NULL ? call_there(data, m->name) : call_usage(c, "say where the data is: --data DIR");
    if (rv != 0)
        return rv;
    if (isatty(STDIN_FILENO) && !c->quiet)
        fprintf(stderr, "one JSON object; Ctrl-D ends\n");
    rv = read_input(text, LIMIT_ROW, "one request", &err);
    return rv == 0 ? 0 : call_error(&err);
}

static int parse_request(struct call *c, struct arena *a, const struct row_schema *takes, struct leat_span text,
                         struct leat_value *value, struct leat_error *err)
{
    int rv = json_to_row(a, takes, text, value, err);

    return rv == 0 ? 0 : base_wrap(err, rv, "query '%s' takes {%s}", c->argument[1], row_schema_text(a, takes));
}

static int ask(struct call *c, struct leat *l, struct leat_span request, struct leat_error *err)
{
    struct leat_query how = {.timeout_ms = (uint32_t)call_number(c, "timeout", 0, UINT32_MAX)};
    const struct plan *p = node_module(l, c->argument[0])->plan;
    int topology = plan_topology_find(p, c->argument[1]);
    struct leat_value value[LIMIT_COLUMNS];
    struct leat_result *result;

    if (topology < 0 || p->topology[topology].kind != LEAT_QUERY)
        return leat_fail(err, LEAT_ENOTFOUND, "module '%s' has no query '%s'; 'leat module show %s' shows them",
                         c->argument[0], c->argument[1], c->argument[0]);
    const struct row_schema *takes = &p->topology[topology].takes;
    struct arena *a = arena_open(SIZE_MAX / 8);
    int rv = parse_request(c, a, takes, request, value, err);
    if (rv == 0)
        rv = leat_query(l, c->argument[0], c->argument[1], (struct leat_row){value, takes->columns}, &how, &result,
                        err);
    if (rv == 0) {
        print_batch(c, leat_result_rows(result));
        leat_result_free(result);
    }
    arena_close(a);
    return rv;
}

int cmd_query(struct call *c)
{
    struct leat_error err = {0};
    struct buffer text;
    struct leat *l;
    int code = 0;

    call_number(c, "timeout", 0, UINT32_MAX); /* a wrong one is told before anything is read */
    buffer_init(&text, SIZE_MAX);
    int rv = read_request(c, &text);
    if (rv == 0)
        rv = call_open(c, c->argument[0], false, &l);
    if (rv == 0) {
        code = ask(c, l, span_of(text.base, text.size), &err);
        leat_close(l);
    }
    buffer_fini(&text);
    return code != 0 ? call_error(&err) : rv;
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
    if (pstate != NULL)
        return export_pstate(c);
    rv = call_open(c, c->argument[0], false, &l);
    if (rv != 0)
        return rv;
    rv = export_depot(c, l, &err);
    leat_close(l);
    return rv == 0 ? 0 : call_error(&err);
}
