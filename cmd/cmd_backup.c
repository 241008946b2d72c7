/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "engine/backup.h"

/* backup, restore and rebuild: what the functions of leat.h do, with a line of progress. */

struct progress {
    double started, printed;
    const char *doing;   /* of a rebuild, since when */
    double since;
    uint64_t all;
    bool shown;
};

static void show(void *context, uint64_t done, uint64_t all)
{
    struct progress *p = context;
    double at = call_now();

    p->all = all;
    if (!p->shown || at - p->printed < 0.2)
        return;
    p->printed = at;
    double rate = (double)done / (at - p->started);
    fprintf(stderr, "\r%.1f of %.1f MB, %.0f MB/s, %.0f s left ", (double)done * 1e-6, (double)all * 1e-6, rate * 1e-6,
            rate > 0 ? (double)(all - done) / rate : 0.0);
}

/* One whose manifest does not check out has no size: --verify says why. */
static void list_one(const struct call *c, struct table *t, const char *to, const char *name)
{
    int64_t begun = backup_begun(name);
    char date[40], bytes[24];
    uint64_t size;

    if (c->json || !time_text(begun * 1000000, date))
        snprintf(date, sizeof(date), "%lld", (long long)begun);
    snprintf(bytes, sizeof(bytes), "%s", c->json ? "null" : "damaged");
    if (backup_bytes(to, name, &size, NULL) == 0)
        snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)size);
    table_row(t, (const char *const[]){name, date, bytes});
}

static int list(struct call *c, const char *to)
{
    static const char *const columns[] = {"backup", "time", "bytes"};
    struct dirent **entry;
    int count = scandir(to, &entry, NULL, alphasort);

    if (count < 0) {
        if (errno == ENOENT)
            fprintf(stderr, "leat: there is no directory '%s'\n", to);
        else
            fprintf(stderr, "leat: '%s' cannot be listed: %s\n", to, strerror(errno));
        return EXIT_NO;
    }
    struct table *t = table_open(c, columns, LENGTH_OF(columns), 1U << 1 | 1U << 2);
    for (int i = 0; i < count; i++) {
        if (backup_is_name(entry[i]->d_name))
            list_one(c, t, to, entry[i]->d_name);
        free(entry[i]);
    }
    free(entry);
    table_close(t);
    return 0;
}

static struct progress progress_of(const struct call *c)
{
    return (struct progress){.started = call_now(), .shown = isatty(STDERR_FILENO) && !c->quiet};
}

static void progress_over(const struct progress *p)
{
    if (p->shown)
        fprintf(stderr, "\r\033[K");
}

static int verify(struct call *c, const struct leat_backup *how)
{
    const struct progress *p = how->context;
    struct leat_error err = {0};
    int rv = leat_verify(c->argument[0], call_option(c, "name"), how, &err);

    progress_over(p);
    if (rv != 0)
        return call_error(&err);
    if (!c->quiet)
        fprintf(stderr, "every byte is as it was copied: %.1f MB in %.2f s\n", (double)p->all * 1e-6,
                call_now() - p->started);
    return 0;
}

int cmd_backup(struct call *c)
{
    struct progress p = progress_of(c);
    struct leat_backup how = {.keep = (uint32_t)call_number(c, "most", 0, UINT32_MAX), .progress = show, .context = &p,
                              .bytes_per_second = call_number(c, "rate", 0, UINT32_MAX) * 1000000};
    static const char *const columns[] = {"backup", "bytes", "seconds"};
    struct leat_error err = {0};
    char name[64], bytes[32], seconds[32];

    if (call_option(c, "list") != NULL)
        return list(c, c->argument[0]);
    if (call_option(c, "verify") != NULL)
        return verify(c, &how);
    if (call_option(c, "name") != NULL)
        return call_usage(c, "--name is for --verify: a new backup is named by its time");
    if (call_option(c, "data") == NULL)
        return call_usage(c, "say where the data is: --data DIR");
    int rv = call_there(call_option(c, "data"), NULL);
    if (rv != 0)
        return rv;
    rv = leat_backup(call_option(c, "data"), c->argument[0], &how, name, &err);
    progress_over(&p);
    if (rv != 0)
        return call_error(&err);
    snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)p.all);
    snprintf(seconds, sizeof(seconds), "%.2f", call_now() - p.started);
    struct table *t = table_open(c, columns, LENGTH_OF(columns), 1U << 1 | 1U << 2);
    table_row(t, (const char *const[]){name, bytes, seconds});
    table_close(t);
    return 0;
}

int cmd_restore(struct call *c)
{
    const char *data = call_option(c, "data");
    struct progress p = progress_of(c);
    struct leat_backup how = {
        .progress = show, .context = &p, .bytes_per_second = call_number(c, "rate", 0, UINT32_MAX) * 1000000};
    struct leat_error err = {0};

    if (data == NULL)
        return call_usage(c, "say where to put it: --data DIR, a new directory");
    int rv = leat_restore(c->argument[0], call_option(c, "name"), data, &how, &err);
    progress_over(&p);
    if (rv != 0)
        return call_error(&err);
    if (!c->quiet)
        fprintf(stderr, "restored and checked in %.2f s; '%s' is ready to be opened\n", call_now() - p.started, data);
    return 0;
}

/* What "copied" says last is what the PStates are made of. */
static void show_rebuilt(void *context, const char *doing, uint64_t done, uint64_t all)
{
    struct progress *p = context;
    double at = call_now();

    if (p->doing == NULL || strcmp(p->doing, doing) != 0)
        p->since = p->printed = at;
    p->doing = doing;
    if (strcmp(doing, "copied") == 0)
        p->all = all;
    if (!p->shown || at - p->printed < 0.2)
        return;
    p->printed = at;
    fprintf(stderr, "\r\033[K%llu of %llu records %s, %.0f records/s ", (unsigned long long)done,
            (unsigned long long)all, doing, (double)done / (at - p->since));
}

int cmd_rebuild(struct call *c)
{
    const struct leat_module *module = call_module(c->argument[0]);
    struct progress p = progress_of(c);
    struct leat_rebuild how = {.groups = (uint32_t)call_number(c, "groups", 0, LIMIT_GROUPS),
                               .partial = call_option(c, "partial") != NULL,
                               .progress = show_rebuilt,
                               .context = &p};
    struct leat_error err = {0};

    if (module == NULL)
        return EXIT_NO;
    if (call_option(c, "data") == NULL)
        return call_usage(c, "say where the data is: --data DIR");
    how.options = call_settings(c);
    if (how.options == NULL)
        return EXIT_USAGE;
    int rv = call_there(call_option(c, "data"), module->name);
    if (rv != 0)
        return rv;
    rv = leat_rebuild(call_option(c, "data"), module, &how, &err);
    progress_over(&p);
    if (rv != 0)
        return call_error(&err);
    if (!c->quiet)
        fprintf(stderr, "rebuilt from %llu record%s in %.2f s\n", (unsigned long long)p.all,
                p.all == 1 ? "" : "s", call_now() - p.started);
    return 0;
}
