# Reads a model's generated sources and writes a header that names what is in them, so that one selfcheck_main.c and
# one golden.cc serve every model. The build runs it:
#
#   cmake -D NAME=sine -D DIRECTORY=generated -D OUTPUT=sine_model.h -P describe_model.cmake
cmake_minimum_required(VERSION 3.20)

# Sets `result` to what the pattern's group matches in the text of a file.
function(find what pattern file text result)
    if(NOT text MATCHES "${pattern}")
        message(FATAL_ERROR "${DIRECTORY}/${file} has no ${what}: generate it again")
    endif()
    set(${result} "${CMAKE_MATCH_1}" PARENT_SCOPE)
endfunction()

# Sets `result` to "each(array) each(array) ...", for the golden vectors of the inputs or outputs.
function(list_vectors kind text result)
    string(REGEX MATCHALL "[A-Za-z0-9_]+_golden_${kind}[0-9]+" arrays "${text}")
    list(TRANSFORM arrays REPLACE "(.+)" " each(\\1)")
    list(JOIN arrays "" calls)
    set(${result} "${calls}" PARENT_SCOPE)
endfunction()

set(header_file ${NAME}_model_data.h)
file(READ "${DIRECTORY}/${header_file}" header LIMIT 262144) # an array behind that can be long

find("include guard" "#ifndef DOIT_TFLM_([A-Z0-9_]+)_DATA_H\n" ${header_file} "${header}" prefix)
find("array" "const uint8_t ([A-Za-z0-9_]+).${prefix}_DATA_LEN.;" ${header_file} "${header}" array)

set(text "/* ${NAME}_model.h: names what is in ${header_file}. Made by describe_model.cmake. */
#include \"${header_file}\"

#define MODEL(name) ${prefix}_##name
#define MODEL_ARRAY ${array}
#define MODEL_ARRAY_SIZE ${array}_size
#define MODEL_ARRAY_ID ${array}_id
")

if(header MATCHES "const char .const ([A-Za-z0-9_]+).${prefix}_CLASS_COUNT.;")
    string(APPEND text "#define MODEL_LABELS ${CMAKE_MATCH_1}\n")
endif()

if(EXISTS "${DIRECTORY}/${NAME}_golden.h")
    file(READ "${DIRECTORY}/${NAME}_golden.h" golden)
    list_vectors(input "${golden}" inputs)
    list_vectors(output "${golden}" outputs)
    string(APPEND text "
#define MODEL_GOLDEN_HEADER \"${NAME}_golden.h\"
#define MODEL_GOLDEN_INPUTS(each)${inputs}
#define MODEL_GOLDEN_OUTPUTS(each)${outputs}
#define MODEL_RESOLVER_HEADER \"${NAME}_op_resolver.h\"
#define MODEL_RESOLVER ${NAME}_op_resolver
#define MODEL_REGISTER_OPS ${NAME}_register_ops
")
endif()

file(WRITE "${OUTPUT}" "${text}")
