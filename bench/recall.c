/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/recall.h"

#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/commit.h"
#include "cmd/cmd.h"
#include "modules/modules.h"
#include "topologies/plan.h"

static const struct recall_module recall_modules[] = {
    {"lsh", "vectors", "search", " cosine ", .knob = "probes", .most = 65536, .top = "top", .candidates = "candidates",
     .sweep = "4,8,16,32,64,128"},
    {"ivf", "vectors", "search", " l2 cosine dot hamming ", .knob = "nprobe", .least = 1, .most = 65536,
     .asked = true, .typed = true, .sweep = "1,2,3,4,6,8,10,12,16,20,24,32,40,48,64,80,96,128,192,256"},
};

enum { SETTINGS = 64, MOST_RUNS = 101 };

/* One invocation. */
struct recall {
    struct call *call;
    const struct recall_module *module;
    struct recall_set set;
    uint32_t value[SETTINGS], values;  /* of the knob */
    uint32_t threads, runs;
    struct leat_option option[ARGUMENTS + 8];
    char text[3][16];                  /* numbers among the options */
    struct recall_point point[SETTINGS];
    struct recall_memory before;
    struct table *table;
};

/* ---- What is wanted ---- */

/* The truth is checked by --metric, and the module would answer by another. */
static int check_metric(struct recall *r)
{
    const struct leat_option *set = call_settings(r->call);

    if (set == NULL)
        return EXIT_USAGE;
    for (; set->name != NULL; set++)
        if (strcmp(set->name, "metric") == 0 && strcmp(set->value, r->set.metric) != 0)
            return call_usage(r->call, "--set metric=%s contradicts --metric, which is '%s': say --metric %s alone",
                              set->value, r->set.metric, set->value);
    return 0;
}

static int find_module(struct recall *r)
{
    const char *name = call_option(r->call, "module");
    char metric[32];

    if (name == NULL)
        return call_usage(r->call, "say what is measured: --module M");
    if (call_module(name) == NULL)
        return EXIT_NO;
    for (size_t i = 0; i < LENGTH_OF(recall_modules); i++)
        if (strcmp(recall_modules[i].name, name) == 0)
            r->module = &recall_modules[i];
    if (r->module == NULL)
        return call_usage(r->call, "module '%s' does not search vectors", name);
    snprintf(metric, sizeof(metric), " %s ", r->set.metric);
    if (strstr(r->module->metrics, metric) == NULL)
        return call_usage(r->call, "module '%s' does not measure by '%s'; it has:%s", name, r->set.metric,
                          r->module->metrics);
    return 0;
}

static int read_sweep(struct recall *r)
{
    const char *text = call_option(r->call, "sweep"), *at = text != NULL ? text : r->module->sweep;
    char *end;

    for (; *at != '\0'; at = end + (*end == ',')) {
        unsigned long value = strtoul(at, &end, 10);

        if (*at < '0' || *at > '9' || (*end != '\0' && *end != ','))
            return call_usage(r->call, "--sweep is '%s', but numbers with commas between are wanted", text);
        if (value < r->module->least || value > r->module->most)
            return call_usage(r->call, "--sweep is '%s', but '%s' of module '%s' is %u to %u", text, r->module->knob,
                              r->module->name, r->module->least, r->module->most);
        if (r->values == SETTINGS)
            return call_usage(r->call, "--sweep has more than %d values", SETTINGS);
        r->value[r->values++] = (uint32_t)value;
    }
    if (r->values == 0)
        return call_usage(r->call, "--sweep has no values");
    if (!r->module->asked && r->values > 1 && call_option(r->call, "data") != NULL)
        return call_usage(r->call,
                          "'%s' is an option of module '%s', which a directory keeps: give --data with one value of "
                          "--sweep",
                          r->module->knob, r->module->name);
    return 0;
}

static int read_arguments(struct recall *r)
{
    struct call *c = r->call;
    const char *metric = call_option(c, "metric");

    r->set.metric = metric != NULL ? metric : "l2";
    r->set.k = (uint32_t)call_number(c, "k", 10, 10000);
    r->set.queries = (uint32_t)call_number(c, "queries", 0, UINT32_MAX);
    r->threads = (uint32_t)call_number(c, "threads", 1, 256);
    r->runs = (uint32_t)call_number(c, "runs", 5, MOST_RUNS);
    if (r->set.k == 0 || r->threads == 0 || r->runs == 0)
        return call_usage(c, "--k, --threads and --runs are 1 or more");
    if (call_option(c, "base") == NULL || call_option(c, "query") == NULL || call_option(c, "truth") == NULL)
        return call_usage(c,
                          "say what is searched, for what, and what is right: --base FILE --query FILE --truth FILE");
    int rv = check_metric(r);
    if (rv == 0)
        rv = find_module(r);
    return rv != 0 ? rv : read_sweep(r);
}

