/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"
#include "tests/lib/vectors.h"

#include "modules/modules.h"

/* Every module gives the same results however turns are cut and rows travel. */

static void word_count_counts(void **state)
{
    enum { WORDS = 40, SENTENCES = 200 };

    (void)state;
    for (int w = 0; w < WAYS; w++) {
        struct leat_test *t = open_way(&module_word_count, &ways[w], NULL);
        int64_t model[WORDS] = {0};
        struct leat_error err = {0, ""};
        uint64_t seed = ways[w].seed;

        for (int i = 0; i < SENTENCES; i++) {
            char text[256] = "";

            for (uint64_t n = next_random(&seed) % 8; n > 0; n--) {
                uint64_t word = next_random(&seed) % WORDS;

                snprintf(text + strlen(text), sizeof(text) - strlen(text), " w%d ", (int)word);
                model[word]++;
            }
            must(leat_test_append(t, "sentences", LEAT_ROW(leat_str(text)), &err));
            if (i % 17 == 0)
                assert_true(leat_test_step(t, &err) >= 0);
        }
        must(leat_test_run(t, &err));
        for (int i = 0; i < WORDS; i++) {
            char word[16];

            snprintf(word, sizeof(word), "w%d", i);
            assert_int_equal(value_of(t, "word_count", "counts", leat_str(word), 0), model[i]);
        }
        leat_test_close(t);
    }
}

static void word_count_answers(void **state)
{
    struct leat_test *t = open_way(&module_word_count, &ways[1], NULL);
    struct leat_error err = {0, ""};
    struct leat_result *r;

    (void)state;
    must(leat_test_append(t, "sentences", LEAT_ROW(leat_str("a b a c a b")), &err));
    must(leat_test_run(t, &err));
    must(leat_query(leat_test_leat(t), "word_count", "count", LEAT_ROW(leat_str("b")), NULL, &r, &err));
    assert_int_equal(leat_result_rows(r)->rows, 1);
    assert_int_equal(leat_at(leat_result_rows(r), 0, 1).as.i, 2);
    leat_result_free(r);
    must(leat_query(leat_test_leat(t), "word_count", "top", LEAT_ROW(), NULL, &r, &err));
    assert_int_equal(leat_result_rows(r)->rows, 3);
    assert_int_equal(leat_at(leat_result_rows(r), 0, 1).as.i, 3);
    assert_int_equal(leat_at(leat_result_rows(r), 2, 1).as.i, 1);
    leat_result_free(r);
    assert_int_equal(leat_query(leat_test_leat(t), "word_count", "nothing", LEAT_ROW(), NULL, &r, &err),
                     LEAT_ENOTFOUND);
    assert_non_null(strstr(err.text, "'nothing'"));
    assert_int_equal(leat_query(leat_test_leat(t), "word_count", "count", LEAT_ROW(leat_i64(1)), NULL, &r, &err),
                     LEAT_ESCHEMA);
    assert_non_null(strstr(err.text, "column 'word'"));
    leat_test_close(t);
}

/* A sentence counts as a whole or not at all, wherever in it the long words are. */
static void long_words_are_rejected(void **state)
{
    struct leat_test *t = open_way(&module_word_count, &ways[1], NULL);
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    char text[2000];
    uint64_t letters = 0;

    (void)state;
    memset(text, 'x', sizeof(text));
    memcpy(text, "good ", 5);
    memcpy(text + 600, " good ", 6);
    text[1100] = '\0';
    must(leat_test_append(t, "sentences", LEAT_ROW(leat_str(text)), &err));
    must(leat_test_append(t, "sentences", LEAT_ROW(leat_str("a good one")), &err));
    memcpy(text + 200, " good ", 6);
    memcpy(text + 800, " ", 1);
    must(leat_test_append(t, "sentences", LEAT_ROW(leat_str(text)), &err));
    must(leat_test_run(t, &err));
    assert_int_equal(value_of(t, "word_count", "counts", leat_str("good"), 0), 1 + 3);
    must(leat_depot_find(leat_test_leat(t), "word_count", "dead_letters", &d, &err));
    for (uint32_t p = 0; p < leat_depot_partitions(d); p++) {
        struct leat_bounds b;

        must(leat_depot_bounds(d, p, &b));
        letters += b.next;
    }
    assert_int_equal(letters, 1);
    leat_test_close(t);
}

