/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim.h"

#include <stdio.h>

typedef unsigned long long big;

/* ---- What may be asked at any time ---- */

/* A task cannot be read: LMDB refuses all once a write of its meta page has failed, a moment before the module
 * stops. */
static void unreadable(const struct leat_task *t, uint32_t task)
{
    if (sim_failed_module() == NULL && !(sim.excused && leat_task_error(t) == LEAT_EIO))
        sim_fail("task %u cannot be read: %s", task, leat_code_name(leat_task_error(t)));
}

/* How many rows a node has seen, where what it keeps tells that. */
static bool counts_rows(const struct sim_node *n)
{
    return n->keep == KEEP_TOTALS || n->keep == KEEP_COUNT || n->keep == KEEP_AVERAGE;
}

/* Rows under one key. Both PStates of KEEP_TOTALS are written in the same turn. */
static uint64_t count_of(struct leat_task *t, const struct sim_node *n, struct leat_value key,
                         const struct leat_value *value)
{
    struct leat_value twin;
    uint64_t count = value[n->keep == KEEP_AVERAGE ? 1 : 0].as.u;

    if (n->keep != KEEP_TOTALS)
        return count;
    if (leat_get(t, (uint32_t)n->pstate + 1, LEAT_KEYS(key), &twin, 1) != 0 || twin.as.u != count)
        sim_fail("node n%td: half a turn is seen: key %llu has %llu and %llu rows", n - sim_module.node, (big)key.as.u,
                 (big)count, (big)twin.as.u);
    return count;
}

/* Over all tasks. false: it cannot be read any more. */
static bool totals_of(struct leat_view *v, const struct sim_node *n, uint64_t *out)
{
    uint64_t total = 0;

    for (uint32_t task = 0; task < sim_module.tasks; task++) {
        struct leat_task *t = leat_view_task(v, task);
        struct leat_value key, value[3];
        struct leat_scan *scan;
        int rv = leat_scan_open(t, (uint32_t)n->pstate, LEAT_KEYS(), NULL, &scan);

        if (rv == 0) {
            while ((rv = leat_scan_next(scan, &key, value, 3)) == 0)
                total += count_of(t, n, key, value);
            leat_scan_close(scan);
        }
        if (rv != LEAT_END) {
            unreadable(t, task);
            return false;
        }
    }
    *out = total;
    return true;
}

/* The same by a query over all tasks. */
static bool total_by_query(uint64_t *out)
{
    struct leat_error err = {0};
    struct leat_result *r;

    /* One at a time: the engine keeps memory by thread for a query, and all fibers are one thread. */
    if (sim.querying)
        return false;
    sim.querying = true;
    int rv = leat_query(sim.leat, "sim", "total", LEAT_ROW(), NULL, &r, &err);
    sim.querying = false;
    if (rv != 0 && rv != LEAT_ETIMEOUT && sim_failed_module() == NULL && !(sim.excused && rv == LEAT_EIO))
        sim_fail("a query fails: %s", err.text);
    if (rv != 0)
        return false;
    sim.result->counts.queries++;
    const struct leat_batch *rows = leat_result_rows(r);
    *out = rows->rows == 1 ? leat_at(rows, 0, 0).as.u : 0;
    leat_result_free(r);
    return true;
}

/* Between what must be seen and what may be. */
static void check_total(uint32_t node, uint64_t total, uint64_t least)
{
    if (total < least)
        sim_fail("node n%u shows %llu rows; %llu were seen there or acknowledged as processed", node, (big)total,
                 (big)least);
    if (total > sim.high.rows[node])
        sim_fail("node n%u shows %llu rows; only %llu were ever sent", node, (big)total, (big)sim.high.rows[node]);
    if (total > sim.seen[node])
        sim.seen[node] = total;
}

/* Frontiers do not go back within a life. */
static void check_progress(void)
{
    for (uint32_t d = 0; d < sim_module.client_depots; d++)
        for (uint32_t p = 0; p < sim_module.tasks; p++) {
            struct leat_bounds b;
            uint64_t before = sim.frontier[d][p];

            leat_depot_bounds(&sim.leat->module[0]->depot[d], p, &b);
            if (b.processed < before)
                sim_fail("depot d%u, partition %u: processed up to %llu, before up to %llu", d, p, (big)b.processed,
                         (big)before);
            if (b.processed > sim.frontier[d][p])
                sim.frontier[d][p] = b.processed;
        }
}

