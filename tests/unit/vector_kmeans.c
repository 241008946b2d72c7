/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/vectors.h"

#include <stdlib.h>
#include <string.h>

#include "modules/vector/kmeans.h"

/* Against Lloyd's algorithm as it is written down, in double precision, begun at rows drawn as k-means++ does. */

/* ---- Rows ---- */

struct rows {
    uint32_t n, dims;
    float *value;
    const void **row;
};

/* Around `groups` points that lie `apart` from one another, and all of them `off` the origin. */
static struct rows rows_new(uint32_t n, uint32_t dims, uint32_t groups, double apart, double off)
{
    struct rows r = {n, dims, malloc((size_t)n * dims * sizeof(float)), malloc(n * sizeof(void *))};
    double *point = malloc((size_t)groups * dims * sizeof(*point));

    for (uint32_t i = 0; i < groups * dims; i++)
        point[i] = off + apart * (double)normal();
    for (uint32_t i = 0; i < n; i++) {
        const double *middle = point + (size_t)below(groups) * dims;

        r.row[i] = r.value + (size_t)i * dims;
        for (uint32_t d = 0; d < dims; d++)
            r.value[(size_t)i * dims + d] = (float)(middle[d] + (double)normal());
    }
    free(point);
    return r;
}

static void rows_free(struct rows *r)
{
    free(r->value);
    free(r->row);
}

static uint32_t nearest(const float *centre, uint32_t k, const float *row, uint32_t dims, double *found)
{
    uint32_t best = 0;

    *found = INFINITY;
    for (uint32_t c = 0; c < k; c++) {
        double d = square_of(centre + (size_t)c * dims, row, dims);

        if (d < *found) {
            *found = d;
            best = c;
        }
    }
    return best;
}

/* ---- The reference ---- */

static void reference_seed(const struct rows *r, uint32_t k, float *centre)
{
    double *least = malloc(r->n * sizeof(*least));
    uint32_t next = below(r->n);

    for (uint32_t i = 0; i < r->n; i++)
        least[i] = INFINITY;
    for (uint32_t c = 0; c < k; c++) {
        double total = 0;

        memcpy(centre + (size_t)c * r->dims, r->row[next], r->dims * sizeof(float));
        for (uint32_t i = 0; i < r->n; i++) {
            least[i] = fmin(least[i], square_of(r->row[i], r->row[next], r->dims));
            total += least[i];
        }
        total *= below(1 << 24) / (double)(1 << 24);
        for (next = 0; next + 1 < r->n && total >= least[next]; next++)
            total -= least[next];
    }
    free(least);
}

static double reference(const struct rows *r, uint32_t k, uint32_t rounds)
{
    float *centre = malloc((size_t)k * r->dims * sizeof(float));
    double *sum = malloc((size_t)k * r->dims * sizeof(double)), cost = 0;
    uint32_t *size = malloc(k * sizeof(*size));

    reference_seed(r, k, centre);
    for (uint32_t round = 0; round <= rounds; round++) {
        cost = 0;
        memset(sum, 0, (size_t)k * r->dims * sizeof(double));
        memset(size, 0, k * sizeof(*size));
        for (uint32_t i = 0; i < r->n; i++) {
            double d;
            uint32_t c = nearest(centre, k, r->row[i], r->dims, &d);

            cost += d;
            size[c]++;
            for (uint32_t j = 0; j < r->dims; j++)
                sum[(size_t)c * r->dims + j] += (double)r->value[(size_t)i * r->dims + j];
        }
        for (uint32_t i = 0; i < k * r->dims; i++)
            if (size[i / r->dims] > 0)
                centre[i] = (float)(sum[i] / size[i / r->dims]);
    }
    free(centre);
    free(sum);
    free(size);
    return cost;
}

/* ---- A result, and what holds of every one ---- */

static struct vector_clusters clusters_new(uint32_t k, uint32_t dims, uint32_t rows)
{
    return (struct vector_clusters){.centre = malloc((size_t)k * dims * sizeof(float)),
                                    .size = malloc(k * sizeof(uint32_t)),
                                    .label = malloc(rows * sizeof(uint32_t))};
}

static void clusters_free(struct vector_clusters *c)
{
    free(c->centre);
    free(c->size);
    free(c->label);
}