/* ---- The module ---- */

static void add_option(struct recall *r, const char *name, const char *value)
{
    struct leat_option *o = r->option;

    while (o->name != NULL && strcmp(o->name, name) != 0)
        o++;
    if (o->name == NULL)
        *o = (struct leat_option){name, value};
}

static const char *number_text(char text[16], uint32_t number)
{
    snprintf(text, 16, "%u", number);
    return text;
}

/* Those of --set hold against what follows from the files. */
static void make_options(struct recall *r, uint32_t value)
{
    const struct leat_option *set = call_settings(r->call);

    memset(r->option, 0, sizeof(r->option));
    for (int i = 0; set[i].name != NULL; i++)
        r->option[i] = set[i];
    add_option(r, "dims", number_text(r->text[0], r->set.dims));
    if (r->module->typed) {
        add_option(r, "type", recall_type(&r->set));
        add_option(r, "metric", r->set.metric);
        add_option(r, "ids", "u64");
    }
    if (r->module->top != NULL)
        add_option(r, r->module->top, number_text(r->text[1], r->set.k));
    if (!r->module->asked)
        add_option(r, r->module->knob, number_text(r->text[2], value));
}

static int find_request(struct recall *r, const struct plan *plan, struct recall_request *out, struct leat_error *err)
{
    for (uint32_t i = 0; i < plan->topologies; i++)
        if (strcmp(plan->topology[i].name, r->module->query) == 0)
            out->takes = &plan->topology[i].takes;
    leat_assert(out->takes != NULL);
    out->vec = row_schema_find(out->takes, "vec");
    out->k = row_schema_find(out->takes, "k");
    out->stats = row_schema_find(out->takes, "stats");
    out->knob = r->module->asked ? row_schema_find(out->takes, r->module->knob) : -1;
    leat_assert(out->vec >= 0 && (out->knob >= 0 || !r->module->asked));
    if (r->set.query != NULL)
        return 0;
    return recall_set_open(&r->set, call_option(r->call, "query"), call_option(r->call, "truth"),
                           &out->takes->column[out->vec], err);
}

/* ---- Printing ---- */

static void print_head(const struct recall *r)
{
    const struct recall_set *s = &r->set;

    bench_machine();
    printf("%s, %s: %llu x %u %s, %s, k = %u, %u queries, %u thread%s, durability full, medians of %u\n",
           r->module->name, s->base.path, (unsigned long long)s->base.rows, s->dims, recall_type(s), s->metric, s->k,
           s->queries, r->threads, r->threads > 1 ? "s" : "", r->runs);
}

/* Numbers as JSON has them; empty cells are null. */
static const char *cell(char text[32], const char *format, double value, bool known)
{
    snprintf(text, 32, known ? format : "null", value);
    return text;
}

static void built_json(const struct recall *r, const struct recall_built *b)
{
    static const char *const columns[] = {"kind", "module", "base", "metric", "vectors", "dims", "k", "queries",
                                          "threads", "runs", "vectors_per_second", "seconds", "settled_seconds",
                                          "cpu_seconds", "memory_mib", "mapped_mib", "views_mib", "logs_mib", "version",
                                          "commit", "processor"};
    char t[14][32], name[128];
    const struct recall_set *s = &r->set;

    bench_processor(name, sizeof(name));
    struct table *table = table_open(r->call, columns, LENGTH_OF(columns), 0x3fff0);
    table_row(table, (const char *const[]){
        "build", r->module->name, s->base.path, s->metric, cell(t[0], "%.0f", (double)s->base.rows, true),
        cell(t[1], "%.0f", s->dims, true), cell(t[2], "%.0f", s->k, true), cell(t[3], "%.0f", s->queries, true),
        cell(t[4], "%.0f", r->threads, true), cell(t[5], "%.0f", r->runs, true),
        cell(t[6], "%.0f", (double)s->base.rows / b->seconds, !b->there), cell(t[7], "%.3f", b->seconds, !b->there),
        cell(t[8], "%.3f", b->settled, !b->there), cell(t[9], "%.3f", b->busy, !b->there),
        cell(t[10], "%.1f", b->memory, true), cell(t[11], "%.1f", b->mapped, true), cell(t[12], "%.1f", b->views, true),
        cell(t[13], "%.1f", b->logs, true), leat_version(), BENCH_COMMIT, name});
    table_close(table);
}

