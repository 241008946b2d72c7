/* SPDX-License-Identifier: Apache-2.0 */
#include "leat/testing.h"

#include "engine/node.h"

#include "base/file.h"

#include <stdio.h>

struct leat_test {
    struct leat_test_config config;
    struct leat_launch launch;
    struct leat *leat;
    struct random random;
    char directory[4096];
    bool temporary;
    const char *crash_point;
    uint32_t crash_after;
    uint32_t down;       /* the group that crashed; NONE */
};

enum { POINTS_MOST = 32 };
#define NONE UINT32_MAX

/* One cluster at a time can crash: the hooks are the process's. */
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

static int launch(struct leat_test *t, struct leat_error *err)
{
    struct leat_config config = {.create = true, .memory = t->config.memory};

    t->down = NONE;
    int rv = leat_open(t->directory, &config, &t->leat, err);

    if (rv != 0)
        return rv;
    stats_writer_close(t->leat->stats); /* no thread may look at groups that come and go */
    t->leat->stats = NULL;
    t->leat->manual = true;
    t->leat->cut_rows = t->config.cut_rows;
    t->leat->force_hops = t->config.force_hops;
    t->leat->checkpoint_bytes = t->config.checkpoint_bytes;
    t->leat->seed = random_u64(&t->random);
    rv = leat_launch(t->leat, t->config.module, &t->launch, err);
    if (rv != 0) {
        leat_close(t->leat);
        t->leat = NULL;
    }
    return rv;
}

int leat_test_open(const struct leat_test_config *config, struct leat_test **out, struct leat_error *err)
{
    struct leat_test *t = base_alloc(sizeof(*t));

    t->config = *config;
    t->launch = (struct leat_launch){.tasks = config->tasks > 0 ? config->tasks : 8,
                                     .groups = config->groups > 0 ? config->groups : 2, .options = config->options};
    random_seed(&t->random, config->seed);
    t->temporary = config->directory == NULL;
    snprintf(t->directory, sizeof(t->directory), "%s/leat-test-XXXXXX",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    if (!t->temporary)
        snprintf(t->directory, sizeof(t->directory), "%s", config->directory);
    else if (mkdtemp(t->directory) == NULL) {
        free(t);
        return leat_fail(err, LEAT_EIO, "no temporary directory can be made");
    }
    group_crash_hook(crash_group, t);
    pstate_crash_hook(crash_here, t);
    int rv = launch(t, err);
    if (rv != 0) {
        leat_test_close(t);
        return rv;
    }
    *out = t;
    return 0;
}

void leat_test_close(struct leat_test *t)
{
    if (t == NULL)
        return;
    group_crash_hook(NULL, NULL);
    pstate_crash_hook(NULL, NULL);
    if (t->leat != NULL && t->down != NONE)
        atomic_store(&t->leat->module[0]->failed, LEAT_ECANCELED);
    leat_close(t->leat);
    if (t->temporary)
        file_remove_tree(t->directory, NULL);
    free(t);
}

struct leat *leat_test_leat(struct leat_test *t)
{
    return t->leat;
}

int leat_test_append_once(struct leat_test *t, const char *depot, struct leat_row row, uint64_t session,
                          uint64_t sequence, struct leat_error *err)
{
    struct leat_append how = {.ack = LEAT_APPENDED, .session = session, .sequence = sequence};
    struct leat_depot *d;
    struct leat_rows *rows;
    int rv = leat_depot_find(t->leat, t->config.module->name, depot, &d, err);

    if (rv != 0)
        return rv;
    leat_rows_new(d, &rows);
    rv = leat_rows_add(rows, row, err);
    if (rv == 0)
        rv = leat_append(d, rows, &how, NULL, err);
    leat_rows_free(rows);
    return rv;
}

int leat_test_append(struct leat_test *t, const char *depot, struct leat_row row, struct leat_error *err)
{
    return leat_test_append_once(t, depot, row, 0, 0, err);
}

static int step(struct leat_test *t, uint32_t group, struct leat_error *err)
{
    if (group == t->down)
        return 0;
    int rv = group_step(t->leat->module[0]->group[group], err);
    if (rv == LEAT_ECANCELED)
        t->down = group;
    return rv;
}

int leat_test_step(struct leat_test *t, struct leat_error *err)
{
    return step(t, (uint32_t)random_below(&t->random, t->leat->module[0]->groups), err);
}

static uint64_t lag(const struct module *m)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < m->groups; i++)
        sum += group_lag(m->group[i]);
    return sum;
}

/* Idle is when every group in turn had nothing to do; a lag that stays then is a bug, reported and not waited for. */
int leat_test_run(struct leat_test *t, struct leat_error *err)
{
    struct module *m = t->leat->module[0];
    uint32_t idle = 0;

    if (t->down != NONE)
        return leat_fail(err, LEAT_ECANCELED, "group %u has crashed", t->down);
    while (idle < 2 * m->groups) {
        int rv = idle < m->groups ? leat_test_step(t, err) : step(t, idle - m->groups, err);

        if (rv < 0)
            return rv;
        idle = rv > 0 ? 0 : idle + 1;
    }
    if (lag(m) > 0)
        return leat_fail(err, LEAT_EINTERNAL, "all groups are idle, but %llu rows are not processed",
                         (unsigned long long)lag(m));
    return 0;
}

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

void leat_test_crash_at(struct leat_test *t, const char *point, uint32_t after)
{
    leat_assert(point == NULL || after > 0);
    t->crash_point = point;
    t->crash_after = after;
}

int leat_test_restart(struct leat_test *t, struct leat_error *err)
{
    leat_assert(!t->config.memory);
    if (t->leat != NULL)
        atomic_store(&t->leat->module[0]->failed, LEAT_ECANCELED);
    leat_close(t->leat);
    t->leat = NULL;
    return launch(t, err);
}

int leat_test_restart_group(struct leat_test *t, struct leat_error *err)
{
    leat_assert(!t->config.memory && t->leat != NULL && t->down != NONE);
    int rv = module_reopen_group(t->leat->module[0], t->down, err);

    if (rv == 0)
        t->down = NONE;
    return rv;
}
