"""What quantization does to each layer of a model.

TensorFlow's quantization debugger measures. Its model has a float copy beside every quantized op, and gives both
the same input: what the quantized ops before them made. So an error is the layer's own, not an inherited one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from doit_tflm import tflite
from doit_tflm.convert import matched
from doit_tflm.errors import UserError
from doit_tflm.keras_io import Input
from doit_tflm.layer_names import own_name
from doit_tflm.layers import layer_of
from doit_tflm.samples import Samples
from doit_tflm.settings import INT16X8_OPS
from doit_tflm.worker_main import progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MAX_SAMPLES", "LayerError", "layer_errors"]

MAX_SAMPLES = 100
"""So many samples are measured at most, spread over all of them."""

_CHECK = "NumericVerify"
_SAVED = "serving_default_"
_STATISTICS = ("stddev", "mean_error", "max_abs_error", "mean_squared_error", "clipped")


@dataclass(frozen=True)
class LayerError:
    """How far the output of one quantized op is from that of its float copy, over the samples.

    Attributes
    ----------
    op_name : str
        As TensorFlow Lite calls it, e.g. ``"CONV_2D"``.
    tensor_name : str
        The output's name; several names joined by ``;`` where ops were fused.
    layer : str
        The name of the layer in it that a Keras user knows.
    scale, zero_point
        ``real = scale * (integer - zero_point)``.
    num_elements : int
        Of the output.
    stddev, mean_error, max_abs_error, mean_squared_error : float
        Of (dequantized - float), in each sample; the mean over the samples, as TensorFlow's debugger reports it.
    relative_error : float
        The error over the signal, 0 to 1 (nothing of the signal is left): the mean over the channels (last axis)
        that vary of root mean square error over standard deviation, each at most 1. Where no channel varies, the
        root mean squares of the whole output.
    clipped : float
        The part of the elements whose float value is more than a step outside of the range.
    """

    op_name: str
    tensor_name: str
    layer: str
    scale: float
    zero_point: int
    num_elements: int
    stddev: float
    mean_error: float
    max_abs_error: float
    mean_squared_error: float
    relative_error: float
    clipped: float

    @property
    def minimum(self) -> float:
        """The least real number that the output can hold."""
        return self.scale * (-128 - self.zero_point)

    @property
    def maximum(self) -> float:
        """The greatest real number that the output can hold."""
        return self.scale * (127 - self.zero_point)

    @property
    def range(self) -> float:
        """The width of the output's range: 255 steps."""
        return 255 * self.scale

    @property
    def rmse_over_scale(self) -> float:
        """The root mean square error in steps; 0.289, 1/sqrt(12), is what rounding costs."""
        return math.sqrt(self.mean_squared_error) / self.scale


def layer_errors(calibrated: bytes, samples: Samples, settings: Mapping[str, Any]) -> list[LayerError]:
    """Measure each quantized layer of a model.

    It is quantized as the build quantizes it, from the same calibrated model; float inputs and outputs change no
    layer between them.

    Parameters
    ----------
    calibrated : bytes
        What `TensorFlowConverter.calibrate` returned, the build's ``calibrated.tflite``.
    samples : Samples
        Representative samples, or others like them. Of more than `MAX_SAMPLES`, every n-th is taken.
    settings : mapping
        The facet ``graph.json`` or ``converter.json``.

    Returns
    -------
    list of LayerError
        In the model's order. For ops that keep their input's scale, such as RESHAPE and pooling, the debugger
        compares integers with integers: their errors are 0.

    Raises
    ------
    UserError
        If the model is not quantized to int8, the samples do not fit, or TensorFlow refuses.
    """
    _check_mode(settings)
    if not len(samples):
        raise UserError("there are no samples to measure the layers with", fix="give representative samples")
    plain = tflite.read(calibrated)
    arrays = _inputs_of(plain, samples)
    checked = _with_checks(calibrated)
    model = tflite.read(checked)
    checks = [operator for operator in model.operators if operator.name == _CHECK]
    if not checks:
        raise UserError("the model has no quantized layer, so that there are no errors to report")
    signals = [_Signal(model.tensors[check.inputs[0]], check.inputs[1]) for check in checks]
    statistics = _measured(checked, arrays, signals)
    makers = {index: operator.name for operator in model.operators for index in operator.outputs}
    layers = {plain.tensors[i].name: layer_of(plain, op) for op in plain.operators for i in op.outputs}
    return [
        _row(makers[signal.index], signal, statistics[model.tensors[check.outputs[0]].name], layers)
        for check, signal in zip(checks, signals, strict=True)
    ]


def _check_mode(settings: Mapping[str, Any]) -> None:
    """Refuse what the debugger does not know: it has float copies for int8 ops only."""
    if settings["mode"] == "float":
        raise UserError(
            "a float model has no quantization errors to report",
            fix="set optimizations to [DEFAULT], or generate_quantization_report to False",
        )
    if settings["mode"] != "int8":
        is_16x8 = INT16X8_OPS in settings["supported_ops"]
        cause = "16x8 ones" if is_16x8 else "those made with experimental_new_quantizer False"
        raise UserError(
            f"TensorFlow's quantization debugger measures int8 models, but not {cause}",
            fix="set generate_quantization_report to False",
        )


