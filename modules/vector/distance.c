/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/distance.h"

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

void vector_squares(enum leat_type type, const void *row, size_t stride, uint32_t n, uint32_t dims, float *out)
{
    float (*dot)(const void *, const void *, uint32_t) = vector_kernels()->distances->of[VECTOR_DOT][type].one;

    for (uint32_t i = 0; i < n; i++) {
        const void *at = (const uint8_t *)row + i * stride;

        out[i] = dot(at, at, dims);
    }
}
