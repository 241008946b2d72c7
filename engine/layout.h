/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_LAYOUT_H
#define ENGINE_LAYOUT_H

/* What the files of a module say of it: enough to read its logs and views without its code. */

#include "depots/log.h"
#include "engine/kept.h"
#include "pstates/pstate.h"

struct layout_depot {
    const char *name;
    struct row_schema schema;
};

struct layout_node {
    const char *name;
    struct row_schema takes;
    const char *fold;          /* NULL: none */
    bool background;
};

struct layout_stream {
    const char *name;
    struct layout_node *node;
    uint32_t nodes;
};

struct layout {
    struct arena *arena;
    const char *module;
    const char *directory;
    uint32_t tasks, groups;
    struct kept kept;
    struct layout_depot *depot; /* the last one is dead_letters */
    uint32_t depots;
    struct pstate_schema *pstate;
    uint32_t pstates;
    const char **foreign;       /* "module/depot": depots of other modules that it reads */
    uint32_t foreigns;
    struct layout_stream *stream;
    uint32_t streams;           /* 0: the first launch did not get so far */
};

/* Does the directory hold data of the module, whole or not? errno says why not. */
bool layout_there(const char *data, const char *module);
/* LEAT_ENOTFOUND: the directory has no such module. LEAT_ECORRUPT: its files do not check out. */
int layout_open(const char *data, const char *module, struct layout **out, struct leat_error *err);
void layout_close(struct layout *l);
int layout_depot_find(const struct layout *l, const char *name); /* -1: none */
/* Partitions of a group's depot log, the one that holds a depot's partition, and the other way. */
uint32_t layout_partitions(const struct layout *l);
uint32_t layout_partition(const struct layout *l, uint32_t depot, uint32_t partition);
void layout_partition_of(const struct layout *l, uint32_t group, uint32_t log_partition, uint32_t *depot,
                         uint32_t *partition);
void layout_path(const struct layout *l, uint32_t group, const char *name, char *out, size_t size);
/* What the headers of the segments of a group's log say of whose it is. */
uint16_t layout_owner(uint32_t group, const char *name);
/* A log of a group, as its files are now. settled: nobody has the directory open. */
int layout_log(const struct layout *l, uint32_t group, const char *name, bool settled, struct log **out,
               struct leat_error *err);
/* The same, with all headers of all segments read: damage that a start does not come to is told, too. */
int layout_log_walk(const struct layout *l, uint32_t group, const char *name, bool settled, struct log **out,
                    struct leat_error *err);
/* "topology.node" of what an output names by numbers; NULL: there is none. */
const struct layout_node *layout_node_at(const struct layout *l, uint32_t stream, uint32_t node);

#endif
