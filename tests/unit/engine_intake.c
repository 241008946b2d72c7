/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/intake.h"

#include <stdatomic.h>

/* ---- A log in memory that fails when told, and calls the test inside of a sync ---- */

static struct log_ops faulty;
static struct {
    int append_code;  /* of the append after `skip` others; then it works again */
    uint32_t skip;
    int sync_code;    /* of all syncs */
    uint32_t syncs;
    void (*in_sync)(void);
} fault;

static int faulty_append(struct log *l, const struct log_record *records, uint32_t count, uint64_t *offsets)
{
    int code = fault.append_code;

    if (code != 0 && fault.skip > 0) {
        fault.skip--;
        code = 0;
    }
    fault.append_code = code != 0 ? 0 : fault.append_code;
    return code != 0 ? code : log_memory.append(l, records, count, offsets);
}

static int faulty_sync(struct log *l, struct leat_error *err)
{
    void (*hook)(void) = fault.in_sync;

    fault.in_sync = NULL;
    fault.syncs++;
    if (hook != NULL)
        hook();
    return fault.sync_code != 0 ? leat_fail(err, fault.sync_code, "told to fail") : log_memory.sync(l, err);
}

/* ---- A bench ---- */

static _Atomic uint32_t readable, heard;

static void count_up(void *context)
{
    atomic_fetch_add((_Atomic uint32_t *)context, 1);
}

static int setup(void **unused)
{
    (void)unused;
    memset(&fault, 0, sizeof(fault));
    faulty = log_memory;
    faulty.append = faulty_append;
    faulty.sync = faulty_sync;
    atomic_store(&readable, 0);
    bench_open(&faulty, &(struct log_config){.partitions = PARTITIONS}, count_up, &readable);
    at.log->ops = &faulty;
    return 0;
}

static int teardown(void **unused)
{
    (void)unused;
    bench_close();
    return 0;
}

static int append(enum leat_ack ack, uint32_t partition, uint64_t session, uint64_t sequence, uint32_t count,
                  uint64_t *first)
{
    struct part *p = part_new(ack, partition, session, sequence, count);

    int rv = intake_submit(at.intake, &p->share, true);
    rv = rv != 0 ? rv : part_wait(p);
    if (first != NULL)
        *first = p->offset[0];
    part_free(p);
    return rv;
}

/* ---- One at a time ---- */

static void leads_itself(void **unused)
{
    struct part *p = part_new(LEAT_APPENDED, 2, 0, 0, 3);

    (void)unused;
    assert_int_equal(intake_submit(at.intake, &p->share, true), 0);
    assert_int_equal(p->done, 1);
    assert_int_equal(p->share.code, 0);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(p->offset[i], i);
    assert_int_equal(log_end(2), 3);
    assert_int_equal(readable, 1);
    assert_int_equal(intake_figures(at.intake)->rows, 3);
    assert_int_equal(intake_figures(at.intake)->syncs, 1);
    assert_int_equal(intake_status(at.intake, NULL), 0);
    part_free(p);
}

static void others_are_led(void **unused)
{
    struct part *p = part_new(LEAT_APPENDED, 1, 0, 0, 2);

    (void)unused;
    assert_int_equal(intake_submit(at.intake, &p->share, false), 0);
    assert_int_equal(part_wait(p), 0);
    assert_int_equal(log_end(1), 2);
    part_free(p);
}

static void repeats_are_dropped(void **unused)
{
    uint64_t offset, sequence = 0;

    (void)unused;
    assert_int_equal(append(LEAT_APPENDED, 0, 9, 1, 4, &offset), 0);
    assert_int_equal(offset, 0);
    struct part *p = part_new(LEAT_APPENDED, 0, 9, 3, 4); /* 3 and 4 again, 5 and 6 new */
    assert_int_equal(intake_submit(at.intake, &p->share, true), 0);
    assert_int_equal(part_wait(p), 0);
    assert_true(p->offset[0] == UINT64_MAX && p->offset[1] == UINT64_MAX);
    assert_int_equal(p->offset[2], 4);
    assert_int_equal(p->offset[3], 5);
    part_free(p);
    assert_int_equal(append(LEAT_APPENDED, 1, 9, 1, 1, &offset), 0); /* a partition by itself */
    assert_int_equal(offset, 0);
    assert_int_equal(log_end(0), 6);
    assert_int_equal(intake_figures(at.intake)->repeats, 2);
    assert_true(intake_session(at.intake, 0, 9, &sequence));
    assert_int_equal(sequence, 6);
    assert_false(intake_session(at.intake, 2, 9, &sequence));
    assert_false(intake_session(at.intake, 0, 8, &sequence));
}

