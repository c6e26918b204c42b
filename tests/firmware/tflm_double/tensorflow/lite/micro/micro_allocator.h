#ifndef TFLM_DOUBLE_MICRO_ALLOCATOR_H_
#define TFLM_DOUBLE_MICRO_ALLOCATOR_H_

namespace tflite {

class MicroAllocator {
    char bytes_[64];
};

}  // namespace tflite

#endif
