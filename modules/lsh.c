/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/lsh.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modules/modules.h"
#include "modules/neighbours.h"
#include "modules/vector/random.h"

/* Approximate nearest neighbours by random hyperplanes (Charikar, "Similarity Estimation Techniques from Rounding
 * Algorithms", STOC 2002): the signs of a vector's projections on `bits` planes name a bucket in each of `tables`
 * tables; near vectors share buckets. Vectors arrive in a depot, a stream files them, queries probe. */

/* ---- Planes ---- */

static float gauss(uint64_t *state)
{
    double u = 1.0 - (double)(vector_random(state) >> 11) * 0x1p-53;
    double v = (double)(vector_random(state) >> 11) * 0x1p-53;

    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

static int check(struct leat_error *err, const char *name, int64_t value, int64_t least, int64_t most)
{
    if (value >= least && value <= most)
        return 0;
    return leat_fail(err, LEAT_EINVAL, "option %s = %lld: it goes from %lld to %lld", name, (long long)value,
                     (long long)least, (long long)most);
}

enum { MOST_DIMS = 8192 };

static int read_options(const struct leat_options *options, struct lsh *l, struct leat_error *err)
{
    const struct {
        const char *name;
        int64_t least, most;
        uint32_t *to;
    } wanted[] = {
        {"dims", 1, MOST_DIMS, &l->dims}, {"bits", 1, 20, &l->bits},        {"tables", 1, 64, &l->tables},
        {"radius", 0, 20, &l->radius},    {"probes", 0, 65536, &l->probes}, {"top", 1, 10000, &l->top},
    };
    int rv = 0;

    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted) && rv == 0; i++) {
        int64_t value = leat_option_i64(options, wanted[i].name);

        rv = check(err, wanted[i].name, value, wanted[i].least, wanted[i].most);
        *wanted[i].to = (uint32_t)value;
    }
    if (rv == 0 && l->probes > 1U << l->bits)
        l->probes = 1U << l->bits;
    if (rv == 0 && l->probes == 0)
        rv = check(err, "radius", l->radius, 0, l->bits);
    return rv;
}

/* Buckets are stored: the planes of a seed must never change. */
static int make_planes(struct lsh *l, uint64_t seed)
{
    float plane[MOST_DIMS];

    if (vector_matrix_new(&l->planes, l->tables * l->bits, l->dims) != 0)
        return LEAT_ENOMEM;
    for (uint32_t row = 0; row < l->planes.rows; row++) {
        for (uint32_t i = 0; i < l->dims; i++)
            plane[i] = gauss(&seed);
        vector_matrix_set(&l->planes, row, plane);
    }
    return 0;
}

static int make_flips(struct lsh *l)
{
    l->flip_count = vector_probe_radius(l->bits, l->radius, NULL);
    l->flips = malloc(l->flip_count * sizeof(*l->flips));
    if (l->flips == NULL)
        return LEAT_ENOMEM;
    vector_probe_radius(l->bits, l->radius, l->flips);
    return 0;
}

static void lsh_close(void *state)
{
    struct lsh *l = state;

    vector_matrix_free(&l->planes);
    free(l->flips);
    free(l);
}

static int lsh_open(const struct leat_options *options, void **state, struct leat_error *err)
{
    struct lsh *l = calloc(1, sizeof(*l));

    if (l == NULL)
        return leat_fail(err, LEAT_ENOMEM, "out of memory");
    int rv = vector_kernels_check(err);
    if (rv == 0)
        rv = read_options(options, l, err);
    if (rv == 0 && (make_planes(l, (uint64_t)leat_option_i64(options, "seed")) != 0 || make_flips(l) != 0))
        rv = leat_fail(err, LEAT_ENOMEM, "out of memory for %u planes of %u numbers", l->tables * l->bits, l->dims);
    if (rv != 0) {
        lsh_close(l);
        return rv;
    }
    *state = l;
    return 0;
}

uint32_t lsh_bucket(const struct lsh *l, const float *projection, uint32_t table)
{
    uint32_t hash = 0;

    for (uint32_t bit = 0; bit < l->bits; bit++)
        hash |= (uint32_t)(projection[table * l->bits + bit] >= 0) << bit;
    return table << l->bits | hash;
}

/* ---- Ingest ---- */

/* What is known of an id. */
struct known {
    bool there;
    uint32_t row;
    uint32_t in[64];
};

static void look_up(struct leat_task *t, const struct lsh *l, struct leat_value id, struct known *k)
{
    struct leat_value field[3];

    k->there = leat_get(t, EMBEDDINGS, LEAT_KEYS(id), field, 3) == 0;
    if (!k->there)
        return;
    k->row = (uint32_t)field[0].as.u;
    memcpy(k->in, field[1].as.bytes.base, l->tables * sizeof(uint32_t));
}

