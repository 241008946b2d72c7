/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/vectors.h"

#include "modules/ivf/ivf.h"
#include "modules/ivf/places.h"

#include <stdio.h>

typedef unsigned long long big;

#define ROUNDING 1e-5 /* of cosine distances */

/* ---- What the depot says ---- */

struct reading {
    uint64_t newest[SIM_CLIENTS][VECTORS_IDS]; /* number + 1 of the last change; 0: none */
    bool found[SIM_CLIENTS][SIM_ROWS];
    uint64_t last[SIM_CLIENTS]; /* of the partition: sequence + 1 */
};

static bool same_id(struct leat_value a, struct leat_value b)
{
    if (!vectors_plan.names)
        return a.as.u == b.as.u;
    return a.as.bytes.size == b.as.bytes.size && memcmp(a.as.bytes.base, b.as.bytes.base, a.as.bytes.size) == 0;
}

static int record(void *context, const struct leat_record *stored, const struct leat_batch *row)
{
    struct reading *r = context;
    uint64_t client = stored->session - 1, n = stored->sequence;
    struct leat_value vector = leat_at(row, 0, 1);
    char text[16];

    if (client >= SIM_CLIENTS || n >= vectors.sent[client])
        sim_fail("the depot of vectors has a record that nobody sent");
    struct vectors_change c = vectors_change_at((uint32_t)client, n);
    if (!same_id(leat_at(row, 0, 0), vectors_id((uint32_t)client, c.id, text)) ||
        (vector.type != LEAT_NULL) != c.there || (c.there && memcmp(vector.as.bytes.base, c.vector, c.size) != 0))
        sim_fail("change %llu of client %llu is not in the depot as it was sent", (big)n, (big)client);
    if (n + 1 <= r->last[client])
        return 0; /* a repeat: the consuming turn drops it */
    r->last[client] = n + 1;
    r->found[client][n] = true;
    r->newest[client][c.id] = n + 1;
    return 0;
}

/* Exactly what is known of each id when all is processed. */
static void read_depot(struct vectors_known *known)
{
    struct reading *r = base_alloc(sizeof(*r));
    struct leat_error err = {0};
    struct leat_depot *d;

    if (leat_depot_find(sim.leat, "ivf", "vectors", &d, &err) != 0)
        sim_fail("no depot: %s", err.text);
    for (uint32_t partition = 0; partition < leat_depot_partitions(d); partition++) {
        memset(r->last, 0, sizeof(r->last));
        if (leat_depot_read(d, partition, 0, UINT32_MAX, record, r, NULL, &err) != 0)
            sim_fail("the depot of vectors cannot be read: %s", err.text);
    }
    for (uint32_t client = 0; client < SIM_CLIENTS; client++) {
        for (uint64_t n = 0; n < vectors.acked[client]; n++)
            if (!r->found[client][n])
                sim_fail("change %llu of client %u was acknowledged and is lost", (big)n, client);
        for (uint32_t id = 0; id < VECTORS_IDS; id++) {
            uint64_t newest = r->newest[client][id];

            known->least[client][id] = known->most[client][id] = newest;
            known->may_have[client][id] = newest > 0 && vectors_change_at(client, newest - 1).there;
            known->changes[client][id] = false;
            known->may_lack[client][id] = !known->may_have[client][id];
        }
    }
    free(r);
}

static void check_letters(void)
{
    struct leat_error err = {0};
    struct leat_depot *d;

    if (leat_depot_find(sim.leat, "ivf", "dead_letters", &d, &err) != 0)
        sim_fail("no dead letters: %s", err.text);
    for (uint32_t partition = 0; partition < leat_depot_partitions(d); partition++) {
        struct leat_bounds b;

        leat_depot_bounds(d, partition, &b);
        if (b.next > 0)
            sim_fail("%llu dead letters of ivf, and nothing was wrong", (big)b.next);
    }
}

/* ---- What the postings say ---- */

struct row {
    uint64_t number;
    uint32_t version, posting;
    uint8_t vector[VECTORS_SIZE];
};

struct posting {
    uint32_t number, rows, live, chunks;
    struct leat_span masks;
    uint32_t task;
};

struct census {
    struct layout layout;
    struct attributes attributes;
    struct leat_view *view;
    struct row row[SIM_CLIENTS * VECTORS_IDS];
    uint32_t rows, postings, centroids; /* live rows; postings that have a centroid; centroids of all groups */
    uint64_t chunks, tails;             /* pieces that postings have */
};

