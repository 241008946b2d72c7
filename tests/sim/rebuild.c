/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim.h"

#include "engine/layout.h"
#include "tests/sim/kept.h"
#include "tests/sim/vectors.h"

#include <pthread.h>

/* Views are made again from the logs between two lives, with as many groups or others, on a disk that works or fails.
 * What follows looks at everything as before. Where the machine dies meanwhile, one of the two directories is there,
 * whole. */

#define SECOND UINT64_C(1000000000)

struct rebuilding {
    const struct leat_module *module;
    struct leat_rebuild how;
    struct random random;
    uint64_t end_steps;   /* into what comes when all is processed, it crashes; 0: it does not */
    int rv;
    struct leat_error err;
};

static struct {
    bool unsure;          /* these groups or those, until a launch makes durable what it finds */
    bool loose;           /* what was put back is not durable: a loss of power makes it unsure */
    const char *module;
    uint32_t *now;        /* of that module */
    uint32_t before, after;
} groups;

int __real_leat_open(const char *directory, const struct leat_config *config, struct leat **out,
                     struct leat_error *err);
int __wrap_leat_open(const char *directory, const struct leat_config *config, struct leat **out,
                     struct leat_error *err);
int __real_log_open(const struct log_ops *ops, const struct log_config *config, struct log **out,
                    struct leat_error *err);
int __wrap_log_open(const struct log_ops *ops, const struct log_config *config, struct log **out,
                    struct leat_error *err);

/* Whoever opens a directory, be it a rebuild, gets what the seed says. */
int __wrap_leat_open(const char *directory, const struct leat_config *config, struct leat **out, struct leat_error *err)
{
    struct leat_config with = *config;

    with.query_threads = 1;
    int rv = __real_leat_open(directory, &with, out, err);
    if (rv != 0)
        return rv;
    (*out)->cut_rows = sim.cut_rows;
    (*out)->force_hops = sim.force_hops;
    (*out)->segment_size = sim.segment_size;
    (*out)->checkpoint_bytes = sim.checkpoint_bytes;
    return 0;
}

int __wrap_log_open(const struct log_ops *ops, const struct log_config *config, struct log **out,
                    struct leat_error *err)
{
    struct log_config with = *config;

    with.segment_size = sim.segment_size;
    return __real_log_open(ops, &with, out, err);
}

void sim_rebuild_init(void)
{
    memset(&groups, 0, sizeof(groups));
}

/* What comes at the end takes few steps: crashes there are asked for. */
static void progress(void *context, const char *doing, uint64_t done, uint64_t all)
{
    struct rebuilding *r = context;

    if (r->end_steps == 0 || done < all || strcmp(doing, "processed") != 0)
        return;
    fiber_world.crash_step = fiber_world.steps + r->end_steps;
    r->end_steps = 0;
}

/* Between this and its sync there are few steps, too. */
static void exchanged(void)
{
    uint64_t what = random_below(&fiber_world.random, 8);

    if (what < 2)
        fiber_world.crash_step = fiber_world.steps + 1 + random_below(&fiber_world.random, what == 0 ? 6 : 100);
    if (what != 2)
        return;
    files.sync_errors = 1;
    files.sync_skip = 0;
    sim.excused = true;
}

static void *make_room(void *context)
{
    fiber_sleep((int64_t)random_below(&((struct rebuilding *)context)->random, 10 * SECOND));
    files.capacity_bytes = UINT64_MAX;
    return NULL;
}

static void *rebuild(void *context)
{
    struct rebuilding *r = context;
    bool full = files.capacity_bytes != UINT64_MAX;
    pthread_t thread;

    if (full)
        pthread_create(&thread, NULL, make_room, r);
    r->rv = leat_rebuild(FILES_ROOT "/data", r->module, &r->how, &r->err);
    if (full)
        pthread_join(thread, NULL);
    return NULL;
}

