/* SPDX-License-Identifier: Apache-2.0 */
#include "pstates/element.h"
#include "pstates/view.h"

#include <stdarg.h>
#include <stdio.h>

/* One walk over a view in the order of its keys. A collection has a larger reference than the one it is in, so the
 * element that leads to it is met before its own elements are. */

enum { FINDINGS = 20 };

struct walk {
    struct pstate_reader *reader;
    struct pstate_check *check;
    const struct pstate_schema *schema;
    uint32_t schemas;
    struct references met;           /* of the task in hand */
    struct reference root;           /* the list or rows of a PState's own level; reference is not used */
    bool rooted;
    uint32_t task;
    uint64_t bound;                  /* references are below */
    struct queued {
        uint64_t reference;
        uint32_t task;
        uint8_t pstate, depth;
    } *queued;
    uint32_t queues, queue_capacity;
    struct buffer name;
};

static void found(struct walk *w, const char *where, const char *format, ...) LEAT_PRINTF(3, 4);

static void found(struct walk *w, const char *where, const char *format, ...)
{
    char what[512];
    va_list args;

    if (w->check->findings++ >= FINDINGS)
        return;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    w->check->found(w->check->context, where, what);
}

static const char *name_of(struct walk *w, const struct element *e)
{
    buffer_clear(&w->name);
    element_name(e, &w->name);
    buffer_u8(&w->name, 0);
    return w->name.error == 0 ? (const char *)w->name.base : "an element";
}

/* ---- Counts ---- */

static bool is_counted(const struct pstate_level *level)
{
    return level->shape == PSTATE_LIST || level->shape == PSTATE_ROWS;
}

static void end_collection(struct walk *w, const struct reference *r)
{
    char where[256];

    if (r->partial || !is_counted(r->level) || r->next == r->count)
        return;
    snprintf(where, sizeof(where), "task %u, PState %s, collection %llu", w->task, r->pstate->name,
             (unsigned long long)r->reference);
    found(w, where, "its header counts %llu elements, but %s%llu are there", (unsigned long long)r->count,
          r->next < r->count ? "only the first " : "", (unsigned long long)r->next);
}

static void end_root(struct walk *w)
{
    if (w->rooted)
        end_collection(w, &w->root);
    w->rooted = false;
}

static const struct pstate_level *level_at(const struct pstate_level *level, uint8_t depth)
{
    for (; depth > 0 && level != NULL; depth--)
        level = level->below;
    return level != NULL && level_is_collection(level) ? level : NULL;
}

static void end_task(struct walk *w)
{
    end_root(w);
    for (uint32_t i = 0; i < w->met.capacity; i++)
        if (w->met.slot[i].reference != 0)
            end_collection(w, &w->met.slot[i]);
    references_clear(&w->met);
}

/* Collections of a task that were unlinked and wait to be swept are known without an element that leads to them. */
static void begin_task(struct walk *w, uint32_t task)
{
    end_task(w);
    w->task = task;
    for (uint32_t i = 0; i < w->queues; i++) {
        const struct queued *q = &w->queued[i];
        const struct pstate_level *level = q->task == task ? level_at(w->schema[q->pstate].top, q->depth) : NULL;

        if (level == NULL)
            continue;
        struct reference *r = references_add(&w->met, q->reference);
        *r = (struct reference){q->reference, &w->schema[q->pstate], level, 0, 0, true};
    }
}

/* ---- The queue of the unlinked, and the view's own figures ---- */

static void look_at_system(struct walk *w, struct leat_span key, struct leat_span value)
{
    const uint8_t *k = key.base, *v = value.base;
    struct queued *q;

    if (key.size == 3 && (k[2] == 't' || k[2] == 'r') && value.size == 8) {
        if (k[2] == 'r')
            w->bound = load_u64(v);
        return;
    }
    if (key.size != 13 || k[2] != 'u' || value.size != 2 || v[0] >= w->schemas ||
        level_at(w->schema[v[0]].top, v[1]) == NULL) {
        found(w, "the view's own figures", "an entry of %zu and %zu bytes is none of them", key.size, value.size);
        return;
    }
    if (w->queues == w->queue_capacity) {
        w->queue_capacity = w->queue_capacity == 0 ? 64 : w->queue_capacity * 2;
        w->queued = base_realloc(w->queued, w->queue_capacity * sizeof(*w->queued));
    }
    q = &w->queued[w->queues++];
    *q = (struct queued){key_read_u64(k + 5), key_task_of(k + 3), v[0], v[1]};
}

