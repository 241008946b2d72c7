/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include "base/crc32c.h"
#include "base/log.h"
#include "base/random.h"
#include "depots/log.h"
#include "engine/journal.h"
#include "engine/node.h"
#include "modules/modules.h"
#include "tests/lib/fault.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Parts of a data directory are removed, replaced by older ones or by those of another group, or have a byte changed.
 * Then the module does not launch and says why, or all that was acknowledged is there, once. No backup is made of one
 * that does not launch: it would take the place of a good one. (Pages of LMDB bear no checksum: data.mdb is left out
 * of the changes of bytes.) */

enum { WORDS = 7, SESSION = 9, LIFE = 150, LATER = 20, FLIPS = 150, FLIPS_LONG = 10000, PATHS = 400, DENSE = 6000,
       PATIENCE_S = 60 };

enum outcome { RIGHT, REFUSED, WRONG, DIED };

struct world {
    char root[64];        /* with directories old, new, and the one in hand */
    char path[PATHS][128]; /* of all files and directories of new, below it */
    int paths;
    bool copies;          /* a backup is judged, too */
};

/* ---- A node ---- */

static int start(const char *directory, struct leat **l, struct leat_error *err)
{
    int rv = leat_open(directory, NULL, l, err);

    if (rv != 0)
        return rv;
    (*l)->segment_size = 8 << 10;
    (*l)->checkpoint_bytes = 256 << 10;
    return leat_launch(*l, &module_word_count, &(struct leat_launch){.tasks = 8, .groups = 2}, err);
}

/* Row i: a word of its own, and one that many have. */
static int append(struct leat *l, int64_t from, int64_t to, struct leat_error *err)
{
    struct leat_depot *d;
    struct leat_rows *rows;
    int rv = leat_depot_find(l, "word_count", "sentences", &d, err);

    if (rv != 0)
        return rv;
    must_with(leat_rows_new(d, &rows), err);
    for (int64_t i = from; i < to && rv == 0; i++) {
        struct leat_append how = {.session = SESSION, .sequence = (uint64_t)i};
        char text[64];

        snprintf(text, sizeof(text), "u%d w%d", (int)i, (int)(i % WORDS));
        leat_rows_clear(rows);
        rv = leat_rows_add(rows, LEAT_ROW(leat_str(text)), err);
        rv = rv == 0 ? leat_append(d, rows, &how, NULL, err) : rv;
    }
    leat_rows_free(rows);
    return rv == 0 ? leat_wait(l, PATIENCE_S / 2 * 1000, err) : rv;
}

static int64_t count_of(struct leat_view *v, char letter, int64_t number)
{
    struct leat_value count = leat_i64(0), word;
    char text[32];

    snprintf(text, sizeof(text), "%c%d", letter, (int)number);
    word = leat_str(text);
    return leat_get(leat_view_owner(v, &word), 0, LEAT_KEYS(word), &count, 1) == 0 ? count.as.i : 0;
}

static enum outcome check(struct leat *l, int64_t rows)
{
    struct leat_error err = {0, ""};
    struct leat_view *v;
    int64_t words[WORDS] = {0};
    int wrong = 0;

    must(leat_view_open(l, "word_count", &v, &err));
    for (int64_t i = 0; i < rows; i++) {
        words[i % WORDS]++;
        wrong += count_of(v, 'u', i) != 1;
    }
    for (int64_t i = 0; i < WORDS; i++)
        wrong += count_of(v, 'w', i) != words[i];
    leat_view_close(v);
    if (wrong > 0)
        fprintf(stderr, "%d wrong counts\n", wrong);
    return wrong == 0 ? RIGHT : WRONG;
}

/* Open, go on, and compare. */
static enum outcome judge(const char *directory)
{
    struct leat_error err = {0, ""};
    struct leat *l = NULL;
    enum outcome outcome = REFUSED;
    int rv = start(directory, &l, &err);

    if (rv == 0)
        rv = append(l, 2 * LIFE, 2 * LIFE + LATER, &err);
    if (rv == 0)
        outcome = check(l, 2 * LIFE + LATER);
    else if (err.text[0] == '\0' || rv == LEAT_ETIMEOUT || rv == LEAT_EINTERNAL)
        outcome = WRONG;
    if (outcome == WRONG)
        fprintf(stderr, "%s: %s\n", leat_code_name(rv), err.text);
    leat_close(l);
    return outcome;
}