static bool lives(const struct posting *p, uint32_t row)
{
    uint32_t mask;

    memcpy(&mask, (const uint8_t *)p->masks.base + (size_t)row / BLOCK * 8, 4);
    return mask >> row % BLOCK & 1;
}

static void keep_row(struct census *c, const struct posting *p, uint32_t row, uint64_t number, uint32_t version,
                     const void *vector)
{
    if (row >= p->rows)
        sim_fail("posting %u has row %u, but only %u of them", p->number, row, p->rows);
    if (!lives(p, row))
        return;
    if (c->rows == LENGTH_OF(c->row))
        sim_fail("postings have more live rows than there are ids");
    struct row *to = &c->row[c->rows++];
    *to = (struct row){.number = number, .version = version, .posting = p->number};
    memcpy(to->vector, vector, c->layout.vector);
}

static void read_chunks(struct census *c, const struct posting *p)
{
    struct leat_task *t = leat_view_task(c->view, p->task);
    const struct piece_layout *l = &c->layout.chunk;

    for (uint32_t i = 0; i < p->chunks; i++) {
        struct leat_value value;

        if (leat_get(t, CHUNKS, LEAT_KEYS(leat_u64((uint64_t)p->number << 32 | i)), &value, 1) != 0)
            sim_fail("posting %u has no chunk %u", p->number, i);
        const uint8_t *piece = (const uint8_t *)value.as.bytes.base + c->layout.pad;
        for (uint32_t row = 0; row < l->rows; row++)
            keep_row(c, p, i * l->rows + row, layout_number(l, piece, row), layout_version(l, piece, row),
                     layout_vector(&c->layout, l, piece, row));
    }
    c->chunks += p->chunks;
}

static void read_tails(struct census *c, const struct posting *p)
{
    struct leat_value from = leat_u64((uint64_t)p->number << 32), to = leat_u64((uint64_t)(p->number + 1) << 32), key,
                      value;
    struct leat_range range = {.from = &from, .to = &to};
    uint32_t at = p->chunks * c->layout.chunk.rows, size = c->layout.row.size;
    struct leat_scan *scan;
    int rv;

    if (leat_scan_open(leat_view_task(c->view, p->task), TAILS, LEAT_KEYS(), &range, &scan) != 0)
        sim_fail("tails cannot be read");
    while ((rv = leat_scan_next(scan, &key, &value, 1)) == 0) {
        if ((uint32_t)key.as.u != at)
            sim_fail("posting %u has a tail from row %u on, not from %u", p->number, (uint32_t)key.as.u, at);
        for (uint32_t i = 0; i < value.as.bytes.size / size; i++, at++) {
            const uint8_t *row = (const uint8_t *)value.as.bytes.base + (size_t)i * size;
            struct row_head head;

            memcpy(&head, row, sizeof(head));
            keep_row(c, p, at, head.number, head.version, row + c->layout.row.vector);
        }
        c->tails++;
    }
    leat_scan_close(scan);
    sim_scanned(rv, "tails");
    if (at != p->rows)
        sim_fail("posting %u has %u rows, not %u", p->number, at, p->rows);
}

/* It may have more rows than others when it was tried to split it, and its rows could not be told apart. */
static void check_size(const struct census *c, const struct posting *p, uint32_t split_at, uint32_t gathered)
{
    if (p->live > split_at || split_at > 2 * SIM_CLIENTS * VECTORS_IDS)
        sim_fail("posting %u has %u rows, to be split at %u, and is not split", p->number, p->live, split_at);
    if (p->rows - p->live > p->live / 16 + 4)
        sim_fail("posting %u has %u dead rows beside %u live ones", p->number, p->rows - p->live, p->live);
    uint32_t chunked = p->chunks * c->layout.chunk.rows, together = chunked > gathered ? chunked : gathered;
    if (p->rows - together > p->live / 8 + 8)
        sim_fail("posting %u has %u rows that are not put together, of %u", p->number, p->rows - together, p->rows);
}

static void read_posting(struct census *c, const struct posting *p, const struct leat_value field[9])
{
    uint32_t first = c->rows;

    if (!field[0].as.b)
        sim_fail("posting %u takes no rows and is there", p->number);
    if (field[1].as.i != 0)
        sim_fail("posting %u waits for the background, which does nothing", p->number);
    for (size_t i = 4; i < p->masks.size; i += 8) {
        uint32_t moving;

        memcpy(&moving, (const uint8_t *)p->masks.base + i, 4);
        if (moving != 0)
            sim_fail("posting %u has rows on their way, and nothing moves", p->number);
    }
    read_chunks(c, p);
    read_tails(c, p);
    if (c->rows - first != p->live)
        sim_fail("posting %u has %u live rows, not %u", p->number, c->rows - first, p->live);
    check_size(c, p, (uint32_t)field[5].as.u, (uint32_t)field[8].as.u);
    c->postings += p->number != 0;
}

