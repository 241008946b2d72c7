/* SPDX-License-Identifier: Apache-2.0 */
#include "pstates/view.h"

/* Unlinking: a collection is removed by removing its element and putting its reference on a queue in the
 * environment; its elements are deleted a bit at a time, inside later turns. Queue: [0xffff]['u'][task u16]
 * [reference u64] -> {pstate u8, depth u8}. Sweeping is not recorded: every replica does it for itself. */

enum { QUEUE_KEY = 13 };

static void queue_key(uint32_t task, uint64_t reference, struct key *k)
{
    k->size = 0;
    key_u8(k, KEY_SYSTEM);
    key_u8(k, KEY_SYSTEM);
    key_u8(k, 'u');
    key_u8(k, (uint8_t)(task >> 8));
    key_u8(k, (uint8_t)task);
    key_u64(k, reference);
}

static int queue_put(struct pstate_view *v, uint32_t task, uint64_t reference, uint8_t pstate, uint8_t depth,
                     struct leat_error *err)
{
    uint8_t what[2] = {pstate, depth};
    struct key k;

    queue_key(task, reference, &k);
    v->unswept++;
    return raw_put(v, k.bytes, k.size, span_of(what, 2), err);
}

int unlink_place(struct pstate_view *v, uint32_t pstate, const struct place *p, struct leat_error *err)
{
    uint8_t value[10];

    leat_assert(p->reference != 0 && p->depth > 0);
    store_u64(value, p->reference);
    value[8] = (uint8_t)pstate;
    value[9] = (uint8_t)p->depth;
    struct leat_span key = span_of(p->key.bytes, p->key.size), what = span_of(value, sizeof(value));
    op_record(v, OP_UNLINK, key, what);
    return unlink_apply(v, key, what, err);
}

int unlink_apply(struct pstate_view *v, struct leat_span key, struct leat_span value, struct leat_error *err)
{
    const uint8_t *what = value.base;

    if (value.size != 10 || what[8] >= v->config.schemas)
        return leat_fail(err, LEAT_ECORRUPT, "an unlink operation does not check out");
    int rv = raw_delete(v, key.base, key.size, err);
    return rv == 0 ? queue_put(v, key_task_of(key.base), load_u64(what), what[8], what[9], err) : rv;
}

/* The level of a collection that is so many levels down. */
static const struct pstate_level *level_at(const struct pstate_view *v, uint8_t pstate, uint8_t depth)
{
    const struct pstate_level *level = v->config.schema[pstate].top;

    for (; depth > 0 && level != NULL; depth--)
        level = level->below;
    return level;
}

/* Delete up to max elements under a reference; what is nested in them goes on the queue. done: none is left. */
static int sweep_one(struct pstate_view *v, MDB_cursor *c, uint32_t task, uint64_t reference, const uint8_t what[2],
                     uint32_t max, uint32_t *deleted, bool *done, struct leat_error *err)
{
    const struct pstate_level *level = level_at(v, what[0], what[1]);
    bool nested = level != NULL && level->below != NULL && level_is_collection(level->below);
    struct key prefix;
    int rv = 0, rc = 0;

    key_nested(&prefix, task, reference);
    while (*deleted < max) {
        MDB_val k = {prefix.size, prefix.bytes}, d;

        rc = mdb_cursor_get(c, &k, &d, MDB_SET_RANGE);
        if (rc != 0 || k.mv_size < prefix.size || memcmp(k.mv_data, prefix.bytes, prefix.size) != 0)
            break;
        uint64_t below = nested && d.mv_size >= 8 ? load_u64(d.mv_data) : 0;
        rc = mdb_cursor_del(c, 0);
        if (rc == 0 && below != 0)
            rv = queue_put(v, task, below, what[0], (uint8_t)(what[1] + 1), err);
        if (rc != 0 || rv != 0)
            break;
        (*deleted)++;
    }
    *done = *deleted < max;
    return rv != 0 ? rv : rc == 0 || rc == MDB_NOTFOUND ? 0 : view_error(err, rc, "sweep", v);
}

static int sweep_queue(struct pstate_view *v, MDB_cursor *c, uint32_t max, uint32_t *deleted, struct leat_error *err)
{
    static const uint8_t first[] = {KEY_SYSTEM, KEY_SYSTEM, 'u'};
    int rv = 0;

    while (rv == 0 && *deleted < max) {
        MDB_val k = {sizeof(first), (void *)(uintptr_t)first}, d;
        uint8_t queued[QUEUE_KEY], what[2];
        bool done;

        rv = pending_flush(v, err);
        if (rv != 0)
            return rv;
        int rc = mdb_cursor_get(c, &k, &d, MDB_SET_RANGE);

        if (rc == MDB_NOTFOUND || (rc == 0 && (k.mv_size != QUEUE_KEY || memcmp(k.mv_data, first, 3) != 0)))
            break;
        if (rc != 0)
            return view_error(err, rc, "sweep", v);
        memcpy(queued, k.mv_data, QUEUE_KEY);
        memcpy(what, d.mv_data, 2);
        rv = sweep_one(v, c, key_task_of(queued + 3), key_read_u64(queued + 5), what, max, deleted, &done, err);
        if (rv == 0 && done) {
            rv = raw_delete(v, queued, QUEUE_KEY, err);
            v->unswept -= v->unswept > 0;
        }
    }
    return rv;
}

int pstate_view_sweep(struct pstate_view *v, uint32_t max, uint32_t *deleted, struct leat_error *err)
{
    MDB_cursor *c;

    leat_assert(v->writer.txn != NULL);
    *deleted = 0;
    if (v->unswept == 0)
        return 0;
    int rc = mdb_cursor_open(v->writer.txn, v->dbi, &c);
    if (rc != 0)
        return view_error(err, rc, "sweep", v);
    int rv = sweep_queue(v, c, max, deleted, err);
    mdb_cursor_close(c);
    if (rv == 0 && *deleted < max)
        v->unswept = 0;
    else if (v->unswept == 0)
        v->unswept = 1;
    return rv;
}
