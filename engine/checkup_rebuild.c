/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/checkup.h"

#include "engine/node.h"
#include "engine/session.h"

#include <stdio.h>

/* PStates follow from the depots: made again from them, beside, they must be what they are. What clients appended is
 * given to the same module anew, in the order of time, as far as it is known. Records of different partitions have no
 * other order, so where a PState comes out otherwise, the module is run again with one partition after the other, up
 * and down: if that makes a difference too, it says nothing about the disk. */

enum { FEED_RECORDS = 256, STEP_RECORDS = 4096, TOLD = 3 };
enum order { BY_TIME, UP, DOWN, ORDERS };

/* One partition of a depot log, read record by record. */
struct feed {
    uint32_t group, log_partition, depot, partition;
    struct log *log;
    struct log_slice slice;
    uint32_t at;
    uint64_t next;
    bool held;
    int64_t key;            /* the smallest goes first */
};

struct feeds {
    const struct layout *layout;
    struct log **log;       /* by group */
    struct feed *feed;
    struct feed **heap;
    uint32_t feeds, heaped;
    enum order order;
    struct module *module;  /* where the records go */
    struct log_record *given; /* by group STEP_RECORDS: their bodies lie in slices that are held */
    uint32_t *givens;
};

/* ---- Records, in order ---- */

/* All that was given, with one write a group. */
static int flush(struct feeds *all, struct leat_error *err)
{
    int rv = 0;

    for (uint32_t g = 0; g < all->layout->groups && rv == 0; g++) {
        if (all->givens[g] > 0)
            rv = intake_append(group_intake(all->module->group[g]), &all->given[(size_t)g * STEP_RECORDS],
                               all->givens[g], err);
        all->givens[g] = 0;
    }
    return rv;
}

static const struct log_entry *head_of(const struct feed *f)
{
    return &f->slice.entry[f->at];
}

static void let_go(struct feed *f)
{
    if (f->held)
        log_release(f->log, &f->slice);
    f->held = false;
}

/* To the next record that a client appended. LEAT_EAGAIN: there is none. */
static int advance(struct feeds *all, struct feed *f, struct leat_error *err)
{
    int rv = 0;

    f->at++;
    for (;;) {
        while (f->held && f->at < f->slice.count && head_of(f)->session >= SESSION_GROUPS)
            f->at++;
        if (f->held && f->at < f->slice.count)
            break;
        rv = flush(all, err);
        if (rv != 0)
            return rv;
        let_go(f);
        rv = log_read(f->log, f->log_partition, f->next, FEED_RECORDS, 1 << 20, &f->slice, err);
        if (rv != 0)
            return rv;
        f->held = true;
        f->next = f->slice.next;
        f->at = 0;
    }
    int64_t number = (int64_t)f->depot * all->layout->tasks + f->partition;
    f->key = all->order == BY_TIME ? head_of(f)->time_us : all->order == UP ? number : -number;
    return 0;
}

static void sift_down(struct feeds *all, uint32_t at)
{
    for (;;) {
        uint32_t least = at;

        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2; child++)
            if (child < all->heaped && all->heap[child]->key < all->heap[least]->key)
                least = child;
        if (least == at)
            return;
        struct feed *f = all->heap[at];
        all->heap[at] = all->heap[least];
        all->heap[least] = f;
        at = least;
    }
}

static int add_feed(struct feeds *all, uint32_t group, uint32_t log_partition, struct leat_error *err)
{
    struct feed *f = &all->feed[all->feeds++];
    uint64_t end;

    *f = (struct feed){.group = group, .log_partition = log_partition, .log = all->log[group], .at = UINT32_MAX};
    layout_partition_of(all->layout, group, log_partition, &f->depot, &f->partition);
    log_bounds(f->log, log_partition, &f->next, &end);
    int rv = advance(all, f, err);
    if (rv == 0)
        all->heap[all->heaped++] = f;
    return rv == LEAT_EAGAIN ? 0 : rv;
}

static int feeds_open(struct feeds *all, const struct layout *l, struct module *m, enum order order,
                      struct leat_error *err)
{
    uint32_t each = layout_partitions(l);
    int rv = 0;

