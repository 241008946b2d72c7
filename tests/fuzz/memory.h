/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_MEMORY_H
#define TESTS_FUZZ_MEMORY_H

#include "base/base.h"

/* One directory in memory, for targets that open files at each run: the kernel would take most of the time. The program
 * defines the calls that the code under test and LMDB make; what lies elsewhere goes to the kernel. Under the address
 * sanitizer a touch of what lies behind the end of a file is found, in a map of it too. */

#define MEMORY_DIRECTORY "/leat-fuzz"

enum { MEMORY_FILES = 8, MEMORY_MOST = 1 << 20 };

/* What a file holds from now on. */
void memory_put(const char *name, const void *bytes, size_t size);
void memory_remove(const char *name);
struct leat_span memory_bytes(const char *name);

#endif
