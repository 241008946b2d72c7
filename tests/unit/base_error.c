/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "base/base.h"

/* Each code of the table has a name, a text and a class; sentences are made, wrapped and cut without harm. */

static void check_row(const char *name, int code, int value, enum leat_class class)
{
    assert_int_equal(code, value);
    assert_string_equal(leat_code_name(code), name);
    assert_true(strlen(leat_code_text(code)) > 3);
    assert_int_equal(leat_code_class(code), class);
}

static void test_table(void **unused)
{
    int least = 0, rows = 0;

    (void)unused;
#define CHECK_ROW(name, value, text, class) check_row(#name, name, value, class);
    LEAT_ERRORS(CHECK_ROW)
#undef CHECK_ROW
#define COUNT_ROW(name, value, text, class) least = value < least ? value : least, rows++;
    LEAT_ERRORS(COUNT_ROW)
#undef COUNT_ROW
    assert_int_equal(rows, -least);
    for (int i = -1; i >= least; i--)
        for (int j = i - 1; j >= least; j--) {
            assert_string_not_equal(leat_code_name(i), leat_code_name(j));
            assert_string_not_equal(leat_code_text(i), leat_code_text(j));
        }
}

/* Values are in files and on the wire: they stay. */
static void test_classes(void **unused)
{
    (void)unused;
    for (int code = -1; code >= LEAT_EINTERNAL; code--)
        assert_int_equal(leat_code_class(code), code >= LEAT_ELIMIT     ? LEAT_CLASS_CALLER
                                                : code >= LEAT_ENOSPACE ? LEAT_CLASS_RETRY
                                                                        : LEAT_CLASS_FATAL);
    assert_int_equal(LEAT_EINTERNAL, -20);
}

static void test_other_codes(void **unused)
{
    (void)unused;
    assert_string_equal(leat_code_name(LEAT_OK), "LEAT_OK");
    assert_string_equal(leat_code_name(LEAT_END), "LEAT_END");
    assert_int_equal(leat_code_class(LEAT_OK), LEAT_CLASS_NONE);
    assert_int_equal(leat_code_class(LEAT_END), LEAT_CLASS_NONE);
    assert_string_equal(leat_code_name(-1000), "LEAT_E?");
    assert_string_equal(leat_code_text(-1000), "unknown error");
    assert_int_equal(leat_code_class(-1000), LEAT_CLASS_FATAL);
    assert_true(strlen(leat_version()) > 0);
}

static void test_fail(void **unused)
{
    struct leat_error err = {0};
    char longest[3 * sizeof(err.text)];

    (void)unused;
    assert_int_equal(leat_fail(&err, LEAT_EFULL, "%d of %s", 3, "them"), LEAT_EFULL);
    assert_int_equal(err.code, LEAT_EFULL);
    assert_string_equal(err.text, "3 of them");
    assert_int_equal(leat_fail(NULL, LEAT_EIO, "nobody listens"), LEAT_EIO);
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    leat_fail(&err, LEAT_EIO, "%s", longest);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void test_wrap(void **unused)
{
    struct leat_error err = {0};

    (void)unused;
    leat_fail(&err, LEAT_ESCHEMA, "no number");
    assert_int_equal(base_wrap(&err, LEAT_EMODULE, "column '%s'", "id"), LEAT_EMODULE);
    assert_string_equal(err.text, "column 'id': no number");
    assert_int_equal(err.code, LEAT_EMODULE);
    assert_int_equal(base_wrap(NULL, LEAT_EIO, "nobody listens"), LEAT_EIO);
    err = (struct leat_error){0};
    base_wrap(&err, LEAT_EIO, "page 7"); /* who failed said nothing: the code's text does */
    assert_string_equal(err.text, "page 7: the disk failed");
    for (int i = 0; i < 300; i++)
        base_wrap(&err, LEAT_EIO, "again");
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    assert_int_equal(strncmp(err.text, "again: again: ", 14), 0);
}

static void test_errno(void **unused)
{
    static const struct {
        int number, code;
    } row[] = {{ENOENT, LEAT_ENOTFOUND}, {EEXIST, LEAT_EEXISTS}, {ENOSPC, LEAT_ENOSPACE}, {EDQUOT, LEAT_ENOSPACE},
               {EFBIG, LEAT_ENOSPACE},   {ENOMEM, LEAT_ENOMEM},  {EACCES, LEAT_EINVAL},   {EROFS, LEAT_EINVAL},
               {ENOTDIR, LEAT_EINVAL},   {EIO, LEAT_EIO},        {EBADF, LEAT_EIO}};

    (void)unused;
    for (size_t i = 0; i < LENGTH_OF(row); i++) {
        struct leat_error err = {0};

        assert_int_equal(base_errno(&err, row[i].number, "write", "/some/file"), row[i].code);
        assert_int_equal(strncmp(err.text, "write '/some/file': ", 20), 0);
        assert_string_equal(err.text + 20, strerror(row[i].number));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table), cmocka_unit_test(test_classes), cmocka_unit_test(test_other_codes),
        cmocka_unit_test(test_fail),  cmocka_unit_test(test_wrap),    cmocka_unit_test(test_errno),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
