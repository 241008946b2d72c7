/* SPDX-License-Identifier: Apache-2.0 */
#include "pstates/view.h"

#include "base/file.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

/* Address space a view may grow into, and all views of a module. The map is made once and never moves: what is in it
 * stays at its address, whatever the file's size, so that others may point to large values of a snapshot and of later
 * ones that have not changed them. Sanitizers keep shadows of it, so it is smaller there. A process of 64 bits has 128
 * TiB, often of several modules. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PSTATE_MAP_SIZE (UINT64_C(16) << 30)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PSTATE_MAP_SIZE (UINT64_C(16) << 30)
#endif
#endif
#ifndef PSTATE_MAP_SIZE
#define PSTATE_MAP_SIZE (UINT64_C(1) << 40)
#endif
#define PSTATE_MAP_LEAST (UINT64_C(1) << 30)

/* OWN: readers of checkpoints, the last whole one and the one under way, and the last commit as pending.c looks at it.
 * Snapshots never take their slots: a checkpoint that finds none could not go on. */
enum { MAPS_WHOLE = 16, OWN = 3, REFERENCE_STEP = 1024 };

static const uint8_t key_turn[] = {KEY_SYSTEM, KEY_SYSTEM, 't'};
static const uint8_t key_reference[] = {KEY_SYSTEM, KEY_SYSTEM, 'r'};

int view_error(struct leat_error *err, int rc, const char *doing, const struct pstate_view *v)
{
    switch (rc) {
    case MDB_MAP_FULL:
        return leat_fail(err, LEAT_EFULL,
                         "%s '%s': the view is at its largest size (%llu MiB); spread the module over more groups "
                         "(leat rebuild), or let the process have more address space (ulimit -v)",
                         doing, v->directory, (unsigned long long)v->config.map_size >> 20);
    case MDB_READERS_FULL:
        return leat_fail(err, LEAT_EFULL, "%s '%s': all reader slots are in use; close views and queries", doing,
                         v->directory);
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
        return leat_fail(err, LEAT_ECORRUPT,
                         "%s '%s': %s; remove the view's directory and it is built again from the journal, if that is "
                         "whole",
                         doing, v->directory, mdb_strerror(rc));
    case MDB_VERSION_MISMATCH:
        return leat_fail(err, LEAT_EFORMAT, "%s '%s': the file is of another LMDB format", doing, v->directory);
    case MDB_BAD_VALSIZE:
        return leat_fail(err, LEAT_ELIMIT, "%s '%s': a key or value is too large", doing, v->directory);
    default:
        /* LMDB takes a write that came short, as the first one on a full disk does, for a failed one. */
        if (rc == EIO && file_disk_full(v->directory))
            rc = ENOSPC;
        return rc > 0 ? base_errno(err, rc, doing, v->directory)
                      : leat_fail(err, LEAT_EIO, "%s '%s': %s", doing, v->directory, mdb_strerror(rc));
    }
}

/* ---- Keys ---- */

static int lmdb_get(const struct pstate_reader *r, struct leat_span key, struct leat_span *out, struct leat_error *err)
{
    MDB_val k = {key.size, (void *)(uintptr_t)key.base}, v;
    int rc = mdb_get(r->txn, r->view->dbi, &k, &v);

    *out = rc == 0 ? span_of(v.mv_data, v.mv_size) : span_of(NULL, 0);
    return rc == 0 ? 0 : rc == MDB_NOTFOUND ? LEAT_ENOTFOUND : view_error(err, rc, "read", r->view);
}

int raw_get(const struct pstate_reader *r, const void *key, size_t size, struct leat_span *out, struct leat_error *err)
{
    struct leat_span name = span_of(key, size);

    if (r->writes && pending_find(&r->view->pending, name, out))
        return 0;
    int rv = lmdb_get(r, name, out, err);
    if (rv != 0 || !r->writes || pending_keep(&r->view->pending, out))
        return rv;
    rv = pending_flush(r->view, err);
    return rv == 0 ? lmdb_get(r, name, out, err) : rv;
}

