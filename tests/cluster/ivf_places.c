/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/ivf_model.h"

#include "engine/derive.h"
#include "engine/node.h"
#include "modules/ivf/ivf.h"
#include "modules/ivf/places.h"
#include "modules/ivf/posting.h"

/* Where the rows of ivf are while they move and one of the groups lags. */

static const struct leat_option small[] = {{"dims", "4"},  {"metric", "l2"}, {"ids", "u64"}, {"target", "8"},
                                           {"split", "16"}, {"merge", "4"},   {NULL, NULL}};

enum { LAGGING = 40, VECTORS_PUT = 300, PARTS = 3 };

/* In four groups, with vectors that are not put yet. */
static struct ivf_model *open_small(const struct leat_module *module, uint32_t ids, uint64_t *seed)
{
    struct way way = {*seed, 4, 0, *seed % 2 == 1, true};
    struct ivf_model *m = model_open(open_way(module, &way, small), 4, ids);

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

static bool place_of(struct leat_task *t, const struct ivf *v, uint64_t number, struct place *out)
{
    struct places places;

    places_begin(&places, t, v);
    return places_get(&places, number, out);
}

/* Moves of the id's vector that this row of it was not part of; 0 of another vector's. */
static uint32_t moves_since(struct leat_view *view, const struct ivf *v, uint64_t number, uint32_t version)
{
    struct leat_value key = leat_u64(number);
    struct place place;

    if (!place_of(leat_view_owner(view, &key), v, number, &place) || !version_same_vector(place.version, version))
        return 0;
    return (uint8_t)(place.version - version);
}

static void check_posting(const struct ivf *v, const struct index_posting *p, struct leat_view *view)
{
    const struct layout *l = &v->layout;

    for (uint32_t row = 0; row < p->rows; row++) {
        const struct piece_layout *layout;
        uint32_t first;
        const uint8_t *piece = index_piece(l, p, row, &layout, &first);

        if (p->live_mask[row / BLOCK] >> row % BLOCK & 1)
            assert_true(moves_since(view, v, index_number(p, row), layout_version(layout, piece, row - first)) <= 1);
    }
}

/* An id's vector lies where `places` says that it is, and where it was before, nowhere else: who replaces it takes it
 * away there. */
static void check_places(const struct ivf_model *m)
{
    const struct module *module = leat_test_leat(m->t)->module[0];
    const struct ivf *ivf = module->plan->state;
    struct leat_error err = {0, ""};
    struct leat_view *v;

    must(leat_view_open(leat_test_leat(m->t), "ivf", &v, &err));
    for (uint32_t group = 0; group < module->groups; group++) {
        struct derive_hold hold;

        must(group_take(module->group[group], &hold, &err));
        for (uint32_t i = 0; i < index_count(hold.state); i++)
            if (index_at(hold.state, i) != NULL)
                check_posting(ivf, index_at(hold.state, i), v);
        group_give(module->group[group], &hold);
    }
    leat_view_close(v);
}

static void nothing_is_left_behind(void **state)
{
    (void)state;
    for (uint64_t round = 1; round <= 12; round++) {
        uint64_t seed = round;
        struct ivf_model *m = open_small(&module_ivf, VECTORS_PUT, &seed);

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
        struct ivf_model *m = open_small(&module_ivf, VECTORS_PUT, &seed);

        for (uint32_t id = 0; id < m->ids; id++) {
            put_one(m, id, (uint32_t)(round % 4), &seed);
            check_found(m, id, leat_u32(8), leat_null());
            check_found(m, id, leat_u32(8), leat_any(&every_row, 1));
        }
        model_close(m);
    }
}

/* ---- Rows that move more often than their versions count ---- */

enum { ROWS = 40, TELL = ROWS }; /* TELL: no vector; that rows are to move */

static uint32_t moves_wanted; /* rows that moved less often move */

static int store_or_tell(struct leat_task *t, const struct leat_batch *in)
{
    uint32_t what = NEAR;

    if (leat_at(in, 0, 0).as.u != TELL)
        return store_vectors(t, in);
    message_all(t, 0, ASK, 0, (struct leat_span){&what, sizeof(what)});
    return 0;
}

/* Wherever they belong. */
static void move_elsewhere(struct leat_task *t, const struct ivf *v, const struct index_posting *p)
{
    struct row_move *move = leat_alloc(t, (p->rows + 1) * sizeof(*move));
    struct vector_near to[64];
    uint32_t postings = index_probe(leat_derived(t), v->origin, NULL, 64, to,
                                    leat_alloc(t, index_probe_room(leat_derived(t), 64))), count = 0;

    for (uint32_t row = 0; row < p->rows; row++) {
        const struct piece_layout *layout;
        uint32_t first, there = to[leat_random(t) % postings].number;
        const uint8_t *piece = index_piece(&v->layout, p, row, &layout, &first);
        uint32_t version = layout_version(layout, piece, row - first);

        if (there != p->number && (version & 255) < moves_wanted)
            move[count++] = (struct row_move){index_number(p, row), version, row, p->edition, there};
    }
    message(t, 0, leat_task_number(t), MOVE, p->number, (struct leat_span){move, count * sizeof(*move)});
}

static int upkeep_or_move(struct leat_task *t, const struct leat_batch *in)
{
    const struct index *x = leat_derived(t);

    if (leat_at(in, 0, 0).as.u != NEAR || leat_at(in, 0, 2).as.bytes.size > 0)
        return upkeep_run(t, in);
    for (uint32_t i = 0; i < index_count(x); i++)
        if (index_at(x, i) != NULL)
            move_elsewhere(t, leat_state(t), index_at(x, i));
    return 0;
}

/* It answers no question what to compact, but when it is told names all, ahead of their moves. */
static int compact_and_move(struct leat_task *t, const struct leat_batch *in)
{
    const struct index *x = leat_derived(t);
    uint64_t kind = leat_at(in, 0, 0).as.u;
    uint32_t waste = COMPACT_LITTLE;

    if (kind == COMPACT)
        return 0;
    if (kind != NEAR || leat_at(in, 0, 2).as.bytes.size > 0)
        return upkeep_run(t, in);
    for (uint32_t i = 0; i < index_count(x); i++) {
        const struct index_posting *p = index_at(x, i);

        if (p == NULL)
            continue;
        message(t, 0, leat_task_number(t), COMPACT, p->number, (struct leat_span){&waste, sizeof(waste)});
        move_elsewhere(t, leat_state(t), p);
    }
    return 0;
}

/* Nor one at rest. */
static int compact_nothing(struct leat_task *t, const struct leat_batch *in)
{
    (void)t;
    (void)in;
    return 0;
}

static void tell(const struct ivf_model *m)
{
    struct leat_error err = {0, ""};

    must(leat_test_append(m->t, "vectors", LEAT_ROW(leat_u64(TELL), leat_null(), leat_null()), &err));
}

static uint32_t moves_of(const struct ivf_model *m, uint64_t id)
{
    const struct module *module = leat_test_leat(m->t)->module[0];
    struct leat_value key = leat_u64(id);
    struct leat_error err = {0, ""};
    struct leat_view *view;
    struct place place;

    must(leat_view_open(leat_test_leat(m->t), "ivf", &view, &err));
    assert_true(place_of(leat_view_owner(view, &key), module->plan->state, id, &place));
    leat_view_close(view);
    return place.version & 255;
}

/* The count of a row's moves is of a byte, and begins anew while one of the groups lags. */
static void moves_beyond_a_byte(uint64_t seed, uint32_t slow)
{
    struct leat_topology topologies[16];
    struct leat_node nodes[16];
    struct leat_module module = model_module(topologies, nodes);
    struct leat_error err = {0, ""};
    uint32_t anew = 0;

    model_node(nodes, "store")->run = store_or_tell;
    model_node(nodes, "upkeep")->run = upkeep_or_move;
    struct ivf_model *m = open_small(&module, ROWS, &seed);
    model_change(m, 0, ROWS, true);
    for (moves_wanted = 0; moves_wanted < 252; moves_wanted++) {
        tell(m);
        must(leat_test_run(m->t, &err));
    }
    moves_wanted = 256;
    for (uint32_t steps = 0; steps < 9000; steps++) {
        if (steps % 100 == 0)
            tell(m);
        step_mostly(m, slow, &seed);
        if (steps % 10 == 0)
            check_places(m);
    }
    model_settle(m, 4000);
    for (uint64_t id = 0; id < ROWS; id++)
        anew += moves_of(m, id) < 128;
    assert_true(anew > ROWS / 2);
    model_check_found(m, m->vector);
    model_check(m, 4, 1);
    model_close(m);
}

static void rows_may_move_for_ever(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2; seed++)
        moves_beyond_a_byte(seed, (uint32_t)seed);
}

