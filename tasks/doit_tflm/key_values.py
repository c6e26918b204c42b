"""Model parameters as a command line and JSON files have them: ``volume:float=10``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from doit_tflm.errors import UserError
from doit_tflm.parameters import TYPES, Typed

__all__ = ["from_arguments", "from_file"]

_INTEGER = re.compile(r"[+-]?[0-9]+|0[xX][0-9a-fA-F]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?(inf|nan)")


def from_arguments(arguments: Iterable[str]) -> dict[str, Any]:
    """Return the parameters that arguments ``KEY=VALUE`` or ``KEY:TYPE=VALUE`` name.

    Without a type, ``true`` and ``false`` are bool, digits and ``0x10`` int, other numbers float, what is in
    brackets a list in JSON, and all else a string. A ``bin`` is written as hexadecimal digits; ``inf`` and ``nan``
    are numbers only where the type says so.

    Raises
    ------
    UserError
        If one cannot be read.
    """
    found: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key:
            raise UserError(f"{argument!r} is no parameter", fix="write KEY=VALUE, or KEY:TYPE=VALUE")
        name, kind = _split(key)
        found[name] = Typed(kind, _as(name, kind, value)) if kind else _inferred(name, value)
    return found


def from_file(path: str | Path) -> dict[str, Any]:
    """Return the parameters of a JSON file: an object whose keys may be ``KEY:TYPE``.

    Raises
    ------
    UserError
        If it cannot be read, or is something else.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("there is no such file", str(path)) from None
    except (ValueError, OSError) as error:
        raise UserError(f"cannot be read: {error}", str(path), "write an object in JSON") from None
    if not isinstance(content, dict):
        raise UserError("holds no object", str(path), 'write {"KEY": VALUE, "KEY:TYPE": VALUE}')
    found: dict[str, Any] = {}
    for key, value in content.items():
        name, kind = _split(key)
        is_hex = kind == "bin" and isinstance(value, str)
        found[name] = Typed(kind, _as(name, kind, value) if is_hex else value) if kind else value
    return found


def _split(key: str) -> tuple[str, str]:
    """Return name and type of ``KEY:TYPE``."""
    name, colon, kind = key.rpartition(":")
    if not colon:
        return key, ""
    if not name:
        raise UserError(f"{key!r} has no name before the colon", fix="write KEY:TYPE")
    if kind not in TYPES:
        raise UserError(f"parameter {name!r}: {kind!r} is not a type", fix=f"use one of {', '.join(TYPES)}")
    return name, kind


def _inferred(key: str, value: str) -> Any:
    if value in ("true", "false"):
        return value == "true"
    if _INTEGER.fullmatch(value):
        return int(value, 0 if "x" in value.lower() else 10)
    if value.startswith("["):
        return _json(key, value)
    return float(value) if _NUMBER.fullmatch(value) else value


def _as(key: str, kind: str, value: str) -> Any:
    """Return a text as a type has it; `encode` checks the rest."""
    if kind == "str":
        return value
    if kind == "bin":
        try:
            return bytes.fromhex(value)
        except ValueError:
            raise UserError(
                f"parameter {key!r}: {value!r} are no hexadecimal digits", fix="write e.g. 00ff10"
            ) from None
    if kind.endswith("_list"):
        return _json(key, value)
    if kind in ("float", "double") and _NOT_FINITE.fullmatch(value):
        return float(value)
    return _inferred(key, value)


def _json(key: str, value: str) -> Any:
    try:
        found = json.loads(value)
    except ValueError as error:
        raise UserError(
            f"parameter {key!r}: {value!r} is no list in JSON ({error})", fix="write e.g. [1, 2]"
        ) from None
    if not isinstance(found, list):
        raise UserError(f"parameter {key!r}: {value!r} is no list", fix="write e.g. [1, 2]")
    return found
