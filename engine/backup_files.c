/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/backup.h"

#include "base/base.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A backup is whole when its folder has its name: until then it is called NAME.partial. The manifest is text: a line
 * for each file {crc, size, used bytes, sealed, inode and change time of the source, path}, at its end their number and
 * the CRC of all before. */

static const char magic[] = "leat-backup 1\n", partial[] = ".partial", manifest[] = "MANIFEST";

enum { PIECE = 1 << 20, BEHIND = 2 * PIECE, PATH = 4096, JOINED = 3 * PATH, MANIFEST_MOST = 64 << 20,
       SMALL_MOST = 16 << 20 };

void backup_list_add(struct backup_list *l, char *path, uint64_t size, uint64_t used, bool sealed)
{
    if (l->files == l->capacity) {
        l->capacity = l->capacity * 2 + 64;
        l->file = base_realloc(l->file, l->capacity * sizeof(*l->file));
    }
    l->file[l->files++] = (struct backup_file){.path = path, .size = size, .used = used, .sealed = sealed};
}

int backup_list_read(struct backup_list *l, const char *directory, char *path, struct leat_error *err)
{
    struct buffer bytes;
    char from[JOINED];

    snprintf(from, sizeof(from), "%s/%s", directory, path);
    buffer_init(&bytes, SMALL_MOST);
    int rv = file_read(from, SMALL_MOST, &bytes, err);
    if (rv != 0) {
        buffer_fini(&bytes);
        free(path);
        return rv;
    }
    backup_list_add(l, path, bytes.size, bytes.size, false);
    l->file[l->files - 1].bytes = bytes.base != NULL ? bytes.base : base_alloc(1);
    return 0;
}

void backup_list_free(struct backup_list *l)
{
    for (size_t i = 0; i < l->files; i++) {
        free(l->file[i].path);
        free(l->file[i].bytes);
    }
    free(l->file);
    *l = (struct backup_list){0};
}

/* ---- The manifest ---- */

static void manifest_encode(const struct backup_list *l, struct buffer *out)
{
    char line[PATH + 256];

    buffer_put(out, magic, strlen(magic));
    for (size_t i = 0; i < l->files; i++) {
        const struct backup_file *f = &l->file[i];
        int n = snprintf(line, sizeof(line), "%08x %llu %llu %d %llu %lld %s\n", f->crc, (unsigned long long)f->size,
                         (unsigned long long)f->used, f->sealed, (unsigned long long)f->inode, (long long)f->changed_ns,
                         f->path);

        leat_assert(n > 0 && n < (int)sizeof(line));
        buffer_put(out, line, (size_t)n);
    }
    snprintf(line, sizeof(line), "end %zu %08x\n", l->files, crc32c(0, out->base, out->size));
    buffer_put(out, line, strlen(line));
}

static bool parse_line(const char *line, struct backup_list *out)
{
    unsigned long long size, used, inode;
    long long changed;
    int sealed, at = 0;
    unsigned crc;

    if (sscanf(line, "%8x %llu %llu %d %llu %lld %n", &crc, &size, &used, &sealed, &inode, &changed, &at) != 6 ||
        at == 0)
        return false;
    /* Paths stay below the directory. */
    if (line[at] == '/' || line[at] == '\0' || strncmp(line + at, "../", 3) == 0 || strstr(line + at, "/../") != NULL)
        return false;
    backup_list_add(out, base_strdup(line + at), size, used, sealed != 0);
    struct backup_file *f = &out->file[out->files - 1];
    f->inode = inode;
    f->changed_ns = changed;
    f->crc = crc;
    return true;
}

