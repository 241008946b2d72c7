/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_VECTOR_DISTANCE_SHAPES_H
#define MODULES_VECTOR_DISTANCE_SHAPES_H

/* How many rows and queries are walked, the same in every variant. A variant has for each metric and type the two inner
 * kernels below; VECTOR_SHAPES makes the functions of a struct vector_distance from them. */

#include "modules/vector/distance.h"

#include <string.h>

/* A tile has VECTOR_TILE queries and as many rows: few enough sums to be registers, enough that a step's arithmetic
 * takes longer than its loads. VECTOR_FEW: the most rows of one query that a variant computes together. VECTOR_BATCH:
 * the most queries that pass all rows together. */
enum { VECTOR_TILE = 4, VECTOR_FEW = 8, VECTOR_BATCH = 64 };

/* Distances of n rows, at most as many as the variant takes together, 4 or 8; meanwhile the rows `ahead`, as many, are
 * fetched unless it is NULL. */
typedef void vector_few(const void *query, const void *const *row, const void *const *ahead, uint32_t n, uint32_t dims,
                        float *out);
/* Distances of each query with each row, out[q * width + r]. */
typedef void vector_tile(const void *const *query, const void *const *row, uint32_t dims, const uint32_t *query_term,
                         const uint32_t *row_term, float *out, size_t width);
/* What a vector adds to all its distances in tiles, computed once for many; 0 where a tile needs no such thing. */
typedef uint32_t vector_term(const void *vector, uint32_t dims, bool query);

/* What is inlined so that its parameters are constants. With the address sanitizer the compiler chooses: what that adds
 * to each load, as often as all is inlined, took it a minute for one file. */
#if defined(__SANITIZE_ADDRESS__)
#define VECTOR_ALWAYS static inline
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VECTOR_ALWAYS static inline
#endif
#endif
#ifndef VECTOR_ALWAYS
#define VECTOR_ALWAYS static inline __attribute__((always_inline))
#endif

static inline size_t vector_size_of(enum leat_type type, uint32_t dims)
{
    return type == LEAT_F32_VECTOR   ? 4 * (size_t)dims
           : type == LEAT_F16_VECTOR ? 2 * (size_t)dims
           : type == LEAT_BITS       ? dims / 8
                                     : dims;
}

/* Rows that lie anywhere: so many bytes of them are fetched ahead, line by line between the lines that are computed
 * with; more at once than a processor can wait for would stop it. */
enum { VECTOR_AHEAD = 2048 };

VECTOR_ALWAYS void vector_pointers(vector_few *few, uint32_t together, enum leat_type type, const void *query,
                                   const void *const *row, uint32_t n, uint32_t dims, float *out)
{
    uint32_t ahead = together + (uint32_t)(VECTOR_AHEAD / vector_size_of(type, dims + 8)), i = 0;

    for (; i + ahead + together <= n; i += together)
        few(query, row + i, row + i + ahead, together, dims, out + i);
    for (; i < n; i += together)
        few(query, row + i, NULL, n - i < together ? n - i : together, dims, out + i);
}

/* Rows in one piece are read in four streams, a quarter of them each: the processor sees those and fetches ahead
 * itself, what it does not where it meets lines of neighbouring rows in turn. */
enum { VECTOR_STREAMS = 4 };

VECTOR_ALWAYS void vector_strided(vector_few *few, uint32_t together, const void *query, const uint8_t *row,
                                  size_t stride, uint32_t n, uint32_t dims, float *out)
{
    uint32_t beside = together / VECTOR_STREAMS, quarter = n / together * beside;
    const void *pointer[VECTOR_FEW];
    float found[VECTOR_FEW];

    for (uint32_t i = 0; i < quarter; i += beside) {
#pragma GCC unroll 8
        for (uint32_t r = 0; r < together; r++)
            pointer[r] = row + (i + r % beside) * stride + r / beside * (quarter * stride);
        few(query, pointer, NULL, together, dims, found);
#pragma GCC unroll 4
        for (uint32_t s = 0; s < VECTOR_STREAMS; s++)
            memcpy(out + i + s * quarter, found + s * beside, beside * sizeof(*out));
    }
    for (uint32_t i = VECTOR_STREAMS * quarter; i < n; i++) {
        pointer[0] = row + i * stride;
        few(query, pointer, NULL, 1, dims, out + i);
    }
}

