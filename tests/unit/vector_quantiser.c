/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/vectors.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modules/vector/quantiser.h"

/* Rotations, codes of one bit, blocks and their scans, against double precision and the portable variant. */

static void *room_of(size_t size)
{
    void *room = calloc(1, size);

    assert_non_null(room);
    return room;
}

/* ---- Rotation ---- */

static void rotation_keeps_norms_and_products(void **state)
{
    static const uint32_t dims[] = {1, 3, 7, 64, 65, 100, 128, 200, 384, 784, 960, 1000, 1536, 4100, 8191, 8192};
    float *a = room_of(8192 * sizeof(float)), *b = room_of(8192 * sizeof(float));
    float *x = room_of(8192 * sizeof(float)), *y = room_of(8192 * sizeof(float));

    (void)state;
    for (uint32_t t = 0; t < sizeof(dims) / sizeof(*dims); t++) {
        struct vector_rotation r;

        assert_int_equal(vector_rotation_new(&r, dims[t], t), 0);
        assert_int_equal(r.padded, (dims[t] + 63) / 64 * 64);
        for (uint32_t i = 0; i < dims[t]; i++) {
            a[i] = normal() + 0.5F;
            b[i] = normal() + 0.5F;
        }
        vector_rotate(&r, a, x);
        vector_rotate(&r, b, y);
        double size = sqrt(dot_of(a, a, dims[t]) * dot_of(b, b, dims[t]));
        assert_true(fabs(dot_of(x, x, r.padded) / dot_of(a, a, dims[t]) - 1) < 1e-5);
        assert_true(fabs(dot_of(x, y, r.padded) - dot_of(a, b, dims[t])) < 1e-5 * size);
        vector_rotation_free(&r);
    }
    free(a);
    free(b);
    free(x);
    free(y);
}

/* One dimension's weight is spread over all: no coordinate has many times its share. */
static void rotation_spreads_what_is_in_one_dimension(void **state)
{
    static const uint32_t dims[] = {1, 64, 128, 192, 384, 784, 1000};

    (void)state;
    for (uint32_t t = 0; t < sizeof(dims) / sizeof(*dims); t++)
        for (uint64_t s = 0; s < 20; s++) {
            float in[1024] = {0}, out[1024];
            double most = 0;
            struct vector_rotation r;

            assert_int_equal(vector_rotation_new(&r, dims[t], s), 0);
            in[below(dims[t])] = 1;
            vector_rotate(&r, in, out);
            for (uint32_t i = 0; i < r.padded; i++)
                most = fmax(most, fabs((double)out[i]));
            assert_true(most < 10 / sqrt(r.padded));
            vector_rotation_free(&r);
        }
}

/* In place, from a seed, and in every variant: the same bits. */
static void rotations_are_the_same_everywhere(void **state)
{
    static const uint32_t dims[] = {1, 64, 128, 200, 256, 500, 784, 1024, 3000, 8192};
    float *in = room_of(8192 * sizeof(float)), *one = room_of(8192 * sizeof(float));
    float *two = room_of(8192 * sizeof(float));
    uint32_t variants;
    const struct vector_quantiser *const *all = vector_quantisers(&variants);

    (void)state;
    for (uint32_t t = 0; t < sizeof(dims) / sizeof(*dims); t++)
        for (uint32_t v = 0; v < variants; v++) {
            struct vector_rotation r, again;

            assert_int_equal(vector_rotation_new(&r, dims[t], 5), 0);
            assert_int_equal(vector_rotation_new(&again, dims[t], 5), 0);
            for (uint32_t i = 0; i < dims[t]; i++)
                in[i] = two[i] = normal();
            vector_rotate_by(all[0], &r, in, one);
            vector_rotate_by(all[v], &again, two, two);
            assert_memory_equal(one, two, r.padded * sizeof(float));
            vector_rotation_free(&r);
            vector_rotation_free(&again);
        }
    free(in);
    free(one);
    free(two);
}

/* ---- Codes ---- */

struct pair {
    double estimate, exact, bound;
};

