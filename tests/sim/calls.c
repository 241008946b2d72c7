/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/fiber.h"
#include "tests/sim/files.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

/* The file calls, under the names that the linker looks for, with and without 64. What does not lie on the simulated
 * disk goes to the kernel. */

enum { FIGURES_ONE_IN = 16, PAGE = 4096, PAGE_LINK = 48 };

#define BOTH(name) __asm__(name) __attribute__((alias(name "64")))

int call_open(const char *path, int flags, ...) __asm__("open64");
int call_open_32(const char *path, int flags, ...) BOTH("open");
int call_close(int fd) __asm__("close");
ssize_t call_read(int fd, void *out, size_t size) __asm__("read");
ssize_t call_write(int fd, const void *bytes, size_t size) __asm__("write");
ssize_t call_writev(int fd, const struct iovec *part, int parts) __asm__("writev");
ssize_t call_pread(int fd, void *out, size_t size, off_t at) __asm__("pread64");
ssize_t call_pread_32(int fd, void *out, size_t size, off_t at) BOTH("pread");
ssize_t call_pwrite(int fd, const void *bytes, size_t size, off_t at) __asm__("pwrite64");
ssize_t call_pwrite_32(int fd, const void *bytes, size_t size, off_t at) BOTH("pwrite");
ssize_t call_pwritev(int fd, const struct iovec *part, int parts, off_t at) __asm__("pwritev64");
ssize_t call_pwritev_32(int fd, const struct iovec *part, int parts, off_t at) BOTH("pwritev");
off_t call_lseek(int fd, off_t offset, int from) __asm__("lseek64");
off_t call_lseek_32(int fd, off_t offset, int from) BOTH("lseek");
int call_ftruncate(int fd, off_t size) __asm__("ftruncate64");
int call_ftruncate_32(int fd, off_t size) BOTH("ftruncate");
int call_fallocate(int fd, off_t offset, off_t size) __asm__("posix_fallocate64");
int call_fallocate_32(int fd, off_t offset, off_t size) BOTH("posix_fallocate");
int call_reserve(int fd, int mode, off_t offset, off_t size) __asm__("fallocate64");
int call_reserve_32(int fd, int mode, off_t offset, off_t size) BOTH("fallocate");
int call_fsync(int fd) __asm__("fsync");
int call_fdatasync(int fd) __asm__("fdatasync");
int call_msync(void *at, size_t size, int flags) __asm__("msync");
void *call_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) __asm__("mmap64");
void *call_mmap_32(void *at, size_t size, int protection, int flags, int fd, off_t offset) BOTH("mmap");
int call_munmap(void *at, size_t size) __asm__("munmap");
int call_madvise(void *at, size_t size, int advice) __asm__("madvise");
int call_fstat(int fd, struct stat *out) __asm__("fstat64");
int call_fstat_32(int fd, struct stat *out) BOTH("fstat");
int call_fxstat(int version, int fd, struct stat *out) __asm__("__fxstat64");
int call_fxstat_32(int version, int fd, struct stat *out) BOTH("__fxstat");
int call_stat(const char *path, struct stat *out) __asm__("stat64");
int call_stat_32(const char *path, struct stat *out) BOTH("stat");
int call_lstat(const char *path, struct stat *out) __asm__("lstat64");
int call_lstat_32(const char *path, struct stat *out) BOTH("lstat");
int call_fstatfs(int fd, struct statfs *out) __asm__("fstatfs64");
int call_fstatfs_32(int fd, struct statfs *out) BOTH("fstatfs");
int call_statvfs(const char *path, struct statvfs *out) __asm__("statvfs64");
int call_statvfs_32(const char *path, struct statvfs *out) BOTH("statvfs");
int call_fstatvfs(int fd, struct statvfs *out) __asm__("fstatvfs64");
int call_fstatvfs_32(int fd, struct statvfs *out) BOTH("fstatvfs");
int call_access(const char *path, int mode) __asm__("access");
int call_mkdir(const char *path, mode_t mode) __asm__("mkdir");
int call_rename(const char *from, const char *to) __asm__("rename");
int call_unlink(const char *path) __asm__("unlink");
int call_rmdir(const char *path) __asm__("rmdir");
int call_remove(const char *path) __asm__("remove");
int call_nftw(const char *path, __nftw_func_t each, int open, int flags) __asm__("nftw64");
int call_nftw_32(const char *path, __nftw_func_t each, int open, int flags) BOTH("nftw");
int call_fcntl(int fd, int command, ...) __asm__("fcntl64");
int call_fcntl_32(int fd, int command, ...) BOTH("fcntl");
DIR *call_opendir(const char *path) __asm__("opendir");
struct dirent *call_readdir(DIR *d) __asm__("readdir64");
struct dirent *call_readdir_32(DIR *d) BOTH("readdir");
int call_closedir(DIR *d) __asm__("closedir");
FILE *call_fopen(const char *path, const char *mode) __asm__("fopen64");
FILE *call_fopen_32(const char *path, const char *mode) BOTH("fopen");

