#ifndef TFLM_DOUBLE_SINGLE_ARENA_BUFFER_ALLOCATOR_H_
#define TFLM_DOUBLE_SINGLE_ARENA_BUFFER_ALLOCATOR_H_

namespace tflite {

class SingleArenaBufferAllocator {
    char bytes_[64];
};

}  // namespace tflite

#endif
