/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include "base/file.h"
#include "tests/lib/cached.h"

/* A launch that reads ahead: views that were put out of the page cache are in it when it returns. */

enum { BODIES, VALUES = 80, SIZE = 512 << 10, GROUPS = 2, PAGE = 4096 };

static int keep(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_put(t, BODIES, LEAT_KEYS(leat_at(in, i, 0)), LEAT_ROW(leat_at(in, i, 1)));
    return 0;
}

static const struct leat_module module = {
    LEAT_ABI, .name = "large",
    .depots = DEPOTS({"rows", "n: u64, body: bytes", .by = "n"}),
    .pstates = PSTATES([BODIES] = {"bodies", "map<u64, bytes>"}),
    .topologies = TOPOLOGIES({"store", LEAT_STREAM, NODES({"keep", .from = "rows", .run = keep})}),
};

static struct leat *launch(const char *directory, bool warm)
{
    struct leat_config config = {.create = true, .durability = LEAT_PROCESS};
    struct leat_error err = {0, ""};
    struct leat *l;

    must(leat_open(directory, &config, &l, &err));
    must(leat_launch(l, &module, &(struct leat_launch){.tasks = GROUPS, .groups = GROUPS, .warm = warm}, &err));
    return l;
}

static void fill(struct leat *l)
{
    uint8_t *body = calloc(1, SIZE);
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;

    must(leat_depot_find(l, "large", "rows", &d, &err));
    must(leat_rows_new(d, &rows));
    for (uint64_t i = 0; i < VALUES; i++)
        must(leat_rows_add(rows, LEAT_ROW(leat_u64(i), leat_bytes(body, SIZE)), &err));
    must(leat_append(d, rows, &(struct leat_append){.ack = LEAT_PROCESSED}, NULL, &err));
    leat_rows_free(rows);
    free(body);
}

/* Pages of all views in the cache; dropped: they were put out of it. */
static size_t cached(const char *directory, bool drop, bool *dropped)
{
    size_t in = 0;

    for (int g = 0; g < GROUPS; g++) {
        char path[256];

        snprintf(path, sizeof(path), "%s/large/group-%03d/view/data.mdb", directory, g);
        if (drop)
            *dropped = cached_drop(path) && *dropped;
        struct cached c = cached_look(path);
        in += c.in;
        free(c.page);
    }
    return in;
}

static void views_are_there_at_once(void **unused)
{
    const size_t all = (size_t)VALUES * SIZE / PAGE;
    char directory[] = "/tmp/leat-warm-XXXXXX";
    bool dropped = true;

    (void)unused;
    assert_non_null(mkdtemp(directory));
    struct leat *l = launch(directory, false);
    fill(l);
    leat_close(l);
    cached(directory, true, &dropped);
    if (dropped) {
        l = launch(directory, false);
        size_t cold = cached(directory, false, NULL);
        leat_close(l);
        cached(directory, true, &dropped);
        l = launch(directory, true);
        size_t warm = cached(directory, false, NULL);
        leat_close(l);
        assert_true(warm >= all && warm < all + all / 8);
        assert_true(cold <= warm);
        dropped = cold < warm;
    }
    assert_int_equal(file_remove_tree(directory, NULL), 0);
    if (!dropped)
        skip(); /* a file system in memory, or a kernel that takes whole files for good measure */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(views_are_there_at_once)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
