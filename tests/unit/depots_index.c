/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "depots/segments.h"
#include "tests/lib/fault.h"

/* Logs that are opened by their index files are those that a walk finds, to the last figure; an index file that is not
 * of its segment, or not as it was written, is passed over and made anew; and damage of a segment that nobody walked is
 * found when it is read. */

/* NAMES_END: up to here an index file says whose it is; INDEX_HEADER: behind it are runs. */
enum { PARTITIONS = 5, SEGMENT = 8192, DATA = 4096, SYNCS = 90, MOST = 1 << 20, NAMES_END = 28, INDEX_HEADER = 36 };

static char directory[64];
static uint8_t shade; /* of all bodies */
static struct buffer said; /* of the log as set up */

static void path_of(uint64_t number, const char *suffix, char out[128])
{
    snprintf(out, 128, "%s/%016llx%s", directory, (unsigned long long)number, suffix);
}

static bool is_there(uint64_t number, const char *suffix)
{
    char path[128];

    path_of(number, suffix, path);
    return access(path, F_OK) == 0;
}

static struct log_config config_of(bool read_only, bool walk)
{
    return (struct log_config){.directory = directory, .partitions = PARTITIONS, .durability = LEAT_PROCESS,
                               .segment_size = SEGMENT, .read_only = read_only, .settled = read_only, .walk = walk};
}

static struct log *open_log(bool read_only, bool walk)
{
    struct log_config config = config_of(read_only, walk);
    struct leat_error err = {0};
    struct log *l;

    if (log_open(&log_segments, &config, &l, &err) != 0)
        fail_msg("%s", err.text);
    return l;
}

/* ---- A log, and all that can be asked of it ---- */

/* Some records for some partitions; the last one comes later. Clocks are set back now and then. */
static void write_group(struct log *l, struct random *r, int group)
{
    static uint8_t body[700];
    uint32_t count = 1 + (uint32_t)random_below(r, 9), partitions = group < SYNCS / 2 ? PARTITIONS - 1 : PARTITIONS;

    for (uint32_t i = 0; i < count; i++) {
        int64_t time = 1000000 + 1000 * (int64_t)group - (int64_t)random_below(r, 5000);
        uint32_t partition = i % 2 == 0 ? 0 : (uint32_t)random_below(r, partitions);
        struct log_record one = {.partition = partition, .time_us = time,
                                 .session = random_below(r, 3), .sequence = (uint64_t)group,
                                 .body = span_of(body, random_below(r, sizeof(body)))};

        memset(body, group + shade, sizeof(body));
        assert_int_equal(log_append(l, &one, 1, NULL), 0);
        if (random_below(r, 4) == 0)
            assert_int_equal(log_sync(l, NULL), 0);
    }
    assert_int_equal(log_sync(l, NULL), 0);
}

static void say(struct buffer *out, uint64_t figure)
{
    buffer_u64(out, figure);
}

static void say_records(struct buffer *out, struct log *l, uint32_t partition)
{
    struct log_slice slice;
    uint64_t at, next;

    log_bounds(l, partition, &at, &next);
    say(out, at);
    say(out, next);
    for (; at < next; at = slice.next) {
        assert_int_equal(log_read(l, partition, at, 100, MOST, &slice, NULL), 0);
        say(out, segments_group_of(l, partition, at));
        for (uint32_t i = 0; i < slice.count; i++) {
            say(out, slice.entry[i].offset);
            say(out, (uint64_t)slice.entry[i].time_us);
            say(out, slice.entry[i].session);
            say(out, slice.entry[i].sequence);
            buffer_span(out, slice.entry[i].body);
        }
        log_release(l, &slice);
    }
}

static void say_files(struct buffer *out, struct log *l)
{
    for (uint64_t group = 1; group <= segments_groups(l) + 1; group++) {
        struct segment_file *file;
        uint32_t files = segments_files(l, group, &file);

        for (uint32_t i = 0; i < files; i++) {
            buffer_span(out, span_text(file[i].name));
            say(out, file[i].size);
            say(out, file[i].used);
            say(out, file[i].sealed);
        }
        free(file);
        for (uint32_t p = 0; p < l->partitions; p++)
            say(out, segments_next_before(l, p, group));
    }
}

