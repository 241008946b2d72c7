/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/group_state.h"

#include "base/log.h"
#include "engine/derive.h"
#include "engine/retain.h"

/* Stepping, checkpointing and closing a group. */

/* Pauses while the disk is full: from the first to the longest. */
#define SPACE_FIRST_NS 20000000LL
#define SPACE_MOST_NS 1000000000LL

const char *const group_crash_points[] = {"turn.ran",     "turn.appended", "turn.committed", "turn.derived",
                                          "turn.applied", "turn.released", "background.picked",
                                          "background.ran", "background.taken", NULL};

static group_crash *crash_hook;
static void *crash_context;

void group_crash_hook(group_crash *hook, void *context)
{
    crash_hook = hook;
    crash_context = context;
}

bool group_crashes(const struct group *g, const char *point)
{
    return crash_hook != NULL && crash_hook(crash_context, g, point);
}

/* ---- Waiting for space ---- */

static bool waits(const struct group *g, const struct space_wait *w)
{
    return w->pause_ns > 0 && g->config.clock->monotonic_ns(g->config.clock) < w->until_ns;
}

static int wait_for_space(struct group *g, struct space_wait *w, const struct leat_error *why)
{
    if (w->pause_ns == 0)
        log_print(LOG_WARN, "engine", "module %s, group %u waits for space on the disk: %s", g->plan->module->name,
                  g->config.number, why != NULL ? why->text : "");
    w->pause_ns = w->pause_ns == 0 ? SPACE_FIRST_NS : w->pause_ns * 2;
    w->pause_ns = w->pause_ns < SPACE_MOST_NS ? w->pause_ns : SPACE_MOST_NS;
    w->until_ns = g->config.clock->monotonic_ns(g->config.clock) + w->pause_ns;
    atomic_store(&g->stats.waits_for_space, true);
    return 0;
}

static void found_space(struct group *g, struct space_wait *w)
{
    if (w->pause_ns == 0)
        return;
    w->pause_ns = 0;
    if (g->turn_waits.pause_ns > 0 || g->checkpoint_waits.pause_ns > 0)
        return;
    atomic_store(&g->stats.waits_for_space, false);
    log_print(LOG_WARN, "engine", "module %s, group %u has space again", g->plan->module->name, g->config.number);
}

/* ---- Checkpoints ---- */

/* Up to where a peer has consumed our journal; all of it when nothing more is in it for the peer. */
static uint64_t consumed_by(const struct group *g, uint32_t number)
{
    const struct group *peer = g->peer[number].group;

    if (peer == NULL)
        return 0;
    const struct hop_peer *us = &peer->peer[g->config.number];
    return atomic_load(&us->consumed) == g->sent[number] ? UINT64_MAX : atomic_load(&us->journaled);
}

/* The journal may go up to what the older checkpoint needs and every peer has consumed. */
static int trim_journal(struct group *g, uint64_t previous_turn, struct leat_error *err)
{
    uint64_t floor = 0;

    for (int i = 0; i < 2; i++)
        if (g->checkpoint_turn[i] == previous_turn && previous_turn > 0)
            floor = g->checkpoint_position[i];
    for (uint32_t i = 0; i < g->config.groups; i++) {
        uint64_t consumed = consumed_by(g, i);

        floor = consumed < floor ? consumed : floor;
    }
    return floor > 0 ? log_trim(g->journal, 0, floor, err) : 0;
}

static int start_checkpoint(struct group *g, int64_t now, struct leat_error *err)
{
    struct buffer state;

    buffer_init(&state, LIMIT_BATCH);
    group_state_save(g, &state);
    int rv = state.error != 0 ? leat_fail(err, LEAT_ELIMIT, "the state of group %u is larger than a checkpoint holds",
                                          g->config.number)
                              : pstate_checkpoint_start(g->view, buffer_bytes(&state), err);
    buffer_fini(&state);
    if (rv != 0)
        return rv;
    g->checkpointing = true;
    g->checkpoint_started_ns = now;
    g->followed = 0;
    retain_checkpointed(g);
    if (g->checkpoint_turn[0] != g->turn) {
        g->checkpoint_turn[1] = g->checkpoint_turn[0];
        g->checkpoint_position[1] = g->checkpoint_position[0];
        g->checkpoint_turn[0] = g->turn;
        g->checkpoint_position[0] = g->journal_next;
    }
    return 0;
}