int raw_put(struct pstate_view *v, const void *key, size_t size, struct leat_span value, struct leat_error *err)
{
    MDB_val k = {size, (void *)(uintptr_t)key}, d = {value.size, (void *)(uintptr_t)value.base};

    v->written += value.size + 512;
    v->writer.walk.header.size = 0;
    if (pending_add(&v->pending, span_of(key, size), value))
        return 0;
    int rv = pending_flush(v, err);
    if (rv != 0 || pending_add(&v->pending, span_of(key, size), value))
        return rv;
    int rc = mdb_put(v->writer.txn, v->dbi, &k, &d, 0);
    return rc == 0 ? 0 : view_error(err, rc, "write", v);
}

int raw_delete(struct pstate_view *v, const void *key, size_t size, struct leat_error *err)
{
    MDB_val k = {size, (void *)(uintptr_t)key};
    int rv = pending_flush(v, err);

    if (rv != 0)
        return rv;
    int rc = mdb_del(v->writer.txn, v->dbi, &k, NULL);
    v->written += 512;
    v->writer.walk.header.size = 0;
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : view_error(err, rc, "delete", v);
}

void op_record_parts(struct pstate_view *v, enum view_op op, struct leat_span key, struct leat_span head,
                     struct leat_span rest)
{
    if (v->ops == NULL)
        return;
    buffer_u8(v->ops, (uint8_t)op);
    buffer_span(v->ops, key);
    if (op == OP_DELETE)
        return;
    buffer_varint(v->ops, head.size + rest.size);
    buffer_put(v->ops, head.base, head.size);
    buffer_put(v->ops, rest.base, rest.size);
}

void op_record(struct pstate_view *v, enum view_op op, struct leat_span key, struct leat_span value)
{
    op_record_parts(v, op, key, value, span_of(NULL, 0));
}

/* ---- Opening ---- */

/* LMDB writes to the table of readers through a map: where the disk has no block for it, that kills the process. */
static int reserve_readers(const struct pstate_view *v, uint32_t readers, struct leat_error *err)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/lock.mdb", v->directory);
    return file_reserve(path, 4096 + 64 * (uint64_t)readers, err);
}

static uint32_t snapshots_most(const struct pstate_view *v)
{
    return v->config.readers > 0 ? v->config.readers : PSTATE_READERS;
}

static int open_env(struct pstate_view *v, uint32_t readers)
{
    int rc = mdb_env_create(&v->env);

    if (rc == 0)
        rc = mdb_env_set_mapsize(v->env, v->config.map_size);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(v->env, readers);
    /* NOMEMINIT would let old memory into the file; NORDAHEAD would slow cold scans: neither is set. */
    return rc == 0 ? mdb_env_open(v->env, v->directory, MDB_NOSYNC | MDB_NOTLS, 0600) : rc;
}

/* An address space that is nearly full gives a smaller map, and at the next start maybe a larger one again. */
static int set_up_env(struct pstate_view *v, struct leat_error *err)
{
    uint64_t least = v->config.map_size > 0 ? v->config.map_size : PSTATE_MAP_LEAST;
    uint32_t readers = snapshots_most(v) + OWN;
    int rv = reserve_readers(v, readers, err), rc;

    if (rv != 0)
        return rv;
    if (v->config.map_size == 0)
        v->config.map_size = v->config.views > MAPS_WHOLE ? PSTATE_MAP_SIZE / (v->config.views / MAPS_WHOLE)
                                                          : PSTATE_MAP_SIZE;
    /* Valgrind answers EINVAL where a kernel says ENOMEM. */
    while (((rc = open_env(v, readers)) == ENOMEM || rc == EINVAL) && v->config.map_size / 2 >= least) {
        mdb_env_close(v->env);
        v->env = NULL;
        v->config.map_size /= 2;
    }
    return rc == 0 ? 0 : view_error(err, rc, "open", v);
}

