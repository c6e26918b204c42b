# find_package(doit_tflm): see doit_tflm.cmake. `doit-tflm cmake-dir` prints the directory for doit_tflm_DIR.
include("${CMAKE_CURRENT_LIST_DIR}/doit_tflm.cmake")
