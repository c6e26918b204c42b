"""What doit runs for a stage: the work, in a worker process; and what it removes when the stage is cleaned."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doit.action import BaseAction
from doit.exceptions import BaseFail, TaskFailed

from doit_tflm.errors import UserError
from doit_tflm.files import digest_bytes
from doit_tflm.worker import Pool, Progress

__all__ = [
    "POOL",
    "Remove",
    "Stage",
    "StageAction",
    "Step",
    "close_workers",
    "name_tasks",
    "named",
    "on_progress",
    "run_aside",
]

POOL = Pool()


@dataclass(frozen=True)
class Stage:
    """One step of a model's build.

    Attributes
    ----------
    task : str
        The task's name, e.g. ``"calibrate:sine"``.
    model, verb : str
        What the console calls it, e.g. ``"sine"`` and ``"calibrate"``.
    inputs, outputs : tuple of str
        Keys (`doit_tflm.observe`) that are known before it runs. It may report further ones.
    call : str
        The function that does the work, ``"module:function"``. It runs in a worker process and returns a mapping
        with ``outputs`` and ``inputs`` (values by key) and ``notes`` (warnings to show).
    arguments : dict
        Its keyword arguments: plain data.
    log : str
        Where what it prints goes.
    facets : tuple of str
        The inputs that are facets.
    expected : tuple of str
        Outputs that it will have unless the specification says otherwise: what doit takes for its targets, beside
        `outputs`, until it has run.
    unlisted : tuple of str
        Inputs that are no file_deps of doit's: the task comes after them for another reason.
    """

    task: str
    model: str
    verb: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    call: str
    arguments: dict[str, Any]
    log: str
    facets: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()


def close_workers() -> None:
    """End the worker processes; for programs that go on after a build."""
    POOL.close()


def run_aside(
    call: str, arguments: dict[str, Any], log: str, progress: Progress = lambda *_: None
) -> dict[str, Any]:
    """Call a function in a worker process, outside of any task."""
    return POOL.run(call, arguments, log, progress)


def _attempt(action: StageAction | Step, work: Callable[[], dict[str, Any]]) -> BaseFail | None:
    """Do an action's work, and keep what comes of it; return what went wrong."""
    try:
        action.values = work()
    except UserError as error:
        return TaskFailed(str(error))
    except KeyboardInterrupt:
        sys.exit(f"interrupted in {action}; what was finished before is kept")
    return None


class StageAction(BaseAction):  # type: ignore[misc]
    """Runs a stage in a worker process and waits for it.

    It neither prints nor captures, so that it may run in any number of threads or processes of doit.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.task: Any = None
        self.out: str | None = None
        self.err: str | None = None
        self.result: str | None = None
        self.values: dict[str, Any] = {}

    def execute(self, out: object = None, err: object = None) -> BaseFail | None:
        """Run the stage.

        Returns
        -------
        TaskFailed or None
            What went wrong.
        """
        del out, err
        stage = self.stage
        failed = _attempt(self, lambda: POOL.run(stage.call, stage.arguments, stage.log, _progress(stage)))
        if failed is None:
            self.result = digest_bytes(json.dumps(self.values["outputs"], sort_keys=True).encode())
        return failed

    def __str__(self) -> str:
        return f"{self.stage.model}: {self.stage.verb}"


_listeners: list[Callable[[Stage, str, int, int], None]] = []


def on_progress(listener: Callable[[Stage, str, int, int], None]) -> None:
    """Have a stage's progress told: ``listener(stage, text, done, total)``, in whichever thread it comes up."""
    _listeners[:] = [listener]


def _progress(stage: Stage) -> Callable[[str, int, int], None]:
    def report(text: str, done: int, total: int) -> None:
        for listener in _listeners:
            listener(stage, text, done, total)

    return report


_named: list[frozenset[str]] = []


def name_tasks(names: Iterable[str]) -> None:
    """Take down which tasks were asked for by name."""
    _named[:] = [frozenset(names)]


def named(task: str) -> bool:
    """Tell whether a task was asked for by name; any may have been where nobody took it down."""
    return not _named or task in _named[0]


class Step(BaseAction):  # type: ignore[misc]
    """Work that is no stage of a model's, and decides itself how much of it there is to do.

    Like `StageAction` it neither prints nor captures.

    Parameters
    ----------
    subject, verb : str
        What the console calls it, e.g. ``"cortex-m3"`` and ``"build"``.
    work : callable
        Does it, and returns what the reporter is to show as plain data: ``why``, empty where nothing was to do;
        ``says``: lines; ``notes``: lines that are shown once; ``sizes``: see `doit_tflm.step_reporter`.
    log : str
        Where the output of what it runs goes.
    """

    def __init__(self, subject: str, verb: str, work: Callable[[], dict[str, Any]], log: str) -> None:
        self.subject, self.verb, self.log = subject, verb, log
        self._work = work
        self.task: Any = None
        self.out = self.err = self.result = None
        self.values: dict[str, Any] = {}

    def execute(self, out: object = None, err: object = None) -> BaseFail | None:
        """Do the work.

        Returns
        -------
        TaskFailed or None
            What went wrong.
        """
        del out, err
        return _attempt(self, self._work)

    def __str__(self) -> str:
        return f"{self.subject}: {self.verb}"


class Remove(BaseAction):  # type: ignore[misc]
    """What ``doit clean`` does to a stage: remove its files, and directories that this leaves empty."""

    def __init__(self, paths: tuple[str, ...], directories: tuple[str, ...]) -> None:
        self.paths = paths
        self.directories = directories
        self.task: Any = None
        self.out = self.err = self.result = None
        self.values: dict[str, Any] = {}

    def execute(self, out: object = None, err: object = None) -> None:
        """Remove what is there."""
        del out, err
        for path in self.paths:
            if not Path(path).is_dir():
                Path(path).unlink(missing_ok=True)
        for name in (*self.paths, *self.directories, *{os.path.dirname(path) for path in self.paths}):
            directory = Path(name)
            while directory.is_dir() and directory != Path() and not any(directory.iterdir()):
                directory.rmdir()
                directory = directory.parent

    def __str__(self) -> str:
        return "remove " + (" ".join(path for path in self.paths if Path(path).exists()) or "nothing")
