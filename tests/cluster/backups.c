/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include "base/file.h"
#include "engine/consumer.h"
#include "engine/hold.h"
#include "engine/node.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Backups are taken while rows come in, go through two groups' journals, into a depot by a topology, and on to another
 * module. What is restored counts every row once at each place, and has all that was acknowledged before. */

enum { DIRECT, THROUGH };
enum { SEEN };
enum { BATCH = 20 };

static int count_direct(struct leat_task *t, const struct leat_batch *in)
{
    return count_into(t, in, DIRECT);
}

static int count_through(struct leat_task *t, const struct leat_batch *in)
{
    return count_into(t, in, THROUGH);
}

static int count_seen(struct leat_task *t, const struct leat_batch *in)
{
    return count_into(t, in, SEEN);
}

static int pass(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0)));
    return 0;
}

static const struct leat_module giver = {
    LEAT_ABI, .name = "giver",
    .depots = DEPOTS({"rows", "id: i64", .partitioner = LEAT_RANDOM},
                     {"derived", "id: i64", .partitioner = LEAT_BY_FIELD, .by = "id"}),
    .pstates = PSTATES([DIRECT] = {"direct", "map<i64, i64>"}, [THROUGH] = {"through", "map<i64, i64>"}),
    .topologies = TOPOLOGIES(
        {"count", LEAT_STREAM, NODES(
            {"pass", .from = "rows", .run = pass, .emits = "id: i64"},
            {"count", .from = "pass", .route = LEAT_BY_KEY, .run = count_direct},
            {"derive", .from = "pass", .into = "derived"})},
        {"again", LEAT_STREAM, NODES({"count", .from = "derived", .run = count_through})})};

static const struct leat_module taker = {
    LEAT_ABI, .name = "taker",
    .pstates = PSTATES([SEEN] = {"seen", "map<i64, i64>"}),
    .topologies = TOPOLOGIES({"count", LEAT_STREAM, NODES(
        {"pass", .from = "giver/derived", .run = pass, .emits = "id: i64"},
        {"count", .from = "pass", .route = LEAT_BY_KEY, .run = count_seen})})};

/* Only clients append here, so offsets stay what they are. */
static const struct leat_module word_depot = {
    LEAT_ABI, .name = "words",
    .depots = DEPOTS({"rows", "id: i64", .partitioner = LEAT_RANDOM}),
    .pstates = PSTATES([DIRECT] = {"direct", "map<i64, i64>"}),
    .topologies = TOPOLOGIES({"count", LEAT_STREAM, NODES(
        {"pass", .from = "rows", .run = pass, .emits = "id: i64"},
        {"count", .from = "pass", .route = LEAT_BY_KEY, .run = count_direct})})};

static const struct leat_module both_taker = {
    LEAT_ABI, .name = "both",
    .pstates = PSTATES([SEEN] = {"seen", "map<i64, i64>"}),
    .topologies = TOPOLOGIES({"count", LEAT_STREAM, NODES(
        {"first", .from = "giver/derived", .run = count_seen}, {"second", .from = "words/rows", .run = count_seen})})};

static int on_to_the_next(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_u32(leat_task_number(t) + 1), leat_at(in, i, 0)));
    return 0;
}

static int refuse_all(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_reject(t, i,
                    "it takes no rows at all, so that the dead letters are many, and fill one segment after the other");
    return 0;
}

/* What goes to task 0 becomes a dead letter at task 1. */
static const struct leat_module refuser = {
    LEAT_ABI, .name = "refuser",
    .depots = DEPOTS({"rows", "id: i64", .partitioner = LEAT_EXPLICIT}),
    .topologies = TOPOLOGIES({"refuse", LEAT_STREAM, NODES(
        {"pass", .from = "rows", .run = on_to_the_next, .emits = "task: u32, id: i64"},
        {"refuse", .from = "pass", .route = LEAT_DIRECT, .run = refuse_all})})};

static char directory[64], backups[80], restored[80];

static struct leat *open_both(const char *where)
{
    struct leat_launch four = {.tasks = 8, .groups = 4}, two = {.tasks = 8, .groups = 2};
    struct leat_error err = {0, ""};
    struct leat *l;

