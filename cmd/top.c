/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/top.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/base.h"
#include "base/codec.h"

enum { FIGURES_MOST = 1 << 20, STALE_S = 5 };

struct top_sample {
    struct arena *arena;
    int64_t time_us;
    int64_t pid;
    struct top_figure *figure;
    uint32_t figures, capacity;
};

/* ---- Reading ---- */

enum { NAME, MODULE, OBJECT, KIND, VALUE, COUNT, SUM, P50, P90, P99, MAX, TIME, PID, FIELDS };

static const char line_schema[] =
    "name: str?, module: str?, object: str?, kind: str?, value: f64?, count: f64?, sum: f64?, "
    "p50: f64?, p90: f64?, p99: f64?, max: f64?, time_us: f64?, pid: f64?";

static const char *text_of(struct arena *a, const struct leat_value *v)
{
    return v->type == LEAT_STR ? arena_format(a, "%.*s", (int)v->as.bytes.size, (const char *)v->as.bytes.base) : "";
}

static double number_of(const struct leat_value *v)
{
    return v->type == LEAT_I64 ? (double)v->as.i : v->type == LEAT_F64 || v->type == LEAT_F32 ? v->as.f : 0;
}

static void read_line(struct top_sample *s, const struct row_schema *schema, struct leat_span line)
{
    struct leat_value v[FIELDS];

    if (json_to_row(s->arena, schema, line, v, NULL) != 0)
        return;
    if (v[PID].type != LEAT_NULL) {
        s->pid = (int64_t)number_of(&v[PID]);
        s->time_us = (int64_t)number_of(&v[TIME]);
    }
    if (v[NAME].type == LEAT_NULL || s->figures == FIGURES_MOST)
        return;
    if (s->figures == s->capacity) {
        s->capacity = s->capacity == 0 ? 256 : s->capacity * 2;
        s->figure = base_realloc(s->figure, s->capacity * sizeof(*s->figure));
    }
    bool histogram = v[COUNT].type != LEAT_NULL;
    s->figure[s->figures++] = (struct top_figure){.module = text_of(s->arena, &v[MODULE]),
                                              .object = text_of(s->arena, &v[OBJECT]),
                                              .name = text_of(s->arena, &v[NAME]), .histogram = histogram,
                                              .value = number_of(&v[histogram ? COUNT : VALUE]),
                                              .sum = number_of(&v[SUM]),
                                              .p50 = number_of(&v[P50]), .p99 = number_of(&v[P99]),
                                                  .max = number_of(&v[MAX])};
}

struct top_sample *top_sample_open(struct leat_span text)
{
    struct top_sample *s = base_alloc(sizeof(*s));
    struct row_schema schema;
    const char *at = text.base, *end = at + text.size;

    s->arena = arena_open(256 << 20);
    int rv = row_schema_parse(s->arena, line_schema, NULL, NULL, &schema, NULL);
    leat_assert(rv == 0);
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));

        stop = stop != NULL ? stop : end;
        read_line(s, &schema, span_of(at, (size_t)(stop - at)));
        at = stop + 1;
    }
    if (s->pid != 0)
        return s;
    top_sample_close(s);
    return NULL;
}

void top_sample_close(struct top_sample *s)
{
    if (s == NULL)
        return;
    free(s->figure);
    arena_close(s->arena);
    free(s);
}

int64_t top_sample_time(const struct top_sample *s)
{
    return s->time_us;
}

int64_t top_sample_process(const struct top_sample *s)
{
    return s->pid;
}

const struct top_figure *top_sample_figures(const struct top_sample *s, uint32_t *count)
{
    *count = s->figures;
    return s->figure;
}

/* ---- Figures and rates ---- */

static const struct top_figure *find(const struct top_sample *s, const char *module, const char *object,
                                     const char *name)
{
    for (uint32_t i = 0; s != NULL && i < s->figures; i++) {
        const struct top_figure *f = &s->figure[i];

        if (strcmp(f->name, name) == 0 && strcmp(f->object, object) == 0 && strcmp(f->module, module) == 0)
            return f;
    }
    return NULL;
}

static double seconds(const struct top_view *v)
{
    return v->before != NULL && v->before->pid == v->now->pid ? (double)(v->now->time_us - v->before->time_us) * 1e-6
                                                              : 0;
}

