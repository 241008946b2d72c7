/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include <time.h>

/* Folds that do nothing but finish: memory and deadline end them there too. And what a query is told. */

enum { KEYS = 500, MEMORY = 8 << 20, EACH = 1 << 20, TIMEOUT_MS = 40 };

static struct {
    bool hoard;
    int finished;
} now;

static int64_t wall_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int prepare(struct leat_fold_use *use, size_t *state_size, char *schema, size_t schema_size,
                   struct leat_error *err)
{
    (void)use;
    (void)err;
    *state_size = 8;
    snprintf(schema, schema_size, "nothing: i64");
    return 0;
}

static void init(const struct leat_fold_use *use, void *state)
{
    (void)use;
    memset(state, 0, 8);
}

static int step(const struct leat_fold_use *use, void *state, const struct leat_batch *in, uint32_t first, uint32_t end)
{
    (void)use;
    (void)state;
    (void)in;
    (void)first;
    (void)end;
    return 0;
}

static void save(const struct leat_fold_use *use, const void *state, struct leat_sink *out)
{
    (void)use;
    leat_sink_put(out, state, 8);
}

static int load(const struct leat_fold_use *use, void *state, struct leat_span bytes)
{
    (void)use;
    memcpy(state, bytes.base, bytes.size < 8 ? bytes.size : 8);
    return 0;
}

static int finish(const struct leat_fold_use *use, const void *state, struct leat_task *t)
{
    int64_t start = wall_us();

    (void)state;
    (void)t;
    now.finished++;
    if (now.hoard)
        memset(leat_fold_alloc(use, EACH), 0, EACH);
    while (!now.hoard && wall_us() - start < 4000)
        continue;
    return 0;
}

static const struct leat_fold slow = {"slow", LEAT_KEEP_VALUE, prepare, init, step, NULL, save, load, finish};

static int spread(struct leat_task *t, const struct leat_batch *in)
{
    (void)in;
    for (int64_t i = 0; i < KEYS; i++)
        leat_emit(t, 0, LEAT_ROW(leat_i64(i), leat_i64(1)));
    return 0;
}

static int tell_time(struct leat_task *t, const struct leat_batch *in)
{
    (void)in;
    leat_emit(t, 0, LEAT_ROW(leat_i64(leat_now(t))));
    return 0;
}

static int measure(struct leat_task *t, const struct leat_batch *in)
{
    leat_emit(t, 0, LEAT_ROW(leat_u64(leat_at(in, 0, 0).as.bytes.size)));
    return 0;
}

static const struct leat_module module = {
    LEAT_ABI, .name = "m",
    .topologies = TOPOLOGIES(
        {"folds", LEAT_QUERY, NODES(
            {"spread", .from = "request", .run = spread, .emits = "key: i64, n: i64"},
            {"slow", .from = "spread", .route = LEAT_BY_KEY, .fold = &slow},
            {"answer", .from = "slow", .route = LEAT_TO_ORIGIN, .fold = &leat_count, .into = "reply"})},
        {"size", LEAT_QUERY, .takes = "text: str",
         NODES({"measure", .from = "request", .route = LEAT_TO_ORIGIN, .run = measure, .emits = "size: u64",
                .into = "reply"})},
        {"time", LEAT_QUERY, NODES({"tell", .from = "request", .route = LEAT_TO_ORIGIN, .run = tell_time,
                                    .emits = "t: i64", .into = "reply"})})};

static struct leat *open_memory(void)
{
    struct leat_error err = {0, ""};
    struct leat *l;

    must(leat_open(NULL, &(struct leat_config){.memory = true}, &l, &err));
    must(leat_launch(l, &module, &(struct leat_launch){.tasks = 4, .groups = 2}, &err));
    return l;
}

static void finishing_has_limits(void **unused)
{
    struct leat *l = open_memory();
    struct leat_error err = {0, ""};
    struct leat_result *r;

    (void)unused;
    now.hoard = true;
    now.finished = 0;
    assert_int_equal(leat_query(l, "m", "folds", LEAT_ROW(),
                                &(struct leat_query){.memory_max = MEMORY, .timeout_ms = 100000}, &r, &err),
                     LEAT_ELIMIT);
    assert_true(now.finished <= MEMORY / EACH + 1);
    assert_non_null(strstr(err.text, "memory"));
    now.hoard = false;
    now.finished = 0;
    assert_int_equal(leat_query(l, "m", "folds", LEAT_ROW(), &(struct leat_query){.timeout_ms = TIMEOUT_MS}, &r, &err),
                     LEAT_ETIMEOUT);
    assert_true(now.finished < KEYS / 2);
    leat_close(l);
}

static void queries_know_the_time(void **unused)
{
    struct leat *l = open_memory();
    struct leat_error err = {0, ""};
    int64_t before = wall_us();
    struct leat_result *r;

    (void)unused;
    must(leat_query(l, "m", "time", LEAT_ROW(), NULL, &r, &err));
    int64_t told = leat_at(leat_result_rows(r), 0, 0).as.i;
    assert_true(before <= told && told <= wall_us());
    leat_result_free(r);
    leat_close(l);
}

static void requests_of_any_size(void **unused)
{
    struct leat *l = open_memory();
    char *text = malloc(1 << 20);

    (void)unused;
    assert_non_null(text);
    memset(text, 'x', 1 << 20);
    for (size_t size = 16300; size <= 1 << 20; size += size < 16400 ? 1 : size) {
        struct leat_error err = {0, ""};
        struct leat_result *r;

        must(leat_query(l, "m", "size", LEAT_ROW(leat_str_n(text, size)), NULL, &r, &err));
        assert_int_equal(leat_at(leat_result_rows(r), 0, 0).as.u, size);
        assert_int_equal(err.code, 0);
        leat_result_free(r);
    }
    free(text);
    leat_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(finishing_has_limits), cmocka_unit_test(queries_know_the_time),
                                       cmocka_unit_test(requests_of_any_size)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
