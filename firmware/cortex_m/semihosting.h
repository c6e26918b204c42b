/* semihosting.h: what a debugger or an emulator does for a target that asks by a breakpoint instruction. C11.
 *
 * Without either the breakpoint is a fault: this is for tests, no production code.
 */
#ifndef DOIT_TFLM_FIRMWARE_SEMIHOSTING_H
#define DOIT_TFLM_FIRMWARE_SEMIHOSTING_H

/* Ends the program; the emulator exits with the code. */
_Noreturn void semihosting_exit(int code);

void semihosting_write(const char *text);

#endif
