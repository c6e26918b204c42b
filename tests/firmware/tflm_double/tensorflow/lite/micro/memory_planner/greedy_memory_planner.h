#ifndef TFLM_DOUBLE_GREEDY_MEMORY_PLANNER_H_
#define TFLM_DOUBLE_GREEDY_MEMORY_PLANNER_H_

namespace tflite {

class GreedyMemoryPlanner {
    char bytes_[64];
};

}  // namespace tflite

#endif