static bool parse_manifest(char *text, size_t size, struct backup_list *out)
{
    char *line, *rest = NULL, *end = strstr(text, "\nend ");
    unsigned crc;
    size_t files;

    if (strncmp(text, magic, strlen(magic)) != 0 || end == NULL || sscanf(end, "\nend %zu %8x", &files, &crc) != 2)
        return false;
    leat_assert((size_t)(end - text) < size);
    if (crc32c(0, text, (size_t)(end + 1 - text)) != crc)
        return false;
    *end = '\0';
    for (line = strtok_r(text + strlen(magic), "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        if (!parse_line(line, out))
            return false;
    return out->files == files;
}

static int read_manifest(const char *backup, struct backup_list *out, struct leat_error *err)
{
    struct buffer text;
    char path[PATH];

    *out = (struct backup_list){0};
    snprintf(path, sizeof(path), "%s/%s", backup, manifest);
    buffer_init(&text, MANIFEST_MOST);
    int rv = file_read(path, MANIFEST_MOST - 1, &text, err);
    if (rv == 0) {
        buffer_u8(&text, 0);
        if (!parse_manifest((char *)text.base, text.size, out))
            rv = leat_fail(err, LEAT_ECORRUPT, "'%s' does not check out: this backup cannot be used", path);
    }
    buffer_fini(&text);
    if (rv != 0)
        backup_list_free(out);
    return rv;
}

/* ---- Names ---- */

/* YYYYMMDDTHHMMSSZ, or with -NNN behind. */
static size_t name_length(const char *name)
{
    static const char form[] = "00000000T000000Z", more[] = "-000";
    size_t i = 0;

    for (; i < strlen(form); i++)
        if (form[i] == '0' ? name[i] < '0' || name[i] > '9' : name[i] != form[i])
            return 0;
    for (size_t j = 0; j < strlen(more); j++)
        if (more[j] == '0' ? name[i + j] < '0' || name[i + j] > '9' : name[i + j] != more[j])
            return i;
    return i + strlen(more);
}

bool backup_is_name(const char *name)
{
    size_t length = name_length(name);

    return length > 0 && name[length] == '\0';
}

int64_t backup_begun(const char *name)
{
    struct tm date = {0};

    sscanf(name, "%4d%2d%2dT%2d%2d%2d", &date.tm_year, &date.tm_mon, &date.tm_mday, &date.tm_hour, &date.tm_min,
           &date.tm_sec);
    date.tm_year -= 1900;
    date.tm_mon -= 1;
    return timegm(&date);
}

static bool is_partial(const char *name)
{
    size_t length = name_length(name);

    return length > 0 && strcmp(name + length, partial) == 0;
}

static bool is_backup(const char *to, const char *name)
{
    char path[PATH];

    if (!backup_is_name(name))
        return false;
    snprintf(path, sizeof(path), "%s/%s/%s", to, name, manifest);
    return access(path, F_OK) == 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct names {
    char **name;
    size_t count, capacity;
};

static void names_free(struct names *n)
{
    for (size_t i = 0; i < n->count; i++)
        free(n->name[i]);
    free(n->name);
}

/* Of whole backups, oldest first; names_free also after an error. */
static int list_backups(const char *to, struct names *out, struct leat_error *err)
{
    DIR *d = opendir(to);
    int rv = 0;

    *out = (struct names){0};
    if (d == NULL)
        return errno == ENOENT ? 0 : base_errno(err, errno, "list", to);
    for (struct dirent *e; (e = file_next(d, to, &rv, err)) != NULL;) {
        if (!is_backup(to, e->d_name))
            continue;
        if (out->count == out->capacity) {
            out->capacity = out->capacity * 2 + 16;
            out->name = base_realloc(out->name, out->capacity * sizeof(*out->name));
        }
        out->name[out->count++] = base_strdup(e->d_name);
    }
    closedir(d);
    if (out->count > 1)
        qsort(out->name, out->count, sizeof(*out->name), compare_names);
    return rv;
}

/* Left by a process that died: nobody else is at work in here, as we have the lock. */
static void remove_partial(const char *to)
{
    DIR *d = opendir(to);

    for (struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL; e = readdir(d)) {
        char path[PATH];

        snprintf(path, sizeof(path), "%s/%s", to, e->d_name);
        if (is_partial(e->d_name))
            file_remove_tree(path, NULL);
    }
    if (d != NULL)
        closedir(d);
}

/* Behind all of that second, for names are sorted; 0: there is none. */
static int next_number(const struct names *n, const char *when)
{
    size_t length = strlen(when);

    for (size_t i = n->count; i > 0; i--)
        if (strncmp(n->name[i - 1], when, length) == 0)
            return n->name[i - 1][length] == '-' ? atoi(n->name[i - 1] + length + 1) + 1 : 1;
    return 0;
}

/* By the second; a second one in it gets a number behind. */
static int make_folder(const char *to, const struct names *had, char name[64], char *folder, size_t size,
                       struct leat_error *err)
{
    time_t now = time(NULL);
    struct tm date;
    char when[32];

    gmtime_r(&now, &date);
    strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &date);
    for (int number = next_number(had, when); number < 1000; number++) {
        char path[PATH];

        snprintf(name, 64, number == 0 ? "%s" : "%s-%03d", when, number);
        snprintf(path, sizeof(path), "%s/%s", to, name);
        if (access(path, F_OK) == 0)
            continue;
        if (snprintf(folder, size, "%s%s", path, partial) >= (int)size)
            return leat_fail(err, LEAT_EINVAL, "the path '%s' is too long", to);
        return file_make_directory(folder, true, err);
    }
    return leat_fail(err, LEAT_EEXISTS, "'%s' has a thousand backups of this second", to);
}

/* ---- Copying ---- */

struct work {
    const struct leat_backup *how;
    uint64_t done, all;
    uint64_t copied;   /* of done: the rest was linked */
    int64_t start_ns;
};

static int64_t now_ns(void)
{
    return clock_real()->monotonic_ns(clock_real());
}

static struct work work_of(const struct backup_list *l, const struct leat_backup *how)
{
    static const struct leat_backup quiet = {0};
    struct work w = {.how = how != NULL ? how : &quiet, .start_ns = now_ns()};

    for (size_t i = 0; i < l->files; i++)
        w.all += l->file[i].used;
    return w;
}

int backup_bytes(const char *to, const char *name, uint64_t *out, struct leat_error *err)
{
    struct backup_list l;
    char path[PATH];

    snprintf(path, sizeof(path), "%s/%s", to, name);
    int rv = read_manifest(path, &l, err);
    *out = work_of(&l, NULL).all;
    backup_list_free(&l);
    return rv;
}

static void went_on(struct work *w, uint64_t bytes, bool copied)
{
    w->done += bytes;
    w->copied += copied ? bytes : 0;
    if (w->how->progress != NULL)
        w->how->progress(w->how->context, w->done, w->all);
    if (w->how->bytes_per_second == 0)
        return;
    int64_t due = w->start_ns + (int64_t)((double)w->copied / (double)w->how->bytes_per_second * 1e9), now = now_ns();
    if (due > now)
        nanosleep(&(struct timespec){(due - now) / 1000000000, (due - now) % 1000000000}, NULL);
}

/* Write out what was just copied, and wait for what was some pieces before it: left to the end it would be a burst that
 * commits of others stand behind. Only real errors of the disk count: not every file can do this. */
static int write_out(int fd, uint64_t at, uint64_t size)
{
    enum { NOW = SYNC_FILE_RANGE_WRITE, DONE = SYNC_FILE_RANGE_WAIT_BEFORE | NOW | SYNC_FILE_RANGE_WAIT_AFTER };
    bool failed = sync_file_range(fd, (off_t)at, (off_t)size, NOW) != 0;

    if (!failed && at >= BEHIND)
        failed = sync_file_range(fd, (off_t)(at - BEHIND), PIECE, DONE) != 0;
    return failed && (errno == EIO || errno == ENOSPC || errno == EDQUOT) ? -1 : 0;
}

static int copy_bytes(int in, int out, uint64_t size, uint32_t *crc, struct work *w, const char *path,
                      struct leat_error *err)
{
    uint8_t *piece = base_alloc(PIECE);
    uint64_t at = 0;
    int rv = 0;

    *crc = 0;
    while (at < size && rv == 0) {
        ssize_t n = pread(in, piece, size - at < PIECE ? size - at : PIECE, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            rv = n < 0 ? base_errno(err, errno, "read", path)
                       : leat_fail(err, LEAT_EIO, "'%s' is shorter than it was", path);
            break;
        }
        if (file_pwrite(out, piece, (size_t)n, at) != 0 || write_out(out, at, (uint64_t)n) != 0)
            rv = base_errno(err, errno, "copy", path);
        *crc = crc32c(*crc, piece, (size_t)n);
        at += (uint64_t)n;
        went_on(w, (uint64_t)n, true);
    }
    free(piece);
    return rv;
}

static int make_parent(const char *path, struct leat_error *err)
{
    char parent[JOINED];

    snprintf(parent, sizeof(parent), "%s", path);
    *strrchr(parent, '/') = '\0';
    return file_make_directory(parent, true, err);
}

/* full: as large as the source, so that a log can write on in it. */
static int copy_file(const char *from, const char *to, const struct backup_file *f, bool full, uint32_t *crc,
                     struct work *w, struct leat_error *err)
{
    int in = open(from, O_RDONLY | O_CLOEXEC), out = -1, rv = make_parent(to, err);

    if (rv == 0 && in < 0)
        rv = base_errno(err, errno, "open", from);
    if (rv == 0 && (out = open(to, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0)
        rv = base_errno(err, errno, "make", to);
    if (rv == 0)
        rv = copy_bytes(in, out, f->used, crc, w, from, err);
    if (rv == 0 && f->size > f->used) {
        int number = full ? posix_fallocate(out, 0, (off_t)f->size) : ftruncate(out, (off_t)f->size) != 0 ? errno : 0;

        rv = number == 0 ? 0 : base_errno(err, number, "make room in", to);
    }
    if (rv == 0 && fdatasync(out) != 0)
        rv = base_errno(err, errno, "sync", to);
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    return rv;
}

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const struct backup_file *)a)->path, ((const struct backup_file *)b)->path);
}

