/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/codes.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- Codes of more bits: arXiv 2409.09913, section 3. The best of some scales takes the place of its search through
 * all of them: what is lost by that is a thousandth part of the error ---- */

struct fit {
    double scale;   /* of the residual, to whole steps of the grid */
    double product; /* of the residual with its code's vector */
    double squares; /* of that vector */
};

/* The middle of the step of the grid that x falls into; half: of all steps. */
static double grid(double x, double half)
{
    double limited = fmin(fmax(x, -half), half - 1);

    return floor(limited) + 0.5;
}

static double residual(const uint8_t *row, const uint8_t *centroid, uint32_t i)
{
    float at[2];

    memcpy(&at[0], row + i * sizeof(float), sizeof(float));
    memcpy(&at[1], centroid + i * sizeof(float), sizeof(float));
    return (double)at[0] - (double)at[1];
}

static struct fit fit_of(const double *r, uint32_t padded, double scale, double half)
{
    struct fit f = {scale, 0, 0};

    for (uint32_t i = 0; i < padded; i++) {
        double x = grid(r[i] * scale, half);

        f.product += r[i] * x;
        f.squares += x * x;
    }
    return f;
}

/* A row is like a normal distribution once it is rotated: its best grid ends at 2.7 deviations with 16 steps, at 3.9
 * with 256 (Max, "Quantizing for Minimum Distortion", IRE Transactions on Information Theory 6 (1), 1960, table II, and
 * the same computed for 256). One may have its own, most of all with few dimensions: or that of its largest value. */
static struct fit best_fit(const double *r, uint32_t padded, double squares, double half)
{
    static const double parts[] = {0.75, 0.875, 1, 1.125, 1.25};
    double end = (half > 8 ? 3.9 : 2.7) * sqrt(squares / padded), most = 0;

    for (uint32_t i = 0; i < padded; i++)
        most = fmax(most, fabs(r[i]));
    struct fit best = fit_of(r, padded, half / most, half);
    for (uint32_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        struct fit f = fit_of(r, padded, half / (end * parts[i]), half);

        if (f.product * f.product * best.squares > best.product * best.product * f.squares)
            best = f;
    }
    return best;
}

static void put(uint8_t *code, uint32_t bits, uint32_t i, uint32_t value)
{
    if (bits == 8)
        code[i] = (uint8_t)value;
    else
        code[i / 32 * 16 + i % 16] |= (uint8_t)(value << i % 32 / 16 * 4);
}

void vector_encode_bits(enum vector_metric metric, uint32_t bits, const void *row, const void *centroid,
                        uint32_t padded, uint8_t *code, struct vector_factors *factors)
{
    double r[VECTOR_ROTATED_MAX], half = (double)(1U << bits) / 2, squares = 0, of_centroid = 0, by_centroid = 0;

    memset(code, 0, vector_code_size(padded, bits));
    for (uint32_t i = 0; i < padded; i++) {
        r[i] = residual(row, centroid, i);
        squares += r[i] * r[i];
    }
    struct fit f = squares > 0 ? best_fit(r, padded, squares, half) : (struct fit){0, 0, 0};
    for (uint32_t i = 0; i < padded; i++) {
        double x = grid(r[i] * f.scale, half), c;
        float at;

        memcpy(&at, (const uint8_t *)centroid + i * sizeof(float), sizeof(float));
        c = (double)at;
        put(code, bits, i, (uint32_t)(x + half));
        of_centroid += c * x;
        by_centroid += c * r[i];
    }
    *factors = vector_factors_of(metric, padded, &(struct vector_fit){squares, f.product, f.squares, of_centroid,
                                                                      by_centroid});
}

/* ---- Portable kernels: the reference ---- */

