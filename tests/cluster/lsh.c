/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"
#include "tests/lib/vectors.h"

#include "modules/modules.h"

/* The module lsh against a model that knows every plane and looks at every vector. The planes are made here once more:
 * buckets are stored, so the planes that belong to a seed must never change. */

enum { DIMS = 12, BITS = 6, TABLES = 3, IDS = 240, SEED = 7, BUCKETS = 1 << BITS, TOP = 20 };

struct model {
    float plane[TABLES * BITS][DIMS];
    float vector[IDS][DIMS];
    bool there[IDS];
};

static uint64_t random_bits(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15U;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

static struct model *model_new(void)
{
    struct model *m = calloc(1, sizeof(*m));
    uint64_t seed = SEED;

    assert_non_null(m);
    for (int p = 0; p < TABLES * BITS; p++)
        for (int i = 0; i < DIMS; i++) {
            double u = 1.0 - (double)(random_bits(&seed) >> 11) * 0x1p-53;
            double v = (double)(random_bits(&seed) >> 11) * 0x1p-53;

            m->plane[p][i] = (float)(sqrt(-2.0 * log(u)) * cos(2 * M_PI * v));
        }
    return m;
}

static float margin(const struct model *m, const float *vector, int table, int bit)
{
    float sum = 0;

    for (int i = 0; i < DIMS; i++)
        sum = fmaf(vector[i], m->plane[table * BITS + bit][i], sum);
    return sum;
}

static uint32_t bucket(const struct model *m, const float *vector, int table)
{
    uint32_t hash = 0;

    for (int bit = 0; bit < BITS; bit++)
        hash |= (uint32_t)(margin(m, vector, table, bit) >= 0) << bit;
    return (uint32_t)table << BITS | hash;
}

static double distance(const float *a, const float *b)
{
    return 1 - dot_of(a, b, DIMS) / sqrt(dot_of(a, a, DIMS) * dot_of(b, b, DIMS));
}

/* ---- Into the module and the model ---- */

static void make_vector(uint64_t *seed, float *out)
{
    for (int i = 0; i < DIMS; i++)
        out[i] = (float)(next_random(seed) % 2001) / 1000 - 1;
}

static void append(struct leat_test *t, const char *id, const float *vector)
{
    struct leat_value value = vector != NULL ? leat_vector(LEAT_F32_VECTOR, vector, DIMS) : leat_null();
    struct leat_error err = {0, ""};

    must(leat_test_append(t, "vectors", LEAT_ROW(leat_str(id), value, leat_null()), &err));
}

static void set(struct leat_test *t, struct model *m, int id, const float *vector)
{
    char name[16];

    snprintf(name, sizeof(name), "v%d", id);
    append(t, name, vector);
    m->there[id] = vector != NULL;
    if (vector != NULL)
        memcpy(m->vector[id], vector, sizeof(m->vector[id]));
}

/* Mostly vectors, new and changed; some are taken away, also such as are not there; some are refused. Returns how many
 * were refused. */
static int random_changes(struct leat_test *t, struct model *m, int count, uint64_t *seed)
{
    static char endless[500];
    float vector[DIMS], zero[DIMS] = {0};
    int refused = 0;

    memset(endless, 'x', sizeof(endless) - 1);
    for (int i = 0; i < count; i++) {
        int id = (int)(next_random(seed) % IDS), what = (int)(next_random(seed) % 10);

        make_vector(seed, vector);
        if (what == 0)
            append(t, next_random(seed) % 2 == 0 ? endless : "zero", zero);
        else
            set(t, m, id, what < 3 ? NULL : vector);
        refused += what == 0;
    }
    return refused;
}

/* ---- What is stored ---- */

static uint32_t pstate(struct leat_view *v, const char *name)
{
    uint32_t at = 0;

    assert_int_equal(leat_view_pstate(v, name, &at), 0);
    return at;
}

static int number_of(const struct model *m, struct leat_value id)
{
    char name[16];

    snprintf(name, sizeof(name), "%.*s", (int)id.as.bytes.size, (const char *)id.as.bytes.base);
    int number = atoi(name + 1);
    assert_true(name[0] == 'v' && number >= 0 && number < IDS && m->there[number]);
    return number;
}

/* A member is stored as bucket << 38 | task << 26 | row. */
static int number_of_member(struct leat_view *v, const struct model *m, uint64_t member)
{
    struct leat_task *t = leat_view_task(v, (uint32_t)(member >> 26) & 0xfff);
    struct leat_value id;

    assert_int_equal(leat_get(t, pstate(v, "ids"), LEAT_KEYS(leat_u32((uint32_t)member & 0x3ffffff)), &id, 1), 0);
    return number_of(m, id);
}

/* All members of a bucket, looked up one by one: a view reads one task at a time. */
static uint64_t check_bucket(struct leat_view *v, const struct model *m, uint32_t task, uint32_t number)
{
    uint64_t member[IDS + 1];
    struct leat_value value;
    struct leat_scan *scan;
    uint32_t count = 0;

    struct leat_value from = leat_u64((uint64_t)number << 38), to = leat_u64((uint64_t)(number + 1) << 38);
    struct leat_range range = {.from = &from, .to = &to};
    assert_int_equal(leat_scan_open(leat_view_task(v, task), pstate(v, "buckets"), LEAT_KEYS(), &range, &scan), 0);
    while (leat_scan_next(scan, &value, NULL, 0) == 0) {
        assert_true(count < IDS);
        member[count++] = value.as.u;
    }
    leat_scan_close(scan);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(bucket(m, m->vector[number_of_member(v, m, member[i])], (int)(number >> BITS)), number);
    return count;
}

/* Each vector is in the buckets of its last value and in no other. */
static void check_buckets(struct leat_test *t, const struct model *m)
{
    struct leat_error err = {0, ""};
    struct leat_view *v;
    uint64_t members = 0, there = 0;

    must(leat_view_open(leat_test_leat(t), "lsh", &v, &err));
    for (uint32_t number = 0; number < TABLES * BUCKETS; number++)
        for (uint32_t task = 0; task < leat_view_tasks(v); task++)
            members += check_bucket(v, m, task, number);
    leat_view_close(v);
    for (int id = 0; id < IDS; id++)
        there += m->there[id];
    assert_int_equal(members, there * TABLES);
}

/* ---- What is found ---- */

/* Which buckets a query looks at. */
static void probed_by_radius(const struct model *m, const float *query, int radius, bool *probed)
{
    for (uint32_t number = 0; number < TABLES * BUCKETS; number++)
        probed[number] = __builtin_popcount((number ^ bucket(m, query, (int)(number >> BITS))) % BUCKETS) <= radius;
}

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* Of all buckets those with the highest probability to have a neighbour at 60 degrees. false: some are too close to
 * each other to say which. */
static bool probed_by_likelihood(const struct model *m, const float *query, int probes, bool *probed)
{
    double score[TABLES * BUCKETS] = {0}, sorted[TABLES * BUCKETS], norm = 0;
    int count = TABLES * (probes < BUCKETS ? probes : BUCKETS);

    for (int i = 0; i < DIMS; i++)
        norm += pow((double)query[i], 2);
    for (uint32_t number = 0; number < TABLES * BUCKETS; number++) {
        int table = (int)(number >> BITS);
        uint32_t flips = number ^ bucket(m, query, table);

        for (int bit = 0; bit < BITS; bit++) {
            double x = fabs((double)margin(m, query, table, bit)) / sqrt(norm) / tan(M_PI / 3),
                   beyond = erfc(x / M_SQRT2) / 2;

            score[number] -= log(flips >> bit & 1 ? beyond : 1 - beyond);
        }
    }
    memcpy(sorted, score, sizeof(sorted));
    qsort(sorted, TABLES * BUCKETS, sizeof(*sorted), compare);
    for (int number = 0; number < TABLES * BUCKETS; number++)
        probed[number] = score[number] <= sorted[count - 1];
    return count == TABLES * BUCKETS || sorted[count] - sorted[count - 1] > 1e-4;
}

static struct leat_result *ask(struct leat_test *t, const char *query, const float *vector)
{
    struct leat_row row = LEAT_ROW(leat_vector(LEAT_F32_VECTOR, vector, DIMS));
    struct leat_error err = {0, ""};
    struct leat_result *r;

    must(leat_query(leat_test_leat(t), "lsh", query, row, NULL, &r, &err));
    return r;
}

/* Candidates are those in a probed bucket; the nearest of them are found, at their distances, in order. */
static void check_search(struct leat_test *t, const struct model *m, const float *query, const bool *probed)
{
    double wanted[IDS];
    uint32_t count = 0;

    for (int id = 0; id < IDS; id++) {
        bool candidate = false;

        for (int table = 0; table < TABLES && m->there[id]; table++)
            candidate = candidate || probed[bucket(m, m->vector[id], table)];
        if (candidate)
            wanted[count++] = distance(query, m->vector[id]);
    }
    qsort(wanted, count, sizeof(*wanted), compare);
    struct leat_result *r = ask(t, "candidates", query);
    assert_int_equal(leat_at(leat_result_rows(r), 0, 0).as.i, count);
    leat_result_free(r);
    r = ask(t, "search", query);
    assert_int_equal(leat_result_rows(r)->rows, count < TOP ? count : TOP);
    for (uint32_t i = 0; i < leat_result_rows(r)->rows; i++) {
        int id = number_of(m, leat_at(leat_result_rows(r), i, 0));
        double found = leat_at(leat_result_rows(r), i, 1).as.f;

        assert_true(fabs(found - wanted[i]) < 1e-5 && fabs(found - distance(query, m->vector[id])) < 1e-5);
    }
    leat_result_free(r);
}

/* ---- Tests ---- */

static const struct leat_option small[] = {{"dims", "12"}, {"bits", "6"}, {"tables", "3"}, {"seed", "7"}, {NULL, NULL}};

static void vectors_are_in_their_buckets_alone(void **state)
{
    (void)state;
    for (int w = 0; w < WAYS; w++) {
        struct leat_test *t = open_way(&module_lsh, &ways[w], small);
        struct model *m = model_new();
        struct leat_error err = {0, ""};
        uint64_t seed = ways[w].seed;

        for (int round = 0; round < 3; round++) {
            random_changes(t, m, 2 * IDS, &seed);
            must(leat_test_run(t, &err));
            check_buckets(t, m);
        }
        for (int id = 0; id < IDS; id++)
            set(t, m, id, NULL);
        must(leat_test_run(t, &err));
        check_buckets(t, m);
        free(m);
        leat_test_close(t);
    }
}

static void a_changed_vector_moves(void **state)
{
    struct leat_test *t = open_way(&module_lsh, &ways[1], small);
    struct model *m = model_new();
    struct leat_error err = {0, ""};
    float one[DIMS], other[DIMS];
    uint64_t seed = 3;

    (void)state;
    make_vector(&seed, one);
    for (int i = 0; i < DIMS; i++)
        other[i] = -one[i];
    set(t, m, 5, one);
    must(leat_test_run(t, &err));
    check_buckets(t, m);
    set(t, m, 5, other); /* on the other side of every plane: no bucket stays */
    must(leat_test_run(t, &err));
    check_buckets(t, m);
    set(t, m, 5, NULL);
    must(leat_test_run(t, &err));
    check_buckets(t, m);
    set(t, m, 5, NULL);
    set(t, m, 5, one);
    set(t, m, 5, other);
    set(t, m, 5, one);
    must(leat_test_run(t, &err));
    check_buckets(t, m);
    free(m);
    leat_test_close(t);
}

static uint64_t dead_letters(struct leat_test *t)
{
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    uint64_t letters = 0;

    must(leat_depot_find(leat_test_leat(t), "lsh", "dead_letters", &d, &err));
    for (uint32_t p = 0; p < leat_depot_partitions(d); p++) {
        struct leat_bounds b;

        must(leat_depot_bounds(d, p, &b));
        letters += b.next;
    }
    return letters;
}

static void what_is_refused_leaves_the_rest_as_it_is(void **state)
{
    struct leat_test *t = open_way(&module_lsh, &ways[0], small);
    struct model *m = model_new();
    struct leat_error err = {0, ""};
    uint64_t seed = 17;
    int refused = random_changes(t, m, 4 * IDS, &seed);

    (void)state;
    assert_true(refused > 0);
    must(leat_test_run(t, &err));
    assert_int_equal(dead_letters(t), refused);
    check_buckets(t, m);
    free(m);
    leat_test_close(t);
}

/* A cluster with so many vectors, searched by these options. */
static struct leat_test *filled(struct model *m, const char *radius, const char *probes, uint64_t *seed)
{
    const struct leat_option options[] = {{"dims", "12"}, {"bits", "6"}, {"tables", "3"}, {"seed", "7"}, {"top", "20"},
                                          {"radius", radius}, {"probes", probes}, {NULL, NULL}};
    struct leat_test *t = open_way(&module_lsh, &ways[3], options);
    struct leat_error err = {0, ""};

    random_changes(t, m, 2 * IDS, seed);
    must(leat_test_run(t, &err));
    return t;
}

static void radius_probing_finds_what_the_model_finds(void **state)
{
    static const char *const radius[] = {"0", "1", "2", "6"};

    (void)state;
    for (size_t i = 0; i < sizeof(radius) / sizeof(*radius); i++) {
        struct model *m = model_new();
        uint64_t seed = 23 + i;
        struct leat_test *t = filled(m, radius[i], "0", &seed);

        for (int q = 0; q < 40; q++) {
            bool probed[TABLES * BUCKETS];
            float query[DIMS];

            make_vector(&seed, query);
            probed_by_radius(m, query, atoi(radius[i]), probed);
            check_search(t, m, query, probed);
        }
        free(m);
        leat_test_close(t);
    }
}

static void likeliest_probing_finds_what_the_model_finds(void **state)
{
    static const char *const probes[] = {"1", "2", "7", "33", "64", "1000"};

    (void)state;
    for (size_t i = 0; i < sizeof(probes) / sizeof(*probes); i++) {
        struct model *m = model_new();
        uint64_t seed = 41 + i;
        struct leat_test *t = filled(m, "20", probes[i], &seed);
        int used = 0, count = atoi(probes[i]);

        for (int q = 0; q < 60; q++) {
            bool probed[TABLES * BUCKETS] = {false};
            float query[DIMS];

            make_vector(&seed, query);
            if (!probed_by_likelihood(m, query, count, probed))
                continue;
            check_search(t, m, query, probed);
            used++;
        }
        assert_true(used > 40);
        free(m);
        leat_test_close(t);
    }
}

/* So many members of one task that they come in several batches, each vector once for each table: none is counted or
 * returned twice. */
static void a_vector_is_a_candidate_once(void **state)
{
    enum { MANY = 3000 };
    const struct leat_option options[] = {{"dims", "12"}, {"bits", "6"}, {"tables", "3"}, {"radius", "6"},
                                          {"top", "20"}, {NULL, NULL}};
    struct leat_test_config config = {.module = &module_lsh, .options = options, .tasks = 1, .groups = 1,
                                      .memory = true};
    struct leat_error err = {0, ""};
    struct leat_test *t;
    float vector[DIMS];
    uint64_t seed = 5;
    char name[16];

    (void)state;
    must(leat_test_open(&config, &t, &err));
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "v%d", i);
        make_vector(&seed, vector);
        append(t, name, vector);
    }
    must(leat_test_run(t, &err));
    struct leat_result *r = ask(t, "candidates", vector);
    struct leat_result *all = ask(t, "exact", vector), *found = ask(t, "search", vector);
    assert_int_equal(leat_at(leat_result_rows(r), 0, 0).as.i, MANY);
    assert_int_equal(leat_result_rows(found)->rows, TOP);
    for (uint32_t i = 0; i < TOP; i++) {
        struct leat_span a = leat_at(leat_result_rows(found), i, 0).as.bytes;
        struct leat_span b = leat_at(leat_result_rows(all), i, 0).as.bytes;

        assert_int_equal(a.size, b.size);
        assert_memory_equal(a.base, b.base, a.size);
    }
    leat_result_free(r);
    leat_result_free(all);
    leat_result_free(found);
    leat_test_close(t);
}

