/* SPDX-License-Identifier: Apache-2.0 */
/* A module and its test, as the module's users would write them. */

/* TESTING: begin */
#include <stdio.h>
#include <stdlib.h>

#include <leat/testing.h>

static int pay(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value account = leat_at(in, i, 0), sum = leat_i64(0);

        leat_get(t, 0, LEAT_KEYS(account), &sum, 1);
        sum.as.i += leat_at(in, i, 1).as.i;
        leat_put(t, 0, LEAT_KEYS(account), LEAT_ROW(sum));
        leat_ack_return(t, i, sum);
    }
    return 0;
}

static const struct leat_module payments = {
    LEAT_ABI, .name = "payments",
    .depots = DEPOTS({"paid", "account: str, amount: i64", .partitioner = LEAT_RANDOM}),
    .pstates = PSTATES({"sums", "map<str, i64>"}),
    .topologies = TOPOLOGIES({"pay", LEAT_STREAM, NODES(
        {"pay", .from = "paid", .route = LEAT_BY_KEY, .run = pay})})};

static void must(int code, const struct leat_error *err)
{
    if (code != 0) {
        fprintf(stderr, "%s: %s\n", leat_code_name(code), err->text);
        exit(1);
    }
}

/* Payments 1 to 20 are 210, wherever turns are cut and whatever crashes. */
static void pays(const char *point, uint64_t seed)
{
    struct leat_test_config config = {
        .module = &payments, .groups = 4, .seed = seed, .cut_rows = 3, .checkpoint_bytes = 2048};
    struct leat_value ann = leat_str("Ann"), sum = leat_i64(0);
    struct leat_append processed = {.ack = LEAT_PROCESSED};
    struct leat_error err = {0, ""};
    struct leat_receipt receipt;
    struct leat_test *t;
    int rv;

    must(leat_test_open(&config, &t, &err), &err);
    for (int i = 1; i <= 20; i++)
        must(leat_test_append(t, "paid", LEAT_ROW(ann, leat_i64(i)), &err), &err);
    leat_test_crash_at(t, point, 1);
    while ((rv = leat_test_run(t, &err)) == LEAT_ECANCELED)
        while ((rv = leat_test_restart(t, &err)) == LEAT_ECANCELED)
            ;
    must(rv, &err);
    leat_test_crash_at(t, NULL, 0);
    must(leat_test_get(t, "sums", LEAT_KEYS(ann), &sum, 1, &err), &err);
    must(leat_test_append_as(t, "paid", LEAT_ROW(ann, leat_i64(1)), &processed, &receipt, &err), &err);
    if (sum.as.i != 210 || receipt.returned != 1 || receipt.value[0].as.i != 211) {
        fprintf(stderr, "%s, seed %d: Ann has %lld\n", point, (int)seed, (long long)sum.as.i);
        exit(1);
    }
    leat_receipt_fini(&receipt);
    leat_test_close(t);
}

int main(void)
{
    uint64_t seed = 1;

    for (const char *const *point = leat_test_points(); *point != NULL; point++)
        pays(*point, seed++);
    return 0;
}
/* TESTING: end */
