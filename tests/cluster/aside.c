/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "modules/modules.h"

/* Threads of turns leave a processor to queries that keep it busy, and come back when these have ended: those of a
 * module that runs, seen from outside. Which processors they choose: tests/unit/engine_aside.c. */

enum { GROUPS = 2, IDS = 32, DEADLINE_S = 60 };

static struct {
    struct leat *l;
    _Atomic bool stop;
    size_t busy;
    cpu_set_t all;
} w;

static void pin(size_t processor)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

static void *ask(void *context)
{
    struct leat_error err;

    (void)context;
    pin(w.busy);
    while (!w.stop) {
        struct leat_result *r;

        must(leat_query(w.l, "ivf", "count", (struct leat_row){0}, NULL, &r, &err));
        leat_result_free(r);
    }
    return NULL;
}

/* Threads of this process that may not use the busy processor. */
static uint32_t threads_aside(void)
{
    DIR *d = opendir("/proc/self/task");
    uint32_t count = 0;

    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        cpu_set_t now;

        if (e->d_name[0] != '.' && sched_getaffinity((pid_t)atoi(e->d_name), sizeof(now), &now) == 0)
            count += !CPU_ISSET(w.busy, &now);
    }
    closedir(d);
    return count;
}

/* So that all groups have turns: who sleeps does not look. */
static void append_some(void)
{
    struct leat_depot *d;
    struct leat_rows *rows;
    struct leat_error err;

    must(leat_depot_find(w.l, "ivf", "vectors", &d, &err));
    must(leat_rows_new(d, &rows));
    for (uint32_t i = 0; i < IDS; i++)
        must(leat_rows_add(rows, LEAT_ROW(leat_u64(i), leat_null(), leat_null()), &err));
    must(leat_append(d, rows, NULL, NULL, &err));
    leat_rows_free(rows);
}

static void wait_for_aside(uint32_t threads)
{
    time_t until = time(NULL) + DEADLINE_S;

    while (threads_aside() != threads && time(NULL) < until)
        append_some();
    assert_int_equal(threads_aside(), threads);
}

static void test_turns_step_aside(void **state)
{
    const struct leat_option options[] = {{"dims", "8"}, {"ids", "u64"}, {NULL, NULL}};
    const struct leat_config config = {.memory = true};
    struct leat_error err;
    pthread_t thread;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof(w.all), &w.all), 0);
    while (!CPU_ISSET(w.busy, &w.all))
        w.busy++;
    must(leat_open(NULL, &config, &w.l, &err));
    must(leat_launch(w.l, &module_ivf, &(struct leat_launch){.options = options, .groups = GROUPS}, &err));
    assert_int_equal(pthread_create(&thread, NULL, ask, NULL), 0);
    wait_for_aside(CPU_COUNT(&w.all) > 1 ? GROUPS : 0);
    w.stop = true;
    pthread_join(thread, NULL);
    wait_for_aside(0);
    leat_close(w.l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_turns_step_aside)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
