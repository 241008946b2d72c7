/* SPDX-License-Identifier: Apache-2.0 */
#include "base/codec.h"
#include "pstates/view.h"

#include <stdio.h>

/* Two views side by side, key by key. References and the layout of pages do not count: what modules see does. */

struct side {
    struct pstate_reader *reader;
    struct pstate_scan *scan;
    struct leat_value key, value[LIMIT_COLUMNS];
    int state;                /* of the scan: 0, LEAT_END or an error */
};

struct comparing {
    struct pstate_reader *reader[2];
    uint32_t task, pstate;
    struct leat_value path[LIMIT_NESTING + 1];
    struct pstate_comparison *out;
    struct buffer bytes[2];
    struct leat_error *err;
};

static int compare_at(struct comparing *c, const struct pstate_level *level, uint32_t depth);

/* ---- What differs, as text ---- */

static void put_text(struct buffer *out, const char *text)
{
    buffer_put(out, text, strlen(text));
}

static void put_path(const struct comparing *c, uint32_t depth, struct buffer *out)
{
    char text[64];

    snprintf(text, sizeof(text), "task %u", c->task);
    put_text(out, text);
    for (uint32_t i = 0; i < depth; i++) {
        put_text(out, i == 0 ? ", key " : " / ");
        value_to_json(&c->path[i], out);
    }
}

static void put_values(const struct pstate_level *level, const struct leat_value *value, struct buffer *out)
{
    if (level == NULL || level_is_collection(level)) {
        put_text(out, level == NULL ? "there" : "a collection");
        return;
    }
    for (uint32_t i = 0; i < level->fields.columns; i++) {
        put_text(out, i > 0 ? ", " : "");
        value_to_json(&value[i], out);
    }
}

/* a, b: NULL where it is not there. */
static void differs(struct comparing *c, const struct pstate_level *level, uint32_t depth, const struct leat_value *a,
                    const struct leat_value *b)
{
    struct buffer where = {0}, what[2] = {{0}, {0}};

    if (c->out->differences++ < c->out->most) {
        const struct leat_value *value[2] = {a, b};

        put_path(c, depth, &where);
        buffer_u8(&where, 0);
        for (int i = 0; i < 2; i++) {
            if (value[i] == NULL)
                put_text(&what[i], "nothing");
            else
                put_values(level, value[i], &what[i]);
            buffer_u8(&what[i], 0);
        }
        c->out->differs(c->out->context, (const char *)where.base, (const char *)what[0].base,
                        (const char *)what[1].base);
    }
    buffer_fini(&where);
    buffer_fini(&what[0]);
    buffer_fini(&what[1]);
}

static void differs_in(struct comparing *c, uint32_t depth, const char *format, uint64_t a, uint64_t b)
{
    struct buffer where = {0};
    char text[2][96];

    if (c->out->differences++ < c->out->most) {
        put_path(c, depth, &where);
        buffer_u8(&where, 0);
        snprintf(text[0], sizeof(text[0]), format, (unsigned long long)a);
        snprintf(text[1], sizeof(text[1]), format, (unsigned long long)b);
        c->out->differs(c->out->context, (const char *)where.base, text[0], text[1]);
    }
    buffer_fini(&where);
}

/* ---- Comparing ---- */

static bool same_values(struct comparing *c, const struct pstate_level *level, const struct leat_value *a,
                        const struct leat_value *b)
{
    const struct leat_value *value[2] = {a, b};

    for (int i = 0; i < 2; i++) {
        buffer_clear(&c->bytes[i]);
        if (row_encode_fast(&level->fields, (struct leat_row){value[i], level->fields.columns}, &c->bytes[i]) != 0)
            return false;
    }
    return span_equal(buffer_bytes(&c->bytes[0]), buffer_bytes(&c->bytes[1]));
}

static int next(struct side *s, const struct pstate_level *level, struct leat_error *err)
{
    uint32_t fields = level->below != NULL && !level_is_collection(level->below) ? level->below->fields.columns : 0;

    s->state = pstate_scan_next(s->scan, &s->key, s->value, fields, err);
    return s->state < 0 ? s->state : 0;
}

/* The order of the keys that two scans stand on; one that is at its end comes last. */
static int order_of(const struct pstate_level *level, const struct side *a, const struct side *b)
{
    static const struct leat_column index = {.type = LEAT_U64, .stride = 8};
    const struct leat_column *type = level->shape == PSTATE_LIST ? &index : &level->key;
    struct key k[2] = {{.size = 0}, {.size = 0}};

    if (a->state != 0 || b->state != 0)
        return a->state == b->state ? 0 : a->state != 0 ? 1 : -1;
    int rv = key_value(&k[0], type, &a->key, NULL);
    if (rv == 0)
        rv = key_value(&k[1], type, &b->key, NULL);
    leat_assert(rv == 0);
    uint32_t least = k[0].size < k[1].size ? k[0].size : k[1].size;
    int order = memcmp(k[0].bytes, k[1].bytes, least);
    return order != 0 ? order : k[0].size < k[1].size ? -1 : k[0].size > k[1].size;
}

