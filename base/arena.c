/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>

/* Blocks in a list, each twice as large as the last up to a bound; the newest is filled. A reset keeps that one alone,
 * and not even that when it was made for one huge piece: memory follows the need. */

enum { BLOCK = 1 << 16, KEEP = 1 << 20, ALIGN = 64 };

struct block {
    struct block *next;
    size_t size;
    size_t used;
    uint8_t pad[ALIGN - 3 * sizeof(size_t)];
    uint8_t bytes[];
};

struct arena {
    struct block *newest;
    size_t limit;
    size_t used;
};

static struct block *block_new(size_t size)
{
    struct block *b = aligned_alloc(ALIGN, (sizeof(*b) + size + ALIGN - 1) / ALIGN * ALIGN);

    if (b == NULL)
        b = base_alloc(SIZE_MAX / 2); /* aborts with the message of base_alloc */
    b->next = NULL;
    b->size = size;
    b->used = 0;
    return b;
}

struct arena *arena_open(size_t limit)
{
    struct arena *a = base_alloc(sizeof(*a));

    a->limit = limit;
    a->newest = block_new(BLOCK);
    return a;
}

static void free_blocks(struct block *b)
{
    while (b != NULL) {
        struct block *next = b->next;

        free(b);
        b = next;
    }
}

void arena_close(struct arena *a)
{
    if (a == NULL)
        return;
    free_blocks(a->newest);
    free(a);
}

void arena_reset(struct arena *a)
{
    struct block *keep = a->newest;

    if (keep->size > KEEP)
        keep = block_new(BLOCK);
    else
        a->newest = keep->next;
    free_blocks(a->newest);
    keep->next = NULL;
    keep->used = 0;
    a->newest = keep;
    a->used = 0;
}

void *arena_alloc(struct arena *a, size_t size, size_t align)
{
    struct block *b = a->newest;
    size_t at = (b->used + align - 1) & ~(align - 1);

    leat_assert(align > 0 && align <= ALIGN && (align & (align - 1)) == 0);
    leat_assert(size <= SIZE_MAX / 4);
    if (at + size > b->size) {
        size_t grown = b->size < KEEP ? b->size * 2 : KEEP;

        b = block_new(size > grown ? size : grown);
        b->next = a->newest;
        a->newest = b;
        at = 0;
    }
    a->used += size;
    b->used = at + size;
    return b->bytes + at;
}

void *arena_zeroed(struct arena *a, size_t size, size_t align)
{
    void *memory = arena_alloc(a, size, align);

    memset(memory, 0, size);
    return memory;
}

char *arena_format(struct arena *a, const char *format, ...)
{
    va_list args, again;

    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    leat_assert(length >= 0);
    char *text = arena_alloc(a, (size_t)length + 1, 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}

void arena_limit(struct arena *a, size_t limit)
{
    a->limit = limit;
}

size_t arena_used(const struct arena *a)
{
    return a->used;
}

size_t arena_most(const struct arena *a)
{
    return a->limit;
}

int arena_full(const struct arena *a)
{
    return a->used > a->limit;
}
