/* SPDX-License-Identifier: Apache-2.0 */
#include "depots/log.h"

/* The common front: what every backend may rely on is checked here, once. */

int log_open(const struct log_ops *ops, const struct log_config *config, struct log **out, struct leat_error *err)
{
    leat_assert(config->partitions > 0 || config->read_only);
    return ops->open(config, out, err);
}

void log_close(struct log *l)
{
    if (l != NULL)
        l->ops->close(l);
}

int log_append(struct log *l, const struct log_record *records, uint32_t count, uint64_t *offsets)
{
    size_t bytes = 0;

    if (count > LIMIT_RECORDS)
        return LEAT_ELIMIT;
    for (uint32_t i = 0; i < count; i++) {
        leat_assert(records[i].partition < l->partitions);
        bytes += records[i].body.size;
    }
    return bytes > LIMIT_BATCH ? LEAT_ELIMIT : l->ops->append(l, records, count, offsets);
}

int log_sync(struct log *l, struct leat_error *err)
{
    return l->ops->sync(l, err);
}

int log_read(struct log *l, uint32_t partition, uint64_t offset, uint32_t records_max, size_t bytes_max,
             struct log_slice *out, struct leat_error *err)
{
    leat_assert(partition < l->partitions && records_max > 0);
    return l->ops->read(l, partition, offset, records_max, bytes_max, out, err);
}

void log_release(struct log *l, struct log_slice *slice)
{
    l->ops->release(l, slice);
}

void log_bounds(struct log *l, uint32_t partition, uint64_t *first, uint64_t *next)
{
    leat_assert(partition < l->partitions);
    l->ops->bounds(l, partition, first, next);
}

int log_trim(struct log *l, uint32_t partition, uint64_t before, struct leat_error *err)
{
    leat_assert(partition < l->partitions);
    return l->ops->trim(l, partition, before, err);
}

uint64_t log_bytes(struct log *l)
{
    return l->ops->bytes(l);
}

bool log_chunk(struct log *l, uint32_t index, uint32_t first, uint32_t count, struct log_chunk *out, uint64_t *end)
{
    leat_assert(first + count <= l->partitions);
    return l->ops->chunk(l, index, first, count, out, end);
}

void log_usage(struct log *l, uint32_t first, uint32_t count, struct log_usage *out)
{
    leat_assert(first + count <= l->partitions);
    l->ops->usage(l, first, count, out);
}
