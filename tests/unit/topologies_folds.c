/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "topologies/plan.h"

#include <math.h>
#include <stdio.h>

/* Every fold against a model that is too simple to be wrong, on random rows; and the same rows split over several
 * states, each saved and loaded, merged in any order. */

enum { ROUNDS = 60, ROWS_MOST = 300 };

/* What finish() emits comes here. */
struct leat_task {
    struct arena *arena;
    struct row_schema schema;
    struct leat_span row[4 * 10000];
    uint32_t rows;
};

static struct leat_span encode(struct arena *arena, const struct row_schema *schema, struct leat_row row)
{
    struct buffer out = {0};

    assert_int_equal(row_encode_fast(schema, row, &out), 0);
    void *copy = arena_alloc(arena, out.size + 1, 1);
    memcpy(copy, out.base, out.size);
    struct leat_span bytes = span_of(copy, out.size);
    buffer_fini(&out);
    return bytes;
}

void leat_fold_emit(struct leat_task *t, struct leat_row row)
{
    assert_true(t->rows < LENGTH_OF(t->row));
    assert_int_equal(row.count, t->schema.columns);
    t->row[t->rows++] = encode(t->arena, &t->schema, row);
}

/* ---- One use of a fold ---- */

struct harness {
    struct plan plan;
    struct leat_fold_use use;
    const struct leat_fold *fold;
    struct row_schema in;
    size_t state_size;
    struct random random;
    uint64_t seed;
    struct leat_task got;
};

static struct harness h; /* large, and one is enough */

static int prepare(const struct leat_fold *fold, const char *columns, const char *args, char *text, size_t size,
                   struct leat_error *err)
{
    h = (struct harness){.fold = fold};
    h.plan.arena = arena_open((size_t)1 << 30);
    assert_int_equal(row_schema_parse(h.plan.arena, columns, NULL, NULL, &h.in, NULL), 0);
    h.use = (struct leat_fold_use){.fold = fold, .args = args, .columns = {0, h.in.columns, h.in.column},
                                   .column = h.in.column, .arena = h.plan.arena, .plan = &h.plan};
    return fold->prepare(&h.use, &h.state_size, text, size, err);
}

