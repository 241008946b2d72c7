/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/posting.h"

#include <math.h>
#include <string.h>

#include "modules/ivf/compact.h"
#include "modules/ivf/target.h"
#include "modules/vector/distance.h"
#include "modules/vector/kmeans.h"

/* Upkeep in the manner of LIRE (Xu et al., "SPFresh", SOSP 2023, section 3.3): every vector is to lie in the posting of
 * its nearest centroid. A posting that has too many rows is taken out of use for new centroids in its place, one that
 * has too few for none; then its rows move to their nearest centroids, and rows around new centroids move there where
 * they are nearer.
 *
 * What costs time runs in the background, over a snapshot. What it finds comes to the posting's task and holds for rows
 * that are still as it saw them. A row moves in four steps, each in a turn: it is copied to its new posting, which
 * tells the id's task, which has the copy confirmed, which has the old one removed. So there is a copy at any moment,
 * for moments two. */

enum {
    MOVES_MOST = 1024,   /* rows that move at a time */
    SPLIT_ROWS = 65536,  /* that k-means looks at */
    AROUND = 64,         /* postings around new centroids that are looked through */
    AROUND_MIDDLE = 128, /* postings that rows of one posting may go to */
    FEW = 8,             /* rows that are sought one by one */
    FOUND_BITS = 8,
    CENTRES_MOST = 1024, /* that take the place of a posting at a time */
    CENTRES_SIZE = 8 << 20,
    SAMPLE_SIZE = 96 << 20,
    NEAR_ROWS = 16384,   /* that move to new centroids at a time */
    NEAR_SIZE = 64 << 20,
    ROUNDED_MOST = 64,   /* that are told apart as they are stored */
    ROUNDS = 12,
    REFINE = 2           /* of them over all centres, when there are many */
};

int upkeep_request(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        enum message kind = (enum message)leat_at(in, i, 1).as.u;

        if (kind == SPLIT || kind == DRAIN || kind == LOOK || kind == NEAR || kind == LEARN || kind == COMPACT)
            leat_emit(t, i, LEAT_ROW(leat_at(in, i, 1), leat_at(in, i, 2), leat_at(in, i, 3)));
    }
    return 0;
}

int rest_request(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        enum message kind = (enum message)leat_at(in, i, 1).as.u;

        if (kind == TIDY || kind == LEARN_LATER)
            leat_emit(t, i, LEAT_ROW(leat_u32(kind)));
    }
    return 0;
}

/* ---- In the background ---- */

struct work {
    struct leat_task *t;
    const struct ivf *v;
    const struct index *x;
    uint32_t from; /* row of the batch */
    void *room;    /* for searches among the centroids, one after another: some bytes for each of all; or NULL */
};

