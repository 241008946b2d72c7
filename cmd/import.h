/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_IMPORT_H
#define CMD_IMPORT_H

#include "base/base.h"
#include "base/schema.h"

/* Files of rows, read one row after another. The file is mapped, or unpacked into memory when its name ends in .gz;
 * headers and sizes are checked before anything of it is believed; errors name the byte. */

enum import_form { IMPORT_JSONL, IMPORT_NPY, IMPORT_FVECS, IMPORT_BVECS, IMPORT_IVECS, IMPORT_IDX };

struct import_file {
    enum import_form form;
    const char *path;
    const uint8_t *base;
    size_t size;
    size_t at;        /* of the next row */
    uint64_t row;     /* its number */
    uint64_t rows;    /* in all; 0: not known before the end (jsonl) */
    uint32_t dims;    /* vectors */
    uint32_t element; /* bytes of an element in the file: 4 f32 or i32, 2 f16, 1 u8 or i8 */
    bool is_signed;   /* i8 */
};

bool import_named(const char *path); /* does the name's ending say of what form it is? */
/* form NULL: by the name's ending. */
int import_open(const char *path, const char *form, struct import_file *out, struct leat_error *err);
/* The same over bytes that are there already (tests). */
int import_bytes(const char *name, enum import_form form, const void *bytes, size_t size, struct import_file *out,
                 struct leat_error *err);
void import_close(struct import_file *f);
uint64_t import_hash(const struct import_file *f); /* of all its bytes */

/* The next row for a schema; values are in the arena or the file. Vector files give {id, vector}: the id is the row's
 * number behind a prefix (as text, or as it is in a number column), and the vector goes to the first vector column.
 * 0, LEAT_END, or LEAT_ESCHEMA with the row and byte. */
int import_next(struct import_file *f, struct arena *a, const struct row_schema *schema, const char *id_prefix,
                struct leat_value *out, struct leat_error *err);
/* The next vector alone, as a column has it. */
int import_vector(struct import_file *f, struct arena *a, const struct leat_column *column, struct leat_value *out,
                  struct leat_error *err);
/* Go to a row by number: the first ones of jsonl, only forward. */
void import_seek(struct import_file *f, uint64_t row);

#endif
