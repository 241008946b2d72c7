/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SECTOR = 512, PAGE = 4096 };

struct file {
    uint8_t *bytes;
    uint64_t size, capacity;
    uint32_t synced; /* events before this one are on the disk */
};

struct entry {
    uint32_t directory, child;
    bool is_directory;
    const char *name; /* borrowed from the event */
};

struct image {
    const struct disk *disk;
    uint32_t crash;
    enum disk_loss loss;
    uint64_t seed;
    uint32_t bytes_lost, names_lost; /* of a hundred */
    struct file *file;
    struct entry *entry;
    uint32_t entries;
};

/* ---- What is on the disk ---- */

/* splitmix64 over what is chosen, so that a choice depends on nothing but the seed and the place. */
static uint64_t chance(uint64_t seed, uint64_t file, uint64_t place)
{
    uint64_t z = seed + (file << 40) * 0x9e3779b97f4a7c15U + place * 0xd1342543de82ef95U;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

/* Places of a file other than its pages. */
#define PLACE_SIZE (UINT64_C(1) << 62)
#define PLACE_SECTOR (UINT64_C(1) << 61)

/* Up to which event a place of a file was written back, by itself, before the power went. */
static uint32_t written_back(const struct image *m, uint32_t file, uint64_t place, uint32_t lost)
{
    uint64_t r = chance(m->seed, file, place);

    if (m->loss == DISK_KILL)
        return m->crash;
    if (r % 100 < lost)
        return 0;
    return (r >> 8) % 4 == 0 ? (uint32_t)((r >> 16) % (m->crash + 1)) : m->crash;
}

static uint32_t sector_written_back(const struct image *m, uint32_t file, uint64_t offset)
{
    uint64_t page = offset / PAGE;
    bool torn = m->bytes_lost % 100 != 0 && chance(~m->seed, file, page) % 8 == 0;

    return written_back(m, file, torn ? PLACE_SECTOR + offset / SECTOR : page, m->bytes_lost);
}

static uint64_t place_of_name(const char *name)
{
    uint64_t h = 14695981039346656037U;

    for (; *name != '\0'; name++)
        h = (h ^ (uint8_t)*name) * 1099511628211U;
    return h;
}

/* ---- Replaying events ---- */

static void reach(struct file *f, uint64_t size)
{
    if (size > f->capacity) {
        uint64_t capacity = size * 2;

        f->bytes = realloc(f->bytes, capacity);
        if (f->bytes == NULL)
            abort();
        memset(f->bytes + f->capacity, 0, capacity - f->capacity);
        f->capacity = capacity;
    }
}

static void put_bytes(struct file *f, const struct disk_event *e, uint64_t from, uint64_t to)
{
    if (e->kind == DISK_HOLE)
        memset(f->bytes + from, 0, to - from);
    else
        memcpy(f->bytes + from, e->bytes + (from - e->offset), to - from);
}

static void apply_bytes(const struct image *m, uint32_t at)
{
    const struct disk_event *e = &m->disk->event[at];
    struct file *f = &m->file[e->file];
    uint64_t end = e->offset + e->size;

    reach(f, end);
    if (at < f->synced) {
        put_bytes(f, e, e->offset, end);
        return;
    }
    for (uint64_t from = e->offset; from < end;) {
        uint64_t to = from / SECTOR * SECTOR + SECTOR;

        to = to < end ? to : end;
        if (at <= sector_written_back(m, e->file, from))
            put_bytes(f, e, from, to);
        from = to;
    }
}

static void apply_size(const struct image *m, uint32_t at)
{
    const struct disk_event *e = &m->disk->event[at];
    struct file *f = &m->file[e->file];
    uint64_t size = e->kind == DISK_WRITE ? e->offset + e->size : e->size;

    if (at >= f->synced && at > written_back(m, e->file, PLACE_SIZE, m->bytes_lost))
        return;
    if (e->kind == DISK_CUT && size < f->capacity)
        memset(f->bytes + size, 0, f->capacity - size);
    if (e->kind == DISK_CUT || size > f->size)
        f->size = size;
}

static void apply_name(struct image *m, uint32_t at)
{
    const struct disk_event *e = &m->disk->event[at];
    uint32_t i = 0;

    if (at >= m->file[e->file].synced && at > written_back(m, e->file, place_of_name(e->name), m->names_lost))
        return;
    while (i < m->entries && (m->entry[i].directory != e->file || strcmp(m->entry[i].name, e->name) != 0))
        i++;
    if (e->kind == DISK_LINK) {
        m->entry[i] = (struct entry){e->file, e->child, e->directory, e->name};
        m->entries += i == m->entries;
    } else if (i < m->entries) {
        m->entry[i] = m->entry[--m->entries];
    }
}

static void replay(struct image *m)
{
    const struct disk *d = m->disk;

    for (uint32_t i = 0; i < m->crash; i++)
        if (d->event[i].kind == DISK_SYNC && d->event[i].offset > m->file[d->event[i].file].synced)
            m->file[d->event[i].file].synced = (uint32_t)d->event[i].offset;
    for (uint32_t i = 0; i < m->crash; i++) {
        switch (d->event[i].kind) {
        case DISK_WRITE:
            apply_bytes(m, i);
            apply_size(m, i);
            break;
        case DISK_HOLE:
            apply_bytes(m, i);
            break;
        case DISK_GROW:
        case DISK_CUT:
            apply_size(m, i);
            break;
        case DISK_LINK:
        case DISK_UNLINK:
            apply_name(m, i);
            break;
        case DISK_SYNC:
        case DISK_MARK:
            break;
        }
    }
}

/* ---- Making it ---- */

static void must(bool good, const char *doing, const char *path)
{
    if (good)
        return;
    fprintf(stderr, "disk: %s %s: %s\n", doing, path, strerror(errno));
    abort();
}

static void all_synced(struct disk *on_disk, uint32_t number)
{
    if (on_disk == NULL)
        return;
    struct disk_event *e = disk_add(on_disk, DISK_SYNC, number);
    e->offset = on_disk->events;
}

/* Pages of zeros stay holes, as they were in what was only preallocated. */
static void make_file(const struct file *f, const char *path, struct disk *on_disk, uint32_t number)
{
    static const uint8_t zeros[PAGE];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    must(fd >= 0 && ftruncate(fd, (off_t)f->size) == 0, "make", path);
    if (on_disk != NULL)
        disk_add(on_disk, DISK_GROW, number)->size = f->size;
    for (uint64_t at = 0; at < f->size && at < f->capacity; at += PAGE) {
        uint64_t end = f->size < f->capacity ? f->size : f->capacity, n = end - at < PAGE ? end - at : PAGE;

        if (memcmp(f->bytes + at, zeros, n) == 0)
            continue;
        must(pwrite(fd, f->bytes + at, n, (off_t)at) == (ssize_t)n, "write", path);
        if (on_disk != NULL) {
            struct disk_event *e = disk_add(on_disk, DISK_WRITE, number);

            e->offset = at;
            e->size = n;
            e->bytes = malloc(n);
            must(e->bytes != NULL, "copy", path);
            memcpy(e->bytes, f->bytes + at, n);
        }
    }
    close(fd);
    all_synced(on_disk, number);
}

static void make_directory(const struct image *m, uint32_t directory, const char *path, struct disk *on_disk,
                           uint32_t number)
{
    for (uint32_t i = 0; i < m->entries; i++) {
        const struct entry *e = &m->entry[i];
        uint32_t child = on_disk != NULL ? on_disk->files++ : 0;
        char below[4096];

        if (e->directory != directory)
            continue;
        snprintf(below, sizeof(below), "%s/%s", path, e->name);
        if (on_disk != NULL) {
            struct disk_event *link = disk_add(on_disk, DISK_LINK, number);

            link->child = child;
            link->directory = e->is_directory;
            link->name = strdup(e->name);
        }
        if (!e->is_directory) {
            make_file(&m->file[e->child], below, on_disk, child);
            continue;
        }
        must(mkdir(below, 0700) == 0, "make", below);
        make_directory(m, e->child, below, on_disk, child);
    }
    all_synced(on_disk, number);
}

void disk_image(const struct disk *d, uint32_t crash, enum disk_loss loss, uint64_t seed, const char *root,
                struct disk *on_disk)
{
    struct image m = {.disk = d, .crash = crash, .loss = loss, .seed = seed};
    uint64_t kind = chance(seed, 1, 1), lost = chance(seed, 2, 2);

    m.bytes_lost = kind % 4 == 0 ? 0 : kind % 4 == 1 ? 100 : (uint32_t)(1 + lost % 99);
    m.names_lost = kind / 4 % 4 == 0 ? 0 : kind / 4 % 4 == 1 ? 100 : (uint32_t)(1 + lost / 100 % 99);
    m.file = calloc(d->files, sizeof(*m.file));
    m.entry = calloc(crash + 1, sizeof(*m.entry));
    must(m.file != NULL && m.entry != NULL, "make", root);
    replay(&m);
    make_directory(&m, 0, root, on_disk, 0);
    for (uint32_t i = 0; i < d->files; i++)
        free(m.file[i].bytes);
    free(m.file);
    free(m.entry);
}

void disk_first(const struct disk *d, uint32_t events, struct disk *out)
{
    *out = (struct disk){.events = events, .capacity = events, .files = d->files, .borrows = true};
    out->event = malloc((events + 1) * sizeof(*out->event));
    must(out->event != NULL, "copy", "events");
    memcpy(out->event, d->event, events * sizeof(*out->event));
}

/* ---- To a file and back: counts, then each event, its name and its bytes ---- */

static int put(int fd, const void *bytes, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t n = syscall(SYS_write, fd, (const uint8_t *)bytes + at, size - at);

        if (n < 0 && errno != EINTR)
            return errno;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int disk_save(const struct disk *d, const void *first, size_t size, int fd)
{
    uint32_t head[2] = {d->events, d->files};
    int rv = put(fd, first, size);

    if (rv == 0)
        rv = put(fd, head, sizeof(head));
    for (uint32_t i = 0; i < d->events && rv == 0; i++) {
        const struct disk_event *e = &d->event[i];
        uint64_t name = e->name != NULL ? strlen(e->name) + 1 : 0;

        rv = put(fd, e, sizeof(*e));
        if (rv == 0)
            rv = put(fd, &name, sizeof(name));
        if (rv == 0)
            rv = put(fd, e->name, name);
        if (rv == 0 && e->bytes != NULL)
            rv = put(fd, e->bytes, e->size);
    }
    return rv;
}

static void *get(int fd, void *bytes, size_t size)
{
    uint8_t *to = bytes != NULL ? bytes : malloc(size);

    must(to != NULL, "read", "a recording");
    for (size_t at = 0; at < size;) {
        ssize_t n = read(fd, to + at, size - at);

        must(n > 0, "read", "a recording");
        at += (size_t)n;
    }
    return to;
}

void disk_load(struct disk *d, void *first, size_t size, int fd)
{
    uint32_t head[2];

    disk_init(d);
    get(fd, first, size);
    get(fd, head, sizeof(head));
    for (uint32_t i = 0; i < head[0]; i++) {
        struct disk_event *e = disk_add(d, DISK_MARK, 0);
        uint64_t name;

        get(fd, e, sizeof(*e));
        get(fd, &name, sizeof(name));
        e->name = name > 0 ? get(fd, NULL, name) : NULL;
        e->bytes = e->kind == DISK_WRITE ? get(fd, NULL, e->size) : NULL;
    }
    d->files = head[1];
}
