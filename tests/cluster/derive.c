/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/mirror.h"

/* What a module derives from its PStates is at every moment what the PStates of the same snapshot say. */

enum { ROUNDS = 40 };

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_pstates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
