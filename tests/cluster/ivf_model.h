/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CLUSTER_IVF_MODEL_H
#define TESTS_CLUSTER_IVF_MODEL_H

/* Indexes of f32 vectors with ids u64, held against an array of what they must have. */

#include "tests/cluster/cluster.h"

#include <math.h>

#include "modules/modules.h"

struct ivf_model {
    struct leat_test *t;
    uint32_t dims, ids;
    bool *there;
    float *vector;
};

static inline struct ivf_model *model_open(struct leat_test *t, uint32_t dims, uint32_t ids)
{
    struct ivf_model *m = calloc(1, sizeof(*m));

    *m = (struct ivf_model){.t = t, .dims = dims, .ids = ids, .there = calloc(ids, sizeof(*m->there)),
                            .vector = calloc((size_t)ids * dims, sizeof(float))};
    return m;
}

static inline void model_close(struct ivf_model *m)
{
    leat_test_close(m->t);
    free(m->there);
    free(m->vector);
    free(m);
}

static inline float *model_vector(const struct ivf_model *m, uint32_t id)
{
    return m->vector + (size_t)id * m->dims;
}

/* Many rows in one append: they are in few turns. A row without a vector there deletes its id. */
static inline void model_append(struct ivf_model *m, const uint32_t *id, uint32_t count)
{
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;

    must(leat_depot_find(leat_test_leat(m->t), "ivf", "vectors", &d, &err));
    must(leat_rows_new(d, &rows));
    for (uint32_t i = 0; i < count; i++)
        must(leat_rows_add(rows,
                           LEAT_ROW(leat_u64(id[i]),
                                    m->there[id[i]] ? leat_vector(LEAT_F32_VECTOR, model_vector(m, id[i]), m->dims)
                                                    : leat_null(),
                                    leat_null()),
                           &err));
    must(leat_append(d, rows, NULL, NULL, &err));
    leat_rows_free(rows);
}

/* Ids first, first + 1, .. are put, or deleted. */
static inline void model_change(struct ivf_model *m, uint32_t first, uint32_t count, bool there)
{
    uint32_t *id = calloc(count + 1, sizeof(*id));

    for (uint32_t i = 0; i < count; i++) {
        id[i] = first + i;
        m->there[first + i] = there;
    }
    model_append(m, id, count);
    free(id);
}

static inline uint32_t model_count(const struct ivf_model *m)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < m->ids; i++)
        count += m->there[i];
    return count;
}

/* ---- The module with other work in some nodes ---- */

static inline struct leat_module model_module(struct leat_topology topologies[16], struct leat_node nodes[16])
{
    struct leat_module m = module_ivf;

    for (uint32_t i = 0; i == 0 || m.topologies[i - 1].name != NULL; i++)
        topologies[i] = m.topologies[i];
    for (uint32_t i = 0; i == 0 || topologies[0].nodes[i - 1].name != NULL; i++)
        nodes[i] = topologies[0].nodes[i];
    topologies[0].nodes = nodes;
    m.topologies = topologies;
    return m;
}

static inline struct leat_node *model_node(struct leat_node *nodes, const char *name)
{
    while (strcmp(nodes->name, name) != 0)
        nodes++;
    return nodes;
}

/* ---- Until there is nothing left to do ---- */

struct model_stat {
    const char *name;
    double sum;
};

static inline void model_see_stat(void *context, const struct leat_stat *s)
{
    struct model_stat *stat = context;

    if (strcmp(s->name, stat->name) == 0)
        stat->sum += s->value;
}

static inline uint64_t model_stat(const struct ivf_model *m, const char *name)
{
    struct model_stat stat = {name, 0};

    leat_stats(leat_test_leat(m->t), model_see_stat, &stat);
    return (uint64_t)stat.sum;
}

static inline uint64_t model_runs(const struct ivf_model *m)
{
    return model_stat(m, "background_runs_total");
}

/* An index that finds no rest fails the test: its background runs are counted on the way. */
static inline void model_settle(struct ivf_model *m, uint64_t runs_most)
{
    uint64_t before = model_runs(m);
    struct leat_error err = {0, ""};
    uint32_t idle = 0;

    while (idle < 400) {
        int rv = leat_test_step(m->t, &err);

        assert_true(rv >= 0);
        idle = rv > 0 ? 0 : idle + 1;
        if (rv > 0 && model_runs(m) - before > runs_most)
            fail_msg("no rest after %llu background runs", (unsigned long long)(model_runs(m) - before));
    }
    must(leat_test_run(m->t, &err));
}

/* ---- What must hold ---- */

struct ivf_census {
    uint32_t postings, active, asked, moving, chunks, tails, centroids;
    uint32_t first; /* the first posting of all is there: it has no centroid */
    uint32_t largest, small; /* live rows of an active posting; those with less than `less` */
    uint64_t live, dead;
};