/* Back up what is in hand, and restore that. false: it is refused. */
static bool copy(const struct world *w, const char *from, const char *to)
{
    struct leat_error err = {0, ""};
    char backups[128];

    snprintf(backups, sizeof(backups), "%s/backups", w->root);
    file_remove_tree(backups, &err);
    file_remove_tree(to, &err);
    int rv = leat_backup(from, backups, NULL, NULL, &err);
    if (rv == 0)
        must(leat_restore(backups, NULL, to, NULL, &err));
    else if (err.text[0] == '\0' || rv == LEAT_EINTERNAL)
        fail_msg("no backup, and no reason: %s", leat_code_name(rv));
    return rv == 0;
}

static enum outcome judge_both(const struct world *w)
{
    char directory[128], copied[128];

    snprintf(directory, sizeof(directory), "%s/hand", w->root);
    snprintf(copied, sizeof(copied), "%s/copied", w->root);
    bool is_copied = w->copies && copy(w, directory, copied);
    enum outcome outcome = judge(directory);
    if (is_copied && judge(copied) != RIGHT) {
        fprintf(stderr, "a backup was made that cannot be used\n");
        return WRONG;
    }
    return outcome;
}

/* In a process of its own, as the engine may abort. */
static enum outcome open_damaged(const struct world *w)
{
    static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS};
    int status = 0;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0) {
        for (size_t i = 0; i < LENGTH_OF(fatal); i++)
            signal(fatal[i], SIG_DFL);
        alarm(PATIENCE_S);
        exit((int)judge_both(w)); /* what it ran counts as covered */
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) <= WRONG ? (enum outcome)WEXITSTATUS(status) : DIED;
}

/* ---- Directories ---- */

static void shell(const char *format, const char *a, const char *b, const char *c)
{
    char command[1024];

    snprintf(command, sizeof(command), format, a, b, c);
    assert_int_equal(system(command), 0);
}

static struct world *listing;
static size_t listing_skip;

static int list_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    if (strlen(path) > listing_skip && strchr(path + listing_skip + 1, '/') != NULL && listing->paths < PATHS)
        snprintf(listing->path[listing->paths++], sizeof(listing->path[0]), "%s", path + listing_skip + 1);
    return 0;
}

/* A life, a copy of it, and another life. */
static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct leat_error err = {0, ""};
    struct leat *l = NULL;
    char directory[128];

    fault_directory(w->root);
    snprintf(directory, sizeof(directory), "%s/new", w->root);
    for (int life = 0; life < 2; life++) {
        must(start(directory, &l, &err));
        must(append(l, LIFE * life, LIFE * (life + 1), &err));
        leat_close(l);
        if (life == 0)
            shell("cp -a %s/new %s/old", w->root, w->root, "");
    }
    w->copies = true;
    listing = w;
    listing_skip = strlen(directory);
    assert_int_equal(nftw(directory, list_one, 16, FTW_PHYS), 0);
    assert_in_range(w->paths, 10, PATHS - 1);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    file_remove_tree(w->root, NULL);
    free(w);
    return 0;
}

static void fresh(const struct world *w)
{
    shell("rm -rf %s/hand && cp -a %s/new %s/hand", w->root, w->root, w->root);
}

/* Judge the damaged copy; does it launch? */
static bool launches(const struct world *w, const char *damage, const char *path)
{
    static const char *const name[] = {"right", "refused", "wrong", "died"};
    enum outcome outcome = open_damaged(w);

    if (outcome == WRONG || outcome == DIED)
        fail_msg("%s %s: %s", damage, path, name[outcome]);
    return outcome == RIGHT;
}

static bool is_below(const char *path, const char *part)
{
    return strstr(path, part) != NULL;
}

/* Can a group's view be made from its journal alone? Not when two checkpoints came meanwhile, and it was trimmed. */
static bool journal_is_whole(const struct world *w, const char *view)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/new/%.*s/journal/0000000000000000.seg", w->root,
             (int)(strlen(view) - strlen("/view")), view);
    return access(path, F_OK) == 0;
}

