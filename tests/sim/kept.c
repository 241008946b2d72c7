/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/kept.h"

#include "engine/consumer.h"
#include "tests/sim/sim.h"

#include <stdio.h>

enum { READ, UNREAD, BODY = 300, BATCH = 24, ROUNDS = 3 };

#define ROUND_NS INT64_C(11000000000)

typedef unsigned long long big;

struct kept_promise kept;

static const char *const depot_name[KEPT_DEPOTS] = {"read", "unread"};

static int count(struct leat_task *t, const struct leat_batch *in)
{
    struct leat_value n = leat_u64(0);

    leat_get(t, 0, LEAT_KEYS(leat_u32(0)), &n, 1);
    leat_put(t, 0, LEAT_KEYS(leat_u32(0)), LEAT_ROW(leat_u64(n.as.u + in->rows)));
    return 0;
}

#define ROW "partition: u64, number: u64, body: bytes"

const struct leat_module kept_module = {
    LEAT_ABI, .name = "kept",
    .depots = DEPOTS([READ] = {"read", ROW, .partitioner = LEAT_EXPLICIT},
                     [UNREAD] = {"unread", ROW, .partitioner = LEAT_EXPLICIT}),
    .pstates = PSTATES({"counts", "map<u32, u64>"}),
    .topologies = TOPOLOGIES({"count", LEAT_STREAM, NODES({"count", .from = "read", .run = count})})};

int kept_launch(struct leat *l, uint64_t segment_size, struct leat_error *err)
{
    char text[32];
    struct leat_option retain[] = {{"*", text}, {NULL, NULL}};
    struct leat_launch how = {.tasks = KEPT_TASKS, .groups = 2, .retain = retain};

    snprintf(text, sizeof(text), "%lluKiB", (big)segment_size / 1024);
    return leat_launch(l, &kept_module, &how, err);
}

static struct leat_depot *depot_of(uint32_t depot)
{
    struct leat_error err = {0};
    struct leat_depot *d;

    if (leat_depot_find(sim.leat, "kept", depot_name[depot], &d, &err) != 0)
        sim_fail("no depot: %s", err.text);
    return d;
}

static struct leat_bounds bounds_of(uint32_t depot, uint32_t partition)
{
    struct leat_bounds b;

    leat_depot_bounds(depot_of(depot), partition, &b);
    return b;
}

/* ---- What its only client does ---- */

/* false: an error that ends the life, or passes. */
static bool done(int rv, const char *what, const struct leat_error *err)
{
    if (rv != 0 && sim_failed_module() == NULL && !sim.stop && !sim.excused && leat_code_class(rv) != LEAT_CLASS_RETRY)
        sim_fail("%s of the module that keeps little fails: %s", what, err->text);
    return rv == 0;
}

/* Some rows, and maybe some that were acknowledged: these must not count again, whether they are still there or not.
 * All that was refused is sent again first. Returns what the append did. */
static int append(uint32_t depot, uint32_t partition, struct random *r)
{
    uint64_t acked = kept.acked[depot][partition], again = random_below(r, 4) == 0 ? random_below(r, 30) : 0;
    uint64_t from = acked > again ? acked - again : 0, to = acked + 1 + random_below(r, BATCH);
    uint64_t *refused = &kept.refused[depot][partition];
    struct leat_error err = {0};
    struct leat_rows *rows;
    uint8_t body[BODY];

    if (leat_rows_new(depot_of(depot), &rows) != 0)
        sim_fail("no rows");
    from = *refused > 0 && *refused <= from ? *refused - 1 : from;
    struct leat_append how = {
        .ack = LEAT_APPENDED, .partition = partition, .session = 1 + partition, .sequence = from + 1};
    for (uint64_t i = from; i < to; i++) {
        memset(body, (int)i, sizeof(body));
        leat_rows_add(rows, LEAT_ROW(leat_u64(partition), leat_u64(i), leat_bytes(body, sizeof(body))), &err);
    }
    if (kept.sent[depot][partition] < to)
        kept.sent[depot][partition] = to;
    sim.result->counts.rows += to - from;
    int rv = leat_append(depot_of(depot), rows, &how, NULL, &err);
    bool appended = done(rv, "an append", &err);
    *refused = appended ? 0 : *refused > 0 && *refused <= from ? *refused : from + 1;
    if (appended)
        kept.acked[depot][partition] = to;
    leat_rows_free(rows);
    return rv;
}

static bool put_consumer(uint32_t depot)
{
    struct consumer c = {KEPT_TASKS, kept.held[depot]};
    struct leat_error err = {0};
    char path[128];

    snprintf(path, sizeof(path), FILES_ROOT "/data/kept/consumers/%s", depot_name[depot]);
    sim.result->counts.consumed++;
    return done(consumer_write(path, "reader", &c, true, &err), "a consumer", &err);
}

/* It reads on, some way. What is written may be there although nobody said so. */
static void consume(uint32_t depot, struct random *r)
{
    for (uint32_t p = 0; p < KEPT_TASKS; p++) {
        struct leat_bounds b = bounds_of(depot, p);
        uint64_t at = kept.held[depot][p];

        kept.held[depot][p] = at < b.next ? at + random_below(r, b.next - at + 1) : at;
    }
    put_consumer(depot);
}

void kept_do(uint64_t dice)
{
    struct random r;

    random_seed(&r, dice);
    uint32_t depot = (uint32_t)random_below(&r, KEPT_DEPOTS);
    if (!kept.registered[depot]) /* before there is anything */
        kept.registered[depot] = put_consumer(depot);
    else if (random_below(&r, 6) == 0)
        consume(depot, &r);
    else
        for (uint64_t i = random_below(&r, 8); i < 8 && !sim.stop && sim_failed_module() == NULL; i++)
            append(depot, (uint32_t)random_below(&r, KEPT_TASKS), &r);
    kept_check();
}

