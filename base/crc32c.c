/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32c.h"

#include "base/span.h"

#include <pthread.h>

static uint32_t table[8][256];

/* Slicing by 8: Kounavis and Berry, "A Systematic Approach to Building High Performance Software-based CRC
 * Generators" (2005). Reversed polynomial 0x82F63B78. */
static void make_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;

        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82F63B78U : crc >> 1;
        table[0][i] = crc;
    }
    for (int k = 1; k < 8; k++)
        for (uint32_t i = 0; i < 256; i++)
            table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 0xff];
}

uint32_t crc32c_portable(uint32_t seed, const void *bytes, size_t size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const uint8_t *p = bytes;
    uint32_t crc = ~seed;

    pthread_once(&once, make_table);
    for (; size >= 8; size -= 8, p += 8) {
        uint32_t low = crc ^ load_u32(p), high = load_u32(p + 4);

        crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^ table[4][low >> 24] ^
              table[3][high & 0xff] ^ table[2][high >> 8 & 0xff] ^ table[1][high >> 16 & 0xff] ^ table[0][high >> 24];
    }
    while (size-- > 0)
        crc = crc >> 8 ^ table[0][(crc ^ *p++) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)
#include <nmmintrin.h>

/* The instruction takes three cycles but can begin anew in each: three lanes of so many bytes run side by side, and
 * what LANE bytes of zeros would make of a lane's sum, a linear function of its bits, comes from a table (Gopal et al.,
 * "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction", 2011). */
enum { LANE = 1024 };

static uint32_t behind_lane[4][256];

static void make_lanes(void)
{
    static const uint8_t zeros[LANE];

    for (uint32_t at = 0; at < 4; at++)
        for (uint32_t byte = 0; byte < 256; byte++)
            behind_lane[at][byte] = ~crc32c_portable(~(byte << 8 * at), zeros, LANE);
}

static uint32_t pass_lane(uint32_t crc)
{
    return behind_lane[0][crc & 0xff] ^ behind_lane[1][crc >> 8 & 0xff] ^ behind_lane[2][crc >> 16 & 0xff] ^
           behind_lane[3][crc >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t three_lanes(uint32_t crc, const uint8_t *p)
{
    uint64_t a = crc, b = 0, c = 0;

    for (uint32_t i = 0; i < LANE; i += 8) {
        a = _mm_crc32_u64(a, load_u64(p + i));
        b = _mm_crc32_u64(b, load_u64(p + i + LANE));
        c = _mm_crc32_u64(c, load_u64(p + i + (size_t)2 * LANE));
    }
    return pass_lane(pass_lane((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t seed, const void *bytes, size_t size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const uint8_t *p = bytes;
    uint64_t crc = ~seed;

    pthread_once(&once, make_lanes);
    for (; size >= 3 * (size_t)LANE; size -= 3 * (size_t)LANE, p += 3 * (size_t)LANE)
        crc = three_lanes((uint32_t)crc, p);
    for (; size >= 8; size -= 8, p += 8)
        crc = _mm_crc32_u64(crc, load_u64(p));
    while (size-- > 0)
        crc = _mm_crc32_u8((uint32_t)crc, *p++);
    return ~(uint32_t)crc;
}

uint32_t crc32c(uint32_t seed, const void *bytes, size_t size)
{
    return __builtin_cpu_supports("sse4.2") ? crc32c_sse42(seed, bytes, size) : crc32c_portable(seed, bytes, size);
}
#else
uint32_t crc32c(uint32_t seed, const void *bytes, size_t size)
{
    return crc32c_portable(seed, bytes, size);
}
#endif
