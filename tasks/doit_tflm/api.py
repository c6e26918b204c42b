"""The Python API: what the commands do, for programs and notebooks."""

from __future__ import annotations

import gc
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from doit_tflm.config import Config, read_config
from doit_tflm.errors import UserError
from doit_tflm.files import normalise

if TYPE_CHECKING:
    from doit_tflm.summary import Summary

__all__ = ["build", "quantize_model", "summarize_model"]


def quantize_model(model: str | Path) -> Path:
    """Bring a model's ``.tflite``, archive and C sources up to date, as ``doit quantize:NAME`` does.

    Parameters
    ----------
    model : str or Path
        A model's name in the project around the current directory; or the path of its specification script or
        archive.

    Returns
    -------
    Path
        The ``.tflite``.

    Raises
    ------
    UserError
        If there is no such model, or a stage fails. What was built before stays.
    """
    output = io.StringIO()
    path, code = build(model, output)
    if code:
        raise UserError(output.getvalue().strip() or f"{model} could not be built")
    return path


def build(model: str | Path, output: TextIO) -> tuple[Path, int]:
    """Bring a model up to date.

    Parameters
    ----------
    model : str or Path
        As for `quantize_model`.
    output : TextIO
        Where the line of each stage goes.

    Returns
    -------
    path, code
        The ``.tflite``, and doit's exit code: 0 for success.
    """
    root, name = _find(model)
    with _inside(root):
        config = read_config()
        code = _run_doit(config, name, output)
    return root / config.build_dir / name / f"{name}.tflite", code


def summarize_model(model: str | Path, *, measure: bool = True) -> Summary:
    """Return what a model holds and needs.

    Parameters
    ----------
    model : str or Path
        A ``.tflite`` file, whoever made it; an archive; a specification script, or a model's name in the project
        around the current directory: then the last build's ``.tflite``, else the archive's.
    measure : bool, optional
        Whether TFLM measures the tensor arena, if it is installed; of the float twin as well, where the build
        directory has it.

    Raises
    ------
    UserError
        If there is no such model, or it is damaged.
    """
    from doit_tflm.summary import Footprint, summarize

    data, name, twin = _tflite_of(model)
    if not measure:
        return summarize(data, name)
    arena_bytes, note = _arena_of(data)
    float_twin = Footprint(len(twin), _arena_of(twin)[0]) if twin else None
    return summarize(data, name, Footprint(len(data), arena_bytes), float_twin, note)


def _tflite_of(model: str | Path) -> tuple[bytes, str, bytes | None]:
    """Return a model's ``.tflite``, its name, and its calibrated float twin, if that is at hand."""
    path = Path(model)
    if path.name.endswith(".mltk.zip"):
        return _archived(path), path.name.removesuffix(".mltk.zip"), None
    if path.suffix == ".tflite":
        if not path.is_file():
            raise UserError("there is no such file", str(path))
        return path.read_bytes(), path.stem, None
    root, name = _find(model)
    config = read_config(root)
    built = root / config.build_dir / name
    if not (built / f"{name}.tflite").is_file():
        return _archived(root / config.models_dir / f"{name}.mltk.zip"), name, None
    calibrated = built / "calibrated.tflite"
    quantized = (built / "quantized.tflite").read_bytes()
    twin = calibrated.read_bytes() if calibrated.is_file() else quantized
    return (built / f"{name}.tflite").read_bytes(), name, twin if twin != quantized else None


def _archived(path: Path) -> bytes:
    """Return the ``.tflite`` in an archive."""
    from doit_tflm import archive

    member = f"{path.name.removesuffix('.mltk.zip')}.tflite"
    data = archive.read_member(path, member)
    if data is None:
        raise UserError(f"has no {member}", str(path), "quantize the model first")
    return data


def _arena_of(data: bytes) -> tuple[int | None, str]:
    """Return the smallest arena that TFLM runs a model in, and what to say of it."""
    from doit_tflm import tflite, tflm

    if not tflm.available():
        return None, "not measured: tflite-micro is not installed (some platforms have no wheel)"
    try:
        measured = tflm.measure(data, tflite.read(data))
    except UserError as error:
        return None, str(error)
    return measured.arena_bytes, tflm.describe(measured.word_bits)


def _find(model: str | Path) -> tuple[Path, str]:
    """Return the project's directory and the model's name."""
    path = Path(model)
    if path.suffix != ".py" and not path.name.endswith(".mltk.zip"):
        root = _project(Path.cwd())
        config = read_config(root)
        names = [Path(spec).stem for spec in _specs(root, config)]
        if str(model) not in names:
            raise UserError(
                f"there is no model {str(model)!r}", str(root), f"there are {', '.join(names) or 'none'}"
            )
        return root, str(model)
    if not path.exists():
        raise UserError("there is no such file", str(path))
    name = path.name.removesuffix(".mltk.zip").removesuffix(".py")
    root = _project(path.absolute().parent)
    config = read_config(root)
    if normalise(path.absolute().parent, root) != config.models_dir:
        raise UserError(
            "is not in the project's models_dir",
            str(path),
            f"move it to {root / config.models_dir}, or set models_dir",
        )
    return root, name


def _project(start: Path) -> Path:
    """Return the nearest directory upwards that has a dodo.py or a pyproject.toml; `start` if none has."""
    for directory in (start, *start.parents):
        if (directory / "dodo.py").is_file() or (directory / "pyproject.toml").is_file():
            return directory
    return start


def _specs(root: Path, config: Config) -> list[str]:
    with _inside(root):
        return config.specs()


@contextmanager
def _inside(root: Path) -> Iterator[None]:
    """Work below a project's directory: every path of a build is relative to it."""
    before = Path.cwd()
    os.chdir(root)
    try:
        yield
    finally:
        os.chdir(before)


def _run_doit(config: Config, name: str, output: TextIO) -> int:
    """Run doit on one model, without a dodo.py; return its exit code."""
    from doit.cmd_base import ModuleTaskLoader
    from doit.doit_cmd import DoitMain

    from doit_tflm import actions, tasks

    # A run of doit is made for a process of its own: see doit_config and Reporter.complete_run.
    threshold = gc.get_threshold()
    settings = {**tasks.doit_config(), "outfile": output}
    namespace = {
        "DOIT_CONFIG": settings,
        "task_models": lambda: tasks.tasks_of([f"{config.models_dir}/{name}.py"], config),
    }
    try:
        return int(DoitMain(ModuleTaskLoader(namespace), config_filenames=()).run(["run", f"quantize:{name}"]))
    finally:
        actions.close_workers()
        gc.unfreeze()
        gc.set_threshold(*threshold)