/* What a scan of one row says, beside what is so. Vectors are in rotated dimensions. */
static struct pair judge(enum vector_metric metric, const float *row, const float *centroid, const float *query,
                         uint32_t padded)
{
    uint8_t *table = room_of(4 * (size_t)padded), *code = room_of(padded / 8),
            *block = room_of(vector_block_size(padded));
    struct vector_factors factors;
    struct vector_query q;
    float estimate[VECTOR_BLOCK], lower[VECTOR_BLOCK];
    uint32_t mask, live = 1U << 17;
    bool l2 = metric == VECTOR_L2;
    double apart = square_of(query, centroid, padded), product = dot_of(query, centroid, padded);

    vector_query_begin(&q, query, padded, VECTOR_EPSILON, table);
    vector_encode(metric, row, centroid, padded, code, &factors);
    assert_true(factors.scale <= 0 && factors.error >= 0);
    assert_true(isfinite(factors.add) && isfinite(factors.scale) && isfinite(factors.error));
    vector_block_put(block, padded, 17, code, &factors);
    struct vector_scan s = {.query = &q, .base = (float)(l2 ? apart : -product), .distance = (float)sqrt(apart),
                            .threshold = INFINITY, .blocks = block, .count = 1, .live = &live, .mask = &mask,
                            .estimate = estimate, .lower = lower};
    assert_int_equal(vector_scan(&s), 1);
    assert_int_equal(mask, live);
    for (uint32_t i = 0; i < VECTOR_BLOCK; i++)
        assert_false(isnan(estimate[i] - estimate[i]) || isnan(lower[i] - lower[i]));
    free(table);
    free(code);
    free(block);
    return (struct pair){(double)estimate[17], l2 ? square_of(query, row, padded) : -dot_of(query, row, padded),
                         (double)lower[17]};
}

/* Codes and factors in every variant: the same bits. */
static void codes_are_the_same_everywhere(void **state)
{
    uint32_t variants;
    const struct vector_quantiser *const *all = vector_quantisers(&variants);

    (void)state;
    for (uint32_t padded = 64; padded <= 8192; padded += padded < 1024 ? 64 : 1024) {
        uint8_t *row = room_of(padded * sizeof(float) + 1), *centroid = room_of(padded * sizeof(float) + 1);
        uint8_t *one = room_of(padded / 8), *two = room_of(padded / 8);

        for (uint32_t i = 0; i < padded; i++) {
            float at[2] = {normal(), below(9) == 0 ? 0 : normal() * 100};

            memcpy(centroid + 1 + i * sizeof(float), &at[1], sizeof(float));
            memcpy(row + 1 + i * sizeof(float), &at[below(9) == 0], sizeof(float));
        }
        for (uint32_t v = 0; v < variants; v++) {
            struct vector_factors a, b;

            vector_encode_by(all[0], VECTOR_L2, row + 1, centroid + 1, padded, one, &a);
            vector_encode_by(all[v], VECTOR_L2, row + 1, centroid + 1, padded, two, &b);
            assert_memory_equal(one, two, padded / 8);
            assert_memory_equal(&a, &b, sizeof(a));
        }
        for (uint32_t i = 0; i < padded; i++) {
            float at[2];

            memcpy(&at[0], row + 1 + i * sizeof(float), sizeof(float));
            memcpy(&at[1], centroid + 1 + i * sizeof(float), sizeof(float));
            assert_int_equal(one[i / 8] >> i % 8 & 1, at[0] > at[1]);
        }
        free(row);
        free(centroid);
        free(one);
        free(two);
    }
}

/* Rows around a centroid, queries somewhat further; dims of weight that falls off, then rotated. */
static void fill(const struct vector_rotation *r, float *out, const float *around, float spread, float falls)
{
    float raw[VECTOR_ROTATED_MAX];

    for (uint32_t i = 0; i < r->dims; i++)
        raw[i] = normal() * spread / (1 + falls * (float)i / (float)r->dims);
    vector_rotate(r, raw, out);
    for (uint32_t i = 0; around != NULL && i < r->padded; i++)
        out[i] += around[i];
}

