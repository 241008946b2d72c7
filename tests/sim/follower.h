/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_FOLLOWER_H
#define TESTS_SIM_FOLLOWER_H

#include "leat/leat.h"

/* Reads depot d0 of the module that is made by chance. PState 0: count, sum and hash by key; 1: the count by a fold. */
extern const struct leat_module follower_module;

#endif
