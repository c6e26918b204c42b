"""What a ``.tflite`` is: its operators, sizes, inputs, outputs and parameters, gathered and counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from doit_tflm import parameters, tflite
from doit_tflm.errors import UserError
from doit_tflm.layer_names import own_name
from doit_tflm.layers import labelled, layer_of
from doit_tflm.macs import macs, operations, uncounted
from doit_tflm.memory_plan import peak
from doit_tflm.tflite import Operator, Tensor, TfliteFile

__all__ = ["Footprint", "Port", "Row", "Summary", "Totals", "by", "summarize", "to_json"]

_KERNELS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
"""Operators whose second input is a kernel of shape (-, height, width, -)."""
_REAL = ("float16", "float32", "float64", "bfloat16")


@dataclass(frozen=True)
class Footprint:
    """What a model takes on the target: bytes of its ``.tflite`` and of its tensor arena, None where not known."""

    flash_bytes: int
    arena_bytes: int | None


@dataclass(frozen=True)
class Row:
    """An operator.

    Attributes
    ----------
    index, operator, layer
        Its place, its name in the schema, and the Keras layer that it came from.
    shapes, dtypes : tuple
        Of its outputs, the batch included.
    options : str
        Kernel, strides, padding and activation, where they are not the plainest.
    macs, operations : int or None
        None where they are not known.
    constant_bytes : int
        What its weights and other constants take of the ``.tflite``.
    """

    index: int
    operator: str
    layer: str
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    options: str
    macs: int | None
    operations: int | None
    constant_bytes: int


@dataclass(frozen=True)
class Port:
    """An input or output: ``real = scale * (element - zero_point)``, both None where it is not quantized."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class Totals:
    """Sums over a model.

    Attributes
    ----------
    macs, operations : int
        Of all operators but those of which they are not known.
    uncounted : tuple of str
        The kinds of operators whose MACs are not known, sorted.
    parameters : int
        Elements of the constants that are real numbers, or stand for them: weights and biases, but no shapes.
    weights_bytes, tflite_bytes : int
        What all constants take, and the whole file.
    tensor_bytes : int
        The most that tensors take in RAM together, a lower bound of the arena.
    tensor_peak : str
        The operator at which they do.
    operators : tuple of str
        The distinct operators, sorted.
    """

    macs: int
    operations: int
    uncounted: tuple[str, ...]
    parameters: int
    weights_bytes: int
    tflite_bytes: int
    tensor_bytes: int
    tensor_peak: str
    operators: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """What there is to say of a model; `model_parameters` are those in its own metadata, for firmware.

    `measured` and `float_twin` are what the caller knows of this model and of the same in float32; `arena_note`
    says how the arenas were measured.
    """

    name: str
    description: str
    rows: tuple[Row, ...]
    totals: Totals
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    model_parameters: Mapping[str, Any]
    measured: Footprint | None
    float_twin: Footprint | None
    arena_note: str


def summarize(
    data: bytes,
    name: str,
    measured: Footprint | None = None,
    float_twin: Footprint | None = None,
    arena_note: str = "",
) -> Summary:
    """Return the summary of a model.

    Parameters
    ----------
    data : bytes
        The ``.tflite`` file.
    name : str
        The model's name.
    measured, float_twin : Footprint, optional
        What this model takes, and the same in float32.
    arena_note : str, optional
        How the arenas were measured.

    Raises
    ------
    UserError
        If it is no TensorFlow Lite model, or a damaged one.
    """
    file = tflite.read(data, name)
    try:
        rows = tuple(_row(file, operator) for operator in file.operators)
        values = file.metadata.get(parameters.METADATA_NAME)
        return Summary(
            name=name,
            description=file.description,
            rows=rows,
            totals=_totals(file, rows, len(data)),
            inputs=tuple(_port(file.tensors[i]) for i in file.inputs),
            outputs=tuple(_port(file.tensors[i]) for i in file.outputs),
            model_parameters={} if values is None else dict(sorted(parameters.decode(values).items())),
            measured=measured,
            float_twin=float_twin,
            arena_note=arena_note,
        )
    except UserError as error:
        raise error.at(name) from error


def to_json(summary: Summary) -> dict[str, Any]:
    """Return a summary as what JSON holds: bytes in hexadecimal, numbers that are not finite as text."""
    return {key: _plain(value) for key, value in asdict(summary).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value.hex() if isinstance(value, bytes) else value


def _row(file: TfliteFile, operator: Operator) -> Row:
    outputs = [file.tensors[i] for i in operator.outputs if i >= 0]
    return Row(
        index=operator.index,
        operator=operator.name,
        layer=layer_of(file, operator),
        shapes=tuple(tensor.shape for tensor in outputs),
        dtypes=tuple(tensor.dtype for tensor in outputs),
        options=_options(file, operator),
        macs=macs(file, operator),
        operations=operations(file, operator),
        constant_bytes=_constant_bytes(file.tensors[i] for i in operator.inputs if i >= 0),
    )


def _options(file: TfliteFile, operator: Operator) -> str:
    """Return the options that are worth a word, e.g. ``"3x3, stride 2x2, same, relu"``."""
    options = operator.options
    window = options.window
    if operator.name in _KERNELS and macs(file, operator) is not None:
        window = file.tensors[operator.inputs[1]].shape[1:3]
    shown = [by(window)] if window else []
    for word, lengths in (("stride", options.strides), ("dilation", options.dilations)):
        # Windows that lie side by side are the usual ones.
        if set(lengths) - {1} and lengths != options.window:
            shown.append(f"{word} {by(lengths)}")
    return ", ".join(
        [*shown, *(word for word in (options.padding, options.activation) if word not in ("", "none"))]
    )


def by(lengths: tuple[int, ...]) -> str:
    """Return lengths in words, e.g. ``"1x32x32x3"``."""
    return "x".join(map(str, lengths)) or "scalar"


def _totals(file: TfliteFile, rows: tuple[Row, ...], tflite_bytes: int) -> Totals:
    constants = [tensor for tensor in file.tensors if tensor.buffer_bytes]
    most = peak(file)
    return Totals(
        macs=sum(row.macs or 0 for row in rows),
        operations=sum(row.operations or 0 for row in rows),
        uncounted=tuple(uncounted(file)),
        parameters=sum({tensor.buffer: tensor.elements for tensor in constants if _is_weight(tensor)}.values()),
        weights_bytes=_constant_bytes(constants),
        tflite_bytes=tflite_bytes,
        tensor_bytes=most.bytes,
        tensor_peak=labelled(file, most.operator) if most.operator else "",
        operators=tuple(sorted({operator.name for operator in file.operators})),
    )


def _is_weight(tensor: Tensor) -> bool:
    """Tell whether a constant is of real numbers: the whole ones are shapes, axes and the like."""
    return tensor.quantization is not None or tensor.dtype in _REAL


def _constant_bytes(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of constants, those that share a buffer once."""
    return sum({tensor.buffer: tensor.buffer_bytes for tensor in tensors}.values())


def _port(tensor: Tensor) -> Port:
    known = tensor.quantization
    return Port(
        name=own_name(tensor.name),
        shape=tensor.shape,
        dtype=tensor.dtype,
        scale=known.scales[0] if known else None,
        zero_point=(known.zero_points or (0,))[0] if known else None,
    )