static inline uint64_t model_size(struct leat_view *v, uint32_t task, const char *name)
{
    uint32_t pstate = 0;
    uint64_t size = 0;

    assert_int_equal(leat_view_pstate(v, name, &pstate), 0);
    assert_int_equal(leat_size(leat_view_task(v, task), pstate, LEAT_KEYS(), &size), 0);
    return size;
}

static inline void model_census_posting(struct ivf_census *c, uint64_t number, const struct leat_value field[7],
                                        uint32_t less)
{
    uint32_t live = (uint32_t)field[3].as.u;

    c->postings++;
    c->first += number == 0;
    c->active += field[0].as.b;
    c->asked += field[1].as.i != 0;
    c->live += live;
    c->dead += field[2].as.u - live;
    c->largest = live > c->largest ? live : c->largest;
    c->small += live < less;
    for (uint32_t i = 4; i < field[6].as.bytes.size; i += 8) {
        uint32_t moving;

        memcpy(&moving, (const uint8_t *)field[6].as.bytes.base + i, 4);
        c->moving += (uint32_t)__builtin_popcount(moving);
    }
}

static inline struct ivf_census census_of(struct leat *l, uint32_t less)
{
    struct ivf_census c = {0};
    struct leat_error err = {0, ""};
    struct leat_view *v;
    uint32_t postings;

    must(leat_view_open(l, "ivf", &v, &err));
    must(leat_view_pstate(v, "postings", &postings));
    for (uint32_t task = 0; task < leat_view_tasks(v); task++) {
        struct leat_scan *s;
        struct leat_value key, field[7];

        must(leat_scan_open(leat_view_task(v, task), postings, LEAT_KEYS(), NULL, &s));
        while (leat_scan_next(s, &key, field, 7) == 0)
            model_census_posting(&c, key.as.u, field, less);
        leat_scan_close(s);
        c.chunks += (uint32_t)model_size(v, task, "chunks");
        c.tails += (uint32_t)model_size(v, task, "tails");
        c.centroids += (uint32_t)model_size(v, task, "centroids");
    }
    leat_view_close(v);
    return c;
}

static inline struct ivf_census model_census(const struct ivf_model *m, uint32_t less)
{
    return census_of(leat_test_leat(m->t), less);
}

static inline struct leat_result *model_ask(const struct ivf_model *m, const char *query, const float *vector,
                                            uint32_t k, struct leat_value nprobe)
{
    struct leat_error err = {0, ""};
    struct leat_result *r;

    must(leat_query(leat_test_leat(m->t), "ivf", query,
                    LEAT_ROW(leat_vector(LEAT_F32_VECTOR, vector, m->dims), leat_u32(k), nprobe, leat_null(),
                             leat_null(), leat_null(), leat_null(), leat_null(), leat_null()),
                    NULL, &r, &err));
    return r;
}

static inline int64_t model_counted(const struct ivf_model *m)
{
    struct leat_error err = {0, ""};
    struct leat_result *r;

    must(leat_query(leat_test_leat(m->t), "ivf", "count", LEAT_ROW(), NULL, &r, &err));
    int64_t count = leat_at(leat_result_rows(r), 0, 0).as.i;
    leat_result_free(r);
    return count;
}

/* All that is there is found by a search of all postings, each once, and nothing else. */
static inline void model_check_found(const struct ivf_model *m, const float *vector)
{
    struct leat_result *r = model_ask(m, "search", vector, 10000, leat_u32(60000));
    const struct leat_batch *rows = leat_result_rows(r);
    bool *seen = calloc(m->ids, sizeof(*seen));

    for (uint32_t i = 0; i < rows->rows; i++) {
        uint64_t id = leat_at(rows, i, 0).as.u;

        assert_true(id < m->ids && m->there[id] && !seen[id]);
        seen[id] = true;
    }
    assert_int_equal(rows->rows, model_count(m));
    free(seen);
    leat_result_free(r);
}

/* After it has come to rest: counts are exact, nothing is on its way, every posting has its centroid in every group
 * and few rows that are dead; and no turn was given up, as one is in which a row goes round. */
static inline struct ivf_census model_check(const struct ivf_model *m, uint32_t groups, uint32_t less)
{
    struct ivf_census c = model_census(m, less);

    assert_int_equal(c.live, model_count(m));
    assert_int_equal(model_counted(m), model_count(m));
    assert_int_equal(c.moving, 0);
    assert_int_equal(c.asked, 0);
    assert_int_equal(c.active, c.postings);
    assert_true(c.dead <= c.live / 16 + 4 * c.postings);
    assert_int_equal(c.centroids, groups * (c.postings - c.first));
    assert_int_equal(model_stat(m, "aborts_total"), 0);
    return c;
}

#endif
