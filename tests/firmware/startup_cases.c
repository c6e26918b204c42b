/* What startup.c must have done before main(), and what it does with a fault. */
#include <stdint.h>
#include <stdio.h>

#include "console.h"

static volatile uint32_t from_flash[3] = {1u, 22u, 333u};
static volatile uint32_t zeroed[3];
static volatile uint32_t constructed;
static volatile float half = 0.5f;

__attribute__((constructor)) static void construct(void)
{
    constructed = from_flash[2];
}

int main(void)
{
    if (from_flash[0] != 1u || from_flash[1] != 22u || from_flash[2] != 333u) {
        return 1;
    }
    if (zeroed[0] != 0u || zeroed[2] != 0u) {
        return 2;
    }
    if (constructed != 333u) {
        return 3;
    }
    if (half * 4.0f != 2.0f) {
        return 4;
    }
    console_text("numbers 0 ");
    console_unsigned(4294967295u);
    console_text("\n");
    (void)fprintf(stderr, "formatted %s %d\n", "by stdio", -42);
    (void)printf("formatted %u\n", 42u);
    (void)fflush(stdout);
#if defined(FAULT)
    __asm__ volatile("udf #0");
#endif
    return 200;
}
