/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/random.h"
#include "depots/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

/* What a log says of its chunks, against a list of all that was appended; what is trimmed, and what is not. */

enum { PARTITIONS = 6, SEGMENT = 16384, RECORDS = 4000, BODY = 100 };

static char directory[64];
static struct log *l;

/* By record: in order of appending. */
static struct {
    uint32_t partition;
    uint64_t offset;
    int64_t time_us;
} record[RECORDS];
static uint64_t next[PARTITIONS];

static void open_log(void)
{
    struct log_config config = {
        .directory = directory, .partitions = PARTITIONS, .durability = LEAT_PROCESS, .segment_size = SEGMENT};

    assert_int_equal(log_open(&log_segments, &config, &l, NULL), 0);
}

static int set_up(void **state)
{
    uint8_t body[BODY] = {0};
    struct random r;

    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/leat-chunks-XXXXXX");
    assert_non_null(mkdtemp(directory));
    memset(next, 0, sizeof(next));
    random_seed(&r, 11);
    open_log();
    for (uint32_t i = 0; i < RECORDS; i++) {
        /* The last partition has nothing, the one before only in the first part. */
        uint32_t partition = (uint32_t)random_below(&r, i < RECORDS / 2 ? PARTITIONS - 1 : PARTITIONS - 2);
        struct log_record one = {.partition = partition, .time_us = 1000 + i, .body = span_of(body, BODY)};

        record[i].partition = partition;
        record[i].time_us = one.time_us;
        assert_int_equal(log_append(l, &one, 1, &record[i].offset), 0);
        next[partition]++;
        assert_int_equal(log_sync(l, NULL), 0);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    log_close(l);
    return file_remove_tree(directory, NULL);
}

static void check_chunk(uint32_t first, uint32_t count, const struct log_chunk *c, const uint64_t *end)
{
    int64_t newest = INT64_MIN;
    uint64_t behind = 0;

    for (uint32_t i = 0; i < RECORDS; i++) {
        if (record[i].partition < first || record[i].partition >= first + count)
            continue;
        if (record[i].offset < end[record[i].partition - first])
            newest = record[i].time_us > newest ? record[i].time_us : newest;
        else
            behind++;
    }
    assert_int_equal(c->newest_us, newest);
    /* A record takes its body and a few bytes. */
    assert_true(c->behind >= behind * BODY && c->behind <= behind * (BODY + 10));
}

static uint32_t check_chunks(uint32_t first, uint32_t count)
{
    uint64_t end[PARTITIONS], before[PARTITIONS] = {0};
    struct log_chunk c;
    uint32_t index = 0;

    for (; log_chunk(l, index, first, count, &c, end); index++) {
        check_chunk(first, count, &c, end);
        for (uint32_t i = 0; i < count; i++)
            assert_true(end[i] >= before[i]);
        memcpy(before, end, sizeof(before));
    }
    return index;
}

static void check_usage(void)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        uint64_t first, last;
        struct log_usage u;
        int64_t oldest = INT64_MAX;

        log_bounds(l, p, &first, &last);
        log_usage(l, p, 1, &u);
        for (uint32_t i = RECORDS; i > 0; i--)
            if (record[i - 1].partition == p && record[i - 1].offset >= first)
                oldest = record[i - 1].time_us;
        assert_int_equal(u.oldest_us, oldest);
        assert_true(u.bytes >= (last - first) * BODY && u.bytes <= (last - first) * (BODY + 10));
    }
}

static void chunks_are_what_was_appended(void **state)
{
    (void)state;
    for (int opened = 0; opened < 2; opened++) {
        uint32_t chunks = check_chunks(0, PARTITIONS);

        assert_true(chunks > 20);
        assert_int_equal(check_chunks(1, 3), chunks);
        assert_int_equal(check_chunks(PARTITIONS - 1, 1), chunks);
        check_usage();
        log_close(l);
        open_log();
    }
}

