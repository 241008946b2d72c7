/* SPDX-License-Identifier: Apache-2.0 */
#include "topologies/folds.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

/* ---- What a fold may ask ---- */

bool fold_argument_next(const char **at, struct leat_span *word, struct leat_span *name)
{
    while (isspace((unsigned char)**at))
        (*at)++;
    *word = *name = span_of(*at, 0);
    for (; **at != '\0' && !isspace((unsigned char)**at); (*at)++)
        word->size++;
    while (name->size < word->size && ((const char *)name->base)[name->size] != '=')
        name->size++;
    return word->size > 0;
}

/* The same name may be asked for twice, at two places of a prepare(). */
static void note_asked(const struct leat_fold_use *use, const char *name)
{
    struct fold_asked *asked = use->asked;

    for (uint32_t i = 0; i < asked->count; i++)
        if (strcmp(asked->name[i], name) == 0)
            return;
    leat_assert(asked->count < LENGTH_OF(asked->name));
    asked->name[asked->count++] = arena_format(use->plan->arena, "%s", name);
}

const char *leat_fold_argument(const struct leat_fold_use *use, const char *name)
{
    /* The plan's arena only while it is made: threads share the plan. */
    struct arena *arena = use->arena != NULL ? use->arena : use->plan->arena;
    struct leat_span word, have, wanted = span_of(name, strlen(name));

    if (use->asked != NULL)
        note_asked(use, name);
    for (const char *next = use->args; next != NULL && fold_argument_next(&next, &word, &have);)
        if (have.size < word.size && span_equal(have, wanted))
            return arena_format(arena, "%.*s", (int)(word.size - have.size - 1),
                                (const char *)have.base + have.size + 1);
    return NULL;
}

const struct leat_batch *leat_fold_columns(const struct leat_fold_use *use)
{
    return &use->columns;
}

int leat_fold_column(const struct leat_fold_use *use, const char *name)
{
    struct row_schema schema = fold_row_schema(use);

    return row_schema_find(&schema, name);
}

void *leat_fold_memory(const struct leat_fold_use *use)
{
    return (void *)(uintptr_t)use->memory;
}

void *leat_fold_alloc(const struct leat_fold_use *use, size_t size)
{
    leat_assert(use->arena != NULL);
    return arena_alloc(use->arena, size, 16);
}

void leat_sink_put(struct leat_sink *sink, const void *bytes, size_t size)
{
    buffer_put(sink->out, bytes, size);
}

/* ---- Shared ---- */

struct row_schema fold_row_schema(const struct leat_fold_use *use)
{
    return (struct row_schema){use->columns.columns, use->column};
}

int fold_argument_column(const struct leat_fold_use *use, const char *argument, struct leat_error *err)
{
    const char *name = leat_fold_argument(use, argument);
    int column = name != NULL ? leat_fold_column(use, name) : 0;

    if (use->columns.columns == 0)
        return leat_fail(err, LEAT_EMODULE, "there is no column for it behind the key");
    if (column < 0)
        return leat_fail(err, LEAT_EMODULE, "%s=%s is no column", argument, name);
    return column;
}

int64_t fold_argument_number(const struct leat_fold_use *use, const char *argument, int64_t least, int64_t most,
                             struct leat_error *err)
{
    const char *text = leat_fold_argument(use, argument);
    char *end = NULL;
    long long value = text != NULL ? strtoll(text, &end, 10) : 0;

    if (text == NULL || *text == '\0' || *end != '\0' || value < least || value > most)
        return leat_fail(err, LEAT_EMODULE, "%s=%s: a number from %lld to %lld is wanted", argument,
                         text != NULL ? text : "", (long long)least, (long long)most);
    return value;
}

int fold_schema(const struct leat_fold_use *use, const char *only, char *schema, size_t size, struct leat_error *err)
{
    struct row_schema rows = fold_row_schema(use);
    const char *text = only != NULL ? only : row_schema_text(use->plan->arena, &rows);

    if ((size_t)snprintf(schema, size, "%s", text) >= size)
        return leat_fail(err, LEAT_EMODULE, "its rows have too long a schema");
    return 0;
}

struct leat_span fold_keep_row(const struct leat_fold_use *use, const struct leat_batch *in, uint32_t row)
{
    struct row_schema schema = fold_row_schema(use);
    struct leat_value value[LIMIT_COLUMNS];
    size_t size = 16;

