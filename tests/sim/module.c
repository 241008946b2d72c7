/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/module.h"

#include "base/base.h"
#include "tests/sim/derived.h"

#include <stdarg.h>
#include <stdio.h>

struct sim_module sim_module;

/* ---- Rules ---- */

uint64_t sim_mix(uint64_t a, uint64_t b)
{
    uint64_t h = (a ^ (b + 0x9e3779b97f4a7c15U)) * 0xbf58476d1ce4e5b9U;

    h = (h ^ h >> 27) * 0x94d049bb133111ebU;
    return h ^ h >> 31;
}

struct sim_row sim_client_row(const struct sim_module *m, uint32_t client, uint64_t number)
{
    uint64_t id = sim_mix(sim_mix(client, 0), number);

    return (struct sim_row){(uint32_t)(sim_mix(id, 1) % m->keys), (int64_t)(sim_mix(id, 2) % m->values), id};
}

uint32_t sim_rule(const struct sim_module *m, uint32_t n, const struct sim_row *in, struct sim_row out[RULE_MOST])
{
    const struct sim_node *node = &m->node[n];
    uint64_t h = sim_mix(in->id, n + 100);
    uint32_t count = 1;

    if (!node->emits)
        return 0;
    out[0] = (struct sim_row){in->key % node->keys, in->value, h};
    switch (node->rule) {
    case RULE_REKEY:
        out[0].key = (uint32_t)(sim_mix(in->key, n) % node->keys);
        break;
    case RULE_FILTER:
        count = h % 3 != 0;
        break;
    case RULE_SPLIT:
        count = (uint32_t)(h % 4);
        for (uint32_t i = 0; i < count; i++)
            out[i] = (struct sim_row){(uint32_t)((h >> 8 * i) % node->keys), in->value + i, sim_mix(h, i)};
        break;
    case RULE_COUNT:
        out[0].key = (uint32_t)(h % node->keys);
        out[0].value = in->value - 1;
        count = in->value > 0;
        break;
    default:
        break;
    }
    return count;
}

bool sim_rejects(const struct sim_node *n, const struct sim_row *row)
{
    return n->reject_in > 0 && sim_mix(row->id, 7) % n->reject_in == 0;
}

bool sim_poisons(const struct sim_node *n, const struct sim_row *row)
{
    return n->poison_in > 0 && sim_mix(row->id, 8) % n->poison_in == 0;
}

static bool follows_background(const struct sim_module *m, const struct sim_node *n)
{
    return !n->background && n->route == LEAT_LOCAL && n->depots == 0 && n->parents == 1 &&
           m->node[n->parent[0]].background;
}

bool sim_poisons_record(const struct sim_module *m, uint32_t depot, const struct sim_row *row)
{
    for (uint32_t i = 0; i < m->nodes && !m->forced; i++)
        for (uint32_t d = 0; d < m->node[i].depots && !m->node[i].background; d++)
            if (m->node[i].depot[d] == depot && sim_poisons(&m->node[i], row))
                return true;
    return false;
}

bool sim_poisons_result(const struct sim_module *m, uint32_t at, const struct sim_row *row, uint32_t rows)
{
    for (uint32_t i = 0; i < m->nodes && !m->forced && m->node[at].background; i++)
        for (uint32_t j = 0; j < rows && follows_background(m, &m->node[i]) && m->node[i].parent[0] == at; j++)
            if (sim_poisons(&m->node[i], &row[j]))
                return true;
    return false;
}

bool sim_returns(const struct sim_module *m, uint32_t depot, const struct sim_row *row)
{
    const struct sim_node *n = &m->node[m->return_node];

    if (m->return_node == m->nodes || n->depot[0] != depot || sim_rejects(n, row) || sim_poisons(n, row))
        return false;
    return !sim_poisons_record(m, depot, row);
}

bool sim_clears(const struct sim_node *n, const struct sim_row *row)
{
    return n->ordered && n->keep == KEEP_LIST && sim_mix(row->id, 9) % 20 == 0;
}

