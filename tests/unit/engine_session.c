/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "engine/session.h"

enum { MODEL = 300, STEPS = 20000 };

static const int64_t now = 1700000000000000;

static void repeats_are_seen(void **unused)
{
    struct session_table t = {0};

    (void)unused;
    assert_null(session_find(&t, 7));
    assert_true(session_accept(&t, 7, 5, now));
    assert_false(session_accept(&t, 7, 5, now));
    assert_false(session_accept(&t, 7, 4, now));
    assert_true(session_accept(&t, 7, 6, now));
    assert_true(session_accept(&t, 8, 5, now));
    assert_int_equal(session_find(&t, 7)->sequence, 6);
    assert_int_equal(session_find(&t, 8)->sequence, 5);
    assert_int_equal(t.count, 2);
    session_fini(&t);
    assert_null(session_find(&t, 7));
}

static void sequence_zero_counts(void **unused)
{
    struct session_table t = {0};

    (void)unused;
    assert_true(session_accept(&t, 1, 0, now));
    assert_false(session_accept(&t, 1, 0, now));
    assert_true(session_accept(&t, 1, 1, now));
    session_fini(&t);
}

static void no_session_is_always_new(void **unused)
{
    struct session_table t = {0};

    (void)unused;
    for (int i = 0; i < 3; i++)
        assert_true(session_accept(&t, 0, 1, now));
    assert_int_equal(t.count, 0);
    assert_null(session_find(&t, 0));
    session_fini(&t);
}

/* What an aborted turn leaves behind stands for "never seen". */
static void undone_is_never_seen(void **unused)
{
    struct session_table t = {0}, back = {0};
    struct buffer out = {0};

    (void)unused;
    session_set(&t, &(struct session_entry){3, 0, INT64_MIN});
    assert_null(session_find(&t, 3));
    session_save(&t, &out);
    struct reader in = reader_of(buffer_bytes(&out));
    assert_int_equal(session_load(&back, &in), 0);
    assert_int_equal(back.count, 0);
    assert_true(session_accept(&t, 3, 0, now));
    assert_false(session_accept(&t, 3, 0, now));
    buffer_fini(&out);
    session_fini(&t);
    session_fini(&back);
}

/* A plain array that forgets nothing. */
struct model {
    bool there[MODEL];
    uint64_t sequence[MODEL];
};

/* Sessions that fall on neighbouring slots, spread ones, and the highest. */
static uint64_t session_of(uint64_t i)
{
    return i % 3 == 0 ? i + 1 : i % 3 == 1 ? (i << 40) + 1 : UINT64_MAX - i;
}

static void check_model(const struct session_table *t, const struct model *m)
{
    for (uint32_t i = 0; i < MODEL; i++) {
        const struct session_entry *e = session_find(t, session_of(i));

        assert_int_equal(e != NULL, m->there[i]);
        if (e != NULL)
            assert_int_equal(e->sequence, m->sequence[i]);
    }
}

static void against_a_model(void **unused)
{
    uint64_t seed = random_entropy();
    struct session_table t = {0}, loaded = {0}, copy;
    struct model m = {0};
    struct buffer out = {0};
    struct random r;

    (void)unused;
    print_message("seed %llu\n", (unsigned long long)seed);
    random_seed(&r, seed);
    for (uint32_t step = 0; step < STEPS; step++) {
        uint64_t i = random_below(&r, MODEL), sequence = random_below(&r, 1000);
        bool new = !m.there[i] || sequence > m.sequence[i];

        assert_int_equal(session_accept(&t, session_of(i), sequence, now + step), new);
        m.sequence[i] = new ? sequence : m.sequence[i];
        m.there[i] = true;
        if (step % 1000 == 0)
            check_model(&t, &m);
    }
    check_model(&t, &m);
    session_copy(&copy, &t);
    session_save(&t, &out);
    session_fini(&t);
    check_model(&copy, &m);
    struct reader in = reader_of(buffer_bytes(&out));
    assert_int_equal(session_load(&loaded, &in), 0);
    assert_int_equal(reader_left(&in), 0);
    check_model(&loaded, &m);
    assert_int_equal(loaded.newest_us, copy.newest_us);
    buffer_fini(&out);
    session_fini(&copy);
    session_fini(&loaded);
}

static void copy_is_apart(void **unused)
{
    struct session_table t = {0}, copy;

    (void)unused;
    session_copy(&copy, &t);
    assert_null(copy.entry);
    session_accept(&t, 1, 1, now);
    session_copy(&copy, &t);
    session_accept(&t, 1, 2, now);
    session_accept(&copy, 2, 2, now);
    assert_int_equal(session_find(&copy, 1)->sequence, 1);
    assert_null(session_find(&t, 2));
    session_fini(&t);
    session_fini(&copy);
}

