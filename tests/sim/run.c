/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim.h"

#include "base/log.h"
#include "engine/group_state.h"
#include "tests/sim/follower.h"
#include "tests/sim/kept.h"
#include "tests/sim/vectors.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

struct sim sim;

const char *const op_name[OP_KINDS] = {
    [OP_APPEND] = "append",           [OP_PAUSE] = "pause",
    [OP_READ] = "read",               [OP_POWER] = "power loss",
    [OP_KILL] = "kill",               [OP_RESTART] = "restart",
    [OP_SYNC_ERROR] = "sync error",   [OP_WRITE_ERROR] = "write error",
    [OP_READ_ERROR] = "read error",   [OP_FULL] = "full disk",
    [OP_SLOW] = "slow disk",          [OP_SHORT] = "short writes",
    [OP_JUMP] = "clock jump",         [OP_BACKUP] = "backup",
    [OP_KEEP] = "keep little",        [OP_REBUILD] = "rebuild",
};

/* Rows that one row of a client becomes: where it is more, turns are longer and rows fewer. */
enum { HEAVY = 60 };

/* With an index there are more groups to look at: between two ticks all must be seen idle. */
enum { SLOW_TICK_MS = 1000 };

#define SECOND INT64_C(1000000000)

void sim_note(const char *format, ...)
{
    va_list args;

    if (!sim.verbose)
        return;
    printf("%12.6f fiber %-3u ", (double)fiber_world.now_ns / 1e9, fiber_current());
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
}

void sim_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(sim.result->text, sizeof(sim.result->text), format, args);
    va_end(args);
    sim.result->failed = true;
    sim.result->trace = fiber_world.trace;
    sim_note("FAILED: %s", sim.result->text);
    _exit(1);
}

/* ---- The plan of a seed ---- */

static uint32_t below(struct random *r, uint32_t bound)
{
    return (uint32_t)random_below(r, bound);
}

static enum op_kind draw_kind(struct random *r, uint32_t actor)
{
    static const enum op_kind bad[] = {OP_PAUSE, OP_PAUSE, OP_POWER, OP_POWER, OP_POWER, OP_KILL, OP_RESTART,
                                       OP_SYNC_ERROR, OP_WRITE_ERROR, OP_FULL, OP_SLOW, OP_SHORT, OP_JUMP};
    static const enum op_kind good[] = {OP_APPEND, OP_APPEND, OP_APPEND, OP_APPEND, OP_APPEND, OP_PAUSE, OP_READ};

    return actor == 0 ? bad[below(r, LENGTH_OF(bad))] : good[below(r, LENGTH_OF(good))];
}

static void draw_plan(struct random *r)
{
    static const uint32_t switches[] = {0, 2, 8, 50, 1000}, cuts[] = {0, 0, 1, 3, 20}, stalls[] = {0, 30, 300, 3000},
                          waits[] = {0, 8, 40, 400};
    uint32_t tasks = 1U << below(r, 5);

    sim_module_make(r, tasks, &sim_module);
    if (vectors_plan.runs && sim_module.tick_ms > 0)
        sim_module.depot_list[sim_module.depots].tick_ms = sim_module.tick_ms + SLOW_TICK_MS;
    sim.clients = 1 + below(r, SIM_CLIENTS);
    sim.groups = 1U << below(r, 3);
    sim.groups = sim.groups > tasks ? tasks : sim.groups;
    if (below(r, 3) == 0)
        sim.follower = (struct leat_launch){.tasks = 4U << below(r, 3), .groups = 1U << below(r, 3)};
    sim.cut_rows = cuts[below(r, LENGTH_OF(cuts))];
    uint32_t weight = sim_module_weight(&sim_module);
    if (weight > HEAVY && sim.cut_rows > 0)
        sim.cut_rows = 20;
    sim.rows_most = weight > HEAVY ? SIM_ROWS * HEAVY / weight / 4 : SIM_ROWS;
    sim.force_hops = sim_module.forced;
    sim.durability = below(r, 8) == 0 ? LEAT_PROCESS : LEAT_FULL;
    sim.segment_size = UINT64_C(4096) << below(r, 5);
    sim.checkpoint_bytes = UINT64_C(4096) << below(r, 8);
    fiber_world.switch_one_in = switches[below(r, LENGTH_OF(switches))];
    sim.stall_one_in = stalls[below(r, LENGTH_OF(stalls))];
    sim.stall_ns = (int64_t)1000000 << below(r, 7);
    fiber_world.spurious_one_in = below(r, 2) == 0 ? 20 : 0;
    files.sync_ns = 20000 + below(r, 1000000);
    files.wait_one_in = waits[below(r, LENGTH_OF(waits))];
    sim.ops = 4 + below(r, SIM_OPS - 4);
    for (uint32_t i = 0; i < sim.ops; i++) {
        uint32_t actor = below(r, 3) == 0 ? 0 : 1 + below(r, sim.clients);

        sim.op[i] = (struct op){draw_kind(r, actor), actor, random_u64(r)};
    }
}

