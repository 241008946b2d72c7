/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "depots/log.h"
#include "tests/lib/fault.h"

/* Every file call of a log fails once, or from then on, and the log does what log.h promises: what was synced stays
 * readable, there and after the next open; what was refused for want of space is forgotten and may be appended again;
 * any other failure of a sync is final. */

enum { PARTITIONS = 2, SEGMENT = 8192, SYNCS = 24, RECORDS = 400, BODY = 900 };

struct world {
    char directory[64];
    struct log_config config;
    uint32_t serial;                       /* of the next record: its body says it */
    uint32_t synced[PARTITIONS][RECORDS];  /* serials */
    uint64_t next[PARTITIONS];             /* behind what was synced */
    uint64_t trimmed[PARTITIONS];
    uint32_t doubtful;                     /* the first serial of a sync that failed for good */
    bool refused;                          /* a sync found no space */
    int failure;
};

static uint32_t body_size(uint32_t serial)
{
    return 4 + serial * 7919 % BODY;
}

/* ---- Writing ---- */

struct group {
    uint8_t body[3][4 + BODY];
    struct log_record record[3];
    uint64_t offset[3];
    uint32_t first, count; /* serials */
};

static void make_group(struct world *w, struct group *g)
{
    g->first = w->serial;
    g->count = 1 + w->serial % 3;
    for (uint32_t i = 0; i < g->count; i++) {
        uint32_t serial = w->serial++;

        memset(g->body[i], (int)(serial & 0xff), sizeof(g->body[i]));
        store_u32(g->body[i], serial);
        g->record[i] = (struct log_record){.partition = serial % 5 == 0,
                                           .body = span_of(g->body[i], body_size(serial))};
    }
}

static void was_synced(struct world *w, const struct group *g)
{
    for (uint32_t i = 0; i < g->count; i++) {
        uint32_t p = g->record[i].partition;

        assert_true(g->offset[i] == w->next[p] && w->next[p] < RECORDS);
        w->synced[p][w->next[p]++] = g->first + i;
    }
}

/* Append and sync, again when there was no space; false: the log takes no more. */
static bool write_one(struct world *w, struct log *l)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        struct leat_error err = {0};
        struct group g;

        make_group(w, &g);
        int rv = log_append(l, g.record, g.count, g.offset);
        if (w->failure != 0)
            assert_int_equal(rv, w->failure);
        if (rv != 0)
            return false;
        rv = log_sync(l, &err);
        if (rv == 0) {
            was_synced(w, &g);
            return true;
        }
        assert_true(rv < 0 && strstr(err.text, w->directory) != NULL);
        w->refused |= rv == LEAT_ENOSPACE;
        if (rv != LEAT_ENOSPACE) {
            w->failure = rv;
            w->doubtful = g.first;
            assert_int_equal(log_sync(l, &err), rv);
        }
    }
    return false;
}

static void trim(struct world *w, struct log *l)
{
    struct leat_error err = {0};

    for (uint32_t p = 0; p < PARTITIONS; p++) {
        uint64_t before = w->next[p] > 6 ? w->next[p] - 6 : 0;

        log_trim(l, p, before, &err);
        if (before > w->trimmed[p])
            w->trimmed[p] = before;
    }
}

/* ---- Reading ---- */

static uint32_t serial_at(struct log *l, uint32_t p, uint64_t offset)
{
    struct leat_error err = {0};
    struct log_slice slice;

    if (log_read(l, p, offset, 1, 1, &slice, &err) != 0)
        fail_msg("%s", err.text);
    uint32_t serial = load_u32(slice.entry[0].body.base);
    assert_int_equal(slice.entry[0].offset, offset);
    assert_int_equal(slice.entry[0].body.size, body_size(serial));
    log_release(l, &slice);
    return serial;
}

/* reopened: a group may be there of which nobody knows. It counts from now on. */
static void check(struct world *w, struct log *l, bool reopened)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        uint64_t first, next;

        log_bounds(l, p, &first, &next);
        assert_true(first <= w->trimmed[p] && next >= w->next[p]);
        assert_true(next == w->next[p] || (reopened && w->failure != 0 && next <= w->next[p] + 3));
        for (uint64_t at = first; at < w->next[p]; at++)
            assert_int_equal(serial_at(l, p, at), w->synced[p][at]);
        for (; w->next[p] < next; w->next[p]++) {
            w->synced[p][w->next[p]] = serial_at(l, p, w->next[p]);
            assert_in_range(w->synced[p][w->next[p]], w->doubtful, w->doubtful + 2);
        }
    }
}

static void live(struct world *w, struct log *l)
{
    bool goes_on = true;

    for (int i = 0; i < SYNCS; i++) {
        goes_on = write_one(w, l) && goes_on;
        if (i % 6 == 5)
            trim(w, l);
    }
    assert_true(goes_on || w->failure != 0 || w->refused);
    check(w, l, false);
}

/* ---- Lives ---- */

static void open_and_live(struct world *w)
{
    struct leat_error err = {0};
    struct log *l;

    w->failure = 0;
    int rv = log_open(&log_segments, &w->config, &l, &err);
    if (rv != 0) {
        assert_true(rv != LEAT_ECORRUPT);
        return;
    }
    live(w, l);
    log_close(l);
}