/* ---- Making one ---- */

static uint32_t below(struct random *r, uint32_t bound)
{
    return (uint32_t)random_below(r, bound);
}

static bool known(const struct sim_node *n, uint32_t kind, uint32_t number)
{
    for (uint32_t i = 0; i < (kind == 0 ? n->depots : n->parents); i++)
        if ((kind == 0 ? n->depot[i] : n->parent[i]) == number)
            return true;
    return false;
}

/* One source: a depot that is read by clients or filled by a node before, or a node before that runs. */
static void add_source(struct random *r, struct sim_module *m, uint32_t at)
{
    struct sim_node *n = &m->node[at];
    uint32_t parent = at > 0 ? below(r, at) : 0;

    if (at > 0 && below(r, 3) > 0 && m->node[parent].keep < KEEP_RUNS && m->node[parent].rows_most < 24) {
        if (!known(n, 1, parent))
            n->parent[n->parents++] = parent;
        m->node[parent].emits = true;
        return;
    }
    uint32_t depot = below(r, m->depots);
    bool filled = m->depot[depot].client;
    for (uint32_t i = 0; i < at; i++)
        filled = filled || (m->node[i].keep == KEEP_DEPOT && m->node[i].into == depot);
    depot = filled ? depot : 0;
    if (!known(n, 0, depot))
        n->depot[n->depots++] = depot;
}

static uint32_t rows_of_depot(const struct sim_module *m, uint32_t depot)
{
    uint32_t rows = m->depot[depot].client;

    for (uint32_t i = 0; i < m->nodes; i++)
        if (m->node[i].keep == KEEP_DEPOT && m->node[i].into == depot)
            rows += m->node[i].rows_most;
    return rows;
}

static uint32_t rows_in(const struct sim_module *m, const struct sim_node *n)
{
    uint32_t rows = 0;

    for (uint32_t i = 0; i < n->depots; i++)
        rows += rows_of_depot(m, n->depot[i]);
    for (uint32_t i = 0; i < n->parents; i++)
        rows += m->node[n->parent[i]].rows_most * (m->node[n->parent[i]].rule == RULE_SPLIT ? 2 : 1);
    return rows;
}

/* Rows of a task and key must come from one partition over one way: over local hops, or by a key that no node has
 * changed, from a depot that is cut by it. */
static bool is_ordered(const struct sim_module *m, const struct sim_node *n)
{
    if (n->depots + n->parents != 1 || n->loop || n->route > LEAT_BY_KEY)
        return false;
    if (n->depots == 1)
        return m->depot[n->depot[0]].client &&
               (n->route == LEAT_LOCAL || m->depot[n->depot[0]].partitioner == LEAT_BY_FIELD);
    const struct sim_node *p = &m->node[n->parent[0]];
    if (!p->ordered || (p->rule != RULE_PASS && p->rule != RULE_FILTER) || p->keys < m->keys)
        return false;
    while (p->depots == 0)
        p = &m->node[p->parent[0]];
    return n->route == LEAT_LOCAL || m->depot[p->depot[0]].partitioner == LEAT_BY_FIELD;
}

static void choose_run(struct random *r, struct sim_module *m, uint32_t at)
{
    static const enum leat_route routes[] = {LEAT_LOCAL, LEAT_LOCAL, LEAT_BY_KEY, LEAT_BY_KEY, LEAT_BY_KEY, LEAT_ALL,
                                             LEAT_GLOBAL, LEAT_TO_RANDOM, LEAT_DIRECT};
    struct sim_node *n = &m->node[at];

    n->route = routes[below(r, LENGTH_OF(routes))];
    if (n->route == LEAT_ALL && n->rows_most * m->tasks > 32)
        n->route = LEAT_BY_KEY;
    if (n->route == LEAT_DIRECT && n->depots > 0)
        n->route = LEAT_BY_KEY;
    for (uint32_t i = 0; i < n->parents && n->route == LEAT_DIRECT; i++)
        m->node[n->parent[i]].keys = m->tasks < m->node[n->parent[i]].keys ? m->tasks : m->node[n->parent[i]].keys;
    n->rows_most *= n->route == LEAT_ALL ? m->tasks : 1;
    n->rule = (enum rule)below(r, RULE_COUNT);
    n->loop = n->route != LEAT_ALL && n->rows_most <= 2 && below(r, 5) == 0;
    if (n->loop) {
        n->rule = RULE_COUNT;
        n->parent[n->parents++] = at;
        n->emits = true;
        n->keys = n->route == LEAT_DIRECT && m->tasks < n->keys ? m->tasks : n->keys;
        n->rows_most *= m->values;
    }
    n->keep = (enum keep)below(r, KEEP_RUNS);
    n->reject_in = below(r, 6) == 0 ? 11 : 0;
    n->poison_in = below(r, 4) == 0 ? 17 : 0;
    n->background = below(r, 4) == 0;
}

