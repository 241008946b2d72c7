/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/checkup.h"

#include "base/file.h"
#include "depots/segments.h"
#include "engine/consumer.h"
#include "engine/group.h"
#include "engine/journal.h"

#include <stdarg.h>
#include <stdio.h>

static const char put_back[] = "put the module's directory back from a backup (leat restore)";
static const char put_all_back[] = "make the views again (leat rebuild) when the depots are whole; else put the "
                                   "module's directory back from one backup (leat restore)";

/* What is known of a group from its files. */
struct look {
    uint32_t group;
    bool whole;              /* both logs could be read */
    bool stands;             /* there is a checkpoint, or none yet and none is needed: the fields below hold */
    uint64_t turn;           /* after the journal */
    uint64_t journal_next;   /* from where it is replayed; then its end */
    uint64_t journal_first;
    struct hop_cursor *hop;  /* by group */
    uint64_t *sent;
    uint64_t *cursor, *first, *next; /* by partition of its depot log */
};

static void found(struct checkup *c, enum checkup_weight weight, const char *where, const char *advice,
                  const char *format, ...) LEAT_PRINTF(5, 6);

static void found(struct checkup *c, enum checkup_weight weight, const char *where, const char *advice,
                  const char *format, ...)
{
    char what[1200];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    c->found(c->context, weight, where, what, advice);
}

/* ---- Logs ---- */

struct log_walk {
    const struct layout *layout;
    struct checkup *checkup;
    struct look *look;
    struct log *log;
    char path[4096];
    struct arena *arena;
    bool broken;             /* one finding of a kind is enough */
};

/* A log whose files are gone has no partitions. */
static void bounds(struct log *l, uint32_t partition, uint64_t *first, uint64_t *next)
{
    *first = *next = 0;
    if (partition < l->partitions)
        log_bounds(l, partition, first, next);
}

typedef void log_each(struct log_walk *w, uint32_t partition, const struct log_entry *e);

static void read_partition(struct log_walk *w, uint32_t partition, log_each *each)
{
    struct leat_error err = {0};
    struct log_slice slice;
    uint64_t at, next;

    log_bounds(w->log, partition, &at, &next);
    while (at < next) {
        int rv = log_read(w->log, partition, at, 4096, 8 << 20, &slice, &err);

        if (rv != 0) {
            found(w->checkup, CHECKUP_DAMAGE, w->path, put_back, "%s",
                  err.text[0] != '\0' ? err.text : leat_code_text(rv));
            w->look->whole = false;
            return;
        }
        for (uint32_t i = 0; i < slice.count; i++)
            each(w, partition, &slice.entry[i]);
        at = slice.next;
        log_release(w->log, &slice);
    }
}

static void count_files(struct log_walk *w)
{
    struct segment_file *file;
    uint32_t files = segments_files(w->log, UINT64_MAX, &file);

    w->checkup->segments += files;
    for (uint32_t i = 0; i < files; i++)
        w->checkup->bytes += file[i].used;
    free(file);
    if (w->checkup->settled && segments_torn(w->log))
        found(w->checkup, CHECKUP_NOTE, w->path, "nothing: the next start cuts it",
              "the last write was torn by a crash; it was never acknowledged");
}

/* Open a log and read all of it; each NULL: only open it. */
static bool read_log(struct log_walk *w, const char *name, log_each *each)
{
    struct leat_error err = {0};

    layout_path(w->layout, w->look->group, name, w->path, sizeof(w->path));
    if (layout_log_walk(w->layout, w->look->group, name, w->checkup->settled, &w->log, &err) != 0) {
        found(w->checkup, CHECKUP_DAMAGE, w->path, put_back, "%s", err.text);
        w->look->whole = false;
        return false;
    }
    w->broken = false;
    count_files(w);
    for (uint32_t i = 0; i < w->log->partitions && each != NULL; i++)
        read_partition(w, i, each);
    return true;
}

