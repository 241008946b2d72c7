/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_CUT_H
#define ENGINE_CUT_H

/* A consistent cut through logs that grow while they are copied: where to end each copy so that nothing in one speaks
 * of what another lacks. (Chandy and Lamport, "Distributed Snapshots", TOCS 3 (1), 1985, section 2: no effect without
 * its cause.)
 *
 * A pure function: streams have lengths, an element of one may need another to have some length; the greatest lengths
 * that satisfy all are found by taking away until nothing is missing. */

#include "base/base.h"

/* If stream `at` is longer than `element`, stream `needs` must have at least `length`. */
struct cut_need {
    uint32_t at;
    uint64_t element;
    uint32_t needs;
    uint64_t length;
};

/* length: by stream; shortened in place. */
void cut_consistent(uint64_t *length, const struct cut_need *need, size_t needs);

#endif