static void sort(struct backup_list *l)
{
    if (l->files > 1)
        qsort(l->file, l->files, sizeof(*l->file), compare_files);
}

/* Link what the backup before has, if it is the same file. */
static bool link_file(const char *before, const struct backup_list *had, const char *folder, struct backup_file *f)
{
    const struct backup_file *old = had->files > 0 ? bsearch(f, had->file, had->files, sizeof(*f), compare_files)
                                                   : NULL;
    char from[JOINED], to[JOINED];

    if (!f->sealed || old == NULL || !old->sealed || old->inode != f->inode || old->changed_ns != f->changed_ns ||
        old->used != f->used || old->size != f->size)
        return false;
    snprintf(from, sizeof(from), "%s/%s", before, f->path);
    snprintf(to, sizeof(to), "%s/%s", folder, f->path);
    if (make_parent(to, NULL) != 0 || link(from, to) != 0)
        return false;
    f->crc = old->crc;
    return true;
}

static int write_small(const char *folder, struct backup_file *f, struct work *w, struct leat_error *err)
{
    char to[JOINED];

    snprintf(to, sizeof(to), "%s/%s", folder, f->path);
    int rv = make_parent(to, err);
    if (rv == 0)
        rv = file_replace(to, span_of(f->bytes, f->used), err);
    f->crc = crc32c(0, f->bytes, f->used);
    went_on(w, f->used, true);
    return rv;
}

