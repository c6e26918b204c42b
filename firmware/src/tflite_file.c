/* tflite_file.c: a walk over a flatbuffer, led by a table of what TensorFlow's schema.fbs lets a model hold. */
#include "tflite_file.h"

#include <string.h>

#define OFFSET_BYTES 4u
#define VTABLE_ENTRY_BYTES 2u
#define VTABLE_HEAD_BYTES 4u
#define IDENTIFIER_AT 4u
#define IDENTIFIER_BYTES 4u

/* What a field refers to. */
enum kind { KIND_VECTOR, KIND_STRING, KIND_TABLE, KIND_TABLES };

struct part {
    uint8_t field; /* its number in the table */
    uint8_t kind;
    uint8_t width; /* bytes of a vector's element */
    uint8_t count; /* of `parts` */
    const struct part *parts;
};

#define VECTOR(field, width) {field, KIND_VECTOR, width, 0u, NULL}
#define STRING(field) {field, KIND_STRING, 1u, 0u, NULL}
#define OPAQUE_TABLE(field) {field, KIND_TABLE, OFFSET_BYTES, 0u, NULL}
#define TABLE(field, parts) {field, KIND_TABLE, OFFSET_BYTES, sizeof(parts) / sizeof((parts)[0]), parts}
#define TABLES(field, parts) {field, KIND_TABLES, OFFSET_BYTES, sizeof(parts) / sizeof((parts)[0]), parts}

static const struct part k_quantization[] = {VECTOR(0u, 4u), VECTOR(1u, 4u), VECTOR(2u, 4u), VECTOR(3u, 8u)};
static const struct part k_tensor[] = {VECTOR(0u, 4u), STRING(3u), TABLE(4u, k_quantization), VECTOR(7u, 4u)};
static const struct part k_operator[] = {
    VECTOR(1u, 4u), VECTOR(2u, 4u),   OPAQUE_TABLE(4u), VECTOR(5u, 1u),
    VECTOR(7u, 1u), VECTOR(8u, 4u), OPAQUE_TABLE(12u),
};
static const struct part k_operator_code[] = {STRING(1u)};
static const struct part k_graph[] = {
    TABLES(0u, k_tensor), VECTOR(1u, 4u), VECTOR(2u, 4u), TABLES(3u, k_operator), STRING(4u),
};
static const struct part k_buffer[] = {VECTOR(0u, 1u)};
static const struct part k_named[] = {STRING(0u)};
static const struct part k_signature[] = {TABLES(0u, k_named), TABLES(1u, k_named), STRING(2u)};
static const struct part k_model_parts[] = {
    TABLES(1u, k_operator_code), TABLES(2u, k_graph), STRING(3u),
    TABLES(4u, k_buffer),        VECTOR(5u, 4u),      TABLES(6u, k_named), TABLES(7u, k_signature),
};
static const struct part k_model = TABLE(0u, k_model_parts);

struct file {
    const uint8_t *data;
    size_t size;
};

/* Where a table is, and where the table of its fields' offsets is. */
struct table {
    size_t at;
    size_t fields_at;
    size_t fields_bytes;
};

static bool fits(const struct file *file, size_t at, size_t bytes)
{
    return (at <= file->size) && (bytes <= file->size - at);
}

static uint32_t load_le16(const struct file *file, size_t at)
{
    return (uint32_t)file->data[at] | ((uint32_t)file->data[at + 1u] << 8);
}

static uint32_t load_le32(const struct file *file, size_t at)
{
    return load_le16(file, at) | (load_le16(file, at + 2u) << 16);
}

/* Follows the offset at `at`. */
static bool follow(const struct file *file, size_t at, size_t *target)
{
    uint32_t offset;

    if (!fits(file, at, OFFSET_BYTES)) {
        return false;
    }
    offset = load_le32(file, at);
    if (offset > file->size - at) {
        return false;
    }
    *target = at + offset;
    return true;
}

static bool open_table(const struct file *file, size_t at, struct table *table)
{
    uint32_t back;

    if (!fits(file, at, OFFSET_BYTES)) {
        return false;
    }
    /* A signed distance to the front; unsigned arithmetic wraps around as it should. */
    back = load_le32(file, at);
    table->at = at;
    table->fields_at = (size_t)(uint32_t)((uint32_t)at - back);
    if (!fits(file, table->fields_at, VTABLE_HEAD_BYTES)) {
        return false;
    }
    table->fields_bytes = load_le16(file, table->fields_at);
    return fits(file, table->fields_at, table->fields_bytes) &&
           fits(file, at, load_le16(file, table->fields_at + 2u));
}

/* Where a field's value is, or 0 where the table does not have it: no field is at the very front of a file. */
static size_t field_at(const struct file *file, const struct table *table, size_t field)
{
    const size_t entry = VTABLE_HEAD_BYTES + VTABLE_ENTRY_BYTES * field;
    uint32_t offset = 0u;

    if (entry + VTABLE_ENTRY_BYTES <= table->fields_bytes) {
        offset = load_le16(file, table->fields_at + entry);
    }
    return (offset == 0u) ? 0u : table->at + offset;
}

static bool vector_is_whole(const struct file *file, size_t at, const struct part *part, size_t *count)
{
    const size_t terminator = (part->kind == (uint8_t)KIND_STRING) ? 1u : 0u;
    size_t room;

    if (!fits(file, at, OFFSET_BYTES + terminator)) {
        return false;
    }
    room = file->size - at - OFFSET_BYTES - terminator;
    *count = load_le32(file, at);
    return *count <= room / part->width;
}

/* Follows the reference at `at`. The recursion ends where the parts above do, five deep. */
static bool part_is_whole(const struct file *file, size_t at, const struct part *part)
{
    struct table table;
    size_t target = 0u;
    size_t count = 0u;
    bool whole = follow(file, at, &target);

    if (whole && (part->kind == (uint8_t)KIND_TABLE)) {
        whole = open_table(file, target, &table);
        for (size_t i = 0u; whole && (i < part->count); i++) {
            const size_t value_at = field_at(file, &table, part->parts[i].field);
            whole = (value_at == 0u) || part_is_whole(file, value_at, &part->parts[i]);
        }
    } else if (whole) {
        whole = vector_is_whole(file, target, part, &count);
        if (part->kind == (uint8_t)KIND_TABLES) {
            const struct part element = {0u, KIND_TABLE, OFFSET_BYTES, part->count, part->parts};
            for (size_t i = 0u; whole && (i < count); i++) {
                whole = part_is_whole(file, target + OFFSET_BYTES * (i + 1u), &element);
            }
        }
    }
    return whole;
}

bool tflite_has_identifier(const uint8_t *data, size_t size)
{
    return (size >= IDENTIFIER_AT + IDENTIFIER_BYTES) &&
           (memcmp(&data[IDENTIFIER_AT], "TFL3", IDENTIFIER_BYTES) == 0);
}

bool tflite_is_whole(const uint8_t *data, size_t size)
{
    const struct file file = {data, size};

    return part_is_whole(&file, 0u, &k_model);
}

uint32_t tflite_schema_version(const uint8_t *data, size_t size)
{
    const struct file file = {data, size};
    struct table model;
    size_t at = 0u;

    if (!follow(&file, 0u, &at) || !open_table(&file, at, &model)) {
        return 0u;
    }
    at = field_at(&file, &model, 0u);
    return ((at != 0u) && fits(&file, at, sizeof(uint32_t))) ? load_le32(&file, at) : 0u;
}
