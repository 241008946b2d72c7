/* SPDX-License-Identifier: Apache-2.0 */
#include "depots/segments.h"

#include "base/crc32c.h"
#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* Opening: list the files, walk the groups of those that have no index file. Whole ones go into the index. Only the
 * very last group of the log may be torn, and only if no later one is behind it; anything else is damage, which is
 * reported and left alone. A torn one is left alone, too, until something is written: if its owner knows that it was
 * whole once, it is damage. */

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = load_u64(a), y = load_u64(b);

    return x < y ? -1 : x > y;
}

bool segment_named(const char *name, const char *suffix, uint64_t *number)
{
    char *end;

    *number = strtoull(name, &end, 16);
    return strcmp(end, suffix) == 0 && end == name + 16;
}

static int list_segments(const struct segments *s, uint64_t **out, uint32_t *count, struct leat_error *err)
{
    DIR *d = opendir(s->directory);
    uint32_t capacity = 0;
    struct dirent *entry;
    int rv = 0;

    *out = NULL;
    *count = 0;
    if (d == NULL)
        return base_errno(err, errno, "list", s->directory);
    while ((entry = file_next(d, s->directory, &rv, err)) != NULL) {
        uint64_t number;

        if (!segment_named(entry->d_name, ".seg", &number))
            continue;
        if (*count == capacity) {
            capacity = capacity == 0 ? 16 : capacity * 2;
            *out = base_realloc(*out, capacity * sizeof(**out));
        }
        (*out)[(*count)++] = number;
    }
    closedir(d);
    if (*count > 1)
        qsort(*out, *count, sizeof(**out), compare_numbers);
    return rv;
}

/* Does the run table of a group fit into it, and name partitions we know? (Who only looks knows none where no header
 * checks out.) */
static bool runs_fit(const struct segments *s, const uint8_t *group, uint64_t length)
{
    uint64_t at = GROUP_HEADER;
    uint32_t runs = load_u32(group + 24);

    for (uint32_t i = 0; i < runs; i++) {
        if (at + RUN_HEADER > length || (s->log.partitions > 0 && load_u32(group + at) >= s->log.partitions))
            return false;
        at += RUN_HEADER + load_u32(group + at + 16);
    }
    return at <= length;
}

uint32_t group_crc(const uint8_t *group)
{
    uint32_t crc = crc32c(0, group + 8, GROUP_HEADER - 8), runs = load_u32(group + 24);
    uint64_t at = GROUP_HEADER;

    for (uint32_t i = 0; i < runs; i++) {
        crc = crc32c(crc, group + at, RUN_HEADER);
        at += RUN_HEADER + load_u32(group + at + 16);
    }
    return crc;
}

static bool runs_whole(const uint8_t *group)
{
    uint64_t at = GROUP_HEADER;

    for (uint32_t i = 0; i < load_u32(group + 24); i++) {
        uint32_t length = load_u32(group + at + 16);

        if (load_u32(group + at + 20) != crc32c(0, group + at + RUN_HEADER, length))
            return false;
        at += RUN_HEADER + length;
    }
    return true;
}

enum { SPARSE = 65536 };

/* A group at a position, whose headers check out; full: its records too. Those of older segments are checked when they
 * are read, but where a run belongs must be right here: what is indexed wrongly would be passed over. */
static bool group_at(const struct segments *s, const struct segment *g, uint64_t position, uint64_t *number,
                     uint64_t *length, bool full)
{
    const uint8_t *p = g->map + position;

    if (position + GROUP_HEADER > g->size || load_u32(p) != GROUP_MAGIC)
        return false;
    *length = load_u64(p + 8);
    *number = load_u64(p + 16);
    if (*length < GROUP_HEADER || *length % GROUP_ALIGN != 0 || *length > g->size - position)
        return false;
    bool dense = *length >= SPARSE && *length / (1 + load_u32(p + 24)) < SPARSE; /* with headers of runs */
    if (full || dense)
        segment_advise(g, position, *length, MADV_WILLNEED);
    if (!runs_fit(s, p, *length) || load_u32(p + 4) != group_crc(p))
        return false;
    return !full || runs_whole(p);
}

void segments_add_run(struct segments *s, uint32_t partition, const struct run *r)
{
    struct segment_partition *p = &s->partition[partition];

    if (p->runs == p->capacity) {
        p->capacity = p->capacity == 0 ? 8 : p->capacity * 2;
        p->run = base_realloc(p->run, p->capacity * sizeof(*p->run));
    }
    p->run[p->runs] = *r;
    p->run[p->runs++].before = p->bytes;
    p->bytes += r->length;
    p->next = r->first + r->count;
    p->pending_next = p->next;
}

void segments_index(struct segments *s, struct segment *g, uint64_t position, const uint8_t *group)
{
    uint32_t runs = load_u32(group + 24);
    uint64_t at = GROUP_HEADER;

    for (uint32_t i = 0; i < runs; i++) {
        const uint8_t *p = group + at;
        struct run r = {.first = load_u64(p + 8), .count = load_u32(p + 4), .length = load_u32(p + 16), .segment = g,
                        .position = position + at, .group = s->group, .time_us = (int64_t)load_u64(p + 24),
                        .crc = load_u32(p + 20)};

        segments_add_run(s, load_u32(p), &r);
        at += RUN_HEADER + r.length;
    }
}