static void say_sizes(struct buffer *out, struct log *l)
{
    uint64_t end[PARTITIONS];
    struct log_chunk chunk;
    struct log_usage usage;

    say(out, log_bytes(l));
    for (uint32_t i = 0; log_chunk(l, i, 0, PARTITIONS, &chunk, end); i++) {
        say(out, (uint64_t)chunk.newest_us);
        say(out, chunk.behind);
        buffer_put(out, end, sizeof(end));
    }
    for (uint32_t p = 0; p < l->partitions; p++) {
        log_usage(l, p, 1, &usage);
        say(out, usage.bytes);
        say(out, (uint64_t)usage.oldest_us);
    }
}

static void describe(struct log *l, struct buffer *out)
{
    buffer_init(out, 1 << 26);
    say(out, segments_groups(l));
    say(out, segments_torn(l));
    for (uint32_t p = 0; p < l->partitions; p++)
        say_records(out, l, p);
    say_files(out, l);
    say_sizes(out, l);
    assert_int_equal(out->error, 0);
}

static void check(bool read_only, bool walk)
{
    struct log *l = open_log(read_only, walk);
    struct buffer now;

    describe(l, &now);
    assert_int_equal(now.size, said.size);
    assert_memory_equal(now.base, said.base, said.size);
    buffer_fini(&now);
    log_close(l);
}

/* ---- Files ---- */

static void read_bytes(uint64_t number, const char *suffix, struct buffer *out)
{
    struct leat_error err = {0};
    char path[128];

    path_of(number, suffix, path);
    buffer_init(out, MOST);
    if (file_read(path, MOST, out, &err) != 0)
        fail_msg("%s", err.text);
}

