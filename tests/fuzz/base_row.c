/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "base/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Bytes that check out as a row decode, make a batch, and encode to the same bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct arena *a = arena_open(1 << 24);
    struct leat_span row = span_of(bytes, size);
    struct buffer again = {0};
    struct row_schema schema;
    struct leat_value value[6];
    struct leat_batch batch;

    row_schema_parse(a, "id: str, n: u32?, ok: bool, vec: f32[2], body: any?, x: f64", NULL, NULL, &schema, NULL);
    if (row_check(&schema, row, NULL) == 0) {
        leat_assert(row_decode(&schema, row, value) == 0);
        leat_assert(row_batch(a, &schema, &row, 1, &batch) == 0);
        leat_assert(row_encode(&schema, (struct leat_row){value, 6}, &again, NULL) == 0);
        leat_assert(again.size <= size);
    }
    buffer_fini(&again);
    arena_close(a);
    return 0;
}
