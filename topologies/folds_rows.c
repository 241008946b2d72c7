/* SPDX-License-Identifier: Apache-2.0 */
#include "topologies/folds.h"

/* Folds whose states hold rows. Rows are kept encoded; where they must be distinct, an index by the hash of the bytes
 * that make them so leads to them. */

struct rows {
    struct leat_span *row;
    uint32_t count, capacity;
    uint32_t *slot; /* index of a row + 1 by hash of its key; NULL: rows are not distinct */
    uint32_t slots;
};

struct rows_of {
    uint32_t element; /* set: the column whose values are its elements */
    uint32_t most;    /* limit */
};

static void rows_init(const struct leat_fold_use *use, void *state)
{
    (void)use;
    memset(state, 0, sizeof(struct rows));
}

static void rows_push(const struct leat_fold_use *use, struct rows *r, struct leat_span row)
{
    if (r->count == r->capacity) {
        uint32_t capacity = r->capacity == 0 ? 4 : r->capacity * 2;
        struct leat_span *grown = leat_fold_alloc(use, capacity * sizeof(*grown));

        if (r->count > 0)
            memcpy(grown, r->row, r->count * sizeof(*grown));
        r->row = grown;
        r->capacity = capacity;
    }
    r->row[r->count++] = row;
}

static void rows_save(const struct leat_fold_use *use, const void *state, struct leat_sink *out)
{
    const struct rows *r = state;

    (void)use;
    for (uint32_t i = 0; i < r->count; i++)
        buffer_span(out->out, r->row[i]);
}

static struct leat_span arena_span(const struct leat_fold_use *use, struct leat_span s)
{
    void *copy = leat_fold_alloc(use, s.size + 1);

    memcpy(copy, s.base, s.size);
    return span_of(copy, s.size);
}

static int rows_load(const struct leat_fold_use *use, void *state, struct leat_span bytes)
{
    struct reader in = reader_of(bytes);

    while (reader_left(&in) > 0) {
        struct leat_span row = reader_span(&in);

        if (in.error == 0)
            rows_push(use, state, arena_span(use, row));
    }
    return in.error;
}

static int rows_finish(const struct leat_fold_use *use, const void *state, struct leat_task *t)
{
    const struct rows *r = state;
    int rv = 0;

    for (uint32_t i = 0; i < r->count && rv == 0; i++)
        rv = fold_emit_row(use, r->row[i], t);
    return rv;
}

/* ---- last and first: one row, and what is saved is the row itself ---- */

static int one_prepare(struct leat_fold_use *use, size_t *state_size, char *schema, size_t size,
                       struct leat_error *err)
{
    *state_size = sizeof(struct rows);
    if (use->columns.columns == 0)
        return leat_fail(err, LEAT_EMODULE, "there is no column for it behind the key");
    return fold_schema(use, NULL, schema, size, err);
}

static int last_step(const struct leat_fold_use *use, void *state, const struct leat_batch *in, uint32_t first,
                     uint32_t end)
{
    struct rows *r = state;

    if (end > first) {
        r->count = 0;
        rows_push(use, r, fold_keep_row(use, in, end - 1));
    }
    return 0;
}

static int first_step(const struct leat_fold_use *use, void *state, const struct leat_batch *in, uint32_t first,
                      uint32_t end)
{
    struct rows *r = state;

    if (end > first && r->count == 0)
        rows_push(use, r, fold_keep_row(use, in, first));
    return 0;
}

static void one_save(const struct leat_fold_use *use, const void *state, struct leat_sink *out)
{
    const struct rows *r = state;

    (void)use;
    if (r->count > 0)
        leat_sink_put(out, r->row[0].base, r->row[0].size);
}

static int one_load(const struct leat_fold_use *use, void *state, struct leat_span bytes)
{
    if (bytes.size > 0)
        rows_push(use, state, arena_span(use, bytes));
    return 0;
}

const struct leat_fold leat_last = {
    "last", LEAT_KEEP_VALUE, one_prepare, rows_init, last_step, NULL, one_save, one_load, rows_finish,
};

const struct leat_fold leat_first = {
    "first", LEAT_KEEP_VALUE, one_prepare, rows_init, first_step, NULL, one_save, one_load, rows_finish,
};