/* Sizes, cost and labels belong together, nothing is NaN. Without a bound each row is where it is nearest. */
static void check(const struct rows *r, const struct vector_kmeans *o, const struct vector_clusters *c, bool anywhere)
{
    uint32_t *size = calloc(o->centres, sizeof(*size));
    double cost = 0;

    assert_true(c->count >= 1 && c->count <= o->centres && c->count <= r->n);
    for (uint32_t i = 0; i < c->count * r->dims; i++)
        assert_true(isfinite(c->centre[i]));
    for (uint32_t i = 0; i < r->n; i++) {
        double d, least;

        assert_true(c->label[i] < c->count);
        size[c->label[i]]++;
        d = square_of(c->centre + (size_t)c->label[i] * r->dims, r->row[i], r->dims);
        cost += d;
        nearest(c->centre, c->count, r->row[i], r->dims, &least);
        assert_true(o->most > 0 || anywhere || d <= least * 1.001 + 1e-9);
    }
    for (uint32_t i = 0; i < c->count; i++)
        assert_true(size[i] == c->size[i] && size[i] > 0);
    assert_true(fabs(cost - c->cost) <= 1e-4 * cost + 1e-9);
    free(size);
}

static double run(const struct rows *r, const struct vector_kmeans *o, struct vector_clusters *c)
{
    struct leat_error err = {0};

    assert_int_equal(vector_kmeans(o, r->row, r->n, c, &err), 0);
    check(r, o, c, false);
    return c->cost;
}

/* ---- Tests ---- */

static void the_cost_is_that_of_lloyd(void **state)
{
    static const struct {
        uint32_t n, dims, groups, k;
        double apart, off;
    } shapes[] = {{1000, 16, 40, 8, 1, 0},    {1500, 33, 30, 20, 0.7, 1000}, {700, 128, 20, 2, 1, 5},
                  {2000, 3, 100, 50, 2, -30}, {1200, 64, 60, 33, 0.5, 0},    {3000, 8, 300, 300, 1, 0}};

    (void)state;
    for (uint32_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
        struct rows r = rows_new(shapes[i].n, shapes[i].dims, shapes[i].groups, shapes[i].apart, shapes[i].off);
        struct vector_clusters c = clusters_new(shapes[i].k, r.dims, r.n);
        struct vector_kmeans o = {.dims = r.dims, .centres = shapes[i].k, .rounds = 20, .seed = i};
        double plain = reference(&r, shapes[i].k, 20), ours = run(&r, &o, &c);

        print_message("%u centres: %.4f of the plain cost\n", o.centres, ours / plain);
        assert_int_equal(c.count, o.centres);
        assert_true(ours <= 1.05 * plain);
        rows_free(&r);
        clusters_free(&c);
    }
}

/* Two centres and more of at most so many rows; the cost is little more than without the bound. */
static void bounds_hold(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 60; round++) {
        uint32_t n = 20 + below(800), k = round % 2 == 0 ? 2 : 2 + below(12), dims = 1 + below(40);
        uint32_t even = (n + k - 1) / k;
        struct rows r = rows_new(n, dims, 1 + below(10), below(4), below(3) * 100);
        struct vector_clusters c = clusters_new(k, dims, n);
        struct vector_kmeans o = {.dims = dims, .centres = k, .rounds = 10, .most = even + below(even / 2 + 1),
                                  .seed = round};

        run(&r, &o, &c);
        assert_int_equal(c.count, k);
        for (uint32_t i = 0; i < c.count; i++)
            assert_in_range(c.size[i], 1, o.most);
        rows_free(&r);
        clusters_free(&c);
    }
}

/* Of one group in two halves: no split into halves can be much cheaper than this one. */
static void a_balanced_split_is_good(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 5; round++) {
        struct rows r = rows_new(600, 24, 8, 1, 0);
        struct vector_clusters c = clusters_new(2, r.dims, r.n);
        struct vector_kmeans o = {.dims = r.dims, .centres = 2, .rounds = 20, .seed = round};
        double loose = run(&r, &o, &c);

        o.most = 330;
        double bound = run(&r, &o, &c);
        print_message("sizes %u and %u, cost %.4f of that without a bound\n", c.size[0], c.size[1], bound / loose);
        assert_true(bound <= 1.1 * loose);
        rows_free(&r);
        clusters_free(&c);
    }
}