/* The tile at a query and a row, whose missing members are others again. */
VECTOR_ALWAYS void vector_edge(vector_tile *tile, const void *const *query, uint32_t queries, const void *const *row,
                               uint32_t rows, uint32_t dims, const uint32_t *query_term, const uint32_t *row_term,
                               float *out, size_t width)
{
    const void *some_query[VECTOR_TILE], *some_row[VECTOR_TILE];
    float all[VECTOR_TILE * VECTOR_TILE];

    for (uint32_t i = 0; i < VECTOR_TILE; i++) {
        some_query[i] = query[i < queries ? i : 0];
        some_row[i] = row[i < rows ? i : 0];
    }
    tile(some_query, some_row, dims, query_term, row_term, all, VECTOR_TILE);
    for (uint32_t q = 0; q < queries && q < VECTOR_TILE; q++)
        memcpy(out + q * width, all + q * VECTOR_TILE, (rows < VECTOR_TILE ? rows : VECTOR_TILE) * sizeof(float));
}

/* All queries of a batch pass each tile of rows, which stays in the first cache as the batch does in the second. */
VECTOR_ALWAYS void vector_batch(vector_tile *tile, vector_term *term, const void *const *query, uint32_t queries,
                                const void *const *row, uint32_t rows, uint32_t dims, float *out, size_t width)
{
    uint32_t query_term[VECTOR_BATCH + VECTOR_TILE] = {0}, row_term[VECTOR_TILE] = {0};

    for (uint32_t q = 0; q < queries; q++)
        query_term[q] = term(query[q], dims, true);
    for (uint32_t r = 0; r < rows; r += VECTOR_TILE) {
        for (uint32_t i = 0; i < VECTOR_TILE && r + i < rows; i++)
            row_term[i] = term(row[r + i], dims, false);
        for (uint32_t q = 0; q < queries; q += VECTOR_TILE) {
            float *to = out + q * width + r;

            if (queries - q >= VECTOR_TILE && rows - r >= VECTOR_TILE)
                tile(query + q, row + r, dims, query_term + q, row_term, to, width);
            else
                vector_edge(tile, query + q, queries - q, row + r, rows - r, dims, query_term + q, row_term, to, width);
        }
    }
}

/* Bytes of queries that stay in the second cache beside the rows. */
enum { VECTOR_CACHED = 256 << 10 };

VECTOR_ALWAYS void vector_block(vector_tile *tile, vector_term *term, enum leat_type type, const void *const *query,
                                uint32_t queries, const void *const *row, uint32_t rows, uint32_t dims, float *out,
                                size_t width)
{
    size_t fit = VECTOR_CACHED / (vector_size_of(type, dims) + 1) / VECTOR_TILE * VECTOR_TILE;
    uint32_t batch = fit > VECTOR_BATCH ? VECTOR_BATCH : fit < VECTOR_TILE ? VECTOR_TILE : (uint32_t)fit;

    for (uint32_t q = 0; q < queries; q += batch)
        vector_batch(tile, term, query + q, queries - q < batch ? queries - q : batch, row, rows, dims, out + q * width,
                     width);
}

