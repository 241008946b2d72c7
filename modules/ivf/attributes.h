/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_IVF_ATTRIBUTES_H
#define MODULES_IVF_ATTRIBUTES_H

/* Attributes that filters may name, as columns beside the rows of a posting.
 *
 * An attribute is one or more columns of 8 bytes, each a signed number that orders as the attribute does:
 *   bool  0 or 1
 *   i64   itself
 *   f64   its bits, those of negative numbers turned, so that they order as numbers do; -0 is 0
 *   str   leat_hash of the string: equal or not, in no order
 *   text  the hash, then the first 16 bytes as two big-endian numbers: equal or not, and ranges
 * A row lacks an attribute that its map does not name, or names with null: its columns
 * are 0, and its presence bit too. */

#include "leat/leat.h"

enum {
    ATTRIBUTES_MOST = 16,
    ATTRIBUTES_NAME = 48,                      /* bytes of a name */
    ATTRIBUTES_COLUMNS = 3 * ATTRIBUTES_MOST,  /* at most: text takes three */
    ATTRIBUTES_PREFIX = 16,                    /* bytes of a text that order it */
    ATTRIBUTES_LANES = 32                      /* rows of a block */
};

enum attribute_type { ATTRIBUTE_BOOL, ATTRIBUTE_I64, ATTRIBUTE_F64, ATTRIBUTE_STR, ATTRIBUTE_TEXT };

struct attribute {
    char name[ATTRIBUTES_NAME + 1];
    enum attribute_type type;
    uint32_t column; /* its first */
};

struct attributes {
    uint32_t count, columns;
    struct attribute attribute[ATTRIBUTES_MOST];
};

/* "bool", "f64". */
const char *attribute_type_name(enum attribute_type type);

/* Read a declaration, "color: str, price: f64, sold: bool" (commas or blanks between attributes; empty: none).
 * Names have letters, digits, _, - and whatever is not ASCII; those of the filter
 * language (and, or, not) are refused. */
int attributes_parse(const char *text, struct attributes *out, struct leat_error *err);
/* The number of a name; -1: none is declared with it. */
int attributes_find(const struct attributes *a, struct leat_span name);

/* ---- A row ---- */

struct attributes_row {
    uint32_t presence; /* a bit for each attribute */
    int64_t column[ATTRIBUTES_COLUMNS];
    struct leat_span text[ATTRIBUTES_MOST]; /* what str and text hold; borrowed from the map */
};

/* Columns of a map of attributes (one MessagePack value; no bytes, or null: none). What is not declared is passed over.
 * LEAT_ESCHEMA names the attribute, what it is declared as and what it got. */
int attributes_read(const struct attributes *a, struct leat_span map, struct attributes_row *out,
                    struct leat_error *err);

/* As bytes, to send and to keep: columns, then 2 bytes of presence; nothing at all when none is declared. */
size_t attributes_row_size(const struct attributes *a);
void attributes_pack(const struct attributes *a, const struct attributes_row *row, void *bytes);

/* ---- A table: the columns of `blocks` blocks of 32 rows ----
 * Column after column, each blocks * 32 numbers; then attribute after attribute a word of presence bits for each block.
 * At any alignment. Zeroed memory is a table of rows without attributes. */

size_t attributes_table_size(const struct attributes *a, uint32_t blocks);
/* Put packed bytes at a row, and take them from there. */
void attributes_put(const struct attributes *a, void *table, uint32_t blocks, uint32_t row, const void *bytes);
void attributes_take(const struct attributes *a, const void *table, uint32_t blocks, uint32_t row, void *bytes);
/* `count` blocks of a table of from_blocks, from from_at on, into another, as its blocks from `at` on. */
void attributes_copy(const struct attributes *a, void *table, uint32_t blocks, uint32_t at, const void *from,
                     uint32_t from_blocks, uint32_t from_at, uint32_t count);

/* ---- Literals ---- */

/* The number that orders as a finite f64 does. */
int64_t attribute_order(double f);
/* The two numbers that order as the first 16 bytes of a text do. */
void attribute_prefix(struct leat_span text, int64_t out[2]);
/* What a MessagePack item is, for sentences: "str 'red'", "a map". Written into room. */
const char *attribute_say(const struct leat_any_item *item, char room[64]);

#endif
