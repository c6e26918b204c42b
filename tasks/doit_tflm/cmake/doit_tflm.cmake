# Models for TensorFlow Lite Micro in a CMake project: two lines, and the current arrays are in the target.
#
#   find_package(doit_tflm REQUIRED)
#   tflm_add_models(TARGET firmware MODELS sine kws PROJECT_DIR models_project)
#
# The sources are made at build time, never at configure time, when a specification, an archive, or anything else
# that they depend on is newer; they are rewritten only when they change. A build that needs nothing starts no Python.
# For the generators Ninja, Ninja Multi-Config and Unix Makefiles.
#
# A copy of this file that `doit-tflm vendor` made adds the sources that lie beside it, and needs no Python.
include_guard(GLOBAL)

if(CMAKE_VERSION VERSION_LESS 3.20)
    message(FATAL_ERROR "doit_tflm needs CMake 3.20 or later, but this is ${CMAKE_VERSION}")
endif()

set(DOIT_TFLM_MODULE_DIR "${CMAKE_CURRENT_LIST_DIR}" CACHE INTERNAL "Where doit_tflm.cmake is")

if(NOT EXISTS "${DOIT_TFLM_MODULE_DIR}/vendored.json")
    # The environment that this file was installed into comes first: lib/python3.x/site-packages/doit_tflm/cmake.
    find_program(DOIT_TFLM_EXECUTABLE doit-tflm
        HINTS "${DOIT_TFLM_MODULE_DIR}/../../../../../bin"
        DOC "The command doit-tflm")
    # One build of models at a time: the second would only wait for the first.
    set_property(GLOBAL APPEND PROPERTY JOB_POOLS doit_tflm=1)
endif()

# tflm_add_models(TARGET target MODELS model...
#                 [PROJECT_DIR directory] [FORM pair|single|incbin] [GOLDEN] [PROGRAM program])
#
# Adds the C sources of models to a target, and their directory to its include directories.
#
#   TARGET       A library or executable of this directory.
#   MODELS       The models' names.
#   PROJECT_DIR  The project with the models: where its pyproject.toml or dodo.py is. CMAKE_SOURCE_DIR when left out.
#   FORM         The specifications' header.form; pair when left out.
#   GOLDEN       Add the golden vectors as well.
#   PROGRAM      A program of [tool.doit-tflm.programs]: its op resolver is made along.
function(tflm_add_models)
    cmake_parse_arguments(PARSE_ARGV 0 arg "GOLDEN" "TARGET;PROJECT_DIR;FORM;PROGRAM" "MODELS")
    _doit_tflm_check_arguments()
    _doit_tflm_files(files compiled)
    get_filename_component(project "${arg_PROJECT_DIR}" ABSOLUTE BASE_DIR "${CMAKE_CURRENT_SOURCE_DIR}")
    if(EXISTS "${DOIT_TFLM_MODULE_DIR}/vendored.json")
        set(directory "${DOIT_TFLM_MODULE_DIR}")
        _doit_tflm_check_vendored()
    else()
        set(directory "${CMAKE_CURRENT_BINARY_DIR}/doit_tflm/${arg_TARGET}")
        _doit_tflm_add_commands()
    endif()

    list(TRANSFORM files PREPEND "${directory}/" OUTPUT_VARIABLE paths)
    if(arg_FORM STREQUAL "single")
        _doit_tflm_implement(paths)
    endif()
    target_sources(${arg_TARGET} PRIVATE ${paths})
    target_include_directories(${arg_TARGET} PUBLIC "${directory}")
    # Compilers do not tell what .incbin read.
    foreach(file IN LISTS files)
        if(file MATCHES "(.*)\\.S$")
            set_source_files_properties("${directory}/${file}" PROPERTIES
                OBJECT_DEPENDS "${directory}/${CMAKE_MATCH_1}.tflite")
        endif()
    endforeach()
endfunction()

