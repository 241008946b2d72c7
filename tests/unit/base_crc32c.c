/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/random.h"

/* Both variants against the definition, and against the vectors of RFC 3720, B.4. */

enum { ROUNDS = 4000, LONGEST = 8000 /* beyond twice three lanes */, SEED = 5 };

/* One bit after another, as the standard defines it. */
static uint32_t by_bits(uint32_t seed, const uint8_t *bytes, size_t size)
{
    uint32_t crc = ~seed;

    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0);
    }
    return ~crc;
}

static void check(const void *bytes, size_t size, uint32_t want)
{
    assert_int_equal(crc32c(0, bytes, size), want);
    assert_int_equal(crc32c_portable(0, bytes, size), want);
    assert_int_equal(by_bits(0, bytes, size), want);
}

static void test_vectors(void **unused)
{
    static const uint8_t read_command[48] = {
        0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
        0,    0,    0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0};
    uint8_t bytes[32];

    (void)unused;
    check("", 0, 0);
    check("123456789", 9, 0xe3069283);
    memset(bytes, 0, sizeof(bytes));
    check(bytes, sizeof(bytes), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    check(bytes, sizeof(bytes), 0x62a8ab43);
    for (uint8_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = i;
    check(bytes, sizeof(bytes), 0x46dd794e);
    for (uint8_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(31 - i);
    check(bytes, sizeof(bytes), 0x113fdb5c);
    check(read_command, sizeof(read_command), 0xd9963a56);
}

/* Any length, any alignment, any seed; and in two parts what it is in one. */
static void test_random(void **unused)
{
    uint8_t bytes[LONGEST + 8];
    struct random random;

    (void)unused;
    random_seed(&random, SEED);
    for (int round = 0; round < ROUNDS; round++) {
        size_t from = random_below(&random, 8), size = random_below(&random, LONGEST + 1);
        size_t part = random_below(&random, size + 1);
        uint32_t seed = (uint32_t)random_u64(&random);

        for (size_t i = 0; i < size; i++)
            bytes[from + i] = (uint8_t)random_u64(&random);
        uint32_t want = by_bits(seed, bytes + from, size);
        assert_int_equal(crc32c(seed, bytes + from, size), want);
        assert_int_equal(crc32c_portable(seed, bytes + from, size), want);
        assert_int_equal(crc32c(crc32c(seed, bytes + from, part), bytes + from + part, size - part), want);
        assert_int_equal(crc32c_portable(crc32c_portable(seed, bytes + from, part), bytes + from + part, size - part),
                         want);
    }
}

/* Every single flipped bit is seen, and every burst of up to 32. */
static void test_damage(void **unused)
{
    uint8_t bytes[64];
    struct random random;

    (void)unused;
    random_seed(&random, SEED);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)random_u64(&random);
    uint32_t good = crc32c(0, bytes, sizeof(bytes));
    for (size_t bit = 0; bit + 32 <= 8 * sizeof(bytes); bit++) {
        uint64_t burst = (random_u64(&random) & UINT32_MAX) | 1;
        uint8_t saved[sizeof(bytes)];

        memcpy(saved, bytes, sizeof(bytes));
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(crc32c(0, bytes, sizeof(bytes)), good);
        memcpy(bytes, saved, sizeof(bytes));
        for (size_t i = 0; i < 32; i++)
            bytes[(bit + i) / 8] ^= (uint8_t)((burst >> i & 1) << (bit + i) % 8);
        assert_int_not_equal(crc32c(0, bytes, sizeof(bytes)), good);
        memcpy(bytes, saved, sizeof(bytes));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors), cmocka_unit_test(test_random),
                                       cmocka_unit_test(test_damage)};

    print_message("seed %d\n", SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
