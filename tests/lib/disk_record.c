/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/disk.h"

#include "tests/lib/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* All calls but syncs hold the lock from before the system call until it is noted: who sees an effect notes what it
 * does then behind it. A sync notes how many events there were when it began. */

#define NOT_OURS UINT32_MAX

enum { DESCRIPTORS = 4096 };

struct entry {
    uint32_t directory, child;
    char *name;
};

static struct {
    pthread_mutex_t lock;
    struct disk *disk;             /* NULL: nothing is recorded */
    char root[4096];
    uint32_t file[DESCRIPTORS];    /* by descriptor: number + 1; 0: not ours */
    struct entry *entry;           /* as they are now */
    uint32_t entries, capacity;
} rec = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *grown(void *list, uint32_t count, uint32_t *capacity, size_t element)
{
    if (count < *capacity)
        return list;
    *capacity = *capacity == 0 ? 1024 : *capacity * 2;
    list = realloc(list, *capacity * element);
    if (list == NULL)
        abort();
    return list;
}

struct disk_event *disk_add(struct disk *d, enum disk_kind kind, uint32_t file)
{
    d->event = grown(d->event, d->events, &d->capacity, sizeof(*d->event));
    struct disk_event *e = &d->event[d->events++];

    *e = (struct disk_event){.kind = kind, .file = file};
    return e;
}

/* ---- Entries as they are now ---- */

static struct entry *entry_find(uint32_t directory, const char *name)
{
    for (uint32_t i = 0; i < rec.entries; i++)
        if (rec.entry[i].directory == directory && strcmp(rec.entry[i].name, name) == 0)
            return &rec.entry[i];
    return NULL;
}

static void entry_set(uint32_t directory, const char *name, uint32_t child)
{
    struct entry *e = entry_find(directory, name);

    if (e == NULL) {
        rec.entry = grown(rec.entry, rec.entries, &rec.capacity, sizeof(*rec.entry));
        e = &rec.entry[rec.entries++];
        *e = (struct entry){directory, NOT_OURS, strdup(name)};
    }
    e->child = child;
}

static void entry_remove(uint32_t directory, const char *name)
{
    struct entry *e = entry_find(directory, name);

    if (e != NULL) {
        free(e->name);
        *e = rec.entry[--rec.entries];
    }
}

/* The directory a path ends in and its last name. NOT_OURS: outside the root, or its directory is not known. */
static uint32_t find_parent(const char *path, char *name, size_t size)
{
    size_t length = strlen(rec.root);
    uint32_t directory = 0;

    name[0] = '\0';
    if (rec.disk == NULL || strncmp(path, rec.root, length) != 0 || (path[length] != '/' && path[length] != '\0'))
        return NOT_OURS;
    for (const char *at = path + length; *at != '\0';) {
        size_t n;

        at += strspn(at, "/");
        n = strcspn(at, "/");
        if (n == 0)
            break;
        if (name[0] != '\0') {
            const struct entry *e = entry_find(directory, name);

            if (e == NULL)
                return NOT_OURS;
            directory = e->child;
        }
        snprintf(name, size, "%.*s", (int)n, at);
        at += n;
    }
    return directory;
}

static uint32_t find_file(const char *path)
{
    char name[256];
    uint32_t directory = find_parent(path, name, sizeof(name));

    if (directory == NOT_OURS || name[0] == '\0')
        return directory;
    const struct entry *e = entry_find(directory, name);
    return e != NULL ? e->child : NOT_OURS;
}

/* ---- Noting; all under the lock ---- */

static uint32_t note_link(const char *path, uint32_t child, bool directory)
{
    char name[256];
    uint32_t parent = find_parent(path, name, sizeof(name));

    if (parent == NOT_OURS)
        return NOT_OURS;
    struct disk_event *e = disk_add(rec.disk, DISK_LINK, parent);
    e->child = child != NOT_OURS ? child : rec.disk->files++;
    e->directory = directory;
    e->name = strdup(name);
    entry_set(parent, name, e->child);
    return e->child;
}

static void note_unlink(const char *path)
{
    char name[256];
    uint32_t parent = find_parent(path, name, sizeof(name));

    if (parent == NOT_OURS || entry_find(parent, name) == NULL)
        return;
    disk_add(rec.disk, DISK_UNLINK, parent)->name = strdup(name);
    entry_remove(parent, name);
}

static uint32_t file_of(int fd)
{
    return rec.disk != NULL && fd >= 0 && fd < DESCRIPTORS && rec.file[fd] != 0 ? rec.file[fd] - 1 : NOT_OURS;
}

