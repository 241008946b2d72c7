/* SPDX-License-Identifier: Apache-2.0 */
#include "pstates/view.h"

/* Packed rows. Full blocks are LMDB values of whole overflow pages; LMDB lays such a value 16 bytes behind a page
 * start, so 48 bytes of padding put the rows on 64-byte boundaries inside the map. Rows that do not fill a block yet
 * are entries of their own (the tail) and are folded into a block when they do. Header: {reference, rows}.
 *
 *   prefix [0][block u32]   a block
 *   prefix [1][row u64]     a row of the tail, at any alignment */

enum { BLOCK_PAD = 48 };

/* What the operations need to know of the schema. */
struct geometry {
    uint32_t stride, per_block, block_size;
};

struct rows {
    struct key header;
    struct key prefix;
    uint64_t reference, count;
    struct geometry g;
};

static void block_key(const struct rows *r, uint64_t block, struct key *k)
{
    *k = r->prefix;
    key_u8(k, 0);
    key_u32(k, (uint32_t)block);
}

static void tail_key(const struct rows *r, uint64_t row, struct key *k)
{
    *k = r->prefix;
    key_u8(k, 1);
    key_u64(k, row);
}

static uint64_t in_blocks(const struct rows *r)
{
    return r->count / r->g.per_block * r->g.per_block;
}

static int put_header(struct pstate_view *v, const struct rows *r, struct leat_error *err)
{
    uint8_t header[16];

    store_u64(header, r->reference);
    store_u64(header + 8, r->count);
    return raw_put(v, r->header.bytes, r->header.size, span_of(header, 16), err);
}

/* ---- What the operations do ---- */

/* The tail and one row more as a block. */
static int fold_tail(struct pstate_view *v, const struct rows *r, struct leat_span row, struct leat_error *err)
{
    uint64_t first = in_blocks(r);
    uint8_t *block = base_alloc(r->g.block_size);
    struct key k;
    int rv = 0;

    for (uint32_t i = 0; i + 1 < r->g.per_block && rv == 0; i++) {
        struct leat_span have;

        tail_key(r, first + i, &k);
        rv = raw_get(&v->writer, k.bytes, k.size, &have, err);
        if (rv == 0 && have.size != r->g.stride)
            rv = LEAT_ECORRUPT;
        if (rv != 0)
            rv = leat_fail(err, LEAT_ECORRUPT, "row %llu of a tail is missing", (unsigned long long)first + i);
        else
            memcpy(block + BLOCK_PAD + (size_t)i * r->g.stride, have.base, r->g.stride);
        if (rv == 0)
            rv = raw_delete(v, k.bytes, k.size, err);
    }
    memcpy(block + BLOCK_PAD + (size_t)(r->g.per_block - 1) * r->g.stride, row.base, row.size);
    block_key(r, first / r->g.per_block, &k);
    if (rv == 0)
        rv = raw_put(v, k.bytes, k.size, span_of(block, r->g.block_size), err);
    free(block);
    return rv;
}

static int do_append(struct pstate_view *v, struct rows *r, struct leat_span row, struct leat_error *err)
{
    struct key k;
    int rv;

    if ((r->count + 1) % r->g.per_block == 0) {
        rv = fold_tail(v, r, row, err);
    } else {
        tail_key(r, r->count, &k);
        rv = raw_put(v, k.bytes, k.size, row, err);
    }
    r->count++;
    return rv == 0 ? put_header(v, r, err) : rv;
}

static int do_replace(struct pstate_view *v, const struct rows *r, uint64_t number, struct leat_span row,
                      struct leat_error *err)
{
    struct leat_span have;
    struct key k;
    int rv;

    if (number >= in_blocks(r)) {
        tail_key(r, number, &k);
        return raw_put(v, k.bytes, k.size, row, err);
    }
    block_key(r, number / r->g.per_block, &k);
    rv = raw_get(&v->writer, k.bytes, k.size, &have, err);
    if (rv != 0 || have.size != r->g.block_size)
        return leat_fail(err, LEAT_ECORRUPT, "the block of row %llu is missing", (unsigned long long)number);
    uint8_t *block = base_alloc(have.size);
    memcpy(block, have.base, have.size);
    memcpy(block + BLOCK_PAD + number % r->g.per_block * r->g.stride, row.base, row.size);
    rv = raw_put(v, k.bytes, k.size, span_of(block, have.size), err);
    free(block);
    return rv;
}

