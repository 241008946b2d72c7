/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/backup.h"

#include "base/clock.h"
#include "base/file.h"
#include "depots/segments.h"
#include "engine/checkup.h"
#include "engine/consumer.h"
#include "engine/cut.h"
#include "engine/group.h"
#include "engine/hold.h"
#include "engine/journal.h"
#include "engine/layout.h"
#include "engine/session.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* What was appended up to a moment, and what had followed from it. All groups are held first, so checkpoints stay; then
 * the moment is taken; then journals are looked at, then depots, so that what journals speak of is there. Each depots'
 * log is cut before the first group of records that has a later one: none of that group was acknowledged at the moment.
 * What needs something that is cut is cut as well; what had happened before the moment
 * needs nothing later, so it stays. */

enum { TIMEOUT_MS = 60000 };

struct copied_group {
    struct copied_module *module;
    uint32_t number;
    struct hold hold;
    unsigned slot;               /* of the checkpoint; meaningless when there is none */
    bool has_view;
    uint64_t turn, position;     /* of the checkpoint */
    uint64_t *cursor;            /* and by partition what it has consumed */
    struct log *journal, *depots;
    uint64_t depots_before;      /* groups of its depots' log when all was held */
    uint64_t *next_before;       /* by partition: the next offset then */
};

struct copied_module {
    struct layout *layout;
    uint32_t first;              /* of its groups, among all */
};

/* How far a batch has taken in the outputs of a peer: all up to `turn`, and `items` of the one of turn `part_of`. */
struct consumed {
    uint32_t at, peer;
    uint64_t element;            /* of the batch, in the journal of `at` */
    uint64_t turn, part_of, items;
};

struct copy {
    const char *directory;
    struct copied_module *module;
    uint32_t modules;
    struct copied_group *group;
    uint32_t groups;
    struct cut_need *need;
    size_t needs, need_capacity;
    struct consumed *consumed;   /* sorted once the journals are read */
    size_t consumptions, consumed_capacity;
    uint64_t *length;            /* by stream */
    int64_t moment_us;
    struct hold hold;            /* of the directory */
    struct backup_list list;
};

/* Streams of the cut: the journal of a group counts turns, its depots' log counts groups of records. */
static uint32_t journal_of(uint32_t group)
{
    return 2 * group;
}

static uint32_t depots_of(uint32_t group)
{
    return 2 * group + 1;
}

static void add_need(struct copy *c, uint32_t at, uint64_t element, uint32_t needs, uint64_t length)
{
    if (length == 0)
        return;
    if (c->needs == c->need_capacity) {
        c->need_capacity = c->need_capacity * 2 + 256;
        c->need = base_realloc(c->need, c->need_capacity * sizeof(*c->need));
    }
    c->need[c->needs++] = (struct cut_need){at, element, needs, length};
}

/* ---- What there is ---- */

static int add_module(struct copy *c, const char *name, struct leat_error *err)
{
    struct layout *l;
    int rv = layout_open(c->directory, name, &l, err);

    if (rv != 0)
        return rv;
    c->module = base_realloc(c->module, (c->modules + 1) * sizeof(*c->module));
    c->group = base_realloc(c->group, (c->groups + l->groups) * sizeof(*c->group));
    c->module[c->modules] = (struct copied_module){l, c->groups};
    for (uint32_t i = 0; i < l->groups; i++)
        c->group[c->groups++] = (struct copied_group){.number = i, .hold = {.fd = -1}};
    c->modules++;
    return 0;
}

static int find_modules(struct copy *c, struct leat_error *err)
{
    DIR *d = opendir(c->directory);
    int rv = 0;

    if (d == NULL)
        return errno == ENOENT ? leat_fail(err, LEAT_ENOTFOUND, "there is no directory '%s'", c->directory)
                               : base_errno(err, errno, "list", c->directory);
    for (struct dirent *e; rv == 0 && (e = file_next(d, c->directory, &rv, err)) != NULL;)
        if (e->d_name[0] != '.' && layout_there(c->directory, e->d_name))
            rv = add_module(c, e->d_name, err);
    closedir(d);
    for (uint32_t i = 0; i < c->modules; i++)
        for (uint32_t j = 0; j < c->module[i].layout->groups; j++)
            c->group[c->module[i].first + j].module = &c->module[i];
    if (rv == 0 && c->modules == 0)
        rv = leat_fail(err, LEAT_ENOTFOUND, "there is no data of any module in '%s'", c->directory);
    return rv;
}

