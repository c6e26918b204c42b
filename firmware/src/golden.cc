/* golden.cc: runs one model on its golden inputs and compares the outputs with the golden ones, bit for bit.
 *
 * Prints PASS, or FAIL with the first difference. The build compiles it once for each model, with MODEL_HEADER naming
 * the header that cmake/describe_model.cmake makes of the model's.
 */
#include MODEL_HEADER
#include MODEL_GOLDEN_HEADER
#include MODEL_RESOLVER_HEADER

#include <cstddef>
#include <cstdint>

#include "console.h"
#include "model_runner.h"
#include "model_values.h"

#if defined(__GNUC__)
/* The library has this function if its Makefile's target was cortex_m_generic: its messages come by this only. */
extern "C" void RegisterDebugLogCallback(void (*write)(const char *text)) __attribute__((weak));
#endif

namespace {

using model_runner::Status;

enum ExitCode { kPass = 0, kDifferent = 20, kNotRun = 21 };

/* The vectors of one input or output, one behind the other. */
struct Vectors {
    const void *data;
    std::size_t vector_bytes;
    std::size_t element_bytes;

    const std::uint8_t *at(std::size_t vector) const
    {
        return static_cast<const std::uint8_t *>(data) + vector * vector_bytes;
    }
};

#define VECTORS(array) {array, sizeof((array)[0]), sizeof((array)[0][0])},
#define ROOM(array) std::uint8_t room_of_##array[sizeof((array)[0])];

const Vectors kInputs[] = {MODEL_GOLDEN_INPUTS(VECTORS)};
const Vectors kOutputs[] = {MODEL_GOLDEN_OUTPUTS(VECTORS)};

/* As large as the largest output. */
union Room {
    MODEL_GOLDEN_OUTPUTS(ROOM)
};

alignas(16) std::uint8_t g_arena[MODEL(ARENA_BYTES)];
std::uint8_t g_output[sizeof(Room)];

void print(const char *what, std::size_t number)
{
    console_text(what);
    console_unsigned(static_cast<std::uint32_t>(number));
}

ExitCode not_run(const char *doing, Status status)
{
    console_text("FAIL " MODEL(NAME) ": ");
    console_text(doing);
    console_text(": ");
    console_text(model_runner::text(status));
    console_text("\n");
    return kNotRun;
}

/* Prints the bytes of the first element that differs, in memory's order, and returns whether there is one. */
bool differs(std::size_t vector, std::size_t output, const std::uint8_t *found)
{
    const Vectors &wanted = kOutputs[output];
    const std::uint8_t *const expected = wanted.at(vector);
    std::size_t byte = 0u;

    while (byte < wanted.vector_bytes && found[byte] == expected[byte]) {
        byte++;
    }
    if (byte == wanted.vector_bytes) {
        return false;
    }
    const std::size_t element = byte / wanted.element_bytes;
    const std::size_t start = element * wanted.element_bytes;
    print("FAIL " MODEL(NAME) ": vector ", vector);
    print(", output ", output);
    print(", element ", element);
    console_text(": 0x");
    console_hex(&found[start], wanted.element_bytes);
    console_text(" instead of 0x");
    console_hex(&expected[start], wanted.element_bytes);
    console_text("\n");
    return true;
}

#if defined(MODEL_LABELS)
#if MODEL(CLASS_COUNT) == MODEL(OUTPUT0_ELEMENTS)
#define MODEL_CLASSIFIES

void print_class(model_runner::ModelRunner &runner, std::size_t vector)
{
    MODEL(OUTPUT0_TYPE) values[MODEL(CLASS_COUNT)];

    if (runner.get_output(0u, values, sizeof(values)) == Status::kOk) {
        print("  vector ", vector);
        console_text(": ");
        console_text(model_runner::best_label(values, MODEL_LABELS));
        console_text("\n");
    }
}
#endif
#endif

ExitCode run_vector(model_runner::ModelRunner &runner, std::size_t vector)
{
    for (std::size_t i = 0u; i < sizeof(kInputs) / sizeof(kInputs[0]); i++) {
        const Status status = runner.set_input(i, kInputs[i].at(vector), kInputs[i].vector_bytes);
        if (status != Status::kOk) {
            return not_run("set_input", status);
        }
    }
    const Status invoked = runner.invoke();
    if (invoked != Status::kOk) {
        return not_run("invoke", invoked);
    }
    for (std::size_t i = 0u; i < sizeof(kOutputs) / sizeof(kOutputs[0]); i++) {
        const Status status = runner.get_output(i, g_output, kOutputs[i].vector_bytes);
        if (status != Status::kOk) {
            return not_run("get_output", status);
        }
        if (differs(vector, i, g_output)) {
            return kDifferent;
        }
    }
#if defined(MODEL_CLASSIFIES)
    print_class(runner, vector);
#endif
    return kPass;
}

ExitCode run(model_runner::ModelRunner &runner)
{
    const Status prepared = runner.prepare();
    if (prepared != Status::kOk) {
        return not_run("prepare", prepared);
    }
    for (std::size_t vector = 0u; vector < MODEL(GOLDEN_COUNT); vector++) {
        const ExitCode code = run_vector(runner, vector);
        if (code != kPass) {
            return code;
        }
    }
    print("PASS " MODEL(NAME) ": ", MODEL(GOLDEN_COUNT));
    print(" golden vectors, bit for bit; arena ", runner.arena_used_bytes());
    print(" of ", sizeof(g_arena));
    console_text(" bytes\n");
    return kPass;
}

}  // namespace

int main()
{
    MODEL_RESOLVER resolver;

#if defined(__GNUC__)
    if (RegisterDebugLogCallback != nullptr) {
        RegisterDebugLogCallback(console_text);
    }
#endif
    if (MODEL_REGISTER_OPS(resolver) != kTfLiteOk) {
        console_text("FAIL " MODEL(NAME) ": an operator cannot be registered\n");
        return kNotRun;
    }
    model_runner::ModelRunner runner(MODEL_ARRAY, MODEL(DATA_LEN), resolver, g_arena, sizeof(g_arena));
    return run(runner);
}
