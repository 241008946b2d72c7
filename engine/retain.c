/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/retain.h"

#include "base/log.h"
#include "engine/consumer.h"
#include "engine/group_state.h"

#include <stdio.h>

/* Of a partition in a step. */
enum { ABSORB_RECORDS = 65536, ABSORB_BYTES = 64 << 20, SLICE_RECORDS = 4096, SLICE_BYTES = 4 << 20 };

#define PERIOD_NS 10000000000LL

struct retain {
    int64_t due_ns;
    /* Cursors at the last two checkpoints started, newest first, by own partition. A checkpoint starts when the one
     * before is whole, so in whichever a crash leaves, the cursors are those of [1] or later. */
    uint64_t *saved[2];
    uint32_t checkpoints; /* to be taken for saved[1] to move */
    uint64_t **told;      /* by foreign depot and partition of ours: where its module knows us to be */
    uint32_t foreigns;
    uint32_t depots;
    struct consumer_floors *floors; /* by depot; read anew in each period, not for each step of it */
    bool warned;
};

struct retain *retain_open(const struct group *g)
{
    struct retain *r = base_alloc(sizeof(*r));

    for (int i = 0; i < 2; i++)
        r->saved[i] = base_alloc((g->own_partitions + 1) * sizeof(uint64_t));
    r->foreigns = g->plan->foreigns;
    r->depots = g->plan->depots;
    r->floors = base_alloc(r->depots * sizeof(*r->floors));
    r->told = base_alloc((r->foreigns + 1) * sizeof(uint64_t *));
    for (uint32_t i = 0; i < r->foreigns; i++)
        r->told[i] = base_alloc((g->foreign[i].count + 1) * sizeof(uint64_t));
    return r;
}

void retain_close(struct retain *r)
{
    if (r == NULL)
        return;
    for (uint32_t i = 0; i < r->foreigns; i++)
        free(r->told[i]);
    free(r->told);
    for (uint32_t i = 0; i < r->depots; i++)
        free(r->floors[i].floor);
    free(r->floors);
    free(r->saved[0]);
    free(r->saved[1]);
    free(r);
}

void retain_hurry(struct group *g)
{
    g->retain->due_ns = 0;
}

bool retain_wants_checkpoint(const struct group *g)
{
    return g->retain->checkpoints > 0;
}

void retain_checkpointed(struct group *g)
{
    struct retain *r = g->retain;
    uint64_t *oldest = r->saved[1];

    r->saved[1] = r->saved[0];
    r->saved[0] = oldest;
    for (uint32_t i = 0; i < g->own_partitions; i++)
        r->saved[0][i] = progress_cursor(g->progress, i);
    r->checkpoints -= r->checkpoints > 0;
}

/* ---- As a consumer of other modules' depots ---- */

/* The file of this group with the module that has the depot. Only what changed is written. */
static int tell(struct group *g, uint32_t foreign, bool always, struct leat_error *err)
{
    const struct foreign_input *f = &g->foreign[foreign];
    struct consumer c = {.partitions = f->from.tasks};
    char directory[4096], name[LIMIT_NAME + 16];
    bool changed = always;

    for (uint32_t i = 0; i < f->count; i++)
        changed = changed || g->retain->told[foreign][i] != progress_frontier(g->progress, f->first + i);
    if (!changed || f->count == 0)
        return 0;
    c.position = base_alloc((c.partitions + 1) * sizeof(uint64_t));
    for (uint32_t i = 0; i < c.partitions; i++)
        c.position[i] = CONSUMER_NONE;
    for (uint32_t i = 0; i < f->count; i++) {
        g->retain->told[foreign][i] = progress_frontier(g->progress, f->first + i);
        c.position[i * g->config.groups + g->config.number] = g->retain->told[foreign][i];
    }
    consumer_directory(f->from.directory, g->plan->foreign[foreign].depot, directory, sizeof(directory));
    snprintf(name, sizeof(name), "%s.%03u", g->plan->module->name, g->config.number);
    int rv = consumer_write(directory, name, &c, g->config.durability == LEAT_FULL, err);
    free(c.position);
    return rv;
}

