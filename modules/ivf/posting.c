/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/posting.h"

#include <string.h>

#include "modules/ivf/finder.h"

/* ---- Reading ---- */

bool posting_record_get(struct leat_task *t, uint32_t number, struct posting_record *out, struct leat_span *masks)
{
    struct leat_value field[9];

    if (leat_get(t, POSTINGS, LEAT_KEYS(leat_u32(number)), field, 9) != 0)
        return false;
    *out = (struct posting_record){.active = field[0].as.b,
                                   .asked = field[1].as.i,
                                   .rows = (uint32_t)field[2].as.u,
                                   .live = (uint32_t)field[3].as.u,
                                   .chunks = (uint32_t)field[4].as.u,
                                   .split_at = (uint32_t)field[5].as.u,
                                   .edition = (uint32_t)field[7].as.u,
                                   .gathered = (uint32_t)field[8].as.u};
    *masks = field[6].as.bytes;
    return true;
}

void posting_tail(struct leat_task *t, const struct ivf *v, uint32_t number, uint32_t first, uint32_t end,
                  tail_row *each, void *context)
{
    struct leat_value from = leat_u64(piece_key(number, first)), to = leat_u64(piece_key(number, end)), key, value;
    struct leat_range range = {.from = &from, .to = &to};
    uint32_t size = v->layout.row.size;
    struct leat_scan *scan;

    if (first >= end || leat_scan_open(t, TAILS, LEAT_KEYS(), &range, &scan) != 0)
        return;
    while (leat_scan_next(scan, &key, &value, 1) == 0)
        for (uint32_t i = 0; i < value.as.bytes.size / size; i++)
            each(context, (uint32_t)key.as.u + i, (const uint8_t *)value.as.bytes.base + (size_t)i * size);
    leat_scan_close(scan);
}

/* ---- Edits ---- */

static uint32_t blocks_of(uint32_t rows)
{
    return (rows + BLOCK - 1) / BLOCK;
}

static void *grown(struct leat_task *t, const void *old, size_t used, size_t size)
{
    uint8_t *new = leat_alloc(t, size);

    memset(new, 0, size);
    if (used > 0)
        memcpy(new, old, used);
    return new;
}

static void room_for(struct posting_edit *e, uint32_t blocks)
{
    if (blocks <= e->blocks)
        return;
    uint32_t room = blocks + blocks / 2 + 4;
    e->mask = grown(e->t, e->mask, e->blocks * sizeof(*e->mask), room * sizeof(*e->mask));
    e->blocks = room;
}

static bool takes_rows(struct leat_task *t, uint32_t number)
{
    struct leat_value field[2];

    if (leat_get(t, CENTROIDS, LEAT_KEYS(leat_u32(number)), field, 2) == 0)
        return field[0].as.b;
    /* The first posting of an index needs no centroid: it has all there is. */
    return number == 0 && index_active(leat_derived(t)) == 0;
}

void posting_edit_begin(struct posting_edit *e, struct leat_task *t, const struct ivf *v, uint32_t number)
{
    struct leat_span masks;

    *e = (struct posting_edit){.t = t, .v = v, .number = number};
    e->record = (struct posting_record){.active = true, .split_at = v->split};
    if (posting_record_get(t, number, &e->record, &masks)) {
        e->there = e->recorded = true;
        room_for(e, blocks_of(e->record.rows) + 1);
        memcpy(e->mask, masks.base, masks.size);
    } else {
        e->there = takes_rows(t, number);
    }
}

void posting_announced(struct posting_edit *e)
{
    if (posting_task(e->t, e->number) == leat_task_number(e->t) && !e->recorded && takes_rows(e->t, e->number))
        e->there = e->changed = true;
}

