/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cut.h"

void cut_consistent(uint64_t *length, const struct cut_need *need, size_t needs)
{
    bool changed = true;

    while (changed) {
        changed = false;
        for (size_t i = 0; i < needs; i++) {
            const struct cut_need *n = &need[i];

            if (length[n->at] <= n->element || length[n->needs] >= n->length)
                continue;
            length[n->at] = n->element;
            changed = true;
        }
    }
}
