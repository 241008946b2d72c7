/* SPDX-License-Identifier: Apache-2.0 */
#include "depots/segments.h"

#include "base/crc32c.h"
#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* Groups smaller than this are padded with zeros up to the next step when they enter new space: the groups that
 * follow then overwrite written blocks, whose fdatasync needs no file system journal (98 against 166 us measured). */
enum { SMALL_GROUP = 65536, WRITE_AHEAD = 262144 };

static void segments_close(struct log *l)
{
    struct segments *s = (struct segments *)l;

    for (uint32_t i = 0; i < s->segments; i++) {
        leat_assert(s->segment[i]->slices == 0);
        segment_free(s->segment[i]);
    }
    for (uint32_t i = 0; i < l->partitions; i++)
        free(s->partition[i].run);
    pthread_mutex_destroy(&s->lock);
    buffer_fini(&s->out);
    free(s->pending);
    free(s->touched);
    free(s->segment);
    free(s->partition);
    free(s->directory);
    free(s);
}

static int segments_open(const struct log_config *config, struct log **out, struct leat_error *err)
{
    struct segments *s = base_alloc(sizeof(*s));
    uint32_t partitions = config->partitions;
    int rv = 0;

    s->read_only = config->read_only;
    s->settled = !config->read_only || config->settled;
    s->walk = config->walk;
    s->directory = base_strdup(config->directory);
    if (s->read_only)
        rv = segments_partitions(s, &partitions, err);
    else
        rv = file_make_directory(config->directory, config->durability == LEAT_FULL, err);
    s->log = (struct log){&log_segments, partitions};
    s->durability = config->durability;
    s->segment_size = config->segment_size > 0 ? config->segment_size : LIMIT_SEGMENT;
    s->owner = config->owner;
    s->partition = base_alloc((partitions + 1) * sizeof(*s->partition));
    s->touched = base_alloc((partitions + 1) * sizeof(*s->touched));
    buffer_init(&s->out, 8 * (size_t)LIMIT_BATCH);
    pthread_mutex_init(&s->lock, NULL);
    if (rv == 0)
        rv = segments_recover(s, err);
    if (rv == 0 && s->segments == 0 && !s->read_only)
        rv = segment_create(s, 0, err);
    if (rv != 0) {
        segments_close(&s->log);
        return rv;
    }
    *out = &s->log;
    return 0;
}

/* ---- Appending ---- */

static uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

static int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static uint8_t *put_varint(uint8_t *at, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *at++ = (uint8_t)(v | 0x80);
    *at++ = (uint8_t)v;
    return at;
}

static void chain(struct segments *s, uint32_t at)
{
    struct segment_partition *p = &s->partition[s->pending[at].record.partition];

    s->pending[at].next = 0;
    if (p->tail != 0) {
        s->pending[p->tail - 1].next = at + 1;
    } else {
        p->head = at + 1;
        s->touched[s->touches++] = s->pending[at].record.partition;
    }
    p->tail = at + 1;
}

static int segments_append(struct log *l, const struct log_record *records, uint32_t count, uint64_t *offsets)
{
    struct segments *s = (struct segments *)l;
    size_t bytes = 0;

    if (s->read_only)
        return LEAT_EINVAL;
    if (s->failed != 0)
        return s->failed;
    for (uint32_t i = 0; i < count; i++)
        bytes += records[i].body.size + RECORD_HEAD;
    if (s->bytes > 0 && s->bytes + bytes > 2 * (size_t)LIMIT_BATCH)
        return LEAT_EFULL;
    s->bytes += bytes;
    if (s->pendings + count > s->pending_capacity) {
        s->pending_capacity = (s->pendings + count) * 2;
        s->pending = base_realloc(s->pending, s->pending_capacity * sizeof(*s->pending));
    }
    for (uint32_t i = 0; i < count; i++) {
        s->pending[s->pendings].record = records[i];
        chain(s, s->pendings++);
        uint64_t offset = s->partition[records[i].partition].pending_next++;
        if (offsets != NULL)
            offsets[i] = offset;
    }
    return 0;
}

