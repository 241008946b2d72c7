/* SPDX-License-Identifier: Apache-2.0 */
#include "pstates/view.h"

/* Packed rows. Full blocks are LMDB values of whole overflow pages; LMDB lays such a value 16 bytes behind a page
 * start, so 48 bytes of padding put the rows on 64-byte boundaries inside the map. Rows that do not fill a block yet,
 * the tail, are entries of their own; so many as make a piece are folded into one entry, and when there are enough for
 * a block, all of the tail into that. The number of rows alone says which rows an entry has. Header: {reference, rows}.
 *
 *   prefix [0][block u32]   a block
 *   prefix [1][row u64]     a piece or a single row of the tail from this row on, at any alignment */

enum { BLOCK_PAD = 48 };

/* What the operations need to know of the schema. */
struct geometry {
    uint32_t stride, per_block, block_size, per_piece;
};

struct rows {
    struct key header;
    struct key prefix;
    uint64_t reference, count;
    struct geometry g;
};

/* Rows that share an entry: of a block, of a piece, or one. */
struct entry {
    uint64_t first;
    uint32_t rows;
};

static uint64_t in_blocks(const struct rows *r)
{
    return r->count / r->g.per_block * r->g.per_block;
}

/* The entry that holds a row. */
static struct entry entry_of(const struct rows *r, uint64_t row)
{
    uint64_t blocks = in_blocks(r);
    uint64_t pieces = (r->count - blocks) / r->g.per_piece, piece = row < blocks ? 0 : (row - blocks) / r->g.per_piece;

    if (row < blocks)
        return (struct entry){row / r->g.per_block * r->g.per_block, r->g.per_block};
    if (piece < pieces)
        return (struct entry){blocks + piece * r->g.per_piece, r->g.per_piece};
    return (struct entry){row, 1};
}

static bool is_block(const struct rows *r, struct entry e)
{
    return e.rows == r->g.per_block;
}

static bool is_single(const struct rows *r, struct entry e)
{
    return e.rows == 1 && !is_block(r, e);
}

static void entry_key(const struct rows *r, struct entry e, struct key *k)
{
    *k = r->prefix;
    key_u8(k, is_block(r, e) ? 0 : 1);
    if (is_block(r, e))
        key_u32(k, (uint32_t)(e.first / r->g.per_block));
    else
        key_u64(k, e.first);
}

static size_t entry_size(const struct rows *r, struct entry e)
{
    return is_block(r, e) ? r->g.block_size : (size_t)e.rows * r->g.stride;
}

/* Where a row of an entry begins in the entry's value. */
static size_t place_in(const struct rows *r, struct entry e, uint64_t row)
{
    return (is_block(r, e) ? BLOCK_PAD : 0) + (size_t)(row - e.first) * r->g.stride;
}

static int entry_get(const struct pstate_reader *reader, const struct rows *r, struct entry e, struct leat_span *out,
                     struct leat_error *err)
{
    struct key k;

    entry_key(r, e, &k);
    int rv = raw_get(reader, k.bytes, k.size, out, err);
    if (rv != 0 || out->size != entry_size(r, e))
        return leat_fail(err, LEAT_ECORRUPT, "packed rows: row %llu is missing", (unsigned long long)e.first);
    return 0;
}

static int entry_put(struct pstate_view *v, const struct rows *r, struct entry e, const uint8_t *value,
                     struct leat_error *err)
{
    struct key k;

    entry_key(r, e, &k);
    return raw_put(v, k.bytes, k.size, span_of(value, entry_size(r, e)), err);
}

static int entry_delete(struct pstate_view *v, const struct rows *r, struct entry e, struct leat_error *err)
{
    struct key k;

    entry_key(r, e, &k);
    return raw_delete(v, k.bytes, k.size, err);
}

static int put_header(struct pstate_view *v, const struct rows *r, struct leat_error *err)
{
    uint8_t header[16];

    store_u64(header, r->reference);
    store_u64(header + 8, r->count);
    return raw_put(v, r->header.bytes, r->header.size, span_of(header, 16), err);
}

/* ---- What the operations do ---- */