static void processed_waits(void **unused)
{
    struct part *p = part_new(LEAT_PROCESSED, 0, 5, 1, 3), *again = part_new(LEAT_PROCESSED, 0, 5, 2, 1);
    struct part *late = part_new(LEAT_PROCESSED, 0, 5, 1, 1);

    (void)unused;
    assert_int_equal(intake_submit(at.intake, &p->share, true), 0);
    assert_int_equal(intake_submit(at.intake, &again->share, true), 0);
    acks_advance(at.acks, 0, 2);
    assert_int_equal(p->done, 0);
    assert_int_equal(again->done, 0); /* a repeat waits for all that is there */
    acks_return(at.acks, 0, 1, 3, span_text("back"));
    acks_advance(at.acks, 0, 3);
    assert_int_equal(p->done, 1);
    assert_int_equal(again->done, 1);
    assert_true(p->share.wait.returns.size > 0);
    assert_int_equal(intake_submit(at.intake, &late->share, true), 0);
    assert_int_equal(late->done, 1);
    part_free(p);
    part_free(again);
    part_free(late);
}

static void listeners_hear(void **unused)
{
    (void)unused;
    atomic_store(&heard, 0);
    intake_listen(at.intake, count_up, &heard);
    assert_int_equal(append(LEAT_APPENDED, 0, 0, 0, 1, NULL), 0);
    assert_int_equal(heard, 1);
    assert_int_equal(readable, 1);
}

static void of_the_group(void **unused)
{
    struct log_record r[2] = {{0, 5, 0, 0, span_of("a", 1)}, {3, 5, 0, 0, span_of("bc", 2)}};
    struct leat_error err;

    (void)unused;
    assert_int_equal(intake_append(at.intake, r, 2, &err), 0);
    assert_int_equal(log_end(0), 1);
    assert_int_equal(log_end(3), 1);
    fault.append_code = LEAT_ENOSPACE;
    assert_int_equal(intake_append(at.intake, r, 2, &err), LEAT_ENOSPACE);
    assert_non_null(strstr(err.text, "the disk is full"));
    assert_int_equal(intake_append(at.intake, r, 2, &err), 0);
    assert_int_equal(log_end(0), 2);
}

/* ---- Failing ---- */

/* What was not appended is taken when it is sent again, and what was before is still known. */
static void failed_appends_are_not_remembered(void **unused)
{
    uint64_t offset, sequence;

    (void)unused;
    fault.append_code = LEAT_ENOSPACE;
    assert_int_equal(append(LEAT_APPENDED, 0, 7, 1, 3, NULL), LEAT_ENOSPACE);
    assert_false(intake_session(at.intake, 0, 7, &sequence));
    assert_int_equal(append(LEAT_APPENDED, 0, 7, 1, 3, &offset), 0);
    assert_int_equal(offset, 0);
    fault.append_code = LEAT_ELIMIT;
    assert_int_equal(append(LEAT_APPENDED, 0, 7, 2, 5, NULL), LEAT_ELIMIT);
    assert_true(intake_session(at.intake, 0, 7, &sequence));
    assert_int_equal(sequence, 3);
    assert_int_equal(append(LEAT_APPENDED, 0, 7, 4, 1, &offset), 0);
    assert_int_equal(offset, 3);
    assert_int_equal(append(LEAT_APPENDED, 0, 7, 3, 1, &offset), 0);
    assert_int_equal(offset, UINT64_MAX);
}

static void a_failed_sync_sticks(void **unused)
{
    struct leat_error err = {0};
    struct part *p = part_new(LEAT_PROCESSED, 0, 7, 1, 3);

    (void)unused;
    fault.sync_code = LEAT_EIO;
    assert_int_equal(append(LEAT_APPENDED, 0, 0, 0, 1, NULL), LEAT_EIO);
    fault.sync_code = 0;
    assert_int_equal(intake_status(at.intake, &err), LEAT_EIO);
    assert_non_null(strstr(err.text, "told to fail"));
    assert_int_equal(intake_submit(at.intake, &p->share, true), LEAT_EIO);
    assert_int_equal(p->done, 0);
    assert_int_equal(readable, 0);
    assert_int_equal(log_end(0), 0);
    part_free(p);
}

