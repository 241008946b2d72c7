/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/mirror.h"

#include "base/file.h"
#include "engine/derive.h"

#include <pthread.h>
#include <unistd.h>

/* Versions of what is derived, and the snapshots they belong to: without an engine around them. */

struct fixture {
    char directory[64];
    struct plan *plan;
    struct pstate_view *view;
    struct derive *derive;
    struct buffer ops;
    uint64_t turn;
    uint32_t wakes;
};

static void count_wake(void *context)
{
    ((struct fixture *)context)->wakes++;
}

static int open_derive(struct fixture *f, struct leat_error *err)
{
    struct derive_config config = {.plan = f->plan, .view = f->view, .groups = 1, .wake = count_wake, .context = f};

    return derive_open(&config, &f->derive, err);
}

static void fixture_open(struct fixture *f, const struct leat_module *module)
{
    struct plan_config config = {.module = module, .tasks = 4};
    struct leat_error err = {0, ""};
    struct buffer state = {0};

    memset(f, 0, sizeof(*f));
    memset(mirror_calls, 0, sizeof(mirror_calls));
    strcpy(f->directory, "/tmp/leat-derive-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    must(plan_open(&config, &f->plan, &err));
    struct pstate_config view = {.directory = f->directory, .schema = f->plan->pstate, .schemas = f->plan->pstates,
                                 .readers = PSTATE_READERS + DERIVE_READERS, .volatile_view = true};
    must(pstate_view_open(&view, &f->view, &f->turn, &state, &err));
    buffer_fini(&state);
    buffer_init(&f->ops, LIMIT_BATCH);
}

static void fixture_close(struct fixture *f)
{
    derive_close(f->derive);
    pstate_view_close(f->view);
    plan_close(f->plan);
    buffer_fini(&f->ops);
    file_remove_tree(f->directory, NULL);
}

static void begin(struct fixture *f)
{
    struct leat_error err = {0, ""};

    buffer_clear(&f->ops);
    must(pstate_view_begin(f->view, &f->ops, &err));
}

static void commit(struct fixture *f)
{
    struct leat_error err = {0, ""};

    must(pstate_view_commit(f->view, ++f->turn, &err));
}

static void show(struct fixture *f)
{
    struct leat_error err = {0, ""};

    must(derive_apply(f->derive, buffer_bytes(&f->ops), &err));
    derive_publish(f->derive, f->turn);
}

static void put(struct fixture *f, int64_t key, int64_t number)
{
    struct leat_error err = {0, ""};

    must(pstate_put(f->view, 0, NUMBERS, LEAT_KEYS(leat_i64(key)), LEAT_ROW(leat_i64(number)), &err));
}

static void turn(struct fixture *f, int64_t key, int64_t number)
{
    begin(f);
    put(f, key, number);
    commit(f);
    show(f);
}

static struct derive_hold take(struct fixture *f)
{
    struct leat_error err = {0, ""};
    struct derive_hold h;

    must(derive_take(f->derive, &h, &err));
    return h;
}

/* The number of a key, which is derived as it is read. */
static int64_t number_in(const struct derive_hold *h, int64_t key)
{
    struct leat_value value = leat_i64(MIRROR_MISSING);
    struct leat_error err = {0, ""};

    pstate_get(h->reader, 0, NUMBERS, LEAT_KEYS(leat_i64(key)), &value, 1, &err);
    assert_int_equal(mirror_number(h->state, key), value.as.i);
    return value.as.i;
}

static void a_version_stays_with_its_snapshot(void **state)
{
    struct derive_hold hold[20];
    struct leat_error err = {0, ""};
    struct fixture f;

    (void)state;
    fixture_open(&f, &mirror_module);
    begin(&f);
    put(&f, 1, 100);
    commit(&f);
    must(open_derive(&f, &err));
    assert_int_equal(mirror_calls[0].builds, 1);
    for (int i = 0; i < 20; i++) {
        hold[i] = take(&f);
        turn(&f, 1, 101 + i);
        turn(&f, 2, i);
    }
    for (int i = 0; i < 20; i++)
        assert_int_equal(number_in(&hold[i], 1), 100 + i);
    assert_int_equal(mirror_calls[0].drops, 0);
    /* Not the oldest: none is freed. */
    for (int i = 19; i > 0; i--)
        derive_give(f.derive, &hold[i]);
    derive_reap(f.derive);
    assert_int_equal(mirror_calls[0].drops + f.wakes, 0);
    derive_give(f.derive, &hold[0]);
    assert_int_equal(f.wakes, 1);
    assert_int_equal(mirror_calls[0].drops, 0);
    derive_reap(f.derive);
    assert_int_equal(mirror_calls[0].drops, 40);
    hold[0] = take(&f);
    assert_int_equal(number_in(&hold[0], 1), 120);
    derive_give(f.derive, &hold[0]);
    fixture_close(&f);
    assert_int_equal(mirror_calls[0].drops, 41);
}

/* A turn that writes nothing of .from makes no version, but a snapshot. */
static void a_turn_without_changes_keeps_the_version(void **state)
{
    struct leat_error err = {0, ""};
    struct derive_hold h, later;
    struct fixture f;

    (void)state;
    fixture_open(&f, &mirror_module);
    must(open_derive(&f, &err));
    turn(&f, 5, 6);
    h = take(&f);
    begin(&f);
    commit(&f);
    show(&f);
    later = take(&f);
    assert_ptr_equal(h.state, later.state);
    assert_ptr_equal(h.state, derive_newest(f.derive));
    assert_int_equal(pstate_reader_turn(h.reader), f.turn - 1);
    assert_int_equal(pstate_reader_turn(later.reader), f.turn);
    assert_int_equal(mirror_calls[0].applies, 1);
    derive_give(f.derive, &h);
    derive_give(f.derive, &later);
    fixture_close(&f);
}

/* As many as LMDB has readers for, of the same turn; then a sentence, and once some came back it goes on. */
static void readers_are_made_when_too_few(void **state)
{
    struct derive_hold hold[200];
    struct leat_error err = {0, ""};
    struct fixture f;
    uint32_t most = 0;

    (void)state;
    fixture_open(&f, &mirror_module);
    must(open_derive(&f, &err));
    turn(&f, 3, 33);
    while (derive_take(f.derive, &hold[most], &err) == 0)
        assert_int_equal(number_in(&hold[most++], 3), 33);
    assert_int_equal(err.code, LEAT_EFULL);
    assert_in_range(most, PSTATE_READERS, PSTATE_READERS + DERIVE_READERS);
    turn(&f, 3, 34); /* goes without readers of its own */
    assert_int_equal(derive_take(f.derive, &hold[most], &err), LEAT_EFULL);
    for (uint32_t i = 0; i < most; i += 2)
        derive_give(f.derive, &hold[i]);
    hold[most] = take(&f);
    assert_int_equal(number_in(&hold[most], 3), 34);
    derive_give(f.derive, &hold[most]);
    turn(&f, 3, 35);
    for (uint32_t i = 0; i < most; i += 2) {
        hold[i] = take(&f);
        assert_int_equal(number_in(&hold[i], 3), 35);
    }
    for (uint32_t i = 0; i < most; i++)
        derive_give(f.derive, &hold[i]);
    fixture_close(&f);
    assert_int_equal(mirror_calls[0].dropped, mirror_calls[0].made);
}

struct waiter {
    struct fixture *f;
    struct derive_hold hold;
    struct leat_error err;
    int rv;
};

static void *wait_for_one(void *context)
{
    struct waiter *w = context;

    w->rv = derive_take(w->f->derive, &w->hold, &w->err);
    return NULL;
}

/* Without a reader that was made before, the commit is seen earlier than its version: then both, or neither. */
static void nobody_sees_a_snapshot_before_its_version(void **state)
{
    (void)state;
    for (int stops = 0; stops < 2; stops++) {
        struct derive_hold hold[DERIVE_SET + 1];
        struct leat_error err = {0, ""};
        struct waiter w = {0};
        struct fixture f;
        pthread_t thread;

        fixture_open(&f, &mirror_module);
        must(open_derive(&f, &err));
        for (int i = 0; i < DERIVE_SET; i++)
            hold[i] = take(&f);
        begin(&f);
        put(&f, 7, 70);
        commit(&f);
        w.f = &f;
        assert_int_equal(pthread_create(&thread, NULL, wait_for_one, &w), 0);
        must(derive_apply(f.derive, buffer_bytes(&f.ops), &err));
        if (stops)
            derive_stop(f.derive);
        else
            derive_publish(f.derive, f.turn);
        pthread_join(thread, NULL);
        assert_int_equal(w.rv, stops ? LEAT_ECLOSED : 0);
        if (!stops) {
            assert_int_equal(number_in(&w.hold, 7), 70);
            derive_give(f.derive, &w.hold);
        }
        for (int i = 0; i < DERIVE_SET; i++)
            derive_give(f.derive, &hold[i]);
        hold[0] = take(&f); /* what was shown before goes on */
        assert_int_equal(number_in(&hold[0], 7), stops ? MIRROR_MISSING : 70);
        derive_give(f.derive, &hold[0]);
        fixture_close(&f);
        assert_int_equal(mirror_calls[0].dropped, 2);
    }
}

/* ---- Errors ---- */

static int build_fails(struct leat_derivation *d, void **state, struct leat_error *err)
{
    (void)d;
    (void)state;
    return leat_fail(err, LEAT_ELIMIT, "too much of it");
}

/* Reads with keys that the schema does not have: the error sticks, whatever is returned. */
static int build_misreads(struct leat_derivation *d, void **state, struct leat_error *err)
{
    struct leat_value value;

    mirror_build(d, state, err);
    leat_get(leat_derivation_first(d), NUMBERS, LEAT_KEYS(leat_str("a"), leat_str("b")), &value, 1);
    return 0;
}

static void errors_are_told(void **state)
{
    static const struct {
        int (*build)(struct leat_derivation *d, void **state, struct leat_error *err);
        const char *text;
    } wrong[] = {{build_fails, "the build of what is derived from numbers, blobs: too much of it"},
                 {build_misreads, "the build of what is derived from numbers, blobs: PState 'numbers'"}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct leat_derive derive = mirror_derive;
        struct leat_module module = mirror_module;
        struct leat_error err = {0, ""};
        struct fixture f;

        derive.build = wrong[i].build;
        module.derive = &derive;
        fixture_open(&f, &module);
        assert_int_equal(open_derive(&f, &err), LEAT_EINTERNAL);
        assert_int_equal(strncmp(err.text, wrong[i].text, strlen(wrong[i].text)), 0);
        assert_null(f.derive);
        fixture_close(&f);
        assert_int_equal(mirror_calls[0].dropped, mirror_calls[0].made);
    }
}

/* An apply that fails for want of space must not be taken for a full disk, which is waited for. */
static void a_failed_apply_is_fatal(void **state)
{
    struct leat_error err = {0, ""};
    struct derive_hold h;
    struct fixture f;

    (void)state;
    fixture_open(&f, &mirror_module);
    must(open_derive(&f, &err));
    turn(&f, 1, 1);
    mirror_calls[0].fails = true;
    begin(&f);
    put(&f, 1, 2);
    commit(&f);
    assert_int_equal(derive_apply(f.derive, buffer_bytes(&f.ops), &err), LEAT_EINTERNAL);
    assert_string_equal(err.text, "the change of what is derived from numbers, blobs: as told");
    h = take(&f);
    assert_int_equal(number_in(&h, 1), 1);
    derive_give(f.derive, &h);
    fixture_close(&f);
    assert_int_equal(mirror_calls[0].dropped, mirror_calls[0].made);
}

static void declarations_are_checked(void **state)
{
    struct leat_derive derive = mirror_derive;
    struct leat_module m = {
        LEAT_ABI, .name = "world", .derive = &derive,
        .pstates = PSTATES({"counts", "map<str, i64>"}, {"means", "map<str, struct{sum: f64}>"}, {"flat", "set<str>"},
                           {"pairs", "map<str, map<i64, f64>>"}, {"lists", "map<str, list<i64>>"})};
    const struct {
        const char *from, *sentence;
    } wrong[] = {
        {NULL, "module 'world': derive: .from is empty: name the PStates that it follows from"},
        {"", "module 'world': derive: .from is empty: name the PStates that it follows from"},
        {"counts, mens",
         "module 'world': derive: .from names 'mens', which is no PState of the module (did you mean 'means'?)"},
        {"counts,, means", "module 'world': derive: .from names '', which is no PState of the module"},
        {"counts, means, counts", "module 'world': derive: .from names 'counts' twice"},
        {"flat, pairs", "module 'world': derive: PState 'pairs' is map<str, map<i64, f64>>, but a map or list of "
                        "collections cannot be followed; put leaves or rows<..> in it"},
        {"lists", "module 'world': derive: PState 'lists' is map<str, list<i64>>, but a map or list of collections "
                  "cannot be followed; put leaves or rows<..> in it"},
    };
    struct leat_error err = {0, ""};
    struct buffer text;
    struct plan *p;

    (void)state;
    for (size_t i = 0; i < LENGTH_OF(wrong); i++) {
        derive.from = wrong[i].from;
        assert_int_equal(leat_check(&m, NULL, NULL, &err), LEAT_EMODULE);
        assert_string_equal(err.text, wrong[i].sentence);
    }
    derive.from = " counts,flat , means";
    must(plan_open(&(struct plan_config){.module = &m, .tasks = 8}, &p, &err));
    assert_int_equal(p->derived_from, 1 | 2 | 4);
    buffer_init(&text, 1 << 20);
    plan_draw_text(p, &text);
    buffer_u8(&text, 0);
    assert_non_null(strstr((const char *)text.base, "\n  derived from counts, means, flat\n"));
    buffer_fini(&text);
    plan_close(p);
    derive.drop = NULL;
    assert_int_equal(leat_check(&m, NULL, NULL, &err), LEAT_EMODULE);
    assert_string_equal(err.text, "module 'world': derive: .build, .apply and .drop are all wanted");
}

/* ---- What apply is told ---- */

enum { LEAF, SET, LIST, ROWS, PACKED, MAP, NESTED, SHAPES, TOLD_MOST = 4096, KEYS = 7, TURNS = 300 };

static struct {
    uint32_t task, pstate;
    int64_t key;
    bool removed;
} told[TOLD_MOST];
static uint32_t tells;

static int64_t key_number(uint32_t pstate, const struct leat_value *key)
{
    switch (pstate) {
    case LEAF:
    case ROWS:
        assert_int_equal(key->type, LEAT_NULL);
        return 0;
    case SET:
    case PACKED:
        assert_int_equal(key->type, LEAT_STR);
        return key->as.bytes.size == 0 ? 0 : ((const char *)key->as.bytes.base)[0] - '0';
    default:
        return key->as.i;
    }
}

static int hear_build(struct leat_derivation *d, void **state, struct leat_error *err)
{
    (void)d;
    (void)err;
    *state = NULL;
    return 0;
}

static int hear(struct leat_derivation *d, void *old, const struct leat_change *change, uint32_t changes, void **state,
                struct leat_error *err)
{
    (void)d;
    (void)err;
    for (tells = 0; tells < changes; tells++) {
        const struct leat_change *c = &change[tells];

        told[tells].task = leat_task_number(c->task);
        told[tells].pstate = c->pstate;
        told[tells].key = key_number(c->pstate, &c->key);
        told[tells].removed = c->removed;
    }
    *state = old;
    return 0;
}

static void hear_nothing(void *state)
{
    (void)state;
}

static const struct leat_derive hearing = {
    .from = "leaf, set,list , rows,packed,map", .build = hear_build, .apply = hear, .drop = hear_nothing};
static const struct leat_module shapes = {
    LEAT_ABI, .name = "shapes", .derive = &hearing,
    .pstates =
        PSTATES([LEAF] = {"leaf", "u64"}, [SET] = {"set", "set<str>"}, [LIST] = {"list", "list<i64>"},
                [ROWS] = {"rows", "rows<struct{n: i64}>"}, [PACKED] = {"packed", "map<str, rows<struct{n: i64}>>"},
                [MAP] = {"map", "map<i64, i64>"}, [NESTED] = {"nested", "map<i64, map<i64, i64>>"})};

/* 0: not written, 1: written, 2: removed; by task, PState and key. The list's keys are its indexes. */
static uint8_t wanted[4][SHAPES][KEYS + TURNS];

static void write_one(struct fixture *f, uint32_t task, uint32_t pstate, uint32_t at, bool removes, uint64_t *length)
{
    char text[2] = {at == 0 ? '\0' : (char)('0' + at), '\0'};
    struct leat_value key = pstate == SET || pstate == PACKED ? leat_str(text) : leat_i64(at), n = leat_i64(at);
    struct leat_error err = {0, ""};
    bool rows = pstate == ROWS || pstate == PACKED, keyless = pstate == LEAF || pstate == ROWS;
    struct leat_row keys = keyless ? LEAT_KEYS() : LEAT_KEYS(key);

    at = keyless ? 0 : at;
    if (pstate == LIST) {
        must(pstate_push(f->view, task, LIST, LEAT_KEYS(), LEAT_ROW(n), NULL, &err));
        wanted[task][LIST][length[task]++] = 1;
    } else if (pstate == NESTED) {
        must(pstate_put(f->view, task, NESTED, LEAT_KEYS(key, n), LEAT_ROW(n), &err));
    } else if (removes && pstate != ROWS) {
        uint32_t before = (uint32_t)f->ops.size;

        must(pstate_delete(f->view, task, pstate, keys, &err));
        if (f->ops.size > before)
            wanted[task][pstate][at] = 2;
    } else {
        if (rows)
            must(pstate_rows_append(f->view, task, pstate, keys, LEAT_ROW(n), NULL, &err));
        else
            must(pstate_put(f->view, task, pstate, keys,
                            pstate == SET ? LEAT_ROW() : pstate == LEAF ? LEAT_ROW(leat_u64(at)) : LEAT_ROW(n), &err));
        wanted[task][pstate][at] = 1;
    }
}

static uint64_t place_of(uint32_t i)
{
    return (uint64_t)told[i].task << 48 | (uint64_t)told[i].pstate << 32 | (uint64_t)told[i].key;
}

static void compare_told(void)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < tells; i++) {
        assert_int_equal(wanted[told[i].task][told[i].pstate][told[i].key], told[i].removed ? 2 : 1);
        assert_true(i == 0 || place_of(i) > place_of(i - 1)); /* in order, each once */
    }
    for (uint32_t i = 0; i < sizeof(wanted); i++)
        count += ((const uint8_t *)wanted)[i] != 0;
    assert_int_equal(tells, count);
}

