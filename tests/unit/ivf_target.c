/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>

#include "modules/ivf/target.h"

/* What a search makes of what was learnt: between the points that were measured, and beyond them. */

static void near_to(float is, float want)
{
    if (!(fabsf(is - want) <= 1e-5F * fmaxf(1, fabsf(want))))
        fail_msg("%g, not %g", (double)is, (double)want);
}

static void reaches_lie_between_what_was_measured(void **state)
{
    const struct target_reach grows = {1, 4, 7}, falls = {5, 3, 2};

    (void)state;
    near_to(target_reach_of(&grows, 1), 1);
    near_to(target_reach_of(&grows, 1.0F / 8), 2.5F);
    near_to(target_reach_of(&grows, 1.0F / TARGET_SPARSE), 4);
    near_to(target_reach_of(&grows, 1.0F / 128), 5);
    near_to(target_reach_of(&grows, 1.0F / TARGET_SCARCE), 7);
    near_to(target_reach_of(&grows, 1.0F / 4096), 10);
    near_to(target_reach_of(&grows, 1e-9F), 10);
    near_to(target_reach_of(&falls, 1.0F / 8), 4);
    near_to(target_reach_of(&falls, 1.0F / 128), 3 - 1.0F / 3);
    near_to(target_reach_of(&falls, 1e-9F), 2);
}

/* A neighbour that was not found among the postings looked at is infinitely far. */
static void what_is_not_known_is_far(void **state)
{
    const struct target_reach none = {FLT_MAX, FLT_MAX, FLT_MAX}, all = {FLT_MAX, 1, 1}, few = {1, 1, FLT_MAX};

    (void)state;
    for (float passed = 1; passed > 1e-6F; passed /= 3) {
        assert_true(target_reach_of(&none, passed) > 1e30F);
        assert_true(target_reach_of(&few, passed) >= 1);
    }
    assert_true(target_reach_of(&all, 0.5F) > 1e30F);
    near_to(target_reach_of(&all, 1.0F / TARGET_SPARSE), 1);
}

static void shares_and_probes_are_each_others(void **state)
{
    struct target t;
    float before = 0;

    (void)state;
    for (int i = 0; i < TARGET_POINTS; i++) {
        t.reach[i] = (float)i;
        t.sparse[i] = (float)i * 2;
        t.scarce[i] = (float)i * 3;
        t.probes[i] = (float)(i * i + 1);
    }
    assert_true(isinf(target_reach(&t, 1).all) && isinf(target_reach(&t, 1).scarce));
    for (uint32_t probes = 1; probes < 400; probes++) {
        float share = target_recall(&t, probes);

        assert_true(share >= before && share >= 0.5F && share < 1);
        before = share;
    }
    near_to(target_recall(&t, 1), 0.5F);
    near_to(target_recall(&t, 5), 0.8F);
    for (float recall = 0.1F; recall < 1; recall += 0.01F) {
        struct target_reach r = target_reach(&t, recall);

        near_to(r.sparse, 2 * r.all);
        near_to(r.scarce, 3 * r.all);
    }
    /* A quarter less is to be missed than may be. */
    near_to(target_reach(&t, 0.6F).all, 1);
    near_to(target_reach(&t, 0.3F).all, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reaches_lie_between_what_was_measured),
        cmocka_unit_test(what_is_not_known_is_far),
        cmocka_unit_test(shares_and_probes_are_each_others),
    };

    return cmocka_run_group_tests_name("ivf_target", tests, NULL, NULL);
}
