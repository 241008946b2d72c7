/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/vectors.h"

#include "modules/ivf/ivf.h"
#include "modules/modules.h"

#include <math.h>
#include <stdio.h>

typedef unsigned long long big;

/* In a row RUN changes are of a kind. A search may miss a row that moves between two groups while it lasts
 * (docs/IVF.md), but not each time. */
enum { RUN = 48, TRIES = 4, NODES_MOST = 12, TOPOLOGIES_MOST = 8 };

struct vectors_plan vectors_plan;
struct vectors_promise vectors;

/* ---- The module, counted ---- */

static struct leat_topology topology[TOPOLOGIES_MOST];
static struct leat_node node[NODES_MOST];
struct leat_module vectors_module;

static int place(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        sim.result->counts.vectors_moved += leat_at(in, i, 1).as.u == PLACED;
    return store_placed(t, in);
}

static int move(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        sim.result->counts.vectors_splits += leat_at(in, i, 1).as.u == OPEN && leat_at(in, i, 3).as.bytes.size > 0;
        sim.result->counts.vectors_compactions += leat_at(in, i, 1).as.u == COMPACT;
    }
    return upkeep_move(t, in);
}

static void make_module(void)
{
    vectors_module = module_ivf;
    for (uint32_t i = 0; i == 0 || topology[i - 1].name != NULL; i++) {
        leat_assert(i < TOPOLOGIES_MOST);
        topology[i] = module_ivf.topologies[i];
    }
    for (uint32_t i = 0; i == 0 || node[i - 1].name != NULL; i++) {
        leat_assert(i < NODES_MOST);
        node[i] = topology[0].nodes[i];
        node[i].run = node[i].run == store_placed ? place : node[i].run == upkeep_move ? move : node[i].run;
    }
    topology[0].nodes = node;
    vectors_module.topologies = topology;
}

void vectors_init(uint64_t seed)
{
    enum { COMMON = 4 }; /* the others in few seeds */
    static const struct vectors_plan plans[] = {
        {false, 0, 0, 8, LEAT_U8_VECTOR, METRIC_L2, "u8", "l2", false},
        {false, 0, 0, 16, LEAT_F32_VECTOR, METRIC_L2, "f32", "l2", true},
        {false, 0, 0, 13, LEAT_F32_VECTOR, METRIC_COSINE, "f32", "cosine", false},
        {false, 0, 0, 16, LEAT_U8_VECTOR, METRIC_COSINE, "u8", "cosine", true},
        {false, 0, 0, 12, LEAT_I8_VECTOR, METRIC_DOT, "i8", "dot", false},
        {false, 0, 0, 128, LEAT_BITS, METRIC_HAMMING, "bits", "hamming", true},
    };
    static const uint32_t groups[] = {1, 2, 4, 4};
    struct random r;

    memset(&vectors, 0, sizeof(vectors));
    random_seed(&r, sim_mix(seed, 77));
    uint64_t plan = random_below(&r, COMMON);
    vectors_plan = plans[seed % 16 != 0 ? plan : COMMON + seed / 16 % (LENGTH_OF(plans) - COMMON)];
    vectors_plan.runs = seed % 8 == 0 || seed % 8 == 5;
    vectors_plan.tasks = 4U << random_below(&r, 2);
    vectors_plan.groups = groups[random_below(&r, LENGTH_OF(groups))];
    make_module();
}

int vectors_launch(struct leat *l, struct leat_error *err)
{
    char dims[8];
    struct leat_option options[] = {{"dims", dims},
                                    {"type", vectors_plan.type_name},
                                    {"metric", vectors_plan.metric_name},
                                    {"ids", vectors_plan.names ? "str" : "u64"},
                                    {"attributes", "n: i64"},
                                    {"target", "8"},
                                    {"split", "16"},
                                    {"merge", "4"},
                                    {"epsilon", "10"},
                                    {NULL, NULL}};
    struct leat_launch how = {.tasks = vectors_plan.tasks, .groups = vectors_plan.groups, .options = options};

    snprintf(dims, sizeof(dims), "%u", vectors_plan.dims);
    return leat_launch(l, &vectors_module, &how, err);
}