static void changes_are_what_was_written(void **state)
{
    struct leat_error err = {0, ""};
    uint64_t length[4] = {0}, seed = 11;
    struct fixture f;

    (void)state;
    fixture_open(&f, &shapes);
    must(open_derive(&f, &err));
    for (int i = 0; i < TURNS; i++) {
        memset(wanted, 0, sizeof(wanted));
        tells = 0;
        begin(&f);
        for (uint64_t writes = next_random(&seed) % 30; writes > 0; writes--) {
            uint32_t dice = (uint32_t)next_random(&seed);

            if (length[dice % 4] < KEYS + TURNS || dice / 4 % SHAPES != LIST)
                write_one(&f, dice % 4, dice / 4 % SHAPES, dice / 64 % KEYS, dice / 1024 % 3 == 0, length);
        }
        commit(&f);
        show(&f);
        compare_told();
    }
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_version_stays_with_its_snapshot),
        cmocka_unit_test(a_turn_without_changes_keeps_the_version),
        cmocka_unit_test(readers_are_made_when_too_few),
        cmocka_unit_test(nobody_sees_a_snapshot_before_its_version),
        cmocka_unit_test(errors_are_told),
        cmocka_unit_test(a_failed_apply_is_fatal),
        cmocka_unit_test(declarations_are_checked),
        cmocka_unit_test(changes_are_what_was_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
