/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include <pthread.h>

#include "modules/modules.h"

/* Clients of a node with threads: acknowledgements, ack returns, sessions, queries with limits. */

static struct leat *open_bank(char directory[64])
{
    struct leat_error err = {0, ""};
    struct leat *l;

    snprintf(directory, 64, "/tmp/leat-client-XXXXXX");
    assert_non_null(mkdtemp(directory));
    must(leat_open(directory, NULL, &l, &err));
    must(leat_launch(l, &module_bank_transfer, &(struct leat_launch){.tasks = 8, .groups = 4}, &err));
    return l;
}

static void remove_directory(const char *directory)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", directory);
    assert_int_equal(system(command), 0);
}

static void deposit(struct leat *l, const char *account, int64_t amount)
{
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;

    must(leat_depot_find(l, "bank_transfer", "deposits", &d, &err));
    must(leat_rows_new(d, &rows));
    must(leat_rows_add(rows, LEAT_ROW(leat_str(account), leat_i64(amount)), &err));
    must(leat_append(d, rows, &(struct leat_append){.ack = LEAT_PROCESSED}, NULL, &err));
    leat_rows_free(rows);
}

static int64_t balance(struct leat *l, const char *account)
{
    struct leat_error err = {0, ""};
    struct leat_result *r;

    must(leat_query(l, "bank_transfer", "balance", LEAT_ROW(leat_str(account)), NULL, &r, &err));
    int64_t amount = leat_at(leat_result_rows(r), 0, 1).as.i;
    leat_result_free(r);
    return amount;
}

static void returns_come_with_the_ack(void **state)
{
    static const char *const wanted[] = {"done", "refused", "repeated"};
    struct leat_error err = {0, ""};
    struct leat_receipt receipt;
    struct leat_depot *d;
    struct leat_rows *rows;
    char directory[64];
    struct leat *l = open_bank(directory);

    (void)state;
    deposit(l, "a", 10);
    assert_int_equal(balance(l, "a"), 10);
    must(leat_depot_find(l, "bank_transfer", "transfers", &d, &err));
    must(leat_rows_new(d, &rows));
    must(leat_rows_add(rows, LEAT_ROW(leat_str("a"), leat_str("b"), leat_i64(7), leat_str("1")), &err));
    must(leat_rows_add(rows, LEAT_ROW(leat_str("a"), leat_str("b"), leat_i64(7), leat_str("2")), &err));
    must(leat_rows_add(rows, LEAT_ROW(leat_str("a"), leat_str("b"), leat_i64(7), leat_str("1")), &err));
    must(leat_append(d, rows, &(struct leat_append){.ack = LEAT_PROCESSED}, &receipt, &err));
    assert_int_equal(receipt.appended, 3);
    assert_int_equal(receipt.returned, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(receipt.value[i].as.bytes.size, strlen(wanted[i]));
        assert_memory_equal(receipt.value[i].as.bytes.base, wanted[i], strlen(wanted[i]));
    }
    leat_receipt_fini(&receipt);
    assert_int_equal(balance(l, "a"), 3);
    assert_int_equal(balance(l, "b"), 7);
    leat_rows_free(rows);
    leat_close(l);
    remove_directory(directory);
}

