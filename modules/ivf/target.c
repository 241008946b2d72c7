/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/target.h"

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "modules/ivf/posting.h"
#include "modules/vector/distance.h"
#include "modules/vector/top.h"

enum {
    LEAST_CENTROIDS = 32, /* below that all are searched */
    SAMPLES = 256,        /* queries: the share is known to about a hundredth */
    NEIGHBOURS = 10,      /* of each, in all groups: in this one its share of them */
    TOGETHER = 128,       /* rows measured at a time */
    LOOKED = 2048,        /* postings that a neighbour is looked for in */
    SEARCH_SIZE = 160 << 20, /* bytes for searches of samples' and their neighbours' postings */
    LEAST_ROWS = (NEIGHBOURS + 1) * TARGET_SPARSE
};

/* How far to go is not known surely, as it was learnt of some of the rows that were there then: a search is to miss
 * three quarters of what it may. What a few queries need is not known well. */
#define MISSED 0.75F
#define RECALL_MOST 0.9995F

static const float share[TARGET_POINTS] = {0.5F,  0.7F,  0.8F,  0.85F, 0.9F,   0.92F, 0.94F,  0.95F,
                                           0.96F, 0.97F, 0.98F, 0.985F, 0.99F, 0.995F, 0.998F, 1.0F};

/* ---- In turns ---- */

/* From the background. */
struct learnt {
    uint64_t rows, came; /* of which it was learnt; vectors that had come to the group */
    enum message asked;
    uint32_t known; /* 0: there were too few */
    struct target target;
};

/* When it is asked for: when one part of so many of the rows has come or gone, or twice as many vectors have come. So
 * what is learnt while postings are split and rows on their way is learnt once more at rest. */
static const struct question {
    enum message kind;
    uint32_t asked; /* counter */
    uint64_t parts;
    bool (*overdue)(const struct leat_task *t, int64_t asked);
} question[] = {{LEARN, LEARN_ASKED, 2, overdue}, {LEARN_LATER, LEARN_REST, 10, overdue_at_rest}};

enum { QUESTIONS = sizeof(question) / sizeof(*question) };

/* Vectors that came to the group so far, about: ids are spread evenly over tasks. */
static uint64_t vectors_came(struct leat_task *t)
{
    return counter_get(t, NEXT_VERSION) * (leat_task_count(t) / leat_group_count(t));
}

/* Of an older version, that kept less. */
static bool is_old(const struct leat_value *target)
{
    return target->type != LEAT_NULL && target->as.bytes.size != sizeof(struct target);
}

static bool changed(struct leat_task *t, uint64_t rows, uint64_t parts)
{
    struct leat_value field[2] = {leat_u64(0), leat_null()};

    leat_get(t, LEARNT, LEAT_KEYS(leat_u32(0)), field, 2);
    uint64_t before = field[0].as.u, moved = rows > before ? rows - before : before - rows;
    uint64_t came = vectors_came(t) - counter_get(t, LEARN_CAME);

    return is_old(&field[1]) || moved * parts >= before || came * parts >= rows * 2;
}

void target_ask(struct leat_task *t, uint32_t from)
{
    uint64_t rows = index_rows(leat_derived(t));

    if (rows < LEAST_ROWS || index_active(leat_derived(t)) < LEAST_CENTROIDS)
        return;
    for (int i = 0; i < QUESTIONS; i++) {
        int64_t asked = (int64_t)counter_get(t, question[i].asked);

        if (asked != 0 ? !question[i].overdue(t, asked) : !changed(t, rows, question[i].parts))
            continue;
        counter_set(t, question[i].asked, (uint64_t)leat_now(t));
        message(t, from, leat_task_number(t), question[i].kind, 0, (struct leat_span){"", 0});
    }
}

