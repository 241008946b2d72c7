/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODULES_IVF_PLACES_H
#define MODULES_IVF_PLACES_H

/* Where the vector of each id lies, by the id's number, at the task that owns the id. Numbers that follow each other
 * share an entry of the PState `places`, a block: alone each would take twice the room, most of it for its key. */

#include "leat/leat.h"

struct ivf;

enum { PLACES_ENTRY = 14 }; /* bytes of one in its block */

struct place {
    uint32_t version, posting;
    uint32_t before; /* the posting that its row came from; NOWHERE: it has not moved */
    bool attributes; /* `ids` has some */
};

/* The places of a task as a node reads and writes them, a block at a time. */
struct places {
    struct leat_task *t;
    uint32_t shift;   /* of a number to its block */
    bool known;       /* a block is there: */
    bool changed;
    uint64_t block;
    uint8_t *entry;   /* by number */
    uint32_t count, room;
};

/* t: borrowed until the end. Own task, in a turn; to read also a query's, or of a view. */
void places_begin(struct places *p, struct leat_task *t, const struct ivf *v);
/* Write what changed. */
void places_end(struct places *p);

/* false: there is none of the number. */
bool places_get(struct places *p, uint64_t number, struct place *out);
void places_put(struct places *p, uint64_t number, const struct place *place);
/* Nothing happens when there is none. */
void places_delete(struct places *p, uint64_t number);

#endif
