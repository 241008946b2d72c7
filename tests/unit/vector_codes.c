/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/vectors.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modules/vector/quantiser.h"

/* Codes of 4 and 8 bits and scalars of 8, against double precision. */

enum { MOST = 1100 };

/* ---- Kernels ---- */

static double number_of(const uint8_t *code, uint32_t bits, uint32_t i)
{
    return bits == 8 ? code[i] - 127.5 : (code[i / 32 * 16 + i % 16] >> i % 32 / 16 * 4 & 15) - 7.5;
}

static void products_agree(void **state)
{
    uint32_t variants;
    const struct vector_quantiser *const *all = vector_quantisers(&variants);
    uint8_t *room = malloc(MOST + 64);
    float query[MOST];

    (void)state;
    for (uint32_t round = 0; round < 300; round++) {
        uint32_t padded = 64 * (1 + below(MOST / 64));
        uint8_t *code = room + below(64);

        for (uint32_t i = 0; i < padded; i++) {
            query[i] = normal();
            code[i] = (uint8_t)below(256);
        }
        for (uint32_t bits = 4; bits <= 8; bits += 4) {
            const uint8_t *codes[] = {code};
            double expected = 0, slack = 1e-6 * padded * (bits == 8 ? 128 : 8);
            float out;

            for (uint32_t i = 0; i < padded; i++)
                expected += (double)query[i] * number_of(code, bits, i);
            for (uint32_t v = 0; v < variants; v++) {
                out = bits == 8 ? all[v]->product8(query, code, padded) : all[v]->product4(query, code, padded);
                assert_true(fabs((double)out - expected) < slack);
            }
            vector_code_products(bits, query, codes, 1, padded, &out);
            assert_true(fabs((double)out - expected) < slack);
        }
    }
    free(room);
}

/* Codes of the exact size, so that a sanitizer sees what reads beyond. */
static void scalars_agree(void **state)
{
    uint32_t variants;
    const struct vector_quantiser *const *all = vector_quantisers(&variants);

    (void)state;
    for (uint32_t round = 0; round < 300; round++) {
        uint32_t dims = round < 100 ? round + 1 : 1 + below(MOST);
        float *query = malloc(dims * sizeof(float));
        uint8_t *code = malloc(dims);
        struct vector_scalars s = {normal(), 0.01F, 0};
        double square = 0, product = 0;

        for (uint32_t i = 0; i < dims; i++) {
            query[i] = normal();
            code[i] = (uint8_t)below(256);
            double value = (double)s.least + (double)s.step * code[i];
            square += ((double)query[i] - value) * ((double)query[i] - value);
            product += (double)query[i] * value;
        }
        for (uint32_t v = 0; v < variants; v++) {
            assert_true(fabs((double)all[v]->scalars_l2(query, code, s, dims) - square) < 1e-5 * dims);
            assert_true(fabs((double)all[v]->scalars_dot(query, code, s, dims) - product) < 1e-5 * dims);
        }
        free(query);
        free(code);
    }
}

/* ---- Scalars ---- */

static void scalars_are_within_their_error(void **state)
{
    static const float sizes[] = {1e-42F, 1e-30F, 1, 1000, 1e15F};

    (void)state;
    for (uint32_t round = 0; round < 500; round++) {
        uint32_t dims = round < 20 ? round + 1 : 1 + below(MOST);
        float row[MOST], query[MOST], out[2], size = sizes[round % 5], off = (float)below(3) * size;
        uint8_t code[MOST];
        const uint8_t *codes[] = {code};
        struct vector_scalars s;

        for (uint32_t i = 0; i < dims; i++) {
            row[i] = normal() * size + off;
            query[i] = normal() * size + off;
        }
        vector_scalars_encode(row, dims, code, &s);
        assert_true(size < 1e-38F || (double)s.error <= 0.51 * (double)s.step * sqrt(dims) + 1e-6 * (double)size);
        vector_scalars_distances(VECTOR_L2, query, codes, &s, 1, dims, &out[0]);
        vector_scalars_distances(VECTOR_DOT, query, codes, &s, 1, dims, &out[1]);
        double length = sqrt(dot_of(query, query, dims)), reach = length + sqrt(dot_of(row, row, dims));
        double exact = sqrt(square_of(query, row, dims));
        assert_true(fabs(sqrt((double)out[0]) - exact) <= (double)s.error + 1e-5 * reach + 1e-19);
        assert_true(fabs((double)out[1] + dot_of(query, row, dims)) <=
                    (double)s.error * length + 1e-5 * reach * length + 1e-38);
    }
}

