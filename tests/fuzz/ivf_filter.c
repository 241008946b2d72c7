/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/base.h"
#include "base/codec.h"
#include "modules/ivf/filter.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* A declaration, and behind its zero a filter, and behind that a row's attributes: any bytes, and what they mean when
 * they do. The columns of a row say at least what filter_verify says of it, on every kernel the same. */

static void *from_arena(void *arena, size_t size)
{
    return arena_alloc(arena, size, 8);
}

static void compare(const struct attributes *a, const struct filter *f, const struct attributes_row *row,
                    struct leat_span map)
{
    enum { BLOCKS = 2, AT = 37 };
    static uint8_t table[BLOCKS * 32 * (8 * ATTRIBUTES_COLUMNS + 2)];
    uint8_t packed[8 * ATTRIBUTES_COLUMNS + 2], taken[sizeof(packed)];
    uint32_t want[BLOCKS], mask[BLOCKS];

    memset(table, 0, attributes_table_size(a, BLOCKS));
    attributes_pack(a, row, packed);
    attributes_put(a, table, BLOCKS, AT, packed);
    attributes_take(a, table, BLOCKS, AT, taken);
    leat_assert(memcmp(packed, taken, attributes_row_size(a)) == 0);
    filter_blocks(f, table, BLOCKS, 0, BLOCKS, mask);
    filter_blocks_with(filter_kernels("portable"), f, table, BLOCKS, 0, BLOCKS, want);
    leat_assert(memcmp(mask, want, sizeof(mask)) == 0);
    leat_assert((mask[AT / 32] >> AT % 32 & 1) == filter_verify(f, map));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const uint8_t *zero = size > 0 ? memchr(bytes, 0, size) : NULL;
    struct arena *memory = arena_open(64 << 20);
    struct leat_error err;
    struct attributes_row row;
    struct leat_any_item item;
    const struct filter *f;
    struct attributes a;

    if (zero != NULL && attributes_parse((const char *)bytes, &a, &err) == 0) {
        struct leat_span rest = span_of(zero + 1, size - (size_t)(zero + 1 - bytes)), filter = rest;

        if (leat_any_read(&rest, &item) == 0)
            filter.size -= rest.size;
        bool fits = attributes_read(&a, rest, &row, &err) == 0;
        if (filter_parse(&a, filter, from_arena, memory, &f, &err) == 0) {
            leat_assert(msgpack_check(filter, NULL) == 0 || filter.size == 0);
            if (f != NULL && fits)
                compare(&a, f, &row, rest);
            else if (f != NULL)
                leat_assert(!filter_verify(f, rest));
        }
    }
    arena_close(memory);
    return 0;
}
