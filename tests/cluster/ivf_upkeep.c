/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/ivf_model.h"

#include "engine/derive.h"
#include "engine/node.h"

#include "modules/ivf/compact.h"
#include "modules/vector/distance.h"

#include <time.h>

/* Upkeep of ivf comes to rest, whatever it is given, and loses nothing on the way. */

static struct ivf_model *model_of(uint32_t groups, uint64_t seed, const struct leat_option *options, uint32_t dims,
                                  uint32_t ids)
{
    struct way way = {seed, groups, 0, seed % 2 == 1, true};

    return model_open(open_way(&module_ivf, &way, options), dims, ids);
}

static void random_vectors(struct ivf_model *m, uint64_t seed)
{
    for (uint32_t i = 0; i < m->ids * m->dims; i++)
        m->vector[i] = (float)(next_random(&seed) % 100000) / 1000.0F;
}

static const struct leat_option plain[] = {{"dims", "12"}, {"metric", "l2"}, {"ids", "u64"}, {NULL, NULL}};
static const struct leat_option unsplit[] = {{"dims", "12"},   {"metric", "l2"},  {"ids", "u64"},
                                             {"target", "4000"}, {"split", "9000"}, {NULL, NULL}};
static const struct leat_option cosine[] = {{"dims", "12"}, {"metric", "cosine"}, {"ids", "u64"}, {NULL, NULL}};
static const struct leat_option small[] = {{"dims", "4"},  {"metric", "l2"}, {"ids", "u64"}, {"target", "8"},
                                           {"split", "16"}, {"merge", "4"},   {NULL, NULL}};

static void all_of_it_goes_at_once(void **state)
{
    (void)state;
    for (uint32_t ids = 100; ids <= 900; ids += 200) {
        struct ivf_model *m = model_of(2, ids, plain, 12, ids);

        random_vectors(m, ids);
        for (int round = 0; round < 3; round++) {
            model_change(m, 0, ids, true);
            model_settle(m, 400);
            model_check_found(m, m->vector);
            model_check(m, 2, 1);
            model_change(m, 0, ids, false);
            model_settle(m, 400);
            model_check_found(m, m->vector);
            model_check(m, 2, 1);
        }
        model_close(m);
    }
}

/* Equal rows cannot be split; when most of them go, their space comes back all the same. */
static void many_equal_vectors_come_and_go(void **state)
{
    enum { EQUAL = 9000, OTHERS = 700 };
    struct ivf_model *m = model_of(2, 2, plain, 12, EQUAL + OTHERS);

    (void)state;
    random_vectors(m, 5);
    for (uint32_t id = 1; id < EQUAL; id++)
        memcpy(model_vector(m, id), m->vector, 12 * sizeof(float));
    model_change(m, 0, EQUAL, true);
    model_settle(m, 100);
    assert_int_equal(model_check(m, 2, 1).postings, 1);
    model_change(m, 100, 8000, false);
    model_settle(m, 200);
    model_check(m, 2, 1);
    model_change(m, EQUAL, OTHERS, true);
    model_settle(m, 400);
    model_change(m, 100, 5000, true);
    model_settle(m, 400);
    model_check(m, 2, 1);
    model_check_found(m, m->vector);
    model_close(m);
}

/* Of one direction in many lengths: for cosine they are equal but for rounding. */
static void nearly_equal_vectors_come_to_rest(void **state)
{
    enum { ROWS = 5000 };
    struct ivf_model *m = model_of(2, 4, cosine, 12, ROWS);

    (void)state;
    random_vectors(m, 6);
    for (uint32_t id = 1; id < ROWS; id++)
        for (uint32_t i = 0; i < 12; i++)
            model_vector(m, id)[i] = m->vector[i] * (1.0F + (float)id / 777.0F);
    model_change(m, 0, ROWS, true);
    model_settle(m, 1000);
    model_check(m, 2, 1);
    model_check_found(m, m->vector);
    model_close(m);
}