static int walk_system(struct walk *w, MDB_cursor *c)
{
    static const uint8_t first[] = {KEY_SYSTEM, KEY_SYSTEM};
    MDB_val k = {sizeof(first), (void *)(uintptr_t)first}, d;
    int rc = mdb_cursor_get(c, &k, &d, MDB_SET_RANGE);

    for (; rc == 0; rc = mdb_cursor_get(c, &k, &d, MDB_NEXT))
        look_at_system(w, span_of(k.mv_data, k.mv_size), span_of(d.mv_data, d.mv_size));
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- Elements ---- */

/* Of a list or rows: is it the next one, and as large as it must be? */
static void count_element(struct walk *w, struct reference *r, const struct element *e, struct leat_span value)
{
    struct rows_place place = {.rows = 1};

    if (r->partial)
        return;
    if (r->level->shape == PSTATE_LIST) {
        if (e->value.as.u != r->next)
            found(w, name_of(w, e), "the element before it is missing");
        r->next = e->value.as.u + 1;
        return;
    }
    if (r->next >= r->count) {
        found(w, name_of(w, e), "more packed rows than the header counts (%llu)", (unsigned long long)r->count);
        r->partial = true;
        return;
    }
    place.key.size = 0;
    rows_place_of(r->level, r->count, r->next, &place);
    if (!span_equal(e->key, span_of(place.key.bytes, place.key.size)) || value.size != place.size) {
        found(w, name_of(w, e), "packed rows of %zu bytes where row %llu of %llu, %zu bytes, belongs", value.size,
              (unsigned long long)place.first, (unsigned long long)r->count, place.size);
        r->partial = true;
    }
    r->next += place.rows;
}

/* A PState's own list or rows begin with their header. */
static void begin_root(struct walk *w, const struct element *e, struct leat_span value)
{
    end_root(w);
    w->rooted = e->in == NULL && is_counted(e->level) && value.size == 16;
    w->root = (struct reference){0, e->pstate, e->level, w->rooted ? load_u64((const uint8_t *)value.base + 8) : 0,
                                 0, false};
}

static void look_at_element(struct walk *w, const struct element *e, struct leat_span value)
{
    struct leat_error err = {0};

    if (element_check(e, value, &err) != 0) {
        found(w, name_of(w, e), "%s", err.text);
        return;
    }
    if (e->in == NULL) {
        begin_root(w, e, value);
        return;
    }
    if (e->reference == 0 && is_counted(e->in) && (!w->rooted || w->root.pstate != e->pstate)) {
        found(w, name_of(w, e), "it belongs to a collection that has no header");
        return;
    }
    if (is_counted(e->in))
        count_element(w, e->reference != 0 ? references_find(&w->met, e->reference) : &w->root, e, value);
    if (e->level == NULL || !level_is_collection(e->level))
        return;
    uint64_t reference = load_u64(value.base);
    if (references_find(&w->met, reference) != NULL)
        found(w, name_of(w, e), "it leads to collection %llu, as another element does", (unsigned long long)reference);
    else if (reference >= w->bound)
        found(w, name_of(w, e), "it leads to collection %llu, but only those below %llu were given out",
              (unsigned long long)reference, (unsigned long long)w->bound);
    else
        element_meet(e, value, &w->met);
}

static void look_at(struct walk *w, struct leat_span key, struct leat_span value)
{
    const struct pstate_check *check = w->check;
    struct element e;

    w->check->elements++;
    w->check->bytes += key.size + value.size;
    if (key.size >= KEY_PREFIX && key_task_of(key.base) != w->task)
        begin_task(w, key_task_of(key.base));
    int rv = element_of(w->schema, w->schemas, &w->met, key, &e);
    if (e.system)
        return;
    if (rv == 0 && (e.task >= check->tasks || (e.task & (check->groups - 1)) != check->group))
        found(w, name_of(w, &e), "the task is none of this group");
    else if (rv == 0)
        look_at_element(w, &e, value);
    else if (rv == LEAT_ENOTFOUND)
        found(w, name_of(w, &e), "no element leads to this collection");
    else
        found(w, name_of(w, &e), "a key of %zu bytes does not fit the schema", key.size);
}

static int walk_elements(struct walk *w, MDB_cursor *c)
{
    MDB_val k, d;
    int rc = mdb_cursor_get(c, &k, &d, MDB_FIRST);

    for (; rc == 0; rc = mdb_cursor_get(c, &k, &d, MDB_NEXT))
        look_at(w, span_of(k.mv_data, k.mv_size), span_of(d.mv_data, d.mv_size));
    end_task(w);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int pstate_view_check(struct pstate_reader *r, struct pstate_check *check, struct leat_error *err)
{
    struct walk w = {.reader = r, .check = check, .schema = r->view->config.schema, .schemas = r->view->config.schemas,
                     .task = 0xffff};
    MDB_cursor *c;
    int rc = mdb_cursor_open(r->txn, r->view->dbi, &c);

    if (rc != 0)
        return view_error(err, rc, "read", r->view);
    rc = walk_system(&w, c);
    if (rc == 0)
        rc = walk_elements(&w, c);
    mdb_cursor_close(c);
    references_fini(&w.met);
    buffer_fini(&w.name);
    free(w.queued);
    return rc == 0 ? 0 : view_error(err, rc, "read", r->view);
}

/* No lock file is made and no page written: who calls sees to it that nobody else writes. */
int pstate_view_open_read(const struct pstate_config *config, struct pstate_view **out, struct leat_error *err)
{
    struct pstate_view *v = base_alloc(sizeof(*v));
    MDB_txn *txn = NULL;

    v->config = *config;
    v->directory = base_strdup(config->directory);
    v->writer = (struct pstate_reader){.view = v, .writes = true};
    int rc = mdb_env_create(&v->env);
    if (rc == 0)
        rc = mdb_env_open(v->env, v->directory, MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS, 0600);
    if (rc == 0)
        rc = mdb_txn_begin(v->env, NULL, MDB_RDONLY, &txn);
    if (rc == 0)
        rc = mdb_dbi_open(txn, NULL, 0, &v->dbi);
    if (txn != NULL)
        mdb_txn_abort(txn);
    if (rc != 0) {
        view_error(err, rc, "open", v);
        pstate_view_close(v);
        return err->code;
    }
    *out = v;
    return 0;
}
