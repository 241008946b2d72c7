/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cached.h"
#include "tests/lib/scratch.h"

/* Reading ahead: of a file that was put out of the page cache the pages of what is there come in, those of what was
 * deleted do not, and no more than was asked for. Large values, each page of which says whose it is. */

enum { VALUES = 96, SIZE = 512 << 10, PAGE = 4096, MANY = VALUES * SIZE / PAGE };

struct fixture {
    struct scratch view;
    char file[128];
};

static void close_view(struct fixture *f)
{
    struct leat_error err = {0};

    if (pstate_view_close_clean(f->view.v, span_text("state"), &err) != 0)
        fail_msg("%s", err.text);
    f->view.v = NULL;
}

/* Even values go again. */
static void fill(struct fixture *f)
{
    uint8_t *value = base_alloc(SIZE);
    struct pstate_view *v = f->view.v;
    struct leat_error err = {0};

    assert_int_equal(pstate_view_begin(v, NULL, &err), 0);
    for (uint64_t i = 0; i < VALUES; i++) {
        memset(value, (int)i + 1, SIZE);
        assert_int_equal(pstate_put(v, 0, 0, LEAT_KEYS(leat_u64(i)), LEAT_ROW(leat_bytes(value, SIZE)), &err), 0);
    }
    assert_int_equal(pstate_view_commit(v, 1, &err), 0);
    assert_int_equal(pstate_view_begin(v, NULL, &err), 0);
    for (uint64_t i = 0; i < VALUES; i += 2)
        assert_int_equal(pstate_delete(v, 0, 0, LEAT_KEYS(leat_u64(i)), &err), 0);
    assert_int_equal(pstate_view_commit(v, 2, &err), 0);
    free(value);
}

static int set_up(void **state)
{
    struct fixture *f = base_alloc(sizeof(*f));

    scratch_make(&f->view, (const char *const[]){"map<u64, bytes>"}, 1);
    snprintf(f->file, sizeof(f->file), "%s/data.mdb", f->view.directory);
    fill(f);
    close_view(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    scratch_remove(&f->view);
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
    scratch_open(&f->view);
    pstate_view_warm(f->view.v, 0); /* the list of free pages is read now, and what the kernel took for good measure */
    struct counts before = count(f, whose);
    if (before.live == all.live) {
        free(whose);
        skip(); /* the kernel takes whole files for good measure */
    }
    pstate_view_warm(f->view.v, 4 << 20);
    struct counts part = count(f, whose);
    assert_true(part.in > before.in && part.in <= before.in + (4 << 20) / PAGE);
    pstate_view_warm(f->view.v, UINT64_MAX);
    struct counts after = count(f, whose);
    assert_int_equal(after.live, all.live);
    assert_true(after.dead <= before.dead); /* the kernel may have taken some away meanwhile */
    free(whose);
}

/* An empty view. */
static void nothing_to_read(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(file_remove_tree(f->view.directory, NULL), 0);
    scratch_open(&f->view);
    pstate_view_warm(f->view.v, UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_there_comes_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_to_read, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
