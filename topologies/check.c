/* SPDX-License-Identifier: Apache-2.0 */
#include "topologies/check.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int check_fail(const struct plan *p, struct leat_error *err, const char *format, ...)
{
    char text[768];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return p->module->name == NULL ? leat_fail(err, LEAT_EMODULE, "the module: %s", text)
                                   : leat_fail(err, LEAT_EMODULE, "module '%s': %s", p->module->name, text);
}

int check_wrap(const struct plan *p, struct leat_error *err, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return base_wrap(err, LEAT_EMODULE, "module '%s': %s", p->module->name, text);
}

int check_node_fail(const struct plan *p, struct plan_edge at, struct leat_error *err, const char *format, ...)
{
    const struct plan_topology *t = &p->topology[at.topology];
    char text[640];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return check_fail(p, err, "topology '%s': node '%s': %s", t->name, t->node[at.node].name, text);
}

int check_node_wrap(const struct plan *p, struct plan_edge at, struct leat_error *err, const char *format, ...)
{
    const struct plan_topology *t = &p->topology[at.topology];
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return check_wrap(p, err, "topology '%s': node '%s': %s", t->name, t->node[at.node].name, text);
}

/* ---- Names ---- */

static bool name_fits(const char *name)
{
    if (name == NULL || !islower((unsigned char)name[0]) || strlen(name) > LIMIT_NAME)
        return false;
    for (const char *c = name; *c != '\0'; c++)
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && *c != '_')
            return false;
    return true;
}

int check_name(const struct plan *p, const char *what, const char *name, uint32_t count, uint32_t limit,
               struct leat_error *err)
{
    if (count >= limit)
        return check_fail(p, err, "more than %u of kind %s", limit, what);
    if (name == NULL)
        return check_fail(p, err, "it has no name: .name is missing");
    if (!name_fits(name))
        return check_fail(p, err, "%s '%s': a name is [a-z][a-z0-9_]*, at most %d bytes", what, name, LIMIT_NAME);
    return 0;
}

int check_module(const struct plan *p, struct leat_error *err)
{
    if (p->module->abi != LEAT_ABI)
        return check_fail(p, err, "it was compiled for interface version %u, this library has %u: compile it again",
                          p->module->abi, LEAT_ABI);
    if (p->tasks == 0 || p->tasks > LIMIT_TASKS || (p->tasks & (p->tasks - 1)) != 0)
        return check_fail(p, err, "%u tasks: the number of tasks is a power of two up to %d", p->tasks, LIMIT_TASKS);
    if (p->module->name == NULL)
        return check_fail(p, err, "it has no name: .name is missing");
    return name_fits(p->module->name)
               ? 0
               : check_fail(p, err, "a name is [a-z][a-z0-9_]*, at most %d bytes", LIMIT_NAME);
}

/* Levenshtein distance, at most two. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[LIMIT_NAME + 2];
    size_t m = strlen(a), n = strlen(b);

    if (m > LIMIT_NAME || n > LIMIT_NAME)
        return 3;
    for (size_t j = 0; j <= n; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= m; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= n; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[n];
}

/* What may have been meant by a name: of those that are there the nearest, unless half of it would have to change. */
struct nearest {
    const char *name, *best;
    unsigned distance;
};

static void offer(struct nearest *n, const char *there)
{
    unsigned d = distance(there, n->name);

    if (d > 2 || 2 * d >= strlen(n->name) || (n->best != NULL && d >= n->distance))
        return;
    n->best = there;
    n->distance = d;
}

static const char *suggest(const struct plan *p, const struct nearest *n)
{
    return n->best != NULL ? arena_format(p->arena, " (did you mean '%s'?)", n->best) : "";
}

const char *check_suggest_option(const struct plan *p, const char *name)
{
    struct nearest n = {.name = name};
    const char *all = "none";

    for (uint32_t i = 0; i < p->options; i++) {
        offer(&n, p->option[i].name);
        all = i == 0 ? p->option[i].name : arena_format(p->arena, "%s, %s", all, p->option[i].name);
    }
    return n.best != NULL ? suggest(p, &n) : arena_format(p->arena, " (there are %s)", all);
}

