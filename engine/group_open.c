/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/group_state.h"

#include "base/file.h"
#include "base/log.h"
#include "engine/derive.h"
#include "engine/layout.h"
#include "engine/retain.h"

#include <stdio.h>

/* Opening a group. The state that follows from the journal goes into each checkpoint of the view as bytes: restore
 * both, replay what the journal has behind, and the group is where it was. Then it is connected with its peers. */

enum { REPLAY_BATCHES = 1024 };

/* ---- State as bytes ---- */

void group_state_save(const struct group *g, struct buffer *out)
{
    buffer_u8(out, GROUP_STATE_VERSION);
    buffer_varint(out, g->config.number);
    buffer_varint(out, g->epoch);
    buffer_varint(out, g->turn);
    buffer_u64(out, (uint64_t)g->now_us);
    buffer_varint(out, g->journal_next);
    for (uint32_t i = 0; i < g->config.groups; i++) {
        buffer_varint(out, g->peer[i].cursor.turn);
        buffer_varint(out, g->peer[i].cursor.position);
        buffer_varint(out, g->peer[i].cursor.item);
        buffer_varint(out, g->peer[i].cursor.progress_turn);
        buffer_varint(out, g->sent[i]);
    }
    progress_save(g->progress, out);
    for (uint32_t i = 0; i < g->own_partitions; i++)
        session_save(&g->session[i], out);
    buffer_varint(out, g->plan->depots);
    for (uint32_t i = 0; i < g->plan->depots; i++)
        buffer_u64(out, (uint64_t)g->tick_next_us[i]);
    unread_save(g, out);
}

static int state_load(struct group *g, struct leat_span bytes, struct leat_error *err)
{
    struct reader r = reader_of(bytes);
    uint8_t version = reader_u8(&r);
    int rv;

    if (version != GROUP_STATE_VERSION)
        return leat_fail(err, LEAT_EFORMAT, "group %u: its checkpoint has state version %u, this program reads %d",
                         g->config.number, version, GROUP_STATE_VERSION);
    uint64_t number = reader_varint(&r);
    if (r.error == 0 && number != g->config.number)
        return leat_fail(err, LEAT_ECORRUPT,
                         "group %u: its view is that of group %llu: put the directories back where they were",
                         g->config.number, (unsigned long long)number);
    g->epoch = reader_varint(&r);
    g->turn = reader_varint(&r);
    g->now_us = (int64_t)reader_u64(&r);
    g->journal_next = reader_varint(&r);
    for (uint32_t i = 0; i < g->config.groups; i++) {
        g->peer[i].cursor.turn = reader_varint(&r);
        g->peer[i].cursor.position = reader_varint(&r);
        g->peer[i].cursor.item = (uint32_t)reader_varint(&r);
        g->peer[i].cursor.progress_turn = reader_varint(&r);
        g->sent[i] = reader_varint(&r);
    }
    rv = progress_load(g->progress, &r);
    for (uint32_t i = 0; i < g->own_partitions && rv == 0; i++)
        rv = session_load(&g->session[i], &r);
    uint64_t ticks = reader_varint(&r);
    for (uint64_t i = 0; i < ticks && r.error == 0; i++) {
        int64_t next = (int64_t)reader_u64(&r);

        if (i < g->plan->depots)
            g->tick_next_us[i] = next;
    }
    if (rv == 0)
        rv = unread_load(g, &r);
    if (rv != 0 || r.error != 0)
        return leat_fail(err, LEAT_ECORRUPT, "group %u: the state in its checkpoint does not check out",
                         g->config.number);
    return 0;
}

int group_state_position(struct leat_span state, uint64_t *turn, uint64_t *position)
{
    struct reader r = reader_of(state);
    uint8_t version = reader_u8(&r);

    reader_varint(&r); /* number */
    reader_varint(&r); /* epoch */
    *turn = reader_varint(&r);
    reader_u64(&r);
    *position = reader_varint(&r);
    return r.error == 0 && version == GROUP_STATE_VERSION ? 0 : LEAT_EFORMAT;
}

/* ---- Replay ---- */

