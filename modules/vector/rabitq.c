/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/codes.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- Codes: arXiv 2405.12497, section 3; what is folded into factors: the RaBitQ library's description ---- */

/* Beyond what floats hold, whatever the query, the row has to be looked at. */
static struct vector_factors narrow(double add, double scale, double error)
{
    double most = (double)FLT_MAX;

    if (fabs(add) <= most && -scale <= most && error <= most)
        return (struct vector_factors){(float)add, (float)scale, (float)error};
    return (struct vector_factors){-FLT_MAX, 0, FLT_MAX};
}

struct vector_factors vector_factors_of(enum vector_metric metric, uint32_t padded, const struct vector_fit *f)
{
    double by = f->product > 0 ? f->squares / f->product : 0;
    double spread = f->product > 0 ? fmax(by * f->code / f->product - 1, 0) : 0; /* 1 / cosine^2 - 1 */
    double error = sqrt(f->squares * spread / (padded - 1));

    return metric == VECTOR_L2 ? narrow(f->squares + 2 * by * f->of_centroid, -2 * by, 2 * error)
                               : narrow(by * f->of_centroid - f->by_centroid, -by, error);
}

void vector_signs_portable(const uint8_t *row, const uint8_t *centroid, uint32_t padded, uint8_t *code,
                           struct vector_fit *out)
{
    vector_signs_of(row, centroid, padded, code, out);
}

void vector_encode_by(const struct vector_quantiser *by, enum vector_metric metric, const void *row,
                      const void *centroid, uint32_t padded, uint8_t *code, struct vector_factors *factors)
{
    struct vector_fit f;

    by->signs(row, centroid, padded, code, &f);
    *factors = vector_factors_of(metric, padded, &f);
}

void vector_encode(enum vector_metric metric, const void *row, const void *centroid, uint32_t padded, uint8_t *code,
                   struct vector_factors *factors)
{
    vector_encode_by(vector_quantiser(), metric, row, centroid, padded, code, factors);
}

/* ---- Blocks ---- */

static uint8_t *factor_of(const void *block, uint32_t padded, uint32_t which, uint32_t lane)
{
    return (uint8_t *)(uintptr_t)block + (size_t)padded / 8 * VECTOR_BLOCK +
           (which * VECTOR_BLOCK + lane) * sizeof(float);
}

static uint32_t place_of(uint32_t lane)
{
    return 2 * (lane % 8) + lane % 16 / 8;
}

void vector_block_put(void *block, uint32_t padded, uint32_t lane, const uint8_t *code,
                      const struct vector_factors *factors)
{
    uint8_t *to = (uint8_t *)block + place_of(lane);
    uint32_t shift = lane < 16 ? 0 : 4, keep = lane < 16 ? 0xf0 : 0x0f;

    for (uint32_t i = 0; i < padded / 8; i++, to += VECTOR_BLOCK) {
        to[0] = (uint8_t)((to[0] & keep) | (code[i] & 0x0fU) << shift);
        to[16] = (uint8_t)((to[16] & keep) | (uint32_t)(code[i] >> 4) << shift);
    }
    memcpy(factor_of(block, padded, 0, lane), &factors->add, sizeof(float));
    memcpy(factor_of(block, padded, 1, lane), &factors->scale, sizeof(float));
    memcpy(factor_of(block, padded, 2, lane), &factors->error, sizeof(float));
}

void vector_block_get(const void *block, uint32_t padded, uint32_t lane, uint8_t *code, struct vector_factors *factors)
{
    const uint8_t *from = (const uint8_t *)block + place_of(lane);
    uint32_t shift = lane < 16 ? 0 : 4;

    for (uint32_t i = 0; i < padded / 8; i++, from += VECTOR_BLOCK)
        code[i] = (uint8_t)((from[0] >> shift & 0x0f) | (from[16] >> shift & 0x0f) << 4);
    memcpy(&factors->add, factor_of(block, padded, 0, lane), sizeof(float));
    memcpy(&factors->scale, factor_of(block, padded, 1, lane), sizeof(float));
    memcpy(&factors->error, factor_of(block, padded, 2, lane), sizeof(float));
}

/* With r the distance, c the cosine of row and code: scale is -r / (c * sqrt(padded)), error is
 * r * sqrt((1 / c^2 - 1) / (padded - 1)), and both are twice that for VECTOR_L2. */
float vector_block_square(enum vector_metric metric, const void *block, uint32_t padded, uint32_t lane)
{
    float scale, error;

    memcpy(&scale, factor_of(block, padded, 1, lane), sizeof(scale));
    memcpy(&error, factor_of(block, padded, 2, lane), sizeof(error));
    float square = scale * scale * (float)padded - error * error * (float)(padded - 1);
    return !(square > 0) ? 0 : metric == VECTOR_L2 ? square / 4 : square;
}

/* ---- Queries ---- */

/* A nibble and its complement are as far above the middle as below it, and so are their rounding errors: over the codes
 * of rows, which are as good as random, errors of a table have mean 0, and at most a step's uniform variance each.
 * (The rows' bound is for the exact product; this one is added to it.) */
static float deviation(float step, uint32_t padded)
{
    return step * sqrtf((float)padded / 48);
}

/* The most that four dimensions may add up to. */
static float largest(const float *query, uint32_t padded)
{
    float most = 0;

    for (uint32_t i = 0; i < padded; i += 4) {
        float sum = (fabsf(query[i]) + fabsf(query[i + 1])) + (fabsf(query[i + 2]) + fabsf(query[i + 3]));

        most = sum <= most ? most : sum;
    }
    return most;
}

void vector_query_begin(struct vector_query *q, const float *query, uint32_t padded, float epsilon, uint8_t *table)
{
    enum { HALF = 255 };
    float most = largest(query, padded), half = (float)HALF / 2;

    *q = (struct vector_query){.table = table, .padded = padded, .middle = half * (float)(padded / 4),
                               .epsilon = epsilon};
    if (most > 1e-30F && most < 1e30F) {
        q->step = most / half;
        q->slack = epsilon * deviation(q->step, padded);
        vector_quantiser()->table(query, padded, half / most, table);
        return;
    }
    /* So small or large that steps are no longer numbers: all that is known is the most that it may be. */
    memset(table, 0, 4 * (size_t)padded);
    q->slack = most < 1e30F ? most * (float)(padded / 4) : FLT_MAX;
}
