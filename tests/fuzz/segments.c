/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32c.h"
#include "base/log.h"
#include "depots/log.h"
#include "tests/fuzz/memory.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* A log of a few small segments. What the input says is done to its files: each five bytes are {file, kind, position
 * u16, value}. Then the log opens, or says where it is damaged; and reads what was written, or says where it is
 * damaged; or it lost its end, and then the last group was hit. Files behind the segments are their index files. */

enum { SEGMENTS = 3, FILES = SEGMENTS + SEGMENTS - 1, SIZE = 8192, PARTITIONS = 3, GROUPS = 22, STEP = 5, UNIT = 64 };

/* SEAL: the CRC is right again, of an index file. */
enum { FLIP, SET, CLEAR, COPY, CUT, SEAL, KINDS };

static struct log_config config = {
    .directory = MEMORY_DIRECTORY, .partitions = PARTITIONS, .durability = LEAT_PROCESS, .segment_size = SIZE};
static uint8_t whole[FILES][SIZE];
static size_t size_of[FILES];
static uint64_t written[PARTITIONS];
static uint32_t last_begin, last_end; /* of the last group, in the last file */

struct damaged {
    uint8_t bytes[FILES][SIZE];
    size_t size[FILES];
};

static const char *name_of(uint32_t file)
{
    static char name[32];

    snprintf(name, sizeof(name), "%016x.%s", file % SEGMENTS, file < SEGMENTS ? "seg" : "idx");
    return name;
}

/* The record at an offset of a partition follows from both. */
static struct log_record record_at(uint32_t partition, uint64_t offset)
{
    static char body[PARTITIONS][2 * GROUPS][128];
    char *text = body[partition][offset];

    if (text[0] == '\0')
        snprintf(text, sizeof(body[0][0]), "record %d of %u, %*s", (int)offset, partition, (int)(offset * 7 % 60), "");
    return (struct log_record){.partition = partition, .time_us = 1000000 + (int64_t)(offset * 3),
                               .session = offset % 3,
                               .sequence = offset % 3 != 0 ? offset : 0, .body = span_of(text, strlen(text))};
}

static void write_group(struct log *l)
{
    for (uint32_t i = 0; i < 2 * PARTITIONS; i++) {
        uint32_t partition = i % PARTITIONS;
        struct log_record r = record_at(partition, written[partition]++);

        leat_assert(log_append(l, &r, 1, NULL) == 0);
    }
    leat_assert(log_sync(l, NULL) == 0);
}

/* Keep what the files are, and where the last group lies. */
static void keep_files(void)
{
    for (uint32_t i = 0; i < FILES; i++) {
        struct leat_span bytes = memory_bytes(name_of(i));

        leat_assert(i < SEGMENTS ? bytes.size == SIZE : bytes.size > UNIT && bytes.size < SIZE);
        memcpy(whole[i], bytes.base, bytes.size);
        size_of[i] = bytes.size;
    }
    for (last_end = 4096; last_end < SIZE && load_u64(whole[SEGMENTS - 1] + last_end + 8) != 0;) {
        last_begin = last_end;
        last_end += (uint32_t)load_u64(whole[SEGMENTS - 1] + last_end + 8);
    }
    leat_assert(last_begin > 4096);
}

static void set_up(void)
{
    struct log *l;

    log_level_set(LOG_ERROR);
    leat_assert(log_open(&log_segments, &config, &l, NULL) == 0);
    for (int i = 0; i < GROUPS; i++)
        write_group(l);
    log_close(l);
    keep_files();
}

static void damage(struct damaged *d, const uint8_t *what)
{
    uint32_t file = what[0] % FILES, size = (uint32_t)size_of[file], at = load_u16(what + 2) % size;
    uint32_t from = what[4] * UNIT % SIZE;
    uint8_t *bytes = d->bytes[file];

    switch (what[1] % KINDS) {
    case FLIP:
        bytes[at] ^= (uint8_t)(1U << what[4] % 8);
        break;
    case SET:
        bytes[at] = what[4];
        break;
    case CLEAR:
        memset(bytes + at, 0, size - at < what[4] ? size - at : what[4]);
        break;
    case COPY:
        memmove(bytes + at / UNIT * UNIT, bytes + from, UNIT);
        break;
    case CUT:
        d->size[file] = at;
        memset(bytes + at, 0, SIZE - at);
        break;
    default:
        if (file >= SEGMENTS && d->size[file] > 8)
            store_u32(bytes + 4, crc32c(0, bytes + 8, d->size[file] - 8));
        break;
    }
}

static void write_files(const struct damaged *d)
{
    for (uint32_t i = 0; i < FILES; i++)
        memory_put(name_of(i), d->bytes[i], d->size[i]);
}

static void check_entry(uint32_t partition, uint64_t offset, const struct log_entry *e)
{
    struct log_record r = record_at(partition, offset);

    leat_assert(e->offset == offset && e->time_us == r.time_us && e->session == r.session && e->sequence == r.sequence);
    leat_assert(span_equal(e->body, r.body));
}

static void check_told(const struct leat_error *err)
{
    leat_assert(err->code == LEAT_ECORRUPT && strstr(err->text, MEMORY_DIRECTORY) != NULL &&
                strstr(err->text, ".seg") != NULL);
    leat_assert(strstr(err->text, "byte") != NULL);
}

/* Offset for offset what was written, up to damage that is told. */
static void check_partition(struct log *l, uint32_t partition, bool end_hit)
{
    uint64_t first, next;

    log_bounds(l, partition, &first, &next);
    leat_assert(first == 0 && next <= written[partition] && (next == written[partition] || end_hit));
    for (uint64_t at = 0; at < next;) {
        struct leat_error err = {0};
        struct log_slice slice;

        if (log_read(l, partition, at, 3, 1000, &slice, &err) != 0) {
            check_told(&err);
            return;
        }
        leat_assert(slice.count > 0);
        for (uint32_t i = 0; i < slice.count; i++)
            check_entry(partition, at++, &slice.entry[i]);
        leat_assert(slice.next == at);
        log_release(l, &slice);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct damaged d;
    struct leat_error err = {0};
    struct log *l;

    if (last_begin == 0)
        set_up();
    memcpy(d.bytes, whole, sizeof(whole));
    memcpy(d.size, size_of, sizeof(size_of));
    for (; size >= STEP; bytes += STEP, size -= STEP)
        damage(&d, bytes);
    write_files(&d);
    bool end_hit = d.size[SEGMENTS - 1] < last_end ||
                   memcmp(d.bytes[SEGMENTS - 1] + last_begin, whole[SEGMENTS - 1] + last_begin,
                          last_end - last_begin) != 0;
    if (log_open(&log_segments, &config, &l, &err) != 0) {
        check_told(&err);
        return 0;
    }
    for (uint32_t i = 0; i < PARTITIONS; i++)
        check_partition(l, i, end_hit);
    log_close(l);
    return 0;
}