/* All postings become too small at the same time, while rows still come: some must stay to take the others' rows. */
static void all_postings_merge_at_once(void **state)
{
    enum { VECTORS_PUT = 600 };

    (void)state;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        uint32_t groups = 1U << seed % 3;
        struct ivf_model *m = model_of(groups, seed, small, 4, VECTORS_PUT);
        uint64_t chance = seed;
        struct leat_error err = {0, ""};

        random_vectors(m, seed);
        model_change(m, 0, VECTORS_PUT, true);
        model_settle(m, 2000);
        for (uint32_t id = 0; id < VECTORS_PUT; id++)
            m->there[id] = id % 29 == 0;
        for (uint32_t id = 0; id < VECTORS_PUT; id++)
            if (id % 29 != 0)
                model_append(m, &id, 1);
        for (int i = 0; i < 60; i++) {
            uint32_t id = (uint32_t)next_random(&chance) % 29 * 2;

            model_vector(m, id)[0] += 1;
            m->there[id] = true;
            model_append(m, &id, 1);
            for (uint64_t step = next_random(&chance) % 12; step > 0; step--)
                assert_true(leat_test_step(m->t, &err) >= 0);
        }
        model_settle(m, 3000);
        model_check(m, groups, 1);
        model_check_found(m, m->vector);
        model_close(m);
    }
}

/* While its posting splits and it moves, a row that was there is there: at each moment in one place or in two. */
static void rows_on_their_way_are_there(void **state)
{
    enum { VECTORS_PUT = 300 };

    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct way way = {seed, 1, 5, seed % 2 == 1, true};
        struct ivf_model *m = model_open(open_way(&module_ivf, &way, small), 4, VECTORS_PUT);
        struct leat_error err = {0, ""};
        uint32_t found = 0, moments = 0;

        random_vectors(m, seed);
        model_change(m, 0, VECTORS_PUT, true);
        for (uint32_t idle = 0; idle < 100; moments++) {
            int rv = leat_test_step(m->t, &err);
            struct leat_result *r = model_ask(m, "exact", m->vector, 10000, leat_null());

            assert_true(rv >= 0);
            idle = rv > 0 ? 0 : idle + 1;
            assert_true(leat_result_rows(r)->rows >= found);
            found = leat_result_rows(r)->rows;
            leat_result_free(r);
        }
        assert_int_equal(found, VECTORS_PUT);
        assert_true(moments > 150);
        assert_true(model_check(m, 1, 1).postings > 10);
        model_close(m);
    }
}

static uint64_t mix(uint64_t sum, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
    return sum;
}

static uint64_t sum_of_row(const struct layout *l, const struct index_posting *p, uint32_t row, uint64_t sum)
{
    const struct piece_layout *layout;
    uint32_t first, at;
    const uint8_t *piece = index_piece(l, p, row, &layout, &first);

    at = row - first;
    sum = mix(sum, &(uint64_t){index_number(p, row)}, 8);
    sum = mix(sum, &index_part(p, row)->norms[row % INDEX_PART_ROWS], sizeof(float));
    sum = mix(sum, &(uint64_t){layout_number(layout, piece, at)}, 8);
    sum = mix(sum, &(uint32_t){layout_version(layout, piece, at)}, 4);
    sum = mix(sum, &(float){layout_norm(layout, piece, at)}, 4);
    return mix(sum, layout_vector(l, layout, piece, at), l->vector);
}

/* Of all that a search may read of a version. */
static uint64_t sum_of(const struct index *x, const struct layout *l)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);

    for (uint32_t i = 0; i < index_count(x); i++) {
        const struct index_posting *p = index_at(x, i);
        uint32_t blocks = p != NULL ? (p->rows + BLOCK - 1) / BLOCK : 0;

        for (uint32_t row = 0; p != NULL && row < p->rows; row++)
            sum = sum_of_row(l, p, row, sum);
        for (uint32_t block = 0; block < blocks; block++)
            sum = mix(sum, index_codes(l, p, block), l->block);
        if (blocks > 0) {
            sum = mix(sum, p->live_mask, blocks * sizeof(*p->live_mask));
            sum = mix(sum, p->moving_mask, blocks * sizeof(*p->moving_mask));
        }
    }
    return sum;
}

