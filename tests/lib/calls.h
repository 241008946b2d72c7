/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_CALLS_H
#define TESTS_LIB_CALLS_H

/* Calls that a test's program defines itself, under the names that the linker looks for: with and without 64. */

#include <sys/types.h>
#include <sys/uio.h>

int call_open(const char *path, int flags, ...) __asm__("open64");
int call_open_32(const char *path, int flags, ...) __asm__("open") __attribute__((alias("open64")));
ssize_t call_write(int fd, const void *bytes, size_t size) __asm__("write");
ssize_t call_writev(int fd, const struct iovec *part, int parts) __asm__("writev");
ssize_t call_pwrite(int fd, const void *bytes, size_t size, off_t offset) __asm__("pwrite64");
ssize_t call_pwrite_32(int fd, const void *bytes, size_t size, off_t offset)
    __asm__("pwrite") __attribute__((alias("pwrite64")));
int call_ftruncate(int fd, off_t size) __asm__("ftruncate64");
int call_ftruncate_32(int fd, off_t size) __asm__("ftruncate") __attribute__((alias("ftruncate64")));
int call_fallocate(int fd, off_t offset, off_t size) __asm__("posix_fallocate64");
int call_fallocate_32(int fd, off_t offset, off_t size)
    __asm__("posix_fallocate") __attribute__((alias("posix_fallocate64")));
int call_fsync(int fd) __asm__("fsync");
int call_fdatasync(int fd) __asm__("fdatasync");
int call_unlink(const char *path) __asm__("unlink");

#endif
