/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_HOLD_H
#define ENGINE_HOLD_H

/* Holding a group's files still. Who copies them (a backup, in this process or another one) holds; as long as he does,
 * the group begins no checkpoint. So the pages of its last checkpoint stay as they are, in whatever else is written,
 * and nothing is trimmed: copied in the right order, the files are what a crash could have left. A lock of the file
 * `hold`, which the system gives back when a holder dies. */

#include "base/base.h"

struct hold {
    int fd;        /* -1: a group in memory, which nobody holds */
    bool ours;     /* the group's own: a checkpoint is under way */
    int64_t retry_ns;
};

int hold_open(struct hold *h, const char *directory, struct leat_error *err);
void hold_close(struct hold *h);

/* The group, on its thread: may a checkpoint begin? Asks the system only now and then while somebody holds. */
bool hold_checkpoint(struct hold *h, int64_t now_ns);
void hold_checkpoint_over(struct hold *h);

/* Whoever copies: wait until no checkpoint is under way, and hold until hold_close. LEAT_ETIMEOUT. */
int hold_copy(struct hold *h, uint32_t timeout_ms, struct leat_error *err);

#endif
