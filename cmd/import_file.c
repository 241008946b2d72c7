/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include <zlib.h>

#include "base/codec.h"
#include "base/half.h"

/* Bytes that a packed file may hold: they are in memory at once. */
static const size_t MOST_UNPACKED = (size_t)32 << 30;

static const struct {
    const char *name, *ending;
    enum import_form form;
} forms[] = {{"jsonl", ".jsonl", IMPORT_JSONL}, {"jsonl", ".json", IMPORT_JSONL}, {"npy", ".npy", IMPORT_NPY},
             {"fvecs", ".fvecs", IMPORT_FVECS}, {"bvecs", ".bvecs", IMPORT_BVECS}, {"ivecs", ".ivecs", IMPORT_IVECS},
             {"idx", ".idx", IMPORT_IDX}, {"idx", "-ubyte", IMPORT_IDX}};

static bool is_packed(const char *path)
{
    size_t size = strlen(path);

    return size > 3 && strcmp(path + size - 3, ".gz") == 0;
}

/* form NULL: by the name's ending. */
static bool look_up(const char *path, const char *form, enum import_form *out)
{
    size_t size = strlen(path) - (is_packed(path) ? 3 : 0);

    for (size_t i = 0; i < LENGTH_OF(forms); i++) {
        size_t ending = strlen(forms[i].ending);
        bool ends = size > ending && strncmp(path + size - ending, forms[i].ending, ending) == 0;

        if (form != NULL ? strcmp(form, forms[i].name) == 0 : ends) {
            *out = forms[i].form;
            return true;
        }
    }
    return false;
}

bool import_named(const char *path)
{
    enum import_form form;

    return look_up(path, NULL, &form);
}

static int find_form(const char *path, const char *form, enum import_form *out, struct leat_error *err)
{
    if (look_up(path, form, out))
        return 0;
    return leat_fail(err, LEAT_EINVAL, "'%s': of what form is it? Name it .jsonl, .npy, .fvecs, .bvecs, .ivecs or "
                                       ".idx, or say --input FORM", path);
}

/* ---- Headers ---- */

/* A word of the header's dictionary: the text behind 'name': */
static const char *header_field(const char *header, const char *name)
{
    const char *at = strstr(header, name);

    at = at != NULL ? strchr(at, ':') : NULL;
    return at != NULL ? at + 1 + strspn(at + 1, " ") : NULL;
}

/* Behind the header are the rows that it tells of, and nothing else. */
static int check_size(const struct import_file *f, struct leat_error *err)
{
    size_t row = (size_t)f->dims * f->element, room = f->size - f->at;

    if (f->rows > room / row)
        return leat_fail(err, LEAT_ESCHEMA, "'%s', byte %zu: %llu rows are said, the file holds fewer", f->path,
                         f->size, (unsigned long long)f->rows);
    if (f->rows * row < room)
        return leat_fail(err, LEAT_ESCHEMA, "'%s', byte %zu: %llu rows are said, and %zu bytes are behind them",
                         f->path, f->at + f->rows * row, (unsigned long long)f->rows, room - f->rows * row);
    return 0;
}

/* type: of the header's dictionary; NULL: it has none. */
static int refuse_type(const struct import_file *f, size_t at, const char *type, struct leat_error *err)
{
    static const char letters[] = "<>|=0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    int size = type != NULL && type[0] == '\'' ? (int)strspn(type + 1, letters) : 0;
    const char *known = size > 0 && strncmp(type, "'<f8'", 5) == 0 ? " (float64)" : "";

    if (size == 0 || size > 16 || type[size + 1] != '\'')
        return leat_fail(err, LEAT_ESCHEMA,
                         "'%s', byte %zu: its numbers are not f32 or f16, little-endian, nor u8 or i8", f->path, at);
    return leat_fail(err, LEAT_ESCHEMA,
                     "'%s', byte %zu: its numbers are not f32 or f16, little-endian, nor u8 or i8, but '%.*s'%s: save "
                     "the array with .astype('float32')",
                     f->path, at, size, type + 1, known);
}