const char *check_suggest_source(const struct plan *p, struct plan_edge at, const char *name)
{
    const struct plan_topology *t = &p->topology[at.topology];
    struct nearest n = {.name = name};

    for (uint32_t i = 0; i < t->nodes; i++)
        if (i != at.node)
            offer(&n, t->node[i].name);
    for (uint32_t i = 0; i < p->depots && t->kind == LEAT_STREAM; i++)
        offer(&n, p->depot[i].name);
    return suggest(p, &n);
}

/* ---- Options and depots ---- */

/* Values are kept in an INI file, and must be the same when they are read there: blanks at the ends are cut, and a ';'
 * behind a blank begins a comment. */
static int check_form(const struct plan *p, const char *option, const char *value, struct leat_error *err)
{
    size_t size = value != NULL ? strlen(value) : 0;

    if (value == NULL)
        return check_fail(p, err, "option '%s': its value is missing", option);
    if (size > LIMIT_OPTION)
        return check_fail(p, err, "option '%s': its value has %zu bytes, but at most %d are possible", option, size,
                          LIMIT_OPTION);
    if (size > 0 && (value[0] == ' ' || value[size - 1] == ' '))
        return check_fail(p, err, "option '%s': its value has blanks at its ends", option);
    for (size_t i = 0; i < size; i++) {
        if ((uint8_t)value[i] < ' ')
            return check_fail(p, err, "option '%s': character %zu of its value is a control character", option, i + 1);
        if (value[i] == ';' && (i == 0 || value[i - 1] == ' '))
            return check_fail(p, err,
                              "option '%s': character %zu of its value is a ';' at the start or behind a blank, where "
                              "it would begin a comment",
                              option, i + 1);
    }
    return 0;
}

int check_option(const struct plan *p, const struct plan_option *o, const char *value, struct leat_error *err)
{
    int rv = check_form(p, o->name, value, err);
    char *end;

    if (rv != 0)
        return rv;
    strtoll(o->value, &end, 10);
    bool whole = *o->value != '\0' && *end == '\0';
    strtod(o->value, &end);
    bool number = *o->value != '\0' && *end == '\0';
    if (!number)
        return 0;
    errno = 0;
    if (whole)
        strtoll(value, &end, 10);
    else
        strtod(value, &end);
    if (*value == '\0' || *end != '\0' || errno == ERANGE)
        return check_fail(p, err, "option '%s' is '%.128s', but a %snumber is wanted, like its default %s", o->name,
                          value, whole ? "whole " : "", o->value);
    return 0;
}

static bool is_scalar(const struct leat_column *c)
{
    return c->type < LEAT_ANY && c->type != LEAT_NULL && c->type != LEAT_F32;
}

int check_by(const struct plan *p, const struct leat_depot_declaration *d, struct plan_depot *to,
             struct leat_error *err)
{
    if (to->partitioner != LEAT_BY_FIELD)
        return d->by == NULL ? 0
                             : check_fail(p, err, "depot '%s': .by = \"%s\" goes only with partitioning by field",
                                          d->name, d->by);
    if (d->by == NULL)
        return check_fail(p, err, "depot '%s': say by which column it is partitioned (.by), or another .partitioner",
                          d->name);
    int by = row_schema_find(&to->schema, d->by);
    if (by < 0)
        return check_fail(p, err, "depot '%s': .by = \"%s\" is no column of {%s}", d->name, d->by,
                          row_schema_text(p->arena, &to->schema));
    if (!is_scalar(&to->schema.column[by]) || to->schema.column[by].nullable)
        return check_fail(p, err,
                          "depot '%s': column '%s' cannot partition: it is %s, but a scalar that is never null is "
                          "wanted",
                          d->name, d->by, schema_type_text(p->arena, &to->schema.column[by]));
    to->by = (uint32_t)by;
    return 0;
}

/* ---- Topologies and nodes by themselves ---- */

