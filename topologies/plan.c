/* SPDX-License-Identifier: Apache-2.0 */
#include "topologies/check.h"

#include <stdio.h>

/* Making a plan: names to numbers, schemas parsed, edges resolved. Rules are in check.c; here they are applied in the
 * order in which a reader of the module meets them, and the first mistake ends it. */

const char *plan_option_value(const struct plan *p, const char *name)
{
    for (uint32_t i = 0; i < p->options; i++)
        if (strcmp(p->option[i].name, name) == 0)
            return p->option[i].value;
    return NULL;
}

static const char *lookup_option(void *context, const char *name)
{
    return plan_option_value(context, name);
}

int plan_depot_find(const struct plan *p, const char *name)
{
    for (uint32_t i = 0; i < p->depots; i++)
        if (strcmp(p->depot[i].name, name) == 0)
            return (int)i;
    return -1;
}

int plan_pstate_find(const struct plan *p, const char *name)
{
    for (uint32_t i = 0; i < p->pstates; i++)
        if (strcmp(p->pstate[i].name, name) == 0)
            return (int)i;
    return -1;
}

int plan_topology_find(const struct plan *p, const char *name)
{
    for (uint32_t i = 0; i < p->topologies; i++)
        if (strcmp(p->topology[i].name, name) == 0)
            return (int)i;
    return -1;
}

const struct plan_node *plan_node_at(const struct plan *p, struct plan_edge at)
{
    leat_assert(at.topology < p->topologies && at.node < p->topology[at.topology].nodes);
    return &p->topology[at.topology].node[at.node];
}

/* ---- Options, depots, PStates ---- */

static int make_options(struct plan *p, const struct leat_option *given, struct leat_error *err)
{
    const struct leat_option *declared = p->module->options;
    int rv = 0;

    p->option = arena_zeroed(p->arena, LIMIT_OPTIONS * sizeof(*p->option), 8);
    for (uint32_t i = 0; declared != NULL && declared[i].name != NULL && rv == 0; i++) {
        rv = check_name(p, "option", declared[i].name, i, LIMIT_OPTIONS, err);
        if (rv == 0 && plan_option_value(p, declared[i].name) != NULL)
            rv = check_fail(p, err, "option '%s' is there twice", declared[i].name);
        if (rv == 0 && declared[i].value == NULL)
            rv = check_fail(p, err, "option '%s' has no default", declared[i].name);
        struct plan_option o = {declared[i].name, declared[i].value};
        rv = rv == 0 ? check_option(p, &o, o.value, err) : rv;
        if (rv == 0)
            p->option[p->options++] = o;
    }
    for (uint32_t i = 0; given != NULL && given[i].name != NULL && rv == 0; i++) {
        uint32_t j = 0;

        while (j < p->options && strcmp(p->option[j].name, given[i].name) != 0)
            j++;
        if (j == p->options)
            return check_fail(p, err, "there is no option '%s'%s", given[i].name,
                              check_suggest_option(p, given[i].name));
        /* By its default, not by what was given for the same option before. */
        rv = check_option(p, &(struct plan_option){declared[j].name, declared[j].value}, given[i].value, err);
        if (rv == 0)
            p->option[j].value = arena_format(p->arena, "%s", given[i].value);
    }
    return rv;
}

static int make_depot(struct plan *p, const struct leat_depot_declaration *d, struct leat_error *err)
{
    struct plan_depot *to = &p->depot[p->depots];
    int rv = check_name(p, "depot", d->name, p->depots, LIMIT_DEPOTS, err);

    if (rv == 0 && plan_depot_find(p, d->name) >= 0)
        rv = check_fail(p, err, "depot '%s' is there twice", d->name);
    if (rv == 0 && strcmp(d->name, "dead_letters") == 0)
        rv = check_fail(p, err, "depot 'dead_letters' is made by Leat; it may only be read");
    if (rv == 0 && d->tick_ms > 0 && d->schema != NULL)
        rv = check_fail(p, err, "depot '%s': a tick depot has no schema of its own", d->name);
    if (rv != 0)
        return rv;
    to->name = d->name;
    to->partitioner = d->tick_ms > 0 ? LEAT_NO_CLIENT : d->partitioner;
    to->tick_ms = d->tick_ms;
    rv = row_schema_parse(p->arena, d->tick_ms > 0 ? "time: i64" : d->schema, lookup_option, p, &to->schema, err);
    if (rv != 0)
        return check_wrap(p, err, "depot '%s'", d->name);
    if (to->schema.columns == 0)
        return check_fail(p, err, "depot '%s': its schema has no columns", d->name);
    if (d->retain != NULL && plan_retain_parse(d->retain, &to->retain, err) != 0)
        return check_wrap(p, err, "depot '%s'", d->name);
    rv = check_by(p, d, to, err);
    if (rv == 0)
        p->depots++;
    return rv;
}