static void print_built(const struct recall *r, const struct recall_built *b, uint32_t value)
{
    double rows = (double)r->set.base.rows;

    if (r->call->json) {
        built_json(r, b);
        return;
    }
    if (!r->module->asked)
        printf("%s %u\n", r->module->knob, value);
    if (b->there)
        printf("the vectors are in the directory already\n");
    else
        bench_line("build", rows / b->seconds, "vectors/s",
                   "%.2f s until all can be searched, %.2f s until all upkeep is done; %.2f s of processors",
                   b->seconds, b->settled, b->busy);
    bench_line("memory", b->memory, "MiB", "anonymous; and %.0f MiB of mapped files", b->mapped);
    bench_line("disk", b->views, "MiB",
               "PStates, %.0f bytes a vector; and %.0f MiB of logs, whose files are made ahead",
               b->views * (1 << 20) / rows, b->logs);
}

static struct table *open_points(const struct recall *r)
{
    static const char *const json[] = {"kind",     "knob",   "value",  "recall",     "qps",
                                       "qps_busy", "p50_us", "p99_us", "candidates", "ranked"};
    static const char *names[8];
    static char recall[16];

    if (r->call->json)
        return table_open(r->call, json, LENGTH_OF(json), 0x3fc);
    snprintf(recall, sizeof(recall), "recall@%u", r->set.k);
    memcpy(names, (const char *const[]){r->module->knob, recall, "queries/s", "by processor", "p50 us", "p99 us",
                                        "candidates", "ranked"}, sizeof(names));
    return table_open(r->call, names, LENGTH_OF(names), 0);
}

static void print_point(const struct recall *r, struct table *table, const struct recall_point *p)
{
    char t[8][32];

    const char *const cells[] = {"search", r->module->knob, cell(t[0], "%.0f", p->value, true),
                                 cell(t[1], "%.4f", p->recall, true), cell(t[2], "%.0f", p->qps, true),
                                 cell(t[3], "%.0f", p->busy, true), cell(t[4], "%.1f", p->p50, true),
                                 cell(t[5], "%.1f", p->p99, true),
                                 cell(t[6], "%.0f", p->candidates, p->candidates >= 0),
                                 cell(t[7], "%.0f", p->ranked, p->ranked >= 0)};
    for (int i = 6; i < 8 && !r->call->json; i++)
        if (strcmp(t[i], "null") == 0)
            snprintf(t[i], sizeof(t[i]), "-");
    table_row(table, cells + (r->call->json ? 0 : 2));
}

/* ---- Measuring ---- */

static double median_of(const struct recall_point *points, uint32_t count, size_t field)
{
    double values[MOST_RUNS];

    for (uint32_t i = 0; i < count; i++)
        memcpy(&values[i], (const char *)&points[i] + field, sizeof(double));
    return bench_median(values, (int)count);
}

/* Settings from first on, in turn, --runs times. */
static int measure(struct recall *r, struct recall_run *run, uint32_t first, uint32_t count, struct leat_error *err)
{
    static struct recall_point points[SETTINGS][MOST_RUNS];
    int rv = 0;

    for (uint32_t round = 0; round < r->runs; round++)
        for (uint32_t i = 0; i < count && rv == 0; i++) {
            rv = recall_run(run, r->value[first + i], round == 0, &points[i][round], err);
            if (!r->call->quiet && isatty(STDERR_FILENO))
                fprintf(stderr, "\rrun %u of %u, %s %u   %s", round + 1, r->runs, r->module->knob, r->value[first + i],
                        round + 1 == r->runs && i + 1 == count ? "\n" : "");
        }
    for (uint32_t i = 0; i < count && rv == 0; i++) {
        struct recall_point *p = &r->point[first + i];

        *p = points[i][0];
        p->recall = median_of(points[i], r->runs, offsetof(struct recall_point, recall));
        p->qps = median_of(points[i], r->runs, offsetof(struct recall_point, qps));
        p->busy = median_of(points[i], r->runs, offsetof(struct recall_point, busy));
        p->p50 = median_of(points[i], r->runs, offsetof(struct recall_point, p50));
        p->p99 = median_of(points[i], r->runs, offsetof(struct recall_point, p99));
    }
    return rv;
}