static void each_record(struct log_walk *w, uint32_t partition, const struct log_entry *e)
{
    const struct layout *l = w->layout;
    struct leat_error err = {0};
    uint32_t depot, number;

    w->checkup->records++;
    layout_partition_of(l, w->look->group, partition, &depot, &number);
    if (w->broken || depot >= l->depots || row_check(&l->depot[depot].schema, e->body, &err) == 0)
        return;
    w->broken = true;
    found(w->checkup, CHECKUP_DAMAGE, w->path, "look at the program that appended it, and report it",
          "depot %s, partition %u, offset %llu does not fit its schema: %s", l->depot[depot].name, number,
          (unsigned long long)e->offset, err.text);
}

static void read_depots(struct log_walk *w)
{
    struct look *k = w->look;
    uint32_t partitions = layout_partitions(w->layout);

    k->first = base_alloc((partitions + 1) * sizeof(*k->first));
    k->next = base_alloc((partitions + 1) * sizeof(*k->next));
    if (!read_log(w, "depots", w->checkup->quick ? NULL : each_record))
        return;
    for (uint32_t i = 0; i < partitions; i++)
        bounds(w->log, i, &k->first[i], &k->next[i]);
    log_close(w->log);
}

/* ---- Checkpoints ---- */

static bool read_state(const struct layout *l, struct look *k, struct leat_span bytes, uint64_t *turn)
{
    struct reader r = reader_of(bytes);
    uint8_t version = reader_u8(&r);

    uint64_t number = reader_varint(&r);
    reader_varint(&r); /* epoch */
    *turn = k->turn = reader_varint(&r);
    reader_u64(&r); /* now */
    k->journal_next = reader_varint(&r);
    for (uint32_t i = 0; i < l->groups; i++) {
        k->hop[i].turn = reader_varint(&r);
        k->hop[i].position = reader_varint(&r);
        k->hop[i].item = (uint32_t)reader_varint(&r);
        k->hop[i].progress_turn = reader_varint(&r);
        k->sent[i] = reader_varint(&r);
    }
    uint64_t cursors = reader_varint(&r);
    for (uint64_t i = 0; i < cursors && r.error == 0; i++) {
        uint64_t cursor = reader_varint(&r);

        if (i < layout_partitions(l))
            k->cursor[i] = cursor;
    }
    return version == GROUP_STATE_VERSION && number == k->group && r.error == 0;
}

static void tell_slots(const struct pstate_slot slot[2], const char *path, struct checkup *c)
{
    for (int i = 0; i < 2; i++)
        if (slot[i].code != 0 && slot[i].code != LEAT_ENOTFOUND && slot[i].code != LEAT_ETRIMMED)
            found(c, CHECKUP_WARNING, path,
                  "nothing, when it was killed while it wrote: a start takes the other one. Else look at the disk",
                  "%s", slot[i].why.text);
}

/* Where a start begins: at the newest checkpoint, or at nothing while there never was one. */
static void look_at_slots(const struct layout *l, struct look *k, struct checkup *c)
{
    struct pstate_slot slot[2];
    struct buffer state;
    char path[4096];
    uint64_t turn;

    layout_path(l, k->group, "view", path, sizeof(path));
    buffer_init(&state, LIMIT_BATCH);
    pstate_slots(path, slot, &state);
    const struct pstate_slot *newest = slot[0].newest ? &slot[0] : slot[1].newest ? &slot[1] : NULL;
    /* The first one ever goes into slot 1. */
    bool none = newest == NULL && slot[0].code == LEAT_ENOTFOUND &&
                (slot[1].code == LEAT_ENOTFOUND || slot[1].code == LEAT_ECORRUPT);
    k->stands = none;
    if (newest != NULL) {
        tell_slots(slot, path, c);
        k->stands = read_state(l, k, buffer_bytes(&state), &turn) && turn == newest->turn;
        if (!k->stands && state.size > 0 && state.base[0] != GROUP_STATE_VERSION)
            found(c, CHECKUP_DAMAGE, path, "use the version of Leat that wrote it",
                  "checkpoint.%d is of another version of Leat: its state has version %u, this program reads %d",
                  newest == &slot[1], state.base[0], GROUP_STATE_VERSION);
        else if (!k->stands)
            found(c, CHECKUP_DAMAGE, path, put_all_back, "the state in checkpoint.%d does not check out",
                  newest == &slot[1]);
    } else if (!none) {
        found(c, CHECKUP_DAMAGE, path,
              "make the views again (leat rebuild), or put the module's directory back from a backup (leat restore)",
              "no checkpoint is whole: %s", slot[slot[0].code != LEAT_ECORRUPT].why.text);
    }
    buffer_fini(&state);
}

