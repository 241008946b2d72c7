/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "base/random.h"
#include "engine/journal.h"

enum { ROUNDS = 300, LIST = 6 };

static struct arena *arena;
static struct random chance;

static int setup(void **unused)
{
    uint64_t seed = random_entropy();

    (void)unused;
    print_message("seed %llu\n", (unsigned long long)seed);
    random_seed(&chance, seed);
    arena = arena_open((size_t)1 << 30);
    return 0;
}

static int teardown(void **unused)
{
    (void)unused;
    arena_close(arena);
    return 0;
}

/* Numbers of all lengths. */
static uint64_t any64(void)
{
    return random_u64(&chance) >> random_below(&chance, 64);
}

static uint32_t any32(void)
{
    return (uint32_t)any64() >> random_below(&chance, 32);
}

static uint32_t list(void)
{
    return (uint32_t)random_below(&chance, LIST);
}

static struct leat_span any_span(size_t most)
{
    size_t size = random_below(&chance, most + 1);
    uint8_t *bytes = arena_alloc(arena, size + 1, 1);

    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)random_u64(&chance);
    return span_of(bytes, size);
}

/* ---- Batches ---- */

struct lists {
    struct progress_range range[LIST];
    struct batch_hop hop[LIST];
    struct batch_progress progress[LIST];
    struct batch_session session[LIST];
    struct batch_tick tick[LIST];
    struct batch_output output[LIST];
};

static struct batch any_batch(struct lists *l)
{
    struct batch b = {.epoch = any64(), .turn = any64(), .now_us = (int64_t)random_u64(&chance),
                      .opened_xor = any64(), .opened_bytes = any64(), .ops = any_span(100)};

    b.range = l->range, b.hop = l->hop, b.progress = l->progress;
    b.session = l->session, b.tick = l->tick, b.output = l->output;
    b.ranges = list(), b.hops = list(), b.progresses = list();
    b.sessions = list(), b.ticks = list(), b.outputs = list();
    for (uint32_t i = 0; i < LIST; i++) {
        uint64_t first = any64() / 2;

        l->range[i] = (struct progress_range){any32(), any32(), first, first + any64() / 2};
        l->hop[i] = (struct batch_hop){any32(), {any64(), any64(), any32(), any64()}};
        l->progress[i] = (struct batch_progress){any64(), any64()};
        l->session[i] = (struct batch_session){any32(), any64(), any64(), (int64_t)random_u64(&chance)};
        l->tick[i] = (struct batch_tick){any32(), (int64_t)random_u64(&chance)};
        l->output[i] = (struct batch_output){any32(), any64(), any_span(50)};
    }
    return b;
}

static void same_lists(const struct batch *a, const struct batch *b)
{
    assert_int_equal(a->ranges, b->ranges);
    for (uint32_t i = 0; i < a->ranges; i++)
        assert_memory_equal(&a->range[i], &b->range[i], sizeof(a->range[i]));
    assert_int_equal(a->progresses, b->progresses);
    for (uint32_t i = 0; i < a->progresses; i++)
        assert_memory_equal(&a->progress[i], &b->progress[i], sizeof(a->progress[i]));
    assert_int_equal(a->hops, b->hops);
    for (uint32_t i = 0; i < a->hops; i++) {
        assert_int_equal(a->hop[i].peer, b->hop[i].peer);
        assert_int_equal(a->hop[i].cursor.turn, b->hop[i].cursor.turn);
        assert_int_equal(a->hop[i].cursor.position, b->hop[i].cursor.position);
        assert_int_equal(a->hop[i].cursor.item, b->hop[i].cursor.item);
        assert_int_equal(a->hop[i].cursor.progress_turn, b->hop[i].cursor.progress_turn);
    }
    assert_int_equal(a->sessions, b->sessions);
    for (uint32_t i = 0; i < a->sessions; i++) {
        assert_int_equal(a->session[i].partition, b->session[i].partition);
        assert_int_equal(a->session[i].session, b->session[i].session);
        assert_int_equal(a->session[i].sequence, b->session[i].sequence);
        assert_int_equal(a->session[i].time_us, b->session[i].time_us);
    }
}

static void same_batch(const struct batch *a, const struct batch *b)
{
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->turn, b->turn);
    assert_int_equal(a->now_us, b->now_us);
    assert_int_equal(a->opened_xor, b->opened_xor);
    assert_int_equal(a->opened_bytes, b->opened_bytes);
    assert_true(span_equal(a->ops, b->ops));
    same_lists(a, b);
    assert_int_equal(a->ticks, b->ticks);
    for (uint32_t i = 0; i < a->ticks; i++) {
        assert_int_equal(a->tick[i].depot, b->tick[i].depot);
        assert_int_equal(a->tick[i].next_us, b->tick[i].next_us);
    }
    assert_int_equal(a->outputs, b->outputs);
    for (uint32_t i = 0; i < a->outputs; i++) {
        assert_int_equal(a->output[i].group, b->output[i].group);
        assert_int_equal(a->output[i].previous, b->output[i].previous);
        assert_true(span_equal(a->output[i].body, b->output[i].body));
    }
}

