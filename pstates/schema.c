/* SPDX-License-Identifier: Apache-2.0 */
#include "pstates/pstate.h"

#include <ctype.h>

struct parser {
    struct arena *arena;
    const char *at;
    schema_lookup *lookup;
    void *context;
    struct leat_error *err;
};

static void skip_space(struct parser *p)
{
    while (isspace((unsigned char)*p->at))
        p->at++;
}

/* Take a word or sign if it is next. */
static bool take(struct parser *p, const char *what)
{
    size_t size = strlen(what);

    skip_space(p);
    if (strncmp(p->at, what, size) != 0)
        return false;
    if (isalpha((unsigned char)what[0]) && (isalnum((unsigned char)p->at[size]) || p->at[size] == '_'))
        return false;
    p->at += size;
    return true;
}

static int want(struct parser *p, const char *sign)
{
    return take(p, sign) ? 0 : leat_fail(p->err, LEAT_ESCHEMA, "'%s' is missing at '%.20s'", sign, p->at);
}

static int parse_key(struct parser *p, struct leat_column *key)
{
    int rv = schema_type_parse(p->arena, &p->at, p->lookup, p->context, key, p->err);

    if (rv != 0)
        return rv;
    switch (key->type) {
    case LEAT_BOOL:
    case LEAT_I64:
    case LEAT_U32:
    case LEAT_U64:
    case LEAT_F64:
    case LEAT_STR:
    case LEAT_BYTES:
        break;
    default:
        return leat_fail(p->err, LEAT_ESCHEMA,
                         "a key or element must be bool, i64, u32, u64, f64, str or bytes, not %s",
                         schema_type_text(p->arena, key));
    }
    key->name = "key";
    return key->nullable ? leat_fail(p->err, LEAT_ESCHEMA, "a key cannot be null") : 0;
}

static int parse_struct(struct parser *p, struct pstate_level *level)
{
    const char *start = p->at;
    int depth = 1, rv;

    level->shape = PSTATE_STRUCT;
    while (*p->at != '\0' && depth > 0) {
        depth += *p->at == '{' ? 1 : *p->at == '}' ? -1 : 0;
        p->at++;
    }
    if (depth != 0)
        return leat_fail(p->err, LEAT_ESCHEMA, "'}' is missing behind '%.20s'", start);
    char *inside = arena_format(p->arena, "%.*s", (int)(p->at - start - 1), start);
    rv = row_schema_parse(p->arena, inside, p->lookup, p->context, &level->fields, p->err);
    if (rv == 0 && level->fields.columns == 0)
        rv = leat_fail(p->err, LEAT_ESCHEMA, "a struct needs a field");
    return rv;
}

static int parse_leaf(struct parser *p, struct pstate_level *level)
{
    struct leat_column *column = arena_zeroed(p->arena, sizeof(*column), 8);
    int rv = schema_type_parse(p->arena, &p->at, p->lookup, p->context, column, p->err);

    level->shape = PSTATE_LEAF;
    column->name = "value";
    level->fields = (struct row_schema){1, column};
    return rv;
}

/* ---- Packed rows ---- */

static uint32_t alignment_of(const struct leat_column *c)
{
    switch (c->type) {
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
        return c->stride >= 64 ? 64 : c->stride >= 16 ? 16 : 4;
    }
}

/* A scan pays for each block it goes to, as the processor fetches ahead only within one: blocks of 128 KiB are read
 * with half again the speed of blocks of 16 KiB. But a change of a row rewrites its block, and what does not fill a
 * block yet is read more slowly: blocks of small rows are no larger than 128 rows or 4 pages. */
enum { PAGE = 4096, BLOCK_PAGES = 32, BLOCK_ROWS = 128, SMALL_PAGES = 4, PIECES = 8 };

static uint32_t pages_for(uint32_t bytes)
{
    return (bytes + PAGE - 1) / PAGE;
}

static uint32_t most_pages(uint32_t stride)
{
    uint32_t least = pages_for(stride + 64), wanted = pages_for(BLOCK_ROWS * stride);

    if (wanted > BLOCK_PAGES)
        wanted = BLOCK_PAGES;
    if (wanted < SMALL_PAGES)
        wanted = SMALL_PAGES;
    return wanted > least ? wanted : least;
}

/* The most pages that waste no more than a 32nd; else those that waste least. */
static void choose_block(struct pstate_level *level)
{
    uint32_t best = 0, enough = 1024 - 1024 / 32;

    for (uint32_t pages = pages_for(level->row_stride + 64); pages <= most_pages(level->row_stride); pages++) {
        uint32_t rows = (pages * PAGE - 64) / level->row_stride;
        uint32_t used = (uint32_t)((uint64_t)rows * level->row_stride * 1024 / (pages * PAGE));

        if (used > enough)
            used = enough;
        if (used >= best) {
            best = used;
            level->rows_per_block = rows;
            level->block_size = pages * PAGE - 16;
        }
    }
}

/* Fields one after another, each aligned; then blocks of whole pages. An LMDB overflow value starts 16 bytes into its
 * first page: 48 bytes of padding put the rows on 64-byte boundaries. */
