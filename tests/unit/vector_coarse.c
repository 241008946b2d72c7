/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/vectors.h"

#include <stdlib.h>
#include <string.h>

#include "modules/vector/coarse.h"

/* Versions against lists, searches against all distances in double precision. */

/* ---- The model: a version as a list ---- */

struct model {
    uint32_t count, dims;
    uint32_t *number;
    float *row;
};

static struct model model_copy(const struct model *from, uint32_t room)
{
    struct model m = *from;

    m.number = malloc((room + 1) * sizeof(*m.number));
    m.row = malloc((size_t)(room + 1) * m.dims * sizeof(*m.row));
    if (m.count > 0) {
        memcpy(m.number, from->number, m.count * sizeof(*m.number));
        memcpy(m.row, from->row, (size_t)m.count * m.dims * sizeof(*m.row));
    }
    return m;
}

static void model_free(struct model *m)
{
    free(m->number);
    free(m->row);
}

static double distance(enum vector_metric metric, const float *a, const float *b, uint32_t dims)
{
    return metric == VECTOR_DOT ? -dot_of(a, b, dims) : square_of(a, b, dims);
}

struct pair {
    double distance;
    uint32_t number;
};

static int compare(const void *left, const void *right)
{
    const struct pair *a = left, *b = right;

    return a->distance < b->distance ? -1 : a->distance > b->distance ? 1 : a->number < b->number ? -1 : 1;
}

/* All of them, nearest first. */
static struct pair *sorted(const struct model *m, enum vector_metric metric, const float *query)
{
    struct pair *all = malloc((m->count + 1) * sizeof(*all));

    for (uint32_t i = 0; i < m->count; i++)
        all[i] = (struct pair){distance(metric, query, m->row + (size_t)i * m->dims, m->dims), m->number[i]};
    qsort(all, m->count, sizeof(*all), compare);
    return all;
}

/* ---- A search ---- */

struct answer {
    uint32_t count;
    struct vector_near *near;
};

/* In room for as many or more: more are compared without codes, which need room of their own. */
static struct answer search(const struct vector_coarse *c, const float *query, uint32_t n)
{
    enum { BEHIND = 4096 };
    size_t size = vector_coarse_room(c, n + below(60)) + 1;
    uint8_t *room = malloc(size + BEHIND);
    struct answer a = {.near = malloc((n + 1) * sizeof(*a.near))};

    memset(room + size, 0x5a, BEHIND);
    a.count = vector_coarse_search(c, query, NULL, n, a.near, room + 1);
    for (uint32_t i = 0; i < BEHIND; i++)
        assert_int_equal(room[size + i], 0x5a);
    free(room);
    return a;
}

/* What holds of every answer: order, and each distance is that of the centroid of this number. */
static void check_answer(const struct vector_coarse *c, enum vector_metric metric, uint32_t dims, const float *query,
                         uint32_t n, const struct answer *a)
{
    uint32_t count = vector_coarse_count(c);

    assert_int_equal(a->count, n < count ? n : count);
    for (uint32_t i = 0; i < a->count; i++) {
        const struct vector_near *at = &a->near[i];
        double d = distance(metric, query, at->centroid, dims);

        assert_ptr_equal(at->centroid, vector_coarse_find(c, at->number));
        assert_true(fabs(d - (double)at->distance) <= 1e-4 * (fabs(d) + 1));
        assert_true(i == 0 || at->distance > at[-1].distance ||
                    (at->distance == at[-1].distance && at->number > at[-1].number));
    }
}

/* ---- Versions ---- */

static void check_version(const struct vector_coarse *c, const struct model *m, enum vector_metric metric)
{
    float query[128];
    uint32_t n = 1 + below(20);

    assert_int_equal(vector_coarse_count(c), m->count);
    for (uint32_t i = 0; i < m->count; i++) {
        const float *row = vector_coarse_find(c, m->number[i]);

        assert_non_null(row);
        assert_memory_equal(row, m->row + (size_t)i * m->dims, m->dims * sizeof(float));
    }
    assert_null(vector_coarse_find(c, UINT32_MAX));
    for (uint32_t i = 0; i < m->dims; i++)
        query[i] = normal();
    struct answer a = search(c, query, n);
    struct pair *all = sorted(m, metric, query);
    check_answer(c, metric, m->dims, query, n, &a);
    assert_true(a.count == 0 || m->count >= 128 || fabs((double)a.near[0].distance - all[0].distance) < 1e-4);
    free(all);
    free(a.near);
}