/* Every group knows the centroid of each posting, but for the first one, which has none. */
static void check_centroid(const struct census *c, uint32_t number)
{
    struct leat_value field[2];

    for (uint32_t task = 0; task < vectors_plan.groups && number != 0; task++)
        if (leat_get(leat_view_task(c->view, task), CENTROIDS, LEAT_KEYS(leat_u32(number)), field, 2) != 0 ||
            !field[0].as.b)
            sim_fail("group %u does not know that posting %u takes rows", task, number);
}

static void read_postings(struct census *c, uint32_t task)
{
    struct leat_value key, field[9];
    struct leat_scan *scan;
    int rv;

    if (leat_scan_open(leat_view_task(c->view, task), POSTINGS, LEAT_KEYS(), NULL, &scan) != 0)
        sim_fail("postings cannot be read");
    while ((rv = leat_scan_next(scan, &key, field, 9)) == 0) {
        struct posting p = {(uint32_t)key.as.u,      (uint32_t)field[2].as.u, (uint32_t)field[3].as.u,
                            (uint32_t)field[4].as.u, field[6].as.bytes,       task};

        if (task != p.number % vectors_plan.groups)
            sim_fail("posting %u is in group %u", p.number, task);
        read_posting(c, &p, field);
        check_centroid(c, p.number);
    }
    leat_scan_close(scan);
    sim_scanned(rv, "postings");
}

static uint64_t size_of(const struct census *c, uint32_t pstate)
{
    uint64_t sum = 0, size = 0;

    for (uint32_t task = 0; task < vectors_plan.tasks; task++) {
        if (leat_size(leat_view_task(c->view, task), pstate, LEAT_KEYS(), &size) != 0)
            sim_fail("the size of a PState cannot be read");
        sum += size;
    }
    return sum;
}

/* Nothing is left of postings that are gone. */
static void check_pieces(const struct census *c)
{
    uint64_t chunks = size_of(c, CHUNKS), tails = size_of(c, TAILS), centroids = size_of(c, CENTROIDS);

    if (chunks != c->chunks || tails != c->tails)
        sim_fail("there are %llu chunks and %llu tails; postings have %llu and %llu", (big)chunks, (big)tails,
                 (big)c->chunks, (big)c->tails);
    if (centroids != (uint64_t)c->postings * vectors_plan.groups)
        sim_fail("there are %llu centroids in %u groups, and %u postings have one", (big)centroids, vectors_plan.groups,
                 c->postings);
}

/* ---- Ids and postings agree ---- */

static int by_number(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    return (x->number > y->number) - (x->number < y->number);
}

static void check_id(const struct census *c, uint32_t client, uint32_t id, uint64_t newest)
{
    const struct ivf ids = {.names = vectors_plan.names};
    char text[16];
    struct leat_value key = vectors_id(client, id, text), field[2], name;
    struct leat_task *t = leat_view_owner(c->view, &key);
    struct vectors_change change = vectors_change_at(client, newest - 1);
    struct places places;
    struct place place;

    if (leat_get(t, IDS, LEAT_KEYS(key), field, 2) != 0 || field[1].type == LEAT_NULL)
        sim_fail("vector %u of client %u is not known, or without its attributes", id, client);
    struct row wanted = {.number = vectors_plan.names ? field[0].as.u : key.as.u};
    places_begin(&places, t, &ids);
    if (!places_get(&places, wanted.number, &place) || !place.attributes)
        sim_fail("vector %u of client %u has no place, or one that says that it has no attributes", id, client);
    const struct row *row = bsearch(&wanted, c->row, c->rows, sizeof(*row), by_number);
    if (row == NULL || row->version != place.version || row->posting != place.posting)
        sim_fail("vector %u of client %u, version %u, is in posting %u, it is said; there is version %u in posting %u",
                 id, client, place.version, place.posting, row != NULL ? row->version : 0,
                 row != NULL ? row->posting : UINT32_MAX);
    if (memcmp(row->vector, change.vector, change.size) != 0)
        sim_fail("vector %u of client %u is not that of its last change %llu", id, client, (big)newest - 1);
    if (vectors_plan.names && (leat_get(t, NAMES, LEAT_KEYS(field[0]), &name, 1) != 0 || !same_id(name, key)))
        sim_fail("the number of vector %u of client %u names another one", id, client);
}