static void emit_member(struct leat_task *t, uint32_t from, uint32_t bucket, uint32_t row, bool add)
{
    uint64_t member = lsh_member(bucket, leat_task_number(t), row);

    leat_emit(t, from, LEAT_ROW(leat_u32(bucket), leat_u64(member), leat_bool(add)));
}

static void forget(struct leat_task *t, const struct lsh *l, uint32_t from, struct leat_value id, const struct known *k)
{
    float *zeros = leat_alloc(t, l->dims * sizeof(float));

    for (uint32_t table = 0; table < l->tables; table++)
        emit_member(t, from, k->in[table], k->row, false);
    memset(zeros, 0, l->dims * sizeof(float));
    leat_rows_replace(t, VECTORS, LEAT_KEYS(), k->row,
                      LEAT_ROW(leat_vector(LEAT_F32_VECTOR, zeros, l->dims), leat_f32(-1)));
    leat_put(t, FREE, LEAT_KEYS(leat_u32(k->row)), LEAT_ROW());
    leat_delete(t, IDS, LEAT_KEYS(leat_u32(k->row)));
    leat_delete(t, EMBEDDINGS, LEAT_KEYS(id));
}

/* A row for a new id: one that was freed, or a new one. */
static uint32_t take_row(struct leat_task *t, struct leat_row vector)
{
    struct leat_range first = {.limit = 1};
    struct leat_value row;
    struct leat_scan *scan;
    uint64_t number = 0;

    if (leat_scan_open(t, FREE, LEAT_KEYS(), &first, &scan) != 0)
        return 0;
    bool found = leat_scan_next(scan, &row, NULL, 0) == 0;
    leat_scan_close(scan);
    if (!found) {
        leat_rows_append(t, VECTORS, LEAT_KEYS(), vector, &number);
        if (number >= 1U << LSH_ROW_BITS)
            leat_task_fail(t, LEAT_ELIMIT, "task %u has %u vectors: more go into a directory with more tasks",
                           leat_task_number(t), 1U << LSH_ROW_BITS);
        return (uint32_t)number;
    }
    leat_delete(t, FREE, LEAT_KEYS(row));
    leat_rows_replace(t, VECTORS, LEAT_KEYS(), row.as.u, vector);
    return (uint32_t)row.as.u;
}

/* New or changed: the vector to its row, the id out of buckets it left and into those it came to. */
static void keep(struct leat_task *t, const struct lsh *l, uint32_t from, struct leat_value id,
                 struct leat_value vector, float norm, struct leat_value body, const float *projection, struct known *k)
{
    struct leat_row row = LEAT_ROW(vector, leat_f32(norm));
    uint32_t in[64];

    if (k->there)
        leat_rows_replace(t, VECTORS, LEAT_KEYS(), k->row, row);
    else
        k->row = take_row(t, row);
    for (uint32_t table = 0; table < l->tables; table++) {
        in[table] = lsh_bucket(l, projection, table);
        if (k->there && k->in[table] == in[table])
            continue;
        if (k->there)
            emit_member(t, from, k->in[table], k->row, false);
        emit_member(t, from, in[table], k->row, true);
    }
    if (!k->there)
        leat_put(t, IDS, LEAT_KEYS(leat_u32(k->row)), LEAT_ROW(id));
    leat_put(t, EMBEDDINGS, LEAT_KEYS(id),
             LEAT_ROW(leat_u32(k->row), leat_vector(LEAT_U32_VECTOR, in, l->tables), body));
}

static void store_one(struct leat_task *t, const struct lsh *l, const struct leat_batch *in, uint32_t i,
                      const float *projection)
{
    struct leat_value id = leat_at(in, i, 0), vector = leat_at(in, i, 1);
    struct known k;

    if (id.as.bytes.size > 400) {
        leat_reject(t, i, "an id of %zu bytes; at most 400 are possible", id.as.bytes.size);
        return;
    }
    look_up(t, l, id, &k);
    if (vector.type == LEAT_NULL) {
        if (k.there)
            forget(t, l, i, id, &k);
        return;
    }
    float square = vector_kernels()->dot(vector.as.bytes.base, vector.as.bytes.base, l->dims);
    if (isnormal(square))
        keep(t, l, i, id, vector, sqrtf(square), leat_at(in, i, 2), projection, &k);
    else
        leat_reject(t, i, "the vector's squared length is %g: cosine distance needs one from %g to %g",
                    (double)square, (double)FLT_MIN, (double)FLT_MAX);
}

/* So many vectors at a time meet the planes: enough for full speed, few enough that their products stay in a cache. */
enum { HASHED = 64 };

