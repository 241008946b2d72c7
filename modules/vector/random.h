/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_VECTOR_RANDOM_H
#define MODULES_VECTOR_RANDOM_H

/* Numbers by a seed, the same ones everywhere: hyperplanes and rotations, to which stored codes belong, are made anew
 * at each start. splitmix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014,
 * section 3. */

#include <stdint.h>

static inline uint64_t vector_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#endif
