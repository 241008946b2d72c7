/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/lsh.h"
#include "modules/vector/top.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Searching: probe buckets, collect members, score each once where it lives, keep the best. Members name task and row,
 * so that nothing but the final neighbours is looked up by name. */

struct query {
    const void *vector;
    float norm;
};

/* Fails the task when it has no distances. */
static struct query query_of(struct leat_task *t, const struct lsh *l)
{
    const void *vector = leat_at(leat_request(t), 0, 0).as.bytes.base;
    float square = vector_kernels()->dot(vector, vector, l->dims);

    if (!isnormal(square))
        leat_task_fail(t, LEAT_EINVAL, "the query's squared length is %g: cosine distance needs one from %g to %g",
                       (double)square, (double)FLT_MIN, (double)FLT_MAX);
    return (struct query){vector, sqrtf(square)};
}

static void probe_radius(struct leat_task *t, const struct lsh *l, const float *projection)
{
    for (uint32_t table = 0; table < l->tables; table++)
        for (uint32_t i = 0; i < l->flip_count; i++)
            leat_emit(t, 0, LEAT_ROW(leat_u32(lsh_bucket(l, projection, table) ^ l->flips[i])));
}

static void probe_likeliest(struct leat_task *t, const struct lsh *l, const float *projection, float norm)
{
    uint32_t most = l->tables * l->probes;
    struct vector_probe *probe = leat_alloc(t, most * sizeof(*probe));
    void *room = leat_alloc(t, vector_probe_room(l->tables, l->bits, most));
    uint32_t count = vector_probe_likeliest(projection, norm, l->tables, l->bits, most, probe, room);

    for (uint32_t i = 0; i < count; i++)
        leat_emit(t, 0, LEAT_ROW(leat_u32(lsh_bucket(l, projection, probe[i].table) ^ probe[i].flips)));
}

int lsh_probe(struct leat_task *t, const struct leat_batch *in)
{
    const struct lsh *l = leat_state(t);
    float *projection = leat_alloc(t, l->planes.width * sizeof(*projection));
    struct query q = query_of(t, l);

    (void)in;
    if (leat_task_error(t) != 0)
        return leat_task_error(t);
    vector_kernels()->product(&l->planes, &q.vector, 1, projection);
    if (l->probes > 0)
        probe_likeliest(t, l, projection, q.norm);
    else
        probe_radius(t, l, projection);
    return 0;
}

int lsh_members(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        uint32_t bucket = (uint32_t)leat_at(in, i, 0).as.u;
        struct leat_value first = leat_u64(lsh_member(bucket, 0, 0)), member;
        struct leat_value last = leat_u64(lsh_member(bucket, (1U << LSH_TASK_BITS) - 1, (1U << LSH_ROW_BITS) - 1));
        struct leat_range range = {.from = &first, .to = &last, .to_inclusive = true};
        struct leat_scan *scan;

        if (leat_scan_open(t, BUCKETS, LEAT_KEYS(), &range, &scan) != 0)
            break;
        while (leat_scan_next(scan, &member, NULL, 0) == 0)
            leat_emit(t, i, LEAT_ROW(leat_u32(lsh_member_task(member.as.u)), leat_u32(lsh_member_row(member.as.u))));
        leat_scan_close(scan);
    }
    return leat_task_error(t);
}

/* ---- Each candidate once ---- */

struct seen {
    uint64_t *bit;
    uint64_t rows;
};

/* Rows of the batch that were not seen before in this request, ascending. */
static uint32_t distinct(struct leat_task *t, const struct leat_batch *in, uint32_t *row)
{
    struct seen *s = leat_scratch(t, sizeof(*s));
    uint32_t count = 0, least = UINT32_MAX, most = 0;

    if (s->bit == NULL) {
        leat_size(t, VECTORS, LEAT_KEYS(), &s->rows);
        s->bit = leat_alloc(t, (s->rows / 64 + 1) * sizeof(*s->bit));
        memset(s->bit, 0, (s->rows / 64 + 1) * sizeof(*s->bit));
    }
    uint64_t *fresh = leat_alloc(t, (s->rows / 64 + 1) * sizeof(*fresh));
    memset(fresh, 0, (s->rows / 64 + 1) * sizeof(*fresh));
    for (uint32_t i = 0; i < in->rows; i++) {
        uint32_t at = (uint32_t)leat_at(in, i, 1).as.u;

        /* A member may be newer than this task's snapshot of the rows: snapshots are taken group by group. */
        if (at >= s->rows)
            continue;
        fresh[at / 64] |= UINT64_C(1) << at % 64;
        least = at < least ? at : least;
        most = at > most ? at : most;
    }
    for (uint32_t word = least / 64; least != UINT32_MAX && word <= most / 64; word++) {
        uint64_t bits = fresh[word] & ~s->bit[word];

        s->bit[word] |= bits;
        for (; bits != 0; bits &= bits - 1)
            row[count++] = word * 64 + (uint32_t)__builtin_ctzll(bits);
    }
    return count;
}

static void emit_hits(struct leat_task *t, const struct vector_top *top)
{
    for (uint32_t i = 0; i < top->count; i++)
        leat_emit(t, 0, LEAT_ROW(leat_u32(leat_task_number(t)), leat_u32((uint32_t)top->item[i].number),
                                 leat_f32(top->item[i].distance)));
}

