/* semihosting.c: the calls of Arm's "Semihosting for AArch32 and AArch64" that a test needs. */
#include "semihosting.h"

#include <stdint.h>

#define SYS_WRITE0 0x04u
#define SYS_EXIT_EXTENDED 0x20u /* SYS_EXIT has no room for an exit code on 32-bit targets */
#define ADP_STOPPED_APPLICATION_EXIT 0x20026u

static void call(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;

    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

void semihosting_exit(int code)
{
    const uint32_t block[2] = {ADP_STOPPED_APPLICATION_EXIT, (uint32_t)code};

    for (;;) {
        call(SYS_EXIT_EXTENDED, block);
    }
}

void semihosting_write(const char *text)
{
    call(SYS_WRITE0, text);
}
