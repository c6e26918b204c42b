"""The console's part for steps: the firmware's builds and tests, and the table of the sizes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from doit.exceptions import BaseFail

from doit_tflm.actions import Step

__all__ = ["Steps", "step_of", "unmet"]

_TICK_NS = 10_000_000
"""A file system's clock may go so much behind."""


def step_of(task: Any) -> Step | None:
    """Return the step that a task does."""
    return next((action for action in task.actions if isinstance(action, Step)), None)


def unmet(fail: BaseFail) -> str:
    """Return why a task was not run, as one line."""
    return str(fail.message).strip().replace("\n", " ")


def written_since(path: str, began_ns: int) -> bool:
    """Tell whether a file is there, and was written since, as far as the clock of the file system tells."""
    try:
        return os.stat(path).st_mtime_ns > began_ns - _TICK_NS
    except FileNotFoundError:
        return False


class Steps:
    """Writes what steps did.

    Parameters
    ----------
    write : callable
        Where the text goes.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._tasks: Iterable[Any] = ()
        self._began: dict[str, float] = {}
        self._began_ns: dict[str, int] = {}
        self._idle: list[str] = []
        self._notes: dict[str, None] = {}
        self._sizes: dict[str, Any] = {}

    def expect(self, tasks: Iterable[Any]) -> None:
        """Keep the tasks, for their order: another one may end first."""
        self._tasks = tasks

    def begin(self, task: Any) -> None:
        """Start the clock of a step."""
        self._began[task.name] = time.monotonic()
        self._began_ns[task.name] = time.time_ns()

    def end(self, task: Any, step: Step) -> None:
        """Write what a step did; nothing where there was nothing to do, which is told at the end."""
        seconds = time.monotonic() - self._began.pop(task.name)
        done = task.values
        if done.get("skipped"):
            self._write(f"{step.subject}: {done['skipped']}\n")
        elif not done.get("why"):
            self._idle.append(step.subject)
        elif step.log:
            self._write(f"{step.subject}: {step.verb:<9}  ({done['why']})  {seconds:.1f} s\n")
        for line in done.get("says", ()):
            self._write(f"{step.subject}: {line}\n")
        self._notes.update(dict.fromkeys(done.get("notes", ())))
        self._sizes.update(done.get("sizes", {}))

    def fail(self, task: Any, step: Step, fail: BaseFail) -> None:
        """Write why a step failed, or was not run."""
        if task.name not in self._began:
            self._write(f"{step.subject}: {step.verb} not run: {unmet(fail)}\n")
            return
        # What failed before anything was run has left an earlier run's log.
        told = step.log and written_since(step.log, self._began_ns[task.name])
        log = f"  log: {step.log}\n" if told else ""
        self._write(f"{step.subject}: {step.verb} failed\n  {fail.message}\n{log}")

    def close(self) -> None:
        """Write what is said once: notes, what was up to date, and the sizes of what was built."""
        for note in self._notes:
            self._write(f"firmware: {note}\n")
        if not (self._idle or self._sizes):
            return
        order = [step.subject for step in map(step_of, self._tasks) if step]
        if self._idle:
            verb = "is" if len(self._idle) == 1 else "are"
            self._write(f"firmware for {', '.join(sorted(self._idle, key=order.index))} {verb} up to date\n")
        if self._sizes:
            from doit_tflm.sizes import compare, from_json, render

            rows = [
                row
                for target, (now, before) in sorted(self._sizes.items(), key=lambda item: order.index(item[0]))
                for row in compare(target, from_json(now), from_json(before))
            ]
            self._write(f"\n{render(rows)}")
