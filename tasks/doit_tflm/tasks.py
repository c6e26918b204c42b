"""Specifications → doit tasks.

A project's ``dodo.py`` is::

    from doit_tflm import doit_config, model_tasks

    DOIT_CONFIG = doit_config()


    def task_models():
        yield from model_tasks()
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from doit.globals import Globals

from doit_tflm.actions import Remove, Stage, StageAction
from doit_tflm.c_text import macro_prefix
from doit_tflm.config import Config, model_of, read_config
from doit_tflm.engine import ContentChecker, Session, StageCheck
from doit_tflm.errors import UserError
from doit_tflm.observe import is_path
from doit_tflm.plan import ONCE, ONCE_LOG, resolver_stage, stages
from doit_tflm.reporter import Reporter

__all__ = ["doit_config", "model_tasks", "tasks_of", "tasks_of_training"]

SESSION = "_session"
"""The hidden task that takes the project's lock."""

_DOCS = {
    "quantize": "build everything up to the C sources of the models",
    "train": "train a model, then quantize it",
    "spec": "run the specifications, and write what each stage reads of them",
    "sample": "draw the representative samples",
    "calibrate": "convert the trained models, and measure ranges with the samples",
    "convert": "quantize the calibrated models",
    "verify": "have TFLM run the models, and measure the arena",
    "embed": "embed the parameters, and hold the models to their limits",
    "archive": "put the .tflite models into the archives",
    "header": "write the C sources",
    "resolver": "write the op resolvers of programs that link several models",
    "accuracy": "run the models on the evaluation data",
    "evaluate": "measure the accuracy of the models, trained and quantized, and put it into the archives",
    "report": "make what generate_quantization_report and generate_unquantized ask for",
}


def doit_config(*, default_tasks: list[str] | None = None) -> dict[str, Any]:
    """Return doit's configuration: our checker, journal and console.

    Parameters
    ----------
    default_tasks : list of str, optional
        What ``doit`` alone builds; ``["quantize"]`` when left out.
    """
    # Thousands of tasks are a million objects that stay: looking through them for cycles would take half the time.
    gc.set_threshold(5_000_000, 20, 20)
    return {
        "default_tasks": default_tasks or ["quantize"],
        "backend": "tflm-journal",
        "dep_file": _config().journal,
        "check_file_uptodate": ContentChecker,
        "reporter": Reporter,
        "verbosity": 2,
        # Threads that wait for worker processes: a process that was killed would leave doit waiting for ever.
        "par_type": "thread",
    }


def _config() -> Config:
    """Read the project's settings; a mistake in them ends doit with the message alone."""
    try:
        return read_config()
    except UserError as error:
        sys.exit(f"ERROR: {error}")


def model_tasks() -> Iterator[dict[str, Any]]:
    """Yield the doit tasks of the project's models."""
    config = _config()
    _check_programs(config.specs(), config)
    yield from tasks_of(config.specs(), config)


def tasks_of(specs: list[str], config: Config) -> Iterator[dict[str, Any]]:
    """Yield the doit tasks of some models.

    Parameters
    ----------
    specs : list of str
        Their specification scripts, relative to the project.
    config : Config
        The project's settings.
    """
    _check_names(specs)
    built = [f"{config.build_dir}/{model_of(spec)}" for spec in specs]
    directories = (config.models_dir, config.build_dir, config.header_dir, *built)
    yield {"basename": SESSION, "actions": [], "uptodate": [Session(directories)]}
    programs = _programs(specs, config)
    for basename, doc in _DOCS.items():
        # First of all, so that the models come in their order: doit has none among tasks that wait for one.
        also = [stage.task for stage in programs] if basename == "quantize" else []
        yield {"basename": basename, "name": None, "doc": doc, "task_dep": [SESSION, *also]}
    for spec in specs:
        yield from _tasks_of(spec, config)
    for stage in programs:
        yield _task(stage, config)