static void begin(const struct leat_fold *fold, const char *columns, const char *args)
{
    struct leat_error err = {0};
    char text[2048];

    if (prepare(fold, columns, args, text, sizeof(text), &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(row_schema_parse(h.plan.arena, text, NULL, NULL, &h.got.schema, NULL), 0);
    h.got.arena = h.plan.arena;
    h.seed = random_entropy();
    random_seed(&h.random, h.seed);
}

static void end(void)
{
    arena_close(h.plan.arena);
}

static void refuse(const struct leat_fold *fold, const char *columns, const char *args, const char *sentence)
{
    struct leat_error err = {0};
    char text[2048];

    assert_int_equal(prepare(fold, columns, args, text, sizeof(text), &err), LEAT_EMODULE);
    if (strstr(err.text, sentence) == NULL)
        fail_msg("fold %s %s\n  is:     %s\n  wanted: %s", fold->name, args, err.text, sentence);
    end();
}

static struct leat_batch batch_of(const struct leat_span *rows, uint32_t count)
{
    struct leat_batch in;

    assert_int_equal(row_batch(h.plan.arena, &h.in, rows, count, &in), 0);
    return in;
}

static void *state_new(void)
{
    void *state = arena_zeroed(h.plan.arena, h.state_size + 1, 16);

    h.fold->init(&h.use, state);
    return state;
}

/* Rows [first, end) in steps of random size, each with a batch of its own now and then. */
static void step(void *state, const struct leat_batch *in, uint32_t first, uint32_t last)
{
    while (first < last) {
        uint32_t size = 1 + (uint32_t)random_below(&h.random, last - first);

        assert_int_equal(h.fold->step(&h.use, state, in, first, first + size), 0);
        first += size;
    }
}

/* Through bytes that are gone afterwards: a loaded state must not point into them. */
static void *through_bytes(const void *state)
{
    struct buffer bytes = {0};
    void *loaded = state_new();

    h.fold->save(&h.use, state, &(struct leat_sink){&bytes});
    assert_int_equal(bytes.error, 0);
    assert_int_equal(h.fold->load(&h.use, loaded, buffer_bytes(&bytes)), 0);
    if (bytes.size > 0)
        memset(bytes.base, 0xee, bytes.size);
    buffer_fini(&bytes);
    return loaded;
}

static void finish(const void *state)
{
    h.got.rows = 0;
    assert_int_equal(h.fold->finish(&h.use, state, &h.got), 0);
}

/* All rows through one state. */
static void *fold_one(const struct leat_batch *in)
{
    void *state = state_new();

    step(state, in, 0, in->rows);
    return state;
}

/* The rows cut into pieces, a state each; merged two at a time in random order. */
static void *fold_split(const struct leat_batch *in)
{
    void *state[5];
    uint32_t states = 1 + (uint32_t)random_below(&h.random, LENGTH_OF(state)), at = 0;

    for (uint32_t i = 0; i < states; i++) {
        uint32_t to = i + 1 == states ? in->rows : at + (uint32_t)random_below(&h.random, in->rows - at + 1);

        state[i] = state_new();
        step(state[i], in, at, to);
        if (random_below(&h.random, 2) == 0)
            state[i] = through_bytes(state[i]);
        at = to;
    }
    while (states > 1) {
        uint32_t a = (uint32_t)random_below(&h.random, states), b = (uint32_t)random_below(&h.random, states - 1);

        b += b >= a;
        assert_int_equal(h.fold->merge(&h.use, state[a], state[b]), 0);
        state[b] = state[--states];
    }
    return state[0];
}

static int compare_spans(const void *a, const void *b)
{
    const struct leat_span *x = a, *y = b;
    size_t least = x->size < y->size ? x->size : y->size;
    int order = memcmp(x->base, y->base, least);

    return order != 0 ? order : (x->size > y->size) - (x->size < y->size);
}

static void expect_rows(struct leat_span *wanted, uint32_t count, bool in_order)
{
    if (h.got.rows != count)
        fail_msg("fold %s, seed %llu: %u rows, %u wanted", h.fold->name, (unsigned long long)h.seed, h.got.rows, count);
    if (!in_order && count > 0) {
        qsort(wanted, count, sizeof(*wanted), compare_spans);
        qsort(h.got.row, count, sizeof(*h.got.row), compare_spans);
    }
    for (uint32_t i = 0; i < count; i++)
        if (!span_equal(wanted[i], h.got.row[i]))
            fail_msg("fold %s, seed %llu: row %u of %u differs", h.fold->name, (unsigned long long)h.seed, i, count);
}

static void expect(struct leat_row row)
{
    struct leat_span wanted = encode(h.plan.arena, &h.got.schema, row);

    expect_rows(&wanted, 1, true);
}

/* ---- Random rows ---- */

#define COLUMNS "id: str, n: i64, v: f64?, u: u32, w: f32"

struct row {
    char id[8];
    int64_t n;
    bool null;
    double v; /* halves: sums are exact in any order */
    uint32_t u;
};

static struct row rows[ROWS_MOST];
static struct leat_span encoded[ROWS_MOST];
static uint32_t row_count;

static struct leat_batch random_rows(void)
{
    row_count = (uint32_t)random_below(&h.random, ROWS_MOST + 1);
    if (random_below(&h.random, 4) == 0)
        row_count = (uint32_t)random_below(&h.random, 4);
    for (uint32_t i = 0; i < row_count; i++) {
        struct row *r = &rows[i];

        snprintf(r->id, sizeof(r->id), "%.*s%u", (int)random_below(&h.random, 3), "kk",
                 (uint32_t)random_below(&h.random, 60));
        r->n = (int64_t)random_below(&h.random, 1000) - 500;
        r->null = random_below(&h.random, 5) == 0;
        r->v = (double)((int64_t)random_below(&h.random, 400) - 200) / 2;
        r->u = (uint32_t)random_u64(&h.random);
        encoded[i] = encode(h.plan.arena, &h.in,
                            LEAT_ROW(leat_str(r->id), leat_i64(r->n), r->null ? leat_null() : leat_f64(r->v),
                                     leat_u32(r->u), leat_f32((float)r->v)));
    }
    return batch_of(encoded, row_count);
}

/* Run a model against a fold: once in one state, once through bytes, once split when it can merge. */
static void against(const struct leat_fold *fold, const char *args, void (*model)(void))
{
    for (int round = 0; round < ROUNDS; round++) {
        begin(fold, COLUMNS, args);
        struct leat_batch in = random_rows();
        void *state = fold_one(&in);

        finish(state);
        model();
        finish(through_bytes(state));
        model();
        finish(state);
        model();
        if (fold->merge != NULL) {
            finish(fold_split(&in));
            model();
        }
        end();
    }
}

/* ---- Numbers ---- */

static void model_count(void)
{
    expect(LEAT_ROW(leat_i64(row_count)));
}

static void model_sum_n(void)
{
    int64_t sum = 0;

    for (uint32_t i = 0; i < row_count; i++)
        sum += rows[i].n;
    expect(LEAT_ROW(leat_i64(sum)));
}

static void model_sum_u(void)
{
    int64_t sum = 0;

    for (uint32_t i = 0; i < row_count; i++)
        sum += rows[i].u;
    expect(LEAT_ROW(leat_i64(sum)));
}

static double sum_v(uint32_t *count)
{
    double sum = 0;

    *count = 0;
    for (uint32_t i = 0; i < row_count; i++)
        if (!rows[i].null) {
            sum += rows[i].v;
            (*count)++;
        }
    return sum;
}

static void model_sum_v(void)
{
    uint32_t count;
    double sum = sum_v(&count);

    expect(LEAT_ROW(leat_f64(sum)));
}

static void model_average_v(void)
{
    uint32_t count;
    double sum = sum_v(&count);

    if (count == 0)
        expect_rows(NULL, 0, true);
    else
        expect(LEAT_ROW(leat_f64(sum / count)));
}

static void test_numbers(void **state)
{
    (void)state;
    against(&leat_count, "", model_count);
    against(&leat_sum, "of=n", model_sum_n);
    against(&leat_sum, "of=u", model_sum_u);
    against(&leat_sum, "of=v", model_sum_v);
    against(&leat_average, "of=v", model_average_v);
}

static void test_sum_overflows(void **state)
{
    const int64_t pairs[][2] = {{INT64_MAX, 1}, {INT64_MIN, -1}, {INT64_MAX / 2 + 1, INT64_MAX / 2 + 1}};

    (void)state;
    for (size_t i = 0; i < LENGTH_OF(pairs); i++) {
        begin(&leat_sum, "n: i64", "");
        struct leat_span row[2] = {encode(h.plan.arena, &h.in, LEAT_ROW(leat_i64(pairs[i][0]))),
                                   encode(h.plan.arena, &h.in, LEAT_ROW(leat_i64(pairs[i][1])))};
        struct leat_batch in = batch_of(row, 2);
        void *a = state_new(), *b = state_new();

        assert_int_equal(h.fold->step(&h.use, state_new(), &in, 0, 2), LEAT_ELIMIT);
        assert_int_equal(h.fold->step(&h.use, a, &in, 0, 1), 0);
        assert_int_equal(h.fold->step(&h.use, b, &in, 1, 2), 0);
        assert_int_equal(h.fold->merge(&h.use, a, b), LEAT_ELIMIT);
        end();
    }
    begin(&leat_sum, "n: u64", "");
    struct leat_span row[2] = {encode(h.plan.arena, &h.in, LEAT_ROW(leat_u64(INT64_MAX))),
                               encode(h.plan.arena, &h.in, LEAT_ROW(leat_u64((uint64_t)INT64_MAX + 1)))};
    struct leat_batch in = batch_of(row, 2);
    void *sum = state_new();
    assert_int_equal(h.fold->step(&h.use, sum, &in, 0, 1), 0);
    finish(sum);
    expect(LEAT_ROW(leat_i64(INT64_MAX)));
    assert_int_equal(h.fold->step(&h.use, state_new(), &in, 1, 2), LEAT_ELIMIT);
    end();
}

/* ---- min and max ---- */

static const struct {
    const char *args;
    int sign;
} *extreme;

static int compare_rows(const struct row *a, const struct row *b, char column)
{
    switch (column) {
    case 'i':
        return strcmp(a->id, b->id);
    case 'n':
        return (a->n > b->n) - (a->n < b->n);
    case 'u':
        return (a->u > b->u) - (a->u < b->u);
    default:
        return (a->v > b->v) - (a->v < b->v);
    }
}

static void model_extreme(void)
{
    char column = extreme->args[3];
    const struct row *best = NULL;

    for (uint32_t i = 0; i < row_count; i++)
        if ((column != 'v' || !rows[i].null) &&
            (best == NULL || compare_rows(&rows[i], best, column) * extreme->sign > 0))
            best = &rows[i];
    if (best == NULL) {
        expect_rows(NULL, 0, true);
        return;
    }
    expect(LEAT_ROW(column == 'i'   ? leat_str(best->id)
                    : column == 'n' ? leat_i64(best->n)
                    : column == 'u' ? leat_u32(best->u)
                    : column == 'w' ? leat_f32((float)best->v)
                                    : leat_f64(best->v)));
}

static void test_extremes(void **state)
{
    static const __typeof__(*extreme) cases[] = {{"of=id", -1}, {"of=id", 1}, {"of=n", -1}, {"of=n", 1}, {"of=v", -1},
                                                 {"of=v", 1},   {"of=u", -1}, {"of=u", 1},  {"of=w", 1}, {"of=w", -1}};

    (void)state;
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        extreme = &cases[i];
        against(extreme->sign < 0 ? &leat_min : &leat_max, extreme->args, model_extreme);
    }
}

/* What is no number is no extreme either, wherever it stands. */
static void test_extremes_skip_nan(void **state)
{
    const struct leat_fold *const folds[] = {&leat_min, &leat_max};
    const double values[3][3] = {{NAN, 2, 1}, {2, NAN, 1}, {1, 2, NAN}};

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        begin(folds[i % 2], "v: f64", "");
        struct leat_span row[3];
        for (size_t j = 0; j < 3; j++)
            row[j] = encode(h.plan.arena, &h.in, LEAT_ROW(leat_f64(values[i / 2][j])));
        struct leat_batch in = batch_of(row, 3);
        finish(fold_one(&in));
        expect(LEAT_ROW(leat_f64(i % 2 == 0 ? 1 : 2)));
        end();
    }
}

