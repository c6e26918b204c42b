"""Specifications → doit tasks.

A project's ``dodo.py`` is::

    from doit_tflm import doit_config, model_tasks

    DOIT_CONFIG = doit_config()


    def task_models():
        yield from model_tasks()
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from doit.globals import Globals

from doit_tflm.actions import Remove, Stage, StageAction
from doit_tflm.config import FACETS, Config, read_config
from doit_tflm.engine import ContentChecker, Session, StageCheck
from doit_tflm.errors import UserError
from doit_tflm.header import file_stem, macro_prefix
from doit_tflm.observe import is_path
from doit_tflm.reporter import Reporter

__all__ = ["doit_config", "model_tasks", "stages", "tasks_of"]

SESSION = "_session"
"""The hidden task that takes the project's lock."""

_OURS, _TENSORFLOW = "version:doit-tflm", "version:tensorflow"
_FRAMEWORKS = (_TENSORFLOW, "version:keras", "version:tf-keras")

_ARGUMENTS = {
    "evaluate": ("script", "directory"),
    "sample": ("script", "directory"),
    "calibrate": ("script", "directory", "model", "archive_path", "converter"),
    "convert": ("script", "directory", "converter"),
    "embed": ("script", "directory", "model"),
    "archive": ("script", "directory", "model", "archive_path"),
    "header": ("directory", "model", "header_dir"),
    "train": ("script", "directory", "model", "archive_path"),
}
"""What the functions of the stages take."""

_DOCS = {
    "evaluate": "run the specifications, and write what each stage reads of them",
    "sample": "draw the representative samples",
    "calibrate": "convert the trained models, and measure ranges with the samples",
    "convert": "quantize the calibrated models",
    "embed": "embed the parameters",
    "archive": "put the .tflite models into the archives",
    "header": "write the C sources",
    "quantize": "build everything up to the C sources of the models",
    "train": "train a model, then quantize it",
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


def stages(spec: str, config: Config) -> list[Stage]:
    """Return the stages of a model's build, in order, and its training.

    Parameters
    ----------
    spec : str
        The specification script, relative to the project.
    config : Config
        The project's settings.
    """
    model = Path(spec).stem
    directory = f"{config.build_dir}/{model}"
    archive = f"{spec.removesuffix('.py')}.mltk.zip"
    facets = {name: f"{directory}/{name}.json" for name in (*FACETS, "toolchain", "sources")}
    samples, calibrated, quantized, final = (
        f"{directory}/{name}"
        for name in ("samples.npz", "calibrated.tflite", "quantized.tflite", f"{model}.tflite")
    )
    converter, header_dir = (f"value:{name}={getattr(config, name)}" for name in ("converter", "header_dir"))
    date = f"value:SOURCE_DATE_EPOCH={os.environ.get('SOURCE_DATE_EPOCH') or 'none'}"
    rows: list[tuple[str, str, list[str], list[str]]] = [
        ("evaluate", "evaluate", [spec, _TENSORFLOW], [facets[name] for name in FACETS]),
        ("sample", "sample", [facets["calibration"]], [samples]),
        ("calibrate", "calibrate", [facets["graph"], samples, *_FRAMEWORKS, converter], [calibrated]),
        (
            "convert",
            "quantize",
            [facets["converter"], calibrated, _TENSORFLOW, converter],
            [quantized, facets["toolchain"]],
        ),
        ("embed", "embed", [quantized, facets["parameters"], date], [final]),
        ("archive", "update_archive", [final], [f"{archive}!{model}.tflite"]),
        (
            "header",
            "write_header",
            [final, facets["header"], facets["toolchain"], header_dir],
            [facets["sources"]],
        ),
        ("train", "train", [facets["training"], *_FRAMEWORKS], []),
    ]
    arguments = {
        "script": spec,
        "directory": directory,
        "model": model,
        "archive_path": archive,
        "header_dir": config.header_dir,
        "converter": config.converter,
    }
    return [_stage(*row, arguments) for row in rows]


def _stage(task: str, function: str, inputs: list[str], outputs: list[str], arguments: dict[str, str]) -> Stage:
    """Return one stage; `arguments` are those of all stages, of which it takes its own."""
    model, directory = arguments["model"], arguments["directory"]
    verb = "quantize" if task == "convert" else task
    expected: tuple[str, ...] = ()
    if task == "header":
        stem = f"{arguments['header_dir']}/{file_stem(model)}"
        expected = (f"{stem}.h", f"{stem}.c")
    return Stage(
        task=f"{task}:{model}",
        model=model,
        verb=verb,
        inputs=(*inputs, _OURS),
        outputs=tuple(outputs),
        call=f"doit_tflm.{'train' if task == 'train' else 'stages'}:{function}",
        arguments={name: arguments[name] for name in _ARGUMENTS[task]},
        log=f"{directory}/{verb}.log",
        facets=tuple(path for path in inputs if path.endswith(".json")),
        expected=expected,
    )


def model_tasks() -> Iterator[dict[str, Any]]:
    """Yield the doit tasks of the project's models."""
    config = _config()
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
    built = [f"{config.build_dir}/{Path(spec).stem}" for spec in specs]
    directories = (config.models_dir, config.build_dir, config.header_dir, *built)
    yield {"basename": SESSION, "actions": [], "uptodate": [Session(directories)]}
    for basename in (
        "quantize",
        "train",
        "evaluate",
        "sample",
        "calibrate",
        "convert",
        "embed",
        "archive",
        "header",
    ):
        # First of all, so that the models come in their order: doit has none among tasks that wait for one.
        yield {"basename": basename, "name": None, "doc": _DOCS[basename], "task_dep": [SESSION]}
    for spec in specs:
        yield from _tasks_of(spec, config)


def _check_names(specs: list[str]) -> None:
    """End doit where two models would have the same names in C."""
    seen: dict[str, str] = {}
    for spec in specs:
        other = seen.setdefault(macro_prefix(Path(spec).stem), spec)
        if other != spec:
            sys.exit(f"ERROR: {other} and {spec} would have the same names in C; rename one of them")


def _tasks_of(spec: str, config: Config) -> Iterator[dict[str, Any]]:
    """Yield the tasks of one model."""
    model = Path(spec).stem
    clean = []
    for stage in stages(spec, config):
        task = _task(stage, config)
        if task["basename"] == "train":
            task["actions"].append([sys.executable, "-m", "doit_tflm", "quantize", model])
        clean += task["clean"]
        yield task
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
    paths = [key for key in stage.inputs if is_path(key)]
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
        "task_dep": [SESSION] if basename == "evaluate" else [],
        "uptodate": [StageCheck(stage, recorded)],
        "clean": [Remove((*made, stage.log), (f"{config.build_dir}/{stage.model}", config.header_dir))],
        "doc": f"{_DOCS[basename].split(',')[0]}: {stage.model}",
    }