static void change(struct vector_coarse *c, struct model *m, uint32_t *next)
{
    uint32_t kind = below(10), at = m->count > 0 ? below(m->count) : 0, last = m->count - 1;
    float row[128];
    struct leat_error err;

    for (uint32_t i = 0; i < m->dims; i++)
        row[i] = normal();
    if (m->count == 0 || kind < 6) {
        assert_int_equal(vector_coarse_add(c, *next, row, &err), 0);
        m->number[m->count] = *next;
        memcpy(m->row + (size_t)m->count++ * m->dims, row, m->dims * sizeof(float));
        *next += 1 + below(3);
    } else {
        assert_int_equal(vector_coarse_remove(c, m->number[at], &err), 0);
        m->number[at] = m->number[last];
        memmove(m->row + (size_t)at * m->dims, m->row + (size_t)last * m->dims, m->dims * sizeof(float));
        m->count--;
    }
}

/* Some versions live at a time; each stays what it was. The oldest is dropped, or any. */
static void versions_stay_what_they_were(void **state)
{
    enum { LIVE = 5, ROUNDS = 120, ROOM = 4000 };
    static const uint32_t dims[] = {1, 3, 64, 128};

    (void)state;
    for (uint32_t kind = 0; kind < 8; kind++) {
        enum vector_metric metric = kind < 4 ? VECTOR_L2 : VECTOR_DOT;
        struct vector_coarse *version[LIVE] = {NULL};
        struct model model[LIVE], empty = {.dims = dims[kind % 4]};
        uint32_t next = 1, last = 0;

        for (uint32_t i = 0; i < LIVE; i++)
            model[i] = model_copy(&empty, 0);
        assert_int_equal(vector_coarse_new(empty.dims, metric, &version[0], NULL), 0);
        for (uint32_t round = 0; round < ROUNDS; round++) {
            uint32_t at = (last + 1 + below(LIVE - 1)) % LIVE;

            vector_coarse_drop(version[at]);
            model_free(&model[at]);
            assert_int_equal(vector_coarse_next(version[last], &version[at], NULL), 0);
            model[at] = model_copy(&model[last], model[last].count + 60);
            for (uint32_t changes = below(below(8) == 0 ? 60 : 6); changes > 0; changes--)
                change(version[at], &model[at], &next);
            last = at;
            for (uint32_t i = 0; i < LIVE && (round % 8 == 0 || round + 1 == ROUNDS); i++)
                if (version[i] != NULL)
                    check_version(version[i], &model[i], metric);
        }
        for (uint32_t i = 0; i < LIVE; i++) {
            vector_coarse_drop(version[i]);
            model_free(&model[i]);
        }
    }
}

static void what_is_not_there_is_told(void **state)
{
    struct vector_coarse *c;
    struct leat_error err;
    float row[2] = {1, 2};

    (void)state;
    assert_int_equal(vector_coarse_new(2, VECTOR_L2, &c, &err), 0);
    assert_int_equal(vector_coarse_remove(c, 7, &err), LEAT_ENOTFOUND);
    assert_non_null(strstr(err.text, "no centroid 7"));
    struct answer a = search(c, row, 3);
    assert_int_equal(a.count, 0);
    free(a.near);
    assert_int_equal(vector_coarse_add(c, 7, row, &err), 0);
    a = search(c, row, 3);
    assert_true(a.count == 1 && a.near[0].number == 7 && a.near[0].distance == 0);
    free(a.near);
    a = search(c, row, 0);
    assert_int_equal(a.count, 0);
    free(a.near);
    assert_int_equal(vector_coarse_remove(c, 7, &err), 0);
    assert_int_equal(vector_coarse_count(c), 0);
    vector_coarse_drop(c);
    vector_coarse_drop(NULL);
}

/* ---- Recall ---- */

/* Rows that lie near a space of few dimensions, as embeddings do, and off the origin; rotated. */
static void rows_make(const struct vector_rotation *r, float *row, uint32_t n, uint32_t rank)
{
    uint32_t dims = r->dims;
    float *map = malloc((size_t)rank * dims * sizeof(*map));

    for (uint32_t i = 0; i < rank * dims; i++)
        map[i] = (float)((double)normal() / sqrt(rank));
    for (uint32_t i = 0; i < n; i++) {
        float *to = row + (size_t)i * dims;

        for (uint32_t d = 0; d < dims; d++)
            to[d] = (float)(2 + 0.1 * (double)normal());
        for (uint32_t k = 0; k < rank; k++) {
            float z = normal();

            for (uint32_t d = 0; d < dims; d++)
                to[d] += z * map[k * dims + d];
        }
        vector_rotate(r, to, to);
    }
    free(map);
}