/* ---- Which file ---- */

static bool on_disk(const char *path)
{
    size_t length = strlen(FILES_ROOT);

    return fiber_current() != 0 && strncmp(path, FILES_ROOT, length) == 0 &&
           (path[length] == '/' || path[length] == '\0');
}

static int fail(int number)
{
    errno = number;
    return -1;
}

/* A call on an open file begins: its number. */
static uint32_t begin(int fd)
{
    fiber_step();
    leat_assert(files_descriptor(fd)->file != 0);
    return files_descriptor(fd)->file;
}

static bool chance(uint32_t one_in)
{
    return one_in > 0 && random_below(&fiber_world.random, one_in) == 0;
}

/* Does this one of the calls that may fail do so? */
static bool breaks(uint32_t *errors, uint32_t *skip, enum files_count count)
{
    if (*errors == 0)
        return false;
    if (*skip > 0) {
        --*skip;
        return false;
    }
    --*errors;
    files.count[count]++;
    return true;
}

/* ---- Opening ---- */

int call_open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list args;
    const char *name = "";
    uint32_t parent, at = 0;

    va_start(args, flags);
    if ((flags & O_CREAT) != 0)
        mode = va_arg(args, mode_t);
    va_end(args);
    if (!on_disk(path))
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    fiber_step();
    uint32_t file = files_find(path, &parent, &name);
    if (file == 0 && (parent == 0 || (flags & O_CREAT) == 0))
        return fail(ENOENT);
    if (file != 0 && (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
        return fail(EEXIST);
    if (file == 0 && files.used_bytes >= files.capacity_bytes) {
        files.count[FILES_FULL]++;
        return fail(ENOSPC);
    }
    if (file == 0)
        file = files_make(parent, name, false);
    if ((flags & O_TRUNC) != 0)
        files_resize(file, 0);
    while (files.open[at].file != 0)
        at++;
    leat_assert(at < FILES_OPEN);
    files.open[at] = (struct files_descriptor){.file = file};
    files.file[file].opens++;
    return FILES_DESCRIPTOR + (int)at;
}

int call_close(int fd)
{
    struct files_descriptor *d = files_descriptor(fd);

    if (d == NULL)
        return (int)syscall(SYS_close, fd);
    uint32_t file = begin(fd);
    *d = (struct files_descriptor){0};
    files.file[file].opens--;
    files_release(file);
    return 0;
}

/* ---- Reading ---- */

static ssize_t read_at(uint32_t file, void *out, size_t size, uint64_t at)
{
    const struct file *f = &files.file[file];

    if (breaks(&files.read_errors, &files.read_skip, FILES_READ_ERRORS))
        return fail(EIO);
    if (at >= f->size)
        return 0;
    size = size < f->size - at ? size : f->size - at;
    memcpy(out, files_bytes(file) + at, size);
    return (ssize_t)size;
}

ssize_t call_pread(int fd, void *out, size_t size, off_t at)
{
    if (files_descriptor(fd) == NULL)
        return syscall(SYS_pread64, fd, out, size, at);
    return read_at(begin(fd), out, size, (uint64_t)at);
}

ssize_t call_read(int fd, void *out, size_t size)
{
    struct files_descriptor *d = files_descriptor(fd);

    if (d == NULL)
        return syscall(SYS_read, fd, out, size);
    ssize_t n = read_at(begin(fd), out, size, d->at);
    d->at += n > 0 ? (uint64_t)n : 0;
    return n;
}

off_t call_lseek(int fd, off_t offset, int from)
{
    struct files_descriptor *d = files_descriptor(fd);

    if (d == NULL)
        return syscall(SYS_lseek, fd, offset, from);
    const struct file *f = &files.file[begin(fd)];
    switch (from) {
    case SEEK_DATA:
        return (uint64_t)offset < f->written ? offset : fail(ENXIO);
    case SEEK_HOLE:
        return (uint64_t)offset < f->written ? (off_t)f->written : (off_t)f->size;
    case SEEK_END:
        offset += (off_t)f->size;
        break;
    case SEEK_CUR:
        offset += (off_t)d->at;
        break;
    default:
        break;
    }
    d->at = (uint64_t)offset;
    return offset;
}

/* ---- Writing ---- */

static int64_t disk_ns(void)
{
    return files.sync_ns / 2 + (int64_t)random_below(&fiber_world.random, (uint64_t)files.sync_ns + 1);
}

/* Others go on; the file stays, whatever they do. */
static void sleep_with(uint32_t file, int64_t ns)
{
    files.file[file].maps++;
    fiber_sleep(ns);
    files.file[file].maps--;
}

/* How much of a write is done; negative: errno. A process that dies at the coming step dies inside it. */
static ssize_t write_fault(uint32_t file, size_t size, uint64_t at)
{
    struct random *r = &fiber_world.random;

    files.count[FILES_WRITES]++;
    if (breaks(&files.write_errors, &files.write_skip, FILES_WRITE_ERRORS))
        return -EIO;
    if (chance(files.interrupt_one_in)) {
        files.count[FILES_INTERRUPTED]++;
        return -EINTR;
    }
    if (!files_room(file, at + size))
        return -ENOSPC;
    if (size > 1 && chance(files.short_one_in)) {
        files.count[FILES_SHORT_WRITES]++;
        return 1 + (ssize_t)random_below(r, size - 1);
    }
    return (ssize_t)size;
}

static ssize_t write_at(int fd, const void *bytes, size_t size, uint64_t at)
{
    uint32_t file = files_descriptor(fd)->file;

    leat_assert(file != 0);
    if (fiber_world.crash_step == fiber_world.steps + 1 && size > 1 && files_room(file, at + size)) {
        files.count[FILES_PARTIAL_WRITES]++;
        files_write(file, bytes, 1 + random_below(&fiber_world.random, size - 1), at);
    }
    begin(fd);
    if (chance(files.wait_one_in)) {
        files.count[FILES_SLOW_WRITES]++;
        sleep_with(file, disk_ns() * (1 + (int64_t)random_below(&fiber_world.random, 8)));
    }
    ssize_t done = write_fault(file, size, at);
    if (done < 0)
        return fail((int)-done);
    if (done > 0)
        files_write(file, bytes, (uint64_t)done, at);
    fiber_trace(file ^ at << 8 ^ (uint64_t)done << 40);
    return done;
}

/* Whoever watches the bytes of the disk sees a change of one: a cheap hash. Where LMDB uses a page again that it had
 * let go in the same transaction, an address stays behind in what is free of it (NEXT_LOOSE_PAGE): that is not the same
 * in each run. */
static void trace_bytes(const void *bytes, ssize_t size)
{
    uint64_t h = 0, word;
    ssize_t i = 0;

    for (; i + 8 <= size; i += 8) {
        if (size % PAGE == 0 && i % PAGE == PAGE_LINK)
            continue;
        memcpy(&word, (const uint8_t *)bytes + i, 8);
        h = (h ^ word) * 0x9e3779b97f4a7c15U;
        h ^= h >> 29;
    }
    for (; i < size; i++)
        h = h * 31 + ((const uint8_t *)bytes)[i];
    fiber_trace(h);
}

ssize_t call_pwrite(int fd, const void *bytes, size_t size, off_t at)
{
    if (files_descriptor(fd) == NULL)
        return syscall(SYS_pwrite64, fd, bytes, size, at);
    ssize_t n = write_at(fd, bytes, size, (uint64_t)at);
    trace_bytes(bytes, n);
    return n;
}

ssize_t call_write(int fd, const void *bytes, size_t size)
{
    struct files_descriptor *d = files_descriptor(fd);

    if (d == NULL)
        return syscall(SYS_write, fd, bytes, size);
    ssize_t n = write_at(fd, bytes, size, d->at);
    d->at += n > 0 ? (uint64_t)n : 0;
    return n;
}

static void *joined(const struct iovec *part, int parts, size_t *size)
{
    uint8_t *all;

    *size = 0;
    for (int i = 0; i < parts; i++)
        *size += part[i].iov_len;
    all = base_realloc(NULL, *size);
    *size = 0;
    for (int i = 0; i < parts; i++) {
        memcpy(all + *size, part[i].iov_base, part[i].iov_len);
        *size += part[i].iov_len;
    }
    return all;
}

ssize_t call_pwritev(int fd, const struct iovec *part, int parts, off_t at)
{
    size_t size;

    if (files_descriptor(fd) == NULL)
        return syscall(SYS_pwritev, fd, part, parts, at, 0);
    void *all = joined(part, parts, &size);
    ssize_t n = call_pwrite(fd, all, size, at);
    free(all);
    return n;
}

ssize_t call_writev(int fd, const struct iovec *part, int parts)
{
    size_t size;

    if (files_descriptor(fd) == NULL)
        return syscall(SYS_writev, fd, part, parts);
    void *all = joined(part, parts, &size);
    ssize_t n = call_write(fd, all, size);
    free(all);
    return n;
}

int call_ftruncate(int fd, off_t size)
{
    if (files_descriptor(fd) == NULL)
        return (int)syscall(SYS_ftruncate, fd, size);
    uint32_t file = begin(fd);
    if (!files_room(file, (uint64_t)size))
        return fail(ENOSPC);
    files_resize(file, (uint64_t)size);
    return 0;
}

int call_fallocate(int fd, off_t offset, off_t size)
{
    uint32_t file = begin(fd);

    if (!files_room(file, (uint64_t)(offset + size)))
        return ENOSPC;
    if (files.file[file].size < (uint64_t)(offset + size))
        files_resize(file, (uint64_t)(offset + size));
    return 0;
}

/* Only with a size that stays: room is looked for, but not kept. A hole is zeros from then on. */
int call_reserve(int fd, int mode, off_t offset, off_t size)
{
    uint32_t file = begin(fd);

    leat_assert((mode & FALLOC_FL_KEEP_SIZE) != 0);
    if ((mode & FALLOC_FL_PUNCH_HOLE) != 0) {
        uint64_t from = (uint64_t)offset, end = from + (uint64_t)size, most = files.file[file].size;

        end = end < most ? end : most;
        if (from < end)
            files_write(file, NULL, end - from, from);
        return 0;
    }
    return files_room(file, (uint64_t)(offset + size)) ? 0 : fail(ENOSPC);
}

/* Others go on while the disk works, and the power may fail. */
int call_fdatasync(int fd)
{
    if (files_descriptor(fd) == NULL)
        return (int)syscall(SYS_fdatasync, fd);
    uint32_t file = begin(fd);
    uint64_t number = files.changes;
    int64_t ns = disk_ns();

    files.count[FILES_SYNCS]++;
    if (chance(files.slow_one_in)) {
        files.count[FILES_SLOW_SYNCS]++;
        ns *= 100;
    }
    sleep_with(file, ns);
    bool failed = breaks(&files.sync_errors, &files.sync_skip, FILES_SYNC_ERRORS);
    files_synced(file, number, failed);
    fiber_trace(file);
    return failed ? fail(EIO) : 0;
}

int call_fsync(int fd)
{
    return files_descriptor(fd) == NULL ? (int)syscall(SYS_fsync, fd) : call_fdatasync(fd);
}

/* ---- Maps: the bytes themselves ---- */

static bool in_files(const void *at)
{
    return files.base != NULL && (const uint8_t *)at >= files.base &&
           (const uint8_t *)at < files.base + (size_t)FILES_MOST * FILES_REGION;
}

void *call_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (files_descriptor(fd) == NULL)
        return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
    uint32_t file = begin(fd);
    leat_assert(offset == 0 && (flags & MAP_SHARED) != 0);
    if ((protection & PROT_WRITE) != 0)
        files.file[file].written = files.file[file].size;
    files.file[file].maps++;
    return files_bytes(file);
}