static void draw_module(struct rebuilding *r)
{
    uint64_t which = random_below(&r->random, 3);
    bool little = sim.keeps && which == 0, index = vectors_plan.runs && which == 1;
    uint32_t tasks = index ? vectors_plan.tasks : sim_module.tasks;

    r->module = little ? &kept_module : index ? &vectors_module : &sim_module.module;
    r->how = (struct leat_rebuild){.progress = progress, .context = r};
    groups.module = r->module->name;
    groups.now = index ? &vectors_plan.groups : &sim.groups;
    groups.before = groups.after = *groups.now;
    if (little || random_below(&r->random, 2) == 0)
        return;
    r->how.groups = 1U << random_below(&r->random, 3);
    r->how.groups = r->how.groups > tasks ? tasks : r->how.groups;
    groups.after = r->how.groups;
}

static void draw(struct rebuilding *r, uint64_t dice)
{
    static const uint64_t range[] = {200, 2000, 20000, 100000};

    random_seed(&r->random, dice);
    draw_module(r);
    sim.crash_with_power = sim.durability == LEAT_FULL && random_below(&r->random, 3) != 0;
    switch (random_below(&r->random, 6)) {
    case 0:
        fiber_world.crash_step = fiber_world.steps + 1 +
                                 random_below(&r->random, range[random_below(&r->random, LENGTH_OF(range))]);
        break;
    case 1:
        r->end_steps = 1 + random_below(&r->random, random_below(&r->random, 2) == 0 ? 200 : 2000);
        break;
    case 2:
        sim_break(1 + (uint32_t)random_below(&r->random, 4));
        break;
    default:
        break;
    }
}

/* What was trimmed is missed: it is not rebuilt without being told to. */
static bool may_fail(const struct rebuilding *r)
{
    return sim_excuse(r->rv) || (r->module == &kept_module && r->rv == LEAT_ETRIMMED);
}

static void ended(const struct rebuilding *r)
{
    bool power = sim.durability == LEAT_FULL && (sim.seed + sim.life) % 3 == 0;

    if (r->rv != 0 && !may_fail(r))
        sim_fail("a rebuild fails: %s", r->err.text);
    sim_note("rebuilt: %s", r->rv == 0 ? "yes" : r->err.text);
    sim.result->counts.rebuilds_failed += r->rv != 0;
    sim.result->counts.rebuilds += r->rv == 0;
    if (r->rv == 0) {
        sim.result->counts.rebuilt_groups += groups.after != groups.before;
        *groups.now = groups.after;
    } else {
        groups.loose = r->module != &kept_module;
        groups.unsure = groups.loose && power;
    }
    if (power) /* what is done is done */
        files_crash(true);
    else
        files_exit();
}

void sim_rebuild(uint64_t dice)
{
    struct rebuilding r = {0};

    fiber_world.crash_step = 0;
    files.exchanged = exchanged;
    draw(&r, dice);
    sim_note("rebuild of %s, with %u groups, then %u", r.module->name, groups.before, groups.after);
    switch (fiber_life(rebuild, &r)) {
    case FIBER_STUCK:
        sim_fail("nobody can go on in a rebuild, and nobody waits for a time");
    case FIBER_CRASHED:
        sim_note("%s in a rebuild", sim.crash_with_power ? "the power is lost" : "the process is killed");
        sim.result->counts.rebuilds_crashed++;
        groups.unsure = groups.loose = r.module != &kept_module;
        files_crash(sim.crash_with_power);
        break;
    case FIBER_DONE:
        ended(&r);
        break;
    }
    files.exchanged = NULL;
}

bool sim_rebuild_look(struct leat_error *err)
{
    struct layout *l;

    if (!groups.unsure)
        return true;
    if (layout_open(FILES_ROOT "/data", groups.module, &l, err) != 0)
        return false;
    if (l->groups != groups.before && l->groups != groups.after)
        sim_fail("after a rebuild that was cut off there are %u groups", l->groups);
    sim.result->counts.rebuilt_groups += l->groups != *groups.now;
    *groups.now = l->groups;
    layout_close(l);
    return true;
}

void sim_rebuild_power(void)
{
    groups.unsure = groups.unsure || groups.loose;
}

void sim_rebuild_sure(void)
{
    groups.unsure = groups.loose = false;
}
