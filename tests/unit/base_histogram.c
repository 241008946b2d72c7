/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/histogram.h"
#include "base/random.h"

/* Quantiles against the sorted samples: never below the sample, at most one step of an eighth above it. */

enum { MOST = 3000, ROUNDS = 60, THREADS = 4, ADDED = 20000, SEED = 41 };

static int order(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void check_quantile(const struct histogram *h, const uint64_t *sorted, uint32_t count, double q)
{
    uint32_t rank = (uint32_t)ceil(q * count - 1e-9);
    uint64_t exact = sorted[rank > 0 ? rank - 1 : 0], have = histogram_quantile(h, q);

    if (have < exact || have - exact > exact / 8)
        fail_msg("quantile %f of %u samples: %llu, but it is %llu", q, count, (unsigned long long)have,
                 (unsigned long long)exact);
}

static void test_sorted_samples(void **unused)
{
    static uint64_t sample[MOST];
    static const double q[] = {0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1};
    struct random random;

    (void)unused;
    random_seed(&random, SEED);
    for (int round = 0; round < ROUNDS; round++) {
        struct histogram h = {0};
        uint32_t count = (uint32_t)random_below(&random, MOST) + 1;
        unsigned spread = (unsigned)random_below(&random, 64) + 1;
        uint64_t sum = 0;

        for (uint32_t i = 0; i < count; i++) {
            sample[i] = random_u64(&random) >> random_below(&random, spread);
            histogram_add(&h, sample[i]);
            sum += sample[i];
        }
        qsort(sample, count, sizeof(*sample), order);
        assert_int_equal(h.count, count);
        assert_true(h.sum == sum);
        assert_true(h.max == sample[count - 1]);
        assert_true(histogram_quantile(&h, 1) == h.max);
        for (size_t i = 0; i < sizeof(q) / sizeof(*q); i++)
            check_quantile(&h, sample, count, q[i]);
    }
}

/* One sample is every quantile of itself, exactly; at each edge of a power of two. */
static void test_edges(void **unused)
{
    (void)unused;
    for (unsigned bit = 0; bit < 64; bit++)
        for (int64_t d = -1; d <= 1; d++) {
            struct histogram h = {0};
            uint64_t value = (UINT64_C(1) << bit) + (uint64_t)d;

            histogram_add(&h, value);
            assert_true(histogram_quantile(&h, 0) == value);
            assert_true(histogram_quantile(&h, 1) == value);
        }
}

/* Below 16 each value has its own bucket. */
static void test_small_values(void **unused)
{
    struct histogram h = {0};

    (void)unused;
    assert_int_equal(histogram_quantile(&h, 0.5), 0);
    for (uint64_t value = 0; value < 16; value++)
        histogram_add(&h, value);
    for (uint64_t value = 0; value < 16; value++)
        assert_int_equal(histogram_quantile(&h, ((double)value + 0.5) / 16), value);
}

static void test_largest(void **unused)
{
    struct histogram h = {0};

    (void)unused;
    histogram_add(&h, 1);
    histogram_add(&h, UINT64_MAX);
    assert_int_equal(histogram_quantile(&h, 0.5), 1);
    assert_true(histogram_quantile(&h, 1) == UINT64_MAX);
}

static void *add_many(void *argument)
{
    struct histogram *h = argument;

    for (uint64_t i = 0; i < ADDED; i++)
        histogram_add(h, i);
    return NULL;
}

static void test_threads(void **unused)
{
    struct histogram h = {0};
    pthread_t thread[THREADS];

    (void)unused;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, add_many, &h), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    uint64_t total = 0;
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
        total += h.bucket[i];
    assert_int_equal(total, THREADS * ADDED);
    assert_int_equal(h.count, THREADS * ADDED);
    assert_int_equal(h.sum, (uint64_t)THREADS * ADDED * (ADDED - 1) / 2);
    assert_int_equal(h.max, ADDED - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sorted_samples), cmocka_unit_test(test_edges),   cmocka_unit_test(test_small_values),
        cmocka_unit_test(test_largest),        cmocka_unit_test(test_threads),
    };

    print_message("seed %d\n", SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
