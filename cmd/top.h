/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TOP_H
#define CMD_TOP_H

/* What `leat top` shows: from the figures of a process (DIR/stats.jsonl) at two moments, one screen. Nothing here reads
 * a clock, a file or a terminal. */

#include "base/span.h"

struct top_sample;

struct top_figure {
    const char *module, *object, *name;
    bool histogram;
    double value, sum, p50, p99, max; /* value: of a histogram, how often */
};

/* The figures of one moment. NULL: the text has none. */
struct top_sample *top_sample_open(struct leat_span text);
void top_sample_close(struct top_sample *s);
int64_t top_sample_time(const struct top_sample *s); /* microseconds since 1970 */
int64_t top_sample_process(const struct top_sample *s);
/* All figures, in the order of the text. Borrowed as s. */
const struct top_figure *top_sample_figures(const struct top_sample *s, uint32_t *count);

struct top_view {
    const struct top_sample *before; /* NULL, or of another process: no rates */
    const struct top_sample *now;
    const char *directory;
    uint64_t disk_free, disk_size;
    int64_t wall_us;
    uint32_t width;
    bool colour;
};

/* Lines of at most `width` columns, each with its end. */
void top_frame(const struct top_view *v, struct buffer *out);
/* The same as JSON lines: object, rows_per_s, lag, p50, p99 and so on. */
void top_json(const struct top_view *v, struct buffer *out);

#endif
