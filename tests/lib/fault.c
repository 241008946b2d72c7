/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fault.h"

#include "tests/lib/calls.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

ssize_t call_read(int fd, void *out, size_t size) __asm__("read");
ssize_t call_pread(int fd, void *out, size_t size, off_t offset) __asm__("pread64");
ssize_t call_pread_32(int fd, void *out, size_t size, off_t offset) __asm__("pread") __attribute__((alias("pread64")));

struct dirent *call_readdir(DIR *d) __asm__("readdir64");
struct dirent *call_readdir_32(DIR *d) __asm__("readdir") __attribute__((alias("readdir64")));

const char *const fault_name[FAULT_CALLS] = {"open", "write", "sync", "allocate", "cut", "unlink", "read", "list"};

static struct {
    pthread_mutex_t lock;
    _Atomic bool on;
    char root[256];
    struct fault fault;
    uint32_t calls;
} now = {.lock = PTHREAD_MUTEX_INITIALIZER};

void fault_directory(char out[64])
{
    snprintf(out, 64, "%s/leat-faults-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(out) == NULL)
        abort();
}

void fault_begin(const char *root, const struct fault *f)
{
    pthread_mutex_lock(&now.lock);
    snprintf(now.root, sizeof(now.root), "%s", root);
    now.fault = *f;
    now.calls = 0;
    now.on = true;
    pthread_mutex_unlock(&now.lock);
}

uint32_t fault_end(void)
{
    pthread_mutex_lock(&now.lock);
    now.on = false;
    uint32_t calls = now.calls;
    pthread_mutex_unlock(&now.lock);
    return calls;
}

/* Does this call fail? errno says why. */
static bool fails(enum fault_call call, const char *path)
{
    bool failing = false;

    pthread_mutex_lock(&now.lock);
    if (now.on && now.fault.call == call && strstr(path, now.root) != NULL) {
        now.calls++;
        failing = now.fault.at != 0 && (now.fault.lasting ? now.calls >= now.fault.at : now.calls == now.fault.at);
        if (failing)
            errno = now.fault.number;
    }
    pthread_mutex_unlock(&now.lock);
    return failing;
}

static bool file_fails(enum fault_call call, int fd)
{
    char link[64], path[4096];

    if (!now.on)
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    return fails(call, path);
}

/* ---- The calls ---- */

int call_open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list args;

    va_start(args, flags);
    if ((flags & O_CREAT) != 0)
        mode = va_arg(args, mode_t);
    va_end(args);
    return fails(FAULT_OPEN, path) ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

ssize_t call_read(int fd, void *out, size_t size)
{
    return file_fails(FAULT_READ, fd) ? -1 : syscall(SYS_read, fd, out, size);
}

ssize_t call_pread(int fd, void *out, size_t size, off_t offset)
{
    return file_fails(FAULT_READ, fd) ? -1 : syscall(SYS_pread64, fd, out, size, offset);
}

ssize_t call_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    if (!file_fails(FAULT_WRITE, fd))
        return syscall(SYS_pwrite64, fd, bytes, size, offset);
    int number = errno;
    syscall(SYS_pwrite64, fd, bytes, size / 2, offset);
    errno = number;
    return -1;
}

ssize_t call_write(int fd, const void *bytes, size_t size)
{
    return file_fails(FAULT_WRITE, fd) ? -1 : syscall(SYS_write, fd, bytes, size);
}

ssize_t call_writev(int fd, const struct iovec *part, int parts)
{
    return file_fails(FAULT_WRITE, fd) ? -1 : syscall(SYS_writev, fd, part, parts);
}

int call_ftruncate(int fd, off_t size)
{
    return file_fails(FAULT_CUT, fd) ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

int call_fallocate(int fd, off_t offset, off_t size)
{
    if (file_fails(FAULT_ALLOCATE, fd))
        return errno;
    return syscall(SYS_fallocate, fd, 0, offset, size) == 0 ? 0 : errno;
}

int call_fsync(int fd)
{
    return file_fails(FAULT_SYNC, fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

int call_fdatasync(int fd)
{
    return file_fails(FAULT_SYNC, fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int call_unlink(const char *path)
{
    return fails(FAULT_UNLINK, path) ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

struct dirent *call_readdir(DIR *d)
{
    static struct dirent *(*_Atomic real)(DIR *);

    if (file_fails(FAULT_LIST, dirfd(d)))
        return NULL;
    if (atomic_load(&real) == NULL)
        atomic_store(&real, (struct dirent *(*)(DIR *))dlsym(RTLD_NEXT, "readdir64"));
    return atomic_load(&real)(d);
}
