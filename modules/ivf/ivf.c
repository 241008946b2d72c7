/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/compact.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "modules/ivf/search.h"
#include "modules/modules.h"
#include "modules/neighbours.h"
#include "modules/vector/vector.h"

/* ---- Options ---- */

enum { MOST_DIMS = 8192 };

static int find_name(const struct leat_options *options, const char *option, const char *const *names, int *out,
                     struct leat_error *err)
{
    const char *text = leat_option_text(options, option);
    char all[128] = "";

    for (*out = 0; names[*out] != NULL; (*out)++)
        if (strcmp(names[*out], text) == 0)
            return 0;
    for (int i = 0; names[i] != NULL; i++) {
        strcat(all, i > 0 ? ", " : "");
        strcat(all, names[i]);
    }
    return leat_fail(err, LEAT_EINVAL, "option %s = %s: it is one of %s", option, text, all);
}

static int read_numbers(const struct leat_options *options, struct ivf *v, uint32_t *dims, struct leat_error *err)
{
    const struct {
        const char *name;
        int64_t least, most;
        uint32_t *to;
    } wanted[] = {
        {"dims", 1, MOST_DIMS, dims},          {"nprobe", 1, 65536, &v->nprobe},  {"top", 1, 10000, &v->top},
        {"target", 8, 65536, &v->target},      {"split", 16, 131072, &v->split},  {"merge", 0, 32768, &v->merge},
    };

    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
        int64_t value = leat_option_i64(options, wanted[i].name);

        if (value < wanted[i].least || value > wanted[i].most)
            return leat_fail(err, LEAT_EINVAL, "option %s = %lld: it goes from %lld to %lld", wanted[i].name,
                             (long long)value, (long long)wanted[i].least, (long long)wanted[i].most);
        *wanted[i].to = (uint32_t)value;
    }
    if (v->split <= v->target || v->merge * 2 > v->target)
        return leat_fail(err, LEAT_EINVAL,
                         "options merge = %u, target = %u, split = %u: twice the first is to be at most the "
                         "second, and that below the third",
                         v->merge, v->target, v->split);
    v->ordinary = (uint32_t)sqrt((double)v->target * v->split);
    return 0;
}

static int read_types(const struct leat_options *options, struct ivf *v, uint32_t dims, struct leat_error *err)
{
    static const char *const type_name[] = {"f32", "f16", "i8", "u8", "bits", NULL};
    static const enum leat_type type[] = {LEAT_F32_VECTOR, LEAT_F16_VECTOR, LEAT_I8_VECTOR, LEAT_U8_VECTOR, LEAT_BITS};
    static const char *const metric_name[] = {"l2", "cosine", "dot", "hamming", NULL};
    static const char *const id_name[] = {"str", "u64", NULL};
    int t = 0, m = 0, id = 0;
    int rv = find_name(options, "type", type_name, &t, err);

    if (rv == 0)
        rv = find_name(options, "metric", metric_name, &m, err);
    if (rv == 0)
        rv = find_name(options, "ids", id_name, &id, err);
    if (rv == 0)
        rv = attributes_parse(leat_option_text(options, "attributes"), &v->attributes, err);
    if (rv != 0)
        return rv;
    if ((type[t] == LEAT_BITS) != (m == METRIC_HAMMING))
        return leat_fail(err, LEAT_EINVAL, "options type = %s, metric = %s: bits and hamming go together", type_name[t],
                         metric_name[m]);
    v->names = id == 0;
    layout_init(&v->layout, type[t], (enum metric)m, dims, &v->attributes);
    return 0;
}

static void ivf_close(void *state)
{
    struct ivf *v = state;

    vector_rotation_free(&v->rotation);
    free(v->origin);
    free(v);
}

static int ivf_open(const struct leat_options *options, void **state, struct leat_error *err)
{
    struct ivf *v = calloc(1, sizeof(*v));
    uint32_t dims = 0;

    if (v == NULL)
        return leat_fail(err, LEAT_ENOMEM, "out of memory");
    int rv = vector_kernels_check(err);
    if (rv == 0)
        rv = read_numbers(options, v, &dims, err);
    if (rv == 0)
        rv = read_types(options, v, dims, err);
    if (rv == 0 && vector_rotation_new(&v->rotation, dims, (uint64_t)leat_option_i64(options, "seed")) != 0)
        rv = leat_fail(err, LEAT_ENOMEM, "out of memory for the rotation of %u dimensions", dims);
    v->origin = rv == 0 ? calloc(v->rotation.padded, sizeof(*v->origin)) : NULL;
    if (rv == 0 && v->origin == NULL)
        rv = leat_fail(err, LEAT_ENOMEM, "out of memory");
    v->epsilon = (float)leat_option_f64(options, "epsilon");
    if (rv == 0 && !(v->epsilon >= 0 && v->epsilon <= 10))
        rv = leat_fail(err, LEAT_EINVAL, "option epsilon = %g: it goes from 0 to 10", (double)v->epsilon);
    if (rv != 0) {
        ivf_close(v);
        return rv;
    }
    *state = v;
    return 0;
}

/* ---- The module ---- */