    *all = (struct feeds){.layout = l, .order = order, .module = m, .givens = base_alloc(l->groups * sizeof(uint32_t)),
                          .given = base_alloc((size_t)l->groups * STEP_RECORDS * sizeof(struct log_record)),
                          .log = base_alloc(l->groups * sizeof(struct log *)),
                          .feed = base_alloc((size_t)l->groups * each * sizeof(struct feed)),
                          .heap = base_alloc((size_t)l->groups * each * sizeof(struct feed *))};
    for (uint32_t g = 0; g < l->groups && rv == 0; g++) {
        rv = layout_log(l, g, "depots", true, &all->log[g], err);
        for (uint32_t p = 0; rv == 0 && p < each && p < all->log[g]->partitions; p++)
            rv = add_feed(all, g, p, err);
    }
    for (uint32_t i = all->heaped / 2; i > 0; i--)
        sift_down(all, i - 1);
    return rv;
}

static void feeds_close(struct feeds *all)
{
    for (uint32_t i = 0; i < all->feeds; i++)
        let_go(&all->feed[i]);
    for (uint32_t g = 0; g < all->layout->groups; g++)
        log_close(all->log[g]);
    free(all->given);
    free(all->givens);
    free(all->log);
    free(all->feed);
    free(all->heap);
}

/* ---- The module again ---- */

static int run_until_idle(struct module *m, struct leat_error *err)
{
    for (uint32_t idle = 0; idle < 2;) {
        bool moved = false;

        for (uint32_t i = 0; i < m->groups; i++) {
            int rv = group_step(m->group[i], err);

            if (rv < 0)
                return rv;
            moved = moved || rv > 0;
        }
        idle = moved ? 0 : idle + 1;
    }
    return 0;
}

/* The record that comes first, into its partition. */
static int give_one(struct feeds *all, struct leat_error *err)
{
    struct feed *f = all->heap[0];
    const struct log_entry *e = head_of(f);

    all->given[(size_t)f->group * STEP_RECORDS + all->givens[f->group]++] =
        (struct log_record){.partition = f->log_partition, .time_us = e->time_us, .session = e->session,
                            .sequence = e->sequence, .body = e->body};
    int rv = advance(all, f, err);
    if (rv == LEAT_EAGAIN)
        all->heap[0] = all->heap[--all->heaped];
    else if (rv != 0)
        return rv;
    sift_down(all, 0);
    return 0;
}

static int process(const struct layout *l, struct module *m, enum order order, struct leat_error *err)
{
    struct feeds all;
    int rv = feeds_open(&all, l, m, order, err);

    while (rv == 0 && all.heaped > 0) {
        int64_t key = all.heap[0]->key;

        /* Together what was appended together. */
        for (uint32_t i = 0; rv == 0 && i < STEP_RECORDS && all.heaped > 0 && all.heap[0]->key == key; i++)
            rv = give_one(&all, err);
        if (rv == 0)
            rv = flush(&all, err);
        if (rv == 0)
            rv = run_until_idle(m, err);
    }
    feeds_close(&all);
    for (uint32_t i = 0; i < m->groups && rv == 0; i++)
        if (group_lag(m->group[i]) > 0)
            rv = leat_fail(err, LEAT_EINTERNAL,
                           "group %u did not come to its end: is there space for all that is made again?", i);
    return rv;
}

static void drop(struct leat *l)
{
    if (l == NULL)
        return;
    for (uint32_t i = 0; i < l->modules; i++)
        atomic_store(&l->module[i]->failed, LEAT_ECANCELED); /* no checkpoint is wanted */
    leat_close(l);
}

static int make_again(const struct layout *l, const struct leat_module *module, const char *directory, enum order order,
                      struct leat **out, struct leat_error *err)
{
    struct leat_config config = {.durability = LEAT_PROCESS, .create = true};
    struct leat_launch launch = {.tasks = l->tasks, .groups = l->groups, .options = l->kept.option};
    int rv = leat_open(directory, &config, out, err);

