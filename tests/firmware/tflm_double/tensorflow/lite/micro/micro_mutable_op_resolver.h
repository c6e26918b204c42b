#ifndef TFLM_DOUBLE_MICRO_MUTABLE_OP_RESOLVER_H_
#define TFLM_DOUBLE_MICRO_MUTABLE_OP_RESOLVER_H_

#include "tensorflow/lite/micro/micro_interpreter.h"

namespace tflite {

template <unsigned int tOpCount>
class MicroMutableOpResolver : public MicroOpResolver {
public:
    TfLiteStatus AddQuantize()
    {
        if (count_ == tOpCount) {
            return kTfLiteError;
        }
        count_++;
        return kTfLiteOk;
    }
    unsigned operators() const override { return count_; }

private:
    unsigned count_ = 0;
};

}  // namespace tflite

#endif
