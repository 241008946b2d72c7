/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* File systems keep some megabytes back for themselves: a disk is full before the last block is taken. */
#define FULL_BELOW (UINT64_C(32) << 20)

static int parent_of(const char *path, char *out, size_t size)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return snprintf(out, size, ".") > 0 ? 0 : -1;
    return snprintf(out, size, "%.*s", slash == path ? 1 : (int)(slash - path), path) > 0 ? 0 : -1;
}

/* One directory, and its entry durable. A parent that we may not read belongs to who made the directory for us. */
static int make_one(const char *path, bool durable, bool last, struct leat_error *err)
{
    char parent[4096];
    bool made = mkdir(path, 0700) == 0;

    if (!made && errno != EEXIST)
        return base_errno(err, errno, "make directory", path);
    if (!durable || (!made && !last))
        return 0;
    parent_of(path, parent, sizeof(parent));
    return made || access(parent, R_OK) == 0 ? file_sync_directory(parent, err) : 0;
}

int file_make_directory(const char *path, bool durable, struct leat_error *err)
{
    char part[4096];
    int n = snprintf(part, sizeof(part), "%s", path), rv = 0;

    if (n <= 0 || (size_t)n >= sizeof(part))
        return leat_fail(err, LEAT_EINVAL, "the path '%.100s...' is empty or too long", path);
    for (char *slash = part + 1; *slash != '\0' && rv == 0; slash++) {
        if (*slash != '/')
            continue;
        *slash = '\0';
        rv = make_one(part, durable, false, err);
        *slash = '/';
    }
    if (rv == 0)
        rv = make_one(part, durable, true, err);
    struct stat st;
    if (rv == 0 && (stat(part, &st) != 0 || !S_ISDIR(st.st_mode)))
        rv = leat_fail(err, LEAT_EINVAL, "'%s' is not a directory", part);
    return rv;
}

int file_sync_directory(const char *path, struct leat_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rv = 0;

    if (fd < 0)
        return base_errno(err, errno, "open directory", path);
    if (fsync(fd) != 0)
        rv = leat_fail(err, LEAT_EIO, "sync directory '%s': %s", path, strerror(errno));
    close(fd);
    return rv;
}

int file_sync(int fd, const char *path, struct leat_error *err)
{
    return fdatasync(fd) == 0
               ? 0
               : leat_fail(err, LEAT_EIO, "fdatasync '%s': %s; close and open again", path, strerror(errno));
}

bool file_disk_full(const char *path)
{
    struct statvfs v;

    return statvfs(path, &v) == 0 && (uint64_t)v.f_bavail * v.f_frsize < FULL_BELOW;
}

int file_reserve(const char *path, uint64_t size, struct leat_error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), rv = 0;

    if (fd < 0)
        return base_errno(err, errno, "open", path);
    if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size) != 0 && errno != EOPNOTSUPP && errno != ENOSYS)
        rv = base_errno(err, errno, "reserve space for", path);
    close(fd);
    return rv;
}

int file_pwrite(int fd, const void *bytes, size_t size, uint64_t offset)
{
    const uint8_t *at = bytes;

    while (size > 0) {
        ssize_t n = pwrite(fd, at, size, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? LEAT_ENOSPACE : LEAT_EIO;
        at += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

int file_replace(const char *path, struct leat_span bytes, struct leat_error *err)
{
    char tmp[4096], parent[4096];
    int rv;

    snprintf(tmp, sizeof(tmp), "%s.tmp", path);
    parent_of(path, parent, sizeof(parent));
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return base_errno(err, errno, "write", tmp);
    rv = file_pwrite(fd, bytes.base, bytes.size, 0);
    if (rv != 0 || fdatasync(fd) != 0)
        rv = base_errno(err, errno, "write", tmp);
    close(fd);
    if (rv == 0 && rename(tmp, path) != 0)
        rv = base_errno(err, errno, "rename", tmp);
    return rv == 0 ? file_sync_directory(parent, err) : rv;
}

int file_read(const char *path, size_t limit, struct buffer *out, struct leat_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), rv = 0;
    struct stat st;

    if (fd < 0)
        return base_errno(err, errno, "read", path);
    if (fstat(fd, &st) != 0 || S_ISDIR(st.st_mode))
        rv = leat_fail(err, LEAT_EINVAL, "'%s' is no file", path);
    else if ((uint64_t)st.st_size > limit)
        rv = leat_fail(err, LEAT_ELIMIT, "'%s' has %lld bytes, more than the %zu allowed", path, (long long)st.st_size,
                       limit);
    while (rv == 0) {
        uint8_t chunk[65536];
        ssize_t n = read(fd, chunk, sizeof(chunk));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rv = base_errno(err, errno, "read", path);
        if (n <= 0)
            break;
        buffer_put(out, chunk, (size_t)n);
        if (out->error != 0)
            rv = leat_fail(err, out->error, "'%s' has more bytes than there is room for", path);
    }
    close(fd);
    return rv;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

int file_remove_tree(const char *path, struct leat_error *err)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT)
        return 0;
    return base_errno(err, errno, "remove", path);
}

struct dirent *file_next(DIR *d, const char *path, int *rv, struct leat_error *err)
{
    errno = 0;
    struct dirent *e = readdir(d);
    if (e == NULL && errno != 0)
        *rv = base_errno(err, errno, "list", path);
    return e;
}

/* Who only looks, as leat doctor does, locks it without its number. */
static int locked(const char *path, int file, struct leat_error *err)
{
    char pid[32] = "";
    ssize_t n = pread(file, pid, sizeof(pid) - 1, 0);

    pid[n > 0 ? n : 0] = '\0';
    if (atoi(pid) <= 0 || (kill(atoi(pid), 0) != 0 && errno == ESRCH))
        return leat_fail(err, LEAT_EBUSY,
                         "'%s' is locked by a process that looks at this directory (leat doctor), or that cannot be "
                         "seen from here; wait for it, or use another directory",
                         path);
    return leat_fail(err, LEAT_EBUSY,
                     "'%s' is locked: process %d has this directory open; stop it, or use another directory", path,
                     atoi(pid));
}

int file_lock(const char *path, int *fd, struct leat_error *err)
{
    char pid[32] = "";
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (file < 0)
        return base_errno(err, errno, "open", path);
    bool taken = flock(file, LOCK_EX | LOCK_NB) != 0;
    if (taken && errno == EWOULDBLOCK) { /* by one who only looks whether it is, maybe */
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        taken = flock(file, LOCK_EX | LOCK_NB) != 0;
    }
    if (taken) {
        int rv = locked(path, file, err);

        close(file);
        return rv;
    }
    int n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    if (ftruncate(file, 0) != 0 || pwrite(file, pid, (size_t)n, 0) != n) {
        int rv = base_errno(err, errno, "write", path);

        close(file);
        return rv;
    }
    *fd = file;
    return 0;
}
