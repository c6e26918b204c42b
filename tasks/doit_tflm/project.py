"""A project from outside of doit: where it is, which models it has, and the build of some of them."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from doit_tflm.config import ARCHIVE, Config, model_of, read_config
from doit_tflm.errors import UserError
from doit_tflm.files import normalise

__all__ = ["find_model", "find_project", "inside", "model_names", "run_doit"]


def find_project(start: Path) -> Path:
    """Return the nearest directory upwards that has a dodo.py or a pyproject.toml; `start` if none has."""
    for directory in (start, *start.parents):
        if (directory / "dodo.py").is_file() or (directory / "pyproject.toml").is_file():
            return directory
    return start


def find_model(model: str | Path) -> tuple[Path, str]:
    """Return the project's directory and the model's name.

    Parameters
    ----------
    model : str or Path
        A name in the project around the current directory; or the path of a specification script or archive.

    Raises
    ------
    UserError
        If there is no such model.
    """
    path = Path(model)
    if path.suffix != ".py" and not path.name.endswith(".mltk.zip"):
        root = find_project(Path.cwd())
        return root, model_names(root, [str(model)])[0]
    if not path.exists():
        raise UserError("there is no such file", str(path))
    name = path.name.removesuffix(".mltk.zip").removesuffix(".py")
    root = find_project(path.absolute().parent)
    config = read_config(root)
    if normalise(path.absolute().parent, root) != config.models_dir:
        raise UserError(
            "is not in the project's models_dir",
            str(path),
            f"move it to {root / config.models_dir}, or set models_dir",
        )
    return root, name


def model_names(root: Path, wanted: Sequence[str] = ()) -> list[str]:
    """Return the wanted models of a project, without repetitions; all that have a script if none are named.

    Raises
    ------
    UserError
        If one is not there.
    """
    with inside(root):
        config = read_config()
        known = [model_of(spec) for spec in config.specs()]
        alone = [name for name in wanted if config.spec_of(name).endswith(ARCHIVE)]
    for name in wanted:
        if name not in (*known, *alone):
            raise UserError(f"there is no model {name!r}", str(root), f"there are {', '.join(known) or 'none'}")
    return list(dict.fromkeys(wanted)) or known


@contextmanager
def inside(root: Path) -> Iterator[None]:
    """Work below a project's directory: every path of a build is relative to it."""
    before = Path.cwd()
    try:
        os.chdir(root)
    except OSError as error:
        fix = "name the project's directory"
        raise UserError(f"cannot be entered: {error.strerror}", str(root), fix) from None
    try:
        yield
    finally:
        os.chdir(before)


def run_doit(config: Config, names: Sequence[str], output: TextIO) -> int:
    """Build models of the project in the current directory as ``doit quantize`` does, without a dodo.py.

    Parameters
    ----------
    config : Config
        The project's settings.
    names : sequence of str
        The models. The op resolvers of programs are written whose models are all among them.
    output : TextIO
        Where the line of each stage goes.

    Returns
    -------
    int
        doit's exit code: 0 for success.
    """
    from doit.cmd_base import ModuleTaskLoader
    from doit.doit_cmd import DoitMain

    from doit_tflm import actions, tasks

    # A run of doit is made for a process of its own: see doit_config and Reporter.complete_run.
    threshold = gc.get_threshold()
    specs = [config.spec_of(name) for name in names]
    namespace = {
        "DOIT_CONFIG": {**tasks.doit_config(), "outfile": output},
        "task_models": lambda: tasks.tasks_of(specs, config),
    }
    try:
        return int(DoitMain(ModuleTaskLoader(namespace), config_filenames=()).run(["run", "quantize"]))
    finally:
        actions.close_workers()
        gc.unfreeze()
        gc.set_threshold(*threshold)
