/* SPDX-License-Identifier: Apache-2.0 */
#include "depots/segments.h"

#include "base/crc32c.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct segment *segment_new(const struct segments *s, uint64_t number)
{
    size_t length = strlen(s->directory) + 32;
    struct segment *g = base_alloc(sizeof(*g) + length);

    g->number = number;
    g->fd = -1;
    snprintf(g->path, length, "%s/%016llx.seg", s->directory, (unsigned long long)number);
    return g;
}

void segment_end_writing(struct segment *g)
{
    if (g->fd >= 0)
        close(g->fd);
    g->fd = -1;
}

void segment_free(struct segment *g)
{
    if (g->map != NULL)
        munmap((void *)(uintptr_t)g->map, g->size);
    segment_end_writing(g);
    free(g);
}

static int segment_map(struct segment *g, struct leat_error *err)
{
    void *map = mmap(NULL, g->size, PROT_READ, MAP_SHARED, g->fd, 0);

    if (map == MAP_FAILED)
        return base_errno(err, errno, "map", g->path);
    g->map = map;
    return 0;
}

void segment_advise(const struct segment *g, uint64_t from, uint64_t length, int advice)
{
    uint64_t start = from / SEGMENT_ALIGN * SEGMENT_ALIGN;

    if (length > 0) /* no more than a hint: it works without */
        (void)madvise((void *)(uintptr_t)(g->map + start), from + length - start, advice);
}

uint32_t segment_partitions(const struct segment *g)
{
    return load_u32(g->map + 12);
}

uint64_t segment_data(const struct segment *g)
{
    uint64_t size = SEGMENT_HEADER + 8 * (uint64_t)segment_partitions(g);

    return (size + SEGMENT_ALIGN - 1) / SEGMENT_ALIGN * SEGMENT_ALIGN;
}

uint64_t segment_next(const struct segment *g, uint32_t partition)
{
    return partition < segment_partitions(g) ? load_u64(g->map + SEGMENT_HEADER + 8 * (size_t)partition) : 0;
}

/* The header with the next offset of every partition: so offsets go on even when all records are trimmed. */
static void make_header(const struct segments *s, const struct segment *g, struct buffer *out)
{
    buffer_u32(out, SEGMENT_MAGIC);
    buffer_u32(out, 0);
    buffer_u32(out, SEGMENT_VERSION | (uint32_t)s->owner << 16);
    buffer_u32(out, s->log.partitions);
    buffer_u64(out, g->number);
    buffer_u64(out, g->first_group);
    for (uint32_t i = 0; i < s->log.partitions; i++)
        buffer_u64(out, s->partition[i].next);
    store_u32(out->base + 4, crc32c(0, out->base + 8, out->size - 8));
}

static int write_segment(struct segments *s, struct segment *g, const struct buffer *header, struct leat_error *err)
{
    g->fd = open(g->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (g->fd < 0)
        return base_errno(err, errno, "make", g->path);
    int number = posix_fallocate(g->fd, 0, (off_t)g->size);
    if (number != 0)
        return base_errno(err, number, "preallocate", g->path);
    if (file_pwrite(g->fd, header->base, header->size, 0) != 0 ||
        (s->durability == LEAT_FULL && fdatasync(g->fd) != 0))
        return base_errno(err, errno, "write", g->path);
    return s->durability == LEAT_FULL ? file_sync_directory(s->directory, err) : 0;
}

int segment_create(struct segments *s, uint64_t size_min, struct leat_error *err)
{
    pthread_mutex_lock(&s->lock);
    struct segment *last = s->segments > 0 ? s->segment[s->segments - 1] : NULL;
    pthread_mutex_unlock(&s->lock);
    struct segment *g = segment_new(s, last != NULL ? last->number + 1 : 0);
    struct buffer header;

    buffer_init(&header, 0);
    g->first_group = s->group;
    make_header(s, g, &header);
    uint64_t data = (header.size + SEGMENT_ALIGN - 1) / SEGMENT_ALIGN * SEGMENT_ALIGN;
    g->size = data + size_min > s->segment_size ? data + size_min : s->segment_size;
    g->size = (g->size + SEGMENT_ALIGN - 1) / SEGMENT_ALIGN * SEGMENT_ALIGN;
    g->end = g->written = data;
    int rv = write_segment(s, g, &header, err);
    buffer_fini(&header);
    if (rv == 0)
        rv = segment_map(g, err);
    if (rv != 0) {
        unlink(g->path);
        segment_free(g);
        return rv;
    }
    if (last != NULL) /* while nobody may trim it */
        segment_index_write(s, last, g);
    pthread_mutex_lock(&s->lock);
    if (s->segments == s->capacity) {
        s->capacity = s->capacity == 0 ? 16 : s->capacity * 2;
        s->segment = base_realloc(s->segment, s->capacity * sizeof(struct segment *));
    }
    s->segment[s->segments++] = g;
    if (last != NULL) /* from now on it may be trimmed */
        segment_end_writing(last);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

/* Is there anything but zeros in the first bytes? A header that never got to the disk is all zero or torn. */
static int check_header(const struct segments *s, struct segment *g, struct leat_error *err)
{
    uint32_t partitions = g->size >= SEGMENT_HEADER ? load_u32(g->map + 12) : 0;
    uint64_t size = SEGMENT_HEADER + 8 * (uint64_t)partitions;

    if (g->size < SEGMENT_HEADER || load_u32(g->map) != SEGMENT_MAGIC || size > g->size ||
        load_u32(g->map + 4) != crc32c(0, g->map + 8, size - 8) || load_u64(g->map + 16) != g->number)
        return leat_fail(err, LEAT_EAGAIN, "'%s': the header does not check out", g->path);
    uint32_t version = load_u32(g->map + 8) & UINT16_MAX, owner = load_u32(g->map + 8) >> 16;
    if (version != SEGMENT_VERSION)
        return leat_fail(err, LEAT_EFORMAT, "'%s' has format version %u, this program reads version %d", g->path,
                         version, SEGMENT_VERSION);
    if (owner != s->owner && owner != 0 && s->owner != 0)
        return leat_fail(err, LEAT_ECORRUPT,
                         "'%s' is a file of another log (of owner %u, but this one's is %u): put the files back where "
                         "they were",
                         g->path, owner, s->owner);
    g->first_group = load_u64(g->map + 24);
    return 0;
}

int segment_open(struct segments *s, uint64_t number, struct segment **out, struct leat_error *err)
{
    struct segment *g = segment_new(s, number);
    struct stat st;
    int rv = 0;

    g->fd = open(g->path, (s->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (g->fd < 0 || fstat(g->fd, &st) != 0)
        rv = base_errno(err, errno, "open", g->path);
    if (rv == 0 && st.st_size < SEGMENT_HEADER)
        rv = leat_fail(err, LEAT_EAGAIN, "'%s' is too short for a header", g->path);
    if (rv == 0) {
        g->size = (uint64_t)st.st_size;
        rv = segment_map(g, err);
    }
    if (rv == 0) /* before its first byte is read: megabytes around that would come along */
        segment_advise(g, 0, g->size, MADV_RANDOM);
    if (rv == 0)
        rv = check_header(s, g, err);
    if (rv != 0 && rv != LEAT_EAGAIN) {
        segment_free(g);
        return rv;
    }
    *out = g;
    if (rv == 0)
        g->end = segment_data(g);
    return rv;
}
