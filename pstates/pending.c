/* SPDX-License-Identifier: Apache-2.0 */
#include "pstates/view.h"

#include <xxhash.h>

/* Puts wait until the turn ends, or something is scanned or deleted, or room is short, and go to LMDB in the order of
 * their keys: neighbours then find their page in the processor's cache, or under the cursor. Turns of 1,000 puts of
 * random keys came out 9 % faster.
 *
 * What was read stays as it is until the next write of the turn has ended: that may be given it, and may put several
 * things. Before it has taken what it is given at most one flush comes, so two buffers in turn are enough. Copies of
 * what LMDB had are written over when something is read there behind a put: a write reads nothing there behind its
 * first put, as what it made is new. And what was read in LMDB itself was read while nothing waited: then a write has
 * room. */

enum {
    PUTS_MOST = 4096,
    PLACES = 2 * PUTS_MOST,
    BYTES_MOST = 262144,
    SMALL = 1024, /* bytes of a value that is copied when it is read */
    KEPT_MOST = 65536,
    SORTED_LEAST = 16,
    RUN_LEAST = 16,
    HEAD = 8,
    PAGE_MOST = 65536 /* more than LMDB's largest page */
};

struct pending_put {
    uint64_t order; /* the eight bytes of the key behind what all keys have in common */
    uint32_t at;    /* in the bytes: {size of the key, size of the value, key, value} */
    uint32_t place; /* of its key */
};

void pending_init(struct pending *p)
{
    buffer_init(&p->bytes, BYTES_MOST);
    buffer_init(&p->flushed, BYTES_MOST);
    buffer_init(&p->aside, PAGE_MOST);
    buffer_init(&p->kept, KEPT_MOST);
}

void pending_fini(struct pending *p)
{
    buffer_fini(&p->bytes);
    buffer_fini(&p->flushed);
    buffer_fini(&p->aside);
    buffer_fini(&p->kept);
    free(p->put);
    free(p->other);
    free(p->place);
    mdb_txn_abort(p->commit);
}

void pending_forget(struct pending *p)
{
    struct buffer bytes = p->bytes;

    buffer_clear(&p->aside);
    if (p->puts == 0)
        return;
    for (uint32_t i = 0; i < p->puts; i++)
        p->place[p->put[i].place] = 0;
    p->puts = 0;
    p->bytes = p->flushed;
    p->flushed = bytes;
    buffer_clear(&p->bytes);
}

/* ---- Entries: a put that waits, or what steps aside ---- */

static void entry_add(struct buffer *b, struct leat_span key, struct leat_span value)
{
    buffer_u32(b, (uint32_t)key.size);
    buffer_u32(b, (uint32_t)value.size);
    buffer_put(b, key.base, key.size);
    buffer_put(b, value.base, value.size);
    leat_assert(b->error == 0);
}

static struct leat_span entry_key(const struct buffer *b, size_t at)
{
    return span_of(b->base + at + HEAD, load_u32(b->base + at));
}

static struct leat_span entry_value(const struct buffer *b, size_t at)
{
    return span_of(b->base + at + HEAD + load_u32(b->base + at), load_u32(b->base + at + 4));
}

static struct leat_span key_of(const struct pending *p, const struct pending_put *put)
{
    return entry_key(&p->bytes, put->at);
}

/* ---- Sorting ---- */

static size_t common(struct leat_span a, struct leat_span b, size_t most)
{
    const uint8_t *x = a.base, *y = b.base;
    size_t n = 0;

    while (n < most && n < a.size && n < b.size && x[n] == y[n])
        n++;
    return n;
}

/* Returns the bits in which the orders differ. */
static uint64_t give_orders(struct pending *p)
{
    struct leat_span first = key_of(p, &p->put[0]);
    size_t skip = first.size;
    uint64_t differ = 0;

    for (uint32_t i = 1; i < p->puts; i++)
        skip = common(first, key_of(p, &p->put[i]), skip);
    for (uint32_t i = 0; i < p->puts; i++) {
        struct leat_span key = key_of(p, &p->put[i]);
        size_t left = key.size - skip;
        uint8_t bytes[8] = {0};

        memcpy(bytes, (const uint8_t *)key.base + skip, left < 8 ? left : 8);
        p->put[i].order = key_read_u64(bytes);
        differ |= p->put[i].order ^ p->put[0].order;
    }
    return differ;
}

static void sort_by_byte(struct pending *p, unsigned shift)
{
    uint32_t place[257] = {0};

    for (uint32_t i = 0; i < p->puts; i++)
        place[(p->put[i].order >> shift & 255) + 1]++;
    for (uint32_t i = 0; i < 256; i++)
        place[i + 1] += place[i];
    for (uint32_t i = 0; i < p->puts; i++)
        p->other[place[p->put[i].order >> shift & 255]++] = p->put[i];
    struct pending_put *swap = p->put;
    p->put = p->other;
    p->other = swap;
}

