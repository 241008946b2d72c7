/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include <math.h>
#include <time.h>

#include "modules/modules.h"

/* Searches of ivf against brute force: many at once, shares of the neighbours, filters,
 * stops, and what is wrong in a request. */

enum { DIMS = 16, ROWS = 6000, K = 10, QUERIES = 60, COLUMNS = 9 };
enum { VEC, HOW_MANY, NPROBE, FILTER, ATTRIBUTES, VECTORS, STATS, RECALL, STOP };

static const struct leat_option options[] = {
    {"dims", "16"}, {"metric", "l2"}, {"ids", "u64"}, {"attributes", "part: i64"}, {"target", "32"}, {"split", "64"},
    {"merge", "8"}, {"nprobe", "8"},  {NULL, NULL}};

struct data {
    struct leat_test *t;
    float row[ROWS][DIMS], query[QUERIES][DIMS];
};

/* Around many points, in a few directions each, as vectors of real things are. */
static void make_vector(uint64_t *seed, float *out)
{
    uint64_t around = next_random(seed) % 40;

    for (int i = 0; i < DIMS; i++)
        out[i] = (float)((around * 7919 + (uint64_t)i * 104729) % 97) / 10.0F +
                 (float)(next_random(seed) % 1000) / 150.0F;
}

/* Near to nothing, about normal in each dimension. */
static void make_apart(uint64_t *seed, float *out)
{
    for (int i = 0; i < DIMS; i++) {
        out[i] = 0;
        for (int j = 0; j < 6; j++)
            out[i] += (float)(next_random(seed) % 1000) / 1000.0F;
    }
}

static int part_of(uint32_t row)
{
    return (int)(row * 2654435761U >> 16) % 100;
}

static struct data *open_data_of(const struct way *w, void (*make)(uint64_t *seed, float *out))
{
    struct data *d = calloc(1, sizeof(*d));
    struct leat_error err = {0, ""};
    struct leat_depot *depot;
    struct leat_rows *rows;
    uint64_t seed = 7;

    d->t = open_way(&module_ivf, w, options);
    must(leat_depot_find(leat_test_leat(d->t), "ivf", "vectors", &depot, &err));
    must(leat_rows_new(depot, &rows));
    for (uint32_t i = 0; i < ROWS; i++) {
        uint8_t map[] = {0x81, 0xa4, 'p', 'a', 'r', 't', (uint8_t)part_of(i)};

        make(&seed, d->row[i]);
        must(leat_rows_add(rows, LEAT_ROW(leat_u64(i), leat_vector(LEAT_F32_VECTOR, d->row[i], DIMS),
                                          leat_any(map, sizeof(map))), &err));
    }
    must(leat_append(depot, rows, NULL, NULL, &err));
    leat_rows_free(rows);
    must(leat_test_run(d->t, &err));
    struct leat_result *count;
    must(leat_query(leat_test_leat(d->t), "ivf", "count", LEAT_ROW(), NULL, &count, &err));
    assert_int_equal(leat_at(leat_result_rows(count), 0, 0).as.i, ROWS);
    leat_result_free(count);
    for (int i = 0; i < QUERIES; i++)
        make(&seed, d->query[i]);
    return d;
}

static struct data *open_data(const struct way *w)
{
    return open_data_of(w, make_vector);
}

static void close_data(struct data *d)
{
    leat_test_close(d->t);
    free(d);
}

/* ---- Requests ---- */

struct request {
    struct leat_value value[COLUMNS];
    uint8_t filter[16];
};

static void begin(struct request *r, struct leat_value first)
{
    for (int i = 0; i < COLUMNS; i++)
        r->value[i] = leat_null();
    r->value[VEC] = first;
    r->value[STATS] = leat_bool(true);
}