static void note_write(int fd, const void *bytes, size_t size, off_t offset)
{
    uint32_t file = file_of(fd);

    if (file == NOT_OURS || size == 0)
        return;
    struct disk_event *e = disk_add(rec.disk, DISK_WRITE, file);
    e->offset = (uint64_t)offset;
    e->size = size;
    e->bytes = malloc(size);
    if (e->bytes == NULL)
        abort();
    memcpy(e->bytes, bytes, size);
}

static void note_size(int fd, enum disk_kind kind, uint64_t size)
{
    uint32_t file = file_of(fd);

    if (file != NOT_OURS)
        disk_add(rec.disk, kind, file)->size = size;
}

static void note_open(int fd, const char *path, int flags)
{
    if (rec.disk == NULL || fd >= DESCRIPTORS)
        return;
    uint32_t file = find_file(path);
    if (file == NOT_OURS && (flags & O_CREAT) != 0)
        file = note_link(path, NOT_OURS, false);
    else if (file != NOT_OURS && (flags & O_TRUNC) != 0)
        disk_add(rec.disk, DISK_CUT, file);
    rec.file[fd] = file != NOT_OURS ? file + 1 : 0;
}

/* ---- The calls ---- */

int call_close(int fd) __asm__("close");
int call_reserve(int fd, int mode, off_t offset, off_t size) __asm__("fallocate64");
int call_reserve_32(int fd, int mode, off_t offset, off_t size) __asm__("fallocate")
    __attribute__((alias("fallocate64")));
int call_mkdir(const char *path, mode_t mode) __asm__("mkdir");
int call_rename(const char *from, const char *to) __asm__("rename");
int call_rmdir(const char *path) __asm__("rmdir");
int call_remove(const char *path) __asm__("remove");

int call_open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list args;

    va_start(args, flags);
    if ((flags & O_CREAT) != 0)
        mode = va_arg(args, mode_t);
    va_end(args);
    pthread_mutex_lock(&rec.lock);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode), number = errno;
    if (fd >= 0)
        note_open(fd, path, flags);
    pthread_mutex_unlock(&rec.lock);
    errno = number;
    return fd;
}

int call_close(int fd)
{
    pthread_mutex_lock(&rec.lock);
    if (fd >= 0 && fd < DESCRIPTORS)
        rec.file[fd] = 0;
    int rv = (int)syscall(SYS_close, fd);
    pthread_mutex_unlock(&rec.lock);
    return rv;
}

ssize_t call_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    pthread_mutex_lock(&rec.lock);
    ssize_t n = syscall(SYS_pwrite64, fd, bytes, size, offset);
    if (n > 0)
        note_write(fd, bytes, (size_t)n, offset);
    pthread_mutex_unlock(&rec.lock);
    return n;
}

ssize_t call_write(int fd, const void *bytes, size_t size)
{
    pthread_mutex_lock(&rec.lock);
    off_t at = file_of(fd) != NOT_OURS ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t n = syscall(SYS_write, fd, bytes, size);
    if (n > 0)
        note_write(fd, bytes, (size_t)n, at);
    pthread_mutex_unlock(&rec.lock);
    return n;
}

ssize_t call_writev(int fd, const struct iovec *part, int parts)
{
    pthread_mutex_lock(&rec.lock);
    off_t at = file_of(fd) != NOT_OURS ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t n = syscall(SYS_writev, fd, part, parts);
    for (ssize_t i = 0, left = n; i < parts && left > 0; i++) {
        size_t size = (ssize_t)part[i].iov_len < left ? part[i].iov_len : (size_t)left;

        note_write(fd, part[i].iov_base, size, at);
        at += (off_t)size;
        left -= (ssize_t)size;
    }
    pthread_mutex_unlock(&rec.lock);
    return n;
}

int call_ftruncate(int fd, off_t size)
{
    pthread_mutex_lock(&rec.lock);
    int rv = (int)syscall(SYS_ftruncate, fd, size);
    if (rv == 0)
        note_size(fd, DISK_CUT, (uint64_t)size);
    pthread_mutex_unlock(&rec.lock);
    return rv;
}

int call_fallocate(int fd, off_t offset, off_t size)
{
    pthread_mutex_lock(&rec.lock);
    int rv = syscall(SYS_fallocate, fd, 0, offset, size) == 0 ? 0 : errno;
    if (rv == 0)
        note_size(fd, DISK_GROW, (uint64_t)(offset + size));
    pthread_mutex_unlock(&rec.lock);
    return rv;
}

