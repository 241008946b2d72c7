/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/group_state.h"

#include "base/log.h"
#include "engine/derive.h"

#include <stdio.h>

/* One turn: gather what has come, run the nodes over it, append one batch to the journal and make it durable (the
 * commit), apply it to the view, release the outputs. A failure before the journal append undoes everything. */

#define SETTLE_NS 1000000000LL

static int64_t now_ns(const struct group *g)
{
    return g->config.clock->monotonic_ns(g->config.clock);
}

/* ---- Committing ---- */

/* How far each peer's outputs are consumed after this turn. */
static void batch_hops(struct turn *t, struct batch *b)
{
    struct group *g = t->group;

    b->hop = arena_alloc(g->arena, g->config.groups * sizeof(*b->hop), 8);
    for (uint32_t i = 0; i < g->config.groups; i++) {
        struct hop_peer *peer = &g->peer[i];
        struct hop_cursor c = peer->cursor;
        const struct hop_message *m = peer->queue.first;

        for (uint32_t n = 0; n < t->taken[i]; n++, m = m->next) {
            c.turn = m->turn;
            c.position = m->position + 1;
        }
        c.item = t->item[i];
        if (m != NULL && c.item > 0)
            c.position = m->position;
        if (t->taken[i] > 0 || c.item != peer->cursor.item || peer->progress_dirty)
            b->hop[b->hops++] = (struct batch_hop){i, c};
    }
}

static void batch_sessions(struct turn *t, struct batch *b)
{
    struct group *g = t->group;

    b->session = arena_alloc(g->arena, (t->undos + 1) * sizeof(*b->session), 8);
    for (uint32_t i = 0; i < t->undos; i++) {
        const struct session_entry *e = session_find(&g->session[t->undo[i].partition], t->undo[i].session);

        if (e != NULL)
            b->session[b->sessions++] =
                (struct batch_session){t->undo[i].partition, e->session, e->sequence, e->time_us};
    }
}

static int make_batch(struct turn *t, struct batch *b, struct leat_error *err)
{
    struct group *g = t->group;
    uint32_t seen = (uint32_t)(g->seen_progress.size / sizeof(struct batch_progress));

    memset(b, 0, sizeof(*b));
    b->epoch = g->epoch;
    b->turn = g->turn + 1;
    b->now_us = g->now_us;
    b->range = t->range;
    b->ranges = t->ranges;
    b->opened_bytes = t->bytes;
    b->progress = arena_alloc(g->arena, (seen + FLOW_SOURCES) * sizeof(*b->progress), 8);
    if (seen > 0)
        memcpy(b->progress, g->seen_progress.base, seen * sizeof(*b->progress));
    b->progresses = seen;
    b->tick = t->tick;
    b->ticks = t->ticks;
    b->ops = buffer_bytes(&g->ops);
    batch_hops(t, b);
    batch_sessions(t, b);
    int rv = turn_outputs(t, b);
    if (rv == 0) {
        buffer_clear(&g->record);
        batch_encode(b, &g->record);
        rv = g->ops.error != 0 ? g->ops.error : g->record.error;
    }
    if (rv != 0)
        return leat_fail(err, rv, "group %u: what a turn of %u inputs did is larger than a batch may be (%d MiB)",
                         g->config.number, t->inputs, LIMIT_BATCH >> 20);
    return 0;
}

/* The commit. When it fails nobody knows whether the batch is durable: the group must be opened again. */
static int journal_batch(struct group *g, struct leat_error *err)
{
    struct log_record record = {.time_us = g->now_us, .body = buffer_bytes(&g->record)};
    int64_t start = now_ns(g);
    int rv = log_append(g->journal, &record, 1, &g->journal_next);

    if (rv != 0)
        return leat_fail(err, rv, "group %u: the journal takes no more", g->config.number);
    if (group_crashes(g, "turn.appended"))
        return LEAT_ECANCELED;
    rv = log_sync(g->journal, err);
    if (rv != 0)
        return base_wrap(err, rv, "group %u commits to its journal", g->config.number);
    histogram_add(&g->stats.commit_ns, (uint64_t)(now_ns(g) - start));
    atomic_fetch_add(&g->stats.journal_bytes, g->record.size);
    return 0;
}

