/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/random.h"
#include "cmd/import.h"

/* Files of rows are read as they were written, from any row on; what is broken is refused with its byte. */

enum { ROUNDS = 200, SEED = 23, ROWS = 40, DIMS = 24 };

struct fixture {
    struct arena *arena;
    struct row_schema schema;
    struct leat_value value[8];
    struct leat_error err;
};

static struct fixture open_fixture(const char *schema)
{
    struct fixture x = {.arena = arena_open(1 << 24)};

    assert_int_equal(row_schema_parse(x.arena, schema, NULL, NULL, &x.schema, &x.err), 0);
    return x;
}

static int next(struct fixture *x, struct import_file *f)
{
    int id = row_schema_find(&x->schema, "id");
    bool text = id >= 0 && x->schema.column[id].type == LEAT_STR;

    return import_next(f, x->arena, &x->schema, text ? "v" : "", x->value, &x->err);
}

/* ---- Files in memory ---- */

static void put_u16(struct buffer *b, uint16_t number)
{
    buffer_put(b, &number, sizeof(number));
}

static void put_number(struct buffer *b, enum import_form form, uint32_t element, float number)
{
    if (form == IMPORT_BVECS || form == IMPORT_IDX)
        buffer_u8(b, (uint8_t)number);
    else if (element == 2)
        put_u16(b, (uint16_t)(0x3c00 | ((uint16_t)(number - 1) & 0x3ff))); /* 1 + n / 1024 */
    else
        buffer_put(b, &number, sizeof(number));
}

static void put_header(struct buffer *b, int version, const char *text)
{
    uint32_t size = (uint32_t)strlen(text);

    buffer_put(b, "\x93NUMPY", 6);
    buffer_u8(b, (uint8_t)version);
    buffer_u8(b, 0);
    if (version == 1)
        put_u16(b, (uint16_t)size);
    else
        buffer_u32(b, size);
    buffer_put(b, text, size);
}

/* The last dimension of an even number is two. */
static void put_idx(struct buffer *b, uint32_t rows, uint32_t dims)
{
    uint32_t size[3] = {rows, dims % 2 == 0 ? dims / 2 : dims, 2};

    buffer_put(b, "\0\0\x08", 3);
    buffer_u8(b, dims % 2 == 0 ? 3 : 2);
    for (int i = 0; i < (dims % 2 == 0 ? 3 : 2); i++) {
        uint32_t big = __builtin_bswap32(size[i]);

        buffer_put(b, &big, sizeof(big));
    }
}

static void put_file(struct buffer *b, enum import_form form, uint32_t element, uint32_t rows, uint32_t dims,
                     struct random *random, float number[ROWS][DIMS])
{
    char header[160];

    snprintf(header, sizeof(header), "{'descr': '<f%u', 'fortran_order': False, 'shape': (%u, %u), }\n", element, rows,
             dims);
    if (form == IMPORT_NPY)
        put_header(b, 1 + (int)random_below(random, 3), header);
    if (form == IMPORT_IDX)
        put_idx(b, rows, dims);
    for (uint32_t r = 0; r < rows; r++) {
        if (form != IMPORT_NPY && form != IMPORT_IDX)
            buffer_u32(b, dims);
        for (uint32_t i = 0; i < dims; i++) {
            number[r][i] = (float)(1 + random_below(random, 250));
            put_number(b, form, element, number[r][i]);
            if (element == 2)
                number[r][i] = 1 + (number[r][i] - 1) / 1024;
        }
    }
}

static void check_row(struct fixture *x, uint64_t row, const float *number, uint32_t dims)
{
    char id[24];
    float have;

    snprintf(id, sizeof(id), "v%llu", (unsigned long long)row);
    assert_int_equal(x->value[0].type, LEAT_STR);
    assert_true(span_equal(x->value[0].as.bytes, span_text(id)));
    assert_int_equal(x->value[1].type, LEAT_NULL);
    assert_int_equal(x->value[2].type, LEAT_F32_VECTOR);
    assert_int_equal(x->value[2].as.bytes.size, dims * sizeof(float));
    for (uint32_t i = 0; i < dims; i++) {
        memcpy(&have, (const uint8_t *)x->value[2].as.bytes.base + i * sizeof(float), sizeof(float));
        assert_true(have == number[i]);
    }
}