/* Room that is only kept is no change. */
int call_reserve(int fd, int mode, off_t offset, off_t size)
{
    pthread_mutex_lock(&rec.lock);
    int rv = (int)syscall(SYS_fallocate, fd, mode, offset, size);
    uint32_t file = rv == 0 && (mode & FALLOC_FL_PUNCH_HOLE) != 0 ? file_of(fd) : NOT_OURS;
    if (file != NOT_OURS) {
        struct disk_event *e = disk_add(rec.disk, DISK_HOLE, file);

        e->offset = (uint64_t)offset;
        e->size = (uint64_t)size;
    }
    pthread_mutex_unlock(&rec.lock);
    return rv;
}

static int sync_by(long call, int fd)
{
    pthread_mutex_lock(&rec.lock);
    uint32_t file = file_of(fd), from = file != NOT_OURS ? rec.disk->events : 0;
    pthread_mutex_unlock(&rec.lock);
    int rv = (int)syscall(call, fd);
    pthread_mutex_lock(&rec.lock);
    if (rv == 0 && file != NOT_OURS && rec.disk != NULL)
        disk_add(rec.disk, DISK_SYNC, file)->offset = from;
    pthread_mutex_unlock(&rec.lock);
    return rv;
}

int call_fsync(int fd)
{
    return sync_by(SYS_fsync, fd);
}

int call_fdatasync(int fd)
{
    return sync_by(SYS_fdatasync, fd);
}

int call_mkdir(const char *path, mode_t mode)
{
    pthread_mutex_lock(&rec.lock);
    int rv = (int)syscall(SYS_mkdir, path, mode), number = errno;
    if (rv == 0)
        note_link(path, NOT_OURS, true);
    pthread_mutex_unlock(&rec.lock);
    errno = number;
    return rv;
}

int call_rename(const char *from, const char *to)
{
    pthread_mutex_lock(&rec.lock);
    int rv = (int)syscall(SYS_rename, from, to);
    uint32_t file = rv == 0 ? find_file(from) : NOT_OURS;
    if (file != NOT_OURS) {
        note_link(to, file, false);
        note_unlink(from);
    }
    pthread_mutex_unlock(&rec.lock);
    return rv;
}

static int remove_by(long call, const char *path, int flags)
{
    pthread_mutex_lock(&rec.lock);
    int rv = (int)syscall(call, AT_FDCWD, path, flags), number = errno;
    if (rv == 0)
        note_unlink(path);
    pthread_mutex_unlock(&rec.lock);
    errno = number;
    return rv;
}

int call_unlink(const char *path)
{
    return remove_by(SYS_unlinkat, path, 0);
}

int call_rmdir(const char *path)
{
    return remove_by(SYS_unlinkat, path, AT_REMOVEDIR);
}

int call_remove(const char *path)
{
    int rv = call_unlink(path);

    return rv != 0 && errno == EISDIR ? call_rmdir(path) : rv;
}

/* ---- From outside ---- */

void disk_init(struct disk *d)
{
    *d = (struct disk){.files = 1};
}

void disk_fini(struct disk *d)
{
    for (uint32_t i = 0; i < d->events && !d->borrows; i++) {
        free(d->event[i].name);
        free(d->event[i].bytes);
    }
    free(d->event);
}

void disk_record(struct disk *d, const char *root)
{
    pthread_mutex_lock(&rec.lock);
    snprintf(rec.root, sizeof(rec.root), "%s", root);
    while (rec.entries > 0)
        free(rec.entry[--rec.entries].name);
    for (uint32_t i = 0; i < d->events; i++) {
        if (d->event[i].kind == DISK_LINK)
            entry_set(d->event[i].file, d->event[i].name, d->event[i].child);
        else if (d->event[i].kind == DISK_UNLINK)
            entry_remove(d->event[i].file, d->event[i].name);
    }
    memset(rec.file, 0, sizeof(rec.file));
    rec.disk = d;
    pthread_mutex_unlock(&rec.lock);
}

void disk_record_end(void)
{
    pthread_mutex_lock(&rec.lock);
    rec.disk = NULL;
    while (rec.entries > 0)
        free(rec.entry[--rec.entries].name);
    free(rec.entry);
    rec.entry = NULL;
    rec.capacity = 0;
    pthread_mutex_unlock(&rec.lock);
}

void disk_mark(uint32_t what, uint64_t from, uint64_t to)
{
    pthread_mutex_lock(&rec.lock);
    if (rec.disk != NULL) {
        struct disk_event *e = disk_add(rec.disk, DISK_MARK, what);

        e->offset = from;
        e->size = to;
    }
    pthread_mutex_unlock(&rec.lock);
}
