/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include <math.h>

#include "modules/ivf/layout.h"
#include "modules/modules.h"

/* Every type of vector, metric and kind of id in many dimensions: a search of all postings finds what comparing with
 * every vector does, and gives vectors and attributes back as they were. */

static const struct kind {
    const char *type, *metric;
    enum leat_type vector;
    enum metric by;
} kinds[] = {
    {"f32", "l2", LEAT_F32_VECTOR, METRIC_L2},         {"f32", "cosine", LEAT_F32_VECTOR, METRIC_COSINE},
    {"f32", "dot", LEAT_F32_VECTOR, METRIC_DOT},       {"f16", "l2", LEAT_F16_VECTOR, METRIC_L2},
    {"f16", "cosine", LEAT_F16_VECTOR, METRIC_COSINE}, {"f16", "dot", LEAT_F16_VECTOR, METRIC_DOT},
    {"i8", "l2", LEAT_I8_VECTOR, METRIC_L2},           {"i8", "cosine", LEAT_I8_VECTOR, METRIC_COSINE},
    {"i8", "dot", LEAT_I8_VECTOR, METRIC_DOT},         {"u8", "l2", LEAT_U8_VECTOR, METRIC_L2},
    {"u8", "cosine", LEAT_U8_VECTOR, METRIC_COSINE},   {"u8", "dot", LEAT_U8_VECTOR, METRIC_DOT},
    {"bits", "hamming", LEAT_BITS, METRIC_HAMMING},
};
enum { KINDS = sizeof(kinds) / sizeof(*kinds), ROWS_MOST = 200 };

struct set {
    const struct kind *kind;
    struct leat_test *t;
    uint32_t dims, size, rows;
    bool names;
    bool there[ROWS_MOST];
    int64_t number[ROWS_MOST]; /* the attribute */
    uint8_t *vector;
    double *value;             /* the same as numbers */
};

/* ---- Vectors ---- */

static uint16_t half_of(int quarters)
{
    int sign = quarters < 0, exponent = 0;
    uint32_t n = (uint32_t)(sign ? -quarters : quarters);

    if (n == 0)
        return 0;
    while (n >> (exponent + 1) != 0)
        exponent++;
    return (uint16_t)(sign << 15 | (exponent - 2 + 15) << 10 | (int)((n << (10 - exponent)) & 1023));
}

static void draw_element(struct set *s, uint32_t row, uint32_t i, uint64_t *seed)
{
    uint8_t *at = s->vector + (size_t)row * s->size;
    double *value = s->value + (size_t)row * s->dims + i;
    int drawn = (int)(next_random(seed) % 255) - 127;

    if (s->kind->vector == LEAT_F32_VECTOR) {
        float f = (float)drawn / 16.0F + (float)(next_random(seed) % 1000) / 10000.0F;

        *value = (double)f;
        memcpy(at + 4 * (size_t)i, &f, 4);
    } else if (s->kind->vector == LEAT_F16_VECTOR) {
        uint16_t half = half_of(drawn);

        *value = drawn / 4.0;
        memcpy(at + 2 * (size_t)i, &half, 2);
    } else if (s->kind->vector == LEAT_BITS) {
        *value = drawn & 1;
        at[i / 8] = (uint8_t)(at[i / 8] | (drawn & 1) << i % 8);
    } else {
        int whole = s->kind->vector == LEAT_U8_VECTOR ? drawn + 128 : drawn;

        *value = whole;
        at[i] = (uint8_t)whole;
    }
}

static void draw(struct set *s, uint32_t row, uint64_t *seed)
{
    memset(s->vector + (size_t)row * s->size, 0, s->size);
    for (uint32_t i = 0; i < s->dims; i++)
        draw_element(s, row, i, seed);
    /* No length is 0: cosine would refuse it. */
    while (s->kind->by == METRIC_COSINE && s->dims < 4 && s->value[(size_t)row * s->dims] == 0)
        draw_element(s, row, 0, seed);
}