int check_topology(const struct plan *p, const struct leat_topology *d, struct leat_error *err)
{
    int rv = check_name(p, "topology", d->name, p->topologies, LIMIT_TOPOLOGIES, err);

    if (rv != 0)
        return rv;
    if (plan_topology_find(p, d->name) >= 0)
        return check_fail(p, err, "topology '%s' is there twice", d->name);
    if (d->kind != LEAT_STREAM && d->kind != LEAT_QUERY)
        return check_fail(p, err, "topology '%s' is neither LEAT_STREAM nor LEAT_QUERY", d->name);
    if (d->nodes == NULL || d->nodes[0].name == NULL)
        return check_fail(p, err, "topology '%s' has no nodes", d->name);
    if (d->kind == LEAT_STREAM && d->takes != NULL)
        return check_fail(p, err, "topology '%s' is a stream: .takes is for queries", d->name);
    return 0;
}

int check_yardstick(const struct plan *p, const struct leat_topology *d, uint32_t topology, int yardstick,
                    struct leat_error *err)
{
    const struct plan_topology *t = &p->topology[topology], *of = yardstick >= 0 ? &p->topology[yardstick] : NULL;

    if (d->yardstick == NULL && d->recall == NULL)
        return 0;
    if (d->yardstick == NULL || d->recall == NULL || t->kind != LEAT_QUERY)
        return check_fail(p, err, "topology '%s': .yardstick and .recall go together, and are for queries", t->name);
    if (of == NULL || of == t || of->kind != LEAT_QUERY)
        return check_fail(p, err, "topology '%s': its yardstick '%s' is no other query of the module", t->name,
                          d->yardstick);
    if (!row_schema_equal(&t->takes, &of->takes) ||
        !row_schema_equal(&t->node[t->reply].emits, &of->node[of->reply].emits))
        return check_fail(p, err, "topology '%s': its yardstick '%s' takes or answers other columns", t->name,
                          d->yardstick);
    return 0;
}

/* A depot that leaves a group no rest (leat_node.at_rest). */
static bool ticks_often(const struct plan *p)
{
    enum { OFTEN_MS = 500 };

    for (uint32_t i = 0; i < p->depots; i++)
        if (p->depot[i].tick_ms > 0 && p->depot[i].tick_ms < OFTEN_MS)
            return true;
    return false;
}

int check_node(const struct plan *p, const struct leat_topology *of, const struct plan_topology *t,
               const struct leat_node *d, struct leat_error *err)
{
    const char *wrong = NULL;
    int rv = check_name(p, "node", d->name, t->nodes, LIMIT_NODES, err);

    if (rv != 0)
        return rv;
    for (uint32_t i = 0; i < t->nodes; i++)
        if (strcmp(t->node[i].name, d->name) == 0)
            wrong = "is there twice";
    if (strcmp(d->name, "request") == 0 || strcmp(d->name, "reply") == 0)
        wrong = "has a name that is taken";
    else if (of->kind == LEAT_STREAM && plan_depot_find(p, d->name) >= 0)
        wrong = "has the name of a depot";
    else if (d->from == NULL)
        wrong = "has no source: .from is missing";
    else if (d->run != NULL && d->fold != NULL)
        wrong = "has both .run and .fold";
    else if (d->run == NULL && d->fold == NULL && d->into == NULL)
        wrong = "does nothing: give it .run, .fold, or .into a depot";
    else if (d->run != NULL && d->args != NULL)
        wrong = "has .args, which only folds take";
    else if (d->fold != NULL && d->emits != NULL)
        wrong = "has .emits, but a fold knows what it emits";
    else if ((unsigned)d->route > LEAT_DIRECT)
        wrong = "has an unknown .route";
    else if (d->route == LEAT_TO_ORIGIN && of->kind != LEAT_QUERY)
        wrong = "routes to the origin, which only queries have";
    else if (d->background && of->kind != LEAT_STREAM)
        wrong = "is a background node, which only streams have";
    else if (d->background && d->run == NULL)
        wrong = "is a background node, so it needs .run";
    else if (d->at_rest && !d->background)
        wrong = "has .at_rest, which only background nodes have";
    else if (d->at_rest && ticks_often(p))
        wrong = "has .at_rest, but a depot ticks more than twice a second: there would be no rest";
    return wrong == NULL ? 0 : check_fail(p, err, "topology '%s': node '%s' %s", of->name, d->name, wrong);
}

