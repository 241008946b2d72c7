/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/node.h"

#include "base/file.h"
#include "base/log.h"
#include "engine/kept.h"
#include "engine/layout.h"
#include "engine/priority.h"
#include "engine/retain.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* ---- The thread of a group ---- */

struct runner {
    struct module *module;
    struct group *group;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool woken, stop, started;
};

static void runner_wake(void *context)
{
    struct runner *r = context;

    pthread_mutex_lock(&r->lock);
    if (!r->woken) {
        r->woken = true;
        pthread_cond_signal(&r->cond);
    }
    pthread_mutex_unlock(&r->lock);
}

/* Sleep until somebody wakes the group or its next timer is due. false: stop. */
static bool runner_sleep(struct runner *r)
{
    int64_t due = group_due(r->group), now = clock_real()->monotonic_ns(clock_real());
    struct timespec until = {.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000};

    pthread_mutex_lock(&r->lock);
    while (!r->woken && !r->stop && due > now) {
        if (due == INT64_MAX)
            pthread_cond_wait(&r->cond, &r->lock);
        else if (pthread_cond_timedwait(&r->cond, &r->lock, &until) == ETIMEDOUT)
            break;
    }
    r->woken = false;
    bool go_on = !r->stop;
    pthread_mutex_unlock(&r->lock);
    return go_on;
}

static bool runner_stopped(struct runner *r)
{
    pthread_mutex_lock(&r->lock);
    bool stop = r->stop;
    pthread_mutex_unlock(&r->lock);
    return stop;
}

/* The first group that fails stops the module: none of the others could finish what hops through this one. */
static void module_failed(struct module *m, int rv, const struct leat_error *why)
{
    if (atomic_exchange(&m->failing, true))
        return;
    m->why = *why;
    m->why.code = rv;
    atomic_store(&m->failed, rv);
    for (uint32_t i = 0; i < m->groups; i++)
        intake_stop(group_intake(m->group[i]), rv);
    log_print(LOG_ERROR, "engine", "module %s stops: %s", m->plan->module->name, why->text);
}

static void *runner_main(void *context)
{
    struct runner *r = context;
    struct leat_error err = {0};
    int rv = 0;

    priority_lower(PRIORITY_TURNS);
    while (!runner_stopped(r)) {
        views_expire(r->module);
        rv = group_step(r->group, &err);
        if (rv < 0) {
            module_failed(r->module, rv, &err);
            break;
        }
        if (rv == 0 && !runner_sleep(r))
            break;
    }
    return NULL;
}

static void runner_init(struct runner *r, struct module *m)
{
    r->module = m;
    pthread_mutex_init(&r->lock, NULL);
    clock_condition(&r->cond);
}

int module_status(struct module *m, struct leat_error *err)
{
    int rv = atomic_load(&m->failed);

    return rv == 0 ? 0 : leat_fail(err, rv, "module '%s' has stopped: %s", m->plan->module->name, m->why.text);
}

/* ---- module.ini: what may not change from one launch to the next ---- */

static void streams_path(const struct module *m, char *out, size_t size)
{
    snprintf(out, size, "%s/module.streams", m->directory);
}

/* Written when all groups were made: from then on none may be missing, nor any file of the module. */
static bool has_streams(const struct module *m)
{
    char path[4096];

    streams_path(m, path, sizeof(path));
    return access(path, F_OK) == 0;
}

static int read_kept(const struct module *m, struct arena *a, struct kept *k, struct buffer *fingerprint,
                     struct leat_error *err)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/module.ini", m->directory);
    if (access(path, F_OK) != 0 && !has_streams(m))
        return 0;
    int rv = kept_read(m->directory, a, k, err);
    if (rv == 0) {
        snprintf(path, sizeof(path), "%s/module.fingerprint", m->directory);
        rv = file_read(path, 16 << 20, fingerprint, err);
    }
    if (rv == LEAT_ENOTFOUND)
        rv = leat_fail(err, LEAT_ECORRUPT,
                       "the file '%s' is missing: put it back, with all others of the module from one backup", path);
    return rv;
}

