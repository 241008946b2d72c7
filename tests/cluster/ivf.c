/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include <math.h>

#include "base/file.h"
#include "modules/ivf/places.h"
#include "modules/modules.h"

/* The module ivf against a model: an array of vectors. Whatever comes, goes, splits and merges, and wherever a group
 * crashes: each vector is there once, in the posting that is said, and is found. */

enum { DIMS = 12, IDS = 400, NONE = 5 };

struct model {
    bool there[IDS];
    float vector[IDS][DIMS];
    int64_t attribute[IDS]; /* NONE: it came without */
};

/* Postings of few rows, so that they split and merge all the time; bounds wide enough that none fails. */
#define SMALL                                                                                                          \
    {"dims", "12"}, {"metric", "l2"}, {"attributes", "group: i64"}, {"target", "8"}, {"split", "16"}, {"merge", "3"},  \
        {"nprobe", "1000"}, {"epsilon", "10"}
static const struct leat_option small[] = {SMALL, {NULL, NULL}};
static const struct leat_option small_u64[] = {SMALL, {"ids", "u64"}, {NULL, NULL}};

static struct leat_value id_value(bool names, int id, char text[16])
{
    if (!names)
        return leat_u64((uint64_t)id * 7919);
    snprintf(text, 16, "v%d", id);
    return leat_str(text);
}

/* Vectors around a few points, so that postings differ. */
static void make_vector(uint64_t *seed, float *out)
{
    uint64_t around = next_random(seed) % 7;

    for (int i = 0; i < DIMS; i++)
        out[i] = (float)(around * (uint64_t)(i + 3) % 11) + (float)(next_random(seed) % 1000) / 500.0F;
}

static void append(struct leat_test *t, bool names, int id, const float *vector, int64_t attribute)
{
    uint8_t map[] = {0x81, 0xa5, 'g', 'r', 'o', 'u', 'p', (uint8_t)attribute};
    struct leat_error err = {0, ""};
    char text[16];

    must(leat_test_append(t, "vectors",
                          LEAT_ROW(id_value(names, id, text),
                                   vector != NULL ? leat_vector(LEAT_F32_VECTOR, vector, DIMS) : leat_null(),
                                   attribute != NONE ? leat_any(map, sizeof(map)) : leat_null()),
                          &err));
}

static void set(struct leat_test *t, struct model *m, bool names, int id, const float *vector, int64_t attribute)
{
    append(t, names, id, vector, attribute);
    m->there[id] = vector != NULL;
    m->attribute[id] = attribute;
    if (vector != NULL)
        memcpy(m->vector[id], vector, sizeof(m->vector[id]));
}

static void change(struct leat_test *t, struct model *m, bool names, int ids, int deletes_in_ten, uint64_t *seed)
{
    int id = (int)(next_random(seed) % (uint64_t)ids);
    float vector[DIMS];

    make_vector(seed, vector);
    set(t, m, names, id, next_random(seed) % 10 < (uint64_t)deletes_in_ten ? NULL : vector,
        (int64_t)(next_random(seed) % (NONE + 1)));
}

/* ---- What must hold ---- */