/* ---- Syncing ---- */

/* {time against the run's, has session u8, [session u64, sequence], body}. Hot: one reservation for the most it can
 * take, then plain stores. */
static void put_record(struct buffer *out, const struct log_record *r, int64_t base)
{
    uint8_t *at = buffer_grow(out, r->body.size + RECORD_HEAD);

    leat_assert(at != NULL);
    at = put_varint(at, zigzag(r->time_us - base));
    *at++ = r->session != 0;
    if (r->session != 0) {
        store_u64(at, r->session);
        at = put_varint(at + 8, r->sequence);
    }
    at = put_varint(at, r->body.size);
    if (r->body.size > 0)
        memcpy(at, r->body.base, r->body.size);
    out->size = (size_t)(at - out->base) + r->body.size;
}

/* The pending records of one partition as a run. */
static void put_run(struct segments *s, uint32_t partition)
{
    const struct segment_partition *p = &s->partition[partition];
    size_t header = s->out.size;
    int64_t base = s->pending[p->head - 1].record.time_us;
    uint32_t count = 0;

    buffer_grow(&s->out, RUN_HEADER);
    for (uint32_t at = p->head; at != 0; at = s->pending[at - 1].next) {
        put_record(&s->out, &s->pending[at - 1].record, base);
        count++;
    }
    leat_assert(s->out.error == 0);
    uint8_t *run = s->out.base + header;
    uint32_t length = (uint32_t)(s->out.size - header - RUN_HEADER);
    store_u32(run, partition);
    store_u32(run + 4, count);
    store_u64(run + 8, p->pending_next - count);
    store_u32(run + 16, length);
    store_u32(run + 20, crc32c(0, run + RUN_HEADER, length));
    store_u64(run + 24, (uint64_t)base);
}

static void make_group(struct segments *s)
{
    buffer_clear(&s->out);
    buffer_grow(&s->out, GROUP_HEADER);
    for (uint32_t i = 0; i < s->touches; i++)
        put_run(s, s->touched[i]);
    size_t pad = (GROUP_ALIGN - s->out.size % GROUP_ALIGN) % GROUP_ALIGN;
    memset(buffer_grow(&s->out, pad), 0, pad);
    store_u32(s->out.base, GROUP_MAGIC);
    store_u64(s->out.base + 8, s->out.size);
    store_u64(s->out.base + 16, s->group);
    store_u32(s->out.base + 24, s->touches);
    store_u32(s->out.base + 28, 0);
    store_u32(s->out.base + 4, group_crc(s->out.base));
}

/* The end of a write that failed: what is on the disk is unknown now, and asking again would be answered with a lie
 * (Rebello, ATC 2020). */
static int unknown_end(const struct segment *g, const char *doing, struct leat_error *err)
{
    return leat_fail(err, LEAT_EIO, "%s '%s': %s; close and open again", doing, g->path, strerror(errno));
}

/* Zeros where the groups behind a small one will be. Before the group itself: when its write finds no space, it is not
 * whole in the file. Their own write may find none. */
static int write_ahead(struct segments *s, struct segment *g, uint64_t end)
{
    uint64_t ahead = (end + WRITE_AHEAD - 1) / WRITE_AHEAD * WRITE_AHEAD;
    size_t size = s->out.size, zeros = (size_t)((ahead < g->size ? ahead : g->size) - end);

    memset(buffer_grow(&s->out, zeros), 0, zeros);
    int rv = file_pwrite(g->fd, s->out.base + size, zeros, end);
    s->out.size = size;
    if (rv == 0)
        g->written = end + zeros;
    return rv == LEAT_ENOSPACE ? 0 : rv;
}

/* LEAT_ENOSPACE: part of the group may be in the file, but not all, so it is none; the next one goes to the same place.
 * File systems that never write in place have no space although it was preallocated. */
