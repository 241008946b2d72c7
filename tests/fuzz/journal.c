/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/journal.h"

#include "base/base.h"
#include "base/crc32c.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Batches and outputs from outside: with their CRC put right, so that what is behind it is reached. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct arena *a = arena_open(1 << 26);
    uint8_t *copy = arena_alloc(a, size + 16, 1);
    struct output output;
    struct batch batch;

    memcpy(copy, "LJB1", 4);
    if (size > 0)
        memcpy(copy + 4, bytes, size);
    store_u32(copy + 4 + size, crc32c(0, copy, 4 + size));
    if (batch_decode(span_of(copy, size + 8), a, &batch, NULL) == 0) {
        struct buffer again = {0};

        batch_encode(&batch, &again);
        leat_assert(again.error == 0);
        buffer_fini(&again);
    }
    output_decode(span_of(bytes, size), a, &output, NULL);
    arena_close(a);
    return 0;
}
