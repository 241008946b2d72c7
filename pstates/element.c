/* SPDX-License-Identifier: Apache-2.0 */
#include "pstates/element.h"

#include "base/codec.h"
#include "pstates/view.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- Collections that were met ---- */

static struct reference *slot_of(const struct references *r, uint64_t reference)
{
    uint32_t at = (uint32_t)(reference * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (r->capacity - 1);

    while (r->slot[at].reference != 0 && r->slot[at].reference != reference)
        at = (at + 1) & (r->capacity - 1);
    return &r->slot[at];
}

struct reference *references_find(const struct references *r, uint64_t reference)
{
    struct reference *s = r->capacity > 0 && reference != 0 ? slot_of(r, reference) : NULL;

    return s != NULL && s->reference != 0 ? s : NULL;
}

static void grow(struct references *r)
{
    struct references larger = {.capacity = r->capacity == 0 ? 64 : r->capacity * 2, .count = r->count};

    larger.slot = base_alloc(larger.capacity * sizeof(*larger.slot));
    for (uint32_t i = 0; i < r->capacity; i++)
        if (r->slot[i].reference != 0)
            *slot_of(&larger, r->slot[i].reference) = r->slot[i];
    free(r->slot);
    *r = larger;
}

struct reference *references_add(struct references *r, uint64_t reference)
{
    leat_assert(reference != 0);
    if (r->count * 2 >= r->capacity)
        grow(r);
    struct reference *s = slot_of(r, reference);
    r->count += s->reference == 0;
    s->reference = reference;
    return s;
}

void references_clear(struct references *r)
{
    if (r->count > 0)
        memset(r->slot, 0, r->capacity * sizeof(*r->slot));
    r->count = 0;
}

void references_fini(struct references *r)
{
    free(r->slot);
    *r = (struct references){NULL, 0, 0};
}

/* ---- Elements ---- */

static bool is_counted(const struct pstate_level *level)
{
    return level->shape == PSTATE_LIST || level->shape == PSTATE_ROWS;
}

static const struct leat_column index_column = {.name = "index", .type = LEAT_U64, .stride = 8};

/* The key of an element of a collection. */
static int decode_key(struct element *e)
{
    const uint8_t *bytes = e->key.base;

    e->value = leat_null();
    e->level = e->in->below;
    if (e->in->shape == PSTATE_ROWS)
        return (e->key.size == 5 && bytes[0] == 0) || (e->key.size == 9 && bytes[0] == 1) ? 0 : LEAT_ECORRUPT;
    return key_decode(e->in->shape == PSTATE_LIST ? &index_column : &e->in->key, e->key, &e->value);
}

int element_of(const struct pstate_schema *schema, uint32_t schemas, const struct references *met, struct leat_span key,
               struct element *out)
{
    const uint8_t *bytes = key.base;