void target_keep(struct leat_task *t, struct leat_span body)
{
    struct leat_value field[2] = {leat_u64(0), leat_null()};
    struct learnt learnt;

    memcpy(&learnt, body.base, sizeof(learnt));
    leat_get(t, LEARNT, LEAT_KEYS(leat_u32(0)), field, 2);
    if (learnt.known != 0)
        field[1] = leat_bytes(&learnt.target, sizeof(learnt.target));
    else if (is_old(&field[1]))
        field[1] = leat_null(); /* else it would be asked for again at once */
    leat_put(t, LEARNT, LEAT_KEYS(leat_u32(0)), LEAT_ROW(leat_u64(learnt.rows), field[1]));
    counter_set(t, LEARN_CAME, learnt.came);
    for (int i = 0; i < QUESTIONS; i++)
        if (question[i].kind == learnt.asked)
            counter_set(t, question[i].asked, 0);
}

/* ---- What is known ---- */

bool target_get(struct leat_task *t, struct target *out)
{
    struct leat_value field[2];

    if (leat_get(t, LEARNT, LEAT_KEYS(leat_u32(0)), field, 2) != 0 || field[1].type == LEAT_NULL ||
        field[1].as.bytes.size > sizeof(*out) || field[1].as.bytes.size < offsetof(struct target, probes))
        return false;
    /* An older version kept no probes: so many are taken to find as good as all. Or not how it is where few pass. */
    memset(out, 0, sizeof(*out));
    memcpy(out, field[1].as.bytes.base, field[1].as.bytes.size);
    if (field[1].as.bytes.size < sizeof(*out))
        memcpy(out->scarce, out->sparse, sizeof(out->scarce));
    return true;
}

static float between(float at, float low, float high, float from, float to)
{
    return high > low ? from + (to - from) * (at - low) / (high - low) : to;
}

static float reach_at(const float *reach, float recall)
{
    uint32_t i = 0;

    if (recall >= 1)
        return INFINITY;
    while (share[i] < recall)
        i++;
    return i == 0 ? reach[0] : between(recall, share[i - 1], share[i], reach[i - 1], reach[i]);
}

struct target_reach target_reach(const struct target *target, float recall)
{
    float wanted = 1 - (1 - recall) * MISSED;

    return (struct target_reach){reach_at(target->reach, wanted), reach_at(target->sparse, wanted),
                                 reach_at(target->scarce, wanted)};
}

/* Lines between what was measured, over the logarithm of the part that passes. Where fewer pass, down to an eighth, the
 * last line goes on, but only upwards. */
float target_reach_of(const struct target_reach *r, float passed)
{
    static const float sparse = 6, scarce = 9, least = 12; /* the logarithms of TARGET_SPARSE, TARGET_SCARCE */
    float few = -log2f(passed), part = few / sparse;

    if (few <= sparse)
        return r->all * (1 - part) + r->sparse * part;
    part = (fminf(few, least) - sparse) / (scarce - sparse);
    if (few <= scarce || r->scarce < r->sparse)
        return r->sparse * (1 - fminf(part, 1)) + r->scarce * fminf(part, 1);
    return r->scarce + (r->scarce - r->sparse) * (part - 1);
}

float target_recall(const struct target *target, uint32_t probes)
{
    const float *at = target->probes, number = (float)probes;
    uint32_t i = 0;

    while (i < TARGET_POINTS - 1 && at[i] < number)
        i++;
    return i == 0 ? share[0] : fminf(between(number, at[i - 1], at[i], share[i - 1], share[i]), RECALL_MOST);
}

/* ---- In the background ---- */

/* Some rows, drawn by chance as if they passed a filter, and all. Not each n-th, or as many would lie about each point
 * where rows lie around points. */
enum set { SPARSE, SCARCE, FEW, ALL = FEW, SETS };

static const uint32_t one_of[FEW] = {TARGET_SPARSE, TARGET_SCARCE};

struct few {
    uint64_t wanted;                /* so many more are to be drawn */
    uint32_t row[TOGETHER], rows;   /* of those gathered */
};

struct sample {
    const uint8_t *vector;
    float norm;
    struct vector_top top[SETS]; /* numbers: posting << 32 | row */
};