/* ---- Changes ---- */

/* Elements are whole numbers, so that sums of squares are exact; or bytes of bits. */
static void put_elements(struct vectors_change *c, const uint8_t *element)
{
    c->size = (uint32_t)leat_vector_size(vectors_plan.type, vectors_plan.dims);
    if (vectors_plan.type != LEAT_F32_VECTOR) {
        memcpy(c->vector, element, c->size);
        return;
    }
    for (uint32_t i = 0; i < vectors_plan.dims; i++) {
        float f = element[i];

        memcpy(c->vector + (size_t)i * 4, &f, 4);
    }
}

enum kind {
    SCATTERED, /* any ids, around a place that wanders, or away */
    EQUAL,     /* few ids, one vector */
    SORTED,    /* ids and vectors one behind the other */
    SWEPT      /* the same, and nearly all away */
};

static enum kind kind_of(uint64_t dice)
{
    static const enum kind kinds[] = {SCATTERED, SCATTERED, SCATTERED, EQUAL, SORTED, SORTED, SORTED, SWEPT};

    return kinds[dice % LENGTH_OF(kinds)];
}

struct vectors_change vectors_change_at(uint32_t client, uint64_t n)
{
    uint64_t run = n / RUN, at = n % RUN, dice = sim_mix(sim_mix(client, sim.seed), run), own = sim_mix(dice, at + 1);
    uint32_t first = (uint32_t)(dice >> 8) % VECTORS_IDS, line = (uint32_t)(1 + (first + at) % 240);
    enum kind kind = kind_of(dice);
    const uint64_t id[] = {[SCATTERED] = own, [EQUAL] = first + own % 20, [SORTED] = first + at, [SWEPT] = first + at};
    const bool there[] = {[SCATTERED] = (own >> 32) % 5 > 0, [EQUAL] = true, [SORTED] = true, [SWEPT] = at % 16 == 0};
    struct vectors_change c = {.id = (uint32_t)(id[kind] % VECTORS_IDS), .there = there[kind]};
    uint8_t element[VECTORS_ELEMENTS];

    for (uint32_t i = 0; i < VECTORS_ELEMENTS; i++) {
        uint64_t place = 1 + sim_mix(run / 2, i) % 100, noise = kind == SCATTERED ? sim_mix(own, i) % 30 : 0;

        element[i] = (uint8_t)(kind >= SORTED ? (i % 3 == 0 ? line : 1) : place + noise);
    }
    element[0] = (uint8_t)(1 + run);
    put_elements(&c, element);
    return c;
}

struct leat_value vectors_id(uint32_t client, uint32_t id, char text[16])
{
    if (!vectors_plan.names)
        return leat_u64(client * VECTORS_IDS + id);
    snprintf(text, 16, "%u", client * VECTORS_IDS + id);
    return leat_str(text);
}

/* {"n": n} */
enum { MAP_NUMBER = 4, MAP_SIZE = 12 };

static void put_map(uint8_t map[MAP_SIZE], uint64_t n)
{
    static const uint8_t head[MAP_NUMBER] = {0x81, 0xa1, 'n', 0xcf};

    memcpy(map, head, sizeof(head));
    for (int i = 0; i < 8; i++)
        map[MAP_NUMBER + i] = (uint8_t)(n >> (56 - 8 * i));
}

static uint64_t get_map(struct leat_value map)
{
    const uint8_t *bytes = map.as.bytes.base;
    uint64_t n = 0;

    if (map.type == LEAT_NULL || map.as.bytes.size != MAP_SIZE)
        sim_fail("attributes of a vector are not those that were sent");
    for (int i = 0; i < 8; i++)
        n = n << 8 | bytes[MAP_NUMBER + i];
    return n;
}

static void add_rows(struct leat_rows *rows, uint32_t client, uint64_t from, uint64_t to)
{
    struct leat_error err = {0};

    leat_rows_clear(rows);
    for (uint64_t n = from; n < to; n++) {
        struct vectors_change c = vectors_change_at(client, n);
        struct leat_value vector = c.there ? leat_vector(vectors_plan.type, c.vector, vectors_plan.dims) : leat_null();
        uint8_t map[MAP_SIZE];
        char text[16];

        put_map(map, n);
        if (leat_rows_add(rows, LEAT_ROW(vectors_id(client, c.id, text), vector, leat_any(map, sizeof(map))), &err) !=
            0)
            sim_fail("a vector is refused: %s", err.text);
    }
}

