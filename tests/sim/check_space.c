/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim.h"

#include "depots/segments.h"
#include "engine/group_state.h"

#include <stdio.h>

/* Some more rounds of rows and checkpoints after all is processed; then no segment of a journal may be left of which
 * all was covered by the older checkpoint, and consumed by all, a round ago. An output to a peer that never got one
 * before keeps a journal for the moment, so it must be so some rounds running. */

enum { ROUNDS = 6, RUNNING = 3, GROUPS = 4, PAGE = 4096, SLACK = 1 << 20 };

#define ROUND_NS INT64_C(12000000000)

struct floor {
    uint64_t position;  /* nobody needs the journal before it */
    uint64_t newest;    /* position of the newest checkpoint: it moves when another is started */
    uint32_t running;   /* rounds in which more was kept */
};

static struct floor floor_of(const struct group *g, uint32_t running)
{
    struct floor f = {g->checkpoint_position[1], g->checkpoint_position[0], running};

    for (uint32_t i = 0; i < g->config.groups; i++) {
        const struct hop_peer *us = &g->peer[i].group->peer[g->config.number];

        if (us->cursor.turn != g->sent[i] && atomic_load(&us->journaled) < f.position)
            f.position = atomic_load(&us->journaled);
    }
    return f;
}

static void check_journal(const struct group *g, struct floor *before)
{
    const struct segments *s = (const struct segments *)g->journal;

    if (g->checkpoint_position[0] == before->newest || g->checkpointing || before->position == 0)
        return;
    sim.result->counts.trims_checked++;
    bool kept = s->segments > 1 && segment_next(s->segment[1], 0) <= before->position;
    before->running = kept ? before->running + 1 : 0;
    if (before->running == RUNNING)
        sim_fail("group %u: its journal keeps offset %llu, but nobody needs what is before %llu", g->config.number,
                 (unsigned long long)segment_next(s->segment[0], 0), (unsigned long long)before->position);
}

/* A view holds its pages, and those written since the checkpoint before the last. */
static void check_view(struct group *g)
{
    struct pstate_figures figures;
    char path[128];

    snprintf(path, sizeof(path), FILES_ROOT "/data/sim/group-%03u/view/data.mdb", g->config.number);
    const struct file *f = &files.file[files_find(path, NULL, NULL)];
    uint64_t interval = f->between_syncs > f->since_sync ? f->between_syncs : f->since_sync;
    pstate_view_figures(g->view, &figures);
    if (f->size > 4 * (figures.used_pages * PAGE + interval) + SLACK)
        sim_fail("group %u: its view has %llu bytes, with %llu pages in use and %llu bytes written between checkpoints",
                 g->config.number, (unsigned long long)f->size, (unsigned long long)figures.used_pages,
                 (unsigned long long)interval);
}

void check_space(void)
{
    struct module *m = sim.leat->module[0];
    struct floor before[GROUPS] = {{0}};

    leat_assert(m->groups <= GROUPS);
    for (uint32_t round = 0; round < ROUNDS && sim_failed_module() == NULL; round++) {
        for (uint32_t i = 0; i < m->groups; i++)
            before[i] = floor_of(m->group[i], before[i].running);
        for (uint32_t client = 1; client <= sim.clients; client++)
            sim_append(&(struct op){OP_APPEND, client, random_u64(&fiber_world.random)});
        fiber_sleep(ROUND_NS);
        for (uint32_t i = 0; i < m->groups; i++)
            check_journal(m->group[i], &before[i]);
    }
    if (!sim_settle())
        return;
    for (uint32_t i = 0; i < m->groups; i++)
        check_view(m->group[i]);
    check_end();
}
