/* SPDX-License-Identifier: Apache-2.0 */
#include "depots/segments.h"

#include <stdio.h>
#include <stdlib.h>

static const struct segments *of(struct log *log)
{
    leat_assert(log->ops == &log_segments);
    return (const struct segments *)log;
}

bool segments_torn(struct log *log)
{
    return of(log)->torn;
}

uint64_t segments_groups(struct log *log)
{
    return of(log)->group;
}

/* The first run that ends behind an offset and is not in a group before one; both ascend. NULL: there is none. */
static const struct run *find_run(struct log *log, uint32_t partition, uint64_t offset, uint64_t group)
{
    leat_assert(partition < log->partitions);
    const struct segment_partition *p = &of(log)->partition[partition];
    uint32_t low = 0, high = p->runs;

    while (low < high) {
        uint32_t middle = (low + high) / 2;
        const struct run *r = &p->run[middle];

        if (r->first + r->count <= offset || r->group < group)
            low = middle + 1;
        else
            high = middle;
    }
    return low < p->runs ? &p->run[low] : NULL;
}

uint64_t segments_group_of(struct log *log, uint32_t partition, uint64_t offset)
{
    const struct run *r = find_run(log, partition, offset, 0);

    return r != NULL && r->first <= offset ? r->group : UINT64_MAX;
}

uint64_t segments_next_before(struct log *log, uint32_t partition, uint64_t before_group)
{
    const struct run *r = find_run(log, partition, 0, before_group);

    return r != NULL ? r->first : of(log)->partition[partition].next;
}

/* Where the groups of a segment before one end: where that one begins, with its first run. */
static uint64_t end_before(struct log *log, const struct segment *g, uint64_t before_group)
{
    uint64_t end = g->end;

    for (uint32_t i = 0; i < log->partitions; i++) {
        const struct run *r = find_run(log, i, 0, before_group);

        if (r != NULL && r->segment == g && r->position - GROUP_HEADER < end)
            end = r->position - GROUP_HEADER;
    }
    return end;
}

uint32_t segments_files(struct log *log, uint64_t before_group, struct segment_file **out)
{
    const struct segments *s = of(log);
    uint32_t count = 0;

    *out = base_alloc((s->segments + 1) * sizeof(**out));
    for (uint32_t i = 0; i < s->segments; i++) {
        const struct segment *g = s->segment[i];
        struct segment_file *f = &(*out)[count];

        if (count > 0 && g->first_group >= before_group)
            break;
        f->size = g->size;
        f->sealed = i + 1 < s->segments && s->segment[i + 1]->first_group < before_group;
        f->used = f->sealed ? g->end : end_before(log, g, before_group);
        snprintf(f->name, sizeof(f->name), "%016llx.seg", (unsigned long long)g->number);
        count++;
    }
    return count;
}
