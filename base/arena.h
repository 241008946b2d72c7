/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

/* Memory that is given out in pieces and taken back all at once, at the end of a turn or a request. */
struct arena;

/* limit: bytes given out at most between resets; past it arena_alloc still works but arena_full() is true, and
 * the owner fails the turn or request. Aborts when the system has no memory. */
struct arena *arena_open(size_t limit);
void arena_close(struct arena *a);
void arena_reset(struct arena *a); /* keeps up to 1 MiB of blocks for the next user */
/* align: a power of two up to 64. Never NULL. Not zeroed. */
void *arena_alloc(struct arena *a, size_t size, size_t align);
void *arena_zeroed(struct arena *a, size_t size, size_t align);
char *arena_format(struct arena *a, const char *format, ...) __attribute__((__format__(__printf__, 2, 3)));
void arena_limit(struct arena *a, size_t limit); /* from now on */
size_t arena_used(const struct arena *a);
size_t arena_most(const struct arena *a); /* the limit */
int arena_full(const struct arena *a);

#endif
