/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/consumer.h"
#include "engine/layout.h"
#include "engine/node.h"

/* leat depot consumer: who holds records of a depot; and exports that go on where they stopped. Only files are looked
 * at and written, so it works beside a process that has the directory open. */

struct target {
    struct layout *layout;
    uint32_t depot;
    char directory[4096];      /* of the depot's consumers */
    struct consumer consumer;
};

static int target_open(struct call *c, struct target *t, struct leat_error *err)
{
    char module[3072];

    if (call_option(c, "data") == NULL)
        return call_usage(c, "say where the data is: --data DIR");
    int rv = call_there(call_option(c, "data"), c->argument[1]);
    if (rv != 0)
        return rv;
    rv = layout_open(call_option(c, "data"), c->argument[1], &t->layout, err);
    if (rv != 0)
        return call_error(err);
    int depot = layout_depot_find(t->layout, c->argument[2]);
    if (depot < 0)
        return call_depot_missing(c->argument[1], c->argument[2]);
    t->depot = (uint32_t)depot;
    snprintf(module, sizeof(module), "%s/%s", call_option(c, "data"), c->argument[1]);
    consumer_directory(module, c->argument[2], t->directory, sizeof(t->directory));
    t->consumer = (struct consumer){t->layout->tasks, base_alloc((t->layout->tasks + 1) * sizeof(uint64_t))};
    return 0;
}

static void target_close(struct target *t)
{
    if (t->layout != NULL)
        layout_close(t->layout);
    free(t->consumer.position);
}

static int add(struct call *c, struct target *t, struct leat_error *err)
{
    const char *name = c->argument[3];
    int rv = consumer_read(t->directory, name, &t->consumer, err);

    if (!consumer_name_fits(name))
        return leat_fail(err, LEAT_EINVAL, "'%s' is no name of a consumer: a-z, then a-z 0-9 - _, at most %d", name,
                         LIMIT_NAME);
    if (rv == 0)
        return leat_fail(err, LEAT_EEXISTS, "depot '%s' has a consumer '%s' already", c->argument[2], name);
    if (rv != LEAT_ENOTFOUND)
        return rv;
    memset(t->consumer.position, 0, t->consumer.partitions * sizeof(uint64_t));
    return consumer_write(t->directory, name, &t->consumer, true, err);
}

/* A name with a slash would be a file elsewhere. */
static int remove_one(struct call *c, struct target *t, struct leat_error *err)
{
    if (strchr(c->argument[3], '/') != NULL || c->argument[3][0] == '.')
        return leat_fail(err, LEAT_ENOTFOUND, "there is no consumer '%s'", c->argument[3]);
    return consumer_remove(t->directory, c->argument[3], err);
}

/* ---- The list ---- */

struct listing {
    struct target *target;
    struct table *table;
    uint64_t *first, *next; /* by partition of the depot */
};

/* A log in the making has fewer partitions. */
static int find_bounds(struct listing *s, struct leat_error *err)
{
    const struct layout *l = s->target->layout;
    int rv = 0;

    for (uint32_t g = 0; g < l->groups && rv == 0; g++) {
        struct log *log;

        rv = layout_log(l, g, "depots", false, &log, err);
        for (uint32_t p = g; p < l->tasks && rv == 0; p += l->groups)
            if (layout_partition(l, s->target->depot, p) < log->partitions)
                log_bounds(log, layout_partition(l, s->target->depot, p), &s->first[p], &s->next[p]);
        if (rv == 0)
            log_close(log);
    }
    return rv;
}

static int list_one(void *context, const char *name, struct leat_error *err)
{
    struct listing *s = context;
    struct consumer *c = &s->target->consumer;
    uint32_t partitions = 0;
    uint64_t left = 0;
    char text[2][24];
    int rv = consumer_read(s->target->directory, name, c, err);

    if (rv == LEAT_ENOTFOUND) /* removed meanwhile */
        return 0;
    for (uint32_t p = 0; p < c->partitions && rv == 0; p++) {
        uint64_t at = c->position[p] > s->first[p] ? c->position[p] : s->first[p];

        if (c->position[p] == CONSUMER_NONE)
            continue;
        partitions++;
        left += s->next[p] > at ? s->next[p] - at : 0;
    }
    snprintf(text[0], sizeof(text[0]), "%u", partitions);
    snprintf(text[1], sizeof(text[1]), "%llu", (unsigned long long)left);
    if (rv == 0)
        table_row(s->table, (const char *const[]){name, text[0], text[1]});
    return rv;
}

static int list(struct call *c, struct target *t, struct leat_error *err)
{
    static const char *const columns[] = {"consumer", "partitions", "records_left"};
    struct listing s = {.target = t};

    s.first = base_alloc((t->layout->tasks + 1) * sizeof(uint64_t));
    s.next = base_alloc((t->layout->tasks + 1) * sizeof(uint64_t));
    int rv = find_bounds(&s, err);
    s.table = table_open(c, columns, LENGTH_OF(columns), 0x6);
    if (rv == 0)
        rv = consumer_list(t->directory, list_one, &s, err);
    table_close(s.table);
    free(s.first);
    free(s.next);
    return rv;
}

int cmd_depot_consumer(struct call *c)
{
    static const struct {
        const char *name;
        int arguments;
        int (*run)(struct call *c, struct target *t, struct leat_error *err);
    } does[] = {{"add", 4, add}, {"remove", 4, remove_one}, {"list", 3, list}};
    struct target t = {0};
    struct leat_error err = {0};
    size_t i = 0;

    while (i < LENGTH_OF(does) && strcmp(does[i].name, c->argument[0]) != 0)
        i++;
    if (i == LENGTH_OF(does))
        return call_usage(c, "add, remove or list, not '%s'", c->argument[0]);
    if (c->arguments != does[i].arguments)
        return call_usage(c, "'%s' wants %s", c->argument[0],
                          does[i].arguments == 4 ? "M, DEPOT and NAME" : "M and DEPOT");
    int rv = target_open(c, &t, &err);
    if (rv == 0 && does[i].run(c, &t, &err) != 0)
        rv = call_error(&err);
    target_close(&t);
    return rv;
}

/* ---- Exports that go on ---- */

static void export_path(const struct call *c, char *out, size_t size)
{
    char module[3072];

    snprintf(module, sizeof(module), "%s/%s", call_option(c, "data"), c->argument[0]);
    consumer_directory(module, call_option(c, "depot"), out, size);
}

int export_begin(const struct call *c, struct consumer *at, struct leat_error *err)
{
    const char *name = call_option(c, "consumer");
    char path[4096];

    export_path(c, path, sizeof(path));
    int rv = consumer_name_fits(name) ? consumer_read(path, name, at, err) : LEAT_ENOTFOUND;
    return rv != LEAT_ENOTFOUND
               ? rv
               : leat_fail(err, rv, "depot '%s' has no consumer '%s'; 'leat depot consumer add' makes one",
                           call_option(c, "depot"), name);
}

int export_end(const struct call *c, const struct consumer *at, struct leat_error *err)
{
    char path[4096];

    export_path(c, path, sizeof(path));
    if (fflush(stdout) != 0 || (fsync(STDOUT_FILENO) != 0 && errno != EINVAL && errno != EROFS && errno != ENOTSUP))
        return base_errno(err, errno, "write", "standard output");
    return consumer_write(path, call_option(c, "consumer"), at, true, err);
}
