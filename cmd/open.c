/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/layout.h"
#include "engine/node.h"
#include "modules/modules.h"
#include "topologies/plan.h"

const struct leat_module *call_module(const char *name)
{
    const struct leat_module *m = modules_find(name);

    if (m == NULL)
        fprintf(stderr, "leat: there is no module '%s'; 'leat module list' shows them\n", name);
    return m;
}

/* name=value of an option that may be given often. */
static const struct leat_option *pairs(const struct call *c, const char *option,
                                       struct leat_option settings[ARGUMENTS + 1])
{
    int count = 0;

    if (settings[0].name != NULL) /* they were read before */
        return settings;
    for (int i = 0; i < c->options; i++) {
        if (strcmp(c->option[i].name, option) != 0)
            continue;
        char *text = base_strdup(c->option[i].value), *equals = strchr(text, '=');

        if (equals == NULL) {
            call_usage(c, "--%s wants name=value, not '%s'", option, text);
            free(text);
            return NULL;
        }
        *equals = '\0';
        settings[count++] = (struct leat_option){text, equals + 1};
    }
    settings[count] = (struct leat_option){NULL, NULL};
    return settings;
}

const struct leat_option *call_settings(const struct call *c)
{
    static struct leat_option settings[ARGUMENTS + 1];

    return pairs(c, "set", settings);
}

/* Of --retain, as call_settings. */
static const struct leat_option *call_retains(const struct call *c)
{
    static struct leat_option retains[ARGUMENTS + 1];

    return pairs(c, "retain", retains);
}

int call_plan(const struct call *c, const char *module, struct plan **out)
{
    const struct leat_module *m = call_module(module);
    struct plan_config config = {.module = m, .tasks = (uint32_t)call_number(c, "tasks", 64, LIMIT_TASKS)};
    struct leat_error err = {0};

    if (m == NULL)
        return EXIT_NO;
    config.options = call_settings(c);
    if (config.options == NULL)
        return EXIT_USAGE;
    return plan_open(&config, out, &err) == 0 ? 0 : call_error(&err);
}

int call_depot_missing(const char *module, const char *depot)
{
    fprintf(stderr, "leat: module '%s' has no depot '%s'; 'leat module show %s' shows them\n", module, depot, module);
    return EXIT_NO;
}

static void add_letters(void *context, const struct leat_stat *s)
{
    if (strcmp(s->name, "dead_letters_total") == 0)
        *(double *)context += s->value;
}

double call_dead_letters(struct leat *l)
{
    double letters = 0;

    leat_stats(l, add_letters, &letters);
    return letters;
}

void call_tell_dead_letters(const struct call *c, struct leat *l, const char *module)
{
    double letters = call_dead_letters(l);

    if (letters > 0)
        fprintf(stderr, "%.0f row%s to the dead letters; 'leat depot tail %s dead_letters --data %s' says why\n",
                letters, letters == 1 ? " went" : "s went", module, call_option(c, "data"));
}

/* What a launch would refuse once there is a directory. */
static int check_launch(const struct call *c, const struct plan *p)
{
    struct leat_launch launch = {.groups = (uint32_t)call_number(c, "groups", 0, LIMIT_GROUPS),
                                 .retain = call_retains(c)};
    struct leat_error err = {0};

    if (launch.retain == NULL)
        return EXIT_USAGE;
    return module_check_launch(p, &launch, &err) == 0 ? 0 : call_error(&err);
}

int call_target(const struct call *c, const char *module, const char *depot, struct plan **out, uint32_t *number)
{
    struct plan *p;
    int rv;

    *out = NULL;
    if (call_option(c, "data") == NULL)
        return call_usage(c, "say where the data is: --data DIR");
    if ((rv = call_plan(c, module, &p)) != 0)
        return rv;
    int at = plan_depot_find(p, depot);
    if (at < 0) {
        plan_close(p);
        return call_depot_missing(module, depot);
    }
    *number = (uint32_t)at;
    bool made = layout_there(call_option(c, "data"), module);
    rv = made ? 0 : check_launch(c, p);
    if (made || rv != 0)
        plan_close(p);
    else
        *out = p;
    return rv;
}

/* Somebody's home directory is no place for data: refuse a directory that holds files and none of Leat's. */
int call_directory(const char *data)
{
    DIR *d = opendir(data);
    bool ours = false, others = false;

    if (d == NULL)
        return 0; /* not there, or leat_open says what is wrong */
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        ours = ours || strcmp(e->d_name, "leat.lock") == 0;
        others = others || (e->d_name[0] != '.' && strcmp(e->d_name, "lost+found") != 0);
    }
    closedir(d);
    if (ours || !others)
        return 0;
    fprintf(stderr, "leat: '%s' holds other files and no data of Leat; name a new or empty directory\n", data);
    return EXIT_OPEN;
}

int call_there(const char *data, const char *module)
{
    struct stat st;

    if (stat(data, &st) != 0 && errno == ENOENT)
        fprintf(stderr, "leat: there is no directory '%s'\n", data);
    else if (stat(data, &st) != 0)
        fprintf(stderr, "leat: '%s' cannot be opened: %s\n", data, strerror(errno));
    else if (!S_ISDIR(st.st_mode))
        fprintf(stderr, "leat: '%s' is not a directory\n", data);
    else if (module == NULL || layout_there(data, module))
        return 0;
    else if (errno != ENOENT)
        fprintf(stderr, "leat: data of module '%s' in '%s' cannot be opened: %s\n", module, data, strerror(errno));
    else {
        fprintf(stderr,
                "leat: there is no data of module '%s' in '%s'; 'leat import' or 'leat depot append' makes some\n",
                module, data);
        return EXIT_NO;
    }
    return EXIT_OPEN;
}

int call_open(const struct call *c, const char *module, bool create, struct leat **out)
{
    const char *data = call_option(c, "data");
    const struct leat_module *m = call_module(module);
    /* A view may be written into a pager that somebody reads at leisure: nothing else
     * runs here that would want its pages. */
    struct leat_config config = {.create = create,
                                 .view_limit_ms = UINT32_MAX,
                                 .disk_full = call_number(c, "disk-full", 0, UINT64_MAX >> 20) << 20};
    struct leat_error err = {0};

    if (m == NULL)
        return EXIT_NO;
    if (data == NULL)
        return call_usage(c, "say where the data is: --data DIR");
    int rv = create ? call_directory(data) : call_there(data, module);
    if (rv != 0)
        return rv;
    struct leat_launch launch = {.tasks = (uint32_t)call_number(c, "tasks", 0, LIMIT_TASKS),
                                 .groups = (uint32_t)call_number(c, "groups", 0, LIMIT_GROUPS),
                                 .options = call_settings(c), .retain = call_retains(c)};
    if (launch.options == NULL || launch.retain == NULL)
        return EXIT_USAGE;
    if (leat_open(data, &config, out, &err) != 0) {
        call_error(&err);
        return EXIT_OPEN;
    }
    if (!create) /* who only reads leaves the figures of whoever did the work */
        stats_writer_mute((*out)->stats);
    if (leat_launch(*out, m, &launch, &err) != 0) {
        leat_close(*out);
        return call_error(&err);
    }
    /* What is read shows all that was appended before, also by a process that did not wait for it. */
    if (!create && leat_wait(*out, 60000, &err) != 0)
        fprintf(stderr, "leat: %s; what follows may lack it\n", err.text);
    return 0;
}
