/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_SCRATCH_H
#define TESTS_LIB_SCRATCH_H

/* A view in a directory of its own. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "pstates/pstate.h"

enum { SCRATCH_SCHEMAS = 8 };

struct scratch {
    char directory[64];
    struct arena *arena;
    struct pstate_schema schema[SCRATCH_SCHEMAS];
    struct pstate_config config;
    struct pstate_view *v;
    uint64_t turn; /* that it was opened at */
};

/* Again, when it was closed: with what the config now says. */
static inline void scratch_open(struct scratch *s)
{
    struct leat_error err = {0};
    struct buffer kept = {0};

    if (pstate_view_open(&s->config, &s->v, &s->turn, &kept, &err) != 0)
        fail_msg("%s", err.text);
    buffer_fini(&kept);
}

static inline void scratch_make(struct scratch *s, const char *const *schema, uint32_t schemas)
{
    struct leat_error err = {0};

    assert_true(schemas <= SCRATCH_SCHEMAS);
    *s = (struct scratch){.directory = "/tmp/leat-view-XXXXXX", .arena = arena_open(1 << 20)};
    assert_non_null(mkdtemp(s->directory));
    for (uint32_t i = 0; i < schemas; i++)
        if (pstate_schema_parse(s->arena, "p", schema[i], NULL, NULL, &s->schema[i], &err) != 0)
            fail_msg("%s", err.text);
    s->config = (struct pstate_config){.directory = s->directory, .schema = s->schema, .schemas = schemas,
                                       .map_size = 256 << 20, .durability = LEAT_PROCESS};
    scratch_open(s);
}

static inline void scratch_remove(struct scratch *s)
{
    pstate_view_close(s->v);
    assert_int_equal(file_remove_tree(s->directory, NULL), 0);
    arena_close(s->arena);
}

#endif
