/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_KEPT_H
#define ENGINE_KEPT_H

/* module.ini: what the first launch of a module fixed. */

#include "base/arena.h"
#include "base/base.h"

struct kept {
    uint32_t tasks, groups;
    struct leat_option option[LIMIT_OPTIONS + 1]; /* ended by a zero row */
    uint32_t options;
};

/* Names and values stay with the arena. LEAT_ENOTFOUND, LEAT_ECORRUPT. */
int kept_read(const char *module_directory, struct arena *a, struct kept *out, struct leat_error *err);
/* A line of the section [options], or several: see FORMATS.md. */
void kept_write_option(struct buffer *out, const char *name, const char *value);
/* Put options over those kept; given: ended by a zero row, or NULL; borrowed. Returns k->option. */
const struct leat_option *kept_merge(struct kept *k, const struct leat_option *given);

#endif
