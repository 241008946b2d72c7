/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

static _Atomic int lowest_level = LOG_WARN;

void log_level_set(enum log_level lowest)
{
    atomic_store(&lowest_level, (int)lowest);
}

void log_print(enum log_level level, const char *where, const char *format, ...)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    char text[2048], stamp[32];
    time_t now = time(NULL);
    struct tm utc;
    va_list args;

    if ((int)level < atomic_load(&lowest_level))
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    gmtime_r(&now, &utc);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &utc);
    fprintf(stderr, "%s %s %s: %s\n", stamp, names[level], where, text);
}
