/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CODEC_H
#define BASE_CODEC_H

/* MessagePack and JSON. msgpack-c and cJSON are used here and nowhere else. MessagePack from outside is
 * checked on its bytes (depth, elements, sizes) before it is unpacked; JSON on its size and characters. */

#include "base/schema.h"

struct cJSON;

/* 0 when the bytes are exactly one well-formed MessagePack value within the limits. */
int msgpack_check(struct leat_span bytes, struct leat_error *err);

/* JSON text to MessagePack bytes at the end of out, within the limits. Errors say the position. Numbers are read as
 * f64, so that whole ones beyond 2^53 are rounded; NUL characters in strings are refused. */
int json_to_msgpack(struct leat_span text, struct buffer *out, struct leat_error *err);
/* MessagePack to JSON text. bin becomes {"$bytes": base64}. NaN and infinities become null, keys that are no strings
 * their JSON text, which may have 4 KiB. */
int msgpack_to_json(struct leat_span bytes, struct buffer *out, struct leat_error *err);

/* One value as JSON text: numbers, strings, vectors as arrays, bits and bytes as base64 strings, any as JSON. */
void value_to_json(const struct leat_value *value, struct buffer *out);
/* A row of a batch as a JSON object, keys in column order. */
void batch_row_to_json(const struct leat_batch *batch, uint32_t row, struct buffer *out);

/* A JSON object {"id": "x", "vec": [..]} as the values of a row of schema; memory is the arena's. Missing columns
 * are null (an error unless nullable); unknown ones are errors. Vectors: arrays of numbers, or base64 of their
 * little-endian elements; element i of bits is bit i % 8 of byte i / 8, elements of f16 are rounded. */
int json_to_row(struct arena *a, const struct row_schema *schema, struct leat_span text, struct leat_value *out,
                struct leat_error *err);

void json_escape(struct leat_span text, struct buffer *out); /* with quotes */
void base64_encode(struct leat_span bytes, struct buffer *out);
int base64_decode(struct leat_span text, struct buffer *out);

#endif