/* The highest depot that rows of a node come from. */
static uint32_t depot_above(const struct sim_module *m, const struct sim_node *n)
{
    uint32_t highest = 0;

    for (uint32_t i = 0; i < n->depots; i++)
        highest = n->depot[i] > highest ? n->depot[i] : highest;
    for (uint32_t i = 0; i < n->parents; i++) {
        const struct sim_node *p = &m->node[n->parent[i]];

        highest = p->highest_depot > highest ? p->highest_depot : highest;
    }
    return highest;
}

static void choose_end(struct random *r, struct sim_module *m, uint32_t at)
{
    struct sim_node *n = &m->node[at];

    n->route = LEAT_BY_KEY;
    n->keep = (enum keep)(KEEP_COUNT + below(r, KEEPS - KEEP_COUNT));
    if (n->keep != KEEP_DEPOT)
        return;
    n->into = m->client_depots + below(r, m->depots - m->client_depots);
    n->route = LEAT_LOCAL;
    if (n->depots == 0 && n->into > n->highest_depot && rows_of_depot(m, n->into) + n->rows_most <= 32)
        return;
    n->keep = KEEP_COUNT;
    n->route = LEAT_BY_KEY;
}

/* Is it known what a failing run takes with it? A turn's input does, and where no hop goes through the journal that is
 * more than came to the node. */
static bool poison_known(const struct sim_module *m, const struct sim_node *n)
{
    return m->forced || n->background || (n->parents == 0 && n->route == LEAT_LOCAL) || follows_background(m, n);
}

/* Whoever keeps a chain must know the order; a node that keeps nothing must send something on. */
static void settle(struct sim_module *m, struct sim_node *n)
{
    n->ordered = is_ordered(m, n);
    n->background = n->background && n->emits;
    n->at_rest = n->background && m->tick_ms == 0 && (n - m->node + m->values) % 3 == 0;
    if (n->background)
        n->keep = KEEP_NOTHING;
    if (!poison_known(m, n))
        n->poison_in = 0;
    if (n->keep == KEEP_CHAIN && !n->ordered)
        n->keep = KEEP_TOTALS;
    if (n->keep == KEEP_NOTHING && !n->background && (!n->emits || n->loop))
        n->keep = KEEP_TOTALS;
    n->pstate = -1;
    if (n->keep == KEEP_NOTHING || n->keep == KEEP_DEPOT)
        return;
    n->pstate = (int)m->pstates;
    m->pstates += n->keep == KEEP_TOTALS ? 2 : 1;
}

/* ---- As a struct leat_module ---- */

static const char *text(struct sim_module *m, const char *format, ...) LEAT_PRINTF(2, 3);
static const char *text(struct sim_module *m, const char *format, ...)
{
    char *at = m->text + m->text_size;
    va_list args;

    va_start(args, format);
    int n = vsnprintf(at, MODULE_TEXT - m->text_size, format, args);
    va_end(args);
    leat_assert(n >= 0 && m->text_size + (size_t)n + 1 <= MODULE_TEXT);
    m->text_size += (size_t)n + 1;
    return at;
}

