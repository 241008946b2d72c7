/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/scan.h"

#include <math.h>
#include <string.h>

#include "modules/vector/distance.h"

enum { BLOCKS_MOST = INDEX_PART_BLOCKS, LANES_MOST = BLOCKS_MOST * BLOCK, FIRST_MOST = 64 };

/* A row that may be among the nearest. */
struct candidate {
    float lower;
    uint32_t row;
    const uint8_t *vector;
};

/* Some blocks of one posting, of one part of it. */
struct part {
    const struct index_posting *posting;
    uint64_t place;
    uint32_t block, blocks;
};

/* Candidates of a part. */
struct batch {
    struct part part;
    bool all; /* not by bounds: there are none */
    uint32_t count;
    struct candidate candidate[LANES_MOST];
};

struct scan_room {
    float lower[LANES_MOST], estimate[LANES_MOST], distance[LANES_MOST];
    const void *vector[LANES_MOST];
    uint32_t mask[BLOCKS_MOST], live[BLOCKS_MOST];
    struct batch batch[2]; /* one is on its way from memory while the other is measured */
    uint32_t turn;
    struct vector_best first[FIRST_MOST];
    const struct index_posting *posting[];
};

size_t scan_room_size(uint32_t postings)
{
    return sizeof(struct scan_room) + postings * sizeof(struct index_posting *);
}

void scan_begin(struct scan *s, struct vector_best *top, uint32_t k, void *room)
{
    vector_top_begin(&s->top, top, k);
    s->room = room;
    s->room->turn = 0;
    for (int i = 0; i < 2; i++) {
        s->room->batch[i].all = false;
        s->room->batch[i].count = 0;
    }
    s->posting = s->room->posting;
    s->counts = (struct scan_counts){0};
    s->copies = false;
    s->reach = (struct target_reach){INFINITY, INFINITY, INFINITY};
    s->sure = -INFINITY;
    s->places = 0;
}

/* ---- Exact distances ---- */

static float as_known(const struct scan *s, const struct index_posting *p, uint32_t row, float d)
{
    if (s->layout->metric == METRIC_L2 || s->layout->metric == METRIC_HAMMING)
        return d;
    if (s->layout->metric == METRIC_DOT)
        return 0 - d; /* not -0 */
    return scan_cosine(s, d, index_part(p, row)->norms[row % INDEX_PART_ROWS]);
}

/* The k-th distance so far as codes estimate it: of vectors of length 1 the squared distance is 2 - 2 cosine. */
static float threshold(const struct scan *s)
{
    return s->layout->metric == METRIC_COSINE ? 2 * s->top.threshold : s->top.threshold;
}

/* Are there k already, or did another group find k? */
static bool bounded(const struct scan *s)
{
    return s->top.threshold < INFINITY;
}

static const uint8_t *vector_at(const struct scan *s, const struct index_posting *p, uint32_t row)
{
    const struct piece_layout *layout;
    uint32_t first;

    if (index_part(p, row)->near != NULL)
        return index_part(p, row)->near + (size_t)(row % INDEX_PART_ROWS) * s->layout->vector;
    const uint8_t *piece = index_piece(s->layout, p, row, &layout, &first);
    return layout_vector(s->layout, layout, piece, row - first);
}

struct hit scan_hit(const struct scan *s, const struct vector_best *found, const void **vector)
{
    const struct index_posting *p = s->posting[found->number >> 32];
    uint32_t row = (uint32_t)found->number;

    if (vector != NULL)
        *vector = vector_at(s, p, row);
    return (struct hit){index_number(p, row), found->distance, 0};
}

static uint64_t number_of(const struct scan *s, const struct vector_best *found)
{
    return found->number >= SCAN_ELSEWHERE ? s->elsewhere[(uint32_t)found->number] : scan_hit(s, found, NULL).number;
}

