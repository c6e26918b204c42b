"""The Python API: what the commands do, for programs and notebooks."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from doit_tflm.config import Config, read_config
from doit_tflm.errors import UserError
from doit_tflm.files import normalise

__all__ = ["quantize_model"]


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
    root, name = _find(model)
    with _inside(root):
        config = read_config()
        text, code = _build(config, name)
        if code:
            raise UserError(text.strip() or f"{name} could not be built")
    return root / config.build_dir / name / f"{name}.tflite"


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


def _build(config: Config, name: str) -> tuple[str, int]:
    """Run doit on one model; return what it printed and its exit code."""
    from doit.cmd_base import ModuleTaskLoader
    from doit.doit_cmd import DoitMain

    from doit_tflm import engine, tasks

    output = io.StringIO()
    settings = {**tasks.doit_config(), "outfile": output}
    namespace = {
        "DOIT_CONFIG": settings,
        "task_models": lambda: tasks.model_tasks(config, [f"{config.models_dir}/{name}.py"]),
    }
    try:
        code = DoitMain(ModuleTaskLoader(namespace), config_filenames=()).run(["run", f"quantize:{name}"])
    finally:
        engine.close_workers()
    return output.getvalue(), code
