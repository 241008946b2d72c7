/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32C (Castagnoli), as in RFC 3720 B.4: crc32c(0, "123456789", 9) = 0xE3069283. seed chains calls. */
uint32_t crc32c(uint32_t seed, const void *bytes, size_t size);
/* The portable reference, for tests and other processors. */
uint32_t crc32c_portable(uint32_t seed, const void *bytes, size_t size);

#endif
