/* SPDX-License-Identifier: Apache-2.0 */
#include "leat/testing.h"

#include "engine/node.h"

#include "base/file.h"
#include "base/log.h"

#include <stdio.h>

struct leat_test {
    struct leat_test_config config;
    struct leat_launch launch;
    struct leat *leat;
    struct module *module;   /* that of the configuration */
    struct leat_view *view;  /* of the last leat_test_get */
    struct clock clock;
    int64_t wall_us, monotonic_ns;
    struct random random;
    char directory[4096];
    bool temporary;
    const char *crash_point;
    uint32_t crash_after;
    uint32_t down;       /* the group that crashed, counted through all modules; NONE */
};

enum { POINTS_MOST = 32 };
#define NONE UINT32_MAX

static bool crash_here(void *context, const char *point)
{
    struct leat_test *t = context;

    if (t->crash_point == NULL || strcmp(t->crash_point, point) != 0 || --t->crash_after > 0)
        return false;
    t->crash_point = NULL;
    return true;
}

static bool crash_group(void *context, const struct group *g, const char *point)
{
    (void)g;
    return crash_here(context, point);
}

/* The hooks are the process's: before each call that can crash they become those of its cluster. */
static void hook(struct leat_test *t)
{
    group_crash_hook(t != NULL ? crash_group : NULL, t);
    pstate_crash_hook(t != NULL ? crash_here : NULL, t);
}

/* ---- A clock that stands still ---- */

static struct leat_test *of_clock(struct clock *c)
{
    return (struct leat_test *)(void *)((char *)c - offsetof(struct leat_test, clock));
}

static int64_t clock_wall_us(struct clock *c)
{
    return of_clock(c)->wall_us;
}

static int64_t clock_monotonic_ns(struct clock *c)
{
    return of_clock(c)->monotonic_ns;
}

static void clock_init(struct leat_test *t)
{
    t->clock = (struct clock){clock_wall_us, clock_monotonic_ns, clock_monotonic_ns};
    t->wall_us = t->config.clock_us;
    t->monotonic_ns = clock_real()->monotonic_ns(clock_real());
}

void leat_test_advance(struct leat_test *t, int64_t us)
{
    leat_assert(t->config.clock_us != 0 && us >= 0);
    t->wall_us += us;
    t->monotonic_ns += us * 1000;
}

/* ---- Opening and closing ---- */

static int some_step(void *context, struct leat_error *err);

static void drop_view(struct leat_test *t)
{
    leat_view_close(t->view);
    t->view = NULL;
}

/* As a crash would leave it. */
static void drop(struct leat_test *t)
{
    drop_view(t);
    for (uint32_t i = 0; t->leat != NULL && i < t->leat->modules; i++)
        atomic_store(&t->leat->module[i]->failed, LEAT_ECANCELED);
    leat_close(t->leat);
    t->leat = NULL;
    t->module = NULL;
}

static int launch_all(struct leat_test *t, struct leat_error *err)
{
    const struct leat_module *const *other = t->config.others;
    struct leat_launch as_wide = {.tasks = t->launch.tasks, .groups = t->launch.groups};
    int rv = 0;

    for (; other != NULL && *other != NULL && rv == 0; other++)
        rv = leat_launch(t->leat, *other, &as_wide, err);
    return rv == 0 ? leat_launch(t->leat, t->config.module, &t->launch, err) : rv;
}

static int launch(struct leat_test *t, struct leat_error *err)
{
    struct leat_config config = {.create = true, .memory = t->config.memory};

    hook(t);
    t->down = NONE;
    int rv = leat_open(t->directory, &config, &t->leat, err);

    if (rv != 0)
        return rv;
    stats_writer_stop(t->leat->stats); /* no thread may look at groups that come and go */
    stats_writer_close(t->leat->stats);
    t->leat->stats = NULL;
    t->leat->manual = true;
    t->leat->step = some_step;
    t->leat->step_context = t;
    t->leat->clock = t->config.clock_us != 0 ? &t->clock : clock_real();
    t->leat->cut_rows = t->config.cut_rows;
    t->leat->force_hops = t->config.force_hops;
    t->leat->checkpoint_bytes = t->config.checkpoint_bytes;
    t->leat->seed = random_u64(&t->random);
    rv = launch_all(t, err);
    if (rv != 0)
        drop(t);
    else
        t->module = node_module(t->leat, t->config.module->name);
    return rv;
}

