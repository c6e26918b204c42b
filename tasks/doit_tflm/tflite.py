"""A ``.tflite`` file: what it holds, and the same file with other metadata.

TensorFlow's own generated flatbuffer code does the reading, but TensorFlow is not imported.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from doit_tflm.errors import UserError
from doit_tflm.schema import rewrite
from doit_tflm.schema.flatbuffer import Bounded, content, numbers, reading, tables, target, tensorflow_schema, text
from doit_tflm.schema.options import Options, read_options

__all__ = [
    "Operator",
    "Quantization",
    "Tensor",
    "TfliteFile",
    "aligned",
    "buffer_alignment_faults",
    "read",
    "with_metadata",
]

_IDENTIFIER = b"TFL3"
_CONVERTER_ENTRY = "CONVERSION_METADATA"


@dataclass(frozen=True)
class Quantization:
    """How integers stand for real numbers: ``real = scale * (integer - zero_point)``.

    Where there is more than one scale, they run along the dimension `axis`.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int


@dataclass(frozen=True)
class Tensor:
    """A tensor; `dtype` is NumPy's name, `buffer_bytes` the size of its constant data (0: it is computed).

    Tensors with the same `buffer` share that data. `open_dimensions` are those whose length is not fixed: `shape`
    has what the interpreter begins with, 1 as a rule.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    buffer_bytes: int
    quantization: Quantization | None
    is_variable: bool
    open_dimensions: tuple[int, ...]
    buffer: int

    @property
    def elements(self) -> int:
        """The number of elements.

        Raises
        ------
        UserError
            If the shape is open.
        """
        if any(length < 0 for length in self.shape):
            what = f"tensor {self.name} has the open shape {self.shape}"
            raise UserError(what, fix="give the inputs fixed shapes")
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """The bytes that TFLM takes for it in memory: one for an int4; 0 where a type has no fixed size (strings).

        Raises
        ------
        UserError
            If the shape is open.
        """
        # memory_helpers.cc of TFLM: TfLiteTypeSizeOf.
        bits = re.search(r"\d+$", self.dtype)
        size = max(1, int(bits.group()) // 8) if bits else {"bool": 1, "resource": 4}.get(self.dtype, 0)
        return self.elements * size


@dataclass(frozen=True)
class Operator:
    """An operator; `name` is the schema's, e.g. ``"CONV_2D"``, or a custom operator's own. Input -1: not given."""

    index: int
    name: str
    version: int
    is_custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options = field(default_factory=Options)


@dataclass(frozen=True)
class TfliteFile:
    """What a ``.tflite`` file holds; tensors, operators, inputs and outputs are those of its first subgraph.

    `kinds` are the distinct operators of all subgraphs, sorted, as (name, is_custom). `tensorflow_version` is the
    one that the converter noted, None where it noted none.
    """

    schema_version: int
    description: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    kinds: tuple[tuple[str, bool], ...]
    metadata: Mapping[str, bytes]
    subgraphs: int
    tensorflow_version: str | None


def read(data: bytes, where: str = "") -> TfliteFile:
    """Return what a ``.tflite`` file holds.

    Parameters
    ----------
    data : bytes
        The whole file.
    where : str, optional
        Its name, for messages.

    Raises
    ------
    UserError
        If it is no TensorFlow Lite model, or a damaged one.
    """
    with _reading_model(where):
        model = _root(data)
        graph = model.Subgraphs(0)
        buffers = _buffers(model)
        codes = [_operator_code(model.OperatorCodes(i)) for i in range(model.OperatorCodesLength())]
        entries = {text(entry.Name()): bytes(buffers[entry.Buffer()]) for entry in tables(model, "Metadata")}
        file = TfliteFile(
            schema_version=model.Version(),
            description=text(model.Description()),
            tensors=tuple(_tensor(i, tensor, buffers) for i, tensor in enumerate(tables(graph, "Tensors"))),
            operators=tuple(
                _operator(i, operator, codes) for i, operator in enumerate(tables(graph, "Operators"))
            ),
            inputs=numbers(graph, "Inputs"),
            outputs=numbers(graph, "Outputs"),
            kinds=_kinds(model, codes),
            metadata=entries,
            subgraphs=model.SubgraphsLength(),
            tensorflow_version=_tensorflow_version(entries.get(_CONVERTER_ENTRY, b"")),
        )
        _check_references(file)
    return file


def _kinds(model: Any, codes: list[tuple[str, int, bool]]) -> tuple[tuple[str, bool], ...]:
    """Return the distinct operators of all subgraphs: a loop's body is one of its own."""
    used = {
        operator.OpcodeIndex() for graph in tables(model, "Subgraphs") for operator in tables(graph, "Operators")
    }
    return tuple(sorted({(codes[index][0], codes[index][2]) for index in used}))


def buffer_alignment_faults(data: bytes, where: str = "") -> list[int]:
    """Return the indices of the buffers with data that does not start at a multiple of 16 bytes.

    Raises
    ------
    UserError
        If it is no TensorFlow Lite model, or a damaged one.
    """
    with _reading_model(where):
        model = _root(data)
        filled = [i for i, size in enumerate(map(len, _buffers(model))) if size]
        starts = [target(model.Buffers(i)._tab, 0) + 4 for i in filled]
    return [i for i, start in zip(filled, starts, strict=True) if start % rewrite.ALIGNMENT]


