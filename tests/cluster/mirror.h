/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CLUSTER_MIRROR_H
#define TESTS_CLUSTER_MIRROR_H

#include "tests/cluster/cluster.h"

/* A module that derives a copy of its PStates: numbers by key, and pointers to large values. Versions share pages of
 * numbers: a page that a newer version has replaced is freed with the version that had it
 * last, so the order of drops matters. */

enum { MIRROR_KEYS = 64, MIRROR_PAGE = 8, MIRROR_PAGES = MIRROR_KEYS / MIRROR_PAGE, MIRROR_BLOB = 5000,
       MIRROR_MISSING = -1 };
enum { NUMBERS, BLOBS };

struct mirror_page {
    int64_t number[MIRROR_PAGE];
    const void *blob[MIRROR_PAGE]; /* in the map */
};

struct mirror {
    struct mirror_page *page[MIRROR_PAGES];
    struct mirror_page *replaced[MIRROR_PAGES]; /* by the version after it */
    struct mirror *after;
    uint64_t version;
    uint32_t group;
};

/* What the engine called, by group. */
struct mirror_calls {
    uint32_t builds, applies, drops, changes;
    uint64_t made, dropped; /* versions so far */
    bool fails;             /* from now on, as the next says */
};
static struct mirror_calls mirror_calls[64];

static inline struct mirror_page *mirror_page_of(struct mirror *m, struct mirror *before, uint32_t page)
{
    if (before != NULL && m->page[page] == before->page[page]) {
        struct mirror_page *copy = malloc(sizeof(*copy));

        *copy = *m->page[page];
        before->replaced[page] = m->page[page];
        m->page[page] = copy;
    }
    return m->page[page];
}

static inline struct mirror *mirror_new(uint32_t group)
{
    struct mirror *m = calloc(1, sizeof(*m));

    m->group = group;
    m->version = ++mirror_calls[group].made;
    return m;
}

static inline int mirror_build(struct leat_derivation *d, void **state, struct leat_error *err)
{
    struct leat_task *t = leat_derivation_first(d);
    struct mirror *m = mirror_new(leat_group(t));
    uint32_t step = leat_group_count(t), tasks = leat_task_count(t);

    mirror_calls[m->group].builds++;
    mirror_calls[m->group].dropped = m->version - 1;
    for (uint32_t i = 0; i < MIRROR_PAGES; i++) {
        m->page[i] = calloc(1, sizeof(**m->page));
        for (uint32_t j = 0; j < MIRROR_PAGE; j++)
            m->page[i]->number[j] = MIRROR_MISSING;
    }
    for (uint32_t task = leat_group(t); task < tasks; task += step) {
        struct leat_value key, value;
        struct leat_scan *scan;

        t = leat_derivation_task(d, task);
        for (uint32_t pstate = NUMBERS; pstate <= BLOBS; pstate++) {
            if (leat_scan_open(t, pstate, LEAT_KEYS(), NULL, &scan) != 0)
                continue;
            while (leat_scan_next(scan, &key, &value, 1) == 0) {
                struct mirror_page *page = m->page[key.as.i / MIRROR_PAGE];

                if (pstate == NUMBERS)
                    page->number[key.as.i % MIRROR_PAGE] = value.as.i;
                else
                    page->blob[key.as.i % MIRROR_PAGE] = value.as.bytes.base;
            }
            leat_scan_close(scan);
        }
    }
    (void)err;
    *state = m;
    return 0;
}

static inline int mirror_apply(struct leat_derivation *d, void *old, const struct leat_change *change, uint32_t changes,
                               void **state, struct leat_error *err)
{
    struct mirror *before = old, *m;
    struct mirror_calls *calls = &mirror_calls[before->group];

    (void)d;
    calls->applies++;
    calls->changes += changes;
    if (calls->fails)
        return leat_fail(err, LEAT_ENOSPACE, "as told");
    m = mirror_new(before->group);
    memcpy(m->page, before->page, sizeof(m->page));
    before->after = m;
    for (uint32_t i = 0; i < changes; i++) {
        struct mirror_page *page = mirror_page_of(m, before, (uint32_t)change[i].key.as.i / MIRROR_PAGE);
        uint32_t at = (uint32_t)change[i].key.as.i % MIRROR_PAGE;
        struct leat_value value;
        int rv = leat_get(change[i].task, change[i].pstate, LEAT_KEYS(change[i].key), &value, 1);

        if ((rv == LEAT_ENOTFOUND) != change[i].removed)
            return leat_fail(err, LEAT_EINTERNAL, "an element is not what the change says");
        if (change[i].pstate == NUMBERS)
            page->number[at] = rv == 0 ? value.as.i : MIRROR_MISSING;
        else
            page->blob[at] = rv == 0 ? value.as.bytes.base : NULL;
    }
    *state = m;
    return 0;
}

static inline void mirror_drop(void *state)
{
    struct mirror *m = state;
    struct mirror_calls *calls = &mirror_calls[m->group];

    calls->drops++;
    assert_int_equal(m->version, calls->dropped + 1);
    calls->dropped = m->version;
    for (uint32_t i = 0; i < MIRROR_PAGES; i++)
        free(m->after == NULL ? m->page[i] : m->replaced[i]);
    free(m);
}