static void estimates_are_right_on_average_and_bounds_hold(void **state)
{
    static const uint32_t dims[] = {1, 3, 7, 20, 64, 100, 128, 384, 784, 2000, 8192};
    float *row = room_of(8192 * sizeof(float)), *centroid = room_of(8192 * sizeof(float));
    float *query = room_of(8192 * sizeof(float));

    (void)state;
    for (int metric = VECTOR_L2; metric <= VECTOR_DOT; metric++)
        for (uint32_t t = 0; t < sizeof(dims) / sizeof(*dims); t++) {
            uint32_t rounds = dims[t] > 2000 ? 100 : 2000, violations = 0;
            double off = 0, squares = 0;

            for (uint32_t i = 0; i < rounds; i++) {
                struct vector_rotation r;

                assert_int_equal(vector_rotation_new(&r, dims[t], i), 0);
                fill(&r, centroid, NULL, 3, 2);
                fill(&r, row, centroid, 1, 2);
                fill(&r, query, centroid, 1.5F, 2);
                struct pair p = judge((enum vector_metric)metric, row, centroid, query, r.padded);
                double unit = sqrt(square_of(row, centroid, r.padded) * square_of(query, centroid, r.padded));
                double error = (p.estimate - p.exact) / unit;
                off += error;
                squares += error * error;
                violations += p.bound > p.exact;
                vector_rotation_free(&r);
            }
            double deviation = sqrt(squares / rounds);
            print_message("%s, %u dimensions: mean error %.4f, deviation %.4f, violated %.3f %%\n",
                          metric == VECTOR_L2 ? "l2" : "dot", dims[t], off / rounds, deviation,
                          100.0 * violations / rounds);
            assert_true(fabs(off / rounds) < 4 * deviation / sqrt(rounds) + 1e-6);
            assert_true(violations <= 0.03 * rounds + 5 * sqrt(0.03 * rounds)); /* 0.029 are beyond 1.9 deviations */
        }
    free(row);
    free(centroid);
    free(query);
}

/* What a block's factors say of its rows' distances is so, at any length. */
static void distances_from_centroids_are_known(void **state)
{
    enum { PADDED = 128 };
    uint8_t *block = room_of(vector_block_size(PADDED)), code[PADDED / 8];
    float row[PADDED], centroid[PADDED];

    (void)state;
    memset(block, 0, vector_block_size(PADDED));
    for (int metric = VECTOR_L2; metric <= VECTOR_DOT; metric++)
        for (uint32_t round = 0; round < 400; round++) {
            enum vector_metric by = (enum vector_metric)metric;
            float unit = powf(10, (float)(round % 12) - 6);
            struct vector_factors factors;

            for (uint32_t i = 0; i < PADDED; i++) {
                centroid[i] = unit * normal();
                row[i] = centroid[i] + unit * normal() * (float)(1 + round % 3);
            }
            vector_encode(by, row, centroid, PADDED, code, &factors);
            vector_block_put(block, PADDED, round % VECTOR_BLOCK, code, &factors);
            double is = square_of(row, centroid, PADDED);
            assert_true(fabs((double)vector_block_square(by, block, PADDED, round % VECTOR_BLOCK) / is - 1) < 1e-3);
        }
    free(block);
}

/* ---- Blocks and scans ---- */

static void fill_bytes(uint8_t *to, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)below(256);
}

static void blocks_keep_what_is_put_into_them(void **state)
{
    (void)state;
    for (uint32_t padded = 64; padded <= 1024; padded += 192) {
        uint32_t code_size = vector_code_size(padded, 1);
        uint8_t *codes = room_of((size_t)VECTOR_BLOCK * code_size), *found = room_of(code_size);
        uint8_t *block = room_of(vector_block_size(padded) + 1);
        struct vector_factors factors[VECTOR_BLOCK], factor;

        fill_bytes(codes, (size_t)VECTOR_BLOCK * code_size);
        fill_bytes(block, vector_block_size(padded) + 1);
        for (uint32_t i = 0; i < VECTOR_BLOCK; i++) {
            uint32_t lane = i * 7 % VECTOR_BLOCK;

            factors[lane] = (struct vector_factors){normal(), normal(), normal()};
            vector_block_put(block + 1, padded, lane, codes + (size_t)lane * code_size, &factors[lane]);
        }
        for (uint32_t lane = 0; lane < VECTOR_BLOCK; lane++) {
            vector_block_get(block + 1, padded, lane, found, &factor);
            assert_memory_equal(found, codes + (size_t)lane * code_size, code_size);
            assert_memory_equal(&factor, &factors[lane], sizeof(factor));
        }
        free(codes);
        free(found);
        free(block);
    }
}

