/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/journal.h"

#include "base/base.h"
#include "base/crc32c.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Batches and outputs from outside: with their CRC put right, so that what is behind it is reached. What decodes is
 * encoded as bytes that decode to the same. */

static void check_batch(const struct batch *b, struct arena *a)
{
    struct buffer once = {0}, twice = {0};
    struct batch again;

    batch_encode(b, &once);
    leat_assert(once.error == 0 && batch_decode(buffer_bytes(&once), a, &again, NULL) == 0);
    batch_encode(&again, &twice);
    leat_assert(span_equal(buffer_bytes(&once), buffer_bytes(&twice)));
    buffer_fini(&once);
    buffer_fini(&twice);
}

static void check_output(const struct output *o, struct arena *a)
{
    struct buffer once = {0}, twice = {0};
    struct output again;

    output_encode(o, &once);
    leat_assert(once.error == 0 && output_decode(buffer_bytes(&once), a, &again, NULL) == 0);
    output_encode(&again, &twice);
    leat_assert(span_equal(buffer_bytes(&once), buffer_bytes(&twice)));
    buffer_fini(&once);
    buffer_fini(&twice);
}

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
        check_batch(&batch, a);
        for (uint32_t i = 0; i < batch.outputs; i++)
            if (output_decode(batch.output[i].body, a, &output, NULL) == 0)
                check_output(&output, a);
    }
    if (output_decode(span_of(bytes, size), a, &output, NULL) == 0)
        check_output(&output, a);
    arena_close(a);
    return 0;
}