static int write_file(const char *from, const char *before, const struct backup_list *had, const char *folder,
                      struct backup_file *f, struct work *w, struct leat_error *err)
{
    char source[JOINED], to[JOINED];
    struct stat st;

    if (f->bytes != NULL)
        return write_small(folder, f, w, err);
    snprintf(source, sizeof(source), "%s/%s", from, f->path);
    snprintf(to, sizeof(to), "%s/%s", folder, f->path);
    if (stat(source, &st) != 0)
        return base_errno(err, errno, "look at", source);
    f->inode = st.st_ino;
    f->changed_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    if (link_file(before, had, folder, f)) {
        went_on(w, f->used, false);
        return 0;
    }
    return copy_file(source, to, f, false, &f->crc, w, err);
}

/* ---- Writing ---- */

static int sync_folder(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)at;
    return type == FTW_DP ? file_sync_directory(path, NULL) : 0;
}

/* The names of all that was made or linked. */
static int sync_folders(const char *folder, struct leat_error *err)
{
    return nftw(folder, sync_folder, 16, FTW_DEPTH | FTW_PHYS) == 0
               ? 0
               : leat_fail(err, LEAT_EIO, "the folders of '%s' cannot be synced", folder);
}

static int finish(const char *to, const char *folder, const char *name, const struct backup_list *l,
                  struct leat_error *err)
{
    struct buffer text;
    char path[JOINED];