/* Is it there already, in the posting that it comes from or goes to? Copies have the same distance. */
static bool twice(const struct scan *s, const struct vector_best *found)
{
    for (uint32_t i = 0; i < s->top.count; i++)
        if (s->top.item[i].distance == found->distance && number_of(s, &s->top.item[i]) == number_of(s, found))
            return true;
    return false;
}

void scan_offer(struct scan *s, uint64_t place, uint32_t row, float distance)
{
    struct vector_best found = {distance, place << 32 | row};

    if (found.distance <= s->top.threshold && (!s->copies || !twice(s, &found)))
        vector_top_push(&s->top, found.distance, found.number);
}

static void measure(struct scan *s, const struct part *part, const struct candidate *c, uint32_t count)
{
    struct scan_room *r = s->room;

    for (uint32_t i = 0; i < count; i++)
        r->vector[i] = c[i].vector;
    layout_kernel(s->layout)->pointers(s->vector, r->vector, count, s->layout->dims, r->distance);
    for (uint32_t i = 0; i < count; i++)
        scan_offer(s, part->place, c[i].row, as_known(s, part->posting, c[i].row, r->distance[i]));
    s->counts.ranked += count;
}

/* ---- Codes first ---- */

/* Candidates are measured some at a time, the best first: each time the threshold falls, fewer are left. Of short
 * vectors more at a time, as choosing them takes as long as measuring them. */
enum { TOGETHER = 16, TOGETHER_SHORT = 32, SHORT = 256 };

/* The `count` least of them to the front, by rounds of partitioning. */
static void best_first(struct candidate *c, uint32_t all, uint32_t count)
{
    uint32_t low = 0, high = all;

    while (high - low > 1 && low < count) {
        float pivot = c[low + (high - low) / 2].lower;
        uint32_t left = low, right = high - 1;

        for (;;) {
            while (c[left].lower < pivot)
                left++;
            while (c[right].lower > pivot)
                right--;
            if (left >= right)
                break;
            struct candidate moved = c[left];
            c[left++] = c[right];
            c[right--] = moved;
        }
        uint32_t middle = right + 1;
        if (middle <= count)
            low = middle > low ? middle : low + 1;
        else
            high = middle < high ? middle : high - 1;
    }
}

/* The start of a vector into the cache; the kernel fetches the rest of a long one itself. The empty statement is there
 * as GCC leaves out calls of a function that does nothing but fetch. */
static void fetch(const struct layout *l, const uint8_t *vector)
{
    uint32_t size = l->vector < 512 ? l->vector : 512;

    for (uint32_t at = 0; at < size; at += 64)
        __builtin_prefetch(vector + at);
    __builtin_prefetch(vector + size - 1);
    __asm__ volatile("");
}

static void gather(const struct scan *s, const struct part *part, float most, struct batch *b)
{
    const struct scan_room *r = s->room;

    b->part = *part;
    b->count = 0;
    for (uint32_t block = 0; block < part->blocks; block++)
        for (uint32_t mask = r->mask[block]; mask != 0; mask &= mask - 1) {
            uint32_t lane = block * BLOCK + (uint32_t)__builtin_ctz(mask), row = part->block * BLOCK + lane;

            if (!b->all && r->lower[lane] > most)
                continue;
            struct candidate c = {b->all ? 0 : r->lower[lane], row, vector_at(s, part->posting, row)};
            fetch(s->layout, c.vector);
            b->candidate[b->count++] = c;
        }
}

static uint32_t under(struct candidate *c, uint32_t count, float most)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < count; i++)
        if (c[i].lower <= most)
            c[kept++] = c[i];
    return kept;
}

static void rank(struct scan *s, struct batch *b)
{
    struct candidate *c = b->candidate;
    uint32_t left = b->all ? b->count : under(c, b->count, threshold(s));
    uint32_t together = s->layout->vector <= SHORT ? TOGETHER_SHORT : TOGETHER;

    b->count = 0;
    while (left > together && !b->all) {
        best_first(c, left, together);
        measure(s, &b->part, c, together);
        c += together;
        left = under(c, left - together, threshold(s));
    }
    if (left > 0)
        measure(s, &b->part, c, left);
}

