"""Golden vectors: a few representative inputs, and exactly what TFLM makes of them, as C arrays.

A target that gets the same bytes from the same inputs runs the same model with the same arithmetic.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from doit_tflm import c_text, header
from doit_tflm.samples import read_arrays, write_arrays

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Golden", "chosen", "golden_stem", "read", "render_golden", "serialise"]

_WIDTH = 112


@dataclass(frozen=True)
class Golden:
    """Inputs and what comes out.

    Attributes
    ----------
    inputs, outputs : tuple of ndarray
        For each tensor, shape (vectors, *tensor shape), of the tensor's dtype.
    """

    inputs: tuple[NDArray[np.generic], ...] = ()
    outputs: tuple[NDArray[np.generic], ...] = ()

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self.inputs[0]) if self.inputs else 0


def chosen(samples: int, count: int) -> list[int]:
    """Return which samples become golden vectors: evenly spread from the first to the last."""
    count = min(samples, count)
    return [number * (samples - 1) // max(count - 1, 1) for number in range(count)]


def serialise(golden: Golden) -> bytes:
    """Return golden vectors as the bytes of a ``.npz``, the same for equal vectors."""
    named = {f"input{index}": array for index, array in enumerate(golden.inputs)}
    named |= {f"output{index}": array for index, array in enumerate(golden.outputs)}
    return write_arrays(named)


def read(path: str | Path) -> Golden:
    """Read golden vectors that `serialise` wrote."""
    named = read_arrays(io.BytesIO(Path(path).read_bytes()))
    inputs, outputs = (
        tuple(named[f"{kind}{index}"] for index in range(sum(name.startswith(kind) for name in named)))
        for kind in ("input", "output")
    )
    return Golden(inputs, outputs)


def golden_stem(model: str) -> str:
    """Return what both files are called, e.g. ``sine_golden``, without ``.h`` and ``.c``."""
    return f"{c_text.c_identifier(model)}_golden"


def render_golden(facts: header.HeaderFacts, size: int, golden: Golden) -> tuple[str, str]:
    """Return the text of the header and of the source file.

    Parameters
    ----------
    facts : HeaderFacts
        The model's, whose header this one includes.
    size : int
        The size of the ``.tflite`` in bytes.
    golden : Golden
        At least one vector.
    """
    tensors = [
        (f"{kind}{index}", tensor, array.reshape(len(array), -1))
        for kind, both in (
            ("input", zip(facts.inputs, golden.inputs, strict=True)),
            ("output", zip(facts.outputs, golden.outputs, strict=True)),
        )
        for index, (tensor, array) in enumerate(both)
    ]
    arrays = [
        (name, c_text.C_TYPES[tensor.dtype][0], [list(_rows(values)) for values in array])
        for name, tensor, array in tensors
    ]
    values = {"golden": golden_stem(facts.model), "count": len(golden), "arrays": arrays}
    declared = header.render_template("golden.h.j2", facts, size, **values)
    return declared, header.render_template("golden.c.j2", facts, size, **values)


def _rows(values: NDArray[np.generic]) -> Iterator[str]:
    """Yield the lines of one vector's initialiser."""
    row = ""
    for text in _constants(values.tolist()):
        if len(row) + len(text) > _WIDTH:
            yield row
            row = ""
        row += text
    yield row


def _constants(values: Sequence[int | float | bool]) -> Iterator[str]:
    """Yield each value as a constant of C, with a comma behind."""
    for value in values:
        text = c_text.c_float(value) if isinstance(value, float) else c_text.c_int(int(value))
        yield f" {text.strip('()')},"