/* ---- Where results go ---- */

static int into_depot(struct plan *p, struct plan_edge at, const char *into, struct leat_error *err)
{
    struct plan_node *n = &p->topology[at.topology].node[at.node];
    int depot = plan_depot_find(p, into);

    if (p->topology[at.topology].kind == LEAT_QUERY)
        return check_node_fail(p, at, err, "a query cannot append to a depot");
    if (depot < 0)
        return check_node_fail(p, at, err, "appends to '%s', which is no depot of the module", into);
    if (p->depot[depot].tick_ms > 0 || p->depot[depot].dead_letters)
        return check_node_fail(p, at, err, "depot '%s' cannot be appended to", into);
    if (!row_schema_equal(&n->in, &p->depot[depot].schema))
        return check_node_fail(p, at, err, "appends {%s} to depot '%s', which has {%s}",
                               row_schema_text(p->arena, &n->in), into,
                               row_schema_text(p->arena, &p->depot[depot].schema));
    n->depot = (uint32_t)depot;
    return 0;
}

static int into_pstate(struct plan *p, struct plan_edge at, const char *into, struct leat_error *err)
{
    struct plan_node *n = &p->topology[at.topology].node[at.node];
    int pstate = into != NULL ? plan_pstate_find(p, into) : -1;

    if (into == NULL)
        return check_node_fail(p, at, err, "a fold in a stream needs a PState: .into is missing");
    if (pstate < 0)
        return check_node_fail(p, at, err, "folds into '%s', which is no PState of the module", into);
    const struct pstate_level *top = p->pstate[pstate].top;
    if (n->route != LEAT_BY_KEY)
        return check_node_fail(p, at, err,
                               "folds into a PState, so its route must be LEAT_BY_KEY: state is where its key lives");
    if (n->in.columns == 0 || top->shape != PSTATE_MAP || top->key.type != n->in.column[0].type)
        return check_node_fail(p, at, err, "PState '%s' is %s, but a map by the first column {%s} is wanted", into,
                               pstate_schema_text(p->arena, &p->pstate[pstate]), row_schema_text(p->arena, &n->in));
    for (uint32_t t = 0; t < p->topologies; t++)
        for (uint32_t i = 0; i < p->topology[t].nodes; i++)
            if (p->topology[t].node[i].pstate == (uint32_t)pstate)
                return check_node_fail(p, at, err, "node '%s' of topology '%s' folds into PState '%s' already",
                                       p->topology[t].node[i].name, p->topology[t].name, into);
    n->pstate = (uint32_t)pstate;
    n->keyed = true;
    return 0;
}

int check_into(struct plan *p, struct plan_edge at, struct leat_error *err)
{
    const char *into = p->module->topologies[at.topology].nodes[at.node].into;
    struct plan_topology *t = &p->topology[at.topology];
    struct plan_node *n = &t->node[at.node];

    if (n->work == PLAN_APPEND)
        return into_depot(p, at, into, err);
    if (t->kind == LEAT_STREAM && n->work == PLAN_FOLD)
        return into_pstate(p, at, into, err);
    n->keyed = n->work == PLAN_FOLD && n->route == LEAT_BY_KEY;
    if (into == NULL)
        return 0;
    if (t->kind == LEAT_STREAM)
        return check_node_fail(p, at, err, "has .into, which is for folds; a run writes by leat_put");
    if (strcmp(into, "reply") != 0)
        return check_node_fail(p, at, err, "a query writes only into \"reply\", not '%s'", into);
    if (n->route != LEAT_TO_ORIGIN)
        return check_node_fail(p, at, err, "is the reply, so its route must be LEAT_TO_ORIGIN");
    if (t->reply != UINT32_MAX)
        return check_node_fail(p, at, err, "is a second reply beside '%s'", t->node[t->reply].name);
    if (n->work == PLAN_RUN && n->emits.columns == 0)
        return check_node_fail(p, at, err, "is the reply, so it must say what it emits: .emits is missing");
    n->reply = true;
    t->reply = at.node;
    return 0;
}

