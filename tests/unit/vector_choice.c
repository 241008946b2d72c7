/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "modules/vector/vector.h"

/* The choice of kernels falls once in a process: each case has a process of its own,
 * in which nothing was chosen yet. */

static bool in_child(bool (*holds)(const char *wish), const char *wish)
{
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        if (wish != NULL)
            setenv("LEAT_SIMD", wish, 1);
        else
            unsetenv("LEAT_SIMD");
        _exit(holds(wish) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) == 0;
}

static const char *best(void)
{
    uint32_t count;
    const struct vector_kernels *const *all = vector_kernels_all(&count);

    return all[count - 1]->name;
}

static bool is_best(const char *wish)
{
    struct leat_error err = {0, ""};

    (void)wish;
    return strcmp(vector_kernels()->name, best()) == 0 && vector_kernels_check(&err) == 0;
}

static bool is_there(const char *wish)
{
    uint32_t count;
    const struct vector_kernels *const *all = vector_kernels_all(&count);

    for (uint32_t i = 0; i < count; i++)
        if (strcmp(all[i]->name, wish) == 0)
            return true;
    return false;
}

static bool is_chosen(const char *wish)
{
    struct leat_error err = {0, ""};

    return vector_kernels_check(&err) == 0 && strcmp(vector_kernels()->name, wish) == 0;
}

/* Refused in words; who does not ask gets what is best. */
static bool is_refused(const char *wish)
{
    struct leat_error err = {0, ""};
    char quoted[64];

    snprintf(quoted, sizeof(quoted), "LEAT_SIMD is '%s'", wish);
    return vector_kernels_check(&err) == LEAT_EINVAL && strstr(err.text, quoted) != NULL &&
           strstr(err.text, best()) != NULL && strcmp(vector_kernels()->name, best()) == 0;
}

static void without_a_wish_the_best_is_chosen(void **state)
{
    (void)state;
    assert_true(in_child(is_best, NULL));
}

static void a_wish_lowers_the_choice(void **state)
{
    static const char *const names[] = {"portable", "avx2", "avx512"};

    (void)state;
    assert_true(in_child(is_there, "portable"));
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        assert_true(in_child(in_child(is_there, names[i]) ? is_chosen : is_refused, names[i]));
}

static void what_is_unknown_is_refused(void **state)
{
    (void)state;
    assert_true(in_child(is_refused, "sse9"));
    assert_true(in_child(is_refused, "AVX2"));
    assert_true(in_child(is_refused, "avx"));
    assert_true(in_child(is_refused, ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_wish_the_best_is_chosen),
        cmocka_unit_test(a_wish_lowers_the_choice),
        cmocka_unit_test(what_is_unknown_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
