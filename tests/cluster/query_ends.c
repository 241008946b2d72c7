/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/items.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

/* What ends a query early, and what it leaves: nothing. Then many at once. */

enum { LEFT = ITEMS + 1, RIGHT };

/* ---- Nodes that end a query early ---- */

static struct {
    int runs;
    uint64_t emitted;
    bool cancel;
} seen;

enum failure { FAIL_SENTENCE, FAIL_CODE, FAIL_REJECT, FAIL_COLUMNS, FAIL_TASK, FAIL_LOOP, FAIL_READ, FAIL_FOLD,
               FAILURES };

static int fail_so(struct leat_task *t, const struct leat_batch *in)
{
    int64_t how = leat_at(leat_request(t), 0, 0).as.i;

    for (uint32_t i = 0; i < in->rows; i++) {
        if (how == FAIL_REJECT)
            leat_reject(t, i, "not this row");
        else
            leat_emit(t, i,
                      how == FAIL_COLUMNS ? LEAT_ROW(leat_str("so"))
                                          : LEAT_ROW(leat_u32(how == FAIL_TASK ? TASKS : 0),
                                                     leat_i64(how == FAIL_FOLD ? INT64_MAX : 1)));
        if (how == FAIL_SENTENCE)
            return leat_task_fail(t, LEAT_EINVAL, "no luck %lld", (long long)how);
        if (how == FAIL_READ)
            leat_get(t, ITEMS, LEAT_KEYS(leat_str("a word")), NULL, 0);
    }
    return how == FAIL_CODE ? LEAT_EIO : 0;
}

static int go_round(struct leat_task *t, const struct leat_batch *in)
{
    if (leat_at(leat_request(t), 0, 0).as.i == FAIL_LOOP)
        for (uint32_t i = 0; i < in->rows; i++)
            leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0), leat_at(in, i, 1)));
    return 0;
}

static int ignore(struct leat_task *t, const struct leat_batch *in)
{
    (void)in;
    return leat_task_error(t);
}

static int64_t clock_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int linger(struct leat_task *t, const struct leat_batch *in)
{
    int64_t start = clock_us();

    (void)in;
    while (clock_us() - start < 6000)
        continue;
    if (__atomic_add_fetch(&seen.runs, 1, __ATOMIC_RELAXED) == 3)
        __atomic_store_n(&seen.cancel, true, __ATOMIC_RELAXED);
    leat_emit(t, 0, LEAT_ROW(leat_u32(leat_task_number(t))));
    return 0;
}

/* Emits without an end of its own. */
static int pour(struct leat_task *t, const struct leat_batch *in)
{
    char text[1000];

    (void)in;
    memset(text, 'x', sizeof(text));
    for (seen.emitted = 0; leat_task_error(t) == 0 && seen.emitted < 100000; seen.emitted++)
        leat_emit(t, 0, LEAT_ROW(leat_str_n(text, sizeof(text))));
    return 0;
}

/* Emits as many bytes. */
static int swell(struct leat_task *t, const struct leat_batch *in)
{
    uint32_t size = (uint32_t)leat_at(in, 0, 0).as.i;

    leat_emit(t, 0, LEAT_ROW(leat_bytes(leat_alloc(t, size), size)));
    return 0;
}

static int take(struct leat_task *t, const struct leat_batch *in)
{
    for (int64_t left = leat_at(in, 0, 0).as.i; left > 0; left -= 1000)
        memset(leat_alloc(t, 1000), 0, 1000);
    leat_emit(t, 0, LEAT_ROW(leat_at(in, 0, 0)));
    return 0;
}

/* What one turn writes at two places is seen at both or at none. */
static int store_pair(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        leat_put(t, LEFT, LEAT_KEYS(leat_at(in, i, 0)), LEAT_ROW());
        leat_put(t, RIGHT, LEAT_KEYS(leat_at(in, i, 0)), LEAT_ROW());
    }
    return 0;
}

static int count_pairs(struct leat_task *t, const struct leat_batch *in)
{
    uint64_t left = 0, right = 0;

    (void)in;
    leat_size(t, LEFT, LEAT_KEYS(), &left);
    leat_size(t, RIGHT, LEAT_KEYS(), &right);
    leat_emit(t, 0, LEAT_ROW(leat_u64(left), leat_u64(right)));
    return 0;
}