static double value_of(const struct top_view *v, const char *module, const char *object, const char *name)
{
    const struct top_figure *f = find(v->now, module, object, name);

    return f != NULL ? f->value : 0;
}

/* A second; NAN: not known. sum: of a histogram, not how often. */
static double rate_of(const struct top_view *v, const char *module, const char *object, const char *name, bool sum)
{
    const struct top_figure *now = find(v->now, module, object, name), *before = find(v->before, module, object, name);

    if (now == NULL || before == NULL || seconds(v) <= 0)
        return NAN;
    return fmax(0, sum ? now->sum - before->sum : now->value - before->value) / seconds(v);
}

/* Of all objects of a module whose names begin so. */
static double total(const struct top_view *v, const char *module, const char *begins, const char *name, bool rate)
{
    double sum = 0;

    for (uint32_t i = 0; i < v->now->figures; i++) {
        const struct top_figure *f = &v->now->figure[i];

        if (strcmp(f->module, module) != 0 || strcmp(f->name, name) != 0 ||
            strncmp(f->object, begins, strlen(begins)) != 0)
            continue;
        sum += rate ? rate_of(v, module, f->object, name, false) : f->value;
    }
    return sum;
}

/* ---- Numbers for people ---- */

struct text {
    char text[24];
};

static struct text scaled(double n, double step, const char *const *unit)
{
    struct text t;
    int i = 0;

    if (n != n) {
        snprintf(t.text, sizeof(t.text), "-");
        return t;
    }
    while (n >= step * 0.9995 && unit[i + 1] != NULL) {
        n /= step;
        i++;
    }
    snprintf(t.text, sizeof(t.text), "%.*f%s", n >= 99.95 || n == floor(n) ? 0 : 1, n, unit[i]);
    return t;
}

static struct text count_text(double n)
{
    static const char *const unit[] = {"", "k", "M", "G", "T", NULL};

    return scaled(n, 1000, unit);
}

static struct text bytes_text(double n)
{
    static const char *const unit[] = {" B", " KiB", " MiB", " GiB", " TiB", NULL};

    return scaled(n, 1024, unit);
}

static struct text time_text(const struct top_figure *f, bool p99)
{
    static const char *const unit[] = {" us", " ms", " s", NULL};

    return scaled(f == NULL || f->value == 0 ? NAN : (p99 ? f->p99 : f->p50) * 1e6, 1000, unit);
}

static struct text percent_text(double n)
{
    struct text t;

    snprintf(t.text, sizeof(t.text), n != n ? "-" : "%.0f %%", n * 100);
    return t;
}

static struct text share_text(const struct top_figure *f)
{
    struct text t = {""};

    if (f != NULL)
        snprintf(t.text, sizeof(t.text), "%.3f", f->value);
    return t;
}

/* ---- The screen ---- */

enum look { PLAIN, HEAD, ALARM };

/* One line, cut to the width; what others stored must not steer the terminal. */
static void line(const struct top_view *v, struct buffer *out, enum look look, const char *format, ...)
    LEAT_PRINTF(4, 5);

static void line(const struct top_view *v, struct buffer *out, enum look look, const char *format, ...)
{
    static const char *const begin[] = {"", "\x1b[1m", "\x1b[1;31m"};
    char text[1024];
    uint32_t columns = 0;
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (v->colour)
        buffer_put(out, begin[look], strlen(begin[look]));
    for (const char *c = text; *c != '\0'; c++) {
        columns += ((unsigned char)*c & 0xc0) != 0x80;
        if (columns > v->width)
            break;
        buffer_u8(out, (unsigned char)*c < ' ' || *c == 0x7f ? ' ' : (uint8_t)*c);
    }
    if (v->colour && look != PLAIN)
        buffer_put(out, "\x1b[0m", 4);
    buffer_u8(out, '\n');
}

static bool is_stale(const struct top_view *v)
{
    return v->wall_us - v->now->time_us > STALE_S * 1000000LL;
}

