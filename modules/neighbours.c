/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/neighbours.h"

#include <math.h>
#include <string.h>

static bool same_id(struct leat_value a, struct leat_value b)
{
    if (a.type != LEAT_STR)
        return a.as.u == b.as.u;
    return a.as.bytes.size == b.as.bytes.size && memcmp(a.as.bytes.base, b.as.bytes.base, a.as.bytes.size) == 0;
}

/* Distances of one pair may differ in their last bits, by the kernel that took them: so ids are looked at, too. */
static bool is_found(const struct leat_batch *answer, uint32_t row, const struct leat_batch *truth)
{
    struct leat_value id = leat_at(answer, row, 0);

    if (leat_at(answer, row, 1).as.f <= leat_at(truth, truth->rows - 1, 1).as.f)
        return true;
    for (uint32_t i = truth->rows; i > 0; i--)
        if (same_id(id, leat_at(truth, i - 1, 0)))
            return true;
    return false;
}

double neighbours_recall(const struct leat_batch *answer, const struct leat_batch *truth)
{
    uint32_t found = 0;

    if (truth->rows == 0)
        return NAN;
    for (uint32_t i = 0; i < answer->rows; i++)
        found += is_found(answer, i, truth);
    return found < truth->rows ? (double)found / truth->rows : 1;
}