def _inputs_of(model: tflite.TfliteFile, samples: Samples) -> list[NDArray[np.generic]]:
    """Return the samples to measure with, in the order of the model's inputs."""
    tensors = [model.tensors[index] for index in model.inputs]
    # The converter orders a SavedModel's inputs anew: their names tell them apart, their places do not.
    names = [own_name(tensor.name) for tensor in tensors]
    is_reordered = len(tensors) > 1 and tensors[0].name.startswith(_SAVED)
    if is_reordered and all(key.isdigit() for key in samples.arrays):
        raise UserError(
            "the inputs of the samples have no names, and the converter has changed the order of the model's",
            fix=f"give each sample as a dict with {', '.join(sorted(names))}",
        )
    inputs = tuple(
        Input(name, tensor.shape[1:], tensor.dtype) for name, tensor in zip(names, tensors, strict=True)
    )
    total = min(len(samples), MAX_SAMPLES)
    rows = [row * len(samples) // total for row in range(total)]
    return [array[rows] for array in matched(samples, inputs)]


def _with_checks(calibrated: bytes) -> bytes:
    """Return the quantized model with float copies of its ops, and ops that compare the two."""
    from tensorflow.lite.python.convert import mlir_quantize

    try:
        return bytes(mlir_quantize(calibrated, enable_numeric_verify=True))
    except (ValueError, RuntimeError) as error:
        raise _refusal(error) from error


def _refusal(error: Exception) -> UserError:
    first = next((line.strip() for line in str(error).split("\n") if line.strip()), type(error).__name__)
    return UserError(
        f"TensorFlow's quantization debugger cannot measure the model: {first}", fix="see the log for all of it"
    )


def _measured(
    checked: bytes, arrays: Sequence[NDArray[np.generic]], signals: Sequence[_Signal]
) -> Mapping[str, Mapping[str, float]]:
    """Return the debugger's statistics by the names of the checks' outputs, and fill in the signals."""
    import tensorflow as tf

    total = len(arrays[0])

    def fed() -> Iterator[list[NDArray[np.generic]]]:
        interpreter = debugger._quant_interpreter
        for number in range(total):
            if number % 16 == 0:
                progress("measuring layers", number, total)
            yield [array[number : number + 1] for array in arrays]
            # The debugger has run this sample when it asks for the next one.
            for signal in signals:
                signal.add(interpreter.get_tensor(signal.real), interpreter.get_tensor(signal.index))
            # Keras starts an LSTM anew for each sample; the debugger would go on from the last one.
            interpreter.reset_all_variables()
        progress("measuring layers", total, total)

    # A metric of this kind makes the debugger keep the tensors between the ops as well.
    options = tf.lite.experimental.QuantizationDebugOptions(layer_direct_compare_metrics={"clipped": _clipped})
    try:
        debugger = tf.lite.experimental.QuantizationDebugger(
            quant_debug_model_content=checked, debug_dataset=fed, debug_options=options
        )
        debugger.run()
    except (ValueError, RuntimeError) as error:
        raise _refusal(error) from error
    statistics: Mapping[str, Mapping[str, float]] = debugger.layer_statistics
    return statistics


def _clipped(real: NDArray[np.floating], integers: NDArray[np.int8], scale: float, zero_point: int) -> float:  # noqa: ARG001 - the debugger's signature
    """Return the part of the values that are more than a step outside of the range."""
    outside = (real < scale * (-129 - zero_point)) | (real > scale * (128 - zero_point))
    return float(outside.mean())


class _Signal:
    """One layer's float output and the error in it: sums over the samples, for each channel.

    Parameters
    ----------
    tensor : Tensor
        The quantized output.
    real : int
        The index of the float one.
    """

    def __init__(self, tensor: tflite.Tensor, real: int) -> None:
        assert tensor.quantization is not None
        self.name = tensor.name
        self.index = tensor.index
        self.real = real
        self.scale = tensor.quantization.scales[0]
        self.zero_point = tensor.quantization.zero_points[0]
        self._count = 0
        self._sums: Any = 0.0

    def add(self, real: NDArray[np.floating], integers: NDArray[np.int8]) -> None:
        """Add a sample: the float output and the integers, of one shape."""
        import numpy as np

        values = real.astype(np.float64).reshape(-1, real.shape[-1] if real.ndim else 1)
        errors = self.scale * (integers.astype(np.float64).reshape(values.shape) - self.zero_point) - values
        self._count += len(values)
        self._sums = self._sums + np.stack([values.sum(0), (values**2).sum(0), (errors**2).sum(0)])

    def relative_error(self) -> float:
        """Return the error over the signal, as `LayerError` defines it."""
        import numpy as np

        mean, power, noise = self._sums / self._count
        variance = power - mean**2
        varies = variance > 1e-10 * power  # less is rounding, of float32 and of these sums
        if varies.any():
            noise, signal = noise[varies], variance[varies]
        else:
            noise, signal = noise.mean(keepdims=True), power.mean(keepdims=True)
        # At most 1, and 0 where there is neither noise nor signal.
        greatest = np.maximum(np.maximum(noise, signal), np.finfo(np.float64).tiny)
        return float(np.sqrt(noise / greatest).mean())


def _row(op_name: str, signal: _Signal, statistics: Mapping[str, float], layers: Mapping[str, str]) -> LayerError:
    """Return one layer's errors."""
    # As the debugger does: the float copy has taken the name, and the quantized output a digit more.
    name = signal.name[:-1] if signal.name[-1:].isdigit() else signal.name
    return LayerError(
        op_name=op_name,
        tensor_name=name,
        layer=layers.get(name) or own_name(name),
        scale=signal.scale,
        zero_point=signal.zero_point,
        num_elements=int(statistics["num_elements"]),
        relative_error=signal.relative_error(),
        **{key: float(statistics[key]) for key in _STATISTICS},
    )
