/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_VECTORS_H
#define TESTS_LIB_VECTORS_H

/* Chance, and sums in double precision, for tests of vectors. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

static uint64_t chance;

/* Draw anew from a seed, and say which. */
static inline void draw_from(uint64_t seed)
{
    print_message("seed %llu\n", (unsigned long long)seed);
    chance = seed;
}

/* A linear congruential generator (Knuth, The Art of Computer Programming, 3.3.4), its upper bits. */
static inline uint32_t below(uint32_t bound)
{
    chance = chance * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(chance >> 33) % bound;
}

/* Normal enough: a sum of uniform ones, mean 0, variance 1. */
static inline float normal(void)
{
    double sum = 0;

    for (int i = 0; i < 12; i++)
        sum += below(1U << 20) / 1048576.0;
    return (float)(sum - 6);
}

static inline double dot_of(const float *a, const float *b, uint32_t dims)
{
    double sum = 0;

    for (uint32_t i = 0; i < dims; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static inline double square_of(const float *a, const float *b, uint32_t dims)
{
    double sum = 0;

    for (uint32_t i = 0; i < dims; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum;
}

#endif
