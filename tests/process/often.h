/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_PROCESS_OFTEN_H
#define TESTS_PROCESS_OFTEN_H

#include "engine/node.h"

/* Before a launch: checkpoints after so little that a run of a quarter of a second takes some. */
static inline void checkpoint_often(struct leat *l)
{
    l->checkpoint_bytes = 16 << 10;
}

#endif
