/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "base/codec.h"
#include "base/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* A row as JSON is a row again, but for what JSON has no words for: keys in `any` that are no text, and NUL. */
static void check_json(struct arena *a, const struct row_schema *schema, const struct leat_batch *batch)
{
    struct buffer text = {0}, bytes = {0};
    struct leat_value value[6];

    batch_row_to_json(batch, 0, &text);
    leat_assert(text.error == 0);
    if (json_to_row(a, schema, buffer_bytes(&text), value, NULL) == 0) {
        leat_assert(row_encode(schema, (struct leat_row){value, 6}, &bytes, NULL) == 0);
        leat_assert(row_check(schema, buffer_bytes(&bytes), NULL) == 0);
    } else {
        struct leat_value any = leat_at(batch, 0, 4), id = leat_at(batch, 0, 0);

        leat_assert(any.type != LEAT_NULL ||
                    (id.as.bytes.size > 0 && memchr(id.as.bytes.base, 0, id.as.bytes.size) != NULL));
    }
    buffer_fini(&text);
    buffer_fini(&bytes);
}

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
        check_json(a, &schema, &batch);
    }
    buffer_fini(&again);
    arena_close(a);
    return 0;
}
