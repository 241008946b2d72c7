/* SPDX-License-Identifier: Apache-2.0 */
#include "pstates/view.h"

#include "base/crc32c.h"
#include "base/file.h"

#include <errno.h>
#include <stdatomic.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The pinned checkpoint: LMDB without sync, made safe.
 *
 * A read transaction pins snapshot S. LMDB never reuses pages of a snapshot that a reader holds, so whatever later
 * commits write, the pages of S stay as they are. The two meta pages, which say where the trees of S begin, are kept
 * in a side file once the pages of S are durable. After a crash the saved metas are put back: the file is S again,
 * whatever else in it was lost, kept or torn. Then S is pinned before the first write, and the journal replayed.
 *
 *   start    pin S, copy the metas (both on the writer's thread: no commit comes between)
 *   helper   fdatasync the file; write {metas, turn, state} durably into the one of two slots that is not in use;
 *            mark the other as spent, durably: on a thread of its own, or in two steps of poll
 *   poll     drop the pin before it; S stays pinned until the next checkpoint is whole
 *
 * A crash inside any step leaves the other slot, whose pin is held until it is spent. What is spent is never taken: its
 * pages may be in use again, so that damage to the newest slot is told and not passed over. When there was no space for
 * the slot, the helper writes the same bytes again later: parts of them may be in the file, so their pages stay pinned
 * until all are. */

#define SLOT_MAGIC 0x4b43504cU  /* "LPCK" */
#define SPENT_MAGIC 0x5343504cU /* "LPCS" */

enum { SLOT_VERSION = 1, SLOT_HEADER = 48, META_PAGES = 2 };

#define DUE_LEAST (UINT64_C(64) << 20)
#define DUE_MOST (UINT64_C(128) << 20)
#define DUE_NS (10LL * 1000000000)

struct checkpointer {
    MDB_txn *pin;           /* of the last whole checkpoint; NULL: none */
    MDB_txn *next_pin;      /* of the one under way */
    uint64_t sequence;      /* of the last started */
    uint64_t turn;          /* of the last whole one */
    uint64_t previous;      /* of the one before: the other slot */
    uint64_t next_turn;
    uint64_t done_commits, done_bytes; /* as the last one began: commits, and the file's size */
    int64_t done_ns;
    struct buffer slot;     /* the bytes being written */
    pthread_t thread;
    bool running;
    bool pages_synced;      /* the next step writes the slot */
    bool quiet;             /* little was written before this one */
    size_t holes_from;      /* page that the next holes begin at */
    _Atomic bool finished;
    int result;
    struct leat_error why;
};

const char *const pstate_crash_points[] = {
    "checkpoint.pinned",       "checkpoint.synced", "checkpoint.slot_half", "checkpoint.slot_written",
    "checkpoint.spent",        "checkpoint.done",   "restore.metas_half",   "restore.metas_written",
    "restore.opened",          "commit.before",     "commit.after",         NULL};

static pstate_crash *crash_hook;
static void *crash_context;

void pstate_crash_hook(pstate_crash *hook, void *context)
{
    crash_hook = hook;
    crash_context = context;
}

int crash_point(const char *point)
{
    return crash_hook != NULL && crash_hook(crash_context, point) ? LEAT_ECANCELED : 0;
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Up to the last page in use. */
static uint64_t file_bytes(const struct pstate_view *v)
{
    struct pstate_figures figures;

    pstate_view_figures(v, &figures);
    return figures.file_bytes;
}

/* ---- Slots: magic, crc (of all behind it), version, page size, sequence u64, turn u64, LMDB version u32, pages that
 * the file had u32 (0: not known), state size u64; the meta pages; the state ---- */

static void slot_path(const char *directory, unsigned which, char *out, size_t size)
{
    snprintf(out, size, "%s/checkpoint.%u", directory, which);
}

static int read_slot(const char *directory, unsigned which, struct buffer *out, struct leat_error *err)
{
    char path[4096];

    slot_path(directory, which, path, sizeof(path));
    buffer_clear(out);
    int rv = file_read(path, LIMIT_BATCH + (1 << 20), out, err);
    if (rv != 0)
        return rv;
    if (out->size >= SLOT_HEADER && load_u32(out->base) == SPENT_MAGIC)
        return leat_fail(err, LEAT_ETRIMMED, "'%s' is spent: there was a newer one", path);
    if (out->size < SLOT_HEADER || load_u32(out->base) != SLOT_MAGIC ||
        load_u64(out->base + 40) > out->size - SLOT_HEADER)
        return leat_fail(err, LEAT_ECORRUPT, "'%s' does not check out", path);
    size_t size = SLOT_HEADER + META_PAGES * (size_t)load_u32(out->base + 12) + load_u64(out->base + 40);
    if (size > out->size || load_u32(out->base + 4) != crc32c(0, out->base + 8, size - 8))
        return leat_fail(err, LEAT_ECORRUPT, "'%s' does not check out", path);
    if (load_u32(out->base + 8) != SLOT_VERSION)
        return leat_fail(err, LEAT_EFORMAT, "'%s' has version %u, this program reads version %d", path,
                         load_u32(out->base + 8), SLOT_VERSION);
    out->size = size;
    return 0;
}

static uint64_t slot_sequence(const struct buffer *slot)
{
    return load_u64(slot->base + 16);
}

/* It may be the newer one for all we know: the pages of the other may be gone. */
static bool unreadable(int rv)
{
    return rv != 0 && rv != LEAT_ENOTFOUND && rv != LEAT_ECORRUPT && rv != LEAT_ETRIMMED;
}

/* The newer whole slot into *out. LEAT_ENOTFOUND: there never was a whole one. */
static int newest_slot(const char *directory, struct buffer *out, struct leat_error *err)
{
    struct buffer other;
    struct leat_error why[2] = {{0}, {0}};

    buffer_init(&other, LIMIT_BATCH + (2 << 20));
    int first = read_slot(directory, 0, out, &why[0]), second = read_slot(directory, 1, &other, &why[1]);
    if (first != 0 || (second == 0 && slot_sequence(&other) > slot_sequence(out))) {
        struct buffer swap = *out;

        *out = other;
        other = swap;
    }
    buffer_fini(&other);
    if (unreadable(first) || unreadable(second)) {
        *err = unreadable(first) ? why[0] : why[1];
        return err->code;
    }
    if (first == 0 || second == 0)
        return 0;
    /* The first checkpoint ever goes into slot 1: while slot 0 is missing, a torn slot 1 was never whole. */
    if (first == LEAT_ENOTFOUND && (second == LEAT_ENOTFOUND || second == LEAT_ECORRUPT))
        return LEAT_ENOTFOUND;
    return leat_fail(err, LEAT_ECORRUPT,
                     "no checkpoint in '%s' is whole (%s): make the views again from the depots (leat rebuild), or put "
                     "the module's directory back from a backup",
                     directory, first == LEAT_ECORRUPT ? why[0].text : why[1].text);
}

/* Slot `which` is not to be taken any more, if it is there. */
static int spend_slot(const char *directory, unsigned which, bool durable, struct leat_error *err)
{
    uint8_t magic[4];
    char path[4096];
    int rv = 0;

    slot_path(directory, which, path, sizeof(path));
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : base_errno(err, errno, "open", path);
    store_u32(magic, SPENT_MAGIC);
    if (file_pwrite(fd, magic, sizeof(magic), 0) != 0)
        rv = base_errno(err, errno, "write", path);
    else if (durable)
        rv = file_sync(fd, path, err);
    close(fd);
    return rv;
}

/* A process may have died between writing a slot and syncing it or its name, or its sync failed, and the kernel takes
 * the pages for clean: it is written again. It counts from now on. */
static int settle_slot(const char *directory, const struct buffer *slot, struct leat_error *err)
{
    char path[4096];
    int rv = 0;

    slot_path(directory, (unsigned)(slot_sequence(slot) % 2), path, sizeof(path));
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return base_errno(err, errno, "open", path);
    if (file_pwrite(fd, slot->base, slot->size, 0) != 0)
        rv = base_errno(err, errno, "write", path);
    else
        rv = file_sync(fd, path, err);
    close(fd);
    return rv == 0 ? file_sync_directory(directory, err) : rv;
}

/* LMDB would read beyond the end of a file that was cut. */
static int check_size(int fd, const char *path, const struct buffer *slot, struct leat_error *err)
{
    uint64_t least = (uint64_t)load_u32(slot->base + 36) * load_u32(slot->base + 12);
    struct stat st = {0};

    if (fstat(fd, &st) == 0 && (uint64_t)st.st_size >= least)
        return 0;
    return leat_fail(err, LEAT_ECORRUPT,
                     "'%s' was cut: it has %llu bytes, and %llu when its checkpoint was taken; make the views again "
                     "from the depots (leat rebuild), or put the module's directory back from a backup",
                     path, (unsigned long long)st.st_size, (unsigned long long)least);
}

static int put_metas_back(const char *directory, const struct buffer *slot, struct leat_error *err)
{
    size_t page = load_u32(slot->base + 12);
    char path[4096];

    snprintf(path, sizeof(path), "%s/data.mdb", directory);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return base_errno(err, errno, "open", path);
    int rv = check_size(fd, path, slot, err), crash = 0;
    if (rv != 0)
        goto out;
    rv = file_pwrite(fd, slot->base + SLOT_HEADER, page, 0);
    crash = crash_point("restore.metas_half");
    if (rv == 0 && crash == 0)
        rv = file_pwrite(fd, slot->base + SLOT_HEADER + page, page, page);
    if (rv != 0)
        rv = base_errno(err, errno, "restore", path);
    crash = crash != 0 ? crash : crash_point("restore.metas_written");
out:
    close(fd);
    return rv != 0 ? rv : crash;
}

int checkpoint_restore(const char *directory, bool durable, uint64_t *turn, struct buffer *state, uint64_t *sequence,
                       struct leat_error *err)
{
    struct buffer slot;

    buffer_init(&slot, LIMIT_BATCH + (2 << 20));
    int rv = newest_slot(directory, &slot, err);
    if (rv == LEAT_ENOTFOUND) {
        buffer_fini(&slot);
        return 0;
    }
    if (rv == 0 && load_u32(slot.base + 32) >> 24 != MDB_VERSION_MAJOR)
        rv = leat_fail(err, LEAT_EFORMAT, "'%s' was written with another LMDB version", directory);
    if (rv == 0 && durable)
        rv = settle_slot(directory, &slot, err);
    if (rv == 0)
        rv = spend_slot(directory, (unsigned)(slot_sequence(&slot) + 1) % 2, durable, err);
    if (rv == 0)
        rv = put_metas_back(directory, &slot, err);
    if (rv == 0) {
        *turn = load_u64(slot.base + 24);
        *sequence = slot_sequence(&slot);
        buffer_put(state, slot.base + slot.size - load_u64(slot.base + 40), load_u64(slot.base + 40));
    }
    buffer_fini(&slot);
    return rv;
}

/* ---- Looking ---- */

static bool stands_at(const char *directory, const struct buffer *slot)
{
    size_t size = META_PAGES * (size_t)load_u32(slot->base + 12);
    uint8_t *have = base_alloc(size);
    char path[4096];

    snprintf(path, sizeof(path), "%s/data.mdb", directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool same = fd >= 0 && pread(fd, have, size, 0) == (ssize_t)size &&
                memcmp(have, slot->base + SLOT_HEADER, size) == 0;
    if (fd >= 0)
        close(fd);
    free(have);
    return same;
}

void pstate_slots(const char *directory, struct pstate_slot out[2], struct buffer *state)
{
    struct buffer slot[2];

    memset(out, 0, 2 * sizeof(*out));
    for (unsigned i = 0; i < 2; i++) {
        buffer_init(&slot[i], LIMIT_BATCH + (2 << 20));
        out[i].code = read_slot(directory, i, &slot[i], &out[i].why);
        if (out[i].code != 0)
            continue;
        out[i].sequence = slot_sequence(&slot[i]);
        out[i].turn = load_u64(slot[i].base + 24);
    }
    unsigned newest = out[0].code != 0 || (out[1].code == 0 && out[1].sequence > out[0].sequence);
    if (out[newest].code == 0) {
        uint64_t size = load_u64(slot[newest].base + 40);

        out[newest].newest = true;
        out[newest].clean = stands_at(directory, &slot[newest]);
        buffer_put(state, slot[newest].base + slot[newest].size - size, size);
    }
    buffer_fini(&slot[0]);
    buffer_fini(&slot[1]);
}

/* ---- Taking one ---- */

static int pin(struct pstate_view *v, MDB_txn **out, struct leat_error *err)
{
    int rc = mdb_txn_begin(v->env, NULL, MDB_RDONLY, out);

    return rc == 0 ? 0 : view_error(err, rc, "pin", v);
}

int checkpointer_open(struct pstate_view *v, uint64_t sequence, uint64_t turn, struct leat_error *err)
{
    struct checkpointer *c = base_alloc(sizeof(*c));

    v->checkpointer = c;
    c->sequence = sequence;
    c->turn = turn;
    c->previous = 0;
    c->done_bytes = file_bytes(v);
    c->done_ns = now_ns();
    buffer_init(&c->slot, LIMIT_BATCH + (2 << 20));
    return sequence > 0 ? pin(v, &c->pin, err) : 0;
}

void checkpointer_close(struct pstate_view *v)
{
    struct checkpointer *c = v->checkpointer;

    if (c == NULL)
        return;
    if (c->running && !v->config.step_checkpoints)
        pthread_join(c->thread, NULL);
    if (c->pin != NULL)
        mdb_txn_abort(c->pin);
    if (c->next_pin != NULL)
        mdb_txn_abort(c->next_pin);
    buffer_fini(&c->slot);
    free(c);
    v->checkpointer = NULL;
}

/* The slot's bytes: metas as they are in the file now, which are those of the last commit. */
static int make_slot(struct pstate_view *v, struct leat_span state, struct leat_error *err)
{
    struct checkpointer *c = v->checkpointer;
    MDB_stat stat;
    struct stat file = {0};
    int fd;

    mdb_env_stat(v->env, &stat);
    mdb_env_get_fd(v->env, &fd);
    size_t page = stat.ms_psize;
    (void)fstat(fd, &file); /* 0 pages: not known */
    buffer_clear(&c->slot);
    buffer_u32(&c->slot, SLOT_MAGIC);
    buffer_u32(&c->slot, 0);
    buffer_u32(&c->slot, SLOT_VERSION);
    buffer_u32(&c->slot, (uint32_t)page);
    buffer_u64(&c->slot, c->sequence);
    buffer_u64(&c->slot, v->turn);
    buffer_u32(&c->slot, MDB_VERINT(MDB_VERSION_MAJOR, MDB_VERSION_MINOR, MDB_VERSION_PATCH));
    buffer_u32(&c->slot, (uint32_t)((uint64_t)file.st_size / page));
    buffer_u64(&c->slot, state.size);
    void *metas = buffer_grow(&c->slot, META_PAGES * page);
    if (metas == NULL || pread(fd, metas, META_PAGES * page, 0) != (ssize_t)(META_PAGES * page))
        return base_errno(err, errno, "read the meta pages of", v->directory);
    buffer_put(&c->slot, state.base, state.size);
    if (c->slot.error != 0)
        return leat_fail(err, LEAT_ELIMIT, "the state of a checkpoint has %zu bytes", state.size);
    store_u32(c->slot.base + 4, crc32c(0, c->slot.base + 8, c->slot.size - 8));
    return 0;
}

static int write_slot(struct pstate_view *v, struct leat_error *err)
{
    struct checkpointer *c = v->checkpointer;
    bool sync = v->config.durability == LEAT_FULL;
    size_t half = c->slot.size / 2;
    char path[4096];

    slot_path(v->directory, (unsigned)(c->sequence % 2), path, sizeof(path));
    bool fresh = access(path, F_OK) != 0 || c->result == LEAT_ENOSPACE;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return base_errno(err, errno, "write", path);
    int rv = file_pwrite(fd, c->slot.base, half, 0), crash = crash_point("checkpoint.slot_half");
    if (rv == 0 && crash == 0)
        rv = file_pwrite(fd, c->slot.base + half, c->slot.size - half, half);
    if (rv != 0)
        rv = base_errno(err, errno, "write", path);
    else if (sync && crash == 0)
        rv = file_sync(fd, path, err);
    close(fd);
    crash = crash != 0 ? crash : crash_point("checkpoint.slot_written");
    if (rv == 0 && crash == 0 && sync && fresh)
        rv = file_sync_directory(v->directory, err);
    if (rv == 0 && crash == 0)
        rv = spend_slot(v->directory, (unsigned)(c->sequence + 1) % 2, sync, err);
    return rv != 0 ? rv : crash != 0 ? crash : crash_point("checkpoint.spent");
}

static int sync_pages(struct pstate_view *v, struct leat_error *err)
{
    char path[4096];
    int fd, rv = 0;

    mdb_env_get_fd(v->env, &fd);
    snprintf(path, sizeof(path), "%s/data.mdb", v->directory);
    if (v->config.durability == LEAT_FULL)
        rv = file_sync(fd, path, err);
    return rv != 0 ? rv : crash_point("checkpoint.synced");
}

/* The slow part: pages durable first, then the slot that speaks of them. */
static int make_durable(struct pstate_view *v, struct leat_error *err)
{
    int rv = sync_pages(v, err);

    return rv == 0 ? write_slot(v, err) : rv;
}

static void make_durable_step(struct pstate_view *v)
{
    struct checkpointer *c = v->checkpointer;

    c->result = c->pages_synced ? write_slot(v, &c->why) : sync_pages(v, &c->why);
    c->finished = c->pages_synced || c->result != 0;
    c->pages_synced = true;
}

static void *checkpoint_thread(void *context)
{
    struct pstate_view *v = context;
    struct checkpointer *c = v->checkpointer;

    c->result = make_durable(v, &c->why);
    c->finished = true;
    return NULL;
}

static uint64_t page_bytes(const struct pstate_figures *figures)
{
    return figures->file_bytes / (figures->used_pages + figures->free_pages);
}

/* Pages that went out of use since the last checkpoint are not used again before the next, so of the file that much is
 * waste: at most about half of what is in use, but for small ones. */
static uint64_t bytes_between(const struct pstate_view *v)
{
    struct pstate_figures figures;

    if (v->config.checkpoint_bytes > 0)
        return v->config.checkpoint_bytes;
    pstate_view_figures(v, &figures);
    uint64_t share = figures.used_pages * page_bytes(&figures) / 4;
    return share < DUE_LEAST ? DUE_LEAST : share < DUE_MOST ? share : DUE_MOST;
}

/* One of which nothing is written: the next takes its slot, as the other one has the last whole checkpoint. */
static void undo(struct checkpointer *c)
{
    mdb_txn_abort(c->next_pin);
    c->next_pin = NULL;
    c->sequence--;
}

static int begin(struct pstate_view *v, struct leat_span state, struct leat_error *err)
{
    struct checkpointer *c = v->checkpointer;
    int rv;

    leat_assert(v->writer.txn == NULL && !c->running && c->next_pin == NULL);
    rv = pin(v, &c->next_pin, err);
    if (rv == 0)
        rv = crash_point("checkpoint.pinned");
    if (rv != 0)
        return rv;
    c->sequence++;
    c->next_turn = v->turn;
    rv = make_slot(v, state, err);
    if (rv != 0) {
        undo(c);
        return rv;
    }
    c->quiet = v->written < bytes_between(v) / 4;
    c->done_commits = v->commits;
    c->done_bytes = file_bytes(v);
    c->done_ns = now_ns();
    v->written = 0;
    return 0;
}

/* Of so many runs of free pages: each takes some 50 us, in which no turn runs. */
enum { HOLES_AT_ONCE = 1024, HOLES_AT_END = 32768 };

/* While much is written, free pages are soon in use again. */
static bool worth_holes(const struct pstate_view *v)
{
    struct pstate_figures figures;

    pstate_view_figures(v, &figures);
    return v->checkpointer->quiet && figures.free_pages * page_bytes(&figures) > bytes_between(v);
}

static int finish(struct pstate_view *v, uint32_t holes)
{
    struct checkpointer *c = v->checkpointer;

    if (c->pin != NULL)
        mdb_txn_abort(c->pin);
    c->pin = c->next_pin;
    c->next_pin = NULL;
    c->previous = c->turn;
    c->turn = c->next_turn;
    if (worth_holes(v))
        holes_make(v, &c->holes_from, holes);
    return crash_point("checkpoint.done");
}

int checkpoint_now(struct pstate_view *v, struct leat_span state, struct leat_error *err)
{
    int rv = begin(v, state, err);

    v->checkpointer->quiet = true; /* nothing is written behind it */
    if (rv == 0)
        rv = make_durable(v, err);
    return rv == 0 ? finish(v, HOLES_AT_END) : rv;
}

bool pstate_checkpoint_due(const struct pstate_view *v, int64_t monotonic_ns)
{
    const struct checkpointer *c = v->checkpointer;

    if (c == NULL || c->running || v->commits == c->done_commits)
        return false;
    uint64_t due = bytes_between(v);
    return v->written >= due || file_bytes(v) >= c->done_bytes + due || monotonic_ns - c->done_ns >= DUE_NS;
}

static int run(struct pstate_view *v, struct leat_error *err)
{
    struct checkpointer *c = v->checkpointer;

    c->finished = c->pages_synced = false;
    int number = v->config.step_checkpoints ? 0 : pthread_create(&c->thread, NULL, checkpoint_thread, v);
    if (number != 0)
        return base_errno(err, number, "start a checkpoint of", v->directory);
    c->running = true;
    return 0;
}

int pstate_checkpoint_start(struct pstate_view *v, struct leat_span state, struct leat_error *err)
{
    struct checkpointer *c = v->checkpointer;

    leat_assert(c != NULL);
    if (c->running)
        return leat_fail(err, LEAT_EBUSY, "a checkpoint of '%s' is under way", v->directory);
    int rv = begin(v, state, err);
    if (rv != 0)
        return rv;
    rv = run(v, err);
    if (rv != 0)
        undo(c);
    return rv;
}

/* There was no space for the last one: its slot is to be written again. */
static bool is_unwritten(const struct checkpointer *c)
{
    return !c->running && c->next_pin != NULL && c->result == LEAT_ENOSPACE;
}

static int join(struct pstate_view *v, struct leat_error *err)
{
    struct checkpointer *c = v->checkpointer;

    while (v->config.step_checkpoints && !c->finished)
        make_durable_step(v);
    if (!v->config.step_checkpoints)
        pthread_join(c->thread, NULL);
    c->running = false;
    if (c->result != 0) {
        if (err != NULL)
            *err = c->why;
        return c->result;
    }
    return finish(v, HOLES_AT_ONCE);
}

int pstate_checkpoint_poll(struct pstate_view *v, uint64_t *turn, uint64_t *previous, struct leat_error *err)
{
    struct checkpointer *c = v->checkpointer;
    int rv = 0;

    if (c->running && !c->finished && v->config.step_checkpoints)
        make_durable_step(v);
    if (c->running && !c->finished)
        return LEAT_EAGAIN;
    if (c->running)
        rv = join(v, err);
    else if (is_unwritten(c))
        return (rv = run(v, err)) == 0 ? LEAT_EAGAIN : rv;
    *turn = c->turn;
    *previous = c->previous;
    return rv;
}

int pstate_checkpoint_wait(struct pstate_view *v, struct leat_error *err)
{
    struct checkpointer *c = v->checkpointer;

    if (c == NULL || c->next_pin == NULL)
        return 0;
    if (c->running)
        return join(v, err);
    int rv = is_unwritten(c) ? make_durable(v, err) : leat_fail(err, c->result, "%s", c->why.text);
    return rv == 0 ? finish(v, HOLES_AT_ONCE) : rv;
}
