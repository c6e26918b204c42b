// model_values.h with C linkage, for tests that call it from Python.
#include "model_values.h"

extern "C" {
std::int8_t quantize_int8(float real, float scale, std::int32_t zero_point)
{
    return model_runner::quantize<std::int8_t>(real, scale, zero_point);
}

std::uint8_t quantize_uint8(float real, float scale, std::int32_t zero_point)
{
    return model_runner::quantize<std::uint8_t>(real, scale, zero_point);
}

std::int16_t quantize_int16(float real, float scale, std::int32_t zero_point)
{
    return model_runner::quantize<std::int16_t>(real, scale, zero_point);
}

float dequantize_int8(std::int8_t element, float scale, std::int32_t zero_point)
{
    return model_runner::dequantize(element, scale, zero_point);
}

std::size_t argmax_int8(const std::int8_t *values, std::size_t count)
{
    return model_runner::argmax(values, count);
}

const char *label_of(const std::int8_t *values)
{
    static const char *const labels[] = {"no", "yes", "on"};
    const std::int8_t all[] = {values[0], values[1], values[2]};
    return model_runner::best_label(all, labels);
}
}