static void insert_op(uint32_t at, struct op op)
{
    memmove(&sim.op[at + 1], &sim.op[at], (sim.ops - at) * sizeof(sim.op[0]));
    sim.op[at] = op;
    sim.ops++;
}

/* In half of the seeds somebody takes backups, or has a module whose depots are trimmed. His operations come between
 * the others. */
static void draw_operator(struct random *r)
{
    static const enum op_kind all[] = {OP_BACKUP, OP_PAUSE, OP_KEEP, OP_KEEP, OP_KEEP};

    sim.copies = below(r, 3) == 0;
    sim.keeps = below(r, 3) == 0;
    uint32_t first = sim.copies ? 0 : 1, count = sim.keeps ? LENGTH_OF(all) : 2, more = 4 + below(r, 12);
    for (uint32_t i = 0; i < more && sim.ops < SIM_OPS && (sim.copies || sim.keeps); i++) {
        uint32_t at = below(r, sim.ops + 1);

        insert_op(at, (struct op){all[first + below(r, count - first)], sim.clients + 1, random_u64(r)});
    }
}

/* In a third of the seeds views are made again, between lives and in the end. */
static void draw_rebuilds(struct random *r)
{
    sim.rebuilds = below(r, 3) == 0;
    for (uint32_t i = below(r, 3); i > 0 && sim.ops < SIM_OPS && sim.rebuilds; i--) {
        uint32_t at = below(r, sim.ops + 1);

        insert_op(at, (struct op){OP_REBUILD, 0, random_u64(r)});
    }
}

/* ---- Clients ---- */

struct module *sim_failed_module(void)
{
    for (uint32_t i = 0; i < sim.leat->modules; i++)
        if (atomic_load(&sim.leat->module[i]->failed) != 0)
            return sim.leat->module[i];
    return NULL;
}

static bool stopped(void)
{
    return sim.stop || sim_failed_module() != NULL;
}

bool sim_excuse(int code)
{
    return sim.excused && code != LEAT_ECORRUPT && code != LEAT_EFORMAT && code != LEAT_EINTERNAL;
}

/* Something broke that only a new life can mend. */
static void stop(const char *why)
{
    if (!sim.stop)
        sim_note("stops: %s", why);
    sim.stop = true;
}

static void add_rows(struct leat_rows *rows, uint32_t stream, uint64_t from, uint64_t to)
{
    struct leat_error err = {0};

    leat_rows_clear(rows);
    for (uint64_t i = from; i < to; i++) {
        struct sim_row row = sim_client_row(&sim_module, stream, i);

        if (leat_rows_add(rows, LEAT_ROW(leat_u32(row.key), leat_i64(row.value), leat_u64(row.id)), &err) != 0)
            sim_fail("a row is refused: %s", err.text);
    }
}

static void note_submitted(uint32_t stream, uint64_t to)
{
    struct stream *s = &sim.stream[stream];

    for (; s->submitted < to; s->submitted++) {
        struct sim_row row = sim_client_row(&sim_module, stream, s->submitted);

        model_row(&sim.high, stream % MODULE_DEPOTS, 0, &row);
    }
}

static void note_acked(uint32_t stream, uint64_t from, uint64_t to, bool processed)
{
    struct stream *s = &sim.stream[stream];

    s->acked = to > s->acked ? to : s->acked;
    for (uint64_t i = from; i < to && processed; i++) {
        struct sim_row row = sim_client_row(&sim_module, stream, i);

        if (!s->processed[i])
            model_row(&sim.low, stream % MODULE_DEPOTS, 0, &row);
        s->processed[i] = true;
    }
}

