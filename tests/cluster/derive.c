/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/mirror.h"

#include "engine/derive.h"
#include "engine/node.h"

#include <pthread.h>
#include <stdatomic.h>

/* What a module derives from its PStates is at every moment what the PStates of the same snapshot say: whenever it is
 * asked, from however many threads, and after a crash at each point. */

enum { ROUNDS = 40, ROUNDS_OF_CRASHES = 8, CRASHES_WANTED = 3, THREADS = 6, LOAD_ROUNDS = 150, VIEW_ROUNDS = 8,
       PATIENCE_S = 60 };

static uint64_t seed;

/* Some rows, and what there is after them. */
static void append_some(struct leat_test *t, bool *there)
{
    struct leat_error err = {0, ""};

    for (uint64_t rows = 1 + next_random(&seed) % 12; rows > 0; rows--) {
        int64_t key = (int64_t)(next_random(&seed) % MIRROR_KEYS), number = (int64_t)(next_random(&seed) % 1000) - 200;

        must(leat_test_append(t, "rows", LEAT_ROW(leat_i64(key), leat_i64(number)), &err));
        there[key] = number >= 0;
    }
}

static int64_t count(const bool *there)
{
    int64_t sum = 0;

    for (int i = 0; i < MIRROR_KEYS; i++)
        sum += there[i];
    return sum;
}

/* Every version that was made is freed, in order (mirror_drop looks). */
static void nothing_is_left(uint32_t groups)
{
    for (uint32_t i = 0; i < groups; i++)
        assert_int_equal(mirror_calls[i].dropped, mirror_calls[i].made);
}

static void follows_the_pstates(void **state)
{
    (void)state;
    for (int w = 0; w < WAYS; w++) {
        bool there[MIRROR_KEYS] = {false};
        struct leat_error err = {0, ""};

        seed = ways[w].seed;
        memset(mirror_calls, 0, sizeof(mirror_calls));
        struct leat_test *t = open_way(&mirror_module, &ways[w], NULL);
        assert_int_equal(mirror_ask(leat_test_leat(t)), 0);
        for (int i = 0; i < ROUNDS; i++) {
            append_some(t, there);
            while (next_random(&seed) % 4 != 0)
                assert_true(leat_test_step(t, &err) >= 0);
            mirror_ask(leat_test_leat(t));
            must(leat_test_run(t, &err));
            assert_int_equal(mirror_ask(leat_test_leat(t)), count(there));
            if (!ways[w].memory && i % 16 == 15) {
                must(leat_test_restart(t, &err));
                assert_int_equal(mirror_ask(leat_test_leat(t)), count(there));
            }
        }
        leat_test_close(t);
        nothing_is_left(ways[w].groups);
    }
}

/* ---- Crashes ---- */

/* The group that crashed shows the last version that was published with its snapshot; then all come back. */
static int ask_and_come_back(struct leat_test *t, struct leat_error *err)
{
    if (leat_test_leat(t) != NULL)
        mirror_ask(leat_test_leat(t));
    return 1 + come_back(t, next_random(&seed), err);
}

static int crash_at(const char *point, uint32_t after)
{
    struct way way = {after * 17, 4, after % 2 * 3, after % 3 == 0, false};
    bool there[MIRROR_KEYS] = {false};
    struct leat_error err = {0, ""};
    int crashes = 0;

    seed = after;
    memset(mirror_calls, 0, sizeof(mirror_calls));
    struct leat_test *t = open_way(&mirror_module, &way, NULL);
    for (int i = 0; i < ROUNDS_OF_CRASHES; i++) {
        leat_test_crash_at(t, point, after);
        append_some(t, there);
        for (int steps = 0; steps < 12; steps++)
            if (leat_test_step(t, &err) == LEAT_ECANCELED)
                crashes += ask_and_come_back(t, &err);
        while (leat_test_run(t, &err) == LEAT_ECANCELED)
            crashes += ask_and_come_back(t, &err);
        assert_int_equal(mirror_ask(leat_test_leat(t)), count(there));
        if (i % 4 == 3)
            crashes += come_back(t, 1, &err);
    }
    leat_test_crash_at(t, NULL, 0);
    crashes += come_back(t, 1, &err);
    must(leat_test_run(t, &err));
    assert_int_equal(mirror_ask(leat_test_leat(t)), count(there));
    leat_test_close(t);
    nothing_is_left(way.groups);
    return crashes;
}

