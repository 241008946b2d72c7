/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/ivf_model.h"

#include "modules/ivf/target.h"

/* When an index learns how far searches have to go, and what of. */

enum { DIMS = 4, MINUTE_US = 61 * 1000 * 1000 };

static const struct leat_option options[] = {{"dims", "4"},  {"metric", "l2"}, {"ids", "u64"}, {"target", "8"},
                                             {"split", "16"}, {"merge", "4"},   {NULL, NULL}};

/* ---- The module, watched ---- */

static uint32_t learnings, later; /* runs so far, and those at rest */
static bool fails, never_rests;

static int learning(struct leat_task *t, const struct leat_batch *in)
{
    bool learns = leat_at(in, 0, 0).as.u == LEARN;

    learnings += learns;
    if (learns && fails)
        return leat_task_fail(t, LEAT_ENOMEM, "this run fails");
    return upkeep_run(t, in);
}

static int learning_later(struct leat_task *t, const struct leat_batch *in)
{
    bool learns = leat_at(in, 0, 0).as.u == LEARN_LATER;

    later += learns;
    if (learns && fails)
        return leat_task_fail(t, LEAT_ENOMEM, "this run fails");
    return learns && never_rests ? 0 : rest_run(t, in);
}

/* What older versions kept: neither probes nor the reach where one of 512 rows passes, or only not that. */
static size_t kept;

static int keep_less(struct leat_task *t, const struct leat_batch *in)
{
    struct leat_value field[2] = {leat_u64(0), leat_null()};
    int rv = upkeep_move(t, in);

    leat_get(t, LEARNT, LEAT_KEYS(leat_u32(0)), field, 2);
    if (field[1].type != LEAT_NULL)
        leat_put(t, LEARNT, LEAT_KEYS(leat_u32(0)),
                 LEAT_ROW(field[0], leat_bytes(field[1].as.bytes.base, kept)));
    return rv;
}

static struct ivf_model *open_watched(uint32_t ids, leat_run *move)
{
    static struct leat_topology topologies[16];
    static struct leat_node nodes[16];
    static struct leat_module module;
    struct leat_test_config config = {.module = &module, .options = options, .tasks = 8, .groups = 1, .memory = true,
                                      .seed = 1, .clock_us = 1};
    struct leat_error err = {0, ""};
    uint64_t seed = 8;
    struct leat_test *t;

    module = model_module(topologies, nodes);
    model_node(nodes, "upkeep")->run = learning;
    model_node(nodes, "tidy")->run = learning_later;
    model_node(nodes, "move")->run = move;
    learnings = later = 0;
    fails = never_rests = false;
    must(leat_test_open(&config, &t, &err));
    struct ivf_model *m = model_open(t, DIMS, ids);
    for (uint32_t i = 0; i < ids * DIMS; i++)
        m->vector[i] = (float)(next_random(&seed) % 100000) / 1000.0F;
    return m;
}

static void put(struct ivf_model *m, uint32_t first, uint32_t count)
{
    model_change(m, first, count, true);
    model_settle(m, 4000);
}

/* Of how many rows it was learnt; 0: nothing is known. target: may be NULL. */
static uint64_t learnt_from(const struct ivf_model *m, struct target *target)
{
    struct leat_value field[2] = {leat_u64(0), leat_null()};
    struct leat_error err = {0, ""};
    struct leat_view *v;

    must(leat_view_open(leat_test_leat(m->t), "ivf", &v, &err));
    leat_get(leat_view_task(v, 0), LEARNT, LEAT_KEYS(leat_u32(0)), field, 2);
    uint64_t rows = field[1].type != LEAT_NULL ? field[0].as.u : 0;
    if (target != NULL) {
        assert_true(rows > 0);
        assert_int_equal(field[1].as.bytes.size, sizeof(*target));
        memcpy(target, field[1].as.bytes.base, sizeof(*target));
    }
    leat_view_close(v);
    return rows;
}

static uint64_t learnt_of(const struct ivf_model *m)
{
    return learnt_from(m, NULL);
}

/* ---- */

/* As a posting that asked in vain, and no more often. */
static void learning_that_failed_is_asked_for_again(void **state)
{
    enum { VECTORS_PUT = 1000 };
    struct ivf_model *m = open_watched(VECTORS_PUT, upkeep_move);

    (void)state;
    fails = true;
    put(m, 0, VECTORS_PUT);
    fails = false;
    assert_int_equal(learnings, 1);
    assert_int_equal(later, 1);
    for (uint32_t minute = 0; minute < 5; minute++) {
        for (uint32_t id = 0; id < 10; id++)
            put(m, id, 1);
        assert_int_equal(learnings, minute == 0 ? 1 : 2);
        assert_true((learnt_of(m) > 0) == (minute > 0));
        leat_test_advance(m->t, MINUTE_US);
    }
    assert_int_equal(later, 1);
    leat_test_advance(m->t, 24LL * 60 * MINUTE_US);
    put(m, 0, 1);
    assert_int_equal(later, 2);
    model_check(m, 1, 1);
    model_close(m);
}