/* The rows of the tail from `into`'s first on, and the row given as its last, as one entry. */
static int fold(struct pstate_view *v, const struct rows *r, struct entry into, struct leat_span row,
                struct leat_error *err)
{
    uint64_t last = into.first + into.rows - 1;
    uint8_t *value = base_alloc(entry_size(r, into));
    int rv = 0;

    for (uint64_t at = into.first; at < last && rv == 0;) {
        struct entry e = entry_of(r, at);
        struct leat_span have;

        rv = entry_get(&v->writer, r, e, &have, err);
        if (rv == 0)
            memcpy(value + place_in(r, into, at), have.base, have.size);
        if (rv == 0)
            rv = entry_delete(v, r, e, err);
        at += e.rows;
    }
    memcpy(value + place_in(r, into, last), row.base, row.size);
    if (rv == 0)
        rv = entry_put(v, r, into, value, err);
    free(value);
    return rv;
}

static int do_append(struct pstate_view *v, struct rows *r, struct leat_span row, struct leat_error *err)
{
    uint64_t tail = r->count + 1 - in_blocks(r);
    uint32_t rows = tail == r->g.per_block ? r->g.per_block : tail % r->g.per_piece == 0 ? r->g.per_piece : 1;
    struct entry e = {r->count + 1 - rows, rows};
    int rv = is_single(r, e) ? entry_put(v, r, e, row.base, err) : fold(v, r, e, row, err);

    r->count++;
    return rv == 0 ? put_header(v, r, err) : rv;
}

/* An entry's value to change. Free it. */
static int entry_copy(struct pstate_view *v, const struct rows *r, struct entry e, uint8_t **out,
                      struct leat_error *err)
{
    struct leat_span have;
    int rv = entry_get(&v->writer, r, e, &have, err);

    if (rv != 0)
        return rv;
    *out = base_alloc(have.size);
    memcpy(*out, have.base, have.size);
    return 0;
}

static int do_replace(struct pstate_view *v, const struct rows *r, uint64_t number, struct leat_span row,
                      struct leat_error *err)
{
    struct entry e = entry_of(r, number);
    uint8_t *value;

    if (is_single(r, e))
        return entry_put(v, r, e, row.base, err);
    int rv = entry_copy(v, r, e, &value, err);
    if (rv != 0)
        return rv;
    memcpy(value + place_in(r, e, number), row.base, row.size);
    rv = entry_put(v, r, e, value, err);
    free(value);
    return rv;
}

/* The last entry back into what it was folded from, but for its last row; the count is already one less. */
static int unfold(struct pstate_view *v, const struct rows *r, struct entry from, const uint8_t *value,
                  struct leat_error *err)
{
    int rv = 0;

    for (uint64_t at = from.first; at < r->count && rv == 0;) {
        struct entry e = entry_of(r, at);

        rv = entry_put(v, r, e, value + place_in(r, from, at), err);
        at += e.rows;
    }
    return rv;
}

static int do_remove(struct pstate_view *v, struct rows *r, struct leat_error *err)
{
    struct entry last = entry_of(r, r->count - 1);
    uint8_t *value;
    int rv = entry_copy(v, r, last, &value, err);

    if (rv != 0)
        return rv;
    rv = entry_delete(v, r, last, err);
    r->count--;
    if (rv == 0)
        rv = unfold(v, r, last, value, err);
    free(value);
    return rv == 0 ? put_header(v, r, err) : rv;
}

/* ---- Operations as bytes: {stride, rows a block, bytes of a block, rows a piece, number, row} ---- */

static void record(struct pstate_view *v, enum view_op op, const struct rows *r, uint64_t number, struct leat_span row)
{
    uint8_t memory[50]; /* five varints */
    struct buffer head = {.base = memory, .capacity = sizeof(memory), .limit = sizeof(memory)};

    if (v->ops == NULL)
        return;
    buffer_varint(&head, r->g.stride);
    buffer_varint(&head, r->g.per_block);
    buffer_varint(&head, r->g.block_size);
    buffer_varint(&head, r->g.per_piece);
    buffer_varint(&head, number);
    leat_assert(head.base == memory);
    op_record_parts(v, op, span_of(r->header.bytes, r->header.size), buffer_bytes(&head), row);
}