static void answer(const struct work *w, enum message kind, uint32_t posting, const void *body, size_t size)
{
    message(w->t, w->from, leat_task_number(w->t), kind, posting, (struct leat_span){body, size});
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Rows of a posting that stay until somebody moves them. */
static uint32_t settled(const struct index_posting *p, uint32_t *row, uint32_t most)
{
    uint32_t count = 0;

    for (uint32_t block = 0; block * BLOCK < p->rows && count < most; block++)
        for (uint32_t mask = p->live_mask[block] & ~p->moving_mask[block]; mask != 0 && count < most; mask &= mask - 1)
            row[count++] = block * BLOCK + (uint32_t)__builtin_ctz(mask);
    return count;
}

static void row_floats(const struct work *w, const struct index_posting *p, uint32_t row, float *out)
{
    const struct layout *l = &w->v->layout;
    const struct piece_layout *layout;
    uint32_t first;
    const uint8_t *piece = index_piece(l, p, row, &layout, &first);

    encode_floats(w->v, layout_vector(l, layout, piece, row - first),
                  l->metric == METRIC_COSINE ? layout_norm(layout, piece, row - first) : 0, out);
}

/* ---- Split ---- */

static const void **sample(const struct work *w, const struct index_posting *p, uint32_t *rows)
{
    uint32_t dims = w->v->layout.dims, live = p->rows, *row = leat_alloc(w->t, live * sizeof(*row));

    live = settled(p, row, live);
    *rows = least(live, least(SPLIT_ROWS, SAMPLE_SIZE / (dims * (uint32_t)sizeof(float))));
    const void **out = leat_alloc(w->t, (*rows + 1) * sizeof(*out));
    float *floats = leat_alloc(w->t, (size_t)*rows * dims * sizeof(*floats));
    for (uint32_t i = 0; i < *rows; i++) {
        float *at = floats + (size_t)i * dims;

        row_floats(w, p, row[(uint64_t)i * live / *rows], at);
        out[i] = at;
    }
    return out;
}

static uint32_t centres_for(const struct ivf *v, uint32_t live)
{
    uint32_t centres = (live + v->target - 1) / v->target,
             most = CENTRES_SIZE / (v->layout.dims * (uint32_t)sizeof(float));

    return least(centres > 0 ? centres : 1, least(CENTRES_MOST, most));
}

/* A centroid as it is stored: rows need not be rotated to be compared with it. */
static const float *stored_centroid(const struct work *w, uint32_t number)
{
    struct leat_value field[2];
    float *out = leat_alloc(w->t, w->v->layout.dims * sizeof(*out));

    if (leat_get(w->t, CENTROIDS, LEAT_KEYS(leat_u32(number)), field, 2) != 0 || field[1].as.bytes.size == 0)
        return NULL;
    layout_centroid_floats(&w->v->layout, field[1].as.bytes.base, out);
    return out;
}

/* New centroids take the posting's place; none: it stays. */
static void open_at(const struct work *w, uint32_t number, const float *centroid, uint32_t count)
{
    size_t size = (size_t)count * w->v->layout.centroid;
    uint8_t *stored = leat_alloc(w->t, size);

    layout_centroids(&w->v->layout, centroid, count, stored);
    answer(w, OPEN, number, stored, size);
}

/* Only dead rows are left: the same centroid again, with none. */
static void begin_anew(const struct work *w, uint32_t number)
{
    const float *centroid = stored_centroid(w, number);

    open_at(w, number, centroid != NULL ? centroid : w->v->origin, 1);
}

/* Rows that are all equal cannot be told apart; and when most are, what is split off is too small to stay, and comes
 * back: it would be done again and again. But dead rows can go. */
static bool parts_well(const struct vector_clusters *c, uint32_t rows)
{
    uint32_t largest = 0;

    for (uint32_t i = 0; i < c->count; i++)
        largest = c->size[i] > largest ? c->size[i] : largest;
    return c->count > 1 && largest <= rows - rows / 16;
}

/* Rows of each centre anew; those that have none go. */
static void count_rows(const void *const *row, uint32_t rows, uint32_t dims, struct vector_clusters *c)
{
    const struct vector_distance *l2 = vector_distance(VECTOR_L2, LEAT_F32_VECTOR);
    uint32_t count = c->count;

    memset(c->size, 0, count * sizeof(*c->size));
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t nearest = 0;
        float best = INFINITY;

        for (uint32_t i = 0; i < count; i++) {
            float distance = l2->one(row[r], c->centre + (size_t)i * dims, dims);

            nearest = distance < best ? i : nearest;
            best = distance < best ? distance : best;
        }
        c->size[nearest]++;
    }
    c->count = 0;
    for (uint32_t i = 0; i < count; i++)
        if (c->size[i] > 0) {
            memmove(c->centre + (size_t)c->count * dims, c->centre + (size_t)i * dims, dims * sizeof(*c->centre));
            c->size[c->count++] = c->size[i];
        }
}

/* Rounded as they are stored, centres may be one, or as good as one: rows are to be told apart by those. Of few
 * centres, for of thousands that are close most are far from each other. */
static void round_centres(const struct work *w, const void *const *row, uint32_t rows, struct vector_clusters *c)
{
    const struct layout *l = &w->v->layout;

    if (l->type == LEAT_F32_VECTOR || c->count > ROUNDED_MOST)
        return;
    uint8_t *stored = leat_alloc(w->t, (size_t)c->count * l->centroid);
    layout_centroids(l, c->centre, c->count, stored);
    for (uint32_t i = 0; i < c->count; i++)
        layout_centroid_floats(l, stored + (size_t)i * l->centroid, c->centre + (size_t)i * l->dims);
    count_rows(row, rows, l->dims, c);
}