static int make_depots(struct plan *p, struct leat_error *err)
{
    const struct leat_depot_declaration *d = p->module->depots;
    int rv = 0;

    p->depot = arena_zeroed(p->arena, (LIMIT_DEPOTS + 1) * sizeof(*p->depot), 8);
    for (uint32_t i = 0; d != NULL && d[i].name != NULL && rv == 0; i++)
        rv = make_depot(p, &d[i], err);
    if (rv != 0)
        return rv;
    struct plan_depot *dead = &p->depot[p->depots++];
    *dead = (struct plan_depot){.name = "dead_letters", .partitioner = LEAT_NO_CLIENT, .dead_letters = true};
    return row_schema_parse(p->arena,
                            "topology: str, node: str, task: u32, reason: str, input: str, row: bytes, time: i64", NULL,
                            NULL, &dead->schema, err);
}

static int make_pstates(struct plan *p, struct leat_error *err)
{
    const struct leat_pstate_declaration *d = p->module->pstates;

    p->pstate = arena_zeroed(p->arena, LIMIT_PSTATES * sizeof(*p->pstate), 8);
    for (uint32_t i = 0; d != NULL && d[i].name != NULL; i++) {
        int rv = check_name(p, "PState", d[i].name, i, LIMIT_PSTATES, err);

        if (rv == 0 && plan_pstate_find(p, d[i].name) >= 0)
            rv = check_fail(p, err, "PState '%s' is there twice", d[i].name);
        if (rv != 0)
            return rv;
        if (pstate_schema_parse(p->arena, d[i].name, d[i].schema, lookup_option, p, &p->pstate[i], err) != 0)
            return check_wrap(p, err, "PState '%s'", d[i].name);
        p->pstates++;
    }
    return 0;
}

/* ---- Topologies: first all names, then sources, then what follows from them ---- */

static int make_topology(struct plan *p, const struct leat_topology *d, struct leat_error *err)
{
    struct plan_topology *t = &p->topology[p->topologies];
    int rv = check_topology(p, d, err);

    if (rv != 0)
        return rv;
    *t = (struct plan_topology){.name = d->name, .kind = d->kind, .stream = p->streams, .reply = UINT32_MAX,
                               .yardstick = UINT32_MAX, .recall = d->recall};
    if (d->kind == LEAT_STREAM)
        p->stream[p->streams++] = p->topologies;
    t->node = arena_zeroed(p->arena, LIMIT_NODES * sizeof(*t->node), 16);
    if (row_schema_parse(p->arena, d->takes, lookup_option, p, &t->takes, err) != 0)
        return check_wrap(p, err, "topology '%s', takes", d->name);
    for (uint32_t i = 0; d->nodes[i].name != NULL && rv == 0; i++) {
        struct plan_node *n = &t->node[t->nodes];

        rv = check_node(p, d, t, &d->nodes[i], err);
        if (rv != 0)
            break;
        *n = (struct plan_node){.name = d->nodes[i].name, .route = d->nodes[i].route, .run = d->nodes[i].run,
                                .fold = d->nodes[i].fold, .pstate = UINT32_MAX, .depot = UINT32_MAX,
                                .background = d->nodes[i].background, .at_rest = d->nodes[i].at_rest};
        n->work = n->run != NULL ? PLAN_RUN : n->fold != NULL ? PLAN_FOLD : PLAN_APPEND;
        if (n->run != NULL && row_schema_parse(p->arena, d->nodes[i].emits, lookup_option, p, &n->emits, err) != 0)
            return check_wrap(p, err, "topology '%s', node '%s', emits", d->name, n->name);
        t->nodes++;
    }
    p->topologies++;
    return rv;
}

