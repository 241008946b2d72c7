/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/kmeans.h"

#include "modules/vector/distance.h"
#include "modules/vector/product.h"
#include "modules/vector/random.h"
#include "modules/vector/top.h"
#include "modules/vector/vector.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* TILE rows against SPAN centres at a time: their products stay in the second cache. */
enum { TILE = 64, SPAN = 256, PANEL = VECTOR_PANEL };

/* Of more centres, seeds are drawn evenly; of fewer, from this many rows a centre. */
enum { PLUS_PLUS_MOST = 256, PLUS_PLUS_ROWS = 32 };

/* A row that a centre with too many may give away. */
struct spare {
    float regret;   /* by how much farther the other centre is */
    uint32_t from, to, row;
    uint64_t print; /* the same for equal rows */
};

struct work {
    const struct vector_kmeans *o;
    const void *const *row;
    uint32_t rows, centres;
    uint64_t seed;
    struct vector_matrix m;   /* centres less the middle */
    float *bias;              /* of a centre: what is taken from its products; infinite: it takes no rows */
    /* the mean of all rows: products with centres less it are small, and so are their errors */
    float *middle;
    float *norm;              /* squared distance of each row to the middle */
    float *centre, *distance; /* squared distance of each row to its centre */
    uint32_t *size, *label, *before;
    float *product;
    double *sum, *weight;     /* of a centre: of its rows; how many of them the batches had */
    struct vector_best *best; /* a centre each */
    uint32_t *picked;         /* rows, in an order of our own */
    const void **other;       /* as many pointers */
    uint64_t *print;          /* a row each; as are these, with a bound only */
    struct spare *spare;
};

static uint32_t draw_below(uint64_t *seed, uint32_t bound)
{
    return (uint32_t)((vector_random(seed) >> 32) * bound >> 32);
}

static double draw_unit(uint64_t *seed)
{
    return (double)(vector_random(seed) >> 11) * 0x1p-53;
}

static float value(const void *row, size_t i)
{
    float f;

    memcpy(&f, (const uint8_t *)row + 4 * i, 4);
    return f;
}

static float *centre_at(const struct work *w, uint32_t c)
{
    return w->centre + (size_t)c * w->o->dims;
}

/* ---- The nearest centre ---- */

/* Of centres that are equally near the first. -1: none, when all are forbidden. */
static int64_t nearest_of(const struct vector_greatest *best, float *score)
{
    int64_t found = -1;

    *score = -INFINITY;
    for (int lane = 0; lane < PANEL; lane++) {
        float s = best->score[lane];
        int64_t at = (int64_t)best->panel[lane] * PANEL + lane;

        if (s > *score || (s == *score && s > -INFINITY && at < found)) {
            *score = s;
            found = at;
        }
    }
    return found;
}

static void nearest_begin(struct vector_greatest *best)
{
    *best = (struct vector_greatest){0};
    for (int lane = 0; lane < PANEL; lane++)
        best->score[lane] = -INFINITY;
}

/* The nearest centre of at most TILE rows and its score; *found: -1 where all biases are infinite. */
static void nearest_centres(const struct work *w, const void *const *row, uint32_t n, int64_t *found, float *score)
{
    struct vector_greatest best[TILE];

    for (uint32_t i = 0; i < n; i++)
        nearest_begin(&best[i]);
    for (uint32_t first = 0; first < w->m.width; first += SPAN) {
        uint32_t width = w->m.width - first < SPAN ? w->m.width - first : SPAN;
        struct vector_matrix span = {width, w->m.dims, width, w->m.panel + (size_t)first * w->m.dims};

        vector_kernels()->product(&span, row, n, w->product);
        for (uint32_t i = 0; i < n; i++)
            vector_kernels()->fold(&best[i], w->product + (size_t)i * width, w->bias + first, first / PANEL,
                                   width / PANEL);
    }
    for (uint32_t i = 0; i < n; i++)
        found[i] = nearest_of(&best[i], &score[i]);
}

/* |x - c|^2 = |x - middle|^2 - 2 score, where score = x (c - middle) - bias and bias
 * = (c - middle) (c + middle) / 2. */
static float distance_of(const struct work *w, uint32_t row, float score)
{
    float d = w->norm[row] - 2 * score;

    return d > 0 ? d : 0;
}

