/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/intake.h"

#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "tests/lib/fault.h"

#include <errno.h>
#include <stdio.h>

/* An intake on a log of files whose disk is full now and then: what is refused is as if it had never come, what is
 * acknowledged is there, once and in order, and nothing has to be opened again. */

enum { SEGMENT = 8192, ROWS = 8, BODY = 1024, SESSION = 7 };

static char directory[64];

static void readable(void *context)
{
    (void)context;
}

static int setup(void **unused)
{
    (void)unused;
    snprintf(directory, sizeof(directory), "/tmp/leat-space-XXXXXX");
    assert_non_null(mkdtemp(directory));
    struct log_config c = {.directory = directory, .partitions = PARTITIONS, .segment_size = SEGMENT};
    bench_open(&log_segments, &c, readable, NULL);
    return 0;
}

static int teardown(void **unused)
{
    (void)unused;
    bench_close();
    file_remove_tree(directory, NULL);
    return 0;
}

static void fill_disk(void)
{
    fault_begin(directory, &(struct fault){.call = FAULT_ALLOCATE, .at = 1, .number = ENOSPC, .lasting = true});
}

/* ---- Shares ---- */

static const uint8_t body[BODY];

/* The row of a sequence goes to partition sequence % PARTITIONS. */
static void part_make(struct part *p, enum leat_ack ack, uint64_t sequence, uint32_t count, size_t size)
{
    part_begin(p, ack, count);
    for (uint32_t i = 0; i < count; i++)
        p->record[i] = (struct log_record){(uint32_t)((sequence + i) % PARTITIONS), 1000, SESSION, sequence + i,
                                           span_of(body, size)};
}

static int part_answer(struct part *p)
{
    int rv = part_wait(p);

    part_end(p);
    return rv;
}

static int append(enum leat_ack ack, uint64_t sequence, uint32_t count, size_t size)
{
    struct part p;

    part_make(&p, ack, sequence, count, size);
    int rv = intake_submit(at.intake, &p.share, true);
    return rv != 0 ? rv : part_answer(&p);
}

/* Sequences in the log: all of 1..count, each once, in order. */
static void check_log(uint64_t count)
{
    uint64_t rows = 0;

    for (uint32_t i = 0; i < PARTITIONS; i++) {
        struct log_slice slice;
        uint64_t offset = 0, want = i == 0 ? PARTITIONS : i;

        while (log_read(at.log, i, offset, 100, 1 << 20, &slice, NULL) == 0) {
            for (uint32_t j = 0; j < slice.count; j++, rows++, want += PARTITIONS)
                assert_int_equal(slice.entry[j].sequence, want);
            offset = slice.next;
            log_release(at.log, &slice);
        }
    }
    assert_int_equal(rows, count);
}

/* ---- One at a time ---- */

static void goes_on_when_there_is_space(void **unused)
{
    struct leat_error err = {0};
    uint64_t sequence, next = 1;

    (void)unused;
    fill_disk();
    while (append(LEAT_APPENDED, next, ROWS, 100) == 0)
        next += ROWS;
    assert_true(next > 1 && intake_figures(at.intake)->rows == next - 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(append(i == 1 ? LEAT_PROCESSED : LEAT_APPENDED, next, ROWS, 100), LEAT_ENOSPACE);
    assert_int_equal(intake_status(at.intake, &err), 0);
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        assert_true(intake_session(at.intake, i, SESSION, &sequence));
        assert_true(sequence < next);
    }
    fault_end();
    acks_advance(at.acks, 0, UINT64_MAX); /* nobody waits any more for what was refused */
    assert_int_equal(append(LEAT_APPENDED, next, ROWS, 100), 0);
    check_log(next + ROWS - 1);
    assert_int_equal(intake_figures(at.intake)->rows, next + ROWS - 1);
}

/* A session that is new to every partition is new again. */
static void a_refused_session_is_unknown(void **unused)
{
    uint64_t sequence;

    (void)unused;
    fill_disk();
    assert_int_equal(append(LEAT_APPENDED, 1, ROWS, BODY), LEAT_ENOSPACE);
    for (uint32_t i = 0; i < PARTITIONS; i++)
        assert_false(intake_session(at.intake, i, SESSION, &sequence));
    fault_end();
    assert_int_equal(append(LEAT_APPENDED, 1, ROWS, BODY), 0);
    check_log(ROWS);
}