/* Who waits for PROCESSED is told of the failed sync, and not again by acks. */
static void a_failed_sync_takes_waits_back(void **unused)
{
    struct part *p = part_new(LEAT_PROCESSED, 0, 7, 1, 3);

    (void)unused;
    fault.sync_code = LEAT_EIO;
    assert_int_equal(intake_submit(at.intake, &p->share, true), 0);
    assert_int_equal(part_wait(p), LEAT_EIO);
    acks_advance(at.acks, 0, UINT64_MAX);
    assert_int_equal(p->done, 1);
    part_free(p);
}

/* ---- Several in one round: given in while a sync is under way ---- */

static struct part *round_of[3];
static int round_rv[3];

static void submit_round(void)
{
    for (uint32_t i = 0; i < LENGTH_OF(round_of); i++)
        if (round_of[i] != NULL)
            round_rv[i] = intake_submit(at.intake, &round_of[i]->share, true);
}

static void lead_round(void)
{
    fault.in_sync = submit_round;
    assert_int_equal(append(LEAT_APPENDED, 3, 0, 0, 1, NULL), 0);
}

static void free_round(void)
{
    for (uint32_t i = 0; i < LENGTH_OF(round_of); i++)
        if (round_of[i] != NULL)
            part_free(round_of[i]);
    memset(round_of, 0, sizeof(round_of));
}

static void one_sync_for_all(void **unused)
{
    (void)unused;
    for (uint32_t i = 0; i < 3; i++)
        round_of[i] = part_new(LEAT_APPENDED, i, 0, 0, 2);
    lead_round();
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(part_wait(round_of[i]), 0);
    assert_int_equal(intake_figures(at.intake)->syncs, 2);
    free_round();
}

/* A repeat of what was appended a moment ago, and is not even synced, is not processed. */
static void a_repeat_in_the_same_round(void **unused)
{
    (void)unused;
    round_of[0] = part_new(LEAT_PROCESSED, 0, 7, 1, 3);
    round_of[1] = part_new(LEAT_PROCESSED, 0, 7, 1, 3);
    round_of[2] = part_new(LEAT_APPENDED, 0, 7, 1, 3);
    lead_round();
    assert_int_equal(part_wait(round_of[2]), 0);
    assert_int_equal(round_of[2]->offset[2], UINT64_MAX);
    acks_advance(at.acks, 0, 2);
    assert_int_equal(part_state(round_of[0]), 0);
    assert_int_equal(part_state(round_of[1]), 0);
    acks_advance(at.acks, 0, 3);
    assert_int_equal(part_wait(round_of[0]), 0);
    assert_int_equal(part_wait(round_of[1]), 0);
    assert_int_equal(log_end(0), 3);
    free_round();
}

/* The sync of original and repeat fails: both are told. */
static void fail_both(void)
{
    fault.sync_code = LEAT_EIO;
}

static void submit_and_fail_both(void)
{
    submit_round();
    fault.in_sync = fail_both;
}

static void a_repeat_in_a_failed_round(void **unused)
{
    (void)unused;
    round_of[0] = part_new(LEAT_PROCESSED, 0, 7, 1, 3);
    round_of[1] = part_new(LEAT_PROCESSED, 0, 7, 1, 3);
    fault.in_sync = submit_and_fail_both;
    assert_int_equal(append(LEAT_APPENDED, 3, 0, 0, 1, NULL), 0);
    assert_int_equal(part_wait(round_of[0]), LEAT_EIO);
    assert_int_equal(part_wait(round_of[1]), LEAT_EIO);
    free_round();
}

/* The log is full in the middle of a round: what is there is synced and complete, then it goes on. */
static void full_log(void **unused)
{
    struct part *p = part_new(LEAT_APPENDED, 0, 7, 1, 3);

    (void)unused;
    fault.append_code = LEAT_EFULL;
    assert_int_equal(intake_submit(at.intake, &p->share, true), 0);
    assert_int_equal(part_wait(p), 0);
    assert_int_equal(p->offset[0], 0);
    assert_int_equal(log_end(0), 3);
    assert_int_equal(intake_figures(at.intake)->repeats, 0);
    part_free(p);
}