/* ---- With columns ---- */

static bool same_types(const struct leat_column *a, const struct leat_column *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (a[i].type != b[i].type || a[i].count != b[i].count || a[i].nullable != b[i].nullable)
            return false;
    return true;
}

bool check_same_columns(const struct row_schema *a, const struct row_schema *b)
{
    return a->columns == b->columns && same_types(a->column, b->column, a->columns);
}

static bool elements_fit(const struct pstate_level *level, const struct row_schema *rows)
{
    switch (level->shape) {
    case PSTATE_SET:
        return rows->columns == 1 && rows->column[0].type == level->key.type;
    case PSTATE_MAP:
        return rows->columns > 0 && rows->column[0].type == level->key.type &&
               rows->columns - 1 == level->below->fields.columns &&
               same_types(rows->column + 1, level->below->fields.column, rows->columns - 1);
    case PSTATE_LIST:
        return check_same_columns(rows, &level->below->fields);
    default:
        return false;
    }
}

/* What a fold keeps in its PState: for an average its sum and count, else what it finishes with. */
static int check_kept(const struct plan *p, struct plan_edge at, struct leat_error *err)
{
    const struct plan_node *n = plan_node_at(p, at);
    const struct pstate_level *level = p->pstate[n->pstate].top->below;
    struct row_schema rows = {n->emits.columns - 1, n->emits.column + 1};
    struct leat_column average[2] = {{.name = "sum", .type = LEAT_F64}, {.name = "count", .type = LEAT_I64}};
    bool fits;

    if (n->fold == &leat_average)
        rows = (struct row_schema){2, average};
    if (n->fold->keep == LEAT_KEEP_VALUE)
        fits = (level->shape == PSTATE_LEAF || level->shape == PSTATE_STRUCT) &&
               check_same_columns(&rows, &level->fields);
    else if (n->fold->keep == LEAT_KEEP_ROWS)
        fits = level->shape == PSTATE_LIST && check_same_columns(&rows, &level->below->fields);
    else
        fits = elements_fit(level, &rows);
    return fits ? 0
                : check_node_fail(p, at, err, "fold %s keeps {%s}%s by key, which does not fit PState '%s', %s",
                                  n->fold->name, row_schema_text(p->arena, &rows),
                                  n->fold->keep == LEAT_KEEP_VALUE ? "" : " row by row", p->pstate[n->pstate].name,
                                  pstate_schema_text(p->arena, &p->pstate[n->pstate]));
}

int check_route(const struct plan *p, struct plan_edge at, struct leat_error *err)
{
    const struct plan_node *n = plan_node_at(p, at);
    const struct leat_column *first = n->in.columns > 0 ? &n->in.column[0] : NULL;

    if (n->route == LEAT_BY_KEY && (first == NULL || !is_scalar(first) || first->nullable))
        return check_node_fail(p, at, err,
                               "routes by key, so its first column must be a scalar that is never null; it reads {%s}",
                               row_schema_text(p->arena, &n->in));
    if (n->route == LEAT_DIRECT && (first == NULL || first->type != LEAT_U32 || first->nullable))
        return check_node_fail(p, at, err, "routes to a task, so its first column must be u32; it reads {%s}",
                               row_schema_text(p->arena, &n->in));
    return 0;
}

int check_resolved(const struct plan *p, struct plan_edge at, struct leat_error *err)
{
    const struct plan_node *n = plan_node_at(p, at);

    if (n->emits.columns > LIMIT_COLUMNS)
        return check_node_fail(p, at, err, "emits too many columns");
    return n->work == PLAN_FOLD && n->pstate != UINT32_MAX ? check_kept(p, at, err) : 0;
}

/* ---- Arguments of folds ---- */

static bool asked_for(const struct fold_asked *asked, const char *name, size_t size)
{
    for (uint32_t i = 0; i < asked->count; i++)
        if (strlen(asked->name[i]) == size && memcmp(asked->name[i], name, size) == 0)
            return true;
    return false;
}