static int load_rows(struct pstate_view *v, struct leat_span key, struct rows *r, struct leat_error *err)
{
    struct leat_span header;
    int rv = raw_get(&v->writer, key.base, key.size, &header, err);

    if (rv != 0 || header.size != 16)
        return leat_fail(err, LEAT_ECORRUPT, "a row operation on rows that are not there");
    memcpy(r->header.bytes, key.base, key.size);
    r->header.size = (uint32_t)key.size;
    r->reference = load_u64(header.base);
    r->count = load_u64((const uint8_t *)header.base + 8);
    if (r->reference == 0 && key.size != KEY_PREFIX)
        return leat_fail(err, LEAT_ECORRUPT, "a row operation on rows without reference");
    header_prefix(key, r->reference, &r->prefix);
    return 0;
}

int rows_apply(struct pstate_view *v, enum view_op op, struct leat_span key, struct leat_span value,
               struct leat_error *err)
{
    struct reader in = reader_of(value);
    struct rows r;

    r.g.stride = (uint32_t)reader_varint(&in);
    r.g.per_block = (uint32_t)reader_varint(&in);
    r.g.block_size = (uint32_t)reader_varint(&in);
    r.g.per_piece = (uint32_t)reader_varint(&in);
    uint64_t number = reader_varint(&in);
    struct leat_span row = span_of(in.at, reader_left(&in));
    if (in.error != 0 || r.g.per_block == 0 || r.g.per_piece < 2 || r.g.stride > LIMIT_VALUE ||
        r.g.block_size > LIMIT_VALUE || (uint64_t)r.g.per_block * r.g.stride + BLOCK_PAD > r.g.block_size ||
        (op != OP_ROW_REMOVE && row.size != r.g.stride))
        return leat_fail(err, LEAT_ECORRUPT, "a row operation does not check out");
    int rv = load_rows(v, key, &r, err);
    if (rv == 0 && (op == OP_ROW_APPEND ? number != r.count : number >= r.count))
        rv = leat_fail(err, LEAT_ECORRUPT, "a row operation on row %llu of %llu", (unsigned long long)number,
                       (unsigned long long)r.count);
    if (rv != 0)
        return rv;
    return op == OP_ROW_APPEND ? do_append(v, &r, row, err)
           : op == OP_ROW_REPLACE ? do_replace(v, &r, number, row, err)
                                  : do_remove(v, &r, err);
}

/* ---- Writing ---- */

static struct geometry geometry_of(const struct pstate_level *level)
{
    return (struct geometry){level->row_stride, level->rows_per_block, level->block_size, level->rows_per_piece};
}

void rows_place_of(const struct pstate_level *level, uint64_t count, uint64_t row, struct rows_place *out)
{
    struct rows r = {.count = count, .g = geometry_of(level)};
    struct entry e = entry_of(&r, row);

    entry_key(&r, e, &out->key);
    out->first = e.first;
    out->rows = e.rows;
    out->size = entry_size(&r, e);
}

static int rows_of(struct pstate_reader *reader, uint32_t task, uint32_t pstate, struct leat_row keys, bool make,
                   struct rows *r, bool *found, const struct pstate_level **level, struct leat_error *err)
{
    struct place p;
    int rv = place_find(reader, task, pstate, keys, make, &p, err);

    if (rv == 0 && (p.level == NULL || p.level->shape != PSTATE_ROWS))
        rv = leat_fail(err, LEAT_ESCHEMA, "PState '%s': the keys do not lead to packed rows",
                       reader->view->config.schema[pstate].name);
    if (rv != 0)
        return rv;
    *found = p.found;
    *level = p.level;
    r->header = p.key;
    r->reference = p.reference;
    r->count = p.count;
    r->g = geometry_of(p.level);
    if (p.found)
        place_prefix(&p, &r->prefix);
    return 0;
}

/* The fields of a row at their places, in the view's scratch; padding is zero, so that equal rows are equal bytes. */
static int lay_out(struct pstate_view *v, const struct pstate_level *level, struct leat_row row, struct leat_span *out,
                   struct leat_error *err)
{
    int rv;