static double recall(const struct vector_coarse *c, enum vector_metric metric, uint32_t dims, const float *query,
                     struct pair *const *truth, uint32_t queries, uint32_t n)
{
    struct vector_near *near = malloc((size_t)queries * n * sizeof(*near));
    const float **at = malloc(queries * sizeof(*at));
    void *room = malloc(vector_coarse_room(c, n));
    uint32_t hits = 0;

    for (uint32_t i = 0; i < queries; i++)
        at[i] = query + (size_t)i * dims;
    assert_int_equal(vector_coarse_search_many(c, at, queries, n, near, room), n);
    for (uint32_t i = 0; i < queries; i++) {
        struct answer one = search(c, at[i], n), many = {n, near + (size_t)i * n};
        double last = truth[i][n - 1].distance;

        if (n < 100)
            check_answer(c, metric, dims, at[i], n, &many);
        for (uint32_t j = 0; j < n; j++) {
            assert_true(one.near[j].number == many.near[j].number);
            hits += (double)many.near[j].distance <= last + 1e-4 * (fabs(last) + 1);
        }
        free(one.near);
    }
    free(near);
    free(at);
    free(room);
    return hits / ((double)queries * n);
}

/* A walk in steps of any size comes by each centroid once, nearest first, and misses as few as searches do. Returns how
 * many of the first n are not farther than the n-th true one. */
static uint32_t walk(const struct vector_coarse *c, enum vector_metric metric, uint32_t dims, const float *query,
                     const struct pair *truth, uint32_t n)
{
    uint32_t count = vector_coarse_count(c), found = 0, hits = 0;
    struct vector_near *near = malloc((count + 1) * sizeof(*near));
    uint8_t *room = malloc(vector_walk_room(c) + 1);
    struct vector_walk *w = vector_walk_begin(c, query, NULL, room + 1);

    while (found < count) {
        uint32_t step = 1 + below(below(4) == 0 ? count : 50), more = vector_walk_on(w, step, near + found);

        assert_true(more > 0 && more <= count - found);
        found += more;
    }
    assert_int_equal(vector_walk_on(w, 1, near + found), 0);
    for (uint32_t i = 0; i < n; i++)
        hits += (double)near[i].distance <= truth[n - 1].distance + 1e-4 * (fabs(truth[n - 1].distance) + 1);
    bool *seen = calloc(count, sizeof(*seen)); /* numbers are multiples of 10 */
    for (uint32_t i = 0; i < count; i++) {
        assert_ptr_equal(near[i].centroid, vector_coarse_find(c, near[i].number));
        assert_true(fabs(distance(metric, query, near[i].centroid, dims) - (double)near[i].distance) <=
                    1e-4 * (fabs((double)near[i].distance) + 1));
        assert_false(seen[near[i].number / 10]);
        seen[near[i].number / 10] = true;
    }
    free(seen);
    free(room);
    free(near);
    return hits;
}

static void walks_come_by_all(const struct vector_coarse *c, enum vector_metric metric, const struct model *m,
                              const float *query, uint32_t queries)
{
    static const uint32_t wish[] = {1, 40, 700};
    uint32_t hits[3] = {0};

    for (uint32_t i = 0; i < queries; i++) {
        struct pair *truth = sorted(m, metric, query + (size_t)i * m->dims);

        for (uint32_t j = 0; j < 3; j++)
            hits[j] += walk(c, metric, m->dims, query + (size_t)i * m->dims, truth, wish[j]);
        free(truth);
    }
    for (uint32_t j = 0; j < 3; j++)
        assert_true(queries * wish[j] - hits[j] <= 1 + queries * wish[j] / 100);
}

static void recalls_are_high(const struct vector_coarse *c, enum vector_metric metric, const struct model *m,
                             const float *query, uint32_t queries)
{
    static const uint32_t wish[] = {1, 10, 40, 150, 1500};
    struct pair **truth = malloc(queries * sizeof(*truth));

    for (uint32_t i = 0; i < queries; i++)
        truth[i] = sorted(m, metric, query + (size_t)i * m->dims);
    for (uint32_t i = 0; i < sizeof(wish) / sizeof(*wish); i++) {
        double found = recall(c, metric, m->dims, query, truth, queries, wish[i]);

        print_message("%u dims, %s, %u of %u: %.4f\n", m->dims, metric == VECTOR_L2 ? "l2" : "dot", wish[i], m->count,
                      found);
        assert_true((1 - found) * queries * wish[i] <= 1.01 + 0.01 * queries * wish[i]); /* one in a hundred, or one */
    }
    for (uint32_t i = 0; i < queries; i++)
        free(truth[i]);
    free(truth);
}