/* Where the last written byte of a file may be: what was only preallocated is a hole to the file system. */
static uint64_t data_end(const struct segment *g, uint64_t from)
{
    uint64_t end = from;

    while (end < g->size) {
        off_t data = lseek(g->fd, (off_t)end, SEEK_DATA), hole = data >= 0 ? lseek(g->fd, data, SEEK_HOLE) : -1;

        if (hole < 0) /* nothing behind it; or else a file system that does not know */
            return errno == ENXIO ? end : g->size;
        end = (uint64_t)hole;
    }
    return g->size;
}

static const uint8_t zeros[65536];

/* Behind the last byte that is not zero. */
static uint64_t written_end(const struct segment *g, uint64_t from)
{
    enum { STRIDE = 4096 };
    uint64_t end = data_end(g, from);

    while (end >= from + STRIDE && memcmp(g->map + end - STRIDE, zeros, STRIDE) == 0)
        end -= STRIDE;
    while (end > from && g->map[end - 1] == 0)
        end--;
    return end;
}

/* A group of at least this number somewhere behind a place that does not check out? Groups start at multiples of
 * GROUP_ALIGN. */
static bool later_group(const struct segments *s, const struct segment *g, uint64_t position, uint64_t least)
{
    uint64_t number, length, end = written_end(g, position);

    for (; position + GROUP_HEADER <= end; position += GROUP_ALIGN)
        if (group_at(s, g, position, &number, &length, true) && number >= least)
            return true;
    return false;
}

static int damaged(const struct segment *g, uint64_t position, struct leat_error *err)
{
    return leat_fail(err, LEAT_ECORRUPT,
                     "'%s' is damaged at byte %llu: a group there does not check out, but later ones exist. Put the "
                     "file back "
                     "from a backup; nothing was changed",
                     g->path, (unsigned long long)position);
}

int segments_cut(struct segments *s, struct leat_error *err)
{
    struct segment *g = s->segment[s->segments - 1];
    uint64_t end = written_end(g, g->end);

    for (uint64_t at = g->end; at < end; at += sizeof(zeros)) {
        uint64_t n = end - at < sizeof(zeros) ? end - at : sizeof(zeros);

        if (file_pwrite(g->fd, zeros, n, at) != 0)
            return base_errno(err, errno, "cut the torn tail of", g->path);
    }
    if (s->durability == LEAT_FULL && fdatasync(g->fd) != 0)
        return leat_fail(err, LEAT_EIO, "fdatasync '%s': %s; close and open again", g->path, strerror(errno));
    s->torn = false;
    return 0;
}

/* Groups that are small are read as they lie, some of what follows at a time: page by page each would be waited for. Of
 * large ones only headers are read. Nothing behind `end` is: see data_end(). */
static void read_ahead(const struct segment *g, uint64_t length, uint64_t end, uint64_t *read)
{
    enum { WINDOW = 1 << 20 };
    uint64_t from = *read > g->end ? *read : g->end;

    if (length >= SPARSE || *read > g->end + WINDOW / 2 || from >= end)
        return;
    *read = from + WINDOW < end ? from + WINDOW : end;
    segment_advise(g, from, *read - from, MADV_WILLNEED);
}

static void index_groups(struct segments *s, struct segment *g, bool last, uint64_t *tail)
{
    uint64_t number, length, read = 0, end = data_end(g, g->end);

    while (group_at(s, g, g->end, &number, &length, last) && number == s->group) {
        segments_index(s, g, g->end, g->map + g->end);
        *tail = g->end;
        g->end += length;
        s->group++;
        read_ahead(g, length, end, &read);
    }
}

/* All groups of one segment; in the last one their records are checked. *tail: where its last group begins. */
static int walk(struct segments *s, struct segment *g, bool last, uint64_t *tail, struct leat_error *err)
{
    *tail = g->end;
    index_groups(s, g, last, tail);
    while (last && later_group(s, g, g->end, s->group + 1)) {
        uint64_t before = g->end;

        if (!s->settled) /* its owner may have written both since we looked */
            index_groups(s, g, last, tail);
        if (g->end == before)
            return damaged(g, g->end, err);
    }
    g->written = g->end;
    if (!last || !s->settled)
        return 0;
    s->torn = written_end(g, g->end) > g->end;
    if (s->torn && !s->read_only)
        log_print(LOG_WARN, "depots", "'%s': the last write was torn at byte %llu; the next one cuts it", g->path,
                  (unsigned long long)g->end);
    return 0;
}

/* Offsets begin where the oldest segment says; a partition with no run stands at its newest header. */
static void start_offsets(struct segments *s, const struct segment *g)
{
    for (uint32_t i = 0; i < s->log.partitions; i++) {
        struct segment_partition *p = &s->partition[i];
        uint64_t next = segment_next(g, i);

        if (s->segments == 0)
            p->first = next;
        if (next > p->next)
            p->next = p->pending_next = next;
    }
}

