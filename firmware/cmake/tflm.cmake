# TensorFlow Lite Micro, which is linked and not built here: the target tflite-micro of the project around this one,
# or what TFLM_INCLUDE_DIRS and TFLM_LIBRARIES name.

set(TFLM_INCLUDE_DIRS "" CACHE STRING
    "TensorFlow Lite Micro's sources, and the headers of its flatbuffers, gemmlowp and ruy")
set(TFLM_LIBRARIES "" CACHE STRING "TensorFlow Lite Micro's library, built for the same processor")
# Its headers look at these: TF_LITE_STATIC_MEMORY, TF_LITE_STRIP_ERROR_STRINGS. The default is its own Makefile's.
set(TFLM_DEFINITIONS TF_LITE_STATIC_MEMORY CACHE STRING "What was defined when TFLM_LIBRARIES was built")

if(NOT TARGET tflite-micro)
    if(NOT TFLM_INCLUDE_DIRS OR NOT TFLM_LIBRARIES)
        message(STATUS "No golden programs without TensorFlow Lite Micro: "
            "set TFLM_INCLUDE_DIRS and TFLM_LIBRARIES, or have a target tflite-micro")
        return()
    endif()
    add_library(tflite-micro INTERFACE)
    target_include_directories(tflite-micro SYSTEM INTERFACE ${TFLM_INCLUDE_DIRS})
    target_link_libraries(tflite-micro INTERFACE ${TFLM_LIBRARIES})
    target_compile_definitions(tflite-micro INTERFACE ${TFLM_DEFINITIONS})
endif()

enable_language(CXX)
if(NOT CMAKE_CXX_STANDARD)
    set(CMAKE_CXX_STANDARD 17) # what TensorFlow Lite Micro's headers want today; this project's own want C++11
endif()

add_library(model_runner STATIC src/model_runner.cc src/tflite_file.c)
target_include_directories(model_runner PUBLIC src)
target_link_libraries(model_runner PUBLIC tflite-micro PRIVATE firmware_options)
target_compile_options(model_runner PUBLIC
    $<$<COMPILE_LANGUAGE:CXX>:-fno-exceptions> $<$<COMPILE_LANGUAGE:CXX>:-fno-rtti>)
# A target's own headers would be checked as strictly as this project's.
target_include_directories(model_runner SYSTEM PUBLIC
    $<TARGET_PROPERTY:tflite-micro,INTERFACE_INCLUDE_DIRECTORIES>)
# A target that keeps its definitions to itself would make this program read its structures wrongly.
target_compile_definitions(model_runner PUBLIC $<TARGET_PROPERTY:tflite-micro,COMPILE_DEFINITIONS>)
