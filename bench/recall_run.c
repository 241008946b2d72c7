/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/recall.h"

#include <pthread.h>

enum { WARM = 50 }; /* queries before the clock starts */

/* What one thread does: each of so many queries. */
struct runner {
    struct recall_run *run;
    uint32_t first, step, value;
    uint32_t queries;
    double *took;     /* of each query */
    uint64_t *found;  /* k of each; NULL: nobody wants to know */
    int code;
    struct leat_error err;
    pthread_t thread;
};

static uint64_t number_of(struct leat_value id)
{
    uint64_t number = 0;

    if (id.type != LEAT_STR)
        return id.as.u;
    for (size_t i = 0; i < id.as.bytes.size; i++)
        number = number * 10 + (uint64_t)(((const char *)id.as.bytes.base)[i] - '0');
    return id.as.bytes.size > 0 && id.as.bytes.size < 20 ? number : UINT64_MAX;
}

static void keep(const struct leat_batch *rows, uint32_t k, uint64_t *found)
{
    uint32_t id = 0;

    while (id < rows->columns && strcmp(rows->column[id].name, "id") != 0)
        id++;
    for (uint32_t i = 0; i < k; i++)
        found[i] = i < rows->rows && id < rows->columns ? number_of(leat_at(rows, i, id)) : UINT64_MAX;
}

static struct leat_row request_of(const struct recall_run *run, uint32_t query, uint32_t knob, bool stats,
                                  struct leat_value value[LIMIT_COLUMNS])
{
    const struct recall_request *r = &run->request;

    for (uint32_t i = 0; i < r->takes->columns; i++)
        value[i] = leat_null();
    value[r->vec] = run->set->query[query];
    if (r->k >= 0)
        value[r->k] = leat_u32(run->set->k);
    if (r->knob >= 0)
        value[r->knob] = leat_u32(knob);
    if (r->stats >= 0 && stats)
        value[r->stats] = leat_bool(true);
    return (struct leat_row){value, r->takes->columns};
}

static void ask_one(struct runner *r, uint32_t query)
{
    const struct recall_run *run = r->run;
    struct leat_value value[LIMIT_COLUMNS];
    struct leat_row request = request_of(run, query, r->value, false, value);
    struct leat_result *result;

    double start = bench_now();
    r->code = leat_query(run->leat, run->module->name, run->module->query, request, NULL, &result, &r->err);
    r->took[query] = bench_now() - start;
    if (r->code != 0)
        return;
    if (r->found != NULL)
        keep(leat_result_rows(result), run->set->k, r->found + (size_t)query * run->set->k);
    leat_result_free(result);
}

static void *ask_all(void *context)
{
    struct runner *r = context;

    for (uint32_t i = r->first; i < r->queries && r->code == 0; i += r->step)
        ask_one(r, i);
    return NULL;
}

/* All threads; *wall: seconds until the last was done; *busy: those of processors, the engine's threads among them. */
static int ask_with(struct recall_run *run, uint32_t value, uint32_t queries, double *took, uint64_t *found,
                    double *wall, double *busy, struct leat_error *err)
{
    struct runner *r = base_alloc(run->threads * sizeof(*r));
    double start = bench_now();
    int rv = 0;

    *busy = recall_processors();
    for (uint32_t i = 0; i < run->threads; i++) {
        r[i] = (struct runner){.run = run, .first = i, .step = run->threads, .value = value, .queries = queries,
                               .took = took, .found = found};
        leat_assert(pthread_create(&r[i].thread, NULL, ask_all, &r[i]) == 0);
    }
    for (uint32_t i = 0; i < run->threads; i++) {
        pthread_join(r[i].thread, NULL);
        if (rv == 0 && r[i].code != 0) {
            rv = r[i].code;
            *err = r[i].err;
        }
    }
    *wall = bench_now() - start;
    *busy = recall_processors() - *busy;
    free(r);
    return rv;
}

/* ---- What a query costs ---- */

double recall_stat(struct leat_value map, const char *name)
{
    struct leat_span bytes = map.type == LEAT_ANY ? map.as.bytes : (struct leat_span){0};
    struct leat_any_item item, key, value;

    if (leat_any_read(&bytes, &item) != 0 || item.kind != LEAT_ANY_MAP)
        return 0;
    for (uint32_t i = 0; i < item.count; i++) {
        if (leat_any_read(&item.elements, &key) != 0 || leat_any_read(&item.elements, &value) != 0)
            return 0;
        if (key.value.type == LEAT_STR && span_equal(key.value.as.bytes, span_text(name)) &&
            value.value.type == LEAT_I64)
            return (double)value.value.as.i;
    }
    return 0;
}

/* Of the first row's stats, where a module gives them; else of its own query that
 * counts, which takes the vector alone. */
static void add_cost(const struct recall_run *run, const struct leat_batch *rows, struct recall_point *to)
{
    uint32_t stats = 0;

    while (stats < rows->columns && strcmp(rows->column[stats].name, "stats") != 0)
        stats++;
    if (rows->rows == 0)
        return;
    if (stats == rows->columns) {
        to->candidates += (double)leat_at(rows, 0, 0).as.i / run->set->queries;
        return;
    }
    to->candidates += recall_stat(leat_at(rows, 0, stats), "scored") / run->set->queries;
    to->ranked += recall_stat(leat_at(rows, 0, stats), "ranked") / run->set->queries;
}

static int count_cost(const struct recall_run *run, uint32_t knob, struct recall_point *to, struct leat_error *err)
{
    const struct recall_module *m = run->module;
    struct leat_value value[LIMIT_COLUMNS];
    struct leat_result *result;
    int rv = 0;

    to->candidates = 0;
    to->ranked = m->candidates != NULL ? -1 : 0;
    for (uint32_t i = 0; i < run->set->queries && rv == 0; i++) {
        struct leat_row request = m->candidates != NULL ? LEAT_ROW(run->set->query[i])
                                                        : request_of(run, i, knob, true, value);

        rv = leat_query(run->leat, m->name, m->candidates != NULL ? m->candidates : m->query, request, NULL, &result,
                        err);
        if (rv != 0)
            break;
        add_cost(run, leat_result_rows(result), to);
        leat_result_free(result);
    }
    return rv;
}

int recall_run(struct recall_run *r, uint32_t value, bool cost, struct recall_point *out, struct leat_error *err)
{
    uint32_t queries = r->set->queries, hits = 0;
    double *took = base_alloc(queries * sizeof(*took)), wall, busy;
    uint64_t *found = base_alloc((size_t)queries * r->set->k * sizeof(*found));
    int rv = ask_with(r, value, queries < WARM ? queries : WARM, took, NULL, &wall, &busy, err);

    *out = (struct recall_point){.value = value, .candidates = -1, .ranked = -1};
    if (rv == 0)
        rv = ask_with(r, value, queries, took, found, &wall, &busy, err);
    if (rv == 0 && cost && (r->module->candidates != NULL || r->request.stats >= 0))
        rv = count_cost(r, value, out, err);
    for (uint32_t i = 0; i < queries && rv == 0; i++)
        hits += recall_hits(r->set, i, found + (size_t)i * r->set->k);
    if (rv == 0) {
        qsort(took, queries, sizeof(*took), bench_compare);
        out->recall = (double)hits / ((double)queries * r->set->k);
        out->qps = queries / wall;
        out->busy = queries / busy;
        out->p50 = took[queries / 2] * 1e6;
        out->p99 = took[queries - 1 - queries / 100] * 1e6;
    }
    free(found);
    free(took);
    return rv;
}
