/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

/* Every bound of the system. What passes one is answered with LEAT_ELIMIT or LEAT_EFULL and its name. */

enum {
    LIMIT_NAME = 48,                      /* bytes of a module, depot, PState, topology or node name */
    LIMIT_COLUMNS = 64,                   /* columns of a row, fields of a struct */
    LIMIT_VECTOR = 65536,                 /* elements of a vector; bits of a bit vector */
    LIMIT_NESTING = 8,                    /* levels of a PState schema */
    LIMIT_ANY_DEPTH = 32,                 /* nesting of one MessagePack or JSON value */
    LIMIT_ANY_ELEMENTS = 1 << 20,         /* elements in one MessagePack or JSON value */
    LIMIT_ROW = 16 << 20,                 /* bytes of one row */
    LIMIT_KEY = 400,                      /* encoded bytes of one key (LMDB: 511 with our prefix) */
    LIMIT_VALUE = 16 << 20,               /* bytes of one PState value */
    LIMIT_PACKED_ROW = 4 << 20,           /* bytes of one packed row */
    LIMIT_TASKS = 4096,
    LIMIT_GROUPS = 256,
    LIMIT_DEPOTS = 64,                    /* of a module */
    LIMIT_PSTATES = 64,
    LIMIT_TOPOLOGIES = 64,
    LIMIT_NODES = 64,                     /* of a topology */
    LIMIT_OPTIONS = 64,
    LIMIT_OPTION = 1024,                  /* bytes of an option's value */
    LIMIT_HOPS = 64,                      /* back edges of loops that one row passes: then it is a dead letter */
    LIMIT_SESSIONS = 100000,              /* remembered, a depot partition */
    LIMIT_GROUP_SESSIONS = 1 << 20,       /* of all partitions of a group, shared evenly */
    LIMIT_REFUSED = 1 << 20,              /* rows of sessions that were refused and not sent again, a group */
    LIMIT_BATCH = 64 << 20,               /* bytes of one journal batch, or of the rows of one append */
    LIMIT_RECORDS = 4 << 20,              /* rows of one append */
    LIMIT_TURN_BYTES = 4 << 20,           /* input of one turn */
    LIMIT_TURN_ROWS = 1 << 17,
    LIMIT_TURN_MEMORY = 512 << 20,        /* arena of one turn */
    LIMIT_PENDING_APPEND = 64 << 20,      /* bytes of appends not yet durable, a group */
    LIMIT_OPEN_TURNS = 1024,              /* source turns not yet processed, a group */
    LIMIT_OPEN_BYTES = 64 << 20,          /* their input */
    /* bytes that one run of a background node emits; and of those that wait for a turn */
    LIMIT_BACKGROUND_RESULT = 16 << 20,
    LIMIT_BACKGROUND_WAITING = 4096,      /* rows for background nodes, a group: then depots are not read */
    LIMIT_VIEW_MS = 60000,                /* age of a view's oldest snapshot */
    LIMIT_SEGMENT = 64 << 20              /* bytes of one segment file */
};

#define LIMIT_SESSION_AGE_US (7LL * 24 * 3600 * 1000000)

#endif
