/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "pstates/key.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Bytes as keys of every type; then as values of every type, which are put, found, scanned and deleted under paths of
 * keys that fit the schema or do not. */

enum { MAPS, SETS, LISTS, ROWS, LEAF, PSTATES, TASK = 4095, MOST_KEYS = 4 };

static const char *const schema_text[PSTATES] = {"map<str, map<i64, struct{n: i64}>>",
                                                 "map<bytes, map<bool, set<f64>>>", "map<u32, list<i64>>",
                                                 "map<u64, rows<i64>>", "i64"};
static const enum leat_type types[] = {LEAT_BOOL, LEAT_I64, LEAT_U32, LEAT_U64, LEAT_F64, LEAT_STR, LEAT_BYTES};

static struct pstate_schema schema[PSTATES];
static struct arena *schemas;
static struct pstate_view *view;
static char directory[] = "/tmp/leat-fuzz-XXXXXX";

static void clean_up(void)
{
    pstate_view_close(view);
    arena_close(schemas);
    file_remove_tree(directory, NULL);
}

static void set_up(void)
{
    struct pstate_config config = {.directory = directory, .schema = schema, .schemas = PSTATES, .map_size = 16 << 20,
                                   .volatile_view = true};
    struct buffer state = {0};
    uint64_t turn;

    schemas = arena_open(1 << 20);
    for (int i = 0; i < PSTATES; i++)
        leat_assert(pstate_schema_parse(schemas, "p", schema_text[i], NULL, NULL, &schema[i], NULL) == 0);
    leat_assert(mkdtemp(directory) != NULL);
    leat_assert(pstate_view_open(&config, &view, &turn, &state, NULL) == 0);
    atexit(clean_up);
}

/* ---- One key ---- */

static bool is_less(const struct leat_value *x, const struct leat_value *y)
{
    size_t least = x->as.bytes.size < y->as.bytes.size ? x->as.bytes.size : y->as.bytes.size;
    int order;

    switch (x->type) {
    case LEAT_BOOL:
        return x->as.b < y->as.b;
    case LEAT_I64:
        return x->as.i < y->as.i;
    case LEAT_U32:
    case LEAT_U64:
        return x->as.u < y->as.u;
    case LEAT_F64:
        return x->as.f < y->as.f;
    default:
        least = x->as.bytes.size < y->as.bytes.size ? x->as.bytes.size : y->as.bytes.size;
        order = least > 0 ? memcmp(x->as.bytes.base, y->as.bytes.base, least) : 0;
        return order != 0 ? order < 0 : x->as.bytes.size < y->as.bytes.size;
    }
}

static int compare(const struct key *x, const struct key *y)
{
    int order = memcmp(x->bytes, y->bytes, x->size < y->size ? x->size : y->size);

    return order != 0 ? order : (int)x->size - (int)y->size;
}

/* What decodes encodes to the same bytes, and lies as its value does among others. */
static void check_keys(const struct leat_column *type, struct leat_span first, struct leat_span second)
{
    struct leat_value x, y;
    struct key kx, ky;

    key_nested(&kx, TASK, 1);
    ky = kx;
    if (key_decode(type, first, &x) != 0 || key_value(&kx, type, &x, NULL) != 0)
        return;
    leat_assert(span_equal(span_of(kx.bytes + KEY_PREFIX + 8, kx.size - KEY_PREFIX - 8), first));
    if (key_decode(type, second, &y) != 0 || key_value(&ky, type, &y, NULL) != 0)
        return;
    leat_assert((compare(&kx, &ky) < 0) == is_less(&x, &y) && (compare(&kx, &ky) > 0) == is_less(&y, &x));
}

static void check_all_keys(struct leat_span s)
{
    for (size_t i = 0; i < LENGTH_OF(types); i++) {
        struct leat_column type = {.name = "key", .type = types[i], .nullable = false};
        size_t half = schema_fixed_size(&type) > 0 ? schema_fixed_size(&type) : s.size / 2;

        if (half <= s.size)
            check_keys(&type, span_of(s.base, half),
                       span_of((const uint8_t *)s.base + half, s.size - half < half ? s.size - half : half));
    }
}

