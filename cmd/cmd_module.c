/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#include "base/codec.h"
#include "base/file.h"
#include "bench/bench.h"
#include "modules/modules.h"
#include "topologies/plan.h"

int cmd_version(struct call *c)
{
    (void)c;
    printf("leat %s\n", leat_version());
    return 0;
}

int cmd_bench(struct call *c)
{
    const struct bench *b = bench_table;

    if (c->arguments == 0) {
        for (; b->name != NULL; b++)
            printf("  %-12s %s\n", b->name, b->about);
        return 0;
    }
    while (b->name != NULL && strcmp(b->name, c->argument[0]) != 0)
        b++;
    if (b->name == NULL)
        return call_usage(c, "there is no benchmark '%s'; 'leat bench' lists them", c->argument[0]);
    return bench_run(b, c->arguments - 1, c->argument + 1) == 0 ? 0 : EXIT_FAILED;
}

int cmd_module_list(struct call *c)
{
    static const char *const columns[] = {"module", "about"};
    struct table *t = table_open(c, columns, LENGTH_OF(columns), 0);

    for (int i = 0; modules_builtin[i] != NULL; i++)
        table_row(t, (const char *const[]){modules_builtin[i]->name, modules_builtin[i]->about});
    table_close(t);
    return 0;
}

/* What plan_draw_text says, as rows. */
static void show_rows(struct call *c, const struct plan *p)
{
    static const char *const columns[] = {"kind", "name", "schema", "from"};
    struct arena *a = arena_open(1 << 20);
    struct table *t = table_open(c, columns, LENGTH_OF(columns), 0);

    for (uint32_t i = 0; i < p->options; i++)
        table_row(t, (const char *const[]){"option", p->option[i].name, p->option[i].value, ""});
    for (uint32_t i = 0; i < p->depots; i++)
        table_row(t, (const char *const[]){"depot", p->depot[i].name, row_schema_text(a, &p->depot[i].schema), ""});
    for (uint32_t i = 0; i < p->pstates; i++)
        table_row(t, (const char *const[]){"pstate", p->pstate[i].name, pstate_schema_text(a, &p->pstate[i]), ""});
    for (uint32_t i = 0; i < p->topologies; i++) {
        const struct plan_topology *topology = &p->topology[i];

        table_row(t, (const char *const[]){topology->kind == LEAT_QUERY ? "query" : "stream", topology->name,
                                           row_schema_text(a, &topology->takes), ""});
        for (uint32_t j = 0; j < topology->nodes; j++)
            table_row(t, (const char *const[]){"node", arena_format(a, "%s.%s", topology->name, topology->node[j].name),
                                               row_schema_text(a, &topology->node[j].emits),
                                               p->module->topologies[i].nodes[j].from});
    }
    table_close(t);
    arena_close(a);
}

int cmd_module_show(struct call *c)
{
    bool dot = call_option(c, "dot") != NULL;
    struct buffer text = {0};
    struct plan *p;
    int rv = call_plan(c, c->argument[0], &p);

    if (rv != 0)
        return rv;
    if (dot)
        plan_draw_dot(p, &text);
    else if (!c->json)
        plan_draw_text(p, &text);
    else
        show_rows(c, p);
    fwrite(text.base, 1, text.size, stdout);
    buffer_fini(&text);
    plan_close(p);
    return 0;
}

int cmd_module_check(struct call *c)
{
    struct plan *p;
    int rv = call_plan(c, c->argument[0], &p);

    if (rv != 0)
        return rv;
    plan_close(p);
    if (!c->quiet)
        printf(c->json ? "{\"module\": \"%s\", \"fine\": true}\n" : "module %s is fine\n", c->argument[0]);
    return 0;
}

/* ---- stats ---- */

static const char *const stat_columns[] = {"module", "object", "name", "value", "p50", "p99", "max"};

static void number_text(double value, char out[32])
{
    snprintf(out, 32, "%.6g", value);
}

static void stat_row(struct table *t, const char *module, const char *object, const char *name, bool histogram,
                     double value, double p50, double p99, double max)
{
    char text[4][32] = {"", "", "", ""};

    number_text(value, text[0]);
    if (histogram) {
        number_text(p50, text[1]);
        number_text(p99, text[2]);
        number_text(max, text[3]);
    }
    table_row(t, (const char *const[]){module, object, name, text[0], text[1], text[2], text[3]});
}

enum { NAME, MODULE, OBJECT, KIND, VALUE, COUNT, SUM, P50, P90, P99, MAX, TIME, PID, FIELDS };

static const char line_schema[] =
    "name: str?, module: str?, object: str?, kind: str?, value: f64?, count: f64?, sum: f64?, "
    "p50: f64?, p90: f64?, p99: f64?, max: f64?, time_us: f64?, pid: f64?";

static const char *text_of(struct arena *a, const struct leat_value *v)
{
    return v->type == LEAT_STR ? arena_format(a, "%.*s", (int)v->as.bytes.size, (const char *)v->as.bytes.base) : "";
}

static double number_of(const struct leat_value *v)
{
    return v->type == LEAT_I64 ? (double)v->as.i : v->type == LEAT_NULL ? 0 : v->as.f;
}

static void stat_line(struct call *c, struct table *t, const char *line)
{
    struct arena *a = arena_open(1 << 20);
    struct leat_value v[FIELDS];
    struct row_schema schema;

    if (row_schema_parse(a, line_schema, NULL, NULL, &schema, NULL) != 0 ||
        json_to_row(a, &schema, span_text(line), v, NULL) != 0) {
        arena_close(a);
        return;
    }
    bool histogram = v[COUNT].type != LEAT_NULL;
    if (v[PID].type != LEAT_NULL && !c->quiet)
        fprintf(stderr, "figures of process %.0f, %.0f s old\n", number_of(&v[PID]),
                fmax(0, (double)time(NULL) - number_of(&v[TIME]) * 1e-6));
    else if (v[NAME].type != LEAT_NULL)
        stat_row(t, text_of(a, &v[MODULE]), text_of(a, &v[OBJECT]), text_of(a, &v[NAME]), histogram,
                 number_of(&v[histogram ? COUNT : VALUE]), number_of(&v[P50]), number_of(&v[P99]), number_of(&v[MAX]));
    arena_close(a);
}

/* Whoever has the directory open writes its figures there each second, and once more when it closes. */
int cmd_stats(struct call *c)
{
    const char *data = call_option(c, "data");
    struct leat_error err = {0};
    struct buffer text;
    char path[4096], *rest = NULL;

    if (data == NULL)
        return call_usage(c, "say where the data is: --data DIR");
    snprintf(path, sizeof(path), "%s/stats.jsonl", data);
    buffer_init(&text, 16 << 20);
    if (file_read(path, 16 << 20, &text, &err) != 0) {
        buffer_fini(&text);
        fprintf(stderr, "leat: there are no figures in '%s': nothing has run there\n", data);
        return EXIT_OPEN;
    }
    buffer_u8(&text, 0);
    if (c->json) {
        fputs((const char *)text.base, stdout);
    } else {
        struct table *t = table_open(c, stat_columns, LENGTH_OF(stat_columns), 0);

        for (char *line = strtok_r((char *)text.base, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
            stat_line(c, t, line);
        table_close(t);
    }
    buffer_fini(&text);
    return 0;
}
