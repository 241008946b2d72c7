/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <sanitizer/asan_interface.h> /* and __has_feature, which GCC has not */
#include <string.h>

#include "base/random.h"
#include "modules/ivf/slab.h"

/* Memory for postings: pieces of any size are aligned, have the room that is said, lie apart, and are given again. */

enum { PIECES = 500, ROUNDS = 4000, REGION = 32 << 20 };

struct piece {
    uint8_t *memory;
    size_t size;
    uint8_t mark;
};

static void check(const struct piece *p)
{
    for (size_t i = 0; i < p->size; i++)
        if (p->memory[i] != p->mark)
            fail_msg("byte %zu of %zu was overwritten", i, p->size);
}

static void take(struct slab *s, struct piece *p, size_t size, uint8_t mark)
{
    size_t room = slab_room(size);

    assert_true(room >= size);
    *p = (struct piece){slab_alloc(s, size), room, mark};
    assert_non_null(p->memory);
    assert_int_equal((uintptr_t)p->memory % 64, 0);
    memset(p->memory, mark, room);
}

/* Mostly some hundred bytes to some KiB, each power of two and its neighbours among them. */
static size_t any_size(struct random *r)
{
    size_t power = (size_t)1 << random_below(r, 18);

    return random_below(r, 2) == 0 ? power - 1 + random_below(r, 3) : random_below(r, power);
}

static void pieces_lie_apart(void **state)
{
    struct slab *s = slab_new();
    struct piece piece[PIECES] = {{0}};
    struct random r;

    (void)state;
    random_seed(&r, 7);
    assert_non_null(s);
    for (int i = 0; i < ROUNDS; i++) {
        struct piece *p = &piece[random_below(&r, PIECES)];

        if (p->memory != NULL) {
            check(p);
            slab_free(s, p->memory);
        }
        take(s, p, any_size(&r), (uint8_t)i);
    }
    for (int i = 0; i < PIECES; i++)
        if (piece[i].memory != NULL)
            check(&piece[i]);
    slab_free_all(s);
}

/* A piece has at most a quarter more than was asked for, but for its head and the least size. */
static void little_is_lost(void **state)
{
    (void)state;
    for (size_t size = 1; size < REGION / 4; size += size / 100 + 1)
        assert_in_range(slab_room(size), size, (size + 64) * 5 / 4 + 192);
}

static void what_is_freed_is_given_again(void **state)
{
    struct slab *s = slab_new();
    struct piece a, b;

    (void)state;
    take(s, &a, 1000, 1);
    take(s, &b, 1000, 2);
    slab_free(s, a.memory);
    assert_ptr_equal(slab_alloc(s, 1000), a.memory);
    check(&b);
    slab_free(s, NULL);
    slab_free_all(s);
}

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
static void what_is_freed_is_poisoned(void **state)
{
    struct slab *s = slab_new();
    struct piece p;

    (void)state;
    take(s, &p, 1000, 1);
    assert_false(__asan_address_is_poisoned(p.memory));
    slab_free(s, p.memory);
    assert_true(__asan_address_is_poisoned(p.memory));
    assert_true(__asan_address_is_poisoned(p.memory + p.size - 1));
    take(s, &p, 1000, 2);
    assert_false(__asan_address_is_poisoned(p.memory));
    slab_free_all(s);
}
#endif

/* What is larger than a region holds has one of its own, and goes back to the system. */
static void large_ones_have_their_own(void **state)
{
    static const size_t size[] = {REGION / 2 - 64, REGION / 2 - 63, REGION, REGION + 1, 3 * (size_t)REGION};
    struct slab *s = slab_new();
    struct piece p[5];

    (void)state;
    for (size_t i = 0; i < 5; i++)
        take(s, &p[i], size[i], (uint8_t)(i + 1));
    for (size_t i = 0; i < 5; i++) {
        check(&p[i]);
        slab_free(s, p[i].memory);
    }
    take(s, &p[0], 100, 9);
    check(&p[0]);
    slab_free_all(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_lie_apart),
        cmocka_unit_test(little_is_lost),
        cmocka_unit_test(what_is_freed_is_given_again),
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
        cmocka_unit_test(what_is_freed_is_poisoned),
#endif
        cmocka_unit_test(large_ones_have_their_own),
    };

    return cmocka_run_group_tests_name("ivf_slab", tests, NULL, NULL);
}