static int write_kept(const struct module *m, const struct buffer *fingerprint, struct leat_error *err)
{
    struct buffer text = {0};
    char path[4096], line[512];

    snprintf(line, sizeof(line),
             "; made at the first launch of the module; do not change\n[module]\ntasks = %u\ngroups = "
             "%u\n\n[options]\n",
             m->plan->tasks, m->groups);
    buffer_put(&text, line, strlen(line));
    for (uint32_t i = 0; i < m->plan->options; i++)
        kept_write_option(&text, m->plan->option[i].name, m->plan->option[i].value);
    snprintf(path, sizeof(path), "%s/module.fingerprint", m->directory);
    int rv = file_replace(path, buffer_bytes(fingerprint), err);
    snprintf(path, sizeof(path), "%s/module.ini", m->directory);
    if (rv == 0)
        rv = file_replace(path, buffer_bytes(&text), err);
    buffer_fini(&text);
    return rv;
}

/* The first line in which two fingerprints differ. */
static int differs(const struct module *m, struct buffer *was, struct buffer *is, struct leat_error *err)
{
    char *a, *b, *a_rest = NULL, *b_rest = NULL;

    buffer_u8(was, 0);
    buffer_u8(is, 0);
    a = strtok_r((char *)was->base, "\n", &a_rest);
    b = strtok_r((char *)is->base, "\n", &b_rest);
    while (a != NULL && b != NULL && strcmp(a, b) == 0) {
        a = strtok_r(NULL, "\n", &a_rest);
        b = strtok_r(NULL, "\n", &b_rest);
    }
    return leat_fail(err, LEAT_EEXISTS,
                     "module '%s' was launched here otherwise: '%s' then, '%s' now; launch it as it was, or in another "
                     "directory, or make its views anew: leat rebuild",
                     m->plan->module->name, a != NULL ? a : "nothing", b != NULL ? b : "nothing");
}

static bool all_drained(const struct module *m)
{
    bool drained = true;

    for (uint32_t i = 0; i < m->groups; i++)
        drained = drained && group_drained(m->group[i]);
    return drained;
}

/* Outputs under way name nodes by number: they may change only when there are none. */
static int check_streams(struct module *m, struct leat_error *err)
{
    struct buffer now, was;
    char path[4096];
    bool first = !has_streams(m);

    streams_path(m, path, sizeof(path));
    buffer_init(&now, 16 << 20);
    buffer_init(&was, 16 << 20);
    plan_streams(m->plan, &now);
    int rv = first ? 0 : file_read(path, 16 << 20, &was, err);
    bool same = !first && span_equal(buffer_bytes(&now), buffer_bytes(&was));
    if (rv == 0 && !first && !same && !all_drained(m))
        rv = leat_fail(err, LEAT_EEXISTS,
                       "the streams of module '%s' have changed, and rows of the earlier ones are under way: start the "
                       "earlier module once more, wait until nothing is left to do (leat_wait_idle), and close it",
                       m->plan->module->name);
    else if (rv == 0 && !same)
        rv = file_replace(path, buffer_bytes(&now), err);
    buffer_fini(&now);
    buffer_fini(&was);
    return rv;
}

/* ---- Launching ---- */

static int find_depot(void *context, const char *module, const char *depot, const struct row_schema **out)
{
    struct module *m = node_module(context, module);
    int number = m != NULL ? plan_depot_find(m->plan, depot) : -1;

    if (number < 0)
        return LEAT_ENOTFOUND;
    *out = &m->plan->depot[number].schema;
    return 0;
}

static uint32_t power_of_two(uint32_t n)
{
    uint32_t power = 1;

    while (power * 2 <= n)
        power *= 2;
    return power;
}

static int check_groups(const struct plan *p, uint32_t groups, struct leat_error *err)
{
    if (groups <= p->tasks && groups <= LIMIT_GROUPS && (groups & (groups - 1)) == 0)
        return 0;
    return leat_fail(err, LEAT_EMODULE,
                     "module '%s', %u groups: the number of groups is a power of two up to the %u tasks and %d",
                     p->module->name, groups, p->tasks, LIMIT_GROUPS);
}

int module_check_launch(const struct plan *p, const struct leat_launch *launch, struct leat_error *err)
{
    struct plan_retain retain;
    int rv = check_groups(p, launch->groups, err);

    for (uint32_t i = 0; rv == 0 && launch->retain != NULL && launch->retain[i].name != NULL; i++)
        rv = module_retain_of(p, &launch->retain[i], &retain, err);
    return rv;
}

