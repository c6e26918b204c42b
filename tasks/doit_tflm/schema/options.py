"""The options of a ``.tflite``'s operators that decide how much they compute, or that a reader wants to see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Options", "read_options"]

_STRIDES = ("StrideD", "StrideH", "StrideW")
_DILATIONS = ("DilationDFactor", "DilationHFactor", "DilationWFactor")
_WINDOW = ("FilterHeight", "FilterWidth")
_ADJOINT = ("AdjX", "AdjY")


@dataclass(frozen=True)
class Options:
    """Options of an operator; those that its kind has not are empty.

    Attributes
    ----------
    activation, padding : str
        The schema's names in lower case, e.g. ``"relu"``, ``"none"`` and ``"same"``.
    strides, dilations, window : tuple of int
        Height and width, behind the depth if there is one; the window is that of a pooling operator.
    adjoint : tuple of bool
        Whether the left and the right matrix of a product are transposed.
    """

    activation: str = ""
    padding: str = ""
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    window: tuple[int, ...] = ()
    adjoint: tuple[bool, ...] = ()


def read_options(schema: Any, operator: Any, member: Callable[[str, int], str]) -> Options:
    """Return the options of an operator's table.

    Parameters
    ----------
    schema, operator
        TensorFlow's module for models, and the table.
    member : callable
        Returns the name of a member of an enum of the schema.
    """
    union = operator.BuiltinOptions()
    if not operator.BuiltinOptionsType() or union is None:
        return Options()
    table = getattr(schema, member("BuiltinOptions", operator.BuiltinOptionsType()))()
    table.Init(union.Bytes, union.Pos)

    def values(*fields: str) -> tuple[Any, ...]:
        return tuple(getattr(table, field)() for field in fields if hasattr(table, field))

    return Options(
        activation="".join(member("ActivationFunctionType", v).lower() for v in values("FusedActivationFunction")),
        padding="".join(member("Padding", v).lower() for v in values("Padding")),
        strides=values(*_STRIDES),
        dilations=values(*_DILATIONS),
        window=values(*_WINDOW),
        adjoint=values(*_ADJOINT),
    )
