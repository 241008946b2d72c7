/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/distance.h"

#include <math.h>
#include <string.h>

#include "modules/vector/vector.h"

const struct vector_distance *vector_distance(enum vector_metric metric, enum leat_type type)
{
    const struct vector_distance *found;

    if ((uint32_t)metric >= VECTOR_METRICS || (uint32_t)type >= VECTOR_TYPES)
        return NULL;
    found = &vector_kernels()->distances->of[metric][type];
    return found->one != NULL ? found : NULL;
}

void vector_floats(enum leat_type type, const void *row, uint32_t dims, float *out)
{
    vector_kernels()->distances->floats[type](row, dims, out);
}

static uint16_t half_of(float number)
{
    const uint32_t normal = 0x38800000, beyond = 0x477ff000, largest = 0x7bff, exponents = (127 - 15) << 10;
    uint32_t bits, size, half;

    memcpy(&bits, &number, sizeof(bits));
    size = bits & 0x7fffffff;
    if (size >= beyond)
        half = largest;
    else if (size >= normal)
        half = ((size + 0xfff + (size >> 13 & 1)) >> 13) - exponents;
    else
        half = (uint32_t)lrintf(ldexpf(fabsf(number), 24));
    return (uint16_t)(half | (bits >> 16 & 0x8000));
}

void vector_halves(const float *numbers, uint32_t dims, uint16_t *out)
{
    for (uint32_t i = 0; i < dims; i++)
        out[i] = half_of(numbers[i]);
}

void vector_squares(enum leat_type type, const void *row, size_t stride, uint32_t n, uint32_t dims, float *out)
{
    float (*dot)(const void *, const void *, uint32_t) = vector_kernels()->distances->of[VECTOR_DOT][type].one;

    for (uint32_t i = 0; i < n; i++) {
        const void *at = (const uint8_t *)row + i * stride;

        out[i] = dot(at, at, dims);
    }
}