static const char *asked_text(const struct plan *p, const struct fold_asked *asked)
{
    const char *text = asked->count > 0 ? asked->name[0] : "none";

    for (uint32_t i = 1; i < asked->count; i++)
        text = arena_format(p->arena, "%s, %s", text, asked->name[i]);
    return text;
}

int check_arguments(const struct plan *p, struct plan_edge at, const struct fold_asked *asked, struct leat_error *err)
{
    const struct plan_node *n = plan_node_at(p, at);
    const char *args = n->use->args;
    struct leat_span word, name, earlier;

    for (const char *next = args; fold_argument_next(&next, &word, &name);) {
        if (name.size == word.size)
            return check_node_fail(p, at, err, "its argument '%.*s' has no value: NAME=VALUE is wanted", (int)word.size,
                                   (const char *)word.base);
        if (!asked_for(asked, name.base, name.size))
            return check_node_fail(p, at, err, "fold %s has no argument '%.*s'; it takes %s", n->fold->name,
                                   (int)name.size, (const char *)name.base, asked_text(p, asked));
        for (const char *before = args; fold_argument_next(&before, &word, &earlier) && earlier.base != name.base;)
            if (span_equal(earlier, name))
                return check_node_fail(p, at, err, "its argument '%.*s' is given twice", (int)name.size,
                                       (const char *)name.base);
    }
    return 0;
}

/* ---- What is derived ---- */

int check_derive(const struct plan *p, struct leat_error *err)
{
    const struct leat_derive *d = p->module->derive;

    if (d->build == NULL || d->apply == NULL || d->drop == NULL)
        return check_fail(p, err, "derive: .build, .apply and .drop are all wanted");
    if (d->from == NULL || d->from[0] == '\0')
        return check_fail(p, err, "derive: .from is empty: name the PStates that it follows from");
    return 0;
}

static const char *suggest_pstate(const struct plan *p, const char *name)
{
    struct nearest n = {.name = name};

    for (uint32_t i = 0; i < p->pstates; i++)
        offer(&n, p->pstate[i].name);
    return suggest(p, &n);
}

/* Elements of nested collections are written by reference: their operations do not say the first key. */
static bool says_first_key(const struct pstate_level *top)
{
    const struct pstate_level *below = top->shape == PSTATE_MAP || top->shape == PSTATE_LIST ? top->below : NULL;

    return below == NULL || below->shape == PSTATE_LEAF || below->shape == PSTATE_STRUCT || below->shape == PSTATE_ROWS;
}

int check_derived_from(const struct plan *p, const char *name, int pstate, struct leat_error *err)
{
    if (pstate < 0)
        return check_fail(p, err, "derive: .from names '%s', which is no PState of the module%s", name,
                          suggest_pstate(p, name));
    if (p->derived_from >> pstate & 1)
        return check_fail(p, err, "derive: .from names '%s' twice", name);
    if (!says_first_key(p->pstate[pstate].top))
        return check_fail(p, err,
                          "derive: PState '%s' is %s, but a map or list of collections cannot be followed; put leaves "
                          "or rows<..> in it",
                          name, pstate_schema_text(p->arena, &p->pstate[pstate]));
    return 0;
}

/* ---- Shape ---- */

enum { UNSEEN, UNDER_WAY, SEEN };

struct walk {
    struct plan_topology *t;
    uint32_t topology;
    uint8_t state[LIMIT_NODES];
    uint32_t order[LIMIT_NODES]; /* nodes, those that feed others last */
    uint32_t seen;
};

static void visit(struct walk *w, uint32_t node)
{
    const struct plan_node *n = &w->t->node[node];

    w->state[node] = UNDER_WAY;
    for (uint32_t i = 0; i < n->edges; i++)
        if (w->state[n->edge[i].node] == UNSEEN)
            visit(w, n->edge[i].node);
    w->state[node] = SEEN;
    w->order[w->seen++] = node;
}