static void set_centres(struct work *w)
{
    uint32_t dims = w->o->dims;

    for (uint32_t c = 0; c < w->centres; c++) {
        const float *centre = centre_at(w, c);
        float *to = w->m.panel + (size_t)(c / PANEL) * PANEL * dims + c % PANEL;
        double bias = 0;

        for (uint32_t i = 0; i < dims; i++) {
            float d = centre[i] - w->middle[i];

            to[(size_t)i * PANEL] = d;
            bias += (double)d * ((double)centre[i] + (double)w->middle[i]);
        }
        w->bias[c] = (float)(bias / 2);
    }
    for (uint32_t c = w->centres; c < w->m.width; c++)
        w->bias[c] = INFINITY;
}

static void assign(struct work *w)
{
    memset(w->size, 0, w->centres * sizeof(*w->size));
    for (uint32_t first = 0; first < w->rows; first += TILE) {
        uint32_t n = w->rows - first < TILE ? w->rows - first : TILE;
        int64_t found[TILE];
        float score[TILE];

        nearest_centres(w, w->row + first, n, found, score);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t c = found[i] < 0 ? 0 : (uint32_t)found[i];

            w->label[first + i] = c;
            w->distance[first + i] = distance_of(w, first + i, score[i]);
            w->size[c]++;
        }
    }
}

/* ---- Balance ---- */

static int compare_spares(const void *left, const void *right)
{
    const struct spare *a = left, *b = right;

    if (a->from != b->from)
        return a->from < b->from ? -1 : 1;
    if (a->regret != b->regret)
        return a->regret < b->regret ? -1 : 1;
    if (a->print != b->print)
        return a->print < b->print ? -1 : 1;
    return a->row < b->row ? -1 : 1;
}

/* The rows of centres with too many, each with the nearest centre that has room. */
static uint32_t find_spares(struct work *w)
{
    uint32_t count = 0, kept = 0;

    for (uint32_t c = 0; c < w->centres; c++)
        if (w->size[c] >= w->o->most)
            w->bias[c] = INFINITY;
    for (uint32_t row = 0; row < w->rows; row++)
        if (w->size[w->label[row]] > w->o->most) {
            w->other[count] = w->row[row];
            w->picked[count++] = row;
        }
    for (uint32_t first = 0; first < count; first += TILE) {
        uint32_t n = count - first < TILE ? count - first : TILE;
        int64_t found[TILE];
        float score[TILE];

        nearest_centres(w, w->other + first, n, found, score);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t row = w->picked[first + i];

            if (found[i] >= 0)
                w->spare[kept++] = (struct spare){w->norm[row] - 2 * score[i] - w->distance[row], w->label[row],
                                                  (uint32_t)found[i], row, w->print[row]};
        }
    }
    qsort(w->spare, kept, sizeof(*w->spare), compare_spares);
    return kept;
}

/* Equal rows stand side by side: of them all or none. */
static uint32_t equal_spares(const struct spare *s, uint32_t left)
{
    uint32_t n = 1;

    while (n < left && s[n].from == s->from && s[n].to == s->to && s[n].print == s->print)
        n++;
    return n;
}

static bool give_away(struct work *w, const struct spare *s, uint32_t count)
{
    bool moved = false;

    for (uint32_t i = 0, n; i < count; i += n) {
        n = equal_spares(s + i, count - i);
        if (w->size[s[i].from] <= w->o->most || w->size[s[i].to] + n > w->o->most)
            continue;
        for (uint32_t j = i; j < i + n; j++) {
            w->label[s[j].row] = s[j].to;
            w->distance[s[j].row] += s[j].regret;
        }
        w->size[s[i].from] -= n;
        w->size[s[i].to] += n;
        moved = true;
    }
    return moved;
}

/* Rows that lose least by it leave centres that have too many; of two centres that is the best there is. Each round
 * fills a centre or is the last one. */
static void balance(struct work *w)
{
    uint32_t count;

    if (w->o->most == 0)
        return;
    do
        count = find_spares(w);
    while (count > 0 && give_away(w, w->spare, count));
    set_centres(w);
}

/* ---- Better centres ---- */