static void note_acked(uint32_t client, uint64_t from, uint64_t to, bool processed)
{
    vectors.acked[client] = to > vectors.acked[client] ? to : vectors.acked[client];
    for (uint64_t n = from; n < to && processed; n++) {
        uint64_t *newest = &vectors.processed[client][vectors_change_at(client, n).id];

        *newest = n + 1 > *newest ? n + 1 : *newest;
    }
}

void vectors_append(uint32_t client, uint64_t dice)
{
    static const uint32_t most[] = {1, 4, 30, 100};
    static const enum leat_ack acks[] = {LEAT_APPENDED, LEAT_PROCESSED, LEAT_PROCESSED, LEAT_NONE};
    struct leat_error err = {0};
    struct leat_depot *d;
    struct leat_rows *rows;
    struct random r;
    int rv;

    random_seed(&r, dice);
    uint64_t acked = vectors.acked[client], again = random_below(&r, 4) == 0 ? random_below(&r, 20) : 0;
    uint64_t from = acked > again ? acked - again : 0,
             to = acked + 1 + random_below(&r, most[random_below(&r, LENGTH_OF(most))]);
    struct leat_append how = {.ack = acks[random_below(&r, LENGTH_OF(acks))], .session = client + 1, .sequence = from};
    if (to > SIM_ROWS)
        return;
    if (leat_depot_find(sim.leat, "ivf", "vectors", &d, &err) != 0 || leat_rows_new(d, &rows) != 0)
        sim_fail("no depot: %s", err.text);
    add_rows(rows, client, from, to);
    vectors.sent[client] = to > vectors.sent[client] ? to : vectors.sent[client];
    sim.result->counts.vectors_sent += to - from;
    do
        rv = leat_append(d, rows, &how, NULL, &err);
    while (rv != 0 && sim_try_again(rv, &err));
    sim_note("client %u: changes %llu to %llu of its vectors: %s", client + 1, (big)from, (big)to,
             rv == 0 ? "acknowledged" : err.text);
    if (rv == 0 && how.ack != LEAT_NONE)
        note_acked(client, from, to, how.ack == LEAT_PROCESSED);
    leat_rows_free(rows);
    if (rv == 0 && how.ack == LEAT_PROCESSED)
        vectors_check();
}

/* ---- A life begins ---- */

static uint32_t moving_of(struct leat_span masks)
{
    uint32_t moving = 0, mask;

    for (size_t i = 4; i < masks.size; i += 8) {
        memcpy(&mask, (const uint8_t *)masks.base + i, 4);
        moving += (uint32_t)__builtin_popcount(mask);
    }
    return moving;
}

void vectors_opened(bool crashed)
{
    struct sim_counts *counts = &sim.result->counts;
    struct leat_value key, field[7];
    uint32_t retired = 0, asked = 0, moving = 0;
    struct leat_error err = {0};
    struct leat_view *v;

    if (!crashed || leat_view_open(sim.leat, "ivf", &v, &err) != 0)
        return;
    for (uint32_t task = 0; task < vectors_plan.groups; task++) {
        struct leat_scan *scan;

        if (leat_scan_open(leat_view_task(v, task), POSTINGS, LEAT_KEYS(), NULL, &scan) != 0)
            continue;
        while (leat_scan_next(scan, &key, field, 7) == 0) {
            retired += !field[0].as.b;
            asked += field[1].as.i != 0;
            moving += moving_of(field[6].as.bytes);
        }
        leat_scan_close(scan);
    }
    leat_view_close(v);
    counts->vectors_crashes++;
    counts->vectors_amid_asked += asked > 0;
    counts->vectors_amid_retired += retired > 0;
    counts->vectors_amid_moving += moving > 0;
}

/* ---- Asking ---- */

