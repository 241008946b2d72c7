/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DISK_H
#define ENGINE_DISK_H

/* Two marks for the free space of the disk: below the first a warning, below the second clients' appends are refused,
 * so that what came before can be processed, checkpoints taken and logs trimmed. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum disk_level { DISK_FINE, DISK_LOW, DISK_FULL };

struct disk_marks {
    uint64_t low, full; /* bytes that are free */
};

/* As wished (0: the defaults, which depend on the size of the disk). */
struct disk_marks disk_marks(uint64_t low, uint64_t full, uint64_t size);
enum disk_level disk_judge(uint64_t free_bytes, const struct disk_marks *marks);

struct disk_watch {
    const char *directory;
    uint64_t low, full;         /* as wished */
    _Atomic uint64_t free_bytes;
    _Atomic int level;          /* enum disk_level */
    _Atomic bool refuses;       /* it is DISK_FULL */
};

/* Look at the disk and log what changed. Where it cannot be looked at, it stays what it was. One thread at a time. */
void disk_look(struct disk_watch *w);

#endif