/* Does a batch name only what this group has? */
static bool batch_fits(const struct group *g, const struct batch *b)
{
    for (uint32_t i = 0; i < b->ranges; i++)
        if (b->range[i].partition >= g->partitions || b->range[i].next < b->range[i].first ||
            b->range[i].first < progress_cursor(g->progress, b->range[i].partition))
            return false;
    for (uint32_t i = 0; i < b->hops; i++)
        if (b->hop[i].peer >= g->config.groups)
            return false;
    for (uint32_t i = 0; i < b->sessions; i++)
        if (b->session[i].partition >= g->own_partitions)
            return false;
    for (uint32_t i = 0; i < b->ticks; i++)
        if (b->tick[i].depot >= g->plan->depots)
            return false;
    for (uint32_t i = 0; i < b->outputs; i++)
        if (b->output[i].group >= g->config.groups)
            return false;
    return b->turn == g->turn + 1;
}

static int misfit(const struct group *g, const struct log_entry *e, const struct batch *b, struct leat_error *err)
{
    return leat_fail(err, LEAT_ECORRUPT,
                     "the batch at offset %llu is of turn %llu and does not follow on turn %llu: the journal is "
                     "another one's, put the right one back",
                     (unsigned long long)e->offset, (unsigned long long)b->turn, (unsigned long long)g->turn);
}

static int replay_slice(struct group *g, const struct log_slice *slice, struct leat_error *err)
{
    struct batch b;
    int rv = pstate_view_begin(g->view, NULL, err);

    for (uint32_t i = 0; i < slice->count && rv == 0; i++) {
        arena_reset(g->small);
        rv = batch_decode(slice->entry[i].body, g->small, &b, err);
        if (rv == 0 && !batch_fits(g, &b))
            rv = misfit(g, &slice->entry[i], &b, err);
        if (rv == 0)
            rv = pstate_view_apply(g->view, b.ops, err);
        if (rv == 0) {
            g->epoch = b.epoch;
            rv = turn_apply_state(g, &b) ? 0 : misfit(g, &slice->entry[i], &b, err);
            g->journal_next = slice->entry[i].offset + 1;
        }
    }
    if (rv == 0)
        return pstate_view_commit(g->view, g->turn, err);
    pstate_view_abort(g->view);
    return rv;
}

static int replay(struct group *g, struct leat_error *err)
{
    struct log_slice slice;
    uint64_t first, next;
    int rv = 0;

    log_bounds(g->journal, 0, &first, &next);
    if (g->journal_next > next)
        return leat_fail(err, LEAT_ECORRUPT,
                         "group %u: its journal ends at offset %llu, but the view has seen %llu; the journal was cut "
                         "or "
                         "is another one's: put the right one back",
                         g->config.number, (unsigned long long)next, (unsigned long long)g->journal_next);
    uint64_t from = g->journal_next;
    while (rv == 0 && g->journal_next < next) {
        rv = log_read(g->journal, 0, g->journal_next, REPLAY_BATCHES, 32 << 20, &slice, err);
        if (rv != 0)
            break;
        rv = replay_slice(g, &slice, err);
        log_release(g->journal, &slice);
    }
    if (rv == 0)
        log_print(LOG_INFO, "engine",
                  "module %s, group %u stands at turn %llu; %llu batches of its journal were replayed",
                  g->plan->module->name, g->config.number, (unsigned long long)g->turn,
                  (unsigned long long)(next - from));
    return rv == 0 ? 0 : base_wrap(err, rv, "group %u replays its journal", g->config.number);
}

/* ---- Opening ---- */

static void number_partitions(struct group *g)
{
    uint32_t groups = g->config.groups;

    g->own_partitions = g->plan->depots * (g->plan->tasks / groups);
    g->partitions = g->own_partitions;
    g->foreign = base_alloc((g->plan->foreigns + 1) * sizeof(*g->foreign));
    for (uint32_t i = 0; i < g->plan->foreigns; i++) {
        uint32_t tasks = g->config.foreign_tasks[i];

        g->foreign[i].first = g->partitions;
        g->foreign[i].count = tasks > g->config.number ? (tasks - g->config.number + groups - 1) / groups : 0;
        g->partitions += g->foreign[i].count;
    }
}