/* Rows whose part is below. */
static void below(struct request *r, int part)
{
    const uint8_t filter[] = {0x81, 0xa4, 'p', 'a', 'r', 't', 0x81, 0xa2, 'l', 't', (uint8_t)part};

    memcpy(r->filter, filter, sizeof(filter));
    r->value[FILTER] = leat_any(r->filter, sizeof(filter));
}

static struct leat_result *ask(struct data *d, const char *query, const struct request *r)
{
    struct leat_error err = {0, ""};
    struct leat_result *out;

    must(leat_query(leat_test_leat(d->t), "ivf", query, (struct leat_row){r->value, COLUMNS}, NULL, &out, &err));
    return out;
}

static uint64_t probes_of(const struct leat_batch *rows, uint32_t column)
{
    assert_true(stat_of(rows, column, "scored") >= stat_of(rows, column, "ranked"));
    return stat_of(rows, column, "probes");
}

/* ---- Brute force ---- */

static float square(const float *a, const float *b)
{
    float sum = 0;

    for (int i = 0; i < DIMS; i++)
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* The distances of the K nearest rows whose part is below. */
static void nearest(const struct data *d, const float *query, int part, float out[K])
{
    float *all = malloc(ROWS * sizeof(*all));
    uint32_t count = 0;

    for (uint32_t i = 0; i < ROWS; i++)
        if (part_of(i) < part)
            all[count++] = square(d->row[i], query);
    assert_true(count >= K);
    qsort(all, count, sizeof(*all), by_size);
    memcpy(out, all, K * sizeof(*out));
    free(all);
}

struct measured {
    double recall, probes, ranked;
};

static struct measured measure(struct data *d, struct request *r, int part)
{
    struct measured m = {0};
    float truth[K];

    for (int q = 0; q < QUERIES; q++) {
        r->value[VEC] = leat_vector(LEAT_F32_VECTOR, d->query[q], DIMS);
        struct leat_result *result = ask(d, "search", r);
        const struct leat_batch *rows = leat_result_rows(result);

        nearest(d, d->query[q], part, truth);
        assert_int_equal(rows->rows, K);
        m.probes += (double)probes_of(rows, 4) / QUERIES;
        m.ranked += (double)stat_of(rows, 4, "ranked") / QUERIES;
        for (uint32_t i = 0; i < K; i++) {
            assert_true(part_of((uint32_t)leat_at(rows, i, 0).as.u) < part);
            m.recall += leat_at(rows, i, 1).as.f <= (double)truth[K - 1] * 1.00001 ? 1.0 / K / QUERIES : 0;
        }
        leat_result_free(result);
    }
    return m;
}

/* ---- Tests ---- */

/* Finding the postings is a stage of its own where the origin does it. It and the scans are not longer than all. */
static void stages_have_their_times(void **state)
{
    struct data *d = open_data(&ways[1]);
    struct timespec before, after;
    struct request r;

    (void)state;
    for (int way = 0; way < 2; way++) {
        begin(&r, leat_vector(LEAT_F32_VECTOR, d->query[0], DIMS));
        if (way == 1)
            below(&r, 50);
        clock_gettime(CLOCK_MONOTONIC, &before);
        struct leat_result *result = ask(d, "search", &r);
        clock_gettime(CLOCK_MONOTONIC, &after);
        const struct leat_batch *rows = leat_result_rows(result);
        uint64_t whole = (uint64_t)((after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec);
        uint64_t probe = stat_of(rows, 4, "probe_ns"), scan = stat_of(rows, 4, "scan_ns");

        assert_true(way == 0 ? probe > 0 : probe == 0);
        assert_true(scan > 0 && probe + scan <= whole);
        leat_result_free(result);
    }
    close_data(d);
}

/* Answers of many queries are those of each, one after another. How far a group goes on with a filter depends on where
 * others were before it, so it is to go to the end. */
static void check_many(struct data *d, const char *one, const char *many, int part)
{
    struct request all, single;
    uint32_t at = 0;

    begin(&all, leat_bytes(d->query, sizeof(d->query)));
    all.value[ATTRIBUTES] = all.value[VECTORS] = leat_bool(true);
    if (part < 100) {
        below(&all, part);
        all.value[RECALL] = leat_f32(1);
    }
    struct leat_result *result = ask(d, many, &all);
    const struct leat_batch *rows = leat_result_rows(result);
    assert_true(probes_of(rows, 5) > QUERIES);
    for (uint32_t q = 0; q < QUERIES; q++) {
        single = all;
        single.value[VEC] = leat_vector(LEAT_F32_VECTOR, d->query[q], DIMS);
        struct leat_result *expected = ask(d, one, &single);
        const struct leat_batch *wanted = leat_result_rows(expected);

        assert_int_equal(wanted->rows, K);
        for (uint32_t i = 0; i < wanted->rows; i++, at++) {
            assert_true(at < rows->rows);
            assert_int_equal(leat_at(rows, at, 0).as.u, q);
            assert_int_equal(leat_at(rows, at, 1).as.u, leat_at(wanted, i, 0).as.u);
            assert_float_equal(leat_at(rows, at, 2).as.f, leat_at(wanted, i, 1).as.f, 1e-3);
            assert_int_equal(((const uint8_t *)leat_at(rows, at, 3).as.bytes.base)[6],
                             part_of((uint32_t)leat_at(rows, at, 1).as.u));
            assert_memory_equal(leat_at(rows, at, 4).as.bytes.base, d->row[leat_at(rows, at, 1).as.u],
                                sizeof(d->row[0]));
        }
        leat_result_free(expected);
    }
    assert_int_equal(at, rows->rows);
    leat_result_free(result);
}

static void many_queries_are_answered_as_each(void **state)
{
    static const int parts[] = {100, 30, 2};

    (void)state;
    for (int w = 0; w < 4; w += 3) {
        struct data *d = open_data(&ways[w == 3 ? 6 : 1]);

        for (int i = 0; i < 3; i++) {
            check_many(d, "search", "search_many", parts[i]);
            check_many(d, "exact", "exact_many", parts[i]);
        }
        close_data(d);
    }
}

static void exact_is_brute_force(void **state)
{
    struct data *d = open_data(&ways[1]);
    struct request r;
    uint64_t scored = 0;
    float truth[K];

    (void)state;
    for (int part = 100; part > 0; part -= 49)
        for (int q = 0; q < 20; q++) {
            begin(&r, leat_vector(LEAT_F32_VECTOR, d->query[q], DIMS));
            if (part < 100)
                below(&r, part);
            nearest(d, d->query[q], part, truth);
            struct leat_result *result = ask(d, "exact", &r);
            assert_int_equal(leat_result_rows(result)->rows, K);
            /* Each row is looked at, dead ones too, whatever passes. */
            uint64_t looked = stat_of(leat_result_rows(result), 4, "scored");
            scored = scored == 0 ? looked : scored;
            assert_true(looked == scored && looked >= ROWS);
            for (uint32_t i = 0; i < K; i++)
                assert_float_equal(leat_at(leat_result_rows(result), i, 1).as.f, truth[i], 1e-3);
            leat_result_free(result);
        }
    close_data(d);
}

/* How far to go is learnt from the rows: queries like them find the share that is asked, with fewer probes than all. */
static void a_share_of_the_neighbours_is_found(void **state)
{
    static const float shares[] = {0.7F, 0.9F, 0.97F};

    (void)state;
    for (int w = 0; w < 2; w++) {
        struct data *d = open_data(&ways[w]);
        struct request r;
        double before = 0;

        for (int i = 0; i < 3; i++) {
            begin(&r, leat_null());
            r.value[RECALL] = leat_f32(shares[i]);
            struct measured m = measure(d, &r, 100);
            assert_true(m.recall >= (double)shares[i] - 0.03);
            assert_true(m.probes > before);
            before = m.probes;
        }
        r.value[RECALL] = leat_f32(1);
        struct measured all = measure(d, &r, 100);
        assert_true(all.recall > 0.97);
        assert_true(before < all.probes / 2);
        close_data(d);
    }
}

/* What one group found keeps the others from measuring what is farther. */
static void groups_share_what_is_near(void **state)
{
    static const double most[] = {1, 1.3, 1.8}; /* times what one group measures; else 1.6 and 4.4 */
    double alone = 0;

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct data *d = open_data_of(&ways[i], make_apart); /* 1, 2 and 8 groups */
        struct request r;

        begin(&r, leat_null());
        r.value[NPROBE] = leat_u32(64);
        double ranked = measure(d, &r, 100).ranked;
        alone = i == 0 ? ranked : alone;
        assert_true(ranked > 0 && ranked <= most[i] * alone);
        close_data(d);
    }
}

/* By each group once, not by each of its tasks. */
static void groups_learn(void **state)
{
    struct data *d = open_data(&ways[1]);
    struct leat_error err = {0, ""};
    struct leat_view *v;
    uint32_t learnt, knowing = 0;

    (void)state;
    must(leat_view_open(leat_test_leat(d->t), "ivf", &v, &err));
    must(leat_view_pstate(v, "learnt", &learnt));
    assert_true(leat_view_tasks(v) > ways[1].groups);
    for (uint32_t task = 0; task < leat_view_tasks(v); task++) {
        struct leat_value field[2];

        knowing += leat_get(leat_view_task(v, task), learnt, LEAT_KEYS(leat_u32(0)), field, 2) == 0;
    }
    assert_int_equal(knowing, ways[1].groups);
    leat_view_close(v);
    close_data(d);
}

static void check_filters(struct data *d, uint32_t nprobe)
{
    static const int parts[] = {1, 10, 50};
    struct request r;

    begin(&r, leat_null());
    r.value[NPROBE] = leat_u32(nprobe);
    struct measured without = measure(d, &r, 100);
    assert_true(without.recall > 0.5);
    for (int i = 0; i < 3; i++) {
        below(&r, parts[i]);
        struct measured m = measure(d, &r, parts[i]);
        if (m.recall < without.recall - 0.01)
            fail_msg("%u probes find %.3f, and %.3f where %d %% pass", nprobe, without.recall, m.recall, parts[i]);
        assert_true(m.probes >= nprobe);
    }
}

/* With a filter that few rows pass, a search goes so much farther that it finds as many, whether rows lie around points
 * or anywhere. */
static void filters_find_as_much(void **state)
{
    (void)state;
    for (int way = 0; way < 6; way++) {
        struct data *d = open_data_of(&ways[way / 2], way % 2 == 0 ? make_vector : make_apart);

        for (uint32_t nprobe = 8; nprobe <= 32; nprobe *= 2)
            check_filters(d, nprobe);
        close_data(d);
    }
}

/* Of bits, too, it is counted how many rows pass a filter: half of them take hardly more postings than all. */
static void bits_that_pass_are_counted(void **state)
{
    static const struct leat_option bits[] = {
        {"dims", "128"}, {"type", "bits"}, {"metric", "hamming"}, {"ids", "u64"}, {"attributes", "part: i64"},
        {"target", "32"}, {"split", "64"}, {"merge", "8"},        {NULL, NULL}};
    enum { BYTES = 16 };
    struct leat_test *t = open_way(&module_ivf, &ways[0], bits);
    struct leat_error err = {0, ""};
    uint64_t seed = 5, probes[2] = {0};
    struct data d = {.t = t};
    struct request r;
    uint8_t row[BYTES];

    (void)state;
    for (uint32_t i = 0; i < ROWS; i++) {
        uint8_t map[] = {0x81, 0xa4, 'p', 'a', 'r', 't', (uint8_t)part_of(i)};
        uint64_t point = next_random(&seed) % 400;

        for (int b = 0; b < BYTES; b++)
            row[b] = (uint8_t)next_random(&point) ^ (uint8_t)(1U << next_random(&seed) % 16);
        must(leat_test_append(t, "vectors", LEAT_ROW(leat_u64(i), leat_vector(LEAT_BITS, row, BYTES * 8),
                                                     leat_any(map, sizeof(map))), &err));
    }
    must(leat_test_run(t, &err));
    for (uint64_t point = 0; point < 20; point++)
        for (int half = 0; half < 2; half++) {
            uint64_t from = point;

            for (int b = 0; b < BYTES; b++)
                row[b] = (uint8_t)next_random(&from);
            begin(&r, leat_vector(LEAT_BITS, row, BYTES * 8));
            r.value[RECALL] = leat_f32(0.9F);
            if (half)
                below(&r, 50);
            struct leat_result *result = ask(&d, "search", &r);
            probes[half] += stat_of(leat_result_rows(result), 4, "probes");
            leat_result_free(result);
        }
    assert_true(probes[0] > 0 && probes[1] <= 2 * probes[0]);
    leat_test_close(t);
}

/* Null, an empty map and lists of nothing: as many postings as without a filter, and the same rows. */
static void what_every_row_passes_is_no_filter(void **state)
{
    static const uint8_t null[] = {0xc0}, empty[] = {0x80}, list[] = {0x81, 0xa3, 'a', 'n', 'd', 0x90},
                         turned[] = {0x81, 0xa3, 'n', 'o', 't', 0x81, 0xa2, 'o', 'r', 0x90};
    const struct leat_value filter[] = {leat_any(null, sizeof(null)), leat_any(empty, sizeof(empty)),
                                        leat_any(list, sizeof(list)), leat_any(turned, sizeof(turned))};
    struct data *d = open_data_of(&ways[1], make_apart);
    struct request r;

    (void)state;
    begin(&r, leat_null());
    struct measured without = measure(d, &r, 100);
    for (size_t i = 0; i < sizeof(filter) / sizeof(*filter); i++) {
        r.value[FILTER] = filter[i];
        struct measured m = measure(d, &r, 100);
        assert_float_equal(m.probes, without.probes, 1e-9);
        assert_float_equal(m.recall, without.recall, 1e-9);
    }
    close_data(d);
}

static void far_centroids_are_left_out(void **state)
{
    struct data *d = open_data(&ways[0]);
    struct request r;
    double before = 0;

    (void)state;
    begin(&r, leat_null());
    r.value[NPROBE] = leat_u32(40);
    double all = measure(d, &r, 100).probes;
    for (int i = 1; i < 4; i++) {
        r.value[STOP] = leat_f32(0.2F * (float)i);
        struct measured m = measure(d, &r, 100);
        assert_true(m.probes >= before && m.probes <= all);
        before = m.probes;
    }
    r.value[STOP] = leat_f32(1000);
    assert_true(fabs(measure(d, &r, 100).probes - all) < 1e-9);
    assert_true(before < all && all >= 40);
    close_data(d);
}

static void what_is_wrong_is_said(void **state)
{
    static const uint8_t unknown[] = {0x81, 0xa4, 'n', 'o', 'n', 'e', 1};
    const float vector[DIMS] = {1}, endless[DIMS] = {INFINITY}, pair[2 * DIMS] = {1, [DIMS] = NAN};
    const struct {
        const char *query;
        int column;
        struct leat_value value;
        const char *says;
    } wrong[] = {
        {"search", VEC, leat_vector(LEAT_F32_VECTOR, endless, DIMS), "the vector holds NaN or infinity"},
        {"search", HOW_MANY, leat_u32(0), "k = 0: it goes from 1 to 10000"},
        {"search", HOW_MANY, leat_u32(10001), "k = 10001: it goes from 1 to 10000"},
        {"exact", HOW_MANY, leat_u32(UINT32_MAX), "k = 4294967295: it goes from 1 to 10000"},
        {"search", NPROBE, leat_u32(0), "nprobe = 0: it goes from 1 to 65536"},
        {"search", NPROBE, leat_u32(UINT32_MAX), "nprobe = 4294967295: it goes from 1 to 65536"},
        {"search_many", HOW_MANY, leat_u32(UINT32_MAX), "k = 4294967295: it goes from 1 to 10000"},
        {"search", RECALL, leat_f32(0), "recall = 0: it is more than 0 and at most 1"},
        {"search", RECALL, leat_f32(1.5F), "recall = 1.5: it is more than 0 and at most 1"},
        {"search", RECALL, leat_f32(NAN), "column 'recall': not a finite f32"},
        {"search", STOP, leat_f32(-1), "stop = -1: it is 0 or more"},
        {"search", FILTER, leat_any(unknown, sizeof(unknown)), "filter.none"},
        {"search_many", VEC, leat_bytes(vector, 63),
         "vecs has 63 bytes: one or more vectors of 64 bytes each are wanted"},
        {"exact_many", VEC, leat_bytes(vector, 0), "vecs has 0 bytes"},
        {"exact_many", VEC, leat_bytes(endless, sizeof(endless)), "the query's squared length is inf"},
        {"search_many", VEC, leat_bytes(pair, sizeof(pair)), "vector 1 of vecs: the query holds NaN"},
    };
    struct data *d = calloc(1, sizeof(*d));

    (void)state;
    d->t = open_way(&module_ivf, &ways[1], options);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        bool many = strstr(wrong[i].query, "many") != NULL;
        struct leat_error err = {0, ""};
        struct leat_result *result;
        struct request r;

        begin(&r, many ? leat_bytes(vector, sizeof(vector)) : leat_vector(LEAT_F32_VECTOR, vector, DIMS));
        r.value[wrong[i].column] = wrong[i].value;
        assert_true(leat_query(leat_test_leat(d->t), "ivf", wrong[i].query, (struct leat_row){r.value, COLUMNS}, NULL,
                               &result, &err) < 0);
        if (strstr(err.text, wrong[i].says) == NULL)
            fail_msg("'%s' does not say '%s'", err.text, wrong[i].says);
    }
    close_data(d);
}