static void split(const struct work *w, uint32_t number)
{
    const struct index_posting *p = index_posting(w->x, number);
    struct vector_clusters c = {0};
    struct leat_error err;
    uint32_t rows = 0;

    if (p == NULL || !p->active)
        return;
    if (p->live == 0) {
        begin_anew(w, number);
        return;
    }
    const void **row = sample(w, p, &rows);
    uint32_t dims = w->v->layout.dims, centres = centres_for(w->v, p->live);
    struct vector_kmeans o = {.dims = dims, .centres = centres, .rounds = ROUNDS, .seed = leat_random(w->t)};
    if (centres > rows)
        o.centres = rows;
    c.centre = leat_alloc(w->t, (size_t)centres * dims * sizeof(*c.centre));
    c.size = leat_alloc(w->t, centres * sizeof(*c.size));
    c.label = leat_alloc(w->t, (rows + 1) * sizeof(*c.label));
    /* Without a bound, few centres go to rows that lie far away, and one has nearly all as before. */
    if (centres > 1 && centres <= 8)
        o.most = centres == 2 ? rows - rows / 4 : 2 * rows / centres + 1;
    int rv = rows == 0        ? LEAT_ENOTFOUND
             : centres > 64   ? vector_kmeans_tree(&o, REFINE, row, rows, &c, &err)
                              : vector_kmeans(&o, row, rows, &c, &err);
    if (rv != 0 && rows > 0)
        leat_task_fail(w->t, rv, "%s", err.text);
    if (rv == 0)
        round_centres(w, row, rows, &c);
    bool helps = rv == 0 && (parts_well(&c, rows) || centres == 1 || p->rows - p->live > p->live);
    open_at(w, number, c.centre, helps ? c.count : 0);
}

/* ---- Moves ---- */

struct moves {
    struct row_move *move;
    uint32_t count;
};

static void mean_of(const float *const *row, uint32_t count, uint32_t dims, float *out)
{
    memset(out, 0, dims * sizeof(*out));
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t d = 0; d < dims; d++)
            out[d] += row[i][d] / (float)count;
}

/* Rows that lie together have their nearest centroids among those nearest to their middle: compared with all of these
 * in blocks, they cost a fraction of so many searches. */
static void nearest_around(const struct work *w, const float *const *query, uint32_t count, struct vector_near *near)
{
    enum { TOGETHER = 64 };
    const struct vector_coarse *centroids = index_centroids(w->x);
    const struct vector_distance *l2 = vector_distance(VECTOR_L2, LEAT_F32_VECTOR);
    uint32_t dims = w->v->rotation.padded;
    float *middle = leat_alloc(w->t, dims * sizeof(*middle));
    struct vector_near rival[AROUND_MIDDLE];
    const void *row[AROUND_MIDDLE];
    float *distance = leat_alloc(w->t, TOGETHER * AROUND_MIDDLE * sizeof(*distance));

    mean_of(query, count, dims, middle);
    uint32_t rivals = vector_coarse_search(centroids, middle, NULL, AROUND_MIDDLE, rival, w->room);
    for (uint32_t i = 0; i < rivals; i++)
        row[i] = rival[i].centroid;
    for (uint32_t first = 0; first < count; first += TOGETHER) {
        uint32_t queries = least(count - first, TOGETHER);

        l2->block((const void *const *)(query + first), queries, row, rivals, dims, distance, AROUND_MIDDLE);
        for (uint32_t i = 0; i < queries; i++) {
            const float *at = distance + (size_t)i * AROUND_MIDDLE;
            uint32_t best = 0;

            for (uint32_t r = 1; r < rivals; r++)
                best = at[r] < at[best] ? r : best;
            near[first + i] = rival[best];
        }
    }
}

/* The nearest active posting of each row of a posting. Rows of one that was never large lie together where there are
 * many more centroids than are looked at. */
static void find_nearest(const struct work *w, const struct index_posting *p, const float *const *query, uint32_t count,
                         struct vector_near *near)
{
    const struct vector_coarse *centroids = index_centroids(w->x);

    if (count >= FEW && p->rows <= 4 * w->v->split && vector_coarse_count(centroids) > 4 * AROUND_MIDDLE)
        nearest_around(w, query, count, near);
    else
        vector_coarse_search_many(centroids, query, count, 1, near, w->room);
}