int leat_test_open(const struct leat_test_config *config, struct leat_test **out, struct leat_error *err)
{
    if (config->module == NULL)
        return leat_fail(err, LEAT_EINVAL, "the configuration of a test has no .module");
    struct leat_test *t = base_alloc(sizeof(*t));
    uint32_t tasks = config->tasks > 0 ? config->tasks : 8;

    t->config = *config;
    t->launch = (struct leat_launch){.tasks = tasks, .groups = config->groups > 0 ? config->groups : tasks < 2 ? 1 : 2,
                                     .options = config->options};
    random_seed(&t->random, config->seed);
    clock_init(t);
    t->temporary = config->directory == NULL;
    snprintf(t->directory, sizeof(t->directory), "%s/leat-test-XXXXXX",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    if (!t->temporary)
        snprintf(t->directory, sizeof(t->directory), "%s", config->directory);
    else if (mkdtemp(t->directory) == NULL) {
        free(t);
        return leat_fail(err, LEAT_EIO, "no temporary directory can be made");
    }
    int rv = launch(t, err);
    if (rv != 0) {
        leat_test_close(t);
        return rv;
    }
    *out = t;
    return base_result(err, 0);
}

void leat_test_close(struct leat_test *t)
{
    if (t == NULL)
        return;
    hook(NULL);
    if (t->down != NONE)
        drop(t);
    drop_view(t);
    leat_close(t->leat);
    if (t->temporary)
        file_remove_tree(t->directory, NULL);
    free(t);
}

struct leat *leat_test_leat(struct leat_test *t)
{
    return t->leat;
}

/* ---- Names: of the module, or MODULE/NAME of another one ---- */

struct place {
    char module[LIMIT_NAME + 1];
    const char *name;
};

static struct place place_of(const struct leat_test *t, const char *name)
{
    const char *slash = strchr(name, '/');
    struct place p = {.name = slash != NULL ? slash + 1 : name};

    if (slash != NULL)
        snprintf(p.module, sizeof(p.module), "%.*s", (int)(slash - name), name);
    else
        snprintf(p.module, sizeof(p.module), "%s", t->config.module->name);
    return p;
}

/* ---- Appending and reading ---- */

int leat_test_append_as(struct leat_test *t, const char *depot, struct leat_row row, const struct leat_append *how,
                        struct leat_receipt *receipt, struct leat_error *err)
{
    struct place p = place_of(t, depot);
    struct leat_depot *d;
    struct leat_rows *rows;
    int rv = leat_depot_find(t->leat, p.module, p.name, &d, err);

    if (rv != 0)
        return rv;
    leat_rows_new(d, &rows);
    rv = leat_rows_add(rows, row, err);
    if (rv == 0)
        rv = leat_append(d, rows, how, receipt, err);
    leat_rows_free(rows);
    return rv;
}

int leat_test_append_once(struct leat_test *t, const char *depot, struct leat_row row, uint64_t session,
                          uint64_t sequence, struct leat_error *err)
{
    struct leat_append how = {.ack = LEAT_APPENDED, .session = session, .sequence = sequence};

    return leat_test_append_as(t, depot, row, &how, NULL, err);
}

int leat_test_append(struct leat_test *t, const char *depot, struct leat_row row, struct leat_error *err)
{
    return leat_test_append_once(t, depot, row, 0, 0, err);
}

int leat_test_get(struct leat_test *t, const char *pstate, struct leat_row keys, struct leat_value *out,
                  uint32_t count, struct leat_error *err)
{
    struct place p = place_of(t, pstate);
    uint32_t number;

    drop_view(t);
    int rv = leat_view_open(t->leat, p.module, &t->view, err);
    if (rv != 0)
        return rv;
    if (leat_view_pstate(t->view, p.name, &number) != 0)
        return leat_fail(err, LEAT_EINVAL, "module '%s' has no PState '%s'", p.module, p.name);
    struct leat_task *task = keys.count > 0 ? leat_view_owner(t->view, keys.value) : leat_view_task(t->view, 0);
    rv = leat_get(task, number, keys, out, count);
    return rv == 0 ? base_result(err, 0) : leat_fail(err, rv, "PState '%s': %s", p.name, leat_code_text(rv));
}

int leat_test_query(struct leat_test *t, const char *query, struct leat_row request, struct leat_result **out,
                    struct leat_error *err)
{
    struct place p = place_of(t, query);

    return leat_query(t->leat, p.module, p.name, request, NULL, out, err);
}

/* ---- Steps ---- */

static uint32_t groups_of(const struct leat_test *t)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < t->leat->modules; i++)
        sum += t->leat->module[i]->groups;
    return sum;
}

