/* tflite_file.h: what can be told of a .tflite in memory without TensorFlow Lite Micro. C99.
 *
 * A .tflite is a flatbuffer: tables, vectors and strings that refer to each other by offsets. No function reads
 * outside of `size` bytes, whatever the bytes are.
 */
#ifndef DOIT_TFLM_FIRMWARE_TFLITE_FILE_H
#define DOIT_TFLM_FIRMWARE_TFLITE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes 4 to 7 are "TFL3". */
bool tflite_has_identifier(const uint8_t *data, size_t size);

/* The tables, vectors and strings of the model, its operators, tensors, buffers and metadata lie within the file.
 * Zeros that pad a file at its end belong to none of them: only a digest misses those.
 */
bool tflite_is_whole(const uint8_t *data, size_t size);

/* The version of the schema, or 0 where none can be read. */
uint32_t tflite_schema_version(const uint8_t *data, size_t size);

#ifdef __cplusplus
}
#endif

#endif