macro(_doit_tflm_check_arguments)
    if(arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "tflm_add_models does not know: ${arg_UNPARSED_ARGUMENTS}")
    endif()
    if(NOT TARGET "${arg_TARGET}")
        message(FATAL_ERROR "tflm_add_models: TARGET is \"${arg_TARGET}\", but must be a target that exists already")
    endif()
    get_target_property(before "${arg_TARGET}" DOIT_TFLM_MODELS)
    if(before)
        message(FATAL_ERROR "tflm_add_models: ${arg_TARGET} has the models ${before}: name all of them in one call, or "
            "add those of another project to a library that ${arg_TARGET} links")
    endif()
    set_target_properties("${arg_TARGET}" PROPERTIES DOIT_TFLM_MODELS "${arg_MODELS}")
    if(NOT arg_MODELS)
        message(FATAL_ERROR "tflm_add_models: name the models: MODELS sine kws")
    endif()
    if(NOT arg_FORM)
        set(arg_FORM pair)
    endif()
    if(NOT arg_FORM MATCHES "^(pair|single|incbin)$")
        message(FATAL_ERROR "tflm_add_models: FORM is \"${arg_FORM}\": use pair, single or incbin")
    endif()
    if(arg_FORM STREQUAL "incbin" AND NOT CMAKE_ASM_COMPILER)
        message(FATAL_ERROR "tflm_add_models: FORM incbin needs the assembler: call enable_language(ASM) before")
    endif()
    if(NOT arg_PROJECT_DIR)
        set(arg_PROJECT_DIR "${CMAKE_SOURCE_DIR}")
    endif()
endmacro()

# Sets `result` to a model's name as file names have it: what c_text.c_identifier makes of it.
function(_doit_tflm_identifier name result)
    set(reserved
        alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t
        char32_t class compl concept const const_cast consteval constexpr constinit continue co_await
        co_return co_yield decltype default delete do double dynamic_cast else enum explicit export extern
        false float for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr
        operator or or_eq private protected public register reinterpret_cast requires restrict return short
        signed sizeof static static_assert static_cast struct switch template this thread_local throw true
        try typedef typeid typename typeof typeof_unqual union unsigned using virtual void volatile wchar_t
        while xor xor_eq NULL errno i386 linux main offsetof std unix size_t ptrdiff_t max_align_t int8_t
        int16_t int32_t int64_t intptr_t intmax_t uint8_t uint16_t uint32_t uint64_t uintptr_t uintmax_t)
    string(REGEX MATCHALL "[A-Za-z0-9]+" parts "${name}")
    list(JOIN parts "_" identifier)
    string(SHA256 digest "${name}")
    string(SUBSTRING "${digest}" 0 8 digest)
    string(HEX "${name}" bytes)
    if(identifier STREQUAL "")
        set(identifier "${digest}")
    elseif(bytes MATCHES "^(..)*[89a-f]") # not ASCII
        string(APPEND identifier "_${digest}")
    endif()
    list(FIND reserved "${identifier}" place)
    if(identifier MATCHES "^[0-9]" OR NOT place EQUAL -1)
        string(PREPEND identifier "m_")
    endif()
    string(LENGTH "${identifier}" length)
    if(length GREATER 80)
        string(SUBSTRING "${identifier}" 0 71 identifier)
        string(REGEX REPLACE "_+$" "" identifier "${identifier}")
        string(APPEND identifier "_${digest}")
    endif()
    set(${result} "${identifier}" PARENT_SCOPE)
endfunction()

# Sets `files` to the names of the generated files.
macro(_doit_tflm_files files)
    set(${files})
    foreach(model IN LISTS arg_MODELS)
        _doit_tflm_identifier("${model}" stem)
        list(APPEND ${files} ${stem}_model_data.h ${stem}_op_resolver.h)
        if(arg_FORM STREQUAL "pair")
            list(APPEND ${files} ${stem}_model_data.c)
        elseif(arg_FORM STREQUAL "incbin")
            list(APPEND ${files} ${stem}_model_data.S ${stem}_model_data.tflite)
        endif()
        if(arg_GOLDEN)
            list(APPEND ${files} ${stem}_golden.h ${stem}_golden.c)
        endif()
    endforeach()
    if(arg_PROGRAM)
        _doit_tflm_identifier("${arg_PROGRAM}" stem)
        list(APPEND ${files} ${stem}_op_resolver.h)
    endif()
endmacro()

