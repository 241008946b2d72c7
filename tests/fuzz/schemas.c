/* SPDX-License-Identifier: Apache-2.0 */
#include "pstates/pstate.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* What parses has a canonical text that parses to the same. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct arena *a = arena_open(1 << 24);
    char *text = arena_format(a, "%.*s", (int)size, (const char *)bytes);
    struct pstate_schema schema, again;
    struct row_schema row, row_again;

    if (pstate_schema_parse(a, "p", text, NULL, NULL, &schema, NULL) == 0) {
        const char *canonical = pstate_schema_text(a, &schema);

        leat_assert(pstate_schema_parse(a, "p", canonical, NULL, NULL, &again, NULL) == 0);
        leat_assert(strcmp(canonical, pstate_schema_text(a, &again)) == 0);
    }
    if (row_schema_parse(a, text, NULL, NULL, &row, NULL) == 0) {
        leat_assert(row_schema_parse(a, row_schema_text(a, &row), NULL, NULL, &row_again, NULL) == 0);
        leat_assert(row_schema_equal(&row, &row_again));
    }
    arena_close(a);
    return 0;
}
