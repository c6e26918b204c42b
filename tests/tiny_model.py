"""Small ``.tflite`` files, put together from tensors and operators without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from doit_tflm.schema.flatbuffer import tensorflow_schema
from doit_tflm.tflite import TfliteFile, read

SCHEMA = tensorflow_schema("schema_py_generated")


def make(kind: str, **fields: Any) -> Any:
    """Return an object of the schema with these fields set."""
    thing = getattr(SCHEMA, f"{kind}T")()
    for name, value in fields.items():
        assert hasattr(thing, name), name
        setattr(thing, name, value)
    return thing


@dataclass(frozen=True)
class T:
    """A tensor; `data` bytes of zeros make it a constant, and `shared` lets constants have one buffer."""

    name: str
    shape: Sequence[int]
    dtype: str = "int8"
    data: int = 0
    scale: float | None = None
    zero_point: int = 0
    is_variable: bool = False
    shared: str = ""


@dataclass(frozen=True)
class Op:
    """An operator with its tensors by name, "" for one that is not given; `options` are fields of `kind`."""

    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    kind: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def build(
    tensors: Sequence[T],
    operators: Sequence[Op],
    inputs: Iterable[str] = (),
    outputs: Iterable[str] = (),
    *,
    description: str = "a tiny model",
) -> bytes:
    """Return the bytes of a model; an operator whose name is no builtin one is a custom operator."""
    from flatbuffers import Builder

    places = {tensor.name: place for place, tensor in enumerate(tensors)} | {"": -1}
    buffers = [make("Buffer")]
    shared: dict[str, int] = {}
    codes = list(dict.fromkeys(operator.name for operator in operators))
    model = make(
        "Model",
        version=3,
        description=description,
        operatorCodes=[_code(name) for name in codes],
        buffers=buffers,
        subgraphs=[
            make(
                "SubGraph",
                tensors=[_tensor(tensor, buffers, shared) for tensor in tensors],
                operators=[_operator(operator, codes.index(operator.name), places) for operator in operators],
                inputs=[places[name] for name in inputs],
                outputs=[places[name] for name in outputs],
            )
        ],
    )
    builder = Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def built(*arguments: Any, **keywords: Any) -> TfliteFile:
    """Return a model, read."""
    return read(build(*arguments, **keywords))


def _code(name: str) -> Any:
    code = getattr(SCHEMA.BuiltinOperator, name, SCHEMA.BuiltinOperator.CUSTOM)
    custom = name if code == SCHEMA.BuiltinOperator.CUSTOM else None
    return make(
        "OperatorCode", builtinCode=code, deprecatedBuiltinCode=min(code, 127), customCode=custom, version=1
    )


def _tensor(tensor: T, buffers: list[Any], shared: dict[str, int]) -> Any:
    place = 0
    if tensor.data:
        place = shared.get(tensor.shared, len(buffers))
        if place == len(buffers):
            buffers.append(make("Buffer", data=[0] * tensor.data))
        if tensor.shared:
            shared[tensor.shared] = place
    made = make(
        "Tensor",
        name=tensor.name,
        shape=list(tensor.shape),
        type=getattr(SCHEMA.TensorType, tensor.dtype.upper()),
        buffer=place,
        isVariable=tensor.is_variable,
    )
    if tensor.scale is not None:
        made.quantization = make("QuantizationParameters", scale=[tensor.scale], zeroPoint=[tensor.zero_point])
    return made


def _operator(operator: Op, code: int, places: dict[str, int]) -> Any:
    made = make(
        "Operator",
        opcodeIndex=code,
        inputs=[places[name] for name in operator.inputs],
        outputs=[places[name] for name in operator.outputs],
    )
    if operator.kind:
        made.builtinOptionsType = getattr(SCHEMA.BuiltinOptions, operator.kind)
        made.builtinOptions = make(operator.kind, **operator.options)
    return made
