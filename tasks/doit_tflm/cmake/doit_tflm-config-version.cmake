# Compatible with what was asked for if that is no newer, and of the same major version.
file(STRINGS "${CMAKE_CURRENT_LIST_DIR}/../_version.py" doit_tflm_line REGEX "^__version__ = ")
string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" PACKAGE_VERSION "${doit_tflm_line}")
string(REGEX MATCH "^[0-9]+" doit_tflm_major "${PACKAGE_VERSION}")

if(PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION OR NOT PACKAGE_FIND_VERSION_MAJOR EQUAL doit_tflm_major)
    set(PACKAGE_VERSION_COMPATIBLE FALSE)
else()
    set(PACKAGE_VERSION_COMPATIBLE TRUE)
    if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
        set(PACKAGE_VERSION_EXACT TRUE)
    endif()
endif()