static void put_head(const struct top_view *v, struct buffer *out)
{
    double age = (double)(v->wall_us - v->now->time_us) * 1e-6;
    int level = (int)value_of(v, "", "disk", "level");

    line(v, out, HEAD, "leat top %s: process %lld%s", v->directory, (long long)v->now->pid,
         v->colour ? ", q ends" : "");
    if (is_stale(v))
        line(v, out, ALARM, "no new figures for %.0f s: the process has ended, or does not get on", age);
    line(v, out, level > 0 ? ALARM : PLAIN, "disk: %s of %s free%s", bytes_text((double)v->disk_free).text,
         bytes_text((double)v->disk_size).text, level == 0 ? "" : level == 1 ? ", LOW" : ", FULL: appends are refused");
}

static void put_module_head(const struct top_view *v, const char *module, struct buffer *out)
{
    double letters = value_of(v, module, "depot dead_letters", "rows"),
           failed = value_of(v, module, "module", "failed");

    line(v, out, PLAIN, "%s", "");
    line(v, out, failed > 0 ? ALARM : HEAD, "%s%s", module, failed > 0 ? ": STOPPED, see its log" : "");
    line(v, out, PLAIN, "in %s rows/s, %s/s; lag %s; logs %s, views %s",
         count_text(total(v, module, "group ", "appended_rows_total", true)).text,
         bytes_text(total(v, module, "group ", "appended_bytes_total", true)).text,
         count_text(total(v, module, "depot ", "lag_rows", false)).text,
         bytes_text(total(v, module, "group ", "depot_log_bytes", false)).text,
         bytes_text(total(v, module, "group ", "view_bytes", false)).text);
    if (letters > 0)
        line(v, out, ALARM, "dead letters: %s", count_text(letters).text);
}

static void put_group(const struct top_view *v, const char *module, const char *object, struct buffer *out)
{
    const struct top_figure *turn = find(v->now, module, object, "turn_seconds"),
                        *commit = find(v->now, module, object, "commit_seconds");
    bool waits = value_of(v, module, object, "waits_for_space") > 0;

    line(v, out, waits ? ALARM : PLAIN, "%-10.10s %8s %8s %8s %7s %7s %7s %7s %8s", object,
         count_text(rate_of(v, module, object, "turns_total", false)).text,
         count_text(rate_of(v, module, object, "rows_total", false)).text,
         count_text(value_of(v, module, object, "lag_rows")).text, time_text(turn, false).text,
         time_text(turn, true).text, time_text(commit, false).text, time_text(commit, true).text,
         waits ? "no space" : time_text(find(v->now, module, object, "checkpoint_seconds"), true).text);
}

static void put_depot(const struct top_view *v, const char *module, const char *object, struct buffer *out)
{
    line(v, out, PLAIN, "%-36.36s %10s %10s %10s", object + strlen("depot "),
         count_text(value_of(v, module, object, "rows")).text,
         count_text(rate_of(v, module, object, "rows", false)).text,
         count_text(value_of(v, module, object, "lag_rows")).text);
}

static void put_node(const struct top_view *v, const char *module, const char *object, struct buffer *out)
{
    const struct top_figure *run = find(v->now, module, object, "run_seconds");

    if (run != NULL && run->value > 0)
        line(v, out, PLAIN, "%-36.36s %9s %8s %6s %8s %8s", object + strlen("node "),
             count_text(rate_of(v, module, object, "rows_total", false)).text,
             count_text(value_of(v, module, object, "rejected_total")).text,
             percent_text(rate_of(v, module, object, "run_seconds", true)).text, time_text(run, false).text,
             time_text(run, true).text);
}

static void put_query(const struct top_view *v, const char *module, const char *object, struct buffer *out)
{
    const struct top_figure *f = find(v->now, module, object, "query_seconds");

    if (f != NULL && f->value > 0)
        line(v, out, PLAIN, "%-36.36s %9s %8s %6s %8s %8s", object,
             count_text(rate_of(v, module, object, "query_seconds", false)).text,
             share_text(find(v->now, module, object, "recall")).text, "", time_text(f, false).text,
             time_text(f, true).text);
}

typedef void put_object(const struct top_view *v, const char *module, const char *object, struct buffer *out);