/* Centres without rows get those farthest from theirs, each one. Returns whether there was any. */
static bool refill(struct work *w)
{
    struct vector_top top;
    uint32_t empty = 0, used = 0;

    for (uint32_t c = 0; c < w->centres; c++)
        empty += w->size[c] == 0;
    if (empty == 0)
        return false;
    vector_top_begin(&top, w->best, empty);
    top.threshold = -0x1p-149F; /* the smallest that is farther than its centre */
    for (uint32_t row = 0; row < w->rows; row++)
        if (w->size[w->label[row]] > 1)
            vector_top_push(&top, -w->distance[row], row);
    vector_top_sort(&top);
    for (uint32_t c = 0; c < w->centres && used < top.count; c++) {
        uint32_t row = (uint32_t)top.item[used].number;

        if (w->size[c] > 0)
            continue;
        used++;
        if (w->size[w->label[row]] == 1)
            continue;
        w->size[w->label[row]]--;
        w->size[c] = 1;
        w->label[row] = c;
        w->distance[row] = 0;
    }
    return used > 0;
}

typedef float four __attribute__((vector_size(16)));
typedef double four_wide __attribute__((vector_size(32)));

static void add_row(struct work *w, uint32_t c, const void *row)
{
    double *sum = w->sum + (size_t)c * w->o->dims;
    uint32_t i = 0;

    for (; i + 4 <= w->o->dims; i += 4) {
        four x;
        four_wide total;

        memcpy(&x, (const uint8_t *)row + 4 * (size_t)i, sizeof(x));
        memcpy(&total, sum + i, sizeof(total));
        total += __builtin_convertvector(x, four_wide);
        memcpy(sum + i, &total, sizeof(total));
    }
    for (; i < w->o->dims; i++)
        sum[i] += (double)value(row, i);
}

static void normalise(struct work *w, float *centre)
{
    double square = 0;

    for (uint32_t i = 0; i < w->o->dims; i++)
        square += (double)centre[i] * (double)centre[i];
    for (uint32_t i = 0; i < w->o->dims && square > 0; i++)
        centre[i] = (float)((double)centre[i] / sqrt(square));
}

/* A centre's sum by its weight, unless it has none. */
static void move_centres(struct work *w, const double *weight)
{
    uint32_t dims = w->o->dims;

    for (uint32_t c = 0; c < w->centres; c++) {
        double length = weight != NULL ? weight[c] : w->size[c], square = 0;
        const double *sum = w->sum + (size_t)c * dims;

        for (uint32_t i = 0; i < dims; i++)
            square += sum[i] * sum[i];
        if (length <= 0 || (w->o->spherical && square <= 0))
            continue;
        for (uint32_t i = 0; i < dims; i++)
            centre_at(w, c)[i] = (float)(sum[i] / length);
        if (w->o->spherical)
            normalise(w, centre_at(w, c));
    }
}

static bool round_of_all(struct work *w)
{
    memcpy(w->before, w->label, w->rows * sizeof(*w->label));
    set_centres(w);
    assign(w);
    balance(w);
    if (!refill(w) && memcmp(w->before, w->label, w->rows * sizeof(*w->label)) == 0)
        return false;
    memset(w->sum, 0, (size_t)w->centres * w->o->dims * sizeof(*w->sum));
    for (uint32_t row = 0; row < w->rows; row++)
        add_row(w, w->label[row], w->row[row]);
    move_centres(w, NULL);
    return true;
}

/* Sums and weights grow over all batches, so that a centre is the mean of all rows that were nearest to it. */
static void round_of_batch(struct work *w)
{
    set_centres(w);
    for (uint32_t first = 0; first < w->o->batch; first += TILE) {
        uint32_t n = w->o->batch - first < TILE ? w->o->batch - first : TILE;
        const void *row[TILE];
        int64_t found[TILE];
        float score[TILE];

        for (uint32_t i = 0; i < n; i++)
            row[i] = w->row[draw_below(&w->seed, w->rows)];
        nearest_centres(w, row, n, found, score);
        for (uint32_t i = 0; i < n; i++)
            if (found[i] >= 0) {
                add_row(w, (uint32_t)found[i], row[i]);
                w->weight[found[i]]++;
            }
    }
    move_centres(w, w->weight);
}

/* In the end rows are where they are nearest, or as near as the bound lets them. */
static void improve(struct work *w, uint32_t rounds)
{
    bool moved = true;

    memset(w->label, 0xff, w->rows * sizeof(*w->label));
    if (w->o->batch > 0 && w->o->batch < w->rows) {
        memset(w->sum, 0, (size_t)w->centres * w->o->dims * sizeof(*w->sum));
        memset(w->weight, 0, w->centres * sizeof(*w->weight));
        for (uint32_t round = 0; round < rounds; round++)
            round_of_batch(w);
        rounds = 1; /* all rows once: no centre stays without them */
    }
    for (uint32_t round = 0; round < rounds && moved; round++)
        moved = round_of_all(w);
    if (moved) {
        set_centres(w);
        assign(w);
        balance(w);
    }
}