static void survives_every_point(void **state)
{
    (void)state;
    for (const char *const *point = leat_test_points(); *point != NULL; point++) {
        bool passed = strncmp(*point, "background.", 11) != 0; /* this module has no such nodes */
        int crashes = 0;

        for (uint32_t after = 1; after <= 3; after++)
            crashes += crash_at(*point, after);
        print_message("%s: %d crashes\n", *point, crashes);
        assert_true(crashes >= CRASHES_WANTED || !passed);
    }
}

/* ---- Threads ---- */

struct load {
    struct leat *leat;
    atomic_bool stop;
    atomic_uint asked, wrong, failed;
};

static void *ask_on(void *context)
{
    struct load *load = context;

    while (!atomic_load(&load->stop)) {
        struct leat_result *r;
        int64_t wrong = 0;

        if (leat_query(load->leat, "mirror", "compare", LEAT_ROW(leat_i64(0)), NULL, &r, NULL) != 0) {
            atomic_fetch_add(&load->failed, 1);
            continue;
        }
        for (uint32_t i = 0; i < leat_result_rows(r)->rows; i++)
            wrong += leat_at(leat_result_rows(r), i, 0).as.i;
        atomic_fetch_add(&load->asked, 1);
        atomic_fetch_add(&load->wrong, (unsigned)wrong);
        leat_result_free(r);
    }
    return NULL;
}

static void append_rows(struct leat_depot *d, bool *there)
{
    struct leat_append how = {.ack = LEAT_PROCESSED};
    struct leat_error err = {0, ""};
    struct leat_rows *rows;

    must(leat_rows_new(d, &rows));
    for (uint64_t n = 1 + next_random(&seed) % 8; n > 0; n--) {
        int64_t key = (int64_t)(next_random(&seed) % MIRROR_KEYS), number = (int64_t)(next_random(&seed) % 1000) - 200;

        must(leat_rows_add(rows, LEAT_ROW(leat_i64(key), leat_i64(number)), &err));
        there[key] = number >= 0;
    }
    must(leat_append(d, rows, &how, NULL, &err));
    leat_rows_free(rows);
}

/* More threads than readers that are made ready at first, while turns follow one
 * another. What was acknowledged is seen. */
static void holds_under_load(void **state)
{
    struct leat_config config = {.memory = true, .create = true};
    bool there[MIRROR_KEYS] = {false};
    struct leat_error err = {0, ""};
    struct load load = {0};
    pthread_t thread[THREADS];
    struct leat_depot *d;

    (void)state;
    seed = 5;
    memset(mirror_calls, 0, sizeof(mirror_calls));
    must(leat_open("derive-memory", &config, &load.leat, &err));
    must(leat_launch(load.leat, &mirror_module, &(struct leat_launch){.tasks = 8, .groups = 2}, &err));
    must(leat_depot_find(load.leat, "mirror", "rows", &d, &err));
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, ask_on, &load), 0);
    for (int i = 0; i < LOAD_ROUNDS || atomic_load(&load.asked) < LOAD_ROUNDS; i++) {
        append_rows(d, there);
        assert_int_equal(mirror_ask(load.leat), count(there));
    }
    atomic_store(&load.stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    print_message("%u queries, %u versions of group 0\n", atomic_load(&load.asked), (unsigned)mirror_calls[0].made);
    assert_int_equal(atomic_load(&load.wrong), 0);
    assert_int_equal(atomic_load(&load.failed), 0);
    leat_close(load.leat);
    nothing_is_left(2);
}