/* Before there are k distances to compare with: the k-th upper bound of a part's rows. What lies above it is not among
 * the k nearest, as surely as bounds hold. */
static float first_threshold(struct scan *s, const struct part *part)
{
    struct scan_room *r = s->room;
    struct vector_top upper;

    if (s->top.k - s->top.count > FIRST_MOST || s->copies)
        return INFINITY;
    vector_top_begin(&upper, r->first, s->top.k - s->top.count);
    for (uint32_t block = 0; block < part->blocks; block++)
        for (uint32_t mask = r->mask[block]; mask != 0; mask &= mask - 1) {
            uint32_t lane = block * BLOCK + (uint32_t)__builtin_ctz(mask);

            vector_top_push(&upper, 2 * r->estimate[lane] - r->lower[lane], lane);
        }
    if (s->top.count == 0)
        return upper.threshold;
    /* Of those known already the farthest stands for all. */
    float known = s->layout->metric == METRIC_COSINE ? 2 * s->top.item[0].distance : s->top.item[0].distance;
    return upper.threshold > known ? upper.threshold : known;
}

/* Candidates of a part are measured when those of the next are known: until then they come from memory. Not before
 * there are k to compare with. */
static void rank_later(struct scan *s, const struct part *part, bool all)
{
    struct scan_room *r = s->room;
    struct batch *now = &r->batch[r->turn], *before = &r->batch[1 - r->turn];

    now->all = all;
    gather(s, part, all || bounded(s) ? INFINITY : first_threshold(s, part), now);
    rank(s, before);
    r->turn = 1 - r->turn;
    if (!all && !bounded(s))
        rank(s, now);
}

/* ---- Which rows ---- */

void scan_live(const struct scan *s, const struct index_posting *p, uint32_t block, uint32_t blocks, uint32_t *live)
{
    uint32_t pass[BLOCKS_MOST];

    memcpy(live, p->live_mask + block, blocks * sizeof(*live));
    if (s->filter == NULL)
        return;
    filter_blocks(s->filter, index_part(p, block * BLOCK)->attributes, index_part_blocks(p, block),
                  block % INDEX_PART_BLOCKS, blocks, pass);
    for (uint32_t i = 0; i < blocks; i++)
        live[i] &= pass[i];
}

static bool any_live(struct scan *s, const struct part *part)
{
    uint32_t any = 0;

    scan_live(s, part->posting, part->block, part->blocks, s->room->live);
    for (uint32_t i = 0; i < part->blocks; i++)
        any |= s->room->live[i];
    return any != 0;
}

/* Bits that are set: of processors that may have no instruction for it, a call would take longer. */
static uint32_t bits_in(uint32_t mask)
{
    mask -= mask >> 1 & 0x55555555;
    mask = (mask & 0x33333333) + (mask >> 2 & 0x33333333);
    return ((mask + (mask >> 4)) & 0x0f0f0f0f) * 0x01010101 >> 24;
}

/* With a filter those that pass are counted: are they so few that their vectors are less to read than the codes of
 * all, by half? */
static bool few(struct scan *s, const struct part *part)
{
    const struct scan_room *r = s->room;
    uint32_t passed = 0;

    if (s->filter == NULL)
        return false;
    for (uint32_t i = 0; i < part->blocks; i++)
        passed += bits_in(r->live[i]);
    s->counts.passed += passed;
    return (size_t)passed * s->layout->vector <= (size_t)part->blocks * s->layout->block / 2;
}

/* All that live of a part, without codes: of bits, the vectors are their own codes. */
static void measure_all(struct scan *s, const struct part *part)
{
    struct scan_room *r = s->room;

    memcpy(r->mask, r->live, part->blocks * sizeof(*r->mask));
    r->batch[0].all = true;
    gather(s, part, INFINITY, &r->batch[0]);
    measure(s, part, r->batch[0].candidate, r->batch[0].count);
    r->batch[0].count = 0;
}

