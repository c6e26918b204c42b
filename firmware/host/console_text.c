#include <stdio.h>

#include "console.h"

void console_text(const char *text)
{
    (void)fputs(text, stdout);
}
