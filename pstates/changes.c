/* SPDX-License-Identifier: Apache-2.0 */
#include "pstates/view.h"

/* What a turn wrote at the own level of PStates, read from its operations: so whoever has the journal knows it. */

static int by_key(const void *a, const void *b)
{
    const struct pstate_change *x = a, *y = b;
    size_t least = x->bytes.size < y->bytes.size ? x->bytes.size : y->bytes.size;
    int order = memcmp(x->bytes.base, y->bytes.base, least);

    if (order == 0)
        order = (x->bytes.size > y->bytes.size) - (x->bytes.size < y->bytes.size);
    return order != 0 ? order : (x->number > y->number) - (x->number < y->number);
}

/* The last write to an element says whether it is still there. */
static void keep_last_of_each(struct buffer *out)
{
    struct pstate_change *change = (void *)out->base;
    size_t count = out->size / sizeof(*change), kept = 0;

    for (size_t i = 0; i < count; i++)
        if (i + 1 == count || !span_equal(change[i].bytes, change[i + 1].bytes))
            change[kept++] = change[i];
    out->size = kept * sizeof(*change);
}

int pstate_changes(struct leat_span ops, uint64_t of, struct buffer *out)
{
    struct reader in = reader_of(ops);
    uint32_t number = 0;

    while (reader_left(&in) > 0 && in.error == 0) {
        enum view_op op = (enum view_op)reader_u8(&in);
        struct leat_span key = reader_span(&in);
        const uint8_t *bytes = key.base;

        if (op != OP_DELETE)
            reader_span(&in);
        if (in.error != 0 || key.size < KEY_PREFIX || bytes[2] >= LIMIT_PSTATES || !(of >> bytes[2] & 1))
            continue;
        struct pstate_change c = {key, number++, op == OP_DELETE || op == OP_UNLINK};
        buffer_put(out, &c, sizeof(c));
    }
    if (in.error != 0)
        return LEAT_ECORRUPT;
    if (out->error == 0 && out->size > 0) {
        qsort(out->base, out->size / sizeof(struct pstate_change), sizeof(struct pstate_change), by_key);
        keep_last_of_each(out);
    }
    return out->error;
}

bool pstate_change_read(const struct pstate_schema *schema, const struct pstate_change *change, uint32_t *task,
                        uint32_t *pstate, struct leat_value *key)
{
    static const struct leat_column index = {.name = "index", .type = LEAT_U64, .stride = 8};
    const uint8_t *bytes = change->bytes.base;
    struct leat_span rest = span_of(bytes + KEY_PREFIX, change->bytes.size - KEY_PREFIX);

    *task = key_task_of(bytes);
    *pstate = bytes[2];
    *key = leat_null();
    const struct pstate_level *top = schema[*pstate].top;
    switch (top->shape) {
    case PSTATE_LIST:
        return rest.size > 0 && key_decode(&index, rest, key) == 0; /* without a key: its header */
    case PSTATE_MAP:
    case PSTATE_SET:
        return key_decode(&top->key, rest, key) == 0;
    default:
        return true;
    }
}
