/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_CHECKUP_H
#define ENGINE_CHECKUP_H

/* Looking for damage in the files of a module, and changing nothing: every byte of the logs is read, and what they say
 * must fit together with each other and with the checkpoints. */

#include "engine/layout.h"

enum checkup_weight {
    CHECKUP_NOTE,    /* worth knowing */
    CHECKUP_WARNING, /* somebody should look */
    CHECKUP_DAMAGE
};

struct checkup {
    void (*found)(void *context, enum checkup_weight weight, const char *where, const char *what, const char *advice);
    void *context;
    bool settled;          /* nobody has the directory open, and nobody will meanwhile */
    bool quick;            /* records of depots are not read: they are damaged only when somebody reads them */
    const char *scratch;   /* a directory for copies of views */
    /* what was looked at */
    uint64_t segments, records, batches, bytes, elements;
};

/* Logs and checkpoints of all groups, and that they fit together. */
void checkup_logs(const struct layout *l, struct checkup *c);
/* One group's view, element by element, as a start would have it: the live file when a clean stop left it, else a copy,
 * put back to its checkpoint and with the journal applied. Damage in LMDB's file may end the process. */
void checkup_view(const struct layout *l, uint32_t group, struct checkup *c);
/* Up to where the state of a group's checkpoint has consumed each partition of its depot log. false: it does not check
 * out. */
bool checkup_state_cursors(const struct layout *l, uint32_t group, struct leat_span state, uint64_t *cursor);
/* The same of the newest checkpoint. false: there is none. */
bool checkup_cursors(const struct layout *l, uint32_t group, uint64_t *cursor);
/* PStates once more from the depots, in a directory beside (names that begin with c->scratch), and compared with those
 * that are there; module NULL: it is not known. Notes say why it cannot be done. */
void checkup_rebuild(const struct layout *l, const struct leat_module *module, struct checkup *c);
/* Is nothing unread in the depots that are read (by depot), and nothing under way between groups? */
bool checkup_processed(const struct layout *l, const bool *read);
/* The view that checkup_view looks at; close it with pstate_view_close. */
int checkup_view_open(const struct layout *l, uint32_t group, const char *scratch, struct pstate_view **out,
                      struct leat_error *err);

#endif
