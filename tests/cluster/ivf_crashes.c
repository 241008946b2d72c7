/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/ivf_model.h"

#include "modules/ivf/compact.h"
#include "modules/ivf/places.h"

/* A group crashes at each point of the turn, and of the background, in which each step of upkeep is taken: of a split,
 * of a posting that is dissolved, of a row that moves, and moves again. The nodes of the module are wrapped: whoever
 * sees the step that is wanted has the group crash at the next point that is wanted. Nothing is lost, nothing is there
 * twice, counts are exact. */

enum { IDS_MOST = 320, DIMENSIONS = 4, BATCH = 40, BATCHES_MOST = 400, EVERY = 2 };

enum step {
    ASKS_SPLIT, /* the turn that asks the background */
    ASKS_DRAIN,
    ASKS_LOOK,
    ASKS_NEAR,
    ASKS_COMPACT,
    ASKS_TIDY,
    RUNS_SPLIT, /* the run itself, and the turn that takes what it found */
    RUNS_DRAIN,
    RUNS_LOOK,
    RUNS_NEAR,
    RUNS_COMPACT,
    RUNS_TIDY,
    OPENS,       /* a split: new postings, and the old one is retired */
    STAYS,       /* it cannot be split */
    TOLD_OPEN,   /* another group is told of the new centroids, */
    TOLD_CLOSED, /* that one takes no more rows, */
    TOLD_GONE,   /* that it is gone */
    DISSOLVES,   /* a posting with few rows is retired */
    CLOSES,      /* the last row is gone, and so is the posting */
    PROPOSED,    /* MOVE: rows are marked as moving, MOVED goes out */
    ARRIVES,     /* MOVED: the copy is there, PLACED goes out */
    IS_PLACED,   /* PLACED: the id names the copy, CONFIRM goes out */
    HOLDS,       /* PLACED of a row that has moved before: CLEAR goes out */
    CLEARS,      /* CLEAR: it goes where it was then, CLEARED goes out */
    PLACES_HELD, /* CLEARED: the id names the copy, CONFIRM goes out */
    CONFIRMS,    /* CONFIRM: the copy is the row, REMOVE goes out */
    REMOVES,     /* REMOVE */
    FOLDS,       /* a tail becomes a chunk */
    GATHERS,     /* rows that came turn by turn are put together */
    COMPACTS,    /* a posting is written anew without its dead rows */
    STEPS
};

static const char *const turn_points[] = {
    "turn.ran", "turn.appended", "turn.committed", "turn.derived", "turn.applied", "turn.released", NULL};
static const char *const ask_points[] = {"turn.ran", "turn.committed", "turn.released", "background.picked", NULL};
static const char *const run_points[] = {"background.ran", "background.taken", NULL};

static const struct {
    const char *name;
    const char *const *points;
} steps[STEPS] = {
    [ASKS_SPLIT] = {"asks for a split", ask_points},
    [ASKS_DRAIN] = {"asks to be drained", ask_points},
    [ASKS_LOOK] = {"asks to be looked at again", ask_points},
    [ASKS_NEAR] = {"asks to look around", ask_points},
    [ASKS_COMPACT] = {"asks to be compacted", ask_points},
    [ASKS_TIDY] = {"asks for that at rest", ask_points},
    [RUNS_SPLIT] = {"split runs", run_points},
    [RUNS_DRAIN] = {"drain runs", run_points},
    [RUNS_LOOK] = {"look runs", run_points},
    [RUNS_NEAR] = {"near runs", run_points},
    [RUNS_COMPACT] = {"compaction runs", run_points},
    [RUNS_TIDY] = {"compaction at rest runs", run_points},
    [OPENS] = {"opens and retires", turn_points},
    [STAYS] = {"stays as it is", turn_points},
    [TOLD_OPEN] = {"is told of a centroid", turn_points},
    [TOLD_CLOSED] = {"is told of a retired one", turn_points},
    [TOLD_GONE] = {"is told of one that is gone", turn_points},
    [DISSOLVES] = {"dissolves", turn_points},
    [CLOSES] = {"closes", turn_points},
    [PROPOSED] = {"marks rows", turn_points},
    [ARRIVES] = {"copies a row", turn_points},
    [IS_PLACED] = {"places it", turn_points},
    [HOLDS] = {"holds one that moved before", turn_points},
    [CLEARS] = {"clears where that was", turn_points},
    [PLACES_HELD] = {"places the one held", turn_points},
    [CONFIRMS] = {"confirms it", turn_points},
    [REMOVES] = {"removes the old one", turn_points},
    [FOLDS] = {"folds a tail", turn_points},
    [GATHERS] = {"gathers a tail", turn_points},
    [COMPACTS] = {"compacts", turn_points},
};