/* The last block back into tail rows, all but its last row. */
static int unfold(struct pstate_view *v, const struct rows *r, struct leat_error *err)
{
    uint64_t first = r->count - r->g.per_block;
    struct leat_span have;
    struct key k;

    block_key(r, first / r->g.per_block, &k);
    int rv = raw_get(&v->writer, k.bytes, k.size, &have, err);
    if (rv != 0 || have.size != r->g.block_size)
        return leat_fail(err, LEAT_ECORRUPT, "the block of row %llu is missing", (unsigned long long)first);
    uint8_t *block = base_alloc(have.size);
    memcpy(block, have.base, have.size);
    rv = raw_delete(v, k.bytes, k.size, err);
    for (uint32_t i = 0; i + 1 < r->g.per_block && rv == 0; i++) {
        tail_key(r, first + i, &k);
        rv = raw_put(v, k.bytes, k.size, span_of(block + BLOCK_PAD + (size_t)i * r->g.stride, r->g.stride), err);
    }
    free(block);
    return rv;
}

static int do_remove(struct pstate_view *v, struct rows *r, struct leat_error *err)
{
    struct key k;
    int rv;

    if (r->count % r->g.per_block == 0) {
        rv = unfold(v, r, err);
    } else {
        tail_key(r, r->count - 1, &k);
        rv = raw_delete(v, k.bytes, k.size, err);
    }
    r->count--;
    return rv == 0 ? put_header(v, r, err) : rv;
}

/* ---- Operations as bytes: {stride, per_block, block_size, number, row} ---- */

static void record(struct pstate_view *v, enum view_op op, const struct rows *r, uint64_t number, struct leat_span row)
{
    struct buffer value = {0};

    if (v->ops == NULL)
        return;
    buffer_varint(&value, r->g.stride);
    buffer_varint(&value, r->g.per_block);
    buffer_varint(&value, r->g.block_size);
    buffer_varint(&value, number);
    buffer_put(&value, row.base, row.size);
    op_record(v, op, span_of(r->header.bytes, r->header.size), buffer_bytes(&value));
    buffer_fini(&value);
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
    uint64_t number = reader_varint(&in);
    struct leat_span row = span_of(in.at, reader_left(&in));
    if (in.error != 0 || r.g.per_block == 0 || r.g.stride > LIMIT_VALUE || r.g.block_size > LIMIT_VALUE ||
        (uint64_t)r.g.per_block * r.g.stride + BLOCK_PAD > r.g.block_size ||
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
    r->g = (struct geometry){p.level->row_stride, p.level->rows_per_block, p.level->block_size};
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

/* Where a row lies: in a block, from there to the block's end; or alone in the tail. */
static int locate(const struct pstate_reader *reader, const struct rows *r, uint64_t number, struct leat_block *out,
                  struct leat_error *err)
{
    struct leat_span have;
    struct key k;
    bool tail = number >= in_blocks(r);

    if (tail)
        tail_key(r, number, &k);
    else
        block_key(r, number / r->g.per_block, &k);
    int rv = raw_get(reader, k.bytes, k.size, &have, err);
    if (rv != 0 || have.size != (tail ? r->g.stride : r->g.block_size))
        return leat_fail(err, LEAT_ECORRUPT, "row %llu is missing", (unsigned long long)number);
    uint32_t at = tail ? 0 : (uint32_t)(number % r->g.per_block);
    out->first = number;
    out->stride = r->g.stride;
    out->rows = tail ? 1 : r->g.per_block - at;
    out->base = (const uint8_t *)have.base + (tail ? 0 : BLOCK_PAD + (size_t)at * r->g.stride);
    return 0;
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
    if (at->first >= in_blocks(rows))
        tail_key(rows, at->first, &k);
    else
        block_key(rows, at->first / rows->g.per_block, &k);
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
    rows.g = (struct geometry){level->row_stride, level->rows_per_block, level->block_size};
    bool tail = number >= in_blocks(&rows);
    if (mdb_cursor_get(w->cursor, &key, &value, MDB_NEXT) != 0 || key.mv_size < w->prefix.size ||
        memcmp(key.mv_data, w->prefix.bytes, w->prefix.size) != 0 ||
        value.mv_size != (tail ? rows.g.stride : rows.g.block_size)) {
        w->header.size = 0;
        return false;
    }
    *out = (struct leat_block){.first = number, .rows = tail ? 1 : rows.g.per_block, .stride = rows.g.stride,
                               .base = (const uint8_t *)value.mv_data + (tail ? 0 : BLOCK_PAD)};
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