static const struct leat_derive mirror_derive = {
    .from = "numbers, blobs", .build = mirror_build, .apply = mirror_apply, .drop = mirror_drop};

/* ---- The streams ---- */

static inline int64_t mirror_number(const struct mirror *m, int64_t key)
{
    return m->page[key / MIRROR_PAGE]->number[key % MIRROR_PAGE];
}

/* A blob that says what it is. */
static inline void mirror_blob(int64_t key, int64_t number, uint8_t blob[MIRROR_BLOB])
{
    for (size_t i = 0; i < MIRROR_BLOB; i++)
        blob[i] = (uint8_t)(key * 31 + number * 7 + (int64_t)i * (number + 1));
}

/* {key, number}: number below 0 removes; each third key has a blob too. What is derived stands still meanwhile. */
static inline int mirror_store(struct leat_task *t, const struct leat_batch *in)
{
    uint8_t blob[MIRROR_BLOB];

    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value key = leat_at(in, i, 0), have = leat_i64(MIRROR_MISSING);

        leat_get(t, NUMBERS, LEAT_KEYS(key), &have, 1);
        if (mirror_number(leat_derived(t), key.as.i) != have.as.i)
            return leat_task_fail(t, LEAT_EINTERNAL, "what is derived is not of the last commit");
    }
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value key = leat_at(in, i, 0), number = leat_at(in, i, 1);

        if (number.as.i < 0) {
            leat_delete(t, NUMBERS, LEAT_KEYS(key));
            leat_delete(t, BLOBS, LEAT_KEYS(key));
            continue;
        }
        leat_put(t, NUMBERS, LEAT_KEYS(key), LEAT_ROW(number));
        if (key.as.i % 3 != 0)
            continue;
        mirror_blob(key.as.i, number.as.i, blob);
        leat_put(t, BLOBS, LEAT_KEYS(key), LEAT_ROW(leat_bytes(blob, sizeof(blob))));
    }
    return 0;
}

/* ---- The query: each task compares what it reads with what is derived ---- */

static inline bool mirror_same(struct leat_task *t, int64_t key)
{
    const struct mirror *m = leat_derived(t);
    struct leat_value number = leat_i64(MIRROR_MISSING), blob = leat_bytes(NULL, 0);
    const void *seen = m->page[key / MIRROR_PAGE]->blob[key % MIRROR_PAGE];
    uint8_t wanted[MIRROR_BLOB];

    leat_get(t, NUMBERS, LEAT_KEYS(leat_i64(key)), &number, 1);
    leat_get(t, BLOBS, LEAT_KEYS(leat_i64(key)), &blob, 1);
    if (number.as.i != mirror_number(m, key) || blob.as.bytes.base != seen)
        return false;
    if (seen == NULL)
        return true;
    mirror_blob(key, number.as.i, wanted);
    return memcmp(seen, wanted, sizeof(wanted)) == 0;
}

static inline int mirror_compare(struct leat_task *t, const struct leat_batch *in)
{
    int64_t wrong = 0, found = 0;

    for (uint32_t i = 0; i < in->rows; i++)
        for (int64_t key = 0; key < MIRROR_KEYS; key++) {
            struct leat_value value = leat_i64(key);

            if (leat_task_of(leat_task_count(t), &value) != leat_task_number(t))
                continue;
            wrong += !mirror_same(t, key);
            found += mirror_number(leat_derived(t), key) != MIRROR_MISSING;
        }
    leat_emit(t, 0, LEAT_ROW(leat_i64(wrong), leat_i64(found)));
    return leat_task_error(t);
}

static inline int mirror_pass(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 0), leat_at(in, i, 1)));
    return 0;
}

#define MIRROR_ROW "key: i64, number: i64"

static const struct leat_module mirror_module = {
    LEAT_ABI, .name = "mirror", .derive = &mirror_derive,
    .depots = DEPOTS({"rows", MIRROR_ROW, .by = "key"}),
    .pstates = PSTATES([NUMBERS] = {"numbers", "map<i64, i64>"}, [BLOBS] = {"blobs", "map<i64, bytes>"}),
    .topologies = TOPOLOGIES(
        {"store", LEAT_STREAM, NODES({"store", .from = "rows", .route = LEAT_BY_KEY, .run = mirror_store})},
        {"compare", LEAT_QUERY, .takes = "n: i64", NODES(
            {"compare", .from = "request", .route = LEAT_ALL, .run = mirror_compare, .emits = "wrong: i64, found: i64"},
            {"answer", .from = "compare", .route = LEAT_TO_ORIGIN, .run = mirror_pass,
             .emits = "wrong: i64, found: i64", .into = "reply"})})};

/* Ask: fails when anything differs; how many keys there are. */
static inline int64_t mirror_ask(struct leat *l)
{
    struct leat_error err = {0, ""};
    struct leat_result *r;
    int64_t found = 0;

    must(leat_query(l, "mirror", "compare", LEAT_ROW(leat_i64(0)), NULL, &r, &err));
    const struct leat_batch *rows = leat_result_rows(r);
    for (uint32_t i = 0; i < rows->rows; i++) {
        assert_int_equal(leat_at(rows, i, 0).as.i, 0);
        found += leat_at(rows, i, 1).as.i;
    }
    leat_result_free(r);
    return found;
}

#endif