    buffer_init(&text, MANIFEST_MOST);
    manifest_encode(l, &text);
    snprintf(path, sizeof(path), "%s/%s", folder, manifest);
    int rv = text.error != 0 ? leat_fail(err, LEAT_ELIMIT, "a backup of %zu files", l->files)
                             : file_replace(path, buffer_bytes(&text), err);
    buffer_fini(&text);
    snprintf(path, sizeof(path), "%s/%s", to, name);
    if (rv == 0)
        rv = sync_folders(folder, err);
    if (rv == 0 && rename(folder, path) != 0)
        rv = base_errno(err, errno, "name", path);
    return rv == 0 ? file_sync_directory(to, err) : rv;
}

/* Never the one just made, whatever clocks say. */
static int remove_oldest(const char *to, uint32_t keep, const char *made, struct leat_error *err)
{
    struct names n;
    int rv = list_backups(to, &n, err);

    for (size_t i = 0; keep > 0 && i + keep < n.count && rv == 0; i++) {
        char path[PATH], gone[PATH + 16];

        if (strcmp(n.name[i], made) == 0)
            continue;
        /* Half removed it must not look whole. */
        snprintf(path, sizeof(path), "%s/%s", to, n.name[i]);
        snprintf(gone, sizeof(gone), "%s%s", path, partial);
        rv = rename(path, gone) == 0 ? file_remove_tree(gone, err) : base_errno(err, errno, "remove", path);
    }
    names_free(&n);
    return rv;
}

static int write_all(const char *from, const char *to, const char *folder, const struct names *n,
                     struct backup_list *l, const struct leat_backup *how, struct leat_error *err)
{
    struct backup_list had = {0};
    char before[PATH] = "";
    struct work w = work_of(l, how);
    int rv = 0;

    if (n->count > 0) {
        snprintf(before, sizeof(before), "%s/%s", to, n->name[n->count - 1]);
        read_manifest(before, &had, NULL); /* damaged: then everything is copied */
        sort(&had);
    }
    for (size_t i = 0; i < l->files && rv == 0; i++)
        rv = write_file(from, before, &had, folder, &l->file[i], &w, err);
    backup_list_free(&had);
    return rv;
}

/* Is a path, of which the end need not be there yet, the directory or something in it? */
static bool lies_within(const char *to, const char *directory)
{
    struct stat of, up, st = {0};
    char path[PATH], *end;

    snprintf(path, sizeof(path), "./%s", to);
    if (to[0] == '/')
        snprintf(path, sizeof(path), "%s", to);
    while (stat(path, &up) != 0 && (end = strrchr(path, '/')) != NULL && end > path)
        *end = '\0';
    for (bool same = false; !same && stat(directory, &of) == 0 && stat(path, &up) == 0;) {
        if (up.st_dev == of.st_dev && up.st_ino == of.st_ino)
            return true;
        same = up.st_dev == st.st_dev && up.st_ino == st.st_ino; /* above the root is the root */
        st = up;
        if (strlen(path) + sizeof("/..") > sizeof(path))
            return false;
        strcat(path, "/..");
    }
    return false;
}

int backup_write(const char *from, const char *to, struct backup_list *l, const struct leat_backup *how, char name[64],
                 struct leat_error *err)
{
    char folder[PATH], path[PATH];
    struct names had;
    int lock = -1;