/* ---- Cases ---- */

static void nothing_is_damaged(void **state)
{
    fresh(*state);
    assert_true(launches(*state, "nothing", ""));
}

static void parts_are_removed(void **state)
{
    const struct world *w = *state;

    for (int i = 0; i < w->paths; i++) {
        const char *path = w->path[i], *name = strrchr(path, '/') + 1;

        fresh(w);
        shell("rm -rf %s/hand/%s", w->root, path, "");
        bool launched = launches(w, "removed", path);
        if (strcmp(name, "journal") == 0 || strcmp(name, "depots") == 0 || strncmp(name, "group-", 6) == 0 ||
            strcmp(name, "module.ini") == 0 || strcmp(name, "module.fingerprint") == 0)
            assert_false(launched);
        if (strcmp(name, "view") == 0)
            assert_int_equal(launched, journal_is_whole(w, path));
    }
}

/* Of the files of one view, only all together are of one time. */
static void parts_are_older(void **state)
{
    const struct world *w = *state;

    for (int i = 0; i < w->paths; i++) {
        const char *path = w->path[i];

        if (is_below(path, "/view/"))
            continue;
        fresh(w);
        shell("rm -rf %s/hand/%s", w->root, path, "");
        shell("[ ! -e %1$s/old/%2$s ] || cp -a %1$s/old/%2$s %1$s/hand/%2$s", w->root, path, "");
        bool launched = launches(w, "older", path);
        if (strcmp(strrchr(path, '/'), "/view") == 0 && journal_is_whole(w, path))
            assert_true(launched);
    }
}

static void groups_are_mixed_up(void **state)
{
    static const char *const part[] = {"", "/view", "/journal", "/depots"};
    const struct world *w = *state;

    for (size_t i = 0; i < LENGTH_OF(part); i++) {
        fresh(w);
        shell("cd %1$s/hand/word_count && mv group-000%2$s x && mv group-001%2$s group-000%2$s && mv x group-001%2$s",
              w->root, part[i], "");
        assert_false(launches(w, "mixed up", part[i]));
    }
}