/* ---- The module ---- */

static const struct leat_module module = {
    LEAT_ABI, .name = "queries",
    .depots = DEPOTS(ITEM_DEPOT, {"pairs", "key: i64", .by = "key"}),
    .pstates = PSTATES(ITEM_PSTATE, [LEFT] = {"left", "set<i64>"}, [RIGHT] = {"right", "set<i64>"}),
    .topologies = TOPOLOGIES(
        {"store", LEAT_STREAM, NODES({"store", .from = "items", .run = store},
                                     {"pair", .from = "pairs", .run = store_pair})},
        {"pairs", LEAT_QUERY, NODES({"count", .from = "request", .route = LEAT_ALL, .run = count_pairs,
                                     .emits = "left: u64, right: u64"},
                                    REPLY("count"))},
        {"fails", LEAT_QUERY, .takes = "how: i64", NODES(
            SCAN, {"kinds", .from = "scan", .route = LEAT_BY_KEY, .fold = &leat_count},
            {"fail", .from = "scan", .run = fail_so, .emits = "task: u32, n: i64"},
            {"there", .from = "fail, round", .route = LEAT_DIRECT, .run = ignore},
            {"round", .from = "fail, round", .route = LEAT_GLOBAL, .run = go_round, .emits = "task: u32, n: i64"},
            {"sum", .from = "kinds, fail", .route = LEAT_GLOBAL, .fold = &leat_sum, .args = "of=n"},
            {"enough", .from = "sum", .run = pass, .emits = "sum: i64"}, {"whole", .from = "enough", .fold = &leat_max},
            REPLY("whole"))},
        {"lingers", LEAT_QUERY, NODES({"linger", .from = "request", .route = LEAT_ALL, .run = linger,
                                       .emits = "task: u32"}, REPLY("linger"))},
        {"pours", LEAT_QUERY, NODES({"pour", .from = "request", .run = pour, .emits = "text: str"}, REPLY("pour"))},
        {"swells", LEAT_QUERY, .takes = "size: i64", NODES({"swell", .from = "request", .run = swell,
                                                           .emits = "bytes: bytes"},
                                                          REPLY("swell"))},
        {"takes", LEAT_QUERY, .takes = "bytes: i64", NODES(
            {"take", .from = "request", .run = take, .emits = "bytes: i64"},
            {"answer", .from = "take", .route = LEAT_TO_ORIGIN, .run = pass,
            .emits = "bytes: i64", .into = "reply"})},
        {"kinds", LEAT_QUERY, NODES(SCAN, {"fold", .from = "scan", .route = LEAT_BY_KEY, .fold = &leat_count},
                                    REPLY("fold"))},
        {"count", LEAT_QUERY, NODES(SCAN, {"fold", .from = "scan", .route = LEAT_TO_ORIGIN, .fold = &leat_count,
                                           .into = "reply"})},
        {"all", LEAT_QUERY, NODES(SCAN, {"answer", .from = "scan", .route = LEAT_TO_ORIGIN, .run = pass, .emits = ITEM,
                                         .into = "reply"})})};

/* ---- What ends a query early ---- */

/* After a query that failed others are what they were, whatever it left. */
static void check_counts(struct leat_test *t)
{
    uint32_t count[KINDS] = {0};

    for (int i = 0; i < ITEM_COUNT; i++)
        count[items[i].kind]++;
    for (uint32_t k = 0; k < KINDS; k++)
        put_line(&wanted, "%u %u ", k, count[k]);
    expect(t, "kinds", LEAT_ROW(), false);
    put_line(&wanted, "%d ", ITEM_COUNT);
    expect(t, "count", LEAT_ROW(), false);
}