const struct leat_module module_ivf = {
    LEAT_ABI, .name = "ivf", .about = "nearest neighbours by an inverted file that keeps itself in order",
    .open = ivf_open, .close = ivf_close, .derive = &index_derive,
    .options = OPTIONS({"dims", "384"}, {"type", "f32"}, {"metric", "cosine"}, {"ids", "str"}, {"attributes", ""},
                       {"nprobe", "32"}, {"top", "10"}, {"epsilon", "1.6"}, {"target", "160"}, {"split", "320"},
                       {"merge", "32"}, {"seed", "1"}),
    .depots = DEPOTS({"vectors", "id: $ids, vec: $type[$dims]?, attributes: any?", .by = "id"}),
    .pstates = PSTATES(
        [IDS] = {"ids", "map<$ids, struct{number: u64?, attributes: any?}>"},
        [NAMES] = {"names", "map<u64, $ids>"},
        [PLACES] = {"places", "map<u64, bytes>"},
        [COUNTERS] = {"counters", "map<u32, u64>"},
        [CENTROIDS] = {"centroids", "map<u32, struct{active: bool, vec: bytes}>"},
        [POSTINGS] = {"postings", "map<u32, struct{active: bool, asked: i64, rows: u32, live: u32, chunks: u32, "
                                  "split_at: u32, masks: bytes, edition: u32, gathered: u32}>"},
        [CHUNKS] = {"chunks", "map<u64, bytes>"},
        [TAILS] = {"tails", "map<u64, bytes>"},
        [LEARNT] = {"learnt", "map<u32, struct{rows: u64, target: bytes?}>"}),
    .topologies = TOPOLOGIES(
        {"index", LEAT_STREAM, NODES(
            {"store", .from = "vectors", .run = store_vectors, .emits = MESSAGE},
            {"post", .from = "store, place, move, post", .route = LEAT_DIRECT, .run = store_rows, .emits = MESSAGE},
            {"place", .from = "post", .route = LEAT_DIRECT, .run = store_placed, .emits = MESSAGE},
            {"ask", .from = "post", .route = LEAT_DIRECT, .run = upkeep_request,
             .emits = "kind: u32, posting: u32, body: bytes"},
            {"upkeep", .from = "ask", .run = upkeep_run, .background = true, .emits = MESSAGE},
            {"rest", .from = "post", .route = LEAT_DIRECT, .run = rest_request, .emits = "kind: u32"},
            {"tidy", .from = "rest", .run = rest_run, .background = true, .at_rest = true, .emits = MESSAGE},
            {"move", .from = "upkeep, tidy", .route = LEAT_DIRECT, .run = upkeep_move, .emits = MESSAGE})},
        {"search", LEAT_QUERY, .takes = REQUEST, NODES(
            {"probe", .from = "request", .run = search_probe, .emits = PROBES},
            {"scan", .from = "probe", .route = LEAT_DIRECT, .run = search_scan, .emits = HITS},
            {"nearest", .from = "scan", .route = LEAT_TO_ORIGIN, .fold = &search_nearest},
            {"name", .from = "nearest", .route = LEAT_DIRECT, .run = search_name, .emits = NAMED},
            {"answer", .from = "name", .route = LEAT_TO_ORIGIN, .fold = &search_answer, .into = "reply"}),
         .yardstick = "exact", .recall = neighbours_recall},
        {"exact", LEAT_QUERY, .takes = REQUEST, NODES(
            {"scan", .from = "request", .route = LEAT_ALL, .run = search_exact, .emits = HITS},
            {"nearest", .from = "scan", .route = LEAT_TO_ORIGIN, .fold = &search_nearest},
            {"name", .from = "nearest", .route = LEAT_DIRECT, .run = search_name, .emits = NAMED},
            {"answer", .from = "name", .route = LEAT_TO_ORIGIN, .fold = &search_answer, .into = "reply"})},
        {"search_many", LEAT_QUERY, .takes = REQUEST_MANY, NODES(
            {"probe", .from = "request", .run = search_probe, .emits = PROBES},
            {"scan", .from = "probe", .route = LEAT_DIRECT, .run = search_scan, .emits = HITS},
            {"nearest", .from = "scan", .route = LEAT_TO_ORIGIN, .fold = &search_nearest},
            {"name", .from = "nearest", .route = LEAT_DIRECT, .run = search_name, .emits = NAMED},
            {"answer", .from = "name", .route = LEAT_TO_ORIGIN, .fold = &search_answer, .args = "many=1",
             .into = "reply"})},
        {"exact_many", LEAT_QUERY, .takes = REQUEST_MANY, NODES(
            {"scan", .from = "request", .route = LEAT_ALL, .run = search_exact, .emits = HITS},
            {"nearest", .from = "scan", .route = LEAT_TO_ORIGIN, .fold = &search_nearest},
            {"name", .from = "nearest", .route = LEAT_DIRECT, .run = search_name, .emits = NAMED},
            {"answer", .from = "name", .route = LEAT_TO_ORIGIN, .fold = &search_answer, .args = "many=1",
             .into = "reply"})},
        {"count", LEAT_QUERY, .takes = "", NODES(
            {"size", .from = "request", .route = LEAT_ALL, .run = search_count, .emits = "vectors: i64"},
            {"sum", .from = "size", .route = LEAT_TO_ORIGIN, .fold = &leat_sum, .into = "reply"})}),
};