int retain_connect(struct group *g, struct leat_error *err)
{
    int rv = 0;

    if (g->config.memory)
        return 0;
    for (uint32_t i = 0; i < g->plan->foreigns && rv == 0; i++)
        rv = tell(g, i, true, err);
    return rv == 0 ? 0
                   : base_wrap(err, rv, "group %u registers as a reader of another module's depot", g->config.number);
}

void retain_passed(struct group *g, uint32_t partition)
{
    uint64_t first, next, cursor = progress_cursor(g->progress, partition);
    struct group_input in;

    leat_assert(partition >= g->own_partitions);
    group_input(g, partition, &in);
    log_bounds(in.log, in.log_partition, &first, &next);
    log_print(cursor > 0 ? LOG_ERROR : LOG_INFO, "engine",
              "module %s, group %u: records %llu to %llu of a depot of another module were trimmed before they were "
              "read",
              g->plan->module->name, g->config.number, (unsigned long long)cursor, (unsigned long long)first);
    progress_skip(g->progress, partition, first);
}

/* ---- Trimming our own ---- */

/* What cannot be done now is tried again later; the log says so once. */
static void warn(struct group *g, const struct leat_error *err)
{
    if (!g->retain->warned)
        log_print(LOG_WARN, "engine", "module %s, group %u trims no depots for now: %s", g->plan->module->name,
                  g->config.number, err->text);
    g->retain->warned = true;
}

/* A file that must not be removed stays until it may be. */
static int trim(struct group *g, uint32_t partition, uint64_t before, struct leat_error *err)
{
    int rv = log_trim(g->depots, partition, before, err);

    if (rv != LEAT_EINVAL)
        return rv;
    warn(g, err);
    return 0;
}

/* Of the depot's partitions here: the offsets behind the chunks that are too old or too many. */
static bool find_cuts(struct group *g, uint32_t first, uint32_t count, const struct plan_retain *keep, uint64_t *cut)
{
    int64_t before = g->config.clock->wall_us(g->config.clock) - keep->age_us;
    uint64_t share = (keep->bytes + g->config.groups - 1) / g->config.groups;
    uint64_t *end = base_alloc((count + 1) * sizeof(*end));
    struct log_chunk chunk;
    uint32_t chunks = 0;

    while (log_chunk(g->depots, chunks, first, count, &chunk, end) &&
           ((keep->age_us > 0 && chunk.newest_us < before) || (keep->bytes > 0 && chunk.behind >= share))) {
        memcpy(cut, end, count * sizeof(*cut));
        chunks++;
    }
    free(end);
    return chunks > 0;
}

/* What nobody reads is gone through once before it goes: a session's repeats are known after it, too. The cursor then
 * says how far, so that a stream which comes to read the depot later begins there. */
static int absorb(struct group *g, uint32_t partition, uint64_t cut, struct leat_error *err)
{
    uint64_t first, next, at = progress_cursor(g->progress, partition);
    struct log_slice slice;
    size_t records = 0, bytes = 0;
    int rv = 0;

    log_bounds(g->depots, partition, &first, &next);
    at = at > first ? at : first;
    if (g->unread[partition].next < cut) /* whoever starts reads on from there */
        rv = unread_sessions(g, partition, &g->unread[partition].next, &g->unread[partition].sessions, err);
    while (rv == 0 && at < cut && records < ABSORB_RECORDS && bytes < ABSORB_BYTES) {
        rv = log_read(g->depots, partition, at, SLICE_RECORDS, SLICE_BYTES, &slice, err);
        if (rv != 0)
            break;
        for (uint32_t j = 0; j < slice.count && slice.entry[j].offset < cut; j++) {
            session_accept(&g->session[partition], slice.entry[j].session, slice.entry[j].sequence,
                           slice.entry[j].time_us);
            bytes += slice.entry[j].body.size;
        }
        records += slice.count;
        at = slice.next < cut ? slice.next : cut;
        log_release(g->depots, &slice);
    }
    progress_skip(g->progress, partition, at);
    return rv == LEAT_EAGAIN ? 0 : rv;
}

