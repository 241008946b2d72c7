/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "pstates/pstate.h"
#include "tests/lib/disk.h"

/* A process dies at some point of a checkpoint, another one goes on, and then power is lost: whatever of both is on the
 * disk, the view opens. */

enum { IMAGES = 6 }; /* of each moment */

struct fixture {
    char root[64], view[96];
    struct arena *arena;
    struct pstate_schema schema;
    struct pstate_config config;
};

static int open_at(struct fixture *f, const char *root, struct pstate_view **v, uint64_t *turn, struct leat_error *err)
{
    struct buffer state = {0};

    snprintf(f->view, sizeof(f->view), "%s/view", root);
    f->config = (struct pstate_config){
        .directory = f->view, .schema = &f->schema, .schemas = 1, .map_size = 16 << 20, .durability = LEAT_FULL};
    int rv = pstate_view_open(&f->config, v, turn, &state, err);
    buffer_fini(&state);
    return rv;
}

static void must(int rv, const struct leat_error *err)
{
    if (rv != 0)
        fail_msg("%s", err->text);
}

static void take_turn(struct pstate_view *v, uint64_t turn)
{
    struct leat_error err = {0};

    must(pstate_view_begin(v, NULL, &err), &err);
    for (uint64_t key = 0; key < 40; key++)
        must(pstate_put(v, 0, 0, LEAT_KEYS(leat_u64(key * turn)), LEAT_ROW(leat_i64((int64_t)turn)), &err), &err);
    must(pstate_view_commit(v, turn, &err), &err);
}

static int checkpoint(struct pstate_view *v)
{
    struct leat_error err = {0};
    int rv = pstate_checkpoint_start(v, span_text(""), &err);

    return rv != 0 ? rv : pstate_checkpoint_wait(v, &err);
}

static bool die_there(void *context, const char *point)
{
    return strcmp(point, context) == 0;
}

static void live_twice(struct fixture *f, const char *point)
{
    struct leat_error err = {0};
    struct pstate_view *v;
    uint64_t turn;

    must(open_at(f, f->root, &v, &turn, &err), &err);
    take_turn(v, 1);
    assert_int_equal(checkpoint(v), 0);
    take_turn(v, 2);
    pstate_crash_hook(die_there, (void *)(uintptr_t)point);
    assert_int_equal(checkpoint(v), LEAT_ECANCELED);
    pstate_crash_hook(NULL, NULL);
    pstate_view_close(v);
    must(open_at(f, f->root, &v, &turn, &err), &err);
    take_turn(v, turn + 1);
    pstate_view_close(v);
}

static void check_images(struct fixture *f, const struct disk *d, const char *point)
{
    struct leat_error err = {0};
    struct pstate_view *v;
    char image[80];
    uint64_t turn;

    snprintf(image, sizeof(image), "%s-image", f->root);
    for (uint32_t crash = 1; crash <= d->events; crash++)
        for (uint64_t seed = 0; seed < IMAGES; seed++) {
            assert_int_equal(mkdir(image, 0700), 0);
            disk_image(d, crash, DISK_POWER, seed, image, NULL);
            snprintf(f->view, sizeof(f->view), "%s/view", image);
            mkdir(f->view, 0700);
            if (open_at(f, image, &v, &turn, &err) != 0)
                fail_msg("died at %s, power lost at %u of %u, image %d: %s", point, crash, d->events, (int)seed,
                         err.text);
            pstate_view_close(v);
            file_remove_tree(image, NULL);
        }
}

static void test_power_is_lost_behind_a_death(void **state)
{
    (void)state;
    for (const char *const *point = pstate_crash_points; strncmp(*point, "checkpoint.", 11) == 0; point++) {
        struct fixture f = {.root = "/tmp/leat-pstates-power-XXXXXX"};
        struct leat_error err = {0};
        struct disk d;

        assert_non_null(mkdtemp(f.root));
        f.arena = arena_open(1 << 20);
        must(pstate_schema_parse(f.arena, "numbers", "map<u64, i64>", NULL, NULL, &f.schema, &err), &err);
        snprintf(f.view, sizeof(f.view), "%s/view", f.root);
        disk_init(&d);
        disk_record(&d, f.root);
        assert_int_equal(mkdir(f.view, 0700), 0);
        live_twice(&f, *point);
        disk_record_end();
        assert_true(d.events > 20);
        check_images(&f, &d, *point);
        disk_fini(&d);
        arena_close(f.arena);
        file_remove_tree(f.root, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_is_lost_behind_a_death),
    };

    return cmocka_run_group_tests_name("pstates_power", tests, NULL, NULL);
}
