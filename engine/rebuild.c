/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/node.h"

#include "base/file.h"
#include "engine/checkup.h"
#include "engine/consumer.h"
#include "engine/hold.h"
#include "engine/layout.h"
#include "engine/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* Views from logs. What clients appended is copied into the depots of a new directory beside, with sessions, sequences
 * and times; the module runs there from offset 0 until all is processed; then both directories change places at once.
 * What topologies appended is left out: they append it again. */

enum { HELD_MOST = 4096, HELD_BYTES = 16 << 20, WAIT_MS = 1000, PATH = 4096, SMALL_MOST = 16 << 20 };

struct rebuild {
    const char *directory;
    const struct leat_rebuild *how;
    struct hold hold;                    /* of the directory: no backup begins meanwhile */
    struct layout *from;
    uint32_t groups;
    char beside[2048];                   /* the new data directory */
    struct log *to[LIMIT_GROUPS];
    struct log *source[HELD_MOST];       /* slices whose records are not synced yet */
    struct log_slice slice[HELD_MOST];
    uint32_t slices;
    size_t bytes;
    bool anew[LIMIT_DEPOTS + 1];         /* by depot: all that is in it comes from the engine again, not from clients */
    bool trims[LIMIT_DEPOTS + 1];        /* by depot: retention may have trimmed it */
    bool moved[LIMIT_DEPOTS + 1];        /* by depot: offsets are not what they were */
    struct log *depots[LIMIT_GROUPS];    /* of the groups as they are */
    uint64_t passed, all, copied;        /* records */
};

/* ---- Copying the depots ---- */

static int settle(struct rebuild *r, struct leat_error *err)
{
    int rv = 0;

    for (uint32_t i = 0; i < r->groups && rv == 0; i++)
        rv = log_sync(r->to[i], err);
    for (uint32_t i = 0; i < r->slices; i++)
        log_release(r->source[i], &r->slice[i]);
    r->slices = 0;
    r->bytes = 0;
    return rv;
}

static int copy_slice(struct rebuild *r, const struct log_slice *slice, uint32_t depot, uint32_t partition,
                      uint32_t to_partition, struct leat_error *err)
{
    struct log *to = r->to[partition & (r->groups - 1)];
    int rv = 0;

    for (uint32_t i = 0; i < slice->count && rv == 0; i++) {
        const struct log_entry *e = &slice->entry[i];
        struct log_record record = {to_partition, e->time_us, e->session, e->sequence, e->body};
        uint64_t offset;

        if (e->session >= SESSION_GROUPS) {
            r->moved[depot] = true;
            continue;
        }
        rv = log_append(to, &record, 1, &offset);
        if (rv == LEAT_EFULL && (rv = log_sync(to, err)) == 0)
            rv = log_append(to, &record, 1, &offset);
        r->moved[depot] = r->moved[depot] || offset != e->offset;
        r->copied++;
        r->bytes += e->body.size + 64;
    }
    return rv;
}

static void show(const struct rebuild *r, const char *doing, uint64_t done, uint64_t all)
{
    if (r->how->progress != NULL)
        r->how->progress(r->how->context, doing, done, all);
}

static int copy_partition(struct rebuild *r, uint32_t group, uint32_t log_partition, struct leat_error *err)
{
    struct log *from = r->depots[group];
    uint32_t depot, partition;
    uint64_t offset, next;
    int rv = 0;

    layout_partition_of(r->from, group, log_partition, &depot, &partition);
    log_bounds(from, log_partition, &offset, &next);
    uint32_t to_partition = depot * (r->from->tasks / r->groups) + partition / r->groups;
    while (rv == 0 && offset < next) {
        struct log_slice *slice = &r->slice[r->slices];

        rv = log_read(from, log_partition, offset, 65536, HELD_BYTES, slice, err);
        if (rv != 0)
            break;
        offset = slice->next;
        r->passed += slice->count;
        r->source[r->slices++] = from;
        rv = copy_slice(r, slice, depot, partition, to_partition, err);
        if (rv == 0 && (r->slices == HELD_MOST || r->bytes >= HELD_BYTES))
            rv = settle(r, err);
        show(r, "copied", r->passed < r->all ? r->passed : r->all, r->all);
    }
    return rv;
}