static void test_vectors(void **state)
{
    static float number[ROWS][DIMS];
    struct random random;

    (void)state;
    print_message("seed %d\n", SEED);
    random_seed(&random, SEED);
    for (int round = 0; round < ROUNDS; round++) {
        static const enum import_form forms[] = {IMPORT_NPY, IMPORT_FVECS, IMPORT_BVECS, IMPORT_IDX};
        enum import_form form = forms[random_below(&random, LENGTH_OF(forms))];
        uint32_t element = form == IMPORT_NPY && random_below(&random, 2) == 0 ? 2 : 4,
                 rows = 1 + (uint32_t)random_below(&random, ROWS), dims = 1 + (uint32_t)random_below(&random, DIMS);
        uint64_t from = random_below(&random, rows + 2);
        struct buffer bytes = {0};
        struct import_file f;
        char schema[64];

        snprintf(schema, sizeof(schema), "id: str, text: str?, vec: f32[%u], more: f32[3]?", dims);
        struct fixture x = open_fixture(schema);
        put_file(&bytes, form, element, rows, dims, &random, number);
        assert_int_equal(import_bytes("f", form, bytes.base, bytes.size, &f, &x.err), 0);
        assert_int_equal(f.rows, rows);
        import_seek(&f, from);
        for (uint64_t row = from; row < rows; row++) {
            assert_int_equal(f.row, row);
            assert_int_equal(next(&x, &f), 0);
            check_row(&x, row, number[row], dims);
        }
        assert_int_equal(next(&x, &f), LEAT_END);
        assert_int_equal(f.at, bytes.size);
        buffer_fini(&bytes);
        arena_close(x.arena);
    }
}

/* Numbers of neighbours, and bits, come as they are or not at all. */
static void test_other_elements(void **state)
{
    static const uint8_t bytes[] = {2, 0, 0, 0, 7, 8}, numbers[] = {2, 0, 0, 0, 1, 2, 0, 0, 255, 255, 255, 255};
    struct leat_column column[] = {{.name = "b", .type = LEAT_BITS, .count = 16},
                                   {.name = "n", .type = LEAT_U32_VECTOR, .count = 2},
                                   {.name = "f", .type = LEAT_F32_VECTOR, .count = 2},
                                   {.name = "u", .type = LEAT_U8_VECTOR, .count = 2}};
    struct fixture x = open_fixture("id: u64");
    struct leat_value value;
    struct import_file f;

    (void)state;
    for (size_t i = 0; i < LENGTH_OF(column); i++) {
        assert_int_equal(import_bytes("f", IMPORT_BVECS, bytes, sizeof(bytes), &f, &x.err), 0);
        int rv = import_vector(&f, x.arena, &column[i], &value, &x.err);
        assert_int_equal(rv, column[i].type == LEAT_U32_VECTOR ? LEAT_ESCHEMA : 0);
        if (rv == 0 && column[i].type != LEAT_F32_VECTOR)
            assert_memory_equal(value.as.bytes.base, bytes + 4, 2);
        assert_int_equal(value.count, rv == 0 ? column[i].count : value.count);
        assert_int_equal(import_bytes("f", IMPORT_IVECS, numbers, sizeof(numbers), &f, &x.err), 0);
        rv = import_vector(&f, x.arena, &column[i], &value, &x.err);
        assert_int_equal(rv, column[i].type == LEAT_U32_VECTOR ? 0 : LEAT_ESCHEMA);
        if (rv == 0)
            assert_memory_equal(value.as.bytes.base, numbers + 4, 8);
    }
    assert_int_equal(import_bytes("f", IMPORT_BVECS, bytes, sizeof(bytes), &f, &x.err), 0);
    assert_int_equal(import_vector(&f, x.arena, &column[3], &value, &x.err), 0);
    assert_int_equal(import_vector(&f, x.arena, &column[3], &value, &x.err), LEAT_END);
    arena_close(x.arena);
}