static int write_group(struct segments *s, struct segment *g, struct leat_error *err)
{
    uint64_t end = g->end + s->out.size;
    int rv = 0;

    if (end > g->written && s->out.size < SMALL_GROUP)
        rv = write_ahead(s, g, end);
    if (rv == 0)
        rv = file_pwrite(g->fd, s->out.base, s->out.size, g->end);
    g->torn = rv == LEAT_ENOSPACE;
    if (rv == LEAT_ENOSPACE)
        return base_errno(err, errno, "write", g->path);
    if (rv != 0)
        return unknown_end(g, "write", err);
    if (s->durability == LEAT_FULL && fdatasync(g->fd) != 0)
        return unknown_end(g, "fdatasync", err);
    if (end > g->written)
        g->written = end;
    return 0;
}

static void publish(struct segments *s, struct segment *g)
{
    pthread_mutex_lock(&s->lock);
    segments_index(s, g, g->end, s->out.base);
    g->end += s->out.size;
    pthread_mutex_unlock(&s->lock);
    s->group++;
}

static void begin_group(struct segments *s)
{
    for (uint32_t i = 0; i < s->touches; i++)
        s->partition[s->touched[i]].head = s->partition[s->touched[i]].tail = 0;
    s->touches = s->pendings = 0;
    s->bytes = 0;
}

/* Nothing of the group in the making was written. */
static void forget_group(struct segments *s)
{
    for (uint32_t i = 0; i < s->touches; i++) {
        struct segment_partition *p = &s->partition[s->touched[i]];

        p->pending_next = p->next;
    }
    begin_group(s);
}

/* What a torn write left must not look like a group once another segment follows: only in the last one are records
 * checked at open. */
static int wipe(const struct segments *s, struct segment *g, struct leat_error *err)
{
    static const uint8_t zeros[GROUP_HEADER];

    if (!g->torn)
        return 0;
    int rv = file_pwrite(g->fd, zeros, sizeof(zeros), g->end);
    if (rv == LEAT_ENOSPACE)
        return base_errno(err, errno, "write", g->path);
    if (rv != 0)
        return unknown_end(g, "write", err);
    if (s->durability == LEAT_FULL && fdatasync(g->fd) != 0)
        return unknown_end(g, "fdatasync", err);
    g->torn = false;
    return 0;
}

/* The one that is written to: whoever trims moves the others, never this one. */
static struct segment *last_segment(struct segments *s)
{
    pthread_mutex_lock(&s->lock);
    struct segment *last = s->segment[s->segments - 1];
    pthread_mutex_unlock(&s->lock);
    return last;
}

static int store_group(struct segments *s, struct leat_error *err)
{
    struct segment *g = last_segment(s);
    int rv = 0;

    make_group(s);
    if (g->end + s->out.size > g->size) {
        rv = wipe(s, g, err);
        if (rv == 0)
            rv = segment_create(s, s->out.size, err);
        g = last_segment(s);
    }
    if (rv == 0)
        rv = write_group(s, g, err);
    if (rv == 0)
        publish(s, g);
    return rv;
}

static int segments_sync(struct log *l, struct leat_error *err)
{
    struct segments *s = (struct segments *)l;

    if (s->failed != 0)
        return leat_fail(err, s->failed, "'%s': an earlier write failed; close and open again", s->directory);
    if (s->pendings == 0)
        return 0;
    int rv = s->torn ? segments_cut(s, err) : 0;
    if (rv == 0)
        rv = store_group(s, err);
    if (rv == 0)
        begin_group(s);
    else if (rv == LEAT_ENOSPACE)
        forget_group(s);
    else
        s->failed = rv;
    return rv;
}

/* ---- Reading ---- */

