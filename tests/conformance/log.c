/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/file.h"
#include "base/random.h"
#include "depots/log.h"

/* One suite for every backend of the log: adding a backend is one row of `backends`. */

enum { PARTITIONS = 7, OPERATIONS = 3000 };

static const struct log_ops *const backends[] = {&log_memory, &log_segments};

struct fixture {
    const struct log_ops *ops;
    struct log_config config;
    struct log *log;
    char directory[64];
};

static void open_fixture(struct fixture *f, const struct log_ops *ops)
{
    struct leat_error err = {0};

    *f = (struct fixture){.ops = ops};
    snprintf(f->directory, sizeof(f->directory), "/tmp/leat-log-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    f->config = (struct log_config){.directory = f->directory, .partitions = PARTITIONS, .durability = LEAT_PROCESS,
                                    .segment_size = 32768};
    assert_int_equal(log_open(ops, &f->config, &f->log, &err), 0);
}

static void close_fixture(struct fixture *f)
{
    log_close(f->log);
    file_remove_tree(f->directory, NULL);
}

static void append(struct log *l, uint32_t partition, const char *text, uint64_t *offset)
{
    struct log_record r = {
        .partition = partition, .time_us = 1000, .session = 5, .sequence = 6, .body = span_text(text)};

    assert_int_equal(log_append(l, &r, 1, offset), 0);
}

static void appends_are_readable_after_a_sync(const struct log_ops *ops)
{
    struct leat_error err = {0};
    struct log_slice slice;
    struct fixture f;
    uint64_t offset = 99, first, next;

    open_fixture(&f, ops);
    append(f.log, 3, "one", &offset);
    assert_int_equal(offset, 0);
    assert_int_equal(log_read(f.log, 3, 0, 10, 1000, &slice, &err), LEAT_EAGAIN);
    assert_int_equal(log_sync(f.log, &err), 0);
    append(f.log, 3, "two", &offset);
    assert_int_equal(offset, 1);
    log_bounds(f.log, 3, &first, &next);
    assert_int_equal(first, 0);
    assert_int_equal(next, 1);
    assert_int_equal(log_sync(f.log, &err), 0);
    assert_int_equal(log_read(f.log, 3, 0, 1, 1000, &slice, &err), 0);
    assert_int_equal(slice.count, 1);
    assert_int_equal(slice.next, 1);
    assert_true(span_equal(slice.entry[0].body, span_text("one")));
    assert_int_equal(slice.entry[0].time_us, 1000);
    assert_int_equal(slice.entry[0].session, 5);
    assert_int_equal(slice.entry[0].sequence, 6);
    log_release(f.log, &slice);
    assert_int_equal(log_read(f.log, 3, 1, 10, 1000, &slice, &err), 0);
    assert_true(span_equal(slice.entry[0].body, span_text("two")));
    log_release(f.log, &slice);
    assert_int_equal(log_read(f.log, 3, 2, 10, 1000, &slice, &err), LEAT_EAGAIN);
    assert_int_equal(log_read(f.log, 4, 0, 10, 1000, &slice, &err), LEAT_EAGAIN);
    assert_int_equal(log_sync(f.log, &err), 0);
    close_fixture(&f);
}

/* What was appended, to compare with. */
struct model {
    uint64_t seed[OPERATIONS];
    uint32_t count, durable;
};

static size_t make_body(uint64_t seed, uint8_t *out)
{
    struct random r;
    size_t size;

    random_seed(&r, seed);
    size = random_below(&r, 10) == 0 ? random_below(&r, 9000) : random_below(&r, 60);
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)random_u64(&r);
    return size;
}

static void check_partition(struct log *l, uint32_t partition, const struct model *m, struct random *random)
{
    static uint8_t body[10000];
    struct leat_error err = {0};
    struct log_slice slice;
    uint64_t first, next, at;

    log_bounds(l, partition, &first, &next);
    assert_int_equal(next, m->durable);
    at = first + (next > first ? random_below(random, next - first) : 0);
    while (at < next) {
        assert_int_equal(log_read(l, partition, at, 1 + (uint32_t)random_below(random, 20), random_below(random, 5000),
                                  &slice, &err), 0);
        assert_true(slice.count > 0);
        for (uint32_t i = 0; i < slice.count; i++, at++) {
            size_t size = make_body(m->seed[at], body);

            assert_int_equal(slice.entry[i].offset, at);
            assert_int_equal(slice.entry[i].sequence, m->seed[at] % 3 == 0 ? 0 : m->seed[at]);
            assert_int_equal(slice.entry[i].time_us, (int64_t)(m->seed[at] % 100000));
            assert_true(span_equal(slice.entry[i].body, span_of(body, size)));
        }
        assert_int_equal(slice.next, at);
        log_release(l, &slice);
    }
}

