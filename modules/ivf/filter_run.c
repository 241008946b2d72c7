/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/filter_program.h"

#include "modules/vector/vector.h"

#include <string.h>

/* ---- Kernels ---- */

static int64_t number_at(const void *column, size_t i)
{
    int64_t v;

    memcpy(&v, (const uint8_t *)column + 8 * i, sizeof(v));
    return v;
}

static void interval_portable(const void *column, uint32_t blocks, int64_t low, int64_t high, uint32_t *out)
{
    for (uint32_t b = 0; b < blocks; b++) {
        uint32_t mask = 0;

        for (uint32_t i = 0; i < ATTRIBUTES_LANES; i++) {
            int64_t v = number_at(column, (size_t)b * ATTRIBUTES_LANES + i);

            mask |= (uint32_t)(v >= low && v <= high) << i;
        }
        out[b] = mask;
    }
}

static void member_portable(const void *column, uint32_t blocks, const struct filter_set *set, uint32_t *out)
{
    for (uint32_t b = 0; b < blocks; b++) {
        uint32_t mask = 0;

        for (uint32_t i = 0; i < ATTRIBUTES_LANES; i++) {
            int64_t v = number_at(column, (size_t)b * ATTRIBUTES_LANES + i);

            mask |= (uint32_t)(set->slot[filter_slot(set, v)] == v) << i;
        }
        out[b] = mask;
    }
}

static const struct filter_kernels portable = {"portable", interval_portable, member_portable};

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512dq")))

AVX2 static void interval_avx2(const void *column, uint32_t blocks, int64_t low, int64_t high, uint32_t *out)
{
    __m256i lows = _mm256_set1_epi64x(low), highs = _mm256_set1_epi64x(high);
    const uint8_t *at = column;

    for (uint32_t b = 0; b < blocks; b++) {
        uint32_t outside = 0;

#pragma GCC unroll 8
        for (uint32_t i = 0; i < ATTRIBUTES_LANES; i += 4, at += 32) {
            __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)at);
            __m256i none = _mm256_or_si256(_mm256_cmpgt_epi64(lows, v), _mm256_cmpgt_epi64(v, highs));

            outside |= (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(none)) << i;
        }
        out[b] = ~outside;
    }
}

AVX512 static void interval_avx512(const void *column, uint32_t blocks, int64_t low, int64_t high, uint32_t *out)
{
    __m512i lows = _mm512_set1_epi64(low), highs = _mm512_set1_epi64(high);
    const uint8_t *at = column;

    for (uint32_t b = 0; b < blocks; b++) {
        uint32_t mask = 0;

#pragma GCC unroll 4
        for (uint32_t i = 0; i < ATTRIBUTES_LANES; i += 8, at += 64) {
            __m512i v = _mm512_loadu_si512(at);

            mask |= (uint32_t)_mm512_mask_cmple_epi64_mask(_mm512_cmpge_epi64_mask(v, lows), v, highs) << i;
        }
        out[b] = mask;
    }
}

static const struct filter_kernels avx2 = {"avx2", interval_avx2, member_portable};
static const struct filter_kernels avx512 = {"avx512", interval_avx512, member_portable};
#endif

const struct filter_kernels *filter_kernels(const char *name)
{
#if defined(__x86_64__)
    if (strcmp(name, avx512.name) == 0)
        return &avx512;
    if (strcmp(name, avx2.name) == 0)
        return &avx2;
#endif
    (void)name;
    return &portable;
}

/* ---- The machine: what joins the masks that comparisons give ---- */

/* Give the masks of one comparison, a word for each block. */
typedef void comparison(const void *context, const struct filter_step *s, uint32_t *mask);

static void run(const struct filter *f, comparison *compare, const void *context, uint32_t count, uint32_t *out)
{
    uint32_t stack[FILTER_STACK][FILTER_BATCH], top = 0;

    for (const struct filter_step *s = f->step; s < f->step + f->steps; s++) {
        switch (s->op) {
        case FILTER_CONSTANT:
            memset(stack[top++], (int)s->low, 4 * (size_t)count);
            break;
        case FILTER_NOT:
            for (uint32_t b = 0; b < count; b++)
                stack[top - 1][b] = ~stack[top - 1][b];
            break;
        case FILTER_AND:
            top--;
            for (uint32_t b = 0; b < count; b++)
                stack[top - 1][b] &= stack[top][b];
            break;
        case FILTER_OR:
            top--;
            for (uint32_t b = 0; b < count; b++)
                stack[top - 1][b] |= stack[top][b];
            break;
        default:
            compare(context, s, stack[top++]);
            break;
        }
    }
    memcpy(out, stack[0], 4 * (size_t)count);
}

/* ---- Blocks ---- */