/* ---- Seeds ---- */

/* n different rows, ascending in no order, to w->picked. */
static void pick_rows(struct work *w, uint32_t n)
{
    for (uint32_t i = 0; i < w->rows; i++)
        w->picked[i] = i;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = i + draw_below(&w->seed, w->rows - i), row = w->picked[at];

        w->picked[at] = w->picked[i];
        w->picked[i] = row;
    }
}

static void set_seed(struct work *w, uint32_t c, uint32_t row)
{
    memcpy(centre_at(w, c), w->row[row], w->o->dims * sizeof(float));
    if (w->o->spherical)
        normalise(w, centre_at(w, c));
}

/* One of the picked by chance in proportion to its squared distance; any when these are too large to be added. */
static uint32_t pick_far(struct work *w, uint32_t n, double total)
{
    double at = draw_unit(&w->seed) * total;

    if (!isfinite(total))
        return draw_below(&w->seed, n);
    for (uint32_t i = 0; i < n; i++) {
        at -= (double)w->distance[i];
        if (at < 0 && w->distance[i] > 0)
            return i;
    }
    for (uint32_t i = n; i-- > 1;) /* rounding */
        if (w->distance[i] > 0)
            return i;
    return 0;
}

/* Seeds that are missing, as rows are equal, become copies of the first: they get no rows. */
static void seed_far(struct work *w)
{
    uint32_t n = w->rows / PLUS_PLUS_ROWS < w->centres ? w->rows : w->centres * PLUS_PLUS_ROWS;
    const struct vector_distance *l2 = vector_distance(VECTOR_L2, LEAT_F32_VECTOR);
    float *fresh = w->norm; /* made later */
    uint32_t next = 0;

    pick_rows(w, n);
    for (uint32_t i = 0; i < n; i++) {
        w->other[i] = w->row[w->picked[i]];
        w->distance[i] = INFINITY;
    }
    for (uint32_t c = 0; c < w->centres; c++) {
        double total = 0;

        set_seed(w, c, w->picked[next]);
        l2->pointers(w->other[next], w->other, n, w->o->dims, fresh);
        for (uint32_t i = 0; i < n; i++) {
            w->distance[i] = fresh[i] < w->distance[i] ? fresh[i] : w->distance[i];
            total += (double)w->distance[i];
        }
        next = total > 0 ? pick_far(w, n, total) : 0;
    }
}

static void seed_evenly(struct work *w)
{
    pick_rows(w, w->centres);
    for (uint32_t c = 0; c < w->centres; c++)
        set_seed(w, c, w->picked[c]);
}

/* ---- Beginning and end ---- */

static void *take(uintptr_t *at, size_t size)
{
    uintptr_t begin = *at;

    *at += (size + 63) / 64 * 64;
    return (void *)begin;
}

/* Everything from `at` on; returns the end. At 0 that is the size. */
static uintptr_t lay_out(struct work *w, uintptr_t at)
{
    size_t rows = w->rows, centres = w->centres, dims = w->o->dims, bounded = w->o->most > 0 ? rows : 0;

    w->m.panel = take(&at, w->m.width * dims * sizeof(float));
    w->bias = take(&at, w->m.width * sizeof(float));
    w->middle = take(&at, dims * sizeof(float));
    w->norm = take(&at, rows * sizeof(float));
    w->distance = take(&at, rows * sizeof(float));
    w->before = take(&at, rows * sizeof(uint32_t));
    w->product = take(&at, (size_t)TILE * SPAN * sizeof(float));
    w->sum = take(&at, (centres * dims + dims) * sizeof(double));
    w->weight = take(&at, centres * sizeof(double));
    w->best = take(&at, centres * sizeof(*w->best));
    w->picked = take(&at, rows * sizeof(uint32_t));
    w->other = take(&at, rows * sizeof(void *));
    w->print = take(&at, bounded * sizeof(uint64_t));
    w->spare = take(&at, bounded * sizeof(*w->spare));
    return at;
}