    memset(out, 0, sizeof(*out));
    if (key.size < KEY_PREFIX)
        return LEAT_ECORRUPT;
    out->task = key_task_of(bytes);
    out->system = out->task == 0xffff;
    if (out->system)
        return 0;
    if (bytes[2] == KEY_REFERENCE) {
        if (key.size < KEY_PREFIX + 8)
            return LEAT_ECORRUPT;
        out->reference = key_read_u64(bytes + KEY_PREFIX);
        out->key = span_of(bytes + KEY_PREFIX + 8, key.size - KEY_PREFIX - 8);
        const struct reference *r = references_find(met, out->reference);
        if (r == NULL)
            return LEAT_ENOTFOUND;
        out->pstate = r->pstate;
        out->in = r->level;
        return decode_key(out);
    }
    if (bytes[2] >= schemas)
        return LEAT_ECORRUPT;
    out->pstate = &schema[bytes[2]];
    out->key = span_of(bytes + KEY_PREFIX, key.size - KEY_PREFIX);
    const struct pstate_level *top = out->pstate->top;
    if (!level_is_collection(top) || (is_counted(top) && out->key.size == 0)) {
        out->level = top;
        return out->key.size == 0 ? 0 : LEAT_ECORRUPT;
    }
    out->in = top;
    return decode_key(out);
}

static int check_header(const struct element *e, struct leat_span value, struct leat_error *err)
{
    size_t size = is_counted(e->level) ? 16 : 8;

    if (value.size != size)
        return leat_fail(err, LEAT_ECORRUPT, "the header of a collection has %zu bytes, not %zu", value.size, size);
    if ((load_u64(value.base) == 0) != (e->in == NULL))
        return leat_fail(err, LEAT_ECORRUPT, "the header of a collection has the reference %llu",
                         (unsigned long long)load_u64(value.base));
    return 0;
}

int element_check(const struct element *e, struct leat_span value, struct leat_error *err)
{
    struct leat_value field[LIMIT_COLUMNS];

    if (e->in != NULL && e->in->shape == PSTATE_ROWS)
        return 0;
    if (e->level == NULL)
        return value.size == 0
                   ? 0
                   : leat_fail(err, LEAT_ECORRUPT, "an element of a set has a value of %zu bytes", value.size);
    if (level_is_collection(e->level))
        return check_header(e, value, err);
    if (row_decode(&e->level->fields, value, field) != 0)
        return leat_fail(err, LEAT_ECORRUPT, "a value of %zu bytes does not fit the schema", value.size);
    return 0;
}

struct reference *element_meet(const struct element *e, struct leat_span value, struct references *met)
{
    if (e->system || e->in == NULL || e->level == NULL || !level_is_collection(e->level) ||
        check_header(e, value, NULL) != 0)
        return NULL;
    struct reference *r = references_add(met, load_u64(value.base));
    r->pstate = e->pstate;
    r->level = e->level;
    r->count = is_counted(e->level) ? load_u64((const uint8_t *)value.base + 8) : 0;
    return r;
}

/* ---- As text ---- */

static void put_format(struct buffer *out, const char *format, ...) LEAT_PRINTF(2, 3);

static void put_format(struct buffer *out, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    int size = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    buffer_put(out, text, size < (int)sizeof(text) ? (size_t)size : sizeof(text) - 1);
}

static void put_key(const struct element *e, struct buffer *out)
{
    if (e->in->shape == PSTATE_ROWS && *(const uint8_t *)e->key.base == 0)
        put_format(out, ", block %u", key_read_u32((const uint8_t *)e->key.base + 1));
    else if (e->in->shape == PSTATE_ROWS)
        put_format(out, ", row %llu", (unsigned long long)key_read_u64((const uint8_t *)e->key.base + 1));
    else {
        put_format(out, e->in->shape == PSTATE_LIST ? ", index " : ", key ");
        value_to_json(&e->value, out);
    }
}

void element_name(const struct element *e, struct buffer *out)
{
    if (e->system) {
        put_format(out, "the view's own figures");
        return;
    }
    put_format(out, "task %u", e->task);
    if (e->pstate != NULL)
        put_format(out, ", PState %s", e->pstate->name);
    if (e->reference != 0)
        put_format(out, ", collection %llu", (unsigned long long)e->reference);
    if (e->in != NULL)
        put_key(e, out);
}

static void put_fields(const struct row_schema *fields, const struct leat_value *value, struct buffer *out)
{
    for (uint32_t i = 0; i < fields->columns; i++) {
        put_format(out, i == 0 ? "{" : ", ");
        json_escape(span_text(fields->column[i].name), out);
        put_format(out, ": ");
        value_to_json(&value[i], out);
    }
    put_format(out, "}");
}

/* A value, an object of its fields, or what is known of a collection. */
static void element_json(const struct element *e, struct leat_span value, struct buffer *out)
{
    struct leat_value field[LIMIT_COLUMNS];

    if (e->system || (e->in != NULL && e->in->shape == PSTATE_ROWS) || element_check(e, value, NULL) != 0)
        put_format(out, "{\"bytes\": %zu}", value.size);
    else if (e->level == NULL)
        put_format(out, "true");
    else if (level_is_collection(e->level) && is_counted(e->level))
        put_format(out, "{\"collection\": %llu, \"count\": %llu}", (unsigned long long)load_u64(value.base),
                   (unsigned long long)load_u64((const uint8_t *)value.base + 8));
    else if (level_is_collection(e->level))
        put_format(out, "{\"collection\": %llu}", (unsigned long long)load_u64(value.base));
    else {
        int rv = row_decode(&e->level->fields, value, field);

        leat_assert(rv == 0);
        if (e->level->shape == PSTATE_LEAF)
            value_to_json(&field[0], out);
        else
            put_fields(&e->level->fields, field, out);
    }
}

/* ---- Operations ---- */

static const char *const operation_name[] = {
    [OP_PUT] = "put", [OP_DELETE] = "delete", [OP_UNLINK] = "unlink", [OP_ROW_APPEND] = "append row",
    [OP_ROW_REPLACE] = "replace row", [OP_ROW_REMOVE] = "remove row"};

/* Of an operation on packed rows: the number of the row, and its fields. */
static void explain_row(const struct element *e, enum view_op op, struct leat_span value, struct buffer *out)
{
    struct reader r = reader_of(value);
    const struct pstate_level *level = e->level;

    for (int i = 0; i < 4; i++)
        reader_varint(&r);
    put_format(out, "{\"row\": %llu", (unsigned long long)reader_varint(&r));
    if (op != OP_ROW_REMOVE && level != NULL && level->shape == PSTATE_ROWS && reader_left(&r) == level->row_stride) {
        for (uint32_t i = 0; i < level->fields.columns; i++) {
            struct row_schema one = {1, &level->fields.column[i]};
            struct leat_value field;

            if (row_decode(&one, span_of(r.at + level->place[i], one.column->stride), &field) != 0)
                continue;
            put_format(out, ", ");
            json_escape(span_text(one.column->name), out);
            put_format(out, ": ");
            value_to_json(&field, out);
        }
    }
    put_format(out, "}");
}

static void explain_value(const struct element *e, bool known, enum view_op op, struct leat_span value,
                          struct buffer *out)
{
    if (op >= OP_ROW_APPEND)
        explain_row(e, op, value, out);
    else if (op == OP_UNLINK && value.size == 10)
        put_format(out, "{\"collection\": %llu}", (unsigned long long)load_u64(value.base));
    else if (op == OP_PUT && known)
        element_json(e, value, out);
    else if (op == OP_PUT)
        put_format(out, "{\"bytes\": %zu}", value.size);
}

int pstate_explain(const struct pstate_schema *schema, uint32_t schemas, struct references *met, struct leat_span ops,
                   pstate_explain_each *each, void *context)
{
    struct reader r = reader_of(ops);
    struct buffer name = {0}, json = {0};
    int rv = 0;

    while (reader_left(&r) > 0 && rv == 0) {
        enum view_op op = (enum view_op)reader_u8(&r);
        struct leat_span key = reader_span(&r), value = op == OP_DELETE ? span_of(NULL, 0) : reader_span(&r);
        struct element e;

        if (r.error != 0 || op < OP_PUT || op > OP_ROW_REMOVE) {
            rv = LEAT_ECORRUPT;
            break;
        }
        int known = element_of(schema, schemas, met, key, &e);
        if (known == 0 && op == OP_PUT)
            element_meet(&e, value, met);
        if (e.system || each == NULL)
            continue;
        buffer_clear(&name);
        buffer_clear(&json);
        if (known == LEAT_ECORRUPT)
            put_format(&name, "a key of %zu bytes that no schema has", key.size);
        else
            element_name(&e, &name);
        explain_value(&e, known == 0, op, value, &json);
        each(context, &(struct pstate_explained){operation_name[op], buffer_bytes(&name), buffer_bytes(&json)});
    }
    buffer_fini(&name);
    buffer_fini(&json);
    return rv;
}
