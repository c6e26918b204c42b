"""A project from outside of doit: where it is, which models it has, and the build of some of them."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from doit_tflm.config import ARCHIVE, DRY_RUN, Config, model_of, read_config
from doit_tflm.errors import UserError
from doit_tflm.files import normalise

__all__ = [
    "Located",
    "find_project",
    "inside",
    "locate",
    "model_names",
    "run_alone",
    "run_doit",
    "run_tasks",
]


def find_project(start: Path) -> Path:
    """Return the nearest directory upwards that has a dodo.py or a pyproject.toml; `start` if none has."""
    for directory in (start, *start.parents):
        if (directory / "dodo.py").is_file() or (directory / "pyproject.toml").is_file():
            return directory
    return start


@dataclass(frozen=True)
class Located:
    """A model, and where its files are.

    Attributes
    ----------
    root : Path
        The project's directory; the current one for a model of no project. The other paths are relative to it.
    name : str
        The model's name.
    script : str
        Its specification; empty where only the archive has one.
    archive : str
        Its archive, which need not exist.
    is_built_here : bool
        Whether the project builds it. Else its files lie somewhere else, and are used as they are.
    is_test : bool
        Whether it is meant as its dry run left it: ``NAME-test``, with an archive of its own.
    """

    root: Path
    name: str
    script: str
    archive: str
    is_built_here: bool
    is_test: bool = False

    @property
    def trained_as(self) -> str:
        """What build directory and archive are called."""
        return f"{self.name}{DRY_RUN}" if self.is_test else self.name


def locate(model: str | Path) -> Located:
    """Return a model's files.

    Parameters
    ----------
    model : str or Path
        A name in the project around the current directory, or ``NAME-test``; or the path of a specification script
        or archive, wherever it is.

    Raises
    ------
    UserError
        If there is no such model.
    """
    path = Path(model)
    if path.suffix != ".py" and not path.name.endswith(ARCHIVE):
        root = find_project(Path.cwd())
        found = _in_project(root, str(model))
        if found is None:
            raise _unknown(root, str(model).removesuffix(DRY_RUN))
        return found
    if not path.exists():
        raise UserError("there is no such file", str(path))
    full = path.absolute()
    root = find_project(full.parent)
    stem = model_of(path.name)
    is_in_models = normalise(full.parent, root) == read_config(root).models_dir
    found = _in_project(root, stem) if is_in_models else None
    if found is not None:
        return found
    # An archive has a specification of its own.
    script = str(path) if path.suffix == ".py" else ""
    archive = str(path.with_name(f"{stem}{ARCHIVE}"))
    return Located(Path.cwd(), stem.removesuffix(DRY_RUN), script, archive, is_built_here=False)


def _in_project(root: Path, name: str) -> Located | None:
    """Return the project's model of a name, or of ``NAME-test``; None if there is none."""
    with inside(root):
        config = read_config()
        model = name.removesuffix(DRY_RUN)
        known = [model_of(spec) for spec in config.specs()]
        scripts = [one for one in (name, model) if one in known]
        # An archive alone: the dry run's own has a script as well.
        alone = (one for one in (model, name) if config.spec_of(one).endswith(ARCHIVE))
        found = scripts[0] if scripts else next(alone, "")
    if not found:
        return None
    script = f"{config.models_dir}/{found}.py" if scripts else ""
    archive = f"{config.models_dir}/{name}{ARCHIVE}"
    return Located(root, found, script, archive, is_built_here=True, is_test=found != name)


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
            raise _unknown(root, name)
    return list(dict.fromkeys(wanted)) or known


def _unknown(root: Path, name: str) -> UserError:
    """Return the error for a model that is not there."""
    return UserError(
        f"there is no model {name!r}", str(root), f"there are {', '.join(model_names(root)) or 'none'}"
    )


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


def run_doit(config: Config, names: Sequence[str], output: TextIO, *wanted: str) -> int:
    """Build models of the project in the current directory as doit does, without a dodo.py.

    Parameters
    ----------
    config : Config
        The project's settings.
    names : sequence of str
        The models. The op resolvers of programs are written whose models are all among them.
    output : TextIO
        Where the line of each stage goes.
    *wanted : str
        The tasks; ``quantize`` when left out.

    Returns
    -------
    int
        doit's exit code: 0 for success.
    """
    from doit_tflm import tasks

    specs = [config.spec_of(name) for name in names]
    return run_tasks(lambda: tasks.tasks_of(specs, config), wanted or ["quantize"], output)


def run_alone(
    config: Config, found: Located, task: str, output: TextIO, asked: Mapping[str, Any] | None = None
) -> int:
    """Run a task of one model under the name that it is trained as; a dry run has no other tasks.

    Parameters
    ----------
    config : Config
        The settings of the project in the current directory.
    found : Located
        The model.
    task : str
        The task, e.g. ``"archive"``.
    output : TextIO
        Where the line of each stage goes.
    asked : mapping, optional
        What training is asked for besides the specification: see `doit_tflm.train.train`.

    Returns
    -------
    int
        doit's exit code: 0 for success.
    """
    from doit_tflm.tasks import tasks_of_training

    name = found.trained_as
    return run_tasks(
        lambda: tasks_of_training(config.spec_of(found.name), config, name, asked or {}),
        [f"{task}:{name}"],
        output,
    )


def run_tasks(creator: Callable[[], Iterator[dict[str, Any]]], wanted: Sequence[str], output: TextIO) -> int:
    """Run doit on some tasks, without a dodo.py.

    Parameters
    ----------
    creator : callable
        Yields doit's tasks.
    wanted : sequence of str
        Those to be run.
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
    namespace = {"DOIT_CONFIG": {**tasks.doit_config(), "outfile": output}, "task_models": creator}
    try:
        return int(DoitMain(ModuleTaskLoader(namespace), config_filenames=()).run(["run", *wanted]))
    finally:
        actions.close_workers()
        gc.unfreeze()
        gc.set_threshold(*threshold)