# Adds a C file for each model, in which its header defines the array, to the list `paths`.
macro(_doit_tflm_implement paths)
    foreach(model IN LISTS arg_MODELS)
        _doit_tflm_identifier("${model}" stem)
        string(TOUPPER "${stem}_MODEL_DATA" macro)
        set(file "${CMAKE_CURRENT_BINARY_DIR}/doit_tflm/${arg_TARGET}/implementation/${stem}_model_data.c")
        # It is written only when its text changes.
        file(CONFIGURE OUTPUT "${file}" @ONLY CONTENT "#define ${macro}_IMPLEMENTATION
#include \"${stem}_model_data.h\"
#ifndef ${macro}_IMPLEMENTED
#error \"FORM is single, but header.form of ${model} is not: correct one of them\"
#endif
")
        list(APPEND ${paths} "${file}")
    endforeach()
endmacro()

macro(_doit_tflm_check_vendored)
    foreach(file IN LISTS files)
        if(NOT EXISTS "${directory}/${file}")
            message(FATAL_ERROR "${directory} holds no ${file}: run `doit-tflm vendor` again, or correct "
                "MODELS, FORM or GOLDEN")
        endif()
    endforeach()
endmacro()

# The commands that make `files` in `directory`.
#
# The first builds the models and leaves their sources in a directory of its own, and a stamp that is always written:
# a build in which nothing changed would otherwise look due for ever. The second copies what differs.
function(_doit_tflm_add_commands)
    if(NOT DOIT_TFLM_EXECUTABLE)
        message(FATAL_ERROR "doit-tflm is not found: activate its environment, set DOIT_TFLM_EXECUTABLE, or include "
            "the doit_tflm.cmake that `doit-tflm vendor` wrote")
    endif()
    if(NOT CMAKE_GENERATOR MATCHES "Ninja|Makefiles")
        message(FATAL_ERROR "tflm_add_models works with Ninja and Unix Makefiles, but not with ${CMAKE_GENERATOR}")
    endif()
    set(fresh "${directory}/fresh")
    set(stamp "${directory}/models.stamp")
    set(expected ${files})
    list(TRANSFORM expected PREPEND "--expect=")
    list(TRANSFORM files PREPEND "${fresh}/" OUTPUT_VARIABLE made)
    list(TRANSFORM files PREPEND "${directory}/" OUTPUT_VARIABLE outputs)
    list(JOIN arg_MODELS " " models)
    set(export_models
        COMMAND "${DOIT_TFLM_EXECUTABLE}" export --project "${project}" --into "${fresh}"
            --stamp "${stamp}" --depfile "${stamp}.d" ${expected} ${arg_MODELS})

    if(CMAKE_GENERATOR MATCHES "Ninja")
        if("${project}${directory}" MATCHES "#")
            message(WARNING "${project}: with Ninja, CMake loses the # of a path, and every build asks for the models "
                "again: rename the directory, or use Unix Makefiles")
        endif()
        add_custom_command(OUTPUT "${stamp}" ${export_models}
            DEPFILE "${stamp}.d" JOB_POOL doit_tflm COMMENT "Models of ${arg_TARGET}: ${models}" VERBATIM)
        add_custom_command(OUTPUT ${outputs}
            COMMAND "${CMAKE_COMMAND}" -E copy_if_different ${made} "${directory}"
            DEPENDS "${stamp}" COMMENT "" VERBATIM)
    else()
        # Make compares the times of files only, and would copy for ever what is older than the stamp. So nothing
        # depends on the stamp but the target as a whole, and a file is copied again where it is missing.
        add_custom_command(OUTPUT "${stamp}" ${export_models}
            COMMAND "${CMAKE_COMMAND}" -E copy_if_different ${made} "${directory}"
            DEPFILE "${stamp}.d" COMMENT "Models of ${arg_TARGET}: ${models}" VERBATIM)
        foreach(file IN LISTS files)
            add_custom_command(OUTPUT "${directory}/${file}"
                COMMAND "${CMAKE_COMMAND}" -E copy "${fresh}/${file}" "${directory}/${file}" VERBATIM)
        endforeach()
        add_custom_target(${arg_TARGET}_models DEPENDS "${stamp}")
        add_dependencies(${arg_TARGET} ${arg_TARGET}_models)
    endif()
endfunction()
