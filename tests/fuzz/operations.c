/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "pstates/pstate.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { TASKS = 2, ENTRIES = 3, ROWS_OF_TWO_BLOCKS = 6, MOST = 64 };

static const char *const schema_text[] = {
    "map<str, map<i64, struct{n: i64, text: str?}>>",
    "map<f64, map<bool, set<f64>>>",
    "list<map<u64, list<str>>>",
    "map<u32, list<str>>",
    "map<i64, rows<struct{id: u64, v: f32[200]}>>",
    "rows<f32[3]>",
    "i64",
};

enum { MAPS, SETS, LISTS, NESTED_LISTS, NESTED_ROWS, ROWS, LEAF, PSTATES };

static struct pstate_schema schema[PSTATES];
static struct arena *schemas;
static struct pstate_view *view;
static volatile uint8_t sum; /* so that the reads are made */
static char directory[] = "/tmp/leat-fuzz-XXXXXX";

static void clean_up(void)
{
    pstate_view_close(view);
    arena_close(schemas);
    file_remove_tree(directory, NULL);
}

/* Something of every kind, so that operations on what is there find it. */
static void fill(uint32_t task)
{
    float vector[200] = {1};
    struct leat_value v = leat_vector(LEAT_F32_VECTOR, vector, 200), key = leat_i64(1);
    uint64_t index;
    int rv = 0;

    for (int64_t i = 0; i < ENTRIES; i++) {
        rv |= pstate_put(view, task, MAPS, LEAT_KEYS(leat_str("a"), leat_i64(i)), LEAT_ROW(leat_i64(i), leat_null()),
                         NULL);
        rv |= pstate_put(view, task, SETS, LEAT_KEYS(leat_f64(1), leat_bool(i % 2), leat_f64((double)i)), LEAT_ROW(),
                         NULL);
        rv |= pstate_push(view, task, NESTED_LISTS, LEAT_KEYS(leat_u64(1)), LEAT_ROW(leat_str("element")), &index,
                          NULL);
        rv |= pstate_rows_append(view, task, ROWS, LEAT_KEYS(), LEAT_ROW(leat_vector(LEAT_F32_VECTOR, vector, 3)), NULL,
                                 NULL);
    }
    for (uint64_t i = 0; i < ROWS_OF_TWO_BLOCKS; i++)
        rv |= pstate_rows_append(view, task, NESTED_ROWS, LEAT_KEYS(key), LEAT_ROW(leat_u64(i), v), NULL, NULL);
    rv |= pstate_put(view, task, LEAF, LEAT_KEYS(), LEAT_ROW(leat_i64(7)), NULL);
    leat_assert(rv == 0);
}

static void set_up(void)
{
    struct pstate_config config = {.directory = directory, .schema = schema, .schemas = PSTATES, .map_size = 64 << 20,
                                   .volatile_view = true};
    struct buffer state = {0};
    uint64_t turn;

    schemas = arena_open(1 << 20);
    for (int i = 0; i < PSTATES; i++)
        leat_assert(pstate_schema_parse(schemas, "p", schema_text[i], NULL, NULL, &schema[i], NULL) == 0);
    leat_assert(mkdtemp(directory) != NULL);
    leat_assert(pstate_view_open(&config, &view, &turn, &state, NULL) == 0);
    atexit(clean_up);
    leat_assert(pstate_view_begin(view, NULL, NULL) == 0);
    for (uint32_t task = 0; task < TASKS; task++)
        fill(task);
    leat_assert(pstate_view_commit(view, 1, NULL) == 0);
}

static void read_rows(struct pstate_reader *r, uint32_t task, uint32_t pstate, struct leat_row keys)
{
    struct leat_block block;
    uint64_t row = 0;

    for (int i = 0; i < MOST && pstate_rows_block(r, task, pstate, keys, row, &block, NULL) == 0; i++) {
        leat_assert(block.rows > 0 && block.first == row);
        for (size_t at = 0; at < (size_t)block.rows * block.stride; at += 64)
            sum ^= ((const uint8_t *)block.base)[at];
        row += block.rows;
    }
}

/* All there is below some keys, whether it makes sense or not. */
static void read_level(struct pstate_reader *r, uint32_t task, uint32_t pstate, const struct pstate_level *level,
                       struct leat_value *key, uint32_t keys)
{
    struct leat_row path = {key, keys};
    struct leat_value out[2];
    struct pstate_scan *s;
    uint64_t entries;

    pstate_get(r, task, pstate, path, out, 2, NULL);
    pstate_size(r, task, pstate, path, &entries, NULL);
    if (level != NULL && level->shape == PSTATE_ROWS)
        read_rows(r, task, pstate, path);
    if (level == NULL || level->shape == PSTATE_ROWS || level->shape == PSTATE_LEAF || level->shape == PSTATE_STRUCT ||
        pstate_scan_open(r, task, pstate, path, NULL, &s, NULL) != 0)
        return;
    for (int i = 0; i < MOST && pstate_scan_next(s, &key[keys], out, 2, NULL) == 0; i++)
        read_level(r, task, pstate, level->below, key, keys + 1);
    pstate_scan_close(s);
}

/* Operations as a journal would hold them, with anything in them; then everything is read, deleted and swept. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct leat_value key[LIMIT_NESTING + 1];
    uint32_t deleted = 1;

    if (view == NULL)
        set_up();
    leat_assert(pstate_view_begin(view, NULL, NULL) == 0);
    pstate_view_apply(view, span_of(bytes, size), NULL);
    for (uint32_t task = 0; task < TASKS; task++)
        for (uint32_t pstate = 0; pstate < PSTATES; pstate++) {
            read_level(pstate_view_turn(view), task, pstate, schema[pstate].top, key, 0);
            pstate_delete(view, task, pstate, LEAT_KEYS(), NULL);
        }
    while (deleted > 0 && pstate_view_sweep(view, 1000, &deleted, NULL) == 0)
        ;
    pstate_view_abort(view);
    return 0;
}
