/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_DERIVED_H
#define TESTS_SIM_DERIVED_H

#include "leat/leat.h"

/* What modules of the simulation derive: both PStates of a node that keeps totals, once more. */
extern const struct leat_derive sim_derive; /* .from is the module's */

/* In a query: is what is derived of this task what its PStates say? pstate: the first of the two. */
bool sim_derived_same(struct leat_task *t, uint32_t pstate);

#endif