bool sim_try_again(int rv, const struct leat_error *err)
{
    if (sim.stop)
        return false;
    if (stopped() || leat_code_class(rv) == LEAT_CLASS_FATAL || rv == LEAT_ECLOSED) {
        if (!sim_excuse(rv))
            sim_fail("an append fails without a reason: %s", err->text);
        stop(err->text);
        return false;
    }
    if (leat_code_class(rv) != LEAT_CLASS_RETRY)
        sim_fail("an append is refused: %s", err->text);
    sim.result->counts.retries++;
    sim_note("again: %s", err->text);
    fiber_sleep(SECOND / 20);
    return true;
}

/* What came back with the acknowledgement of an append that was made once, of new rows only. */
static void check_returns(uint32_t stream, uint64_t from, uint64_t to, const struct leat_receipt *receipt)
{
    uint32_t wanted = 0;

    if (receipt->appended != to - from)
        return;
    for (uint64_t i = from; i < to; i++) {
        struct sim_row row = sim_client_row(&sim_module, stream, i);

        if (!sim_returns(&sim_module, stream % MODULE_DEPOTS, &row))
            continue;
        if (wanted < receipt->returned && receipt->value[wanted].as.u != row.id)
            sim_fail("the acknowledgement of rows %llu to %llu of stream %u brings a wrong value back",
                     (unsigned long long)from, (unsigned long long)to, stream);
        wanted++;
    }
    sim.result->counts.returns += wanted;
    if (wanted != receipt->returned)
        sim_fail("the acknowledgement of rows %llu to %llu of stream %u brings %u values back, not %u",
                 (unsigned long long)from, (unsigned long long)to, stream, receipt->returned, wanted);
}

static const char *const told[] = {[LEAT_APPENDED] = "appended", [LEAT_PROCESSED] = "processed", [LEAT_NONE] = "sent"};

/* Rows of a stream behind those that are acknowledged, maybe some of them again. */
void sim_append(const struct op *op)
{
    uint32_t depot = (uint32_t)(op->dice % sim_module.client_depots), stream = (op->actor - 1) * MODULE_DEPOTS + depot;
    static const uint32_t most[] = {1, 1, 3, 12, 12, 200};
    struct random r;
    struct leat_error err = {0};
    struct leat_depot *d;
    struct leat_rows *rows;
    char name[16];

    random_seed(&r, op->dice);
    uint64_t acked = sim.stream[stream].acked, again = random_below(&r, 4) == 0 ? random_below(&r, 8) : 0;
    uint64_t from = acked > again ? acked - again : 0,
             to = acked + 1 + random_below(&r, most[random_below(&r, LENGTH_OF(most))]);
    static const enum leat_ack acks[] = {LEAT_APPENDED,  LEAT_APPENDED,  LEAT_PROCESSED,
                                         LEAT_PROCESSED, LEAT_PROCESSED, LEAT_NONE};
    struct leat_append how = {.ack = acks[random_below(&r, LENGTH_OF(acks))], .session = stream + 1,
                              .sequence = from, .partition = stream % sim_module.tasks};
    snprintf(name, sizeof(name), "d%u", depot);
    if (to > sim.rows_most)
        return;
    if (leat_depot_find(sim.leat, "sim", name, &d, &err) != 0 || leat_rows_new(d, &rows) != 0)
        sim_fail("no depot: %s", err.text);
    add_rows(rows, stream, from, to);
    note_submitted(stream, to);
    sim.result->counts.rows += to - from;
    for (bool first = true;;) {
        struct leat_receipt receipt = {0};
        int rv = leat_append(d, rows, &how, &receipt, &err);

        if (rv == 0) {
            sim_note("client %u: rows %llu to %llu of depot %s are %s", op->actor, (unsigned long long)from,
                     (unsigned long long)to, name, told[how.ack]);
            if (how.ack != LEAT_NONE)
                note_acked(stream, from, to, how.ack == LEAT_PROCESSED);
            if (how.ack == LEAT_PROCESSED)
                check_processed(stream, from, to);
            if (how.ack == LEAT_PROCESSED && first)
                check_returns(stream, from, to, &receipt);
            leat_receipt_fini(&receipt);
            break;
        }
        first = false;
        if (!sim_try_again(rv, &err))
            break;
    }
    leat_rows_free(rows);
    if (how.ack == LEAT_PROCESSED && !stopped())
        check_now();
}

/* ---- Bad luck ---- */

static void heal(void)
{
    files.write_errors = files.sync_errors = files.read_errors = 0;
    files.short_one_in = files.interrupt_one_in = files.slow_one_in = 0;
    files.capacity_bytes = UINT64_MAX;
}

