/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "depots/segments.h"

/* A log as others see it while its owner writes: read-only, file by file, cut at any group. */

enum { SEGMENT = 65536, GROUPS = 300 };

static char directory[] = "/tmp/leat-files-XXXXXX";
static char copy[64];

static struct log *open_log(const char *where, bool read_only)
{
    struct log_config config = {.directory = where, .partitions = read_only ? 0 : 3, .durability = LEAT_PROCESS,
                                .segment_size = SEGMENT, .read_only = read_only};
    struct leat_error err = {0};
    struct log *l;

    if (log_open(&log_segments, &config, &l, &err) != 0)
        fail_msg("%s", err.text);
    return l;
}

static char *text_of(int i)
{
    static char text[600];

    snprintf(text, sizeof(text), "record %d %0*d", i, i * 37 % 500, 0);
    return text;
}

/* Group i holds record i, in partition i % 3. */
static void append(struct log *l, int i)
{
    struct log_record r = {.partition = (uint32_t)i % 3, .body = span_text(text_of(i))};

    assert_int_equal(log_append(l, &r, 1, NULL), 0);
    assert_int_equal(log_sync(l, NULL), 0);
}

/* Of `count` records. */
static void check_groups(struct log *l, int count)
{
    for (int group = 0; group <= count + 1; group++)
        for (int p = 0; p < 3; p++) {
            uint64_t first, next, expected = (uint64_t)((group < count ? group : count) + 2 - p) / 3;

            log_bounds(l, (uint32_t)p, &first, &next);
            expected = expected > first ? expected : first;
            assert_int_equal(segments_next_before(l, (uint32_t)p, (uint64_t)group), expected);
        }
    for (int i = 0; i < count; i++) {
        uint64_t first, next, offset = (uint64_t)i / 3;

        log_bounds(l, (uint32_t)i % 3, &first, &next);
        assert_true(segments_group_of(l, (uint32_t)i % 3, offset) == (offset >= first ? (uint64_t)i : UINT64_MAX));
    }
    assert_true(segments_group_of(l, (uint32_t)count % 3, (uint64_t)count / 3) == UINT64_MAX);
}

/* Exactly the first `count` records are there. */
static void check(struct log *l, int count)
{
    struct log_slice slice;

    assert_int_equal(segments_groups(l), count);
    for (int i = 0; i < count; i++) {
        assert_int_equal(log_read(l, (uint32_t)i % 3, (uint64_t)i / 3, 1, 100, &slice, NULL), 0);
        assert_true(span_equal(slice.entry[0].body, span_text(text_of(i))));
        log_release(l, &slice);
    }
    check_groups(l, count);
}

static void others_read_what_is_there(void **state)
{
    struct log *owner = open_log(directory, false);

    (void)state;
    for (int i = 0; i < GROUPS; i++) {
        append(owner, i);
        if (i % 60 != 59)
            continue;
        struct log *reader = open_log(directory, true);
        struct log_record r = {.partition = 0, .body = span_text("mine")};

        assert_int_equal(reader->partitions, 3);
        check(reader, i + 1);
        assert_int_equal(log_append(reader, &r, 1, NULL), LEAT_EINVAL);
        log_close(reader);
    }
    log_close(owner);
}

