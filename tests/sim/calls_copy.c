/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/fiber.h"
#include "tests/sim/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The calls that backups and rebuilds make beyond those of calls.c: locks between those who have files open, links,
 * entries that change places, and time. */

int call_flock(int fd, int operation) __asm__("flock");
int call_link(const char *from, const char *to) __asm__("link");
int call_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) __asm__("renameat2");
int call_sync_range(int fd, off_t offset, off_t size, unsigned flags) __asm__("sync_file_range64");
int call_sync_range_32(int fd, off_t offset, off_t size, unsigned flags) __asm__("sync_file_range")
    __attribute__((alias("sync_file_range64")));
int call_nanosleep(const struct timespec *time, struct timespec *rest) __asm__("nanosleep");
time_t call_time(time_t *out) __asm__("time");

static bool conflict(const struct files_descriptor *one, int lock)
{
    for (uint32_t i = 0; i < FILES_OPEN; i++) {
        const struct files_descriptor *d = &files.open[i];

        if (d != one && d->file == one->file && d->lock != 0 && (d->lock == LOCK_EX || lock == LOCK_EX))
            return true;
    }
    return false;
}

int call_flock(int fd, int operation)
{
    struct files_descriptor *d = files_descriptor(fd);
    int lock = operation & (LOCK_SH | LOCK_EX);

    if (d == NULL)
        return (int)syscall(SYS_flock, fd, operation);
    leat_assert(lock == 0 || (operation & LOCK_NB) != 0);
    if (lock != 0 && conflict(d, lock)) {
        errno = EWOULDBLOCK;
        return -1;
    }
    d->lock = lock;
    return 0;
}

int call_link(const char *from, const char *to)
{
    const char *name;
    uint32_t parent, file;

    fiber_step();
    file = files_find(from, NULL, NULL);
    if (file == 0 || files_find(to, &parent, &name) != 0 || parent == 0) {
        errno = file == 0 ? ENOENT : EEXIST;
        return -1;
    }
    files_name(parent, name, file);
    return 0;
}

int call_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    const char *from_name, *to_name;
    uint32_t from_parent, to_parent;

    leat_assert(from_fd == AT_FDCWD && to_fd == AT_FDCWD && flags == RENAME_EXCHANGE);
    fiber_step();
    if (files_find(from, &from_parent, &from_name) == 0 || files_find(to, &to_parent, &to_name) == 0) {
        errno = ENOENT;
        return -1;
    }
    files_exchange(from_parent, from_name, to_parent, to_name);
    if (files.exchanged != NULL)
        files.exchanged();
    return 0;
}

/* A beginning only: nothing is durable by it. */
int call_sync_range(int fd, off_t offset, off_t size, unsigned flags)
{
    leat_assert(files_descriptor(fd) != NULL && offset >= 0 && size > 0 && flags != 0);
    fiber_step();
    return 0;
}

int call_nanosleep(const struct timespec *time, struct timespec *rest)
{
    (void)rest;
    fiber_sleep((int64_t)time->tv_sec * 1000000000 + time->tv_nsec);
    return 0;
}

time_t call_time(time_t *out)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL)
        *out = now.tv_sec;
    return now.tv_sec;
}