static void allow(uint32_t chunk, uint32_t without)
{
    uint64_t end[PARTITIONS];
    struct log_chunk c;

    assert_true(log_chunk(l, chunk, 0, PARTITIONS, &c, end));
    for (uint32_t p = 0; p < PARTITIONS; p++)
        assert_int_equal(log_trim(l, p, p == without ? 0 : end[p], NULL), 0);
}

static void trimmed_chunks_are_gone(void **state)
{
    uint32_t chunks = check_chunks(0, PARTITIONS);

    (void)state;
    allow(9, 0);
    assert_int_equal(check_chunks(0, PARTITIONS), chunks);
    allow(9, UINT32_MAX);
    assert_int_equal(check_chunks(0, PARTITIONS), chunks - 10);
    check_usage();
    log_close(l);
    open_log();
    assert_int_equal(check_chunks(0, PARTITIONS), chunks - 10);
    check_usage();
}

/* A partition whose records are all gone holds nothing, although nobody says so again after an opening. */
static void what_has_no_records_holds_none(void **state)
{
    uint32_t chunks = check_chunks(0, PARTITIONS);
    uint64_t first, last;

    (void)state;
    allow(chunks * 3 / 4, UINT32_MAX);
    log_bounds(l, PARTITIONS - 2, &first, &last);
    assert_int_equal(first, last);
    assert_int_equal(first, next[PARTITIONS - 2]);
    log_close(l);
    open_log();
    uint32_t left = check_chunks(0, PARTITIONS);
    allow(2, PARTITIONS - 2);
    assert_int_equal(check_chunks(0, PARTITIONS), left - 3);
}

/* What was allowed and could not go is not allowed any more once that is said. */
static void the_last_word_counts(void **state)
{
    uint32_t chunks = check_chunks(0, PARTITIONS);

    (void)state;
    allow(9, 0);
    assert_int_equal(log_trim(l, 1, 0, NULL), 0);
    assert_int_equal(log_trim(l, 0, next[0], NULL), 0);
    assert_int_equal(check_chunks(0, PARTITIONS), chunks);
    assert_int_equal(log_trim(l, 1, next[1], NULL), 0);
    assert_int_equal(check_chunks(0, PARTITIONS), chunks - 10);
}

/* ---- Appends and trims at once ---- */

enum { ROUNDS = 3000 };

static void *append_on(void *context)
{
    uint8_t body[BODY] = {0};

    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct log_record one = {.partition = i % 3, .time_us = 1000000 + i, .body = span_of(body, BODY)};

        assert_int_equal(log_append(l, &one, 1, NULL), 0);
        assert_int_equal(log_sync(l, NULL), 0);
    }
    atomic_store((_Atomic bool *)context, true);
    return NULL;
}

static void one_thread_trims_what_another_appends(void **state)
{
    _Atomic bool done = false;
    uint64_t end[PARTITIONS], first, last;
    struct log_chunk c;
    pthread_t thread;
    bool ending;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, append_on, &done), 0);
    do {
        ending = atomic_load(&done);
        while (log_chunk(l, 0, 0, PARTITIONS, &c, end))
            for (uint32_t p = 0; p < PARTITIONS; p++) {
                struct log_slice slice;
                struct log_usage u;

                log_usage(l, p, 1, &u);
                log_bounds(l, p, &first, &last);
                if (log_read(l, p, first, 10, 1000, &slice, NULL) == 0)
                    log_release(l, &slice);
                assert_int_equal(log_trim(l, p, end[p], NULL), 0);
            }
    } while (!ending);
    pthread_join(thread, NULL);
    for (uint32_t p = 0; p < 3; p++) {
        log_bounds(l, p, &first, &last);
        assert_int_equal(last, next[p] + ROUNDS / 3);
        assert_true(first > next[p] && first < last);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(chunks_are_what_was_appended, set_up, tear_down),
        cmocka_unit_test_setup_teardown(trimmed_chunks_are_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_has_no_records_holds_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_last_word_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_thread_trims_what_another_appends, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