/* ---- Rows ---- */

static struct leat_span wanted[ROWS_MOST];

static void model_last(void)
{
    if (row_count > 0)
        wanted[0] = encoded[row_count - 1];
    expect_rows(wanted, row_count > 0 ? 1 : 0, true);
}

static void model_first(void)
{
    wanted[0] = encoded[0];
    expect_rows(wanted, row_count > 0 ? 1 : 0, true);
}

static void model_list(void)
{
    memcpy(wanted, encoded, row_count * sizeof(*wanted));
    expect_rows(wanted, row_count, true);
}

static uint32_t first_with(const struct row *r)
{
    uint32_t i = 0;

    while (strcmp(rows[i].id, r->id) != 0)
        i++;
    return i;
}

static void model_set(void)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < row_count; i++)
        if (first_with(&rows[i]) == i)
            wanted[count++] = encode(h.plan.arena, &h.got.schema, LEAT_ROW(leat_str(rows[i].id)));
    expect_rows(wanted, count, false);
}

static void model_map(void)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < row_count; i++) {
        uint32_t last = i;

        for (uint32_t j = i; j < row_count; j++)
            if (strcmp(rows[j].id, rows[i].id) == 0)
                last = j;
        if (first_with(&rows[i]) == i)
            wanted[count++] = encoded[last];
    }
    expect_rows(wanted, count, true);
}

