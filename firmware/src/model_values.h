/* model_values.h: from real values to elements of a quantized tensor and back, and the best of a tensor. C++11.
 *
 * The scales and zero points are those of the generated header:
 *
 *   const int8_t x = quantize<int8_t>(0.5f, SINE_MODEL_INPUT0_SCALE, SINE_MODEL_INPUT0_ZERO_POINT);
 *
 * Needs no TensorFlow Lite Micro, and gives what its operators QUANTIZE and DEQUANTIZE give.
 */
#ifndef DOIT_TFLM_FIRMWARE_MODEL_VALUES_H
#define DOIT_TFLM_FIRMWARE_MODEL_VALUES_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace model_runner {

/* The element nearest to a real value: halves are rounded away from zero, and what the element's type cannot hold
 * becomes the nearest that it can. What is not a number becomes the zero point, which stands for 0.
 */
template <typename Element>
inline Element quantize(float real, float scale, std::int32_t zero_point)
{
    static_assert(std::numeric_limits<Element>::is_integer && sizeof(Element) <= 2,
                  "elements of quantized tensors are integers of 8 or 16 bits");
    const float lowest = static_cast<float>(std::numeric_limits<Element>::min() - zero_point);
    const float highest = static_cast<float>(std::numeric_limits<Element>::max() - zero_point);
    float steps = std::round(real / scale);

    /* Before the conversion, which is undefined for a float that the integer cannot hold. */
    if (std::isnan(steps)) {
        steps = 0.0f;
    } else if (steps < lowest) {
        steps = lowest;
    } else if (steps > highest) {
        steps = highest;
    } else {
        /* It fits. */
    }
    return static_cast<Element>(static_cast<std::int32_t>(steps) + zero_point);
}

/* The real value that an element stands for. */
template <typename Element>
inline float dequantize(Element element, float scale, std::int32_t zero_point)
{
    return scale * static_cast<float>(static_cast<std::int32_t>(element) - zero_point);
}

/* The index of the highest value, the first of several; `count` is at least 1. Quantized values are in the order of
 * the real ones, so that they need not be dequantized.
 */
template <typename Element>
inline std::size_t argmax(const Element *values, std::size_t count)
{
    std::size_t best = 0u;

    for (std::size_t i = 1u; i < count; i++) {
        if (values[i] > values[best]) {
            best = i;
        }
    }
    return best;
}

/* The label of the highest value, for a tensor with one value for each label. */
template <typename Element, std::size_t count>
inline const char *best_label(const Element (&values)[count], const char *const (&labels)[count])
{
    return labels[argmax(values, count)];
}

}  // namespace model_runner

#endif
