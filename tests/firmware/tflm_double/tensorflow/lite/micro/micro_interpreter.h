// Stands in for TensorFlow Lite Micro, of which it has what firmware/src/model_runner.cc uses: an interpreter whose one
// output is its one input, four bytes that lie in the arena.
#ifndef TFLM_DOUBLE_MICRO_INTERPRETER_H_
#define TFLM_DOUBLE_MICRO_INTERPRETER_H_

#include <cstddef>
#include <cstdint>

#define TFLITE_SCHEMA_VERSION (3)

enum TfLiteStatus { kTfLiteOk, kTfLiteError };

struct TfLiteIntArray;

struct TfLiteTensor {
#ifndef TF_LITE_STATIC_MEMORY
    const char *name;  // like the real one, it has other members then
#endif
    union {
        char *raw;
        const char *raw_const;
    } data;
    std::size_t bytes;
};

namespace tflite {

constexpr std::size_t kTensorBytes = 4;
constexpr std::size_t kArenaBytes = 1024;

struct Model;

inline const Model *GetModel(const void *data)
{
    return static_cast<const Model *>(data);
}

class MicroOpResolver {
public:
    virtual unsigned operators() const = 0;

protected:
    ~MicroOpResolver() = default;
};

class MicroInterpreter {
public:
    MicroInterpreter(const Model *model, const MicroOpResolver &resolver, std::uint8_t *arena, std::size_t bytes);
    ~MicroInterpreter();
    TfLiteStatus AllocateTensors();
    TfLiteStatus Invoke();
    TfLiteTensor *input(std::size_t index);
    TfLiteTensor *output(std::size_t index);
    std::size_t inputs_size() const { return 1; }
    std::size_t outputs_size() const { return 1; }
    std::size_t arena_used_bytes() const { return 2 * kTensorBytes; }

private:
    const MicroOpResolver &resolver_;
    std::uint8_t *arena_;
    std::size_t arena_bytes_;
    TfLiteTensor input_;
    TfLiteTensor output_;
};

}  // namespace tflite

#endif