/* Any seven rows, each one of those given. */
static void model_limit(void)
{
    assert_int_equal(h.got.rows, row_count < 7 ? row_count : 7);
    for (uint32_t i = 0; i < h.got.rows; i++) {
        bool known = false;

        for (uint32_t j = 0; j < row_count; j++)
            known = known || span_equal(h.got.row[i], encoded[j]);
        assert_true(known);
    }
}

static void test_rows(void **state)
{
    (void)state;
    against(&leat_last, "", model_last);
    against(&leat_first, "", model_first);
    against(&leat_list, "", model_list);
    against(&leat_set, "of=id", model_set);
    against(&leat_map, "of=id", model_map);
    against(&leat_limit, "k=7", model_limit);
}

/* Only these two depend on the order of rows between states, so the engine must not merge them. */
static void test_order_forbids_merge(void **state)
{
    (void)state;
    assert_null(leat_last.merge);
    assert_null(leat_first.merge);
    assert_null(leat_list.merge);
    assert_null(leat_map.merge);
}

/* What a PState keeps of a value is its row as the codec writes it. */
static void test_values_are_rows(void **state)
{
    const struct {
        const struct leat_fold *fold;
        const char *args;
    } kept[] = {{&leat_count, ""}, {&leat_sum, "of=n"}, {&leat_sum, "of=v"}, {&leat_min, "of=id"}, {&leat_max, "of=u"},
                {&leat_last, ""}, {&leat_first, ""}};

    (void)state;
    for (size_t i = 0; i < LENGTH_OF(kept); i++) {
        begin(kept[i].fold, COLUMNS, kept[i].args);
        struct leat_batch in = random_rows();
        while (in.rows == 0)
            in = random_rows();
        void *folded = fold_one(&in);
        struct buffer bytes = {0};
        assert_int_equal(kept[i].fold->keep, LEAT_KEEP_VALUE);
        kept[i].fold->save(&h.use, folded, &(struct leat_sink){&bytes});
        finish(folded);
        assert_int_equal(h.got.rows, 1);
        assert_true(span_equal(buffer_bytes(&bytes), h.got.row[0]));
        buffer_fini(&bytes);
        end();
    }
}