/* ---- Paths ---- */

static struct leat_value take_value(struct reader *in)
{
    uint8_t what = reader_u8(in);
    size_t size = what >> 3 > 29 ? 150U * (what >> 3) % 512 : what >> 3;
    struct leat_span rest = span_of(in->at, reader_left(in) < size ? reader_left(in) : size);
    double d = 0;

    switch (what % 8) {
    case 0:
        return leat_bool(reader_u8(in) & 1);
    case 1:
        return leat_i64((int64_t)reader_u64(in));
    case 2:
        return leat_u32(reader_u32(in));
    case 3:
        return leat_u64(reader_u64(in));
    case 4:
        if (reader_left(in) >= 8)
            memcpy(&d, reader_take(in, 8), 8);
        return leat_f64(d);
    case 5:
        reader_take(in, rest.size);
        return leat_str_n(rest.base, rest.size);
    case 6:
        reader_take(in, rest.size);
        return leat_bytes(rest.base, rest.size);
    default:
        return leat_null();
    }
}

static void check_code(int rv)
{
    leat_assert(rv == 0 || rv == LEAT_ESCHEMA || rv == LEAT_ELIMIT || rv == LEAT_ENOTFOUND);
}

/* What was put under a path is there, once; a scan of what is above finds it. */
static void check_there(uint32_t pstate, struct leat_row keys, int64_t n)
{
    struct leat_row above = {keys.value, keys.count > 0 ? keys.count - 1 : 0};
    struct pstate_reader *r = pstate_view_turn(view);
    struct leat_range only = {.from = &keys.value[above.count], .to = &keys.value[above.count], .to_inclusive = true};
    struct leat_value key, out = leat_i64(n);
    struct pstate_scan *scan;

    leat_assert(pstate_get(r, TASK, pstate, keys, &out, 1, NULL) == 0 && out.as.i == n);
    if (keys.count == 0)
        return;
    leat_assert(pstate_scan_open(r, TASK, pstate, above, &only, &scan, NULL) == 0);
    leat_assert(pstate_scan_next(scan, &key, NULL, 0, NULL) == 0);
    leat_assert(pstate_scan_next(scan, &key, NULL, 0, NULL) == LEAT_END);
    pstate_scan_close(scan);
}

static void write_path(uint32_t pstate, uint8_t what, struct leat_row keys, int64_t n)
{
    struct leat_row row = LEAT_ROW(leat_i64(n)), none = LEAT_ROW();
    struct leat_value out;
    uint64_t entries;
    int rv;

    switch (what) {
    case 0:
        rv = pstate_push(view, TASK, pstate, keys, row, NULL, NULL);
        break;
    case 1:
        rv = pstate_rows_append(view, TASK, pstate, keys, row, NULL, NULL);
        break;
    case 2:
        rv = pstate_delete(view, TASK, pstate, keys, NULL);
        if (rv == 0)
            leat_assert(pstate_get(pstate_view_turn(view), TASK, pstate, keys, &out, 1, NULL) != 0 || keys.count == 0);
        break;
    case 3:
        rv = pstate_size(pstate_view_turn(view), TASK, pstate, keys, &entries, NULL);
        break;
    default:
        rv = pstate_put(view, TASK, pstate, keys, pstate == SETS ? none : row, NULL);
        if (rv == 0)
            check_there(pstate, keys, n);
    }
    check_code(rv);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct reader in = reader_of(span_of(bytes, size));
    struct leat_value key[MOST_KEYS];

    if (view == NULL)
        set_up();
    check_all_keys(span_of(bytes, size));
    leat_assert(pstate_view_begin(view, NULL, NULL) == 0);
    while (reader_left(&in) > 0) {
        uint8_t what = reader_u8(&in);
        uint32_t keys = what >> 6;

        for (uint32_t i = 0; i < keys; i++)
            key[i] = take_value(&in);
        if (in.error == 0)
            write_path(what % PSTATES, (uint8_t)(what / PSTATES % 7), (struct leat_row){key, keys}, what);
    }
    pstate_view_abort(view);
    return 0;
}
