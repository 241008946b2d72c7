/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/ivf/filter_program.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The compiler of filters. It goes down the MessagePack value, whose nesting leat_any_read bounds, and writes steps
 * behind each other, operands first. */

enum { FEW = 8 }; /* values of "in" up to which each is compared by itself */

struct compiler {
    const struct attributes *attributes;
    filter_alloc *alloc;
    void *context;
    struct leat_error *err;
    struct filter_step *step;
    uint32_t steps, room, stack, values;
    uint64_t factor; /* of sets: nobody can foresee it who wishes for values that collide */
};

/* Where in the filter, for sentences. */
struct place {
    const struct place *up;
    struct leat_span name; /* no base: index */
    uint32_t index;
};

enum { PLACE = 240 };

static size_t put_place(const struct place *p, char *text)
{
    size_t used = p->up != NULL ? put_place(p->up, text) : 0;
    int size = (int)(p->name.size < ATTRIBUTES_NAME ? p->name.size : ATTRIBUTES_NAME);

    if (p->name.base != NULL)
        used += (size_t)snprintf(text + used, PLACE - used, "%s%.*s", p->up != NULL ? "." : "", size,
                                 (const char *)p->name.base);
    else
        used += (size_t)snprintf(text + used, PLACE - used, "[%u]", p->index);
    return used < PLACE ? used : PLACE - 1;
}

LEAT_PRINTF(4, 5)
static int fail(struct compiler *c, const struct place *at, int code, const char *format, ...)
{
    char place[PLACE], sentence[512];
    va_list list;

    put_place(at, place);
    va_start(list, format);
    vsnprintf(sentence, sizeof(sentence), format, list);
    va_end(list);
    return leat_fail(c->err, code, "%s: %s", place, sentence);
}

static bool is_word(const struct leat_any_item *key, const char *word)
{
    return key->value.as.bytes.size == strlen(word) && memcmp(key->value.as.bytes.base, word, strlen(word)) == 0;
}

/* The next of elements that follow one another; there is one. */
static int next(struct compiler *c, const struct place *at, struct leat_any_item *of, struct leat_any_item *out)
{
    if (leat_any_read(&of->elements, out) != 0)
        return fail(c, at, LEAT_EINVAL, "not one whole MessagePack value of at most 32 levels");
    return 0;
}

/* ---- Steps ---- */

static int put(struct compiler *c, const struct place *at, struct filter_step step)
{
    if (c->steps == FILTER_STEPS)
        return fail(c, at, LEAT_ELIMIT, "the filter has more than %d steps", FILTER_STEPS);
    if (c->steps == c->room) {
        struct filter_step *old = c->step;

        c->room = c->room == 0 ? 16 : 2 * c->room;
        c->step = c->alloc(c->context, c->room * sizeof(*c->step));
        if (old != NULL)
            memcpy(c->step, old, c->steps * sizeof(*old));
    }
    c->stack += step.op < FILTER_NOT;
    c->stack -= step.op > FILTER_NOT;
    if (c->stack > FILTER_STACK)
        return fail(c, at, LEAT_ELIMIT, "filters are nested too deep");
    c->step[c->steps++] = step;
    return 0;
}

static int put_op(struct compiler *c, const struct place *at, enum filter_op op)
{
    return put(c, at, (struct filter_step){.op = op});
}

static int put_constant(struct compiler *c, const struct place *at, bool all)
{
    return put(c, at, (struct filter_step){.op = FILTER_CONSTANT, .low = all ? -1 : 0});
}

/* ---- Literals ---- */

/* A value among the numbers of a column: `floor` is the greatest that is not above it. */
struct point {
    int64_t floor;
    bool exact; /* it is floor */
    bool under; /* it is below all numbers, and there is no floor */
};

struct interval {
    int64_t low, high; /* low > high: none */
};

static const struct interval all = {INT64_MIN, INT64_MAX}, none = {INT64_MAX, INT64_MIN};

static struct interval from(struct point p, bool strict)
{
    if (p.under)
        return all;
    if (p.exact && !strict)
        return (struct interval){p.floor, INT64_MAX};
    return p.floor == INT64_MAX ? none : (struct interval){p.floor + 1, INT64_MAX};
}

static struct interval up_to(struct point p, bool strict)
{
    if (p.under || (p.exact && strict && p.floor == INT64_MIN))
        return none;
    return (struct interval){INT64_MIN, p.exact && strict ? p.floor - 1 : p.floor};
}

