/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "engine/refused.h"

/* What was refused, against sets. */

enum { SESSIONS = 3, DEPOTS = 2, SEQUENCES = 40, MOST = 8, STEPS = 20000 };

static uint32_t make(struct log_record *record, uint64_t session, const uint64_t *sequence, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        record[i] = (struct log_record){.session = session, .sequence = sequence[i], .time_us = 1};
    return count;
}

static void like_sets(void **unused)
{
    uint64_t seed = getenv("LEAT_SEED") != NULL ? strtoull(getenv("LEAT_SEED"), NULL, 10) : random_entropy();
    bool set[SESSIONS][DEPOTS][SEQUENCES] = {0};
    struct log_record record[MOST];
    struct refused r = {0};
    uint32_t again = 0;
    struct random random;

    (void)unused;
    print_message("seed %llu\n", (unsigned long long)seed);
    random_seed(&random, seed);
    for (int step = 0; step < STEPS; step++) {
        uint32_t s = (uint32_t)random_below(&random, SESSIONS), d = (uint32_t)random_below(&random, DEPOTS), count = 0,
                 held = 0;
        uint64_t sequence[MOST];
        int want = 0;

        for (uint64_t q = random_below(&random, SEQUENCES); q < SEQUENCES && count < MOST;
             q += 1 + random_below(&random, 3))
            sequence[count++] = q;
        make(record, s + 1, sequence, count);
        for (uint64_t q = 0, i = 0; q < sequence[count - 1]; q++) {
            i += sequence[i] < q;
            want = set[s][d][q] && sequence[i] != q ? LEAT_EAGAIN : want;
        }
        assert_int_equal(refused_check(&r, d, record, count), want);
        again += want != 0;
        bool add = random_below(&random, 2) == 0;
        if (add)
            refused_add(&r, d, record, count);
        else
            refused_remove(&r, d, record, count);
        for (uint32_t i = 0; i < count; i++)
            set[s][d][sequence[i]] = add;
        for (uint32_t i = 0; i < SESSIONS * DEPOTS * SEQUENCES; i++)
            held += (&set[0][0][0])[i];
        assert_int_equal(r.count, held);
    }
    assert_true(again > 0 && again < STEPS);
    refused_fini(&r);
    assert_true(refused_none(&r));
}

/* Too many: the session that asks is closed, and others find its room. */
static void too_many_close_a_session(void **unused)
{
    struct log_record record;
    struct refused r = {0};
    uint64_t next = 1;

    (void)unused;
    make(&record, 8, &(uint64_t){5}, 1);
    refused_add(&r, 0, &record, 1);
    while (r.closed.count == 0) {
        make(&record, 7, &next, 1);
        refused_add(&r, 0, &record, 1);
        next++;
    }
    assert_int_equal(next - 1, LIMIT_REFUSED);
    assert_int_equal(r.count, 1);
    make(&record, 7, &(uint64_t){1}, 1);
    assert_int_equal(refused_check(&r, 0, &record, 1), LEAT_ELIMIT);
    assert_int_equal(refused_check(&r, 1, &record, 1), LEAT_ELIMIT);
    refused_add(&r, 0, &record, 1);
    assert_int_equal(r.count, 1);
    make(&record, 8, &(uint64_t){6}, 1);
    assert_int_equal(refused_check(&r, 0, &record, 1), LEAT_EAGAIN);
    make(&record, 8, &(uint64_t){5}, 1);
    assert_int_equal(refused_check(&r, 0, &record, 1), 0);
    refused_remove(&r, 0, &record, 1);
    assert_int_equal(r.count, 0);
    assert_false(refused_none(&r));
    refused_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(like_sets), cmocka_unit_test(too_many_close_a_session)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