/* Each object of a module whose name begins so, once, with a heading. */
static void put_objects(const struct top_view *v, const char *module, const char *begins, const char *heading,
                        put_object *put, struct buffer *out)
{
    const char *last = "";
    struct buffer lines = {0};

    for (uint32_t i = 0; i < v->now->figures; i++) {
        const struct top_figure *f = &v->now->figure[i];

        if (strcmp(f->module, module) != 0 || strncmp(f->object, begins, strlen(begins)) != 0 ||
            strcmp(f->object, last) == 0)
            continue;
        last = f->object;
        put(v, module, f->object, &lines);
    }
    if (lines.size > 0 && heading != NULL)
        line(v, out, HEAD, "%s", heading);
    buffer_put(out, lines.base, lines.size);
    buffer_fini(&lines);
}

void top_frame(const struct top_view *v, struct buffer *out)
{
    const char *last = "";

    put_head(v, out);
    for (uint32_t i = 0; i < v->now->figures; i++) {
        const char *module = v->now->figure[i].module;

        if (module[0] == '\0' || strcmp(module, last) == 0)
            continue;
        last = module;
        put_module_head(v, module, out);
        put_objects(v, module, "group ",
                    "             turns/s   rows/s      lag   turn:    p99 commit:    p99  checkp.", put_group, out);
        put_objects(v, module, "depot ", "depot                                      rows     rows/s        lag",
                    put_depot, out);
        put_objects(v, module, "node ",
                    "node                                    rows/s rejected   busy      p50      p99", put_node, out);
        put_objects(v, module, "query ",
                    "query                                       /s   recall             p50      p99", put_query, out);
    }
}

/* ---- JSON ---- */

static void put_number(struct buffer *out, const char *name, double value)
{
    char text[64];
    int size = value != value ? snprintf(text, sizeof(text), ", \"%s\": null", name)
                              : snprintf(text, sizeof(text), ", \"%s\": %.15g", name, value);

    buffer_put(out, text, (size_t)size);
}

static void put_spread(struct buffer *out, const char *what, const struct top_figure *f)
{
    char name[64];

    if (f == NULL || f->value == 0)
        return;
    snprintf(name, sizeof(name), "%s_p50_s", what);
    put_number(out, name, f->p50);
    snprintf(name, sizeof(name), "%s_p99_s", what);
    put_number(out, name, f->p99);
}

static void json_object(const struct top_view *v, const char *module, const char *object, struct buffer *out)
{
    static const char *const rates[][2] = {
        {"rows_total", "rows_per_s"}, {"turns_total", "turns_per_s"}, {"appended_rows_total", "appended_per_s"}};
    static const char *const values[] = {"rows",   "lag_rows",        "rejected_total", "free_bytes", "level",
                                         "failed", "depot_log_bytes", "view_bytes",     "recall"};
    static const char *const spreads[][2] = {{"turn_seconds", "turn"}, {"commit_seconds", "commit"},
                                             {"checkpoint_seconds", "checkpoint"}, {"run_seconds", "run"},
                                             {"query_seconds", "query"}};

    buffer_put(out, "{\"module\": ", 11);
    json_escape(span_text(module), out);
    buffer_put(out, ", \"object\": ", 12);
    json_escape(span_text(object), out);
    for (size_t i = 0; i < LENGTH_OF(rates); i++)
        if (find(v->now, module, object, rates[i][0]) != NULL)
            put_number(out, rates[i][1], rate_of(v, module, object, rates[i][0], false));
    for (size_t i = 0; i < LENGTH_OF(values); i++)
        if (find(v->now, module, object, values[i]) != NULL)
            put_number(out, values[i], value_of(v, module, object, values[i]));
    for (size_t i = 0; i < LENGTH_OF(spreads); i++)
        put_spread(out, spreads[i][1], find(v->now, module, object, spreads[i][0]));
    buffer_put(out, "}\n", 2);
}

void top_json(const struct top_view *v, struct buffer *out)
{
    const char *module = NULL, *object = NULL;

    for (uint32_t i = 0; i < v->now->figures; i++) {
        const struct top_figure *f = &v->now->figure[i];

        if (module != NULL && strcmp(f->module, module) == 0 && strcmp(f->object, object) == 0)
            continue;
        module = f->module;
        object = f->object;
        json_object(v, module, object, out);
    }
}