uint32_t group_partition(const struct group *g, uint32_t depot, uint32_t partition)
{
    leat_assert(depot < g->plan->depots && partition < g->plan->tasks);
    leat_assert(GROUP_OF(g, partition) == g->config.number);
    return depot * (g->plan->tasks / g->config.groups) + partition / g->config.groups;
}

static void advance(void *context, uint32_t partition, uint64_t frontier)
{
    struct group *g = context;

    acks_advance(g->acks, partition, frontier);
}

static struct group *group_new(const struct group_config *config)
{
    struct group *g = base_alloc(sizeof(*g));

    g->config = *config;
    g->hold.fd = -1;
    g->plan = config->plan;
    number_partitions(g);
    g->arena = arena_open(LIMIT_TURN_MEMORY);
    g->small = arena_open(LIMIT_TURN_MEMORY);
    random_seed(&g->random, config->seed);
    buffer_init(&g->ops, LIMIT_BATCH);
    buffer_init(&g->record, LIMIT_BATCH);
    buffer_init(&g->seen_progress, LIMIT_OPEN_BYTES);
    g->progress = progress_open(g->partitions);
    g->peer = base_alloc(config->groups * sizeof(*g->peer));
    g->sent = base_alloc(config->groups * sizeof(*g->sent));
    g->lost = base_alloc(config->groups * sizeof(*g->lost));
    g->session = base_alloc((g->own_partitions + 1) * sizeof(*g->session));
    for (uint32_t i = 0; i < g->own_partitions; i++)
        g->session[i].limit = session_limit(g->own_partitions);
    unread_open(g);
    g->tick_next_us = base_alloc((g->plan->depots + 1) * sizeof(*g->tick_next_us));
    g->end = base_alloc((g->partitions + 1) * sizeof(*g->end));
    pthread_mutex_init(&g->inbox_lock, NULL);
    g->flow = flow_open(g->plan, config->groups, &turn_hooks, NULL);
    g->budget = LIMIT_TURN_ROWS;
    if (config->cut_rows > 0)
        g->budget = 1 + (uint32_t)random_below(&g->random, config->cut_rows);
    atomic_store(&g->dirty, true);
    g->retain = retain_open(g);
    return g;
}

static int open_log(struct group *g, const char *name, uint32_t partitions, struct log **out, struct leat_error *err)
{
    char path[4096];
    const struct log_ops *ops = g->config.memory ? &log_memory : &log_segments;

    snprintf(path, sizeof(path), "%s/%s", g->config.directory, name);
    struct log_config config = {.directory = path, .partitions = partitions, .durability = g->config.durability,
                                .segment_size = g->config.segment_size, .owner = layout_owner(g->config.number, name)};
    return log_open(g->config.logs != NULL ? g->config.logs : ops, &config, out, err);
}

static int open_view(struct group *g, struct buffer *state, struct leat_error *err)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/view", g->config.directory);
    struct pstate_config config = {
        .directory = path,
        .schema = g->plan->pstate,
        .schemas = g->plan->pstates,
        .map_size = g->config.map_size,
        .views = g->config.groups,
        .readers = g->plan->derived_from != 0 ? PSTATE_READERS + DERIVE_READERS : 0,
        .durability = g->config.durability,
        .volatile_view = g->config.memory,
        .step_checkpoints = g->config.step_checkpoints,
        .checkpoint_bytes = g->config.checkpoint_bytes,
    };
    uint64_t turn;
    int rv = pstate_view_open(&config, &g->view, &turn, state, err);
    if (rv == 0 && g->config.warm > 0)
        pstate_view_warm(g->view, g->config.warm);
    if (rv == 0 && state->size > 0)
        rv = state_load(g, buffer_bytes(state), err);
    if (rv == 0 && turn != g->turn)
        rv = leat_fail(err, LEAT_ECORRUPT, "group %u: its view stands at turn %llu, its checkpoint says %llu",
                       g->config.number, (unsigned long long)turn, (unsigned long long)g->turn);
    return rv;
}

static int open_derive(struct group *g, struct leat_error *err)
{
    struct derive_config config = {
        .plan = g->plan,
        .view = g->view,
        .group = g->config.number,
        .groups = g->config.groups,
        .wake = g->config.wake,
        .context = g->config.context,
    };
    int rv = g->plan->derived_from != 0 ? derive_open(&config, &g->derive, err) : 0;

    return rv == 0 ? 0 : base_wrap(err, rv, "group %u", g->config.number);
}