    must(leat_open(where, NULL, &l, &err));
    l->segment_size = 16 << 10;
    l->checkpoint_bytes = 64 << 10;
    must(leat_launch(l, &giver, &four, &err));
    must(leat_launch(l, &taker, &two, &err));
    return l;
}

struct load {
    struct leat *leat;
    _Atomic int64_t appended;
    _Atomic bool stop;
};

/* Ids from 0 on, appended in batches with one session. */
static void append_some(struct leat *l, int64_t from, int64_t count)
{
    struct leat_append how = {.ack = LEAT_APPENDED};
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;

    must(leat_depot_find(l, "giver", "rows", &d, &err));
    must(leat_rows_new(d, &rows));
    for (int64_t i = 0; i < count; i++)
        must(leat_rows_add(rows, LEAT_ROW(leat_i64(from + i)), &err));
    must(leat_append(d, rows, &how, NULL, &err));
    leat_rows_free(rows);
}

static void *load_main(void *context)
{
    struct load *load = context;

    while (!load->stop && load->appended < 400000) {
        append_some(load->leat, load->appended, BATCH);
        load->appended += BATCH;
    }
    return NULL;
}

/* Every id below some number, once: returns the number. Of a batch under way a part may be there. */
static int64_t check_counts(struct leat *l, const char *module, const char *pstate, int64_t *missing)
{
    struct leat_error err = {0, ""};
    struct leat_view *v;
    int64_t entries = 0, most = -1;
    uint32_t number;

    must(leat_view_open(l, module, &v, &err));
    must(leat_view_pstate(v, pstate, &number));
    for (uint32_t task = 0; task < 8; task++) {
        struct leat_value key, n;
        struct leat_scan *s;

        must(leat_scan_open(leat_view_task(v, task), number, LEAT_KEYS(), NULL, &s));
        while (leat_scan_next(s, &key, &n, 1) == 0) {
            assert_int_equal(n.as.i, 1);
            entries++;
            most = key.as.i > most ? key.as.i : most;
        }
        leat_scan_close(s);
    }
    leat_view_close(v);
    assert_in_range(most + 1 - entries, 0, BATCH - 1);
    *missing = most + 1 - entries;
    return most + 1;
}

static int64_t check_all(struct leat *l)
{
    struct leat_error err = {0, ""};

    for (int i = 0; i < 3; i++)
        must(leat_wait(l, 60000, &err));
    int64_t missing[3], rows = check_counts(l, "giver", "direct", &missing[0]);
    assert_int_equal(check_counts(l, "giver", "through", &missing[1]), rows);
    assert_int_equal(check_counts(l, "taker", "seen", &missing[2]), rows);
    assert_true(missing[0] == missing[1] && missing[0] == missing[2]);
    return rows;
}

/* Restore, count, go on, count again. */
static void check_backup(const char *name, int64_t least)
{
    struct leat_error err = {0, ""};

    must(leat_restore(backups, name, restored, NULL, &err));
    struct leat *l = open_both(restored);
    int64_t rows = check_all(l);
    assert_true(rows >= least);
    append_some(l, rows, 500);
    assert_int_equal(check_all(l), rows + 500);
    leat_close(l);
    must(file_remove_tree(restored, &err));
}

static void while_rows_come_in(void **state)
{
    enum { BACKUPS = 4 };
    struct load load = {.leat = open_both(directory)};
    struct leat_error err = {0, ""};
    char name[BACKUPS][64];
    int64_t least[BACKUPS];
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, load_main, &load), 0);
    for (int i = 0; i < BACKUPS; i++) {
        while (load.appended < 2000 * (i + 1))
            sched_yield();
        least[i] = load.appended;
        must(leat_backup(directory, backups, NULL, name[i], &err));
    }
    load.stop = true;
    pthread_join(thread, NULL);
    assert_int_equal(check_all(load.leat), load.appended);
    leat_close(load.leat);
    for (int i = 0; i < BACKUPS; i++)
        check_backup(name[i], least[i]);
}

