"""The presets of a CMake project: which there are, and which tools each needs."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doit_tflm.errors import UserError

__all__ = ["FILE", "Preset", "install", "missing", "needed_tools", "preset_files", "preset_names", "read_presets"]

FILE = "CMakePresets.json"

_PACKAGES = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "arm-none-eabi-g++": "gcc-arm-none-eabi libstdc++-arm-none-eabi-newlib",
    "clang": "clang",
    "cmake": "cmake",
    "ctest": "cmake",
    "gcc": "gcc",
    "g++": "g++",
    "make": "make",
    "ninja": "ninja-build",
    "qemu-system-arm": "qemu-system-arm",
}
"""Debian's packages that have a tool."""

_HOST_COMPILERS = {"CC": ("gcc", "cc", "clang"), "CXX": ("g++", "c++", "clang++")}
"""Compilers of this machine, any of which will do; the first is what to install."""


@dataclass(frozen=True)
class Preset:
    """A way to configure the project.

    Attributes
    ----------
    name : str
        What ``cmake --preset`` calls it.
    generator : str
        What does the build, e.g. ``"Ninja"``; empty where CMake chooses.
    toolchain : str
        The toolchain file; empty where the programs are for this machine.
    """

    name: str
    generator: str
    toolchain: str


def preset_names(directory: str) -> list[str]:
    """Return the names of the presets that can be configured, in the file's order.

    Raises
    ------
    UserError
        If there is no such file, or no such preset in it.
    """
    names = [one["name"] for one in _stored(directory) if not one.get("hidden")]
    if not names:
        raise UserError("has no configure presets that are not hidden", f"{directory}/{FILE}", "add one")
    return names


def read_presets(directory: str) -> dict[str, Preset]:
    """Return the presets that can be configured, by name.

    Raises
    ------
    UserError
        If the file cannot be read.
    """
    stored = {one["name"]: one for one in _stored(directory)}
    return {name: _preset(name, stored, directory) for name, one in stored.items() if not one.get("hidden")}


def preset_files(directory: str) -> list[Path]:
    """Return the files that hold the presets: the project's, and those that it includes."""
    return list(_contents(directory))


def _stored(directory: str) -> list[dict[str, Any]]:
    return [one for presets in _contents(directory).values() for one in presets]


def _contents(directory: str) -> dict[Path, list[dict[str, Any]]]:
    """Return the presets by the file that they are in: what a file includes comes before its own."""
    found: dict[Path, list[dict[str, Any]]] = {}

    def read(path: Path, fix: str) -> None:
        if path in found:
            return
        found[path] = []
        try:
            content = json.loads(path.read_bytes())
            presets: list[dict[str, Any]] = content.get("configurePresets", [])
            for one in presets:
                one["name"]
            included = [_expanded(name, directory, "") for name in content.get("include", [])]
        except FileNotFoundError:
            raise UserError("is not there", str(path), fix) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"is no file of presets ({error})", str(path), "mend it: man cmake-presets") from None
        for name in included:
            read(Path(os.path.normpath(path.parent / name)), f"correct `include` in {path}")
        # Those of a file that is included come first.
        del found[path]
        found[path] = presets

    read(Path(directory, FILE), "set `directory` in [tool.doit-tflm.firmware] to a CMake project that has one")
    return found


def _expanded(text: str, directory: str, name: str) -> str:
    """Return a text with CMake's macros filled in, but for those that are not known."""
    full = os.path.abspath(directory)
    values = {
        "sourceDir": directory,
        "sourceParentDir": os.path.dirname(full),
        "sourceDirName": os.path.basename(full),
        "presetName": name,
        "dollar": "$",
    }

    def value(found: re.Match[str]) -> str:
        known = os.environ if found[1] else values
        return known.get(found[2], found[0])

    return re.sub(r"\$(p?env)?\{(\w+)\}", value, text)


def _preset(name: str, stored: Mapping[str, dict[str, Any]], directory: str) -> Preset:
    values = _inherited(name, stored, directory, ())
    toolchain = values.get("CMAKE_TOOLCHAIN_FILE") or values.get("toolchainFile") or ""
    if isinstance(toolchain, dict):
        toolchain = toolchain.get("value", "")
    toolchain = _expanded(toolchain, directory, name)
    if toolchain and not os.path.isabs(toolchain) and not Path(toolchain).exists():
        toolchain = f"{directory}/{toolchain}"
    return Preset(name, values.get("generator", ""), toolchain)


def _inherited(
    name: str, stored: Mapping[str, dict[str, Any]], directory: str, below: tuple[str, ...]
) -> dict[str, Any]:
    """Return a preset's generator, toolchain file and cache variables, those of its ancestors among them."""
    if name not in stored or name in below:
        what = f"preset {below[-1] if below else name} inherits {name!r}, which is not there or itself"
        raise UserError(what, f"{directory}/{FILE}", "correct `inherits`")
    own = stored[name]
    parents = own.get("inherits", [])
    values: dict[str, Any] = {}
    # What comes first in the list goes before what comes later.
    for parent in reversed([parents] if isinstance(parents, str) else parents):
        values |= _inherited(parent, stored, directory, (*below, name))
    values |= {key: own[key] for key in ("generator", "toolchainFile") if key in own}
    values |= own.get("cacheVariables", {})
    return values


def needed_tools(preset: Preset, *, with_cpp: bool, to_run: bool) -> list[tuple[str, ...]]:
    """Return the tools that a preset needs, each with what can take its place.

    Parameters
    ----------
    preset : Preset
        Which.
    with_cpp : bool
        Whether there are sources in C++.
    to_run : bool
        Whether the programs are run, in an emulator where the toolchain file looks for one.
    """
    generator = {"Ninja": "ninja", "Ninja Multi-Config": "ninja", "Unix Makefiles": "make"}.get(preset.generator)
    tools: list[tuple[str, ...]] = [("cmake",), *([(generator,)] if generator else [])]
    languages = ("CC", "CXX") if with_cpp else ("CC",)
    if not preset.toolchain:
        chosen = {name: tuple(os.environ.get(name, "").split()[:1]) for name in languages}
        return [*tools, *(chosen[name] or _HOST_COMPILERS[name] for name in languages)]
    try:
        text = Path(preset.toolchain).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", preset.toolchain, f"correct {FILE}") from None
    text = re.sub("#.*", "", text)
    variables = {"CC": "CMAKE_C_COMPILER", "CXX": "CMAKE_CXX_COMPILER"}
    # A name with a variable in it cannot be told.
    patterns = [rf'set\s*\(\s*{variables[name]}\s+"?([\w.+/-]+)(?=[\s")])' for name in languages]
    if to_run:
        patterns.append(r'find_program\s*\(\s*\w+\s+(?:NAMES\s+)?"?(qemu[\w-]*)')
    return [*tools, *((found[1],) for pattern in patterns if (found := re.search(pattern, text)))]


def missing(tools: Iterable[tuple[str, ...]]) -> list[str]:
    """Return the tools that are not installed; of those that can take each other's place, the first."""
    return [any_of[0] for any_of in tools if not any(shutil.which(tool) for tool in any_of)]


def install(tools: Iterable[str]) -> str:
    """Say how to get tools."""
    packages = dict.fromkeys(" ".join(_PACKAGES.get(Path(tool).name, "") for tool in tools).split())
    return f"Debian: apt install {' '.join(packages)}" if packages else "install it, or correct PATH"