/* What it takes to come by each of the neighbours of samples. */
struct findings {
    float *reach, *probes;
    uint32_t count;
};

struct learning {
    struct leat_task *t;
    const struct ivf *v;
    const struct index *x;
    struct sample *sample;
    uint32_t samples;
    const void **query;                  /* their vectors */
    const void *row[TOGETHER];           /* some rows of one posting */
    float norm[TOGETHER];
    uint32_t number[TOGETHER], rows;
    struct few few[FEW];
    uint64_t left;                       /* rows that are not gathered yet */
    float *distance;
    struct findings findings[SETS];
    void *room;                          /* for searches among the centroids */
};

typedef void each_row(struct learning *l, const struct index_posting *p, uint32_t row, const uint8_t *vector,
                      float norm);

static void walk_posting(struct learning *l, const struct index_posting *p, each_row *each)
{
    const struct layout *y = &l->v->layout;

    for (uint32_t block = 0; block * BLOCK < p->rows; block++)
        for (uint32_t mask = p->live_mask[block] & ~p->moving_mask[block]; mask != 0; mask &= mask - 1) {
            uint32_t row = block * BLOCK + (uint32_t)__builtin_ctz(mask), first;
            const struct piece_layout *layout;
            const uint8_t *piece = index_piece(y, p, row, &layout, &first);
            float norm = y->metric == METRIC_COSINE ? layout_norm(layout, piece, row - first) : 1;

            each(l, p, row, layout_vector(y, layout, piece, row - first), norm);
        }
}

/* Rows that lie the same number of rows apart. */
struct choice {
    struct learning learning; /* first: what walks knows it */
    uint64_t next, step;
    uint32_t most;
};

static void choose(struct learning *l, const struct index_posting *p, uint32_t row, const uint8_t *vector, float norm)
{
    struct choice *c = (struct choice *)l;

    (void)p;
    (void)row;
    if (c->next-- > 0 || l->samples == c->most)
        return;
    c->next = c->step - 1;
    struct sample *s = &l->sample[l->samples];
    l->query[l->samples++] = vector;
    *s = (struct sample){.vector = vector, .norm = norm};
    for (int set = 0; set < SETS; set++)
        vector_top_begin(&s->top[set], leat_alloc(l->t, NEIGHBOURS * sizeof(struct vector_best)), NEIGHBOURS);
}

/* Kernels' distances as squared ones of the rotated space, or negated products. */
static void as_known(const struct learning *l, const struct sample *s, float *distance)
{
    const enum metric metric = l->v->layout.metric;

    for (uint32_t r = 0; metric == METRIC_COSINE && r < l->rows; r++)
        distance[r] = 2 - 2 * distance[r] / (s->norm * l->norm[r]);
    for (uint32_t r = 0; metric == METRIC_DOT && r < l->rows; r++)
        distance[r] = -distance[r];
}

/* The sample itself is none of its neighbours. */
static void offer(const struct learning *l, const struct sample *s, struct vector_top *top, const float *distance,
                  uint32_t r, uint64_t posting)
{
    if (l->row[r] != s->vector)
        vector_top_push(top, distance[r], posting << 32 | l->number[r]);
}

static void offer_all(const struct learning *l, struct sample *s, const float *distance, uint64_t posting)
{
    for (uint32_t r = 0; r < l->rows; r++)
        if (distance[r] <= s->top[ALL].threshold) /* hardly any */
            offer(l, s, &s->top[ALL], distance, r, posting);
    for (int set = 0; set < FEW; set++)
        for (uint32_t i = 0; i < l->few[set].rows; i++)
            offer(l, s, &s->top[set], distance, l->few[set].row[i], posting);
}

/* All samples with the rows gathered so far. */
static void measure(struct learning *l, uint64_t posting)
{
    const struct layout *y = &l->v->layout;

    if (l->rows == 0)
        return;
    layout_kernel(y)->block(l->query, l->samples, l->row, l->rows, y->dims, l->distance, TOGETHER);
    for (uint32_t i = 0; i < l->samples; i++) {
        float *distance = l->distance + (size_t)i * TOGETHER;

        as_known(l, &l->sample[i], distance);
        offer_all(l, &l->sample[i], distance, posting);
    }
    l->rows = 0;
    for (int set = 0; set < FEW; set++)
        l->few[set].rows = 0;
}