/* Sums, from the codes themselves. */
static void sums_are_those_of_the_rows(void **state)
{
    static const uint32_t shapes[] = {64, 128, 192, 384, 832, 960, 1024, 1088, 2048, 2112, 8192};
    uint32_t variants;
    const struct vector_quantiser *const *all = vector_quantisers(&variants);

    (void)state;
    assert_true(variants >= 1);
    for (uint32_t t = 0; t < sizeof(shapes) / sizeof(*shapes); t++)
        for (uint32_t full = 0; full < 2; full++) { /* the largest sums there may be */
            uint32_t padded = shapes[t], code_size = vector_code_size(padded, 1), sum[VECTOR_BLOCK];
            size_t off = below(64);
            uint8_t *block = room_of(vector_block_size(padded) + off), *table = room_of(4 * (size_t)padded + off);
            uint8_t *code = room_of(code_size);
            struct vector_factors factors;

            fill_bytes(block + off, vector_block_size(padded));
            fill_bytes(table + off, 4 * (size_t)padded);
            if (full == 1)
                memset(table + off, 255, 4 * (size_t)padded);
            for (uint32_t v = 0; v < variants; v++) {
                all[v]->sums(block + off, table + off, padded, sum);
                for (uint32_t lane = 0; lane < VECTOR_BLOCK; lane++) {
                    uint32_t expected = 0;

                    vector_block_get(block + off, padded, lane, code, &factors);
                    for (uint32_t i = 0; i < padded / 4; i++)
                        expected += table[off + (size_t)i * 16 + (code[i / 2] >> i % 2 * 4 & 15)];
                    assert_int_equal(sum[lane], expected);
                }
            }
            free(block);
            free(table);
            free(code);
        }
}

static void tables_are_the_same_everywhere(void **state)
{
    uint32_t variants;
    const struct vector_quantiser *const *all = vector_quantisers(&variants);
    float query[1024];
    uint8_t one[4 * 1024], two[4 * 1024];

    (void)state;
    for (uint32_t round = 0; round < 200; round++) {
        uint32_t padded = 64 * (1 + below(16));

        for (uint32_t i = 0; i < padded; i++)
            query[i] = normal();
        all[0]->table(query, padded, 5, one);
        for (uint32_t v = 1; v < variants; v++) {
            all[v]->table(query, padded, 5, two);
            assert_memory_equal(one, two, 4 * (size_t)padded);
        }
    }
}

enum { BLOCKS = 9, WIDEST = 1152 };

struct found {
    uint32_t count, mask[BLOCKS];
    float estimate[BLOCKS * VECTOR_BLOCK], lower[BLOCKS * VECTOR_BLOCK];
};

/* The same, but where a bound is within rounding of the threshold. */
static void compare(const struct vector_scan *s, const struct found *a, const struct found *b, double size)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < s->count * VECTOR_BLOCK; i++) {
        uint32_t block = i / VECTOR_BLOCK, bit = 1U << i % VECTOR_BLOCK;

        if (((a->mask[block] ^ b->mask[block]) & bit) != 0)
            assert_true(fabs((double)a->lower[i] - (double)s->threshold) < 1e-4 * size);
        if (a->mask[block] == 0 || b->mask[block] == 0)
            continue;
        assert_true(fabs((double)a->lower[i] - (double)b->lower[i]) < 1e-4 * size);
        assert_true(s->estimate == NULL || fabs((double)a->estimate[i] - (double)b->estimate[i]) < 1e-4 * size);
    }
    for (uint32_t i = 0; i < s->count; i++) {
        count += (uint32_t)__builtin_popcount(b->mask[i]);
        assert_true(s->live == NULL || (b->mask[i] & ~s->live[i]) == 0);
    }
    assert_int_equal(b->count, count);
}

/* Random rows around a centroid in blocks at any alignment. */
static void fill_blocks(uint8_t *blocks, uint32_t padded, const float *centroid)
{
    float row[WIDEST];
    uint8_t code[WIDEST / 8];
    struct vector_factors factors;

    for (uint32_t i = 0; i < BLOCKS * VECTOR_BLOCK; i++) {
        for (uint32_t j = 0; j < padded; j++)
            row[j] = centroid[j] + normal();
        vector_encode(VECTOR_L2, row, centroid, padded, code, &factors);
        vector_block_put(blocks + (size_t)(i / VECTOR_BLOCK) * vector_block_size(padded), padded, i % VECTOR_BLOCK,
                         code, &factors);
    }
}

