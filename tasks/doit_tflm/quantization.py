"""Real numbers ↔ the integers of a quantized tensor, as TensorFlow Lite's quantization specification has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from doit_tflm.errors import UserError
from doit_tflm.tflite import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["sample_shape", "to_real", "to_tensor"]


def to_tensor(values: NDArray[np.generic], tensor: Tensor) -> NDArray[np.generic]:
    """Return values as an input tensor takes them.

    ``integer = round(real / scale) + zero_point``, rounded half away from zero and clamped, as QUANTIZE of TFLM.

    Parameters
    ----------
    values : ndarray
        Shape (samples, *sample shape), real numbers; for a tensor that is not quantized, its own.
    tensor : Tensor
        The tensor; its first dimension is the batch, of 1.

    Returns
    -------
    ndarray
        Shape (samples, *tensor shape), the tensor's dtype.

    Raises
    ------
    UserError
        If a sample is of another size than the tensor.
    """
    import numpy as np

    if values[:1].size not in (0, np.prod(tensor.shape)):
        raise UserError(f"a sample has shape {values.shape[1:]}, but {tensor.name} takes {sample_shape(tensor)}")
    shaped = values.reshape(len(values), *tensor.shape)
    scale, zero_point = _parameters(tensor)
    if scale is None:
        return shaped.astype(tensor.dtype)
    limits = np.iinfo(tensor.dtype)
    steps = shaped.astype(np.float32) / np.float32(scale)
    rounded = np.trunc(steps + np.copysign(np.float32(0.5), steps)).astype(np.float64) + zero_point
    clamped: NDArray[np.generic] = np.clip(rounded, limits.min, limits.max).astype(tensor.dtype)
    return clamped


def to_real(values: NDArray[np.generic], tensor: Tensor) -> NDArray[np.float32]:
    """Return the real numbers of an output tensor's values: ``scale * (integer - zero_point)``.

    Parameters
    ----------
    values : ndarray
        Shape (samples, *tensor shape).
    tensor : Tensor
        The tensor; its first dimension is the batch, of 1.

    Returns
    -------
    ndarray
        Shape (samples, *tensor shape without the batch), float32.
    """
    import numpy as np

    shaped = values.reshape(len(values), *sample_shape(tensor))
    scale, zero_point = _parameters(tensor)
    if scale is None:
        return shaped.astype(np.float32)
    return ((shaped.astype(np.int64) - zero_point) * np.float64(scale)).astype(np.float32)


def sample_shape(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape of one sample: that of the tensor, without a batch of 1."""
    return tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape


def _parameters(tensor: Tensor) -> tuple[float | None, int]:
    """Return scale and zero point of a tensor of integers; no scale where it holds other numbers."""
    quantization = tensor.quantization
    if quantization is None or len(quantization.scales) != 1 or not tensor.dtype.startswith(("int", "uint")):
        return None, 0
    return quantization.scales[0], quantization.zero_points[0] if quantization.zero_points else 0