/* Versions share what did not change, and rooms that rows come to: who holds one sees what it had, whatever comes. */
static void a_version_stays_as_it_is(void **state)
{
    enum { VECTORS_PUT = 1500, ROUNDS = 60, AT_A_TIME = 25, EVERY = 7, HELD = ROUNDS / EVERY + 1 };
    static const struct attributes none;
    struct ivf_model *m = model_of(1, 1, cosine, 12, VECTORS_PUT);
    struct group *g = leat_test_leat(m->t)->module[0]->group[0];
    struct derive_hold hold[HELD];
    struct leat_error err = {0, ""};
    uint64_t sum[HELD], seed = 3;
    struct layout l;

    (void)state;
    layout_init(&l, LEAT_F32_VECTOR, METRIC_COSINE, 12, &none);
    random_vectors(m, 9);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        model_change(m, round * AT_A_TIME, AT_A_TIME, true);
        if (round % 3 == 2)
            model_change(m, (uint32_t)next_random(&seed) % (round * AT_A_TIME), AT_A_TIME / 2, round % 2 == 0);
        for (uint64_t step = next_random(&seed) % 40; step > 0; step--)
            assert_true(leat_test_step(m->t, &err) >= 0);
        if (round % EVERY != 0)
            continue;
        must(group_take(g, &hold[round / EVERY], &err));
        sum[round / EVERY] = sum_of(hold[round / EVERY].state, &l);
    }
    model_settle(m, 2000);
    assert_true(model_check(m, 1, 1).postings > 4);
    for (uint32_t i = 0; i < HELD; i++) {
        if (sum_of(hold[i].state, &l) != sum[i])
            fail_msg("version %u is not what it was", i);
        assert_true(i == 0 || sum[i] != sum[i - 1]);
        group_give(g, &hold[i]);
    }
    model_close(m);
}

/* Else a posting that got rows would cost as much as it has, turn after turn, until it is split. */
static void rows_that_come_change_the_last_part_alone(void **state)
{
    enum { ROWS = 3 * INDEX_PART_ROWS + 100, MORE = 40, ALL = ROWS + 2 * MORE, PARTS = ALL / INDEX_PART_ROWS };
    struct ivf_model *m = model_of(1, 1, unsplit, 12, ALL);
    struct group *g = leat_test_leat(m->t)->module[0]->group[0];
    struct derive_hold before, after;
    struct leat_error err = {0, ""};

    (void)state;
    random_vectors(m, 17);
    model_change(m, 0, ROWS, true);
    model_settle(m, 100);
    for (uint32_t have = ROWS; have < ALL; have += MORE) {
        must(group_take(g, &before, &err));
        model_change(m, have, MORE, true);
        model_settle(m, 100);
        must(group_take(g, &after, &err));
        const struct index_posting *old = index_posting(before.state, 0), *new = index_posting(after.state, 0);
        assert_int_equal(new->rows, have + MORE);
        for (uint32_t i = 0; i < PARTS; i++)
            assert_ptr_equal(new->part[i].codes, old->part[i].codes);
        assert_ptr_not_equal(new->part[PARTS].codes, old->part[PARTS].codes);
        group_give(g, &before);
        group_give(g, &after);
    }
    model_check_found(m, m->vector);
    model_close(m);
}

/* Steps of all groups but one. */
static void step_without(struct ivf_model *m, uint32_t groups, uint32_t without, uint32_t steps, uint64_t *seed)
{
    struct leat_error err = {0, ""};

    while (steps-- > 0) {
        uint32_t group = (uint32_t)next_random(seed) % groups;

        if (group != without)
            assert_true(group_step(leat_test_leat(m->t)->module[0]->group[group], &err) >= 0);
    }
}

/* Which centroids a group knows. */
static uint64_t known_to(const struct ivf_model *m, uint32_t group)
{
    struct group *g = leat_test_leat(m->t)->module[0]->group[group];
    struct leat_error err = {0, ""};
    struct derive_hold hold;

    must(group_take(g, &hold, &err));
    uint64_t known = index_known(hold.state);
    group_give(g, &hold);
    return known;
}

