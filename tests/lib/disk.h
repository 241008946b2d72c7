/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_DISK_H
#define TESTS_LIB_DISK_H

/* Power loss, simulated. A program that links this library has its file calls recorded below one directory: its own
 * and those of shared libraries, as the names in the program come first for the dynamic linker.
 *
 *   disk_record.c   the calls that are recorded, and what happened, in order
 *   disk_image.c    the directory as a disk may hold it when power is lost after so many events
 *
 * The model. What a call changed is in memory at once, and on the disk when a sync of that file or directory, begun
 * later, has returned. Before, the disk may hold any of it: each sector of 512 bytes, the file's size, and each
 * directory entry stands at what it was at some moment since the last sync, each at its own. So writes are lost, kept,
 * reordered and torn; files and whole directories vanish whose entries were never synced. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum disk_kind {
    DISK_WRITE,  /* bytes at an offset; the file grows */
    DISK_HOLE,   /* zeros at an offset; the size stays */
    DISK_GROW,   /* the file has at least so many bytes */
    DISK_CUT,    /* the file has so many bytes */
    DISK_LINK,   /* a directory has an entry now, instead of what had the name */
    DISK_UNLINK, /* it has not any more */
    DISK_SYNC,   /* events of the file or directory before `offset` are on the disk */
    DISK_MARK    /* no change: what the program told the world */
};

struct disk_event {
    enum disk_kind kind;
    uint32_t file;     /* number of the file or directory; the root is 0; DISK_MARK: the program's */
    uint32_t child;    /* DISK_LINK */
    bool directory;    /* DISK_LINK: the child is one */
    uint64_t offset, size;
    char *name;        /* DISK_LINK, DISK_UNLINK */
    uint8_t *bytes;    /* DISK_WRITE */
};

struct disk {
    struct disk_event *event;
    uint32_t events, capacity;
    uint32_t files;    /* numbers given out */
    bool borrows;      /* names and bytes are another disk's */
};

/* How an image is chosen among those that may be left. */
enum disk_loss {
    DISK_POWER, /* the power is lost */
    DISK_KILL   /* the program dies: all that was written is there */
};

void disk_init(struct disk *d);
void disk_fini(struct disk *d);

/* Record what happens below root, an absolute path, behind what d has; d's last state is what the directory holds. */
void disk_record(struct disk *d, const char *root);
void disk_record_end(void);
/* Note what the program told the world. Any thread; without a recording nothing happens. */
void disk_mark(uint32_t what, uint64_t from, uint64_t to);

/* Make below root, an empty directory, what a crash after `crash` events may leave; the same for the same seed.
 * on_disk (may be NULL): filled with the image, all of it on the disk, to go on recording from. */
void disk_image(const struct disk *d, uint32_t crash, enum disk_loss loss, uint64_t seed, const char *root,
                struct disk *on_disk);
/* The first events of a disk, to go on recording from: they stay what they are, synced or not. Borrows from d. */
void disk_first(const struct disk *d, uint32_t events, struct disk *out);

/* All of it to a file and back, behind some bytes of the caller's. Saving is async-signal-safe. 0 or errno. */
int disk_save(const struct disk *d, const void *first, size_t size, int fd);
void disk_load(struct disk *d, void *first, size_t size, int fd);

/* ---- Between the two files ---- */

struct disk_event *disk_add(struct disk *d, enum disk_kind kind, uint32_t file);

#endif
