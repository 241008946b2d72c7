/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include "engine/node.h"
#include "modules/modules.h"

/* A group crashes at each point where it can, in a turn, a checkpoint or its recovery; after it came back, alone beside
 * the others or with all of them, nothing is lost and nothing doubled. Appends are repeated with their session and
 * sequence, as a client does that got no answer. */

enum { WORDS = 20, SENTENCES = 50, SESSION = 77, STEPS = 40, TIMES = 3, ROUNDS_LONG = 30 };

static int survived;

/* With LEAT_LONG=1 more rounds, each with seeds of its own. */
static uint32_t rounds(void)
{
    const char *lasting = getenv("LEAT_LONG");

    return lasting != NULL && strcmp(lasting, "1") == 0 ? ROUNDS_LONG : 1;
}

/* Run to the end, through crashes. */
static int run_through(struct leat_test *t, uint64_t *seed, struct leat_error *err)
{
    int crashes = 0, rv;

    while ((rv = leat_test_run(t, err)) == LEAT_ECANCELED)
        crashes += 1 + come_back(t, next_random(seed), err);
    must_with(rv, err);
    return crashes;
}

/* Long enough for checkpoints to become whole; then all is opened again, though nothing crashed: so recoveries, too,
 * are there to crash in. */
static int rest(struct leat_test *t, uint64_t *seed, struct leat_error *err)
{
    int crashes = run_through(t, seed, err);

    for (int i = 0; i < STEPS; i++)
        if (leat_test_step(t, err) == LEAT_ECANCELED)
            crashes += 1 + come_back(t, next_random(seed), err);
    return crashes + come_back(t, 1, err);
}

static void words_survive(const char *point, uint32_t after, uint64_t seed, bool force_hops, int *crashes)
{
    struct way way = {seed, 4, seed % 3 == 0 ? 5 : 0, force_hops, false};
    struct leat_test *t = open_way(&module_word_count, &way, NULL);
    int64_t model[WORDS] = {0};
    struct leat_error err = {0, ""};

    leat_test_crash_at(t, point, after);
    for (uint64_t i = 1; i <= SENTENCES; i++) {
        char text[64];
        int a = (int)(next_random(&seed) % WORDS), b = (int)(next_random(&seed) % WORDS);

        snprintf(text, sizeof(text), "w%d w%d", a, b);
        model[a]++;
        model[b]++;
        for (int again = 0; again < 1 + (int)(i % 3 == 0); again++)
            must(leat_test_append_once(t, "sentences", LEAT_ROW(leat_str(text)), SESSION, i, &err));
        if (i % 16 == 0) {
            *crashes += rest(t, &seed, &err);
            leat_test_crash_at(t, point, after);
        }
        if (i % 4 == 0 && leat_test_step(t, &err) == LEAT_ECANCELED) {
            *crashes += 1 + come_back(t, next_random(&seed), &err);
            must(leat_test_append_once(t, "sentences", LEAT_ROW(leat_str(text)), SESSION, i, &err));
            leat_test_crash_at(t, point, after);
        }
    }
    *crashes += run_through(t, &seed, &err);
    for (int i = 0; i < WORDS; i++) {
        char word[16];

        snprintf(word, sizeof(word), "w%d", i);
        assert_int_equal(value_of(t, "word_count", "counts", leat_str(word), 0), model[i]);
    }
    leat_test_crash_at(t, NULL, 0);
    assert_int_equal(come_back(t, 1, &err), 0);
    assert_int_equal(run_through(t, &seed, &err), 0);
    for (int i = 0; i < WORDS; i++) {
        char word[16];

        snprintf(word, sizeof(word), "w%d", i);
        assert_int_equal(value_of(t, "word_count", "counts", leat_str(word), 0), model[i]);
    }
    leat_test_close(t);
}

static void every_point(void **state)
{
    (void)state;
    /* What crashes at those has background nodes: background.c. */
    for (const char *const *point = leat_test_points(); *point != NULL; point++)
        for (uint32_t round = 0; round < rounds() && strncmp(*point, "background.", 11) != 0; round++) {
            int crashes = 0;

            for (uint32_t after = 1; after <= TIMES; after++)
                words_survive(*point, after, (round * TIMES + after) * 31, after % 2 == 0, &crashes);
            print_message("%s: %d crashes\n", *point, crashes);
            assert_true(crashes >= TIMES);
            survived += crashes;
        }
    print_message("%d crashes\n", survived);
}

