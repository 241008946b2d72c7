/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "modules/vector/vector.h"

/* Every variant this processor has against sums in double precision, over random shapes and alignments. */

static uint64_t seed = 12345;

static uint32_t below(uint32_t bound)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(seed >> 33) % bound;
}

static void fill(uint8_t *to, uint32_t dims)
{
    for (uint32_t i = 0; i < dims; i++) {
        float f = (float)below(20001) / 10000 - 1;

        memcpy(to + 4 * (size_t)i, &f, 4);
    }
}

static double at(const uint8_t *v, uint32_t i)
{
    float f;

    memcpy(&f, v + 4 * (size_t)i, 4);
    return (double)f;
}

static double dot_of(const uint8_t *a, const uint8_t *b, uint32_t dims)
{
    double sum = 0;

    for (uint32_t i = 0; i < dims; i++)
        sum += at(a, i) * at(b, i);
    return sum;
}

static void kernels_agree(void **state)
{
    enum { ROUNDS = 300, MOST = 1100, ROWS = 40 };
    uint32_t variants;
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);
    uint8_t *query = malloc(4 * MOST + 64), *rows = malloc((size_t)ROWS * (4 * MOST + 64) + 64);

    (void)state;
    assert_true(variants >= 1);
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t dims = round < 70 ? (uint32_t)round + 1 : 1 + below(MOST), n = below(ROWS);
        size_t stride = 4 * (size_t)dims + below(60), off = below(64);
        const uint8_t *q = query + below(64), *base = rows + off;
        const void *pointer[ROWS];
        float out[ROWS];
        double slack = 1e-6 * dims;

        fill((uint8_t *)(uintptr_t)q, dims);
        for (uint32_t i = 0; i < n; i++) {
            pointer[i] = base + i * stride;
            fill((uint8_t *)(uintptr_t)pointer[i], dims);
        }
        for (uint32_t v = 0; v < variants; v++) {
            kernels[v]->dot_rows(q, base, stride, n, dims, out);
            for (uint32_t i = 0; i < n; i++)
                assert_true(fabs((double)out[i] - dot_of(q, pointer[i], dims)) <= slack);
            kernels[v]->dot_pointers(q, pointer, n, dims, out);
            for (uint32_t i = 0; i < n; i++) {
                double dot = dot_of(q, pointer[i], dims);
                double l2 = dot_of(q, q, dims) - 2 * dot + dot_of(pointer[i], pointer[i], dims);

                assert_true(fabs((double)out[i] - dot) <= slack);
                assert_true(fabs((double)kernels[v]->dot(q, pointer[i], dims) - dot) <= slack);
                assert_true(fabs((double)kernels[v]->l2(q, pointer[i], dims) - l2) <= 4 * slack);
            }
        }
    }
    free(query);
    free(rows);
}

static int compare(const void *a, const void *b)
{
    const float *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static void the_best_are_kept(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct vector_best item[20];
        struct vector_top top = {item, 1 + below(20), 0};
        float all[300], kept[20];
        uint32_t n = below(300);

        for (uint32_t i = 0; i < n; i++) {
            all[i] = (float)below(1000);
            vector_top_push(&top, all[i], i);
        }
        assert_int_equal(top.count, n < top.k ? n : top.k);
        for (uint32_t i = 0; i < top.count; i++) {
            kept[i] = item[i].distance;
            assert_true(all[item[i].row] == item[i].distance);
        }
        qsort(all, n, sizeof(*all), compare);
        qsort(kept, top.count, sizeof(*kept), compare);
        for (uint32_t i = 0; i < top.count; i++)
            assert_true(kept[i] == all[i]);
    }
}

static double score_of(const float *margin, uint32_t mask)
{
    double score = 0;

    for (; mask != 0; mask &= mask - 1)
        score += (double)margin[__builtin_ctz(mask)] * (double)margin[__builtin_ctz(mask)];
    return score;
}

static void probes_come_in_order_of_margin(void **state)
{
    (void)state;
    for (uint32_t bits = 1; bits <= 10; bits++) {
        static struct vector_flips room[1024];
        uint32_t mask[1024];
        bool seen[1024] = {false};
        float margin[10];

        for (uint32_t i = 0; i < bits; i++)
            margin[i] = (float)below(2000) / 1000 - 1;
        assert_int_equal(vector_probe_margins(margin, bits, 1024, mask, room), 1U << bits);
        assert_int_equal(mask[0], 0);
        for (uint32_t i = 0; i < 1U << bits; i++) {
            assert_false(seen[mask[i]]);
            seen[mask[i]] = true;
            assert_true(i == 0 || score_of(margin, mask[i]) >= score_of(margin, mask[i - 1]) - 1e-5);
        }
        assert_int_equal(vector_probe_margins(margin, bits, 2, mask, room), 2);
    }
}

static void probes_of_a_radius_are_all_there(void **state)
{
    uint32_t mask[64];
    bool seen[256] = {false};

    (void)state;
    assert_int_equal(vector_probe_radius(8, 2, NULL), 37);
    assert_int_equal(vector_probe_radius(8, 2, mask), 37);
    assert_int_equal(mask[0], 0);
    for (int i = 0; i < 37; i++) {
        assert_true(__builtin_popcount(mask[i]) <= 2 && !seen[mask[i]]);
        seen[mask[i]] = true;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_agree),
        cmocka_unit_test(the_best_are_kept),
        cmocka_unit_test(probes_come_in_order_of_margin),
        cmocka_unit_test(probes_of_a_radius_are_all_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