    if (lies_within(to, from))
        return leat_fail(err, LEAT_EINVAL, "'%s' lies in the data directory itself: keep backups elsewhere", to);
    int rv = file_make_directory(to, true, err);
    snprintf(path, sizeof(path), "%s/lock", to);
    if (rv == 0)
        rv = file_lock(path, &lock, err);
    if (rv != 0)
        return rv;
    remove_partial(to);
    rv = list_backups(to, &had, err);
    if (rv == 0)
        rv = make_folder(to, &had, name, folder, sizeof(folder), err);
    if (rv == 0) {
        rv = write_all(from, to, folder, &had, l, how, err);
        if (rv == 0)
            rv = finish(to, folder, name, l, err);
        if (rv != 0)
            file_remove_tree(folder, NULL);
    }
    if (rv == 0)
        rv = remove_oldest(to, how->keep, name, err);
    names_free(&had);
    close(lock);
    return rv;
}

/* ---- Restoring ---- */

static int find_backup(const char *backups, const char *name, char *out, size_t size, struct leat_error *err)
{
    struct names n;
    int rv = list_backups(backups, &n, err);

    if (rv == 0 && name != NULL && !is_backup(backups, name))
        rv = leat_fail(err, LEAT_ENOTFOUND, "there is no backup '%s' in '%s'", name, backups);
    else if (rv == 0 && name == NULL && n.count == 0)
        rv = leat_fail(err, LEAT_ENOTFOUND, "there is no whole backup in '%s'", backups);
    else if (rv == 0)
        snprintf(out, size, "%s/%s", backups, name != NULL ? name : n.name[n.count - 1]);
    names_free(&n);
    return rv;
}

static int not_as_copied(const char *path, const char *what, struct leat_error *err)
{
    return leat_fail(err, LEAT_ECORRUPT, "'%s' %s: it is not as it was copied; use another backup", path, what);
}

/* Is the file there, as long as it was? */
static int check_file(const char *path, const struct backup_file *f, struct leat_error *err)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return errno == ENOENT ? not_as_copied(path, "is missing", err) : base_errno(err, errno, "look at", path);
    return (uint64_t)st.st_size == f->size ? 0 : not_as_copied(path, "has another size", err);
}

static int restore_file(const char *backup, const char *folder, const struct backup_file *f, struct work *w,
                        struct leat_error *err)
{
    char from[JOINED], to[2 * JOINED];
    uint32_t crc;

    snprintf(from, sizeof(from), "%s/%s", backup, f->path);
    snprintf(to, sizeof(to), "%s/%s", folder, f->path);
    int rv = check_file(from, f, err);
    if (rv == 0)
        rv = copy_file(from, to, f, true, &crc, w, err);
    return rv != 0 || crc == f->crc ? rv : not_as_copied(from, "does not check out", err);
}

