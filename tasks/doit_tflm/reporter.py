"""The console: one line for each stage that ran, with why and how long, and nothing for what did not."""

from __future__ import annotations

import gc
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from doit.exceptions import BaseFail
from doit.reporter import ConsoleReporter

from doit_tflm.actions import Stage, name_tasks, on_progress
from doit_tflm.engine import StageCheck
from doit_tflm.step_reporter import Steps, step_of, unmet

__all__ = ["Display", "Reporter", "check_of", "why"]

_SLOW_S = 2.0
"""A stage that takes longer shows its progress."""


def check_of(task: Any) -> StageCheck | None:
    """Return the check of a task that is a stage of ours."""
    return next((check for check, _, _ in task.uptodate if isinstance(check, StageCheck)), None)


class Reporter(ConsoleReporter):  # type: ignore[misc]  # doit has no types
    """doit's reporter for stages; other tasks of a dodo.py are reported as doit does."""

    desc = "a line per stage that ran, with why and how long"

    def __init__(self, outstream: TextIO, options: dict[str, Any]) -> None:
        super().__init__(outstream, options)
        self._began: dict[str, float] = {}
        self._ran = 0
        self._failed = False
        self._models: set[str] = set()
        self._notes: set[str] = set()
        self._evaluates = False
        self._display: Display | None = None
        self._steps = Steps(self.write)
        self.failures: list[dict[str, Any]]

    def initialize(self, tasks: dict[str, Any], selected_tasks: list[str]) -> None:
        """Say so if there is nothing that could be built."""
        super().initialize(tasks, selected_tasks)
        name_tasks(selected_tasks)
        self._steps.expect(tasks.values())
        self._evaluates = any(name.partition(":")[0] == "evaluate" for name in selected_tasks)
        if not any(check_of(task) for task in tasks.values()):
            self.write("there are no models: write a specification, models/NAME.py\n")

    def execute_task(self, task: Any) -> None:
        """Start the clock of a stage."""
        check = check_of(task)
        if step_of(task):
            self._steps.begin(task)
            return
        if check is None:
            super().execute_task(task)
            return
        self._began[task.name] = time.monotonic()
        if self._display is None and self.outstream.isatty():
            display = self._display = Display()
            on_progress(lambda stage, *far: display.update(stage.task, stage.model, *far))

    def skip_uptodate(self, task: Any) -> None:
        """Count a stage that had nothing to do."""
        check = check_of(task)
        if check is not None:
            if check.stage.verb != "resolver":  # a program's
                self._models.add(check.stage.model)
            if self._evaluates:
                self._say(check)
        elif task.actions:
            super().skip_uptodate(task)

    def add_success(self, task: Any) -> None:
        """Write a stage's line, or what a step did."""
        check, step = check_of(task), step_of(task)
        if step:
            self._steps.end(task, step)
        if check is None:
            return
        self._ran += 1
        self._models.add(check.stage.model)
        seconds = time.monotonic() - self._began.pop(task.name)
        self._line(check.stage, f"{check.stage.verb:<9}  ({why(check)})  {seconds:.1f} s")
        for note in check.notes:
            # What is so of every model is said once.
            if note not in self._notes:
                self._line(check.stage, f"warning: {note}")
            self._notes.add(note)
        self._say(check)

    def _say(self, check: StageCheck) -> None:
        """Write a stage's results."""
        for text in check.says:
            self._line(check.stage, text)

    def add_failure(self, task: Any, fail: BaseFail) -> None:
        """Write why a stage failed, and where its log is."""
        check, step = check_of(task), step_of(task)
        if step:
            self._steps.fail(task, step, fail)
            return
        if check is None:
            if task.actions:  # a group fails with its members, which have said why
                super().add_failure(task, fail)
            return
        if task.name in self._began:
            self._ran += 1
            self._line(check.stage, f"{check.stage.verb} failed")
            self.write(f"  {fail.message}\n  log: {check.stage.log}\n")
        else:
            self._line(check.stage, f"{check.stage.verb} not run: {unmet(fail)}")

    def _line(self, stage: Stage, text: str) -> None:
        if self._display is not None:
            self._display.finish(stage.task)
        self.write(f"{stage.model}: {text}\n")

    def complete_run(self) -> None:
        """Say so if there was nothing to do."""
        if self._display is not None:
            self._display.close()
        if not self._ran and not self._failed and self._models and not self.runtime_errors:
            models = "1 model is" if len(self._models) == 1 else f"{len(self._models)} models are"
            self.write(f"{models} up to date\n")
        self._steps.close()
        # The tasks stay until the process ends, which need not look for cycles among them then.
        gc.freeze()
        self.failures = [one for one in self.failures if not (check_of(one["task"]) or step_of(one["task"]))]
        super().complete_run()


def why(check: StageCheck) -> str:
    """Return why a stage ran: the first reasons, and how many more there are."""
    shown = check.reasons[:3] or ["asked for"]
    more = len(check.reasons) - len(shown)
    text = "; ".join(shown) + (f"; {more} more" if more > 0 else "")
    return text.replace(str(Path(check.stage.log).parent) + "/", "")


class Display:
    """Progress bars on a terminal, for what takes long."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(file=sys.stdout),
            transient=True,
        )
        self._ids: dict[str, Any] = {}
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()

    def update(self, key: str, label: str, text: str, done: int, total: int) -> None:
        """Show how far something is, once it is known to be slow."""
        with self._lock:
            since = self._since.setdefault(key, time.monotonic())
            if time.monotonic() - since < _SLOW_S:
                return
            if key not in self._ids:
                self._bars.start()
                self._ids[key] = self._bars.add_task(label, total=total or None)
            self._bars.update(self._ids[key], description=f"{label}: {text}", completed=done, total=total or None)

    def finish(self, key: str) -> None:
        """Take a bar away."""
        with self._lock:
            self._since.pop(key, None)
            bar = self._ids.pop(key, None)
            if bar is not None:
                self._bars.remove_task(bar)
            if not self._ids:
                self._bars.stop()

    def close(self) -> None:
        """Give the terminal back."""
        self._bars.stop()
