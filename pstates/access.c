/* SPDX-License-Identifier: Apache-2.0 */
#include "pstates/view.h"

/* Elements of nested collections: following keys, get, put, delete, scan. */

bool level_is_collection(const struct pstate_level *level)
{
    return level->shape != PSTATE_LEAF && level->shape != PSTATE_STRUCT;
}

static bool is_counted(const struct pstate_level *level)
{
    return level->shape == PSTATE_LIST || level->shape == PSTATE_ROWS;
}

void header_prefix(struct leat_span header_key, uint64_t reference, struct key *out)
{
    if (reference != 0) {
        key_nested(out, key_task_of(header_key.base), reference);
        return;
    }
    leat_assert(header_key.size == KEY_PREFIX);
    memcpy(out->bytes, header_key.base, KEY_PREFIX);
    out->size = KEY_PREFIX;
}

void place_prefix(const struct place *p, struct key *out)
{
    header_prefix(span_of(p->key.bytes, p->key.size), p->reference, out);
}

/* ---- Following keys ---- */

/* What lies at a place's element: a leaf's bytes, or a collection's header: reference, and count where one is kept. */
static int look(struct pstate_reader *r, struct place *p, struct leat_error *err)
{
    bool root = p->depth == 0;
    struct leat_span value;

    p->reference = p->count = 0;
    p->found = root && level_is_collection(p->level) && !is_counted(p->level);
    if (p->found)
        return 0;
    int rv = raw_get(r, p->key.bytes, p->key.size, &value, err);
    if (rv == LEAT_ENOTFOUND)
        return 0;
    if (rv != 0)
        return rv;
    p->found = true;
    p->value = value;
    if (!level_is_collection(p->level))
        return 0;
    if (value.size != (is_counted(p->level) ? 16U : 8U))
        return leat_fail(err, LEAT_ECORRUPT, "a collection's header of %zu bytes", value.size);
    p->reference = load_u64(value.base);
    p->count = is_counted(p->level) ? load_u64((const uint8_t *)value.base + 8) : 0;
    if ((p->reference == 0) != root)
        return leat_fail(err, LEAT_ECORRUPT, "a collection's header with reference %llu",
                         (unsigned long long)p->reference);
    return 0;
}

/* Write the header of a new collection. */
static int make(struct pstate_reader *r, struct place *p, struct leat_error *err)
{
    struct pstate_view *v = r->view;
    uint8_t header[16] = {0};
    int rv = p->depth > 0 ? view_reference(v, &p->reference, err) : 0;

    leat_assert(r->writes && level_is_collection(p->level));
    if (rv != 0)
        return rv;
    store_u64(header, p->reference);
    struct leat_span value = span_of(header, is_counted(p->level) ? 16 : 8);
    rv = raw_put(v, p->key.bytes, p->key.size, value, err);
    op_record(v, OP_PUT, span_of(p->key.bytes, p->key.size), value);
    p->found = true;
    return rv;
}

/* Put bytes at an element whose key is known. */
static int put_element(struct pstate_view *v, const struct key *k, struct leat_span value, struct leat_error *err)
{
    if (value.size > LIMIT_VALUE)
        return leat_fail(err, LEAT_ELIMIT, "a value of %zu bytes; at most %d are possible", value.size, LIMIT_VALUE);
    op_record(v, OP_PUT, span_of(k->bytes, k->size), value);
    return raw_put(v, k->bytes, k->size, value, err);
}

static int put_header(struct pstate_view *v, const struct place *p, uint64_t count, struct leat_error *err)
{
    uint8_t header[16];

    store_u64(header, p->reference);
    store_u64(header + 8, count);
    return put_element(v, &p->key, span_of(header, 16), err);
}

static const struct leat_column index_column = {.name = "index", .type = LEAT_U64, .stride = 8};

static const struct leat_column *key_type(const struct pstate_level *collection)
{
    return collection->shape == PSTATE_LIST ? &index_column : &collection->key;
}

/* Writing goes to elements that are there, or makes the collection behind the last; a value is pushed. */
static int reach(struct pstate_reader *r, const struct place *list, uint64_t index, struct leat_error *err)
{
    bool nested = level_is_collection(list->level->below);

    if (index < list->count)
        return 0;
    if (nested && index == list->count)
        return put_header(r->view, list, index + 1, err);
    return leat_fail(err, LEAT_ENOTFOUND, "the list has %llu elements%s", (unsigned long long)list->count,
                     nested ? "; only the one behind the last can be made" : "; use a push to add one");
}

