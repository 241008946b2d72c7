/* SPDX-License-Identifier: Apache-2.0 */
#include "depots/log.h"

#include <pthread.h>

/* Records in memory. A record is one allocation that never moves, so slices stay good without a lock; trimmed ones
 * are freed once no slice is out. */

struct memory_record {
    struct log_entry entry;
    uint8_t body[];
};

struct memory_partition {
    struct memory_record **record; /* [first, next), from `base` on */
    uint64_t base, trimmed;
    uint32_t count, capacity, durable;
};

struct memory_log {
    struct log log;
    pthread_mutex_t lock;
    struct memory_partition *partition;
    size_t pending, bytes;
    uint32_t slices;
};

static int memory_open(const struct log_config *config, struct log **out, struct leat_error *err)
{
    struct memory_log *m = base_alloc(sizeof(*m));

    (void)err;
    m->log = (struct log){&log_memory, config->partitions};
    m->partition = base_alloc(config->partitions * sizeof(*m->partition));
    pthread_mutex_init(&m->lock, NULL);
    *out = &m->log;
    return 0;
}

static void memory_close(struct log *l)
{
    struct memory_log *m = (struct memory_log *)l;

    leat_assert(m->slices == 0);
    for (uint32_t i = 0; i < l->partitions; i++) {
        for (uint32_t j = 0; j < m->partition[i].count; j++)
            free(m->partition[i].record[j]);
        free(m->partition[i].record);
    }
    pthread_mutex_destroy(&m->lock);
    free(m->partition);
    free(m);
}

static void push(struct memory_partition *p, const struct log_record *r)
{
    struct memory_record *copy = base_alloc(sizeof(*copy) + r->body.size);

    copy->entry = (struct log_entry){p->base + p->count, r->time_us, r->session, r->session != 0 ? r->sequence : 0,
                                     {copy->body, r->body.size}};
    if (r->body.size > 0)
        memcpy(copy->body, r->body.base, r->body.size);
    if (p->count == p->capacity) {
        p->capacity = p->capacity == 0 ? 16 : p->capacity * 2;
        p->record = base_realloc(p->record, p->capacity * sizeof(struct memory_record *));
    }
    p->record[p->count++] = copy;
}

static int memory_append(struct log *l, const struct log_record *records, uint32_t count, uint64_t *offsets)
{
    struct memory_log *m = (struct memory_log *)l;
    size_t bytes = 0;

    for (uint32_t i = 0; i < count; i++)
        bytes += records[i].body.size;
    if (m->pending + bytes > 2 * (size_t)LIMIT_BATCH)
        return LEAT_EFULL;
    pthread_mutex_lock(&m->lock);
    for (uint32_t i = 0; i < count; i++) {
        struct memory_partition *p = &m->partition[records[i].partition];

        if (offsets != NULL)
            offsets[i] = p->base + p->count;
        push(p, &records[i]);
    }
    m->pending += bytes;
    m->bytes += bytes;
    pthread_mutex_unlock(&m->lock);
    return 0;
}

static int memory_sync(struct log *l, struct leat_error *err)
{
    struct memory_log *m = (struct memory_log *)l;

    (void)err;
    pthread_mutex_lock(&m->lock);
    for (uint32_t i = 0; i < l->partitions; i++)
        m->partition[i].durable = m->partition[i].count;
    m->pending = 0;
    pthread_mutex_unlock(&m->lock);
    return 0;
}

static int memory_read(struct log *l, uint32_t partition, uint64_t offset, uint32_t records_max, size_t bytes_max,
                       struct log_slice *out, struct leat_error *err)
{
    struct memory_log *m = (struct memory_log *)l;
    struct memory_partition *p = &m->partition[partition];
    uint32_t count = 0;
    size_t bytes = 0;

