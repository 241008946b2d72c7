/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/layout.h"

#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* module.ini, module.fingerprint and module.streams: plan.c and node_module.c write them. */

static bool is_power(uint32_t n)
{
    return n > 0 && (n & (n - 1)) == 0;
}

/* module.streams is the last one that a first launch writes. */
bool layout_there(const char *data, const char *module)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s/module.ini", data, module);
    if (access(path, F_OK) == 0)
        return true;
    snprintf(path, sizeof(path), "%s/%s/module.streams", data, module);
    return errno == ENOENT && access(path, F_OK) == 0;
}

static int read_ini(struct layout *l, const char *data, struct leat_error *err)
{
    const struct kept *k = &l->kept;
    int rv = kept_read(l->directory, l->arena, &l->kept, err);

    if (rv == LEAT_ENOTFOUND && layout_there(data, l->module))
        return leat_fail(err, LEAT_ECORRUPT, "'%s/module.ini' is missing", l->directory);
    if (rv == LEAT_ENOTFOUND)
        return leat_fail(err, LEAT_ENOTFOUND, "there is no data of module '%s': '%s/module.ini' is missing", l->module,
                         l->directory);
    if (rv != 0)
        return rv;
    if (!is_power(k->tasks) || k->tasks > LIMIT_TASKS || !is_power(k->groups) || k->groups > LIMIT_GROUPS ||
        k->groups > k->tasks)
        return leat_fail(err, LEAT_ECORRUPT, "'%s/module.ini' does not check out", l->directory);
    l->tasks = k->tasks;
    l->groups = k->groups;
    return 0;
}

/* ---- The fingerprint ---- */

/* "NAME SCHEMA[ by COLUMN]"; *name and *schema are cut out of line. */
static void cut(char *line, char **name, char **schema)
{
    char *space = strchr(line, ' ');

    *name = line;
    *schema = space != NULL ? space + 1 : line + strlen(line);
    if (space != NULL)
        *space = '\0';
}

static int add_depot(struct layout *l, char *line, struct leat_error *err)
{
    struct layout_depot *d = &l->depot[l->depots];
    char *name, *schema, *by = NULL;

    if (l->depots == LIMIT_DEPOTS + 1)
        return leat_fail(err, LEAT_ECORRUPT, "too many depots");
    cut(line, &name, &schema);
    for (char *at = strstr(schema, " by "); at != NULL; at = strstr(at + 1, " by "))
        by = at;
    if (by != NULL)
        *by = '\0';
    d->name = name;
    l->depots++;
    return row_schema_parse(l->arena, schema, NULL, NULL, &d->schema, err);
}

static int add_pstate(struct layout *l, char *line, struct leat_error *err)
{
    char *name, *schema;

    if (l->pstates == LIMIT_PSTATES)
        return leat_fail(err, LEAT_ECORRUPT, "too many PStates");
    cut(line, &name, &schema);
    return pstate_schema_parse(l->arena, name, schema, NULL, NULL, &l->pstate[l->pstates++], err);
}

static int check_option(const struct layout *l, char *line, struct leat_error *err)
{
    char *name, *value;

    cut(line, &name, &value);
    for (uint32_t i = 0; i < l->kept.options; i++)
        if (strcmp(l->kept.option[i].name, name) == 0)
            return strcmp(l->kept.option[i].value, value) == 0
                       ? 0
                       : leat_fail(err, LEAT_ECORRUPT, "option %s is '%s' here, but '%s' in module.ini", name, value,
                                   l->kept.option[i].value);
    return leat_fail(err, LEAT_ECORRUPT, "option %s is not in module.ini", name);
}

static int on_fingerprint(struct layout *l, char *line, struct leat_error *err)
{
    char *word, *rest;

    cut(line, &word, &rest);
    if (strcmp(word, "tasks") == 0)
        return strtoul(rest, NULL, 10) == l->tasks
                   ? 0
                   : leat_fail(err, LEAT_ECORRUPT, "%s tasks here, but %u in module.ini", rest, l->tasks);
    if (strcmp(word, "option") == 0)
        return check_option(l, rest, err);
    if (strcmp(word, "depot") == 0)
        return add_depot(l, rest, err);
    if (strcmp(word, "pstate") == 0)
        return add_pstate(l, rest, err);
    if (strcmp(word, "reads") != 0 || l->foreigns == LIMIT_DEPOTS)
        return leat_fail(err, LEAT_ECORRUPT, "a line begins with '%s'", word);
    l->foreign[l->foreigns++] = rest;
    return 0;
}