static bool wants_checkpoint(const struct group *g, int64_t now)
{
    return pstate_checkpoint_due(g->view, now) || unread_due(g) || retain_wants_checkpoint(g);
}

static int checkpoint_step(struct group *g, struct leat_error *err)
{
    int64_t now = g->config.clock->monotonic_ns(g->config.clock);
    uint64_t turn, previous;
    int rv;

    if (g->config.memory)
        return 0;
    rv = retain_step(g, now, err);
    if (rv != 0 || waits(g, &g->checkpoint_waits))
        return rv;
    /* Progress seen but not journaled must not get into a checkpoint: a replay behind it would count it twice. Nor must
     * the position behind a turn that is held: a replay would pass over it. */
    if (!g->checkpointing && (g->held != NULL || g->seen_progress.size > 0))
        return 0;
    if (!g->checkpointing)
        return wants_checkpoint(g, now) && hold_checkpoint(&g->hold, now) ? start_checkpoint(g, now, err) : 0;
    rv = pstate_checkpoint_poll(g->view, &turn, &previous, err);
    if (rv == LEAT_EAGAIN)
        return 0;
    if (rv != 0)
        return base_wrap(err, rv, "group %u takes a checkpoint", g->config.number);
    found_space(g, &g->checkpoint_waits);
    g->checkpointing = false;
    retain_hurry(g);
    histogram_add(&g->stats.checkpoint_ns, (uint64_t)(now - g->checkpoint_started_ns));
    log_print(LOG_DEBUG, "engine", "module %s, group %u has a checkpoint of turn %llu after %lld ms",
              g->plan->module->name, g->config.number, (unsigned long long)turn,
              (long long)(now - g->checkpoint_started_ns) / 1000000);
    return trim_journal(g, previous, err);
}

/* ---- Stepping ---- */

static int turn_step(struct group *g, struct leat_error *err)
{
    if (waits(g, &g->turn_waits))
        return 0;
    int rv = turn_run(g, err);
    if (rv == LEAT_ENOSPACE)
        return wait_for_space(g, &g->turn_waits, err);
    if (rv > 0)
        found_space(g, &g->turn_waits);
    return rv;
}

int group_step(struct group *g, struct leat_error *err)
{
    bool came = false;
    int rv = 0;

    leat_assert(g->connected);
    derive_reap(g->derive);
    /* What is seen now would be taken for part of a turn that is held. */
    if (g->held == NULL)
        rv = hops_poll(g, &came, err);
    atomic_store(&g->stats.open_turns, progress_open_turns(g->progress));
    atomic_store(&g->stats.open_rows, progress_open_records(g->progress));
    if (rv == 0)
        rv = unread_step(g, err);
    if (rv == 0)
        rv = turn_step(g, err);
    if (rv < 0)
        return rv;
    int background = background_step(g->background, rv == 0 && !came, err);
    if (background < 0)
        return background;
    int checkpoint = checkpoint_step(g, err);
    if (!g->checkpointing)
        hold_checkpoint_over(&g->hold);
    if (checkpoint == LEAT_ENOSPACE)
        checkpoint = wait_for_space(g, &g->checkpoint_waits, err);
    return checkpoint != 0 ? checkpoint : rv != 0 || came || background != 0;
}

int64_t group_due(const struct group *g)
{
    int64_t now = g->config.clock->monotonic_ns(g->config.clock), wall = g->config.clock->wall_us(g->config.clock);
    int64_t due = INT64_MAX;

    if (!g->config.memory)
        due = now + (g->checkpointing ? 20 * 1000000LL : 1000 * 1000000LL);
    if (waits(g, &g->turn_waits))
        return g->turn_waits.until_ns < due ? g->turn_waits.until_ns : due;
    if (g->settle_ns > 0)
        due = g->settle_ns < due ? g->settle_ns : due;
    due = background_due(g->background) < due ? background_due(g->background) : due;
    for (uint32_t i = 0; i < g->plan->depots && g->config.number == 0; i++)
        if (g->plan->depot[i].tick_ms > 0) {
            int64_t at = g->tick_next_us[i] > wall ? now + (g->tick_next_us[i] - wall) * 1000 : now;

            due = at < due ? at : due;
        }
    return due;
}

/* ---- Closing ---- */

void group_stop(struct group *g)
{
    background_stop(g->background);
}

int group_settle(struct group *g, struct leat_error *err)
{
    g->closing = true;
    int rv = group_step(g, err);
    return rv < 0 ? rv : 0;
}

