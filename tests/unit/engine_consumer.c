/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/random.h"
#include "engine/consumer.h"
#include "topologies/plan.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Files of consumers, and the words for retention. */

enum { PARTITIONS = 16 };

static char directory[64], inside[128];

static int set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/leat-consumer-XXXXXX");
    assert_non_null(mkdtemp(directory));
    consumer_directory(directory, "a_depot", inside, sizeof(inside));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove_tree(directory, NULL);
}

static int count_one(void *context, const char *name, struct leat_error *err)
{
    (void)err;
    assert_true(consumer_name_fits(name));
    return ++*(int *)context == 100 ? LEAT_ELIMIT : 0;
}

static void what_is_written_comes_back(void **state)
{
    uint64_t position[PARTITIONS], back[PARTITIONS], floor[PARTITIONS], lowest[PARTITIONS];
    struct consumer c = {PARTITIONS, position}, b = {PARTITIONS, back};
    struct leat_error err = {0};
    struct random r;
    char name[16];
    int count = 0;

    (void)state;
    random_seed(&r, 7);
    memset(lowest, 0xff, sizeof(lowest));
    assert_int_equal(consumer_list(inside, count_one, &count, &err), 0);
    for (int i = 0; i < 50; i++) {
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            position[p] = random_below(&r, 3) == 0 ? CONSUMER_NONE : random_u64(&r) >> random_below(&r, 64);
            lowest[p] = position[p] < lowest[p] ? position[p] : lowest[p];
        }
        snprintf(name, sizeof(name), "c%d", i);
        assert_int_equal(consumer_write(inside, name, &c, false, &err), 0);
        assert_int_equal(consumer_read(inside, name, &b, &err), 0);
        assert_memory_equal(position, back, sizeof(back));
    }
    memset(floor, 0xff, sizeof(floor));
    assert_int_equal(consumer_floor(inside, floor, PARTITIONS, &err), 0);
    assert_memory_equal(floor, lowest, sizeof(floor));
    assert_int_equal(consumer_list(inside, count_one, &count, &err), 0);
    assert_int_equal(count, 50);
    assert_int_equal(consumer_list(inside, count_one, &count, &err), LEAT_ELIMIT);
    assert_int_equal(consumer_remove(inside, "c3", &err), 0);
    assert_int_equal(consumer_remove(inside, "c3", &err), LEAT_ENOTFOUND);
    assert_int_equal(consumer_read(inside, "c3", &b, &err), LEAT_ENOTFOUND);
}

static void damage_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        "leat consumer 2\nend\n",
        "leat consumer 1\n",
        "leat consumer 1\n0 1\n",
        "leat consumer 1\n0 1\nend",
        "leat consumer 1\n16 1\nend\n",
        "leat consumer 1\n0 -1\nend\n",
        "leat consumer 1\n0 18446744073709551615\nend\n",
        "leat consumer 1\n0 18446744073709551616\nend\n",
        "leat consumer 1\n0  1\nend\n",
        "leat consumer 1\n0 1\nend\nend\n",
    };
    uint64_t position[PARTITIONS];
    struct consumer c = {PARTITIONS, position};
    struct leat_error err = {0};
    char path[256];

    (void)state;
    assert_int_equal(file_make_directory(inside, false, &err), 0);
    snprintf(path, sizeof(path), "%s/one", inside);
    for (size_t i = 0; i < LENGTH_OF(wrong); i++) {
        assert_int_equal(file_replace(path, span_text(wrong[i]), &err), 0);
        assert_int_equal(consumer_read(inside, "one", &c, &err), LEAT_ECORRUPT);
        assert_int_equal(consumer_floor(inside, position, PARTITIONS, &err), LEAT_ECORRUPT);
    }
    /* What an interrupted write leaves is none. */
    assert_int_equal(file_replace(path, span_text("leat consumer 1\nend\n"), &err), 0);
    snprintf(path, sizeof(path), "%s/two.tmp", inside);
    assert_int_equal(file_replace(path, span_text("leat"), &err), 0);
    assert_int_equal(consumer_floor(inside, position, PARTITIONS, &err), 0);
}