/* Of such lengths floats do not know the distance: neither a query nor a vector may have them. */
static void lengths_beyond_floats_are_refused(void **state)
{
    static const float sizes[] = {0, 1e-30F, 1e-22F, 1e30F, 3e38F};
    static const char *const queries[] = {"search", "exact", "candidates"};
    struct leat_test *t = open_way(&module_lsh, &ways[1], small);
    struct leat_error err = {0, ""};
    struct leat_result *r;
    float vector[DIMS];

    (void)state;
    for (int i = 0; i < DIMS; i++)
        vector[i] = 1;
    append(t, "ones", vector);
    must(leat_test_run(t, &err));
    for (uint64_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
        for (int i = 0; i < DIMS; i++)
            vector[i] = sizes[s];
        struct leat_row request = LEAT_ROW(leat_vector(LEAT_F32_VECTOR, vector, DIMS));
        for (size_t q = 0; q < sizeof(queries) / sizeof(*queries); q++) {
            assert_int_equal(leat_query(leat_test_leat(t), "lsh", queries[q], request, NULL, &r, &err), LEAT_EINVAL);
            assert_non_null(strstr(err.text, "the query's squared length is "));
        }
        append(t, "odd", vector);
        must(leat_test_run(t, &err));
        assert_int_equal(dead_letters(t), s + 1);
    }
    for (int i = 0; i < DIMS; i++)
        vector[i] = 1e-17F;
    r = ask(t, "exact", vector);
    assert_int_equal(leat_result_rows(r)->rows, 1);
    assert_true(leat_at(leat_result_rows(r), 0, 1).as.f < 1e-6);
    leat_result_free(r);
    leat_test_close(t);
}

