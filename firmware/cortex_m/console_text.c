#include "console.h"
#include "semihosting.h"

void console_text(const char *text)
{
    semihosting_write(text);
}