void check_now(void)
{
    struct leat_error err = {0};
    struct leat_view *v;
    uint64_t least[MODULE_NODES];

    sim.result->counts.reads++;
    for (uint32_t i = 0; i < sim_module.nodes; i++)
        least[i] = sim.low.rows[i] > sim.seen[i] ? sim.low.rows[i] : sim.seen[i];
    if (leat_view_open(sim.leat, "sim", &v, &err) != 0)
        sim_fail("no view: %s", err.text);
    for (uint32_t i = 0; i < sim_module.nodes; i++) {
        uint64_t total;

        if (!counts_rows(&sim_module.node[i]) || !totals_of(v, &sim_module.node[i], &total))
            continue;
        check_total(i, total, least[i]);
    }
    leat_view_close(v);
    uint32_t node = sim_module.query_node;
    uint64_t total, before = node < sim_module.nodes ? sim.seen[node] : 0;
    if (node < sim_module.nodes && total_by_query(&total))
        check_total(node, total, before > least[node] ? before : least[node]);
    check_progress();
}

/* ---- Rows whose effects are acknowledged ---- */

/* Keeps each row by its id, at the task of its key. */
static bool names_rows(const struct sim_node *n)
{
    return n->route == LEAT_BY_KEY && (n->keep == KEEP_SET || n->keep == KEEP_MAP || n->keep == KEEP_DISTINCT);
}

static void check_ids(struct leat_view *v, uint32_t node, uint32_t task, uint32_t key, const struct model_part *part)
{
    struct leat_task *t = leat_view_task(v, task);
    struct leat_value value;

    for (uint32_t i = 0; i < part->rows; i++) {
        int rv = leat_get(t, (uint32_t)sim_module.node[node].pstate,
                          LEAT_KEYS(leat_u32(key), leat_u64(part->row[i].id)), &value, 1);

        if (rv == LEAT_ENOTFOUND)
            sim_fail("rows are acknowledged as processed, but node n%u does not show one of them, at key %u of task %u",
                     node, key, task);
        if (rv != 0) {
            unreadable(t, task);
            return;
        }
    }
}

void check_processed(uint32_t stream, uint64_t from, uint64_t to)
{
    struct leat_error err = {0};
    struct leat_view *v;
    struct model m;
    bool any = false;

    for (uint32_t i = 0; i < sim_module.nodes; i++)
        any = any || names_rows(&sim_module.node[i]);
    if (!any)
        return;
    if (leat_view_open(sim.leat, "sim", &v, &err) != 0)
        sim_fail("no view: %s", err.text);
    model_init(&m, &sim_module);
    m.one_depot = true;
    for (uint64_t i = from; i < to; i++) {
        struct sim_row row = sim_client_row(&sim_module, stream, i);

        model_row(&m, stream % MODULE_DEPOTS, 0, &row);
    }
    for (uint32_t i = 0; i < sim_module.nodes; i++)
        for (uint32_t task = 0; task < sim_module.tasks && names_rows(&sim_module.node[i]); task++)
            for (uint32_t key = 0; key < sim_module.keys; key++)
                check_ids(v, i, task, key, model_part(&m, i, task, key));
    leat_view_close(v);
    model_fini(&m);
}

/* ---- The depots ---- */

struct reading {
    struct model *model;
    uint32_t depot, partition;
    struct model_part *follower; /* by key: rows of depot 0 */
    bool *found[SIM_STREAMS];
    uint64_t last[SIM_STREAMS]; /* of the partition: sequence + 1 */
    uint64_t rows, hash;
};

static struct sim_row row_of(const struct leat_batch *row)
{
    return (struct sim_row){(uint32_t)leat_at(row, 0, 0).as.u, leat_at(row, 0, 1).as.i, leat_at(row, 0, 2).as.u};
}