/* Bytes with a sign and without are columns of their own, and numbers; each of both is bits. */
static void test_bytes(void **state)
{
    static const char *const header[] = {"{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2), }",
                                         "{'descr': '|i1', 'fortran_order': False, 'shape': (1, 2), }"};
    static const float number[2][2] = {{7, 250}, {7, -6}};
    struct leat_column column[] = {{.name = "u", .type = LEAT_U8_VECTOR, .count = 2},
                                   {.name = "i", .type = LEAT_I8_VECTOR, .count = 2},
                                   {.name = "b", .type = LEAT_BITS, .count = 16},
                                   {.name = "f", .type = LEAT_F32_VECTOR, .count = 2},
                                   {.name = "h", .type = LEAT_F16_VECTOR, .count = 2}};
    struct fixture x = open_fixture("id: u64");
    struct leat_value value;
    struct import_file f;

    (void)state;
    for (size_t form = 0; form < 2; form++) {
        struct buffer bytes = {0};

        put_header(&bytes, 1, header[form]);
        buffer_put(&bytes, "\x07\xfa", 2);
        for (size_t i = 0; i < LENGTH_OF(column); i++) {
            assert_int_equal(import_bytes("f", IMPORT_NPY, bytes.base, bytes.size, &f, &x.err), 0);
            bool fits = i == form || column[i].type == LEAT_BITS || column[i].type == LEAT_F32_VECTOR;
            assert_int_equal(import_vector(&f, x.arena, &column[i], &value, &x.err), fits ? 0 : LEAT_ESCHEMA);
            assert_true(fits || strstr(x.err.text, form == 0 ? "'f' has u8, column" : "'f' has i8, column") != NULL);
            if (fits && column[i].type == LEAT_F32_VECTOR)
                assert_memory_equal(value.as.bytes.base, number[form], sizeof(number[form]));
            else if (fits)
                assert_memory_equal(value.as.bytes.base, "\x07\xfa", 2);
        }
        buffer_fini(&bytes);
    }
    arena_close(x.arena);
}

/* A header may say anything. */
static void test_idx_headers(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *says;
    } wrong[] = {
        {"\0\0\x08", 3, "byte 0"}, {"\1\0\x08\2\0\0\0\1\0\0\0\1", 12, "byte 0"},
        {"\0\0\x0d\2\0\0\0\1\0\0\0\1", 12, "byte 0"}, {"\0\0\x08\1\0\0\0\1", 8, "byte 0"},
        {"\0\0\x08\2\0\0\0\1", 8, "byte 0"}, {"\0\0\x08\2\0\0\0\1\0\0\0\0", 12, "a vector of 0"},
        {"\0\0\x08\3\0\0\0\1\xff\xff\xff\xff\xff\xff\xff\xff", 16, "a vector of 4294967295"},
        {"\0\0\x08\2\0\0\0\2\0\0\0\1x", 13, "2 rows are said, the file holds fewer"},
        {"\0\0\x08\2\0\0\0\2\0\0\0\1xyz", 15, "byte 14: 2 rows are said, and 1 bytes are behind them"},
    };
    struct leat_error err = {0};
    struct import_file f;

    (void)state;
    for (size_t i = 0; i < LENGTH_OF(wrong); i++) {
        assert_int_equal(import_bytes("f", IMPORT_IDX, wrong[i].bytes, wrong[i].size, &f, &err), LEAT_ESCHEMA);
        assert_non_null(strstr(err.text, wrong[i].says));
    }
}

/* ---- Numbers of 16 bits ---- */

/* IEEE 754 binary16 as binary32, put together bit by bit (section 3.4 of the standard). */
static uint32_t wide_bits(uint32_t h)
{
    uint32_t sign = h >> 15 << 31, exponent = h >> 10 & 31, fraction = h & 0x3ff;
    float small = (float)fraction * 0x1p-24F;
    uint32_t bits;

    memcpy(&bits, &small, sizeof(bits));
    return exponent == 0 ? sign | bits : sign | (exponent + 112) << 23 | fraction << 13;
}

static void test_halves(void **state)
{
    struct fixture x = open_fixture("id: u64, vec: f32[32768]");
    struct buffer bytes = {0};
    struct import_file f;

    (void)state;
    put_header(&bytes, 1, "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 32768), }");
    for (uint32_t h = 0; h <= UINT16_MAX; h++)
        put_u16(&bytes, (uint16_t)h);
    assert_int_equal(import_bytes("f", IMPORT_NPY, bytes.base, bytes.size, &f, &x.err), 0);
    for (uint32_t row = 0; row < 2; row++) {
        assert_int_equal(next(&x, &f), 0);
        const uint8_t *at = x.value[1].as.bytes.base;
        for (uint32_t h = 0; h < 0x7c00; h++)
            assert_int_equal(load_u32(at + h * 4), wide_bits(row << 15 | h));
        float infinite;
        memcpy(&infinite, at + 0x7c00 * 4, sizeof(infinite));
        assert_true(isinf(infinite) && (infinite < 0) == (row == 1));
        for (uint32_t h = 0x7c01; h < 0x8000; h++) {
            float none;

            memcpy(&none, at + h * 4, sizeof(none));
            assert_true(isnan(none));
        }
    }
    buffer_fini(&bytes);
    arena_close(x.arena);
}