/* XORs that came from peers were applied when they were seen; in a replay, and for this turn's own, they are now. What
 * a turn sends on of results of background nodes stems from it, too, though it read no record. */
static bool apply_progress(struct group *g, const struct batch *b, uint32_t from)
{
    for (uint32_t i = from; i < b->progresses; i++)
        if (!progress_xor(g->progress, b->progress[i].turn, b->progress[i].xor))
            return false;
    if (b->ranges > 0 || b->opened_xor != 0)
        progress_add(g->progress, b->turn, b->opened_xor, b->opened_bytes, b->range, b->ranges);
    return true;
}

static void apply_cursors(struct group *g, const struct batch *b)
{
    g->turn = b->turn;
    g->now_us = b->now_us;
    for (uint32_t i = 0; i < b->hops; i++) {
        struct hop_peer *peer = &g->peer[b->hop[i].peer];

        peer->cursor = b->hop[i].cursor;
        peer->progress_dirty = false;
        atomic_store(&peer->journaled, peer->cursor.position);
        atomic_store(&peer->consumed, peer->cursor.turn);
    }
    for (uint32_t i = 0; i < b->outputs; i++)
        g->sent[b->output[i].group] = b->turn;
    for (uint32_t i = 0; i < b->ticks; i++)
        g->tick_next_us[b->tick[i].depot] = b->tick[i].next_us;
}

bool turn_apply_state(struct group *g, const struct batch *b)
{
    apply_cursors(g, b);
    for (uint32_t i = 0; i < b->sessions; i++) {
        struct session_entry e = {b->session[i].session, b->session[i].sequence, b->session[i].time_us};

        session_set(&g->session[b->session[i].partition], &e);
    }
    return apply_progress(g, b, 0);
}

/* Ack returns for records of this group's own turns, this one among them. Before the progress that lets acks go. */
static void give_returns(struct turn *t)
{
    struct group *g = t->group;

    for (uint32_t i = 0; i < t->own_returns; i++) {
        const struct output_return *ret = &t->own_return[i];
        struct leat_span value = span_of((const uint8_t *)ret->value.base + 1, ret->value.size - 1);
        uint32_t partition;
        uint64_t offset;
        bool found = ret->turn != g->turn + 1 &&
                     progress_record(g->progress, ret->turn, ret->index, &partition, &offset);

        for (uint32_t j = 0; j < t->ranges && ret->turn == g->turn + 1 && !found; j++) {
            const struct progress_range *r = &t->range[j];

            found = ret->index >= r->base && ret->index - r->base < r->next - r->first;
            partition = r->partition;
            offset = r->first + (ret->index - r->base);
        }
        if (found)
            acks_return(g->acks, partition, offset, *(const uint8_t *)ret->value.base, value);
    }
}

/* The view has it: acks, progress and outputs may leave. */
static int release(struct turn *t)
{
    struct group *g = t->group;
    const struct batch *b = t->batch;

    /* What others wait for shows before what they waited for ends: group_idle. */
    atomic_fetch_add(&g->stats.turns, 1);
    atomic_fetch_add(&g->stats.background_waiting, t->requests);
    atomic_store(&g->released, ++g->journal_next);
    if (group_crashes(g, "turn.applied"))
        return LEAT_ECANCELED;
    give_returns(t);
    apply_cursors(g, b);
    bool open = apply_progress(g, b, (uint32_t)(g->seen_progress.size / sizeof(struct batch_progress)));
    leat_assert(open);
    atomic_store(&g->stats.open_turns, progress_open_turns(g->progress));
    atomic_store(&g->stats.open_rows, progress_open_records(g->progress));
    buffer_clear(&g->seen_progress);
    for (uint32_t i = 0; i < g->config.groups; i++)
        for (uint32_t n = 0; n < t->taken[i]; n++)
            hop_consumed(g, i);
    background_taken(g, t->results, t->inputs - t->results, t->resting);
    for (uint32_t i = 0; i < b->outputs; i++)
        if (g->peer[b->output[i].group].group != NULL)
            hop_push(g->peer[b->output[i].group].group, g->config.number, b->output[i].previous, b->turn,
                     g->journal_next - 1, b->output[i].body);
    return group_crashes(g, "turn.released") ? LEAT_ECANCELED : 0;
}

