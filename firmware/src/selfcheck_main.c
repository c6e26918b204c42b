/* selfcheck_main.c: checks one model, prints PASS or FAIL, and exits with the result (enum selfcheck_result).
 *
 * The build compiles it once for each model, with MODEL_HEADER naming the header that cmake/describe_model.cmake
 * makes of the model's.
 */
#include MODEL_HEADER

#include "console.h"
#include "selfcheck.h"
#include "sha256.h"

static void print_bytes(void)
{
    uint8_t digest[SHA256_BYTES];

    sha256(MODEL_ARRAY, MODEL(DATA_LEN), digest);
    console_text("  header: " MODEL(SHA256) "\n  array:  ");
    console_hex(digest, sizeof(digest));
    console_text("\n");
}

static void print_pair(const struct selfcheck_model *model)
{
    console_text("  header: SHA-256 " MODEL(SHA256) ", ");
    console_unsigned((uint32_t)model->header_size);
    console_text(" bytes\n  source: ");
    console_unsigned((uint32_t)model->source_size);
    console_text(" bytes\n");
}

int main(void)
{
    const struct selfcheck_model model = {
        .data = MODEL_ARRAY,
        .alignment = MODEL(ALIGNMENT),
        .header_size = MODEL(DATA_LEN),
        .header_id = MODEL(DATA_ID),
        .header_sha256 = MODEL(SHA256),
        .schema_version = MODEL(SCHEMA_VERSION),
        .source_size = MODEL_ARRAY_SIZE,
        .source_id = MODEL_ARRAY_ID,
    };
    const enum selfcheck_result result = selfcheck(&model);

    console_text((result == SELFCHECK_OK) ? "PASS " : "FAIL ");
    console_text(MODEL(NAME) ": ");
    console_text(selfcheck_text(result));
    console_text("\n");
    if (result == SELFCHECK_WRONG_PAIR) {
        print_pair(&model);
    } else if (result == SELFCHECK_WRONG_BYTES) {
        print_bytes();
    } else {
        /* There is no more to tell. */
    }
    return (int)result;
}