enum { ACCOUNTS = 6, DEPOSIT = 50, TRANSFERS = 60 };

static void deposit_all(struct leat_test *t, struct leat_error *err)
{
    for (int i = 0; i < ACCOUNTS; i++) {
        char name[16];

        snprintf(name, sizeof(name), "a%d", i);
        must_with(leat_test_append(t, "deposits", LEAT_ROW(leat_str(name), leat_i64(DEPOSIT)), err), err);
    }
}

static void transfer(struct leat_test *t, int number, uint64_t *seed, struct leat_error *err)
{
    char from[16], to[16], id[32];

    snprintf(from, sizeof(from), "a%d", (int)(next_random(seed) % ACCOUNTS));
    snprintf(to, sizeof(to), "a%d", (int)(next_random(seed) % ACCOUNTS));
    snprintf(id, sizeof(id), "t%d", number);
    must_with(leat_test_append(t, "transfers", LEAT_ROW(leat_str(from), leat_str(to), leat_i64(7), leat_str(id)), err),
              err);
}

static int money_survives_at(const char *point, uint64_t seed)
{
    struct way way = {seed, 4, 4, false, false};
    struct leat_test *t = open_way(&module_bank_transfer, &way, NULL);
    struct leat_error err = {0, ""};
    struct leat_result *r;
    int crashes = 0;

    deposit_all(t, &err);
    for (int i = 0; i < TRANSFERS; i++) {
        transfer(t, i, &seed, &err);
        if (i % 10 == 0)
            leat_test_crash_at(t, point, 1 + (uint32_t)(next_random(&seed) % TIMES));
        if (i % 3 == 0 && leat_test_step(t, &err) == LEAT_ECANCELED)
            crashes += 1 + come_back(t, next_random(&seed), &err);
        if (i % 20 == 19)
            crashes += rest(t, &seed, &err);
    }
    crashes += run_through(t, &seed, &err);
    must(leat_query(leat_test_leat(t), "bank_transfer", "total", LEAT_ROW(), NULL, &r, &err));
    assert_int_equal(leat_at(leat_result_rows(r), 0, 0).as.i, ACCOUNTS * DEPOSIT);
    leat_result_free(r);
    leat_test_close(t);
    return crashes;
}

static void money_survives(void **state)
{
    (void)state;
    for (const char *const *point = leat_test_points(); *point != NULL; point++)
        for (uint64_t round = 0; round < rounds() && strncmp(*point, "background.", 11) != 0; round++) {
            int crashes = money_survives_at(*point, (uint64_t)(point - leat_test_points()) + 3 + 100 * round);

            print_message("%s: %d crashes\n", *point, crashes);
            assert_true(crashes > 0);
            survived += crashes;
        }
    print_message("%d crashes\n", survived);
}

/* ---- Poison ---- */

enum { SUMS };

static int add(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value key = leat_at(in, i, 0), sum = leat_i64(0);

        leat_get(t, SUMS, LEAT_KEYS(key), &sum, 1);
        leat_put(t, SUMS, LEAT_KEYS(key), LEAT_ROW(leat_i64(sum.as.i + leat_at(in, i, 1).as.i)));
        if (leat_at(in, i, 1).as.i == 13)
            return leat_task_fail(t, LEAT_EINVAL, "13 brings bad luck");
    }
    return 0;
}

static int pass(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0), leat_at(in, i, 1)));
    return 0;
}

static const struct leat_module adder = {
    LEAT_ABI, .name = "adder",
    .depots = DEPOTS({"numbers", "key: str, number: i64", .partitioner = LEAT_RANDOM}),
    .pstates = PSTATES([SUMS] = {"sums", "map<str, i64>"}),
    .topologies = TOPOLOGIES({"add", LEAT_STREAM, NODES(
        {"pass", .from = "numbers", .run = pass, .emits = "key: str, number: i64"},
        {"add", .from = "pass", .route = LEAT_BY_KEY, .run = add})})};

static int count_letter(void *context, const struct leat_record *record, const struct leat_batch *row)
{
    struct leat_span reason = leat_at(row, 0, 3).as.bytes, node = leat_at(row, 0, 1).as.bytes;

    (void)record;
    assert_true(reason.size >= 18 && memcmp(reason.base, "13 brings bad luck", 18) == 0);
    assert_true(node.size == 3 && memcmp(node.base, "add", 3) == 0);
    ++*(int *)context;
    return 0;
}