/* What is derived follows from what the view has now; both are shown together. */
static int derive(struct group *g, const struct batch *b, struct leat_error *err)
{
    int64_t start = g->derive != NULL ? now_ns(g) : 0;
    int rv = derive_apply(g->derive, b->ops, err);

    if (rv == 0 && group_crashes(g, "turn.derived"))
        rv = LEAT_ECANCELED;
    if (rv != 0)
        return rv;
    derive_publish(g->derive, b->turn);
    if (g->derive != NULL)
        histogram_add(&g->stats.derive_ns, (uint64_t)(now_ns(g) - start));
    return 0;
}

static int apply(struct group *g, const struct batch *b, struct leat_error *err)
{
    int rv = pstate_view_commit(g->view, b->turn, err);

    if (rv == LEAT_ENOSPACE)
        return base_wrap(err, rv, "group %u applies turn %llu", g->config.number, (unsigned long long)b->turn);
    if (rv == 0)
        rv = derive(g, b, err);
    if (rv == 0)
        return 0;
    derive_stop(g->derive);
    return base_wrap(err, rv, "group %u applies turn %llu", g->config.number, (unsigned long long)b->turn);
}

static int commit(struct turn *t, struct leat_error *err)
{
    struct group *g = t->group;
    struct batch *b = t->batch = arena_alloc(g->arena, sizeof(*b), 16);
    int rv = make_batch(t, b, err);

    if (rv == 0 && t->appends > 0)
        rv = intake_append(g->intake, t->append, t->appends, err);
    if (rv == 0)
        rv = group_crashes(g, "turn.ran") ? LEAT_ECANCELED : journal_batch(g, err);
    if (rv != 0)
        return rv;
    t->committed = true;
    atomic_fetch_add(&g->stats.dead_letters, t->dead_letters); /* before their acks go */
    if (t->rejected > 0)
        log_print(LOG_WARN, "engine", "module %s, group %u, node %s: %u row%s to the dead letters, the first: %s",
                  g->plan->module->name, g->config.number, t->rejecter, t->rejected,
                  t->rejected == 1 ? " goes" : "s go", t->reason);
    if (group_crashes(g, "turn.committed"))
        return LEAT_ECANCELED;
    int64_t start = now_ns(g);
    rv = apply(g, b, err);
    if (rv != 0)
        return rv;
    histogram_add(&g->stats.apply_ns, (uint64_t)(now_ns(g) - start));
    return release(t);
}

/* ---- A turn that is in the journal, but not in the view, whose disk was full ---- */

static void release_slices(struct turn *t)
{
    for (uint32_t i = 0; i < t->slices; i++)
        log_release(t->slice_log[i], &t->slice[i]);
    t->slices = 0;
}

/* It stays in the arena, and nothing else may happen in the group before it is in the
 * view. The logs it read from may go. */
static void hold(struct turn *t)
{
    struct group *g = t->group;

    release_slices(t);
    g->held = base_alloc(sizeof(*g->held));
    *g->held = *t;
}

void turn_drop_held(struct group *g)
{
    if (g->held == NULL)
        return;
    free(g->held->append);
    free(g->held->undo);
    free(g->held);
    g->held = NULL;
}

/* As a replay would. 1: it is applied. */
static int apply_held(struct group *g, struct leat_error *err)
{
    const struct batch *b = g->held->batch;
    int rv = pstate_view_begin(g->view, NULL, err);

    if (rv == 0)
        rv = pstate_view_apply(g->view, b->ops, err);
    rv = rv == 0 ? apply(g, b, err)
                 : base_wrap(err, rv, "group %u applies turn %llu", g->config.number, (unsigned long long)b->turn);
    pstate_view_abort(g->view);
    if (rv != 0)
        return rv;
    rv = release(g->held);
    turn_drop_held(g);
    return rv == 0 ? 1 : rv;
}