/* Somebody who crashed leaves what a backup can be made of as well; so does a clean stop. */
static void of_a_directory_at_rest(void **state)
{
    struct leat_error err = {0, ""};
    struct leat *l = open_both(directory);

    (void)state;
    append_some(l, 0, 3000);
    leat_close(l);
    must(leat_backup(directory, backups, NULL, NULL, &err));
    check_backup(NULL, 3000);
    l = open_both(directory);
    append_some(l, 3000, 3000);
    for (uint32_t i = 0; i < l->modules; i++)
        atomic_store(&l->module[i]->failed, LEAT_ECANCELED); /* close as a crash would */
    leat_close(l);
    must(leat_backup(directory, backups, NULL, NULL, &err));
    check_backup(NULL, 6000);
}

/* A module reads depots of two others, and the first of these is not there: its
 * records are not taken for the other's. */
static void a_module_that_is_missing_is_missed(void **state)
{
    struct leat_launch launch = {.tasks = 8, .groups = 2};
    struct leat_error err = {0, ""};
    struct leat *l;
    char path[512];

    (void)state;
    must(leat_open(directory, NULL, &l, &err));
    must(leat_launch(l, &giver, &launch, &err));
    must(leat_launch(l, &word_depot, &launch, &err));
    must(leat_launch(l, &both_taker, &launch, &err));
    append_some(l, 0, 1000);
    for (int i = 0; i < 3; i++)
        must(leat_wait(l, 60000, &err));
    for (uint32_t i = 0; i < l->modules; i++)
        atomic_store(&l->module[i]->failed, LEAT_ECANCELED); /* close as a crash would: turns stay in the journals */
    leat_close(l);
    must(leat_backup(directory, backups, NULL, NULL, &err));
    snprintf(path, sizeof(path), "%s/giver", directory);
    must(file_remove_tree(path, &err));
    assert_int_equal(leat_backup(directory, backups, NULL, NULL, &err), LEAT_ECORRUPT);
    assert_non_null(strstr(err.text, "module 'both' reads a depot whose module is not in"));
}

/* ---- Linking, keeping, damage ---- */

static uint64_t inode_of(const char *name, const char *file)
{
    char path[512];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s/giver/group-000/depots/%s", backups, name, file);
    return stat(path, &st) == 0 ? st.st_ino : 0;
}

static int folders(void)
{
    DIR *d = opendir(backups);
    int count = 0;

    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        count += e->d_name[0] == '2';
    closedir(d);
    return count;
}

static void full_segments_are_linked(void **state)
{
    struct leat_backup two = {.keep = 2};
    struct leat_error err = {0, ""};
    struct leat *l = open_both(directory);
    char name[3][64];

    (void)state;
    for (int i = 0; i < 3; i++) {
        for (int64_t row = 0; row < 4000; row += 500)
            append_some(l, i * 4000 + row, 500);
        must(leat_backup(directory, backups, &two, name[i], &err));
    }
    leat_close(l);
    assert_int_equal(folders(), 2);
    assert_true(inode_of(name[1], "0000000000000000.seg") > 0);
    assert_true(inode_of(name[1], "0000000000000000.seg") == inode_of(name[2], "0000000000000000.seg"));
    check_backup(name[1], 8000);
    check_backup(name[2], 12000);
    assert_int_equal(leat_restore(backups, name[0], restored, NULL, &err), LEAT_ENOTFOUND);
}

static void flip(const char *name, const char *file, off_t at)
{
    char path[512];
    uint8_t byte = 0;

    snprintf(path, sizeof(path), "%s/%s/%s", backups, name, file);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= 16;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void damage_is_seen(void **state)
{
    static const char *const files[] = {"MANIFEST", "giver/module.ini", "giver/group-001/depots/0000000000000000.seg",
                                        "taker/group-000/view/data.mdb"};
    struct leat_error err = {0, ""};
    struct leat *l = open_both(directory);
    char name[64];

    (void)state;
    append_some(l, 0, 2000);
    must(leat_wait(l, 60000, &err));
    leat_close(l);
    must(leat_backup(directory, backups, NULL, name, &err));
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        flip(name, files[i], 40);
        assert_int_equal(leat_restore(backups, name, restored, NULL, &err), LEAT_ECORRUPT);
        assert_non_null(strstr(err.text, files[i]));
        assert_int_not_equal(access(restored, F_OK), 0);
        assert_int_equal(leat_verify(backups, name, NULL, &err), LEAT_ECORRUPT);
        assert_non_null(strstr(err.text, files[i]));
        flip(name, files[i], 40);
    }
    assert_int_equal(leat_restore(backups, name, directory, NULL, &err), LEAT_EEXISTS);
    assert_int_equal(leat_restore(backups, "nothing", restored, NULL, &err), LEAT_ENOTFOUND);
    assert_int_equal(leat_restore(directory, NULL, restored, NULL, &err), LEAT_ENOTFOUND);
    assert_int_equal(leat_backup("/nowhere/at/all", backups, NULL, NULL, &err), LEAT_ENOTFOUND);
    check_backup(name, 2000);
}

