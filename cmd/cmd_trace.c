/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <stdio.h>

#include "engine/trace.h"

/* leat trace: what one record caused, turn by turn. */

static const char *const columns[] = {"kind", "depth", "group", "turn", "time_us", "shared", "what", "value"};

struct tracing {
    struct call *call;
    struct table *table;
};

static void tell_json(const struct tracing *t, const struct trace_event *e)
{
    struct buffer value = {0};
    char depth[16], group[16], turn[24], time[24];

    buffer_put(&value, e->value.size > 0 ? e->value.base : "null", e->value.size > 0 ? e->value.size : 4);
    buffer_u8(&value, 0);
    snprintf(depth, sizeof(depth), "%u", e->depth);
    snprintf(group, sizeof(group), "%u", e->group);
    snprintf(turn, sizeof(turn), "%llu", (unsigned long long)e->turn);
    snprintf(time, sizeof(time), "%lld", (long long)e->time_us);
    table_row(t->table, (const char *const[]){trace_kinds[e->kind], depth, group, turn, e->time_us != 0 ? time : "null",
                                              e->shared ? "true" : "false", e->what, (const char *)value.base});
    buffer_fini(&value);
}

/* What others stored must not steer the terminal. */
static void put_plain(struct leat_span text)
{
    const char *c = text.base;

    for (size_t i = 0; i < text.size; i++)
        putchar((unsigned char)c[i] < ' ' || c[i] == 0x7f ? ' ' : c[i]);
}

static void tell_line(const struct trace_event *e)
{
    enum { VALUE_MOST = 400 };
    struct leat_span value = e->value;
    char time[40];

    printf("%*s%c ", (int)(e->depth * 2), "", e->shared ? '~' : ' ');
    if (e->kind == TRACE_TURN)
        printf("group %u, turn %llu ", e->group, (unsigned long long)e->turn);
    else
        printf("%s ", trace_kinds[e->kind]);
    if ((e->kind == TRACE_TURN || e->kind == TRACE_RECORD) && time_text(e->time_us, time))
        printf("at %s: ", time);
    put_plain((struct leat_span){e->what, strlen(e->what)});
    if (value.size > 0) {
        printf(": ");
        value.size = value.size < VALUE_MOST ? value.size : VALUE_MOST;
        put_plain(value);
        if (value.size < e->value.size)
            printf(" ...");
    }
    putchar('\n');
}

static void each_event(void *context, const struct trace_event *e)
{
    const struct tracing *t = context;

    if (t->table != NULL)
        tell_json(t, e);
    else
        tell_line(e);
}

static int argument_number(const struct call *c, int i, uint64_t *out)
{
    const char *text = c->argument[i];
    char *end;

    *out = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || *out == UINT64_MAX)
        return call_usage(c, "'%s' is no whole number", text);
    return 0;
}

static int trace(struct call *c, const struct layout *l, uint64_t partition, uint64_t offset)
{
    struct tracing t = {.call = c};
    struct leat_error err = {0};
    int depot = layout_depot_find(l, c->argument[1]);

    if (depot < 0)
        return call_depot_missing(c->argument[0], c->argument[1]);
    if (partition >= l->tasks) {
        fprintf(stderr, "leat: there is no partition %llu; the last one is %u\n", (unsigned long long)partition,
                l->tasks - 1);
        return EXIT_NO;
    }
    t.table = c->json ? table_open(c, columns, LENGTH_OF(columns), 0xbe) : NULL;
    int rv = trace_record(l, (uint32_t)depot, (uint32_t)partition, offset,
                          (uint32_t)call_number(c, "limit", 20, UINT32_MAX), each_event, &t, &err);
    if (t.table != NULL)
        table_close(t.table);
    if (rv == LEAT_ETRIMMED) {
        fprintf(stderr, "leat: %s\n", err.text);
        return EXIT_NO;
    }
    return rv == 0 ? 0 : call_error(&err);
}

int cmd_trace(struct call *c)
{
    const char *data = call_option(c, "data");
    struct leat_error err = {0};
    uint64_t partition, offset;
    struct layout *l;
    int rv;

    if (data == NULL)
        return call_usage(c, "say where the data is: --data DIR");
    if ((rv = argument_number(c, 2, &partition)) != 0 || (rv = argument_number(c, 3, &offset)) != 0)
        return rv;
    if ((rv = call_there(data, c->argument[0])) != 0)
        return rv;
    if (layout_open(data, c->argument[0], &l, &err) != 0)
        return call_error(&err);
    rv = trace(c, l, partition, offset);
    layout_close(l);
    return rv;
}