/* The nearest active posting of each of these rows; those that are to go elsewhere become moves. */
static void find_moves(const struct work *w, const struct index_posting *p, const uint32_t *row, uint32_t count,
                       struct moves *out)
{
    const struct layout *l = &w->v->layout;
    uint32_t padded = w->v->rotation.padded;
    float *rotated = leat_alloc(w->t, (size_t)(count + 1) * padded * sizeof(*rotated));
    const float **query = leat_alloc(w->t, (count + 1) * sizeof(*query));
    struct vector_near *near = leat_alloc(w->t, (count + 1) * sizeof(*near));

    out->move = leat_alloc(w->t, (count + 1) * sizeof(*out->move));
    out->count = 0;
    if (count == 0 || index_active(w->x) == 0)
        return;
    for (uint32_t i = 0; i < count; i++) {
        float *at = rotated + (size_t)i * padded;

        row_floats(w, p, row[i], at);
        vector_rotate(&w->v->rotation, at, at);
        query[i] = at;
    }
    find_nearest(w, p, query, count, near);
    for (uint32_t i = 0; i < count; i++) {
        const struct piece_layout *layout;
        uint32_t first;
        const uint8_t *piece = index_piece(l, p, row[i], &layout, &first);

        if (near[i].number != p->number)
            out->move[out->count++] = (struct row_move){layout_number(layout, piece, row[i] - first),
                                                        layout_version(layout, piece, row[i] - first), row[i],
                                                        p->edition, near[i].number};
    }
}

/* A posting that is to become empty: the next of its rows. */
static void drain(const struct work *w, uint32_t number)
{
    const struct index_posting *p = index_posting(w->x, number);
    uint32_t row[MOVES_MOST];
    struct moves m;

    if (p == NULL)
        return;
    find_moves(w, p, row, settled(p, row, MOVES_MOST), &m);
    answer(w, MOVE, number, m.move, m.count * sizeof(*m.move));
}

/* ---- Around new centroids ---- */

/* New centroids that may be nearer to some row of a posting than its own. */
struct rival {
    const float *centroid;
    float distance; /* to the posting's own */
};

/* Rows that are nearer to a rival than to their own centroid: only these can belong elsewhere now (Xu et al., section
 * 3.3, the second necessary condition). By the triangle inequality a rival is out of question that is more than twice
 * as far from the centroid as the row is; distances here are squared. Only rows at `least_square` or more from it. */
static uint32_t attracted(const struct work *w, const struct index_posting *p, const float *own, float least_square,
                          const struct rival *rival, uint32_t rivals, uint32_t *out, uint32_t most)
{
    const struct vector_distance *l2 = vector_distance(VECTOR_L2, LEAT_F32_VECTOR);
    uint32_t dims = w->v->layout.dims, count = 0;
    float *at = leat_alloc(w->t, dims * sizeof(*at));
    uint32_t *row = leat_alloc(w->t, (p->rows + 1) * sizeof(*row)), rows = settled(p, row, p->rows);

    for (uint32_t i = 0; i < rows && count < most; i++) {
        if (least_square > 0 && index_square(&w->v->layout, p, row[i]) < least_square)
            continue;
        row_floats(w, p, row[i], at);
        float distance = l2->one(at, own, dims);
        bool nearer = false;

        for (uint32_t n = 0; n < rivals && !nearer; n++)
            nearer = rival[n].distance < 4 * distance && l2->one(at, rival[n].centroid, dims) < distance;
        if (nearer)
            out[count++] = row[i];
    }
    return count;
}

struct neighbour {
    uint32_t number;
    float least; /* only rows at this squared distance from the centroid, or more */
};

struct around {
    const float *new[CENTRES_MOST]; /* rotated */
    struct rival rival[CENTRES_MOST];
    uint32_t number[CENTRES_MOST];
    uint32_t news;
    struct neighbour *near; /* postings of this group that are to be looked through */
    uint32_t nears, room;
    float far;     /* where postings begin that are not among the nearest, squared */
    uint32_t rows; /* that may still move */
};