struct seen {
    uint64_t done, all;
};

static void see(void *context, uint64_t done, uint64_t all)
{
    struct seen *s = context;

    assert_true(done >= s->done && done <= all);
    *s = (struct seen){done, all};
}

/* Whole: all bytes were read, and nothing was made or changed. Damaged: each file counts,
 * also one that is gone or shorter. */
static void a_backup_is_verified(void **state)
{
    struct seen seen = {0}, copied = {0};
    struct leat_backup how = {.progress = see, .context = &seen}, copying = {.progress = see, .context = &copied};
    struct leat_error err = {0, ""};
    struct leat *l = open_both(directory);
    char name[64], path[512], away[600];

    (void)state;
    append_some(l, 0, 2000);
    leat_close(l);
    assert_int_equal(leat_verify(backups, NULL, &how, &err), LEAT_ENOTFOUND);
    must(leat_backup(directory, backups, &copying, name, &err));
    must(leat_verify(backups, NULL, &how, &err));
    assert_true(seen.all > 0 && seen.done == seen.all && seen.all == copied.all);
    assert_int_equal(leat_verify(backups, "nothing", NULL, &err), LEAT_ENOTFOUND);
    flip(name, "giver/module.ini", 3);
    snprintf(path, sizeof(path), "%s/%s/giver/group-002/depots/0000000000000000.seg", backups, name);
    snprintf(away, sizeof(away), "%s.away", path);
    assert_int_equal(rename(path, away), 0);
    assert_int_equal(leat_verify(backups, name, NULL, &err), LEAT_ECORRUPT);
    assert_non_null(strstr(err.text, "module.ini' does not check out"));
    assert_non_null(strstr(err.text, "files damaged: 2 of "));
    assert_int_equal(leat_verify(backups, name, NULL, NULL), LEAT_ECORRUPT);
    flip(name, "giver/module.ini", 3);
    assert_int_equal(leat_restore(backups, name, restored, NULL, &err), LEAT_ECORRUPT);
    assert_non_null(strstr(err.text, "is missing"));
    assert_int_equal(rename(away, path), 0);
    assert_int_equal(truncate(path, 4096), 0);
    assert_int_equal(leat_verify(backups, name, NULL, &err), LEAT_ECORRUPT);
    assert_non_null(strstr(err.text, "has another size"));
}

/* ---- Rebuilding ---- */

static struct leat *open_giver(uint32_t groups)
{
    struct leat_launch launch = {.tasks = 8, .groups = groups};
    struct leat_error err = {0, ""};
    struct leat *l;

    must(leat_open(directory, NULL, &l, &err));
    l->segment_size = 16 << 10;
    must(leat_launch(l, &giver, &launch, &err));
    return l;
}

static void append_once(struct leat *l, int64_t id, uint64_t sequence)
{
    struct leat_append how = {.ack = LEAT_APPENDED, .session = 5, .sequence = sequence};
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;

    must(leat_depot_find(l, "giver", "rows", &d, &err));
    must(leat_rows_new(d, &rows));
    must(leat_rows_add(rows, LEAT_ROW(leat_i64(id)), &err));
    must(leat_append(d, rows, &how, NULL, &err));
    leat_rows_free(rows);
}

static void check_giver(struct leat *l, int64_t rows)
{
    struct leat_error err = {0, ""};
    int64_t missing;

    for (int i = 0; i < 2; i++)
        must(leat_wait(l, 60000, &err));
    assert_int_equal(check_counts(l, "giver", "direct", &missing), rows);
    assert_int_equal(missing, 0);
    assert_int_equal(check_counts(l, "giver", "through", &missing), rows);
    assert_int_equal(missing, 0);
}

