/* SPDX-License-Identifier: Apache-2.0 */
#include "topologies/plan.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const routes[] = {"local",         "by key",           "to all tasks",     "to task 0",
                                     "to the origin", "to a random task", "to the task named"};

const char *plan_route_text(const struct plan_node *n)
{
    return routes[n->route];
}

const char *plan_partitioner_text(struct arena *a, const struct plan_depot *d)
{
    if (d->tick_ms > 0)
        return arena_format(a, "a row each %u ms", d->tick_ms);
    if (d->partitioner == LEAT_BY_FIELD)
        return arena_format(a, "by %s", d->schema.column[d->by].name);
    return d->partitioner == LEAT_RANDOM     ? "any partition"
           : d->partitioner == LEAT_EXPLICIT ? "the appender says which partition"
                                             : "topologies append";
}

static void line(struct buffer *out, const char *format, ...) LEAT_PRINTF(2, 3);

static void line(struct buffer *out, const char *format, ...)
{
    va_list args, again;

    va_start(args, format);
    va_copy(again, args);
    size_t size = (size_t)vsnprintf(NULL, 0, format, args);
    char *text = buffer_grow(out, size + 1);
    if (text != NULL) {
        vsnprintf(text, size + 1, format, again);
        out->size--;
    }
    va_end(again);
    va_end(args);
}

static const char *from_of(const struct plan *p, uint32_t topology, uint32_t node)
{
    return p->module->topologies[topology].nodes[node].from;
}

static void draw_node(const struct plan *p, struct arena *a, uint32_t topology, uint32_t node, struct buffer *out)
{
    const struct plan_node *n = &p->topology[topology].node[node];

    line(out, "    %-12s <- %s, %s\n", n->name, from_of(p, topology, node), routes[n->route]);
    line(out, "    %-12s    {%s}\n", "", row_schema_text(a, &n->in));
    if (n->work == PLAN_FOLD)
        line(out, "    %-12s    fold %s%s%s", "", n->fold->name, n->use->args[0] != '\0' ? " " : "", n->use->args);
    else
        line(out, "    %-12s    %s%s", "", n->work == PLAN_RUN ? "run" : "append",
             n->at_rest ? " in the background, at rest" : n->background ? " in the background" : "");
    if (n->pstate != UINT32_MAX)
        line(out, " => PState %s\n", p->pstate[n->pstate].name);
    else if (n->depot != UINT32_MAX)
        line(out, " => depot %s\n", p->depot[n->depot].name);
    else if (n->emits.columns > 0)
        line(out, " -> %s{%s}\n", n->reply ? "reply " : "", row_schema_text(a, &n->emits));
    else
        line(out, "\n");
}

void plan_draw_text(const struct plan *p, struct buffer *out)
{
    struct arena *a = arena_open(1 << 20);

    line(out, "module %s, %u tasks%s%s\n", p->module->name, p->tasks, p->module->about != NULL ? ": " : "",
         p->module->about != NULL ? p->module->about : "");
    for (uint32_t i = 0; i < p->options; i++)
        line(out, "  option %s = %s\n", p->option[i].name, p->option[i].value);
    for (uint32_t i = 0; i < p->depots; i++) {
        const struct plan_depot *d = &p->depot[i];

        line(out, "  depot %s {%s}, %s\n", d->name, row_schema_text(a, &d->schema), plan_partitioner_text(a, d));
    }
    for (uint32_t i = 0; i < p->pstates; i++)
        line(out, "  pstate %s %s\n", p->pstate[i].name, pstate_schema_text(a, &p->pstate[i]));
    for (uint32_t i = 0, names = 0; i < p->pstates; i++)
        if (p->derived_from >> i & 1)
            line(out, "%s%s", names++ == 0 ? "  derived from " : ", ", p->pstate[i].name);
    if (p->derived_from != 0)
        line(out, "\n");
    for (uint32_t i = 0; i < p->topologies; i++) {
        const struct plan_topology *t = &p->topology[i];

        if (t->kind == LEAT_QUERY)
            line(out, "  query %s takes {%s}\n", t->name, row_schema_text(a, &t->takes));
        else
            line(out, "  stream %s\n", t->name);
        for (uint32_t j = 0; j < t->nodes; j++)
            draw_node(p, a, i, j, out);
    }
    arena_close(a);
}

static void draw_edges(const struct plan *p, const char *from, const struct plan_edge *edge, uint32_t edges,
                       struct buffer *out)
{
    for (uint32_t i = 0; i < edges; i++) {
        const struct plan_node *n = plan_node_at(p, edge[i]);

        line(out, "  \"%s\" -> \"%s.%s\" [label=\"%s\"];\n", from, p->topology[edge[i].topology].name, n->name,
             routes[n->route]);
    }
}

void plan_draw_dot(const struct plan *p, struct buffer *out)
{
    struct arena *a = arena_open(1 << 20);

    line(out, "digraph \"%s\" {\n  rankdir=LR;\n  node [shape=box];\n", p->module->name);
    for (uint32_t i = 0; i < p->depots; i++) {
        if (p->depot[i].edges > 0 || !p->depot[i].dead_letters)
            line(out, "  \"%s\" [shape=cds];\n", p->depot[i].name);
        draw_edges(p, p->depot[i].name, p->depot[i].edge, p->depot[i].edges, out);
    }
    for (uint32_t i = 0; i < p->pstates; i++)
        line(out, "  \"pstate %s\" [shape=cylinder];\n", p->pstate[i].name);
    for (uint32_t i = 0; i < p->pstates; i++)
        if (p->derived_from >> i & 1)
            line(out, "  \"pstate %s\" -> \"derived\" [style=dashed];\n", p->pstate[i].name);
    for (uint32_t i = 0; i < p->topologies; i++) {
        const struct plan_topology *t = &p->topology[i];

        if (t->kind == LEAT_QUERY)
            draw_edges(p, arena_format(a, "%s request", t->name), t->edge, t->edges, out);
        for (uint32_t j = 0; j < t->nodes; j++) {
            const struct plan_node *n = &t->node[j];
            const char *name = arena_format(a, "%s.%s", t->name, n->name);

            draw_edges(p, name, n->edge, n->edges, out);
            if (n->pstate != UINT32_MAX)
                line(out, "  \"%s\" -> \"pstate %s\";\n", name, p->pstate[n->pstate].name);
            if (n->depot != UINT32_MAX)
                line(out, "  \"%s\" -> \"%s\";\n", name, p->depot[n->depot].name);
            if (n->background)
                line(out, "  \"%s\" [style=dashed];\n", name);
            if (n->reply)
                line(out, "  \"%s\" -> \"%s reply\";\n", name, t->name);
        }
    }
    line(out, "}\n");
    arena_close(a);
}
