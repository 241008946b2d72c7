/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim.h"

#include "base/file.h"
#include "tests/sim/kept.h"
#include "tests/sim/vectors.h"

/* A backup is taken while clients are at work, and whatever goes wrong meanwhile. Once it is said to be there it stays,
 * power or not, and is like what a crash leaves: all that was acknowledged before is in it, and all that follows from
 * what is in it comes out right. */

enum { STALL_NS = 8000000, BACKUPS_MOST = 3 }; /* of a seed: the simulated disk has room for so many files only */

static struct {
    char name[64];                /* of the newest; empty: none */
    uint32_t taken;
    uint32_t groups[2];           /* of the modules then: rebuilds change them */
    uint64_t acked[SIM_STREAMS];  /* when it was begun */
    struct kept_promise kept;
    struct vectors_promise vectors;
} backup;

static const char backups[] = FILES_ROOT "/backups", restored[] = FILES_ROOT "/restored";

void sim_backup_init(void)
{
    memset(&backup, 0, sizeof(backup));
}

static void copying(void *context, uint64_t done, uint64_t all)
{
    (void)context;
    (void)done;
    (void)all;
    sim_stalls();
}

void sim_backup(uint64_t dice)
{
    static const uint32_t stalls[] = {0, 10, 40, 200};
    struct leat_backup how = {.progress = copying};
    struct kept_promise promise = kept;
    struct vectors_promise promise_of_vectors = vectors;
    struct leat_error err = {0};
    uint64_t acked[SIM_STREAMS];
    char name[64];

    if (backup.taken == BACKUPS_MOST)
        return;
    for (uint32_t i = 0; i < SIM_STREAMS; i++)
        acked[i] = sim.stream[i].acked;
    /* Threads that come to a halt at any place make the moments long in which something could slip in between, until
     * files are copied. Not too long: views grow until it is over. */
    if (stalls[dice % LENGTH_OF(stalls)] > 0) {
        fiber_world.stall_one_in = stalls[dice % LENGTH_OF(stalls)];
        fiber_world.stall_ns = STALL_NS;
    }
    int rv = leat_backup(FILES_ROOT "/data", backups, &how, name, &err);
    sim_stalls();
    if (rv != 0) {
        sim_note("no backup: %s", err.text);
        if (rv != LEAT_ETIMEOUT && (!sim.excused || rv == LEAT_ECORRUPT || rv == LEAT_EFORMAT || rv == LEAT_EINTERNAL))
            sim_fail("a backup fails: %s", err.text);
        return;
    }
    sim_note("backup %s", name);
    sim.result->counts.backups++;
    backup.taken++;
    memcpy(backup.name, name, sizeof(name));
    memcpy(backup.acked, acked, sizeof(acked));
    /* Rows that were sent meanwhile may be in it. */
    backup.kept = promise;
    backup.groups[0] = sim.groups;
    backup.groups[1] = vectors_plan.groups;
    backup.vectors = promise_of_vectors;
    memset(backup.vectors.processed, 0, sizeof(backup.vectors.processed));
}

/* What was promised at the time of the backup takes the place of what was promised since, and back. */
static void swap_promises(void)
{
    struct kept_promise now = kept;
    uint32_t groups[2] = {sim.groups, vectors_plan.groups};
    struct vectors_promise now_of_vectors = vectors;

    sim.groups = backup.groups[0];
    vectors_plan.groups = backup.groups[1];
    memcpy(backup.groups, groups, sizeof(groups));
    for (uint32_t i = 0; i < SIM_STREAMS; i++) {
        uint64_t acked = sim.stream[i].acked;

        sim.stream[i].acked = backup.acked[i];
        backup.acked[i] = acked;
    }
    kept = backup.kept;
    memcpy(kept.sent, now.sent, sizeof(now.sent));
    backup.kept = now;
    vectors = backup.vectors;
    memcpy(vectors.sent, now_of_vectors.sent, sizeof(now_of_vectors.sent));
    backup.vectors = now_of_vectors;
}

static void open_restored(void)
{
    struct leat_error err = {0};

    if (leat_restore(backups, backup.name, restored, NULL, &err) != 0)
        sim_fail("a backup is not restored: %s", err.text);
    if (!sim_open(restored, &err))
        sim_fail("what was restored does not open: %s", err.text);
}

void check_backup(void)
{
    uint64_t seen[MODULE_NODES];
    struct model low = sim.low;

    if (backup.name[0] == '\0')
        return;
    sim_note("restore %s", backup.name);
    memcpy(seen, sim.seen, sizeof(seen));
    memset(sim.seen, 0, sizeof(seen));
    memset(sim.frontier, 0, sizeof(sim.frontier));
    model_init(&sim.low, &sim_module);
    swap_promises();
    sim.excused = false;
    open_restored();
    if (sim.keeps)
        kept_check();
    if (!sim_settle())
        sim_fail("what was restored stops");
    check_end();
    if (sim.keeps)
        kept_check_end();
    if (vectors_plan.runs)
        vectors_check_end();
    sim.result->counts.restored++;
    leat_close(sim.leat);
    sim.leat = NULL;
    swap_promises();
    model_fini(&sim.low);
    sim.low = low;
    memcpy(sim.seen, seen, sizeof(seen));
    file_remove_tree(restored, NULL);
    backup.name[0] = '\0';
}
