/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/memory.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sanitizer/asan_interface.h> /* without ASan its macros do nothing */
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

/* The calls, under the names that the linker looks for, with and without 64. */

enum { OPEN = 32, DESCRIPTOR = 1 << 20 };

#define BOTH(name) __asm__(name) __attribute__((alias(name "64")))

int call_open(const char *path, int flags, ...) __asm__("open64");
int call_open_32(const char *path, int flags, ...) BOTH("open");
int call_close(int fd) __asm__("close");
ssize_t call_read(int fd, void *out, size_t size) __asm__("read");
ssize_t call_pread(int fd, void *out, size_t size, off_t at) __asm__("pread64");
ssize_t call_pread_32(int fd, void *out, size_t size, off_t at) BOTH("pread");
ssize_t call_pwrite(int fd, const void *bytes, size_t size, off_t at) __asm__("pwrite64");
ssize_t call_pwrite_32(int fd, const void *bytes, size_t size, off_t at) BOTH("pwrite");
ssize_t call_write(int fd, const void *bytes, size_t size) __asm__("write");
ssize_t call_writev(int fd, const struct iovec *part, int parts) __asm__("writev");
off_t call_lseek(int fd, off_t offset, int from) __asm__("lseek64");
off_t call_lseek_32(int fd, off_t offset, int from) BOTH("lseek");
int call_ftruncate(int fd, off_t size) __asm__("ftruncate64");
int call_ftruncate_32(int fd, off_t size) BOTH("ftruncate");
int call_fallocate(int fd, off_t offset, off_t size) __asm__("posix_fallocate64");
int call_fallocate_32(int fd, off_t offset, off_t size) BOTH("posix_fallocate");
int call_reserve(int fd, int mode, off_t offset, off_t size) __asm__("fallocate64");
int call_reserve_32(int fd, int mode, off_t offset, off_t size) BOTH("fallocate");
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
int call_fstatfs(int fd, struct statfs *out) __asm__("fstatfs64");
int call_fstatfs_32(int fd, struct statfs *out) BOTH("fstatfs");
int call_access(const char *path, int mode) __asm__("access");
int call_mkdir(const char *path, mode_t mode) __asm__("mkdir");
int call_unlink(const char *path) __asm__("unlink");
int call_nftw(const char *path, __nftw_func_t each, int open, int flags) __asm__("nftw64");
int call_nftw_32(const char *path, __nftw_func_t each, int open, int flags) BOTH("nftw");
int call_fcntl(int fd, int command, ...) __asm__("fcntl64");
int call_fcntl_32(int fd, int command, ...) BOTH("fcntl");
DIR *call_opendir(const char *path) __asm__("opendir");
struct dirent *call_readdir(DIR *d) __asm__("readdir64");
struct dirent *call_readdir_32(DIR *d) BOTH("readdir");
int call_closedir(DIR *d) __asm__("closedir");

/* A name keeps its place when it is removed: whoever has it open or mapped goes on with what is there. */
struct file {
    char name[32];
    size_t size;
    bool there;
};

struct descriptor {
    struct file *file; /* NULL: closed */
    uint64_t at;
};

static struct file file[MEMORY_FILES];
static struct descriptor descriptor[OPEN];
static _Alignas(4096) uint8_t bytes_of[MEMORY_FILES][MEMORY_MOST];
static uint32_t listed;
static struct dirent entry;

static int fail(int number)
{
    errno = number;
    return -1;
}

static uint8_t *base_of(const struct file *f)
{
    return bytes_of[f - file];
}

/* The name below the directory, "" for itself; NULL: it lies elsewhere. */
static const char *name_of(const char *path)
{
    size_t length = strlen(MEMORY_DIRECTORY);

    if (strncmp(path, MEMORY_DIRECTORY, length) != 0)
        return NULL;
    return path[length] == '/' ? path + length + 1 : path[length] == '\0' ? path + length : NULL;
}

/* The file of a name, there or not; NULL: nobody has made one. */
static struct file *find(const char *name)
{
    for (uint32_t i = 0; i < MEMORY_FILES; i++)
        if (strcmp(file[i].name, name) == 0)
            return &file[i];
    return NULL;
}

static struct file *find_there(const char *name)
{
    struct file *f = name[0] != '\0' ? find(name) : NULL;

    return f != NULL && f->there ? f : NULL;
}

static void resize(struct file *f, size_t size)
{
    leat_assert(size <= MEMORY_MOST);
    if (size > f->size) {
        ASAN_UNPOISON_MEMORY_REGION(base_of(f) + f->size, size - f->size);
        memset(base_of(f) + f->size, 0, size - f->size);
    } else {
        ASAN_POISON_MEMORY_REGION(base_of(f) + size, f->size - size);
    }
    f->size = size;
}

static struct file *make(const char *name)
{
    struct file *f = find(name);

