/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "engine/progress.h"

enum { PARTITIONS = 4, TURNS = 200, ROUNDS = 40, IDS = 4096 };

static const struct progress_range two[] = {{0, 0, 0, 3}, {2, 3, 10, 12}};

static void empty(void **unused)
{
    struct progress *p = progress_open(PARTITIONS);
    uint32_t partition;
    uint64_t offset;

    (void)unused;
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        assert_int_equal(progress_frontier(p, i), 0);
        assert_int_equal(progress_cursor(p, i), 0);
    }
    assert_int_equal(progress_open_turns(p), 0);
    assert_false(progress_xor(p, 1, 5));
    assert_false(progress_record(p, 1, 0, &partition, &offset));
    progress_close(p);
    progress_close(NULL);
}

/* A turn without outputs is done at once. */
static void done_at_once(void **unused)
{
    struct progress *p = progress_open(PARTITIONS);

    (void)unused;
    progress_add(p, 1, 0, 50, two, 2);
    assert_int_equal(progress_frontier(p, 0), 3);
    assert_int_equal(progress_frontier(p, 2), 12);
    assert_int_equal(progress_cursor(p, 2), 12);
    assert_int_equal(progress_open_turns(p), 0);
    assert_int_equal(progress_open_bytes(p), 0);
    assert_int_equal(progress_open_records(p), 0);
    progress_close(p);
}

static void open_until_all_ids_are_in(void **unused)
{
    struct progress *p = progress_open(PARTITIONS);

    (void)unused;
    progress_add(p, 1, 0xa ^ 0xb, 50, two, 2);
    assert_int_equal(progress_frontier(p, 0), 0);
    assert_int_equal(progress_frontier(p, 2), 10);
    assert_int_equal(progress_cursor(p, 0), 3);
    assert_int_equal(progress_open_bytes(p), 50);
    assert_int_equal(progress_open_records(p), 5);
    assert_true(progress_xor(p, 1, 0xa ^ 0xc)); /* one in, another out */
    assert_true(progress_xor(p, 1, 0xb));
    assert_int_equal(progress_frontier(p, 0), 0);
    assert_true(progress_xor(p, 1, 0xc));
    assert_int_equal(progress_frontier(p, 0), 3);
    assert_int_equal(progress_frontier(p, 2), 12);
    assert_int_equal(progress_open_records(p), 0);
    assert_false(progress_xor(p, 1, 0xc));
    progress_close(p);
}

/* A turn done behind an open one waits for it, in each partition by itself. */
static void frontiers_move_in_order(void **unused)
{
    struct progress *p = progress_open(PARTITIONS);

    (void)unused;
    progress_add(p, 1, 1, 1, (struct progress_range[]){{0, 0, 0, 2}}, 1);
    progress_add(p, 2, 2, 1, (struct progress_range[]){{0, 0, 2, 4}, {1, 2, 0, 1}}, 2);
    progress_add(p, 3, 3, 1, (struct progress_range[]){{0, 0, 4, 9}}, 1);
    progress_xor(p, 2, 2);
    assert_int_equal(progress_frontier(p, 0), 0);
    assert_int_equal(progress_frontier(p, 1), 1);
    progress_xor(p, 1, 1);
    assert_int_equal(progress_frontier(p, 0), 4);
    progress_xor(p, 3, 3);
    assert_int_equal(progress_frontier(p, 0), 9);
    progress_close(p);
}

static void records_by_index(void **unused)
{
    struct progress *p = progress_open(PARTITIONS);
    uint32_t partition;
    uint64_t offset;

    (void)unused;
    progress_add(p, 7, 1, 1, two, 2);
    assert_true(progress_record(p, 7, 2, &partition, &offset));
    assert_int_equal(partition, 0);
    assert_int_equal(offset, 2);
    assert_true(progress_record(p, 7, 3, &partition, &offset));
    assert_int_equal(partition, 2);
    assert_int_equal(offset, 10);
    assert_false(progress_record(p, 7, 5, &partition, &offset));
    assert_false(progress_record(p, 8, 0, &partition, &offset));
    progress_xor(p, 7, 1);
    assert_false(progress_record(p, 7, 2, &partition, &offset));
    progress_close(p);
}

/* A turn of hops alone has no ranges: its ids still count. */
static void no_ranges(void **unused)
{
    struct progress *p = progress_open(PARTITIONS);

    (void)unused;
    progress_add(p, 1, 0, 0, NULL, 0);
    progress_add(p, 2, 9, 0, NULL, 0);
    assert_int_equal(progress_open_turns(p), 1);
    assert_true(progress_xor(p, 2, 9));
    assert_int_equal(progress_open_turns(p), 0);
    progress_close(p);
}