static struct interval exactly(struct point p)
{
    return p.exact && !p.under ? (struct interval){p.floor, p.floor} : none;
}

static struct interval both(struct interval a, struct interval b)
{
    return (struct interval){a.low > b.low ? a.low : b.low, a.high < b.high ? a.high : b.high};
}

/* Whole numbers and doubles are compared exactly: 2^53 + 1 is more than 9007199254740992.0. */
static struct point point_of_i64(const struct leat_value *v)
{
    if (v->type == LEAT_I64)
        return (struct point){v->as.i, true, false};
    if (v->type == LEAT_U64 || v->as.f >= 0x1p63)
        return (struct point){INT64_MAX, false, false};
    if (v->as.f < -0x1p63)
        return (struct point){.under = true};
    return (struct point){(int64_t)floor(v->as.f), v->as.f == floor(v->as.f), false};
}

static int wants(struct compiler *c, const struct place *at, const struct attribute *a,
                 const struct leat_any_item *item)
{
    char room[64];

    return fail(c, at, LEAT_EINVAL, "'%s' is declared as %s and cannot be compared with %s%s", a->name,
                attribute_type_name(a->type), attribute_say(item, room),
                item->value.type == LEAT_NULL   ? ": ask for \"exists\""
                : item->kind == LEAT_ANY_ARRAY ? ": \"in\" takes one"
                                               : "");
}

/* A literal as a point of the attribute's first column. */
static int point_of(struct compiler *c, const struct place *at, const struct attribute *a,
                    const struct leat_any_item *item, struct point *out)
{
    const struct leat_value *v = &item->value;
    bool number = v->type == LEAT_I64 || v->type == LEAT_U64 || (v->type == LEAT_F64 && isfinite(v->as.f));

    *out = (struct point){0, true, false};
    if (a->type == ATTRIBUTE_BOOL && v->type == LEAT_BOOL)
        out->floor = v->as.b;
    else if (a->type == ATTRIBUTE_I64 && number)
        *out = point_of_i64(v);
    else if (a->type == ATTRIBUTE_F64 && number)
        out->floor = attribute_order(v->type == LEAT_I64   ? (double)v->as.i
                                     : v->type == LEAT_U64 ? (double)v->as.u
                                                           : v->as.f);
    else if (a->type >= ATTRIBUTE_STR && v->type == LEAT_STR)
        out->floor = (int64_t)leat_hash(v);
    else
        return wants(c, at, a, item);
    return 0;
}

/* ---- Comparisons ---- */

/* The attribute that is compared, and where it is named. */
struct subject {
    const struct attribute *attribute;
    uint32_t number;
};

static struct filter_step step_of(struct subject s, enum filter_op op, struct interval i)
{
    return (struct filter_step){
        .op = op, .attribute = s.number, .column = s.attribute->column, .low = i.low, .high = i.high};
}

static int put_equal(struct compiler *c, const struct place *at, struct subject s, const struct leat_any_item *item,
                     bool outside)
{
    struct point p;
    int rv = point_of(c, at, s.attribute, item, &p);

    if (rv != 0)
        return rv;
    struct filter_step step = step_of(s, FILTER_INTERVAL, exactly(p));
    step.outside = outside;
    step.string = s.attribute->type >= ATTRIBUTE_STR;
    if (step.string)
        step.text = item->value.as.bytes;
    return put(c, at, step);
}

/* One of the two numbers that order a text. */
static int put_prefix(struct compiler *c, const struct place *at, struct subject s, uint32_t word, struct interval i)
{
    struct filter_step step = step_of(s, FILTER_INTERVAL, i);

    step.column += 1 + word;
    return put(c, at, step);
}

enum range_op { GT, GTE, LT, LTE };

static bool is_above(enum range_op op)
{
    return op <= GTE;
}

static bool is_strict(enum range_op op)
{
    return op == GT || op == LT;
}

/* Texts from a bound of at most 16 bytes on, or those before it, are told by their first 16 bytes: the first word is
 * beyond the bound's, or it is the bound's and the second word is, too. */
static int put_text_side(struct compiler *c, const struct place *at, struct subject s, const int64_t bound[2],
                         bool above)
{
    struct point first = {bound[0], true, false}, second = {bound[1], true, false};
    int rv = put_prefix(c, at, s, 0, above ? from(first, true) : up_to(first, true));

    if (rv == 0)
        rv = put_prefix(c, at, s, 0, exactly(first));
    if (rv == 0)
        rv = put_prefix(c, at, s, 1, above ? from(second, false) : up_to(second, true));
    if (rv == 0)
        rv = put_op(c, at, FILTER_AND);
    return rv == 0 ? put_op(c, at, FILTER_OR) : rv;
}