int call_munmap(void *at, size_t size)
{
    if (!in_files(at))
        return (int)syscall(SYS_munmap, at, size);
    uint32_t file = (uint32_t)((size_t)((uint8_t *)at - files.base) / FILES_REGION);
    leat_assert(files.file[file].maps > 0);
    files.file[file].maps--;
    files_release(file);
    return 0;
}

int call_madvise(void *at, size_t size, int advice)
{
    /* Large pages would be lost with each life that crashes. */
    return in_files(at) || advice == MADV_HUGEPAGE ? 0 : (int)syscall(SYS_madvise, at, size, advice);
}

int call_msync(void *at, size_t size, int flags)
{
    return in_files(at) ? 0 : (int)syscall(SYS_msync, at, size, flags);
}

/* ---- Asking ---- */

static void fill_stat(uint32_t file, struct stat *out)
{
    const struct file *f = &files.file[file];

    memset(out, 0, sizeof(*out));
    out->st_ino = file;
    out->st_dev = 1;
    out->st_nlink = f->names;
    out->st_mtim = (struct timespec){f->changed_ns / 1000000000, f->changed_ns % 1000000000};
    out->st_mode = f->directory ? S_IFDIR | 0700 : S_IFREG | 0600;
    out->st_size = (off_t)f->size;
    out->st_blksize = 4096;
    out->st_blocks = (blkcnt_t)(f->size / 512);
}

