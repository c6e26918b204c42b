"""What a finished model is held to: the memory and time of its target, its accuracy, and its own labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from doit_tflm.errors import UserError
from doit_tflm.macs import largest_layers, total_macs
from doit_tflm.memory_plan import describe_peak, largest_constants
from doit_tflm.tflite import TfliteFile
from doit_tflm.tflm import STEP_BYTES

__all__ = ["check_labels", "check_limits", "check_limits_of_accuracy", "unchecked", "with_margin"]


def with_margin(arena_bytes: int, margin: float) -> int:
    """Return an arena's size with a margin, in bytes, rounded up to a multiple of 16.

    Parameters
    ----------
    arena_bytes : int
        What was measured.
    margin : float
        What is added, as a part of it: 0.1 for ten percent.
    """
    # In whole thousandths, so that no rounding of a float decides.
    wanted = arena_bytes * (1000 + round(1000 * margin))
    return -(-wanted // (1000 * STEP_BYTES)) * STEP_BYTES


_USED = {
    "max_arena_bytes": "the tensor arena takes {} bytes",
    "max_flash_bytes": "the .tflite takes {} bytes",
    "max_macs": "an inference takes {} MACs",
}


def check_limits(limits: Mapping[str, Any], data: bytes, file: TfliteFile, arena_bytes: int | None) -> None:
    """Check a model against the memory and time of its target.

    Parameters
    ----------
    limits : mapping
        The facet ``limits.json``.
    data : bytes
        The final ``.tflite``.
    file : TfliteFile
        The same, read.
    arena_bytes : int, optional
        The tensor arena with its margin; None where it is not known.

    Raises
    ------
    UserError
        If it is over a limit: by how much, and what takes the most.
    """
    used: list[tuple[str, int | None, Callable[[], str]]] = [
        ("max_arena_bytes", arena_bytes, lambda: describe_peak(file)),
        ("max_flash_bytes", len(data), lambda: _largest(largest_constants(file))),
        ("max_macs", total_macs(file), lambda: _largest(largest_layers(file))),
    ]
    over = []
    for name, value, largest in used:
        most = limits[name]
        if most is not None and value is not None and value > most:
            text = _USED[name].format(f"{value:,}")
            over.append(f"{text}, {value - most:,} more than {name} {most:,}; {largest()}")
    if over:
        raise UserError("\n  ".join(over), fix="make the model smaller, or raise the limit")


def _largest(names: list[str]) -> str:
    return f"largest: {', '.join(names)}"


def check_limits_of_accuracy(limits: Mapping[str, Any], gate: Mapping[str, Any]) -> None:
    """Check what quantization cost.

    Parameters
    ----------
    limits : mapping
        The facet ``limits.json``.
    gate : mapping
        What the evaluation measured: ``metric``, its ``float`` and ``int8`` values, and ``drop``.

    Raises
    ------
    UserError
        If it is more than `max_accuracy_drop`.
    """
    most = limits["max_accuracy_drop"]
    if most is not None and gate["drop"] > most:
        raise UserError(
            f"{gate['metric']} is {gate['int8']:.4g} quantized but {gate['float']:.4g} in float: "
            f"{gate['drop']:.4g} worse, which is more than max_accuracy_drop {most:g}",
            fix="give better representative samples, look at generate_quantization_report, or raise the limit",
        )


def unchecked(limits: Mapping[str, Any], arena_bytes: int | None, uncounted: list[str]) -> list[str]:
    """Return warnings of limits that what is not known leaves open.

    Parameters
    ----------
    limits : mapping
        The facet ``limits.json``.
    arena_bytes : int, optional
        The tensor arena; None where it is not known.
    uncounted : list of str
        Operators whose MACs are not known.
    """
    notes = []
    if limits["max_arena_bytes"] is not None and arena_bytes is None:
        notes.append("max_arena_bytes is not checked: the arena was not measured")
    if limits["max_macs"] is not None and uncounted:
        notes.append(f"max_macs is checked without {', '.join(uncounted)}, whose MACs are not known")
    return notes


def check_labels(classes: list[str], file: TfliteFile, evaluate_as: str) -> None:
    """Check that a classifier has as many outputs as labels.

    Raises
    ------
    UserError
        If it has not: the labels are likely those of another model.
    """
    if not classes or evaluate_as not in ("", "classifier") or len(file.outputs) != 1:
        return
    shape = file.tensors[file.outputs[0]].shape
    outputs = shape[-1] if shape else 1
    if outputs != len(classes) and (outputs, len(classes)) != (1, 2):
        raise UserError(
            f"classes has {len(classes)} labels, but the model {outputs} outputs",
            fix="mend classes; or set evaluate_as to what the model is, if it is no classifier",
        )
