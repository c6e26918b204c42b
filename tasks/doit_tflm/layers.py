"""What the tensors and operators of a ``.tflite`` are called in Keras."""

from __future__ import annotations

from collections.abc import Iterator

from doit_tflm.layer_names import by_keras3, layer_name, own_name
from doit_tflm.tflite import Operator, TfliteFile

__all__ = ["input_name", "labelled", "layer_of"]


def input_name(tensor: str) -> str:
    """Return the name that an input has in Keras: the converter writes ``serving_default_NAME:0`` for some."""
    return tensor.removeprefix("serving_default_").partition(":")[0]


def layer_of(file: TfliteFile, operator: Operator) -> str:
    """Return the Keras layer that an operator came from.

    The converter gives the model's outputs, and an LSTM, names of its own. Where the weights do not tell either,
    it is e.g. ``"after dense_1"``; and the name of the operator's output where no layer comes before.
    """
    if layer := _layer_in_names(file, operator):
        return layer
    for before in _before(file, operator):
        if layer := _layer_in_names(file, before):
            return f"after {layer}"
    return next((own_name(file.tensors[i].name) for i in operator.outputs if i >= 0), "")


def _layer_in_names(file: TfliteFile, operator: Operator) -> str:
    """Return the layer that an operator's output names, else its weights; empty if none does."""
    keras3 = by_keras3(tensor.name for tensor in file.tensors)
    weights = [i for i in operator.inputs if i >= 0 and file.tensors[i].buffer_bytes]
    names = (layer_name(file.tensors[i].name, keras3=keras3) for i in (*operator.outputs, *weights) if i >= 0)
    return next(filter(None, names), "")


def _before(file: TfliteFile, operator: Operator) -> Iterator[Operator]:
    """Yield the last operator that computes something for this one, and that before it, and so on."""
    for earlier in reversed(file.operators[: operator.index]):
        if set(earlier.outputs) & set(operator.inputs) - {-1}:
            yield earlier
            operator = earlier


def labelled(file: TfliteFile, operator: Operator) -> str:
    """Return what to call an operator in messages, e.g. ``CONV_2D (conv2d_1)``."""
    layer = layer_of(file, operator)
    return f"{operator.name} ({layer})" if layer else operator.name