static void errors_in_nodes(void **state)
{
    static const struct {
        int code;
        const char *sentence;
    } wants[FAILURES] = {
        [FAIL_SENTENCE] = {LEAT_EINVAL, "query 'queries.fails': node 'fail': no luck 0"},
        [FAIL_CODE] = {LEAT_EIO, "node 'fail': its run returned LEAT_EIO"},
        [FAIL_REJECT] = {LEAT_EREJECTED, "node 'fail': not this row"},
        [FAIL_COLUMNS] = {LEAT_ESCHEMA, "node 'fail': it emits a row of another form"},
        [FAIL_TASK] = {LEAT_EINVAL, "node 'fail': a row for node 'there' names task 8, but the module has 8 tasks"},
        [FAIL_LOOP] = {LEAT_ELIMIT, "node 'round': a row went round its loop 64 times"},
        [FAIL_READ] = {LEAT_ESCHEMA, "node 'fail': PState 'items'"},
        [FAIL_FOLD] = {LEAT_ELIMIT, "node 'sum': fold sum: "},
    };

    (void)state;
    for (int w = 0; w < 3; w++) {
        struct leat_test *t = open_items(&module, &ways[w]);

        for (int how = 0; how < FAILURES; how++) {
            refuse(t, "fails", LEAT_ROW(leat_i64(how)), NULL, wants[how].code, wants[how].sentence);
            check_counts(t);
        }
        put_line(&wanted, "%d ", 2 * ITEM_COUNT);
        expect(t, "fails", LEAT_ROW(leat_i64(FAILURES)), true);
        check_counts(t);
        leat_test_close(t);
    }
}

/* 4 bytes are the length. Beyond 4 KiB more it does not even fit where it is put together. */
static void a_row_has_its_most(void **state)
{
    enum { MOST = (16 << 20) - 4 };

    (void)state;
    for (int w = 0; w < 3; w++) {
        struct leat_test *t = open_items(&module, &ways[w]);
        struct leat_error err = {0, ""};
        struct leat_result *r;

        must(leat_query(leat_test_leat(t), "queries", "swells", LEAT_ROW(leat_i64(MOST)), NULL, &r, &err));
        assert_int_equal(leat_at(leat_result_rows(r), 0, 0).as.bytes.size, MOST);
        leat_result_free(r);
        refuse(t, "swells", LEAT_ROW(leat_i64(MOST + 1)), NULL, LEAT_ELIMIT,
               "node 'swell': it emits a row of 16777217 bytes: a row has at most 16 MiB");
        refuse(t, "swells", LEAT_ROW(leat_i64(MOST + 50000)), NULL, LEAT_ELIMIT,
               "node 'swell': it emits a row of 16827216 bytes: a row has at most 16 MiB");
        leat_test_close(t);
    }
}

static void deadline_and_cancel(void **state)
{
    struct leat_test *t = open_items(&module, &ways[1]);
    struct leat_query soon = {.timeout_ms = 10}, canceled = {.cancel = &seen.cancel};

    (void)state;
    seen.runs = 0;
    refuse(t, "lingers", LEAT_ROW(), &soon, LEAT_ETIMEOUT, "the query did not end within 10 ms");
    assert_in_range(seen.runs, 1, 3);
    check_counts(t);
    seen.runs = 0;
    seen.cancel = false;
    refuse(t, "lingers", LEAT_ROW(), &canceled, LEAT_ECANCELED, "the query was canceled");
    assert_int_equal(seen.runs, 3);
    refuse(t, "lingers", LEAT_ROW(), &canceled, LEAT_ECANCELED, "the query was canceled");
    assert_int_equal(seen.runs, 3);
    check_counts(t);
    for (uint32_t task = 0; task < TASKS; task++)
        put_line(&wanted, "%u ", task);
    expect(t, "lingers", LEAT_ROW(), false);
    leat_test_close(t);
}

static void memory_ends(void **state)
{
    struct leat_test *t = open_items(&module, &ways[1]);
    struct leat_query little = {.memory_max = 1 << 20};

    (void)state;
    refuse(t, "pours", LEAT_ROW(), &little, LEAT_ELIMIT, "the memory limit was passed");
    assert_in_range(seen.emitted, 500, 1100);
    check_counts(t);
    refuse(t, "takes", LEAT_ROW(leat_i64(2000000)), &little, LEAT_ELIMIT, "node 'take': the memory limit");
    put_line(&wanted, "900000 ");
    struct leat_error err = {0, ""};
    struct leat_result *r;
    must(leat_query(leat_test_leat(t), "queries", "takes", LEAT_ROW(leat_i64(900000)), &little, &r, &err));
    answer_lines(r, &got);
    expect_lines("takes", &got, &wanted, true);
    wanted.count = 0;
    leat_result_free(r);
    put_line(&wanted, "2000000 ");
    expect(t, "takes", LEAT_ROW(leat_i64(2000000)), true);
    struct leat_query least = {.memory_max = 1};
    refuse(t, "all", LEAT_ROW(), &least, LEAT_ELIMIT, "the memory limit was passed");
    check_counts(t);
    leat_test_close(t);
}

