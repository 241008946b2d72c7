/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

/* Messages for whoever runs the process, one line each on stderr, whole also when threads write at once:
 *
 *   text   2026-01-02T03:04:05.678Z warn engine: a sentence
 *   json   {"time": "2026-01-02T03:04:05.678Z", "level": "warn", "pid": 42, "where": "engine", "text": "a sentence"}
 *
 * The environment says which: LEAT_LOG (debug, info, warn, error, off; warn when not set) and LEAT_LOG_FORMAT (text,
 * json). Of one kind (a format) at most LOG_BURST lines go out in LOG_WINDOW_S seconds; the next one says how many did
 * not. Errors all do. */
enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum { LOG_BURST = 20, LOG_WINDOW_S = 10 };

/* Instead of what the environment says. */
void log_level_set(enum log_level lowest);
/* The same by names; NULL: as it is. false: there is no such level or format, and nothing was changed. */
bool log_configure(const char *level, const char *format);
/* Does a message of the level go out? For those that cost something to make. */
bool log_enabled(enum log_level level);
void log_print(enum log_level level, const char *where, const char *format, ...)
    __attribute__((__format__(__printf__, 3, 4)));

#endif
