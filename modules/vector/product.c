/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/vector/product.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Sums of a tile, some vectors by one panel, stay in registers; a panel's part of DEPTH dimensions (16 KiB) stays in
 * the first cache while all vectors pass it. (Goto and van de Geijn, "Anatomy of High-Performance Matrix
 * Multiplication", TOMS 34 (3), 2008, section 4.) */
enum { PANEL = VECTOR_PANEL, DEPTH = 128 };

/* ---- The matrix ---- */

int vector_matrix_new(struct vector_matrix *m, uint32_t rows, uint32_t dims)
{
    uint32_t width = (rows + PANEL - 1) / PANEL * PANEL;
    size_t size = (size_t)width * dims * sizeof(float);

    *m = (struct vector_matrix){.rows = rows, .dims = dims, .width = width};
    m->panel = aligned_alloc(64, size > 0 ? size : 64);
    if (m->panel == NULL)
        return -1;
    memset(m->panel, 0, size);
    return 0;
}

void vector_matrix_set(struct vector_matrix *m, uint32_t row, const float *values)
{
    float *to = m->panel + (size_t)(row / PANEL) * PANEL * m->dims + row % PANEL;

    for (uint32_t i = 0; i < m->dims; i++)
        to[(size_t)i * PANEL] = values[i];
}

void vector_matrix_free(struct vector_matrix *m)
{
    free(m->panel);
    *m = (struct vector_matrix){0};
}

/* ---- A tile ---- */

struct tile {
    const void *const *vector;
    uint32_t vectors;
    size_t first;       /* dimension */
    uint32_t depth;
    const float *panel; /* from that dimension on */
    float *out;         /* of the first vector, at the panel; has the sums so far */
    size_t width;
};

/* add: what each instruction set has, for a tile of at most `most` vectors. */
static inline void product(const struct vector_matrix *m, const void *const *vector, uint32_t n, float *out,
                           void (*add)(const struct tile *t), uint32_t most)
{
    memset(out, 0, (size_t)n * m->width * sizeof(*out));
    for (uint32_t row = 0; row < m->width; row += PANEL) {
        const float *panel = m->panel + (size_t)row * m->dims;

        for (uint32_t first = 0; first < m->dims; first += DEPTH) {
            uint32_t depth = m->dims - first < DEPTH ? m->dims - first : DEPTH;

            for (uint32_t v = 0; v < n; v += most)
                add(&(struct tile){vector + v, n - v < most ? n - v : most, first, depth,
                                   panel + (size_t)first * PANEL, out + (size_t)v * m->width + row, m->width});
        }
    }
}

static float load(const void *base, size_t i)
{
    float f;

    memcpy(&f, (const uint8_t *)base + 4 * i, 4);
    return f;
}

/* Fused on every machine, as the others are. Where the processor has no instruction for it, the C library's takes many
 * times longer than this: in double the product of two floats is exact, and a sum that is rounded to odd can be rounded
 * once more, to float, and is as if it had been rounded once (Boldo and Melquiond, "Emulation of FMA and Correctly
 * Rounded Sums: Proved Algorithms Using Rounding to Odd", IEEE Transactions on Computers 57 (4), 2008, section 3). The
 * error of the sum, which says whether and whither it was rounded, is Knuth's (TAOCP 2, section 4.2.2, theorem B). */
#if defined(__FP_FAST_FMAF) || FLT_EVAL_METHOD != 0
enum { LANES = 1 };

static void add_lanes(float x, const float *panel, float *out)
{
    out[0] = fmaf(x, panel[0], out[0]);
}
#else
enum { LANES = 2 };

typedef float floats __attribute__((vector_size(LANES * sizeof(float))));
typedef double doubles __attribute__((vector_size(LANES * sizeof(double))));
typedef int64_t integers __attribute__((vector_size(LANES * sizeof(double))));

static inline void add_lanes(float x, const float *panel, float *out)
{
    floats y, z;

    memcpy(&y, panel, sizeof(y));
    memcpy(&z, out, sizeof(z));
    doubles wide = __builtin_convertvector(z, doubles), product = __builtin_convertvector(y, doubles) * (double)x;
    doubles sum = product + wide, part = sum - product;
    doubles error = (product - (sum - part)) + (wide - part);
    /* An even sum that is not exact becomes its odd neighbour on the side of the error. */
    integers even = ((integers)sum & 1) - 1, outward = (error * sum < 0) - (error * sum > 0);
    z = __builtin_convertvector((doubles)((integers)sum + (outward & even)), floats);
    memcpy(out, &z, sizeof(z));
}
#endif

static void add_portable(const struct tile *t)
{
    for (uint32_t i = 0; i < t->depth; i++) {
        float x = load(t->vector[0], t->first + i);

        for (uint32_t r = 0; r < PANEL; r += LANES)
            add_lanes(x, t->panel + (size_t)i * PANEL + r, t->out + r);
    }
}

void vector_product_portable(const struct vector_matrix *m, const void *const *vector, uint32_t n, float *out)
{
    product(m, vector, n, out, add_portable, 1);
}

#if defined(__x86_64__)
#include <immintrin.h>

#define ALWAYS static inline __attribute__((always_inline))
#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))

/* Below, n is a constant wherever it is inlined, so that loops over it are unrolled and sums are registers. */

/* ---- AVX2: 6 vectors by half a panel: 12 sums, 2 of the panel, 1 of a vector, of 16 registers. One or two vectors
 * take the whole panel, so that there are sums enough to hide the latency ---- */

AVX2 ALWAYS void add_part(const struct tile *t, const float *panel, float *out, uint32_t n, uint32_t parts)
{
    const void *vector[6];
    __m256 sum[6][4], p[4];

#pragma GCC unroll 6
    for (uint32_t v = 0; v < n; v++) {
        vector[v] = t->vector[v];
#pragma GCC unroll 4
        for (uint32_t r = 0; r < parts; r++)
            sum[v][r] = _mm256_loadu_ps(out + v * t->width + r * 8);
    }
    for (size_t i = 0; i < t->depth; i++) {
#pragma GCC unroll 4
        for (uint32_t r = 0; r < parts; r++)
            p[r] = _mm256_load_ps(panel + i * PANEL + r * 8);
#pragma GCC unroll 6
        for (uint32_t v = 0; v < n; v++) {
            __m256 x = _mm256_set1_ps(load(vector[v], t->first + i));

#pragma GCC unroll 4
            for (uint32_t r = 0; r < parts; r++)
                sum[v][r] = _mm256_fmadd_ps(x, p[r], sum[v][r]);
        }
    }
#pragma GCC unroll 6
    for (uint32_t v = 0; v < n; v++)
#pragma GCC unroll 4
        for (uint32_t r = 0; r < parts; r++)
            _mm256_storeu_ps(out + v * t->width + r * 8, sum[v][r]);
}

AVX2 ALWAYS void add_halves(const struct tile *t, uint32_t n)
{
    add_part(t, t->panel, t->out, n, 2);
    add_part(t, t->panel + PANEL / 2, t->out + PANEL / 2, n, 2);
}

AVX2 static void add_avx2(const struct tile *t)
{
    switch (t->vectors) {
    case 6: add_halves(t, 6); break;
    case 5: add_halves(t, 5); break;
    case 4: add_halves(t, 4); break;
    case 3: add_halves(t, 3); break;
    case 2: add_part(t, t->panel, t->out, 2, 4); break;
    default: add_part(t, t->panel, t->out, 1, 4); break;
    }
}

void vector_product_avx2(const struct vector_matrix *m, const void *const *vector, uint32_t n, float *out)
{
    product(m, vector, n, out, add_avx2, 6);
}

/* ---- AVX-512: 8 vectors by a panel: 16 sums hide the latency of two units; more vectors would need more pointers than
 * there are registers ---- */

AVX512 ALWAYS void add_panel(const struct tile *t, uint32_t n)
{
    const void *vector[8];
    __m512 sum[8][2];

#pragma GCC unroll 8
    for (uint32_t v = 0; v < n; v++) {
        vector[v] = t->vector[v];
        sum[v][0] = _mm512_loadu_ps(t->out + v * t->width);
        sum[v][1] = _mm512_loadu_ps(t->out + v * t->width + 16);
    }
    for (size_t i = 0; i < t->depth; i++) {
        __m512 p0 = _mm512_load_ps(t->panel + i * PANEL), p1 = _mm512_load_ps(t->panel + i * PANEL + 16);

#pragma GCC unroll 8
        for (uint32_t v = 0; v < n; v++) {
            __m512 x = _mm512_set1_ps(load(vector[v], t->first + i));

            sum[v][0] = _mm512_fmadd_ps(x, p0, sum[v][0]);
            sum[v][1] = _mm512_fmadd_ps(x, p1, sum[v][1]);
        }
    }
#pragma GCC unroll 8
    for (uint32_t v = 0; v < n; v++) {
        _mm512_storeu_ps(t->out + v * t->width, sum[v][0]);
        _mm512_storeu_ps(t->out + v * t->width + 16, sum[v][1]);
    }
}

AVX512 static void add_avx512(const struct tile *t)
{
    switch (t->vectors) {
    case 8: add_panel(t, 8); break;
    case 7: add_panel(t, 7); break;
    case 6: add_panel(t, 6); break;
    case 5: add_panel(t, 5); break;
    case 4: add_panel(t, 4); break;
    case 3: add_panel(t, 3); break;
    case 2: add_panel(t, 2); break;
    default: add_panel(t, 1); break;
    }
}

void vector_product_avx512(const struct vector_matrix *m, const void *const *vector, uint32_t n, float *out)
{
    product(m, vector, n, out, add_avx512, 8);
}
#endif

/* ---- The greatest of products less biases ---- */

typedef float lane_floats __attribute__((vector_size(64)));
typedef int32_t lane_integers __attribute__((vector_size(64)));

static inline __attribute__((always_inline)) void fold(struct vector_greatest *best, const float *product,
                                                       const float *bias, uint32_t first, uint32_t panels)
{
    enum { WIDTH = sizeof(lane_floats) / sizeof(float) };

    for (uint32_t lane = 0; lane < PANEL; lane += WIDTH) {
        lane_floats score;
        lane_integers panel;

        memcpy(&score, best->score + lane, sizeof(score));
        memcpy(&panel, best->panel + lane, sizeof(panel));
        for (uint32_t p = 0; p < panels; p++) {
            lane_floats s, b;

            memcpy(&s, product + (size_t)p * PANEL + lane, sizeof(s));
            memcpy(&b, bias + (size_t)p * PANEL + lane, sizeof(b));
            s -= b;
            lane_integers better = s > score, at = (lane_integers){0} + (int32_t)(first + p);
            score = (lane_floats)(((lane_integers)s & better) | ((lane_integers)score & ~better));
            panel = (at & better) | (panel & ~better);
        }
        memcpy(best->score + lane, &score, sizeof(score));
        memcpy(best->panel + lane, &panel, sizeof(panel));
    }
}

void vector_fold_portable(struct vector_greatest *best, const float *product, const float *bias, uint32_t first,
                          uint32_t panels)
{
    fold(best, product, bias, first, panels);
}

#if defined(__x86_64__)
AVX2 void vector_fold_avx2(struct vector_greatest *best, const float *product, const float *bias, uint32_t first,
                           uint32_t panels)
{
    fold(best, product, bias, first, panels);
}
#endif
