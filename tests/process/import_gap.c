/* SPDX-License-Identifier: Apache-2.0 */
/* An import that died where one partition was as far behind another as can be: the next run must append every row that
 * is missing, and no other. Kills hardly ever leave that state, so it is made here. usage: import_gap LEAT */

#include "base/file.h"
#include "cmd/import.h"
#include "modules/modules.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Rows of the file: A and B in turn; then B alone, of which nothing was appended; then A alone, which is there; then
 * both again. The last row that is there is the first missing one + WINDOW, which cmd_import.c has too. */
enum { WINDOW = 65536, BEFORE = 1000, MISSING = 65000, AHEAD = BEFORE + WINDOW, ROWS = AHEAD + 3000, BALANCES = 0 };

static void must(bool right, const char *what, const struct leat_error *err)
{
    if (right)
        return;
    fprintf(stderr, "import_gap: %s: %s\n", what, err != NULL ? err->text : "no");
    exit(1);
}

static const char *account_of(int row)
{
    bool both = row < BEFORE || row >= AHEAD;

    return both ? row % 2 == 0 ? "A" : "B" : row < BEFORE + MISSING ? "B" : "A";
}

static uint64_t write_rows(const char *path)
{
    struct leat_error err = {0};
    struct import_file file;
    FILE *f = fopen(path, "w");

    must(f != NULL, path, NULL);
    for (int row = 0; row < ROWS; row++)
        fprintf(f, "{\"account\": \"%s\", \"amount\": 1}\n", account_of(row));
    must(fclose(f) == 0, path, NULL);
    must(import_open(path, NULL, &file, &err) == 0, "open", &err);
    uint64_t session = import_hash(&file) >> 1 | 1;
    import_close(&file);
    return session;
}

static void append(struct leat_depot *d, int from, int to, uint64_t session)
{
    struct leat_append how = {.ack = LEAT_APPENDED, .session = session, .sequence = (uint64_t)from + 1};
    struct leat_error err = {0};
    struct leat_rows *rows;

    leat_rows_new(d, &rows);
    for (int row = from; row < to; row++)
        must(leat_rows_add(rows, LEAT_ROW(leat_str(account_of(row)), leat_i64(1)), &err) == 0, "row", &err);
    must(leat_append(d, rows, &how, NULL, &err) == 0, "append", &err);
    leat_rows_free(rows);
}

static struct leat *open_bank(const char *data, struct leat_depot **deposits)
{
    struct leat_config config = {.create = true};
    struct leat_error err = {0};
    struct leat *l;

    must(leat_open(data, &config, &l, &err) == 0, "open", &err);
    must(leat_launch(l, &module_bank_transfer, NULL, &err) == 0, "launch", &err);
    must(leat_depot_find(l, "bank_transfer", "deposits", deposits, &err) == 0, "depot", &err);
    return l;
}

/* The accounts are of two partitions, or there is no gap. */
static void make_gap(const char *data, uint64_t session)
{
    struct leat_depot *d;
    struct leat *l = open_bank(data, &d);
    struct leat_bounds bounds;
    int used = 0;

    append(d, 0, BEFORE, session);
    append(d, BEFORE + MISSING, AHEAD, session);
    for (uint32_t p = 0; p < leat_depot_partitions(d); p++)
        used += leat_depot_bounds(d, p, &bounds) == 0 && bounds.next > 0;
    must(used == 2, "two partitions", NULL);
    leat_close(l);
}

static void import(const char *leat, const char *path, const char *data)
{
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        execl(leat, leat, "import", path, "--module", "bank_transfer", "--depot", "deposits", "--data", data,
              (char *)NULL);
        _exit(127);
    }
    must(waitpid(child, &status, 0) == child && status == 0, "leat import", NULL);
}

static void check(const char *data)
{
    struct leat_error err = {0};
    struct leat_depot *d;
    struct leat *l = open_bank(data, &d);
    struct leat_view *v;

    must(leat_wait(l, 60000, &err) == 0, "wait", &err);
    must(leat_view_open(l, "bank_transfer", &v, &err) == 0, "view", &err);
    for (const char *const *account = (const char *const[]){"A", "B", NULL}; *account != NULL; account++) {
        struct leat_value key = leat_str(*account), balance;
        int64_t want = 0;

        for (int row = 0; row < ROWS; row++)
            want += strcmp(account_of(row), *account) == 0;
        must(leat_get(leat_view_owner(v, &key), BALANCES, LEAT_KEYS(key), &balance, 1) == 0, "balance", NULL);
        printf("%s: %lld of %lld rows\n", *account, (long long)balance.as.i, (long long)want);
        must(balance.as.i == want, "each row counts once", NULL);
    }
    leat_view_close(v);
    leat_close(l);
}

int main(int argc, char **argv)
{
    char directory[] = "/tmp/leat-gap-XXXXXX", path[64], data[64];

    must(argc == 2 && mkdtemp(directory) != NULL, "usage: import_gap LEAT", NULL);
    snprintf(path, sizeof(path), "%s/rows.jsonl", directory);
    snprintf(data, sizeof(data), "%s/data", directory);
    uint64_t session = write_rows(path);
    make_gap(data, session);
    import(argv[1], path, data);
    check(data);
    must(file_remove_tree(directory, NULL) == 0, "clean up", NULL);
    return 0;
}