/* One key further down. */
static int descend(struct pstate_reader *r, struct place *p, const struct leat_value *key, bool make_missing,
                   struct leat_error *err)
{
    const struct pstate_level *level = p->level;
    struct key next;
    int rv = 0;

    if (!level_is_collection(level) || level->shape == PSTATE_ROWS)
        return leat_fail(err, LEAT_ESCHEMA, "more keys than the PState has levels");
    if (!p->found && make_missing)
        rv = make(r, p, err);
    if (rv != 0)
        return rv;
    leat_assert(p->found);
    place_prefix(p, &next);
    rv = key_value(&next, key_type(level), key, err);
    if (rv == 0 && level->shape == PSTATE_LIST && make_missing)
        rv = reach(r, p, key->as.u, err);
    if (rv != 0)
        return rv;
    p->key = next;
    p->in_list = level->shape == PSTATE_LIST;
    p->level = level->below;
    p->depth++;
    p->found = true; /* of an element of a set nothing more is known */
    return 0;
}

/* Nothing is there, so nothing is below: only say what would be, and whether the keys fit that. */
static int skip_levels(struct place *p, const struct leat_value *key, uint32_t keys, struct leat_error *err)
{
    struct key unused;

    for (uint32_t i = 0; i < keys; i++) {
        if (p->level == NULL || !level_is_collection(p->level) || p->level->shape == PSTATE_ROWS)
            return leat_fail(err, LEAT_ESCHEMA, "more keys than the PState has levels");
        unused.size = 0;
        int rv = key_value(&unused, key_type(p->level), &key[i], err);
        if (rv != 0)
            return rv;
        p->in_list = p->level->shape == PSTATE_LIST;
        p->level = p->level->below;
        p->depth++;
    }
    p->found = false;
    return 0;
}

int place_find(struct pstate_reader *r, uint32_t task, uint32_t pstate, struct leat_row keys, bool make_missing,
               struct place *out, struct leat_error *err)
{
    struct pstate_view *v = r->view;
    int rv = 0;

    leat_assert(pstate < v->config.schemas && r->txn != NULL && !r->paused);
    out->level = v->config.schema[pstate].top;
    out->depth = 0;
    out->in_list = false;
    key_root(&out->key, task, pstate);
    for (uint32_t i = 0; i < keys.count && rv == 0; i++) {
        if (out->level == NULL)
            rv = leat_fail(err, LEAT_ESCHEMA, "more keys than the PState has levels");
        else
            rv = look(r, out, err);
        if (rv == 0 && !out->found && !make_missing) {
            rv = skip_levels(out, keys.value + i, keys.count - i, err);
            return rv == 0 ? 0 : base_wrap(err, rv, "PState '%s'", v->config.schema[pstate].name);
        }
        if (rv == 0)
            rv = descend(r, out, &keys.value[i], make_missing, err);
    }
    if (rv == 0 && out->level != NULL)
        rv = look(r, out, err);
    return rv == 0 ? 0 : base_wrap(err, rv, "PState '%s'", v->config.schema[pstate].name);
}

/* ---- Get and size ---- */

static int decode_fields(const struct pstate_level *level, struct leat_span bytes, struct leat_value *out,
                         uint32_t fields, struct leat_error *err)
{
    struct leat_value value[LIMIT_COLUMNS];
    uint32_t n = level->fields.columns < fields ? level->fields.columns : fields;

    if (row_decode(&level->fields, bytes, value) != 0)
        return leat_fail(err, LEAT_ECORRUPT, "a value of %zu bytes does not fit its schema", bytes.size);
    if (n > 0)
        memcpy(out, value, n * sizeof(*out));
    return 0;
}

int pstate_get(struct pstate_reader *r, uint32_t task, uint32_t pstate, struct leat_row keys, struct leat_value *out,
               uint32_t fields, struct leat_error *err)
{
    struct leat_span value;
    struct place p;
    int rv = place_find(r, task, pstate, keys, false, &p, err);

    if (rv != 0)
        return rv;
    if (p.level == NULL)
        return p.found ? raw_get(r, p.key.bytes, p.key.size, &value, err) : LEAT_ENOTFOUND;
    if (!p.found)
        return LEAT_ENOTFOUND;
    return level_is_collection(p.level) ? 0 : decode_fields(p.level, p.value, out, fields, err);
}

/* ---- Writing ---- */

/* Into the view's scratch. */
static int encode_fields(struct pstate_view *v, const struct pstate_level *level, struct leat_row row,
                         struct leat_error *err)
{
    if (row.count != level->fields.columns)
        return leat_fail(err, LEAT_ESCHEMA, "%u fields are wanted, %u given", level->fields.columns, row.count);
    buffer_clear(&v->scratch);
    if (row_encode_fast(&level->fields, row, &v->scratch) == 0)
        return 0;
    int rv = row_encode(&level->fields, row, &v->scratch, err);
    return rv != 0 ? rv : leat_fail(err, LEAT_ESCHEMA, "a value does not fit the schema");
}