/* A cursor behind its log's end means records are gone that were processed: only an OS crash under durability
 * process, a deleted file, or damage at the end does that. */
static int check_cursors(struct group *g, struct leat_error *err)
{
    for (uint32_t i = 0; i < g->own_partitions; i++) {
        const struct unread *u = unread_of(g, i);
        uint64_t first, next, cursor = u != NULL ? u->next : progress_cursor(g->progress, i);

        log_bounds(g->depots, i, &first, &next);
        if (cursor > next)
            return leat_fail(
                err, LEAT_ECORRUPT,
                "group %u: %llu records of a depot (partition %u of its log) were there, but the log ends at %llu: "
                "records were lost, or are damaged. Nothing was changed: restore the depots directory, or remove the "
                "module's directory and append anew",
                g->config.number, (unsigned long long)cursor, i, (unsigned long long)next);
    }
    return 0;
}

/* What was appended but not consumed must also be known to the sessions of the intake. */
static int appended_sessions(struct group *g, struct session_table *appended, struct leat_error *err)
{
    int rv = unread_follow(g, 1, err);

    for (uint32_t i = 0; i < g->own_partitions && rv == 0; i++) {
        const struct unread *u = unread_of(g, i);
        uint64_t at = u != NULL ? u->next : progress_cursor(g->progress, i);

        session_copy(&appended[i], u != NULL ? &u->sessions : &g->session[i]);
        rv = unread_sessions(g, i, &at, &appended[i], err);
    }
    return rv;
}

static void depots_readable(void *context)
{
    struct group *g = context;

    atomic_store(&g->dirty, true);
    g->config.wake(g->config.context);
}

static int open_intake(struct group *g, struct leat_error *err)
{
    struct session_table *appended = base_alloc((g->own_partitions + 1) * sizeof(*appended));
    int rv = appended_sessions(g, appended, err);

    if (rv != 0) {
        for (uint32_t i = 0; i < g->own_partitions; i++)
            session_fini(&appended[i]);
        free(appended);
        return rv;
    }
    struct intake_config config = {
        .log = g->depots,
        .acks = g->acks,
        .sessions = appended,
        .partitions = g->own_partitions,
        .depot_partitions = g->plan->tasks / g->config.groups,
        .no_space = g->config.no_space,
        .clock = g->config.clock,
        .readable = depots_readable,
        .context = g,
    };
    rv = intake_open(&config, &g->intake);
    return rv == 0 ? 0 : leat_fail(err, rv, "group %u: a thread for its appends cannot be started", g->config.number);
}

/* Frontiers as they are; a depot that nobody reads is processed as soon as it is appended. */
static void open_acks(struct group *g)
{
    uint32_t each = g->plan->tasks / g->config.groups;

    g->acks = acks_open(g->partitions);
    progress_listen(g->progress, advance, g);
    for (uint32_t i = 0; i < g->partitions; i++) {
        bool unread = i < g->own_partitions && g->plan->depot[i / each].edges == 0;

        acks_advance(g->acks, i, unread ? UINT64_MAX : progress_frontier(g->progress, i));
    }
}

int group_open(const struct group_config *config, struct group **out, struct leat_error *err)
{
    struct buffer state = {0};

    leat_assert(config->groups > 0 && (config->groups & (config->groups - 1)) == 0);
    leat_assert(config->number < config->groups && config->groups <= config->plan->tasks);
    struct group *g = group_new(config);
    buffer_init(&state, LIMIT_BATCH);
    int rv = file_make_directory(config->directory, !config->memory && config->durability == LEAT_FULL, err);
    if (rv == 0 && !config->memory)
        rv = hold_open(&g->hold, config->directory, err);
    if (rv == 0)
        rv = open_log(g, "journal", 1, &g->journal, err);
    if (rv == 0)
        rv = open_log(g, "depots", g->own_partitions, &g->depots, err);
    if (rv == 0)
        rv = open_view(g, &state, err);
    if (rv == 0)
        rv = replay(g, err);
    if (rv == 0)
        rv = check_cursors(g, err);
    if (rv == 0)
        rv = open_derive(g, err);
    if (rv == 0)
        rv = background_open(g, &g->background, err);
    if (rv == 0) {
        open_acks(g);
        rv = open_intake(g, err);
    }
    buffer_fini(&state);
    if (rv != 0) {
        group_close(g);
        return rv;
    }
    g->epoch++;
    atomic_store(&g->released, g->journal_next);
    for (uint32_t i = 0; i < config->groups; i++) {
        struct hop_peer *p = &g->peer[i];

        p->seen = p->cursor.turn;
        p->read_position = p->cursor.position;
        p->behind = true;
        atomic_store(&p->journaled, p->cursor.position);
        atomic_store(&p->consumed, p->cursor.turn);
    }
    *out = g;
    return 0;
}

