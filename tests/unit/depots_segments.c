/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "depots/log.h"

/* Torn tails are cut, damage is reported: the file is changed by hand, as a disk would. */

enum { SEGMENT = 65536, DATA = 4096 };

struct fixture {
    char directory[64], file[128];
    struct log_config config;
};

static void set_up(struct fixture *f)
{
    snprintf(f->directory, sizeof(f->directory), "/tmp/leat-segments-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    snprintf(f->file, sizeof(f->file), "%s/0000000000000000.seg", f->directory);
    f->config = (struct log_config){
        .directory = f->directory, .partitions = 2, .durability = LEAT_PROCESS, .segment_size = SEGMENT};
}

/* So many groups of one record each: record i is "record i". */
static void fill(struct fixture *f, int groups)
{
    struct leat_error err = {0};
    struct log *l;
    char text[32];

    assert_int_equal(log_open(&log_segments, &f->config, &l, &err), 0);
    for (int i = 0; i < groups; i++) {
        snprintf(text, sizeof(text), "record %d", i);
        struct log_record r = {.partition = 0, .body = span_text(text)};

        assert_int_equal(log_append(l, &r, 1, NULL), 0);
        assert_int_equal(log_sync(l, &err), 0);
    }
    log_close(l);
}

static uint64_t records(struct log *l)
{
    uint64_t first, next;

    log_bounds(l, 0, &first, &next);
    return next - first;
}

/* Open, and check that exactly the first `wanted` records are there and that appending goes on. */
static void check(struct fixture *f, uint64_t wanted)
{
    struct leat_error err = {0};
    struct log_slice slice;
    struct log *l;
    char text[32];

    if (log_open(&log_segments, &f->config, &l, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(records(l), wanted);
    for (uint64_t i = 0; i < wanted; i++) {
        snprintf(text, sizeof(text), "record %d", (int)i);
        assert_int_equal(log_read(l, 0, i, 1, 100, &slice, &err), 0);
        assert_true(span_equal(slice.entry[0].body, span_text(text)));
        log_release(l, &slice);
    }
    struct log_record r = {.partition = 0, .body = span_text("after")};
    uint64_t offset;
    assert_int_equal(log_append(l, &r, 1, &offset), 0);
    assert_int_equal(offset, wanted);
    assert_int_equal(log_sync(l, &err), 0);
    log_close(l);
    assert_int_equal(log_open(&log_segments, &f->config, &l, &err), 0);
    assert_int_equal(records(l), wanted + 1);
    log_close(l);
}

static void change(const struct fixture *f, uint64_t at, const void *bytes, size_t size)
{
    int fd = open(f->file, O_RDWR);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, (off_t)at), size);
    close(fd);
}

static uint8_t byte_at(const struct fixture *f, uint64_t at)
{
    int fd = open(f->file, O_RDONLY);
    uint8_t byte = 0;

    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    close(fd);
    return byte;
}

/* Groups of one short record take two steps of 64 bytes. */
enum { GROUPS = 5, GROUP = 128 };

static void a_torn_last_group_is_cut_wherever_it_tears(void **state)
{
    static const uint8_t zeros[GROUP];

    (void)state;
    for (uint32_t kept = 0; kept < 75; kept++) {
        struct fixture f;

        set_up(&f);
        fill(&f, GROUPS);
        change(&f, DATA + (GROUPS - 1) * GROUP + kept, zeros, GROUP - kept);
        check(&f, GROUPS - 1);
        file_remove_tree(f.directory, NULL);
    }
}

static void a_flipped_bit_in_the_last_group_is_cut(void **state)
{
    (void)state;
    for (uint32_t at = 0; at < 64; at += 5) {
        struct fixture f;

        set_up(&f);
        fill(&f, GROUPS);
        uint8_t flipped = byte_at(&f, DATA + (GROUPS - 1) * GROUP + at) ^ 0x10;
        change(&f, DATA + (GROUPS - 1) * GROUP + at, &flipped, 1);
        check(&f, GROUPS - 1);
        file_remove_tree(f.directory, NULL);
    }
}

/* Whoever opens it may know that it was whole once: then it must not be changed before it is put right. */
static void a_torn_end_stays_until_something_is_written(void **state)
{
    uint64_t at = DATA + (GROUPS - 1) * GROUP + 65;
    struct leat_error err = {0};
    struct fixture f;
    struct log *l;

    (void)state;
    set_up(&f);
    fill(&f, GROUPS);
    uint8_t was = byte_at(&f, at), is = was ^ 1;
    change(&f, at, &is, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(log_open(&log_segments, &f.config, &l, &err), 0);
        assert_int_equal(records(l), GROUPS - 1);
        assert_int_equal(log_sync(l, &err), 0);
        log_close(l);
        assert_int_equal(byte_at(&f, at), is);
    }
    change(&f, at, &was, 1);
    check(&f, GROUPS);
    file_remove_tree(f.directory, NULL);
}

static void damage_in_the_middle_is_reported(void **state)
{
    (void)state;
    for (uint32_t at = 0; at < 64; at += 3) {
        struct leat_error err = {0};
        struct fixture f;
        struct log *l;
        char where[64];

        set_up(&f);
        fill(&f, GROUPS);
        uint8_t flipped = byte_at(&f, DATA + 2 * GROUP + at) ^ 0x10, before = byte_at(&f, DATA + 3 * GROUP + 8);
        change(&f, DATA + 2 * GROUP + at, &flipped, 1);
        assert_int_equal(log_open(&log_segments, &f.config, &l, &err), LEAT_ECORRUPT);
        snprintf(where, sizeof(where), "damaged at byte %d", DATA + 2 * GROUP);
        assert_non_null(strstr(err.text, where));
        assert_non_null(strstr(err.text, f.file));
        assert_int_equal(byte_at(&f, DATA + 3 * GROUP + 8), before);
        f.config.read_only = true; /* and who only looks is told, whether somebody writes or not */
        for (int settled = 0; settled < 2; settled++) {
            f.config.settled = settled == 1;
            assert_int_equal(log_open(&log_segments, &f.config, &l, &err), LEAT_ECORRUPT);
            assert_non_null(strstr(err.text, where));
        }
        file_remove_tree(f.directory, NULL);
    }
}

enum { WRITTEN = 20000 };

struct writing {
    struct log *log;
    _Atomic bool over;
};

static void *write_on(void *context)
{
    struct log_record r = {.partition = 0, .body = span_text("beside")};
    struct writing *w = context;
    void *fine = w;

    for (int i = 0; i < WRITTEN && fine != NULL; i++)
        if (log_append(w->log, &r, 1, NULL) != 0 || log_sync(w->log, NULL) != 0)
            fine = NULL;
    atomic_store(&w->over, true);
    return fine;
}

/* Groups that come while somebody looks are no damage. */
static void who_looks_while_it_is_written_finds_no_damage(void **state)
{
    uint64_t seen = 0;
    struct leat_error err = {0};
    struct writing w = {0};
    pthread_t thread;
    struct fixture f;
    struct log *l;
    void *fine;

    (void)state;
    set_up(&f);
    f.config.segment_size = 8 << 20; /* of many files a listing may miss one that is made meanwhile */
    assert_int_equal(log_open(&log_segments, &f.config, &w.log, &err), 0);
    assert_int_equal(pthread_create(&thread, NULL, write_on, &w), 0);
    f.config.read_only = true;
    for (bool over = false; !over; log_close(l)) {
        over = atomic_load(&w.over);
        if (log_open(&log_segments, &f.config, &l, &err) != 0)
            fail_msg("after %llu records: %s", (unsigned long long)seen, err.text);
        uint64_t now = l->partitions == 0 ? 0 : records(l); /* before the first file there is none */
        assert_true(now >= seen);
        seen = now;
    }
    pthread_join(thread, &fine);
    assert_ptr_equal(fine, &w);
    assert_int_equal(seen, WRITTEN);
    log_close(w.log);
    file_remove_tree(f.directory, NULL);
}

static void expect_damage(const struct fixture *f, int rv, const struct leat_error *err, int at)
{
    char where[64];

    assert_int_equal(rv, LEAT_ECORRUPT);
    snprintf(where, sizeof(where), "damaged at byte %d", at);
    assert_non_null(strstr(err->text, where));
    assert_non_null(strstr(err->text, f->file));
}

/* A log that opened by an index file: the damaged record, and those around it. */
static void read_damaged(const struct fixture *f, struct log *l, bool damaged)
{
    struct leat_error err = {0};
    struct log_slice slice;

    for (uint64_t i = 1; i < 4; i++) {
        int rv = log_read(l, 0, i, 1, 100, &slice, &err);

        if (i == 2 && damaged)
            expect_damage(f, rv, &err, DATA + 2 * GROUP + 32);
        else
            assert_int_equal(rv, 0);
        if (rv == 0)
            log_release(l, &slice);
    }
}

/* Groups of an older segment: their records are checked when read, where they belong when the log opens, by who walks
 * it; without a walk, when they are read. The header of a group itself is then needed by nobody. */
static void damage_in_older_segments_is_reported(void **state)
{
    (void)state;
    for (uint32_t at = 0; at < 64; at += 3) {
        struct leat_error err = {0};
        struct fixture f;
        struct log *l;
        char index[128];

        set_up(&f);
        fill(&f, 600);
        uint8_t flipped = byte_at(&f, DATA + 2 * GROUP + at) ^ 1;
        change(&f, DATA + 2 * GROUP + at, &flipped, 1);
        assert_int_equal(log_open(&log_segments, &f.config, &l, &err), 0);
        read_damaged(&f, l, at >= 32);
        log_close(l);
        f.config.walk = true;
        expect_damage(&f, log_open(&log_segments, &f.config, &l, &err), &err, DATA + 2 * GROUP);
        f.config.walk = false;
        snprintf(index, sizeof(index), "%s/0000000000000000.idx", f.directory);
        for (int i = 0; i < 2; i++) { /* none is made of a segment that is damaged */
            assert_int_equal(unlink(index), i == 0 ? 0 : -1);
            expect_damage(&f, log_open(&log_segments, &f.config, &l, &err), &err, DATA + 2 * GROUP);
        }
        file_remove_tree(f.directory, NULL);
    }
}

static void a_missing_segment_is_reported(void **state)
{
    struct leat_error err = {0};
    struct fixture f;
    struct log *l;
    char path[128];

    (void)state;
    set_up(&f);
    fill(&f, 1500);
    snprintf(path, sizeof(path), "%s/0000000000000001.seg", f.directory);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(log_open(&log_segments, &f.config, &l, &err), LEAT_ECORRUPT);
    assert_non_null(strstr(err.text, "segment 0000000000000001 is missing"));
    file_remove_tree(f.directory, NULL);
}

static void a_segment_that_was_being_made_is_dropped(void **state)
{
    struct fixture f;
    char path[128];

    (void)state;
    set_up(&f);
    fill(&f, GROUPS);
    snprintf(path, sizeof(path), "%s/0000000000000001.seg", f.directory);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(ftruncate(fd, SEGMENT), 0);
    close(fd);
    check(&f, GROUPS);
    file_remove_tree(f.directory, NULL);
}

/* Who only looks finds the number of partitions in the files: of the last one that was not being made. */
static void partitions_are_found(void **state)
{
    struct leat_error err = {0};
    struct fixture f;
    struct log *l;

    (void)state;
    set_up(&f);
    f.config.read_only = true;
    for (int i = 0; i < 2; i++) {
        char path[128];

        snprintf(path, sizeof(path), "%s/%016x.seg", f.directory, i);
        int fd = open(path, O_RDWR | O_CREAT, 0600);
        assert_int_equal(ftruncate(fd, SEGMENT), 0);
        close(fd);
        assert_int_equal(log_open(&log_segments, &f.config, &l, &err), 0);
        assert_int_equal(l->partitions, i == 0 ? 0 : 2);
        if (i == 1)
            assert_int_equal(records(l), GROUPS);
        log_close(l);
        if (i == 1)
            break;
        assert_int_equal(unlink(path), 0);
        f.config.read_only = false;
        fill(&f, GROUPS);
        f.config.read_only = true;
    }
    file_remove_tree(f.directory, NULL);
    assert_int_equal(log_open(&log_segments, &f.config, &l, &err), LEAT_ENOTFOUND);
    assert_non_null(strstr(err.text, f.directory));
}

/* But one that has records is damaged. */
static void a_damaged_header_is_reported(void **state)
{
    static const uint8_t wrong[] = {0xff};
    struct leat_error err = {0};
    struct fixture f;
    struct log *l;

    (void)state;
    set_up(&f);
    fill(&f, GROUPS);
    change(&f, 20, wrong, sizeof(wrong));
    for (int look = 0; look < 3; look++) {
        f.config.read_only = look > 0;
        f.config.settled = look > 1;
        assert_int_equal(log_open(&log_segments, &f.config, &l, &err), LEAT_ECORRUPT);
        assert_non_null(strstr(err.text, f.file));
        assert_int_equal(access(f.file, F_OK), 0);
    }
    file_remove_tree(f.directory, NULL);
}

static void another_version_is_refused(void **state)
{
    struct leat_error err = {0};
    struct fixture f;
    struct log *l;
    uint8_t header[48];

    (void)state;
    set_up(&f);
    fill(&f, GROUPS);
    for (uint32_t i = 0; i < sizeof(header); i++)
        header[i] = byte_at(&f, i);
    store_u32(header + 8, load_u32(header + 8) + 1);
    store_u32(header + 4, crc32c(0, header + 8, sizeof(header) - 8));
    change(&f, 0, header, sizeof(header));
    assert_int_equal(log_open(&log_segments, &f.config, &l, &err), LEAT_EFORMAT);
    assert_non_null(strstr(err.text, "this program reads version"));
    assert_int_equal(access(f.file, F_OK), 0);
    file_remove_tree(f.directory, NULL);
}

static void another_owners_file_is_refused(void **state)
{
    struct leat_error err = {0};
    struct fixture f;
    struct log *l;

    (void)state;
    set_up(&f);
    f.config.owner = 3;
    fill(&f, GROUPS);
    f.config.owner = 4;
    assert_int_equal(log_open(&log_segments, &f.config, &l, &err), LEAT_ECORRUPT);
    assert_non_null(strstr(err.text, f.file));
    assert_non_null(strstr(err.text, "of owner 3, but this one's is 4"));
    f.config.owner = 0;
    assert_int_equal(log_open(&log_segments, &f.config, &l, &err), 0);
    log_close(l);
    f.config.owner = 3;
    check(&f, GROUPS);
    file_remove_tree(f.directory, NULL);
}

static void partitions_may_grow(void **state)
{
    struct leat_error err = {0};
    struct fixture f;
    struct log *l;
    uint64_t offset;

    (void)state;
    set_up(&f);
    fill(&f, GROUPS);
    f.config.partitions = 9;
    assert_int_equal(log_open(&log_segments, &f.config, &l, &err), 0);
    struct log_record r = {.partition = 8, .body = span_text("new")};
    assert_int_equal(log_append(l, &r, 1, &offset), 0);
    assert_int_equal(offset, 0);
    assert_int_equal(log_sync(l, &err), 0);
    assert_int_equal(records(l), GROUPS);
    log_close(l);
    file_remove_tree(f.directory, NULL);
}

/* Segments that are not written to any more hold no file open: a process may have few. */
static void many_segments_need_few_files(void **state)
{
    static char body[40000];
    struct rlimit few = {48, 48}, was;
    struct leat_error err = {0};
    struct fixture f;
    struct log *l;

    (void)state;
    set_up(&f);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    few.rlim_max = was.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (int life = 0; life < 2; life++) {
        assert_int_equal(log_open(&log_segments, &f.config, &l, &err), 0);
        for (int i = 0; i < 100; i++) {
            struct log_record r = {.partition = 0, .body = span_of(body, sizeof(body))};

            assert_int_equal(log_append(l, &r, 1, NULL), 0);
            assert_int_equal(log_sync(l, &err), 0);
        }
        assert_int_equal(records(l), 100 * (life + 1));
        log_close(l);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    file_remove_tree(f.directory, NULL);
}

static void groups_larger_than_a_segment_fit(void **state)
{
    struct leat_error err = {0};
    struct log_slice slice;
    struct fixture f;
    struct log *l;
    void *big = calloc(1, 3 * SEGMENT);

    (void)state;
    set_up(&f);
    assert_int_equal(log_open(&log_segments, &f.config, &l, &err), 0);
    struct log_record r = {.partition = 1, .body = {big, 3 * SEGMENT}};
    assert_int_equal(log_append(l, &r, 1, NULL), 0);
    assert_int_equal(log_sync(l, &err), 0);
    log_close(l);
    assert_int_equal(log_open(&log_segments, &f.config, &l, &err), 0);
    assert_int_equal(log_read(l, 1, 0, 1, 1, &slice, &err), 0);
    assert_int_equal(slice.entry[0].body.size, 3 * SEGMENT);
    log_release(l, &slice);
    log_close(l);
    free(big);
    file_remove_tree(f.directory, NULL);
}

/* ---- What opening reads ---- */

static void fill_bytes(struct fixture *f, int groups, size_t size)
{
    char *body = calloc(1, size);
    struct leat_error err = {0};
    struct log *l;

    assert_int_equal(log_open(&log_segments, &f->config, &l, &err), 0);
    for (int i = 0; i < groups; i++) {
        struct log_record r = {.partition = 0, .body = {body, size}};

        assert_int_equal(log_append(l, &r, 1, NULL), 0);
        assert_int_equal(log_sync(l, &err), 0);
    }
    log_close(l);
    free(body);
}

/* How many pages of the first segment are in the page cache. put_out: do that before. */
static size_t cached(const struct fixture *f, bool put_out)
{
    int fd = open(f->file, O_RDWR);
    struct stat st;
    size_t count = 0;

    assert_int_equal(fstat(fd, &st), 0);
    if (put_out) {
        assert_int_equal(fdatasync(fd), 0);
        assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    }
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    size_t pages = (size_t)st.st_size / 4096;
    unsigned char *in = calloc(1, pages);
    assert_int_equal(mincore(map, (size_t)st.st_size, in), 0);
    for (size_t i = 0; i < pages; i++)
        count += in[i] & 1;
    free(in);
    munmap(map, (size_t)st.st_size);
    close(fd);
    return count;
}

/* Open a log that is not in the page cache. How often that waited for the disk; -1: the file system is all memory. */
static long open_cold(struct fixture *f, bool walk, int groups)
{
    struct rusage before, after;
    struct leat_error err = {0};
    struct log *l;

    if (cached(f, true) > 0)
        return -1;
    f->config.walk = walk;
    assert_int_equal(getrusage(RUSAGE_THREAD, &before), 0);
    assert_int_equal(log_open(&log_segments, &f->config, &l, &err), 0);
    assert_int_equal(getrusage(RUSAGE_THREAD, &after), 0);
    assert_int_equal(records(l), groups);
    log_close(l);
    return after.ru_majflt - before.ru_majflt;
}

static long walk_filled(struct fixture *f, uint64_t segment_size, int groups, size_t size)
{
    set_up(f);
    f->config.segment_size = segment_size;
    fill_bytes(f, groups, size);
    return open_cold(f, true, groups);
}

static void remove_filled(const struct fixture *f, long waits)
{
    file_remove_tree(f->directory, NULL);
    if (waits < 0)
        skip();
}

/* Not page by page: each would be waited for. */
static void small_groups_are_read_ahead(void **state)
{
    struct fixture f;
    long waits = walk_filled(&f, 1 << 20, 1500, 1000);

    (void)state;
    if (waits >= 0)
        assert_in_range(waits, 0, f.config.segment_size / 4096 / 10);
    remove_filled(&f, waits);
}

/* Nor what was only preallocated: it would count as written from then on. */
static void of_large_groups_headers_are_read(void **state)
{
    enum { COUNT = 10 };
    struct fixture f;
    long waits = walk_filled(&f, 8 << 20, COUNT, 1 << 20);

    (void)state;
    if (waits >= 0)
        assert_in_range(cached(&f, false), 1, COUNT * 16);
    remove_filled(&f, waits);
}

/* Of a segment with an index file, two pages: its header, and that of its last run. */
static void of_older_segments_nothing_is_read(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f);
    f.config.segment_size = 1 << 20;
    fill_bytes(&f, 1500, 1000);
    long waits = open_cold(&f, false, 1500);
    if (waits >= 0)
        assert_in_range(cached(&f, false), 1, 2);
    remove_filled(&f, waits);
}

enum { CHECKED = 300, READERS = 3 };

static void *read_all(void *context)
{
    struct log *l = context;
    struct leat_error err = {0};
    struct log_slice slice;
    uint64_t first, next, at = 0;
    char text[32];
    int rv = 0;

    while (at < CHECKED && rv != LEAT_ECORRUPT) {
        rv = log_read(l, 0, at, 1, 100, &slice, &err);
        log_bounds(l, 0, &first, &next);
        if (rv == LEAT_ETRIMMED) {
            at = first;
            continue;
        }
        if (rv != 0)
            return NULL;
        snprintf(text, sizeof(text), "record %d", (int)slice.entry[0].offset);
        if (!span_equal(slice.entry[0].body, span_text(text)))
            return NULL;
        at = slice.next;
        log_release(l, &slice);
    }
    return rv == 0 || rv == LEAT_ETRIMMED ? l : NULL;
}

/* Runs are checked when they are first read, by several at once, while segments before and under them go. */
static void runs_are_checked_while_they_are_trimmed(void **state)
{
    struct leat_error err = {0};
    struct fixture f;
    pthread_t thread[READERS];
    struct log *l;

    (void)state;
    for (int round = 0; round < 20; round++) {
        set_up(&f);
        f.config.segment_size = 2 * DATA;
        fill(&f, CHECKED);
        assert_int_equal(log_open(&log_segments, &f.config, &l, &err), 0);
        for (int i = 0; i < READERS; i++)
            assert_int_equal(pthread_create(&thread[i], NULL, read_all, l), 0);
        for (uint64_t before = 0; before <= CHECKED; before += 20) {
            assert_int_equal(log_trim(l, 0, before, &err), 0);
            struct log_record r = {.partition = 1, .body = span_text("beside")};
            assert_int_equal(log_append(l, &r, 1, NULL), 0);
            assert_int_equal(log_sync(l, &err), 0);
        }
        for (int i = 0; i < READERS; i++) {
            void *fine;

            pthread_join(thread[i], &fine);
            assert_ptr_equal(fine, l);
        }
        assert_true(records(l) < CHECKED / 2);
        log_close(l);
        file_remove_tree(f.directory, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_torn_last_group_is_cut_wherever_it_tears),
        cmocka_unit_test(a_flipped_bit_in_the_last_group_is_cut),
        cmocka_unit_test(a_torn_end_stays_until_something_is_written),
        cmocka_unit_test(damage_in_the_middle_is_reported),
        cmocka_unit_test(who_looks_while_it_is_written_finds_no_damage),
        cmocka_unit_test(damage_in_older_segments_is_reported),
        cmocka_unit_test(a_missing_segment_is_reported),
        cmocka_unit_test(a_segment_that_was_being_made_is_dropped),
        cmocka_unit_test(partitions_are_found),
        cmocka_unit_test(a_damaged_header_is_reported),
        cmocka_unit_test(another_version_is_refused), cmocka_unit_test(another_owners_file_is_refused),
        cmocka_unit_test(partitions_may_grow),
        cmocka_unit_test(runs_are_checked_while_they_are_trimmed),
        cmocka_unit_test(groups_larger_than_a_segment_fit),
        cmocka_unit_test(many_segments_need_few_files), cmocka_unit_test(small_groups_are_read_ahead),
        cmocka_unit_test(of_large_groups_headers_are_read), cmocka_unit_test(of_older_segments_nothing_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
