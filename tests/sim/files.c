/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/files.h"

#include "tests/sim/fiber.h"

#include <sys/mman.h>

enum { UNSYNCED_NAMES = 64, TICK_NS = 4000000 };

struct files files;

const char *const files_count_name[FILES_COUNTS] = {
    [FILES_WRITES] = "writes",
    [FILES_SYNCS] = "syncs",
    [FILES_POWER_LOSSES] = "power losses",
    [FILES_KILLS] = "processes killed",
    [FILES_SECTORS_LOST] = "unsynced sectors lost",
    [FILES_SECTORS_KEPT] = "unsynced sectors kept",
    [FILES_WRITES_TORN] = "writes torn",
    [FILES_SIZES_LOST] = "sizes of files lost",
    [FILES_NAMES_LOST] = "names of files lost",
    [FILES_EXCHANGED_LOST] = "exchanged names lost",
    [FILES_PARTIAL_WRITES] = "kills inside a write",
    [FILES_SHORT_WRITES] = "short writes",
    [FILES_INTERRUPTED] = "writes interrupted",
    [FILES_WRITE_ERRORS] = "writes that failed",
    [FILES_SYNC_ERRORS] = "syncs that failed",
    [FILES_READ_ERRORS] = "reads that failed",
    [FILES_FULL] = "calls on a full disk",
    [FILES_SLOW_SYNCS] = "slow syncs",
    [FILES_SLOW_WRITES] = "slow writes",
};

uint8_t *files_bytes(uint32_t file)
{
    return files.base + (size_t)file * FILES_REGION;
}

static void change_free(struct files_change *c)
{
    free(c->old);
    free(c->name);
}

static void file_free(struct file *f)
{
    for (uint32_t i = 0; i < f->entries; i++)
        free(f->entry[i].name);
    for (uint32_t i = 0; i < f->changes; i++)
        change_free(&f->change[i]);
    free(f->entry);
    free(f->change);
    memset(f, 0, sizeof(*f));
}