static void old_ones_go(void **unused)
{
    struct session_table t = {0};
    int64_t late = now + LIMIT_SESSION_AGE_US;

    (void)unused;
    session_accept(&t, 1, 1, now - 1);
    session_accept(&t, 2, 1, now);
    for (uint64_t s = 10; s < 1000; s++)
        assert_true(session_accept(&t, s, 1, late));
    assert_null(session_find(&t, 1));
    assert_non_null(session_find(&t, 2));
    assert_int_equal(t.count, 991);
    session_fini(&t);
}

/* Past the limit the oldest go, whatever is new stays, and memory is bounded. */
static void count_is_limited(void **unused)
{
    struct session_table t = {0};
    uint64_t total = 4 * (uint64_t)LIMIT_SESSIONS;

    (void)unused;
    for (uint64_t s = 1; s <= total; s++)
        assert_true(session_accept(&t, s, 1, now + (int64_t)s));
    assert_true(t.count >= LIMIT_SESSIONS / 8 * 7);
    assert_true(t.count <= LIMIT_SESSIONS);
    assert_true(t.capacity <= 16 * LIMIT_SESSIONS);
    assert_null(session_find(&t, 1));
    for (uint64_t s = total - LIMIT_SESSIONS / 8 * 7 + 1; s <= total; s++)
        assert_non_null(session_find(&t, s));
    session_fini(&t);
}

/* However many partitions a group has: its tables, full of the longest entries, fit into a checkpoint's state. */
static void a_group_has_its_share(void **unused)
{
    static const uint32_t partitions[] = {1, 2, 10, 11, 128, 1000, 4096, LIMIT_DEPOTS * LIMIT_TASKS};
    struct buffer out = {0};

    (void)unused;
    for (size_t i = 0; i < LENGTH_OF(partitions); i++) {
        struct session_table t = {.limit = session_limit(partitions[i])};
        uint64_t s = 0;

        for (; s < 2 * (uint64_t)t.limit + 9; s++) {
            session_accept(&t, SESSION_GROUPS - 1 - s, UINT64_MAX, now + (int64_t)s);
            assert_true(t.count <= t.limit);
        }
        assert_non_null(session_find(&t, SESSION_GROUPS - s));
        assert_true(t.count >= t.limit / 2);
        buffer_clear(&out);
        session_save(&t, &out);
        assert_true(out.size * partitions[i] <= LIMIT_BATCH / 2);
        session_fini(&t);
    }
    assert_int_equal(session_limit(1), LIMIT_SESSIONS);
    buffer_fini(&out);
}

/* An output may be sent again however long the group was down, and whatever clients did first. */
static void sessions_of_groups_stay(void **unused)
{
    struct session_table t = {0};

    (void)unused;
    assert_true(session_accept(&t, SESSION_GROUPS + 3, 17, now));
    session_set(&t, &(struct session_entry){SESSION_GROUPS + 4, 0, INT64_MIN});
    for (uint64_t s = 1; s <= 2 * (uint64_t)LIMIT_SESSIONS + 10; s++)
        session_accept(&t, s, 1, now + 2 * LIMIT_SESSION_AGE_US);
    assert_false(session_accept(&t, SESSION_GROUPS + 3, 17, now));
    assert_true(session_accept(&t, SESSION_GROUPS + 3, 18, now));
    assert_null(session_find(&t, SESSION_GROUPS + 4)); /* undone: it never was */
    session_fini(&t);
}

static void damage_is_found(void **unused)
{
    struct session_table t = {0};
    struct buffer out = {0};

    (void)unused;
    for (uint64_t s = 1; s < 20; s++)
        session_accept(&t, s, s * 1000, now);
    session_save(&t, &out);
    for (size_t size = 0; size < out.size; size++) {
        struct session_table back = {0};
        struct reader in = reader_of(span_of(out.base, size));

        assert_int_equal(session_load(&back, &in), LEAT_ECORRUPT);
        session_fini(&back);
    }
    /* Session 0 is the mark of a free place. */
    memset(out.base + 1, 0, 8);
    struct session_table back = {0};
    struct reader in = reader_of(buffer_bytes(&out));
    assert_int_equal(session_load(&back, &in), LEAT_ECORRUPT);
    session_fini(&back);
    buffer_fini(&out);
    session_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repeats_are_seen),
        cmocka_unit_test(sequence_zero_counts),
        cmocka_unit_test(no_session_is_always_new),
        cmocka_unit_test(undone_is_never_seen),
        cmocka_unit_test(against_a_model),
        cmocka_unit_test(copy_is_apart),
        cmocka_unit_test(old_ones_go),
        cmocka_unit_test(count_is_limited),
        cmocka_unit_test(a_group_has_its_share),
        cmocka_unit_test(sessions_of_groups_stay),
        cmocka_unit_test(damage_is_found),
    };

    return cmocka_run_group_tests_name("engine_session", tests, NULL, NULL);
}
