/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_CLIENT_ROWS_H
#define ENGINE_CLIENT_ROWS_H

#include "engine/node.h"

struct row_place {
    size_t at, size;
    uint32_t partition; /* of depots partitioned by a field */
};

struct leat_rows {
    struct leat_depot *depot;
    struct buffer bytes;
    struct row_place *row;
    uint32_t count, capacity;
};

#endif