/* ---- The streams: "stream T node N takes SCHEMA[ fold F][ background]" ---- */

static char *after(char *line, const char *word)
{
    char *at = line != NULL ? strstr(line, word) : NULL;

    if (at == NULL)
        return NULL;
    *at = '\0';
    return at + strlen(word);
}

static int on_stream(struct layout *l, char *line, struct leat_error *err)
{
    char *topology = after(line, "stream "), *node = after(topology, " node "), *takes = after(node, " takes ");

    if (takes == NULL)
        return leat_fail(err, LEAT_ECORRUPT, "a line is not that of a node");
    char *fold = after(takes, " fold ");
    size_t size = strlen(takes), mark = strlen(" background");
    bool background = size > mark && strcmp(takes + size - mark, " background") == 0;
    if (background)
        takes[size - mark] = '\0';
    struct layout_stream *s = l->streams > 0 ? &l->stream[l->streams - 1] : NULL;
    if (s == NULL || strcmp(s->name, topology) != 0) {
        if (l->streams == LIMIT_TOPOLOGIES)
            return leat_fail(err, LEAT_ECORRUPT, "too many streams");
        s = &l->stream[l->streams++];
        s->name = topology;
        s->node = arena_zeroed(l->arena, LIMIT_NODES * sizeof(*s->node), 8);
    }
    if (s->nodes == LIMIT_NODES)
        return leat_fail(err, LEAT_ECORRUPT, "too many nodes");
    struct layout_node *n = &s->node[s->nodes++];
    n->name = node;
    n->fold = fold;
    n->background = background;
    return row_schema_parse(l->arena, takes, NULL, NULL, &n->takes, err);
}

/* Each line of a file; the text stays with the arena. */
static int read_lines(struct layout *l, const char *name, int (*each)(struct layout *, char *, struct leat_error *),
                      struct leat_error *err)
{
    struct buffer text;
    char path[4096], *rest = NULL;

    snprintf(path, sizeof(path), "%s/%s", l->directory, name);
    buffer_init(&text, 16 << 20);
    int rv = file_read(path, 16 << 20, &text, err), number = 0;
    char *copy = arena_alloc(l->arena, text.size + 1, 1);
    if (text.size > 0)
        memcpy(copy, text.base, text.size);
    copy[text.size] = '\0';
    buffer_fini(&text);
    if (rv != 0)
        return rv;
    for (char *line = strtok_r(copy, "\n", &rest); line != NULL && rv == 0; line = strtok_r(NULL, "\n", &rest)) {
        number++;
        rv = each(l, line, err);
    }
    return rv == 0 ? 0 : base_wrap(err, LEAT_ECORRUPT, "'%s', line %d", path, number);
}

/* Is there a record, or a turn? A log that cannot be read counts as empty: who needs it will say what is wrong. */
static bool has_records(const struct layout *l)
{
    static const char *const names[] = {"depots", "journal"};
    bool any = false;

    for (uint32_t i = 0; i < 2 * l->groups && !any; i++) {
        uint64_t first, next;
        struct log *log;

        if (layout_log(l, i / 2, names[i % 2], false, &log, NULL) != 0)
            continue;
        for (uint32_t p = 0; p < log->partitions && !any; p++) {
            log_bounds(log, p, &first, &next);
            any = next > 0;
        }
        log_close(log);
    }
    return any;
}

/* The file is missing when the first launch ended before it was written, and then there are no records yet; or it was
 * lost. Records are looked for first: the launch may end, and its file be there, while we look. */
static int read_streams(struct layout *l, struct leat_error *err)
{
    int rv = read_lines(l, "module.streams", on_stream, err);

    if (rv != LEAT_ENOTFOUND)
        return rv;
    bool lost = has_records(l);
    rv = read_lines(l, "module.streams", on_stream, err);
    if (rv != LEAT_ENOTFOUND)
        return rv;
    return lost ? leat_fail(err, LEAT_ECORRUPT, "'%s/module.streams' is missing", l->directory) : 0;
}