static int make_plan(struct leat *l, struct module *m, const struct leat_module *module,
                     const struct leat_launch *launch, struct kept *k, struct leat_error *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t tasks = launch->tasks > 0 ? launch->tasks : k->tasks > 0 ? k->tasks : 64;
    uint32_t groups = launch->groups > 0 ? launch->groups : k->groups;
    struct plan_config config = {.module = module, .options = kept_merge(k, launch->options), .tasks = tasks,
                                 .find = find_depot, .context = l};

    if (groups == 0)
        groups = power_of_two(cores > 0 ? (uint32_t)cores : 1);
    groups = groups > tasks && launch->groups == 0 ? tasks : groups;
    int rv = plan_open(&config, &m->plan, err);
    if (rv != 0)
        return rv;
    if ((rv = check_groups(m->plan, groups, err)) != 0)
        return rv;
    if (k->groups > 0 && groups != k->groups)
        return leat_fail(err, LEAT_EEXISTS,
                         "module '%s' was launched here with %u groups, not %u; the number cannot change", module->name,
                         k->groups, groups);
    m->groups = groups;
    return 0;
}

static int check_kept(struct module *m, const struct kept *k, struct buffer *fingerprint, struct leat_error *err)
{
    struct buffer now;
    int rv = 0;

    buffer_init(&now, 16 << 20);
    plan_fingerprint(m->plan, &now);
    if (k->tasks == 0)
        rv = write_kept(m, &now, err);
    else if (!span_equal(buffer_bytes(&now), buffer_bytes(fingerprint)))
        rv = differs(m, fingerprint, &now, err);
    buffer_fini(&now);
    return rv;
}

static int open_group(struct module *m, uint32_t number, struct leat_error *err)
{
    const struct leat *l = m->node;
    char path[4096];
    struct group_config config = {.plan = m->plan, .directory = path, .number = number, .groups = m->groups,
                                  .durability = l->config.durability, .memory = l->config.memory,
                                  .clock = l->clock, .no_space = &l->disk.refuses,
                                  .seed = l->manual ? l->seed + number : random_entropy(),
                                  .cut_rows = l->cut_rows, .force_hops = l->force_hops,
                                  .step_checkpoints = l->manual, .step_background = l->manual, .wake = runner_wake,
                                  .context = &m->runner[number],
                                  .nodes = m->nodes, .foreign_tasks = m->foreign_tasks,
                                  .retain = m->retain, .module_directory = m->directory,
                                  .segment_size = l->segment_size, .checkpoint_bytes = l->checkpoint_bytes,
                                  .warm = m->warm};

    snprintf(path, sizeof(path), "%s/group-%03u", m->directory, number);
    if (has_streams(m) && access(path, F_OK) != 0)
        return leat_fail(err, LEAT_ECORRUPT,
                         "the directory '%s' is missing: put it back, with all others from one backup", path);
    int rv = group_open(&config, &m->group[number], err);
    m->runner[number].group = m->group[number];
    return rv;
}

/* What is read ahead beyond that would drive out what was read before it. */
static uint64_t memory_half(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / 2 : 0;
}

/* Groups that open beside each other: each reads, replays and derives from its own files. */
struct opening {
    struct module *module;
    _Atomic uint32_t next;
    _Atomic bool failed;
    int *code;              /* by group, and so on */
    struct leat_error *why;
};

static void *open_some(void *context)
{
    struct opening *o = context;
    uint32_t i;

    while (!atomic_load(&o->failed) && (i = atomic_fetch_add(&o->next, 1)) < o->module->groups) {
        o->code[i] = open_group(o->module, i, &o->why[i]);
        if (o->code[i] != 0)
            atomic_store(&o->failed, true);
    }
    return NULL;
}

