/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_CACHED_H
#define TESTS_LIB_CACHED_H

/* What of a file is in the page cache. */

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct cached {
    size_t pages, in; /* of 4096 bytes; in the cache */
    uint8_t *page;    /* bit 0 of each: it is in */
};

/* The file must not be empty. free(page). */
static inline struct cached cached_look(const char *path)
{
    struct cached c = {0};
    struct stat st;
    int fd = open(path, O_RDONLY);

    if (fd < 0 || fstat(fd, &st) != 0)
        abort();
    c.pages = ((size_t)st.st_size + 4095) / 4096;
    c.page = calloc(c.pages, 1);
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED || mincore(map, (size_t)st.st_size, c.page) != 0)
        abort();
    for (size_t i = 0; i < c.pages; i++)
        c.in += c.page[i] & 1;
    munmap(map, (size_t)st.st_size);
    close(fd);
    return c;
}

/* Out of the cache with it; nobody may have it mapped. false: the file system does not do that. */
static inline bool cached_drop(const char *path)
{
    int fd = open(path, O_RDONLY);

    if (fd < 0 || fsync(fd) != 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
        abort();
    close(fd);
    struct cached c = cached_look(path);
    free(c.page);
    return c.in == 0;
}

#endif
