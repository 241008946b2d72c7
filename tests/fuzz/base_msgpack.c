/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "base/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Whatever passes the check can be turned into JSON. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct buffer text = {0};

    if (msgpack_check(span_of(bytes, size), NULL) == 0 && msgpack_to_json(span_of(bytes, size), &text, NULL) != 0)
        leat_assert(text.error != 0);
    buffer_fini(&text);
    return 0;
}