/* The database handle, and whether the view stands at the turn its checkpoint says. */
static int read_state(struct pstate_view *v, uint64_t turn, struct leat_error *err)
{
    struct pstate_reader r = {.view = v};
    struct leat_span value;
    int dead, rc = mdb_reader_check(v->env, &dead);

    if (rc == 0)
        rc = mdb_txn_begin(v->env, NULL, MDB_RDONLY, &r.txn);
    if (rc != 0)
        return view_error(err, rc, "open", v);
    rc = mdb_dbi_open(r.txn, NULL, 0, &v->dbi);
    if (rc == 0 && raw_get(&r, key_turn, sizeof(key_turn), &value, err) == 0 && value.size == 8)
        v->turn = load_u64(value.base);
    if (rc == 0 && raw_get(&r, key_reference, sizeof(key_reference), &value, err) == 0 && value.size == 8)
        v->reference_bound = load_u64(value.base);
    v->next_reference = v->reference_bound > 0 ? v->reference_bound : 1;
    v->unswept = v->turn > 0; /* the first sweep finds out */
    mdb_txn_abort(r.txn);
    if (rc != 0)
        return view_error(err, rc, "open", v);
    if (v->turn != turn)
        return leat_fail(err, LEAT_ECORRUPT,
                         "'%s' stands at turn %llu, its checkpoint says %llu; remove this directory to build it again "
                         "from the journal",
                         v->directory, (unsigned long long)v->turn, (unsigned long long)turn);
    return 0;
}

static int remove_file(const char *directory, const char *name, struct leat_error *err)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return file_remove_tree(path, err);
}

static bool is_durable(const struct pstate_config *config)
{
    return config->durability == LEAT_FULL && !config->volatile_view;
}

int pstate_view_open(const struct pstate_config *config, struct pstate_view **out, uint64_t *turn,
                     struct buffer *state_out, struct leat_error *err)
{
    struct pstate_view *v = base_alloc(sizeof(*v));
    uint64_t sequence = 0;
    int rv = file_make_directory(config->directory, is_durable(config), err);

    v->config = *config;
    v->directory = base_strdup(config->directory);
    v->writer = (struct pstate_reader){.view = v, .writes = true};
    buffer_init(&v->scratch, LIMIT_VALUE + 1024);
    pending_init(&v->pending);
    *turn = 0;
    if (rv == 0 && !config->volatile_view)
        rv = checkpoint_restore(v->directory, is_durable(config), turn, state_out, &sequence, err);
    if (rv == 0 && *turn == 0 && sequence == 0) {
        rv = remove_file(v->directory, "data.mdb", err);
        if (rv == 0)
            rv = remove_file(v->directory, "lock.mdb", err);
    }
    if (rv == 0)
        rv = set_up_env(v, err);
    /* The names: of the data before a checkpoint speaks of it, of a checkpoint that a killed process left before its
     * pages are needed no more. */
    if (rv == 0 && is_durable(config))
        rv = file_sync_directory(v->directory, err);
    if (rv == 0)
        rv = read_state(v, *turn, err);
    if (rv == 0 && !config->volatile_view)
        rv = checkpointer_open(v, sequence, *turn, err);
    if (rv == 0)
        rv = crash_point("restore.opened");
    if (rv != 0) {
        pstate_view_close(v);
        return rv;
    }
    *out = v;
    return 0;
}

void pstate_view_close(struct pstate_view *v)
{
    if (v == NULL)
        return;
    pstate_view_abort(v);
    checkpointer_close(v);
    scans_close(&v->writer, true);
    pending_fini(&v->pending);
    if (v->env != NULL)
        mdb_env_close(v->env);
    buffer_fini(&v->scratch);
    free(v->directory);
    free(v);
}

int pstate_view_close_clean(struct pstate_view *v, struct leat_span state, struct leat_error *err)
{
    int rv = v->config.volatile_view ? 0 : pstate_checkpoint_wait(v, err);

    if (rv == 0 && !v->config.volatile_view)
        rv = checkpoint_now(v, state, err);
    pstate_view_close(v);
    return rv;
}

