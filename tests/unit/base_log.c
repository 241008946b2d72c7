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

#include "base/log.h"

/* What goes to stderr: by level and form, from the environment and by call; not too much of a kind. */

static char text[65536];

/* Standard error of a child that runs `what`. */
static const char *printed_by(void (*what)(void), const char *level, const char *format)
{
    int ends[2], status;
    ssize_t size, all = 0;

    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        unsetenv("LEAT_LOG");
        unsetenv("LEAT_LOG_FORMAT");
        if (level != NULL)
            setenv("LEAT_LOG", level, 1);
        if (format != NULL)
            setenv("LEAT_LOG_FORMAT", format, 1);
        what();
        _exit(0);
    }
    close(ends[1]);
    while ((size = read(ends[0], text + all, sizeof(text) - 1 - (size_t)all)) > 0)
        all += size;
    close(ends[0]);
    text[all] = '\0';
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    return text;
}

static int lines(const char *printed)
{
    int count = 0;

    for (; *printed != '\0'; printed++)
        count += *printed == '\n';
    return count;
}

static void one_of_each(void)
{
    log_print(LOG_DEBUG, "unit", "first %d", 1);
    log_print(LOG_INFO, "unit", "second %d", 2);
    log_print(LOG_WARN, "unit", "third %d", 3);
    log_print(LOG_ERROR, "unit", "fourth %d", 4);
}

static void test_levels(void **state)
{
    static const char *const level[] = {"debug", "info", "warn", "error", "off"};

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_int_equal(lines(printed_by(one_of_each, level[i], NULL)), 4 - i);
    assert_int_equal(lines(printed_by(one_of_each, NULL, NULL)), 2);
    assert_true(log_enabled(LOG_WARN) && !log_enabled(LOG_INFO));
}

static void test_forms(void **state)
{
    int year, ms, pid;

    (void)state;
    printed_by(one_of_each, "error", "text");
    assert_int_equal(sscanf(text, "%4d-%*2d-%*2dT%*2d:%*2d:%*2d.%3dZ error unit: fourth 4\n", &year, &ms), 2);
    assert_true(year > 2000);
    assert_non_null(strstr(text, "Z error unit: fourth 4\n"));
    printed_by(one_of_each, "error", "json");
    assert_non_null(strstr(text, "Z\", \"level\": \"error\", \"pid\": "));
    assert_int_equal(sscanf(strstr(text, "\"pid\""), "\"pid\": %d, \"where\": \"unit\"", &pid), 1);
    assert_non_null(strstr(text, ", \"where\": \"unit\", \"text\": \"fourth 4\"}\n"));
}

static void something_wild(void)
{
    log_print(LOG_ERROR, "unit", "a \"quote\",\na line, \x1b[31m");
}

static void test_a_message_is_one_line(void **state)
{
    (void)state;
    printed_by(something_wild, NULL, NULL);
    assert_int_equal(lines(text), 1);
    assert_null(strchr(text, '\x1b'));
    printed_by(something_wild, NULL, "json");
    assert_int_equal(lines(text), 1);
    assert_non_null(strstr(text, "a \\\"quote\\\",\\na line, \\u001b[31m"));
}

static void test_a_wrong_environment_is_told(void **state)
{
    (void)state;
    printed_by(one_of_each, "loud", "xml");
    assert_non_null(strstr(text, "LEAT_LOG is 'loud', but debug, info, warn, error or off is wanted"));
    assert_non_null(strstr(text, "LEAT_LOG_FORMAT is 'xml', but text or json is wanted"));
    assert_non_null(strstr(text, "third 3"));
    assert_null(strstr(text, "second 2"));
}

static void by_call(void)
{
    if (log_configure("loud", NULL) || log_configure(NULL, "xml") || !log_configure("info", "json"))
        _exit(1);
    one_of_each();
    log_level_set(LOG_ERROR);
    one_of_each();
}

static void test_a_call_counts_more(void **state)
{
    (void)state;
    assert_int_equal(lines(printed_by(by_call, "debug", "text")), 4);
    assert_null(strstr(text, "first"));
    assert_int_equal(text[0], '{');
}

static void too_many(void)
{
    for (int i = 0; i < 10 * LOG_BURST; i++) {
        log_print(LOG_WARN, "unit", "one kind %d", i);
        if (i % LOG_BURST == 0)
            log_print(LOG_ERROR, "unit", "an error %d", i);
    }
    log_print(LOG_WARN, "unit", "another kind");
}

/* Should the window end while it runs, one more burst goes out. */
static void test_not_too_many_of_a_kind(void **state)
{
    (void)state;
    int count = lines(printed_by(too_many, NULL, NULL));
    assert_in_range(count, LOG_BURST + 11, 2 * LOG_BURST + 11);
    assert_non_null(strstr(text, "one kind 19\n"));
    assert_non_null(strstr(text, "an error 180\n"));
    assert_non_null(strstr(text, "another kind\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms), cmocka_unit_test(test_a_message_is_one_line),
        cmocka_unit_test(test_a_wrong_environment_is_told), cmocka_unit_test(test_a_call_counts_more),
        cmocka_unit_test(test_not_too_many_of_a_kind), cmocka_unit_test(test_levels),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
