"""Model parameters: what firmware reads from the model's own metadata, in the format of Silicon Labs' MLTK."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr as shown
from typing import Any

from doit_tflm import tflite
from doit_tflm.errors import UserError
from doit_tflm.schema.flatbuffer import Bounded, content, numbers, reading, tables, text

__all__ = ["METADATA_NAME", "TYPES", "Typed", "decode", "decode_typed", "embed", "encode", "model_hash"]

METADATA_NAME = "SL_PARAMSv1"
"""The metadata entry that holds the parameters."""

_SCHEMA_VERSION = 1
_TABLES = {
    "bool": "Bool",
    "int8": "Int8",
    "uint8": "UInt8",
    "int16": "Int16",
    "uint16": "UInt16",
    "int32": "Int32",
    "uint32": "UInt32",
    "int64": "Int64",
    "uint64": "UInt64",
    "float": "Float32",
    "double": "Float64",
    "str": "Text",
    "str_list": "TextList",
    "int32_list": "Int32List",
    "float_list": "Float32List",
    "bin": "Binary",
}
"""MLTK's names of the types, in the order of the union's members, and the schema's."""
TYPES = tuple(_TABLES)
"""The wire types, by MLTK's names."""
_RANGES = {f"int{bits}": (-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (8, 16, 32, 64)}
_RANGES |= {f"uint{bits}": (0, (1 << bits) - 1) for bits in (8, 16, 32, 64)}
_ITEMS = {"str_list": "str", "int32_list": "int32", "float_list": "float"}
"""The types of lists, and those of their items."""
_PLAIN = "use bool, int, float, str, bytes, or a list of str or of numbers"


@dataclass(frozen=True)
class Typed:
    """A parameter with a wire type of choice, instead of the one that its Python value suggests.

    The types are bool, int8, uint8, int16, uint16, int32, uint32, int64, uint64, float (32 bits), double, str,
    str_list, int32_list, float_list and bin.
    """

    type: str
    value: Any


def encode(parameters: Mapping[str, Any]) -> bytes:
    """Return parameters as the content of the metadata entry; equal parameters give equal bytes, in any order.

    Parameters
    ----------
    parameters : mapping of str to Any
        Plain values, NumPy scalars, or `Typed`. An int takes 32 bits where it fits, else 64; a float takes 32.

    Raises
    ------
    UserError
        If a value has no wire type, or is out of its range.
    """
    from flatbuffers import Builder

    from doit_tflm.schema.generated import dictionary_generated as schema

    checked = {_key(key): _checked(key, value) for key, value in parameters.items()}
    builder = Builder(1024)
    # Without this a value equal to the default is left out, and -0.0 comes back as 0.0.
    builder.ForceDefaults(forceDefaults=True)
    offsets = [_write_entry(builder, key, checked[key]) for key in sorted(checked)]
    entries = _write_vector(builder, "UOffsetTRelative", offsets)
    schema.DictionaryStart(builder)
    schema.DictionaryAddSchemaVersion(builder, _SCHEMA_VERSION)
    schema.DictionaryAddEntries(builder, entries)
    builder.Finish(schema.DictionaryEnd(builder))
    return bytes(builder.Output())


def decode(data: bytes) -> dict[str, Any]:
    """Return the plain values of the parameters in a metadata entry.

    Raises
    ------
    UserError
        If the data is damaged, or written by a newer version of the format.
    """
    return {key: typed.value for key, typed in decode_typed(data).items()}


def decode_typed(data: bytes) -> dict[str, Typed]:
    """Return the parameters in a metadata entry with their wire types.

    Raises
    ------
    UserError
        If the data is damaged, or written by a newer version of the format.
    """
    from doit_tflm.schema.generated import dictionary_generated as schema

    with reading("damaged model parameters", fix="embed the parameters again"):
        root = schema.Dictionary.GetRootAs(Bounded(data), 0)
        version = root.SchemaVersion()
        if version > _SCHEMA_VERSION:
            raise UserError(
                f"model parameters of version {version} are newer than this one", fix="upgrade doit-tflm"
            )
        if not version:
            raise ValueError("no schema version")
        pairs = [(text(entry.Key()), _read_value(entry)) for entry in tables(root, "Entries")]
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("a key occurs twice")
        return found


def model_hash(model: bytes) -> str:
    """Return the MD5, in hexadecimal digits, of a ``.tflite`` in whose parameters hash and date are empty.

    It is the identity of a model: firmware and archive name it, and no moment of its making counts for it.
    """
    return hashlib.md5(model, usedforsecurity=False).hexdigest()


def embed(model: bytes, parameters: Mapping[str, Any], description: str) -> bytes:
    """Return a model with parameters, its hash among them, and a description.

    Parameters
    ----------
    model : bytes
        A ``.tflite`` file.
    parameters : mapping of str to Any
        As `encode` takes them. A ``hash`` among them is replaced by that of this model.
    description : str
        The model's description.

    Raises
    ------
    UserError
        If it is no model, or a parameter cannot be encoded.
    """

    def result(changed: Mapping[str, str]) -> bytes:
        return tflite.with_metadata(model, {METADATA_NAME: encode({**parameters, **changed})}, description)

    blank = {"hash": "", "date": ""} if "date" in parameters else {"hash": ""}
    return result({"hash": model_hash(result(blank))})


def _error(key: object, what: str, fix: str) -> UserError:
    return UserError(f"model parameter {key!r}: {what}", fix=fix)


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise _error(key, f"its name is a {type(key).__name__}", "use a str")
    return _text(key, key)


def _checked(key: str, given: Any) -> Typed:
    """Return a value with its wire type, as plain Python and within its range."""
    typed = given if isinstance(given, Typed) else Typed("", given)
    value = _plain(typed.value)
    if isinstance(value, list | tuple):
        value = [_plain(item) for item in value]
    kind = typed.type if isinstance(given, Typed) else _inferred(key, value)
    if kind not in _TABLES:
        raise _error(key, f"{kind!r} is not a type", f"use one of {', '.join(_TABLES)}")
    return Typed(kind, _valid(key, kind, value))


def _plain(value: Any) -> Any:
    """Return a NumPy scalar as Python's, anything else as it is."""
    is_scalar = hasattr(value, "dtype") and hasattr(value, "item") and value.shape == ()
    return value.item() if is_scalar else value


def _inferred(key: str, value: Any) -> str:
    """Return the wire type of a plain value."""
    if isinstance(value, int) and not isinstance(value, bool):
        fitting = (kind for kind in ("int32", "int64", "uint64") if _RANGES[kind][0] <= value <= _RANGES[kind][1])
        return next(fitting, "int64" if value < 0 else "uint64")
    if isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            return "str_list"
        return "int32_list" if all(isinstance(item, int) for item in value) else "float_list"
    for python, kind in ((bool, "bool"), (float, "float"), (str, "str"), ((bytes, bytearray), "bin")):
        if isinstance(value, python):
            return kind
    raise _error(key, f"{shown(value)} is a {type(value).__name__}, which has no type in this format", _PLAIN)


def _valid(key: str, kind: str, value: Any) -> Any:
    """Return a value as a wire type holds it, or raise."""
    if kind in _ITEMS and isinstance(value, list):
        return [_valid(key, _ITEMS[kind], item) for item in value]
    if kind in _RANGES and isinstance(value, int) and not isinstance(value, bool):
        return _in_range(key, kind, value)
    if kind in ("float", "double") and isinstance(value, int | float) and not isinstance(value, bool):
        return _representable(key, kind, value)
    if kind == "str" and isinstance(value, str):
        return _text(key, value)
    if kind == "bin" and isinstance(value, bytes | bytearray):
        return bytes(value)
    if kind == "bool" and isinstance(value, bool):
        return value
    raise _error(key, f"{shown(value)} is not a value of type {kind}", "change the value or the type")


def _in_range(key: str, kind: str, value: int) -> int:
    low, high = _RANGES[kind]
    if not low <= value <= high:
        raise _error(key, f"{shown(value)} is out of the range of {kind}, {low} to {high}", "use another type")
    return int(value)


def _representable(key: str, kind: str, value: float) -> float:
    """Return a number as a float, which infinity and NaN are too; refuse one that would become infinite."""
    try:
        number = float(value)
        struct.pack("<f" if kind == "float" else "<d", number)
    except OverflowError as error:
        fix = "use Typed('double', ...), or smaller numbers in a list" if kind == "float" else "use a str"
        raise _error(key, f"{shown(value)} is out of the range of {kind}", fix) from error
    return number


def _text(key: str, value: str) -> str:
    try:
        return value.encode().decode()
    except UnicodeEncodeError as error:
        raise _error(key, f"{shown(value)} has no form in UTF-8", "remove the lone surrogate") from error


def _write_entry(builder: Any, key: str, typed: Typed) -> int:
    from doit_tflm.schema.generated import dictionary_generated as schema

    table = _TABLES[typed.type]
    name = builder.CreateString(key)
    content, field = _write_content(builder, typed)
    getattr(schema, f"{table}Start")(builder)
    getattr(schema, f"{table}Add{field}")(builder, content)
    value = getattr(schema, f"{table}End")(builder)
    schema.EntryStart(builder)
    schema.EntryAddKey(builder, name)
    schema.EntryAddValueType(builder, getattr(schema.Value, table))
    schema.EntryAddValue(builder, value)
    return int(schema.EntryEnd(builder))


def _write_content(builder: Any, typed: Typed) -> tuple[Any, str]:
    """Return what goes into a value's table and the name of its field, after writing what it refers to."""
    if typed.type in ("str", "bin"):
        create = builder.CreateString if typed.type == "str" else builder.CreateByteVector
        return create(typed.value), "Data"
    if typed.type == "str_list":
        return _write_vector(builder, "UOffsetTRelative", [builder.CreateString(s) for s in typed.value]), "Data"
    if typed.type in _ITEMS:
        return _write_vector(builder, _TABLES[_ITEMS[typed.type]], typed.value), "Data"
    return typed.value, "Value"


def _write_vector(builder: Any, kind: str, items: list[Any]) -> int:
    """Write a vector of 4-byte items."""
    builder.StartVector(4, len(items), 4)
    for item in reversed(items):
        getattr(builder, f"Prepend{kind}")(item)
    return int(builder.EndVector())


def _read_value(entry: Any) -> Typed:
    """Return an entry's value."""
    from doit_tflm.schema.generated import dictionary_generated as schema

    number, union = entry.ValueType(), entry.Value()
    if number > len(_TABLES):
        raise UserError(f"a model parameter is of the unknown type {number}", fix="upgrade doit-tflm")
    if not number or union is None:
        raise ValueError("an entry without a value")
    kind, name = list(_TABLES.items())[number - 1]
    table = getattr(schema, name)()
    table.Init(union.Bytes, union.Pos)
    if kind == "str":
        return Typed(kind, text(table.Data()))
    if kind == "bin":
        return Typed(kind, bytes(content(table)))
    if kind == "str_list":
        return Typed(kind, [text(table.Data(i)) for i in range(table.DataLength())])
    return Typed(kind, list(numbers(table, "Data")) if kind in _ITEMS else table.Value())
