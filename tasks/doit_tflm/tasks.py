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
from doit_tflm.c_text import file_stem, macro_prefix
from doit_tflm.config import FACETS, Config, read_config
from doit_tflm.engine import ContentChecker, Session, StageCheck
from doit_tflm.errors import UserError
from doit_tflm.observe import is_path
from doit_tflm.reporter import Reporter

__all__ = ["doit_config", "model_tasks", "stages", "tasks_of"]

SESSION = "_session"
"""The hidden task that takes the project's lock."""

_OURS, _TENSORFLOW = "version:doit-tflm", "version:tensorflow"
_TFLM = "version:tflite-micro"
_FRAMEWORKS = (_TENSORFLOW, "version:keras", "version:tf-keras")

_WORK = {
    "spec": ("stages:specify", ("script", "directory")),
    "sample": ("stages:sample", ("script", "directory")),
    "calibrate": ("stages:calibrate", ("script", "directory", "model", "archive_path", "converter")),
    "convert": ("stages:quantize", ("script", "directory", "converter")),
    "verify": ("check:verify", ("script", "directory")),
    "embed": ("deliver:embed", ("script", "directory", "model")),
    "archive": ("deliver:update_archive", ("script", "directory", "model", "archive_path")),
    "header": ("deliver:write_header", ("directory", "model", "header_dir")),
    "accuracy": ("evaluation:evaluate", ("script", "directory", "model", "archive_path", "converter")),
    "results": ("evaluation:record", ("script", "directory", "archive_path")),
    "report": ("check:report", ("script", "directory", "model", "archive_path", "converter")),
    "train": ("train:train", ("script", "directory", "model", "archive_path")),
}
"""The stages by the names of doit's tasks: the function that does the work, and what it takes."""

_VERBS = {"convert": "quantize", "accuracy": "evaluate", "results": "record"}
"""What the console calls a stage, where the task that does all up to it has that name."""

_GROUPS = {"quantize": ("header", "archive"), "evaluate": ("results",)}
"""Tasks that do nothing themselves, and the last of what they stand for."""

_DOCS = {
    "quantize": "build everything up to the C sources of the models",
    "evaluate": "measure the accuracy of the models, trained and quantized",
    "train": "train a model, then quantize it",
    "spec": "run the specifications, and write what each stage reads of them",
    "sample": "draw the representative samples",
    "calibrate": "convert the trained models, and measure ranges with the samples",
    "convert": "quantize the calibrated models",
    "verify": "have TFLM run the models, and measure the arena",
    "embed": "embed the parameters, and hold the models to their limits",
    "archive": "put the .tflite models into the archives",
    "header": "write the C sources",
    "accuracy": "run the models on the evaluation data",
    "results": "put the results of the evaluation into the archives",
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
    names = (*FACETS, "toolchain", "measured", "accuracy", "sources")
    facets = {name: f"{directory}/{name}.json" for name in names}
    samples, calibrated, quantized, vectors, final = (
        f"{directory}/{name}"
        for name in ("samples.npz", "calibrated.tflite", "quantized.tflite", "golden.npz", f"{model}.tflite")
    )
    converter, header_dir = (f"value:{name}={getattr(config, name)}" for name in ("converter", "header_dir"))
    date = f"value:SOURCE_DATE_EPOCH={os.environ.get('SOURCE_DATE_EPOCH') or 'none'}"
    in_archive = f"{archive}!{model}.tflite"
    rows: list[tuple[str, list[str], list[str]]] = [
        ("spec", [spec, _TENSORFLOW], [facets[name] for name in FACETS]),
        ("sample", [facets["calibration"]], [samples]),
        ("calibrate", [facets["graph"], samples, *_FRAMEWORKS, converter], [calibrated]),
        ("convert", [facets["converter"], calibrated, _TENSORFLOW, converter], [quantized, facets["toolchain"]]),
        ("verify", [facets["verify"], quantized, calibrated, samples, _TFLM], [facets["measured"], vectors]),
        ("embed", [quantized, facets["parameters"], facets["limits"], facets["measured"], date], [final]),
        ("archive", [final, facets["measured"], facets["report"]], [in_archive, f"{in_archive}.summary.txt"]),
        (
            "header",
            [final, facets["header"], facets["toolchain"], facets["measured"], vectors, header_dir],
            [facets["sources"]],
        ),
        (
            "accuracy",
            [facets["evaluation"], facets["graph"], quantized, *_FRAMEWORKS, _TFLM, converter],
            [facets["accuracy"]],
        ),
        ("results", [facets["accuracy"], facets["limits"], final], []),
        ("report", [facets["report"], facets["graph"], samples, calibrated, *_FRAMEWORKS, converter], []),
        ("train", [facets["training"], *_FRAMEWORKS], []),
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


def _stage(task: str, inputs: list[str], outputs: list[str], arguments: dict[str, str]) -> Stage:
    """Return one stage; `arguments` are those of all stages, of which it takes its own."""
    model, directory = arguments["model"], arguments["directory"]
    verb = _VERBS.get(task, task)
    call, taken = _WORK[task]
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
        call=f"doit_tflm.{call}",
        arguments={name: arguments[name] for name in taken},
        log=f"{directory}/{verb}.log",
        facets=tuple(path for path in inputs if path.endswith(".json")),
        expected=expected,
        # It waits for what the specification asks for, and doit 0.37 would wait for ever for a task that it is to
        # wait for in two ways.
        unlisted=tuple(f"{directory}/{name}.json" for name in FACETS) if task == "embed" else (),
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
    for basename, doc in _DOCS.items():
        # First of all, so that the models come in their order: doit has none among tasks that wait for one.
        yield {"basename": basename, "name": None, "doc": doc, "task_dep": [SESSION]}
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
    for group, last in _GROUPS.items():
        yield {
            "basename": group,
            "name": model,
            "actions": None,
            "task_dep": [f"{task}:{model}" for task in last],
            "clean": clean if group == "quantize" else [],
            "doc": f"{_DOCS[group].split(',')[0].replace(' of the models', '')}: {model}",
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
        "task_dep": {"spec": [SESSION], "results": [f"archive:{stage.model}"]}.get(basename, []),
        # What the specification asks for besides, which only its record tells.
        "calc_dep": [f"spec:{stage.model}"] if stage.unlisted else [],
        "uptodate": [StageCheck(stage, recorded)],
        "clean": [Remove((*made, stage.log), (f"{config.build_dir}/{stage.model}", config.header_dir))],
        "doc": f"{_DOCS[basename].split(',')[0]}: {stage.model}",
    }
