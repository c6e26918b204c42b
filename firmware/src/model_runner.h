/* model_runner.h: runs a model with TensorFlow Lite Micro in memory that the caller owns. C++11, as far as TensorFlow
 * Lite Micro's own headers are.
 *
 * No heap, no exceptions, no RTTI; every function says by its Status whether it worked.
 *
 *   alignas(16) static uint8_t arena[SINE_MODEL_ARENA_BYTES];
 *   static sine_op_resolver resolver;
 *   sine_register_ops(resolver);
 *   static model_runner::ModelRunner runner(g_sine_model_data, SINE_MODEL_DATA_LEN, resolver, arena, sizeof(arena));
 *   status = runner.prepare();                                    once
 *   status = runner.set_input(0, &x, sizeof(x));                  for each inference
 *   status = runner.invoke();
 *   status = runner.get_output(0, &y, sizeof(y));
 */
#ifndef DOIT_TFLM_FIRMWARE_MODEL_RUNNER_H
#define DOIT_TFLM_FIRMWARE_MODEL_RUNNER_H

#include <cstddef>
#include <cstdint>

#include "tensorflow/lite/micro/micro_interpreter.h"

namespace model_runner {

enum class Status : std::uint8_t {
    kOk,
    kModelMisaligned,  /* the model's address is no multiple of 16 */
    kModelNotTflite,   /* no "TFL3" at bytes 4 to 7 */
    kModelSchema,      /* a schema that this TensorFlow Lite Micro does not read */
    kLibraryMismatch,  /* TF_LITE_STATIC_MEMORY is defined for one of library and program */
    kArenaMisaligned,  /* the arena's address is no multiple of 16 */
    kArenaTooSmall,    /* not even TensorFlow Lite Micro's own objects fit */
    kAllocationFailed, /* the arena is too small, or the resolver lacks an operator; the library's log says which */
    kNotPrepared,      /* prepare() was not called, or did not work */
    kNoSuchTensor,     /* the model has fewer inputs or outputs */
    kWrongSize,        /* the tensor has another number of bytes */
    kInvokeFailed,     /* an operator failed; the library's log says which */
};

/* What a status means. */
const char *text(Status status);

class ModelRunner {
public:
    /* Keeps the pointers: the model, the resolver and the arena must outlive the runner. */
    ModelRunner(const std::uint8_t *model, std::size_t model_bytes, const tflite::MicroOpResolver &resolver,
                std::uint8_t *arena, std::size_t arena_bytes);
    ~ModelRunner();
    ModelRunner(const ModelRunner &) = delete;
    ModelRunner &operator=(const ModelRunner &) = delete;

    /* Checks the model and allocates its tensors in the arena. A second call tells again what the first did. */
    Status prepare();

    /* Copies a whole tensor in. Each inference needs all of them: the arena is used again in between. */
    Status set_input(std::size_t index, const void *data, std::size_t bytes);

    Status invoke();

    /* Copies a whole tensor out. */
    Status get_output(std::size_t index, void *data, std::size_t bytes);

    /* What the tensors took; allocation itself can need more. 0 before prepare(). */
    std::size_t arena_used_bytes() const;

private:
    Status check() const;
    Status allocate();

    const std::uint8_t *model_;
    std::size_t model_bytes_;
    const tflite::MicroOpResolver &resolver_;
    std::uint8_t *arena_;
    std::size_t arena_bytes_;
    /* What stopped prepare(), kNotPrepared before it was called. */
    Status state_;
    /* The interpreter is made here, and only after the checks: it uses the model and the arena when it is made. */
    alignas(tflite::MicroInterpreter) unsigned char storage_[sizeof(tflite::MicroInterpreter)];
    tflite::MicroInterpreter *interpreter_;
};

}  // namespace model_runner

#endif