/* A small append fits where a large one did not: it must not make that one look like a repeat. */
static void nothing_overtakes_what_was_refused(void **unused)
{
    (void)unused;
    fill_disk();
    assert_int_equal(append(LEAT_APPENDED, 1, ROWS, BODY), LEAT_ENOSPACE);
    assert_int_equal(append(LEAT_APPENDED, 1 + ROWS, 1, 1), LEAT_EAGAIN);
    fault_end();
    assert_int_equal(append(LEAT_APPENDED, 1 + ROWS, 1, 1), LEAT_EAGAIN);
    assert_int_equal(append(LEAT_APPENDED, 1, 1, 1), 0); /* in smaller pieces */
    assert_int_equal(append(LEAT_APPENDED, 2, ROWS - 1, 1), 0);
    assert_int_equal(append(LEAT_APPENDED, 1 + ROWS, 1, 1), 0);
    check_log(1 + ROWS);
}

/* Who asks for no acknowledgement does not learn of the refusal, and could not send the rows again. */
static void nothing_waits_for_what_nobody_asked_about(void **unused)
{
    (void)unused;
    fill_disk();
    assert_int_equal(append(LEAT_NONE, 1, ROWS, BODY), LEAT_ENOSPACE);
    fault_end();
    assert_int_equal(append(LEAT_APPENDED, 1 + ROWS, 1, 1), 0);
    fill_disk();
    assert_int_equal(append(LEAT_APPENDED, 2 + ROWS, ROWS, BODY), LEAT_ENOSPACE);
    fault_end();
    assert_int_equal(append(LEAT_NONE, 2 + 2 * ROWS, 1, 1), LEAT_EAGAIN);
    assert_int_equal(append(LEAT_APPENDED, 2 + ROWS, ROWS, BODY), 0);
    assert_int_equal(append(LEAT_APPENDED, 3 + 2 * ROWS, 1, 1), 0);
}

/* A full intake refuses without a round: here while a sync of more than it may hold is under way. */
static void nothing_overtakes_what_found_no_room(void **unused)
{
    size_t size = (size_t)LIMIT_PENDING_APPEND / ROWS - 4096;
    uint8_t *large = base_alloc(size);
    struct part p[3];
    uint64_t next = 1;
    int full = 0;

    (void)unused;
    for (int attempt = 0; attempt < 20 && full == 0; attempt++) {
        int rv[3];

        for (uint32_t i = 0; i < 3; i++) {
            part_make(&p[i], LEAT_APPENDED, next + i * ROWS, ROWS, 1);
            for (uint32_t j = 0; j < ROWS && i < 2; j++)
                p[i].record[j].body = span_of(large, i == 0 ? size : size / 2);
            rv[i] = intake_submit(at.intake, &p[i].share, false);
        }
        for (uint32_t i = 0; i < 3; i++)
            rv[i] = rv[i] == 0 ? part_answer(&p[i]) : rv[i];
        assert_true(rv[0] == 0 && (rv[1] == 0 || rv[1] == LEAT_EFULL));
        assert_int_equal(rv[2], rv[1] == 0 ? 0 : LEAT_EAGAIN);
        full += rv[1] == LEAT_EFULL;
        next += full > 0 ? ROWS : 3 * ROWS;
    }
    assert_int_equal(full, 1);
    assert_int_equal(append(LEAT_APPENDED, next, ROWS, 1), 0);
    assert_int_equal(append(LEAT_APPENDED, next + ROWS, ROWS, 1), 0);
    check_log(next + 2 * ROWS - 1);
    free(large);
}

/* ---- Many under way, and a disk that is full now and then ---- */