static int add_edge(struct plan *p, struct plan_edge **edge, uint32_t *edges, struct plan_edge to, const char *source,
                    struct leat_error *err)
{
    for (uint32_t i = 0; i < *edges; i++)
        if ((*edge)[i].topology == to.topology && (*edge)[i].node == to.node)
            return check_node_fail(p, to, err, "reads '%s' twice", source);
    struct plan_edge *grown = arena_alloc(p->arena, (*edges + 1) * sizeof(*grown), 8);
    if (*edges > 0)
        memcpy(grown, *edge, *edges * sizeof(*grown));
    grown[(*edges)++] = to;
    *edge = grown;
    return 0;
}

static struct plan_foreign *foreign_of(struct plan *p, const char *module, const char *depot)
{
    for (uint32_t i = 0; i < p->foreigns; i++)
        if (strcmp(p->foreign[i].module, module) == 0 && strcmp(p->foreign[i].depot, depot) == 0)
            return &p->foreign[i];
    struct plan_foreign *grown = arena_zeroed(p->arena, (p->foreigns + 1) * sizeof(*grown), 8);
    if (p->foreigns > 0)
        memcpy(grown, p->foreign, p->foreigns * sizeof(*grown));
    p->foreign = grown;
    grown[p->foreigns] = (struct plan_foreign){.module = module, .depot = depot};
    return &grown[p->foreigns++];
}

static int foreign_source(struct plan *p, const struct plan_config *config, const char *source, struct plan_edge to,
                          const struct row_schema **schema, struct leat_error *err)
{
    const char *slash = strchr(source, '/');
    const char *module = arena_format(p->arena, "%.*s", (int)(slash - source), source), *depot = slash + 1;

    if (config->find == NULL || config->find(config->context, module, depot, schema) != 0)
        return check_node_fail(p, to, err,
                               "reads '%s', but there is no such module with that depot here: launch it first", source);
    struct plan_foreign *f = foreign_of(p, module, depot);
    f->schema = **schema;
    return add_edge(p, &f->edge, &f->edges, to, source, err);
}

/* One name in .from: what it emits. */
static int resolve_source(struct plan *p, const struct plan_config *config, const char *source, struct plan_edge to,
                          const struct row_schema **schema, struct leat_error *err)
{
    struct plan_topology *t = &p->topology[to.topology];

    if (strchr(source, '/') != NULL && t->kind == LEAT_STREAM)
        return foreign_source(p, config, source, to, schema, err);
    if (strcmp(source, "request") == 0 && t->kind == LEAT_QUERY) {
        *schema = &t->takes;
        t->node[to.node].from_request = true;
        return add_edge(p, &t->edge, &t->edges, to, source, err);
    }
    for (uint32_t i = 0; i < t->nodes; i++)
        if (strcmp(t->node[i].name, source) == 0) {
            *schema = &t->node[i].emits;
            if (t->node[i].work == PLAN_APPEND)
                return check_node_fail(p, to, err, "reads '%s', which only appends to a depot", source);
            if (t->node[i].work == PLAN_RUN && t->node[i].emits.columns == 0)
                return check_node_fail(p, to, err, "reads '%s', which emits nothing: its .emits is missing", source);
            return add_edge(p, &t->node[i].edge, &t->node[i].edges, to, source, err);
        }
    int depot = plan_depot_find(p, source);
    if (depot >= 0 && t->kind == LEAT_STREAM) {
        *schema = &p->depot[depot].schema;
        return add_edge(p, &p->depot[depot].edge, &p->depot[depot].edges, to, source, err);
    }
    return check_node_fail(p, to, err, "reads '%s', which is no %s%s", source,
                           t->kind == LEAT_QUERY ? "node of this query, nor \"request\""
                                                 : "depot or node of this topology",
                           check_suggest_source(p, to, source));
}

/* The next of several names that commas separate; NULL: no more. */
static const char *next_name(struct plan *p, const char **names)
{
    const char *start = *names;
    size_t size = strcspn(start, ",");

    if (*start == '\0')
        return NULL;
    *names += size + (start[size] == ',');
    while (size > 0 && *start == ' ')
        start++, size--;
    while (size > 0 && start[size - 1] == ' ')
        size--;
    return arena_format(p->arena, "%.*s", (int)size, start);
}