int call_fstat(int fd, struct stat *out)
{
    if (files_descriptor(fd) == NULL)
        return (int)syscall(SYS_newfstatat, fd, "", out, AT_EMPTY_PATH);
    fill_stat(begin(fd), out);
    return 0;
}

int call_fxstat(int version, int fd, struct stat *out)
{
    (void)version;
    return call_fstat(fd, out);
}

int call_stat(const char *path, struct stat *out)
{
    if (!on_disk(path))
        return (int)syscall(SYS_newfstatat, AT_FDCWD, path, out, 0);
    fiber_step();
    uint32_t file = files_find(path, NULL, NULL);
    if (file == 0)
        return fail(ENOENT);
    fill_stat(file, out);
    return 0;
}

int call_lstat(const char *path, struct stat *out)
{
    return call_stat(path, out);
}

int call_fstatfs(int fd, struct statfs *out)
{
    if (files_descriptor(fd) == NULL)
        return (int)syscall(SYS_fstatfs, fd, out);
    memset(out, 0, sizeof(*out));
    out->f_bsize = 4096;
    return 0;
}

static void fill_statvfs(struct statvfs *out)
{
    bool told = files.capacity_bytes < (uint64_t)1 << 40 && !files.hides_full;
    uint64_t most = told ? files.capacity_bytes : (uint64_t)1 << 40;

    memset(out, 0, sizeof(*out));
    out->f_bsize = out->f_frsize = 4096;
    out->f_blocks = most / 4096;
    out->f_bfree = out->f_bavail = files.used_bytes < most ? (most - files.used_bytes) / 4096 : 0;
}

