/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/attributes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- Declarations ---- */

static const struct {
    const char *name;
    uint32_t columns;
} types[] = {
    [ATTRIBUTE_BOOL] = {"bool", 1}, [ATTRIBUTE_I64] = {"i64", 1},   [ATTRIBUTE_F64] = {"f64", 1},
    [ATTRIBUTE_STR] = {"str", 1},   [ATTRIBUTE_TEXT] = {"text", 3},
};

enum { TYPES = sizeof(types) / sizeof(types[0]) };

const char *attribute_type_name(enum attribute_type type)
{
    return types[type].name;
}

static bool is_word(struct leat_span s, const char *word)
{
    return s.size == strlen(word) && memcmp(s.base, word, s.size) == 0;
}

int attributes_find(const struct attributes *a, struct leat_span name)
{
    for (uint32_t i = 0; i < a->count; i++)
        if (is_word(name, a->attribute[i].name))
            return (int)i;
    return -1;
}

static bool in_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           (unsigned char)c >= 0x80;
}

/* The name or type at *text, which is moved behind it. */
static struct leat_span take_word(const char **text)
{
    const char *from = *text;

    while (in_name(**text))
        (*text)++;
    return (struct leat_span){from, (size_t)(*text - from)};
}

static int parse_type(struct leat_span word, enum attribute_type *out)
{
    for (int i = 0; i < TYPES; i++)
        if (is_word(word, types[i].name)) {
            *out = (enum attribute_type)i;
            return 0;
        }
    return LEAT_EINVAL;
}

static int add(struct attributes *a, struct leat_span name, struct leat_span type, struct leat_error *err)
{
    static const char *const reserved[] = {"and", "or", "not"};
    struct attribute *to = &a->attribute[a->count];
    const char *text = name.base;
    int size = (int)name.size;

    if (name.size > ATTRIBUTES_NAME)
        return leat_fail(err, LEAT_EINVAL, "attribute '%.*s': a name has at most %d bytes", size, text,
                         ATTRIBUTES_NAME);
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
        if (is_word(name, reserved[i]))
            return leat_fail(err, LEAT_EINVAL, "attribute '%.*s': filters use this word", size, text);
    if (attributes_find(a, name) >= 0)
        return leat_fail(err, LEAT_EINVAL, "attribute '%.*s' is declared twice", size, text);
    if (a->count == ATTRIBUTES_MOST)
        return leat_fail(err, LEAT_ELIMIT, "attribute '%.*s': there are at most %d", size, text, ATTRIBUTES_MOST);
    if (parse_type(type, &to->type) != 0)
        return leat_fail(err, LEAT_EINVAL, "attribute '%.*s': its type is bool, i64, f64, str or text, not '%.*s'",
                         size, text, (int)type.size, (const char *)type.base);
    memcpy(to->name, text, name.size);
    to->column = a->columns;
    a->columns += types[to->type].columns;
    a->count++;
    return 0;
}

int attributes_parse(const char *text, struct attributes *out, struct leat_error *err)
{
    const char *at = text;
    int rv = 0;

    *out = (struct attributes){0};
    at += strspn(at, " ,");
    while (*at != '\0' && rv == 0) {
        struct leat_span name = take_word(&at);

        if (name.size == 0 || *at != ':')
            return leat_fail(err, LEAT_EINVAL, "attributes: 'name: type' is wanted at character %d of '%s'",
                             (int)(at - text) + 1, text);
        at++;
        at += strspn(at, " ");
        rv = add(out, name, take_word(&at), err);
        if (rv == 0 && *at != '\0' && *at != ' ' && *at != ',')
            return leat_fail(err, LEAT_EINVAL, "attributes: a comma is wanted at character %d of '%s'",
                             (int)(at - text) + 1, text);
        at += strspn(at, " ,");
    }
    return rv;
}

/* ---- Values as numbers that order ---- */

int64_t attribute_order(double f)
{
    double same = f == 0 ? 0 : f; /* -0 */
    int64_t bits;

    memcpy(&bits, &same, sizeof(bits));
    return bits >= 0 ? bits : bits ^ INT64_MAX;
}

void attribute_prefix(struct leat_span text, int64_t out[2])
{
    uint8_t bytes[ATTRIBUTES_PREFIX] = {0};

    if (text.size > 0)
        memcpy(bytes, text.base, text.size < sizeof(bytes) ? text.size : sizeof(bytes));
    for (int word = 0; word < 2; word++) {
        uint64_t v = 0;

        for (int i = 0; i < 8; i++)
            v = v << 8 | bytes[8 * word + i];
        out[word] = (int64_t)(v ^ UINT64_C(1) << 63);
    }
}