    if (rv != 0)
        return rv;
    (*out)->manual = true;
    (*out)->seed = 1 + (uint64_t)order;
    rv = leat_launch(*out, module, &launch, err);
    if (rv == 0)
        rv = process(l, (*out)->module[0], order, err);
    if (rv != 0) {
        drop(*out);
        *out = NULL;
    }
    return rv;
}

/* ---- Comparing ---- */

struct told {
    char text[900];
};

static void tell(void *context, const char *where, const char *a, const char *b)
{
    struct told *t = context;
    size_t size = strlen(t->text);

    snprintf(t->text + size, sizeof(t->text) - size, "%s%s: %.100s, made again %.100s", size > 0 ? "; " : "", where, a,
             b);
}

/* Readers of all groups on one side. */
struct side {
    struct pstate_reader **reader;
    struct pstate_view **view;   /* live ones: to be closed */
    uint32_t groups;
};

static void side_close(struct side *s)
{
    for (uint32_t i = 0; i < s->groups; i++) {
        pstate_snapshot_close(s->reader[i]);
        pstate_view_close(s->view[i]);
    }
    free(s->reader);
    free(s->view);
}

static int side_open(struct side *s, const struct layout *l, struct leat *made, const char *scratch,
                     struct leat_error *err)
{
    int rv = 0;

    *s = (struct side){base_alloc(l->groups * sizeof(struct pstate_reader *)),
                       base_alloc(l->groups * sizeof(struct pstate_view *)), l->groups};
    for (uint32_t i = 0; i < l->groups && rv == 0; i++) {
        struct pstate_view *view = made != NULL ? group_view(made->module[0]->group[i]) : NULL;
        char path[4096];

        snprintf(path, sizeof(path), "%s-%03u", scratch, i);
        if (made == NULL) {
            rv = checkup_view_open(l, i, path, &s->view[i], err);
            view = s->view[i];
        }
        if (rv == 0)
            rv = pstate_snapshot_open(view, &s->reader[i], err);
    }
    return rv;
}

/* How much differs in a PState. */
static int compare(const struct layout *l, const struct side *a, const struct side *b, uint32_t pstate,
                   struct pstate_comparison *c, struct leat_error *err)
{
    int rv = 0;

    for (uint32_t task = 0; task < l->tasks && rv == 0; task++) {
        uint32_t group = task & (l->groups - 1);

        rv = pstate_compare(a->reader[group], b->reader[group], task, pstate, c, err);
    }
    return rv;
}

/* Made again in the other orders, once they are asked for. */
struct others {
    const struct leat_module *module;
    struct leat *leat[ORDERS];
    struct side side[ORDERS];
};

static int open_others(const struct layout *l, struct others *o, struct checkup *c, struct leat_error *err)
{
    char path[4096];
    int rv = 0;

    for (enum order i = UP; i < ORDERS && rv == 0; i++) {
        if (o->leat[i] != NULL)
            continue;
        snprintf(path, sizeof(path), "%s-again-%d", c->scratch, (int)i);
        rv = make_again(l, o->module, path, i, &o->leat[i], err);
        if (rv == 0)
            rv = side_open(&o->side[i], l, o->leat[i], "", err);
    }
    return rv;
}

static int judge(const struct layout *l, uint32_t pstate, const struct side *live, const struct side *made,
                 struct others *o, struct checkup *c, struct leat_error *err)
{
    struct told told = {.text = ""}, ignored = {.text = ""};
    struct pstate_comparison first = {.differs = tell, .context = &told, .most = TOLD},
                             other = {.differs = tell, .context = &ignored};
    char where[4096], what[1200];
    int rv = compare(l, live, made, pstate, &first, err);