    if (f == NULL) {
        f = find("");
        leat_assert(f != NULL && strlen(name) < sizeof(f->name));
        memcpy(f->name, name, strlen(name) + 1);
        ASAN_POISON_MEMORY_REGION(base_of(f), MEMORY_MOST);
    }
    if (!f->there)
        resize(f, 0);
    f->there = true;
    return f;
}

static struct descriptor *open_of(int fd)
{
    if (fd < DESCRIPTOR || fd >= DESCRIPTOR + OPEN)
        return NULL;
    leat_assert(descriptor[fd - DESCRIPTOR].file != NULL);
    return &descriptor[fd - DESCRIPTOR];
}

void memory_put(const char *name, const void *bytes, size_t size)
{
    struct file *f = make(name);

    resize(f, size);
    memcpy(base_of(f), bytes, size);
}

void memory_remove(const char *name)
{
    struct file *f = find_there(name);

    if (f != NULL)
        f->there = false;
}

struct leat_span memory_bytes(const char *name)
{
    struct file *f = find_there(name);

    leat_assert(f != NULL);
    return span_of(base_of(f), f->size);
}

/* ---- Of open files ---- */

int call_open(const char *path, int flags, ...)
{
    const char *name = name_of(path);
    mode_t mode = 0;
    va_list args;
    int at = 0;

    va_start(args, flags);
    if ((flags & O_CREAT) != 0)
        mode = va_arg(args, mode_t);
    va_end(args);
    if (name == NULL)
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    struct file *f = find_there(name);
    if (f == NULL && (flags & O_CREAT) == 0)
        return fail(ENOENT);
    if (f == NULL)
        f = make(name);
    if ((flags & O_TRUNC) != 0)
        resize(f, 0);
    while (at < OPEN && descriptor[at].file != NULL)
        at++;
    leat_assert(at < OPEN);
    descriptor[at] = (struct descriptor){.file = f};
    return DESCRIPTOR + at;
}

int call_close(int fd)
{
    struct descriptor *d = open_of(fd);

    if (d == NULL)
        return (int)syscall(SYS_close, fd);
    d->file = NULL;
    return 0;
}

ssize_t call_pread(int fd, void *out, size_t size, off_t at)
{
    const struct descriptor *d = open_of(fd);

    if (d == NULL)
        return syscall(SYS_pread64, fd, out, size, at);
    size_t left = (size_t)at < d->file->size ? d->file->size - (size_t)at : 0, n = size < left ? size : left;
    memcpy(out, base_of(d->file) + at, n);
    return (ssize_t)n;
}

ssize_t call_read(int fd, void *out, size_t size)
{
    struct descriptor *d = open_of(fd);

    if (d == NULL)
        return syscall(SYS_read, fd, out, size);
    ssize_t n = call_pread(fd, out, size, (off_t)d->at);
    d->at += (uint64_t)n;
    return n;
}

ssize_t call_pwrite(int fd, const void *bytes, size_t size, off_t at)
{
    const struct descriptor *d = open_of(fd);

    if (d == NULL)
        return syscall(SYS_pwrite64, fd, bytes, size, at);
    if ((size_t)at + size > d->file->size)
        resize(d->file, (size_t)at + size);
    memcpy(base_of(d->file) + at, bytes, size);
    return (ssize_t)size;
}

ssize_t call_write(int fd, const void *bytes, size_t size)
{
    struct descriptor *d = open_of(fd);

    if (d == NULL)
        return syscall(SYS_write, fd, bytes, size);
    ssize_t n = call_pwrite(fd, bytes, size, (off_t)d->at);
    d->at += (uint64_t)n;
    return n;
}

ssize_t call_writev(int fd, const struct iovec *part, int parts)
{
    ssize_t n = 0;

    if (open_of(fd) == NULL)
        return syscall(SYS_writev, fd, part, parts);
    for (int i = 0; i < parts; i++)
        n += call_write(fd, part[i].iov_base, part[i].iov_len);
    return n;
}

/* There are no holes. */
off_t call_lseek(int fd, off_t offset, int from)
{
    struct descriptor *d = open_of(fd);

    if (d == NULL)
        return syscall(SYS_lseek, fd, offset, from);
    off_t size = (off_t)d->file->size;
    if (from == SEEK_DATA || from == SEEK_HOLE)
        return offset >= size ? fail(ENXIO) : from == SEEK_DATA ? offset : size;
    offset += from == SEEK_END ? size : from == SEEK_CUR ? (off_t)d->at : 0;
    d->at = (uint64_t)offset;
    return offset;
}

int call_ftruncate(int fd, off_t size)
{
    const struct descriptor *d = open_of(fd);

    if (d == NULL)
        return (int)syscall(SYS_ftruncate, fd, size);
    resize(d->file, (size_t)size);
    return 0;
}

