/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_IVF_SLAB_H
#define MODULES_IVF_SLAB_H

/* Memory in large pages for pieces of some hundred bytes to some MiB that come and go: postings, their codes and their
 * vectors. A scan jumps from posting to posting; with pages of 4 KiB each jump also misses the processor's table of
 * pages, which costs more than the line itself, twice so in a virtual machine. One thread at a time. */

#include <stddef.h>

struct slab;

struct slab *slab_new(void);            /* NULL: out of memory */
void slab_free_all(struct slab *s);     /* with everything in it; NULL is fine */
void *slab_alloc(struct slab *s, size_t size); /* aligned to 64; NULL: out of memory */
size_t slab_room(size_t size);          /* what slab_alloc(size) really gives */
void slab_free(struct slab *s, void *memory);  /* NULL is fine */

#endif
