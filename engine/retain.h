/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_RETAIN_H
#define ENGINE_RETAIN_H

/* Retention of a group's depots by age and size: every few seconds, and behind each checkpoint, the oldest segments go.
 * What is trimmed was processed by the module and read by all consumers (engine/consumer.h); of a depot that no stream
 * reads, its sessions were taken into two checkpoints before. */

#include "base/base.h"

struct group;
struct retain;

struct retain *retain_open(const struct group *g);
void retain_close(struct retain *r);
/* When the group is connected, before its first step: it is a consumer of the depots of others that it reads. */
int retain_connect(struct group *g, struct leat_error *err);
/* Do what is due. */
int retain_step(struct group *g, int64_t now_ns, struct leat_error *err);
/* It is due now. */
void retain_hurry(struct group *g);
/* Checkpoints are wanted although nothing was written; one was started. */
bool retain_wants_checkpoint(const struct group *g);
void retain_checkpointed(struct group *g);
/* A partition of another module was trimmed beyond our cursor: go on behind. */
void retain_passed(struct group *g, uint32_t partition);

#endif