static void two_ways_to_say_how_far_are_refused(void **state)
{
    struct data *d = calloc(1, sizeof(*d));
    const float vector[DIMS] = {1};
    uint8_t *vecs = calloc(1025, sizeof(vector));
    struct leat_error err = {0, ""};
    struct leat_result *result;
    struct request r;

    (void)state;
    d->t = open_way(&module_ivf, &ways[1], options);
    begin(&r, leat_vector(LEAT_F32_VECTOR, vector, DIMS));
    r.value[NPROBE] = leat_u32(4);
    r.value[RECALL] = leat_f32(0.9F);
    assert_int_equal(leat_query(leat_test_leat(d->t), "ivf", "search", (struct leat_row){r.value, COLUMNS}, NULL,
                                &result, &err), LEAT_EINVAL);
    assert_non_null(strstr(err.text, "give one of them"));
    begin(&r, leat_bytes(vecs, 1025 * sizeof(vector)));
    assert_int_equal(leat_query(leat_test_leat(d->t), "ivf", "search_many", (struct leat_row){r.value, COLUMNS}, NULL,
                                &result, &err),
                     LEAT_ELIMIT);
    assert_non_null(strstr(err.text, "1024 vectors"));
    free(vecs);
    close_data(d);
}

/* More than fits into one row on its way, in bytes and in neighbours. */
static void large_answers_are_whole(void **state)
{
    enum { MANY = 40, K_LARGE = 2500 };
    struct data *d = open_data(&ways[1]);
    struct request r;
    uint32_t at = 0;

    (void)state;
    begin(&r, leat_bytes(d->query, MANY * sizeof(d->query[0])));
    r.value[HOW_MANY] = leat_u32(K_LARGE);
    r.value[ATTRIBUTES] = r.value[VECTORS] = leat_bool(true);
    for (int way = 0; way < 2; way++, at = 0) {
        struct leat_result *result = ask(d, way == 0 ? "exact_many" : "search_many", &r);
        const struct leat_batch *rows = leat_result_rows(result);

        if (way == 0)
            assert_int_equal(rows->rows, MANY * K_LARGE);
        for (uint32_t q = 0; q < MANY; q++) {
            bool *seen = calloc(ROWS, sizeof(*seen));
            double last = 0;

            for (; at < rows->rows && leat_at(rows, at, 0).as.u == q; at++) {
                uint32_t id = (uint32_t)leat_at(rows, at, 1).as.u;

                assert_false(seen[id]);
                seen[id] = true;
                assert_true(leat_at(rows, at, 2).as.f >= last);
                last = leat_at(rows, at, 2).as.f;
                assert_memory_equal(leat_at(rows, at, 4).as.bytes.base, d->row[id], sizeof(d->row[0]));
            }
            free(seen);
        }
        assert_int_equal(at, rows->rows);
        leat_result_free(result);
    }
    close_data(d);
}

