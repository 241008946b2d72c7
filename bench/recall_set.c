/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/recall.h"

#include <float.h>
#include <math.h>

#include "base/codec.h"

const char *recall_type(const struct recall_set *s)
{
    if (strcmp(s->metric, "hamming") == 0)
        return "bits";
    return s->base.element == 4 ? "f32" : s->base.element == 2 ? "f16" : s->base.is_signed ? "i8" : "u8";
}

/* By the name's ending: no option says of what form a file is otherwise. */
static int open_file(const char *path, const char *endings, struct import_file *out, struct leat_error *err)
{
    if (!import_named(path))
        return leat_fail(err, LEAT_EINVAL, "'%s': of what form is it? Name it %s, .gz behind it if it is packed", path,
                         endings);
    return import_open(path, NULL, out, err);
}

int recall_set_base(struct recall_set *s, const char *path, struct leat_error *err)
{
    int rv = open_file(path, ".fvecs, .bvecs, .npy or .idx", &s->base, err);

    if (rv != 0)
        return rv;
    s->arena = arena_open(SIZE_MAX / 8);
    s->room = arena_open(SIZE_MAX / 8);
    if (s->base.form == IMPORT_JSONL || s->base.form == IMPORT_IVECS)
        return leat_fail(err, LEAT_ESCHEMA, "'%s' is no file of vectors: .fvecs, .bvecs, .npy or .idx are", path);
    if (s->base.rows == 0)
        return leat_fail(err, LEAT_ESCHEMA, "'%s' is empty: there is nothing to search", path);
    s->dims = strcmp(s->metric, "hamming") == 0 ? 8 * s->base.dims : s->base.dims;
    if (strcmp(s->metric, "hamming") == 0 && s->base.element != 1)
        return leat_fail(err, LEAT_ESCHEMA, "'%s': bytes of eight bits each are wanted for hamming", path);
    return 0;
}

void recall_set_close(struct recall_set *s)
{
    if (s->arena == NULL)
        return;
    import_close(&s->base);
    if (s->asked.base != NULL)
        import_close(&s->asked);
    arena_close(s->arena);
    arena_close(s->room);
}

/* ---- Distances ---- */

/* A row of a file as numbers that distances are computed from, exactly. */
static int read_floats(struct import_file *f, struct arena *a, uint64_t row, const float **out, struct leat_error *err)
{
    struct leat_column wide = {.name = "vec", .type = LEAT_F32_VECTOR, .count = f->dims};
    struct leat_value value;

    import_seek(f, row);
    int rv = import_vector(f, a, &wide, &value, err);
    if (rv == 0 && (uintptr_t)value.as.bytes.base % sizeof(float) != 0) {
        void *copy = arena_alloc(a, value.as.bytes.size, 64);

        value.as.bytes.base = memcpy(copy, value.as.bytes.base, value.as.bytes.size);
    }
    *out = rv == 0 ? value.as.bytes.base : NULL;
    return rv;
}

/* Of bytes of bits. */
static double differing_bits(const struct recall_set *s, const float *a, const float *b)
{
    uint32_t bits = 0;

    for (uint32_t i = 0; i < s->base.dims; i++)
        bits += (uint32_t)__builtin_popcount(((unsigned)(int)a[i] ^ (unsigned)(int)b[i]) & 255);
    return bits;
}

static double distance_of(const struct recall_set *s, const float *a, const float *b)
{
    double square = 0, dot = 0, left = 0, right = 0;

    for (uint32_t i = 0; i < s->base.dims; i++) {
        double x = (double)a[i], y = (double)b[i];

        square += (x - y) * (x - y);
        dot += x * y;
        left += x * x;
        right += y * y;
    }
    switch (s->metric[0]) {
    case 'l':
        return square;
    case 'c':
        return 1 - dot / sqrt(left * right);
    case 'd':
        return -dot;
    default:
        return differing_bits(s, a, b);
    }
}

/* ---- Truth ---- */