static uint64_t count_places(const struct census *c)
{
    struct leat_scan *scan;
    struct leat_value key, value;
    uint64_t count = 0;

    for (uint32_t task = 0; task < vectors_plan.tasks; task++) {
        if (leat_scan_open(leat_view_task(c->view, task), PLACES, LEAT_KEYS(), NULL, &scan) != 0)
            sim_fail("the places of task %u cannot be read", task);
        while (leat_scan_next(scan, &key, &value, 1) == 0)
            count += value.as.bytes.size / PLACES_ENTRY;
        leat_scan_close(scan);
    }
    return count;
}

static void check_ids(struct census *c, const struct vectors_known *known)
{
    uint64_t there = 0, ids = size_of(c, IDS), names = size_of(c, NAMES), places = count_places(c);

    qsort(c->row, c->rows, sizeof(*c->row), by_number);
    for (uint32_t client = 0; client < SIM_CLIENTS; client++)
        for (uint32_t id = 0; id < VECTORS_IDS; id++) {
            there += known->may_have[client][id];
            if (known->may_have[client][id])
                check_id(c, client, id, known->least[client][id]);
        }
    if (places != there || c->rows != there || ids != there || names != (vectors_plan.names ? there : 0))
        sim_fail("there are %llu places, %llu ids with %llu names and %u rows; %llu belong there", (big)places,
                 (big)ids, (big)names, c->rows, (big)there);
    int64_t count = vectors_counted();
    if (count >= 0 && (uint64_t)count != there)
        sim_fail("%lld vectors are counted; %llu are there", (long long)count, (big)there);
}

/* ---- Found ---- */

static void check_all_found(const char *query, const struct vectors_known *known)
{
    uint32_t missing;

    if (vectors_look(query, known, &missing) && missing != VECTORS_NONE)
        sim_fail("vector %u of client %u is there, and the query %s does not find it", missing % VECTORS_IDS,
                 missing / VECTORS_IDS, query);
}

/* Among those that are nearest to its own vector, unless these are as near but for rounding. */
static void check_found(const struct vectors_known *known, uint32_t client, uint32_t id)
{
    enum { K = 16 };
    struct vectors_change c = vectors_change_at(client, known->least[client][id] - 1);
    struct leat_result *r = vectors_ask("search", c.vector, c.size, K);
    double farthest = 0;
    bool found = false;

    if (r == NULL)
        return;
    const struct leat_batch *rows = leat_result_rows(r);
    for (uint32_t i = 0; i < rows->rows; i++) {
        found = found || vectors_hit(rows, i, known) == client * VECTORS_IDS + id;
        farthest = leat_at(rows, i, 1).as.f;
    }
    if (!found && (rows->rows < K || farthest > ROUNDING))
        sim_fail("vector %u of client %u is not found by itself", id, client);
    leat_result_free(r);
}

static void check_search(const struct vectors_known *known)
{
    check_all_found("search", known);
    check_all_found("exact", known);
    for (uint32_t client = 0; client < SIM_CLIENTS; client++)
        for (uint32_t id = 0; id < VECTORS_IDS; id += 7)
            if (known->may_have[client][id] && vectors_plan.metric != METRIC_DOT)
                check_found(known, client, id);
}

/* ---- All of it ---- */

static void count_postings(const struct census *c)
{
    struct sim_counts *counts = &sim.result->counts;

    counts->vectors_left += size_of(c, POSTINGS);
    for (uint32_t task = 0; task < vectors_plan.groups; task++)
        for (uint32_t group = 0; group < vectors_plan.groups; group++) {
            struct leat_value next = leat_u64(1);

            leat_get(leat_view_task(c->view, task), COUNTERS, LEAT_KEYS(leat_u32(NEXT_POSTINGS + group)), &next, 1);
            counts->vectors_opened += next.as.u - 1;
        }
}

void vectors_check_end(void)
{
    struct vectors_known *known = base_alloc(sizeof(*known));
    struct census *c = base_alloc(sizeof(*c));
    struct leat_error err = {0};

    read_depot(known);
    check_letters();
    if (leat_view_open(sim.leat, "ivf", &c->view, &err) != 0 || attributes_parse("n: i64", &c->attributes, &err) != 0)
        sim_fail("no view: %s", err.text);
    layout_init(&c->layout, vectors_plan.type, (enum metric)vectors_plan.metric, vectors_plan.dims, &c->attributes);
    for (uint32_t task = 0; task < vectors_plan.groups; task++)
        read_postings(c, task);
    check_pieces(c);
    check_ids(c, known);
    count_postings(c);
    leat_view_close(c->view);
    check_search(known);
    free(c);
    free(known);
}