static const struct sim_node *node_of(struct leat_task *t, uint32_t n, const struct leat_batch *in, uint32_t row,
                                      struct sim_row *out)
{
    (void)t;
    *out = (struct sim_row){(uint32_t)leat_at(in, row, 0).as.u, leat_at(in, row, 1).as.i, leat_at(in, row, 2).as.u};
    return &sim_module.node[n];
}

static void keep_totals(struct leat_task *t, uint32_t p, struct leat_value key, const struct sim_row *row)
{
    struct leat_value was[3] = {leat_i64(0), leat_i64(0), leat_u64(0)}, twin = leat_i64(0);

    leat_get(t, p, LEAT_KEYS(key), was, 3);
    int64_t count = was[0].as.i + 1, sum = was[1].as.i + row->value;
    uint64_t hash = was[2].as.u + sim_mix(row->id, 3);
    leat_put(t, p, LEAT_KEYS(key), LEAT_ROW(leat_i64(count), leat_i64(sum), leat_u64(hash)));
    leat_get(t, p + 1, LEAT_KEYS(key), &twin, 1);
    leat_put(t, p + 1, LEAT_KEYS(key), LEAT_ROW(leat_i64(twin.as.i + 1)));
}

static void keep_row(struct leat_task *t, const struct sim_node *n, const struct sim_row *row)
{
    struct leat_value key = leat_u32(row->key), was = leat_u64(0);
    uint32_t p = (uint32_t)n->pstate;

    switch (n->keep) {
    case KEEP_TOTALS:
        keep_totals(t, p, key, row);
        break;
    case KEEP_CHAIN:
        leat_get(t, p, LEAT_KEYS(key), &was, 1);
        leat_put(t, p, LEAT_KEYS(key), LEAT_ROW(leat_u64(sim_mix(was.as.u, row->id))));
        break;
    case KEEP_LIST:
        if (sim_clears(n, row))
            leat_delete(t, p, LEAT_KEYS(key));
        leat_push(t, p, LEAT_KEYS(key), LEAT_ROW(leat_u64(row->id)), NULL);
        break;
    case KEEP_SET:
        leat_put(t, p, LEAT_KEYS(key, leat_u64(row->id)), LEAT_ROW());
        break;
    case KEEP_MAP:
        leat_put(t, p, LEAT_KEYS(key, leat_u64(row->id)), LEAT_ROW(leat_i64(row->value)));
        break;
    case KEEP_ROWS:
        leat_rows_append(t, p, LEAT_KEYS(key), LEAT_ROW(leat_u64(row->id), leat_i64(row->value)), NULL);
        break;
    default:
        break;
    }
}

static int run(struct leat_task *t, const struct leat_batch *in, uint32_t number)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct sim_row row, out[RULE_MOST];
        const struct sim_node *n = node_of(t, number, in, i, &row);

        if (sim_poisons(n, &row))
            return leat_task_fail(t, LEAT_EINVAL, "poison");
        if (sim_rejects(n, &row)) {
            leat_reject(t, i, "rejected");
            continue;
        }
        keep_row(t, n, &row);
        if (number == sim_module.return_node)
            leat_ack_return(t, i, leat_u64(row.id));
        uint32_t count = sim_rule(&sim_module, number, &row, out);
        for (uint32_t j = 0; j < count; j++)
            leat_emit(t, i, LEAT_ROW(leat_u32(out[j].key), leat_i64(out[j].value), leat_u64(out[j].id)));
    }
    return 0;
}

#define RUN(n) static int run_##n(struct leat_task *t, const struct leat_batch *in) { return run(t, in, n); }
RUN(0) RUN(1) RUN(2) RUN(3) RUN(4) RUN(5) RUN(6) RUN(7) RUN(8) RUN(9) RUN(10) RUN(11) RUN(12) RUN(13)
static leat_run *const runs[MODULE_NODES] = {run_0, run_1, run_2, run_3, run_4, run_5, run_6,
                                             run_7, run_8, run_9, run_10, run_11, run_12, run_13};

