/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

/* Whole-file helpers. Every call fills err with the path and what to do. */

#include "base/span.h"

#include <dirent.h>

/* Mode 0700, with parents; fine if there. durable: no loss of power takes it away once this returned, also if another
 * process made it and died before it could say so. */
int file_make_directory(const char *path, bool durable, struct leat_error *err);
int file_sync_directory(const char *path, struct leat_error *err);
/* fdatasync of an open file. LEAT_EIO whatever failed, a full disk too: what is on the disk is unknown then, and asking
 * again would be answered with a lie (Rebello, ATC 2020). The same holds for directories. */
int file_sync(int fd, const char *path, struct leat_error *err);
/* Is there next to no space where this is? To tell a short write on a full disk from a broken one. */
bool file_disk_full(const char *path);
/* Space for the first bytes of a file, made when it is not there; its size stays. */
int file_reserve(const char *path, uint64_t size, struct leat_error *err);
/* Write to PATH.tmp, fdatasync, rename over path, sync the directory. */
int file_replace(const char *path, struct leat_span bytes, struct leat_error *err);
/* All of a file, at most limit bytes (LEAT_ELIMIT above). LEAT_ENOTFOUND when it is not there. */
int file_read(const char *path, size_t limit, struct buffer *out, struct leat_error *err);
int file_remove_tree(const char *path, struct leat_error *err);
/* The next entry of a directory that was opened. NULL: at its end, or it cannot be read on, which *rv says then. */
struct dirent *file_next(DIR *d, const char *path, int *rv, struct leat_error *err);
/* Take an exclusive lock with our pid in the file; LEAT_EBUSY names the pid that has it. *fd stays open. */
int file_lock(const char *path, int *fd, struct leat_error *err);
/* write/pwrite until done; 0 or a negative LEAT_E code. fd's errors keep errno for the caller. */
int file_pwrite(int fd, const void *bytes, size_t size, uint64_t offset);

#endif