static void forget_modules(struct copy *c)
{
    for (uint32_t i = 0; i < c->modules; i++)
        layout_close(c->module[i].layout);
    free(c->module);
    free(c->group);
    c->module = NULL;
    c->group = NULL;
    c->modules = c->groups = 0;
}

/* No rebuild puts another directory in the place of a module meanwhile. Nothing is made where no module is. */
static int hold_directory(struct copy *c, uint32_t timeout_ms, struct leat_error *err)
{
    int rv = find_modules(c, err);

    forget_modules(c);
    if (rv == 0)
        rv = hold_open(&c->hold, c->directory, err);
    if (rv == 0)
        rv = hold_copy(&c->hold, timeout_ms, err);
    if (rv == LEAT_ETIMEOUT)
        return leat_fail(err, rv, "a module in it is being rebuilt, which has not ended within %u ms; try again then",
                         timeout_ms);
    return rv == 0 ? find_modules(c, err) : rv;
}

static int hold_all(struct copy *c, uint32_t timeout_ms, struct leat_error *err)
{
    int rv = 0;

    for (uint32_t i = 0; i < c->groups && rv == 0; i++) {
        char path[4096];

        layout_path(c->group[i].module->layout, c->group[i].number, "", path, sizeof(path));
        rv = hold_open(&c->group[i].hold, path, err);
        if (rv == 0)
            rv = hold_copy(&c->group[i].hold, timeout_ms, err);
    }
    return rv;
}

static int read_checkpoint(struct copied_group *g, struct leat_error *err)
{
    struct pstate_slot slot[2];
    struct buffer state;
    char path[4096];

    layout_path(g->module->layout, g->number, "view", path, sizeof(path));
    buffer_init(&state, LIMIT_BATCH);
    pstate_slots(path, slot, &state);
    int rv = 0;
    g->has_view = slot[0].newest || slot[1].newest;
    g->slot = slot[1].newest;
    g->cursor = base_alloc((layout_partitions(g->module->layout) + 1) * sizeof(*g->cursor));
    if (g->has_view && group_state_position(buffer_bytes(&state), &g->turn, &g->position) != 0)
        rv = leat_fail(err, LEAT_EFORMAT, "the checkpoint in '%s' is of a version that this program does not know",
                       path);
    else if (g->has_view && !checkup_state_cursors(g->module->layout, g->number, buffer_bytes(&state), g->cursor))
        rv = leat_fail(err, LEAT_ECORRUPT, "the checkpoint in '%s' does not check out", path);
    /* Never a whole one: then the journal has everything. Two that do not check out are damage. */
    for (int i = 0; i < 2 && rv == 0 && !g->has_view; i++)
        if (slot[0].code != LEAT_ENOTFOUND && slot[i].code != 0)
            rv = leat_fail(err, slot[i].code, "%s", slot[i].why.text);
    buffer_fini(&state);
    return rv;
}

/* ---- Is it worth a copy? ---- */

static bool in_use(const char *directory)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/leat.lock", directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool locked = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0;
    if (fd >= 0)
        close(fd);
    return locked;
}

static void keep_first(void *context, enum checkup_weight weight, const char *where, const char *what,
                       const char *advice)
{
    struct leat_error *err = context;

    (void)advice;
    if (weight == CHECKUP_DAMAGE && err->code == 0)
        leat_fail(err, LEAT_ECORRUPT, "%s: %s; 'leat doctor' says what to do", where, what);
}

/* A copy of what cannot be opened would take the place of one that can. Who has the directory open has seen that it
 * can be; what he writes meanwhile would look like damage. */
static int look_first(struct copy *c, struct leat_error *err)
{
    struct leat_error damage = {0};
    struct checkup k = {.found = keep_first, .context = &damage, .settled = true, .quick = true};

    if (in_use(c->directory))
        return 0;
    for (uint32_t i = 0; i < c->modules; i++)
        checkup_logs(c->module[i].layout, &k);
    if (damage.code == 0 || in_use(c->directory))
        return 0;
    return leat_fail(err, damage.code, "%s", damage.text);
}

static int open_logs(struct copy *c, const char *name, struct leat_error *err)
{
    int rv = 0;

    for (uint32_t i = 0; i < c->groups && rv == 0; i++) {
        struct copied_group *g = &c->group[i];
        struct log **log = strcmp(name, "journal") == 0 ? &g->journal : &g->depots;

        if (*log != NULL)
            log_close(*log);
        *log = NULL;
        rv = layout_log_walk(g->module->layout, g->number, name, false, log, err);
    }
    return rv;
}