static uint32_t partitions_of(const struct rebuild *r, uint32_t group)
{
    uint32_t most = layout_partitions(r->from), have = r->depots[group]->partitions;

    return have < most ? have : most;
}

static int copy_group(struct rebuild *r, uint32_t group, struct leat_error *err)
{
    int rv = 0;

    for (uint32_t i = 0; i < partitions_of(r, group) && rv == 0; i++)
        rv = copy_partition(r, group, i, err);
    int settled = settle(r, rv == 0 ? err : NULL);
    return rv != 0 ? rv : settled;
}

static int copy_depots(struct rebuild *r, struct leat_error *err)
{
    int rv = 0;

    for (uint32_t i = 0; i < r->groups && rv == 0; i++) {
        char path[PATH];

        snprintf(path, sizeof(path), "%s/%s/group-%03u/depots", r->beside, r->from->module, i);
        struct log_config config = {.directory = path, .partitions = r->from->depots * (r->from->tasks / r->groups),
                                    .owner = layout_owner(i, "depots")};
        rv = log_open(&log_segments, &config, &r->to[i], err);
    }
    for (uint32_t i = 0; i < r->from->groups && rv == 0; i++)
        rv = copy_group(r, i, err);
    for (uint32_t i = 0; i < r->groups; i++)
        if (r->to[i] != NULL)
            log_close(r->to[i]);
    if (rv == 0)
        show(r, "copied", r->copied, r->copied);
    return rv;
}

/* ---- Who stands at offsets ---- */

struct depot_user {
    const char *depot;
};

static int refuse(void *context, const char *name, struct leat_error *err)
{
    const struct depot_user *user = context;

    return leat_fail(err, LEAT_EBUSY,
                     "'%s' reads depot '%s', whose offsets change; remove that consumer first, or rebuild into a "
                     "directory of its own",
                     name, user->depot);
}

/* Consumers and modules that read depots stand at offsets: those must be what they were. */
static int check_consumers(const struct rebuild *r, struct leat_error *err)
{
    int rv = 0;

    for (uint32_t i = 0; i < r->from->depots && rv == 0; i++) {
        struct depot_user user = {r->from->depot[i].name};
        char path[PATH];

        consumer_directory(r->from->directory, user.depot, path, sizeof(path));
        if (r->moved[i])
            rv = consumer_list(path, refuse, &user, err);
    }
    return rv;
}

/* ---- What speaks against it, before anything is copied ---- */

/* Is something in the partition that is left out? */
static int look_for_sent(struct rebuild *r, uint32_t group, uint32_t log_partition, bool *found, struct leat_error *err)
{
    struct log_slice slice;
    uint64_t offset, next;
    int rv = 0;

    log_bounds(r->depots[group], log_partition, &offset, &next);
    while (rv == 0 && offset < next && !*found) {
        rv = log_read(r->depots[group], log_partition, offset, 65536, HELD_BYTES, &slice, err);
        if (rv != 0)
            break;
        for (uint32_t i = 0; i < slice.count; i++)
            *found = *found || slice.entry[i].session >= SESSION_GROUPS;
        offset = slice.next;
        log_release(r->depots[group], &slice);
    }
    return rv;
}

static int has_consumer(void *context, const char *name, struct leat_error *err)
{
    (void)context;
    (void)name;
    (void)err;
    return 1;
}

/* Of depots that somebody reads besides the module: would offsets change? */
static int look_at_read(struct rebuild *r, struct leat_error *err)
{
    uint32_t each = r->from->tasks / r->from->groups;
    int rv = 0;

    for (uint32_t depot = 0; depot < r->from->depots && rv == 0; depot++) {
        char path[PATH];

        consumer_directory(r->from->directory, r->from->depot[depot].name, path, sizeof(path));
        int consumers = r->moved[depot] ? 0 : consumer_list(path, has_consumer, NULL, err);
        rv = consumers < 0 ? consumers : 0;
        for (uint32_t g = 0; consumers > 0 && g < r->from->groups && rv == 0; g++)
            for (uint32_t i = depot * each; i < (depot + 1) * each && i < partitions_of(r, g) && rv == 0; i++)
                rv = look_for_sent(r, g, i, &r->moved[depot], err);
    }
    return rv;
}

