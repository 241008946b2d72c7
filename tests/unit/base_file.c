/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "base/file.h"

/* Whole files: what is there afterwards, what is left alone, and that each failure names the path. */

static char root[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "/tmp/leat-file-XXXXXX");
    return mkdtemp(root) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove_tree(root, NULL);
}

/* Valid until the fourth next call. */
static const char *in_root(const char *name)
{
    static char path[4][256];
    static unsigned next;
    char *out = path[next++ % 4];

    snprintf(out, 256, "%s/%s", root, name);
    return out;
}

static bool is_there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(file_pwrite(fd, text, strlen(text), 0), 0);
    close(fd);
}

static void assert_holds(const char *path, const char *text)
{
    struct buffer b = {0};

    assert_int_equal(file_read(path, 1000, &b, NULL), 0);
    assert_true(span_equal(buffer_bytes(&b), span_text(text)));
    buffer_fini(&b);
}

static void assert_told(int rv, int code, const struct leat_error *err, const char *path, const char *reason)
{
    assert_int_equal(rv, code);
    assert_int_equal(err->code, code);
    if (strstr(err->text, path) == NULL || strstr(err->text, reason) == NULL)
        fail_msg("'%s' and '%s' are not both in: %s", path, reason, err->text);
}

/* ---- Directories ---- */

static void test_make_directory(void **state)
{
    struct leat_error err = {0};
    struct stat st;

    (void)state;
    for (int durable = 0; durable < 2; durable++) {
        const char *path = in_root(durable ? "a/b//c" : "x/y/z/");

        assert_int_equal(file_make_directory(path, durable, &err), 0);
        assert_int_equal(stat(path, &st), 0);
        assert_true(S_ISDIR(st.st_mode));
        assert_int_equal(st.st_mode & 0777, 0700);
        assert_int_equal(file_make_directory(path, durable, &err), 0);
    }
    write_file(in_root("file"), "text");
    assert_told(file_make_directory(in_root("file"), true, &err), LEAT_EINVAL, &err, in_root("file"),
                "is not a directory");
    assert_told(file_make_directory(in_root("file/below"), false, &err), LEAT_EINVAL, &err, in_root("file"),
                "make directory");
    assert_holds(in_root("file"), "text");
    assert_told(file_make_directory("", false, &err), LEAT_EINVAL, &err, "path", "empty or too long");
}

static void test_long_path(void **state)
{
    struct leat_error err = {0};
    char longest[5000];

    (void)state;
    memset(longest, 'y', sizeof(longest));
    longest[0] = '/';
    longest[sizeof(longest) - 1] = '\0';
    assert_told(file_make_directory(longest, false, &err), LEAT_EINVAL, &err, "/yyy", "empty or too long");
    longest[300] = '\0'; /* of a name, 255 are possible */
    assert_told(file_make_directory(longest, false, &err), LEAT_EINVAL, &err, longest, "too long");
    assert_told(file_replace(longest, span_text("a"), &err), LEAT_EINVAL, &err, longest, "too long");
    assert_told(file_read(longest, 10, &(struct buffer){0}, &err), LEAT_EINVAL, &err, longest, "too long");
}

static void test_sync_directory(void **state)
{
    struct leat_error err = {0};

    (void)state;
    assert_int_equal(file_sync_directory(root, &err), 0);
    assert_told(file_sync_directory(in_root("none"), &err), LEAT_ENOTFOUND, &err, in_root("none"), "open directory");
    write_file(in_root("file"), "text");
    assert_told(file_sync_directory(in_root("file"), &err), LEAT_EINVAL, &err, in_root("file"), "open directory");
}