/* ---- top_k ---- */

/* Rows of 60 ids and few values: many ties, many ids again and again. m follows from id and v, so that it tells
 * whether a row was taken whole. */
#define SCORED "id: str, v: f64?, m: i64"

struct top_case {
    const char *columns, *by, *id;
    uint32_t k;
    int sign;
    uint32_t ids, values;
    uint64_t base; /* added to whole numbers: beyond 2^53 neighbours are equal as doubles, and are not equal */
};

struct scored {
    uint32_t id;
    double v;
    struct leat_span row;
};

static const struct top_case *top;

static struct leat_row scored_row(const struct scored *r, struct leat_value value[3], char text[16])
{
    enum leat_type id = h.in.column[0].type, by = h.in.column[1].type;

    snprintf(text, 16, "id%u", r->id);
    value[0] = id == LEAT_STR ? leat_str(text) : leat_u32(r->id);
    value[1] = by == LEAT_I64   ? leat_i64((int64_t)(top->base + (uint64_t)r->v))
               : by == LEAT_U64 ? leat_u64(top->base + (uint64_t)r->v)
               : by == LEAT_F32 ? leat_f32((float)r->v)
                                : leat_f64(r->v);
    if (h.in.column[1].nullable && r->id % 17 == 3)
        value[1] = leat_null();
    value[2] = leat_i64((int64_t)r->id * 1000 + (isnan(r->v) ? 0 : (int64_t)r->v));
    return (struct leat_row){value, 3};
}

static struct leat_batch scored_rows(struct scored **out, uint32_t count)
{
    struct scored *r = arena_alloc(h.plan.arena, (count + 1) * sizeof(*r), 16);
    struct leat_span *span = arena_alloc(h.plan.arena, (count + 1) * sizeof(*span), 16);
    struct leat_value value[3];
    char text[16];

    for (uint32_t i = 0; i < count; i++) {
        r[i].id = (uint32_t)random_below(&h.random, top->ids);
        r[i].v = (double)random_below(&h.random, top->values);
        if (h.in.column[1].type == LEAT_F64 && random_below(&h.random, 20) == 0)
            r[i].v = NAN;
        else if (h.in.column[1].type == LEAT_F64 && random_below(&h.random, 50) == 0)
            r[i].v = random_below(&h.random, 2) == 0 ? 1e15 : -1e15;
        r[i].row = span[i] = encode(h.plan.arena, &h.in, scored_row(&r[i], value, text));
    }
    *out = r;
    return batch_of(span, count);
}

static int compare_scored(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    char p[16], q[16];

    if (x->v != y->v)
        return (x->v < y->v ? -1 : 1) * top->sign;
    if (top->id == NULL)
        return 0;
    if (h.in.column[0].type == LEAT_U32)
        return (x->id > y->id) - (x->id < y->id);
    snprintf(p, sizeof(p), "id%u", x->id);
    snprintf(q, sizeof(q), "id%u", y->id);
    return strcmp(p, q);
}