static void scans_agree(void **state)
{
    uint32_t variants;
    const struct vector_quantiser *const *all = vector_quantisers(&variants);
    uint8_t *room = room_of(BLOCKS * vector_block_size(WIDEST) + 64), *table = room_of(4 * (size_t)WIDEST + 64);
    struct found *one = room_of(sizeof(*one)), *two = room_of(sizeof(*two));

    (void)state;
    for (uint32_t round = 0; round < 60; round++) {
        uint32_t padded = 64 * (1 + below(WIDEST / 64)), live[BLOCKS];
        uint8_t *blocks = room + below(64);
        float centroid[WIDEST], query[WIDEST];
        struct vector_query q;

        for (uint32_t i = 0; i < padded; i++) {
            centroid[i] = normal();
            query[i] = centroid[i] + normal();
        }
        for (uint32_t i = 0; i < BLOCKS; i++)
            live[i] = below(3) == 0 ? 0 : below(1U << 31) * 2 + below(2);
        fill_blocks(blocks, padded, centroid);
        vector_query_begin(&q, query, padded, VECTOR_EPSILON, table + below(64));
        double apart = square_of(query, centroid, padded), size = 4 * apart;
        struct vector_scan s = {.query = &q, .base = (float)apart, .distance = (float)sqrt(apart), .blocks = blocks,
                                .count = below(BLOCKS + 1), .live = below(2) == 0 ? NULL : live,
                                .ahead = below(4) == 0 ? NULL : room,
                                .ahead_count = below(BLOCKS), .mask = one->mask,
                                .estimate = below(4) == 0 ? NULL : one->estimate, .lower = one->lower,
                                .threshold = below(5) == 0 ? INFINITY : (float)(apart * (0.5 + 0.25 * below(8)))};
        one->count = all[0]->scan(&s);
        assert_true(one->count <= s.count * VECTOR_BLOCK);
        for (uint32_t v = 0; v < variants; v++) {
            struct vector_scan other = s;

            other.mask = two->mask;
            other.estimate = s.estimate == NULL ? NULL : two->estimate;
            other.lower = two->lower;
            two->count = all[v]->scan(&other);
            compare(&s, one, two, size);
        }
    }
    free(room);
    free(table);
    free(one);
    free(two);
}

/* ---- What is out of the ordinary ---- */

static void a_row_that_is_its_centroid_is_found_exactly(void **state)
{
    float *centroid = room_of(8192 * sizeof(float)), *query = room_of(8192 * sizeof(float));

    (void)state;
    for (uint32_t padded = 64; padded <= 8192; padded *= 2) {
        for (uint32_t i = 0; i < padded; i++) {
            centroid[i] = normal();
            query[i] = normal();
        }
        struct pair l2 = judge(VECTOR_L2, centroid, centroid, query, padded);
        struct pair dot = judge(VECTOR_DOT, centroid, centroid, query, padded);
        assert_true(l2.estimate == (double)(float)l2.exact && l2.bound == l2.estimate);
        assert_true(dot.estimate == (double)(float)dot.exact && dot.bound == dot.estimate);
    }
    free(centroid);
    free(query);
}

/* From denormals to the largest floats: bounds hold, and nothing is NaN (judge looks). */
static void numbers_of_any_size_are_bounded(void **state)
{
    static const float sizes[] = {1e-45F, 1e-40F, 1e-38F, 1e-30F, 1e-20F, 1e-10F, 1, 1e10F, 1e18F, 1e20F, 1e30F, 1e37F,
                                  3e38F};
    enum { SIZES = sizeof(sizes) / sizeof(*sizes), PADDED = 128 };
    uint32_t rounds = 0, violations = 0;

    (void)state;
    for (uint32_t t = 0; t < SIZES * SIZES * SIZES; t++)
        for (int metric = VECTOR_L2; metric <= VECTOR_DOT; metric++) {
            float size[3] = {sizes[t % SIZES], sizes[t / SIZES % SIZES], sizes[t / SIZES / SIZES]};
            float v[3][PADDED];

            for (uint32_t i = 0; i < 3 * PADDED; i++)
                v[i / PADDED][i % PADDED] = normal() / 6 * size[i / PADDED];
            struct pair p = judge((enum vector_metric)metric, v[0], v[1], v[2], PADDED);
            rounds++;
            double exact = fmin(fmax((float)p.exact, -FLT_MAX), FLT_MAX);
            violations += p.bound > exact + 1e-5 * fabs(exact);
        }
    print_message("%u of %u bounds violated\n", violations, rounds);
    assert_true(violations <= rounds / 20);
}