static void batches_come_back(void **unused)
{
    struct buffer out = {0};

    (void)unused;
    for (int round = 0; round < ROUNDS; round++) {
        struct lists l;
        struct leat_error err = {0};
        struct batch back, b = any_batch(&l);

        buffer_clear(&out);
        buffer_put(&out, "before", 6); /* a batch begins where the buffer ends */
        batch_encode(&b, &out);
        if (batch_decode(span_of(out.base + 6, out.size - 6), arena, &back, &err) != 0)
            fail_msg("%s", err.text);
        same_batch(&b, &back);
        arena_reset(arena);
    }
    buffer_fini(&out);
}

/* Cut anywhere, or with any byte changed, a record is no batch. */
static void cut_or_changed(void **unused)
{
    struct lists l;
    struct batch back, b = any_batch(&l);
    struct buffer out = {0};
    struct leat_error err;

    (void)unused;
    batch_encode(&b, &out);
    for (size_t size = 0; size < out.size; size++)
        assert_int_equal(batch_decode(span_of(out.base, size), arena, &back, &err), LEAT_ECORRUPT);
    assert_non_null(strstr(err.text, "not a whole batch"));
    for (size_t i = 0; i < out.size; i++) {
        uint8_t bit = (uint8_t)(1U << random_below(&chance, 8));

        out.base[i] ^= bit;
        assert_int_equal(batch_decode(buffer_bytes(&out), arena, &back, &err), LEAT_ECORRUPT);
        out.base[i] ^= bit;
    }
    assert_int_equal(batch_decode(buffer_bytes(&out), arena, &back, &err), 0);
    buffer_fini(&out);
}

static void reseal(struct buffer *out)
{
    store_u32(out->base + out->size - 4, crc32c(0, out->base, out->size - 4));
}

static void another_version(void **unused)
{
    struct batch back, b = {.turn = 1};
    struct buffer out = {0};
    struct leat_error err;

    (void)unused;
    batch_encode(&b, &out);
    out.base[4] = JOURNAL_VERSION + 1;
    reseal(&out);
    assert_int_equal(batch_decode(buffer_bytes(&out), arena, &back, &err), LEAT_EFORMAT);
    assert_non_null(strstr(err.text, "version 2"));
    buffer_fini(&out);
}

/* With a right checksum: nothing is read outside of the bytes, and memory stays in proportion to them. */
static void hostile_bytes(void **unused)
{
    struct buffer out = {0};
    uint32_t corrupt = 0;

    (void)unused;
    for (int round = 0; round < ROUNDS * 10; round++) {
        struct lists l;
        struct batch back, b = any_batch(&l);

        buffer_clear(&out);
        batch_encode(&b, &out);
        for (uint64_t hits = 1 + random_below(&chance, 4); hits > 0; hits--)
            out.base[5 + random_below(&chance, out.size - 9)] = random_below(&chance, 2) ? 0xff : (uint8_t)any32();
        out.size -= random_below(&chance, 4) == 0 ? random_below(&chance, out.size - 9) : 0;
        reseal(&out);
        arena_reset(arena);
        int rv = batch_decode(buffer_bytes(&out), arena, &back, NULL);
        assert_true(rv == 0 || rv == LEAT_ECORRUPT);
        corrupt += rv != 0;
        assert_true(arena_used(arena) <= 4096 + out.size * 6 * sizeof(struct batch_hop));
    }
    assert_true(corrupt > 0);
    buffer_fini(&out);
}

/* ---- Outputs ---- */

static struct output_item any_item(uint32_t sources)
{
    struct output_item it = {.kind = (enum output_kind)random_below(&chance, 3), .row = any_span(60)};

    if (it.kind == OUTPUT_APPEND) {
        it.depot = any32(), it.partition = any32();
        return it;
    }
    it.stream = any32(), it.node = any32();
    if (it.kind == OUTPUT_ROW) {
        it.task = any32(), it.hops = (uint8_t)any32(), it.index = any32();
        it.sources = UINT64_C(1) << random_below(&chance, sources);
    } else {
        it.sources = any64() >> (64 - sources), it.key = any_span(20);
    }
    return it;
}

static struct output_build any_output(void)
{
    struct output_build o = {0};
    uint32_t items = (uint32_t)random_below(&chance, 50), progresses = (uint32_t)random_below(&chance, 40);
    uint32_t returns = (uint32_t)random_below(&chance, 40);

    o.out.sources = 1 + (uint32_t)random_below(&chance, 64);
    o.out.source = arena_alloc(arena, o.out.sources * sizeof(*o.out.source), 8);
    for (uint32_t i = 0; i < o.out.sources; i++)
        o.out.source[i] = (struct output_source){any32(), any64(), any64()};
    for (uint32_t i = 0; i < items; i++) {
        struct output_item it = any_item(o.out.sources);

        output_add_item(&o, arena, &it);
    }
    for (uint32_t i = 0; i < progresses; i++)
        output_add_progress(&o, arena, any64(), any64());
    for (uint32_t i = 0; i < returns; i++)
        output_add_return(&o, arena, &(struct output_return){any64(), any32(), any_span(30)});
    assert_int_equal(o.out.items, items);
    assert_int_equal(o.out.returns, returns);
    return o;
}