/* ---- What needs what ---- */

/* Each turn is one batch, also before the checkpoint: outputs of those may not be taken in yet. */
static uint64_t turn_at(const struct copied_group *g, uint64_t position)
{
    return g->turn + 1 + (position - g->position);
}

static void hop_needs(struct copy *c, const struct copied_group *g, const struct batch *b, uint32_t at)
{
    for (uint32_t i = 0; i < b->hops; i++) {
        uint32_t peer = g->module->first + b->hop[i].peer;
        const struct hop_cursor *h = &b->hop[i].cursor;
        uint64_t turn = h->turn > h->progress_turn ? h->turn : h->progress_turn;

        add_need(c, journal_of(at), b->turn - 1, journal_of(peer), turn);
        uint64_t part_of = h->item > 0 ? turn_at(&c->group[peer], h->position) : 0;
        add_need(c, journal_of(at), b->turn - 1, journal_of(peer), part_of);
        if (c->consumptions == c->consumed_capacity) {
            c->consumed_capacity = c->consumed_capacity * 2 + 256;
            c->consumed = base_realloc(c->consumed, c->consumed_capacity * sizeof(*c->consumed));
        }
        c->consumed[c->consumptions++] = (struct consumed){at, peer, b->turn - 1, h->turn, part_of, h->item};
    }
}

/* The module of "module/depot"; NULL: it is not there. */
static const struct copied_module *find_module(const struct copy *c, const char *foreign, const char **depot)
{
    for (uint32_t i = 0; i < c->modules; i++) {
        size_t size = strlen(c->module[i].layout->module);

        *depot = foreign + size + 1;
        if (strncmp(foreign, c->module[i].layout->module, size) == 0 && foreign[size] == '/')
            return &c->module[i];
    }
    return NULL;
}

/* The group and partition of its depots' log that a partition of another module's depot is in. Partitions are counted
 * through all such depots, so each of these modules must be there. */
static bool find_foreign(const struct copy *c, const struct copied_group *g, uint32_t partition, uint32_t *group,
                         uint32_t *log_partition)
{
    const struct layout *l = g->module->layout;
    uint32_t first = layout_partitions(l);

    for (uint32_t i = 0; i < l->foreigns; i++) {
        const char *name;
        const struct copied_module *m = find_module(c, l->foreign[i], &name);

        if (m == NULL)
            return false;
        const struct layout *other = m->layout;
        uint32_t count = other->tasks > g->number ? (other->tasks - g->number + l->groups - 1) / l->groups : 0;
        int depot = layout_depot_find(other, name);

        if (depot < 0)
            return false;
        if (partition < first + count) {
            uint32_t number = (partition - first) * l->groups + g->number;

            *group = m->first + (number & (other->groups - 1));
            *log_partition = layout_partition(other, (uint32_t)depot, number);
            return true;
        }
        first += count;
    }
    return false;
}

static int range_needs(struct copy *c, const struct copied_group *g, const struct batch *b, uint32_t at,
                       struct leat_error *err)
{
    for (uint32_t i = 0; i < b->ranges; i++) {
        uint32_t group = at, partition = b->range[i].partition;

        if (b->range[i].next == b->range[i].first)
            continue;
        if (partition >= layout_partitions(g->module->layout) && !find_foreign(c, g, partition, &group, &partition))
            return leat_fail(err, LEAT_ECORRUPT, "module '%s' reads a depot whose module is not in '%s'",
                             g->module->layout->module, c->directory);
        struct copied_group *owner = &c->group[group];

        if (partition >= owner->depots->partitions || b->range[i].next <= owner->next_before[partition])
            continue;
        uint64_t in = segments_group_of(owner->depots, partition, b->range[i].next - 1);
        if (in != UINT64_MAX)
            add_need(c, journal_of(at), b->turn - 1, depots_of(group), in + 1);
    }
    return 0;
}

static void find_next_before(struct copied_group *g)
{
    g->next_before = base_alloc((g->depots->partitions + 1) * sizeof(*g->next_before));
    for (uint32_t p = 0; p < g->depots->partitions; p++)
        g->next_before[p] = segments_next_before(g->depots, p, g->depots_before);
}