void posting_append(struct posting_edit *e, const void *row, bool copy)
{
    uint32_t at = e->record.rows++;

    room_for(e, at / BLOCK + 1);
    if (e->pendings == e->pending_room) {
        uint32_t room = e->pending_room * 2 + 16;

        e->pending = grown(e->t, e->pending, e->pendings * sizeof(*e->pending), room * sizeof(*e->pending));
        e->pending_room = room;
    }
    e->pending[e->pendings++] = row;
    if (copy)
        e->mask[at / BLOCK].moving |= 1U << at % BLOCK;
    else
        e->mask[at / BLOCK].live |= 1U << at % BLOCK;
    e->record.live += !copy;
    e->changed = true;
}

/* ---- Finding a row by number and version ---- */

const struct index_posting *posting_known(const struct posting_edit *e)
{
    const struct index_posting *p = index_posting(leat_derived(e->t), e->number);

    return p != NULL && p->edition == e->record.edition ? p : NULL;
}

struct search {
    const struct posting_edit *e;
    uint64_t number;
    uint32_t version, row, found; /* row: where it may be */
};

static bool lives(const struct posting_edit *e, uint32_t row)
{
    return e->mask[row / BLOCK].live >> row % BLOCK & 1;
}

static bool moves(const struct posting_edit *e, uint32_t row)
{
    return e->mask[row / BLOCK].moving >> row % BLOCK & 1;
}

static bool is_there(const struct posting_edit *e, uint32_t row)
{
    return lives(e, row) || moves(e, row);
}

static void look(void *context, uint32_t row, const uint8_t *bytes)
{
    struct search *s = context;
    struct row_head head;

    memcpy(&head, bytes, sizeof(head));
    if (head.number == s->number && head.version == s->version && is_there(s->e, row))
        s->found = row;
}

static void look_in_piece(struct search *s, const struct piece_layout *p, const uint8_t *piece, uint32_t first,
                          uint32_t rows)
{
    for (uint32_t i = 0; i < rows; i++)
        if (layout_number(p, piece, i) == s->number && layout_version(p, piece, i) == s->version &&
            is_there(s->e, first + i))
            s->found = first + i;
}

/* Numbers are in memory; of the pieces, which may not be, only that with the row is looked at. */
static void look_at_known(struct search *s, const struct index_posting *known, uint32_t row)
{
    const struct piece_layout *p;
    uint32_t first;

    if (index_number(known, row) != s->number)
        return;
    const uint8_t *piece = index_piece(&s->e->v->layout, known, row, &p, &first);
    if (layout_version(p, piece, row - first) == s->version && is_there(s->e, row))
        s->found = row;
}

static void look_in_known(struct search *s, const struct index_posting *known)
{
    struct finder *finder = index_finder(leat_derived(s->e->t));
    struct finding f;

    if (s->row < known->rows)
        look_at_known(s, known, s->row);
    if (s->found == NOWHERE && finder_begin(finder, known, s->number, &f))
        for (uint32_t row; s->found == NOWHERE && (row = finder_next(&f)) != NOWHERE;)
            look_at_known(s, known, row);
    else
        for (uint32_t row = 0; row < known->rows && s->found == NOWHERE; row++)
            look_at_known(s, known, row);
}

static void look_in_stored(struct search *s, uint32_t rows)
{
    const struct posting_edit *e = s->e;
    const struct layout *l = &e->v->layout;
    const struct index_posting *known = posting_known(e);
    uint32_t first = known != NULL ? known->rows / l->chunk.rows : 0;

    if (known != NULL)
        look_in_known(s, known);
    /* What this turn added the derived state does not have. */
    for (uint32_t chunk = first; s->found == NOWHERE && chunk < e->record.chunks; chunk++) {
        struct leat_value value;

        if (leat_get(e->t, CHUNKS, LEAT_KEYS(leat_u64(piece_key(e->number, chunk))), &value, 1) == 0)
            look_in_piece(s, &l->chunk, (const uint8_t *)value.as.bytes.base + l->pad, chunk * l->chunk.rows,
                          l->chunk.rows);
    }
    if (s->found == NOWHERE)
        posting_tail(e->t, e->v, e->number, e->record.chunks * l->chunk.rows, rows, look, s);
}

