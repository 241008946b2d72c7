/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/consumer.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Text: "leat consumer 1", then a line "PARTITION OFFSET" for each partition that is read, and "end". */

enum { FILE_MAX_SIZE = LIMIT_TASKS * 32 + 64 };

static const char first_line[] = "leat consumer 1\n", last_line[] = "end\n";

void consumer_directory(const char *module_directory, const char *depot, char *out, size_t size)
{
    snprintf(out, size, "%s/consumers/%s", module_directory, depot);
}

bool consumer_name_fits(const char *name)
{
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");

    return size > 0 && size <= LIMIT_NAME && name[size] == '\0' && name[0] >= 'a' && name[0] <= 'z';
}

static bool take_number(const char **at, uint64_t most, char behind, uint64_t *out)
{
    char *end;

    errno = 0;
    if (**at < '0' || **at > '9')
        return false;
    *out = strtoull(*at, &end, 10);
    if (errno != 0 || *end != behind || *out > most)
        return false;
    *at = end + 1;
    return true;
}

static bool parse(const char *at, struct consumer *c)
{
    uint64_t partition, offset;

    if (strncmp(at, first_line, strlen(first_line)) != 0)
        return false;
    at += strlen(first_line);
    while (strcmp(at, last_line) != 0) {
        if (!take_number(&at, c->partitions - 1, ' ', &partition) ||
            !take_number(&at, CONSUMER_NONE - 1, '\n', &offset))
            return false;
        c->position[partition] = offset;
    }
    return true;
}

int consumer_read(const char *directory, const char *name, struct consumer *c, struct leat_error *err)
{
    struct buffer text;
    char path[4096];

    for (uint32_t i = 0; i < c->partitions; i++)
        c->position[i] = CONSUMER_NONE;
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    buffer_init(&text, FILE_MAX_SIZE + 1);
    int rv = file_read(path, FILE_MAX_SIZE, &text, err);
    buffer_u8(&text, 0);
    if (rv == 0 && !parse((const char *)text.base, c))
        rv = leat_fail(err, LEAT_ECORRUPT,
                       "'%s' does not check out: put it back from a backup, or remove and add the consumer", path);
    buffer_fini(&text);
    return rv;
}

int consumer_write(const char *directory, const char *name, const struct consumer *c, bool durable,
                   struct leat_error *err)
{
    struct buffer text = {0};
    char path[4096], line[64];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    buffer_put(&text, first_line, strlen(first_line));
    for (uint32_t i = 0; i < c->partitions; i++) {
        if (c->position[i] == CONSUMER_NONE)
            continue;
        snprintf(line, sizeof(line), "%u %llu\n", i, (unsigned long long)c->position[i]);
        buffer_put(&text, line, strlen(line));
    }
    buffer_put(&text, last_line, strlen(last_line));
    int rv = file_make_directory(directory, durable, err);
    if (rv == 0)
        rv = file_replace(path, buffer_bytes(&text), err);
    buffer_fini(&text);
    return rv;
}

int consumer_remove(const char *directory, const char *name, struct leat_error *err)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    if (unlink(path) == 0)
        return file_sync_directory(directory, err);
    if (errno == ENOENT)
        return leat_fail(err, LEAT_ENOTFOUND, "there is no consumer '%s'", name);
    return base_errno(err, errno, "remove", path);
}

/* file_replace leaves NAME.tmp when the process dies in it. */
static bool is_consumer(const char *name)
{
    size_t size = strlen(name);

    return name[0] != '.' && (size < 4 || strcmp(name + size - 4, ".tmp") != 0);
}

int consumer_list(const char *directory, consumer_each *each, void *context, struct leat_error *err)
{
    DIR *d = opendir(directory);
    int rv = 0;

    if (d == NULL)
        return errno == ENOENT ? 0 : base_errno(err, errno, "open directory", directory);
    for (struct dirent *e; rv == 0 && (e = file_next(d, directory, &rv, err)) != NULL;)
        if (is_consumer(e->d_name))
            rv = each(context, e->d_name, err);
    closedir(d);
    return rv;
}

struct lowering {
    const char *directory;
    struct consumer one;
    uint64_t *floor;
};

static int lower(void *context, const char *name, struct leat_error *err)
{
    struct lowering *l = context;
    int rv = consumer_read(l->directory, name, &l->one, err);

    if (rv == LEAT_ENOTFOUND) /* removed meanwhile */
        return 0;
    for (uint32_t i = 0; i < l->one.partitions && rv == 0; i++)
        if (l->one.position[i] < l->floor[i])
            l->floor[i] = l->one.position[i];
    return rv;
}

int consumer_floor(const char *directory, uint64_t *floor, uint32_t partitions, struct leat_error *err)
{
    struct lowering l = {directory, {partitions, base_alloc((partitions + 1) * sizeof(uint64_t))}, floor};
    int rv = consumer_list(directory, lower, &l, err);

    free(l.one.position);
    return rv;
}

/* Whoever comes, moves or goes replaces or removes a file, which changes the directory. Times of files are those of the
 * last tick: what changed less than a second ago may change again without a sign. */
int consumer_floor_again(struct consumer_floors *c, const char *directory, uint64_t *floor, uint32_t partitions,
                         struct leat_error *err)
{
    struct timespec now;
    struct stat st;

    clock_gettime(CLOCK_REALTIME, &now);
    if (stat(directory, &st) != 0)
        return consumer_floor(directory, floor, partitions, err);
    if (!c->known || c->changed.tv_sec != st.st_mtim.tv_sec || c->changed.tv_nsec != st.st_mtim.tv_nsec) {
        if (c->floor == NULL)
            c->floor = base_alloc((partitions + 1) * sizeof(uint64_t));
        memset(c->floor, 0xff, partitions * sizeof(uint64_t));
        int rv = consumer_floor(directory, c->floor, partitions, err);
        c->known = rv == 0 && st.st_mtim.tv_sec + 1 < now.tv_sec;
        c->changed = st.st_mtim;
        if (rv != 0)
            return rv;
    }
    for (uint32_t i = 0; i < partitions; i++)
        if (c->floor[i] < floor[i])
            floor[i] = c->floor[i];
    return 0;
}