/* Many centroids, so that codes choose: n of each query, and after a tenth was removed. */
static void the_nearest_are_found(void **state)
{
    enum { COUNT = 3000, QUERIES = 50 };
    static const uint32_t dims[] = {64, 192, 100};
    struct leat_error err;

    (void)state;
    for (uint32_t kind = 0; kind < 6; kind++) {
        enum vector_metric metric = kind < 3 ? VECTOR_L2 : VECTOR_DOT;
        struct vector_rotation r;
        struct vector_coarse *c;

        assert_int_equal(vector_rotation_new(&r, dims[kind % 3], kind), 0);
        uint32_t width = r.dims;
        struct model m = {.dims = width}, all = model_copy(&m, COUNT + QUERIES);
        if (r.padded == r.dims)
            rows_make(&r, all.row, COUNT + QUERIES, 16);
        else
            for (uint32_t i = 0; i < (COUNT + QUERIES) * width; i++)
                all.row[i] = normal();
        assert_int_equal(vector_coarse_new(width, metric, &c, &err), 0);
        for (uint32_t i = 0; i < COUNT; i++) {
            all.number[i] = 10 * i;
            assert_int_equal(vector_coarse_add(c, 10 * i, all.row + (size_t)i * width, &err), 0);
        }
        all.count = COUNT;
        for (uint32_t part = 0; part < 2; part++) {
            recalls_are_high(c, metric, &all, all.row + (size_t)COUNT * width, QUERIES);
            walks_come_by_all(c, metric, &all, all.row + (size_t)COUNT * width, 10);
            for (uint32_t i = 0; i < COUNT / 10 && part == 0; i++)
                assert_int_equal(vector_coarse_remove(c, 10 * (all.count - 1 - i), &err), 0);
            all.count -= part == 0 ? COUNT / 10 : 0;
        }
        vector_coarse_drop(c);
        vector_rotation_free(&r);
        model_free(&all);
    }
}

/* Nearly all in one place, some elsewhere. */
static void equal_centroids_are_no_trouble(void **state)
{
    struct vector_rotation r;
    struct vector_coarse *c;
    float row[64], query[64];

    (void)state;
    assert_int_equal(vector_rotation_new(&r, 64, 5), 0);
    assert_int_equal(vector_coarse_new(64, VECTOR_L2, &c, NULL), 0);
    for (uint32_t i = 0; i < 5000; i++) {
        memset(row, 0, sizeof(row));
        row[0] = i % 100 == 7 ? (float)i : 1;
        vector_rotate(&r, row, row);
        assert_int_equal(vector_coarse_add(c, i, row, NULL), 0);
        memcpy(query, row, i == 4507 ? sizeof(row) : 0);
    }
    struct answer a = search(c, query, 60);
    check_answer(c, VECTOR_L2, 64, query, 60, &a);
    assert_int_equal(a.near[0].number, 4507);
    free(a.near);
    a = search(c, row, 60);
    check_answer(c, VECTOR_L2, 64, row, 60, &a);
    assert_true(a.near[59].distance == 0);
    free(a.near);
    vector_coarse_drop(c);
    vector_rotation_free(&r);
}

/* A table that was made for other scans gives the same answers. */
static void a_table_may_be_given(void **state)
{
    enum { COUNT = 2500 };
    struct vector_rotation r;
    struct vector_coarse *c;
    float *row = malloc((size_t)(COUNT + 20) * 128 * sizeof(*row));
    uint32_t same = 0;

    (void)state;
    assert_int_equal(vector_rotation_new(&r, 128, 5), 0);
    assert_int_equal(vector_coarse_new(128, VECTOR_L2, &c, NULL), 0);
    rows_make(&r, row, COUNT + 20, 16);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(vector_coarse_add(c, i, row + (size_t)i * 128, NULL), 0);
    for (uint32_t i = COUNT; i < COUNT + 20; i++) {
        const float *query = row + (size_t)i * 128;
        uint8_t made[4 * 128], *room = malloc(vector_coarse_room(c, 50));
        struct vector_query table;
        struct vector_near near[50];

        vector_query_begin(&table, query, 128, VECTOR_EPSILON, made);
        struct answer a = search(c, query, 50);
        assert_int_equal(vector_coarse_search(c, query, &table, 50, near, room), 50);
        for (uint32_t j = 0; j < 50; j++)
            same += near[j].number == a.near[j].number;
        free(a.near);
        free(room);
    }
    assert_int_equal(same, 20 * 50);
    vector_coarse_drop(c);
    vector_rotation_free(&r);
    free(row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_stay_what_they_were),
        cmocka_unit_test(what_is_not_there_is_told),
        cmocka_unit_test(the_nearest_are_found),
        cmocka_unit_test(equal_centroids_are_no_trouble),
        cmocka_unit_test(a_table_may_be_given),
    };

    draw_from(8086);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
