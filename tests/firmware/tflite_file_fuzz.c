/* Reads a .tflite and hands out prefixes and damaged copies of it, each in memory of just its size, so that a
 * sanitizer sees every byte that is read outside. Prints how many of the prefixes count as whole.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tflite_file.h"

#define ROUNDS 20000u

static uint8_t content[1u << 20];

static uint32_t next_random(void)
{
    static uint32_t state = 2463534242u;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static int look(const uint8_t *data, size_t size)
{
    return (tflite_has_identifier(data, size) ? 1 : 0) + (tflite_schema_version(data, size) == 3u ? 2 : 0) +
           (tflite_is_whole(data, size) ? 4 : 0);
}

static uint8_t *copy_of(size_t size)
{
    uint8_t *copy = (uint8_t *)malloc(size == 0u ? 1u : size);
    if (copy == NULL) {
        exit(2);
    }
    (void)memcpy(copy, content, size);
    return copy;
}

int main(void)
{
    const size_t size = fread(content, 1u, sizeof(content), stdin);
    unsigned whole = 0u;
    unsigned damaged = 0u;

    for (size_t part = 0u; part <= size; part++) {
        uint8_t *copy = copy_of(part);
        whole += (look(copy, part) >= 4) ? 1u : 0u;
        free(copy);
    }
    for (unsigned round = 0u; round < ROUNDS; round++) {
        uint8_t *copy = copy_of(size);
        for (unsigned change = next_random() % 4u; change < 4u; change++) {
            copy[next_random() % size] = (uint8_t)next_random();
        }
        damaged += (look(copy, size) < 4) ? 1u : 0u;
        free(copy);
    }
    (void)printf("%d %u %u\n", look(content, size), whole, damaged);
    return 0;
}