static uint64_t print_of(const void *row, uint32_t dims)
{
    uint64_t print = 0;

    for (uint32_t i = 0; i < dims; i++) {
        uint32_t bits;

        memcpy(&bits, (const uint8_t *)row + 4 * (size_t)i, 4);
        print = (print ^ bits) * UINT64_C(0x9e3779b97f4a7c15);
        print ^= print >> 29;
    }
    return print;
}

/* The mean of all rows, and how far each is from it. */
static void find_middle(struct work *w)
{
    uint32_t dims = w->o->dims;

    memset(w->sum, 0, dims * sizeof(*w->sum));
    for (uint32_t row = 0; row < w->rows; row++)
        add_row(w, 0, w->row[row]);
    for (uint32_t i = 0; i < dims; i++)
        w->middle[i] = (float)(w->sum[i] / w->rows);
    vector_distance(VECTOR_L2, LEAT_F32_VECTOR)->pointers(w->middle, w->row, w->rows, dims, w->norm);
}

static int work_begin(struct work *w, const struct vector_kmeans *o, const void *const *row, uint32_t rows,
                      struct vector_clusters *out, struct leat_error *err)
{
    uint32_t centres = o->centres < rows ? o->centres : rows;

    if (rows == 0 || o->centres == 0 || o->dims == 0)
        return leat_fail(err, LEAT_EINVAL, "k-means: %u rows of %u dimensions, %u centres", rows, o->dims, o->centres);
    if (o->most > 0 && (uint64_t)o->most * o->centres < rows)
        return leat_fail(err, LEAT_EINVAL, "k-means: %u centres of at most %u rows cannot have %u", o->centres, o->most,
                         rows);
    *w = (struct work){.o = o, .row = row, .rows = rows, .centres = centres, .seed = o->seed, .centre = out->centre,
                       .size = out->size, .label = out->label};
    w->m = (struct vector_matrix){.rows = centres, .dims = o->dims, .width = (centres + PANEL - 1) / PANEL * PANEL};
    size_t size = lay_out(w, 0);
    void *base = aligned_alloc(64, size);
    if (base == NULL)
        return leat_fail(err, LEAT_ENOMEM, "k-means: %zu bytes", size);
    lay_out(w, (uintptr_t)base);
    memset(w->m.panel, 0, (size_t)w->m.width * o->dims * sizeof(float));
    for (uint32_t i = 0; i < rows && o->most > 0; i++)
        w->print[i] = print_of(row[i], o->dims);
    return 0;
}

/* Centres without rows are left out. */
static void work_end(struct work *w, struct vector_clusters *out)
{
    const struct vector_distance *l2 = vector_distance(VECTOR_L2, LEAT_F32_VECTOR);
    uint32_t *place = w->picked, count = 0;

    for (uint32_t c = 0; c < w->centres; c++) {
        if (w->size[c] == 0)
            continue;
        memmove(centre_at(w, count), centre_at(w, c), w->o->dims * sizeof(float));
        w->size[count] = w->size[c];
        place[c] = count++;
    }
    out->count = count;
    out->cost = 0;
    for (uint32_t row = 0; row < w->rows; row++) {
        w->label[row] = place[w->label[row]];
        out->cost += (double)l2->one(w->row[row], centre_at(w, w->label[row]), w->o->dims);
    }
    free(w->m.panel);
}

int vector_kmeans(const struct vector_kmeans *o, const void *const *row, uint32_t rows, struct vector_clusters *out,
                  struct leat_error *err)
{
    struct work w;
    int rv = work_begin(&w, o, row, rows, out, err);

    if (rv != 0)
        return rv;
    if (w.centres <= PLUS_PLUS_MOST)
        seed_far(&w);
    else
        seed_evenly(&w);
    find_middle(&w);
    improve(&w, o->rounds > 0 ? o->rounds : 1);
    work_end(&w, out);
    return 0;
}

/* ---- Thousands of centres ---- */

struct tree {
    float *centre;
    uint32_t *size, *share, *label, *place; /* place: of each row in the order of first centres */
    const void **row;                       /* in that order */
    uint32_t count;
};

static uintptr_t tree_lay_out(struct tree *t, uint32_t dims, uint32_t first, uint32_t rows, uintptr_t at)
{
    t->centre = take(&at, (size_t)first * dims * sizeof(float));
    t->size = take(&at, first * sizeof(uint32_t));
    t->share = take(&at, first * sizeof(uint32_t));
    t->label = take(&at, rows * sizeof(uint32_t));
    t->place = take(&at, rows * sizeof(uint32_t));
    t->row = take(&at, rows * sizeof(void *));
    return at;
}