/* Full in the middle, and the sync after that fails: only what came behind the middle is told so. */
static void acknowledge_then_fail(void)
{
    fault.sync_code = LEAT_EIO;
    acks_advance(at.acks, 0, 3);
}

static void in_the_middle(void)
{
    fault.in_sync = acknowledge_then_fail;
}

static void submit_full_then_fail(void)
{
    submit_round();
    fault.append_code = LEAT_EFULL;
    fault.skip = 1;
    fault.in_sync = in_the_middle;
}

static void full_log_then_a_failed_sync(void **unused)
{
    (void)unused;
    round_of[0] = part_new(LEAT_PROCESSED, 0, 7, 1, 3);
    round_of[1] = part_new(LEAT_PROCESSED, 1, 7, 1, 3);
    fault.in_sync = submit_full_then_fail;
    assert_int_equal(append(LEAT_APPENDED, 3, 0, 0, 1, NULL), 0);
    assert_int_equal(part_wait(round_of[0]), 0);
    assert_int_equal(part_wait(round_of[1]), LEAT_EIO);
    assert_int_equal(round_of[0]->done, 1);
    assert_int_equal(log_end(0), 3);
    assert_int_equal(log_end(1), 0);
    free_round();
}

/* ---- Limits and the end ---- */

static void pending_is_limited(void **unused)
{
    size_t size = (size_t)LIMIT_PENDING_APPEND / 2 + 1;
    uint8_t *large = base_alloc(size);

    (void)unused;
    for (uint32_t i = 0; i < 2; i++) {
        round_of[i] = part_new(LEAT_APPENDED, 0, 7, 1 + i, 1);
        round_of[i]->record[0].body = span_of(large, size);
    }
    lead_round();
    assert_int_equal(round_rv[0], 0);
    assert_int_equal(round_rv[1], LEAT_EFULL);
    assert_int_equal(part_wait(round_of[0]), 0);
    assert_int_equal(part_state(round_of[1]), 0);
    assert_int_equal(intake_submit(at.intake, &round_of[1]->share, true), 0); /* the same later */
    assert_int_equal(part_wait(round_of[1]), 0);
    assert_int_equal(round_of[1]->offset[0], 1);
    free_round();
    free(large);
}

static void *append_own(void *result)
{
    struct log_record r = {.partition = 0, .body = span_text("of the group")};

    *(int *)result = intake_append(at.intake, &r, 1, NULL);
    return NULL;
}

static pthread_t own_thread;
static int own_result;

/* Clients have filled the intake when the group appends: it waits for room, or would fail at once. */
static void fill_and_append_own(void)
{
    struct timespec soon;

    submit_round();
    assert_int_equal(pthread_create(&own_thread, NULL, append_own, &own_result), 0);
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_sec++;
    assert_int_not_equal(pthread_timedjoin_np(own_thread, NULL, &soon), 0);
}

static void the_group_finds_room(void **unused)
{
    uint8_t *large = base_alloc(LIMIT_PENDING_APPEND);

    (void)unused;
    round_of[0] = part_new(LEAT_APPENDED, 0, 7, 1, 1);
    round_of[1] = part_new(LEAT_APPENDED, 1, 7, 1, 1);
    round_of[0]->record[0].body = span_of(large, LIMIT_PENDING_APPEND - 64);
    round_of[1]->record[0].body = span_of(large, 0);
    own_result = 1;
    fault.in_sync = fill_and_append_own;
    assert_int_equal(append(LEAT_APPENDED, 3, 0, 0, 1, NULL), 0);
    assert_int_equal(part_wait(round_of[0]), 0);
    assert_int_equal(part_wait(round_of[1]), 0);
    assert_int_equal(pthread_join(own_thread, NULL), 0);
    assert_int_equal(own_result, 0);
    free_round();
    free(large);
}

/* ---- A depot that nobody reads: its frontier is above all there will be ---- */

