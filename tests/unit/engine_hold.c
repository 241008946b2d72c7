/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/hold.h"

static char directory[] = "/tmp/leat-hold-XXXXXX";

static void no_checkpoint_begins_while_somebody_copies(void **state)
{
    struct hold group, one, two;

    (void)state;
    assert_int_equal(hold_open(&group, directory, NULL), 0);
    assert_int_equal(hold_open(&one, directory, NULL), 0);
    assert_int_equal(hold_open(&two, directory, NULL), 0);
    assert_int_equal(hold_copy(&one, 0, NULL), 0);
    assert_int_equal(hold_copy(&two, 0, NULL), 0);
    assert_false(hold_checkpoint(&group, 1000));
    hold_close(&one);
    assert_false(hold_checkpoint(&group, 1000000000));
    hold_close(&two);
    assert_false(hold_checkpoint(&group, 1000000001)); /* it does not ask again so soon */
    assert_true(hold_checkpoint(&group, 2000000000));
    assert_true(hold_checkpoint(&group, 0));
    hold_close(&group);
}

static void a_copy_waits_for_the_checkpoint_under_way(void **state)
{
    struct hold group, one;
    struct leat_error err = {0};

    (void)state;
    assert_int_equal(hold_open(&group, directory, NULL), 0);
    assert_int_equal(hold_open(&one, directory, NULL), 0);
    assert_true(hold_checkpoint(&group, 0));
    assert_int_equal(hold_copy(&one, 10, &err), LEAT_ETIMEOUT);
    hold_checkpoint_over(&group);
    assert_int_equal(hold_copy(&one, 10, &err), 0);
    hold_close(&one);
    hold_close(&group);
}

static void a_holder_that_dies_lets_go(void **state)
{
    struct hold group;
    int status;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        struct hold one;

        _exit(hold_open(&one, directory, NULL) == 0 && hold_copy(&one, 0, NULL) == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(hold_open(&group, directory, NULL), 0);
    assert_true(hold_checkpoint(&group, 0));
    hold_close(&group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_checkpoint_begins_while_somebody_copies),
        cmocka_unit_test(a_copy_waits_for_the_checkpoint_under_way),
        cmocka_unit_test(a_holder_that_dies_lets_go),
    };

    if (mkdtemp(directory) == NULL)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    file_remove_tree(directory, NULL);
    return failed;
}