/* ---- Many at once ---- */

enum { THREADS = 4, ROUNDS = 120, ASKED = 6 };

static struct lines known[3]; /* answers of count, kinds and all */

struct asker {
    pthread_t thread;
    struct leat *leat;
    uint64_t seed;
    struct lines lines;
    char wrong[256]; /* empty: all was right */
};

static void ask_known(struct asker *a, const char *query, const struct lines *wants)
{
    struct leat_error err = {0, ""};
    struct leat_result *r;

    if (leat_query(a->leat, "queries", query, LEAT_ROW(), NULL, &r, &err) != 0) {
        snprintf(a->wrong, sizeof(a->wrong), "%.200s", err.text);
        return;
    }
    answer_lines(r, &a->lines);
    leat_result_free(r);
    sort_lines(&a->lines);
    bool same = a->lines.count == wants->count;
    for (uint32_t i = 0; i < wants->count && same; i++)
        same = strcmp(a->lines.line[i], wants->line[i]) == 0;
    if (!same)
        snprintf(a->wrong, sizeof(a->wrong), "query '%s' answers otherwise", query);
}

/* Pairs are written meanwhile: each task's snapshot has both sides of one. */
static void ask_pairs(struct asker *a)
{
    struct leat_error err = {0, ""};
    struct leat_result *r;

    if (leat_query(a->leat, "queries", "pairs", LEAT_ROW(), NULL, &r, &err) != 0) {
        snprintf(a->wrong, sizeof(a->wrong), "%.200s", err.text);
        return;
    }
    for (uint32_t i = 0; i < leat_result_rows(r)->rows; i++)
        if (leat_at(leat_result_rows(r), i, 0).as.u != leat_at(leat_result_rows(r), i, 1).as.u)
            snprintf(a->wrong, sizeof(a->wrong), "half a pair is seen");
    leat_result_free(r);
}

static void ask_failing(struct asker *a)
{
    struct leat_query little = {.memory_max = 10000};
    bool memory = next_random(&a->seed) % 2 == 0;
    struct leat_error err = {0, ""};
    struct leat_result *r;
    int rv = memory ? leat_query(a->leat, "queries", "all", LEAT_ROW(), &little, &r, &err)
                    : leat_query(a->leat, "queries", "fails", LEAT_ROW(leat_i64(FAIL_SENTENCE)), NULL, &r, &err);

    if (rv != (memory ? LEAT_ELIMIT : LEAT_EINVAL))
        snprintf(a->wrong, sizeof(a->wrong), "%s: %.200s", leat_code_name(rv), err.text);
}

static void *ask_on(void *context)
{
    static const char *const query[] = {"count", "kinds", "all"};
    struct asker *a = context;

    for (int i = 0; i < ROUNDS && a->wrong[0] == '\0'; i++) {
        uint64_t which = next_random(&a->seed) % ASKED;

        if (which < 3)
            ask_known(a, query[which], &known[which]);
        else if (which == 3)
            ask_failing(a);
        else
            ask_pairs(a);
    }
    return NULL;
}

struct answers {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    uint32_t done, right, canceled, late;
};

static void count_answer(void *context, int code, const struct leat_error *err, struct leat_result *result)
{
    struct answers *a = context;

    (void)err;
    pthread_mutex_lock(&a->lock);
    a->done++;
    a->canceled += code == LEAT_ECANCELED;
    a->late += code == LEAT_ETIMEOUT;
    a->right += code == 0 && leat_at(leat_result_rows(result), 0, 0).as.i == ITEM_COUNT;
    pthread_cond_signal(&a->cond);
    pthread_mutex_unlock(&a->lock);
    leat_result_free(result);
}