static int wrap(struct pstate_view *v, uint32_t pstate, int rv, struct leat_error *err)
{
    return rv == 0 ? 0 : base_wrap(err, rv, "PState '%s'", v->config.schema[pstate].name);
}

/* Everything but the last key, made where it is missing; then the element's own key. */
static int parent_of(struct pstate_view *v, uint32_t task, uint32_t pstate, struct leat_row keys, struct place *p,
                     struct leat_error *err)
{
    if (keys.count == 0) {
        p->level = v->config.schema[pstate].top;
        p->depth = 0;
        key_root(&p->key, task, pstate);
        return 0;
    }
    int rv = place_find(&v->writer, task, pstate, (struct leat_row){keys.value, keys.count - 1}, true, p, err);
    if (rv == 0 && p->level == NULL)
        rv = leat_fail(err, LEAT_ESCHEMA, "more keys than levels");
    return rv == 0 ? descend(&v->writer, p, &keys.value[keys.count - 1], true, err) : rv;
}

int pstate_put(struct pstate_view *v, uint32_t task, uint32_t pstate, struct leat_row keys, struct leat_row row,
               struct leat_error *err)
{
    struct place p;
    int rv;

    leat_assert(v->writer.txn != NULL && pstate < v->config.schemas);
    rv = parent_of(v, task, pstate, keys, &p, err);
    if (rv == 0 && p.level == NULL)
        rv = row.count == 0 ? put_element(v, &p.key, span_of("", 0), err)
                            : leat_fail(err, LEAT_ESCHEMA, "an element of a set has no value");
    else if (rv == 0 && level_is_collection(p.level))
        rv = leat_fail(err, LEAT_ESCHEMA, "the keys lead to a collection: give the key of an element too");
    else if (rv == 0) {
        rv = encode_fields(v, p.level, row, err);
        if (rv == 0)
            rv = put_element(v, &p.key, buffer_bytes(&v->scratch), err);
    }
    return wrap(v, pstate, rv, err);
}

int pstate_push(struct pstate_view *v, uint32_t task, uint32_t pstate, struct leat_row keys, struct leat_row row,
                uint64_t *index, struct leat_error *err)
{
    struct place p;
    int rv = place_find(&v->writer, task, pstate, keys, true, &p, err);

    if (rv == 0 && (p.level == NULL || p.level->shape != PSTATE_LIST || level_is_collection(p.level->below)))
        rv = leat_fail(err, LEAT_ESCHEMA, "the keys do not lead to a list of values");
    if (rv == 0 && !p.found)
        rv = make(&v->writer, &p, err);
    if (rv != 0)
        return wrap(v, pstate, rv, err);
    struct key element;
    place_prefix(&p, &element);
    key_u64(&element, p.count);
    rv = encode_fields(v, p.level->below, row, err);
    if (rv == 0)
        rv = put_element(v, &element, buffer_bytes(&v->scratch), err);
    if (rv == 0)
        rv = put_header(v, &p, p.count + 1, err);
    if (rv == 0 && index != NULL)
        *index = p.count;
    return wrap(v, pstate, rv, err);
}

/* All elements of a PState's own level, one by one: it has no reference that could be unlinked. */
static int clear_root(struct pstate_view *v, uint32_t task, uint32_t pstate, struct leat_error *err)
{
    struct pstate_level *top = v->config.schema[pstate].top;
    struct pstate_scan *scan;
    struct leat_value key;
    int rv;

    if (is_counted(top))
        return leat_fail(err, LEAT_ESCHEMA, "a list or rows at the top of a PState cannot be deleted whole");
    do {
        rv = pstate_scan_open(&v->writer, task, pstate, LEAT_KEYS(), NULL, &scan, err);
        if (rv != 0)
            return rv;
        rv = pstate_scan_next(scan, &key, NULL, 0, err);
        pstate_scan_close(scan);
        if (rv == 0)
            rv = pstate_delete(v, task, pstate, (struct leat_row){&key, 1}, err);
    } while (rv == 0);
    return rv == LEAT_END ? 0 : rv;
}

