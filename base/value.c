/* SPDX-License-Identifier: Apache-2.0 */
#include "base/schema.h"

#include "base/base.h"

#include <xxhash.h>

struct leat_value leat_null(void)
{
    return (struct leat_value){.type = LEAT_NULL};
}

struct leat_value leat_bool(bool b)
{
    struct leat_value v = {.type = LEAT_BOOL, .as.u = 0};

    v.as.b = b;
    return v;
}

struct leat_value leat_i64(int64_t i)
{
    return (struct leat_value){.type = LEAT_I64, .as.i = i};
}

struct leat_value leat_u32(uint32_t u)
{
    return (struct leat_value){.type = LEAT_U32, .as.u = u};
}

struct leat_value leat_u64(uint64_t u)
{
    return (struct leat_value){.type = LEAT_U64, .as.u = u};
}

struct leat_value leat_f32(float f)
{
    return (struct leat_value){.type = LEAT_F32, .as.f = (double)f};
}

struct leat_value leat_f64(double f)
{
    return (struct leat_value){.type = LEAT_F64, .as.f = f};
}

static struct leat_value value_bytes(enum leat_type type, const void *base, size_t size)
{
    return (struct leat_value){.type = type, .as.bytes = {base, size}};
}

struct leat_value leat_str(const char *text)
{
    return value_bytes(LEAT_STR, text, strlen(text));
}

struct leat_value leat_str_n(const char *text, size_t size)
{
    return value_bytes(LEAT_STR, text, size);
}

struct leat_value leat_bytes(const void *base, size_t size)
{
    return value_bytes(LEAT_BYTES, base, size);
}

struct leat_value leat_any(const void *msgpack, size_t size)
{
    return value_bytes(LEAT_ANY, msgpack, size);
}

struct leat_value leat_vector(enum leat_type type, const void *elements, uint32_t count)
{
    struct leat_value v = value_bytes(type, elements, leat_vector_size(type, count));

    leat_assert(type >= LEAT_F32_VECTOR);
    v.count = count;
    return v;
}

size_t leat_vector_size(enum leat_type type, uint32_t count)
{
    switch (type) {
    case LEAT_F32_VECTOR:
    case LEAT_U32_VECTOR:
        return (size_t)count * 4;
    case LEAT_F16_VECTOR:
        return (size_t)count * 2;
    case LEAT_I8_VECTOR:
    case LEAT_U8_VECTOR:
        return count;
    case LEAT_BITS:
        return count / 8;
    default:
        return 0;
    }
}

struct leat_value leat_at(const struct leat_batch *batch, uint32_t row, uint32_t column)
{
    const struct leat_column *c = &batch->column[column];
    struct leat_value v = {.type = c->type, .count = c->count, .as.u = 0};

    leat_assert(row < batch->rows && column < batch->columns);
    if (c->nulls != NULL && c->nulls[row])
        return leat_null();
    const uint8_t *at = (const uint8_t *)c->data + (size_t)row * c->stride;
    float f;
    switch (c->type) {
    case LEAT_BOOL:
        v.as.b = *at != 0;
        break;
    case LEAT_U32:
        v.as.u = load_u32(at);
        break;
    case LEAT_I64:
    case LEAT_U64:
    case LEAT_F64:
        memcpy(&v.as, at, 8);
        break;
    case LEAT_F32:
        memcpy(&f, at, 4);
        v.as.f = (double)f;
        break;
    case LEAT_STR:
    case LEAT_BYTES:
    case LEAT_ANY:
        memcpy(&v.as.bytes, at, sizeof(v.as.bytes));
        break;
    default:
        v.as.bytes = span_of(at, c->stride);
        break;
    }
    return v;
}

struct leat_span value_key_bytes(const struct leat_value *value, uint8_t scratch[8])
{
    float f;

    /* -0 == 0, so they are one key. */
    switch (value->type) {
    case LEAT_NULL:
        return span_of(scratch, 0);
    case LEAT_BOOL:
        scratch[0] = value->as.b;
        return span_of(scratch, 1);
    case LEAT_U32:
        store_u32(scratch, (uint32_t)value->as.u);
        return span_of(scratch, 4);
    case LEAT_F32:
        f = value->as.f == 0 ? 0 : (float)value->as.f;
        memcpy(scratch, &f, 4);
        return span_of(scratch, 4);
    case LEAT_F64:
        store_u64(scratch, value->as.f == 0 ? 0 : value->as.u);
        return span_of(scratch, 8);
    case LEAT_I64:
    case LEAT_U64:
        store_u64(scratch, value->as.u);
        return span_of(scratch, 8);
    default:
        return value->as.bytes;
    }
}

uint64_t leat_hash(const struct leat_value *value)
{
    uint8_t scratch[8];
    struct leat_span key = value_key_bytes(value, scratch);

    return XXH3_64bits(key.base, key.size);
}

uint32_t leat_task_of(uint32_t tasks, const struct leat_value *key)
{
    leat_assert(tasks > 0 && (tasks & (tasks - 1)) == 0);
    return (uint32_t)leat_hash(key) & (tasks - 1);
}
