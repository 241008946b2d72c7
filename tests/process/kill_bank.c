/* SPDX-License-Identifier: Apache-2.0 */
/* A victim of kill.sh: money of bank_transfer. What was acknowledged is kept in a file in memory, which outlives the
 * process.
 *
 *   kill_bank append DIRECTORY    deposits and transfers, until it is killed
 *   kill_bank finish DIRECTORY    complete the last batches, compare the PStates with what was acknowledged
 *
 * Deposits have sequences. Transfers have none: a run repeats the last ones of the run before it, told or not, and the
 * module must know them by their id. */

#include "modules/modules.h"
#include "tests/process/often.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ACCOUNTS = 29, DEPOSIT = 5, BATCH = 40, REPEATED = 100, SESSION = 7, ROWS = 1 << 26 };

enum { BALANCES, TRANSFERS }; /* PStates of the module */

enum answer { NOT_TOLD, APPENDED, DONE, REFUSED };

/* Rows below `deposits` and `transfers` are acknowledged; beyond, at most one batch of each may be there. */
static struct told {
    int64_t deposits, transfers;
    uint8_t answer[ROWS]; /* enum answer, by transfer */
} *told;

static struct leat *leat;

static void must(int code, const struct leat_error *err)
{
    if (code == 0)
        return;
    fprintf(stderr, "kill_bank: %s: %s\n", leat_code_name(code), err->text);
    exit(1);
}

static void must_be(bool right, const char *what, int64_t number)
{
    if (right)
        return;
    fprintf(stderr, "kill_bank: %s %lld\n", what, (long long)number);
    exit(1);
}

static bool is(struct leat_value value, const char *text)
{
    return value.as.bytes.size == strlen(text) && memcmp(value.as.bytes.base, text, strlen(text)) == 0;
}

/* ---- The load: row i follows from i ---- */

struct text {
    char bytes[24];
};

static struct leat_value text(struct text *out, const char *prefix, int64_t number)
{
    snprintf(out->bytes, sizeof(out->bytes), "%s%lld", prefix, (long long)number);
    return leat_str(out->bytes);
}

static int64_t payer_of(int64_t i)
{
    return i * 7919 % ACCOUNTS;
}

static int64_t payee_of(int64_t i)
{
    return (i * 31 + i / ACCOUNTS) % ACCOUNTS;
}

/* Grows as the balances do, so that some are refused. */
static int64_t amount_of(int64_t i)
{
    return 1 + i * 13 % (1 + i / 4);
}

static void append(struct leat_depot *d, struct leat_rows *rows, const struct leat_append *how,
                   struct leat_receipt *receipt)
{
    struct leat_error err = {0, ""};

    must(leat_append(d, rows, how, receipt, &err), &err);
    leat_rows_clear(rows);
}

static struct leat_depot *depot(const char *name, struct leat_rows **rows)
{
    struct leat_error err = {0, ""};
    struct leat_depot *d;

    must(leat_depot_find(leat, module_bank_transfer.name, name, &d, &err), &err);
    must(leat_rows_new(d, rows), &err);
    return d;
}

static int64_t before(int64_t row, int64_t rows)
{
    return row > rows ? row - rows : 0;
}

static void *deposit(void *to)
{
    struct leat_error err = {0, ""};
    struct leat_rows *rows;
    struct leat_depot *d = depot("deposits", &rows);
    struct text account;

    for (int64_t at = before(told->deposits, BATCH), end = *(int64_t *)to; at < end;) {
        struct leat_append how = {
            .ack = at % 3 == 0 ? LEAT_PROCESSED : LEAT_APPENDED, .session = SESSION, .sequence = (uint64_t)at};

        for (int i = 0; i < BATCH && at < end; i++, at++)
            must(leat_rows_add(rows, LEAT_ROW(text(&account, "a", at % ACCOUNTS), leat_i64(DEPOSIT)), &err), &err);
        append(d, rows, &how, NULL);
        if (at > told->deposits)
            told->deposits = at;
    }
    leat_rows_free(rows);
    return NULL;
}

/* What was told before must be called repeated now. */
static void hear(int64_t i, struct leat_value answer)
{
    bool done = is(answer, "done"), refused = is(answer, "refused");

    must_be(done || refused || is(answer, "repeated"), "an unknown answer to transfer", i);
    must_be(told->answer[i] == NOT_TOLD || !(done || refused), "another decision about transfer", i);
    if (told->answer[i] == NOT_TOLD)
        told->answer[i] = done ? DONE : refused ? REFUSED : APPENDED;
}

static void transfer_batch(struct leat_depot *d, struct leat_rows *rows, int64_t from, int64_t to)
{
    struct leat_append how = {.ack = from % 3 == 0 ? LEAT_APPENDED : LEAT_PROCESSED};
    struct leat_error err = {0, ""};
    struct leat_receipt receipt;
    struct text payer, payee, id;

    for (int64_t i = from; i < to; i++)
        must(leat_rows_add(rows, LEAT_ROW(text(&payer, "a", payer_of(i)), text(&payee, "a", payee_of(i)),
                                          leat_i64(amount_of(i)), text(&id, "t", i)), &err), &err);
    append(d, rows, &how, &receipt);
    must_be(how.ack == LEAT_APPENDED || receipt.returned == to - from, "too few answers from transfer", from);
    for (int64_t i = from; i < to; i++)
        if (how.ack == LEAT_PROCESSED)
            hear(i, receipt.value[i - from]);
        else if (told->answer[i] == NOT_TOLD)
            told->answer[i] = APPENDED;
    leat_receipt_fini(&receipt);
    if (to > told->transfers)
        told->transfers = to;
}