    for (uint32_t i = 0; i < in->columns; i++) {
        value[i] = leat_at(in, row, i);
        size += 11 + in->column[i].stride +
                (value[i].type >= LEAT_STR ? value[i].as.bytes.size : 0);
    }
    struct buffer out = {.base = leat_fold_alloc(use, size), .capacity = size, .limit = size};
    int rv = row_encode_fast(&schema, (struct leat_row){value, in->columns}, &out);
    leat_assert(rv == 0);
    return buffer_bytes(&out);
}

int fold_emit_row(const struct leat_fold_use *use, struct leat_span row, struct leat_task *t)
{
    struct row_schema schema = fold_row_schema(use);
    struct leat_value value[LIMIT_COLUMNS];
    int rv = row_decode(&schema, row, value);

    if (rv == 0)
        leat_fold_emit(t, (struct leat_row){value, schema.columns});
    return rv;
}

/* ---- count ---- */

static int count_prepare(struct leat_fold_use *use, size_t *state_size, char *schema, size_t size,
                         struct leat_error *err)
{
    *state_size = sizeof(int64_t);
    return fold_schema(use, "count: i64", schema, size, err);
}

static void count_init(const struct leat_fold_use *use, void *state)
{
    (void)use;
    *(int64_t *)state = 0;
}

static int count_step(const struct leat_fold_use *use, void *state, const struct leat_batch *in, uint32_t first,
                      uint32_t end)
{
    (void)use;
    (void)in;
    *(int64_t *)state += end - first;
    return 0;
}

static int count_merge(const struct leat_fold_use *use, void *state, const void *other)
{
    (void)use;
    *(int64_t *)state += *(const int64_t *)other;
    return 0;
}

static void whole_save(const struct leat_fold_use *use, const void *state, struct leat_sink *out)
{
    (void)use;
    leat_sink_put(out, state, 8);
}

static int whole_load(const struct leat_fold_use *use, void *state, struct leat_span bytes)
{
    (void)use;
    if (bytes.size != 8)
        return LEAT_ECORRUPT;
    memcpy(state, bytes.base, 8);
    return 0;
}

static int count_finish(const struct leat_fold_use *use, const void *state, struct leat_task *t)
{
    (void)use;
    leat_fold_emit(t, LEAT_ROW(leat_i64(*(const int64_t *)state)));
    return 0;
}

const struct leat_fold leat_count = {
    "count", LEAT_KEEP_VALUE, count_prepare, count_init, count_step, count_merge, whole_save, whole_load, count_finish,
};

/* ---- sum and average ---- */

struct of {
    uint32_t column;
    bool whole;
};

static double as_double(const struct leat_value *v)
{
    if (v->type == LEAT_F32 || v->type == LEAT_F64)
        return v->as.f;
    return v->type == LEAT_I64 ? (double)v->as.i : (double)v->as.u;
}

static int of_number(struct leat_fold_use *use, struct leat_error *err)
{
    struct of *of = leat_fold_memory(use);
    int column = fold_argument_column(use, "of", err);

    if (column < 0)
        return column;
    enum leat_type type = use->column[column].type;
    of->column = (uint32_t)column;
    of->whole = type == LEAT_I64 || type == LEAT_U32 || type == LEAT_U64;
    if (!of->whole && type != LEAT_F32 && type != LEAT_F64)
        return leat_fail(err, LEAT_EMODULE, "column '%s' is no number", use->column[column].name);
    return 0;
}

static int sum_prepare(struct leat_fold_use *use, size_t *state_size, char *schema, size_t size,
                       struct leat_error *err)
{
    const struct of *of = leat_fold_memory(use);
    int rv = of_number(use, err);

    *state_size = 8;
    return rv != 0 ? rv : fold_schema(use, of->whole ? "sum: i64" : "sum: f64", schema, size, err);
}

static void sum_init(const struct leat_fold_use *use, void *state)
{
    (void)use;
    memset(state, 0, 8);
}

static int sum_step(const struct leat_fold_use *use, void *state, const struct leat_batch *in, uint32_t first,
                    uint32_t end)
{
    const struct of *of = leat_fold_memory(use);

    for (uint32_t i = first; i < end; i++) {
        struct leat_value v = leat_at(in, i, of->column);

        if (v.type == LEAT_NULL)
            continue;
        if (!of->whole)
            *(double *)state += as_double(&v);
        else if ((v.type == LEAT_U64 && v.as.u > INT64_MAX) ||
                 __builtin_add_overflow(*(int64_t *)state, v.as.i, (int64_t *)state))
            return LEAT_ELIMIT;
    }
    return 0;
}

