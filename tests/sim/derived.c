/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/derived.h"

#include "base/base.h"
#include "tests/sim/module.h"

/* By task of the group and key: the count in the first PState and in the second, -1 where there is none. Versions share
 * the tables of tasks that did not change; the version after frees what it replaced, so it must be freed later. */

struct table {
    int64_t count[2];
};

struct derived {
    struct derived *after;
    uint32_t tasks, step;
    uint64_t made;
    struct table **task;     /* by task of the group: tables by key */
    bool *replaced;          /* by the version after */
};

static struct derived *derived_new(struct leat_task *first)
{
    struct derived *d = base_alloc(sizeof(*d));

    d->step = leat_group_count(first);
    d->tasks = leat_task_count(first) / d->step;
    d->task = base_alloc(d->tasks * sizeof(*d->task));
    d->replaced = base_alloc(d->tasks * sizeof(*d->replaced));
    return d;
}

static struct table *table_new(void)
{
    struct table *t = base_alloc(sim_module.keys * sizeof(*t));

    for (uint32_t key = 0; key < sim_module.keys; key++)
        t[key].count[0] = t[key].count[1] = -1;
    return t;
}

static uint32_t first_pstate(void)
{
    return (uint32_t)sim_module.node[sim_module.query_node].pstate;
}

static int read_pstate(struct leat_task *t, uint32_t which, struct table *out)
{
    struct leat_value key, value[3];
    struct leat_scan *scan;

    if (leat_scan_open(t, first_pstate() + which, LEAT_KEYS(), NULL, &scan) != 0)
        return leat_task_error(t);
    while (leat_scan_next(scan, &key, value, 3) == 0)
        out[key.as.u].count[which] = value[0].as.i;
    leat_scan_close(scan);
    return leat_task_error(t);
}

static int build(struct leat_derivation *from, void **state, struct leat_error *err)
{
    struct leat_task *first = leat_derivation_first(from);
    struct derived *d = derived_new(first);

    (void)err;
    for (uint32_t i = 0; i < d->tasks; i++) {
        d->task[i] = table_new();
        for (uint32_t which = 0; which < 2; which++)
            read_pstate(leat_derivation_task(from, leat_group(first) + i * d->step), which, d->task[i]);
    }
    *state = d;
    return 0;
}

static int apply(struct leat_derivation *from, void *old, const struct leat_change *change, uint32_t changes,
                 void **state, struct leat_error *err)
{
    struct derived *before = old, *d = derived_new(leat_derivation_first(from));

    memcpy(d->task, before->task, d->tasks * sizeof(*d->task));
    before->after = d;
    d->made = before->made + 1;
    *state = d;
    for (uint32_t i = 0; i < changes; i++) {
        uint32_t at = leat_task_number(change[i].task) / d->step;
        struct leat_value value[3];

        if (!before->replaced[at]) {
            d->task[at] = table_new();
            memcpy(d->task[at], before->task[at], sim_module.keys * sizeof(struct table));
            before->replaced[at] = true;
        }
        int rv = leat_get(change[i].task, change[i].pstate, LEAT_KEYS(change[i].key), value, 3);
        if ((rv == 0) == change[i].removed && leat_task_error(change[i].task) == 0)
            return leat_fail(err, LEAT_EINTERNAL, "an element is not what the change says");
        d->task[at][change[i].key.as.u].count[change[i].pstate - first_pstate()] = rv == 0 ? value[0].as.i : -1;
    }
    return 0;
}

static void drop(void *state)
{
    struct derived *d = state;

    leat_assert(d->after == NULL || d->after->made == d->made + 1);
    for (uint32_t i = 0; i < d->tasks; i++)
        if (d->after == NULL || d->replaced[i])
            free(d->task[i]);
    free(d->task);
    free(d->replaced);
    memset(d, 0xdb, sizeof(*d));
    free(d);
}

const struct leat_derive sim_derive = {.build = build, .apply = apply, .drop = drop};

bool sim_derived_same(struct leat_task *t, uint32_t pstate)
{
    const struct derived *d = leat_derived(t);

    for (uint32_t key = 0; d != NULL && key < sim_module.keys; key++)
        for (uint32_t which = 0; which < 2; which++) {
            struct leat_value value[3] = {leat_i64(-1)};

            leat_get(t, pstate + which, LEAT_KEYS(leat_u32(key)), value, 3);
            if (leat_task_error(t) == 0 && d->task[leat_task_number(t) / d->step][key].count[which] != value[0].as.i)
                return false;
        }
    return true;
}