static void same_item(const struct output_item *a, const struct output_item *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->stream, b->stream);
    assert_int_equal(a->node, b->node);
    assert_int_equal(a->task, b->task);
    assert_int_equal(a->depot, b->depot);
    assert_int_equal(a->partition, b->partition);
    assert_int_equal(a->hops, b->hops);
    assert_int_equal(a->index, b->index);
    assert_int_equal(a->sources, b->sources);
    assert_true(span_equal(a->key, b->key));
    assert_true(span_equal(a->row, b->row));
}

static void same_output(const struct output *a, const struct output *b)
{
    assert_int_equal(a->sources, b->sources);
    for (uint32_t i = 0; i < a->sources; i++) {
        assert_int_equal(a->source[i].group, b->source[i].group);
        assert_int_equal(a->source[i].turn, b->source[i].turn);
        assert_int_equal(a->source[i].id, b->source[i].id);
    }
    assert_int_equal(a->items, b->items);
    for (uint32_t i = 0; i < a->items; i++)
        same_item(&a->item[i], &b->item[i]);
    assert_int_equal(a->progresses, b->progresses);
    for (uint32_t i = 0; i < a->progresses; i++)
        assert_memory_equal(&a->progress[i], &b->progress[i], sizeof(a->progress[i]));
    assert_int_equal(a->returns, b->returns);
    for (uint32_t i = 0; i < a->returns; i++) {
        assert_int_equal(a->ret[i].turn, b->ret[i].turn);
        assert_int_equal(a->ret[i].index, b->ret[i].index);
        assert_true(span_equal(a->ret[i].value, b->ret[i].value));
    }
}

static void outputs_come_back(void **unused)
{
    struct buffer out = {0};

    (void)unused;
    for (int round = 0; round < ROUNDS; round++) {
        struct output_build o = any_output();
        struct output back;
        struct leat_error err = {0};

        buffer_clear(&out);
        output_encode(&o.out, &out);
        if (output_decode(buffer_bytes(&out), arena, &back, &err) != 0)
            fail_msg("%s", err.text);
        same_output(&o.out, &back);
        arena_reset(arena);
    }
    buffer_fini(&out);
}

static void outputs_cut_anywhere(void **unused)
{
    struct output_build o = any_output();
    struct output back;
    struct buffer out = {0};

    (void)unused;
    output_encode(&o.out, &out);
    for (size_t size = 0; size < out.size; size++) {
        /* A copy of just that size, so that the sanitizer sees a read behind it. */
        uint8_t *cut = base_alloc(size + 1);

        memcpy(cut, out.base, size);
        assert_int_equal(output_decode(span_of(cut, size), arena, &back, NULL), LEAT_ECORRUPT);
        free(cut);
    }
    buffer_u8(&out, 0);
    assert_int_equal(output_decode(buffer_bytes(&out), arena, &back, NULL), LEAT_ECORRUPT);
    buffer_fini(&out);
}

/* A row that stems from a source which the output does not list; a kind that there is not. */
static void items_that_cannot_be(void **unused)
{
    struct output_source source = {1, 2, 3};
    struct output_item item = {.kind = OUTPUT_ROW, .sources = 2};
    struct output back, o = {.source = &source, .sources = 1, .item = &item, .items = 1};
    struct buffer out = {0};

    (void)unused;
    output_encode(&o, &out);
    assert_int_equal(output_decode(buffer_bytes(&out), arena, &back, NULL), LEAT_ECORRUPT);
    item.sources = 1;
    buffer_clear(&out);
    output_encode(&o, &out);
    assert_int_equal(output_decode(buffer_bytes(&out), arena, &back, NULL), 0);
    item = (struct output_item){.kind = OUTPUT_STATE, .sources = 3};
    buffer_clear(&out);
    output_encode(&o, &out);
    assert_int_equal(output_decode(buffer_bytes(&out), arena, &back, NULL), LEAT_ECORRUPT);
    item = (struct output_item){.kind = OUTPUT_ROW, .sources = 1};
    buffer_clear(&out);
    output_encode(&o, &out);
    size_t kind = 1 + 1 + 1 + 8 + 1 + 1 + 1;
    assert_int_equal(out.base[kind], OUTPUT_ROW);
    out.base[kind] = 3;
    assert_int_equal(output_decode(buffer_bytes(&out), arena, &back, NULL), LEAT_ECORRUPT);
    buffer_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(batches_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(cut_or_changed, setup, teardown),
        cmocka_unit_test_setup_teardown(another_version, setup, teardown),
        cmocka_unit_test_setup_teardown(hostile_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(outputs_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(outputs_cut_anywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(items_that_cannot_be, setup, teardown),
    };

    return cmocka_run_group_tests_name("engine_journal", tests, NULL, NULL);
}
