/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/scan.h"

#include <string.h>

#include "modules/vector/distance.h"

/* Every row of some postings. One query without a filter goes at the speed of memory: rows of a tile lie one after
 * another, and a tile is fetched into the second cache while the one before it is measured, for the processor's own
 * fetching begins anew wherever a page or a posting does. Several queries share each row that is read. */

enum { TILE_BYTES = 16384, TILE_BLOCKS = 16, TILE_ROWS = TILE_BLOCKS * BLOCK, QUERIES = 64 };
enum { ONE_BYTES = 65536, STEP_BYTES = 2048, STEP_ROWS = 8, AHEAD = 12288, LINE = 64, PAGE = 4096, SOON = 16 };

/* Rows of one part. */
struct tile {
    const uint8_t *vector; /* of its first row */
    uint32_t place, row, rows; /* rows: 0 behind the last tile */
};

/* ---- Tiles ---- */

static const uint8_t *rows_from(const struct layout *l, const struct index_posting *p, uint32_t row, uint32_t *rows)
{
    const struct piece_layout *layout;
    uint32_t first;

    *rows = p->rows - row;
    if (*rows > INDEX_PART_ROWS - row % INDEX_PART_ROWS)
        *rows = INDEX_PART_ROWS - row % INDEX_PART_ROWS;
    if (index_part(p, row)->near != NULL)
        return index_part(p, row)->near + (size_t)(row % INDEX_PART_ROWS) * l->vector;
    const uint8_t *piece = index_piece(l, p, row, &layout, &first);
    if (*rows > first + layout->rows - row)
        *rows = first + layout->rows - row;
    return layout_vector(l, layout, piece, row - first);
}

/* The tile behind one, of at most so many rows; behind the last one it has none. */
static struct tile tile_behind(const struct scan *s, uint32_t count, uint32_t most, const struct tile *t)
{
    uint32_t row = t->row + t->rows, place = t->place, rows;

    while (place < count && row >= s->posting[place]->rows) {
        place++;
        row = 0;
    }
    if (place == count)
        return (struct tile){.place = place};
    /* What postings say of themselves lies anywhere, and the rows of all have passed the caches since. */
    if (place + SOON < count)
        for (uint32_t i = 0; i < 2; i++)
            __builtin_prefetch((const uint8_t *)s->posting[place + SOON] + i * LINE);
    __builtin_prefetch(s->posting[place]->live_mask);
    const uint8_t *vector = rows_from(s->layout, s->posting[place], row, &rows);
    return (struct tile){vector, place, row, rows < most ? rows : most};
}

static struct tile first_tile(const struct scan *s, uint32_t count, uint32_t most)
{
    return tile_behind(s, count, most, &(struct tile){0});
}

/* A line of nearly each page: to find where a page is takes the processor longer than to read a line of it. The empty
 * statement is there for the same reason as in scan.c. */
static void fetch_pages(const struct layout *l, const struct tile *t)
{
    for (size_t at = 0; at < (size_t)t->rows * l->vector; at += PAGE)
        __builtin_prefetch(t->vector + at, 0, 2);
    __asm__ volatile("");
}

/* In whole blocks, and TILE_ROWS at most. */
static uint32_t tile_rows(const struct layout *l, uint32_t bytes)
{
    uint32_t blocks = bytes / (BLOCK * l->vector);

    return BLOCK * (blocks < 1 ? 1 : blocks > TILE_BLOCKS ? TILE_BLOCKS : blocks);
}

/* ---- Distances ---- */

/* Kernels' distances as users know them. norm: of each row. */
static void as_known(const struct scan *s, const float *norm, uint32_t count, float *distance)
{
    if (s->layout->metric == METRIC_DOT)
        for (uint32_t i = 0; i < count; i++)
            distance[i] = 0 - distance[i]; /* not -0 */
    if (s->layout->metric == METRIC_COSINE)
        for (uint32_t i = 0; i < count; i++)
            distance[i] = scan_cosine(s, distance[i], norm[i]);
}

/* Those that are near enough, of 32 at most: nearly always none, which the first pass sees.
 * The places behind them can be read. */
static uint32_t near_enough(const float *distance, uint32_t count, float most)
{
    typedef float lanes __attribute__((vector_size(16)));
    typedef int32_t flags __attribute__((vector_size(16)));
    flags any = {0};
    uint32_t mask = 0;

    for (uint32_t i = 0; i < BLOCK; i += 4) {
        lanes four;

        memcpy(&four, distance + i, sizeof(four));
        any |= four <= most;
    }
    if ((any[0] | any[1] | any[2] | any[3]) == 0)
        return 0;
    for (uint32_t i = 0; i < count; i++)
        mask |= (uint32_t)(distance[i] <= most) << i;
    return mask;
}

/* ---- One query ---- */

/* Distances of a tile, a few rows at a time, and before each as many bytes are fetched, a fixed distance ahead: more at
 * once would wait for each other, fewer would leave memory idle. Behind the end of the tile the next one begins. */
static void measure_rows(const struct scan *s, const struct tile *t, const struct tile *next, float *distance)
{
    const struct layout *l = s->layout;
    uint32_t step = STEP_BYTES / l->vector > STEP_ROWS ? STEP_BYTES / l->vector : STEP_ROWS;
    size_t size = (size_t)t->rows * l->vector, both = size + (size_t)next->rows * l->vector;
    size_t line = size < AHEAD ? size : AHEAD; /* up to there the tile before this one did */

    for (uint32_t at = 0; at < t->rows; at += step) {
        uint32_t rows = t->rows - at < step ? t->rows - at : step;
        size_t end = (size_t)(at + rows) * l->vector + AHEAD;

        for (; line < end && line < size; line += LINE)
            __builtin_prefetch(t->vector + line, 0, 2);
        for (; line < end && line < both; line += LINE)
            __builtin_prefetch(next->vector + (line - size), 0, 2);
        layout_kernel(l)->strided(s->vector, t->vector + (size_t)at * l->vector, l->vector, rows, l->dims,
                                  distance + at);
    }
}

