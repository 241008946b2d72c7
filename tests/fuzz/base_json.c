/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "base/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* JSON that is taken becomes MessagePack that checks out and comes back from its JSON as it was, and a row only when it
 * fits the schema. */

static void check_packed(struct leat_span packed)
{
    struct buffer text = {0}, again = {0};

    leat_assert(msgpack_check(packed, NULL) == 0);
    leat_assert(msgpack_to_json(packed, &text, NULL) == 0);
    leat_assert(json_to_msgpack(buffer_bytes(&text), &again, NULL) == 0);
    leat_assert(span_equal(packed, buffer_bytes(&again)));
    buffer_fini(&text);
    buffer_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct arena *a = arena_open(1 << 24);
    struct buffer packed = {0};
    struct row_schema schema;
    struct leat_value value[4];

    if (json_to_msgpack(span_of(bytes, size), &packed, NULL) == 0)
        check_packed(buffer_bytes(&packed));
    row_schema_parse(a, "id: str, vec: f32[3]?, n: i64?, body: any?", NULL, NULL, &schema, NULL);
    if (json_to_row(a, &schema, span_of(bytes, size), value, NULL) == 0) {
        buffer_clear(&packed);
        leat_assert(row_encode(&schema, (struct leat_row){value, 4}, &packed, NULL) == 0);
        leat_assert(row_check(&schema, buffer_bytes(&packed), NULL) == 0);
    }
    buffer_fini(&packed);
    arena_close(a);
    return 0;
}