static uint32_t find_row(const struct posting_edit *e, const struct row_name *name, uint32_t at)
{
    struct search s = {e, name->number, name->version, at, NOWHERE};
    uint32_t stored = e->record.rows - e->pendings;

    for (uint32_t i = 0; i < e->pendings; i++)
        look(&s, stored + i, e->pending[i]);
    if (s.found == NOWHERE && stored > 0)
        look_in_stored(&s, stored);
    return s.found;
}

void posting_remove(struct posting_edit *e, const struct row_name *name)
{
    uint32_t row = find_row(e, name, name->row);

    if (row == NOWHERE)
        return;
    e->record.live -= lives(e, row);
    e->mask[row / BLOCK].live &= ~(1U << row % BLOCK);
    e->mask[row / BLOCK].moving &= ~(1U << row % BLOCK);
    e->changed = e->looks = true;
}

void posting_confirm(struct posting_edit *e, const struct row_name *name)
{
    /* That name->row is of another posting. */
    uint32_t row = find_row(e, name, NOWHERE);

    if (row == NOWHERE || lives(e, row))
        return;
    e->mask[row / BLOCK].live |= 1U << row % BLOCK;
    e->mask[row / BLOCK].moving &= ~(1U << row % BLOCK);
    e->record.live++;
    e->changed = true;
}

bool posting_movable(const struct posting_edit *e, uint32_t row)
{
    return row < e->record.rows && lives(e, row) && !moves(e, row);
}

/* ---- Writing ---- */

static void put_chunk(struct posting_edit *e, const uint8_t *value)
{
    const struct layout *l = &e->v->layout;

    leat_put(e->t, CHUNKS, LEAT_KEYS(leat_u64(piece_key(e->number, e->record.chunks))),
             LEAT_ROW(leat_bytes(value, l->pad + (size_t)l->chunk.size)));
    e->record.chunks++;
}

static uint8_t *new_chunk(struct posting_edit *e)
{
    return grown(e->t, NULL, 0, e->v->layout.pad + (size_t)e->v->layout.chunk.size);
}

struct folding {
    const struct layout *layout;
    uint8_t *piece;
    uint32_t first;
};

static void fold_row(void *context, uint32_t row, const uint8_t *bytes)
{
    const struct folding *f = context;

    layout_place(f->layout, &f->layout->chunk, f->piece, row - f->first, bytes);
}

static void delete_tail(struct posting_edit *e, uint32_t first, uint32_t end)
{
    struct leat_value from = leat_u64(piece_key(e->number, first)), to = leat_u64(piece_key(e->number, end)), key;
    struct leat_range range = {.from = &from, .to = &to};
    uint64_t *keys = leat_alloc(e->t, (end - first) * sizeof(*keys));
    struct leat_scan *scan;
    uint32_t count = 0;

    if (leat_scan_open(e->t, TAILS, LEAT_KEYS(), &range, &scan) != 0)
        return;
    while (count < end - first && leat_scan_next(scan, &key, NULL, 0) == 0)
        keys[count++] = key.as.u;
    leat_scan_close(scan);
    for (uint32_t i = 0; i < count; i++)
        leat_delete(e->t, TAILS, LEAT_KEYS(leat_u64(keys[i])));
}

/* The tail is as long as a chunk: make one of it. */
static void fold_tail(struct posting_edit *e)
{
    const struct layout *l = &e->v->layout;
    uint32_t first = e->record.chunks * l->chunk.rows;
    uint8_t *value = new_chunk(e);
    struct folding f = {l, value + l->pad, first};

    posting_tail(e->t, e->v, e->number, first, first + l->chunk.rows, fold_row, &f);
    delete_tail(e, first, first + l->chunk.rows);
    put_chunk(e, value);
}

/* Rows into the tail; as many as lead to the next chunk at most. */
static void put_tail(struct posting_edit *e, uint32_t row, const uint8_t *const *rows, uint32_t count)
{
    uint32_t size = e->v->layout.row.size;
    uint8_t *bytes = leat_alloc(e->t, (size_t)count * size);

    for (uint32_t i = 0; i < count; i++)
        memcpy(bytes + (size_t)i * size, rows[i], size);
    for (uint32_t done = 0, part; done < count; done += part) {
        part = layout_together(&e->v->layout, count - done);
        leat_put(e->t, TAILS, LEAT_KEYS(leat_u64(piece_key(e->number, row + done))),
                 LEAT_ROW(leat_bytes(bytes + (size_t)done * size, (size_t)part * size)));
    }
}

