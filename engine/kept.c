/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kept.h"

#include "base/file.h"

#include <ini.h>
#include <stdio.h>
#include <stdlib.h>

struct filling {
    struct kept *kept;
    struct arena *arena;
};

/* A line of an INI file has less than 200 bytes: longer values are in pieces behind an empty one, each on a line that
 * begins with a blank, and in quotes, as blanks at its ends would be cut. */
enum { PIECE = 128 };

void kept_write_option(struct buffer *out, const char *name, const char *value)
{
    char line[PIECE + LIMIT_NAME + 16];
    size_t size = strlen(value);

    snprintf(line, sizeof(line), "%s = %s\n", name, size <= PIECE ? value : "");
    buffer_put(out, line, strlen(line));
    for (size_t at = 0; size > PIECE && at < size; at += PIECE) {
        snprintf(line, sizeof(line), "    \"%.*s\"\n", PIECE, value + at);
        buffer_put(out, line, strlen(line));
    }
}

/* Is it a piece of the option that is the last? */
static bool is_piece(const struct kept *k, const char *name, const char *value)
{
    size_t size = strlen(value);

    return k->options > 0 && strcmp(k->option[k->options - 1].name, name) == 0 && size > 1 && value[0] == '"' &&
           value[size - 1] == '"';
}

static int on_line(void *user, const char *section, const char *name, const char *value)
{
    const struct filling *f = user;
    struct kept *k = f->kept;

    if (strcmp(section, "module") == 0 && strcmp(name, "tasks") == 0)
        k->tasks = (uint32_t)strtoul(value, NULL, 10);
    else if (strcmp(section, "module") == 0 && strcmp(name, "groups") == 0)
        k->groups = (uint32_t)strtoul(value, NULL, 10);
    else if (strcmp(section, "options") == 0 && is_piece(k, name, value))
        k->option[k->options - 1].value = arena_format(f->arena, "%s%.*s", k->option[k->options - 1].value,
                                                       (int)strlen(value) - 2, value + 1);
    else if (strcmp(section, "options") == 0 && k->options < LIMIT_OPTIONS)
        k->option[k->options++] =
            (struct leat_option){arena_format(f->arena, "%s", name), arena_format(f->arena, "%s", value)};
    return 1;
}

int kept_read(const char *module_directory, struct arena *a, struct kept *out, struct leat_error *err)
{
    struct filling f = {out, a};
    struct buffer text;
    char path[4096];

    memset(out, 0, sizeof(*out));
    snprintf(path, sizeof(path), "%s/module.ini", module_directory);
    buffer_init(&text, 1 << 20);
    int rv = file_read(path, 1 << 20, &text, err);
    if (rv == 0) {
        buffer_u8(&text, 0);
        if (ini_parse_string((const char *)text.base, on_line, &f) != 0 || out->tasks == 0 || out->groups == 0)
            rv = leat_fail(err, LEAT_ECORRUPT, "'%s' does not check out", path);
    }
    buffer_fini(&text);
    return rv;
}

const struct leat_option *kept_merge(struct kept *k, const struct leat_option *given)
{
    for (uint32_t i = 0; given != NULL && given[i].name != NULL; i++) {
        uint32_t j = 0;

        while (j < k->options && strcmp(k->option[j].name, given[i].name) != 0)
            j++;
        if (j < LIMIT_OPTIONS)
            k->option[j] = given[i];
        k->options = j == k->options && j < LIMIT_OPTIONS ? j + 1 : k->options;
    }
    k->option[k->options] = (struct leat_option){NULL, NULL};
    return k->option;
}