def aligned(data: bytes, where: str = "") -> bytes:
    """Return a model with every buffer's data at a multiple of 16 bytes, as the schema asks: itself if they are.

    TensorFlow's converter leaves them at multiples of 4. All else stays equal, but everything moves.

    Raises
    ------
    UserError
        If it is no TensorFlow Lite model, or one with parts that would be lost.
    """
    if not buffer_alignment_faults(data, where):
        return data
    with _reading_model(where):
        return rewrite.packed(_root(data))


def with_metadata(data: bytes, entries: Mapping[str, bytes], description: str | None = None) -> bytes:
    """Return a model with metadata entries added, or replaced where it has them already.

    Parameters
    ----------
    data : bytes
        A ``.tflite`` file. It comes back byte for byte, behind a new head and before up to 15 zeros. Where an
        earlier call put a head in front of it, the new one takes its place.
    entries : mapping of str to bytes
        The entries by name.
    description : str, optional
        The model's description; without it the old one stays.

    Raises
    ------
    UserError
        If it is no TensorFlow Lite model, or one with parts that would be lost.
    """
    if not entries and description is None:
        return data
    file = read(data)
    with _reading_model():
        start = rewrite.inner_start(data, _root)
        if start:
            data = data[start:]
            inner = read(data)
            entries = {**_differing(file.metadata, inner.metadata), **entries}
            if description is None and file.description != inner.description:
                description = file.description
        change = rewrite.plan(_root(data), entries)
    return rewrite.write(data, change, description)


def _differing(new: Mapping[str, bytes], old: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the entries that are not in `old` as they are in `new`."""
    return {name: content for name, content in new.items() if old.get(name) != content}


def _schema() -> Any:
    """Return TensorFlow's module for models."""
    return tensorflow_schema("schema_py_generated")


@contextmanager
def _reading_model(where: str = "") -> Iterator[None]:
    """Say what damaged data is a part of."""
    with reading("damaged TensorFlow Lite model", where, "the file may be truncated; convert the model again"):
        yield


def _root(data: bytes) -> Any:
    """Return the root table, of a model with at least one graph."""
    if data[4:8] != _IDENTIFIER:
        raise UserError("not a TensorFlow Lite model (no TFL3 in bytes 4 to 7)", fix="name a .tflite file")
    model = _schema().Model.GetRootAs(Bounded(data), 0)
    if not model.SubgraphsLength():
        raise ValueError("no subgraph")
    return model


def _buffers(model: Any) -> list[memoryview]:
    """Return the content of every buffer, which makes sure that it lies inside the file."""
    return [content(buffer) for buffer in tables(model, "Buffers")]


def _member(enum: str, value: int) -> str:
    """Return the name of an enum's member."""
    for name, number in vars(getattr(_schema(), enum)).items():
        if number == value and not name.startswith("_"):
            return str(name)
    raise UserError(
        f"{enum} {value} is not known to the installed TensorFlow",
        fix="upgrade it to the one that converted the model",
    )


def _tensor(index: int, tensor: Any, buffers: list[memoryview]) -> Tensor:
    return Tensor(
        index=index,
        name=text(tensor.Name()),
        shape=numbers(tensor, "Shape"),
        dtype=_member("TensorType", tensor.Type()).lower(),
        buffer_bytes=len(buffers[tensor.Buffer()]),
        quantization=_quantization(tensor.Quantization()),
        is_variable=bool(tensor.IsVariable()),
        open_dimensions=tuple(i for i, length in enumerate(numbers(tensor, "ShapeSignature")) if length < 0),
        buffer=tensor.Buffer(),
    )


def _quantization(table: Any) -> Quantization | None:
    """Return the quantization; None where there is no scale, as float tensors may note a range alone."""
    scales = numbers(table, "Scale") if table else ()
    return Quantization(scales, numbers(table, "ZeroPoint"), table.QuantizedDimension()) if scales else None


def _operator_code(code: Any) -> tuple[str, int, bool]:
    """Return name, version, and whether it is a custom operator."""
    # Old files have the code in the deprecated 8-bit field alone; new ones put 127 there if it does not fit.
    name = _member("BuiltinOperator", max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))
    is_custom = name == "CUSTOM"
    return text(code.CustomCode()) if is_custom else name, code.Version(), is_custom


def _operator(index: int, operator: Any, codes: list[tuple[str, int, bool]]) -> Operator:
    name, version, is_custom = codes[operator.OpcodeIndex()]
    inputs, outputs = numbers(operator, "Inputs"), numbers(operator, "Outputs")
    return Operator(index, name, version, is_custom, inputs, outputs, read_options(_schema(), operator, _member))


def _tensorflow_version(note: bytes) -> str | None:
    """Return the version in the converter's own metadata entry."""
    if not note:
        return None
    schema = tensorflow_schema("conversion_metadata_schema_py_generated")
    environment = schema.ConversionMetadata.GetRootAs(Bounded(note), 0).Environment()
    version = environment.TensorflowVersion() if environment else None
    return version.decode() if version else None


def _check_references(file: TfliteFile) -> None:
    """Refuse indices of tensors that do not exist."""
    used = {*file.inputs, *file.outputs}.union(*((*op.inputs, *op.outputs) for op in file.operators))
    if used and not -1 <= min(used) <= max(used) < len(file.tensors):
        raise ValueError(f"a reference to one of tensors {min(used)} to {max(used)}, of {len(file.tensors)}")