/* What was processed and is not there: it would be missed by nobody any more. */
static int look_for_lost(const struct rebuild *r, uint32_t group, struct leat_error *err)
{
    uint64_t *cursor = base_alloc((layout_partitions(r->from) + 1) * sizeof(*cursor)), lost = 0;

    checkup_cursors(r->from, group, cursor);
    for (uint32_t i = 0; i < layout_partitions(r->from); i++) {
        uint64_t first, next = 0;

        if (i < partitions_of(r, group))
            log_bounds(r->depots[group], i, &first, &next);
        lost += cursor[i] > next ? cursor[i] - next : 0;
    }
    free(cursor);
    return lost == 0 || r->how->partial
               ? 0
               : leat_fail(err, LEAT_ECORRUPT,
                           "group %u: %llu records were processed and are not there: the end of its depots is lost. "
                           "Restore a backup, or say that what is rebuilt may lack them",
                           group, (unsigned long long)lost);
}

/* What is not there from the beginning of depots, but for those that come anew: nobody misses that. */
static int look_for_trimmed(struct rebuild *r, struct leat_error *err)
{
    uint64_t trimmed = 0, lost = 0;

    for (uint32_t g = 0; g < r->from->groups; g++)
        for (uint32_t i = 0; i < partitions_of(r, g); i++) {
            uint32_t depot, partition;
            uint64_t first, next;

            layout_partition_of(r->from, g, i, &depot, &partition);
            log_bounds(r->depots[g], i, &first, &next);
            trimmed += r->anew[depot] ? 0 : first;
            lost += r->anew[depot] || r->trims[depot] ? 0 : first;
            r->moved[depot] = r->moved[depot] || first > 0 || (r->anew[depot] && next > 0);
            r->all += next - first;
        }
    if (r->how->partial || trimmed == 0)
        return 0;
    if (lost > 0)
        return leat_fail(err, LEAT_ECORRUPT,
                         "%llu records are not there, of depots that keep everything: the beginning of a log is lost. "
                         "Restore a backup, or say that what is rebuilt may lack them",
                         (unsigned long long)lost);
    return leat_fail(err, LEAT_ETRIMMED,
                     "%llu records were trimmed: what is rebuilt would lack them; say that this is fine, or restore "
                     "a backup",
                     (unsigned long long)trimmed);
}

static int look_at_depots(struct rebuild *r, struct leat_error *err)
{
    int rv = 0;

    for (uint32_t g = 0; g < r->from->groups && rv == 0; g++)
        rv = layout_log(r->from, g, "depots", true, &r->depots[g], err);
    for (uint32_t g = 0; g < r->from->groups && rv == 0; g++)
        rv = look_for_lost(r, g, err);
    if (rv == 0)
        rv = look_for_trimmed(r, err);
    return rv == 0 ? look_at_read(r, err) : rv;
}

static void close_depots(struct rebuild *r)
{
    for (uint32_t g = 0; g < LIMIT_GROUPS; g++)
        if (r->depots[g] != NULL)
            log_close(r->depots[g]);
}

static int copy_small(const struct rebuild *r, const char *name, struct leat_error *err)
{
    struct buffer bytes;
    char path[PATH];

    buffer_init(&bytes, SMALL_MOST);
    snprintf(path, sizeof(path), "%s/%s", r->from->directory, name);
    int rv = file_read(path, SMALL_MOST, &bytes, err);
    snprintf(path, sizeof(path), "%s/%s/%s", r->beside, r->from->module, name);
    if (rv == 0)
        rv = file_replace(path, buffer_bytes(&bytes), err);
    buffer_fini(&bytes);
    return rv == LEAT_ENOTFOUND ? 0 : rv;
}

struct consumers {
    const struct rebuild *rebuild;
    const char *depot;
};