/* An index that stays as large, but has other vectors, and never rests. */
static void other_vectors_are_learnt_from(void **state)
{
    enum { WINDOW = 1000, STEP = 100 };
    struct ivf_model *m = open_watched(5 * WINDOW, upkeep_move);

    (void)state;
    never_rests = true;
    put(m, 0, WINDOW);
    assert_true(learnt_of(m) > 0);
    uint32_t before = learnings;
    for (uint32_t id = WINDOW; id < m->ids; id += STEP) {
        model_change(m, id - WINDOW, STEP, false);
        put(m, id, STEP);
        /* How many came is known about. */
        uint32_t came = id + STEP - WINDOW;
        assert_in_range(learnings - before, came * 3 / (4 * WINDOW), came * 5 / (4 * WINDOW) + 1);
    }
    model_check(m, 1, 1);
    model_close(m);
}

/* While an index grows, what is learnt is of rows that are still to be moved. */
static void it_is_learnt_once_more_at_rest(void **state)
{
    enum { FIRST = 1000, GROWN = 1150, LITTLE = 1200, HALF = 600 };
    struct ivf_model *m = open_watched(LITTLE, upkeep_move);

    (void)state;
    put(m, 0, FIRST);
    assert_true(learnings > 0 && later == 1);
    assert_int_equal(learnt_of(m), FIRST);
    uint32_t before = learnings;
    put(m, FIRST, GROWN - FIRST);
    assert_int_equal(learnt_of(m), GROWN);
    put(m, GROWN, LITTLE - GROWN);
    assert_int_equal(learnt_of(m), GROWN);
    model_change(m, 0, LITTLE / 3, false);
    model_settle(m, 4000);
    assert_int_equal(learnt_of(m), LITTLE - LITTLE / 3);
    assert_int_equal(later, 3);
    assert_int_equal(learnings, before);
    model_close(m);
}

static uint64_t probes_of(const struct ivf_model *m, float recall)
{
    struct leat_value query = leat_vector(LEAT_F32_VECTOR, m->vector, DIMS), null = leat_null();
    struct leat_error err = {0, ""};
    struct leat_result *r;

    must(leat_query(leat_test_leat(m->t), "ivf", "search",
                    LEAT_ROW(query, leat_u32(10), null, null, null, null, leat_bool(true), leat_f32(recall), null),
                    NULL, &r, &err));
    uint64_t probes = stat_of(leat_result_rows(r), 4, "probes");
    leat_result_free(r);
    return probes;
}

/* Searches stop by what an older version learnt, until it is learnt anew. */
static void what_was_learnt_before_is_of_use(void **state)
{
    static const size_t older[] = {offsetof(struct target, probes), offsetof(struct target, scarce)};
    enum { VECTORS_PUT = 1000 };

    (void)state;
    for (int i = 0; i < 2; i++) {
        kept = older[i];
        struct ivf_model *m = open_watched(VECTORS_PUT, keep_less);
        put(m, 0, VECTORS_PUT);
        uint64_t some = probes_of(m, 0.7F);
        assert_true(some > 0 && some * 4 < probes_of(m, 1));
        uint32_t before = learnings;
        put(m, 0, 1);
        assert_int_equal(learnings, before + 1);
        model_close(m);
    }
}

/* As few rows as it takes are enough, whatever chance draws; where one of 512 passes is measured as soon as there are
 * ten of those, and guessed before. */
static void few_rows_are_enough(void **state)
{
    enum { LEAST = 704, MOST = 6000 };
    struct ivf_model *m = open_watched(MOST, upkeep_move);

    (void)state;
    put(m, 0, LEAST - 1);
    assert_int_equal(learnt_of(m), 0);
    for (uint32_t rows = LEAST; rows < LEAST * 4 / 3; rows += 20) {
        put(m, rows - 20 < LEAST ? LEAST - 1 : rows - 20, 21);
        assert_true(learnt_of(m) > 0);
    }
    for (uint32_t rows = LEAST * 4 / 3; rows <= MOST; rows = rows < MOST ? MOST : MOST + 1) {
        put(m, 0, rows);
        struct target t;
        uint32_t guessed = 0;

        learnt_from(m, &t);
        for (int i = 0; i < TARGET_POINTS; i++)
            guessed += fabsf(t.scarce[i] - t.sparse[i] - fmaxf(t.sparse[i] - t.reach[i], 0) / 2) < 1e-6F;
        assert_true(rows < MOST ? guessed == TARGET_POINTS : guessed < 3);
    }
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learning_that_failed_is_asked_for_again),
        cmocka_unit_test(other_vectors_are_learnt_from),
        cmocka_unit_test(it_is_learnt_once_more_at_rest),
        cmocka_unit_test(what_was_learnt_before_is_of_use),
        cmocka_unit_test(few_rows_are_enough),
    };

    return cmocka_run_group_tests_name("cluster_ivf_target", tests, NULL, NULL);
}