/* A copy of a log that lost records could not be opened. */
static int check_cursors(const struct copied_group *g, struct leat_error *err)
{
    for (uint32_t p = 0; p < layout_partitions(g->module->layout); p++) {
        uint64_t first = 0, next = 0;

        if (p < g->depots->partitions) {
            log_bounds(g->depots, p, &first, &next);
            next = g->next_before[p];
        }
        if (g->cursor[p] > next || (g->cursor[p] != 0 && g->cursor[p] < first))
            return leat_fail(err, LEAT_ECORRUPT,
                             "module '%s', group %u: its depots have %llu to %llu in partition %u, but %llu are "
                             "processed: records were lost; 'leat doctor' looks closer",
                             g->module->layout->module, g->number, (unsigned long long)first, (unsigned long long)next,
                             p, (unsigned long long)g->cursor[p]);
    }
    return 0;
}

/* All batches behind the checkpoint. */
static int read_journal(struct copy *c, uint32_t at, struct leat_error *err)
{
    struct copied_group *g = &c->group[at];
    uint64_t first, next, position = g->position;
    struct arena *a = arena_open(LIMIT_TURN_MEMORY);
    struct log_slice slice;
    struct batch b;
    int rv = 0;

    log_bounds(g->journal, 0, &first, &next);
    if (position < first || position > next)
        rv = leat_fail(err, LEAT_ECORRUPT,
                       "module '%s', group %u: the journal has %llu to %llu, the checkpoint goes on at %llu",
                       g->module->layout->module, g->number, (unsigned long long)first, (unsigned long long)next,
                       (unsigned long long)position);
    while (rv == 0 && position < next) {
        rv = log_read(g->journal, 0, position, 64, 4 << 20, &slice, err);
        if (rv != 0)
            break;
        for (uint32_t i = 0; i < slice.count && rv == 0; i++) {
            arena_reset(a);
            rv = batch_decode(slice.entry[i].body, a, &b, err);
            if (rv == 0 && b.turn != turn_at(g, slice.entry[i].offset))
                rv = leat_fail(err, LEAT_ECORRUPT, "module '%s', group %u: turn %llu is at offset %llu of the journal",
                               g->module->layout->module, g->number, (unsigned long long)b.turn,
                               (unsigned long long)slice.entry[i].offset);
            if (rv == 0)
                rv = range_needs(c, g, &b, at, err);
            if (rv == 0)
                hop_needs(c, g, &b, at);
        }
        position = slice.next;
        log_release(g->journal, &slice);
    }
    c->length[journal_of(at)] = g->turn + (next - g->position);
    arena_close(a);
    return rv;
}

static int compare_consumed(const void *a, const void *b)
{
    const struct consumed *x = a, *y = b;

    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    if (x->peer != y->peer)
        return x->peer < y->peer ? -1 : 1;
    return x->element < y->element ? -1 : x->element > y->element;
}

/* The first batch of a group that has taken in an item of a peer's output. They are sorted by group, peer and batch,
 * and what a batch has taken in all behind it have too. */
static const struct consumed *find_taker(const struct copy *c, uint32_t at, uint32_t peer, uint64_t turn, uint64_t item)
{
    size_t low = 0, high = c->consumptions;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct consumed *k = &c->consumed[middle];
        bool before = k->at != at ? k->at < at : k->peer < peer;

        if (before || (k->at == at && k->peer == peer && k->turn < turn && (k->part_of != turn || k->items <= item)))
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->consumptions && c->consumed[low].at == at && c->consumed[low].peer == peer ? &c->consumed[low]
                                                                                               : NULL;
}

/* A record that a topology appended needs the turn that sent it; the batch that took it in, which was
 * committed behind, needs the record. */
static void sent_needs(struct copy *c, uint32_t at, const struct log_entry *e, uint64_t in)
{
    uint32_t peer = c->group[at].module->first + (uint32_t)(e->session - SESSION_GROUPS);
    uint64_t turn = (e->sequence - 1) >> 24, item = (e->sequence - 1) & 0xffffff;
    const struct consumed *k = find_taker(c, at, peer, turn, item);

    add_need(c, depots_of(at), in, journal_of(peer), turn);
    if (k != NULL)
        add_need(c, journal_of(at), k->element, depots_of(at), in + 1);
}

