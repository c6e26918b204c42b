"""The work of ``doit firmware``: the programs of one preset, and how large they are."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from doit_tflm.c_text import c_identifier, file_stem, macro_prefix
from doit_tflm.cmake_build import CmakeBuild
from doit_tflm.elf import read_image
from doit_tflm.errors import UserError
from doit_tflm.files import digest_bytes, digest_file, write_if_changed
from doit_tflm.firmware_settings import Target, tflm_options, with_environment
from doit_tflm.header import default_array_name
from doit_tflm.presets import FILE, Preset, install, missing, needed_tools, preset_files, read_presets
from doit_tflm.sizes import Sizes, from_json, measure, to_json
from doit_tflm.verdict import read_facet

__all__ = ["array_name", "build", "stored_sizes", "unavailable"]

_FLAGS = ("CC", "CXX", "CFLAGS", "CXXFLAGS", "ASMFLAGS", "LDFLAGS")


def unavailable(target: Target, *, to_run: bool = False) -> tuple[str, str] | None:
    """Return which tools are missing, and how to get them; None where all are there.

    Raises
    ------
    UserError
        If there is no such preset.
    """
    tools = missing(needed_tools(_preset(target), with_cpp=target.has_tflm, to_run=to_run))
    if not tools:
        return None
    return f"{' and '.join(tools)} {'is' if len(tools) == 1 else 'are'} not installed", install(tools)


def build(target: Target, *, alone: bool, keep_open: tuple[int, ...] = ()) -> dict[str, Any]:
    """Build what is not up to date.

    Parameters
    ----------
    target : Target
        What to build.
    alone : bool
        Whether no other preset is built along with it.
    keep_open : tuple of int, optional
        See `CmakeBuild`.

    Returns
    -------
    dict
        ``linked``: the programs that are new or came out otherwise; ``sizes``: those of all, now and before.

    Raises
    ------
    UserError
        If sources are missing, or something fails.
    """
    preset = _preset(target)
    _check_sources(target)
    cmake = CmakeBuild(target.directory, target.log, keep_open)
    options = [
        f"--preset={preset.name}",
        f"-DGENERATED_DIR={os.path.abspath(target.header_dir)}",
        f"-DMODELS={';'.join(c_identifier(model) for model in target.models)}",
        *tflm_options(with_environment(target.settings), preset.name, alone=alone),
    ]
    tools = needed_tools(preset, with_cpp=True, to_run=True)
    found = sorted(f"{tool}: {shutil.which(tool)}" for any_of in tools for tool in any_of)
    # CMake takes flags from these once, and keeps them.
    read = [*preset_files(target.settings.directory), *([Path(preset.toolchain)] if preset.toolchain else [])]
    given = [f"{name}={os.environ.get(name, '')}" for name in _FLAGS]
    cmake.configure(target.settings.directory, options, [*map(digest_file, read), *given, *found])
    _remove_changed(target, cmake.programs())
    cmake.build()
    return _sizes_of(target, cmake.programs())


def _preset(target: Target) -> Preset:
    presets = read_presets(target.settings.directory)
    if target.preset not in presets:
        where = f"{target.settings.directory}/{FILE}"
        fix = f"there are {', '.join(presets) or 'none'}; correct `presets` in [tool.doit-tflm.firmware]"
        raise UserError(f"there is no preset {target.preset!r}", where, fix)
    return presets[target.preset]


def _check_sources(target: Target) -> None:
    """Raise an error where a model's sources are elsewhere, as its specification may want."""
    for model in target.models:
        path = Path(target.header_dir, f"{file_stem(model)}.h")
        if not path.is_file():
            fix = f"its header.directory is another: leave {model!r} out of `models` in [tool.doit-tflm.firmware]"
            raise UserError(f"the sources of {model} are not there", str(path), fix)


def _remove_changed(target: Target, programs: Mapping[str, str]) -> None:
    """Remove the programs that another hand has changed since they were linked, so that they are linked again."""
    for name, digest in read_facet(target.record).get("programs", {}).items():
        path = programs.get(name)
        if path and Path(path).is_file() and digest_file(path) != digest:
            Path(path).unlink()


def _sizes_of(target: Target, programs: Mapping[str, str]) -> dict[str, Any]:
    """Measure the programs that are not those of the record, and write it anew if there are any."""
    contents = {name: Path(path).read_bytes() for name, path in programs.items()}
    digests = {name: digest_bytes(content) for name, content in contents.items()}
    stored = read_facet(target.record)
    known = stored.get("programs", {})
    linked = [name for name, digest in digests.items() if known.get(name) != digest]
    arenas = {array_name(target, model): _arena_bytes(target, model) for model in target.models}
    if known == digests and stored.get("arenas") == arenas:
        return {"linked": [], "sizes": stored["sizes"], "before": stored["before"]}
    sizes = {
        name: measure(read_image(content, programs[name]), programs[name], arenas)
        for name, content in contents.items()
    }
    made = {"sizes": to_json(sizes), "before": stored.get("sizes", {})}
    text = json.dumps({"programs": digests, "arenas": arenas, **made}, indent=1, sort_keys=True) + "\n"
    write_if_changed(target.record, text.encode())
    return {"linked": linked, **made}


def stored_sizes(target: Target) -> tuple[dict[str, Sizes], dict[str, Sizes]]:
    """Return the sizes of the programs by name, as they were built last and before that; nothing if never."""
    stored = read_facet(target.record)
    return from_json(stored.get("sizes", {})), from_json(stored.get("before", {}))


def array_name(target: Target, model: str) -> str:
    """Return the name of a model's array in C."""
    facet = read_facet(f"{target.build_dir}/{model}/header.json")
    return str(facet["array_name"] or default_array_name(model))


def _arena_bytes(target: Target, model: str) -> int:
    """Return the tensor arena that a model's header asks for; 0 where it was not measured."""
    header = Path(target.header_dir, f"{file_stem(model)}.h").read_text(encoding="utf-8")
    found = re.search(rf"#define {macro_prefix(model)}_ARENA_BYTES (\d+)", header)
    return int(found[1]) if found else 0