/* false: nobody can say, as the life comes to its end or somebody else is asking: one at a time (check.c). */
static bool ask(const char *query, struct leat_row row, struct leat_result **r)
{
    struct leat_error err = {0};

    if (sim.querying)
        return false;
    sim.querying = true;
    int rv = leat_query(sim.leat, "ivf", query, row, NULL, r, &err);
    sim.querying = false;
    if (rv != 0 && rv != LEAT_ETIMEOUT && sim_failed_module() == NULL && !(sim.excused && rv == LEAT_EIO))
        sim_fail("the query %s fails: %s", query, err.text);
    sim.result->counts.queries += rv == 0;
    return rv == 0;
}

struct leat_result *vectors_ask(const char *query, const uint8_t *vector, uint32_t size, uint32_t k)
{
    struct leat_result *r;

    leat_assert(size == leat_vector_size(vectors_plan.type, vectors_plan.dims));
    return ask(query,
               LEAT_ROW(leat_vector(vectors_plan.type, vector, vectors_plan.dims), leat_u32(k), leat_u32(65536),
                        leat_null(), leat_bool(true), leat_bool(true), leat_null(), leat_null(), leat_null()),
               &r)
               ? r
               : NULL;
}

int64_t vectors_counted(void)
{
    struct leat_result *r;

    if (!ask("count", LEAT_ROW(), &r))
        return -1;
    int64_t count = leat_at(leat_result_rows(r), 0, 0).as.i;
    leat_result_free(r);
    return count;
}

static uint32_t number_of(struct leat_value id)
{
    uint64_t number = vectors_plan.names ? 0 : id.as.u;

    for (size_t at = 0; vectors_plan.names && at < id.as.bytes.size; at++)
        number = number * 10 + ((const uint8_t *)id.as.bytes.base)[at] - '0';
    if (number >= SIM_CLIENTS * VECTORS_IDS)
        sim_fail("a vector of an id that nobody sent: %llu", (big)number);
    return (uint32_t)number;
}

static bool is_change(uint32_t client, uint32_t id, uint64_t n, struct leat_span vector)
{
    struct vectors_change c = vectors_change_at(client, n);

    return c.id == id && c.there && vector.size == c.size && memcmp(vector.base, c.vector, c.size) == 0;
}

static uint64_t run_of(struct leat_span vector)
{
    float f;

    if (vectors_plan.type != LEAT_F32_VECTOR)
        return *(const uint8_t *)vector.base - 1U;
    memcpy(&f, vector.base, sizeof(f));
    return (uint64_t)f - 1;
}

/* Is it the vector of a change of the id that is possible? */
static bool is_possible(uint32_t client, uint32_t id, struct leat_span vector, uint64_t least, uint64_t most)
{
    uint64_t first = run_of(vector) * RUN, last = first + RUN < most ? first + RUN : most;

    for (uint64_t n = first + 1 > least ? first : least - 1; n < last; n++)
        if (is_change(client, id, n, vector))
            return true;
    return false;
}

/* Attributes are read where the id is known, the vector where its posting is: while an id changes they may be of
 * different changes. */
uint32_t vectors_hit(const struct leat_batch *rows, uint32_t i, const struct vectors_known *known)
{
    struct leat_span vector = leat_at(rows, i, 3).as.bytes;
    uint32_t number = number_of(leat_at(rows, i, 0)), client = number / VECTORS_IDS, id = number % VECTORS_IDS;
    uint64_t n = get_map(leat_at(rows, i, 2)), least = known->least[client][id], most = known->most[client][id];

    most = most < vectors.sent[client] ? most : vectors.sent[client];
    if (n + 1 < least || n >= most || vectors_change_at(client, n).id != id)
        sim_fail("vector %u of client %u has attributes of change %llu; only %llu to %llu are possible", id, client,
                 (big)n, (big)least - 1, (big)most - 1);
    if (!is_possible(client, id, vector, least, most))
        sim_fail("vector %u of client %u is not that of a change from %llu to %llu", id, client, (big)least - 1,
                 (big)most - 1);
    return number;
}

