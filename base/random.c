/* SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"

#include "base/base.h"

#include <sys/random.h>
#include <time.h>

/* xoshiro256++: Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators" (2021), section 5.3. */

void random_seed(struct random *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15U;

        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
        z = (z ^ z >> 27) * 0x94d049bb133111ebU;
        r->s[i] = z ^ z >> 31;
    }
}

static uint64_t rotate(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

uint64_t random_u64(struct random *r)
{
    uint64_t *s = r->s, result = rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

/* Lemire, "Fast Random Integer Generation in an Interval" (2019), with rejection. */
uint64_t random_below(struct random *r, uint64_t bound)
{
    leat_assert(bound > 0);
    __uint128_t m = (__uint128_t)random_u64(r) * bound;
    if ((uint64_t)m < bound) {
        uint64_t least = -bound % bound;

        while ((uint64_t)m < least)
            m = (__uint128_t)random_u64(r) * bound;
    }
    return (uint64_t)(m >> 64);
}

uint64_t random_entropy(void)
{
    uint64_t seed;

    if (getrandom(&seed, sizeof(seed), 0) == (ssize_t)sizeof(seed))
        return seed;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_nsec * 0x9e3779b97f4a7c15U ^ (uint64_t)now.tv_sec;
}
