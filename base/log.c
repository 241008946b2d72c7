/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include "base/codec.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const char *const names[] = {"debug", "info", "warn", "error", "off"};

enum { LEVELS = sizeof(names) / sizeof(names[0]), KINDS = 64 };

static _Atomic int lowest_level = LOG_WARN;
static _Atomic bool as_json;
static pthread_once_t looked = PTHREAD_ONCE_INIT;

static int level_of(const char *name)
{
    for (int i = 0; i < LEVELS; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

static bool apply(const char *level, const char *format)
{
    int number = level != NULL ? level_of(level) : 0;

    if (number < 0 || (format != NULL && strcmp(format, "text") != 0 && strcmp(format, "json") != 0))
        return false;
    if (level != NULL)
        atomic_store(&lowest_level, number);
    if (format != NULL)
        atomic_store(&as_json, strcmp(format, "json") == 0);
    return true;
}

static void look_at_environment(void)
{
    const char *level = getenv("LEAT_LOG"), *format = getenv("LEAT_LOG_FORMAT");

    if (level != NULL && !apply(level, NULL))
        fprintf(stderr, "leat: LEAT_LOG is '%s', but debug, info, warn, error or off is wanted; it is warn\n", level);
    if (format != NULL && !apply(NULL, format))
        fprintf(stderr, "leat: LEAT_LOG_FORMAT is '%s', but text or json is wanted; it is text\n", format);
}

void log_level_set(enum log_level lowest)
{
    pthread_once(&looked, look_at_environment);
    atomic_store(&lowest_level, (int)lowest);
}

bool log_configure(const char *level, const char *format)
{
    pthread_once(&looked, look_at_environment);
    return apply(level, format);
}

bool log_enabled(enum log_level level)
{
    pthread_once(&looked, look_at_environment);
    return (int)level >= atomic_load(&lowest_level);
}

/* ---- Not too many of a kind ---- */

static struct kind {
    const char *format;
    time_t begun;
    unsigned count;
} kinds[KINDS];
static pthread_mutex_t kinds_lock = PTHREAD_MUTEX_INITIALIZER;

/* May this one go out? *left_out: how many of its kind did not before. Kinds that share a place make each other
 * forgotten, which costs lines and no more. */
static bool may_go(const char *format, time_t now, unsigned *left_out)
{
    struct kind *k = &kinds[(uintptr_t)format / 8 % KINDS];

    pthread_mutex_lock(&kinds_lock);
    *left_out = 0;
    if (k->format != format || now - k->begun >= LOG_WINDOW_S || now < k->begun) {
        *left_out = k->format == format && k->count > LOG_BURST ? k->count - LOG_BURST : 0;
        *k = (struct kind){format, now, 0};
    }
    bool go = ++k->count <= LOG_BURST;
    pthread_mutex_unlock(&kinds_lock);
    return go;
}

/* ---- Lines ---- */

static void put_json(struct buffer *out, const char *stamp, enum log_level level, const char *where, const char *text)
{
    char head[128];

    snprintf(head, sizeof(head),
             "{\"time\": \"%s\", \"level\": \"%s\", \"pid\": %d, \"where\": \"%s\", \"text\": ", stamp, names[level],
             (int)getpid(), where);
    buffer_put(out, head, strlen(head));
    json_escape(span_text(text), out);
    buffer_put(out, "}\n", 2);
}

static void put_text(struct buffer *out, const char *stamp, enum log_level level, const char *where, const char *text)
{
    char head[128];

    snprintf(head, sizeof(head), "%s %s %s: ", stamp, names[level], where);
    buffer_put(out, head, strlen(head));
    for (const char *c = text; *c != '\0'; c++) /* what others stored makes no lines of its own */
        buffer_u8(out, (unsigned char)*c < ' ' || *c == 0x7f ? ' ' : (uint8_t)*c);
    buffer_u8(out, '\n');
}

void log_print(enum log_level level, const char *where, const char *format, ...)
{
    char text[2048], stamp[32];
    struct buffer out = {0};
    struct timespec now;
    struct tm utc;
    unsigned left_out = 0;
    va_list args;

    clock_gettime(CLOCK_REALTIME, &now);
    if (!log_enabled(level) || (level < LOG_ERROR && !may_go(format, now.tv_sec, &left_out)))
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (left_out > 0) {
        size_t size = strlen(text);

        snprintf(text + size, sizeof(text) - size, " (%u more of this kind were left out before)", left_out);
    }
    gmtime_r(&now.tv_sec, &utc);
    size_t size = strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(stamp + size, sizeof(stamp) - size, ".%03dZ", (int)(now.tv_nsec / 1000000));
    if (atomic_load(&as_json))
        put_json(&out, stamp, level, where, text);
    else
        put_text(&out, stamp, level, where, text);
    fwrite(out.base, 1, out.size, stderr);
    buffer_fini(&out);
}
