/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/log.h"
#include "engine/disk.h"

#define GIB (UINT64_C(1) << 30)

static void defaults_follow_the_size(void **unused)
{
    struct disk_marks m = disk_marks(0, 0, 1000 * GIB);

    (void)unused;
    assert_true(m.low == 4 * GIB && m.full == GIB);
    m = disk_marks(0, 0, 10 * GIB);
    assert_true(m.low == GIB && m.full == 10 * GIB / 50);
    m = disk_marks(0, 0, 0);
    assert_true(m.low == 0 && m.full == 0);
}

static void wishes_count(void **unused)
{
    struct disk_marks m = disk_marks(70, 30, 1000 * GIB);

    (void)unused;
    assert_true(m.low == 70 && m.full == 30);
    m = disk_marks(0, 8 * GIB, 1000 * GIB);
    assert_true(m.low == 8 * GIB && m.full == 8 * GIB); /* the warning never comes later */
}

static void judged_by_what_is_free(void **unused)
{
    struct disk_marks m = {200, 100};

    (void)unused;
    assert_int_equal(disk_judge(UINT64_MAX, &m), DISK_FINE);
    assert_int_equal(disk_judge(200, &m), DISK_FINE);
    assert_int_equal(disk_judge(199, &m), DISK_LOW);
    assert_int_equal(disk_judge(100, &m), DISK_LOW);
    assert_int_equal(disk_judge(99, &m), DISK_FULL);
    assert_int_equal(disk_judge(0, &m), DISK_FULL);
}

static void looks_at_the_disk(void **unused)
{
    struct disk_watch w = {.directory = "/", .low = UINT64_MAX, .full = 1};

    (void)unused;
    log_level_set(LOG_ERROR);
    disk_look(&w);
    assert_true(w.level == DISK_LOW && !w.refuses && w.free_bytes > 0);
    w.full = UINT64_MAX;
    disk_look(&w);
    assert_true(w.level == DISK_FULL && w.refuses);
    w.directory = "/nowhere/at/all";
    w.full = w.low = 1;
    disk_look(&w); /* unknown: as it was */
    assert_true(w.level == DISK_FULL);
    w.directory = "/";
    disk_look(&w);
    assert_true(w.level == DISK_FINE && !w.refuses);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_follow_the_size),
        cmocka_unit_test(wishes_count),
        cmocka_unit_test(judged_by_what_is_free),
        cmocka_unit_test(looks_at_the_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