/* A posting has other numbers for its rows when it was compacted; what was proposed for them with the old ones, in the
 * same answer, is done before. */
static void moves_beside_a_compaction_are_made(void **state)
{
    struct leat_topology topologies[16];
    struct leat_node nodes[16];
    struct leat_module module = model_module(topologies, nodes);
    struct leat_error err = {0, ""};
    uint64_t seed = 3;
    uint32_t moved = 0;

    (void)state;
    model_node(nodes, "store")->run = store_or_tell;
    model_node(nodes, "upkeep")->run = compact_and_move;
    model_node(nodes, "tidy")->run = compact_nothing;
    struct ivf_model *m = open_small(&module, ROWS, &seed);
    for (int again = 0; again < 6; again++) {
        model_change(m, 0, ROWS, true);
        must(leat_test_run(m->t, &err));
    }
    uint64_t dead = model_census(m, 1).dead;
    assert_true(dead > ROWS);
    moves_wanted = 1;
    tell(m);
    must(leat_test_run(m->t, &err));
    for (uint64_t id = 0; id < ROWS; id++)
        moved += moves_of(m, id) > 0;
    assert_true(model_census(m, 1).dead < dead / 2);
    assert_true(moved > ROWS / 2);
    model_check_found(m, m->vector);
    model_close(m);
}

