/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "modules/ivf/layout.h"

/* Rows of every type, metric and declaration of attributes come out of a piece as they
 * went in, and touch nothing else. */

static const struct {
    enum leat_type type;
    enum metric metric;
} kinds[] = {
    {LEAT_F32_VECTOR, METRIC_L2},     {LEAT_F32_VECTOR, METRIC_COSINE}, {LEAT_F16_VECTOR, METRIC_DOT},
    {LEAT_F16_VECTOR, METRIC_COSINE}, {LEAT_I8_VECTOR, METRIC_L2},      {LEAT_I8_VECTOR, METRIC_COSINE},
    {LEAT_U8_VECTOR, METRIC_DOT},     {LEAT_BITS, METRIC_HAMMING},
};
static const uint32_t all_dims[] = {8, 16, 24, 40, 64, 72, 96, 128, 384, 784, 1536, 8192};
static const char *const declared[] = {"", "a: i64", "a: bool, b: text, c: f64"};

enum { KINDS = sizeof(kinds) / sizeof(*kinds), DIMS = sizeof(all_dims) / sizeof(*all_dims), DECLARED = 3, GUARD = 64 };

typedef void each_layout(const struct layout *l, struct random *random);

static void for_each(each_layout *each)
{
    struct random random;
    struct attributes a;

    random_seed(&random, 5);
    for (int declaration = 0; declaration < DECLARED; declaration++) {
        assert_int_equal(attributes_parse(declared[declaration], &a, NULL), 0);
        for (uint32_t kind = 0; kind < KINDS; kind++)
            for (uint32_t d = 0; d < DIMS; d++) {
                struct layout l;

                layout_init(&l, kinds[kind].type, kinds[kind].metric, all_dims[d], &a);
                each(&l, &random);
            }
    }
}

static void fill(struct random *random, void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)bytes)[i] = (uint8_t)random_u64(random);
}

/* Attributes have 16 presence bits at most as many as there are; the others come out as zeros. */
static void random_row(const struct layout *l, struct random *random, uint8_t *row)
{
    struct row_head head = {random_u64(random), (uint32_t)random_u64(random), 0};
    struct attributes_row attributes = {.presence = (uint32_t)random_below(random, 1U << l->attributes->count)};
    uint8_t packed[ATTRIBUTES_COLUMNS * 8 + 2], code[8192 / 8], *vector = malloc(l->vector);
    struct encoded e = {.code = code};
    float factor[3] = {1.5F, -2.25F, 0.125F};

    head.norm = l->metric == METRIC_COSINE ? (float)random_below(random, 1000) : 0;
    for (uint32_t i = 0; i < l->attributes->columns; i++)
        attributes.column[i] = (int64_t)random_u64(random);
    attributes_pack(l->attributes, &attributes, packed);
    fill(random, code, sizeof(code));
    fill(random, vector, l->vector);
    e.factors = (struct vector_factors){factor[0] * (float)random_below(random, 99), factor[1], factor[2]};
    layout_row(l, row, &head, packed, vector);
    layout_row_code(l, row, &e);
    assert_memory_equal(row + l->row.vector, vector, l->vector);
    free(vector);
}

static void round_trip(const struct layout *l, const struct piece_layout *p, struct random *random)
{
    uint8_t *piece = aligned_alloc(64, (p->size + GUARD + 63) & ~63U), *rows = calloc(p->rows, l->row.size);
    uint8_t *out = malloc(l->row.size);

    memset(piece, 0, p->size);
    memset(piece + p->size, 0xa5, GUARD);
    /* In any order: each place has its row, and leaves the others alone. */
    for (uint32_t i = 0; i < p->rows; i++) {
        uint32_t at = i * 5 % p->rows;

        random_row(l, random, rows + (size_t)at * l->row.size);
        layout_place(l, p, piece, at, rows + (size_t)at * l->row.size);
    }
    for (uint32_t i = 0; i < p->rows; i++) {
        const uint8_t *row = rows + (size_t)i * l->row.size;
        struct row_head head;

        layout_take(l, p, piece, i, out);
        assert_memory_equal(out, row, l->row.size);
        memcpy(&head, row, sizeof(head));
        assert_true(layout_number(p, piece, i) == head.number && layout_version(p, piece, i) == head.version);
        assert_memory_equal(layout_vector(l, p, piece, i), row + l->row.vector, l->vector);
    }
    for (int i = 0; i < GUARD; i++)
        assert_int_equal(piece[p->size + (uint32_t)i], 0xa5);
    free(piece);
    free(rows);
    free(out);
}

static void rows_come_out_as_they_went_in(const struct layout *l, struct random *random)
{
    round_trip(l, &l->tail, random);
    round_trip(l, &l->chunk, random);
}

static void test_round_trips(void **state)
{
    (void)state;
    for_each(rows_come_out_as_they_went_in);
}

static void check_piece(const struct layout *l, const struct piece_layout *p)
{
    assert_int_equal(p->rows % BLOCK, 0);
    assert_true(p->rows > 0);
    assert_true(p->attributes >= p->rows / BLOCK * l->block);
    assert_true(p->numbers >= p->attributes + attributes_table_size(l->attributes, p->rows / BLOCK));
    assert_true(p->versions >= p->numbers + 8 * p->rows);
    assert_true(p->norms >= p->versions + 4 * p->rows);
    assert_true(p->vectors >= p->norms + (l->metric == METRIC_COSINE ? 4 * p->rows : 0));
    assert_int_equal(p->vectors % 64, 0);
    assert_int_equal(p->size, p->vectors + p->rows * l->vector);
}

static void places_do_not_overlap(const struct layout *l, struct random *random)
{
    (void)random;
    check_piece(l, &l->tail);
    check_piece(l, &l->chunk);
    assert_int_equal(l->tail.rows, BLOCK);
    assert_true(l->pad < 64);
    /* A value of at most half a page would share one with others, and move with them. */
    assert_true(l->chunk.size > 2048);
    /* Of the pages that a value takes little is left over. */
    if (l->chunk.size > 4096) {
        uint32_t bytes = 16 + 64 + l->chunk.size, pages = (bytes + 4095) / 4096;

        assert_true(bytes * 4 >= pages * 4096 * 3);
    }
}

static void test_places(void **state)
{
    (void)state;
    for_each(places_do_not_overlap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_places),
    };

    return cmocka_run_group_tests_name("ivf_layout", tests, NULL, NULL);
}
