/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "topologies/plan.h"

/* What a query names as its yardstick has to be comparable with it. */

/* topologies/ only calls it from finish(), which no plan does. */
void leat_fold_emit(struct leat_task *t, struct leat_row row)
{
    (void)t;
    (void)row;
    fail_msg("a plan finished a fold");
}

static int run(struct leat_task *t, const struct leat_batch *in)
{
    (void)t;
    (void)in;
    return 0;
}

static double share(const struct leat_batch *answer, const struct leat_batch *truth)
{
    return (double)answer->rows / truth->rows;
}

#define REPLY(emits_) \
    NODES({"n", .from = "request", .route = LEAT_TO_ORIGIN, .run = run, .emits = emits_, .into = "reply"})

static struct leat_topology list[] = {
    {"near", LEAT_QUERY, .takes = "a: str", REPLY("b: i64")},
    {"all", LEAT_QUERY, .takes = "a: str", REPLY("b: i64")},
    {"more", LEAT_QUERY, .takes = "a: str, k: u32", REPLY("b: i64")},
    {"less", LEAT_QUERY, .takes = "a: str", REPLY("c: i64")},
    {"flow", LEAT_STREAM, NODES({"n", .from = "lines", .run = run})},
    {.name = NULL}};

static int plan(struct plan **out, struct leat_error *err)
{
    static const struct leat_depot_declaration depots[] = {{"lines", "text: str", .partitioner = LEAT_RANDOM},
                                                           {.name = NULL}};
    static const struct leat_module m = {LEAT_ABI, .name = "world", .depots = depots, .topologies = list};

    return plan_open(&(struct plan_config){.module = &m, .tasks = 8}, out, err);
}

static void refuse(uint32_t topology, const char *yardstick, bool recall, const char *sentence)
{
    struct leat_error err = {0};
    struct plan *p;

    list[topology].yardstick = yardstick;
    list[topology].recall = recall ? share : NULL;
    assert_int_equal(plan(&p, &err), LEAT_EMODULE);
    if (strstr(err.text, sentence) == NULL)
        fail_msg("'%s' has no '%s'", err.text, sentence);
    list[topology].yardstick = NULL;
    list[topology].recall = NULL;
}

static void what_does_not_fit(void **unused)
{
    (void)unused;
    refuse(0, NULL, true, "topology 'near': .yardstick and .recall go together");
    refuse(0, "all", false, ".yardstick and .recall go together");
    refuse(0, "none", true, "topology 'near': its yardstick 'none' is no other query of the module");
    refuse(0, "near", true, "its yardstick 'near' is no other query");
    refuse(0, "flow", true, "its yardstick 'flow' is no other query");
    refuse(0, "more", true, "topology 'near': its yardstick 'more' takes or answers other columns");
    refuse(0, "less", true, "topology 'near': its yardstick 'less' takes or answers other columns");
    refuse(4, "all", true, "topology 'flow': .yardstick and .recall go together, and are for queries");
}

static void what_fits(void **unused)
{
    struct leat_error err = {0};
    struct plan *p;

    (void)unused;
    list[0].yardstick = "all";
    list[0].recall = share;
    assert_int_equal(plan(&p, &err), 0);
    assert_int_equal(p->topology[0].yardstick, 1);
    assert_true(p->topology[0].recall == share);
    for (uint32_t i = 1; i < p->topologies; i++)
        assert_int_equal(p->topology[i].yardstick, UINT32_MAX);
    plan_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_does_not_fit), cmocka_unit_test(what_fits)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