static void visit_edges(struct walk *w, const struct plan_edge *edge, uint32_t edges)
{
    for (uint32_t i = 0; i < edges; i++)
        if (edge[i].topology == w->topology && w->state[edge[i].node] == UNSEEN)
            visit(w, edge[i].node);
}

/* Longest way from a source; edges against the order of the walk close loops and are left out. */
static void set_ranks(struct walk *w)
{
    uint32_t position[LIMIT_NODES];

    for (uint32_t i = 0; i < w->seen; i++)
        position[w->order[i]] = i;
    for (uint32_t i = w->seen; i > 0; i--) {
        struct plan_node *n = &w->t->node[w->order[i - 1]];

        for (uint32_t j = 0; j < n->edges; j++) {
            struct plan_node *to = &w->t->node[n->edge[j].node];

            if (position[n->edge[j].node] < i - 1 && to->rank < n->rank + 1)
                to->rank = n->rank + 1;
        }
    }
}

static bool leads_to(const struct plan_topology *t, uint32_t from, uint32_t to, bool *been)
{
    for (uint32_t i = 0; i < t->node[from].edges; i++) {
        uint32_t next = t->node[from].edge[i].node;

        if (next == to)
            return true;
        if (!been[next]) {
            been[next] = true;
            if (leads_to(t, next, to, been))
                return true;
        }
    }
    return false;
}

/* Ranks do not order folds: a node of a loop may be fed by a fold of higher rank than the folds the loop feeds.
 * Whatever leads to a fold leads to the folds behind it as well, and none leads to itself:
 * so those behind have more before. */
static void count_folds_before(struct plan_topology *t)
{
    for (uint32_t i = 0; i < t->nodes; i++)
        for (uint32_t j = 0; j < t->nodes; j++) {
            bool been[LIMIT_NODES] = {false};

            if (t->node[j].work == PLAN_FOLD && leads_to(t, j, i, been))
                t->node[i].folds_before++;
        }
}

static int check_reads(const struct plan *p, uint32_t topology, const struct walk *w, struct leat_error *err)
{
    const struct plan_topology *t = &p->topology[topology];

    for (uint32_t i = 0; i < t->nodes; i++) {
        const struct plan_node *n = &t->node[i];
        struct plan_edge at = {topology, i};
        bool been[LIMIT_NODES] = {false};

        if (w->state[i] == UNSEEN)
            return check_node_fail(p, at, err, "nothing leads to it from a %s",
                                   t->kind == LEAT_QUERY ? "request" : "depot");
        if (n->work == PLAN_RUN && n->emits.columns > 0 && n->edges == 0 && !n->reply)
            return check_node_fail(p, at, err, "nobody reads what it emits");
        if (n->work == PLAN_FOLD && t->kind == LEAT_QUERY && n->edges == 0 && !n->reply)
            return check_node_fail(p, at, err, "nobody reads what it finishes with; is .into = \"reply\" missing?");
        if (n->work == PLAN_FOLD && leads_to(t, i, i, been))
            return check_node_fail(p, at, err, "a fold in a loop never finishes");
        if (n->work == PLAN_FOLD && n->pstate != UINT32_MAX && n->edges > 0)
            return check_node_fail(p, at, err, "folds into a PState and emits nothing, but '%s' reads it",
                                   t->node[n->edge[0].node].name);
    }
    return 0;
}

int check_shape(struct plan *p, uint32_t topology, struct leat_error *err)
{
    struct walk w = {.t = &p->topology[topology], .topology = topology};

    visit_edges(&w, w.t->edge, w.t->edges);
    for (uint32_t i = 0; i < p->depots; i++)
        visit_edges(&w, p->depot[i].edge, p->depot[i].edges);
    for (uint32_t i = 0; i < p->foreigns; i++)
        visit_edges(&w, p->foreign[i].edge, p->foreign[i].edges);
    set_ranks(&w);
    count_folds_before(w.t);
    if (w.t->kind == LEAT_QUERY && w.t->reply == UINT32_MAX)
        return check_fail(p, err, "topology '%s': no node has .into = \"reply\"", w.t->name);
    return check_reads(p, topology, &w, err);
}