    pthread_mutex_lock(&m->lock);
    uint64_t next = p->base + p->durable;
    int rv = offset < p->trimmed ? leat_fail(err, LEAT_ETRIMMED, "offset %llu was trimmed; the first is %llu",
                                             (unsigned long long)offset, (unsigned long long)p->trimmed)
                                 : offset >= next ? LEAT_EAGAIN : 0;
    if (rv == 0) {
        uint64_t most = next - offset < records_max ? next - offset : records_max;
        struct log_entry *entry = base_alloc(most * sizeof(*entry));

        while (count < most && (count == 0 || bytes < bytes_max)) {
            entry[count] = p->record[offset - p->base + count]->entry;
            bytes += entry[count++].body.size;
        }
        *out = (struct log_slice){entry, count, offset + count, entry};
        m->slices++;
    }
    pthread_mutex_unlock(&m->lock);
    return rv;
}

/* Free what was trimmed from the front of a partition. */
static void drop_trimmed(struct memory_log *m, struct memory_partition *p)
{
    uint32_t gone = (uint32_t)(p->trimmed - p->base);

    for (uint32_t i = 0; i < gone; i++) {
        m->bytes -= p->record[i]->entry.body.size;
        free(p->record[i]);
    }
    if (gone > 0)
        memmove(p->record, p->record + gone, (p->count - gone) * sizeof(struct memory_record *));
    p->count -= gone;
    p->durable -= gone;
    p->base = p->trimmed;
}

static void memory_release(struct log *l, struct log_slice *slice)
{
    struct memory_log *m = (struct memory_log *)l;

    free(slice->memory);
    pthread_mutex_lock(&m->lock);
    leat_assert(m->slices > 0);
    m->slices--;
    for (uint32_t i = 0; i < l->partitions && m->slices == 0; i++)
        if (m->partition[i].trimmed > m->partition[i].base)
            drop_trimmed(m, &m->partition[i]);
    pthread_mutex_unlock(&m->lock);
}

static void memory_bounds(struct log *l, uint32_t partition, uint64_t *first, uint64_t *next)
{
    struct memory_log *m = (struct memory_log *)l;

    pthread_mutex_lock(&m->lock);
    *first = m->partition[partition].trimmed;
    *next = m->partition[partition].base + m->partition[partition].durable;
    pthread_mutex_unlock(&m->lock);
}

static int memory_trim(struct log *l, uint32_t partition, uint64_t before, struct leat_error *err)
{
    struct memory_log *m = (struct memory_log *)l;
    struct memory_partition *p = &m->partition[partition];

    (void)err;
    pthread_mutex_lock(&m->lock);
    uint64_t next = p->base + p->durable;
    before = before < next ? before : next;
    if (before > p->trimmed)
        p->trimmed = before;
    if (m->slices == 0 && p->trimmed > p->base)
        drop_trimmed(m, p);
    pthread_mutex_unlock(&m->lock);
    return 0;
}

static uint64_t memory_bytes(struct log *l)
{
    struct memory_log *m = (struct memory_log *)l;

    pthread_mutex_lock(&m->lock);
    uint64_t bytes = m->bytes;
    pthread_mutex_unlock(&m->lock);
    return bytes;
}

/* Any record can go by itself, so nothing is a chunk. */
static bool memory_chunk(struct log *l, uint32_t index, uint32_t first, uint32_t count, struct log_chunk *out,
                         uint64_t *end)
{
    (void)l, (void)index, (void)first, (void)count, (void)out, (void)end;
    return false;
}

static void memory_usage(struct log *l, uint32_t first, uint32_t count, struct log_usage *out)
{
    struct memory_log *m = (struct memory_log *)l;

    *out = (struct log_usage){0, INT64_MAX};
    pthread_mutex_lock(&m->lock);
    for (uint32_t i = first; i < first + count; i++) {
        const struct memory_partition *p = &m->partition[i];

        for (uint64_t at = p->trimmed - p->base; at < p->durable; at++) {
            out->bytes += p->record[at]->entry.body.size;
            if (p->record[at]->entry.time_us < out->oldest_us)
                out->oldest_us = p->record[at]->entry.time_us;
        }
    }
    pthread_mutex_unlock(&m->lock);
}

const struct log_ops log_memory = {
    .name = "memory",
    .open = memory_open,
    .close = memory_close,
    .append = memory_append,
    .sync = memory_sync,
    .read = memory_read,
    .release = memory_release,
    .bounds = memory_bounds,
    .trim = memory_trim,
    .bytes = memory_bytes,
    .chunk = memory_chunk,
    .usage = memory_usage,
};
