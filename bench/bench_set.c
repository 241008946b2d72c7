/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include "modules/vector/random.h"

#include <stdlib.h>

enum { CENTRES = 4096 };

struct leat_value bench_set_vector(const struct bench_set *s, uint64_t i, struct bench_place *p)
{
    uint64_t state = i * 7919 + 1, bits = 0;
    const uint8_t *centre = s->centre + vector_random(&state) % CENTRES * s->dims;

    for (uint32_t d = 0; d < s->dims; d++, bits >>= 8) {
        if (d % 8 == 0)
            bits = vector_random(&state);
        p->u8[d] = (uint8_t)(centre[d] + (bits & 15) + (bits >> 4 & 15));
        p->f32[d] = p->u8[d];
    }
    return s->type == LEAT_U8_VECTOR ? leat_vector(s->type, p->u8, s->dims) : leat_vector(s->type, p->f32, s->dims);
}

void bench_set_init(struct bench_set *s)
{
    uint64_t state = 1;
    static uint8_t around[64][BENCH_SET_DIMS];

    s->centre = malloc((size_t)CENTRES * s->dims);
    for (int c = 0; c < 64; c++)
        for (uint32_t d = 0; d < s->dims; d++)
            around[c][d] = (uint8_t)(vector_random(&state) % 160);
    for (int c = 0; s->centre != NULL && c < CENTRES; c++)
        for (uint32_t d = 0; d < s->dims; d++)
            s->centre[(size_t)c * s->dims + d] = (uint8_t)(around[c % 64][d] + vector_random(&state) % 64);
}