/* ---- list ---- */

static int list_step(const struct leat_fold_use *use, void *state, const struct leat_batch *in, uint32_t first,
                     uint32_t end)
{
    for (uint32_t i = first; i < end; i++)
        rows_push(use, state, fold_keep_row(use, in, i));
    return 0;
}

const struct leat_fold leat_list = {
    "list", LEAT_KEEP_ELEMENTS, one_prepare, rows_init, list_step, NULL, rows_save, rows_load, rows_finish,
};

/* ---- limit ---- */

static int limit_prepare(struct leat_fold_use *use, size_t *state_size, char *schema, size_t size,
                         struct leat_error *err)
{
    struct rows_of *of = leat_fold_memory(use);
    int64_t most = fold_argument_number(use, "k", 1, 1000000, err);

    of->most = (uint32_t)most;
    return most < 0 ? (int)most : one_prepare(use, state_size, schema, size, err);
}

static int limit_step(const struct leat_fold_use *use, void *state, const struct leat_batch *in, uint32_t first,
                      uint32_t end)
{
    const struct rows_of *of = leat_fold_memory(use);
    struct rows *r = state;

    for (uint32_t i = first; i < end && r->count < of->most; i++)
        rows_push(use, r, fold_keep_row(use, in, i));
    return 0;
}

static int limit_merge(const struct leat_fold_use *use, void *state, const void *other)
{
    const struct rows_of *of = leat_fold_memory(use);
    const struct rows *b = other;
    struct rows *a = state;

    for (uint32_t i = 0; i < b->count && a->count < of->most; i++)
        rows_push(use, a, b->row[i]);
    return 0;
}

const struct leat_fold leat_limit = {
    "limit", LEAT_KEEP_ROWS, limit_prepare, rows_init, limit_step, limit_merge, rows_save, rows_load, rows_finish,
};

/* ---- set and map: distinct by one column ---- */

static void index_rows(const struct leat_fold_use *use, struct rows *r, uint32_t slots);

/* What makes a row distinct: its first column; of a set's rows the only one. */
static struct leat_value key_of(const struct leat_fold_use *use, struct leat_span row)
{
    struct row_schema schema = fold_row_schema(use);
    struct leat_value value[LIMIT_COLUMNS];
    int rv = row_decode(&schema, row, value);

    leat_assert(rv == 0);
    return value[0];
}

/* The slot of a key: of its row, or the free one where it would go. */
static uint32_t *slot_of(const struct leat_fold_use *use, struct rows *r, const struct leat_value *key)
{
    uint8_t mine[8], other[8];
    struct leat_span bytes = value_key_bytes(key, mine);

    if (r->count * 2 >= r->slots)
        index_rows(use, r, r->slots == 0 ? 16 : r->slots * 4);
    uint32_t slot = (uint32_t)leat_hash(key) & (r->slots - 1);
    while (r->slot[slot] != 0) {
        struct leat_value have = key_of(use, r->row[r->slot[slot] - 1]);

        if (have.type == key->type && span_equal(value_key_bytes(&have, other), bytes))
            break;
        slot = (slot + 1) & (r->slots - 1);
    }
    return &r->slot[slot];
}

static void index_rows(const struct leat_fold_use *use, struct rows *r, uint32_t slots)
{
    r->slots = slots;
    r->slot = leat_fold_alloc(use, slots * sizeof(*r->slot));
    memset(r->slot, 0, slots * sizeof(*r->slot));
    for (uint32_t i = 0; i < r->count; i++) {
        struct leat_value key = key_of(use, r->row[i]);
        uint32_t slot = (uint32_t)leat_hash(&key) & (slots - 1);

        while (r->slot[slot] != 0)
            slot = (slot + 1) & (slots - 1);
        r->slot[slot] = i + 1;
    }
}

/* Put a row by its key; a later one with the same key takes its place. */
static void rows_put(const struct leat_fold_use *use, struct rows *r, struct leat_span row)
{
    struct leat_value key = key_of(use, row);
    uint32_t *slot = slot_of(use, r, &key);

    if (*slot != 0) {
        r->row[*slot - 1] = row;
        return;
    }
    *slot = r->count + 1;
    rows_push(use, r, row);
}

