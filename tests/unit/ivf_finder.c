/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/random.h"
#include "modules/ivf/finder.h"
#include "modules/ivf/index.h"

/* Rows of large postings by their number, against a look through all. */

enum { ROWS = 40000, PARTS = (ROWS + INDEX_PART_ROWS - 1) / INDEX_PART_ROWS, POSTINGS = 12, LOOKS = 40 };

static uint64_t numbers[POSTINGS][ROWS];

/* Ids that are spread out, or differ in their highest bits only, few over and over, and one. */
static uint64_t number_of(uint32_t posting, uint64_t dice)
{
    switch (posting % 4) {
    case 0:
        return dice * 7919;
    case 1:
        return dice << 48;
    case 2:
        return dice % 10;
    default:
        return 5;
    }
}

static struct finder *set_up_finder(struct random *random, uint64_t seed)
{
    struct finder *f = finder_new();

    assert_non_null(f);
    random_seed(random, seed);
    for (uint32_t p = 0; p < POSTINGS; p++)
        for (uint32_t i = 0; i < ROWS; i++)
            numbers[p][i] = number_of(p, random_below(random, ROWS));
    return f;
}

/* Returns whether there was a table. All rows, the newest first. */
static bool check(struct finder *f, const struct index_posting *p, uint64_t number)
{
    struct finding finding;
    uint32_t row = p->rows;

    if (!finder_begin(f, p, number, &finding))
        return false;
    for (uint32_t found; (found = finder_next(&finding)) != UINT32_MAX; row = found) {
        assert_true(found < row && index_number(p, found) == number);
        for (uint32_t i = found + 1; i < row; i++)
            assert_true(index_number(p, i) != number);
    }
    for (uint32_t i = 0; i < row; i++)
        assert_true(index_number(p, i) != number);
    return true;
}

static void has_numbers(struct index_posting *p, uint32_t number)
{
    for (uint32_t i = 0; i < PARTS; i++)
        p->part[i].numbers = numbers[number] + (size_t)i * INDEX_PART_ROWS;
}

/* With room for ROWS of them; to be freed. */
static struct index_posting *posting(uint32_t number, uint32_t rows)
{
    struct index_posting *p = calloc(1, sizeof(*p) + PARTS * sizeof(p->part[0]));

    assert_non_null(p);
    p->number = number;
    p->rows = rows;
    has_numbers(p, number);
    return p;
}

static void warm(struct finder *f, const struct index_posting *p)
{
    int looks = 0;

    while (!check(f, p, 1))
        assert_true(++looks < LOOKS);
}

static void rows_are_found_while_more_come(void **state)
{
    struct random random;
    struct finder *f = set_up_finder(&random, 3);

    (void)state;
    for (uint32_t n = 0; n < 4; n++) {
        struct index_posting *p = posting(n, 1500);

        warm(f, p);
        for (; p->rows < ROWS; p->rows += (uint32_t)random_below(&random, 6000)) {
            assert_true(check(f, p, numbers[n][random_below(&random, p->rows)]));
            assert_true(check(f, p, numbers[n][random_below(&random, p->rows)]));
            assert_true(check(f, p, UINT64_MAX));
        }
        free(p);
    }
    finder_free(f);
}

static void small_postings_and_those_seldom_looked_through_have_none(void **state)
{
    struct random random;
    struct finder *f = set_up_finder(&random, 4);
    struct index_posting *small = posting(0, 1000), *large = posting(4, ROWS);

    (void)state;
    for (int i = 0; i < LOOKS; i++)
        assert_false(check(f, small, numbers[0][i]));
    for (int i = 0; i < 8; i++)
        assert_false(check(f, large, numbers[4][i]));
    free(small);
    free(large);
    finder_free(f);
}

/* What another edition has is other rows. More postings than there are tables take turns. */
static void editions_and_postings_are_told_apart(void **state)
{
    struct random random;
    struct finder *f = set_up_finder(&random, 5);
    struct index_posting *p = posting(0, ROWS);

    (void)state;
    warm(f, p);
    p->edition++;
    has_numbers(p, 4);
    assert_false(check(f, p, numbers[4][7]));
    warm(f, p);
    assert_true(check(f, p, numbers[4][7]));
    finder_forget(f, 0);
    assert_false(check(f, p, numbers[4][7]));
    free(p);
    for (int round = 0; round < 3; round++)
        for (uint32_t n = 0; n < POSTINGS; n++) {
            struct index_posting *other = posting(n, 20000);

            warm(f, other);
            assert_true(check(f, other, numbers[n][random_below(&random, 20000)]));
            free(other);
        }
    finder_free(f);
    finder_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_found_while_more_come),
        cmocka_unit_test(small_postings_and_those_seldom_looked_through_have_none),
        cmocka_unit_test(editions_and_postings_are_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