static int read_npy(struct import_file *f, struct leat_error *err)
{
    char header[4096];
    unsigned long long rows, dims;
    char end;

    if (f->size < 10 || memcmp(f->base, "\x93NUMPY", 6) != 0)
        return leat_fail(err, LEAT_ESCHEMA, "'%s', byte 0: no NumPy file", f->path);
    size_t at = f->base[6] >= 2 ? 12 : 10;
    size_t size = f->base[6] >= 2 && f->size >= 12 ? load_u32(f->base + 8) : load_u16(f->base + 8);
    if (size >= sizeof(header))
        return leat_fail(err, LEAT_ESCHEMA, "'%s', byte 8: a header of %zu bytes; less than %zu are possible", f->path,
                         size, sizeof(header));
    if (at + size > f->size)
        return leat_fail(err, LEAT_ESCHEMA, "'%s', byte 8: the file ends inside its header of %zu bytes", f->path,
                         size);
    memcpy(header, f->base + at, size);
    header[size] = '\0';
    const char *type = header_field(header, "'descr'"), *order = header_field(header, "'fortran_order'"),
               *shape = header_field(header, "'shape'");
    if (type == NULL || (strncmp(type, "'<f4'", 5) != 0 && strncmp(type, "'<f2'", 5) != 0 &&
                         strncmp(type, "'|u1'", 5) != 0 && strncmp(type, "'|i1'", 5) != 0))
        return refuse_type(f, at, type, err);
    if (order == NULL || strncmp(order, "False", 5) != 0)
        return leat_fail(err, LEAT_ESCHEMA, "'%s', byte %zu: it is in Fortran order; save it in C order", f->path, at);
    if (shape == NULL || sscanf(shape, "(%llu, %llu%c", &rows, &dims, &end) != 3 || end != ')' || dims == 0 ||
        dims > LIMIT_VECTOR)
        return leat_fail(err, LEAT_ESCHEMA, "'%s', byte %zu: its shape is not (rows, 1 to %d)", f->path, at,
                         LIMIT_VECTOR);
    f->element = (uint32_t)type[3] - '0';
    f->is_signed = type[2] == 'i';
    f->dims = (uint32_t)dims;
    f->rows = rows;
    f->at = at + size;
    return check_size(f, err);
}

static int read_vecs(struct import_file *f, struct leat_error *err)
{
    f->element = f->form == IMPORT_BVECS ? 1 : 4;
    if (f->size == 0)
        return 0; /* no rows: nothing says of what length they would be */
    f->dims = f->size >= 4 ? load_u32(f->base) : 0;
    if (f->dims == 0 || f->dims > LIMIT_VECTOR)
        return leat_fail(err, LEAT_ESCHEMA, "'%s', byte 0: a vector of %u elements; 1 to %d are possible", f->path,
                         f->dims, LIMIT_VECTOR);
    size_t row = 4 + (size_t)f->dims * f->element;
    if (f->size % row != 0)
        return leat_fail(err, LEAT_ESCHEMA, "'%s', byte %zu: the file ends inside a row of %zu bytes", f->path,
                         f->size / row * row, row);
    f->rows = f->size / row;
    return 0;
}

