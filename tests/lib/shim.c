/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static struct shim_control *control;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("LEAT_SHIM");
    int fd = path != NULL ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0) : -1;

    if (fd < 0)
        return;
    void *map = (void *)syscall(SYS_mmap, NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)0);
    if (map != MAP_FAILED)
        control = map;
    syscall(SYS_close, fd);
}

/* Does a call fail now? errno says why. */
static bool hit(void)
{
    uint32_t seen = atomic_fetch_add(&control->seen, 1) + 1, at = control->at, every = control->every;

    if (at == 0 || seen < at || (seen > at && (every == 0 || (seen - at) % every != 0)))
        return false;
    atomic_fetch_add(&control->failed, 1);
    errno = control->number;
    return true;
}

static bool path_fails(enum shim_call call, const char *path)
{
    return control != NULL && (control->calls & call) != 0 && strstr(path, control->under) != NULL && hit();
}

static bool file_fails(enum shim_call call, int fd)
{
    char link[64], path[4096];

    if (control == NULL || (control->calls & call) == 0)
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    return path_fails(call, path);
}

/* ---- Files: under the names that the linker looks for, with and without 64 ---- */

int shim_open(const char *path, int flags, ...) __asm__("open64");
int shim_open_32(const char *path, int flags, ...) __asm__("open") __attribute__((alias("open64")));
ssize_t shim_write(int fd, const void *bytes, size_t size) __asm__("write");
ssize_t shim_writev(int fd, const struct iovec *part, int parts) __asm__("writev");
ssize_t shim_pwrite(int fd, const void *bytes, size_t size, off_t offset) __asm__("pwrite64");
ssize_t shim_pwrite_32(int fd, const void *bytes, size_t size, off_t offset)
    __asm__("pwrite") __attribute__((alias("pwrite64")));
ssize_t shim_pwritev(int fd, const struct iovec *part, int parts, off_t offset) __asm__("pwritev64");
ssize_t shim_pwritev_32(int fd, const struct iovec *part, int parts, off_t offset)
    __asm__("pwritev") __attribute__((alias("pwritev64")));
int shim_ftruncate(int fd, off_t size) __asm__("ftruncate64");
int shim_ftruncate_32(int fd, off_t size) __asm__("ftruncate") __attribute__((alias("ftruncate64")));
int shim_fallocate(int fd, int mode, off_t offset, off_t size) __asm__("fallocate64");
int shim_fallocate_32(int fd, int mode, off_t offset, off_t size)
    __asm__("fallocate") __attribute__((alias("fallocate64")));
int shim_posix_fallocate(int fd, off_t offset, off_t size) __asm__("posix_fallocate64");
int shim_posix_fallocate_32(int fd, off_t offset, off_t size)
    __asm__("posix_fallocate") __attribute__((alias("posix_fallocate64")));
int shim_fsync(int fd) __asm__("fsync");
int shim_fdatasync(int fd) __asm__("fdatasync");
void *shim_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) __asm__("mmap64");
void *shim_mmap_32(void *at, size_t size, int protection, int flags, int fd, off_t offset)
    __asm__("mmap") __attribute__((alias("mmap64")));

int shim_open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list args;

    va_start(args, flags);
    if ((flags & (O_CREAT | O_TMPFILE)) != 0)
        mode = va_arg(args, mode_t);
    va_end(args);
    return path_fails(SHIM_OPEN, path) ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

/* What a write that is hit does: nothing, or half of it. */
static size_t shortened(size_t size)
{
    return size > 1 ? size / 2 : size;
}

ssize_t shim_write(int fd, const void *bytes, size_t size)
{
    if (!file_fails(SHIM_WRITE, fd))
        return syscall(SYS_write, fd, bytes, size);
    return errno != 0 ? -1 : syscall(SYS_write, fd, bytes, shortened(size));
}

ssize_t shim_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    if (!file_fails(SHIM_WRITE, fd))
        return syscall(SYS_pwrite64, fd, bytes, size, offset);
    return errno != 0 ? -1 : syscall(SYS_pwrite64, fd, bytes, shortened(size), offset);
}

ssize_t shim_writev(int fd, const struct iovec *part, int parts)
{
    if (!file_fails(SHIM_WRITE, fd))
        return syscall(SYS_writev, fd, part, parts);
    return errno != 0 ? -1 : syscall(SYS_write, fd, part[0].iov_base, shortened(part[0].iov_len));
}

ssize_t shim_pwritev(int fd, const struct iovec *part, int parts, off_t offset)
{
    if (!file_fails(SHIM_WRITE, fd))
        return syscall(SYS_pwritev, fd, part, parts, offset, 0L);
    return errno != 0 ? -1 : syscall(SYS_pwrite64, fd, part[0].iov_base, shortened(part[0].iov_len), offset);
}

int shim_ftruncate(int fd, off_t size)
{
    return file_fails(SHIM_TRUNCATE, fd) ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

int shim_fallocate(int fd, int mode, off_t offset, off_t size)
{
    return file_fails(SHIM_ALLOCATE, fd) ? -1 : (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

int shim_posix_fallocate(int fd, off_t offset, off_t size)
{
    if (file_fails(SHIM_ALLOCATE, fd))
        return errno;
    return syscall(SYS_fallocate, fd, 0, offset, size) == 0 ? 0 : errno;
}

int shim_fsync(int fd)
{
    return file_fails(SHIM_SYNC, fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

int shim_fdatasync(int fd)
{
    return file_fails(SHIM_SYNC, fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

void *shim_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (fd >= 0 && file_fails(SHIM_MMAP, fd))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
}

/* ---- Memory: glibc's own names of what it does ---- */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
void *shim_malloc(size_t size) __asm__("malloc");
void *shim_calloc(size_t count, size_t size) __asm__("calloc");
void *shim_realloc(void *memory, size_t size) __asm__("realloc");

static bool memory_fails(void)
{
    bool failing = control != NULL && (control->calls & SHIM_MALLOC) != 0 && hit();

    if (failing)
        errno = ENOMEM;
    return failing;
}

void *shim_malloc(size_t size)
{
    return memory_fails() ? NULL : __libc_malloc(size);
}

void *shim_calloc(size_t count, size_t size)
{
    return memory_fails() ? NULL : __libc_calloc(count, size);
}

void *shim_realloc(void *memory, size_t size)
{
    return memory_fails() ? NULL : __libc_realloc(memory, size);
}