static int64_t total(struct leat_test *t)
{
    struct leat_error err = {0, ""};
    struct leat_result *r;

    must(leat_query(leat_test_leat(t), "bank_transfer", "total", LEAT_ROW(), NULL, &r, &err));
    int64_t sum = leat_at(leat_result_rows(r), 0, 0).as.i;
    leat_result_free(r);
    return sum;
}

static void money_stays(void **state)
{
    enum { ACCOUNTS = 12, TRANSFERS = 300, EACH = 100 };

    (void)state;
    for (int w = 0; w < WAYS; w++) {
        struct leat_test *t = open_way(&module_bank_transfer, &ways[w], NULL);
        struct leat_error err = {0, ""};
        uint64_t seed = ways[w].seed;
        char from[16], to[16], id[32];

        for (int i = 0; i < ACCOUNTS; i++) {
            snprintf(from, sizeof(from), "a%d", i);
            must(leat_test_append(t, "deposits", LEAT_ROW(leat_str(from), leat_i64(EACH)), &err));
        }
        must(leat_test_run(t, &err));
        for (int i = 0; i < TRANSFERS; i++) {
            snprintf(from, sizeof(from), "a%d", (int)(next_random(&seed) % ACCOUNTS));
            snprintf(to, sizeof(to), "a%d", (int)(next_random(&seed) % ACCOUNTS));
            snprintf(id, sizeof(id), "%s-%d", from, i - (int)(next_random(&seed) % 3 == 0));
            must(leat_test_append(t, "transfers", LEAT_ROW(leat_str(from), leat_str(to),
                                                           leat_i64(1 + (int64_t)(next_random(&seed) % 80)),
                                                           leat_str(id)), &err));
            if (i % 5 == 0)
                assert_true(leat_test_step(t, &err) >= 0);
        }
        must(leat_test_run(t, &err));
        assert_int_equal(total(t), ACCOUNTS * EACH);
        for (int i = 0; i < ACCOUNTS; i++) {
            snprintf(from, sizeof(from), "a%d", i);
            assert_true(value_of(t, "bank_transfer", "balances", leat_str(from), 0) >= 0);
        }
        leat_test_close(t);
    }
}

static void transfers_count_once(void **state)
{
    struct leat_test *t = open_way(&module_bank_transfer, &ways[3], NULL);
    struct leat_error err = {0, ""};

    (void)state;
    must(leat_test_append(t, "deposits", LEAT_ROW(leat_str("a"), leat_i64(10)), &err));
    must(leat_test_run(t, &err));
    for (int i = 0; i < 3; i++)
        must(leat_test_append(t, "transfers", LEAT_ROW(leat_str("a"), leat_str("b"), leat_i64(4), leat_str("one")),
                              &err));
    must(leat_test_append(t, "transfers", LEAT_ROW(leat_str("a"), leat_str("b"), leat_i64(7), leat_str("two")), &err));
    must(leat_test_run(t, &err));
    assert_int_equal(value_of(t, "bank_transfer", "balances", leat_str("a"), -1), 6);
    assert_int_equal(value_of(t, "bank_transfer", "balances", leat_str("b"), -1), 4);
    leat_test_close(t);
}

/* An id is the payer's own: another one's transfer of that id is another transfer. */
static void payers_share_ids(void **state)
{
    enum { PAYERS = 20 };
    struct leat_test *t = open_way(&module_bank_transfer, &ways[1], NULL);
    struct leat_error err = {0, ""};
    char name[16];

    (void)state;
    for (int i = 0; i < PAYERS; i++) {
        snprintf(name, sizeof(name), "a%d", i);
        must(leat_test_append(t, "deposits", LEAT_ROW(leat_str(name), leat_i64(3)), &err));
    }
    must(leat_test_run(t, &err));
    for (int i = 0; i < 2 * PAYERS; i++) {
        snprintf(name, sizeof(name), "a%d", i % PAYERS);
        must(leat_test_append(t, "transfers", LEAT_ROW(leat_str(name), leat_str("b"), leat_i64(1), leat_str("one")),
                              &err));
    }
    must(leat_test_run(t, &err));
    assert_int_equal(value_of(t, "bank_transfer", "balances", leat_str("b"), 0), PAYERS);
    assert_int_equal(total(t), 3 * PAYERS);
    leat_test_close(t);
}

