/* SPDX-License-Identifier: Apache-2.0 */
#include "topologies/plan.h"

static const struct {
    const char *name;
    bool age;
    uint64_t factor;
} units[] = {
    {"s", true, 1000000},       {"m", true, 60 * 1000000ULL}, {"h", true, 3600 * 1000000ULL},
    {"d", true, 24 * 3600 * 1000000ULL}, {"B", false, 1},         {"KiB", false, 1ULL << 10},
    {"MiB", false, 1ULL << 20}, {"GiB", false, 1ULL << 30},   {"TiB", false, 1ULL << 40},
};

/* "7d" or "10GiB" of a given length. */
static bool parse_part(const char *text, size_t size, struct plan_retain *out)
{
    uint64_t number = 0;
    size_t digits = 0;

    for (; digits < size && text[digits] >= '0' && text[digits] <= '9' && digits < 12; digits++)
        number = number * 10 + (uint64_t)(text[digits] - '0');
    for (size_t i = 0; i < LENGTH_OF(units) && digits > 0 && number > 0; i++) {
        if (strlen(units[i].name) != size - digits || memcmp(units[i].name, text + digits, size - digits) != 0)
            continue;
        uint64_t value;
        bool twice = units[i].age ? out->age_us != 0 : out->bytes != 0;

        if (twice || __builtin_mul_overflow(number, units[i].factor, &value) || value > INT64_MAX)
            return false;
        if (units[i].age)
            out->age_us = (int64_t)value;
        else
            out->bytes = value;
        return true;
    }
    return false;
}

int plan_retain_parse(const char *text, struct plan_retain *out, struct leat_error *err)
{
    *out = (struct plan_retain){0};
    if (strcmp(text, "forever") == 0)
        return 0;
    for (const char *at = text;;) {
        size_t size = strcspn(at, ",");

        if (!parse_part(at, size, out))
            return leat_fail(err, LEAT_EINVAL,
                             "retention '%s': an age (s, m, h, d), a size (B, KiB, MiB, GiB, TiB) or both with a comma "
                             "are wanted, as in \"7d,10GiB\", or \"forever\"",
                             text);
        if (at[size] == '\0')
            return 0;
        at += size + 1;
    }
}