/* ---- The turn ---- */

static void turn_init(struct turn *t, struct group *g)
{
    uint32_t groups = g->config.groups;

    memset(t, 0, sizeof(*t));
    arena_reset(g->arena);
    t->group = g;
    t->start = g->start;
    t->source[0] = (struct turn_source){.group = g->config.number, .turn = g->turn + 1};
    t->sources = 1;
    t->build = arena_zeroed(g->arena, groups * sizeof(*t->build), 16);
    t->mask = arena_zeroed(g->arena, groups * sizeof(*t->mask), 8);
    t->used = arena_zeroed(g->arena, groups * sizeof(*t->used), 8);
    t->taken = arena_zeroed(g->arena, groups * sizeof(*t->taken), 8);
    t->item = arena_zeroed(g->arena, groups * sizeof(*t->item), 8);
    t->range = arena_alloc(g->arena, SLICES * sizeof(*t->range), 8);
    t->slice = arena_alloc(g->arena, SLICES * sizeof(*t->slice), 8);
    t->slice_log = arena_alloc(g->arena, SLICES * sizeof(struct log *), 8);
    t->tick = arena_alloc(g->arena, (g->plan->depots + 1) * sizeof(*t->tick), 8);
    for (uint32_t i = 0; i < groups; i++)
        t->item[i] = g->peer[i].cursor.item;
}

static void turn_fini(struct turn *t)
{
    release_slices(t);
    free(t->append);
    free(t->undo);
}

static void undo_sessions(struct turn *t)
{
    for (uint32_t i = t->undos; i > 0; i--) {
        const struct batch_session *u = &t->undo[i - 1];
        struct session_entry e = {u->session, u->sequence, u->time_us};

        session_set(&t->group->session[u->partition], &e);
    }
}

/* One of these inputs is at fault, or they are too many at once: then no one is looked for, and the next turns grow
 * slowly. */
static void narrow(const struct turn *t, int rv)
{
    struct group *g = t->group;

    if (g->suspects == 0)
        g->failed_inputs = t->inputs;
    g->suspects = rv == LEAT_ELIMIT ? 0 : t->inputs;
    g->wary = rv == LEAT_ELIMIT;
    g->budget = t->inputs / 2;
    g->start = t->start;
}

/* A turn failed before its commit. With several inputs, try fewer; a single one is set aside by the next turn. */
static int failed(struct turn *t, int rv, struct leat_error *err)
{
    struct group *g = t->group;

    if (t->committed)
        return rv;
    pstate_view_abort(g->view);
    undo_sessions(t);
    atomic_fetch_add(&g->stats.aborts, 1);
    if (!g->flow->node_failed && (rv == LEAT_ECANCELED || leat_code_class(rv) != LEAT_CLASS_CALLER))
        return rv;
    if (t->inputs > 1) {
        narrow(t, rv);
        return 1;
    }
    if (t->set_aside)
        return leat_fail(err, LEAT_EINTERNAL, "group %u: a dead letter cannot be written", g->config.number);
    g->poisoned = true;
    g->poison = t->first;
    g->poison_node = g->flow->failed_node;
    for (uint32_t i = 0; i < g->plan->topologies && g->poison_node != NULL; i++)
        if (g->poison_node >= g->plan->topology[i].node &&
            g->poison_node < g->plan->topology[i].node + g->plan->topology[i].nodes)
            g->poison_topology = i;
    snprintf(g->poison_reason, sizeof(g->poison_reason), "%.500s", err->text);
    if (!utf8_valid(span_text(g->poison_reason)))
        snprintf(g->poison_reason, sizeof(g->poison_reason), "%s", leat_code_text(rv));
    log_print(LOG_WARN, "engine", "module %s, group %u, node %s: a row goes to the dead letters: %s",
              g->plan->module->name, g->config.number, g->poison_node != NULL ? g->poison_node->name : "none",
              g->poison_reason);
    return 1;
}