static double distance(const struct set *s, uint32_t x, uint32_t y)
{
    const double *a = s->value + (size_t)x * s->dims, *b = s->value + (size_t)y * s->dims;
    double square = 0, dot = 0, aa = 0, bb = 0;

    for (uint32_t i = 0; i < s->dims; i++) {
        square += (a[i] - b[i]) * (a[i] - b[i]);
        dot += a[i] * b[i];
        aa += a[i] * a[i];
        bb += b[i] * b[i];
    }
    return s->kind->by == METRIC_DOT ? -dot : s->kind->by == METRIC_COSINE ? 1 - dot / sqrt(aa * bb) : square;
}

/* What f32 sums may differ by. */
static double close_to(const struct set *s, double d)
{
    double most = s->kind->vector == LEAT_U8_VECTOR || s->kind->vector == LEAT_I8_VECTOR ? 65025 : 256;

    return s->kind->by == METRIC_HAMMING  ? 0
           : s->kind->by == METRIC_COSINE ? 2e-5
                                          : 1e-5 * fabs(d) + 1e-6 * most * s->dims + 1e-6;
}

/* ---- The index ---- */

static struct set *set_open(const struct kind *kind, uint32_t dims, uint32_t rows, bool names, uint64_t seed)
{
    struct set *s = calloc(1, sizeof(*s));
    char number[16];
    struct leat_option options[] = {{"dims", number},  {"type", kind->type}, {"metric", kind->metric}, {"target", "16"},
                                    {"split", "32"}, {"merge", "4"}, {"epsilon", "10"},
                                    {"nprobe", "1000"}, {"ids", names ? "str" : "u64"},
                                    {"attributes", names ? "n: i64" : ""}, {NULL, NULL}};
    struct way way = {seed, 1U << seed % 3, 0, false, true};

    snprintf(number, sizeof(number), "%u", dims);
    *s = (struct set){.kind = kind, .dims = dims, .rows = rows, .names = names};
    s->size = (uint32_t)leat_vector_size(kind->vector, dims);
    s->t = open_way(&module_ivf, &way, options);
    s->vector = calloc(rows, s->size);
    s->value = calloc((size_t)rows * dims, sizeof(double));
    for (uint32_t row = 0; row < rows; row++)
        draw(s, row, &seed);
    return s;
}

static void set_close(struct set *s)
{
    leat_test_close(s->t);
    free(s->vector);
    free(s->value);
    free(s);
}

static struct leat_value vector_of(const struct set *s, uint32_t row)
{
    return leat_vector(s->kind->vector, s->vector + (size_t)row * s->size, s->dims);
}

static struct leat_value id_of(const struct set *s, uint32_t row, char text[16])
{
    snprintf(text, 16, "%05u", row);
    return s->names ? leat_str(text) : leat_u64(row);
}

static void put(struct set *s, uint32_t row, bool there)
{
    uint8_t map[] = {0x81, 0xa1, 'n', (uint8_t)s->number[row]};
    struct leat_error err = {0, ""};
    char text[16];

    s->there[row] = there;
    must(leat_test_append(s->t, "vectors",
                          LEAT_ROW(id_of(s, row, text), there ? vector_of(s, row) : leat_null(),
                                   leat_any(map, sizeof(map))),
                          &err));
}

static void settle(struct set *s)
{
    struct leat_error err = {0, ""};

    must(leat_test_run(s->t, &err));
}

static struct leat_result *ask(const struct set *s, const char *query, struct leat_value vector, uint32_t k)
{
    struct leat_error err = {0, ""};
    struct leat_result *r;