static void wait_for(struct answers *a, uint32_t done)
{
    struct timespec until;
    int rv = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    pthread_mutex_lock(&a->lock);
    while (a->done < done && rv == 0)
        rv = pthread_cond_timedwait(&a->cond, &a->lock, &until);
    pthread_mutex_unlock(&a->lock);
    assert_int_equal(rv, 0);
}

static void many_at_once(void **state)
{
    static struct asker asker[THREADS];
    struct answers answers = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    struct leat_test *t = open_items(&module, &ways[6]);
    struct leat_error err = {0, ""};

    (void)state;
    ask(leat_test_leat(t), "queries", "count", LEAT_ROW(), &known[0]);
    ask(leat_test_leat(t), "queries", "kinds", LEAT_ROW(), &known[1]);
    ask(leat_test_leat(t), "queries", "all", LEAT_ROW(), &known[2]);
    assert_int_equal(known[2].count, ITEM_COUNT);
    for (int i = 0; i < 3; i++)
        sort_lines(&known[i]);
    for (int i = 0; i < THREADS; i++) {
        asker[i].leat = leat_test_leat(t);
        asker[i].seed = (uint64_t)i;
        assert_int_equal(pthread_create(&asker[i].thread, NULL, ask_on, &asker[i]), 0);
    }
    for (int64_t k = 0; k < 300; k++) {
        must(leat_test_append(t, "pairs", LEAT_ROW(leat_i64(k)), &err));
        must(leat_query_start(leat_test_leat(t), "queries", "count", LEAT_ROW(), NULL, count_answer, &answers, &err));
        assert_true(leat_test_step(t, &err) >= 0);
    }
    must(leat_test_run(t, &err));
    for (int i = 0; i < THREADS; i++) {
        pthread_join(asker[i].thread, NULL);
        assert_string_equal(asker[i].wrong, "");
    }
    wait_for(&answers, 300);
    assert_int_equal(answers.done, 300);
    assert_int_equal(answers.right, 300);
    leat_test_close(t);
}

/* Only so many wait; each that was taken is answered, once, also when all are canceled and the node closes. */
static void waiting_is_bounded(void **state)
{
    struct answers answers = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    struct leat_test *t = open_items(&module, &ways[1]);
    struct leat_error err = {0, ""};
    bool cancel = false;
    struct leat_query how = {.cancel = &cancel, .timeout_ms = 60000};
    uint32_t taken = 0;
    int rv;

    (void)state;
    while ((rv = leat_query_start(leat_test_leat(t), "queries", "lingers", LEAT_ROW(), &how, count_answer, &answers,
                                  &err)) == 0)
        assert_true(++taken < 20000);
    assert_int_equal(rv, LEAT_EFULL);
    assert_non_null(strstr(err.text, "queries wait already"));
    assert_true(taken >= 4096);
    __atomic_store_n(&cancel, true, __ATOMIC_RELAXED);
    wait_for(&answers, taken / 2);
    leat_test_close(t);
    assert_int_equal(answers.done, taken);
    assert_true(answers.canceled >= taken - 64);
}

/* Each query thread has a slow query in hand: those behind wait, and their time runs out meanwhile. */
static void waiting_counts(void **state)
{
    struct answers answers = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    struct leat_test *t = open_items(&module, &ways[1]);
    uint32_t threads = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    struct leat_query how = {.timeout_ms = 20};
    struct leat_error err = {0, ""};

    (void)state;
    for (uint32_t i = 0; i < threads; i++)
        must(leat_query_start(leat_test_leat(t), "queries", "lingers", LEAT_ROW(), NULL, count_answer, &answers, &err));
    for (uint32_t i = 0; i < 3; i++)
        must(leat_query_start(leat_test_leat(t), "queries", "count", LEAT_ROW(), &how, count_answer, &answers, &err));
    wait_for(&answers, threads + 3);
    assert_int_equal(answers.late, 3);
    leat_test_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_in_nodes),
        cmocka_unit_test(a_row_has_its_most),
        cmocka_unit_test(deadline_and_cancel),
        cmocka_unit_test(memory_ends),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(waiting_is_bounded),
        cmocka_unit_test(waiting_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
