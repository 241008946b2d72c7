/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_CONSUMER_H
#define ENGINE_CONSUMER_H

/* Who still wants records of a depot, besides the streams of its module: modules that read it, and exports and backups
 * by a name. Each is a file, MODULE/consumers/DEPOT/NAME, so that it counts also while nobody of them runs. Retention
 * trims nothing that a consumer has not read. */

#include "base/base.h"

#include <time.h>

/* Where a consumer reads on, by partition; UINT64_MAX: it does not read that one, and holds nothing of it. */
struct consumer {
    uint32_t partitions;
    uint64_t *position;
};

#define CONSUMER_NONE UINT64_MAX

/* MODULE_DIRECTORY/consumers/DEPOT */
void consumer_directory(const char *module_directory, const char *depot, char *out, size_t size);
/* May a user's consumer have this name? Those of modules have a dot in theirs. */
bool consumer_name_fits(const char *name);
/* Read positions into c->position, which has c->partitions elements. LEAT_ENOTFOUND, LEAT_ECORRUPT. */
int consumer_read(const char *directory, const char *name, struct consumer *c, struct leat_error *err);
/* Register or move; durable unless told otherwise. Makes the directory. */
int consumer_write(const char *directory, const char *name, const struct consumer *c, bool durable,
                   struct leat_error *err);
int consumer_remove(const char *directory, const char *name, struct leat_error *err);
/* Every registered name, in no order; a non-zero return stops and is returned. No directory: no consumers. */
typedef int consumer_each(void *context, const char *name, struct leat_error *err);
int consumer_list(const char *directory, consumer_each *each, void *context, struct leat_error *err);
/* Lower floor, which has an element for each partition, to what all consumers have read. */
int consumer_floor(const char *directory, uint64_t *floor, uint32_t partitions, struct leat_error *err);

/* What consumer_floor said last, and of which state of the directory. */
struct consumer_floors {
    bool known;
    struct timespec changed;
    uint64_t *floor;
};
/* The same; the files are read only where the directory has changed since. Free c->floor. */
int consumer_floor_again(struct consumer_floors *c, const char *directory, uint64_t *floor, uint32_t partitions,
                         struct leat_error *err);

#endif