static int sum_merge(const struct leat_fold_use *use, void *state, const void *other)
{
    const struct of *of = leat_fold_memory(use);

    if (!of->whole)
        *(double *)state += *(const double *)other;
    else if (__builtin_add_overflow(*(int64_t *)state, *(const int64_t *)other, (int64_t *)state))
        return LEAT_ELIMIT;
    return 0;
}

static int sum_finish(const struct leat_fold_use *use, const void *state, struct leat_task *t)
{
    const struct of *of = leat_fold_memory(use);

    leat_fold_emit(t, LEAT_ROW(of->whole ? leat_i64(*(const int64_t *)state) : leat_f64(*(const double *)state)));
    return 0;
}

const struct leat_fold leat_sum = {
    "sum", LEAT_KEEP_VALUE, sum_prepare, sum_init, sum_step, sum_merge, whole_save, whole_load, sum_finish,
};

struct average {
    double sum;
    int64_t count;
};

static int average_prepare(struct leat_fold_use *use, size_t *state_size, char *schema, size_t size,
                           struct leat_error *err)
{
    int rv = of_number(use, err);

    *state_size = sizeof(struct average);
    return rv != 0 ? rv : fold_schema(use, "average: f64", schema, size, err);
}

static void average_init(const struct leat_fold_use *use, void *state)
{
    (void)use;
    *(struct average *)state = (struct average){0, 0};
}

static int average_step(const struct leat_fold_use *use, void *state, const struct leat_batch *in, uint32_t first,
                        uint32_t end)
{
    const struct of *of = leat_fold_memory(use);
    struct average *a = state;

    for (uint32_t i = first; i < end; i++) {
        struct leat_value v = leat_at(in, i, of->column);

        if (v.type == LEAT_NULL)
            continue;
        a->sum += as_double(&v);
        a->count++;
    }
    return 0;
}

static int average_merge(const struct leat_fold_use *use, void *state, const void *other)
{
    const struct average *b = other;
    struct average *a = state;

    (void)use;
    a->sum += b->sum;
    a->count += b->count;
    return 0;
}

static void average_save(const struct leat_fold_use *use, const void *state, struct leat_sink *out)
{
    (void)use;
    leat_sink_put(out, state, 16);
}

static int average_load(const struct leat_fold_use *use, void *state, struct leat_span bytes)
{
    (void)use;
    if (bytes.size != 16)
        return LEAT_ECORRUPT;
    memcpy(state, bytes.base, 16);
    return 0;
}

static int average_finish(const struct leat_fold_use *use, const void *state, struct leat_task *t)
{
    const struct average *a = state;

    (void)use;
    if (a->count > 0)
        leat_fold_emit(t, LEAT_ROW(leat_f64(a->sum / (double)a->count)));
    return 0;
}

const struct leat_fold leat_average = {
    "average", LEAT_KEEP_VALUE, average_prepare, average_init, average_step, average_merge, average_save, average_load,
    average_finish,
};

/* ---- min and max ---- */

struct extreme {
    struct leat_value value; /* LEAT_NULL: none yet; str in the arena */
};

struct extreme_of {
    uint32_t column;
    int sign;
};

static int extreme_prepare(struct leat_fold_use *use, size_t *state_size, char *schema, size_t size,
                           struct leat_error *err, int sign)
{
    struct extreme_of *of = leat_fold_memory(use);
    int column = fold_argument_column(use, "of", err);

    if (column < 0)
        return column;
    struct leat_column c = use->column[column];
    if (c.type < LEAT_I64 || c.type > LEAT_STR)
        return leat_fail(err, LEAT_EMODULE, "column '%s' is no number and no str", c.name);
    *of = (struct extreme_of){(uint32_t)column, sign};
    *state_size = sizeof(struct extreme);
    c.nullable = false;
    const char *text = arena_format(use->plan->arena, "%s: %s", sign < 0 ? "min" : "max",
                                    schema_type_text(use->plan->arena, &c));
    return fold_schema(use, text, schema, size, err);
}

