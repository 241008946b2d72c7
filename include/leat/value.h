/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LEAT_VALUE_H
#define LEAT_VALUE_H

/* Errors and values: what every other part of leat.h speaks of. Include that one. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LEAT_API __attribute__((visibility("default")))
#define LEAT_PRINTF(text, args) __attribute__((__format__(__printf__, text, args)))
#else
#define LEAT_API
#define LEAT_PRINTF(text, args)
#endif

/* ---- Errors ---------------------------------------------------------------------------- */

/* Who must act on an error. */
enum leat_class {
    LEAT_CLASS_NONE,   /* success */
    LEAT_CLASS_CALLER, /* the call itself is wrong: change it */
    LEAT_CLASS_RETRY,  /* the same call may succeed later */
    LEAT_CLASS_FATAL   /* the thing is broken: stop, look, repair */
};

/* One line an error: name, value, text, class. docs/OPERATIONS.md has the remedies. */
#define LEAT_ERRORS(X)                                                                             \
    X(LEAT_EINVAL, -1, "invalid argument", LEAT_CLASS_CALLER)                                      \
    X(LEAT_ESCHEMA, -2, "does not fit the schema", LEAT_CLASS_CALLER)                              \
    X(LEAT_ENOTFOUND, -3, "not found", LEAT_CLASS_CALLER)                                          \
    X(LEAT_EEXISTS, -4, "exists already", LEAT_CLASS_CALLER)                                       \
    X(LEAT_EMODULE, -5, "the module is not valid", LEAT_CLASS_CALLER)                              \
    X(LEAT_EREJECTED, -6, "the row was rejected", LEAT_CLASS_CALLER)                               \
    X(LEAT_ETRIMMED, -7, "the offset was trimmed away", LEAT_CLASS_CALLER)                         \
    X(LEAT_ECANCELED, -8, "canceled", LEAT_CLASS_CALLER)                                           \
    X(LEAT_ECLOSED, -9, "closed", LEAT_CLASS_CALLER)                                               \
    X(LEAT_ELIMIT, -10, "a limit was passed", LEAT_CLASS_CALLER)                                   \
    X(LEAT_EFULL, -11, "full for now", LEAT_CLASS_RETRY)                                           \
    X(LEAT_EAGAIN, -12, "not there yet", LEAT_CLASS_RETRY)                                         \
    X(LEAT_ETIMEOUT, -13, "the deadline passed", LEAT_CLASS_RETRY)                                 \
    X(LEAT_EBUSY, -14, "in use by somebody else", LEAT_CLASS_RETRY)                                \
    X(LEAT_ENOMEM, -15, "out of memory", LEAT_CLASS_RETRY)                                         \
    X(LEAT_ENOSPACE, -16, "the disk is full", LEAT_CLASS_RETRY)                                    \
    X(LEAT_EIO, -17, "the disk failed", LEAT_CLASS_FATAL)                                          \
    X(LEAT_ECORRUPT, -18, "data on disk is damaged", LEAT_CLASS_FATAL)                             \
    X(LEAT_EFORMAT, -19, "unknown format version", LEAT_CLASS_FATAL)                               \
    X(LEAT_EINTERNAL, -20, "internal error", LEAT_CLASS_FATAL)

enum leat_code {
    LEAT_OK = 0,
#define LEAT_ERROR_VALUE(name, value, text, class) name = value,
    LEAT_ERRORS(LEAT_ERROR_VALUE)
#undef LEAT_ERROR_VALUE
    LEAT_END = 1 /* a scan has no further element; not an error */
};

/* A code and a sentence. Calls that succeed leave code 0 and an empty text. */
struct leat_error {
    int code;
    char text[1024];
};

/* The name of a code, "LEAT_EINVAL". Never NULL: "LEAT_E?" when there is no such code. Any thread. */
LEAT_API const char *leat_code_name(int code);
/* What a code means, in a few words. Never NULL. Any thread. */
LEAT_API const char *leat_code_text(int code);
/* Who must act on a code. Any thread. */
LEAT_API enum leat_class leat_code_class(int code);

/* Fill err (may be NULL) with code and a sentence, and return code. Any thread. */
LEAT_API int leat_fail(struct leat_error *err, int code, const char *format, ...) LEAT_PRINTF(3, 4);

/* ---- Values ---------------------------------------------------------------------------- */

/* Bytes with a length. Ownership is said where a span is used. */
struct leat_span {
    const void *base;
    size_t size;
};

enum leat_type {
    LEAT_NULL, /* the absent value of a nullable column ("str?") */
    LEAT_BOOL,
    LEAT_I64,
    LEAT_U32,
    LEAT_U64,
    LEAT_F32,
    LEAT_F64,
    LEAT_STR,        /* UTF-8, not terminated */
    LEAT_BYTES,
    LEAT_ANY,        /* one MessagePack value */
    LEAT_F32_VECTOR, /* f32[n]; count elements, 4 bytes each */
    LEAT_F16_VECTOR, /* f16[n]; IEEE binary16, 2 bytes each */
    LEAT_I8_VECTOR,  /* i8[n] */
    LEAT_U8_VECTOR,  /* u8[n] */
    LEAT_U32_VECTOR, /* u32[n] */
    LEAT_BITS        /* bits[n]; n is a multiple of 8, n / 8 bytes */
};