/* The run that holds an offset, or the first behind it. */
static uint32_t find_run(const struct segment_partition *p, uint64_t offset)
{
    uint32_t low = 0, high = p->runs;

    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (p->run[middle].first + p->run[middle].count <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const uint8_t *read_record(const uint8_t *at, const uint8_t *end, int64_t base, struct log_entry *e)
{
    struct reader r = {at, end, 0};

    e->time_us = base + unzigzag(reader_varint(&r));
    e->session = reader_u8(&r) != 0 ? reader_u64(&r) : 0;
    e->sequence = e->session != 0 ? reader_varint(&r) : 0;
    e->body = reader_span(&r);
    return r.error == 0 ? r.at : NULL;
}

static int damaged(const struct run *r, struct leat_error *err)
{
    return leat_fail(err, LEAT_ECORRUPT,
                     "'%s' is damaged at byte %llu: the records there do not check out; put the file back from a "
                     "backup",
                     r->segment->path, (unsigned long long)r->position);
}

/* The memory of a slice. */
struct held {
    struct segment *segment;
    struct log_entry entry[];
};

/* Records of one run from an offset on. Under the lock. */
static int read_run(struct segment_partition *p, struct run *r, uint64_t offset, uint32_t records_max,
                    size_t bytes_max, struct log_slice *out, struct leat_error *err)
{
    const uint8_t *at = r->segment->map + r->position + RUN_HEADER, *end = at + r->length;
    uint64_t from = r->first;
    uint32_t left = (uint32_t)(r->first + r->count - offset), count = 0;
    size_t bytes = 0;

    if (p->hint_offset == offset && p->hint_at > at && p->hint_at < end) {
        at = p->hint_at;
        from = offset;
    }
    struct held *held = base_alloc(sizeof(*held) +
                                   (left < records_max ? left : records_max) * sizeof(struct log_entry));
    struct log_entry *entry = held->entry;
    while (count < left && count < records_max && (count == 0 || bytes < bytes_max)) {
        entry[count].offset = from;
        at = read_record(at, end, r->time_us, &entry[count]);
        if (at == NULL) {
            free(held);
            return damaged(r, err);
        }
        if (from++ < offset)
            continue;
        bytes += entry[count++].body.size + 16;
    }
    p->hint_offset = from;
    p->hint_at = at;
    held->segment = r->segment;
    held->segment->slices++;
    *out = (struct log_slice){entry, count, from, held};
    return 0;
}

static void forget_trimmed(struct segments *s);

static void segment_release(struct segments *s, struct segment *g)
{
    leat_assert(g->slices > 0);
    if (--g->slices == 0 && g->trimmed)
        forget_trimmed(s);
}

bool run_is_there(const struct run *r, uint32_t partition)
{
    const uint8_t *header = r->segment->map + r->position;

    return load_u32(header) == partition && load_u32(header + 4) == r->count && load_u64(header + 8) == r->first &&
           load_u32(header + 16) == r->length && load_u32(header + 20) == r->crc &&
           (int64_t)load_u64(header + 24) == r->time_us;
}

static bool is_whole(const struct run *r, uint32_t partition)
{
    return run_is_there(r, partition) &&
           crc32c(0, r->segment->map + r->position + RUN_HEADER, r->length) == r->crc;
}

/* Without the lock, so that appends go on: meanwhile runs may move, but the segment stays. */
static int check_run(struct segments *s, uint32_t partition, struct run r, struct leat_error *err)
{
    r.segment->slices++;
    pthread_mutex_unlock(&s->lock);
    int rv = is_whole(&r, partition) ? 0 : damaged(&r, err);
    pthread_mutex_lock(&s->lock);
    segment_release(s, r.segment);
    return rv;
}

/* The run that holds an offset, or the first behind it, checked. Under the lock. */
static int checked_run(struct segments *s, uint32_t partition, uint64_t offset, uint32_t *out, struct leat_error *err)
{
    struct segment_partition *p = &s->partition[partition];
    int rv = 0;

    for (*out = find_run(p, offset); rv == 0 && *out < p->runs && !p->run[*out].checked; *out = find_run(p, offset)) {
        uint64_t first = p->run[*out].first;

        rv = check_run(s, partition, p->run[*out], err);
        uint32_t now = find_run(p, first);
        if (rv == 0 && now < p->runs && p->run[now].first == first)
            p->run[now].checked = true;
    }
    return rv;
}

static int segments_read(struct log *l, uint32_t partition, uint64_t offset, uint32_t records_max, size_t bytes_max,
                         struct log_slice *out, struct leat_error *err)
{
    struct segments *s = (struct segments *)l;
    struct segment_partition *p = &s->partition[partition];
    uint32_t at;

    pthread_mutex_lock(&s->lock);
    int rv = offset < p->first ? 0 : checked_run(s, partition, offset, &at, err);
    if (rv == 0 && offset < p->first) {
        rv = leat_fail(err, LEAT_ETRIMMED, "offset %llu was trimmed; the first is %llu", (unsigned long long)offset,
                       (unsigned long long)p->first);
    } else if (rv == 0 && at == p->runs) {
        rv = LEAT_EAGAIN;
    } else if (rv == 0) {
        struct run *r = &p->run[at];

        rv = read_run(p, r, offset > r->first ? offset : r->first, records_max, bytes_max, out, err);
    }
    pthread_mutex_unlock(&s->lock);
    return rv;
}

static void segments_release(struct log *l, struct log_slice *slice)
{
    struct segments *s = (struct segments *)l;
    struct held *held = slice->memory;

    pthread_mutex_lock(&s->lock);
    segment_release(s, held->segment);
    pthread_mutex_unlock(&s->lock);
    free(held);
}

static void segments_bounds(struct log *l, uint32_t partition, uint64_t *first, uint64_t *next)
{
    struct segments *s = (struct segments *)l;

    pthread_mutex_lock(&s->lock);
    *first = s->partition[partition].first;
    *next = s->partition[partition].next;
    pthread_mutex_unlock(&s->lock);
}

/* ---- Trimming ---- */

/* Trimmed segments leave memory once no slice points into them. */
static void forget_trimmed(struct segments *s)
{
    while (s->segments > 1 && s->segment[0]->trimmed && s->segment[0]->slices == 0) {
        segment_free(s->segment[0]);
        s->segments--;
        memmove(s->segment, s->segment + 1, s->segments * sizeof(struct segment *));
    }
}

/* May a segment go: is all of every partition before its successor trimmed? */
static bool may_go(const struct segments *s, const struct segment *next)
{
    for (uint32_t i = 0; i < s->log.partitions; i++)
        if (s->partition[i].trim < segment_next(next, i) && s->partition[i].first < segment_next(next, i))
            return false;
    return true;
}

static void drop_runs(struct segments *s, const struct segment *g, const struct segment *next)
{
    for (uint32_t i = 0; i < s->log.partitions; i++) {
        struct segment_partition *p = &s->partition[i];
        uint32_t gone = 0;

        while (gone < p->runs && p->run[gone].segment == g)
            gone++;
        if (gone > 0)
            memmove(p->run, p->run + gone, (p->runs - gone) * sizeof(*p->run));
        p->runs -= gone;
        p->hint_at = NULL;
        if (segment_next(next, i) > p->first)
            p->first = segment_next(next, i);
    }
}

/* The oldest segment that may go. */
static bool find_trimmed(struct segments *s, uint64_t *number, char *path, size_t size)
{
    uint32_t i = 0;

    pthread_mutex_lock(&s->lock);
    while (i + 1 < s->segments && s->segment[i]->trimmed)
        i++;
    bool found = i + 1 < s->segments && may_go(s, s->segment[i + 1]);
    if (found) {
        *number = s->segment[i]->number;
        snprintf(path, size, "%s", s->segment[i]->path);
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

/* A segment whose file is gone leaves the index. */
static void drop_segment(struct segments *s, uint64_t number)
{
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i + 1 < s->segments; i++)
        if (s->segment[i]->number == number && !s->segment[i]->trimmed) {
            drop_runs(s, s->segment[i], s->segment[i + 1]);
            s->segment[i]->trimmed = true;
        }
    forget_trimmed(s);
    pthread_mutex_unlock(&s->lock);
}

/* Each removal is durable before the next: a loss of power that undoes some of them must not leave a hole. Nor must a
 * file that could not be removed; a later trim comes back to it, whether it is gone by then or not. An index file that
 * stays goes with the next opening. */
static int segments_trim(struct log *l, uint32_t partition, uint64_t before, struct leat_error *err)
{
    struct segments *s = (struct segments *)l;
    uint64_t number;
    char path[4096];
    int rv = 0;

    pthread_mutex_lock(&s->lock);
    s->partition[partition].trim = before;
    pthread_mutex_unlock(&s->lock);
    while (rv == 0 && find_trimmed(s, &number, path, sizeof(path))) {
        segment_index_remove(s, number);
        if (unlink(path) != 0 && errno != ENOENT)
            rv = base_errno(err, errno, "remove", path);
        else if (s->durability == LEAT_FULL)
            rv = file_sync_directory(s->directory, err);
        if (rv == 0)
            drop_segment(s, number);
    }
    return rv;
}

static uint64_t segments_bytes(struct log *l)
{
    struct segments *s = (struct segments *)l;
    uint64_t bytes = 0;

    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->segments; i++)
        if (!s->segment[i]->trimmed)
            bytes += s->segment[i]->end;
    pthread_mutex_unlock(&s->lock);
    return bytes;
}

/* ---- How much there is, and how old ---- */

/* The index-th segment that is there and has a successor; the successor. */
static const struct segment *chunk_successor(const struct segments *s, uint32_t index)
{
    uint32_t i = 0;

    while (i < s->segments && s->segment[i]->trimmed)
        i++;
    return i + index + 1 < s->segments ? s->segment[i + index + 1] : NULL;
}

static bool segments_chunk(struct log *l, uint32_t index, uint32_t first, uint32_t count, struct log_chunk *out,
                           uint64_t *end)
{
    struct segments *s = (struct segments *)l;

    *out = (struct log_chunk){INT64_MIN, 0};
    pthread_mutex_lock(&s->lock);
    const struct segment *next = chunk_successor(s, index);
    for (uint32_t i = 0; i < count && next != NULL; i++) {
        const struct segment_partition *p = &s->partition[first + i];
        uint64_t offset = segment_next(next, first + i);
        uint32_t at = find_run(p, offset);

        end[i] = offset > p->first ? offset : p->first;
        out->behind += at < p->runs ? p->bytes - p->run[at].before : 0;
        if (at > 0 && p->run[at - 1].time_us > out->newest_us)
            out->newest_us = p->run[at - 1].time_us;
    }
    pthread_mutex_unlock(&s->lock);
    return next != NULL;
}

static void segments_usage(struct log *l, uint32_t first, uint32_t count, struct log_usage *out)
{
    struct segments *s = (struct segments *)l;

    *out = (struct log_usage){0, INT64_MAX};
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = first; i < first + count; i++) {
        const struct segment_partition *p = &s->partition[i];

        if (p->runs == 0)
            continue;
        out->bytes += p->bytes - p->run[0].before;
        if (p->run[0].time_us < out->oldest_us)
            out->oldest_us = p->run[0].time_us;
    }
    pthread_mutex_unlock(&s->lock);
}

const struct log_ops log_segments = {
    .name = "segments",
    .open = segments_open,
    .close = segments_close,
    .append = segments_append,
    .sync = segments_sync,
    .read = segments_read,
    .release = segments_release,
    .bounds = segments_bounds,
    .trim = segments_trim,
    .bytes = segments_bytes,
    .chunk = segments_chunk,
    .usage = segments_usage,
};
