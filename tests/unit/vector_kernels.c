/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "modules/vector/product.h"
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
            kernels[v]->dot_pointers(q, pointer, n, dims, out);
            for (uint32_t i = 0; i < n; i++) {
                double dot = dot_of(q, pointer[i], dims);

                assert_true(fabs((double)out[i] - dot) <= slack);
                assert_true(kernels[v]->dot(q, pointer[i], dims) == out[i]); /* alone or with others: the same sum */
            }
        }
    }
    free(query);
    free(rows);
}

/* Pages between two that cannot be touched. */
struct fenced {
    uint8_t *map, *base, *end;
    size_t whole;
};

static struct fenced fenced_new(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (size + page - 1) / page * page;
    struct fenced f = {.whole = inner + 2 * page};

    f.map = mmap(NULL, f.whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f.map != MAP_FAILED);
    f.base = f.map + page;
    f.end = f.base + inner;
    assert_int_equal(mprotect(f.base, inner, PROT_READ | PROT_WRITE), 0);
    return f;
}

/* All kernels on n rows at `rows`; in vectors of ones each result is dims. */
static void run_all(const struct vector_kernels *k, const uint8_t *query, const uint8_t *rows, uint32_t n,
                    uint32_t dims, float *out)
{
    const void *pointer[16];
    struct vector_matrix m;

    for (uint32_t i = 0; i < n; i++)
        pointer[i] = rows + i * 4 * (size_t)dims;
    assert_true(k->dot(query, rows, dims) == (float)dims);
    k->dot_pointers(query, pointer, n, dims, out);
    for (uint32_t i = 0; i < n; i++)
        assert_true(out[i] == (float)dims);
    assert_int_equal(vector_matrix_new(&m, 1, dims), 0);
    vector_matrix_set(&m, 0, (const float *)(const void *)query);
    float *products = out + n - (size_t)n * m.width;
    k->product(&m, pointer, n, products);
    for (uint32_t i = 0; i < n; i++)
        assert_true(products[(size_t)i * m.width] == (float)dims);
    vector_matrix_free(&m);
}

/* Vectors and results that end where memory ends, and that begin where it begins. */
static void nothing_beyond_the_ends_is_touched(void **state)
{
    enum { MOST = 200, N = 14 };
    uint32_t variants;
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);
    struct fenced q = fenced_new(4 * MOST), rows = fenced_new((size_t)4 * MOST * N);
    struct fenced out = fenced_new(sizeof(float) * N * VECTOR_PANEL);

    (void)state;
    for (float *f = (float *)(void *)q.base; f < (float *)(void *)q.end; f++)
        *f = 1;
    for (float *f = (float *)(void *)rows.base; f < (float *)(void *)rows.end; f++)
        *f = 1;
    for (uint32_t v = 0; v < variants; v++)
        for (uint32_t dims = 1; dims <= MOST; dims++)
            for (uint32_t n = 1; n <= N; n++) {
                size_t size = 4 * (size_t)dims;

                run_all(kernels[v], q.end - size, rows.end - n * size, n, dims, (float *)(void *)out.end - n);
                run_all(kernels[v], q.base, rows.base, n, dims, (float *)(void *)out.end - n);
            }
    munmap(q.map, q.whole);
    munmap(rows.map, rows.whole);
    munmap(out.map, out.whole);
}

/* No rows, no dimensions: no result is written, sums are 0. */
static void nothing_gives_nothing(void **state)
{
    uint32_t variants;
    const struct vector_kernels *const *kernels = vector_kernels_all(&variants);

    (void)state;
    for (uint32_t v = 0; v < variants; v++) {
        float one = 1, out = 7;
        const void *pointer = &one;

        assert_true(kernels[v]->dot(&one, &one, 0) == 0);
        kernels[v]->dot_pointers(&one, &pointer, 0, 1, &out);
        assert_true(out == 7);
        kernels[v]->dot_pointers(&one, &pointer, 1, 0, &out);
        assert_true(out == 0);
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

/* In fences: exactly `most` masks and `most` of the room are used. Margins repeat, so that ties are met. */
static void fewer_probes_are_the_first_of_more(void **state)
{
    (void)state;
    for (int round = 0; round < 60; round++) {
        uint32_t bits = 1 + below(9), most = 1U << bits, all[512];
        static struct vector_flips room[512];
        struct fenced masks = fenced_new(sizeof(all)), flips = fenced_new(sizeof(room));
        float margin[9];

        for (uint32_t i = 0; i < bits; i++)
            margin[i] = (float)below(7) - 3;
        assert_int_equal(vector_probe_margins(margin, bits, most, all, room), most);
        for (uint32_t wish = 0; wish <= most; wish++) {
            uint32_t *mask = (uint32_t *)(void *)masks.end - wish;
            struct vector_flips *least = (struct vector_flips *)(void *)flips.end - wish;

            assert_int_equal(vector_probe_margins(margin, bits, wish, mask, least), wish);
            assert_memory_equal(mask, all, wish * sizeof(*mask));
        }
        munmap(masks.map, masks.whole);
        munmap(flips.map, flips.whole);
    }
}

/* More than there are: all of them, once. 32 bits are possible. */
static void probes_end_where_the_sets_end(void **state)
{
    static struct vector_flips room[5000];
    static uint32_t mask[5000];
    float margin[32] = {0};

    (void)state;
    assert_int_equal(vector_probe_margins(margin, 0, 10, mask, room), 1);
    margin[0] = 1;
    assert_int_equal(vector_probe_margins(margin, 1, 10, mask, room), 2);
    assert_int_equal(mask[1], 1);
    for (uint32_t i = 0; i < 32; i++)
        margin[i] = (float)(32 - i);
    assert_int_equal(vector_probe_margins(margin, 32, 5000, mask, room), 5000);
    assert_true(mask[1] == 1U << 31 && mask[2] == 1U << 30 && mask[3] == 3U << 30);
    for (uint32_t i = 1; i < 5000; i++)
        assert_true(score_of(margin, mask[i]) >= score_of(margin, mask[i - 1]));
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
        cmocka_unit_test(nothing_beyond_the_ends_is_touched),
        cmocka_unit_test(nothing_gives_nothing),
        cmocka_unit_test(probes_come_in_order_of_margin),
        cmocka_unit_test(fewer_probes_are_the_first_of_more),
        cmocka_unit_test(probes_end_where_the_sets_end),
        cmocka_unit_test(probes_of_a_radius_are_all_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
