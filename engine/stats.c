/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/derive.h"
#include "engine/node.h"

#include <stdio.h>
#include <unistd.h>

/* Figures of everything that runs, and the file that shows them to other processes: DIR/stats.jsonl, one JSON object a
 * line, written anew each second. */

struct sink {
    leat_stat_each *each;
    void *context;
    const char *module;
    char object[160];
};

static void number(struct sink *s, const char *name, enum leat_stat_kind kind, double value)
{
    struct leat_stat stat = {.name = name, .module = s->module, .object = s->object, .kind = kind, .value = value};

    s->each(s->context, &stat);
}

/* scale: from the histogram's unit to the name's. */
static void spread(struct sink *s, const char *name, const struct histogram *h, double scale)
{
    struct leat_stat stat = {
        .name = name,
        .module = s->module,
        .object = s->object,
        .kind = LEAT_HISTOGRAM,
        .count = atomic_load(&h->count),
        .sum = (double)atomic_load(&h->sum) * scale,
        .p50 = (double)histogram_quantile(h, 0.5) * scale,
        .p90 = (double)histogram_quantile(h, 0.9) * scale,
        .p99 = (double)histogram_quantile(h, 0.99) * scale,
        .max = (double)atomic_load(&h->max) * scale,
    };

    s->each(s->context, &stat);
}

static void group_figures(struct sink *s, struct group *g)
{
    const struct stats_group *t = group_stats(g);
    const struct intake_figures *in = intake_figures(group_intake(g));
    struct pstate_figures view;

    number(s, "turns_total", LEAT_COUNTER, (double)atomic_load(&t->turns));
    number(s, "rows_total", LEAT_COUNTER, (double)atomic_load(&t->rows));
    number(s, "aborts_total", LEAT_COUNTER, (double)atomic_load(&t->aborts));
    number(s, "dead_letters_total", LEAT_COUNTER, (double)atomic_load(&t->dead_letters));
    number(s, "repeats_total", LEAT_COUNTER, (double)(atomic_load(&t->repeats) + atomic_load(&in->repeats)));
    number(s, "journal_bytes_total", LEAT_COUNTER, (double)atomic_load(&t->journal_bytes));
    number(s, "gap_reads_total", LEAT_COUNTER, (double)atomic_load(&t->gap_reads));
    number(s, "open_turns", LEAT_GAUGE, (double)atomic_load(&t->open_turns));
    number(s, "open_rows", LEAT_GAUGE, (double)atomic_load(&t->open_rows));
    number(s, "lag_rows", LEAT_GAUGE, (double)group_lag(g));
    number(s, "waits_for_space", LEAT_GAUGE, atomic_load(&t->waits_for_space));
    number(s, "background_waiting", LEAT_GAUGE, (double)atomic_load(&t->background_waiting));
    number(s, "background_runs_total", LEAT_COUNTER, (double)atomic_load(&t->background_runs));
    number(s, "background_rows_total", LEAT_COUNTER, (double)atomic_load(&t->background_rows));
    spread(s, "background_seconds", &t->background_ns, 1e-9);
    spread(s, "turn_rows", &t->turn_rows, 1);
    spread(s, "turn_seconds", &t->turn_ns, 1e-9);
    spread(s, "commit_seconds", &t->commit_ns, 1e-9);
    spread(s, "apply_seconds", &t->apply_ns, 1e-9);
    if (group_derive(g) != NULL) {
        spread(s, "derive_seconds", &t->derive_ns, 1e-9);
        number(s, "derived_versions", LEAT_GAUGE, derive_versions(group_derive(g)));
    }
    spread(s, "checkpoint_seconds", &t->checkpoint_ns, 1e-9);
    number(s, "appended_rows_total", LEAT_COUNTER, (double)atomic_load(&in->rows));
    number(s, "appended_bytes_total", LEAT_COUNTER, (double)atomic_load(&in->bytes));
    spread(s, "append_seconds", &in->sync_ns, 1e-9);
    spread(s, "append_rows", &in->sync_rows, 1);
    number(s, "depot_log_bytes", LEAT_GAUGE, (double)log_bytes(group_depots(g)));
    pstate_view_figures(group_view(g), &view);
    number(s, "view_bytes", LEAT_GAUGE, (double)view.file_bytes);
    number(s, "view_free_pages", LEAT_GAUGE, (double)view.free_pages);
}

