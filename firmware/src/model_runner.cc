#include "model_runner.h"

#include <cstring>
#include <new>

#include "tensorflow/lite/micro/arena_allocator/single_arena_buffer_allocator.h"
#include "tensorflow/lite/micro/memory_planner/greedy_memory_planner.h"
#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/schema/schema_generated.h"
#include "tflite_file.h"

#if defined(__GNUC__)
/* The library has this function only if it was built without TF_LITE_STATIC_MEMORY. Structures then have other
 * members, and a program that was built differently reads wrong outputs without a warning.
 */
extern "C" TfLiteIntArray *TfLiteIntArrayCreate(int size) __attribute__((weak));
#endif

namespace model_runner {
namespace {

constexpr std::size_t kAlignment = 16u;

/* TensorFlow Lite Micro does not check whether these, the first that it puts into the arena, fit. */
constexpr std::size_t kLeastArenaBytes = sizeof(tflite::SingleArenaBufferAllocator) +
                                         sizeof(tflite::GreedyMemoryPlanner) + sizeof(tflite::MicroAllocator) +
                                         3u * kAlignment;

bool is_aligned(const std::uint8_t *address)
{
    return reinterpret_cast<std::uintptr_t>(address) % kAlignment == 0u;
}

bool library_matches()
{
#if defined(__GNUC__) && defined(TF_LITE_STATIC_MEMORY)
    return TfLiteIntArrayCreate == nullptr;
#elif defined(__GNUC__)
    return TfLiteIntArrayCreate != nullptr;
#else
    return true;
#endif
}

}  // namespace

const char *text(Status status)
{
    switch (status) {
    case Status::kOk:
        return "ok";
    case Status::kModelMisaligned:
        return "the model's address is no multiple of 16";
    case Status::kModelNotTflite:
        return "the model is no .tflite: TFL3 is not at bytes 4 to 7";
    case Status::kModelSchema:
        return "the model's schema is of another version than TensorFlow Lite Micro reads";
    case Status::kLibraryMismatch:
        return "define TF_LITE_STATIC_MEMORY for both TensorFlow Lite Micro and this program, or for neither";
    case Status::kArenaMisaligned:
        return "the arena's address is no multiple of 16";
    case Status::kArenaTooSmall:
        return "the arena is too small for TensorFlow Lite Micro itself";
    case Status::kAllocationFailed:
        return "the arena is too small for the tensors, or the resolver lacks an operator";
    case Status::kNotPrepared:
        return "prepare() was not called, or did not work";
    case Status::kNoSuchTensor:
        return "the model has no tensor of this index";
    case Status::kWrongSize:
        return "the tensor has another number of bytes";
    case Status::kInvokeFailed:
        return "an operator failed";
    }
    return "unknown status";
}

ModelRunner::ModelRunner(const std::uint8_t *model, std::size_t model_bytes,
                         const tflite::MicroOpResolver &resolver, std::uint8_t *arena, std::size_t arena_bytes)
    : model_(model), model_bytes_(model_bytes), resolver_(resolver), arena_(arena), arena_bytes_(arena_bytes),
      state_(Status::kNotPrepared), interpreter_(nullptr)
{
}

ModelRunner::~ModelRunner()
{
    if (interpreter_ != nullptr) {
        interpreter_->~MicroInterpreter();
    }
}

Status ModelRunner::prepare()
{
    if (state_ == Status::kNotPrepared) {
        state_ = check();
        if (state_ == Status::kOk) {
            state_ = allocate();
        }
    }
    return state_;
}

Status ModelRunner::check() const
{
    if (!is_aligned(model_)) {
        return Status::kModelMisaligned;
    }
    if (!tflite_has_identifier(model_, model_bytes_)) {
        return Status::kModelNotTflite;
    }
    if (tflite_schema_version(model_, model_bytes_) != static_cast<std::uint32_t>(TFLITE_SCHEMA_VERSION)) {
        return Status::kModelSchema;
    }
    if (!library_matches()) {
        return Status::kLibraryMismatch;
    }
    if (!is_aligned(arena_)) {
        return Status::kArenaMisaligned;
    }
    return (arena_bytes_ < kLeastArenaBytes) ? Status::kArenaTooSmall : Status::kOk;
}

Status ModelRunner::allocate()
{
    interpreter_ = new (storage_) tflite::MicroInterpreter(tflite::GetModel(model_), resolver_, arena_, arena_bytes_);
    return (interpreter_->AllocateTensors() == kTfLiteOk) ? Status::kOk : Status::kAllocationFailed;
}

Status ModelRunner::set_input(std::size_t index, const void *data, std::size_t bytes)
{
    if (state_ != Status::kOk) {
        return Status::kNotPrepared;
    }
    if (index >= interpreter_->inputs_size()) {
        return Status::kNoSuchTensor;
    }
    TfLiteTensor *const tensor = interpreter_->input(index);
    if (tensor->bytes != bytes) {
        return Status::kWrongSize;
    }
    static_cast<void>(std::memcpy(tensor->data.raw, data, bytes));
    return Status::kOk;
}

Status ModelRunner::invoke()
{
    if (state_ != Status::kOk) {
        return Status::kNotPrepared;
    }
    return (interpreter_->Invoke() == kTfLiteOk) ? Status::kOk : Status::kInvokeFailed;
}

Status ModelRunner::get_output(std::size_t index, void *data, std::size_t bytes)
{
    if (state_ != Status::kOk) {
        return Status::kNotPrepared;
    }
    if (index >= interpreter_->outputs_size()) {
        return Status::kNoSuchTensor;
    }
    const TfLiteTensor *const tensor = interpreter_->output(index);
    if (tensor->bytes != bytes) {
        return Status::kWrongSize;
    }
    static_cast<void>(std::memcpy(data, tensor->data.raw_const, bytes));
    return Status::kOk;
}

std::size_t ModelRunner::arena_used_bytes() const
{
    return (state_ == Status::kOk) ? interpreter_->arena_used_bytes() : 0u;
}

}  // namespace model_runner