/* ---- Turns ---- */

int pstate_view_begin(struct pstate_view *v, struct buffer *ops, struct leat_error *err)
{
    leat_assert(v->writer.txn == NULL);
    int rc = mdb_txn_begin(v->env, NULL, 0, &v->writer.txn);
    if (rc != 0)
        return view_error(err, rc, "begin a turn in", v);
    v->ops = ops;
    v->begun_reference = v->next_reference;
    v->begun_bound = v->reference_bound;
    v->begun_unswept = v->unswept;
    v->writer.turn = v->turn;
    return 0;
}

int pstate_view_commit(struct pstate_view *v, uint64_t turn, struct leat_error *err)
{
    uint8_t bytes[8];

    leat_assert(v->writer.txn != NULL && turn >= v->turn);
    store_u64(bytes, turn);
    int rv = crash_point("commit.before"), rc = 0;
    if (rv == 0)
        rv = raw_put(v, key_turn, sizeof(key_turn), span_of(bytes, 8), err);
    if (rv == 0)
        rv = pending_flush(v, err);
    pending_forget(&v->pending);
    scans_close(&v->writer, true);
    if (rv == 0)
        rc = mdb_txn_commit(v->writer.txn);
    else
        mdb_txn_abort(v->writer.txn);
    v->writer.txn = NULL;
    v->ops = NULL;
    if (rv != 0 || rc != 0) {
        v->unswept = v->begun_unswept;
        return rv != 0 ? rv : view_error(err, rc, "commit a turn in", v);
    }
    v->turn = turn;
    v->commits++;
    return crash_point("commit.after");
}

int pstate_view_flush(struct pstate_view *v, struct leat_error *err)
{
    leat_assert(v->writer.txn != NULL);
    return pending_flush(v, err);
}

void pstate_view_abort(struct pstate_view *v)
{
    if (v->writer.txn == NULL)
        return;
    pending_forget(&v->pending);
    scans_close(&v->writer, true);
    mdb_txn_abort(v->writer.txn);
    v->writer.txn = NULL;
    v->ops = NULL;
    /* What the turn gave out is gone with it, the bound it may have kept too. */
    v->next_reference = v->begun_reference;
    v->reference_bound = v->begun_bound;
    v->unswept = v->begun_unswept;
}

/* References are given out from a block whose end is kept with the operations, so that no crash gives one twice. */

int view_reference(struct pstate_view *v, uint64_t *out, struct leat_error *err)
{
    uint8_t bytes[8];
    int rv = 0;

    if (v->next_reference >= v->reference_bound) {
        v->reference_bound = v->next_reference + REFERENCE_STEP;
        store_u64(bytes, v->reference_bound);
        rv = raw_put(v, key_reference, sizeof(key_reference), span_of(bytes, 8), err);
        op_record(v, OP_PUT, span_of(key_reference, sizeof(key_reference)), span_of(bytes, 8));
    }
    *out = v->next_reference++;
    return rv;
}

/* Of the view's own keys, operations write only the bound of references. */
static bool is_bound(enum view_op op, struct leat_span key, struct leat_span value)
{
    return op == OP_PUT && span_equal(key, span_of(key_reference, sizeof(key_reference))) && value.size == 8 &&
           load_u64(value.base) <= INT64_MAX;
}

static bool is_element(struct leat_span key)
{
    const uint8_t *bytes = key.base;

    if (key.size < KEY_PREFIX || key.size > KEY_MAX || key_task_of(bytes) >= LIMIT_TASKS)
        return false;
    return bytes[2] < LIMIT_PSTATES || (bytes[2] == KEY_REFERENCE && key.size >= KEY_PREFIX + 8);
}