/* They begin in order, so of those that fail the first is the same each time. */
static int open_all(struct module *m, struct leat_error *err)
{
    struct opening o = {.module = m, .code = base_alloc(m->groups * sizeof(*o.code)),
                        .why = base_alloc(m->groups * sizeof(*o.why))};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t most = m->node->manual || cores < 1 ? 1 : (uint32_t)cores, threads = 0;
    pthread_t *thread = base_alloc(most * sizeof(*thread));
    int rv = 0;

    most = most < m->groups ? most : m->groups;
    while (threads + 1 < most && pthread_create(&thread[threads], NULL, open_some, &o) == 0)
        threads++;
    open_some(&o);
    for (uint32_t i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    for (uint32_t i = 0; i < m->groups && rv == 0; i++) {
        rv = o.code[i];
        if (rv != 0 && err != NULL)
            *err = o.why[i];
    }
    free(thread);
    free(o.code);
    free(o.why);
    return rv;
}

static int open_groups(struct module *m, struct leat_error *err)
{
    uint32_t nodes = 0;

    for (uint32_t i = 0; i < m->plan->topologies; i++)
        nodes += m->plan->topology[i].nodes;
    m->nodes = base_alloc((nodes + 1) * sizeof(*m->nodes));
    m->query_ns = base_alloc((m->plan->topologies + 1) * sizeof(*m->query_ns));
    m->group = base_alloc(m->groups * sizeof(struct group *));
    m->runner = base_alloc(m->groups * sizeof(*m->runner));
    for (uint32_t i = 0; i < m->groups; i++)
        runner_init(&m->runner[i], m);
    return open_all(m, err);
}

/* Where the depots of other modules are. */
static void find_foreign(struct leat *l, struct module *m)
{
    m->foreign = base_alloc((m->plan->foreigns + 1) * sizeof(*m->foreign));
    m->foreign_tasks = base_alloc((m->plan->foreigns + 1) * sizeof(*m->foreign_tasks));
    for (uint32_t i = 0; i < m->plan->foreigns; i++) {
        struct module *other = node_module(l, m->plan->foreign[i].module);

        m->foreign_tasks[i] = other->plan->tasks;
        m->foreign[i] = (struct group_foreign){other->group, other->groups,
                                               (uint32_t)plan_depot_find(other->plan, m->plan->foreign[i].depot),
                                               other->plan->tasks, other->directory};
    }
}

static void make_depots(struct module *m)
{
    m->depot = base_alloc(m->plan->depots * sizeof(*m->depot));
    for (uint32_t i = 0; i < m->plan->depots; i++) {
        const struct plan_depot *d = &m->plan->depot[i];

        m->depot[i].module = m;
        m->depot[i].number = i;
        m->depot[i].plan = d;
        m->depot[i].columns = (struct leat_batch){0, d->schema.columns, d->schema.column};
        atomic_store(&m->depot[i].random, random_entropy());
    }
}

static int start(struct module *m, struct leat_error *err)
{
    int rv = 0;

    for (uint32_t i = 0; i < m->groups; i++)
        group_connect(m->group[i], m->group, m->foreign);
    for (uint32_t i = 0; i < m->groups && rv == 0; i++)
        rv = group_check_sources(m->group[i], err);
    for (uint32_t i = 0; i < m->groups && rv == 0; i++)
        rv = retain_connect(m->group[i], err);
    if (rv == 0)
        rv = check_streams(m, err);
    for (uint32_t i = 0; i < m->groups && rv == 0 && !m->node->manual; i++) {
        int number = pthread_create(&m->runner[i].thread, NULL, runner_main, &m->runner[i]);

        m->runner[i].started = number == 0;
        if (number != 0)
            rv = base_errno(err, number, "start a thread for", m->directory);
    }
    return rv;
}

/* Where it failed before it was launched: nothing of it is left. */
static void unlaunch(struct module *m, int rv)
{
    atomic_store(&m->failed, rv);
    module_stop(m);
    for (uint32_t i = 0; i < m->groups && m->group != NULL; i++)
        if (m->group[i] != NULL)
            group_disconnect(m->group[i]);
    module_close(m);
}

/* Without module.streams nobody knows what rows under way are for, or whether a group is missing: only a first launch
 * that ended early leaves it so, with nothing in the logs. */
static int check_unused(const struct module *m, const char *name, struct leat_error *err)
{
    struct leat_error why = {0};
    struct layout *layout;

    if (has_streams(m))
        return 0;
    int rv = layout_open(m->node->directory, name, &layout, &why);
    if (rv != 0)
        return leat_fail(err, rv, "%s: put it back, with all others of the module from one backup", why.text);
    layout_close(layout);
    return 0;
}

/* Its plan, as it was launched before or, the first time, from now on, and its directory. */
static int prepare(struct module *m, const struct leat_module *module, const struct leat_launch *launch,
                   struct leat_error *err)
{
    struct leat *l = m->node;
    struct arena *a = arena_open(1 << 20);
    bool fresh = access(m->directory, F_OK) != 0;
    struct buffer fingerprint;
    struct kept k = {0};

    buffer_init(&fingerprint, 16 << 20);
    int rv = read_kept(m, a, &k, &fingerprint, err);
    if (rv == 0 && k.tasks > 0)
        rv = check_unused(m, module->name, err);
    if (rv != 0)
        goto end;
    rv = make_plan(l, m, module, launch, &k, err);
    if (rv != 0)
        goto end;
    m->made = fresh;
    rv = file_make_directory(m->directory, !l->config.memory && l->config.durability == LEAT_FULL, err);
    if (rv == 0)
        rv = check_kept(m, &k, &fingerprint, err);
end:
    buffer_fini(&fingerprint);
    arena_close(a);
    return rv;
}

int module_launch(struct leat *l, const struct leat_module *module, const struct leat_launch *launch,
                  struct leat_error *err)
{
    struct module *m = base_alloc(sizeof(*m));

    m->node = l;
    pthread_mutex_init(&m->views_lock, NULL);
    snprintf(m->directory, sizeof(m->directory), "%s/%s", l->directory, module->name != NULL ? module->name : "");
    int rv = prepare(m, module, launch, err);
    if (rv != 0)
        goto fail;
    rv = module_retain(m, launch->retain, err);
    if (rv != 0)
        goto fail;
    m->warm = launch->warm ? memory_half() / m->groups : 0;
    find_foreign(l, m);
    rv = open_groups(m, err);
    if (rv != 0)
        goto fail;
    make_depots(m);
    m->queries = query_cache_open(m);
    rv = query_gauge_open(m, launch->gauge, err);
    if (rv != 0)
        goto fail;
    rv = start(m, err);
    if (rv != 0)
        goto fail;
    m->launched = true;
    pthread_mutex_lock(&l->mutex);
    l->module[l->modules++] = m;
    pthread_mutex_unlock(&l->mutex);
    return 0;
fail:
    unlaunch(m, rv);
    return rv;
}

int module_reopen_group(struct module *m, uint32_t number, struct leat_error *err)
{
    leat_assert(m->node->manual && node_modules(m->node) == 1);
    query_cache_close(m->queries);
    group_close(m->group[number]);
    m->group[number] = NULL;
    int rv = open_group(m, number, err);
    for (uint32_t i = 0; i < m->groups; i++)
        if (m->group[i] != NULL)
            group_connect(m->group[i], m->group, m->foreign);
    m->queries = query_cache_open(m);
    return rv;
}

/* ---- Ending ---- */

void module_stop(struct module *m)
{
    for (uint32_t i = 0; i < m->groups && m->runner != NULL; i++) {
        struct runner *r = &m->runner[i];

        pthread_mutex_lock(&r->lock);
        r->stop = true;
        pthread_cond_signal(&r->cond);
        pthread_mutex_unlock(&r->lock);
    }
    for (uint32_t i = 0; i < m->groups && m->group != NULL; i++)
        if (m->group[i] != NULL)
            group_stop(m->group[i]);
    for (uint32_t i = 0; i < m->groups && m->runner != NULL; i++)
        if (m->runner[i].started)
            pthread_join(m->runner[i].thread, NULL);
    gauge_stop(m->gauge);
    if (m->queries != NULL)
        query_cache_close(m->queries);
    m->queries = NULL;
}

/* A group that cannot settle will be closed as it is. */
void module_settle(struct module *m)
{
    struct leat_error err = {0};

    for (uint32_t i = 0; i < m->groups && atomic_load(&m->failed) == 0; i++) {
        int rv = group_settle(m->group[i], &err);

        if (rv < 0)
            module_failed(m, rv, &err);
    }
}

void module_close(struct module *m)
{
    for (uint32_t i = 0; i < m->groups && m->group != NULL; i++) {
        struct leat_error err = {0};

        if (m->group[i] == NULL)
            continue;
        if (atomic_load(&m->failed) != 0)
            group_close(m->group[i]);
        else if (group_close_clean(m->group[i], &err) != 0)
            log_print(LOG_ERROR, "engine", "module %s: %s", m->plan->module->name, err.text);
    }
    if (m->made && !m->launched)
        file_remove_tree(m->directory, NULL);
    for (uint32_t i = 0; i < m->groups && m->runner != NULL; i++) {
        pthread_mutex_destroy(&m->runner[i].lock);
        pthread_cond_destroy(&m->runner[i].cond);
    }
    pthread_mutex_destroy(&m->views_lock);
    gauge_close(m->gauge);
    plan_close(m->plan);
    free(m->runner);
    free(m->group);
    free(m->nodes);
    free(m->query_ns);
    free(m->foreign);
    free(m->foreign_tasks);
    free(m->retain);
    free(m->depot);
    free(m);
}