static int store_vector(struct leat_task *t, const struct leat_batch *in)
{
    const struct lsh *l = leat_state(t);
    float *projection = leat_alloc(t, (size_t)HASHED * l->planes.width * sizeof(*projection));

    for (uint32_t first = 0; first < in->rows && leat_task_error(t) == 0; first += HASHED) {
        uint32_t end = in->rows - first < HASHED ? in->rows : first + HASHED, vectors = 0;
        const void *vector[HASHED];
        const float *at = projection;

        for (uint32_t i = first; i < end; i++)
            if (leat_at(in, i, 1).type != LEAT_NULL)
                vector[vectors++] = leat_at(in, i, 1).as.bytes.base;
        vector_kernels()->product(&l->planes, vector, vectors, projection);
        for (uint32_t i = first; i < end && leat_task_error(t) == 0; i++) {
            store_one(t, l, in, i, at);
            at += leat_at(in, i, 1).type != LEAT_NULL ? l->planes.width : 0;
        }
    }
    return 0;
}

static int add_to_bucket(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value member = leat_at(in, i, 1);

        if (leat_at(in, i, 2).as.b)
            leat_put(t, BUCKETS, LEAT_KEYS(member), LEAT_ROW());
        else
            leat_delete(t, BUCKETS, LEAT_KEYS(member));
    }
    return 0; /* put and emit errors stick to t */
}

/* ---- The module ---- */

#define HIT "task: u32, row: u32, distance: f32"
#define NEIGHBOUR "id: str, distance: f32, body: any?"

const struct leat_module module_lsh = {
    LEAT_ABI, .name = "lsh", .about = "approximate nearest neighbours by random hyperplanes, cosine distance",
    .open = lsh_open, .close = lsh_close,
    .options = OPTIONS({"dims", "384"}, {"bits", "8"}, {"tables", "4"}, {"radius", "2"}, {"probes", "0"}, {"top", "50"},
                       {"seed", "1"}),
    .depots = DEPOTS({"vectors", "id: str, vec: f32[$dims]?, body: any?", .by = "id"}),
    .pstates = PSTATES(
        [EMBEDDINGS] = {"embeddings", "map<str, struct{row: u32, in: u32[$tables], body: any?}>"},
        [VECTORS] = {"vectors", "rows<struct{vec: f32[$dims], norm: f32}>"},
        [IDS] = {"ids", "map<u32, str>"},
        [FREE] = {"free", "set<u32>"},
        [BUCKETS] = {"buckets", "set<u64>"}),
    .topologies = TOPOLOGIES(
        {"index", LEAT_STREAM, NODES(
            {"store", .from = "vectors", .run = store_vector, .emits = "bucket: u32, member: u64, add: bool"},
            {"bucket", .from = "store", .route = LEAT_BY_KEY, .run = add_to_bucket})},
        {"search", LEAT_QUERY, .takes = "vec: f32[$dims]", NODES(
            {"probe", .from = "request", .run = lsh_probe, .emits = "bucket: u32"},
            {"members", .from = "probe", .route = LEAT_BY_KEY, .run = lsh_members, .emits = "task: u32, row: u32"},
            {"score", .from = "members", .route = LEAT_DIRECT, .run = lsh_score, .emits = HIT},
            {"hits", .from = "score", .route = LEAT_TO_ORIGIN, .fold = &leat_top_k, .args = "k=$top by=distance"},
            {"name", .from = "hits", .route = LEAT_DIRECT, .run = lsh_name, .emits = NEIGHBOUR},
            {"best", .from = "name", .route = LEAT_TO_ORIGIN, .fold = &leat_top_k, .args = "k=$top by=distance id=id",
             .into = "reply"}),
         .yardstick = "exact", .recall = neighbours_recall},
        {"exact", LEAT_QUERY, .takes = "vec: f32[$dims]", NODES(
            {"scan", .from = "request", .route = LEAT_ALL, .run = lsh_scan, .emits = HIT},
            {"hits", .from = "scan", .route = LEAT_TO_ORIGIN, .fold = &leat_top_k, .args = "k=$top by=distance"},
            {"name", .from = "hits", .route = LEAT_DIRECT, .run = lsh_name, .emits = NEIGHBOUR},
            {"best", .from = "name", .route = LEAT_TO_ORIGIN, .fold = &leat_top_k, .args = "k=$top by=distance id=id",
             .into = "reply"})},
        {"candidates", LEAT_QUERY, .takes = "vec: f32[$dims]", NODES(
            {"probe", .from = "request", .run = lsh_probe, .emits = "bucket: u32"},
            {"members", .from = "probe", .route = LEAT_BY_KEY, .run = lsh_members, .emits = "task: u32, row: u32"},
            {"distinct", .from = "members", .route = LEAT_DIRECT, .run = lsh_count, .emits = "candidates: i64"},
            {"sum", .from = "distinct", .route = LEAT_TO_ORIGIN, .fold = &leat_sum, .into = "reply"})}),
};