/* One value. Spans are borrowed; from whom and until when is said by the call that gives it.
 * Vectors keep their bytes in as.bytes, at any alignment: read them with kernels or memcpy. */
struct leat_value {
    enum leat_type type;
    uint32_t count; /* elements of a vector, bits of a LEAT_BITS, else 0 */
    union {
        bool b;                 /* LEAT_BOOL */
        int64_t i;              /* LEAT_I64 */
        uint64_t u;             /* LEAT_U32, LEAT_U64 */
        double f;               /* LEAT_F32, LEAT_F64 */
        struct leat_span bytes; /* LEAT_STR, LEAT_BYTES, LEAT_ANY and all vectors */
    } as;
};

/* Several values: a path of keys into a PState, or the columns of a row. */
struct leat_row {
    const struct leat_value *value;
    uint32_t count;
};

#define LEAT_ROW(...)                                                                              \
    ((struct leat_row){(const struct leat_value[]){{LEAT_NULL, 0, {.u = 0}}, __VA_ARGS__} + 1,     \
                       (uint32_t)(sizeof((const struct leat_value[]){{LEAT_NULL, 0, {.u = 0}},     \
                                                                     __VA_ARGS__}) /               \
                                  sizeof(struct leat_value)) -                                     \
                           1})
#define LEAT_KEYS(...) LEAT_ROW(__VA_ARGS__)

/* Constructors. Bytes are not copied: they are borrowed as long as the value is used. */

/* The absent value of a nullable column. */
LEAT_API struct leat_value leat_null(void);
/* True or false. */
LEAT_API struct leat_value leat_bool(bool b);
/* A signed number of 64 bits. */
LEAT_API struct leat_value leat_i64(int64_t i);
/* An unsigned number of 32 bits. */
LEAT_API struct leat_value leat_u32(uint32_t u);
/* An unsigned number of 64 bits. */
LEAT_API struct leat_value leat_u64(uint64_t u);
/* A binary32 number. */
LEAT_API struct leat_value leat_f32(float f);
/* A binary64 number. */
LEAT_API struct leat_value leat_f64(double f);
/* UTF-8 up to its terminating zero; borrowed. */
LEAT_API struct leat_value leat_str(const char *text);
/* UTF-8 of so many bytes; borrowed. */
LEAT_API struct leat_value leat_str_n(const char *text, size_t size);
/* Any bytes; borrowed. */
LEAT_API struct leat_value leat_bytes(const void *base, size_t size);
/* One MessagePack value; borrowed. */
LEAT_API struct leat_value leat_any(const void *msgpack, size_t size);
/* A vector of count elements (bits, for LEAT_BITS) of a vector type, from memory of any alignment; borrowed. Aborts on
 * a type that is no vector. */
LEAT_API struct leat_value leat_vector(enum leat_type type, const void *elements, uint32_t count);

/* Bytes that count elements of a vector type take (bits: count / 8). 0 for other types. */
LEAT_API size_t leat_vector_size(enum leat_type type, uint32_t count);

/* A MessagePack value, read: a scalar, or an array or map with its elements (of a map: key, value, key, value).
 * A scalar's value is LEAT_NULL, _BOOL, _I64 (_U64 only when it is too large), _F64, _STR or _BYTES; what is no scalar,
 * or an extension, is LEAT_ANY: all its bytes. */
enum leat_any_kind { LEAT_ANY_SCALAR, LEAT_ANY_ARRAY, LEAT_ANY_MAP };
struct leat_any_item {
    enum leat_any_kind kind;
    uint32_t count;            /* elements of an array, pairs of a map */
    struct leat_span elements; /* they follow one another; read them with leat_any_read */
    struct leat_value value;
};
/* Read the value at the start of bytes, and move them behind it. Spans of *out point into them. LEAT_ESCHEMA: there is
 * no whole value within the limits (32 levels, 1,048,576 elements); bytes stay where they are. Any bytes may be
 * given. */
LEAT_API int leat_any_read(struct leat_span *bytes, struct leat_any_item *out);

/* One column of a batch. Fixed-size values lie one after another: bool 1 byte, u32 and f32 4,
 * i64, u64 and f64 8, vectors their size, the column's start 64-byte aligned. str, bytes and
 * any are struct leat_span each. Null rows have nulls[row] != 0 and zero data. */
struct leat_column {
    const char *name;
    enum leat_type type;
    bool nullable;
    uint32_t count;       /* elements, for vectors */
    uint32_t stride;      /* bytes from row to row */
    const void *data;
    const uint8_t *nulls; /* NULL when the column is not nullable */
};

/* Rows, by column. Borrowed until the run that got it returns, or as said. */
struct leat_batch {
    uint32_t rows;
    uint32_t columns;
    const struct leat_column *column;
};

/* The value at a row and column, LEAT_NULL where the row has none; spans in it are borrowed as long as the batch.
 * Aborts beyond the batch. */
LEAT_API struct leat_value leat_at(const struct leat_batch *batch, uint32_t row, uint32_t column);

#ifdef __cplusplus
}
#endif
#endif
