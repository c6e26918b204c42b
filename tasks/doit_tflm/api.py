"""The Python API: what the commands do, for programs and notebooks."""

from __future__ import annotations

import gc
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from doit_tflm.config import Config, read_config
from doit_tflm.errors import UserError
from doit_tflm.files import normalise

__all__ = ["build", "quantize_model"]


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