static int copy_consumer(void *context, const char *name, struct leat_error *err)
{
    const struct consumers *of = context;
    char path[PATH];

    snprintf(path, sizeof(path), "%s/%s/consumers/%s", of->rebuild->beside, of->rebuild->from->module, of->depot);
    int rv = file_make_directory(path, true, err);
    snprintf(path, sizeof(path), "consumers/%s/%s", of->depot, name);
    return rv == 0 ? copy_small(of->rebuild, path, err) : rv;
}

/* How long records are kept, and for whom, holds during the rebuild too. */
static int copy_rest(const struct rebuild *r, struct leat_error *err)
{
    int rv = copy_small(r, "module.retain", err);

    for (uint32_t i = 0; i < r->from->depots && rv == 0; i++) {
        struct consumers of = {r, r->from->depot[i].name};
        char path[PATH];

        consumer_directory(r->from->directory, of.depot, path, sizeof(path));
        rv = consumer_list(path, copy_consumer, &of, err);
    }
    return rv;
}

/* ---- Running it ---- */

static uint64_t lag(struct leat *l)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < l->module[0]->groups; i++)
        sum += group_lag(l->module[0]->group[i]);
    return sum;
}

/* Until nothing is left, also of what topologies have appended meanwhile, and what background nodes do. */
static int process(struct rebuild *r, struct leat *l, struct leat_error *err)
{
    uint64_t all = lag(l);
    int rv;

    do {
        rv = leat_wait_idle(l, WAIT_MS, err);
        uint64_t left = lag(l);
        all = left > all ? left : all;
        show(r, "processed", all - left, all);
    } while (rv == LEAT_ETIMEOUT);
    return rv;
}

static int run(struct rebuild *r, const struct leat_module *module, struct leat_error *err)
{
    static const struct leat_config config = {.create = true};
    struct kept kept = r->from->kept;
    struct leat_launch launch = {
        .tasks = kept.tasks, .groups = r->groups, .options = kept_merge(&kept, r->how->options)};
    struct leat *l;
    int rv = leat_open(r->beside, &config, &l, err);

    if (rv != 0)
        return rv;
    rv = leat_launch(l, module, &launch, err);
    if (rv == 0)
        rv = process(r, l, err);
    if (rv == 0)
        rv = module_status(l->module[0], err);
    leat_close(l);
    return rv;
}

static int exchange(const struct rebuild *r, struct leat_error *err)
{
    char rebuilt[PATH];

    snprintf(rebuilt, sizeof(rebuilt), "%s/%s", r->beside, r->from->module);
    return renameat2(AT_FDCWD, rebuilt, AT_FDCWD, r->from->directory, RENAME_EXCHANGE) == 0
               ? 0
               : base_errno(err, errno, "put in place", rebuilt);
}

/* Who is told that it failed finds what was there. */
static int change_places(const struct rebuild *r, struct leat_error *err)
{
    int rv = exchange(r, err);

    if (rv != 0)
        return rv;
    rv = file_sync_directory(r->directory, err);
    if (rv != 0)
        exchange(r, NULL);
    return rv;
}

/* Only when it is durable which of the two it is: until then a loss of power may bring either to the other's place. */
static int remove_beside(const struct rebuild *r, struct leat_error *err)
{
    int rv = access(r->beside, F_OK) == 0 ? file_sync_directory(r->directory, err) : 0;

    return rv == 0 ? file_remove_tree(r->beside, err) : rv;
}

static int check_depots(struct rebuild *r, const struct plan *p, struct leat_error *err)
{
    struct arena *a = arena_open(1 << 20);
    char path[PATH];
    int rv = 0;

    snprintf(path, sizeof(path), "%s/module.retain", r->from->directory);
    bool said = access(path, F_OK) == 0; /* of whatever depot, maybe no more */
    for (uint32_t i = 0; i < p->depots && rv == 0; i++) {
        const char *is = row_schema_text(a, &p->depot[i].schema);

        if (p->depots != r->from->depots || strcmp(p->depot[i].name, r->from->depot[i].name) != 0 ||
            strcmp(is, row_schema_text(a, &r->from->depot[i].schema)) != 0)
            rv = leat_fail(err, LEAT_ESCHEMA,
                           "depot '%s' has rows of another form with these options or this module: {%s}",
                           p->depot[i].name, is);
        r->trims[i] = said || p->depot[i].retain.age_us > 0 || p->depot[i].retain.bytes > 0;
        r->anew[i] = p->depot[i].dead_letters || p->depot[i].tick_ms > 0 || p->depot[i].partitioner == LEAT_NO_CLIENT;
    }
    arena_close(a);
    return rv;
}