/* All names in .from. A fold that emits is resolved when its columns are known, so sources are
 * followed in a second pass after its own. */
static int resolve_node(struct plan *p, const struct plan_config *config, struct plan_edge at, struct leat_error *err)
{
    const char *from = p->module->topologies[at.topology].nodes[at.node].from;
    struct plan_node *n = &p->topology[at.topology].node[at.node];
    const char *source;
    bool first = true;

    while ((source = next_name(p, &from)) != NULL) {
        const struct row_schema *schema;
        int rv = resolve_source(p, config, source, at, &schema, err);
        if (rv != 0)
            return rv;
        if (!first && !check_same_columns(&n->in, schema))
            return check_node_fail(p, at, err, "its sources emit different columns: {%s} and {%s} from '%s'",
                                   row_schema_text(p->arena, &n->in), row_schema_text(p->arena, schema), source);
        n->in = *schema;
        first = false;
    }
    return first ? check_node_fail(p, at, err, "has no source: .from is empty") : 0;
}

/* Arguments with $options replaced. */
static int fold_arguments(struct plan *p, struct plan_edge at, const char *args, const char **out,
                          struct leat_error *err)
{
    struct buffer text = {0};

    for (const char *c = args != NULL ? args : ""; *c != '\0';) {
        if (*c != '$') {
            buffer_put(&text, c++, 1);
            continue;
        }
        c++;
        const char *name = schema_name_parse(p->arena, &c), *value = name != NULL ? plan_option_value(p, name) : NULL;
        if (value == NULL) {
            buffer_fini(&text);
            return check_node_fail(p, at, err, "its arguments name '$%s', which is no option of the module",
                                   name != NULL ? name : "");
        }
        buffer_put(&text, value, strlen(value));
    }
    *out = arena_format(p->arena, "%.*s", (int)text.size, text.size > 0 ? (const char *)text.base : "");
    buffer_fini(&text);
    return 0;
}

/* What a fold makes of its columns. */
static int prepare_fold(struct plan *p, struct plan_edge at, struct leat_error *err)
{
    const struct leat_node *d = &p->module->topologies[at.topology].nodes[at.node];
    struct plan_node *n = &p->topology[at.topology].node[at.node];
    struct leat_fold_use *use = arena_zeroed(p->arena, sizeof(*use), 16);
    struct fold_asked asked = {.count = 0};
    char text[2048] = "";
    struct row_schema emits;
    uint32_t keys = n->keyed ? 1 : 0;
    int rv = fold_arguments(p, at, d->args, &use->args, err);

    if (rv != 0)
        return rv;
    n->use = use;
    use->fold = n->fold;
    use->plan = p;
    use->column = n->in.column + keys;
    use->columns = (struct leat_batch){0, n->in.columns - keys, use->column};
    use->asked = &asked;
    rv = n->fold->prepare(use, &n->state_size, text, sizeof(text), err);
    if (rv == 0)
        rv = row_schema_parse(p->arena, text, lookup_option, p, &emits, err);
    if (rv != 0)
        return check_node_wrap(p, at, err, "fold %s", n->fold->name);
    use->asked = NULL;
    rv = check_arguments(p, at, &asked, err);
    if (rv != 0)
        return rv;
    n->emits.columns = emits.columns + keys;
    n->emits.column = arena_zeroed(p->arena, (n->emits.columns + 1) * sizeof(*n->emits.column), 8);
    if (n->keyed)
        n->emits.column[0] = n->in.column[0];
    memcpy(n->emits.column + keys, emits.column, emits.columns * sizeof(*emits.column));
    return 0;
}

/* Columns flow from sources to nodes; a fold's are known once its sources' are. So: resolve a node when all that it
 * reads is known, again and again, until nothing is left. Run nodes say what they emit, so loops do no harm. */