/* What was appended since all was held. */
static int read_appends(struct copy *c, uint32_t at, struct leat_error *err)
{
    struct copied_group *g = &c->group[at];
    uint64_t *length = &c->length[depots_of(at)];
    struct log_slice slice;
    int rv = 0;

    *length = segments_groups(g->depots);
    for (uint32_t p = 0; p < g->depots->partitions && rv == 0; p++) {
        bool later = false;

        for (uint64_t offset = g->next_before[p]; rv == 0; offset = slice.next) {
            rv = log_read(g->depots, p, offset, 4096, 4 << 20, &slice, err);
            if (rv != 0)
                break;
            for (uint32_t i = 0; i < slice.count; i++) {
                const struct log_entry *e = &slice.entry[i];
                bool sent = e->session >= SESSION_GROUPS && e->session - SESSION_GROUPS < g->module->layout->groups;

                if (!sent && (later || e->time_us <= c->moment_us))
                    continue;
                uint64_t in = segments_group_of(g->depots, p, e->offset);
                if (e->time_us > c->moment_us && in < *length)
                    *length = in;
                later = later || e->time_us > c->moment_us;
                if (sent)
                    sent_needs(c, at, e, in);
            }
            log_release(g->depots, &slice);
        }
        rv = rv == LEAT_EAGAIN ? 0 : rv;
    }
    return rv;
}

static int find_cut(struct copy *c, struct leat_error *err)
{
    int rv = 0;

    c->length = base_alloc(2 * (size_t)c->groups * sizeof(*c->length));
    for (uint32_t i = 0; i < c->groups; i++)
        find_next_before(&c->group[i]);
    for (uint32_t i = 0; i < c->groups && rv == 0; i++)
        rv = check_cursors(&c->group[i], err);
    for (uint32_t i = 0; i < c->groups && rv == 0; i++)
        rv = read_journal(c, i, err);
    if (c->consumptions > 1)
        qsort(c->consumed, c->consumptions, sizeof(*c->consumed), compare_consumed);
    for (uint32_t i = 0; i < c->groups && rv == 0; i++)
        rv = read_appends(c, i, err);
    if (rv != 0)
        return rv;
    cut_consistent(c->length, c->need, c->needs);
    for (uint32_t i = 0; i < c->groups; i++)
        if (c->length[journal_of(i)] < c->group[i].turn || c->length[depots_of(i)] < c->group[i].depots_before)
            return leat_fail(err, LEAT_ECORRUPT,
                             "module '%s', group %u: its files and those of the others are not of one time; 'leat "
                             "doctor' looks closer",
                             c->group[i].module->layout->module, c->group[i].number);
    return 0;
}

/* ---- The files ---- */

static char *join(const char *a, const char *b, const char *c)
{
    size_t size = strlen(a) + strlen(b) + strlen(c) + 3;
    char *path = base_alloc(size);

    snprintf(path, size, "%s%s%s%s%s", a, a[0] != '\0' ? "/" : "", b, c[0] != '\0' ? "/" : "", c);
    return path;
}

/* Files that say something of the module, read now: others replace them whenever they like. What is exported up to now
 * was there before the moment. */
static int read_module(struct copy *c, const char *module, struct leat_error *err)
{
    static const char *const names[] = {"module.ini", "module.fingerprint", "module.streams", "module.retain"};
    int rv = 0;

    for (size_t i = 0; i < LENGTH_OF(names) && rv == 0; i++) {
        rv = backup_list_read(&c->list, c->directory, join(module, names[i], ""), err);
        rv = rv == LEAT_ENOTFOUND ? 0 : rv;
    }
    return rv;
}

struct consumers {
    struct copy *copy;
    const char *module, *depot;
};

static int read_consumer(void *context, const char *name, struct leat_error *err)
{
    struct consumers *of = context;
    char *folder = join(of->module, "consumers", of->depot);
    int rv = backup_list_read(&of->copy->list, of->copy->directory, join(folder, name, ""), err);

    free(folder);
    return rv == LEAT_ENOTFOUND ? 0 : rv;
}

static int read_consumers(struct copy *c, const struct layout *l, struct leat_error *err)
{
    int rv = 0;

    for (uint32_t i = 0; i < l->depots && rv == 0; i++) {
        struct consumers of = {c, l->module, l->depot[i].name};
        char path[4096];

        consumer_directory(l->directory, of.depot, path, sizeof(path));
        rv = consumer_list(path, read_consumer, &of, err);
    }
    return rv;
}