/* ---- Against a model: turns with ids that are out, consumed in any order ---- */

struct model_turn {
    uint64_t turn;
    uint32_t out;  /* ids of it that are out */
    uint64_t bytes;
    struct progress_range range[PARTITIONS];
    uint32_t ranges;
};

struct id {
    uint64_t id;
    uint32_t of;
};

struct model {
    struct random random;
    struct model_turn turn[TURNS];
    uint32_t turns;
    struct id id[IDS];
    uint32_t ids;
    uint64_t cursor[PARTITIONS];
    uint64_t moved[PARTITIONS]; /* as the listener heard */
};

static struct model model;

static void heard(void *context, uint32_t partition, uint64_t frontier)
{
    struct model *m = context;

    assert_true(frontier > m->moved[partition]);
    m->moved[partition] = frontier;
}

static uint64_t model_frontier(const struct model *m, uint32_t partition)
{
    for (uint32_t i = 0; i < m->turns; i++)
        for (uint32_t j = 0; j < m->turn[i].ranges && m->turn[i].out > 0; j++)
            if (m->turn[i].range[j].partition == partition)
                return m->turn[i].range[j].first;
    return m->cursor[partition];
}

static uint64_t model_emit(struct model *m, uint32_t of, uint32_t count)
{
    uint64_t xor = 0;

    for (; count > 0 && m->ids < IDS; count--) {
        m->id[m->ids] = (struct id){random_u64(&m->random), of};
        xor ^= m->id[m->ids++].id;
        m->turn[of].out++;
    }
    return xor;
}

static void model_turn(struct model *m, struct progress *p)
{
    struct model_turn *t = &m->turn[m->turns];
    uint32_t base = 0;

    *t = (struct model_turn){.turn = 2 * m->turns + 5, .bytes = random_below(&m->random, 1000)};
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        uint32_t records = 1 + (uint32_t)random_below(&m->random, 5);

        if (random_below(&m->random, 2) == 0)
            continue;
        t->range[t->ranges++] = (struct progress_range){i, base, m->cursor[i], m->cursor[i] + records};
        m->cursor[i] += records;
        base += records;
    }
    uint64_t xor = model_emit(m, m->turns++, (uint32_t)random_below(&m->random, 4));
    progress_add(p, t->turn, xor, t->bytes, t->range, t->ranges);
}

/* One id comes in somewhere, and some go out for it. */
static void model_consume(struct model *m, struct progress *p)
{
    if (m->ids == 0)
        return;
    uint32_t at = (uint32_t)random_below(&m->random, m->ids), of = m->id[at].of;
    uint64_t delta = m->id[at].id;

    m->id[at] = m->id[--m->ids];
    m->turn[of].out--;
    delta ^= random_below(&m->random, 3) == 0 ? model_emit(m, of, (uint32_t)random_below(&m->random, 3)) : 0;
    assert_true(progress_xor(p, m->turn[of].turn, delta));
}

static void model_check(const struct model *m, const struct progress *p)
{
    uint64_t open = 0, bytes = 0, records = 0;

    for (uint32_t i = 0; i < m->turns; i++) {
        if (m->turn[i].out == 0)
            continue;
        open++;
        bytes += m->turn[i].bytes;
        for (uint32_t j = 0; j < m->turn[i].ranges; j++)
            records += m->turn[i].range[j].next - m->turn[i].range[j].first;
    }
    assert_int_equal(progress_open_turns(p), open);
    assert_int_equal(progress_open_bytes(p), bytes);
    assert_int_equal(progress_open_records(p), records);
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        assert_int_equal(progress_frontier(p, i), model_frontier(m, i));
        assert_int_equal(progress_cursor(p, i), m->cursor[i]);
        assert_int_equal(m->moved[i], model_frontier(m, i));
    }
}

static struct progress *reopened(struct progress *p)
{
    struct buffer out = {0};
    struct progress *back = progress_open(PARTITIONS);

    progress_save(p, &out);
    struct reader in = reader_of(buffer_bytes(&out));
    assert_int_equal(progress_load(back, &in), 0);
    assert_int_equal(reader_left(&in), 0);
    progress_listen(back, heard, &model);
    progress_close(p);
    buffer_fini(&out);
    return back;
}