static bool sources_known(const struct plan *p, struct plan_edge at, const bool *known)
{
    const char *from = p->module->topologies[at.topology].nodes[at.node].from;
    const struct plan_topology *t = &p->topology[at.topology];

    for (uint32_t i = 0; i < t->nodes; i++) {
        size_t size = strlen(t->node[i].name);

        for (const char *c = strstr(from, t->node[i].name); c != NULL; c = strstr(c + 1, t->node[i].name)) {
            bool whole = (c == from || strchr(", ", c[-1]) != NULL) &&
                         (c[size] == '\0' || strchr(", ", c[size]) != NULL);

            if (whole && t->node[i].work == PLAN_FOLD && !known[i])
                return false;
        }
    }
    return true;
}

static int resolve_topology(struct plan *p, const struct plan_config *config, uint32_t topology, struct leat_error *err)
{
    struct plan_topology *t = &p->topology[topology];
    bool known[LIMIT_NODES] = {false};
    uint32_t left = t->nodes;
    bool moved = true;
    int rv = 0;

    while (left > 0 && moved && rv == 0) {
        moved = false;
        for (uint32_t i = 0; i < t->nodes && rv == 0; i++) {
            struct plan_edge at = {topology, i};

            if (known[i] || !sources_known(p, at, known))
                continue;
            rv = resolve_node(p, config, at, err);
            if (rv == 0)
                rv = check_route(p, at, err);
            if (rv == 0)
                rv = check_into(p, at, err);
            if (rv == 0 && t->node[i].work == PLAN_FOLD)
                rv = prepare_fold(p, at, err);
            if (rv == 0)
                rv = check_resolved(p, at, err);
            known[i] = moved = true;
            left--;
        }
    }
    if (rv == 0 && left > 0)
        rv = check_fail(p, err, "topology '%s': a fold reads from itself: a fold in a loop never finishes", t->name);
    return rv == 0 ? check_shape(p, topology, err) : rv;
}

static int make_topologies(struct plan *p, const struct plan_config *config, struct leat_error *err)
{
    const struct leat_topology *d = p->module->topologies;
    int rv = 0;

    p->topology = arena_zeroed(p->arena, LIMIT_TOPOLOGIES * sizeof(*p->topology), 8);
    p->stream = arena_alloc(p->arena, LIMIT_TOPOLOGIES * sizeof(*p->stream), 8);
    for (uint32_t i = 0; d != NULL && d[i].name != NULL && rv == 0; i++)
        rv = make_topology(p, &d[i], err);
    for (uint32_t i = 0; i < p->topologies && rv == 0; i++)
        rv = resolve_topology(p, config, i, err);
    for (uint32_t i = 0; i < p->topologies && rv == 0; i++) {
        int yardstick = d[i].yardstick != NULL ? plan_topology_find(p, d[i].yardstick) : -1;

        rv = check_yardstick(p, &d[i], i, yardstick, err);
        p->topology[i].yardstick = (uint32_t)yardstick;
    }
    return rv;
}

/* What the module derives, and of which PStates. */
static int make_derive(struct plan *p, struct leat_error *err)
{
    const char *from, *name;
    int rv = p->module->derive != NULL ? check_derive(p, err) : 0;

    if (p->module->derive == NULL || rv != 0)
        return rv;
    for (from = p->module->derive->from; rv == 0 && (name = next_name(p, &from)) != NULL;) {
        int pstate = plan_pstate_find(p, name);

        rv = check_derived_from(p, name, pstate, err);
        if (rv == 0)
            p->derived_from |= UINT64_C(1) << pstate;
    }
    return rv;
}

/* Where rows of background nodes wait: by the turn that sent them and their place in it, all of a group's at its first
 * task. Made last, so that no topology can name it. */
static int make_background(struct plan *p, struct leat_error *err)
{
    bool wanted = false;

    for (uint32_t i = 0; i < p->topologies; i++)
        for (uint32_t j = 0; j < p->topology[i].nodes; j++)
            wanted = wanted || p->topology[i].node[j].background;
    if (!wanted)
        return 0;
    if (plan_pstate_find(p, "background") >= 0)
        return check_fail(p, err,
                          "PState 'background' is made by Leat, for the rows of background nodes: give yours another "
                          "name");
    if (p->pstates == LIMIT_PSTATES)
        return check_fail(p, err, "more than %d PStates, with the one that Leat makes for the rows of background nodes",
                          LIMIT_PSTATES);
    p->background = p->pstates++;
    return pstate_schema_parse(p->arena, "background",
                               "map<u64, struct{topology: str, node: str, task: u32, row: bytes}>", NULL, NULL,
                               &p->pstate[p->background], err);
}