bool checkup_state_cursors(const struct layout *l, uint32_t group, struct leat_span state, uint64_t *cursor)
{
    struct look k = {.group = group,
                     .hop = base_alloc(l->groups * sizeof(*k.hop)),
                     .sent = base_alloc(l->groups * sizeof(*k.sent)),
                     .cursor = cursor};
    uint64_t turn;
    bool known = state.size > 0 && read_state(l, &k, state, &turn);

    free(k.hop);
    free(k.sent);
    return known;
}

bool checkup_cursors(const struct layout *l, uint32_t group, uint64_t *cursor)
{
    struct pstate_slot slot[2];
    struct buffer state;
    char path[4096];

    layout_path(l, group, "view", path, sizeof(path));
    buffer_init(&state, LIMIT_BATCH);
    pstate_slots(path, slot, &state);
    bool known = checkup_state_cursors(l, group, buffer_bytes(&state), cursor);
    buffer_fini(&state);
    return known;
}

/* ---- Journals ---- */

static void misfit(struct log_walk *w, const struct log_entry *e, const char *what)
{
    w->broken = true;
    found(w->checkup, CHECKUP_DAMAGE, w->path, put_all_back, "the batch at offset %llu %s",
          (unsigned long long)e->offset, what);
}

/* What a batch behind the checkpoint does to the cursors. */
static void follow(struct log_walk *w, const struct log_entry *e, const struct batch *b)
{
    const struct layout *l = w->layout;
    struct look *k = w->look;

    if (b->turn != k->turn + 1)
        misfit(w, e, "does not follow on the turn before it");
    for (uint32_t i = 0; i < b->ranges; i++) {
        const struct progress_range *r = &b->range[i];

        if (r->partition >= layout_partitions(l))
            continue; /* of another module */
        if (r->first < k->cursor[r->partition])
            misfit(w, e, "reads records a second time");
        k->cursor[r->partition] = r->next;
    }
    for (uint32_t i = 0; i < b->hops; i++)
        if (b->hop[i].peer < l->groups)
            k->hop[b->hop[i].peer] = b->hop[i].cursor;
        else
            misfit(w, e, "names a group that is not there");
    k->turn = b->turn;
    k->journal_next = e->offset + 1;
}

static void each_batch(struct log_walk *w, uint32_t partition, const struct log_entry *e)
{
    struct leat_error err = {0};
    struct output o;
    struct batch b;

    (void)partition;
    w->checkup->batches++;
    if (w->broken)
        return;
    arena_reset(w->arena);
    if (batch_decode(e->body, w->arena, &b, &err) != 0) {
        misfit(w, e, err.text);
        return;
    }
    for (uint32_t i = 0; i < b.outputs && !w->broken; i++)
        if (b.output[i].group >= w->layout->groups || output_decode(b.output[i].body, w->arena, &o, &err) != 0)
            misfit(w, e, "has an output that does not check out");
        else
            w->look->sent[b.output[i].group] = b.turn;
    if (w->look->stands && e->offset >= w->look->journal_next && w->checkup->settled)
        follow(w, e, &b);
}

static void read_journal(struct log_walk *w)
{
    struct look *k = w->look;
    uint64_t next;

    if (!read_log(w, "journal", each_batch))
        return;
    bounds(w->log, 0, &k->journal_first, &next);
    log_close(w->log);
    if (!w->checkup->settled || !k->stands || w->broken || !k->whole)
        return;
    if (k->journal_next != next) {
        found(w->checkup, CHECKUP_DAMAGE, w->path, put_all_back,
              "it ends at offset %llu, but the checkpoint has seen %llu", (unsigned long long)next,
              (unsigned long long)k->journal_next);
        k->whole = false;
    }
}