/* ---- JSON lines ---- */

static uint64_t put_lines(struct buffer *b, struct random *random, uint64_t rows)
{
    static const char *const blank[] = {"\n", " \t\n", "\r\n", ""};
    char line[64];

    for (uint64_t row = 0; row < rows; row++) {
        const char *more = blank[random_below(random, LENGTH_OF(blank))];

        snprintf(line, sizeof(line), "%s{\"n\": %llu}%s", more, (unsigned long long)row,
                 row + 1 < rows || random_below(random, 2) == 0 ? random_below(random, 2) == 0 ? "\n" : "\r\n" : "");
        buffer_put(b, line, strlen(line));
    }
    return rows;
}

static void test_lines(void **state)
{
    struct random random;

    (void)state;
    random_seed(&random, SEED);
    for (int round = 0; round < ROUNDS; round++) {
        struct fixture x = open_fixture("n: i64");
        struct buffer bytes = {0};
        struct import_file f;
        uint64_t rows = put_lines(&bytes, &random, 1 + random_below(&random, ROWS)),
                 from = random_below(&random, rows + 2);

        assert_int_equal(import_bytes("f", IMPORT_JSONL, bytes.base, bytes.size, &f, &x.err), 0);
        import_seek(&f, from);
        for (uint64_t row = from; row < rows; row++) {
            assert_int_equal(next(&x, &f), 0);
            assert_int_equal(x.value[0].as.i, row);
            assert_int_equal(f.row, row + 1);
        }
        assert_int_equal(next(&x, &f), LEAT_END);
        assert_int_equal(next(&x, &f), LEAT_END);
        buffer_fini(&bytes);
        arena_close(x.arena);
    }
}

static void test_a_wrong_line_is_named(void **state)
{
    static const char text[] = "{\"n\": 1}\n\n{\"n\": 2}\n{\"n\": \"x\"}\n";
    struct fixture x = open_fixture("n: i64");
    struct import_file f;

    (void)state;
    assert_int_equal(import_bytes("lines", IMPORT_JSONL, text, strlen(text), &f, &x.err), 0);
    assert_int_equal(next(&x, &f), 0);
    assert_int_equal(next(&x, &f), 0);
    assert_int_equal(next(&x, &f), LEAT_ESCHEMA);
    assert_non_null(strstr(x.err.text, "'lines', line 4, byte 19"));
    arena_close(x.arena);
}

/* ---- What is broken ---- */

/* Every prefix of a file is refused, or holds whole rows. */
static void test_prefixes(void **state)
{
    static float number[ROWS][DIMS];
    struct random random;

    (void)state;
    random_seed(&random, SEED);
    for (enum import_form form = IMPORT_NPY; form <= IMPORT_BVECS; form++) {
        struct fixture x = open_fixture("id: str, text: str?, vec: f32[5]");
        struct buffer bytes = {0};

        put_file(&bytes, form, 4, 3, 5, &random, number);
        for (size_t size = 0; size < bytes.size; size++) {
            uint8_t *copy = base_alloc(size > 0 ? size : 1); /* so that a sanitizer sees what is read behind it */
            struct import_file f;
            uint32_t rows = 0;
            size_t row = form == IMPORT_FVECS ? 24 : 9;

            memcpy(copy, bytes.base, size);
            int rv = import_bytes("f", form, copy, size, &f, &x.err);
            bool whole = form != IMPORT_NPY && size % row == 0;
            assert_int_equal(rv, whole ? 0 : LEAT_ESCHEMA);
            while (rv == 0 && (rv = next(&x, &f)) == 0)
                check_row(&x, rows, number[rows], 5), rows++;
            if (whole)
                assert_int_equal(rows, size / row);
            free(copy);
        }
        buffer_fini(&bytes);
        arena_close(x.arena);
    }
}

static void refuse_header(int version, const char *header, const char *says)
{
    struct buffer bytes = {0};
    struct leat_error err = {0};
    struct import_file f;

    put_header(&bytes, version, header);
    for (int i = 0; i < 48; i++)
        buffer_u8(&bytes, 0);
    assert_int_equal(import_bytes("f", IMPORT_NPY, bytes.base, bytes.size, &f, &err), LEAT_ESCHEMA);
    if (strstr(err.text, says) == NULL)
        fail_msg("'%s' lacks '%s'", err.text, says);
    buffer_fini(&bytes);
}