/* How much of a partition is no longer needed by this module itself, up to a cut. */
static int allow(struct group *g, uint32_t partition, bool read, uint64_t *cut, struct leat_error *err)
{
    uint64_t allowed = progress_frontier(g->progress, partition);

    if (!read) {
        int rv = absorb(g, partition, *cut, err);

        if (rv != 0)
            return rv;
        allowed = g->retain->saved[1][partition];
        if (progress_cursor(g->progress, partition) < *cut)
            retain_hurry(g);
        else if (allowed < *cut && g->retain->checkpoints == 0)
            g->retain->checkpoints = 2;
    }
    *cut = allowed < *cut ? allowed : *cut;
    return 0;
}

static int trim_depot(struct group *g, uint32_t depot, struct leat_error *err)
{
    uint32_t groups = g->config.groups, each = g->plan->tasks / groups, first = depot * each;
    uint64_t *cut = base_alloc((each + 1) * sizeof(*cut)), *floor = base_alloc((g->plan->tasks + 1) * sizeof(*floor));
    char directory[4096];
    int rv = 0;

    if (!find_cuts(g, first, each, &g->config.retain[depot], cut))
        goto out;
    memset(floor, 0xff, g->plan->tasks * sizeof(*floor));
    consumer_directory(g->config.module_directory, g->plan->depot[depot].name, directory, sizeof(directory));
    rv = consumer_floor_again(&g->retain->floors[depot], directory, floor, g->plan->tasks, err);
    if (rv != 0) {
        warn(g, err);
        rv = 0;
        goto out;
    }
    for (uint32_t i = 0; i < each && rv == 0; i++) {
        uint64_t held = floor[i * groups + g->config.number];

        cut[i] = held < cut[i] ? held : cut[i];
        rv = allow(g, first + i, g->plan->depot[depot].edges > 0, &cut[i], err);
        if (rv == 0)
            rv = trim(g, first + i, cut[i], err);
    }
out:
    free(cut);
    free(floor);
    return rv == 0 ? 0 : base_wrap(err, rv, "group %u trims depot '%s'", g->config.number, g->plan->depot[depot].name);
}

static int trim_depots(struct group *g, struct leat_error *err)
{
    int rv = 0;

    /* Nothing goes for what was allowed earlier and did not go: a consumer may have come since. */
    for (uint32_t i = 0; i < g->own_partitions && rv == 0; i++)
        rv = trim(g, i, 0, err);
    for (uint32_t i = 0; i < g->plan->depots && rv == 0; i++)
        if (g->config.retain[i].age_us > 0 || g->config.retain[i].bytes > 0)
            rv = trim_depot(g, i, err);
    return rv;
}

/* Not while somebody copies the files: then it is tried again soon. A copy must have no file that says we read further
 * than the rest of it. */
int retain_step(struct group *g, int64_t now_ns, struct leat_error *err)
{
    struct leat_error why = {0};
    bool held = g->hold.ours;

    if (now_ns < g->retain->due_ns || !hold_checkpoint(&g->hold, now_ns))
        return 0;
    for (uint32_t i = 0; i < g->plan->depots && g->retain->due_ns > 0; i++)
        g->retain->floors[i].known = false;
    g->retain->due_ns = now_ns + PERIOD_NS;
    for (uint32_t i = 0; i < g->plan->foreigns; i++)
        if (tell(g, i, false, &why) != 0)
            warn(g, &why);
    int rv = g->config.retain != NULL ? trim_depots(g, err) : 0;
    if (!held)
        hold_checkpoint_over(&g->hold);
    return rv;
}