int group_close_clean(struct group *g, struct leat_error *err)
{
    struct buffer state;
    int rv = unread_follow(g, 1, err);

    background_close(g->background);
    g->background = NULL;
    buffer_init(&state, LIMIT_BATCH);
    group_state_save(g, &state);
    if (rv == 0 && state.error != 0)
        rv = leat_fail(err, LEAT_ELIMIT, "the state of group %u is larger than a checkpoint holds", g->config.number);
    if (rv == 0 && g->checkpointing)
        rv = pstate_checkpoint_wait(g->view, err);
    /* Somebody copies the files, or the view lacks a turn: the next start replays the journal instead. */
    if (rv == 0 && !g->config.memory && g->held == NULL && hold_checkpoint(&g->hold, INT64_MAX)) {
        struct pstate_view *view = g->view;

        intake_close(g->intake);
        derive_close(g->derive);
        g->intake = NULL;
        g->derive = NULL;
        g->view = NULL;
        rv = pstate_view_close_clean(view, buffer_bytes(&state), err);
    }
    buffer_fini(&state);
    group_close(g);
    return rv;
}

void group_close(struct group *g)
{
    if (g == NULL)
        return;
    background_close(g->background);
    turn_drop_held(g);
    derive_close(g->derive);
    if (g->intake != NULL)
        intake_close(g->intake);
    if (g->view != NULL)
        pstate_view_close(g->view);
    if (g->depots != NULL)
        log_close(g->depots);
    if (g->journal != NULL)
        log_close(g->journal);
    hold_close(&g->hold);
    hops_fini(g);
    retain_close(g->retain);
    if (g->acks != NULL)
        acks_close(g->acks);
    flow_close(g->flow);
    progress_close(g->progress);
    for (uint32_t i = 0; i < g->own_partitions; i++)
        session_fini(&g->session[i]);
    unread_close(g);
    buffer_fini(&g->ops);
    buffer_fini(&g->record);
    buffer_fini(&g->seen_progress);
    arena_close(g->arena);
    arena_close(g->small);
    pthread_mutex_destroy(&g->inbox_lock);
    free(g->foreign);
    free(g->peer);
    free(g->sent);
    free(g->lost);
    free(g->session);
    free(g->tick_next_us);
    free(g->end);
    free(g);
}

/* ---- Asked from outside ---- */

struct pstate_view *group_view(struct group *g)
{
    return g->view;
}

struct derive *group_derive(struct group *g)
{
    return g->derive;
}

int group_take(struct group *g, struct derive_hold *out, struct leat_error *err)
{
    if (g->derive != NULL)
        return derive_take(g->derive, out, err);
    *out = (struct derive_hold){0};
    return pstate_snapshot_open(g->view, &out->reader, err);
}

void group_give(struct group *g, struct derive_hold *hold)
{
    if (g->derive != NULL)
        derive_give(g->derive, hold);
    else
        pstate_snapshot_close(hold->reader);
    *hold = (struct derive_hold){0};
}

struct intake *group_intake(struct group *g)
{
    return g->intake;
}

struct acks *group_acks(struct group *g)
{
    return g->acks;
}

struct log *group_depots(struct group *g)
{
    return g->depots;
}

const struct stats_group *group_stats(const struct group *g)
{
    return &g->stats;
}

uint64_t group_foreign_frontier(struct group *g, uint32_t foreign, uint32_t partition)
{
    leat_assert(foreign < g->plan->foreigns);
    if ((partition & (g->config.groups - 1)) != g->config.number)
        return UINT64_MAX;
    return acks_frontier(g->acks, g->foreign[foreign].first + partition / g->config.groups);
}

/* A turn counts before others see what it does, and what it opens shows before what
 * it ends: read in the other order. */
bool group_idle(struct group *g, uint64_t *turns)
{
    bool idle = atomic_load(&g->stats.background_waiting) == 0 && group_lag(g) == 0 &&
                atomic_load(&g->stats.open_turns) == 0;

    *turns = atomic_load(&g->stats.turns);
    return idle;
}

uint64_t group_lag(struct group *g)
{
    uint32_t each = g->plan->tasks / g->config.groups;
    uint64_t lag = 0;

    for (uint32_t i = 0; i < g->own_partitions; i++) {
        uint64_t first, next, frontier = acks_frontier(g->acks, i);

        log_bounds(g->depots, i, &first, &next);
        if (g->plan->depot[i / each].edges > 0 && next > frontier)
            lag += next - frontier;
    }
    return lag;
}
