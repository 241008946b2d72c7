/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/scratch.h"

#include <sys/stat.h>

#include "pstates/view.h"

/* Views: turns that commit or abort, snapshots, references, operations that are none of ours, sweeping. */

enum { MAP, NESTED, LIST, ROWS, PSTATES };

static const char *const schema_text[PSTATES] = {"map<i64, i64>", "map<str, map<i64, i64>>", "map<i64, list<i64>>",
                                                 "map<i64, rows<struct{n: i64}>>"};

static int set_up(void **state)
{
    struct scratch *f = base_alloc(sizeof(*f));

    scratch_make(f, schema_text, PSTATES);
    assert_int_equal(f->turn, 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    scratch_remove(*state);
    free(*state);
    return 0;
}

static void put(struct pstate_view *v, int64_t key, int64_t value)
{
    assert_int_equal(pstate_put(v, 3, MAP, LEAT_KEYS(leat_i64(key)), LEAT_ROW(leat_i64(value)), NULL), 0);
}

/* INT64_MIN: nothing is there. */
static int64_t get(struct pstate_reader *r, int64_t key)
{
    struct leat_value out;
    int rv = pstate_get(r, 3, MAP, LEAT_KEYS(leat_i64(key)), &out, 1, NULL);

    assert_true(rv == 0 || rv == LEAT_ENOTFOUND);
    return rv == 0 ? out.as.i : INT64_MIN;
}

static void begin(struct pstate_view *v, struct buffer *ops)
{
    assert_int_equal(pstate_view_begin(v, ops, NULL), 0);
}

static void commit(struct pstate_view *v, uint64_t turn)
{
    struct leat_error err = {0};

    if (pstate_view_commit(v, turn, &err) != 0)
        fail_msg("%s", err.text);
}

/* ---- Turns and snapshots ---- */

static void test_isolation(void **state)
{
    struct pstate_view *v = ((struct scratch *)*state)->v;
    struct pstate_reader *before, *after;

    begin(v, NULL);
    put(v, 1, 10);
    commit(v, 1);
    assert_int_equal(pstate_snapshot_open(v, &before, NULL), 0);
    begin(v, NULL);
    put(v, 1, 11);
    put(v, 2, 20);
    assert_int_equal(get(pstate_view_turn(v), 1), 11); /* a turn sees its own writes, and nobody else does */
    assert_int_equal(get(before, 1), 10);
    assert_int_equal(get(before, 2), INT64_MIN);
    commit(v, 7);
    assert_int_equal(get(before, 1), 10);
    assert_int_equal(pstate_reader_turn(before), 1);
    assert_int_equal(pstate_snapshot_open(v, &after, NULL), 0);
    assert_int_equal(pstate_reader_turn(after), 7);
    assert_int_equal(get(after, 1), 11);
    pstate_snapshot_pause(before);
    pstate_snapshot_pause(before);
    assert_int_equal(pstate_snapshot_renew(before, NULL), 0);
    assert_int_equal(pstate_reader_turn(before), 7);
    assert_int_equal(get(before, 2), 20);
    pstate_snapshot_close(before);
    pstate_snapshot_close(after);
    pstate_snapshot_close(NULL);
}

static void test_abort(void **state)
{
    struct pstate_view *v = ((struct scratch *)*state)->v;
    struct pstate_reader *r;

    begin(v, NULL);
    put(v, 1, 10);
    pstate_view_abort(v);
    pstate_view_abort(v); /* none is open: nothing happens */
    assert_int_equal(pstate_snapshot_open(v, &r, NULL), 0);
    assert_int_equal(get(r, 1), INT64_MIN);
    assert_int_equal(pstate_reader_turn(r), 0);
    pstate_snapshot_close(r);
}

static void test_reader_slots(void **state)
{
    struct scratch *f = *state;
    struct pstate_reader *r[4 + 1];
    struct leat_error err = {0};
    int opened = 0, rv;

    pstate_view_close(f->v);
    f->config.readers = 4;
    scratch_open(f);
    while ((rv = pstate_snapshot_open(f->v, &r[opened], &err)) == 0 && opened < 4)
        opened++;
    assert_int_equal(rv, LEAT_EFULL);
    assert_int_equal(opened, 4);
    assert_non_null(strstr(err.text, "all reader slots are in use"));
    assert_non_null(strstr(err.text, f->directory));
    /* Checkpoints need none of them: not the two that are pinned at a time either. */
    for (uint64_t i = 1; i <= 3; i++) {
        begin(f->v, NULL);
        put(f->v, 1, (int64_t)i);
        commit(f->v, i);
        if (pstate_checkpoint_start(f->v, span_text("state"), &err) != 0 || pstate_checkpoint_wait(f->v, &err) != 0)
            fail_msg("%s", err.text);
    }
    assert_int_equal(pstate_snapshot_open(f->v, &r[opened], NULL), LEAT_EFULL);
    pstate_snapshot_close(r[--opened]);
    assert_int_equal(pstate_snapshot_open(f->v, &r[opened++], NULL), 0);
    while (opened > 0)
        pstate_snapshot_close(r[--opened]);
}

/* What does not fit any more leaves the last commit as it was. */
static void test_full(void **state)
{
    struct scratch *f = *state;
    struct leat_error err = {0};
    struct pstate_reader *r;
    int rv = 0;

    pstate_view_close(f->v);
    f->config.map_size = 1 << 20;
    scratch_open(f);
    begin(f->v, NULL);
    put(f->v, -1, 5);
    commit(f->v, 1);
    begin(f->v, NULL);
    for (int64_t i = 0; i < 1000000 && rv == 0; i++)
        rv = pstate_put(f->v, 3, MAP, LEAT_KEYS(leat_i64(i)), LEAT_ROW(leat_i64(i)), &err);
    assert_int_equal(rv, LEAT_EFULL);
    assert_non_null(strstr(err.text, "the view is at its largest size (1 MiB)"));
    pstate_view_abort(f->v);
    assert_int_equal(pstate_snapshot_open(f->v, &r, NULL), 0);
    assert_int_equal(get(r, -1), 5);
    assert_int_equal(get(r, 0), INT64_MIN);
    pstate_snapshot_close(r);
}

static void test_closed_clean(void **state)
{
    struct scratch *f = *state;
    struct buffer bytes = {0};
    struct pstate_reader *r;
    uint64_t turn;

    begin(f->v, NULL);
    put(f->v, 1, 10);
    commit(f->v, 42);
    assert_int_equal(pstate_view_close_clean(f->v, span_text("the engine's"), NULL), 0);
    assert_int_equal(pstate_view_open(&f->config, &f->v, &turn, &bytes, NULL), 0);
    assert_int_equal(turn, 42);
    assert_true(span_equal(buffer_bytes(&bytes), span_text("the engine's")));
    assert_int_equal(pstate_snapshot_open(f->v, &r, NULL), 0);
    assert_int_equal(get(r, 1), 10);
    pstate_snapshot_close(r);
    buffer_fini(&bytes);
}

/* ---- References ---- */

/* An aborted turn's are given out again; a committed turn's never, also not behind what another view gave out. */
static void test_references(void **state)
{
    struct pstate_view *v = ((struct scratch *)*state)->v;
    uint64_t first, again, next;
    struct buffer ops = {0};
    uint8_t bound[8];

    begin(v, &ops);
    assert_int_equal(view_reference(v, &first, NULL), 0);
    assert_true(first > 0);
    assert_true(ops.size > 0);
    pstate_view_abort(v);
    buffer_clear(&ops);
    begin(v, &ops);
    assert_int_equal(view_reference(v, &again, NULL), 0);
    assert_int_equal(again, first);
    assert_true(ops.size > 0); /* whoever follows must hear of it again */
    commit(v, 1);
    buffer_clear(&ops);
    store_u64(bound, 5000);
    v->ops = &ops;
    op_record(v, OP_PUT, span_of("\xff\xffr", 3), span_of(bound, 8));
    begin(v, NULL);
    assert_int_equal(pstate_view_apply(v, buffer_bytes(&ops), NULL), 0);
    commit(v, 2);
    begin(v, NULL);
    assert_int_equal(view_reference(v, &next, NULL), 0);
    assert_int_equal(next, 5000);
    pstate_view_abort(v);
    buffer_fini(&ops);
}

/* ---- Operations that are none of ours ---- */

#define NESTED_KEY "\0\3\x80\0\0\0\0\0\0\0\7"

static void test_refused_operations(void **state)
{
    struct pstate_view *v = ((struct scratch *)*state)->v;
    static const struct {
        struct leat_span ops;
    } bad[] = {
#define BYTES(text) {{text, sizeof(text) - 1}}
        BYTES("\1"),                                           /* no key */
        BYTES("\1\2\0\3\0"),                                   /* too short for a key */
        BYTES("\0\3\0\3\0\0"),                                 /* kinds that are not */
        BYTES("\7\3\0\3\0\0"),
        BYTES("\1\3\0\3\0\5abcd"),                             /* value cut short */
        BYTES("\1\3\x10\0\0\0"),                               /* a task beyond the last */
        BYTES("\3\3\xff\xfe\1\12\7\0\0\0\0\0\0\0\1\1"),
        BYTES("\1\3\0\3\x40\0"),                               /* a PState beyond the last */
        BYTES("\1\12\0\3\x80\0\0\0\0\0\0\0\0"),                /* a reference cut short */
        BYTES("\1\3\xff\xfft\x8\1\0\0\0\0\0\0\0"),             /* the view's own */
        BYTES("\1\15\xff\xffu\0\0\0\0\0\0\0\0\0\1\1\0"),
        BYTES("\2\3\xff\xffr"),
        BYTES("\1\3\xff\xffr\7\0\0\0\0\0\0\0"),                /* a bound of references of no size, of no sense */
        BYTES("\1\3\xff\xffr\x8\0\0\0\0\0\0\0\x80"),
        BYTES("\3\4\0\3\1a\11\7\0\0\0\0\0\0\0\1"),             /* unlinking: no depth, no such PState */
        BYTES("\3\4\0\3\1a\12\7\0\0\0\0\0\0\0\4\1"),
        BYTES("\4\13" NESTED_KEY "\15\x8\1\x60\2\0abcdefgh"),  /* rows that are not there */
        BYTES("\4\13" NESTED_KEY "\4\x8\1\x60\2"),             /* no number */
        BYTES("\4\13" NESTED_KEY "\15\x8\0\x60\2\0abcdefgh"),  /* a block of no rows, pieces of one */
        BYTES("\4\13" NESTED_KEY "\15\x8\1\x60\1\0abcdefgh"),
        BYTES("\4\13" NESTED_KEY "\15\x8\7\x60\2\0abcdefgh"),  /* rows that the block does not hold */
#undef BYTES
    };

    for (size_t i = 0; i < LENGTH_OF(bad); i++) {
        struct leat_error err = {0};

        begin(v, NULL);
        if (pstate_view_apply(v, bad[i].ops, &err) != LEAT_ECORRUPT || err.text[0] == '\0')
            fail_msg("operations %zu: %d, '%s'", i, err.code, err.text);
        pstate_view_abort(v);
    }
}

/* Bytes that a journal may put anywhere: what they are is told by whoever reads them. */
static void apply_put(struct pstate_view *v, struct leat_span key, struct leat_span value)
{
    struct buffer ops = {0};

    buffer_u8(&ops, OP_PUT);
    buffer_span(&ops, key);
    buffer_span(&ops, value);
    assert_int_equal(pstate_view_apply(v, buffer_bytes(&ops), NULL), 0);
    buffer_fini(&ops);
}

#define KEY_OF(text) span_of(text, sizeof(text) - 1)

static void check_corrupt(int rv, const struct leat_error *err, const char *reason)
{
    assert_int_equal(rv, LEAT_ECORRUPT);
    if (strstr(err->text, reason) == NULL)
        fail_msg("'%s' is not in: %s", reason, err->text);
}

/* A header leads to a collection by its reference: none, or one at the top of a PState, leads nowhere. */
static void test_bad_headers(void **state)
{
    struct pstate_view *v = ((struct scratch *)*state)->v;
    struct pstate_reader *r;
    struct leat_value out, a = leat_str("a"), one = leat_i64(1);
    struct leat_error err = {0};
    struct pstate_scan *scan;
    struct leat_block block;
    uint64_t n;

    begin(v, NULL);
    r = pstate_view_turn(v);
    apply_put(v, KEY_OF("\0\3\1a"), KEY_OF("\0\0\0\0\0\0\0\0"));
    check_corrupt(pstate_get(r, 3, NESTED, LEAT_KEYS(a, one), &out, 1, &err), &err, "header");
    check_corrupt(pstate_put(v, 3, NESTED, LEAT_KEYS(a, one), LEAT_ROW(one), &err), &err, "header");
    check_corrupt(pstate_delete(v, 3, NESTED, LEAT_KEYS(a), &err), &err, "header");
    check_corrupt(pstate_delete(v, 3, NESTED, LEAT_KEYS(), &err), &err, "header");
    check_corrupt(pstate_scan_open(r, 3, NESTED, LEAT_KEYS(a), NULL, &scan, &err), &err, "header");
    check_corrupt(pstate_size(r, 3, NESTED, LEAT_KEYS(a), &n, &err), &err, "header");
    apply_put(v, KEY_OF("\0\3\1a"), KEY_OF("\1\0\0\0\0\0\0\0\0"));
    check_corrupt(pstate_get(r, 3, NESTED, LEAT_KEYS(a, one), &out, 1, &err), &err, "header of 9 bytes");
    apply_put(v, KEY_OF("\0\3\2\x80\0\0\0\0\0\0\1"), KEY_OF("\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"));
    check_corrupt(pstate_push(v, 3, LIST, LEAT_KEYS(one), LEAT_ROW(one), NULL, &err), &err, "header");
    apply_put(v, KEY_OF("\0\3\3\x80\0\0\0\0\0\0\1"), KEY_OF("\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"));
    check_corrupt(pstate_rows_block(r, 3, ROWS, LEAT_KEYS(one), 0, &block, &err), &err, "row 0 is missing");
    check_corrupt(pstate_rows_remove_last(v, 3, ROWS, LEAT_KEYS(one), &err), &err, "row 0 is missing");
    pstate_view_abort(v);
}

static void test_bad_elements(void **state)
{
    struct pstate_view *v = ((struct scratch *)*state)->v;
    struct pstate_reader *r;
    struct leat_value key, out;
    struct leat_error err = {0};
    struct pstate_scan *scan;

    begin(v, NULL);
    r = pstate_view_turn(v);
    apply_put(v, KEY_OF("\0\3\0\x80\0\0\0\0\0\0\1"), KEY_OF("seven b"));
    check_corrupt(pstate_get(r, 3, MAP, LEAT_KEYS(leat_i64(1)), &out, 1, &err), &err,
                  "7 bytes does not fit its schema");
    apply_put(v, KEY_OF("\0\3\0\x70"), KEY_OF("eightbyt"));
    assert_int_equal(pstate_scan_open(r, 3, MAP, LEAT_KEYS(), NULL, &scan, NULL), 0);
    check_corrupt(pstate_scan_next(scan, &key, &out, 1, &err), &err, "a key of 1 bytes does not fit its schema");
    pstate_scan_close(scan);
    check_corrupt(pstate_delete(v, 3, MAP, LEAT_KEYS(), &err), &err, "a key of 1 bytes");
    pstate_view_abort(v);
}

/* Few bytes in many places dirty many pages, which a pinned checkpoint keeps: the file grows by them. */
static void test_growth_is_worth_a_checkpoint(void **state)
{
    enum { KEYS = 20000, TURNS = 400 };
    struct scratch *f = *state;
    uint64_t turn;

    pstate_view_close(f->v);
    f->config.checkpoint_bytes = 2 << 20;
    scratch_open(f);
    begin(f->v, NULL);
    for (int64_t i = 0; i < KEYS; i++)
        put(f->v, i, i);
    commit(f->v, 1);
    assert_true(pstate_checkpoint_due(f->v, 0));
    assert_int_equal(pstate_checkpoint_start(f->v, span_text(""), NULL), 0);
    assert_int_equal(pstate_checkpoint_wait(f->v, NULL), 0);
    begin(f->v, NULL);
    put(f->v, 0, 1);
    commit(f->v, 2);
    assert_false(pstate_checkpoint_due(f->v, 0));
    for (turn = 3; turn < 3 + TURNS; turn++) {
        begin(f->v, NULL);
        put(f->v, (int64_t)(turn * 7919 % KEYS), -1);
        commit(f->v, turn);
    }
    assert_true(f->v->written < f->config.checkpoint_bytes);
    assert_true(pstate_checkpoint_due(f->v, 0));
}

/* A small view that is written much has checkpoints often enough to stay small in its file. */
static void test_a_file_stays_small(void **state)
{
    enum { KEYS = 20000, TURNS = 6000, PUTS = 32, MOST = 192 << 20 };
    struct scratch *f = *state;
    struct pstate_figures figures;
    uint64_t turn, random = 7, checkpoints = 0;

    pstate_view_close(f->v);
    f->config.map_size = 512 << 20;
    f->config.checkpoint_bytes = 0;
    f->config.durability = LEAT_PROCESS;
    scratch_open(f);
    for (turn = 1; turn <= TURNS; turn++) {
        begin(f->v, NULL);
        for (int i = 0; i < (turn == 1 ? KEYS : PUTS); i++) {
            random = random * 6364136223846793005 + 1442695040888963407;
            put(f->v, turn == 1 ? i : (int64_t)((random >> 33) % KEYS), (int64_t)turn);
        }
        commit(f->v, turn);
        if (!pstate_checkpoint_due(f->v, 0))
            continue;
        checkpoints++;
        assert_int_equal(pstate_checkpoint_start(f->v, span_text(""), NULL), 0);
        assert_int_equal(pstate_checkpoint_wait(f->v, NULL), 0);
    }
    pstate_view_figures(f->v, &figures);
    assert_true(figures.file_bytes < MOST);
    assert_in_range(checkpoints, 2, TURNS / PUTS);
}

static int64_t space_of(const struct scratch *f)
{
    char path[512];
    struct stat st;

    snprintf(path, sizeof(path), "%s/data.mdb", f->config.directory);
    assert_int_equal(stat(path, &st), 0);
    return (int64_t)st.st_blocks * 512;
}

static void take_checkpoint(struct pstate_view *v)
{
    assert_int_equal(pstate_checkpoint_start(v, span_text(""), NULL), 0);
    assert_int_equal(pstate_checkpoint_wait(v, NULL), 0);
}

/* What free pages took is given back when little is written. What a reader or a restart may see stays. */
static void test_free_pages_take_no_space(void **state)
{
    enum { KEYS = 20000, TURNS = 60 };
    struct scratch *f = *state;
    struct pstate_reader *old = NULL;
    uint64_t turn;

    pstate_view_close(f->v);
    f->config.checkpoint_bytes = 1 << 20;
    scratch_open(f);
    for (turn = 1; turn <= TURNS; turn++) {
        begin(f->v, NULL);
        for (int64_t i = 0; i < KEYS; i++)
            put(f->v, i, i * (int64_t)turn);
        commit(f->v, turn);
        if (turn == TURNS / 2)
            assert_int_equal(pstate_snapshot_open(f->v, &old, NULL), 0);
        take_checkpoint(f->v);
    }
    int64_t before = space_of(f);
    for (int quiet = 0; quiet < 3; quiet++) {
        begin(f->v, NULL);
        put(f->v, 1, TURNS);
        commit(f->v, turn++);
        take_checkpoint(f->v);
    }
    for (int64_t i = 0; i < KEYS; i++) {
        assert_int_equal(get(old, i), i * (TURNS / 2));
    }
    pstate_snapshot_close(old);
    begin(f->v, NULL);
    put(f->v, 1, TURNS);
    commit(f->v, turn++);
    take_checkpoint(f->v);
    assert_true(space_of(f) < before / 8);

    /* Free pages are used again, and a death brings back what the last checkpoint had. */
    begin(f->v, NULL);
    for (int64_t i = 0; i < KEYS; i++)
        put(f->v, i, -1);
    commit(f->v, turn);
    pstate_view_close(f->v);
    scratch_open(f);
    assert_int_equal(pstate_snapshot_open(f->v, &old, NULL), 0);
    for (int64_t i = 0; i < KEYS; i++) {
        assert_int_equal(get(old, i), i * TURNS);
    }
    pstate_snapshot_close(old);
}

/* ---- Sweeping ---- */

static uint64_t entries(struct pstate_view *v)
{
    struct pstate_reader *r;
    MDB_stat stat;

    assert_int_equal(pstate_snapshot_open(v, &r, NULL), 0);
    mdb_stat(r->txn, v->dbi, &stat);
    pstate_snapshot_close(r);
    return stat.ms_entries;
}

static void test_sweep(void **state)
{
    struct pstate_view *v = ((struct scratch *)*state)->v;
    struct pstate_figures figures;
    uint32_t deleted, sum = 0;

    begin(v, NULL);
    for (int64_t i = 0; i < 25; i++)
        assert_int_equal(pstate_put(v, 3, NESTED, LEAT_KEYS(leat_str("a"), leat_i64(i)), LEAT_ROW(leat_i64(i)), NULL),
                         0);
    commit(v, 1);
    begin(v, NULL);
    assert_int_equal(pstate_delete(v, 3, NESTED, LEAT_KEYS(leat_str("a")), NULL), 0);
    assert_int_equal(pstate_put(v, 3, NESTED, LEAT_KEYS(leat_str("a"), leat_i64(1)), LEAT_ROW(leat_i64(100)), NULL), 0);
    commit(v, 2);
    pstate_view_figures(v, &figures);
    assert_int_equal(figures.unswept, 1);
    for (uint64_t turn = 3; turn < 7; turn++) {
        begin(v, NULL);
        assert_int_equal(pstate_view_sweep(v, 10, &deleted, NULL), 0);
        assert_int_equal(deleted, turn < 5 ? 10 : turn == 5 ? 5 : 0);
        sum += deleted;
        commit(v, turn);
    }
    assert_int_equal(sum, 25);
    pstate_view_figures(v, &figures);
    assert_int_equal(figures.unswept, 0);
    assert_int_equal(figures.commits, 6);
    assert_true(figures.used_pages > 0 && figures.file_bytes >= 4096 * figures.used_pages);
    assert_int_equal(entries(v), 4); /* turn, references, header and element of what came behind the delete */
}

/* What waits to be swept is found again by a view that was closed meanwhile, and by one whose turn was aborted. */
static void test_sweep_goes_on(void **state)
{
    enum { MAPS = 3, EACH = 25 };
    struct scratch *f = *state;
    uint32_t deleted, sum = 0;
    struct pstate_figures figures;
    uint64_t turn;

    begin(f->v, NULL);
    for (int64_t i = 0; i < MAPS * EACH; i++)
        assert_int_equal(pstate_put(f->v, 3, NESTED,
                                    LEAT_KEYS(leat_str(i % MAPS == 0 ? "a" : i % MAPS == 1 ? "b" : "c"), leat_i64(i)),
                                    LEAT_ROW(leat_i64(i)), NULL), 0);
    commit(f->v, 1);
    begin(f->v, NULL);
    assert_int_equal(pstate_delete(f->v, 3, NESTED, LEAT_KEYS(), NULL), 0);
    commit(f->v, 2);
    assert_int_equal(pstate_view_close_clean(f->v, span_text(""), NULL), 0);
    scratch_open(f);
    begin(f->v, NULL);
    assert_int_equal(pstate_view_sweep(f->v, 1000, &deleted, NULL), 0);
    assert_int_equal(deleted, MAPS * EACH);
    pstate_view_abort(f->v);
    for (turn = 3; turn < 12; turn++) {
        begin(f->v, NULL);
        assert_int_equal(pstate_view_sweep(f->v, 10, &deleted, NULL), 0);
        sum += deleted;
        commit(f->v, turn);
    }
    assert_int_equal(sum, MAPS * EACH);
    pstate_view_figures(f->v, &figures);
    assert_int_equal(figures.unswept, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_isolation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_abort, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reader_slots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_closed_clean, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_references, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused_operations, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_headers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_elements, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_growth_is_worth_a_checkpoint, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_file_stays_small, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_free_pages_take_no_space, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sweep, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sweep_goes_on, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