static float square(const float *a, const float *b)
{
    float sum = 0;

    for (int i = 0; i < DIMS; i++)
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

static struct leat_result *ask(struct leat_test *t, const char *query, const float *vector, uint32_t k,
                               struct leat_value filter)
{
    struct leat_error err = {0, ""};
    struct leat_result *r;

    must(leat_query(leat_test_leat(t), "ivf", query,
                    LEAT_ROW(leat_vector(LEAT_F32_VECTOR, vector, DIMS), leat_u32(k), leat_null(), filter,
                             leat_bool(true), leat_bool(true), leat_bool(true), leat_null(), leat_null()),
                    NULL, &r, &err));
    return r;
}

static int number_of(bool names, struct leat_value id)
{
    char text[16] = "";

    if (!names)
        return (int)(id.as.u / 7919);
    memcpy(text, (const char *)id.as.bytes.base + 1, id.as.bytes.size - 1);
    return atoi(text);
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* The answer has the true distances, ascending, of vectors as they are, each once. */
static void check_answer(struct leat_test *t, const struct model *m, bool names, const char *query, const float *vector,
                         int64_t group)
{
    enum { K = 9 };
    uint8_t filter[] = {0x81, 0xa5, 'g', 'r', 'o', 'u', 'p', 0x81, 0xa2, 'e', 'q', (uint8_t)group};
    struct leat_result *r = ask(t, query, vector, K, group < 0 ? leat_null() : leat_any(filter, sizeof(filter)));
    const struct leat_batch *rows = leat_result_rows(r);
    float distance[IDS];
    bool seen[IDS] = {false};
    uint32_t count = 0;

    for (int i = 0; i < IDS; i++)
        if (m->there[i] && (group < 0 || (group != NONE && m->attribute[i] == group)))
            distance[count++] = square(m->vector[i], vector);
    qsort(distance, count, sizeof(*distance), compare);
    assert_int_equal(rows->rows, count < K ? count : K);
    for (uint32_t i = 0; i < rows->rows; i++) {
        int id = number_of(names, leat_at(rows, i, 0));

        assert_in_range(id, 0, IDS - 1);
        assert_true(m->there[id] && !seen[id]);
        seen[id] = true;
        assert_float_equal(leat_at(rows, i, 1).as.f, distance[i], 1e-3);
        assert_float_equal(leat_at(rows, i, 1).as.f, square(m->vector[id], vector), 1e-3);
        assert_memory_equal(leat_at(rows, i, 3).as.bytes.base, m->vector[id], sizeof(m->vector[id]));
        struct leat_value attributes = leat_at(rows, i, 2);
        assert_int_equal(attributes.type == LEAT_NULL ? NONE : ((const uint8_t *)attributes.as.bytes.base)[7],
                         m->attribute[id]);
    }
    leat_result_free(r);
}

static int64_t count_of(struct leat_test *t)
{
    struct leat_error err = {0, ""};
    struct leat_result *r;

    must(leat_query(leat_test_leat(t), "ivf", "count", LEAT_ROW(), NULL, &r, &err));
    int64_t count = leat_at(leat_result_rows(r), 0, 0).as.i;
    leat_result_free(r);
    return count;
}

/* The postings have as many live rows as there are vectors, none is on its way, none waits to become empty. */
static uint32_t check_postings(struct leat_test *t, int64_t vectors)
{
    struct leat_error err = {0, ""};
    struct leat_view *v;
    uint32_t pstate, postings = 0;
    int64_t live = 0;

    must(leat_view_open(leat_test_leat(t), "ivf", &v, &err));
    must(leat_view_pstate(v, "postings", &pstate));
    for (uint32_t task = 0; task < leat_view_tasks(v); task++) {
        struct leat_scan *s;
        struct leat_value key, field[7];

        must(leat_scan_open(leat_view_task(v, task), pstate, LEAT_KEYS(), NULL, &s));
        for (; leat_scan_next(s, &key, field, 7) == 0; postings++) {
            assert_true(field[0].as.b);
            live += (int64_t)field[3].as.u;
            for (uint32_t i = 4; i < field[6].as.bytes.size; i += 8) {
                uint32_t moving;

                memcpy(&moving, (const uint8_t *)field[6].as.bytes.base + i, 4);
                assert_int_equal(moving, 0);
            }
        }
        leat_scan_close(s);
    }
    leat_view_close(v);
    assert_int_equal(live, vectors);
    return postings;
}

/* Bytes of its values, or how many there are. */
static uint64_t sum_of(struct leat_test *t, const char *name, bool bytes)
{
    struct leat_error err = {0, ""};
    struct leat_view *v;
    uint32_t pstate;
    uint64_t sum = 0;

    must(leat_view_open(leat_test_leat(t), "ivf", &v, &err));
    must(leat_view_pstate(v, name, &pstate));
    for (uint32_t task = 0; task < leat_view_tasks(v); task++) {
        struct leat_value key, field[2];
        struct leat_scan *s;

        must(leat_scan_open(leat_view_task(v, task), pstate, LEAT_KEYS(), NULL, &s));
        while (leat_scan_next(s, &key, field, 2) == 0)
            sum += bytes ? field[0].as.bytes.size : 1;
        leat_scan_close(s);
    }
    leat_view_close(v);
    return sum;
}

static uint32_t check_all(struct leat_test *t, const struct model *m, bool names, uint64_t *seed)
{
    int64_t vectors = 0, with_attributes = 0;
    float vector[DIMS];

    for (int i = 0; i < IDS; i++) {
        vectors += m->there[i];
        with_attributes += m->there[i] && m->attribute[i] != NONE;
        if (m->there[i] && i % 7 == 0)
            check_answer(t, m, names, "search", m->vector[i], -1);
    }
    for (int i = 0; i < 10; i++) {
        make_vector(seed, vector);
        check_answer(t, m, names, "search", vector, -1);
        check_answer(t, m, names, "search", vector, (int64_t)(next_random(seed) % 6));
        check_answer(t, m, names, "exact", vector, -1);
    }
    assert_int_equal(count_of(t), vectors);
    assert_int_equal(sum_of(t, "places", true), vectors * PLACES_ENTRY);
    assert_int_equal(sum_of(t, "ids", false), names ? vectors : with_attributes);
    assert_int_equal(sum_of(t, "names", false), names ? vectors : 0);
    return check_postings(t, vectors);
}

static void run(struct leat_test *t)
{
    struct leat_error err = {0, ""};

    must(leat_test_run(t, &err));
}

/* ---- Tests ---- */

static void it_is_as_the_model_whatever_comes(void **state)
{
    (void)state;
    for (int w = 0; w < WAYS; w++) {
        bool names = w % 2 == 0;
        struct leat_test *t = open_way(&module_ivf, &ways[w], names ? small : small_u64);
        struct model *m = calloc(1, sizeof(*m));
        struct leat_error err = {0, ""};
        uint64_t seed = ways[w].seed;

        check_all(t, m, names, &seed);
        for (int i = 0; i < 600; i++) {
            change(t, m, names, IDS, i < 400 ? 1 : 6, &seed);
            if (i % 13 == 0)
                assert_true(leat_test_step(t, &err) >= 0);
        }
        run(t);
        assert_true(check_all(t, m, names, &seed) > 4);
        for (int id = 0; id < IDS; id++)
            if (id != 3)
                set(t, m, names, id, NULL, 0);
        run(t);
        check_all(t, m, names, &seed);
        leat_test_close(t);
        free(m);
    }
}

static void it_is_as_the_model_after_crashes_at_every_point(void **state)
{
    (void)state;
    for (const char *const *point = leat_test_points(); *point != NULL; point++) {
        struct way way = {11, 4, 5, false, false};
        struct leat_test *t = open_way(&module_ivf, &way, small);
        struct model *m = calloc(1, sizeof(*m));
        struct leat_error err = {0, ""};
        uint64_t seed = (uint64_t)(point - leat_test_points()) + 77;

        for (int round = 0; round < 4; round++) {
            int rv;

            leat_test_crash_at(t, *point, 1 + (uint32_t)(next_random(&seed) % 12));
            for (int i = 0; i < 90; i++)
                change(t, m, true, IDS, round < 2 ? 1 : 7, &seed);
            while ((rv = leat_test_run(t, &err)) == LEAT_ECANCELED) {
                leat_test_crash_at(t, NULL, 0);
                come_back(t, next_random(&seed), &err);
            }
            must(rv);
            leat_test_crash_at(t, NULL, 0);
        }
        check_all(t, m, true, &seed);
        leat_test_close(t);
        free(m);
    }
}

static void equal_vectors_cannot_be_split_and_are_found(void **state)
{
    enum { EQUAL = 300 };
    struct leat_test *t = open_way(&module_ivf, &ways[1], small);
    struct model *m = calloc(1, sizeof(*m));
    float vector[DIMS] = {1, 2, 3};
    uint64_t seed = 5;

    (void)state;
    for (int id = 0; id < EQUAL; id++)
        set(t, m, true, id, vector, id % 5);
    run(t);
    check_answer(t, m, true, "search", vector, -1);
    assert_int_equal(check_postings(t, EQUAL), 1);
    for (int id = EQUAL; id < IDS; id++) {
        make_vector(&seed, vector);
        set(t, m, true, id, vector, 1);
    }
    run(t);
    check_all(t, m, true, &seed);
    leat_test_close(t);
    free(m);
}

/* A posting with nothing but dead rows, and one with many of them and equal vectors: upkeep comes to an end. */
static void dead_rows_keep_nobody_busy(void **state)
{
    static const struct leat_option large[] = {{"dims", "12"},     {"metric", "l2"},  {"attributes", "group: i64"},
                                               {"target", "8"},    {"split", "512"},  {"merge", "0"},
                                               {"nprobe", "1000"}, {"epsilon", "10"}, {NULL, NULL}};

    (void)state;
    for (int left = 0; left <= 100; left += 50) {
        struct leat_test *t = open_way(&module_ivf, &ways[left / 50 % WAYS], large);
        struct model *m = calloc(1, sizeof(*m));
        float vector[DIMS] = {1, 2, 3};
        uint64_t seed = 5;

        for (int id = 0; id < IDS; id++)
            set(t, m, true, id, vector, id % 5);
        run(t);
        for (int id = left; id < IDS; id++)
            set(t, m, true, id, NULL, 0);
        run(t);
        check_all(t, m, true, &seed);
        for (int id = left; id < IDS; id++) {
            make_vector(&seed, vector);
            set(t, m, true, id, vector, 1);
        }
        run(t);
        check_all(t, m, true, &seed);
        leat_test_close(t);
        free(m);
    }
}

static uint64_t dead_letters(struct leat_test *t)
{
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    uint64_t count = 0;

    must(leat_depot_find(leat_test_leat(t), "ivf", "dead_letters", &d, &err));
    for (uint32_t p = 0; p < leat_depot_partitions(d); p++) {
        struct leat_bounds b;

        must(leat_depot_bounds(d, p, &b));
        count += b.next - b.first;
    }
    return count;
}

static void what_has_no_distance_is_refused(void **state)
{
    static const struct leat_option cosine[] = {{"dims", "12"}, {NULL, NULL}};
    struct leat_test *t = open_way(&module_ivf, &ways[1], cosine);
    struct leat_error err = {0, ""};
    struct leat_result *r;
    float zero[DIMS] = {0}, tiny[DIMS] = {3e-23F}, huge[DIMS] = {3e38F, 3e38F}, good[DIMS] = {0, 1};

    (void)state;
    append(t, true, 1, zero, 0);
    append(t, true, 2, huge, 0);
    append(t, true, 3, good, 0);
    append(t, true, 4, tiny, 0);
    run(t);
    assert_int_equal(dead_letters(t), 3);
    assert_int_equal(count_of(t), 1);
    assert_int_equal(leat_query(leat_test_leat(t), "ivf", "search",
                                LEAT_ROW(leat_vector(LEAT_F32_VECTOR, zero, DIMS), leat_null(), leat_null(),
                                         leat_null(), leat_null(), leat_null(), leat_null(), leat_null(), leat_null()),
                                NULL, &r, &err),
                     LEAT_EINVAL);
    assert_non_null(strstr(err.text, "the query's length is 0"));
    assert_int_equal(leat_query(leat_test_leat(t), "ivf", "search",
                                LEAT_ROW(leat_vector(LEAT_F32_VECTOR, good, DIMS), leat_u32(0), leat_null(),
                                         leat_null(), leat_null(), leat_null(), leat_null(), leat_null(), leat_null()),
                                NULL, &r, &err),
                     LEAT_EINVAL);
    assert_non_null(strstr(err.text, "k = 0: it goes from 1 to"));
    leat_test_close(t);
}

/* Beyond the longest ones there are no distances; between those all are numbers. */
static void the_longest_vectors_have_distances(void **state)
{
    static const char *const query[] = {"search", "exact"};
    struct leat_test *t = open_way(&module_ivf, &ways[1], small);
    float left[DIMS] = {-3.1e18F}, right[DIMS] = {3.1e18F}, over[DIMS] = {3.2e18F};
    struct leat_error err = {0, ""};

    (void)state;
    append(t, true, 1, left, 0);
    append(t, true, 2, right, 0);
    append(t, true, 3, over, 0);
    run(t);
    assert_int_equal(dead_letters(t), 1);
    for (int i = 0; i < 2; i++) {
        struct leat_result *r = ask(t, query[i], left, 10, leat_null());
        const struct leat_batch *rows = leat_result_rows(r);

        assert_int_equal(rows->rows, 2);
        assert_int_equal(number_of(true, leat_at(rows, 0, 0)), 1);
        assert_true(leat_at(rows, 0, 1).as.f == 0);
        assert_true(fabs(leat_at(rows, 1, 1).as.f / 6.2e18 / 6.2e18 - 1) < 1e-5);
        leat_result_free(r);
        assert_int_equal(leat_query(leat_test_leat(t), "ivf", query[i],
                                    LEAT_ROW(leat_vector(LEAT_F32_VECTOR, over, DIMS), leat_u32(1), leat_null(),
                                             leat_null(), leat_null(), leat_null(), leat_null(), leat_null(),
                                             leat_null()),
                                    NULL, &r, &err),
                         LEAT_EINVAL);
        assert_non_null(strstr(err.text, "the query's squared length is 1.024e+37: it may be up to 1e+37"));
    }
    leat_test_close(t);
}

static void options_that_cannot_be_are_refused(void **state)
{
    static const struct {
        struct leat_option option;
        const char *says;
    } wrong[] = {
        {{"type", "f64"}, "f64 has no vectors"},
        {{"type", "u32"}, "option type = u32: it is one of f32, f16, i8, u8, bits"},
        {{"metric", "l1"}, "option metric = l1: it is one of l2, cosine, dot, hamming"},
        {{"type", "bits"}, "bits and hamming go together"},
        {{"dims", "8193"}, "option dims = 8193: it goes from 1 to 8192"},
        {{"split", "100"}, "options merge = 32, target = 160, split = 100"},
        {{"epsilon", "-1"}, "option epsilon = -1: it goes from 0 to 10"},
        {{"attributes", "a: f33"}, "f33"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct leat_option options[] = {wrong[i].option, {NULL, NULL}};
        struct leat_test_config config = {.module = &module_ivf, .options = options, .memory = true, .seed = 1};
        struct leat_error err = {0, ""};
        struct leat_test *t;

        assert_true(leat_test_open(&config, &t, &err) < 0);
        if (strstr(err.text, wrong[i].says) == NULL)
            fail_msg("'%s' does not say '%s'", err.text, wrong[i].says);
    }
}

/* Sixteen names of 48 bytes, which the second launch reads from the directory. */
static void as_many_attributes_and_as_long_as_there_may_be(void **state)
{
    enum { NAME = 48, MOST = 16, EACH = NAME + 8 };
    char directory[] = "/tmp/leat-ivf-XXXXXX", declared[MOST * EACH] = "";
    const struct leat_option options[] = {{"dims", "12"}, {"attributes", declared}, {NULL, NULL}};
    struct leat_test_config config = {.module = &module_ivf, .options = options, .tasks = 2, .groups = 1,
                                      .directory = directory, .seed = 1};
    uint8_t map[NAME + 5] = {0x81, 0xd9, NAME}; /* {"ppp..": "7"} */
    struct leat_error err = {0, ""};
    float vector[DIMS] = {1};

    (void)state;
    for (int i = 0; i < MOST; i++) {
        memset(map + 3, 'a' + i, NAME);
        snprintf(declared + strlen(declared), EACH + 1, "%s%.*s: text", i > 0 ? ", " : "", NAME, (char *)map + 3);
    }
    memcpy(map + 3 + NAME, "\xa1" "7", 2);
    assert_non_null(mkdtemp(directory));
    for (int launch = 0; launch < 2; launch++) {
        struct leat_test *t;

        must(leat_test_open(&config, &t, &err));
        must(leat_test_append(t, "vectors",
                              LEAT_ROW(leat_str("v"), leat_vector(LEAT_F32_VECTOR, vector, DIMS),
                                       launch == 0 ? leat_null() : leat_any(map, sizeof(map))), &err));
        must(leat_test_run(t, &err));
        struct leat_result *r = ask(t, "search", vector, 1, leat_any(map, sizeof(map)));
        assert_int_equal(leat_result_rows(r)->rows, launch);
        leat_result_free(r);
        leat_test_close(t);
        config.options = NULL;
    }
    file_remove_tree(directory, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_as_the_model_whatever_comes),
        cmocka_unit_test(it_is_as_the_model_after_crashes_at_every_point),
        cmocka_unit_test(equal_vectors_cannot_be_split_and_are_found),
        cmocka_unit_test(dead_rows_keep_nobody_busy),
        cmocka_unit_test(what_has_no_distance_is_refused),
        cmocka_unit_test(the_longest_vectors_have_distances),
        cmocka_unit_test(options_that_cannot_be_are_refused),
        cmocka_unit_test(as_many_attributes_and_as_long_as_there_may_be),
    };

    return cmocka_run_group_tests_name("cluster_ivf", tests, NULL, NULL);
}
