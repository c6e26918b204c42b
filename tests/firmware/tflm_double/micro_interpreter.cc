#include "tensorflow/lite/micro/micro_interpreter.h"

#include <cstring>

#ifndef TF_LITE_STATIC_MEMORY
extern "C" TfLiteIntArray *TfLiteIntArrayCreate(int size);
extern "C" TfLiteIntArray *TfLiteIntArrayCreate(int)
{
    return nullptr;
}
#endif

namespace tflite {

MicroInterpreter::MicroInterpreter(const Model *, const MicroOpResolver &resolver, std::uint8_t *arena,
                                   std::size_t bytes)
    : resolver_(resolver), arena_(arena), arena_bytes_(bytes), input_(), output_()
{
}

MicroInterpreter::~MicroInterpreter() {}

TfLiteStatus MicroInterpreter::AllocateTensors()
{
    if (arena_bytes_ < kArenaBytes || resolver_.operators() == 0) {
        return kTfLiteError;
    }
    input_.data.raw = reinterpret_cast<char *>(arena_);
    output_.data.raw = reinterpret_cast<char *>(arena_ + kTensorBytes);
    input_.bytes = output_.bytes = kTensorBytes;
    return kTfLiteOk;
}

TfLiteStatus MicroInterpreter::Invoke()
{
    std::memcpy(output_.data.raw, input_.data.raw, kTensorBytes);
    return kTfLiteOk;
}

TfLiteTensor *MicroInterpreter::input(std::size_t)
{
    return &input_;
}

TfLiteTensor *MicroInterpreter::output(std::size_t)
{
    return &output_;
}

}  // namespace tflite
