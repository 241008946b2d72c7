/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stdint.h>

/* xoshiro256++ (Blackman, Vigna), seeded by splitmix64. */
struct random {
    uint64_t s[4];
};
void random_seed(struct random *r, uint64_t seed);
uint64_t random_u64(struct random *r);
uint64_t random_below(struct random *r, uint64_t bound); /* unbiased; bound > 0 */
uint64_t random_entropy(void);                           /* from the system, to seed with */

#endif