static int min_prepare(struct leat_fold_use *use, size_t *state_size, char *schema, size_t size,
                       struct leat_error *err)
{
    return extreme_prepare(use, state_size, schema, size, err, -1);
}

static int max_prepare(struct leat_fold_use *use, size_t *state_size, char *schema, size_t size,
                       struct leat_error *err)
{
    return extreme_prepare(use, state_size, schema, size, err, 1);
}

static void extreme_init(const struct leat_fold_use *use, void *state)
{
    (void)use;
    ((struct extreme *)state)->value = leat_null();
}

static int compare_values(const struct leat_value *a, const struct leat_value *b)
{
    if (a->type == LEAT_STR) {
        size_t least = a->as.bytes.size < b->as.bytes.size ? a->as.bytes.size : b->as.bytes.size;
        int order = least > 0 ? memcmp(a->as.bytes.base, b->as.bytes.base, least) : 0;

        return order != 0 ? order : (a->as.bytes.size > b->as.bytes.size) - (a->as.bytes.size < b->as.bytes.size);
    }
    if (a->type == LEAT_I64)
        return (a->as.i > b->as.i) - (a->as.i < b->as.i);
    if (a->type == LEAT_U32 || a->type == LEAT_U64)
        return (a->as.u > b->as.u) - (a->as.u < b->as.u);
    return (a->as.f > b->as.f) - (a->as.f < b->as.f);
}

static void extreme_take(const struct leat_fold_use *use, struct extreme *e, const struct leat_value *v)
{
    const struct extreme_of *of = leat_fold_memory(use);

    /* NaN would make the result depend on where it stands. */
    if ((v->type == LEAT_F32 || v->type == LEAT_F64) && isnan(v->as.f))
        return;
    if (v->type == LEAT_NULL || (e->value.type != LEAT_NULL && compare_values(v, &e->value) * of->sign <= 0))
        return;
    e->value = *v;
    if (v->type == LEAT_STR && v->as.bytes.size > 0) {
        void *copy = leat_fold_alloc(use, v->as.bytes.size);

        memcpy(copy, v->as.bytes.base, v->as.bytes.size);
        e->value.as.bytes.base = copy;
    }
}

static int extreme_step(const struct leat_fold_use *use, void *state, const struct leat_batch *in, uint32_t first,
                        uint32_t end)
{
    const struct extreme_of *of = leat_fold_memory(use);

    for (uint32_t i = first; i < end; i++) {
        struct leat_value v = leat_at(in, i, of->column);

        extreme_take(use, state, &v);
    }
    return 0;
}

static int extreme_merge(const struct leat_fold_use *use, void *state, const void *other)
{
    extreme_take(use, state, &((const struct extreme *)other)->value);
    return 0;
}

static struct row_schema extreme_schema(const struct leat_fold_use *use, struct leat_column *column)
{
    const struct extreme_of *of = leat_fold_memory(use);

    *column = use->column[of->column];
    column->nullable = false;
    return (struct row_schema){1, column};
}

static void extreme_save(const struct leat_fold_use *use, const void *state, struct leat_sink *out)
{
    const struct extreme *e = state;
    struct leat_column column;
    struct row_schema schema = extreme_schema(use, &column);

    if (e->value.type != LEAT_NULL)
        row_encode_fast(&schema, (struct leat_row){&e->value, 1}, out->out);
}

static int extreme_load(const struct leat_fold_use *use, void *state, struct leat_span bytes)
{
    struct leat_column column;
    struct row_schema schema = extreme_schema(use, &column);
    struct leat_value value;

    if (bytes.size == 0)
        return 0;
    int rv = row_decode(&schema, bytes, &value);
    if (rv == 0)
        extreme_take(use, state, &value);
    return rv;
}

static int extreme_finish(const struct leat_fold_use *use, const void *state, struct leat_task *t)
{
    const struct extreme *e = state;

    (void)use;
    if (e->value.type != LEAT_NULL)
        leat_fold_emit(t, (struct leat_row){&e->value, 1});
    return 0;
}

const struct leat_fold leat_min = {
    "min", LEAT_KEEP_VALUE, min_prepare, extreme_init, extreme_step, extreme_merge, extreme_save, extreme_load,
    extreme_finish,
};

const struct leat_fold leat_max = {
    "max", LEAT_KEEP_VALUE, max_prepare, extreme_init, extreme_step, extreme_merge, extreme_save, extreme_load,
    extreme_finish,
};
