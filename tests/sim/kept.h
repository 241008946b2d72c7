/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_KEPT_H
#define TESTS_SIM_KEPT_H

#include "leat/leat.h"

/* A third module, whose depots keep little: rows come and go, a registered consumer reads on behind them. One depot is
 * read by a stream of the module, the other by nobody else. */

enum { KEPT_DEPOTS = 2, KEPT_TASKS = 4 };

/* What was promised, by depot and partition. */
struct kept_promise {
    uint64_t sent[KEPT_DEPOTS][KEPT_TASKS];  /* rows 0, 1, ...: sequence n + 1 */
    uint64_t acked[KEPT_DEPOTS][KEPT_TASKS];
    uint64_t refused[KEPT_DEPOTS][KEPT_TASKS]; /* from this row on, + 1, they must be sent again; 0: none was refused */
    uint64_t held[KEPT_DEPOTS][KEPT_TASKS];  /* offset at which the consumer may read on */
    bool registered[KEPT_DEPOTS];
};

extern const struct leat_module kept_module;
extern struct kept_promise kept;

/* With logs that are trimmed soon, as segments have this size. */
int kept_launch(struct leat *l, uint64_t segment_size, struct leat_error *err);
/* What it does next follows from the dice. A row that was not acknowledged is sent again the next time. */
void kept_do(uint64_t dice);
/* Any time: nothing that is promised is missing. */
void kept_check(void);
/* All is processed: each row once. */
void kept_check_end(void);
/* The same, and then: what nobody wants any more goes. */
void kept_check_space(void);

#endif