/* Rows that the totals of one task tell of. What is derived says the same at the same moment. */
static int total(struct leat_task *t, const struct leat_batch *in)
{
    struct leat_value key, value[3];
    struct leat_scan *scan;
    int64_t count = 0;

    (void)in;
    if (sim_module.derives && !sim_derived_same(t, (uint32_t)sim_module.node[sim_module.query_node].pstate))
        return leat_task_fail(t, LEAT_EINTERNAL, "what is derived is not what the PStates say");
    if (leat_scan_open(t, (uint32_t)sim_module.node[sim_module.query_node].pstate, LEAT_KEYS(), NULL, &scan) != 0)
        return leat_task_error(t);
    while (leat_scan_next(scan, &key, value, 3) == 0)
        count += value[0].as.i;
    leat_scan_close(scan);
    leat_emit(t, 0, LEAT_ROW(leat_i64(count)));
    return leat_task_error(t);
}

/* How many ticks there were, and a chain of their times. */
static int tick(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value was[2] = {leat_i64(0), leat_u64(0)};
        uint32_t p = (uint32_t)sim_module.tick_pstate;

        leat_get(t, p, LEAT_KEYS(leat_u32(0)), was, 2);
        leat_put(t, p, LEAT_KEYS(leat_u32(0)),
                 LEAT_ROW(leat_i64(was[0].as.i + 1), leat_u64(sim_mix(was[1].as.u, leat_at(in, i, 0).as.u))));
    }
    return 0;
}

static const char *const keep_schema[KEEPS] = {
    [KEEP_TOTALS] = "map<u32, struct{count: i64, sum: i64, hash: u64}>",
    [KEEP_CHAIN] = "map<u32, u64>",
    [KEEP_LIST] = "map<u32, list<u64>>",
    [KEEP_SET] = "map<u32, set<u64>>",
    [KEEP_MAP] = "map<u32, map<u64, i64>>",
    [KEEP_ROWS] = "map<u32, rows<struct{id: u64, value: i64}>>",
    [KEEP_COUNT] = "map<u32, i64>",
    [KEEP_SUM] = "map<u32, i64>",
    [KEEP_LEAST] = "map<u32, i64>",
    [KEEP_MOST] = "map<u32, i64>",
    [KEEP_AVERAGE] = "map<u32, struct{sum: f64, count: i64}>",
    [KEEP_DISTINCT] = "map<u32, set<u64>>",
    [KEEP_LAST] = "map<u32, struct{value: i64, id: u64}>",
    [KEEP_FIRST] = "map<u32, struct{value: i64, id: u64}>",
    [KEEP_BEST] = "map<u32, list<struct{value: i64, id: u64}>>",
    [KEEP_SOME] = "map<u32, list<struct{value: i64, id: u64}>>",
    [KEEP_ALL] = "map<u32, list<struct{value: i64, id: u64}>>",
};

static const struct {
    const struct leat_fold *fold;
    const char *args;
} keep_fold[KEEPS] = {
    [KEEP_COUNT] = {&leat_count, NULL},
    [KEEP_SUM] = {&leat_sum, NULL},
    [KEEP_LEAST] = {&leat_min, NULL},
    [KEEP_MOST] = {&leat_max, NULL},
    [KEEP_AVERAGE] = {&leat_average, NULL},
    [KEEP_DISTINCT] = {&leat_set, "of=id"},
    [KEEP_LAST] = {&leat_last, NULL},
    [KEEP_FIRST] = {&leat_first, NULL},
    [KEEP_BEST] = {&leat_top_k, "k=3 by=value id=id order=descending"},
    [KEEP_SOME] = {&leat_limit, "k=3"},
    [KEEP_ALL] = {&leat_list, NULL},
};

