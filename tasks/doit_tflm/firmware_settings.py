"""What the project says of its firmware: ``[tool.doit-tflm.firmware]``, and variables of the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from doit_tflm.errors import UserError, did_you_mean
from doit_tflm.files import normalise

__all__ = ["PLACEHOLDER", "Firmware", "Target", "parse_firmware", "tflm_options", "with_environment"]

PLACEHOLDER = "{preset}"
"""Stands for the preset's name in a path, since TFLM's library is another one for each processor."""

_TABLE = "[tool.doit-tflm.firmware]"
_LISTS = ("presets", "models", "tflm_include_dirs", "tflm_libraries", "tflm_definitions")
_PROOF = "tensorflow/lite/micro/micro_interpreter.h"


@dataclass(frozen=True)
class Firmware:
    """What is built for which processors.

    Attributes
    ----------
    directory : str
        The CMake project, relative to the project.
    presets : tuple of str
        Its configure presets that are built; all that it has if empty.
    models : tuple of str
        The models whose sources it needs; all of the project's if empty.
    tflm_include_dirs, tflm_libraries, tflm_definitions : tuple of str
        TensorFlow Lite Micro, as ``firmware/README.md`` describes these variables; `PLACEHOLDER` in a path stands
        for the preset's name.
    """

    directory: str = "firmware"
    presets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    tflm_include_dirs: tuple[str, ...] = ()
    tflm_libraries: tuple[str, ...] = ()
    tflm_definitions: tuple[str, ...] = ("TF_LITE_STATIC_MEMORY",)


@dataclass(frozen=True)
class Target:
    """The programs of one preset.

    Attributes
    ----------
    preset : str
        Its name.
    settings : Firmware
        The project's.
    models : tuple of str
        Whose arrays the programs hold.
    build_dir, header_dir : str
        The project's build directory, and where the C sources are.
    """

    preset: str
    settings: Firmware
    models: tuple[str, ...]
    build_dir: str
    header_dir: str

    @property
    def directory(self) -> str:
        """Where it is built."""
        return f"{self.build_dir}/firmware/{self.preset}"

    @property
    def log(self) -> str:
        """Where the output of its build goes."""
        return f"{self.directory}.log"

    @property
    def record(self) -> str:
        """Where the sizes of its programs are kept."""
        return f"{self.directory}.sizes.json"

    @property
    def has_tflm(self) -> bool:
        """Whether the settings or the environment name TensorFlow Lite Micro."""
        settings = with_environment(self.settings)
        return bool(settings.tflm_include_dirs or settings.tflm_libraries)


def parse_firmware(table: Any, where: Path) -> Firmware:
    """Return the settings that the table has; defaults for the others.

    Parameters
    ----------
    table : object
        What the TOML file holds.
    where : Path
        That file.

    Raises
    ------
    UserError
        If there is an unknown key, or a value that is not one of the key's.
    """
    if not isinstance(table, dict):
        raise UserError(f"tool.doit-tflm.firmware is {table!r}", str(where), f"write a table: {_TABLE}")
    known = [one.name for one in fields(Firmware)]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            fix = did_you_mean(key, known, f"use {', '.join(known)}")
            raise UserError(f"{_TABLE} has no setting {key!r}", str(where), fix)
        if key in _LISTS:
            if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
                raise UserError(
                    f"{_TABLE} {key} is {value!r}", str(where), f'write a list of texts: {key} = ["..."]'
                )
            if key in ("presets", "models") and len({*value}) < len(value):
                twice = next(one for one in value if value.count(one) > 1)
                raise UserError(f"{_TABLE} {key} names {twice!r} twice", str(where), "name it once")
            values[key] = tuple(value)
        elif not isinstance(value, str) or not value:
            raise UserError(f"{_TABLE} {key} is {value!r}", str(where), 'give a path, e.g. "firmware"')
        else:
            values[key] = normalise(value, where.parent)
    return Firmware(**values)


def with_environment(settings: Firmware, environment: Mapping[str, str] = os.environ) -> Firmware:
    """Return the settings, with those of TFLM that the environment has: lists as CMake writes them, with ``;``."""
    names = [one.name for one in fields(Firmware) if one.name.startswith("tflm_")]
    given = {name: environment.get(name.upper(), "") for name in names}
    lists: dict[str, Any] = {
        name: tuple(part for part in text.split(";") if part) for name, text in given.items() if text
    }
    return replace(settings, **lists)


def tflm_options(settings: Firmware, preset: str, *, alone: bool) -> list[str]:
    """Return what CMake is told of TensorFlow Lite Micro; nothing where there are no settings of it.

    Parameters
    ----------
    settings : Firmware
        The settings, with those of the environment.
    preset : str
        The preset that is configured.
    alone : bool
        Whether no other preset is built along with it, so that any library may be its own.

    Raises
    ------
    UserError
        If something of it is missing, or cannot be right.
    """
    if not settings.tflm_include_dirs and not settings.tflm_libraries:
        return []
    where = f"TFLM for {preset}"
    if not settings.tflm_include_dirs or not settings.tflm_libraries:
        name = "tflm_libraries" if settings.tflm_include_dirs else "tflm_include_dirs"
        raise UserError(f"{name} is not set, but its other half is", where, _fix(name))
    if not alone and not any(PLACEHOLDER in path for path in settings.tflm_libraries):
        what = f"{' '.join(settings.tflm_libraries)} is built for one processor, but there are several presets"
        fix = f"write {PLACEHOLDER} into its path, or set presets, or ask for one: doit firmware:{preset}"
        raise UserError(what, where, fix)
    includes = _existing(settings.tflm_include_dirs, preset, where, "tflm_include_dirs", Path.is_dir)
    libraries = _existing(settings.tflm_libraries, preset, where, "tflm_libraries", Path.is_file)
    if not any(Path(path, _PROOF).is_file() for path in includes):
        raise UserError(f"no {_PROOF} in {' '.join(includes)}", where, _fix("tflm_include_dirs"))
    lists = {
        "TFLM_INCLUDE_DIRS": includes,
        "TFLM_LIBRARIES": libraries,
        "TFLM_DEFINITIONS": settings.tflm_definitions,
    }
    return [f"-D{name}={';'.join(values)}" for name, values in lists.items()]


def _fix(name: str) -> str:
    return f"set {name} in {_TABLE}, or {name.upper()} in the environment; firmware/README.md says what it is"


def _existing(
    texts: tuple[str, ...], preset: str, where: str, name: str, exists: Callable[[Path], bool]
) -> list[str]:
    """Return a preset's paths, absolute; raise an error where one is not there."""
    paths = [os.path.abspath(text.replace(PLACEHOLDER, preset)) for text in texts]
    for path in paths:
        if not exists(Path(path)):
            raise UserError(f"there is no {path}", where, _fix(name))
    return paths