static bool among(const struct around *a, uint32_t number)
{
    for (uint32_t i = 0; i < a->news; i++)
        if (a->number[i] == number)
            return true;
    for (uint32_t i = 0; i < a->nears; i++)
        if (a->near[i].number == number)
            return true;
    return false;
}

static void add_around(const struct work *w, struct around *a, uint32_t number, float farther_than)
{
    if (a->nears < a->room && posting_task(w->t, number) == leat_task_number(w->t) && !among(a, number))
        a->near[a->nears++] = (struct neighbour){number, farther_than};
}

static void look_around(const struct work *w, struct around *a, const float *centroid)
{
    const struct vector_coarse *c = index_centroids(w->x);
    struct vector_near near[AROUND];
    uint32_t count = vector_coarse_search(c, centroid, NULL, AROUND, near, w->room);

    for (uint32_t i = 0; i < count; i++)
        add_around(w, a, near[i].number, 0);
    if (count > 0 && near[count - 1].distance < a->far)
        a->far = near[count - 1].distance;
}

/* Where no centroid was near before, rows went to postings beyond those: they lie nearly as far from the centroids
 * there as these are from the new one. */
static void look_farther(const struct work *w, struct around *a)
{
    float least = a->far / 2;
    uint32_t wide[INDEX_WIDE], count = index_wide(w->x, least, wide);

    for (uint32_t i = 0; i < count; i++)
        add_around(w, a, wide[i], least);
}

static void take_new(const struct work *w, struct around *a, struct leat_span numbers)
{
    for (uint32_t i = 0; i < numbers.size / sizeof(uint32_t) && a->news < CENTRES_MOST; i++) {
        uint32_t number;

        memcpy(&number, (const uint8_t *)numbers.base + i * sizeof(number), sizeof(number));
        a->new[a->news] = vector_coarse_find(index_centroids(w->x), number);
        a->rival[a->news].centroid = stored_centroid(w, number);
        a->number[a->news] = number;
        a->news += a->new[a->news] != NULL && a->rival[a->news].centroid != NULL;
    }
}

static void look_through(const struct work *w, struct around *a, const struct neighbour *n)
{
    uint32_t number = n->number;
    const struct index_posting *p = index_posting(w->x, number);
    const float *own = stored_centroid(w, number);
    uint32_t row[MOVES_MOST];
    struct moves m;

    if (p == NULL || !p->active || own == NULL)
        return;
    for (uint32_t i = 0; i < a->news; i++)
        a->rival[i].distance = vector_distance(VECTOR_L2, LEAT_F32_VECTOR)->one(a->rival[i].centroid, own,
                                                                                w->v->layout.dims);
    uint32_t count = attracted(w, p, own, n->least, a->rival, a->news, row, least(MOVES_MOST, a->rows));
    a->rows -= count;
    find_moves(w, p, row, count, &m);
    if (m.count > 0)
        answer(w, MOVE, number, m.move, m.count * sizeof(*m.move));
}

static void near(const struct work *w, struct leat_span numbers)
{
    struct around *a = leat_alloc(w->t, sizeof(*a));

    *a = (struct around){.room = AROUND + INDEX_WIDE + 2 * (uint32_t)(numbers.size / sizeof(uint32_t)),
                         .far = INFINITY,
                         .rows = least(NEAR_ROWS, NEAR_SIZE / (w->v->layout.dims * (uint32_t)sizeof(float)))};
    a->near = leat_alloc(w->t, a->room * sizeof(*a->near));
    take_new(w, a, numbers);
    for (uint32_t i = 0; i < a->news; i++)
        look_around(w, a, a->new[i]);
    look_farther(w, a);
    for (uint32_t i = 0; i < a->nears && a->rows > 0; i++)
        look_through(w, a, &a->near[i]);
}

static void *search_room(struct leat_task *t, const struct index *x)
{
    const struct vector_coarse *c = index_centroids(x);

    return leat_alloc(t, c != NULL ? vector_coarse_room(c, AROUND_MIDDLE) : 1); /* the most that is sought */
}