/* Past the bound, or up to it: its hash tells the bound itself from longer texts that begin with it. */
static int put_text(struct compiler *c, const struct place *at, struct subject s, enum range_op op,
                    const struct leat_any_item *item)
{
    struct leat_span text = item->value.as.bytes;
    int64_t bound[2];

    if (item->value.type != LEAT_STR)
        return wants(c, at, s.attribute, item);
    if (text.size > ATTRIBUTES_PREFIX || (text.size > 0 && memchr(text.base, 0, text.size) != NULL))
        return fail(c, at, LEAT_EINVAL,
                    "texts are ordered by their first %d bytes, none of them 0: so must the bound be, it "
                    "has %zu bytes",
                    ATTRIBUTES_PREFIX, text.size);
    attribute_prefix(text, bound);
    int rv = put_text_side(c, at, s, bound, is_above(op));
    if (rv != 0 || op == GTE || op == LT)
        return rv;
    rv = put_equal(c, at, s, item, op == GT);
    return rv == 0 ? put_op(c, at, op == GT ? FILTER_AND : FILTER_OR) : rv;
}

static int range(struct compiler *c, const struct place *at, struct subject s, enum range_op op,
                 const struct leat_any_item *item, struct interval *out)
{
    struct point p;
    int rv;

    if (s.attribute->type == ATTRIBUTE_STR || s.attribute->type == ATTRIBUTE_BOOL)
        return fail(c, at, LEAT_EINVAL, "'%s' is declared as %s, which has no order%s", s.attribute->name,
                    attribute_type_name(s.attribute->type),
                    s.attribute->type == ATTRIBUTE_STR ? "; as text it would" : "");
    rv = point_of(c, at, s.attribute, item, &p);
    if (rv == 0)
        *out = both(*out, is_above(op) ? from(p, is_strict(op)) : up_to(p, is_strict(op)));
    return rv;
}

/* ---- Lists of values ---- */

static struct filter_member *new_member(struct compiler *c, bool strings, uint32_t count, int64_t first)
{
    struct filter_member *m = c->alloc(c->context, sizeof(*m));
    uint32_t bits = 64 - (uint32_t)__builtin_clzll(4 * (uint64_t)count - 1), slots = 1U << bits;
    size_t size = (slots + 1) * sizeof(*m->string);

    *m = (struct filter_member){{NULL, slots - 1, 64 - bits, c->factor, first}, NULL};
    m->set.slot = c->alloc(c->context, slots * sizeof(*m->set.slot));
    for (uint32_t i = 0; i < slots; i++)
        m->set.slot[i] = first;
    if (strings)
        m->string = memset(c->alloc(c->context, size), 0, size);
    return m;
}

static void add_member(struct compiler *c, struct filter_member *m, int64_t value, struct leat_span text)
{
    uint32_t at = filter_slot(&m->set, value);

    m->set.slot[at] = value;
    if (m->string == NULL)
        return;
    struct filter_string *s = c->alloc(c->context, sizeof(*s));
    const struct filter_string **first = &m->string[value == m->set.empty ? m->set.mask + 1 : at];
    *s = (struct filter_string){text, *first};
    *first = s;
}

/* Many values: a value that the column cannot have is left out. */
static int put_set(struct compiler *c, const struct place *at, struct subject s, struct leat_any_item list)
{
    bool strings = s.attribute->type >= ATTRIBUTE_STR;
    struct filter_step step = step_of(s, FILTER_MEMBER, all);
    struct filter_member *m = NULL;

    for (uint32_t i = 0; i < list.count; i++) {
        struct place place = {at, {NULL, 0}, i};
        struct leat_any_item item;
        struct point p;
        int rv = next(c, &place, &list, &item);

        if (rv == 0)
            rv = point_of(c, &place, s.attribute, &item, &p);
        if (rv != 0)
            return rv;
        if (!p.exact || p.under)
            continue;
        if (m == NULL)
            m = new_member(c, strings, list.count, p.floor);
        add_member(c, m, p.floor, strings ? item.value.as.bytes : (struct leat_span){NULL, 0});
    }
    step.member = m;
    return m != NULL ? put(c, at, step) : put_constant(c, at, false);
}

