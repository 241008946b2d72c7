/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/import.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Files of every form, with whatever is in them. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct arena *a = arena_open(1 << 24);
    struct row_schema schema;
    struct leat_value value[3];

    row_schema_parse(a, "id: str, vec: f32[4]?, n: i64?", NULL, NULL, &schema, NULL);
    for (int form = IMPORT_JSONL; form <= IMPORT_IDX; form++) {
        struct import_file f;

        if (import_bytes("input", (enum import_form)form, bytes, size, &f, NULL) != 0)
            continue;
        for (int i = 0; i < 100 && import_next(&f, a, &schema, "", value, NULL) == 0; i++)
            leat_assert(f.at <= f.size);
        import_seek(&f, size > 0 ? bytes[size - 1] : 0);
        if (import_next(&f, a, &schema, "", value, NULL) == 0)
            leat_assert(f.at <= f.size);
    }
    arena_close(a);
    return 0;
}