/* As much money as there can be, all in one account: nothing overflows, and nothing is lost on the way. */
static void all_the_money_fits_into_one_account(void **state)
{
    enum { ACCOUNTS = 100, TASKS = 8 };
    const int64_t most = INT64_MAX / TASKS;
    struct leat_test *t = open_way(&module_bank_transfer, &ways[1], NULL);
    struct leat_error err = {0, ""};
    char name[16];

    (void)state;
    for (int64_t round = 1; round >= 0; round--)
        for (int i = 0; i < ACCOUNTS; i++) {
            snprintf(name, sizeof(name), "a%d", i);
            must(leat_test_append(t, "deposits", LEAT_ROW(leat_str(name), leat_i64(round > 0 ? most : 1)), &err));
        }
    must(leat_test_run(t, &err));
    assert_int_equal(total(t), most * TASKS);
    for (int i = 0; i < ACCOUNTS; i++) {
        snprintf(name, sizeof(name), "a%d", i);
        must(leat_test_append(t, "transfers",
                              LEAT_ROW(leat_str(name), leat_str("rich"), leat_i64(most), leat_str("all")), &err));
    }
    must(leat_test_run(t, &err));
    assert_int_equal(value_of(t, "bank_transfer", "balances", leat_str("rich"), 0), most * TASKS);
    assert_int_equal(total(t), most * TASKS);
    leat_test_close(t);
}

static void amounts_that_are_none_are_rejected(void **state)
{
    struct leat_test *t = open_way(&module_bank_transfer, &ways[1], NULL);
    struct leat_error err = {0, ""};
    const int64_t amounts[] = {10, -7, 0, INT64_MIN, INT64_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof(amounts) / sizeof(*amounts); i++) {
        struct leat_value amount = leat_i64(amounts[i]);

        must(leat_test_append(t, "deposits", LEAT_ROW(leat_str("a"), amount), &err));
        must(leat_test_run(t, &err));
        assert_int_equal(value_of(t, "bank_transfer", "balances", leat_str("a"), 0), 10);
        if (amounts[i] <= 0)
            must(leat_test_append(t, "transfers", LEAT_ROW(leat_str("a"), leat_str("b"), amount, leat_str("x")), &err));
    }
    must(leat_test_run(t, &err));
    assert_int_equal(value_of(t, "bank_transfer", "balances", leat_str("a"), 0), 10);
    assert_int_equal(value_of(t, "bank_transfer", "balances", leat_str("b"), 0), 0);
    leat_test_close(t);
}

/* ---- lsh ---- */

enum { DIMS = 16, VECTORS = 300 };
static const struct leat_option small[] = {{"dims", "16"}, {"bits", "6"}, {"tables", "4"}, {"top", "10"}, {NULL, NULL}};

static void make_vector(uint64_t *seed, float *out)
{
    for (int i = 0; i < DIMS; i++)
        out[i] = (float)(next_random(seed) % 2001) / 1000 - 1;
}

static int append_vector(struct leat_test *t, int id, const float *vector, struct leat_error *err)
{
    char name[16];

    snprintf(name, sizeof(name), "v%d", id);
    struct leat_value value = vector != NULL ? leat_vector(LEAT_F32_VECTOR, vector, DIMS) : leat_null();
    return leat_test_append(t, "vectors", LEAT_ROW(leat_str(name), value, leat_null()), err);
}

static double cosine_distance(const float *a, const float *b)
{
    return 1 - dot_of(a, b, DIMS) / sqrt(dot_of(a, a, DIMS) * dot_of(b, b, DIMS));
}

static uint32_t ask(struct leat_test *t, const char *query, const float *vector, char ids[][16], double *distance)
{
    struct leat_error err = {0, ""};
    struct leat_result *r;

    must(leat_query(leat_test_leat(t), "lsh", query, LEAT_ROW(leat_vector(LEAT_F32_VECTOR, vector, DIMS)), NULL, &r,
                    &err));
    uint32_t rows = leat_result_rows(r)->rows;
    for (uint32_t i = 0; i < rows; i++) {
        struct leat_span id = leat_at(leat_result_rows(r), i, 0).as.bytes;

        snprintf(ids[i], 16, "%.*s", (int)id.size, (const char *)id.base);
        distance[i] = leat_at(leat_result_rows(r), i, 1).as.f;
    }
    leat_result_free(r);
    return rows;
}

