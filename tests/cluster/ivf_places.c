/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/ivf_model.h"

#include "engine/derive.h"
#include "engine/node.h"
#include "modules/ivf/ivf.h"

/* Where the rows of ivf are while they move and one of the groups lags. */

static const struct leat_option small[] = {{"dims", "4"},  {"metric", "l2"}, {"ids", "u64"}, {"target", "8"},
                                           {"split", "16"}, {"merge", "4"},   {NULL, NULL}};

enum { LAGGING = 40, VECTORS_PUT = 300, PARTS = 3 };

/* In four groups, with vectors that are not put yet. */
static struct ivf_model *open_small(uint64_t *seed)
{
    struct way way = {*seed, 4, 0, *seed % 2 == 1, true};
    struct ivf_model *m = model_open(open_way(&module_ivf, &way, small), 4, VECTORS_PUT);

    for (uint32_t i = 0; i < m->ids * m->dims; i++)
        m->vector[i] = (float)(next_random(seed) % 100000) / 1000.0F;
    return m;
}

/* One step of a group; of the slow one seldom. */
static void step_mostly(const struct ivf_model *m, uint32_t slow, uint64_t *seed)
{
    const struct module *module = leat_test_leat(m->t)->module[0];
    uint32_t group = (uint32_t)(next_random(seed) % module->groups);
    struct leat_error err = {0, ""};

    if (group != slow || next_random(seed) % LAGGING == 0)
        assert_true(group_step(module->group[group], &err) >= 0);
}

/* Moves of the id's vector that this row of it was not part of; 0 of another vector's. */
static uint32_t moves_since(struct leat_view *v, uint32_t ids, uint64_t number, uint32_t version)
{
    struct leat_value key = leat_u64(number), field[5];

    if (leat_get(leat_view_task(v, leat_task_of(leat_view_tasks(v), &key)), ids, LEAT_KEYS(key), field, 5) != 0 ||
        !version_same_vector((uint32_t)field[1].as.u, version))
        return 0;
    return (uint8_t)(field[1].as.u - version);
}

static void check_posting(const struct layout *l, const struct index_posting *p, struct leat_view *v, uint32_t ids)
{
    for (uint32_t row = 0; row < p->rows; row++) {
        const struct piece_layout *layout;
        uint32_t first;
        const uint8_t *piece = index_piece(l, p, row, &layout, &first);

        if (p->live_mask[row / BLOCK] >> row % BLOCK & 1)
            assert_true(moves_since(v, ids, p->numbers[row], layout_version(layout, piece, row - first)) <= 1);
    }
}

/* An id's vector lies where `ids` says that it is, and where it was before, nowhere else: who replaces it takes it
 * away there. */
static void check_places(const struct ivf_model *m)
{
    const struct module *module = leat_test_leat(m->t)->module[0];
    const struct ivf *ivf = module->plan->state;
    struct leat_error err = {0, ""};
    struct leat_view *v;
    uint32_t ids;

    must(leat_view_open(leat_test_leat(m->t), "ivf", &v, &err));
    must(leat_view_pstate(v, "ids", &ids));
    for (uint32_t group = 0; group < module->groups; group++) {
        struct derive_hold hold;

        must(group_take(module->group[group], &hold, &err));
        for (uint32_t i = 0; i < index_count(hold.state); i++)
            if (index_at(hold.state, i) != NULL)
                check_posting(&ivf->layout, index_at(hold.state, i), v, ids);
        group_give(module->group[group], &hold);
    }
    leat_view_close(v);
}

static void nothing_is_left_behind(void **state)
{
    (void)state;
    for (uint64_t round = 1; round <= 12; round++) {
        uint64_t seed = round;
        struct ivf_model *m = open_small(&seed);

        for (uint32_t part = 0; part < PARTS; part++) {
            model_change(m, part * (VECTORS_PUT / PARTS), VECTORS_PUT / PARTS, true);
            for (int steps = 0; steps < 3000; steps++) {
                step_mostly(m, (uint32_t)(round % 4), &seed);
                if (steps % 20 == 0)
                    check_places(m);
            }
        }
        model_settle(m, 4000);
        model_check_found(m, m->vector);
        model_check(m, 4, 1);
        model_close(m);
    }
}

static void note_done(void *context, int code, const struct leat_receipt *receipt)
{
    (void)receipt;
    assert_int_equal(code, 0);
    *(bool *)context = true;
}

static void put_one(const struct ivf_model *m, uint32_t id, uint32_t slow, uint64_t *seed)
{
    struct leat_append how = {.ack = LEAT_PROCESSED};
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;
    bool done = false;

    must(leat_depot_find(leat_test_leat(m->t), "ivf", "vectors", &d, &err));
    must(leat_rows_new(d, &rows));
    must(leat_rows_add(rows, LEAT_ROW(leat_u64(id), leat_vector(LEAT_F32_VECTOR, model_vector(m, id), m->dims),
                                      leat_null()), &err));
    must(leat_append_start(d, rows, &how, note_done, &done, &err));
    leat_rows_free(rows);
    for (int i = 0; i < 1000000 && !done; i++)
        step_mostly(m, slow, seed);
    assert_true(done);
}

static void check_found(const struct ivf_model *m, uint32_t id, struct leat_value nprobe, struct leat_value filter)
{
    struct leat_error err = {0, ""};
    struct leat_result *r;

    must(leat_query(leat_test_leat(m->t), "ivf", "search",
                    LEAT_ROW(leat_vector(LEAT_F32_VECTOR, model_vector(m, id), m->dims), leat_u32(1), nprobe, filter,
                             leat_null(), leat_null(), leat_null(), leat_null(), leat_null()),
                    NULL, &r, &err));
    assert_int_equal(leat_result_rows(r)->rows, 1);
    assert_int_equal(leat_at(leat_result_rows(r), 0, 0).as.u, id);
    leat_result_free(r);
}

/* Wherever the search begins, and whatever postings are not heard of there. */
static void what_is_processed_is_found(void **state)
{
    const uint8_t every_row = 0x80; /* {} */

    (void)state;
    for (uint64_t round = 1; round <= 8; round++) {
        uint64_t seed = round;
        struct ivf_model *m = open_small(&seed);

        for (uint32_t id = 0; id < m->ids; id++) {
            put_one(m, id, (uint32_t)(round % 4), &seed);
            check_found(m, id, leat_u32(8), leat_null());
            check_found(m, id, leat_u32(8), leat_any(&every_row, 1));
        }
        model_close(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_left_behind),
        cmocka_unit_test(what_is_processed_is_found),
    };

    return cmocka_run_group_tests_name("cluster_ivf_places", tests, NULL, NULL);
}