/* Bytes of a text to show: at most 32, and whole characters. */
static int shown_of(struct leat_span text)
{
    size_t size = text.size < 32 ? text.size : 32;

    while (size > 0 && size < text.size && (((const uint8_t *)text.base)[size] & 0xc0) == 0x80)
        size--;
    return (int)size;
}

const char *attribute_say(const struct leat_any_item *item, char room[64])
{
    const struct leat_value *v = &item->value;
    int shown;

    if (item->kind == LEAT_ANY_MAP || item->kind == LEAT_ANY_ARRAY)
        return item->kind == LEAT_ANY_MAP ? "a map" : "an array";
    switch (v->type) {
    case LEAT_NULL:
        return "null";
    case LEAT_BOOL:
        return v->as.b ? "true" : "false";
    case LEAT_I64:
        snprintf(room, 64, "the number %lld", (long long)v->as.i);
        return room;
    case LEAT_U64:
        snprintf(room, 64, "the number %llu", (unsigned long long)v->as.u);
        return room;
    case LEAT_F64:
        snprintf(room, 64, "the number %.17g", v->as.f);
        return room;
    case LEAT_STR:
        shown = shown_of(v->as.bytes);
        snprintf(room, 64, "the string '%.*s'%s", shown, (const char *)v->as.bytes.base,
                 v->as.bytes.size > (size_t)shown ? ".." : "");
        return room;
    default:
        return "bytes";
    }
}

/* ---- A row ---- */

/* A whole number of 64 bits, also when it came as a double. */
static int read_whole(const struct leat_value *v, int64_t *out)
{
    if (v->type == LEAT_I64) {
        *out = v->as.i;
        return 0;
    }
    if (v->type != LEAT_F64 || v->as.f != floor(v->as.f) || v->as.f < -0x1p63 || v->as.f >= 0x1p63)
        return LEAT_ESCHEMA;
    *out = (int64_t)v->as.f;
    return 0;
}

static int read_number(const struct leat_value *v, int64_t *out)
{
    double f = v->type == LEAT_I64 ? (double)v->as.i : v->type == LEAT_U64 ? (double)v->as.u : v->as.f;

    if ((v->type != LEAT_I64 && v->type != LEAT_U64 && v->type != LEAT_F64) || !isfinite(f))
        return LEAT_ESCHEMA;
    *out = attribute_order(f);
    return 0;
}

static int read_text(const struct leat_value *v, enum attribute_type type, int64_t *out, struct leat_span *text)
{
    if (v->type != LEAT_STR)
        return LEAT_ESCHEMA;
    out[0] = (int64_t)leat_hash(v);
    if (type == ATTRIBUTE_TEXT)
        attribute_prefix(v->as.bytes, out + 1);
    *text = v->as.bytes;
    return 0;
}

static int read_value(const struct attributes *a, uint32_t i, const struct leat_value *v, struct attributes_row *row)
{
    int64_t *column = &row->column[a->attribute[i].column];

    switch (a->attribute[i].type) {
    case ATTRIBUTE_BOOL:
        *column = v->type == LEAT_BOOL && v->as.b;
        return v->type == LEAT_BOOL ? 0 : LEAT_ESCHEMA;
    case ATTRIBUTE_I64:
        return read_whole(v, column);
    case ATTRIBUTE_F64:
        return read_number(v, column);
    default:
        return read_text(v, a->attribute[i].type, column, &row->text[i]);
    }
}

/* One entry of the map; of two with the same name the last one counts. */
static int read_entry(const struct attributes *a, struct leat_span *map, struct attributes_row *row,
                      struct leat_error *err)
{
    struct leat_any_item key, value;
    char room[64];

    if (leat_any_read(map, &key) != 0 || leat_any_read(map, &value) != 0)
        return leat_fail(err, LEAT_ESCHEMA, "attributes are not one MessagePack value");
    int i = key.value.type == LEAT_STR ? attributes_find(a, key.value.as.bytes) : -1;
    if (i < 0)
        return 0;
    const struct attribute *at = &a->attribute[i];
    row->presence &= ~(1U << i);
    memset(&row->column[at->column], 0, 8 * types[at->type].columns);
    row->text[i] = (struct leat_span){NULL, 0};
    if (value.value.type == LEAT_NULL)
        return 0;
    if (read_value(a, (uint32_t)i, &value.value, row) != 0)
        return leat_fail(err, LEAT_ESCHEMA, "attribute '%s' is declared as %s and got %s", at->name,
                         types[at->type].name, attribute_say(&value, room));
    row->presence |= 1U << i;
    return 0;
}

