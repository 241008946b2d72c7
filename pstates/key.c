/* SPDX-License-Identifier: Apache-2.0 */
#include "pstates/key.h"

static void key_put(struct key *k, const void *bytes, size_t size)
{
    leat_assert(k->size + size <= KEY_MAX);
    memcpy(k->bytes + k->size, bytes, size);
    k->size += (uint32_t)size;
}

void key_u8(struct key *k, uint8_t v)
{
    key_put(k, &v, 1);
}

void key_u32(struct key *k, uint32_t v)
{
    v = __builtin_bswap32(v);
    key_put(k, &v, 4);
}

void key_u64(struct key *k, uint64_t v)
{
    v = __builtin_bswap64(v);
    key_put(k, &v, 8);
}

uint64_t key_read_u64(const void *at)
{
    return __builtin_bswap64(load_u64(at));
}

uint32_t key_read_u32(const void *at)
{
    return __builtin_bswap32(load_u32(at));
}

static void key_task(struct key *k, uint32_t task)
{
    leat_assert(task < LIMIT_TASKS);
    k->size = 0;
    key_u8(k, (uint8_t)(task >> 8));
    key_u8(k, (uint8_t)task);
}

uint32_t key_task_of(const void *bytes)
{
    const uint8_t *p = bytes;

    return (uint32_t)p[0] << 8 | p[1];
}

void key_root(struct key *k, uint32_t task, uint32_t pstate)
{
    leat_assert(pstate < LIMIT_PSTATES);
    key_task(k, task);
    key_u8(k, (uint8_t)pstate);
}

void key_nested(struct key *k, uint32_t task, uint64_t reference)
{
    key_task(k, task);
    key_u8(k, KEY_REFERENCE);
    key_u64(k, reference);
}

/* Order of doubles as order of integers: flip the sign of positive ones, all bits of negative ones. -0 is 0. */
static uint64_t f64_order(double d)
{
    uint64_t bits;

    if (d == 0)
        d = 0;
    memcpy(&bits, &d, 8);
    return bits >> 63 ? ~bits : bits | UINT64_C(1) << 63;
}

static double f64_value(uint64_t order)
{
    uint64_t bits = order >> 63 ? order & ~(UINT64_C(1) << 63) : ~order;
    double d;

    memcpy(&d, &bits, 8);
    return d;
}

static double number_of(const struct leat_value *v)
{
    return v->type == LEAT_I64                          ? (double)v->as.i
           : v->type == LEAT_F64 || v->type == LEAT_F32 ? v->as.f
                                                        : (double)v->as.u;
}

int key_value(struct key *k, const struct leat_column *type, const struct leat_value *value, struct leat_error *err)
{
    bool spanned = type->type == LEAT_STR || type->type == LEAT_BYTES;

    if (value->type != type->type) {
        int rv = schema_check_value(type, value, err);

        if (rv != 0)
            return rv;
    }
    if (spanned && value->as.bytes.size > LIMIT_KEY)
        return leat_fail(err, LEAT_ELIMIT, "a key of %zu bytes; at most %d are possible", value->as.bytes.size,
                         LIMIT_KEY);
    switch (type->type) {
    case LEAT_BOOL:
        key_u8(k, value->as.b);
        return 0;
    case LEAT_U32:
        key_u32(k, (uint32_t)value->as.u);
        return 0;
    case LEAT_U64:
        key_u64(k, value->as.u);
        return 0;
    case LEAT_I64:
        key_u64(k, value->as.u ^ UINT64_C(1) << 63);
        return 0;
    case LEAT_F64:
        if (number_of(value) != number_of(value))
            return leat_fail(err, LEAT_ESCHEMA, "NaN cannot be a key");
        key_u64(k, f64_order(number_of(value)));
        return 0;
    default:
        leat_assert(spanned);
        if (value->as.bytes.size > 0)
            key_put(k, value->as.bytes.base, value->as.bytes.size);
        return 0;
    }
}

int key_decode(const struct leat_column *type, struct leat_span bytes, struct leat_value *out)
{
    uint32_t size = schema_fixed_size(type);
    uint64_t order;

    *out = (struct leat_value){.type = type->type, .as.u = 0};
    if (size > 0 && bytes.size != size)
        return LEAT_ECORRUPT;
    switch (type->type) {
    case LEAT_BOOL:
        out->as.b = *(const uint8_t *)bytes.base != 0;
        return *(const uint8_t *)bytes.base <= 1 ? 0 : LEAT_ECORRUPT;
    case LEAT_U32:
        out->as.u = key_read_u32(bytes.base);
        return 0;
    case LEAT_U64:
        out->as.u = key_read_u64(bytes.base);
        return 0;
    case LEAT_I64:
        out->as.u = key_read_u64(bytes.base) ^ UINT64_C(1) << 63;
        return 0;
    case LEAT_F64:
        order = key_read_u64(bytes.base);
        out->as.f = f64_value(order);
        return out->as.f == out->as.f && f64_order(out->as.f) == order ? 0 : LEAT_ECORRUPT;
    default:
        out->as.bytes = bytes;
        return 0;
    }
}