static int apply_one(struct pstate_view *v, struct reader *in, struct leat_error *err)
{
    enum view_op op = (enum view_op)reader_u8(in);
    struct leat_span key = reader_span(in), value = op != OP_DELETE ? reader_span(in) : span_of(NULL, 0);

    bool bound = in->error == 0 && is_bound(op, key, value);
    if (in->error != 0 || (!bound && !is_element(key)))
        return leat_fail(err, LEAT_ECORRUPT, "an operation does not check out");
    switch (op) {
    case OP_PUT:
        if (bound)
            v->reference_bound = v->next_reference = load_u64(value.base);
        return raw_put(v, key.base, key.size, value, err);
    case OP_DELETE:
        return raw_delete(v, key.base, key.size, err);
    case OP_UNLINK:
        return unlink_apply(v, key, value, err);
    case OP_ROW_APPEND:
    case OP_ROW_REPLACE:
    case OP_ROW_REMOVE:
        return rows_apply(v, op, key, value, err);
    }
    return leat_fail(err, LEAT_ECORRUPT, "operation of unknown kind %d", (int)op);
}

int pstate_view_apply(struct pstate_view *v, struct leat_span ops, struct leat_error *err)
{
    struct reader in = reader_of(ops);
    int rv = 0;

    leat_assert(v->writer.txn != NULL && v->ops == NULL);
    while (rv == 0 && reader_left(&in) > 0)
        rv = apply_one(v, &in, err);
    return rv;
}

/* ---- Readers ---- */

struct pstate_reader *pstate_view_turn(struct pstate_view *v)
{
    leat_assert(v->writer.txn != NULL);
    return &v->writer;
}

static int read_turn(struct pstate_reader *r, struct leat_error *err)
{
    struct leat_span value;
    int rv = raw_get(r, key_turn, sizeof(key_turn), &value, err);

    r->turn = rv == 0 ? load_u64(value.base) : 0;
    return rv == LEAT_ENOTFOUND ? 0 : rv;
}

int pstate_snapshot_open(struct pstate_view *v, struct pstate_reader **out, struct leat_error *err)
{
    struct pstate_reader *r = base_alloc(sizeof(*r));
    int rc = MDB_READERS_FULL;

    r->view = v;
    if (atomic_fetch_add(&v->snapshots, 1) < snapshots_most(v))
        rc = mdb_txn_begin(v->env, NULL, MDB_RDONLY, &r->txn);
    if (rc != 0) {
        atomic_fetch_sub(&v->snapshots, 1);
        free(r);
        return view_error(err, rc, "read", v);
    }
    int rv = read_turn(r, err);
    if (rv != 0) {
        pstate_snapshot_close(r);
        return rv;
    }
    *out = r;
    return 0;
}

void pstate_snapshot_close(struct pstate_reader *r)
{
    if (r == NULL)
        return;
    scans_close(r, true);
    mdb_txn_abort(r->txn);
    atomic_fetch_sub(&r->view->snapshots, 1);
    free(r);
}

void pstate_snapshot_rest(struct pstate_reader *r)
{
    scans_close(r, false);
}

void pstate_snapshot_pause(struct pstate_reader *r)
{
    if (r->paused)
        return;
    scans_close(r, false);
    mdb_txn_reset(r->txn);
    r->paused = true;
}

int pstate_snapshot_renew(struct pstate_reader *r, struct leat_error *err)
{
    pstate_snapshot_pause(r);
    int rc = mdb_txn_renew(r->txn);
    if (rc != 0)
        return view_error(err, rc, "read", r->view);
    r->paused = false;
    return read_turn(r, err);
}

uint64_t pstate_reader_turn(const struct pstate_reader *r)
{
    return r->turn;
}

void pstate_view_figures(const struct pstate_view *v, struct pstate_figures *out)
{
    MDB_envinfo info;
    MDB_stat stat;

    mdb_env_info(v->env, &info);
    mdb_env_stat(v->env, &stat);
    memset(out, 0, sizeof(*out));
    out->file_bytes = ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
    out->used_pages = stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
    out->free_pages = info.me_last_pgno + 1 > out->used_pages ? info.me_last_pgno + 1 - out->used_pages : 0;
    out->commits = v->commits;
    out->unswept = v->unswept;
}