/* The module as it would be, with all its options, can have these depots. */
static int check_module(struct rebuild *r, const struct leat_module *module, struct leat_error *err)
{
    struct kept kept = r->from->kept;
    struct plan_config config = {.module = module, .options = kept_merge(&kept, r->how->options), .tasks = kept.tasks};
    struct plan *p;
    int rv = plan_open(&config, &p, err);

    if (rv != 0)
        return rv;
    rv = check_depots(r, p, err);
    plan_close(p);
    return rv;
}

static int prepare(struct rebuild *r, const struct leat_module *module, struct leat_error *err)
{
    int rv = layout_open(r->directory, module->name, &r->from, err);

    if (rv != 0)
        return rv;
    r->groups = r->how->groups > 0 ? r->how->groups : r->from->groups;
    if (r->groups > r->from->tasks || r->groups > LIMIT_GROUPS || (r->groups & (r->groups - 1)) != 0)
        return leat_fail(err, LEAT_EINVAL,
                         "%u groups: the number of groups is a power of two up to the %u tasks and %d", r->groups,
                         r->from->tasks, LIMIT_GROUPS);
    if (r->from->foreigns > 0)
        return leat_fail(err, LEAT_EINVAL,
                         "module '%s' reads depot '%s' of another module: only a module that reads its own depots can "
                         "be rebuilt alone",
                         module->name, r->from->foreign[0]);
    rv = check_module(r, module, err);
    if (rv == 0)
        rv = look_at_depots(r, err);
    if (rv == 0)
        rv = check_consumers(r, err);
    snprintf(r->beside, sizeof(r->beside), "%.1900s/.rebuild-%.64s", r->directory, module->name);
    return rv == 0 ? remove_beside(r, err) : rv;
}

int leat_rebuild(const char *directory, const struct leat_module *module, const struct leat_rebuild *how,
                 struct leat_error *err)
{
    static const struct leat_rebuild defaults = {0};
    struct rebuild *r = base_alloc(sizeof(*r));
    struct leat_error own = {0};
    char path[PATH];
    int lock = -1;

    err = err != NULL ? err : &own;
    r->directory = directory;
    r->hold.fd = -1;
    r->how = how != NULL ? how : &defaults;
    snprintf(path, sizeof(path), "%s/leat.lock", directory);
    int rv = access(directory, F_OK) == 0 ? file_lock(path, &lock, err)
                                          : leat_fail(err, LEAT_ENOTFOUND, "there is no directory '%s'", directory);
    if (rv == 0)
        rv = hold_open(&r->hold, directory, err);
    if (rv == 0 && !hold_checkpoint(&r->hold, 0))
        rv = leat_fail(err, LEAT_EBUSY, "somebody copies '%s'; try again when the backup is done", directory);
    if (rv == 0)
        rv = prepare(r, module, err);
    if (rv == 0)
        rv = copy_depots(r, err);
    if (rv == 0) /* it is known better now */
        rv = check_consumers(r, err);
    if (rv == 0)
        rv = copy_rest(r, err);
    if (rv == 0)
        rv = run(r, module, err);
    /* Consumers may have come, or gone on, meanwhile. */
    if (rv == 0)
        rv = copy_rest(r, err);
    if (rv == 0)
        rv = change_places(r, err);
    if (r->beside[0] != '\0')
        remove_beside(r, NULL);
    close_depots(r);
    if (r->from != NULL)
        layout_close(r->from);
    hold_close(&r->hold);
    if (lock >= 0)
        close(lock);
    free(r);
    return rv == 0 ? base_result(err, 0) : base_wrap(err, rv, "rebuild of module '%s'", module->name);
}
