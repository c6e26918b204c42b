"""doit's hooks, filled in: when a stage is up to date, how it is run, and what is remembered of it.

What stock doit leaves open and this module closes: a target edited by hand, an input edited while it is read, a
file written twice within one tick of the clock, a kill at any moment, and two builds at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from doit.action import BaseAction
from doit.dependency import FileChangedChecker, UptodateCalculator
from doit.exceptions import BaseFail, TaskFailed
from doit.globals import Globals

from doit_tflm.errors import UserError
from doit_tflm.files import DigestCache, digest_bytes
from doit_tflm.journal import Journal
from doit_tflm.observe import is_path, mark, observe
from doit_tflm.verdict import read_facet, reasons
from doit_tflm.worker import Pool

__all__ = [
    "ContentChecker",
    "Remove",
    "Session",
    "Stage",
    "StageAction",
    "StageCheck",
    "close_workers",
    "run_aside",
]

_POOL = Pool()
_NO_JOURNAL = DigestCache()


def digests() -> DigestCache:
    """Return the cache of the journal that doit has open."""
    backend = getattr(Globals.dep_manager, "backend", None)
    return backend.digests if isinstance(backend, Journal) else _NO_JOURNAL


def close_workers() -> None:
    """End the worker processes; for programs that go on after a build."""
    _POOL.close()


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


def run_aside(call: str, arguments: dict[str, Any], log: str) -> dict[str, Any]:
    """Call a function in a worker process, outside of any task."""
    return _POOL.run(call, arguments, log, lambda *_: None)


class ContentChecker(FileChangedChecker):  # type: ignore[misc]  # doit has no types
    """doit's check of a file_dep: by content, from the journal's cache of digests."""

    def check_modified(self, file_path: str, file_stat: os.stat_result, state: str) -> bool:
        """Tell whether a file's content differs from what `get_state` returned."""
        del file_stat
        return digests().get(file_path) != state

    def get_state(self, dep: str, current_state: str | None) -> str | None:
        """Return a file's digest; None if it is the current state already."""
        state = digests().get(dep)
        if state is None:
            raise FileNotFoundError(2, "No such file", dep)
        return None if state == current_state else state


class Session(UptodateCalculator):  # type: ignore[misc]
    """The up-to-date check of a hidden task that every stage waits for: it takes the project's lock.

    doit has no hook at the start of a run, but runs a task's checks in its main process, before the task and all
    that depends on it.
    """

    def __call__(self) -> bool:
        """Take the lock, waiting for another build to end; the task itself has nothing to do."""
        backend = Globals.dep_manager.backend
        if isinstance(backend, Journal):
            backend.begin()
            _POOL.keep_open = backend.lock.descriptors
        return True


class StageCheck(UptodateCalculator):  # type: ignore[misc]
    """Whether a stage's outputs are what its inputs give.

    Attributes
    ----------
    reasons : list of str
        Why the stage must run, as found by the last check.
    notes : list of str
        Warnings of the last run.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        self.reasons: list[str] = []
        self.notes: list[str] = []

    def __call__(self, task: Any) -> bool:
        """Compare the record of the last success with what is there, and prepare the next record."""
        record = self.get_val(task.name, "_values_:") or {}
        cache = digests()
        self.reasons = reasons(record, self.stage.inputs, self.stage.outputs, lambda key: observe(key, cache))
        self._follow_inputs(task, record)
        seen = _Seen(self.stage, cache) if self.reasons else None
        if seen is not None:
            task.value_savers.append(lambda: self._record(task, seen, record))
        return not self.reasons

    def would_be_current(self, task: Any, facets: Mapping[str, str]) -> bool:
        """Tell whether the stage would be up to date if facet files had other contents.

        Parameters
        ----------
        task : doit.task.Task
            The stage's task.
        facets : mapping of str to str
            The contents, by path.
        """
        cache = digests()
        record = self.get_val(task.name, "_values_:") or {}

        def see(key: str) -> str | None:
            return digest_bytes(facets[key].encode()) if key in facets else observe(key, cache)

        def facet(path: str) -> dict[str, Any]:
            return json.loads(facets[path]) if path in facets else read_facet(path)

        self.reasons = reasons(record, self.stage.inputs, self.stage.outputs, see, facet)
        return not self.reasons

    def _record(self, task: Any, seen: _Seen, before: dict[str, Any]) -> dict[str, Any]:
        """Return what to remember of a run that succeeded."""
        self.notes = task.values.pop("notes")
        return seen.record(task, before)

    def __repr__(self) -> str:
        return "; ".join(self.reasons) or "up to date"

    def _follow_inputs(self, task: Any, record: dict[str, Any]) -> None:
        """Make doit's file_deps the files that the last run read, as far as they are still there."""
        found = {key for key in record.get("inputs", ()) if is_path(key)}
        task.file_dep = {
            path for path in task.file_dep | found if path in self.stage.inputs or Path(path).is_file()
        }


@dataclass
class _Seen:
    """A stage's inputs as they were before it ran."""

    stage: Stage
    cache: DigestCache
    inputs: dict[str, str | None] = field(init=False)
    marks: dict[str, object] = field(init=False)
    facets: dict[str, dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.marks = {key: mark(key) for key in self.stage.inputs}
        self.inputs = {key: observe(key, self.cache) for key in self.stage.inputs}
        self.facets = {key: read_facet(key) for key in self.stage.facets}

    def record(self, task: Any, before: dict[str, Any]) -> dict[str, Any]:
        """Return what to remember of a run that succeeded.

        An input that was written meanwhile is remembered as unknown: what the run read of it cannot be told.
        """
        for key, value in self.marks.items():
            if mark(key) != value:
                self.inputs[key] = None
        result = task.values
        inputs = {**result.pop("inputs"), **self.inputs}
        outputs = result.pop("outputs")
        self._remove_former(before.get("outputs", {}), outputs)
        task.file_dep = {key for key in inputs if is_path(key) and Path(key).is_file()}
        return {"inputs": inputs, "outputs": outputs, "facets": self.facets}

    def _remove_former(self, former: dict[str, str | None], outputs: dict[str, str | None]) -> None:
        """Remove files that the stage made under names it no longer uses, unless another hand changed them."""
        for key, digest in former.items():
            if is_path(key) and key not in outputs and digest and observe(key, self.cache) == digest:
                Path(key).unlink()


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
        try:
            self.values = _POOL.run(self.stage.call, self.stage.arguments, self.stage.log, _progress(self.stage))
        except UserError as error:
            return TaskFailed(str(error))
        self.result = digest_bytes(json.dumps(self.values["outputs"], sort_keys=True).encode())
        return None

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
            Path(path).unlink(missing_ok=True)
        for directory in self.directories:
            if Path(directory).is_dir() and not any(Path(directory).iterdir()):
                Path(directory).rmdir()

    def __str__(self) -> str:
        return "remove " + " ".join(path for path in self.paths if Path(path).exists())
