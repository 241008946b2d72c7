/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

void base_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "leat: %s:%d: broken invariant: %s\n", file, line, condition);
    abort();
}

static void *or_abort(void *memory, size_t size)
{
    if (memory != NULL)
        return memory;
    fprintf(stderr, "leat: out of memory (%zu bytes for a control structure)\n", size);
    abort();
}

void *base_alloc(size_t size)
{
    return or_abort(calloc(1, size > 0 ? size : 1), size);
}

void *base_realloc(void *memory, size_t size)
{
    return or_abort(realloc(memory, size > 0 ? size : 1), size);
}

char *base_strdup(const char *text)
{
    return or_abort(strdup(text), strlen(text));
}

static int code_of_errno(int number)
{
    switch (number) {
    case ENOENT:
        return LEAT_ENOTFOUND;
    case EEXIST:
        return LEAT_EEXISTS;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return LEAT_ENOSPACE;
    case ENOMEM:
        return LEAT_ENOMEM;
    case EACCES:
    case EPERM:
    case EROFS:
    case ENOTDIR:
    case EISDIR:
    case ENAMETOOLONG:
        return LEAT_EINVAL;
    default:
        return LEAT_EIO;
    }
}

int base_errno(struct leat_error *err, int number, const char *doing, const char *what)
{
    return leat_fail(err, code_of_errno(number), "%s '%s': %s", doing, what, strerror(number));
}

int base_wrap(struct leat_error *err, int code, const char *format, ...)
{
    char inner[sizeof(err->text)];
    va_list args;

    leat_assert(code != 0);
    if (err == NULL)
        return code;
    memcpy(inner, err->text, sizeof(inner));
    va_start(args, format);
    int length = vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    if (inner[0] == '\0')
        snprintf(inner, sizeof(inner), "%s", leat_code_text(code));
    if (length >= 0 && (size_t)length < sizeof(err->text))
        snprintf(err->text + length, sizeof(err->text) - (size_t)length, ": %s", inner);
    err->code = code;
    return code;
}