static void lsh_finds(void **state)
{
    static float vector[VECTORS][DIMS];
    char ids[16][16], wanted[16];
    double distance[16];

    (void)state;
    for (int w = 0; w < WAYS; w++) {
        struct leat_test *t = open_way(&module_lsh, &ways[w], small);
        struct leat_error err = {0, ""};
        uint64_t seed = 99;

        for (int i = 0; i < VECTORS; i++) {
            make_vector(&seed, vector[i]);
            must(append_vector(t, i, vector[i], &err));
        }
        must(leat_test_run(t, &err));
        /* Each id is in one bucket of each table. */
        assert_int_equal(entries_of(t, "lsh", "buckets"), VECTORS * 4);
        for (int i = 0; i < VECTORS; i += 13) {
            int best = 0;

            for (int j = 1; j < VECTORS; j++)
                if (cosine_distance(vector[i], vector[j]) < cosine_distance(vector[i], vector[best]))
                    best = j;
            snprintf(wanted, sizeof(wanted), "v%d", best);
            assert_int_equal(ask(t, "exact", vector[i], ids, distance), 10);
            assert_string_equal(ids[0], wanted);
            for (int j = 1; j < 10; j++)
                assert_true(distance[j] >= distance[j - 1]);
            assert_true(ask(t, "search", vector[i], ids, distance) > 0);
            assert_string_equal(ids[0], wanted);
        }
        leat_test_close(t);
    }
}

static void lsh_upserts_and_deletes(void **state)
{
    static float vector[VECTORS][DIMS];
    char ids[16][16];
    double distance[16];

    (void)state;
    for (int w = 0; w < WAYS; w += 3) {
        struct leat_test *t = open_way(&module_lsh, &ways[w], small);
        struct leat_error err = {0, ""};
        uint64_t seed = 5;

        for (int round = 0; round < 3; round++)
            for (int i = 0; i < VECTORS; i++) {
                make_vector(&seed, vector[i]);
                must(append_vector(t, i, vector[i], &err));
            }
        for (int i = 0; i < VECTORS; i += 2)
            must(append_vector(t, i, NULL, &err));
        must(leat_test_run(t, &err));
        assert_int_equal(entries_of(t, "lsh", "embeddings"), VECTORS / 2);
        assert_int_equal(entries_of(t, "lsh", "ids"), VECTORS / 2);
        assert_int_equal(entries_of(t, "lsh", "free"), VECTORS / 2);
        assert_int_equal(entries_of(t, "lsh", "buckets"), VECTORS / 2 * 4);
        for (int i = 0; i < VECTORS; i += 2)
            must(append_vector(t, i + 1000, vector[i], &err));
        must(leat_test_run(t, &err));
        assert_int_equal(entries_of(t, "lsh", "embeddings"), VECTORS);
        assert_int_equal(ask(t, "search", vector[4], ids, distance) > 0, 1);
        assert_string_equal(ids[0], "v1004");
        assert_true(distance[0] < 1e-5);
        leat_test_close(t);
    }
}

static void lsh_refuses(void **state)
{
    struct leat_test *t = open_way(&module_lsh, &ways[1], small);
    struct leat_error err = {0, ""};
    float vector[DIMS] = {1}, zero[DIMS] = {0};

    (void)state;
    assert_int_equal(leat_test_append(t, "vectors",
                                      LEAT_ROW(leat_str("a"), leat_vector(LEAT_F32_VECTOR, vector, 3), leat_null()),
                                      &err), LEAT_ESCHEMA);
    assert_non_null(strstr(err.text, "column 'vec': 16 elements expected, 3 given"));
    vector[3] = NAN;
    assert_int_equal(append_vector(t, 1, vector, &err), LEAT_ESCHEMA);
    assert_non_null(strstr(err.text, "NaN or infinity"));
    must(append_vector(t, 2, zero, &err));
    must(leat_test_run(t, &err));
    assert_int_equal(entries_of(t, "lsh", "embeddings"), 0);
    leat_test_close(t);
    struct leat_option bad[] = {{"bits", "40"}, {NULL, NULL}}, unknown[] = {{"bitz", "4"}, {NULL, NULL}};
    assert_int_equal(leat_check(&module_lsh, NULL, bad, &err), LEAT_EMODULE);
    assert_non_null(strstr(err.text, "option bits = 40: it goes from 1 to 20"));
    assert_int_equal(leat_check(&module_lsh, NULL, unknown, &err), LEAT_EMODULE);
    assert_non_null(strstr(err.text, "did you mean 'bits'"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(word_count_counts), cmocka_unit_test(word_count_answers),
        cmocka_unit_test(long_words_are_rejected), cmocka_unit_test(money_stays),
        cmocka_unit_test(transfers_count_once), cmocka_unit_test(lsh_finds), cmocka_unit_test(payers_share_ids),
        cmocka_unit_test(all_the_money_fits_into_one_account), cmocka_unit_test(amounts_that_are_none_are_rejected),
        cmocka_unit_test(lsh_upserts_and_deletes), cmocka_unit_test(lsh_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