int plan_open(const struct plan_config *config, struct plan **out, struct leat_error *err)
{
    struct leat_error own;
    struct plan *p = base_alloc(sizeof(*p));
    int rv;

    err = err != NULL ? err : &own;
    err->text[0] = '\0';
    p->arena = arena_open(LIMIT_TURN_MEMORY);
    p->module = config->module;
    p->tasks = config->tasks;
    p->background = UINT32_MAX;
    p->values.plan = p;
    rv = check_module(p, err);
    if (rv == 0)
        rv = make_options(p, config->options, err);
    if (rv == 0)
        rv = make_depots(p, err);
    if (rv == 0)
        rv = make_pstates(p, err);
    if (rv == 0)
        rv = make_topologies(p, config, err);
    if (rv == 0)
        rv = make_derive(p, err);
    if (rv == 0)
        rv = make_background(p, err);
    if (rv == 0 && p->module->open != NULL && p->module->open(&p->values, &p->state, err) != 0)
        rv = check_wrap(p, err, "its open()");
    if (rv != 0) {
        arena_close(p->arena);
        free(p);
        return rv;
    }
    *out = p;
    return 0;
}

void plan_close(struct plan *p)
{
    if (p == NULL)
        return;
    if (p->module->close != NULL)
        p->module->close(p->state);
    arena_close(p->arena);
    free(p);
}

/* ---- Options as the module reads them ---- */

const char *leat_option_text(const struct leat_options *options, const char *name)
{
    const char *value = plan_option_value(options->plan, name);

    leat_assert(value != NULL);
    return value;
}

int64_t leat_option_i64(const struct leat_options *options, const char *name)
{
    return strtoll(leat_option_text(options, name), NULL, 10);
}

double leat_option_f64(const struct leat_options *options, const char *name)
{
    return strtod(leat_option_text(options, name), NULL);
}

void plan_fingerprint(const struct plan *p, struct buffer *out)
{
    char line[256];

    snprintf(line, sizeof(line), "tasks %u\n", p->tasks);
    buffer_put(out, line, strlen(line));
    for (uint32_t i = 0; i < p->options; i++) {
        const char *text = arena_format(p->arena, "option %s %s\n", p->option[i].name, p->option[i].value);

        buffer_put(out, text, strlen(text));
    }
    for (uint32_t i = 0; i < p->depots; i++) {
        const struct plan_depot *d = &p->depot[i];
        bool by = d->partitioner == LEAT_BY_FIELD;
        const char *text = arena_format(p->arena, "depot %s %s%s%s\n", d->name, row_schema_text(p->arena, &d->schema),
                                        by ? " by " : "", by ? d->schema.column[d->by].name : "");

        buffer_put(out, text, strlen(text));
    }
    for (uint32_t i = 0; i < p->pstates; i++) {
        const char *text = arena_format(p->arena, "pstate %s %s\n", p->pstate[i].name,
                                        pstate_schema_text(p->arena, &p->pstate[i]));

        buffer_put(out, text, strlen(text));
    }
    for (uint32_t i = 0; i < p->foreigns; i++) {
        const char *text = arena_format(p->arena, "reads %s/%s\n", p->foreign[i].module, p->foreign[i].depot);

        buffer_put(out, text, strlen(text));
    }
}

void plan_streams(const struct plan *p, struct buffer *out)
{
    for (uint32_t i = 0; i < p->streams; i++) {
        const struct plan_topology *t = &p->topology[p->stream[i]];

        for (uint32_t j = 0; j < t->nodes; j++) {
            const struct plan_node *n = &t->node[j];
            const char *text = arena_format(p->arena, "stream %s node %s takes %s%s%s%s\n", t->name, n->name,
                                            row_schema_text(p->arena, &n->in), n->fold != NULL ? " fold " : "",
                                            n->fold != NULL ? n->fold->name : "", n->background ? " background" : "");

            buffer_put(out, text, strlen(text));
        }
    }
}