static void do_crash(const struct op *op)
{
    struct random r;
    uint64_t range[] = {20, 200, 2000, 20000};

    random_seed(&r, op->dice);
    sim.crash_with_power = op->kind == OP_POWER && sim.durability == LEAT_FULL;
    sim.broken_open = (uint32_t)random_below(&r, 12);
    sim.crash_again = random_below(&r, 3) == 0 ? 1 + random_below(&r, range[random_below(&r, 4)]) : 0;
    fiber_world.crash_step = fiber_world.steps + 1 + random_below(&r, range[random_below(&r, 4)]);
}

static void do_bad(const struct op *op)
{
    struct random r;

    random_seed(&r, op->dice);
    sim.excused = sim.excused || (op->kind >= OP_SYNC_ERROR && op->kind <= OP_FULL) || op->kind == OP_SHORT;
    switch (op->kind) {
    case OP_SYNC_ERROR:
        files.sync_errors = 1;
        files.sync_skip = below(&r, below(&r, 2) == 0 ? 2 : 50);
        break;
    case OP_WRITE_ERROR:
        files.write_errors = 1 + below(&r, 3);
        files.write_skip = below(&r, below(&r, 2) == 0 ? 2 : 200);
        break;
    case OP_READ_ERROR:
        files.read_errors = 1;
        files.read_skip = below(&r, 5);
        break;
    case OP_FULL:
        files.capacity_bytes = files.used_bytes + below(&r, 20000);
        files.hides_full = below(&r, 2) == 0;
        fiber_sleep((int64_t)random_below(&r, (random_below(&r, 3) == 0 ? 40 : 8) * (uint64_t)SECOND));
        files.capacity_bytes = UINT64_MAX;
        if (random_below(&r, 2) == 0)
            do_crash(&(struct op){OP_POWER, 0, random_u64(&r)});
        break;
    case OP_SLOW:
        files.slow_one_in = 1 + below(&r, 20);
        fiber_sleep((int64_t)random_below(&r, 5 * SECOND));
        files.slow_one_in = 0;
        break;
    case OP_SHORT:
        files.short_one_in = 5 + below(&r, 40);
        files.interrupt_one_in = 3 + below(&r, 20);
        fiber_sleep((int64_t)random_below(&r, SECOND));
        files.short_one_in = files.interrupt_one_in = 0;
        break;
    default:
        fiber_world.wall_offset_us += (int64_t)random_below(&r, 7200 * UINT64_C(1000000)) - 3600 * INT64_C(1000000);
        break;
    }
}

/* ---- Actors ---- */

/* Where there are vectors, most of what clients do is with them. */
static void append(uint32_t client, uint64_t dice)
{
    if (vectors_plan.runs && (dice >> 40) % 4 != 0)
        vectors_append(client - 1, dice);
    else
        sim_append(&(struct op){OP_APPEND, client, dice});
}

static void do_op(const struct op *op)
{
    sim_note("actor %u: %s", op->actor, op_name[op->kind]);
    sim.result->counts.ops[op->kind]++;
    switch (op->kind) {
    case OP_APPEND:
        for (uint64_t i = 0; i <= (op->dice >> 32 & 3) && !stopped(); i++)
            append(op->actor, op->dice + i);
        break;
    case OP_PAUSE:
        fiber_sleep((int64_t)(op->dice % (op->dice % 3 == 0 ? 12 * (uint64_t)SECOND : 100000000)));
        break;
    case OP_READ:
        check_now();
        if (vectors_plan.runs)
            vectors_check();
        break;
    case OP_BACKUP:
        sim_backup(op->dice);
        break;
    case OP_KEEP:
        kept_do(op->dice);
        break;
    case OP_POWER:
    case OP_KILL:
        do_crash(op);
        break;
    case OP_REBUILD:
        sim.rebuild = op->dice | 1;
        stop("rebuild");
        break;
    case OP_RESTART:
        stop("restart");
        break;
    default:
        do_bad(op);
    }
}

/* An append that the life's end broke off is done again in the next one. */
static void *actor(void *context)
{
    uint32_t number = (uint32_t)(uintptr_t)context;

    if (number == 0 && files.capacity_bytes != UINT64_MAX) {
        fiber_sleep((int64_t)random_below(&fiber_world.random, 10 * SECOND));
        files.capacity_bytes = UINT64_MAX;
    }
    while (sim.next[number] < sim.ops && !stopped()) {
        uint32_t at = sim.next[number];
        const struct op *op = &sim.op[at];

        if (op->actor != number || sim.dropped[at]) {
            sim.next[number]++;
            continue;
        }
        sim.next[number] += op->kind != OP_APPEND;
        do_op(op);
        if (op->kind == OP_APPEND && !stopped())
            sim.next[number]++;
    }
    return NULL;
}

