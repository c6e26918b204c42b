#include "selfcheck.h"

#include <stdbool.h>
#include <string.h>

#include "sha256.h"
#include "tflite_file.h"

/* Compares the first bytes with as many pairs of hexadecimal digits. */
static bool equals_hex(const uint8_t *bytes, size_t count, const char *hex)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0u; i < count; i++) {
        if ((hex[2u * i] != digits[bytes[i] >> 4]) || (hex[2u * i + 1u] != digits[bytes[i] & 0x0fu])) {
            return false;
        }
    }
    return hex[2u * count] == '\0' || count < SHA256_BYTES;
}

static bool is_pair(const struct selfcheck_model *model)
{
    const uint8_t id[4] = {
        (uint8_t)(model->header_id >> 24),
        (uint8_t)(model->header_id >> 16),
        (uint8_t)(model->header_id >> 8),
        (uint8_t)model->header_id,
    };

    /* The identity is the first 32 bits of the digest; where the two differ, the header itself is of two builds. */
    return (model->header_size == model->source_size) && (model->header_id == model->source_id) &&
           equals_hex(id, sizeof(id), model->header_sha256);
}

enum selfcheck_result selfcheck(const struct selfcheck_model *model)
{
    const size_t size = model->header_size;
    enum selfcheck_result result = SELFCHECK_OK;
    uint8_t digest[SHA256_BYTES];

    if ((uintptr_t)model->data % model->alignment != 0u) {
        result = SELFCHECK_MISALIGNED;
    } else if (!is_pair(model)) {
        result = SELFCHECK_WRONG_PAIR;
    } else if (!tflite_has_identifier(model->data, size)) {
        result = SELFCHECK_NOT_TFLITE;
    } else if (!tflite_is_whole(model->data, size)) {
        result = SELFCHECK_TRUNCATED;
    } else if (tflite_schema_version(model->data, size) != model->schema_version) {
        result = SELFCHECK_WRONG_SCHEMA;
    } else {
        sha256(model->data, size, digest);
        if (!equals_hex(digest, SHA256_BYTES, model->header_sha256)) {
            result = SELFCHECK_WRONG_BYTES;
        }
    }
    return result;
}

const char *selfcheck_text(enum selfcheck_result result)
{
    const char *text = "unknown result";

    switch (result) {
    case SELFCHECK_OK:
        text = "the array is the model that the header describes";
        break;
    case SELFCHECK_MISALIGNED:
        text = "the array is misaligned: keep the source's alignment, and do not copy the array to a buffer without";
        break;
    case SELFCHECK_WRONG_PAIR:
        text = "header and source are of different builds: generate both again";
        break;
    case SELFCHECK_NOT_TFLITE:
        text = "the array is no .tflite: TFL3 is not at bytes 4 to 7";
        break;
    case SELFCHECK_TRUNCATED:
        text = "the array is truncated: the model reaches beyond its end";
        break;
    case SELFCHECK_WRONG_SCHEMA:
        text = "the model has another schema version than the header says";
        break;
    case SELFCHECK_WRONG_BYTES:
        text = "the array's SHA-256 is not the header's: its bytes were changed, or are those of another model";
        break;
    default:
        break;
    }
    return text;
}