/* However many postings each of them looks at. */
static void many_searches_take_the_room_of_one(void **state)
{
    enum { TIMES = 16, MEMORY = 7 << 20 };
    struct data *d = open_data(&ways[1]);
    struct leat_query how = {.memory_max = MEMORY};
    struct leat_error err = {0, ""};
    struct request r;
    uint8_t *queries = calloc(TIMES, sizeof(d->query));
    struct leat_result *result;

    (void)state;
    for (size_t i = 0; i < TIMES; i++)
        memcpy(queries + i * sizeof(d->query), d->query, sizeof(d->query));
    begin(&r, leat_bytes(queries, TIMES * sizeof(d->query)));
    for (int way = 0; way < 2; way++) {
        r.value[RECALL] = way == 0 ? leat_f32(1) : leat_null();
        must(leat_query(leat_test_leat(d->t), "ivf", "search_many", (struct leat_row){r.value, COLUMNS}, &how, &result,
                        &err));
        assert_int_equal(leat_result_rows(result)->rows, TIMES * QUERIES * K);
        leat_result_free(result);
    }
    free(queries);
    close_data(d);
}

/* Attributes that nothing came with take no room, whichever null says so. */
static void none_of_the_attributes_take_room(void **state)
{
    enum { COUNT = 2000, MANY = 64, FOUND = 500, MEMORY = 14 << 20 };
    struct leat_test *t = open_way(&module_ivf, &ways[1], options);
    struct leat_query how = {.memory_max = MEMORY};
    struct leat_error err = {0, ""};
    static const uint8_t nil[] = {0xc0};
    static float row[COUNT][DIMS];
    struct leat_result *result;
    struct request r;
    uint64_t seed = 9;

    (void)state;
    for (uint32_t i = 0; i < COUNT; i++) {
        make_vector(&seed, row[i]);
        must(leat_test_append(t, "vectors",
                              LEAT_ROW(leat_u64(i), leat_vector(LEAT_F32_VECTOR, row[i], DIMS),
                                       i % 2 == 0 ? leat_null() : leat_any(nil, sizeof(nil))), &err));
    }
    must(leat_test_run(t, &err));
    assert_int_equal(entries_of(t, "ivf", "ids"), 0);
    begin(&r, leat_bytes(row, MANY * sizeof(row[0])));
    r.value[HOW_MANY] = leat_u32(FOUND);
    r.value[ATTRIBUTES] = leat_bool(true);
    must(leat_query(leat_test_leat(t), "ivf", "exact_many", (struct leat_row){r.value, COLUMNS}, &how, &result, &err));
    assert_int_equal(leat_result_rows(result)->rows, MANY * FOUND);
    leat_result_free(result);
    leat_test_close(t);
}