static void against_a_model(void **unused)
{
    uint64_t seed = random_entropy();
    struct model *m = &model;

    (void)unused;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct progress *p = progress_open(PARTITIONS);

        memset(m, 0, sizeof(*m));
        random_seed(&m->random, seed + round);
        progress_listen(p, heard, m);
        while (m->turns < TURNS) {
            if (random_below(&m->random, 3) == 0)
                model_turn(m, p);
            else
                model_consume(m, p);
            model_check(m, p);
            if (random_below(&m->random, 20) == 0) {
                p = reopened(p);
                model_check(m, p);
            }
        }
        if (round % 2 == 0) /* else it is closed with turns open */
            while (m->ids > 0)
                model_consume(m, p);
        model_check(m, p);
        progress_close(p);
    }
}

/* ---- Bytes ---- */

static void more_partitions_than_saved(void **unused)
{
    struct progress *p = progress_open(2), *grown = progress_open(PARTITIONS), *less = progress_open(1);
    struct buffer out = {0};

    (void)unused;
    progress_add(p, 1, 4, 1, (struct progress_range[]){{1, 0, 0, 2}}, 1);
    progress_save(p, &out);
    struct reader in = reader_of(buffer_bytes(&out));
    assert_int_equal(progress_load(grown, &in), 0);
    assert_int_equal(progress_cursor(grown, 1), 2);
    assert_int_equal(progress_frontier(grown, 1), 0);
    assert_int_equal(progress_frontier(grown, 3), 0);
    in = reader_of(buffer_bytes(&out));
    assert_int_equal(progress_load(less, &in), LEAT_ECORRUPT);
    progress_close(p);
    progress_close(grown);
    progress_close(less);
    buffer_fini(&out);
}

static void cut_anywhere(void **unused)
{
    struct progress *p = progress_open(PARTITIONS);
    struct buffer out = {0};

    (void)unused;
    progress_add(p, 1, 4, 100, two, 2);
    progress_add(p, 200, 5, 1000, (struct progress_range[]){{1, 0, 300, 70000}}, 1);
    progress_save(p, &out);
    for (size_t size = 0; size < out.size; size++) {
        struct progress *back = progress_open(PARTITIONS);
        struct reader in = reader_of(span_of(out.base, size));

        assert_int_equal(progress_load(back, &in), LEAT_ECORRUPT);
        progress_close(back);
    }
    progress_close(p);
    buffer_fini(&out);
}

static void ranges_that_overlap(void **unused)
{
    struct progress *p = progress_open(2);
    struct buffer out = {0};

    (void)unused;
    static const uint8_t turn[] = {1, 5, 0, 0, 0, 0, 0, 0, 0, 1, /* ranges */ 2, 0, 0, 5, 9, 0, 4, 2, 3};
    buffer_put(&out, (uint8_t[]){2, 9, 9, 1}, 4); /* partitions, their cursors, turns */
    buffer_put(&out, turn, sizeof(turn));
    struct reader in = reader_of(buffer_bytes(&out));
    assert_int_equal(progress_load(p, &in), LEAT_ECORRUPT);
    progress_close(p);
    buffer_fini(&out);
}

static void changed_bytes_are_survived(void **unused)
{
    uint64_t seed = random_entropy();
    struct progress *p = progress_open(PARTITIONS);
    struct buffer out = {0};
    struct random r;

    (void)unused;
    print_message("seed %llu\n", (unsigned long long)seed);
    random_seed(&r, seed);
    progress_add(p, 1, 4, 100, two, 2);
    progress_add(p, 200, 5, 1000, (struct progress_range[]){{1, 0, 300, 70000}, {2, 69700, 12, 13}}, 2);
    progress_save(p, &out);
    uint8_t *bytes = base_alloc(out.size);
    for (int i = 0; i < 5000; i++) {
        struct progress *back = progress_open(PARTITIONS);

        memcpy(bytes, out.base, out.size);
        for (uint64_t hits = 1 + random_below(&r, 3); hits > 0; hits--)
            bytes[random_below(&r, out.size)] = (uint8_t)random_u64(&r);
        struct reader in = reader_of(span_of(bytes, out.size));
        int rv = progress_load(back, &in);
        assert_true(rv == 0 || rv == LEAT_ECORRUPT);
        progress_close(back);
    }
    free(bytes);
    progress_close(p);
    buffer_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty),
        cmocka_unit_test(done_at_once),
        cmocka_unit_test(open_until_all_ids_are_in),
        cmocka_unit_test(frontiers_move_in_order),
        cmocka_unit_test(records_by_index),
        cmocka_unit_test(no_ranges),
        cmocka_unit_test(against_a_model),
        cmocka_unit_test(more_partitions_than_saved),
        cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(ranges_that_overlap),
        cmocka_unit_test(changed_bytes_are_survived),
    };

    return cmocka_run_group_tests_name("engine_progress", tests, NULL, NULL);
}