static int put_few(struct compiler *c, const struct place *at, struct subject s, struct leat_any_item list)
{
    int rv = list.count == 0 ? put_constant(c, at, false) : 0;

    for (uint32_t i = 0; i < list.count && rv == 0; i++) {
        struct place place = {at, {NULL, 0}, i};
        struct leat_any_item item;

        rv = next(c, &place, &list, &item);
        if (rv == 0)
            rv = put_equal(c, &place, s, &item, false);
        if (rv == 0 && i > 0)
            rv = put_op(c, at, FILTER_OR);
    }
    return rv;
}

static int put_in(struct compiler *c, const struct place *at, struct subject s, const struct leat_any_item *list)
{
    char room[64];

    if (list->kind != LEAT_ANY_ARRAY)
        return fail(c, at, LEAT_EINVAL, "an array of values is wanted, not %s", attribute_say(list, room));
    if (list->count > FILTER_VALUES - c->values)
        return fail(c, at, LEAT_ELIMIT, "the filter has more than %d values in lists", FILTER_VALUES);
    c->values += list->count;
    return list->count <= FEW ? put_few(c, at, s, *list) : put_set(c, at, s, *list);
}

static int put_exists(struct compiler *c, const struct place *at, struct subject s, const struct leat_any_item *item)
{
    char room[64];

    if (item->value.type != LEAT_BOOL)
        return fail(c, at, LEAT_EINVAL, "true or false is wanted, not %s", attribute_say(item, room));
    int rv = put(c, at, step_of(s, FILTER_PRESENT, all));
    return rv == 0 && !item->value.as.b ? put_op(c, at, FILTER_NOT) : rv;
}

/* ---- The language ---- */

/* One comparison. Bounds of a number only narrow *numbers: one step is put for all of them together. */
static int compile_comparison(struct compiler *c, const struct place *at, struct subject s,
                              const struct leat_any_item *key, const struct leat_any_item *item,
                              struct interval *numbers)
{
    static const char *const ranges[] = {[GT] = "gt", [GTE] = "gte", [LT] = "lt", [LTE] = "lte"};

    for (enum range_op op = GT; op <= LTE; op++)
        if (is_word(key, ranges[op]))
            return s.attribute->type == ATTRIBUTE_TEXT ? put_text(c, at, s, op, item)
                                                       : range(c, at, s, op, item, numbers);
    if (is_word(key, "eq") || is_word(key, "neq"))
        return put_equal(c, at, s, item, is_word(key, "neq"));
    if (is_word(key, "in"))
        return put_in(c, at, s, item);
    if (is_word(key, "exists"))
        return put_exists(c, at, s, item);
    return fail(c, at, LEAT_EINVAL, "no comparison; there are eq, neq, gt, gte, lt, lte, in and exists");
}

/* A key of a map, and the value behind it. */
static int read_entry(struct compiler *c, const struct place *at, struct leat_any_item *map, struct leat_any_item *key,
                      struct leat_any_item *value)
{
    char room[64];

    int rv = next(c, at, map, key);

    if (rv == 0)
        rv = next(c, at, map, value);
    if (rv == 0 && key->value.type != LEAT_STR)
        return fail(c, at, LEAT_EINVAL, "a name is wanted, not %s", attribute_say(key, room));
    return rv;
}

static int compile_comparisons(struct compiler *c, const struct place *at, struct subject s, struct leat_any_item map)
{
    struct interval numbers = all;
    struct leat_any_item key, value;
    bool bounded = false; /* and so numbers is to be asked for */
    uint32_t others = 0;  /* comparisons that have been put */

    if (map.count == 0)
        return fail(c, at, LEAT_EINVAL, "a comparison is wanted: eq, neq, gt, gte, lt, lte, in or exists");
    for (uint32_t i = 0; i < map.count; i++) {
        uint32_t steps = c->steps;
        int rv = read_entry(c, at, &map, &key, &value);

        if (rv == 0)
            rv = compile_comparison(c, &(struct place){at, key.value.as.bytes, 0}, s, &key, &value, &numbers);
        if (rv == 0 && c->steps > steps && others++ > 0)
            rv = put_op(c, at, FILTER_AND);
        if (rv != 0)
            return rv;
        bounded |= c->steps == steps;
    }
    if (!bounded)
        return 0;
    int rv = put(c, at, step_of(s, FILTER_INTERVAL, numbers));
    return rv == 0 && others > 0 ? put_op(c, at, FILTER_AND) : rv;
}

