/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_FAULT_H
#define TESTS_LIB_FAULT_H

/* File calls that fail. A program that links fault.c has the calls below one directory counted, its own and those of
 * shared libraries, and one of them, or that one and all later ones, fail. A write
 * that fails leaves half of its bytes. */

#include <stdbool.h>
#include <stdint.h>

enum fault_call {
    FAULT_OPEN,
    FAULT_WRITE,
    FAULT_SYNC,
    FAULT_ALLOCATE,
    FAULT_CUT,
    FAULT_UNLINK,
    FAULT_READ,
    FAULT_LIST,
    FAULT_CALLS
};

extern const char *const fault_name[FAULT_CALLS];

struct fault {
    enum fault_call call;
    uint32_t at;   /* the first is 1; 0: none fails */
    int number;    /* the errno */
    bool lasting;  /* all later ones fail too */
};

/* Make a directory, in memory where that can be: syncs there take no time. */
void fault_directory(char out[64]);
/* From now on. root: an absolute path, or a part of one that nothing else has. */
void fault_begin(const char *root, const struct fault *f);
/* No more. The calls of that kind that were seen. */
uint32_t fault_end(void);

#endif
