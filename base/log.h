/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

/* Messages for whoever runs the process: one line on stderr, "2026-01-02T03:04:05Z warn engine: text". */
enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
void log_level_set(enum log_level lowest); /* default LOG_WARN */
void log_print(enum log_level level, const char *where, const char *format, ...)
    __attribute__((__format__(__printf__, 3, 4)));

#endif
