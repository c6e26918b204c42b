# The sources of a model, in whichever form they are: a C file; the header itself; or a file for the assembler.

# Sets `result` to the files that define what name_model_data.h declares.
function(model_sources name directory result)
    set(stem "${directory}/${name}_model_data")
    if(EXISTS "${stem}.c")
        set(sources "${stem}.c")
    elseif(EXISTS "${stem}.S")
        set(sources "${stem}.S")
        # Compilers do not tell what .incbin read.
        set_source_files_properties("${sources}" PROPERTIES OBJECT_DEPENDS "${stem}.tflite")
    else()
        set(sources "${CMAKE_CURRENT_BINARY_DIR}/${name}_model_data.c")
        string(TOUPPER "${name}_model_data_implementation" macro)
        file(CONFIGURE OUTPUT "${sources}" CONTENT "#define ${macro}\n#include \"${name}_model_data.h\"\n")
    endif()
    set(${result} "${sources}" PARENT_SCOPE)
endfunction()