static void put_pending(struct posting_edit *e)
{
    const struct layout *l = &e->v->layout;
    uint32_t row = e->record.rows - e->pendings;

    for (uint32_t done = 0; done < e->pendings;) {
        uint32_t at = row % l->chunk.rows, left = e->pendings - done;
        uint32_t count = left < l->chunk.rows - at ? left : l->chunk.rows - at;

        if (count == l->chunk.rows) {
            uint8_t *value = new_chunk(e);

            for (uint32_t i = 0; i < count; i++)
                layout_place(l, &l->chunk, value + l->pad, i, e->pending[done + i]);
            put_chunk(e, value);
        } else {
            put_tail(e, row, e->pending + done, count);
            if (at + count == l->chunk.rows)
                fold_tail(e);
        }
        row += count;
        done += count;
    }
    e->pendings = 0;
}

static void put_record(struct posting_edit *e)
{
    const struct posting_record *r = &e->record;

    leat_put(e->t, POSTINGS, LEAT_KEYS(leat_u32(e->number)),
             LEAT_ROW(leat_bool(r->active), leat_i64(r->asked), leat_u32(r->rows), leat_u32(r->live),
                      leat_u32(r->chunks), leat_u32(r->split_at),
                      leat_bytes(e->mask, blocks_of(r->rows) * sizeof(*e->mask)), leat_u32(r->edition),
                      leat_u32(r->gathered)));
}

static void delete_pieces(struct posting_edit *e)
{
    uint32_t first = e->record.chunks * e->v->layout.chunk.rows;

    for (uint32_t i = 0; i < e->record.chunks; i++)
        leat_delete(e->t, CHUNKS, LEAT_KEYS(leat_u64(piece_key(e->number, i))));
    delete_tail(e, first, first + e->v->layout.chunk.rows);
}

/* It is empty and nobody sends rows any more: everything of it goes. */
static void close_posting(struct posting_edit *e, uint32_t from)
{
    delete_pieces(e);
    leat_delete(e->t, POSTINGS, LEAT_KEYS(leat_u32(e->number)));
    announce(e->t, from, FORGET, e->number, (struct leat_span){"", 0});
}

/* Live rows of which no copy is on its way. */
static uint32_t settled(const struct posting_edit *e)
{
    uint32_t count = e->record.live;

    for (uint32_t i = 0; i < blocks_of(e->record.rows); i++)
        count -= (uint32_t)__builtin_popcount(e->mask[i].moving & e->mask[i].live);
    return count;
}

/* Copies that wait for the word of the id's task. */
static uint32_t arriving(const struct posting_edit *e)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < blocks_of(e->record.rows); i++)
        count += (uint32_t)__builtin_popcount(e->mask[i].moving & ~e->mask[i].live);
    return count;
}

/* ---- Compaction ---- */

struct gathering {
    struct posting_edit *e;
    struct posting_mask *mask;
    const uint8_t **row;
    uint32_t rows;
};

static void gather(void *context, uint32_t row, const uint8_t *bytes)
{
    struct gathering *g = context;
    size_t size = g->e->v->layout.row.size;

    (void)row;
    g->row[g->rows++] = memcpy(leat_alloc(g->e->t, size), bytes, size);
}

static void gather_there(void *context, uint32_t row, const uint8_t *bytes)
{
    struct gathering *g = context;
    uint32_t to = g->rows;

    if (!is_there(g->e, row))
        return;
    g->mask[to / BLOCK].live |= (uint32_t)lives(g->e, row) << to % BLOCK;
    g->mask[to / BLOCK].moving |= (uint32_t)moves(g->e, row) << to % BLOCK;
    gather(g, row, bytes);
}