static void repeats_of_a_session_count_once(void **state)
{
    struct leat_append how = {.ack = LEAT_PROCESSED, .session = 9, .sequence = 1};
    struct leat_error err = {0, ""};
    struct leat_receipt receipt;
    struct leat_depot *d;
    struct leat_rows *rows;
    char directory[64];
    struct leat *l = open_bank(directory);
    uint64_t high;

    (void)state;
    must(leat_depot_find(l, "bank_transfer", "deposits", &d, &err));
    assert_int_equal(leat_depot_session(d, 9, &high), LEAT_ENOTFOUND);
    must(leat_rows_new(d, &rows));
    for (int i = 0; i < 10; i++)
        must(leat_rows_add(rows, LEAT_ROW(leat_str(i % 2 ? "x" : "y"), leat_i64(1)), &err));
    must(leat_append(d, rows, &how, &receipt, &err));
    assert_int_equal(receipt.appended, 10);
    leat_receipt_fini(&receipt);
    for (int again = 0; again < 3; again++) {
        must(leat_append(d, rows, &how, &receipt, &err));
        assert_int_equal(receipt.appended, 0);
        leat_receipt_fini(&receipt);
        leat_close(l);
        must(leat_open(directory, NULL, &l, &err));
        must(leat_launch(l, &module_bank_transfer, NULL, &err));
        must(leat_depot_find(l, "bank_transfer", "deposits", &d, &err));
        must(leat_depot_session(d, 9, &high));
        assert_int_equal(high, 10);
        leat_rows_free(rows);
        must(leat_rows_new(d, &rows));
        for (int i = 0; i < 10; i++)
            must(leat_rows_add(rows, LEAT_ROW(leat_str(i % 2 ? "x" : "y"), leat_i64(1)), &err));
    }
    assert_int_equal(balance(l, "x"), 5);
    assert_int_equal(balance(l, "y"), 5);
    leat_rows_free(rows);
    leat_close(l);
    remove_directory(directory);
}

/* Nothing is promised, but a directory that is closed takes what was given in. */
static void without_acknowledgement(void **state)
{
    enum { APPENDS = 500 };
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;
    char directory[64];
    struct leat *l = open_bank(directory);

    (void)state;
    must(leat_depot_find(l, "bank_transfer", "deposits", &d, &err));
    must(leat_rows_new(d, &rows));
    must(leat_rows_add(rows, LEAT_ROW(leat_str("a"), leat_i64(1)), &err));
    for (int i = 0; i < APPENDS; i++)
        must(leat_append(d, rows, &(struct leat_append){.ack = LEAT_NONE}, NULL, &err));
    leat_rows_free(rows);
    leat_close(l);
    must(leat_open(directory, NULL, &l, &err));
    must(leat_launch(l, &module_bank_transfer, NULL, &err));
    must(leat_wait(l, 60000, &err));
    assert_int_equal(balance(l, "a"), APPENDS);
    leat_close(l);
    remove_directory(directory);
}

struct worker {
    struct leat *leat;
    int number;
};

static void *depositor(void *context)
{
    struct worker *w = context;
    char account[16];

    snprintf(account, sizeof(account), "w%d", w->number);
    for (int i = 0; i < 50; i++)
        deposit(w->leat, account, 1);
    return NULL;
}

static void many_clients_read_their_writes(void **state)
{
    enum { CLIENTS = 6 };
    struct worker worker[CLIENTS];
    pthread_t thread[CLIENTS];
    char directory[64];
    struct leat *l = open_bank(directory);

    (void)state;
    for (int i = 0; i < CLIENTS; i++) {
        worker[i] = (struct worker){l, i};
        assert_int_equal(pthread_create(&thread[i], NULL, depositor, &worker[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        char account[16];

        pthread_join(thread[i], NULL);
        snprintf(account, sizeof(account), "w%d", i);
        assert_int_equal(balance(l, account), 50);
    }
    leat_close(l);
    remove_directory(directory);
}

/* ---- Queries with limits ---- */

static int forever(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0)));
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0)));
    }
    return 0;
}

static int grow(struct leat_task *t, const struct leat_batch *in)
{
    memset(leat_alloc(t, 1 << 20), 0, 1 << 20);
    leat_emit(t, 0, LEAT_ROW(leat_at(in, 0, 0)));
    return 0;
}

static int nothing(struct leat_task *t, const struct leat_batch *in)
{
    (void)t;
    (void)in;
    return 0;
}

