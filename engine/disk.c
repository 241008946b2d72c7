/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/disk.h"

#include "base/log.h"

#include <sys/statvfs.h>

#define GIB (UINT64_C(1) << 30)

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

struct disk_marks disk_marks(uint64_t low, uint64_t full, uint64_t size)
{
    struct disk_marks m = {low > 0 ? low : least(4 * GIB, size / 10), full > 0 ? full : least(GIB, size / 50)};

    if (m.low < m.full)
        m.low = m.full;
    return m;
}

enum disk_level disk_judge(uint64_t free_bytes, const struct disk_marks *marks)
{
    return free_bytes < marks->full ? DISK_FULL : free_bytes < marks->low ? DISK_LOW : DISK_FINE;
}

void disk_look(struct disk_watch *w)
{
    static const char *const says[] = {"is enough again", "is little: free some",
                                       "is too little: appends are refused until there is more"};
    struct statvfs v;

    if (statvfs(w->directory, &v) != 0)
        return;
    uint64_t free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
    struct disk_marks marks = disk_marks(w->low, w->full, (uint64_t)v.f_blocks * v.f_frsize);
    enum disk_level level = disk_judge(free_bytes, &marks);
    atomic_store(&w->free_bytes, free_bytes);
    atomic_store(&w->refuses, level == DISK_FULL);
    if (atomic_exchange(&w->level, (int)level) != (int)level)
        log_print(LOG_WARN, "engine", "'%s': %llu MiB of free space %s (marks: %llu and %llu MiB)", w->directory,
                  (unsigned long long)(free_bytes >> 20), says[level], (unsigned long long)(marks.low >> 20),
                  (unsigned long long)(marks.full >> 20));
}