/* Bytes of the records that are there, and the age of the oldest. */
static void kept_figures(struct sink *s, struct module *m, uint32_t depot)
{
    int64_t oldest = INT64_MAX, now = clock_real()->wall_us(clock_real());
    uint32_t each = m->plan->tasks / m->groups;
    uint64_t bytes = 0;

    for (uint32_t g = 0; g < m->groups; g++) {
        struct log_usage u;

        log_usage(group_depots(m->group[g]), depot * each, each, &u);
        bytes += u.bytes;
        oldest = u.oldest_us < oldest ? u.oldest_us : oldest;
    }
    number(s, "kept_bytes", LEAT_GAUGE, (double)bytes);
    number(s, "oldest_seconds", LEAT_GAUGE, oldest < now ? (double)(now - oldest) * 1e-6 : 0);
}

static void depot_figures(struct sink *s, struct module *m, uint32_t depot)
{
    uint64_t rows = 0, lag = 0;

    for (uint32_t p = 0; p < m->plan->tasks; p++) {
        struct leat_bounds b;

        if (leat_depot_bounds(&m->depot[depot], p, &b) != 0)
            continue;
        rows += b.next - b.first;
        lag += b.next - b.processed;
    }
    number(s, "rows", LEAT_GAUGE, (double)rows);
    number(s, "lag_rows", LEAT_GAUGE, (double)lag);
    kept_figures(s, m, depot);
}

static void recall_figures(struct sink *s, struct module *m, uint32_t topology)
{
    struct gauge_figures f;

    if (m->gauge == NULL || m->plan->topology[topology].yardstick == UINT32_MAX)
        return;
    gauge_read(m->gauge, topology, &f);
    number(s, "recall_samples_total", LEAT_COUNTER, (double)f.samples);
    number(s, "recall_skipped_total", LEAT_COUNTER, (double)f.skipped);
    number(s, "recall_failed_total", LEAT_COUNTER, (double)f.failed);
    if (f.samples == 0)
        return;
    number(s, "recall", LEAT_GAUGE, f.recent);
    number(s, "recall_least", LEAT_GAUGE, f.least);
    number(s, "recall_last", LEAT_GAUGE, f.last);
    number(s, "recall_mean", LEAT_GAUGE, f.mean);
}

static void node_figures(struct sink *s, struct module *m)
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < m->plan->topologies; i++) {
        const struct plan_topology *t = &m->plan->topology[i];

        if (t->kind == LEAT_QUERY) {
            snprintf(s->object, sizeof(s->object), "query %s", t->name);
            spread(s, "query_seconds", &m->query_ns[i], 1e-9);
            recall_figures(s, m, i);
        }
        for (uint32_t j = 0; j < t->nodes; j++, at++) {
            snprintf(s->object, sizeof(s->object), "node %s.%s", t->name, t->node[j].name);
            number(s, "rows_total", LEAT_COUNTER, (double)atomic_load(&m->nodes[at].rows));
            number(s, "rejected_total", LEAT_COUNTER, (double)atomic_load(&m->nodes[at].rejected));
            spread(s, "batch_rows", &m->nodes[at].batch_rows, 1);
            spread(s, "run_seconds", &m->nodes[at].run_ns, 1e-9);
        }
    }
}