int call_statvfs(const char *path, struct statvfs *out)
{
    if (!on_disk(path))
        return fail(ENOSYS);
    fiber_step();
    fill_statvfs(out);
    return 0;
}

int call_fstatvfs(int fd, struct statvfs *out)
{
    if (files_descriptor(fd) == NULL)
        return fail(ENOSYS);
    begin(fd);
    fill_statvfs(out);
    return 0;
}

int call_access(const char *path, int mode)
{
    if (!on_disk(path))
        return (int)syscall(SYS_faccessat, AT_FDCWD, path, mode);
    fiber_step();
    return files_find(path, NULL, NULL) != 0 ? 0 : fail(ENOENT);
}

/* ---- Names ---- */

int call_mkdir(const char *path, mode_t mode)
{
    const char *name;
    uint32_t parent;

    if (!on_disk(path))
        return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    fiber_step();
    if (files_find(path, &parent, &name) != 0)
        return fail(EEXIST);
    if (parent == 0)
        return fail(ENOENT);
    files_make(parent, name, true);
    return 0;
}

int call_rename(const char *from, const char *to)
{
    const char *from_name, *to_name;
    uint32_t from_parent, to_parent;

    if (!on_disk(from))
        return (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    fiber_step();
    uint32_t file = files_find(from, &from_parent, &from_name);
    files_find(to, &to_parent, &to_name);
    if (file == 0 || to_parent == 0)
        return fail(ENOENT);
    files_name(to_parent, to_name, file);
    files_name(from_parent, from_name, 0);
    return 0;
}

static int remove_path(const char *path, bool directory)
{
    const char *name;
    uint32_t parent;

    if (!on_disk(path))
        return (int)syscall(SYS_unlinkat, AT_FDCWD, path, directory ? AT_REMOVEDIR : 0);
    fiber_step();
    uint32_t file = files_find(path, &parent, &name);
    if (file == 0)
        return fail(ENOENT);
    if (files.file[file].directory != directory)
        return fail(directory ? ENOTDIR : EISDIR);
    if (directory && files.file[file].entries > 0)
        return fail(ENOTEMPTY);
    files_name(parent, name, 0);
    return 0;
}

int call_unlink(const char *path)
{
    return remove_path(path, false);
}

int call_rmdir(const char *path)
{
    return remove_path(path, true);
}

int call_remove(const char *path)
{
    int rv = remove_path(path, false);

    return rv != 0 && errno == EISDIR ? remove_path(path, true) : rv;
}

/* ---- Locks of processes: one at a time has the disk ---- */

int call_fcntl(int fd, int command, ...)
{
    va_list args;

    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    if (files_descriptor(fd) == NULL)
        return (int)syscall(SYS_fcntl, fd, command, argument);
    if (command == F_GETLK)
        ((struct flock *)argument)->l_type = F_UNLCK;
    return 0;
}

/* ---- Directories ---- */

struct listing {
    uint32_t directory, next;
    struct dirent entry;
};

DIR *call_opendir(const char *path)
{
    uint32_t file = on_disk(path) ? files_find(path, NULL, NULL) : 0;

    fiber_step();
    if (file == 0 || !files.file[file].directory) {
        errno = ENOENT;
        return NULL;
    }
    struct listing *l = base_alloc(sizeof(*l));
    l->directory = file;
    return (DIR *)l;
}

struct dirent *call_readdir(DIR *d)
{
    struct listing *l = (struct listing *)d;
    const struct file *f = &files.file[l->directory];

    if (l->next >= f->entries)
        return NULL;
    snprintf(l->entry.d_name, sizeof(l->entry.d_name), "%s", f->entry[l->next++].name);
    return &l->entry;
}

int call_closedir(DIR *d)
{
    free(d);
    return 0;
}

/* Depth first; each() may remove what it is told. */
int call_nftw(const char *path, __nftw_func_t each, int open, int flags)
{
    struct FTW at = {0, 0};
    struct stat st;
    char below[1024];
    int rv = 0;

    leat_assert(on_disk(path) && (flags & FTW_DEPTH) != 0);
    uint32_t file = files_find(path, NULL, NULL);
    if (file == 0)
        return fail(ENOENT);
    for (uint32_t i = 0; rv == 0 && files.file[file].directory && i < files.file[file].entries;) {
        uint32_t entries = files.file[file].entries;

        snprintf(below, sizeof(below), "%s/%s", path, files.file[file].entry[i].name);
        rv = call_nftw(below, each, open, flags);
        i += files.file[file].entries == entries;
    }
    fill_stat(file, &st);
    return rv != 0 ? rv : each(path, &st, files.file[file].directory ? FTW_DP : FTW_F, &at);
}

/* ---- Streams ---- */

static ssize_t stream_write(void *cookie, const char *bytes, size_t size)
{
    ssize_t n = call_write((int)(intptr_t)cookie, bytes, size);

    return n > 0 ? n : 0;
}

static ssize_t stream_read(void *cookie, char *out, size_t size)
{
    return call_read((int)(intptr_t)cookie, out, size);
}

static int stream_close(void *cookie)
{
    return call_close((int)(intptr_t)cookie);
}

FILE *call_fopen(const char *path, const char *mode)
{
    static const cookie_io_functions_t functions = {stream_read, stream_write, NULL, stream_close};
    FILE *(*real)(const char *, const char *);

    if (!on_disk(path)) {
        void *symbol = dlsym(RTLD_NEXT, "fopen");

        memcpy(&real, &symbol, sizeof(real));
        return real(path, mode);
    }
    /* Only figures are written by a stream, each second: most of them are left out, as printing takes its time. */
    if (mode[0] != 'r' && random_below(&fiber_world.random, FIGURES_ONE_IN) != 0) {
        errno = EMFILE;
        return NULL;
    }
    int fd = call_open(path, mode[0] == 'r' ? O_RDONLY : O_RDWR | O_CREAT | O_TRUNC, 0600);
    return fd < 0 ? NULL : fopencookie((void *)(intptr_t)fd, mode, functions);
}