static uint32_t load_big(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The form of the MNIST sets: two zeros, the type, the number of dimensions, then each as a big-endian word. */
static int read_idx(struct import_file *f, struct leat_error *err)
{
    enum { BYTES = 8 };
    uint32_t dimensions = f->size >= 4 ? f->base[3] : 0;
    uint64_t dims = 1;

    f->at = 4 + 4 * (size_t)dimensions;
    if (f->size < 4 || f->base[0] != 0 || f->base[1] != 0 || f->base[2] != BYTES || dimensions < 2 || f->at > f->size)
        return leat_fail(err, LEAT_ESCHEMA, "'%s', byte 0: no IDX file of bytes in two or more dimensions", f->path);
    for (uint32_t i = 1; i < dimensions && dims <= LIMIT_VECTOR; i++)
        dims *= load_big(f->base + 4 + 4 * (size_t)i);
    if (dims == 0 || dims > LIMIT_VECTOR)
        return leat_fail(err, LEAT_ESCHEMA, "'%s', byte 8: a vector of %llu elements or more; 1 to %d are possible",
                         f->path, (unsigned long long)dims, LIMIT_VECTOR);
    f->element = 1;
    f->dims = (uint32_t)dims;
    f->rows = load_big(f->base + 4);
    return check_size(f, err);
}

int import_bytes(const char *name, enum import_form form, const void *bytes, size_t size, struct import_file *out,
                 struct leat_error *err)
{
    *out = (struct import_file){.form = form, .path = name, .base = bytes, .size = size};
    switch (form) {
    case IMPORT_JSONL:
        return 0;
    case IMPORT_NPY:
        return read_npy(out, err);
    case IMPORT_IDX:
        return read_idx(out, err);
    default:
        return read_vecs(out, err);
    }
}

/* ---- Files ---- */

/* A file into memory, as it is. *out NULL: nothing is in it, or it is no file. */
static int map_file(int fd, size_t size, void **out)
{
    void *base = size > 0 ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;

    close(fd);
    *out = base != MAP_FAILED ? base : NULL;
    if (*out != NULL)
        madvise(base, size, MADV_SEQUENTIAL);
    return 0;
}

/* What a file that gzip made holds. *size: of the file, then of its contents. */
static int unpack_file(int fd, const char *path, size_t *size, void **out, struct leat_error *err)
{
    size_t room = (*size + 1) * 4, used = 0;
    gzFile f = gzdopen(fd, "rb");
    char *base = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int got = 1, rv = 0;

    while (base != MAP_FAILED && got > 0 && room <= MOST_UNPACKED) {
        got = gzread(f, base + used, (unsigned)(room - used < 1 << 20 ? room - used : 1 << 20));
        used += got > 0 ? (size_t)got : 0;
        if (used < room)
            continue;
        base = mremap(base, room, 2 * room, MREMAP_MAYMOVE);
        room *= 2;
    }
    bool whole = gzclose(f) == Z_OK && got == 0;
    if (base == MAP_FAILED || room > MOST_UNPACKED)
        rv = leat_fail(err, LEAT_ELIMIT,
                       "'%s' holds more than %zu bytes, or more than there is memory for: unpack it first", path,
                       room / 2);
    else if (!whole)
        rv = leat_fail(err, LEAT_ESCHEMA, "'%s', byte %zu of what it holds: it was not packed by gzip, or is damaged",
                       path, used);
    if (rv != 0 && base != MAP_FAILED)
        munmap(base, room);
    *out = rv == 0 && used > 0 ? mremap(base, room, used, 0) : NULL;
    *size = used;
    return rv;
}

int import_open(const char *path, const char *form, struct import_file *out, struct leat_error *err)
{
    enum import_form which = IMPORT_JSONL;
    struct stat st;
    int rv = find_form(path, form, &which, err);
    int fd = rv == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (rv != 0)
        return rv;
    if (fd < 0 || fstat(fd, &st) != 0) {
        rv = base_errno(err, errno, "read", path);
        if (fd >= 0)
            close(fd);
        return rv;
    }
    size_t size = (size_t)st.st_size;
    void *base;
    rv = is_packed(path) ? unpack_file(fd, path, &size, &base, err) : map_file(fd, size, &base);
    if (rv == 0 && size == 0 && S_ISREG(st.st_mode) && which != IMPORT_NPY && which != IMPORT_IDX)
        return import_bytes(path, which, "", 0, out, err); /* no rows */
    if (rv == 0 && base == NULL)
        rv = S_ISREG(st.st_mode) ? leat_fail(err, LEAT_EINVAL, "'%s' is empty, or cannot be mapped", path)
                                 : leat_fail(err, LEAT_EINVAL,
                                             "'%s' is no file. What comes through a pipe goes into a file first, so "
                                             "that it can be read again; or lines of JSON to 'leat depot append'",
                                             path);
    if (rv != 0)
        return rv;
    rv = import_bytes(path, which, base, size, out, err);
    if (rv != 0)
        munmap(base, size);
    return rv;
}

void import_close(struct import_file *f)
{
    if (f->size > 0)
        munmap((void *)(uintptr_t)f->base, f->size);
}

uint64_t import_hash(const struct import_file *f)
{
    return XXH3_64bits(f->base, f->size);
}

/* ---- Rows ---- */

static int refuse_elements(const struct import_file *f, struct arena *a, const struct leat_column *c,
                           struct leat_error *err)
{
    const char *has = f->element == 4 ? "f32" : f->element == 2 ? "f16" : f->is_signed ? "i8" : "u8";
    const char *type = schema_type_text(a, &(struct leat_column){.type = c->type, .count = c->count});

    if (f->form == IMPORT_IVECS)
        return leat_fail(err, LEAT_ESCHEMA, "'%s' has whole numbers of 32 bits, column '%s' is %s: convert the file",
                         f->path, c->name, type);
    return leat_fail(err, LEAT_ESCHEMA,
                     "'%s' has %s, column '%s' is %s: launch the module with a column of %s (ivf: --set type=%s), or "
                     "convert the file",
                     f->path, has, c->name, type, has, has);
}

/* The elements of the file as those of the column. */
static int convert(const struct import_file *f, struct arena *a, const struct leat_column *c, const uint8_t *from,
                   struct leat_value *out, struct leat_error *err)
{
    /* Bits are packed; those of as many bytes are of another type. */
    bool packed = c->type == LEAT_BITS && f->element == 1 && c->count != f->dims;
    uint32_t dims = packed ? 8 * f->dims : f->dims;

    if (c->count != dims)
        return leat_fail(err, LEAT_ESCHEMA,
                         "'%s' has vectors of %u elements, column '%s' of %u; is --set dims=%u missing?", f->path,
                         dims, c->name, c->count, dims);
    if (packed) {
        *out = leat_vector(c->type, from, c->count);
        return 0;
    }
    bool whole = f->form == IMPORT_IVECS;
    bool same = whole ? c->type == LEAT_U32_VECTOR
                      : (c->type == LEAT_F32_VECTOR && f->element == 4) ||
                            (c->type == LEAT_F16_VECTOR && f->element == 2) ||
                            (f->element == 1 && c->type == (f->is_signed ? LEAT_I8_VECTOR : LEAT_U8_VECTOR));
    if (same) {
        *out = leat_vector(c->type, from, f->dims);
        return 0;
    }
    if (c->type != LEAT_F32_VECTOR || whole)
        return refuse_elements(f, a, c, err);
    float *to = arena_alloc(a, f->dims * sizeof(float), 64);
    for (uint32_t i = 0; i < f->dims; i++)
        to[i] = f->element == 2 ? half_to_float(load_u16(from + 2 * (size_t)i))
                : f->is_signed  ? (float)(int8_t)from[i]
                                : (float)from[i];
    *out = leat_vector(LEAT_F32_VECTOR, to, f->dims);
    return 0;
}

/* Bytes before the elements of each row. */
static size_t row_head(const struct import_file *f)
{
    return f->form == IMPORT_NPY || f->form == IMPORT_IDX ? 0 : 4;
}

int import_vector(struct import_file *f, struct arena *a, const struct leat_column *column, struct leat_value *out,
                  struct leat_error *err)
{
    size_t head = row_head(f);

    if (f->row == f->rows)
        return LEAT_END;
    if (head > 0 && load_u32(f->base + f->at) != f->dims)
        return leat_fail(err, LEAT_ESCHEMA, "'%s', byte %zu, row %llu: %u elements, but row 0 has %u", f->path, f->at,
                         (unsigned long long)f->row, load_u32(f->base + f->at), f->dims);
    int rv = convert(f, a, column, f->base + f->at + head, out, err);
    f->at += head + (size_t)f->dims * f->element;
    f->row++;
    return rv;
}

static int vector_row(struct import_file *f, struct arena *a, const struct row_schema *schema, const char *prefix,
                      struct leat_value *out, struct leat_error *err)
{
    int vector = -1, id = row_schema_find(schema, "id");
    uint64_t row = f->row;

    for (uint32_t i = schema->columns; i > 0; i--)
        if (schema->column[i - 1].type >= LEAT_F32_VECTOR)
            vector = (int)i - 1;
    for (uint32_t i = 0; i < schema->columns; i++)
        out[i] = leat_null();
    if (vector < 0 || id < 0)
        return leat_fail(err, LEAT_ESCHEMA,
                         "a file of vectors needs a depot with a column 'id' and a vector; this one has {%s}",
                         row_schema_text(a, schema));
    if (prefix[0] != '\0' && schema->column[id].type != LEAT_STR)
        return leat_fail(err, LEAT_ESCHEMA, "--id-prefix goes before ids that are text; column 'id' has numbers");
    int rv = import_vector(f, a, &schema->column[vector], &out[vector], err);
    if (rv == 0)
        out[id] = schema->column[id].type == LEAT_STR
                      ? leat_str(arena_format(a, "%s%llu", prefix, (unsigned long long)row))
                      : leat_u64(row);
    return rv;
}

/* The next line that is not blank; false: there is none. */
static bool next_line(struct import_file *f, struct leat_span *out)
{
    while (f->at < f->size) {
        const uint8_t *start = f->base + f->at, *end = memchr(start, '\n', f->size - f->at);
        size_t size = end != NULL ? (size_t)(end - start) : f->size - f->at, blank = 0;

        f->at += size + (end != NULL);
        while (blank < size && (start[blank] == ' ' || start[blank] == '\t' || start[blank] == '\r'))
            blank++;
        *out = span_of(start, size);
        if (blank < size)
            return true;
    }
    return false;
}

/* As editors count, from 1. */
static unsigned long long line_number(const struct import_file *f, const uint8_t *line)
{
    unsigned long long number = 1;

    for (const uint8_t *at = f->base; (at = memchr(at, '\n', (size_t)(line - at))) != NULL; at++)
        number++;
    return number;
}

static int json_row(struct import_file *f, struct arena *a, const struct row_schema *schema, struct leat_value *out,
                    struct leat_error *err)
{
    struct leat_span line;

    if (!next_line(f, &line))
        return LEAT_END;
    int rv = json_to_row(a, schema, line, out, err);
    if (rv != 0)
        return base_wrap(err, rv, "'%s', line %llu, byte %zu", f->path, line_number(f, line.base),
                         (size_t)((const uint8_t *)line.base - f->base));
    f->row++;
    return 0;
}

int import_next(struct import_file *f, struct arena *a, const struct row_schema *schema, const char *id_prefix,
                struct leat_value *out, struct leat_error *err)
{
    return f->form == IMPORT_JSONL ? json_row(f, a, schema, out, err) : vector_row(f, a, schema, id_prefix, out, err);
}

void import_seek(struct import_file *f, uint64_t row)
{
    struct leat_span line;

    if (f->form != IMPORT_JSONL) {
        uint64_t to = row < f->rows ? row : f->rows;

        f->at += (to - f->row) * (row_head(f) + (size_t)f->dims * f->element);
        f->row = to;
        return;
    }
    while (f->row < row && next_line(f, &line))
        f->row++;
}
