/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modules/vector/quantiser.h"

/* Rotations, codes of one bit, blocks and their scans, against double precision and the portable variant. */

static uint64_t seed = 20261121;

static uint32_t below(uint32_t bound)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(seed >> 33) % bound;
}

/* Normal enough: a sum of uniform ones, variance 1. */
static float normal(void)
{
    double sum = 0;

    for (int i = 0; i < 12; i++)
        sum += below(1U << 20) / 1048576.0;
    return (float)(sum - 6);
}

static void *room_of(size_t size)
{
    void *room = calloc(1, size);

    assert_non_null(room);
    return room;
}

static double dot_of(const float *a, const float *b, uint32_t dims)
{
    double sum = 0;

    for (uint32_t i = 0; i < dims; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static double square_of(const float *a, const float *b, uint32_t dims)
{
    double sum = 0;

    for (uint32_t i = 0; i < dims; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum;
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
    uint8_t *table = room_of(4 * (size_t)padded), *code = room_of(padded / 8), *block = room_of(vector_block_size(padded));
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
        assert_false(isnan(estimate[i]) || isnan(lower[i]));
    free(table);
    free(code);
    free(block);
    return (struct pair){(double)estimate[17], l2 ? square_of(query, row, padded) : -dot_of(query, row, padded),
                         (double)lower[17]};
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
            assert_true(violations <= rounds / 20);
        }
    free(row);
    free(centroid);
    free(query);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotation_keeps_norms_and_products),
        cmocka_unit_test(rotation_spreads_what_is_in_one_dimension),
        cmocka_unit_test(rotations_are_the_same_everywhere),
        cmocka_unit_test(estimates_are_right_on_average_and_bounds_hold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