    c->elements += first.elements;
    if (rv != 0 || first.differences == 0)
        return rv;
    rv = open_others(l, o, c, err);
    for (enum order i = UP; i < ORDERS && rv == 0; i++)
        rv = compare(l, made, &o->side[i], pstate, &other, err);
    if (rv != 0)
        return rv;
    snprintf(where, sizeof(where), "%s: PState %s", l->directory, l->pstate[pstate].name);
    int size = snprintf(what, sizeof(what), "%llu of %llu elements differ from what the depots make",
                        (unsigned long long)first.differences, (unsigned long long)first.elements);
    if (other.differences > 0)
        snprintf(what + size, sizeof(what) - (size_t)size,
                 ", but that is not the same each time: the module depends on the order of partitions, on time or on "
                 "chance there");
    else
        snprintf(what + size, sizeof(what) - (size_t)size, ": %s", told.text);
    c->found(c->context, other.differences > 0 ? CHECKUP_NOTE : CHECKUP_WARNING, where, what,
             other.differences > 0 ? "nothing: there is nothing to compare with"
                                   : "unless the module was changed, or depends on an order that is not known: make "
                                     "the views again (leat rebuild)");
    return 0;
}

static int compare_all(const struct layout *l, const struct leat_module *module, struct checkup *c,
                       struct leat_error *err)
{
    struct others others = {.module = module};
    struct side live = {0}, made = {0};
    struct leat *leat = NULL;
    char path[4096];

    snprintf(path, sizeof(path), "%s-made", c->scratch);
    int rv = make_again(l, module, path, BY_TIME, &leat, err);
    if (rv == 0)
        rv = side_open(&live, l, NULL, c->scratch, err);
    if (rv == 0)
        rv = side_open(&made, l, leat, "", err);
    for (uint32_t i = 0; i < l->pstates && rv == 0; i++)
        rv = judge(l, i, &live, &made, &others, c, err);
    side_close(&live);
    side_close(&made);
    drop(leat);
    for (enum order i = UP; i < ORDERS; i++) {
        side_close(&others.side[i]);
        drop(others.leat[i]);
    }
    return rv;
}

/* ---- May they be compared? ---- */

static bool is_trimmed(const struct layout *l, char *what, size_t size)
{
    bool trimmed = false;

    for (uint32_t g = 0; g < l->groups && !trimmed; g++) {
        struct log *log;

        if (layout_log(l, g, "depots", true, &log, NULL) != 0)
            continue;
        for (uint32_t p = 0; p < layout_partitions(l) && p < log->partitions && !trimmed; p++) {
            uint64_t first, next;
            uint32_t depot, partition;

            log_bounds(log, p, &first, &next);
            layout_partition_of(l, g, p, &depot, &partition);
            trimmed = first > 0;
            if (trimmed)
                snprintf(what, size,
                         "PStates were not made again: depot %s, partition %u begins at offset %llu, what came before "
                         "was trimmed",
                         l->depot[depot].name, partition, (unsigned long long)first);
        }
        log_close(log);
    }
    return trimmed;
}

/* Is all processed that streams of the module read? */
static bool is_processed(const struct layout *l, const struct leat_module *module)
{
    struct plan_config config = {.module = module, .options = l->kept.option, .tasks = l->tasks};
    bool read[LIMIT_DEPOTS + 1] = {false};
    struct plan *p;

    if (plan_open(&config, &p, NULL) != 0)
        return true; /* the launch says what is wrong */
    for (uint32_t i = 0; i < p->depots && i <= LIMIT_DEPOTS; i++)
        read[i] = p->depot[i].edges > 0;
    plan_close(p);
    return checkup_processed(l, read);
}

void checkup_rebuild(const struct layout *l, const struct leat_module *module, struct checkup *c)
{
    struct leat_error err = {0};
    char what[1200] = "";

    if (module == NULL)
        snprintf(what, sizeof(what), "PStates were not made again: the module is none of those that come with Leat");
    else if (l->foreigns > 0)
        snprintf(what, sizeof(what), "PStates were not made again: the module reads depots of others");
    else if (!is_processed(l, module))
        snprintf(what, sizeof(what),
                 "PStates were not made again: not all that was appended is processed; start the module, wait until "
                 "its lag is 0, and stop it");
    else if (!is_trimmed(l, what, sizeof(what)) && compare_all(l, module, c, &err) != 0)
        snprintf(what, sizeof(what), "PStates could not be made again: %s", err.text);
    if (what[0] != '\0')
        c->found(c->context, err.code != 0 ? CHECKUP_WARNING : CHECKUP_NOTE, l->directory, what, "");
}