/* A query that has no distances would make its truth look wrong. */
static int check_query(const struct recall_set *s, uint32_t query, const float *from, struct leat_error *err)
{
    bool zero = true;

    for (uint32_t i = 0; i < s->base.dims; i++) {
        if (!isfinite(from[i]))
            return leat_fail(err, LEAT_ESCHEMA, "'%s', row %u: element %u is not finite, so nothing is near it",
                             s->asked.path, query, i);
        zero = zero && from[i] == 0;
    }
    if (zero && s->metric[0] == 'c')
        return leat_fail(err, LEAT_ESCHEMA, "'%s', row %u: all elements are 0: by cosine nothing is near it",
                         s->asked.path, query);
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* Of a row with one neighbour many times each would count, and whatever is as near as that one neighbour. Numbers
 * of no row, which fill up a row that has too few, are refused as such. */
static int check_repeats(struct recall_set *s, uint32_t query, const struct leat_value *truth, const char *path,
                         struct leat_error *err)
{
    uint32_t *id = arena_alloc(s->room, s->k * sizeof(*id), 4);

    memcpy(id, truth->as.bytes.base, s->k * sizeof(*id));
    qsort(id, s->k, sizeof(*id), compare_numbers);
    for (uint32_t i = 1; i < s->k; i++)
        if (id[i] == id[i - 1] && id[i] < s->base.rows)
            return leat_fail(err, LEAT_ESCHEMA, "'%s', row %u: neighbour %u is there twice among the first %u", path,
                             query, id[i], s->k);
    return 0;
}

/* How much further than the true neighbour at rank k is as near: modules compute with floats, whose error is a share of
 * the distance, however small that is. A cosine is near 1 where vectors are near: what floats lose there is a share of
 * that 1 and not of the distance behind it. */
static double slack_of(const struct recall_set *s, double distance)
{
    return 1e-6 * fabs(distance) + (s->metric[0] == 'c' ? 2 * (double)FLT_EPSILON : 0);
}

/* Distances of the true neighbours in the order of the file: they never become smaller, or it is the truth of something
 * else. Whoever made it may have rounded otherwise. */
static int read_limit(struct recall_set *s, uint32_t query, const float *from, const struct leat_value *truth,
                      const char *path, struct leat_error *err)
{
    double last = -INFINITY;
    const float *row;

    for (uint32_t i = 0; i < s->k; i++) {
        uint32_t id = load_u32((const uint8_t *)truth->as.bytes.base + 4 * (size_t)i);
        int rv = id < s->base.rows ? read_floats(&s->base, s->room, id, &row, err)
                                   : leat_fail(err, LEAT_ESCHEMA, "'%s', row %u: neighbour %u, but '%s' has %llu rows",
                                               path, query, id, s->base.path, (unsigned long long)s->base.rows);
        if (rv != 0)
            return rv;
        double distance = distance_of(s, from, row);
        if (isnan(distance))
            return leat_fail(err, LEAT_ESCHEMA, "'%s', row %u: neighbour %u, but row %u of '%s' has no distance by %s",
                             path, query, id, id, s->base.path, s->metric);
        if (!(distance >= last - (s->metric[0] == 'c' ? 1e-3 : 1e-3 * fabs(distance))))
            return leat_fail(err, LEAT_ESCHEMA,
                             "'%s', row %u: neighbour %u is nearer than the one before it: is this the truth of these "
                             "files by %s?",
                             path, query, id, s->metric);
        last = distance > last ? distance : last;
    }
    s->limit[query] = last + slack_of(s, last);
    return 0;
}

static int check_truth(const struct recall_set *s, const struct import_file *f, struct leat_error *err)
{
    if (f->form != IMPORT_IVECS)
        return leat_fail(err, LEAT_ESCHEMA, "'%s' is no truth: .ivecs is wanted, a row of neighbours for each query",
                         f->path);
    if (f->dims < s->k || f->rows < s->queries)
        return leat_fail(err, LEAT_ESCHEMA, "'%s' has %u neighbours of %llu queries; %u of %u are wanted", f->path,
                         f->dims, (unsigned long long)f->rows, s->k, s->queries);
    return 0;
}

static int read_truth(struct recall_set *s, struct import_file *queries, const char *path, struct leat_error *err)
{
    struct import_file f;
    int rv = open_file(path, ".ivecs", &f, err);

    if (rv != 0)
        return rv;
    struct leat_column column = {.name = "truth", .type = LEAT_U32_VECTOR, .count = f.dims};
    struct leat_value truth;
    const float *from;
    rv = check_truth(s, &f, err);
    s->limit = arena_alloc(s->arena, s->queries * sizeof(*s->limit), 8);
    for (uint32_t i = 0; i < s->queries && rv == 0; i++) {
        arena_reset(s->room);
        rv = import_vector(&f, s->room, &column, &truth, err);
        if (rv == 0)
            rv = read_floats(queries, s->room, i, &from, err);
        if (rv == 0)
            rv = check_query(s, i, from, err);
        if (rv == 0)
            rv = check_repeats(s, i, &truth, path, err);
        if (rv == 0)
            rv = read_limit(s, i, from, &truth, path, err);
    }
    import_close(&f);
    return rv;
}

/* ---- Queries ---- */

int recall_set_open(struct recall_set *s, const char *query, const char *truth, const struct leat_column *vec,
                    struct leat_error *err)
{
    struct import_file *f = &s->asked;
    int rv = open_file(query, ".fvecs, .bvecs, .npy or .idx", f, err);

    if (rv != 0)
        return rv;
    if (f->form == IMPORT_JSONL || f->form == IMPORT_IVECS || f->dims != s->base.dims)
        return leat_fail(err, LEAT_ESCHEMA, "'%s' has no vectors of %u elements, as '%s' has", query, s->base.dims,
                         s->base.path);
    if (s->queries == 0 || s->queries > f->rows)
        s->queries = (uint32_t)f->rows;
    if (s->queries == 0)
        return leat_fail(err, LEAT_ESCHEMA, "'%s' has no queries", query);
    s->query = arena_alloc(s->arena, s->queries * sizeof(*s->query), 8);
    for (uint32_t i = 0; i < s->queries && rv == 0; i++)
        rv = import_vector(f, s->arena, vec, &s->query[i], err);
    return rv == 0 ? read_truth(s, f, truth, err) : rv;
}

uint32_t recall_hits(struct recall_set *s, uint32_t query, const uint64_t *found)
{
    const float *from, *row;
    uint32_t hits = 0;

    arena_reset(s->room);
    if (read_floats(&s->asked, s->room, query, &from, NULL) != 0)
        return 0;
    for (uint32_t i = 0; i < s->k; i++) {
        bool again = false;

        for (uint32_t j = 0; j < i; j++)
            again = again || found[j] == found[i];
        if (!again && found[i] < s->base.rows && read_floats(&s->base, s->room, found[i], &row, NULL) == 0)
            hits += distance_of(s, from, row) <= s->limit[query];
    }
    return hits;
}