static void poison_is_set_aside(void **state)
{
    (void)state;
    for (int w = 0; w < WAYS; w++) {
        struct leat_test *t = open_way(&adder, &ways[w], NULL);
        struct leat_error err = {0, ""};
        struct leat_depot *d;
        int64_t sum = 0;
        int letters = 0, bad = 0;

        for (int i = 0; i < 100; i++) {
            must(leat_test_append(t, "numbers", LEAT_ROW(leat_str("k"), leat_i64(i % 25)), &err));
            sum += i % 25 == 13 ? 0 : i % 25;
            bad += i % 25 == 13;
        }
        must(leat_test_run(t, &err));
        assert_int_equal(value_of(t, "adder", "sums", leat_str("k"), 0), sum);
        must(leat_depot_find(leat_test_leat(t), "adder", "dead_letters", &d, &err));
        for (uint32_t p = 0; p < leat_depot_partitions(d); p++)
            must(leat_depot_read(d, p, 0, 1000, count_letter, &letters, NULL, &err));
        assert_int_equal(letters, bad);
        leat_test_close(t);
    }
}

/* Whatever a node says, the row is at fault: a module that calls its own trouble by a name of ours goes on too. */
static int return_it(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        int64_t code = leat_at(in, i, 0).as.i;

        if (code > 100)
            return leat_task_fail(t, (int)-(code - 100), "as told");
        if (code > 0)
            return code == 100 ? 1 : (int)-code;
    }
    return 0;
}

static const struct leat_module failer = {
    LEAT_ABI, .name = "failer",
    .depots = DEPOTS({"codes", "code: i64", .partitioner = LEAT_RANDOM}),
    .topologies = TOPOLOGIES({"fail", LEAT_STREAM, NODES({"fail", .from = "codes", .run = return_it})})};

static int count_row(void *context, const struct leat_record *record, const struct leat_batch *row)
{
    (void)record;
    (void)row;
    ++*(int *)context;
    return 0;
}

static void any_code_of_a_node_is_the_rows_fault(void **state)
{
    struct leat_test *t = open_way(&failer, &ways[1], NULL);
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    int letters = 0;

    (void)state;
    for (int64_t code = 0; code <= 125; code++)
        if (code <= 25 || code > 99)
            must(leat_test_append(t, "codes", LEAT_ROW(leat_i64(code)), &err));
    must(leat_test_append(t, "codes", LEAT_ROW(leat_i64(4711)), &err));
    must(leat_test_run(t, &err));
    must(leat_depot_find(leat_test_leat(t), "failer", "dead_letters", &d, &err));
    for (uint32_t p = 0; p < leat_depot_partitions(d); p++)
        must(leat_depot_read(d, p, 0, 1000, count_row, &letters, NULL, &err));
    assert_int_equal(letters, 25 + 26 + 1);
    leat_test_close(t);
}

/* Each bad row among many is found by halving: some twenty turns for each, however many rows there are. */
static void poison_is_found_in_few_turns(void **state)
{
    enum { ROWS = 4096, APART = 512 };
    struct way way = {3, 1, 0, false, true};
    struct leat_test *t = open_way(&adder, &way, NULL);
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;

    (void)state;
    must(leat_depot_find(leat_test_leat(t), "adder", "numbers", &d, &err));
    must(leat_rows_new(d, &rows));
    for (int i = 0; i < ROWS; i++)
        must(leat_rows_add(rows, LEAT_ROW(leat_str("k"), leat_i64(i % APART == 100 ? 13 : 1)), &err));
    must(leat_append(d, rows, &(struct leat_append){.ack = LEAT_APPENDED}, NULL, &err));
    leat_rows_free(rows);
    must(leat_test_run(t, &err));
    assert_int_equal(value_of(t, "adder", "sums", leat_str("k"), 0), ROWS - ROWS / APART);
    const struct stats_group *stats = group_stats(leat_test_leat(t)->module[0]->group[0]);
    assert_in_range(stats->turns + stats->aborts, ROWS / APART, ROWS / APART * 30);
    leat_test_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_point),
        cmocka_unit_test(money_survives),
        cmocka_unit_test(poison_is_set_aside),
        cmocka_unit_test(poison_is_found_in_few_turns),
        cmocka_unit_test(any_code_of_a_node_is_the_rows_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
