/* SPDX-License-Identifier: Apache-2.0 */
#include "base/half.h"

#include <math.h>

float half_to_float(uint16_t half)
{
    int exponent = half >> 10 & 31;
    float fraction = (float)(half & 0x3ff), sign = half & 0x8000 ? -1.0F : 1.0F;

    if (exponent == 31)
        return fraction == 0 ? sign * INFINITY : NAN;
    return sign * (exponent == 0 ? ldexpf(fraction, -24) : ldexpf(fraction + 1024, exponent - 25));
}

bool half_of(double number, uint16_t *out)
{
    double size = fabs(number);
    int exponent;

    if (!(size < 65520)) /* from here on infinity is nearer than 65504 */
        return false;
    frexp(size, &exponent);
    exponent = size == 0 || exponent < -13 ? -13 : exponent; /* below, steps are as far apart as in the last binade */
    uint32_t half = ((uint32_t)(exponent + 13) << 10) + (uint32_t)rint(ldexp(size, 11 - exponent));
    *out = (uint16_t)(half | (signbit(number) ? 0x8000 : 0));
    return true;
}