static int client_record(void *context, const struct leat_record *record, const struct leat_batch *batch)
{
    struct reading *r = context;
    struct sim_row row = row_of(batch);
    uint64_t stream = record->session - 1, number = record->sequence;

    if (stream >= SIM_STREAMS || number >= sim.stream[stream].submitted || stream % MODULE_DEPOTS != r->depot)
        sim_fail("depot d%u, partition %u: a record nobody sent", r->depot, r->partition);
    struct sim_row sent = sim_client_row(&sim_module, (uint32_t)stream, number);
    if (memcmp(&row.key, &sent.key, 4) != 0 || row.value != sent.value || row.id != sent.id)
        sim_fail("depot d%u, partition %u: record %llu of stream %llu is not what was sent", r->depot, r->partition,
                 (big)number, (big)stream);
    if (number + 1 <= r->last[stream])
        sim_fail("depot d%u, partition %u: record %llu of stream %llu is a repeat: %llu came before it", r->depot,
                 r->partition, (big)number, (big)stream, (big)r->last[stream] - 1);
    r->last[stream] = number + 1;
    r->found[stream][number] = true;
    if (r->depot == 0)
        model_part_add(&r->follower[row.key], &row);
    model_row(r->model, r->depot, r->partition, &row);
    return 0;
}

static int node_record(void *context, const struct leat_record *record, const struct leat_batch *batch)
{
    struct reading *r = context;
    struct sim_row row = row_of(batch);

    (void)record;
    r->rows++;
    r->hash += sim_mix(row.id, 3);
    return 0;
}

static int letter(void *context, const struct leat_record *record, const struct leat_batch *batch)
{
    (void)record;
    (void)batch;
    ((struct reading *)context)->rows++;
    return 0;
}

static void read_depot(const char *name, struct reading *r, leat_record_each *each)
{
    struct leat_error err = {0};
    struct leat_depot *d;

    if (leat_depot_find(sim.leat, "sim", name, &d, &err) != 0)
        sim_fail("no depot %s: %s", name, err.text);
    r->rows = r->hash = 0;
    for (r->partition = 0; r->partition < leat_depot_partitions(d); r->partition++) {
        memset(r->last, 0, sizeof(r->last));
        if (leat_depot_read(d, r->partition, 0, UINT32_MAX, each, r, NULL, &err) != 0)
            sim_fail("depot %s cannot be read: %s", name, err.text);
    }
}

/* The clients' depots make the model; nothing acknowledged may be missing in them. */
static void read_clients(struct reading *r)
{
    for (uint32_t i = 0; i < SIM_STREAMS; i++)
        r->found[i] = base_alloc(SIM_ROWS);
    for (r->depot = 0; r->depot < sim_module.client_depots; r->depot++) {
        char name[16];

        snprintf(name, sizeof(name), "d%u", r->depot);
        read_depot(name, r, client_record);
    }
    for (uint32_t i = 0; i < SIM_STREAMS; i++) {
        for (uint64_t n = 0; n < sim.stream[i].acked; n++)
            if (!r->found[i][n])
                sim_fail("row %llu of stream %u was acknowledged and is lost", (big)n, i);
        free(r->found[i]);
    }
}

static void check_depots(struct reading *r)
{
    for (uint32_t d = sim_module.client_depots; d < sim_module.depots; d++) {
        char name[16];

        snprintf(name, sizeof(name), "d%u", d);
        read_depot(name, r, node_record);
        if (r->rows != r->model->depot_rows[d] || r->hash != r->model->depot_hash[d])
            sim_fail("depot %s, filled by nodes, has %llu rows; %llu belong there", name, (big)r->rows,
                     (big)r->model->depot_rows[d]);
    }
    read_depot("dead_letters", r, letter);
    if (r->rows != r->model->dead_letters)
        sim_fail("there are %llu dead letters; %llu belong there", (big)r->rows, (big)r->model->dead_letters);
}

/* ---- The PStates ---- */