int call_fallocate(int fd, off_t offset, off_t size)
{
    struct file *f = open_of(fd)->file;

    if ((size_t)(offset + size) > f->size)
        resize(f, (size_t)(offset + size));
    return 0;
}

/* Only with a size that stays, and without holes: there is room. */
int call_reserve(int fd, int mode, off_t offset, off_t size)
{
    leat_assert(open_of(fd) != NULL && mode == FALLOC_FL_KEEP_SIZE && offset + size <= MEMORY_MOST);
    return 0;
}

int call_fstat(int fd, struct stat *out)
{
    const struct descriptor *d = open_of(fd);

    if (d == NULL)
        return (int)syscall(SYS_newfstatat, fd, "", out, AT_EMPTY_PATH);
    *out = (struct stat){.st_mode = S_IFREG | 0600, .st_size = (off_t)d->file->size, .st_nlink = d->file->there,
                         .st_ino = (ino_t)(d->file - file) + 1, .st_blksize = 4096};
    return 0;
}

int call_fxstat(int version, int fd, struct stat *out)
{
    (void)version;
    return call_fstat(fd, out);
}

int call_fstatfs(int fd, struct statfs *out)
{
    if (open_of(fd) == NULL)
        return (int)syscall(SYS_fstatfs, fd, out);
    *out = (struct statfs){.f_bsize = 4096};
    return 0;
}

int call_fcntl(int fd, int command, ...)
{
    va_list args;

    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    if (open_of(fd) == NULL)
        return (int)syscall(SYS_fcntl, fd, command, argument);
    if (command == F_GETLK)
        ((struct flock *)argument)->l_type = F_UNLCK;
    return 0;
}

/* ---- Maps: the bytes themselves ---- */

static bool is_ours(const void *at)
{
    const uint8_t *first = (const uint8_t *)bytes_of;

    return (const uint8_t *)at >= first && (const uint8_t *)at < first + sizeof(bytes_of);
}

void *call_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    const struct descriptor *d = open_of(fd);

    if (d == NULL)
        return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
    leat_assert(size <= MEMORY_MOST && offset == 0 && (flags & MAP_SHARED) != 0);
    return base_of(d->file);
}

int call_munmap(void *at, size_t size)
{
    return is_ours(at) ? 0 : (int)syscall(SYS_munmap, at, size);
}

int call_madvise(void *at, size_t size, int advice)
{
    return is_ours(at) ? 0 : (int)syscall(SYS_madvise, at, size, advice);
}

/* ---- Of names ---- */

int call_stat(const char *path, struct stat *out)
{
    const char *name = name_of(path);

    if (name == NULL)
        return (int)syscall(SYS_newfstatat, AT_FDCWD, path, out, 0);
    *out = (struct stat){.st_mode = name[0] == '\0' ? S_IFDIR | 0700 : S_IFREG | 0600};
    return name[0] == '\0' || find_there(name) != NULL ? 0 : fail(ENOENT);
}

int call_access(const char *path, int mode)
{
    const char *name = name_of(path);

    if (name == NULL)
        return (int)syscall(SYS_faccessat, AT_FDCWD, path, mode);
    return find_there(name) != NULL ? 0 : fail(ENOENT);
}

int call_mkdir(const char *path, mode_t mode)
{
    return name_of(path) != NULL ? fail(EEXIST) : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int call_unlink(const char *path)
{
    const char *name = name_of(path);

    if (name == NULL)
        return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (find_there(name) == NULL)
        return fail(ENOENT);
    memory_remove(name);
    return 0;
}

/* Only to remove a file. */
int call_nftw(const char *path, __nftw_func_t each, int open, int flags)
{
    leat_assert(name_of(path) != NULL && each != NULL && open > 0 && (flags & FTW_DEPTH) != 0);
    return call_unlink(path);
}

/* ---- The directory: listed by one at a time ---- */

static void next_symbol(const char *name, void *function)
{
    void *symbol = dlsym(RTLD_NEXT, name);

    leat_assert(symbol != NULL);
    memcpy(function, &symbol, sizeof(symbol));
}

DIR *call_opendir(const char *path)
{
    DIR *(*real)(const char *);

    if (name_of(path) == NULL) {
        next_symbol("opendir", &real);
        return real(path);
    }
    listed = 0;
    return (DIR *)&listed;
}

struct dirent *call_readdir(DIR *d)
{
    struct dirent *(*real)(DIR *);

    if (d != (DIR *)&listed) {
        next_symbol("readdir64", &real);
        return real(d);
    }
    while (listed < MEMORY_FILES && !file[listed].there)
        listed++;
    if (listed == MEMORY_FILES)
        return NULL;
    memcpy(entry.d_name, file[listed].name, sizeof(file->name));
    listed++;
    return &entry;
}

int call_closedir(DIR *d)
{
    int (*real)(DIR *);

    if (d == (DIR *)&listed)
        return 0;
    next_symbol("closedir", &real);
    return real(d);
}