static int map_load(const struct leat_fold_use *use, void *state, struct leat_span bytes)
{
    struct reader in = reader_of(bytes);

    while (reader_left(&in) > 0) {
        struct leat_span row = reader_span(&in);

        if (in.error == 0)
            rows_put(use, state, arena_span(use, row));
    }
    return in.error;
}

static bool can_be_key(const struct leat_column *c)
{
    return !c->nullable && c->type != LEAT_F32 && c->type >= LEAT_BOOL && c->type <= LEAT_BYTES;
}

static int set_prepare(struct leat_fold_use *use, size_t *state_size, char *schema, size_t size,
                       struct leat_error *err)
{
    struct rows_of *of = leat_fold_memory(use);
    int column = fold_argument_column(use, "of", err);

    if (column < 0)
        return column;
    if (!can_be_key(&use->column[column]))
        return leat_fail(err, LEAT_EMODULE, "column '%s' cannot be an element: a scalar that is never null is wanted",
                         use->column[column].name);
    of->element = (uint32_t)column;
    *state_size = sizeof(struct rows);
    const char *text = arena_format(use->plan->arena, "%s: %s", use->column[column].name,
                                    schema_type_text(use->plan->arena, &use->column[column]));
    return fold_schema(use, text, schema, size, err);
}

/* The use as if the elements' column were all there is. */
static struct leat_fold_use narrowed(const struct leat_fold_use *use)
{
    const struct rows_of *of = leat_fold_memory(use);
    struct leat_fold_use one = *use;

    one.column = use->column + of->element;
    one.columns.column = one.column;
    one.columns.columns = 1;
    return one;
}

static int set_step(const struct leat_fold_use *use, void *state, const struct leat_batch *in, uint32_t first,
                    uint32_t end)
{
    const struct rows_of *of = leat_fold_memory(use);
    struct leat_fold_use one = narrowed(use);
    struct leat_batch column = {in->rows, 1, in->column + of->element};
    struct rows *r = state;

    for (uint32_t i = first; i < end; i++) {
        struct leat_value key = leat_at(&column, i, 0);
        uint32_t *slot = slot_of(&one, r, &key);

        if (*slot == 0) {
            *slot = r->count + 1;
            rows_push(&one, r, fold_keep_row(&one, &column, i));
        }
    }
    return 0;
}

static int set_merge(const struct leat_fold_use *use, void *state, const void *other)
{
    struct leat_fold_use one = narrowed(use);
    const struct rows *b = other;

    for (uint32_t i = 0; i < b->count; i++)
        rows_put(&one, state, b->row[i]);
    return 0;
}

static int set_load(const struct leat_fold_use *use, void *state, struct leat_span bytes)
{
    struct leat_fold_use one = narrowed(use);

    return map_load(&one, state, bytes);
}

static int set_finish(const struct leat_fold_use *use, const void *state, struct leat_task *t)
{
    struct leat_fold_use one = narrowed(use);

    return rows_finish(&one, state, t);
}

const struct leat_fold leat_set = {
    "set", LEAT_KEEP_ELEMENTS, set_prepare, rows_init, set_step, set_merge, rows_save, set_load, set_finish,
};

static int map_prepare(struct leat_fold_use *use, size_t *state_size, char *schema, size_t size,
                       struct leat_error *err)
{
    int column = fold_argument_column(use, "of", err);

    if (column < 0)
        return column;
    if (column != 0)
        return leat_fail(err, LEAT_EMODULE, "of=%s: the key of a map is the first column", use->column[column].name);
    if (!can_be_key(&use->column[0]))
        return leat_fail(err, LEAT_EMODULE, "column '%s' cannot be a key", use->column[0].name);
    *state_size = sizeof(struct rows);
    return fold_schema(use, NULL, schema, size, err);
}

static int map_step(const struct leat_fold_use *use, void *state, const struct leat_batch *in, uint32_t first,
                    uint32_t end)
{
    for (uint32_t i = first; i < end; i++)
        rows_put(use, state, fold_keep_row(use, in, i));
    return 0;
}

const struct leat_fold leat_map = {
    "map", LEAT_KEEP_ELEMENTS, map_prepare, rows_init, map_step, NULL, rows_save, map_load, rows_finish,
};
