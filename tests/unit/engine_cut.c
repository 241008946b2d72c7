/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/random.h"
#include "engine/cut.h"

enum { STREAMS = 4, LENGTH = 6, NEEDS = 12 };

static bool fits(const uint64_t *length, const struct cut_need *need, size_t needs)
{
    for (size_t i = 0; i < needs; i++)
        if (length[need[i].at] > need[i].element && length[need[i].needs] < need[i].length)
            return false;
    return true;
}

/* All lengths up to the given ones, tried one by one. What fits is closed under maximum, so there is a greatest. */
static void greatest(const uint64_t *most, const struct cut_need *need, size_t needs, uint64_t *out)
{
    uint64_t length[STREAMS];

    memset(out, 0, STREAMS * sizeof(*out));
    for (length[0] = 0; length[0] <= most[0]; length[0]++)
        for (length[1] = 0; length[1] <= most[1]; length[1]++)
            for (length[2] = 0; length[2] <= most[2]; length[2]++)
                for (length[3] = 0; length[3] <= most[3]; length[3]++)
                    for (int i = 0; i < STREAMS && fits(length, need, needs); i++)
                        out[i] = length[i] > out[i] ? length[i] : out[i];
}

static void the_greatest_that_fits_is_found(void **state)
{
    struct random r;

    (void)state;
    random_seed(&r, 7);
    for (int round = 0; round < 500; round++) {
        uint64_t length[STREAMS], wanted[STREAMS];
        struct cut_need need[NEEDS];

        for (int i = 0; i < STREAMS; i++)
            length[i] = random_below(&r, LENGTH);
        for (int i = 0; i < NEEDS; i++)
            need[i] = (struct cut_need){(uint32_t)random_below(&r, STREAMS), random_below(&r, LENGTH),
                                        (uint32_t)random_below(&r, STREAMS), 1 + random_below(&r, LENGTH)};
        greatest(length, need, NEEDS, wanted);
        cut_consistent(length, need, NEEDS);
        assert_true(fits(length, need, NEEDS));
        assert_memory_equal(length, wanted, sizeof(wanted));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_greatest_that_fits_is_found)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