/* The module of a group that is counted through all; *group becomes its number there. */
static struct module *module_of(const struct leat_test *t, uint32_t *group)
{
    uint32_t i = 0;

    for (; *group >= t->leat->module[i]->groups; i++)
        *group -= t->leat->module[i]->groups;
    return t->leat->module[i];
}

static int step(struct leat_test *t, uint32_t group, struct leat_error *err)
{
    uint32_t number = group;

    if (group == t->down)
        return 0;
    struct module *m = module_of(t, &number);
    hook(t);
    drop_view(t);
    int rv = group_step(m->group[number], err);
    if (rv == LEAT_ECANCELED)
        t->down = group;
    return rv;
}

int leat_test_step(struct leat_test *t, struct leat_error *err)
{
    return step(t, (uint32_t)random_below(&t->random, groups_of(t)), err);
}

/* Of any group that has something to do; 0: none has, one after another. */
static int some_step(void *context, struct leat_error *err)
{
    struct leat_test *t = context;
    uint32_t groups = groups_of(t), down = t->down;
    int rv = 0;

    if (down != NONE) {
        struct module *m = module_of(t, &down);

        return leat_fail(err, LEAT_ECANCELED, "group %u of module '%s' has crashed", down, m->plan->module->name);
    }
    for (uint32_t i = 0; i < 2 * groups && rv == 0; i++)
        rv = i < groups ? leat_test_step(t, err) : step(t, i - groups, err);
    return rv;
}

static uint64_t lag(const struct leat_test *t)
{
    uint64_t sum = 0;

    for (uint32_t i = 0, groups = groups_of(t); i < groups; i++) {
        uint32_t number = i;
        struct module *m = module_of(t, &number);

        sum += group_lag(m->group[number]);
    }
    return sum;
}

/* Idle is when every group in turn had nothing to do; a lag that stays then is a bug, reported and not waited for. */
int leat_test_run(struct leat_test *t, struct leat_error *err)
{
    int rv;

    while ((rv = some_step(t, err)) > 0)
        ;
    if (rv < 0)
        return rv;
    if (lag(t) > 0)
        return leat_fail(err, LEAT_EINTERNAL, "all groups are idle, but %llu rows are not processed",
                         (unsigned long long)lag(t));
    return base_result(err, 0);
}

/* ---- Crashes ---- */

const char *const *leat_test_points(void)
{
    static const char *points[POINTS_MOST + 1];
    uint32_t count = 0;

    for (const char *const *p = group_crash_points; *p != NULL && count < POINTS_MOST; p++)
        points[count++] = *p;
    for (const char *const *p = pstate_crash_points; *p != NULL && count < POINTS_MOST; p++)
        points[count++] = *p;
    return points;
}

static bool is_point(const char *name)
{
    const char *const *point = leat_test_points();

    while (*point != NULL && strcmp(*point, name) != 0)
        point++;
    if (*point == NULL)
        log_print(LOG_ERROR, "testing", "leat_test_crash_at: there is no point '%s'", name);
    return *point != NULL;
}

void leat_test_crash_at(struct leat_test *t, const char *point, uint32_t after)
{
    leat_assert(point == NULL || (after > 0 && is_point(point)));
    t->crash_point = point;
    t->crash_after = after;
}

int leat_test_restart(struct leat_test *t, struct leat_error *err)
{
    leat_assert(!t->config.memory);
    drop(t);
    return launch(t, err);
}

int leat_test_restart_group(struct leat_test *t, struct leat_error *err)
{
    leat_assert(!t->config.memory && t->leat != NULL && t->down != NONE);
    if (t->leat->modules > 1)
        return leat_fail(err, LEAT_EINVAL, "beside other modules no group opens alone: leat_test_restart opens all");
    hook(t);
    drop_view(t);
    int rv = module_reopen_group(t->module, t->down, err);

    if (rv == 0)
        t->down = NONE;
    return base_result(err, rv);
}