static void names_are_checked(void **state)
{
    (void)state;
    assert_true(consumer_name_fits("backup"));
    assert_true(consumer_name_fits("a-b_2"));
    assert_false(consumer_name_fits(""));
    assert_false(consumer_name_fits("reader.000"));
    assert_false(consumer_name_fits("../x"));
    assert_false(consumer_name_fits("2a"));
    assert_false(consumer_name_fits("A"));
    assert_false(consumer_name_fits("a2345678901234567890123456789012345678901234567890"));
}

static void words_for_retention(void **state)
{
    static const struct {
        const char *text;
        int64_t age_us;
        uint64_t bytes;
    } right[] = {{"forever", 0, 0}, {"7d", 604800000000, 0}, {"90s", 90000000, 0},
                 {"5m", 300000000, 0}, {"2h", 7200000000, 0}, {"10GiB", 0, 10ULL << 30}, {"1B", 0, 1},
                 {"3KiB", 0, 3072}, {"4MiB,1d", 86400000000, 4 << 20}, {"1d,2TiB", 86400000000, 2ULL << 40}};
    static const char *const wrong[] = {
        "",    "7",   "d",   "0d",         "7 d",           "7d,",         ",7d",  "7d,8h",          "1GiB,2GiB",  "7D",
        "7dd", "1GB", "-7d", "7d,forever", "999999999999d", "99999999TiB", "1.5d", "1234567890123s", "7d,10GiB,1s"};
    struct plan_retain out;
    struct leat_error err;

    (void)state;
    for (size_t i = 0; i < LENGTH_OF(right); i++) {
        assert_int_equal(plan_retain_parse(right[i].text, &out, &err), 0);
        assert_int_equal(out.age_us, right[i].age_us);
        assert_int_equal(out.bytes, right[i].bytes);
    }
    for (size_t i = 0; i < LENGTH_OF(wrong); i++) {
        assert_int_equal(plan_retain_parse(wrong[i], &out, &err), LEAT_EINVAL);
        assert_non_null(strstr(err.text, "10GiB"));
    }
}

static void age(const char *path)
{
    struct timespec old[2] = {{1000000000, 0}, {1000000000, 0}};

    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
}

static void put_in_place(const char *name, const char *text)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", inside, name);
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static uint64_t floor_again(struct consumer_floors *c)
{
    uint64_t floor[PARTITIONS];

    memset(floor, 0xff, sizeof(floor));
    assert_int_equal(consumer_floor_again(c, inside, floor, PARTITIONS, NULL), 0);
    return floor[3];
}

/* Read again when somebody came, moved or left; else not, which a file shows that is changed in its place. */
static void floors_are_read_when_somebody_moved(void **state)
{
    uint64_t position[PARTITIONS] = {0};
    struct consumer c = {PARTITIONS, position};
    struct consumer_floors floors = {0};

    (void)state;
    assert_true(floor_again(&floors) == CONSUMER_NONE);
    position[3] = 50;
    assert_int_equal(consumer_write(inside, "one", &c, false, NULL), 0);
    assert_int_equal(floor_again(&floors), 50);
    put_in_place("one", "leat consumer 1\n3 40\nend\n");
    assert_int_equal(floor_again(&floors), 40); /* it changed just now, so it is not believed to stay */
    age(inside);
    assert_int_equal(floor_again(&floors), 40);
    put_in_place("one", "leat consumer 1\n3 30\nend\n");
    assert_int_equal(floor_again(&floors), 40);
    position[3] = 20;
    assert_int_equal(consumer_write(inside, "two", &c, false, NULL), 0);
    assert_int_equal(floor_again(&floors), 20);
    age(inside);
    assert_int_equal(floor_again(&floors), 20);
    assert_int_equal(consumer_remove(inside, "two", NULL), 0);
    assert_int_equal(floor_again(&floors), 30);
    free(floors.floor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(floors_are_read_when_somebody_moved, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_is_refused, set_up, tear_down),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(words_for_retention),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