static void a_rebuild_is_what_the_depots_say(void **state)
{
    struct leat_rebuild two = {.groups = 2}, odd = {.groups = 3};
    struct leat_error err = {0, ""};
    struct leat *l = open_giver(4);

    (void)state;
    append_some(l, 0, 3000);
    for (int64_t id = 3000; id < 3100; id++)
        append_once(l, id, (uint64_t)id);
    check_giver(l, 3100);
    assert_int_equal(leat_rebuild(directory, &giver, &two, &err), LEAT_EBUSY);
    leat_close(l);
    assert_int_equal(leat_rebuild(directory, &giver, &odd, &err), LEAT_EINVAL);
    assert_int_equal(leat_rebuild(directory, &taker, NULL, &err), LEAT_ENOTFOUND);
    assert_int_equal(leat_rebuild("/nowhere/at/all", &giver, NULL, &err), LEAT_ENOTFOUND);
    must(leat_rebuild(directory, &giver, &two, &err));
    l = open_giver(2);
    check_giver(l, 3100);
    for (int64_t id = 3000; id < 3100; id++)
        append_once(l, id, (uint64_t)id); /* repeats are still known */
    append_some(l, 3100, 100);
    check_giver(l, 3200);
    leat_close(l);
}

/* The other module stands at offsets of a depot whose rows come anew. */
static void who_reads_what_comes_anew_is_not_led_astray(void **state)
{
    struct leat_error err = {0, ""};
    struct leat *l = open_both(directory);

    (void)state;
    append_some(l, 0, 500);
    assert_int_equal(check_all(l), 500);
    leat_close(l);
    assert_int_equal(leat_rebuild(directory, &giver, NULL, &err), LEAT_EBUSY);
    assert_non_null(strstr(err.text, "derived"));
    assert_int_equal(leat_rebuild(directory, &taker, NULL, &err), LEAT_EINVAL);
    l = open_both(directory);
    append_some(l, 500, 500);
    assert_int_equal(check_all(l), 1000);
    leat_close(l);
}

static void put_file(const char *path, const char *text)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static bool is_there(const char *where, const char *file)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", where, file);
    return access(path, F_OK) == 0;
}

/* Files of others are neither copied nor removed, whatever they are called; consumers come along. */
static void only_what_is_ours_is_touched(void **state)
{
    struct leat_backup one = {.keep = 1};
    struct leat_error err = {0, ""};
    struct leat *l = open_both(directory);
    uint64_t position[8] = {0};
    struct consumer consumer = {8, position};
    char path[512], name[64], slashed[128];

    (void)state;
    append_some(l, 0, 100);
    leat_close(l);
    snprintf(path, sizeof(path), "%s/giver/consumers/rows", directory);
    must(consumer_write(path, "group-a", &consumer, false, &err));
    snprintf(path, sizeof(path), "%s/notes..txt", directory);
    put_file(path, "mine");
    must(leat_backup(directory, backups, NULL, NULL, &err));
    snprintf(path, sizeof(path), "%s/film.partial", backups);
    put_file(path, "half");
    snprintf(path, sizeof(path), "%s/photos", backups);
    must(file_make_directory(path, false, &err));
    snprintf(path, sizeof(path), "%s/photos/MANIFEST", backups);
    put_file(path, "mine");
    must(leat_backup(directory, backups, &one, name, &err));
    assert_true(is_there(backups, "film.partial") && is_there(backups, "photos/MANIFEST") && is_there(backups, name));
    must(file_make_directory(restored, false, &err));
    snprintf(slashed, sizeof(slashed), "%s//", restored);
    must(leat_restore(backups, NULL, slashed, NULL, &err));
    assert_true(is_there(restored, "giver/consumers/rows/group-a") && !is_there(restored, "notes..txt"));
}