/* A group that knows other centroids than the origin finds the postings of each query itself. */
static void searches_anew_take_the_room_of_one(void **state)
{
    enum { VECTORS_PUT = 1200, MANY = 200, MEMORY = 16 << 20 };
    struct ivf_model *m = model_of(2, 5, small, 4, VECTORS_PUT);
    struct leat_query how = {.memory_max = MEMORY};
    struct leat_value null = leat_null();
    struct leat_error err = {0, ""};
    struct leat_result *result;
    uint64_t chance = 5;

    (void)state;
    random_vectors(m, 5);
    model_change(m, 0, VECTORS_PUT / 4, true);
    model_settle(m, 4000);
    model_change(m, 0, VECTORS_PUT, true);
    step_without(m, 2, 1, 400, &chance);
    assert_true(known_to(m, 0) != known_to(m, 1));
    must(leat_query(leat_test_leat(m->t), "ivf", "search_many",
                    LEAT_ROW(leat_bytes(m->vector, MANY * m->dims * sizeof(float)), leat_u32(1), leat_u32(65536), null,
                             null, null, null, null, null),
                    &how, &result, &err));
    assert_int_equal(leat_result_rows(result)->rows, MANY);
    leat_result_free(result);
    model_settle(m, 8000);
    model_close(m);
}

/* A group that comes to nothing for a while hears of postings from two others: from the one that opened them, and from
 * their own, where they may be gone again. What it hears first may be what happened last. */
static void a_group_hears_of_postings_that_are_gone(void **state)
{
    enum { VECTORS_PUT = 400, GROUPS = 4, ROUNDS = 12 };

    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct ivf_model *m = model_of(GROUPS, seed, small, 4, VECTORS_PUT);
        uint64_t chance = seed;

        random_vectors(m, seed);
        model_change(m, 0, VECTORS_PUT / 4, true);
        model_settle(m, 2000);
        for (uint32_t round = 0; round < ROUNDS; round++) {
            model_change(m, 0, VECTORS_PUT, round % 2 == 0);
            step_without(m, GROUPS, (uint32_t)seed % GROUPS, 400, &chance);
        }
        model_change(m, 0, VECTORS_PUT, true);
        model_settle(m, 4000);
        model_check(m, GROUPS, 1);
        model_check_found(m, m->vector);
        model_close(m);
    }
}

/* ---- The background fails ---- */

static int fails; /* of so many runs one does; 0: none */

static int upkeep_may_fail(struct leat_task *t, const struct leat_batch *in)
{
    if (fails > 0 && leat_random(t) % (uint64_t)fails == 0)
        return leat_task_fail(t, LEAT_ENOMEM, "this run fails");
    return upkeep_run(t, in);
}

static int64_t ahead_s;
int __real_clock_gettime(clockid_t clock, struct timespec *out);
int __wrap_clock_gettime(clockid_t clock, struct timespec *out);

/* The linker leads calls of clock_gettime here. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
    int rv = __real_clock_gettime(clock, out);

    out->tv_sec += clock == CLOCK_REALTIME ? ahead_s : 0;
    return rv;
}

/* Requests that failed are dead letters; after a while their postings ask once more, and
 * all is as if nothing had failed. */
static void who_asked_in_vain_asks_again(void **state)
{
    enum { VECTORS_PUT = 400 };
    struct leat_topology topologies[16];
    struct leat_node nodes[16];
    struct leat_module module = model_module(topologies, nodes);

    (void)state;
    model_node(nodes, "upkeep")->run = upkeep_may_fail;
    for (fails = 1; fails <= 3; fails++) {
        struct ivf_model *m = model_open(open_way(&module, &ways[1], small), 4, VECTORS_PUT);
        int often = fails;

        random_vectors(m, 8);
        model_change(m, 0, VECTORS_PUT, true);
        model_settle(m, 2000);
        model_check_found(m, m->vector);
        assert_true(fails > 1 || model_census(m, 1).asked > 0);
        fails = 0;
        /* Turns look after one posting by chance each. */
        for (uint32_t round = 0; round < 400; round++) {
            uint32_t id = round % 40;

            ahead_s += 100;
            model_vector(m, id)[0] += 1;
            model_append(m, &id, 1);
            model_settle(m, 1000);
            if (model_census(m, 1).asked == 0 && round > 200)
                break;
        }
        model_settle(m, 2000);
        struct ivf_census c = model_check(m, 2, 1);
        assert_true(c.postings > 20 && c.largest <= 16);
        model_check_found(m, m->vector);
        model_close(m);
        fails = often;
    }
    fails = 0;
}

/* ---- Numbers of postings run out ---- */