static void describe_node(struct sim_module *m, uint32_t at)
{
    const struct sim_node *n = &m->node[at];
    struct leat_node *to = &m->node_list[at];
    char from[256] = "";

    for (uint32_t i = 0; i < n->depots; i++)
        snprintf(from + strlen(from), sizeof(from) - strlen(from), "%sd%u", from[0] != '\0' ? ", " : "", n->depot[i]);
    for (uint32_t i = 0; i < n->parents; i++)
        snprintf(from + strlen(from), sizeof(from) - strlen(from), "%sn%u", from[0] != '\0' ? ", " : "", n->parent[i]);
    *to = (struct leat_node){.name = text(m, "n%u", at), .from = text(m, "%s", from), .route = n->route,
                             .background = n->background, .at_rest = n->at_rest};
    if (n->keep < KEEP_RUNS) {
        to->run = runs[at];
        to->emits = n->emits ? "key: u32, value: i64, id: u64" : NULL;
    } else if (n->keep == KEEP_DEPOT) {
        to->into = text(m, "d%u", n->into);
    } else {
        to->fold = keep_fold[n->keep].fold;
        to->args = keep_fold[n->keep].args;
        to->into = text(m, "p%d", n->pstate);
    }
    if (n->pstate < 0)
        return;
    m->pstate_list[n->pstate] = (struct leat_pstate_declaration){text(m, "p%d", n->pstate), keep_schema[n->keep]};
    if (n->keep == KEEP_TOTALS)
        m->pstate_list[n->pstate + 1] = (struct leat_pstate_declaration){text(m, "p%d", n->pstate + 1),
                                                                         "map<u32, i64>"};
}

static bool may_return(const struct sim_module *m, const struct sim_node *n)
{
    return n->keep < KEEP_RUNS && !n->background && n->depots == 1 && n->parents == 0 && n->route != LEAT_ALL &&
           m->depot[n->depot[0]].client;
}

static void describe(struct sim_module *m)
{
    for (uint32_t i = 0; i < m->depots; i++) {
        enum leat_partitioner by = m->depot[i].partitioner;

        m->depot_list[i] = (struct leat_depot_declaration){.name = text(m, "d%u", i),
                                                           .schema = "key: u32, value: i64, id: u64",
                                                           .by = by == LEAT_BY_FIELD ? "key" : NULL,
                                                           .partitioner = by};
    }
    for (uint32_t i = 0; i < m->nodes; i++)
        describe_node(m, i);
    struct leat_topology *topology = m->topology_list;
    if (m->tick_ms > 0) {
        m->depot_list[m->depots] = (struct leat_depot_declaration){.name = "ticks", .tick_ms = m->tick_ms};
        m->tick_pstate = (int)m->pstates++;
        m->pstate_list[m->tick_pstate] =
            (struct leat_pstate_declaration){"ticks", "map<u32, struct{count: i64, chain: u64}>"};
        m->tick_list[0] = (struct leat_node){.name = "tick", .from = "ticks", .run = tick};
        *topology++ = (struct leat_topology){.name = "clock", .kind = LEAT_STREAM, .nodes = m->tick_list};
    }
    *topology++ = (struct leat_topology){.name = "flow", .kind = LEAT_STREAM, .nodes = m->node_list};
    while (m->return_node < m->nodes && !may_return(m, &m->node[m->return_node]))
        m->return_node++;
    while (m->query_node < m->nodes && m->node[m->query_node].keep != KEEP_TOTALS)
        m->query_node++;
    if (m->query_node < m->nodes) {
        m->query_list[0] = (struct leat_node){
            .name = "each", .from = "request", .route = LEAT_ALL, .run = total, .emits = "count: i64"};
        m->query_list[1] = (struct leat_node){
            .name = "sum", .from = "each", .route = LEAT_TO_ORIGIN, .fold = &leat_sum, .into = "reply"};
        int p = m->node[m->query_node].pstate;
        m->derive = sim_derive;
        m->derive.from = text(m, "p%d, p%d", p, p + 1);
        *topology++ = (struct leat_topology){.name = "total", .kind = LEAT_QUERY, .takes = "", .nodes = m->query_list};
    }
    m->module = (struct leat_module){.abi = LEAT_ABI, .name = "sim", .depots = m->depot_list,
                                     .pstates = m->pstate_list, .topologies = m->topology_list,
                                     .derive = m->derives && m->query_node < m->nodes ? &m->derive : NULL};
}