/* Columns and presence of blocks of a table. */
struct part {
    const struct filter_kernels *kernels;
    const uint8_t *columns, *presence;
    uint32_t blocks, first, count;
};

static void compare_blocks(const void *context, const struct filter_step *s, uint32_t *mask)
{
    const struct part *p = context;
    const uint8_t *column = p->columns + 8 * (size_t)ATTRIBUTES_LANES * ((size_t)s->column * p->blocks + p->first);
    uint32_t present[FILTER_BATCH], outside = s->outside ? UINT32_MAX : 0;

    memcpy(present, p->presence + 4 * ((size_t)s->attribute * p->blocks + p->first), 4 * (size_t)p->count);
    if (s->op == FILTER_INTERVAL)
        p->kernels->interval(column, p->count, s->low, s->high, mask);
    else if (s->op == FILTER_MEMBER)
        p->kernels->member(column, p->count, &s->member->set, mask);
    else
        memcpy(mask, present, 4 * (size_t)p->count);
    for (uint32_t b = 0; b < p->count; b++)
        mask[b] = (mask[b] ^ outside) & present[b];
}

void filter_blocks_with(const struct filter_kernels *k, const struct filter *f, const void *table, uint32_t blocks,
                        uint32_t first, uint32_t count, uint32_t *mask)
{
    const uint8_t *presence = (const uint8_t *)table + 8 * (size_t)ATTRIBUTES_LANES * blocks * f->attributes->columns;

    for (uint32_t i = 0; i < count; i += FILTER_BATCH) {
        uint32_t some = count - i < FILTER_BATCH ? count - i : FILTER_BATCH;
        struct part part = {k, table, presence, blocks, first + i, some};

        run(f, compare_blocks, &part, some, mask + i);
    }
}

void filter_blocks(const struct filter *f, const void *table, uint32_t blocks, uint32_t first, uint32_t count,
                   uint32_t *mask)
{
    filter_blocks_with(filter_kernels(vector_kernels()->name), f, table, blocks, first, count, mask);
}

/* ---- One row, by its strings ---- */

static bool same_text(struct leat_span a, struct leat_span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.base, b.base, a.size) == 0);
}

static bool is_member(const struct filter_member *m, int64_t value, struct leat_span text)
{
    uint32_t slot = filter_slot(&m->set, value);

    if (m->set.slot[slot] != value || m->string == NULL)
        return m->set.slot[slot] == value;
    for (const struct filter_string *s = m->string[value == m->set.empty ? m->set.mask + 1 : slot]; s != NULL;
         s = s->next)
        if (same_text(s->text, text))
            return true;
    return false;
}

static void compare_row(const void *context, const struct filter_step *s, uint32_t *mask)
{
    const struct attributes_row *row = context;
    struct leat_span text = row->text[s->attribute];
    int64_t v = row->column[s->column];
    bool in = true;

    if (s->op == FILTER_MEMBER)
        in = is_member(s->member, v, text);
    else if (s->op == FILTER_INTERVAL)
        in = s->string ? same_text(text, s->text) : v >= s->low && v <= s->high;
    *mask = in != s->outside && (row->presence >> s->attribute & 1) ? UINT32_MAX : 0;
}

void filter_fetch(const struct filter *f, const void *table, uint32_t blocks)
{
    enum { STEPS = 4, LINE = 64 }; /* of longer filters the first steps: more would crowd each other out */
    size_t column = 8 * (size_t)ATTRIBUTES_LANES * blocks;
    const uint8_t *columns = table, *presence = columns + column * f->attributes->columns;

    for (const struct filter_step *s = f->step; s < f->step + f->steps && s < f->step + STEPS; s++) {
        __builtin_prefetch(presence + 4 * (size_t)s->attribute * blocks);
        for (size_t at = 0; at < column && s->op != FILTER_PRESENT; at += LINE)
            __builtin_prefetch(columns + s->column * column + at);
    }
}

bool filter_strings(const struct filter *f)
{
    for (uint32_t i = 0; i < f->steps; i++)
        if (f->step[i].string || (f->step[i].op == FILTER_MEMBER && f->step[i].member->string != NULL))
            return true;
    return false;
}

bool filter_verify(const struct filter *f, struct leat_span map)
{
    struct attributes_row row;
    uint32_t pass;

    if (attributes_read(f->attributes, map, &row, NULL) != 0)
        return false;
    run(f, compare_row, &row, 1, &pass);
    return pass != 0;
}

bool filter_everything(const struct filter *f)
{
    for (uint32_t i = 0; i < f->steps; i++)
        if (f->step[i].op == FILTER_PRESENT || f->step[i].op == FILTER_INTERVAL || f->step[i].op == FILTER_MEMBER)
            return false;
    return filter_verify(f, (struct leat_span){NULL, 0});
}
