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

uint64_t segments_group_of(struct log *log, uint32_t partition, uint64_t offset)
{
    const struct segments *s = of(log);

    leat_assert(partition < log->partitions);
    const struct segment_partition *p = &s->partition[partition];
    for (uint32_t i = p->runs; i > 0 && offset < p->run[i - 1].first + p->run[i - 1].count; i--) {
        const struct run *r = &p->run[i - 1];
        uint64_t number = r->segment->first_group, at = segment_data(r->segment);

        if (offset < r->first)
            continue;
        while (at + load_u64(r->segment->map + at + 8) <= r->position) {
            at += load_u64(r->segment->map + at + 8);
            number++;
        }
        return number;
    }
    return UINT64_MAX;
}

/* Where the groups of a segment before one end. */
static uint64_t end_before(const struct segment *g, uint64_t before_group)
{
    uint64_t number = g->first_group, at = segment_data(g);

    while (at < g->end && number < before_group) {
        at += load_u64(g->map + at + 8);
        number++;
    }
    return at;
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
        f->used = end_before(g, before_group);
        f->sealed = i + 1 < s->segments && s->segment[i + 1]->first_group < before_group;
        snprintf(f->name, sizeof(f->name), "%016llx.seg", (unsigned long long)g->number);
        count++;
    }
    return count;
}

uint64_t segments_next_before(struct log *log, uint32_t partition, uint64_t before_group)
{
    const struct segments *s = of(log);

    leat_assert(partition < log->partitions);
    const struct segment_partition *p = &s->partition[partition];
    for (uint32_t i = 0; i < s->segments; i++) {
        const struct segment *g = s->segment[i];
        bool last = i + 1 == s->segments || s->segment[i + 1]->first_group > before_group;

        if (!last)
            continue;
        uint64_t position = end_before(g, before_group);
        for (uint32_t r = 0; r < p->runs; r++)
            if (p->run[r].segment->number > g->number || (p->run[r].segment == g && p->run[r].position >= position))
                return p->run[r].first;
        break;
    }
    return p->next;
}
