/* SPDX-License-Identifier: Apache-2.0 */
#include "depots/segments.h"

#include "base/crc32c.h"
#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Index files: what the index has of a segment that is full, so that opening reads some bytes a run instead of headers
 * that lie all over the segment. It may be lost, torn or of an earlier life at any time, so nothing syncs it: it counts
 * when its CRC is right, the headers of the segment and of its successor are those that it names, and its runs lead
 * from the offsets of the one to the offsets of the other. */

enum {
    INDEX_VERSION = 1,
    /* magic, crc, version u32, crc of the segment's header, crc of its successor's; number u64, end u64 */
    INDEX_HEADER = 36,
};

static void path_of(const struct segments *s, uint64_t number, char *out, size_t size)
{
    snprintf(out, size, "%s/%016llx.idx", s->directory, (unsigned long long)number);
}

/* A run of no records, right before the first of a segment. */
static struct run none(const struct segment *g, uint64_t next)
{
    return (struct run){.first = next, .position = segment_data(g) - RUN_HEADER, .group = g->first_group};
}

static uint64_t end_of(const struct run *r)
{
    return r->position + RUN_HEADER + r->length;
}

/* ---- Writing ---- */

/* Times go up but for clocks that are set back: those wrap, and take ten bytes. */
static void put_runs(const struct segment_partition *p, const struct segment *g, struct buffer *out)
{
    struct run before = none(g, 0);
    uint32_t first = p->runs;

    while (first > 0 && p->run[first - 1].segment == g)
        first--;
    buffer_varint(out, p->runs - first);
    for (uint32_t i = first; i < p->runs; i++) {
        const struct run *r = &p->run[i];

        buffer_varint(out, r->group - before.group);
        buffer_varint(out, r->position - end_of(&before));
        buffer_varint(out, r->count);
        buffer_varint(out, r->length);
        buffer_varint(out, (uint64_t)r->time_us - (uint64_t)before.time_us);
        buffer_u32(out, r->crc);
        before = *r;
    }
}

static int write_file(const char *path, const struct buffer *bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rv = fd < 0 ? -1 : file_pwrite(fd, bytes->base, bytes->size, 0);

    if (fd >= 0)
        close(fd);
    return rv;
}

static void make(struct segments *s, const struct segment *g, const struct segment *next, struct buffer *out)
{
    buffer_u32(out, INDEX_MAGIC);
    buffer_u32(out, 0);
    buffer_u32(out, INDEX_VERSION);
    buffer_u32(out, load_u32(g->map + 4));
    buffer_u32(out, load_u32(next->map + 4));
    buffer_u64(out, g->number);
    buffer_u64(out, g->end);
    for (uint32_t i = 0; i < segment_partitions(next); i++) {
        pthread_mutex_lock(&s->lock); /* a trim may move them */
        put_runs(&s->partition[i], g, out);
        pthread_mutex_unlock(&s->lock);
    }
    leat_assert(out->error == 0);
    store_u32(out->base + 4, crc32c(0, out->base + 8, out->size - 8));
}

void segment_index_write(struct segments *s, const struct segment *g, const struct segment *next)
{
    struct buffer bytes;
    char path[4096];

    buffer_init(&bytes, SIZE_MAX);
    make(s, g, next, &bytes);
    path_of(s, g->number, path, sizeof(path));
    if (write_file(path, &bytes) != 0) {
        log_print(LOG_WARN, "depots", "write '%s': %s; the next start reads the segment instead", path,
                  strerror(errno));
        unlink(path);
    }
    buffer_fini(&bytes);
}

/* ---- Reading ---- */

struct parse {
    struct reader from;
    uint64_t end; /* of the groups in the segment */
};

/* The run behind another one of the same partition. It lies in the segment: whether it is what is said here, a read
 * looks at. */
static bool take_run(struct parse *p, struct run *r)
{
    uint64_t group = reader_varint(&p->from), gap = reader_varint(&p->from), count = reader_varint(&p->from);
    uint64_t length = reader_varint(&p->from), time = reader_varint(&p->from), at = end_of(r);

    r->crc = reader_u32(&p->from);
    r->first += r->count;
    if (p->from.error != 0 || gap > p->end - at || p->end - at - gap < RUN_HEADER ||
        length > p->end - at - gap - RUN_HEADER)
        return false;
    r->group += group;
    r->position = at + gap;
    r->count = (uint32_t)count;
    r->length = (uint32_t)length;
    r->time_us = (int64_t)((uint64_t)r->time_us + time);
    return true;
}

/* All runs of a segment, from the offsets where it begins to those where its successor does; add: they are known to
 * fit, and become part of the index. The last one is looked for in the segment, which may be another with the same
 * offsets. */
static bool take_runs(struct segments *s, struct segment *g, const struct segment *next, struct parse p, bool add)
{
    struct run last = {.position = 0};
    uint32_t of = 0;

    for (uint32_t i = 0; i < segment_partitions(next); i++) {
        struct run r = none(g, s->partition[i].next);

        r.segment = g;
        for (uint64_t runs = reader_varint(&p.from); runs > 0; runs--) {
            if (!take_run(&p, &r))
                return false;
            if (add)
                segments_add_run(s, i, &r);
            of = r.position > last.position ? i : of;
            last = r.position > last.position ? r : last;
        }
        if (r.first + r.count != segment_next(next, i))
            return false;
    }
    return reader_left(&p.from) == 0 && (last.position == 0 || run_is_there(&last, of));
}

/* Is it the index of this segment, and as it was written? */
static bool is_of(const struct buffer *file, const struct segment *g, const struct segment *next)
{
    const uint8_t *p = file->base;

    return file->size >= INDEX_HEADER && load_u32(p) == INDEX_MAGIC &&
           load_u32(p + 4) == crc32c(0, p + 8, file->size - 8) && load_u32(p + 8) == INDEX_VERSION &&
           load_u32(p + 12) == load_u32(g->map + 4) && load_u32(p + 16) == load_u32(next->map + 4) &&
           load_u64(p + 20) == g->number && load_u64(p + 28) >= segment_data(g) && load_u64(p + 28) <= g->size;
}

bool segment_index_read(struct segments *s, struct segment *g, const struct segment *next)
{
    struct buffer file;
    char path[4096];

    buffer_init(&file, g->size);
    path_of(s, g->number, path, sizeof(path));
    bool fits = file_read(path, g->size, &file, NULL) == 0 && is_of(&file, g, next);
    if (fits) {
        struct parse p = {.from = {file.base + INDEX_HEADER, file.base + file.size, 0},
                          .end = load_u64(file.base + 28)};

        fits = take_runs(s, g, next, p, false) && take_runs(s, g, next, p, true);
        if (fits) {
            g->end = g->written = p.end;
            s->group = next->first_group;
        }
    }
    buffer_fini(&file);
    return fits;
}

/* ---- Removing ---- */

void segment_index_remove(const struct segments *s, uint64_t number)
{
    char path[4096];

    path_of(s, number, path, sizeof(path));
    unlink(path);
}

void segment_index_remove_strays(const struct segments *s)
{
    DIR *d = opendir(s->directory);
    struct dirent *entry;
    uint64_t number;
    int rv = 0;

    while (d != NULL && (entry = file_next(d, s->directory, &rv, NULL)) != NULL)
        if (segment_named(entry->d_name, ".idx", &number) &&
            (s->segments == 0 || number < s->segment[0]->number || number >= s->segment[s->segments - 1]->number))
            segment_index_remove(s, number);
    if (d != NULL)
        closedir(d);
}