    if (row.count != level->fields.columns)
        return leat_fail(err, LEAT_ESCHEMA, "a row has %u fields, %u given", level->fields.columns, row.count);
    buffer_clear(&v->scratch);
    if (row_encode_fast(&level->fields, row, &v->scratch) != 0) {
        rv = row_encode(&level->fields, row, &v->scratch, err);
        return rv != 0 ? rv : leat_fail(err, LEAT_ESCHEMA, "a row does not fit the schema");
    }
    size_t from = 0, base = v->scratch.size;
    uint8_t *to = buffer_grow(&v->scratch, level->row_stride);
    leat_assert(to != NULL);
    memset(to, 0, level->row_stride);
    for (uint32_t i = 0; i < level->fields.columns; i++) {
        memcpy(to + level->place[i], v->scratch.base + from, level->fields.column[i].stride);
        from += level->fields.column[i].stride;
    }
    *out = span_of(v->scratch.base + base, level->row_stride);
    return 0;
}

/* Make the header of rows that are not there yet. */
static int make_rows(struct pstate_view *v, struct rows *r, bool nested, struct leat_error *err)
{
    uint8_t header[16] = {0};
    int rv = nested ? view_reference(v, &r->reference, err) : 0;

    store_u64(header, r->reference);
    op_record(v, OP_PUT, span_of(r->header.bytes, r->header.size), span_of(header, 16));
    if (rv == 0)
        rv = raw_put(v, r->header.bytes, r->header.size, span_of(header, 16), err);
    header_prefix(span_of(r->header.bytes, r->header.size), r->reference, &r->prefix);
    return rv;
}

int pstate_rows_append(struct pstate_view *v, uint32_t task, uint32_t pstate, struct leat_row keys,
                       struct leat_row row, uint64_t *number, struct leat_error *err)
{
    const struct pstate_level *level;
    struct rows r;
    bool found;
    int rv = rows_of(&v->writer, task, pstate, keys, true, &r, &found, &level, err);

    if (rv != 0)
        return rv;
    struct leat_span bytes;
    rv = lay_out(v, level, row, &bytes, err);
    if (rv == 0 && !found)
        rv = make_rows(v, &r, keys.count > 0, err);
    if (rv != 0)
        return rv;
    if (number != NULL)
        *number = r.count;
    record(v, OP_ROW_APPEND, &r, r.count, bytes);
    return do_append(v, &r, bytes, err);
}

int pstate_rows_replace(struct pstate_view *v, uint32_t task, uint32_t pstate, struct leat_row keys, uint64_t number,
                        struct leat_row row, struct leat_error *err)
{
    const struct pstate_level *level;
    struct rows r;
    bool found;
    int rv = rows_of(&v->writer, task, pstate, keys, false, &r, &found, &level, err);

    if (rv == 0 && (!found || number >= r.count))
        rv = leat_fail(err, LEAT_ENOTFOUND, "there is no row %llu", (unsigned long long)number);
    if (rv != 0)
        return rv;
    struct leat_span bytes;
    rv = lay_out(v, level, row, &bytes, err);
    if (rv != 0)
        return rv;
    record(v, OP_ROW_REPLACE, &r, number, bytes);
    return do_replace(v, &r, number, bytes, err);
}

int pstate_rows_remove_last(struct pstate_view *v, uint32_t task, uint32_t pstate, struct leat_row keys,
                            struct leat_error *err)
{
    const struct pstate_level *level;
    struct rows r;
    bool found;
    int rv = rows_of(&v->writer, task, pstate, keys, false, &r, &found, &level, err);

    if (rv == 0 && (!found || r.count == 0))
        rv = leat_fail(err, LEAT_ENOTFOUND, "there is no row to remove");
    if (rv != 0)
        return rv;
    record(v, OP_ROW_REMOVE, &r, r.count - 1, span_of("", 0));
    return do_remove(v, &r, err);
}

/* ---- Reading ---- */

/* The rows of an entry's value from one of them on. */
static struct leat_block block_at(const struct rows *r, struct entry e, uint64_t number, const void *value)
{
    return (struct leat_block){.first = number, .rows = (uint32_t)(e.first + e.rows - number), .stride = r->g.stride,
                               .base = (const uint8_t *)value + place_in(r, e, number)};
}

static int locate(const struct pstate_reader *reader, const struct rows *r, uint64_t number, struct leat_block *out,
                  struct leat_error *err)
{
    struct entry e = entry_of(r, number);
    struct leat_span have;
    int rv = entry_get(reader, r, e, &have, err);

