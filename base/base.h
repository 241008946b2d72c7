/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

/* base: what every other folder stands on. Nothing here knows of depots, views or topologies.
 *
 *   limits.h     every bound of the system, in one place
 *   span.h       bytes with a length; buffers that grow to a limit; little-endian reads and writes
 *   arena.h      memory that lives as long as a turn or a request
 *   schema.h     column types, row schemas, and the codec of rows (the bytes of FORMATS.md)
 *   codec.h      MessagePack (msgpack-c) and JSON (cJSON) for values of type any
 *   half.h       numbers of 16 bits
 *   crc32c.h     checksums
 *   clock.h      the one source of time (a seam: real and simulated)
 *   random.h     the one source of chance, seeded
 *   histogram.h  log-linear histograms of times and sizes
 *   log.h        messages for whoever runs the process
 *   file.h       whole-file helpers: durable replace, directories, locks
 */

#include "base/limits.h"
#include "base/span.h"
#include "leat/leat.h"

#include <stdlib.h>

/* An invariant of ours. Stays on in release builds; never for what the world may do. */
#define leat_assert(condition)                                                                     \
    ((condition) ? (void)0 : base_assert_failed(#condition, __FILE__, __LINE__))
_Noreturn void base_assert_failed(const char *condition, const char *file, int line);

#define LENGTH_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Memory for control structures: aborts when there is none, so callers have no error path. */
void *base_alloc(size_t size);                 /* zeroed */
void *base_realloc(void *memory, size_t size);
char *base_strdup(const char *text);

/* Translate errno of a failed system call on `what` (a path) into a code and a sentence. */
int base_errno(struct leat_error *err, int number, const char *doing, const char *what);

/* What a public call ends with: on success err (may be NULL) says nothing, whatever was tried on the way. */
static inline int base_result(struct leat_error *err, int rv)
{
    if (rv == 0 && err != NULL) {
        err->code = 0;
        err->text[0] = '\0';
    }
    return rv;
}

/* Put "prefix: " before the sentence in err (may be NULL) and return its code. */
int base_wrap(struct leat_error *err, int code, const char *format, ...) LEAT_PRINTF(3, 4);

#endif