static void test_remove_tree(void **state)
{
    struct leat_error err = {0};

    (void)state;
    assert_int_equal(file_make_directory(in_root("kept"), false, NULL), 0);
    write_file(in_root("kept/file"), "text");
    assert_int_equal(file_make_directory(in_root("tree/a/b"), false, NULL), 0);
    write_file(in_root("tree/a/file"), "");
    assert_int_equal(symlink(in_root("kept"), in_root("tree/a/link")), 0);
    assert_int_equal(symlink(in_root("nowhere"), in_root("tree/broken")), 0);
    assert_int_equal(file_remove_tree(in_root("tree"), &err), 0);
    assert_false(is_there(in_root("tree")));
    assert_holds(in_root("kept/file"), "text"); /* links are removed, not followed */
    assert_int_equal(file_remove_tree(in_root("kept/file"), &err), 0);
    assert_false(is_there(in_root("kept/file")));
    assert_int_equal(file_remove_tree(in_root("none"), &err), 0);
    write_file(in_root("file"), "text");
    assert_told(file_remove_tree(in_root("file/below"), &err), LEAT_EINVAL, &err, in_root("file/below"), "remove");
}

/* ---- Contents ---- */

static void test_replace(void **state)
{
    struct leat_error err = {0};

    (void)state;
    assert_int_equal(file_replace(in_root("file"), span_text("first, and longer"), &err), 0);
    assert_holds(in_root("file"), "first, and longer");
    write_file(in_root("file.tmp"), "what a process left that died; longer than what comes");
    assert_int_equal(file_replace(in_root("file"), span_text("second"), &err), 0);
    assert_holds(in_root("file"), "second");
    assert_false(is_there(in_root("file.tmp")));
    assert_int_equal(file_replace(in_root("file"), span_of(NULL, 0), &err), 0);
    assert_holds(in_root("file"), "");
    assert_told(file_replace(in_root("none/file"), span_text("a"), &err), LEAT_ENOTFOUND, &err, in_root("none/file"),
                "write");
    assert_int_equal(file_make_directory(in_root("directory"), false, NULL), 0);
    assert_told(file_replace(in_root("directory"), span_text("a"), &err), LEAT_EINVAL, &err, in_root("directory"),
                "rename");
}

/* A path without a directory is of the working directory. */
static void test_replace_here(void **state)
{
    char before[4096];

    (void)state;
    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(root), 0);
    int rv = file_replace("here", span_text("text"), NULL), made = file_make_directory("below", true, NULL);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(rv, 0);
    assert_int_equal(made, 0);
    assert_holds(in_root("here"), "text");
    assert_true(is_there(in_root("below")));
}

static void test_read(void **state)
{
    struct leat_error err = {0};
    struct buffer b = {0}, small;
    uint8_t *large = base_alloc(200000);

    (void)state;
    for (uint32_t i = 0; i < 200000; i++)
        large[i] = (uint8_t)(i * 7 >> 3);
    assert_int_equal(file_replace(in_root("large"), span_of(large, 200000), NULL), 0);
    buffer_put(&b, "before", 6);
    assert_int_equal(file_read(in_root("large"), 200000, &b, &err), 0); /* behind what is there */
    assert_int_equal(b.size, 200006);
    assert_memory_equal(b.base, "before", 6);
    assert_memory_equal(b.base + 6, large, 200000);
    buffer_fini(&b);
    assert_told(file_read(in_root("large"), 199999, &b, &err), LEAT_ELIMIT, &err, in_root("large"),
                "more than the 199999 allowed");
    assert_int_equal(b.size, 0);
    buffer_init(&small, 70000);
    err = (struct leat_error){0};
    assert_told(file_read(in_root("large"), 200000, &small, &err), LEAT_ELIMIT, &err, in_root("large"),
                "more bytes than there is room for");
    buffer_fini(&small);
    assert_told(file_read(in_root("none"), 10, &b, &err), LEAT_ENOTFOUND, &err, in_root("none"), "read");
    assert_told(file_read(root, 1 << 20, &b, &err), LEAT_EINVAL, &err, root, "is no file");
    buffer_fini(&b);
    free(large);
}