    if (rv == 0)
        *out = block_at(r, e, number, have.base);
    return rv;
}

/* ---- Walking: readers of all rows ask for block after block ---- */

void walk_end(struct pstate_reader *r, bool free_cursor)
{
    r->walk.header.size = 0;
    if (free_cursor && r->walk.cursor != NULL) {
        mdb_cursor_close(r->walk.cursor);
        r->walk.cursor = NULL;
    }
}

/* Put the cursor on the entry that holds a row. Snapshots only: a turn's writes would move what it stands on. */
static void walk_begin(struct pstate_reader *r, const struct rows *rows, const struct leat_block *at)
{
    struct key k;
    MDB_val key, value;
    int rc;

    if (r->writes)
        return;
    entry_key(rows, entry_of(rows, at->first), &k);
    rc = r->walk.cursor == NULL ? mdb_cursor_open(r->txn, r->view->dbi, &r->walk.cursor)
                                : mdb_cursor_renew(r->txn, r->walk.cursor);
    key = (MDB_val){k.size, k.bytes};
    if (rc != 0 || mdb_cursor_get(r->walk.cursor, &key, &value, MDB_SET) != 0)
        return;
    r->walk.header = rows->header;
    r->walk.prefix = rows->prefix;
    r->walk.reference = rows->reference;
    r->walk.count = rows->count;
    r->walk.next = at->first + at->rows;
}

/* The next block of the walk, one step on. false: this is no walk. */
static bool walk_next(struct pstate_reader *r, uint32_t task, uint32_t pstate, uint64_t number, struct leat_block *out)
{
    const struct pstate_level *level = r->view->config.schema[pstate].top;
    struct rows_walk *w = &r->walk;
    struct rows rows;
    struct key root;
    MDB_val key, value;

    key_root(&root, task, pstate);
    if (w->header.size != root.size || w->next != number || memcmp(w->header.bytes, root.bytes, root.size) != 0)
        return false;
    rows.count = w->count;
    rows.g = geometry_of(level);
    struct entry e = entry_of(&rows, number);
    if (mdb_cursor_get(w->cursor, &key, &value, MDB_NEXT) != 0 || key.mv_size < w->prefix.size ||
        memcmp(key.mv_data, w->prefix.bytes, w->prefix.size) != 0 ||
        value.mv_size != entry_size(&rows, e)) {
        w->header.size = 0;
        return false;
    }
    *out = block_at(&rows, e, number, value.mv_data);
    w->next = number + out->rows;
    return true;
}

int pstate_rows_block(struct pstate_reader *r, uint32_t task, uint32_t pstate, struct leat_row keys, uint64_t number,
                      struct leat_block *out, struct leat_error *err)
{
    const struct pstate_level *level;
    struct rows rows;
    bool found;

    if (keys.count == 0 && number > 0 && number < r->walk.count && walk_next(r, task, pstate, number, out))
        return 0;
    int rv = rows_of(r, task, pstate, keys, false, &rows, &found, &level, err);
    if (rv != 0)
        return rv;
    if (!found || number >= rows.count)
        return LEAT_END;
    rv = locate(r, &rows, number, out, err);
    if (rv == 0 && keys.count == 0)
        walk_begin(r, &rows, out);
    return rv;
}

int pstate_rows_pointers(struct pstate_reader *r, uint32_t task, uint32_t pstate, struct leat_row keys,
                         const uint32_t *numbers, uint32_t count, const void **out, struct leat_error *err)
{
    const struct pstate_level *level;
    struct leat_block block = {0};
    struct rows rows;
    bool found;
    int rv = rows_of(r, task, pstate, keys, false, &rows, &found, &level, err);

    for (uint32_t i = 0; i < count && rv == 0; i++) {
        if (!found || numbers[i] >= rows.count)
            return leat_fail(err, LEAT_ENOTFOUND, "there is no row %u", numbers[i]);
        if (numbers[i] < block.first || numbers[i] >= block.first + block.rows)
            rv = locate(r, &rows, numbers[i], &block, err);
        if (rv == 0)
            out[i] = (const uint8_t *)block.base + (size_t)(numbers[i] - block.first) * block.stride;
    }
    return rv;
}