int attributes_read(const struct attributes *a, struct leat_span map, struct attributes_row *out,
                    struct leat_error *err)
{
    struct leat_any_item item = {.value = {.type = LEAT_NULL}};
    char room[64];
    int rv = 0;

    out->presence = 0;
    memset(out->column, 0, 8 * a->columns);
    memset(out->text, 0, sizeof(out->text[0]) * a->count);
    if (map.size > 0 && (leat_any_read(&map, &item) != 0 || map.size > 0))
        return leat_fail(err, LEAT_ESCHEMA, "attributes are not one MessagePack value");
    if (item.kind != LEAT_ANY_MAP && item.value.type != LEAT_NULL)
        return leat_fail(err, LEAT_ESCHEMA, "attributes are a map of names and values, not %s",
                         attribute_say(&item, room));
    for (uint32_t i = 0; i < item.count && rv == 0; i++)
        rv = read_entry(a, &item.elements, out, err);
    return rv;
}

size_t attributes_row_size(const struct attributes *a)
{
    return a->count > 0 ? 8 * (size_t)a->columns + 2 : 0;
}

void attributes_pack(const struct attributes *a, const struct attributes_row *row, void *bytes)
{
    uint16_t presence = (uint16_t)row->presence;

    if (a->count == 0)
        return;
    memcpy(bytes, row->column, 8 * (size_t)a->columns);
    memcpy((uint8_t *)bytes + 8 * (size_t)a->columns, &presence, sizeof(presence));
}

/* ---- Tables ---- */

size_t attributes_table_size(const struct attributes *a, uint32_t blocks)
{
    return blocks * (8 * (size_t)ATTRIBUTES_LANES * a->columns + 4 * (size_t)a->count);
}

/* Where a row's number of a column lies, and the word with its presence of an attribute. */
static size_t place_of(uint32_t blocks, uint32_t column, uint32_t row)
{
    return 8 * ((size_t)ATTRIBUTES_LANES * blocks * column + row);
}

static size_t word_of(const struct attributes *a, uint32_t blocks, uint32_t attribute, uint32_t row)
{
    return place_of(blocks, a->columns, 0) + 4 * ((size_t)blocks * attribute + row / ATTRIBUTES_LANES);
}

void attributes_put(const struct attributes *a, void *table, uint32_t blocks, uint32_t row, const void *bytes)
{
    const uint8_t *from = bytes;
    uint8_t *to = table;
    uint16_t presence;
    uint32_t word;

    if (a->count == 0)
        return;
    for (uint32_t c = 0; c < a->columns; c++)
        memcpy(to + place_of(blocks, c, row), from + 8 * (size_t)c, 8);
    memcpy(&presence, from + 8 * (size_t)a->columns, sizeof(presence));
    for (uint32_t i = 0; i < a->count; i++) {
        uint8_t *at = to + word_of(a, blocks, i, row);
        uint32_t bit = 1U << row % ATTRIBUTES_LANES;

        memcpy(&word, at, sizeof(word));
        word = presence >> i & 1 ? word | bit : word & ~bit;
        memcpy(at, &word, sizeof(word));
    }
}

void attributes_take(const struct attributes *a, const void *table, uint32_t blocks, uint32_t row, void *bytes)
{
    const uint8_t *from = table;
    uint8_t *to = bytes;
    uint16_t presence = 0;
    uint32_t word;

    if (a->count == 0)
        return;
    for (uint32_t c = 0; c < a->columns; c++)
        memcpy(to + 8 * (size_t)c, from + place_of(blocks, c, row), 8);
    for (uint32_t i = 0; i < a->count; i++) {
        memcpy(&word, from + word_of(a, blocks, i, row), sizeof(word));
        presence |= (uint16_t)((word >> row % ATTRIBUTES_LANES & 1) << i);
    }
    memcpy(to + 8 * (size_t)a->columns, &presence, sizeof(presence));
}

void attributes_copy(const struct attributes *a, void *table, uint32_t blocks, uint32_t at, const void *from,
                     uint32_t from_blocks, uint32_t from_at, uint32_t count)
{
    uint32_t row = at * ATTRIBUTES_LANES, from_row = from_at * ATTRIBUTES_LANES;
    const uint8_t *source = from;
    uint8_t *to = table;

    for (uint32_t c = 0; c < a->columns; c++)
        memcpy(to + place_of(blocks, c, row), source + place_of(from_blocks, c, from_row), place_of(count, 1, 0));
    for (uint32_t i = 0; i < a->count; i++)
        memcpy(to + word_of(a, blocks, i, row), source + word_of(a, from_blocks, i, from_row), 4 * (size_t)count);
}
