/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/node.h"

#include "base/file.h"
#include "base/log.h"

#include <stdio.h>
#include <unistd.h>

struct module *node_module(struct leat *l, const char *name)
{
    struct module *found = NULL;

    pthread_mutex_lock(&l->mutex);
    for (uint32_t i = 0; i < l->modules; i++)
        if (strcmp(l->module[i]->plan->module->name, name) == 0)
            found = l->module[i];
    pthread_mutex_unlock(&l->mutex);
    return found;
}

uint32_t node_modules(struct leat *l)
{
    pthread_mutex_lock(&l->mutex);
    uint32_t count = l->modules;
    pthread_mutex_unlock(&l->mutex);
    return count;
}

static int open_directory(struct leat *l, const char *directory, struct leat_error *err)
{
    char path[4096];

    if (l->config.memory) {
        snprintf(l->directory, sizeof(l->directory), "%s/leat-XXXXXX",
                 getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
        if (mkdtemp(l->directory) == NULL)
            return leat_fail(err, LEAT_EIO, "a temporary directory cannot be made at '%s'", l->directory);
        l->temporary = true;
        return 0;
    }
    if (directory == NULL ||
        snprintf(l->directory, sizeof(l->directory), "%s", directory) >= (int)sizeof(l->directory) ||
        directory[0] == '\0')
        return leat_fail(err, LEAT_EINVAL, "the directory's path is empty or too long");
    if (!l->config.create && access(l->directory, F_OK) != 0)
        return leat_fail(err, LEAT_ENOTFOUND, "there is no directory '%s'", l->directory);
    int rv = file_make_directory(l->directory, l->config.durability == LEAT_FULL, err);
    snprintf(path, sizeof(path), "%s/leat.lock", l->directory);
    return rv == 0 ? file_lock(path, &l->lock, err) : rv;
}

int leat_open(const char *directory, const struct leat_config *config, struct leat **out, struct leat_error *err)
{
    static const struct leat_config defaults = {.create = true};
    struct leat *l = base_alloc(sizeof(*l));

    l->config = config != NULL ? *config : defaults;
    l->lock = -1;
    l->clock = clock_real();
    int rv = open_directory(l, directory, err);
    if (rv != 0) {
        free(l);
        return rv;
    }
    pthread_mutex_init(&l->mutex, NULL);
    pthread_mutex_init(&l->launching, NULL);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    l->pool = query_pool_open(l->config.query_threads > 0 ? l->config.query_threads : cores > 0 ? (uint32_t)cores : 1);
    l->disk.directory = l->directory;
    l->disk.low = l->config.disk_low;
    l->disk.full = l->config.disk_full;
    if (!l->config.memory)
        disk_look(&l->disk);
    if (!l->config.memory)
        l->stats = stats_writer_open(l);
    log_print(LOG_INFO, "engine", "'%s' is open", l->directory);
    *out = l;
    return base_result(err, 0);
}

void leat_close(struct leat *l)
{
    if (l == NULL)
        return;
    query_pool_close(l->pool);
    stats_writer_stop(l->stats);
    for (uint32_t i = 0; i < l->modules; i++)
        module_stop(l->module[i]);
    for (uint32_t i = 0; i < l->modules; i++)
        module_settle(l->module[i]);
    stats_writer_close(l->stats);
    for (uint32_t i = 0; i < l->modules; i++)
        module_close(l->module[i]);
    log_print(LOG_INFO, "engine", "'%s' is closed", l->directory);
    if (l->lock >= 0)
        close(l->lock);
    if (l->temporary)
        file_remove_tree(l->directory, NULL);
    pthread_mutex_destroy(&l->mutex);
    pthread_mutex_destroy(&l->launching);
    free(l);
}

static int launch_one(struct leat *l, const struct leat_module *module, const struct leat_launch *launch,
                      struct leat_error *err)
{
    if (module->name != NULL && node_module(l, module->name) != NULL)
        return leat_fail(err, LEAT_EEXISTS, "module '%s' runs already", module->name);
    if (node_modules(l) == LENGTH_OF(l->module))
        return leat_fail(err, LEAT_ELIMIT, "%zu modules run already", LENGTH_OF(l->module));
    return module_launch(l, module, launch, err);
}

int leat_launch(struct leat *l, const struct leat_module *module, const struct leat_launch *launch,
                struct leat_error *err)
{
    static const struct leat_launch defaults = {0};

    pthread_mutex_lock(&l->launching);
    int rv = launch_one(l, module, launch != NULL ? launch : &defaults, err);
    pthread_mutex_unlock(&l->launching);
    return base_result(err, rv);
}

/* ---- Checking ---- */

/* Modules whose depots a checked one may read; each is planned when it is first asked for. */
struct others {
    const struct leat_module *const *module;
    struct plan *plan[64];
    bool looked_at[64];
};

/* A module that is being planned is not there for those it reads from: none could be launched first. */
static int find_other(void *context, const char *module, const char *depot, const struct row_schema **out)
{
    struct others *o = context;
    uint32_t i = 0;

    while (o->module[i] != NULL && strcmp(o->module[i]->name, module) != 0)
        i++;
    if (o->module[i] == NULL || i >= LENGTH_OF(o->plan))
        return LEAT_ENOTFOUND;
    if (!o->looked_at[i]) {
        struct plan_config config = {.module = o->module[i], .tasks = 64, .find = find_other, .context = o};

        o->looked_at[i] = true;
        if (plan_open(&config, &o->plan[i], NULL) != 0)
            o->plan[i] = NULL;
    }
    int number = o->plan[i] != NULL ? plan_depot_find(o->plan[i], depot) : -1;
    if (number < 0)
        return LEAT_ENOTFOUND;
    *out = &o->plan[i]->depot[number].schema;
    return 0;
}

int leat_check(const struct leat_module *module, const struct leat_module *const *others,
               const struct leat_option *options, struct leat_error *err)
{
    static const struct leat_module *const none[] = {NULL};
    struct others o = {.module = others != NULL ? others : none};
    struct plan_config config = {.module = module, .options = options, .tasks = 64, .find = find_other, .context = &o};
    struct plan *p;
    int rv = plan_open(&config, &p, err);

    if (rv == 0)
        plan_close(p);
    for (uint32_t i = 0; i < LENGTH_OF(o.plan); i++)
        if (o.plan[i] != NULL)
            plan_close(o.plan[i]);
    return base_result(err, rv);
}

/* ---- Waiting for everything ---- */

struct wait_all {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    uint32_t left;
    bool stopped;
};

struct wait_one {
    struct ack_wait wait;
    struct acks *acks;
    struct wait_all *all;
};

static void one_reached(struct ack_wait *w)
{
    struct wait_all *all = ((struct wait_one *)w)->all;

    pthread_mutex_lock(&all->lock);
    all->left--;
    all->stopped |= w->code != 0;
    pthread_cond_signal(&all->cond);
    pthread_mutex_unlock(&all->lock);
}

/* All that the depots of a group hold now. */
static void wait_for_group(struct group *g, const struct plan *p, uint32_t groups, struct wait_one *one,
                           struct wait_all *all)
{
    uint32_t partitions = p->depots * (p->tasks / groups), count = 0;
    struct ack_target *target = base_alloc((partitions + 1) * sizeof(*target));

    for (uint32_t i = 0; i < partitions; i++) {
        uint64_t first, next;

        log_bounds(group_depots(g), i, &first, &next);
        if (next > 0)
            target[count++] = (struct ack_target){i, next - 1};
    }
    one->wait.reached = one_reached;
    one->acks = group_acks(g);
    one->all = all;
    pthread_mutex_lock(&all->lock);
    all->left++;
    pthread_mutex_unlock(&all->lock);
    acks_register(one->acks, &one->wait, target, count);
    free(target);
}

static bool wait_until(struct wait_all *all, const struct timespec *deadline)
{
    pthread_mutex_lock(&all->lock);
    while (all->left > 0 && pthread_cond_timedwait(&all->cond, &all->lock, deadline) == 0)
        ;
    bool reached = all->left == 0;
    pthread_mutex_unlock(&all->lock);
    return reached;
}

/* Other modules' readers of a depot: their frontiers are looked at, as they have no acks of ours. */
static bool foreigners_there(struct leat *l, uint32_t modules)
{
    for (uint32_t i = 0; i < modules; i++) {
        struct module *m = l->module[i];

        for (uint32_t f = 0; f < m->plan->foreigns; f++)
            for (uint32_t q = 0; q < m->foreign[f].tasks; q++) {
                struct group *owner = m->foreign[f].group[q & (m->foreign[f].groups - 1)];
                uint64_t first, next;

                log_bounds(group_depots(owner), group_partition(owner, m->foreign[f].depot, q), &first, &next);
                if (group_foreign_frontier(m->group[q & (m->groups - 1)], f, q) < next)
                    return false;
            }
    }
    return true;
}

static bool foreigners_reached(struct leat *l, uint32_t modules, const struct timespec *deadline)
{
    while (!foreigners_there(l, modules)) {
        struct timespec now = clock_deadline(0);

        if (now.tv_sec > deadline->tv_sec || (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec))
            return false;
        usleep(500);
    }
    return true;
}

/* Give up. A wait whose callback is under way cannot be taken back: it writes here, so it is waited for. */
static void take_back(struct wait_all *all, struct wait_one *one, uint32_t count)
{
    uint32_t taken = 0;

    for (uint32_t i = 0; i < count; i++)
        taken += acks_cancel(one[i].acks, &one[i].wait);
    pthread_mutex_lock(&all->lock);
    all->left -= taken;
    while (all->left > 0)
        pthread_cond_wait(&all->cond, &all->lock);
    pthread_mutex_unlock(&all->lock);
}

int leat_wait(struct leat *l, uint32_t timeout_ms, struct leat_error *err)
{
    struct timespec deadline = clock_deadline(timeout_ms);
    struct wait_all all = {.left = 0};
    uint32_t count = 0, groups = 0, modules = node_modules(l);

    for (uint32_t i = 0; i < modules; i++)
        groups += l->module[i]->groups;
    struct wait_one *one = base_alloc((groups + 1) * sizeof(*one));
    pthread_mutex_init(&all.lock, NULL);
    clock_condition(&all.cond);
    for (uint32_t i = 0; i < modules; i++)
        for (uint32_t j = 0; j < l->module[i]->groups; j++)
            wait_for_group(l->module[i]->group[j], l->module[i]->plan, l->module[i]->groups, &one[count++], &all);
    bool reached = wait_until(&all, &deadline);
    if (!reached)
        take_back(&all, one, count);
    else
        reached = !all.stopped && foreigners_reached(l, modules, &deadline);
    for (uint32_t i = 0; i < count; i++)
        buffer_fini(&one[i].wait.returns); /* of appends that nobody else waits for */
    pthread_mutex_destroy(&all.lock);
    pthread_cond_destroy(&all.cond);
    free(one);
    for (uint32_t i = 0; i < modules && !reached; i++)
        if (module_status(l->module[i], err) != 0)
            return err != NULL ? err->code : LEAT_EIO;
    return reached ? base_result(err, 0)
                   : leat_fail(err, LEAT_ETIMEOUT, "not everything was processed within %u ms", timeout_ms);
}

/* ---- Waiting for nothing to do ---- */

/* All groups, one after another. */
static bool all_idle(struct leat *l, uint32_t modules, uint64_t *turns)
{
    bool idle = foreigners_there(l, modules);

    *turns = 0;
    for (uint32_t i = 0; i < modules; i++)
        for (uint32_t j = 0; j < l->module[i]->groups && idle; j++) {
            uint64_t taken;

            idle = group_idle(l->module[i]->group[j], &taken);
            *turns += taken;
        }
    return idle;
}

/* What one group had from another while they were looked at made a turn. */
static bool idle_twice(struct leat *l, uint32_t modules)
{
    uint64_t before, after;

    return all_idle(l, modules, &before) && all_idle(l, modules, &after) && before == after;
}

int leat_wait_idle(struct leat *l, uint32_t timeout_ms, struct leat_error *err)
{
    enum { FIRST_US = 100, MOST_US = 20000 };
    int64_t until = clock_real()->monotonic_ns(clock_real()) + timeout_ms * INT64_C(1000000);
    uint32_t modules = node_modules(l), pause_us = FIRST_US;

    while (!idle_twice(l, modules)) {
        for (uint32_t i = 0; i < modules; i++) {
            int rv = module_status(l->module[i], err);

            if (rv != 0)
                return rv;
        }
        if (clock_real()->monotonic_ns(clock_real()) >= until)
            return leat_fail(err, LEAT_ETIMEOUT, "there was something to do for %u ms", timeout_ms);
        usleep(pause_us);
        pause_us = pause_us * 2 < MOST_US ? pause_us * 2 : MOST_US;
    }
    return base_result(err, 0);
}