/* ---- Who sees a step ---- */

static struct {
    struct leat_test *test;
    enum step step;
    const char *point; /* NULL: none is wanted */
    uint32_t after;    /* so many times it is passed over */
} wanted;

static void sees(enum step step)
{
    if (wanted.point == NULL || step != wanted.step || wanted.after-- > 0)
        return;
    leat_test_crash_at(wanted.test, wanted.point, 1);
    wanted.point = NULL;
}

struct sizes {
    uint64_t postings, retired, chunks, editions, gathered;
};

static struct sizes sizes_of(struct leat_task *t)
{
    struct leat_value key, field[9];
    struct sizes s = {0};
    struct leat_scan *scan;

    leat_size(t, CHUNKS, LEAT_KEYS(), &s.chunks);
    if (leat_scan_open(t, POSTINGS, LEAT_KEYS(), NULL, &scan) != 0)
        return s;
    for (; leat_scan_next(scan, &key, field, 9) == 0; s.postings++) {
        s.retired += !field[0].as.b;
        s.editions += field[7].as.u;
        s.gathered += field[8].as.u;
    }
    leat_scan_close(scan);
    return s;
}

static uint32_t first_u32(struct leat_value body)
{
    uint32_t value;

    memcpy(&value, body.as.bytes.base, sizeof(value));
    return value;
}

static void see_message(const struct leat_batch *in, uint32_t i)
{
    static const int of[] = {
        [MOVED] = ARRIVES, [REMOVE] = REMOVES, [CONFIRM] = CONFIRMS, [CLEAR] = CLEARS, [FORGET] = TOLD_GONE};
    uint64_t kind = leat_at(in, i, 1).as.u;

    if (kind == CENTROID)
        sees(first_u32(leat_at(in, i, 3)) != 0 ? TOLD_OPEN : TOLD_CLOSED);
    else if (kind == MOVED || kind == REMOVE || kind == CONFIRM || kind == CLEAR || kind == FORGET)
        sees((enum step)of[kind]);
}

static int post(struct leat_task *t, const struct leat_batch *in)
{
    struct sizes before = sizes_of(t);
    int rv = store_rows(t, in);
    struct sizes after = sizes_of(t);

    for (uint32_t i = 0; i < in->rows; i++)
        see_message(in, i);
    if (after.chunks > before.chunks)
        sees(FOLDS);
    if (after.retired > before.retired)
        sees(DISSOLVES);
    if (after.postings < before.postings)
        sees(CLOSES);
    return rv;
}

/* A copy comes, of the id's vector: has the row moved before? */
static void see_placed(struct leat_task *t, struct leat_value body)
{
    struct row_name name;
    struct places places;
    struct place p;

    memcpy(&name, body.as.bytes.base, sizeof(name));
    places_begin(&places, t, leat_state(t));
    if (places_get(&places, name.number, &p) && version_same_vector(p.version, name.version))
        sees(p.before == NOWHERE ? IS_PLACED : HOLDS);
}

static int place(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        if (leat_at(in, i, 1).as.u == PLACED)
            see_placed(t, leat_at(in, i, 3));
        else if (leat_at(in, i, 1).as.u == CLEARED)
            sees(PLACES_HELD);
    }
    return store_placed(t, in);
}

static int move(struct leat_task *t, const struct leat_batch *in)
{
    struct sizes before = sizes_of(t);
    int rv = upkeep_move(t, in);
    struct sizes after = sizes_of(t);

    if (after.editions > before.editions)
        sees(COMPACTS);
    else if (after.gathered > before.gathered)
        sees(GATHERS);
    for (uint32_t i = 0; i < in->rows; i++) {
        size_t size = leat_at(in, i, 3).as.bytes.size;

        if (leat_at(in, i, 1).as.u == OPEN)
            sees(size > 0 ? OPENS : STAYS);
        else if (leat_at(in, i, 1).as.u == MOVE && size > 0)
            sees(PROPOSED);
    }
    return rv;
}

static void see_request(uint64_t kind, enum step split)
{
    if (kind == SPLIT)
        sees(split);
    else if (kind == DRAIN)
        sees(split + 1);
    else if (kind == LOOK)
        sees(split + 2);
    else if (kind == NEAR)
        sees(split + 3);
    else if (kind == COMPACT)
        sees(split + 4);
}

static int request(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        see_request(leat_at(in, i, 1).as.u, ASKS_SPLIT);
    return upkeep_request(t, in);
}

