/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/group_state.h"

#include "engine/derive.h"

#include <stdio.h>

static struct turn *turn_of(struct flow *f)
{
    return f->owner;
}

static struct output_build *output_to(struct turn *t, uint32_t group, uint64_t sources)
{
    leat_assert(group < t->group->config.groups);
    t->used[group] = true;
    t->mask[group] |= sources;
    return &t->build[group];
}

/* ---- Hooks of the flow ---- */

static struct pstate_reader *turn_reader(struct flow *f, uint32_t task, struct leat_error *err)
{
    struct group *g = turn_of(f)->group;

    (void)err;
    leat_assert(GROUP_OF(g, task) == g->config.number);
    return pstate_view_turn(g->view);
}

/* As committed: of this turn it has nothing yet. */
static const void *turn_derived(struct flow *f, uint32_t task, struct leat_error *err)
{
    struct group *g = turn_of(f)->group;

    (void)err;
    leat_assert(GROUP_OF(g, task) == g->config.number);
    return derive_newest(g->derive);
}

static bool turn_local(struct flow *f, uint32_t task)
{
    struct group *g = turn_of(f)->group;

    return GROUP_OF(g, task) == g->config.number && !g->config.force_hops;
}

static void turn_remote(struct flow *f, struct plan_edge to, uint32_t task, struct leat_span row, struct flow_tag tag)
{
    struct turn *t = turn_of(f);
    uint64_t sources = UINT64_C(1) << tag.source;
    struct output_item item = {.kind = OUTPUT_ROW, .stream = f->plan->topology[to.topology].stream, .node = to.node,
                               .task = task, .hops = tag.hops, .index = tag.index, .sources = sources, .row = row};

    output_add_item(output_to(t, GROUP_OF(t->group, task), sources), f->arena, &item);
}

static struct leat_span arena_copy(struct arena *a, struct leat_span s)
{
    void *copy = arena_alloc(a, s.size + 1, 1);

    if (s.size > 0)
        memcpy(copy, s.base, s.size);
    return span_of(copy, s.size);
}

static void turn_remote_state(struct flow *f, struct plan_edge to, uint32_t task, struct leat_span key,
                              struct leat_span state, uint64_t sources)
{
    struct turn *t = turn_of(f);
    struct output_item item = {.kind = OUTPUT_STATE, .stream = f->plan->topology[to.topology].stream, .node = to.node,
                               .sources = sources, .key = arena_copy(f->arena, key),
                               .row = arena_copy(f->arena, state)};

    output_add_item(output_to(t, GROUP_OF(t->group, task), sources), f->arena, &item);
}

void turn_append(struct turn *t, uint32_t depot, uint32_t task, struct leat_span row, uint64_t sources)
{
    struct output_item item = {.kind = OUTPUT_APPEND, .depot = depot, .partition = task, .sources = sources,
                               .row = row};

    output_add_item(output_to(t, GROUP_OF(t->group, task), sources), t->group->arena, &item);
}

/* The partition of a depot that a row belongs to. */
static uint32_t partition_of(struct flow *f, const struct plan_depot *d, struct leat_span row)
{
    struct leat_value value[LIMIT_COLUMNS];

    if (d->partitioner != LEAT_BY_FIELD)
        return (uint32_t)random_below(&f->random, f->plan->tasks);
    int rv = row_decode(&d->schema, row, value);
    leat_assert(rv == 0);
    return leat_task_of(f->plan->tasks, &value[d->by]);
}

static void turn_depot_append(struct flow *f, uint32_t depot, struct leat_span row, struct flow_tag tag)
{
    turn_append(turn_of(f), depot, partition_of(f, &f->plan->depot[depot], row), row, UINT64_C(1) << tag.source);
}

void turn_dead_letter(struct turn *t, const struct plan_topology *topology, const struct plan_node *node, uint32_t task,
                      const char *reason, const char *input, struct leat_span row)
{
    struct group *g = t->group;
    uint32_t depot = g->plan->depots - 1;
    struct leat_error err = {0};

    leat_assert(g->plan->depot[depot].dead_letters);
    buffer_clear(&g->flow->scratch);
    int rv = row_encode(&g->plan->depot[depot].schema,
                        LEAT_ROW(leat_str(topology != NULL ? topology->name : ""),
                                 leat_str(node != NULL ? node->name : ""), leat_u32(task), leat_str(reason),
                                 leat_str(input), leat_bytes(row.base, row.size), leat_i64(g->now_us)),
                        &g->flow->scratch, &err);
    leat_assert(rv == 0);
    struct leat_span letter = arena_copy(g->arena, buffer_bytes(&g->flow->scratch));
    turn_append(t, depot, task, letter, 0);
    t->dead_letters++;
}

/* The bytes of a row of the batch in hand, as it is encoded. */
static struct leat_span encode_again(struct flow *f, const struct leat_task *task, uint32_t row)
{
    struct leat_value value[LIMIT_COLUMNS];

    for (uint32_t i = 0; i < task->in->columns; i++)
        value[i] = leat_at(task->in, row, i);
    buffer_clear(&f->scratch);
    int rv = row_encode_fast(&task->node->in, (struct leat_row){value, task->in->columns}, &f->scratch);
    leat_assert(rv == 0);
    return arena_copy(f->arena, buffer_bytes(&f->scratch));
}