static void open_whole(struct world *w)
{
    struct leat_error err = {0};
    struct log *l;

    if (log_open(&log_segments, &w->config, &l, &err) != 0)
        fail_msg("%s", err.text);
    check(w, l, true);
    w->failure = 0;
    live(w, l);
    assert_int_equal(w->failure, 0);
    log_close(l);
}

/* A life without faults, one with, one without; false: there are fewer calls. */
static bool lives(const struct fault *f)
{
    struct world w = {0};

    fault_directory(w.directory);
    w.config = (struct log_config){
        .directory = w.directory, .partitions = PARTITIONS, .durability = LEAT_FULL, .segment_size = SEGMENT};
    open_whole(&w);
    fault_begin(w.directory, f);
    open_and_live(&w);
    uint32_t calls = fault_end();
    open_whole(&w);
    file_remove_tree(w.directory, NULL);
    return calls >= f->at;
}

static void every_call(enum fault_call call, int number)
{
    for (int lasting = 0; lasting < 2; lasting++) {
        struct fault f = {call, 1, number, lasting};

        while (lives(&f))
            f.at++;
        assert_true(f.at > 1);
    }
}

static void opening(void **state)
{
    (void)state;
    every_call(FAULT_OPEN, EMFILE);
}

static void writing(void **state)
{
    (void)state;
    every_call(FAULT_WRITE, EIO);
    every_call(FAULT_WRITE, ENOSPC);
}

static void syncing(void **state)
{
    (void)state;
    every_call(FAULT_SYNC, EIO);
}

static void finding_space(void **state)
{
    (void)state;
    every_call(FAULT_ALLOCATE, ENOSPC);
    every_call(FAULT_ALLOCATE, EIO);
}

/* A listing that breaks off would take the files behind it for gone. */
static void listing(void **state)
{
    (void)state;
    every_call(FAULT_LIST, EIO);
}

static void removing(void **state)
{
    (void)state;
    every_call(FAULT_UNLINK, EIO);
}

/* What a torn write left is cut before anything else is written: nothing is, while that fails. */
static void cutting(void **state)
{
    static const struct fault faults[] = {
        {FAULT_WRITE, 1, EIO, false}, {FAULT_WRITE, 1, ENOSPC, false}, {FAULT_SYNC, 1, EIO, false}};

    (void)state;
    for (size_t i = 0; i < LENGTH_OF(faults); i++) {
        bool no_space = faults[i].number == ENOSPC;
        struct leat_error err = {0};
        struct world w = {0};
        struct log *l;
        char path[128];

        fault_directory(w.directory);
        w.config = (struct log_config){.directory = w.directory, .partitions = PARTITIONS, .durability = LEAT_FULL};
        open_whole(&w);
        snprintf(path, sizeof(path), "%s/0000000000000000.seg", w.directory);
        int fd = open(path, O_RDWR);
        assert_int_equal(pwrite(fd, "torn", 4, 1 << 20), 4);
        close(fd);
        assert_int_equal(log_open(&log_segments, &w.config, &l, &err), 0);
        fault_begin(w.directory, &faults[i]);
        assert_int_equal(write_one(&w, l), no_space); /* the second attempt */
        assert_true(no_space ? fault_end() > 1 : fault_end() == 1); /* nothing else was tried */
        assert_int_equal(w.failure, no_space ? 0 : LEAT_EIO);
        assert_int_equal(w.refused, no_space);
        log_close(l);
        open_whole(&w);
        file_remove_tree(w.directory, NULL);
    }
}

/* What a write without space left is wiped before the next segment is made: none is, while that fails. */
static void wiping(void **state)
{
    static const struct fault full = {FAULT_WRITE, 1, ENOSPC, false};
    static const struct fault faults[] = {{FAULT_WRITE, 1, EIO, false}, {FAULT_SYNC, 1, EIO, false}};
    static const uint8_t much[SEGMENT];

    (void)state;
    for (size_t i = 0; i < LENGTH_OF(faults); i++) {
        struct log_record r = {.body = span_of(much, 64)};
        struct leat_error err = {0};
        struct world w = {0};
        struct log *l;
        char path[128];

        fault_directory(w.directory);
        w.config = (struct log_config){
            .directory = w.directory, .partitions = PARTITIONS, .durability = LEAT_FULL, .segment_size = SEGMENT};
        assert_int_equal(log_open(&log_segments, &w.config, &l, &err), 0);
        assert_true(write_one(&w, l));
        fault_begin(w.directory, &full);
        assert_int_equal(log_append(l, &r, 1, NULL), 0);
        assert_int_equal(log_sync(l, &err), LEAT_ENOSPACE);
        fault_end();
        r.body = span_of(much, sizeof(much));
        fault_begin(w.directory, &faults[i]);
        assert_int_equal(log_append(l, &r, 1, NULL), 0);
        assert_int_equal(log_sync(l, &err), LEAT_EIO);
        assert_int_equal(fault_end(), 1);
        assert_int_equal(log_append(l, &r, 1, NULL), LEAT_EIO);
        log_close(l);
        snprintf(path, sizeof(path), "%s/0000000000000001.seg", w.directory);
        assert_int_not_equal(access(path, F_OK), 0);
        open_whole(&w);
        file_remove_tree(w.directory, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening),
        cmocka_unit_test(writing),
        cmocka_unit_test(syncing),
        cmocka_unit_test(finding_space),
        cmocka_unit_test(listing),
        cmocka_unit_test(removing),
        cmocka_unit_test(cutting),
        cmocka_unit_test(wiping),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