/* The elements of one key's collection into a part; values of a map must be those of their rows. */
static void read_elements(struct leat_task *t, const struct sim_node *n, struct leat_value key, struct model_part *out)
{
    struct leat_value element, value[2];
    struct leat_scan *scan;
    struct leat_block block;
    int rv;

    if (n->keep == KEEP_ROWS) {
        for (uint64_t at = 0; (rv = leat_rows_block(t, (uint32_t)n->pstate, LEAT_KEYS(key), at, &block)) == 0;
             at += block.rows)
            for (uint32_t i = 0; i < block.rows; i++) {
                const uint8_t *bytes = (const uint8_t *)block.base + (size_t)i * block.stride;
                struct sim_row row = {0, (int64_t)load_u64(bytes + leat_rows_field(t, (uint32_t)n->pstate, 1)),
                                      load_u64(bytes + leat_rows_field(t, (uint32_t)n->pstate, 0))};

                model_part_add(out, &row);
            }
        sim_scanned(rv, "rows");
        return;
    }
    if (leat_scan_open(t, (uint32_t)n->pstate, LEAT_KEYS(key), NULL, &scan) != 0)
        sim_fail("node %td: a collection cannot be read", n - sim_module.node);
    while ((rv = leat_scan_next(scan, &element, value, 2)) == 0) {
        struct sim_row row = {.id = element.as.u};

        if (n->keep == KEEP_LIST)
            row.id = value[0].as.u;
        else if (n->keep == KEEP_MAP)
            row.value = value[0].as.i;
        else if (n->keep >= KEEP_BEST && n->keep <= KEEP_ALL)
            row = (struct sim_row){0, value[0].as.i, value[1].as.u};
        model_part_add(out, &row);
    }
    leat_scan_close(scan);
    sim_scanned(rv, "a collection");
}

/* What one task holds under one key, as far as this kind of node tells it. */
static void read_key(struct leat_task *t, const struct sim_node *n, struct leat_value key,
                     const struct leat_value *value, struct model_part *out)
{
    switch (n->keep) {
    case KEEP_TOTALS:
        out->count += value[0].as.u;
        out->sum += value[1].as.i;
        out->hash += value[2].as.u;
        break;
    case KEEP_CHAIN:
        out->chain = value[0].as.u;
        break;
    case KEEP_COUNT:
        out->count += value[0].as.u;
        break;
    case KEEP_SUM:
        out->sum += value[0].as.i;
        break;
    case KEEP_LEAST:
    case KEEP_MOST:
        out->least = out->count++ == 0 || value[0].as.i < out->least ? value[0].as.i : out->least;
        out->most = out->count == 1 || value[0].as.i > out->most ? value[0].as.i : out->most;
        break;
    case KEEP_AVERAGE:
        out->sum += (int64_t)value[0].as.f;
        out->count += value[1].as.u;
        break;
    case KEEP_LAST:
    case KEEP_FIRST:
        model_part_add(out, &(struct sim_row){0, value[0].as.i, value[1].as.u});
        break;
    default:
        read_elements(t, n, key, out);
    }
}

/* Values count where they are kept. */
static bool same_rows(const struct sim_node *n, const struct model_part *is, const struct model_part *should)
{
    bool values = n->keep != KEEP_SET && n->keep != KEEP_DISTINCT;

    for (uint32_t i = 0; i < is->rows && i < should->rows; i++)
        if (is->row[i].id != should->row[i].id || (values && is->row[i].value != should->row[i].value))
            return false;
    return is->rows == should->rows;
}

/* Each of the rows that are there is one that belongs there. */
static bool some_rows(struct model_part *is, struct model_part *should, uint64_t wanted)
{
    uint32_t at = 0;

    model_part_settle(is);
    model_part_settle(should);
    for (uint32_t i = 0; i < is->rows; i++) {
        while (at < should->rows && should->row[at].id < is->row[i].id)
            at++;
        if (at == should->rows || should->row[at].id != is->row[i].id || should->row[at].value != is->row[i].value)
            return false;
    }
    return is->count == (should->count < wanted ? should->count : wanted);
}

/* The last or first row; of several sources any row may be. */
static bool same_end(const struct sim_node *n, struct model_part *is, struct model_part *should)
{
    if (!n->ordered || should->rows == 0 || is->rows == 0)
        return some_rows(is, should, 1);
    return is->rows == 1 && is->row[0].id == should->row[n->keep == KEEP_LAST ? should->rows - 1 : 0].id;
}

