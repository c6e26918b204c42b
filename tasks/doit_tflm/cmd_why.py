"""``doit why [MODEL]``: what ``doit quantize`` would run, and why, without running it."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

from doit.cmd_base import DoitCmdBase
from doit.exceptions import InvalidCommand

if TYPE_CHECKING:
    from doit_tflm.engine import StageCheck

__all__ = ["Why"]


_ASIDE = ("accuracy", "evaluate", "report", "train")
"""Stages that are no part of ``doit quantize``, unless the specification asks for them."""


class Why(DoitCmdBase):  # type: ignore[misc]  # doit has no types
    """The command; doit finds it by its entry point."""

    doc_purpose = "say what would be rebuilt, and why"
    doc_usage = "[MODEL ...]"
    doc_description = (
        "For each stage of the models (of all, when none is named): the settings and files that changed since "
        "it last ran, or the facts by which it is up to date. An edited specification is run to see its "
        "settings, and nothing is built or written."
    )
    cmd_options = ()

    def _execute(self, pos_args: list[str]) -> int:
        """Print a line for each stage."""
        from doit_tflm.errors import UserError
        from doit_tflm.reporter import check_of

        checks = [(task, check) for task in self.task_list if (check := check_of(task)) is not None]
        models = sorted({check.stage.model for _, check in checks})
        wanted = [name.split(":")[-1] for name in pos_args] or models
        for model in wanted:
            if model not in models:
                raise InvalidCommand(f"there is no model {model!r}; there are {', '.join(models) or 'none'}")
        try:
            for model in wanted:
                self._explain(model, [pair for pair in checks if pair[1].stage.model == model])
        except UserError as error:
            self.outstream.write(f"{error}\n")
            return 1
        return 0

    def _explain(self, model: str, stages: list[tuple[Any, StageCheck]]) -> None:
        """Print the lines of one model, each stage seen with the facets that evaluating would give."""
        from doit_tflm.reporter import why

        facets: dict[str, str] = {}
        ahead = ""
        asked = self.dep_manager.get_values(f"spec:{model}").get("task_dep", [])
        for task, check in stages:
            if task.name.partition(":")[0] in _ASIDE and task.name not in asked:
                continue
            check.setup(self.dep_manager, {})
            stale = not check.would_be_current(task, facets)
            if stale:
                text = why(check)
                if check.stage.verb == "spec":
                    facets = _preview(check)
                ahead = check.stage.verb if check.stage.verb != "spec" else ahead
            elif ahead:
                text = f"runs if {ahead} comes out different"
            else:
                text = _facts(self.dep_manager.get_values(task.name))
            self.outstream.write(f"{model}: {check.stage.verb:<9}  {text}\n")


def _preview(check: StageCheck) -> dict[str, str]:
    """Run an edited specification, and return its facets as text by path."""
    from doit_tflm.actions import run_aside

    # A log that is there afterwards, for a message to name, and not in the build directory.
    log = f"{tempfile.gettempdir()}/doit-tflm-why-{os.getuid()}.log"
    arguments = check.stage.arguments
    found = run_aside(
        "doit_tflm.stages:preview", {k: arguments[k] for k in ("script", "samples_file", "source")}, log
    )
    directory = check.stage.arguments["directory"]
    return {f"{directory}/{name}.json": text for name, text in found.items()}


def _facts(record: dict[str, Any]) -> str:
    """Say by what a stage is up to date."""
    inputs = {key: value for key, value in record["inputs"].items() if not key.startswith("value:")}
    sides = (
        ", ".join(f"{_name(k)} {_short(v)}" for k, v in sorted(side.items()))
        for side in (inputs, record["outputs"])
    )
    return "up to date: " + " → ".join(sides)


def _name(key: str) -> str:
    return key.removeprefix("version:").split("!")[-1].rsplit("/", 1)[-1]


def _short(value: str | None) -> str:
    """Return a digest's first digits, or a version."""
    if value is None:
        return "absent"
    return value[:8] if len(value) == 32 else value