static void turn_reject(struct flow *f, const struct leat_task *task, uint32_t row, const char *reason)
{
    struct turn *t = turn_of(f);
    char text[600];

    snprintf(text, sizeof(text), "%s", reason);
    if (!utf8_valid(span_text(text)))
        snprintf(text, sizeof(text), "the row was rejected with a reason that is not UTF-8");
    if (t->rejected++ == 0) {
        t->reason = arena_format(t->group->arena, "%s", text);
        t->rejecter = task->node->name;
    }
    turn_dead_letter(t, &f->plan->topology[task->at.topology], task->node, task->number, text, "rejected by the node",
                     encode_again(f, task, row));
    atomic_fetch_add(&t->group->config.nodes[flow_number(f, task->at)].rejected, 1);
}

static void turn_ack_return(struct flow *f, struct flow_tag tag, struct leat_span value)
{
    struct turn *t = turn_of(f);
    const struct turn_source *s = &t->source[tag.source];
    struct output_return ret = {s->turn, tag.index, arena_copy(f->arena, value)};

    if (s->group != t->group->config.number) {
        output_add_return(output_to(t, s->group, 0), f->arena, &ret);
        return;
    }
    if (t->own_returns == t->own_return_capacity) {
        uint32_t capacity = t->own_return_capacity == 0 ? 16 : t->own_return_capacity * 2;
        struct output_return *grown = arena_alloc(f->arena, capacity * sizeof(*grown), 8);

        if (t->own_returns > 0)
            memcpy(grown, t->own_return, t->own_returns * sizeof(*grown));
        t->own_return = grown;
        t->own_return_capacity = capacity;
    }
    t->own_return[t->own_returns++] = ret;
}

static void turn_ran(struct flow *f, struct plan_edge node, uint32_t rows, uint64_t nanoseconds)
{
    struct stats_node *s = &turn_of(f)->group->config.nodes[flow_number(f, node)];

    atomic_fetch_add_explicit(&s->rows, rows, memory_order_relaxed);
    histogram_add(&s->batch_rows, rows);
    histogram_add(&s->run_ns, nanoseconds);
}

static void turn_background(struct flow *f, struct plan_edge at, uint32_t task, struct leat_span row)
{
    struct turn *t = turn_of(f);

    background_request(t->group, f, at, task, t->requests++, row);
    t->resting += plan_node_at(t->group->plan, at)->at_rest;
}

const struct flow_hooks turn_hooks = {
    .reader = turn_reader,
    .derived = turn_derived,
    .local = turn_local,
    .remote = turn_remote,
    .remote_state = turn_remote_state,
    .append = turn_depot_append,
    .background = turn_background,
    .reject = turn_reject,
    .ack_return = turn_ack_return,
    .ran = turn_ran,
};

/* ---- Outputs into the batch ---- */

/* A mask over the turn's sources as one over those that an output has. */
static uint64_t squeeze(uint64_t sources, uint64_t mask)
{
    uint64_t squeezed = 0;

    for (uint32_t at = 0; mask != 0; mask &= mask - 1, at++)
        if (sources & mask & (~mask + 1))
            squeezed |= UINT64_C(1) << at;
    return squeezed;
}

/* Give each source of an output its id, and count it as emitted. */
static void give_ids(struct turn *t, struct output *o, uint64_t mask)
{
    o->sources = (uint32_t)__builtin_popcountll(mask);
    leat_assert(o->sources < FLOW_SOURCES); /* or nobody could take it */
    o->source = arena_alloc(t->group->arena, (o->sources + 1) * sizeof(*o->source), 8);
    uint32_t at = 0;
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        struct turn_source *s = &t->source[__builtin_ctzll(left)];
        uint64_t id = random_u64(&t->group->random);

        s->delta ^= id;
        o->source[at++] = (struct output_source){s->group, s->turn, id};
    }
    if (o->sources == t->sources)
        return; /* the numbering is the same */
    for (uint32_t i = 0; i < o->items; i++)
        o->item[i].sources = squeeze(o->item[i].sources, mask);
}

/* What was consumed and emitted for sources of other turns, to where they are counted. */
static void send_progress(struct turn *t, struct batch *b)
{
    for (uint32_t i = 1; i < t->sources; i++) {
        const struct turn_source *s = &t->source[i];

        if (s->delta == 0)
            continue;
        if (s->group == t->group->config.number)
            b->progress[b->progresses++] = (struct batch_progress){s->turn, s->delta};
        else
            output_add_progress(output_to(t, s->group, 0), t->group->arena, s->turn, s->delta);
    }
    b->opened_xor = t->source[0].delta;
}

int turn_outputs(struct turn *t, struct batch *b)
{
    struct group *g = t->group;
    struct buffer body = {0};

    for (uint32_t i = 0; i < g->config.groups; i++)
        if (t->used[i])
            give_ids(t, &t->build[i].out, t->mask[i]);
    send_progress(t, b);
    b->output = arena_alloc(g->arena, g->config.groups * sizeof(*b->output), 8);
    for (uint32_t i = 0; i < g->config.groups; i++) {
        if (!t->used[i])
            continue;
        buffer_clear(&body);
        output_encode(&t->build[i].out, &body);
        if (body.error != 0)
            break;
        b->output[b->outputs++] = (struct batch_output){i, g->sent[i], arena_copy(g->arena, buffer_bytes(&body))};
    }
    int rv = body.error;
    buffer_fini(&body);
    return rv;
}