static void gather_chunks(struct gathering *g)
{
    const struct posting_edit *e = g->e;
    const struct layout *l = &e->v->layout;
    uint8_t *bytes = leat_alloc(e->t, l->row.size);
    struct leat_value value;

    for (uint32_t chunk = 0, row = 0; chunk < e->record.chunks; chunk++) {
        if (leat_get(e->t, CHUNKS, LEAT_KEYS(leat_u64(piece_key(e->number, chunk))), &value, 1) != 0) {
            leat_task_fail(e->t, LEAT_ECORRUPT, "chunk %u of posting %u is not there", chunk, e->number);
            return;
        }
        for (uint32_t i = 0; i < l->chunk.rows; i++, row++) {
            if (!is_there(e, row))
                continue;
            layout_take(l, &l->chunk, (const uint8_t *)value.as.bytes.base + l->pad, i, bytes);
            gather_there(g, row, bytes);
        }
    }
}

/* Everything anew, as rows that came just now. */
static void drop_dead(struct posting_edit *e)
{
    struct gathering g = {.e = e, .row = leat_alloc(e->t, (e->record.rows + 1) * sizeof(*g.row))};

    g.mask = grown(e->t, NULL, 0, e->blocks * sizeof(*g.mask));
    gather_chunks(&g);
    posting_tail(e->t, e->v, e->number, e->record.chunks * e->v->layout.chunk.rows, e->record.rows, gather_there, &g);
    delete_pieces(e);
    e->mask = g.mask;
    e->pending = g.row;
    e->pendings = e->pending_room = g.rows;
    e->record.rows = e->record.gathered = g.rows;
    e->record.chunks = 0;
    e->record.edition++;
}

/* What came turn by turn as if it had come at once, but for what the derived state has not: it looks for that behind
 * what it has. */
static void gather_tail(struct posting_edit *e)
{
    const struct index_posting *known = posting_known(e);
    uint32_t first = e->record.chunks * e->v->layout.chunk.rows, end = known != NULL ? known->rows : 0;

    if (end <= first)
        return;
    struct gathering g = {.e = e, .row = leat_alloc(e->t, (end - first) * sizeof(*g.row))};
    posting_tail(e->t, e->v, e->number, first, end, gather, &g);
    delete_tail(e, first, end);
    put_tail(e, first, g.row, g.rows);
    e->record.gathered = end;
}

static enum compact_need need(const struct posting_edit *e, enum compact_waste least)
{
    const struct posting_record *r = &e->record;
    const struct compact_rows rows = {r->active, r->rows, r->live, r->live + arriving(e), r->chunks, r->gathered};

    return compact_need(&e->v->layout, &rows, least);
}

void posting_compact(struct posting_edit *e, enum compact_waste least)
{
    enum compact_need what = need(e, least);

    if (what == COMPACT_ROWS)
        drop_dead(e);
    else if (what == COMPACT_TAIL)
        gather_tail(e);
    e->changed |= what != COMPACT_NOTHING;
}

/* ---- What it needs ---- */

void posting_retire(struct posting_edit *e, uint32_t from, struct leat_span centres)
{
    uint32_t size = e->v->layout.centroid;
    uint8_t *centroid = grown(e->t, NULL, 0, size);
    struct leat_value field[2];

    if (leat_get(e->t, CENTROIDS, LEAT_KEYS(leat_u32(e->number)), field, 2) == 0)
        memcpy(centroid, field[1].as.bytes.base, size);
    announce(e->t, from, CENTROID, e->number,
             centroid_body(e->t, false, (struct leat_span){centroid, size}, centres));
    e->record.active = false;
    e->record.asked = 0;
    e->changed = true;
}

/* Does another posting of this group take rows? As this turn has left it: so one of each group stays, however many have
 * too few rows at the same time. */