/* ---- Places against an array, with few tasks and with many ---- */

enum { NUMBERS = 3000, FAR = 400 };

static const struct ivf by_number = {.names = false};

/* Numbers in a row, and others that lie far apart. */
static uint64_t number_at(uint32_t i)
{
    return i < NUMBERS - FAR ? i + 5 : (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15);
}

static struct place place_with(uint32_t version)
{
    return (struct place){version, version * 3, version % 4 == 0 ? NOWHERE : version * 7, version % 2 == 1};
}

/* Version 0: the place goes, if it is there. */
static int keep_places(struct leat_task *t, const struct leat_batch *in)
{
    struct places places;
    struct place before;

    places_begin(&places, t, &by_number);
    for (uint32_t i = 0; i < in->rows; i++) {
        uint64_t number = leat_at(in, i, 0).as.u;
        struct place place = place_with((uint32_t)leat_at(in, i, 1).as.u);

        if (place.version == 0)
            places_delete(&places, number);
        else
            places_put(&places, number, &place);
        assert_int_equal(places_get(&places, number, &before), place.version != 0);
    }
    places_end(&places);
    return 0;
}

static const struct leat_module module_places = {
    LEAT_ABI, .name = "places",
    .depots = DEPOTS({"numbers", "number: u64, version: u32", .by = "number"}),
    .pstates = PSTATES([IDS] = {"ids", "map<u64, u64>"}, [NAMES] = {"names", "map<u64, u64>"},
                       [PLACES] = {"places", "map<u64, bytes>"}),
    .topologies = TOPOLOGIES({"keep", LEAT_STREAM, NODES({"keep", .from = "numbers", .run = keep_places})}),
};