static void the_same_comes_again(void **state)
{
    struct rows r = rows_new(1000, 20, 30, 1, 0);
    struct vector_clusters a = clusters_new(40, 20, 1000), b = clusters_new(40, 20, 1000);

    (void)state;
    for (uint32_t kind = 0; kind < 5; kind++) {
        struct vector_kmeans o = {.dims = 20, .centres = 40, .rounds = 8, .most = kind == 1 ? 30 : 0,
                                  .batch = kind == 2 ? 300 : 0, .spherical = kind == 3, .seed = 9};

        for (uint32_t i = 0; i < 2; i++)
            assert_int_equal((kind == 4 ? vector_kmeans_tree(&o, 1, r.row, r.n, i == 0 ? &a : &b, NULL)
                                        : vector_kmeans(&o, r.row, r.n, i == 0 ? &a : &b, NULL)), 0);
        assert_int_equal(a.count, b.count);
        assert_memory_equal(a.centre, b.centre, a.count * 20 * sizeof(float));
        assert_memory_equal(a.label, b.label, r.n * sizeof(uint32_t));
        check(&r, &o, &a, kind == 3);
        o.seed = 10;
        assert_int_equal(vector_kmeans(&o, r.row, r.n, &b, NULL), 0);
        assert_memory_not_equal(a.centre, b.centre, 40 * 20 * sizeof(float));
    }
    rows_free(&r);
    clusters_free(&a);
    clusters_free(&b);
}

static void few_rows_are_enough(void **state)
{
    (void)state;
    for (uint32_t n = 1; n < 12; n++)
        for (uint32_t k = 1; k < 14; k += 3) {
            struct rows r = rows_new(n, 5, 3, 4, 0);
            struct vector_clusters c = clusters_new(k, 5, n);
            struct vector_kmeans o = {.dims = 5, .centres = k, .rounds = 20};

            run(&r, &o, &c);
            assert_int_equal(c.count, k < n ? k : n);
            assert_true(k < n || c.cost == 0);
            if (k == 1)
                for (uint32_t d = 0; d < 5; d++) {
                    double sum = 0;

                    for (uint32_t i = 0; i < n; i++)
                        sum += (double)r.value[i * 5 + d];
                    assert_true(fabs(sum / n - (double)c.centre[d]) < 1e-5);
                }
            rows_free(&r);
            clusters_free(&c);
        }
}

/* Some points, many rows at each: a centre for each point, whatever is wished; bounds part no equal rows. */
static void equal_rows_stay_together(void **state)
{
    enum { N = 500, DIMS = 7 };

    (void)state;
    for (uint32_t points = 1; points < 6; points++)
        for (uint32_t most = 0; most <= 300; most += 100) {
            struct rows r = rows_new(N, DIMS, 1, 0, 100), from = rows_new(points, DIMS, 1, 0, 100);
            uint32_t k = most == 0 ? 8 : (N + most - 1) / most + 1, of[5];
            struct vector_clusters c = clusters_new(k, DIMS, N);
            struct vector_kmeans o = {.dims = DIMS, .centres = k, .rounds = 10, .most = most, .seed = points};

            for (uint32_t i = 0; i < N; i++)
                r.row[i] = from.row[i < points ? i : below(points)];
            assert_int_equal(vector_kmeans(&o, r.row, N, &c, NULL), 0);
            assert_true(c.count <= points);
            assert_true(most > 0 || (c.count == points && c.cost == 0));
            memcpy(of, c.label, points * sizeof(*of));
            for (uint32_t i = 0; i < N; i++)
                assert_int_equal(c.label[i], of[(uint32_t)((const float *)r.row[i] - from.value) / DIMS]);
            rows_free(&r);
            rows_free(&from);
            clusters_free(&c);
        }
}

static void spherical_centres_have_length_one(void **state)
{
    enum { N = 900, DIMS = 24, K = 12 };
    struct rows r = rows_new(N, DIMS, 20, 1, 0);
    struct vector_clusters c = clusters_new(K, DIMS, N);
    struct vector_kmeans o = {.dims = DIMS, .centres = K, .rounds = 10, .spherical = true};

    (void)state;
    memset(r.value, 0, DIMS * sizeof(float)); /* a row without a direction */
    run(&r, &o, &c);
    for (uint32_t k = 0; k < K; k++) {
        double square = 0;

        for (uint32_t d = 0; d < DIMS; d++)
            square += (double)c.centre[k * DIMS + d] * (double)c.centre[k * DIMS + d];
        assert_true(fabs(square - 1) < 1e-5);
    }
    rows_free(&r);
    clusters_free(&c);
}