static void test_headers(void **state)
{
    char large[5000];

    (void)state;
    refuse_header(1, "", "byte 10: its numbers are not f32 or f16");
    refuse_header(2, "{'fortran_order': False, 'shape': (3, 4), }", "byte 12: its numbers are not");
    refuse_header(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }", "but '<f8' (float64): save");
    refuse_header(1, "{'descr': '>f4', 'fortran_order': False, 'shape': (3, 4), }", "but '>f4': save the array");
    refuse_header(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (3, 4), }", "but '|b1': save");
    refuse_header(1, "{'descr': '<u2', 'fortran_order': False, 'shape': (3, 4), }", "but '<u2': save");
    refuse_header(1, "{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (3, 4), }", "nor u8 or i8");
    refuse_header(1, "{'descr': '\033[31m', 'fortran_order': False, 'shape': (3, 4), }", "nor u8 or i8");
    refuse_header(1, "{'descr': '<f8", "nor u8 or i8");
    refuse_header(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 4), }", "Fortran");
    refuse_header(1, "{'descr': '<f4', 'shape': (3, 4), }", "Fortran");
    refuse_header(1, "{'descr': '<f4', 'fortran_order': False, }", "its shape");
    refuse_header(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (), }", "its shape");
    refuse_header(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (12,), }", "its shape");
    refuse_header(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 2), }", "its shape");
    refuse_header(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 0), }", "its shape");
    refuse_header(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 65537), }", "its shape");
    refuse_header(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 5), }", "3 rows are said");
    refuse_header(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }", "and 16 bytes are behind them");
    refuse_header(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", "rows are said");
    refuse_header(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999, 4), }",
                  "rows are said");
    memset(large, ' ', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    refuse_header(1, large, "byte 8: a header of 4999 bytes");
}

static void test_a_row_of_another_length(void **state)
{
    struct fixture x = open_fixture("id: str, vec: f32[1]");
    struct buffer bytes = {0};
    struct import_file f;

    (void)state;
    for (uint32_t dims = 1; dims <= 2; dims++) {
        buffer_u32(&bytes, dims);
        buffer_u32(&bytes, 0);
    }
    assert_int_equal(import_bytes("f", IMPORT_FVECS, bytes.base, bytes.size, &f, &x.err), 0);
    assert_int_equal(next(&x, &f), 0);
    assert_int_equal(next(&x, &f), LEAT_ESCHEMA);
    assert_non_null(strstr(x.err.text, "byte 8, row 1: 2 elements, but row 0 has 1"));
    buffer_fini(&bytes);
    arena_close(x.arena);
}

/* ---- Columns ---- */

/* Two rows of two elements, for columns of this schema: 0, or what is said. */
static void check_columns(enum import_form form, uint32_t element, const char *schema, const char *says)
{
    static float number[ROWS][DIMS];
    struct fixture x = open_fixture(schema);
    struct buffer bytes = {0}, row = {0};
    struct import_file f;
    struct random random;

    random_seed(&random, SEED);
    put_file(&bytes, form, element, 2, 2, &random, number);
    assert_int_equal(import_bytes("f", form, bytes.base, bytes.size, &f, &x.err), 0);
    int rv = next(&x, &f);
    if (rv == 0)
        rv = row_encode(&x.schema, (struct leat_row){x.value, x.schema.columns}, &row, &x.err);
    assert_int_equal(rv, says == NULL ? 0 : LEAT_ESCHEMA);
    if (says != NULL && strstr(x.err.text, says) == NULL)
        fail_msg("'%s' lacks '%s'", x.err.text, says);
    buffer_fini(&row);
    buffer_fini(&bytes);
    arena_close(x.arena);
}