static void check_numbers(struct leat_test *t, const uint32_t *version)
{
    struct leat_error err = {0, ""};
    struct leat_view *view;

    must(leat_view_open(leat_test_leat(t), "places", &view, &err));
    for (uint32_t i = 0; i < NUMBERS; i++) {
        struct leat_value key = leat_u64(number_at(i));
        struct place place, want = place_with(version[i]);

        assert_int_equal(place_of(leat_view_owner(view, &key), &by_number, key.as.u, &place), version[i] != 0);
        if (version[i] != 0)
            assert_true(place.version == want.version && place.posting == want.posting &&
                        place.before == want.before && place.attributes == want.attributes);
    }
    leat_view_close(view);
}

static void places_are_as_an_array(void **state)
{
    static const uint32_t tasks[] = {1, 8, 1024, 4096};

    (void)state;
    for (int way = 0; way < 4; way++) {
        struct leat_test_config config = {.module = &module_places, .tasks = tasks[way], .groups = 1, .memory = true,
                                          .seed = 3};
        uint32_t *version = calloc(NUMBERS, sizeof(*version));
        struct leat_error err = {0, ""};
        struct leat_test *t;
        uint64_t seed = 11;

        must(leat_test_open(&config, &t, &err));
        for (uint32_t round = 0; round < 3; round++) {
            for (uint32_t n = 0; n < 2 * NUMBERS; n++) {
                uint32_t i = round == 0 && n < NUMBERS ? n : (uint32_t)(next_random(&seed) % NUMBERS);

                version[i] = next_random(&seed) % 3 < round ? 0 : (uint32_t)(next_random(&seed) % 100000);
                must(leat_test_append(t, "numbers", LEAT_ROW(leat_u64(number_at(i)), leat_u32(version[i])), &err));
            }
            must(leat_test_run(t, &err));
            check_numbers(t, version);
        }
        leat_test_close(t);
        free(version);
    }
}

static void check_as_exact(const struct ivf_model *m, const float *query)
{
    struct leat_result *is = model_ask(m, "search", query, 10, leat_u32(60000));
    struct leat_result *want = model_ask(m, "exact", query, 10, leat_null());
    const struct leat_batch *a = leat_result_rows(is), *b = leat_result_rows(want);

    assert_int_equal(a->rows, b->rows);
    for (uint32_t i = 0; i < a->rows; i++)
        assert_true(leat_at(a, i, 1).as.f <= leat_at(b, i, 1).as.f);
    leat_result_free(is);
    leat_result_free(want);
}

/* A row that moves from one group to another lies in both for moments. It is one of the k nearest all the same: what
 * one group found is not found by the next one once more, in the place of another row. */
static void a_row_in_two_groups_takes_one_place(void **state)
{
    static const struct leat_option sure[] = {{"dims", "4"},  {"metric", "l2"}, {"ids", "u64"},    {"target", "8"},
                                              {"split", "16"}, {"merge", "4"},   {"epsilon", "10"}, {NULL, NULL}};

    (void)state;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct way way = {seed, 4, 5, false, true};
        struct ivf_model *m = model_open(open_way(&module_ivf, &way, sure), 4, VECTORS_PUT);
        struct leat_error err = {0, ""};
        uint64_t chance = seed;

        for (uint32_t i = 0; i < m->ids * m->dims; i++)
            m->vector[i] = (float)(next_random(&chance) % 100000) / 1000.0F;
        model_change(m, 0, VECTORS_PUT, true);
        for (uint32_t idle = 0; idle < 100;) {
            int rv = leat_test_step(m->t, &err);

            assert_true(rv >= 0);
            idle = rv > 0 ? 0 : idle + 1;
            for (int q = 0; q < 2 && rv > 0; q++)
                check_as_exact(m, model_vector(m, (uint32_t)(next_random(&chance) % VECTORS_PUT)));
        }
        model_close(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_left_behind),
        cmocka_unit_test(what_is_processed_is_found),
        cmocka_unit_test(rows_may_move_for_ever),
        cmocka_unit_test(moves_beside_a_compaction_are_made),
        cmocka_unit_test(places_are_as_an_array),
        cmocka_unit_test(a_row_in_two_groups_takes_one_place),
    };

    return cmocka_run_group_tests_name("cluster_ivf_places", tests, NULL, NULL);
}