/* Batches of a tenth cost a little more; a tree does too, less when it is refined. */
static void shortcuts_cost_little(void **state)
{
    enum { N = 20000, DIMS = 16, K = 400 };
    struct rows r = rows_new(N, DIMS, 1000, 1, 10);
    struct vector_clusters c = clusters_new(K, DIMS, N);
    struct vector_kmeans o = {.dims = DIMS, .centres = K, .rounds = 10, .seed = 3};
    double plain = run(&r, &o, &c), found;

    (void)state;
    for (uint32_t refine = 0; refine < 3; refine++) {
        assert_int_equal(vector_kmeans_tree(&o, refine, r.row, N, &c, NULL), 0);
        check(&r, &o, &c, refine == 0);
        assert_int_equal(c.count, K);
        print_message("tree, refined %u times: %.4f of the plain cost\n", refine, c.cost / plain);
        assert_true(c.cost <= (refine == 0 ? 1.12 : 1.05) * plain);
    }
    o.most = 75;
    assert_int_equal(vector_kmeans_tree(&o, 1, r.row, N, &c, NULL), 0);
    check(&r, &o, &c, true);
    for (uint32_t i = 0; i < c.count; i++)
        assert_in_range(c.size[i], 1, 75);
    o.most = 0;
    o.batch = N / 10;
    o.rounds = 40;
    found = run(&r, &o, &c);
    print_message("batches: %.4f of the plain cost\n", found / plain);
    assert_true(found <= 1.05 * plain);
    rows_free(&r);
    clusters_free(&c);
}

/* Values near the largest there are give squares that are infinite, but no centre that is not finite. */
static void large_values_give_numbers(void **state)
{
    struct rows r = rows_new(200, 9, 4, 3, 0);
    struct vector_clusters c = clusters_new(5, 9, 200);
    struct vector_kmeans o = {.dims = 9, .centres = 5, .rounds = 10};

    (void)state;
    for (uint32_t i = 0; i < 200 * 9; i++)
        r.value[i] *= 1e36F;
    assert_int_equal(vector_kmeans(&o, r.row, 200, &c, NULL), 0);
    for (uint32_t i = 0; i < c.count * 9; i++)
        assert_true(isfinite(c.centre[i]));
    for (uint32_t i = 0; i < 200; i++)
        assert_true(c.label[i] < c.count);
    rows_free(&r);
    clusters_free(&c);
}

static void nonsense_is_refused(void **state)
{
    struct rows r = rows_new(10, 2, 1, 1, 0);
    struct vector_clusters c = clusters_new(3, 2, 10);
    struct leat_error err = {0};

    (void)state;
    assert_int_equal(vector_kmeans(&(struct vector_kmeans){.dims = 2, .centres = 3}, r.row, 0, &c, &err), LEAT_EINVAL);
    assert_int_equal(vector_kmeans(&(struct vector_kmeans){.dims = 2}, r.row, 10, &c, &err), LEAT_EINVAL);
    assert_int_equal(vector_kmeans(&(struct vector_kmeans){.centres = 3}, r.row, 10, &c, &err), LEAT_EINVAL);
    assert_int_equal(vector_kmeans_tree(&(struct vector_kmeans){.dims = 2}, 1, r.row, 10, &c, &err), LEAT_EINVAL);
    assert_int_equal(vector_kmeans(&(struct vector_kmeans){.dims = 2, .centres = 3, .most = 3}, r.row, 10, &c, &err),
                     LEAT_EINVAL);
    assert_non_null(strstr(err.text, "at most 3 rows"));
    rows_free(&r);
    clusters_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cost_is_that_of_lloyd),
        cmocka_unit_test(bounds_hold),
        cmocka_unit_test(a_balanced_split_is_good),
        cmocka_unit_test(the_same_comes_again),
        cmocka_unit_test(few_rows_are_enough),
        cmocka_unit_test(equal_rows_stay_together),
        cmocka_unit_test(spherical_centres_have_length_one),
        cmocka_unit_test(shortcuts_cost_little),
        cmocka_unit_test(large_values_give_numbers),
        cmocka_unit_test(nonsense_is_refused),
    };

    draw_from(4711);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