static float norm_at(const void *row, uint32_t place)
{
    float norm;

    memcpy(&norm, (const uint8_t *)row + place, sizeof(norm));
    return norm;
}

/* Cosine distance. */
static float distance(float dot, float norm, float query_norm)
{
    float d = 1.0F - dot / (norm * query_norm);

    return d < 0 ? 0 : d;
}

/* The nearest of the rows scored so far. */
struct scan {
    struct query q;
    uint32_t dims, norm_place;
    float enough; /* times a row's norm: with a smaller product it cannot be among the nearest */
    struct vector_top top;
};

static struct scan scan_begin(struct leat_task *t, const struct lsh *l)
{
    struct vector_top top;

    vector_top_begin(&top, leat_alloc(t, l->top * sizeof(struct vector_best)), l->top);
    return (struct scan){query_of(t, l), l->dims, leat_rows_field(t, VECTORS, 1), -INFINITY, top};
}

/* A row. Nearly all are refused by the first line, which needs no division. */
static void offer(struct scan *s, float dot, const void *at, uint32_t row)
{
    const float slack = 1e-5F;
    float norm = norm_at(at, s->norm_place);

    if (dot < s->enough * norm || norm <= 0)
        return;
    vector_top_push(&s->top, distance(dot, norm, s->q.norm), row);
    if (s->top.count == s->top.k)
        s->enough = (1.0F - s->top.threshold - slack) * s->q.norm;
}

int lsh_score(struct leat_task *t, const struct leat_batch *in)
{
    const struct lsh *l = leat_state(t);
    uint32_t *row = leat_alloc(t, in->rows * sizeof(*row)), count = distinct(t, in, row);
    const void **at = leat_alloc(t, (count + 1) * sizeof(*at));
    float *dot = leat_alloc(t, (count + 1) * sizeof(*dot));
    struct scan s = scan_begin(t, l);

    if (leat_rows_pointers(t, VECTORS, LEAT_KEYS(), row, count, at) != 0)
        return leat_task_error(t);
    vector_kernels()->dot_pointers(s.q.vector, at, count, l->dims, dot);
    for (uint32_t i = 0; i < count; i++)
        offer(&s, dot[i], at[i], row[i]);
    emit_hits(t, &s.top);
    return 0;
}

int lsh_count(struct leat_task *t, const struct leat_batch *in)
{
    uint32_t *row = leat_alloc(t, in->rows * sizeof(*row));

    leat_emit(t, 0, LEAT_ROW(leat_i64(distinct(t, in, row))));
    return 0;
}

/* Blocks lie anywhere in the file, and the processor's own fetching ahead begins anew in each: rows of so many blocks
 * in turn keep that many streams of memory going. */
enum { STREAMS = 4, BLOCKS = 64 };

static void score_streams(struct scan *s, const struct leat_block *block, uint32_t streams)
{
    const void *row[STREAMS];
    float dot[STREAMS];

    for (uint32_t i = 0; i < block[0].rows; i++) {
        while (i >= block[streams - 1].rows)
            streams--;
        for (uint32_t b = 0; b < streams; b++)
            row[b] = (const uint8_t *)block[b].base + (size_t)i * block[b].stride;
        vector_kernels()->dot_pointers(s->q.vector, row, streams, s->dims, dot);
        for (uint32_t b = 0; b < streams; b++)
            offer(s, dot[b], row[b], (uint32_t)block[b].first + i);
    }
}

static void score_blocks(struct scan *s, const struct leat_block *block, uint32_t blocks)
{
    for (uint32_t at = 0; at < blocks; at += STREAMS)
        score_streams(s, block + at, blocks - at < STREAMS ? blocks - at : STREAMS);
}

int lsh_scan(struct leat_task *t, const struct leat_batch *in)
{
    struct scan s = scan_begin(t, leat_state(t));
    struct leat_block *block = leat_alloc(t, BLOCKS * sizeof(*block));
    uint32_t blocks = 0;
    uint64_t number = 0;

    (void)in;
    if (leat_task_error(t) != 0)
        return leat_task_error(t);
    /* Blocks only get shorter: full ones, then parts of the tail. */
    while (leat_rows_block(t, VECTORS, LEAT_KEYS(), number, &block[blocks]) == 0) {
        number += block[blocks].rows;
        if (++blocks < BLOCKS)
            continue;
        score_blocks(&s, block, blocks);
        blocks = 0;
    }
    score_blocks(&s, block, blocks);
    emit_hits(t, &s.top);
    return leat_task_error(t);
}

/* The few that are left get their names and bodies. */
int lsh_name(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value id, field[3] = {leat_null(), leat_null(), leat_null()};

        if (leat_get(t, IDS, LEAT_KEYS(leat_at(in, i, 1)), &id, 1) != 0)
            continue;
        leat_get(t, EMBEDDINGS, LEAT_KEYS(id), field, 3);
        leat_emit(t, i, LEAT_ROW(id, leat_at(in, i, 2), field[2]));
    }
    return leat_task_error(t);
}