static void flip(const char *file, off_t at, unsigned bit)
{
    int fd = open(file, O_RDWR | O_CLOEXEC);
    uint8_t byte;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= (uint8_t)(1U << bit);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* Mostly where there is something: files are made large and filled later. */
static off_t somewhere(off_t size, struct random *random)
{
    bool anywhere = random_below(random, 4) == 0 || size < DENSE;

    return (off_t)random_below(random, anywhere ? (uint64_t)size : (uint64_t)DENSE);
}

/* What is refused is left as it is: with the bit as it was, all is there. */
static void bits_are_flipped(void **state)
{
    const char *lasting = getenv("LEAT_LONG"), *given = getenv("LEAT_SEED");
    int flips = lasting != NULL && strcmp(lasting, "1") == 0 ? FLIPS_LONG : FLIPS, refused = 0;
    uint64_t first = given != NULL ? strtoull(given, NULL, 10) : 1;
    struct world *w = *state;
    struct random random;
    struct stat st;

    for (int i = 0; i < flips; i++) {
        uint64_t seed = first + (uint64_t)i;
        char file[256], damage[64];
        const char *path;

        fresh(w);
        random_seed(&random, seed);
        do {
            path = w->path[random_below(&random, (uint64_t)w->paths)];
            snprintf(file, sizeof(file), "%s/hand/%s", w->root, path);
        } while (stat(file, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0 || is_below(path, ".mdb"));
        off_t at = somewhere(st.st_size, &random);
        unsigned bit = (unsigned)random_below(&random, 8);
        flip(file, at, bit);
        w->copies = !is_below(path, "/module."); /* whether these are the module's, only it knows */
        snprintf(damage, sizeof(damage), "seed %d: a bit of", (int)seed);
        if (launches(w, damage, path))
            continue;
        refused++;
        flip(file, at, bit);
        assert_true(launches(w, "put right", path));
    }
    assert_true(refused > 0);
}

/* The last byte of a file that is not zero. */
static off_t last_written(const char *file)
{
    struct leat_error err = {0, ""};
    struct buffer bytes = {0};

    buffer_init(&bytes, 1 << 30);
    must(file_read(file, 1 << 30, &bytes, &err));
    off_t at = (off_t)bytes.size - 1;
    while (at > 0 && bytes.base[at] == 0)
        at--;
    buffer_fini(&bytes);
    return at;
}

/* As if torn by a crash, but it was processed: that is no write which nobody knows of, and it is not cut. */
static void last_writes_are_damaged(void **state)
{
    const struct world *w = *state;
    int refused = 0;

    for (int i = 0; i < w->paths; i++) {
        char file[256];

        if (!is_below(w->path[i], ".seg"))
            continue;
        fresh(w);
        snprintf(file, sizeof(file), "%s/hand/%s", w->root, w->path[i]);
        off_t at = last_written(file);
        flip(file, at, 0);
        if (launches(w, "the last byte of", w->path[i])) /* nobody reads that again */
            continue;
        flip(file, at, 0);
        assert_true(launches(w, "put right", w->path[i]));
        refused++;
    }
    assert_true(refused >= 2);
}

/* ---- Whole, but not what belongs there ---- */

enum misfit { FITS, TURN, RANGE, HOP, SESSIONS, TICK, OUTPUT, BYTES, MISFITS };

/* One more batch behind the last one. */
static void append_batch(const struct world *w, enum misfit misfit)
{
    struct progress_range range = {.partition = 1000};
    struct batch_hop hop = {.peer = 2};
    struct batch_session session = {.partition = 1000};
    struct batch_tick tick = {.depot = 1000};
    struct batch_output output = {.group = 2};
    struct leat_error err = {0, ""};
    struct arena *a = arena_open(1 << 20);
    struct buffer bytes = {0};
    struct log_slice slice;
    struct batch b;
    struct log *l;
    char path[128];
    uint64_t first, next;

    snprintf(path, sizeof(path), "%s/hand/word_count/group-000/journal", w->root);
    struct log_config config = {
        .directory = path, .partitions = 1, .durability = LEAT_PROCESS, .segment_size = 8 << 10};
    must(log_open(&log_segments, &config, &l, &err));
    log_bounds(l, 0, &first, &next);
    must(log_read(l, 0, next - 1, 1, 1, &slice, &err));
    must(batch_decode(slice.entry[0].body, a, &b, &err));
    b = (struct batch){.epoch = b.epoch, .turn = b.turn + 1 + (misfit == TURN), .now_us = b.now_us,
                       .range = &range, .ranges = misfit == RANGE, .hop = &hop, .hops = misfit == HOP,
                       .session = &session, .sessions = misfit == SESSIONS, .tick = &tick, .ticks = misfit == TICK,
                       .output = &output, .outputs = misfit == OUTPUT};
    log_release(l, &slice);
    batch_encode(&b, &bytes);
    struct log_record r = {.body = span_of(bytes.base, bytes.size - (misfit == BYTES))};
    must(log_append(l, &r, 1, NULL));
    must(log_sync(l, &err));
    log_close(l);
    buffer_fini(&bytes);
    arena_close(a);
}

static void batches_do_not_fit(void **state)
{
    ((struct world *)*state)->copies = false; /* no damage of a disk */
    for (int misfit = FITS; misfit < MISFITS; misfit++) {
        char what[32];

        snprintf(what, sizeof(what), "misfit %d", misfit);
        fresh(*state);
        append_batch(*state, (enum misfit)misfit);
        assert_int_equal(launches(*state, what, "journal"), misfit == FITS);
    }
}

enum { STATE_WHOLE, STATE_VERSION, STATE_GROUP, STATE_CUT, STATE_TURN, STATES };

/* What a checkpoint keeps of its group: version, number, epoch, turn, and more. */
static void change_state(const char *path, int how)
{
    struct leat_error err = {0, ""};
    struct buffer slot = {0};

    must(file_read(path, 1 << 24, &slot, &err));
    uint8_t *size = slot.base + 40, *text = slot.base + 48 + 2 * (size_t)load_u32(slot.base + 12), *turn = text + 2;
    while (*turn++ >= 0x80)
        ;
    if (how == STATE_CUT)
        store_u64(size, load_u64(size) / 2);
    else if (how != STATE_WHOLE)
        *(how == STATE_VERSION ? text : how == STATE_GROUP ? text + 1 : turn) ^= 1;
    slot.size = (size_t)(text - slot.base) + load_u64(size);
    store_u32(slot.base + 4, crc32c(0, slot.base + 8, slot.size - 8));
    must(file_replace(path, buffer_bytes(&slot), &err));
    buffer_fini(&slot);
}

static void states_do_not_fit(void **state)
{
    const struct world *w = *state;

    for (int how = STATE_WHOLE; how < STATES; how++) {
        char path[128], what[32];

        fresh(w);
        snprintf(what, sizeof(what), "state %d", how);
        for (int slot = 0; slot < 2; slot++) {
            snprintf(path, sizeof(path), "%s/hand/word_count/group-001/view/checkpoint.%d", w->root, slot);
            change_state(path, how);
        }
        assert_int_equal(launches(w, what, "view"), how == STATE_WHOLE);
    }
}

/* ---- What nobody reads ---- */

static const struct leat_module notes = {
    LEAT_ABI, .name = "notes", .depots = DEPOTS({"notes", "text: str", .partitioner = LEAT_RANDOM})};

static int open_notes(const char *directory, struct leat **l, struct leat_error *err)
{
    int rv = leat_open(directory, NULL, l, err);

    if (rv != 0)
        return rv;
    (*l)->segment_size = 8 << 10;
    return leat_launch(*l, &notes, &(struct leat_launch){.tasks = 1, .groups = 1}, err);
}

static void append_notes(struct leat *l)
{
    struct leat_error err = {0, ""};
    struct leat_depot *d;
    struct leat_rows *rows;

    must(leat_depot_find(l, "notes", "notes", &d, &err));
    must(leat_rows_new(d, &rows));
    for (uint64_t i = 0; i < LIFE; i++) {
        char text[128];

        snprintf(text, sizeof(text), "note %-100d", (int)i);
        leat_rows_clear(rows);
        must(leat_rows_add(rows, LEAT_ROW(leat_str(text)), &err));
        must(leat_append(d, rows, &(struct leat_append){.session = SESSION, .sequence = i}, NULL, &err));
    }
    leat_rows_free(rows);
    must(leat_wait(l, PATIENCE_S / 2 * 1000, &err));
}

/* After a crash a start looks through it for sessions. */
static void records_that_nobody_reads_are_damaged(void **state)
{
    static const char endless[] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"; /* a number: its size */
    struct world *w = *state;
    struct leat_error err = {0, ""};
    struct buffer bytes;
    struct leat *l;
    char directory[128], file[256];

    snprintf(directory, sizeof(directory), "%s/written", w->root);
    must(open_notes(directory, &l, &err));
    append_notes(l);
    shell("cp -a %s/written %s/killed", w->root, w->root, "");
    leat_close(l);
    snprintf(directory, sizeof(directory), "%s/killed", w->root);
    snprintf(file, sizeof(file), "%s/notes/group-000/depots/0000000000000000.seg", directory);
    buffer_init(&bytes, 1 << 20);
    must(file_read(file, 1 << 20, &bytes, &err));
    const uint8_t *note = memmem(bytes.base, bytes.size, "note 7 ", 7);
    assert_non_null(note);
    int fd = open(file, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, endless, sizeof(endless), note - bytes.base - 2), sizeof(endless));
    close(fd);
    buffer_fini(&bytes);
    assert_int_equal(open_notes(directory, &l, &err), LEAT_ECORRUPT);
    assert_non_null(strstr(err.text, file));
    assert_non_null(strstr(err.text, "the records there do not check out"));
    leat_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_damaged),  cmocka_unit_test(parts_are_removed), cmocka_unit_test(parts_are_older),
        cmocka_unit_test(groups_are_mixed_up), cmocka_unit_test(bits_are_flipped),
        cmocka_unit_test(last_writes_are_damaged),
        cmocka_unit_test(batches_do_not_fit),  cmocka_unit_test(states_do_not_fit),
        cmocka_unit_test(records_that_nobody_reads_are_damaged),
    };

    log_level_set(LOG_ERROR + 1);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