/* Do groups and offsets end where the next segment's begin? */
static bool leads_to(const struct segments *s, const struct segment *next)
{
    for (uint32_t i = 0; i < segment_partitions(next); i++)
        if (s->partition[i].next != segment_next(next, i))
            return false;
    return s->group == next->first_group;
}

/* A segment that is not the last: where it must end its successor says. */
static int take_full(struct segments *s, struct segment *g, uint64_t *tail, struct leat_error *err)
{
    struct segment *next = NULL;
    bool known = segment_open(s, g->number + 1, &next, NULL) == 0 && segment_partitions(next) <= s->log.partitions;
    int rv = 0;

    if (!known || s->walk || !segment_index_read(s, g, next)) {
        rv = walk(s, g, false, tail, err);
        if (rv == 0 && known && !s->read_only && leads_to(s, next))
            segment_index_write(s, g, next);
    }
    if (next != NULL)
        segment_free(next);
    return rv;
}

static int take(struct segments *s, struct segment *g, bool last, uint64_t *tail, struct leat_error *err)
{
    if (g->first_group != s->group && s->segments > 0)
        return damaged(s->segment[s->segments - 1], s->segment[s->segments - 1]->end, err);
    s->group = g->first_group;
    start_offsets(s, g);
    return last ? walk(s, g, true, tail, err) : take_full(s, g, tail, err);
}

static void keep(struct segments *s, struct segment *g)
{
    if (s->segments > 0)
        segment_end_writing(s->segment[s->segments - 1]);
    if (s->segments == s->capacity) {
        s->capacity = s->capacity == 0 ? 16 : s->capacity * 2;
        s->segment = base_realloc(s->segment, s->capacity * sizeof(struct segment *));
    }
    s->segment[s->segments++] = g;
}

/* The group that the last process wrote and could not, or did not, sync is read like the others now, so it must be as
 * durable; so must the name of its file be. Where a sync failed the kernel takes the pages for clean, and another sync
 * writes nothing (Rebello, ATC 2020): they are written again first. Groups before
 * the last one were synced before it. */
static int settle(struct segments *s, uint64_t tail, struct leat_error *err)
{
    struct segment *last = s->segments > 0 ? s->segment[s->segments - 1] : NULL;

    if (s->durability != LEAT_FULL || s->read_only)
        return 0;
    if (last != NULL &&
        (file_pwrite(last->fd, last->map, segment_data(last), 0) != 0 ||
         file_pwrite(last->fd, last->map + tail, last->end - tail, tail) != 0 || fdatasync(last->fd) != 0))
        return base_errno(err, errno, "sync", last->path);
    return file_sync_directory(s->directory, err);
}

/* A file whose header does not check out. If it is the last one and no group is in it, it was being made when the
 * process died: nothing in it was acknowledged. */
static int drop_unborn(const struct segments *s, struct segment *g, bool last, struct leat_error *err)
{
    int rv;

    if (!last || later_group(s, g, 0, 0))
        rv = leat_fail(err, LEAT_ECORRUPT,
                       "'%s' is damaged at byte 0: its header does not check out. Put the file back from a backup; "
                       "nothing was changed",
                       g->path);
    else
        rv = s->read_only || unlink(g->path) == 0 ? 0 : base_errno(err, errno, "remove", g->path);
    segment_free(g);
    return rv;
}

int segments_recover(struct segments *s, struct leat_error *err)
{
    uint64_t *number, tail = 0;
    uint32_t count;
    int rv = list_segments(s, &number, &count, err);

    for (uint32_t i = 0; i < count && rv == 0; i++) {
        struct segment *g = NULL;

        if (i > 0 && number[i] != number[i - 1] + 1) {
            rv = leat_fail(err, LEAT_ECORRUPT, "'%s': segment %016llx is missing", s->directory,
                           (unsigned long long)number[i - 1] + 1);
            break;
        }
        rv = segment_open(s, number[i], &g, err);
        if (rv == LEAT_EAGAIN)
            rv = drop_unborn(s, g, i + 1 == count, err);
        else if (rv == 0) {
            rv = take(s, g, i + 1 == count, &tail, err);
            segment_advise(g, 0, g->size, MADV_NORMAL);
            keep(s, g);
        }
    }
    free(number);
    if (rv == 0 && !s->read_only)
        segment_index_remove_strays(s);
    return rv == 0 ? settle(s, tail, err) : rv;
}

int segments_partitions(struct segments *s, uint32_t *out, struct leat_error *err)
{
    uint64_t *number;
    uint32_t count;
    int rv = list_segments(s, &number, &count, err);

    *out = 0;
    for (uint32_t i = count; i > 0 && rv == 0 && *out == 0; i--) {
        struct segment *g = NULL;

        rv = segment_open(s, number[i - 1], &g, err);
        if (rv == 0)
            *out = segment_partitions(g);
        /* The last one may be in the making. */
        if (rv == LEAT_EAGAIN && i == count)
            rv = 0;
        if (g != NULL)
            segment_free(g);
    }
    free(number);
    return rv;
}