void files_init(void)
{
    uint8_t *base = files.base;

    for (uint32_t i = 1; i < FILES_MOST && base != NULL; i++) {
        memset(files_bytes(i), 0, files.file[i].written);
        file_free(&files.file[i]);
    }
    if (base == NULL)
        base = mmap(NULL, (size_t)FILES_MOST * FILES_REGION, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    leat_assert(base != MAP_FAILED);
    memset(&files, 0, sizeof(files));
    files.base = base;
    files.capacity_bytes = UINT64_MAX;
    files.file[1] = (struct file){.used = true, .directory = true, .names = 1};
}

struct files_descriptor *files_descriptor(int fd)
{
    return fd >= FILES_DESCRIPTOR && fd < FILES_DESCRIPTOR + FILES_OPEN ? &files.open[fd - FILES_DESCRIPTOR] : NULL;
}

static void changed(struct file *f)
{
    int64_t now = fiber_world.now_ns + fiber_world.wall_offset_us * 1000;

    f->changed_ns = now - now % TICK_NS;
}

/* ---- Names ---- */

static struct files_entry *entry_find(const struct file *directory, const char *name)
{
    for (uint32_t i = 0; i < directory->entries; i++)
        if (strcmp(directory->entry[i].name, name) == 0)
            return &directory->entry[i];
    return NULL;
}

static uint32_t child_of(uint32_t parent, const char *name)
{
    const struct files_entry *e = entry_find(&files.file[parent], name);

    return e != NULL ? e->child : 0;
}

uint32_t files_find(const char *path, uint32_t *parent, const char **name)
{
    uint32_t at = 1, before = 1;
    char part[256];

    path += strlen(FILES_ROOT);
    for (;;) {
        path += strspn(path, "/");
        size_t length = strcspn(path, "/");
        if (length == 0)
            break;
        leat_assert(length < sizeof(part));
        memcpy(part, path, length);
        part[length] = '\0';
        if (name != NULL)
            *name = path;
        uint32_t up = before;
        before = at;
        at = strcmp(part, "..") == 0 ? up : at != 0 ? child_of(at, part) : 0; /* one step up, no more */
        path += length;
    }
    if (parent != NULL)
        *parent = before;
    return at;
}

/* The changes of a file grow; the new one is zero but for its number. */
static struct files_change *change_new(struct file *f)
{
    if (f->changes == f->capacity) {
        f->capacity = f->capacity == 0 ? 16 : f->capacity * 2;
        f->change = base_realloc(f->change, f->capacity * sizeof(*f->change));
    }
    struct files_change *c = &f->change[f->changes++];
    *c = (struct files_change){.number = files.changes++};
    return c;
}

void files_name(uint32_t parent, const char *name, uint32_t child)
{
    struct file *d = &files.file[parent];
    struct files_entry *e = entry_find(d, name);
    uint32_t old = e != NULL ? e->child : 0;
    struct files_change *c = change_new(d);

    changed(d);
    c->name = base_strdup(name);
    c->old_child = old;
    if (old != 0)
        files.file[old].names++; /* the change may bring it back */
    if (e == NULL) {
        d->entry = base_realloc(d->entry, (d->entries + 1) * sizeof(*d->entry));
        e = &d->entry[d->entries++];
        *e = (struct files_entry){base_strdup(name), 0};
    }
    e->child = child;
    if (child != 0) {
        files.file[child].names++;
    } else {
        free(e->name);
        *e = d->entry[--d->entries];
    }
    if (old != 0) {
        files.file[old].names--;
        files_release(old);
    }
}

void files_exchange(uint32_t parent, const char *name, uint32_t other_parent, const char *other_name)
{
    uint32_t one = child_of(parent, name), other = child_of(other_parent, other_name);
    struct file *d = &files.file[parent], *e = &files.file[other_parent];

    leat_assert(one != 0 && other != 0 && parent != other_parent);
    files_name(parent, name, other);
    files_name(other_parent, other_name, one);
    d->change[d->changes - 1].pair = e->change[e->changes - 1].pair = files.changes;
}

uint32_t files_make(uint32_t parent, const char *name, bool directory)
{
    uint32_t number = 2;

    /* What nobody syncs is written some time all the same. */
    if (files.file[parent].changes > UNSYNCED_NAMES)
        files_synced(parent, files.changes, false);
    while (number < FILES_MOST && files.file[number].used)
        number++;
    leat_assert(number < FILES_MOST);
    files.file[number] = (struct file){.used = true, .directory = directory};
    files_name(parent, name, number);
    return number;
}

void files_release(uint32_t file)
{
    struct file *f = &files.file[file];

    if (!f->used || f->names > 0 || f->opens > 0 || f->maps > 0)
        return;
    memset(files_bytes(file), 0, f->written);
    files.used_bytes -= f->size;
    file_free(f);
}

/* ---- Bytes ---- */

bool files_room(uint32_t file, uint64_t size)
{
    const struct file *f = &files.file[file];
    bool full = size > f->size && files.used_bytes + (size - f->size) > files.capacity_bytes;

    files.count[FILES_FULL] += full;
    return !full && size <= FILES_REGION;
}

void files_resize(uint32_t file, uint64_t size)
{
    struct file *f = &files.file[file];

    leat_assert(size <= FILES_REGION);
    if (size < f->written) {
        files_write(file, NULL, f->written - size, size);
        f->written = size;
    }
    if (size == f->size)
        return;
    change_new(f)->old_size = f->size;
    files.used_bytes += size - f->size;
    f->size = size;
    changed(f);
}

void files_write(uint32_t file, const void *bytes, uint64_t size, uint64_t offset)
{
    struct file *f = &files.file[file];
    uint8_t *to = files_bytes(file) + offset;

    if (offset + size > f->size)
        files_resize(file, offset + size);
    f->since_sync += size;
    changed(f);
    struct files_change *c = change_new(f);
    c->offset = offset;
    c->size = size;
    c->old = base_realloc(NULL, size);
    memcpy(c->old, to, size);
    if (bytes != NULL)
        memcpy(to, bytes, size);
    else
        memset(to, 0, size);
    if (offset + size > f->written)
        f->written = offset + size;
}

/* What a range held before changes from a number on. */
static void undo_into(const struct file *f, uint64_t number, uint64_t offset, uint64_t size, uint8_t *bytes)
{
    for (uint32_t i = f->changes; i > 0 && f->change[i - 1].number >= number; i--) {
        const struct files_change *c = &f->change[i - 1];
        uint64_t from = c->offset > offset ? c->offset : offset;
        uint64_t to = c->offset + c->size < offset + size ? c->offset + c->size : offset + size;

        if (c->size > 0 && from < to)
            memcpy(bytes + (from - offset), c->old + (from - c->offset), to - from);
    }
}

/* A write became durable: where it lies over writes that never will be, these are no more. */
static void covers_lost(struct file *f, uint32_t place, uint64_t number)
{
    const struct files_change *c = &f->change[place];
    const uint8_t *bytes = files_bytes((uint32_t)(f - files.file));

    for (uint32_t i = 0; i < place; i++) {
        struct files_change *lost = &f->change[i];
        uint64_t from = c->offset > lost->offset ? c->offset : lost->offset;
        uint64_t end = c->offset + c->size < lost->offset + lost->size ? c->offset + c->size
                                                                       : lost->offset + lost->size;

        if (!lost->lost || from >= end)
            continue;
        memcpy(lost->old + (from - lost->offset), bytes + from, end - from);
        undo_into(f, number, from, end - from, lost->old + (from - lost->offset));
    }
}

static void entry_synced(struct files_change *c)
{
    if (c->old_child == 0)
        return;
    files.file[c->old_child].names--;
    files_release(c->old_child);
}

/* The other half of an exchange became durable. */
static void pair_synced(uint64_t pair, uint32_t file)
{
    for (uint32_t i = 1; i < FILES_MOST; i++) {
        struct file *f = &files.file[i];

        for (uint32_t j = 0; f->directory && i != file && j < f->changes; j++) {
            if (f->change[j].pair != pair)
                continue;
            entry_synced(&f->change[j]);
            change_free(&f->change[j]);
            memmove(&f->change[j], &f->change[j + 1], (--f->changes - j) * sizeof(f->change[0]));
            return;
        }
    }
}

void files_synced(uint32_t file, uint64_t number, bool failed)
{
    struct file *f = &files.file[file];
    uint32_t kept = 0;

    f->between_syncs = f->since_sync > f->between_syncs ? f->since_sync : f->between_syncs;
    f->since_sync = 0;
    bool any_lost = false;
    for (uint32_t i = 0; i < f->changes && !failed; i++)
        any_lost = any_lost || f->change[i].lost;
    for (uint32_t i = 0; i < f->changes && any_lost; i++)
        if (f->change[i].size > 0 && f->change[i].number < number && !f->change[i].lost)
            covers_lost(f, i, number);
    for (uint32_t i = 0; i < f->changes; i++) {
        struct files_change *c = &f->change[i];

        c->lost = c->lost || (failed && c->size > 0 && c->number < number);
        if (c->number >= number || c->lost || (c->pair != 0 && failed)) {
            f->change[kept++] = *c;
            continue;
        }
        if (c->pair != 0)
            pair_synced(c->pair, file);
        if (c->name != NULL)
            entry_synced(c);
        change_free(c);
    }
    f->changes = kept;
}