/* Sort all, drop what is no number, keep the first of each id, then k of them. */
static uint32_t top_model(struct scored *r, uint32_t count)
{
    uint8_t *been = arena_zeroed(h.plan.arena, top->ids, 1);
    uint32_t valid = 0, kept = 0;

    for (uint32_t i = 0; i < count; i++)
        if (!isnan(r[i].v) && !(h.in.column[1].nullable && r[i].id % 17 == 3))
            r[valid++] = r[i];
    qsort(r, valid, sizeof(*r), compare_scored);
    for (uint32_t i = 0; i < valid && kept < top->k; i++) {
        if (top->id != NULL && been[r[i].id])
            continue;
        been[r[i].id] = 1;
        r[kept++] = r[i];
    }
    return kept;
}

/* Without ids rows of the same value are interchangeable: then only values are compared. */
static void expect_top(const struct scored *r, uint32_t count)
{
    if (h.got.rows != count)
        fail_msg("top_k k=%u, seed %llu: %u rows, %u wanted", top->k, (unsigned long long)h.seed, h.got.rows, count);
    for (uint32_t i = 0; i < count; i++) {
        struct leat_value got[3], want[3];

        assert_int_equal(row_decode(&h.got.schema, h.got.row[i], got), 0);
        assert_int_equal(row_decode(&h.got.schema, r[i].row, want), 0);
        if (got[1].as.u != want[1].as.u || (top->id != NULL && !span_equal(h.got.row[i], r[i].row)))
            fail_msg("top_k k=%u, seed %llu: row %u of %u differs", top->k, (unsigned long long)h.seed, i, count);
    }
}

static void top_round(const struct top_case *c, uint32_t count)
{
    char args[128];
    struct scored *r;

    top = c;
    snprintf(args, sizeof(args), "k=%u by=%s%s%s order=%s", c->k, c->by, c->id != NULL ? " id=" : "",
             c->id != NULL ? c->id : "", c->sign < 0 ? "descending" : "ascending");
    begin(&leat_top_k, c->columns, args);
    struct leat_batch in = scored_rows(&r, count);
    void *one = fold_one(&in), *split = fold_split(&in);
    uint32_t kept = top_model(r, count);
    finish(one);
    expect_top(r, kept);
    finish(through_bytes(one));
    expect_top(r, kept);
    finish(split);
    expect_top(r, kept);
    /* finish() leaves the state as it was: it can be finished and stepped again. */
    finish(one);
    expect_top(r, kept);
    step(one, &in, 0, in.rows);
    finish(one);
    if (c->id != NULL)
        expect_top(r, kept);
    end();
}

static void test_top_k(void **state)
{
    const struct top_case cases[] = {
        {SCORED, "v", "id", 1, 1, 60, 30, 0}, {SCORED, "v", "id", 3, -1, 60, 5, 0},
        {SCORED, "v", "id", 10, 1, 60, 200, 0}, {SCORED, "v", "id", 50, -1, 60, 30, 0},
        {SCORED, "v", "id", 500, 1, 60, 9, 0}, {SCORED, "v", NULL, 10, 1, 60, 30, 0},
        {SCORED, "v", NULL, 7, -1, 60, 300, 0}, {"id: u32, v: f32, m: i64", "v", "id", 20, 1, 300, 10, 0},
        {"id: u32, v: i64, m: i64", "v", "id", 20, -1, 40, 100, -(UINT64_C(1) << 53) - 50},
        {"id: u32, v: i64, m: i64", "v", "id", 20, 1, 40, 100, INT64_MAX - 100},
        {"id: u32, v: u64, m: i64", "v", NULL, 20, 1, 40, 100, UINT64_C(1) << 63},
        {"id: u32, v: u64, m: i64", "v", "id", 20, -1, 40, 100, UINT64_MAX - 100},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH_OF(cases); i++)
        for (int round = 0; round < ROUNDS; round++)
            top_round(&cases[i], (uint32_t)(round * round) / 6);
}

