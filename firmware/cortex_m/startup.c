/* startup.c: from reset to main() on an Armv7-M core, and from a fault to a failing exit code. */
#include <stdint.h>

#include "console.h"
#include "semihosting.h"

#define EXIT_FAULT 30 /* beside the results of selfcheck.h and golden.cc */

/* Registers of the System Control Block (Armv7-M Architecture Reference Manual, B3.2). */
#define CPACR (*(volatile uint32_t *)0xe000ed88u)
#define CFSR (*(volatile uint32_t *)0xe000ed28u)
#define CPACR_FULL_ACCESS_CP10_CP11 (0xfu << 20)

/* Set by the linker script; their addresses are what counts. */
extern uint32_t linker_data_from[], linker_data[], linker_data_end[];
extern uint32_t linker_bss[], linker_bss_end[], linker_stack_top[];
typedef void (*function)(void);
extern const function linker_init_array[], linker_init_array_end[];

int main(void);
void reset_handler(void);

/* C++ names the program's part that registers destructors by this; nothing is ever destroyed here. */
extern void *const __dso_handle;
void *const __dso_handle = 0;

static void fault_handler(void)
{
    const uint32_t status = CFSR;
    const uint8_t bytes[4] = {
        (uint8_t)(status >> 24), (uint8_t)(status >> 16), (uint8_t)(status >> 8), (uint8_t)status,
    };

    console_text("FAIL: a fault of the processor, CFSR 0x");
    console_hex(bytes, sizeof(bytes));
    console_text("\n");
    semihosting_exit(EXIT_FAULT);
}

void reset_handler(void)
{
    const uint32_t *from = linker_data_from;

#if defined(__ARM_FP)
    /* The floating-point unit is off at reset, and its first instruction would fault. */
    CPACR |= CPACR_FULL_ACCESS_CP10_CP11;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
    for (uint32_t *to = linker_data; to < linker_data_end; to++) {
        *to = *from;
        from++;
    }
    for (uint32_t *to = linker_bss; to < linker_bss_end; to++) {
        *to = 0u;
    }
    for (const function *init = linker_init_array; init < linker_init_array_end; init++) {
        (*init)();
    }
    semihosting_exit(main());
}

/* The stack's top and the 15 exceptions of the core; no interrupt is ever enabled. */
struct vectors {
    const uint32_t *stack_top;
    function handlers[15];
};

__attribute__((section(".vectors"), used)) static const struct vectors k_vectors = {
    linker_stack_top,
    {
        reset_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,
        fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,
        fault_handler,
    },
};
