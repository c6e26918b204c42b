/* sha256.h: SHA-256 (FIPS 180-4) of bytes that are in memory. C99. */
#ifndef DOIT_TFLM_FIRMWARE_SHA256_H
#define DOIT_TFLM_FIRMWARE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32u

#ifdef __cplusplus
extern "C" {
#endif

void sha256(const uint8_t *data, size_t size, uint8_t digest[SHA256_BYTES]);

#ifdef __cplusplus
}
#endif

#endif