void leat_stats(struct leat *l, leat_stat_each *each, void *context)
{
    struct sink s = {.each = each, .context = context};
    uint32_t modules;

    if (!l->config.memory) {
        s.module = "";
        snprintf(s.object, sizeof(s.object), "disk");
        number(&s, "free_bytes", LEAT_GAUGE, (double)atomic_load(&l->disk.free_bytes));
        number(&s, "level", LEAT_GAUGE, atomic_load(&l->disk.level));
    }
    pthread_mutex_lock(&l->mutex);
    modules = l->modules;
    pthread_mutex_unlock(&l->mutex);
    for (uint32_t i = 0; i < modules; i++) {
        struct module *m = l->module[i];

        s.module = m->plan->module->name;
        snprintf(s.object, sizeof(s.object), "module");
        number(&s, "failed", LEAT_GAUGE, atomic_load(&m->failed) != 0);
        for (uint32_t g = 0; g < m->groups; g++) {
            snprintf(s.object, sizeof(s.object), "group %u", g);
            group_figures(&s, m->group[g]);
        }
        for (uint32_t d = 0; d < m->plan->depots; d++) {
            snprintf(s.object, sizeof(s.object), "depot %s", m->plan->depot[d].name);
            depot_figures(&s, m, d);
        }
        node_figures(&s, m);
    }
}

/* ---- The file ---- */

struct stats_writer {
    struct leat *node;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool stop, started;
    _Atomic bool mute;
};

static void write_line(void *context, const struct leat_stat *s)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    FILE *f = context;

    fprintf(f, "{\"name\": \"%s\", \"module\": \"%s\", \"object\": \"%s\", \"kind\": \"%s\", ", s->name, s->module,
            s->object, kinds[s->kind]);
    if (s->kind != LEAT_HISTOGRAM)
        fprintf(f, "\"value\": %.17g}\n", s->value);
    else
        fprintf(f, "\"count\": %llu, \"sum\": %.9g, \"p50\": %.9g, \"p90\": %.9g, \"p99\": %.9g, \"max\": %.9g}\n",
                (unsigned long long)s->count, s->sum, s->p50, s->p90, s->p99, s->max);
}

static void write_file(struct leat *l)
{
    char path[4096], tmp[4096];

    snprintf(path, sizeof(path), "%s/stats.jsonl", l->directory);
    snprintf(tmp, sizeof(tmp), "%s/stats.jsonl.tmp", l->directory);
    FILE *f = fopen(tmp, "w");
    if (f == NULL)
        return;
    fprintf(f, "{\"time_us\": %lld, \"pid\": %d}\n", (long long)clock_real()->wall_us(clock_real()), (int)getpid());
    leat_stats(l, write_line, f);
    /* A full disk may take the end, but not what went before. */
    bool whole = ferror(f) == 0;
    if (fclose(f) == 0 && whole)
        rename(tmp, path);
}

static void *writer_main(void *context)
{
    struct stats_writer *w = context;

    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        struct timespec until = clock_deadline(1000);

        pthread_cond_timedwait(&w->cond, &w->lock, &until);
        if (w->stop)
            break;
        pthread_mutex_unlock(&w->lock);
        disk_look(&w->node->disk);
        if (!atomic_load(&w->mute))
            write_file(w->node);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

struct stats_writer *stats_writer_open(struct leat *l)
{
    struct stats_writer *w = base_alloc(sizeof(*w));

    w->node = l;
    pthread_mutex_init(&w->lock, NULL);
    clock_condition(&w->cond);
    w->started = pthread_create(&w->thread, NULL, writer_main, w) == 0;
    return w;
}

void stats_writer_mute(struct stats_writer *w)
{
    atomic_store(&w->mute, true);
}

void stats_writer_stop(struct stats_writer *w)
{
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
    if (w->started)
        pthread_join(w->thread, NULL);
}

void stats_writer_close(struct stats_writer *w)
{
    if (w == NULL)
        return;
    if (!atomic_load(&w->mute) && node_modules(w->node) > 0) /* else those of the last one to work are left */
        write_file(w->node);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->cond);
    free(w);
}