/* Retention and consumers hold during a rebuild and after it; nobody rebuilds what is being copied. */
static void a_rebuild_keeps_what_was_said_of_depots(void **state)
{
    struct leat_option keep[] = {{"rows", "1KiB"}, {NULL, NULL}};
    struct leat_launch launch = {.tasks = 8, .groups = 4, .retain = keep};
    struct leat_error err = {0, ""};
    uint64_t position[8] = {0};
    struct consumer consumer = {8, position};
    struct hold hold;
    struct leat *l;
    char path[512];

    (void)state;
    must(leat_open(directory, NULL, &l, &err));
    l->segment_size = 16 << 10;
    must(leat_launch(l, &word_depot, &launch, &err));
    struct leat_depot *d;
    struct leat_rows *rows;
    must(leat_depot_find(l, "words", "rows", &d, &err));
    must(leat_rows_new(d, &rows));
    for (int64_t i = 0; i < 2000; i++)
        must(leat_rows_add(rows, LEAT_ROW(leat_i64(i)), &err));
    snprintf(path, sizeof(path), "%s/words/consumers/rows", directory);
    must(consumer_write(path, "export", &consumer, false, &err));
    must(leat_append(d, rows, &(struct leat_append){.ack = LEAT_PROCESSED}, NULL, &err));
    leat_rows_free(rows);
    leat_close(l);
    must(hold_open(&hold, directory, &err));
    must(hold_copy(&hold, 0, &err));
    assert_int_equal(leat_rebuild(directory, &word_depot, NULL, &err), LEAT_EBUSY);
    hold_close(&hold);
    must(leat_rebuild(directory, &word_depot, NULL, &err));
    assert_true(is_there(directory, "words/consumers/rows/export") && is_there(directory, "words/module.retain"));
    must(leat_open(directory, NULL, &l, &err));
    must(leat_launch(l, &word_depot, NULL, &err));
    must(leat_depot_find(l, "words", "rows", &d, &err));
    for (uint32_t p = 0; p < 8; p++) {
        struct leat_bounds b;

        must(leat_depot_bounds(d, p, &b));
        assert_int_equal(b.first, 0);
    }
    leat_close(l);
}

/* As retention does it: all of a group's depots but for their last segment. */
static void trim_group(const char *module, uint32_t group)
{
    struct leat_error err = {0, ""};
    struct log *log;
    char path[512];

    snprintf(path, sizeof(path), "%s/%s/group-%03u/depots", directory, module, group);
    struct log_config config = {.directory = path, .partitions = 8, .segment_size = 16 << 10};
    must(log_open(&log_segments, &config, &log, &err));
    uint64_t trimmed = 0;
    for (uint32_t p = 0; p < log->partitions; p++) {
        uint64_t first, next;

        log_bounds(log, p, &first, &next);
        must(log_trim(log, p, next, &err));
    }
    for (uint32_t p = 0; p < log->partitions; p++) {
        uint64_t first, next;

        log_bounds(log, p, &first, &next);
        trimmed += first;
    }
    assert_true(trimmed > 0);
    log_close(log);
}

struct rebuilding {
    int copying, processing;
    uint64_t copied;
};

static void see_rebuild(void *context, const char *doing, uint64_t done, uint64_t all)
{
    struct rebuilding *r = context;

    assert_true(done <= all);
    r->copying += strcmp(doing, "copied") == 0;
    r->processing += strcmp(doing, "processed") == 0;
    if (strcmp(doing, "copied") == 0)
        r->copied = done;
}

static void fill(const struct leat_module *module, int64_t rows, uint32_t groups)
{
    struct leat_launch launch = {.tasks = groups, .groups = groups};
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *batch;
    struct leat *l;

    must(leat_open(directory, NULL, &l, &err));
    l->segment_size = 16 << 10;
    must(leat_launch(l, module, &launch, &err));
    must(leat_depot_find(l, module->name, "rows", &d, &err));
    must(leat_rows_new(d, &batch));
    for (int64_t i = 0; i < rows; i++) {
        must(leat_rows_add(batch, LEAT_ROW(leat_i64(i)), &err));
        if (i % 500 != 499)
            continue;
        must(leat_append(d, batch, &(struct leat_append){.ack = LEAT_PROCESSED}, NULL, &err));
        leat_rows_clear(batch);
    }
    leat_rows_free(batch);
    must(leat_wait(l, 60000, &err));
    leat_close(l);
}