int pstate_delete(struct pstate_view *v, uint32_t task, uint32_t pstate, struct leat_row keys, struct leat_error *err)
{
    struct place p;
    int rv = place_find(&v->writer, task, pstate, keys, false, &p, err);

    if (rv != 0)
        return rv;
    if (keys.count == 0 && level_is_collection(p.level))
        return wrap(v, pstate, clear_root(v, task, pstate, err), err);
    if (!p.found)
        return 0;
    if (p.in_list)
        return wrap(v, pstate, leat_fail(err, LEAT_ESCHEMA, "elements of a list cannot be deleted one by one"), err);
    if (p.level != NULL && level_is_collection(p.level))
        return wrap(v, pstate, unlink_place(v, pstate, &p, err), err);
    op_record(v, OP_DELETE, span_of(p.key.bytes, p.key.size), span_of(NULL, 0));
    return wrap(v, pstate, raw_delete(v, p.key.bytes, p.key.size, err), err);
}

/* ---- Scans ---- */

struct pstate_scan {
    struct pstate_scan *next;
    struct pstate_reader *reader;
    MDB_cursor *cursor;
    const struct pstate_level *level;
    struct key prefix;
    struct key from, to;    /* whole keys; size 0: no bound */
    bool from_exclusive, to_inclusive, descending, started, empty;
    uint64_t left;
};

static void scan_remove(struct pstate_reader *r, struct pstate_scan *s)
{
    struct pstate_scan **at = &r->open;

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
}

/* Cursors of a write transaction end with it; those of a snapshot can be used again. */
static void scan_free(struct pstate_scan *s)
{
    if (s->cursor != NULL)
        mdb_cursor_close(s->cursor);
    free(s);
}

void scans_close(struct pstate_reader *r, bool free_all)
{
    walk_end(r, free_all);
    while (r->open != NULL)
        pstate_scan_close(r->open);
    while (free_all && r->spare != NULL) {
        struct pstate_scan *s = r->spare;

        r->spare = s->next;
        scan_free(s);
    }
}

void pstate_scan_close(struct pstate_scan *s)
{
    if (s == NULL)
        return;
    scan_remove(s->reader, s);
    s->next = s->reader->spare;
    s->reader->spare = s;
}

static int scan_take(struct pstate_reader *r, struct pstate_scan **out, struct leat_error *err)
{
    struct pstate_scan *s = r->spare;
    int rc = 0;

    if (s != NULL) {
        r->spare = s->next;
        if (!r->writes)
            rc = mdb_cursor_renew(r->txn, s->cursor);
    } else {
        s = base_alloc(sizeof(*s));
        rc = mdb_cursor_open(r->txn, r->view->dbi, &s->cursor);
    }
    s->reader = r;
    s->next = r->open;
    r->open = s;
    *out = s;
    return rc == 0 ? 0 : view_error(err, rc, "read", r->view);
}

static int scan_bound(struct pstate_scan *s, struct key *k, const struct leat_value *bound, struct leat_error *err)
{
    k->size = 0;
    if (bound == NULL)
        return 0;
    *k = s->prefix;
    return key_value(k, key_type(s->level), bound, err);
}

int pstate_scan_open(struct pstate_reader *r, uint32_t task, uint32_t pstate, struct leat_row keys,
                     const struct leat_range *range, struct pstate_scan **out, struct leat_error *err)
{
    static const struct leat_range all = {0};
    struct pstate_scan *s;
    struct place p;
    int rv = place_find(r, task, pstate, keys, false, &p, err);

    if (rv == 0 && (p.level == NULL || !level_is_collection(p.level) || p.level->shape == PSTATE_ROWS))
        rv = leat_fail(err, LEAT_ESCHEMA, "PState '%s': the keys do not lead to a map, set or list",
                       r->view->config.schema[pstate].name);
    if (rv == 0)
        rv = scan_take(r, &s, err);
    if (rv != 0)
        return rv;
    range = range != NULL ? range : &all;
    s->level = p.level;
    s->empty = !p.found;
    s->started = false;
    s->descending = range->descending;
    s->from_exclusive = range->from_exclusive;
    s->to_inclusive = range->to_inclusive;
    s->left = range->limit > 0 ? range->limit : UINT64_MAX;
    s->prefix.size = 0;
    if (p.found)
        place_prefix(&p, &s->prefix);
    rv = scan_bound(s, &s->from, range->from, err);
    if (rv == 0)
        rv = scan_bound(s, &s->to, range->to, err);
    if (rv != 0) {
        pstate_scan_close(s);
        return rv;
    }
    *out = s;
    return 0;
}

static int compare(const MDB_val *k, const struct key *with)
{
    size_t least = k->mv_size < with->size ? k->mv_size : with->size;
    int order = memcmp(k->mv_data, with->bytes, least);

    return order != 0 ? order : k->mv_size < with->size ? -1 : k->mv_size > with->size;
}