/* There are no more numbers for postings of other groups, or of the only one. */
static int store_rows_late(struct leat_task *t, const struct leat_batch *in)
{
    uint32_t groups = leat_group_count(t), own = leat_task_number(t);

    for (uint32_t group = 0; own < groups && group < groups; group++)
        if (groups == 1 || group != own)
            leat_put(t, COUNTERS, LEAT_KEYS(leat_u32(NEXT_POSTINGS + group)), LEAT_ROW(leat_u64(UINT32_MAX)));
    return store_rows(t, in);
}

/* What would need numbers stays as it is, and is found. */
static void without_numbers_nothing_is_split(void **state)
{
    enum { VECTORS_PUT = 400 };
    struct leat_topology topologies[16];
    struct leat_node nodes[16];
    struct leat_module module = model_module(topologies, nodes);

    (void)state;
    model_node(nodes, "post")->run = store_rows_late;
    for (int w = 0; w < 3; w++) {
        struct ivf_model *m = model_open(open_way(&module, &ways[w], small), 4, VECTORS_PUT);

        random_vectors(m, 8);
        for (uint32_t id = 0; id < VECTORS_PUT; id += 50) {
            model_change(m, id, 50, true);
            model_settle(m, 20);
        }
        model_check_found(m, m->vector);
        assert_in_range(model_stat(m, "dead_letters_total"), 1, 6);
        model_change(m, 0, VECTORS_PUT - 10, false);
        model_settle(m, 20);
        model_check_found(m, m->vector);
        struct ivf_census c = model_census(m, 1);
        assert_true(c.postings == 1 && c.live == 10);
        assert_int_equal(model_stat(m, "aborts_total"), 0);
        model_close(m);
    }
}

static void no_number_is_given_twice(void **state)
{
    (void)state;
    for (uint32_t groups = 1; groups <= 4; groups *= 2) {
        bool given[512] = {true};

        for (uint32_t n = 1; n <= 20; n++)
            for (uint32_t i = 0; i < groups * groups; i++) {
                uint32_t number = posting_number(n, i / groups, i % groups, groups);

                assert_true(number < 512 && !given[number] && number % groups == i % groups);
                given[number] = true;
            }
    }
    assert_int_equal(posting_number(UINT32_MAX - 1, 0, 0, 1), UINT32_MAX - 1);
    assert_int_equal(posting_number(UINT32_MAX, 0, 0, 1), NOWHERE);
    assert_int_equal(posting_number(65535, 255, 254, 256), UINT32_MAX - 1);
    assert_int_equal(posting_number(65535, 255, 255, 256), NOWHERE);
    assert_int_equal(posting_number(65536, 0, 0, 256), NOWHERE);
    assert_int_equal(posting_number((uint64_t)1 << 32, 7, 7, 8), NOWHERE);
}

/* Rows that differ by less than centroids that are stored as halves do: k-means tells them apart, and where all of them
 * then belong to one of its centres, splitting them would not end. */
static void centres_that_round_to_one_do_not_part(void **state)
{
    enum { WIDE = 64, COUNT = 3000 };
    static const struct leat_option halves[] = {{"dims", "64"}, {"type", "f16"}, {"metric", "cosine"}, {"ids", "u64"},
                                                {NULL, NULL}};

    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct way way = {seed, 2, 0, false, true};
        struct ivf_model *m = model_open(open_way(&module_ivf, &way, halves), WIDE, COUNT);
        struct leat_error err = {0, ""};
        uint64_t dice = seed;

        for (uint32_t id = 0; id < COUNT; id++) {
            float row[WIDE];
            uint16_t stored[WIDE];

            for (uint32_t i = 0; i < WIDE; i++)
                row[i] = 1024.0F + (next_random(&dice) % 100 < 3);
            vector_halves(row, WIDE, stored);
            must(leat_test_append(m->t, "vectors",
                                  LEAT_ROW(leat_u64(id), leat_vector(LEAT_F16_VECTOR, stored, WIDE), leat_null()),
                                  &err));
        }
        model_settle(m, 400);
        assert_int_equal(model_counted(m), COUNT);
        model_close(m);
    }
}

/* ---- Compaction ---- */

static _Atomic uint32_t named[2]; /* postings to be compacted, by enum compact_waste */