/* The journal is replayed from where the checkpoint stands; trimmed any further, it is of no use. */
static void check_beginning(const struct layout *l, struct look *k, struct checkup *c)
{
    uint64_t first, next;
    struct log *journal;
    char path[4096];

    if (!c->settled || !k->stands || layout_log(l, k->group, "journal", true, &journal, NULL) != 0)
        return;
    bounds(journal, 0, &first, &next);
    log_close(journal);
    if (first <= k->journal_next)
        return;
    layout_path(l, k->group, "journal", path, sizeof(path));
    found(c, CHECKUP_DAMAGE, path, put_all_back, "it begins at offset %llu, but the checkpoint needs it from %llu on",
          (unsigned long long)first, (unsigned long long)k->journal_next);
    k->stands = false;
}

/* ---- Together ---- */

static void check_cursors(const struct layout *l, const struct look *k, struct checkup *c)
{
    char path[4096];

    layout_path(l, k->group, "depots", path, sizeof(path));
    for (uint32_t i = 0; i < layout_partitions(l); i++) {
        uint32_t depot, number;

        layout_partition_of(l, k->group, i, &depot, &number);
        if (k->cursor[i] > k->next[i])
            found(c, CHECKUP_DAMAGE, path, put_all_back,
                  "depot %s, partition %u: %llu records were processed, but it ends at %llu: records were lost",
                  l->depot[depot].name, number, (unsigned long long)k->cursor[i], (unsigned long long)k->next[i]);
        else if (k->cursor[i] != 0 && k->cursor[i] < k->first[i])
            found(c, CHECKUP_DAMAGE, path, put_all_back,
                  "depot %s, partition %u: it begins at %llu, but only those before %llu were processed",
                  l->depot[depot].name, number, (unsigned long long)k->first[i], (unsigned long long)k->cursor[i]);
    }
}

static void check_hops(const struct layout *l, const struct look *all, const struct look *k, struct checkup *c)
{
    char path[4096];

    for (uint32_t i = 0; i < l->groups; i++) {
        const struct look *peer = &all[i];
        const struct hop_cursor *h = &k->hop[i];

        if (!peer->stands || !peer->whole)
            continue;
        layout_path(l, i, "journal", path, sizeof(path));
        if (h->turn > peer->turn || h->progress_turn > peer->turn || h->position > peer->journal_next)
            found(c, CHECKUP_DAMAGE, path, put_all_back,
                  "group %u has taken its outputs up to turn %llu, but it ends at turn %llu", k->group,
                  (unsigned long long)h->turn, (unsigned long long)peer->turn);
        else if (peer->sent[k->group] > h->turn && h->position < peer->journal_first)
            found(c, CHECKUP_DAMAGE, path, put_all_back,
                  "it begins at offset %llu, but group %u has taken its outputs only up to %llu",
                  (unsigned long long)peer->journal_first, k->group, (unsigned long long)h->position);
    }
}

static void look_at_group(const struct layout *l, struct look *k, struct checkup *c)
{
    struct log_walk w = {.layout = l, .checkup = c, .look = k, .arena = arena_open(LIMIT_TURN_MEMORY)};

    k->whole = true;
    k->hop = base_alloc(l->groups * sizeof(*k->hop));
    k->sent = base_alloc(l->groups * sizeof(*k->sent));
    k->cursor = base_alloc((layout_partitions(l) + 1) * sizeof(*k->cursor));
    if (c->settled)
        look_at_slots(l, k, c);
    check_beginning(l, k, c);
    read_journal(&w);
    read_depots(&w);
    arena_close(w.arena);
}

/* ---- Consumers ---- */

struct consumers {
    const struct layout *layout;
    const struct look *look;
    struct checkup *checkup;
    uint32_t depot;
    const char *directory;
};

