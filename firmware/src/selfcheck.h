/* selfcheck.h: is the array in flash the model that its header describes? Needs no TensorFlow Lite Micro. C99.
 *
 * A firmware can call this at its start, before the first inference; selfcheck_main.c shows how.
 */
#ifndef DOIT_TFLM_FIRMWARE_SELFCHECK_H
#define DOIT_TFLM_FIRMWARE_SELFCHECK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Also the exit codes of the programs selfcheck_NAME. The first failure in this order is the one that is told. */
enum selfcheck_result {
    SELFCHECK_OK = 0,
    SELFCHECK_MISALIGNED = 10,   /* the array's address is no multiple of 16: kernels may fault or read wrongly */
    SELFCHECK_WRONG_PAIR = 11,   /* header and source are of different builds */
    SELFCHECK_NOT_TFLITE = 12,   /* there is no "TFL3" at bytes 4 to 7 */
    SELFCHECK_TRUNCATED = 13,    /* the model reaches beyond the array's end */
    SELFCHECK_WRONG_SCHEMA = 14, /* the model's schema is of another version than the header says */
    SELFCHECK_WRONG_BYTES = 15   /* the bytes have another SHA-256 than the header says */
};

struct selfcheck_model {
    const uint8_t *data;
    size_t alignment;
    /* What the header says of the bytes. */
    size_t header_size;
    uint32_t header_id;
    const char *header_sha256; /* 64 hexadecimal digits, in lower case */
    uint32_t schema_version;
    /* What was compiled along with the bytes: the array's `_size` and `_id`. */
    size_t source_size;
    uint32_t source_id;
};

enum selfcheck_result selfcheck(const struct selfcheck_model *model);

/* What a result means, and what to do about it. */
const char *selfcheck_text(enum selfcheck_result result);

#ifdef __cplusplus
}
#endif

#endif