int layout_open(const char *data, const char *module, struct layout **out, struct leat_error *err)
{
    struct arena *a = arena_open(64 << 20);
    struct layout *l = arena_zeroed(a, sizeof(*l), 8);
    struct leat_error why = {0};

    l->arena = a;
    l->module = arena_format(a, "%s", module);
    l->directory = arena_format(a, "%s/%s", data, module);
    l->depot = arena_zeroed(a, (LIMIT_DEPOTS + 1) * sizeof(*l->depot), 8);
    l->pstate = arena_zeroed(a, (LIMIT_PSTATES + 1) * sizeof(*l->pstate), 8);
    l->foreign = arena_alloc(a, LIMIT_DEPOTS * sizeof(*l->foreign), 8);
    l->stream = arena_zeroed(a, (LIMIT_TOPOLOGIES + 1) * sizeof(*l->stream), 8);
    int rv = read_ini(l, data, &why);
    if (rv == 0) {
        rv = read_lines(l, "module.fingerprint", on_fingerprint, &why);
        if (rv == 0 && l->depots == 0)
            rv = leat_fail(&why, LEAT_ECORRUPT, "'%s/module.fingerprint' names no depots", l->directory);
        if (rv == LEAT_ENOTFOUND)
            rv = leat_fail(&why, LEAT_ECORRUPT, "'%s/module.fingerprint' is missing", l->directory);
    }
    if (rv == 0)
        rv = read_streams(l, &why);
    if (rv != 0) {
        if (err != NULL)
            *err = why;
        layout_close(l);
        return rv;
    }
    *out = l;
    return 0;
}

void layout_close(struct layout *l)
{
    if (l != NULL)
        arena_close(l->arena);
}

/* ---- Where things are ---- */

int layout_depot_find(const struct layout *l, const char *name)
{
    for (uint32_t i = 0; i < l->depots; i++)
        if (strcmp(l->depot[i].name, name) == 0)
            return (int)i;
    return -1;
}

uint32_t layout_partitions(const struct layout *l)
{
    return l->depots * (l->tasks / l->groups);
}

uint32_t layout_partition(const struct layout *l, uint32_t depot, uint32_t partition)
{
    return depot * (l->tasks / l->groups) + partition / l->groups;
}

void layout_partition_of(const struct layout *l, uint32_t group, uint32_t log_partition, uint32_t *depot,
                         uint32_t *partition)
{
    uint32_t each = l->tasks / l->groups;

    *depot = log_partition / each;
    *partition = log_partition % each * l->groups + group;
}

void layout_path(const struct layout *l, uint32_t group, const char *name, char *out, size_t size)
{
    snprintf(out, size, "%s/group-%03u%s%s", l->directory, group, name[0] != '\0' ? "/" : "", name);
}

uint16_t layout_owner(uint32_t group, const char *name)
{
    leat_assert(group < LIMIT_GROUPS);
    return (uint16_t)(1 + 2 * group + (strcmp(name, "journal") == 0));
}

/* While its owner works, a file may go between its listing and its opening. */
static int open_log(const struct layout *l, uint32_t group, const char *name, bool settled, bool walk, struct log **out,
                    struct leat_error *err)
{
    char path[4096];

    layout_path(l, group, name, path, sizeof(path));
    struct log_config config = {.directory = path, .durability = LEAT_PROCESS, .owner = layout_owner(group, name),
                                .read_only = true, .settled = settled, .walk = walk};
    int rv = log_open(&log_segments, &config, out, err);
    for (int i = 0; i < 3 && rv != 0 && !settled; i++)
        rv = log_open(&log_segments, &config, out, err);
    return rv;
}

int layout_log(const struct layout *l, uint32_t group, const char *name, bool settled, struct log **out,
               struct leat_error *err)
{
    return open_log(l, group, name, settled, false, out, err);
}

int layout_log_walk(const struct layout *l, uint32_t group, const char *name, bool settled, struct log **out,
                    struct leat_error *err)
{
    return open_log(l, group, name, settled, true, out, err);
}

const struct layout_node *layout_node_at(const struct layout *l, uint32_t stream, uint32_t node)
{
    return stream < l->streams && node < l->stream[stream].nodes ? &l->stream[stream].node[node] : NULL;
}