/* What a consumer has not read is kept: who is behind the end, or cannot be read, keeps nothing, or all. */
static int check_consumer(void *context, const char *name, struct leat_error *err)
{
    const struct consumers *w = context;
    const struct layout *l = w->layout;
    struct consumer consumer = {.partitions = l->tasks, .position = base_alloc(l->tasks * sizeof(uint64_t))};
    char path[4400];
    int rv = consumer_read(w->directory, name, &consumer, err);

    snprintf(path, sizeof(path), "%s/%s", w->directory, name);
    if (rv != 0)
        found(w->checkup, CHECKUP_DAMAGE, path,
              "remove the consumer and add it again, or put the file back from a backup", "%s", err->text);
    for (uint32_t p = 0; p < l->tasks && rv == 0; p++) {
        const struct look *k = &w->look[p & (l->groups - 1)];
        uint64_t at = consumer.position[p], next = k->next[layout_partition(l, w->depot, p)];

        if (at == CONSUMER_NONE || at <= next || !k->whole || !w->checkup->settled)
            continue;
        found(w->checkup, CHECKUP_WARNING, path,
              "look whether it belongs to these depots; what is appended up to there is not kept for it",
              "it reads partition %u on at offset %llu, but that ends at %llu", p, (unsigned long long)at,
              (unsigned long long)next);
        break;
    }
    free(consumer.position);
    return 0;
}

static void check_consumers(const struct layout *l, const struct look *look, struct checkup *c)
{
    char directory[4096];

    for (uint32_t i = 0; i < l->depots; i++) {
        struct consumers w = {l, look, c, i, directory};
        struct leat_error err = {0};

        consumer_directory(l->directory, l->depot[i].name, directory, sizeof(directory));
        if (consumer_list(directory, check_consumer, &w, &err) != 0)
            found(c, CHECKUP_DAMAGE, directory, put_back, "%s", err.text);
    }
}

static void look_fini(struct look *k)
{
    free(k->hop);
    free(k->sent);
    free(k->cursor);
    free(k->first);
    free(k->next);
}

void checkup_logs(const struct layout *l, struct checkup *c)
{
    struct look *k = base_alloc(l->groups * sizeof(*k));

    for (uint32_t i = 0; i < l->groups; i++) {
        k[i].group = i;
        look_at_group(l, &k[i], c);
    }
    for (uint32_t i = 0; i < l->groups; i++) {
        if (c->settled && k[i].stands && k[i].whole) {
            check_cursors(l, &k[i], c);
            check_hops(l, k, &k[i], c);
        }
    }
    check_consumers(l, k, c);
    for (uint32_t i = 0; i < l->groups; i++)
        look_fini(&k[i]);
    free(k);
}

static void ignore(void *context, enum checkup_weight weight, const char *where, const char *what, const char *advice)
{
    (void)where;
    (void)what;
    (void)advice;
    *(bool *)context = *(bool *)context || weight == CHECKUP_DAMAGE;
}

static bool all_read(const struct layout *l, const struct look *k, const bool *read)
{
    for (uint32_t i = 0; i < layout_partitions(l); i++)
        if (k->cursor[i] < k->next[i] && read[i / (l->tasks / l->groups)])
            return false;
    return true;
}

bool checkup_processed(const struct layout *l, const bool *read)
{
    struct look *k = base_alloc(l->groups * sizeof(*k));
    bool damaged = false, processed = true;
    struct checkup c = {.found = ignore, .context = &damaged, .settled = true};

    for (uint32_t i = 0; i < l->groups; i++) {
        k[i].group = i;
        look_at_group(l, &k[i], &c);
        processed = processed && !damaged && k[i].stands && all_read(l, &k[i], read);
    }
    for (uint32_t i = 0; i < l->groups && processed; i++)
        for (uint32_t j = 0; j < l->groups; j++)
            processed = processed && k[i].hop[j].turn >= k[j].sent[i];
    for (uint32_t i = 0; i < l->groups; i++)
        look_fini(&k[i]);
    free(k);
    return processed;
}