static void a_row_of_one_value_has_no_error(void **state)
{
    float row[7] = {2.5F, 2.5F, 2.5F, 2.5F, 2.5F, 2.5F, 2.5F}, query[7] = {0}, out;
    uint8_t code[7];
    const uint8_t *codes[] = {code};
    struct vector_scalars s;

    (void)state;
    vector_scalars_encode(row, 7, code, &s);
    assert_true(s.least == 2.5F && s.step == 0 && s.error == 0);
    vector_scalars_distances(VECTOR_L2, query, codes, &s, 1, 7, &out);
    assert_true(out == 7 * 6.25F);
}

/* ---- Codes ---- */

struct pair {
    double estimate, exact, bound;
};

static struct pair judge(enum vector_metric metric, uint32_t bits, const float *row, const float *centroid,
                         const float *query, uint32_t padded)
{
    uint8_t code[VECTOR_ROTATED_MAX];
    const uint8_t *codes[] = {code};
    struct vector_factors f;
    float product;
    bool l2 = metric == VECTOR_L2;
    double apart = square_of(query, centroid, padded);

    vector_encode_bits(metric, bits, row, centroid, padded, code, &f);
    vector_code_products(bits, query, codes, 1, padded, &product);
    assert_true(f.scale <= 0 && f.error >= 0 && isfinite(f.add) && isfinite(f.scale) && isfinite(f.error));
    double estimate = (l2 ? apart : -dot_of(query, centroid, padded)) + (double)f.add + (double)(f.scale * product);
    return (struct pair){estimate, l2 ? square_of(query, row, padded) : -dot_of(query, row, padded),
                         estimate - (double)VECTOR_EPSILON * sqrt(apart) * (double)f.error};
}

static void around(const struct vector_rotation *r, const float *centroid, float spread, float *out)
{
    float raw[VECTOR_ROTATED_MAX];

    for (uint32_t i = 0; i < r->dims; i++)
        raw[i] = normal() * spread / (1 + 2 * (float)i / (float)r->dims);
    vector_rotate(r, raw, out);
    for (uint32_t i = 0; centroid != NULL && i < r->padded; i++)
        out[i] += centroid[i];
}

static void estimates_are_right_on_average_and_bounds_hold(void **state)
{
    static const uint32_t dims[] = {1, 3, 7, 64, 128, 784, 8192};
    static float row[VECTOR_ROTATED_MAX], centroid[VECTOR_ROTATED_MAX], query[VECTOR_ROTATED_MAX];

    (void)state;
    for (uint32_t bits = 4; bits <= 8; bits += 4)
        for (uint32_t t = 0; t < 2 * sizeof(dims) / sizeof(*dims); t++) {
            uint32_t d = dims[t / 2], rounds = d > 1000 ? 50 : 1000, violations = 0;
            enum vector_metric metric = t % 2 == 0 ? VECTOR_L2 : VECTOR_DOT;
            double off = 0, squares = 0;

            for (uint32_t i = 0; i < rounds; i++) {
                struct vector_rotation r;

                assert_int_equal(vector_rotation_new(&r, d, i), 0);
                around(&r, NULL, 1, centroid);
                around(&r, centroid, 1, row);
                around(&r, centroid, 1.5F, query);
                struct pair p = judge(metric, bits, row, centroid, query, r.padded);
                double scale = dot_of(centroid, centroid, r.padded) + square_of(row, centroid, r.padded) +
                               square_of(query, centroid, r.padded);
                double error = (p.estimate - p.exact) / scale;
                off += error;
                squares += error * error;
                violations += p.bound > p.exact + 2e-6 * scale;
                vector_rotation_free(&r);
            }
            double deviation = sqrt(squares / rounds);
            print_message("%u bits, %s, %u dimensions: mean error %.6f, deviation %.6f, violated %.2f %%\n", bits,
                          metric == VECTOR_L2 ? "l2" : "dot", d, off / rounds, deviation, 100.0 * violations / rounds);
            assert_true(fabs(off / rounds) < 5 * deviation / sqrt(rounds) + 1e-6);
            assert_true(deviation < (bits == 4 ? 0.2 : 0.015) / sqrt(64 * ((d + 63) / 64)));
            assert_true(violations <= 0.03 * rounds + 5 * sqrt(0.03 * rounds));
        }
}

