/* SPDX-License-Identifier: Apache-2.0 */
#include "base/schema.h"

#include "base/base.h"

#include <ctype.h>

static const struct {
    const char *name;
    enum leat_type scalar;
    enum leat_type vector;
    uint32_t size; /* of the scalar; 0: varies */
} types[] = {
    {"bool", LEAT_BOOL, LEAT_NULL, 1},         {"i64", LEAT_I64, LEAT_NULL, 8},
    {"u32", LEAT_U32, LEAT_U32_VECTOR, 4},     {"u64", LEAT_U64, LEAT_NULL, 8},
    {"f32", LEAT_F32, LEAT_F32_VECTOR, 4},     {"f64", LEAT_F64, LEAT_NULL, 8},
    {"str", LEAT_STR, LEAT_NULL, 0},           {"bytes", LEAT_BYTES, LEAT_NULL, 0},
    {"any", LEAT_ANY, LEAT_NULL, 0},           {"f16", LEAT_NULL, LEAT_F16_VECTOR, 0},
    {"i8", LEAT_NULL, LEAT_I8_VECTOR, 0},      {"u8", LEAT_NULL, LEAT_U8_VECTOR, 0},
    {"bits", LEAT_NULL, LEAT_BITS, 0},
};

static void skip_space(const char **text)
{
    while (isspace((unsigned char)**text))
        (*text)++;
}

const char *schema_name_parse(struct arena *a, const char **text)
{
    skip_space(text);
    const char *start = *text;
    if (!isalpha((unsigned char)*start) && *start != '_')
        return NULL;
    while (isalnum((unsigned char)**text) || **text == '_')
        (*text)++;
    return arena_format(a, "%.*s", (int)(*text - start), start);
}

/* "$dims" or digits. */
static int parse_number(struct arena *a, const char **text, schema_lookup *lookup, void *context, uint64_t *out,
                        struct leat_error *err)
{
    const char *digits;
    char *end;

    skip_space(text);
    if (**text == '$') {
        (*text)++;
        const char *name = schema_name_parse(a, text);

        digits = name != NULL && lookup != NULL ? lookup(context, name) : NULL;
        if (digits == NULL)
            return leat_fail(err, LEAT_ESCHEMA, "'$%s' is no option of the module", name != NULL ? name : "");
        *out = strtoull(digits, &end, 10);
        if (!isdigit((unsigned char)*digits) || *end != '\0')
            return leat_fail(err, LEAT_ESCHEMA, "option '%s' is '%s', but a number of elements is wanted", name,
                             digits);
        return 0;
    }
    if (!isdigit((unsigned char)**text))
        return leat_fail(err, LEAT_ESCHEMA, "a number of elements is wanted at '%.20s'", *text);
    *out = strtoull(*text, &end, 10);
    *text = end;
    return 0;
}

static int parse_count(struct arena *a, const char **text, schema_lookup *lookup, void *context,
                       struct leat_column *out, struct leat_error *err)
{
    uint64_t count = 0;

    (*text)++;
    int rv = parse_number(a, text, lookup, context, &count, err);
    if (rv != 0)
        return rv;
    skip_space(text);
    if (**text != ']')
        return leat_fail(err, LEAT_ESCHEMA, "']' is missing at '%.20s'", *text);
    (*text)++;
    if (count == 0 || count > LIMIT_VECTOR)
        return leat_fail(err, LEAT_ESCHEMA, "a vector has 1 to %d elements, not %llu", LIMIT_VECTOR,
                         (unsigned long long)count);
    if (out->type == LEAT_BITS && count % 8 != 0)
        return leat_fail(err, LEAT_ESCHEMA, "bits[n] wants a multiple of 8, not %llu", (unsigned long long)count);
    out->count = (uint32_t)count;
    return 0;
}

static uint32_t column_stride(const struct leat_column *c)
{
    uint32_t fixed = schema_fixed_size(c);

    return fixed > 0 ? fixed : (uint32_t)sizeof(struct leat_span);
}

/* "f32", or "$type" for the option of that name; *out NULL: there is none. */
static int type_name(struct arena *a, const char **text, schema_lookup *lookup, void *context, const char **out,
                     struct leat_error *err)
{
    skip_space(text);
    bool option = **text == '$';
    *text += option;
    *out = schema_name_parse(a, text);
    if (!option)
        return 0;
    const char *value = *out != NULL && lookup != NULL ? lookup(context, *out) : NULL;
    if (value == NULL)
        return leat_fail(err, LEAT_ESCHEMA, "'$%s' is no option of the module", *out != NULL ? *out : "");
    *out = value;
    return 0;
}

int schema_type_parse(struct arena *a, const char **text, schema_lookup *lookup, void *context,
                      struct leat_column *out, struct leat_error *err)
{
    const char *name, *at = *text;
    size_t i = 0;
    int rv = type_name(a, text, lookup, context, &name, err);