def tasks_of_training(spec: str, config: Config, name: str, asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the doit tasks of one model; its training always runs, and no build follows it.

    Parameters
    ----------
    spec : str
        The specification script, relative to the project.
    config : Config
        The project's settings.
    name : str
        What to call build directory and archive.
    asked : mapping
        What training is asked for besides the specification: see `doit_tflm.train.train`.
    """
    directories = (config.models_dir, config.build_dir, f"{config.build_dir}/{name}")
    yield {"basename": SESSION, "actions": [], "uptodate": [Session(directories)]}
    for stage in stages(spec, config, name, asked):
        task = _task(stage, config)
        if task["basename"] == "train":
            task["uptodate"].append(False)
        yield task


def _programs(specs: list[str], config: Config) -> list[Stage]:
    """Return the stages that write the op resolvers of programs, as far as all of their models are there."""
    known = {model_of(spec) for spec in specs}
    return [
        resolver_stage(name, models, config)
        for name, models in sorted(config.programs.items())
        if known >= {*models}
    ]


def _check_programs(specs: list[str], config: Config) -> None:
    """End doit where a program names a model that is not there, or has the name of one in C."""
    known = {model_of(spec) for spec in specs}
    taken = {macro_prefix(model): model for model in known}
    for program, models in config.programs.items():
        where = f"ERROR: pyproject.toml: [tool.doit-tflm.programs] {program}"
        for model in models:
            if model not in known:
                sys.exit(f"{where} names {model!r}, but the models are {', '.join(sorted(known)) or 'none'}")
        if macro_prefix(program) in taken:
            sys.exit(f"{where} has the name of model {taken[macro_prefix(program)]}; rename the program")


def _check_names(specs: list[str]) -> None:
    """End doit where two models would have the same names in C."""
    seen: dict[str, str] = {}
    for spec in specs:
        other = seen.setdefault(macro_prefix(model_of(spec)), spec)
        if other != spec:
            sys.exit(f"ERROR: {other} and {spec} would have the same names in C; rename one of them")


def _tasks_of(spec: str, config: Config) -> Iterator[dict[str, Any]]:
    """Yield the tasks of one model."""
    model = model_of(spec)
    clean = []
    for stage in stages(spec, config):
        task = _task(stage, config)
        if task["basename"] == "train":
            task["actions"].append([sys.executable, "-m", "doit_tflm", "quantize", model])
        clean += task["clean"]
        yield task
    directory = f"{config.build_dir}/{model}"
    clean.append(Remove(tuple(f"{directory}/{name}" for name in (ONCE, ONCE_LOG)), (directory,)))
    yield {
        "basename": "quantize",
        "name": model,
        "actions": None,
        "task_dep": [f"header:{model}", f"archive:{model}"],
        "clean": clean,
        "doc": f"everything up to the C sources of {model}",
    }


def _task(stage: Stage, config: Config) -> dict[str, Any]:
    """Return a stage as a doit task."""
    recorded = Globals.dep_manager.get_values(stage.task) if Globals.dep_manager else {}
    static = set(stage.inputs)
    paths = [key for key in stage.inputs if is_path(key) and key not in stage.unlisted]
    made = [key for key in recorded.get("outputs", (*stage.outputs, *stage.expected)) if is_path(key)]
    for key, digest in recorded.get("inputs", {}).items():
        # A file that was looked for in vain is an input, but none that doit could wait for.
        if key not in static and digest is not None and is_path(key):
            paths.append(key)
    basename = stage.task.partition(":")[0]
    return {
        "basename": basename,
        "name": stage.model,
        "actions": [StageAction(stage)],
        "file_dep": paths,
        "targets": made,
        # The later stages come after this one anyway.
        "task_dep": {"spec": [SESSION], "evaluate": [f"archive:{stage.model}"]}.get(basename, []),
        # What the specification asks for besides, which only its record tells.
        "calc_dep": [f"spec:{stage.model}"] if stage.unlisted else [],
        "uptodate": [StageCheck(stage, recorded)],
        "clean": [Remove((*made, stage.log), (f"{config.build_dir}/{stage.model}", config.header_dir))],
        "doc": f"{_DOCS[basename].split(',')[0]}: {stage.model}",
    }
