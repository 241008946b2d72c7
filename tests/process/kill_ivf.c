/* SPDX-License-Identifier: Apache-2.0 */
/* A victim of kill.sh. It puts vectors into an index of small postings, which split, merge and move their rows all the
 * time, and takes them out again. */

#include "modules/ivf/ivf.h"
#include "modules/ivf/places.h"
#include "modules/modules.h"
#include "tests/process/victim.h"

enum { ALL_IDS = 1500, DIMS = 8, ALL_POSTINGS = 1 << 20 };

static const struct leat_option options[] = {{"dims", "8"},   {"metric", "l2"}, {"ids", "u64"},     {"target", "8"},
                                             {"split", "16"}, {"merge", "4"},   {"nprobe", "1000"}, {NULL, NULL}};

/* ---- Changes ---- */

struct change {
    uint64_t id;
    bool there;
    float vector[DIMS];
};

static uint64_t mix(uint64_t h)
{
    h = (h ^ h >> 31) * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
    return h ^ h >> 32;
}

/* Vectors around a place that wanders: postings fill on one side and empty on the other. */
static struct change change_at(int64_t n)
{
    uint64_t h = mix((uint64_t)n);
    struct change c = {.id = h % ALL_IDS, .there = h >> 32 & 3};

    for (int i = 0; i < DIMS; i++) {
        h = mix(h + 1);
        c.vector[i] = (float)(n / 500 % 90) + (float)(h % 1000) / 50.0F;
    }
    return c;
}

static int add(struct leat_rows *batch, int64_t n, struct leat_error *err)
{
    struct change c = change_at(n);

    return leat_rows_add(
        batch,
        LEAT_ROW(leat_u64(c.id), c.there ? leat_vector(LEAT_F32_VECTOR, c.vector, DIMS) : leat_null(), leat_null()),
        err);
}

/* ---- Checking ---- */

static int wrong(const char *what, uint64_t of, int64_t is, int64_t want)
{
    if (is == want)
        return 0;
    fprintf(stderr, "%s of %llu: %lld instead of %lld\n", what, (unsigned long long)of, (long long)is, (long long)want);
    return 1;
}

/* Ids say the posting that has their row: each has as many live rows as there are such ids, and none is on its way. */
static int check_postings(struct leat_view *v, const uint32_t *rows)
{
    struct leat_value key, field[7];
    uint32_t pstate = 0;
    int bad = leat_view_pstate(v, "postings", &pstate) != 0;
    int64_t live = 0, known = 0;

    for (uint32_t task = 0; task < leat_view_tasks(v); task++) {
        struct leat_scan *s;

        if (leat_scan_open(leat_view_task(v, task), pstate, LEAT_KEYS(), NULL, &s) != 0)
            return 1;
        while (leat_scan_next(s, &key, field, 7) == 0) {
            bad += wrong("live rows", key.as.u, (int64_t)field[3].as.u, rows[key.as.u % ALL_POSTINGS]);
            bad += wrong("that it takes rows", key.as.u, field[0].as.b, 1);
            live += (int64_t)field[3].as.u;
            for (uint32_t i = 4; i < field[6].as.bytes.size; i += 8) {
                uint32_t moving;

                memcpy(&moving, (const uint8_t *)field[6].as.bytes.base + i, 4);
                bad += wrong("rows on their way", key.as.u, moving, 0);
            }
        }
        leat_scan_close(s);
    }
    for (uint32_t i = 0; i < ALL_POSTINGS; i++)
        known += rows[i];
    return bad + wrong("all rows", 0, live, known);
}

static int check_ids(struct leat_view *v, const struct change *want, uint32_t *rows)
{
    const struct ivf numbers = {.names = false};
    int bad = 0;

    for (uint64_t id = 0; id < ALL_IDS; id++) {
        struct leat_value key = leat_u64(id);
        struct places places;
        struct place place;

        places_begin(&places, leat_view_owner(v, &key), &numbers);
        bool there = places_get(&places, id, &place);
        bad += wrong("there", id, there, want[id].there);
        if (there)
            rows[place.posting % ALL_POSTINGS]++;
    }
    return bad;
}

/* All are found, each once, and as they are. */
static int check_found(struct leat *l, const struct change *want, const char *query, struct leat_error *err)
{
    uint8_t seen[ALL_IDS] = {0};
    struct leat_result *r;
    int bad = 0;

    must(leat_query(l, "ivf", query,
                    LEAT_ROW(leat_vector(LEAT_F32_VECTOR, want[0].vector, DIMS), leat_u32(ALL_IDS + 10), leat_null(),
                             leat_null(), leat_null(), leat_bool(true), leat_null(), leat_null(), leat_null()),
                    NULL, &r, err),
         err);
    const struct leat_batch *rows = leat_result_rows(r);
    for (uint32_t i = 0; i < rows->rows; i++) {
        uint64_t id = leat_at(rows, i, 0).as.u;

        seen[id % ALL_IDS]++;
        bad += wrong("the vector found", id,
                     memcmp(leat_at(rows, i, 3).as.bytes.base, want[id % ALL_IDS].vector, sizeof(want[0].vector)), 0);
    }
    for (uint64_t id = 0; id < ALL_IDS; id++)
        bad += wrong(query, id, seen[id], want[id].there);
    leat_result_free(r);
    return bad;
}

static int check(struct leat *l, int64_t changes, struct leat_error *err)
{
    struct change *want = calloc(ALL_IDS, sizeof(*want));
    uint32_t *rows = calloc(ALL_POSTINGS, sizeof(*rows));
    struct leat_view *v;

    for (int64_t n = 0; n < changes; n++) {
        struct change c = change_at(n);

        want[c.id] = c;
    }
    must(leat_view_open(l, "ivf", &v, err), err);
    int bad = check_ids(v, want, rows) + check_postings(v, rows);
    leat_view_close(v);
    bad += check_found(l, want, "search", err) + check_found(l, want, "exact", err);
    free(want);
    free(rows);
    return bad;
}

int main(int count, char **argument)
{
    static const struct victim victim = {
        .module = &module_ivf, .options = options, .depot = "vectors", .add = add, .check = check};

    return victim_main(&victim, count, argument);
}