static void add_gauged(void *context, const struct leat_stat *stat)
{
    if (strcmp(stat->name, "recall_samples_total") == 0 || strcmp(stat->name, "recall_failed_total") == 0)
        *(double *)context += stat->value;
}

/* Few searches may end before the first of them was measured again, which closing would cancel. */
static void wait_for_gauge(struct leat *l)
{
    double gauged = 0;

    for (uint32_t ms = 0; gauged == 0 && ms < 10000; ms++) {
        usleep(1000);
        leat_stats(l, add_gauged, &gauged);
    }
}

/* One directory, and the settings from first on in it. */
static int measure_directory(struct recall *r, const char *directory, uint32_t first, uint32_t count,
                             struct leat_error *err)
{
    const struct leat_module *module = call_module(r->module->name);
    struct leat_launch launch = {.tasks = (uint32_t)call_number(r->call, "tasks", 0, LIMIT_TASKS),
                                 .groups = (uint32_t)call_number(r->call, "groups", 0, LIMIT_GROUPS),
                                 .options = r->option,
                                 .gauge = (uint32_t)call_number(r->call, "gauge", 0, UINT32_MAX)};
    struct plan_config config = {.module = module, .options = r->option, .tasks = 64};
    struct recall_run run = {.module = r->module, .set = &r->set, .threads = r->threads};
    struct recall_built built = {0};
    struct leat *l = NULL;
    struct plan *plan;
    int rv;

    make_options(r, r->value[first]);
    if ((rv = plan_open(&config, &plan, err)) != 0)
        return rv;
    if ((rv = find_request(r, plan, &run.request, err)) != 0)
        goto out;
    if (first == 0 && !r->call->json)
        print_head(r);
    r->before = recall_memory();
    if ((rv = leat_open(directory, NULL, &l, err)) != 0 || (rv = leat_launch(l, module, &launch, err)) != 0)
        goto out;
    run.leat = l;
    bool kept = call_option(r->call, "data") != NULL;
    if ((rv = recall_build(l, r->module, &r->set, directory, kept, &r->before, &built, err)) != 0)
        goto out;
    print_built(r, &built, r->value[first]);
    rv = measure(r, &run, first, count, err);
    if (rv == 0 && launch.gauge > 0)
        wait_for_gauge(l);
out:
    leat_close(l);
    plan_close(plan);
    return rv;
}

static int measure_all(struct recall *r, struct leat_error *err)
{
    const char *data = call_option(r->call, "data");
    uint32_t step = r->module->asked ? r->values : 1;
    int rv = recall_set_base(&r->set, call_option(r->call, "base"), err);

    for (uint32_t first = 0; first < r->values && rv == 0; first += step) {
        char *made = data == NULL ? bench_directory() : NULL;

        rv = measure_directory(r, data != NULL ? data : made, first, step, err);
        if (made != NULL)
            bench_remove(made);
    }
    return rv;
}

int cmd_bench_recall(struct call *c)
{
    static struct recall r;
    const char *svg = call_option(c, "svg");
    struct leat_error err = {0};
    char title[256];

    r.call = c;
    int rv = read_arguments(&r);
    if (rv == 0 && call_option(c, "data") != NULL)
        rv = call_directory(call_option(c, "data"));
    if (rv != 0)
        return rv;
    rv = svg != NULL ? recall_plot_check(svg, &err) : 0;
    if (rv == 0)
        rv = measure_all(&r, &err);
    if (rv == 0) {
        struct table *table = open_points(&r);

        for (uint32_t i = 0; i < r.values; i++)
            print_point(&r, table, &r.point[i]);
        table_close(table);
        snprintf(title, sizeof(title), "%s: %llu x %u, %s, %u thread%s, by %s", r.module->name,
                 (unsigned long long)r.set.base.rows, r.set.dims, r.set.metric, r.threads, r.threads > 1 ? "s" : "",
                 r.module->knob);
        if (svg != NULL)
            rv = recall_plot(svg, title, r.set.k, r.point, r.values, &err);
    }
    recall_set_close(&r.set);
    return rv != 0 ? call_error(&err) : 0;
}
