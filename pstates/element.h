/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PSTATES_ELEMENT_H
#define PSTATES_ELEMENT_H

/* What an entry of a view is, for those who look at views and operations from outside: by its key, the schemas, and
 * the collections met before. */

#include "pstates/key.h"

/* A collection that has a reference: nested, so the element it is the value of came before. */
struct reference {
    uint64_t reference; /* 0: free */
    const struct pstate_schema *pstate;
    const struct pstate_level *level;
    uint64_t count;     /* as its header says: lists and rows */
    uint64_t next;      /* elements, or rows, met so far */
    bool partial;       /* unlinked: part of it may be deleted */
};

struct references {
    struct reference *slot; /* open addressing */
    uint32_t capacity, count;
};

struct reference *references_find(const struct references *r, uint64_t reference);
/* Found or made; pointers given out before are no more. */
struct reference *references_add(struct references *r, uint64_t reference);
void references_clear(struct references *r); /* keeps the memory */
void references_fini(struct references *r);

struct element {
    uint32_t task;
    bool system;                        /* the view's own: nothing else is set */
    const struct pstate_schema *pstate;
    uint64_t reference;                 /* of the collection it is in; 0: the PState's own level */
    const struct pstate_level *in;      /* that collection; NULL: the leaf, or the header, of the PState itself */
    const struct pstate_level *level;   /* of what is there; NULL: an element of a set, or packed rows */
    struct leat_span key;               /* behind the prefix */
    struct leat_value value;            /* of the key; LEAT_NULL: none, or of packed rows */
};

/* LEAT_ENOTFOUND: of a collection that was not met; task and reference are set.
 * LEAT_ECORRUPT: no entry has such a key. */
int element_of(const struct pstate_schema *schema, uint32_t schemas, const struct references *met, struct leat_span key,
               struct element *out);
/* Does a value have the form that the schema says? Packed rows only as far as their size is their own. */
int element_check(const struct element *e, struct leat_span value, struct leat_error *err);
/* If the value is the header of a nested collection, that one is met from now on. */
struct reference *element_meet(const struct element *e, struct leat_span value, struct references *met);

/* "task 3, PState words, key \"leat\"" */
void element_name(const struct element *e, struct buffer *out);

/* ---- explain: operations of turns, decoded ---- */

struct pstate_explained {
    const char *operation;     /* "put", "delete", "unlink", "append row", "replace row", "remove row" */
    struct leat_span element;  /* as element_name says, borrowed for the call */
    struct leat_span value;    /* JSON; empty: none */
};

typedef void pstate_explain_each(void *context, const struct pstate_explained *e);
/* Call each (may be NULL) for the operations of one turn. Collections that they make are met.
 * LEAT_ECORRUPT: the bytes are none. */
int pstate_explain(const struct pstate_schema *schema, uint32_t schemas, struct references *met, struct leat_span ops,
                   pstate_explain_each *each, void *context);

#endif
