/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_BACKUP_H
#define ENGINE_BACKUP_H

/* Backups: copies of a data directory, also while a process works in it, that open as the directory would have opened
 * after a crash.
 *
 *   backup.c         what to copy: holds, checkpoints, a consistent cut through the logs
 *   backup_files.c   copying, the manifest, restoring
 *
 * A backup directory has one folder for each backup, named by its time, each a whole data directory with a manifest.
 * Segments that are full never change: those that the backup before has are linked, not copied. */

#include "base/span.h"
#include "leat/leat.h"

/* One file of a backup. */
struct backup_file {
    char *path;              /* below the data directory */
    uint64_t size, used;     /* used: bytes that count; the rest is zero */
    bool sealed;             /* as long as its identity is the same, so are its bytes */
    uint64_t inode;          /* identity of the source */
    int64_t changed_ns;
    uint32_t crc;            /* of the used bytes */
    uint8_t *bytes;          /* a small file as it was read before; NULL: copied when its turn comes */
};

struct backup_list {
    struct backup_file *file;
    size_t files, capacity;
};

/* Is it what a backup is called? */
bool backup_is_name(const char *name);
/* When a backup of such a name was begun, in seconds since 1970, and the bytes that count of its files, those that it
 * shares with others included, as its manifest says. */
int64_t backup_begun(const char *name);
int backup_bytes(const char *to, const char *name, uint64_t *out, struct leat_error *err);

/* path: taken. */
void backup_list_add(struct backup_list *l, char *path, uint64_t size, uint64_t used, bool sealed);
/* A small file, read now. */
int backup_list_read(struct backup_list *l, const char *directory, char *path, struct leat_error *err);
void backup_list_free(struct backup_list *l);

/* Copy, or link from the newest whole backup in `to`; then the manifest, and only
 * then the folder's name. name: of it. */
int backup_write(const char *from, const char *to, struct backup_list *l, const struct leat_backup *how, char name[64],
                 struct leat_error *err);

#endif