static void test_columns(void **state)
{
    (void)state;
    check_columns(IMPORT_NPY, 4, "id: str, vec: f32[2]", NULL);
    check_columns(IMPORT_NPY, 4, "vec: f32[2], id: u64", NULL);
    check_columns(IMPORT_NPY, 4, "vec: f32[2], id: u32", NULL);
    check_columns(IMPORT_NPY, 4, "vec: f32[2], id: i64", NULL);
    check_columns(IMPORT_NPY, 2, "id: str, vec: f16[2]", NULL);
    check_columns(IMPORT_BVECS, 1, "id: str, vec: u8[2]", NULL);
    check_columns(IMPORT_BVECS, 1, "id: str, vec: f32[2]", NULL);
    check_columns(IMPORT_FVECS, 4, "id: str, vec: f16[2]", "'f' has f32, column 'vec' is f16[2]");
    check_columns(IMPORT_BVECS, 1, "id: str, vec: f16[2]", "'f' has u8, column 'vec' is f16[2]");
    check_columns(IMPORT_NPY, 2, "id: str, vec: i8[2]", "'f' has f16, column 'vec' is i8[2]");
    check_columns(IMPORT_IVECS, 4, "id: str, vec: f32[2]",
                  "'f' has whole numbers of 32 bits, column 'vec' is f32[2]: convert the file");
    check_columns(IMPORT_NPY, 4, "id: str, vec: u8[2]",
                  "'f' has f32, column 'vec' is u8[2]: launch the module with a column of f32 (ivf: --set type=f32), "
                  "or convert the file");
    check_columns(IMPORT_NPY, 4, "id: str, vec: f32[3]",
                  "vectors of 2 elements, column 'vec' of 3; is --set dims=2 missing?");
    check_columns(IMPORT_BVECS, 1, "id: str, vec: bits[16]", NULL);
    check_columns(IMPORT_BVECS, 1, "id: str, vec: bits[24]",
                  "vectors of 16 elements, column 'vec' of 24; is --set dims=16 missing?");
    check_columns(IMPORT_NPY, 4, "name: str, vec: f32[2]", "needs a depot with a column 'id' and a vector");
    check_columns(IMPORT_NPY, 4, "id: str", "needs a depot with a column 'id' and a vector");
    check_columns(IMPORT_NPY, 4, "id: bool, vec: f32[2]", "id");
    check_columns(IMPORT_NPY, 4, "id: str, vec: f32[2], name: str", "name");
}

/* ---- Files on disk ---- */

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static uint64_t hash_of(const char *path)
{
    struct import_file f;

    assert_int_equal(import_open(path, "jsonl", &f, NULL), 0);
    uint64_t hash = import_hash(&f);
    import_close(&f);
    return hash;
}

static void test_open(void **state)
{
    char directory[] = "/tmp/leat-import-XXXXXX", path[64], other[64];
    struct leat_error err = {0};
    struct import_file f;

    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/a.jsonl", directory);
    snprintf(other, sizeof(other), "%s/b", directory);
    assert_int_equal(import_open(path, NULL, &f, &err), LEAT_ENOTFOUND);
    write_file(path, "");
    assert_int_equal(import_open(path, NULL, &f, &err), 0); /* no rows */
    assert_int_equal(f.size, 0);
    import_close(&f);
    assert_int_equal(import_open(path, "npy", &f, &err), LEAT_EINVAL);
    for (size_t i = 0; i < 3; i++) {
        struct leat_column column = {.name = "vec", .type = LEAT_F32_VECTOR, .count = 4};
        struct leat_value value;

        assert_int_equal(import_open(path, (const char *const[]){"fvecs", "bvecs", "ivecs"}[i], &f, &err), 0);
        import_seek(&f, 5);
        assert_int_equal(import_vector(&f, NULL, &column, &value, &err), LEAT_END);
        import_close(&f);
    }
    write_file(path, "{\"n\": 1}\n");
    write_file(other, "{\"n\": 1}\n");
    assert_int_equal(hash_of(path), hash_of(other));
    write_file(other, "{\"n\": 2}\n");
    assert_int_not_equal(hash_of(path), hash_of(other));
    assert_int_equal(import_open(path, NULL, &f, &err), 0);
    assert_int_equal(f.form, IMPORT_JSONL);
    import_close(&f);
    assert_int_equal(import_open(other, NULL, &f, &err), LEAT_EINVAL);
    assert_non_null(strstr(err.text, "of what form is it?"));
    assert_int_equal(import_open(path, "csv", &f, &err), LEAT_EINVAL);
    assert_int_equal(import_open(path, "npy", &f, &err), LEAT_ESCHEMA);
    assert_int_equal(import_open(directory, "jsonl", &f, &err), LEAT_EINVAL);
    unlink(path);
    unlink(other);
    rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors), cmocka_unit_test(test_other_elements), cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_idx_headers), cmocka_unit_test(test_halves), cmocka_unit_test(test_lines),
        cmocka_unit_test(test_a_wrong_line_is_named), cmocka_unit_test(test_prefixes), cmocka_unit_test(test_headers),
        cmocka_unit_test(test_a_row_of_another_length), cmocka_unit_test(test_columns), cmocka_unit_test(test_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
