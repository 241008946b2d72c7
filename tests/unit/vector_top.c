/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/vectors.h"

#include <stdlib.h>

#include "modules/vector/top.h"

/* The k nearest against all of them sorted. */

enum { MOST = 400, K = 24 };

static int compare(const void *left, const void *right)
{
    const struct vector_best *a = left, *b = right;

    return a->distance < b->distance ? -1 : a->distance > b->distance ? 1 : a->number < b->number ? -1 : 1;
}

/* In random order, most distances more than once: what is kept, and the threshold after each. */
static void the_best_are_kept(void **state)
{
    (void)state;
    for (int round = 0; round < 500; round++) {
        struct vector_best room[K], all[MOST];
        struct vector_top top;
        uint32_t n = below(MOST), k = 1 + below(K), values = 1 + below(300);

        for (uint32_t i = 0; i < n; i++)
            all[i] = (struct vector_best){(float)below(values) - 20, (UINT64_C(1) << 40) + i};
        for (uint32_t i = n; i-- > 1;) {
            uint32_t other = below(i + 1);
            struct vector_best moved = all[i];

            all[i] = all[other];
            all[other] = moved;
        }
        vector_top_begin(&top, room, k);
        for (uint32_t i = 0; i < n; i++) {
            vector_top_push(&top, all[i].distance, all[i].number);
            assert_true(i + 1 < k ? top.threshold == INFINITY : top.threshold == room[0].distance);
        }
        vector_top_sort(&top);
        qsort(all, n, sizeof(*all), compare);
        assert_int_equal(top.count, n < k ? n : k);
        for (uint32_t i = 0; i < top.count; i++)
            assert_true(room[i].distance == all[i].distance && room[i].number == all[i].number);
    }
}

static void a_lower_threshold_holds(void **state)
{
    struct vector_best room[3];
    struct vector_top top;

    (void)state;
    vector_top_begin(&top, room, 3);
    top.threshold = 5;
    vector_top_push(&top, 6, 1);
    vector_top_push(&top, 5, 2);
    vector_top_push(&top, 1, 3);
    assert_int_equal(top.count, 2);
    assert_true(top.threshold == 5);
    vector_top_push(&top, 4, 4);
    assert_true(top.threshold == 5 && top.count == 3);
    vector_top_push(&top, 5, 1); /* as far as the worst, but of a lower number */
    vector_top_push(&top, 2, 5);
    assert_true(top.threshold == 4);
    vector_top_sort(&top);
    assert_true(room[0].number == 3 && room[1].number == 5 && room[2].number == 4);
}

static void nan_and_none_are_refused(void **state)
{
    struct vector_best room[2];
    struct vector_top top;

    (void)state;
    vector_top_begin(&top, room, 2);
    vector_top_push(&top, NAN, 1);
    assert_int_equal(top.count, 0);
    vector_top_push(&top, INFINITY, 2);
    vector_top_push(&top, -INFINITY, 3);
    vector_top_push(&top, NAN, 4);
    vector_top_sort(&top);
    assert_true(top.count == 2 && room[0].number == 3 && room[1].number == 2);
    vector_top_begin(&top, NULL, 0);
    vector_top_push(&top, -INFINITY, 1);
    vector_top_push(&top, 1, 1);
    vector_top_sort(&top);
    assert_true(top.count == 0 && top.threshold == -INFINITY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_are_kept),
        cmocka_unit_test(a_lower_threshold_holds),
        cmocka_unit_test(nan_and_none_are_refused),
    };

    draw_from(20211);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
