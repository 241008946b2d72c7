/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/derive.h"
#include "engine/node.h"

#include <stddef.h>

/* Reading committed state: one snapshot for each group, taken at first touch, until the view closes, or is too old: its
 * pages cannot be used again as long as they are held, and the file would grow. Threads of groups end old views,
 * between two calls of the view's own thread.
 *
 * Snapshots are those that queries get: a commit is not seen here before it is there. Otherwise a query that comes
 * after a view could be behind it, as long as what is derived of the commit is not made. */

struct leat_view {
    struct leat_view *next;        /* of the module's */
    struct module *module;
    pthread_mutex_t lock;          /* whoever reads, or ends it */
    int64_t until_ns;              /* INT64_MAX: nothing was touched */
    bool ended;
    struct derive_hold *hold;      /* by group; without a reader: not touched, or given back */
    struct arena *arena;
    struct leat_error err;
    struct leat_task task;
};

static struct leat_view *view_of(struct leat_task *t)
{
    return (struct leat_view *)((uint8_t *)t - offsetof(struct leat_view, task));
}

static int64_t now_ns(void)
{
    return clock_real()->coarse_ns(clock_real());
}

static int64_t limit_ns(const struct module *m)
{
    uint32_t wanted = m->node->config.view_limit_ms;

    return (wanted > 0 ? wanted : LIMIT_VIEW_MS) * INT64_C(1000000);
}

static void give_back(struct leat_view *v)
{
    for (uint32_t i = 0; i < v->module->groups; i++)
        if (v->hold[i].reader != NULL)
            group_give(v->module->group[i], &v->hold[i]);
}

/* Under its lock. */
static void end_when_old(struct leat_view *v, int64_t now)
{
    if (v->ended || now < v->until_ns)
        return;
    give_back(v);
    v->ended = true;
}

bool view_enter(struct leat_task *t)
{
    struct leat_view *v = view_of(t);

    pthread_mutex_lock(&v->lock);
    end_when_old(v, now_ns());
    if (!v->ended)
        return true;
    pthread_mutex_unlock(&v->lock);
    leat_task_fail(t, LEAT_ETIMEOUT, "the view is older than %lld ms: close it and open another one",
                   (long long)limit_ns(v->module) / 1000000);
    return false;
}

void view_leave(struct leat_task *t)
{
    pthread_mutex_unlock(&view_of(t)->lock);
}

struct pstate_reader *view_reader(struct leat_task *t)
{
    struct leat_view *v = view_of(t);
    uint32_t group = t->number & (v->module->groups - 1);

    if (v->hold[group].reader == NULL)
        group_take(v->module->group[group], &v->hold[group], t->err);
    if (v->hold[group].reader != NULL && v->until_ns == INT64_MAX)
        v->until_ns = now_ns() + limit_ns(v->module);
    return v->hold[group].reader;
}

/* One that is being read is looked at the next time: nobody waits here. */
void views_expire(struct module *m)
{
    int64_t now = now_ns(), due = atomic_load(&m->views_due_ns);

    if (now < due || !atomic_compare_exchange_strong(&m->views_due_ns, &due, now + limit_ns(m) / 16))
        return;
    pthread_mutex_lock(&m->views_lock);
    for (struct leat_view *v = m->views; v != NULL; v = v->next)
        if (pthread_mutex_trylock(&v->lock) == 0) {
            end_when_old(v, now);
            pthread_mutex_unlock(&v->lock);
        }
    pthread_mutex_unlock(&m->views_lock);
}

int leat_view_open(struct leat *l, const char *module, struct leat_view **out, struct leat_error *err)
{
    struct module *m = node_module(l, module);

    if (m == NULL)
        return leat_fail(err, LEAT_ENOTFOUND, "no module '%s' is launched", module);
    struct leat_view *v = base_alloc(sizeof(*v));
    v->module = m;
    v->until_ns = INT64_MAX;
    v->hold = base_alloc(m->groups * sizeof(*v->hold));
    v->arena = arena_open(LIMIT_TURN_MEMORY);
    pthread_mutex_init(&v->lock, NULL);
    pthread_mutex_lock(&m->views_lock);
    v->next = m->views;
    m->views = v;
    pthread_mutex_unlock(&m->views_lock);
    *out = v;
    return base_result(err, 0);
}

static void forget(struct module *m, const struct leat_view *v)
{
    struct leat_view **at = &m->views;

    pthread_mutex_lock(&m->views_lock);
    while (*at != v)
        at = &(*at)->next;
    *at = v->next;
    pthread_mutex_unlock(&m->views_lock);
}

void leat_view_close(struct leat_view *v)
{
    if (v == NULL)
        return;
    forget(v->module, v);
    give_back(v);
    arena_close(v->arena);
    pthread_mutex_destroy(&v->lock);
    free(v->hold);
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
    v->task = (struct leat_task){.in_view = true, .number = task, .groups = v->module->groups, .err = &v->err,
                                 .plan = v->module->plan, .arena = v->arena};
    return &v->task;
}

struct leat_task *leat_view_owner(struct leat_view *v, const struct leat_value *key)
{
    return leat_view_task(v, leat_task_of(v->module->plan->tasks, key));
}