static void processed_is_durable_where_nobody_reads(void **unused)
{
    struct part *p = part_new(LEAT_PROCESSED, 0, 7, 1, 3), *again = part_new(LEAT_PROCESSED, 0, 7, 1, 3);

    (void)unused;
    acks_advance(at.acks, 0, UINT64_MAX);
    assert_int_equal(intake_submit(at.intake, &p->share, true), 0);
    assert_int_equal(part_wait(p), 0);
    assert_int_equal(log_end(0), 3);
    assert_int_equal(intake_submit(at.intake, &again->share, true), 0);
    assert_int_equal(part_wait(again), 0);
    part_free(again);
    part_free(p);
    fault.sync_code = LEAT_EIO;
    p = part_new(LEAT_PROCESSED, 0, 7, 4, 3);
    assert_int_equal(intake_submit(at.intake, &p->share, true), 0);
    assert_int_equal(part_wait(p), LEAT_EIO);
    part_free(p);
}

/* What was taken is answered before the intake goes. */
static void closing_answers(void **unused)
{
    struct part *p[20];

    (void)unused;
    for (uint32_t i = 0; i < LENGTH_OF(p); i++) {
        p[i] = part_new(LEAT_APPENDED, i % PARTITIONS, 0, 0, 5);
        assert_int_equal(intake_submit(at.intake, &p[i]->share, false), 0);
    }
    intake_close(at.intake);
    at.intake = NULL;
    for (uint32_t i = 0; i < LENGTH_OF(p); i++) {
        assert_int_equal(p[i]->done, 1);
        part_free(p[i]);
    }
}

static void closing_answers_who_waits_for_more(void **unused)
{
    struct part *p = part_new(LEAT_PROCESSED, 0, 7, 1, 2);

    (void)unused;
    assert_int_equal(intake_submit(at.intake, &p->share, false), 0);
    intake_close(at.intake);
    at.intake = NULL;
    assert_int_equal(p->done, 0);
    acks_close(at.acks);
    assert_int_equal(part_wait(p), LEAT_ECLOSED);
    assert_int_equal(log_end(0), 2);
    at.acks = acks_open(PARTITIONS);
    part_free(p);
}

static pthread_t stopper;

static void *stop(void *unused)
{
    intake_stop(at.intake, LEAT_ECORRUPT);
    return unused;
}

static void stop_and_fail(void)
{
    fault.sync_code = LEAT_EIO;
    leat_assert(pthread_create(&stopper, NULL, stop, NULL) == 0);
}

/* The sync that is under way answers its own. */
static void stopping_waits_for_a_sync(void **unused)
{
    (void)unused;
    fault.in_sync = stop_and_fail;
    assert_int_equal(append(LEAT_PROCESSED, 0, 7, 1, 2, NULL), LEAT_EIO);
    pthread_join(stopper, NULL);
    assert_int_equal(append(LEAT_APPENDED, 0, 7, 5, 1, NULL), LEAT_EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(leads_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(others_are_led, setup, teardown),
        cmocka_unit_test_setup_teardown(repeats_are_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(processed_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(listeners_hear, setup, teardown),
        cmocka_unit_test_setup_teardown(of_the_group, setup, teardown),
        cmocka_unit_test_setup_teardown(failed_appends_are_not_remembered, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_sync_sticks, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_sync_takes_waits_back, setup, teardown),
        cmocka_unit_test_setup_teardown(one_sync_for_all, setup, teardown),
        cmocka_unit_test_setup_teardown(a_repeat_in_the_same_round, setup, teardown),
        cmocka_unit_test_setup_teardown(a_repeat_in_a_failed_round, setup, teardown),
        cmocka_unit_test_setup_teardown(full_log, setup, teardown),
        cmocka_unit_test_setup_teardown(full_log_then_a_failed_sync, setup, teardown),
        cmocka_unit_test_setup_teardown(pending_is_limited, setup, teardown),
        cmocka_unit_test_setup_teardown(the_group_finds_room, setup, teardown),
        cmocka_unit_test_setup_teardown(processed_is_durable_where_nobody_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_answers_who_waits_for_more, setup, teardown),
        cmocka_unit_test_setup_teardown(stopping_waits_for_a_sync, setup, teardown),
    };

    return cmocka_run_group_tests_name("engine_intake", tests, NULL, NULL);
}