static void scan_part(struct scan *s, const struct part *part, const struct probe *probe, const void *ahead)
{
    const struct layout *l = s->layout;
    struct scan_room *r = s->room;

    s->counts.rows += part->blocks * BLOCK;
    if (!any_live(s, part))
        return;
    bool sparse = few(s, part);
    if (l->width == 0) {
        measure_all(s, part);
        return;
    }
    if (sparse) {
        memcpy(r->mask, r->live, part->blocks * sizeof(*r->mask));
        rank_later(s, part, true);
        return;
    }
    struct vector_scan scan = {.query = &s->query, .base = probe->base, .distance = probe->distance,
                               .threshold = threshold(s),
                               .blocks = index_codes(l, part->posting, part->block),
                               .count = part->blocks, .live = r->live, .ahead = ahead, .ahead_count = part->blocks,
                               .mask = r->mask, .lower = r->lower,
                               .estimate = bounded(s) ? NULL : r->estimate};
    if (vector_scan(&scan) > 0)
        rank_later(s, part, false);
}

/* The first codes of the posting scanned next. */
static const void *next_codes(const struct scan *s, uint64_t place, uint32_t count)
{
    while (++place < count)
        if (s->posting[place] != NULL && s->posting[place]->rows > 0)
            return s->posting[place]->part[0].codes;
    return NULL;
}

/* What is read first of the posting scanned next. */
static void fetch_next(const struct scan *s, uint64_t place, uint32_t count)
{
    const struct index_posting *p = place + 1 < count ? s->posting[place + 1] : NULL;

    if (p == NULL || p->rows == 0 || s->filter == NULL)
        return;
    __builtin_prefetch(p->live_mask);
    filter_fetch(s->filter, p->part[0].attributes, index_part_blocks(p, 0));
}

static void scan_posting(struct scan *s, uint64_t place, const struct probe *probe, uint32_t count)
{
    const struct index_posting *p = s->posting[place];
    uint32_t blocks = index_blocks(p);

    s->counts.postings++;
    fetch_next(s, place, count);
    for (uint32_t block = 0; block < blocks; block += BLOCKS_MOST) {
        struct part part = {p, place, block, blocks - block < BLOCKS_MOST ? blocks - block : BLOCKS_MOST};
        bool last = block + BLOCKS_MOST >= blocks;

        scan_part(s, &part, probe,
                  last ? next_codes(s, place, count) : index_codes(s->layout, p, block + BLOCKS_MOST));
    }
}

/* Is the posting so far away that its rows hardly matter? */
static bool beyond(const struct scan *s, const struct probe *p)
{
    float reach = s->reach.all, unit = s->layout->metric == METRIC_DOT ? s->norm : threshold(s);

    /* Where nothing was learnt reaches are infinite, and have neither differences nor products with 0. */
    if (!bounded(s) || isinf(reach) || p->least <= s->sure)
        return false;
    if (s->filter != NULL)
        reach = target_reach_of(&s->reach, (float)(s->counts.passed + 1) / (float)(s->counts.rows + 1));
    return p->least > s->nearest + reach * unit;
}

bool scan_postings(struct scan *s, const struct probe *probe, uint32_t count)
{
    uint32_t first = s->places, end = first + count;
    bool stops = false;

    for (uint32_t i = 0; i < count; i++) {
        s->posting[first + i] = index_posting(s->index, probe[i].posting);
        s->copies |= s->posting[first + i] != NULL && s->posting[first + i]->moving > 0;
    }
    if (first == 0 && count > 0)
        s->nearest = probe[0].least;
    s->places = end;
    for (uint32_t i = 0; i < count && !stops; i++) {
        stops = beyond(s, &probe[i]);
        if (!stops && s->posting[first + i] != NULL)
            scan_posting(s, first + i, &probe[i], end);
    }
    rank(s, &s->room->batch[1 - s->room->turn]);
    return stops;
}