/* Each id once, as one of the changes that are possible says. */
static void check_hits(const struct leat_batch *rows, const struct vectors_known *known, bool *seen)
{
    double last = -INFINITY;

    for (uint32_t i = 0; i < rows->rows; i++) {
        uint32_t number = vectors_hit(rows, i, known);
        double distance = leat_at(rows, i, 1).as.f;

        if (seen[number])
            sim_fail("vector %u of client %u is found twice", number % VECTORS_IDS, number / VECTORS_IDS);
        if (distance < last)
            sim_fail("vector %u of client %u is found behind one that is farther", number % VECTORS_IDS,
                     number / VECTORS_IDS);
        last = distance;
        seen[number] = true;
    }
}

/* While a vector takes the place of another, the id may have neither in a search. */
static bool must_have(const struct vectors_known *known, uint32_t client, uint32_t id)
{
    return !known->may_lack[client][id] && !known->changes[client][id];
}

bool vectors_look(const char *query, const struct vectors_known *known, uint32_t *missing)
{
    struct vectors_change c = vectors_change_at(0, fiber_world.steps);
    struct leat_result *r = vectors_ask(query, c.vector, c.size, 10000);
    bool seen[SIM_CLIENTS * VECTORS_IDS] = {false};

    *missing = VECTORS_NONE;
    if (r == NULL)
        return false;
    check_hits(leat_result_rows(r), known, seen);
    leat_result_free(r);
    for (uint32_t client = 0; client < SIM_CLIENTS; client++)
        for (uint32_t id = 0; id < VECTORS_IDS; id++)
            if (!seen[client * VECTORS_IDS + id] && must_have(known, client, id))
                *missing = client * VECTORS_IDS + id;
    return true;
}

/* ---- What must hold at any time ---- */

/* What is processed is from before the query, what was sent may be sent while it lasts. */
static void know(struct vectors_known *known, const struct vectors_promise *before)
{
    for (uint32_t client = 0; client < SIM_CLIENTS; client++) {
        for (uint32_t id = 0; id < VECTORS_IDS; id++) {
            known->least[client][id] = before->processed[client][id];
            known->most[client][id] = SIM_ROWS;
            known->may_lack[client][id] = before->processed[client][id] == 0;
            known->may_have[client][id] = known->changes[client][id] = false;
        }
        for (uint64_t n = 0; n < vectors.sent[client]; n++) {
            struct vectors_change c = vectors_change_at(client, n);

            if (n + 1 < before->processed[client][c.id])
                continue;
            known->changes[client][c.id] = n + 1 > before->processed[client][c.id];
            known->may_lack[client][c.id] = known->may_lack[client][c.id] || !c.there;
            known->may_have[client][c.id] = known->may_have[client][c.id] || c.there;
        }
    }
}

static void check_count(const struct vectors_promise *before, struct vectors_known *known)
{
    int64_t count = vectors_counted(), least = 0, most = 0;

    know(known, before);
    for (uint32_t client = 0; client < SIM_CLIENTS; client++)
        for (uint32_t id = 0; id < VECTORS_IDS; id++) {
            least += !known->may_lack[client][id];
            most += known->may_have[client][id];
        }
    if (count >= 0 && (count < least || count > most))
        sim_fail("%lld vectors are counted; between %lld and %lld are possible", (long long)count, (long long)least,
                 (long long)most);
}

void vectors_check(void)
{
    struct vectors_promise before = vectors;
    struct vectors_known known;
    uint32_t missing = 0;

    sim.result->counts.reads++;
    know(&known, &before);
    for (uint32_t i = 0; i < (vectors_plan.groups == 1 ? 1 : TRIES) && missing != VECTORS_NONE; i++) {
        if (!vectors_look(i % 2 == 0 ? "search" : "exact", &known, &missing))
            return;
        /* What was sent meanwhile may have taken it away. */
        know(&known, &before);
        if (missing != VECTORS_NONE && !must_have(&known, missing / VECTORS_IDS, missing % VECTORS_IDS))
            missing = VECTORS_NONE;
    }
    if (missing != VECTORS_NONE)
        sim_fail("vector %u of client %u was acknowledged as processed, change %llu, and is not found",
                 missing % VECTORS_IDS, missing / VECTORS_IDS,
                 (big)known.least[missing / VECTORS_IDS][missing % VECTORS_IDS] - 1);
    check_count(&before, &known);
}