static void pipelined(void **unused)
{
    enum { WINDOW = 6, TOTAL = 4000 };
    uint64_t seed = getenv("LEAT_SEED") != NULL ? strtoull(getenv("LEAT_SEED"), NULL, 10) : random_entropy(), done = 0;
    uint32_t refused = 0, skipped = 0;
    struct part p[WINDOW];
    struct random r;

    (void)unused;
    print_message("seed %llu\n", (unsigned long long)seed);
    random_seed(&r, seed);
    /* On a machine that is busy the disk may be empty again before what is under way is written. */
    while (done < TOTAL || ((refused <= 10 || skipped == 0) && done < 20 * TOTAL)) {
        uint64_t next = done + 1;
        bool lost = false;

        if (random_below(&r, 3) == 0)
            fill_disk();
        else
            fault_end();
        for (uint32_t i = 0; i < WINDOW; i++) {
            part_make(&p[i], LEAT_APPENDED, next, 1 + (uint32_t)random_below(&r, ROWS), random_below(&r, BODY));
            next += p[i].share.count;
            assert_int_equal(intake_submit(at.intake, &p[i].share, random_below(&r, 2) == 0), 0);
            if (random_below(&r, 8) == 0)
                fault_end();
        }
        for (uint32_t i = 0; i < WINDOW; i++) {
            int rv = part_answer(&p[i]);

            assert_true(rv == 0 || rv == LEAT_ENOSPACE || rv == LEAT_EAGAIN);
            assert_true(!lost || rv != 0); /* behind a refused one nothing is taken */
            lost = lost || rv != 0;
            refused += rv == LEAT_ENOSPACE;
            skipped += rv == LEAT_EAGAIN;
            done += lost ? 0 : p[i].share.count;
        }
    }
    fault_end();
    check_log(done);
    assert_true(refused > 10 && skipped > 0);
}

/* ---- What was refused is sent again in any order, new rows between, as threads or callbacks do it ---- */

/* Rows in the log, whose sequences rise in each partition. */
static uint64_t count_log(void)
{
    uint64_t rows = 0;

    for (uint32_t i = 0; i < PARTITIONS; i++) {
        struct log_slice slice;
        uint64_t offset = 0, last = 0;

        while (log_read(at.log, i, offset, 100, 1 << 20, &slice, NULL) == 0) {
            for (uint32_t j = 0; j < slice.count; j++, rows++, last = slice.entry[j - 1].sequence)
                assert_true(slice.entry[j].sequence > last);
            offset = slice.next;
            log_release(at.log, &slice);
        }
    }
    return rows;
}

static void in_any_order(void **unused)
{
    enum { WAITING = 12, APPENDS = 1500 };
    uint64_t seed = getenv("LEAT_SEED") != NULL ? strtoull(getenv("LEAT_SEED"), NULL, 10) : random_entropy();
    uint64_t next = 1, acknowledged = 0;
    struct { uint64_t sequence; uint32_t rows; } wait[WAITING]; /* in order of sequences */
    uint32_t waiting = 0, taken = 0, early = 0;
    struct random r;

    (void)unused;
    print_message("seed %llu\n", (unsigned long long)seed);
    random_seed(&r, seed);
    while (taken < APPENDS) {
        uint32_t i = (uint32_t)random_below(&r, waiting + 1);

        if (i == waiting && waiting == WAITING)
            i = 0; /* the oldest, so that it goes on */
        if (i == waiting) {
            wait[waiting].sequence = next;
            wait[waiting++].rows = 1 + (uint32_t)random_below(&r, ROWS);
            next += wait[i].rows + random_below(&r, 3);
        }
        if (random_below(&r, 4) == 0)
            fill_disk();
        int rv = append(LEAT_APPENDED, wait[i].sequence, wait[i].rows, random_below(&r, BODY));
        fault_end();
        assert_true(rv == LEAT_ENOSPACE || rv == (i == 0 ? 0 : LEAT_EAGAIN));
        early += rv == LEAT_EAGAIN;
        if (rv != 0)
            continue;
        acknowledged += wait[i].rows;
        taken++;
        memmove(wait, wait + 1, --waiting * sizeof(*wait));
    }
    assert_int_equal(count_log(), acknowledged);
    assert_true(early > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(in_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(goes_on_when_there_is_space, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_session_is_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_overtakes_what_was_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_overtakes_what_found_no_room, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_waits_for_what_nobody_asked_about, setup, teardown),
        cmocka_unit_test_setup_teardown(pipelined, setup, teardown),
    };

    log_level_set(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