int upkeep_run(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows && leat_task_error(t) == 0; i++) {
        enum message kind = (enum message)leat_at(in, i, 0).as.u;
        struct work w = {t, leat_state(t), leat_derived(t), i, NULL};
        uint32_t posting = (uint32_t)leat_at(in, i, 1).as.u;

        if (kind == DRAIN || kind == NEAR)
            w.room = search_room(t, w.x);
        switch (kind) {
        case SPLIT:
            split(&w, posting);
            break;
        case DRAIN:
            drain(&w, posting);
            break;
        case LOOK:
            answer(&w, LOOK, posting, "", 0);
            break;
        case COMPACT:
            compact_choose(t, i, COMPACT_MUCH);
            break;
        case NEAR:
            near(&w, leat_at(in, i, 2).as.bytes);
            break;
        case LEARN:
            target_learn(t, i, LEARN);
            break;
        default:
            break;
        }
    }
    return 0;
}

int rest_run(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows && leat_task_error(t) == 0; i++)
        if (leat_at(in, i, 0).as.u == LEARN_LATER)
            target_learn(t, i, LEARN_LATER);
        else
            compact_choose(t, i, COMPACT_LITTLE);
    return leat_task_error(t);
}

/* ---- What was found comes to the posting's task ---- */

/* NOWHERE: there are no more numbers. */
static uint32_t new_posting(struct leat_task *t, uint32_t group)
{
    uint64_t n = counter_get(t, NEXT_POSTINGS + group);

    if (n == 0)
        n = counter_get(t, NEXT_POSTING);
    n += n == 0;
    uint32_t number = posting_number(n, leat_task_number(t), group, leat_group_count(t));
    if (number != NOWHERE)
        counter_set(t, NEXT_POSTINGS + group, n + 1);
    return number;
}

/* It has a record from its first day: else nobody would see that no row comes. */
static void open_child(struct posting_edit *parent, uint32_t from, uint32_t number, struct leat_span centroid)
{
    struct posting_edit e;

    announce(parent->t, from, CENTROID, number, centroid_body(parent->t, true, centroid, (struct leat_span){"", 0}));
    posting_edit_begin(&e, parent->t, parent->v, number);
    posting_announced(&e);
    posting_edit_end(&e, from);
}

/* The first is in this group, and so on. false: there are not so many numbers. */
static bool number_children(struct leat_task *t, uint32_t *number, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        number[i] = new_posting(t, (leat_task_number(t) + i) % leat_group_count(t));
        if (number[i] == NOWHERE)
            return false;
    }
    return true;
}

/* ask: NEAR, and the children's numbers. */
static void open_children(struct posting_edit *e, uint32_t from, struct leat_span centres, const uint32_t *ask)
{
    size_t size = e->v->layout.centroid, count = centres.size / size;

    for (uint32_t i = 0; i < count; i++)
        open_child(e, from, ask[i + 1], (struct leat_span){(const uint8_t *)centres.base + i * size, size});
    message_all(e->t, from, ASK, e->number, (struct leat_span){ask, (count + 1) * sizeof(*ask)});
}

/* It stays as it is, and is to be split when it is twice as large. */
static void keep_posting(struct posting_edit *e, int64_t asked)
{
    e->record.asked = asked;
    e->record.split_at = 2 * e->record.live > e->v->split ? 2 * e->record.live : e->v->split;
    e->changed = true;
}

static void open_posting(struct posting_edit *e, uint32_t from, struct leat_span centres)
{
    uint32_t count = (uint32_t)(centres.size / e->v->layout.centroid);
    uint32_t *ask = leat_alloc(e->t, (count + 1) * sizeof(*ask));

    if (!e->there || !e->record.active)
        return;
    ask[0] = NEAR;
    if (count == 0) {
        keep_posting(e, 0);
    } else if (number_children(e->t, ask + 1, count)) {
        open_children(e, from, centres, ask);
        posting_retire(e, from, centres);
    } else {
        leat_reject(e->t, from,
                    "group %u has opened as many postings as there are numbers for: posting %u, of %u vectors, is not "
                    "split; a rebuild gives new numbers",
                    leat_group(e->t), e->number, e->record.live);
        /* Dead rows do not wait for it to be larger: a minute from now. */
        keep_posting(e, leat_now(e->t));
    }
}

