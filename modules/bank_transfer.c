/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/modules.h"

/* Money between accounts that live on different tasks. A transfer is withdrawn where the paying account lives, once
 * for each payer and id, and only if there is enough; what was withdrawn travels on and is credited exactly once. So
 * the sum of all balances changes by deposits alone, whatever fails in between.
 *
 * No sum can overflow, so no credit fails after the money was withdrawn: a task takes deposits of INT64_MAX / tasks in
 * all, and money comes from nowhere else. */

enum { BALANCES, TRANSFERS, DEPOSITED };

static int64_t balance_of(struct leat_task *t, struct leat_value account)
{
    struct leat_value balance = leat_i64(0);

    leat_get(t, BALANCES, LEAT_KEYS(account), &balance, 1);
    return balance.as.i;
}

static void change(struct leat_task *t, struct leat_value account, int64_t amount)
{
    leat_put(t, BALANCES, LEAT_KEYS(account), LEAT_ROW(leat_i64(balance_of(t, account) + amount)));
}

/* The first sight of a transfer decides it; later ones are told what was decided. */
static int withdraw(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value from = leat_at(in, i, 0), to = leat_at(in, i, 1);
        struct leat_value amount = leat_at(in, i, 2), id = leat_at(in, i, 3);
        struct leat_value known[3];

        if (amount.as.i <= 0) {
            leat_reject(t, i, "an amount of %lld; a transfer moves at least 1", (long long)amount.as.i);
            continue;
        }
        if (leat_get(t, TRANSFERS, LEAT_KEYS(from, id), known, 3) == 0) {
            leat_ack_return(t, i, leat_str("repeated"));
            continue;
        }
        bool enough = balance_of(t, from) >= amount.as.i;
        leat_put(t, TRANSFERS, LEAT_KEYS(from, id), LEAT_ROW(to, amount, leat_bool(enough)));
        if (enough) {
            change(t, from, -amount.as.i);
            leat_emit(t, i, LEAT_ROW(to, amount));
        }
        leat_ack_return(t, i, leat_str(enough ? "done" : "refused"));
    }
    return 0;
}

static int credit(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        change(t, leat_at(in, i, 0), leat_at(in, i, 1).as.i);
    return 0;
}

static int deposit(struct leat_task *t, const struct leat_batch *in)
{
    int64_t most = INT64_MAX / (int64_t)leat_task_count(t);
    struct leat_value sum = leat_i64(0);

    leat_get(t, DEPOSITED, LEAT_KEYS(leat_u32(0)), &sum, 1);
    for (uint32_t i = 0; i < in->rows; i++) {
        int64_t amount = leat_at(in, i, 1).as.i;

        if (amount <= 0) {
            leat_reject(t, i, "an amount of %lld; a deposit adds at least 1", (long long)amount);
        } else if (amount > most - sum.as.i) {
            leat_reject(t, i, "an amount of %lld; this task's accounts take deposits of %lld in all, and had %lld",
                        (long long)amount, (long long)most, (long long)sum.as.i);
        } else {
            sum.as.i += amount;
            change(t, leat_at(in, i, 0), amount);
        }
    }
    leat_put(t, DEPOSITED, LEAT_KEYS(leat_u32(0)), LEAT_ROW(sum));
    return 0;
}

static int look_up(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0), leat_i64(balance_of(t, leat_at(in, i, 0)))));
    return 0;
}

/* While transfers are under way, what is between two accounts may be seen in neither, or, as tasks are not all read at
 * one moment, in both. */
static int all_balances(struct leat_task *t, const struct leat_batch *in)
{
    struct leat_value account, balance;
    struct leat_scan *scan;
    int64_t sum = 0;

    (void)in;
    if (leat_scan_open(t, BALANCES, LEAT_KEYS(), NULL, &scan) != 0)
        return leat_task_error(t);
    while (leat_scan_next(scan, &account, &balance, 1) == 0)
        sum += balance.as.i;
    leat_scan_close(scan);
    leat_emit(t, 0, LEAT_ROW(leat_i64(sum)));
    return leat_task_error(t);
}

const struct leat_module module_bank_transfer = {
    LEAT_ABI, .name = "bank_transfer", .about = "money between accounts: idempotent, never lost, never made",
    .depots = DEPOTS({"deposits", "account: str, amount: i64", .by = "account"},
                     {"transfers", "from: str, to: str, amount: i64, id: str", .by = "from"}),
    .pstates = PSTATES([BALANCES] = {"balances", "map<str, i64>"},
                       [TRANSFERS] = {"transfers", "map<str, map<str, struct{to: str, amount: i64, done: bool}>>"},
                       [DEPOSITED] = {"deposited", "map<u32, i64>"}),
    .topologies = TOPOLOGIES(
        {"move", LEAT_STREAM, NODES(
            {"withdraw", .from = "transfers", .run = withdraw, .emits = "account: str, amount: i64"},
            {"credit", .from = "withdraw", .route = LEAT_BY_KEY, .run = credit},
            {"deposit", .from = "deposits", .run = deposit})},
        {"balance", LEAT_QUERY, .takes = "account: str", NODES(
            {"look_up", .from = "request", .route = LEAT_BY_KEY, .run = look_up, .emits = "account: str, balance: i64"},
            {"answer", .from = "look_up", .route = LEAT_TO_ORIGIN, .fold = &leat_list, .into = "reply"})},
        {"total", LEAT_QUERY, .takes = "", NODES(
            {"scan", .from = "request", .route = LEAT_ALL, .run = all_balances, .emits = "balance: i64"},
            {"sum", .from = "scan", .route = LEAT_TO_ORIGIN, .fold = &leat_sum, .into = "reply"})}),
};
