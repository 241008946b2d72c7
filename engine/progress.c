/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/progress.h"

struct open_turn {
    uint64_t turn;
    uint64_t xor;
    uint64_t bytes;
    uint32_t ranges;
    uint32_t left;  /* ranges that still stand in their partition's queue */
    bool done;
    struct open_range *range;
};

/* A range in the queue of its partition, oldest first. */
struct open_range {
    struct progress_range at;
    struct open_turn *turn;
    struct open_range *next;
};

struct partition {
    uint64_t cursor;
    struct open_range *first, *last;
};

struct progress {
    struct partition *partition;
    uint32_t partitions;
    struct open_turn **open; /* ascending by turn; done ones leave at once */
    uint32_t count, capacity;
    uint64_t bytes, records;
    void (*moved)(void *context, uint32_t partition, uint64_t frontier);
    void *context;
};

struct progress *progress_open(uint32_t partitions)
{
    struct progress *p = base_alloc(sizeof(*p));

    p->partitions = partitions;
    p->partition = base_alloc((partitions + 1) * sizeof(*p->partition));
    return p;
}

static void turn_free(struct open_turn *t)
{
    free(t->range);
    free(t);
}

void progress_close(struct progress *p)
{
    if (p == NULL)
        return;
    for (uint32_t i = 0; i < p->count; i++)
        if (p->open[i]->ranges == 0)
            turn_free(p->open[i]);
    /* Done turns may still stand in queues behind open ones: free each with its last range. */
    for (uint32_t i = 0; i < p->partitions; i++)
        for (struct open_range *r = p->partition[i].first, *next; r != NULL; r = next) {
            struct open_turn *t = r->turn;

            next = r->next;
            if (--t->left == 0)
                turn_free(t);
        }
    free(p->open);
    free(p->partition);
    free(p);
}

void progress_listen(struct progress *p, void (*moved)(void *context, uint32_t partition, uint64_t frontier),
                     void *context)
{
    p->moved = moved;
    p->context = context;
}

