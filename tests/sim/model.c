/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/model.h"

#include "base/base.h"

static size_t parts(const struct sim_module *m)
{
    return (size_t)m->nodes * (m->tasks + 1) * m->keys;
}

void model_init(struct model *m, const struct sim_module *module)
{
    memset(m, 0, sizeof(*m));
    m->module = module;
    m->part = base_alloc(parts(module) * sizeof(*m->part));
}

void model_fini(struct model *m)
{
    for (size_t i = 0; i < parts(m->module); i++)
        free(m->part[i].row);
    free(m->part);
}

struct model_part *model_part(const struct model *m, uint32_t node, uint32_t task, uint32_t key)
{
    leat_assert(task <= m->module->tasks && key < m->module->keys);
    return &m->part[((size_t)node * (m->module->tasks + 1) + task) * m->module->keys + key];
}

/* ---- Parts ---- */

void model_part_clear(struct model_part *p)
{
    *p = (struct model_part){.row = p->row, .capacity = p->capacity};
}

static void add_row(struct model_part *p, const struct sim_row *row)
{
    if (p->rows == p->capacity) {
        p->capacity = p->capacity == 0 ? 8 : p->capacity * 2;
        p->row = base_realloc(p->row, p->capacity * sizeof(*p->row));
    }
    p->row[p->rows++] = *row;
}

void model_part_add(struct model_part *p, const struct sim_row *row)
{
    p->least = p->count == 0 || row->value < p->least ? row->value : p->least;
    p->most = p->count == 0 || row->value > p->most ? row->value : p->most;
    p->count++;
    p->sum += row->value;
    p->hash += sim_mix(row->id, 3);
    p->chain = sim_mix(p->chain, row->id);
    add_row(p, row);
}

void model_part_merge(struct model_part *p, const struct model_part *other)
{
    if (other->count == 0)
        return;
    p->least = p->count == 0 || other->least < p->least ? other->least : p->least;
    p->most = p->count == 0 || other->most > p->most ? other->most : p->most;
    p->count += other->count;
    p->sum += other->sum;
    p->hash += other->hash;
    for (uint32_t i = 0; i < other->rows; i++)
        add_row(p, &other->row[i]);
}

static int compare_ids(const void *a, const void *b)
{
    const struct sim_row *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

static int compare_values(const void *a, const void *b)
{
    const struct sim_row *x = a, *y = b;

    return x->value != y->value ? (x->value > y->value ? -1 : 1) : compare_ids(a, b);
}

void model_part_settle(struct model_part *p)
{
    uint32_t kept = 0;

    if (p->rows == 0)
        return;
    qsort(p->row, p->rows, sizeof(*p->row), compare_ids);
    for (uint32_t i = 0; i < p->rows; i++)
        if (i == 0 || p->row[i].id != p->row[kept - 1].id)
            p->row[kept++] = p->row[i];
    p->rows = kept;
}

void model_part_best(struct model_part *p, uint32_t most)
{
    model_part_settle(p);
    if (p->rows > 0)
        qsort(p->row, p->rows, sizeof(*p->row), compare_values);
    p->rows = p->rows < most ? p->rows : most;
}

/* ---- Rows ---- */

static void node_row(struct model *m, uint32_t at, uint32_t task, const struct sim_row *row);

static void send(struct model *m, uint32_t at, uint32_t task, const struct sim_row *row)
{
    uint32_t tasks = m->module->tasks;
    struct leat_value key = leat_u32(row->key);

    switch (m->module->node[at].route) {
    case LEAT_BY_KEY:
        node_row(m, at, leat_task_of(tasks, &key), row);
        break;
    case LEAT_ALL:
        for (uint32_t i = 0; i < tasks; i++)
            node_row(m, at, i, row);
        break;
    case LEAT_GLOBAL:
        node_row(m, at, 0, row);
        break;
    case LEAT_TO_RANDOM:
        node_row(m, at, tasks, row);
        break;
    case LEAT_DIRECT:
        node_row(m, at, row->key, row);
        break;
    default:
        node_row(m, at, task, row);
    }
}

static void node_row(struct model *m, uint32_t at, uint32_t task, const struct sim_row *row)
{
    const struct sim_node *n = &m->module->node[at];
    struct sim_row out[RULE_MOST];
    struct leat_value key = leat_u32(row->key);

    if (n->background && m->one_depot)
        return;
    if (sim_rejects(n, row) || ((m->module->forced || n->background) && sim_poisons(n, row))) {
        m->dead_letters++;
        return;
    }
    m->rows[at]++;
    if (n->keep == KEEP_DEPOT) {
        m->depot_rows[n->into]++;
        m->depot_hash[n->into] += sim_mix(row->id, 3);
        if (!m->one_depot)
            model_row(m, n->into, leat_task_of(m->module->tasks, &key), row);
        return;
    }
    struct model_part *part = model_part(m, at, task, row->key);
    if (sim_clears(n, row))
        model_part_clear(part);
    model_part_add(part, row);
    uint32_t count = sim_rule(m->module, at, row, out);
    if (sim_poisons_result(m->module, at, out, count)) {
        m->dead_letters++;
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t child = 0; child < m->module->nodes; child++)
            for (uint32_t p = 0; p < m->module->node[child].parents; p++)
                if (m->module->node[child].parent[p] == at)
                    send(m, child, task, &out[i]);
}

/* A poisonous input of a turn goes to the dead letters with all that it did: the record, or, where each hop goes
 * through the journal, what came to that node. */
void model_row(struct model *m, uint32_t depot, uint32_t partition, const struct sim_row *row)
{
    const struct sim_module *module = m->module;

    if (sim_poisons_record(module, depot, row)) {
        m->dead_letters++;
        return;
    }
    for (uint32_t i = 0; i < module->nodes; i++)
        for (uint32_t d = 0; d < module->node[i].depots; d++)
            if (module->node[i].depot[d] == depot)
                send(m, i, partition, row);
}
