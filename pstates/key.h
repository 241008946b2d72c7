/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PSTATES_KEY_H
#define PSTATES_KEY_H

/* Keys of a view, ordered as their values are under memcmp.
 *
 *   [task u16][pstate u8] [key]          an element of a PState's own level; alone: its leaf, or header
 *   [task u16][0x80] [reference u64] [key]   an element of a nested collection
 *   [0xffff] ['t' | 'r' | 'u' ...]       the view's own: turn, next reference, unlinked subtrees
 *
 * Integers big-endian, i64 with its sign flipped, f64 with its order made that of integers, str and bytes as they
 * are: a key is always the last part, so nothing needs an end mark. */

#include "pstates/pstate.h"

enum { KEY_REFERENCE = 0x80, KEY_SYSTEM = 0xff, KEY_PREFIX = 3, KEY_MAX = LIMIT_KEY + 16 };

struct key {
    uint8_t bytes[KEY_MAX];
    uint32_t size;
};

void key_root(struct key *k, uint32_t task, uint32_t pstate);
void key_nested(struct key *k, uint32_t task, uint64_t reference);
uint32_t key_task_of(const void *bytes);
void key_u8(struct key *k, uint8_t v);
void key_u32(struct key *k, uint32_t v);
void key_u64(struct key *k, uint64_t v);
uint64_t key_read_u64(const void *at);
uint32_t key_read_u32(const void *at);
/* Append a value as a key of the column's type. LEAT_ESCHEMA, LEAT_ELIMIT. */
int key_value(struct key *k, const struct leat_column *type, const struct leat_value *value, struct leat_error *err);
/* The value back; spans point into bytes. LEAT_ECORRUPT when no value of the type has these bytes. */
int key_decode(const struct leat_column *type, struct leat_span bytes, struct leat_value *out);

#endif