static bool another_takes_rows(const struct posting_edit *e)
{
    struct leat_value key, field[1];
    struct leat_scan *scan;
    bool found = false;

    if (leat_scan_open(e->t, POSTINGS, LEAT_KEYS(), NULL, &scan) != 0)
        return false;
    while (!found && leat_scan_next(scan, &key, field, 1) == 0)
        found = field[0].as.b && key.as.u != e->number;
    leat_scan_close(scan);
    return found;
}

/* Too few rows, and enough other postings to take them. */
static bool too_small(const struct posting_edit *e)
{
    return e->looks && e->record.active && e->record.asked == 0 && e->record.live + arriving(e) < e->v->merge &&
           index_active(leat_derived(e->t)) > 4 * leat_group_count(e->t);
}

bool overdue(const struct leat_task *t, int64_t asked)
{
    return asked == 0 || leat_now(t) - asked >= PATIENCE_US;
}

bool overdue_at_rest(const struct leat_task *t, int64_t asked)
{
    const int64_t day = 24LL * 60 * 60 * 1000 * 1000;

    return asked == 0 || leat_now(t) - asked >= day;
}

/* What the background is to do, if anything. Not while all rows are on their way: what is
 * left to do is seen when they went. */
static bool wanted(const struct posting_edit *e, enum message *kind)
{
    const struct posting_record *r = &e->record;
    uint32_t coming = arriving(e), dead = r->rows - r->live - coming, chunk = e->v->layout.chunk.rows;

    *kind = r->active ? SPLIT : DRAIN;
    if (!overdue(e->t, r->asked) || (r->live + coming > 0 && settled(e) == 0))
        return false;
    return !r->active || r->live > r->split_at || dead > r->live + chunk;
}

static void ask(const struct posting_edit *e, uint32_t from, enum message kind)
{
    uint32_t what = kind;
    struct leat_span body = {&what, sizeof(what)};

    message(e->t, from, leat_task_number(e->t), e->relayed ? ASK : kind, e->number,
            e->relayed ? body : (struct leat_span){"", 0});
}

static void ask_to_compact(const struct posting_edit *e, uint32_t from)
{
    if (need(e, COMPACT_LITTLE) == COMPACT_NOTHING)
        return;
    if (compact_wanted(e->t, COMPACT_LITTLE))
        ask(e, from, TIDY);
    if (need(e, COMPACT_MUCH) != COMPACT_NOTHING && compact_wanted(e->t, COMPACT_MUCH))
        ask(e, from, COMPACT);
}

/* Rows find their postings by the derived state, which does not know what this turn does. */
static bool sought(const struct posting_edit *e)
{
    const struct index_posting *known = index_posting(leat_derived(e->t), e->number);

    return known != NULL && known->active;
}

void posting_edit_end(struct posting_edit *e, uint32_t from)
{
    enum message kind;

    if (!e->changed)
        return;
    put_pending(e);
    bool small = too_small(e) && another_takes_rows(e), waits = small && leat_random(e->t) % 2 == 0;
    if (small && !waits)
        posting_retire(e, from, (struct leat_span){"", 0});
    /* One that is empty when it stops taking rows goes in a later turn: see send_on. */
    if (!e->record.active && e->record.live == 0 && arriving(e) == 0 && !sought(e)) {
        close_posting(e, from);
        return;
    }
    /* Of many that shrink together half go; the others look again when these have brought their rows. */
    if (wanted(e, &kind) || waits) {
        e->record.asked = leat_now(e->t);
        ask(e, from, waits ? LOOK : kind);
    } else if (overdue(e->t, e->record.asked)) {
        ask_to_compact(e, from);
    }
    put_record(e);
}

void posting_patrol(struct leat_task *t, const struct ivf *v, uint32_t from)
{
    const struct index *x = leat_derived(t);
    const struct index_posting *p = index_count(x) > 0 ? index_at(x, (uint32_t)(leat_random(t) % index_count(x)))
                                                       : NULL;
    struct posting_edit e;
    enum message kind;

    if (p == NULL)
        return;
    posting_edit_begin(&e, t, v, p->number);
    e.looks = true;
    e.changed = e.recorded && (wanted(&e, &kind) || too_small(&e));
    posting_edit_end(&e, from);
}