static bool same(const struct sim_node *n, struct model_part *is, struct model_part *should)
{
    switch (n->keep) {
    case KEEP_TOTALS:
        return is->count == should->count && is->sum == should->sum && is->hash == should->hash;
    case KEEP_CHAIN:
        return is->chain == should->chain;
    case KEEP_COUNT:
        return is->count == should->count;
    case KEEP_SUM:
        return is->sum == should->sum;
    case KEEP_LEAST:
        return (is->count > 0) == (should->count > 0) && is->least == should->least;
    case KEEP_MOST:
        return (is->count > 0) == (should->count > 0) && is->most == should->most;
    case KEEP_AVERAGE:
        return is->count == should->count && is->sum == should->sum;
    case KEEP_LIST:
    case KEEP_ROWS:
        return is->count == should->count && is->hash == should->hash && (!n->ordered || is->chain == should->chain) &&
               (n->keep == KEEP_LIST || is->sum == should->sum);
    case KEEP_ALL:
        return is->count == should->count && is->hash == should->hash && is->sum == should->sum &&
               (!n->ordered || is->chain == should->chain);
    case KEEP_LAST:
    case KEEP_FIRST:
        return same_end(n, is, should);
    case KEEP_SOME:
        return some_rows(is, should, MODULE_BEST);
    case KEEP_BEST:
        model_part_best(should, MODULE_BEST);
        return same_rows(n, is, should);
    default:
        model_part_settle(is);
        model_part_settle(should);
        return same_rows(n, is, should);
    }
}

static void compare(const struct sim_node *n, uint32_t task, uint32_t key, struct model_part *is,
                    struct model_part *should)
{
    if (!same(n, is, should))
        sim_fail("node n%td, task %u, key %u: %llu rows (sum %lld, least %lld, most %lld, %u ids) are there; %llu rows "
                 "(sum %lld, least "
                 "%lld, most %lld, %u ids) belong there%s",
                 n - sim_module.node, task, key, (big)is->count, (long long)is->sum, (long long)is->least,
                 (long long)is->most, is->rows, (big)should->count, (long long)should->sum, (long long)should->least,
                 (long long)should->most, should->rows, n->ordered ? ", in their order" : "");
}

/* What one task holds, by key, into parts. */
static void read_task(struct leat_view *v, uint32_t at, uint32_t task, struct model_part *parts)
{
    const struct sim_node *n = &sim_module.node[at];
    struct leat_task *t = leat_view_task(v, task);
    struct leat_value key, value[3];
    struct leat_scan *scan;
    int rv;

    if (leat_scan_open(t, (uint32_t)n->pstate, LEAT_KEYS(), NULL, &scan) != 0)
        sim_fail("node n%u: task %u cannot be read", at, task);
    while ((rv = leat_scan_next(scan, &key, value, 3)) == 0) {
        if (key.as.u >= sim_module.keys)
            sim_fail("node n%u, task %u: there is no key %llu", at, task, (big)key.as.u);
        read_key(t, n, key, value, &parts[key.as.u]);
    }
    leat_scan_close(scan);
    sim_scanned(rv, "a task");
}

/* All keys of a node: each task by itself, or all tasks together where the model cannot say which one got a row. */
static void check_node(struct leat_view *v, const struct model *m, uint32_t at)
{
    const struct sim_node *n = &sim_module.node[at];
    uint32_t keys = sim_module.keys;
    struct model_part *is = base_alloc(keys * sizeof(*is)), *all = base_alloc(keys * sizeof(*all));
    bool anywhere = false;

    for (uint32_t key = 0; key < keys; key++)
        anywhere = anywhere || model_part(m, at, sim_module.tasks, key)->count > 0;
    for (uint32_t task = 0; task < sim_module.tasks; task++) {
        read_task(v, at, task, is);
        for (uint32_t key = 0; key < keys; key++) {
            if (!anywhere)
                compare(n, task, key, &is[key], model_part(m, at, task, key));
            else
                model_part_merge(&all[key], model_part(m, at, task, key));
            if (!anywhere)
                model_part_clear(&is[key]);
        }
    }
    for (uint32_t key = 0; key < keys; key++) {
        if (anywhere)
            model_part_merge(&all[key], model_part(m, at, sim_module.tasks, key));
        if (anywhere)
            compare(n, sim_module.tasks, key, &is[key], &all[key]);
        free(is[key].row);
        free(all[key].row);
    }
    free(is);
    free(all);
}

struct ticks {
    uint64_t wanted, count, chain;
    int64_t last;
};

static int tick_record(void *context, const struct leat_record *record, const struct leat_batch *batch)
{
    struct ticks *t = context;
    int64_t time = leat_at(batch, 0, 0).as.i;

    (void)record;
    if (time < t->last)
        sim_fail("time goes back: a tick of %lld comes behind one of %lld", (long long)time, (long long)t->last);
    t->last = time;
    if (t->count++ < t->wanted)
        t->chain = sim_mix(t->chain, (uint64_t)time);
    return 0;
}

