/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/ivf_model.h"

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
            struct ivf_census c = model_check(m, 2, 1);
            assert_true(c.dead <= 128 * c.postings);
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
    struct ivf_census c = model_check(m, 2, 1);
    assert_true(c.dead <= c.live + 128);
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
    enum { IDS = 600 };

    (void)state;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        uint32_t groups = 1U << seed % 3;
        struct ivf_model *m = model_of(groups, seed, small, 4, IDS);
        uint64_t chance = seed;
        struct leat_error err = {0, ""};

        random_vectors(m, seed);
        model_change(m, 0, IDS, true);
        model_settle(m, 2000);
        for (uint32_t id = 0; id < IDS; id++)
            m->there[id] = id % 29 == 0;
        for (uint32_t id = 0; id < IDS; id++)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_it_goes_at_once),
        cmocka_unit_test(many_equal_vectors_come_and_go),
        cmocka_unit_test(nearly_equal_vectors_come_to_rest),
        cmocka_unit_test(all_postings_merge_at_once),
    };

    return cmocka_run_group_tests_name("cluster_ivf_upkeep", tests, NULL, NULL);
}