static void write_bytes(uint64_t number, const char *suffix, const uint8_t *bytes, size_t size)
{
    char path[128];

    path_of(number, suffix, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(file_pwrite(fd, bytes, size, 0), 0);
    close(fd);
}

static void flip(uint64_t number, uint64_t at)
{
    uint8_t byte;
    char path[128];

    path_of(number, ".seg", path);
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

static bool same_bytes(uint64_t number, const char *suffix, const struct buffer *as)
{
    struct buffer now;

    if (!is_there(number, suffix))
        return false;
    read_bytes(number, suffix, &now);
    bool same = span_equal(buffer_bytes(&now), buffer_bytes(as));
    buffer_fini(&now);
    return same;
}

static uint64_t last_number(void)
{
    uint64_t number = 0;

    while (is_there(number + 1, ".seg"))
        number++;
    return number;
}

/* All headers of groups before the last segment are gone: nobody can walk them. */
static void wipe_groups(void)
{
    static const uint8_t zeros[GROUP_HEADER];
    uint64_t last = last_number();

    for (uint64_t number = 0; number < last; number++) {
        struct buffer bytes;

        read_bytes(number, ".seg", &bytes);
        for (uint64_t at = DATA; at < bytes.size && load_u32(bytes.base + at) == GROUP_MAGIC;) {
            uint64_t length = load_u64(bytes.base + at + 8);

            memcpy(bytes.base + at, zeros, sizeof(zeros));
            at += length;
        }
        write_bytes(number, ".seg", bytes.base, bytes.size);
        buffer_fini(&bytes);
    }
}

static int set_up(void **state)
{
    struct log_config config = config_of(false, false);
    struct random r;
    struct log *l;

    (void)state;
    fault_directory(directory);
    random_seed(&r, 3);
    config.partitions = PARTITIONS - 1; /* the last one comes while a segment is written */
    assert_int_equal(log_open(&log_segments, &config, &l, NULL), 0);
    for (int i = 0; i < SYNCS / 2; i++)
        write_group(l, &r, i);
    log_close(l);
    l = open_log(false, false);
    for (int i = SYNCS / 2; i < SYNCS; i++)
        write_group(l, &r, i);
    log_close(l);
    assert_true(last_number() > 10);
    l = open_log(true, true);
    describe(l, &said);
    log_close(l);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buffer_fini(&said);
    return file_remove_tree(directory, NULL);
}

/* ---- Opening ---- */

static void an_index_says_what_a_walk_finds(void **state)
{
    uint64_t last = last_number();

    (void)state;
    for (uint64_t i = 0; i <= last; i++)
        assert_int_equal(is_there(i, ".idx"), i < last);
    check(false, true);
    check(true, false);
    wipe_groups();
    check(true, false);
    check(false, false);
    struct log_config config = config_of(true, true);
    struct leat_error err = {0};
    struct log *l;
    assert_int_equal(log_open(&log_segments, &config, &l, &err), LEAT_ECORRUPT);
    assert_non_null(strstr(err.text, "0000000000000000.seg' is damaged at byte 4096"));
}

/* Also by who opens it next, whatever was there. */
static void what_is_missing_is_made_anew(void **state)
{
    uint64_t last = last_number();
    struct buffer *was = calloc(last, sizeof(*was));
    char path[128];

    (void)state;
    for (uint64_t i = 0; i < last; i++) {
        read_bytes(i, ".idx", &was[i]);
        path_of(i, ".idx", path);
        assert_int_equal(unlink(path), 0);
    }
    check(true, false);
    for (uint64_t i = 0; i < last; i++)
        assert_false(is_there(i, ".idx")); /* who only looks writes nothing */
    check(false, false);
    for (uint64_t i = 0; i < last; i++) {
        assert_true(same_bytes(i, ".idx", &was[i]));
        buffer_fini(&was[i]);
    }
    free(was);
    wipe_groups();
    check(true, false);
}

/* One of another shape, for the second segment: passed over, and put right by who may write. */
static void check_other(const uint8_t *bytes, size_t size, const struct buffer *right)
{
    struct buffer other = {.base = (uint8_t *)(uintptr_t)bytes, .size = size};

    write_bytes(1, ".idx", bytes, size);
    struct log *l = open_log(true, false);
    assert_int_equal(segments_groups(l), load_u64(said.base));
    log_close(l);
    assert_true(same_bytes(1, ".idx", &other));
    l = open_log(false, false);
    assert_int_equal(segments_groups(l), load_u64(said.base));
    log_close(l);
    assert_true(same_bytes(1, ".idx", right));
}

static void each_byte_counts(void **state)
{
    struct buffer right, other;

    (void)state;
    read_bytes(1, ".idx", &right);
    read_bytes(1, ".idx", &other);
    for (size_t at = 0; at < right.size; at++) {
        other.base[at] ^= (uint8_t)(1U << at % 8);
        check_other(other.base, other.size, &right);
        other.base[at] = right.base[at];
        check_other(other.base, at, &right);
    }
    buffer_u8(&other, 0);
    check_other(other.base, other.size, &right);
    check(false, false);
    buffer_fini(&right);
    buffer_fini(&other);
}

/* Each record is there, or damage is told. */
static void check_each(const uint64_t first[PARTITIONS], const uint64_t next[PARTITIONS])
{
    struct log *l = open_log(true, false);

    for (uint32_t p = 0; p < PARTITIONS; p++) {
        struct log_slice slice;
        uint64_t from, to;

        log_bounds(l, p, &from, &to);
        assert_true(from == first[p] && to == next[p]);
        for (uint64_t at = from; at < to; at++) {
            int rv = log_read(l, p, at, 1, 1, &slice, NULL);

            assert_true(rv == LEAT_ECORRUPT || (rv == 0 && slice.entry[0].offset == at));
            if (rv == 0)
                log_release(l, &slice);
        }
    }
    log_close(l);
}

/* With a CRC that is right. */
static void write_forged(const struct buffer *b)
{
    store_u32(b->base + 4, crc32c(0, b->base + 8, b->size - 8));
    write_bytes(1, ".idx", b->base, b->size);
}

/* One byte of an index file is others now. */
static void forge(const struct buffer *right, size_t at, const void *bytes, size_t size)
{
    struct buffer other = {0};

    buffer_put(&other, right->base, at);
    buffer_put(&other, bytes, size);
    buffer_put(&other, right->base + at + 1, right->size - at - 1);
    write_forged(&other);
    if (at < NAMES_END)
        check_other(other.base, other.size, right);
    buffer_fini(&other);
}

/* Its CRC is right, but what it says is not: of another version or segment it is passed over; what it says wrongly of
 * runs is found when they are read. No record is lost by it. */
static void what_does_not_fit_loses_nothing(void **state)
{
    static const uint8_t large[][10] = {"\x80\x80\x80\x01", "\x81\x80\x80\x80\x10",
                                        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"};
    static const size_t size[] = {4, 5, 10};
    uint64_t first[PARTITIONS], next[PARTITIONS];
    struct buffer right;
    struct log *l = open_log(true, true);

    (void)state;
    for (uint32_t p = 0; p < PARTITIONS; p++)
        log_bounds(l, p, &first[p], &next[p]);
    log_close(l);
    read_bytes(1, ".idx", &right);
    for (size_t at = 8; at < right.size; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            forge(&right, at, &(uint8_t){(uint8_t)(right.base[at] ^ 1U << bit)}, 1);
            check_each(first, next);
        }
        for (size_t i = 0; i < LENGTH_OF(large) && at >= INDEX_HEADER; i++) {
            forge(&right, at, large[i], size[i]);
            check_each(first, next);
        }
    }
    buffer_fini(&right);
}

static void what_ends_elsewhere_is_passed_over(void **state)
{
    struct buffer right, other;

    (void)state;
    read_bytes(1, ".idx", &right);
    read_bytes(1, ".idx", &other);
    buffer_u8(&other, 0);
    write_forged(&other);
    check_other(other.base, other.size, &right);
    for (other.size = right.size - 1; other.size > 8; other.size--) {
        write_forged(&other);
        check_other(other.base, other.size, &right);
    }
    check(false, false);
    buffer_fini(&right);
    buffer_fini(&other);
}

static void that_of_another_segment_is_passed_over(void **state)
{
    struct buffer right, other;

    (void)state;
    read_bytes(1, ".idx", &right);
    for (uint64_t i = 0; i < last_number(); i++) {
        read_bytes(i, ".idx", &other);
        if (i != 1)
            check_other(other.base, other.size, &right);
        buffer_fini(&other);
    }
    check(false, false);
    buffer_fini(&right);
}

/* The segment is what it was, its successor is another: written after a loss of power had taken the first one. */
static void that_of_an_earlier_life_is_passed_over(void **state)
{
    uint64_t last = last_number();
    struct buffer index, right, whole;
    struct random r;
    char path[128];

    (void)state;
    random_seed(&r, 4);
    read_bytes(last - 1, ".idx", &index);
    path_of(last, ".seg", path);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(truncate(path, SEGMENT), 0);
    struct log *l = open_log(false, false);
    assert_false(is_there(last, ".seg"));
    assert_false(is_there(last - 1, ".idx")); /* it is written to again */
    while (!is_there(last - 1, ".idx"))
        write_group(l, &r, SYNCS);
    log_close(l);
    read_bytes(last - 1, ".idx", &right);
    assert_false(same_bytes(last - 1, ".idx", &index));
    write_bytes(last - 1, ".idx", index.base, index.size);
    l = open_log(true, true);
    describe(l, &whole);
    log_close(l);
    buffer_fini(&said);
    said = whole;
    check(true, false);
    check(false, false);
    assert_true(same_bytes(last - 1, ".idx", &right));
    buffer_fini(&index);
    buffer_fini(&right);
}

/* Files of another log were put over those of this one: it has as many records everywhere, but others. */
static void that_of_another_log_is_passed_over(void **state)
{
    struct buffer index, right;

    read_bytes(0, ".idx", &index);
    assert_int_equal(tear_down(state), 0);
    shade = 1;
    assert_int_equal(set_up(state), 0);
    shade = 0;
    read_bytes(0, ".idx", &right);
    assert_int_equal(right.size, index.size);
    assert_false(same_bytes(0, ".idx", &index));
    write_bytes(0, ".idx", index.base, index.size);
    check(true, false);
    check(false, false);
    assert_true(same_bytes(0, ".idx", &right));
    buffer_fini(&index);
    buffer_fini(&right);
}

/* Nor is one believed where partitions are not known. */
static void partitions_that_are_not_known_are_damage(void **state)
{
    struct log_config config = config_of(false, false);
    struct log *l;

    (void)state;
    config.partitions = PARTITIONS - 1;
    assert_int_equal(log_open(&log_segments, &config, &l, NULL), LEAT_ECORRUPT);
}

/* ---- Damage ---- */

static uint64_t first_of(uint64_t number, uint32_t *partition)
{
    struct buffer bytes;

    read_bytes(number, ".seg", &bytes);
    uint64_t first = load_u64(bytes.base + DATA + GROUP_HEADER + 8);
    *partition = load_u32(bytes.base + DATA + GROUP_HEADER);
    buffer_fini(&bytes);
    return first;
}

/* Any byte of a run's header, and one of its records. */
static void damage_is_found_when_it_is_read(void **state)
{
    uint32_t partition;
    uint64_t first = first_of(1, &partition);

    (void)state;
    for (uint64_t at = DATA + GROUP_HEADER; at <= DATA + GROUP_HEADER + RUN_HEADER; at++) {
        struct leat_error err = {0};
        struct log_slice slice;
        char where[64];

        flip(1, at);
        struct log *l = open_log(at % 2 == 0, false);
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            int rv = log_read(l, p, p == partition ? first : 0, 1, 1, &slice, &err);

            assert_int_equal(rv, p == partition ? LEAT_ECORRUPT : 0);
            if (rv == 0)
                log_release(l, &slice);
        }
        log_close(l);
        snprintf(where, sizeof(where), "1.seg' is damaged at byte %d", DATA + GROUP_HEADER);
        assert_non_null(strstr(err.text, where));
        flip(1, at);
    }
    check(false, false);
}

/* A segment's own header, and its size, are looked at. */
static void damage_of_the_file_is_found_at_once(void **state)
{
    struct log_config config = config_of(false, false);
    struct leat_error err = {0};
    struct buffer was;
    struct log *l;
    char path[128];

    (void)state;
    for (uint64_t at = 0; at < SEGMENT_HEADER + 8; at++) {
        flip(1, at);
        int rv = log_open(&log_segments, &config, &l, &err);
        assert_true(rv == LEAT_ECORRUPT || rv == LEAT_EFORMAT);
        flip(1, at);
    }
    read_bytes(1, ".seg", &was);
    path_of(1, ".seg", path);
    assert_int_equal(truncate(path, DATA + GROUP_HEADER), 0);
    assert_int_equal(log_open(&log_segments, &config, &l, &err), LEAT_ECORRUPT);
    write_bytes(1, ".seg", was.base, was.size);
    buffer_fini(&was);
    check(false, false);
}

/* ---- Trimming, and no space ---- */

static void a_trim_removes_both(void **state)
{
    uint64_t end[PARTITIONS], last = last_number();
    struct log *l = open_log(false, false);
    struct log_chunk chunk;

    (void)state;
    assert_true(log_chunk(l, 4, 0, PARTITIONS, &chunk, end));
    for (uint32_t p = 0; p < PARTITIONS; p++)
        assert_int_equal(log_trim(l, p, end[p], NULL), 0);
    for (uint64_t i = 0; i < last; i++) {
        assert_int_equal(is_there(i, ".seg"), i >= 5);
        assert_int_equal(is_there(i, ".idx"), i >= 5);
    }
    buffer_fini(&said);
    describe(l, &said);
    log_close(l);
    wipe_groups();
    check(true, false);
}

/* A crash may leave them behind. */
static void those_without_a_segment_go(void **state)
{
    uint64_t last = last_number();
    struct buffer bytes;

    (void)state;
    read_bytes(0, ".idx", &bytes);
    write_bytes(last, ".idx", bytes.base, bytes.size);
    write_bytes(last + 1, ".idx", bytes.base, bytes.size);
    write_bytes(last + 100, ".idx", bytes.base, bytes.size);
    buffer_fini(&bytes);
    check(true, false);
    assert_true(is_there(last, ".idx") && is_there(last + 100, ".idx"));
    check(false, false);
    assert_true(is_there(last - 1, ".idx"));
    assert_false(is_there(last, ".idx") || is_there(last + 1, ".idx") || is_there(last + 100, ".idx"));
}

/* Whatever fails when one is written: appends go on, and the next opening does without. */
static void appends_do_not_need_it(void **state)
{
    static const struct fault faults[] = {{FAULT_OPEN, 1, EMFILE, true}, {FAULT_WRITE, 1, ENOSPC, true},
                                          {FAULT_WRITE, 1, EIO, true}};
    struct random r;

    (void)state;
    random_seed(&r, 5);
    for (size_t i = 0; i < LENGTH_OF(faults); i++) {
        struct log *l = open_log(false, false);
        uint64_t before = last_number();

        fault_begin(".idx", &faults[i]);
        while (last_number() < before + 3)
            write_group(l, &r, SYNCS);
        assert_int_equal(fault_end(), 3);
        for (uint64_t number = before; number < before + 3; number++)
            assert_false(is_there(number, ".idx"));
        buffer_fini(&said);
        describe(l, &said);
        log_close(l);
        check(true, false);
        check(false, false);
        assert_true(is_there(before + 2, ".idx"));
        check(true, false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_index_says_what_a_walk_finds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_missing_is_made_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_byte_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_does_not_fit_loses_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_ends_elsewhere_is_passed_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(that_of_another_segment_is_passed_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(that_of_an_earlier_life_is_passed_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(that_of_another_log_is_passed_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(partitions_that_are_not_known_are_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_is_found_when_it_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_of_the_file_is_found_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_trim_removes_both, set_up, tear_down),
        cmocka_unit_test_setup_teardown(those_without_a_segment_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(appends_do_not_need_it, set_up, tear_down),
    };

    log_level_set(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