static void lay_out_rows(struct pstate_level *level, struct arena *a)
{
    uint32_t at = 0, align = 4;

    level->place = arena_alloc(a, level->fields.columns * sizeof(*level->place), 8);
    for (uint32_t i = 0; i < level->fields.columns; i++) {
        uint32_t to = alignment_of(&level->fields.column[i]);

        at = (at + to - 1) / to * to;
        level->place[i] = at;
        at += level->fields.column[i].stride;
        align = to > align ? to : align;
    }
    level->row_stride = (at + align - 1) / align * align;
    choose_block(level);
    level->rows_per_piece = level->rows_per_block < 2 * PIECES ? level->rows_per_block : level->rows_per_block / PIECES;
    if (level->rows_per_piece < 2)
        level->rows_per_piece = 2;
}

static int check_rows(struct parser *p, struct pstate_level *level)
{
    for (uint32_t i = 0; i < level->fields.columns; i++) {
        const struct leat_column *c = &level->fields.column[i];

        if (schema_fixed_size(c) == 0 || c->nullable)
            return leat_fail(p->err, LEAT_ESCHEMA, "packed rows are of fixed size: field '%s' is %s", c->name,
                             schema_type_text(p->arena, c));
    }
    lay_out_rows(level, p->arena);
    if (level->row_stride > LIMIT_PACKED_ROW)
        return leat_fail(p->err, LEAT_ESCHEMA, "a packed row of %u bytes; at most %d are possible", level->row_stride,
                         LIMIT_PACKED_ROW);
    return 0;
}

/* ---- Levels ---- */

static int parse_level(struct parser *p, struct pstate_level **out, int depth);

static int parse_collection(struct parser *p, struct pstate_level *level, int depth)
{
    int rv = want(p, "<");

    if (rv == 0 && (level->shape == PSTATE_MAP || level->shape == PSTATE_SET))
        rv = parse_key(p, &level->key);
    if (rv == 0 && level->shape == PSTATE_MAP)
        rv = want(p, ",");
    if (rv == 0 && (level->shape == PSTATE_MAP || level->shape == PSTATE_LIST))
        rv = parse_level(p, &level->below, depth + 1);
    if (rv == 0 && level->shape == PSTATE_ROWS) {
        rv = take(p, "struct") ? want(p, "{") : 1;
        rv = rv == 0 ? parse_struct(p, level) : rv == 1 ? parse_leaf(p, level) : rv;
        level->shape = PSTATE_ROWS;
        if (rv == 0)
            rv = check_rows(p, level);
    }
    return rv == 0 ? want(p, ">") : rv;
}

static int parse_level(struct parser *p, struct pstate_level **out, int depth)
{
    struct pstate_level *level = arena_zeroed(p->arena, sizeof(*level), 8);
    static const struct {
        const char *word;
        enum pstate_shape shape;
    } words[] = {{"map", PSTATE_MAP}, {"set", PSTATE_SET}, {"list", PSTATE_LIST}, {"rows", PSTATE_ROWS}};

    *out = level;
    if (depth > LIMIT_NESTING)
        return leat_fail(p->err, LEAT_ESCHEMA, "nested deeper than %d levels", LIMIT_NESTING);
    for (size_t i = 0; i < LENGTH_OF(words); i++)
        if (take(p, words[i].word)) {
            level->shape = words[i].shape;
            return parse_collection(p, level, depth);
        }
    if (!take(p, "struct"))
        return parse_leaf(p, level);
    int rv = want(p, "{");
    return rv == 0 ? parse_struct(p, level) : rv;
}

int pstate_schema_parse(struct arena *a, const char *name, const char *text, schema_lookup *lookup, void *context,
                        struct pstate_schema *out, struct leat_error *err)
{
    struct parser p = {a, text != NULL ? text : "", lookup, context, err};
    int rv = parse_level(&p, &out->top, 1);

    skip_space(&p);
    if (rv == 0 && *p.at != '\0')
        rv = leat_fail(err, LEAT_ESCHEMA, "'%.20s' is too much", p.at);
    if (rv != 0)
        return base_wrap(err, rv, "schema \"%.200s\", character %zu", text != NULL ? text : "",
                         (size_t)(p.at - (text != NULL ? text : p.at)) + 1);
    out->name = name;
    return 0;
}

static const char *level_text(struct arena *a, const struct pstate_level *level)
{
    const char *fields = level->shape == PSTATE_LEAF || level->shape == PSTATE_STRUCT || level->shape == PSTATE_ROWS
                             ? row_schema_text(a, &level->fields)
                             : "";

    switch (level->shape) {
    case PSTATE_MAP:
        return arena_format(a, "map<%s, %s>", schema_type_text(a, &level->key), level_text(a, level->below));
    case PSTATE_SET:
        return arena_format(a, "set<%s>", schema_type_text(a, &level->key));
    case PSTATE_LIST:
        return arena_format(a, "list<%s>", level_text(a, level->below));
    case PSTATE_STRUCT:
        return arena_format(a, "struct{%s}", fields);
    case PSTATE_ROWS:
        if (level->fields.columns == 1 && strcmp(level->fields.column[0].name, "value") == 0)
            return arena_format(a, "rows<%s>", schema_type_text(a, &level->fields.column[0]));
        return arena_format(a, "rows<struct{%s}>", fields);
    case PSTATE_LEAF:
        break;
    }
    return schema_type_text(a, &level->fields.column[0]);
}

const char *pstate_schema_text(struct arena *a, const struct pstate_schema *schema)
{
    return level_text(a, schema->top);
}
