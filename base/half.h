/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HALF_H
#define BASE_HALF_H

/* IEEE 754 binary16, one number at a time. (modules/vector/ has whole vectors of them, and may not include this.) */

#include "base/base.h"

float half_to_float(uint16_t half); /* exact */
/* The nearest number of 16 bits, of two the even one; false: out of range. */
bool half_of(double number, uint16_t *out);

#endif
