/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/slab.h"

#include <sanitizer/asan_interface.h> /* without ASan its macros do nothing */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Pieces are of size classes, four for each doubling, cut from regions one after another; freed ones wait in a list of
 * their class. What is larger than a region has one of its own. */

enum { REGION = 32 << 20, HUGE_PAGE = 2 << 20, HEAD = 64, LEAST_BITS = 8, CLASSES = 4 * 18 };

struct region {
    struct region *next;
    uint8_t *memory; /* as mapped */
    size_t size;
};

/* Ahead of each piece, in 64 bytes. */
struct head {
    struct head *next; /* of the free */
    uint32_t class;    /* CLASSES: a region of its own */
    struct region *region;
};

struct slab {
    struct region *regions;
    uint8_t *at, *end; /* what is left of the last region */
    struct head *free[CLASSES];
};

static size_t class_size(uint32_t class)
{
    size_t base = (size_t)1 << (LEAST_BITS + class / 4);

    return base + base / 4 * (class % 4);
}

static uint32_t class_of(size_t size)
{
    uint32_t doublings = size >> LEAST_BITS > 0 ? 63 - (uint32_t)__builtin_clzll(size >> LEAST_BITS) : 0;
    uint32_t class = doublings * 4;

    while (class < CLASSES && class_size(class) < size)
        class++;
    return class < CLASSES ? class : CLASSES;
}

struct slab *slab_new(void)
{
    return calloc(1, sizeof(struct slab));
}

static struct region *region_new(struct slab *s, size_t size)
{
    struct region *r = malloc(sizeof(*r));
    size_t all = (size + 2 * HUGE_PAGE - 1) & ~(size_t)(HUGE_PAGE - 1);

    if (r == NULL)
        return NULL;
    r->memory = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (r->memory == MAP_FAILED) {
        free(r);
        return NULL;
    }
    madvise(r->memory, all, MADV_HUGEPAGE); /* a wish: without it, it is only slower */
    r->size = all;
    r->next = s->regions;
    s->regions = r;
    return r;
}

static uint8_t *first_page(const struct region *r)
{
    return (uint8_t *)(((uintptr_t)r->memory + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
}

static void *large(struct slab *s, size_t size)
{
    struct region *r = region_new(s, size + HEAD);

    if (r == NULL)
        return NULL;
    struct head *h = (struct head *)(void *)first_page(r);
    *h = (struct head){NULL, CLASSES, r};
    return (uint8_t *)h + HEAD;
}

static struct head *cut(struct slab *s, uint32_t class)
{
    size_t size = class_size(class);

    if ((size_t)(s->end - s->at) < size) {
        struct region *r = region_new(s, REGION);

        if (r == NULL)
            return NULL;
        s->at = first_page(r);
        s->end = s->at + REGION;
    }
    struct head *h = (struct head *)(void *)s->at;
    s->at += size;
    return h;
}

void *slab_alloc(struct slab *s, size_t size)
{
    uint32_t class = class_of(size + HEAD);

    if (class == CLASSES || class_size(class) > REGION / 2)
        return large(s, size);
    struct head *h = s->free[class];
    if (h != NULL)
        s->free[class] = h->next;
    else
        h = cut(s, class);
    if (h == NULL)
        return NULL;
    *h = (struct head){NULL, class, NULL};
    ASAN_UNPOISON_MEMORY_REGION((uint8_t *)h + HEAD, class_size(class) - HEAD);
    return (uint8_t *)h + HEAD;
}

size_t slab_room(size_t size)
{
    uint32_t class = class_of(size + HEAD);

    return class == CLASSES || class_size(class) > REGION / 2 ? size : class_size(class) - HEAD;
}

static void region_free(struct slab *s, struct region *r)
{
    struct region **at = &s->regions;

    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    ASAN_UNPOISON_MEMORY_REGION(r->memory, r->size);
    munmap(r->memory, r->size);
    free(r);
}

void slab_free(struct slab *s, void *memory)
{
    if (memory == NULL)
        return;
    struct head *h = (struct head *)(void *)((uint8_t *)memory - HEAD);
    if (h->class == CLASSES) {
        region_free(s, h->region);
        return;
    }
    ASAN_POISON_MEMORY_REGION(memory, class_size(h->class) - HEAD);
    h->next = s->free[h->class];
    s->free[h->class] = h;
}

void slab_free_all(struct slab *s)
{
    while (s != NULL && s->regions != NULL)
        region_free(s, s->regions);
    free(s);
}
