/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *name, *text;
    enum leat_class class;
    int code;
} errors[] = {
#define ERROR_ROW(name, value, text, class) {#name, text, class, value},
    LEAT_ERRORS(ERROR_ROW)
#undef ERROR_ROW
};

const char *leat_code_name(int code)
{
    for (size_t i = 0; i < LENGTH_OF(errors); i++)
        if (errors[i].code == code)
            return errors[i].name;
    return code == 0 ? "LEAT_OK" : code == LEAT_END ? "LEAT_END" : "LEAT_E?";
}

const char *leat_code_text(int code)
{
    for (size_t i = 0; i < LENGTH_OF(errors); i++)
        if (errors[i].code == code)
            return errors[i].text;
    return code == 0 ? "success" : code == LEAT_END ? "the end" : "unknown error";
}

enum leat_class leat_code_class(int code)
{
    for (size_t i = 0; i < LENGTH_OF(errors); i++)
        if (errors[i].code == code)
            return errors[i].class;
    return code >= 0 ? LEAT_CLASS_NONE : LEAT_CLASS_FATAL;
}

int leat_fail(struct leat_error *err, int code, const char *format, ...)
{
    va_list args;

    if (err == NULL)
        return code;
    err->code = code;
    va_start(args, format);
    vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    return code;
}

const char *leat_version(void)
{
    return LEAT_VERSION;
}