/* Depots that only nodes fill go when none does. */
static void make_depots(struct random *r, struct sim_module *m)
{
    static const enum leat_partitioner by[] = {LEAT_BY_FIELD, LEAT_BY_FIELD, LEAT_RANDOM, LEAT_EXPLICIT};

    m->client_depots = 1 + below(r, 2);
    m->depots = m->client_depots + 1 + below(r, 2);
    for (uint32_t i = 0; i < m->depots; i++)
        m->depot[i] = i < m->client_depots ? (struct sim_depot){by[below(r, LENGTH_OF(by))], true}
                                           : (struct sim_depot){LEAT_BY_FIELD, false};
}

void sim_module_make(struct random *r, uint32_t tasks, struct sim_module *m)
{
    memset(m, 0, sizeof(*m));
    m->tasks = tasks;
    m->forced = below(r, 3) == 0;
    m->keys = 1 + below(r, below(r, 2) == 0 ? 3 : 30);
    m->values = 1 + below(r, 8);
    m->tick_ms = below(r, 4) == 0 ? 200U << below(r, 6) : 0; /* time to be idle */
    make_depots(r, m);
    uint32_t wanted = 1 + below(r, MODULE_NODES);
    for (; m->nodes < wanted; m->nodes++) {
        struct sim_node *n = &m->node[m->nodes];

        n->keys = m->keys;
        for (uint32_t sources = 1 + (below(r, 4) == 0); sources > 0; sources--)
            add_source(r, m, m->nodes);
        n->rows_most = rows_in(m, n);
        n->highest_depot = depot_above(m, n);
        if (below(r, 3) == 0)
            choose_end(r, m, m->nodes);
        else
            choose_run(r, m, m->nodes);
    }
    for (uint32_t i = 0; i < m->nodes; i++)
        settle(m, &m->node[i]);
    m->derives = below(r, 2) == 0;
    describe(m);
}

uint32_t sim_module_weight(const struct sim_module *m)
{
    uint32_t weight = 0;

    for (uint32_t i = 0; i < m->nodes; i++)
        weight += m->node[i].rows_most;
    return weight;
}

void sim_module_print(const struct sim_module *m)
{
    static const char *const routes[] = {"local", "by key", "all", "global", "origin", "random", "direct"};
    static const char *const rules[] = {"pass", "rekey", "filter", "split", "count down"};
    static const char *const keeps[] = {"nothing", "totals",  "chain",    "list", "set",   "map",  "rows",
                                        "count",   "sum",     "min",      "max",  "average", "distinct", "last",
                                        "first",   "the best", "some",    "all",  "by id", "depot"};
    static const char *const partitioners[] = {"by key", "at random", "as said", "filled by nodes"};

    for (uint32_t i = 0; i < m->depots; i++)
        printf("  d%u %s%s\n", i, partitioners[m->depot[i].partitioner], m->depot[i].client ? "" : ", filled by nodes");
    if (m->tick_ms > 0)
        printf("  a tick each %u ms\n", m->tick_ms);
    if (m->module.derive != NULL)
        printf("  derived from %s\n", m->derive.from);
    for (uint32_t i = 0; i < m->nodes; i++) {
        const struct sim_node *n = &m->node[i];

        printf("  n%u from %s, %s: %s, keeps %s", i, m->node_list[i].from, routes[n->route],
               n->emits ? rules[n->rule] : "end", keeps[n->keep]);
        if (n->pstate >= 0)
            printf(" in p%d", n->pstate);
        if (n->keep == KEEP_DEPOT)
            printf(" d%u", n->into);
        printf("%s%s%s%s%s\n", n->background ? ", in the background" : "", n->at_rest ? ", at rest" : "",
               n->ordered ? ", in order" : "", n->reject_in > 0 ? ", rejects" : "", n->poison_in > 0 ? ", poison" : "");
    }
}
