/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_SHIM_H
#define TESTS_LIB_SHIM_H

/* Calls of a program that fail, by LD_PRELOAD=libleat_shim.so. The environment names a control file that the program
 * maps and whoever tests it changes while it runs, so that a disk fails and is repaired: LEAT_SHIM=FILE, of this
 * layout. Without it nothing fails. */

#include <stdatomic.h>
#include <stdint.h>

/* Bits of `calls`. */
enum shim_call {
    SHIM_OPEN = 1,
    SHIM_WRITE = 2,     /* write, pwrite, writev, pwritev */
    SHIM_SYNC = 4,      /* fsync, fdatasync */
    SHIM_TRUNCATE = 8,
    SHIM_ALLOCATE = 16, /* fallocate, posix_fallocate */
    SHIM_MMAP = 32,     /* of files */
    SHIM_MALLOC = 64    /* malloc, calloc, realloc: NULL */
};

struct shim_control {
    _Atomic uint32_t calls;  /* 0: none fails */
    _Atomic uint32_t at;     /* the call that fails; the first is 1; 0: none, they are only counted */
    _Atomic uint32_t every;  /* after that each so manieth; 0: none */
    _Atomic int32_t number;  /* the errno; 0: the write is short by half, or by all but one byte */
    _Atomic uint32_t seen;   /* calls so far, */
    _Atomic uint32_t failed; /* and how many of them failed */
    char under[232];         /* only files whose path holds this; empty: all */
};

#endif