static int upkeep(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        see_request(leat_at(in, i, 0).as.u, RUNS_SPLIT);
    return upkeep_run(t, in);
}

static int rest(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        if (leat_at(in, i, 1).as.u == TIDY)
            sees(ASKS_TIDY);
    return rest_request(t, in);
}

static int tidy(struct leat_task *t, const struct leat_batch *in)
{
    sees(RUNS_TIDY);
    return rest_run(t, in);
}

static struct leat_module watched(struct leat_topology topologies[16], struct leat_node nodes[16])
{
    static const struct {
        leat_run *is, *becomes;
    } run[] = {{store_rows, post},
               {store_placed, place},
               {upkeep_move, move},
               {upkeep_request, request},
               {upkeep_run, upkeep},
               {rest_request, rest},
               {rest_run, tidy}};
    struct leat_module m = module_ivf;

    for (uint32_t i = 0; i == 0 || m.topologies[i - 1].name != NULL; i++)
        topologies[i] = m.topologies[i];
    for (uint32_t i = 0; i == 0 || topologies[0].nodes[i - 1].name != NULL; i++) {
        nodes[i] = topologies[0].nodes[i];
        for (size_t n = 0; n < sizeof(run) / sizeof(*run); n++)
            if (nodes[i].run == run[n].is)
                nodes[i].run = run[n].becomes;
    }
    topologies[0].nodes = nodes;
    m.topologies = topologies;
    return m;
}

/* ---- Crashes ---- */

static const struct leat_option small[] = {{"dims", "4"},   {"metric", "l2"}, {"ids", "u64"},    {"target", "8"},
                                           {"split", "16"}, {"merge", "4"},   {"epsilon", "10"}, {NULL, NULL}};

/* Some batches put most of their ids, others delete most; every third id has one vector, for a while the same, which no
 * posting can part. */
static void change(struct ivf_model *m, uint32_t round, uint64_t *seed)
{
    uint32_t id[BATCH];

    for (uint32_t i = 0; i < BATCH; i++) {
        float *vector = model_vector(m, id[i] = (uint32_t)next_random(seed) % m->ids);

        m->there[id[i]] = next_random(seed) % 10 < (round / 8 % 2 == 0 ? 9U : 2U);
        for (uint32_t d = 0; d < m->dims; d++)
            vector[d] = id[i] % 3 == 0 ? (float)(round / 8 * 7 % 100) : (float)(next_random(seed) % 1000) / 10.0F;
    }
    model_append(m, id, BATCH);
}

/* Go on until it has crashed, and come back. false: it did not in all that time. */
static bool crash_once(struct ivf_model *m, enum step step, const char *point, uint64_t *seed)
{
    struct leat_error err = {0, ""};
    bool crashed = false;

    wanted.test = m->t;
    wanted.step = step;
    wanted.after = (uint32_t)next_random(seed) % EVERY;
    wanted.point = point;
    for (uint32_t round = 0; round < BATCHES_MOST && !crashed; round++) {
        change(m, round, seed);
        int rv = leat_test_run(m->t, &err);
        if (rv == LEAT_ECANCELED) {
            crashed = true;
            come_back(m->t, next_random(seed), &err);
            rv = leat_test_run(m->t, &err);
        }
        must(rv);
    }
    wanted.point = NULL;
    leat_test_crash_at(m->t, NULL, 0);
    return crashed;
}

static void each_step_is_crossed_at_each_point(void **state)
{
    struct leat_topology topologies[16];
    struct leat_node nodes[16];
    struct leat_module module = watched(topologies, nodes);
    uint64_t seed = 4711;

    (void)state;
    for (int step = 0; step < STEPS; step++) {
        uint32_t groups = step % 2 == 0 ? 2 : 4;
        struct way way = {(uint64_t)step + 1, groups, step % 3 == 0 ? 20 : 0, step % 4 == 0, false};
        struct ivf_model *m = model_open(open_way(&module, &way, small), DIMENSIONS, IDS_MOST);

        for (const char *const *point = steps[step].points; *point != NULL; point++) {
            if (!crash_once(m, (enum step)step, *point, &seed))
                fail_msg("no crash at %s of the turn that %s", *point, steps[step].name);
            model_check(m, groups, 1);
            model_check_found(m, m->vector);
        }
        print_message("%s: crossed\n", steps[step].name);
        model_close(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_step_is_crossed_at_each_point),
    };

    return cmocka_run_group_tests_name("cluster_ivf_crashes", tests, NULL, NULL);
}
