"""The Keras layer that a tensor's name stands for: ``conv2d_3`` of ``net/relu_3/Relu;net/conv2d_3/Conv2D``.

TensorFlow names a tensor by its model, its layer and the op in it, and joins by ``;`` the names of what the
converter fused. Keras 3 opens the scope of each layer twice, to build it and to call it, and TensorFlow numbers a
scope that is there already. So its layers ``conv2d`` and ``conv2d_3`` are called ``conv2d_1`` and ``conv2d_3_1``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

__all__ = ["by_keras3", "layer_name", "own_name"]

_CALL = re.compile(r"(Stateful)?PartitionedCall(_\d+)?")
"""A scope of TensorFlow's own around a model."""
_INNER = re.compile(
    r"(BiasAdd|ReadVariableOp|Tensordot|MatMul|Pad|Mean|Reshape|ExpandDims|Squeeze|Cast|Softmax|Conv[123]D|Shape"
    r"|PartitionedCall|StatefulPartitionedCall|convolution|depthwise|batchnorm|moments|strided_slice|transpose|split"
    r"|concat|einsum|while|cond)(_\d+)?"
)
"""A scope that an op opens inside of its layer."""
_CORE = re.compile(r"(?i)(conv|depthwise|matmul|tensordot|einsum)")
"""How ops begin which others are fused into."""
_KERAS2 = re.compile(r"(Conv2D|FusedBatchNorm)")
"""How ops begin that Keras 3 has not: it says convolution and batchnorm."""
_NUMBER = re.compile(r"_\d+$")
_DECORATION = re.compile(r"^serving_default_|(:\d+)$|_(int8|uint8|int16)$")


def layer_name(tensor_name: str, *, keras3: bool | None = None) -> str:
    """Return the layer that a tensor's name stands for, or an empty string if it stands for none.

    Of several layers, it is that whose convolution or matrix product the others were fused into; then that named
    most often, since the converter puts in the names of strangers; then the last, which the others came after.

    Parameters
    ----------
    tensor_name : str
        As the ``.tflite`` has it. Layers in a model inside of the model come out as ``block/conv2d``.
    keras3 : bool, optional
        Whether Keras 3 wrote it, as `by_keras3` tells from all names; told from this one when not given.
    """
    counts: dict[str, int] = {}
    cores, last = set(), {}
    for place, (_, layer, ops) in enumerate(_parts(tensor_name)):
        counts[layer] = counts.get(layer, 0) + 1
        last[layer] = place
        if any(_CORE.match(op) for op in ops):
            cores.add(layer)
    if not counts:
        return ""
    chosen = max(counts, key=lambda layer: (layer in cores, counts[layer], last[layer]))
    return _unnumbered(chosen) if (by_keras3([tensor_name]) if keras3 is None else keras3) else chosen


def own_name(tensor_name: str) -> str:
    """Return a tensor's name without what the converter puts around it, e.g. ``x`` of ``serving_default_x:0``."""
    before = ""
    while before != tensor_name:
        before, tensor_name = tensor_name, _DECORATION.sub("", tensor_name)
    return before


def by_keras3(tensor_names: Iterable[str]) -> bool:
    """Tell whether Keras 3 wrote a model, from the names of its tensors: every scope has a number too many."""
    return _by_keras3(tuple(tensor_names))


@lru_cache(maxsize=64)
def _by_keras3(tensor_names: tuple[str, ...]) -> bool:
    found = [part for name in tensor_names for part in _parts(name)]
    if any(_KERAS2.match(op) for _, _, ops in found for op in ops):
        return False
    layers = {layer for _, layer, _ in found}
    scopes = {scope for model, layer, _ in found for scope in (model, *layer.split("/"))}
    # A second model of Keras 2 in one process has numbers too, dense_3 and dense_4, but they tell layers apart.
    distinct = len({_unnumbered(layer) for layer in layers}) == len(layers)
    return bool(layers) and distinct and all(map(_NUMBER.search, scopes))


def _unnumbered(layer: str) -> str:
    return "/".join(_NUMBER.sub("", scope) for scope in layer.split("/"))


def _parts(tensor_name: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield model, layer and ops of each name that was joined; nothing for a name that is not made so."""
    for part in tensor_name.split(";"):
        scopes = part.split("/")
        while scopes and _CALL.fullmatch(scopes[0]):
            scopes = scopes[1:]
        if len(scopes) < 3:
            continue
        end = next((i for i in range(2, len(scopes) - 1) if _INNER.fullmatch(scopes[i])), len(scopes) - 1)
        yield scopes[0], "/".join(scopes[1:end]), tuple(scopes[end:])