/* By which a data directory is known. */
static int make_lock(const char *folder, struct leat_error *err)
{
    char path[2 * JOINED];

    snprintf(path, sizeof(path), "%s/leat.lock", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return base_errno(err, errno, "make", path);
    close(fd);
    return file_sync_directory(folder, err);
}

/* Where to, without slashes at its end; and nothing may be in it. */
static int check_target(const char *directory, char *out, size_t size, struct leat_error *err)
{
    struct dirent *e;
    size_t length = strlen(directory);
    int rv = 0;

    while (length > 1 && directory[length - 1] == '/')
        length--;
    if (length == 0 || length + sizeof(partial) >= size)
        return leat_fail(err, LEAT_EINVAL, "the path '%s' is empty or too long", directory);
    snprintf(out, size, "%.*s", (int)length, directory);
    DIR *d = opendir(out);
    if (d == NULL)
        return errno == ENOENT ? 0 : base_errno(err, errno, "look into", out);
    do
        e = file_next(d, out, &rv, err);
    while (e != NULL && (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0));
    closedir(d);
    return e == NULL ? rv
                     : leat_fail(err, LEAT_EEXISTS,
                                 "'%s' is not empty: restore into a new directory, then put it in its place", out);
}

static int restore_all(const char *backup, const char *folder, const struct backup_list *l,
                       const struct leat_backup *how, struct leat_error *err)
{
    struct work w = work_of(l, how);
    int rv = file_remove_tree(folder, err);

    if (rv == 0)
        rv = file_make_directory(folder, true, err);
    for (size_t i = 0; i < l->files && rv == 0; i++)
        rv = restore_file(backup, folder, &l->file[i], &w, err);
    if (rv == 0)
        rv = make_lock(folder, err);
    return rv == 0 ? sync_folders(folder, err) : rv;
}

int leat_restore(const char *backups, const char *name, const char *directory, const struct leat_backup *how,
                 struct leat_error *err)
{
    struct backup_list l;
    char backup[PATH], target[PATH], folder[JOINED], parent[JOINED];
    int rv = check_target(directory, target, sizeof(target), err);

    if (rv == 0)
        rv = find_backup(backups, name, backup, sizeof(backup), err);
    if (rv != 0 || (rv = read_manifest(backup, &l, err)) != 0)
        return rv;
    snprintf(folder, sizeof(folder), "%s%s", target, partial);
    rv = restore_all(backup, folder, &l, how, err);
    if (rv == 0 && rename(folder, target) != 0)
        rv = base_errno(err, errno, "name", target);
    if (rv != 0)
        file_remove_tree(folder, NULL);
    snprintf(parent, sizeof(parent), "%s/..", target);
    if (rv == 0)
        rv = file_sync_directory(parent, err);
    backup_list_free(&l);
    return base_result(err, rv);
}

/* ---- Verifying ---- */

/* LEAT_ECORRUPT: not as the manifest says. */
static int verify_file(const char *path, const struct backup_file *f, uint8_t *piece, struct work *w,
                       struct leat_error *err)
{
    uint32_t crc = 0;
    int rv = check_file(path, f, err), fd = rv == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (rv == 0 && fd < 0)
        rv = base_errno(err, errno, "open", path);
    for (uint64_t at = 0; rv == 0 && at < f->used;) {
        ssize_t n = pread(fd, piece, f->used - at < PIECE ? f->used - at : PIECE, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            rv = n < 0 ? base_errno(err, errno, "read", path) : not_as_copied(path, "is shorter than it was", err);
            break;
        }
        crc = crc32c(crc, piece, (size_t)n);
        at += (uint64_t)n;
        went_on(w, (uint64_t)n, true);
    }
    if (fd >= 0)
        close(fd);
    return rv != 0 || crc == f->crc ? rv : not_as_copied(path, "does not check out", err);
}

/* One that is damaged does not hide the others; one that cannot be read ends it. */
static int verify_all(const char *backup, const struct backup_list *l, const struct leat_backup *how,
                      struct leat_error *err)
{
    struct work w = work_of(l, how);
    struct leat_error why, first = {0};
    uint8_t *piece = base_alloc(PIECE);
    size_t damaged = 0;
    int rv = 0;

    for (size_t i = 0; i < l->files && (rv == 0 || rv == LEAT_ECORRUPT); i++) {
        char path[JOINED];

        snprintf(path, sizeof(path), "%s/%s", backup, l->file[i].path);
        rv = verify_file(path, &l->file[i], piece, &w, &why);
        if (rv == LEAT_ECORRUPT && damaged++ == 0)
            first = why;
    }
    free(piece);
    if (rv != 0 && rv != LEAT_ECORRUPT)
        return leat_fail(err, rv, "%s", why.text);
    return damaged == 0 ? 0
                        : leat_fail(err, LEAT_ECORRUPT, "%s; files damaged: %zu of %zu", first.text, damaged, l->files);
}

int leat_verify(const char *backups, const char *name, const struct leat_backup *how, struct leat_error *err)
{
    struct backup_list l;
    char backup[PATH];
    int rv = find_backup(backups, name, backup, sizeof(backup), err);

    if (rv == 0)
        rv = read_manifest(backup, &l, err);
    if (rv != 0)
        return rv;
    rv = verify_all(backup, &l, how, err);
    backup_list_free(&l);
    return base_result(err, rv);
}
