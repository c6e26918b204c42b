/* console.h: text and numbers for a reader. What a program runs on says how text gets out, in console_text. C99. */
#ifndef DOIT_TFLM_FIRMWARE_CONSOLE_H
#define DOIT_TFLM_FIRMWARE_CONSOLE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* host/ and cortex_m/ have one each. */
void console_text(const char *text);

void console_unsigned(uint32_t number);
void console_hex(const uint8_t *bytes, size_t count);

#ifdef __cplusplus
}
#endif

#endif