/* Elements of a map, set or list that both, or one of them, have. */
static int compare_pair(struct comparing *c, const struct pstate_level *level, uint32_t depth, int order,
                        const struct side *a, const struct side *b)
{
    c->path[depth] = order <= 0 ? a->key : b->key;
    c->out->elements++;
    if (order != 0) {
        differs(c, level->below, depth + 1, order < 0 ? a->value : NULL, order > 0 ? b->value : NULL);
        return 0;
    }
    if (level->below == NULL)
        return 0;
    if (level_is_collection(level->below))
        return compare_at(c, level->below, depth + 1);
    if (!same_values(c, level->below, a->value, b->value))
        differs(c, level->below, depth + 1, a->value, b->value);
    return 0;
}

static int compare_elements(struct comparing *c, const struct pstate_level *level, uint32_t depth)
{
    struct side *side = base_alloc(2 * sizeof(*side));
    struct leat_row keys = {c->path, depth};
    int rv = 0;

    for (int i = 0; i < 2 && rv == 0; i++) {
        side[i].reader = c->reader[i];
        rv = pstate_scan_open(side[i].reader, c->task, c->pstate, keys, NULL, &side[i].scan, c->err);
        if (rv == 0)
            rv = next(&side[i], level, c->err);
    }
    while (rv == 0 && (side[0].state == 0 || side[1].state == 0)) {
        int order = order_of(level, &side[0], &side[1]);

        rv = compare_pair(c, level, depth, order, &side[0], &side[1]);
        if (rv == 0 && order <= 0)
            rv = next(&side[0], level, c->err);
        if (rv == 0 && order >= 0)
            rv = next(&side[1], level, c->err);
    }
    for (int i = 0; i < 2; i++)
        if (side[i].scan != NULL)
            pstate_scan_close(side[i].scan);
    free(side);
    return rv;
}

static int size_of(struct comparing *c, int side, uint32_t depth, uint64_t *out)
{
    int rv = pstate_size(c->reader[side], c->task, c->pstate, (struct leat_row){c->path, depth}, out, c->err);

    if (rv == LEAT_ENOTFOUND)
        *out = 0;
    return rv == LEAT_ENOTFOUND ? 0 : rv;
}

/* Packed rows, as many as both have. */
static int compare_rows(struct comparing *c, const struct pstate_level *level, uint32_t depth)
{
    struct leat_row keys = {c->path, depth};
    uint64_t rows[2];
    int rv = size_of(c, 0, depth, &rows[0]);

    if (rv == 0)
        rv = size_of(c, 1, depth, &rows[1]);
    if (rv == 0 && rows[0] != rows[1])
        differs_in(c, depth, "%llu packed rows", rows[0], rows[1]);
    for (uint64_t at = 0; rv == 0 && at < rows[0] && at < rows[1]; at++) {
        const void *row[2];
        uint32_t number = (uint32_t)at;

        c->out->elements++;
        for (int i = 0; i < 2 && rv == 0; i++)
            rv = pstate_rows_pointers(c->reader[i], c->task, c->pstate, keys, &number, 1, &row[i], c->err);
        if (rv == 0 && memcmp(row[0], row[1], level->row_stride) != 0)
            differs_in(c, depth, "another packed row %llu", at, at);
    }
    return rv;
}

/* The value of a PState that has no keys. */
static int compare_leaf(struct comparing *c, const struct pstate_level *level)
{
    struct leat_value value[2][LIMIT_COLUMNS];
    bool there[2];

    for (int i = 0; i < 2; i++) {
        int rv = pstate_get(c->reader[i], c->task, c->pstate, LEAT_KEYS(), value[i], LIMIT_COLUMNS, c->err);

        if (rv != 0 && rv != LEAT_ENOTFOUND)
            return rv;
        there[i] = rv == 0;
    }
    c->out->elements += there[0] || there[1];
    if (there[0] != there[1] || (there[0] && !same_values(c, level, value[0], value[1])))
        differs(c, level, 0, there[0] ? value[0] : NULL, there[1] ? value[1] : NULL);
    return 0;
}

static int compare_at(struct comparing *c, const struct pstate_level *level, uint32_t depth)
{
    if (level->shape == PSTATE_ROWS)
        return compare_rows(c, level, depth);
    return level_is_collection(level) ? compare_elements(c, level, depth) : compare_leaf(c, level);
}

int pstate_compare(struct pstate_reader *a, struct pstate_reader *b, uint32_t task, uint32_t pstate,
                   struct pstate_comparison *out, struct leat_error *err)
{
    struct comparing c = {.reader = {a, b}, .task = task, .pstate = pstate, .out = out, .err = err};

    leat_assert(pstate < a->view->config.schemas && pstate < b->view->config.schemas);
    int rv = compare_at(&c, a->view->config.schema[pstate].top, 0);
    buffer_fini(&c.bytes[0]);
    buffer_fini(&c.bytes[1]);
    return rv;
}
