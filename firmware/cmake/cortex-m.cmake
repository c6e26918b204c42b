# A toolchain for the Arm MPS2 boards that QEMU emulates, chosen by CORTEX_M_BOARD:
#   mps2-an385  Cortex-M3 (the default)
#   mps2-an500  Cortex-M7 with its floating-point unit
#
# cmake -S firmware -B build/cortex-m3 --toolchain firmware/cmake/cortex-m.cmake

set(CORTEX_M_BOARD mps2-an385 CACHE STRING "QEMU's name of the board: mps2-an385 or mps2-an500")
set_property(CACHE CORTEX_M_BOARD PROPERTY STRINGS mps2-an385 mps2-an500)

if(CORTEX_M_BOARD STREQUAL "mps2-an385")
    set(cpu_flags "-mcpu=cortex-m3 -mthumb")
elseif(CORTEX_M_BOARD STREQUAL "mps2-an500")
    set(cpu_flags "-mcpu=cortex-m7 -mthumb -mfpu=fpv5-d16 -mfloat-abi=hard")
else()
    message(FATAL_ERROR "CORTEX_M_BOARD is \"${CORTEX_M_BOARD}\": set it to mps2-an385 or mps2-an500")
endif()

set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR arm)
set(CMAKE_C_COMPILER arm-none-eabi-gcc)
set(CMAKE_CXX_COMPILER arm-none-eabi-g++)
set(CMAKE_C_FLAGS_INIT "${cpu_flags}")
set(CMAKE_ASM_FLAGS_INIT "${cpu_flags}")
set(CMAKE_CXX_FLAGS_INIT "${cpu_flags}")

# CMake tries the compiler out in projects of its own: those need the board too, and have no startup code to link.
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES CORTEX_M_BOARD)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)

set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
find_program(QEMU_SYSTEM_ARM qemu-system-arm)
if(QEMU_SYSTEM_ARM)
    set(CMAKE_CROSSCOMPILING_EMULATOR
        "${QEMU_SYSTEM_ARM}" -M "${CORTEX_M_BOARD}" -display none -monitor none -serial none
        -chardev stdio,id=console,signal=off
        -semihosting-config enable=on,target=native,chardev=console
        -kernel)
endif()
