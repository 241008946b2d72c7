/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/file.h"
#include "pstates/pstate.h"
#include "tests/lib/cached.h"

/* Reading ahead: of a file that was put out of the page cache the pages of what is there come in, those of what was
 * deleted do not, and no more than was asked for. Large values, each page of which says whose it is. */

enum { VALUES = 96, SIZE = 512 << 10, PAGE = 4096, MANY = VALUES * SIZE / PAGE };

struct fixture {
    char directory[64], file[128];
    struct arena *arena;
    struct pstate_schema schema;
    struct pstate_config config;
    struct pstate_view *v;
};

static void open_view(struct fixture *f)
{
    struct buffer bytes = {0};
    struct leat_error err = {0};
    uint64_t turn;

    if (pstate_view_open(&f->config, &f->v, &turn, &bytes, &err) != 0)
        fail_msg("%s", err.text);
    buffer_fini(&bytes);
}

static void close_view(struct fixture *f)
{
    struct leat_error err = {0};

    if (pstate_view_close_clean(f->v, span_text("state"), &err) != 0)
        fail_msg("%s", err.text);
    f->v = NULL;
}

/* Even values go again. */
static void fill(struct fixture *f)
{
    uint8_t *value = base_alloc(SIZE);
    struct leat_error err = {0};

    assert_int_equal(pstate_view_begin(f->v, NULL, &err), 0);
    for (uint64_t i = 0; i < VALUES; i++) {
        memset(value, (int)i + 1, SIZE);
        assert_int_equal(pstate_put(f->v, 0, 0, LEAT_KEYS(leat_u64(i)), LEAT_ROW(leat_bytes(value, SIZE)), &err), 0);
    }
    assert_int_equal(pstate_view_commit(f->v, 1, &err), 0);
    assert_int_equal(pstate_view_begin(f->v, NULL, &err), 0);
    for (uint64_t i = 0; i < VALUES; i += 2)
        assert_int_equal(pstate_delete(f->v, 0, 0, LEAT_KEYS(leat_u64(i)), &err), 0);
    assert_int_equal(pstate_view_commit(f->v, 2, &err), 0);
    free(value);
}

static int set_up(void **state)
{
    struct fixture *f = base_alloc(sizeof(*f));

    f->arena = arena_open(1 << 20);
    assert_int_equal(pstate_schema_parse(f->arena, "p", "map<u64, bytes>", NULL, NULL, &f->schema, NULL), 0);
    snprintf(f->directory, sizeof(f->directory), "/tmp/leat-warm-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    snprintf(f->file, sizeof(f->file), "%s/data.mdb", f->directory);
    f->config = (struct pstate_config){.directory = f->directory, .schema = &f->schema, .schemas = 1,
                                       .map_size = 256 << 20, .durability = LEAT_PROCESS};
    open_view(f);
    fill(f);
    close_view(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    pstate_view_close(f->v);
    file_remove_tree(f->directory, NULL);
    arena_close(f->arena);
    free(f);
    return 0;
}

/* Pages in the cache of values that are there, and of those that were deleted. */
struct counts {
    size_t live, dead, in;
};

/* whose: by page, 1 + the value, which its bytes are; 0: no value's. */
static struct counts count(const struct fixture *f, const uint8_t *whose)
{
    struct cached c = cached_look(f->file);
    struct counts n = {.in = c.in};

    for (size_t i = 0; i < c.pages; i++) {
        n.live += (c.page[i] & 1) && whose[i] != 0 && (whose[i] - 1) % 2 == 1;
        n.dead += (c.page[i] & 1) && whose[i] != 0 && (whose[i] - 1) % 2 == 0;
    }
    free(c.page);
    return n;
}

/* By the middle of each page: values begin behind a header. */
static uint8_t *read_marks(const struct fixture *f)
{
    struct cached c = cached_look(f->file);
    uint8_t *whose = base_alloc(c.pages);
    int fd = open(f->file, O_RDONLY);

    for (size_t i = 0; i < c.pages; i++) {
        uint8_t found[16] = {0}, like[16];

        assert_int_equal(pread(fd, found, sizeof(found), (off_t)(i * PAGE + PAGE / 2)), sizeof(found));
        memset(like, found[0], sizeof(like));
        if (found[0] <= VALUES && memcmp(found, like, sizeof(found)) == 0)
            whose[i] = found[0];
    }
    close(fd);
    free(c.page);
    return whose;
}

static void what_is_there_comes_in(void **state)
{
    struct fixture *f = *state;
    uint8_t *whose = read_marks(f);
    struct counts all = count(f, whose);

    assert_true(all.live >= MANY / 2 && all.live < MANY / 2 + VALUES);
    if (!cached_drop(f->file)) {
        free(whose);
        skip(); /* in memory */
    }
    open_view(f);
    pstate_view_warm(f->v, 0); /* it has read its list of free pages now, and what the kernel took for good measure */
    struct counts before = count(f, whose);
    if (before.live == all.live) {
        free(whose);
        skip(); /* the kernel takes whole files for good measure */
    }
    pstate_view_warm(f->v, 4 << 20);
    struct counts part = count(f, whose);
    assert_true(part.in > before.in && part.in <= before.in + (4 << 20) / PAGE);
    pstate_view_warm(f->v, UINT64_MAX);
    struct counts after = count(f, whose);
    assert_int_equal(after.live, all.live);
    assert_int_equal(after.dead, before.dead);
    free(whose);
}

/* An empty view. */
static void nothing_to_read(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(file_remove_tree(f->directory, NULL), 0);
    open_view(f);
    pstate_view_warm(f->v, UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_there_comes_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_to_read, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
