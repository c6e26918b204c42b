/* console.c: numbers without printf, which would bring a heap and kilobytes of code to a target. */
#include "console.h"

void console_unsigned(uint32_t number)
{
    char text[11]; /* ten digits and the end */
    size_t at = sizeof(text) - 1u;

    text[at] = '\0';
    do {
        at--;
        text[at] = (char)('0' + (char)(number % 10u));
        number /= 10u;
    } while (number > 0u);
    console_text(&text[at]);
}

void console_hex(const uint8_t *bytes, size_t count)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0u; i < count; i++) {
        const char text[3] = {digits[bytes[i] >> 4], digits[bytes[i] & 0x0fu], '\0'};
        console_text(text);
    }
}
