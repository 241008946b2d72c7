/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/node.h"

#include "base/file.h"

#include <ini.h>
#include <stdio.h>
#include <unistd.h>

/* How long the depots of a module keep their records: as declared, or as a launch said, which then holds for those
 * after it: MODULE/module.retain. */

struct said {
    struct leat_option option[LIMIT_DEPOTS + 2];
    uint32_t options;
    struct arena *arena;
};

static void say(struct said *s, const char *depot, const char *text)
{
    uint32_t i = 0;

    if (strcmp(depot, "*") == 0) /* takes the place of all that was said before */
        s->options = 0;
    while (i < s->options && strcmp(s->option[i].name, depot) != 0)
        i++;
    if (i == LENGTH_OF(s->option))
        return;
    s->option[i] = (struct leat_option){depot, text};
    s->options = i == s->options ? i + 1 : s->options;
}

static int on_line(void *user, const char *section, const char *name, const char *value)
{
    struct said *s = user;

    (void)section;
    say(s, arena_format(s->arena, "%s", name), arena_format(s->arena, "%s", value));
    return 1;
}

static int write_said(const char *path, const struct said *s, struct leat_error *err)
{
    struct buffer text = {0};

    for (uint32_t i = 0; i < s->options; i++) {
        const char *line = arena_format(s->arena, "%s = %s\n", s->option[i].name, s->option[i].value);

        buffer_put(&text, line, strlen(line));
    }
    int rv = file_replace(path, buffer_bytes(&text), err);
    buffer_fini(&text);
    return rv;
}

int module_retain_of(const struct plan *p, const struct leat_option *said, struct plan_retain *out,
                     struct leat_error *err)
{
    if (strcmp(said->name, "*") != 0 && plan_depot_find(p, said->name) < 0)
        return leat_fail(err, LEAT_ENOTFOUND, "retention for depot '%s', which module '%s' does not have", said->name,
                         p->module->name);
    int rv = plan_retain_parse(said->value, out, err);
    return rv == 0 ? 0 : base_wrap(err, rv, "module '%s', depot '%s'", p->module->name, said->name);
}

static int apply(struct module *m, const struct said *s, struct leat_error *err)
{
    int rv = 0;

    for (uint32_t i = 0; i < s->options && rv == 0; i++) {
        bool all = strcmp(s->option[i].name, "*") == 0;
        struct plan_retain retain;

        rv = module_retain_of(m->plan, &s->option[i], &retain, err);
        for (uint32_t d = 0; d < m->plan->depots && rv == 0; d++)
            if (all || strcmp(m->plan->depot[d].name, s->option[i].name) == 0)
                m->retain[d] = retain;
    }
    return rv;
}

int module_retain(struct module *m, const struct leat_option *given, struct leat_error *err)
{
    struct said s = {.arena = arena_open(1 << 20)};
    char path[4096];
    int rv = 0;

    m->retain = base_alloc(m->plan->depots * sizeof(*m->retain));
    for (uint32_t i = 0; i < m->plan->depots; i++)
        m->retain[i] = m->plan->depot[i].retain;
    snprintf(path, sizeof(path), "%s/module.retain", m->directory);
    if (access(path, F_OK) == 0 && ini_parse(path, on_line, &s) != 0)
        rv = leat_fail(err, LEAT_ECORRUPT, "'%s' does not check out", path);
    for (uint32_t i = 0; given != NULL && given[i].name != NULL; i++)
        say(&s, given[i].name, given[i].value);
    if (rv == 0)
        rv = apply(m, &s, err);
    if (rv == 0 && given != NULL && given[0].name != NULL && !m->node->config.memory)
        rv = write_said(path, &s, err);
    arena_close(s.arena);
    return rv;
}