/* ---- A life ---- */

bool sim_open(const char *directory, struct leat_error *err)
{
    /* A look at all of it takes long in a time that every step moves. */
    struct leat_config config = {.durability = sim.durability, .create = true, .view_limit_ms = UINT32_MAX};
    struct leat_launch launch = {.tasks = sim_module.tasks, .groups = sim.groups};

    if (leat_open(directory, &config, &sim.leat, err) != 0) {
        sim.leat = NULL;
        return false;
    }
    if (leat_launch(sim.leat, &sim_module.module, &launch, err) == 0 &&
        (sim.follower.tasks == 0 || leat_launch(sim.leat, &follower_module, &sim.follower, err) == 0) &&
        (!sim.keeps || kept_launch(sim.leat, sim.segment_size, err) == 0) &&
        (!vectors_plan.runs || vectors_launch(sim.leat, err) == 0))
        return true;
    leat_close(sim.leat);
    sim.leat = NULL;
    return false;
}

static uint32_t actors(void)
{
    return sim.clients + 1 + (sim.copies || sim.keeps);
}

static void run_actors(void)
{
    pthread_t thread[SIM_CLIENTS + 2];

    for (uint32_t i = 0; i < actors(); i++)
        pthread_create(&thread[i], NULL, actor, (void *)(uintptr_t)i);
    for (uint32_t i = 0; i < actors(); i++)
        pthread_join(thread[i], NULL);
}

/* Has each group taken all that was sent to it? Dead letters are, too, and no wait covers them. */
static bool all_taken(void)
{
    for (uint32_t i = 0; i < sim.leat->modules; i++)
        for (uint32_t j = 0; j < sim.leat->module[i]->groups; j++) {
            const struct group *g = sim.leat->module[i]->group[j];

            for (uint32_t k = 0; k < g->config.groups; k++)
                if (g->peer[k].group->peer[j].cursor.turn != g->sent[k])
                    return false;
        }
    return true;
}

bool sim_settle(void)
{
    struct leat_error err = {0};

    for (uint32_t i = 0; i < sim_module.depots + 2 && !stopped(); i++) {
        if (leat_wait_idle(sim.leat, 600000, &err) != 0) {
            if (!sim_excuse(err.code))
                sim_fail("there is still something to do after 600 s: %s", err.text);
            stop(err.text);
        }
        fiber_sleep(SECOND);
    }
    for (uint32_t i = 0; !stopped() && !all_taken(); i++) {
        if (i == 600)
            sim_fail("what was sent is not taken after 600 s");
        fiber_sleep(SECOND);
    }
    return !stopped();
}

static void run_end(void)
{
    fiber_world.crash_step = 0;
    heal();
    if (!sim_settle())
        return;
    check_end();
    if (sim.keeps)
        kept_check_end();
    if (vectors_plan.runs)
        vectors_check_end();
    if (sim.seed % 4 == 0)
        check_space();
    if (sim.keeps && sim.seed % 4 == 1 && !stopped())
        kept_check_space();
    sim.ended = !stopped() && (sim.closed || (sim.seed % 3 != 0 && !sim.rebuilds));
    sim.closed = !stopped();
    if (sim.closed && !sim.ended && sim.rebuilds)
        sim.rebuild = random_u64(&fiber_world.random) | 1;
}

static void *life(void *context)
{
    struct leat_error err = {0};

    (void)context;
    sim.stop = sim.querying = false;
    memset(sim.frontier, 0, sizeof(sim.frontier));
    if (!sim_rebuild_look(&err) || !sim_open(FILES_ROOT "/data", &err)) {
        sim.result->counts.failed_opens++;
        sim_note("does not open: %s", err.text);
        if (!sim_excuse(err.code))
            sim_fail("the directory does not open: %s", err.text);
        return NULL;
    }
    sim_rebuild_sure();
    check_now();
    if (sim.keeps)
        kept_check();
    if (vectors_plan.runs) {
        vectors_opened(sim.crashed);
        vectors_check();
    }
    run_actors();
    bool done = true;
    for (uint32_t i = 0; i < actors(); i++)
        done = done && sim.next[i] == sim.ops;
    if (done)
        run_end();
    const struct module *failed = sim_failed_module();
    if (failed != NULL) {
        sim.result->counts.stops++;
        sim_note("stopped: %s", failed->why.text);
        if (!sim_excuse(failed->why.code))
            sim_fail("a module stops without a reason: %s", failed->why.text);
    }
    leat_close(sim.leat);
    sim.leat = NULL;
    if (done && !sim.stop && failed == NULL)
        check_backup();
    return NULL;
}

