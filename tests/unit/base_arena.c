/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/base.h"
#include "base/random.h"

/* Pieces never overlap, are aligned, and keep what was written until the reset. */

enum { PIECES = 400, ROUNDS = 20, SEED = 23 };

struct piece {
    uint8_t *at;
    size_t size;
    uint8_t mark;
};

static size_t random_size(struct random *random)
{
    return random_below(random, 20) == 0 ? random_below(random, 3 << 20) : random_below(random, 500);
}

static void take_pieces(struct arena *a, struct random *random, struct piece *piece)
{
    size_t total = 0;

    for (uint32_t i = 0; i < PIECES; i++) {
        struct piece *p = &piece[i];
        size_t align = (size_t)1 << random_below(random, 7);

        *p = (struct piece){.size = random_size(random), .mark = (uint8_t)i};
        p->at = random_below(random, 2) ? arena_zeroed(a, p->size, align) : arena_alloc(a, p->size, align);
        assert_non_null(p->at);
        assert_int_equal((uintptr_t)p->at % align, 0);
        memset(p->at, p->mark, p->size);
        total += p->size;
        assert_int_equal(arena_used(a), total);
        assert_int_equal(arena_full(a), total > (4 << 20));
    }
}

static void test_pieces(void **unused)
{
    struct arena *a = arena_open(4 << 20);
    static struct piece piece[PIECES];
    struct random random;

    (void)unused;
    random_seed(&random, SEED);
    for (int round = 0; round < ROUNDS; round++) {
        take_pieces(a, &random, piece);
        for (uint32_t i = 0; i < PIECES; i++)
            for (size_t j = 0; j < piece[i].size; j++)
                if (piece[i].at[j] != piece[i].mark)
                    fail_msg("round %d: piece %u, byte %zu was overwritten", round, i, j);
        arena_reset(a);
        assert_int_equal(arena_used(a), 0);
        assert_false(arena_full(a));
    }
    arena_close(a);
}

/* Memory that was used before comes back zeroed when asked for so. */
static void test_zeroed(void **unused)
{
    struct arena *a = arena_open(1 << 20);

    (void)unused;
    memset(arena_alloc(a, 1000, 8), 0xff, 1000);
    arena_reset(a);
    const uint8_t *bytes = arena_zeroed(a, 1000, 8);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(bytes[i], 0);
    arena_close(a);
}

static void test_limit(void **unused)
{
    struct arena *a = arena_open(100);

    (void)unused;
    arena_alloc(a, 100, 1);
    assert_false(arena_full(a));
    memset(arena_alloc(a, 1, 1), 1, 1);
    assert_true(arena_full(a));
    memset(arena_alloc(a, 5000, 64), 1, 5000); /* the owner fails later, this still is memory */
    arena_limit(a, 5101);
    assert_false(arena_full(a));
    arena_limit(a, 5100);
    assert_true(arena_full(a));
    arena_reset(a);
    assert_false(arena_full(a));
    arena_close(a);
    arena_close(NULL);
}

static void test_empty_pieces(void **unused)
{
    struct arena *a = arena_open(100);

    (void)unused;
    for (int i = 0; i < 1000; i++)
        assert_non_null(arena_alloc(a, 0, 64));
    assert_non_null(arena_alloc(a, 1 << 16, 1)); /* the whole first block */
    assert_non_null(arena_alloc(a, 0, 64));
    assert_int_equal(arena_used(a), 1 << 16);
    arena_close(a);
}

static void test_format(void **unused)
{
    struct arena *a = arena_open(1 << 20);
    char *last = arena_format(a, "%s", "");

    (void)unused;
    assert_string_equal(last, "");
    for (int i = 1; i < 200; i++)
        last = arena_format(a, "%s%c", last, 'a' + i % 26);
    assert_int_equal(strlen(last), 199);
    for (int i = 1; i < 200; i++)
        assert_int_equal(last[i - 1], 'a' + i % 26);
    assert_int_equal(arena_used(a), 200 * 201 / 2);
    assert_int_equal(strlen(arena_format(a, "%0200000d", 7)), 200000);
    arena_close(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),       cmocka_unit_test(test_zeroed), cmocka_unit_test(test_limit),
        cmocka_unit_test(test_empty_pieces), cmocka_unit_test(test_format),
    };

    print_message("seed %d\n", SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