/* Puts of one key stay in their order. Keys that differ later than in eight bytes do too, which costs time only. */
static void sort(struct pending *p)
{
    uint64_t differ = give_orders(p);

    for (unsigned shift = 0; shift < 64; shift += 8)
        if ((differ >> shift & 255) != 0)
            sort_by_byte(p, shift);
}

/* ---- Putting ---- */

static MDB_val val_of(struct leat_span bytes)
{
    return (MDB_val){bytes.size, (void *)(uintptr_t)bytes.base};
}

static bool is_before(MDB_cursor *c, struct leat_span a, MDB_val b)
{
    MDB_val k = val_of(a);

    return mdb_cmp(mdb_cursor_txn(c), mdb_cursor_dbi(c), &k, &b) < 0;
}

/* Keys that grow do so ahead of others, a task's ids of what else the task has. LMDB halves a page that is full, but
 * for keys behind all on it, and would leave half of each page empty there. So what lies on the page behind many puts
 * steps aside until they are in: `aside` has it as pending puts are kept, the first of its keys at the beginning. After
 * an error it is lost with the turn.
 *
 * What lies on one page is seen in the last commit, by addresses in the map: pages that the turn has written lie at
 * other addresses in each run. So what the turn itself put behind stays, and in the first turn everything. */

static int bring_back(MDB_cursor *c, struct buffer *aside)
{
    int rc = 0;

    for (size_t at = 0; at < aside->size && rc == 0;) {
        MDB_val k = val_of(entry_key(aside, at)), d = val_of(entry_value(aside, at));

        rc = mdb_cursor_put(c, &k, &d, 0);
        at += HEAD + k.mv_size + d.mv_size;
    }
    buffer_clear(aside);
    return rc;
}

/* A value that has pages of its own stays where it is, as others point to it. */
static bool lies_by_its_key(const MDB_val *k, const MDB_val *d)
{
    return (const uint8_t *)k->mv_data + k->mv_size == (const uint8_t *)d->mv_data;
}

static bool same_page(const MDB_val *a, const MDB_val *b, size_t page)
{
    return (uintptr_t)a->mv_data / page == (uintptr_t)b->mv_data / page;
}

/* How many keys of the last commit lie on one page from `first` on; 0 if `first` begins the page, or if one has a value
 * with pages of its own. The cursor is moved. */
static uint32_t behind_on_page(MDB_cursor *commit, const MDB_val *first)
{
    MDB_val k = *first, d;
    MDB_stat stat;
    uint32_t count = 0;

    if (mdb_stat(mdb_cursor_txn(commit), mdb_cursor_dbi(commit), &stat) != 0 ||
        mdb_cursor_get(commit, &k, &d, MDB_PREV) != 0 || !same_page(&k, first, stat.ms_psize))
        return 0;
    while (mdb_cursor_get(commit, &k, &d, MDB_NEXT) == 0 && same_page(&k, first, stat.ms_psize)) {
        if (!lies_by_its_key(&k, &d))
            return 0;
        count++;
    }
    return count;
}

static int move_aside(MDB_cursor *c, MDB_val k, struct buffer *aside)
{
    MDB_val d;
    int rc = mdb_cursor_get(c, &k, &d, MDB_SET_KEY);

    /* The turn may have deleted it, or made it larger. */
    if (rc != 0 || !lies_by_its_key(&k, &d) || aside->size + HEAD + k.mv_size + d.mv_size > PAGE_MOST)
        return rc == MDB_NOTFOUND ? 0 : rc;
    entry_add(aside, span_of(k.mv_data, k.mv_size), span_of(d.mv_data, d.mv_size));
    return mdb_cursor_del(c, 0);
}

/* If the last commit has nothing between the first and the last put of a run, what lies behind them on its page moves
 * aside. (Keys that differ late are not in order: puts between them may still belong behind.) */
static int step_aside(MDB_cursor *c, MDB_cursor *commit, struct leat_span first, struct leat_span last,
                      struct buffer *aside)
{
    MDB_val k = val_of(first), d;
    int rc = mdb_cursor_get(commit, &k, &d, MDB_SET_RANGE);

    if (rc != 0 || !is_before(commit, first, k) || !is_before(commit, last, k))
        return rc == MDB_NOTFOUND ? 0 : rc;
    uint32_t count = behind_on_page(commit, &k);
    if (count > 0)
        rc = mdb_cursor_get(commit, &k, &d, MDB_SET_KEY);
    while (rc == 0 && count > 0) {
        rc = move_aside(c, k, aside);
        if (rc == 0 && --count > 0)
            rc = mdb_cursor_get(commit, &k, &d, MDB_NEXT);
    }
    return rc;
}