static void test_pwrite(void **state)
{
    (void)state;
    write_file(in_root("file"), "0123456789");
    int fd = open(in_root("file"), O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(file_pwrite(fd, "abc", 3, 8), 0);
    assert_int_equal(file_pwrite(fd, NULL, 0, 1000), 0);
    close(fd);
    assert_holds(in_root("file"), "01234567abc");
    errno = 0;
    assert_int_equal(file_pwrite(fd, "abc", 3, 0), LEAT_EIO); /* closed */
    assert_int_equal(errno, EBADF);
    fd = open("/dev/full", O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(file_pwrite(fd, "abc", 3, 0), LEAT_ENOSPACE);
    close(fd);
}

/* ---- Locks ---- */

/* What another process is told; it says so by its exit status. */
static int lock_elsewhere(const char *path, bool *named)
{
    pid_t parent = getpid(), child = fork();
    int status;

    if (child == 0) {
        struct leat_error err = {0};
        char pid[32];
        int fd, rv = file_lock(path, &fd, &err);

        snprintf(pid, sizeof(pid), "process %d has", (int)parent);
        _exit(rv == 0                                                                               ? 0
              : rv == LEAT_EBUSY && strstr(err.text, pid) != NULL && strstr(err.text, path) != NULL ? 1
                                                                                                    : 2);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    *named = WEXITSTATUS(status) == 1;
    return *named ? LEAT_EBUSY : 0;
}

static void test_lock(void **state)
{
    struct leat_error err = {0};
    bool named;
    char pid[32], number[32];
    int fd, second;

    (void)state;
    write_file(in_root("lock"), "123456789 of a process that is no more");
    assert_int_equal(file_lock(in_root("lock"), &fd, &err), 0);
    snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    assert_holds(in_root("lock"), pid);
    assert_int_equal(lock_elsewhere(in_root("lock"), &named), LEAT_EBUSY);
    assert_true(named);
    assert_told(file_lock(in_root("lock"), &second, &err), LEAT_EBUSY, &err, in_root("lock"),
                "is locked"); /* also in one process */
    close(fd);
    /* Whoever holds it without its number is not taken for the one that had it before. */
    pid_t gone = fork();
    if (gone == 0)
        _exit(0);
    assert_int_equal(waitpid(gone, NULL, 0), gone);
    snprintf(number, sizeof(number), "%d\n", (int)gone);
    write_file(in_root("lock"), number);
    int looks = open(in_root("lock"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(looks, LOCK_EX | LOCK_NB), 0);
    assert_told(file_lock(in_root("lock"), &second, &err), LEAT_EBUSY, &err, in_root("lock"),
                "looks at this directory");
    close(looks);
    assert_int_equal(lock_elsewhere(in_root("lock"), &named), 0); /* which ended, and its lock with it */
    assert_int_equal(file_lock(in_root("lock"), &fd, &err), 0);
    assert_holds(in_root("lock"), pid);
    close(fd);
    assert_told(file_lock(in_root("none/lock"), &fd, &err), LEAT_ENOTFOUND, &err, in_root("none/lock"), "open");
}

/* Space is there before the bytes are, and what is there stays. */
static void test_reserve(void **state)
{
    struct leat_error err = {0};
    struct stat st;

    (void)state;
    assert_int_equal(file_reserve(in_root("new"), 20000, &err), 0);
    assert_int_equal(stat(in_root("new"), &st), 0);
    assert_int_equal(st.st_size, 0);
    write_file(in_root("old"), "bytes");
    assert_int_equal(file_reserve(in_root("old"), 20000, &err), 0);
    assert_int_equal(stat(in_root("old"), &st), 0);
    assert_int_equal(st.st_size, 5);
    assert_int_equal(file_reserve(in_root("nowhere/file"), 20000, &err), LEAT_ENOTFOUND);
    assert_non_null(strstr(err.text, "nowhere/file"));
}

/* A sync that fails is final, whatever the reason. */
static void test_failed_sync(void **state)
{
    struct leat_error err = {0};
    int fd = open(root, O_RDONLY), pipes[2];

    (void)state;
    assert_int_equal(file_sync(fd, root, &err), 0);
    close(fd);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(file_sync(pipes[0], "the pipe", &err), LEAT_EIO); /* EINVAL */
    assert_non_null(strstr(err.text, "the pipe"));
    close(pipes[0]);
    close(pipes[1]);
    assert_false(file_disk_full("/nowhere/at/all"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_make_directory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_path, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sync_directory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_remove_tree, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replace, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replace_here, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pwrite, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reserve, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failed_sync, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