static void measure_tile(struct scan *s, const struct tile *t, const struct tile *next)
{
    const struct index_posting *p = s->posting[t->place];
    const float *norms = index_part(p, t->row)->norms;
    float distance[TILE_ROWS];

    measure_rows(s, t, next, distance);
    as_known(s, norms != NULL ? norms + t->row % INDEX_PART_ROWS : NULL, t->rows, distance);
    s->counts.rows += t->rows;
    s->counts.ranked += t->rows;
    for (uint32_t at = 0; at < t->rows; at += BLOCK) {
        uint32_t rest = t->rows - at < BLOCK ? t->rows - at : BLOCK;
        uint32_t mask = near_enough(distance + at, rest, s->top.threshold) & p->live_mask[(t->row + at) / BLOCK];

        for (; mask != 0; mask &= mask - 1) {
            uint32_t lane = at + (uint32_t)__builtin_ctz(mask);

            scan_offer(s, t->place, t->row + lane, distance[lane]);
        }
    }
}

/* Pages are found two tiles ahead. */
static void exact_one(struct scan *s, uint32_t count)
{
    uint32_t most = tile_rows(s->layout, ONE_BYTES);
    struct tile now = first_tile(s, count, most), next = tile_behind(s, count, most, &now), after;

    for (; now.rows > 0; now = next, next = after) {
        after = tile_behind(s, count, most, &next);
        fetch_pages(s->layout, &after);
        measure_tile(s, &now, &next);
    }
}

/* ---- Several, or with a filter ---- */

struct together {
    const void *row[TILE_ROWS];
    float norm[TILE_ROWS], distance[TILE_ROWS];
    uint32_t number[TILE_ROWS], count;
    const void *query[QUERIES];
    float block[QUERIES * TILE_ROWS];
};

/* Rows of a tile that live and pass. */
static void choose(const struct scan *s, const struct tile *t, struct together *g)
{
    const struct index_posting *p = s->posting[t->place];
    const float *norms = index_part(p, t->row)->norms;
    uint32_t live[TILE_BLOCKS], blocks = (t->rows + BLOCK - 1) / BLOCK;

    scan_live(s, p, t->row / BLOCK, blocks, live);
    g->count = 0;
    for (uint32_t block = 0; block < blocks; block++)
        for (uint32_t mask = live[block]; mask != 0; mask &= mask - 1) {
            uint32_t at = block * BLOCK + (uint32_t)__builtin_ctz(mask);

            g->norm[g->count] = norms != NULL ? norms[t->row % INDEX_PART_ROWS + at] : 1;
            g->row[g->count] = t->vector + (size_t)at * s->layout->vector;
            g->number[g->count++] = t->row + at;
        }
}

static void offer_all(struct scan *s, const struct tile *t, const struct together *g, float *distance)
{
    as_known(s, g->norm, g->count, distance);
    s->counts.ranked += g->count;
    for (uint32_t at = 0; at < g->count; at += BLOCK) {
        uint32_t rest = g->count - at < BLOCK ? g->count - at : BLOCK;

        for (uint32_t mask = near_enough(distance + at, rest, s->top.threshold); mask != 0; mask &= mask - 1) {
            uint32_t lane = at + (uint32_t)__builtin_ctz(mask);

            scan_offer(s, t->place, g->number[lane], distance[lane]);
        }
    }
}

static void measure_together(struct scan *s, uint32_t scans, const struct tile *t, struct together *g)
{
    const struct layout *l = s->layout;

    for (uint32_t i = 0; i < scans; i++)
        s[i].counts.rows += t->rows;
    choose(s, t, g);
    if (g->count == 0)
        return;
    if (scans == 1) {
        layout_kernel(l)->pointers(s->vector, g->row, g->count, l->dims, g->distance);
        offer_all(s, t, g, g->distance);
        return;
    }
    for (uint32_t first = 0; first < scans; first += QUERIES) {
        uint32_t queries = scans - first < QUERIES ? scans - first : QUERIES;

        for (uint32_t i = 0; i < queries; i++)
            g->query[i] = s[first + i].vector;
        layout_kernel(l)->block(g->query, queries, g->row, g->count, l->dims, g->block, TILE_ROWS);
        for (uint32_t i = 0; i < queries; i++)
            offer_all(&s[first + i], t, g, g->block + (size_t)i * TILE_ROWS);
    }
}

void scan_exact(struct scan *s, uint32_t scans, const struct index_posting **posting, uint32_t count)
{
    bool copies = false;

    for (uint32_t i = 0; i < count; i++)
        copies |= posting[i]->moving > 0;
    for (uint32_t i = 0; i < scans; i++) {
        s[i].posting = posting;
        s[i].copies = copies;
        s[i].counts.postings += count;
    }
    if (scans == 1 && s->filter == NULL) {
        exact_one(s, count);
        return;
    }
    struct together g;
    uint32_t most = scans == 1 ? TILE_ROWS : tile_rows(s->layout, TILE_BYTES);
    for (struct tile t = first_tile(s, count, most); t.rows > 0; t = tile_behind(s, count, most, &t))
        measure_together(s, scans, &t, &g);
}