static int upkeep_move_counted(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        if (leat_at(in, i, 1).as.u == COMPACT) {
            uint32_t waste;

            memcpy(&waste, leat_at(in, i, 3).as.bytes.base, sizeof(waste));
            named[waste]++;
        }
    return upkeep_move(t, in);
}

static void replace_some(struct leat_depot *d, uint32_t ids, uint32_t count, uint64_t *seed)
{
    struct leat_append how = {.ack = LEAT_PROCESSED, .timeout_ms = 30000};
    struct leat_error err = {0, ""};
    struct leat_rows *rows;

    must(leat_rows_new(d, &rows));
    for (uint32_t i = 0; i < count; i++) {
        uint64_t id = count == ids ? i : next_random(seed) % ids;
        float vector[4];

        for (int j = 0; j < 4; j++)
            vector[j] = (float)(next_random(seed) % 100000) / 1000.0F;
        must(leat_rows_add(rows, LEAT_ROW(leat_u64(id), leat_vector(LEAT_F32_VECTOR, vector, 4), leat_null()), &err));
    }
    must(leat_append(d, rows, &how, NULL, &err));
    leat_rows_free(rows);
}

/* Beside turns on their threads: as long as vectors are replaced, a posting is written anew for many that died or came;
 * when that has an end, all that are a little wasteful are, too. */
static void what_is_a_little_wasteful_waits(void **state)
{
    enum { VECTORS_PUT = 3000, ROUNDS = 300, EACH = 60 };
    const struct leat_option roomy[] = {{"dims", "4"},    {"metric", "l2"}, {"ids", "u64"}, {"target", "80"},
                                        {"split", "160"}, {"merge", "4"},   {NULL, NULL}};
    struct leat_topology topologies[16];
    struct leat_node nodes[16];
    struct leat_module module = model_module(topologies, nodes);
    struct leat_config config = {.create = true, .memory = true};
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat *l;
    uint64_t seed = 11;

    (void)state;
    model_node(nodes, "move")->run = upkeep_move_counted;
    must(leat_open(NULL, &config, &l, &err));
    must(leat_launch(l, &module, &(struct leat_launch){.options = roomy, .tasks = 8, .groups = 2}, &err));
    must(leat_depot_find(l, "ivf", "vectors", &d, &err));
    replace_some(d, VECTORS_PUT, VECTORS_PUT, &seed);
    must(leat_wait_idle(l, 60000, &err));
    named[COMPACT_MUCH] = named[COMPACT_LITTLE] = 0;
    for (uint32_t round = 0; round < ROUNDS; round++)
        replace_some(d, VECTORS_PUT, EACH, &seed);
    uint32_t much = named[COMPACT_MUCH], little = named[COMPACT_LITTLE];
    print_message("%u replaced: %u postings written anew, %u a little wasteful\n", ROUNDS * EACH, much, little);
    assert_true(much > 0 && much * 8 <= ROUNDS * EACH * 2);
    assert_true(little * 8 <= much); /* there may be rest for want of a processor */
    must(leat_wait_idle(l, 60000, &err));
    struct ivf_census c = census_of(l, 1);
    assert_int_equal(c.live, VECTORS_PUT);
    assert_true(c.dead <= c.live / 48 + c.postings);
    leat_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(centres_that_round_to_one_do_not_part),
        cmocka_unit_test(what_is_a_little_wasteful_waits),
        cmocka_unit_test(all_of_it_goes_at_once),
        cmocka_unit_test(many_equal_vectors_come_and_go),
        cmocka_unit_test(nearly_equal_vectors_come_to_rest),
        cmocka_unit_test(all_postings_merge_at_once),
        cmocka_unit_test(rows_on_their_way_are_there),
        cmocka_unit_test(a_version_stays_as_it_is),
        cmocka_unit_test(rows_that_come_change_the_last_part_alone),
        cmocka_unit_test(searches_anew_take_the_room_of_one),
        cmocka_unit_test(a_group_hears_of_postings_that_are_gone),
        cmocka_unit_test(who_asked_in_vain_asks_again),
        cmocka_unit_test(no_number_is_given_twice),
        cmocka_unit_test(without_numbers_nothing_is_split),
    };

    return cmocka_run_group_tests_name("cluster_ivf_upkeep", tests, NULL, NULL);
}
