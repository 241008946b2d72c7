/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SCHEMA_H
#define BASE_SCHEMA_H

/* Row schemas ("id: str, vec: f32[$dims]?, body: any?") and the codec of rows.
 *
 * A row is its columns one after another, nothing between them: for a nullable column one byte (0: null, and
 * nothing follows; 1: a value), then bool 1 byte, u32 f32 4, i64 u64 f64 8 (little-endian), vectors their
 * elements, str bytes any a varint length and the bytes. FORMATS.md has the same in prose. */

#include "base/arena.h"
#include "base/span.h"

struct row_schema {
    uint32_t columns;
    struct leat_column *column; /* names, types, counts, strides; data and nulls are NULL */
};

/* How $names in a schema are resolved: the option's text, or NULL when there is none. */
typedef const char *schema_lookup(void *context, const char *name);

/* Parse a row schema; memory is the arena's. NULL or "" is a schema of no columns. Errors quote the text and the
 * column number (character) of the mistake. */
int row_schema_parse(struct arena *a, const char *text, schema_lookup *lookup, void *context, struct row_schema *out,
                     struct leat_error *err);

/* Parse one type ("f32[$dims]?", "$type[$dims]") at *text; *text is moved behind it. Shared with PState schemas. */
int schema_type_parse(struct arena *a, const char **text, schema_lookup *lookup, void *context, struct leat_column *out,
                      struct leat_error *err);
/* Parse a name at *text into the arena; NULL when there is none there. */
const char *schema_name_parse(struct arena *a, const char **text);

/* "f32[384]?", for messages and drawings. */
const char *schema_type_text(struct arena *a, const struct leat_column *type);
/* Canonical text of the whole schema. */
const char *row_schema_text(struct arena *a, const struct row_schema *schema);
/* Bytes of a value of a fixed-size type; 0 for str, bytes, any. */
uint32_t schema_fixed_size(const struct leat_column *type);
int row_schema_find(const struct row_schema *schema, const char *name); /* -1: none */
bool row_schema_equal(const struct row_schema *a, const struct row_schema *b); /* types and names */

/* Does value fit the column? Checks type, vector length, UTF-8, finite floats, any well-formed. i64, u32 and u64
 * literals fit each other when in range, f32 and f64 each other. The sentence names the column. */
int schema_check_value(const struct leat_column *column, const struct leat_value *value, struct leat_error *err);

/* Check and encode a row at the end of out. On failure out is as before. */
int row_encode(const struct row_schema *schema, struct leat_row row, struct buffer *out, struct leat_error *err);
/* Encode without checking contents, only asserting types: rows that nodes emit. LEAT_ESCHEMA on a wrong type. */
int row_encode_fast(const struct row_schema *schema, struct leat_row row, struct buffer *out);
/* Check bytes from outside: 0 when they are exactly one row. */
int row_check(const struct row_schema *schema, struct leat_span bytes, struct leat_error *err);
/* Split a row into values (columns of them); spans point into bytes. LEAT_ECORRUPT when it is no row. */
int row_decode(const struct row_schema *schema, struct leat_span bytes, struct leat_value *out);

/* Rows into a columnar batch in the arena; spans of str, bytes, any point into the rows' bytes. */
int row_batch(struct arena *a, const struct row_schema *schema, const struct leat_span *rows, uint32_t count,
              struct leat_batch *out);

/* Value of one column, by itself, as its encoded bytes without null byte and length: what is hashed. */
struct leat_span value_key_bytes(const struct leat_value *value, uint8_t scratch[8]);

bool utf8_valid(struct leat_span s);

#endif