/* As many neighbours as one may ask for, of a few rows. */
static void room_is_for_the_rows_there_are(void **state)
{
    enum { WIDE = 8192, COUNT = 3 };
    static const struct leat_option wide[] = {{"dims", "8192"}, {"metric", "l2"}, {"ids", "u64"}, {NULL, NULL}};
    struct leat_test *t = open_way(&module_ivf, &ways[2], wide);
    float *vec = calloc(WIDE, sizeof(*vec));
    struct leat_error err = {0, ""};
    struct leat_result *result;
    struct request r;

    (void)state;
    for (uint64_t i = 0; i < COUNT; i++)
        must(leat_test_append(t, "vectors", LEAT_ROW(leat_u64(i), leat_vector(LEAT_F32_VECTOR, vec, WIDE), leat_null()),
                              &err));
    must(leat_test_run(t, &err));
    begin(&r, leat_vector(LEAT_F32_VECTOR, vec, WIDE));
    r.value[HOW_MANY] = leat_u32(10000);
    r.value[VECTORS] = leat_bool(true);
    for (int exact = 0; exact < 2; exact++) {
        must(leat_query(leat_test_leat(t), "ivf", exact ? "exact" : "search", (struct leat_row){r.value, COLUMNS},
                        NULL, &result, &err));
        assert_int_equal(leat_result_rows(result)->rows, COUNT);
        leat_result_free(result);
    }
    free(vec);
    leat_test_close(t);
}