static uint32_t position_of(const struct progress *p, uint64_t turn)
{
    uint32_t low = 0, high = p->count;

    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (p->open[middle]->turn < turn)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct open_turn *find(const struct progress *p, uint64_t turn)
{
    uint32_t at = position_of(p, turn);

    return at < p->count && p->open[at]->turn == turn ? p->open[at] : NULL;
}

uint64_t progress_frontier(const struct progress *p, uint32_t partition)
{
    leat_assert(partition < p->partitions);
    const struct partition *of = &p->partition[partition];
    return of->first != NULL ? of->first->at.first : of->cursor;
}

uint64_t progress_cursor(const struct progress *p, uint32_t partition)
{
    leat_assert(partition < p->partitions);
    return p->partition[partition].cursor;
}

/* Drop what is done from the front of a partition's queue. */
static void settle(struct progress *p, uint32_t partition)
{
    struct partition *of = &p->partition[partition];
    uint64_t before = progress_frontier(p, partition);

    while (of->first != NULL && of->first->turn->done) {
        struct open_turn *t = of->first->turn;

        of->first = of->first->next;
        if (of->first == NULL)
            of->last = NULL;
        if (--t->left == 0)
            turn_free(t);
    }
    if (p->moved != NULL && progress_frontier(p, partition) != before)
        p->moved(p->context, partition, progress_frontier(p, partition));
}

static void finish(struct progress *p, struct open_turn *t)
{
    uint32_t at = position_of(p, t->turn);

    leat_assert(at < p->count && p->open[at] == t);
    memmove(p->open + at, p->open + at + 1, (p->count - at - 1) * sizeof(struct open_turn *));
    p->count--;
    p->bytes -= t->bytes;
    for (uint32_t i = 0; i < t->ranges; i++)
        p->records -= t->range[i].at.next - t->range[i].at.first;
    t->done = true;
    /* settle may free t with its last range: walk a copy of what is needed. */
    uint32_t ranges = t->ranges;
    uint32_t *partition = base_alloc((ranges + 1) * sizeof(*partition));
    for (uint32_t i = 0; i < ranges; i++)
        partition[i] = t->range[i].at.partition;
    if (ranges == 0)
        turn_free(t);
    for (uint32_t i = 0; i < ranges; i++)
        settle(p, partition[i]);
    free(partition);
}

static void enqueue(struct progress *p, struct open_range *r)
{
    struct partition *of = &p->partition[r->at.partition];

    leat_assert(r->at.first <= r->at.next && r->at.first >= of->cursor);
    if (of->last != NULL)
        of->last->next = r;
    else
        of->first = r;
    of->last = r;
    of->cursor = r->at.next;
}

void progress_add(struct progress *p, uint64_t turn, uint64_t xor, uint64_t bytes, const struct progress_range *range,
                  uint32_t ranges)
{
    struct open_turn *t = base_alloc(sizeof(*t));

    leat_assert(p->count == 0 || p->open[p->count - 1]->turn < turn);
    *t = (struct open_turn){.turn = turn, .xor = xor, .bytes = bytes, .ranges = ranges, .left = ranges};
    t->range = base_alloc((ranges + 1) * sizeof(*t->range));
    for (uint32_t i = 0; i < ranges; i++) {
        leat_assert(range[i].partition < p->partitions);
        t->range[i] = (struct open_range){.at = range[i], .turn = t};
        p->records += range[i].next - range[i].first;
        enqueue(p, &t->range[i]);
    }
    if (p->count == p->capacity) {
        p->capacity = p->capacity == 0 ? 64 : p->capacity * 2;
        p->open = base_realloc(p->open, p->capacity * sizeof(struct open_turn *));
    }
    p->open[p->count++] = t;
    p->bytes += bytes;
    if (xor == 0)
        finish(p, t);
}

bool progress_xor(struct progress *p, uint64_t turn, uint64_t delta)
{
    struct open_turn *t = find(p, turn);

    if (t == NULL)
        return false;
    t->xor ^= delta;
    if (t->xor == 0)
        finish(p, t);
    return true;
}

void progress_skip(struct progress *p, uint32_t partition, uint64_t offset)
{
    leat_assert(partition < p->partitions);
    struct partition *of = &p->partition[partition];

    if (offset <= of->cursor)
        return;
    of->cursor = offset;
    if (of->first == NULL && p->moved != NULL)
        p->moved(p->context, partition, offset);
}

bool progress_record(const struct progress *p, uint64_t turn, uint32_t index, uint32_t *partition, uint64_t *offset)
{
    const struct open_turn *t = find(p, turn);

    for (uint32_t i = 0; t != NULL && i < t->ranges; i++) {
        const struct progress_range *r = &t->range[i].at;

        if (index >= r->base && index - r->base < r->next - r->first) {
            *partition = r->partition;
            *offset = r->first + (index - r->base);
            return true;
        }
    }
    return false;
}

uint32_t progress_open_turns(const struct progress *p)
{
    return p->count;
}

uint64_t progress_open_bytes(const struct progress *p)
{
    return p->bytes;
}

uint64_t progress_open_records(const struct progress *p)
{
    return p->records;
}

static void save_turn(const struct open_turn *t, struct buffer *out)
{
    buffer_varint(out, t->turn);
    buffer_u64(out, t->xor);
    buffer_varint(out, t->bytes);
    buffer_varint(out, t->ranges);
    for (uint32_t i = 0; i < t->ranges; i++) {
        buffer_varint(out, t->range[i].at.partition);
        buffer_varint(out, t->range[i].at.base);
        buffer_varint(out, t->range[i].at.first);
        buffer_varint(out, t->range[i].at.next);
    }
}

void progress_save(const struct progress *p, struct buffer *out)
{
    /* Open turns and the cursors say it all: done turns behind an open one need not come back, as the frontier of a
     * partition is the first record of its oldest open turn, or the cursor. */
    buffer_varint(out, p->partitions);
    for (uint32_t i = 0; i < p->partitions; i++)
        buffer_varint(out, p->partition[i].cursor);
    buffer_varint(out, p->count);
    for (uint32_t i = 0; i < p->count; i++)
        save_turn(p->open[i], out);
}

/* end: by partition, behind the ranges so far. */
static int load_turn(struct progress *p, struct reader *in, uint64_t *end)
{
    uint64_t turn = reader_varint(in), xor = reader_u64(in), bytes = reader_varint(in), ranges = reader_varint(in);

    if (in->error != 0 || ranges > reader_left(in))
        return LEAT_ECORRUPT;
    struct progress_range *range = base_alloc((ranges + 1) * sizeof(*range));
    for (uint64_t i = 0; i < ranges; i++) {
        range[i].partition = (uint32_t)reader_varint(in);
        range[i].base = (uint32_t)reader_varint(in);
        range[i].first = reader_varint(in);
        range[i].next = reader_varint(in);
        if (range[i].partition >= p->partitions || range[i].first < end[range[i].partition] ||
            range[i].next < range[i].first)
            in->error = LEAT_ECORRUPT;
        if (in->error != 0)
            break;
        end[range[i].partition] = range[i].next;
    }
    if (in->error == 0 && (p->count == 0 || p->open[p->count - 1]->turn < turn))
        progress_add(p, turn, xor, bytes, range, (uint32_t)ranges);
    else
        in->error = LEAT_ECORRUPT;
    free(range);
    return in->error;
}

int progress_load(struct progress *p, struct reader *in)
{
    uint64_t partitions = reader_varint(in);

    leat_assert(p->count == 0);
    if (in->error != 0 || partitions > p->partitions)
        return LEAT_ECORRUPT;
    uint64_t *cursor = base_alloc((partitions + 1) * sizeof(*cursor));
    for (uint64_t i = 0; i < partitions; i++)
        cursor[i] = reader_varint(in);
    uint64_t *end = base_alloc((p->partitions + 1) * sizeof(*end));
    uint64_t count = reader_varint(in);
    int rv = in->error;
    for (uint64_t i = 0; i < count && rv == 0; i++)
        rv = load_turn(p, in, end);
    free(end);
    for (uint64_t i = 0; i < partitions && rv == 0; i++)
        if (cursor[i] >= p->partition[i].cursor)
            p->partition[i].cursor = cursor[i];
        else
            rv = LEAT_ECORRUPT;
    free(cursor);
    return rv;
}
