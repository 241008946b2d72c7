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

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t seed, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    uint64_t crc = ~seed;

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