/* A row as it is to be in its new posting. */
static bool send_moved(struct posting_edit *e, uint32_t from, const struct index_posting *p, const struct row_move *m,
                       const float *centroid)
{
    const struct layout *l = &e->v->layout;
    struct row_origin origin = {p->number, m->row};
    uint8_t *row = leat_alloc(e->t, l->row.size + sizeof(origin));
    float *rotated = leat_alloc(e->t, e->v->rotation.padded * sizeof(*rotated));
    const struct piece_layout *layout;
    struct encoded code = {.posting = m->to};
    uint32_t first;
    const uint8_t *piece = index_piece(l, p, m->row, &layout, &first);
    struct row_head head;

    if (centroid == NULL)
        return false;
    layout_take(l, layout, piece, m->row - first, row);
    memcpy(&head, row, sizeof(head));
    if (head.number != m->number || head.version != m->version)
        return false;
    head.version = version_moved(head.version, 1);
    memcpy(row, &head, sizeof(head));
    encode_rotated(e->v, row + l->row.vector, head.norm, rotated);
    encode_code(e->t, e->v, rotated, centroid, &code);
    layout_row_code(l, row, &code);
    memcpy(row + l->row.size, &origin, sizeof(origin));
    message(e->t, from, posting_task(e->t, m->to), MOVED, m->to,
            (struct leat_span){row, l->row.size + sizeof(origin)});
    return true;
}

/* Rows of a posting go to few others, and finding a centroid by its number takes long. */
struct found {
    uint32_t number;
    const float *centroid;
};

static const float *find_centroid(const struct index *x, struct found found[1 << FOUND_BITS], uint32_t number)
{
    struct found *f = &found[number * 2654435769U >> (32 - FOUND_BITS)];

    if (f->centroid == NULL || f->number != number)
        *f = (struct found){number, vector_coarse_find(index_centroids(x), number)};
    return f->centroid;
}

/* Where the row is that the background saw. In another edition it is found by its number: one row of an id lives here
 * and does not move, and whether that is the same vector is seen when it is sent. */
static uint32_t movable_row(const struct posting_edit *e, const struct index_posting *p, const struct row_move *m)
{
    if (m->edition == p->edition)
        return m->row < p->rows && posting_movable(e, m->row) ? m->row : NOWHERE;
    for (uint32_t row = 0; row < p->rows; row++)
        if (index_number(p, row) == m->number && posting_movable(e, row))
            return row;
    return NOWHERE;
}

static void move_rows(struct posting_edit *e, uint32_t from, struct leat_span moves)
{
    const struct index *x = leat_derived(e->t);
    const struct index_posting *p = posting_known(e);
    struct found found[1 << FOUND_BITS] = {{0, NULL}};

    if (!e->there)
        return;
    for (uint32_t i = 0; p != NULL && i < moves.size / sizeof(struct row_move); i++) {
        struct row_move m;

        memcpy(&m, (const uint8_t *)moves.base + i * sizeof(m), sizeof(m));
        m.row = movable_row(e, p, &m);
        if (m.row == NOWHERE || !send_moved(e, from, p, &m, find_centroid(x, found, m.to)))
            continue;
        e->mask[m.row / BLOCK].moving |= 1U << m.row % BLOCK;
        e->changed = true;
    }
    if (e->record.active)
        return;
    e->record.asked = 0;
    e->changed = true;
}

int upkeep_move(struct leat_task *t, const struct leat_batch *in)
{
    const struct ivf *v = leat_state(t);

    for (uint32_t i = 0; i < in->rows && leat_task_error(t) == 0; i++) {
        struct leat_span body = leat_at(in, i, 3).as.bytes;
        enum message kind = (enum message)leat_at(in, i, 1).as.u;
        struct posting_edit e;

        if (kind == LEARNED)
            target_keep(t, body);
        if (kind == LEARNED || kind == COMPACT || kind == COMPACTED)
            continue;
        posting_edit_begin(&e, t, v, (uint32_t)leat_at(in, i, 2).as.u);
        e.relayed = true;
        switch (kind) {
        case OPEN:
            open_posting(&e, i, body);
            break;
        case MOVE:
            move_rows(&e, i, body);
            break;
        case LOOK:
            e.record.asked = 0;
            e.looks = e.changed = e.recorded;
            break;
        default:
            break;
        }
        posting_edit_end(&e, i);
    }
    compact_all(t, in);
    return 0;
}
