/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DERIVE_H
#define ENGINE_DERIVE_H

/* What a module derives from the PStates of a group (struct leat_derive): versions that never change once they are
 * shown, and readers of the snapshot that the newest belongs to.
 *
 * A version and a snapshot always go together. LMDB opens snapshots only of the last commit, so some readers are set to
 * each commit before its version is shown (derive_publish): whoever takes one gets a pair, and waits neither for a turn
 * nor for a version. When all are in use, one is opened, and given once the version of its commit is there.
 *
 * Only readers hold pages. One that comes back when its snapshot is the newest no more lets go of it at once. Versions
 * are freed on the group's thread, the oldest first: a newer one may have parts of it. */

#include "topologies/plan.h"

struct derive;
struct derive_slot;
struct derive_version;

/* DERIVE_READERS: of the view, beyond those that others use: two sets in turn, and one of the group's own. */
enum { DERIVE_SET = 4, DERIVE_SET_MOST = 32, DERIVE_READERS = 2 * DERIVE_SET + 1 };

struct derive_config {
    const struct plan *plan;
    struct pstate_view *view;
    uint32_t group, groups;
    void (*wake)(void *context);  /* derive_reap has something to do; any thread */
    void *context;
};

/* Build the first version, of the view's last commit. */
int derive_open(const struct derive_config *config, struct derive **out, struct leat_error *err);
/* Free all versions. Nobody may hold one. NULL: nothing happens, here and below. */
void derive_close(struct derive *d);

/* ---- The group's thread ---- */

/* After a commit: make the version of the view as it is now. ops: all that the commit
 * changed. Any error is the group's end. */
int derive_apply(struct derive *d, struct leat_span ops, struct leat_error *err);
/* Show it. */
void derive_publish(struct derive *d, uint64_t turn);
/* It will never be shown: who waits for it waits no more. */
void derive_stop(struct derive *d);
/* Free versions that nobody has any more. */
void derive_reap(struct derive *d);
const void *derive_newest(const struct derive *d);
/* Versions that are not freed yet; any thread. */
uint32_t derive_versions(const struct derive *d);

/* ---- Any thread ---- */

struct derive_hold {
    const void *state;
    struct pstate_reader *reader; /* of its snapshot; borrowed until it is given back */
    struct derive_slot *slot;
    struct derive_version *version;
};
/* The newest version with a reader, for the caller alone. LEAT_EFULL: no reader is to be had;
 * LEAT_ECLOSED: the group has stopped. */
int derive_take(struct derive *d, struct derive_hold *out, struct leat_error *err);
void derive_give(struct derive *d, struct derive_hold *hold);

#endif