static void a_rebuild_is_refused_before_it_copies(void **state)
{
    struct rebuilding seen = {0};
    struct leat_rebuild how = {.progress = see_rebuild, .context = &seen};
    struct leat_error err = {0, ""};
    struct leat *l = open_both(directory);
    char path[512];

    (void)state;
    append_some(l, 0, 500);
    assert_int_equal(check_all(l), 500);
    leat_close(l);
    assert_int_equal(leat_rebuild(directory, &giver, &how, &err), LEAT_EBUSY);
    assert_int_equal(seen.copying, 0);
    fill(&word_depot, 10000, 2);
    trim_group("words", 0);
    snprintf(path, sizeof(path), "%s/words/module.retain", directory);
    put_file(path, "rows = 7d\n"); /* as the launch that had it trimmed */
    assert_int_equal(leat_rebuild(directory, &word_depot, &how, &err), LEAT_ETRIMMED);
    assert_int_equal(seen.copying, 0);
    how.partial = true;
    must(leat_rebuild(directory, &word_depot, &how, &err));
    assert_true(seen.copying > 0 && seen.processing > 0 && seen.copied > 0 && seen.copied < 10000);
}

/* They are appended soon after what they stem from is processed. */
static void wait_for_letters(uint64_t letters)
{
    struct leat_error err = {0, ""};
    struct leat_bounds b = {0};
    struct leat_depot *d;
    time_t deadline = time(NULL) + 60;
    struct leat *l;

    must(leat_open(directory, NULL, &l, &err));
    l->segment_size = 16 << 10;
    must(leat_launch(l, &refuser, NULL, &err));
    must(leat_depot_find(l, "refuser", "dead_letters", &d, &err));
    while (b.next < letters && time(NULL) < deadline) {
        must(leat_depot_bounds(d, 1, &b));
        sched_yield();
    }
    assert_int_equal(b.next, letters);
    leat_close(l);
}

static void trimmed_dead_letters_come_anew(void **state)
{
    struct rebuilding seen = {0};
    struct leat_rebuild how = {.progress = see_rebuild, .context = &seen};
    struct leat_error err = {0, ""};
    uint64_t position[2] = {0};
    struct consumer consumer = {2, position};
    char path[512];

    (void)state;
    fill(&refuser, 1000, 2);
    wait_for_letters(1000);
    trim_group("refuser", 1);
    must(leat_rebuild(directory, &refuser, &how, &err));
    assert_int_equal(seen.copied, 1000);
    wait_for_letters(1000);
    snprintf(path, sizeof(path), "%s/refuser/consumers/dead_letters", directory);
    must(consumer_write(path, "watch", &consumer, false, &err));
    assert_int_equal(leat_rebuild(directory, &refuser, &how, &err), LEAT_EBUSY);
}

/* Who waits is told what for. */
static void a_backup_waits_for_a_rebuild(void **state)
{
    struct leat_backup soon = {.timeout_ms = 10};
    struct leat_error err = {0, ""};
    struct hold hold;

    (void)state;
    fill(&word_depot, 500, 2);
    must(hold_open(&hold, directory, &err));
    assert_true(hold_checkpoint(&hold, 0)); /* as a rebuild does */
    assert_int_equal(leat_backup(directory, backups, &soon, NULL, &err), LEAT_ETIMEOUT);
    assert_non_null(strstr(err.text, "is being rebuilt"));
    hold_close(&hold);
    must(leat_backup(directory, backups, &soon, NULL, &err));
}

static int set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/leat-backup-XXXXXX");
    if (mkdtemp(directory) == NULL)
        return 1;
    snprintf(backups, sizeof(backups), "%s-kept", directory);
    snprintf(restored, sizeof(restored), "%s-restored", directory);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove_tree(directory, NULL) | file_remove_tree(backups, NULL) | file_remove_tree(restored, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(while_rows_come_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(of_a_directory_at_rest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_module_that_is_missing_is_missed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full_segments_are_linked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_is_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_backup_is_verified, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_rebuild_is_what_the_depots_say, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_what_is_ours_is_touched, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_rebuild_keeps_what_was_said_of_depots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_reads_what_comes_anew_is_not_led_astray, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_rebuild_is_refused_before_it_copies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(trimmed_dead_letters_come_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_backup_waits_for_a_rebuild, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