    must(leat_query(leat_test_leat(s->t), "ivf", query,
                    LEAT_ROW(vector, leat_u32(k), leat_null(), leat_null(), leat_bool(true), leat_bool(true),
                             leat_bool(true), leat_null(), leat_null()),
                    NULL, &r, &err));
    return r;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* One row of an answer is what was put. */
static double check_row(const struct set *s, const struct leat_batch *rows, uint32_t i, uint32_t of, bool *seen)
{
    struct leat_value id = leat_at(rows, i, 0);
    char text[16] = "";

    if (s->names)
        memcpy(text, id.as.bytes.base, id.as.bytes.size < 15 ? id.as.bytes.size : 15);
    uint32_t row = s->names ? (uint32_t)strtoul(text, NULL, 10) : (uint32_t)id.as.u;
    assert_true(row < s->rows && s->there[row] && !seen[row]);
    seen[row] = true;
    assert_int_equal(leat_at(rows, i, 3).as.bytes.size, s->size);
    assert_memory_equal(leat_at(rows, i, 3).as.bytes.base, s->vector + (size_t)row * s->size, s->size);
    assert_int_equal(((const uint8_t *)leat_at(rows, i, 2).as.bytes.base)[3], s->number[row]);
    return distance(s, of, row);
}

static void check_answer(const struct set *s, const char *query, uint32_t of, uint32_t k)
{
    struct leat_result *r = ask(s, query, vector_of(s, of), k);
    const struct leat_batch *rows = leat_result_rows(r);
    double want[ROWS_MOST];
    bool seen[ROWS_MOST] = {false};
    uint32_t count = 0;

    for (uint32_t i = 0; i < s->rows; i++)
        if (s->there[i])
            want[count++] = distance(s, of, i);
    qsort(want, count, sizeof(*want), ascending);
    if (rows->rows != (count < k ? count : k))
        fail_msg("%s: %s %s dims %u, query %u: %u rows instead of %u", query, s->kind->type, s->kind->metric, s->dims,
                 of, rows->rows, count < k ? count : k);
    for (uint32_t i = 0; i < rows->rows; i++) {
        double said = leat_at(rows, i, 1).as.f, is = check_row(s, rows, i, of, seen), slack = close_to(s, want[i]);

        if (fabs(said - is) > slack || fabs(said - want[i]) > slack)
            fail_msg("%s: %s %s dims %u, query %u, place %u: said %.9g, is %.9g, wanted %.9g", query, s->kind->type,
                     s->kind->metric, s->dims, of, i, said, is, want[i]);
        assert_true(i == 0 || leat_at(rows, i - 1, 1).as.f <= said);
        if (i > 0 && !s->names && leat_at(rows, i - 1, 1).as.f >= said)
            assert_true(leat_at(rows, i - 1, 0).as.u < leat_at(rows, i, 0).as.u);
    }
    leat_result_free(r);
}

/* A product of 0 is a distance of 0, not of -0. */
static void check_zero(const struct set *s, const char *query)
{
    void *zero = calloc(1, s->size);
    struct leat_result *r = ask(s, query, leat_vector(s->kind->vector, zero, s->dims), 10);
    const struct leat_batch *rows = leat_result_rows(r);

    for (uint32_t i = 0; i < rows->rows; i++)
        assert_false(leat_at(rows, i, 1).as.f < 0 || signbit(leat_at(rows, i, 1).as.f));
    leat_result_free(r);
    free(zero);
}

static void check_all(const struct set *s)
{
    if (s->kind->by == METRIC_DOT) {
        check_zero(s, "search");
        check_zero(s, "exact");
    }
    for (uint32_t of = 0; of < s->rows; of += s->rows / 5 + 1) {
        check_answer(s, "search", of, 10);
        check_answer(s, "exact", of, 10);
    }
    check_answer(s, "search", 0, ROWS_MOST);
}

/* Chunks begin at a multiple of 64 in the map, behind some bytes of their value. */
static void check_chunks(const struct set *s)
{
    struct leat_error err = {0, ""};
    struct attributes a;
    struct layout l;
    struct leat_view *v;
    uint32_t chunks;

    must(attributes_parse(s->names ? "n: i64" : "", &a, &err));
    layout_init(&l, s->kind->vector, s->kind->by, s->dims, &a);
    must(leat_view_open(leat_test_leat(s->t), "ivf", &v, &err));
    must(leat_view_pstate(v, "chunks", &chunks));
    for (uint32_t task = 0; task < leat_view_tasks(v); task++) {
        struct leat_value key, value;
        struct leat_scan *scan;

        must(leat_scan_open(leat_view_task(v, task), chunks, LEAT_KEYS(), NULL, &scan));
        while (leat_scan_next(scan, &key, &value, 1) == 0) {
            assert_int_equal(value.as.bytes.size, l.pad + l.chunk.size);
            assert_int_equal(((uintptr_t)value.as.bytes.base + l.pad) % 64, 0);
        }
        leat_scan_close(scan);
    }
    leat_view_close(v);
}

static void run_set(const struct kind *kind, uint32_t dims, uint32_t rows, bool names)
{
    struct set *s = set_open(kind, dims, rows, names, dims * 31 + (uint64_t)(kind - kinds));
    uint64_t seed = dims;

    check_all(s);
    for (uint32_t row = 0; row < rows; row++) {
        s->number[row] = (int64_t)(next_random(&seed) % 100);
        put(s, row, true);
        /* Other attributes, with the same vector. */
        if (row % 9 == 0) {
            s->number[row] = (int64_t)(next_random(&seed) % 100);
            put(s, row, true);
        }
    }
    settle(s);
    check_all(s);
    check_chunks(s);
    for (uint32_t row = 0; row < rows; row += 3)
        put(s, row, false);
    for (uint32_t row = 0; row < rows; row += 6) {
        draw(s, row, &seed);
        put(s, row, true);
    }
    settle(s);
    check_all(s);
    set_close(s);
}

/* ---- Tests ---- */

static void all_types_in_all_metrics(void **state)
{
    static const uint32_t dims[] = {1, 2, 3, 8, 63, 64, 65, 100, 784};
    static const uint32_t bits[] = {8, 16, 24, 56, 64, 72, 128, 784};

    (void)state;
    for (const struct kind *kind = kinds; kind < kinds + KINDS; kind++) {
        uint32_t count = kind->by == METRIC_HAMMING ? sizeof(bits) / sizeof(*bits) : sizeof(dims) / sizeof(*dims);

        for (uint32_t i = 0; i < count; i++) {
            uint32_t n = kind->by == METRIC_HAMMING ? bits[i] : dims[i];

            run_set(kind, n, n < 100 ? 150 : 60, (i + (uint32_t)(kind - kinds)) % 2 == 0);
        }
    }
}

static void as_many_dimensions_as_there_may_be(void **state)
{
    (void)state;
    run_set(&kinds[0], 8192, 40, false);
    run_set(&kinds[7], 8192, 40, true);
    run_set(&kinds[KINDS - 1], 8192, 40, true);
}

static uint64_t dead_letters(const struct set *s)
{
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    uint64_t count = 0;

    must(leat_depot_find(leat_test_leat(s->t), "ivf", "dead_letters", &d, &err));
    for (uint32_t p = 0; p < leat_depot_partitions(d); p++) {
        struct leat_bounds b;

        must(leat_depot_bounds(d, p, &b));
        count += b.next - b.first;
    }
    return count;
}

static void one_batch_may_name_an_id_often(void **state)
{
    (void)state;
    for (const struct kind *kind = kinds; kind < kinds + KINDS; kind += 4) {
        struct set *s = set_open(kind, 16, 40, kind != kinds, 3);
        uint64_t seed = 17;

        put(s, 7, false); /* unknown, and known only behind it */
        for (int i = 0; i < 300; i++) {
            uint32_t row = (uint32_t)next_random(&seed) % 5;

            draw(s, row, &seed);
            s->number[row] = (int64_t)(next_random(&seed) % 100);
            put(s, row, next_random(&seed) % 3 > 0);
        }
        put(s, 7, true);
        settle(s);
        check_all(s);
        for (uint32_t row = 0; row < 40; row++)
            put(s, row, false);
        put(s, 39, true);
        settle(s);
        check_all(s); /* one vector */
        put(s, 39, false);
        put(s, 39, false);
        settle(s);
        check_all(s); /* none */
        assert_int_equal(dead_letters(s), 0);
        set_close(s);
    }
}

static void what_has_no_distance_is_refused(void **state)
{
    static const uint32_t odd_f32[] = {0x7fc00000, 0x7f800000, 0xff800000}; /* NaN, and both infinities */
    static const uint16_t odd_f16[] = {0x7e00, 0x7c00, 0xfc00};

    (void)state;
    for (const struct kind *kind = kinds; kind < kinds + KINDS; kind++) {
        struct set *s = set_open(kind, 16, 8, false, 4);

        for (uint32_t row = 0; row < 5; row++)
            put(s, row, true);
        memset(s->vector + 5 * (size_t)s->size, 0, s->size);
        memset(s->value + 5 * (size_t)s->dims, 0, s->dims * sizeof(double));
        put(s, 5, true);
        s->there[5] = kind->by != METRIC_COSINE;
        for (int i = 0; i < 3 && (kind->vector == LEAT_F32_VECTOR || kind->vector == LEAT_F16_VECTOR); i++) {
            struct leat_error err = {0, ""};

            if (kind->vector == LEAT_F32_VECTOR)
                memcpy(s->vector + 6 * (size_t)s->size + 20, &odd_f32[i], 4);
            else
                memcpy(s->vector + 6 * (size_t)s->size + 20, &odd_f16[i], 2);
            assert_int_equal(leat_test_append(s->t, "vectors", LEAT_ROW(leat_u64(6), vector_of(s, 6), leat_null()),
                                              &err),
                             LEAT_ESCHEMA);
            assert_non_null(strstr(err.text, "NaN or infinity"));
        }
        settle(s);
        assert_int_equal(dead_letters(s), kind->by == METRIC_COSINE);
        check_answer(s, "search", 0, 10);
        check_answer(s, "exact", 4, 10);
        set_close(s);
    }
}

static void other_dimensions_are_refused(void **state)
{
    struct set *s = set_open(&kinds[0], 16, 4, false, 4);
    struct leat_error err = {0, ""};
    struct leat_result *r;

    (void)state;
    assert_int_equal(leat_test_append(s->t, "vectors",
                                      LEAT_ROW(leat_u64(1), leat_vector(LEAT_F32_VECTOR, s->vector, 15), leat_null()),
                                      &err),
                     LEAT_ESCHEMA);
    assert_non_null(strstr(err.text, "vec"));
    assert_non_null(strstr(err.text, "16"));
    assert_int_equal(leat_test_append(s->t, "vectors",
                                      LEAT_ROW(leat_u64(1), leat_vector(LEAT_U8_VECTOR, s->vector, 16), leat_null()),
                                      &err),
                     LEAT_ESCHEMA);
    assert_int_equal(leat_query(leat_test_leat(s->t), "ivf", "search",
                                LEAT_ROW(leat_vector(LEAT_F32_VECTOR, s->vector, 17), leat_null(), leat_null(),
                                         leat_null(), leat_null(), leat_null(), leat_null(), leat_null(), leat_null()),
                                NULL, &r, &err),
                     LEAT_ESCHEMA);
    settle(s);
    check_all(s);
    set_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_types_in_all_metrics),
        cmocka_unit_test(as_many_dimensions_as_there_may_be),
        cmocka_unit_test(one_batch_may_name_an_id_often),
        cmocka_unit_test(what_has_no_distance_is_refused),
        cmocka_unit_test(other_dimensions_are_refused),
    };

    return cmocka_run_group_tests_name("cluster_ivf_types", tests, NULL, NULL);
}
