/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/checkup.h"

#include "base/file.h"
#include "engine/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

static bool all_zero(const uint8_t *bytes, size_t size)
{
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

static int copy_bytes(int from, int to, const char *path, struct leat_error *err)
{
    uint8_t *piece = base_alloc(PIECE);
    uint64_t at = 0;
    ssize_t size;
    int rv = 0;

    while (rv == 0 && (size = pread(from, piece, PIECE, (off_t)at)) > 0) {
        if (!all_zero(piece, (size_t)size) && file_pwrite(to, piece, (size_t)size, at) != 0)
            rv = base_errno(err, errno, "write", path);
        at += (uint64_t)size;
    }
    if (rv == 0 && (size < 0 || ftruncate(to, (off_t)at) != 0))
        rv = base_errno(err, errno, "copy", path);
    free(piece);
    return rv;
}

/* A file that is not there is not copied. */
static int copy_file(const char *directory, const char *scratch, const char *name, struct leat_error *err)
{
    char source[4096], target[4096];

    snprintf(source, sizeof(source), "%s/%s", directory, name);
    snprintf(target, sizeof(target), "%s/%s", scratch, name);
    int from = open(source, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return errno == ENOENT ? 0 : base_errno(err, errno, "open", source);
    int to = open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rv = to < 0 ? base_errno(err, errno, "make", target) : copy_bytes(from, to, target, err);
    if (to >= 0)
        close(to);
    close(from);
    return rv;
}

/* Apply the journal behind the turn at which a view stands. */
static int replay(struct log *journal, struct pstate_view *v, uint64_t turn, struct leat_error *err)
{
    struct arena *a = arena_open(LIMIT_TURN_MEMORY);
    struct log_slice slice;
    uint64_t at = 0, next = 0;
    int rv = 0;

    if (journal->partitions > 0)
        log_bounds(journal, 0, &at, &next);
    while (rv == 0 && at < next && (rv = log_read(journal, 0, at, 256, 16 << 20, &slice, err)) == 0) {
        rv = pstate_view_begin(v, NULL, err);
        for (uint32_t i = 0; i < slice.count && rv == 0; i++) {
            struct batch b;

            arena_reset(a);
            rv = batch_decode(slice.entry[i].body, a, &b, err);
            if (rv == 0 && b.turn == turn + 1) {
                rv = pstate_view_apply(v, b.ops, err);
                turn = b.turn;
            } else if (rv == 0 && b.turn > turn) {
                rv = leat_fail(err, LEAT_ECORRUPT, "the journal goes on at turn %llu, but the view stands at %llu",
                               (unsigned long long)b.turn, (unsigned long long)turn);
            }
        }
        rv = rv == 0 ? pstate_view_commit(v, turn, err) : rv;
        at = slice.next;
        log_release(journal, &slice);
    }
    arena_close(a);
    return rv;
}

static int open_copy(const struct layout *l, const char *directory, const char *scratch, struct log *journal,
                     struct pstate_view **out, struct leat_error *err)
{
    struct pstate_config config = {
        .directory = scratch, .schema = l->pstate, .schemas = l->pstates, .durability = LEAT_PROCESS};
    struct buffer state;
    uint64_t turn;
    int rv = file_make_directory(scratch, false, err);

    buffer_init(&state, LIMIT_BATCH);
    if (rv == 0)
        rv = copy_file(directory, scratch, "data.mdb", err);
    if (rv == 0)
        rv = copy_file(directory, scratch, "checkpoint.0", err);
    if (rv == 0)
        rv = copy_file(directory, scratch, "checkpoint.1", err);
    if (rv == 0)
        rv = pstate_view_open(&config, out, &turn, &state, err);
    if (rv == 0 && (rv = replay(journal, *out, turn, err)) != 0)
        pstate_view_close(*out);
    buffer_fini(&state);
    return rv;
}

/* The last turn of the journal. */
static int last_turn(struct log *journal, uint64_t *out, struct leat_error *err)
{
    struct log_slice slice;
    struct batch b;
    uint64_t first = 0, next = 0;

    *out = 0;
    if (journal->partitions > 0)
        log_bounds(journal, 0, &first, &next);
    if (first == next)
        return 0;
    int rv = log_read(journal, 0, next - 1, 1, 1, &slice, err);
    if (rv != 0)
        return rv;
    struct arena *a = arena_open(LIMIT_TURN_MEMORY);
    rv = batch_decode(slice.entry[0].body, a, &b, err);
    *out = b.turn;
    arena_close(a);
    log_release(journal, &slice);
    return rv;
}

int checkup_view_open(const struct layout *l, uint32_t group, const char *scratch, struct pstate_view **out,
                      struct leat_error *err)
{
    struct pstate_slot slot[2];
    struct buffer state;
    struct log *journal;
    char path[4096];
    uint64_t last;
    int rv = layout_log(l, group, "journal", true, &journal, err);

    if (rv != 0)
        return rv;
    layout_path(l, group, "view", path, sizeof(path));
    buffer_init(&state, LIMIT_BATCH);
    pstate_slots(path, slot, &state);
    buffer_fini(&state);
    const struct pstate_slot *newest = slot[0].newest ? &slot[0] : slot[1].newest ? &slot[1] : NULL;
    struct pstate_config config = {.directory = path, .schema = l->pstate, .schemas = l->pstates};
    rv = last_turn(journal, &last, err);
    if (rv == 0 && newest != NULL && newest->clean && newest->turn >= last)
        rv = pstate_view_open_read(&config, out, err);
    else if (rv == 0)
        rv = open_copy(l, path, scratch, journal, out, err);
    log_close(journal);
    return rv;
}

struct view_finding {
    struct checkup *checkup;
    const char *path;
};

static void found(void *context, const char *where, const char *what)
{
    struct view_finding *f = context;
    char path[4608];

    snprintf(path, sizeof(path), "%s: %s", f->path, where);
    f->checkup
        ->found(f->checkup->context, CHECKUP_DAMAGE, path, what,
                "make the views again (leat rebuild), or put the module's directory back from a backup (leat restore)");
}

void checkup_view(const struct layout *l, uint32_t group, struct checkup *c)
{
    struct leat_error err = {0};
    struct pstate_reader *r = NULL;
    struct pstate_view *v = NULL;
    char path[4096], more[64];

    layout_path(l, group, "view", path, sizeof(path));
    struct view_finding f = {c, path};
    struct pstate_check check = {.tasks = l->tasks, .group = group, .groups = l->groups, .found = found, .context = &f};
    int rv = checkup_view_open(l, group, c->scratch, &v, &err);
    if (rv == 0)
        rv = pstate_snapshot_open(v, &r, &err);
    if (rv == 0)
        rv = pstate_view_check(r, &check, &err);
    if (rv != 0 && leat_code_class(rv) == LEAT_CLASS_FATAL && rv != LEAT_EIO)
        found(&f, "the file", err.text);
    else if (rv != 0)
        c->found(c->context, CHECKUP_WARNING, path, err.text,
                 "not checked: give --scratch a directory with space for a copy");
    snprintf(more, sizeof(more), "%llu more of the kind", (unsigned long long)check.findings - 20);
    if (check.findings > 20)
        found(&f, "further on", more);
    c->elements += check.elements;
    pstate_snapshot_close(r);
    pstate_view_close(v);
}