/* Says the names that there are, as many as fit. */
static int undeclared(struct compiler *c, const struct place *at)
{
    const struct attributes *a = c->attributes;
    char names[200] = "";
    bool fits = true;

    for (uint32_t i = 0, used = 0; i < a->count && fits; i++) {
        fits = used + strlen(a->attribute[i].name) + sizeof(", , ..") <= sizeof(names);
        used += (uint32_t)snprintf(names + used, sizeof(names) - used, "%s%s", i > 0 ? ", " : "",
                                   fits ? a->attribute[i].name : "..");
    }
    return fail(c, at, LEAT_EINVAL, "it is not among the attributes: %s", a->count > 0 ? names : "none are declared");
}

static int compile_attribute(struct compiler *c, const struct place *at, const struct leat_any_item *key,
                             const struct leat_any_item *value)
{
    int number = attributes_find(c->attributes, key->value.as.bytes);

    if (number < 0)
        return undeclared(c, at);
    struct subject s = {&c->attributes->attribute[number], (uint32_t)number};
    if (value->kind == LEAT_ANY_MAP)
        return compile_comparisons(c, at, s, *value);
    return put_equal(c, at, s, value, false);
}

static int compile(struct compiler *c, const struct place *at, struct leat_any_item map);

static int compile_list(struct compiler *c, const struct place *at, struct leat_any_item list, enum filter_op op)
{
    struct leat_any_item item;
    char room[64];
    int rv = 0;

    if (list.kind != LEAT_ANY_ARRAY)
        return fail(c, at, LEAT_EINVAL, "an array of filters is wanted, not %s", attribute_say(&list, room));
    if (list.count == 0)
        return put_constant(c, at, op == FILTER_AND);
    for (uint32_t i = 0; i < list.count && rv == 0; i++) {
        struct place place = {at, {NULL, 0}, i};

        rv = next(c, &place, &list, &item);
        if (rv == 0)
            rv = compile(c, &place, item);
        if (rv == 0 && i > 0)
            rv = put_op(c, at, op);
    }
    return rv;
}

static int compile_entry(struct compiler *c, const struct place *at, const struct leat_any_item *key,
                         const struct leat_any_item *value)
{
    if (is_word(key, "and") || is_word(key, "or"))
        return compile_list(c, at, *value, is_word(key, "and") ? FILTER_AND : FILTER_OR);
    if (!is_word(key, "not"))
        return compile_attribute(c, at, key, value);
    int rv = compile(c, at, *value);
    return rv == 0 ? put_op(c, at, FILTER_NOT) : rv;
}

static int compile(struct compiler *c, const struct place *at, struct leat_any_item map)
{
    struct leat_any_item key, value;
    char room[64];
    int rv = 0;

    if (map.kind != LEAT_ANY_MAP)
        return fail(c, at, LEAT_EINVAL, "a filter is a map, not %s", attribute_say(&map, room));
    if (map.count == 0)
        return put_constant(c, at, true);
    for (uint32_t i = 0; i < map.count && rv == 0; i++) {
        rv = read_entry(c, at, &map, &key, &value);
        if (rv == 0)
            rv = compile_entry(c, &(struct place){at, key.value.as.bytes, 0}, &key, &value);
        if (rv == 0 && i > 0)
            rv = put_op(c, at, FILTER_AND);
    }
    return rv;
}

int filter_parse(const struct attributes *a, struct leat_span msgpack, filter_alloc *alloc, void *context,
                 const struct filter **out, struct leat_error *err)
{
    struct leat_value bytes = leat_bytes(msgpack.base, msgpack.size);
    struct compiler c = {
        .attributes = a, .alloc = alloc, .context = context, .err = err, .factor = leat_hash(&bytes) | 1};
    struct place root = {NULL, {"filter", 6}, 0};
    struct leat_any_item item = {.value = {.type = LEAT_NULL}};

    *out = NULL;
    if (msgpack.size > 0 && (leat_any_read(&msgpack, &item) != 0 || msgpack.size > 0))
        return fail(&c, &root, LEAT_EINVAL, "not one whole MessagePack value of at most 32 levels");
    if (item.value.type == LEAT_NULL)
        return 0;
    int rv = compile(&c, &root, item);
    if (rv == 0) {
        struct filter *f = alloc(context, sizeof(*f));

        *f = (struct filter){a, c.step, c.steps};
        *out = f;
    }
    return rv;
}
