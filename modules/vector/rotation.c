/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/quantiser.h"

#include "modules/vector/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rounds of random signs and a Hadamard transform of a window as wide as a power of two allows, at the low and at the
 * high end in turn; where that leaves dimensions out, sums and differences of the two halves mix them in. (Signs and
 * Hadamard: Ailon and Chazelle, "The Fast Johnson-Lindenstrauss Transform", SIAM Journal on Computing 39 (1), 2009; two
 * ends and halves: the RaBitQ library.) All scaling is in the multipliers, so that values stay within the norm of the
 * vector and what follows are sums and differences alone: the same bits in any instruction set. */
enum { ROUNDS = 4, STEP = 64 };

static uint32_t window_begin(const struct vector_rotation *r, uint32_t round)
{
    return round % 2 == 0 ? 0 : r->padded - r->window;
}

int vector_rotation_new(struct vector_rotation *r, uint32_t dims, uint64_t seed)
{
    uint32_t padded = (dims + STEP - 1) / STEP * STEP, window = STEP;

    while (window * 2 <= padded)
        window *= 2;
    *r = (struct vector_rotation){.dims = dims, .padded = padded, .window = window};
    r->multiplier = malloc(sizeof(float) * ROUNDS * padded);
    if (r->multiplier == NULL)
        return -1;
    double mix = window < padded ? sqrt(0.5) : 1, inside = mix / sqrt(window);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t begin = window_begin(r, round);
        uint64_t bits = 0;

        for (uint32_t i = 0; i < padded; i++) {
            double size = i >= begin && i < begin + window ? inside : mix;

            bits = i % 64 == 0 ? vector_random(&seed) : bits >> 1;
            r->multiplier[round * padded + i] = (float)((bits & 1) != 0 ? size : -size);
        }
    }
    return 0;
}

void vector_rotation_free(struct vector_rotation *r)
{
    free(r->multiplier);
    *r = (struct vector_rotation){0};
}

/* Steps of one length, which compilers make vectors of. They cannot fuse the products with what follows: that is behind
 * a pointer. */
static void multiply(float *restrict values, const float *restrict multiplier, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += STEP)
        for (uint32_t j = 0; j < STEP; j++)
            values[i + j] *= multiplier[i + j];
}

static void mix_halves(float *restrict low, float *restrict high, uint32_t half)
{
    for (uint32_t i = 0; i < half; i += STEP / 2)
        for (uint32_t j = 0; j < STEP / 2; j++) {
            float a = low[i + j], b = high[i + j];

            low[i + j] = a + b;
            high[i + j] = a - b;
        }
}

void vector_rotate_by(const struct vector_quantiser *by, const struct vector_rotation *r, const float *in, float *out)
{
    float value[VECTOR_ROTATED_MAX], room[VECTOR_ROTATED_MAX];

    memcpy(value, in, r->dims * sizeof(float));
    memset(value + r->dims, 0, (r->padded - r->dims) * sizeof(float));
    for (uint32_t round = 0; round < ROUNDS; round++) {
        multiply(value, r->multiplier + round * r->padded, r->padded);
        by->hadamard(value + window_begin(r, round), room, r->window);
        if (r->window < r->padded)
            mix_halves(value, value + r->padded / 2, r->padded / 2);
    }
    memcpy(out, value, r->padded * sizeof(float));
}

void vector_rotate(const struct vector_rotation *r, const float *in, float *out)
{
    vector_rotate_by(vector_quantiser(), r, in, out);
}