/* ---- Views ---- */

/* One that is too old lets go of its version, though nobody touches it. */
static void an_old_view_holds_no_version(void **state)
{
    struct leat_config config = {.memory = true, .create = true, .view_limit_ms = 20};
    int64_t end = clock_real()->monotonic_ns(clock_real()) + PATIENCE_S * INT64_C(1000000000);
    bool there[MIRROR_KEYS] = {false};
    struct leat_value key = leat_i64(1), value;
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_view *v;
    struct leat *l;

    (void)state;
    memset(mirror_calls, 0, sizeof(mirror_calls));
    must(leat_open("derive-view", &config, &l, &err));
    must(leat_launch(l, &mirror_module, &(struct leat_launch){.tasks = 1, .groups = 1}, &err));
    must(leat_depot_find(l, "mirror", "rows", &d, &err));
    append_rows(d, there);
    must(leat_view_open(l, "mirror", &v, &err));
    assert_int_equal(leat_get(leat_view_owner(v, &key), NUMBERS, LEAT_KEYS(key), &value, 1),
                     there[1] ? 0 : LEAT_ENOTFOUND);
    const struct derive *derived = group_derive(l->module[0]->group[0]);
    for (int i = 0; i < VIEW_ROUNDS || (derive_versions(derived) > 2 && clock_real()->monotonic_ns(clock_real()) < end);
         i++)
        append_rows(d, there);
    assert_in_range(derive_versions(derived), 1, 2);
    assert_int_equal(leat_get(leat_view_owner(v, &key), NUMBERS, LEAT_KEYS(key), &value, 1), LEAT_ETIMEOUT);
    leat_view_close(v);
    leat_close(l);
    nothing_is_left(1);
}

/* ---- A version that cannot be made ---- */

static bool view_has(struct leat *l, int64_t key)
{
    struct leat_error err = {0, ""};
    struct leat_value owner = leat_i64(key), value;
    struct leat_view *v;

    must(leat_view_open(l, "mirror", &v, &err));
    int rv = leat_get(leat_view_owner(v, &owner), NUMBERS, LEAT_KEYS(owner), &value, 1);
    leat_view_close(v);
    return rv == 0;
}

/* The module stops with the sentence; what was shown goes on, in queries and views alike: neither sees the commit whose
 * version is not there. Opened again, it is built of what was committed. */
static void stops_when_apply_fails(void **state)
{
    struct way way = {9, 2, 0, false, false};
    struct leat_error err = {0, ""};

    (void)state;
    memset(mirror_calls, 0, sizeof(mirror_calls));
    struct leat_test *t = open_way(&mirror_module, &way, NULL);
    must(leat_test_append(t, "rows", LEAT_ROW(leat_i64(1), leat_i64(10)), &err));
    must(leat_test_run(t, &err));
    for (int i = 0; i < 2; i++)
        mirror_calls[i].fails = true;
    must(leat_test_append(t, "rows", LEAT_ROW(leat_i64(2), leat_i64(20)), &err));
    assert_int_equal(leat_test_run(t, &err), LEAT_EINTERNAL);
    assert_non_null(strstr(err.text, "the change of what is derived from numbers, blobs: as told"));
    assert_int_equal(mirror_ask(leat_test_leat(t)), 1);
    assert_true(view_has(leat_test_leat(t), 1));
    assert_false(view_has(leat_test_leat(t), 2));
    must(leat_test_restart(t, &err));
    assert_int_equal(mirror_ask(leat_test_leat(t)), 2);
    assert_true(view_has(leat_test_leat(t), 2));
    leat_test_close(t);
    nothing_is_left(2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_pstates),
        cmocka_unit_test(survives_every_point),
        cmocka_unit_test(holds_under_load),
        cmocka_unit_test(an_old_view_holds_no_version),
        cmocka_unit_test(stops_when_apply_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