/* The best scale of a fine search loses no more than a few hundredths of what few scales lose. */
static void few_scales_are_enough(void **state)
{
    enum { PADDED = 128 };

    (void)state;
    for (uint32_t round = 0; round < 100; round++) {
        float row[PADDED], zero[PADDED] = {0};
        uint8_t code[PADDED];
        struct vector_factors f;
        double best = 1, squares, by;

        for (uint32_t i = 0; i < PADDED; i++)
            row[i] = normal();
        squares = dot_of(row, row, PADDED);
        for (double scale = 1; scale < 5; scale += 0.005) {
            double product = 0, length = 0;

            for (uint32_t i = 0; i < PADDED; i++) {
                double x = floor(fmin(fmax((double)row[i] * scale, -8), 7)) + 0.5;

                product += (double)row[i] * x;
                length += x * x;
            }
            best = fmin(best, squares * length / product / product - 1);
        }
        vector_encode_bits(VECTOR_DOT, 4, row, zero, PADDED, code, &f);
        by = (double)f.error * (double)f.error * (PADDED - 1) / squares;
        assert_true(by >= best * 0.9999 && by < best * 1.25);
    }
}

static void odd_rows_are_encoded(void **state)
{
    enum { PADDED = 64 };
    static const float sizes[] = {0, 1e-45F, 1e-38F, 1e-10F, 1, 1e10F, 1e18F, 1e25F, 3e38F};

    (void)state;
    for (uint32_t t = 0; t < 9 * 9; t++)
        for (uint32_t bits = 4; bits <= 8; bits += 4) {
            float row[PADDED], centroid[PADDED];

            for (uint32_t i = 0; i < PADDED; i++) {
                row[i] = normal() / 6 * sizes[t % 9];
                centroid[i] = normal() / 6 * sizes[t / 9];
            }
            judge(VECTOR_L2, bits, row, centroid, row, PADDED);
            struct pair same = judge(VECTOR_DOT, bits, centroid, centroid, row, PADDED);
            assert_true(same.estimate == same.exact && same.bound == same.exact);
        }
}

/* Sums that are infinite, or no numbers: the estimate is still one, the least there is; and of a row that is its
 * centroid, which needs no product, it is exact. */
static void products_beyond_floats_let_rows_pass(void **state)
{
    enum { PADDED = 64 };

    (void)state;
    for (uint32_t t = 0; t < 64; t++)
        for (uint32_t bits = 4; bits <= 8; bits += 4) {
            float query[PADDED], centroid[PADDED], out;
            uint8_t code[PADDED];
            const uint8_t *codes[] = {code};

            for (uint32_t i = 0; i < PADDED; i++) {
                query[i] = (i >> t % 8 & 1) != 0 ? -3e38F : 3e38F;
                code[i] = t < 8 || below(2) == 0 ? 255 : 0;
                centroid[i] = normal();
            }
            vector_code_products(bits, query, codes, 1, PADDED, &out);
            assert_true(out == FLT_MAX);
            struct pair same = judge(VECTOR_DOT, bits, centroid, centroid, query, PADDED);
            assert_true(same.estimate == same.exact && same.bound == same.exact);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_agree),
        cmocka_unit_test(scalars_agree),
        cmocka_unit_test(scalars_are_within_their_error),
        cmocka_unit_test(a_row_of_one_value_has_no_error),
        cmocka_unit_test(estimates_are_right_on_average_and_bounds_hold),
        cmocka_unit_test(few_scales_are_enough),
        cmocka_unit_test(odd_rows_are_encoded),
        cmocka_unit_test(products_beyond_floats_let_rows_pass),
    };

    draw_from(20261121);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