static void copy_file(const struct segment_file *f)
{
    char from[256], to[256];
    struct buffer bytes = {0};

    snprintf(from, sizeof(from), "%s/%s", directory, f->name);
    snprintf(to, sizeof(to), "%s/%s", copy, f->name);
    assert_int_equal(file_read(from, 1 << 20, &bytes, NULL), 0);
    assert_int_equal(bytes.size, f->size);
    int fd = open(to, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(file_pwrite(fd, bytes.base, f->used, 0), 0);
    assert_int_equal(ftruncate(fd, (off_t)f->size), 0);
    close(fd);
    buffer_fini(&bytes);
}

/* What the files hold before any group is a whole log, which goes on from there. */
static void a_copy_may_end_at_any_group(void **state)
{
    struct log *reader = open_log(directory, true);

    (void)state;
    for (int end = 1; end <= GROUPS; end += end == GROUPS - 6 ? 6 : 7) {
        struct segment_file *file;
        uint32_t files = segments_files(reader, (uint64_t)end, &file);

        assert_int_equal(file_make_directory(copy, false, NULL), 0);
        for (uint32_t i = 0; i < files; i++) {
            assert_int_equal(file[i].sealed, i + 1 < files);
            copy_file(&file[i]);
        }
        free(file);
        struct log *l = open_log(copy, false);
        check(l, end);
        append(l, end);
        check(l, end + 1);
        log_close(l);
        assert_int_equal(file_remove_tree(copy, NULL), 0);
    }
    log_close(reader);
}

/* The end of a file that its owner is still writing is no damage. */
static void an_unfinished_end_is_left_alone(void **state)
{
    struct log *l = open_log(directory, true);
    struct segment_file *file;
    char path[256], garbage[64] = "LGRP and what a write under way looks like";
    uint32_t files = segments_files(l, UINT64_MAX, &file);
    struct buffer bytes = {0};

    (void)state;
    log_close(l);
    assert_true(files > 1);
    snprintf(path, sizeof(path), "%s/%s", directory, file[files - 1].name);
    int fd = open(path, O_RDWR);
    assert_int_equal(file_pwrite(fd, garbage, sizeof(garbage), file[files - 1].used), 0);
    close(fd);
    l = open_log(directory, true);
    check(l, GROUPS);
    log_close(l);
    assert_int_equal(file_read(path, 1 << 20, &bytes, NULL), 0);
    assert_memory_equal(bytes.base + file[files - 1].used, garbage, sizeof(garbage));
    buffer_fini(&bytes);
    free(file);
}

static int open_settled(struct log **out, struct leat_error *err)
{
    struct log_config config = {.directory = directory, .durability = LEAT_PROCESS, .read_only = true, .settled = true};

    return log_open(&log_segments, &config, out, err);
}

/* When nobody writes, the end says more: a write that was not acknowledged is told of, damage before one that was is
 * not passed over. Nothing is changed. */
static void the_end_of_a_settled_log_is_looked_at(void **state)
{
    struct leat_error err = {0};
    struct segment_file *file;
    struct log *l;
    char path[256];
    uint8_t was, is;

    (void)state;
    assert_int_equal(open_settled(&l, &err), 0);
    assert_true(segments_torn(l));
    check(l, GROUPS);
    uint32_t files = segments_files(l, UINT64_MAX, &file);
    log_close(l);
    snprintf(path, sizeof(path), "%s/%s", directory, file[files - 1].name);
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &was, 1, 4096 + 40), 1);
    is = (uint8_t)(was + 1);
    assert_int_equal(file_pwrite(fd, &is, 1, 4096 + 40), 0);
    assert_int_equal(open_settled(&l, &err), LEAT_ECORRUPT);
    assert_non_null(strstr(err.text, "later ones exist"));
    struct log_config looking = {.directory = directory, .read_only = true}; /* nor does who only looks pass it over */
    assert_int_equal(log_open(&log_segments, &looking, &l, &err), LEAT_ECORRUPT);
    assert_int_equal(file_pwrite(fd, &was, 1, 4096 + 40), 0);
    assert_int_equal(ftruncate(fd, (off_t)file[files - 1].used), 0);
    assert_int_equal(ftruncate(fd, (off_t)file[files - 1].size), 0);
    close(fd);
    assert_int_equal(open_settled(&l, &err), 0);
    assert_false(segments_torn(l));
    check(l, GROUPS);
    log_close(l);
    free(file);
}

/* Numbers of groups go on where segments were trimmed, also after an opening. */
static void groups_keep_their_numbers(void **state)
{
    struct log *l = open_log(directory, false);
    uint64_t first, next;

    (void)state;
    for (uint32_t p = 0; p < 3; p++)
        assert_int_equal(log_trim(l, p, GROUPS / 3, NULL), 0);
    log_bounds(l, 0, &first, &next);
    assert_true(first > 0);
    check_groups(l, GROUPS);
    append(l, GROUPS);
    check_groups(l, GROUPS + 1);
    log_close(l);
    l = open_log(directory, true);
    check_groups(l, GROUPS + 1);
    log_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_read_what_is_there),
        cmocka_unit_test(a_copy_may_end_at_any_group),
        cmocka_unit_test(an_unfinished_end_is_left_alone),
        cmocka_unit_test(the_end_of_a_settled_log_is_looked_at),
        cmocka_unit_test(groups_keep_their_numbers),
    };

    if (mkdtemp(directory) == NULL)
        return 1;
    snprintf(copy, sizeof(copy), "%s-copy", directory);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    file_remove_tree(directory, NULL);
    return failed;
}