static const struct leat_module greedy = {
    LEAT_ABI, .name = "greedy",
    .depots = DEPOTS({"rows", "n: i64", .partitioner = LEAT_RANDOM}),
    .topologies = TOPOLOGIES(
        {"ignore", LEAT_STREAM, NODES({"ignore", .from = "rows", .run = nothing})},
        {"loop", LEAT_QUERY, .takes = "n: i64", NODES(
            {"spin", .from = "request, spin", .run = forever, .emits = "n: i64"},
            {"answer", .from = "spin", .route = LEAT_TO_ORIGIN, .fold = &leat_count, .into = "reply"})},
        {"grow", LEAT_QUERY, .takes = "n: i64", NODES(
            {"all", .from = "request", .route = LEAT_ALL, .run = grow, .emits = "n: i64"},
            {"answer", .from = "all", .route = LEAT_TO_ORIGIN, .fold = &leat_count, .into = "reply"})})};

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int left, sum;
};

static void answered(void *context, int code, const struct leat_error *err, struct leat_result *result)
{
    struct answer *a = context;

    pthread_mutex_lock(&a->lock);
    if (code != 0)
        fprintf(stderr, "%s\n", err->text);
    else
        a->sum += (int)leat_at(leat_result_rows(result), 0, 0).as.i;
    a->left--;
    pthread_cond_signal(&a->cond);
    pthread_mutex_unlock(&a->lock);
    leat_result_free(result);
}

static void queries_have_limits(void **state)
{
    struct answer a = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 40, 0};
    struct leat_config config = {.memory = true};
    struct leat_error err = {0, ""};
    struct leat_result *r;
    bool cancel = true;
    struct leat *l;

    (void)state;
    must(leat_open(NULL, &config, &l, &err));
    must(leat_launch(l, &greedy, &(struct leat_launch){.tasks = 64, .groups = 2}, &err));
    assert_int_equal(leat_query(l, "greedy", "grow", LEAT_ROW(leat_i64(1)), &(struct leat_query){.memory_max = 8 << 20},
                                &r, &err), LEAT_ELIMIT);
    assert_non_null(strstr(err.text, "memory limit"));
    assert_int_equal(leat_query(l, "greedy", "grow", LEAT_ROW(leat_i64(1)), &(struct leat_query){.cancel = &cancel}, &r,
                                &err), LEAT_ECANCELED);
    assert_int_equal(leat_query(l, "greedy", "loop", LEAT_ROW(leat_i64(1)),
                                &(struct leat_query){.timeout_ms = 50, .memory_max = (size_t)4 << 30}, &r, &err),
                     LEAT_ETIMEOUT);
    for (int i = 0; i < 40; i++)
        must(leat_query_start(l, "greedy", "grow", LEAT_ROW(leat_i64(1)), &(struct leat_query){.timeout_ms = 200000},
                              answered, &a, &err));
    pthread_mutex_lock(&a.lock);
    while (a.left > 0)
        pthread_cond_wait(&a.cond, &a.lock);
    pthread_mutex_unlock(&a.lock);
    assert_int_equal(a.sum, 40 * 64);
    leat_close(l);
}

static void a_directory_is_opened_once(void **state)
{
    struct leat_error err = {0, ""};
    struct leat *second;
    char directory[64];
    struct leat *l = open_bank(directory);

    (void)state;
    assert_int_equal(leat_open(directory, NULL, &second, &err), LEAT_EBUSY);
    assert_non_null(strstr(err.text, "process"));
    leat_close(l);
    must(leat_open(directory, NULL, &l, &err));
    assert_int_equal(leat_launch(l, &module_bank_transfer, &(struct leat_launch){.tasks = 16}, &err), LEAT_EEXISTS);
    assert_non_null(strstr(err.text, "tasks 8"));
    leat_close(l);
    remove_directory(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(returns_come_with_the_ack),      cmocka_unit_test(repeats_of_a_session_count_once),
        cmocka_unit_test(many_clients_read_their_writes), cmocka_unit_test(queries_have_limits),
        cmocka_unit_test(a_directory_is_opened_once),     cmocka_unit_test(without_acknowledgement),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