static void gather(struct learning *l, const struct index_posting *p, uint32_t row, const uint8_t *vector, float norm)
{
    uint64_t chance = leat_random(l->t);

    l->row[l->rows] = vector;
    l->norm[l->rows] = norm;
    l->number[l->rows] = row;
    for (int set = 0; set < FEW; set++)
        if (chance % l->left < l->few[set].wanted) {
            l->few[set].row[l->few[set].rows++] = l->rows;
            l->few[set].wanted--;
        }
    l->left -= l->left > 1;
    l->rows++;
    if (l->rows == TOGETHER)
        measure(l, p->number);
}

/* The reach, and how many postings, that it takes to come by a neighbour in a posting. */
static void add(struct learning *l, struct findings *f, const struct vector_near *near, uint32_t count,
                uint32_t posting, float scale)
{
    uint32_t groups = leat_group_count(l->t), at = 0;
    float first = INFINITY, needed = FLT_MAX;

    for (; at < count && near[at].number != posting; at++)
        if (((near[at].number ^ posting) & (groups - 1)) == 0 && first > near[at].distance)
            first = near[at].distance;
    if (at < count)
        needed = first < near[at].distance ? (near[at].distance - first) / scale : 0;
    f->probes[f->count] = (float)at + 1;
    f->reach[f->count++] = needed < FLT_MAX ? needed : FLT_MAX;
}

/* Where the nearest rows belong: while the index grows, many wait to be moved there. */
static void places(struct learning *l, const struct vector_top *top, uint32_t count, struct encoded *out)
{
    const struct layout *y = &l->v->layout;
    const void *vector[NEIGHBOURS];
    float norm[NEIGHBOURS];

    for (uint32_t i = 0; i < count; i++) {
        uint64_t number = top->item[i].number;
        const struct piece_layout *layout;
        uint32_t first, row = (uint32_t)number;
        const uint8_t *piece = index_piece(y, index_posting(l->x, (uint32_t)(number >> 32)), row, &layout, &first);

        vector[i] = layout_vector(y, layout, piece, row - first);
        norm[i] = y->metric == METRIC_COSINE ? layout_norm(layout, piece, row - first) : 1;
    }
    encode_nearest(l->t, l->v, l->x, vector, norm, count, out, l->room);
}

static void add_all(struct learning *l, struct findings *f, struct vector_top *top, float length,
                    const struct vector_near *near, uint32_t count)
{
    uint32_t groups = leat_group_count(l->t), own = (NEIGHBOURS + groups - 1) / groups;
    struct encoded place[NEIGHBOURS];

    if (top->count < NEIGHBOURS)
        return;
    vector_top_sort(top);
    places(l, top, own, place);
    float scale = l->v->layout.metric == METRIC_DOT ? length : top->item[own - 1].distance;
    for (uint32_t i = 0; i < own; i++)
        add(l, f, near, count, place[i].posting, scale > FLT_MIN ? scale : FLT_MIN);
}