/* Rows in the order of their first centres, and centres for each of those in proportion: the largest remainders round
 * up, but none has fewer than one or more than it has rows. */
static void divide(struct tree *t, uint32_t centres, const void *const *row, uint32_t rows)
{
    uint64_t given = 0, seen = 0;
    uint32_t begin = 0;

    for (uint32_t c = 0; c < t->count; c++) {
        seen += t->size[c];
        uint64_t until = (seen * centres + rows / 2) / rows, left = t->count - 1 - c;
        uint64_t share = until > given + 1 ? until - given : 1;

        share = share > t->size[c] ? t->size[c] : share;
        share = given + share + left > centres ? centres - given - left : share;
        t->share[c] = (uint32_t)share;
        given += share;
        begin += t->size[c];
        t->size[c] = begin - t->size[c]; /* where it begins */
    }
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t place = t->size[t->label[i]]++;

        t->place[i] = place;
        t->row[place] = row[i];
    }
}

/* Each first centre's rows by themselves. t->size: where they end. */
static int split(const struct tree *t, const struct vector_kmeans *o, uint32_t rows, struct vector_clusters *out,
                 struct leat_error *err)
{
    struct vector_kmeans child = *o;
    int rv = 0;

    child.most = 0;
    out->count = 0;
    out->cost = 0;
    for (uint32_t c = 0; c < t->count && rv == 0; c++) {
        uint32_t begin = c > 0 ? t->size[c - 1] : 0, n = t->size[c] - begin;
        struct vector_clusters part = {.centre = out->centre + (size_t)out->count * o->dims,
                                       .size = out->size + out->count, .label = t->label + begin};

        child.centres = t->share[c];
        child.seed = o->seed + c + 1;
        rv = vector_kmeans(&child, t->row + begin, n, &part, err);
        for (uint32_t i = 0; i < n && rv == 0; i++)
            part.label[i] += out->count;
        out->count += rv == 0 ? part.count : 0;
        out->cost += rv == 0 ? part.cost : 0;
    }
    for (uint32_t i = 0; i < rows; i++)
        out->label[i] = t->label[t->place[i]];
    return rv;
}

/* All rows against all centres. What the parts did not find becomes a copy, which gets the farthest rows. */
static int refine_all(const struct vector_kmeans *o, uint32_t rounds, const void *const *row, uint32_t rows,
                      struct vector_clusters *out, struct leat_error *err)
{
    struct vector_kmeans all = *o;
    struct work w;
    int rv;

    all.batch = 0;
    rv = work_begin(&w, &all, row, rows, out, err);
    if (rv != 0)
        return rv;
    for (uint32_t c = out->count; c < w.centres; c++)
        memcpy(centre_at(&w, c), w.centre, o->dims * sizeof(float));
    find_middle(&w);
    improve(&w, rounds);
    work_end(&w, out);
    return 0;
}

int vector_kmeans_tree(const struct vector_kmeans *o, uint32_t refine, const void *const *row, uint32_t rows,
                       struct vector_clusters *out, struct leat_error *err)
{
    struct vector_kmeans first = *o;
    struct tree t = {0};
    int rv;

    if (rows == 0 || o->centres < 4 || o->centres >= rows)
        return vector_kmeans(o, row, rows, out, err);
    first.centres = (uint32_t)lround(sqrt(o->centres));
    first.most = 0;
    size_t size = tree_lay_out(&t, o->dims, first.centres, rows, 0);
    void *base = aligned_alloc(64, size);
    if (base == NULL)
        return leat_fail(err, LEAT_ENOMEM, "k-means: %zu bytes", size);
    tree_lay_out(&t, o->dims, first.centres, rows, (uintptr_t)base);
    struct vector_clusters top = {.centre = t.centre, .size = t.size, .label = t.label};
    rv = vector_kmeans(&first, row, rows, &top, err);
    if (rv != 0)
        goto done;
    t.count = top.count;
    divide(&t, o->centres, row, rows);
    rv = split(&t, o, rows, out, err);
    if (rv == 0 && (refine > 0 || o->most > 0))
        rv = refine_all(o, refine, row, rows, out, err);
done:
    free(base);
    return rv;
}