/* Bodies stay until they are synced; then nobody may look at them any more. */
struct bodies {
    uint8_t bytes[4 << 20];
    size_t used;
};

static void bodies_gone(struct bodies *b)
{
    memset(b->bytes, 0xee, b->used);
    b->used = 0;
}

/* Thousands of random appends, syncs, reads, trims and, where the backend keeps anything, reopenings. */
static void behaves_as_a_model(const struct log_ops *ops)
{
    static struct model model[PARTITIONS];
    static struct bodies bodies;
    struct leat_error err = {0};
    struct random random;
    struct fixture f;
    uint64_t seed = 1;

    memset(model, 0, sizeof(model));
    open_fixture(&f, ops);
    random_seed(&random, 4711);
    for (int i = 0; i < OPERATIONS; i++) {
        uint32_t p = (uint32_t)random_below(&random, PARTITIONS), what = (uint32_t)random_below(&random, 100);
        struct model *m = &model[p];

        if (what < 70 && m->count < OPERATIONS) {
            uint64_t s = seed++, offset;
            uint8_t *body = bodies.bytes + bodies.used;
            size_t size = make_body(s, body);
            struct log_record r = {.partition = p, .time_us = (int64_t)(s % 100000), .session = s % 3 == 0 ? 0 : 42,
                                   .sequence = s, .body = span_of(body, size)};

            assert_int_equal(log_append(f.log, &r, 1, &offset), 0);
            assert_int_equal(offset, m->count);
            m->seed[m->count++] = s;
            bodies.used += size;
            assert_true(bodies.used + 10000 < sizeof(bodies.bytes));
        } else if (what < 85) {
            assert_int_equal(log_sync(f.log, &err), 0);
            for (uint32_t j = 0; j < PARTITIONS; j++)
                model[j].durable = model[j].count;
            bodies_gone(&bodies);
        } else if (what < 97) {
            check_partition(f.log, p, m, &random);
        } else if (what < 99) {
            uint64_t first, next, before;

            log_bounds(f.log, p, &first, &next);
            assert_int_equal(log_trim(f.log, p, before = next / 2, &err), 0);
            log_bounds(f.log, p, &first, &next);
            assert_true(first <= before);
        } else if (ops != &log_memory) {
            log_close(f.log);
            assert_int_equal(log_open(ops, &f.config, &f.log, &err), 0);
            for (uint32_t j = 0; j < PARTITIONS; j++)
                model[j].count = model[j].durable;
            bodies_gone(&bodies);
        }
    }
    close_fixture(&f);
}

static void trimmed_offsets_are_refused(const struct log_ops *ops)
{
    static uint8_t body[9000];
    struct leat_error err = {0};
    struct log_slice slice;
    struct fixture f;
    uint64_t first, next;

    open_fixture(&f, ops);
    for (int i = 0; i < 40; i++) {
        struct log_record r = {.partition = 0, .body = span_of(body, sizeof(body))};

        assert_int_equal(log_append(f.log, &r, 1, NULL), 0);
        assert_int_equal(log_sync(f.log, &err), 0);
    }
    assert_int_equal(log_trim(f.log, 0, 30, &err), 0);
    log_bounds(f.log, 0, &first, &next);
    assert_true(first > 0 && first <= 30);
    assert_int_equal(next, 40);
    assert_int_equal(log_read(f.log, 0, first - 1, 1, 100, &slice, &err), LEAT_ETRIMMED);
    assert_int_equal(log_read(f.log, 0, first, 1, 100, &slice, &err), 0);
    log_release(f.log, &slice);
    close_fixture(&f);
}

static void limits_hold(const struct log_ops *ops)
{
    struct log_record r = {.partition = 0, .body = {"", (size_t)LIMIT_BATCH + 1}};
    struct fixture f;

    open_fixture(&f, ops);
    assert_int_equal(log_append(f.log, &r, 1, NULL), LEAT_ELIMIT);
    assert_int_equal(log_append(f.log, &r, LIMIT_RECORDS + 1, NULL), LEAT_ELIMIT); /* by number: there is only one */
    close_fixture(&f);
}

static void every_backend(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH_OF(backends); i++) {
        appends_are_readable_after_a_sync(backends[i]);
        behaves_as_a_model(backends[i]);
        trimmed_offsets_are_refused(backends[i]);
        limits_hold(backends[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_backend)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
