"""What the flatbuffers runtime for Python lacks: sane errors over damaged data, and shorter ways to say things.

The runtime verifies nothing. It raises whatever the first impossible offset leads to, and it slices a truncated
string without a word.
"""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from doit_tflm.errors import UserError

__all__ = [
    "Bounded",
    "content",
    "numbers",
    "reading",
    "tables",
    "target",
    "tensorflow_schema",
    "text",
    "unknown_fields",
]

_FIRST_SLOT = 4
"""A vtable starts with its own size and the table's, two bytes each; one slot of two bytes per field follows."""


class Bounded(bytes):
    """Bytes that cannot be sliced past their end."""

    def __getitem__(self, key: Any) -> Any:
        """Return a byte or a slice."""
        if isinstance(key, slice) and key.stop is not None and key.stop > len(self):
            raise IndexError(f"offset {key.stop} is beyond the end at {len(self)}")
        return super().__getitem__(key)


@contextmanager
def reading(what: str, where: str = "", fix: str = "") -> Iterator[None]:
    """Turn what damaged data makes the runtime raise into a UserError, and give every UserError a place."""
    try:
        yield
    except UserError as error:
        if error.where or not where:
            raise
        raise error.at(where) from error
    except (struct.error, IndexError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{what} ({error})", where, fix) from error


@cache
def tensorflow_schema(name: str) -> Any:
    """Return one of the modules of ``tensorflow/lite/python`` that flatc generated, without importing TensorFlow.

    Raises
    ------
    UserError
        If TensorFlow is not installed, or has no such module.
    """
    package = importlib.util.find_spec("tensorflow")
    if package is None or not package.submodule_search_locations:
        raise UserError("TensorFlow is not installed", fix="pip install tensorflow")
    path = Path(package.submodule_search_locations[0], "lite", "python", f"{name}.py")
    if not path.is_file():
        raise UserError(
            f"the installed TensorFlow has no lite/python/{path.name}", fix="install TensorFlow 2.16 to 2.21"
        )
    loader = SourceFileLoader(f"_doit_tflm_{name}", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    if spec is None:
        raise UserError("it cannot be loaded", str(path), "reinstall TensorFlow")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def target(table: Any, field: int) -> int:
    """Return the position of what a table's field refers to, or 0 where the field is not set."""
    slot = table.Offset(_FIRST_SLOT + 2 * field)
    position = int(table.Indirect(table.Pos + slot)) if slot else 0
    if position >= len(table.Bytes):
        raise IndexError(f"position {position} is beyond the end at {len(table.Bytes)}")
    return position


def unknown_fields(table: Any, known: int) -> list[int]:
    """Return the fields that a table sets beyond its first `known` ones."""
    (back,) = struct.unpack_from("<i", table.Bytes, table.Pos)
    (size,) = struct.unpack_from("<H", table.Bytes, table.Pos - back)
    fields = (size - _FIRST_SLOT) // 2
    return [field for field in range(known, fields) if table.Offset(_FIRST_SLOT + 2 * field)]


def tables(table: Any, field: str) -> Iterator[Any]:
    """Yield the tables of a vector."""
    item = getattr(table, field)
    return (item(i) for i in range(getattr(table, f"{field}Length")()))


def numbers(table: Any, field: str) -> tuple[Any, ...]:
    """Return a vector of numbers."""
    return () if getattr(table, f"{field}IsNone")() else tuple(getattr(table, f"{field}AsNumpy")().tolist())


def text(string: bytes | None) -> str:
    """Return a string, empty where there is none."""
    return (string or b"").decode()


def content(buffer: Any) -> memoryview:
    """Return the data of a buffer, which makes sure that it lies inside the file."""
    return memoryview(b"" if buffer.DataIsNone() else buffer.DataAsNumpy())