/* The smallest key above all that begin with the prefix. */
static void behind(const struct key *prefix, struct key *out)
{
    *out = *prefix;
    while (out->size > 0 && out->bytes[out->size - 1] == 0xff)
        out->size--;
    leat_assert(out->size > 0);
    out->bytes[out->size - 1]++;
}

/* Position before the first element in the scan's direction, then step onto it. */
static int seek(struct pstate_scan *s, MDB_val *k, MDB_val *v)
{
    struct key start;
    int rc;

    if (!s->descending) {
        start = s->from.size > 0 ? s->from : s->prefix;
        *k = (MDB_val){start.size, start.bytes};
        rc = mdb_cursor_get(s->cursor, k, v, MDB_SET_RANGE);
        if (rc == 0 && s->from.size > 0 && s->from_exclusive && compare(k, &s->from) == 0)
            rc = mdb_cursor_get(s->cursor, k, v, MDB_NEXT);
        return rc;
    }
    if (s->to.size > 0)
        start = s->to;
    else
        behind(&s->prefix, &start);
    *k = (MDB_val){start.size, start.bytes};
    rc = mdb_cursor_get(s->cursor, k, v, MDB_SET_RANGE);
    if (rc == 0 && s->to.size > 0 && s->to_inclusive && compare(k, &s->to) == 0)
        return 0;
    return mdb_cursor_get(s->cursor, k, v, rc == 0 ? MDB_PREV : MDB_LAST);
}

/* Is the key inside the collection and the bound that lies ahead? */
static bool inside(const struct pstate_scan *s, const MDB_val *k)
{
    if (k->mv_size < s->prefix.size || memcmp(k->mv_data, s->prefix.bytes, s->prefix.size) != 0)
        return false;
    if (!s->descending && s->to.size > 0) {
        int order = compare(k, &s->to);

        return order < 0 || (order == 0 && s->to_inclusive);
    }
    if (s->descending && s->from.size > 0) {
        int order = compare(k, &s->from);

        return order > 0 || (order == 0 && !s->from_exclusive);
    }
    return true;
}

int pstate_scan_next(struct pstate_scan *s, struct leat_value *key, struct leat_value *out, uint32_t fields,
                     struct leat_error *err)
{
    MDB_val k, v;
    int rv = s->reader->writes ? pending_flush(s->reader->view, err) : 0, rc;

    if (rv != 0)
        return rv;
    if (s->empty || s->left == 0)
        return LEAT_END;
    do {
        rc = s->started ? mdb_cursor_get(s->cursor, &k, &v, s->descending ? MDB_PREV : MDB_NEXT) : seek(s, &k, &v);
        s->started = true;
        /* A list at the top of a PState has its header where its elements begin. */
    } while (rc == 0 && k.mv_size == s->prefix.size && s->level->shape == PSTATE_LIST && inside(s, &k));
    if (rc == MDB_NOTFOUND || (rc == 0 && !inside(s, &k)))
        return LEAT_END;
    if (rc != 0)
        return view_error(err, rc, "read", s->reader->view);
    s->left--;
    struct leat_span rest = span_of((const uint8_t *)k.mv_data + s->prefix.size, k.mv_size - s->prefix.size);
    if (key_decode(key_type(s->level), rest, key) != 0)
        return leat_fail(err, LEAT_ECORRUPT, "a key of %zu bytes does not fit its schema", rest.size);
    if (s->level->below == NULL || level_is_collection(s->level->below) || fields == 0)
        return 0;
    return decode_fields(s->level->below, span_of(v.mv_data, v.mv_size), out, fields, err);
}

int pstate_size(struct pstate_reader *r, uint32_t task, uint32_t pstate, struct leat_row keys, uint64_t *out,
                struct leat_error *err)
{
    struct pstate_scan *s;
    struct leat_value key;
    struct place p;
    int rv = place_find(r, task, pstate, keys, false, &p, err);

    *out = 0;
    if (rv != 0)
        return rv;
    if (p.level == NULL || !level_is_collection(p.level))
        return leat_fail(err, LEAT_ESCHEMA, "PState '%s': the keys do not lead to a collection",
                         r->view->config.schema[pstate].name);
    if (!p.found)
        return 0;
    if (is_counted(p.level)) {
        *out = p.count;
        return 0;
    }
    rv = pstate_scan_open(r, task, pstate, keys, NULL, &s, err);
    if (rv != 0)
        return rv;
    while ((rv = pstate_scan_next(s, &key, NULL, 0, err)) == 0)
        (*out)++;
    pstate_scan_close(s);
    return rv == LEAT_END ? 0 : rv;
}