static void what_is_not_a_number_passes(void **state)
{
    enum { PADDED = 128 };
    uint32_t variants, mask;
    const struct vector_quantiser *const *all = vector_quantisers(&variants);
    uint8_t table[4 * PADDED], code[PADDED / 8], block[PADDED * 4 + 384] = {0};
    float row[PADDED], zero[PADDED] = {0}, estimate[VECTOR_BLOCK], lower[VECTOR_BLOCK];
    static const float odd[] = {NAN, INFINITY, -INFINITY};
    struct vector_query q;

    (void)state;
    for (uint32_t t = 0; t < 9; t++) {
        for (uint32_t i = 0; i < PADDED; i++)
            row[i] = normal();
        struct vector_factors factors;

        vector_encode(VECTOR_L2, row, zero, PADDED, code, &factors);
        memset(block, 0, vector_block_size(PADDED));
        vector_block_put(block, PADDED, 0, code, &factors);
        row[t] = t < 6 ? odd[t % 3] : row[t];
        vector_query_begin(&q, row, PADDED, VECTOR_EPSILON, table);
        float far = t % 3 == 0 ? NAN : INFINITY;
        struct vector_scan s = {.query = &q, .base = t < 3 ? 1 : far, .distance = t < 3 ? 1 : far, .threshold = 100,
                                .blocks = block, .count = 1, .mask = &mask, .estimate = estimate, .lower = lower};
        for (uint32_t v = 0; v < variants; v++) {
            assert_true(all[v]->scan(&s) >= 1);
            assert_true((mask & 1) != 0);
            for (uint32_t i = 0; i < VECTOR_BLOCK; i++)
                assert_false(isnan(estimate[i] - estimate[i]) || isnan(lower[i] - lower[i]));
        }
    }
}

/* Values are few, so that they often are a bound themselves. */
static void values_between_bounds_are_found_in_every_variant(void **state)
{
    enum { MOST = 40, MARK = 0x5a5a5a5a };
    float *value = room_of(MOST * VECTOR_BLOCK * sizeof(float)), number[6] = {-INFINITY, -1, 0, 1, FLT_MAX, INFINITY};
    uint32_t variants;
    const struct vector_quantiser *const *all = vector_quantisers(&variants);

    (void)state;
    for (int round = 0; round < 300; round++) {
        uint32_t blocks = below(MOST + 1), stride = 1 + below(5), low = below(6), high = low + below(6 - low);
        uint32_t wanted[MOST], count = 0, mask[MOST];

        for (uint32_t i = 0; i < MOST * VECTOR_BLOCK; i++)
            value[i] = below(3) == 0 ? normal() : number[below(6)];
        for (uint32_t b = 0; b < MOST; b++) {
            wanted[b] = b < blocks && b % stride == 0 ? 0 : MARK;
            for (uint32_t i = 0; i < VECTOR_BLOCK && wanted[b] != MARK; i++) {
                float v = value[b * VECTOR_BLOCK + i];
                bool in = v > number[low] && v <= number[high];

                wanted[b] |= (uint32_t)in << i;
                count += in;
            }
        }
        for (uint32_t v = 0; v < variants; v++) {
            for (uint32_t b = 0; b < MOST; b++)
                mask[b] = MARK;
            assert_int_equal(all[v]->between(value, blocks, stride, number[low], number[high], mask), count);
            assert_memory_equal(mask, wanted, sizeof(mask));
        }
    }
    free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotation_keeps_norms_and_products),
        cmocka_unit_test(rotation_spreads_what_is_in_one_dimension),
        cmocka_unit_test(rotations_are_the_same_everywhere),
        cmocka_unit_test(codes_are_the_same_everywhere),
        cmocka_unit_test(estimates_are_right_on_average_and_bounds_hold),
        cmocka_unit_test(distances_from_centroids_are_known),
        cmocka_unit_test(blocks_keep_what_is_put_into_them),
        cmocka_unit_test(sums_are_those_of_the_rows),
        cmocka_unit_test(tables_are_the_same_everywhere),
        cmocka_unit_test(scans_agree),
        cmocka_unit_test(a_row_that_is_its_centroid_is_found_exactly),
        cmocka_unit_test(numbers_of_any_size_are_bounded),
        cmocka_unit_test(what_is_not_a_number_passes),
        cmocka_unit_test(values_between_bounds_are_found_in_every_variant),
    };

    draw_from(20261121);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
