"""doit's hooks, filled in: when a stage is up to date, and what is remembered of it.

What stock doit leaves open and this module closes: a target edited by hand, an input edited while it is read, a
file written twice within one tick of the clock, a kill at any moment, and two builds at once.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from functools import cache, cached_property
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

from doit.dependency import FileChangedChecker, UptodateCalculator
from doit.exceptions import InvalidTask
from doit.globals import Globals

from doit_tflm.actions import POOL, Stage
from doit_tflm.files import DigestCache, digest_bytes, sweep
from doit_tflm.journal import Journal
from doit_tflm.lock import BuildLock
from doit_tflm.observe import View, is_path
from doit_tflm.verdict import read_facet, reasons

__all__ = ["ContentChecker", "Session", "StageCheck"]

_NO_RECORD: dict[str, Any] = {}


def view() -> View:
    """Return what is there now, as the journal that doit has open sees it."""
    backend = getattr(Globals.dep_manager, "backend", None)
    return backend.view if isinstance(backend, Journal) else View(DigestCache())


class ContentChecker(FileChangedChecker):  # type: ignore[misc]  # doit has no types
    """doit's check of a file_dep: by content, from the journal's cache of digests."""

    @cached_property
    def _journal(self) -> Journal | None:
        """The journal that doit opened along with this checker."""
        backend = Globals.dep_manager.backend
        return backend if isinstance(backend, Journal) else None

    def _see(self, path: str) -> str | None:
        return (self._journal.view if self._journal else view())[path]

    def exists(self, file_path: str) -> bool:
        """Tell whether there is a target."""
        return self._see(file_path) is not None or os.path.exists(file_path)

    def info(self, file_path: str) -> object:
        """Return something about a file_dep; raise OSError where there is none."""
        return self._see(file_path) or os.stat(file_path)

    def check_modified(self, file_path: str, file_stat: object, state: str) -> bool:
        """Tell whether a file's content differs from what `get_state` returned."""
        del file_stat
        return self._see(file_path) != state

    def get_state(self, dep: str, current_state: str | None) -> str | None:
        """Return a file's digest; None if it is the current state already."""
        state = self._see(dep)
        if state is None:
            raise FileNotFoundError(2, "No such file", dep)
        return None if state == current_state else state


class Session(UptodateCalculator):  # type: ignore[misc]
    """The up-to-date check of a hidden task that every stage waits for: it takes the project's lock.

    doit has no hook at the start of a run, but runs a task's checks in its main process, before the task and all
    that depends on it.

    Parameters
    ----------
    directories : tuple of str
        Where a build that was killed may have left parts of files.
    """

    def __init__(self, directories: tuple[str, ...]) -> None:
        super().__init__()
        self.directories = directories

    def __call__(self) -> bool:
        """Take the lock, waiting for another build to end; the task itself has nothing to do."""
        backend = Globals.dep_manager.backend
        if isinstance(backend, Journal):
            try:
                backend.begin()
            except KeyboardInterrupt:
                sys.exit("interrupted while waiting; nothing was run")
            except OSError as error:
                fix = "the build directory must be one that can be written"
                raise InvalidTask(f"{backend.name} cannot be written: {error}; {fix}") from None
            if backend.lock.interrupted:
                sweep(self.directories)
            POOL.keep_open = backend.lock.descriptors
            _end_forks_with(os.getpid(), backend.lock)
        return True


@cache
def _end_forks_with(parent: int, lock: BuildLock) -> None:
    """Have the processes that doit forks (``-P process``) end when it is killed: they hold the lock along."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.1)
        os._exit(1)

    forks: list[int] = []

    def begin() -> None:
        # Not in what these fork in turn: that is the user's, and has another parent.
        if lock.descriptors and not forks:
            forks.append(os.getpid())
            threading.Thread(target=watch, daemon=True).start()

    os.register_at_fork(after_in_child=begin)


class StageCheck(UptodateCalculator):  # type: ignore[misc]
    """Whether a stage's outputs are what its inputs give.

    Attributes
    ----------
    reasons : list of str
        Why the stage must run, as found by the last check.
    notes, says : list of str
        Warnings and results of the last run.
    """

    __signature__ = Signature([Parameter("task", Parameter.POSITIONAL_OR_KEYWORD)])
    """What doit would find out anew for each task."""

    def __init__(self, stage: Stage, at_load: Mapping[str, Any]) -> None:
        super().__init__()
        self.stage = stage
        self._at_load = at_load
        self.reasons: list[str] = []
        self.notes: list[str] = []
        self.says: list[str] = []

    def __call__(self, task: Any) -> bool:
        """Compare the record of the last success with what is there, and prepare the next record."""
        record = self.get_val(task.name, "_values_:") or _NO_RECORD
        self.says = record.get("says", [])
        seen = view()
        self.reasons = reasons(record, self.stage.inputs, self.stage.outputs, seen.__getitem__)
        if self.reasons or record is not self._at_load:
            self._follow(task, record)
        if self.reasons:
            # Seen before the stage runs, whatever it makes of them.
            facets = {path: read_facet(path) for path in self.stage.facets if seen[path]}
            before = {key: seen[key] for key in self.stage.inputs}
        else:
            facets, before = record["facets"], record["inputs"]
        task.value_savers.append(lambda: self._record(task, seen, before, facets))
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
        record = self.get_val(task.name, "_values_:") or _NO_RECORD
        seen = view()

        def see(key: str) -> str | None:
            return digest_bytes(facets[key].encode()) if key in facets else seen[key]

        def facet(path: str) -> dict[str, Any]:
            return json.loads(facets[path]) if path in facets else read_facet(path)

        self.reasons = reasons(record, self.stage.inputs, self.stage.outputs, see, facet)
        return not self.reasons

    def _record(
        self,
        task: Any,
        seen: View,
        before: Mapping[str, str | None],
        facets: dict[str, Any],
    ) -> dict[str, Any]:
        """Return what to remember of a run that succeeded, beside what else it returned.

        An input that was written meanwhile is remembered as unknown: what the run read of it cannot be told.
        """
        result = task.values
        self.notes, self.says = result.pop("notes"), result.get("says", [])
        outputs = result.pop("outputs")
        inputs = {key: before[key] if seen.unmoved(key) else None for key in self.stage.inputs}
        inputs = {**result.pop("inputs"), **inputs}
        paths = {key for key in inputs if is_path(key) and Path(key).is_file()}
        task.file_dep = paths - {*self.stage.unlisted}
        return {"inputs": inputs, "outputs": outputs, "facets": facets}

    def __repr__(self) -> str:
        return "; ".join(self.reasons) or "up to date"

    def _follow(self, task: Any, record: dict[str, Any]) -> None:
        """Make doit's file_deps and targets those of the last run, the file_deps as far as they are still there.

        It may have been another build's, which this one waited for after it had loaded the tasks.
        """
        paths = {key for key in (*self.stage.inputs, *record.get("inputs", ())) if is_path(key)}
        paths -= {*self.stage.unlisted}
        task.file_dep = {path for path in paths if path in self.stage.inputs or Path(path).is_file()}
        task.targets = [key for key in record.get("outputs", self.stage.outputs) if is_path(key)]