/* The functions of one metric and type from the variant's few, tile, term and together. */
#define VECTOR_SHAPES(TARGET, metric, type, name)                                                                      \
    TARGET static void few_##name(const void *query, const void *const *row, const void *const *ahead, uint32_t n,     \
                                  uint32_t dims, float *out)                                                           \
    {                                                                                                                  \
        few(metric, type, query, row, ahead, n, dims, out);                                                            \
    }                                                                                                                  \
    TARGET static void tile_##name(const void *const *query, const void *const *row, uint32_t dims,                    \
                                   const uint32_t *query_term, const uint32_t *row_term, float *out, size_t width)     \
    {                                                                                                                  \
        tile(metric, type, query, row, dims, query_term, row_term, out, width);                                        \
    }                                                                                                                  \
    TARGET static uint32_t term_##name(const void *vector, uint32_t dims, bool query)                                  \
    {                                                                                                                  \
        return term(metric, type, vector, dims, query);                                                                \
    }                                                                                                                  \
    static float one_##name(const void *a, const void *b, uint32_t dims)                                               \
    {                                                                                                                  \
        float out;                                                                                                     \
                                                                                                                       \
        few_##name(a, &b, NULL, 1, dims, &out);                                                                        \
        return out;                                                                                                    \
    }                                                                                                                  \
    static void pointers_##name(const void *query, const void *const *row, uint32_t n, uint32_t dims, float *out)      \
    {                                                                                                                  \
        vector_pointers(few_##name, together(type), type, query, row, n, dims, out);                                   \
    }                                                                                                                  \
    static void strided_##name(const void *query, const void *row, size_t stride, uint32_t n, uint32_t dims,           \
                               float *out)                                                                             \
    {                                                                                                                  \
        vector_strided(few_##name, together(type), query, row, stride, n, dims, out);                                  \
    }                                                                                                                  \
    static void block_##name(const void *const *query, uint32_t queries, const void *const *row, uint32_t rows,        \
                             uint32_t dims, float *out, size_t width)                                                  \
    {                                                                                                                  \
        vector_block(tile_##name, term_##name, type, query, queries, row, rows, dims, out, width);                     \
    }

#define VECTOR_FLOATS(TARGET, type, name)                                                                              \
    TARGET static void floats_##name(const void *row, uint32_t dims, float *out)                                       \
    {                                                                                                                  \
        floats(type, row, dims, out);                                                                                  \
    }

#define VECTOR_VARIANT(TARGET)                                                                                         \
    VECTOR_SHAPES(TARGET, VECTOR_L2, LEAT_F32_VECTOR, l2_f32)                                                          \
    VECTOR_SHAPES(TARGET, VECTOR_L2, LEAT_F16_VECTOR, l2_f16)                                                          \
    VECTOR_SHAPES(TARGET, VECTOR_L2, LEAT_I8_VECTOR, l2_i8)                                                            \
    VECTOR_SHAPES(TARGET, VECTOR_L2, LEAT_U8_VECTOR, l2_u8)                                                            \
    VECTOR_SHAPES(TARGET, VECTOR_L2, LEAT_BITS, l2_bits)                                                               \
    VECTOR_SHAPES(TARGET, VECTOR_DOT, LEAT_F32_VECTOR, dot_f32)                                                        \
    VECTOR_SHAPES(TARGET, VECTOR_DOT, LEAT_F16_VECTOR, dot_f16)                                                        \
    VECTOR_SHAPES(TARGET, VECTOR_DOT, LEAT_I8_VECTOR, dot_i8)                                                          \
    VECTOR_SHAPES(TARGET, VECTOR_DOT, LEAT_U8_VECTOR, dot_u8)                                                          \
    VECTOR_SHAPES(TARGET, VECTOR_DOT, LEAT_BITS, dot_bits)                                                             \
    VECTOR_FLOATS(TARGET, LEAT_F32_VECTOR, f32)                                                                        \
    VECTOR_FLOATS(TARGET, LEAT_F16_VECTOR, f16)                                                                        \
    VECTOR_FLOATS(TARGET, LEAT_I8_VECTOR, i8)                                                                          \
    VECTOR_FLOATS(TARGET, LEAT_U8_VECTOR, u8)                                                                          \
    VECTOR_FLOATS(TARGET, LEAT_BITS, bits)

#define VECTOR_DISTANCE(name)                                                                                          \
    {                                                                                                                  \
        one_##name, pointers_##name, strided_##name, block_##name                                                      \
    }

/* The table of a variant that has all of them. */
#define VECTOR_DISTANCES                                                                                               \
    {                                                                                                                  \
        .of = {[VECTOR_L2] = {[LEAT_F32_VECTOR] = VECTOR_DISTANCE(l2_f32),                                             \
                              [LEAT_F16_VECTOR] = VECTOR_DISTANCE(l2_f16),                                             \
                              [LEAT_I8_VECTOR] = VECTOR_DISTANCE(l2_i8),                                               \
                              [LEAT_U8_VECTOR] = VECTOR_DISTANCE(l2_u8),                                               \
                              [LEAT_BITS] = VECTOR_DISTANCE(l2_bits)},                                                 \
               [VECTOR_DOT] = {[LEAT_F32_VECTOR] = VECTOR_DISTANCE(dot_f32),                                           \
                               [LEAT_F16_VECTOR] = VECTOR_DISTANCE(dot_f16),                                           \
                               [LEAT_I8_VECTOR] = VECTOR_DISTANCE(dot_i8),                                             \
                               [LEAT_U8_VECTOR] = VECTOR_DISTANCE(dot_u8),                                             \
                               [LEAT_BITS] = VECTOR_DISTANCE(dot_bits)},                                               \
               [VECTOR_HAMMING] = {[LEAT_BITS] = VECTOR_DISTANCE(l2_bits)}},                                           \
        .floats = {[LEAT_F32_VECTOR] = floats_f32,                                                                     \
                   [LEAT_F16_VECTOR] = floats_f16,                                                                     \
                   [LEAT_I8_VECTOR] = floats_i8,                                                                       \
                   [LEAT_U8_VECTOR] = floats_u8,                                                                       \
                   [LEAT_BITS] = floats_bits},                                                                         \
    }

#endif