static void learn_from(struct learning *l, struct sample *s, struct vector_near *near)
{
    float *rotated = leat_alloc(l->t, l->v->rotation.padded * sizeof(*rotated)), square = 0;

    encode_rotated(l->v, s->vector, s->norm, rotated);
    vector_squares(l->v->layout.type, s->vector, 0, 1, l->v->layout.dims, &square);
    uint32_t count = index_probe(l->x, rotated, NULL, LOOKED, near, l->room);
    for (int set = 0; set < SETS; set++)
        add_all(l, &l->findings[set], &s->top[set], sqrtf(square), near, count);
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static void quantiles(float *found, uint32_t count, float *out)
{
    qsort(found, count, sizeof(*found), by_size);
    for (uint32_t i = 0; i < TARGET_POINTS; i++)
        out[i] = found[(uint32_t)(share[i] * (float)(count - 1) + 0.5F)];
}

static struct findings findings_for(struct leat_task *t, uint32_t samples)
{
    size_t size = (size_t)samples * NEIGHBOURS * sizeof(float);

    return (struct findings){leat_alloc(t, size), leat_alloc(t, size), 0};
}

/* Fewer than SAMPLES where vectors are very long: what each of them takes stays until the run ends. */
static uint32_t samples_for(const struct learning *l, uint64_t live)
{
    uint64_t floats = (SETS * NEIGHBOURS + 4) * sizeof(float) * l->v->rotation.padded;
    uint64_t most = SEARCH_SIZE / (floats + LOOKED * sizeof(struct vector_near));

    most = most < SAMPLES ? most : SAMPLES;
    return (uint32_t)(live < most ? live : most);
}

/* Sampled rows, and room for all about them. false: there are too few rows. */
static bool sample(struct choice *c)
{
    struct learning *l = &c->learning;
    uint64_t live = index_rows(l->x);

    if (live < LEAST_ROWS)
        return false;
    size_t probe = index_probe_room(l->x, LOOKED), encode = encode_room(l->x);
    l->room = leat_alloc(l->t, probe > encode ? probe : encode);
    c->most = samples_for(l, live);
    c->step = live / c->most;
    c->next = leat_random(l->t) % c->step;
    l->sample = leat_alloc(l->t, c->most * sizeof(*l->sample));
    l->query = leat_alloc(l->t, c->most * sizeof(*l->query));
    l->distance = leat_alloc(l->t, (size_t)c->most * TOGETHER * sizeof(*l->distance));
    for (int set = 0; set < SETS; set++)
        l->findings[set] = findings_for(l->t, c->most);
    for (int set = 0; set < FEW; set++)
        l->few[set].wanted = live / one_of[set];
    l->left = live;
    for (uint32_t i = 0; i < index_count(l->x); i++)
        if (index_at(l->x, i) != NULL)
            walk_posting(l, index_at(l->x, i), choose);
    return true;
}

/* false: there are too few rows. */
static bool learn(struct choice *c, struct target *out)
{
    struct learning *l = &c->learning;
    struct vector_near *near = leat_alloc(l->t, LOOKED * sizeof(*near));

    if (!sample(c))
        return false;
    for (uint32_t i = 0; i < index_count(l->x); i++) {
        if (index_at(l->x, i) == NULL)
            continue;
        walk_posting(l, index_at(l->x, i), gather);
        measure(l, index_at(l->x, i)->number);
    }
    for (uint32_t i = 0; i < l->samples && leat_task_error(l->t) == 0; i++)
        learn_from(l, &l->sample[i], near);
    if (l->findings[SPARSE].count == 0)
        return false;
    quantiles(l->findings[ALL].reach, l->findings[ALL].count, out->reach);
    quantiles(l->findings[SPARSE].reach, l->findings[SPARSE].count, out->sparse);
    quantiles(l->findings[ALL].probes, l->findings[ALL].count, out->probes);
    if (l->findings[SCARCE].count > 0)
        quantiles(l->findings[SCARCE].reach, l->findings[SCARCE].count, out->scarce);
    else /* about as it goes on */
        for (uint32_t i = 0; i < TARGET_POINTS; i++)
            out->scarce[i] = fminf(out->sparse[i] + fmaxf(out->sparse[i] - out->reach[i], 0) / 2, FLT_MAX);
    return true;
}

void target_learn(struct leat_task *t, uint32_t from, enum message asked)
{
    struct choice c = {.learning = {.t = t, .v = leat_state(t), .x = leat_derived(t)}};
    struct learnt learnt = {.rows = index_rows(c.learning.x), .came = vectors_came(t), .asked = asked};

    learnt.known = learn(&c, &learnt.target);
    message(t, from, leat_task_number(t), LEARNED, 0, (struct leat_span){&learnt, sizeof(learnt)});
}