/* How much the turn after a good one takes. While one of the next inputs is known to be at fault, half of those: it is
 * found in as many turns as they can be halved. */
static void set_budget(struct group *g, const struct turn *t)
{
    uint32_t most = LIMIT_TURN_ROWS, grown = g->budget + (g->wary ? g->budget / 8 : g->budget) + 1;

    if (t->set_aside) {
        g->poisoned = false;
        g->suspects = 0;
        g->budget = g->failed_inputs / 2 + 1;
    } else if (g->suspects > t->inputs) {
        g->suspects -= t->inputs;
        g->budget = (g->suspects + 1) / 2;
    } else {
        g->suspects = 0;
        g->budget = grown < most ? grown : most;
        g->wary = g->wary && grown < most;
    }
    if (g->config.cut_rows > 0)
        g->budget = 1 + (uint32_t)random_below(&g->random, g->config.cut_rows);
}

static void count_turn(struct group *g, const struct turn *t, int64_t start)
{
    atomic_fetch_add(&g->stats.rows, t->inputs);
    histogram_add(&g->stats.turn_rows, t->inputs);
    histogram_add(&g->stats.turn_ns, (uint64_t)(now_ns(g) - start));
}

/* Sweep a little in each turn, so that unlinked subtrees never cost a turn of their own. */
enum { SWEEP_EACH = 256 };

static int run_and_commit(struct turn *t, struct leat_error *err)
{
    struct group *g = t->group;
    uint32_t swept;
    int rv = flow_run(g->flow);

    if (rv != 0) {
        *err = g->flow->err;
        err->code = rv;
        return rv;
    }
    rv = pstate_view_sweep(g->view, SWEEP_EACH, &swept, err);
    if (rv == 0)
        rv = background_consume(g->background, t->results, err);
    if (rv == 0)
        rv = pstate_view_flush(g->view, err);
    if (rv == 0 && t->results > 0 && group_crashes(g, "background.taken"))
        rv = LEAT_ECANCELED;
    return rv != 0 ? rv : commit(t, err);
}

/* Progress alone makes no turn, as the next one takes it along. But when none comes, the peers' journals must not wait
 * for ever to be trimmed, nor our checkpoint; and what is queued must not keep out what comes behind it. */
static bool settles(struct group *g, const struct turn *t, int64_t now)
{
    bool waits = g->seen_progress.size > 0;

    for (uint32_t i = 0; i < g->config.groups; i++)
        waits = waits || t->taken[i] > 0;
    if (!waits || t->inputs > 0)
        g->settle_ns = 0;
    else if (g->settle_ns == 0)
        g->settle_ns = now + SETTLE_NS;
    bool at_once = g->closing || g->queued_bytes >= LIMIT_OPEN_BYTES / 2;
    return waits && t->inputs == 0 && (now >= g->settle_ns || at_once);
}

int turn_run(struct group *g, struct leat_error *err)
{
    int64_t start = now_ns(g), wall = g->config.clock->wall_us(g->config.clock), before = g->now_us;
    struct leat_error why = {0};
    struct turn t;
    int rv;

    if (g->held != NULL)
        return apply_held(g, err);
    turn_init(&t, g);
    if (wall > g->now_us)
        g->now_us = wall;
    buffer_clear(&g->ops);
    g->flow->owner = &t;
    g->flow->view = g->view;
    flow_begin(g->flow, g->arena, g->now_us, random_u64(&g->random));
    rv = turn_gather(&t, &why);
    if (rv == 0 && (settles(g, &t, start) || t.inputs > 0)) {
        rv = pstate_view_begin(g->view, &g->ops, &why);
        if (rv == 0 && (rv = run_and_commit(&t, &why)) != 0)
            rv = failed(&t, rv, &why);
        else if (rv == 0) {
            set_budget(g, &t);
            count_turn(g, &t, start);
            rv = 1;
        }
    } else if (rv == 0) {
        g->now_us = before;
    }
    if (rv < 0 && err != NULL)
        *err = why;
    if (rv == LEAT_ENOSPACE && t.committed)
        hold(&t);
    else
        turn_fini(&t);
    return rv;
}