void sim_stalls(void)
{
    fiber_world.stall_one_in = sim.stall_one_in;
    fiber_world.stall_ns = sim.stall_ns;
}

/* After some crashes the disk is broken when the directory is opened again. */
void sim_break(uint32_t what)
{
    struct op op = {.dice = random_u64(&fiber_world.random)};

    switch (what) {
    case 1:
        op.kind = OP_SYNC_ERROR;
        break;
    case 2:
        op.kind = OP_WRITE_ERROR;
        break;
    case 3:
        op.kind = OP_READ_ERROR;
        break;
    case 4:
        files.capacity_bytes = files.used_bytes + random_below(&fiber_world.random, 100000);
        files.hides_full = random_below(&fiber_world.random, 2) == 0;
        sim.excused = true;
        return;
    default:
        return;
    }
    do_bad(&op);
}

static void one_life(void)
{
    sim_note("life %u", sim.life);
    sim.result->counts.lives++;
    sim_stalls();
    if (sim.rebuild != 0) {
        sim_rebuild(sim.rebuild);
        sim.rebuild = 0;
        heal();
        sim.excused = false;
    }
    fiber_world.crash_step = sim.crash_again > 0 ? fiber_world.steps + sim.crash_again : 0;
    sim_break(sim.broken_open);
    sim.crash_again = sim.broken_open = 0;
    sim.leat = NULL;
    enum fiber_end end = fiber_life(life, NULL);
    sim.crashed = end == FIBER_CRASHED;
    switch (end) {
    case FIBER_STUCK:
        sim_fail("nobody can go on, and nobody waits for a time");
    case FIBER_CRASHED:
        sim_note("%s", sim.crash_with_power ? "the power is lost" : "the process is killed");
        sim.result->counts.crashes_at_open += sim.leat == NULL || sim.leat->modules == 0;
        files_crash(sim.crash_with_power);
        if (sim.crash_with_power)
            sim_rebuild_power();
        break;
    case FIBER_DONE:
        /* What was closed in order needs no more syncs. */
        if (sim.closed && !sim.ended)
            files_crash(sim.durability == LEAT_FULL);
        else
            files_exit();
        break;
    }
    heal();
    sim.excused = false;
}

static void count_all(void)
{
    struct sim_counts *c = &sim.result->counts;

    for (int i = 0; i < FILES_COUNTS; i++)
        c->files[i] += files.count[i];
    c->switches += fiber_world.switches;
    c->spurious += fiber_world.spurious;
    c->stalls += fiber_world.stalls;
    c->virtual_ns += fiber_world.now_ns - SECOND;
}

void sim_run(uint64_t seed, const bool *dropped, bool verbose, struct sim_result *result)
{
    struct random plan;

    memset(&sim, 0, sizeof(sim));
    memset(&fiber_world, 0, sizeof(fiber_world));
    files_init();
    sim.seed = seed;
    sim.verbose = verbose;
    sim.result = result;
    result->seed = seed;
    if (dropped != NULL)
        memcpy(sim.dropped, dropped, sizeof(sim.dropped));
    random_seed(&plan, seed);
    fiber_world.now_ns = SECOND;
    fiber_world.wall_offset_us = INT64_C(1700000000000000);
    vectors_init(seed);
    draw_plan(&plan);
    random_seed(&fiber_world.random, random_u64(&plan));
    draw_operator(&plan);
    draw_rebuilds(&plan);
    sim_backup_init();
    sim_rebuild_init();
    memset(&kept, 0, sizeof(kept));
    result->ops = sim.ops;
    log_level_set(LOG_ERROR + 1); /* its lock and clock would be steps that a run without --verbose has not */
    if (verbose)
        sim_module_print(&sim_module);
    model_init(&sim.low, &sim_module);
    model_init(&sim.high, &sim_module);
    sim.low.one_depot = true;
    for (sim.life = 0; !sim.ended; sim.life++) {
        if (sim.life == SIM_LIVES)
            sim_fail("not at an end after %d lives", SIM_LIVES);
        one_life();
    }
    model_fini(&sim.low);
    model_fini(&sim.high);
    count_all();
    result->trace = fiber_world.trace;
}
