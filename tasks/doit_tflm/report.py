"""The report on a model's quantization, layer by layer, and the float32 model to compare it with."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from doit_tflm import tflite
from doit_tflm.convert import TensorFlowConverter
from doit_tflm.errors import UserError
from doit_tflm.keras_io import LoadedModel
from doit_tflm.layer_errors import LayerError
from doit_tflm.samples import Samples
from doit_tflm.settings import FLOAT_OPS

__all__ = ["advice", "plot", "to_csv", "unquantized", "worst"]

HEALTHY_RMSE_OVER_SCALE = 1 / math.sqrt(12)
"""What rounding alone costs: the standard deviation of an error that is uniform over one step."""
POOR = 0.1
"""A relative error above this is worth a look; layers of healthy models have 0.003 to 0.03."""
_ROUNDING = 1 / math.sqrt(6)
"""Up to this `rmse_over_scale`, half of the squared error or more is the rounding of the output."""
_CLIPPED = 0.01
_FLOAT = (
    "to leave layers float: a converter of your own with mlir_quantize(..., denylisted_nodes=[tensor_name in "
    "the report]), and TFLITE_BUILTINS in supported_ops, which alone keeps no op float that has an int8 kernel"
)

_WEIGHTED = ("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
_DEBUGGERS = (
    *("op_name", "num_elements", "stddev", "mean_error", "max_abs_error", "mean_squared_error"),
    *("scale", "zero_point", "tensor_name"),
)
_GUIDES = ("range", "rmse/scale")
_OURS = ("layer", "min", "max", "relative_error", "clipped")
_ATTRIBUTES = {"rmse/scale": "rmse_over_scale", "min": "minimum", "max": "maximum"}


def worst(errors: Sequence[LayerError], count: int = 5) -> list[LayerError]:
    """Return the layers with the greatest relative errors, the greatest first.

    Not those with the greatest `rmse_over_scale`: a channel of huge values makes the steps so large that the
    others round to nothing, and that is an error of far less than a step.
    """
    return sorted(errors, key=lambda error: (-error.relative_error, -error.rmse_over_scale))[:count]


def advice(errors: Sequence[LayerError]) -> list[str]:
    """Return lines for the console: up to five poor layers, the worst first, each with what may help it.

    Where there are none, one line says how good the worst one is.
    """
    poor = [error for error in worst(errors, len(errors)) if error.relative_error > POOR]
    if not poor:
        return [f"every layer is quantized well; the worst is {_described(error)}" for error in worst(errors, 1)]
    lines = [f"{_described(error)}: {_remedy(error)}" for error in poor[:5]]
    if len(poor) > len(lines):
        lines.append(f"and {len(poor) - len(lines)} more, see the report")
    return [*lines, _FLOAT]


def _described(error: LayerError) -> str:
    return (
        f"{error.layer} ({error.op_name}): error {error.relative_error:.1%} of the signal, "
        f"rmse/scale {error.rmse_over_scale:.2f}, range {error.minimum:.4g}..{error.maximum:.4g}"
    )


def _remedy(error: LayerError) -> str:
    """Return what the numbers say is wrong, and what a user can do about it."""
    if error.clipped > _CLIPPED:
        return (
            f"{error.clipped:.1%} of its values are outside of the calibrated range; "
            "give samples that reach further, or mend the layers before it"
        )
    if error.rmse_over_scale <= _ROUNDING:
        return (
            "its range is too wide for how little most of its channels vary; bound or normalize it "
            "(ReLU6, BatchNormalization), use 16x8, or leave it and the layers that read it float"
        )
    if error.op_name in _WEIGHTED:
        return (
            "its int8 weights are too coarse for its input; retrain with a max-norm constraint or weight decay, "
            "or leave it float"
        )
    return "its int8 kernel is that coarse; use 16x8, or leave it float"


def to_csv(errors: Sequence[LayerError]) -> bytes:
    """Return the errors as CSV, a row per layer in the model's order.

    The first columns are those of TensorFlow's debugger, without the index into its own model; `range` and
    `rmse/scale` are those that its guide adds.
    """
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    columns = (*_DEBUGGERS, *_GUIDES, *_OURS)
    rows.writerow(columns)
    for error in errors:
        values = [getattr(error, _ATTRIBUTES.get(column, column)) for column in columns]
        rows.writerow(f"{value:.9g}" if isinstance(value, float) else value for value in values)
    return stream.getvalue().encode()


def plot(errors: Sequence[LayerError], title: str) -> bytes:
    """Return the errors as a PNG: two bars per layer, in the model's order; the worst and the poor are orange."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.8 + 0.24 * len(errors)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    stand_out = {*worst(errors, 1), *(error for error in errors if error.relative_error > POOR)}
    colours = ["tab:orange" if error in stand_out else "tab:blue" for error in errors]
    steps = [error.rmse_over_scale for error in errors]
    _bars(left, steps, colours, (0.01, 4 * max([1.0, *steps])), HEALTHY_RMSE_OVER_SCALE)
    left.set_xlabel("error in steps (rmse/scale)")
    left.set_title("dashed: rounding alone, 1/sqrt(12)", fontsize=9)
    _bars(right, [100 * error.relative_error for error in errors], colours, (0.1, 400), 100 * POOR)
    right.set_xlabel("error in percent of the signal")
    right.set_title("dashed: poor from here on; orange: worst", fontsize=9)
    left.set_yticks(range(len(errors)), [f"{error.layer[-32:]} ({error.op_name})" for error in errors], fontsize=8)
    left.set_ylim(len(errors) - 0.4, -0.6)
    figure.suptitle(title)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100, metadata={"Software": None})
    return stream.getvalue()


def _bars(axes: Any, values: list[float], colours: list[str], limits: tuple[float, float], mark: float) -> None:
    """Draw horizontal bars on a logarithmic axis, each with its value, and a line to compare them with."""
    bars = axes.barh(range(len(values)), [max(value, limits[0]) for value in values], color=colours)
    axes.axvline(mark, color="black", linestyle="--", linewidth=1)
    labels = axes.bar_label(
        bars, [f"{value:.3g}" if value >= 0.001 else "0" for value in values], padding=3, fontsize=7
    )
    for label in labels:
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    axes.set(xscale="log", xlim=limits)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(visible=True, axis="x", alpha=0.3)


def unquantized(model: LoadedModel, settings: Mapping[str, Any]) -> bytes:
    """Convert a model to float32 weights, inputs and outputs, with the other settings of the quantized one.

    Parameters
    ----------
    model : LoadedModel
        The trained model.
    settings : mapping
        The facet ``graph.json``.

    Returns
    -------
    bytes
        The ``.tflite``, its buffers at multiples of 16 bytes.

    Raises
    ------
    UserError
        If TensorFlow refuses, or a tensor comes out quantized.
    """
    asked = {
        **{key: value for key, value in settings.items() if key != "supported_types"},
        "mode": "float",
        "optimizations": [],
        "supported_ops": [FLOAT_OPS],
        "inference_input_type": "float32",
        "inference_output_type": "float32",
    }
    data = tflite.aligned(TensorFlowConverter().calibrate(model, Samples("none", {}), asked))
    for tensor in tflite.read(data).tensors:
        if tensor.quantization is not None or tensor.dtype in ("float16", "bfloat16"):
            raise UserError(
                f"the unquantized model has a quantized tensor, {tensor.name} ({tensor.dtype})",
                fix="the trained model quantizes in itself: set generate_unquantized to False",
            )
    return data
