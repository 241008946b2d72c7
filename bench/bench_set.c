/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include <stdlib.h>

enum { CENTRES = 4096 };

uint64_t bench_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15U;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

struct leat_value bench_set_vector(const struct bench_set *s, uint64_t i, struct bench_place *p)
{
    uint64_t state = i * 7919 + 1, bits = 0;
    const uint8_t *centre = s->centre + bench_random(&state) % CENTRES * s->dims;

    for (uint32_t d = 0; d < s->dims; d++, bits >>= 8) {
        if (d % 8 == 0)
            bits = bench_random(&state);
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
            around[c][d] = (uint8_t)(bench_random(&state) % 160);
    for (int c = 0; s->centre != NULL && c < CENTRES; c++)
        for (uint32_t d = 0; d < s->dims; d++)
            s->centre[(size_t)c * s->dims + d] = (uint8_t)(around[c % 64][d] + bench_random(&state) % 64);
}
