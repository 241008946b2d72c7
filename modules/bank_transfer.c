/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/modules.h"

/* Money between accounts that live on different tasks. A transfer is withdrawn where the paying account lives, once
 * for each id, and only if there is enough; what was withdrawn travels on and is credited exactly once. So the sum of
 * all balances changes by deposits alone, whatever fails in between. */

enum { BALANCES, TRANSFERS };

static int64_t balance_of(struct leat_task *t, struct leat_value account)
{
    struct leat_value balance = leat_i64(0);

    leat_get(t, BALANCES, LEAT_KEYS(account), &balance, 1);
    return balance.as.i;
}

/* The first sight of a transfer decides it; later ones are told what was decided. */
static int withdraw(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value from = leat_at(in, i, 0), to = leat_at(in, i, 1);
        struct leat_value amount = leat_at(in, i, 2), id = leat_at(in, i, 3);
        struct leat_value known[4];
        int64_t balance = balance_of(t, from);

        if (amount.as.i <= 0) {
            leat_reject(t, i, "an amount of %lld; a transfer moves at least 1", (long long)amount.as.i);
            continue;
        }
        if (leat_get(t, TRANSFERS, LEAT_KEYS(id), known, 4) == 0) {
            leat_ack_return(t, i, leat_str("repeated"));
            continue;
        }
        bool enough = balance >= amount.as.i;
        leat_put(t, TRANSFERS, LEAT_KEYS(id), LEAT_ROW(from, to, amount, leat_bool(enough)));
        if (enough) {
            leat_put(t, BALANCES, LEAT_KEYS(from), LEAT_ROW(leat_i64(balance - amount.as.i)));
            leat_emit(t, i, LEAT_ROW(to, amount));
        }
        leat_ack_return(t, i, leat_str(enough ? "done" : "refused"));
    }
    return 0;
}

static int credit(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value account = leat_at(in, i, 0);
        int64_t amount = leat_at(in, i, 1).as.i, sum;

        if (amount <= 0)
            leat_reject(t, i, "an amount of %lld; a deposit adds at least 1", (long long)amount);
        else if (__builtin_add_overflow(balance_of(t, account), amount, &sum))
            leat_reject(t, i, "the balance would overflow");
        else
            leat_put(t, BALANCES, LEAT_KEYS(account), LEAT_ROW(leat_i64(sum)));
    }
    return 0;
}

static int look_up(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0), leat_i64(balance_of(t, leat_at(in, i, 0)))));
    return 0;
}

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
                       [TRANSFERS] = {"transfers", "map<str, struct{from: str, to: str, amount: i64, done: bool}>"}),
    .topologies = TOPOLOGIES(
        {"move", LEAT_STREAM, NODES(
            {"withdraw", .from = "transfers", .run = withdraw, .emits = "account: str, amount: i64"},
            {"credit", .from = "withdraw, deposits", .route = LEAT_BY_KEY, .run = credit})},
        {"balance", LEAT_QUERY, .takes = "account: str", NODES(
            {"look_up", .from = "request", .route = LEAT_BY_KEY, .run = look_up, .emits = "account: str, balance: i64"},
            {"answer", .from = "look_up", .route = LEAT_TO_ORIGIN, .fold = &leat_list, .into = "reply"})},
        {"total", LEAT_QUERY, .takes = "", NODES(
            {"scan", .from = "request", .route = LEAT_ALL, .run = all_balances, .emits = "balance: i64"},
            {"sum", .from = "scan", .route = LEAT_TO_ORIGIN, .fold = &leat_sum, .into = "reply"})}),
};