static uint64_t ticks_processed(void)
{
    struct leat_error err = {0};
    struct leat_depot *d;
    struct leat_bounds b;

    if (leat_depot_find(sim.leat, "sim", "ticks", &d, &err) != 0 || leat_depot_bounds(d, 0, &b) != 0)
        sim_fail("no ticks: %s", err.text);
    return b.processed;
}

/* They go on: what the view shows is a beginning of what the depot has, with all that were processed before it. */
static void check_ticks(struct leat_view *v, uint64_t processed)
{
    struct leat_value is[2] = {leat_i64(0), leat_u64(0)};
    struct leat_error err = {0};
    struct leat_depot *d;

    int rv = leat_get(leat_view_task(v, 0), (uint32_t)sim_module.tick_pstate, LEAT_KEYS(leat_u32(0)), is, 2);
    if (rv != 0 && rv != LEAT_ENOTFOUND)
        sim_fail("the count of ticks cannot be read: %s", leat_code_name(rv));
    struct ticks t = {.wanted = is[0].as.u};
    if (leat_depot_find(sim.leat, "sim", "ticks", &d, &err) != 0 ||
        leat_depot_read(d, 0, 0, UINT32_MAX, tick_record, &t, NULL, &err) != 0)
        sim_fail("the ticks cannot be read: %s", err.text);
    sim.result->counts.ticks += t.count;
    if (t.wanted < processed)
        sim_fail("%llu ticks were counted; %llu were processed", (big)t.wanted, (big)processed);
    if (t.count < t.wanted || t.chain != is[1].as.u)
        sim_fail("%llu ticks were counted, not the first of the %llu in the depot", (big)t.wanted, (big)t.count);
}

/* The second module has all rows of depot d0, each key at its task. */
static void check_follower(const struct model_part *should)
{
    struct leat_error err = {0};
    struct leat_view *v;

    if (leat_view_open(sim.leat, "follower", &v, &err) != 0)
        sim_fail("no view: %s", err.text);
    for (uint32_t k = 0; k < sim_module.keys; k++) {
        struct leat_value key = leat_u32(k), is[3] = {leat_i64(0), leat_i64(0), leat_u64(0)}, count = leat_i64(0);
        struct leat_task *t = leat_view_owner(v, &key);

        leat_get(t, 0, LEAT_KEYS(key), is, 3);
        leat_get(t, 1, LEAT_KEYS(key), &count, 1);
        if (leat_task_error(t) != 0)
            sim_fail("the module that follows cannot be read: %s", leat_code_name(leat_task_error(t)));
        if (is[0].as.u != should[k].count || is[1].as.i != should[k].sum || is[2].as.u != should[k].hash ||
            count.as.u != should[k].count)
            sim_fail("the module that follows has %llu and %llu rows of key %u; %llu belong there", (big)is[0].as.u,
                     (big)count.as.u, k, (big)should[k].count);
    }
    leat_view_close(v);
}

void sim_scanned(int end, const char *what)
{
    if (end != LEAT_END)
        sim_fail("%s cannot be read to its end: %s", what, leat_code_name(end));
}

void check_end(void)
{
    struct leat_error err = {0};
    struct leat_view *v;
    struct model model;
    struct reading r = {.model = &model};

    r.follower = base_alloc(sim_module.keys * sizeof(*r.follower));
    model_init(&model, &sim_module);
    read_clients(&r);
    check_depots(&r);
    uint64_t ticks = sim_module.tick_ms > 0 ? ticks_processed() : 0;
    if (leat_view_open(sim.leat, "sim", &v, &err) != 0)
        sim_fail("no view: %s", err.text);
    for (uint32_t i = 0; i < sim_module.nodes; i++)
        if (sim_module.node[i].pstate >= 0)
            check_node(v, &model, i);
    if (sim_module.tick_ms > 0)
        check_ticks(v, ticks);
    leat_view_close(v);
    if (sim.follower.tasks > 0)
        check_follower(r.follower);
    for (uint32_t key = 0; key < sim_module.keys; key++)
        free(r.follower[key].row);
    free(r.follower);
    model_fini(&model);
    check_now();
}
