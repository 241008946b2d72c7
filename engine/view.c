/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/node.h"

#include <stddef.h>

/* Reading committed state: one snapshot for each group, opened at first touch, until the view closes. */

struct leat_view {
    struct module *module;
    struct pstate_reader **reader; /* by group */
    struct arena *arena;
    struct leat_error err;
    struct leat_task task;
};

static struct pstate_reader *view_reader(struct leat_task *t, struct leat_error *err)
{
    struct leat_view *v = (struct leat_view *)((uint8_t *)t - offsetof(struct leat_view, task));
    uint32_t group = t->number & (v->module->groups - 1);

    if (v->reader[group] == NULL)
        pstate_snapshot_open(group_view(v->module->group[group]), &v->reader[group], err);
    return v->reader[group];
}

int leat_view_open(struct leat *l, const char *module, struct leat_view **out, struct leat_error *err)
{
    struct module *m = node_module(l, module);

    if (m == NULL)
        return leat_fail(err, LEAT_ENOTFOUND, "no module '%s' is launched", module);
    struct leat_view *v = base_alloc(sizeof(*v));
    v->module = m;
    v->reader = base_alloc(m->groups * sizeof(struct pstate_reader *));
    v->arena = arena_open(LIMIT_TURN_MEMORY);
    *out = v;
    return 0;
}

void leat_view_close(struct leat_view *v)
{
    if (v == NULL)
        return;
    for (uint32_t i = 0; i < v->module->groups; i++)
        pstate_snapshot_close(v->reader[i]);
    arena_close(v->arena);
    free(v->reader);
    free(v);
}

int leat_view_pstate(const struct leat_view *v, const char *name, uint32_t *out)
{
    int at = plan_pstate_find(v->module->plan, name);

    if (at < 0)
        return LEAT_ENOTFOUND;
    *out = (uint32_t)at;
    return 0;
}

uint32_t leat_view_tasks(const struct leat_view *v)
{
    return v->module->plan->tasks;
}

struct leat_task *leat_view_task(struct leat_view *v, uint32_t task)
{
    leat_assert(task < v->module->plan->tasks);
    v->err.code = 0;
    v->task = (struct leat_task){.number = task, .err = &v->err, .plan = v->module->plan, .arena = v->arena,
                                 .find_reader = view_reader};
    return &v->task;
}

struct leat_task *leat_view_owner(struct leat_view *v, const struct leat_value *key)
{
    return leat_view_task(v, leat_task_of(v->module->plan->tasks, key));
}