/* ---- What must hold ---- */

struct reading {
    uint32_t depot, partition;
    uint64_t next;   /* row; of the first there is, it is known only that others were before it */
    bool any;
};

static int record(void *context, const struct leat_record *stored, const struct leat_batch *row)
{
    struct reading *r = context;
    uint64_t number = leat_at(row, 0, 1).as.u;
    struct leat_span body = leat_at(row, 0, 2).as.bytes;

    (void)stored;
    if (number >= kept.sent[r->depot][r->partition] || body.size != BODY ||
        ((const uint8_t *)body.base)[BODY - 1] != (uint8_t)number)
        sim_fail("depot %s, partition %u: a record nobody sent", depot_name[r->depot], r->partition);
    if (r->any && number > r->next)
        sim_fail("depot %s, partition %u: row %llu is not there, but the one behind it", depot_name[r->depot],
                 r->partition, (big)r->next);
    r->next = r->any && number < r->next ? r->next : number + 1;
    r->any = true;
    return 0;
}

/* Rows so far, those that are gone included. */
static uint64_t read_partition(uint32_t depot, uint32_t partition)
{
    struct leat_bounds b = bounds_of(depot, partition);
    struct reading r = {.depot = depot, .partition = partition, .any = b.first == 0};
    struct leat_error err = {0};

    if (b.first > kept.held[depot][partition])
        sim_fail("depot %s, partition %u: trimmed up to %llu, but a consumer is at %llu", depot_name[depot], partition,
                 (big)b.first, (big)kept.held[depot][partition]);
    if (depot == READ && b.first > b.processed)
        sim_fail("depot %s, partition %u: trimmed up to %llu, but processed up to %llu", depot_name[depot], partition,
                 (big)b.first, (big)b.processed);
    int rv = leat_depot_read(depot_of(depot), partition, b.first, UINT32_MAX, record, &r, NULL, &err);
    if (rv != 0 && rv != LEAT_ETRIMMED && sim_failed_module() == NULL && !(sim.excused && rv == LEAT_EIO))
        sim_fail("depot %s, partition %u cannot be read: %s", depot_name[depot], partition, err.text);
    if (rv == 0 && b.next > b.first && r.next < kept.acked[depot][partition])
        sim_fail("depot %s, partition %u: row %llu was acknowledged and is lost", depot_name[depot], partition,
                 (big)r.next);
    sim.result->counts.trimmed += b.first > 0;
    return rv == 0 ? r.next : 0;
}

void kept_check(void)
{
    for (uint32_t depot = 0; depot < KEPT_DEPOTS; depot++)
        for (uint32_t p = 0; p < KEPT_TASKS; p++)
            read_partition(depot, p);
}

void kept_check_end(void)
{
    struct leat_error err = {0};
    struct leat_view *v;

    kept_check();
    if (leat_view_open(sim.leat, "kept", &v, &err) != 0)
        sim_fail("no view: %s", err.text);
    for (uint32_t p = 0; p < KEPT_TASKS; p++) {
        struct leat_bounds b = bounds_of(READ, p);
        struct leat_value n = leat_u64(0);

        leat_get(leat_view_task(v, p), 0, LEAT_KEYS(leat_u32(0)), &n, 1);
        if (b.next > b.first && n.as.u != read_partition(READ, p))
            sim_fail("partition %u of what is kept for a time: %llu rows were counted, %llu belong there", p,
                     (big)n.as.u, (big)read_partition(READ, p));
    }
    leat_view_close(v);
}

static uint64_t kept_bytes(uint32_t depot, uint32_t group)
{
    uint64_t rows = 0;

    for (uint32_t p = group; p < KEPT_TASKS; p += 2)
        rows += bounds_of(depot, p).next - bounds_of(depot, p).first;
    return rows * BODY;
}

/* Bytes that were ever appended. */
static uint64_t bytes_of(uint32_t depot, uint32_t group)
{
    return (bounds_of(depot, group).next + bounds_of(depot, group + 2).next) * BODY;
}

/* So much in each group: depots share segments, and one with few rows would hold those of the other. */
static void append_all(uint32_t depot, uint64_t bytes, struct random *r)
{
    for (uint32_t group = 0; group < 2; group++)
        for (uint64_t end = bytes_of(depot, group) + bytes; bytes_of(depot, group) < end;) {
            if (sim.stop || sim_failed_module() != NULL)
                return;
            int rv = append(depot, group + 2 * (uint32_t)random_below(r, 2), r);
            /* A log that failed takes nothing more in this life. */
            sim.stop = rv != 0 && leat_code_class(rv) != LEAT_CLASS_RETRY;
        }
}

/* The last ones go when there are younger ones. */
void kept_check_space(void)
{
    uint64_t most = 4 * sim.segment_size + BATCH * BODY;
    struct random r;

    random_seed(&r, sim.seed);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t depot = 0; depot < KEPT_DEPOTS; depot++) {
            append_all(depot, 2 * sim.segment_size, &r);
            for (uint32_t p = 0; p < KEPT_TASKS; p++)
                kept.held[depot][p] = bounds_of(depot, p).next;
            put_consumer(depot);
        }
        fiber_sleep(3 * ROUND_NS);
        if (!sim_settle())
            return;
    }
    kept_check_end();
    for (uint32_t depot = 0; depot < KEPT_DEPOTS; depot++)
        for (uint32_t group = 0; group < 2; group++)
            if (kept_bytes(depot, group) > most)
                sim_fail("depot %s of group %u keeps %llu bytes that nobody wants", depot_name[depot], group,
                         (big)kept_bytes(depot, group));
}