static void *transfer(void *to)
{
    struct leat_rows *rows;
    struct leat_depot *d = depot("transfers", &rows);

    for (int64_t at = before(told->transfers, REPEATED), end = *(int64_t *)to; at < end; at += BATCH)
        transfer_batch(d, rows, at, at + BATCH < end ? at + BATCH : end);
    leat_rows_free(rows);
    return NULL;
}

static void append_all(int64_t deposits, int64_t transfers)
{
    pthread_t other;

    must_be(pthread_create(&other, NULL, deposit, &deposits) == 0, "no thread", 0);
    transfer(&transfers);
    pthread_join(other, NULL);
}

/* ---- Checking ---- */

/* Is there this transfer, and was it done? Aborts if it is another one. */
static bool find(struct leat_view *v, int64_t i, bool *done)
{
    struct text payer, payee, id;
    struct leat_value from = text(&payer, "a", payer_of(i)), got[3];
    int rv = leat_get(leat_view_owner(v, &from), TRANSFERS, LEAT_KEYS(from, text(&id, "t", i)), got, 3);

    text(&payee, "a", payee_of(i));
    must_be(rv == 0 || rv == LEAT_ENOTFOUND, "cannot read transfer", i);
    if (rv != 0)
        return false;
    must_be(is(got[0], payee.bytes) && got[1].as.i == amount_of(i), "other fields of transfer", i);
    *done = got[2].as.b;
    return true;
}

static struct leat_view *view(void)
{
    struct leat_error err = {0, ""};
    struct leat_view *v;

    must(leat_view_open(leat, module_bank_transfer.name, &v, &err), &err);
    return v;
}

/* Right after the start: what was answered is there without waiting. */
static void check_answered(int64_t from)
{
    struct leat_view *v = view();
    bool done;

    for (int64_t i = from; i < told->transfers; i++)
        must_be(told->answer[i] <= APPENDED || (find(v, i, &done) && done == (told->answer[i] == DONE)),
                "at once: not as answered: transfer", i);
    leat_view_close(v);
}

static int64_t dead_letters(void)
{
    struct leat_bounds bounds;
    struct leat_rows *rows;
    struct leat_depot *d = depot("dead_letters", &rows);
    int64_t letters = 0;

    leat_rows_free(rows);
    for (uint32_t p = 0; p < leat_depot_partitions(d); p++) {
        must_be(leat_depot_bounds(d, p, &bounds) == 0, "no bounds of partition", p);
        letters += (int64_t)bounds.next;
    }
    return letters;
}

static int64_t total(void)
{
    struct leat_error err = {0, ""};
    struct leat_result *r;

    must(leat_query(leat, module_bank_transfer.name, "total", LEAT_ROW(), NULL, &r, &err), &err);
    int64_t sum = leat_at(leat_result_rows(r), 0, 0).as.i;
    leat_result_free(r);
    return sum;
}

/* Every transfer once, decided as answered; the balances are what deposits and the transfers done make of them. */
static void check_all(void)
{
    struct leat_error err = {0, ""};
    int64_t balance[ACCOUNTS] = {0}, transfers_done = 0;
    struct text account;

    must(leat_wait(leat, 60000, &err), &err);
    struct leat_view *v = view();
    for (int64_t i = 0; i < told->deposits; i++)
        balance[i % ACCOUNTS] += DEPOSIT;
    for (int64_t i = 0; i < told->transfers; i++) {
        bool done = false;

        must_be(find(v, i, &done), "lost: transfer", i);
        must_be(told->answer[i] <= APPENDED || done == (told->answer[i] == DONE), "not as answered: transfer", i);
        balance[payer_of(i)] -= done ? amount_of(i) : 0;
        balance[payee_of(i)] += done ? amount_of(i) : 0;
        transfers_done += done;
    }
    for (int64_t i = 0; i < ACCOUNTS; i++) {
        struct leat_value a = text(&account, "a", i), got = leat_i64(0);
        int rv = leat_get(leat_view_owner(v, &a), BALANCES, LEAT_KEYS(a), &got, 1);

        must_be((rv == 0 || rv == LEAT_ENOTFOUND) && got.as.i == balance[i] && got.as.i >= 0,
                "another balance of account", i);
    }
    leat_view_close(v);
    must_be(total() == told->deposits * DEPOSIT, "another sum than of deposits", told->deposits);
    must_be(dead_letters() == 0, "dead letters:", dead_letters());
    printf("%lld deposits, %lld transfers, %lld of them done\n", (long long)told->deposits, (long long)told->transfers,
           (long long)transfers_done);
}

static void open_told(const char *directory)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s.told", directory);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must_be(fd >= 0 && ftruncate(fd, sizeof(*told)) == 0, "no file", fd);
    told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must_be(told != MAP_FAILED, "no memory", fd);
    close(fd);
}

int main(int argc, char **argv)
{
    struct leat_error err = {0, ""};

    if (argc != 3) {
        fprintf(stderr, "usage: kill_bank append|finish DIRECTORY\n");
        return 2;
    }
    bool finish = strcmp(argv[1], "finish") == 0;
    open_told(argv[2]);
    must(leat_open(argv[2], NULL, &leat, &err), &err);
    checkpoint_often(leat);
    must(leat_launch(leat, &module_bank_transfer, &(struct leat_launch){.tasks = 16, .groups = 4}, &err), &err);
    check_answered(finish ? 0 : before(told->transfers, 1000));
    append_all(finish ? told->deposits + BATCH : INT64_MAX, finish ? told->transfers + BATCH : ROWS);
    if (finish)
        check_all();
    leat_close(leat);
    munmap(told, sizeof(*told));
    return 0;
}