/* NULL: there is none; then nothing steps aside. */
static MDB_cursor *commit_open(struct pstate_view *v)
{
    struct pending *p = &v->pending;
    MDB_cursor *c = NULL;
    int rc = p->commit == NULL ? mdb_txn_begin(v->env, NULL, MDB_RDONLY, &p->commit) : mdb_txn_renew(p->commit);

    if (rc == 0 && mdb_cursor_open(p->commit, v->dbi, &c) != 0)
        mdb_txn_reset(p->commit);
    return c;
}

static void commit_close(struct pending *p, MDB_cursor *c)
{
    if (c == NULL)
        return;
    mdb_cursor_close(c);
    mdb_txn_reset(p->commit);
}

static int put_each(struct pending *p, MDB_cursor *c, MDB_cursor *commit)
{
    struct buffer *aside = &p->aside;
    int rc = 0;

    for (uint32_t i = 0; i < p->puts && rc == 0; i++) {
        struct leat_span key = key_of(p, &p->put[i]);
        MDB_val k = val_of(key), d = val_of(entry_value(&p->bytes, p->put[i].at));

        if (aside->size > 0 && !is_before(c, key, val_of(entry_key(aside, 0))))
            rc = bring_back(c, aside);
        if (rc == 0 && aside->size == 0 && commit != NULL && i % RUN_LEAST == 0 && i + RUN_LEAST <= p->puts)
            rc = step_aside(c, commit, key, key_of(p, &p->put[i + RUN_LEAST - 1]), aside);
        if (rc == 0)
            rc = mdb_cursor_put(c, &k, &d, 0);
    }
    return rc == 0 ? bring_back(c, aside) : rc;
}

static int put_all(struct pstate_view *v)
{
    struct pending *p = &v->pending;
    MDB_cursor *c;
    int rc = mdb_cursor_open(v->writer.txn, v->dbi, &c);

    if (rc != 0)
        return rc;
    /* A scan would not find its place again if something stepped aside. */
    MDB_cursor *commit = p->puts >= RUN_LEAST && v->writer.open == NULL ? commit_open(v) : NULL;
    rc = put_each(p, c, commit);
    commit_close(p, commit);
    mdb_cursor_close(c);
    return rc;
}

int pending_flush(struct pstate_view *v, struct leat_error *err)
{
    struct pending *p = &v->pending;

    if (p->puts == 0)
        return 0;
    if (p->puts >= SORTED_LEAST)
        sort(p);
    int rc = put_all(v);
    if (rc != 0)
        return view_error(err, rc, "write", v);
    pending_forget(p);
    return 0;
}

/* ---- By key ---- */

/* Where the last put of a key is said, or is to be said. */
static uint32_t place_of(const struct pending *p, struct leat_span key)
{
    uint32_t i = (uint32_t)XXH3_64bits(key.base, key.size) % PLACES;

    while (p->place[i] != 0 && !span_equal(entry_key(&p->bytes, p->place[i] - 1), key))
        i = (i + 1) % PLACES;
    return i;
}

/* All memory at once: what was read from it stays where it is. */
static void make_room(struct pending *p)
{
    p->put = base_alloc(PUTS_MOST * sizeof(*p->put));
    p->other = base_alloc(PUTS_MOST * sizeof(*p->other));
    p->place = base_alloc(PLACES * sizeof(*p->place));
    buffer_grow(&p->bytes, BYTES_MOST);
    buffer_grow(&p->flushed, BYTES_MOST);
    buffer_grow(&p->kept, KEPT_MOST);
    buffer_clear(&p->bytes);
}

bool pending_add(struct pending *p, struct leat_span key, struct leat_span value)
{
    if (p->put == NULL)
        make_room(p);
    buffer_clear(&p->kept);
    uint32_t place = place_of(p, key), at = p->place[place];
    if (at != 0 && entry_value(&p->bytes, at - 1).size == value.size) {
        memcpy(p->bytes.base + (at - 1) + HEAD + key.size, value.base, value.size);
        return true;
    }
    if (p->puts == PUTS_MOST || p->bytes.size + HEAD + key.size + value.size > BYTES_MOST)
        return false;
    p->place[place] = (uint32_t)p->bytes.size + 1;
    p->put[p->puts++] = (struct pending_put){.at = (uint32_t)p->bytes.size, .place = place};
    entry_add(&p->bytes, key, value);
    return true;
}

bool pending_find(const struct pending *p, struct leat_span key, struct leat_span *value)
{
    uint32_t at = p->puts > 0 ? p->place[place_of(p, key)] : 0;

    if (at != 0)
        *value = entry_value(&p->bytes, at - 1);
    return at != 0;
}

bool pending_keep(struct pending *p, struct leat_span *value)
{
    if (p->puts == 0)
        return true;
    if (value->size > SMALL || p->kept.size + value->size > KEPT_MOST)
        return false;
    const uint8_t *copy = p->kept.base + p->kept.size;
    buffer_put(&p->kept, value->base, value->size);
    *value = span_of(copy, value->size);
    return true;
}