    *out = (struct leat_column){.type = LEAT_NULL};
    if (rv != 0)
        return rv;
    while (name != NULL && i < LENGTH_OF(types) && strcmp(types[i].name, name) != 0)
        i++;
    if (name == NULL || i == LENGTH_OF(types))
        return leat_fail(err, LEAT_ESCHEMA,
                         "'%.20s' is no type (bool i64 u32 u64 f32 f64 str bytes any, f32[n] f16[n] i8[n] u8[n] u32[n] "
                         "bits[n])",
                         name != NULL ? name : at);
    skip_space(text);
    bool vector = **text == '[';
    out->type = vector ? types[i].vector : types[i].scalar;
    if (out->type == LEAT_NULL)
        return leat_fail(err, LEAT_ESCHEMA, vector ? "%s has no vectors" : "%s wants a number of elements: %s[n]", name,
                         name);
    rv = vector ? parse_count(a, text, lookup, context, out, err) : 0;
    if (rv != 0)
        return rv;
    skip_space(text);
    if (**text == '?') {
        out->nullable = true;
        (*text)++;
    }
    out->stride = column_stride(out);
    return 0;
}

static int parse_column(struct arena *a, const char **at, schema_lookup *lookup, void *context,
                        const struct row_schema *before, struct leat_column *out, struct leat_error *err)
{
    const char *name = schema_name_parse(a, at);

    if (name == NULL)
        return leat_fail(err, LEAT_ESCHEMA, "a column name is wanted at '%.20s'", *at);
    if (strlen(name) > LIMIT_NAME)
        return leat_fail(err, LEAT_ESCHEMA, "column name '%s' is longer than %d bytes", name, LIMIT_NAME);
    if (row_schema_find(before, name) >= 0)
        return leat_fail(err, LEAT_ESCHEMA, "column '%s' is there twice", name);
    if (before->columns == LIMIT_COLUMNS)
        return leat_fail(err, LEAT_ESCHEMA, "more than %d columns", LIMIT_COLUMNS);
    skip_space(at);
    if (**at != ':')
        return leat_fail(err, LEAT_ESCHEMA, "':' and a type are missing behind column '%s'", name);
    (*at)++;
    int rv = schema_type_parse(a, at, lookup, context, out, err);
    if (rv != 0)
        return base_wrap(err, rv, "column '%s'", name);
    out->name = name;
    return 0;
}

int row_schema_parse(struct arena *a, const char *text, schema_lookup *lookup, void *context, struct row_schema *out,
                     struct leat_error *err)
{
    const char *at = text != NULL ? text : "";
    struct row_schema schema = {0, arena_zeroed(a, LIMIT_COLUMNS * sizeof(*schema.column), 8)};
    int rv = 0;

    skip_space(&at);
    while (*at != '\0' && rv == 0) {
        struct leat_column column;

        rv = parse_column(a, &at, lookup, context, &schema, &column, err);
        if (rv != 0)
            break;
        schema.column[schema.columns++] = column;
        skip_space(&at);
        if (*at != ',' && *at != '\0')
            rv = leat_fail(err, LEAT_ESCHEMA, "',' is missing at '%.20s'", at);
        at += *at == ',';
        skip_space(&at);
    }
    if (rv != 0)
        return base_wrap(err, rv, "schema \"%.200s\", character %zu", text, (size_t)(at - text) + 1);
    *out = schema;
    return 0;
}

const char *schema_type_text(struct arena *a, const struct leat_column *type)
{
    for (size_t i = 0; i < LENGTH_OF(types) && type->type != LEAT_NULL; i++) {
        if (types[i].scalar == type->type)
            return arena_format(a, "%s%s", types[i].name, type->nullable ? "?" : "");
        if (types[i].vector == type->type)
            return arena_format(a, "%s[%u]%s", types[i].name, type->count, type->nullable ? "?" : "");
    }
    return "null";
}

const char *row_schema_text(struct arena *a, const struct row_schema *schema)
{
    const char *text = "";

    for (uint32_t i = 0; i < schema->columns; i++)
        text = arena_format(a, "%s%s%s: %s", text, i > 0 ? ", " : "", schema->column[i].name,
                            schema_type_text(a, &schema->column[i]));
    return text;
}

uint32_t schema_fixed_size(const struct leat_column *type)
{
    switch (type->type) {
    case LEAT_BOOL:
        return 1;
    case LEAT_U32:
    case LEAT_F32:
        return 4;
    case LEAT_I64:
    case LEAT_U64:
    case LEAT_F64:
        return 8;
    default:
        return (uint32_t)leat_vector_size(type->type, type->count);
    }
}

int row_schema_find(const struct row_schema *schema, const char *name)
{
    for (uint32_t i = 0; i < schema->columns; i++)
        if (strcmp(schema->column[i].name, name) == 0)
            return (int)i;
    return -1;
}

bool row_schema_equal(const struct row_schema *a, const struct row_schema *b)
{
    if (a->columns != b->columns)
        return false;
    for (uint32_t i = 0; i < a->columns; i++) {
        const struct leat_column *x = &a->column[i], *y = &b->column[i];

        if (x->type != y->type || x->count != y->count || x->nullable != y->nullable || strcmp(x->name, y->name) != 0)
            return false;
    }
    return true;
}