/* Some 34 GB of vectors: said, not taken. */
static void too_many_vectors_are_refused(void **state)
{
    enum { WIDE = 8192, MANY = 104 };
    static const struct leat_option wide[] = {{"dims", "8192"}, {"metric", "l2"}, {"ids", "u64"}, {NULL, NULL}};
    struct leat_test *t = open_way(&module_ivf, &ways[1], wide);
    float *vecs = calloc(MANY * WIDE, sizeof(*vecs));
    struct leat_error err = {0, ""};
    struct leat_result *result;
    struct request r;

    (void)state;
    begin(&r, leat_bytes(vecs, MANY * WIDE * sizeof(*vecs)));
    r.value[HOW_MANY] = leat_u32(10000);
    r.value[VECTORS] = leat_bool(true);
    for (int exact = 0; exact < 2; exact++) {
        assert_int_equal(leat_query(leat_test_leat(t), "ivf", exact ? "exact_many" : "search_many",
                                    (struct leat_row){r.value, COLUMNS}, NULL, &result, &err), LEAT_ELIMIT);
        assert_non_null(strstr(err.text, "vectors of 10000 neighbours of 104 vectors may be 34078720000 bytes"));
    }
    free(vecs);
    leat_test_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_answers_are_whole),
        cmocka_unit_test(many_searches_take_the_room_of_one),
        cmocka_unit_test(none_of_the_attributes_take_room),
        cmocka_unit_test(room_is_for_the_rows_there_are),
        cmocka_unit_test(too_many_vectors_are_refused),
        cmocka_unit_test(many_queries_are_answered_as_each),
        cmocka_unit_test(exact_is_brute_force),
        cmocka_unit_test(a_share_of_the_neighbours_is_found),
        cmocka_unit_test(groups_share_what_is_near),
        cmocka_unit_test(groups_learn),
        cmocka_unit_test(filters_find_as_much),
        cmocka_unit_test(bits_that_pass_are_counted),
        cmocka_unit_test(what_every_row_passes_is_no_filter),
        cmocka_unit_test(far_centroids_are_left_out),
        cmocka_unit_test(stages_have_their_times),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(two_ways_to_say_how_far_are_refused),
    };

    return cmocka_run_group_tests_name("cluster_ivf_search", tests, NULL, NULL);
}