static void list_log(struct copy *c, const char *folder, struct log *log, uint64_t groups)
{
    struct segment_file *file;
    uint32_t files = segments_files(log, groups, &file);

    for (uint32_t i = 0; i < files; i++)
        backup_list_add(&c->list, join(folder, file[i].name, ""), file[i].size, file[i].used, file[i].sealed);
    free(file);
}

static int list_view(struct copy *c, const struct copied_group *g, const char *folder, struct leat_error *err)
{
    char name[32];
    const char *const names[] = {"data.mdb", name};
    int rv = 0;

    snprintf(name, sizeof(name), "checkpoint.%u", g->slot);
    for (size_t i = 0; i < LENGTH_OF(names) && rv == 0; i++) {
        char *path = join(c->directory, folder, names[i]);
        struct stat st;

        if (stat(path, &st) == 0)
            backup_list_add(&c->list, join(folder, names[i], ""), (uint64_t)st.st_size, (uint64_t)st.st_size, false);
        else
            rv = base_errno(err, errno, "look at", path);
        free(path);
    }
    return rv;
}

static int list_group(struct copy *c, uint32_t at, struct leat_error *err)
{
    const struct copied_group *g = &c->group[at];
    char group[32];
    int rv = 0;

    snprintf(group, sizeof(group), "group-%03u", g->number);
    char *journal = join(g->module->layout->module, group, "journal"),
         *depots = join(g->module->layout->module, group, "depots"),
         *view = join(g->module->layout->module, group, "view");
    uint64_t end = segments_group_of(g->journal, 0, g->position + (c->length[journal_of(at)] - g->turn));
    list_log(c, journal, g->journal, end);
    list_log(c, depots, g->depots, c->length[depots_of(at)]);
    if (g->has_view)
        rv = list_view(c, g, view, err);
    free(journal);
    free(depots);
    free(view);
    return rv;
}

static int list_files(struct copy *c, struct leat_error *err)
{
    int rv = 0;

    for (uint32_t i = 0; i < c->groups && rv == 0; i++)
        rv = list_group(c, i, err);
    return rv;
}

static void copy_fini(struct copy *c)
{
    for (uint32_t i = 0; i < c->groups; i++) {
        if (c->group[i].journal != NULL)
            log_close(c->group[i].journal);
        if (c->group[i].depots != NULL)
            log_close(c->group[i].depots);
        hold_close(&c->group[i].hold);
        free(c->group[i].next_before);
        free(c->group[i].cursor);
    }
    forget_modules(c);
    hold_close(&c->hold);
    backup_list_free(&c->list);
    free(c->need);
    free(c->consumed);
    free(c->length);
}

int leat_backup(const char *directory, const char *to, const struct leat_backup *how, char name[64],
                struct leat_error *err)
{
    static const struct leat_backup defaults = {0};
    struct copy c = {.directory = directory, .hold = {.fd = -1}};
    struct leat_error own = {0};
    char unused[64];

    err = err != NULL ? err : &own;
    how = how != NULL ? how : &defaults;
    int rv = hold_directory(&c, how->timeout_ms > 0 ? how->timeout_ms : TIMEOUT_MS, err);
    if (rv == 0)
        rv = hold_all(&c, how->timeout_ms > 0 ? how->timeout_ms : TIMEOUT_MS, err);
    for (uint32_t i = 0; i < c.groups && rv == 0; i++)
        rv = read_checkpoint(&c.group[i], err);
    if (rv == 0)
        rv = look_first(&c, err);
    for (uint32_t i = 0; i < c.modules && rv == 0; i++) {
        rv = read_module(&c, c.module[i].layout->module, err);
        if (rv == 0)
            rv = read_consumers(&c, c.module[i].layout, err);
    }
    if (rv == 0)
        rv = open_logs(&c, "depots", err);
    for (uint32_t i = 0; i < c.groups && rv == 0; i++)
        c.group[i].depots_before = segments_groups(c.group[i].depots);
    c.moment_us = clock_real()->wall_us(clock_real());
    if (rv == 0)
        rv = open_logs(&c, "journal", err);
    if (rv == 0)
        rv = open_logs(&c, "depots", err);
    if (rv == 0)
        rv = find_cut(&c, err);
    if (rv == 0)
        rv = list_files(&c, err);
    if (rv == 0)
        rv = backup_write(directory, to, &c.list, how, name != NULL ? name : unused, err);
    copy_fini(&c);
    return rv == 0 ? base_result(err, 0) : base_wrap(err, rv, "backup of '%s'", directory);
}