float vector_product4_portable(const float *query, const uint8_t *code, uint32_t padded)
{
    float sum[2] = {0, 0};

    for (uint32_t i = 0; i < padded; i += 32, code += 16)
        for (uint32_t j = 0; j < 16; j++) {
            sum[0] += query[i + j] * ((float)(code[j] & 15) - 7.5F);
            sum[1] += query[i + 16 + j] * ((float)(code[j] >> 4) - 7.5F);
        }
    return sum[0] + sum[1];
}

float vector_product8_portable(const float *query, const uint8_t *code, uint32_t padded)
{
    float sum[4] = {0, 0, 0, 0};

    for (uint32_t i = 0; i < padded; i += 4)
        for (uint32_t j = 0; j < 4; j++)
            sum[j] += query[i + j] * ((float)code[i + j] - 127.5F);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

float vector_scalars_l2_portable(const float *query, const uint8_t *code, struct vector_scalars s, uint32_t dims)
{
    float sum[4] = {0, 0, 0, 0};

    for (uint32_t i = 0; i < dims; i++) {
        float apart = query[i] - s.least - s.step * (float)code[i];

        sum[i % 4] += apart * apart;
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

float vector_scalars_dot_portable(const float *query, const uint8_t *code, struct vector_scalars s, uint32_t dims)
{
    float sum[4] = {0, 0, 0, 0};

    for (uint32_t i = 0; i < dims; i++)
        sum[i % 4] += query[i] * (s.least + s.step * (float)code[i]);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* ---- Calls ---- */

/* Far enough to cover a miss of memory. */
enum { AHEAD = 8, LINE = 64 };

static void fetch(const uint8_t *const *code, uint32_t i, uint32_t n, uint32_t size)
{
    for (uint32_t at = 0; i + AHEAD < n && at < size; at += LINE)
        __builtin_prefetch(code[i + AHEAD] + at);
    __asm__ volatile(""); /* GCC leaves out calls of a function that does nothing but fetch */
}

/* A sum beyond what floats hold says nothing: the largest product is the least distance, so its row passes. */
static float known(float product)
{
    return isfinite(product) ? product : FLT_MAX;
}

void vector_code_products(uint32_t bits, const float *query, const uint8_t *const *code, uint32_t n, uint32_t padded,
                          float *out)
{
    const struct vector_quantiser *by = vector_quantiser();

    for (uint32_t i = 0; i < n; i++) {
        fetch(code, i, n, vector_code_size(padded, bits));
        out[i] = known(bits == 8 ? by->product8(query, code[i], padded) : by->product4(query, code[i], padded));
    }
}

void vector_scalars_encode(const void *row, uint32_t dims, uint8_t *code, struct vector_scalars *scalars)
{
    double least = INFINITY, most = -INFINITY, lost = 0;
    float value;

    for (uint32_t i = 0; i < dims; i++) {
        memcpy(&value, (const uint8_t *)row + i * sizeof(float), sizeof(float));
        least = fmin(least, (double)value);
        most = fmax(most, (double)value);
    }
    *scalars = (struct vector_scalars){.least = (float)least, .step = (float)((most - least) / 255)};
    double step = (double)scalars->step;
    for (uint32_t i = 0; i < dims; i++) {
        memcpy(&value, (const uint8_t *)row + i * sizeof(float), sizeof(float));
        double above = (double)value - least, at = step > 0 ? fmin(floor(above / step + 0.5), 255) : 0;

        code[i] = (uint8_t)at;
        lost += (above - at * step) * (above - at * step);
    }
    scalars->error = (float)fmin(sqrt(lost), (double)FLT_MAX);
}

void vector_scalars_distances(enum vector_metric metric, const float *query, const uint8_t *const *code,
                              const struct vector_scalars *scalars, uint32_t n, uint32_t dims, float *out)
{
    const struct vector_quantiser *by = vector_quantiser();

    for (uint32_t i = 0; i < n; i++) {
        fetch(code, i, n, dims);
        out[i] = metric == VECTOR_L2 ? by->scalars_l2(query, code[i], scalars[i], dims)
                                     : -by->scalars_dot(query, code[i], scalars[i], dims);
    }
}
