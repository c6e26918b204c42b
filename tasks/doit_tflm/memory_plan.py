"""Which tensors of a model are in memory together: what a tensor arena must hold at the least, and when.

TFLM places tensors by their lifetimes (``micro_allocation_info.cc``): from the operator that computes one to the
last that reads it, the model's inputs from the start, its outputs to the end, variables always. Each takes a
multiple of 16 bytes. At each operator the arena holds all that live, so the largest sum is a lower bound of its
size. What kernels need besides, and gaps that the planner leaves, come on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from doit_tflm.layer_names import by_keras3, layer_name, own_name
from doit_tflm.layers import labelled, layer_of
from doit_tflm.tflite import Operator, Tensor, TfliteFile

__all__ = ["Peak", "describe_peak", "largest_constants", "lifetimes", "peak", "planned_bytes"]

_ALIGNMENT = 16
_START = -1
"""The moment before the first operator, when the inputs are filled."""


@dataclass(frozen=True)
class Peak:
    """The moment at which the tensors in memory take the most.

    Attributes
    ----------
    operator : Operator or None
        The operator that runs then, the first of several; None where it is before the first.
    bytes : int
        What the tensors take, each rounded up to 16.
    tensors : tuple of Tensor
        Those that take any, the largest first.
    """

    operator: Operator | None
    bytes: int
    tensors: tuple[Tensor, ...]


def planned_bytes(tensor: Tensor) -> int:
    """Return the bytes that a tensor takes in the arena, rounded up to 16."""
    return -(-tensor.bytes // _ALIGNMENT) * _ALIGNMENT


def lifetimes(file: TfliteFile) -> dict[int, tuple[int, int]]:
    """Return the first and the last operator during which each computed tensor is in memory, by its index.

    -1 stands for the time before the first operator. Constants, and tensors that nothing uses, are left out.
    """
    end = len(file.operators) - 1
    moments: dict[int, list[int]] = {index: [_START] for index in file.inputs}
    for operator in file.operators:
        for index in operator.outputs:
            moments.setdefault(index, []).append(operator.index)
        for index in operator.inputs:
            # What no operator computes is there from the start.
            moments.setdefault(index, [_START]).append(operator.index)
    for index in file.outputs:
        moments.setdefault(index, [_START]).append(end)
    moments |= {tensor.index: [_START, end] for tensor in file.tensors if tensor.is_variable}
    computed = {tensor.index for tensor in file.tensors if tensor.is_variable or not tensor.buffer_bytes}
    return {index: (min(times), max(times)) for index, times in sorted(moments.items()) if index in computed}


def peak(file: TfliteFile) -> Peak:
    """Return when the tensors of a model take the most memory.

    Raises
    ------
    UserError
        If a tensor has an open shape.
    """
    alive = lifetimes(file)
    sizes = {index: planned_bytes(file.tensors[index]) for index in alive}
    # Of equal moments the first counts; that before the first operator comes last, since it names none.
    moment = max((*range(len(file.operators)), _START), key=lambda moment: sum(_at(moment, alive, sizes).values()))
    there = _at(moment, alive, sizes)
    largest = sorted(there, key=lambda index: (-file.tensors[index].bytes, index))
    return Peak(
        operator=None if moment == _START else file.operators[moment],
        bytes=sum(there.values()),
        tensors=tuple(file.tensors[index] for index in largest if sizes[index]),
    )


def describe_peak(file: TfliteFile, count: int = 3) -> str:
    """Return what takes the most memory, and when, in words.

    For example ``"largest at ADD (add), with 49,152 bytes of tensors: 16,384 bytes conv2d (1, 32, 32, 16) int8,
    16,384 bytes conv2d_2 (1, 32, 32, 16) int8, and 1 more"``. Tensors are called by the layers they come from.

    Raises
    ------
    UserError
        If a tensor has an open shape.
    """
    found = peak(file)
    names = _Names(file)
    where = (
        f"largest at {labelled(file, found.operator)}" if found.operator else "largest before the first operator"
    )
    parts = [f"{_bytes(tensor.bytes)} {names.described(tensor)}" for tensor in found.tensors[:count]]
    if len(found.tensors) > count:
        parts.append(f"and {len(found.tensors) - count} more")
    return f"{where}, with {found.bytes:,} bytes of tensors{': ' if parts else ''}{', '.join(parts)}"


def largest_constants(file: TfliteFile, count: int = 3) -> list[str]:
    """Return the largest constants, e.g. ``"36,864 bytes conv2d_7 (64, 3, 3, 64) int8"``, the largest first.

    They are called by the layers that use them.
    """
    names = _Names(file)
    by_buffer = {tensor.buffer: tensor for tensor in reversed(file.tensors) if tensor.buffer_bytes}
    largest = sorted(by_buffer.values(), key=lambda tensor: (-tensor.buffer_bytes, tensor.index))[:count]
    return [f"{_bytes(tensor.buffer_bytes)} {names.described(tensor)}" for tensor in largest]


def _at(moment: int, alive: Mapping[int, tuple[int, int]], sizes: Mapping[int, int]) -> dict[int, int]:
    """Return the sizes of the tensors in memory at a moment, by index."""
    return {index: sizes[index] for index, (first, last) in alive.items() if first <= moment <= last}


def _bytes(number: int) -> str:
    return f"{number:,} byte{'' if number == 1 else 's'}"


class _Names:
    """The layers of a model's tensors: of a computed one that which makes it, of a constant that which uses it."""

    def __init__(self, file: TfliteFile) -> None:
        self._file = file
        self._keras3 = by_keras3(tensor.name for tensor in file.tensors)

    def described(self, tensor: Tensor) -> str:
        return f"{self._name(tensor)} {tensor.shape} {tensor.dtype}"

    def _name(self, tensor: Tensor) -> str:
        made = (one for one in self._file.operators if tensor.index in one.outputs)
        used = (one for one in self._file.operators if tensor.index in one.inputs and tensor.buffer_bytes)
        operator = next(made, None) or next(used, None)
        if operator is not None:
            return layer_of(self._file, operator)
        return layer_name(tensor.name, keras3=self._keras3) or own_name(tensor.name)