static void test_top_k_of_many(void **state)
{
    (void)state;
    top_round(&(struct top_case){SCORED, "v", "id", 10000, 1, 30000, 1000000, 0}, 100000);
    top_round(&(struct top_case){SCORED, "v", NULL, 50, -1, 30000, 1000000, 0}, 100000);
}

/* ---- Damage and arguments ---- */

static void test_load_refuses_damage(void **state)
{
    const struct {
        const struct leat_fold *fold;
        const char *args;
    } all[] = {{&leat_count, ""}, {&leat_sum, "of=n"}, {&leat_average, "of=v"}, {&leat_min, "of=id"},
               {&leat_max, "of=n"}, {&leat_set, "of=id"}, {&leat_list, ""}, {&leat_map, ""}, {&leat_limit, "k=9"},
               {&leat_top_k, "k=9 by=n id=id"}};

    (void)state;
    for (size_t i = 0; i < LENGTH_OF(all); i++) {
        begin(all[i].fold, COLUMNS, all[i].args);
        struct leat_batch in = random_rows();
        while (in.rows < 3)
            in = random_rows();
        struct buffer bytes = {0};
        all[i].fold->save(&h.use, fold_one(&in), &(struct leat_sink){&bytes});
        /* A cut inside of the last value; cuts between rows of a list cannot be told from a shorter list. */
        assert_int_equal(all[i].fold->load(&h.use, state_new(), span_of(bytes.base, bytes.size - 1)), LEAT_ECORRUPT);
        buffer_fini(&bytes);
        end();
    }
}

static void test_arguments(void **state)
{
    (void)state;
    refuse(&leat_sum, COLUMNS, "of=id", "column 'id' is no number");
    refuse(&leat_sum, COLUMNS, "of=x", "of=x is no column");
    refuse(&leat_sum, "", "", "there is no column for it behind the key");
    refuse(&leat_average, "b: bool", "", "column 'b' is no number");
    refuse(&leat_min, "b: bool", "", "column 'b' is no number and no str");
    refuse(&leat_max, "b: bytes", "", "column 'b' is no number and no str");
    refuse(&leat_last, "", "", "there is no column for it");
    refuse(&leat_set, COLUMNS, "of=v", "column 'v' cannot be an element");
    refuse(&leat_set, COLUMNS, "of=w", "column 'w' cannot be an element");
    refuse(&leat_map, COLUMNS, "of=n", "of=n: the key of a map is the first column");
    refuse(&leat_map, "v: f32[2], n: i64", "", "column 'v' cannot be a key");
    const char *const numbers[] = {"", "k=", "k=0", "k=-1", "k=x", "k=1x", "k=1000001", "kk=3"};
    for (size_t i = 0; i < LENGTH_OF(numbers); i++)
        refuse(&leat_limit, COLUMNS, numbers[i], "a number from 1 to 1000000 is wanted");
    refuse(&leat_top_k, COLUMNS, "by=n", "k=: a number from 1 to");
    refuse(&leat_top_k, COLUMNS, "k=3 by=id", "by=id is no column of numbers");
    refuse(&leat_top_k, COLUMNS, "k=3 by=x", "by=x is no column");
    refuse(&leat_top_k, COLUMNS, "k=3 by=n id=x", "id=x is no column");
    refuse(&leat_top_k, COLUMNS, "k=3 by=n order=up", "order=up: ascending or descending is wanted");
    begin(&leat_top_k, COLUMNS, "  k=3\tby=n  order=descending ");
    assert_string_equal(leat_fold_argument(&h.use, "k"), "3");
    assert_string_equal(leat_fold_argument(&h.use, "order"), "descending");
    assert_null(leat_fold_argument(&h.use, "id"));
    assert_int_equal(leat_fold_column(&h.use, "u"), 3);
    assert_int_equal(leat_fold_column(&h.use, "x"), -1);
    assert_int_equal(leat_fold_columns(&h.use)->columns, 5);
    assert_int_equal((uintptr_t)leat_fold_memory(&h.use) % 16, 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_sum_overflows),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_extremes_skip_nan),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_order_forbids_merge),
        cmocka_unit_test(test_values_are_rows),
        cmocka_unit_test(test_top_k),
        cmocka_unit_test(test_top_k_of_many),
        cmocka_unit_test(test_load_refuses_damage),
        cmocka_unit_test(test_arguments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