/* ---- Options ---- */

static void expect_refusal(const struct leat_module *module, const char *name, const char *value, const char *words)
{
    const struct leat_option options[] = {{name, value}, {NULL, NULL}};
    struct leat_error err = {0, ""};

    assert_int_equal(leat_check(module, NULL, options, &err), LEAT_EMODULE);
    if (strstr(err.text, words) == NULL)
        fail_msg("%s = %s: '%s' does not say '%s'", name, value, err.text, words);
}

static void options_have_bounds(void **state)
{
    static const struct {
        const char *name, *value, *words;
    } cases[] = {
        {"dims", "8193", "from 1 to 8192"},     {"bits", "0", "from 1 to 20"},
        {"bits", "21", "from 1 to 20"},         {"tables", "65", "from 1 to 64"},
        {"tables", "0", "1 to 65536 elements"}, {"radius", "-1", "from 0 to 20"},
        {"radius", "21", "from 0 to 20"},       {"radius", "9", "from 0 to 8"},
        {"probes", "-1", "from 0 to 65536"},    {"probes", "65537", "from 0 to 65536"},
        {"top", "0", "from 1 to 10000"},        {"top", "10001", "from 1 to 10000"},
        {"bits", "8x", "whole number is wanted"},      {"probes", "many", "whole number is wanted"},
        {"seed", "", "whole number is wanted"},        {"seed", "0x1", "whole number is wanted"},
        {"seed", "9223372036854775808", "whole number is wanted"},
        {"radios", "2", "did you mean 'radius'"},
    };
    const struct leat_option wide[] = {{"dims", "8192"}, {"radius", "20"}, {"probes", "1"}, {"seed", "-5"},
                                       {NULL, NULL}};
    struct leat_error err = {0, ""};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        expect_refusal(&module_lsh, cases[i].name, cases[i].value, cases[i].words);
    must(leat_check(&module_lsh, NULL, wide, &err));
    expect_refusal(&module_bank_transfer, "currency", "EUR", "there is no option 'currency'");
    expect_refusal(&module_word_count, "words", "7", "there is no option 'words'");
}

static void unknown_instructions_are_refused(void **state)
{
    struct leat_error err = {0, ""};

    (void)state;
    setenv("LEAT_SIMD", "abacus", 1);
    assert_int_equal(leat_check(&module_lsh, NULL, NULL, &err), LEAT_EMODULE);
    assert_non_null(strstr(err.text, "LEAT_SIMD is 'abacus'"));
    unsetenv("LEAT_SIMD");
    must(leat_check(&module_lsh, NULL, NULL, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_are_in_their_buckets_alone),
        cmocka_unit_test(a_changed_vector_moves),
        cmocka_unit_test(what_is_refused_leaves_the_rest_as_it_is),
        cmocka_unit_test(radius_probing_finds_what_the_model_finds),
        cmocka_unit_test(likeliest_probing_finds_what_the_model_finds),
        cmocka_unit_test(a_vector_is_a_candidate_once),
        cmocka_unit_test(lengths_beyond_floats_are_refused),
        cmocka_unit_test(options_have_bounds),
        cmocka_unit_test(unknown_instructions_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
