/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#include "bench/bench.h"
#include "cmd/top.h"
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
    const char *unknown = bench_unknown(b, c->arguments - 1, c->argument + 1);
    if (unknown != NULL)
        return call_usage(c, "benchmark '%s' has no option '%s'; they are '--name=value', 'leat bench' names some",
                          b->name, unknown);
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

static void show_node(struct table *t, struct arena *a, const struct plan *p, uint32_t topology, uint32_t node)
{
    const struct plan_topology *in = &p->topology[topology];
    const struct plan_node *n = &in->node[node];
    const char *into = n->pstate != UINT32_MAX  ? p->pstate[n->pstate].name
                       : n->depot != UINT32_MAX ? p->depot[n->depot].name
                                                : "";
    const char *work = n->work != PLAN_RUN ? "append" : n->background ? "run in the background" : "run", *args = "";

    if (n->work == PLAN_FOLD) {
        work = arena_format(a, "fold %s", n->fold->name);
        args = n->use->args;
    }
    table_row(t, (const char *const[]){"node", arena_format(a, "%s.%s", in->name, n->name),
                                       row_schema_text(a, &n->emits), p->module->topologies[topology].nodes[node].from,
                                       plan_route_text(n), work, args, into});
}

/* What plan_draw_text says, as rows. */
static void show_rows(struct call *c, const struct plan *p)
{
    static const char *const columns[] = {"kind", "name", "schema", "from", "route", "work", "args", "into"};
    struct arena *a = arena_open(1 << 20);
    struct table *t = table_open(c, columns, LENGTH_OF(columns), 0);

    for (uint32_t i = 0; i < p->options; i++)
        table_row(t, (const char *const[]){"option", p->option[i].name, p->option[i].value, "", "", "", "", ""});
    for (uint32_t i = 0; i < p->depots; i++)
        table_row(t, (const char *const[]){"depot", p->depot[i].name, row_schema_text(a, &p->depot[i].schema), "",
                                           plan_partitioner_text(a, &p->depot[i]), "", "", ""});
    for (uint32_t i = 0; i < p->pstates; i++)
        table_row(t, (const char *const[]){"pstate", p->pstate[i].name, pstate_schema_text(a, &p->pstate[i]), "", "",
                                           "", "", ""});
    for (uint32_t i = 0; i < p->topologies; i++) {
        const struct plan_topology *topology = &p->topology[i];

        table_row(t, (const char *const[]){topology->kind == LEAT_QUERY ? "query" : "stream", topology->name,
                                           row_schema_text(a, &topology->takes), "", "", "", "", ""});
        for (uint32_t j = 0; j < topology->nodes; j++)
            show_node(t, a, p, i, j);
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
    bool whole = value == floor(value) && fabs(value) < 1e15;

    snprintf(out, 32, whole ? "%.0f" : "%.6g", value);
}

static void stat_row(struct table *t, const struct top_figure *f)
{
    char text[4][32] = {"", "", "", ""};

    number_text(f->value, text[0]);
    if (f->histogram) {
        number_text(f->p50, text[1]);
        number_text(f->p99, text[2]);
        number_text(f->max, text[3]);
    }
    table_row(t, (const char *const[]){f->module, f->object, f->name, text[0], text[1], text[2], text[3]});
}

static void stat_rows(struct call *c, const struct top_sample *s)
{
    struct table *t = table_open(c, stat_columns, LENGTH_OF(stat_columns), 0);
    uint32_t count;
    const struct top_figure *f = top_sample_figures(s, &count);

    if (!c->quiet)
        fprintf(stderr, "figures of process %lld, %.0f s old\n", (long long)top_sample_process(s),
                fmax(0, (double)time(NULL) - (double)top_sample_time(s) * 1e-6));
    for (uint32_t i = 0; i < count; i++)
        stat_row(t, &f[i]);
    table_close(t);
}

int cmd_stats(struct call *c)
{
    const char *data = call_option(c, "data");
    struct top_sample *s;
    struct buffer text;

    if (data == NULL)
        return call_usage(c, "say where the data is: --data DIR");
    int rv = call_figures(data, &text, &s);
    if (rv == 0 && c->json)
        fwrite(text.base, 1, text.size, stdout);
    else if (rv == 0)
        stat_rows(c, s);
    top_sample_close(s);
    buffer_fini(&text);
    return rv;
}
