// Uses a ModelRunner rightly and wrongly, and prints what each call says.
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "kws_model_data.h"
#include "kws_op_resolver.h"
#include "model_runner.h"

using model_runner::ModelRunner;
using model_runner::Status;

namespace {

constexpr std::size_t kBytes = KWS_MODEL_DATA_LEN;
alignas(16) std::uint8_t g_arena[KWS_MODEL_ARENA_BYTES + 16];
alignas(16) std::uint8_t g_model[KWS_MODEL_DATA_LEN + 16];

void print(const char *name, Status status)
{
    std::printf("%s: %s\n", name, model_runner::text(status));
}

Status prepare(const std::uint8_t *model, std::size_t bytes, std::uint8_t *arena, std::size_t arena_bytes)
{
    kws_op_resolver resolver;
    kws_register_ops(resolver);
    return ModelRunner(model, bytes, resolver, arena, arena_bytes).prepare();
}

// The model with its root table's version changed: field 0, whose offset is the first in the table of offsets.
const std::uint8_t *with_version(std::uint8_t version)
{
    std::uint32_t root = 0;
    std::int32_t back = 0;
    std::uint16_t offset = 0;
    std::memcpy(g_model, g_kws_model_data, kBytes);
    std::memcpy(&root, g_model, sizeof(root));
    std::memcpy(&back, g_model + root, sizeof(back));
    std::memcpy(&offset, g_model + (static_cast<std::int32_t>(root) - back) + 4, sizeof(offset));
    g_model[root + offset] = version;
    return g_model;
}

void use_it_rightly()
{
    kws_op_resolver resolver;
    kws_register_ops(resolver);
    ModelRunner runner(g_kws_model_data, kBytes, resolver, g_arena, KWS_MODEL_ARENA_BYTES);
    const std::int8_t x[4] = {1, -2, 3, -4};
    std::int8_t y[4] = {};

    print("too early", runner.invoke());
    print("prepare", runner.prepare());
    print("prepare again", runner.prepare());
    print("input 1", runner.set_input(1, x, sizeof(x)));
    print("short input", runner.set_input(0, x, 3));
    print("input", runner.set_input(0, x, sizeof(x)));
    print("invoke", runner.invoke());
    print("output 1", runner.get_output(1, y, sizeof(y)));
    print("long output", runner.get_output(0, y, 5));
    print("output", runner.get_output(0, y, sizeof(y)));
    std::printf("result: %d %d %d %d\n", y[0], y[1], y[2], y[3]);
}

}  // namespace

int main()
{
    const std::size_t arena = KWS_MODEL_ARENA_BYTES;

    use_it_rightly();
    std::memcpy(g_model + 1, g_kws_model_data, kBytes);
    print("misaligned model", prepare(g_model + 1, kBytes, g_arena, arena));
    print("short model", prepare(g_kws_model_data, 7, g_arena, arena));
    print("other schema", prepare(with_version(4), kBytes, g_arena, arena));
    print("misaligned arena", prepare(g_kws_model_data, kBytes, g_arena + 8, arena));
    print("no arena", prepare(g_kws_model_data, kBytes, g_arena, 16));
    print("short arena", prepare(g_kws_model_data, kBytes, g_arena, 512));
    kws_op_resolver empty;
    print("no operators", ModelRunner(g_kws_model_data, kBytes, empty, g_arena, arena).prepare());
    return 0;
}