/* Has an earlier depot the same intakes? */
static bool hears(const struct group *g, uint32_t foreign)
{
    for (uint32_t i = 0; i < foreign; i++)
        if (g->foreign[i].from.group == g->foreign[foreign].from.group)
            return true;
    return false;
}

/* What a peer that was opened again committed last, it does not push: its journal is read, unless there is nothing in
 * it for this group. */
static void connect_peer(const struct group *g, struct hop_peer *p, struct group *peer)
{
    p->group = peer;
    p->behind = peer == NULL || p->seen != peer->sent[g->config.number];
    if (!p->behind)
        p->read_position = atomic_load(&peer->released);
}

void group_connect(struct group *g, struct group *const *peers, const struct group_foreign *foreign)
{
    for (uint32_t i = 0; i < g->config.groups; i++)
        connect_peer(g, &g->peer[i], peers[i]);
    for (uint32_t i = 0; i < g->plan->foreigns; i++) {
        g->foreign[i].from = foreign[i];
        for (uint32_t j = 0; j < foreign[i].groups && !g->connected; j++)
            if (foreign[i].group[j] != NULL && !hears(g, i))
                intake_listen(foreign[i].group[j]->intake, depots_readable, g);
    }
    g->connected = true;
    atomic_store(&g->dirty, true);
}

void group_disconnect(struct group *g)
{
    for (uint32_t i = 0; i < g->plan->foreigns && g->connected; i++)
        for (uint32_t j = 0; j < g->foreign[i].from.groups; j++)
            if (g->foreign[i].from.group[j] != NULL)
                intake_unlisten(g->foreign[i].from.group[j]->intake, g);
}

/* A log that is shorter than what was consumed of it: lost by a crash of the system under durability process, or put
 * back from another time than ours. Going on would pass over what takes the place of the lost part. */
int group_check_sources(const struct group *g, struct leat_error *err)
{
    static const char advice[] =
        "put all groups back from one backup, or remove the module's directory and append anew";

    leat_assert(g->connected);
    for (uint32_t i = 0; i < g->config.groups; i++) {
        const struct hop_cursor *c = &g->peer[i].cursor;
        const struct group *peer = g->peer[i].group;

        if (c->turn > peer->turn || c->progress_turn > peer->turn || c->position > peer->journal_next)
            return leat_fail(err, LEAT_ECORRUPT,
                             "group %u has consumed the outputs of group %u up to turn %llu, but that one ends at turn "
                             "%llu: %s",
                             g->config.number, i, (unsigned long long)c->turn, (unsigned long long)peer->turn, advice);
    }
    for (uint32_t i = g->own_partitions; i < g->partitions; i++) {
        uint64_t first, next, cursor = progress_cursor(g->progress, i);
        struct group_input in;

        group_input(g, i, &in);
        log_bounds(in.log, in.log_partition, &first, &next);
        if (cursor > next)
            return leat_fail(err, LEAT_ECORRUPT,
                             "group %u has read %llu records of a depot of another module, but it ends at %llu: %s",
                             g->config.number, (unsigned long long)cursor, (unsigned long long)next, advice);
    }
    return 0;
}

bool group_drained(const struct group *g)
{
    leat_assert(g->connected);
    for (uint32_t i = 0; i < g->config.groups; i++)
        if (g->peer[i].cursor.turn != g->peer[i].group->sent[g->config.number])
            return false;
    return atomic_load(&g->stats.background_waiting) == 0;
}
